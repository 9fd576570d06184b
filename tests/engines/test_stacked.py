"""The stacked engine against the reference, in fleets of mixed sizes, and what only a fleet can get wrong."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines import replay
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.probe import Probe
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.engines.stacked import engine as stacked
from jumpstart_exp.engines.stacked import fleet as padded
from jumpstart_exp.engines.stacked import layers as stack_layers
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.fleet import Fleet
from jumpstart_exp.engines.stacked.random_bits import draws_of_rows
from jumpstart_exp.networks.build import build
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.randomness import Stream, random_bits
from jumpstart_exp.result import METRICS, Result
from jumpstart_exp.settings import setting
from jumpstart_exp.specs.network import NetworkSpec

CPU = torch.device("cpu")
SMALL = {"n_samples": 24, "noise": 0.1, "random_state": 1}  # 20 training points, 9 of class 1; 4 validation points
SIZES = [(4, 4), (1, 1), (7, 2), (3, 3), (9, 4), (1, 4)]
"""Depth and width of the networks of a mixed fleet: not in order of depth, some alone in their last layers."""

Arrays = Mapping[str, npt.NDArray[np.float64]]


pytestmark = pytest.mark.usefixtures("one_thread")


def make_cell(**config: Any) -> Cell:
    config = {"dataset": SMALL, "precision": "float64", **config}
    return Cell.from_config({**config, "optimizer": {"epochs": 12, **config.get("optimizer", {})}}, "test")


def mixed_cells(sizes: Sequence[tuple[int, int]] = SIZES, **config: Any) -> list[Cell]:
    return [make_cell(depth=d, width=w, seed=seed, **config) for seed, (d, w) in enumerate(sizes)]


def data_of(cell: Cell) -> Data:
    return load(cell.dataset, Path("no files needed"))


def train(engine: EagerEngine | StackedEngine, cells: Sequence[Cell], data: Data | None = None) -> list[Result]:
    """The results in the order of the cells, each cell's exactly one."""
    found: dict[str, Result] = {}

    def keep(result: Result) -> None:
        assert result.cell.key not in found
        found[result.cell.key] = result

    engine.train(cells, data or data_of(cells[0]), on_result=keep, on_progress=lambda cell, epochs: None)
    assert len(found) == len(cells)
    return [found[cell.key] for cell in cells]


def distances(found: Arrays, expected: Arrays) -> dict[str, float]:
    """Largest difference of every tensor, relative to its largest entry.

    A tensor of hardly anything is measured against the largest of all: what remains of sums that cancel (the two
    sides of a constraint with ρ = ½, a bias that batch norm takes out again) is rounding noise.
    """
    assert found.keys() == expected.keys()
    largest = max(np.abs(value).max() for value in expected.values())
    apart = {}
    for name, value in expected.items():
        taken_out = name.startswith("hidden") and name.endswith("bias") and "norms.0.weight" in expected
        scale = max(np.abs(value).max(), (1.0 if taken_out else 1e-4) * largest, 1e-300)
        apart[name] = float(np.abs(found[name] - value).max() / scale)
    return apart


def check_step(found: Probe, expected: Probe, allowed: Mapping[str, float] | None = None) -> None:
    """Losses and gradients of a step agree to 1e-9, or where that is more to what a tensor is allowed."""
    allowed = allowed or {}
    for name, apart in distances(found.gradients, expected.gradients).items():
        assert apart <= max(1e-9, allowed.get(name, 0.0)), (name, apart)
    tolerance = max(1e-9, allowed.get("losses", 0.0))
    assert found.task_loss == pytest.approx(expected.task_loss, rel=tolerance)
    assert found.penalty == pytest.approx(expected.penalty, rel=tolerance, abs=1e-12)


def check_fleet(cells: Sequence[Cell], steps: int = 0, data: Data | None = None) -> None:
    """The step of every network of a fleet is the reference's; after some steps as far as that is determined.

    One unit in the last place of the initial weights changes the reference by a tenth of what is allowed. Biases of
    zero stay: the smallest number above zero would wake units that are exactly dead.
    """
    data = data or data_of(cells[0])
    probes = Fleet(cells, data, CPU).probe(steps)
    for cell, found in zip(cells, probes, strict=True):
        expected = EagerEngine().probe(cell, data, steps)
        if steps == 0:
            check_step(found, expected)
            assert {name: value.tolist() for name, value in found.parameters.items()} == {
                name: value.tolist() for name, value in expected.parameters.items()
            }
            continue
        of_parameters = distances(found.parameters, expected.parameters)
        if max(of_parameters.values()) <= 1e-9 and is_same_step(found, expected):
            continue
        initial = {name: value.detach().numpy() for name, value in build(cell).named_parameters()}
        above = {name: np.where(value == 0, value, np.nextafter(value, np.inf)) for name, value in initial.items()}
        moved = EagerEngine().probe(cell, data, steps, above)
        own = distances(moved.gradients, expected.gradients)
        own["losses"] = max(
            abs(getattr(moved, name) - getattr(expected, name)) / (abs(getattr(expected, name)) or 1.0)
            for name in ("task_loss", "penalty")
        )
        # under batch norm Adam makes steps of the biases' rounding noise
        least = 1e-7 if cell.network.norm == "batch" else 0.0
        allowed = {name: max(least, 10 * value) for name, value in own.items()}
        check_step(found, expected, allowed)
        own_parameters = distances(moved.parameters, expected.parameters)
        for name, apart in of_parameters.items():
            assert apart <= max(1e-9, least, 10 * own_parameters[name]), (name, apart, own_parameters[name])


def is_same_step(found: Probe, expected: Probe) -> bool:
    with contextlib.suppress(AssertionError):
        check_step(found, expected)
        return True
    return False


UP = {"kind": "UP", "weight": 0.1}
BATCH = {"norm": "batch"}
CONV = {"layout": "conv2x1"}
CASES: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu_bn": {"network": BATCH},
    "relu_bn norm fields": {"network": {**BATCH, "norm_eps": 0.1, "norm_momentum": 0.3}},
    "sep_u": {"penalty": {"kind": "U", "weight": 0.1}},
    "sep_p": {"penalty": {"kind": "P", "weight": 0.1}},
    "sep_up": {"penalty": UP},
    "sep_l": {"penalty": {"kind": "L", "weight": 0.1}},
    "sep_up under batch norm": {"penalty": UP, "network": BATCH},
    "mean": {"penalty": {**UP, "aggregate": "mean"}},
    "l2": {"penalty": {**UP, "aggregate": "l2"}},
    "l2 all met": {"penalty": {"kind": "L", "aggregate": "l2", "margin_above": 1e-9, "margin_below": -1e-9}},
    "sum_sq": {"penalty": {**UP, "aggregate": "sum_sq"}},
    "shared ties": {"penalty": {**UP, "ties": "shared"}},
    "random ties": {"penalty": {**UP, "ties": "random"}},
    "balance": {"penalty": {**UP, "balance": 0.8}},
    "margins": {"penalty": {**UP, "margin_above": 0.3, "margin_below": -2.0}},
    "constraints only": {"penalty": UP, "task_loss": False},
    "constraints only under batch norm": {"penalty": UP, "network": BATCH, "task_loss": False},
    "keras": {"penalty": UP, "optimizer": {"eps": 1e-3, "eps_rule": "keras"}},
    "large ε of torch": {"penalty": UP, "optimizer": {"eps": 1e-3}},
    "betas": {"optimizer": {"lr": 0.003, "beta1": 0.5, "beta2": 0.9}},
    "Nesterov, clipped, cosine": {
        "penalty": {**UP, "schedule": "cosine"},
        "optimizer": {
            "name": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 0.01,
            "clip_norm": 0.2,
            "schedule": "cosine",
            "warmup_steps": 5,
        },
    },
    "rmsprop, falling": {
        "network": CONV,
        "optimizer": {"name": "rmsprop", "momentum": 0.5, "eps": 1e-3, "schedule": "step", "step_every": 3},
    },
    # of units alone: where the last layers are dead, two units' biases can be equal but for rounding, and a point's tie
    "adamw, bounded": {
        "penalty": {"kind": "U", "weight": 0.1, "upper_bound": 1.5, "sides": "above"},
        "optimizer": {"name": "adamw", "weight_decay": 0.2},
    },
    "dropout": {"penalty": UP, "dropout": {"rate": 0.5, "anneal_epochs": 6}},
    "dropout under batch norm": {"network": BATCH, "dropout": {"rate": 0.3, "anneal_epochs": 100}},
    "kaiming": {"network": {"init": "kaiming_uniform"}, "penalty": UP},
    "conv2x1": {"network": CONV},
    "conv2x1 sep_up": {"network": CONV, "penalty": UP},
    "conv2x1 as published": {
        "network": CONV,
        "penalty": {**UP, "aggregate": "sum_sq", "scope": "position", "ties": "shared"},
        "optimizer": {"eps": 1e-7, "eps_rule": "keras"},
    },
    "conv2x1 batch norm and dropout": {
        "network": {**BATCH, **CONV},
        "penalty": {**UP, "scope": "position"},
        "dropout": {"rate": 0.5, "anneal_epochs": 6},
    },
}


@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("name", CASES)
def test_a_mixed_fleets_steps_are_the_references(name: str, steps: int) -> None:
    check_fleet(mixed_cells(**CASES[name]), steps)


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
@pytest.mark.parametrize("ties", ["single", "shared", "random"])
@pytest.mark.parametrize("kind", ["U", "P", "UP", "L"])
def test_every_penalty_where_nothing_and_where_everything_is_tied(kind: str, ties: str, layout: str) -> None:
    """From zero weights every maximum and minimum is 0, reached by all."""
    scopes = ["channel", "position"] if layout == "conv2x1" else ["channel"]
    for scope, aggregate, init in itertools.product(
        scopes, ["sum", "mean", "l2", "sum_sq"], ["glorot_uniform", "zero"]
    ):
        penalty = {**UP, "kind": kind, "ties": ties, "aggregate": aggregate, "scope": scope, "balance": 0.51}
        check_fleet(mixed_cells([(2, 3), (5, 2), (1, 1)], network={"layout": layout, "init": init}, penalty=penalty))


@pytest.mark.parametrize("scope", ["channel", "position"])
@pytest.mark.parametrize("ties", ["single", "shared", "random"])
@pytest.mark.parametrize("kind", ["UP", "L"])
@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
def test_ties_of_a_few(layout: str, kind: str, ties: str, scope: str) -> None:
    """Weights and points are small integers: some entries are tied, and arithmetic is exact in any order."""
    penalty = {
        **UP,
        "kind": kind,
        "ties": ties,
        "scope": scope,
        "balance": 0.7,
        "margin_above": 50,
        "margin_below": -50,
    }
    cells = mixed_cells([(2, 3), (4, 2), (3, 4), (1, 1)], network={"layout": layout}, penalty=penalty)
    rng = np.random.default_rng(5)
    y = data_of(cells[0]).y_train
    x = torch.from_numpy(rng.integers(-1, 2, size=(20, 2)).astype(float))
    data = Data(x, y, x[:4], y[:4])
    fleet = Fleet(cells, data, CPU)
    initial: dict[int, dict[str, Any]] = {}
    for index, place in enumerate(fleet.places):
        views = fleet.stack.named(fleet.stack.weights, index)
        initial[place] = {name: rng.integers(-1, 2, size=view.shape).astype(float) for name, view in views.items()}
        for name, view in views.items():
            view.copy_(torch.from_numpy(initial[place][name]))
    for place, found in enumerate(fleet.probe(0)):
        check_step(found, EagerEngine().probe(cells[place], data, 0, initial[place]))


def test_a_deep_fleet_with_dead_layers() -> None:
    """Fifty layers: where the points have become one, exact ties go to the first point."""
    penalty = {**UP, "balance": 0.7, "ties": "single"}
    cells = mixed_cells([(50, 2), (50, 4), (60, 3), (3, 4)], penalty=penalty, dataset={})
    check_fleet(cells)
    check_fleet(mixed_cells([(50, 4), (60, 3), (3, 4)], penalty={**UP, "kind": "L"}, dataset={}))


def test_every_network_has_its_own_numbers() -> None:
    """λ, ρ, margins, layer weights, task loss, Adam, batch norm and dropout may differ within a fleet."""
    common = {"network": BATCH, "dropout": {"rate": 0.3, "anneal_epochs": 9}, "penalty": UP}
    cells = [
        make_cell(depth=3, width=4, seed=1, **common),
        make_cell(depth=2, width=3, seed=2, **{**common, "penalty": {**UP, "weight": 0.5, "balance": 0.9}}),
        make_cell(depth=5, width=3, seed=3, **{**common, "penalty": {**UP, "margin_above": 0.2, "margin_below": -3.0}}),
        make_cell(depth=3, width=4, seed=4, **{**common, "penalty": {**UP, "layer_weights": [2.5, 0.0, 0.5]}}),
        make_cell(depth=2, width=4, seed=5, task_loss=False, **common),
        make_cell(depth=2, width=4, seed=6, optimizer={"lr": 0.1, "beta1": 0.5, "beta2": 0.7}, **common),
        make_cell(depth=1, width=2, seed=7, optimizer={"eps": 1e-2, "eps_rule": "keras"}, **common),
        make_cell(depth=3, width=4, seed=8, **{**common, "network": {**BATCH, "norm_eps": 0.2, "norm_momentum": 0.5}}),
        make_cell(depth=3, width=4, seed=9, **{**common, "dropout": {"rate": 0.8, "anneal_epochs": 15}}),
    ]
    assert len({StackedEngine.fleet_group(cell) for cell in cells}) == 1
    check_fleet(cells)
    check_fleet(cells, 7)
    check_results(train(StackedEngine(curve_every=1), cells), train(EagerEngine(curve_every=1), cells))


def numbers(result: Result) -> dict[str, float]:
    """Every number that a result has but what a clock or the process says."""
    found: dict[str, float] = {}
    for name in METRICS:
        metric = getattr(result, name)
        found |= {f"{name} last": metric.last, f"{name} best": metric.best}
    found |= {"penalty_start": result.penalty_start, "penalty_last": result.penalty_last}
    for when, seen in (("start", result.census_start), ("last", result.census_last)):
        for name, values in dataclasses.asdict(seen).items() if seen else ():
            layers = values if isinstance(values, tuple) else [values]
            found |= {f"{name} {when} {layer}": value for layer, value in enumerate(layers)}
    for row in result.curve:
        found |= {f"curve {row.epoch} {name}": value for name, value in dataclasses.asdict(row).items()}
    return {name: value for name, value in found.items() if value is not None}


def check_results(found: Sequence[Result], expected: Sequence[Result]) -> None:
    for own, reference in zip(found, expected, strict=True):
        assert own.cell == reference.cell
        for name in ("status", "epochs_run", "diverged_epoch", "n_params", "error"):
            assert getattr(own, name) == getattr(reference, name), (name, own.cell.title())
        assert [getattr(own, name).best_epoch for name in METRICS] == [
            getattr(reference, name).best_epoch for name in METRICS
        ]
        # under batch norm Adam makes steps of the biases' rounding noise
        tolerance = 1e-6 if own.cell.network.norm == "batch" else 1e-8
        assert numbers(own) == pytest.approx(numbers(reference), rel=tolerance, abs=1e-12)


MEASURED = {
    "relu": {},
    "sep_up": {"penalty": UP},
    "zero_init": {"penalty": {**UP, "balance": 0.51}, "network": {"init": "zero"}, "dropout": {"rate": 0.9}},
    "batch norm": {"network": BATCH, "dropout": {"rate": 0.3, "anneal_epochs": 5}},
    "conv2x1": {"network": CONV, "penalty": {**UP, "aggregate": "mean"}},
    "conv2x1 batch norm": {"network": {**BATCH, **CONV}, "penalty": {**UP, "aggregate": "l2"}},
}


@pytest.mark.parametrize("curve_every", [None, 5])
@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_is_what_the_reference_measures(name: str, curve_every: int | None) -> None:
    cells = mixed_cells(optimizer={"lr": 0.05, "epochs": 12}, **MEASURED[name])
    expected = train(EagerEngine(curve_every=curve_every), cells)
    assert len({result.train_acc.best_epoch for result in expected}) > 1, "cases where accuracies move"
    check_results(train(StackedEngine(curve_every=curve_every), cells), expected)
    assert [row.epoch for row in expected[0].curve] == ([1, 5, 10, 12] if curve_every else list(range(1, 13)))


@dataclasses.dataclass(frozen=True)
class ThreeClasses(DatasetSpec):
    """Twelve points of three classes with three features; the last three validate."""

    name: str = "three classes"
    task: ClassVar[str] = "classification"
    classes: ClassVar[int] = 3
    features: ClassVar[int] = 3

    def full_sizes(self) -> tuple[int, int]:
        return 9, 3


def test_three_classes_and_three_features() -> None:
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(12, 3))), torch.arange(12) % 3
    data = Data(x[:9], y[:9], x[9:], y[9:])
    cells = [
        dataclasses.replace(cell, dataset=ThreeClasses())
        for cell in mixed_cells(penalty=UP, dropout={"rate": 0.2}, optimizer={"lr": 0.05})
    ]
    check_fleet(cells, 0, data)
    check_fleet(cells, 20, data)
    check_results(train(StackedEngine(), cells, data), train(EagerEngine(), cells, data))


@pytest.mark.parametrize("name", ["sep_up", "conv2x1 batch norm"])
def test_fleet_mates_and_order_change_nothing(name: str) -> None:
    cells = mixed_cells(optimizer={"lr": 0.05, "epochs": 12}, **MEASURED[name])
    together = train(StackedEngine(curve_every=1), cells)
    check_results(train(StackedEngine(curve_every=1), cells[::-1])[::-1], together)
    alone = [result for cell in cells for result in train(StackedEngine(curve_every=1), [cell])]
    check_results(alone, together)


@pytest.mark.parametrize("penalty", [{"kind": "none"}, UP, {**UP, "aggregate": "l2"}])
def test_a_diverged_network_harms_no_other(penalty: dict[str, Any]) -> None:
    """Whatever blows up, at once or later, does so at the reference's epoch, and the others are what they were."""
    healthy = mixed_cells(penalty=penalty)
    wild = [
        make_cell(depth=depth, width=4, seed=seed, penalty=penalty, optimizer={"lr": 10 ** (digits / (depth + 1))})
        for depth, seed, digits in [
            (1, 1, 290),
            (1, 1, 320),
            (3, 2, 308),
            (3, 1, 310),
            (8, 2, 308),
            (8, 1, 306),
            (8, 1, 308),
            (20, 1, 320),
        ]
    ]
    cells = [*wild[:5], *healthy, *wild[5:]]
    found = train(StackedEngine(curve_every=1), cells)
    expected = train(EagerEngine(curve_every=1), cells)
    outcomes = [(result.status, result.diverged_epoch, result.epochs_run) for result in found]
    assert outcomes == [(result.status, result.diverged_epoch, result.epochs_run) for result in expected]
    assert {"done", "diverged"} == {result.status for result in found}
    assert len({result.diverged_epoch for result in found} - {None}) > 1, "cases that diverge later, too"
    of_healthy = [result for result in found if result.cell in healthy]
    check_results(of_healthy, train(StackedEngine(curve_every=1), healthy))
    check_results(of_healthy, [result for result in expected if result.cell in healthy])
    for result in found:
        if result.status == "diverged":
            assert result.penalty_last is None and result.census_last is None and result.train_loss.last is None
            assert all(row.epoch < result.diverged_epoch for row in result.curve)


@pytest.mark.parametrize(("margin", "epochs", "diverged"), [(7.6e18, 1, 1), (7.6e18, 2, 2), (1e19, 2, 1)])
def test_a_penalty_beyond_all_numbers_is_a_divergence(margin: float, epochs: int, diverged: int) -> None:
    """Squares near the largest float32: a step pushes their sum over it, while losses and weights stay finite.

    After the last step the survey meets it, otherwise the next epoch's training does; or it is so from the start.
    """
    penalty = {"kind": "UP", "aggregate": "sum_sq", "weight": 1e-30, "margin_above": margin}
    cells = [
        make_cell(
            depth=1,
            width=2,
            seed=seed,
            precision="float32",
            penalty=penalty,
            optimizer={"lr": 1e18, "epochs": epochs},
        )
        for seed in range(6)
    ]
    found, expected = (
        [
            (result.diverged_epoch, result.epochs_run, result.train_acc.best_epoch, [row.epoch for row in result.curve])
            for result in train(engine, cells)
        ]
        for engine in (StackedEngine(curve_every=1), EagerEngine(curve_every=1))
    )
    assert found == expected
    assert (diverged, diverged - 1, None if diverged == 1 else 1, []) in expected


def test_an_infinite_parameter_behind_a_dead_unit_is_found() -> None:
    """A bias of −∞ makes a unit dead, and no loss tells."""
    cells = mixed_cells([(3, 4), (2, 4)])
    fleet = Fleet(cells, data_of(cells[0]), CPU, 1)
    fleet.train_for(0.0)
    fleet.stack.named(fleet.stack.weights, 1)["hidden.1.bias"][0] = -math.inf
    outcomes = {}
    while fleet.is_training:
        outcomes |= fleet.train_for(0.0)
    assert outcomes[0].diverged_epoch is None and outcomes[1].diverged_epoch == 2


def test_float32_follows_the_reference_for_a_while() -> None:
    cells = mixed_cells(penalty=UP, precision="float32", optimizer={"epochs": 5})
    for found, expected in zip(train(StackedEngine(), cells), train(EagerEngine(), cells), strict=True):
        assert found.status == expected.status == "done"
        assert numbers(found) == pytest.approx(numbers(expected), rel=1e-3, abs=1e-4)


def refuse_large(monkeypatch: pytest.MonkeyPatch, most: int, error: type[Exception]) -> list[int]:
    """Fleets above a size fail when they have been allocated; the sizes that were tried."""
    tried: list[int] = []

    class Limited(Fleet):
        def __init__(self, cells: Sequence[Cell], *arguments: Any, **named: Any) -> None:
            tried.append(len(cells))
            super().__init__(cells, *arguments, **named)
            if len(cells) > most:
                raise error("no room")

    monkeypatch.setattr(padded, "Fleet", Limited)
    return tried


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_fleet_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    cells = mixed_cells(penalty=UP)
    expected = train(StackedEngine(), cells)
    tried = refuse_large(monkeypatch, 2, error)
    check_results(train(StackedEngine(), cells), expected)
    assert tried == [6, 3, 2, 1, 3, 2, 1]


def test_a_cell_that_does_not_fit_alone_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = refuse_large(monkeypatch, 0, torch.OutOfMemoryError)
    found = train(StackedEngine(), mixed_cells()[:3])
    assert [(result.status, result.error) for result in found] == [("failed", "OutOfMemoryError: no room")] * 3
    assert tried == [3, 2, 1, 1, 1]


def test_what_was_handed_over_is_not_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory ends in the middle, after a network diverged and was reported."""
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)
    step, sizes = Fleet.step, []

    def failing(self: Fleet, dropout: bool) -> None:
        if len(self.cells) > 3 and self.epochs_done == 8:
            sizes.append(len(self.cells))
            raise torch.OutOfMemoryError("later")
        step(self, dropout)

    cells = [*mixed_cells(), make_cell(optimizer={"lr": 1e308})]
    expected = train(StackedEngine(), cells)
    monkeypatch.setattr(Fleet, "step", failing)
    check_results(train(StackedEngine(), cells), expected)
    assert sizes == [7]


def test_only_the_guilty_cell_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = mixed_cells()
    expected = train(StackedEngine(), cells)

    def failing(cell: Cell) -> RectangularMLP:
        if cell == cells[2]:
            raise ZeroDivisionError("this one")
        return build(cell)

    monkeypatch.setattr(stack_layers, "build", failing)
    found = train(StackedEngine(), cells)
    assert [result.status for result in found] == ["done", "done", "failed", "done", "done", "done"]
    assert found[2].error == "ZeroDivisionError: this one"
    assert ", in failing\n" in (found[2].traceback or "")
    check_results([*found[:2], *found[3:]], [*expected[:2], *expected[3:]])


def test_what_the_caller_raises_is_the_callers() -> None:
    reported = []

    def stop(result: Result) -> None:
        reported.append(result)
        raise RuntimeError("the disk is full")

    cells = mixed_cells()
    with pytest.raises(RuntimeError, match="the disk is full"):
        StackedEngine().train(cells, data_of(cells[0]), on_result=stop, on_progress=lambda cell, epochs: None)
    assert len(reported) == 1


def test_progress_begins_at_zero_and_follows_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)
    cells = [*mixed_cells(), make_cell(optimizer={"lr": 1e308})]
    seen: dict[str, list[int]] = {cell.key: [] for cell in cells}
    StackedEngine().train(
        cells,
        data_of(cells[0]),
        on_result=lambda result: seen[result.cell.key].append(-1),
        on_progress=lambda cell, epochs: seen[cell.key].append(epochs),
    )
    healthy = [*range(12), -1]
    *others, diverged = seen.values()
    assert others == [healthy] * len(mixed_cells())
    assert diverged[0] == 0 and diverged[-1] == -1 and len(diverged) < len(healthy)


def test_the_seconds_of_a_fleet_are_shared_out() -> None:
    cells = mixed_cells([(1, 1), (9, 4)])
    small, large = train(StackedEngine(), cells)
    assert 0 < small.seconds < large.seconds
    assert (small.engine, small.device) == ("stacked", "cpu") and small.started and small.peak_memory_bytes


def is_flushed() -> bool:
    return bool((torch.tensor(1e-320, dtype=torch.float64) * 1).item() == 0)


@pytest.mark.parametrize("flush", [False, True])
def test_the_process_is_left_as_it_was(flush: bool) -> None:
    within = []
    torch.set_flush_denormal(flush)
    torch.set_num_threads(2)
    try:
        cell = make_cell()
        StackedEngine().train(
            [cell], data_of(cell), on_result=lambda result: None, on_progress=lambda *_: within.append(is_flushed())
        )
        assert is_flushed() == flush and torch.get_num_threads() == 2 and torch.is_grad_enabled()
        assert within == [flush] * len(within)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("units", [1, 4, 7])
def test_the_draws_are_those_of_the_package(units: int) -> None:
    seeds, layers, points = [0, 7, 2**32 - 1], [0, 3, 99], [0, 5, 84]
    found = draws_of_rows(
        Stream.DROPOUT, torch.tensor(seeds), torch.tensor(4321), torch.tensor(layers), torch.tensor(points), units
    )
    for row, (seed, layer) in enumerate(zip(seeds, layers, strict=True)):
        expected = random_bits(Stream.DROPOUT, seed, 4321, [layer], points, units)[0].T
        assert found[row].tolist() == expected.tolist()


def test_what_may_be_trained_together() -> None:
    base = make_cell(depth=3, width=9, penalty=UP)
    group = StackedEngine.fleet_group(base)
    for config in (
        {"seed": 5},
        {"depth": 80},
        {"width": 16},
        {"network": {"init": "zero"}},
        {"penalty": {**UP, "weight": 1e-3, "balance": 0.7, "margin_above": 0.5}},
        {"optimizer": {"lr": 0.5, "eps_rule": "keras"}},
        {"task_loss": False},
    ):
        assert StackedEngine.fleet_group(make_cell(**{"depth": 3, "width": 9, "penalty": UP, **config})) == group
    for config in (
        {"width": 8},
        {"width": 17},
        {"network": CONV},
        {"network": BATCH},
        {"penalty": {"kind": "none"}},
        {"penalty": {**UP, "kind": "U"}},
        {"penalty": {**UP, "ties": "shared"}},
        {"penalty": {**UP, "aggregate": "l2"}},
        {"dropout": {"rate": 0.1}},
        {"optimizer": {"epochs": 13}},
        {"precision": "float32"},
    ):
        assert StackedEngine.fleet_group(make_cell(**{"depth": 3, "width": 9, "penalty": UP, **config})) != group


def test_what_is_refused() -> None:
    assert StackedEngine.refuses(make_cell()) is None
    refused = {
        "network.layout='cnn'": make_cell(network={"layout": "cnn"}, dataset={"name": "mnist"}),
        "no ε below 1e-30": make_cell(precision="float32", optimizer={"eps": 1e-40}),
    }
    for words, cell in refused.items():
        assert words in (StackedEngine.refuses(cell) or "")


def test_a_fleet_is_as_large_as_the_free_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [make_cell(depth=depth, width=25) for depth in (100, 50, 1)]
    needed = StackedEngine.estimate_memory_bytes(cells[0])
    monkeypatch.setattr(stacked, "available_memory_bytes", lambda device="cpu": 100 * needed)
    monkeypatch.setattr(stacked, "cpu_count", lambda: 5)
    assert StackedEngine.fleet_limit(cells, "cpu") == 15
    assert StackedEngine.fleet_limit(cells[2:], "cpu") > 15
    monkeypatch.setattr(stacked, "available_memory_bytes", lambda device="cpu": 0)
    assert StackedEngine.fleet_limit(cells, "cpu") == 1
    monkeypatch.setattr(stacked, "available_memory_bytes", lambda device: 40 * needed if device == "cuda" else 0)
    assert StackedEngine.fleet_limit(cells, "cuda") == 30


@pytest.mark.parametrize("name", ["relu", "sep_up", "dropout under batch norm", "conv2x1 batch norm and dropout"])
def test_the_memory_estimate_covers_a_fleet(name: str) -> None:
    """What a fleet's tensors hold, counted, is at most the estimate and at least half of it."""
    cells = [make_cell(depth=12, width=8, seed=seed, **CASES[name]) for seed in range(16)]
    fleet = Fleet(cells, data_of(cells[0]), CPU)
    storages = {}
    for part in (
        fleet.stack,
        fleet.stack.weights,
        fleet.stack.gradients,
        fleet.stack.norm,
        fleet.optimizer,
        fleet.penalty,
    ):
        for value in vars(part).values() if part is not None else ():
            if isinstance(value, torch.Tensor):
                storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    held = sum(storages.values())
    assert held <= 1.1 * sum(map(StackedEngine.estimate_memory_bytes, cells)) <= 2.5 * held


class Recorder(TorchDispatchMode):
    """A CUDA graph on the CPU: notes every call on tensors, and repeats the calls on the very same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "asks the device for a number"
        assert func is not torch.ops.aten.nonzero.default, "a shape that depends on numbers"
        assert func is not torch.ops.aten.lift_fresh.default, "a constant from the host"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(
                result if isinstance(result, tuple | list) else [result],
                again if isinstance(again, tuple | list) else [again],
                strict=True,
            ):
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Torch's CUDA graphs, imitated on the CPU; those that were made."""
    made: list[Recorder] = []

    class Stream:
        def __init__(self, device: torch.device) -> None: ...

        def wait_stream(self, other: "Stream") -> None: ...

    @contextlib.contextmanager
    def capture(graph: Recorder, stream: Stream) -> Iterator[None]:
        made.append(graph)
        before = snapshot()
        with graph:
            yield
        before.restore()

    class RecordedState:
        """A capture computes nothing: what the calls have changed is taken back."""

        def __init__(self, fleet: Fleet) -> None:
            parts = (fleet.stack, fleet.optimizer, fleet.ledger, fleet.stack.norm)
            tensors = [v for part in parts if part for v in vars(part).values() if isinstance(v, torch.Tensor)]
            tensors += [fleet.stack.weights.flat, *fleet.optimizer.slots.values()]
            self.values = [(tensor, tensor.clone()) for tensor in tensors]

        def restore(self) -> None:
            for tensor, value in self.values:
                tensor.copy_(value)

    fleets: list[Fleet] = []
    train_for = Fleet.train_for

    def noting(self: Fleet, seconds: float) -> Any:
        fleets.append(self)
        if self.replayed is None:
            self.replayed = Replayed(CPU)
        return train_for(self, seconds)

    def snapshot() -> RecordedState:
        return RecordedState(fleets[-1])

    monkeypatch.setattr(Fleet, "train_for", noting)
    for name, imitation in {
        "Stream": Stream,
        "current_stream": lambda: Stream(CPU),
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "CUDAGraph": Recorder,
        "graph": capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, imitation)
    monkeypatch.setattr(replay, "shared_stream", Stream)
    return made


@pytest.mark.parametrize("name", [*MEASURED, "random ties", "dropout"])
def test_a_step_can_be_captured_and_replayed(name: str, graphs: list[Recorder]) -> None:
    """Nothing in a step is decided on the host, and all that changes from step to step is in its tensors."""
    cells = mixed_cells(optimizer={"lr": 0.05, "epochs": 12}, **{**CASES, **MEASURED}[name])
    found = train(StackedEngine(curve_every=4), cells)
    anneals = 3 < cells[0].dropout.anneal_epochs < 12 and cells[0].dropout.rate > 0
    assert len(graphs) == (2 if anneals else 1)
    check_results(found, train(EagerEngine(curve_every=4), cells))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [*MEASURED, "random ties", "conv2x1 as published"])
def test_a_gpu_trains_as_the_cpu_does(name: str) -> None:
    cells = mixed_cells(optimizer={"lr": 0.05, "epochs": 12}, **{**CASES, **MEASURED}[name])
    check_results(train(StackedEngine("cuda", curve_every=4), cells), train(StackedEngine(curve_every=4), cells))


def test_cells_that_differ_in_a_field_to_come_are_no_mates() -> None:
    """Whatever a fleet does not keep for each network by itself has to be equal in it."""

    @dataclasses.dataclass(frozen=True)
    class Wider(NetworkSpec):
        skip_every: int = setting(0, low=0, neutral=0)

    cells = [Cell(depth=3, network=Wider(skip_every=every)) for every in (0, 2)]
    assert len({StackedEngine.fleet_group(cell) for cell in cells}) == 2
