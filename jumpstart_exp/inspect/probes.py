"""Probes of a cell's kept states: what its network does to the plane, and where its gradient lives, as one tidy table.

Networks are in evaluation mode and float64; the gradients' variation alone is that of the training as it is. Nothing is
trained.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from jumpstart_exp.data.loading import load
from jumpstart_exp.engines.eager.engine import torch_for
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.geometry import decision_regions, gradient_field, linear_regions, soft_boundary
from jumpstart_exp.geometry.variation import drawn_from, fitted_variation, gradient_variation
from jumpstart_exp.inspect.probe_files import COLUMNS
from jumpstart_exp.inspect.probed_state import Probed
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.settings import SettingError

RESOLUTION = 200
"""Points of the plane each way, of gradients and decisions."""

MOST_CELLS = 100_000
"""Of linear regions: more, as large convolutions have, would take minutes."""

BATCHES, DRAWS = (4, 16, 64), 100
"""Sizes of the batches whose gradients are compared, and how many are drawn of each, with replacement."""

Rows = Iterator[tuple[int, str, float]]
"""Layer, quantity and value."""


def _regions(of: Probed) -> Rows:
    found = linear_regions(of.network, of.plane, most_cells=MOST_CELLS)
    yield 0, "regions", found.region_count
    yield 0, "cells", found.cell_count
    yield from _by_layer(found.by_layer(), ("cells", "born"))


def _decisions(of: Probed) -> Rows:
    if of.states.cell.dataset.task != "classification":
        raise SettingError(f"decisions are of classes, and the task is {of.states.cell.dataset.task}")
    found = decision_regions(of.network, of.plane, RESOLUTION)
    yield 0, "decision_regions", float(found["regions"].sum())
    band = soft_boundary(of.network, of.plane, RESOLUTION)
    yield 0, "boundary", band.length
    yield 0, "unsure", band.share
    yield 0, "width", band.mean_width


def _gradients(of: Probed) -> Rows:
    field = gradient_field(of.network, of.plane, of.nearest, across=RESOLUTION, loss=of.loss)
    yield from _by_layer(field.localisation(), ("localisation", "maximum", "mean"))


def _variation(of: Probed) -> Rows:
    """Of the training's own loss of a batch: penalties and batch norm see all of its points."""
    cell, states = of.states.cell, of.states
    if cell.rai_weight:
        raise SettingError("its loss has values of its own for every training point: a batch of others has none")
    training = Training(cell, of.data, torch.device("cpu"))
    training.network.load_state_dict(of.network.state_dict())
    training.steps = min(int(states.epochs[of.state]) * training.batch_count, training.total_steps - 1)
    x, y = (each.double() if each.is_floating_point() else each for each in training.full_batch())

    def loss(network: nn.Module, rows: Tensor, _: Tensor) -> Tensor:
        assert isinstance(network, type(training.network))
        training.forward.network, training.named_parameters = network, dict(network.named_parameters())
        return training.loss(x[rows], y[rows], int(states.epochs[of.state]), 0, rows).total

    numbers = torch.arange(len(x))
    sampler = drawn_from(numbers, numbers)
    found = gradient_variation(training.network, sampler, BATCHES, draws=DRAWS, loss=loss, seed=cell.seed)
    fitted = fitted_variation(found).rename(columns={"c": "variation"})
    yield from _by_layer(fitted.assign(layer=range(1, len(fitted) + 1)), ("variation", "exponent"))


def _by_layer(frame: pd.DataFrame, quantities: Sequence[str]) -> Rows:
    for row in frame.to_dict("records"):
        for quantity in quantities:
            yield int(row["layer"]), quantity, float(row[quantity])


PROBES: Mapping[str, Callable[[Probed], Rows]] = {
    "regions": _regions,
    "decisions": _decisions,
    "gradients": _gradients,
    "variation": _variation,
}
"""Every probe by its name."""


def probe(states: RecordedStates, state: int, name: str, data_dir: Path) -> pd.DataFrame:
    """What a probe tells of one state of a cell, with COLUMNS.

    Raises:
        DataError: the dataset's files are missing or damaged.
        SettingError: it cannot be applied to this network; the message says why.
    """
    of = Probed(states, state, load(states.cell.dataset, data_dir))
    with torch_for(states.cell):
        rows = [(name, int(states.epochs[state]), *found) for found in PROBES[name](of)]
    return pd.DataFrame(rows, columns=[*COLUMNS])
