"""What a drawn scatter shows, read back from its artists."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from readable import check_readable
from stored_tables import CIFAR10, METHODS, MNIST, VARIANTS, cell, grid_rows, parameters, row, table

from jumpstart_exp.report.figures.scatters import LOOKS, depth_styles, method_looks, scatter_figure
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids

DEPTHS, WIDTHS = [10, 20, 30], [2, 8, 16, 32, 64, 96, 192]
FIVE = ["relu", *VARIANTS]


def only(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def rising(of) -> float:
    """More accurate the wider; a little by method and seed."""
    method = FIVE.index(of.method) if of.method in FIVE else 0
    return 0.3 + 0.08 * np.log2(of.width) - 0.003 * of.depth + 0.01 * method + 0.004 * of.seed


def rough(of) -> float:
    """Fixed pseudo-random accuracies, relu at chance from depth 30."""
    if of.method == "relu" and of.depth >= 30:
        return 0.1
    draw = np.random.default_rng([of.depth, of.width, of.seed, len(of.method)]).normal(0, 0.04)
    return float(min(rising(of) + draw, 1.0))


def study(methods=FIVE, depths=DEPTHS, widths=WIDTHS, seeds=(0,), accuracy=rising, **settings) -> FigureGrid:
    return only(grid_rows(methods, depths, widths, list(seeds), accuracy, **(settings or CIFAR10)))


def lines(ax: Axes, name: str) -> list:
    return [line for line in ax.lines if str(line.get_gid()).startswith(name)]


def legend(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]


def test_parameters_run_along_a_log_axis_with_training_above_validation() -> None:
    figure = scatter_figure(study(["relu"]), "best")
    training, validation = figure.axes
    assert training.get_xscale() == validation.get_xscale() == "log"
    assert training.get_position().y0 > validation.get_position().y1
    assert (training.get_ylabel(), validation.get_ylabel()) == ("training accuracy", "validation accuracy")
    assert validation.get_xlabel() == "number of parameters"
    for ax, offset in ((training, 0.0), (validation, 0.05)):
        (line,) = lines(ax, "depth 20 relu")
        cells = [cell("relu", 20, width, 0, **CIFAR10) for width in WIDTHS]
        np.testing.assert_array_equal(line.get_xdata(), [parameters(each) for each in cells])
        np.testing.assert_allclose(line.get_ydata(), [rising(each) - offset for each in cells])


@pytest.mark.parametrize(("at_epoch", "offset"), [("best", 0.0), ("last", 0.1)])
def test_both_moments_show_their_own_accuracies_and_say_so(at_epoch, offset) -> None:
    figure = scatter_figure(study(["relu"], [10], [8, 16, 32]), at_epoch)
    (line,) = lines(figure.axes[0], "depth 10 relu")
    assert line.get_ydata()[0] == pytest.approx(rising(cell("relu", 10, 8, 0, **CIFAR10)) - offset)
    assert figure.get_suptitle() == f"CIFAR-10 · cnn · 400 epochs\n{at_epoch} epoch · 1 seed"


def test_lines_join_equal_depth_solid_for_the_deepest_then_dashed_then_dotted() -> None:
    figure = scatter_figure(study(), "best")
    for ax in figure.axes:
        for method in FIVE:
            styles = [lines(ax, f"depth {depth} {method}")[0].get_linestyle() for depth in (30, 20, 10)]
            assert styles == ["-", "--", ":"]
    assert [label for label in legend(figure) if label.startswith("depth")] == ["depth 30", "depth 20", "depth 10"]


def test_many_depths_have_styles_of_their_own_and_a_short_legend() -> None:
    styles = depth_styles(range(2, 70, 4))
    assert styles[66] == "-"
    dashes = [styles[depth][1][0] for depth in range(62, 1, -4)]
    assert dashes == sorted(dashes, reverse=True) and len({*dashes}) == len(dashes)
    figure = scatter_figure(study(["relu"], list(range(2, 70, 4)), [2, 4, 8], **MNIST), "best")
    shown = [label for label in legend(figure) if label.startswith("depth")]
    assert len(shown) == 5 and shown[0] == "depth 66" and shown[-1] == "depth 2"


def test_a_method_has_one_colour_in_every_figure_and_shares_it_with_no_other() -> None:
    assert len({colour for colour, _ in LOOKS.values()}) == len({marker for _, marker in LOOKS.values()}) + 1 == 11
    assert set(LOOKS) == {*METHODS, *VARIANTS}
    labels = [*FIVE, "mine", "yours"]
    looks = method_looks(labels)
    assert len({*looks.values()}) == len(labels)
    assert all(looks[method] == method_looks([method])[method] == LOOKS[method] for method in FIVE)
    assert method_looks(["mine"]) == method_looks(["mine"])
    assert len(method_looks([str(number) for number in range(20)])) == 20
    figure = scatter_figure(study(), "best")
    drawn = {
        method: {
            line.get_color()
            for ax in figure.axes
            for line in ax.lines
            if str(line.get_gid()).endswith(f" {method}") and "points" not in line.get_gid()
        }
        for method in FIVE
    }
    assert drawn == {method: {LOOKS[method][0]} for method in FIVE}
    assert legend(figure)[:5] == [
        "ReLU",
        "Sep-UP ℓ₂ λ=0.001",
        "Sep-UP ℓ₂ λ=0.1",
        "Sep-UP mean λ=0.1",
        "Sep-UP mean λ=1",
    ]


def test_a_front_is_a_step_line_through_the_pareto_optimal_networks() -> None:
    rows = [row(cell("relu", 10, w, 0, **CIFAR10), a) for w, a in ((2, 0.5), (8, 0.4), (16, 0.6), (32, 0.55))]
    (front,) = lines(scatter_figure(only(rows), "best").axes[0], "front relu")
    assert front.get_drawstyle() == "steps-post"
    assert list(front.get_ydata()) == [0.5, 0.6, 0.6]
    assert list(front.get_xdata()[:2]) == [rows[0]["n_params"], rows[2]["n_params"]]
    assert front.get_xdata()[2] > rows[3]["n_params"]


def test_bars_run_from_the_worst_seed_to_the_best() -> None:
    rows = [row(cell("relu", 10, 8, seed, **CIFAR10), value) for seed, value in enumerate((0.5, 0.6, 0.9))]
    rows += [row(cell("relu", 10, width, 0, **CIFAR10), 0.8) for width in (16, 32)]
    figure = scatter_figure(only(rows), "best")
    (bars,) = [item for item in figure.axes[0].collections if item.get_gid() == "bar relu"]
    np.testing.assert_allclose(bars.get_segments(), [[(rows[0]["n_params"], 0.5), (rows[0]["n_params"], 0.9)]])
    assert "worst to best seed" in legend(figure)
    assert not scatter_figure(study(["relu"]), "best").axes[0].collections


def test_networks_that_lack_some_seeds_are_hollow_and_explained() -> None:
    rows = [
        row(cell("relu", 10, w, s, **CIFAR10), 0.8, "diverged" if (w, s) == (8, 1) else "done")
        for w in (2, 8, 16)
        for s in (0, 1)
    ]
    figure = scatter_figure(only(rows), "best")
    hollow = [line for line in lines(figure.axes[0], "points relu") if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[rows[2]["n_params"]]]
    assert "some seeds diverged or failed: mean of the others" in legend(figure)
    assert figure.get_suptitle().endswith("2 seeds · 1 diverged")


def test_chance_is_shown_where_networks_are_near_it() -> None:
    figure = scatter_figure(study(["relu"], accuracy=lambda c: 0.1 if c.depth == 30 else 0.7), "best")
    assert [lines(ax, "chance")[0].get_ydata()[0] for ax in figure.axes] == [0.1, 0.1]
    assert "chance" in legend(figure)
    figure = scatter_figure(study(["relu"], accuracy=lambda c: 0.7 + c.width / 1000), "best")
    assert not lines(figure.axes[0], "chance") and "chance" not in legend(figure)


def boxes_of_points(ax: Axes) -> list[Bbox]:
    """What the drawn markers and bars cover."""
    boxes = []
    for line in lines(ax, "points"):
        half = line.get_markersize() / 2 * ax.figure.dpi / 72
        boxes += [
            Bbox.from_extents(x - half, y - half, x + half, y + half)
            for x, y in ax.transData.transform(line.get_xydata())
        ]
    for bars in ax.collections:
        for segment in bars.get_segments():
            (x, low), (_, high) = ax.transData.transform(segment)
            boxes.append(Bbox.from_extents(x - 0.5, low, x + 0.5, high))
    return boxes


CASES = {
    "five methods": lambda: study(),
    "five methods, three seeds, rough": lambda: study(seeds=(0, 1, 2), accuracy=rough),
    "all alike": lambda: study(accuracy=lambda c: 0.5),
    "the mnist grid": lambda: study(["relu", "sep_up"], [2, *range(4, 69, 4)], [2, 4, 8], accuracy=rough, **MNIST),
    "one depth": lambda: study(["relu"], [10], [8, 16, 32]),
    "one width": lambda: study(["relu", "relu_bn"], [2, 10, 25, 30, 40], [10]),
    "long labels": lambda: study(["a_label_that_nobody_would_ever_want_to_type", "Some words that are many and long"]),
    "every method": lambda: study([*METHODS, *VARIANTS], accuracy=rough),
}


@pytest.mark.parametrize("case", CASES)
def test_no_label_overlaps_another_or_a_point_and_no_text_is_cut(case) -> None:
    figure = scatter_figure(CASES[case](), "best")
    figure.draw_without_rendering()
    for ax in figure.axes:
        labels = [Text.get_window_extent(text) for text in ax.texts]  # without the leader
        assert labels
        room, points = ax.get_window_extent(), boxes_of_points(ax)
        assert len(points) > 2
        for i, box in enumerate(labels):
            assert room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1
            assert not box.count_overlaps(points)
            assert not box.count_overlaps(labels[:i])
    check_readable(figure)


def test_labels_stand_at_each_pairs_best_point_and_name_it() -> None:
    (training, _) = scatter_figure(study(["relu", "sep_up_mean_1"], [10], [8, 32, 192]), "best").axes
    best = {f"10×{w}": cell("sep_up_mean_1", 10, w, 0, **CIFAR10) for w in (8, 32, 192)}
    shown = {text.get_text(): text.xy for text in training.texts}
    assert shown.keys() == best.keys()
    for label, each in best.items():
        assert shown[label] == pytest.approx((parameters(each), rising(each)))


def test_the_axis_has_ticks_that_can_be_told_apart() -> None:
    for widths in ([2, 8, 192], [8, 9, 10], [30, 31, 32]):
        figure = scatter_figure(study(["relu"], [10], widths), "best")
        figure.draw_without_rendering()
        low, high = figure.axes[-1].get_xlim()
        ticks = [tick for tick in figure.axes[-1].get_xticks() if low <= tick <= high]
        texts = [text.get_text() for text in figure.axes[-1].get_xticklabels()]
        assert 2 <= len(ticks) <= 9 and len({*texts}) == len(texts)
