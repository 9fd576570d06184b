"""The papers' figures of the inside of networks: which snapshots each shows, and how it is drawn."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from jumpstart_exp.config.studies import small_study, study_cells
from jumpstart_exp.inspect.recorded_states import (
    RecordedStates,
    RecordedStatesError,
    read_recorded_states,
    stored_keys,
)
from jumpstart_exp.report.figures.heatmaps import LETTER, SMALL
from jumpstart_exp.report.geometry.strip import density_figure, growth_figure, limits_figure, widths_figure
from jumpstart_exp.report.inside.dynamics import dynamics_figure
from jumpstart_exp.report.inside.landscapes import landscapes_figure
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.report.papers.figures import PAPERS, PaperError, PaperFigure, variants_of
from jumpstart_exp.report.table.studies import StudyTable


@dataclass(frozen=True, eq=False)
class InsideSource:
    """Snapshots of a figure's networks in a variant, and whether they are of the study in small."""

    variant: str
    is_small: bool
    snapshots: tuple[RecordedStates, ...]


def inside_source(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None
) -> InsideSource | None:
    """What the results folder has for a figure of the inside; None where no seed has all of its networks.

    Raises:
        PaperError: there is no such variant, or a file of snapshots cannot be used.
    """
    try:
        return (_of_every_network if figure.has_every_network else _snapshots)(figure, results_dir, table, variant)
    except RecordedStatesError as error:
        raise PaperError(f"figure={figure.name}: {error}") from error


def paper_inside_figure(figure: PaperFigure, source: InsideSource) -> Figure:
    """The figure of the inside at the paper's width and with its name of Sep-UP, the one that papers name otherwise."""
    width, snapshots = figure.width, source.snapshots
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
    parts = [f"{figure.paper}, {figure.place}, ours", drawn.get_suptitle(), f"variant={source.variant}"]
    line = " · ".join([*parts, *(["only in small"] if source.is_small else [])])
    drawn.suptitle("\n".join(textwrap.wrap(line, int(width / LETTER))), fontsize=SMALL)
    return drawn


def _snapshots(figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None) -> InsideSource | None:
    """Snapshots of the figure's networks, from above; None where no seed has them all.

    Of the lowest seed that has them all, or of every such seed where the figure shows them. The study in small stands
    in only where there is nothing of the study itself.

    Raises:
        PaperError: there is no such variant.
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
                return InsideSource(of, shows is not figure.shows, states)
    return None


def _of_every_network(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str | None
) -> InsideSource | None:
    """As `_snapshots`, of every network of the figure's study, in the study's order, of the lowest seed that has all.

    Raises:
        PaperError: there is no such variant.
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
                    return InsideSource(of, name != own, tuple(states))
    return None
