"""A loader that does once what many compositions share gives what Hydra's own gives, node for node."""

import copy
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, base
from omegaconf.base import Node

from jumpstart_exp.config.composition import own_hydra, own_loader
from jumpstart_exp.config.errors import explain
from jumpstart_exp.config.reading_once import ReadingOnce, copied, reading_once
from jumpstart_exp.config.schema import conf_dir
from jumpstart_exp.settings import SettingError

CHOICES = {
    group: sorted(path.stem for path in Path(conf_dir(), group).glob("*.yaml"))
    for group in ("dataset", "experiment", "method", "network", "optimizer", "variant")
}
VALUES = ("depth=3", "seed='7'", "optimizer.lr=1e-3", "penalty.weight=${optimizer.lr}", "network.init=zero", "+extra=1")


def told(node: Any) -> Any:
    """All that a node is and has, its parent and what it remembers of flags and of the time left out."""
    if not isinstance(node, Node):
        return node
    about = {name: value for name, value in vars(node._metadata).items() if name != "resolver_cache"}
    content = vars(node).get("_content", vars(node).get("_val"))
    if isinstance(content, dict):
        return type(node), about, [(name, told(value)) for name, value in content.items()]
    if isinstance(content, list):
        return type(node), about, [*map(told, content)]
    return type(node), about, told(content)


def parents_are_right(node: Any) -> bool:
    content = vars(node).get("_content")
    inner = [*content.values()] if isinstance(content, dict) else content if isinstance(content, list) else []
    return all(each._get_parent() is node and parents_are_right(each) for each in inner)


def outcome(loader: ConfigLoaderImpl, overrides: list[str], mode: RunMode = RunMode.RUN) -> Any:
    """The configuration, all of it; or why there is none."""
    with own_hydra():
        try:
            config = loader.load_configuration("config", overrides, mode, from_shell=False)
        except (HydraException, SettingError) as error:
            return explain(error) if isinstance(error, HydraException) else str(error)
        assert parents_are_right(config)
        return told(config)


def chosen(draw: random.Random) -> list[str]:
    """Overrides that are composed, or not, by chance."""
    groups = [f"{group}={draw.choice(of)}" for group, of in CHOICES.items() if group != "experiment"]
    groups.append(f"+experiment={draw.choice(CHOICES['experiment'])}")
    rare = ["hydra/launcher=fleet_slurm", "method=none_such", "~optimizer", "hydra.launcher.workers=2", "depht=1"]
    typed = [*draw.sample(groups, draw.randint(0, 3)), *draw.sample(VALUES, draw.randint(0, 3))]
    if draw.random() < 0.2:
        typed.append(draw.choice(rare))
    draw.shuffle(typed)
    return typed


@pytest.fixture
def once() -> ReadingOnce:
    return reading_once(own_loader())


@pytest.mark.parametrize("seed", range(2))
def test_compositions_in_any_order_are_hydras(once: ReadingOnce, seed: int) -> None:
    draw = random.Random(seed)
    typed = [chosen(draw) for _ in range(8)]
    for overrides in [*typed, *typed[::-1]]:  # found for the first time, and again
        mode = draw.choice([RunMode.RUN, RunMode.MULTIRUN])
        assert outcome(once, overrides, mode) == outcome(own_loader(), overrides, mode), overrides


def test_what_is_composed_is_nobody_elses(once: ReadingOnce) -> None:
    before = outcome(once, ["method=sep_up"])
    with own_hydra():
        config = once.load_configuration("config", ["method=sep_up"], RunMode.RUN)
    OmegaConf.set_struct(config, False)
    config.penalty.weight = 77
    config.hydra.sweeper.params = {"depth": "1,2"}
    del config["optimizer"]
    assert outcome(once, ["method=sep_up"]) == before


def test_the_users_own_folder_is_searched(once: ReadingOnce, tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    mine = tmp_path / "method" / "mine.yaml"
    mine.write_text("# @package _global_\ndefaults:\n  - /own: ${network}_like\n  - relu\n  - _self_\ndepth: 11\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mlp_like.yaml").write_text("# @package _global_\nwidth: 5\n")
    searched = f"hydra.searchpath=[file://{tmp_path}]"
    for overrides in (["method=mine"], [searched, "method=mine", "network=mlp"], [searched, "method=mine"]):
        assert outcome(once, overrides) == outcome(own_loader(), overrides), overrides
    assert isinstance(outcome(once, [searched, "method=mine", "network=mlp"]), tuple)


def test_a_file_at_two_places_is_merged_as_hydra_does(tmp_path: Path) -> None:
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice" / "one.yaml").write_text("weight: 3\n")
    (tmp_path / "method").mkdir()
    entries = "  - /twice@penalty: one\n  - /twice@rai: one\n  - _self_\n"
    (tmp_path / "method" / "both.yaml").write_text(f"# @package _global_\ndefaults:\n{entries}penalty: {{weight: 4}}\n")
    for _ in range(2):
        overrides = ["method=both"]
        assert outcome(reading_once(own_loader(tmp_path)), overrides) == outcome(own_loader(tmp_path), overrides)


@pytest.fixture
def every_kind() -> Iterator[Any]:
    config = OmegaConf.create({"a": [1, "${b}", {"c": None}], "b": "???", "d": {"e": 1.5}, "f": b"x", "g": Path("p")})
    config._set_flag("readonly", True)
    with own_hydra():
        yield [config, own_loader().load_configuration("config", [], RunMode.RUN)]


def test_a_copy_is_what_deepcopy_makes(every_kind: list[DictConfig | ListConfig]) -> None:
    for config in every_kind:
        assert told(copied(config)) == told(copy.deepcopy(config)) == told(config)
        assert parents_are_right(copied(config))


def test_the_time_is_that_of_each_composition(once: ReadingOnce) -> None:
    said = itertools.count()
    typed = ["seed=${now:%H-%M-%S}"]  # which Hydra asks for as it merges hydra.run.dir
    with own_hydra():
        OmegaConf.register_new_resolver("now", lambda _: next(said), use_cache=True, replace=True)
        try:
            seeds = [once.load_configuration("config", typed, RunMode.RUN).seed for _ in range(3)]
        finally:
            setup_globals()
    assert len({*seeds}) == 3 and next(said) > 3


def test_it_is_pickled_with_nothing_read(once: ReadingOnce) -> None:
    fresh = cloudpickle.dumps(once)
    before = outcome(once, ["depth=3"])
    assert len(cloudpickle.dumps(once)) == len(fresh)
    assert outcome(copy.deepcopy(once), ["depth=3"]) == before


def test_hydra_itself_is_as_it_was(once: ReadingOnce) -> None:
    def theirs() -> tuple[Any, ...]:
        listing, parsing = vars(defaults_list)["_create_interpolation_map"], vars(base)["parse"]
        found = vars(config_loader_impl)["create_defaults_list"], listing, parsing
        assert all(each.__module__.startswith(("hydra.", "omegaconf.")) for each in found)
        return found

    before = theirs()
    assert isinstance(outcome(once, []), tuple) and isinstance(outcome(once, ["method=none_such"]), str)
    assert theirs() == before
