"""Which layout of the MOONS network reproduces the published figure: statistics only.

The papers describe an MLP; the authors' code made the figure with 2×1 convolutions (variant=code). Both are compared
with the published grid on the places and seeds that both have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.config.studies import VARIANTS, study
from jumpstart_exp.report.captions import lost_told
from jumpstart_exp.report.papers.comparison import GridComparison, published_grid
from jumpstart_exp.report.papers.published import PublishedPlace
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.statistics.seedwise import Interval, ratio_over_seeds
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.names import method_rank

LEAST_SEEDS = 3
"""Seeds from which on an interval decides anything."""

MEASURES = ("distance", "agreement")
"""Mean absolute difference of the training accuracy; share of networks that train where the published one does."""

TITLES = {"paper": "MLP (variant=paper)", "code": "2×1 (variant=code)"}
"""The layouts of the MOONS grid, by variant."""

_TRAINED_BY = "cpaior_moons"
_METRIC = "train_acc_best"


@dataclass(frozen=True)
class LayoutMeasure:
    """One measure of nearness to the published grid.

    `distance` is the mean absolute difference of a seed's training accuracy from the published one, `agreement` the
    share of networks that are on the published one's side of the training threshold. `of` has it by variant over all
    its seeds; `difference` is `paper` minus `code` over the places and seeds that both have.
    """

    name: str
    of: Mapping[str, Interval]
    difference: Interval | None
    nearer: str | None


@dataclass(frozen=True)
class LayoutComparison:
    """The answer for some methods: `nearer` is the variant that is nearer, None where the intervals leave it open.

    `places` are the published ones compared, `seeds` those that both variants have, 0 where one is not there. `lost`
    says by variant how many of its cells at published places diverged or failed. `between_seeds` is the mean absolute
    difference of two seeds of ours by variant: what a layout that reproduced the figure exactly would have as its
    distance. `verdict` says it in words.
    """

    methods: tuple[str, ...]
    places: int
    seeds: int
    measures: tuple[LayoutMeasure, ...]
    between_seeds: Mapping[str, float]
    nearer: str | None
    verdict: str
    lost: Mapping[str, str]


def compare_layouts(
    comparisons: Mapping[str, GridComparison], values: Mapping[PublishedPlace, float], threshold: float | None = None
) -> tuple[LayoutComparison, ...]:
    """The layouts against each other: for all methods that both have, then for each of them.

    Args:
        comparisons: by variant, what there is of MOONS over depth and width.
        values: the published grid.
        threshold: training accuracy from which on a network trains; None for the dataset's own.
    """
    if not comparisons:
        return ()
    published = published_grid(values).at_threshold(threshold)
    shared = set.intersection(*({*comparison.methods} for comparison in comparisons.values()))
    methods = tuple(sorted(shared, key=method_rank))
    if not methods:
        return ()
    groups = [methods, *([(method,) for method in methods] if len(methods) > 1 else [])]
    return tuple(_compared(comparisons, published, group) for group in groups)


@dataclass(frozen=True, eq=False)
class _Scores:
    """A variant's nearness by measure at every published place and seed, (places, seeds), NaN where there is none."""

    of: Mapping[str, Floats]
    accuracy: Floats
    seeds: tuple[int, ...]
    published_places: int
    lost: str

    def where(self, known: Mapping[str, NDArray[np.bool_]], seeds: Sequence[int]) -> "_Scores":
        """Only these seeds, and of them only what is known by measure, (places, seeds)."""
        own = [self.seeds.index(seed) for seed in seeds]
        of = {name: np.where(known[name], self.of[name][:, own], np.nan) for name in MEASURES}
        accuracy = np.where(known["distance"], self.accuracy[:, own], np.nan)
        return replace(self, of=of, accuracy=accuracy, seeds=tuple(seeds))


def _compared(
    comparisons: Mapping[str, GridComparison], published: FigureGrid, methods: tuple[str, ...]
) -> LayoutComparison:
    scores = {variant: _scores(of, published, methods) for variant, of in comparisons.items()}
    seeds = sorted(set.intersection(*({*of.seeds} for of in scores.values())))
    paired = len(scores) == len(VARIANTS) and len(seeds) > 0
    if paired:  # on the places and seeds at which both variants have one
        columns = {variant: [of.seeds.index(seed) for seed in seeds] for variant, of in scores.items()}
        known = {
            name: np.all([~np.isnan(of.of[name][:, columns[variant]]) for variant, of in scores.items()], axis=0)
            for name in MEASURES
        }
        scores = {variant: of.where(known, seeds) for variant, of in scores.items()}
    total = next(iter(scores.values())).published_places
    places = max(int((~np.isnan(of.of["agreement"])).any(axis=1).sum()) for of in scores.values())
    measures = tuple(_measure(name, scores, paired, is_whole=places == total) for name in MEASURES)
    found = {measure.nearer for measure in measures} - {None}
    nearer = found.pop() if len(found) == 1 else None
    between = {variant: _between_seeds(of.accuracy) for variant, of in scores.items()}
    part = "" if places == total else f"{places} of the {total} published places are trained so far"
    return LayoutComparison(
        methods=methods,
        places=places,
        seeds=len(seeds) if paired else 0,
        measures=measures,
        between_seeds=between,
        nearer=nearer,
        verdict=_in_words(measures, between, nearer, len(seeds), part, paired),
        lost={variant: of.lost for variant, of in scores.items()},
    )


def _scores(comparison: GridComparison, published: FigureGrid, methods: tuple[str, ...]) -> _Scores:
    own = [comparison.methods.index(method) for method in methods]
    theirs = published.accuracy[_METRIC][[published.methods.index(method) for method in methods]]
    known = ~np.isnan(theirs)
    accuracy = np.where(known, comparison.values[_METRIC][own], np.nan)
    diverged, failed, present = (of[own] & known for of in (comparison.diverged, comparison.failed, comparison.present))
    least = published.threshold - 1e-9
    agreement = np.where(present, (np.nan_to_num(accuracy, nan=-1.0) >= least) == (theirs >= least), np.nan)
    scores = {"distance": np.abs(accuracy - theirs), "agreement": agreement}
    flat = {name: of.reshape(-1, accuracy.shape[-1]) for name, of in scores.items()}
    lost = lost_told(diverged, failed, present)
    return _Scores(flat, accuracy.reshape(-1, accuracy.shape[-1]), comparison.grid.seeds, int(known.sum()), lost)


def _measure(name: str, scores: Mapping[str, _Scores], paired: bool, is_whole: bool) -> LayoutMeasure:
    totals = {variant: np.nansum(of.of[name], axis=0) for variant, of in scores.items()}
    counts = {variant: (~np.isnan(of.of[name])).sum(axis=0).astype(np.float64) for variant, of in scores.items()}
    intervals = {variant: ratio_over_seeds(totals[variant], counts[variant]) for variant in scores}
    difference = ratio_over_seeds(totals["paper"] - totals["code"], counts["paper"]) if paired else None
    return LayoutMeasure(
        name,
        {variant: interval for variant, interval in intervals.items() if interval is not None},
        difference,
        _nearer(name, difference) if is_whole else None,
    )


def _nearer(name: str, difference: Interval | None) -> str | None:
    """The variant that the interval of paper − code puts nearer: a small distance is near, a high agreement is."""
    if difference is None or difference.low is None or difference.high is None or difference.seeds < LEAST_SEEDS:
        return None
    more, less = ("code", "paper") if name == "distance" else ("paper", "code")
    return more if difference.low > 0 else less if difference.high < 0 else None


def _between_seeds(accuracy: Floats) -> float:
    """The mean absolute difference of two seeds of one place, over all pairs of seeds; NaN with fewer than two."""
    one, other = np.triu_indices(accuracy.shape[1], 1)
    apart = np.abs(accuracy[:, one] - accuracy[:, other])
    known = apart[~np.isnan(apart)]
    return float(known.mean()) if len(known) else float("nan")


def _in_words(
    measures: tuple[LayoutMeasure, ...],
    between: Mapping[str, float],
    nearer: str | None,
    seeds: int,
    part: str,
    paired: bool,
) -> str:
    if not paired:
        missing = [variant for variant in VARIANTS if variant not in between]
        if missing:
            commands = "; ".join(f"{TITLES[one]} is not trained ({study(_TRAINED_BY).command(one)})" for one in missing)
            return f"undecided: {commands}"
        return "undecided: the two layouts have no seed in common"
    numbers = "; ".join(_numbers(measure) for measure in measures)
    apart = ", ".join(f"{TITLES[variant]} {between[variant]:.3f}" for variant in VARIANTS if variant in between)
    tail = f"{numbers}. Two seeds of one layout are apart by: {apart}."
    if nearer is not None:
        return f"{TITLES[nearer]} is nearer to the published figure: {tail}"
    if part:
        return f"undecided, {part}: {tail}"
    if seeds < LEAST_SEEDS:
        return f"undecided with {seeds} seed{'s' * (seeds != 1)} in common, {LEAST_SEEDS} are needed: {tail}"
    told = {measure.nearer for measure in measures} - {None}
    reason = "the two measures contradict each other" if told else "no interval of the difference leaves out 0"
    return f"undecided, {reason}: {tail}"


def _numbers(measure: LayoutMeasure) -> str:
    words = {
        "distance": "mean absolute difference of the training accuracy",
        "agreement": "share of networks that train, or do not, as the published one",
    }
    parts = [f"{TITLES[variant]} {interval_words(measure.of[variant])}" for variant in VARIANTS]
    difference = "" if measure.difference is None else f", difference {interval_words(measure.difference)}"
    return f"{words[measure.name]}: {', '.join(parts)}{difference}"


def interval_words(interval: Interval) -> str:
    """The number with its interval: 0.062 [0.055, 0.070]."""
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}"
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
