"""The learning rate of each method: that of the highest mean training score at the last epoch over a coarse grid."""

from collections.abc import Mapping

import pandas as pd

from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.result import COLUMNS

STUDY = "atlas_rates"

SCORE = COLUMNS["classification"]["train_acc"] + "_last"


def rate_scores(index: StudyTable) -> pd.DataFrame:
    """The mean training accuracy at the last epoch by method (rows) and learning rate, of the study's cells.

    The mean is over depths, widths and seeds; a cell that diverged or failed has 0. A method that lacks a cell at one
    of the rates is left out: a mean over other cells says nothing.
    """
    rows = index.rows_of_experiment(STUDY, "moons")
    if not len(rows):
        return pd.DataFrame()
    rows = rows.assign(**{SCORE: rows[SCORE].where(rows["status"] == "done", 0.0).astype(float)})
    each = rows.explode("labels").rename(columns={"labels": "label"})
    of = each.groupby(["label", "optimizer.lr"])[SCORE].agg(["mean", "size"]).unstack()
    return of["mean"][of["size"].eq(of["size"].max().max()).all(axis=1)]


def best_rates(scores: pd.DataFrame) -> Mapping[str, float]:
    """The rate of each method's highest score; of equal ones the smallest."""
    return {str(method): float(rate) for method, rate in scores.idxmax(axis=1).items()}
