"""Figure grids: the store's table as arrays of method × depth × width × seed; nothing but the seed is ever averaged.

Rows belong to one figure only if they agree in everything but depth, width, seed and what makes their methods
different:

* The *context* (dataset, layout, optimizer, task loss, precision) is equal within a figure.
* *Method settings* (penalty, norm, initialisation, dropout) belong to the method's label. Where one label occurs
  with several values (a λ sweep), those settings are *swept*, and each combination of their values is a figure of
  its own. A setting without effect (λ under relu) fits every combination, so relu stands in every figure of a λ
  sweep, and a combination that another one only makes more specific is no figure.
"""

import hashlib
import json
import re
import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.cell import Cell
from jumpstart_exp.console import Notice
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.table.names import dataset_title, label_title, method_rank, method_title
from jumpstart_exp.settings import legible
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.penalty import PenaltySpec

MOMENTS = ("best", "last")
"""When an accuracy is taken: at its best epoch or at the last one."""

_METHOD_SETTING = re.compile(r"penalty\.|dropout\.|network\.norm|network\.init$")
_DESCRIPTION = re.compile(r"(dataset|network|penalty|dropout|optimizer)\.")
_AXES = ("depth", "width", "seed")
_OWN_SETTINGS = {
    "penalty.kind",
    "penalty.balance",
    "network.norm",
    "network.init",
    "dropout.rate",
    "dropout.anneal_epochs",
}
"""What tells the methods apart: it names a figure only where a label occurs with several values of it."""

_MOST_PLACES = 2_000_000
_MOST_COLUMNS = 1500  # of heatmaps, the panels of all methods side by side
_MOST_ROWS = 400

_TRAINER = ("engine", "device")
_OFF: dict[str, Hashable] = {"penalty.kind": "none", "dropout.rate": 0.0}
"""Values that say that a method does without the thing altogether."""

_NULL_WORDS = {
    "optimizer.batch_size": "full batch",
    "dataset.noise": "no noise",
    "dataset.n_train": "all training points",
    "dataset.n_val": "all validation points",
}

_Settings = dict[str, Hashable]


class GridWarning(Notice):
    """A figure is left out; the message says which and why."""


class GridError(ValueError):
    """The table cannot be drawn without averaging or choosing between unlike rows."""


@dataclass(frozen=True, eq=False)
class FigureGrid:
    """What one figure shows; every array but `n_params` is (methods, depths, widths, seeds), axes ascending.

    `accuracy` maps a column of the store (train_acc_best, …) to fractions in [0, 1], NaN where there is none: a
    cell that is missing, diverged or failed has no accuracy. `title` says what tells this figure from the store's
    others; `slug` is the stable part of its file names. `chance` is the accuracy of guessing, 1 / classes;
    a network trains if its training accuracy reaches `threshold`.
    `method_titles` are the labels in the papers' words; `penalised` are the labels that differ from a plain ReLU
    network by the penalty alone, whatever their initialisation. `n_params`, (methods, depths, widths), is 0 where
    it is unknown. `seconds` and `memory` (bytes at the peak) are NaN but for trainings that are done; `trained_on`
    is their engine and device, else empty. `rows` are the places of the cells' rows in the table, -1 for none.
    """

    title: str
    slug: str
    dataset: str
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

    def at_threshold(self, threshold: float | None) -> "FigureGrid":
        """The same figure where a network trains from another training accuracy on; None leaves it as it is."""
        return self if threshold is None else replace(self, threshold=threshold)

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


@dataclass(frozen=True)
class _Entry:
    row: int
    label: str
    place: tuple[int, int, int]
    context: tuple[tuple[str, Hashable], ...]
    settings: _Settings


@dataclass(frozen=True)
class _Draft:
    context: _Settings
    swept: _Settings
    entries: tuple[_Entry, ...]

    def settings(self) -> _Settings:
        """The figure's method settings: the swept ones, and those on which all its methods that have them agree."""
        agreed: _Settings = {}
        names = {name for entry in self.entries for name in entry.settings} - _OWN_SETTINGS
        for name in sorted(names):
            values = {entry.settings[name] for entry in self.entries} - {None}
            if len(values) == 1:
                agreed[name] = values.pop()
        return {**agreed, **{name: value for name, value in self.swept.items() if value is not None}}


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
    contexts: dict[tuple[tuple[str, Hashable], ...], list[_Entry]] = defaultdict(list)
    for entry in _entries(table):
        contexts[entry.context].append(entry)
    drafts = [draft for entries in contexts.values() for draft in _drafts(entries)]
    grids = [_grid(draft, _title(draft, drafts), table) for draft in drafts if _can_be_shown(draft, drafts)]
    return sorted(grids, key=lambda grid: (_natural(grid.title), grid.slug))


def _entries(table: pd.DataFrame) -> list[_Entry]:
    if table.empty:
        return []
    axes = {name: [int(value) for value in table[name]] for name in _AXES}
    described = {*Cell().description(), "numerics"} - {*_AXES}
    names = sorted(name for name in table.columns if name in described or _DESCRIPTION.match(name))
    columns = {name: [_plain(value) for value in table[name]] for name in names}
    entries = []
    for row, labels in enumerate(table["labels"]):
        context = tuple((name, columns[name][row]) for name in names if not _METHOD_SETTING.match(name))
        settings = {name: columns[name][row] for name in names if _METHOD_SETTING.match(name)}
        place = (axes["depth"][row], axes["width"][row], axes["seed"][row])
        entries += [_Entry(row, label, place, context, _spelled_out(settings)) for label in sorted({*labels})]
    return entries


def _plain(value: Any) -> Hashable:
    """A hashable value that is equal wherever the setting is: numbers as floats, every null as None."""
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(_plain(item) for item in value)
    if value is None or pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.number):
        return float(value)
    return str(value)


def _spelled_out(settings: _Settings) -> _Settings:
    """Method settings with a value where null stands for one; what stays None has no effect."""
    spelled = dict(settings)
    if spelled.get("dropout.rate") is None:
        spelled["dropout.rate"] = 0.0
    if spelled.get("penalty.kind") not in (None, "none"):
        weights = spelled.get("penalty.layer_weights")
        if weights is None:
            spelled["penalty.layer_weights"] = 1.0
        elif isinstance(weights, tuple) and len({*weights}) == 1:
            spelled["penalty.layer_weights"] = weights[0]  # one number for all layers means the same at every depth
    return spelled


def _drafts(entries: list[_Entry]) -> list[_Draft]:
    """The figures of one context."""
    labels: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        labels[entry.label].append(entry)
    labels = {label: _with_zero_weight(of_label) for label, of_label in labels.items()}
    varying = {label: _varying(of_label) for label, of_label in labels.items()}
    swept = sorted(set().union(*varying.values()))
    members: dict[tuple[Hashable, ...], list[_Entry]] = defaultdict(list)
    for label, of_label in labels.items():
        for entry in of_label:
            members[tuple(_demand(entry, name, name in varying[label]) for name in swept)].append(entry)
    drafts = []
    for combination in _most_specific(members):
        joined = tuple(entry for demand in members if _fits(demand, combination) for entry in members[demand])
        drafts.append(_Draft(dict(entries[0].context), dict(zip(swept, combination, strict=True)), joined))
    return drafts


def _with_zero_weight(entries: list[_Entry]) -> list[_Entry]:
    """One label's entries, where those without penalty are λ = 0 of the label's one penalty if it has one."""
    kinds = {entry.settings.get("penalty.kind") for entry in entries} - {"none", None}
    if len(kinds) != 1:
        return entries
    zero: _Settings = {"penalty.kind": kinds.pop(), "penalty.weight": 0.0}
    return [
        _Entry(entry.row, entry.label, entry.place, entry.context, {**entry.settings, **zero})
        if entry.settings.get("penalty.kind") == "none"
        else entry
        for entry in entries
    ]


def _varying(entries: list[_Entry]) -> set[str]:
    """Settings of which one label has several values; null beside one value follows from another setting."""
    names = {name for entry in entries for name in entry.settings}
    return {name for name in names if len({entry.settings.get(name) for entry in entries} - {None}) > 1}


def _demand(entry: _Entry, name: str, varies: bool) -> Hashable:
    """The value that a swept setting has to have in the entry's figures; None for any."""
    value = entry.settings.get(name)
    return None if not varies and value == _OFF.get(name) else value


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


def _can_be_shown(draft: _Draft, drafts: list[_Draft]) -> bool:
    """Whether there is paper for the figure, and memory for its arrays; a warning says where there is not."""
    axes = [{entry.place[axis] for entry in draft.entries} for axis in range(3)]
    methods, depths, widths, seeds = (len({entry.label for entry in draft.entries}), *map(len, axes))
    if methods * depths * widths * seeds <= _MOST_PLACES and methods * depths <= _MOST_COLUMNS and widths <= _MOST_ROWS:
        return True
    warnings.warn(
        f"{_title(draft, drafts)} is left out: {methods} methods × {depths} depths × {widths} widths × {seeds} seeds "
        "are more than a figure can show",
        GridWarning,
        stacklevel=3,
    )
    return False


def _grid(draft: _Draft, title: str, table: pd.DataFrame) -> FigureGrid:
    dataset = str(draft.context["dataset"])
    if dataset not in DATASETS:
        raise GridError(f"dataset={legible(dataset)} in the store is not a known dataset: one of {', '.join(DATASETS)}")
    methods = tuple(sorted({entry.label for entry in draft.entries}, key=method_rank))
    axes = [sorted({entry.place[axis] for entry in draft.entries}) for axis in range(3)]
    index = {name: i for i, name in enumerate(methods)}
    positions = [{value: i for i, value in enumerate(values)} for values in axes]
    shape = (len(methods), *(len(values) for values in axes))
    owner = np.full(shape, -1)
    for entry in draft.entries:
        at = (index[entry.label], *(positions[axis][entry.place[axis]] for axis in range(3)))
        if owner[at] >= 0:
            depth, width, seed = entry.place
            keys = " and ".join(legible(str(table["key"].iloc[row])) for row in (owner[at], entry.row))
            raise GridError(
                f"two results for {label_title(entry.label)} {depth}×{width} seed {seed} in one figure: keys {keys}"
            )
        owner[at] = entry.row
    status = np.append(table["status"].astype(str).to_numpy(dtype=object), "missing")[owner]
    done = status == "done"
    columns = [f"{metric}_{moment}" for metric in ("train_acc", "val_acc") for moment in MOMENTS]
    numbers = {name: _numbers(table, name, owner) for name in (*columns, "n_params", "seconds", "peak_memory_bytes")}
    engine, device = (np.append(table[name].astype(str).to_numpy(dtype=object), "")[owner] for name in _TRAINER)
    return FigureGrid(
        title=title,
        slug=_slug(draft),
        dataset=dataset,
        layout=_layout(draft),
        chance=1 / DATASETS[dataset].classes,
        threshold=DATASETS[dataset].threshold,
        methods=methods,
        method_titles=_method_titles(draft, methods),
        penalised=tuple(label for label in methods if _is_only_penalised(_settings_of(draft, label))),
        depths=tuple(axes[0]),
        widths=tuple(axes[1]),
        seeds=tuple(axes[2]),
        n_params=_agreed_parameters(numbers["n_params"], methods, axes),
        accuracy={name: np.where(done, numbers[name], np.nan) for name in columns},
        present=owner >= 0,
        diverged=status == "diverged",
        failed=status == "failed",
        seconds=np.where(done, numbers["seconds"], np.nan),
        memory=np.where(done, numbers["peak_memory_bytes"], np.nan),
        rows=owner,
        trained_on=np.where(done, engine + ", " + device, ""),
    )


def _numbers(table: pd.DataFrame, column: str, owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """A column's numbers where the rows stand in the grid; NaN for null and where no row stands."""
    values = pd.to_numeric(table[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    placed: NDArray[np.float64] = np.append(values, np.nan)[owner]
    return placed


def _agreed_parameters(
    counts: NDArray[np.float64], methods: tuple[str, ...], axes: list[list[int]]
) -> NDArray[np.int64]:
    """Number of parameters, (methods, depths, widths), on which all seeds that know it agree; 0 where none does."""
    most = np.where(np.isnan(counts), 0, counts).max(axis=-1)
    for method, depth, width in np.argwhere(np.any(counts < most[..., None], axis=-1)):
        found = sorted({int(count) for count in counts[method, depth, width] if not np.isnan(count)})
        place = f"{label_title(methods[method])} {axes[0][depth]}×{axes[1][width]}"
        raise GridError(f"n_params of {place} differs between its seeds: {' and '.join(map(str, found))}")
    return np.asarray(most, dtype=np.int64)


def _settings_of(draft: _Draft, label: str) -> _Settings:
    return next(entry.settings for entry in draft.entries if entry.label == label)


def _method_titles(draft: _Draft, methods: tuple[str, ...]) -> tuple[str, ...]:
    titles = []
    for label in methods:
        settings = _settings_of(draft, label)
        titles.append(method_title(label, settings.get("penalty.aggregate"), settings.get("penalty.weight")))
    return tuple(
        title if titles.count(title) == 1 else label_title(label) for title, label in zip(titles, methods, strict=True)
    )


def _is_only_penalised(settings: _Settings) -> bool:
    plain = settings.get("network.norm") == "none" and settings["dropout.rate"] == 0.0
    return plain and settings.get("penalty.kind") not in (None, "none") and settings.get("penalty.weight") != 0.0


def _title(draft: _Draft, drafts: list[_Draft]) -> str:
    """Dataset, layout, epochs and subset, then every other setting that the figures of this dataset do not share."""
    alike = [other for other in drafts if other.context["dataset"] == draft.context["dataset"]]
    parts = [dataset_title(str(draft.context["dataset"])), _layout(draft), f"{_epochs(draft)} epochs"]
    subset = draft.context.get("dataset.n_train")
    if subset is not None:
        parts.append(f"{_spelled(subset)} training points")
    parts += [
        _in_words(name, draft.context[name])
        for name in sorted(draft.context.keys() - {"network.layout", "optimizer.epochs"})
        if not (name == "dataset.n_train" and subset is not None)
        if len({other.context.get(name) for other in alike}) > 1
    ]
    settings, others = draft.settings(), [other.settings() for other in alike]
    parts += [
        _in_words(name, settings[name])
        for name in sorted(settings)
        if len({other.get(name) for other in others} - {None}) > 1
    ]
    return " · ".join(part for part in parts if part)


def _in_words(name: str, value: Hashable) -> str:
    if value is None:
        return _NULL_WORDS.get(name, "")
    return f"{name}={_spelled(value)}"


def _spelled(value: Hashable) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(_spelled(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).replace("e-0", "e-")


def _slug(draft: _Draft) -> str:
    settings = {name: value for name, value in draft.settings().items() if value != _default_settings().get(name)}
    named = {**draft.context, **settings}
    text = json.dumps(
        {name: value for name, value in named.items() if value is not None},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    words = [str(draft.context["dataset"]), _layout(draft), f"{_epochs(draft)}epochs"]
    return "_".join([*(re.sub(r"[^A-Za-z0-9-]+", "-", word) for word in words), digest])


@cache
def _default_settings() -> _Settings:
    specs = {"network": NetworkSpec(), "penalty": PenaltySpec(), "dropout": DropoutSpec()}
    defaults = {f"{part}.{name}": _plain(value) for part, spec in specs.items() for name, value in vars(spec).items()}
    return {**defaults, "penalty.layer_weights": 1.0}


def _layout(draft: _Draft) -> str:
    return str(draft.context["network.layout"])


def _epochs(draft: _Draft) -> str:
    return _spelled(draft.context["optimizer.epochs"])


def _natural(title: str) -> list[tuple[int, float, str]]:
    """A sort key that puts 2 epochs before 10."""
    parts = re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?|[^\d]+", title)
    return [(0, float(part), "") if part[0].isdigit() else (1, 0.0, part) for part in parts]
