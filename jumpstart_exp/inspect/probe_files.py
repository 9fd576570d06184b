"""Files of probes: `probes/KEY.parquet`, one tidy table a cell.

A row is a number: probe, epoch, layer (counted from 1, the output layer last; 0 for the whole network), quantity and
value.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from jumpstart_exp.inspect.files import keys_in, write_durably
from jumpstart_exp.settings import legible

FOLDER = "probes"
"""Where the files lie in a results folder."""

COLUMNS = ("probe", "epoch", "layer", "quantity", "value")

QUANTITIES: Mapping[str, Mapping[str, str]] = {
    "regions": {
        "regions": "linear regions on the plane",
        "cells": "parts of the plane on which no unit passes a kink",
        "born": "of these, how many the layer cut",
    },
    "decisions": {
        "decision_regions": "connected parts of one class",
        "boundary": "length of the decision boundary",
        "unsure": "share of the plane with |2p − 1| < 0.95",
        "width": "of the band of these, its area by the boundary's length",
    },
    "gradients": {
        "localisation": "share of the plane that carries 90 % of the layer's largest gradients",
        "maximum": "largest max |∂f/∂A| on the plane",
        "mean": "mean of max |∂f/∂A| over the plane",
    },
    "variation": {
        "variation": "c of the coefficient of variation c/√N of the gradient of a batch of N points",
        "exponent": "of N in the coefficient of variation, −1/2 for points that do not see each other",
    },
}
"""What each probe tells, in words."""


class ProbesError(Exception):
    """A file of probes cannot be used or written; the message names it and says why."""


def probes_path(results_dir: Path, key: str) -> Path:
    """Where the probes of a key lie."""
    return results_dir / FOLDER / f"{key}.parquet"


def probed_keys(results_dir: Path) -> list[str]:
    """Keys of which there is a file of probes, sorted.

    Raises:
        ProbesError: the folder cannot be read.
    """
    return keys_in(results_dir / FOLDER, "parquet", ProbesError)


def read_probes(results_dir: Path, key: str) -> pd.DataFrame:
    """The probes of a key, with COLUMNS.

    Raises:
        ProbesError: there is no such file, or it is not what `write_probes` writes.
    """
    path = probes_path(results_dir, key)
    try:
        found = pq.ParquetFile(io.BytesIO(path.read_bytes())).read(use_threads=False)
        if found.schema != _SCHEMA:
            raise ValueError(f"its columns are {', '.join(map(str, found.schema))}")
        table: pd.DataFrame = found.to_pandas()
        if not _is_given(table):
            raise ValueError("it has rows that no probe gives, or none")
    except FileNotFoundError:
        raise ProbesError(f"{path} is not there") from None
    except Exception as error:  # whatever is wrong with the file
        reason = legible(" ".join(f"{type(error).__name__}: {error}".split()), 300)
        raise ProbesError(f"{path} is left out, it is no file of probes: {reason}") from error
    return table


def write_probes(table: pd.DataFrame, results_dir: Path, key: str) -> Path:
    """Write the file whole, in place of the one that is there: under a temporary name, to the disk, then renamed.

    Raises:
        ProbesError: the folder cannot be written.
    """
    content = io.BytesIO()
    ordered = table.sort_values([*COLUMNS[:-1]], kind="stable")
    pq.write_table(pa.Table.from_pandas(ordered, _SCHEMA, preserve_index=False), content)
    return write_durably(probes_path(results_dir, key), content.getbuffer(), ProbesError)


def joined(before: pd.DataFrame, found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What was there with what was found: of the same probe and epoch the new rows stand for all old ones."""
    new = pd.concat(found, ignore_index=True)
    taken = set(zip(new["probe"], new["epoch"], strict=True))
    kept = [pair not in taken for pair in zip(before["probe"], before["epoch"], strict=True)]
    return pd.concat([before[np.array(kept, bool)], new], ignore_index=True)


def _is_given(table: pd.DataFrame) -> bool:
    """Whether a table has rows, all of them of probes: once each, with a known name, epoch and layer."""
    if table.empty or table[[*COLUMNS[:-1]]].isna().any(axis=None) or table.duplicated([*COLUMNS[:-1]]).any():
        return False
    known = {(probe, quantity) for probe, of in QUANTITIES.items() for quantity in of}
    found = {*zip(table["probe"], table["quantity"], strict=True)}
    # a layer has rows of its own, and so has each before it
    return found <= known and bool((table["epoch"] >= 0).all() and table["layer"].between(0, len(table)).all())


_SCHEMA = pa.schema(
    [
        ("probe", pa.string()),
        ("epoch", pa.int64()),
        ("layer", pa.int64()),
        ("quantity", pa.string()),
        ("value", pa.float64()),
    ]
)

NO_PROBES = _SCHEMA.empty_table().to_pandas()
"""A table of no rows."""
