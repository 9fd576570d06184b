"""A network's states at chosen epochs of its training, handed out while it goes on as if nobody looked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.probe import Tensors


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


def running_tensors(running: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensors:
    """The batch norms' statistics, (2, depth, width), means and variances, by torch's names; none of width 0."""
    if not running.size:
        return {}
    names = ("running_mean", "running_var")
    return {
        f"norms.{layer}.{name}": running[row, layer]
        for layer in range(running.shape[1])
        for row, name in enumerate(names)
    }
