"""The atlas's pictures: who stands where, what theory is drawn on which panel, and what it says."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from atlas_stores import write_store
from matplotlib.figure import Figure

from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.atlas.area import areas
from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.atlas.comparison_figures import prediction_figure, profile_figure, stability_figure
from jumpstart_exp.report.atlas.drawn import atlas_jobs
from jumpstart_exp.report.atlas.families import FAMILIES, families, family_of
from jumpstart_exp.report.atlas.frontier_figures import families_figure, frontier_figure
from jumpstart_exp.report.atlas.looks import ALWAYS, MOST, emphasised
from jumpstart_exp.report.atlas.multiples import multiples_figure
from jumpstart_exp.report.atlas.theory import born_dead_at_most, can_be_born_dead, depth_over_width, keeps_its_length
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.statistics.frontier import frontier
from jumpstart_exp.report.statistics.success import train_shares


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    store = write_store(tmp_path_factory.mktemp("atlas"))
    (found,) = atlases(store.cells(), store)
    return found


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with plain_style():
        yield


def lines(figure: Figure, method: str) -> list[np.ndarray]:
    return [line.get_ydata() for panel in figure.axes for line in panel.lines if line.get_gid() == method]


def test_every_method_has_the_family_that_its_settings_say() -> None:
    found: dict[str, set[str]] = {name: set() for name in FAMILIES}
    for cell in experiment_cells("atlas_moons", "paper"):
        if cell.depth == 50 and cell.width == 4:
            found[family_of(dict(cell.description()))].add(cell.method)
    weights, activations, modules, others, penalties, on_top = (found[name] for name in FAMILIES)
    assert weights == {"relu", "he", "orthogonal", "block_orthogonal", "asymmetric", "deep_narrow"}
    assert activations == {
        *("leaky_relu", "leaky_relu_0.1", "leaky_relu_0.3", "prelu", "tat", "crelu"),
        *("elu", "selu", "gelu", "silu", "tanh"),
    }
    assert modules == {"relu_bn", "layer_norm", "residual", "rezero", "fixup"}
    assert others == {"farkas", "dormant_reset", "rai_best"}
    assert penalties == {"sep_u", "sep_p", "sep_up", "sep_l", "zero_init"}
    assert on_top == {cell.method for cell in experiment_cells("atlas_moons", "paper")} - {
        *(weights | activations | modules | others | penalties)
    }
    assert all(method.startswith("sep_up_") for method in on_top)


def test_theory_is_told_of_those_networks_that_it_is_about() -> None:
    settings = {
        cell.method: dict(cell.description()) for cell in experiment_cells("atlas_moons", "paper") if cell.depth == 50
    }
    assert {method for method, of in settings.items() if keeps_its_length(of)} == {"he", "dormant_reset", "sep_up_he"}
    assert {method for method, of in settings.items() if can_be_born_dead(of)} == {
        *("relu", "he", "orthogonal", "sep_u", "sep_p", "sep_up", "sep_l", "sep_up_he", "sep_up_orthogonal"),
        *("dormant_reset", "rai_best"),
    }


def test_one_point_dies_as_often_as_the_bound_says_and_a_network_no_more_often() -> None:
    """10,000 networks of He's weights on one point and on ten."""
    random = np.random.default_rng(0)
    depth, width, networks = 8, 3, 10_000
    for points in (1, 10):
        x = np.broadcast_to(random.standard_normal((2, points)), (networks, 2, points))
        for layer in range(depth):
            weight = random.standard_normal((networks, width, x.shape[1])) * np.sqrt(2 / x.shape[1])
            x = np.maximum(weight @ x, 0)
            assert layer >= 0
        dead = float((x == 0).all(axis=(1, 2)).mean())
        bound = float(born_dead_at_most(depth, width))
        error = 4 * np.sqrt(bound * (1 - bound) / networks)
        if points == 1:
            assert dead == pytest.approx(bound, abs=error)
        else:
            assert dead < bound - error


def test_the_spread_of_lengths_grows_with_depth_over_width() -> None:
    """Of He's weights the mean squared length stays, and its relative variance grows with L/n alone."""
    random = np.random.default_rng(1)
    spread = {}
    for depth, width in ((4, 8), (8, 16), (8, 8)):
        x = np.ones((20_000, width)) / np.sqrt(width)
        for _ in range(depth):
            weight = random.standard_normal((len(x), width, width)) * np.sqrt(2 / width)
            x = np.maximum((weight @ x[..., None])[..., 0], 0)
        length = (x**2).sum(axis=1)
        assert length.mean() == pytest.approx(0.5 * 2, rel=0.15)
        spread[depth, width] = np.log1p(length.var() / length.mean() ** 2)
    assert depth_over_width(4, 8) == depth_over_width(8, 16) < depth_over_width(8, 8)
    assert spread[4, 8] == pytest.approx(spread[8, 16], rel=0.25)
    assert spread[8, 8] > 1.5 * spread[8, 16]


def test_the_frontier_is_drawn_of_every_method_and_last_comes_before_best(atlas: Atlas) -> None:
    figure = frontier_figure(atlas)
    assert [panel.get_title() for panel in figure.axes] == ["last epoch", "best epoch"]
    for method in atlas.grid.methods:
        for drawn, at_epoch in zip(lines(figure, method), ("last", "best"), strict=True):
            points = frontier(atlas.grid, at_epoch, method, start="first").points
            assert drawn.tolist() == [point.depth or 0 for point in points]


def test_every_method_is_in_the_panel_of_its_family(atlas: Atlas) -> None:
    figure = families_figure(atlas)
    shown = {
        panel.get_title(): {line.get_gid() for line in panel.lines} for panel in figure.axes if panel.get_visible()
    }
    assert shown == {name: {*methods} for name, methods in families(atlas).items()}


def test_few_methods_stand_out_and_those_of_the_papers_always(atlas: Atlas) -> None:
    shown = emphasised(atlas)
    assert {*ALWAYS} <= {*shown}
    assert len(shown) == min(MOST, len(atlas.grid.methods))
    order = [atlas.grid.methods[place] for place in areas(atlas, "last").order()]
    assert [*shown] == [method for method in order if method in shown]


@pytest.mark.parametrize("at_epoch", ["best", "last"])
def test_multiples_are_in_the_order_of_the_ranking_and_show_the_shares(atlas: Atlas, at_epoch: str) -> None:
    figure = multiples_figure(atlas, at_epoch)
    panels = [panel for panel in figure.axes if panel.get_gid()]
    order = areas(atlas, "last").order()
    assert [panel.get_gid() for panel in panels] == [atlas.grid.methods[place] for place in order]
    shares = train_shares(atlas.grid, at_epoch).share
    for panel, place in zip(panels, order, strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), shares[place].T)
        contours = len(panel.collections)
        settings = atlas.grid.settings[panel.get_gid()]
        assert contours == int(keeps_its_length(settings)) + int(can_be_born_dead(settings))


def test_what_is_missing_is_grey_and_counts_nowhere(atlas: Atlas) -> None:
    grid = atlas.grid
    present = grid.present.copy()
    place = grid.methods.index("crelu")
    present[place, 2, 0] = False
    accuracy = {name: np.where(present, values, np.nan) for name, values in grid.accuracy.items()}
    partial = dataclasses.replace(atlas, grid=dataclasses.replace(grid, present=present, accuracy=accuracy))
    panel = next(panel for panel in multiples_figure(partial, "last").axes if panel.get_gid() == "crelu")
    assert panel.images[0].get_array().mask[0, 2]
    assert areas(partial, "last").lacking[place] == 1


def test_the_census_is_shown_of_every_method_that_has_one(atlas: Atlas) -> None:
    figure = prediction_figure(atlas)
    titles = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    with_census = [method for method in atlas.grid.methods if method != "gelu"]
    assert {*titles} == {atlas.grid.method_titles[atlas.grid.methods.index(method)] for method in with_census}


def test_profiles_and_stability_show_every_method(atlas: Atlas) -> None:
    assert all(len(lines(profile_figure(atlas), method)) == 2 for method in atlas.grid.methods)
    panel = stability_figure(atlas).axes[0]
    assert len(panel.get_yticklabels()) == len(atlas.grid.methods)
    best, last = (line.get_xdata() for line in panel.lines)
    assert (best >= last).all()


def test_files_are_the_same_when_they_are_drawn_again(atlas: Atlas, tmp_path: Path) -> None:
    names = set()
    for job in atlas_jobs(atlas):
        one, other = job.write(tmp_path / "one"), job.write(tmp_path / "other")
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
        names |= {path.stem for path in one}
    assert names == {
        f"atlas_moons_{what}"
        for what in (
            *("frontier", "families", "ranking", "multiples_best", "multiples_last", "profiles"),
            *("prediction", "stability"),
        )
    }
