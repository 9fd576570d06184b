"""Figure grids: the store's table as arrays of method × depth × width × seed; nothing but the seed is ever averaged.

Rows belong to one figure only if they agree in everything but depth, width, seed and what makes their methods
different:

* The *context* (dataset, layout, optimizer, task loss, precision) is equal within a figure.
* *Method settings* (penalty, norm, initialisation, dropout: fields of the role `method`) belong to the method's label.
  Where one label occurs with several values (a λ sweep), those settings are *swept*, and each combination of their
  values is a figure of its own. A setting without effect (λ under relu) fits every combination, so relu stands in
  every figure of a λ sweep, and a combination that another one only makes more specific is no figure. A null that is
  a value beside others (no `optimizer.clip_norm`, no `regulariser.function`) is swept like them.
"""

import hashlib
import json
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.cell import cell_fields
from jumpstart_exp.console import Notice
from jumpstart_exp.data import DATASETS, DatasetSpec
from jumpstart_exp.report.table.names import dataset_of, follows, label_title, method_rank, method_title
from jumpstart_exp.result import COLUMNS, SCORES
from jumpstart_exp.settings import legible
from jumpstart_exp.store.fields import (
    AXES,
    NULL,
    Settings,
    follows_from_optimizer,
    is_of_method,
    is_optional,
    off,
    setting_columns,
    told,
    usual,
)

MOMENTS = ("best", "last")
"""When an accuracy is taken: at its best epoch or at the last one."""

_MOST_PLACES = 2_000_000
_MOST_COLUMNS = 1500  # of heatmaps, the panels of all methods side by side
_MOST_ROWS = 400

_IN_EVERY_TITLE = ("dataset", "network.layout", "optimizer.epochs")
_CONTENT = "dataset.content"

_NULL_WORDS = {
    "optimizer.batch_size": "full batch",
    "dataset.noise": "no noise",
    "dataset.n_train": "all training points",
    "dataset.n_val": "all validation points",
    "dataset.content": "files as published",
    "dataset.test_size": "validation points of its own",
}


class GridWarning(Notice):
    """A figure is left out; the message says which and why."""


class GridError(ValueError):
    """The table cannot be drawn without averaging or choosing between unlike rows."""


@dataclass(frozen=True, eq=False)
class FigureGrid:
    """What one figure shows; every array but `n_params` is (methods, depths, widths, seeds), axes ascending.

    `accuracy` maps train_acc_best, train_acc_last, val_acc_best and val_acc_last to the scores of the dataset's `task`,
    accuracies in [0, 1] or R² (at most 1), NaN where there is none: a cell that is missing, diverged or failed has no
    score. `title` says what tells this figure from the store's
    others; `slug` is the stable part of its file names. `chance` is the score of guessing, 1 / classes or an
    R² of 0; a network trains if its training score reaches `threshold`.
    `method_titles` are the labels in the papers' words; `penalised` are the labels that differ from a plain ReLU
    network by the penalty alone, whatever their initialisation. `n_params`, (methods, depths, widths), is 0 where
    it is unknown. `seconds` and `memory` (bytes at the peak) are NaN but for trainings that are done; `trained_on`
    is their engine and device, else empty. `rows` are the places of the cells' rows in the table, -1 for none.
    `settings` are each method's by its label, those of the context included. `studies` are the published studies that
    have all of the cells.
    """

    title: str
    slug: str
    dataset: str
    dataset_title: str
    task: str
    layout: str
    chance: float
    threshold: float
    methods: tuple[str, ...]
    method_titles: tuple[str, ...]
    penalised: tuple[str, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    seeds: tuple[int, ...]
    n_params: NDArray[np.int64]
    accuracy: Mapping[str, NDArray[np.float64]]
    present: NDArray[np.bool_]
    diverged: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    memory: NDArray[np.float64]
    trained_on: NDArray[np.object_]
    rows: NDArray[np.int64]
    settings: Mapping[str, Settings]
    studies: tuple[str, ...] = ()

    @property
    def score(self) -> str:
        """What the score is called: accuracy, or R²."""
        return SCORES[self.task]

    @property
    def scores(self) -> str:
        """Several of them: accuracies, or R²."""
        return {"accuracy": "accuracies"}.get(self.score, self.score)

    def at_threshold(self, threshold: float | None) -> "FigureGrid":
        """The same figure where a network trains from another training accuracy on; None leaves it as it is."""
        return self if threshold is None else replace(self, threshold=threshold)

    def trained(self, at_epoch: str) -> NDArray[np.bool_]:
        """Which cells train, (methods, depths, widths, seeds); missing, diverged and failed ones do not.

        Args:
            at_epoch: "best" or "last" epoch.
        """
        # accuracies are ratios of whole numbers: one that reaches the threshold may be a rounding below it
        known = np.nan_to_num(self.accuracy[f"train_acc_{at_epoch}"], nan=-np.inf)
        return np.asarray(known >= self.threshold - 1e-9)

    def mean(self, column: str) -> NDArray[np.float64]:
        """Mean accuracy over the trained seeds, (methods, depths, widths); NaN where no seed has one."""
        values = self.accuracy[column]
        known = ~np.isnan(values)
        count = known.sum(axis=-1)
        total = np.where(known, values, 0.0).sum(axis=-1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def untrained(self) -> NDArray[np.bool_]:
        """Where there are seeds and all of them diverged or failed, (methods, depths, widths)."""
        lost = np.all(~self.present | self.diverged | self.failed, axis=-1)
        return np.asarray(lost & np.any(self.present, axis=-1))

    def partly_untrained(self) -> NDArray[np.bool_]:
        """Where some seeds, but not all, diverged or failed, (methods, depths, widths): the mean is of the others."""
        return np.asarray(np.any(self.diverged | self.failed, axis=-1) & ~self.untrained())

    def seed_range(self) -> tuple[int, int]:
        """Fewest and most seeds, trained or not, of the grid's places that have any."""
        count = self.present.sum(axis=-1)
        count = count[count > 0]
        return int(count.min()), int(count.max())


_P = ParamSpec("_P")
_T = TypeVar("_T")


def once_a_grid(function: Callable[Concatenate[FigureGrid, _P], _T]) -> Callable[Concatenate[FigureGrid, _P], _T]:
    """The function, its results kept as long as their grid is: several figures and tables ask for the same."""
    known: WeakKeyDictionary[FigureGrid, dict[Hashable, _T]] = WeakKeyDictionary()

    @wraps(function)
    def kept(grid: FigureGrid, /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        results, asked = known.setdefault(grid, {}), (arguments, *sorted(named.items()))
        if asked not in results:
            results[asked] = function(grid, *arguments, **named)
        return results[asked]

    return kept


@dataclass(frozen=True)
class _Entry:
    row: int
    label: str
    at: tuple[int, ...]  # along AXES
    settings: Settings


@dataclass(frozen=True)
class _Draft:
    context: Settings
    swept: Settings
    entries: tuple[_Entry, ...]

    @cached_property
    def words(self) -> tuple[str, str, str]:
        """Dataset, layout and epochs."""
        dataset, layout, epochs = (spelled(self.context[name]) for name in _IN_EVERY_TITLE)
        return dataset, layout, epochs

    @cached_property
    def dataset(self) -> DatasetSpec:
        """What the rows were trained on.

        Raises:
            GridError: it is unknown.
        """
        name = self.words[0]
        if name not in DATASETS:
            known = ", ".join(DATASETS)
            raise GridError(f"dataset={legible(name)} in the store is not a known dataset: one of {known}")
        return dataset_of(self.context)

    @cached_property
    def axes(self) -> list[list[Any]]:
        """Methods, and the values along AXES."""
        methods = sorted({entry.label for entry in self.entries}, key=method_rank)
        return [methods, *(sorted(values) for values in map(set, zip(*(e.at for e in self.entries), strict=True)))]

    @cached_property
    def settings(self) -> Settings:
        """The figure's method settings: the swept ones, and those on which all its methods that have them agree."""
        own = _distinct(self.entries)
        values = {name: {settings[name] for settings in own} - {None} for name in own[0]}
        agreed = {name: found.pop() for name, found in values.items() if cell_fields()[name].tunes and len(found) == 1}
        return agreed | {name: value for name, value in self.swept.items() if value is not None}


def figure_grids(table: pd.DataFrame) -> list[FigureGrid]:
    """Every figure that the store's table of cells supports, sorted by title.

    The slug hashes the context, the swept settings and the settings on which the figure's methods agree, without
    those that are a cell's default. It depends on the figure's own rows only, so other figures never rename it;
    a sweep that is added to a setting keeps the name of the figure that was there. Two additions do rename: the
    first penalised method, with settings other than the defaults, in a figure that had none; and a sweep of what
    tells methods apart (initialisation, norm, ρ, dropout) around a value that is not the cell's default.

    Raises:
        GridError: two rows share a figure, method, depth, width and seed; seeds of one network differ in their
            number of parameters; or a dataset is unknown.
    """
    if table.empty:
        return []
    drafts = [
        _Draft(context, swept, joined) for context, entries in _contexts(table) for swept, joined in _figures(entries)
    ]
    of_datasets: dict[str, list[_Draft]] = defaultdict(list)
    for draft in drafts:
        of_datasets[draft.dataset.title].append(draft)
    titles = {title: _Titles(alike) for title, alike in of_datasets.items()}
    titled = [(draft, titles[draft.dataset.title].of(draft)) for draft in drafts]
    grids = [_grid(draft, title, table) for draft, title in titled if _can_be_shown(draft, title)]
    return sorted(grids, key=lambda grid: (_natural(grid.title), grid.slug))


def one_figure(table: pd.DataFrame, ignoring: Collection[str] = ()) -> FigureGrid:
    """All rows of the table as one figure, whatever tells their methods apart: nothing is swept.

    A method's settings are those of its deepest network: a shallow one may have no room for what the method adds.

    Args:
        table: rows of the store's table of cells, one at least.
        ignoring: settings of the context in which the methods may differ.

    Raises:
        GridError: the rows differ in another setting of the context, or as of `figure_grids`.
    """
    contexts = _contexts(table, ignoring)
    if len(contexts) != 1:
        (first, _), (second, _), *_ = contexts
        name = next(name for name in first if first[name] != second[name])
        values = " and ".join(spelled(each[name]) for each in (first, second))
        raise GridError(f"{name} of the rows of one figure differs: {values}")
    (context, entries), *_ = contexts
    draft = _Draft(context, {}, tuple(sorted(entries, key=lambda entry: -entry.at[0])))
    return _grid(draft, _Titles([draft]).of(draft), table)


def _contexts(table: pd.DataFrame, ignoring: Collection[str] = ()) -> list[tuple[Settings, list[_Entry]]]:
    """The contexts of the table's rows, but for the settings to ignore, each with the entries that have it."""
    columns = setting_columns(table)
    axes = [[int(value) for value in table[name]] for name in AXES]
    of_method = {name: values for name, values in columns.items() if is_of_method(name)}
    of_context = {name: of for name, of in columns.items() if name not in (*of_method, *AXES, *ignoring)}
    contexts: list[list[_Entry]] = [[] for _ in range(len(table))]
    shared: list[Settings] = []  # by the first row that has them
    for row, (context, settings, at, labels) in enumerate(
        zip(_firsts(of_context), _firsts(of_method), zip(*axes, strict=True), table["labels"], strict=True)
    ):
        of_row = {name: values[settings] for name, values in of_method.items()} if settings == row else {}
        shared.append(of_row)
        contexts[context] += [_Entry(row, label, at, shared[settings]) for label in sorted({*labels})]
    return [
        ({name: values[first] for name, values in of_context.items()}, entries)
        for first, entries in enumerate(contexts)
        if entries
    ]


def _firsts(columns: Mapping[str, list[Hashable]]) -> list[int]:
    """For every row the first one that has the same values."""
    # of most settings a store has one value only
    several = [values for values in columns.values() if any(value != values[0] for value in values)]
    first: dict[tuple[Hashable, ...], int] = {}
    rows = len(next(iter(columns.values()), ()))
    return [first.setdefault(tuple(values[row] for values in several), row) for row in range(rows)]


def _distinct(entries: Iterable[_Entry]) -> list[Settings]:
    """Their settings, of which most entries share a few."""
    return [*{id(entry.settings): entry.settings for entry in entries}.values()]


def _figures(entries: list[_Entry]) -> list[tuple[Settings, tuple[_Entry, ...]]]:
    """Swept settings and entries of the figures of one context."""
    labels: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        labels[entry.label].append(entry)
    labels = {
        label: _with_null_values(_with_relaxation(_with_zero_weight(of_label))) for label, of_label in labels.items()
    }
    varying = {label: _varying(of_label) for label, of_label in labels.items()}
    swept = sorted(set().union(*varying.values()))
    members: dict[tuple[Hashable, ...], list[_Entry]] = defaultdict(list)
    for label, of_label in labels.items():
        # without the thing altogether a method fits every figure, unless it has it elsewhere
        fits_all = [None if name in varying[label] else off(name) for name in swept]
        for entry in of_label:
            values = (entry.settings[name] for name in swept)
            demand = tuple(None if value == fits else value for value, fits in zip(values, fits_all, strict=True))
            members[demand].append(entry)
    return [
        (
            dict(zip(swept, combination, strict=True)),
            tuple(entry for demand in members if _fits(demand, combination) for entry in members[demand]),
        )
        for combination in _most_specific(members)
    ]


def _with_zero_weight(entries: list[_Entry]) -> list[_Entry]:
    """One label's entries, where those without penalty are λ = 0 of the label's one penalty if it has one."""
    kinds = {entry.settings.get("penalty.kind") for entry in entries} - {"none", None}
    if len(kinds) != 1:
        return entries
    zero = {"penalty.kind": kinds.pop(), "penalty.weight": 0.0}
    return [
        replace(entry, settings={**entry.settings, **zero}) if entry.settings.get("penalty.kind") == "none" else entry
        for entry in entries
    ]


def _with_relaxation(entries: list[_Entry]) -> list[_Entry]:
    """One label's entries, where those without relaxed layers are of weight 0 if others of the label relax some.

    Those that relax the outputs alone have NULL for every which hidden layer is relaxed.
    """
    if all(entry.settings.get("rai.weight") is None for entry in entries):
        return entries
    found = []
    for entry in entries:
        own: dict[str, Hashable] = {}
        if entry.settings.get("rai.weight") is None:
            own = {"rai.weight": 0.0}
        elif entry.settings.get("rai.every") is None and entry.settings.get("rai.layers") is None:
            own = {"rai.every": NULL}
        found.append(replace(entry, settings={**entry.settings, **own}) if own else entry)
    return found


def _varying(entries: list[_Entry]) -> set[str]:
    """The settings of which one label has several values; null beside one value follows from another setting."""
    own = _distinct(entries)
    return {name for name in own[0] if len({settings[name] for settings in own} - {None}) > 1}


def _with_null_values(entries: list[_Entry]) -> list[_Entry]:
    """One label's entries, where a null that no other setting explains is a value: NULL.

    Fields stand in their order, so that what depends on one (a function's source) is explained by it.
    """
    for name in (name for name in cell_fields() if name in entries[0].settings and is_optional(name)):
        if usual(name) is not None or not any(entry.settings[name] is not None for entry in entries):
            continue
        others = [of for of in _varying(entries) - {name} if all(entry.settings[of] is not None for entry in entries)]
        nulls: dict[tuple[Hashable, ...], set[bool]] = defaultdict(set)
        for entry in entries:
            nulls[tuple(entry.settings[other] for other in others)].add(entry.settings[name] is None)
        if any(len(found) > 1 for found in nulls.values()):
            entries = [
                replace(entry, settings={**entry.settings, name: NULL})
                if entry.settings[name] is None and _can_act(name, entry.settings)
                else entry
                for entry in entries
            ]
    return entries


def _can_act(name: str, settings: Settings) -> bool:
    """Whether there is what the setting is of: without a penalty, or a function, it fits all of its values."""
    if name.startswith("penalty."):
        return settings.get("penalty.kind") not in ("none", None) and settings.get("penalty.weight") != 0
    return name != "regulariser.settings" or settings.get("regulariser.function") not in (NULL, None)


def _most_specific(demands: Iterable[tuple[Hashable, ...]]) -> list[tuple[Hashable, ...]]:
    """All combinations of compatible demands, without those that another one only makes more specific."""
    merged = {*demands}
    fresh = {*merged}
    while fresh:
        fresh = {
            tuple(x if x is not None else y for x, y in zip(one, other, strict=True))
            for one in fresh
            for other in merged
            if all(x is None or y is None or x == y for x, y in zip(one, other, strict=True))
        } - merged
        merged |= fresh
    kept = [one for one in merged if not any(_fits(one, other) for other in merged if other != one)]
    return sorted(kept, key=repr)


def _fits(demand: tuple[Hashable, ...], combination: tuple[Hashable, ...]) -> bool:
    return all(wanted is None or wanted == value for wanted, value in zip(demand, combination, strict=True))


def _can_be_shown(draft: _Draft, title: str) -> bool:
    """Whether there is paper for the figure, and memory for its arrays; a warning says where there is not."""
    shape = methods, depths, widths, seeds = [len(values) for values in draft.axes]
    if math.prod(shape) <= _MOST_PLACES and methods * depths <= _MOST_COLUMNS and widths <= _MOST_ROWS:
        return True
    warnings.warn(
        f"{title} is left out: {methods} methods × {depths} depths × {widths} widths × {seeds} seeds "
        "are more than a figure can show",
        GridWarning,
        stacklevel=3,
    )
    return False


def _grid(draft: _Draft, title: str, table: pd.DataFrame) -> FigureGrid:
    dataset, layout, _ = draft.words
    indices = [{value: i for i, value in enumerate(values)} for values in draft.axes]
    owner = np.full([len(values) for values in draft.axes], -1)
    for entry in draft.entries:
        place = tuple(index[value] for index, value in zip(indices, (entry.label, *entry.at), strict=True))
        if owner[place] >= 0:
            keys = " and ".join(legible(str(table["key"].iloc[row])) for row in (owner[place], entry.row))
            network = f"{label_title(entry.label)} {entry.at[0]}×{entry.at[1]} seed {entry.at[2]}"
            raise GridError(f"two results for {network} in one figure: keys {keys}")
        owner[place] = entry.row

    methods, depths, widths, seeds = (tuple(values) for values in draft.axes)
    settings = {entry.label: entry.settings for entry in reversed(draft.entries)}
    return FigureGrid(
        title=title,
        slug=slug([*draft.words[:2], f"{draft.words[2]}epochs"], {**draft.context, **draft.settings}),
        dataset=dataset,
        dataset_title=draft.dataset.title,
        task=draft.dataset.task,
        layout=layout,
        chance=draft.dataset.chance,
        threshold=draft.dataset.threshold,
        methods=methods,
        method_titles=_method_titles(methods, settings),
        penalised=tuple(label for label in methods if _is_only_penalised(settings[label])),
        depths=depths,
        widths=widths,
        seeds=seeds,
        settings={label: {**draft.context, **settings[label]} for label in methods},
        **cells_of(owner, draft.axes, table, draft.dataset.task),
    )


def cells_of(owner: NDArray[np.int64], axes: list[list[Any]], table: pd.DataFrame, task: str) -> dict[str, Any]:
    """The arrays of a FigureGrid by name, of the cells whose rows of the table `owner` has, -1 for none.

    Raises:
        GridError: seeds of one network differ in their number of parameters.
    """
    known = owner >= 0
    rows = owner[known]

    def words(name: str, missing: str) -> NDArray[np.object_]:
        found = np.full(owner.shape, missing, dtype=object)
        found[known] = table[name].iloc[rows].astype(str).to_numpy(dtype=object)
        return found

    def numbers(name: str) -> NDArray[np.float64]:
        found = np.full(owner.shape, np.nan)
        found[known] = pd.to_numeric(table[name].iloc[rows]).to_numpy(dtype=np.float64, na_value=np.nan)
        return found

    status = words("status", "missing")
    done = status == "done"
    columns = {
        f"{metric}_{at_epoch}": f"{COLUMNS[task][metric]}_{at_epoch}"
        for metric in ("train_acc", "val_acc")
        for at_epoch in MOMENTS
    }
    return {
        "n_params": _agreed_parameters(numbers("n_params"), axes),
        "accuracy": {name: np.where(done, numbers(column), np.nan) for name, column in columns.items()},
        "present": known,
        "diverged": status == "diverged",
        "failed": status == "failed",
        "seconds": np.where(done, numbers("seconds"), np.nan),
        "memory": np.where(done, numbers("peak_memory_bytes"), np.nan),
        "trained_on": np.where(done, words("engine", "") + ", " + words("device", ""), ""),
        "rows": owner,
    }


def _agreed_parameters(counts: NDArray[np.float64], axes: list[list[Any]]) -> NDArray[np.int64]:
    """Number of parameters, (methods, depths, widths), on which all seeds that know it agree; 0 where none does."""
    most = np.where(np.isnan(counts), 0, counts).max(axis=-1)
    for place in np.argwhere(np.any(counts < most[..., None], axis=-1)):
        found = sorted({int(count) for count in counts[tuple(place)] if not np.isnan(count)})
        method, depth, width = (values[i] for values, i in zip(axes, place, strict=False))
        network = f"{label_title(method)} {depth}×{width}"
        raise GridError(f"n_params of {network} differs between its seeds: {' and '.join(map(str, found))}")
    return np.asarray(most, dtype=np.int64)


def _method_titles(methods: tuple[str, ...], settings: Mapping[str, Settings]) -> tuple[str, ...]:
    said = ("penalty.aggregate", "penalty.weight")
    titles = [method_title(label, *(settings[label].get(name) for name in said)) for label in methods]
    return tuple(
        title if titles.count(title) == 1 else label_title(label) for title, label in zip(titles, methods, strict=True)
    )


def _is_only_penalised(settings: Settings) -> bool:
    others = (name for name in settings if not (name.startswith("penalty.") or name == "network.init"))
    plain = all(settings[name] in (None, NULL, usual(name)) or cell_fields()[name].tunes for name in others)
    return plain and settings.get("penalty.kind") not in (None, "none") and settings.get("penalty.weight") != 0.0


class _Titles:
    """The titles of the figures of one dataset: what tells each from the others.

    What a table's file tells by itself is no part of one.
    """

    def __init__(self, drafts: Sequence[_Draft]) -> None:
        self._of_optimizers = follows_from_optimizer({**draft.context, **draft.settings} for draft in drafts)
        contexts, settings = [draft.context for draft in drafts], [draft.settings for draft in drafts]
        names = set().union(*contexts), set().union(*settings)
        self._contexts = {name for name in names[0] if len({of.get(name) for of in contexts}) > 1}
        self._settings = {name for name in names[1] if len({of.get(name) for of in settings} - {None}) > 1}
        contents: dict[object, set[Hashable]] = defaultdict(set)
        for draft in drafts:
            contents[_but_content(draft)].add(draft.context.get(_CONTENT))
        self._unexplained = {alike for alike, of in contents.items() if len(of) > 1}

    def of(self, draft: _Draft) -> str:
        """Dataset, layout, epochs and subset, then every other setting that the figures do not share."""
        _, layout, epochs = draft.words
        parts = [draft.dataset.title, layout, f"{epochs} epochs"]
        following = follows(draft.context)
        said = {*_IN_EVERY_TITLE, *following}
        # unlike contents that no other setting explains: another version draws otherwise
        if _CONTENT in following and _but_content(draft) in self._unexplained:
            said.remove(_CONTENT)
        if draft.context.get("dataset.n_train") is not None:
            parts.append(f"{spelled(draft.context['dataset.n_train'])} training points")
            said.add("dataset.n_train")
        said |= {name for name in self._of_optimizers if draft.context.get(name) == usual(name)}
        parts += [
            in_words(name, draft.context[name])
            for name in sorted(draft.context.keys() - said)
            if name in self._contexts
        ]
        parts += [in_words(name, draft.settings[name]) for name in sorted(draft.settings) if name in self._settings]
        return " · ".join(part for part in parts if part)


def _but_content(draft: _Draft) -> Hashable:
    """All that tells a figure from others but what follows from its other settings."""
    others = draft.context.keys() - follows(draft.context)
    return frozenset((name, draft.context[name]) for name in others), frozenset(draft.settings.items())


def in_words(name: str, value: Hashable) -> str:
    """A setting in a title; null is told only where it is a value of the setting."""
    if value is None:
        return _NULL_WORDS.get(name, f"{name}=null" if is_optional(name) else "")
    return f"{name}={spelled(value)}"


def spelled(value: Hashable) -> str:
    """A setting's value as it is typed: 5000, 1e-5, true, [1,0.5]."""
    if isinstance(value, tuple):
        return f"[{','.join(map(spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else str(value).replace("e-0", "e-")
    return str(value)


def slug(words: Iterable[str], settings: Settings) -> str:
    """Words that a file name may have, and a hash of the settings; of a method's without those that are the default."""
    kept = {
        name: value for name, value in settings.items() if not (is_of_method(name) and value in (NULL, usual(name)))
    }
    text = json.dumps(told(kept), sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", word) for word in (*words, digest))


def _natural(title: str) -> list[tuple[int, float, str]]:
    """A sort key that puts 2 epochs before 10."""
    parts = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?|[^\d]+", title)
    return [(0, float(part), "") if part[0].isdigit() else (1, 0.0, part) for part in parts]
