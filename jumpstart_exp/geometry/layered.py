"""Networks as the paper writes them: layers ν(A x − b), in float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.networks.activations import ACTIVATIONS, Activation
from jumpstart_exp.networks.blocks import block


@dataclass(frozen=True)
class Nonlinearity:
    """An activation at its number: γ of the sigmoid and the logistic function."""

    activation: Activation
    number: float = 0.0

    def value(self, pre: Tensor) -> Tensor:
        """Of pre-activations of any shape."""
        return self.activation.value(pre, self.number)

    def derivative(self, pre: Tensor) -> Tensor:
        """At pre-activations of any shape."""
        return self.activation.derivative(pre, self.number)


def sigmoid(gamma: float = 1.0) -> Nonlinearity:
    """σ_γ(x) = 2/(1 + exp(−γx)) − 1 (equation 2)."""
    return Nonlinearity(ACTIVATIONS["sigmoid"], gamma)


def logistic(gamma: float = 1.0) -> Nonlinearity:
    """ℓ_γ(x) = 1/(1 + exp(−γx)) (equation 2)."""
    plain = ACTIVATIONS["logistic"]
    scaled = Activation(
        lambda pre, gamma: plain.value(gamma * pre, 0.0),
        lambda pre, gamma: gamma * plain.derivative(gamma * pre, 0.0),
        is_smooth=True,
    )
    return Nonlinearity(scaled, gamma)


def identity() -> Nonlinearity:
    """What it is given; of a last layer, whose softmax is the loss's."""
    return Nonlinearity(Activation(lambda pre, _: pre, lambda pre, _: torch.ones_like(pre)))


def named(activation: str, number: float = 0.0) -> Nonlinearity:
    """An activation by its name among the choices of `network.activation`, at its number (a slope, γ).

    Raises:
        SettingError: there is none of this name.
    """
    return Nonlinearity(block(ACTIVATIONS, "activation", activation), number)


Numbers = Sequence[Sequence[float]] | Tensor


class LayeredNetwork(nn.Module):
    """x_k = ν_k(A_k x_{k−1} − b_k) for k = 1 … n (equation 1): mind the minus.

    Args:
        layers: A_k (outputs, inputs), b_k (outputs,) and ν_k of every layer.
    """

    def __init__(self, layers: Sequence[tuple[Numbers, Sequence[float] | Tensor, Nonlinearity]]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.as_tensor(a, dtype=torch.float64).clone() for a, _, _ in layers)
        self.offsets = nn.ParameterList(torch.as_tensor(b, dtype=torch.float64).clone() for _, b, _ in layers)
        self.nonlinearities = [nonlinearity for *_, nonlinearity in layers]

    def forward(self, x: Tensor) -> Tensor:
        """x_n (points, outputs) of x_0 (points, inputs)."""
        for weight, offset, nonlinearity in zip(self.weights, self.offsets, self.nonlinearities, strict=True):
            x = nonlinearity.value(F.linear(x, weight, -offset))
        return x

    def scaled(self, gamma: float) -> "LayeredNetwork":
        """The network with all weights and offsets γ times as large (figure 12)."""
        return LayeredNetwork(
            [
                (gamma * weight.detach(), gamma * offset.detach(), nonlinearity)
                for weight, offset, nonlinearity in zip(self.weights, self.offsets, self.nonlinearities, strict=True)
            ]
        )


def example_network() -> LayeredNetwork:
    """The three-layer network of equation 8; its outputs are what the softmax is given."""
    return LayeredNetwork(
        [
            ([[1.0, 0.3], [0.4, -1.0]], [-1.0, 0.5], sigmoid(3)),
            ([[-1, -1], [1, -1], [1, 1], [-1, 1]], [1, 1, 1, 1], sigmoid(3)),
            ([[1, 0, 1, 0], [0, 1, 0, 1]], [-1.1, -1.1], identity()),
        ]
    )


def example_classes(points: Tensor) -> Tensor:
    """The class of each point (points,) of the plane, (points, 2), for the network of equation 8.

    0, that of the first output, in the upper left and the lower right quadrant, 1 in the others: the paper shows them
    (figure 10 a) and does not say them; with these a fifth of [−5, 5]² is misclassified, at the top of the lower left
    quadrant too, as in figure 12; with the two exchanged, four fifths.
    """
    return ((points[:, 0] < 0) == (points[:, 1] < 0)).long()
