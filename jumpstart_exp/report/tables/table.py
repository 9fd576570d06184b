"""One table: its values, built once, and how Markdown and LaTeX show them; CSV has the values themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd

from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.tables.markup import in_csv, in_latex, in_markdown, in_markdown_code

MISSING = "–"
"""What stands for a value that is missing."""

_LONG = 40  # lines from which on a LaTeX table breaks over pages
_SIDES = {"l": "---", "r": "---:"}  # in Markdown


@dataclass(frozen=True)
class WithCommand:
    """A cell's text, and the command that follows it: code in Markdown."""

    text: str
    command: str


Cell = str | WithCommand
CellOf = Callable[..., Cell]
"""A line's cell, made of the rows of values that the line shows (named tuples)."""


@dataclass(frozen=True)
class Column:
    """What a column shows: a format of the line's first row of values, or a function of all its rows.

    `side` is "l" for text and "r" for numbers. A format shows `missing` where one of its values is missing. `width` is
    LaTeX's, in centimetres, of a column whose lines break.
    """

    heading: str
    text: str | CellOf
    side: str = "r"
    missing: str = MISSING
    width: float | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """Values with how they are shown; `values` are of dtype object, so that whole numbers stay whole beside gaps.

    A line of Markdown and LaTeX is a row of `values`, or neighbouring rows that are equal in the columns `by`. Where
    `across` has headings, every row is a column under its heading, in CSV under its index, and `columns` are lines.
    `groups` are titles over the headings but the first, and how many of these each spans. `notes` are listed below
    Markdown's caption. CSV lacks the values `shown_only`; its numbers have `digits` behind the point, None for all.
    """

    caption: str
    values: pd.DataFrame
    columns: Sequence[Column] = ()
    by: Sequence[str] = ("Index",)
    across: Sequence[str] = ()
    groups: Sequence[tuple[str, int]] = ()
    notes: Sequence[str] = ()
    shown_only: Sequence[str] = ()
    digits: int | None = 9  # beyond them processors may differ


def write_table(table: Table, folder: Path, name: str, kinds: Sequence[str] = ("md", "tex", "csv")) -> list[Path]:
    """Write the table as NAME.KIND for every kind; gives the files.

    Raises:
        OSError: the folder cannot be written.
    """
    made = {"md": as_markdown, "tex": as_latex, "csv": as_csv}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in kinds]
    for path, kind in zip(paths, kinds, strict=True):
        write_whole(path, made[kind](table).encode())
    return paths


def interval(name: str, low: str = "", high: str = "", form: str = "{:.3f} ({:.3f} to {:.3f})") -> CellOf:
    """The text of a number with its ends in `form`; the number alone, if they are missing.

    `low` and `high` are the ends' columns, NAME_low and NAME_high unless they are given.
    """

    def text(row: Any) -> str:
        values = [getattr(row, column) for column in (name, low or f"{name}_low", high or f"{name}_high")]
        if _is_missing(values[0]):
            return MISSING
        return (form.partition(" ")[0] if _is_missing(values[1]) else form).format(*values)

    return text


def at(name: str, value: object, text: Callable[[Any], Cell]) -> CellOf:
    """The text of the line's row whose column `name` has the value; empty where there is none."""
    return lambda *rows: next((text(row) for row in rows if getattr(row, name) == value), "")


def as_markdown(table: Table) -> str:
    """The table as Markdown, the caption and the notes above it."""
    columns, lines = _shown(table)
    over = [title for title, span in table.groups for _ in range(span)]
    titles = ["", *over] if over else [""] * len(columns)
    cells = [
        [in_markdown(f"{title} {column.heading}".strip()) for title, column in zip(titles, columns, strict=True)],
        [_SIDES[column.side] for column in columns],
        *([*map(_cell_in_markdown, line)] for line in lines),
    ]
    parts = [in_markdown(table.caption), "\n".join(f"- {in_markdown(note)}" for note in table.notes)]
    parts.append("".join(f"| {' | '.join(line)} |\n" for line in cells))
    return "\n\n".join(part for part in parts if part)


def as_latex(table: Table) -> str:
    """The table as LaTeX, in the letters of any document class; a long one breaks over pages."""
    columns, lines = _shown(table)
    over = [rf"\multicolumn{{{span}}}{{c}}{{{in_latex(title)}}}" for title, span in table.groups]
    heads = [["", *over]] * bool(over) + [[in_latex(column.heading) for column in columns]]
    top, body = (
        [f"{' & '.join(line)} \\\\" for line in of] for of in (heads, [map(_cell_in_latex, line) for line in lines])
    )
    layout = "".join(column.side if column.width is None else f"p{{{column.width}cm}}" for column in columns)
    caption = rf"\caption{{{in_latex(table.caption)}}}"
    if len(body) >= _LONG:
        begin = [r"% needs \usepackage{longtable}", rf"\begin{{longtable}}{{{layout}}}", rf"{caption} \\"]
        whole = [*begin, r"\hline", *top, r"\hline", r"\endhead", *body, r"\hline", r"\end{longtable}"]
    else:
        begin = [r"\begin{table}", r"\centering", caption, rf"\begin{{tabular}}{{{layout}}}"]
        whole = [*begin, r"\hline", *top, r"\hline", *body, r"\hline", r"\end{tabular}", r"\end{table}"]
    return "\n".join(whole) + "\n"


def as_csv(table: Table) -> str:
    """The values as CSV, heads first; no text of it is a formula to a spreadsheet."""
    values = table.values.drop(columns=[*table.shown_only])
    values = values.T if table.across else values
    cells = [[_in_csv(value, table.digits) for value in row] for row in values.itertuples(index=False, name=None)]
    heads = [*map(in_csv, values.columns)]
    whole = pd.DataFrame(cells, index=values.index, columns=heads, dtype=object)
    return whole.to_csv(index=bool(table.across), lineterminator="\n")


def _shown(table: Table) -> tuple[list[Column], list[list[Cell]]]:
    """The columns that are shown, and the lines' cells."""
    grouped = groupby(table.values.itertuples(), key=lambda row: [getattr(row, name) for name in table.by])
    lines = [[*rows] for _, rows in grouped]
    if not table.across:
        return [*table.columns], [[_cell(column, line) for column in table.columns] for line in lines]
    columns = [Column("", "", "l"), *(Column(heading, "") for heading in table.across)]
    return columns, [[of.heading, *(_cell(of, line) for line in lines)] for of in table.columns]


def _cell(column: Column, line: list[Any]) -> Cell:
    if not isinstance(column.text, str):
        return column.text(*line)
    values = line[0]._asdict()
    names = [name for _, name, _, _ in Formatter().parse(column.text) if name]
    return column.missing if any(_is_missing(values[name]) for name in names) else column.text.format(**values)


def _is_missing(value: Any) -> bool:
    return value == "" or bool(pd.isna(value))


def _cell_in_markdown(cell: Cell) -> str:
    if isinstance(cell, str):
        return in_markdown(cell)
    return f"{in_markdown(cell.text)}; {in_markdown_code(cell.command)}"


def _cell_in_latex(cell: Cell) -> str:
    return in_latex(cell if isinstance(cell, str) else f"{cell.text}; {cell.command}")


def _in_csv(value: object, digits: int | None) -> object:
    match value:
        case str():
            return in_csv(value)
        case float() if digits is not None:
            return round(value, digits)
        case _:
            return value
