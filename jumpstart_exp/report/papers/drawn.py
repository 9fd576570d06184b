"""The papers' figures and tables of what the store has, each by its name: found, drawn and written."""

import shlex
from functools import partial
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.figure import Figure

from jumpstart_exp.config.studies import Study, small_study, study, study_cells
from jumpstart_exp.inspect.recorded_states import RecordedStatesError
from jumpstart_exp.report.figures.drawing import METRICS, figure_files
from jumpstart_exp.report.figures.heatmaps import method_panel, print_heatmaps, rows_panel
from jumpstart_exp.report.figures.panel_grid import Panel
from jumpstart_exp.report.figures.scatters import print_scatters
from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.papers.figures import PaperFigure
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
from jumpstart_exp.report.tables.summaries import paper_summary_table, performance_table
from jumpstart_exp.report.tables.table import as_latex, as_markdown

DPI = 300
"""Dots per inch of the PNG files."""


def paper_commands(figure: PaperFigure, variant: str | None = None, *, results_dir: str = "results") -> tuple[str, ...]:
    """The commands that train what the figure shows and then draw it."""
    where = "" if results_dir == "results" else f" results_dir={shlex.quote(results_dir)}"
    chosen = "" if variant is None else f" variant={variant}"
    needed = [study(name) for name in figure.studies]
    commands = [each.command(variant or "paper", "0,1,...,9" if _has_seeds(figure, each) else "0") for each in needed]
    if figure.is_inside:
        commands += [
            f"python -m jumpstart_exp.inspect study={name} method={','.join(labels)}{chosen * (variant != 'paper')}"
            for name, labels in figure.shows.items()
        ]
    commands.append(f"python -m jumpstart_exp.report figure={figure.name}{chosen}")
    return tuple(command + where for command in commands)


def write_paper_figure(
    name: str,
    results_dir: Path,
    table: pd.DataFrame,
    folder: Path,
    *,
    variant: str | None = None,
    at_epoch: str = "best",
    threshold: float | None = None,
    dpi: int = DPI,
) -> list[Path]:
    """Write a figure as PDF and PNG, or a table as LaTeX and Markdown: NAME, and what it is other than the paper's.

    Args:
        name: one of FIGURES.
        results_dir: the results folder; only its snapshots are read, by the figures of the inside.
        table: the store's table of cells.
        folder: where it goes.
        variant: "paper" or "code"; None for what the store has.
        at_epoch: "best" epoch, as published, or "last".
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
            words += [at_epoch] * (at_epoch != "best")
            if figure.is_table:
                contents = _table(figure, source, at_epoch, threshold)
            else:
                contents = figure_files(partial(draw_paper_figure, figure, source, at_epoch), dpi)
    except (GridError, RecordedStatesError) as error:
        raise PaperError(f"figure={name}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, content in contents.items():
        paths.append(folder / f"{'_'.join([name, *words])}.{kind}")
        write_whole(paths[-1], content)
    return paths


def draw_paper_figure(figure: PaperFigure, source: PaperSource, at_epoch: str) -> Figure:
    """The figure of what the store has, at the paper's width; `at_epoch` is "best" or "last".

    Raises:
        GridError: rows of one network contradict each other.
    """
    match figure.kind:
        case "scatters":
            return _draw_scatters(figure, source, at_epoch)
        case "heatmaps" | "rows":
            return _draw_grid(figure, source, at_epoch)
        case "summary" | "performance" | "transforms" | "dynamics":
            raise ValueError(f"{figure.name} is no figure of accuracies")


def _has_seeds(figure: PaperFigure, of: Study) -> bool:
    """Whether many seeds are worth their time: of images one takes hours, and the inside is shown of one."""
    return of.dataset == "moons" and not figure.is_inside


def _what_is_missing(figure: PaperFigure, variant: str | None, results_dir: Path) -> str:
    needed = paper_commands(figure, variant, results_dir=str(results_dir))
    commands = ", then ".join(f"`{command}`" for command in needed)
    lacking = "no snapshots of its networks are" if figure.is_inside else "nothing that it shows is"
    text = f"figure={figure.name}: {lacking} stored in {results_dir}; run {commands}"
    small = small_study(figure.studies[0])
    return f"{text} (+experiment={small.name} is the same in small, minutes)" if small else text


def _inside(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None, dpi: int
) -> tuple[list[str], dict[str, bytes]]:
    """What tells the file's name from the figure's, and the files' contents."""
    for of in variants_of(variant):
        if snapshots := inside_snapshots(figure, results_dir, table, of):
            return [of] * (of != "paper"), figure_files(partial(print_inside, figure, snapshots, of), dpi)
    raise PaperError(_what_is_missing(figure, variant, results_dir))


def _draw_grid(figure: PaperFigure, source: PaperSource, at_epoch: str) -> Figure:
    """Heatmaps over the study's depths and widths; what the store lacks is hatched."""
    grid = _only_grid(source)
    cells = study_cells(source.study, source.variant)
    depths, widths = sorted({cell.depth for cell in cells}), sorted({cell.width for cell in cells})
    shown = [(label, title) for label, title in figure.methods if label in {cell.method for cell in cells}]
    panels: list[Panel] = []
    for metric in figure.metrics:
        column = f"{metric}_{at_epoch}"
        if figure.kind == "rows":
            labels = [label for label, _ in shown]
            title = f"{METRICS[metric]} accuracy".capitalize()
            panels.append(rows_panel(grid, labels, column, title, depths, widths[0]))
        else:
            word = f" {METRICS[metric]}" if len(figure.metrics) > 1 else ""
            panels += [method_panel(grid, label, column, f"{title}{word}", depths, widths) for label, title in shown]
    if figure.kind == "rows":
        rows, axes = [title for _, title in reversed(shown)], (f"depth (width {widths[0]})", "")
    else:
        rows, axes = [*map(str, widths)], ("depth", "width")
    return print_heatmaps(
        panels,
        depths,
        rows,
        axes,
        columns=figure.columns,
        line=paper_line(figure, source, at_epoch),
        width_inches=figure.width,
    )


def _draw_scatters(figure: PaperFigure, source: PaperSource, at_epoch: str) -> Figure:
    """A column a learning rate, the greatest first, as CPAIOR names them."""
    rates = sorted(source.rows["optimizer.lr"].unique(), reverse=True)
    columns = []
    for letter, rate in zip(ascii_lowercase, rates, strict=False):
        (grid,) = figure_grids(source.rows[source.rows["optimizer.lr"] == rate])
        name = f"learning rate {rate:g}"
        columns.append((f"({letter}) {name}" if len(rates) > 1 else name, grid))
    there = {method for _, grid in columns for method in grid.methods}
    return print_scatters(
        columns,
        [(label, title) for label, title in figure.methods if label in there],
        at_epoch=at_epoch,
        line=paper_line(figure, source, at_epoch),
        width_inches=figure.width,
    )


def _table(figure: PaperFigure, source: PaperSource, at_epoch: str, threshold: float | None) -> dict[str, bytes]:
    line = paper_line(figure, source, at_epoch)
    match figure.kind:
        case "summary":
            table = paper_summary_table(_only_grid(source).at_threshold(threshold), figure.methods, at_epoch, line)
        case "performance":
            table = performance_table(source.rows, figure.methods, at_epoch, line)
        case _:
            raise ValueError(f"{figure.name} is no table")
    return {"tex": as_latex(table).encode(), "md": as_markdown(table).encode()}


def _only_grid(source: PaperSource) -> FigureGrid:
    (grid,) = figure_grids(source.rows)
    return grid
