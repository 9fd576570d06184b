"""What figures and tables over seeds say about themselves: which interval, how many seeds, which correction."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.differences import (
    FLIPS,
    LEVEL,
    MOST_ENUMERATED,
    Estimate,
    PairedDifferences,
    flatteries,
)
from jumpstart_exp.report.statistics.frontier import FrontierPoint, FrontierRatio, common_depths, common_seeds
from jumpstart_exp.report.statistics.intervals import RESAMPLES, wilson
from jumpstart_exp.report.table.grid import FigureGrid

FEW_SEEDS = 6
"""Seeds from which on a sign-flip test can reach `LEVEL`: 2 ** (1 - 6) is 0.03."""

SENSITIVITY = {"moons": (0.95, 0.9, 0.75)}
"""Thresholds at which × is given, by dataset: the default, then lower ones as sensitivity."""

_NO_INTERVAL = "one seed: no interval"
_SHARES_TOLD = 5
_PERCENTS = "95 % interval"


def in_interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A mean with its interval in words: 0.216 (0.201 to 0.233)."""
    sign = "+" if signed else ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{sign}.3f} ({_NO_INTERVAL})"
    return f"{estimate.mean:{sign}.3f} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"


def seeds_of(grid: FigureGrid) -> str:
    """How many seeds the grid's places have: 3 seeds, 1 to 3 seeds."""
    fewest, most = grid.seed_range()
    return f"{most} seed{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} seeds"


def threshold_of(grid: FigureGrid) -> str:
    """When a network trains, in words."""
    least = grid.threshold
    return f"a network trains if its training accuracy is at least {least:.4g}"


def wilson_told(seeds: int) -> str:
    """The Wilson intervals of a share of so many seeds, in words: all of few seeds, some of many."""
    counts = sorted({round(part * seeds / (_SHARES_TOLD - 1)) for part in range(_SHARES_TOLD)})
    counts = [*range(seeds + 1)] if seeds <= _SHARES_TOLD else counts
    ends = [wilson(count, seeds) for count in counts]
    told = (f"{count} of {seeds}: {low:.2f} to {high:.2f}" for count, (low, high) in zip(counts, ends, strict=True))
    return "; ".join(told)


def moments_caption(grid: FigureGrid, measured: str | None) -> str:
    """What best against last epoch shows: of training or validation accuracy, of seeds that train; None for all."""
    best = (
        "Best epoch: every seed's highest accuracy of all epochs, picked on the very points that it is measured on; "
        "best minus last is by how much that flatters."
    )
    if measured is None:
        trains = f"{threshold_of(grid)}, one that diverged or failed does not"
        return (
            f"Means over places of means over {seeds_of(grid)} ({_bootstrap(grid)}). {best} Of all cells {trains}. "
            f"{_left_out(grid)}"
        )
    found = flatteries(grid)
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    if measured == "trains":
        shares = "; ".join(
            f"{titles[of.method]} {in_interval(of.trains['best'])} at best, {in_interval(of.trains['last'])} at last"
            for of in found
        )
        return (
            f"The share of {seeds_of(grid)} that train, place by place; {threshold_of(grid)}, one that "
            f"diverged or failed does not ({lost_told(grid.diverged, grid.failed, grid.present)}). "
            f"Wilson's {_PERCENTS} of such a share: {wilson_told(grid.seed_range()[1])}. "
            f"Of all cells: {shares} ({_bootstrap(grid)})."
        )
    told = [(titles[of.method], of.accuracy[measured]) for of in found]
    added = "; ".join(f"{title} {in_interval(estimate)}" for title, estimate in told if estimate is not None)
    return (
        f"Means over {seeds_of(grid)}. {best} Mean over all places: {added} ({_bootstrap(grid)}). Every place's "
        f"interval stands in the tables. {_left_out(grid)}"
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
        f"(adjusted p at most {LEVEL:g}) the expected share of false ones is at most {LEVEL:g}, if the places are "
        "independent or depend positively."
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


def lost_told(diverged: NDArray[np.bool_], failed: NDArray[np.bool_], present: NDArray[np.bool_]) -> str:
    """How many cells have no accuracy: 3 of 120 cells diverged, 1 failed."""
    failures = int(failed.sum())
    cells = int(present.sum())
    text = f"{int(diverged.sum())} of {cells} cell{'s' * (cells != 1)} diverged"
    return f"{text}, {failures} failed" if failures else text


def point_told(point: FrontierPoint) -> str:
    """A frontier in words: 20+ (10 to 20), none, not trained."""
    if point.depth is None:
        return "not trained" if point.is_cut else f"none{_to(point)}"
    return f"{point.depth}{'+' * point.is_open}{_to(point)}"


def lacking(grid: FigureGrid, point: FrontierPoint) -> str:
    """Which of the grid's lesser depths the store lacks at this width; empty where it has them."""
    return f"depths below {point.shallowest} are missing" if point.shallowest > grid.depths[0] else ""


def no_ratio_told(grid: FigureGrid, method: str, baseline: str) -> str:
    """Why there is no ratio of the frontiers of two methods."""
    if not common_seeds(grid, method, baseline).any():
        return "no seed in common"
    if not common_depths(grid, method, baseline).any():
        return "no depth in common"
    return "no width at which both have a frontier"


def ratio_told(ratio: FrontierRatio) -> str:
    """A frontier ratio in words, with the widths that it is over: × 2.6 (1.5 to 2.6), widths 4, 5, 10."""
    interval = _NO_INTERVAL if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
    parts = [f"× {ratio.ratio:.2f} ({interval}), widths {listed(ratio.widths)}"]
    if ratio.at_least:
        parts.append(f"at least, at {listed(ratio.at_least)}")
    if ratio.at_most:
        parts.append(f"at most, at {listed(ratio.at_most)}")
    if ratio.left_out:
        parts.append(f"without {listed(ratio.left_out)}")
    if ratio.resamples_without:
        parts.append(f"interval {without_told(ratio)} that have no width")
    return "; ".join(parts)


def without_told(ratio: FrontierRatio) -> str:
    """How many resamples have no ratio, in words; empty where all have one."""
    return f"without {ratio.resamples_without} of {RESAMPLES} resamples" if ratio.resamples_without else ""


def thresholds_of(grid: FigureGrid) -> tuple[float, ...]:
    """The thresholds at which × is given: the chosen one, then the dataset's others."""
    others = (other for other in SENSITIVITY.get(grid.dataset, ()) if other != grid.threshold)
    return (grid.threshold, *others)


def frontier_caption(grid: FigureGrid, *, both_starts: bool = True) -> str:
    """What a frontier is, and its interval; `both_starts` says that it is counted in both ways."""
    chosen, *others = thresholds_of(grid)
    text = (
        "Frontier of a width: the deepest depth of the grid with no failing depth before it; the shallowest is "
        f"{grid.depths[0]}. A depth fails when fewer than half of its seeds train ({seeds_of(grid)}; "
        f"{threshold_of(grid)}). Where a depth that decides is not in the store, a frontier without any "
        "depth is not trained: that is no failure. "
    )
    if both_starts:
        text += (
            "At small widths one hidden layer may be too little for the task: counted from the first depth that "
            "trains, shallower ones are passed over. "
        )
    text += (
        "× is the geometric mean of the frontiers' ratios over the widths at which both methods have one; for it "
        "frontiers are counted over only those depths at which both methods have networks. "
    )
    sensitivity = ["counted from the first depth that trains"]
    if others:
        sensitivity.append(
            f"at the threshold{'s' * (len(others) > 1)} {' and '.join(f'{other:g}' for other in others)}"
        )
    text += (
        f"The headline × is word for word: from the grid's shallowest depth, at the threshold {chosen:.4g}. Its "
        f"sensitivity stands in the table of ratios: × {', and '.join(sensitivity)}."
    )
    few = grid.seed_range()[1]
    if few < 2:
        return f"{text} One seed: no intervals."
    narrow = f" Of {few} seeds they are too narrow." if few < FEW_SEEDS else ""
    return (
        f"{text} Intervals: 95 %, bootstrap over whole seeds, with the choice of widths made anew; none where a place "
        "that decides has one seed. Resampled frontiers tend to be shorter: the interval of × can leave out its own "
        f"estimate.{narrow}"
    )


def _to(point: FrontierPoint) -> str:
    if point.low is None or point.high is None or point.low == point.high:
        return ""
    low, high = ("none" if end == 0 else str(end) for end in (point.low, point.high))
    return f" ({low} to {high})"


def _left_out(grid: FigureGrid) -> str:
    lost = lost_told(grid.diverged, grid.failed, grid.present)
    return f"{lost}: left out of the accuracies, counted as not trained."


def pairs_told(pairs: int) -> str:
    """That so few pairs can give no dot, in words; empty where they can, and where there is none."""
    if not pairs or 2.0 ** (1 - pairs) <= LEVEL:
        return ""
    return f"{pairs} pair{'s' * (pairs != 1)}: no dot possible"


def _bootstrap(grid: FigureGrid) -> str:
    few = grid.seed_range()[1]
    base = f"in brackets the {_PERCENTS}, bootstrap over whole seeds"
    return f"{base}; of {few} seeds it is too narrow" if 1 < few < FEW_SEEDS else base


def _rounded(value: float) -> str:
    return f"{value:.2g}"


def listed(values: Sequence[int]) -> str:
    """Whole numbers in words: 4, 5, 10."""
    return ", ".join(map(str, values))
