"""The summary of a figure (CPAIOR, table 1), and what the penalty costs, as tables."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.cost import Ratio, overall, pair_costs
from jumpstart_exp.report.statistics.summary import SUMMARISED, Summary, summarise
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.report.tables.table import MISSING, Column, Table, write_table
from jumpstart_exp.settings import legible

LEAST_METHODS = 2
"""Methods from which on there is something to compare."""

ACROSS = dict(zip(SUMMARISED, ("training", "validation"), strict=True))
"""What is summarised, in words: a method's columns."""


def write_summaries(grid: FigureGrid, folder: Path) -> list[Path]:
    """Write the summary at best and at last epoch as SLUG_EPOCH.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    return [
        path
        for at_epoch in MOMENTS
        for path in write_table(summary_table(grid, at_epoch), folder, f"{grid.slug}_{at_epoch}")
    ]


def write_costs(grid: FigureGrid, folder: Path) -> list[Path]:
    """Write what the penalty costs as SLUG_cost.md and .csv; nothing where no pair can be compared.

    Raises:
        OSError: the folder cannot be written.
    """
    table = cost_table(grid)
    return [] if table is None else write_table(table, folder, f"{grid.slug}_cost", ("md", "csv"))


def summary_table(grid: FigureGrid, at_epoch: str) -> Table:
    """Every method's best network, networks that train, and pairs at which it is best; `at_epoch` best or last."""
    summary = summarise(grid, at_epoch)
    left_out = [f"{summary.left_out[metric]} ({word})" for metric, word in ACROSS.items()]
    same = len({*summary.left_out.values()}) == 1
    count = str(summary.left_out["train_acc"]) if same else " and ".join(left_out)
    caption = (
        f"{grid.title}, {at_epoch} epoch. Best overall accuracy: over all single networks. A network trains if its "
        f"training accuracy at this epoch is {summary.threshold:.4g} or more (chance is {grid.chance:.4g}); "
        "one that is missing, diverged or failed does not. Best "
        "for the depth-width pair: the highest mean over the seeds for which every method has an accuracy; a tie is "
        f"nobody's. Pairs left out because some method has no accuracy there: {count}."
    )
    beats = Column("better than ReLU at the pair", "{better_than_baseline} of {compared_with_baseline}", missing="")
    is_needed = len(grid.methods) > LEAST_METHODS and any(method.beats_baseline for method in summary.methods)
    columns = (
        Column("best overall accuracy", "{best_accuracy:.6g}"),
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
            best, beaten = method.best[metric], method.beats_baseline
            better, compared = (None, None) if beaten is None else beaten[metric]
            rows[f"{label} {word}"] = {
                **{f"best_{name}": getattr(best, name, None) for name in ("accuracy", "depth", "width", "seed")},
                "trained": method.trained,
                "networks": method.networks,
                "wins": method.wins[metric],
                "better_than_baseline": better,
                "compared_with_baseline": compared,
                **{name: getattr(summary, name)[metric] for name in ("ties", "compared", "left_out")},
                **{name: getattr(method, name) for name in ("seeds", "diverged", "failed")},
                "threshold": summary.threshold,
            }
    return pd.DataFrame([*rows.values()], index=[*rows], dtype=object)


def cost_table(grid: FigureGrid) -> Table | None:
    """What the penalty costs at every depth-width pair, summed up by method and engine; None where nothing is known."""
    costs = pair_costs(grid)
    if not costs:
        return None
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
    rows = []
    for cost in costs:
        size = cost.memory or (None, None)
        engine, device = cost.trained_on.split(", ", 1)
        rows.append(
            {
                "method": cost.method,
                "engine": engine,
                "device": device,
                "depth": cost.depth,
                "width": cost.width,
                "seeds": cost.seeds,
                "seconds_without": cost.seconds[0],
                "seconds_with": cost.seconds[1],
                "time_ratio": cost.time_ratio,
                "memory_bytes_without": size[0],
                "memory_bytes_with": size[1],
                "memory_ratio": cost.memory_ratio,
                "trained_on": legible(cost.trained_on),
            }
        )
    values = pd.DataFrame(rows, dtype=object)
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
        time, memory = (_in_words(overall([*own[ratio]])) for ratio in ("time_ratio", "memory_ratio"))
        notes.append(f"{titles[method]} ({trained_on}): time {time}; memory {memory}")
    return Table(caption, values, columns, notes=notes, shown_only=("trained_on",), digits=None)


def _megabytes(size: float | None) -> str:
    return MISSING if size is None else f"{size / 1e6:.1f}"


def _in_words(ratio: Ratio | None) -> str:
    if ratio is None:
        return "unknown"
    pairs = f"{ratio.pairs} pair{'s' * (ratio.pairs != 1)}"
    return f"× {ratio.median:.2f} (median), × {ratio.geometric_mean:.2f} (geometric mean) over {pairs}"


@of_grid("tables", rank=20)
def _summaries(grid: FigureGrid) -> Iterator[Job]:
    if len(grid.methods) >= LEAST_METHODS:
        yield Job("tables", partial(write_summaries, grid))
        if pair_costs(grid):
            yield Job("tables", partial(write_costs, grid))
