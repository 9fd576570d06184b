"""`python -m jumpstart_exp.store`: put a store's parts into few, check them all, compare two stores, write one out."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jumpstart_exp.arguments import Arguments, read_arguments
from jumpstart_exp.console import complain, notes, output, redraws, set_up_output
from jumpstart_exp.folders import named_folder, why_no_folder
from jumpstart_exp.settings import SettingError, setting_error, shown

if TYPE_CHECKING:
    from jumpstart_exp.store import Store
    from jumpstart_exp.store.comparison import Comparison, Difference

    OnProgress = Callable[[int, int], None]

USAGE = """\
Usage: python -m jumpstart_exp.store compact [results_dir=results]
       python -m jumpstart_exp.store verify [results_dir=results]
       python -m jumpstart_exp.store diff A B [show=10|N|all] [format=text|json]
       python -m jumpstart_exp.store export to=FILE.csv|FILE.nc [columns=NAME,NAME] [where=FILTER] [results_dir=results]

compact puts the many small part-files of a store into few large ones, which are read faster, and removes what
killed writers left a day ago or earlier. A sweep that finds more than {many:,} parts does it by itself.

verify reads every part as a whole, names each one that is damaged, each row that no training can have written and
each key with two different results, and adds a checksum to the parts that were written before parts had one. Exit
code 3 if anything is wrong.

diff compares the stores of two results folders, cell by cell: which only one of them has (< A, > B), how many are
equal, and which are different (!) in status, metrics, penalty, census or epochs, to the bit. Time, memory, engine,
machine, versions, date, labels and an error's words are not compared. Exit code 0 if they are equal, 1 if not, 2 if
one of them cannot be read.

export writes one file, and trains and averages nothing: .csv is a tidy table, a row for each cell and label; .nc is
netCDF, arrays of depth × width × method × seed, and of further settings where these do not suffice, null as NaN.
where="depth*width<=1000 and method!='relu'" takes the cells of which it is true.

Sweeps may write and anybody may read meanwhile; no row is lost by a kill.
"""

_ALLOWED = (
    "compact, verify, diff A B, export to=FILE, results_dir=FOLDER, show=N|all, format=text|json, columns=NAME,NAME, "
    "where=FILTER or --help"
)

_OWN: dict[str, dict[str, Sequence[str]]] = {
    "compact": {"results_dir": ()},
    "verify": {"results_dir": ()},
    "diff": {"show": (), "format": ("text", "json")},
    "export": {"to": (), "columns": (), "where": (), "results_dir": ()},
}
"""The arguments of each command, and the values that they may have."""


def main(arguments: list[str]) -> int:
    """One of the store's commands; the exit code: 0, 1 if the store cannot be used, 2 for a bad argument, 3 for flaws.

    Of diff it is 1 where the stores are not equal, and 2 where one cannot be used.
    """
    from jumpstart_exp.store.compaction import MANY_PARTS

    set_up_output()
    names = {name: values for own in _OWN.values() for name, values in own.items()}
    words = arguments if "diff" in arguments[:1] else []
    try:
        given = read_arguments(
            arguments, names, f"is not an argument of the store: {_ALLOWED}", [*_OWN], takes_folders=bool(words)
        )
        if given is None:
            print(USAGE.format(many=MANY_PARTS), end="")
            return 0
        word = given.words[0] if given.words else ""
        if word not in _OWN or (word != "diff" and len({*given.words}) != 1):
            return _fail("one command is needed: compact, verify, diff A B or export to=FILE", 2)
        for name in given.values:
            if name not in _OWN[word]:
                return _fail(f"{name}= does not go with {word}: {', '.join(f'{own}=' for own in _OWN[word])}", 2)
        match word:
            case "compact":
                return _run(word, _compact, given.folder("results_dir"))
            case "verify":
                return _run(word, _verify, given.folder("results_dir"))
            case "diff":
                return _diff(given)
            case "export":
                return _export(given)
            case _:
                raise ValueError(f"{word} is no command")
    except SettingError as error:
        return _fail(str(error), 2)


def _diff(given: Arguments) -> int:
    """Compare two stores.

    Raises:
        SettingError: an argument is not allowed.
    """
    from jumpstart_exp.store import Store, StoreError
    from jumpstart_exp.store.comparison import compare

    folders = [named_folder("results_dir", name) for name in given.words[1:]]
    if len(folders) != 2:
        return _fail(f"diff takes two results folders, diff A B, and not {len(folders)}", 2)
    typed = given.values.get("show", "10")
    if typed != "all" and not typed.isdecimal():
        raise setting_error("show", typed, "a number of cells, or all")
    most = None if typed == "all" else int(typed)
    for folder in folders:
        if why := why_no_folder(folder):
            return _fail(f"no results in {folder}: {why}", 2)
    try:
        found = compare(*map(Store, folders))
    except StoreError as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"a store cannot be read: {error.strerror or error}", 2)
    lines = _json_lines(found) if given.values.get("format") == "json" else _text_lines(found, folders, most)
    for line in lines:
        print(line)
    return 0 if found.is_equal else 1


def _text_lines(found: "Comparison", folders: Sequence[Path], most: int | None) -> Iterator[str]:
    """A comparison in words: what is not equal, so many cells of each kind at most, and the numbers."""
    first, second = folders
    kinds = {
        f"only in {first}": [f"< {key} {words}" for key, words in found.only_first.items()],
        f"only in {second}": [f"> {key} {words}" for key, words in found.only_second.items()],
        "different": [f"! {_difference_words(one)}" for one in found.different],
    }
    for kind, lines in kinds.items():
        yield from lines[:most]
        if most is not None and len(lines) > most:
            yield f"  … {len(lines) - most} more {kind} (show=all)"
    same = sum(one.is_same_machine for one in found.different)
    yield f"only in {first}: {len(found.only_first)}"
    yield f"only in {second}: {len(found.only_second)}"
    yield f"equal: {found.equal}"
    yield f"different: {len(found.different)}" + (f", {same} of one engine, machine and versions" if same else "")


def _difference_words(one: "Difference") -> str:
    """What differs, the first of it with its values, and which engines gave them."""
    name, (first, second) = next(iter(one.values.items()))
    more = f" and {len(one.values) - 1} more" if len(one.values) > 1 else ""
    return f"{one.key} {one.cell}: {name} {shown(first)} and {shown(second)}{more} ({' and '.join(one.engines)})"


def _json_lines(found: "Comparison") -> Iterator[str]:
    """A comparison as one JSON document."""
    document = {
        "only_first": sorted(found.only_first),
        "only_second": sorted(found.only_second),
        "equal": found.equal,
        "different": [
            {
                "key": one.key,
                "values": {name: [*pair] for name, pair in one.values.items()},
                "engines": [*one.engines],
                "same_machine": one.is_same_machine,
            }
            for one in found.different
        ],
    }
    yield json.dumps(document, allow_nan=False)


def _export(given: Arguments) -> int:
    """Write a store's rows as one file.

    Raises:
        SettingError: an argument is not allowed.
    """
    from jumpstart_exp.store import Store, StoreError
    from jumpstart_exp.store.arrays import ArrayError
    from jumpstart_exp.store.export import export

    results_dir, values = given.folder("results_dir"), given.values
    if "to" not in values:
        return _fail("export needs a file: to=FILE.csv or to=FILE.nc", 2)
    if why := why_no_folder(results_dir):
        return _fail(f"no results in {results_dir}: {why}", 1)
    path, columns = Path(values["to"]).expanduser(), values.get("columns")
    try:
        words = export(Store(results_dir), path, columns.split(",") if columns else None, values.get("where"))
    except (ArrayError, StoreError) as error:
        return _fail(f"{results_dir}: {error}", 1)
    except OSError as error:
        return _fail(f"to={str(path)!r} cannot be written: {error.strerror or error}", 1)
    output().print(f"{path}: {words}", markup=False)
    return 0


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
