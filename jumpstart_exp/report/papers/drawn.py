"""The papers' figures and tables of what the store has, each by its name: found, drawn and written."""

import shlex
import textwrap
from functools import partial
from pathlib import Path
from string import ascii_lowercase

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from jumpstart_exp.config.studies import small_study, study, study_cells
from jumpstart_exp.inspect.recorded_states import (
    RecordedStates,
    RecordedStatesError,
    read_recorded_states,
    stored_keys,
)
from jumpstart_exp.report.figures.drawing import METRICS, figure_files
from jumpstart_exp.report.figures.heatmaps import LETTER, SMALL, method_panel, print_heatmaps, rows_panel
from jumpstart_exp.report.figures.scatters import print_scatters
from jumpstart_exp.report.files import write_files
from jumpstart_exp.report.geometry.computed import COMPUTED
from jumpstart_exp.report.geometry.strip import density_figure, growth_figure, limits_figure, widths_figure
from jumpstart_exp.report.inside.dynamics import dynamics_figure
from jumpstart_exp.report.inside.landscapes import landscapes_figure
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.report.papers.computed import geometry_claims_table
from jumpstart_exp.report.papers.figures import (
    PAPERS,
    PaperError,
    PaperFigure,
    PaperSource,
    paper_figure,
    paper_line,
    paper_source,
    variants_of,
)
from jumpstart_exp.report.table.grid import GridError, figure_grids
from jumpstart_exp.report.table.studies import StudyTable
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
    if figure.kind == "statements":
        table = geometry_claims_table()
        return write_files(folder, name, {"tex": as_latex(table).encode(), "md": as_markdown(table).encode()})
    return write_files(folder, name, figure_files(partial(_draw_computed, figure), dpi))


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
            found = _of_every_network if figure.has_every_network else _snapshots
            of, is_small, snapshots = found(figure, results_dir, table, variant)
            words = [of, "small" * is_small]
            contents = figure_files(partial(_draw_inside, figure, snapshots, of, is_small), dpi)
        elif source := paper_source(figure, table, variant):
            words = [source.variant, "small" * source.is_small, at_epoch]
            if figure.is_table:
                contents = _table(figure, source, at_epoch, threshold)
            else:
                contents = figure_files(partial(draw_paper_figure, figure, source, at_epoch), dpi)
        else:
            raise _lacking(figure, variant, results_dir)
    except (GridError, RecordedStatesError) as error:
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


def _snapshots(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None
) -> tuple[str, bool, tuple[RecordedStates, ...]]:
    """The variant, whether they are of the study in small, and snapshots of the figure's networks, from above.

    Of the lowest seed that has them all, or of every such seed where the figure shows them. The study in small stands
    in only where there is nothing of the study itself.

    Raises:
        PaperError: there is no such variant, or no seed has them all.
        RecordedStatesError: a file of snapshots cannot be used.
    """
    kept, index = {*stored_keys(results_dir)}, StudyTable(table)
    small = small_study(figure.studies[0]) if len(figure.studies) == 1 else None
    for shows in (figure.shows, *([] if small is None else [{small.name: figure.shows[figure.studies[0]]}])):
        wanted = [(name, label) for name, labels in shows.items() for label in labels]
        for of in variants_of(variant):
            found: dict[int, dict[tuple[str, str], str]] = {}
            for name in shows:
                rows = index.rows(name, of)
                columns = [rows[column] if len(rows) else () for column in ("key", "method", "seed")]
                for key, label, seed in zip(*columns, strict=True):
                    if key in kept:
                        found.setdefault(int(seed), {})[name, str(label)] = str(key)
            complete = [keys for _, keys in sorted(found.items()) if {*wanted} <= keys.keys()]
            shown = complete if figure.has_every_seed else complete[:1]
            if shown:
                states = tuple(read_recorded_states(results_dir, keys[each]) for keys in shown for each in wanted)
                return of, shows is not figure.shows, states
    raise _lacking(figure, variant, results_dir)


def _of_every_network(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None
) -> tuple[str, bool, tuple[RecordedStates, ...]]:
    """As `_snapshots`, of every network of the figure's study, in the study's order, of the lowest seed that has all.

    Raises:
        PaperError: there is no such variant, or no seed has them all.
        RecordedStatesError: a file of snapshots cannot be used.
    """
    kept, index = {*stored_keys(results_dir)}, StudyTable(table)
    ((own, labels),) = figure.shows.items()
    small = small_study(own)
    for name in (own, *([] if small is None else [small.name])):
        for of in variants_of(variant):
            rows = index.rows(name, of)
            if not len(rows):  # nor need the study be composed
                continue
            rows = rows[rows["method"].isin(labels) & rows["key"].isin(kept)].drop_duplicates("key")
            networks = {cell.key for cell in study_cells(name, of) if cell.method in labels}
            for seed in sorted({*rows["seed"]}):
                keys = [str(key) for key in rows.loc[rows["seed"] == seed, "key"]]
                if len(keys) == len(networks):
                    states = [read_recorded_states(results_dir, key) for key in keys]
                    order = {label: place for place, label in enumerate(labels)}
                    states.sort(key=lambda one: order.get(one.cell.method, len(order)))
                    return of, name != own, tuple(states)
    raise _lacking(figure, variant, results_dir)


def _draw_computed(figure: PaperFigure) -> Figure:
    """At the paper's width, with what it is in its last line."""
    drawn = COMPUTED[figure.name](figure.width)
    line = f"{figure.paper}, {figure.place}, ours"
    title = drawn.get_suptitle()
    words = f"{line}: {title}" if title else line
    drawn.suptitle("\n".join(textwrap.wrap(words, int(figure.width / LETTER))), fontsize=SMALL)
    return drawn


def _draw_inside(figure: PaperFigure, snapshots: tuple[RecordedStates, ...], variant: str, is_small: bool) -> Figure:
    """The figure of the inside at the paper's width and with its name of Sep-UP, the one that papers name otherwise."""
    width = figure.width
    match figure.kind:
        case "dynamics":
            drawn = dynamics_figure(snapshots[0], width)
        case "transforms":
            drawn = transforms_figure(snapshots, width)
        case "landscapes":
            drawn = landscapes_figure(snapshots, width)
        case "densities":
            drawn = density_figure(snapshots, width)
        case "widths":
            drawn = widths_figure(snapshots, width)
        case "growth":
            drawn = growth_figure(snapshots, width)
        case "limits":
            drawn = limits_figure(snapshots, width)
        case _:
            raise ValueError(f"{figure.name} is no figure of the inside")
    for text in [artist for artist in drawn.findobj() if isinstance(artist, Text)]:
        name = PAPERS[figure.paper].methods.get("sep_up", "Sep-UP")
        text.set_text(text.get_text().replace("Sep-UP", name))
    parts = [f"{figure.paper}, {figure.place}, ours", drawn.get_suptitle(), f"variant={variant}"]
    line = " · ".join([*parts, *(["only in small"] if is_small else [])])
    drawn.suptitle("\n".join(textwrap.wrap(line, int(width / LETTER))), fontsize=SMALL)
    return drawn
