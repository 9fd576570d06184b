"""The atlas's frontiers: where the lines are, what tells none from missing and the grid's end, and whose they are."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_atlases import atlas_made, seeds_made
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.frontier_figures import families_figure, frontier_figure, spread_out
from jumpstart_exp.report.atlas.looks import MOST, emphasised
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.statistics.frontier import frontier

DEEPEST = 10


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with plain_style():
        yield


def made(trains: dict[str, list[list[float]]], seeds: int = 1) -> Atlas:
    """Of methods whose seeds all train, 1, or not, 0, or are missing, NaN: lists over depths (1, 5, 10) of widths."""
    last = np.repeat(np.array([*trains.values()], np.float64)[..., None], seeds, axis=-1)
    return atlas_made(np.where(last == 0, 0.5, last), methods=[*trains])


def heights(panel: Axes, name: str) -> list[float]:
    return [float(y) for line in panel.lines if line.get_gid() == name for y in np.atleast_1d(line.get_ydata())]


def shown(figure: Figure) -> list[Axes]:
    return [panel for panel in figure.axes if panel.get_visible()]


def ticks(figure: Figure) -> list[str]:
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def caption(figure: Figure) -> str:
    return " ".join(figure._supxlabel.get_text().split())


ALL, NONE = [[1.0] * 3] * 3, [[0.0] * 3] * 3


def test_a_line_has_the_depths_and_the_bands_the_grids_end_and_none() -> None:
    atlas = made({"relu": [[0, 1, 1], [0, 1, 1], [0, 0, 1]], "sep_up": ALL, "crelu": ALL, "he": NONE})
    figure = frontier_figure(atlas)
    assert [panel.get_title() for panel in figure.axes] == ["last epoch", "best epoch"]
    for panel in figure.axes:
        none, at_five, end = heights(panel, "relu")
        assert at_five == 5
        assert none < 0
        assert end > DEEPEST
        of_all = {method: {*heights(panel, method)} for method in ("sep_up", "crelu")}
        assert all(len(of) == 1 and min(of) > DEEPEST for of in of_all.values())
        assert of_all["sep_up"] != of_all["crelu"]
        assert max(heights(panel, "he")) < 0
        assert not any(str(text.get_gid()).startswith("open") for text in panel.texts)
    assert "missing" not in ticks(figure)
    assert "Missing" not in caption(figure)
    assert "No point" not in caption(figure)


def test_what_is_missing_is_neither_none_nor_a_failure() -> None:
    lacks = [[0.0, 0, np.nan], [np.nan, 0, 0], [0, 0, 1]]
    atlas = made({"relu": lacks, "sep_up": ALL, "crelu": [[1, np.nan, 1]] * 3})
    figure = frontier_figure(atlas)
    for panel in figure.axes:
        first, second, third = heights(panel, "relu")
        assert np.isnan(first)
        assert second < 0
        assert third > DEEPEST
        (mark,) = heights(panel, "missing relu")
        assert mark < second
        assert mark in panel.get_yticks()
        assert panel.get_ylim()[0] < mark
        assert np.isnan(heights(panel, "crelu")).tolist() == [False, True, False]
        assert not heights(panel, "missing crelu")
    assert "missing" in ticks(figure)
    assert "Missing: a depth that would decide is not in the store." in caption(figure)
    assert "No point: no network of that width is in the store." in caption(figure)


def test_the_missing_of_one_moment_are_seen_in_both_panels() -> None:
    """At its best epoch the method trains before the missing depth, at the last one it does not."""
    trains = np.array([ALL, [[0.0, 1, 1], [np.nan, 1, 1], [0.0, 1, 1]]])[..., None]
    best = np.where(trains == 0, 1.0, trains)
    best[1, 2] = np.where(np.isnan(best[1, 2]), np.nan, 0.5)
    atlas = atlas_made(np.where(trains == 0, 0.5, trains), best=best, methods=("relu", "sep_up"))
    last, at_best = frontier_figure(atlas).axes
    assert heights(last, "missing sep_up")
    assert not heights(at_best, "missing sep_up")
    assert last.get_ylim() == at_best.get_ylim()
    assert last.get_ylim()[0] < heights(last, "missing sep_up")[0]


@pytest.mark.parametrize("everywhere", [True, False])
def test_where_the_store_ends_before_the_grid_an_arrow_says_at_least(everywhere: bool) -> None:
    deep = [np.nan] * 3 if everywhere else [np.nan, 0.0, 1.0]
    atlas = made({"relu": ALL, "sep_up": [[1.0] * 3, [1.0] * 3, deep]})
    figure = frontier_figure(atlas)
    arrows = [text for text in figure.axes[0].texts if text.get_gid() == "open sep_up"]
    assert len(arrows) == (3 if everywhere else 1)
    assert heights(figure.axes[0], "sep_up")[0] == 5
    assert "Arrows: at least" in caption(figure)


@pytest.mark.parametrize("seeds", [1, 5, 10])
def test_intervals_where_seeds_suffice_and_the_seeds_themselves_where_not(seeds: int) -> None:
    last, _ = seeds_made(np.random.default_rng(3), 4, seeds)
    atlas = atlas_made(last)
    figure = frontier_figure(atlas)
    for panel, at_epoch in zip(figure.axes, ("last", "best"), strict=True):
        for method in atlas.grid.methods:
            points = frontier(atlas.grid, at_epoch, method, start="first").points
            bars, dots = heights(panel, f"interval {method}"), heights(panel, f"seeds {method}")
            ends = [end for point in points if point.low != point.high for end in (point.low, point.high)]
            assert [of_height(y) for y in bars] == ends
            each = [depth for point in points if point.low is None and seeds > 1 for depth in point.each]
            assert [of_height(y) for y in dots] == each
    told = caption(figure)
    assert ("Bars: " in told, "Dots: " in told, "One seed: " in told) == (seeds == 10, seeds == 5, seeds == 1)


def of_height(y: float) -> int:
    return 0 if y < 0 else min(round(y), DEEPEST)


@pytest.mark.parametrize("count", [2, 10, 44])
def test_every_method_is_drawn_and_those_that_stand_out_are_named_at_their_ends(count: int) -> None:
    last, _ = seeds_made(np.random.default_rng(1), count, 3)
    atlas = atlas_made(last)
    figure, chosen = frontier_figure(atlas), emphasised(atlas)
    assert len(chosen) == min(count, MOST)
    for panel, at_epoch in zip(figure.axes, ("last", "best"), strict=True):
        for method in atlas.grid.methods:
            points = frontier(atlas.grid, at_epoch, method, start="first").points
            drawn = heights(panel, method)
            assert [of_height(y) for y in drawn] == [point.depth or 0 for point in points]
        names = {str(text.get_gid()).removeprefix("name "): text for text in panel.texts}
        assert [*names] == [*chosen]
        assert [text.get_text() for text in names.values()] == [f"the {method}" for method in chosen]
        ends = sorted(chosen, key=lambda method: heights(panel, method)[-1])
        places = [names[method].get_position()[1] for method in ends]
        low, high = panel.get_ylim()
        assert min(np.diff(places)) > 0.03 * (high - low)
        assert low <= places[0]
        assert places[-1] <= high
        assert all(heights(panel, f"tie {method}")[-1] == names[method].get_position()[1] for method in chosen)
    assert ("Grey: 36 others." in caption(figure)) == (count == 44)


def test_every_method_is_named_in_its_familys_panel() -> None:
    last, _ = seeds_made(np.random.default_rng(1), 44, 2)
    figure = families_figure(atlas_made(last))
    named = [text.get_text() for panel in shown(figure) for text in panel.texts]
    assert sorted(named) == sorted(["the relu", "the sep_up", *(f"the rival_{number}" for number in range(42))])


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_names_are_apart_and_in_order(places: list[float]) -> None:
    found = spread_out(places, 5.0, -50.0, 50.0)
    order = sorted(range(len(places)), key=lambda at: (places[at], -at))
    assert all(np.diff(found[order]) >= 5 - 1e-9)
    assert found.min() >= -50 - 1e-9
    assert found.max() <= 50 + 1e-9


def test_names_with_room_stay_where_their_lines_end() -> None:
    assert spread_out([3.0, -20.0, 40.0], 5.0, -50.0, 50.0).tolist() == [3.0, -20.0, 40.0]
    assert spread_out([0.0, 0.0], 5.0, -50.0, 50.0).tolist() == [2.5, -2.5]
