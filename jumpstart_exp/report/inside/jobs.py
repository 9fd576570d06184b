"""All figures of the inside that the kept states of a results folder support, as files."""

import hashlib
import json
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from jumpstart_exp.cell import Cell, cell_fields
from jumpstart_exp.console import Notice
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import load
from jumpstart_exp.inspect.recorded_states import RecordedStatesError, read_recorded_states, stored_keys
from jumpstart_exp.report.figures.drawing import figure_job
from jumpstart_exp.report.inside.dynamics import census_figure, dynamics_figure
from jumpstart_exp.report.inside.landscapes import landscapes_figure
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.table.names import method_rank

WIDTH_INCHES = 5.5
"""Of a figure: the text width of the ICLR paper."""

_MOST_ROWS = 8
"""Networks of a figure of transforms."""


_MOST_SEEDS = 20
"""Networks of a figure of landscapes."""


class RecordedStatesWarning(Notice):
    """States, or a figure of them, are left out of the report; the message says which and why."""


def inside_figures(
    results_dir: Path, table: pd.DataFrame, data_dir: Path = Path("data")
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """What can be drawn of the kept states of the table's cells: a name each, and what draws it.

    Of every cell its dynamics and its census over time; of cells that differ in nothing but the method the data
    transformed, a row a method; of those that differ in nothing but the seed, of two classes in a plane, how they
    decide, a panel a seed. A file that cannot be used, or is of a cell that the table lacks, is named in a
    warning and left out; so are transforms of datasets whose files are missing. `table` has the store's rows, of which
    `key` is used.
    """

    def transforms(keys: Sequence[str]) -> Figure:
        states = [read_recorded_states(results_dir, key) for key in keys]
        return transforms_figure(states, WIDTH_INCHES, data_dir)

    def dynamics(key: str) -> Figure:
        return dynamics_figure(read_recorded_states(results_dir, key), WIDTH_INCHES, data_dir)

    def census(key: str) -> Figure:
        return census_figure(read_recorded_states(results_dir, key), WIDTH_INCHES)

    def landscapes(keys: Sequence[str]) -> Figure:
        return landscapes_figure([read_recorded_states(results_dir, key) for key in keys], WIDTH_INCHES, data_dir)

    cells = sorted(
        _cells(results_dir, {*table["key"]}),
        key=lambda of: (of.dataset.name, of.depth, of.width, of.seed, method_rank(of.method), of.key),
    )
    for name, keys in _groups(cells, data_dir):
        yield name, partial(transforms, keys)
    for name, keys in _seeds(cells, data_dir):
        yield name, partial(landscapes, keys)
    for cell in cells:
        name = cell_slug(cell)
        yield f"dynamics_{name}", partial(dynamics, cell.key)
        yield f"census_{name}", partial(census, cell.key)


def cell_slug(cell: Cell) -> str:
    """The cell as part of a file's name: what it is, and the beginning of its key."""
    return _slug(cell.dataset.name, f"{cell.depth}x{cell.width}", cell.method, f"seed{cell.seed}", cell.key[:8])


def _cells(results_dir: Path, stored: set[str]) -> Iterator[Cell]:
    """The cells, of those in the store, whose states were kept."""
    try:
        keys = stored_keys(results_dir)
    except RecordedStatesError as error:
        keys = []
        warnings.warn(str(error), RecordedStatesWarning, stacklevel=2)
    for key in keys:
        try:
            if key not in stored:
                raise RecordedStatesError(f"the snapshots of key={key} are left out: the store has no such cell")
            yield read_recorded_states(results_dir, key).cell
        except RecordedStatesError as error:
            warnings.warn(str(error), RecordedStatesWarning, stacklevel=2)


def _groups(cells: Sequence[Cell], data_dir: Path) -> Iterator[tuple[str, list[str]]]:
    """Names of the figures of transforms, and the keys of their rows."""
    contexts: dict[str, list[Cell]] = defaultdict(list)
    fields = cell_fields()
    for cell in cells:
        described = {name: value for name, value in cell.description().items() if fields[name].role != "method"}
        contexts[json.dumps(described, sort_keys=True)].append(cell)
    missing: set[str] = set()
    for context, together in contexts.items():
        first = together[0]
        try:
            load(first.dataset, data_dir)
        except DataError as error:
            if str(error) not in missing:
                missing.add(str(error))
                reason = str(error).partition("\n")[0]
                words = f"the data transformed by networks on {first.dataset.name} are not drawn: {reason}"
                warnings.warn(words, RecordedStatesWarning, stacklevel=2)
            continue
        digest = hashlib.sha256(context.encode()).hexdigest()[:8]
        for part in range(0, len(together), _MOST_ROWS):
            number = [f"part{part // _MOST_ROWS + 1}"] if len(together) > _MOST_ROWS else []
            size, seed = f"{first.depth}x{first.width}", f"seed{first.seed}"
            name = "transforms_" + _slug(first.dataset.name, size, seed, digest, *number)
            yield name, [cell.key for cell in together[part : part + _MOST_ROWS]]


def _seeds(cells: Sequence[Cell], data_dir: Path) -> Iterator[tuple[str, list[str]]]:
    """Names of the figures of landscapes, and the keys of their panels."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if (cell.dataset.features, cell.dataset.classes) == (2, 2):
            groups[replace(cell, seed=0).key].append(cell)
    for key, together in groups.items():
        first = together[0]
        if len(together) > 1 and _has_files(first.dataset, data_dir):
            for part in range(0, len(together), _MOST_SEEDS):
                number = [f"part{part // _MOST_SEEDS + 1}"] if len(together) > _MOST_SEEDS else []
                name = _slug(first.dataset.name, f"{first.depth}x{first.width}", first.method, key[:8], *number)
                yield f"landscapes_{name}", [cell.key for cell in together[part : part + _MOST_SEEDS]]


def _has_files(dataset: DatasetSpec, data_dir: Path) -> bool:
    """Whether the dataset can be read; `_groups` warns where it cannot."""
    try:
        load(dataset, data_dir)
    except DataError:
        return False
    return True


def _slug(*words: str) -> str:
    """Words as part of a file's name."""
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", word.replace("_", "-"))[:40] for word in words)


@of_store("inside", rank=10, title="inside the networks")
def _inside(stored: Stored) -> Iterator[Job]:
    for name, draw in inside_figures(stored.results_dir, stored.table, stored.data_dir):
        yield figure_job(name, draw)
