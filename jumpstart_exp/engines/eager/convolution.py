"""A CNN's pass as the eager engine runs it: no activation is kept for the penalty.

Plain autograd keeps a copy of every pre-activation for the penalty, and reads each several times. Here a layer's
activation and the extremes of its constraints are one step (`single` ties over whole channels: `Activating.separate`).
Other constraints need the pre-activations once more: then these are what is kept (`convolution_of_kept`). A network
that is not plain (skips, Farkas layers, activations with parameters or with several outputs) has no such pass.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumpstart_exp.engines.eager.activating import FusedReLU, activating
from jumpstart_exp.engines.eager.chunks import LayerCounts, LayerPart, PenaltyOfParts
from jumpstart_exp.engines.eager.positions import (
    convolution_and_part,
    fuses_shared,
    place_extremes,
    shared_part,
)
from jumpstart_exp.engines.native.kernels import takes_rows
from jumpstart_exp.losses.extremes import whole_extremes
from jumpstart_exp.losses.separation import Extremes, SeparationPenalty, TieDraws, by_kind
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.result import LayerCensus
from jumpstart_exp.settings import setting_error


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
        network: float32 or float64, and plain.
        x: images, (points, channels, height, width).
        penalty: None for none.
        dropout: a factor for the input of every hidden layer.
        tie_draws: draws for `random` ties, addressed: what is not tied may draw nothing. None for torch's generator.
        half: convolutions, activations and the head's product in bfloat16.
    """
    compute, act = torch.bfloat16 if half else network.output.weight.dtype, activating(network)
    x = x.to(compute, memory_format=torch.channels_last)
    whole_channels = penalty is not None and penalty.spec.scope == "channel" and penalty.spec.ties == "single"
    extremes: list[Extremes] = []
    parts: list[tuple[Tensor, tuple[int, ...]]] = []
    pre_activation: Tensor | None = None  # of the layer before, where its activation is still to come
    is_part_open = False  # and its part of the penalty
    fuses_relu = isinstance(act, FusedReLU) and dropout is None
    for index, layer in enumerate(network.hidden):
        assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
        weight, bias = layer.weight.to(compute), layer.bias.to(compute)
        if pre_activation is not None and dropout is not None:
            x, pre_activation = act.of_kept(pre_activation), None
        if pre_activation is not None:
            assert isinstance(layer.padding, tuple)
            if is_part_open and penalty is not None:
                g, part = convolution_and_part(pre_activation, weight, bias, layer.padding[0], penalty, index - 1)
                parts.append(part)
            else:
                g = act.convolution_of_kept(pre_activation, weight, bias, layer.padding[0])
        else:
            x = x if dropout is None else x * dropout[index].to(compute)
            g = F.conv2d(x, weight, bias, padding=layer.padding)
        if network.norms:
            g = network.norms[index](g)
        if penalty is None:
            x = act.apply(g)
        elif whole_channels:
            x, units, points = act.separate(g, *_unpulled_from(penalty))
            extremes.append(by_kind(penalty.spec.kind, units, points))
        else:
            is_part_open = fuses_relu and index + 1 < len(network.hidden) and fuses_shared(g, penalty)
            if not is_part_open:
                parts.append(_part_of_kept(penalty, g, index, tie_draws))
            pre_activation = g
    if pre_activation is not None:
        x = act.of_kept(pre_activation)
    logits = _logits(network, x)
    if penalty is None:
        return logits, None
    if _constrains_logits(penalty):
        found = _extremes(penalty, logits[:, :, None], len(network.hidden), tie_draws)
        extremes.append(found)
        parts.append(penalty.part(len(network.hidden), found))
    return logits, penalty.of_extremes(extremes) if whole_channels else penalty.of_parts(parts)


def evaluate_training_set(
    network: RectangularCNN, chunks: Iterable[Tensor], penalty: SeparationPenalty | None, *, half: bool = False
) -> tuple[Tensor, float | None, LayerCensus]:
    """Logits, penalty (before λ; None without one) and census of all points together, as if they were one batch.

    To be called without gradients.

    Args:
        network: float32 or float64.
        chunks: the points, some at a time, each (points, channels, height, width).
        penalty: None for the census alone.
        half: convolutions, activations and the head's product in bfloat16.
    """
    census = [LayerCounts() for _ in network.hidden]
    total = None if penalty is None else PenaltyOfParts(penalty)
    logits: list[Tensor] = []
    dead_at_some_layer = 0
    for x in chunks:
        is_dead = torch.zeros(len(x), dtype=torch.bool, device=x.device)

        def note(
            index: int,
            by_position: Extremes | None,
            units: Tensor,
            points: Tensor,
            part: LayerPart,
            off: Tensor = is_dead,
        ) -> None:
            census[index].add(part)
            if part.dead_points is not None:
                off |= part.dead_points
            if total is not None:
                total.add(index, by_position or by_kind(total.kinds, units, points))

        logits.append(_evaluated(network, x, penalty, note, half=half))
        dead_at_some_layer += int(is_dead.sum())
        if total is not None and _constrains_logits(total.penalty):
            last = logits[-1]
            whole = by_kind(total.kinds, _both(last, 0), _both(last, 1))  # a logit is a channel of one position
            total.add(len(network.hidden), whole)
    outputs = torch.cat(logits)
    rows = list(zip(*(layer.fractions() for layer in census), strict=True))
    somewhere = math.nan if network.activation.is_smooth else dead_at_some_layer / len(outputs)
    fractions = LayerCensus.of_rows(rows, somewhere)
    return outputs, None if total is None else total.value(), fractions


def _unpulled_from(penalty: SeparationPenalty) -> tuple[float, float]:
    """From where on, up and down, an extreme has no gradient whatever its constraint; infinite where there is none."""
    spec = penalty.spec
    counts_above, counts_below = spec.counts
    is_bounded = spec.upper_bound is not None  # beyond the bound it has one again
    above = torch.inf if is_bounded else spec.margin_above
    below = -torch.inf if is_bounded else spec.margin_below
    return above if counts_above else -torch.inf, below if counts_below else torch.inf


def _evaluated(
    network: RectangularCNN,
    x: Tensor,
    penalty: SeparationPenalty | None,
    note: Callable[[int, Extremes | None, Tensor, Tensor, LayerPart], None],
    *,
    half: bool,
) -> Tensor:
    """Logits of some points; every layer's extremes, by position where they are asked for, and counts are noted."""
    row = network.activation
    if not network.is_plain:
        logits, pre_activations = network(x)
        for index, (g, h) in enumerate(zip(pre_activations, network.activated(pre_activations), strict=True)):
            units, points = whole_extremes(g)
            off = None if row.is_smooth else row.has_no_slope(g, network.number_of(index))
            part = LayerPart.of((units, points), (g > 0).sum((0, 2, 3)), h, off)
            note(index, _position_extremes(penalty, g), units, points, part)
        found: Tensor = logits
        return found
    compute, act = torch.bfloat16 if half else network.output.weight.dtype, activating(network)
    h = x.to(compute, memory_format=torch.channels_last)
    for index, layer in enumerate(network.hidden):
        assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
        g = F.conv2d(h, layer.weight.to(compute), layer.bias.to(compute), padding=layer.padding)
        if network.norms:
            g = network.norms[index](g)
        by_position, fires = _position_extremes(penalty, g), (g > 0).sum((0, 2, 3))
        is_simple = row.is_smooth or row is ACTIVATIONS["relu"]
        off = None if is_simple else row.has_no_slope(g, network.number)
        h, units, points = act.separate(g, -torch.inf, torch.inf)
        part = LayerPart.of((units, points), fires, h, off)
        if row is ACTIVATIONS["relu"]:  # off where the largest is
            part = replace(part, dead_units=units[0] <= 0, dead_points=points[0] <= 0)
        note(index, by_position, units, points, part)
    return _logits(network, h)


def _constrains_logits(penalty: SeparationPenalty) -> bool:
    match penalty.spec.layers:
        case "hidden":
            return False
        case "all":
            return True
        case other:
            raise setting_error("penalty.layers", other, "hidden or all")


def _position_extremes(penalty: SeparationPenalty | None, g: Tensor) -> Extremes | None:
    if penalty is None or penalty.spec.kind == "L":
        return None
    match penalty.spec.scope:
        case "channel":
            return None
        case "position":
            both = {"U": (g.amax(0).flatten(), g.amin(0).flatten()), "P": (g.amax(1).flatten(), g.amin(1).flatten())}
            return {kind: both[kind] for kind in penalty.spec.kind}
        case other:
            raise setting_error("penalty.scope", other, "channel or position")


def _both(values: Tensor, axis: int) -> Tensor:
    return torch.stack([values.amax(axis), values.amin(axis)])


def _logits(network: RectangularCNN, x: Tensor) -> Tensor:
    weight, bias = network.output.weight, network.output.bias
    return F.linear(network.pooled(x), weight.to(x.dtype), bias.to(x.dtype)).to(weight.dtype)


def _part_of_kept(
    penalty: SeparationPenalty, g: Tensor, layer: int, tie_draws: TieDraws | None
) -> tuple[Tensor, tuple[int, ...]]:
    spec = penalty.spec
    if spec.scope == "position" and spec.kind != "L" and takes_rows(g):
        if spec.ties == "shared":
            return shared_part(g, penalty, layer)
        found = place_extremes(g, penalty, layer, tie_draws)
        if found is not None:
            return penalty.part(layer, found)
    # entries that share an extreme cannot be listed in a CUDA graph; in bfloat16, extremes and their sums are, too
    if spec.ties == "shared" or g.dtype == torch.bfloat16:
        values, counts = _PartOfKept.apply(g, penalty, layer, tie_draws)  # type: ignore[no-untyped-call]
        return values, counts
    return penalty.part(layer, penalty.layer_extremes(g, layer, tie_draws=tie_draws))


class _PartOfKept(torch.autograd.Function):
    """What a layer brings to the penalty; in the backward pass it is computed again, so nothing but g is kept."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, penalty: SeparationPenalty, layer: int, tie_draws: TieDraws | None
    ) -> tuple[Tensor, tuple[int, ...]]:
        ctx.save_for_backward(g)
        ctx.penalty, ctx.layer, ctx.tie_draws = penalty, layer, tie_draws
        return penalty.part(layer, _extremes(penalty, g.flatten(2), layer, tie_draws))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor, _: None) -> tuple[Tensor, None, None, None]:
        (g,) = ctx.saved_tensors
        with torch.enable_grad():
            g = g.detach().requires_grad_()
            extremes = _extremes(ctx.penalty, g.flatten(2), ctx.layer, ctx.tie_draws)
            values, _counts = ctx.penalty.part(ctx.layer, extremes)
        return torch.autograd.grad(values, g, pull)[0], None, None, None


def _extremes(penalty: SeparationPenalty, g: Tensor, layer: int, tie_draws: TieDraws | None) -> Extremes:
    """As the reference finds them, of one layer (points, channels, positions)."""
    kinds = penalty.spec.kind
    return {kind: penalty.extremes(g[None], kind, [layer], tie_draws=tie_draws) for kind in kinds}
