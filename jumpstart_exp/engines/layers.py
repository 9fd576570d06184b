"""Settings of the optimizer that are of layers: which are trained, and what is asked of the rows of their weights."""

import torch
from torch import Tensor

from jumpstart_exp.cell import Cell


def is_trained(cell: Cell, name: str) -> bool:
    """Whether a step changes the parameter of this name in torch: it does not outside of `optimizer.trained_layers`."""
    layers = cell.optimizer.trained_layers
    return layers is None or layer_of(name, cell.depth) in layers


def layer_of(name: str, depth: int) -> int:
    """The layer of the parameter of this name in torch, counted from 1; depth + 1 is the output layer.

    Raises:
        ValueError: it is no layer's.
    """
    group, _, rest = name.partition(".")
    match group:
        case "hidden" | "norms" | "slopes":
            return 1 + int(rest.partition(".")[0])
        case "output":
            return depth + 1
        case _:
            raise ValueError(f"the parameter {name} is no layer's")


def row_weights(cell: Cell) -> list[str]:
    """Torch's names of the weights whose rows are penalised or limited."""
    layers = cell.optimizer.row_layers if cell.optimizer.acts_on_rows else ()
    return ["output.weight" if layer > cell.depth else f"hidden.{layer - 1}.weight" for layer in layers]


def limit_rows(weight: Tensor, limit: float | Tensor, before: int = 0) -> None:
    """Scale rows that are longer than κ back to it, in place (van den Berg 2014, section 5.2: projected training).

    A row that is no number stays none, and one whose length is infinite becomes none.

    Args:
        weight: (…, rows, inputs, …), with so many axes of networks in front.
        limit: κ, a number or of every network, with as many axes as `weight`.
        before: axes of networks.
    """
    axes = tuple(range(before + 1, weight.dim()))
    norm = torch.linalg.vector_norm(weight.double(), dim=axes, keepdim=True)
    scale = limit / norm + (norm - norm)  # NaN, not 0, where the norm is infinite
    weight.mul_(torch.where(norm > limit, scale, 1.0).to(weight.dtype))
