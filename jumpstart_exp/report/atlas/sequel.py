"""The sequel's tables (Riera, Puertas and Pujol, 2025): trainability, convergence, wins, draws and losses."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from jumpstart_exp.report.atlas.sequel_figure import COMPARED, compared, wins_figure, wins_told
from jumpstart_exp.report.atlas.sequel_measures import Sequel, sequel_of
from jumpstart_exp.report.captions import means_told
from jumpstart_exp.report.figures.drawing import figure_job
from jumpstart_exp.report.registry import Job, Stored
from jumpstart_exp.report.statistics.intervals import Floats, means
from jumpstart_exp.report.statistics.wins import wins
from jumpstart_exp.report.table.grid import MOMENTS
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.report.tables.table import MISSING, Column, Table, at, interval, table_job

ALL = "all"
"""What stands for all datasets together."""

_REFERENCES = ("sep_up_balanced", "relu")


def sequel_jobs(stored: Stored) -> Iterator[Job]:
    """The tables and the figure of study sequel_tables, if the store has cells of it.

    Raises:
        GridError, StoreError: as of `sequel_of`.
    """
    sequel = sequel_of(StudyTable.of(stored.table), stored.store)
    if sequel is None:
        return
    yield table_job("sequel_trainability", partial(trainability_table, sequel))
    yield table_job("sequel_convergence", partial(convergence_table, sequel))
    for measured in COMPARED:
        yield table_job(f"sequel_wins_{measured}", partial(wins_table, sequel, measured))
    yield figure_job("sequel_wins", partial(wins_figure, sequel))


def trainability_table(sequel: Sequel) -> Table:
    """How many seeds train on each dataset, and on what share of the datasets a seed's networks train."""
    values = pd.concat(
        [_by_dataset(sequel, sequel.trained[moment]).assign(moment=moment) for moment in MOMENTS], ignore_index=True
    ).sort_values("method", key=lambda names: names.map(sequel.methods.index), kind="stable", ignore_index=True)
    values["trained"] = (values["value"] * values["seeds"]).round().where(values["dataset"] != ALL).astype("Int64")
    values["at"] = values["dataset"] + " " + values["moment"]
    columns = [
        Column("method", "{title}", "l"),
        *(Column(name, at("at", f"{name} last", _trained)) for name in sequel.datasets),
        *(
            Column(f"{ALL}, {moment} epoch", at("at", f"{ALL} {moment}", interval("value", "")))
            for moment in ("last", "best")
        ),
    ]
    rules = ", ".join(f"{rule} ({name})" for name, rule in zip(sequel.datasets, sequel.rules, strict=True))
    caption = (
        "Trainability: how many seeds' networks train at the last epoch, that is reach a training score of "
        f"{rules}. Behind it the share of the {len(sequel.datasets)} datasets on which a method's networks train, a "
        f"seed a number; {means_told(*_seed_range(values))}. What diverged or failed does not train."
    )
    return Table(caption, values.astype({"trained": object}), columns, ("method",), shown_only=("at", "title"))


def convergence_table(sequel: Sequel) -> Table:
    """The area under the curve of the training score, dataset by dataset and over all."""
    values = _by_dataset(sequel, sequel.areas)
    columns = [
        Column("method", "{title}", "l"),
        *(Column(name, at("dataset", name, interval("value", ""))) for name in (*sequel.datasets, ALL)),
    ]
    caption = (
        "Convergence: the area under the curve of the training score (accuracy, or R²) over the epochs, divided by "
        "their number; 1 is a network that has trained from the first epoch on. A score below guessing, and all that "
        f"comes after a divergence, counts as guessing. Means over seeds; {means_told(*_seed_range(values))}."
    )
    return Table(caption, values, columns, ("method",), shown_only=("title",))


def wins_table(sequel: Sequel, measured: str) -> Table:
    """Wins, draws and losses over the datasets: against all other methods together, and against some alone.

    Args:
        sequel: what is compared.
        measured: one of COMPARED.
    """
    found = wins(compared(sequel, measured))
    places = [(i, j) for i in range(len(sequel.methods)) for j in range(len(sequel.methods)) if i != j]
    values = pd.DataFrame(
        {
            "method": [sequel.methods[i] for i, _ in places],
            "other": [sequel.methods[j] for _, j in places],
            "won": [int(found.won[place]) for place in places],
            "drawn": [int(found.drawn[place]) for place in places],
            "lost": [int(found.lost[place]) for place in places],
            "title": [sequel.method_titles[i] for i, _ in places],
        }
    )
    titles = dict(zip(sequel.methods, sequel.method_titles, strict=True))
    columns = [
        Column("method", "{title}", "l"),
        Column("against all others", _counts),
        *(
            Column(f"against {titles[name]}", at("other", name, _counts))
            for name in _REFERENCES
            if name in sequel.methods
        ),
    ]
    caption = f"Wins–draws–losses over the {len(sequel.datasets)} datasets, by {COMPARED[measured]}. {wins_told(found)}"
    return Table(caption, values, columns, ("method",), shown_only=("title",))


def _by_dataset(sequel: Sequel, values: Floats) -> pd.DataFrame:
    """Means over seeds with their intervals, a row a method and dataset and one for ALL, of (methods, datasets, seeds).

    Over all datasets a seed counts that has every one of them.
    """
    names = (*sequel.datasets, ALL)
    every = np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)
    of = means(every, (0, 1))
    places = [(i, j) for i in range(len(sequel.methods)) for j in range(len(names))]
    return pd.DataFrame(
        {
            "method": [sequel.methods[i] for i, _ in places],
            "dataset": [names[j] for _, j in places],
            "seeds": (~np.isnan(every)).sum(axis=-1).ravel(),
            "value": of.mean.ravel(),
            **{name: getattr(of, name).ravel() for name in ("low", "high", "least", "most")},
            "title": [sequel.method_titles[i] for i, _ in places],
        }
    )


def _seed_range(values: pd.DataFrame) -> tuple[int, int]:
    """Fewest and most seeds of what has any."""
    seeds = values["seeds"][values["seeds"] > 0]
    return (int(seeds.min()), int(seeds.max())) if len(seeds) else (0, 0)


def _trained(row: Any) -> str:
    return f"{row.trained} of {row.seeds}" if row.seeds else MISSING


def _counts(*rows: Any) -> str:
    return "–".join(str(sum(getattr(row, name) for row in rows)) for name in ("won", "drawn", "lost"))
