"""Dead units and points at initialisation, measured and by the papers' formulas: statistics only.

The formulas (ICLR, A.2, equations 19 to 22; CPAIOR, section 3) take layers and units as independent. CPAIOR prints
the power outside of the bracket, (1 − q)^n; it belongs inside, as its own words and ICLR have it: 1 − q^n.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import Floats, mean_interval, wilson
from jumpstart_exp.report.table.fields import AXES, Settings, setting_columns, told, usual
from jumpstart_exp.report.table.names import dataset_title

LAYOUTS = {"mlp": 1, "conv2x1": 2}
"""Layouts with points of two features, and how many activations of a layer each unit has for one point."""

POINT_INACTIVE = 0.5
"""Probability q that a unit is inactive for a point: weights are drawn symmetric around 0, biases are 0."""

MEASURES = ("dead_units", "dead_points", "dead_layer")
"""What is measured: shares of units, of points dead in some layer, and of networks that have a dead layer."""

_CENSUS = ("dead_units_by_layer_start", "dead_points_by_layer_start")


@dataclass(frozen=True, eq=False)
class Measured:
    """A share over seeds and its interval (95 %), (depths, widths) each; NaN where there is no network."""

    share: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class Initialisation:
    """Networks of one dataset and layout before training, with Glorot's uniform weights and zero biases.

    `measured` and `formula` have an entry for each of MEASURES, (depths, widths). `seeds` counts the networks behind
    each place. `first_dead` and `second_dead` are the shares of dead units in the first and in the second hidden
    layer, (widths,), that the formulas of units and of layers use; NaN where no network has that layer.
    """

    layout: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    seeds: NDArray[np.int64]
    measured: Mapping[str, Measured]
    formula: Mapping[str, Floats]
    first_dead: Floats
    second_dead: Floats


@dataclass(frozen=True, eq=False)
class InitialisedDataset:
    """All layouts' networks on one dataset; `slug` is the stable part of file names."""

    title: str
    slug: str
    layouts: tuple[Initialisation, ...]


@dataclass(frozen=True)
class _Network:
    place: tuple[int, int, int]  # depth, width, seed
    dead_units: Floats
    dead_points: Floats


def initialisations(table: pd.DataFrame) -> list[InitialisedDataset]:
    """What the store's table of cells says about networks before training, a dataset each, sorted by title.

    Counted are networks with Glorot's uniform weights, without batch norm, in float32, of the layouts `mlp` and
    `conv2x1`, that have nothing else of their own. Initial weights depend on neither penalty nor optimizer, so
    networks of equal depth, width and seed are counted once.
    """
    if table.empty or any(name not in table.columns for name in _CENSUS):
        return []
    matters = ("dataset", "network.", "precision")
    columns = setting_columns(table[[name for name in table.columns if name.startswith(matters)]])
    of_data = {name: values for name, values in columns.items() if name == "dataset" or name.startswith("dataset.")}
    # what a deep network's activations fall below differs by precision
    plain = [name for name in columns if name.startswith("network.") or name == "precision"]
    plain.remove("network.layout")
    found: dict[tuple[Hashable, ...], dict[str, list[_Network]]] = defaultdict(lambda: defaultdict(list))
    measured = zip(*(table[name] for name in ("network.layout", *AXES, *_CENSUS)), strict=True)
    for row, (layout, depth, width, seed, units, points) in enumerate(measured):
        if layout not in LAYOUTS or any(columns[name][row] not in (None, usual(name)) for name in plain):
            continue
        if _is_census(units, depth) and _is_census(points, depth):
            network = _Network(
                (int(depth), int(width), int(seed)), np.asarray(units, np.float64), np.asarray(points, np.float64)
            )
            found[tuple(values[row] for values in of_data.values())][layout].append(network)
    datasets = [_dataset(dict(zip(of_data, values, strict=True)), layouts) for values, layouts in found.items()]
    return sorted(datasets, key=lambda each: (each.title, each.slug))


def dead_somewhere(dead: Floats, exponent: Floats, depth: Floats) -> Floats:
    """Probability that at least one of `depth` independent layers is dead, each with probability dead ** exponent.

    Of points: `dead` is q, `exponent` the activations of a layer (ICLR, equations 19 and 22). Of layers: `dead` is
    p, `exponent` the width (CPAIOR, section 3). All three broadcast.
    """
    return np.asarray(1 - (1 - dead**exponent) ** depth)


def _dataset(context: Settings, layouts: Mapping[str, list[_Network]]) -> InitialisedDataset:
    digest = hashlib.sha256(json.dumps(told(context), sort_keys=True).encode()).hexdigest()[:8]
    name = str(context["dataset"])
    return InitialisedDataset(
        title=dataset_title(name),
        slug=f"initialisation_{name}_{digest}",
        layouts=tuple(_layout(layout, layouts[layout]) for layout in LAYOUTS if layout in layouts),
    )


def _layout(layout: str, networks: list[_Network]) -> Initialisation:
    axes = depths, widths, _ = [sorted({network.place[axis] for network in networks}) for axis in range(3)]
    values = {name: np.full([len(axis) for axis in axes], np.nan) for name in MEASURES}
    early: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for network in sorted(networks, key=lambda each: (each.place[1:], each.place)):  # sums in one order
        # a network of several methods has the same census in each, and one place
        place = tuple(axis.index(value) for axis, value in zip(axes, network.place, strict=True))
        _, width, seed = network.place
        values["dead_units"][place] = np.mean(network.dead_units)
        # biases are zero: what is dead in a layer is the zero input of the next one, and dead in all that follow
        values["dead_points"][place] = network.dead_points[-1]
        values["dead_layer"][place] = network.dead_units[-1] == 1.0
        for layer, share in enumerate(network.dead_units[:2]):
            # a seed has the same first layers at every depth
            early[layer, width][seed] = float(share)
    first, second = (
        np.array([np.mean([*early[layer, width].values()]) if early[layer, width] else np.nan for width in widths])
        for layer in range(2)
    )
    known = ~np.isnan(values["dead_layer"])
    seeds_there = known.sum(axis=-1)
    dead = np.where(known, values["dead_layer"], 0.0).sum(axis=-1)
    low, high = wilson(dead, seeds_there)
    share = np.divide(dead, seeds_there, out=np.full(dead.shape, np.nan), where=seeds_there > 0)
    return Initialisation(
        layout=layout,
        depths=tuple(depths),
        widths=tuple(widths),
        seeds=seeds_there,
        measured={
            "dead_units": Measured(*mean_interval(values["dead_units"])),
            "dead_points": Measured(*mean_interval(values["dead_points"])),
            "dead_layer": Measured(share, low, high),
        },
        formula=_formulas(layout, np.array(depths, np.float64)[:, None], np.array(widths, np.float64), first, second),
        first_dead=first,
        second_dead=second,
    )


def _formulas(layout: str, depth: Floats, width: Floats, first: Floats, second: Floats) -> dict[str, Floats]:
    """The formulas at every depth and width; layers after the second are taken to be as the second."""
    later = depth - 1
    second_or_none = np.where(later > 0, second, 0.0)
    one_lives = 1 - dead_somewhere(first, width, np.ones_like(depth))
    others_live = 1 - dead_somewhere(second_or_none, width, later)
    return {
        "dead_units": np.asarray((first + later * second_or_none) / depth),
        "dead_points": dead_somewhere(np.full_like(width, POINT_INACTIVE), LAYOUTS[layout] * width, depth),
        "dead_layer": np.asarray(1 - one_lives * others_live),
    }


def _is_census(shares: object, depth: int) -> bool:
    """Whether these are shares in [0, 1], one a hidden layer."""
    if not isinstance(shares, list | tuple | np.ndarray) or len(shares) != depth:
        return False
    values = np.asarray(shares, dtype=np.float64)
    return bool(np.all((values >= 0) & (values <= 1)))
