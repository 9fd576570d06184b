"""A network's states at chosen epochs of its training, handed out while it goes on as if nobody looked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.late import LateModule
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.norms import NORMS

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateModule("numpy")


@dataclass(frozen=True)
class StateRecorder:
    """The epochs after which an engine hands out the parameters of every cell that it trains.

    Attributes:
        epochs: counted from 1, ascending; those beyond a training are never reached.
        on_state: called with the cell, the epochs done, and the network's tensors in float64 by torch's names, running
            statistics of batch norms included: `hidden.0.weight`, `norms.0.running_mean`.
    """

    epochs: Sequence[int]
    on_state: Callable[[Cell, int, Tensors], None]

    def __post_init__(self) -> None:
        """Epochs out of order would be missed."""
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError("the epochs of a watch must be ascending")


def running_tensors(running: np.ndarray[tuple[int, ...], np.dtype[np.float64]], cell: Cell) -> Tensors:
    """The norms' running statistics, of the shape of `running_shape`, by torch's names."""
    return {
        f"norms.{layer}.{name}": running[row, layer, :width]
        for layer, width in enumerate(cell.widths)
        for row, name in enumerate(block(NORMS, "network.norm", cell.network.norm).statistics)
    }
