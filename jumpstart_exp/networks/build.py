"""The network that a cell describes."""

from typing import Any

import torch
from torch import nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.initialisation import initialise
from jumpstart_exp.networks.mlp import RectangularMLP


def build(cell: Cell) -> RectangularMLP | RectangularCNN:
    """The cell's network with its initial weights, in the type of its parameters, on the CPU."""
    dataset, spec = cell.dataset, cell.network
    outputs = 1 if dataset.classes == 2 else dataset.classes
    norm: dict[str, Any] = {"norm": spec.norm, "norm_eps": spec.norm_eps, "norm_momentum": spec.norm_momentum}
    network: RectangularMLP | RectangularCNN
    if spec.layout == "cnn":
        assert dataset.image is not None
        size = (dataset.image, cell.depth, cell.width, outputs)
        network = RectangularCNN(*size, kernel=spec.kernel, head=spec.head, **norm)
    else:
        network = RectangularMLP(dataset.features, cell.depth, cell.width, outputs, layout=spec.layout, **norm)
    network.to(dtype(cell))
    initialise([*network.hidden, network.output], spec.init, cell.seed)
    return network


def dtype(cell: Cell) -> torch.dtype:
    """The torch type of the cell's parameters."""
    return torch.float64 if cell.precision == "float64" else torch.float32


def count_parameters(network: nn.Module) -> int:
    """Every trainable number, output layer and batch-norm affine included."""
    return sum(parameter.numel() for parameter in network.parameters())
