"""What a network decides over a plane: its units, its decision regions, and how wide their soft boundaries are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from contourpy import FillType, LineType, contour_generator
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.recording import Recording, in_float64, record
from jumpstart_exp.geometry.worked import CONFIDENCE, inverse_sigmoid
from jumpstart_exp.settings import SettingError, setting_error

Array = NDArray[np.float64]
Model = Callable[[Tensor], Any]

OUTPUTS = ("logits", "confidence")
"""What a model gives: logits, one a class or a single one of class 1's log-odds; or one number −1 … 1."""

MOST_VALUES = 10_000_000
"""Numbers that a frame of units may have."""

_CHUNK = 16_384

_TINY = float(np.finfo(np.float64).tiny)


def unit_activations(model: Model, plane: Plane, resolution: int = 100) -> pd.DataFrame:
    """The activation of every unit over the plane (Geometry, figures 2, 3 and 10).

    A layer's activations are what the next affine map is given, hence after norms, skips and pooling; the last layer's
    are the model's outputs. Maps that are given the same numbers are of one layer.

    Args:
        model: any torch model; a module is evaluated as a copy in float64.
        plane: its inputs.
        resolution: points along each side, the middles of equal parts.

    Returns:
        layer and unit, from 1, u, v, activation; by layer, unit, and point from the lowest v.

    Raises:
        SettingError: the resolution is below 2 or asks for too much, or outputs are not finite.
    """
    _check_resolution(resolution, 2)
    points = plane.grid(resolution)
    parts: list[list[Array]] = []
    for found in _recordings(model, plane, points):
        layers = [layer.reshape(len(layer), -1) for layer in _layers(found)]
        count = sum(layer.shape[1] for layer in layers) * len(points)
        if count > MOST_VALUES:
            raise setting_error(
                "resolution", resolution, f"such that units × points, here {count:,}, is {MOST_VALUES:,}"
            )
        parts.append([layer.double().cpu().numpy() for layer in layers])
    u, v = points.numpy().T
    frames = []
    for number, layer in enumerate((np.concatenate(layer) for layer in zip(*parts, strict=True)), 1):
        units = layer.shape[1]
        named = {"layer": number, "unit": np.repeat(np.arange(1, units + 1), len(points))}
        place = {"u": np.tile(u, units), "v": np.tile(v, units)}
        frames.append(pd.DataFrame({**named, **place, "activation": layer.T.ravel()}))
    return pd.concat(frames, ignore_index=True)


def decision_regions(model: Model, plane: Plane, resolution: int = 400, outputs: str = "logits") -> pd.DataFrame:
    """How many connected regions of the plane each class has, and its share of the plane.

    The class is that of the largest logit; of one output class 1 where it is above 0, else class 0. Points of a
    class that touch at a side are connected: a region, or a bridge between two, narrower than a part of the grid may
    be missed.

    Args:
        model: any torch model; a module is evaluated as a copy in float64.
        plane: its inputs.
        resolution: points along each side, the middles of equal parts.
        outputs: one of OUTPUTS.

    Returns:
        class, regions, share in [0, 1]; classes that the plane has none of have zeros.

    Raises:
        SettingError: the resolution is below 2, or the outputs are not finite, or not as told.
    """
    decided, _ = decided_classes(model, plane, resolution, outputs)
    rows = []
    for label in range(_count_classes(model, plane)):
        own = decided == label
        rows.append({"class": label, "regions": ndimage.label(own)[1], "share": own.mean()})
    return pd.DataFrame(rows)


def decided_classes(
    model: Model, plane: Plane, resolution: int = 400, outputs: str = "logits"
) -> tuple[NDArray[np.int64], Array]:
    """The class and the confidence |2p − 1| over the plane, of the first class against the second.

    Args:
        model: any torch model; a module is evaluated as a copy in float64.
        plane: its inputs.
        resolution: points along each side, the middles of equal parts.
        outputs: one of OUTPUTS.

    Returns:
        classes and confidences in [0, 1], (points, points) each, row by row from the lowest v.

    Raises:
        SettingError: the resolution is below 2, or the outputs are not finite, or not as told.
    """
    _check_resolution(resolution, 2)
    values = _values(model, plane, plane.grid(resolution), outputs)
    if values.shape[1] == 1:
        classes = (values[:, 0] > 0).astype(np.int64)
        odds = np.abs(values[:, 0])
    else:
        classes = values.argmax(1)
        second, first = np.sort(values, 1)[:, -2:].T
        odds = first - second
    shape = (resolution, resolution)
    return classes.reshape(shape), (odds if outputs == "confidence" else np.tanh(odds / 2)).reshape(shape)


@dataclass(frozen=True, eq=False, repr=False)
class SoftBoundary:
    """The band in which a network is unsure, and the decision boundary within.

    Lengths are in units of u and v. The errors are the differences from half the resolution; what is smaller than a
    part of the grid is seen by neither.

    Attributes:
        confidence: the band's end, of |2p − 1|.
        share: of the plane that is within the band.
        share_error: of it.
        length: of the decision boundary.
        length_error: of it.
        mean_width: the band's area by the boundary's length; NaN without a boundary.
        lines: the boundary, (points, 2) each, in u and v; of several classes that of every class.
        widths: line, u, v, width: 2σ⁻¹(confidence)/‖∇ log-odds‖ at the lines' points, infinite where that is 0.
    """

    confidence: float
    share: float
    share_error: float
    length: float
    length_error: float
    mean_width: float
    lines: tuple[Array, ...]
    widths: pd.DataFrame

    def __repr__(self) -> str:
        return f"<SoftBoundary: {self.share:.3g} of the plane, length {self.length:.3g}; .frame(), .widths>"

    def frame(self) -> pd.DataFrame:
        """Its numbers in one row, with the median of the local widths over the boundary's length."""
        weights = np.concatenate([_lengths_at(line) for line in self.lines]) if self.lines else np.empty(0)
        names = ("confidence", "share", "share_error", "length", "length_error", "mean_width")
        median = _median(self.widths["width"].to_numpy(), weights)
        return pd.DataFrame([{**{name: getattr(self, name) for name in names}, "median_local_width": median}])


def soft_boundary(
    model: Model, plane: Plane, resolution: int = 400, outputs: str = "logits", confidence: float = CONFIDENCE
) -> SoftBoundary:
    """The band with |2p − 1| < confidence, −0.95 … 0.95 of the sigmoid (Geometry, section 2.4).

    p is the probability of class 1, hence 2p − 1 = σ(log-odds); of several classes that of the first against the
    second of the two largest logits. Boundary and band are contours of linear interpolation on a grid.

    Args:
        model: any torch model; a module is evaluated as a copy in float64.
        plane: its inputs.
        resolution: parts along each side; even.
        outputs: one of OUTPUTS.
        confidence: in (0, 1).

    Raises:
        SettingError: the resolution is below 4 or odd, the confidence not in (0, 1), or the outputs are not finite, not
            as told or without a gradient.
    """
    _check_resolution(resolution, 4)
    if resolution % 2:
        raise setting_error("resolution", resolution, "an even number: half of it tells the error")
    if not 0 < confidence < 1:
        raise setting_error("confidence", confidence, "between 0 and 1")
    u, v = (np.linspace(low, high, resolution + 1) for low, high in zip(plane.low, plane.high, strict=True))
    points = torch.cartesian_prod(torch.from_numpy(v), torch.from_numpy(u)).flip(1)
    values = _values(model, plane, points, outputs)
    edge = confidence if outputs == "confidence" else float(inverse_sigmoid(confidence))
    fields = _fields(values).reshape(-1, resolution + 1, resolution + 1)
    area, length, lines = _contours(u, v, fields, edge)
    rough_area, rough_length, _ = _contours(u[::2], v[::2], fields[:, ::2, ::2], edge)
    return SoftBoundary(
        confidence=confidence,
        share=area / plane.area,
        share_error=abs(area - rough_area) / plane.area,
        length=length,
        length_error=abs(length - rough_length),
        mean_width=area / length if length > 0 else float("nan"),
        lines=tuple(lines),
        widths=_local_widths(model, plane, lines, outputs, confidence),
    )


def _fields(values: Array) -> Array:
    """What is 0 at boundaries: of two classes the log-odds, (1, points), of more one a class, (classes, points).

    That of a class is above 0 where it is decided for: its logit minus the largest of the others'. Where two are equal
    the first is decided for.
    """
    if values.shape[1] <= 2:
        odds = values[:, 0] if values.shape[1] == 1 else values[:, 1] - values[:, 0]
        return np.where(odds == 0, -_TINY, odds)[None]
    order = np.sort(values, 1)
    is_first = np.arange(values.shape[1])[:, None] == values.argmax(1)
    ahead, behind = np.maximum(order[:, -1] - order[:, -2], _TINY), np.minimum(values.T - order[:, -1], -_TINY)
    return np.where(is_first, ahead, behind)


def _contours(u: Array, v: Array, fields: Array, edge: float) -> tuple[float, float, list[Array]]:
    """The band's area, the boundaries' length, and their lines; of several classes every boundary is seen from two."""
    of_two = len(fields) == 1
    area = length = 0.0
    lines: list[Array] = []
    for field in fields:
        contours: Any = contour_generator(u, v, field, fill_type=FillType.OuterOffset, line_type=LineType.Separate)
        polygons, starts = contours.filled(-edge if of_two else 0.0, edge)
        area += sum(map(_area, polygons, starts))
        found = [np.asarray(line, dtype=np.float64) for line in contours.lines(0.0)]
        length += sum(_lengths_at(line).sum() for line in found) / (1 if of_two else 2)
        lines += found
    return area, length, lines


def _area(polygon: Array, starts: NDArray[np.int64]) -> float:
    """Of an outer ring and its holes, which run the other way round."""
    total = 0.0
    for first, last in pairwise(starts):
        x, y = polygon[first:last].T
        total += float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2
    return abs(total)


def _local_widths(model: Model, plane: Plane, lines: list[Array], outputs: str, confidence: float) -> pd.DataFrame:
    """By the gradient of the log-odds at the boundary, where that of a confidence c is 2∇c."""
    owner = np.repeat(np.arange(1, len(lines) + 1), [len(line) for line in lines])
    at = np.concatenate(lines) if lines else np.empty((0, 2))
    evaluated = _prepared(model)
    slopes = []
    for start in range(0, len(at), _CHUNK):
        coordinates = torch.from_numpy(at[start : start + _CHUNK]).requires_grad_()
        found = record(evaluated, plane.inputs(coordinates)).outputs
        if found.shape[1] == 1:
            odds = found[:, 0] * (2 if outputs == "confidence" else 1)
        else:
            top = found.topk(2, 1).values
            odds = top[:, 0] - top[:, 1]
        if not odds.requires_grad:
            raise SettingError(
                "the model's outputs have no gradient by its inputs: its soft boundary has no local width"
            )
        (gradient,) = torch.autograd.grad(odds.sum(), coordinates)
        slopes.append(gradient.norm(dim=1).numpy())
    slope = np.concatenate(slopes) if slopes else np.empty(0)
    with np.errstate(divide="ignore"):
        width = 2 * float(inverse_sigmoid(confidence)) / slope
    return pd.DataFrame({"line": owner, "u": at[:, 0], "v": at[:, 1], "width": width})


def _lengths_at(line: Array) -> Array:
    """Half of both neighbouring segments, (points,)."""
    segments = np.hypot(*np.diff(line, axis=0).T)
    return np.asarray((np.append(segments, 0) + np.append(0, segments)) / 2)


def _median(values: Array, weights: Array) -> float:
    if not len(values):
        return float("nan")
    order = values.argsort()
    reached = weights[order].cumsum()
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _prepared(model: Model) -> Model:
    return in_float64(model) if isinstance(model, nn.Module) else model


def _recordings(model: Model, plane: Plane, points: Tensor) -> Iterator[Recording]:
    """Of the plane's points, part by part, with outputs that are finite."""
    evaluated = _prepared(model)
    with torch.no_grad():
        for start in range(0, len(points), _CHUNK):
            part = points[start : start + _CHUNK]
            found = record(evaluated, plane.inputs(part))
            finite = found.outputs.isfinite().all(1)
            if not finite.all():
                u, v = part[~finite][0].tolist()
                value = found.outputs[~finite][0].tolist()
                raise SettingError(f"the model gives {value} at u = {u:g}, v = {v:g}: finite numbers are needed")
            yield found


def _values(model: Model, plane: Plane, points: Tensor, outputs: str) -> Array:
    """The outputs (points, outputs) in float64."""
    if outputs not in OUTPUTS:
        raise setting_error("outputs", outputs, f"one of {', '.join(OUTPUTS)}")
    found = [recording.outputs.double().cpu().numpy() for recording in _recordings(model, plane, points)]
    values = np.concatenate(found)
    if outputs == "confidence" and (values.shape[1] > 1 or np.abs(values).max() > 1):
        what = f"{values.shape[1]} outputs" if values.shape[1] > 1 else f"{np.abs(values).max():g}"
        raise setting_error("outputs", "confidence", f"of a model that gives one number from -1 to 1, not {what}")
    return values


def _layers(found: Recording) -> list[Tensor]:
    """What every affine map but the first is given, once each, and the outputs."""
    layers: list[Tensor] = []
    given = [affine.inputs for affine in found.affine]
    for values in given[1:]:
        if values is not given[0] and not any(values is layer for layer in layers):
            layers.append(values)
    return [*layers, found.outputs]


def _count_classes(model: Model, plane: Plane) -> int:
    (found,) = _recordings(model, plane, plane.corners())
    return max(2, found.outputs.shape[1])


def _check_resolution(resolution: int, least: int) -> None:
    if resolution < least:
        raise setting_error("resolution", resolution, f"a whole number of at least {least}")
