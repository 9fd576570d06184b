"""What a command says: results on standard output, progress, warnings and errors on standard error."""

import sys
import warnings
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from jumpstart_exp.settings import legible

_LONGEST_LINE = 5000


class Notice(UserWarning):
    """A warning for the user and not about code: shown as one line."""


def output() -> Console:
    """The console for results; lines are not wrapped where there is no terminal."""
    return Console(highlight=False, soft_wrap=True)


def notes() -> Console:
    """The console for progress, warnings and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line of warning."""
    notes().print(f"[yellow]warning:[/] {_printable(message)}")


def complain(message: str) -> None:
    """One line of error (more where it lists several)."""
    notes().print(f"[bold red]error:[/] {_printable(message)}")


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Notices in one line, any other warning as Python shows it: for `warnings.showwarning`."""
    if issubclass(category, Notice):
        warn(str(message))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def _printable(message: str) -> str:
    """The message as it is: no markup, no terminal's escape sequences, which a stored text may hold."""
    return "\n".join(escape(legible(line, _LONGEST_LINE)) for line in message.splitlines())
