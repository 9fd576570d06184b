"""One table: its values, built once, and how Markdown and LaTeX show them; CSV has the values themselves.

Everything is escaped that Markdown, LaTeX or a spreadsheet would read as its own.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import Formatter
from types import SimpleNamespace
from typing import Any

import pandas as pd

from jumpstart_exp.report.files import write_files
from jumpstart_exp.report.registry import Job
from jumpstart_exp.settings import legible

MISSING = "–"
"""What stands for a value that is missing."""

_LONG = 40  # lines from which on a LaTeX table breaks over pages
_SIDES = {"l": "---", "r": "---:"}  # in Markdown
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    '"': r"\symbol{34}",
    "^": r"\textasciicircum{}",
    **{letter: "\\" + letter for letter in "&%$#_{}"},
    **{letter: rf"\ensuremath{{{letter}}}" for letter in "<>|"},
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "λ": r"\ensuremath{\lambda}",
    "ℓ": r"\ensuremath{\ell}",
    "₂": r"\ensuremath{_2}",
    "Σ": r"\ensuremath{\Sigma}",
    "²": r"\ensuremath{^2}",
    "–": "--",
}
_LATEX_LETTERS = "\u0180"  # the first letter beyond those of European languages, which LaTeX has
_LONGEST_ESCAPE = len("\\U0001f600")


@dataclass(frozen=True)
class WithCommand:
    """A cell's text, and the command that follows it: code in Markdown."""

    text: str
    command: str


Cell = str | WithCommand
CellOf = Callable[..., Cell]
"""A line's cell, made of the rows of values that the line shows: an attribute a column."""


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
    """Values, and how they are shown; a column of whole numbers with gaps has dtype object, so that they stay whole.

    A line of Markdown and LaTeX is a row of `values`, or neighbouring rows that are equal in the columns `by`. Where
    `across` has headings, every row is a column under its heading, in CSV under its index, and `columns` are lines.
    `groups` are titles over the headings but the first, and how many of these each spans. `notes` are listed below
    Markdown's caption. CSV lacks the values `shown_only`; its numbers have `digits` behind the point, None for all.
    `kinds` are the table's files.
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
    kinds: Sequence[str] = ("md", "tex", "csv")


def table_job(name: str, make: Callable[[], Table]) -> Job:
    """The job that makes a table and writes it as NAME.KIND, for every kind."""

    def write(folder: Path) -> list[Path]:
        table = make()
        return write_files(folder, name, {kind: _WRITERS[kind](table).encode() for kind in table.kinds})

    return Job("tables", write)


def interval(name: str, prefix: str | None = None, form: str = "{:.3f} ({:.3f} to {:.3f})") -> CellOf:
    """The text of a number with its interval in `form`; without one with the seeds' range, if there is one, said so.

    The ends are the columns low and high, the range least and most, each behind `prefix`, NAME_ unless it is given.
    """
    start, _, ends = form.partition(" ")

    def text(row: Any) -> str:
        value = getattr(row, name)
        low, high, least, most = (
            getattr(row, f"{f'{name}_' if prefix is None else prefix}{end}", None)
            for end in ("low", "high", "least", "most")
        )
        if _is_missing(value):
            return MISSING
        if not _is_missing(low):
            return form.format(value, low, high)
        if _is_missing(least):
            return start.format(value)
        return f"{start} {ends[0]}range {ends[1:]}".format(value, least, most)

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
        [_in_markdown(f"{title} {column.heading}".strip()) for title, column in zip(titles, columns, strict=True)],
        [_SIDES[column.side] for column in columns],
        *([*map(_in_markdown, line)] for line in lines),
    ]
    parts = [_in_markdown(table.caption), "\n".join(f"- {_in_markdown(note)}" for note in table.notes)]
    parts.append("".join(f"| {' | '.join(line)} |\n" for line in cells))
    return "\n\n".join(part for part in parts if part)


def as_latex(table: Table) -> str:
    """The table as LaTeX, in the letters of any document class; a long one breaks over pages."""
    columns, lines = _shown(table)
    over = [rf"\multicolumn{{{span}}}{{c}}{{{in_latex(title)}}}" for title, span in table.groups]
    heads = [["", *over]] * bool(over) + [[in_latex(column.heading) for column in columns]]
    top = [f"{' & '.join(line)} \\\\" for line in heads]
    body = [f"{' & '.join(map(in_latex, line))} \\\\" for line in lines]
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
    cells = [[_in_csv(value, table.digits) for value in row] for row in values.to_numpy(object).tolist()]
    heads = [_in_csv(name, None) for name in values.columns]
    whole = pd.DataFrame(cells, index=values.index, columns=heads, dtype=object)
    return whole.to_csv(index=bool(table.across), lineterminator="\n")


def in_latex(cell: Cell) -> str:
    """The text with everything escaped that LaTeX would read as a command, or has no letter for."""
    text = cell if isinstance(cell, str) else f"{cell.text}; {cell.command}"
    return "".join(
        _LATEX.get(letter, letter if letter < _LATEX_LETTERS else rf"\texttt{{U+{ord(letter):04X}}}") for letter in text
    )


_WRITERS = {"md": as_markdown, "tex": as_latex, "csv": as_csv}


def _shown(table: Table) -> tuple[list[Column], list[list[Cell]]]:
    """The columns that are shown, and the lines' cells."""
    names = ["Index", *table.values]
    cells = enumerate(table.values.to_numpy(object).tolist())  # itertuples takes milliseconds a table
    found = (SimpleNamespace(**dict(zip(names, (number, *own), strict=True))) for number, own in cells)
    lines = [[*rows] for _, rows in groupby(found, key=lambda row: [getattr(row, name) for name in table.by])]
    if not table.across:
        return [*table.columns], [[_cell(column, line) for column in table.columns] for line in lines]
    columns = [Column("", "", "l"), *(Column(heading, "") for heading in table.across)]
    return columns, [[of.heading, *(_cell(of, line) for line in lines)] for of in table.columns]


def _cell(column: Column, line: list[Any]) -> Cell:
    if not isinstance(column.text, str):
        return column.text(*line)
    values = vars(line[0])
    names = [name for _, name, _, _ in Formatter().parse(column.text) if name]
    return column.missing if any(_is_missing(values[name]) for name in names) else column.text.format(**values)


def _is_missing(value: Any) -> bool:
    return value == "" or bool(pd.isna(value))


def _in_markdown(cell: Cell) -> str:
    if isinstance(cell, WithCommand):
        # as code it can be copied, but not with a grave accent, a bar or a line's end
        is_code = not re.search(r"[`|\r\n]", cell.command)
        return f"{_in_markdown(cell.text)}; {f'`{cell.command}`' if is_code else _in_markdown(cell.command)}"
    return re.sub(r"([\\|*_`<>&$~#\[\]])", r"\\\1", cell)


def _in_csv(value: object, digits: int | None) -> object:
    match value:
        case str():
            escaped = legible(value, len(value) * _LONGEST_ESCAPE + 1)
            return f"'{escaped}" if escaped.startswith(("=", "+", "-", "@")) else escaped
        case float() if digits is not None:
            return round(value, digits)
        case _:
            return value
