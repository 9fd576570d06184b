"""The atlas on the page as a file: what stands in its head and block, and that nothing of it is on other pages."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_stores import DEPTHS, METHODS, WIDTHS, cells, points, write_store
from page_stores import moons, page, part, stored
from study_rows import at_seed
from test_packing import decoded

from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.page.atlas_entries import MOST_BEST
from jumpstart_exp.report.page.contents import page_contents
from jumpstart_exp.report.page.packing import Block
from jumpstart_exp.report.statistics.intervals import wilson
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.store import Store

SEEDS = range(10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("atlas"), SEEDS)


@pytest.fixture(scope="module")
def atlas(store: Store) -> Atlas:
    (found,) = atlases(store.cells(), store)
    return found


@pytest.fixture(scope="module")
def contents(store: Store, atlas: Atlas) -> tuple[dict[str, Any], Block]:
    table = store.cells()
    return page_contents(table, store, figure_grids(table), atlases=[atlas])


def entry(contents: tuple[dict[str, Any], Block]) -> dict[str, Any]:
    (found,) = contents[0]["atlases"]
    return dict(found)


def trains(method: str, depth: int, width: int, at_epoch: str) -> int:
    """Of a place's seeds, how many of the made-up networks train."""
    of = next(each for each in cells() if (each.method, each.depth, each.width) == (method, depth, width))
    return sum(points(at_seed(of, seed), at_epoch) / 85 >= 0.95 for seed in SEEDS)


def test_every_place_has_its_seeds_and_how_many_train(contents: tuple[dict[str, Any], Block]) -> None:
    methods = [each["label"] for each in entry(contents)["methods"]]
    assert {*methods} == {*METHODS}
    assert (decoded(contents[1], "atlas0.seeds") == len(SEEDS)).all()
    for at_epoch in ("best", "last"):
        wanted = np.array([[[trains(m, d, w, at_epoch) for w in WIDTHS] for d in DEPTHS] for m in methods])
        assert 0 < wanted.sum() < wanted.size * len(SEEDS)
        np.testing.assert_array_equal(decoded(contents[1], f"atlas0.trained_{at_epoch}"), wanted)
        for end, of in zip(("low", "high"), wilson(wanted, np.full(wanted.shape, len(SEEDS))), strict=True):
            np.testing.assert_allclose(decoded(contents[1], f"atlas0.trained_{at_epoch}.{end}"), of, atol=1e-5)


def test_the_ranking_is_by_what_lies_under_the_frontier(contents: tuple[dict[str, Any], Block]) -> None:
    """At width 2 nobody trains: a method's area is half of how deep it gets at width 4, of 50."""
    of = entry(contents)
    reach = {"relu": 1, "he": 10, "sep_up": 10, "gelu": 10}
    found = {of["methods"][each["method"]]["label"]: each for each in of["ranking"]}
    for label, each in found.items():
        assert each["area_last"]["value"] == pytest.approx(reach.get(label, 50) / 50 / 2), label
        assert each["trains_last"] == pytest.approx(
            sum(trains(label, d, w, "last") for d in DEPTHS for w in WIDTHS) / 60, abs=1e-5
        )
        assert each["rank"] == 1 + sum(reach.get(other, 50) > reach.get(label, 50) for other in METHODS)
    assert [each["rank"] for each in of["ranking"]] == [1, 1, 1, 1, 5, 5, 5, 8]
    assert found["relu"]["over"]["relu"] is None
    # better at depths 10 and 50 of width 4, where relu fails, and of width 2 for two seeds in ten; equal elsewhere
    assert found["crelu"]["over"]["relu"]["value"] == pytest.approx(0.5 + (2 + 2 * 0.2) / 6 / 2)
    # every seed says so: it is significant, if not as much as one method by itself could be
    assert of["least_p"] <= found["crelu"]["over"]["relu"]["p"] <= 0.01
    assert of["least_p"] == 2 / 2 ** len(SEEDS)


def test_the_best_and_the_baselines_stand_out(contents: tuple[dict[str, Any], Block]) -> None:
    of = entry(contents)
    labels = [of["methods"][m]["label"] for m in of["emphasised"]]
    assert labels[:MOST_BEST] == [of["methods"][each["method"]]["label"] for each in of["ranking"][:MOST_BEST]]
    assert {"relu", "sep_up"} <= {*labels} and len(labels) == len({*labels}) <= len(of["slots"])
    assert [each["label"] for each in of["baselines"]] == ["relu", "sep_up"]


def test_a_method_leads_to_the_study_of_its_learning_rate(
    contents: tuple[dict[str, Any], Block], store: Store, atlas: Atlas
) -> None:
    grids = figure_grids(store.cells())
    assert len(grids) > 1
    for label, method in zip(atlas.grid.methods, entry(contents)["methods"], strict=True):
        grid = grids[method["cells"]]
        assert grid.settings[label]["optimizer.lr"] == method["rate"] == atlas.rates[label]
        assert grid.slug == contents[0]["studies"][method["cells"]]["slug"]


def test_the_census_of_a_smooth_activation_predicts_nothing(contents: tuple[dict[str, Any], Block]) -> None:
    of = entry(contents)
    gelu = [each["label"] for each in of["methods"]].index("gelu")
    prediction = of["prediction"]
    assert gelu in prediction["unknown"]
    assert sorted([*prediction["unknown"], *(each["method"] for each in prediction["rows"])]) == [*range(len(METHODS))]
    # seeds have a tenth of a unit more dead the later they are, and 0 and 1 alone train at width 2
    he = next(each for each in prediction["rows"] if of["methods"][each["method"]]["label"] == "he")
    assert he["start_within"]["value"] == 1


def test_what_is_lost_after_the_best_epoch_is_counted(contents: tuple[dict[str, Any], Block]) -> None:
    of = entry(contents)
    for each in of["stability"]:
        label = of["methods"][each["method"]]["label"]
        best, last = (sum(trains(label, d, w, e) for d in DEPTHS for w in WIDTHS) for e in ("best", "last"))
        assert (each["networks"], each["trained_best"], each["trained_last"]) == (60, best, last)
        assert each["lost"]["value"] == pytest.approx((best - last) / best, abs=1e-5)


def test_what_is_not_trained_yet_is_told(tmp_path: Path) -> None:
    store = write_store(tmp_path, seeds=[0])
    write_store(tmp_path, seeds=[1], methods=["he"])
    table = store.cells()
    keep = table[(table["method"] != "gelu") | (table["depth"] != 50)]
    (atlas,) = atlases(keep.reset_index(drop=True), store)
    table = keep.reset_index(drop=True)
    head, block = page_contents(table, store, figure_grids(table), atlases=[atlas])
    (of,) = head["atlases"]
    assert of["missing"] == len(WIDTHS)
    assert sorted((each["fewest_seeds"], each["most_seeds"]) for each in of["methods"])[-1] == (2, 2)
    assert all(each["ranks"] is None and each["area_last"]["low"] is None for each in of["ranking"])
    gelu = [each["label"] for each in of["methods"]].index("gelu")
    assert decoded(block, "atlas0.seeds")[gelu].tolist() == [[1, 1], [1, 1], [0, 0]]
    json.dumps(head, allow_nan=False)


def test_a_page_without_an_atlas_has_nothing_of_one(tmp_path: Path) -> None:
    text = page(stored(tmp_path, moons()), tmp_path / "page.html")
    outside = text[: text.index("<script>")]
    assert "atlas" not in outside.lower() and "atlases" not in json.loads(part(text, "head"))


def test_the_command_puts_the_atlas_on_the_page(tmp_path: Path, store: Store) -> None:
    own = write_store(tmp_path, seeds=[0, 1])
    folder = f"results_dir={tmp_path}"
    assert main(["only=page", folder]) == 0
    text = (tmp_path / "report.html").read_text()
    (of,) = json.loads(part(text, "head"))["atlases"]
    assert of["study"] == "atlas_moons" and '<section id="atlas"' in text
    assert of["commands"] == {
        "train": "python -m jumpstart_exp -m +experiment=atlas_moons seed=0,1",
        "draw": "python -m jumpstart_exp.report atlas summary=write",
    }
    assert main(["only=page", "redraw=all", f"results_dir={own.results_dir}"]) == 0
    assert (tmp_path / "report.html").read_text() == text


def test_an_atlas_takes_a_bounded_part_of_the_page(store: Store, atlas: Atlas) -> None:
    """Of 44 methods at 24 depths × 9 widths, with as little repetition as there can be, at two seeds."""
    shape = (44, 24, 9, 2)
    drawn = np.random.Generator(np.random.PCG64(0))
    grid, accuracy = (
        atlas.grid,
        {f"{of}_{at}": drawn.uniform(0.9, 1, shape) for of in ("train_acc", "val_acc") for at in ("best", "last")},
    )
    none = np.zeros(shape, np.bool_)
    labels = (*grid.methods, *(f"method {number}" for number in range(44 - len(grid.methods))))
    large = dataclasses.replace(
        atlas,
        grid=dataclasses.replace(
            grid,
            methods=labels,
            method_titles=labels,
            depths=tuple(range(1, 25)),
            widths=tuple(range(1, 10)),
            seeds=(0, 1),
            n_params=np.full(shape[:3], 7),
            accuracy=accuracy,
            present=~none,
            diverged=none,
            failed=none,
            seconds=drawn.uniform(1, 2, shape),
            trained_on=np.full(shape, "native, cpu", dtype=object),
        ),
        rates=dict.fromkeys(labels, 0.001),
        census={name: drawn.uniform(0, 0.5, shape) for name in atlas.census},
    )
    table = store.cells()
    grids = figure_grids(table)
    sizes = [
        len(json.dumps(head)) + len(block.text())
        for head, block in (page_contents(table, store, grids, atlases=of) for of in ([], [large]))
    ]
    assert 50_000 < sizes[1] - sizes[0] < 400_000
