"""What each engine supports of every field of a cell: values are listed, and what is not listed is refused by name.

A field that an engine's list does not have is refused too, unless it holds its neutral value: an engine that has never
heard of a setting cannot train with it. A dataset's own settings shape its points before any engine sees them, and are
its loader's to refuse; of those only `dataset.augment` acts in a training step.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.description import Described
from jumpstart_exp.engines.optimizers import OPTIMIZERS
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.blocks import native_names
from jumpstart_exp.networks.initialisation import INITIALISATIONS
from jumpstart_exp.networks.norms import NORMS
from jumpstart_exp.settings import is_function_name, shown


@dataclass(frozen=True)
class Values:
    """These values and no others, but for the names of users' own `functions` where these are taken."""

    listed: tuple[Any, ...]
    functions: bool = False

    def __contains__(self, value: object) -> bool:
        if self.functions and is_function_name(value):
            return True
        return any(type(value) is type(own) and value == own for own in self.listed)

    def __str__(self) -> str:
        own = ["a function of yours"] if self.functions else []
        return " or ".join([*map(shown, self.listed), *own])


@dataclass(frozen=True)
class Texts:
    """Every text."""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str)

    def __str__(self) -> str:
        return "any text"


@dataclass(frozen=True)
class Numbers:
    """Every number, or list of numbers, from `low` to `high`; the field's own range may be narrower."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: object) -> bool:
        numbers = value if isinstance(value, tuple) else (value,)
        return all(
            isinstance(number, int | float) and not isinstance(number, bool) and self.low <= number <= self.high
            for number in numbers
        )

    def __str__(self) -> str:
        return f"numbers from {self.low:g} to {self.high:g}"


Supported = Mapping[str, Values | Numbers | Texts]
"""Of every field of a cell, under its dotted override name, what an engine supports."""

_ANY = Numbers()
_TRUTH = Values((False, True))
_OWN = ("depth", "width", "seed")
"""Fields in which the cells of a sweep differ: looked at in every cell."""

_FULL_BATCH_MLP: Supported = {
    "depth": _ANY,
    "width": _ANY,
    "seed": _ANY,
    "network.layout": Values(("mlp", "conv2x1")),
    "network.activation": Values(tuple(ACTIVATIONS)),
    "network.norm": Values(tuple(NORMS)),
    "network.norm_eps": _ANY,
    "network.norm_momentum": _ANY,
    "network.leaky_slope": _ANY,
    "network.prelu_start": _ANY,
    "network.sigmoid_gamma": _ANY,
    "network.tat_eta": _ANY,
    "network.init": Values(tuple(INITIALISATIONS)),
    "network.init_norm": _ANY,
    "network.init_at": _ANY,
    "network.init_gain": _ANY,
    "penalty.kind": Values(("none", "U", "P", "UP", "L")),
    "penalty.weight": _ANY,
    "penalty.balance": _ANY,
    "penalty.margin_above": _ANY,
    "penalty.margin_below": _ANY,
    "penalty.aggregate": Values(("sum", "mean", "l2", "sum_sq", "balanced")),
    "penalty.sides": Values(("both", "above", "below")),
    "penalty.point_sides": Values(("both", "above", "below")),
    "penalty.upper_bound": _ANY,
    "penalty.schedule": Values(("constant", "cosine", "linear")),
    "penalty.ties": Values(("shared", "single", "random")),
    "penalty.scope": Values(("channel", "position")),
    "penalty.layer_weights": _ANY,
    "penalty.layers": Values(("hidden",)),
    "dropout.rate": _ANY,
    "dropout.anneal_epochs": _ANY,
    "optimizer.name": Values(tuple(OPTIMIZERS)),
    "optimizer.lr": _ANY,
    "optimizer.beta1": _ANY,
    "optimizer.beta2": _ANY,
    "optimizer.eps": _ANY,
    "optimizer.eps_rule": Values(("torch", "keras")),
    "optimizer.momentum": _ANY,
    "optimizer.nesterov": _TRUTH,
    "optimizer.alpha": _ANY,
    "optimizer.weight_decay": _ANY,
    "optimizer.clip_norm": _ANY,
    "optimizer.schedule": Values(("constant", "cosine", "step")),
    "optimizer.warmup_steps": _ANY,
    "optimizer.step_every": _ANY,
    "optimizer.step_factor": _ANY,
    "optimizer.epochs": _ANY,
    "task_loss": _TRUTH,
    "precision": Values(("float32", "float64")),
    "dataset.augment": Values(("none",)),
}

_TASKS: Mapping[str, Values] = {
    "eager": Values(("classification", "regression")),
    "stacked": Values(("classification", "regression")),
    "padded": Values(("classification", "regression")),
    "native": Values(("classification", "regression")),
    "graph": Values(("classification",)),
}
"""What each engine can learn: `task` of a dataset."""

_BLOCKS: Supported = {
    "network.widths": _ANY,
    "network.skip_every": _ANY,
    "network.skip_scale": Values(("1", "zero", "fixup")),
    "network.farkas": _TRUTH,
    "reset.every": _ANY,
    "reset.tau": _ANY,
    "penalty.layers": Values(("hidden", "all")),
    "optimizer.batch_size": _ANY,
    "optimizer.shuffle": _TRUTH,
}

_RELAXATION: Supported = {
    "rai.weight": _ANY,
    "rai.relax": Values(("activation", "pre_activation")),
    "rai.include_output": _TRUTH,
    "rai.every": _ANY,
    "rai.layers": _ANY,
    "rai.loss": Values(("squared", "cross_entropy")),
    "rai.reduce": Values(("sum", "mean")),
    "rai.schedule": Values(("constant", "geometric")),
    "rai.final_weight": _ANY,
    "rai.start": Values(("forward", "random", "targets")),
    "rai.period": _ANY,
    "rai.rate": _ANY,
}

_LAYERS: Supported = {
    "optimizer.row_penalty": _ANY,
    "optimizer.row_limit": _ANY,
    "optimizer.row_layers": _ANY,
    "optimizer.trained_layers": _ANY,
}

_OWN_FUNCTIONS: Supported = {
    "network.activation": Values(tuple(ACTIVATIONS), functions=True),
    "network.activation_source": Texts(),
    "network.init": Values(tuple(INITIALISATIONS), functions=True),
    "network.init_source": Texts(),
    "regulariser.function": Values((), functions=True),
    "regulariser.weight": _ANY,
    "regulariser.settings": Texts(),
    "regulariser.source": Texts(),
}

_EAGER: Supported = {
    **_FULL_BATCH_MLP,
    **_BLOCKS,
    **_LAYERS,
    **_OWN_FUNCTIONS,
    **_RELAXATION,
    "network.layout": Values(("mlp", "conv2x1", "cnn")),
    "network.kernel": _ANY,
    "network.head": Values(("flatten", "max_avg_pool")),
    "precision": Values(("float32", "float64", "tf32", "bf16")),
    "dataset.augment": Values(("none", "flip_crop")),
}

_STACKED: Supported = {
    **_FULL_BATCH_MLP,
    **_BLOCKS,
    **_LAYERS,
    **_OWN_FUNCTIONS,
    **_RELAXATION,
    "optimizer.name": Values(tuple(name for name, row in OPTIMIZERS.items() if row.stacked)),
}

_PADDED: Supported = {
    **_FULL_BATCH_MLP,
    "network.activation": Values(("relu",)),
    "network.norm": Values(tuple(name for name, row in NORMS.items() if row.stacked)),
    "optimizer.name": Values(tuple(name for name, row in OPTIMIZERS.items() if row.stacked)),
}
"""Of stacked's padded matrices: what is not on this list is vectorised by torch.func."""

SUPPORTED: Mapping[str, Supported] = {
    "eager": _EAGER,
    "stacked": _STACKED,
    "native": {
        **_FULL_BATCH_MLP,
        "depth": Numbers(1, 1000),
        "width": Numbers(1, 256),
        "network.activation": Values(native_names(ACTIVATIONS)),
        "network.norm": Values(native_names(NORMS)),
        "network.skip_every": _ANY,
        "network.skip_scale": Values(("1", "zero", "fixup")),
        "network.farkas": _TRUTH,
        "reset.every": _ANY,
        "reset.tau": _ANY,
        **_RELAXATION,
        **_LAYERS,
        "optimizer.name": Values(native_names(OPTIMIZERS)),
    },
}
"""Every engine's list, by its name."""

_GRAPH: Supported = {
    "depth": _ANY,
    "width": _ANY,
    "seed": _ANY,
    "network.layout": Values(("mlp", "conv2x1", "cnn")),
    "network.kernel": _ANY,
    "network.head": Values(("flatten", "max_avg_pool")),
    "network.activation": Values(("relu",)),
    "network.norm": Values(("none", "batch")),
    "network.norm_eps": _ANY,
    "network.norm_momentum": _ANY,
    "network.init": Values(tuple(INITIALISATIONS)),
    "network.init_norm": _ANY,
    "network.init_at": _ANY,
    "network.init_gain": _ANY,
    "penalty.kind": Values(("none", "U", "P", "UP", "L")),
    "penalty.weight": _ANY,
    "penalty.balance": _ANY,
    "penalty.margin_above": _ANY,
    "penalty.margin_below": _ANY,
    "penalty.aggregate": Values(("sum", "mean", "l2", "sum_sq", "balanced")),
    "penalty.sides": Values(("both", "above", "below")),
    "penalty.point_sides": Values(("both", "above", "below")),
    "penalty.upper_bound": _ANY,
    "penalty.ties": Values(("shared", "single")),
    "penalty.scope": Values(("channel", "position")),
    "penalty.layer_weights": _ANY,
    "penalty.layers": Values(("hidden", "all")),
    "dropout.rate": Values((0.0,)),
    "optimizer.name": Values(("adam",)),
    "optimizer.lr": _ANY,
    "optimizer.beta1": _ANY,
    "optimizer.beta2": _ANY,
    "optimizer.eps": _ANY,
    "optimizer.eps_rule": Values(("torch",)),
    "optimizer.epochs": _ANY,
    "optimizer.batch_size": _ANY,
    "optimizer.shuffle": _TRUTH,
    "task_loss": _TRUTH,
    "precision": Values(("float32", "float64", "tf32", "bf16")),
    "dataset.augment": Values(("none",)),
}
"""Of steps that can be CUDA graphs: they depend on the batch's points alone, neither on draws nor on their number."""

_LISTS: Mapping[str, Supported] = {**SUPPORTED, "graph": _GRAPH, "padded": _PADDED}


def unsupported(engine: str, cell: Cell) -> str | None:
    """The first field of the cell whose value the engine does not support, in one line; None if it supports all.

    Fields without effect, and those that hold their neutral value, are supported by every engine. The engine `graph` is
    eager with its steps replayed as CUDA graphs, `padded` is stacked with the passes that are written for it.
    """
    supported = _LISTS[engine]
    for name in _OWN:
        if getattr(cell, name) not in supported[name]:
            return _refusal(engine, name, getattr(cell, name), supported[name])
    return _unsupported(engine, cell.described)


@lru_cache(maxsize=4096)
def _unsupported(engine: str, described: Described) -> str | None:
    supported, neutral, dataset = _LISTS[engine], described.neutral, described.dataset
    if dataset.task not in _TASKS[engine]:
        return _refusal(engine, "dataset.task", dataset.task, _TASKS[engine])
    own = {f"dataset.{field.name}" for field in dataclasses.fields(dataset)} - {"dataset.augment"}
    for name, value in described.settings.items():
        if name in _OWN or name == "dataset" or name in own:
            continue
        if value is None or (name in neutral and value == neutral[name]):
            continue
        if name not in supported or value not in supported[name]:
            return _refusal(engine, name, value, supported.get(name))
    return None


def _refusal(engine: str, name: str, value: Any, allowed: Values | Numbers | Texts | None) -> str:
    takes = f"it takes {allowed}" if allowed is not None else "it does not know this setting"
    return f"the engine {engine} does not take {name}={shown(value)}: {takes}"
