"""Seeds in pictures: the share that train, best against last epoch, differences between methods; drawing only."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from jumpstart_exp.report.captions import difference_caption, in_interval, moments_caption, pairs_told
from jumpstart_exp.report.figures.colour_maps import mako, rocket
from jumpstart_exp.report.figures.drawing import figure_job
from jumpstart_exp.report.figures.panel_grid import Panel, Scale, Style, draw_captioned
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.differences import COMPARED, LEAST_SEEDS, comparisons, paired_differences
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid

MEASURED = {"trains": "share of seeds that train", "train_acc": "training {score}", "val_acc": "validation {score}"}
"""What is shown, in words, with the score's name to be filled in."""

_STYLE = Style(gap=0.3, margin=1.45)
_LEAST = (1.9, 0.6)  # inches; room for a panel's title


def moments_figure(grid: FigureGrid, measured: str) -> Figure:
    """Best epoch, last epoch, and best minus last side by side, of one of MEASURED; a row a method.

    Accuracies are means over the seeds that have one; a seed that diverged or failed does not train.
    """
    if measured == "trains":
        best, last = (train_shares(grid, at_epoch).share for at_epoch in MOMENTS)
        scale = Scale(mako, 0.0, 1.0)
        lost = partly = np.zeros(best.shape, np.bool_)  # counted in the shares
    else:
        best, last = (grid.mean(f"{measured}_{at_epoch}") for at_epoch in MOMENTS)
        scale = Scale(rocket, grid.chance, 1.0)
        lost, partly = grid.untrained(), grid.partly_untrained()
    gap = Scale(colormaps["Oranges"], 0.0, 1.0 - scale.low)  # best minus last is never below 0
    shown = (("best epoch", best, scale), ("last epoch", last, scale), ("best minus last", best - last, gap))
    panels = [
        [Panel(values[row], lost[row], partly[row], colours, title, "") for title, values, colours in shown]
        for row in range(len(grid.methods))
    ]
    words = MEASURED[measured].format(score=grid.score)
    bars = [(words, slice(2)), ("best minus last", slice(2, 3))]
    titles = grid.title, f"{words}: best epoch against last"
    names, caption = grid.method_titles, moments_caption(grid, measured)
    return draw_captioned(panels, grid.depths, grid.widths, names, bars, titles, caption, _LEAST, _STYLE)


def differences_figure(grid: FigureGrid, at_epoch: str) -> Figure:
    """What methods have more than others, paired by seed: seeds that train, training, and validation.

    A row a comparison: every method against ReLU, Sep-UP against ReLU + BN; `at_epoch` is "best" or "last". A dot marks
    places whose difference is significant after correction; a row whose pairs are too few for any says so.
    """
    pairs = comparisons(grid.methods)
    found = [[paired_differences(grid, *pair, measured, at_epoch) for pair in pairs] for measured in COMPARED]
    scales = [Scale(colormaps["RdBu"], -end, end) for end in (1.0, 1 - grid.chance, 1 - grid.chance)]
    untrained, some_lost = grid.untrained(), np.asarray((grid.diverged | grid.failed).any(axis=-1))
    panels, names = [], []
    for row, pair in enumerate(pairs):
        own, other = (grid.methods.index(method) for method in pair)
        panels.append(
            [
                Panel(
                    column[row].mean,
                    (untrained[own] | untrained[other]) & (measured != "trains"),
                    (some_lost[own] | some_lost[other]) & (measured != "trains"),
                    scale,
                    MEASURED[measured].format(score=grid.score),
                    "no pair" if (mean := column[row].overall) is None else in_interval(mean, signed=True),
                    "{:+.2f}",
                    significant=[(int(depth), int(width)) for depth, width in np.argwhere(column[row].significant())],
                )
                for measured, column, scale in zip(COMPARED, found, scales, strict=True)
            ]
        )
        most = max(int(column[row].pairs.max(initial=0)) for column in found)
        name = f"{grid.method_titles[own]} minus {grid.method_titles[other]}"
        names.append("\n".join(filter(None, (name, pairs_told(most)))))
    bars = [("difference", slice(place, place + 1)) for place in range(len(COMPARED))]
    titles = grid.title, f"differences between methods, {at_epoch} epoch"
    caption = difference_caption(grid, found, at_epoch)
    return draw_captioned(panels, grid.depths, grid.widths, names, bars, titles, caption, _LEAST, _STYLE)


@of_grid("seeds", rank=31)
def _shares(grid: FigureGrid) -> Iterator[Job]:
    if grid.seed_range()[1] < LEAST_SEEDS:
        return
    for measured in MEASURED:
        yield figure_job(f"{grid.slug}_moments_{measured}", partial(moments_figure, grid, measured))
    for at_epoch in MOMENTS if comparisons(grid.methods) else ():
        yield figure_job(f"{grid.slug}_differences_{at_epoch}", partial(differences_figure, grid, at_epoch))
