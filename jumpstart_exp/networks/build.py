"""The network that a cell describes."""

from typing import Any

import torch
from torch import nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.initialisation import initialise
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.networks.norms import NORMS
from jumpstart_exp.settings import setting_error


def build(cell: Cell) -> RectangularMLP | RectangularCNN:
    """The cell's network with its initial weights, in the type of its parameters, on the CPU."""
    dataset, spec = cell.dataset, cell.network
    blocks: dict[str, Any] = {name: getattr(spec, name) for name in ("activation", "norm", "norm_eps", "norm_momentum")}
    network: RectangularMLP | RectangularCNN
    match spec.layout:
        case "cnn":
            assert dataset.image is not None
            size = (dataset.image, cell.depth, cell.width, dataset.outputs)
            network = RectangularCNN(*size, kernel=spec.kernel, head=spec.head, **blocks)
        case layout:
            network = RectangularMLP(dataset.features, cell.depth, cell.width, dataset.outputs, layout=layout, **blocks)
    network.to(dtype(cell))
    initialise([*network.hidden, network.output], spec.init, cell.seed, network.activation.gain)
    return network


def dtype(cell: Cell) -> torch.dtype:
    """The torch type of the cell's parameters."""
    match cell.precision:
        case "float64":
            return torch.float64
        case "float32" | "tf32" | "bf16":
            return torch.float32
        case other:
            raise setting_error("precision", other, "float32, float64, tf32 or bf16")


def parameter_shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's parameters by torch's names: weight and bias of each layer, then of its norm."""
    width, spec = cell.width, cell.network
    taps: tuple[int, ...]
    match spec.layout:
        case "cnn":
            assert cell.dataset.image is not None
            taps, channels = (spec.kernel, spec.kernel), cell.dataset.image[0]
        case "conv2x1":
            taps, channels = (2,), 1
        case "mlp":
            taps, channels = (), cell.dataset.features
        case other:
            raise setting_error("network.layout", other, "mlp, conv2x1 or cnn")
    norm = block(NORMS, "network.norm", spec.norm)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(cell.depth):
        shapes[f"hidden.{layer}.weight"] = (width, width if layer else channels, *taps)
        shapes[f"hidden.{layer}.bias"] = (width,)
        shapes |= {f"norms.{layer}.{name}": (width,) for name in norm.parameters}
    match spec.layout, spec.head:
        case ("mlp" | "conv2x1", _) | ("cnn", "flatten"):
            seen = width * cell.positions
        case "cnn", "max_avg_pool":
            seen = 2 * width
        case _, other:
            raise setting_error("network.head", other, "flatten or max_avg_pool")
    return shapes | {"output.weight": (cell.dataset.outputs, seen), "output.bias": (cell.dataset.outputs,)}


def running_shape(cell: Cell) -> tuple[int, int, int]:
    """Shape of all running statistics together: statistics of the norm, layers, units; (2, layers, 0) without any."""
    statistics = block(NORMS, "network.norm", cell.network.norm).statistics
    return (len(statistics) or 2, cell.depth, cell.width if statistics else 0)


def count_parameters(network: nn.Module) -> int:
    """Every trainable number, output layer and norms included."""
    return sum(parameter.numel() for parameter in network.parameters())
