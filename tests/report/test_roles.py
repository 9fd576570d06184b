"""A field that joins a cell at run time lands where its role says, with no line of the report changed."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_tables import cell, row, table

from jumpstart_exp import cell as cells
from jumpstart_exp.config.schema import register_schema
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.report.page.contents import page_contents
from jumpstart_exp.report.page.reproduce import commands
from jumpstart_exp.report.statistics.initialisation import initialisations
from jumpstart_exp.report.statistics.summary import summarise
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.report.tables.summaries import summary_table
from jumpstart_exp.report.tables.table import as_markdown
from jumpstart_exp.settings import setting
from jumpstart_exp.store import Store

Add = Callable[[str, str, type, Any], None]

METHOD: dict[str, Any] = {"low": 0, "neutral": 0, "role": "method"}
STRENGTH: dict[str, Any] = {"low": 0, "neutral": 1.0, "role": "method", "tunes": True}
CONTEXT: dict[str, Any] = {"low": 0, "neutral": 0.0, "role": "context"}


@pytest.fixture
def schema() -> Iterator[None]:
    """Hydra's types are one for the process: afterwards they are without the field again."""
    yield
    register_schema()


@pytest.fixture
def add(schema: None, monkeypatch: pytest.MonkeyPatch) -> Add:
    """Add a field to a part of the cell; its default is its neutral value."""

    def added(part: str, name: str, kind: type, field: dict[str, Any]) -> None:
        own = (name, kind, setting(field["neutral"], **field))
        spec = dataclasses.make_dataclass(
            f"{part.title()}With{name.title()}", [own], bases=(cells.SPECS[part],), frozen=True
        )
        monkeypatch.setitem(cells.SPECS, part, spec)

    return added


def old_rows(*methods: str, depth: int = 2) -> list[dict[str, Any]]:
    """Rows of before the field: they do not have its column."""
    return [row(cell(method, depth, 2, seed), 0.6) for method in methods for seed in (0, 1)]


def shown(grids: list[FigureGrid]) -> dict[str, tuple[str, ...]]:
    """The methods of every figure, by the last part of its title."""
    return {grid.title.split(" · ")[-1]: grid.methods for grid in grids}


def test_a_method_field_tells_methods_of_one_figure_apart(add: Add) -> None:
    old = old_rows("relu", "sep_up")
    (before,) = figure_grids(table(old))
    add("network", "skip", int, METHOD)
    new = [row(cell("residual", 2, 2, seed, network__skip=2), 0.9) for seed in (0, 1)]
    (grid,) = figure_grids(table(old + new))
    assert (grid.methods, grid.title, grid.slug) == (("relu", "sep_up", "residual"), before.title, before.slug)
    np.testing.assert_array_equal(grid.accuracy["train_acc_best"][:, 0, 0], [[0.6] * 2, [0.6] * 2, [0.9] * 2])
    assert grid.penalised == ("sep_up",)
    assert [method.wins["train_acc"] for method in summarise(grid, "best").methods] == [0, 0, 1]
    assert "Skips" in as_markdown(summary_table(grid, "best"))


def test_a_penalised_method_with_the_field_differs_by_more_than_the_penalty(add: Add) -> None:
    add("network", "skip", int, METHOD)
    rows = [row(cell("sep_up", 2, 2, 0), 0.6), row(cell("both", 2, 2, 0, penalty={"kind": "UP"}, network__skip=2), 0.6)]
    assert figure_grids(table(rows))[0].penalised == ("sep_up",)


def test_several_values_under_one_label_are_figures_titled_by_it_and_old_rows_stand_in_all(add: Add) -> None:
    old = old_rows("relu")
    add("network", "skip", int, METHOD)
    new = [row(cell("residual", 2, 2, 0, network__skip=skip), 0.9) for skip in (1, 2)]
    both = ("relu", "residual")
    assert shown(figure_grids(table(old + new))) == {"network.skip=1": both, "network.skip=2": both}
    assert shown(figure_grids(table(old_rows("residual") + new))) == {
        f"network.skip={skip}": ("residual",) for skip in range(3)
    }


def test_a_strength_of_the_penalty_has_no_effect_without_and_its_neutral_value_in_old_rows(add: Add) -> None:
    old = old_rows("relu", "sep_up")
    (before,) = figure_grids(table(old))
    add("penalty", "power", float, STRENGTH)
    new = [row(cell(method, 2, 2, 0, penalty__power=2.0), 0.9) for method in ("sep_up", "sep_p")]
    grids = figure_grids(table(old + new))
    assert shown(grids) == {"penalty.power=1": ("relu", "sep_up"), "penalty.power=2": ("relu", "sep_p", "sep_up")}
    assert [grid.slug == before.slug for grid in grids] == [True, False]


def test_a_strength_of_a_block_leaves_networks_without_it_in_every_figure(add: Add) -> None:
    old = old_rows("relu")
    add("network", "slope", float, STRENGTH)
    leaky = [row(cell("sep_up", 2, 2, 0, network__slope=slope), 0.9) for slope in (0.1, 0.2)]
    grids = figure_grids(table(old + leaky))
    assert shown(grids) == {"network.slope=0.1": ("relu", "sep_up"), "network.slope=0.2": ("relu", "sep_up")}


def test_a_context_field_separates_figures_titled_by_it_and_old_rows_have_its_neutral_value(add: Add) -> None:
    old = old_rows("relu", "sep_up")
    (before,) = figure_grids(table(old))
    add("optimizer", "clip", float, CONTEXT)
    same = [row(cell("relu", 3, 2, 0, optimizer__clip=0.0), 0.7)]
    clipped = [row(cell(method, 2, 2, 0, optimizer__clip=0.5), 0.9) for method in ("relu", "sep_up")]
    one, other = figure_grids(table(old + same + clipped))
    assert [grid.title.split(" · ")[-1] for grid in (one, other)] == ["optimizer.clip=0", "optimizer.clip=0.5"]
    assert (one.slug, one.depths, other.depths) == (before.slug, (2, 3), (2,))
    assert other.slug != before.slug


def test_a_study_has_the_rows_with_the_neutral_value_alone(add: Add) -> None:
    of = next(each for each in study_cells("table2_50x4", "paper") if each.method == "sep_up")
    values = (None, 0.0, 0.5)
    rows = [row(dataclasses.replace(of, seed=seed), 0.6) | {"optimizer.clip": clip} for seed, clip in enumerate(values)]
    add("optimizer", "clip", float, CONTEXT)
    assert StudyTable(table(rows)).rows("table2_50x4", "paper")["seed"].tolist() == [0, 1]


def test_networks_with_a_field_of_their_own_are_no_plain_ones_before_training(add: Add) -> None:
    add("network", "skip", int, METHOD)
    census = {"dead_units_by_layer_start": [0.5, 0.5], "dead_points_by_layer_start": [0.0, 0.5]}
    rows = [row(cell("relu", 2, 2, seed, network__skip=seed), 0.6) | census for seed in (0, 1)]
    ((layout,),) = [dataset.layouts for dataset in initialisations(table(rows))]
    assert layout.seeds.tolist() == [[1]]


def test_the_page_and_the_command_say_it(add: Add, tmp_path: Path) -> None:
    old = old_rows("relu")
    add("network", "skip", int, METHOD)
    add("optimizer", "clip", float, CONTEXT)
    new = [cell("relu", 2, 2, 0, network__skip=2), cell("relu", 2, 2, 0, optimizer__clip=0.5)]
    rows = table(old + [row(of, 0.9) for of in new])
    studies = page_contents(rows, Store(tmp_path), figure_grids(rows))[0]["studies"]
    titles = [study["title"] for study in studies]
    assert len(titles) == 3 and sum("network.skip=2" in title for title in titles) == 1
    assert sum("optimizer.clip=0.5" in title for title in titles) == 1
    made, which = commands(rows)
    typed = [shlex.split(made[number].before + made[number].after) for number in which]
    assert not any("skip" in word or "clip" in word for word in typed[0])
    assert "network.skip=2" in typed[2] and "optimizer.clip=0.5" in typed[3]
