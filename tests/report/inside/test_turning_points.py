"""Where a training turns, and which epochs are kept, on curves written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.inspect.turning_points import (
    Collapse,
    TurningPoints,
    epochs_to_keep,
    largest,
    spread,
    turning_points,
)


def turns(accuracy: list[float], chance: float = 0.5) -> TurningPoints:
    return turning_points(np.arange(1, len(accuracy) + 1), np.array(accuracy), chance)


def test_epochs_are_those_of_the_parameters_that_an_epoch_sees() -> None:
    """The first row's accuracy is that of the initial parameters: 0 epochs done."""
    found = turns([0.5, 0.6, 0.7, 1.0, 0.9])
    assert (found.onset, found.best) == (2, 3)
    assert turns([1.0, 0.9]).best == 0


def test_a_network_that_never_learns_has_no_turn() -> None:
    for accuracy in ([0.5] * 9, [0.5, 0.61, 0.4], [0.2, 0.3]):
        found = turns(accuracy)
        assert found.onset is None and found.collapses == ()
    assert turns([]) == TurningPoints(None, None, ())
    assert turns([0.5, np.nan, 1.0]) == TurningPoints(None, None, ())


def test_a_collapse() -> None:
    found = turns([0.5, 1.0, 1.0, 1.0, 0.8, 0.6, 0.55, 0.7, 0.95, 1.0, 0.9])
    assert found.collapses == (Collapse(before=3, after=5, bottom=6, back=8, settled=9, held=4, lost=3),)


def test_a_collapse_that_nothing_follows() -> None:
    found = turns([1.0, 1.0, 0.5, 0.4, 0.45])
    assert found.collapses == (Collapse(before=1, after=2, bottom=3, back=None, settled=None, held=2, lost=2),)


def test_a_dip_is_no_collapse_and_what_flickers_is_no_solution() -> None:
    assert turns([0.5, 1.0, 0.76, 0.8, 1.0]).collapses == ()
    flicker = [0.5, 1.0] * 5
    accuracy = [1.0] * 200 + flicker + [1.0] * 200
    (found,) = turns(accuracy).collapses
    assert (found.before, found.after, found.back, found.held) == (199, 200, 209, 200)


def test_the_largest_held_or_were_lost_longest() -> None:
    accuracy = [1.0] * 5 + [0.5] * 2 + [1.0] * 20 + [0.5] + [1.0] * 3 + [0.5] * 30 + [1.0] * 2
    collapses = turns(accuracy).collapses
    assert [(one.held, one.lost) for one in collapses] == [(5, 2), (20, 1), (3, 30)]
    assert largest(collapses, 2) == collapses[1:]
    assert largest(collapses, 1) == collapses[2:]
    assert largest(collapses, 0) == ()


@given(st.integers(0, 30_000), st.integers(2, 300))
def test_spread_epochs(last: int, count: int) -> None:
    epochs = spread(last, count)
    assert epochs == sorted(set(epochs)) and epochs[0] == 0 and epochs[-1] == last
    assert len(epochs) <= count + 2
    if last < count:
        assert epochs == list(range(last + 1))
    else:
        gaps = np.diff(epochs)
        assert gaps.max() <= last / max(count // 2, 1) + 1


@given(st.lists(st.sampled_from([0.5, 0.7, 0.9, 1.0]), min_size=1, max_size=300), st.integers(2, 120))
def test_kept_epochs_are_of_the_training_and_not_many_more_than_asked(accuracy: list[float], count: int) -> None:
    last = len(accuracy)
    epochs = epochs_to_keep(turns(accuracy), last, count)
    assert epochs == sorted(set(epochs)) and epochs[0] == 0 and epochs[-1] == last
    assert len(epochs) <= count + 5


def test_the_turns_are_kept() -> None:
    accuracy = [0.5] * 300 + [1.0] * 400 + [0.55] * 40 + [0.95] * 10 + [1.0] * 250
    epochs = epochs_to_keep(turns(accuracy), 1000, 40)
    assert {0, 300, 699, 700, 740, 750, 1000} <= set(epochs)
    assert 499 in epochs, "the old solution in the middle of its time"


def test_chance_is_given() -> None:
    assert turns([0.1, 0.3, 0.5], chance=0.1).onset == 1
    assert turns([0.1, 0.3, 0.5], chance=0.5).onset is None


@pytest.mark.parametrize("count", [1, 2])
def test_few_states(count: int) -> None:
    assert spread(100, count)[0] == 0 and spread(100, count)[-1] == 100
