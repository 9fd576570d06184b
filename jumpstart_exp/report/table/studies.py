"""Which rows of the store belong to a published study, how much of it is there, and which figures it names."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pandas as pd

from jumpstart_exp.cell import NUMERICS, Cell, cell_fields
from jumpstart_exp.config.schema import plain_config, split_config
from jumpstart_exp.config.studies import STUDIES, VARIANTS, Study, experiment_cells, load_study, study
from jumpstart_exp.data import DATASETS, ImageSpec
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.store.fields import AXES, described, is_of_method, plain_values, seed_of_points

_CONTENT = "dataset.content"
_Description = frozenset[tuple[str, Hashable]]


@dataclass(frozen=True)
class StudyState:
    """How much of a study's variant the store has, at any seeds.

    `places` are the study's cells without their seeds, `present` those with one seed at least, `complete_seeds` the
    seeds that are there at every place.
    """

    study: Study
    variant: str
    places: int
    present: int
    complete_seeds: tuple[int, ...]


_last: list["StudyTable"] = []


class StudyTable:
    """A table of cells, its rows found by the study that they belong to."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._datasets = {*table["dataset"].astype(str)} if len(table) else set()
        self._rows: dict[_Description, list[int]] = defaultdict(list)
        for row, description in enumerate(_row_descriptions(table)):
            self._rows[description].append(row)
        self._seeds = [int(seed) for seed in table["seed"]] if len(table) else []
        self._contexts = {_context(description) for description in self._rows}

    @staticmethod
    def of(table: pd.DataFrame) -> "StudyTable":
        """The table's, made once for all that ask for it one after the other; nobody changes a table meanwhile."""
        if not _last or _last[0].table is not table:
            _last[:] = [StudyTable(table)]
        return _last[0]

    def rows(self, name: str, variant: str) -> pd.DataFrame:
        """The study's rows, every seed's; `labels` and `method` are then the study's own names of the methods."""
        return self._rows_of(self._study(name, variant))

    def rows_of_experiment(self, name: str, dataset: str) -> pd.DataFrame:
        """The same of conf/experiment/NAME.yaml, which need not be a published study, of cells of this dataset."""
        return self._rows_of(self._descriptions(name, "paper") if dataset in self._datasets else {})

    def _rows_of(self, descriptions: Mapping[_Description, list[str]]) -> pd.DataFrame:
        found = {
            row: sorted(labels)
            for description, labels in descriptions.items()
            for row in self._rows.get(description, [])
        }
        places = sorted(found)
        rows = self.table.iloc[places].copy()
        if len(rows):
            rows["labels"] = pd.Series([found[row] for row in places], index=rows.index, dtype=object)
            rows["method"] = [found[row][0] for row in places]
        return rows

    def state(self, name: str, variant: str) -> StudyState | None:
        """How much of the study there is; None for nothing."""
        places = [self._rows.get(description, []) for description in self._study(name, variant)]
        if not any(places):
            return None
        everywhere = set.intersection(*({self._seeds[row] for row in rows} for rows in places))
        return StudyState(study(name), variant, len(places), sum(map(bool, places)), tuple(sorted(everywhere)))

    def _study(self, name: str, variant: str) -> Mapping[_Description, list[str]]:
        """The study's descriptions; nothing, and at once, where the table has no row that could be the study's."""
        return self._descriptions(name, variant) if study(name).dataset in self._datasets else {}

    def _descriptions(self, name: str, variant: str) -> Mapping[_Description, list[str]]:
        """Those of an experiment's file, a published study's or not."""
        context = _study_context(name, variant)
        return _study_descriptions(name, variant) if any(context <= own for own in self._contexts) else {}


def studies_in(index: StudyTable) -> tuple[StudyState, ...]:
    """Every study and variant of which the table has a row, in the order of STUDIES; `paper` before `code`."""
    states = [index.state(study.name, variant) for study in STUDIES for variant in VARIANTS]
    return tuple(state for state in states if state is not None)


def only_small(states: Iterable[StudyState], name: str, variant: str) -> Study | None:
    """The study in small, where the store has that of a study's variant and nothing of the study itself."""
    own = [state.study for state in states if state.variant == variant]
    if any(study.name == name for study in own):
        return None
    return next((study for study in own if study.small_of == name), None)


def named_by_study(grids: Sequence[FigureGrid], table: pd.DataFrame) -> tuple[FigureGrid, ...]:
    """The table's grids in their order, those titled by studies that hold nothing but cells of published studies.

    Where a store has one figure only, its title is short as it is. Figures that would be called the same keep what
    tells them apart behind the studies.
    """
    if len(grids) < 2:
        return tuple(grids)
    index = StudyTable.of(table)
    places = {
        (study.name, variant): {int(row) for row in table.index.get_indexer(index.rows(study.name, variant).index)}
        for study in STUDIES
        for variant in VARIANTS
    }
    studies = [_studies(grid, places) for grid in grids]
    titles = [
        f"{grid.dataset_title} · {', '.join(names)} · variant={variant}" if names else ""
        for grid, (names, variant) in zip(grids, studies, strict=True)
    ]
    often = Counter(titles)
    return tuple(
        replace(grid, title=title if often[title] == 1 else f"{title} · {grid.title}", studies=names) if names else grid
        for grid, title, (names, _) in zip(grids, titles, studies, strict=True)
    )


def _studies(grid: FigureGrid, places: Mapping[tuple[str, str], set[int]]) -> tuple[tuple[str, ...], str]:
    """The fewest studies of one variant that have all the grid's rows, and the variant; none of them for none."""
    names = [study.name for study in STUDIES]
    for variant in VARIANTS:
        left = {int(row) for row in grid.rows.flat if row >= 0}
        needed: set[str] = set()
        while left:
            most = max(names, key=lambda name: len(left & places[name, variant]))
            if not left & places[most, variant]:
                break
            left -= places[most, variant]
            needed.add(most)
        if not left:
            return tuple(name for name in names if name in needed), variant
    return (), ""


@cache
def _study_context(name: str, variant: str) -> _Description:
    """The settings on which all cells of the study agree: cheap to have, it takes one composition."""
    _, master, _ = load_study(name, variant)
    cell = Cell.from_config(split_config(plain_config(master))[0], "")
    swept = {*master.hydra.sweeper.params}
    return frozenset(item for item in _context(_description(cell.description().items())) if item[0] not in swept)


def _context(description: _Description) -> _Description:
    return frozenset((name, value) for name, value in description if not is_of_method(name) and name not in AXES)


@cache
def _study_descriptions(name: str, variant: str) -> Mapping[_Description, list[str]]:
    """Every cell's description without its seed, with the labels of the methods that have it."""
    found: dict[_Description, list[str]] = defaultdict(list)
    for cell in experiment_cells(name, variant):
        description = _description(cell.description().items())
        if cell.method not in found[description]:
            found[description].append(cell.method)
    return dict(found)


def _row_descriptions(table: pd.DataFrame) -> list[_Description]:
    """Every row's description without its seed; of a row of other numerics one that no study has."""
    if table.empty:
        return []
    names = [name for name in described(table) if name not in ("numerics", *_content_to_ignore(table))]
    columns = [plain_values(table[name]) for name in names]
    found = (_description(zip(names, values, strict=True)) for values in zip(*columns, strict=True))
    numerics = table.get("numerics", [NUMERICS] * len(table))
    other = frozenset({("numerics", None)})
    return [row if its == NUMERICS else other for row, its in zip(found, numerics, strict=True)]


def _content_to_ignore(table: pd.DataFrame) -> list[str]:
    """What the datasets' files hold, where every dataset has one content only: a study is of that."""
    if _CONTENT not in table.columns:
        return []
    images = [name for name, kind in DATASETS.items() if issubclass(kind, ImageSpec)]  # of a table it is found
    contents = table.loc[table["dataset"].isin(images), ["dataset", _CONTENT]].drop_duplicates()
    return [] if contents["dataset"].duplicated().any() else [_CONTENT]


def _description(items: Iterable[tuple[str, Any]]) -> _Description:
    """What a key is made of but the seed: settings without effect or with their neutral value are left out.

    So is what follows from a dataset's other settings, which a study's cells do not have before they are trained.
    """
    fields, told = cell_fields(), dict(items)
    dataset = told.get("dataset")
    for name in DATASETS[dataset].found if dataset in DATASETS else ():
        told.pop(f"dataset.{name}", None)
    if drawn_by := DATASETS[dataset].drawn_by if dataset in DATASETS else None:
        name = f"dataset.{drawn_by}"
        told[name] = seed_of_points(dataset, told.get(name), told.get("seed"))
    return frozenset(
        (name, value)
        for name, value in told.items()
        if value is not None and name != "seed" and not (name in fields and value == fields[name].neutral)
    )
