"""Who wins, draws and loses against whom over the sequel's datasets, as matrices; drawing only."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart_exp.report.atlas.sequel_measures import Sequel
from jumpstart_exp.report.captions import FEW_SEEDS, counted
from jumpstart_exp.report.figures.drawing import line_height, wrapped, write_lines
from jumpstart_exp.report.statistics.differences import LEVEL
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.statistics.wins import Wins, wins

COMPARED: Mapping[str, str] = {
    "validation": "the validation score at the last epoch",
    "convergence": "convergence, the area under the curve of the training score",
}
"""What methods are compared by."""

_CELL = (0.33, 0.2)  # inches
_LEAST = 1.6  # inches of a matrix's width: room for its title
_NAMES = 1.75  # inches for the methods' titles
_TEXT, _NUMBER = 7.0, 5.5  # points
_LETTER = 0.53  # of a text's size; the width of a letter
_DARK = 0.6  # of the scale, from where on numbers are white


def compared(sequel: Sequel, measured: str) -> Floats:
    """What methods are compared by, one of COMPARED, (methods, datasets, seeds)."""
    match measured:
        case "validation":
            return sequel.validation
        case "convergence":
            return sequel.areas
        case other:
            raise ValueError(f"measured={other} is not known: one of {', '.join(COMPARED)}")


def wins_figure(sequel: Sequel) -> Figure:
    """A matrix for each of COMPARED: in every row what the method wins, draws and loses against each column's."""
    count = len(sequel.methods)
    panel = max(_CELL[0] * count, _LEAST), _CELL[1] * count
    width = 0.1 + _NAMES + len(COMPARED) * (panel[0] + 0.25)
    found = {measured: wins(compared(sequel, measured)) for measured in COMPARED}
    same: dict[str, list[str]] = {}
    for measured, of in found.items():
        same.setdefault(wins_told(of), []).append(f"by {COMPARED[measured]}")
    told = [f"{sentence} So {' and '.join(measured)}." for sentence, measured in same.items()]
    names = f"{counted(len(sequel.datasets), 'dataset')} ({', '.join(sequel.datasets)})"
    text = (
        f"Wins–draws–losses of the row's method against the column's over {names}; red: the row's wins more, blue: it "
        f"loses more. {' '.join(told)}"
    )
    caption = wrapped(text, width - 0.2, _TEXT, _LETTER)
    below = _NAMES + (len(caption) + 1) * line_height(_TEXT)
    height = 0.35 + panel[1] + below
    figure = Figure(figsize=(width, height))
    for place, (measured, of) in enumerate(found.items()):
        left = 0.1 + _NAMES + place * (panel[0] + 0.25)
        ax = figure.add_axes((left / width, below / height, panel[0] / width, panel[1] / height))
        _draw(ax, of, len(sequel.datasets))
        ax.set_title(f"by {measured}", fontsize=8.5)
        ax.set_xticks(range(count), sequel.method_titles, rotation=90, fontsize=_TEXT)
        ax.set_yticks(range(count), sequel.method_titles if place == 0 else [""] * count, fontsize=_TEXT)
    write_lines(figure, caption, (0.1 / width, (below - _NAMES) / height), _TEXT)
    return figure


def wins_told(found: Wins) -> str:
    """When a dataset is won, and what so few seeds cannot show, in words."""
    few = f"of fewer than {FEW_SEEDS} common seeds no difference can be decided"
    if not found.tests:
        return f"All are draws: {few}."
    seeds = f"{found.fewest} to {found.most}" if found.fewest < found.most else f"{found.most}"
    untested = f"; {counted(found.untested, 'other')} without a test, as {few}" if found.untested else ""
    return (
        f"A dataset is won by the higher mean over the seeds that both have where a sign-flip test of their "
        f"differences decides: p at most {LEVEL:g}, corrected by Benjamini and Hochberg for all {found.tests} "
        f"comparisons of two methods on a dataset, each over {seeds} seeds{untested}. All else is a draw."
    )


def _draw(ax: Axes, found: Wins, datasets: int) -> None:
    """One matrix; a method against itself stays empty."""
    count = len(found.won)
    more = np.ma.masked_array((found.won - found.lost).astype(float), np.eye(count, dtype=bool))
    ax.imshow(more, cmap=colormaps["RdBu"].reversed(), vmin=-datasets, vmax=datasets, aspect="auto")
    for i, j in np.argwhere(~np.eye(count, dtype=bool)):
        numbers = "–".join(str(int(of[i, j])) for of in (found.won, found.drawn, found.lost))
        colour = "white" if abs(float(more[i, j])) > _DARK * datasets else "black"
        ax.text(j, i, numbers, ha="center", va="center", fontsize=_NUMBER, color=colour)
    ax.tick_params(length=0)
