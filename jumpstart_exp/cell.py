"""The cell: one network's whole training, described completely, and the key that identifies it.

A cell is dataset × network × method × optimizer × seed. Every choice that changes what is computed is a field; what
does not (folders, logging; device and engine, which only round differently) is none. Two cells with the same key are
the same experiment, whatever they are called.
"""

import dataclasses
import hashlib
import marshal
import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

from jumpstart_exp.data import DATASETS
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.description import Described, describe, part_names
from jumpstart_exp.settings import (
    Role,
    SettingError,
    check_settings,
    field_types,
    is_function_name,
    legible,
    nearest,
    setting,
    setting_error,
    shown,
)
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec
from jumpstart_exp.specs.regulariser import RegulariserSpec
from jumpstart_exp.specs.reset import ResetSpec

SCHEMA_VERSION = 1
"""Version of a cell's description: raised when fields change their meaning."""

NUMERICS = 1
"""Raised when a fix changes the results that the same description gives."""


SPECS: dict[str, type] = {
    "network": NetworkSpec,
    "penalty": PenaltySpec,
    "regulariser": RegulariserSpec,
    "rai": RaiSpec,
    "dropout": DropoutSpec,
    "optimizer": OptimizerSpec,
    "reset": ResetSpec,
}
"""What a cell is made of beside its dataset: the class of each part, by the name of the cell's field."""


_OF_ACTIVATION = {
    "leaky_relu": "network.leaky_slope",
    "prelu": "network.prelu_start",
    "sigmoid": "network.sigmoid_gamma",
    "tat": "network.tat_eta",
}
"""The field of each activation that has one of its own."""

_CHECKED = "_is_checked"
"""Attribute of a part of a cell, which never changes, that was found to be allowed: many cells have the same."""

_OF_RELAXED = "its statistics would be of relaxed values"
_OF_LAYOUT = "the author's own settings are dataset=moons_noisy variant=code"
_NO_NORM = "the gradients of θ and z have no norm in common"

OF_OPTIMIZER = {
    "adam": {"beta1", "beta2", "eps", "eps_rule"},
    "adamw": {"beta1", "beta2", "eps", "eps_rule"},
    "sgd": {"momentum", "nesterov"},
    "rmsprop": {"alpha", "eps", "momentum"},
    "rprop": set[str](),
}
"""Fields of OptimizerSpec that each optimizer has of its own."""


@dataclass(frozen=True)
class CellField:
    """One field of a cell: its type, and its rules as `setting` has them (low, high, choices, neutral, role, …)."""

    type: Any
    rules: Mapping[str, Any]
    default: Any

    @property
    def role(self) -> Role:
        """What the field does in a comparison."""
        role: Role = self.rules["role"]
        return role

    @property
    def neutral(self) -> Any:
        """What a row has where its column is null or missing; None where null says that there is no effect."""
        return self.rules["neutral"]

    @property
    def tunes(self) -> bool:
        """Whether it is a strength of the method, on which the methods of a figure usually agree."""
        return bool(self.rules["tunes"])


def cell_fields() -> Mapping[str, CellField]:
    """Every field of a cell under its dotted override name, those of all datasets included; not the label `method`.

    The dataset's name stands under "dataset".
    """
    return _cell_fields(tuple(SPECS.items()), tuple(DATASETS.items()))


def fields_of(dataset: str) -> Mapping[str, CellField]:
    """The fields of a cell of this dataset, one of DATASETS, as `cell_fields` gives those of all."""
    return _cell_fields(tuple(SPECS.items()), ((dataset, DATASETS[dataset]),))


@cache
def _cell_fields(
    specs: tuple[tuple[str, type], ...], datasets: tuple[tuple[str, type[DatasetSpec]], ...]
) -> Mapping[str, CellField]:
    found: dict[str, CellField] = {}
    for field in dataclasses.fields(Cell):
        parts = {"dataset": [spec for _, spec in datasets], **{name: [spec] for name, spec in specs}}.get(field.name)
        if parts is None and field.name != "method":
            found[field.name] = CellField(field_types(Cell)[field.name], field.metadata, field.default)
        for part in parts or []:
            for inner in dataclasses.fields(part):
                name = "dataset" if (field.name, inner.name) == ("dataset", "name") else f"{field.name}.{inner.name}"
                found.setdefault(name, CellField(field_types(part)[inner.name], inner.metadata, inner.default))
    return found


@dataclass(frozen=True)
class Cell:
    """One network's whole training, validated.

    `method` is a label: cells that differ in nothing else have the same key.

    Raises:
        SettingError: a field has a value that is not allowed.
    """

    dataset: DatasetSpec = dataclasses.field(default_factory=Moons)
    depth: int = setting(10, low=1, high=100_000, about="hidden layers", role="axis")
    width: int = setting(4, low=1, high=10_000_000, about="units a hidden layer", role="axis")
    network: NetworkSpec = dataclasses.field(default_factory=NetworkSpec)
    penalty: PenaltySpec = dataclasses.field(default_factory=PenaltySpec)
    regulariser: RegulariserSpec = dataclasses.field(default_factory=RegulariserSpec)
    rai: RaiSpec = dataclasses.field(default_factory=RaiSpec)
    dropout: DropoutSpec = dataclasses.field(default_factory=DropoutSpec)
    optimizer: OptimizerSpec = dataclasses.field(default_factory=OptimizerSpec)
    reset: ResetSpec = dataclasses.field(default_factory=ResetSpec)
    task_loss: bool = setting(True, about="false trains on the penalty alone")
    precision: str = setting(
        "float32",
        choices=("float32", "float64", "tf32", "bf16"),
        about="tf32: float32 with rounded products, on CUDA; bf16: products and activations in bfloat16",
    )
    seed: int = setting(0, low=0, high=2**32 - 1, role="axis")
    method: str = setting("unnamed", about="a label, not part of the key")

    def __post_init__(self) -> None:
        """Validate every field, then what only makes sense together."""
        check_settings(self)
        for name, kind in (("dataset", DatasetSpec), *SPECS.items()):
            spec = getattr(self, name)
            if not isinstance(spec, kind):
                raise setting_error(name, spec, f"a {kind.__name__}")
            if _CHECKED in spec.__dict__:
                continue
            check_settings(spec, f"{name}.")
            if isinstance(spec, DatasetSpec | NetworkSpec | PenaltySpec | RaiSpec | OptimizerSpec):
                spec.check()
            object.__setattr__(spec, _CHECKED, True)
        if (self.network.layout, self.network.init) == ("conv2x1", "glorot_uniform_2x1"):
            # the fans that this layout has anyway: one network, one key
            object.__setattr__(self, "network", dataclasses.replace(self.network, init="glorot_uniform"))
        if self.network.widths is not None:
            object.__setattr__(self, "depth", len(self.network.widths))
            object.__setattr__(self, "width", max(self.network.widths))
            if len(set(self.network.widths)) == 1:  # a rectangular network: one network, one key
                object.__setattr__(self, "network", dataclasses.replace(self.network, widths=None))
        if (layers := self.rai.layers) is not None and layers == tuple(range(layers[0], self.depth + 1, layers[0])):
            # every so many layers: one training, one key
            object.__setattr__(self, "rai", dataclasses.replace(self.rai, layers=None, every=layers[0]))
        if self.optimizer.trained_layers == tuple(range(1, self.depth + 2)):  # all: one training, one key
            object.__setattr__(self, "optimizer", dataclasses.replace(self.optimizer, trained_layers=None))
        self._check_sense()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], method: str) -> "Cell":
        """A cell from plain nested dicts as Hydra composes them; every key must be a cell's field.

        Raises:
            SettingError: an unknown key or a value that is not allowed.
        """
        values: dict[str, Any] = dict(config)
        dataset = values.get("dataset", {})
        name = dataset.get("name", "moons") if isinstance(dataset, Mapping) else dataset
        if not isinstance(name, str) or name not in DATASETS:
            raise setting_error("dataset", name, "one of " + ", ".join(DATASETS))
        classes: dict[str, type] = {**SPECS, "dataset": DATASETS[name]}
        for part, spec_class in classes.items():
            part_values = values.get(part, {})
            if not isinstance(part_values, Mapping):
                raise setting_error(part, part_values, "a group of settings: " + ", ".join(field_types(spec_class)))
            values[part] = _part(part, spec_class, part_values)
        _check_names(values, field_types(cls), "")
        return cls(**{**values, "method": method})

    def description(self) -> dict[str, Any]:
        """Every field under its dotted override name, in a fixed order; None where it has no effect.

        The dataset's name stands under "dataset"; the method's label is not part of it.
        """
        return self.described.with_axes(self.depth, self.seed, self.width)

    @cached_property
    def described(self) -> Described:
        """What this cell and those that differ from it in depth, width, seed and label mostly have in common."""
        instead: list[tuple[str, Any]] = []
        if self.penalty_weight == 0:
            instead.append(("penalty.kind", "none"))
        elif self.penalty.aggregate == "balanced" and self.penalty.kind != "UP":
            instead.append(("penalty.aggregate", "mean"))  # of one kind
        if self.rai_weight and not self._rai_rises:
            instead.append(("rai.schedule", "constant"))
        if self.optimizer.name == "adamw" and self.optimizer.weight_decay == 0:
            instead.append(("optimizer.name", "adam"))
        if self.optimizer.schedule == "step" and not self._rate_falls:
            instead.append(("optimizer.schedule", "constant"))
        own: type = type(self)
        parts = tuple(map(self.__dict__.__getitem__, part_names(own)))
        return describe(own, parts, tuple(self._without_effect()), tuple(instead))

    @property
    def but_for_seed(self) -> Hashable:
        """What only cells have in common that differ in nothing but seed and label."""
        return self.described, self.depth, self.width

    def __getstate__(self) -> dict[str, Any]:
        """Without what is shared with other cells: another process makes it again, once for all of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "described"}

    @cached_property
    def key(self) -> str:
        """128 bits of SHA-256, hex, over the canonical JSON of the description.

        Raises:
            ValueError: the dataset's files, or the source of a function of the user's, were not read: what they hold is
                part of it.
        """
        described = self.described.json(self.depth, self.seed, self.width)
        document = f'{{"cell":{described},"numerics":{NUMERICS},"schema":{SCHEMA_VERSION}}}'
        return hashlib.sha256(document.encode()).hexdigest()[:32]

    @property
    def penalty_weight(self) -> float:
        """λ as it acts: 0 without a penalty."""
        return 0.0 if self.penalty.kind == "none" else self.penalty.weight

    @property
    def regulariser_weight(self) -> float:
        """Weight of the user's own term as it acts: 0 without one."""
        return 0.0 if self.regulariser.function is None else self.regulariser.weight

    @property
    def relaxed_layers(self) -> tuple[int, ...]:
        """The hidden layers whose values are trained, counted from 0; empty without relaxation."""
        return self.rai.relaxed_layers(self.depth) if self.rai.weight else ()

    @property
    def rai_weight(self) -> float:
        """Weight of the hidden loss as it acts: 0 where nothing is relaxed."""
        return self.rai.weight if self.relaxed_layers or self.rai.include_output else 0.0

    @property
    def _rai_rises(self) -> bool:
        """Whether the weight of the hidden loss changes within the training."""
        match self.rai.schedule:
            case "constant":
                return False
            case "geometric":
                return self.rai.final_weight != self.rai.weight and self.optimizer.epochs > 1
            case other:
                raise setting_error("rai.schedule", other, "constant or geometric")

    @property
    def batch_size(self) -> int:
        """Points of a full batch or mini-batch."""
        n_train = self.dataset.sizes()[0]
        return min(self.optimizer.batch_size or n_train, n_train)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.optimizer.epochs * math.ceil(self.dataset.sizes()[0] / max(1, self.batch_size))

    @property
    def _resets(self) -> bool:
        """Whether dormant units begin anew at any step; a dataset that is not examined may have any number of them."""
        is_due = self.reset.every <= self.total_steps or not self.dataset.is_examined
        return self.reset.every > 0 and is_due

    @property
    def _rate_falls(self) -> bool:
        """Whether schedule=step changes the rate within the training."""
        return self.optimizer.step_every < self.optimizer.epochs and self.optimizer.step_factor != 1

    @property
    def least_eps(self) -> float:
        """The smallest ε that acts in the training; infinite where none does."""
        acting = [self.optimizer.eps] if "eps" in OF_OPTIMIZER.get(self.optimizer.name, ()) else []
        acting += [self.network.norm_eps] if self.network.norm != "none" else []
        return min(acting, default=math.inf)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every hidden layer."""
        return self.network.widths or (self.width,) * self.depth

    @property
    def blocks(self) -> int:
        """Blocks that a skip goes over: of `network.skip_every` layers each, from the second layer on."""
        return self.network.blocks(self.depth)

    @property
    def positions(self) -> int:
        """Positions that a channel has: the pixels of a CNN, 2 in the 2×1 layout, else 1."""
        match self.network.layout:
            case "cnn":
                return math.prod(self.dataset.image[1:]) if self.dataset.image is not None else 1
            case "conv2x1":
                return 2
            case "mlp":
                return 1
            case other:
                raise setting_error("network.layout", other, "mlp, conv2x1 or cnn")

    @property
    def constrained_layers(self) -> int:
        """Layers that the penalty constrains: the hidden ones, and the output layer where it is asked for."""
        return self.depth + (self.penalty.layers == "all")

    def title(self) -> str:
        """The cell in a few words: method, depth × width, seed."""
        return f"{legible(self.method)} {self.depth}×{self.width} seed {self.seed}"

    def warnings(self) -> list[str]:
        """What can be trained but not make sense, each in words that do not name the cell."""
        found: list[str] = []
        if self.network.norm == "layer" and min(self.widths) * self.positions == 1:
            found.append("with width 1 a layer norm leaves nothing of the points: its one unit is its own mean")
        if self.reset.every and not self._resets:
            found.append(f"no unit is reset: reset.every={self.reset.every} is beyond the {self.total_steps} steps")
        if self.optimizer.schedule == "step" and self.optimizer.step_every >= self.optimizer.epochs:
            epochs = f"optimizer.epochs={self.optimizer.epochs}"
            found.append(
                f"the learning rate never falls: optimizer.step_every={self.optimizer.step_every}, and {epochs}"
            )
        if self.rai.weight and self.rai_weight == 0:
            found.append("no layer is relaxed: rai.every is beyond the depth, and rai.include_output is false")
        if self.penalty_weight == 0:
            return found
        per_constraint = {"channel": self.positions, "position": 1}[self.penalty.scope]
        both = {kind: (self.penalty.point_sides if kind == "P" else None) or self.penalty.sides for kind in "UP"}
        if "P" in self.penalty.kind and both["P"] == "both" and self.width * per_constraint == 1:
            found.append(
                "with width 1 the point constraints (Sep-P) cannot be met: one unit is not both above and below"
            )
        if "U" in self.penalty.kind and both["U"] == "both" and self.batch_size * per_constraint == 1:
            found.append("with one point a batch the unit constraints (Sep-U) cannot be met")
        return found

    def _check_sense(self) -> None:
        try:
            self.method.encode()
        except UnicodeEncodeError:
            raise setting_error("method", self.method, "a text that can be stored (UTF-8)") from None
        n_train = self.dataset.sizes()[0]
        if (
            n_train
            and self.network.norm == "batch"
            and self.positions == 1
            and 1 in (self.batch_size, n_train % self.batch_size)
        ):
            raise setting_error(
                "optimizer.batch_size",
                self.batch_size,
                f"such that no batch of the {n_train} training points has one point only",
                "batch norm needs two",
            )
        for kind in self.penalty.kind if self.penalty_weight else "":
            if self.penalty.shares(kind) == (0.0, 0.0):
                allowed = "above 0" if self.penalty.balance == 0 else "below 1"
                about = f"else the constraints {kind} ask for nothing: their other side alone counts"
                raise setting_error("penalty.balance", self.penalty.balance, allowed, about)
        weights = self.penalty.layer_weights
        if weights is not None and self.penalty.kind != "none" and len(weights) != self.constrained_layers:
            allowed = f"{self.constrained_layers} numbers, one a constrained layer"
            raise setting_error("penalty.layer_weights", list(weights), allowed)
        if self.network.layout == "cnn" and self.dataset.image is None:
            raise setting_error(
                "network.layout", "cnn", f"mlp or conv2x1 for {self.dataset.name}", "a CNN takes images"
            )
        if self.network.layout == "cnn" and self.network.kernel % 2 == 0:
            raise setting_error("network.kernel", self.network.kernel, "odd", "the padding is the same on both sides")
        if self.network.layout != "cnn" and self.precision in ("tf32", "bf16"):
            raise setting_error("precision", self.precision, f"float32 or float64 for {self.network.layout}")
        if self.network.layout == "conv2x1" and self.dataset.is_examined and self.dataset.features != 2:
            raise setting_error(
                "network.layout", "conv2x1", f"mlp for {self.dataset.name}", "2×1 takes two features a point"
            )
        if self.network.init == "glorot_uniform_2x1" and (
            self.network.layout != "mlp" or (self.dataset.is_examined and self.dataset.features != 2)
        ):
            raise setting_error(
                "network.init",
                self.network.init,
                f"glorot_uniform, kaiming_uniform or zero for {self.network.layout} on {self.dataset.name}",
                "it is for an mlp on points of two features",
            )
        if self.network.init == "hyperplane":
            self._check_hyperplane()
        if self.network.farkas and min(self.widths) < 2:
            raise setting_error("network.farkas", True, "false with width 1", "the last unit sums up the others")
        if self.network.widths is not None and self.blocks:
            raise setting_error("network.skip_every", self.network.skip_every, "0 with layers of different widths")
        if self.blocks and self.network.skip_scale == "fixup":
            for name, value, allowed, about in (
                ("norm", self.network.norm, "none", "it stands for one"),
                ("farkas", self.network.farkas, "false", "what it skips has no biases"),
            ):
                if value not in (False, "none"):
                    raise setting_error(f"network.{name}", value, f"{allowed} with network.skip_scale=fixup", about)
            if self.network.init == "asymmetric":
                allowed = "another one with network.skip_scale=fixup"
                raise setting_error("network.init", "asymmetric", allowed, "what it skips has no biases")
        if self.reset.every:
            for name, is_other in {
                "network.skip_every=0": self.blocks > 0,  # a unit's sum with others is what is handed on
                "network.farkas=false": self.network.farkas,  # its last unit has no weights
                "another network.init than zero": self.network.init == "zero",  # to begin anew would change nothing
                "another optimizer than rprop": self.optimizer.name == "rprop",  # its step sizes begin at no 0
            }.items():
                if is_other:
                    raise setting_error("reset.every", self.reset.every, f"0, or take {name}")
        if self.rai_weight:
            self._check_relaxation()
        self._check_layers()
        if not self.task_loss and self.penalty_weight == 0 and self.regulariser_weight == 0:
            raise setting_error("task_loss", False, "true where there is no penalty", "nothing would be trained")

    def _check_layers(self) -> None:
        """Whether the network has the layers that the optimizer's settings name, and what these do not go with."""
        trained, rows = self.optimizer.trained_layers, self.optimizer.row_layers if self.optimizer.acts_on_rows else ()
        for name, layers in {"trained_layers": trained, "row_layers": rows}.items():
            if layers and layers[-1] > self.depth + 1:
                allowed = f"layers from 1 to depth + 1 = {self.depth + 1}, the output layer"
                raise setting_error(f"optimizer.{name}", list(layers), allowed)
        if trained is None:
            return
        if not {*rows} <= {*trained}:
            allowed = f"among optimizer.trained_layers={list(trained)}"
            raise setting_error("optimizer.row_layers", list(rows), allowed, "the others stay as they begin")
        is_idle = not self.task_loss and self.regulariser_weight == 0 and self.penalty.layers == "hidden"
        for allowed, is_other, about in (
            (
                f"null with network.skip_scale={self.network.skip_scale}",
                self.blocks > 0 and self.network.skip_scale != "1",
                "what is trained of a skip is no layer's",
            ),
            (
                f"null with reset.every={self.reset.every}",
                self.reset.every > 0,
                "units that begin anew change the layers beside them",
            ),
            (
                "a list with a hidden layer where task_loss=false",
                is_idle and trained == (self.depth + 1,),
                "nothing would be trained",
            ),
        ):
            if is_other:
                raise setting_error("optimizer.trained_layers", list(trained), allowed, about)

    def _check_relaxation(self) -> None:
        """What relaxed layers do not go together with."""
        if self.rai.layers is not None and self.rai.layers[-1] > self.depth:
            raise setting_error("rai.layers", list(self.rai.layers), f"layers from 1 to depth={self.depth}")
        by = f"with rai.weight={self.rai.weight:g}"
        layout_told = _OF_LAYOUT if self.network.layout == "conv2x1" else ""
        n_train = self.dataset.sizes()[0]
        for name, value, is_other, allowed, about in (
            (
                "optimizer.batch_size",
                self.optimizer.batch_size,
                self.batch_size < n_train,
                "null",
                "z is of all points",
            ),
            ("network.layout", self.network.layout, self.network.layout != "mlp", "mlp", layout_told),
            (
                "network.skip_every",
                self.network.skip_every,
                self.blocks > 0,
                "0",
                "a skip goes past the relaxed values",
            ),
            ("network.farkas", True, self.network.farkas, "false", "its last unit is bound to the others"),
            ("network.norm", self.network.norm, self.network.norm == "batch", "none or layer", _OF_RELAXED),
            ("dropout.rate", self.dropout.rate, self.dropout.rate > 0, "0", "z is trained, not dropped"),
            ("reset.every", self.reset.every, self._resets, "0", "units have no inputs of their own to begin anew"),
            ("optimizer.clip_norm", self.optimizer.clip_norm, self.optimizer.clip_norm is not None, "null", _NO_NORM),
            ("task_loss", False, not self.task_loss, "true", "nothing would tell the points apart"),
        ):
            if is_other:
                raise setting_error(name, value, f"{allowed} {by}", about)
        if self.rai.loss == "cross_entropy":
            if self.network.activation != "logistic":
                raise setting_error("rai.loss", self.rai.loss, "squared without network.activation=logistic")
            is_binary = (self.dataset.task, self.dataset.outputs) == ("classification", 1)
            if self.rai.include_output and self.dataset.is_examined and not is_binary:
                raise setting_error("rai.loss", self.rai.loss, "squared where rai.include_output, but for two classes")

    def _check_hyperplane(self) -> None:
        """What an initialisation of one unit in a plane does not go together with."""
        about = "network.init=hyperplane is of one unit a layer"
        if max(self.widths) > 1:
            if self.network.widths is not None:
                raise setting_error("network.widths", list(self.network.widths), "1 for every layer", about)
            raise setting_error("width", self.width, "1", about)
        is_of_plane = (self.dataset.task, self.dataset.classes, self.dataset.features) == ("classification", 2, 2)
        if self.dataset.is_examined and not is_of_plane:
            allowed = f"another one for {self.dataset.name}"
            raise setting_error("network.init", self.network.init, allowed, "it is for two classes in a plane")

    def _without_effect(self) -> list[str]:
        none: list[str] = []
        penalty: type = type(self.penalty)
        if self.penalty_weight == 0:
            none += _all_of("penalty", penalty)
        else:
            if self.network.layout == "mlp" or self.penalty.kind == "L":
                none.append("penalty.scope")
            if self.penalty.layer_weights is not None and set(self.penalty.layer_weights) == {1.0}:
                none.append("penalty.layer_weights")
            if self.penalty.point_sides == self.penalty.sides:
                none.append("penalty.point_sides")
            margins = ("penalty.margin_above", "penalty.margin_below")
            none += [name for name, counts in zip(margins, self.penalty.counts, strict=True) if not counts]
        if self.regulariser_weight == 0:
            none += ["regulariser.function", "regulariser.weight", "regulariser.settings", "regulariser.source"]
        if self.rai_weight == 0:
            none += _all_of("rai", RaiSpec)
        elif not self._rai_rises:
            none.append("rai.final_weight")
        if self.rai.layers is not None:
            none.append("rai.every")
        if self.rai_weight and not self.relaxed_layers:  # but for the outputs, which have no activation
            none += ["rai.relax", "rai.every"]
        if self.rai.period == 0 or (self.rai.period >= self.total_steps and self.dataset.is_examined):
            none.append("rai.period")
        if not is_function_name(self.network.activation):
            none.append("network.activation_source")
        if not is_function_name(self.network.init):
            none.append("network.init_source")
        if self.network.init != "hyperplane":
            none += ["network.init_norm", "network.init_at", "network.init_gain"]
        match self.network.layout:
            case "mlp" | "conv2x1":
                none += ["network.kernel", "network.head"]
            case "cnn":
                pass
            case other:
                raise setting_error("network.layout", other, "mlp, conv2x1 or cnn")
        match self.network.norm:
            case "none":
                none += ["network.norm_eps", "network.norm_momentum"]
            case "layer":
                none.append("network.norm_momentum")
            case "batch":
                pass
            case other:
                raise setting_error("network.norm", other, "none, batch or layer")
        none += [name for of, name in _OF_ACTIVATION.items() if of != self.network.activation]
        if self.blocks == 0:
            none += ["network.skip_every", "network.skip_scale"]
        if not self._resets:
            none += ["reset.every", "reset.tau"]
        if self.dropout.rate == 0:
            none += ["dropout.anneal_epochs", "dropout.rate"]
        none += _of_other_optimizers(self.optimizer.name)
        if self.optimizer.name == "sgd" and self.optimizer.momentum == 0:
            none.append("optimizer.nesterov")
        if not self.optimizer.acts_on_rows:
            none.append("optimizer.row_layers")
        if self.optimizer.warmup_steps == 1:  # the first step's factor is 1
            none.append("optimizer.warmup_steps")
        match self.optimizer.schedule:
            case "constant" | "cosine":
                none += ["optimizer.step_every", "optimizer.step_factor"]
            case "step":
                if not self._rate_falls:
                    none += ["optimizer.step_every", "optimizer.step_factor"]
            case other:
                raise setting_error("optimizer.schedule", other, "constant, cosine or step")
        if self.batch_size == self.dataset.sizes()[0]:
            none += ["optimizer.batch_size", "optimizer.shuffle"]
        return none + [f"dataset.{name}" for name in self.dataset.without_effect()]


@cache
def _all_of(part: str, spec: type) -> tuple[str, ...]:
    """The dotted override names of all fields of a part of a cell."""
    return tuple(f"{part}.{field.name}" for field in dataclasses.fields(spec))


@cache
def _of_other_optimizers(name: str) -> tuple[str, ...]:
    """The dotted override names of the fields that others have of their own."""
    if name not in OF_OPTIMIZER:
        raise setting_error("optimizer.name", name, "one of " + ", ".join(OF_OPTIMIZER))
    return tuple(sorted(f"optimizer.{field}" for field in set().union(*OF_OPTIMIZER.values()) - OF_OPTIMIZER[name]))


def _part(part: str, spec: type, values: Mapping[str, Any]) -> Any:
    """A part of a cell from its settings, one for all that are equal: it is checked once. Unknown names are refused."""
    try:
        told = marshal.dumps(dict(values), 2)  # tells 1 from 1.0 and true; version 2 writes equal values alike
    except ValueError:  # what is no plain value, which the check will say
        _check_names(values, field_types(spec), f"{part}.")
        return spec(**values)
    return _part_of(part, spec, told)


@lru_cache(maxsize=4096)
def _part_of(part: str, spec: type, told: bytes) -> Any:
    values = marshal.loads(told)
    _check_names(values, field_types(spec), f"{part}.")
    return spec(**values)


def _check_names(values: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    for name in values:
        if name not in known:
            typed, hint = (legible(name), nearest(name, known)) if isinstance(name, str) else (shown(name), "")
            raise SettingError(f"{prefix}{typed} is not a setting{hint}")
