"""The atlas's heatmaps in small: their order, what they show, and where the contours of theory lie."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from made_atlases import atlas_made, seeds_made
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from jumpstart_exp.report.atlas.area import areas, ranking
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.multiples import DEAD, LENGTHS, multiples_figure, multiples_jobs
from jumpstart_exp.report.atlas.theory import dead_point, depth_over_width
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.statistics.success import train_shares

DEPTHS, WIDTHS = (1, 5, 10, 50, 150), (1, 2, 10)
SETTINGS = {
    "relu": {"network.layout": "mlp", "network.init": "glorot_uniform"},
    "he": {"network.layout": "mlp", "network.init": "he_normal"},
    "gelu": {"network.layout": "mlp", "network.init": "he_normal", "network.activation": "gelu"},
}


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with plain_style():
        yield


def made(methods: Sequence[str], seeds: int = 3) -> Atlas:
    last, _ = seeds_made(np.random.default_rng(0), len(methods), seeds, DEPTHS)
    atlas = atlas_made(last, depths=DEPTHS, widths=WIDTHS, methods=methods)
    settings = {method: SETTINGS.get(method, {}) for method in methods}
    return dataclasses.replace(atlas, grid=dataclasses.replace(atlas.grid, settings=settings))


def panels(figure: Figure) -> dict[str, Axes]:
    return {str(panel.get_gid()): panel for panel in figure.axes if panel.get_gid()}


def contours(panel: Axes) -> list[QuadContourSet]:
    return [found for found in panel.collections if isinstance(found, QuadContourSet)]


@pytest.mark.parametrize("at_epoch", ["best", "last"])
def test_every_panel_shows_the_shares_of_its_method_in_the_given_order(at_epoch: str) -> None:
    atlas = made(("relu", "he", "gelu", "rezero"))
    order = ("gelu", "relu", "rezero", "he")
    found = panels(multiples_figure(atlas, order, at_epoch))
    assert [*found] == [*order]
    shares, ranks = train_shares(atlas.grid, at_epoch).share, areas(atlas, "last")
    for method, panel in found.items():
        place = atlas.grid.methods.index(method)
        np.testing.assert_array_equal(panel.images[0].get_array(), shares[place].T)
        told = f"{ranks.rank[place]}. the {method}, {ranks.area[place]:.2f}\nrate 0.01"
        assert panel.get_title() == told


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (("relu",), "order=he is left out: "),
        (("relu", "he", "he"), "order=he,he stands in it wrongly: "),
        (("relu", "he", "selu"), "order=selu stands in it wrongly: "),
    ],
)
def test_another_order_than_the_methods_is_refused(order: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}it has to be the methods of atlas_moons, each once$"):
        multiples_figure(made(("relu", "he")), order, "last")


def test_contours_lie_where_theory_has_their_levels_and_only_where_it_is_stated() -> None:
    atlas = made(("relu", "he", "gelu"))
    found = {
        method: contours(panel) for method, panel in panels(multiples_figure(atlas, ranking(atlas), "last")).items()
    }
    assert {method: [[*lines.levels] for lines in of] for method, of in found.items()} == {
        "relu": [[DEAD]],
        "he": [[*LENGTHS], [DEAD]],
        "gelu": [],
    }
    for lines, formula in zip(found["he"], (depth_over_width, dead_point), strict=True):
        for level, path in zip(lines.levels, lines.get_paths(), strict=True):
            assert len(path.vertices) > 20
            x, y = path.vertices.T
            depths, widths = np.interp(x, range(len(DEPTHS)), DEPTHS), np.interp(y, range(len(WIDTHS)), WIDTHS)
            np.testing.assert_allclose(formula(depths, widths), level, rtol=0.03)


def test_what_is_missing_is_grey_and_told() -> None:
    last, _ = seeds_made(np.random.default_rng(0), 3, 4)
    last[1, 2, 0] = np.nan
    last[1, 0, 1, 2:] = np.nan
    atlas = atlas_made(last, methods=("relu", "he", "gelu"))
    found = panels(multiples_figure(atlas, ranking(atlas), "last"))
    for method, panel in found.items():
        grey = np.argwhere(np.ma.getmaskarray(panel.images[0].get_array())).tolist()
        assert grey == ([[0, 2]] if method == "he" else [])
        assert panel.get_title().endswith("; fewer seeds at 2 places") == (method == "he")


@pytest.mark.parametrize(("count", "size"), [(1, (1, 1)), (10, (5, 2)), (44, (5, 9))])
def test_all_methods_are_on_one_page(count: int, size: tuple[int, int]) -> None:
    atlas = made([f"rival_{number}" for number in range(count)])
    figure = multiples_figure(atlas, ranking(atlas), "last")
    found = panels(figure)
    assert len(found) == count
    columns, rows = size
    shape = found[ranking(atlas)[0]].get_subplotspec().get_gridspec()
    assert (shape.ncols, shape.nrows) == (columns, rows)
    wide, high = figure.get_size_inches()
    assert wide <= 8.27
    assert high <= 11.69


def test_each_moment_has_a_file() -> None:
    atlas = made(("relu", "he"))
    assert len([*multiples_jobs(atlas, ranking(atlas))]) == 2
