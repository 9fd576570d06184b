"""Methods: what is added to a training beside the task's loss. One that is code is a file here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jumpstart_exp.cell import Cell
from jumpstart_exp.methods.interface import Batch, Method

if TYPE_CHECKING:
    from jumpstart_exp.methods.relaxation import Relaxation

__all__ = ["Batch", "Method", "methods_of", "needs_pre_activations", "relaxation_of"]


def methods_of(cell: Cell) -> tuple[Method, ...]:
    """What the cell's training has beside the task's loss."""
    from jumpstart_exp.methods.regulariser import Regulariser
    from jumpstart_exp.methods.relaxation import Relaxation
    from jumpstart_exp.methods.separation import Separation

    found: list[Method] = []
    if cell.penalty_weight:
        found.append(Separation(cell))
    if cell.regulariser_weight:
        found.append(Regulariser(cell))
    if cell.rai_weight:
        found.append(Relaxation(cell))
    return tuple(found)


def needs_pre_activations(cell: Cell) -> bool:
    """Whether one of `methods_of` needs them: known without making any, which takes torch."""
    return bool(cell.regulariser_weight or cell.rai_weight)


def relaxation_of(methods: Sequence[Method]) -> "Relaxation | None":
    """The one of a training's methods that relaxes layers, if there is one."""
    from jumpstart_exp.methods.relaxation import Relaxation

    return next((method for method in methods if isinstance(method, Relaxation)), None)
