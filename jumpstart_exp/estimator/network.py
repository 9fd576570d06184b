"""A trained network in NumPy: what predictions are made with, whether torch and the C++ engine are there or not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr

from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.network import NetworkSpec

Array = npt.NDArray[np.float64]

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@dataclass(frozen=True)
class TrainedNetwork:
    """A network's parameters in float64, by torch's names, and the forward pass in evaluation mode.

    It is the same function as `networks.mlp.RectangularMLP` with these parameters, in double precision.

    Attributes:
        spec: of the network but for its depth and width; its layout is `mlp`.
        depth: hidden layers.
        number: what its activation is tuned by (a leaky ReLU's slope); of a trained slope it is a parameter.
        parameters: weights (units, inputs), biases (units,), norms with their running statistics, slopes, skips.
    """

    spec: NetworkSpec
    depth: int
    number: float
    parameters: Mapping[str, Array]

    def __post_init__(self) -> None:
        """A network that has diverged answers nothing.

        Raises:
            ValueError: a parameter is not finite.
        """
        for name, values in self.parameters.items():
            if not np.isfinite(values).all():
                raise ValueError(f"the network has no finite {name}: it has diverged, and predicts nothing")

    def outputs(self, x: Array) -> Array:
        """Outputs (points, outputs) of points (points, features): logits, of two classes the log-odds of the second."""
        spec, numbers = self.spec, self.parameters
        entered = x
        for layer in range(self.depth):
            block, position = self._place(layer)
            if position == 0:
                entered = x
            pre = self._pre_activation(layer, x, entered)
            x = _activated(spec.activation, pre, float(numbers.get(f"slopes.{layer}", np.array([self.number]))[0]))
            if position == spec.skip_every - 1:
                match spec.skip_scale:
                    case "1":
                        x = entered + x
                    case "zero":
                        x = entered + numbers[f"skips.{block}"] * x
                    case "fixup":
                        pass  # before the activation
                    case other:
                        raise setting_error("network.skip_scale", other, "1, zero or fixup")
        found: Array = x @ numbers["output.weight"].T + numbers["output.bias"]
        return found

    def _place(self, layer: int) -> tuple[int, int]:
        """Block of a layer that a skip goes over, and its position there, both from 0; −2 where none does."""
        every = self.spec.skip_every
        return divmod(layer - 1, every) if 1 <= layer <= self.spec.blocks(self.depth) * every else (-2, -2)

    def _pre_activation(self, layer: int, x: Array, entered: Array) -> Array:
        block, position = self._place(layer)
        if position < 0 or self.spec.skip_scale != "fixup":
            return self._normalised(layer, self._affine(layer, x))
        skip = self.parameters[f"skips.{block}"]
        branch = self._affine(layer, x + skip[2 * position])
        if position == self.spec.skip_every - 1:
            branch = entered + skip[-1] * branch
        shifted: Array = branch + skip[2 * position + 1]
        return shifted

    def _affine(self, layer: int, x: Array) -> Array:
        product: Array = x @ self.parameters[f"hidden.{layer}.weight"].T
        bias = self.parameters.get(f"hidden.{layer}.bias")
        if bias is None:  # in what Fixup skips
            return product
        if not self.spec.farkas:
            return product + bias
        last = max(-bias[:-1].mean(), bias[-1]) - product.mean(axis=1, keepdims=True)
        return np.concatenate([product + bias[:-1], last], axis=1)

    def _normalised(self, layer: int, x: Array) -> Array:
        spec, numbers = self.spec, self.parameters
        match spec.norm:
            case "none":
                return x
            case "batch":
                mean, variance = (numbers[f"norms.{layer}.running_{name}"] for name in ("mean", "var"))
            case "layer":
                mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
            case other:
                raise setting_error("network.norm", other, "none, batch or layer")
        normal = (x - mean) / np.sqrt(variance + spec.norm_eps)
        normalised: Array = normal * numbers[f"norms.{layer}.weight"] + numbers[f"norms.{layer}.bias"]
        return normalised


def _leaky(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


_ACTIVATIONS: Mapping[str, Callable[[Array, float], Array]] = {
    "relu": lambda x, _: np.maximum(x, 0),
    "leaky_relu": _leaky,
    "prelu": _leaky,
    "elu": lambda x, _: _elu(x),
    "selu": lambda x, _: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * _elu(x)),
    "gelu": lambda x, _: x * ndtr(x),
    "silu": lambda x, _: x * expit(x),
    "tanh": lambda x, _: np.tanh(x),
    "sigmoid": lambda x, gamma: np.tanh(x * (gamma / 2)),
    "logistic": lambda x, _: expit(x),
    "softplus": lambda x, _: np.where(x > 20, x, np.logaddexp(0, x)),  # torch's own threshold
    "tat": lambda x, slope: np.sqrt(2 / (1 + slope**2)) * _leaky(x, slope),
    "crelu": lambda x, _: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1),
}
"""What `networks.activations` has in torch, entry by entry: (pre-activations, number) → values."""


def _activated(name: str, pre: Array, number: float) -> Array:
    if name not in _ACTIVATIONS:
        raise setting_error("network.activation", name, "one of " + ", ".join(_ACTIVATIONS))
    return _ACTIVATIONS[name](pre, number)
