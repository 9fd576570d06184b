"""What a method is: what it adds to a training beside the task's loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data

if TYPE_CHECKING:
    from torch import Tensor

    from jumpstart_exp.losses.separation import TieDraws


@dataclass(frozen=True)
class Batch:
    """A batch, or a whole set in evaluation mode, as it has gone through the network.

    Attributes:
        outputs: of the network, (points, outputs).
        kept: pre-activations of each hidden layer; None where the pass has computed the separation penalty itself.
        separation: that penalty, a scalar before λ; None where the pre-activations are there.
        tie_draws: draws for random ties of that penalty.
        parameters: what the methods train beside the network, by name.
        network: the network's own parameters by torch's names; empty where the pass does not hand them on.
        relaxed: hidden losses of the relaxed layers, scalars; None where the pass relaxes nothing.
    """

    outputs: Tensor
    kept: Sequence[Tensor] | None = None
    separation: Tensor | None = None
    tie_draws: TieDraws | None = None
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    network: Mapping[str, Tensor] = field(default_factory=dict)
    relaxed: Sequence[Tensor] | None = None

    @property
    def pre_activations(self) -> Sequence[Tensor]:
        """Of each hidden layer, (points, units) or (points, channels, positions).

        Raises:
            ValueError: the pass has not kept them.
        """
        if self.kept is None:
            raise ValueError("this pass keeps no pre-activations (a CNN's computes the penalty by itself)")
        return self.kept


class Method(Protocol):
    """Parameters and terms of the loss that a method adds to a training."""

    needs_pre_activations: ClassVar[bool]
    """Whether its terms are of the pre-activations themselves, which a CNN's pass does not keep."""
    rate: float
    """Learning rate of its parameters as a multiple of the network's."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Of its terms in the loss, by name."""

    def extra_parameters(self, cell: Cell, data: Data) -> dict[str, Tensor]:
        """What is trained beside the network, as it begins, by name; checkpoints keep it.

        An optimizer of its own descends it, the cell's with a learning rate `rate` times as large and without decay.
        """

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Its terms of the loss, by name: scalars before their weights."""

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """What is measured of a whole set in evaluation mode, scalars by name; called without gradients."""
