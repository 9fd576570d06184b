"""The papers' tables, against numbers counted by hand."""

import pytest
from stored_tables import MNIST, cell, row, table

from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.tables.summaries import paper_summary_table, performance_table
from jumpstart_exp.report.tables.table import Table, as_markdown

METHODS = [("relu", "Baseline"), ("sep_up", "Jumpstart")]


def mnist(accuracies: dict[tuple[str, int, int, int], float | None]) -> list[dict]:
    rows = []
    for (method, depth, width, seed), accuracy in accuracies.items():
        of = cell(method, depth, width, seed, **MNIST)
        rows.append(row(of, accuracy, "done" if accuracy is not None else "failed"))
    return rows


def cells_of(table: Table) -> dict[str, list[str]]:
    lines = (line[2:-2].split(" | ") for line in as_markdown(table).splitlines()[4:])
    return {name: cells for name, *cells in lines}


ACCURACIES = {
    ("relu", 4, 2, 0): 0.90,
    ("relu", 4, 2, 1): 0.80,  # mean 0.85
    ("sep_up", 4, 2, 0): 0.70,
    ("sep_up", 4, 2, 1): 0.94,  # mean 0.82: the best network, not the best pair
    ("relu", 8, 2, 0): 0.12,
    ("relu", 8, 2, 1): 0.11,
    ("sep_up", 8, 2, 0): 0.60,
    ("sep_up", 8, 2, 1): None,  # so only seed 0 counts at this pair
    ("relu", 12, 2, 0): 0.5,
    ("sep_up", 12, 2, 0): 0.5,  # a tie
}


def test_cpaior_s_table_has_the_best_network_those_that_train_and_the_pairs_won() -> None:
    (grid,) = figure_grids(table(mnist(ACCURACIES)))
    made = paper_summary_table(grid, METHODS, "best", "MNIST")
    found = cells_of(made)
    assert found["Best overall accuracy"] == ["0.9000 (4×2)", "0.8500 (4×2)", "0.9400 (4×2)", "0.8900 (4×2)"]
    # twice the share of the largest of ten classes: 2 · 6742 / 60000 = 0.2247
    assert found["Successful model"] == ["3 of 5", "3 of 5", "4 of 5", "4 of 5"]
    assert found["Best for depth-width pair"] == ["1 of 3", "1 of 3", "1 of 3", "1 of 3"]
    assert made.caption.startswith("MNIST. ") and "0.2247" in made.caption
    heads = "|  | Baseline Training | Baseline Validation | Jumpstart Training | Jumpstart Validation |"
    assert as_markdown(made).splitlines()[2] == heads


def test_another_threshold_counts_other_networks_and_stands_in_the_caption() -> None:
    (grid,) = figure_grids(table(mnist(ACCURACIES)))
    made = paper_summary_table(grid.at_threshold(0.65), METHODS, "best", "MNIST")
    assert cells_of(made)["Successful model"] == ["2 of 5", "2 of 5", "2 of 5", "2 of 5"] and "0.65" in made.caption


def test_a_method_without_a_row_has_dashes() -> None:
    (grid,) = figure_grids(table(mnist({("relu", 4, 2, 0): 0.9})))
    assert all(cells[2:] == ["–", "–"] for cells in cells_of(paper_summary_table(grid, METHODS, "best", "")).values())


def moons(method: str, seed: int, accuracy: float | None, status: str, loss: float) -> dict:
    made = row(cell(method, 50, 4, seed), accuracy, status)
    return made | {
        f"{metric}_{at_epoch}": loss for metric in ("train_loss", "val_loss") for at_epoch in ("best", "last")
    }


def test_maximal_performance_is_the_mean_and_range_of_the_seeds_that_finished() -> None:
    rows = [
        moons("relu", 0, 0.5, "done", 0.69),
        moons("sep_up", 0, 0.8, "done", 0.1),
        moons("sep_up", 1, 1.0, "done", 0.3),
        moons("sep_up", 2, 0.7, "diverged", 9.0),
    ]
    methods = [("relu", "ReLU"), ("sep_up", "Sep-UP"), ("sep_l", "Sep-L")]
    found = cells_of(performance_table(table(rows), methods, "best", ""))
    assert found["Sep-UP"] == [
        "0.900 (0.800–1.000)",
        "0.850 (0.750–0.950)",
        "0.2000 (0.1000–0.3000)",
        "0.2000 (0.1000–0.3000)",
        "2 of 3",
    ]
    assert found["ReLU"] == ["0.500", "0.450", "0.6900", "0.6900", "1"]
    assert found["Sep-L"] == ["–", "–", "–", "–", "0"]
    last = cells_of(performance_table(table(rows), methods, "last", ""))
    assert last["Sep-UP"][0] == "0.800 (0.700–0.900)"


@pytest.mark.parametrize("at_epoch", ["best", "last"])
def test_both_moments_take_their_own_columns(at_epoch: str) -> None:
    (grid,) = figure_grids(table(mnist({("relu", 4, 2, 0): 0.9, ("sep_up", 4, 2, 0): 0.95})))
    found = cells_of(paper_summary_table(grid, METHODS, at_epoch, ""))["Best overall accuracy"]
    assert found[0] == {"best": "0.9000 (4×2)", "last": "0.8000 (4×2)"}[at_epoch]
