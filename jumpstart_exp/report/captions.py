"""What figures and tables over seeds say about themselves: which interval, how many seeds, which correction."""

import math
from collections.abc import Sequence

from jumpstart_exp.report.statistics.differences import (
    COMPARED,
    FLIPS,
    LEVEL,
    MOST_ENUMERATED,
    Estimate,
    PairedDifferences,
    best_minus_last_by_method,
)
from jumpstart_exp.report.statistics.frontier import FrontierPoint, FrontierRatio, common_depths, common_seeds
from jumpstart_exp.report.statistics.intervals import (
    LEAST_FOR_BOOTSTRAP,
    LEAST_FOR_INTERVAL,
    RESAMPLES,
    student_coverage,
    wilson,
    wilson_coverage,
)
from jumpstart_exp.report.table.grid import FigureGrid

FEW_SEEDS = 6
"""Seeds from which on a sign-flip test can reach `LEVEL`: 2 ** (1 - 6) is 0.03."""

SENSITIVITY = {"moons": (0.95, 0.9, 0.75)}
"""Thresholds at which × is given, by dataset: the default, then lower ones as sensitivity."""

RATIO_COVERAGE = {6: 0.7, 10: 0.8}
"""How often the interval of × holds it at the worst, by seeds: what a soak test holds by simulation."""

_NO_INTERVAL = "one seed: no interval"
_SHARES_TOLD = 5
_SEEDS_TOLD = 9


def counted(count: int, noun: str) -> str:
    """A count in words: 1 seed, 3 seeds."""
    return f"{count} {noun}{'s' * (count != 1)}"


def in_interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A mean with its interval, or its seeds' range, in words: 0.216 (0.201 to 0.233), 0.216 (range 0.2 to 0.24)."""
    form = "+.3f" if signed else ".3f"
    if estimate.low is not None:
        ends = f"{estimate.low:{form}} to {estimate.high:{form}}"
    elif estimate.least is not None:
        ends = f"range {estimate.least:{form}} to {estimate.most:{form}}"
    else:
        ends = _NO_INTERVAL
    return f"{estimate.mean:{form}} ({ends})"


def seeds_of(grid: FigureGrid) -> str:
    """How many seeds the grid's places have: 3 seeds, 1 to 3 seeds."""
    fewest, most = grid.seed_range()
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def threshold_of(grid: FigureGrid) -> str:
    """When a network trains, in words."""
    return f"a network trains if its training {grid.score} is at least {grid.threshold:.4g}"


def clipped_told(grid: FigureGrid) -> str:
    """How scores that have no lower end are drawn: a sentence, empty for accuracies."""
    return " R² below 0 is drawn as 0, and differences beyond 1 as 1." if grid.task == "regression" else ""


def wilson_told(seeds: int) -> str:
    """The Wilson intervals of a share of so many seeds, in words: all of few seeds, some of many; their coverage."""
    most = _SHARES_TOLD - 1
    counts = range(seeds + 1) if seeds <= _SHARES_TOLD else sorted({round(i * seeds / most) for i in range(most + 1)})
    ends = zip(counts, *wilson([*counts], seeds), strict=True)
    told = "; ".join(f"{count} of {seeds}: {low:.2f} to {high:.2f}" for count, low, high in ends)
    return f"{told} ({wilson_coverage_told(seeds)})"


def wilson_coverage_told(seeds: int) -> str:
    """How often Wilson's interval of so many seeds holds the share, in words."""
    average, lowest = wilson_coverage(seeds)
    return (
        f"of {counted(seeds, 'seed')} it holds the true share in {_floor(average):.2f} of cases on average, "
        f"{_floor(lowest):.2f} at the worst"
    )


def means_told(fewest: int, most: int) -> str:
    """What stands in brackets behind the mean of a place with so many seeds, from the fewest to the most."""
    if most < 2:
        return _NO_INTERVAL
    if most < LEAST_FOR_INTERVAL:
        return f"in brackets the range of the seeds: {most} are too few for an interval"
    lowest = min(student_coverage(count) for count in range(max(fewest, LEAST_FOR_INTERVAL), most + 1))
    return (
        "in brackets the 95 % interval of the mean by Student's t, which holds it in as little as "
        f"{_floor(lowest):.2f} of cases where some seeds train and others, one in ten or more, do not; "
        f"where all seeds agree, or are fewer than {LEAST_FOR_INTERVAL}, their range"
    )


def over_places_told(grid: FigureGrid) -> str:
    """What stands in brackets behind a mean over places."""
    return over_seeds_told(grid.seed_range()[1])


def over_seeds_told(most: int) -> str:
    """What stands in brackets behind one number of a whole figure, of so many seeds at most."""
    if most < LEAST_FOR_INTERVAL:
        return means_told(most, most)
    few = f"a place has fewer than {LEAST_FOR_INTERVAL} seeds, or all agree"
    return f"in brackets the 95 % interval by Student's t over whole seeds; where {few}, the seeds' range"


def moments_caption(grid: FigureGrid, measured: str | None) -> str:
    """What best against last epoch shows: of the training or validation score, of seeds that train; None for all."""
    best = (
        f"Best epoch: every seed's highest {grid.score} of all epochs, picked on the very points that it is measured "
        "on; best minus last is by how much that flatters."
    )
    lost = lost_told(grid)
    left_out = f"{lost}: left out of the {grid.scores}, counted as not trained."
    trains = f"{threshold_of(grid)}, one that diverged or failed does not"
    means = f"Means over {'places of means over ' * (measured is None)}{seeds_of(grid)}"
    if measured is None:
        return f"{means} ({over_places_told(grid)}). {best} Of all cells {trains}. {left_out}"
    found = list(zip(grid.method_titles, best_minus_last_by_method(grid), strict=True))
    if measured == "trains":
        shares = "; ".join(
            f"{title} {in_interval(of.trains['best'])} at best, {in_interval(of.trains['last'])} at last"
            for title, of in found
        )
        return (
            f"The share of {seeds_of(grid)} that train, place by place; {trains} ({lost}). "
            f"Wilson's interval of such a share: {wilson_told(grid.seed_range()[1])}. "
            f"Of all cells: {shares} ({over_places_told(grid)})."
        )
    told = [(title, of.accuracy[measured]) for title, of in found]
    added = "; ".join(f"{title} {in_interval(estimate)}" for title, estimate in told if estimate is not None)
    return (
        f"{means}. {best} Mean over all places: {added} ({over_places_told(grid)}). Every place's interval or "
        f"range stands in the tables. {left_out}{clipped_told(grid)}"
    )


def difference_caption(grid: FigureGrid, found: Sequence[Sequence[PairedDifferences]], at_epoch: str) -> str:
    """What a figure of differences shows: the pairing, the interval, the test and the correction."""
    every = [of for column in found for of in column]
    most = max(int(of.pairs.max(initial=0)) for of in every)
    beyond = " Differences beyond 1 are drawn as 1." if grid.task == "regression" else ""
    lone = sum(int(of.left_out.sum()) for of in found[COMPARED.index("train_acc")])
    return (
        f"Differences at the {at_epoch} epoch, paired by seed and place, over {counted(most, 'pair')} a "
        f"place at most; {lone} {grid.scores} without a partner in the other method are left out. Above each panel "
        f"the mean over its places ({over_places_told(grid)}). {correction_told(every)}{beyond}"
    )


def correction_told(found: Sequence[PairedDifferences]) -> str:
    """The test, the correction for many places, and what so few seeds cannot show."""
    most = max(int(of.pairs.max(initial=0)) for of in found)
    places = max(int((of.pairs > 0).sum()) for of in found)
    if most < 2:
        return "With one seed there is no interval and no test."
    enumerated = most <= MOST_ENUMERATED
    flips = f"all 2^{most} flips" if enumerated else f"{FLIPS:,} random flips"
    least, needed = 2.0 ** (1 - most) if enumerated else 1 / (FLIPS + 1), LEVEL / max(places, 1)
    if least > LEVEL:
        end = f"; so no single place can be significant by any rule: that takes {FEW_SEEDS} seeds or more."
    elif least > needed:
        end = f" and could reject nothing with fewer than {1 + math.ceil(math.log2(places / LEVEL))} seeds."
    else:
        end = "."
    return (
        f"Test: the signs of the seeds' differences are flipped ({flips}, two-sided); the p-values of a panel's "
        f"places ({places} at most) are corrected by Benjamini and Hochberg: among the places called significant "
        f"(adjusted p at most {LEVEL:g}) the expected share of false ones is at most {LEVEL:g}, if the places are "
        f"independent or depend positively. The least p-value that this can give with {most} seeds is {least:.2g}; "
        f"Bonferroni's correction, which bounds the chance of even one false place, would need {needed:.2g}{end}"
    )


def lost_told(grid: FigureGrid) -> str:
    """How many cells have no score: 3 of 120 cells diverged, 1 failed."""
    text = f"{grid.diverged.sum()} of {counted(int(grid.present.sum()), 'cell')} diverged"
    return f"{text}, {grid.failed.sum()} failed" if grid.failed.any() else text


def point_told(point: FrontierPoint) -> str:
    """A frontier in words: 20+ (10 to 20), of few seeds 20 (seeds 10, 20, 20), none, not trained."""
    if point.depth is None and point.is_cut:
        return "not trained"
    depth = "none" if point.depth is None else f"{point.depth}{'+' * point.is_open}"
    if point.low is not None:
        return depth if point.low == point.high else f"{depth} ({_depth(point.low)} to {_depth(point.high)})"
    if len(point.each) < 2 or {*point.each} == {point.depth or 0}:
        return depth
    return f"{depth} (seeds {_each([*map(_depth, sorted(point.each))])})"


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
    interval = ratio_ends_told(ratio) or _NO_INTERVAL
    widths, at_least, at_most, left_out = (
        ", ".join(map(str, of)) for of in (ratio.widths, ratio.at_least, ratio.at_most, ratio.left_out)
    )
    parts = {
        "at least, at": at_least,
        "at most, at": at_most,
        "without": left_out,
        "interval of": ratio.low is not None and distinct_told(ratio),
    }
    ends = "".join(f"; {words} {of}" for words, of in parts.items() if of)
    return f"× {ratio.ratio:.2f} ({interval}), widths {widths}{ends}"


def ratio_ends_told(ratio: FrontierRatio) -> str:
    """A frontier ratio's interval, or its seeds' own ratios; empty of one seed."""
    if ratio.low is not None:
        return f"{ratio.low:.2f} to {ratio.high:.2f}"
    return f"seeds {_each([f'{each:.2f}' for each in sorted(ratio.each)])}" if len(ratio.each) > 1 else ""


def distinct_told(ratio: FrontierRatio) -> str:
    """How many different ratios are behind an interval, and how many resamples have none, in words."""
    without = f", without {ratio.resamples_without} that have no width" if ratio.resamples_without else ""
    return f"{counted(ratio.distinct, 'distinct ratio')} in {RESAMPLES} resamples{without}"


def thresholds_of(grid: FigureGrid) -> tuple[float, ...]:
    """The thresholds at which × is given: the chosen one, then the dataset's others."""
    return (grid.threshold, *(other for other in SENSITIVITY.get(grid.dataset, ()) if other != grid.threshold))


def frontier_caption(grid: FigureGrid, *, both_starts: bool = True) -> str:
    """What a frontier is, and its interval; `both_starts` says that it is counted in both ways."""
    chosen, *others = thresholds_of(grid)
    starts = (
        "At small widths one hidden layer may be too little for the task: counted from the first depth that trains, "
        "shallower ones are passed over. "
    )
    lower = f", and at the threshold{'s' * (len(others) > 1)} {' and '.join(f'{other:g}' for other in others)}"
    text = (
        "Frontier of a width: the deepest depth of the grid with no failing depth before it; the shallowest is "
        f"{grid.depths[0]}. A depth fails when fewer than half of its seeds train ({seeds_of(grid)}; "
        f"{threshold_of(grid)}). Where a depth that decides is not in the store, a frontier without any "
        f"depth is not trained: that is no failure. {starts * both_starts}"
        "× is the geometric mean of the frontiers' ratios over the widths at which both methods have one; for it "
        "frontiers are counted over only those depths at which both methods have networks. "
        f"The headline × is word for word: from the grid's shallowest depth, at the threshold {chosen:.4g}. Its "
        "sensitivity stands in the table of ratios: × counted from the first depth that trains"
        f"{lower * bool(others)}."
    )
    few = grid.seed_range()[1]
    if few < 2:
        return f"{text} One seed: no intervals."
    own = "in brackets each seed's own"
    if few < LEAST_FOR_INTERVAL:
        return f"{text} {few} seeds are too few for intervals: {own}."
    held = " and ".join(f"{share:g} (of {seeds} seeds)" for seeds, share in RATIO_COVERAGE.items())
    return (
        f"{text} Intervals: 95 %, bootstrap over whole seeds, with the choice of widths made anew; where a place that "
        f"decides has fewer than {LEAST_FOR_BOOTSTRAP} seeds ({LEAST_FOR_INTERVAL} of ×) there is none, {own}. "
        "An interval of × has its ends among so many distinct ratios as are told. Resampled frontiers tend to be "
        f"shorter: the interval of × can leave out its own estimate, and in simulations it held × in {held} of cases "
        "at the worst, a frontier's own in 0.92."
    )


def pairs_told(pairs: int) -> str:
    """That so few pairs can give no dot, in words; empty where they can, and where there is none."""
    return f"{counted(pairs, 'pair')}: no dot possible" if pairs and 2.0 ** (1 - pairs) > LEVEL else ""


def _each(values: Sequence[str]) -> str:
    """Sorted values in words, the ends of many."""
    return ", ".join(values) if len(values) <= _SEEDS_TOLD else f"{values[0]} to {values[-1]}"


def _depth(depth: int | None) -> str:
    return str(depth or "none")


def _floor(share: float) -> float:
    """Rounded down to two digits: coverage is never told higher than it is."""
    return math.floor(100 * share) / 100
