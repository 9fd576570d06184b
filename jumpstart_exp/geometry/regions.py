"""Linear regions of a network of straight pieces: exact, on a plane of inputs and along a line between two.

A *cell* is a part of the plane on which no unit passes a kink: a convex polygon. A *linear region* is as much of the
plane as hangs together by the edges of cells and has one and the same affine function. A network whose outputs are
constant has many cells and one region.

The rectangle is cut by the kinks in the order in which they are computed, because on the cells so far everything up to
the next kink is affine: a unit's kink is a straight cut through each cell that it crosses, between vertices at which
the model itself was evaluated. All is computed in float64, and three times: as it is, and twice with every vertex and
every number in the model off by some 2^-44 of itself. A number that differs between the three by as much as it is away
from 0 is 0: so lines that meet in one point, as those of networks without biases do, meet in one vertex, and a layer
that is dead stays so.

Source: van den Berg 2014, section 2.2 and equation 6.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.recording import Kink, Recording, in_float64, record
from jumpstart_exp.geometry.theorems import maximum_cells
from jumpstart_exp.settings import SettingError, setting_error

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

ROUNDING = 2.0**-44
"""Of every number in a sum or a product, and of the rectangle's size, where it is tried what rounding makes of them:
256 times what it is."""

_TIMES = 4
"""As much as that makes of a number it has to be away from 0."""

_SAME, _SAME_AT_ALL = 1e-11, 1e-15
"""Of the larger of two gradients, and of the largest at all: those that differ less are of one affine function."""

_RANGE_OFF, _SIZE_OFF = 1e-9, 1e-8
"""How far from affine a cell's values may be: of their range in the cell, and of the layer's largest there."""

_GRADIENT_OFF = 1e-7
"""Of the range of the outputs in a cell: how far they may be from what their gradient says (torch's own hardsigmoid
has the sixth in its derivative in single precision)."""

_INSIDE = 0.99
"""Of the way from a cell's centre to its corners: where the model is checked."""

_THIN, _MOST_THIN = 0.1, 1e-4
"""Of a cell's width: a cell whose corners are in doubt by more is not checked; and of the plane, the most of such."""

_RESOLVED = 1e-6
"""Of a layer's largest number: what is tried as rounding may not change any by more."""

_ALL = 32
"""Times a layer's largest number: where what is tried as rounding is more, all its numbers are rounding."""

_FEWEST = 61
"""Points in a pass: more than a model has features or channels as a rule, so that these are not taken for points."""

_NUMBERS = 2**21
"""Numbers in memory at once."""

_KEPT = 2**25
"""Numbers of all points and layers that are kept, so that no point is evaluated again for the next layer."""

_OTHER_FUNCTIONS = "the model computes other functions at other points: it has to compute the same at all"


@dataclass(frozen=True)
class LayerCuts:
    """What the kinks after one affine map cut.

    Attributes:
        layer: affine maps computed before them.
        before: cells that there were.
        cells: cells that there are after them.
        lines: units, at each of their kinks, that cut at least one cell.
    """

    layer: int
    before: int
    cells: int
    lines: int


@dataclass(frozen=True, eq=False, repr=False)
class Regions:
    """The arrangement on a plane.

    Attributes:
        plane: the rectangle.
        vertices: (vertices, 2), u and v.
        outputs: of the model at the vertices, (vertices, outputs): affine on every cell.
        cells: the vertices of each, against the clock.
        region: number of the linear region of each cell, from 0.
        layer: of each cell the last that cut it, as affine maps computed before the kink; 0 for none.
        gradient: (cells, outputs, 2), of the outputs by u and v.
        is_thin: (cells,), those that float64 hardly resolves: whether the model is affine there was not checked.
        layers: in the order of their computation, those with kinks.
    """

    plane: Plane
    vertices: Array
    outputs: Array
    cells: list[list[int]]
    region: Numbers
    layer: Numbers
    gradient: Array
    is_thin: NDArray[np.bool_]
    layers: tuple[LayerCuts, ...]

    def __repr__(self) -> str:
        return f"<Regions: {self.region_count} linear regions, {self.cell_count} cells; .by_layer(), .frame()>"

    @property
    def cell_count(self) -> int:
        """Parts of the plane on which no unit passes a kink."""
        return len(self.cells)

    @property
    def region_count(self) -> int:
        """Parts of the plane that hang together and have one affine function."""
        return int(self.region.max()) + 1

    def areas(self) -> Array:
        """Of each cell, in units of u times units of v."""
        return _Corners(self.cells).areas(self.vertices)

    def centres(self) -> Array:
        """Means of the vertices of each cell, (cells, 2): they lie inside."""
        corners = _Corners(self.cells)
        return corners.means(self.vertices[corners.flat])

    def frame(self) -> pd.DataFrame:
        """A row a cell: its region, the layer that cut it last, its area, centre and number of vertices, if thin."""
        u, v = self.centres().T
        return pd.DataFrame(
            {
                "cell": np.arange(self.cell_count),
                "region": self.region,
                "layer": self.layer,
                "area": self.areas(),
                "u": u,
                "v": v,
                "vertices": [len(cell) for cell in self.cells],
                "is_thin": self.is_thin,
            }
        )

    def by_layer(self) -> pd.DataFrame:
        """A row a layer with kinks: cells after it, born in it, its lines, and the bound on the cells after it.

        In each cell before it, a layer's lines are straight: they cut it into r(lines, 2) cells at most (equation 6).
        """
        return pd.DataFrame(
            [
                (one.layer, one.cells, one.cells - one.before, one.lines, one.before * maximum_cells(one.lines, 2))
                for one in self.layers
            ],
            columns=["layer", "cells", "born", "lines", "bound"],
        )


@dataclass(frozen=True, eq=False, repr=False)
class Pieces:
    """A network along a line between two inputs.

    Attributes:
        breakpoints: where a unit passes a kink, (breakpoints,), shares of the way in (0, 1).
        layer: of each the first whose kink it is, as affine maps computed before it.
        piece: of each of the breakpoints + 1 intervals the number of its linear piece, from 0.
        derivative: (intervals, outputs), of the outputs by the share of the way.
    """

    breakpoints: Array
    layer: Numbers
    piece: Numbers
    derivative: Array

    def __repr__(self) -> str:
        return f"<Pieces: {self.piece_count} along the line; .frame()>"

    @property
    def piece_count(self) -> int:
        """Intervals on which the outputs are one affine function, those next to each other taken together."""
        return int(self.piece[-1]) + 1

    def frame(self) -> pd.DataFrame:
        """A row an interval: where it begins and ends, its piece, and the layer whose kink it begins with (0: none)."""
        ends = np.concatenate([[0.0], self.breakpoints, [1.0]])
        return pd.DataFrame(
            {
                "begins": ends[:-1],
                "ends": ends[1:],
                "piece": self.piece,
                "layer": np.concatenate([[0], self.layer]),
            }
        )


def linear_regions(model: nn.Module, plane: Plane, *, most_cells: int = 1_000_000) -> Regions:
    """The cells and linear regions of a model of straight pieces on a plane of its inputs, in evaluation mode.

    Any model in torch whose outputs are continuous and affine between kinks that torch's functions have: ReLU and its
    leaky kin, abs, clamp, hardtanh, the larger of two tensors; of fully connected layers, convolutions, batch norm by
    its running averages, skips. That the model is affine on every cell found, and has the gradient found, is checked
    inside each that is wider than float64 resolves.

    Args:
        model: (points, …) → (points, outputs), or a tuple that begins with these; it stays as it is.
        plane: of inputs.
        most_cells: more are refused.

    Raises:
        SettingError: the model is not of straight pieces, or has kinks that are not seen, or not finite values, or more
            cells, or they are too thin for float64.
        TypeError: it gives no tensor with a row a point.
    """
    if most_cells < 1:
        raise setting_error("most_cells", most_cells, "at least 1")
    probe = _Probe(model, plane.inputs, plane.corners())
    mesh = _Mesh(plane, most_cells)
    layers: list[LayerCuts] = []
    for site in probe.sites:
        before, lines = len(mesh.cells), 0
        done = 0
        while done < site.columns:
            values = probe.values(site, mesh.tried(), done)
            lines += mesh.cut(values, site.layer)
            done += values.shape[2]
        if layers and layers[-1].layer == site.layer:
            last = layers.pop()
            before, lines = last.before, last.lines + lines
        layers.append(LayerCuts(site.layer, before, len(mesh.cells), lines))
    vertices = mesh.tried()[0]
    outputs = probe.outputs(vertices)
    doubt = mesh.doubt()
    gradient = probe.gradient(vertices, mesh.cells, outputs, doubt)
    _check_doubt(doubt, _Corners(mesh.cells).areas(vertices))
    return Regions(
        plane,
        vertices,
        outputs,
        mesh.cells,
        _connected(gradient, _Corners(mesh.cells).neighbours()),
        np.array(mesh.layer),
        gradient,
        doubt > _THIN,
        tuple(layers),
    )


def linear_pieces(model: nn.Module, start: Tensor, end: Tensor, *, most_pieces: int = 1_000_000) -> Pieces:
    """Where a model of straight pieces bends between two inputs of any one shape, in evaluation mode.

    The same models as `linear_regions` takes, and the same check. More than `most_pieces` intervals are refused.

    Raises:
        SettingError: as there; or the two inputs are not of one shape.
        TypeError: the model gives no tensor with a row a point.
    """
    if most_pieces < 1:
        raise setting_error("most_pieces", most_pieces, "at least 1")
    if start.shape != end.shape:
        raise SettingError(f"inputs of shapes {tuple(start.shape)} and {tuple(end.shape)}: one is needed")
    origin, way = start.detach().double(), end.detach().double() - start.detach().double()

    def inputs(shares: Tensor) -> Tensor:
        found: Tensor = origin + shares.reshape(-1, *[1] * origin.dim()) * way
        return found

    off = ROUNDING * np.array([[0.0], [1.0], [-1.0]])
    points, layer = np.array([0.0, 1.0]) + off, np.array([0, 0])
    probe = _Probe(model, inputs, torch.from_numpy(points[0, :, None]))
    for site in probe.sites:
        done = 0
        while done < site.columns:
            values = probe.values(site, points[:, :, None], done)
            done += values.shape[2]
            sides = _sides(values)
            at, unit = np.nonzero(sides[:-1] * sides[1:] < 0)
            low, high = values[:, at, unit], values[:, at + 1, unit]
            found = points[:, at] + (points[:, at + 1] - points[:, at]) * low / (low - high)
            found = found[:, np.argsort(found[0])]
            nearest = _TIMES * np.maximum(ROUNDING, np.abs(found[1:] - found[0]).max(0))
            found = found[:, np.diff(found[0], prepend=-1.0) > nearest] + off
            points = np.concatenate([points, found], 1)
            layer = np.concatenate([layer, np.full(found.shape[1], site.layer)])
            order = np.argsort(points[0])
            points, layer = points[:, order], layer[order]
            if points.shape[1] > most_pieces + 1:
                raise setting_error("most_pieces", most_pieces, "more than the line has, or the line shorter")
    cells = [[one, one + 1] for one in range(points.shape[1] - 1)]
    lengths = np.diff(points)
    moved = np.abs(points[1:] - points[0]).max(0)
    doubt = _TIMES * np.maximum(moved[:-1], moved[1:]) / lengths[0]
    coordinates = points[0, :, None]
    derivative = probe.gradient(coordinates, cells, probe.outputs(coordinates), doubt)
    _check_doubt(doubt, lengths[0])
    numbers = np.arange(len(cells))
    differs = ~_same(derivative, numbers[:-1], numbers[1:])
    piece = np.concatenate([[0], np.cumsum(differs)])
    return Pieces(points[0, 1:-1], layer[1:-1], piece, derivative[:, :, 0])


@dataclass(frozen=True)
class _Site:
    """A kink as the model computes it, of `columns` numbers a point: units times thresholds."""

    number: int
    kink: Kink
    columns: int

    @property
    def layer(self) -> int:
        return self.kink.layer


class _Probe:
    """A model in float64, evaluated at coordinates.

    Args:
        model: as it was given.
        inputs: coordinates (points, dimensions) → inputs.
        corners: where it is looked at first.
    """

    def __init__(self, model: nn.Module, inputs: Callable[[Tensor], Tensor], corners: Tensor) -> None:
        if not isinstance(model, nn.Module):
            raise setting_error("model", type(model).__name__, "a torch.nn.Module")
        self.model, self.inputs = in_float64(model).eval(), inputs
        # another number of points than any parameter has rows, or it would be taken for numbers of the points
        self.taken = {size for one in (*self.model.parameters(), *self.model.buffers()) for size in one.shape}
        with torch.no_grad():
            found, again = self._record(corners), self._record(corners)
        _refuse_others(found)
        if not (len(found.kinks) == len(again.kinks) and all(map(_equal, _all_numbers(found), _all_numbers(again)))):
            raise SettingError("the model gives other numbers a second time: it has to be a function of its inputs")
        self.sites = [_Site(number, one, _columns(one).shape[1]) for number, one in enumerate(found.kinks)]
        self.kept: list[tuple[Array, Array]] = []
        self.largest = [0.0] * len(self.sites)
        self.numbers = sum(site.columns for site in self.sites) + found.outputs.shape[1]

    def _record(self, coordinates: Tensor, kinks: int | None = None, rounding: float = 0.0) -> Recording:
        points = max(len(coordinates), _FEWEST)
        while points in self.taken:
            points += 1
        filled = torch.cat([coordinates, coordinates[-1:].expand(points - len(coordinates), -1)])
        try:
            return record(self.model, self.inputs(filled), kinks, rounding)
        except RuntimeError as error:
            raise SettingError(
                f"the model cannot be evaluated in float64 at inputs of shape (points, "
                f"{', '.join(map(str, self.inputs(filled).shape[1:]))}): {str(error).splitlines()[0]}"
            ) from error

    def _parts(self, coordinates: Array) -> list[Tensor]:
        step = max(64, _NUMBERS // self.numbers)
        return [torch.from_numpy(coordinates[first : first + step]) for first in range(0, len(coordinates), step)]

    def values(self, site: _Site, coordinates: Array, first: int) -> Array:
        """Of a kink's numbers less their thresholds, from the first column on as many as fit.

        Args:
            site: whose.
            coordinates: (3, points, dimensions).
            first: column.

        Returns:
            (3, points, columns), the second and the third as rounding may have made them.
        """
        columns = slice(first, min(site.columns, first + max(1, _NUMBERS // coordinates[..., 0].size)))
        if self.numbers * coordinates[..., 0].size <= _KEPT and self._are_kept(coordinates):
            self._keep(coordinates)
            before = sum(one.columns for one in self.sites[: site.number])
            columns = slice(before + columns.start, before + columns.stop)
            found = np.concatenate([numbers[:, :, columns] for _, numbers in self.kept], 1)
        else:
            found = self._tried(coordinates, self.sites[site.number : site.number + 1])[:, :, columns]
        if not np.isfinite(found).all():
            raise SettingError(f"the model's values after {site.layer} affine maps are not finite on this plane")
        self.largest[site.number] = max(self.largest[site.number], float(np.abs(found[0]).max()))
        return found

    def _are_kept(self, coordinates: Array) -> bool:
        """Whether what is kept is of the first of these points."""
        known = np.concatenate([where for where, _ in self.kept], 1) if self.kept else coordinates[:, :0]
        return np.array_equal(known, coordinates[:, : known.shape[1]])

    def _keep(self, coordinates: Array) -> None:
        """All numbers of the points that are new, once for all sites."""
        new = coordinates[:, sum(where.shape[1] for where, _ in self.kept) :]
        if new.shape[1]:
            self.kept.append((new, self._tried(new, self.sites)))

    def _tried(self, coordinates: Array, sites: "Sequence[_Site]") -> Array:
        """The numbers of these sites, (3, points, columns), of coordinates (3, points, dimensions)."""
        with torch.no_grad():
            return np.concatenate(
                [
                    self._columns(sites, part, rounding)
                    for where, rounding in ((coordinates[:1], 0.0), (coordinates[1:], ROUNDING))
                    for part in self._parts(where.reshape(-1, where.shape[-1]))
                ]
            ).reshape(3, coordinates.shape[1], -1)

    def _columns(self, sites: "Sequence[_Site]", part: Tensor, rounding: float) -> Array:
        kinks = self._record(part, sites[-1].number + 1, rounding).kinks
        if not all(site.number < len(kinks) and _alike(kinks[site.number], site.kink) for site in sites):
            raise SettingError(_OTHER_FUNCTIONS)
        return torch.cat([_columns(kinks[site.number])[: len(part)] for site in sites], 1).numpy()

    def outputs(self, points: Array) -> Array:
        """Of the model, (points, outputs)."""
        with torch.no_grad():
            return np.concatenate([self._record(part).outputs[: len(part)].numpy() for part in self._parts(points)])

    def gradient(self, points: Array, cells: Sequence[Sequence[int]], outputs: Array, doubt: Array) -> Array:
        """Of the outputs on each cell, (cells, outputs, dimensions), where they are `outputs` at the points.

        `doubt` is of each cell's corners, as a share of its width.

        Raises:
            SettingError: the model is not affine on a cell that is not thin.
        """
        found = []
        largest = [*self.largest, float(np.abs(outputs).max())]
        generator = np.random.default_rng(0)
        step = max(16, _NUMBERS // (16 * self.numbers))
        for first in range(0, len(cells), step):
            corners = _Corners(cells[first : first + step])
            unsure = doubt[first : first + step]
            wide = unsure <= _THIN
            weights = generator.uniform(0.5, 1.5, len(corners.flat))  # in a middle all cubes are straight
            at, centres = points[corners.flat], corners.means(points[corners.flat], weights)
            # not at the corners alone, which are as much of the cells next to this one
            inside = np.repeat(centres, corners.sizes, 0)
            away = _INSIDE * (at - inside)
            with torch.no_grad():
                runs = [
                    self._numbers_of(self._record(torch.from_numpy(where), None, rounding), len(at))
                    for where, rounding in ((at, 0.0), (inside + away, 0.0), (inside + away, ROUNDING))
                ]
            middle, gradient = self._differentiated(centres)
            runs.append(self._numbers_of(middle, len(centres)))
            for size, tip, seen, rounded, told in zip(largest, *runs, strict=True):
                noise = np.maximum.reduceat(np.abs(seen - rounded).max(1), corners.starts)
                allowed = corners.allowed(seen, unsure) + _TIMES * noise[:, None]
                most = noise[wide].max(initial=0.0)
                # what is nothing but rounding is 0
                if _RESOLVED * size < most < size * _ALL:
                    change = most / size * 2**-52 / ROUNDING
                    raise SettingError(
                        f"rounding changes the model's numbers by {change:.0e} of the largest, as they are differences "
                        "of much larger ones: float64 does not resolve its cells"
                    )
                is_affine = (np.abs(told - corners.means(seen, weights)) <= allowed).all(1)
                allowed, told = (np.repeat(one, corners.sizes, 0) for one in (allowed + _SIZE_OFF * size, told))
                meets = (np.abs(tip - told - (seen - told) / _INSIDE) <= allowed).all(1)
                if not (is_affine[wide].all() and meets[np.repeat(wide, corners.sizes)].all()):
                    raise SettingError(
                        "the model is not affine between the kinks that are seen: it has to be continuous and of "
                        "straight pieces, of torch's own functions, not compiled, and no point may depend on others"
                    )
            # the last are the outputs
            expected = told + np.einsum("nod,nd->no", np.repeat(gradient, corners.sizes, 0), away)
            is_near = np.abs(seen - expected) <= allowed + _GRADIENT_OFF * np.abs(seen - told)
            if not is_near.all(1)[np.repeat(wide, corners.sizes)].all():
                raise SettingError(
                    "the model's gradient is not that of its values: no part of it may be detached, of all points, "
                    "or in another precision"
                )
            found.append(gradient)
        return np.concatenate(found)

    def _numbers_of(self, run: Recording, points: int) -> list[Array]:
        """Of every kink, then the outputs, each (points, numbers).

        Raises:
            SettingError: they are others than at first, or not finite.
        """
        _refuse_others(run)
        if len(run.kinks) != len(self.sites) or not all(map(_alike, run.kinks, (site.kink for site in self.sites))):
            raise SettingError(_OTHER_FUNCTIONS)
        found = [_flat(one.values)[:points].numpy() for one in run.kinks]
        found.append(run.outputs[:points].detach().numpy())
        if not all(np.isfinite(one).all() for one in found):
            raise SettingError("the model's values are not finite on this plane")
        return found

    def _differentiated(self, centres: Array) -> tuple[Recording, Array]:
        with torch.enable_grad():
            coordinates = torch.from_numpy(centres).requires_grad_()
            found = self._record(coordinates)
            columns = [
                torch.autograd.grad(one, coordinates, retain_graph=True, materialize_grads=True)[0]
                if one.requires_grad
                else torch.zeros_like(coordinates)
                for one in found.outputs[: len(centres)].sum(0)
            ]
        found.kinks = [Kink(one.values.detach(), one.at, one.function, one.layer) for one in found.kinks]
        return found, torch.stack(columns, 1).detach().numpy()


class _Corners:
    """The vertices of all cells in one row.

    Attributes:
        flat: vertices, cell by cell.
        sizes: vertices of each cell.
        starts: where each cell begins in `flat`.
    """

    def __init__(self, cells: Sequence[Sequence[int]]) -> None:
        self.sizes = np.fromiter(map(len, cells), np.int64, len(cells))
        self.flat = np.fromiter(chain.from_iterable(cells), np.int64, int(self.sizes.sum()))
        self.starts = np.cumsum(self.sizes) - self.sizes

    @property
    def following(self) -> Numbers:
        """Where in `flat` the next vertex of the same cell stands."""
        found = np.arange(1, len(self.flat) + 1)
        found[self.starts + self.sizes - 1] = self.starts
        return found

    def sums(self, of_flat: Array) -> Array:
        """Over the vertices of each cell."""
        found: Array = np.add.reduceat(of_flat, self.starts)
        return found

    def means(self, of_flat: Array, weights: Array | None = None) -> Array:
        """Over the vertices of each cell, (cells, …) of (flat, …), weighted by (flat,)."""
        if weights is None:
            return self.sums(of_flat) / self.sizes[:, None]
        return self.sums(of_flat * weights[:, None]) / self.sums(weights)[:, None]

    def areas(self, points: Array) -> Array:
        """Of each cell, with its vertices among points (vertices, 2)."""
        a = points[self.flat] - np.repeat(points[self.flat[self.starts]], self.sizes, 0)
        b = a[self.following]
        return self.sums(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2

    def allowed(self, of_flat: Array, doubt: Array) -> Array:
        """How far from affine values (flat, columns) may be on each cell, (cells, columns), by its doubt, (cells,)."""
        low, high = np.minimum.reduceat(of_flat, self.starts), np.maximum.reduceat(of_flat, self.starts)
        largest = np.maximum(np.abs(low), np.abs(high)).max(1, keepdims=True)
        found: Array = (_RANGE_OFF + doubt[:, None]) * (high - low) + _SIZE_OFF * largest
        return found

    def neighbours(self) -> Numbers:
        """Pairs of cells that have an edge together, (pairs, 2)."""
        a, b = self.flat, self.flat[self.following]
        owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        edge = np.minimum(a, b) * (self.flat.max() + 1) + np.maximum(a, b)
        order = np.argsort(edge, kind="stable")
        twice = np.flatnonzero(edge[order][:-1] == edge[order][1:])
        return np.stack([owner[order[twice]], owner[order[twice + 1]]], 1)


class _Mesh:
    """Convex cells that fill a rectangle, and how a layer's kinks cut them.

    Attributes:
        points: u and v of each vertex, three times: as it is, and twice as rounding may have made them.
        cells: the vertices of each, against the clock.
        layer: of each cell the last that cut it.
        taken_for_zero: of each cell, the largest share of a unit's values there that was taken for 0 at a corner.
    """

    def __init__(self, plane: Plane, most_cells: int) -> None:
        (left, lower), (right, upper) = plane.low, plane.high
        # near 0 or not, coordinates are rounded by their size
        off = ROUNDING * max(map(abs, (left, lower, right, upper, right - left, upper - lower)))
        self.off = (0.0, 0.0, off, 0.0, 0.0, off)
        self.points = [
            tuple(one + more for one, more in zip(3 * point, self.off, strict=True))
            for point in map(tuple, plane.corners().tolist())
        ]
        self.cells, self.layer = [[0, 1, 2, 3]], [0]
        self.taken_for_zero = np.zeros(1)
        self.most_cells = most_cells

    def tried(self) -> Array:
        """The vertices as they are, and twice as rounding may have made them, (3, vertices, 2)."""
        return np.array(self.points).reshape(-1, 3, 2).transpose(1, 0, 2)

    def cut(self, values: Array, layer: int) -> int:
        """By units that are affine on every cell, along their zeros.

        Args:
            values: at the vertices as they are tried, (3, vertices, units).
            layer: of them.

        Returns:
            how many of the units cut a cell.
        """
        corners = _Corners(self.cells)
        sides = _sides(values)
        seen = sides[corners.flat]
        crossed = (np.maximum.reduceat(seen, corners.starts) > 0) & (np.minimum.reduceat(seen, corners.starts) < 0)
        sizes = np.abs(values[0][corners.flat])
        largest = np.maximum.reduceat(sizes * (seen != 0), corners.starts)
        zeros = np.maximum.reduceat(sizes * (seen == 0), corners.starts)
        shares = np.divide(zeros, largest, out=np.zeros_like(zeros), where=largest > 0).max(1)
        self.taken_for_zero = np.maximum(self.taken_for_zero, shares)
        self.crossings: dict[tuple[int, int, int], int] = {}
        pieces: dict[int, list[list[int]]] = {}
        count = len(self.cells)
        for number in np.flatnonzero(crossed.any(1)).tolist():
            cell, units = np.array(self.cells[number]), np.flatnonzero(crossed[number])
            pieces[number] = self._pieces(
                cell.tolist(), values[:, cell[:, None], units], sides[cell[:, None], units], units
            )
            count += len(pieces[number]) - 1
            if count > self.most_cells:
                raise setting_error("most_cells", self.most_cells, "more than the plane has, or the plane smaller")
        cells, layers = [], []
        for number, (old, last) in enumerate(zip(self.cells, self.layer, strict=True)):
            new = pieces.get(number)
            cells += [old] if new is None else new
            layers += [last] if new is None else [layer] * len(new)
        parts = [len(pieces[number]) if number in pieces else 1 for number in range(len(self.cells))]
        self.taken_for_zero = np.repeat(self.taken_for_zero, parts)
        self.cells, self.layer = cells, layers
        return int(crossed.any(0).sum())

    def doubt(self) -> Array:
        """Of each cell how far its edges may be off at their ends, as a share of its width, (cells,)."""
        corners = _Corners(self.cells)
        points, *others = self.tried()[:, corners.flat]
        edges = points[corners.following] - points
        lengths = np.hypot(*edges.T)
        moved = np.zeros(len(points))
        for other in others:
            for ends in (other - points, (other - points)[corners.following]):
                moved = np.maximum(moved, np.abs(ends[:, 0] * edges[:, 1] - ends[:, 1] * edges[:, 0]) / lengths)
        widths = 2 * corners.areas(self.tried()[0]) / corners.sums(lengths)
        off = _TIMES * np.maximum.reduceat(moved, corners.starts)
        shares = np.divide(off, widths, out=np.full_like(off, np.inf), where=widths > 0)
        found: Array = np.maximum(self.taken_for_zero, shares)
        return found

    def _pieces(self, cell: list[int], values: Array, sides: NDArray[np.int8], units: Numbers) -> list[list[int]]:
        """Of a cell, by units with their values, (3, vertices, units), and sides, (vertices, units), at its corners."""
        done, rest = [], [(cell, values, sides, units)]
        while rest:
            cell, values, sides, units = rest.pop()
            cutting = ((sides.max(0) > 0) & (sides.min(0) < 0)).nonzero()[0]
            if not len(cutting):
                done.append(cell)
                continue
            first, others = cutting[0], cutting[1:]
            halves, crossings = self._halves(
                cell, values[:, :, first].T.tolist(), sides[:, first].tolist(), int(units[first])
            )
            cell = cell + [new for new, *_ in crossings]
            if not len(others):
                done += [[cell[at] for at in half] for half in halves]
                continue
            values, sides, units = values[:, :, others], sides[:, others], units[others]
            between = [
                values[:, a] + np.array(shares)[:, None] * (values[:, b] - values[:, a])
                for _, a, b, shares in crossings
            ]
            if between:
                new = np.stack(between, 1)
                values, sides = np.concatenate([values, new], 1), np.concatenate([sides, _sides(new)])
            rest += [([cell[at] for at in half], values[:, half], sides[half], units) for half in halves]
        return done

    def _halves(
        self, cell: list[int], values: list[list[float]], sides: list[int], unit: int
    ) -> tuple[tuple[list[int], list[int]], list[tuple[int, int, int, list[float]]]]:
        """Both parts of a cell, by a unit's values (vertices, 3) and sides, and where its zero crosses an edge.

        The parts are places in the cell and, behind it, of the crossings. A crossing is a vertex, the places of the
        edge's ends, and its share of the way between them, three times. Ends are in the order of their vertices'
        numbers: both cells at an edge reckon alike.
        """
        above: list[int] = []
        below: list[int] = []
        crossings: list[tuple[int, int, int, list[float]]] = []
        changes, last = 0, next(side for side in reversed(sides) if side)
        for place, side in enumerate(sides):
            if side >= 0:
                above.append(place)
            if side <= 0:
                below.append(place)
            if side:
                changes += side != last
                last = side
            following = place + 1 if place + 1 < len(cell) else 0
            if side * sides[following] < 0:
                a, b = (place, following) if cell[place] < cell[following] else (following, place)
                shares = [low / (low - high) for low, high in zip(values[a], values[b], strict=True)]
                key = (cell[a], cell[b], unit)
                if key not in self.crossings:
                    self.crossings[key] = self._new(cell[a], cell[b], shares)
                for part in (above, below):
                    part.append(len(cell) + len(crossings))
                crossings.append((self.crossings[key], a, b, shares))
        if changes != 2:
            raise SettingError("the model's cells on this plane are too thin for float64")
        return (above, below), crossings

    def _new(self, a: int, b: int, shares: list[float]) -> int:
        of_numbers = [share for share in shares for _ in range(2)]
        self.points.append(
            tuple(
                start + share * (end - start) + more
                for start, end, share, more in zip(self.points[a], self.points[b], of_numbers, self.off, strict=True)
            )
        )
        return len(self.points) - 1


def _flat(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def _all_numbers(run: Recording) -> list[Tensor]:
    return [*(one.values for one in run.kinks), run.outputs]


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _columns(kink: Kink) -> Tensor:
    """A kink's numbers less each of its thresholds, (points, units · thresholds)."""
    return torch.cat([_flat(kink.values) - at for at in kink.at], 1)


def _alike(one: Kink, other: Kink) -> bool:
    return (one.at, one.function, one.layer, one.values.shape[1:]) == (
        other.at,
        other.function,
        other.layer,
        other.values.shape[1:],
    )


def _sides(values: Array) -> NDArray[np.int8]:
    """−1 or 1; 0 where rounding may make as much of it, by values (3, points, units)."""
    allowed = _TIMES * np.maximum(np.abs(values[1] - values[0]), np.abs(values[2] - values[0]))
    found: NDArray[np.int8] = (values[0] > allowed).astype(np.int8) - (values[0] < -allowed).astype(np.int8)
    return found


def _check_doubt(doubt: Array, sizes: Array) -> None:
    """Refuse a result of which a visible part is in doubt, by the cells' doubt and sizes."""
    share = sizes[doubt > _THIN].sum() / sizes.sum()
    if share > _MOST_THIN:
        raise SettingError(f"float64 does not resolve the model's cells on {share:.1%} of the plane")


def _same(gradient: Array, one: Numbers, other: Numbers) -> NDArray[np.bool_]:
    """Whether cells next to each other, by their numbers, are of one affine function, by gradients (cells, …)."""
    sizes = np.abs(gradient).max((1, 2))
    allowed = _SAME * np.maximum(sizes[one], sizes[other]) + _SAME_AT_ALL * sizes.max()
    found: NDArray[np.bool_] = np.abs(gradient[one] - gradient[other]).max((1, 2)) <= allowed
    return found


def _connected(gradient: Array, pairs: Numbers) -> Numbers:
    """The number of each cell's linear region."""
    one, other = pairs[_same(gradient, *pairs.T)].T
    joined = coo_array((np.ones(len(one)), (one, other)), shape=(len(gradient), len(gradient)))
    return np.asarray(connected_components(joined, directed=False)[1], np.int64)


def _refuse_others(found: Recording) -> None:
    """What is seen and cannot be done."""
    if found.smooth:
        raise SettingError(f"the model computes {', '.join(found.smooth)}: it has to be of straight pieces")
    if found.selecting:
        raise SettingError(f"the model computes {', '.join(found.selecting)}, whose kinks are not looked for")
