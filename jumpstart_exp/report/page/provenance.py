"""How the results on the page were made: versions, commits, seeds, engines, hours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.names import dataset_title
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
    texts = {name: _texts(rows, name) for name in _ORIGIN}
    together = list(zip(*texts.values(), strict=True))
    known = list(dict.fromkeys(together))
    number = {origin: index for index, origin in enumerate(known)}
    origins = [dict(zip(_ORIGIN, (legible(text) for text in origin), strict=True)) for origin in known]
    return origins, np.array([number[origin] for origin in together], np.int64)


def statements(rows: pd.DataFrame, grids: Sequence[FigureGrid]) -> list[dict[str, Any]]:
    """Lines of "how this was made", each a name and a list of texts."""
    counts = {status: int((rows["status"] == status).sum()) for status in ("done", "diverged", "failed")}
    seeds = sorted({int(seed) for seed in rows["seed"]})
    hours = _numbers(rows, "seconds").sum() / 3600
    found = [
        _line(
            "cells", [f"{len(rows):,} in all", *(f"{count:,} {status}" for status, count in counts.items() if count)]
        ),
        _line("seeds", [_ranges(seeds)]),
        _line("hours of training", [_hours(hours)]),
    ]
    for name, title in (("engine", "engine"), ("device", "device")):
        found.append(_line(title, _counted(_texts(rows, name))))
    commits = [
        f"{commit or 'no commit known'}{' with local changes' if dirty == 'True' else ''}"
        for commit, dirty in zip(_texts(rows, "git_commit"), _texts(rows, "git_dirty"), strict=True)
    ]
    found.append(_line("commit", _counted(commits)))
    for name, title in _VERSIONS.items():
        found.append(_line(title, _counted(_texts(rows, name))))
    started = sorted({text[:10] for text in _texts(rows, "started") if text})
    if started:
        found.append(_line("started", [started[0] if len(started) == 1 else f"{started[0]} to {started[-1]}"]))
    least = sorted({(grid.dataset, grid.threshold) for grid in grids})
    found.append(
        _line(
            "a network trains",
            [f"{dataset_title(name)}: training accuracy {value:.4g} or more" for name, value in least],
        )
    )
    return found


def _line(name: str, texts: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "texts": [legible(text, 200) for text in texts]}


def _texts(rows: pd.DataFrame, name: str) -> list[str]:
    if name not in rows.columns:
        return [""] * len(rows)
    return ["" if value is None or value is pd.NA or value != value else str(value) for value in rows[name]]


def _numbers(rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in rows.columns:
        return np.zeros(len(rows))
    numbers = pd.to_numeric(rows[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, 0.0)


def _counted(texts: Sequence[str]) -> list[str]:
    """Each distinct text with how often it occurs, the most frequent first."""
    counts = pd.Series(list(texts), dtype=object).value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-int(item[1]), str(item[0])))
    return [f"{text or 'unknown'}: {int(count):,} cells" for text, count in ordered[:12]] + (
        [f"{len(ordered) - 12} more"] if len(ordered) > 12 else []
    )


def _hours(hours: float) -> str:
    return f"{hours * 60:.1f} minutes of computing" if hours < 1 else f"{hours:,.1f} hours of computing"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with runs as 0–9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
