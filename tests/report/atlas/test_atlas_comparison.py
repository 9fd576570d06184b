"""Profiles, prediction, stability and cost against plain loops, scikit-learn and SciPy."""

import itertools

import numpy as np
import pytest
from made_atlases import atlas_made, seeds_made
from scipy.stats import binomtest, t
from sklearn.metrics import roc_auc_score

from jumpstart_exp.report.atlas.expense import expense
from jumpstart_exp.report.atlas.prediction import Prediction, predictions
from jumpstart_exp.report.atlas.profiles import profiles
from jumpstart_exp.report.atlas.stability import stability, trained_shares
from jumpstart_exp.report.statistics.intervals import resamples

SHAPE = (3, 3, 3, 10)

# Profiles


def slow_profile(last: np.ndarray, taus: np.ndarray) -> list[float]:
    """One method's, of accuracies (depths, widths, seeds)."""
    shares = [
        np.mean([accuracy >= 0.95 for accuracy in seeds if not np.isnan(accuracy)])
        for seeds in last.reshape(-1, last.shape[-1])
        if not np.isnan(seeds).all()
    ]
    return [float(np.mean([share >= tau - 1e-12 for share in shares])) for tau in taus]


@pytest.mark.parametrize("share_missing", [0.0, 0.3])
def test_a_profile_is_the_share_of_places_that_so_many_seeds_train(share_missing: float) -> None:
    random = np.random.default_rng(1)
    last, _ = seeds_made(random, 3, 10)
    last[random.random(last.shape) < share_missing] = np.nan
    found = profiles(atlas_made(last).grid, "last")
    np.testing.assert_allclose(found.tau, np.arange(1, 11) / 10)
    for method, own in enumerate(last):
        np.testing.assert_allclose(found.share[method], slow_profile(own, found.tau))
        assert found.places[method] == (~np.isnan(own)).any(axis=-1).sum()
    assert (np.diff(found.share, axis=1) <= 0).all()
    assert np.isnan(found.low).all() == (share_missing > 0), "seeds that are missing cannot be resampled together"


def test_bands_are_students_of_the_spread_of_the_resamples() -> None:
    last, _ = seeds_made(np.random.default_rng(1), 3, 10)
    last[2, :, :, :] = 1.0
    found = profiles(atlas_made(last).grid, "last")
    drawn = np.array([slow_profile(last[1][..., seeds], found.tau) for seeds in resamples(10)])
    half = t.ppf(0.975, 9) * drawn.std(axis=0) * np.sqrt(10 / 9)
    np.testing.assert_allclose(found.low[1], np.clip(found.share[1] - half, 0, 1))
    np.testing.assert_allclose(found.high[1], np.clip(found.share[1] + half, 0, 1))
    assert (found.share[2] == 1).all() and np.isnan([found.low[2], found.high[2]]).all(), "all seeds agree"


def test_few_seeds_have_no_band() -> None:
    found = profiles(atlas_made(seeds_made(np.random.default_rng(1), 2, 5)[0]).grid, "best")
    assert np.isnan([found.low, found.high]).all() and not np.isnan(found.share).any()


def test_bands_hold_what_ten_other_seeds_give_on_average() -> None:
    """Sixty repetitions at 72 places."""
    random, depths = np.random.default_rng(6), (*range(1, 25),)

    def drawn() -> np.ndarray:
        return seeds_made(random, 3, 10, depths)[0][1:2]

    taus = np.arange(1, 11) / 10
    truth = np.mean([slow_profile(drawn()[0], taus) for _ in range(500)], axis=0)
    held, known = np.zeros(10), np.zeros(10)
    for _ in range(60):
        found = profiles(atlas_made(drawn(), depths=depths).grid, "last")
        held += (found.low[0] <= truth) & (truth <= found.high[0])
        known += ~np.isnan(found.low[0])
    assert (known >= 58).all()
    assert (held >= 0.8 * known).all() and held.sum() >= 0.9 * known.sum(), held


# Prediction


def predicted(atlas, moment: str = "start") -> dict[str, Prediction]:
    return {each.method: each for each in predictions(atlas) if each.moment == moment}


def census_made(random: np.random.Generator, last: np.ndarray) -> np.ndarray:
    """Dead units, fewer where the network trains; tenths, so that there are ties."""
    return np.round(np.clip(random.normal(0.5 - 0.15 * (last >= 0.95), 0.2), 0, 1), 1)


def pairs_in_order(score: np.ndarray, wins: np.ndarray) -> float:
    """Share of pairs of one place, of (places, seeds), in which the one that trains has the higher score."""
    found = [
        0.5 if one == other else float(one > other)
        for own, trains in zip(score, wins, strict=True)
        for one, other in itertools.product(own[trains], own[~trains])
    ]
    return float(np.mean(found))


def test_the_auc_is_scikit_learns_and_that_of_one_place_of_its_pairs() -> None:
    random = np.random.default_rng(2)
    last, _ = seeds_made(random, 3, 6)
    dead = census_made(random, last)
    last[1, 2, 1, 3] = dead[1, 2, 1, 3] = np.nan
    found = predicted(atlas_made(last, census=dead))
    for method, own in zip(("relu", "sep_up", "rival_0"), range(3), strict=True):
        known = ~np.isnan(dead[own])
        wins, score = last[own] >= 0.95, 1 - dead[own]
        assert found[method].auc == pytest.approx(roc_auc_score(wins[known], score[known]))
        places = [
            (row[has], won[has])
            for row, won, has in zip(*(of.reshape(9, 6) for of in (score, wins, known)), strict=True)
        ]
        counted = [(len(row[won]) * len(row[~won]), row, won) for row, won in places]
        within = sum(count * pairs_in_order(row[None], won[None]) for count, row, won in counted if count)
        assert found[method].within == pytest.approx(within / sum(count for count, *_ in counted))
        assert (found[method].networks, found[method].trained) == (known.sum(), wins[known].sum())
        assert found[method].pairs == sum(count for count, *_ in counted)
        assert found[method].low is None and found[method].within_low is None, "six seeds"


def test_depth_and_width_explain_nothing_at_one_place() -> None:
    """The census follows depth alone, and so does success."""
    last = np.full((2, 3, 3, 4), 0.5)
    last[:, 0] = 1.0
    last[:, 1, :, :2] = 1.0
    dead = np.broadcast_to(np.array([0.1, 0.5, 0.9])[:, None, None], last.shape)
    found = predicted(atlas_made(last, census=dead))["relu"]
    assert found.auc == pytest.approx((18 * 18 - 36 / 2) / 18**2)  # 18 and 18 networks, 6 × 6 ties at the middle depth
    assert found.within == 0.5


def test_intervals_resample_whole_seeds() -> None:
    random = np.random.default_rng(3)
    last, _ = seeds_made(random, 2, 12)
    dead = census_made(random, last)
    dead[0, :, :, 2], last[0, :, :, 2] = np.nan, np.nan  # eleven seeds are left
    kept = [seed for seed in range(12) if seed != 2]
    found = predicted(atlas_made(last, census=dead))["relu"]
    wins, score = (last[0] >= 0.95)[..., kept], 1 - dead[0][..., kept]
    drawn = [roc_auc_score(wins[..., seeds].ravel(), score[..., seeds].ravel()) for seeds in resamples(11)[:400]]
    half = t.ppf(0.975, 10) * np.std(drawn) * np.sqrt(11 / 10)
    assert found.auc is not None and found.low is not None and found.high is not None
    assert found.low == pytest.approx(found.auc - half, abs=0.015)  # 400 of the 2,000 resamples
    assert found.high == pytest.approx(min(1.0, found.auc + half), abs=0.015)
    assert found.within_low is not None and found.within_high is not None and found.within is not None
    assert found.within_low < found.within < found.within_high
    assert found.within_high - found.within_low > found.high - found.low, "fewer pairs"


def test_where_there_is_nothing_to_predict_there_is_no_auc() -> None:
    last = np.full((4, 3, 3, 10), 1.0)
    last[1] = 0.5
    last[2, :, :, 0] = 0.5
    dead = np.full(last.shape, 0.25)
    dead[2, :, :, 0] = 0.75  # told apart wholly, and by one seed
    dead[3] = np.nan  # a smooth activation
    found = predicted(atlas_made(last, census=dead))
    assert {*found} == {"relu", "sep_up", "rival_0"}
    for method in ("relu", "sep_up"):
        assert (found[method].auc, found[method].within, found[method].low) == (None, None, None)
    assert (found["rival_0"].auc, found["rival_0"].within) == (1.0, 1.0)
    assert found["rival_0"].low is None, "a resample without that seed has no pair"


def test_networks_that_diverged_did_not_train() -> None:
    last, lost = np.full((2, 3, 3, 2), 1.0), np.zeros((2, 3, 3, 2), dtype=bool)
    lost[0, 2] = True
    dead = np.where(lost, 0.9, 0.1)
    found = predicted(atlas_made(last, census=dead, diverged=lost))["relu"]
    assert (found.auc, found.networks, found.trained) == (1.0, 18, 12)


# Best against last


def test_stability_counts_what_trained_and_what_is_lost() -> None:
    random = np.random.default_rng(8)
    best = np.where(random.random(SHAPE) < 0.7, 1.0, 0.5)
    last = np.where(random.random(SHAPE) < 0.2, 0.8, best)
    last[2], best[2] = 0.5, 0.5
    last[1, 0, 0, 0] = best[1, 0, 0, 0] = np.nan
    grid = atlas_made(last, best=best).grid
    found = stability(grid)
    for method in range(2):
        good, kept = int((best[method] >= 0.95).sum()), int((last[method] >= 0.95).sum())
        assert (found.best[method], found.last[method]) == (good, kept)
        assert found.lost[method] == pytest.approx((good - kept) / good)
        interval = binomtest(good - kept, good).proportion_ci(method="wilson")
        assert (found.low[method], found.high[method]) == pytest.approx((interval.low, interval.high))
        assert found.networks[method] == 90 - method
    assert np.isnan([found.lost[2], found.low[2]]).all(), "none trained"
    np.testing.assert_allclose(trained_shares(grid, "last"), found.last / found.networks)
    np.testing.assert_allclose(trained_shares(grid, "best"), found.best / found.networks)


# Cost


def test_cost_is_the_median_ratio_to_relu_at_the_same_place_and_seed() -> None:
    random = np.random.default_rng(9)
    seconds = random.uniform(1, 3, SHAPE)
    seconds[1] *= 2
    seconds[1, 0, 0, 0] = np.nan
    n_params = np.broadcast_to(np.array([10, 20, 12])[:, None, None], SHAPE[:3]).copy()
    n_params[1, 2, 2], n_params[2, 0, 0] = 100, 0  # unknown
    grid = atlas_made(np.ones(SHAPE), seconds=seconds, n_params=n_params).grid
    grid.trained_on[2, 1:] = "eager, cuda:0"
    grid.trained_on[2, 0] = "native, cpu"
    found = expense(grid)
    assert found is not None
    ratios = [seconds[1][place] / seconds[0][place] for place in np.ndindex(SHAPE[1:]) if place != (0, 0, 0)]
    assert found.time[1] == pytest.approx(np.median(ratios))
    assert (found.lower[1], found.upper[1]) == pytest.approx((np.quantile(ratios, 0.25), np.quantile(ratios, 0.75)))
    assert found.time[2] == pytest.approx(np.median(seconds[2, 0] / seconds[0, 0])), "those of another engine are not"
    assert found.cells.tolist() == [90, 89, 30]
    assert found.time[0] == 1
    np.testing.assert_allclose(found.parameters, [1, 2, 1.2])
    grid.trained_on[2] = "eager, cuda:0"
    alone = expense(grid)
    assert alone is not None and np.isnan([alone.time[2], alone.lower[2]]).all() and alone.cells[2] == 0
    assert alone.parameters[2] == pytest.approx(1.2), "parameters are known all the same"
    assert expense(atlas_made(np.ones((2, 3, 3, 1)), methods=("he", "crelu")).grid) is None
