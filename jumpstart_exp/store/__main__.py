"""`python -m jumpstart_exp.store compact`: put the parts of a store into few."""

import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.console import complain, notes, output, redraws, set_up_output
from jumpstart_exp.settings import SettingError

USAGE = """\
Usage: python -m jumpstart_exp.store compact [results_dir=results]

Puts the many small part-files of a store into few large ones, which are read faster, and removes what killed
writers left a day ago or earlier. Sweeps may write and anybody may read meanwhile; no row is lost by a kill.
A sweep that finds more than {many:,} parts does it by itself.
"""


def main(arguments: list[str]) -> int:
    """Compact a store; returns the exit code: 0, 1 if the store cannot be used, 2 for a bad argument."""
    from jumpstart_exp.store.compaction import MANY_PARTS

    set_up_output()
    refusal = "is not an argument of the store: compact, results_dir=FOLDER or --help"
    try:
        given = read_arguments(arguments, {"results_dir": ()}, refusal, words=["compact"])
        if given is None:
            print(USAGE.format(many=MANY_PARTS), end="")
            return 0
        if not given.words:
            return _fail("a command is needed: python -m jumpstart_exp.store compact [results_dir=FOLDER]", 2)
        return _compact(given.folder("results_dir"))
    except SettingError as error:
        return _fail(str(error), 2)


def _compact(results_dir: Path) -> int:
    from jumpstart_exp.store import Store, StoreError
    from jumpstart_exp.store.compaction import compact

    console = notes()
    columns = (TextColumn("compacting"), BarColumn(), MofNCompleteColumn(), TextColumn("parts"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True, disable=not redraws(console)) as progress:
            task = progress.add_task("compacting", total=None)
            found = compact(
                Store(results_dir), lambda done, total: progress.update(task, completed=done, total=total or None)
            )
    except StoreError as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"results_dir={str(results_dir)!r} cannot be read: {error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail("stopped: everything stored is there, run it again to go on", 130)
    removed = f"; {found.removed} left-over files removed" if found.removed else ""
    output().print(
        f"{results_dir}: {found.rows} rows, {_parts(found.parts_before)} became {_parts(found.parts_after)}{removed}",
        markup=False,
    )
    return 0


def _parts(count: int) -> str:
    return f"{count} part{'s' * (count != 1)}"


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
