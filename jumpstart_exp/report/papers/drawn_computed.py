"""The papers' figures that no stored result is needed for, at their papers' widths: drawing only."""

import textwrap

from matplotlib.figure import Figure

from jumpstart_exp.report.figures.heatmaps import LETTER, SMALL
from jumpstart_exp.report.geometry.computed import COMPUTED
from jumpstart_exp.report.papers.computed import geometry_claims_table
from jumpstart_exp.report.papers.figures import PaperFigure

__all__ = ["computed_figure", "geometry_claims_table"]


def computed_figure(figure: PaperFigure) -> Figure:
    """At the paper's width, with what it is in its last line."""
    drawn = COMPUTED[figure.name](figure.width)
    line = f"{figure.paper}, {figure.place}, ours"
    title = drawn.get_suptitle()
    words = f"{line}: {title}" if title else line
    drawn.suptitle("\n".join(textwrap.wrap(words, int(figure.width / LETTER))), fontsize=SMALL)
    return drawn
