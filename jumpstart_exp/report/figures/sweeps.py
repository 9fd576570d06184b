"""Swept settings as axes: networks that train over the values, and every network's best value; drawing only."""

import warnings
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from jumpstart_exp.report.captions import FEW_SEEDS, clipped_told, counted, seeds_of, threshold_of
from jumpstart_exp.report.figures.colour_maps import mako, rocket
from jumpstart_exp.report.figures.drawing import figure_job, in_lines, line_height, wrapped, write_lines
from jumpstart_exp.report.figures.panel_grid import (
    ALIKE,
    BEST,
    NO_EFFECT,
    NONE_TRAINS,
    Panel,
    PanelGrid,
    Scale,
    Style,
    draw_captioned,
    draw_panels,
    panel_size,
)
from jumpstart_exp.report.figures.scatters import Look, method_looks
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.statistics import values as of_values
from jumpstart_exp.report.statistics.differences import LEVEL
from jumpstart_exp.report.statistics.effects import SettingEffect, setting_effects
from jumpstart_exp.report.statistics.values import MOST_TESTED, PERMUTATIONS, compare_values, mean_over
from jumpstart_exp.report.table.grid import MOMENTS, GridWarning, spelled
from jumpstart_exp.report.table.sweeps import Sweep, SweptMethod, has_effect, value_words

MEASURES = {"share": "share of networks that train", "val_acc": "validation {score}"}
"""What a figure over the values shows, in words, with the score's name to be filled in."""

_PANEL = (3.7, 1.75)  # inches
_MARGIN = (0.62, 0.15)  # inches left of a panel and right of the legend
_LEGEND = 1.75  # inches
_GAP = 0.55  # inches between panels
_TITLES, _TICKS = 0.3, 0.5  # inches above and below the panels
_TITLE_SIZE, _TEXT_SIZE = 11.0, 7.0  # points
_LETTER = 0.53  # of a text's size; the width of a letter
_LOGARITHMIC = 10  # times the least value that the greatest is, from which on an axis is logarithmic
_EVEN = 100  # times the least distance of values that their range is, up to which an axis is linear
_MOST_TICKS = 10
_MOST_CELLS = 60  # columns or rows of a heatmap over values
_STYLE = Style(gap=0.3, margin=1.45)
_LEAST = (1.9, 0.6)  # inches; room for a panel's title
_RING: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 8, "markerfacecolor": "none"}
_MARK: dict[str, Any] = {"linestyle": "none", "markersize": 2.6, "alpha": 0.45, "markeredgewidth": 0}


def values_figure(sweep: Sweep) -> Figure:
    """Networks that train and validation accuracy over one swept setting, a line a method; best beside last epoch.

    A mark for every seed, a ring around the best value; a method on which the setting has no effect is level.
    """
    (name,) = sweep.names
    width = _MARGIN[0] + 2 * _PANEL[0] + _GAP + 0.2 + _LEGEND + _MARGIN[1]
    line = line_height(_TEXT_SIZE)
    told = [[*_in_lines(values_told(sweep, at_epoch), _PANEL[0])] for at_epoch in MOMENTS]
    title = wrapped(f"{sweep.title} over {name}", width, _TITLE_SIZE, 0.56)
    caption = wrapped(values_caption(sweep, _spread_told(sweep)), width - 0.3, _TEXT_SIZE, _LETTER)
    above, below = 0.1 + 0.2 * len(title), (len(caption) + 1) * line
    panels = len(MEASURES) * _PANEL[1] + (len(MEASURES) - 1) * 0.15
    height = above + _TITLES + panels + _TICKS + max(map(len, told)) * line + 0.12 + below
    figure = Figure(figsize=(width, height))
    figure.suptitle("\n".join(title), fontsize=_TITLE_SIZE, y=1 - 0.07 / height, va="top")
    looks = method_looks([method.label for method in sweep.methods])
    for column, at_epoch in enumerate(MOMENTS):
        left, top = _MARGIN[0] + column * (_PANEL[0] + _GAP), height - above - _TITLES
        for measure in MEASURES:
            place = left / width, (top - _PANEL[1]) / height, _PANEL[0] / width, _PANEL[1] / height
            ax = figure.add_axes(place)
            for method in sweep.methods:
                _draw_line(ax, sweep, method, at_epoch, measure, looks[method.label])
            _set_axes(ax, sweep, measure, is_last=measure == [*MEASURES][-1])
            if measure == next(iter(MEASURES)):
                ax.set_title(f"{at_epoch} epoch", fontsize=8.5)
            top -= _PANEL[1] + 0.15
        write_lines(
            figure, told[column], (left / width, (top + 0.15 - _TICKS) / height), _TEXT_SIZE, f"told {at_epoch}"
        )
    write_lines(figure, caption, (0.15 / width, below / height), _TEXT_SIZE)
    figure.legend(
        handles=[*_handles(sweep, looks)],
        loc="upper left",
        bbox_to_anchor=(1 - (_LEGEND + _MARGIN[1]) / width, 1 - (above + _TITLES) / height),
        frameon=False,
        fontsize=7.5,
        handlelength=2.4,
        borderaxespad=0,
    )
    return figure


def crossed_values_figure(sweep: Sweep) -> Figure:
    """Networks that train and validation accuracy over several swept settings, a row of panels a method.

    The setting with the most values goes across, the others' values upwards; a star is the best of them.
    """
    columns, rows = _crossed(sweep)
    panels = []
    for method in sweep.methods:
        own = np.full((len(columns), len(rows)), -1)
        for number, value in enumerate(method.values):
            fits = [[_fits(sweep, value, (column, *row)) for row in rows] for column in columns]
            own[np.array(fits, np.bool_)] = number
        of_method = []
        for measure, scale in (
            ("share", Scale(mako, 0.0, 1.0)),
            ("val_acc", Scale(rocket, method.grid.chance, 1.0)),
        ):
            for at_epoch in MOMENTS:
                found = compare_values(method.grid, at_epoch)
                shown = np.append(getattr(found, measure), np.nan)[own]
                lost = np.append(~np.isfinite(getattr(found, measure)), False)[own]
                best = [(int(x), int(y)) for x, y in np.argwhere(np.append(found.best, False)[own])]
                of_method.append(Panel(shown, lost, lost & False, scale, f"{at_epoch} epoch", best=best))
        panels.append(of_method)
    name, *others = sweep.names
    across = value_words(name, sweep.values[name])
    words = {
        other: dict(zip(sweep.values[other], value_words(other, sweep.values[other]), strict=True)) for other in others
    }
    upwards = [
        ", ".join(words[other].get(value, "–") for other, value in zip(others, row, strict=True)) for row in rows
    ]
    size = panel_size(across, len(rows), (1.55, 0.6))
    width = max(len(panels[0]) * (size.panel[0] + 0.15) + 1.4 + 0.07 * max(map(len, upwards)), 6.0)
    title = wrapped(f"{sweep.title} over {', '.join(sweep.names)}", width - 0.3, _STYLE.title, 0.54)
    told = [f"{at_epoch} epoch: {line}" for at_epoch in MOMENTS for line in values_told(sweep, at_epoch)]
    caption = [*_in_lines(told, width - 0.3), *wrapped(values_caption(sweep, ""), width - 0.3, 7.5, 0.54)]
    labels = [f"{in_lines(method.title)}\n{', '.join(others)}" for method in sweep.methods]
    measured = [words_of.format(score=sweep.methods[0].grid.score) for words_of in MEASURES.values()]
    bars = [(words_of, slice(2 * at, 2 * at + 2)) for at, words_of in enumerate(measured)]
    return draw_panels(PanelGrid(panels, across, upwards, name, labels, size, width, title, bars, caption), _STYLE)


def best_values_figure(sweep: Sweep) -> Figure:
    """Every depth × width's best value of the swept settings, best epoch beside last, a row a method with several."""
    methods = _with_several(sweep)
    depths = sorted({depth for method in methods for depth in method.grid.depths})
    widths = sorted({width for method in methods for width in method.grid.widths})
    names = [name for name in sweep.names if any(_is_swept(sweep, method, name) for method in methods)]
    bars = [(f"best {name}", slice(2 * at, 2 * at + 2)) for at, name in enumerate(names)]
    panels = []
    for method in methods:
        of_method = []
        for name in names:
            labels = value_words(name, sweep.values[name])
            scale = Scale(colormaps["viridis"], -0.5, len(labels) - 0.5, labels)
            drawn = partial(_best_panel, sweep, method, name=name, scale=scale, depths=depths, widths=widths)
            of_method += [drawn(at_epoch) for at_epoch in MOMENTS]
        panels.append(of_method)
    titles = f"{sweep.title} over {', '.join(sweep.names)}", "best value at every depth × width"
    caption = (
        f"Best: with which most seeds train ({threshold_of(methods[0].grid)}), of equal shares the highest mean "
        f"training {methods[0].grid.score}, over the seeds that all values have; where several are equal, or no "
        f"network trains, none is. A dot: the values differ there at all. {how_tested(sweep)} The p-values of a "
        "method's depth × width pairs are corrected by Benjamini and Hochberg."
    )
    return draw_captioned(
        panels, depths, widths, [method.title for method in methods], bars, titles, caption, _LEAST, _STYLE
    )


def values_told(sweep: Sweep, at_epoch: str) -> list[str]:
    """A text a method: its best value, whether its values differ, how many are not told apart from the best."""
    found = []
    for method in sweep.methods:
        of = compare_values(method.grid, at_epoch)
        best = np.flatnonzero(of.best)
        trained = f"{of.trained[of.reference]} of {of.networks[of.reference]} train"
        if len(of.share) == 1:
            found.append(f"{method.title}: {trained} ({method.grid.methods[0]})")
            continue
        if not len(best):
            text = "no network trains at any value"
        elif len(best) > _NAMED:
            text = f"{len(best)} values equally good ({trained})"
        else:
            text = f"best {' and '.join(method.grid.methods[at] for at in best)} ({trained})"
        if of.p is not None:
            text += f"; the values {'differ' if of.p <= LEVEL else 'do not differ significantly'} (p {of.p:.2g})"
        tested = ~np.isnan(of.share_p) | ~np.isnan(of.train_acc_p)
        if tested.any() and len(best) and method.grid.seed_range()[1] >= FEW_SEEDS:
            text += (
                f"; {int((tested & ~of.told_from_best()).sum())} of {int(tested.sum())} others not told apart from it"
            )
        found.append(f"{method.title}: {text}")
    return found


def values_caption(sweep: Sweep, spread: str) -> str:
    """What is compared over the values, how the best is chosen, and how they are tested; `spread` is what is shown."""
    first = sweep.methods[0].grid
    pairs = {method.title: compare_values(method.grid, "best").pairs for method in sweep.methods}
    places = counted(next(iter(pairs.values())), "pair")
    if len({*pairs.values()}) > 1:
        places = "; ".join(f"{title}: {count}" for title, count in pairs.items())
    seeds = {seeds_of(method.grid): None for method in sweep.methods}
    most = max(method.grid.seed_range()[1] for method in _with_several(sweep))
    few = f"; of {most} seeds that can tell no two values apart, it takes {FEW_SEEDS}" * (1 < most < FEW_SEEDS)
    return (
        f"Every method over the depth × width pairs that all of its values have ({places}), {' or '.join(seeds)}"
        f"{spread}. {_capital(threshold_of(first))}, one that diverged or failed does not; validation "
        f"{first.scores} are means over pairs of means over the seeds that have one. Best: with which most networks "
        f"train, of equal shares the highest training {first.score}. {how_tested(sweep)} Told apart from the best: by "
        f"the share that trains or by training {first.score}, paired by seed, signs flipped, corrected by Benjamini "
        f"and Hochberg for all pairs of values, so that picking the best is allowed for{few}.{clipped_told(first)}"
    )


def effects_figure(sweep: Sweep) -> Figure:
    """Which of several swept settings decide: networks that train at each value, the others held; a column a method.

    Settings from above by how far their values' shares are apart; a dot a seed.

    Raises:
        ValueError: no setting has two values that compare.
    """
    methods = [(method, found) for method in sweep.methods if (found := setting_effects(sweep, method, "best"))]
    if not methods:
        raise ValueError(f"{sweep.title}: no setting has two values in the same combination of the others")
    rows = max(sum(len(effect.values) + 1 for effect in found) for _, found in methods)
    width = max(len(methods) * _EFFECT_PANEL, _LEAST_EFFECTS)
    title = wrapped(f"{sweep.title}: which settings decide (best epoch)", width - 0.3, _TITLE_SIZE, 0.56)
    caption = wrapped(effects_caption(sweep, "bars, dots are seeds"), width - 0.3, _TEXT_SIZE, _LETTER)
    below = (len(caption) + 1) * line_height(_TEXT_SIZE)
    height = rows * _EFFECT_ROW + 0.2 * len(title) + 0.75 + below
    figure = Figure(figsize=(width, height))
    figure.suptitle("\n".join(title), fontsize=_TITLE_SIZE, y=1 - 0.07 / height, va="top")
    panel = rows * _EFFECT_ROW / height
    for column, (method, found) in enumerate(methods):
        left = (column * width / len(methods) + _EFFECT_WORDS) / width
        across = (width / len(methods) - _EFFECT_WORDS - 0.2) / width
        ax = figure.add_axes((left, (below + 0.4) / height, across, panel))
        _draw_effects(ax, found)
        ax.set_title(in_lines(method.title), fontsize=8.5)
    write_lines(figure, caption, (0.15 / width, below / height), _TEXT_SIZE)
    return figure


_LEAST_SHARE = 0.2
"""That the axis of shares has at least."""

_EFFECT_PANEL, _EFFECT_WORDS, _EFFECT_ROW, _LEAST_EFFECTS = 4.2, 1.75, 0.17, 6.0
"""Inches of a method's column, of the words left of its panel, of a value, and the least width."""


def _draw_effects(ax: Axes, found: Sequence[SettingEffect]) -> None:
    place, ticks, words = 0.0, [], []
    for effect in found:
        p = "" if effect.found.p is None else f", p {effect.found.p:.2g}"
        ax.text(0.01, place + 0.1, f"{effect.name}{p}", fontsize=7, fontweight="bold", va="center")
        for number, word in enumerate(effect.words):
            place += 1
            share, seeds = effect.found.share[number], effect.found.by_seed[number]
            ax.barh(place, share, height=0.62, color="#9ecae1", gid=f"{effect.name}={word}")
            ax.plot(seeds, np.full(len(seeds), place), color="#08519c", **_MARK | {"marker": "o"})
            ticks.append(place)
            words.append(f"{word}  ({effect.found.trained[number]} of {effect.found.networks[number]})")
        place += 1
    ax.set_yticks(ticks, words)
    ax.set_ylim(place - 0.4, -0.7)
    most = max(float(np.nanmax(effect.found.by_seed)) for effect in found)
    ax.set_xlim(0, min(max(1.1 * most, _LEAST_SHARE), 1.02))
    ax.set_xlabel("share of networks that train", fontsize=8, labelpad=1)
    ax.tick_params(length=2, width=0.6, pad=2, labelsize=7)
    ax.grid(axis="x", color="0.92", linewidth=0.5)
    ax.set_axisbelow(True)


def effects_caption(sweep: Sweep, shown: str) -> str:
    """What is compared setting by setting, and how it is tested; `shown` says how the shares are shown."""
    first = sweep.methods[0].grid
    return (
        f"Each value over all combinations of the other settings in which all of the setting's values were trained, "
        f"{seeds_of(first)}: the share of networks that train ({shown}); "
        "the setting whose values are furthest apart first. A share is of these combinations: a setting may decide "
        f"more in the best of them. {_capital(threshold_of(first))}, one that diverged or failed does not. "
        f"{how_tested(sweep, max(map(len, sweep.values.values())))} What a seed has in all of them is permuted "
        "together; p is not corrected for the number of settings."
    )


def has_pairs(sweep: Sweep) -> bool:
    """Whether a method with several values has more than one depth-width pair."""
    return any(method.grid.present.any(axis=(0, 3)).sum() > 1 for method in _with_several(sweep))


_NAMED = 3  # best values that are named


def how_tested(sweep: Sweep, most: int | None = None) -> str:
    """How it is tested whether values differ, in words; `most` values are compared, by default all of a method's."""
    most = max(len(method.values) for method in sweep.methods) if most is None else most
    if all(method.grid.seed_range()[1] < 2 for method in sweep.methods):
        return "With one seed there is no test."
    beyond = f" More than {MOST_TESTED} values are not tested." if most > MOST_TESTED else ""
    return (
        f"Whether values differ: Friedman's test of the training {sweep.methods[0].grid.scores}, by permuting the "
        f"values within seeds ({PERMUTATIONS:,} at random), with networks that diverged last.{beyond}"
    )


def _spread_told(sweep: Sweep) -> str:
    one = {compare_values(method.grid, "best").pairs == 1 for method in sweep.methods}
    parts = ["small marks are seeds"] + ["bars Wilson's intervals (95 %) of the share"] * (True in one)
    return f"; {', '.join(parts)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _in_lines(texts: Sequence[str], room: float) -> Iterator[str]:
    for text in texts:
        yield from wrapped(text, room, _TEXT_SIZE, _LETTER, indent="   ")


def _with_several(sweep: Sweep) -> list[SweptMethod]:
    return [method for method in sweep.methods if len(method.values) > 1]


def _is_swept(sweep: Sweep, method: SweptMethod, name: str) -> bool:
    at = sweep.names.index(name)
    return len({value[at] for value in method.values if has_effect(name, value[at])}) > 1


def _positions(values: Sequence[Hashable]) -> tuple[list[float], str]:
    """Where an axis has the values, and its kind: log, linear or, where numbers do not say it, even."""
    numbers = [value for value in values if type(value) is float]
    if len(numbers) == len(values):
        if numbers[0] > 0 and numbers[-1] >= _LOGARITHMIC * numbers[0]:
            return numbers, "log"
        if numbers[-1] - numbers[0] <= _EVEN * min(np.diff(numbers)):
            return numbers, "linear"
    return [*map(float, range(len(values)))], "even"


def _draw_line(ax: Axes, sweep: Sweep, method: SweptMethod, at_epoch: str, measure: str, look: Look) -> None:
    """One method's line over the values, its seeds or intervals, and a ring around its best value."""
    found = compare_values(method.grid, at_epoch)
    (name,) = sweep.names
    places = dict(zip(sweep.values[name], _positions(sweep.values[name])[0], strict=True))
    values = [value for (value,) in method.values]
    colour, marker = look
    ys = getattr(found, measure)
    if len(values) == 1 and not has_effect(name, values[0]):
        ax.axhline(ys[0], color=colour, linewidth=1.1, linestyle=(0, (4, 2)), gid=f"level {method.label}")
        return
    xs = np.array([places.get(value, np.nan) for value in values])
    style: dict[str, Any] = {"color": colour, "marker": marker, "zorder": 3}
    ax.plot(xs, ys, linewidth=1.1, markersize=3.6, gid=f"line {method.label}", **style)
    if measure == "share" and found.pairs == 1:
        ax.vlines(xs, found.low, found.high, color=colour, linewidth=2.6, alpha=0.35, gid=f"interval {method.label}")
    else:
        seeds = found.by_seed if measure == "share" else _by_seed(method, f"{measure}_{at_epoch}")
        ax.plot(np.repeat(xs, seeds.shape[1]), seeds.ravel(), gid=f"seeds {method.label}", **{**style, **_MARK})
    ring = {**_RING, "markeredgecolor": colour, "zorder": 4}
    ax.plot(xs[found.best], ys[found.best], gid=f"best {method.label}", **ring)


def _by_seed(method: SweptMethod, column: str) -> NDArray[np.float64]:
    """Every seed's mean over the pairs, (values, seeds); NaN for none."""
    return mean_over(method.grid.accuracy[column], (1, 2))


def _set_axes(ax: Axes, sweep: Sweep, measure: str, *, is_last: bool) -> None:
    (name,) = sweep.names
    _, kind = _positions(sweep.values[name])
    words = value_words(name, sweep.values[name])
    match kind:
        case "log":
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: spelled(float(f"{value:.4g}"))))
            ax.xaxis.set_minor_formatter(NullFormatter())
        case "linear":
            pass
        case "even":
            shown = np.linspace(0, len(words) - 1, min(len(words), _MOST_TICKS)).round().astype(int)
            ax.set_xticks(shown.tolist(), [words[at] for at in shown])
        case other:
            raise ValueError(f"an axis of kind {other} is not known: log, linear or even")
    grid = sweep.methods[0].grid
    least = grid.chance if measure == "val_acc" else 0.0
    if grid.task == "classification":  # R² has no lower end
        least = min(least, float(ax.dataLim.y0))
    ax.set_ylim(least - 0.04 * (1 - least), 1 + 0.06 * (1 - least))
    ax.set_ylabel(MEASURES[measure].format(score=grid.score), fontsize=8, labelpad=2)
    ax.tick_params(length=2, width=0.6, pad=2, labelsize=7, labelbottom=is_last)
    ax.grid(color="0.92", linewidth=0.5)
    ax.set_axisbelow(True)
    if is_last:
        ax.set_xlabel(name, fontsize=8, labelpad=1)


def _handles(sweep: Sweep, looks: dict[str, Look]) -> Iterator[Line2D]:
    for method in sweep.methods:
        colour, marker = looks[method.label]
        is_level = len(method.values) == 1 and not has_effect(sweep.names[0], method.values[0][0])
        style: dict[str, Any] = {"linestyle": (0, (4, 2))} if is_level else {"marker": marker, "markersize": 3.6}
        label = in_lines(method.title) + "\n(no effect)" * is_level
        yield Line2D([], [], label=label, color=colour, linewidth=1.1, **style)
    yield Line2D([], [], label=BEST, markeredgecolor="0.35", **_RING)


def _crossed(sweep: Sweep) -> tuple[list[Hashable], list[tuple[Hashable, ...]]]:
    """What goes across, and the others' combinations that methods have; one without effect only if no other is."""
    rows = {value[1:] for method in sweep.methods for value in method.values}
    names = sweep.names[1:]
    full = {row for row in rows if all(has_effect(name, value) for name, value in zip(names, row, strict=True))}
    orders = [{value: at for at, value in enumerate(sweep.values[name])} for name in names]

    def place(row: tuple[Hashable, ...]) -> list[int]:
        return [order.get(value, -1) for order, value in zip(orders, row, strict=True)]

    return [*sweep.values[sweep.names[0]]], sorted(full or rows, key=place)


def _fits(sweep: Sweep, own: Sequence[Hashable], at: Sequence[Hashable]) -> bool:
    """Whether a method's value stands at a place of the axes: equal in all settings that have an effect on it."""
    return all(
        value == wanted or not has_effect(name, value) for name, value, wanted in zip(sweep.names, own, at, strict=True)
    )


def _best_panel(
    sweep: Sweep,
    method: SweptMethod,
    at_epoch: str,
    name: str,
    scale: Scale,
    depths: Sequence[int],
    widths: Sequence[int],
) -> Panel:
    """One method's best values of one setting, as places among its values, over depth × width."""
    found = compare_values(method.grid, at_epoch)
    at, codes = sweep.names.index(name), {value: code for code, value in enumerate(sweep.values[name])}
    code = np.array([codes.get(value[at], -1) for value in method.values], np.float64)
    inside = np.ix_([depths.index(d) for d in method.grid.depths], [widths.index(w) for w in method.grid.widths])
    best = np.full((len(depths), len(widths)), of_values.NOT_COMPARED)
    best[inside] = found.best_at
    values = np.where(best >= 0, code[np.maximum(best, 0)], np.nan)
    never = not any(has_effect(name, value[at]) for value in method.values)
    without = (values < 0) | ((best != of_values.NOT_COMPARED) & never)
    values[without] = np.nan
    marked = {
        ALIKE: (best == of_values.ALIKE) & ~without,
        NONE_TRAINS: (best == of_values.NONE_TRAINS) & ~without,
        NO_EFFECT: without,
    }
    nothing = np.zeros(best.shape, np.bool_)
    significant = nothing.copy()
    significant[inside] = found.significant()
    dots = [(int(depth), int(width)) for depth, width in np.argwhere(significant & ~np.isnan(values))]
    return Panel(values, nothing, nothing, scale, f"{at_epoch} epoch", significant=dots, marked=marked)


def _is_drawable(sweep: Sweep) -> bool:
    """Whether the values fit on a figure's axes; a warning says where they do not."""
    columns, rows = (len(axis) for axis in _crossed(sweep)) if len(sweep.names) > 1 else (1, 1)
    if columns <= _MOST_CELLS and rows <= _MOST_CELLS:
        return True
    told = (
        f"{sweep.title} over {', '.join(sweep.names)} is not drawn over its values: {columns} × {rows} of them are more"
    )
    warnings.warn(f"{told} than a figure can show; the table has all", GridWarning, stacklevel=3)
    return False


@of_store("sweeps", rank=5, title="swept settings")
def _sweeps(stored: Stored) -> Iterator[Job]:
    for sweep in stored.sweeps:
        if _is_drawable(sweep):
            draw = values_figure if len(sweep.names) == 1 else crossed_values_figure
            yield figure_job(sweep.slug, partial(draw, sweep))
        if has_pairs(sweep):
            yield figure_job(f"{sweep.slug}_best_values", partial(best_values_figure, sweep))
        if any(setting_effects(sweep, method, "best") for method in sweep.methods) and len(sweep.names) > 1:
            yield figure_job(f"{sweep.slug}_effects", partial(effects_figure, sweep))
