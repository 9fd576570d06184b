"""The counts of Geometry, section 3, against enumeration of small cases."""

from itertools import combinations, product
from math import ceil, comb

import numpy as np
import pytest
from scipy.optimize import linprog

from jumpstart_exp.geometry.theorems import (
    maximum_cells,
    separating_hyperplanes,
    separating_hyperplanes_at_worst,
    separating_hyperplanes_of_convex_sets,
)
from jumpstart_exp.settings import SettingError


def cells(normals: np.ndarray, offsets: np.ndarray) -> int:
    """Sign vectors of ⟨a, x⟩ − β that some point has, by linear programs."""
    n, d = normals.shape
    found = 0
    for signs in product((-1.0, 1.0), repeat=n):
        # the most t ≤ 1 with sign · (⟨a, x⟩ − β) ≥ t
        rows = np.column_stack([-np.array(signs)[:, None] * normals, np.ones(n)])
        cost = np.append(np.zeros(d), -1.0)
        bounds = [(None, None)] * d + [(None, 1.0)]
        solved = linprog(cost, rows, -np.array(signs) * offsets, bounds=bounds)
        assert solved.status == 0
        found += -solved.fun > 1e-7
    return found


@pytest.mark.parametrize(("n", "d"), [(1, 1), (4, 1), (2, 2), (3, 2), (5, 2), (6, 2), (3, 3), (5, 3), (2, 4), (5, 4)])
def test_hyperplanes_in_general_position_cut_out_the_most_cells(n: int, d: int) -> None:
    rng = np.random.default_rng(10 * n + d)
    assert cells(rng.normal(size=(n, d)), rng.normal(size=n)) == maximum_cells(n, d)


def test_lines_in_special_position_cut_out_fewer() -> None:
    angles = np.arange(5) * np.pi / 5
    through_one_point = cells(np.stack([np.cos(angles), np.sin(angles)], 1), np.zeros(5))
    parallel = cells(np.tile([1.0, 0.0], (5, 1)), np.arange(5.0))
    assert (through_one_point, parallel) == (10, 6)
    assert max(through_one_point, parallel) < maximum_cells(5, 2) == 16


def test_no_more_than_two_to_the_n() -> None:
    for n in range(7):
        for d in range(max(n, 1), 9):
            assert maximum_cells(n, d) == 2**n


def separable(points: list[tuple[int, int]]) -> set[int]:
    """Every set of points (as bits) that a line has on one side, of integer points no three of which are on a line.

    Turn a line that separates until it goes through a point of either side: each is some line through two points,
    with these two on whichever sides.
    """
    n = len(points)
    whole = (1 << n) - 1
    found = {0, whole}
    for i, j in combinations(range(n), 2):
        (a, b), (c, d) = points[i], points[j]
        left = 0
        for k, (x, y) in enumerate(points):
            side = (c - a) * (y - b) - (d - b) * (x - a)
            assert side != 0 or k in (i, j), "three on a line"
            left |= (side > 0) << k
        for own in (0, 1 << i, 1 << j, 1 << i | 1 << j):
            found |= {left | own, whole ^ (left | own)}
    return found


def least_lines(points: list[tuple[int, int]]) -> int:
    """The fewest lines such that each two points have one between them, by trying all sets."""
    pairs = list(combinations(range(len(points)), 2))
    cuts = {sum(((cut >> i & 1) != (cut >> j & 1)) << k for k, (i, j) in enumerate(pairs)) for cut in separable(points)}
    most = [cut for cut in cuts if not any(cut != other and cut & other == cut for other in cuts)]
    everything = (1 << len(pairs)) - 1
    reached = {0}
    for count in range(len(points) + 1):
        if everything in reached:
            return count
        reached = {one | cut for one in reached for cut in most}
    raise AssertionError("not to be separated")


def in_general_position(n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Random integer points, no three on a line."""
    found: list[tuple[int, int]] = []
    while len(found) < n:
        x, y = map(int, rng.integers(0, 1000, 2))
        if all((c - a) * (y - b) != (d - b) * (x - a) for (a, b), (c, d) in combinations(found, 2)):
            found.append((x, y))
    return found


@pytest.mark.parametrize("n", range(2, 8))
def test_lines_that_separate_points(n: int) -> None:
    """Random points never need more than the upper bound; points on a parabola need it, and so the lower one."""
    lower, upper = separating_hyperplanes(n, 2)
    assert (lower, upper) == (ceil((n - 1) / 2), ceil((n - 2) / 2) + 1)
    rng = np.random.default_rng(n)
    assert max(least_lines(in_general_position(n, rng)) for _ in range(12)) <= upper
    convex = [(x, x * x) for x in range(n)]
    assert lower <= least_lines(convex) == upper == ceil(n / 2) if n > 2 else least_lines(convex) == upper == 1


@pytest.mark.parametrize("n", range(1, 9))
def test_points_on_a_line_need_all_but_one(n: int) -> None:
    """Only cuts between neighbours separate them, and each is needed by its two neighbours."""
    assert separating_hyperplanes(n, 1) == (n - 1, n - 1) == (separating_hyperplanes_at_worst(n),) * 2


@pytest.mark.parametrize("d", range(1, 20))
def test_the_bounds_are_in_order_and_no_worse_than_the_worst(d: int) -> None:
    for n in range(1, 60):
        lower, upper = separating_hyperplanes(n, d)
        assert lower == ceil((n - 1) / d)
        assert 0 <= lower <= upper
        if n > d:
            assert upper <= separating_hyperplanes_at_worst(n)


def test_the_logarithm_is_that_of_base_2() -> None:
    assert separating_hyperplanes(20, 5) == (4, ceil((20 - 8) / 5) + 3)
    assert separating_hyperplanes(20, 4) == (5, ceil((20 - 4) / 4) + 2)


@pytest.mark.parametrize("n", range(2, 7))
def test_lines_in_space_of_which_each_two_need_a_plane_of_their_own(n: int) -> None:
    """Theorem 3.3: a plane beside two of the lines has both directions, and so cuts all others."""
    rng = np.random.default_rng(n)
    directions, points = rng.normal(size=(2, n, 3))
    separated = []
    for i, j in combinations(range(n), 2):
        normal = np.cross(directions[i], directions[j])
        assert abs(normal @ (points[i] - points[j])) > 1e-6  # there is room for a plane
        missed = [k for k in range(n) if abs(normal @ directions[k]) < 1e-9]
        assert missed == [i, j]
        separated.append((i, j))
    assert len(separated) == separating_hyperplanes_of_convex_sets(n) == comb(n, 2)


def test_counts_that_make_no_sense_are_refused() -> None:
    for function, arguments, name in (
        (maximum_cells, (-1, 2), "n=-1"),
        (maximum_cells, (3, -1), "d=-1"),
        (separating_hyperplanes, (0, 2), "n=0"),
        (separating_hyperplanes, (3, 0), "d=0"),
        (separating_hyperplanes_at_worst, (0,), "n=0"),
        (separating_hyperplanes_of_convex_sets, (0,), "n=0"),
    ):
        with pytest.raises(SettingError, match=f"{name} is not allowed"):
            function(*arguments)
