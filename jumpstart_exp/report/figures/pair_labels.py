"""Labels of a scatter's depth-width pairs, placed where there is room: drawing only."""

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from jumpstart_exp.report.figures.drawing import DPI
from jumpstart_exp.report.statistics.efficiency import Point, best_of_pairs

_LABEL_SIZE = 6.5  # points
_GAP = 1.5  # points around a label that stay free
_RINGS = (0.0, 7.0)  # points added to a label's distance from its marker; a leader joins the far ones
_DIRECTIONS = ((0, 1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (1, -1), (-1, -1))
_LEADER: dict[str, Any] = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.4, "shrinkA": 0}
_MOST_LABELS = 30  # pairs up to which those off the Pareto fronts have a label too


def depth_of(line: Line2D) -> int | None:
    """The depth whose networks the line joins; None for another line, or a single network's."""
    kind, _, rest = str(line.get_gid()).partition(" ")
    return int(rest.split(" ")[0]) if kind == "depth" and len(line.get_path()) > 1 else None


def label_pairs(ax: Axes, shown: Sequence[Point], marker: float) -> None:
    """Write depth×width beside each pair's best point, where there is room; the others stay without.

    The figure must have its final layout. `marker` is the size in points of the markers; bars run from the worst seed
    to the best. Labels keep off markers, bars and each other, and where they can off lines.
    """
    scale = DPI / 72  # pixels a point of type
    taken = [_marker_box(ax, point, marker, scale) for point in shown]
    room = ax.get_window_extent()
    text = ax.text(0, 0, "", fontsize=_LABEL_SIZE)
    lines = [line.get_transform().transform_path(line.get_path()) for line in ax.lines if depth_of(line)]
    for point in best_of_pairs(shown, _MOST_LABELS):
        text.set_text(f"{point.depth}×{point.width}")
        extent = text.get_window_extent()
        own = taken[shown.index(point)]
        places = _candidates(own, extent.width + _GAP * scale, extent.height + _GAP * scale, scale)
        free = [
            (box, is_far)
            for box, is_far in places
            if room.x0 < box.x0 and box.x1 < room.x1 and room.y0 < box.y0 and box.y1 < room.y1
            if not box.count_overlaps(taken)
        ]
        # a line behind a label is worse than a leader to it, and better than no label
        clear = [(box, is_far) for box, is_far in free if not any(line.intersects_bbox(box, False) for line in lines)]
        for box, is_far in (clear or free)[:1]:
            taken.append(box)
            _write(ax, point, text.get_text(), box, scale, leader=_LEADER | {"shrinkB": marker / 2} if is_far else None)
    text.remove()


def _write(ax: Axes, point: Point, text: str, box: Bbox, scale: float, leader: dict[str, Any] | None) -> None:
    x, y = ax.transData.transform((point.n_params, point.mean))
    ax.annotate(
        text,
        (point.n_params, point.mean),
        (((box.x0 + box.x1) / 2 - x) / scale, ((box.y0 + box.y1) / 2 - y) / scale),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_LABEL_SIZE,
        color="0.1",
        arrowprops=leader,
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
        zorder=5,
    )


def _marker_box(ax: Axes, point: Point, marker: float, scale: float) -> Bbox:
    """The pixels that a point takes, marker and bar."""
    half = (marker / 2 + 0.6) * scale
    x, low = ax.transData.transform((point.n_params, point.low))
    middle, high = (ax.transData.transform((point.n_params, value))[1] for value in (point.mean, point.high))
    return Bbox.from_extents(x - half, min(low, middle - half), x + half, max(high, middle + half))


def _candidates(own: Bbox, width: float, height: float, scale: float) -> Iterator[tuple[Bbox, bool]]:
    """Boxes for a label around the box of its point, in pixels, the best first, and whether it is far from it."""
    middle_x, middle_y = (own.x0 + own.x1) / 2, (own.y0 + own.y1) / 2
    for ring in _RINGS:
        for right, up in _DIRECTIONS:
            x = middle_x + right * ((own.width + width) / 2 + ring * scale) * (0.85 if up else 1.0)
            y = middle_y + up * ((own.height + height) / 2 + ring * scale)
            yield Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2), ring > 0
