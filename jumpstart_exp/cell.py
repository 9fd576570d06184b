"""The cell: one network's whole training, described completely, and the key that identifies it.

A cell is dataset × network × method × optimizer × seed. Every choice that can change a number in its result
is a field; what cannot (folders, device, engine, logging) is not. Two cells with the same key are the same
experiment, whatever they are called.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

from jumpstart_exp.settings import SettingError, check_settings, field_types, legible, nearest, refuse, setting, shown

SCHEMA_VERSION = 1
"""Version of a cell's description: raised when fields change their meaning."""

NUMERICS = 1
"""Raised when a fix changes the results that the same description gives."""


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset with every parameter that shapes its points: the base of each dataset's own class."""

    name: str = setting("", about="the dataset's name")
    n_train: int | None = setting(None, low=1, about="training points, stratified; null takes all")
    n_val: int | None = setting(None, low=1, about="validation points, stratified; null takes all")

    classes: ClassVar[int] = 2
    features: ClassVar[int] = 0  # numbers a point
    image: ClassVar[tuple[int, int, int] | None] = None  # channels, height, width

    @property
    def is_augmented(self) -> bool:
        """Whether training points are changed at random."""
        return False

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points before any subset is taken."""
        raise TypeError(f"{type(self).__name__} does not say its sizes")

    def sizes(self) -> tuple[int, int]:
        """Training and validation points of the cell."""
        train, val = self.full_sizes()
        return self.n_train or train, self.n_val or val

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.name != type(self).name:
            raise refuse("dataset.name", self.name, f"{type(self).name} for {type(self).__name__}")
        for name, wanted, available in zip(
            ("n_train", "n_val"), (self.n_train, self.n_val), self.full_sizes(), strict=True
        ):
            if wanted is not None and wanted > available:
                raise refuse(f"dataset.{name}", wanted, f"at most {available}, the points that {self.name} has")
            if wanted is not None and wanted != available and wanted < self.classes:
                raise refuse(f"dataset.{name}", wanted, f"at least {self.classes}, one point of each class")


@dataclass(frozen=True)
class Moons(DatasetSpec):
    """MOONS as published: `make_moons` over its range, split 85 / 15 (paper CPAIOR, section 4)."""

    name: str = setting("moons")
    n_samples: int = setting(100, low=4, about="points before the split")
    noise: float | None = setting(
        None, low=0, neutral=0.0, about="standard deviation of the Gaussian noise; null for none"
    )
    random_state: int = setting(10, low=0, high=2**32 - 1, about="seed of make_moons")
    test_size: float = setting(0.15, above=0, high=0.9, about="share of the points that validates")
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")

    features: ClassVar[int] = 2

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points as `train_test_split` counts them: the test share is rounded up."""
        val = math.ceil(self.n_samples * self.test_size)
        return self.n_samples - val, val

    def check(self) -> None:
        """Raise SettingError where the split leaves no training point."""
        if self.full_sizes()[0] < 2:
            raise refuse("dataset.test_size", self.test_size, "small enough to leave two training points")
        super().check()


@dataclass(frozen=True)
class ImageSpec(DatasetSpec):
    """Images as published, split into training and test set; the test set validates."""

    augment: str = setting(
        "none",
        choices=("none", "flip_crop"),
        neutral="none",
        about="flip_crop: mirrored at random, and cut out of the image padded by 4 pixels",
    )

    @property
    def is_augmented(self) -> bool:
        """Whether training images are changed at random."""
        return self.augment != "none"


@dataclass(frozen=True)
class Mnist(ImageSpec):
    """MNIST, 28 × 28 grey values scaled to [0, 1] (LeCun and Cortes)."""

    name: str = setting("mnist")

    classes: ClassVar[int] = 10
    features: ClassVar[int] = 784
    image: ClassVar[tuple[int, int, int] | None] = (1, 28, 28)

    def full_sizes(self) -> tuple[int, int]:
        """The published training and test set."""
        return 60_000, 10_000


@dataclass(frozen=True)
class Cifar10(ImageSpec):
    """CIFAR-10, 32 × 32 colours (Krizhevsky)."""

    name: str = setting("cifar10")
    scaling: str = setting(
        "normalised", choices=("normalised", "unit"), about="by each channel's mean and deviation, or to [0, 1]"
    )

    classes: ClassVar[int] = 10
    features: ClassVar[int] = 3072
    image: ClassVar[tuple[int, int, int] | None] = (3, 32, 32)

    def full_sizes(self) -> tuple[int, int]:
        """The published training and test set."""
        return 50_000, 10_000


@dataclass(frozen=True)
class Cifar100(Cifar10):
    """CIFAR-100, the fine labels (Krizhevsky)."""

    name: str = setting("cifar100")

    classes: ClassVar[int] = 100


DATASETS: dict[str, type[DatasetSpec]] = {"moons": Moons, "mnist": Mnist, "cifar10": Cifar10, "cifar100": Cifar100}
"""Every dataset by name."""


@dataclass(frozen=True)
class NetworkSpec:
    """A rectangular network but for its depth and width (METHOD: hidden layer = affine → norm → ReLU)."""

    layout: str = setting(
        "mlp", choices=("mlp", "conv2x1", "cnn"), about="cnn: images; conv2x1: the authors' MOONS grid"
    )
    kernel: int = setting(3, low=1, high=31, about="height and width of a CNN's filters, an odd number")
    head: str = setting(
        "flatten", choices=("flatten", "max_avg_pool"), about="what a CNN's output layer sees: all, or global pooling"
    )
    norm: str = setting("none", choices=("none", "batch"), about="between affine map and ReLU")
    norm_eps: float = setting(1e-3, above=0, about="ε of the batch norm")
    norm_momentum: float = setting(0.01, above=0, high=1, about="weight of the new batch in the running averages")
    init: str = setting("glorot_uniform", choices=("glorot_uniform", "kaiming_uniform", "zero"))


@dataclass(frozen=True)
class PenaltySpec:
    """The separation penalty: kind, weight λ, balance ρ, margins, aggregation, ties."""

    kind: str = setting("none", choices=("none", "U", "P", "UP", "L"), about="units, points, both, layers")
    weight: float = setting(1e-4, low=0, about="λ, the penalty's weight in the loss")
    balance: float = setting(0.5, low=0, high=1, about="ρ, the share of the deficit above")
    margin_above: float = setting(1.0, about="what the maximum has to reach")
    margin_below: float = setting(-1.0, about="what the minimum has to reach")
    aggregate: str = setting("sum", choices=("sum", "mean", "l2", "sum_sq"))
    ties: str = setting("single", choices=("shared", "single", "random"), about="who gets a tied maximum's gradient")
    scope: str = setting("channel", choices=("channel", "position"), about="one constraint a channel, or a position")
    layers: str = setting(
        "hidden", choices=("hidden", "all"), neutral="hidden", about="constrained layers; all: the output layer too"
    )
    layer_weights: tuple[float, ...] | None = setting(None, low=0, about="λ_k of each constrained layer; null for 1")

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.margin_below >= self.margin_above:
            raise refuse("penalty.margin_below", self.margin_below, f"below penalty.margin_above={self.margin_above:g}")


@dataclass(frozen=True)
class DropoutSpec:
    """Annealed dropout on every hidden layer's input: p(t) = max(0, rate·(1 − t/anneal_epochs)) (ICLR, zero init)."""

    rate: float = setting(0.0, low=0, high=0.999, about="p₀, the share dropped in the first epoch")
    anneal_epochs: int = setting(1000, low=1, about="T, epochs until nothing is dropped")


@dataclass(frozen=True)
class OptimizerSpec:
    """Adam and the length of the training."""

    name: str = setting("adam", choices=("adam",))
    lr: float = setting(0.01, above=0, about="learning rate")
    beta1: float = setting(0.9, low=0, high=0.999999)
    beta2: float = setting(0.999, low=0, high=0.999999)
    eps: float = setting(1e-8, above=0, about="Adam's ε")
    eps_rule: str = setting(
        "torch", choices=("torch", "keras"), about="keras adds ε before the bias correction, torch after it"
    )
    epochs: int = setting(5000, low=1)
    batch_size: int | None = setting(None, low=1, about="points a step; null takes all")
    shuffle: bool = setting(True, about="a new order of the points every epoch (mini-batches only)")


@dataclass(frozen=True)
class Cell:
    """One network's whole training, validated.

    `method` is a label: cells that differ in nothing else have the same key.

    Raises:
        SettingError: a field has a value that is not allowed.
    """

    dataset: DatasetSpec = dataclasses.field(default_factory=Moons)
    depth: int = setting(10, low=1, high=100_000, about="hidden layers")
    width: int = setting(4, low=1, high=10_000_000, about="units a hidden layer")
    network: NetworkSpec = dataclasses.field(default_factory=NetworkSpec)
    penalty: PenaltySpec = dataclasses.field(default_factory=PenaltySpec)
    dropout: DropoutSpec = dataclasses.field(default_factory=DropoutSpec)
    optimizer: OptimizerSpec = dataclasses.field(default_factory=OptimizerSpec)
    task_loss: bool = setting(True, about="false trains on the penalty alone")
    precision: str = setting(
        "float32",
        choices=("float32", "float64", "tf32", "bf16"),
        about="tf32: float32 with rounded products, on CUDA; bf16: products and activations in bfloat16",
    )
    seed: int = setting(0, low=0, high=2**32 - 1)
    method: str = setting("unnamed", about="a label, not part of the key")

    def __post_init__(self) -> None:
        """Validate every field, then what only makes sense together."""
        check_settings(self)
        for name, kind in {"dataset": DatasetSpec, **_spec_classes()}.items():
            spec = getattr(self, name)
            if not isinstance(spec, kind):
                raise refuse(name, spec, f"a {kind.__name__}")
            check_settings(spec, f"{name}.")
            if isinstance(spec, DatasetSpec | PenaltySpec):
                spec.check()
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
            raise refuse("dataset", name, "one of " + ", ".join(DATASETS))
        classes: dict[str, type] = {**_spec_classes(), "dataset": DATASETS[name]}
        for part, spec_class in classes.items():
            part_values = values.get(part, {})
            if not isinstance(part_values, Mapping):
                raise refuse(part, part_values, "a group of settings: " + ", ".join(field_types(spec_class)))
            _check_names(part_values, field_types(spec_class), f"{part}.")
            values[part] = spec_class(**part_values)
        _check_names(values, field_types(cls), "")
        return cls(**{**values, "method": method})

    def description(self) -> dict[str, Any]:
        """Every field under its dotted override name, in a fixed order; None where it has no effect.

        The dataset's name stands under "dataset"; the method's label is not part of it.
        """
        flat: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                for inner in dataclasses.fields(value):
                    flat[f"{field.name}.{inner.name}"] = getattr(value, inner.name)
            elif field.name != "method":
                flat[field.name] = value
        flat = {("dataset" if name == "dataset.name" else name): value for name, value in flat.items()}
        for name in self._without_effect():
            flat[name] = None
        if self.penalty_weight == 0:
            flat["penalty.kind"] = "none"
        return flat

    @cached_property
    def key(self) -> str:
        """128 bits of SHA-256, hex, over the canonical JSON of the description."""
        neutral = self.neutral_values()
        described = {
            name: value
            for name, value in self.description().items()
            if value is not None and not (name in neutral and value == neutral[name])
        }
        document = {"schema": SCHEMA_VERSION, "numerics": NUMERICS, "cell": described}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def neutral_values(self) -> dict[str, Any]:
        """The neutral value of every field that has one, under its dotted override name."""
        neutral: dict[str, Any] = {}
        for prefix, spec in [
            ("", self),
            *((f"{name}.", getattr(self, name)) for name in ("dataset", *_spec_classes())),
        ]:
            for field in dataclasses.fields(spec):
                if field.metadata.get("neutral") is not None:
                    neutral[prefix + field.name] = field.metadata["neutral"]
        return neutral

    @property
    def penalty_weight(self) -> float:
        """λ as it acts: 0 without a penalty."""
        return 0.0 if self.penalty.kind == "none" else self.penalty.weight

    @property
    def batch_size(self) -> int:
        """Points of a full batch or mini-batch."""
        n_train = self.dataset.sizes()[0]
        return min(self.optimizer.batch_size or n_train, n_train)

    @property
    def positions(self) -> int:
        """Positions that a channel has: the pixels of a CNN, 2 in the 2×1 layout, else 1."""
        if self.network.layout == "cnn" and self.dataset.image is not None:
            return self.dataset.image[1] * self.dataset.image[2]
        return 2 if self.network.layout == "conv2x1" else 1

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
        if self.penalty_weight == 0:
            return found
        per_constraint = self.positions if self.penalty.scope == "channel" else 1
        if "P" in self.penalty.kind and self.width * per_constraint == 1:
            found.append(
                "with width 1 the point constraints (Sep-P) cannot be met: one unit is not both above and below"
            )
        if "U" in self.penalty.kind and self.batch_size * per_constraint == 1:
            found.append("with one point a batch the unit constraints (Sep-U) cannot be met")
        return found

    def _check_sense(self) -> None:
        try:
            self.method.encode()
        except UnicodeEncodeError:
            raise refuse("method", self.method, "a text that can be stored (UTF-8)") from None
        n_train = self.dataset.sizes()[0]
        if self.network.norm == "batch" and self.positions == 1 and 1 in (self.batch_size, n_train % self.batch_size):
            raise refuse(
                "optimizer.batch_size",
                self.batch_size,
                f"such that no batch of the {n_train} training points has one point only",
                "batch norm needs two",
            )
        weights = self.penalty.layer_weights
        if weights is not None and self.penalty.kind != "none" and len(weights) != self.constrained_layers:
            allowed = f"{self.constrained_layers} numbers, one a constrained layer"
            raise refuse("penalty.layer_weights", list(weights), allowed)
        if self.network.layout == "cnn" and self.dataset.image is None:
            raise refuse("network.layout", "cnn", f"mlp or conv2x1 for {self.dataset.name}", "a CNN takes images")
        if self.network.layout == "cnn" and self.network.kernel % 2 == 0:
            raise refuse("network.kernel", self.network.kernel, "odd", "the padding is the same on both sides")
        if self.network.layout != "cnn" and self.precision in ("tf32", "bf16"):
            raise refuse("precision", self.precision, f"float32 or float64 for {self.network.layout}")
        if self.network.layout == "conv2x1" and self.dataset.features != 2:
            raise refuse("network.layout", "conv2x1", f"mlp for {self.dataset.name}", "2×1 takes two features a point")
        if not self.task_loss and self.penalty_weight == 0:
            raise refuse("task_loss", False, "true where there is no penalty", "nothing would be trained")

    def _without_effect(self) -> list[str]:
        none: list[str] = []
        if self.penalty_weight == 0:
            none += [f"penalty.{field.name}" for field in dataclasses.fields(self.penalty)]
        else:
            if self.network.layout == "mlp" or self.penalty.kind == "L":
                none.append("penalty.scope")
            if self.penalty.layer_weights is not None and set(self.penalty.layer_weights) == {1.0}:
                none.append("penalty.layer_weights")
        if self.network.layout != "cnn":
            none += ["network.kernel", "network.head"]
        if self.network.norm == "none":
            none += ["network.norm_eps", "network.norm_momentum"]
        if self.dropout.rate == 0:
            none += ["dropout.anneal_epochs", "dropout.rate"]
        n_train, n_val = self.dataset.full_sizes()
        if self.batch_size == self.dataset.sizes()[0]:
            none += ["optimizer.batch_size", "optimizer.shuffle"]
        if self.dataset.n_train == n_train:
            none.append("dataset.n_train")
        if self.dataset.n_val == n_val:
            none.append("dataset.n_val")
        return none


@cache
def _spec_classes() -> dict[str, type]:
    return {"network": NetworkSpec, "penalty": PenaltySpec, "dropout": DropoutSpec, "optimizer": OptimizerSpec}


def _check_names(values: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    for name in values:
        if name not in known:
            typed, hint = (legible(name), nearest(name, known)) if isinstance(name, str) else (shown(name), "")
            raise SettingError(f"{prefix}{typed} is not a setting{hint}")
