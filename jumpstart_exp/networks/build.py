"""The network that a cell describes."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.initialisation import AffineLayer, drawn
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.networks.norms import NORMS
from jumpstart_exp.networks.rectangular import has_bias, place_of, skip_numbers
from jumpstart_exp.settings import setting_error

Array = npt.NDArray[np.float64]


def build(cell: Cell) -> RectangularMLP | RectangularCNN:
    """The cell's network with its initial parameters, in their type, on the CPU."""
    dataset, spec = cell.dataset, cell.network
    network: RectangularMLP | RectangularCNN
    match spec.layout:
        case "cnn":
            assert dataset.image is not None
            network = RectangularCNN(dataset.image, cell.widths, dataset.outputs, spec)
        case _:
            network = RectangularMLP(dataset.features, cell.widths, dataset.outputs, spec)
    network.to(dtype(cell))
    begins = initial_parameters(cell)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(begins[name]))
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
    """Shapes of a network's parameters by torch's names, layer by layer.

    Of a hidden layer: weight, bias, those of its norm, its activation's trained slope, and of the last that a skip goes
    over what is trained of the skip (`skip_numbers`); then weight and bias of the output layer.
    """
    spec, activation, skip = cell.network, activation_of(cell.network), (len(skip_numbers(cell.network)),)
    taps: tuple[int, ...]
    match spec.layout:
        case "cnn":
            assert cell.dataset.image is not None
            taps, inputs = (spec.kernel, spec.kernel), cell.dataset.image[0]
        case "conv2x1":
            taps, inputs = (2,), 1
        case "mlp":
            taps, inputs = (), cell.dataset.features
        case other:
            raise setting_error("network.layout", other, "mlp, conv2x1 or cnn")
    norm = block(NORMS, "network.norm", spec.norm)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, width in enumerate(cell.widths):
        place = place_of(spec, cell.depth, layer)
        shapes[f"hidden.{layer}.weight"] = (width - spec.farkas, inputs, *taps)
        if has_bias(spec, cell.depth, layer):
            shapes[f"hidden.{layer}.bias"] = (width,)
        shapes |= {f"norms.{layer}.{name}": (width,) for name in norm.parameters}
        if activation.is_trained:
            shapes[f"slopes.{layer}"] = (1,)
        if place is not None and place.position == spec.skip_every - 1 and skip != (0,):
            shapes[f"skips.{place.block}"] = skip
        inputs = width * activation.outputs
    match spec.layout, spec.head:
        case ("mlp" | "conv2x1", _) | ("cnn", "flatten"):
            seen = inputs * cell.positions
        case "cnn", "max_avg_pool":
            seen = 2 * inputs
        case _, other:
            raise setting_error("network.head", other, "flatten or max_avg_pool")
    return shapes | {"output.weight": (cell.dataset.outputs, seen), "output.bias": (cell.dataset.outputs,)}


def initial_parameters(cell: Cell) -> dict[str, Array]:
    """Every parameter as the cell's network begins, in float64, by the names and in the order of `parameter_shapes`."""
    spec, activation = cell.network, activation_of(cell.network)
    number = activation.number(spec, cell.depth)
    found: dict[str, Array] = {}
    for name, shape in parameter_shapes(cell).items():
        part, _, last = name.rpartition(".")
        group, _, layer = part.partition(".")
        if last == "weight" and group in ("hidden", "output"):
            found[name], biases = drawn(
                affine_layer(cell, int(layer) if layer else cell.depth, shape), spec.init, spec.init_source
            )
        elif last == "bias" and group in ("hidden", "output"):
            found[name] = biases
        elif group == "norms":
            found[name] = {"weight": np.ones, "bias": np.zeros}[last](shape)
        elif part == "slopes":
            found[name] = np.full(shape, number)
        elif part == "skips":
            found[name] = np.array(skip_numbers(spec))
        else:
            raise ValueError(f"nobody says how {name} begins")
    return found


def affine_layer(cell: Cell, index: int, shape: tuple[int, ...], draw: int = 0) -> AffineLayer:
    """What an initialisation has to know of an affine layer.

    Args:
        cell: whose layer it is.
        index: of hidden layers from 0, the output layer's is the depth.
        shape: of its weights.
        draw: how often it was drawn before.
    """
    spec, activation = cell.network, activation_of(cell.network)
    number, is_output = activation.number(spec, cell.depth), index == cell.depth
    return AffineLayer(
        seed=cell.seed,
        index=index,
        shape=shape,
        biases=cell.dataset.outputs if is_output else cell.widths[index] * has_bias(spec, cell.depth, index),
        is_output=is_output,
        leak=0.0 if activation.leak is None else activation.leak(number),
        gain=activation.gain(number),
        hyperplane=(spec.init_norm, spec.init_at, spec.init_gain) if spec.init == "hyperplane" else None,
        factor=_fixup_factor(cell, index),
        draw=draw,
    )


def _fixup_factor(cell: Cell, index: int) -> float:
    """What Fixup multiplies a layer's weights with (Zhang, Dauphin and Ma 2019)."""
    match cell.network.skip_scale:
        case "1" | "zero":
            return 1.0
        case "fixup":
            every, place = cell.network.skip_every, place_of(cell.network, cell.depth, index)
            if cell.blocks and (index == cell.depth or (place is not None and place.position == every - 1)):
                return 0.0
            return 1.0 if place is None else float(cell.blocks ** (-1 / (2 * every - 2)))
        case other:
            raise setting_error("network.skip_scale", other, "1, zero or fixup")


def running_shape(cell: Cell) -> tuple[int, int, int]:
    """Shape of all running statistics together: statistics of the norm, layers, units; (2, layers, 0) without any."""
    statistics = block(NORMS, "network.norm", cell.network.norm).statistics
    return (len(statistics) or 2, cell.depth, cell.width if statistics else 0)


def count_parameters(network: nn.Module) -> int:
    """Every trainable number, output layer and norms included."""
    return sum(parameter.numel() for parameter in network.parameters())
