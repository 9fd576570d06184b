"""Which rows of the store belong to a published study, and how much of it is there."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from jumpstart_exp.cell import NUMERICS, Cell, cell_fields
from jumpstart_exp.config.schema import plain_config, split_config
from jumpstart_exp.config.studies import STUDIES, VARIANTS, Study, load_study, study, study_cells
from jumpstart_exp.report.table.fields import described, is_of_method, plain

_Description = frozenset[tuple[str, Hashable]]


@dataclass(frozen=True)
class StudyState:
    """How much of a study's variant the store has, at any seeds.

    `places` are the study's cells without their seeds, `present` those with one seed at least, `complete_seeds` the
    seeds that are there at every place. `seeds` are all that occur.
    """

    study: Study
    variant: str
    places: int
    present: int
    seeds: tuple[int, ...]
    complete_seeds: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every place has a seed."""
        return self.present == self.places

    def command(self) -> str:
        """The command that trains what is missing."""
        return self.study.command(self.variant)


class StudyTable:
    """A table of cells, its rows found by the study that they belong to."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._datasets = {str(name) for name in table["dataset"].unique()} if len(table) else set()
        self._rows: dict[_Description, list[int]] = defaultdict(list)
        for row, description in enumerate(_row_descriptions(table)):
            self._rows[description].append(row)
        self._contexts = {_context(description) for description in self._rows}
        self._seeds = [int(seed) for seed in table["seed"]] if len(table) else []

    def rows(self, name: str, variant: str) -> pd.DataFrame:
        """The study's rows, every seed's; `labels` and `method` are then the study's own names of the methods."""
        found: dict[int, list[str]] = defaultdict(list)
        for description, labels in self._study(name, variant).items():
            for row in self._rows.get(description, []):
                found[row] += labels
        places = sorted(found)
        rows = self.table.iloc[places].copy()
        if len(rows):
            rows["labels"] = pd.Series([sorted(found[row]) for row in places], index=rows.index, dtype=object)
            rows["method"] = [sorted(found[row])[0] for row in places]
        return rows

    def state(self, name: str, variant: str) -> StudyState | None:
        """How much of the study there is; None for nothing."""
        descriptions = self._study(name, variant)
        seeds = [{self._seeds[row] for row in self._rows.get(description, [])} for description in descriptions]
        everywhere = set.intersection(*seeds) if seeds else set()
        present = sum(1 for own in seeds if own)
        if not present:
            return None
        return StudyState(
            study(name), variant, len(seeds), present, tuple(sorted(set().union(*seeds))), tuple(sorted(everywhere))
        )

    def _study(self, name: str, variant: str) -> Mapping[_Description, list[str]]:
        """The study's descriptions; nothing, and at once, where the table has no row that could be the study's."""
        if study(name).dataset not in self._datasets:
            return {}
        context = _study_context(name, variant)
        return _study_descriptions(name, variant) if any(context <= own for own in self._contexts) else {}


def study_rows(table: pd.DataFrame, name: str, variant: str) -> pd.DataFrame:
    """The table's rows that the study has, whatever their seed; they agree with one of its cells in all else."""
    return StudyTable(table).rows(name, variant)


def studies_in(table: pd.DataFrame) -> tuple[StudyState, ...]:
    """Every study and variant of which the table has a row, in the order of STUDIES; `paper` before `code`."""
    index = StudyTable(table)
    states = [index.state(study.name, variant) for study in STUDIES for variant in VARIANTS]
    return tuple(state for state in states if state is not None)


def only_small(states: Iterable[StudyState], name: str, variant: str) -> Study | None:
    """The study in small, where the store has that of a study's variant and nothing of the study itself."""
    own = [state.study for state in states if state.variant == variant]
    if any(study.name == name for study in own):
        return None
    return next((study for study in own if study.small_of == name), None)


@cache
def _study_context(name: str, variant: str) -> _Description:
    """The settings on which all cells of the study agree: cheap to have, it takes one composition."""
    _, master, _ = load_study(name, variant)
    cell = Cell.from_config(split_config(plain_config(master))[0], "")
    swept = {*master.hydra.sweeper.params}
    return frozenset(item for item in _context(_description(cell.description().items())) if item[0] not in swept)


def _context(description: _Description) -> _Description:
    fields = cell_fields()
    return frozenset(
        (name, value)
        for name, value in description
        if not (is_of_method(name) or (name in fields and fields[name].role == "axis"))
    )


@cache
def _study_descriptions(name: str, variant: str) -> Mapping[_Description, list[str]]:
    """Every cell's description without its seed, with the labels of the methods that have it."""
    found: dict[_Description, list[str]] = defaultdict(list)
    for cell in study_cells(name, variant):
        description = _description(cell.description().items())
        if cell.method not in found[description]:
            found[description].append(cell.method)
    return dict(found)


def _row_descriptions(table: pd.DataFrame) -> list[_Description]:
    """Every row's description without its seed; of a row of other numerics one that no study has."""
    if table.empty:
        return []
    names = [name for name in described(table) if name != "numerics"]
    columns = [[plain(value) for value in table[name].tolist()] for name in names]
    found = [_description(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if "numerics" not in table.columns:
        return found
    right = (table["numerics"] == NUMERICS).tolist()
    return [row if same else frozenset({("numerics", None)}) for row, same in zip(found, right, strict=True)]


def _description(items: Iterable[tuple[str, Any]]) -> _Description:
    """What a key is made of but the seed: settings without effect or with their neutral value are left out."""
    fields = cell_fields()
    return frozenset(
        (name, value)
        for name, value in items
        if value is not None and name != "seed" and not (name in fields and value == fields[name].neutral)
    )
