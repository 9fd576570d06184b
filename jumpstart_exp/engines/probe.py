"""What the engines' equality contract compares: the next step's loss, penalty and gradients after some steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


Tensors: TypeAlias = Mapping[str, "npt.NDArray[np.float64]"]
"""Tensors by torch's names of the network's parameters: `hidden.0.weight`, `norms.0.bias`, `output.weight`."""


@dataclass(frozen=True)
class Probe:
    """One full-batch step as an engine computes it, before its update.

    Losses are before their weights; the gradients are of the total loss, task loss + λ·penalty + weight·relaxation, and
    of all layers, whatever the optimizer adds to them (decay, the rows' penalty) and whichever it trains.
    Everything is float64, rounded to the cell's precision where the engine works in it. What methods train beside the
    network stands under its own names.
    """

    task_loss: float
    penalty: float
    gradients: Tensors
    parameters: Tensors
    relaxation: float = 0.0
    method_gradients: Tensors = field(default_factory=dict)
    method_parameters: Tensors = field(default_factory=dict)
