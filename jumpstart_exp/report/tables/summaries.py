"""The summary of a figure (CPAIOR, table 1), the papers' own tables, and what the penalty costs."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import geometric_mean, median

import numpy as np
import pandas as pd

from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.cost import PairCost, pair_costs
from jumpstart_exp.report.statistics.summary import SUMMARISED, Summary, summarise
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.report.tables.table import MISSING, Column, Table, interval, table_job
from jumpstart_exp.settings import legible

LEAST_METHODS = 2
"""Methods from which on there is something to compare."""

ACROSS = dict(zip(SUMMARISED, ("training", "validation"), strict=True))
"""What is summarised, in words: a method's columns."""

Titled = Sequence[tuple[str, str]]
"""Methods in a paper's order: the label and the paper's name for it."""

_ACCURACY, _LOSS = "{:.3f} ({:.3f}–{:.3f})", "{:.4f} ({:.4f}–{:.4f})"  # mean, lowest and highest seed
_PERFORMANCE = {"train_acc": _ACCURACY, "val_acc": _ACCURACY, "train_loss": _LOSS, "val_loss": _LOSS}
_SUMMARY = (
    *("best_accuracy", "best_depth", "best_width", "best_seed", "trained", "networks", "wins"),
    *("better_than_baseline", "compared_with_baseline", "ties", "compared", "left_out"),
    *("seeds", "diverged", "failed", "threshold"),
)
_COST = (
    *("method", "engine", "device", "depth", "width", "seeds", "seconds_without", "seconds_with", "time_ratio"),
    *("memory_bytes_without", "memory_bytes_with", "memory_ratio", "trained_on"),
)


def summary_jobs(grid: FigureGrid) -> Iterator[Job]:
    """The summary at best and at last epoch, and what the penalty costs, as SLUG_best, SLUG_last and SLUG_cost."""
    if len(grid.methods) >= LEAST_METHODS:
        for at_epoch in MOMENTS:
            yield table_job(f"{grid.slug}_{at_epoch}", partial(summary_table, grid, at_epoch))
        if costs := pair_costs(grid):
            yield table_job(f"{grid.slug}_cost", partial(cost_table, grid, costs))


of_grid("tables", rank=20)(summary_jobs)


def summary_table(grid: FigureGrid, at_epoch: str) -> Table:
    """Every method's best network, networks that train, and pairs at which it is best; `at_epoch` best or last."""
    summary = summarise(grid, at_epoch)
    left_out = [f"{summary.left_out[metric]} ({word})" for metric, word in ACROSS.items()]
    same = len({*summary.left_out.values()}) == 1
    count = str(summary.left_out["train_acc"]) if same else " and ".join(left_out)
    a_score = "an accuracy" if grid.task == "classification" else f"an {grid.score}"
    caption = (
        f"{grid.title}, {at_epoch} epoch. Best overall {grid.score}: over all single networks. A network trains if its "
        f"training {grid.score} at this epoch is {summary.threshold:.4g} or more (chance is {grid.chance:.4g}); "
        "one that is missing, diverged or failed does not. Best "
        f"for the depth-width pair: the highest mean over the seeds for which every method has {a_score}; a tie is "
        f"nobody's. Pairs left out because some method has no {grid.score} there: {count}."
    )
    beats = Column("better than ReLU at the pair", "{better_than_baseline} of {compared_with_baseline}", missing="")
    is_needed = len(grid.methods) > LEAST_METHODS and any(method.beats_baseline for method in summary.methods)
    columns = (
        Column(f"best overall {grid.score}", "{best_accuracy:.6g}"),
        Column("of depth×width (seed)", "{best_depth}×{best_width} ({best_seed})"),
        Column("networks that train", "{trained} of {networks}"),
        Column("best for the depth-width pair", "{wins} of {compared}"),
        *([beats] if is_needed else []),
        Column("ties", "{ties} of {compared}"),
        *(Column(name, f"{{{name}}}") for name in ("seeds", "diverged", "failed")),
    )
    groups = [(title, len(ACROSS)) for title in grid.method_titles]
    across = [*ACROSS.values()] * len(groups)
    return Table(caption, summary_values(grid, summary), columns, across=across, groups=groups, digits=None)


def summary_values(grid: FigureGrid, summary: Summary) -> pd.DataFrame:
    """The summary's numbers, a row for every method and accuracy: LABEL training, LABEL validation."""
    rows = {}
    for label, method in zip(grid.methods, summary.methods, strict=True):
        for metric, word in ACROSS.items():
            best = [getattr(method.best[metric], name, None) for name in ("accuracy", "depth", "width", "seed")]
            beaten = (None, None) if method.beats_baseline is None else method.beats_baseline[metric]
            pairs = (summary.ties[metric], summary.compared[metric], summary.left_out[metric])
            rows[f"{label} {word}"] = (
                *(*best, method.trained, method.networks, method.wins[metric], *beaten, *pairs),
                *(method.seeds, method.diverged, method.failed, summary.threshold),
            )
    return pd.DataFrame([*rows.values()], index=[*rows], columns=[*_SUMMARY], dtype=object)


def paper_summary_table(grid: FigureGrid, methods: Titled, at_epoch: str, source: str) -> Table:
    """CPAIOR's table 1: best accuracy, networks that train, and best for how many depth-width pairs.

    A method that the grid lacks has dashes; `at_epoch` is best or last, `source` what the numbers are of.
    """
    lines = [f"{name} {word}" for name, _ in methods for word in ACROSS.values()]
    values = summary_values(grid, summarise(grid, at_epoch)).reindex(lines)
    caption = (
        f"{source}. Best overall accuracy of a single network, and its depth×width; a model is successful if its "
        f"training accuracy is {grid.threshold:.4g} or more; best for the depth-width pair by the mean over seeds, "
        "ties are nobody's."
    )
    columns = (
        Column("Best overall accuracy", "{best_accuracy:.4f} ({best_depth}×{best_width})"),
        Column("Successful model", "{trained} of {networks}"),
        Column("Best for depth-width pair", "{wins} of {compared}"),
    )
    groups = [(title, len(ACROSS)) for _, title in methods]
    return Table(caption, values, columns, across=("Training", "Validation") * len(groups), groups=groups)


def performance_table(rows: pd.DataFrame, methods: Titled, at_epoch: str, source: str) -> Table:
    """SepCons's table 2, ICLR's table 1: accuracy and loss of one network a method, mean and range over the seeds.

    Of the study's rows of the store; a method without a row has dashes.
    """
    lines = []
    for name, title in methods:
        own = rows[rows["labels"].map(lambda labels, name=name: name in {*labels})]
        done = own[own["status"] == "done"]
        line: dict[str, object] = {"title": title, "done": len(done), "seeds": len(own)}
        for column in _PERFORMANCE:
            values = done[f"{column}_{at_epoch}"].to_numpy(np.float64)
            known = values[~np.isnan(values)]
            ends = (known.min(), known.max()) if len(known) > 1 else (None, None)
            line[column] = known.mean() if len(known) else None
            line[f"{column}_low"], line[f"{column}_high"] = ends
        lines.append(line)
    caption = f"{source}. Mean over the seeds, lowest and highest seed in brackets."
    if at_epoch == "best":
        caption += (
            " Accuracies are the highest of all epochs and losses the lowest; the paper's losses are those of its "
            "epoch of highest accuracy."
        )
    heads = zip(("Train", "Val.") * 2, _PERFORMANCE.items(), strict=True)
    columns = (
        Column("", "{title}", "l"),
        *(Column(head, interval(name, form=form)) for head, (name, form) in heads),
        Column("", lambda row: str(row.seeds) if row.done == row.seeds else f"{row.done} of {row.seeds}"),
    )
    groups = (("Accuracy", 2), ("Loss", 2), ("Seeds", 1))
    return Table(caption, pd.DataFrame(lines, dtype=object), columns, groups=groups)


def cost_table(grid: FigureGrid, costs: Sequence[PairCost]) -> Table:
    """What the penalty costs at every depth-width pair, summed up by method and engine: Markdown and CSV."""
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    caption = (
        f"{grid.title}: what the penalty costs against plain ReLU. Means over the seeds that one engine trained on one "
        "device with and without the penalty, to the end and for the same epochs. Times of cells that were trained "
        "beside each other on one machine are as noisy as the machine. Memory is what a training took at its peak "
        "beyond what its process or device had in use before."
    )
    if any(cost.trained_on.startswith(("native,", "stacked,")) for cost in costs):
        caption += (
            " The engines native and stacked train many cells at once in one process: their memory is that "
            "process's whole size."
        )
    if any(cost.trained_on.startswith("stacked,") for cost in costs):
        caption += " The engine stacked divides a fleet's time by estimated cost: its ratios are partly estimates."
    rows = [
        (
            *(cost.method, *cost.trained_on.split(", ", 1), cost.depth, cost.width, cost.seeds, *cost.seconds),
            *(cost.time_ratio, *(cost.memory or (None, None)), cost.memory_ratio, legible(cost.trained_on)),
        )
        for cost in costs
    ]
    values = pd.DataFrame(rows, columns=[*_COST], dtype=object)
    columns = (
        Column("method", lambda row: titles[row.method], "l"),
        Column("engine, device", "{trained_on}", "l"),
        Column("depth×width", "{depth}×{width}", "l"),
        Column("seeds", "{seeds}"),
        Column("s without", "{seconds_without:.4g}"),
        Column("s with", "{seconds_with:.4g}"),
        Column("time ratio", "{time_ratio:.2f}"),
        Column("MB without", lambda row: _megabytes(row.memory_bytes_without)),
        Column("MB with", lambda row: _megabytes(row.memory_bytes_with)),
        Column("memory ratio", "{memory_ratio:.2f}"),
    )
    notes = []
    for names, own in values.groupby(["method", "trained_on"], sort=False):
        method, trained_on = map(str, names)
        time, memory = (_in_words(own[ratio]) for ratio in ("time_ratio", "memory_ratio"))
        notes.append(f"{titles[method]} ({trained_on}): time {time}; memory {memory}")
    return Table(caption, values, columns, notes=notes, shown_only=("trained_on",), digits=None, kinds=("md", "csv"))


def _megabytes(size: float | None) -> str:
    return MISSING if size is None else f"{size / 1e6:.1f}"


def _in_words(ratios: "pd.Series[float]") -> str:
    """The pairs' ratios in two numbers."""
    known = [ratio for ratio in ratios if ratio is not None and math.isfinite(ratio)]
    if not known:
        return "unknown"
    pairs = f"{len(known)} pair{'s' * (len(known) != 1)}"
    return f"× {median(known):.2f} (median), × {geometric_mean(known):.2f} (geometric mean) over {pairs}"
