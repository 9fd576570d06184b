"""What a command says: results on standard output, progress, warnings and errors on standard error."""

from rich.console import Console
from rich.markup import escape


def output() -> Console:
    """The console for results; lines are not wrapped where there is no terminal."""
    return Console(highlight=False, soft_wrap=True)


def notes() -> Console:
    """The console for progress, warnings and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """One line of warning."""
    notes().print(f"[yellow]warning:[/] {escape(message)}")


def complain(message: str) -> None:
    """One line of error (more where it lists several)."""
    notes().print(f"[bold red]error:[/] {escape(message)}")
