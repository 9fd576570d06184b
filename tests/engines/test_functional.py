"""Stacked's way by torch.func: every choice on its list, and mates with numbers of their own, against the reference."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from contract import Case, assert_same_result, cloud, cloud_class, data_of, distances, train
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import Killed, State, train_kept

from jumpstart_exp import cell as cells
from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import SUPPORTED, Values, unsupported
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.stacked import engine as stacked
from jumpstart_exp.engines.stacked import functional
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.functional import FunctionalFleet
from jumpstart_exp.engines.stacked.paths import is_padded
from jumpstart_exp.settings import SettingError

Overrides = Mapping[str, Any]

BASE = {"depth": 4, "width": 3, "seed": 3, "precision": "float64", "network.activation": "silu"}
BASE |= {"optimizer.epochs": 12, "penalty.kind": "UP", "penalty.weight": 0.1, "penalty.aggregate": "mean"}

BESIDE: dict[str, Overrides] = {
    "network.init=looks_linear": {"network.activation": "crelu"},
    "network.farkas=True": {"network.activation": "relu"},
    "network.skip_scale=1": {"network.skip_every": 2},
    "network.skip_scale=zero": {"network.skip_every": 1},
    "network.skip_scale=fixup": {"network.skip_every": 3},
    "optimizer.nesterov=True": {"optimizer.name": "sgd", "optimizer.momentum": 0.9},
    "optimizer.schedule=step": {"optimizer.step_every": 2},
    "optimizer.name=rmsprop": {"optimizer.momentum": 0.5},
    "penalty.point_sides=above": {"penalty.upper_bound": 1.5},
    "optimizer.shuffle=True": {"optimizer.batch_size": 6},
    "optimizer.shuffle=False": {"optimizer.batch_size": 6},
    "network.init=hyperplane": {"width": 1, "network.norm": "none"},
}
"""What a choice needs beside it to act."""

NUMBERS: Sequence[Overrides] = (
    {"network.widths": [3, 5, 2]},
    {"network.widths": [3, 5, 2], "network.norm": "batch"},
    {"reset.every": 2, "reset.tau": 0.9},
    {"reset.every": 2, "reset.tau": 0.9, "network.activation": "crelu"},
    {"reset.every": 3, "reset.tau": 0.9, "network.activation": "prelu", "network.layout": "conv2x1"},
    {"optimizer.clip_norm": 0.05, "optimizer.weight_decay": 0.1, "optimizer.warmup_steps": 3},
    {"penalty.layer_weights": [1, 0, 2, 3], "penalty.balance": 0.2, "penalty.margin_above": 0.3},
    {"dropout.rate": 0.4, "dropout.anneal_epochs": 3, "network.activation": "crelu"},
    {"optimizer.batch_size": 6, "penalty.ties": "random", "dropout.rate": 0.4},
    {"network.skip_every": 2, "dropout.rate": 0.4},
)


def cell_of(overrides: Overrides, classes: int = 2) -> Cell:
    """The base's cell with other values of some fields.

    Raises:
        SettingError: such a cell is not allowed.
    """
    config: dict[str, dict[str, Any]] = {}
    for name, value in {**BASE, **overrides}.items():
        part, _, last = name.rpartition(".")
        config.setdefault(part, {})[last] = value
    parts = {name: kind(**config.get(name, {})) for name, kind in cells.SPECS.items()}
    return Cell(dataset=cloud(classes=classes), **parts, **config[""])


def choices() -> Iterator[str]:
    for name, values in SUPPORTED["stacked"].items():
        if isinstance(values, Values) and name not in ("dataset.augment", "precision"):
            yield from (f"{name}={value}" for value in values.listed)


def chosen(words: str) -> Overrides:
    name, _, value = words.partition("=")
    typed = {"True": True, "False": False}.get(value, value)
    return {**BESIDE.get(words, {}), name: typed}


def check_step(cell: Cell, steps: int) -> None:
    """Loss, penalty and gradients are the reference's; after steps but for what ten units in the last place do."""
    case = Case(cell)
    found = StackedEngine().probe(cell, case.data, steps)
    expected = EagerEngine().probe(cell, case.data, steps)
    apart = distances(found, expected, cell)
    assert max(apart.values()) <= (1e-9 if steps == 0 else 1e-7), apart


@pytest.mark.parametrize("words", list(choices()))
def test_every_choice_on_the_list_is_the_references(words: str) -> None:
    cell = cell_of(chosen(words))
    assert StackedEngine.refuses(cell) is None
    check_step(cell, 0)
    check_step(cell, 4)


@pytest.mark.parametrize("overrides", NUMBERS, ids=str)
def test_numbers_act_as_in_the_reference(overrides: Overrides) -> None:
    cell = cell_of(overrides)
    assert StackedEngine.refuses(cell) is None and not is_padded(cell)
    check_step(cell, 0)
    check_step(cell, 5)
    check_training([dataclasses.replace(cell, seed=seed) for seed in (1, 2)])


def check_training(mates: Sequence[Cell], data: Data | None = None) -> None:
    """The results of a fleet are the reference's."""
    assert len({StackedEngine.fleet_group(cell) for cell in mates}) == 1
    engines = StackedEngine(curve_every=5), EagerEngine(curve_every=5)
    by_key = [{result.cell.key: result for result in train(engine, mates, data)} for engine in engines]
    for cell in mates:
        own, reference = (results[cell.key] for results in by_key)
        assert own.status == "done", own.traceback
        assert_same_result(own, dataclasses.replace(reference, engine=own.engine), 1e-7)


@st.composite
def combinations(draw: st.DrawFn) -> Cell:
    """Some choices at once that a cell may have."""
    every = sorted(set(choices()))
    some = st.lists(st.sampled_from(every), min_size=2, max_size=5, unique_by=lambda words: words.split("=")[0])
    for _ in range(20):
        picked: dict[str, Any] = {}
        for words in draw(some):
            picked = {**chosen(words), **picked}
        try:
            cell = cell_of(picked | {"seed": draw(st.integers(0, 99))}, draw(st.sampled_from([2, 3])))
        except SettingError:
            continue
        if StackedEngine.refuses(cell) is None:
            return cell
    raise AssertionError("twenty combinations in a row are not allowed")


@settings(max_examples=10)
@given(combinations())
def test_choices_at_once_are_the_references(cell: Cell) -> None:
    check_step(cell, 0)


@pytest.mark.soak
@settings(max_examples=100)
@given(combinations())
def test_many_choices_at_once_are_the_references(cell: Cell) -> None:
    check_step(cell, 0)
    check_step(cell, 3)


def test_every_network_has_its_own_numbers() -> None:
    """λ, dropout, the optimizer's numbers, seed and initialisation, by mini-batches in an order of their own."""
    common = {"optimizer.batch_size": 6, "dropout.rate": 0.2, "optimizer.clip_norm": 1.0}
    mates = [
        cell_of(common),
        cell_of({**common, "seed": 4, "penalty.weight": 0.7}),
        cell_of({**common, "optimizer.lr": 0.1, "optimizer.beta1": 0.5, "optimizer.eps_rule": "keras"}),
        cell_of({**common, "dropout.rate": 0.7, "dropout.anneal_epochs": 5}),
        cell_of({**common, "network.init": "orthogonal"}),
        cell_of({**common, "optimizer.clip_norm": 0.01, "optimizer.weight_decay": 0.2}),
    ]
    check_training(mates)


def test_many_classes_and_the_penalty_alone() -> None:
    check_training([cell_of({"seed": seed}, classes=3) for seed in (0, 1)])
    check_training([cell_of({"task_loss": False, "optimizer.batch_size": 7, "seed": seed}) for seed in (0, 1)])


@dataclasses.dataclass(frozen=True)
class Numbers(cloud_class(2, 2)):  # type: ignore[misc]
    """Points with a number each."""

    task: ClassVar[str] = "regression"
    outputs: ClassVar[int] = 1


def test_a_regression_has_r2_for_accuracy() -> None:
    plain = data_of(cloud())
    targets = [x[:, 0].double() ** 2 + x[:, 1] for x in (plain.x_train, plain.x_val)]
    data = Data(plain.x_train, targets[0], plain.x_val, targets[1])
    mates = [
        dataclasses.replace(cell_of({"seed": seed, "optimizer.batch_size": 8}), dataset=Numbers()) for seed in (0, 1)
    ]
    check_training(mates, data)
    own = train(StackedEngine(curve_every=5), mates, data)[0]
    assert own.val_acc.last == pytest.approx(1 - own.val_loss.last / targets[1].var(correction=0).item(), rel=1e-9)


def test_pixels_are_features_of_an_mlp() -> None:
    """Images in 8 bits, scaled as a batch is taken."""
    random = np.random.default_rng(0)
    images = [torch.from_numpy(random.integers(256, size=(count, 1, 1, 2), dtype=np.uint8)) for count in (20, 4)]
    plain = data_of(cloud())
    data = Data(images[0], plain.y_train, images[1], plain.y_val, mean=(0.4,), std=(0.3,))
    check_training([cell_of({"seed": seed, "optimizer.batch_size": 8}) for seed in (0, 1)], data)


def test_which_way_is_taken_is_a_list() -> None:
    assert is_padded(cell_of({"network.activation": "relu"}))
    for overrides in (
        {"network.activation": "relu", "optimizer.batch_size": 5},
        {"network.activation": "relu", "penalty.layers": "all"},
        {"network.activation": "relu", "network.norm": "layer"},
        {"network.activation": "leaky_relu"},
    ):
        cell = cell_of(overrides)
        assert not is_padded(cell) and StackedEngine.refuses(cell) is None
        assert unsupported("padded", cell) is not None or "optimizer.batch_size" in overrides
    plain, other = cell_of({"network.activation": "relu"}), cell_of({})
    assert StackedEngine.fleet_group(plain) != StackedEngine.fleet_group(other)
    assert StackedEngine.fleet_group(other) == StackedEngine.fleet_group(cell_of({"seed": 9, "optimizer.lr": 0.3}))
    for overrides in ({"depth": 5}, {"width": 4}, {"penalty.balance": 0.3}, {"network.activation": "gelu"}):
        assert StackedEngine.fleet_group(other) != StackedEngine.fleet_group(cell_of(overrides)), overrides


def test_a_network_that_diverges_costs_only_itself() -> None:
    mates = [cell_of({"seed": 1}), cell_of({"seed": 2, "optimizer.lr": 1e308}), cell_of({"seed": 3})]
    results, alone = (
        sorted(train(engine, mates), key=lambda result: result.cell.seed)
        for engine in (StackedEngine(curve_every=5), EagerEngine(curve_every=5))
    )
    assert [result.status for result in results] == ["done", "diverged", "done"]
    assert results[1].diverged_epoch == alone[1].diverged_epoch
    for own, reference in zip(results[::2], alone[::2], strict=True):
        assert own.train_loss.best == pytest.approx(reference.train_loss.best, rel=1e-7)


def test_results_come_as_networks_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)
    mates = [cell_of({"seed": 1}), cell_of({"seed": 2, "optimizer.lr": 1e308})]
    said: list[tuple[str, int, float]] = []
    StackedEngine().train(
        mates,
        data_of(cloud()),
        on_result=lambda result: said.append(("result", result.cell.seed, 0.0)),
        on_progress=lambda cell, epochs: said.append(("progress", cell.seed, epochs)),
    )
    assert said[:2] == [("progress", 1, 0), ("progress", 2, 0)]
    first = said.index(("result", 2, 0.0))
    assert 0 < first < said.index(("progress", 1, 11)) < said.index(("result", 1, 0.0))


RESUMED: dict[str, Overrides] = {
    "mini-batches": {"optimizer.batch_size": 6, "dropout.rate": 0.3, "network.norm": "batch"},
    "prelu under a schedule": {"network.activation": "prelu", "optimizer.schedule": "cosine", "optimizer.name": "sgd"},
    "resets": {"reset.every": 5, "reset.tau": 0.9},
    "rprop over skips": {"optimizer.name": "rprop", "network.skip_every": 1, "network.skip_scale": "zero"},
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_fleet_goes_on_after_a_kill(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)
    mates = [cell_of({**RESUMED[name], "seed": seed}) for seed in (1, 2, 3)]
    checkpoints, data = Checkpoints(tmp_path, minutes=1e-9), data_of(cloud())
    expected, _ = train_kept(StackedEngine(curve_every=4), mates, data)

    def kill(key: str, state: State) -> bool:
        if state["epochs"] > 7:
            raise Killed
        return bool(state["epochs"] == 7)

    train_kept(StackedEngine(curve_every=4, checkpoints=checkpoints), mates, data, kill)
    found, progress = train_kept(StackedEngine(curve_every=4, checkpoints=checkpoints), mates, data)
    for cell in mates:
        assert progress[cell.key][:2] == [0, 7]
        assert_same_result(found[cell.key], expected[cell.key], 0.0)


def test_a_fleet_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    mates, tried = [cell_of({"seed": seed}) for seed in range(5)], list[int]()
    expected = train(StackedEngine(), mates)

    class Limited(FunctionalFleet):
        def __init__(self, cells: Sequence[Cell], *arguments: Any, **named: Any) -> None:
            tried.append(len(cells))
            if len(cells) > 2:
                raise MemoryError
            super().__init__(cells, *arguments, **named)

    monkeypatch.setattr(functional, "FunctionalFleet", Limited)
    for own, reference in zip(train(StackedEngine(), mates), expected, strict=True):
        assert_same_result(own, reference)
    assert tried == [5, 3, 2, 1, 2]


def test_networks_are_evaluated_in_parts_where_all_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    mates = [cell_of({"seed": seed, "network.norm": "batch"}) for seed in range(5)]
    expected = train(StackedEngine(), mates)
    monkeypatch.setitem(functional._NUMBERS_AT_ONCE, "cpu", 2 * 20 * 12)
    for own, reference in zip(train(StackedEngine(), mates), expected, strict=True):
        assert_same_result(own, reference)


@pytest.mark.parametrize("overrides", [{}, {"optimizer.batch_size": 25, "network.norm": "layer"}], ids=["full", "mini"])
def test_the_memory_estimate_covers_what_the_backward_pass_keeps(overrides: Overrides) -> None:
    """Bytes that a step's graph saves, with the parameters and the slots, are at most the estimate."""
    mates = [cell_of({**overrides, "seed": seed, "depth": 12, "width": 8}) for seed in range(8)]
    mates = [dataclasses.replace(cell, dataset=cloud(100)) for cell in mates]
    fleet = FunctionalFleet(mates, data_of(cloud(100)), torch.device("cpu"))
    saved: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        saved[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: held.append(value) or keep(value), lambda value: value):
        fleet.step(0, 0, fleet.draws.orders(0, 100)[:, :25] if overrides else None)
    own = 8 * (2 + len(fleet.optimizer.slots)) * len(fleet.weights)
    estimate = sum(map(StackedEngine.estimate_memory_bytes, mates))
    assert sum(saved.values()) + own <= estimate <= 6 * (sum(saved.values()) + own)
    assert math.isfinite(StackedEngine.estimate_seconds(mates[0])) and StackedEngine.estimate_seconds(mates[0]) > 0
