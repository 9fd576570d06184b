"""The census of any torch model, a row a layer, over as many batches as there are.

Definitions (pre-activations g, activations h; an entry is one position of one unit at one point):

* dead unit: the activation has no slope at any entry of it, which of a ReLU is h = 0 throughout (CPAIOR, definition 1);
* linear unit: g > 0, and a slope, at every entry (CPAIOR, definition 2);
* dead point: likewise at every entry of the point in this layer; linear point;
* τ-dormant unit: s = mean |h| / (mean over the layer's units of mean |h| + 1e-9) ≤ τ (Sokar et al. 2023);
* active on less than 1 %: g > 0 at less than 1 % of its entries (Dohare et al. 2024, there for ReLUs);
* firing rate: the share of entries with g > 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from jumpstart_exp.measures.activation_calls import NoSlope
from jumpstart_exp.measures.passes import ModelPass, PreActivation, others_paused
from jumpstart_exp.measures.selection import Functions, Layers
from jumpstart_exp.measures.watching import ModelWatch
from jumpstart_exp.settings import SettingError

TAUS = (0.0, 0.025, 0.1)
"""Thresholds of dormancy that the literature has (Sokar et al. 2023)."""

RARELY = 0.01
"""A unit is rarely active on less than this share of its entries (Dohare et al. 2024)."""


class ModelCensus(pd.DataFrame):
    """A row a layer, in the order of their calls, or a row a unit; `print` shows the worst layers first.

    Of layers: `layer`, `function`, `units`, `points`, and shares in [0, 1]: `dead_units`, `linear_units`,
    `dormant_units_tau_0` (and of every other τ), `units_active_below_1_percent`, `firing_rate`, `dead_points`,
    `linear_points`. Of units: `layer`, `function`, `unit`, `points`, `is_dead`, `is_linear`, `dormancy_score` (s),
    `firing_rate`, `mean_magnitude` (mean |h|), `smallest`, `largest` (of g). Dead is null where an activation has a
    slope everywhere (GELU, leaky ReLU).
    """

    @property
    def _constructor(self) -> "type[ModelCensus]":
        return ModelCensus

    @property
    def is_of_units(self) -> bool:
        """Whether it has a row a unit."""
        return "unit" in self.columns

    def worst_first(self) -> "ModelCensus":
        """The rows by the share of dead units, then of dormant and of rarely active ones, largest first."""
        by = [name for name in ("dead_units", "is_dead", "units_active_below_1_percent") if name in self.columns]
        ascending = [False] * len(by) + [True]
        return ModelCensus(self.sort_values([*by, "firing_rate"], ascending=ascending, kind="stable"))

    def __str__(self) -> str:
        """A table for people: percentages, worst layers first, and what that is of all units together."""
        if self.is_of_units or not {"layer", "units", "points", "dead_units"} <= set(self.columns):
            return str(pd.DataFrame(self))
        return _table(self)


class LayerTally:
    """What is counted of one layer, batch by batch, in float64."""

    def __init__(self, layer: PreActivation) -> None:
        self.layer, self.function = layer.layer, layer.function
        self.units = layer.values.shape[1]
        self.has_flat_piece = layer.no_slope is not None
        self.points = self.dead_points = self.linear_points = 0
        self.entries = 0
        device = layer.values.device
        self.slopes = torch.zeros(self.units, dtype=torch.int64, device=device)
        self.linear = torch.zeros(self.units, dtype=torch.int64, device=device)
        self.fires = torch.zeros(self.units, dtype=torch.int64, device=device)
        self.magnitude = torch.zeros(self.units, dtype=torch.float64, device=device)
        self.smallest = torch.full((self.units,), math.inf, dtype=torch.float64, device=device)
        self.largest = torch.full((self.units,), -math.inf, dtype=torch.float64, device=device)

    def add_inputs(self, g: Tensor, no_slope: NoSlope | None) -> Tensor:
        """Count a batch's pre-activations (points, units, *positions); which points are dead."""
        if g.shape[1] != self.units:
            raise SettingError(f"{self.layer} has {self.units} units in one batch and {g.shape[1]} in another one")
        g = g.detach().flatten(2) if g.dim() > 2 else g.detach()[:, :, None]
        if not g.numel():
            raise SettingError(f"{self.layer} is given nothing: {tuple(g.shape)}")
        if g.is_meta:
            raise SettingError(f"{self.layer} is on the meta device, which has no numbers to be counted")
        if not bool(torch.isfinite(g).all()):
            raise SettingError(
                f"{self.layer} is given numbers that are not finite: no census is taken of a diverged model"
            )
        fires = g > 0
        has_slope = torch.ones_like(fires) if no_slope is None else ~no_slope(g)
        linear = fires & has_slope
        self.points += len(g)
        self.entries += len(g) * g.shape[2]
        self.fires += fires.sum((0, 2))
        self.slopes += has_slope.sum((0, 2))
        self.linear += linear.sum((0, 2))
        self.smallest = torch.minimum(self.smallest, g.amin((0, 2)).double())
        self.largest = torch.maximum(self.largest, g.amax((0, 2)).double())
        is_dead: Tensor = ~has_slope.any(2).any(1)
        self.dead_points += int(is_dead.sum())
        self.linear_points += int(linear.all(2).all(1).sum())
        return is_dead

    def add_outputs(self, h: Tensor) -> None:
        """Count the activations of the same batch."""
        sizes = h.detach().abs().to(torch.float64)
        self.magnitude += sizes.sum([axis for axis in range(h.dim()) if axis != 1])

    def units_frame(self) -> dict[str, Any]:
        """Columns with a number a unit."""
        mean = self.magnitude / self.entries
        score = mean / (mean.mean() + 1e-9)
        is_dead = (self.slopes == 0).tolist()
        return {
            "layer": self.layer,
            "function": self.function,
            "unit": range(self.units),
            "points": self.points,
            "is_dead": pd.array(is_dead if self.has_flat_piece else [None] * self.units, dtype="boolean"),
            "is_linear": pd.array(
                (self.linear == self.entries).tolist() if self.has_flat_piece else [None] * self.units, dtype="boolean"
            ),
            "dormancy_score": score.tolist(),
            "firing_rate": (self.fires.double() / self.entries).tolist(),
            "mean_magnitude": mean.tolist(),
            "smallest": self.smallest.tolist(),
            "largest": self.largest.tolist(),
        }

    def row(self, taus: Sequence[float]) -> dict[str, Any]:
        """One row of shares."""
        units = self.units_frame()
        score, rate = pd.Series(units["dormancy_score"]), pd.Series(units["firing_rate"])
        flat = self.has_flat_piece
        return {
            "layer": self.layer,
            "function": self.function,
            "units": self.units,
            "points": self.points,
            "dead_units": float(units["is_dead"].mean()) if flat else math.nan,
            "linear_units": float(units["is_linear"].mean()) if flat else math.nan,
            **{f"dormant_units_tau_{tau:g}": float((score <= tau).mean()) for tau in taus},
            "units_active_below_1_percent": float((rate < RARELY).mean()),
            "firing_rate": int(self.fires.sum()) / (self.entries * self.units),
            "dead_points": self.dead_points / self.points if flat else math.nan,
            "linear_points": self.linear_points / self.points if flat else math.nan,
        }


class ModelTally:
    """What is counted of all layers of a model."""

    def __init__(self) -> None:
        self.layers: dict[str, LayerTally] = {}
        self.points = self.dead_somewhere = 0
        self._dead: list[Tensor] = []

    def add(self, layer: PreActivation) -> Any:
        """Count one layer's pre-activations of the batch; gives what counts its activations."""
        tally = self.layers.setdefault(layer.layer, LayerTally(layer))
        is_dead = tally.add_inputs(layer.values, layer.no_slope)
        if layer.no_slope is not None:
            self._dead.append(is_dead)
        return tally.add_outputs

    def end_batch(self) -> None:
        """Count the points that were dead at some layer; where layers have other points than others, none."""
        if self._dead and len({len(dead) for dead in self._dead}) == 1:
            self.points += len(self._dead[0])
            self.dead_somewhere += int(torch.stack(self._dead).any(0).sum())
        self._dead = []

    def frame(self, taus: Sequence[float], per_unit: bool) -> ModelCensus:
        """The census of what was counted.

        Raises:
            SettingError: nothing was.
        """
        if not self.layers:
            raise SettingError("the model calls nothing like a ReLU: choose layers=nn.LSTM, say, or functions='tanh'")
        if per_unit:
            found = ModelCensus(
                pd.concat([pd.DataFrame(one.units_frame()) for one in self.layers.values()], ignore_index=True)
            )
        else:
            found = ModelCensus([one.row(taus) for one in self.layers.values()])
        found.attrs["dead_points_at_some_layer"] = self.dead_somewhere / self.points if self.points else math.nan
        return found


def census(
    model: nn.Module,
    data: Tensor | Iterable[Any],
    layers: Layers = None,
    *,
    functions: Functions = (),
    output_layer: bool = False,
    unit_axis: int | None = None,
    point_axis: int | None = None,
    per_unit: bool = False,
    taus: Sequence[float] = TAUS,
) -> ModelCensus:
    """Which units and points of a model are dead, linear or dormant, over all points of the data, in evaluation mode.

    `print(census(model, loader))` shows a table, worst layers first. The model is as it was afterwards; that others
    watch it makes no difference to them.

    Args:
        model: any module.
        data: one batch, or a loader of batches in one pass: tensors; tuples and lists, of which the first is the
            model's input, as of a DataLoader over (input, target); dicts, which are given by keyword.
        layers: as `SeparationPenalty.watch` takes it.
        functions: likewise.
        output_layer: likewise.
        unit_axis: likewise.
        point_axis: likewise.
        per_unit: a row a unit instead of a layer, which `persistence` compares.
        taus: thresholds of dormancy, each at least 0.

    Returns:
        A `ModelCensus`; `attrs["dead_points_at_some_layer"]` is the share of points that are dead at some layer.

    Raises:
        SettingError: a setting is not allowed, the model calls no such activation or cannot be watched, there is no
            data, or numbers are not finite.
    """
    for tau in taus:
        if not tau >= 0:
            raise SettingError(f"taus={tau} is not allowed: it must be at least 0")
    parts = data if isinstance(data, tuple | list) else ()
    if all(isinstance(one, Tensor) for one in parts) and len({(one.dim(), one.dtype) for one in parts}) > 1:
        # of (inputs, targets) the targets would be a batch, too
        raise SettingError(f"data is a {type(data).__name__} of tensors of several kinds: give the inputs alone")
    tally = ModelTally()
    watch = ModelWatch(
        model,
        lambda has_gradients, _: ModelPass(has_gradients, tally.add),
        layers=layers,
        functions=functions,
        output_layer=output_layer,
        unit_axis=unit_axis,
        point_axis=point_axis,
        whenever=True,
    )
    training = {module: module.training for module in model.modules()}
    batches: Iterable[Any] = (data,) if isinstance(data, Tensor | Mapping) else data
    place = _device(model)
    count = 0
    try:
        model.eval()
        with torch.no_grad(), others_paused():
            for batch in batches:
                _call(model, batch, place)
                tally.end_batch()
                count += 1
    finally:
        watch.remove()
        for module, mode in training.items():
            module.training = mode
    if not count:
        raise SettingError("the data has no batch: a census needs points")
    return tally.frame(taus, per_unit)


def persistence(before: ModelCensus, after: ModelCensus) -> pd.DataFrame:
    """Which dead units stay dead between two censuses of one model, a row a layer (Sokar et al. 2023, figure 4).

    Args:
        before: of units (`per_unit=True`).
        after: likewise.

    Returns:
        `layer`, `units`, `dead_before`, `dead_after` (shares of the units), `stayed_dead` (of those dead before, null
        of none), `revived` (likewise), `newly_dead` (of those not dead before).

    Raises:
        SettingError: a census is of layers, or they are not of the same units.
    """
    for name, one in (("before", before), ("after", after)):
        if "is_dead" not in one.columns:
            raise SettingError(f"{name} is a census of layers: take it with per_unit=True")
    keys = ["layer", "unit"]
    if before[keys].values.tolist() != after[keys].values.tolist():
        raise SettingError("the two censuses are not of the same units")
    both = pd.DataFrame({"layer": before["layer"], "was": before["is_dead"], "is": after["is_dead"]})
    rows = []
    for layer, own in both.groupby("layer", sort=False):
        if own["was"].isna().any():
            rows.append({"layer": layer, "units": len(own)})
            continue
        was, now = own["was"].astype(bool), own["is"].astype(bool)
        stayed = float(now[was].mean()) if was.any() else math.nan
        rows.append(
            {
                "layer": layer,
                "units": len(own),
                "dead_before": float(was.mean()),
                "dead_after": float(now.mean()),
                "stayed_dead": stayed,
                "revived": 1 - stayed,
                "newly_dead": float(now[~was].mean()) if (~was).any() else math.nan,
            }
        )
    return pd.DataFrame(rows)


def _device(model: nn.Module) -> torch.device | None:
    first = next(iter((*model.parameters(), *model.buffers())), None)
    return None if first is None else first.device


def _call(model: nn.Module, batch: Any, place: torch.device | None) -> None:
    def there(part: Any) -> Any:
        return part.to(place) if isinstance(part, Tensor) and place is not None else part

    if isinstance(batch, Tensor):
        model(there(batch))
    elif isinstance(batch, Mapping):
        model(**{name: there(part) for name, part in batch.items()})
    elif isinstance(batch, tuple | list) and batch and isinstance(batch[0], Tensor):
        model(there(batch[0]))
    else:
        raise SettingError(
            f"data has a batch of {type(batch).__name__}: it must be a tensor, a tuple that begins with one, or a dict"
        )


def _table(found: ModelCensus) -> str:
    def percent(share: float) -> str:
        return "–" if math.isnan(share) else f"{100 * share:.1f} %".replace("100.0", "100").replace(" 0.0 %", "0 %")

    heads = {
        "layer": "layer",
        "function": "function",
        "units": "units",
        "dead_units": "dead",
        "linear_units": "linear",
        **{name: f"dormant τ={name.rpartition('_')[2]}" for name in found.columns if name.startswith("dormant_units")},
        "units_active_below_1_percent": "active < 1 %",
        "firing_rate": "fires",
        "dead_points": "dead points",
    }
    texts = [list(heads.values())]
    for _, row in found.worst_first().iterrows():
        texts.append(
            [str(row[name]) if name in ("layer", "function", "units") else percent(float(row[name])) for name in heads]
        )
    widths = [max(len(line[column]) for line in texts) for column in range(len(heads))]
    lines = [
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in texts
    ]
    flat = found[found["dead_units"].notna()]
    units = int(flat["units"].sum())
    if units:
        dead = round(float((flat["dead_units"] * flat["units"]).sum()))
        lines.append(f"{dead} of {units} units are dead ({percent(dead / units)}); {found['points'].max()} points")
    else:
        lines.append(f"no unit can be dead: these activations have a slope everywhere; {found['points'].max()} points")
    return "\n".join(lines)
