"""The frontier of known stores, by hand and by a slow computation of its own."""

import dataclasses
import math
from collections.abc import Callable
from statistics import geometric_mean

import numpy as np
import pytest
from stored_tables import cell, grid_rows, only, row

from jumpstart_exp.report.captions import RATIO_COVERAGE
from jumpstart_exp.report.statistics.frontier import (
    FrontierPoint,
    Start,
    common_depths,
    common_seeds,
    deepest_frontier,
    frontier_ratio,
    frontiers,
)
from jumpstart_exp.report.statistics.intervals import resamples
from jumpstart_exp.report.table.grid import FigureGrid

DEPTHS = [1, 5, 10, 20]


def trains_at(*places: tuple[str, int, int, int]) -> Callable:
    """Accuracy 1 at these (method, depth, width, seed), else 0.5."""
    return lambda c: 1.0 if (c.method, c.depth, c.width, c.seed) in places else 0.5


def reaching(reach: dict[tuple[str, int], list[int]]) -> FigureGrid:
    """Seeds that train up to the depth given for their (method, width)."""
    methods, widths = sorted({m for m, _ in reach}), sorted({w for _, w in reach})
    rows = []
    for (method, width), reached in reach.items():
        for seed, most in enumerate(reached):
            rows += [row(cell(method, d, width, seed), 1.0 if d <= most else 0.5) for d in DEPTHS]
    assert methods and widths
    return only(rows)


def points(grid: FigureGrid, **settings) -> dict[tuple[str, int], FrontierPoint]:
    return {(f.method, p.width): p for f in frontiers(grid, "best", **settings) for p in f.points}


def test_a_depth_fails_when_fewer_than_half_its_seeds_train_and_ends_the_frontier() -> None:
    passing = [("relu", d, 2, s) for d, s in ((1, 0), (1, 1), (5, 0), (5, 1), (10, 0), (20, 0), (20, 1), (20, 2))]
    grid = only(grid_rows(["relu"], DEPTHS, [2], [0, 1, 2], trains_at(*passing)))
    assert points(grid)["relu", 2].depth == 5, "1 of 3 at depth 10; what trains beyond does not count"
    even = only(grid_rows(["relu"], DEPTHS, [2], [0, 1], trains_at(("relu", 1, 2, 0), ("relu", 5, 2, 1))))
    assert points(even)["relu", 2].depth == 5, "half is enough"


def test_lost_seeds_count_as_not_trained() -> None:
    rows = grid_rows(["relu"], [1, 5], [2], [0, 1, 2], lambda c: 1.0)
    for each in rows:
        if each["depth"] == 5 and each["seed"] < 2:
            each |= {"status": "diverged" if each["seed"] else "failed"}
    assert points(only(rows))["relu", 2].depth == 1


def test_without_a_first_depth_there_is_none_unless_counted_from_the_first_that_trains() -> None:
    grid = only(grid_rows(["relu"], DEPTHS, [2, 3], [0], trains_at(("relu", 5, 2, 0), ("relu", 10, 2, 0))))
    strict, late = points(grid), points(grid, start="first")
    assert strict["relu", 2].depth is None and not strict["relu", 2].is_open
    assert late["relu", 2].depth == 10 and late["relu", 3].depth is None


def test_the_deepest_depth_that_trains_is_at_least_the_frontier() -> None:
    point = points(reaching({("relu", 2): [20, 20], ("relu", 3): [10, 10]}))
    assert (point["relu", 2].depth, point["relu", 2].is_open, point["relu", 2].is_cut) == (20, True, False)
    assert (point["relu", 3].depth, point["relu", 3].is_open) == (10, False)


def test_a_place_that_the_store_lacks_cuts_the_frontier_and_says_so() -> None:
    rows = grid_rows(["relu"], DEPTHS, [2, 3], [0, 1], lambda c: 1.0)
    rows = [each for each in rows if (each["depth"], each["width"]) != (10, 2)]
    point = points(only(rows))["relu", 2]
    assert (point.depth, point.is_open, point.is_cut) == (5, True, True)


def test_depths_that_a_method_was_not_trained_at_do_not_cut_its_frontier() -> None:
    rows = grid_rows(["relu"], DEPTHS, [2], [0], lambda c: 1.0 if c.depth <= 5 else 0.5)
    rows += grid_rows(["sep_up"], [1, 10], [2], [0], lambda c: 1.0)
    found = points(only(rows))
    assert (found["relu", 2].depth, found["sep_up", 2].depth) == (5, 10)
    assert (found["sep_up", 2].is_open, found["sep_up", 2].is_cut) == (True, False), "10 is its own deepest"


def test_moment_and_threshold_are_used() -> None:
    grid = only(grid_rows(["relu"], [1, 5], [2], [0], lambda c: 1.0 if c.depth == 1 else 0.97))
    assert [p.depth for f in frontiers(grid, "best") for p in f.points] == [5]
    assert [p.depth for f in frontiers(grid, "last") for p in f.points] == [None], "0.1 less at the last epoch"
    assert [p.depth for f in frontiers(grid.at_threshold(0.98), "best") for p in f.points] == [1]


def slow_interval(reached: list[int]) -> tuple[int, int]:
    """The frontier's interval over resampled seeds, of the depth that each seed trains up to, one by one."""
    found = []
    for drawn in resamples(len(reached)):
        chosen = [reached[place] for place in drawn]
        deepest = 0
        for depth in DEPTHS:
            if sum(most >= depth for most in chosen) * 2 < len(chosen):
                break
            deepest = depth
        found.append(deepest)
    low, high = np.percentile(found, 2.5, method="lower"), np.percentile(found, 97.5, method="higher")
    return int(low), int(high)


def test_intervals_are_depths_of_the_grid_over_resampled_seeds() -> None:
    reach = {("relu", 2): [0, 1, 5, 5, 20, 5, 10, 5, 1, 10, 5], ("relu", 3): [*[10] * 10, 20]}
    found = points(reaching(reach))
    for place, reached in reach.items():
        assert (found[place].low, found[place].high) == slow_interval(reached)
        assert found[place].seeds == 11 and found[place].each == tuple(reached)
    assert (found["relu", 3].low, found["relu", 3].high) == (10, 10)
    even = [*[1] * 8, 20, 20]  # half of a resample's seeds reach 20 in 3 % of them, more than half in 1 %
    assert points(reaching({("relu", 2): even}))["relu", 2].high == slow_interval(even)[1] == 20


@pytest.mark.parametrize("seeds", [1, 2, 5, 9])
def test_fewer_than_ten_seeds_have_no_interval_but_their_own_frontiers(seeds: int) -> None:
    reached = [5, 10, 5, 1, 0, 20, 5, 5, 10][:seeds]
    found = points(reaching({("relu", 2): reached}))["relu", 2]
    assert (found.low, found.high, found.seeds, found.each) == (None, None, seeds, tuple(reached))


@pytest.mark.parametrize("start", ["grid", "first"])
def test_a_seeds_own_frontier_counts_as_the_frontier_does(start: Start) -> None:
    own = {0: (5, 10), 1: (1, 5, 20), 2: ()}
    grid = only(grid_rows(["relu"], DEPTHS, [2], [0, 1, 2], lambda c: 1.0 if c.depth in own[c.seed] else 0.5))
    assert points(grid, start=start)["relu", 2].each == {"grid": (0, 5, 0), "first": (10, 5, 0)}[start]


def test_few_seeds_at_a_width_of_a_growing_store_are_no_failure() -> None:
    rows = grid_rows(["relu"], DEPTHS, [2], list(range(14)), lambda c: 1.0)
    rows += grid_rows(["relu"], DEPTHS, [3], list(range(10)), lambda c: 1.0)
    point = points(only(rows))["relu", 3]
    assert (point.depth, point.low, point.high) == (20, 20, 20)


REACH = {
    ("relu", 2): [1, 1, 5],
    ("relu", 3): [5, 5, 1],
    ("relu", 4): [0, 0, 1],
    ("sep_up", 2): [10, 20, 5],
    ("sep_up", 3): [5, 10, 10],
    ("sep_up", 4): [5, 5, 5],
    ("sep_up", 5): [20, 20, 20],
    ("relu", 6): [5, 5, 5],
    ("sep_up", 6): [0, 1, 0],
}


def median_reach(reached: list[int]) -> int:
    """Where at least half of the seeds train, of an odd number of seeds that fail at every greater depth."""
    return sorted(reached)[len(reached) // 2]


def test_the_ratio_is_the_geometric_mean_over_widths_with_both_frontiers() -> None:
    found = frontier_ratio(reaching(REACH), "best", "sep_up")
    assert found is not None
    ratios = [median_reach(REACH["sep_up", w]) / median_reach(REACH["relu", w]) for w in (2, 3)]
    assert ratios == [10, 2]
    assert found.ratio == pytest.approx(geometric_mean(ratios))
    assert (found.widths, found.left_out) == ((2, 3), (4, 5, 6))
    assert (found.seeds, found.at_least, found.at_most) == (3, (), ())


def test_the_ratios_interval_resamples_the_seeds_of_both_methods_together() -> None:
    reach = {place: of * 3 for place, of in REACH.items()}
    found = frontier_ratio(reaching(reach), "best", "sep_up")
    values = []
    for drawn in resamples(9):
        ratios = []
        for width in (2, 3, 4, 6):
            own, base = (median_reach([reach[m, width][place] for place in drawn]) for m in ("sep_up", "relu"))
            if own and base:
                ratios.append(own / base)
        values.append(geometric_mean(ratios) if ratios else math.nan)
    assert found is not None and found.resamples_without == np.isnan(values).sum()
    assert (found.low, found.high) == pytest.approx(tuple(np.nanpercentile(values, [2.5, 97.5])))
    assert found.distinct == len({round(value, 9) for value in values if not math.isnan(value)})


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_below_six_seeds_the_ratio_has_those_of_the_seeds_and_no_interval(seeds: int) -> None:
    reach = {("relu", 2): [1, 5, 5, 0, 5], ("sep_up", 2): [10, 20, 5, 20, 10]}
    found = frontier_ratio(reaching({place: of[:seeds] for place, of in reach.items()}), "best", "sep_up")
    assert found is not None and (found.low, found.high, found.distinct) == (None, None, 0)
    assert found.each == pytest.approx([10, 4, 1, 2][: 4 if seeds == 5 else seeds])


def test_methods_that_train_equally_deep_seed_by_seed_have_a_ratio_of_one_without_width() -> None:
    reached = [1, 5, 5, 10, 20, 20, 1]
    found = frontier_ratio(reaching({(m, w): reached for m in ("relu", "sep_up") for w in (2, 3)}), "best", "sep_up")
    assert found is not None and (found.ratio, found.low, found.high) == pytest.approx((1, 1, 1))


def test_bounds_are_named_where_the_grid_ends() -> None:
    found = frontier_ratio(
        reaching({**REACH, ("relu", 5): [20, 20, 20], ("sep_up", 3): [20, 20, 20]}), "best", "sep_up"
    )
    assert found is not None and (found.at_least, found.at_most) == ((3, 5), (5,))


def test_without_a_width_or_a_seed_in_common_there_is_no_ratio() -> None:
    assert frontier_ratio(reaching({("relu", 2): [0], ("sep_up", 2): [5]}), "best", "sep_up") is None
    rows = [row(cell("relu", d, 2, 0), 1.0) for d in DEPTHS] + [row(cell("sep_up", d, 2, 1), 1.0) for d in DEPTHS]
    assert frontier_ratio(only(rows), "best", "sep_up") is None


def test_the_ratio_is_over_the_seeds_that_both_methods_have() -> None:
    grid = reaching({("relu", 2): [5, 5, 1, 1, 1], ("sep_up", 2): [10, 10]})
    found = frontier_ratio(grid, "best", "sep_up")
    assert found is not None and (found.ratio, found.seeds) == (pytest.approx(2), 2)


def test_the_ratio_can_be_of_any_two_methods_from_the_first_depth_that_trains() -> None:
    rows = grid_rows(["relu_bn"], DEPTHS, [2], [0, 1], lambda c: 1.0 if c.depth == 5 else 0.5)
    rows += grid_rows(["sep_up"], DEPTHS, [2], [0, 1], lambda c: 1.0 if c.depth in (5, 10) else 0.5)
    assert frontier_ratio(only(rows), "best", "sep_up", "relu_bn") is None
    found = frontier_ratio(only(rows), "best", "sep_up", "relu_bn", start="first")
    assert found is not None and found.ratio == pytest.approx(2)
    with pytest.raises(ValueError):
        frontier_ratio(only(rows), "best", "sep_l", "relu_bn")


def growing(reach: dict[tuple[str, int], int], full_to: int) -> FigureGrid:
    """Twelve seeds up to a depth and seed 0 deeper; all seeds train up to the depth given for (method, width)."""
    rows = [
        row(cell(method, depth, width, seed), 1.0 if depth <= most else 0.5)
        for (method, width), most in reach.items()
        for depth in DEPTHS
        for seed in range(12 if depth <= full_to else 1)
    ]
    return only(rows)


def test_seeds_are_the_fewest_at_the_places_that_decide_and_one_seed_has_no_interval() -> None:
    found = points(growing({("relu", 2): 10, ("relu", 3): 1, ("relu", 4): 5}, full_to=5))
    assert (found["relu", 2].depth, found["relu", 2].seeds, found["relu", 2].low, found["relu", 2].high) == (
        *(10, 1),
        *(None, None),
    )
    assert (found["relu", 3].depth, found["relu", 3].seeds, found["relu", 3].low) == (1, 12, 1)
    assert (found["relu", 4].depth, found["relu", 4].seeds, found["relu", 4].low) == (5, 1, None), "10 decides"
    late = points(growing({("relu", 2): 0}, full_to=5), start="first")["relu", 2]
    assert (late.depth, late.seeds, late.low) == (None, 1, None), "counted so, every depth decides that there is none"


def test_an_interval_that_reaches_places_with_one_seed_is_none() -> None:
    rows = [row(cell("relu", 1, 2, seed), 1.0) for seed in range(10)]
    rows += [row(cell("relu", 5, 2, seed), 1.0 if seed < 4 else 0.5) for seed in range(10)]
    rows += [row(cell("relu", depth, 2, 0), 1.0) for depth in (10, 20)]
    point = points(only(rows))["relu", 2]
    assert (point.depth, point.seeds, point.low, point.high) == (1, 10, None, None)


def test_the_ratio_has_the_fewest_seeds_of_the_widths_used_and_no_interval_of_one() -> None:
    reach = {("relu", 2): 1, ("sep_up", 2): 5, ("relu", 3): 0, ("sep_up", 3): 20}
    found = frontier_ratio(growing(reach, full_to=10), "best", "sep_up")
    assert found is not None and (found.widths, found.seeds) == ((2,), 12), "width 3, of one seed, is left out"
    assert (found.low, found.high) == pytest.approx((5, 5))
    found = frontier_ratio(growing(reach, full_to=5), "best", "sep_up")
    assert found is not None and (found.ratio, found.seeds) == (pytest.approx(5), 1)
    assert (found.low, found.high) == (None, None)


def test_a_missing_depth_that_decides_is_no_failure() -> None:
    rows = grid_rows(["relu"], DEPTHS, [2, 3, 4], [*range(10)], lambda c: 1.0 if c.width == 2 else 0.5)
    rows = [
        each for each in rows if each["width"] == 4 or each["depth"] >= 10 or (each["width"], each["depth"]) == (3, 1)
    ]
    strict, late = points(only(rows)), points(only(rows), start="first")
    seen = strict["relu", 2]
    assert (seen.depth, seen.is_cut, seen.shallowest, seen.seeds, seen.low) == (None, True, 10, 0, None)
    assert (late["relu", 2].depth, late["relu", 2].shallowest) == (20, 10)
    assert (late["relu", 2].seeds, late["relu", 2].low) == (10, 20), "places that are missing have no seeds to count"
    assert (strict["relu", 3].depth, strict["relu", 3].is_cut) == (None, False), "depth 1 fails"
    assert (late["relu", 3].depth, late["relu", 3].is_cut) == (None, True), "depth 5 might train"
    assert (late["relu", 4].depth, late["relu", 4].is_cut) == (None, False), "every depth fails"


def test_the_greatest_frontier_is_that_of_one_width_not_of_every_seeds_best() -> None:
    reach = {("relu", 2): [20, 5, 5], ("relu", 3): [1, 20, 10], ("relu", 4): [1, 1, 5]}
    greatest_of_each = (20, 20, 10) * 5
    reach = {place: of * 5 for place, of in reach.items()}
    grid = reaching(reach)
    found = deepest_frontier(grid, "best", "relu")
    assert found is not None and (found.width, found.depth, found.seeds) == (3, 10, 15), "20 if each seed chose its own"
    assert found.each == greatest_of_each
    drawn = resamples(15)
    greatest = sorted(max(median_reach([of[place] for place in seeds]) for of in reach.values()) for seeds in drawn)
    ends = [int(np.percentile(greatest, 2.5, method="lower")), int(np.percentile(greatest, 97.5, method="higher"))]
    assert [found.low, found.high] == ends
    assert (found.is_open, found.is_cut) == (False, False)


def test_common_seeds_are_those_that_both_methods_have_anywhere() -> None:
    rows = [row(cell("relu", 1, 2, seed), 1.0) for seed in (0, 1)] + [row(cell("sep_up", 5, 2, 1), 1.0)]
    assert common_seeds(only(rows), "relu", "sep_up").tolist() == [False, True]


def test_the_ratio_counts_only_depths_that_both_methods_have() -> None:
    rows = grid_rows(["relu"], [1, 5, 10, 15, 20, 40], [2, 3], [0, 1], lambda c: float(c.depth not in (15, 40)))
    rows += grid_rows(["sep_up"], [5, 10, 20, 30], [2, 3], [0, 1], lambda c: 1.0)
    grid = only(rows)
    assert points(grid)["relu", 2].depth == 10, "15 fails, at which the other has no network"
    assert points(grid)["sep_up", 2].depth == 30
    assert [
        d for d, is_shared in zip(grid.depths, common_depths(grid, "relu", "sep_up"), strict=True) if is_shared
    ] == [*(5, 10, 20)]
    found = frontier_ratio(grid, "best", "sep_up")
    assert found is not None and (found.ratio, found.widths) == (pytest.approx(1), (2, 3)), "20 over 20"
    assert (found.at_least, found.at_most) == ((2, 3), (2, 3)), "both end where their common depths do"
    apart = grid_rows(["relu"], [1, 5], [2], [0, 1], lambda c: 1.0) + grid_rows(
        ["sep_up"], [2, 10], [2], [0, 1], lambda c: 1.0
    )
    assert frontier_ratio(only(apart), "best", "sep_up") is None


@pytest.mark.soak
@pytest.mark.parametrize("seeds", [6, 10, 20])
@pytest.mark.parametrize("shares", [(0.95, 0.85, 0.7, 0.4), (0.9, 0.7, 0.55, 0.45), (0.8, 0.4, 0.2, 0.0)])
def test_frontiers_intervals_cover_what_they_say(seeds: int, shares: tuple[float, ...]) -> None:
    rng, widths = np.random.default_rng([seeds, round(100 * shares[0])]), [2, 3, 4]
    grid = only(grid_rows(["relu", "sep_up"], DEPTHS, widths, [*range(seeds)], lambda c: 1.0))
    of_relu, of_sep_up = (0.9, 0.75, 0.3, 0.1), shares
    truth, least = (max(d for d, s in zip(DEPTHS, of, strict=True) if s >= 0.5) for of in (of_sep_up, of_relu))
    points_held, ratios_held, noise = [], [], 0.03  # three standard errors of a coverage
    for _ in range(400):
        trains = rng.random(grid.present.shape) < np.array([of_relu, of_sep_up])[:, :, None, None]
        values = {name: np.where(trains, 1.0, 0.5) for name in grid.accuracy}
        drawn = dataclasses.replace(grid, accuracy=values)
        point = points(drawn)["sep_up", 2]
        assert (point.low is None) == (seeds < 10)
        if point.low is not None and point.high is not None:
            points_held.append(point.low <= truth <= point.high)
        ratio = frontier_ratio(drawn, "best", "sep_up")
        if ratio is not None and ratio.low is not None and ratio.high is not None:
            ratios_held.append(ratio.low - 1e-9 <= truth / least <= ratio.high + 1e-9)
    assert not points_held or np.mean(points_held) > 0.95 - noise, "the caption says 0.92"
    assert np.mean(ratios_held) > RATIO_COVERAGE.get(seeds, 0.95) - noise
