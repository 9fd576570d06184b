"""Initial weights: each affine layer's from its own stream of random numbers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jumpstart_exp.networks.blocks import block
from jumpstart_exp.randomness import symmetric_uniform

Bound = Callable[[int, int], float]
"""(fan_in, fan_out) → b of U(±b). A convolution's fans count its kernel positions: kernel·in and kernel·out."""


@dataclass(frozen=True)
class Initialisation:
    """How an affine layer begins: uniform weights and then biases within their bounds; None for all zero.

    With `reads_by_filter` the first layer has the fans of a 'valid' convolution whose filters cover all features, one
    input channel: as many weights in the same places, but each feature is a tap, so fan_out = features · width.
    """

    weights: Bound | None = None
    biases: Bound | None = None
    reads_by_filter: bool = False
    native: bool = False


def _glorot(fan_in: int, fan_out: int) -> float:
    """Glorot and Bengio, 2010."""
    return math.sqrt(6 / (fan_in + fan_out))


INITIALISATIONS: dict[str, Initialisation] = {
    "glorot_uniform": Initialisation(_glorot, native=True),
    # the authors' MOONS runs at 50×4, which read the two coordinates by a 'valid' 2×1 convolution
    "glorot_uniform_2x1": Initialisation(_glorot, reads_by_filter=True, native=True),
    # torch's layer default
    "kaiming_uniform": Initialisation(
        lambda fan_in, _: 1 / math.sqrt(fan_in), lambda fan_in, _: 1 / math.sqrt(fan_in), native=True
    ),
    # SepCons, section 3
    "zero": Initialisation(native=True),
}
"""Every initialisation under its name among the choices of `network.init`."""


def initialise(layers: Sequence[nn.Module], init: str, seed: int, gain: float = 1.0) -> None:
    """Give affine layers (input to output) their initial weights, each from its own stream (seed, layer).

    Args:
        layers: hidden layers, then the output layer.
        init: a name in `INITIALISATIONS`.
        seed: of the streams.
        gain: factor of the hidden layers' weights: their activation's.

    Raises:
        SettingError: there is no such initialisation.
    """
    rule = block(INITIALISATIONS, "network.init", init)
    for index, layer in enumerate(layers):
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
        kernel = weight[0, 0].numel()
        fan_in, fan_out = kernel * weight.shape[1], kernel * weight.shape[0]
        if rule.reads_by_filter and index == 0:
            fan_out *= weight.shape[1]
        numbers = torch.from_numpy(symmetric_uniform(seed, index, weight.numel() + bias.numel()))
        with torch.no_grad():
            for tensor, bound, part, factor in (
                (weight, rule.weights, numbers[: weight.numel()], gain if index < len(layers) - 1 else 1.0),
                (bias, rule.biases, numbers[weight.numel() :], 1.0),
            ):
                if bound is None:
                    tensor.zero_()
                else:
                    tensor.copy_((factor * bound(fan_in, fan_out) * part).reshape(tensor.shape))
