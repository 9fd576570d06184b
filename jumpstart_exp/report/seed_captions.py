"""What figures and tables over seeds say about themselves: which interval, how many seeds, which correction."""

import math
from collections.abc import Sequence

import numpy as np

from jumpstart_exp.report.differences import (
    FLIPS,
    LEVEL,
    MOST_ENUMERATED,
    Estimate,
    PairedDifferences,
    flatteries,
)
from jumpstart_exp.report.frontier import FrontierRatio
from jumpstart_exp.report.grid import FigureGrid
from jumpstart_exp.report.statistics import RESAMPLES, wilson
from jumpstart_exp.report.success import training_threshold

FEW_SEEDS = 6
"""Seeds from which on a sign-flip test can reach `LEVEL`: 2 ** (1 - 6) is 0.03."""

_SHARES_TOLD = 5
_PERCENTS = "95 % interval"


def in_interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A mean with its interval in words: 0.216 (0.201 to 0.233)."""
    sign = "+" if signed else ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{sign}.3f} (one seed: no interval)"
    return f"{estimate.mean:{sign}.3f} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"


def seeds_of(grid: FigureGrid) -> str:
    """How many seeds the grid's places have: 3 seeds, 1 to 3 seeds."""
    fewest, most = grid.seed_range()
    return f"{most} seed{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} seeds"


def threshold_of(grid: FigureGrid, threshold: float | None) -> str:
    """When a network trains, in words."""
    least = training_threshold(grid.dataset) if threshold is None else threshold
    return f"a network trains if its training accuracy is at least {least:.4g}"


def wilson_told(seeds: int) -> str:
    """The Wilson intervals of a share of so many seeds, in words: all of few seeds, some of many."""
    counts = sorted({round(part * seeds / (_SHARES_TOLD - 1)) for part in range(_SHARES_TOLD)})
    counts = [*range(seeds + 1)] if seeds <= _SHARES_TOLD else counts
    ends = [wilson(count, seeds) for count in counts]
    told = (f"{count} of {seeds}: {low:.2f} to {high:.2f}" for count, (low, high) in zip(counts, ends, strict=True))
    return "; ".join(told)


def moments_caption(grid: FigureGrid, measured: str | None, threshold: float | None) -> str:
    """What best against last epoch shows: of training or validation accuracy, of seeds that train; None for all."""
    best = (
        "Best epoch: every seed's highest accuracy of all epochs, picked on the very points that it is measured on; "
        "best minus last is by how much that flatters."
    )
    if measured is None:
        trains = f"{threshold_of(grid, threshold)}, one that diverged or failed does not"
        return f"Means over places of means over {seeds_of(grid)} ({_bootstrap(grid)}). {best} Of all cells {trains}."
    found = flatteries(grid, threshold)
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    if measured == "trains":
        shares = "; ".join(
            f"{titles[of.method]} {in_interval(of.trains['best'])} at best, {in_interval(of.trains['last'])} at last"
            for of in found
        )
        return (
            f"The share of {seeds_of(grid)} that train, place by place; {threshold_of(grid, threshold)}, one that "
            f"diverged or failed does not. Wilson's {_PERCENTS} of such a share: {wilson_told(grid.seed_range()[1])}. "
            f"Of all cells: {shares} ({_bootstrap(grid)})."
        )
    told = [(titles[of.method], of.accuracy[measured]) for of in found]
    added = "; ".join(f"{title} {in_interval(estimate)}" for title, estimate in told if estimate is not None)
    return (
        f"Means over {seeds_of(grid)}. {best} Mean over all places: {added} ({_bootstrap(grid)}). Every place's "
        "interval stands in the tables."
    )


def difference_caption(grid: FigureGrid, found: Sequence[Sequence[PairedDifferences]], moment: str) -> str:
    """What a figure of differences shows: the pairing, the interval, the test and the correction."""
    pairs = np.concatenate([of.pairs.ravel() for column in found for of in column])
    most = int(pairs.max(initial=0))
    lacking = sum(int(of.left_out.sum()) for of in found[0])
    parts = [
        f"Differences at the {moment} epoch, paired by seed and place, over {most} pair{'s' * (most != 1)} a place at "
        f"most; {lacking} accuracies without a partner in the other method are left out. Above each panel the mean "
        f"over its places ({_bootstrap(grid)})."
    ]
    return " ".join([*parts, correction_told(found)])


def correction_told(found: Sequence[Sequence[PairedDifferences]]) -> str:
    """The test, the correction for many places, and what so few seeds cannot show."""
    every = [of for column in found for of in column]
    most = max((int(of.pairs.max(initial=0)) for of in every), default=0)
    places = max((int((of.pairs > 0).sum()) for of in every), default=0)
    if most < 2:
        return "With one seed there is no interval and no test."
    flips = f"all 2^{most} flips" if most <= MOST_ENUMERATED else f"{FLIPS:,} random flips"
    least = 2.0 ** (1 - most) if most <= MOST_ENUMERATED else 1 / (FLIPS + 1)
    test = (
        f"Test: the signs of the seeds' differences are flipped ({flips}, two-sided); the p-values of a panel's "
        f"places ({places} at most) are corrected by Benjamini and Hochberg: among the places called significant "
        f"(adjusted p at most {LEVEL:g}) the expected share of false ones is at most {LEVEL:g}."
    )
    bonferroni = (
        f"The least p-value that this can give with {most} seeds is {_rounded(least)}; Bonferroni's correction, which "
        f"bounds the chance of even one false place, would need {_rounded(LEVEL / max(places, 1))}"
    )
    if least > LEVEL:
        end = f"; so no single place can be significant by any rule: that takes {FEW_SEEDS} seeds or more."
    elif least > LEVEL / max(places, 1):
        needed = 1 + math.ceil(math.log2(places / LEVEL))
        end = f" and could reject nothing with fewer than {needed} seeds."
    else:
        end = "."
    return f"{test} {bonferroni}{end}"


def ratio_told(ratio: FrontierRatio | None) -> str:
    """A frontier ratio in words, with the widths that it is over: × 2.6 (1.5 to 2.6), widths 4, 5, 10."""
    if ratio is None:
        return "no width at which both have a frontier"
    interval = "one seed: no interval" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
    parts = [f"× {ratio.ratio:.2f} ({interval}), widths {listed(ratio.widths)}"]
    if ratio.at_least:
        parts.append(f"at least, at {listed(ratio.at_least)}")
    if ratio.at_most:
        parts.append(f"at most, at {listed(ratio.at_most)}")
    if ratio.left_out:
        parts.append(f"without {listed(ratio.left_out)}")
    if ratio.resamples_without:
        parts.append(f"interval without the {ratio.resamples_without} of {RESAMPLES} resamples that have no width")
    return "; ".join(parts)


def frontier_caption(grid: FigureGrid, threshold: float | None, *, both_starts: bool = True) -> str:
    """What a frontier is, and its interval; `both_starts` says that it is counted in both ways."""
    text = (
        "Frontier of a width: the deepest depth of the grid with no failing depth before it. A depth fails when fewer "
        f"than half of its seeds train ({seeds_of(grid)}; {threshold_of(grid, threshold)}). "
    )
    if both_starts:
        text += (
            "One hidden layer of a few units may be too little for the task whatever the method: counted from the "
            "first depth that trains, shallower ones are passed over. "
        )
    text += "× is the geometric mean of the frontiers' ratios over the widths at which both methods have one."
    if grid.seed_range()[1] < 2:
        return f"{text} One seed: no intervals."
    few = grid.seed_range()[1]
    narrow = f" Of {few} seeds they are too narrow." if few < FEW_SEEDS else ""
    return f"{text} Intervals: 95 %, bootstrap over whole seeds, with the choice of widths made anew.{narrow}"


def _bootstrap(grid: FigureGrid) -> str:
    few = grid.seed_range()[1]
    base = f"in brackets the {_PERCENTS}, bootstrap over whole seeds"
    return f"{base}; of {few} seeds it is too narrow" if 1 < few < FEW_SEEDS else base


def _rounded(value: float) -> str:
    return f"{value:.2g}"


def listed(values: Sequence[int]) -> str:
    """Whole numbers in words: 4, 5, 10."""
    return ", ".join(map(str, values))
