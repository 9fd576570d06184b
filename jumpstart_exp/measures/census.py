"""The census: which units and points of a network are dead or linear (CPAIOR, definitions 1 and 2), or dormant."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from jumpstart_exp.measures.model_census import census as model_census
from jumpstart_exp.result import DORMANT_TAU, LayerCensus


def census(post_activations: Sequence[Tensor]) -> LayerCensus:
    """Fractions of dead, linear and dormant units, of dead and linear points, and firing rates, per hidden layer.

    A unit is dead if its output is 0 for every point, linear if it is above 0 for every point. A point is dead
    in a layer if the output of every unit is 0 for it, linear if every output is above 0. A convolution's unit
    is a channel; its positions count along. Beside them the fraction of the points that are dead at some layer.

    Args:
        post_activations: ReLU outputs of each hidden layer, (points, units) or (points, channels, *positions).
    """
    return census_of_layers(post_activations, post_activations, lambda layer, _: layer == 0)


def census_of_layers(
    pre_activations: Sequence[Tensor],
    outputs: Sequence[Tensor],
    has_no_slope: Callable[[Tensor, int], Tensor] | None,
) -> LayerCensus:
    """The census of hidden layers of any activation.

    Args:
        pre_activations: of each layer, (points, units) or (points, channels, *positions).
        outputs: of its activation; of a unit with several, (points, several · units, …), all units' first ones first.
        has_no_slope: (pre-activations, layer) → where the derivative is exactly 0; None for smooth activations, whose
            units and points are neither dead nor linear.
    """
    if not pre_activations:
        return LayerCensus((), (), (), ())
    rows, somewhere = fractions_of_layers(pre_activations, outputs, has_no_slope)
    return LayerCensus.of_rows(rows.tolist(), somewhere.item())


def fractions_of_layers(
    pre_activations: Sequence[Tensor],
    outputs: Sequence[Tensor],
    has_no_slope: Callable[[Tensor, int], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """What `census_of_layers` tells, as tensors: (6, layers) in the order of `CENSUS`, then `ACTIVITY`, NaN for none.

    And the fraction of points that are dead at some layer. `torch.func.vmap` can vectorise it.
    """
    rows: list[Tensor] = []
    dead_points: list[Tensor] = []
    for index, (pre, post) in enumerate(zip(pre_activations, outputs, strict=True)):
        g = pre.detach().reshape(*pre.shape[:2], -1)
        fires = g > 0
        sizes = post.detach().reshape(len(g), -1, *g.shape[1:]).abs().double().sum(1).mean((0, 2))
        activity = [dormant_share(sizes), fires.double().mean()]
        if has_no_slope is None:
            rows.append(torch.stack([torch.tensor(math.nan, device=g.device, dtype=torch.float64)] * 4 + activity))
            continue
        is_dead = has_no_slope(g, index)
        dead_points.append(is_dead.all(dim=2).all(dim=1))
        shares = [_share(is_dead, 0), _share(fires, 0), _share(is_dead, 1), _share(fires, 1)]
        rows.append(torch.stack(shares + activity))
    somewhere = rows[0].new_full((), math.nan)
    if dead_points and len({len(points) for points in dead_points}) == 1:
        somewhere = torch.stack(dead_points).any(dim=0).double().mean()
    return torch.stack(rows, dim=1), somewhere


def dormant_share(sizes: Tensor) -> Tensor:
    """The fraction of dormant units, from their mean |output| (units,) in float64."""
    return (sizes <= DORMANT_TAU * (sizes.mean() + 1e-9)).double().mean()


def census_of(model: nn.Module, points: Tensor) -> LayerCensus:
    """The census of any torch model's ReLUs on these points, in evaluation mode, as plain numbers; see `census`.

    Raises:
        SettingError: the model calls nothing like a ReLU, or cannot be watched.
    """
    found = model_census(model, points, taus=(DORMANT_TAU,))
    return LayerCensus(
        tuple(found["dead_units"]),
        tuple(found["linear_units"]),
        tuple(found["dead_points"]),
        tuple(found["linear_points"]),
        dead_at_some_layer=found.attrs["dead_points_at_some_layer"],
        dormant_units=tuple(found[f"dormant_units_tau_{DORMANT_TAU:g}"]),
        firing_rate=tuple(found["firing_rate"]),
    )


def _share(holds: Tensor, over: int) -> Tensor:
    return holds.all(dim=2).all(dim=over).double().mean()
