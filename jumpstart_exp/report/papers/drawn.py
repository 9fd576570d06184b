"""The papers' figures and tables of what the store has, each by its name: found, drawn and written."""

import shlex
from functools import partial
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.figure import Figure

from jumpstart_exp.config.studies import STUDIES, Study, study, study_cells
from jumpstart_exp.inspect.recorded_states import SnapshotError
from jumpstart_exp.report.figures.drawing import METRICS, figure_files
from jumpstart_exp.report.figures.panels import Panel
from jumpstart_exp.report.figures.print_heatmaps import PrintAxes, method_panel, print_heatmaps, rows_panel
from jumpstart_exp.report.figures.print_scatters import ScatterColumn, print_scatters
from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.papers.figures import FIGURES, WIDTHS, PaperFigure
from jumpstart_exp.report.papers.print_inside import inside_snapshots, print_inside
from jumpstart_exp.report.papers.sources import (
    PaperError,
    PaperSource,
    paper_figure,
    paper_line,
    paper_source,
    variants_of,
)
from jumpstart_exp.report.table.grid import FigureGrid, GridError, figure_grids
from jumpstart_exp.report.tables.print_tables import performance_table, summary_table
from jumpstart_exp.report.tables.table import as_latex, as_markdown

DPI = 300
"""Dots per inch of the PNG files."""


def paper_names() -> tuple[str, ...]:
    """The names of all figures and tables, in the papers' order."""
    return tuple(FIGURES)


def paper_commands(figure: PaperFigure, variant: str | None = None, *, results_dir: str = "results") -> tuple[str, ...]:
    """The commands that train what the figure shows and then draw it."""
    where = "" if results_dir == "results" else f" results_dir={shlex.quote(results_dir)}"
    needed = [study(name) for name in figure.studies]
    trained = [
        each.command(variant or "paper", "0,1,...,9" if _has_seeds(figure, each) else "0") + where for each in needed
    ]
    if figure.is_inside:
        trained += [
            f"python -m jumpstart_exp.inspect study={name} method={','.join(label for label, _ in methods)}"
            + ("" if variant in (None, "paper") else f" variant={variant}")
            + where
            for name, methods in zip(figure.studies, (figure.methods, figure.others), strict=False)
        ]
    chosen = "" if variant is None else f" variant={variant}"
    return (*trained, f"python -m jumpstart_exp.report figure={figure.name}{chosen}{where}")


def write_paper_figure(
    name: str,
    results_dir: Path,
    table: pd.DataFrame,
    folder: Path,
    *,
    variant: str | None = None,
    moment: str = "best",
    threshold: float | None = None,
    dpi: int = DPI,
) -> list[Path]:
    """Write a figure as PDF and PNG, or a table as LaTeX and Markdown: NAME, and what it is other than the paper's.

    Args:
        name: one of `paper_names`.
        results_dir: the results folder; only its snapshots are read, by the figures of the inside.
        table: the store's table of cells.
        folder: where it goes.
        variant: "paper" or "code"; None for what the store has.
        moment: "best" epoch, as published, or "last".
        threshold: of a table, the training accuracy from which on a network trains; None for the dataset's own.
        dpi: dots per inch of the PNG file.

    Raises:
        PaperError: no such figure or variant, or the store lacks what it shows.
        OSError: the folder cannot be written.
    """
    figure = paper_figure(name)
    try:
        if figure.is_inside:
            words, contents = _inside(figure, results_dir, table, variant, dpi)
        else:
            source = paper_source(figure, table, variant)
            if source is None:
                raise PaperError(_what_is_missing(figure, variant, results_dir))
            words = [source.variant] * (source.variant != "paper") + ["small"] * source.is_small
            words += [moment] * (moment != "best")
            if figure.is_table:
                contents = _table(figure, source, moment, threshold)
            else:
                contents = figure_files(partial(draw_paper_figure, figure, source, moment), dpi)
    except (GridError, SnapshotError) as error:
        raise PaperError(f"figure={name}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, content in contents.items():
        paths.append(folder / f"{'_'.join([name, *words])}.{kind}")
        write_whole(paths[-1], content)
    return paths


def draw_paper_figure(figure: PaperFigure, source: PaperSource, moment: str) -> Figure:
    """The figure of what the store has, at the paper's width; `moment` is "best" or "last".

    Raises:
        GridError: rows of one network contradict each other.
    """
    if figure.kind == "scatters":
        return _draw_scatters(figure, source, moment)
    return _draw_grid(figure, source, moment)


def _has_seeds(figure: PaperFigure, of: Study) -> bool:
    """Whether many seeds are worth their time: of images one takes hours, and the inside is shown of one."""
    return of.dataset == "moons" and not figure.is_inside


def _what_is_missing(figure: PaperFigure, variant: str | None, results_dir: Path) -> str:
    commands = ", then ".join(
        f"`{command}`" for command in paper_commands(figure, variant, results_dir=str(results_dir))
    )
    lacking = "no snapshots of its networks are" if figure.is_inside else "nothing that it shows is"
    text = f"figure={figure.name}: {lacking} stored in {results_dir}; run {commands}"
    small = next((each for each in STUDIES if each.small_of == figure.studies[0]), None)
    return f"{text} (+experiment={small.name} is the same in small, minutes)" if small else text


def _inside(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None, dpi: int
) -> tuple[list[str], dict[str, bytes]]:
    """What tells the file's name from the figure's, and the files' contents."""
    for of in variants_of(variant):
        if snapshots := inside_snapshots(figure, results_dir, table, of):
            return [of] * (of != "paper"), figure_files(partial(print_inside, figure, snapshots, of), dpi)
    raise PaperError(_what_is_missing(figure, variant, results_dir))


def _draw_grid(figure: PaperFigure, source: PaperSource, moment: str) -> Figure:
    """Heatmaps over the study's depths and widths; what the store lacks is hatched."""
    grid = _only_grid(source)
    cells = study_cells(source.study, source.variant)
    depths, widths = sorted({cell.depth for cell in cells}), sorted({cell.width for cell in cells})
    shown = [(label, title) for label, title in figure.methods if label in {cell.method for cell in cells}]
    panels: list[Panel] = []
    for metric in figure.metrics:
        column = f"{metric}_{moment}"
        if figure.kind == "rows":
            labels = [label for label, _ in shown]
            title = f"{METRICS[metric]} accuracy".capitalize()
            panels.append(rows_panel(grid, labels, column, title, depths, widths[0]))
        else:
            word = f" {METRICS[metric]}" if len(figure.metrics) > 1 else ""
            panels += [method_panel(grid, label, column, f"{title}{word}", depths, widths) for label, title in shown]
    columns = tuple(map(str, depths))
    if figure.kind == "rows":
        axes = PrintAxes(columns, tuple(title for _, title in reversed(shown)), f"depth (width {widths[0]})", "")
    else:
        axes = PrintAxes(columns, tuple(map(str, widths)))
    return print_heatmaps(
        panels,
        axes,
        columns=figure.columns,
        line=paper_line(figure, source, moment),
        width_inches=WIDTHS[figure.paper],
    )


def _draw_scatters(figure: PaperFigure, source: PaperSource, moment: str) -> Figure:
    """A column a learning rate, the greatest first, as CPAIOR names them."""
    rates = sorted(source.rows["optimizer.lr"].unique(), reverse=True)
    columns = []
    for letter, rate in zip(ascii_lowercase, rates, strict=False):
        (grid,) = figure_grids(source.rows[source.rows["optimizer.lr"] == rate])
        name = f"learning rate {rate:g}"
        columns.append(ScatterColumn(f"({letter}) {name}" if len(rates) > 1 else name, grid))
    there = {method for column in columns for method in column.grid.methods}
    return print_scatters(
        columns,
        [(label, title) for label, title in figure.methods if label in there],
        moment=moment,
        line=paper_line(figure, source, moment),
        width_inches=WIDTHS[figure.paper],
    )


def _table(figure: PaperFigure, source: PaperSource, moment: str, threshold: float | None) -> dict[str, bytes]:
    line = paper_line(figure, source, moment)
    if figure.kind == "summary":
        table = summary_table(_only_grid(source).at_threshold(threshold), figure.methods, moment, line)
    else:
        table = performance_table(source.rows, figure.methods, moment, line)
    return {"tex": as_latex(table).encode(), "md": as_markdown(table).encode()}


def _only_grid(source: PaperSource) -> FigureGrid:
    (grid,) = figure_grids(source.rows)
    return grid
