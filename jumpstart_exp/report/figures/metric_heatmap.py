"""One column of a table of results over depth × width, a panel for each dataset and method: drawing only."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jumpstart_exp.cell import cell_fields
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.figures.drawing import in_lines, plain_style, wrapped
from jumpstart_exp.report.figures.panel_grid import Panel, PanelGrid, Scale, Style, draw_panels, panel_size
from jumpstart_exp.report.table.grid import GridError, spelled
from jumpstart_exp.report.table.names import dataset_of, dataset_title, label_title, method_rank, method_title
from jumpstart_exp.result import ACTIVITY, CENSUS, DEAD_AT_SOME_LAYER, STORED_METRICS
from jumpstart_exp.settings import legible, nearest
from jumpstart_exp.store.fields import AXES, found_settings, setting_columns

_TITLE = 9.0  # points
_STYLE = Style(
    gap=0.1, margin=0.95, title=_TITLE, title_line=0.16, bar={"location": "right", "pad": 0.01}, bar_aspect=15
)
_LEAST_PANEL = (1.15, 1.05)  # inches
_NO_BREAK = "\N{NO-BREAK SPACE}"
_LONGEST_NUMBER = 5  # letters that a cell holds
_MOST_SHOWN = 4  # values of a setting that a message names

_FRACTIONS = tuple(
    f"{name}_{moment}" for name in (*CENSUS, DEAD_AT_SOME_LAYER, *ACTIVITY) for moment in ("start", "last")
)
_WORDS = {"train": "training", "val": "validation", "acc": "accuracy", "r2": "R²"}
_SCORES = tuple(name for name in STORED_METRICS if not name.endswith("_loss"))
_MOMENTS = {
    "best_epoch": "epoch of the best {}",
    "best": "{} at the best epoch",
    "last": "{} at the last epoch",
    "start": "{} before the first step",
}

_SAID = ("penalty.aggregate", "penalty.weight")
"""What a method's title may say."""

_Place = tuple[str, str]
"""A dataset and a method."""


def metric_heatmap(table: pd.DataFrame, column: str) -> Figure:
    """The column's mean over seeds, a row of panels a dataset, the methods beside each other.

    Scores (accuracy, R²) are drawn from chance to 1, other fractions from 0 to 1, all else from its least to its
    largest value. Only cells that are `done` have a value.

    Args:
        table: a row a cell and label: dataset, method, depth, width, seed, status, the settings, and the column.
        column: a column of numbers or truths.

    Raises:
        GridError: a column is missing, or rows of one panel differ in more than depth, width and seed.
    """
    if table.empty:
        raise GridError("there is nothing to draw: the table has no rows")
    _check_columns(table, column)
    table = table.reset_index(drop=True)
    rows: dict[_Place, list[int]] = {}
    for row, place in enumerate(zip(table["dataset"], table["method"], strict=True)):
        rows.setdefault(place, []).append(row)
    settings = setting_columns(table)
    for place, own in rows.items():
        _check_settings(place, own, settings)
    datasets = list(dict.fromkeys(dataset for dataset, _ in rows))
    methods = sorted({method for _, method in rows}, key=method_rank)
    depths, widths = (sorted({int(value) for value in table[name]}) for name in ("depth", "width"))
    panels = {place: _means(table.iloc[own], column, place, (depths, widths)) for place, own in rows.items()}
    none = np.zeros((len(depths), len(widths)), np.bool_)
    nothing = (np.full(none.shape, np.nan), none, none)
    if _is_score(column):
        firsts = [{name: values[own[0]] for name, values in settings.items()} for own in rows.values()]
        scale = Scale(rocket, min(_chance(first) for first in firsts), 1.0)
    else:
        scale = _scale(column, [mean for mean, *_ in panels.values()], is_truth=table[column].dtype == bool)
    names = [in_lines(_method_title(method, table, settings)) for method in methods]
    number = "{:.2f}" if scale.high == 1.0 else "{:.3g}"
    told = [number.format(value) for mean, *_ in panels.values() for value in mean[np.isfinite(mean)]]
    described = []
    for dataset in datasets:
        places = zip(names, [panels.get((dataset, method), nothing) for method in methods], strict=True)
        described.append(
            [Panel(mean, lost, partly, scale, name, number=number) for name, (mean, lost, partly) in places]
        )
    longest = max(len(line) for name in names for line in name.split("\n"))
    size = panel_size(depths, len(widths), (max(_LEAST_PANEL[0], 0.085 * longest), _LEAST_PANEL[1]))
    if max(map(len, told), default=0) > _LONGEST_NUMBER:
        size = replace(size, numbered=False)
    width = max(len(methods) * (size.panel[0] + 0.12) + 1.5, 4.0)
    texts = _titles(table, column, settings)
    title = [line.replace(_NO_BREAK, " ") for text in texts for line in wrapped(text, width - 0.3, _TITLE, 0.56)]
    labels = [f"{dataset_title(dataset)}\nwidth" if len(datasets) > 1 else "width" for dataset in datasets]
    with plain_style():
        return draw_panels(
            PanelGrid(described, depths, widths, "depth", labels, size, width, title, [(column, slice(None))]),
            _STYLE,
        )


def _check_columns(table: pd.DataFrame, column: str) -> None:
    for name in ("dataset", "method", *AXES, "status", column):
        if name not in table.columns:
            hint = nearest(name, [str(one) for one in table.columns]) if name == column else ""
            raise GridError(f"the table has no column {legible(str(name))}{hint}")
    if lacking := [name for name in cell_fields() if name not in table.columns]:
        raise GridError(f"the table lacks settings, say {lacking[0]}: without them nobody knows what would be averaged")
    if column in (*cell_fields(), "method", "key") or not pd.api.types.is_numeric_dtype(table[column]):
        raise GridError(f"{column} cannot be drawn: it has to be numbers that a training gives, say train_acc_best")


def _check_settings(place: _Place, rows: Sequence[int], settings: Mapping[str, Sequence[Hashable]]) -> None:
    """Refuse what would average over, or put into one panel, more than seeds, depths and widths."""
    found = found_settings()
    order = sorted(settings, key=lambda name: name in found)  # what follows from another setting is chosen by that
    for only_known in (True, False):  # λ beside none at all is told by the penalty's kind
        for name in order:
            column = settings[name]
            values = {column[row] for row in rows}
            shown = sorted(
                (value for value in values if value is not None), key=lambda value: (str(type(value)), value)
            )
            if name in AXES or len(shown if only_known else values) < 2:
                continue
            texts = [*map(spelled, shown), *(["null"] if None in values else [])]
            told = ", ".join(texts[:_MOST_SHOWN]) + (", …" if len(texts) > _MOST_SHOWN else "")
            raise GridError(
                f"{name} has {len(texts)} values for {label_title(place[1])} on {legible(place[0])} ({told}), and only "
                f"seeds are averaged: draw one of them{_choice(name, shown, None in column)}"
            )


def _choice(name: str, values: Sequence[Hashable], is_null_elsewhere: bool) -> str:
    """How the first of a setting's values is chosen, in Python; of lists nothing is said."""
    if not values:
        return f", df[df[{name!r}].isna()]"
    if isinstance(values[0], tuple):
        return ""
    chosen = f"df[{name!r}] == {values[0]!r}"
    return f", df[df[{name!r}].isna() | ({chosen})]" if is_null_elsewhere else f", df[{chosen}]"


def _means(
    rows: pd.DataFrame, column: str, place: _Place, axes: tuple[Sequence[int], Sequence[int]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Means over seeds, where all seeds are lost, and where some are, each (depths, widths).

    Raises:
        GridError: two rows have the same depth, width and seed, or a training that is done has no value.
    """
    twice = rows[rows.duplicated([*AXES])]
    if len(twice):
        network = f"{label_title(place[1])} {'×'.join(str(twice[name].iloc[0]) for name in AXES[:2])}"
        raise GridError(f"two results for {network} seed {twice['seed'].iloc[0]} on {legible(place[0])}")
    shape = len(axes[0]), len(axes[1])
    total, known, count = np.zeros((3, *shape))
    at = tuple(np.searchsorted(axis, rows[name].to_numpy(np.int64)) for axis, name in zip(axes, AXES, strict=False))
    values = pd.to_numeric(rows[column]).to_numpy(dtype=np.float64, na_value=np.nan)
    done = (rows["status"] == "done").to_numpy()
    if (null := int((done & np.isnan(values)).sum())) > 0:
        other = {"acc": "r2", "r2": "acc"}
        score = "_".join(other.get(word, word) for word in column.split("_")) if _is_score(column) else ""
        hint = f"; of its task is {score}" if score in rows.columns and rows[score].notna().any() else ""
        raise GridError(
            f"{column} is null in {null} of the {int(done.sum())} cells of {label_title(place[1])} on "
            f"{legible(place[0])} that are done{hint}"
        )
    values = np.where(done, values, np.nan)
    np.add.at(total, at, np.nan_to_num(values))
    np.add.at(known, at, ~np.isnan(values))
    np.add.at(count, at, 1)
    mean = np.where(known > 0, total / np.maximum(known, 1), np.nan)
    return mean, (count > 0) & (known == 0), (known > 0) & (known < count)


def _scale(column: str, means: Sequence[NDArray[np.float64]], *, is_truth: bool) -> Scale:
    if column in _FRACTIONS or is_truth:
        return Scale(colormaps["viridis"], 0.0, 1.0)
    known = np.concatenate([mean[np.isfinite(mean)] for mean in means])
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return Scale(colormaps["viridis"], low, high if high > low else low + 1.0)


def _is_score(column: str) -> bool:
    return column in [f"{name}_{moment}" for name in _SCORES for moment in ("best", "last")]


def _chance(settings: Mapping[str, Hashable]) -> float:
    """The score of guessing; of an unknown dataset 0."""
    return dataset_of(settings).chance if settings["dataset"] in DATASETS else 0.0


def _method_title(method: str, table: pd.DataFrame, settings: Mapping[str, Sequence[Hashable]]) -> str:
    row = int(np.flatnonzero(table["method"] == method)[0])
    return method_title(method, *(settings.get(name, [None] * len(table))[row] for name in _SAID))


def _words(column: str) -> str:
    """train_acc_best as "training accuracy at the best epoch"."""
    for moment, words in _MOMENTS.items():
        if column.endswith(f"_{moment}"):
            name = column.removesuffix(f"_{moment}")
            return words.format(" ".join(_WORDS.get(word, word) for word in name.split("_")))
    return legible(column.replace("_", " "))


def _titles(table: pd.DataFrame, column: str, settings: Mapping[str, Sequence[Hashable]]) -> list[str]:
    """What is drawn, and of what: the settings on which everything agrees are named as in the report's titles."""
    count = table.groupby(["dataset", "method", "depth", "width"], sort=False).size()
    fewest, most = int(count.min()), int(count.max())
    seeds = f"{fewest} seed{'s' * (fewest != 1)}" if fewest == most else f"{fewest}–{most} seeds"
    lost = [f"{int((table['status'] == word).sum())} {word}" for word in ("diverged", "failed")]
    shared = [dataset_title(name) for name in dict.fromkeys(table["dataset"])]
    for name, unit in (("network.layout", ""), ("optimizer.epochs", " epochs")):
        values = {*settings.get(name, ())}
        if len(values) == 1:
            shared.append(f"{spelled(values.pop())}{unit}")
    parts = [*shared, seeds if most == 1 else f"mean over {seeds}", *(words for words in lost if words[:2] != "0 ")]
    return [_words(column), " · ".join(part.replace(" ", _NO_BREAK) for part in parts)]
