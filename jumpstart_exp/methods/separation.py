"""The separation penalty as a term of the loss."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.settings import setting_error


class Separation:
    """The penalty that a cell describes, with λ as its weight (CPAIOR, section 3)."""

    needs_pre_activations: ClassVar[bool] = False  # a CNN's pass computes it by itself
    rate = 1.0

    def __init__(self, cell: Cell) -> None:
        self.penalty = SeparationPenalty.from_spec(cell.penalty)
        self.weights: Mapping[str, float] = {"separation": cell.penalty_weight}

    def extra_parameters(self, cell: Cell, data: Data) -> dict[str, Tensor]:
        """None."""
        return {}

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The penalty of the batch."""
        if batch.separation is not None:
            return {"separation": batch.separation}
        return {"separation": self.penalty(self._constrained(batch), tie_draws=batch.tie_draws)}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """The penalty of the set."""
        return self.loss_terms(batch)

    def _constrained(self, batch: Batch) -> Sequence[Tensor]:
        match self.penalty.spec.layers:
            case "hidden":
                return batch.pre_activations
            case "all":
                return [*batch.pre_activations, batch.outputs]
            case other:
                raise setting_error("penalty.layers", other, "hidden or all")
