"""`python -m jumpstart_exp.report`: draw every figure that the store supports."""

import sys
import warnings
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

USAGE = """\
Usage: python -m jumpstart_exp.report [results_dir=results]

Draws every depth × width heatmap that the stored results support, at best and at last epoch,
as PNG and PDF into RESULTS_DIR/figures. Nothing but seeds is averaged: results that differ in
anything else are separate figures.
"""

EMPTY = "run `python -m jumpstart_exp -m +experiment=quick` or `make heatmaps` first"
MANY = 3
"""Figures from which on drawing takes long enough for a progress bar."""


def main(arguments: list[str]) -> int:
    """Draw the figures; returns the exit code: 0, 1 for no result or no figure, 2 for a bad argument."""
    results_dir = "results"
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        if name != "results_dir" or not value:
            return _complain(f"{argument!r} is not an argument of the report: results_dir=FOLDER or --help", 2)
        results_dir = value[1:-1] if value[0] == value[-1] in ("'", '"') else value
    return _report(Path(results_dir).expanduser())


def _report(results: Path) -> int:
    # imported here so that --help and a bad argument answer at once
    from jumpstart_exp.report.grid import GridError, figure_grids
    from jumpstart_exp.report.heatmaps import draw_grid
    from jumpstart_exp.store import Store, StoreError

    if not results.is_dir():
        return _complain(f"no results in {results}: there is no such folder; {EMPTY}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            table = Store(results).cells()
        for warning in caught:
            print(f"warning: {warning.message}", file=sys.stderr)
        grids = figure_grids(table)
    except (StoreError, GridError) as error:
        return _complain(str(error))
    if not grids:
        return _complain(f"no results in {results}: the store is empty; {EMPTY}")
    console = Console()
    with Progress(console=console, transient=True, disable=len(grids) < MANY or not console.is_terminal) as progress:
        for grid in progress.track(grids, description="drawing"):
            try:
                paths = draw_grid(grid, results / "figures")
            except OSError as error:
                return _complain(f"cannot write figures into {results / 'figures'}: {error.strerror or error}")
            counts = (int(grid.present.sum()), "cell"), (len(grid.methods), "method"), (len(grid.seeds), "seed")
            print(f"{grid.title}: " + ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts))
            for path in paths:
                if path.suffix == ".png":
                    print(f"  {path} (and .pdf)")
    return 0


def _complain(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
