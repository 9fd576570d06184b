"""`python -m jumpstart_exp.report`: draw every figure and write every table that the store supports."""

import sys
import textwrap
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from jumpstart_exp.arguments import Arguments, read_arguments
from jumpstart_exp.console import redraws, set_up_output
from jumpstart_exp.folders import why_no_folder
from jumpstart_exp.report.processes import ProcessError, Processes, processes_for
from jumpstart_exp.report.registry import KINDS, MOST_ALIKE, Job, Stored, Write, sections
from jumpstart_exp.settings import SettingError, legible

if TYPE_CHECKING:
    from jumpstart_exp.report.unchanged import Drawn

_KINDS = "\n".join(
    textwrap.fill(kind.shows, 101, initial_indent=f"  {name:16}", subsequent_indent=" " * 18, break_on_hyphens=False)
    for name, kind in KINDS.items()
)

USAGE = f"""\
Usage: python -m jumpstart_exp.report [results_dir=results] [only=KIND] [threshold=0.95] [swept=best|all]
                                      [redraw=changed|all] [data_dir=data]
       python -m jumpstart_exp.report figure=cpaior-2 [variant=paper|code] [moment=best|last] [redraw=changed|all]
       python -m jumpstart_exp.report atlas [results_dir=results] [summary=write] [redraw=changed|all]

Draws what the stored results support, at best and at last epoch; it trains nothing:
{_KINDS}
PNG and PDF in RESULTS_DIR/figures; Markdown, LaTeX and CSV in RESULTS_DIR/tables.

figure=NAME draws one figure or table of the papers at its column width (PDF and PNG, or LaTeX and
Markdown): cpaior-2 to -4, iclr-1 to -12, sepcons-1 to -8, rai-2 to -5, geometry-2 to -18,
cpaior-table-1, iclr-table-1, sepcons-table-2, geometry-table-statements. No results are needed for
geometry-2 to -12, -17, -18 and that last table.

atlas draws the comparison of all methods from the summaries in RESULTS_DIR/atlas, without the cells themselves;
summary=write first makes these summaries anew, of the cells that are stored (docs/atlas.md).

threshold is the training accuracy, or R² of a regression, from which on a network trains: 0.95 for MOONS,
of images twice the share of the largest class, of tables their dataset.threshold.
Of more than four figures that differ in a swept setting's value only the
best has files of its own beside the sweep's, of all figures of one dataset and the same methods the
{MOST_ALIKE} of which the most networks train, and published studies; the page has all, and swept=all draws
each. Nothing but seeds is averaged: results that differ in anything else are separate figures.

What was made of the very same results, options and versions is left as it is, if its files are; redraw=all
makes everything anew. On Linux the work is shared over processes, as many as there are CPUs and memory for.
"""

EMPTY = "run `python -m jumpstart_exp -m +experiment=quick` or `make heatmaps` first"
_OF_A_FIGURE: dict[str, Sequence[str]] = {"variant": ("paper", "code"), "moment": ("best", "last")}

_NAMES: dict[str, Sequence[str]] = {
    **dict.fromkeys(("results_dir", "data_dir", "threshold", "figure"), ()),
    "only": tuple(KINDS),
    "swept": ("best", "all"),
    "redraw": ("changed", "all"),
    "summary": ("write",),
    **_OF_A_FIGURE,
}

_LONGEST_LINE = 5000

MANY = 3
"""Figures from which on drawing takes long enough for a progress bar."""


def main(arguments: list[str]) -> int:
    """Draw what is asked for; returns the exit code: 0, 1 for no result or no figure, 2 for a bad argument."""
    set_up_output()
    figure = "figure=NAME (with variant=paper|code, moment=best|last)"
    allowed = (
        f"results_dir=FOLDER, only={'|'.join(KINDS)}, {figure}, threshold=ACCURACY, swept=best|all, "
        "redraw=changed|all, data_dir=FOLDER, atlas (with summary=write) or --help"
    )
    try:
        typed = read_arguments(arguments, _NAMES, f"is not an argument of the report: {allowed}", words=("atlas",))
    except SettingError as error:
        return _complain(str(error), 2)
    if typed is None:
        print(USAGE, end="")
        return 0
    values = typed.values
    if typed.words:
        return _report_atlas(typed)
    if "summary" in values:
        return _complain("summary=write goes with atlas: python -m jumpstart_exp.report atlas summary=write", 2)
    figure = values.get("figure", "")
    if figure and "only" in values:
        return _complain("only= and figure= do not go together: one figure of the papers, or all of a kind", 2)
    if not figure and (lone := [name for name in _OF_A_FIGURE if name in values]):
        return _complain(f"{lone[0]}= goes with figure=NAME, a figure of the papers", 2)
    if figure and "swept" in values:
        return _complain("swept= and figure= do not go together: a figure of the papers is drawn by its name", 2)
    if figure and "threshold" in values and "-table-" not in figure:
        return _complain(f"threshold= goes with the papers' tables: it changes nothing in {figure}", 2)
    try:
        threshold = float(values["threshold"]) if "threshold" in values else None
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError
    except ValueError:
        return _complain(f"threshold={values['threshold']} is not allowed: it must be above 0 and at most 1", 2)
    try:
        return _report(typed, threshold)
    except KeyboardInterrupt:
        return _complain("stopped: what is drawn stays, and the same command draws the rest", 130)


def _report(typed: Arguments, threshold: float | None) -> int:
    # imported here so that --help and a bad argument answer at once
    from jumpstart_exp.report.papers.figures import FIGURES, PaperError
    from jumpstart_exp.report.papers.published import PublishedError
    from jumpstart_exp.report.table.grid import GridError, figure_grids
    from jumpstart_exp.report.table.studies import named_by_study
    from jumpstart_exp.report.table.sweeps import sweeps
    from jumpstart_exp.report.unchanged import Drawn
    from jumpstart_exp.store import Store, StoreError

    try:
        results, data = (typed.folder(name) for name in ("results_dir", "data_dir"))
    except SettingError as error:
        return _complain(str(error), 2)
    values = typed.values
    only, figure = values.get("only", ""), values.get("figure", "")
    drawn, everything = Drawn(results, data), values.get("redraw") == "all"
    if figure in FIGURES and FIGURES[figure].is_computed:
        from jumpstart_exp.report.papers.drawn import write_computed_figure

        if lone := [name for name in _OF_A_FIGURE if name in values]:
            return _complain(f"{lone[0]}= changes nothing in {figure}, which is of no stored result", 2)
        return _draw_one(partial(write_computed_figure, figure), figure, drawn, results, everything=everything)
    if why := why_no_folder(results):
        return _complain(f"no results in {results}: {why}; {EMPTY}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            store = Store(results)
            table = store.cells()
            if figure:
                from jumpstart_exp.report.papers.drawn import write_paper_figure

                variant, at_epoch = values.get("variant"), values.get("moment", "best")
                write = partial(write_paper_figure, figure, results, table, variant=variant, at_epoch=at_epoch)
                return _draw_one(partial(write, threshold=threshold), figure, drawn, results, everything=everything)
            found = [grid.at_threshold(threshold) for grid in figure_grids(table)]
            each = values.get("swept") == "all"
            grids, swept = named_by_study(found, table), sweeps(found, table, each=each)
            stored = Stored(results, data, store, table, grids, swept, threshold, each)
            work = [*sections(stored, only)] if grids else []
        except (StoreError, GridError, PublishedError, PaperError) as error:
            return _complain(str(error))
        finally:
            for warning in caught:
                print(legible(f"warning: {warning.message}", _LONGEST_LINE), file=sys.stderr)
    if not grids:
        return _complain(f"no results in {results}: the store {'is empty' if not caught else 'has no other'}; {EMPTY}")
    if not work:
        return _complain(f"only={only}: nothing in {results} can be drawn, it needs {KINDS[only].needs}")
    return _draw(work, results, drawn, everything=everything)


def _report_atlas(typed: Arguments) -> int:
    """Draw the atlas from its summaries, which are made of the store's cells first if that is asked for."""
    known = ("results_dir", "data_dir", "redraw", "summary")
    if others := [name for name in typed.values if name not in known]:
        return _complain(f"{others[0]}= does not go with atlas: {', '.join(f'{name}=' for name in known)} do", 2)
    from jumpstart_exp.report.atlas.drawn import atlas_jobs
    from jumpstart_exp.report.atlas.summary import SummaryError, make_summaries, read_summary, summary_paths
    from jumpstart_exp.report.table.grid import GridError
    from jumpstart_exp.report.unchanged import Drawn
    from jumpstart_exp.store import StoreError

    try:
        results, data = (typed.folder(name) for name in ("results_dir", "data_dir"))
        if "summary" in typed.values:
            if why := why_no_folder(results):
                return _complain(f"no results in {results}: {why}")
            for path in make_summaries(results):
                print(legible(f"  {path}", _LONGEST_LINE))
        if not (paths := summary_paths(results)):
            again = (
                "python -m jumpstart_exp.report atlas summary=write makes it of stored cells of +experiment=atlas_moons"
            )
            return _complain(f"no summary of an atlas in {results / 'atlas'}: {again}")
        work = [(atlas.title, [*atlas_jobs(atlas)]) for atlas in map(read_summary, paths)]
        return _draw(work, results, Drawn(results, data), everything=typed.values.get("redraw") == "all")
    except SettingError as error:
        return _complain(str(error), 2)
    except (StoreError, GridError, SummaryError, OSError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _complain("stopped: what is drawn stays, and the same command draws the rest", 130)


def _draw(work: Sequence[tuple[str, Sequence[Job]]], results: Path, drawn: "Drawn", *, everything: bool) -> int:
    """Do the sections' jobs, each told by its title and files in their order, whatever is done first.

    Returns:
        The exit code.
    """
    jobs = [job for _, of_section in work for job in of_section]
    titles = dict(zip(accumulate([0, *(len(of) for _, of in work)]), (title for title, _ in work), strict=False))
    marks = [drawn.fingerprint(job) for job in jobs]
    kept = [None if everything else drawn.unchanged(mark) for mark in marks]
    told = {place: _told(paths, "unchanged") for place, paths in enumerate(kept) if paths}
    failed: dict[int, str] = {}
    places = sorted({*range(len(jobs))} - told.keys(), key=lambda place: (not jobs[place].is_long, place))
    console, shown = Console(), 0

    def write(place: int) -> list[Path] | str:
        return _made(jobs[place].write, results / jobs[place].folder)

    def show() -> None:
        nonlocal shown
        while shown in told:
            if shown in titles:
                print(legible(titles[shown], _LONGEST_LINE))
            print(told[shown])
            shown += 1

    try:
        with (
            Processes(write, places, processes_for(len(places)) if len(places) >= MANY else 1) as processes,
            _progress(console, len(places)) as progress,
        ):
            task = progress.add_task("drawing", total=len(jobs), completed=len(told))
            show()
            for done in processes.done():
                for warned in done.warned:
                    warnings.warn(warned, stacklevel=1)
                if isinstance(done.value, str):
                    failed[done.place] = done.value
                else:
                    drawn.note(None if done.warned else marks[done.place], done.value)  # who asks again is warned again
                    told[done.place] = _told(done.value)
                show()
                progress.update(task, advance=1, refresh=True)
                if shown in failed:
                    return _complain(failed[shown])
    except ProcessError as error:
        return _complain(str(error))
    finally:
        drawn.write()
    return 0


def _progress(console: Console, jobs: int) -> Progress:
    """A bar with the time left, without a thread of its own; none where little is to be done, or nobody looks."""
    is_short = jobs < MANY or not redraws(console)
    return Progress(console=console, transient=True, auto_refresh=False, disable=is_short)


def _draw_one(write: Write, figure: str, drawn: "Drawn", results: Path, *, everything: bool) -> int:
    """Draw one figure of the papers, unless it is as it was; its errors are the caller's. Gives the exit code."""
    job = Job("tables" if "-table-" in figure else "figures", write)
    mark = drawn.fingerprint(job)
    paths = None if everything else drawn.unchanged(mark)
    if paths:
        print(_told(paths, "unchanged"))
        return 0
    with warnings.catch_warnings(record=True) as caught:
        made = _made(write, results / job.folder)
    for each in caught:
        warnings.warn(each.message, stacklevel=1)
    if isinstance(made, str):
        return _complain(made)
    drawn.note(None if caught else mark, made)  # who asks again is warned again
    drawn.write()
    print(_told(made))
    return 0


def _made(write: Write, folder: Path) -> list[Path] | str:
    """The files that were written into the folder, or in a line why they could not be."""
    from jumpstart_exp.store import StoreError

    try:
        return write(folder)
    except OSError as error:
        return f"cannot write into {folder}: {error.strerror or error}"
    except StoreError as error:
        return str(error)


def _told(paths: Sequence[Path], word: str = "") -> str:
    """A line for each figure or table: its first file, the endings of its others, and the word."""
    lines = []
    for stem, files in groupby(paths, key=lambda path: path.with_suffix("")):
        first, *others = (path.suffix for path in files)
        endings = f" (and {', '.join(others)})" if others else ""
        lines.append(legible(f"  {stem}{first}{endings}{f', {word}' if word else ''}", _LONGEST_LINE))
    return "\n".join(lines)


def _complain(message: str, code: int = 1) -> int:
    print(legible(f"error: {message}", _LONGEST_LINE), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
