"""Which layout of the MOONS network reproduces the published figure: statistics only.

The papers describe an MLP; the authors' code made the figure with 2×1 convolutions (variant=code). Both are compared
with the published grid on the places and seeds that both have.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from jumpstart_exp.config.studies import VARIANTS, study
from jumpstart_exp.report.captions import counted, lost_told
from jumpstart_exp.report.papers.comparison import GridComparison, on_axes, published_grid
from jumpstart_exp.report.papers.published import PublishedPlace
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_INTERVAL, Floats
from jumpstart_exp.report.statistics.seedwise import MOMENT, Interval, ratio_over_seeds
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.names import method_rank
from jumpstart_exp.report.tables.table import interval

MEASURES = {
    "distance": "mean absolute difference of the training accuracy",
    "agreement": "share of networks that train, or do not, as the published one",
}
"""How near a layout is to the published figure."""

TITLES = {"paper": "MLP (variant=paper)", "code": "2×1 (variant=code)"}
"""The layouts of the MOONS grid, by variant."""

IN_BRACKETS = "{:.3f} [{:.3f}, {:.3f}]"
"""A number with its interval or range: 0.062 [0.055, 0.070]."""

interval_words = interval("value", "", IN_BRACKETS)
"""An `Interval` as `IN_BRACKETS`; with its range instead where it has no interval."""

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
    comparisons: Mapping[str, GridComparison], values: Mapping[PublishedPlace, float]
) -> tuple[LayoutComparison, ...]:
    """The layouts against each other: for all methods that both have, then for each of them.

    Args:
        comparisons: by variant, what there is of MOONS over depth and width.
        values: the published grid.
    """
    if not comparisons:
        return ()
    shared = set.intersection(*({*comparison.ours.methods} for comparison in comparisons.values()))
    methods = tuple(sorted(shared, key=method_rank))
    groups, published = [methods, *((method,) for method in methods)], published_grid(values)
    return tuple(_compared(comparisons, published, group) for group in dict.fromkeys(groups) if group)


def _compared(
    comparisons: Mapping[str, GridComparison], published: FigureGrid, methods: tuple[str, ...]
) -> LayoutComparison:
    seeds = [{*of.ours.seeds} for of in comparisons.values()]
    common, every = set.intersection(*seeds), sorted(set.union(*seeds))
    theirs = on_axes(published, methods)
    ours = {variant: on_axes(of.ours, methods, seeds=every) for variant, of in comparisons.items()}
    scores = {variant: _scores(own, theirs) for variant, own in ours.items()}
    is_paired = len(scores) == len(VARIANTS) and len(common) > 0
    if is_paired:  # on the places and seeds at which both variants have one
        known = ~np.isnan(sum(scores.values()))
        scores = {variant: np.where(known, of, np.nan) for variant, of in scores.items()}
    total = int(theirs.present.sum())
    places = max(int((~np.isnan(agreement)).any(axis=1).sum()) for _, agreement, _ in scores.values())
    measures = tuple(
        _measure(name, {variant: of[place] for variant, of in scores.items()}, is_paired, is_whole=places == total)
        for place, name in enumerate(MEASURES)
    )
    nearer = {measure.nearer for measure in measures} - {None}
    found = LayoutComparison(
        methods=methods,
        places=places,
        seeds=len(common) if is_paired else 0,
        measures=measures,
        between_seeds={variant: _between_seeds(accuracy) for variant, (_, _, accuracy) in scores.items()},
        nearer=nearer.pop() if len(nearer) == 1 else None,
        verdict="",
        lost={variant: lost_told(own) for variant, own in ours.items()},
    )
    return replace(found, verdict=_in_words(found, total))


def _scores(own: FigureGrid, theirs: FigureGrid) -> Floats:
    """Both measures and our training accuracy at every published place, (3, places, seeds), NaN where there is none."""
    accuracy = own.accuracy[_METRIC]
    is_alike = trained(own, MOMENT) == trained(theirs.at_threshold(own.threshold), MOMENT)
    agreement = np.where(own.present, is_alike, np.nan)
    scores = np.array([np.abs(accuracy - theirs.accuracy[_METRIC]), agreement, accuracy])
    return scores.reshape(len(scores), -1, len(own.seeds))


def _measure(name: str, scores: Mapping[str, Floats], is_paired: bool, is_whole: bool) -> LayoutMeasure:
    totals = {variant: np.nansum(of, axis=0) for variant, of in scores.items()}
    counts = {variant: (~np.isnan(of)).sum(axis=0).astype(np.float64) for variant, of in scores.items()}
    ratios = {variant: ratio_over_seeds(totals[variant], counts[variant]) for variant in scores}
    of = {variant: ratio for variant, ratio in ratios.items() if ratio is not None}
    difference = ratio_over_seeds(totals["paper"] - totals["code"], counts["paper"]) if is_paired else None
    return LayoutMeasure(name, of, difference, _nearer(name, difference) if is_whole else None)


def _nearer(name: str, difference: Interval | None) -> str | None:
    """The variant that the interval of paper − code puts nearer: a small distance is near, a high agreement is."""
    if difference is None or (ends := difference.ends()) is None:
        return None
    more, less = ("code", "paper") if name == "distance" else ("paper", "code")
    return more if ends[0] > 0 else less if ends[1] < 0 else None


def _between_seeds(accuracy: Floats) -> float:
    """The mean absolute difference of two seeds of one place, over all pairs of seeds; NaN with fewer than two."""
    one, other = np.triu_indices(accuracy.shape[1], 1)
    apart = np.abs(accuracy[:, one] - accuracy[:, other])
    known = apart[~np.isnan(apart)]
    return float(known.mean()) if len(known) else float("nan")


def _in_words(found: LayoutComparison, total: int) -> str:
    """The verdict, where so many places are published."""
    if missing := [variant for variant in VARIANTS if variant not in found.between_seeds]:
        commands = "; ".join(f"{TITLES[one]} is not trained ({study(_TRAINED_BY).command(one)})" for one in missing)
        return f"undecided: {commands}"
    if not found.seeds:
        return "undecided: the two layouts have no seed in common"
    if found.nearer is not None:
        answer = f"{TITLES[found.nearer]} is nearer to the published figure"
    elif found.places < total:
        answer = f"undecided, {found.places} of the {total} published places are trained so far"
    elif found.seeds < LEAST_FOR_INTERVAL:
        answer = f"undecided with {counted(found.seeds, 'seed')} in common, {LEAST_FOR_INTERVAL} are needed"
    elif any(measure.nearer for measure in found.measures):
        answer = "undecided, the two measures contradict each other"
    else:
        answer = "undecided, no interval of the difference leaves out 0"
    numbers = "; ".join(
        f"{MEASURES[measure.name]}: "
        + ", ".join(f"{TITLES[variant]} {interval_words(of)}" for variant, of in measure.of.items())
        + (f", difference {interval_words(measure.difference)}" if measure.difference else "")
        for measure in found.measures
    )
    apart = ", ".join(f"{TITLES[variant]} {found.between_seeds[variant]:.3f}" for variant in VARIANTS)
    return f"{answer}: {numbers}. Two seeds of one layout are apart by: {apart}."
