"""The atlas's further studies, and the sequel's tables: what they train, as their files say."""

import itertools
from collections.abc import Sequence

import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.studies import experiment_cells

TABLES = {
    "atlas_digits": ("load_digits", 0.5, 2000),
    "atlas_wine": ("load_wine", 0.9, 3000),
    "atlas_breast_cancer": ("load_breast_cancer", 0.9, 3000),
    "atlas_diabetes": ("load_diabetes", 0.5, 3000),
    "atlas_circles": ("make_circles", 0.95, 5000),
    "atlas_spirals": (None, 0.95, 5000),
}


def rates(cells: Sequence[Cell]) -> dict[str, float]:
    """Each method's one learning rate."""
    found = {(cell.method, cell.optimizer.lr) for cell in cells}
    assert len(found) == len({method for method, _ in found})
    return dict(found)


@pytest.mark.parametrize("name", TABLES)
def test_a_task_has_ten_methods_on_one_grid_each_at_its_rate_of_the_atlas(name: str) -> None:
    cells = experiment_cells(name, "paper")
    own = rates(cells)
    assert len(own) == 10
    assert own.items() <= rates(experiment_cells("atlas_moons", "paper")).items()
    grid = {(cell.method, cell.depth, cell.width) for cell in cells}
    assert grid == {*itertools.product(own, (1, 5, 10, 20, 50, 100), (2, 4, 8, 16))}
    assert len(cells) == len(grid)
    loader, threshold, epochs = TABLES[name]
    for cell in cells:
        assert getattr(cell.dataset, "loader", None) == loader
        assert (cell.dataset.threshold, cell.optimizer.epochs, cell.optimizer.batch_size) == (threshold, epochs, None)


def test_the_quick_atlas_is_a_part_of_the_whole_but_for_its_length() -> None:
    quick, whole = (experiment_cells(name, "paper") for name in ("atlas_quick", "atlas_moons"))
    assert rates(quick) == rates(whole)
    assert {(cell.depth, cell.width) for cell in quick} == {*itertools.product((2, 10, 30, 50, 100), (3, 5, 10))}
    assert {cell.seed for cell in quick} == {0, 1, 2, 3, 4}
    assert {cell.optimizer.epochs for cell in quick} == {2000}


def test_the_sequel_compares_on_five_tables_at_50x4() -> None:
    cells = experiment_cells("sequel_tables", "paper")
    assert {(cell.depth, cell.width, cell.optimizer.lr) for cell in cells} == {(50, 4, 0.001)}
    thresholds = {getattr(cell.dataset, "loader", ""): cell.dataset.threshold for cell in cells}
    easy, hard = ("load_iris", "load_wine", "load_breast_cancer"), ("load_digits", "load_diabetes")
    assert thresholds == {**dict.fromkeys(easy, 0.9), **dict.fromkeys(hard, 0.5)}
    methods = {cell.method for cell in cells}
    assert len(methods) == 16
    assert len(cells) == 16 * 5
    assert {cell.penalty.weight for cell in cells if cell.penalty_weight} == {0.01}
    assert sum(method.startswith("balanced_") for method in methods) == 11
