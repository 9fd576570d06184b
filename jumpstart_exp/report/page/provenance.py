"""How the results on the page were made: versions, commits, seeds, engines, hours."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.page.packing import distinct
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.settings import legible

_ORIGIN = ("engine", "device", "git_commit", "git_dirty", "jumpstart_exp_version", "torch_version", "numpy_version")
_VERSIONS = {
    "jumpstart_exp_version": "jumpstart_exp",
    "python_version": "Python",
    "torch_version": "torch",
    "numpy_version": "numpy",
}


def provenance(rows: pd.DataFrame) -> tuple[list[dict[str, str]], NDArray[np.int64]]:
    """The distinct origins of the rows (engine, device, commit, versions), and which is each row's."""
    origins, places = distinct(zip(*(_texts(rows, name) for name in _ORIGIN), strict=True))
    return [dict(zip(_ORIGIN, map(legible, origin), strict=True)) for origin in origins], places


def statements(rows: pd.DataFrame, grids: Sequence[FigureGrid]) -> list[dict[str, Any]]:
    """Lines of "how this was made", each a name and a list of texts."""
    statuses = Counter(rows["status"])
    counts = [f"{statuses[status]:,} {status}" for status in ("done", "diverged", "failed") if statuses[status]]
    commits = (
        f"{commit or 'no commit known'}{' with local changes' if dirty == 'True' else ''}"
        for commit, dirty in zip(_texts(rows, "git_commit"), _texts(rows, "git_dirty"), strict=True)
    )
    started = sorted({text[:10] for text in _texts(rows, "started") if text})
    least = sorted({(grid.dataset_title, grid.score, grid.threshold) for grid in grids})
    found = {
        "cells": [f"{len(rows):,} in all", *counts],
        "seeds": [_ranges(sorted({int(seed) for seed in rows["seed"]}))],
        "hours of training": [_hours(rows)],
        "engine": _counted(_texts(rows, "engine")),
        "device": _counted(_texts(rows, "device")),
        "commit": _counted(commits),
        **{title: _counted(_texts(rows, name)) for name, title in _VERSIONS.items()},
        "started": [started[0] if len(started) == 1 else f"{started[0]} to {started[-1]}"] if started else [],
        "a network trains": [f"{title}: training {score} {value:.4g} or more" for title, score, value in least],
    }
    return [
        {"name": name, "texts": [legible(text, 200) for text in texts]}
        for name, texts in found.items()
        if texts or name != "started"
    ]


def _texts(rows: pd.DataFrame, name: str) -> list[str]:
    if name not in rows.columns:
        return [""] * len(rows)
    return [str(value) for value in rows[name].astype(object).where(rows[name].notna(), "")]


def _counted(texts: Iterable[str]) -> list[str]:
    """Each distinct text with how often it occurs, the most frequent first."""
    ordered = sorted(Counter(texts).items(), key=lambda item: (-item[1], item[0]))
    more = [f"{len(ordered) - 12} more"] if len(ordered) > 12 else []
    return [f"{text or 'unknown'}: {count:,} cells" for text, count in ordered[:12]] + more


def _hours(rows: pd.DataFrame) -> str:
    seconds = pd.to_numeric(rows.get("seconds", pd.Series(0.0, rows.index)), errors="coerce")
    hours = seconds.to_numpy(dtype=np.float64, na_value=np.nan)
    hours = hours[np.isfinite(hours)].sum() / 3600
    return f"{hours * 60:.1f} minutes of computing" if hours < 1 else f"{hours:,.1f} hours of computing"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with runs as 0–9."""
    runs = ([number for _, number in run] for _, run in groupby(enumerate(numbers), lambda each: each[1] - each[0]))
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
