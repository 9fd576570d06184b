"""Swept settings as axes: figures that differ in a few settings' values together, a method's cells over the values."""

import itertools
import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.cell import cell_fields
from jumpstart_exp.report.table.grid import FigureGrid, GridError, GridWarning, cells_of, in_words, slug, spelled
from jumpstart_exp.report.table.names import follows, label_title, method_rank
from jumpstart_exp.store.fields import NULL, Settings, follows_from_optimizer, is_of_method, is_optional, usual

MOST_ALONE = 4
"""Figures of a sweep up to which each has files of its own."""

_ALIKE = 0.5  # least share of their places that neighbouring values have in common
_DIGITS = 4  # of a number on an axis
_OPTIMIZER = "optimizer.name"

Value = tuple[Hashable, ...]
"""What the swept settings hold, in their order; None, where that is no value of the setting, for no effect."""


@dataclass(frozen=True, eq=False)
class SweptMethod:
    """One method's cells over the values of a sweep, at the depth-width pairs that all of its values have.

    `values` are in the order of the grid's first axis: in `grid` every value stands as a method, under its words.
    """

    label: str
    title: str
    values: tuple[Value, ...]
    grid: FigureGrid


@dataclass(frozen=True, eq=False)
class Sweep:
    """Figures that differ in nothing but some settings, the swept ones, as axes.

    `names` are the swept settings, the one with the most values first; `values` those of each, ascending. `title` is
    what the figures' titles share, `slug` the stable part of file names. `methods` are those that have a value, or
    several, at one depth-width pair at least. `own` are the slugs of the figures that are drawn by themselves all the
    same: all of few, else the one of which the most networks train, on the pairs that are compared.
    """

    title: str
    slug: str
    names: tuple[str, ...]
    values: Mapping[str, tuple[Hashable, ...]]
    grids: tuple[FigureGrid, ...]
    methods: tuple[SweptMethod, ...]
    own: frozenset[str]


def has_effect(name: str, value: Hashable) -> bool:
    """Whether the setting has one; null is a value of some, and says of others that they have none."""
    return value is not None or (is_optional(name) and not is_of_method(name))


def value_words(name: str, values: Sequence[Hashable]) -> list[str]:
    """The setting's values as an axis tells them: numbers in few digits where that keeps them apart."""
    short = [f"{value:.{_DIGITS}g}" if type(value) is float else _spelled(name, value) for value in values]
    short = [text.replace("e-0", "e-").replace("e+0", "e") for text in short]
    return short if len({*short}) == len(short) else [_spelled(name, value) for value in values]


def sweeps(grids: Sequence[FigureGrid], table: pd.DataFrame, *, each: bool = False) -> tuple[Sweep, ...]:
    """The sweeps among the figures that `figure_grids` made of the table, by title.

    Two figures are neighbours if a method of both differs in exactly one setting, which has an effect on both, and
    has half of its depth-width pairs or more in common; neighbours of neighbours are of one sweep, and whatever differs
    between them is swept. What is no number, text or truth, of another dataset or of another version never is.
    With `each` all figures are drawn by themselves, too.

    Raises:
        GridError: two results stand at one place.
    """
    if len(grids) < 2:
        return ()
    from scipy.sparse.csgraph import connected_components

    count, member = connected_components(_neighbours(grids), directed=False)
    families = [[grids[int(place)] for place in np.flatnonzero(member == number)] for number in range(count)]
    found = [sweep for family in families if len(family) > 1 and (sweep := _sweep(family, table, each=each))]
    often = Counter(sweep.slug for sweep in found)
    return tuple(
        # one stays as it is where another has its name by chance: their values tell them apart
        sweep if often[sweep.slug] == 1 else replace(sweep, slug=slug([sweep.slug], {"values": repr(sweep.values)}))
        for sweep in sorted(found, key=lambda sweep: (sweep.title, sweep.slug))
    )


def _neighbours(grids: Sequence[FigureGrid]) -> NDArray[np.bool_]:
    """Which figures are neighbours, (figures, figures)."""
    found = np.zeros((len(grids), len(grids)), np.bool_)
    for label in sorted({label for grid in grids for label in grid.methods}):
        members: dict[tuple[tuple[str, Hashable], ...], list[int]] = defaultdict(list)
        for place, grid in enumerate(grids):
            if label in grid.methods:
                members[tuple(sorted(grid.settings[label].items()))].append(place)
        settings = [dict(items) for items in members]
        unlike = np.zeros((len(settings), len(settings)), np.int64)
        of_optimizers = follows_from_optimizer(settings, rate=True)
        for name in {name for of in settings for name in of.keys() - follows(of) - of_optimizers}:
            unlike += _unlike(name, [of.get(name) for of in settings])
        own = np.zeros((len(settings), len(grids)), np.int64)
        for number, places in enumerate(members.values()):
            own[number, places] = 1
        firsts = [grids[places[0]] for places in members.values()]
        near = (unlike == 1) & _share_places(firsts, label) & _are_scored_alike(firsts)
        found |= own.T @ near.astype(np.int64) @ own > 0
    return found


def _unlike(name: str, values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Of each two values 1 if they differ, 2 if such a difference is nothing that is swept, (values, values)."""
    codes: dict[Hashable, int] = {}
    code = np.array([codes.setdefault(value, len(codes)) for value in values])
    differ = code[:, None] != code
    field = cell_fields().get(name)
    lists = name != "rai.layers" and any(isinstance(value, tuple) for value in values)
    if field is None or name in ("dataset", "dataset.content") or lists:
        return np.asarray(2 * differ)
    acts = np.array([has_effect(name, value) for value in values])
    return np.asarray((differ & acts[:, None] & acts).astype(np.int64))


def _are_scored_alike(grids: Sequence[FigureGrid]) -> NDArray[np.bool_]:
    """Which two figures have the same score, chance and threshold, (figures, figures)."""
    scores = [(grid.task, grid.chance, grid.threshold) for grid in grids]
    return np.array([[one == other for other in scores] for one in scores], np.bool_)


def _share_places(grids: Sequence[FigureGrid], label: str) -> NDArray[np.bool_]:
    """Which two figures have at least half of one method's depth-width pairs in common, (figures, figures)."""
    pairs = [_pairs(grid, label) for grid in grids]
    every = {pair: place for place, pair in enumerate(sorted(set().union(*pairs)))}
    there = np.zeros((len(pairs), len(every)), np.int64)
    for row, own in zip(there, pairs, strict=True):
        row[[every[pair] for pair in own]] = 1
    common, sizes = there @ there.T, there.sum(axis=1)
    return np.asarray(common >= _ALIKE * (sizes[:, None] + sizes - common))


def _pairs(grid: FigureGrid, label: str) -> set[tuple[int, int]]:
    there = grid.present[grid.methods.index(label)].any(axis=-1)
    return {(grid.depths[depth], grid.widths[width]) for depth, width in np.argwhere(there)}


def _sweep(grids: list[FigureGrid], table: pd.DataFrame, *, each: bool) -> Sweep | None:
    """The figures as a sweep; None where no method has a depth-width pair of which all values have a network."""
    labels = sorted({label for grid in grids for label in grid.methods}, key=method_rank)
    of_labels = {label: [grid.settings[label] for grid in grids if label in grid.methods] for label in labels}
    values: dict[str, set[Hashable]] = defaultdict(set)
    of_optimizers = follows_from_optimizer(itertools.chain(*of_labels.values()), rate=True)
    for settings in of_labels.values():
        for name in settings[0].keys() - follows(settings[0]) - of_optimizers:
            own = {of[name] for of in settings if has_effect(name, of[name])}
            if len(own) > 1:
                values[name] |= own
    ordered = {name: tuple(sorted(values[name], key=_ascending)) for name in sorted(values)}
    names = tuple(sorted(ordered, key=lambda name: -len(ordered[name])))
    title = _title(grids, names)
    methods = [method for label in labels if (method := _method(label, names, ordered, grids, table, title))]
    if not any(len(method.values) > 1 for method in methods):
        return None
    fixed = {name: value for name, value in _shared(of_labels).items() if name not in names}
    words = [spelled(fixed[name]) for name in ("dataset", "network.layout") if name in fixed]
    words += [f"{spelled(fixed[name])}epochs" for name in ("optimizer.epochs",) if name in fixed]
    is_few = each or len(grids) <= MOST_ALONE
    alone = grids if is_few else [_best(grids, names, methods)]
    return Sweep(
        title,
        slug([*words, "over", *sorted(names)], {**fixed, "swept": tuple(sorted(names))}),
        names,
        ordered,
        tuple(grids),
        tuple(methods),
        frozenset(grid.slug for grid in alone),
    )


def _method(
    label: str,
    names: tuple[str, ...],
    ordered: Mapping[str, tuple[Hashable, ...]],
    grids: Sequence[FigureGrid],
    table: pd.DataFrame,
    title: str,
) -> SweptMethod | None:
    """One method of the figures over their values, or None, with a warning, where its values have no pair in common."""
    own: dict[Value, list[FigureGrid]] = defaultdict(list)
    for grid in grids:
        if label in grid.methods:
            own[_value(grid.settings[label], names)].append(grid)
    values = tuple(sorted(own, key=lambda value: [*map(_ascending, value)]))
    common = set.intersection(*(set().union(*(_pairs(grid, label) for grid in own[value])) for value in values))
    first = own[values[0]][0]
    method_title = first.method_titles[first.methods.index(label)]
    if not common:
        told = (
            f"{title} over {', '.join(names)}: {method_title} is left out: its values have no depth × width in common"
        )
        warnings.warn(told, GridWarning, stacklevel=5)
        return None
    depths, widths = (sorted({pair[axis] for pair in common}) for axis in (0, 1))
    seeds = sorted({seed for value in values for grid in own[value] for seed in grid.seeds})
    owner = np.full((len(values), len(depths), len(widths), len(seeds)), -1)
    for number, value in enumerate(values):
        for grid in own[value]:
            rows = grid.rows[grid.methods.index(label)]
            for at in np.argwhere(rows >= 0):
                pair, seed = (grid.depths[at[0]], grid.widths[at[1]]), grid.seeds[at[2]]
                if pair in common:
                    place = number, depths.index(pair[0]), widths.index(pair[1]), seeds.index(seed)
                    if owner[place] not in (-1, rows[tuple(at)]):
                        network = f"{label_title(label)} {pair[0]}×{pair[1]} seed {seed}"
                        raise GridError(f"two results for {network} at one value of {', '.join(names)}: {title}")
                    owner[place] = rows[tuple(at)]
    words = _words(values, names, ordered)
    axes: list[list[Any]] = [words, depths, widths, seeds]
    return SweptMethod(
        label,
        method_title,
        values,
        replace(
            first,
            title=f"{title} · {method_title}",
            methods=tuple(words),
            method_titles=tuple(words),
            penalised=(),
            depths=tuple(depths),
            widths=tuple(widths),
            seeds=tuple(seeds),
            settings={word: own[value][0].settings[label] for word, value in zip(words, values, strict=True)},
            **cells_of(owner, axes, table, first.task),
        ),
    )


def _value(settings: Settings, names: Iterable[str]) -> Value:
    return tuple(settings.get(name) for name in names)


def _words(values: Sequence[Value], names: Sequence[str], ordered: Mapping[str, tuple[Hashable, ...]]) -> list[str]:
    """Every value in words: of one setting the value alone, of several with their names."""
    words = {name: dict(zip(ordered[name], value_words(name, ordered[name]), strict=True)) for name in names}
    told = [
        [(name, words[name][part]) for name, part in zip(names, value, strict=True) if part in words[name]]
        for value in values
    ]
    if len(names) == 1:
        return [parts[0][1] if parts else "no effect" for parts in told]
    return [", ".join(f"{name}={word}" for name, word in parts) or "no effect" for parts in told]


def _best(grids: Sequence[FigureGrid], names: Sequence[str], methods: Sequence[SweptMethod]) -> FigureGrid:
    """The figure of which the most networks train at the best epoch, by the pairs that are compared."""

    def rank(grid: FigureGrid) -> tuple[float, float]:
        shares, accuracies = [], []
        for method in methods:
            if len(method.values) > 1 and method.label in grid.methods:
                at = method.values.index(_value(grid.settings[method.label], names))
                trained, present = method.grid.trained("best")[at], method.grid.present[at]
                shares.append(trained.sum() / present.sum())
                accuracies.append(np.nan_to_num(method.grid.accuracy["train_acc_best"][at][present]).mean())
        return (float(np.mean(shares)), float(np.mean(accuracies))) if shares else (-1.0, -1.0)

    return max(grids, key=rank)


def _shared(of_labels: Mapping[str, Sequence[Settings]]) -> dict[str, Hashable]:
    """The settings on which all figures agree: those of the context, and the methods' strengths."""
    found: dict[str, set[Hashable]] = defaultdict(set)
    for name, value in itertools.chain.from_iterable(of.items() for own in of_labels.values() for of in own):
        if value is not None and (not is_of_method(name) or cell_fields()[name].tunes):
            found[name].add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _title(grids: Sequence[FigureGrid], names: Sequence[str]) -> str:
    """What all of the figures' titles say, without the swept settings."""
    swept = {
        in_words(name, of[name]) for grid in grids for of in grid.settings.values() for name in names if name in of
    }
    parts = [grid.title.split(" · ") for grid in grids]
    shared = [part for part in parts[0] if all(part in other for other in parts) and part not in swept]
    return " · ".join([*(shared or [grids[0].dataset_title]), *(_of_optimizers(grids) if _OPTIMIZER in names else [])])


def _of_optimizers(grids: Sequence[FigureGrid]) -> list[str]:
    """What each optimizer of the figures has that is not as usual, of one rate each that too: sgd with momentum=0.9."""
    settings = [of for grid in grids for of in grid.settings.values()]
    follow = follows_from_optimizer(settings, rate=True)
    rates = {of.get("optimizer.lr") for of in settings}
    words: dict[str, set[str]] = defaultdict(set)
    for of, name in itertools.product(settings, sorted(follow)):
        told = len(rates) > 1 if name == "optimizer.lr" else of.get(name) != usual(name)
        if told and of.get(name) is not None:
            words[str(of[_OPTIMIZER])].add(in_words(name, of[name]).partition(".")[2])
    return [f"{optimizer} with {', '.join(sorted(words[optimizer]))}" for optimizer in sorted(words)]


def _ascending(value: Hashable) -> tuple[int, float, str]:
    """A sort key: null first, then truths and numbers, then texts."""
    if value in (None, NULL):
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, bool | float) else (2, 0.0, str(value))


def _spelled(name: str, value: Hashable) -> str:
    return spelled(value) if value is not None else in_words(name, value).removeprefix(f"{name}=")
