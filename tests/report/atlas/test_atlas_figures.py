"""The atlas's pictures: who stands where and stands out; files are the same when drawn again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from atlas_stores import write_store
from matplotlib.figure import Figure

from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.atlas.area import ranking
from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.atlas.comparison_figures import prediction_figure, profile_figure, stability_figure
from jumpstart_exp.report.atlas.drawn import atlas_jobs
from jumpstart_exp.report.atlas.families import FAMILIES, families, family_of
from jumpstart_exp.report.atlas.frontier_figures import families_figure
from jumpstart_exp.report.atlas.looks import ALWAYS, MOST, emphasised
from jumpstart_exp.report.figures.drawing import plain_style


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


def test_every_method_is_in_the_panel_of_its_family(atlas: Atlas) -> None:
    figure = families_figure(atlas)
    shown = {
        panel.get_title(): {line.get_gid() for line in panel.lines} & {*atlas.grid.methods}
        for panel in figure.axes
        if panel.get_visible()
    }
    assert shown == {name: {*methods} for name, methods in families(atlas).items()}


def test_few_methods_stand_out_and_those_of_the_papers_always(atlas: Atlas) -> None:
    shown = emphasised(atlas)
    assert {*ALWAYS} <= {*shown}
    assert len(shown) == min(MOST, len(atlas.grid.methods))
    assert [*shown] == [method for method in ranking(atlas) if method in shown]


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
