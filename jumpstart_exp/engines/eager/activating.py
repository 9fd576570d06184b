"""What a CNN's layer does to its pre-activations: any activation by autograd, the ReLU in passes of its own.

The ReLU works in place and notes the extremes of its constraints in the same pass over the activations, so that the
backward pass needs only where these are (`_SeparatedReLU`). Where constraints need the pre-activations once more, these
are what is kept, and the ReLU is done again in the backward pass (`_ConvolutionOfReLU`).
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumpstart_exp.engines.native.kernels import separate
from jumpstart_exp.losses.extremes import find_extremes, flat_entries, whole_extremes
from jumpstart_exp.networks.activations import ACTIVATIONS, Activation
from jumpstart_exp.networks.rectangular import RectangularNetwork


class Activating(Protocol):
    """An activation of (points, channels, height, width)."""

    def apply(self, g: Tensor) -> Tensor:
        """The activations; g is not used any more."""

    def separate(self, g: Tensor, margin_above: float, margin_below: float) -> tuple[Tensor, Tensor, Tensor]:
        """The activations, and extremes of whole channels (2, channels) and points (2, points); g is not used any more.

        A tie goes to the lowest flat index in (point, channel, position) order. Where an extreme reaches its margin its
        gradient is not given on.
        """

    def of_kept(self, g: Tensor) -> Tensor:
        """The activations, where g is kept anyway."""

    def convolution_of_kept(self, g: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        """A convolution of the activations, where g is kept anyway."""


def activating(network: RectangularNetwork) -> Activating:
    """The passes of a plain network's activation."""
    if network.activation is ACTIVATIONS["relu"]:
        return FusedReLU()
    return PlainActivating(network.activation, network.number)


class PlainActivating:
    """Any activation, by autograd."""

    def __init__(self, activation: Activation, number: float) -> None:
        self.activation, self.number = activation, number

    def apply(self, g: Tensor) -> Tensor:
        """The activations."""
        return self.activation.value(g, self.number)

    def separate(self, g: Tensor, margin_above: float, margin_below: float) -> tuple[Tensor, Tensor, Tensor]:
        """The activations, and extremes of whole channels and points."""
        return self.activation.value(g, self.number), *whole_extremes(g)

    def of_kept(self, g: Tensor) -> Tensor:
        """The activations."""
        return self.activation.value(g, self.number)

    def convolution_of_kept(self, g: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        """A convolution of the activations."""
        return F.conv2d(self.activation.value(g, self.number), weight, bias, padding=padding)


class FusedReLU:
    """The ReLU, in place where it can be."""

    def apply(self, g: Tensor) -> Tensor:
        """The activations, in g's place."""
        h: Tensor = _ReLU.apply(g)  # type: ignore[no-untyped-call]
        return h

    def separate(self, g: Tensor, margin_above: float, margin_below: float) -> tuple[Tensor, Tensor, Tensor]:
        """The activations, in g's place, and extremes of whole channels and points."""
        found: tuple[Tensor, Tensor, Tensor] = _SeparatedReLU.apply(g, margin_above, margin_below)  # type: ignore[no-untyped-call]
        return found

    def of_kept(self, g: Tensor) -> Tensor:
        """The activations."""
        h: Tensor = _ReLUOfKept.apply(g)  # type: ignore[no-untyped-call]
        return h

    def convolution_of_kept(self, g: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        """A convolution of the activations, which are not kept."""
        found: Tensor = _ConvolutionOfReLU.apply(g, weight, bias, padding)  # type: ignore[no-untyped-call]
        return found


class _ReLU(torch.autograd.Function):
    """ReLU in place, forward and backward."""

    @staticmethod
    def forward(ctx: Any, g: Tensor) -> Tensor:
        h = g.relu_()
        ctx.mark_dirty(h)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return _masked(grad, h)


class _ReLUOfKept(torch.autograd.Function):
    """ReLU of pre-activations that are kept anyway: its outputs are not."""

    @staticmethod
    def forward(ctx: Any, g: Tensor) -> Tensor:
        ctx.save_for_backward(g)
        return torch.relu(g)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (g,) = ctx.saved_tensors
        return _masked(grad, g)


class _SeparatedReLU(torch.autograd.Function):
    """ReLU in place with the extremes of every channel (over points and positions) and point (channels, positions).

    A tie goes to the lowest flat index in (point, channel, position) order. What is kept beside ReLU's output is one
    index an extreme. Where an extreme reaches its margin the penalty's gradient is 0, and the index of no matter.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, margin_above: float, margin_below: float) -> tuple[Tensor, Tensor, Tensor]:
        found = separate(g, margin_above, margin_below)
        if found is None:
            units, unit_entries, points, point_entries = find_extremes(g)
            unit_entries, point_entries = (flat_entries(entries, g) for entries in (unit_entries, point_entries))
            g.relu_()
        else:
            units, unit_entries, points, point_entries = found
        ctx.mark_dirty(g)
        ctx.save_for_backward(g, unit_entries, point_entries)
        return g, units, points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, unit_grad: Tensor, point_grad: Tensor) -> tuple[Tensor, None, None]:
        h, unit_entries, point_entries = ctx.saved_tensors
        masked = _masked(grad, h)
        flat = masked.as_strided((masked.numel(),), (1,))  # dense in memory, whatever the order of its axes
        entries = torch.cat([unit_entries.flatten(), point_entries.flatten()])
        pulls = torch.cat([unit_grad.flatten(), point_grad.flatten()])
        flat.index_add_(0, entries, pulls.to(flat.dtype))
        return masked, None, None


def _masked(grad: Tensor, h: Tensor) -> Tensor:
    """The gradient of ReLU's input; in the gradient's own memory where that is laid out like h: nobody else has it."""
    if grad.stride() != h.stride():
        grad = torch.empty_like(h).copy_(grad)
    masked: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, h, 0, grad_input=grad)
    return masked


class _ConvolutionOfReLU(torch.autograd.Function):
    """A convolution of ReLU(g) that keeps g and not the ReLU's output."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(g, weight)
        ctx.padding = padding
        return F.conv2d(torch.relu(g), weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        g, weight = ctx.saved_tensors
        below, of_weight, of_bias = convolution_gradients(grad, torch.relu(g), weight, ctx.padding)
        return _masked(below, g), of_weight, of_bias, None


def convolution_gradients(grad: Tensor, x: Tensor, weight: Tensor, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a convolution's input, weight and bias.

    Args:
        grad: of its outputs.
        x: its input.
        weight: its weight.
        padding: on each side.
    """
    below, of_weight, of_bias = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        [weight.shape[0]],
        [1, 1],
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        1,
        [True, True, True],
    )
    return below, of_weight, of_bias
