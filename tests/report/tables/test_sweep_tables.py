"""Tables over swept settings."""

import numpy as np
import pandas as pd
from stored_tables import grid_rows, table

from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.table.sweeps import Sweep, sweeps
from jumpstart_exp.report.tables.sweeps import best_values_table, values_table
from jumpstart_exp.report.tables.table import as_latex, as_markdown


def crossed() -> Sweep:
    """Sep-UP trains at λ = 1e-4 alone, ReLU at a learning rate of 0.01 and depth 1."""
    rows = []
    for rate in (0.01, 0.001):
        rows += grid_rows(
            ["relu"], [1, 5], [2], [0, 1], lambda c: 0.96 if c.optimizer.lr == 0.01 and c.depth == 1 else 0.6,
            optimizer__lr=rate,
        )  # fmt: skip
        for weight in (1e-5, 1e-4, 1e-3):
            rows += grid_rows(
                ["sep_up"], [1, 5], [2], [0, 1], lambda c: 0.98 + c.optimizer.lr if c.penalty.weight == 1e-4 else 0.7,
                optimizer__lr=rate, penalty__weight=weight,
            )  # fmt: skip
    cells = table(rows)
    (sweep,) = sweeps(figure_grids(cells), cells)
    return sweep


def test_every_value_of_every_method_is_a_row_with_its_share_and_accuracies() -> None:
    made = values_table(crossed())
    values = made.values[made.values["moment"] == "best"].set_index(["method", "penalty.weight", "optimizer.lr"])
    assert len(values) == 2 + 6
    trained = values.loc[("sep_up", 1e-4, 0.01)]
    assert (trained["trained"], trained["networks"], trained["share"], trained["best"]) == (4, 4, 1.0, 1)
    np.testing.assert_allclose([trained["train_acc"], trained["val_acc"]], [0.99, 0.94])
    relu = values.loc[("relu", "", 0.01)]
    assert (relu["trained"], relu["networks"], relu["best"]) == (2, 4, 1)
    text = as_markdown(made)
    assert "| penalty.weight=0.0001, optimizer.lr=0.01 | 4 of 4 | 1.00 (1.00 to 1.00) | 0.990 | 0.940 | best |" in text
    assert as_latex(made).count("\\\\") > 16


def test_the_best_value_of_every_pair_is_a_row() -> None:
    made = best_values_table(crossed())
    values = made.values[made.values["moment"] == "best"].set_index(["method", "depth"])
    assert values.loc[("sep_up", 5), ["penalty.weight", "optimizer.lr", "trained", "seeds"]].tolist() == [
        1e-4,
        0.01,
        2,
        2,
    ]
    assert values.loc[("relu", 5), ["optimizer.lr", "none", "trained"]].tolist() == ["", "no network trains", ""]
    assert values.loc[("relu", 1), ["penalty.weight", "optimizer.lr"]].tolist() == ["", 0.01]
    assert "| Sep-UP | best | 5×2 | penalty.weight=0.0001, optimizer.lr=0.01 | 2 of 2 |" in as_markdown(made)
    assert "| ReLU | best | 5×2 | no network trains | – |" in as_markdown(made)
    assert isinstance(made.values, pd.DataFrame)
