"""Text in Markdown, LaTeX and CSV, with everything escaped that these would read as their own; and its files."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jumpstart_exp.report.files import write_whole
from jumpstart_exp.settings import legible

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

_LATEX_LETTERS = "\u0180"
"""The first letter beyond those of European languages, which LaTeX has."""

_LONGEST_ESCAPE = len("\\U0001f600")

Rows = list[list[str]]


def markdown_table(heads: Sequence[str], rows: Rows, columns: str | None = None) -> str:
    """A table whose cells stand as they are.

    `columns` has a letter a column, "l" to the left (text) or "r" to the right (numbers); None for the first to the
    left and the others to the right.
    """
    sides = columns or f"l{'r' * (len(heads) - 1)}"
    lines = [heads, [{"l": "---", "r": "---:"}[side] for side, _ in zip(sides, heads, strict=True)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def in_markdown(text: str) -> str:
    """The text with everything escaped that Markdown would read as its own."""
    return re.sub(r"([\\|*_`<>&$~#\[\]])", r"\\\1", text)


def in_markdown_code(text: str) -> str:
    """The text as code that can be copied as it is; one with a grave accent, a bar or a line's end as plain text."""
    return in_markdown(text) if re.search(r"[`|\r\n]", text) else f"`{text}`"


def in_latex(text: str) -> str:
    """The text with everything escaped that LaTeX would read as a command, or has no letter for."""
    return "".join(_LATEX.get(letter) or (letter if letter < _LATEX_LETTERS else _by_number(letter)) for letter in text)


def _by_number(letter: str) -> str:
    return rf"\texttt{{U+{ord(letter):04X}}}"


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """The rows as CSV; no text of them is a formula to a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_in_csv, row) for row in rows)
    return text.getvalue()


def _in_csv(value: object) -> object:
    """A number as it is; a text that prints, and is no formula to a spreadsheet."""
    if not isinstance(value, str):
        return value
    text = legible(value, len(value) * _LONGEST_ESCAPE + 1)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def write_texts(folder: Path, name: str, texts: dict[str, str]) -> list[Path]:
    """Write the texts, by their kind, as NAME.KIND; gives the files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text.encode())
    return paths
