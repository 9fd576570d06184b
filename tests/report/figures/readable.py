"""Whether a figure's texts can be read."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def check_readable(figure: Figure, least: int = 9) -> None:
    """Fail where a text is cut, or overlaps another one, or where there are fewer."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in _texts(figure)]  # without an arrow
    assert len(boxes) >= least
    for name, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, name
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, name
    assert not [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]


def _texts(figure: Figure) -> list[Text]:
    """Every text that is drawn; of ticks those in view whose axis is not told by a panel below or beside."""
    texts = []
    for part in (figure, *figure.subfigs):
        texts += [*part.texts, *(text for legend in part.legends for text in legend.get_texts())]
    for ax in figure.axes:
        for axis, side in ((ax.xaxis, "labelbottom"), (ax.yaxis, "labelleft")):
            low, high = sorted(axis.get_view_interval())
            if axis.get_tick_params().get(side, True):
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        texts += [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    return [text for text in texts if text.get_text() and text.get_visible()]
