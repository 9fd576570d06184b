"""The papers' figures of the inside of trained networks, at their column width: which snapshots, and the drawing."""

import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from jumpstart_exp.inspect.recorded_states import RecordedStates, read_recorded_states, stored_keys
from jumpstart_exp.report.figures.heatmaps import LETTER, SMALL
from jumpstart_exp.report.inside.dynamics import dynamics_figure
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.report.papers.figures import PaperFigure
from jumpstart_exp.report.table.studies import StudyTable

_REPORT_NAMES = {"sep_up": "Sep-UP"}
"""How the report's own figures name the methods that a paper may name otherwise."""


def inside_snapshots(
    figure: PaperFigure, results_dir: Path, table: pd.DataFrame, variant: str
) -> tuple[RecordedStates, ...] | None:
    """Snapshots of the figure's networks, from above, of the lowest seed that has them all; None if none has.

    Raises:
        RecordedStatesError: a file of snapshots cannot be used.
    """
    kept, index = {*stored_keys(results_dir)}, StudyTable(table)
    wanted = [(study, label) for study, labels in figure.shows.items() for label in labels]
    found: dict[int, dict[tuple[str, str], str]] = {}
    for study in figure.studies:
        rows = index.rows(study, variant)
        for key, label, seed in zip(*(rows.get(name, []) for name in ("key", "method", "seed")), strict=True):
            if key in kept:
                found.setdefault(int(seed), {})[study, str(label)] = str(key)
    complete = [seed for seed, keys in sorted(found.items()) if {*wanted} <= {*keys}]
    if not complete:
        return None
    return tuple(read_recorded_states(results_dir, found[complete[0]][each]) for each in wanted)


def print_inside(figure: PaperFigure, snapshots: tuple[RecordedStates, ...], variant: str) -> Figure:
    """The figure at the paper's width and with its names of the methods."""
    is_over_time, width = figure.kind == "dynamics", figure.width
    drawn = dynamics_figure(snapshots[0], width) if is_over_time else transforms_figure(snapshots, width)
    titles = dict(method for study in figure.studies for method in figure.methods_of(study))
    for label, name in _REPORT_NAMES.items():
        for text in drawn.findobj(Text):
            assert isinstance(text, Text)
            if name in text.get_text():
                text.set_text(text.get_text().replace(name, titles.get(label, name)))
    line = f"{figure.paper}, {figure.place}, ours · {drawn.get_suptitle()} · variant={variant}"
    drawn.suptitle("\n".join(textwrap.wrap(line, int(width / LETTER))), fontsize=SMALL)
    return drawn
