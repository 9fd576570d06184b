"""Wins, draws and losses: against sign flips counted one by one and Benjamini and Hochberg's steps by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jumpstart_exp.report.statistics.wins import wins


def p_by_flips(differences: list[float]) -> float:
    total = abs(sum(differences))
    flips = [*itertools.product((1, -1), repeat=len(differences))]
    far = [abs(sum(sign * of for sign, of in zip(signs, differences, strict=True))) >= total - 1e-9 for signs in flips]
    return sum(far) / len(flips)


def rejected(p: dict[Any, float]) -> set[Any]:
    """Benjamini and Hochberg's step-up at 0.05."""
    ranked = sorted(p, key=p.__getitem__)
    last = max((rank for rank, one in enumerate(ranked, 1) if p[one] <= 0.05 * rank / len(p)), default=0)
    return {one for one in p if last and p[one] <= p[ranked[last - 1]]}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(6, 8), st.floats(0, 0.5))
def test_wins_are_what_single_flips_and_steps_give(seed: int, seeds: int, gap: float) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(0, 6, (4, 3, seeds)) + 6 * gap * np.arange(4)[:, None, None]
    values[draw.random(values.shape) < 0.05] = np.nan
    p, higher, drawn = {}, {}, np.zeros((4, 4), int)
    for i, j in itertools.combinations(range(4), 2):
        for task in range(3):
            own = [float(of) for of in values[i, task] - values[j, task] if of == of]
            if len(own) >= 6:
                p[i, j, task], higher[i, j, task] = p_by_flips(own), sum(own) > 0
            drawn[i, j] += bool(own)
    won = np.zeros((4, 4), int)
    for i, j, task in rejected(p):
        won[(i, j) if higher[i, j, task] else (j, i)] += 1
        drawn[i, j] -= 1
    found = wins(values)
    np.testing.assert_array_equal(found.won, won)
    np.testing.assert_array_equal(found.drawn, drawn + drawn.T)
    np.testing.assert_array_equal(found.lost, won.T)
    assert found.tests == len(p)


def test_what_is_better_at_every_seed_of_every_task_wins_them_all() -> None:
    values = np.stack([np.full((5, 10), 0.9), np.full((5, 10), 0.2)])
    values[0] += np.linspace(0, 0.05, 10)
    found = wins(values)
    assert found.won.tolist() == [[0, 5], [0, 0]]
    assert (found.tests, found.untested, found.fewest, found.most) == (5, 0, 10, 10)


def test_ties_are_ties_and_a_difference_by_chance_is_a_draw() -> None:
    same = np.tile(np.linspace(0, 1, 8), (2, 3, 1))
    assert wins(same).drawn.tolist() == [[0, 3], [3, 0]]
    swung = np.stack([np.zeros((1, 8)), np.array([[1.0, -1, 1, -1, 1, -1, 1, -0.5]])])
    assert wins(swung).drawn.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(("seeds", "won"), [(5, 0), (6, 1)])
def test_fewer_than_six_seeds_decide_nothing(seeds: int, won: int) -> None:
    found = wins(np.stack([np.ones((1, seeds)), np.zeros((1, seeds))]))
    assert (found.won[0, 1], found.drawn[0, 1]) == (won, 1 - won)
    assert (found.tests, found.untested) == (won, 1 - won)


def test_too_few_seeds_of_one_method_cost_the_others_nothing() -> None:
    """Comparisons that can decide nothing are no tests: the others' correction does not count them."""
    clear = np.stack([np.ones((1, 6)), np.zeros((1, 6))])  # p = 1/32: with three tests none would be decided
    lone = np.full((1, 1, 6), np.nan)
    lone[..., 0] = 0.5
    found = wins(np.concatenate([clear, lone]))
    assert found.won[0, 1] == 1
    assert found.drawn[:2, 2].tolist() == [1, 1]
    assert (found.tests, found.untested) == (1, 2)


def test_methods_without_a_common_seed_are_neither_won_nor_drawn() -> None:
    values = np.full((2, 1, 12), np.nan)
    values[0, 0, :6], values[1, 0, 6:] = 1, 0
    found = wins(values)
    assert not found.won.any() and not found.drawn.any()
    assert (found.tests, found.untested, found.most) == (0, 0, 0)
