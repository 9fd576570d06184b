"""Which of an atlas's many methods stand out in a figure, and how all of them look; told apart without colour, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jumpstart_exp.report.atlas.area import areas
from jumpstart_exp.report.atlas.atlas import Atlas

ALWAYS = ("relu", "sep_up", "sep_up_he")
"""What the papers compare, and the same penalty from better weights."""

MOST = 8

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#882255")
"""Okabe and Ito's colours, which colour-blind readers tell apart, and one more."""

_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 2, 2)))


@dataclass(frozen=True)
class Look:
    """A method's line."""

    colour: str
    dashes: Any
    width: float
    rank: int

    @property
    def line(self) -> dict[str, Any]:
        """What matplotlib is told."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": self.width, "zorder": self.rank}


MUTED = Look("0.82", "-", 0.8, 1)
"""All others."""


def emphasised(atlas: Atlas) -> tuple[str, ...]:
    """The methods that stand out: those of ALWAYS, and those of the largest area at the last epoch, up to MOST."""
    order = [atlas.grid.methods[place] for place in areas(atlas, "last").order()]
    kept = [method for method in ALWAYS if method in order]
    best = [method for method in order if method not in kept][: MOST - len(kept)]
    return tuple(method for method in order if method in (*kept, *best))


def look_of(method: str, shown: Sequence[str]) -> Look:
    """The method's look among those that stand out."""
    if method not in shown:
        return MUTED
    place = shown.index(method)
    return Look(_COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)], 1.6, 3)
