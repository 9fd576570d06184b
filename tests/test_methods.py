"""Every file in conf/method: what it sets is a cell that the reference trains, and its source stands above it."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.schema import conf_dir
from jumpstart_exp.engines.eager.engine import EagerEngine

FILES = {path.stem: path for path in sorted((Path(conf_dir()) / "method").glob("*.yaml"))}

RECIPES: dict[str, dict[str, Any]] = {
    "he": {"init": "he_normal"},
    "orthogonal": {"init": "orthogonal"},
    "leaky_relu": {"activation": "leaky_relu", "leaky_slope": 0.01, "init": "he_normal"},
    "prelu": {"activation": "prelu", "prelu_start": 0.25, "init": "he_normal"},
    "tat": {"activation": "tat", "tat_eta": 0.9, "init": "orthogonal"},
    "rezero": {"skip_every": 1, "skip_scale": "zero", "init": "he_normal"},
    "residual": {"skip_every": 2, "skip_scale": "1", "init": "he_normal"},
    "fixup": {"skip_every": 2, "skip_scale": "fixup", "init": "he_normal"},
    "block_orthogonal": {"init": "block_orthogonal"},
    "crelu": {"activation": "crelu", "init": "looks_linear"},
    "selu": {"activation": "selu", "init": "lecun_normal"},
    "elu": {"activation": "elu", "init": "he_normal"},
    "gelu": {"activation": "gelu", "init": "he_normal"},
    "silu": {"activation": "silu", "init": "he_normal"},
    "tanh": {"activation": "tanh", "init": "glorot_uniform"},
    "logistic": {"activation": "logistic"},
    "asymmetric": {"init": "asymmetric"},
    "deep_narrow": {"init": "deep_narrow"},
    "farkas": {"farkas": True, "init": "he_normal"},
    "layer_norm": {"norm": "layer", "norm_eps": 1e-5, "init": "he_normal"},
    "dormant_reset": {"init": "he_normal"},
}
"""Of the comparators what is said of the network."""


def config_of(name: str) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(OmegaConf.load(FILES[name]))
    return dict(config)


def cell_of(name: str) -> Cell:
    config = config_of(name)
    is_of_one_unit = config.get("network", {}).get("init") == "hyperplane"
    return Cell.from_config({**config, "depth": 12, "width": 1 if is_of_one_unit else 4}, name)


@pytest.mark.parametrize("name", FILES)
def test_a_method_is_a_cell_that_eager_trains(name: str) -> None:
    assert FILES[name].read_text().startswith("# @package _global_\n# "), "its source comes first"
    cell = cell_of(name)
    assert EagerEngine.refuses(cell) is None


@pytest.mark.parametrize("name", RECIPES)
def test_a_comparator_is_the_published_recipe(name: str) -> None:
    config = config_of(name)
    assert config.pop("penalty") == {"kind": "none"}
    assert config.pop("network") == RECIPES[name]
    assert config == ({"reset": {"every": 1000, "tau": 0.1}} if name == "dormant_reset" else {})
    assert re.search(r"(19|20)\d\d", FILES[name].read_text()), "with the year of its source"


@pytest.mark.parametrize(
    ("name", "baseline"),
    [
        ("rai", "relu"),
        ("rai_best", "relu"),
        ("rai_logistic", "logistic"),
        ("rai_best_logistic", "logistic"),
    ],
)
def test_relaxation_is_all_that_tells_a_relaxed_method_from_its_baseline(name: str, baseline: str) -> None:
    config = config_of(name)
    assert config.pop("rai")["weight"] == (0.1 if "best" in name else 1)
    assert config == config_of(baseline)


@pytest.mark.parametrize("name", ["sep_up", "zero_init", "rai", "rai_best"])
def test_a_method_of_logistic_units_differs_by_its_units_alone(name: str) -> None:
    config = config_of(f"{name}_logistic")
    network = config.pop("network")
    assert network.pop("activation") == "logistic"
    assert config | ({"network": network} if network else {}) == config_of(name)


@pytest.mark.parametrize("name", ["rai_best", "rai_best_logistic"])
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_the_best_settings_are_the_same_in_both_variants(name: str, variant: str) -> None:
    """What most 10×4 networks of rai_settings train with (docs/relaxation.md), all of it said by the method."""
    of = OmegaConf.load(Path(conf_dir()) / "variant" / "of" / f"rai_{variant}.yaml").rai
    config = config_of(name)
    config["rai"] = {**of, **config["rai"]}
    rai = Cell.from_config(config, name).rai
    assert (rai.weight, rai.rate, rai.relax, rai.include_output) == (0.1, 10.0, "pre_activation", False)
    assert (rai.reduce, rai.period, rai.schedule) == ("sum", 0, "constant")


def test_no_two_methods_are_the_same() -> None:
    keys = {cell_of(name).key for name in FILES}
    assert len(keys) == len(FILES)


PARTS = {
    "sep_up_balanced": "U+ U- P+ P-",
    "balanced_units": "U+ U-",
    "balanced_points": "P+ P-",
    "balanced_above": "U+ P+",
    "balanced_below": "U- P-",
    "balanced_without_units_above": "U- P+ P-",
    "balanced_without_units_below": "U+ P+ P-",
    "balanced_without_points_above": "U+ U- P-",
    "balanced_without_points_below": "U+ U- P+",
}
"""What an ablation of Sep-UP balanced keeps of its four parts: units and points, from above and from below."""


@pytest.mark.parametrize("name", PARTS)
def test_an_ablation_keeps_what_its_name_says(name: str) -> None:
    penalty = cell_of(name).penalty
    shares = {f"{kind}{side}": of for kind in penalty.kind for side, of in zip("+-", penalty.shares(kind), strict=True)}
    assert shares == {part: 0.5 if part in PARTS[name].split() else 0.0 for part in shares}
    assert {*PARTS[name].split()} <= {*shares}
    assert (penalty.aggregate, penalty.weight) == ("balanced", 0.01)


@pytest.mark.parametrize("name", ["gelu", "residual", "relu_bn"])
def test_sep_up_balanced_on_top_of_another_adds_its_penalty_alone(name: str) -> None:
    balanced = config_of("sep_up_balanced")["penalty"]
    assert config_of(f"balanced_{name}") == {**config_of(name), "penalty": balanced}
