"""Training curves for the page: few points a cell, chosen so that ends and extremes stay."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.page.packing import COARSE_FRACTION, COARSE_POSITIVE, Block, Scale, text_length
from jumpstart_exp.result import COLUMNS
from jumpstart_exp.store import Store

LEAST_POINTS = 24
"""Points of a curve that are kept at least, where it has so many."""

_LADDER = (128, 100, 80, 64, 48, 40, 32, 28, LEAST_POINTS)
_SCALES: Mapping[str, Scale] = {
    "train_acc": COARSE_FRACTION,
    "val_acc": COARSE_FRACTION,
    "train_loss": COARSE_POSITIVE,
    "val_loss": COARSE_POSITIVE,
    "dead_units": COARSE_FRACTION,
    "dead_points": COARSE_FRACTION,
}
"""What a curve shows."""

_MEASURED = ("train_acc", "val_acc", "train_loss", "val_loss")
"""Whose extremes stay."""

_NAMES = (tuple(_SCALES), _MEASURED, _MEASURED[:2])
"""What is shown where there is room: everything, no census, accuracies only."""
_TOGETHER = 4096  # cells whose curves are in memory at once


@dataclass(frozen=True, eq=False)
class ThinCurves:
    """Curves of the same cells in the same order, all with as many points.

    `epochs` is (cells, points) and repeats a curve's last epoch where it has fewer points; `values` has arrays of the
    same shape, fractions in [0, 1], R² and losses, NaN where nothing was measured or it is not finite. A cell
    without a curve has epoch 0 throughout.
    `longest` is how many points the longest curve of the store has.
    """

    epochs: NDArray[np.int64]
    values: dict[str, NDArray[np.float32]]
    longest: int


def read_curves(store: Store, keys: Sequence[str]) -> ThinCurves:
    """The curves of these cells, thinned to the most points that the page ever keeps."""
    most = _LADDER[0]
    epochs = np.zeros((len(keys), most), np.int64)
    values = {name: np.full((len(keys), most), np.nan, np.float32) for name in _SCALES}
    longest = 0
    place = {key: index for index, key in enumerate(keys)}
    for start in range(0, len(keys), _TOGETHER):
        table = store.curves(keys[start : start + _TOGETHER]).drop_duplicates(["key", "epoch"])
        for own, rows in _of_equal_length(table):
            longest = max(longest, rows.shape[1])
            where = [place[key] for key in own]
            found = {name: _finite(_measured(table, name)[rows]) for name in values}
            kept = _kept(found, most)
            epochs[where] = np.take_along_axis(table["epoch"].to_numpy(np.int64)[rows], kept, 1)
            for name, of_all in values.items():
                of_all[where] = np.take_along_axis(found[name], kept, 1)
    width = max(1, min(longest, most))
    return ThinCurves(epochs[:, :width], {name: of[:, :width] for name, of in values.items()}, longest)


def thinned(curves: ThinCurves, points: int) -> ThinCurves:
    """The same curves with at most so many points."""
    if points >= curves.epochs.shape[1]:
        return curves
    # steps of 0 stand at the end only: they fill up what is shorter
    counts = 1 + (np.diff(curves.epochs, axis=1) > 0).sum(axis=1)
    chosen = np.zeros((len(counts), points), np.int64)
    for count in np.unique(counts):
        own = np.flatnonzero(counts == count)
        chosen[own] = _kept({name: curves.values[name][own, :count] for name in _MEASURED}, points)
    values = {name: np.take_along_axis(of, chosen, 1) for name, of in curves.values.items()}
    return ThinCurves(np.take_along_axis(curves.epochs, chosen, 1), values, curves.longest)


def add_curves(block: Block, curves: ThinCurves, room: int) -> tuple[int, tuple[str, ...]]:
    """Add the curves to the block with as many points as fit into `room` characters of base64, or the fewest.

    Returns:
        the points a curve, and the names of what it shows: where there is no room the census is left out, then the
        losses.
    """
    points = sorted({min(most, curves.epochs.shape[1]) for most in (*_LADDER, curves.epochs.shape[1])}, reverse=True)
    choices = [*((each, _NAMES[0]) for each in points), *((points[-1], names) for names in _NAMES[1:])]

    @cache
    def made(index: int) -> Block:
        most, names = choices[index]
        return _block(thinned(curves, most), names)

    chosen = bisect_left(range(len(choices) - 1), True, key=lambda index: text_length(made(index).length) <= room)
    for name, entry in made(chosen).entries.items():
        block.entries[name] = {**entry, "start": entry["start"] + block.length}
    block.parts += made(chosen).parts
    block.length += made(chosen).length
    return choices[chosen]


def _block(curves: ThinCurves, names: Sequence[str]) -> Block:
    block = Block()
    # the difference to the epoch before is the same number nearly everywhere, which compresses well
    steps = np.diff(curves.epochs, axis=1, prepend=0)
    block.add("curves.epoch_steps", steps.T.astype(np.uint32))
    for name in names:
        block.add(f"curves.{name}", curves.values[name], _SCALES[name])
    return block


def _measured(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A metric's numbers, whatever the task of their rows calls it: the columns of other tasks are null."""
    numbers = np.full(len(table), np.nan)
    for column in {of.get(name, name) for of in COLUMNS.values()}:
        own = table[column].to_numpy(np.float64)
        numbers = np.where(np.isnan(own), numbers, own)
    return numbers


def _of_equal_length(table: pd.DataFrame) -> Iterator[tuple[NDArray[np.object_], NDArray[np.int64]]]:
    """The keys of curves with equally many rows, and these rows' places in the table, (cells, rows)."""
    if table.empty:
        return
    codes, names = pd.factorize(table["key"])
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    lengths = np.diff(np.append(starts, len(codes)))
    for length in np.unique(lengths):
        own = np.flatnonzero(lengths == length)
        yield np.asarray(names, dtype=object)[own], starts[own][:, None] + np.arange(length)


def _kept(values: Mapping[str, NDArray[np.floating]], points: int) -> NDArray[np.int64]:
    """Which columns of (cells, rows) stay, (cells, points), ascending: ends, extremes of `_MEASURED`, and evenly.

    The last one is repeated where there are fewer.
    """
    cells, rows = next(iter(values.values())).shape
    if rows <= points:
        return np.broadcast_to(np.minimum(np.arange(points), rows - 1), (cells, points))
    priority = np.full((cells, rows), 2.0)
    even = np.unique(np.rint(np.linspace(0, rows - 1, points)).astype(np.int64))
    priority[:, even] = _bit_reversed(len(even))[None, :]
    priority[:, [0, rows - 1]] = -1.0
    for name in _MEASURED:
        for sign in (1.0, -1.0):
            extreme = np.argmax(np.where(np.isnan(values[name]), -np.inf, sign * values[name]), axis=1)
            priority[np.arange(cells), extreme] = -1.0
    return np.sort(np.argsort(priority, axis=1, kind="stable")[:, :points], axis=1)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without infinities, and without what single precision cannot hold."""
    return np.where(np.isfinite(values), np.minimum(values, COARSE_POSITIVE.high), np.nan)


def _bit_reversed(count: int) -> NDArray[np.float64]:
    """The van der Corput numbers in [0, 1): the last of them, when left out, leave even gaps."""
    bits = max(1, int(count - 1).bit_length())
    index = np.arange(count)
    return sum(((index >> bit) & 1) / 2.0 ** (bit + 1) for bit in range(bits)) + np.zeros(count)
