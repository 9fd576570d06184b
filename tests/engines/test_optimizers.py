"""Every optimizer in every engine against torch's own, used as its documentation says, in float64."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from contract import ENGINES, Case, cloud, distances, reference, train_one
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, StepLR

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.optimizers import OPTIMIZERS, optimizer
from jumpstart_exp.engines.schedules import rate_factor
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.fleet import Fleet
from jumpstart_exp.engines.stacked.optimizers import optimizer_of
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.networks.build import build
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

STEPS = 100
ALL: dict[str, Callable[..., Engine]] = {"eager": EagerEngine, **ENGINES}

Build = Callable[[list[Tensor]], torch.optim.Optimizer]

CASES: dict[str, tuple[dict[str, Any], Build]] = {
    "adam": ({"lr": 0.01}, lambda p: torch.optim.Adam(p, 0.01)),
    "adam, coupled decay": (
        {"lr": 0.01, "beta1": 0.8, "weight_decay": 0.02},
        lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.999), weight_decay=0.02),
    ),
    "adamw": ({"name": "adamw", "lr": 0.01}, lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0)),
    "adamw, decay": (
        {"name": "adamw", "lr": 0.01, "weight_decay": 0.3},
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.3),
    ),
    "sgd": ({"name": "sgd", "lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1)),
    "sgd, momentum, decay": (
        {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01),
    ),
    "sgd, Nesterov, decay": (
        {"name": "sgd", "lr": 0.05, "momentum": 0.7, "nesterov": True, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, 0.05, 0.7, weight_decay=0.01, nesterov=True),
    ),
    "rmsprop": (
        {"name": "rmsprop", "lr": 0.003, "alpha": 0.9, "eps": 1e-6},
        lambda p: torch.optim.RMSprop(p, 0.003, 0.9, 1e-6),
    ),
    "rmsprop, momentum, decay": (
        {"name": "rmsprop", "lr": 0.003, "momentum": 0.5, "weight_decay": 0.02},
        lambda p: torch.optim.RMSprop(p, 0.003, weight_decay=0.02, momentum=0.5),
    ),
    "rprop": ({"name": "rprop", "lr": 0.01}, lambda p: torch.optim.Rprop(p, 0.01)),
}
"""Settings of a cell, and torch's optimizer for them."""

SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[torch.optim.Optimizer, int], list[LRScheduler]]]] = {
    "constant": ({}, lambda o, batches: []),
    "cosine": ({"schedule": "cosine"}, lambda o, batches: [CosineAnnealingLR(o, 120 * batches)]),
    "step": (
        {"schedule": "step", "step_every": 30, "step_factor": 0.3},
        lambda o, batches: [StepLR(o, 30 * batches, 0.3)],
    ),
    "warm-up, then cosine": (
        {"schedule": "cosine", "warmup_steps": 20},
        # LinearLR goes from 1/20 to 1 in 19 steps
        lambda o, batches: [LinearLR(o, 1 / 20, 1, 19), CosineAnnealingLR(o, 120 * batches)],
    ),
    "warm-up": ({"warmup_steps": 7}, lambda o, batches: [LinearLR(o, 1 / 7, 1, 6)]),
}
"""Settings of a cell of 120 epochs, and torch's schedulers for them, which are told of every step."""


def cell_of(settings: dict[str, Any], **fields: Any) -> Cell:
    spec = OptimizerSpec(**{"epochs": 120, **settings})
    given = {"dataset": cloud(30), "depth": 2, "width": 5, "precision": "float64", "seed": 4}
    return Cell(**{**given, "optimizer": spec, **fields})


def by_torch(
    cell: Cell, make: Build, schedulers: Callable[[torch.optim.Optimizer, int], list[LRScheduler]]
) -> dict[str, Tensor]:
    """The parameters after so many steps of torch's optimizer on the cell's network."""
    network, data = build(cell), Case(cell).data
    x, y = data.x_train, data.y_train.double()
    descent = make(list(network.parameters()))
    rates = schedulers(descent, 1)
    for _ in range(STEPS):
        descent.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(network(x)[0][:, 0], y).backward()
        if cell.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), cell.optimizer.clip_norm)
        descent.step()
        for rate in rates:
            rate.step()
    return {name: value.detach() for name, value in network.named_parameters()}


def check(engine: Engine, cell: Cell, expected: dict[str, Tensor]) -> None:
    found = engine.probe(cell, Case(cell).data, STEPS).parameters
    before = dict(build(cell).named_parameters())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.allclose(found[name], value.numpy(), rtol=1e-9, atol=1e-11), name
        assert not np.allclose(found[name], before[name].detach().numpy(), rtol=1e-3), f"{name} has hardly moved"


@pytest.mark.parametrize("name", CASES)
def test_a_hundred_steps_are_torchs(name: str) -> None:
    settings, make = CASES[name]
    # where a deeper network's gradients cancel but for rounding, Rprop takes its sign
    cell = cell_of(settings, depth=1 if name == "rprop" else 2)
    expected = by_torch(cell, make, SCHEDULES["constant"][1])
    for engine in ALL.values():
        check(engine(), cell, expected)


@pytest.mark.parametrize("name", ["adam, coupled decay", "adamw, decay", "sgd, Nesterov, decay", "rmsprop"])
def test_clipped_and_scheduled_steps_are_torchs(name: str) -> None:
    """Every optimizer with another schedule, its gradient's norm clipped at some steps and at others not."""
    settings, make = CASES[name]
    schedule, schedulers = list(SCHEDULES.values())[1 + list(CASES).index(name) % (len(SCHEDULES) - 1)]
    cell = cell_of({**settings, **schedule, "clip_norm": 0.3})
    norms = []
    genuine = torch.nn.utils.clip_grad_norm_
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *own: norms.append(genuine(*own)))
        expected = by_torch(cell, make, schedulers)
    assert min(norms) < 0.3 < max(norms)
    for engine in ALL.values():
        check(engine(), cell, expected)


def test_every_optimizer_is_among_the_cases() -> None:
    assert {settings.get("name", "adam") for settings, _ in CASES.values()} == {*OPTIMIZERS}


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(name: str, batches: int) -> None:
    settings, schedulers = SCHEDULES[name]
    spec = OptimizerSpec(epochs=120, **settings)
    descent = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    rates = schedulers(descent, batches)
    for step in range(1, 120 * batches + 1):
        rate = 0.5 * rate_factor(spec, step, 120 * batches, batches)
        assert rate == pytest.approx(descent.param_groups[0]["lr"], rel=1e-9, abs=1e-12), step
        descent.step()
        for own in rates:
            own.step()


def test_mini_batches_count_steps_for_the_cosine_and_epochs_for_the_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of({"epochs": 4, "batch_size": 12, "schedule": "step", "step_every": 2, "step_factor": 0.5, "lr": 0.1})
    rates = []
    genuine = Training.step

    def step(training: Training, total: Tensor) -> None:
        genuine(training, total)
        rates.append(training.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(Training, "step", step)
    assert train_one(EagerEngine(), cell).status == "done"
    assert rates == [0.1] * 6 + [0.05] * 6
    rates.clear()
    train_one(
        EagerEngine(), dataclasses.replace(cell, optimizer=dataclasses.replace(cell.optimizer, schedule="cosine"))
    )
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 12)) for t in range(12)], rel=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        [
            {"weight_decay": 0.1, "clip_norm": 0.1},
            {"lr": 0.003, "clip_norm": 5.0},
            {"warmup_steps": 9, "clip_norm": 1.0},
        ],
        [
            {"name": "adamw", "weight_decay": 0.1},
            {"name": "adamw", "weight_decay": 0.3, "eps_rule": "keras"},
            {"name": "adamw", "weight_decay": 0.2, "lr": 0.1},
        ],
        [
            {"name": "sgd", "momentum": 0.9, "schedule": "step", "step_every": 4},
            {
                "name": "sgd",
                "momentum": 0.5,
                "schedule": "step",
                "step_every": 5,
                "step_factor": 0.5,
                "warmup_steps": 3,
            },
        ],
        [{"name": "rmsprop", "alpha": 0.9}, {"name": "rmsprop", "alpha": 0.5, "eps": 0.1}],
        [{"name": "rprop"}, {"name": "rprop", "lr": 0.1}],
    ],
    ids=str,
)
def test_networks_of_a_fleet_have_their_own_numbers(settings: list[dict[str, Any]]) -> None:
    """Of other depths and widths, so with padding; a norm is of a network's own gradients."""
    cells = [cell_of(own, depth=2 + i, width=3 + 2 * i, seed=i) for i, own in enumerate(settings)]
    assert len({StackedEngine.fleet_group(dataclasses.replace(cell, width=4)) for cell in cells}) == 1
    fleet = Fleet(cells, Case(cells[0]).data, torch.device("cpu")).probe(20)
    for cell, together in zip(cells, fleet, strict=True):
        alone = EagerEngine().probe(cell, Case(cell).data, 20)
        assert max(distances(together, alone, cell).values()) < 1e-9


def test_momentum_and_clipping_make_fleets_of_their_own() -> None:
    cells = [cell_of({"name": "sgd", **own}) for own in ({}, {"momentum": 0.5}, {"clip_norm": 1.0})]
    assert len({StackedEngine.fleet_group(cell) for cell in cells}) == 3
    # without decay it is adam by its key, but not where a mate's decay is added to the gradient
    cells = [cell_of({"name": "adamw"}), cell_of({"weight_decay": 0.1})]
    assert len({StackedEngine.fleet_group(cell) for cell in cells}) == 2


@pytest.mark.parametrize("engine", ALL)
def test_decay_acts_on_what_the_loss_does_not_reach(engine: str) -> None:
    """On the penalty alone nothing else moves the output layer."""
    penalty = PenaltySpec(kind="UP", weight=0.1)
    cell = cell_of({"weight_decay": 0.5, "name": "sgd", "lr": 0.1}, penalty=penalty, task_loss=False)
    before = build(cell).output.weight.detach().numpy()
    found = ALL[engine]().probe(cell, Case(cell).data, 10).parameters["output.weight"]
    assert np.allclose(found, before * (1 - 0.1 * 0.5) ** 10, rtol=1e-12)


def test_a_gradient_that_is_no_number_leaves_none_under_rprop() -> None:
    """Torch's sign of it is 0: the parameter would stay as it is."""
    parameter = torch.ones(3, dtype=torch.float64, requires_grad=True)
    spec = OptimizerSpec(name="rprop")
    gradient = torch.tensor([math.nan, 0.0, -2.0], dtype=torch.float64)
    parameter.grad = gradient.clone()
    OPTIMIZERS["rprop"].build([parameter], spec).step()
    weights = torch.ones(3, dtype=torch.float64)
    descent = optimizer_of([cell_of({"name": "rprop"})], weights, gradient.clone(), lambda: torch.zeros(3).long())
    descent.step(torch.tensor(0))
    for found in (parameter.detach(), weights):
        assert found.isnan().tolist() == [True, False, False]
        assert found[1:].tolist() == [1.0, 1.01]


def test_a_gradient_that_is_no_number_spoils_its_own_network_alone() -> None:
    """Clipped by the norm of each network's own gradients."""
    cells = [cell_of({"name": "sgd", "lr": 1.0, "clip_norm": 1.0}, seed=seed) for seed in range(2)]
    weights, owners = torch.zeros(4, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    gradients = torch.tensor([math.nan, 3.0, 1.0, 4.0], dtype=torch.float64)
    optimizer_of(cells, weights, gradients, lambda: owners).step(torch.tensor(0))
    assert weights[[0, 2]].isnan().all()
    assert weights[[1, 3]].tolist() == pytest.approx([-0.6, -0.8], rel=1e-6)


def test_slots_are_torchs() -> None:
    for settings, make in CASES.values():
        parameter = torch.ones(2, requires_grad=True)
        descent = make([parameter])
        parameter.grad = torch.ones(2)
        descent.step()
        kept = {name for name, value in descent.state[parameter].items() if name != "step" and value is not None}
        assert kept == {*optimizer(OptimizerSpec(**settings)).slots}


# λ's schedule


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_lambda_falls_as_its_schedule_says(schedule: str) -> None:
    """Against plain gradient descent with the formula's λ; what is recorded stays before λ."""
    penalty = PenaltySpec(kind="UP", weight=0.3, schedule=schedule)
    cell = cell_of({"name": "sgd", "lr": 0.05, "epochs": 12}, penalty=penalty, depth=3, width=4)
    network, data, measured = build(cell), Case(cell).data, SeparationPenalty("UP")
    x, y = data.x_train, data.y_train.double()
    seen = []
    for step in range(12):
        factor = {"constant": 1.0, "cosine": (1 + math.cos(math.pi * step / 12)) / 2, "linear": 1 - step / 12}[schedule]
        logits, pre_activations = network(x)
        value = measured(pre_activations)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y) + 0.3 * factor * value
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        seen.append(value.item())
        for engine in ALL.values() if step in (0, 7, 11) else ():
            probe = engine().probe(cell, data, step)
            assert probe.penalty == pytest.approx(value.item(), rel=1e-9)
            for (name, _), gradient in zip(network.named_parameters(), gradients, strict=True):
                assert np.allclose(probe.gradients[name], gradient.numpy(), rtol=1e-8, atol=1e-11), (step, name)
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= 0.05 * gradient
    for engine in ALL.values():
        result = train_one(engine(curve_every=1), cell)
        assert [result.penalty_start, *(row.penalty for row in result.curve[:-1])] == pytest.approx(seen, rel=1e-9)


def test_lambda_falls_by_mini_batches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    penalty = PenaltySpec(kind="U", weight=2.0, schedule="linear")
    cell = cell_of({"epochs": 2, "batch_size": 10}, penalty=penalty)
    weights = []
    genuine = Training.loss

    def loss(training: Training, *given: Any) -> Any:
        found = genuine(training, *given)
        weights.append(found.weights["separation"])
        return found

    monkeypatch.setattr(Training, "loss", loss)
    assert train_one(EagerEngine(), cell).status == "done"
    assert weights == pytest.approx([2.0 * (1 - t / 6) for t in range(6)])


# The penalty's other settings


def penalties() -> list[PenaltySpec]:
    """Every side, with a bound and without one, every kind and tie, drawn together."""
    random = np.random.default_rng(7)
    found = []
    while len(found) < 30:
        kind = str(random.choice(["U", "P", "UP", "UP", "L"]))
        sides = [str(side) for side in random.choice(["both", "above", "below"], 2)]
        found.append(
            PenaltySpec(
                kind=kind,
                weight=0.3,
                balance=float(random.choice([0.5, 0.3])),
                margin_above=float(random.choice([1.0, 0.3])),
                aggregate=str(random.choice(["balanced", "balanced", "sum", "mean", "l2", "sum_sq"])),
                sides=sides[0],
                point_sides=sides[1] if kind == "UP" else None,
                upper_bound=[None, 1.2][int(random.integers(2))],
                ties=str(random.choice(["single", "single", "shared", "random"])),
                scope=str(random.choice(["channel", "position"])),
                layer_weights=[None, (1.0, 2.0, 0.5)][int(random.integers(2))],
            )
        )
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_sides_bounds_and_balance_are_the_references(engine: str) -> None:
    """Against `eager`, whose formula is NumPy's (tests/test_penalty.py); widths with padding in the vectors."""
    for number, penalty in enumerate(penalties()):
        layout = ["mlp", "mlp", "conv2x1"][number % 3]
        width = [3, 5, 18][number // 3 % 3]
        cell = cell_of({}, depth=3, width=width, penalty=penalty, network=NetworkSpec(layout=layout), seed=number)
        if number % 2:
            cell = dataclasses.replace(cell, dataset=dataclasses.replace(cell.dataset, is_coarse=True))
        case = Case(cell, ["drawn", "coarse"][number % 2])
        found = ENGINES[engine]().probe(case.cell, case.data, 0, case.initial())
        assert max(distances(found, reference(case, 0).probe, case.cell).values()) < 1e-9, case
