"""The papers' figures and tables of what the store has, each by its name: found, drawn and written."""

import shlex
from functools import partial
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.figure import Figure

from jumpstart_exp.config.studies import small_study, study, study_cells
from jumpstart_exp.report.figures.drawing import METRICS, figure_files
from jumpstart_exp.report.figures.heatmaps import method_panel, print_heatmaps, rows_panel
from jumpstart_exp.report.figures.scatters import print_scatters
from jumpstart_exp.report.files import write_files
from jumpstart_exp.report.papers.figures import (
    PaperError,
    PaperFigure,
    PaperSource,
    paper_figure,
    paper_line,
    paper_source,
)
from jumpstart_exp.report.table.grid import GridError, figure_grids
from jumpstart_exp.report.tables.summaries import paper_summary_table, performance_table
from jumpstart_exp.report.tables.table import as_latex, as_markdown

_OF_EVERY_SEED = f" seed={','.join(map(str, range(10)))} epochs=0"
"""Of figures that show the last state of each network: no other need be kept."""

DPI = 300
"""Dots per inch of the PNG files."""


def paper_commands(figure: PaperFigure, variant: str | None = None, *, results_dir: str = "results") -> tuple[str, ...]:
    """The commands that train what the figure shows and then draw it."""
    where = "" if results_dir == "results" else f" results_dir={shlex.quote(results_dir)}"
    chosen = "" if variant is None else f" variant={variant}"
    needed = [study(name) for name in figure.studies]
    if figure.is_computed:
        return (f"python -m jumpstart_exp.report figure={figure.name}{where}",)
    # of images one seed takes hours, and the inside is shown of one
    has_seeds = figure.has_every_seed or (needed[0].dataset == "moons" and not figure.is_inside)
    commands = [each.command(variant or "paper", "0,1,...,9" if has_seeds else "0") for each in needed]
    if figure.is_inside:
        of = f"{chosen * (variant != 'paper')}{_OF_EVERY_SEED * figure.has_every_seed}"
        commands += [
            f"python -m jumpstart_exp.inspect study={name} method={','.join(labels)}{of}"
            for name, labels in figure.shows.items()
        ]
    commands.append(f"python -m jumpstart_exp.report figure={figure.name}{chosen}")
    return tuple(command + where for command in commands)


def write_computed_figure(name: str, folder: Path, *, dpi: int = DPI) -> list[Path]:
    """Write a figure that no stored result is needed for as PDF and PNG, or such a table as LaTeX and Markdown.

    Raises:
        PaperError: no such figure, or it is one of stored results.
        OSError: the folder cannot be written.
    """
    figure = paper_figure(name)
    if not figure.is_computed:
        raise PaperError(f"figure={name} is of stored results: {', '.join(figure.studies)}")
    # imported here, and below, for what these draw needs torch: the others are there without it
    from jumpstart_exp.report.papers.drawn_computed import computed_figure, geometry_claims_table

    if figure.kind == "statements":
        table = geometry_claims_table()
        return write_files(folder, name, {"tex": as_latex(table).encode(), "md": as_markdown(table).encode()})
    return write_files(folder, name, figure_files(partial(computed_figure, figure), dpi))


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
    if figure.is_computed:
        return write_computed_figure(name, folder, dpi=dpi)
    try:
        if figure.is_inside:
            from jumpstart_exp.report.papers.drawn_inside import inside_source, paper_inside_figure

            if (states := inside_source(figure, results_dir, table, variant)) is None:
                raise _lacking(figure, variant, results_dir)
            words = [states.variant, "small" * states.is_small]
            contents = figure_files(partial(paper_inside_figure, figure, states), dpi)
        elif source := paper_source(figure, table, variant):
            words = [source.variant, "small" * source.is_small, at_epoch]
            if figure.is_table:
                contents = _table(figure, source, at_epoch, threshold)
            else:
                contents = figure_files(partial(draw_paper_figure, figure, source, at_epoch), dpi)
        else:
            raise _lacking(figure, variant, results_dir)
    except GridError as error:
        raise PaperError(f"figure={name}: {error}") from error
    stem = "_".join([name, *(word for word in words if word not in ("", "paper", "best"))])
    return write_files(folder, stem, contents)


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
        case _:
            raise ValueError(f"{figure.name} is no figure of accuracies")


def _lacking(figure: PaperFigure, variant: str | None, results_dir: Path) -> PaperError:
    """The error of a figure of which the store has nothing, with the commands that change that."""
    needed = paper_commands(figure, variant, results_dir=str(results_dir))
    commands = ", then ".join(f"`{command}`" for command in needed)
    lacking = "no snapshots of its networks are" if figure.is_inside else "nothing that it shows is"
    text = f"figure={figure.name}: {lacking} stored in {results_dir}; run {commands}"
    small = small_study(figure.studies[0])
    return PaperError(f"{text} (+experiment={small.name} is the same in small, minutes)" if small else text)


def _draw_grid(figure: PaperFigure, source: PaperSource, at_epoch: str) -> Figure:
    """Heatmaps over the study's depths and widths; what the store lacks is hatched."""
    (grid,) = figure_grids(source.rows)
    cells = study_cells(source.study, source.variant)
    depths, widths = sorted({cell.depth for cell in cells}), sorted({cell.width for cell in cells})
    shown = {label: title for label, title in figure.methods if label in {cell.method for cell in cells}}
    if figure.kind == "rows":
        rows, axes = [*shown.values()][::-1], (f"depth (width {widths[0]})", "")
        panels = [
            rows_panel(
                grid, [*shown], f"{metric}_{at_epoch}", f"{METRICS[metric].capitalize()} accuracy", depths, widths[0]
            )
            for metric in figure.metrics
        ]
    else:
        rows, axes = [*map(str, widths)], ("depth", "width")
        words = {metric: f" {METRICS[metric]}" * (len(figure.metrics) > 1) for metric in figure.metrics}
        panels = [
            method_panel(grid, label, f"{metric}_{at_epoch}", f"{title}{word}", depths, widths)
            for metric, word in words.items()
            for label, title in shown.items()
        ]
    line = paper_line(figure, source, at_epoch)
    return print_heatmaps(panels, depths, rows, axes, columns=figure.columns, line=line, width_inches=figure.width)


def _draw_scatters(figure: PaperFigure, source: PaperSource, at_epoch: str) -> Figure:
    """A column a learning rate, the greatest first, as CPAIOR names them."""
    rates = sorted(source.rows["optimizer.lr"].unique(), reverse=True)
    columns = []
    for letter, rate in zip(ascii_lowercase, rates, strict=False):
        (grid,) = figure_grids(source.rows[source.rows["optimizer.lr"] == rate])
        columns.append((f"({letter}) " * (len(rates) > 1) + f"learning rate {rate:g}", grid))
    there = {method for _, grid in columns for method in grid.methods}
    methods = [(label, title) for label, title in figure.methods if label in there]
    line = paper_line(figure, source, at_epoch)
    return print_scatters(columns, methods, at_epoch=at_epoch, line=line, width_inches=figure.width)


def _table(figure: PaperFigure, source: PaperSource, at_epoch: str, threshold: float | None) -> dict[str, bytes]:
    line = paper_line(figure, source, at_epoch)
    match figure.kind:
        case "summary":
            (grid,) = figure_grids(source.rows)
            table = paper_summary_table(grid.at_threshold(threshold), figure.methods, at_epoch, line)
        case "performance":
            table = performance_table(source.rows, figure.methods, at_epoch, line)
        case _:
            raise ValueError(f"{figure.name} is no table")
    return {"tex": as_latex(table).encode(), "md": as_markdown(table).encode()}
