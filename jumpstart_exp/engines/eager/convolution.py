"""A CNN's pass as the eager engine runs it: ReLU in place, and no activation kept for the penalty.

Plain autograd keeps a copy of every pre-activation for the penalty, and reads each several times. Here a layer's
ReLU and the extremes of its constraints are one pass over the activations, and the way back needs only where the
extremes are (`single` ties over whole channels: `_SeparatedReLU`). Other constraints need the pre-activations once
more: then these are what is kept, and the ReLU is done again on the way back (`_ConvolutionOfReLU`).
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumpstart_exp.engines.native.kernels import find_positions, pull_positions, separate, takes_rows
from jumpstart_exp.losses.extremes import find_extremes, flat_entries
from jumpstart_exp.losses.separation import Extremes, SeparationPenalty, TieDraws, by_kind
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.result import LayerCensus


def forward(
    network: RectangularCNN,
    x: Tensor,
    penalty: SeparationPenalty | None = None,
    *,
    dropout: Sequence[Tensor] | None = None,
    tie_draws: TieDraws | None = None,
    half: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Logits (points, outputs) and the penalty, a scalar before λ; None without one.

    Equal to the network's own `forward` and the penalty of its pre-activations.

    Args:
        network: float32 or float64.
        x: images, (points, channels, height, width).
        penalty: None for none.
        dropout: a factor for the input of every hidden layer.
        tie_draws: draws for `random` ties.
        half: convolutions, activations and the head's product in bfloat16.
    """
    compute = torch.bfloat16 if half else network.output.weight.dtype
    x = x.to(compute, memory_format=torch.channels_last)
    whole_channels = penalty is not None and penalty.spec.scope == "channel" and penalty.spec.ties == "single"
    extremes: list[Extremes] = []
    parts: list[tuple[Tensor, int]] = []
    pre_activation: Tensor | None = None  # of the layer before, where its ReLU is still to come
    for index, layer in enumerate(network.hidden):
        assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
        weight, bias = layer.weight.to(compute), layer.bias.to(compute)
        if pre_activation is not None and dropout is not None:
            x, pre_activation = _ReLUOfKept.apply(pre_activation), None  # type: ignore[no-untyped-call]
        if pre_activation is not None:
            g: Tensor = _ConvolutionOfReLU.apply(pre_activation, weight, bias, layer.padding[0])  # type: ignore[no-untyped-call]
        else:
            x = x if dropout is None else x * dropout[index].to(compute)
            g = F.conv2d(x, weight, bias, padding=layer.padding)
        if network.norms:
            g = network.norms[index](g)
        if penalty is None:
            x = _ReLU.apply(g)  # type: ignore[no-untyped-call]
        elif whole_channels:
            x, *found = _SeparatedReLU.apply(g, penalty.spec.margin_above, penalty.spec.margin_below)  # type: ignore[no-untyped-call]
            extremes.append(by_kind(penalty.spec.kind, *found))
        else:
            parts.append(_part_of_kept(penalty, g, index, tie_draws))
            pre_activation = g
    if pre_activation is not None:
        x = _ReLUOfKept.apply(pre_activation)  # type: ignore[no-untyped-call]
    logits = _logits(network, x)
    if penalty is None:
        return logits, None
    if penalty.spec.layers == "all":
        found = _extremes(penalty, logits[:, :, None], len(network.hidden), tie_draws)
        extremes.append(found)
        parts.append(penalty.part(len(network.hidden), found))
    return logits, penalty.of_extremes(extremes) if whole_channels else penalty.of_parts(parts)


def survey(
    network: RectangularCNN, chunks: Iterable[Tensor], penalty: SeparationPenalty | None, *, half: bool = False
) -> tuple[float | None, LayerCensus]:
    """Penalty (before λ) and census of all points together, as if they were one batch; to be called without gradients.

    Args:
        network: float32 or float64.
        chunks: the points, some at a time, each (points, channels, height, width).
        penalty: None for the census alone.
        half: convolutions, activations and the head's product in bfloat16.
    """
    compute = torch.bfloat16 if half else network.output.weight.dtype
    census = [_LayerSurvey() for _ in network.hidden]
    total = None if penalty is None else PenaltyOfParts(penalty)
    for x in chunks:
        h = x.to(compute, memory_format=torch.channels_last)
        for index, layer in enumerate(network.hidden):
            assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
            g = F.conv2d(h, layer.weight.to(compute), layer.bias.to(compute), padding=layer.padding)
            if network.norms:
                g = network.norms[index](g)
            by_position = _position_extremes(penalty, g)
            h, units, points = _SeparatedReLU.apply(g, -torch.inf, torch.inf)  # type: ignore[no-untyped-call]
            census[index].add(units, points)
            if total is not None:
                total.add(index, by_position or by_kind(total.kinds, units, points))
        if total is not None and total.penalty.spec.layers == "all":
            logits = _logits(network, h)
            whole = by_kind(total.kinds, _both(logits, 0), _both(logits, 1))  # a logit is a channel of one position
            total.add(len(network.hidden), whole)
    return None if total is None else total.value(), LayerCensus(
        *zip(*(layer.shares() for layer in census), strict=True)
    )


class PenaltyOfParts:
    """The penalty of a batch whose points come in parts: a point's constraints are its own, the others grow."""

    def __init__(self, penalty: SeparationPenalty) -> None:
        self.penalty, self.kinds = penalty, penalty.spec.kind
        self._grown: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
        self._sum, self._sum_of_squares, self._count = 0.0, 0.0, 0

    def add(self, layer: int, extremes: Extremes) -> None:
        """A part's extremes of one layer."""
        for kind, (largest, smallest) in extremes.items():
            if kind == "P":
                self._add_pairs(layer, largest, smallest)
            else:
                known = self._grown.get((layer, kind), (largest, smallest))
                self._grown[layer, kind] = torch.maximum(known[0], largest), torch.minimum(known[1], smallest)

    def value(self) -> float:
        """The penalty, before λ, of all parts that were added."""
        for (layer, _), (largest, smallest) in self._grown.items():
            self._add_pairs(layer, largest, smallest)
        self._grown.clear()
        aggregate = self.penalty.spec.aggregate
        if aggregate in ("sum", "mean"):
            return self._sum / (self._count if aggregate == "mean" else 1)
        return self._sum_of_squares if aggregate == "sum_sq" else math.sqrt(self._sum_of_squares)

    def _add_pairs(self, layer: int, largest: Tensor, smallest: Tensor) -> None:
        weights = self.penalty.spec.layer_weights
        v = self.penalty.pairs(largest, smallest).double() * (1.0 if weights is None else weights[layer])
        self._sum += v.sum().item()
        self._sum_of_squares += v.square().sum().item()
        self._count += v.numel()


class _LayerSurvey:
    """Dead and linear units and points of one layer, over points that come in parts."""

    def __init__(self) -> None:
        self.units: Tensor | None = None
        self.dead_points, self.linear_points, self.points = 0, 0, 0

    def add(self, units: Tensor, points: Tensor) -> None:
        known = units if self.units is None else self.units
        self.units = torch.stack([torch.maximum(known[0], units[0]), torch.minimum(known[1], units[1])])
        self.dead_points += int((points[0] <= 0).sum())
        self.linear_points += int((points[1] > 0).sum())
        self.points += points.shape[1]

    def shares(self) -> tuple[float, float, float, float]:
        assert self.units is not None
        dead, linear = (self.units[0] <= 0).double().mean(), (self.units[1] > 0).double().mean()
        return dead.item(), linear.item(), self.dead_points / self.points, self.linear_points / self.points


def _position_extremes(penalty: SeparationPenalty | None, g: Tensor) -> Extremes | None:
    if penalty is None or penalty.spec.scope == "channel" or penalty.spec.kind == "L":
        return None
    both = {"U": (g.amax(0).flatten(), g.amin(0).flatten()), "P": (g.amax(1).flatten(), g.amin(1).flatten())}
    return {kind: both[kind] for kind in penalty.spec.kind}


def _both(values: Tensor, axis: int) -> Tensor:
    return torch.stack([values.amax(axis), values.amin(axis)])


def _logits(network: RectangularCNN, x: Tensor) -> Tensor:
    weight, bias = network.output.weight, network.output.bias
    return F.linear(network.pooled(x), weight.to(x.dtype), bias.to(x.dtype)).to(weight.dtype)


class _ReLU(torch.autograd.Function):
    """ReLU in place, forth and back."""

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


def _part_of_kept(penalty: SeparationPenalty, g: Tensor, layer: int, tie_draws: TieDraws | None) -> tuple[Tensor, int]:
    value, count = _PartOfKept.apply(g, penalty, layer, tie_draws)  # type: ignore[no-untyped-call]
    return value, count


class _PartOfKept(torch.autograd.Function):
    """What a layer brings to the penalty; on the way back it is computed again, so nothing but g is kept."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, penalty: SeparationPenalty, layer: int, tie_draws: TieDraws | None
    ) -> tuple[Tensor, int]:
        ctx.save_for_backward(g)
        ctx.penalty, ctx.layer, ctx.tie_draws = penalty, layer, tie_draws
        return penalty.part(layer, _kept_extremes(penalty, g, layer, tie_draws))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor, _: None) -> tuple[Tensor, None, None, None]:
        (g,) = ctx.saved_tensors
        with torch.enable_grad():
            g = g.detach().requires_grad_()
            value, _count = ctx.penalty.part(ctx.layer, _kept_extremes(ctx.penalty, g, ctx.layer, ctx.tie_draws))
        return torch.autograd.grad(value, g, pull)[0], None, None, None


def _kept_extremes(penalty: SeparationPenalty, g: Tensor, layer: int, tie_draws: TieDraws | None) -> Extremes:
    spec = penalty.spec
    if spec.scope == "position" and spec.ties == "shared" and spec.kind != "L" and takes_rows(g):
        units, points = _SharedPositions.apply(g)  # type: ignore[no-untyped-call]
        return by_kind(spec.kind, units, points)
    return _extremes(penalty, g.flatten(2), layer, tie_draws)


def _extremes(penalty: SeparationPenalty, g: Tensor, layer: int, tie_draws: TieDraws | None) -> Extremes:
    """As the reference finds them, of one layer (points, channels, positions)."""
    kinds = penalty.spec.kind
    return {kind: penalty.extremes(g[None], kind, [layer], tie_draws=tie_draws) for kind in kinds}


class _SharedPositions(torch.autograd.Function):
    """Extremes of one position each, (2, …) of the units and of the points, in C++; ties share their gradient."""

    @staticmethod
    def forward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        units, unit_shares, points, point_shares = find_positions(g)
        ctx.save_for_backward(g, units, unit_shares, points, point_shares)
        return units, points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, unit_grad: Tensor, point_grad: Tensor) -> Tensor:
        g, units, unit_shares, points, point_shares = ctx.saved_tensors
        return pull_positions(g, units, unit_grad / unit_shares, points, point_grad / point_shares)


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
        padding = [ctx.padding] * 2
        below, of_weight, of_bias = torch.ops.aten.convolution_backward(
            grad,
            torch.relu(g),
            weight,
            [weight.shape[0]],
            [1, 1],
            padding,
            [1, 1],
            False,
            [0, 0],
            1,
            [True, True, True],
        )
        return _masked(below, g), of_weight, of_bias, None
