"""The papers' tables as Markdown and LaTeX: from the grid to the written text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jumpstart_exp.report.statistics.summary import SUMMARISED, BestNetwork, summarise
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.tables.markup import in_latex

Titled = Sequence[tuple[str, str]]
"""Methods in a paper's order: the label and the paper's name for it."""

LOSSES = ("train_acc", "val_acc", "train_loss", "val_loss")
"""The columns of the table of maximal performance."""


@dataclass(frozen=True)
class PrintTable:
    """A table: `groups` are titles over `heads` and how many of these each spans, `rows` begin with their name."""

    caption: str
    groups: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def summary_table(grid: FigureGrid, methods: Titled, moment: str, source: str) -> PrintTable:
    """CPAIOR's table 1: best accuracy, networks that train, and best for how many depth-width pairs.

    Args:
        grid: the figure's cells.
        methods: the table's methods; one that the grid lacks has dashes.
        moment: "best" or "last" epoch.
        source: what the numbers are of, for the caption.
    """
    summary = summarise(grid, moment)
    found = {name: summary.methods[grid.methods.index(name)] for name, _ in methods if name in grid.methods}
    each = [(found.get(name), metric) for name, _ in methods for metric in SUMMARISED]
    best = [None if method is None else method.best[metric] for method, metric in each]
    trained = ["–" if method is None else f"{method.trained} of {method.networks}" for method, _ in each]
    wins = ["–" if of is None else f"{of.wins[metric]} of {summary.compared[metric]}" for of, metric in each]
    caption = (
        f"{source}. Best overall accuracy of a single network, and its depth×width; a model is successful if its "
        f"training accuracy is {summary.threshold:.4g} or more; best for the depth-width pair by the mean over seeds, "
        "ties are nobody's."
    )
    rows = (
        ("Best overall accuracy", *map(_accuracy, best)),
        ("Successful model", *trained),
        ("Best for depth-width pair", *wins),
    )
    groups = tuple((title, len(SUMMARISED)) for _, title in methods)
    return PrintTable(caption, groups, ("Training", "Validation") * len(methods), rows)


def performance_table(rows: pd.DataFrame, methods: Titled, moment: str, source: str) -> PrintTable:
    """SepCons's table 2, ICLR's table 1: accuracy and loss of one network a method, mean and range over the seeds.

    Args:
        rows: the study's rows of the store.
        methods: the table's methods; one without a row has dashes.
        moment: "best" or "last" epoch.
        source: what the numbers are of, for the caption.
    """
    lines = []
    for name, title in methods:
        own = rows[[name in {*labels} for labels in rows["labels"]]] if len(rows) else rows
        done = own[own["status"] == "done"] if len(own) else own
        cells = [
            _spread(done[f"{column}_{moment}"].to_numpy(np.float64), column) if len(done) else "–" for column in LOSSES
        ]
        lines.append((title, *cells, str(len(own)) if len(done) == len(own) else f"{len(done)} of {len(own)}"))
    caption = (
        f"{source}. Mean over the seeds, lowest and highest seed in brackets. Accuracies are the highest of all epochs "
        "and losses the lowest; the paper's losses are those of its epoch of highest accuracy."
        if moment == "best"
        else f"{source}. Mean over the seeds, lowest and highest seed in brackets."
    )
    heads = ("Train", "Val.", "Train", "Val.", "")
    return PrintTable(caption, (("Accuracy", 2), ("Loss", 2), ("Seeds", 1)), heads, tuple(lines))


def in_markdown(table: PrintTable) -> str:
    """The table as Markdown, its caption above it."""
    over = [title for title, span in table.groups for _ in range(span)]
    heads = ["", *(f"{group} {head}".strip() for group, head in zip(over, table.heads, strict=True))]
    lines = [heads, ["---", *["---:"] * len(table.heads)], *table.rows]
    return f"{table.caption}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def as_latex(table: PrintTable) -> str:
    """The table as LaTeX, in the letters of any document class."""
    over = [rf"\multicolumn{{{span}}}{{c}}{{{in_latex(title)}}}" for title, span in table.groups]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{in_latex(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.heads)}}}",
        r"\hline",
        " & ".join(["", *over]) + r" \\",
        " & ".join(["", *map(in_latex, table.heads)]) + r" \\",
        r"\hline",
        *(" & ".join(map(in_latex, row)) + r" \\" for row in table.rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _accuracy(best: BestNetwork | None) -> str:
    return "–" if best is None else f"{best.accuracy:.4f} ({best.depth}×{best.width})"


def _spread(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], column: str) -> str:
    """Mean, and in brackets the range; a single value stands alone."""
    known = values[~np.isnan(values)]
    if known.size == 0:
        return "–"
    digits = 3 if column.endswith("acc") else 4
    mean, low, high = (f"{value:.{digits}f}" for value in (known.mean(), known.min(), known.max()))
    return mean if known.size == 1 else f"{mean} ({low}–{high})"
