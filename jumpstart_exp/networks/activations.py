"""Activations: one table, on which every engine switches."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """What a hidden layer does to its pre-activations, entry by entry.

    Attributes:
        value: of pre-activations of any shape, differentiable.
        derivative: at them.
        gain: factor of the initial weights' bounds in the layers that it follows.
        native: whether the C++ engine knows it.
        is_smooth: whether no part of it is linear: then its units are dormant or not, and never dead or linear.
    """

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    gain: float = 1.0
    native: bool = False
    is_smooth: bool = False

    def write(self, pre: Tensor, out: Tensor) -> None:
        """Values into `out`, without gradients."""
        out.copy_(self.value(pre))

    def backward(self, grad: Tensor, pre: Tensor, out: Tensor) -> None:
        """The gradient of the pre-activations into `out`, which may be `grad`, from that of the values."""
        torch.mul(grad, self.derivative(pre), out=out)


class _ReLU(Activation):
    """In torch's fused operations, one pass each."""

    def write(self, pre: Tensor, out: Tensor) -> None:
        torch.clamp_min(pre, 0, out=out)

    def backward(self, grad: Tensor, pre: Tensor, out: Tensor) -> None:
        torch.ops.aten.threshold_backward.grad_input(grad, pre, 0, grad_input=out)


ACTIVATIONS: dict[str, Activation] = {
    "relu": _ReLU(torch.relu, lambda pre: (pre > 0).to(pre.dtype), native=True),
}
"""Every activation under its name among the choices of `network.activation`."""
