"""The learning rate of each method: that of the highest mean training score at the last epoch over a coarse grid.

One rate for all would favour one method. `atlas_rates` trains every method at several on a coarse grid, over seeds that
the atlas itself does not have: what is compared was not chosen on the same networks.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.table.studies import StudyTable

STUDY = "atlas_rates"
FILE = "rates.csv"

CHOSEN_FROM = (0.001, 0.003, 0.01, 0.03)
"""What a method's rate is chosen from; the study has 0.0003 as well, which tells who would like less than the least."""

COLUMNS = ("method", "learning_rate", "mean", "cells")


def rate_scores(index: StudyTable) -> pd.DataFrame:
    """The mean training accuracy at the last epoch of the study's cells, a row a method and learning rate (COLUMNS).

    The mean is over depths, widths and seeds; a cell that diverged or failed has 0. A method that lacks cells that
    others have, at one of the rates, is left out: means over unlike cells say nothing.
    """
    rows = index.rows_of_experiment(STUDY, "moons")
    rows = rows[rows["seed"].isin(seeds_of_rates())] if len(rows) else rows
    if not len(rows):
        return pd.DataFrame(columns=COLUMNS)
    accuracy = rows["train_acc_last"].where(rows["status"] == "done", 0.0).astype(float)
    each = rows.assign(accuracy=accuracy).explode("labels")
    found = each.groupby(["labels", "optimizer.lr"])["accuracy"].agg(["mean", "size"]).reset_index()
    found.columns = pd.Index(COLUMNS)
    fewest = found.groupby("method")["cells"].transform("min")
    kept: pd.DataFrame = found[fewest == found["cells"].max()].reset_index(drop=True)
    return kept


@cache
def seeds_of_rates() -> frozenset[int]:
    """The seeds by which rates are chosen: of these nothing is compared."""
    return frozenset(cell.seed for cell in experiment_cells(STUDY, "paper"))


def best_rates(scores: pd.DataFrame) -> Mapping[str, float]:
    """Each method's learning rate of the highest mean, one of CHOSEN_FROM; of equal ones the smallest."""
    ordered = scores[scores["learning_rate"].isin(CHOSEN_FROM)]
    ordered = ordered.sort_values(["mean", "learning_rate"], ascending=[False, True]).drop_duplicates("method")
    return {str(method): float(rate) for method, rate in zip(ordered["method"], ordered["learning_rate"], strict=True)}


def write_rates(scores: pd.DataFrame, path: Path) -> Path:
    """Write the means as CSV.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, scores.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    return path


def read_rates(path: Path) -> pd.DataFrame:
    """The means of such a file.

    Raises:
        OSError: it cannot be read.
    """
    return pd.read_csv(path)
