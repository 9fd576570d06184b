"""The atlas beyond depth and width: profiles, what the census predicts, best against last epoch; drawing only."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart_exp.report.atlas.area import areas, ranking
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.looks import emphasised, legend, look_of, titled
from jumpstart_exp.report.atlas.prediction import Prediction, predictions
from jumpstart_exp.report.atlas.profiles import profiles
from jumpstart_exp.report.atlas.stability import trained_shares
from jumpstart_exp.report.figures.drawing import ReportFigure
from jumpstart_exp.report.statistics.intervals import Floats

_ROW = 0.15  # inches of a method's line
_MOMENTS = {"start": ("o", "before training"), "early": ("s", "early")}


def profile_figure(atlas: Atlas) -> Figure:
    """The share of places that at least so many seeds train, last epoch and best, a line a method."""
    figure = ReportFigure(figsize=(7.2, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shown = emphasised(atlas)
    for panel, at_epoch in zip(panels, ("last", "best"), strict=True):
        found = profiles(atlas.grid, at_epoch)
        for index, method in enumerate(atlas.grid.methods):
            look = look_of(method, shown)
            tau, own, low, high = _from_zero(found.tau, found.share[index], found.low[index], found.high[index])
            panel.step(tau, own, where="pre", gid=method, **look.line)
            if method in shown and not np.isnan(low).all():
                panel.fill_between(tau, low, high, step="pre", alpha=0.15, lw=0, color=look.colour)
        panel.set_xlabel("at least this share of the seeds")
        panel.set_title(f"{at_epoch} epoch", fontsize=8)
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
    panels[0].set_ylabel("share of depth-width pairs that train")
    legend(figure, atlas, shown)
    is_banded = not np.isnan(profiles(atlas.grid, "last").low).all()
    told = "; bands: 95 % at each share by itself, over resampled seeds" if is_banded else ""
    titled(figure, f"{atlas.title}: performance profiles{told}")
    return figure


def _from_zero(tau: Floats, *values: Floats) -> list[Floats]:
    """Steps up to each τ, the first of them from 0 on."""
    return [np.concatenate([[0.0], tau]), *(np.concatenate([each[:1], each]) for each in values)]


def prediction_figure(atlas: Atlas) -> Figure:
    """AUC of the census before training and early, of every method that has one, in the order of the ranking."""
    found = {(each.method, each.moment): each for each in predictions(atlas)}
    order = ranking(atlas)
    methods = [method for method in order if any(method == own for own, _ in found)]
    figure = ReportFigure(figsize=(7.2, 1.1 + _ROW * max(1, len(methods))), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    words = ("all networks", "networks of one depth and width")
    for panel, name, word in zip(panels, ("auc", "within"), words, strict=True):
        _rows(panel, atlas, methods)
        panel.axvline(0.5, color="0.6", lw=0.8, ls="--")
        for moment, (marker, title) in _MOMENTS.items():
            told = title if moment == "start" else f"after {atlas.early} epochs"
            for row, method in enumerate(methods):
                each = found.get((method, moment))
                if each is not None and (value := getattr(each, name)) is not None:
                    _point(
                        panel, each, name, value, row, marker, told if row == _first(found, methods, moment) else None
                    )
        panel.set_xlim(-0.02, 1.02)
        if all(getattr(each, name) is None for each in found.values()):
            told = "no pair of networks of which one trains and one does not"
            panel.text(0.5, 0.5, told, transform=panel.transAxes, ha="center", fontsize=7, backgroundcolor="white")
        panel.set_xlabel("AUC of the share of units neither dead nor linear")
        panel.set_title(word, fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    titled(figure, f"{atlas.title}: does the census tell who trains?")
    return figure


def stability_figure(atlas: Atlas) -> Figure:
    """The share of networks that train at the best epoch and at the last one, a line a method."""
    order = areas(atlas, "last").order()
    methods = [atlas.grid.methods[place] for place in order]
    last, best = (trained_shares(atlas.grid, at_epoch)[order] for at_epoch in ("last", "best"))
    figure = ReportFigure(figsize=(5.4, 1.0 + _ROW * len(methods)), layout="constrained")
    panel = figure.subplots()
    _rows(panel, atlas, methods)
    rows = np.arange(len(methods))
    panel.hlines(rows, last, best, color="0.6", lw=1.2)
    panel.plot(best, rows, "o", mfc="white", mec="0.2", ms=4, label="best epoch")
    panel.plot(last, rows, "o", color="0.1", ms=4, label="last epoch")
    panel.set_xlim(-0.02, 1.02)
    panel.set_xlabel("share of networks that train")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    titled(figure, f"{atlas.title}: best against last epoch")
    return figure


def _first(found: dict[tuple[str, str], Prediction], methods: list[str], moment: str) -> int:
    """The row whose point stands in the legend."""
    return next((row for row, method in enumerate(methods) if (method, moment) in found), -1)


def _point(panel: Axes, each: Prediction, name: str, value: float, row: int, marker: str, label: str | None) -> None:
    prefix = "" if name == "auc" else "within_"
    low, high = getattr(each, f"{prefix}low"), getattr(each, f"{prefix}high")
    place = row + (-0.14 if each.moment == "start" else 0.14)
    colour = "#0072b2" if each.moment == "start" else "#d55e00"
    if low is not None:
        panel.hlines(place, low, high, color=colour, lw=1)
    panel.plot([value], [place], marker, color=colour, ms=3.2, label=label, ls="none")


def _rows(panel: Axes, atlas: Atlas, methods: list[str]) -> None:
    """A line a method, the first one above."""
    titles = dict(zip(atlas.grid.methods, atlas.grid.method_titles, strict=True))
    panel.set_yticks(np.arange(len(methods)), [titles[method] for method in methods], fontsize=6.5)
    panel.set_ylim(len(methods) - 0.4, -0.6)
    panel.grid(axis="x", color="0.92", lw=0.6)
    panel.set_axisbelow(True)
