"""Initial weights: each affine layer's from its own stream of random numbers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jumpstart_exp.randomness import symmetric_uniform


def initialise(layers: Sequence[nn.Module], init: str, seed: int) -> None:
    """Give affine layers (input to output) their initial weights, each from its own stream (seed, layer).

    * `glorot_uniform`: weights U(±√(6/(fan_in + fan_out))), biases zero (Glorot and Bengio, 2010).
    * `kaiming_uniform`: torch's layer default, weights and then biases U(±1/√fan_in).
    * `zero`: everything zero (SepCons, section 3).

    A convolution's fans count its kernel positions: kernel·in and kernel·out.
    """
    for index, layer in enumerate(layers):
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
        kernel = weight[0, 0].numel()
        fan_in, fan_out = kernel * weight.shape[1], kernel * weight.shape[0]
        with torch.no_grad():
            bias.zero_()
            if init == "zero":
                weight.zero_()
                continue
            numbers = torch.from_numpy(symmetric_uniform(seed, index, weight.numel() + bias.numel()))
            if init == "glorot_uniform":
                bound = math.sqrt(6 / (fan_in + fan_out))
            else:
                bound = 1 / math.sqrt(fan_in)
                bias.copy_(bound * numbers[weight.numel() :])
            weight.copy_((bound * numbers[: weight.numel()]).reshape(weight.shape))
