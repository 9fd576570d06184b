"""Text in Markdown, LaTeX and CSV, with everything escaped that these would read as their own."""

import re

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


def in_csv(text: str) -> str:
    """The text with everything escaped that does not print, and no formula to a spreadsheet."""
    escaped = legible(text, len(text) * _LONGEST_ESCAPE + 1)
    return f"'{escaped}" if escaped.startswith(("=", "+", "-", "@")) else escaped
