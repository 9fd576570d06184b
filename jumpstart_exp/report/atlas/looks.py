"""Which of an atlas's many methods stand out in a figure, and how all of them look; told apart without colour, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jumpstart_exp.report.atlas.area import ranking
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.figures.drawing import wrapped

ALWAYS = ("relu", "sep_up", "sep_up_he")
"""What the papers compare, and the same penalty from better weights."""

MOST = 8

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#882255")
"""Okabe and Ito's colours, which colour-blind readers tell apart, and one more."""

_MARKERS = "osD^vPpX"

POINT: dict[str, Any] = {"markersize": 4.2, "markeredgewidth": 0.4, "markeredgecolor": "white"}
"""How points look."""

_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2)))


@dataclass(frozen=True)
class Look:
    """A method's line."""

    colour: str
    dashes: Any
    width: float
    rank: int
    marker: str = ""

    @property
    def line(self) -> dict[str, Any]:
        """What matplotlib is told."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": self.width, "zorder": self.rank}

    @property
    def points(self) -> dict[str, Any]:
        """The same of its points; none where it does not stand out."""
        return {"marker": self.marker, **POINT} if self.marker else {}


MUTED = Look("0.82", "-", 0.8, 1)
"""All others."""


def emphasised(atlas: Atlas) -> tuple[str, ...]:
    """The methods that stand out: those of ALWAYS, and those of the largest area at the last epoch, up to MOST."""
    order = ranking(atlas)
    kept = [method for method in ALWAYS if method in order]
    best = [method for method in order if method not in kept][: MOST - len(kept)]
    return tuple(method for method in order if method in (*kept, *best))


def look_of(method: str, shown: Sequence[str]) -> Look:
    """The method's look among those that stand out."""
    if method not in shown:
        return MUTED
    place = shown.index(method)
    colour, dashes, marker = (of[place % len(of)] for of in (COLOURS, _DASHES, _MARKERS))
    return Look(colour, dashes, 1.6, 3, marker)


def legend(figure: Figure, atlas: Atlas, shown: Sequence[str]) -> None:
    """Below the panels: the methods that stand out, and how many others there are."""
    titles = dict(zip(atlas.grid.methods, atlas.grid.method_titles, strict=True))
    lines = [Line2D([], [], **look_of(method, shown).line) for method in shown]
    labels = [titles[method] for method in shown]
    if others := len(atlas.grid.methods) - len(shown):
        lines.append(Line2D([], [], **MUTED.line))
        labels.append(f"{others} others")
    figure.legend(lines, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=7, handlelength=3.2)


def titled(figure: Figure, title: str) -> None:
    """Write the title above, in lines that fit."""
    figure.suptitle("\n".join(wrapped(title, figure.get_figwidth(), 8.5, 0.55)), fontsize=8.5)
