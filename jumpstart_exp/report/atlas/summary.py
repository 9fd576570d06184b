"""An atlas in a file of its own: a row for each cell and method over its seeds, from which it is drawn again.

`RESULTS_DIR/atlas/STUDY.parquet` travels where the store is too large to: every list has an entry a seed, in the order
of `seeds`. What is not of one cell (titles, the threshold, each method's settings) stands in the file's metadata.
"""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jumpstart_exp.report.atlas.atlas import LEAST_METHODS, MEASURES, MOMENTS, STUDIES, Atlas, atlases
from jumpstart_exp.report.atlas.rates import FILE, rate_scores, write_rates
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.store import Store
from jumpstart_exp.store.fields import told

_ABOUT = b"jumpstart_exp.atlas"

_ACCURACIES = ("train_acc_best", "train_acc_last", "val_acc_best", "val_acc_last")
_STATUSES = ("diverged", "failed")
_AXES = ("methods", "depths", "widths")

_WORDS = (*("title", "slug", "dataset", "dataset_title", "task", "layout", "chance", "threshold"), *("studies",))
"""Of a FigureGrid, what is of no cell and no method."""


class SummaryError(ValueError):
    """A file is no summary of an atlas, or there is nothing to sum up; the message says why."""


def summary_path(results_dir: Path, study: str) -> Path:
    """Where the study's summary is."""
    return results_dir / "atlas" / f"{study}.parquet"


def summary_paths(results_dir: Path) -> list[Path]:
    """The summaries that there are, in the order of STUDIES."""
    return [path for path in (summary_path(results_dir, study) for study in STUDIES) if path.is_file()]


def make_summaries(results_dir: Path) -> list[Path]:
    """Write the summary of every atlas that the store in the folder has, and the scores of learning rates if there.

    Raises:
        GridError: cells contradict each other.
        StoreError: the store cannot be read.
        SummaryError: it has none.
        OSError: a file cannot be written.
    """
    store = Store(results_dir)
    table = store.cells()
    found = atlases(table, store)
    if not found:
        needed = f"{LEAST_METHODS} methods or more of one of {', '.join(STUDIES)}"
        raise SummaryError(f"no atlas in {results_dir}: it needs cells of {needed}")
    paths = [write_summary(atlas, summary_path(results_dir, atlas.study)) for atlas in found]
    scores = rate_scores(StudyTable.of(table))
    return [*paths, *([write_rates(scores, results_dir / "atlas" / FILE)] if len(scores) else [])]


def write_summary(atlas: Atlas, path: Path) -> Path:
    """Write the atlas as a file; one that is there is replaced.

    Raises:
        OSError: it cannot be written.
    """
    grid = atlas.grid
    places = np.argwhere(grid.present.any(axis=-1))
    there = [grid.present[tuple(place)] for place in places]

    def lists(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
        own = [values[tuple(place)][seeds].tolist() for place, seeds in zip(places, there, strict=True)]
        return pa.array(own, pa.list_(kind))

    axes = {name: [getattr(grid, name)[at] for at in places[:, axis]] for axis, name in enumerate(_AXES)}
    status = np.select([grid.diverged, grid.failed], _STATUSES, default="done")
    columns = {
        "method": pa.array(axes["methods"], pa.string()),
        "depth": pa.array(axes["depths"], pa.int32()),
        "width": pa.array(axes["widths"], pa.int32()),
        "learning_rate": pa.array([atlas.rates[label] for label in axes["methods"]], pa.float64()),
        "n_params": pa.array([int(grid.n_params[tuple(place)]) for place in places], pa.int64()),
        "seeds": lists(np.broadcast_to(np.array(grid.seeds), grid.present.shape), pa.int64()),
        "status": lists(status, pa.string()),
        # exact, for they are compared with the threshold
        **{name: lists(grid.accuracy[name], pa.float64()) for name in _ACCURACIES},
        **{"_".join(name): lists(np.round(values, 4), pa.float32()) for name, values in atlas.census.items()},
        "seconds": lists(grid.seconds, pa.float32()),
        "trained_on": lists(grid.trained_on, pa.string()),
    }
    about = {
        "study": atlas.study,
        "early": atlas.early,
        "grid": {name: getattr(grid, name) for name in _WORDS},
        "methods": [
            {
                "label": label,
                "title": title,
                "learning_rate": atlas.rates[label],
                "is_penalised": label in grid.penalised,
                "settings": told({name: value for name, value in grid.settings[label].items() if value is not None}),
            }
            for label, title in zip(grid.methods, grid.method_titles, strict=True)
        ],
    }
    table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about, sort_keys=True)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        pq.write_table(table, temporary, compression="zstd", compression_level=19, use_byte_stream_split=False)
        os.replace(temporary, path)  # noqa: PTH105 - nobody sees half a file
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_summary(path: Path) -> Atlas:
    """The atlas of a file that `write_summary` wrote.

    Raises:
        SummaryError: it is none.
        OSError: it cannot be read.
    """
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_ABOUT])
        return _atlas(table, about)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise SummaryError(f"{path} is no summary of an atlas: {reason}") from error


def _atlas(table: pa.Table, about: Mapping[str, Any]) -> Atlas:
    columns = {name: table[name].to_pylist() for name in table.column_names}
    methods = [each["label"] for each in about["methods"]]
    depths, widths = (sorted({*columns[name]}) for name in ("depth", "width"))
    seeds = sorted({seed for own in columns["seeds"] for seed in own})
    places = [[axis.index(value) for value in columns[name]] for axis, name in _named(methods, depths, widths)]
    counts = [len(own) for own in columns["seeds"]]
    at = (
        *(np.repeat(place, counts) for place in places),
        np.array([seeds.index(seed) for own in columns["seeds"] for seed in own], np.int64),
    )
    shape = len(methods), len(depths), len(widths), len(seeds)

    def placed(name: str, nothing: object, kind: Any = np.float64) -> NDArray[Any]:
        values = np.full(shape, nothing, dtype=kind)
        flat = [value for own in columns[name] for value in own]
        values[at] = np.array([nothing if value is None else value for value in flat], dtype=kind)
        return values

    n_params = np.zeros(shape[:-1], np.int64)
    n_params[tuple(places)] = columns["n_params"]
    status = placed("status", "", object)
    words: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["grid"].items()
    }
    grid = FigureGrid(
        **words,
        methods=tuple(methods),
        method_titles=tuple(each["title"] for each in about["methods"]),
        penalised=tuple(each["label"] for each in about["methods"] if each["is_penalised"]),
        depths=tuple(depths),
        widths=tuple(widths),
        seeds=tuple(seeds),
        n_params=n_params,
        accuracy={name: placed(name, np.nan) for name in _ACCURACIES},
        present=status != "",
        diverged=status == "diverged",
        failed=status == "failed",
        seconds=placed("seconds", np.nan),
        trained_on=placed("trained_on", "", object),
        settings={each["label"]: _settings(each["settings"]) for each in about["methods"]},
        memory=np.full(shape, np.nan),  # not in the file
        rows=np.full(shape, -1),
    )
    rates = {each["label"]: float(each["learning_rate"]) for each in about["methods"]}
    census = {(measure, moment): placed(f"{measure}_{moment}", np.nan) for measure in MEASURES for moment in MOMENTS}
    return Atlas(str(about["study"]), grid, rates, census, int(about["early"]))


def _named(methods: list[str], depths: list[int], widths: list[int]) -> list[tuple[list[Any], str]]:
    return [(methods, "method"), (depths, "depth"), (widths, "width")]


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


_KNOWN = {*_WORDS, *_AXES, "memory", "rows", "method_titles", "penalised", "seeds", "n_params", "accuracy", "present"}
_KNOWN |= {"diverged", "failed", "seconds", "trained_on", "settings"}
assert {field.name for field in fields(FigureGrid)} == _KNOWN, "a field of FigureGrid that the file does not have"
