import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.settings import SettingError, setting
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

DEFAULT_KEY = "e6c80e8ecf9066ad7b139f02f8258458"
SEP_UP_50X4_KEY = "8a3a947a9bb143a7c66526e12ca6e95a"

# Every field has an effect here: mini-batches, batch norm, dropout, a penalty with weights, positions.
EFFECTIVE: dict[str, Any] = {
    "dataset": {"name": "moons", "n_train": 60, "n_val": 10, "n_samples": 100, "noise": 0.1, "random_state": 10},
    "depth": 3,
    "width": 4,
    "network": {"layout": "conv2x1", "norm": "batch"},
    "penalty": {"kind": "UP", "weight": 0.01, "layer_weights": [1.0, 0.5, 2.0]},
    "dropout": {"rate": 0.5, "anneal_epochs": 100},
    "optimizer": {"epochs": 200, "batch_size": 16},
    "seed": 7,
}

CHANGED: dict[str, Any] = {
    "dataset.n_train": 61,
    "dataset.n_val": 11,
    "dataset.content": "sha256-0123456789abcdef",
    "dataset.n_samples": 120,
    "dataset.noise": None,
    "dataset.random_state": 11,
    "dataset.test_size": 0.2,
    "dataset.split_random_state": 43,
    "dataset.n_fresh_val": 20,
    "width": 5,
    "network.layout": "mlp",
    "network.norm": "none",
    "network.norm_eps": 1e-5,
    "network.norm_momentum": 0.1,
    "network.init": "kaiming_uniform",
    "penalty.kind": "U",
    "penalty.weight": 0.02,
    "penalty.balance": 0.51,
    "penalty.margin_above": 2.0,
    "penalty.margin_below": -2.0,
    "penalty.aggregate": "mean",
    "penalty.ties": "random",
    "penalty.scope": "position",
    "penalty.layer_weights": [1.0, 0.5, 1.0],
    "penalty.sides": "below",
    "penalty.point_sides": "above",
    "penalty.upper_bound": 5.0,
    "penalty.schedule": "cosine",
    "dropout.rate": 0.6,
    "dropout.anneal_epochs": 101,
    "optimizer.name": "rmsprop",
    "optimizer.weight_decay": 0.1,
    "optimizer.clip_norm": 1.0,
    "optimizer.row_penalty": 0.1,
    "optimizer.row_limit": 2.0,
    "optimizer.trained_layers": [1, 3],
    "optimizer.schedule": "cosine",
    "optimizer.warmup_steps": 10,
    "optimizer.lr": 0.02,
    "optimizer.beta1": 0.8,
    "optimizer.beta2": 0.99,
    "optimizer.eps": 1e-7,
    "optimizer.eps_rule": "keras",
    "optimizer.epochs": 201,
    "optimizer.batch_size": 17,
    "optimizer.shuffle": False,
    "task_loss": False,
    "precision": "float64",
    "seed": 8,
}
ONLY_ONE_VALUE = {"dataset"}

_HYPERPLANE = {"network.init": "hyperplane", "network.layout": "mlp", "network.norm": "none", "width": 1}
_OWN = {"regulariser.function": "own:term", "regulariser.source": "sha256-0"}
OF_BLOCKS: dict[str, tuple[dict[str, Any], Any]] = {
    "network.activation": ({}, "elu"),
    "network.activation_source": (
        {"network.activation": "own:snake", "network.activation_source": "sha256-0"},
        "sha256-1",
    ),
    "network.init_source": ({"network.init": "own:tiny", "network.init_source": "sha256-0"}, "sha256-1"),
    "regulariser.function": (_OWN, "own:other"),
    "regulariser.weight": (_OWN, 0.5),
    "regulariser.settings": (_OWN, {"scale": 2}),
    "regulariser.source": (_OWN, "sha256-1"),
    "network.leaky_slope": ({"network.activation": "leaky_relu"}, 0.1),
    "network.prelu_start": ({"network.activation": "prelu"}, 0.1),
    "network.sigmoid_gamma": ({"network.activation": "sigmoid"}, 2.0),
    "network.tat_eta": ({"network.activation": "tat"}, 0.8),
    "network.init_norm": (_HYPERPLANE, 3.0),
    "network.init_at": (_HYPERPLANE, 1.0),
    "network.init_gain": (_HYPERPLANE, 2.0),
    "network.skip_every": ({}, 2),
    "network.skip_scale": ({"network.skip_every": 2}, "zero"),
    "network.farkas": ({"network.norm": "none"}, True),
    "network.widths": ({"network.layout": "mlp"}, [3, 4, 5]),
    "reset.every": ({}, 10),
    "reset.tau": ({"reset.every": 10}, 0.1),
}
"""Of every field of a block what it takes to have an effect, and another value of it."""

CHANGED_UNDER: dict[str, tuple[dict[str, Any], Any]] = {
    "optimizer.momentum": ({"optimizer__name": "sgd"}, 0.5),
    "optimizer.nesterov": ({"optimizer__name": "sgd", "optimizer__momentum": 0.5}, True),
    "optimizer.alpha": ({"optimizer__name": "rmsprop"}, 0.9),
    "optimizer.row_layers": ({"optimizer__row_limit": 2.0}, [1, 3]),
    "optimizer.step_every": ({"optimizer__schedule": "step"}, 7),
    "optimizer.step_factor": ({"optimizer__schedule": "step", "optimizer__step_every": 7}, 0.5),
}
"""Fields that act under other settings only: these, and another value."""

EFFECTIVE_CNN: dict[str, Any] = {
    "dataset": {"name": "cifar10", "n_train": 200, "n_val": 100},
    "depth": 3,
    "width": 4,
    "network": {"layout": "cnn"},
    "penalty": {"kind": "UP", "weight": 0.01},
    "optimizer": {"epochs": 2, "batch_size": 16},
}

CHANGED_CNN: dict[str, Any] = {
    "dataset.name": "cifar100",
    "dataset.augment": "flip_crop",
    "dataset.scaling": "unit",
    "network.layout": "mlp",
    "network.kernel": 5,
    "network.head": "max_avg_pool",
    "penalty.scope": "position",
    "penalty.layers": "all",
    "precision": "bf16",
}


EFFECTIVE_RAI: dict[str, Any] = {
    "depth": 5,
    "width": 4,
    "network": {"activation": "logistic"},
    "rai": {"weight": 0.5, "schedule": "geometric"},
    "optimizer": {"epochs": 200},
}

CHANGED_RAI: dict[str, Any] = {
    "rai.weight": 0.6,
    "rai.relax": "pre_activation",
    "rai.include_output": True,
    "rai.every": 2,
    "rai.layers": [1, 3],
    "rai.loss": "cross_entropy",
    "rai.reduce": "mean",
    "rai.schedule": "constant",
    "rai.final_weight": 10.0,
    "rai.start": "random",
    "rai.period": 10,
    "rai.rate": 10.0,
}


def changed(config: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """A copy of a nested configuration with dotted names (two underscores for a dot) set."""
    copy: dict[str, Any] = {name: dict(part) if isinstance(part, dict) else part for name, part in config.items()}
    for name, value in settings.items():
        part, _, inner = name.partition("__")
        if inner:
            copy.setdefault(part, {})[inner] = value
        else:
            copy[part] = value
    return copy


def cell(config: Mapping[str, Any] | None = None, **settings: Any) -> Cell:
    return Cell.from_config(changed(config or {}, **settings), "label")


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace(".", "__"): value for name, value in settings.items()}


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The nested configuration by names with two underscores for a dot."""
    names: dict[str, Any] = {}
    for name, part in config.items():
        names |= (
            {f"{name}__{inner}": value for inner, value in part.items()} if isinstance(part, dict) else {name: part}
        )
    return names


def refusal(config: Mapping[str, Any] | None = None, **settings: Any) -> str:
    """The one line that refuses this configuration."""
    with pytest.raises(SettingError) as caught:
        cell(config, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The key


def test_the_key_of_the_default_cell_is_what_it_always_was() -> None:
    assert Cell().key == DEFAULT_KEY


def test_the_key_of_a_sep_up_cell_is_what_it_always_was() -> None:
    sep_up = cell(
        depth=50,
        width=4,
        seed=3,
        penalty={"kind": "UP", "weight": 1e-4},
        optimizer={"lr": 0.01, "epochs": 1000, "batch_size": None},
    )
    assert sep_up.key == SEP_UP_50X4_KEY


def test_the_key_is_the_hash_of_canonical_json() -> None:
    described = {
        "dataset": "moons",
        "dataset.n_samples": 100,
        "dataset.random_state": 10,
        "dataset.split_random_state": 42,
        "dataset.test_size": 0.15,
        "depth": 10,
        "network.init": "glorot_uniform",
        "network.layout": "mlp",
        "network.norm": "none",
        "optimizer.beta1": 0.9,
        "optimizer.beta2": 0.999,
        "optimizer.eps": 1e-08,
        "optimizer.eps_rule": "torch",
        "optimizer.epochs": 5000,
        "optimizer.lr": 0.01,
        "optimizer.name": "adam",
        "penalty.kind": "none",
        "precision": "float32",
        "seed": 0,
        "task_loss": True,
        "width": 4,
    }
    document = {"schema": 1, "numerics": 1, "cell": described}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    assert Cell().key == hashlib.sha256(text.encode()).hexdigest()[:32]


@given(st.integers(1, 10**5), st.integers(1, 10**7), st.integers(0, 2**32 - 1), st.text())
def test_a_key_is_32_hex_digits(depth: int, width: int, seed: int, method: str) -> None:
    key = Cell.from_config({"depth": depth, "width": width, "seed": seed}, method).key
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")


@given(st.permutations(sorted(flat(EFFECTIVE))))
def test_the_order_of_the_settings_does_not_matter(names: list[str]) -> None:
    values = flat(EFFECTIVE)
    assert cell(**{name: values[name] for name in names}).key == cell(EFFECTIVE).key


def test_a_setting_left_out_is_the_same_as_its_default_spelled_out() -> None:
    parts: dict[str, Any] = {
        "dataset": Moons(),
        "network": NetworkSpec(),
        "penalty": PenaltySpec(),
        "dropout": DropoutSpec(),
        "optimizer": OptimizerSpec(),
    }
    config = {name: dataclasses.asdict(spec) for name, spec in parts.items()}
    assert cell(config, depth=10, width=4, task_loss=True, precision="float32", seed=0).key == DEFAULT_KEY


@pytest.mark.parametrize(
    ("name", "integer"),
    [
        ("optimizer__lr", 1),
        ("optimizer__eps", 1),
        ("optimizer__beta1", 0),
        ("dataset__noise", 1),
        ("penalty__weight", 1),
        ("penalty__weight", 0),
        ("penalty__balance", 1),
        ("penalty__margin_above", 3),
        ("penalty__margin_below", -3),
        ("dropout__rate", 0),
        ("network__norm_eps", 1),
        ("network__norm_momentum", 1),
    ],
)
def test_an_integer_is_the_same_number_as_a_decimal(name: str, integer: int) -> None:
    assert cell(EFFECTIVE, **{name: integer}).key == cell(EFFECTIVE, **{name: float(integer)}).key


@pytest.mark.parametrize("name", ["depth", "width", "seed", "optimizer__epochs", "optimizer__batch_size"])
def test_a_whole_decimal_is_the_same_number_as_an_integer(name: str) -> None:
    base = changed(EFFECTIVE, penalty__layer_weights=None)
    assert cell(base, **{name: 5.0}).key == cell(base, **{name: 5}).key


def test_layer_weights_are_decimals_in_whatever_sequence() -> None:
    spellings = ([1, 2, 3], [1.0, 2.0, 3.0], (1, 2.0, 3))
    assert len({cell(EFFECTIVE, penalty__layer_weights=weights).key for weights in spellings}) == 1


def test_minus_zero_is_zero() -> None:
    assert cell(EFFECTIVE, penalty__balance=-0.0).key == cell(EFFECTIVE, penalty__balance=0.0).key


def test_every_field_is_covered_here() -> None:
    assert set(cell(EFFECTIVE).description()) == set(CHANGED) | set(OF_BLOCKS) | set(CHANGED_UNDER) | ONLY_ONE_VALUE | {
        "depth",
        "network.kernel",
        "network.head",
        "penalty.layers",
        *CHANGED_RAI,
    }
    assert {"network.kernel", "network.head", "penalty.layers"} < set(CHANGED_CNN)


def test_changing_any_field_changes_the_key() -> None:
    keys = {name: cell(EFFECTIVE, **dotted({name: value})).key for name, value in CHANGED.items()}
    keys["depth"] = cell(EFFECTIVE, depth=4, penalty__layer_weights=[1.0, 0.5, 2.0, 1.0]).key
    keys["nothing"] = cell(EFFECTIVE).key
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize("name", OF_BLOCKS)
def test_changing_a_field_of_a_block_changes_the_key_where_it_has_an_effect(name: str) -> None:
    base, value = OF_BLOCKS[name]
    assert cell(EFFECTIVE, **dotted(base)).key != cell(EFFECTIVE, **dotted({**base, name: value})).key
    if base and name.startswith("network") and name not in ("network.widths", "network.farkas"):
        assert cell(EFFECTIVE).key == cell(EFFECTIVE, **dotted({name: value})).key, "without it there is none"


def test_widths_stand_for_depth_and_width() -> None:
    layers = [1.0, 0.5, 2.0]
    odd = cell(EFFECTIVE, network__layout="mlp", network__widths=[3, 5, 2], penalty__layer_weights=layers)
    assert (odd.depth, odd.width, odd.widths) == (3, 5, (3, 5, 2))
    equal = cell(EFFECTIVE, network__layout="mlp", network__widths=[4, 4, 4])
    assert equal.key == cell(EFFECTIVE, network__layout="mlp").key, "a rectangular network, however it is named"


def test_resets_that_cannot_be_are_refused() -> None:
    base = {"reset": {"every": 5}}
    assert "0, or take network.skip_every=0" in refusal(base, network__skip_every=1)
    assert "0, or take network.farkas=false" in refusal(base, network__farkas=True)
    assert "0, or take another network.init than zero" in refusal(base, network__init="zero")
    assert "0, or take another optimizer than rprop" in refusal(base, optimizer__name="rprop")


@pytest.mark.parametrize("name", CHANGED_UNDER)
def test_fields_that_act_under_other_settings_change_the_key_there_alone(name: str) -> None:
    settings, value = CHANGED_UNDER[name]
    change = dotted({name: value})
    assert cell(EFFECTIVE, **settings, **change).key != cell(EFFECTIVE, **settings).key
    if name != "optimizer.nesterov":  # which is refused without momentum
        assert cell(EFFECTIVE, **change).key == cell(EFFECTIVE).key


def test_what_is_the_same_training_has_the_same_key() -> None:
    assert cell(EFFECTIVE, optimizer__name="adamw").key == cell(EFFECTIVE).key
    decayed = {"optimizer__weight_decay": 0.1}
    assert cell(EFFECTIVE, optimizer__name="adamw", **decayed).key != cell(EFFECTIVE, **decayed).key
    assert cell(EFFECTIVE, optimizer__warmup_steps=1).key == cell(EFFECTIVE).key
    units = cell(EFFECTIVE, penalty__kind="U", penalty__aggregate="balanced")
    assert units.key == cell(EFFECTIVE, penalty__kind="U", penalty__aggregate="mean").key
    # a side that does not count has no margin
    above = {"penalty__sides": "above"}
    assert cell(EFFECTIVE, **above, penalty__margin_below=-2.0).key == cell(EFFECTIVE, **above).key
    below = {**above, "penalty__point_sides": "below"}
    assert cell(EFFECTIVE, **below, penalty__margin_below=-2.0).key != cell(EFFECTIVE, **below).key


def test_changing_any_field_of_a_cnn_changes_the_key() -> None:
    keys = {name: cell(EFFECTIVE_CNN, **dotted({name: value})).key for name, value in CHANGED_CNN.items()}
    keys["nothing"] = cell(EFFECTIVE_CNN).key
    assert len(set(keys.values())) == len(keys)


def test_changing_any_field_of_relaxed_layers_changes_the_key_where_they_are_relaxed() -> None:
    keys = {name: cell(EFFECTIVE_RAI, **dotted({name: value})).key for name, value in CHANGED_RAI.items()}
    keys["nothing"] = cell(EFFECTIVE_RAI).key
    assert len(set(keys.values())) == len(keys)
    plain = {"rai__weight": 0.0}
    without = {name: value for name, value in CHANGED_RAI.items() if name != "rai.weight"}
    assert {cell(EFFECTIVE_RAI, **plain, **dotted({name: value})).key for name, value in without.items()} == {
        cell(changed(EFFECTIVE_RAI, rai={})).key
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"layers": [1, 2, 3, 4, 5]}, {}),
        ({"layers": [2, 4]}, {"every": 2}),
        ({"schedule": "geometric", "final_weight": 0.5}, {"schedule": "constant"}),
        ({"schedule": "constant", "final_weight": 3}, {"schedule": "constant"}),
        ({"period": 200}, {"period": 0}),
        ({"every": 6, "include_output": True, "relax": "pre_activation"}, {"every": 7, "include_output": True}),
    ],
)
def test_relaxed_layers_that_train_alike_have_one_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    base = {**EFFECTIVE_RAI["rai"]}
    assert cell(EFFECTIVE_RAI, rai={**base, **one}).key == cell(EFFECTIVE_RAI, rai={**base, **other}).key


def test_where_no_layer_is_relaxed_the_training_is_a_plain_one_and_says_so() -> None:
    nothing = cell(EFFECTIVE_RAI, rai__every=6)
    assert nothing.key == cell(EFFECTIVE_RAI, rai__weight=0.0).key
    assert any("no layer is relaxed" in warning for warning in nothing.warnings())
    assert cell(EFFECTIVE_RAI).warnings() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"optimizer__batch_size": 16},
            "optimizer.batch_size=16 is not allowed: it must be null with rai.weight=0.5 (z",
        ),
        ({"network__layout": "conv2x1"}, "network.layout='conv2x1' is not allowed: it must be mlp with rai.weight=0.5"),
        ({"network__skip_every": 2}, "network.skip_every=2 is not allowed: it must be 0 with rai.weight=0.5"),
        ({"network__farkas": True}, "network.farkas=True is not allowed: it must be false with rai.weight=0.5"),
        (
            {"network__norm": "batch"},
            "network.norm='batch' is not allowed: it must be none or layer with rai.weight=0.5",
        ),
        ({"dropout__rate": 0.5}, "dropout.rate=0.5 is not allowed: it must be 0 with rai.weight=0.5"),
        ({"reset__every": 3}, "reset.every=3 is not allowed: it must be 0 with rai.weight=0.5"),
        ({"optimizer__clip_norm": 1}, "optimizer.clip_norm=1.0 is not allowed: it must be null with rai.weight=0.5"),
        ({"task_loss": False}, "task_loss=False is not allowed: it must be true with rai.weight=0.5"),
        ({"rai__layers": [2, 6]}, "rai.layers=[2, 6] is not allowed: it must be layers from 1 to depth=5"),
        ({"rai__layers": [3, 2]}, "rai.layers=[3, 2] is not allowed: it must be a list of layers that rises"),
        ({"rai__layers": [2], "rai__every": 2}, "rai.every=2 is not allowed: it must be 1 where rai.layers says"),
        (
            {"rai__loss": "cross_entropy", "network__activation": "relu"},
            "rai.loss='cross_entropy' is not allowed: it must be squared without network.activation=logistic",
        ),
        (
            {"rai__loss": "cross_entropy", "rai__include_output": True}
            | {"dataset": {"name": "mnist"}, "optimizer__batch_size": None},
            "rai.loss='cross_entropy' is not allowed: it must be squared where rai.include_output, but for two classes",
        ),
    ],
)
def test_what_relaxed_layers_do_not_go_with_is_refused(settings: dict[str, Any], words: str) -> None:
    assert refusal(EFFECTIVE_RAI, **settings).startswith(words)
    if not any(name.startswith("rai") for name in settings):
        cell(EFFECTIVE_RAI, rai__weight=0.0, penalty={"kind": "UP"}, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"optimizer__trained_layers": [1, 5]},
            "optimizer.trained_layers=[1, 5] is not allowed: it must be layers from 1 to depth + 1 = 4, the output",
        ),
        (
            {"optimizer__trained_layers": [2, 1]},
            "optimizer.trained_layers=[2, 1] is not allowed: it must be a list of layers that rises",
        ),
        (
            {"optimizer__trained_layers": [0]},
            "optimizer.trained_layers=[0] is not allowed: it must be a list of numbers of at least 1 or null",
        ),
        ({"optimizer__trained_layers": []}, "optimizer.trained_layers=[] is not allowed"),
        (
            {"optimizer__row_penalty": 1, "optimizer__row_layers": [5]},
            "optimizer.row_layers=[5] is not allowed: it must be layers from 1 to depth + 1 = 4, the output layer",
        ),
        (
            {"optimizer__row_limit": 1, "optimizer__row_layers": [2, 2]},
            "optimizer.row_layers=[2, 2] is not allowed: it must be a list of layers that rises",
        ),
        (
            {"optimizer__row_limit": 1, "optimizer__trained_layers": [2, 3]},
            "optimizer.row_layers=[1] is not allowed: it must be among optimizer.trained_layers=[2, 3] (the others",
        ),
        ({"optimizer__row_limit": 0}, "optimizer.row_limit=0 is not allowed: it must be a number above 0 or null"),
        ({"optimizer__row_penalty": -1}, "optimizer.row_penalty=-1 is not allowed: it must be a number of at least 0"),
        ({"optimizer__row_layers": None}, "optimizer.row_layers=None is not allowed: it must be a list of numbers"),
        (
            {"optimizer__trained_layers": [1], "network__skip_every": 1, "network__skip_scale": "zero"},
            "optimizer.trained_layers=[1] is not allowed: it must be null with network.skip_scale=zero",
        ),
        (
            {"optimizer__trained_layers": [1], "reset__every": 5},
            "optimizer.trained_layers=[1] is not allowed: it must be null with reset.every=5",
        ),
        (
            {"optimizer__trained_layers": [4], "task_loss": False},
            "optimizer.trained_layers=[4] is not allowed: it must be a list with a hidden layer where task_loss=false",
        ),
    ],
)
def test_layers_of_the_optimizer_that_make_no_sense_are_refused(settings: dict[str, Any], words: str) -> None:
    assert refusal({"penalty": {"kind": "UP"}}, depth=3, **settings).startswith(words)


def test_layers_of_the_optimizer_have_one_key_for_one_training() -> None:
    plain = cell({}, depth=3)
    assert cell({}, depth=3, optimizer__trained_layers=[1, 2, 3, 4]).key == plain.key
    assert cell({}, depth=3, optimizer__row_layers=[9, 2]).key == plain.key, "without effect: nothing is asked of rows"
    assert cell({}, depth=3, optimizer__row_penalty=0, optimizer__row_limit=None).key == plain.key
    described = cell({}, depth=3, optimizer__row_limit=2).description()
    assert described["optimizer.row_layers"] == (1,)
    assert plain.description()["optimizer.row_layers"] is None
    keys = {
        cell({}, depth=3, **{f"optimizer__{name}": value}).key
        for name, value in (("row_penalty", 0.1), ("row_limit", 0.1), ("trained_layers", [1]), ("weight_decay", 0.1))
    }
    assert len(keys) == 4


def test_what_only_a_cnn_has_is_nothing_to_an_mlp() -> None:
    plain = cell(EFFECTIVE_CNN, network__layout="mlp")
    assert cell(EFFECTIVE_CNN, network__layout="mlp", network__kernel=5, network__head="max_avg_pool").key == plain.key


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_a_published_set_in_full_is_the_set(name: str) -> None:
    images = {"mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}[name]
    whole = {"dataset": {"name": name, "n_train": None, "n_val": None}}
    assert cell({"dataset": {"name": name, "n_train": images, "n_val": 10_000}}).key == cell(whole).key
    assert "at most" in refusal(whole, dataset__n_train=images + 1)


def test_a_cnn_takes_images_and_odd_filters() -> None:
    assert "mlp or conv2x1 for moons" in refusal(network__layout="cnn")
    assert "network.kernel=2 is not allowed: it must be odd" in refusal(EFFECTIVE_CNN, network__kernel=2)
    assert "two features a point" in refusal(EFFECTIVE_CNN, network__layout="conv2x1")


def test_the_fans_of_a_2x1_convolution_are_for_an_mlp_that_reads_two_features() -> None:
    assert cell(network__init="glorot_uniform_2x1").key != cell().key
    words = "network.init='glorot_uniform_2x1' is not allowed: it must be glorot_uniform, kaiming_uniform or zero for"
    plain, same = (cell(network__layout="conv2x1", network__init=f"glorot_uniform{end}") for end in ("", "_2x1"))
    assert same == plain and same.key == plain.key, "the layout has these fans anyway"
    assert f"{words} cnn on " in refusal(EFFECTIVE_CNN, network__init="glorot_uniform_2x1")
    assert f"{words} mlp on " in refusal(EFFECTIVE_CNN, network__layout="mlp", network__init="glorot_uniform_2x1")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_only_a_cnn_is_trained_in_less_than_float32(precision: str) -> None:
    assert cell(EFFECTIVE_CNN, precision=precision).precision == precision
    assert f"precision='{precision}' is not allowed: it must be float32 or float64 for mlp" in refusal(
        EFFECTIVE_CNN, network__layout="mlp", precision=precision
    )


@given(
    st.sampled_from(["optimizer__lr", "penalty__weight", "network__norm_eps", "optimizer__eps"]),
    st.floats(1e-300, 1e6),
    st.floats(1e-300, 1e6),
)
def test_numbers_share_a_key_only_if_equal(name: str, one: float, other: float) -> None:
    assert (cell(EFFECTIVE, **{name: one}).key == cell(EFFECTIVE, **{name: other}).key) == (one == other)


@given(st.floats(1e-300, 1e6))
def test_the_next_float_is_another_cell(value: float) -> None:
    above = math.nextafter(value, math.inf)
    assert cell(optimizer__lr=value).key != cell(optimizer__lr=above).key


def test_the_method_is_only_a_label() -> None:
    one, other = (Cell.from_config(EFFECTIVE, method) for method in ("sep_up", "mine"))
    assert one.key == other.key
    assert (one.method, other.method) == ("sep_up", "mine")


# A field that joins later


@dataclass(frozen=True)
class LaterNetwork(NetworkSpec):
    dense_every: int = setting(0, low=0, neutral=0)


@dataclass(frozen=True)
class LaterPenalty(PenaltySpec):
    power: float = setting(1.0, above=0, neutral=1.0)


@dataclass(frozen=True)
class LaterMoons(Moons):
    flipped: bool = setting(False, neutral=False)


@dataclass(frozen=True)
class LaterCell(Cell):
    warm_up: int | None = setting(None, low=1)


@pytest.mark.parametrize(
    ("part", "spec", "values"),
    [
        ("network", LaterNetwork, {"dense_every": 2}),
        ("penalty", LaterPenalty, {"power": 2.0}),
        ("dataset", LaterMoons, {"flipped": True}),
    ],
)
def test_a_field_added_later_leaves_the_key_as_it_was_until_it_is_used(
    part: str, spec: type, values: dict[str, Any]
) -> None:
    kind = {"kind": "UP"} if part == "penalty" else {}
    before = cell({part: kind}) if kind else Cell()
    assert Cell(**{part: spec(**kind)}).key == before.key
    assert Cell(**{part: spec(**kind, **values)}).key != before.key


def test_a_cells_own_field_added_later_leaves_the_key_as_it_was_until_it_is_used() -> None:
    assert LaterCell().key == DEFAULT_KEY
    assert LaterCell(warm_up=10).key != DEFAULT_KEY


# Fields without effect

RELU = changed(EFFECTIVE, penalty={"kind": "none"})


@pytest.mark.parametrize(
    ("base", "settings"),
    [
        *[
            (RELU, {f"penalty__{name}": value})
            for name, value in {
                "weight": 5.0,
                "balance": 0.9,
                "margin_above": 3.0,
                "margin_below": -3.0,
                "aggregate": "l2",
                "ties": "random",
                "scope": "position",
                "layer_weights": [1.0, 2.0],
            }.items()
        ],
        (RELU, {"penalty": {"kind": "UP", "weight": 0.0}}),
        (RELU, {"penalty": {"kind": "L", "weight": 0, "balance": 0.1}}),
        (changed(EFFECTIVE, dropout={}), {"dropout__anneal_epochs": 17}),
        (changed(EFFECTIVE, network__norm="none"), {"network__norm_eps": 0.5}),
        (changed(EFFECTIVE, network__norm="none"), {"network__norm_momentum": 0.5}),
        (changed(EFFECTIVE, optimizer__batch_size=None), {"optimizer__batch_size": 60}),
        (changed(EFFECTIVE, optimizer__batch_size=None), {"optimizer__batch_size": 61}),
        (changed(EFFECTIVE, optimizer__batch_size=None), {"optimizer__shuffle": False}),
        (changed(EFFECTIVE, network__layout="mlp"), {"penalty__scope": "position"}),
        (changed(EFFECTIVE, penalty__kind="L"), {"penalty__scope": "position"}),
        (changed(EFFECTIVE, penalty__layer_weights=None), {"penalty__layer_weights": [1, 1.0, 1]}),
        (changed(EFFECTIVE, dataset__n_train=None), {"dataset__n_train": 85}),
        (changed(EFFECTIVE, dataset__n_val=None), {"dataset__n_val": 15}),
    ],
)
def test_a_field_without_effect_does_not_change_the_key(base: dict[str, Any], settings: dict[str, Any]) -> None:
    assert cell(base, **settings).key == cell(base).key


@given(weight=st.floats(0, 10), balance=st.floats(0, 1), ties=st.sampled_from(["shared", "single", "random"]))
def test_a_sweep_over_the_penalty_trains_relu_once(weight: float, balance: float, ties: str) -> None:
    relu = cell(penalty={"kind": "none", "weight": weight, "balance": balance, "ties": ties})
    assert relu.key == DEFAULT_KEY
    assert relu.penalty_weight == 0


def test_without_effect_is_shown_as_null() -> None:
    described = Cell().description()
    assert described["penalty.kind"] == "none"
    for name in ("penalty.weight", "dropout.anneal_epochs", "network.norm_eps", "optimizer.shuffle"):
        assert described[name] is None


def test_a_batch_of_nearly_all_points_is_not_a_full_batch() -> None:
    assert cell(optimizer__batch_size=84).key != cell(optimizer__batch_size=85).key


# What is refused


@pytest.mark.parametrize(
    ("settings", "shown", "allowed"),
    [
        ({"depth": 0}, "depth=0", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": "ten"}, "depth='ten'", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": 2.5}, "depth=2.5", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": None}, "depth=None", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": True}, "depth=True", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": [1, 2]}, "depth=[1, 2]", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": math.nan}, "depth=nan", "an integer from 1 to 100000 (hidden layers)"),
        ({"depth": math.inf}, "depth=inf", "an integer from 1 to 100000 (hidden layers)"),
        ({"width": -1}, "width=-1", "an integer from 1 to 10000000"),
        ({"seed": -1}, "seed=-1", "an integer from 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296", "an integer from 0 to 4294967295"),
        ({"penalty__weight": -0.1}, "penalty.weight=-0.1", "a number of at least 0"),
        ({"penalty__weight": math.nan}, "penalty.weight=nan", "a number of at least 0"),
        ({"penalty__weight": math.inf}, "penalty.weight=inf", "a number of at least 0"),
        ({"penalty__weight": 10**400}, "penalty.weight=1", "a number of at least 0"),
        ({"penalty__weight": True}, "penalty.weight=True", "a number of at least 0"),
        ({"penalty__balance": 1.01}, "penalty.balance=1.01", "a number from 0 to 1"),
        ({"penalty__balance": -0.01}, "penalty.balance=-0.01", "a number from 0 to 1"),
        ({"penalty__margin_above": "high"}, "penalty.margin_above='high'", "a number"),
        (
            {"penalty__aggregate": "meen"},
            "penalty.aggregate='meen'",
            "did you mean mean?",
        ),
        ({"penalty__aggregate": 3}, "penalty.aggregate=3", "one of sum, mean, l2, sum_sq"),
        ({"penalty__kind": "up"}, "penalty.kind='up'", "one of none, U, P, UP, L"),
        ({"penalty__ties": "shard"}, "penalty.ties='shard'", "; did you mean shared?"),
        ({"penalty__layer_weights": []}, "penalty.layer_weights=[]", "a list of numbers of at least 0 or null"),
        ({"penalty__layer_weights": [1, -1]}, "penalty.layer_weights=[1, -1]", "a list of numbers of at least 0"),
        ({"penalty__layer_weights": 3}, "penalty.layer_weights=3", "a list of numbers of at least 0 or null"),
        ({"dropout__rate": 1}, "dropout.rate=1", "a number from 0 to 0.999"),
        ({"dropout__anneal_epochs": 0}, "dropout.anneal_epochs=0", "an integer of at least 1"),
        ({"optimizer__epochs": 0}, "optimizer.epochs=0", "an integer of at least 1"),
        ({"optimizer__lr": 0}, "optimizer.lr=0", "a number above 0"),
        ({"optimizer__lr": -math.inf}, "optimizer.lr=-inf", "a number above 0"),
        ({"optimizer__batch_size": 0}, "optimizer.batch_size=0", "an integer of at least 1 or null"),
        ({"optimizer__shuffle": 1}, "optimizer.shuffle=1", "true or false"),
        ({"optimizer__name": "sdg"}, "optimizer.name='sdg'", "did you mean sgd?"),
        ({"network__norm": "group"}, "network.norm='group'", "one of none, batch, layer"),
        ({"network__norm_momentum": 0}, "network.norm_momentum=0", "a number above 0 and at most 1"),
        ({"precision": "float16"}, "precision='float16'", "one of float32, float64, tf32, bf16 (tf32"),
        ({"task_loss": "yes"}, "task_loss='yes'", "true or false"),
        ({"dataset__n_train": 86}, "dataset.n_train=86", "at most 85"),
        ({"dataset__n_train": 1}, "dataset.n_train=1", "at least 2"),
        ({"dataset__n_val": 16}, "dataset.n_val=16", "at most 15"),
        ({"dataset__noise": -1}, "dataset.noise=-1", "a number of at least 0 or null"),
        ({"dataset__test_size": 1.0}, "dataset.test_size=1", "a number above 0 and at most 0.9"),
        ({"dataset__n_samples": 4, "dataset__test_size": 0.75}, "dataset.test_size=0.75", "two training points"),
        ({"dataset__name": "mnits"}, "dataset='mnits'", "one of moons"),
        ({"dataset": "mnits"}, "dataset='mnits'", "one of moons"),
        ({"dataset__name": ["moons"]}, "dataset=['moons']", "one of moons"),
        ({"penalty": 3}, "penalty=3", "a group of settings: kind, weight"),
        ({"dataset": "moons"}, "dataset='moons'", "a group of settings: name, n_train"),
    ],
)
def test_a_bad_value_is_named_with_its_field_and_what_is_allowed(
    settings: dict[str, Any], shown: str, allowed: str
) -> None:
    message = refusal(**settings)
    assert message.startswith(f"{shown}")
    assert allowed in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 4}, "widht is not a setting; did you mean width?"),
        ({"optimizer__learning": 4}, "optimizer.learning is not a setting"),
        ({"optimizer__batchsize": 4}, "optimizer.batchsize is not a setting; did you mean batch_size?"),
        ({"penalty__wieght": 4}, "penalty.wieght is not a setting; did you mean weight?"),
        ({"dataset__n_trains": 4}, "dataset.n_trains is not a setting; did you mean n_train?"),
    ],
)
def test_an_unknown_setting_is_named_with_the_nearest_known_one(settings: dict[str, Any], message: str) -> None:
    assert refusal(**settings) == message


@pytest.mark.parametrize(("below", "above"), [(1.0, 1.0), (2.0, 1.0), (-1.0, -1.5)])
def test_margins_may_not_cross(below: float, above: float) -> None:
    message = refusal(penalty={"margin_below": below, "margin_above": above})
    assert message.startswith(f"penalty.margin_below={below}")
    assert f"below penalty.margin_above={above:g}" in message


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0] * 11])
def test_layer_weights_have_to_be_one_a_hidden_layer(weights: list[float]) -> None:
    message = refusal(depth=10, penalty={"kind": "U", "layer_weights": weights})
    assert message.startswith(f"penalty.layer_weights={weights}")
    assert "10 numbers, one a constrained layer" in message


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 6, 7, 12, 14, 21, 28, 42, 84])
def test_batch_norm_refuses_a_batch_of_one_point(batch_size: int) -> None:
    # 85 points: a last batch of one where the size divides 84
    message = refusal(network={"norm": "batch"}, optimizer={"batch_size": batch_size})
    assert message.startswith(f"optimizer.batch_size={batch_size} ")
    assert "one point only" in message
    assert "85 training points" in message


@pytest.mark.parametrize("batch_size", [None, 5, 17, 43, 83, 85, 1000])
def test_batch_norm_takes_batches_of_more_points(batch_size: int | None) -> None:
    assert cell(network={"norm": "batch"}, optimizer={"batch_size": batch_size}).network.norm == "batch"


def test_batch_norm_over_two_positions_takes_a_batch_of_one_point() -> None:
    assert cell(network={"norm": "batch", "layout": "conv2x1"}, optimizer={"batch_size": 1}).batch_size == 1


@pytest.mark.parametrize("penalty", [{"kind": "none"}, {"kind": "UP", "weight": 0}])
def test_something_has_to_be_trained(penalty: dict[str, Any]) -> None:
    message = refusal(task_loss=False, penalty=penalty)
    assert message.startswith("task_loss=False")
    assert "true where there is no penalty" in message


def test_a_cell_made_in_python_is_checked_too() -> None:
    with pytest.raises(SettingError, match=r"^width=0 is not allowed: it must be an integer from 1 to "):
        Cell(width=0)
    with pytest.raises(SettingError, match=r"^optimizer\.lr=0 is not allowed"):
        Cell(optimizer=OptimizerSpec(lr=0))


# What makes no sense, but can be trained


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"width": 1, "penalty": {"kind": "P"}}, True),
        ({"width": 1, "penalty": {"kind": "UP"}}, True),
        ({"width": 1, "penalty": {"kind": "U"}}, False),
        ({"width": 1, "penalty": {"kind": "L"}}, False),
        ({"width": 1, "penalty": {"kind": "P", "weight": 0}}, False),
        ({"width": 1, "penalty": {"kind": "none"}}, False),
        ({"width": 2, "penalty": {"kind": "UP"}}, False),
        ({"width": 1, "penalty": {"kind": "UP", "scope": "position"}}, True),
        ({"width": 1, "penalty": {"kind": "UP"}, "network": {"layout": "conv2x1"}}, False),
        ({"width": 1, "penalty": {"kind": "UP", "scope": "position"}, "network": {"layout": "conv2x1"}}, True),
        ({"width": 2, "penalty": {"kind": "UP", "scope": "position"}, "network": {"layout": "conv2x1"}}, False),
    ],
)
def test_points_cannot_be_separated_by_one_unit(settings: dict[str, Any], warned: bool) -> None:
    warnings = cell(**settings).warnings()
    assert len(warnings) == warned
    assert all("width 1" in warning and "Sep-P" in warning for warning in warnings)


def test_a_layer_norm_of_one_unit_is_a_warning() -> None:
    (warning,) = cell(width=1, network__norm="layer").warnings()
    assert "its one unit is its own mean" in warning
    assert cell(width=2, network__norm="layer").warnings() == []
    assert cell(width=1, network__norm="layer", network__layout="conv2x1").warnings() == []


def test_a_reset_beyond_the_training_is_a_warning_and_no_reset() -> None:
    never = cell(reset__every=21, reset__tau=0.1, optimizer__epochs=20)
    (warning,) = never.warnings()
    assert warning == "no unit is reset: reset.every=21 is beyond the 20 steps"
    assert never.key == cell(optimizer__epochs=20).key
    last = cell(reset__every=20, reset__tau=0.1, optimizer__epochs=20)
    assert last.warnings() == []
    assert last.key != cell(optimizer__epochs=20).key
    assert cell(reset__every=21, optimizer={"epochs": 20, "batch_size": 50}).warnings() == []  # two steps an epoch


def test_a_step_beyond_the_training_is_a_warning_and_a_constant_rate() -> None:
    constant = cell(optimizer__epochs=20)
    never = cell(optimizer={"epochs": 20, "schedule": "step", "step_every": 20})
    (warning,) = never.warnings()
    assert warning == "the learning rate never falls: optimizer.step_every=20, and optimizer.epochs=20"
    assert never.key == constant.key
    assert cell(optimizer={"epochs": 20, "schedule": "step", "step_every": 5, "step_factor": 1}).key == constant.key
    falls = cell(optimizer={"epochs": 20, "schedule": "step", "step_every": 19})
    assert falls.warnings() == []
    assert falls.key != constant.key


@pytest.mark.parametrize(
    ("penalty", "kind"),
    [
        ({"sides": "above", "balance": 0}, "U"),
        ({"sides": "below", "balance": 1}, "U"),
        ({"point_sides": "above", "balance": 0}, "P"),
    ],
)
def test_a_side_alone_that_has_no_share_is_refused(penalty: dict[str, Any], kind: str) -> None:
    message = refusal(penalty={"kind": "UP", **penalty})
    assert "penalty.balance=" in message
    assert f"the constraints {kind} ask for nothing" in message
    assert cell(penalty={"kind": "none", **penalty}).penalty_weight == 0


def test_units_cannot_be_separated_by_one_point() -> None:
    (warning,) = cell(penalty={"kind": "U"}, optimizer={"batch_size": 1}).warnings()
    assert "Sep-U" in warning
    assert cell(penalty={"kind": "U"}, optimizer={"batch_size": 2}).warnings() == []
