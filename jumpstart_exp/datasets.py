"""`python -m jumpstart_exp.datasets`: download and check the datasets that have files."""

import sys
import warnings
from pathlib import Path
from typing import Any

from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.console import set_up_output
from jumpstart_exp.data import DATASETS, ImageSpec
from jumpstart_exp.data.image_files import DataError, DataWarning, ImageSet
from jumpstart_exp.settings import SettingError

USAGE = (
    """\
Usage: python -m jumpstart_exp.datasets NAME... [data_dir=data]

Downloads the named datasets into DATA_DIR, where they are not there and whole already.
NAME is one of """
    + ", ".join(name for name, spec in DATASETS.items() if issubclass(spec, ImageSpec))
    + ".\n"
)


def main(arguments: list[str]) -> int:
    """Download and check sets; returns the exit code: 0, 1 if one cannot be had, 2 for a bad argument, 130."""
    set_up_output()
    known = {name: spec.files for name, spec in DATASETS.items() if issubclass(spec, ImageSpec)}
    refusal = f"is not one of {', '.join(known)}, data_dir=FOLDER or --help"
    try:
        given = read_arguments(arguments, {"data_dir": ()}, refusal, words=list(known))
        if given is None:
            print(USAGE, end="")
            return 0
        if not given.words:
            print(USAGE, end="", file=sys.stderr)
            return 2
        data_dir = given.folder("data_dir")
        return max([_fetch(known[name], data_dir) for name in dict.fromkeys(given.words)])
    except SettingError as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("stopped: no set is left half there", 130)


def _fetch(wanted: ImageSet, data_dir: Path) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show_warning
            wanted.prepare(data_dir, download=True)
    except DataError as error:
        return _complain(str(error))
    where = data_dir / wanted.folder
    print(f"{wanted.name}: {where}, {wanted.n_train:,} training and {wanted.n_val:,} test images")
    return 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _complain(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
