"""All figures of the inside that the kept states of a results folder support, as files."""

import hashlib
import json
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from jumpstart_exp.cell import Cell, cell_fields
from jumpstart_exp.console import Notice
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import load
from jumpstart_exp.inspect.recorded_states import RecordedStates, RecordedStatesError, read_recorded_states, stored_keys
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.inside.census_over_time import census_figure
from jumpstart_exp.report.inside.dynamics import dynamics_figure
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.report.registry import Job, Stored, Write, of_store
from jumpstart_exp.report.table.names import method_rank

WIDTH_INCHES = 5.5
"""Of a figure: the text width of the ICLR paper."""

_MOST_ROWS = 8
"""Networks of a figure of transforms."""


class RecordedStatesWarning(Notice):
    """States, or a figure of them, are left out of the report; the message says which and why."""


def inside_jobs(
    results_dir: Path, table: pd.DataFrame, data_dir: Path = Path("data"), width_inches: float = WIDTH_INCHES
) -> list[tuple[str, Write]]:
    """What can be drawn of the kept states of the table's cells: a title each, and what draws it into a folder.

    Of every cell its dynamics and its census over time; of cells that differ in nothing but the method the data
    transformed, a row a method. A file that cannot be used, or is of a cell that the table lacks, is named in a
    warning and left out; so are transforms of datasets whose files are missing.

    Args:
        results_dir: the folder of the store.
        table: rows of the store, of which `key` is used.
        data_dir: folder of the datasets' files.
        width_inches: of the figures.
    """
    keys = set(table["key"]) if len(table) else set()
    cells: list[Cell] = []
    for key in _keys(results_dir):
        try:
            if key not in keys:
                raise RecordedStatesError(f"the snapshots of key={key} are left out: the store has no such cell")
            cells.append(read_recorded_states(results_dir, key).cell)
        except RecordedStatesError as error:
            warnings.warn(str(error), RecordedStatesWarning, stacklevel=2)
    cells.sort(key=_rank)
    jobs: list[tuple[str, Write]] = []
    for name, cell_keys in _groups(cells, data_dir):
        draw = partial(_transforms, results_dir, cell_keys, width_inches, data_dir)
        jobs.append((f"data transformed: {name}", partial(_save, draw, name)))
    for cell in cells:
        name = _slug(cell.dataset.name, f"{cell.depth}x{cell.width}", cell.method, f"seed{cell.seed}", cell.key[:8])
        for kind, figure_of in (("dynamics", dynamics_figure), ("census", census_figure)):
            draw = partial(_one, figure_of, results_dir, cell.key, width_inches, data_dir)
            jobs.append((f"{kind}: {cell.title()}", partial(_save, draw, f"{kind}_{name}")))
    return jobs


def _keys(results_dir: Path) -> list[str]:
    try:
        return stored_keys(results_dir)
    except RecordedStatesError as error:
        warnings.warn(str(error), RecordedStatesWarning, stacklevel=3)
        return []


def _groups(cells: Sequence[Cell], data_dir: Path) -> Iterator[tuple[str, list[str]]]:
    """Names of the figures of transforms, and the keys of their rows."""
    contexts: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        fields = cell_fields()
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
                warnings.warn(words, RecordedStatesWarning, stacklevel=3)
            continue
        digest = hashlib.sha256(context.encode()).hexdigest()[:8]
        for part in range(0, len(together), _MOST_ROWS):
            number = [f"part{part // _MOST_ROWS + 1}"] if len(together) > _MOST_ROWS else []
            size, seed = f"{first.depth}x{first.width}", f"seed{first.seed}"
            name = "transforms_" + _slug(first.dataset.name, size, seed, digest, *number)
            yield name, [cell.key for cell in together[part : part + _MOST_ROWS]]


def _rank(cell: Cell) -> tuple[object, ...]:
    return cell.dataset.name, cell.depth, cell.width, cell.seed, method_rank(cell.method), cell.key


def _slug(*words: str) -> str:
    """Words as part of a file's name."""
    return "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", word.replace("_", "-"))[:40] for word in words)


def _one(
    figure_of: Callable[[RecordedStates, float, Path], Figure],
    results_dir: Path,
    key: str,
    width: float,
    data_dir: Path,
) -> Figure:
    return figure_of(read_recorded_states(results_dir, key), width, data_dir)


def _transforms(results_dir: Path, keys: Sequence[str], width: float, data_dir: Path) -> Figure:
    return transforms_figure([read_recorded_states(results_dir, key) for key in keys], width, data_dir)


def _save(draw: Callable[[], Figure], name: str, folder: Path) -> list[Path]:
    return save_figure(draw, folder, name)


@of_store("inside", rank=10, title="inside the networks")
def _inside(stored: Stored) -> Iterator[Job]:
    for _, write in inside_jobs(stored.results_dir, stored.table, stored.data_dir):
        yield Job("figures", write)
