"""Points, fronts and the order of labels against values worked out by hand."""

import pytest
from stored_tables import CIFAR10, cell, grid_rows, only, row

from jumpstart_exp.report.statistics.efficiency import Point, best_of_pairs, has_scatter, pareto_front, points


def point(n_params: int, mean: float, depth: int = 1, width: int = 1, method: str = "relu") -> Point:
    return Point(method, depth, width, n_params, mean, mean, mean, False)


def test_a_point_has_the_mean_the_extremes_and_the_parameters_of_its_seeds() -> None:
    rows = [row(cell("relu", 10, 8, seed, **CIFAR10), value) for seed, value in enumerate((0.5, 0.7, 0.9))]
    rows += [row(cell("relu", 20, 8, seed, **CIFAR10), 0.6, "diverged" if seed else "done") for seed in (0, 1)]
    rows += [row(cell("relu", 30, 8, 0, **CIFAR10), None, "failed")]
    one, other = points(only(rows), "val_acc_last")
    # 3·8·9 + 8, nine times 8·8·9 + 8, and 16·10 + 10
    assert (one.method, one.depth, one.width, one.n_params) == ("relu", 10, 8, 224 + 9 * 584 + 170)
    assert (one.low, one.mean, one.high) == pytest.approx((0.35, 0.55, 0.75))
    assert not one.partial
    assert (other.depth, other.mean, other.low, other.high, other.partial) == (20, *[pytest.approx(0.45)] * 3, True)


def test_batch_norm_is_a_point_of_its_own_number_of_parameters() -> None:
    plain, normed = points(
        only([row(cell(m, 10, 8, 0, **CIFAR10), 0.5) for m in ("relu", "relu_bn")]), "train_acc_best"
    )
    assert normed.n_params - plain.n_params == 2 * 8 * 10


def test_a_front_rises_and_holds_nothing_that_is_beaten() -> None:
    cheap, dear, worse, equal, best = (point(*at) for at in ((10, 0.5), (20, 0.4), (30, 0.5), (30, 0.7), (90, 0.71)))
    assert pareto_front([best, equal, worse, dear, cheap]) == [cheap, equal, best]
    assert pareto_front([]) == []
    assert pareto_front([point(10, 0.4, 1, 1), point(10, 0.5, 2, 1)]) == [point(10, 0.5, 2, 1)]


def test_of_equal_points_the_front_holds_the_first_by_depth_and_width() -> None:
    assert pareto_front([point(10, 0.5, 3, 2), point(10, 0.5, 2, 9), point(10, 0.5, 2, 8)]) == [point(10, 0.5, 2, 8)]


def test_labels_go_to_each_pairs_best_point_the_pareto_optimal_pairs_first() -> None:
    a, b = "relu", "sep_up"
    shown = [point(10, 0.3, 1, 1, a), point(20, 0.5, 1, 2, a), point(30, 0.8, 1, 3, a), point(30, 0.79, 2, 1, a)]
    shown += [point(10, 0.4, 1, 1, b), point(20, 0.2, 1, 2, b), point(30, 0.1, 1, 3, b), point(35, 0.79, 2, 2, b)]
    shown += [point(40, 0.95, 2, 3, b), point(50, 0.9, 3, 3, b)]
    ordered = best_of_pairs(shown, most=99)
    # overall front: 2×3, 1×3, 1×2, 1×1; 2×2 is on the front of sep_up alone; 3×3 and 2×1 are on none
    assert [(p.depth, p.width) for p in ordered] == [(2, 3), (1, 3), (1, 2), (1, 1), (2, 2), (3, 3), (2, 1)]
    assert [p.method for p in ordered] == [b, a, a, b, b, b, a]
    assert best_of_pairs(shown, most=7) == ordered
    assert best_of_pairs(shown, most=6) == ordered[:5], "too many pairs: those on no front have no label"


@pytest.mark.parametrize(
    ("depths", "widths", "settings", "expected"),
    [
        ([10, 20, 30], [8], CIFAR10, True),
        ([10], [2, 4, 8], CIFAR10, True),
        ([10], [2, 4], CIFAR10, False),
        ([10, 20], [2, 4, 8], {}, False),
    ],
)
def test_cnns_at_three_pairs_have_a_scatter(depths, widths, settings, expected) -> None:
    rows = grid_rows(["relu", "sep_up"], depths, widths, [0, 1], lambda c: 0.5, **settings)
    assert has_scatter(only(rows)) is expected


def test_pairs_without_an_accuracy_make_no_scatter() -> None:
    rows = [
        row(cell("relu", depth, 8, 0, **CIFAR10), 0.5, "done" if depth < 30 else "failed") for depth in (10, 20, 30)
    ]
    assert not has_scatter(only(rows))
