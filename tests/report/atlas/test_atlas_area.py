"""The area under the frontier against plain loops; its intervals against known truth."""

import numpy as np
import pytest
from made_atlases import atlas_made, seeds_made

from jumpstart_exp.report.atlas.area import areas
from jumpstart_exp.report.statistics.intervals import resamples

DEPTHS, WIDTHS = (1, 5, 10), (2, 4, 10)


def slow_area(last: np.ndarray, widths: tuple[int, ...] = WIDTHS, depths: tuple[int, ...] = DEPTHS) -> float:
    """One method's area, of accuracies (depths, widths, seeds), by loops; depths that it has nowhere are passed by."""
    own = [place for place in range(len(depths)) if not np.isnan(last[place]).all()]
    frontier = []
    for width in range(len(widths)):
        reached, has_begun = 0, False
        for place in own:
            seeds = [accuracy for accuracy in last[place, width] if not np.isnan(accuracy)]
            passes = bool(seeds) and 2 * sum(accuracy >= 0.95 for accuracy in seeds) >= len(seeds)
            if has_begun and not passes:
                break
            has_begun = has_begun or passes
            reached = depths[place] if passes else reached
        frontier.append(reached)
    return sum(frontier) / (len(widths) * depths[-1])


def reaching(*frontiers: tuple[int, ...], seeds: int = 1) -> np.ndarray:
    """Accuracies of methods that train up to a depth at each width."""
    deep = np.array(DEPTHS)[None, :, None] <= np.array(frontiers)[:, None, :]
    return np.repeat(np.where(deep, 1.0, 0.5)[..., None], seeds, axis=-1)


def test_the_area_is_the_share_of_the_figure_below_the_frontier() -> None:
    found = areas(atlas_made(reaching((10, 10, 10), (5, 5, 5), (0, 5, 10), (0, 0, 0))), "last")
    # of the third: 0, 5 and 10 of 10, each width's share the same
    np.testing.assert_allclose(found.area, [1, 0.5, 0.5, 0])
    assert found.rank.tolist() == [1, 2, 2, 4]
    assert found.order().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("share_missing", [0.0, 0.2])
def test_areas_are_those_of_plain_loops(share_missing: float) -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        last = np.where(random.random((5, 3, 3, 4)) < 0.6, 1.0, 0.5)
        last[random.random(last.shape) < share_missing] = np.nan
        found = areas(atlas_made(last), "last")
        np.testing.assert_allclose(found.area, [slow_area(own) for own in last])


def test_the_frontier_begins_at_the_first_depth_that_trains_and_ends_before_the_next_failure() -> None:
    last = np.full((2, 3, 3, 2), 1.0)
    last[0, 0] = 0.5  # one hidden layer is too little
    last[1, 1] = 0.5  # what trains beyond a failure does not count
    assert areas(atlas_made(last), "last").area.tolist() == [1.0, 0.1]


def test_a_method_without_a_width_a_depth_or_a_seed_is_told() -> None:
    last = np.full((4, 3, 3, 2), 1.0)
    last[1, :, 2] = np.nan  # the width counts 0
    last[2, 1] = np.nan  # depth 5 is no part of its frontier
    last[3, 1, 0, 0] = np.nan
    found = areas(atlas_made(last), "last")
    np.testing.assert_allclose(found.area, [1, 2 / 3, 1, 1])
    assert found.lacking.tolist() == [0, 3, 3, 1]
    assert found.rank.tolist() == [1, 4, 1, 1]
    assert found.seeds == 1


def test_equal_areas_have_equal_ranks() -> None:
    found = areas(atlas_made(reaching((5, 5, 5), (10, 10, 10), (5, 5, 5), (1, 1, 1))), "last")
    assert found.rank.tolist() == [2, 1, 2, 4]


def test_a_figure_of_one_width_has_the_share_of_its_depth() -> None:
    last = np.full((2, 3, 1, 1), 1.0)
    last[1, 2] = 0.5
    assert areas(atlas_made(last, widths=(4,)), "last").area.tolist() == [1.0, 0.5]


def test_best_and_last_are_told_apart() -> None:
    atlas = atlas_made(reaching((1, 1, 1), (5, 5, 5)), best=reaching((10, 10, 10), (5, 5, 5)))
    assert areas(atlas, "last").area.tolist() == [0.1, 0.5]
    assert areas(atlas, "best").area.tolist() == [1.0, 0.5]


def test_few_seeds_have_no_interval() -> None:
    last, _ = seeds_made(np.random.default_rng(0), 3, 9)
    found = areas(atlas_made(last), "last")
    assert found.seeds == 9
    assert np.isnan([found.low, found.high, found.first, found.last]).all()
    assert not np.isnan(found.area).any()


def test_intervals_are_of_the_seeds_that_all_methods_have() -> None:
    last, _ = seeds_made(np.random.default_rng(0), 3, 11)
    last[1, 2, 0, 4] = np.nan
    found = areas(atlas_made(last), "last")
    assert (found.seeds, np.isnan(found.low).any()) == (10, False)
    last[2, 0, 0, 5] = np.nan
    assert np.isnan(areas(atlas_made(last), "last").low).all()


def test_intervals_and_ranks_are_those_of_plain_loops() -> None:
    """Every resample takes the same seeds for all methods; the worst method, and the worst pair, decide."""
    last, _ = seeds_made(np.random.default_rng(5), 3, 10)
    found = areas(atlas_made(last), "last")
    area = np.array([slow_area(own) for own in last])
    off = np.array([[slow_area(own[..., drawn]) for own in last] for drawn in resamples(10)]) - area
    off *= np.sqrt(10 / 9)
    half = np.quantile(np.abs(off).max(axis=1), 0.95)
    np.testing.assert_allclose(found.low, np.maximum(area - half, 0))
    np.testing.assert_allclose(found.high, np.minimum(area + half, 1))
    pairs = [(0, 1), (0, 2), (1, 2)]
    apart = np.quantile(np.max([np.abs(off[:, one] - off[:, other]) for one, other in pairs], axis=0), 0.95)
    above = [sum(other - own > apart + 1e-9 for other in area) for own in area]
    below = [sum(own - other > apart + 1e-9 for other in area) for own in area]
    assert found.first.tolist() == [1 + count for count in above]
    assert found.last.tolist() == [3 - count for count in below]
    assert sum(above) > 0, "the example tells some methods apart"


def test_all_intervals_at_once_hold_the_areas_of_endlessly_many_seeds() -> None:
    """Sixty repetitions of three methods and ten seeds."""
    random = np.random.default_rng(11)
    held, ranked, wide = 0, 0, []
    for _ in range(60):
        last, share = seeds_made(random, 3, 10)
        truth = np.array([slow_area(np.where(own >= 0.5, 1.0, 0.5)[..., None]) for own in share])
        found = areas(atlas_made(last), "last")
        held += bool(((found.low <= truth + 1e-9) & (truth <= found.high + 1e-9)).all())
        rank = 1 + (truth[None, :] > truth[:, None] + 1e-9).sum(axis=1)
        ranked += bool(((found.first <= rank) & (rank <= found.last)).all())
        wide.append(found.high - found.low)
    assert held >= 54
    assert ranked >= 57
    assert np.mean(wide) < 0.7, "they say something"
