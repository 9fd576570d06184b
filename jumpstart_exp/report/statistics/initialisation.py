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

from jumpstart_exp.report.statistics.intervals import Floats, means, share_interval
from jumpstart_exp.report.table.names import dataset_of
from jumpstart_exp.store.fields import AXES, Settings, setting_columns, told, usual

LAYOUTS = {"mlp": 1, "conv2x1": 2}
"""Layouts with points of two features, and how many activations of a layer each unit has for one point."""

POINT_INACTIVE = 0.5
"""Probability q that a unit is inactive for a point: weights are drawn symmetric around 0, biases are 0."""

MEASURES = ("dead_units", "dead_points", "dead_layer")
"""What is measured: shares of units, of points dead in some layer, and of networks that have a dead layer."""

_CENSUS = ("dead_units_by_layer_start", "dead_points_by_layer_start")
_EARLY = ("first_dead", "second_dead")  # shares of dead units in the first two hidden layers, NaN for no second one

_Network = tuple[int, int, int, float, float, float, float, float]  # AXES, MEASURES, _EARLY


@dataclass(frozen=True, eq=False)
class Measured:
    """A share over seeds and its interval, (depths, widths) each; NaN where there is no network.

    The interval is Student's t of a mean (`Means`), NaN where it has none, and Wilson's of a share of networks. `each`
    are the seeds', (depths, widths, seeds).
    """

    share: Floats
    low: Floats
    high: Floats
    each: Floats


@dataclass(frozen=True, eq=False)
class Initialisation:
    """Networks of one dataset and layout before training, with Glorot's uniform weights and zero biases.

    `measured` and `formula` have an entry for each of MEASURES, (depths, widths). `seeds` counts the networks behind
    each place.
    """

    layout: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    seeds: NDArray[np.int64]
    measured: Mapping[str, Measured]
    formula: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class InitialisedDataset:
    """All layouts' networks on one dataset; `slug` is the stable part of file names."""

    title: str
    slug: str
    layouts: tuple[Initialisation, ...]


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
    is_plain = np.ones(len(table), np.bool_)
    for name in plain:
        usually = (None, usual(name))
        is_plain &= [value in usually for value in columns[name]]
    for row, (layout, depth, width, seed, units, points) in enumerate(measured):
        if layout not in LAYOUTS or not is_plain[row]:
            continue
        if _is_census(units, depth) and _is_census(points, depth):
            # biases are zero: what is dead in a layer is the zero input of the next one, and dead in all that follow
            dead = float(np.mean(units)), float(points[-1]), float(units[-1] == 1.0)
            second = float(units[1]) if depth > 1 else np.nan
            network = (int(depth), int(width), int(seed), *dead, float(units[0]), second)
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
        title=dataset_of(context).title,
        slug=f"initialisation_{name}_{digest}",
        layouts=tuple(_layout(layout, layouts[layout]) for layout in LAYOUTS if layout in layouts),
    )


def _layout(layout: str, networks: list[_Network]) -> Initialisation:
    # a network of several methods has the same census in each, and one place
    frame = pd.DataFrame(networks, columns=[*AXES, *MEASURES, *_EARLY]).drop_duplicates([*AXES], keep="last")
    depths, widths, seeds = (sorted({*frame[name].tolist()}) for name in AXES)
    places = pd.MultiIndex.from_product([depths, widths, seeds], names=AXES)
    placed = frame.set_index([*AXES])[[*MEASURES]].reindex(places)
    shape = len(depths), len(widths), len(seeds)
    units, points, layer = (placed[name].to_numpy().reshape(shape) for name in MEASURES)
    there = (~np.isnan(layer)).sum(axis=-1)
    # a seed has the same first layers at every depth
    early = frame.sort_values([*AXES]).groupby(["width", "seed"])[[*_EARLY]].last()
    first, second = (np.array([early[name].loc[width].mean() for width in widths]) for name in _EARLY)
    return Initialisation(
        layout=layout,
        depths=tuple(depths),
        widths=tuple(widths),
        seeds=there,
        measured={
            "dead_units": _mean(units),
            "dead_points": _mean(points),
            "dead_layer": Measured(*share_interval((layer == 1).sum(axis=-1), there), each=layer),
        },
        formula=_formulas(layout, np.array(depths, np.float64)[:, None], np.array(widths, np.float64), first, second),
    )


def _mean(values: Floats) -> Measured:
    of = means(values, (0, 1))
    return Measured(of.mean, of.low, of.high, values)


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
