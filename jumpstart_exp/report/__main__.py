"""`python -m jumpstart_exp.report`: draw every figure and write every table that the store supports."""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from jumpstart_exp.settings import SettingError, legible

if TYPE_CHECKING:
    from jumpstart_exp.report.grid import FigureGrid

USAGE = """\
Usage: python -m jumpstart_exp.report [results_dir=results] [only=heatmaps|scatters|tables]

Draws what the stored results support, at best and at last epoch:
  heatmaps  accuracy over depth × width, of every result; where all networks are equally wide, a row
            a method with its numbers. PNG and PDF in RESULTS_DIR/figures.
  scatters  accuracy against the number of parameters, of CNNs at three depth-width pairs or more.
            PNG and PDF in RESULTS_DIR/figures.
  tables    of figures with two methods or more: best accuracy, networks that train, and who is best
            how often (Markdown, LaTeX, CSV); what the penalty costs in time and memory against relu
            (Markdown, CSV). In RESULTS_DIR/tables.
Nothing but seeds is averaged: results that differ in anything else are separate figures.
"""

EMPTY = "run `python -m jumpstart_exp -m +experiment=quick` or `make heatmaps` first"
KINDS = {
    "heatmaps": "a result",
    "scatters": "CNNs (network.layout=cnn) that trained at three depth-width pairs or more",
    "tables": "two methods or more in one figure",
}
"""What can be drawn, and what it needs."""

_LONGEST_LINE = 5000

MANY = 3
"""Figures from which on drawing takes long enough for a progress bar."""


def main(arguments: list[str]) -> int:
    """Draw the figures; returns the exit code: 0, 1 for no result or no figure, 2 for a bad argument."""
    values = {"results_dir": "results", "only": ""}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        if name not in values or not value:
            allowed = f"results_dir=FOLDER, only={'|'.join(KINDS)} or --help"
            return _complain(f"{argument!r} is not an argument of the report: {allowed}", 2)
        values[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] in ("'", '"') else value
    if values["only"] and values["only"] not in KINDS:
        return _complain(f"only={values['only']} is not allowed: one of {', '.join(KINDS)}", 2)
    return _report(values["results_dir"], values["only"])


def _report(results_dir: str, only: str) -> int:
    # imported here so that --help and a bad argument answer at once
    from jumpstart_exp.config import named_folder
    from jumpstart_exp.report.grid import GridError, figure_grids
    from jumpstart_exp.report.rows import sound_rows
    from jumpstart_exp.store import Store, StoreError

    try:
        results = named_folder("results_dir", results_dir)
    except SettingError as error:
        return _complain(str(error), 2)
    if not results.is_dir():
        return _complain(f"no results in {results}: there is no such folder; {EMPTY}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            grids = figure_grids(sound_rows(Store(results).cells()))
        except (StoreError, GridError) as error:
            return _complain(str(error))
        finally:
            for warning in caught:
                print(legible(f"warning: {warning.message}", _LONGEST_LINE), file=sys.stderr)
    if not grids:
        return _complain(f"no results in {results}: the store {'is empty' if not caught else 'has no other'}; {EMPTY}")
    work = [(grid, jobs) for grid in grids if (jobs := _jobs(grid, results, only))]
    if not work:
        return _complain(f"only={only}: nothing in {results} can be drawn, it needs {KINDS[only]}")
    total = sum(len(jobs) for _, jobs in work)
    console = Console()
    with Progress(console=console, transient=True, disable=total < MANY or not console.is_terminal) as progress:
        task = progress.add_task("drawing", total=total)
        for grid, jobs in work:
            counts = (int(grid.present.sum()), "cell"), (len(grid.methods), "method"), (len(grid.seeds), "seed")
            shown = ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
            print(legible(f"{grid.title}: {shown}", _LONGEST_LINE))
            for folder, job in jobs:
                try:
                    paths = job(folder)
                except OSError as error:
                    return _complain(f"cannot write into {folder}: {error.strerror or error}")
                _list(paths)
                progress.advance(task)
    return 0


def _jobs(grid: "FigureGrid", results: Path, only: str) -> list[tuple[Path, Callable[[Path], list[Path]]]]:
    """What is to be drawn or written of one figure, each with the folder that it goes into."""
    from jumpstart_exp.report.cost import pair_costs
    from jumpstart_exp.report.efficiency import has_scatter
    from jumpstart_exp.report.heatmaps import draw_grid
    from jumpstart_exp.report.scatters import draw_scatter
    from jumpstart_exp.report.tables import LEAST_METHODS, write_costs, write_summaries

    jobs: list[tuple[Path, Callable[[Path], list[Path]]]] = []
    if only in ("", "heatmaps"):
        jobs.append((results / "figures", partial(draw_grid, grid)))
    if only in ("", "scatters") and has_scatter(grid):
        jobs.append((results / "figures", partial(draw_scatter, grid)))
    if only in ("", "tables") and len(grid.methods) >= LEAST_METHODS:
        jobs.append((results / "tables", partial(write_summaries, grid)))
        if pair_costs(grid):
            jobs.append((results / "tables", partial(write_costs, grid)))
    return jobs


def _list(paths: list[Path]) -> None:
    """A line for each figure or table: its first file, and the endings of its others."""
    kinds: dict[Path, list[str]] = {}
    for path in paths:
        kinds.setdefault(path.with_suffix(""), []).append(path.suffix)
    for stem, (first, *others) in kinds.items():
        print(legible(f"  {stem}{first} (and {', '.join(others)})", _LONGEST_LINE))


def _complain(message: str, code: int = 1) -> int:
    print(legible(f"error: {message}", _LONGEST_LINE), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
