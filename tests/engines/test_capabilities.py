"""Every choice is trained or refused by every engine: no value of any field silently trains as another one."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest

from jumpstart_exp import cell as cells
from jumpstart_exp.cell import Cell, CellField, cell_fields, fields_of
from jumpstart_exp.config.sources import with_sources
from jumpstart_exp.data import DATASETS, DatasetSpec
from jumpstart_exp.data.base import Split
from jumpstart_exp.data.cifar10 import Cifar10
from jumpstart_exp.data.loading import load
from jumpstart_exp.description import OWN_FUNCTIONS
from jumpstart_exp.engines import ENGINES, choose_engines
from jumpstart_exp.engines.capabilities import SUPPORTED, Values, unsupported
from jumpstart_exp.result import Result
from jumpstart_exp.settings import SettingError, setting
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.rai import RaiSpec

Overrides = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Thumbnails(Cifar10):
    """CIFAR-10 with all its settings, in small: images of one colour each, so that positions are tied."""

    classes: ClassVar[int] = 3
    features: ClassVar[int] = 48
    image: ClassVar[tuple[int, int, int] | None] = (3, 4, 4)

    def full_sizes(self) -> tuple[int, int]:
        return 12, 6

    def content_in(self, data_dir: Path) -> str | None:
        return None

    def load(self, data_dir: Path) -> Split:
        random = np.random.default_rng(0)
        x_train, x_val = (
            np.broadcast_to(random.integers(256, size=(count, 3, 1, 1), dtype=np.uint8), (count, 3, 4, 4))
            for count in self.full_sizes()
        )
        return x_train, np.arange(12) % 3, x_val, np.arange(6) % 3


_ALL = {"depth": 2, "width": 3, "seed": 1, "optimizer.epochs": 3, "optimizer.eps": 0.01, "penalty.weight": 0.5}
_MOONS = {"dataset.n_samples": 30, "penalty.kind": "UP"}
BASES: dict[str, tuple[type[DatasetSpec], Overrides]] = {
    "leaky_relu": (DATASETS["moons"], {**_MOONS, "network.activation": "leaky_relu", "network.norm": "layer"}),
    "prelu": (DATASETS["moons"], {**_MOONS, "network.activation": "prelu", "network.init": "he_normal"}),
    "sigmoid": (DATASETS["moons"], {**_MOONS, "network.activation": "sigmoid"}),
    "tat": (DATASETS["moons"], {**_MOONS, "network.activation": "tat", "network.tat_eta": 0.3}),
    "crelu": (DATASETS["moons"], {**_MOONS, "network.activation": "crelu", "network.init": "looks_linear"}),
    "skips": (DATASETS["moons"], {**_MOONS, "depth": 5, "network.skip_every": 2, "network.skip_scale": "zero"}),
    "resets": (DATASETS["moons"], {**_MOONS, "width": 6, "reset.every": 1, "reset.tau": 1.0}),
    "regulariser": (
        DATASETS["moons"],
        {**_MOONS, "regulariser.function": "own_functions:squared_mean", "regulariser.settings": {"scale": 2}}
        | {"regulariser.weight": 0.5},
    ),
    "relaxed": (
        DATASETS["moons"],
        {**_MOONS, "depth": 4, "network.activation": "logistic", "rai.weight": 0.5, "rai.schedule": "geometric"},
    ),
    "a CNN's regulariser": (
        Thumbnails,
        {"network.layout": "cnn", "regulariser.function": "own_functions:squared_mean", "regulariser.weight": 0.5},
    ),
    "conv2x1": (
        DATASETS["moons"],
        {"dataset.n_samples": 30, "network.layout": "conv2x1", "network.norm": "batch", "penalty.kind": "UP"}
        | {"penalty.layer_weights": [1, 2], "dropout.rate": 0.5},
    ),
    "zero": (
        DATASETS["moons"],
        {"dataset.n_samples": 30, "network.init": "zero", "penalty.kind": "UP", "penalty.balance": 0.51}
        | {"dropout.rate": 0.3},
    ),
    "sgd": (
        DATASETS["moons"],
        {"dataset.n_samples": 30, "network.init": "zero", "penalty.kind": "UP", "penalty.balance": 0.6}
        | {"penalty.margin_above": 0.1, "penalty.margin_below": -0.1, "penalty.upper_bound": 0.2}
        | {"optimizer.name": "sgd", "optimizer.lr": 0.5, "optimizer.epochs": 4, "optimizer.momentum": 0.5}
        | {"optimizer.schedule": "step", "optimizer.step_every": 1, "optimizer.step_factor": 0.5}
        | {"optimizer.clip_norm": 1, "optimizer.warmup_steps": 2},
    ),
    "rmsprop": (
        DATASETS["moons"],
        {"dataset.n_samples": 30, "network.init": "zero", "penalty.kind": "UP", "penalty.balance": 0.6}
        | {"optimizer.name": "rmsprop", "optimizer.alpha": 0.9, "optimizer.step_every": 1},
    ),
    "rows": (DATASETS["moons"], {**_MOONS, "optimizer.row_limit": 0.5, "optimizer.row_penalty": 0.1}),
    "cnn": (
        Thumbnails,
        {"network.layout": "cnn", "penalty.kind": "UP", "penalty.margin_above": 2, "penalty.margin_below": -2}
        | {"optimizer.batch_size": 4, "dataset.augment": "flip_crop"},
    ),
    "spirals": (
        DATASETS["spirals"],
        {"dataset.n_samples": 30, "dataset.noise": 0.1, "network.init": "zero", "penalty.kind": "UP"}
        | {"penalty.balance": 0.51, "dropout.rate": 0.3},
    ),
    "hyperplane": (
        DATASETS["strip"],
        {"dataset.n_samples": 30, "width": 1, "network.init": "hyperplane", "network.activation": "sigmoid"},
    ),
}
"""Of every base its dataset and what differs from the defaults: every field acts in one of them."""


ONLY: dict[str, set[str]] = {
    "leaky_relu": {"network.leaky_slope"},
    "prelu": {"network.prelu_start"},
    "sigmoid": {"network.sigmoid_gamma"},
    "tat": {"network.tat_eta"},
    "crelu": {"network.init"},
    "skips": {"network.skip_every", "network.skip_scale"},
    "resets": {"reset.every", "reset.tau"},
    "regulariser": {"regulariser.function", "regulariser.weight", "regulariser.settings"},
    "relaxed": {f"rai.{field.name}" for field in dataclasses.fields(RaiSpec)},
    "a CNN's regulariser": {"penalty.kind"},
    "rmsprop": {f"optimizer.{field.name}" for field in dataclasses.fields(OptimizerSpec)},
    "rows": {"optimizer.row_layers"},
    "spirals": {f"dataset.{field.name}" for field in dataclasses.fields(DATASETS["spirals"])},
    "hyperplane": {
        *(f"dataset.{field.name}" for field in dataclasses.fields(DATASETS["strip"])),
        *("network.init_norm", "network.init_at", "network.init_gain"),
    },
}
"""Of bases that are there for some fields alone: which; all other fields have their effect in the rest."""


def cell_of(base: str, overrides: Overrides) -> Cell:
    """The base's cell with other values of some fields.

    Raises:
        SettingError: such a cell is not allowed.
    """
    dataset, own = BASES[base]
    config: dict[str, dict[str, Any]] = {}
    for name, value in {**_ALL, **own, **overrides}.items():
        part, _, last = name.rpartition(".")
        config.setdefault(part, {})[last] = value
    parts = {name: kind(**config.get(name, {})) for name, kind in cells.SPECS.items()}
    return with_sources([Cell(dataset=dataset(**config.get("dataset", {})), **parts, **config[""])])[0]


def values_of(field: CellField, has: Any) -> list[Any]:
    """All that may be chosen; of a number another one than the base has."""
    kind = str(field.type)
    if field.rules["choices"]:
        return list(field.rules["choices"])
    if field.rules["functions"]:
        return ["own_functions:weight_norm"]
    if field.rules["mapping"]:
        return [{"scale": 3}]
    if "bool" in kind:
        return [False, True]
    if "tuple" in kind:
        return [[1.0, 3.0]]
    if "int" in kind:
        return [4 if has is None else has + 2]
    return [0.8 * has if has else 0.2]


def value_of(cell: Cell, name: str) -> Any:
    part, _, last = name.rpartition(".")
    return getattr(getattr(cell, part) if part else cell, last)


def cells_of_field(base: str, name: str) -> dict[str, Cell]:
    """The base's cells with another value of one field, by the value; those that are not allowed are left out."""
    found = {}
    for value in values_of(FIELDS[name], value_of(cell_of(base, {}), name)):
        with contextlib.suppress(SettingError):
            found[str(value)] = cell_of(base, {name: value})
    return found


def cases() -> Iterator[tuple[str, str, dict[str, Cell]]]:
    """Base, field and its cells, where the field acts: choices in every base, numbers in the first."""
    numbers: set[str] = set()
    for base in BASES:
        own = cell_of(base, {})
        for name, value in own.description().items():
            is_tried = name not in ("dataset", *numbers) and name in ONLY.get(base, FIELDS)
            found = cells_of_field(base, name) if is_tried else {}
            if found and (value is not None or any(cell.key != own.key for cell in found.values())):
                yield base, name, found
                if not FIELDS[name].rules["choices"]:
                    numbers.add(name)


FIELDS = cell_fields()
TABLES = {"sklearn", "csv", "npz"}
CASES = list(cases())


def refusal(engine: str, cell: Cell) -> str | None:
    try:
        choose_engines(engine, "cpu", [cell])
    except SettingError as error:
        return str(error)
    return None


@cache
def fingerprint(engine: str, cell: Cell) -> tuple[Any, ...]:
    """The second step, and the result of the cell's training but for times and memory."""
    trainer, data = ENGINES[engine](), load(cell.dataset, Path())
    probe = trainer.probe(cell, data, 1)
    results: list[Result] = []
    trainer.train([cell], data, on_result=results.append, on_progress=lambda *_: None)
    assert results[0].status == "done", results[0].error
    passing = ("cell", "seconds", "started", "peak_memory_bytes")
    told = [getattr(results[0], field.name) for field in dataclasses.fields(Result) if field.name not in passing]
    tensors = [(name, of[name].tobytes()) for of in (probe.gradients, probe.parameters) for name in sorted(of)]
    return probe.task_loss, probe.penalty, tuple(tensors), *told


def test_every_value_of_every_field_is_tried() -> None:
    tried: dict[str, set[str]] = {}
    for _, name, found in CASES:
        tried.setdefault(name, set()).update(found)
    # of one unit only, of which other initialisations coincide (block_orthogonal is he_normal): its base has it
    tried["network.init"].add(cell_of("hyperplane", {}).network.init)
    of_tables = {f"dataset.{field.name}" for name in TABLES for field in dataclasses.fields(DATASETS[name])}
    of_others = {name for each in DATASETS.keys() - TABLES for name in fields_of(each)}
    # what they hold is compared where they are loaded
    left_out = {"dataset", "dataset.content", *OWN_FUNCTIONS.values()} | (of_tables - of_others)
    assert tried.keys() == FIELDS.keys() - left_out
    assert all(tried[name] == {*FIELDS[name].rules["choices"]} for name in tried if FIELDS[name].rules["choices"])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_cells_of_different_keys_train_differently_or_are_refused(engine: str, base: str) -> None:
    own = cell_of(base, {})
    changed = {"the base": own}
    changed |= {f"{name}={value}": cell for at, name, found in CASES if at == base for value, cell in found.items()}
    seen: dict[tuple[Any, ...], str] = {}
    keys: set[str] = set()
    for words, cell in changed.items():
        if cell.key not in keys and refusal(engine, cell) is None:
            keys.add(cell.key)
            result = fingerprint(engine, cell)
            assert result not in seen, f"{words} and {seen[result]} have two keys and train the same network"
            seen[result] = words
    assert own.key in keys or refusal(engine, own)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_fields_without_effect_change_nothing(engine: str, base: str) -> None:
    own = cell_of(base, {})
    idle = {
        name: values_of(FIELDS[name], value_of(own, name))[-1]
        for name, value in own.description().items()
        if value is None and {cell.key for cell in cells_of_field(base, name).values()} == {own.key}
    }
    changed = cell_of(base, idle)
    assert changed != own
    assert changed.key == own.key
    if refusal(engine, own) is None:
        assert fingerprint(engine, changed) == fingerprint(engine, own)


@pytest.mark.parametrize(
    ("base", "name"), sorted({(base, name) for base, name, _ in CASES if FIELDS[name].rules["choices"]})
)
def test_a_choice_that_nobody_knows_is_refused(base: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    widen(name, "fancy", monkeypatch)
    known = cell_of(base, {})
    of_cells = ("network.layout", "network.norm", "penalty.sides", "penalty.point_sides", "rai.schedule")
    if name in (*of_cells, "optimizer.name", "optimizer.schedule"):
        with pytest.raises(SettingError, match=r"[a-z._]+='fancy' is not allowed"):
            assert cell_of(base, {name: "fancy"}).key
        return
    cell = cell_of(base, {name: "fancy"})
    assert cell.key != known.key
    if name == "dataset.scaling":
        with pytest.raises(SettingError, match=r"dataset\.scaling='fancy' is not allowed"):
            load(cell.dataset, Path())
        return
    for engine in ENGINES:
        told = unsupported(engine, cell)
        assert refusal(engine, cell)
        assert told is not None
        if unsupported(engine, known) is None:
            assert f"{name}='fancy'" in told


def widen(name: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow one more choice of a field."""
    part, _, last = name.rpartition(".")
    for owner in {"": [Cell], "dataset": [*DATASETS.values(), Thumbnails]}.get(part) or [cells.SPECS[part]]:
        for field in dataclasses.fields(owner):
            if field.name == last:
                choices = (*(own for own in field.metadata["choices"] if own != choice), choice)
                monkeypatch.setattr(field, "metadata", MappingProxyType({**field.metadata, "choices": choices}))


@pytest.mark.parametrize("part", cells.SPECS)
def test_a_field_that_no_engine_has_heard_of_is_refused(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cell_of("zero", {})
    fields = [("fancy", int, setting(0, low=0, neutral=0))]
    spec = dataclasses.make_dataclass("Fancy", fields, bases=(cells.SPECS[part],), frozen=True)
    monkeypatch.setitem(cells.SPECS, part, spec)
    neutral, fancy = cell_of("zero", {f"{part}.fancy": 0}), cell_of("zero", {f"{part}.fancy": 1})
    assert neutral.key == before.key != fancy.key
    for engine in ENGINES:
        assert f"{part}.fancy=1: it does not know this setting" in (refusal(engine, fancy) or "")
        assert fingerprint(engine, neutral) == fingerprint(engine, before)


def test_a_field_of_the_cell_itself_that_no_engine_has_heard_of_is_refused() -> None:
    fields = [("fancy", int, setting(0, low=0, neutral=0))]
    fancy = dataclasses.make_dataclass("FancyCell", fields, bases=(Cell,), frozen=True)
    for engine in ENGINES:
        assert unsupported(engine, fancy(fancy=0)) is None
        assert "fancy=1: it does not know this setting" in (unsupported(engine, fancy(fancy=1)) or "")


def test_lists_name_all_fields_and_choices_and_no_others() -> None:
    of_datasets = {name for name in FIELDS if name.startswith("dataset")} - {"dataset.augment"}
    assert SUPPORTED.keys() == ENGINES.keys()
    assert SUPPORTED["eager"].keys() == FIELDS.keys() - of_datasets
    for supported in SUPPORTED.values():
        assert supported.keys() <= FIELDS.keys()
    for name, field in FIELDS.items():
        listed = [supported[name] for supported in SUPPORTED.values() if name in supported]
        values = {value for one in listed if isinstance(one, Values) for value in one.listed}
        if name not in of_datasets:
            assert values == {*(field.rules["choices"] or ((False, True) if field.type is bool else ()))}, name
