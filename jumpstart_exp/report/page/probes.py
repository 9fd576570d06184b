"""The probes of the page's cells."""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jumpstart_exp.inspect.probe_files import QUANTITIES, ProbesError, probed_keys, read_probes
from jumpstart_exp.report.geometry.probed import ProbesWarning

LARGEST = 500_000
"""Letters of all probes on the page; of more cells the layers are left out."""

_DIGITS = 4
_ORDER = tuple(name for of in QUANTITIES.values() for name in of)


def probe_entries(results_dir: Path, keys: Sequence[str]) -> dict[str, Any]:
    """What the page shows of probes: `words` of the quantities, and `cells` by the place of their rows.

    A cell has `epochs`, `whole`: pairs of a quantity and its number at each epoch, and `layers`: pairs of a quantity
    and its numbers of layers 1, 2, … at the first epoch and at the last; it is null where there is no room for it. Null
    stands for what is not a number.

    Args:
        results_dir: where the files lie; one that cannot be used is named in a warning and left out.
        keys: of the page's rows.
    """
    try:
        known = {*probed_keys(results_dir)}
    except ProbesError as error:
        known = set()
        warnings.warn(str(error), ProbesWarning, stacklevel=2)
    cells: dict[str, Any] = {}
    letters = 0
    for place, key in enumerate(keys):
        if key not in known:
            continue
        try:
            entry = _entry(read_probes(results_dir, key))
        except ProbesError as error:
            warnings.warn(str(error), ProbesWarning, stacklevel=2)
            continue
        letters += len(json.dumps(entry))
        cells[str(place)] = entry | ({"layers": None} if letters > LARGEST else {})
    words = {name: text for of in QUANTITIES.values() for name, text in of.items()}
    return {"words": words, "cells": cells}


def _entry(table: pd.DataFrame) -> dict[str, Any]:
    epochs = sorted({int(epoch) for epoch in table["epoch"]})
    whole: list[tuple[str, list[float | None]]] = []
    layers: list[tuple[str, list[list[float | None]]]] = []
    ends = [epochs[0], *epochs[1:][-1:]]
    for quantity in _ORDER:
        own = table[table["quantity"] == quantity]
        if own.empty:
            continue
        at = {(int(row["epoch"]), int(row["layer"])): float(row["value"]) for row in own.to_dict("records")}
        if any(layer == 0 for _, layer in at):
            whole.append((quantity, [_shown(at.get((epoch, 0))) for epoch in epochs]))
        last = max(layer for _, layer in at)
        if last:
            layers.append(
                (quantity, [[_shown(at.get((epoch, layer))) for layer in range(1, last + 1)] for epoch in ends])
            )
    return {"epochs": epochs, "whole": whole, "layers": layers}


def _shown(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.{_DIGITS}g}")
