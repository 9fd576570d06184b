"""The papers' tables: from the grid, or the store's rows, to a table in the paper's words."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jumpstart_exp.report.statistics.summary import summarise
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.tables.summaries import ACROSS, summary_values
from jumpstart_exp.report.tables.table import Column, Table, interval

Titled = Sequence[tuple[str, str]]
"""Methods in a paper's order: the label and the paper's name for it."""

_ACCURACY, _LOSS = "{:.3f} ({:.3f}–{:.3f})", "{:.4f} ({:.4f}–{:.4f})"  # mean, lowest and highest seed
_PERFORMANCE = {"train_acc": _ACCURACY, "val_acc": _ACCURACY, "train_loss": _LOSS, "val_loss": _LOSS}


def summary_table(grid: FigureGrid, methods: Titled, at_epoch: str, source: str) -> Table:
    """CPAIOR's table 1: best accuracy, networks that train, and best for how many depth-width pairs.

    Args:
        grid: the figure's cells.
        methods: the table's methods; one that the grid lacks has dashes.
        at_epoch: "best" or "last" epoch.
        source: what the numbers are of, for the caption.
    """
    summary = summarise(grid, at_epoch)
    values = summary_values(grid, summary).reindex(
        [f"{name} {word}" for name, _ in methods for word in ACROSS.values()]
    )
    caption = (
        f"{source}. Best overall accuracy of a single network, and its depth×width; a model is successful if its "
        f"training accuracy is {summary.threshold:.4g} or more; best for the depth-width pair by the mean over seeds, "
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

    Args:
        rows: the study's rows of the store.
        methods: the table's methods; one without a row has dashes.
        at_epoch: "best" or "last" epoch.
        source: what the numbers are of, for the caption.
    """
    lines = []
    for name, title in methods:
        own = rows[[name in {*labels} for labels in rows["labels"]]] if len(rows) else rows
        done = own[own["status"] == "done"] if len(own) else own
        line: dict[str, object] = {"title": title, "done": len(done), "seeds": len(own)}
        for column in _PERFORMANCE:
            values = done[f"{column}_{at_epoch}"].to_numpy(np.float64) if len(done) else np.zeros(0)
            known = values[~np.isnan(values)]
            line[column] = known.mean() if len(known) else None
            line[f"{column}_low"], line[f"{column}_high"] = (
                (known.min(), known.max()) if len(known) > 1 else (None, None)
            )
        lines.append(line)
    caption = (
        f"{source}. Mean over the seeds, lowest and highest seed in brackets. Accuracies are the highest of all epochs "
        "and losses the lowest; the paper's losses are those of its epoch of highest accuracy."
        if at_epoch == "best"
        else f"{source}. Mean over the seeds, lowest and highest seed in brackets."
    )
    heads = zip(("Train", "Val.") * 2, _PERFORMANCE.items(), strict=True)
    columns = (
        Column("", "{title}", "l"),
        *(Column(head, interval(name, form=form)) for head, (name, form) in heads),
        Column("", lambda row: str(row.seeds) if row.done == row.seeds else f"{row.done} of {row.seeds}"),
    )
    return Table(
        caption, pd.DataFrame(lines, dtype=object), columns, groups=(("Accuracy", 2), ("Loss", 2), ("Seeds", 1))
    )
