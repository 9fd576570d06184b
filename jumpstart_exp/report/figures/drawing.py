"""What all figures share: style, title, and how they become files."""

import io
import textwrap
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jumpstart_exp.report.files import write_files
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.table.grid import FigureGrid

METRICS = {"train_acc": "training", "val_acc": "validation"}
"""The rows of a figure, from above."""

DPI = 150
"""Dots per inch of the PNG files."""

_SHOWN_DPI = 100
"""Dots per inch of a figure in a notebook."""

_STYLE = {
    "pdf.fonttype": 42,
    "hatch.linewidth": 0.6,
    "hatch.color": "0.55",
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "text.parse_math": False,  # a label with dollars is no formula
}


plain_style = partial(matplotlib.style.context, ["default", _STYLE])
"""Matplotlib's own defaults and the report's, whatever the user's matplotlibrc says; restored afterwards."""


class ReportFigure(Figure):
    """A figure in the report's style whoever writes it, without pyplot; a notebook shows it by itself."""

    def savefig(self, *arguments: Any, **settings: Any) -> None:
        """Write it as matplotlib does."""
        with plain_style():
            super().savefig(*arguments, **settings)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """What IPython shows: a PNG of twice the dots of its size."""
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=2 * _SHOWN_DPI)
        width, height = (round(inches * _SHOWN_DPI) for inches in self.get_size_inches())
        return content.getvalue(), {"width": width, "height": height}


def figure_job(name: str, draw: Callable[[], Figure]) -> Job:
    """The job that draws a figure and writes it as NAME.png and NAME.pdf."""
    return Job("figures", partial(save_figure, draw, name=name))


def save_figure(draw: Callable[[], Figure], folder: Path, name: str) -> list[Path]:
    """Draw one figure and write it as PNG and PDF; the same figure, the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    return write_files(folder, name, figure_files(draw))


def figure_files(draw: Callable[[], Figure], dpi: int = DPI) -> dict[str, bytes]:
    """The figure as a PNG and a PDF file, in the report's style; the same figure, the same bytes.

    It is laid out once, for the PNG: `savefig` would lay it out, and draw it, twice for each of the files.
    """
    png, pdf = io.BytesIO(), io.BytesIO()
    with plain_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # a label's letter: a box stands for it
        figure = draw()
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        if (layout := figure.get_layout_engine()) is not None:
            layout.execute(figure)
            figure.set_layout_engine(None)
            _settle(figure)
        canvas.print_png(png)  # type: ignore[no-untyped-call]
        FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
    return {"png": png.getvalue(), "pdf": pdf.getvalue()}


def _settle(figure: Figure) -> None:
    """Round where the axes are: the layout's solver goes by addresses in memory, and so does its last digit.

    The seventh digit of the figure's size is a ten-thousandth of a dot.
    """
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 7).tolist(), which="original")


def figure_title(grid: FigureGrid, at_epoch: str, letters: float) -> str:
    """What the figure shows, then moment, seeds and losses, in lines of at most that many letters."""
    fewest, most = grid.seed_range()
    seeds = f"{fewest} seed{'s' * (fewest != 1)}" if fewest == most else f"{fewest}–{most} seeds"
    parts = [f"{at_epoch} epoch", seeds]
    lost = {"diverged": grid.diverged, "failed": grid.failed}
    parts += [f"{int(where.sum())} {word}" for word, where in lost.items() if where.any()]
    lines: list[str] = []
    for text in (grid.title, " · ".join(parts)):
        unbroken = text.replace(" ", "\N{NO-BREAK SPACE}").replace("·\N{NO-BREAK SPACE}", "· ")
        lines += textwrap.wrap(unbroken, width=int(letters), break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def in_lines(title: str) -> str:
    """A method's title in lines that fit above a panel or into a legend."""
    return textwrap.fill(title, width=24) or title


def power_of_ten(value: float, _: int | None = None) -> str:
    """A power of ten in plain letters: the report draws no formulas."""
    return "10" + str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def label_powers(axis: Axis) -> None:
    """Of a logarithmic axis: powers of ten, at most five, in plain letters."""
    axis.set_major_locator(LogLocator(numticks=5))
    axis.set_major_formatter(FuncFormatter(power_of_ten))
    axis.set_minor_formatter(NullFormatter())


def wrapped(text: str, room: float, size: float, letter: float, indent: str = "") -> list[str]:
    """The text in lines of at most `room` inches, of letters of `size` points that are `letter` of that wide."""
    letters = int(room * 72 / (size * letter))
    return textwrap.wrap(text, letters, subsequent_indent=indent, break_on_hyphens=False)


def line_height(size: float) -> float:
    """Inches of a line of text of so many points."""
    return size * 1.3 / 72


def write_lines(
    figure: Figure | SubFigure, lines: Sequence[str], place: tuple[float, float], size: float, gid: str = ""
) -> None:
    """Write lines of text below a place of the figure, in its own coordinates."""
    figure.text(*place, "\n".join(lines), fontsize=size, va="top", linespacing=1.25, gid=gid or None)
