"""What a network makes of the data at each of its layers, and over the input plane: computed, not drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.engine import torch_for
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.networks.build import dtype

Array = NDArray[np.float64]

MOST_POINTS = 1000
"""Points that are looked at: of a larger set the first."""

_FINENESS = 1000
"""Points closer than a coordinate's range over this, in every coordinate, are one."""

ROUNDING = 1e-6
"""A range below this share of the largest activation is none: float32 has seven digits."""

_FEW_COORDINATES = 256

_FOURTH = 4
"""The papers' early layer (SepCons, figures 2 to 7)."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The points at one layer of a network.

    Attributes:
        number: 0 for the input, from 1 to depth for hidden layers (activated), depth + 1 for the logits.
        values: (points, coordinates); of a convolution every channel at every position.
        points: as they are drawn, (points, 2).
        shown: share of the variance that the plane of the drawn points has; None where they stand as they are.
        distinct: how many points are left that are told apart by a thousandth of a coordinate's range.
        units: of a hidden layer; its channels, where it is a convolution. 0 of the input and the output.
        dead_units: units that are 0 for every point.
        dead_points: points for which every unit is 0.
    """

    number: int
    values: Array
    points: Array
    shown: float | None
    distinct: int
    units: int
    dead_units: int
    dead_points: int


def shown_layers(depth: int) -> tuple[int, ...]:
    """The layers that the papers show: input, 4th, the middle one, the last hidden one (features), output."""
    hidden = {number for number in (_FOURTH, depth // 2, depth) if 1 <= number <= depth}
    return (0, *sorted(hidden), depth + 1)


def layers_of(snapshots: RecordedStates, state: int, data: Data) -> tuple[Layer, ...]:
    """The training points at the layers of `shown_layers`, in evaluation mode and the cell's precision.

    `state` is a place among the kept states; of a large set the first MOST_POINTS points are taken.
    """
    cell = snapshots.cell
    x = data.inputs(data.x_train[:MOST_POINTS], dtype(cell))
    network = snapshots.network(state)
    with torch.no_grad(), torch_for(cell):
        logits, pre_activations = network(x if cell.network.layout == "cnn" else x.flatten(1))
        layers = [x, *network.activated(pre_activations), logits]
        return tuple(_layer(number, layers[number], cell.depth) for number in shown_layers(cell.depth))


def distinct_points(values: Array) -> int:
    """How many of the points, (points, coordinates), differ by a thousandth of a coordinate's range or more.

    A coordinate whose range is within the rounding of the largest number counts for nothing.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    differs = high - low > ROUNDING * np.abs(values).max()
    scaled = (values - low)[:, differs] / (high - low)[differs]
    return len(np.unique(np.rint(scaled * _FINENESS), axis=0)) if differs.any() else 1


def projected(values: Array) -> tuple[Array, float | None]:
    """The points, (points, coordinates), in the plane of their first two principal components, (points, 2).

    And the share of the variance that the plane has, 1 where the points are one; None where they stand as they are:
    those of one or two coordinates. A direction's sign is that of its largest entry, made positive, so that the same
    points give the same picture.
    """
    coordinates = values.shape[1]
    if coordinates <= 2:
        return values @ np.eye(2, coordinates).T, None
    centred = values - values.mean(axis=0)
    axes = _principal_directions(centred)
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    axes = axes * np.where(signs == 0, 1.0, signs)[:, None]
    points, total = centred @ axes.T, float((centred**2).sum())
    return points, float((points**2).sum()) / total if total > 0 else 1.0


def surface(
    snapshots: RecordedStates, state: int, data: Data, resolution: int = 80
) -> tuple[Array, tuple[float, float, float, float], float]:
    """A network's answer over the plane of two features, a tenth wider than the points (ICLR, figure 12).

    Returns:
        The probability of class 1, (rows from below, columns); the plane's left, right, lower and upper end; and the
        accuracy of the training points.
    """
    cell = snapshots.cell
    points = torch.cat([data.x_train, data.x_val]).double().numpy()
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.maximum(0.1 * (high - low), 1e-6)
    (left, lower), (right, upper) = low - margin, high + margin
    # the middle of each of the picture's squares
    columns = left + (np.arange(resolution) + 0.5) / resolution * (right - left)
    rows = lower + (np.arange(resolution) + 0.5) / resolution * (upper - lower)
    plane = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    network = snapshots.network(state)
    with torch.no_grad(), torch_for(cell):
        over_plane = network(torch.from_numpy(plane).to(dtype(cell)))[0]
    probability = torch.sigmoid(log_odds(over_plane.double())).reshape(resolution, resolution).numpy()
    accuracy = accuracy_on(snapshots, state, data.inputs(data.x_train, dtype(cell)), data.y_train)
    return probability, (float(left), float(right), float(lower), float(upper)), accuracy


def accuracy_on(snapshots: RecordedStates, state: int, x: Tensor, y: Tensor) -> float:
    """The share of the inputs, (points, features), of two classes, (points,), on which the network is right.

    NaN where it has no answer to one of them, because it diverged.
    """
    network = snapshots.network(state)
    with torch.no_grad(), torch_for(snapshots.cell):
        logits = network(x.to(dtype(snapshots.cell)))[0]
    if logits.isnan().any():
        return float("nan")
    return float(((log_odds(logits) > 0).long() == y).double().mean())


def log_odds(outputs: Tensor) -> Tensor:
    """Of class 1 of two, (points,), from a network's outputs, (points, 1) or one a class, (points, 2)."""
    match outputs.shape[1]:
        case 1:
            return outputs[:, 0]
        case 2:
            return outputs[:, 1] - outputs[:, 0]
        case other:
            raise ValueError(f"{other} outputs are not those of two classes")


def disagreement(probabilities: Sequence[Array]) -> tuple[float, float, float] | None:
    """The share of the plane that two networks decide differently: mean, least and most of all pairs; None without one.

    Each network's probability of class 1 over the same grid of points, of any one shape; a point belongs to class 1
    where it is above ½. A network that has none, because it diverged, is of no pair.
    """
    decided = [probability > 0.5 for probability in probabilities if not np.isnan(probability).any()]
    if len({one.shape for one in decided}) > 1:
        raise ValueError("networks are compared over the same grid of points")
    pairs = [float(np.mean(one != other)) for one, other in combinations(decided, 2)]
    return (float(np.mean(pairs)), min(pairs), max(pairs)) if pairs else None


def _layer(number: int, h: Tensor, depth: int) -> Layer:
    values, counts = h.flatten(1).double().numpy(), (0, 0, 0)
    if 1 <= number <= depth:
        is_dead = (h == 0).reshape(*h.shape[:2], -1).all(dim=2)
        counts = h.shape[1], int(is_dead.all(dim=0).sum()), int(is_dead.all(dim=1).sum())
    return Layer(number, values, *projected(values), distinct_points(values), *counts)


def _principal_directions(centred: Array) -> Array:
    """The two directions of the largest variance, (2, coordinates); zeros where there is no second one."""
    if centred.shape[1] <= _FEW_COORDINATES:
        directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    else:  # an image's many: by way of the points' own products, in a hundredth of the time
        points = torch.from_numpy(centred)
        sizes, own = torch.linalg.eigh(points @ points.T)
        directions = (own[:, -2:].T @ points).numpy()[::-1]
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        noise = ROUNDING * np.sqrt(max(float(sizes[-1]), 0.0))
        directions = np.where(lengths > noise, directions / np.where(lengths > 0, lengths, 1.0), 0.0)
    return np.vstack([directions, np.zeros((2 - len(directions), centred.shape[1]))])
