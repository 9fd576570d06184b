"""Methods: what is added to a training beside the task's loss. One that is code is a file here."""

from jumpstart_exp.cell import Cell
from jumpstart_exp.methods.interface import Batch, Method
from jumpstart_exp.methods.regulariser import Regulariser
from jumpstart_exp.methods.separation import Separation

__all__ = ["Batch", "Method", "methods_of"]


def methods_of(cell: Cell) -> tuple[Method, ...]:
    """What the cell's training has beside the task's loss."""
    separation = (Separation(cell),) if cell.penalty_weight else ()
    return (*separation, Regulariser(cell)) if cell.regulariser_weight else separation
