"""What a command says: results on standard output, progress, warnings and errors on standard error."""

import errno
import io
import os
import select
import sys
import warnings
from typing import Any, BinaryIO, TextIO, cast

from rich.console import Console
from rich.markup import escape

from jumpstart_exp.settings import legible

_LONGEST_LINE = 5000

_REPLACING = ("replace", "backslashreplace", "xmlcharrefreplace", "namereplace", "ignore")
"""How a stream may treat letters that its encoding lacks, so that none raises."""

_GONE = (errno.EPIPE, errno.EIO)
"""What writing raises when the reader of a pipe has ended, or the terminal is gone: nobody is left to tell of it."""


class Notice(UserWarning):
    """A warning for the user and not about code: shown as one line."""


def set_up_output() -> None:
    """What a command does first: whatever becomes of its output, no print raises; warnings are lines.

    What cannot be written is dropped: to a pipe that nobody reads, a terminal that is gone, a full disk. Letters that
    the encoding lacks are replaced. A stream that was closed from the beginning is as good as /dev/null. Streams that
    are not the process's own (a notebook's, a test's) are left alone.
    """
    for number in range(3):  # the next file to be opened would be taken for the missing one
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _unfailing(sys.stdout, 1), _unfailing(sys.stderr, 2)
    warnings.showwarning = show_warning


def output() -> Console:
    """The console for results; lines are not wrapped where there is no terminal."""
    return Console(highlight=False, soft_wrap=True)


def notes() -> Console:
    """The console for progress, warnings and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def redraws(console: Console) -> bool:
    """Whether a bar can be drawn again and again there: on a terminal that is not dumb, whatever FORCE_COLOR says."""
    return console.is_interactive and console.file.isatty()


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


class _Dropping(io.FileIO):
    """A process's own standard output (1) or error (2): what it cannot take is dropped, and said once of output."""

    told = False

    def write(self, content: Any) -> int:
        while True:
            try:
                return os.write(self.fileno(), content)
            except BlockingIOError:  # another process has set it not to wait
                select.select([], [self.fileno()], [])
            except OSError as error:
                if self.fileno() == 1 and error.errno not in _GONE and not self.told:
                    self.told = True
                    warn(f"standard output takes no more: {error.strerror}; what is said there is lost")
                return memoryview(content).nbytes


def _unfailing(stream: Any, number: int) -> Any:
    """A stream over `_Dropping` in place of the process's own, or of none; any other as it is."""
    coding, errors, line_buffering, write_through = "utf-8", "replace", number == 2, False
    if stream is not None:
        try:
            if stream.fileno() != number:
                return stream
            stream.flush()
        except io.UnsupportedOperation:  # it has no descriptor
            return stream
        except OSError:  # nobody takes what was said so far
            pass
        except ValueError:  # the program has closed or detached it
            stream = None
    if stream is not None:
        coding, errors = stream.encoding, stream.errors if stream.errors in _REPLACING else "replace"
        line_buffering, write_through = stream.line_buffering, stream.write_through
    raw = _Dropping(number, "w", closefd=False)
    buffer = raw if write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        cast("BinaryIO", buffer), coding, errors, line_buffering=line_buffering, write_through=write_through
    )


def _printable(message: str) -> str:
    """The message as it is: no markup, no terminal's escape sequences, which a stored text may hold."""
    return "\n".join(escape(legible(line, _LONGEST_LINE)) for line in message.splitlines())
