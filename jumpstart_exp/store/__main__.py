"""`python -m jumpstart_exp.store`: put the parts of a store into few, or check all of them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.console import complain, notes, output, redraws, set_up_output
from jumpstart_exp.settings import SettingError

if TYPE_CHECKING:
    from jumpstart_exp.store import Store

    OnProgress = Callable[[int, int], None]

USAGE = """\
Usage: python -m jumpstart_exp.store compact [results_dir=results]
       python -m jumpstart_exp.store verify [results_dir=results]

compact puts the many small part-files of a store into few large ones, which are read faster, and removes what
killed writers left a day ago or earlier. A sweep that finds more than {many:,} parts does it by itself.

verify reads every part as a whole, names each one that is damaged, each row that no training can have written and
each key with two different results, and adds a checksum to the parts that were written before parts had one. Exit
code 3 if anything is wrong.

Sweeps may write and anybody may read meanwhile; no row is lost by a kill.
"""

_ALLOWED = "compact, verify, results_dir=FOLDER or --help"


def main(arguments: list[str]) -> int:
    """Compact or verify a store; the exit code: 0, 1 if it cannot be used, 2 for a bad argument, 3 if it has flaws."""
    from jumpstart_exp.store.compaction import MANY_PARTS

    set_up_output()
    work = {"compact": _compact, "verify": _verify}
    try:
        given = read_arguments(
            arguments, {"results_dir": ()}, f"is not an argument of the store: {_ALLOWED}", words=[*work]
        )
        if given is None:
            print(USAGE.format(many=MANY_PARTS), end="")
            return 0
        if len({*given.words}) != 1:
            return _fail("one command is needed: python -m jumpstart_exp.store compact|verify [results_dir=FOLDER]", 2)
        return _run(given.words[0], work[given.words[0]], given.folder("results_dir"))
    except SettingError as error:
        return _fail(str(error), 2)


def _run(word: str, work: "Callable[[Store, OnProgress], tuple[str, int]]", results_dir: Path) -> int:
    """Do the work and show how far it is; its line, and the exit code."""
    from jumpstart_exp.store import Store, StoreError

    console = notes()
    columns = (TextColumn(word), BarColumn(), MofNCompleteColumn(), TextColumn("parts"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not redraws(console)) as progress:
            task = progress.add_task(word, total=None)
            words, code = work(
                Store(results_dir), lambda done, total: progress.update(task, completed=done, total=total or None)
            )
    except StoreError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"results_dir={str(results_dir)!r} cannot be read: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("stopped: everything stored is there, run it again to go on", 130)
    output().print(f"{results_dir}: {words}", markup=False)
    return code


def _compact(store: "Store", on_progress: "OnProgress") -> tuple[str, int]:
    from jumpstart_exp.store.compaction import compact

    found = compact(store, on_progress)
    removed = f"; {found.removed} left-over files removed" if found.removed else ""
    return f"{found.rows} rows, {_parts(found.parts_before)} became {_parts(found.parts_after)}{removed}", 0


def _verify(store: "Store", on_progress: "OnProgress") -> tuple[str, int]:
    from jumpstart_exp.store.verification import verify

    found = verify(store, on_progress)
    words = [_parts(found.parts)]
    words += [f"{found.added} got a checksum"] if found.added else []
    wrong = [f"{found.damaged} damaged"] if found.damaged else []
    wrong += [f"{found.left_out} rows that no training can have written"] if found.left_out else []
    wrong += [f"{found.curves_left_out} such rows of curves"] if found.curves_left_out else []
    wrong += [f"{found.differing} keys with two different results"] if found.differing else []
    wrong += [f"{found.doubtful} rows of other numerics with another key"] if found.doubtful else []
    return ", ".join([*words, *(wrong or ["nothing damaged"])]), 3 if wrong else 0


def _parts(count: int) -> str:
    return f"{count} part{'s' * (count != 1)}"


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
