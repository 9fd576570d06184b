import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy_training import Array, Epoch, NumpyTraining

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines.eager import forward
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.eager.random_draws import batches, tie_draws
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.result import METRICS, Metric, Result
from jumpstart_exp.specs.network import NetworkSpec

CPU = torch.device("cpu")
SMALL = {"n_samples": 24, "noise": 0.1, "random_state": 1}  # 20 training points, 9 of class 1; 4 validation points
NEAR_TIE = 1e-12
"""Two unequal candidates for a maximum, or points under batch norm, this close are told apart by rounding alone."""


pytestmark = pytest.mark.usefixtures("one_thread")


def make_cell(method: str = "test", **config: Any) -> Cell:
    return Cell.from_config(config, method)


def data_of(cell: Cell) -> Data:
    return load(cell.dataset, Path("no files needed"))


def train(cells: Cell | Sequence[Cell], curve_every: int | None = None) -> list[Result]:
    """The results of a fleet in the order in which they came."""
    fleet = [cells] if isinstance(cells, Cell) else cells
    results: list[Result] = []
    EagerEngine(curve_every=curve_every).train(
        fleet, data_of(fleet[0]), on_result=results.append, on_progress=lambda cell, epochs: None
    )
    return results


def what_was_computed(result: Result) -> Result:
    """The result without what a clock or the process says."""
    return dataclasses.replace(result, seconds=0.0, started="", peak_memory_bytes=None)


def named_parameters(training: Training) -> dict[str, Array]:
    return {name: value.detach().numpy().copy() for name, value in training.network.named_parameters()}


def reference_of(cell: Cell, *, moved: bool = False) -> NumpyTraining:
    """The reference from the cell's initial weights, or from weights one unit in the last place above them."""
    initial = named_parameters(Training(cell, data_of(cell), CPU, None))
    if moved:
        # a bias of zero stays: the smallest number above it would wake units that are exactly dead
        initial = {name: np.where(value == 0, value, np.nextafter(value, np.inf)) for name, value in initial.items()}
    return NumpyTraining(cell, initial, data_of(cell))


def distances(found: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, float]:
    """Largest difference of every tensor, relative to its largest entry.

    A tensor of hardly anything is measured against the largest of all: what remains of sums that cancel (the two
    sides of a constraint with ρ = ½, a bias that batch norm takes out again) is rounding noise.
    """
    assert found.keys() == expected.keys()
    largest = max(np.abs(value).max() for value in expected.values())
    apart = {}
    for name, value in expected.items():
        taken_out = name.startswith("hidden") and name.endswith("bias") and "norms.0.weight" in expected
        scale = max(np.abs(value).max(), (1.0 if taken_out else 1e-4) * largest)
        apart[name] = float(np.abs(found[name] - value).max() / scale)
    return apart


# What the methods, the two layouts and every field of penalty, optimizer and dropout compute.
UP = {"kind": "UP", "weight": 0.1}
BATCH = {"norm": "batch"}
CASES: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu 1×1": {"depth": 1, "width": 1},
    "relu_bn": {"network": BATCH},
    "relu_bn width 1": {"network": BATCH, "width": 1},
    "relu_bn norm fields": {"network": {**BATCH, "norm_eps": 0.1, "norm_momentum": 0.3}},
    "sep_u": {"penalty": {"kind": "U"}},
    "sep_p": {"penalty": {"kind": "P"}},
    "sep_up": {"penalty": {"kind": "UP"}},
    "sep_l": {"penalty": {"kind": "L"}},
    "sep_up 8×6": {"penalty": UP, "depth": 8, "width": 6},
    "sep_up width 1": {"penalty": UP, "width": 1},
    "sep_up under batch norm": {"penalty": UP, "network": BATCH},
    "sep_l layer weights": {"penalty": {"kind": "L", "weight": 0.1, "layer_weights": [1.0, 0.0, 2.5]}, "depth": 3},
    "mean": {"penalty": {**UP, "aggregate": "mean"}},
    "l2": {"penalty": {**UP, "aggregate": "l2"}},
    "sum_sq": {"penalty": {**UP, "aggregate": "sum_sq"}},
    "l2 all met": {"penalty": {"kind": "L", "aggregate": "l2", "margin_above": 1e-9, "margin_below": -1e-9}},
    "shared ties": {"penalty": {**UP, "ties": "shared"}},
    "balance": {"penalty": {**UP, "balance": 0.8}},
    "margins": {"penalty": {**UP, "margin_above": 0.3, "margin_below": -2.0}},
    "constraints only": {"penalty": UP, "task_loss": False},
    "constraints only under batch norm": {"penalty": UP, "network": BATCH, "task_loss": False},
    "keras": {"optimizer": {"eps": 1e-3, "eps_rule": "keras"}},
    "large ε of torch": {"optimizer": {"eps": 1e-3}},
    "betas": {"optimizer": {"lr": 0.003, "beta1": 0.5, "beta2": 0.9}},
    "dropout": {"penalty": UP, "dropout": {"rate": 0.5, "anneal_epochs": 6}},
    "dropout before a single layer": {"depth": 1, "dropout": {"rate": 0.5, "anneal_epochs": 6}},
    "conv2x1 dropout before a single layer": {
        "network": {"layout": "conv2x1"},
        "depth": 1,
        "dropout": {"rate": 0.5, "anneal_epochs": 6},
    },
    "dropout under batch norm": {"network": BATCH, "dropout": {"rate": 0.3, "anneal_epochs": 100}},
    "mini-batches": {"penalty": UP, "optimizer": {"batch_size": 7, "shuffle": False}},
    "mini-batches, dropout and batch norm": {
        "penalty": UP,
        "network": BATCH,
        "dropout": {"rate": 0.5, "anneal_epochs": 6},
        "optimizer": {"batch_size": 7, "shuffle": False},
    },
    "kaiming": {"network": {"init": "kaiming_uniform"}, "penalty": UP},
    "conv2x1": {"network": {"layout": "conv2x1"}},
    "conv2x1 sep_up": {"network": {"layout": "conv2x1"}, "penalty": UP},
    "conv2x1 1×1": {"network": {"layout": "conv2x1"}, "penalty": UP, "depth": 1, "width": 1},
    "conv2x1 as published": {
        "network": {"layout": "conv2x1"},
        "penalty": {**UP, "aggregate": "sum_sq", "scope": "position", "ties": "shared"},
        "optimizer": {"eps": 1e-7, "eps_rule": "keras"},
    },
    "conv2x1 batch norm and dropout": {
        "network": {**BATCH, "layout": "conv2x1"},
        "penalty": {**UP, "scope": "position"},
        "dropout": {"rate": 0.5, "anneal_epochs": 6},
    },
}


def named_cell(name: str) -> Cell:
    case = {"depth": 4, "width": 4, **CASES[name]}
    optimizer = {"epochs": 20, **case.pop("optimizer", {})}
    return make_cell(dataset=SMALL, optimizer=optimizer, precision="float64", seed=3, **case)


def random_cell(number: int) -> Cell:
    """Any combination of layout, sizes, norm, penalty, dropout and optimizer, but for exact ties at the start."""
    rng = np.random.default_rng(number)

    def one_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    depth = int(rng.integers(1, 9))
    kind = one_of("none", "U", "P", "UP", "L")
    ties = one_of("single", "shared")
    balance, above, below = rng.uniform(0, 1), rng.uniform(0.1, 2), rng.uniform(-2, -0.1)
    return make_cell(
        dataset={"n_samples": 24, "noise": 0.1, "random_state": number},
        depth=depth,
        width=int(rng.integers(1, 7)),
        network={
            "layout": one_of("mlp", "mlp", "conv2x1"),
            "norm": one_of("none", "none", "batch"),
            "init": one_of("glorot_uniform", "kaiming_uniform"),
        },
        penalty={
            "kind": kind,
            "weight": one_of(1e-4, 0.1, 1.0),
            # with ρ = ½ the two sides of shared ties cancel but for rounding noise, which Adam makes steps of
            "balance": one_of(0.5, balance) if ties == "single" else balance,
            "margin_above": one_of(1.0, above),
            "margin_below": one_of(-1.0, below),
            "aggregate": one_of("sum", "mean", "l2", "sum_sq"),
            "ties": ties,
            "scope": one_of("channel", "position"),
            "layer_weights": one_of(None, rng.uniform(0, 2, size=depth).tolist()),
        },
        dropout={"rate": one_of(0.0, 0.0, 0.5), "anneal_epochs": one_of(4, 1000)},
        optimizer={
            "epochs": 7,
            "eps_rule": one_of("torch", "keras"),
            "eps": one_of(1e-8, 1e-7),
            **one_of({}, {"batch_size": 7, "shuffle": False}),
        },
        task_loss=kind == "none" or bool(rng.random() < 0.8),
        precision="float64",
        seed=number,
    )


def without_near_ties(number: int) -> Cell:
    """A random cell, drawn again while rounding alone decides something in its first batch."""
    while True:
        cell = random_cell(number)
        reference = reference_of(cell)
        reference.batch(next(reference.batches()), 0)
        if reference.closest > NEAR_TIE:
            return cell
        number += 1000


RANDOM_CASES = range(40)


@pytest.fixture(params=[*CASES, *RANDOM_CASES], ids=str)
def any_cell(request: pytest.FixtureRequest) -> Cell:
    return named_cell(request.param) if isinstance(request.param, str) else without_near_ties(request.param)


def check_first_batch(cell: Cell) -> None:
    """Loss, penalty, right predictions and every gradient of the first batch, to 1e-9 of the largest entry."""
    data = data_of(cell)
    reference = reference_of(cell)
    points = next(reference.batches())
    expected = reference.batch(points, 0)
    training = Training(cell, data, CPU, None)
    chosen = torch.from_numpy(points)
    y = data.y_train.double()[chosen]
    loss = training.loss(data.x_train[chosen], y, 0, 0, chosen)
    torch.autograd.backward(loss.total)
    gradients = {
        name: np.zeros(value.shape) if value.grad is None else value.grad.numpy()
        for name, value in training.network.named_parameters()
    }
    weight = 0.0 if cell.penalty.kind == "none" else cell.penalty.weight
    penalty = loss.terms["separation"].item() if weight else 0.0
    assert loss.terms["task"].item() == pytest.approx(expected.task, rel=1e-9)
    assert penalty == pytest.approx(expected.penalty, rel=1e-9)
    assert loss.total.item() == pytest.approx(cell.task_loss * expected.task + weight * expected.penalty, rel=1e-9)
    assert loss.right.item() == expected.right
    apart = distances(gradients, expected.gradients)
    assert max(apart.values()) <= 1e-9, apart


def test_the_first_gradient_is_the_formulas(any_cell: Cell) -> None:
    check_first_batch(any_cell)


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
@pytest.mark.parametrize("ties", ["single", "shared"])
@pytest.mark.parametrize("kind", ["U", "P", "UP", "L"])
@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_the_first_gradient_where_everything_is_tied(kind: str, ties: str, layout: str, rate: float) -> None:
    """Zero initialisation: every maximum and minimum is 0, reached by all."""
    penalty = {"kind": kind, "ties": ties, "balance": 0.51, "aggregate": "l2"}
    dropout = {"rate": rate}
    cell = make_cell(
        dataset=SMALL, network={"init": "zero", "layout": layout}, penalty=penalty, dropout=dropout, precision="float64"
    )
    check_first_batch(cell)


def test_near_ties_are_rare() -> None:
    """The random cases that are drawn again are no more than one in twenty."""
    drawn_again = 0
    for number in RANDOM_CASES:
        reference = reference_of(random_cell(number))
        reference.batch(next(reference.batches()), 0)
        drawn_again += reference.closest <= NEAR_TIE
    assert drawn_again <= 0.05 * len(RANDOM_CASES)


def everything(training: Training | NumpyTraining) -> dict[str, Array]:
    """Parameters and the running averages of batch norm."""
    if isinstance(training, NumpyTraining):
        averages = zip(training.means, training.variances, strict=True)
        parameters = training.parameters
    else:
        averages = zip(
            [norm.running_mean.numpy() for norm in training.network.norms],
            [norm.running_var.numpy() for norm in training.network.norms],
            strict=True,
        )
        parameters = named_parameters(training)
    if training.cell.network.norm == "none":
        averages = zip((), (), strict=True)
    found = dict(parameters)
    for index, (mean, variance) in enumerate(averages):
        found |= {f"mean {index}": mean, f"variance {index}": variance}
    return found


def test_twenty_steps_stay_with_the_reference(any_cell: Cell) -> None:
    """Parameters and losses agree to 1e-9, or to ten times what one unit in the last place does to the reference.

    Under batch norm to 1e-7: Adam makes steps of the biases' rounding noise.
    """
    cell = any_cell
    tolerance = 1e-7 if cell.network.norm == "batch" else 1e-9
    epochs = 7 if cell.optimizer.batch_size else 20
    cell = dataclasses.replace(cell, optimizer=dataclasses.replace(cell.optimizer, epochs=epochs))
    reference = reference_of(cell)
    expected = reference.run(epochs)
    if reference.closest <= NEAR_TIE:
        pytest.skip("rounding alone decided something on the way")
    training = Training(cell, data_of(cell), CPU, 1)
    assert list(training.epochs()) == list(range(1, epochs + 1))
    assert training.steps == reference.steps >= 20
    apart = distances(everything(training), everything(reference))
    last = training.curve[-1]
    for metric in ("train_loss", "val_loss", "penalty"):
        target = getattr(expected[-1], metric)
        apart[metric] = abs((getattr(last, metric) or 0.0) - target) / max(abs(target), 1e-300)
    if max(apart.values()) <= tolerance:
        return
    moved = reference_of(cell, moved=True)
    disturbed = moved.run(epochs)
    own = distances(everything(moved), everything(reference))
    for metric in ("train_loss", "val_loss", "penalty"):
        target = getattr(expected[-1], metric)
        own[metric] = abs(getattr(disturbed[-1], metric) - target) / max(abs(target), 1e-300)
    for name in apart:
        assert apart[name] <= max(tolerance, 10 * own[name]), (name, apart, own)


MEASURED = {
    "sep_up": {"penalty": UP},
    "batch norm and mini-batches": {"network": BATCH, "optimizer": {"batch_size": 7, "shuffle": False}},
    "everything": CASES["mini-batches, dropout and batch norm"],
    "conv2x1": CASES["conv2x1 as published"],
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_and_when(name: str) -> None:
    """Training as seen in the epoch, validation, penalty and census after it in evaluation mode; best and last."""
    case = dict(MEASURED[name])
    optimizer = {"lr": 0.1, **case.pop("optimizer", {}), "epochs": 5}
    cell = make_cell(dataset=SMALL, depth=3, width=4, optimizer=optimizer, precision="float64", seed=4, **case)
    reference = reference_of(cell)
    penalty_start, census_start = reference.evaluate_training_set()
    dead_at_start, activity_start = reference.dead_at_some_layer(), reference.activity()
    epochs: list[Epoch] = []
    censuses = []
    for epoch in range(5):
        epochs.append(reference.train_epoch(epoch))
        censuses.append(reference.evaluate_training_set()[1])
    assert len({epoch.train_acc for epoch in epochs}) > 1, "a case where accuracies move"
    (result,) = train(cell, curve_every=1)

    assert result.status == "done" and result.epochs_run == 5 and result.diverged_epoch is None
    assert [row.epoch for row in result.curve] == [1, 2, 3, 4, 5]
    for row, epoch, fractions in zip(result.curve, epochs, censuses, strict=True):
        for metric in METRICS:
            assert getattr(row, metric) == pytest.approx(getattr(epoch, metric), rel=1e-6), metric
        assert row.penalty == (None if cell.penalty.kind == "none" else pytest.approx(epoch.penalty, rel=1e-6))
        assert {name: getattr(row, name) for name in fractions} == pytest.approx(fractions, abs=1e-12)
    for metric in METRICS:
        values = [getattr(epoch, metric) for epoch in epochs]
        best = max(values) if metric.endswith("acc") else min(values)
        found: Metric = getattr(result, metric)
        assert found.last == pytest.approx(values[-1], rel=1e-6)
        assert found.best == pytest.approx(best, rel=1e-6)
        assert found.best_epoch == 1 + values.index(best)
    if cell.penalty.kind != "none":
        assert result.penalty_start == pytest.approx(penalty_start, rel=1e-9)
        assert result.penalty_last == pytest.approx(epochs[-1].penalty, rel=1e-6)
    for census, fractions in ((result.census_start, census_start), (result.census_last, censuses[-1])):
        assert census is not None
        assert {name: census.mean(name) for name in fractions} == pytest.approx(fractions, abs=1e-12)
    assert result.census_start is not None and result.census_last is not None
    for census, activity in ((result.census_start, activity_start), (result.census_last, reference.activity())):
        for name, layers in activity.items():
            assert getattr(census, name) == pytest.approx(tuple(layers), abs=1e-12)
    found_dead = [result.census_start.dead_at_some_layer, result.census_last.dead_at_some_layer]
    assert found_dead == pytest.approx([dead_at_start, reference.dead_at_some_layer()], abs=1e-12)


def test_best_and_last_do_not_depend_on_the_curve() -> None:
    cell = make_cell(depth=3, width=5, penalty=UP, optimizer={"epochs": 30, "lr": 0.1})
    (dense,), (sparse,) = train(cell, curve_every=1), train(cell, curve_every=13)
    assert {row.epoch for row in sparse.curve} < {row.epoch for row in dense.curve}
    assert what_was_computed(dataclasses.replace(dense, curve=())) == what_was_computed(
        dataclasses.replace(sparse, curve=())
    )
    for metric in METRICS:
        values = [getattr(row, metric) for row in dense.curve]
        best = max(values) if metric.endswith("acc") else min(values)
        assert getattr(dense, metric) == Metric(values[-1], best, 1 + values.index(best))


@pytest.mark.parametrize(
    ("epochs", "curve_every", "rows"),
    [
        (5, 1, [1, 2, 3, 4, 5]),
        (7, 3, [1, 3, 6, 7]),
        (6, 3, [1, 3, 6]),
        (4, 100, [1, 4]),
        (1, 1, [1]),
        (5, None, [1, 2, 3, 4, 5]),
        (300, None, [1, *range(3, 301, 3)]),
    ],
)
def test_curve_rows_stand_at_the_first_every_nth_and_the_last_epoch(
    epochs: int, curve_every: int | None, rows: list[int]
) -> None:
    (result,) = train(make_cell(depth=1, width=1, dataset=SMALL, optimizer={"epochs": epochs}), curve_every)
    assert [row.epoch for row in result.curve] == rows


def test_progress_names_the_cell_and_counts_its_epochs() -> None:
    cells = [make_cell(depth=1, width=1, dataset=SMALL, optimizer={"epochs": 3}, seed=seed) for seed in (0, 1)]
    reports: list[tuple[int, int]] = []
    EagerEngine().train(
        cells,
        data_of(cells[0]),
        on_result=lambda result: None,
        on_progress=lambda cell, epochs: reports.append((cell.seed, epochs)),
    )
    assert reports == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]


def check_divergence(result: Result, epoch: int) -> None:
    assert result.status == "diverged"
    assert result.diverged_epoch == epoch and result.epochs_run == epoch - 1
    for metric in METRICS:
        found: Metric = getattr(result, metric)
        assert found.last is None
        if epoch == 1:
            assert found == Metric()
        else:
            assert found.best is not None and math.isfinite(found.best)
            assert found.best_epoch is not None and found.best_epoch < epoch
    assert result.penalty_last is None and result.census_last is None
    assert result.census_start is not None
    assert all(row.epoch < epoch for row in result.curve)
    assert all(math.isfinite(row.train_loss + row.val_loss + (row.penalty or 0)) for row in result.curve)


def test_a_first_update_beyond_all_numbers_diverges_in_epoch_one() -> None:
    (result,) = train(make_cell(depth=3, width=4, penalty={"kind": "UP"}, optimizer={"lr": 1e30, "epochs": 4}), 1)
    check_divergence(result, 1)


def test_an_update_that_makes_the_penalty_infinite_diverges_in_the_epoch_that_meets_it() -> None:
    """Squares overflow before the losses do: the next epoch's training meets it, after the last the whole set does."""
    penalty = {"kind": "UP", "aggregate": "sum_sq"}
    optimizer = {"lr": 1e78, "epochs": 4}
    cell = make_cell(dataset=SMALL, depth=2, width=3, penalty=penalty, optimizer=optimizer, precision="float64", seed=2)
    (result,) = train(cell, 1)
    check_divergence(result, 2)
    (cut,) = train(dataclasses.replace(cell, optimizer=dataclasses.replace(cell.optimizer, epochs=1)), 1)
    check_divergence(cut, 1)


def disturb(monkeypatch: pytest.MonkeyPatch, at_step: int, parameter: int, value: float) -> None:
    """Put a value into a parameter right after the given step of every training."""
    genuine = Training.step

    def step(training: Training, total: torch.Tensor) -> None:
        genuine(training, total)
        if training.steps == at_step:
            with torch.no_grad():
                training.parameters[parameter].fill_(value)

    monkeypatch.setattr(Training, "step", step)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("parameter", [0, 1, -1])
def test_a_later_divergence_keeps_what_came_before(
    monkeypatch: pytest.MonkeyPatch, parameter: int, value: float
) -> None:
    cell = make_cell(depth=3, width=5, penalty=UP, optimizer={"epochs": 9, "lr": 0.05})
    (undisturbed,) = train(cell, 1)
    disturb(monkeypatch, 5, parameter, value)
    (result,) = train(cell, 1)
    check_divergence(result, 5)
    assert result.curve == undisturbed.curve[:4]
    for metric in METRICS:
        values = [getattr(row, metric) for row in undisturbed.curve[:4]]
        best = max(values) if metric.endswith("acc") else min(values)
        assert getattr(result, metric) == Metric(None, best, 1 + values.index(best))


def test_a_divergence_inside_an_epoch_of_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell(dataset=SMALL, depth=2, width=3, optimizer={"epochs": 5, "batch_size": 7})
    disturb(monkeypatch, 8, 0, math.nan)  # three batches an epoch: the middle of the third
    (result,) = train(cell, 1)
    check_divergence(result, 3)


def test_where_a_training_diverges_does_not_depend_on_the_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias whose square alone overflows: losses and parameters stay finite, the penalty does not."""
    penalty = {"kind": "U", "aggregate": "sum_sq"}
    cell = make_cell(
        dataset=SMALL, depth=2, width=3, penalty=penalty, optimizer={"epochs": 9}, precision="float64", seed=2
    )
    disturb(monkeypatch, 4, 1, 1e200)
    dense, sparse = (what_was_computed(dataclasses.replace(train(cell, every)[0], curve=())) for every in (1, 100))
    assert dense.status == sparse.status == "diverged"
    assert dense == sparse


def test_a_failing_cell_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [make_cell(depth=2, width=2, dataset=SMALL, optimizer={"epochs": 3}, seed=seed) for seed in (0, 1, 2)]
    alone = [what_was_computed(train(cell)[0]) for cell in cells]

    def build(cell: Cell) -> RectangularMLP:
        if cell.seed == 1:
            raise RuntimeError("no room")
        return genuine(cell)

    genuine = forward.build
    monkeypatch.setattr(forward, "build", build)
    first, failed, last = train(cells)
    assert [what_was_computed(first), what_was_computed(last)] == [alone[0], alone[2]]
    assert failed.cell == cells[1] and failed.status == "failed"
    assert failed.error == "RuntimeError: no room"
    trace = (failed.traceback or "").splitlines()
    assert trace[0] == "Traceback (most recent call last):" and trace[-1] == failed.error
    assert any(line.endswith(", in build") for line in trace)
    assert failed.train_acc == failed.val_loss == Metric()
    assert failed.started and failed.seconds >= 0


FLEET = [
    {"depth": 3, "width": 5, "penalty": {"kind": "UP"}},
    {"depth": 2, "width": 25, "network": BATCH, "optimizer": {"epochs": 12, "batch_size": 30}},
    {
        "depth": 4,
        "width": 4,
        "network": {"init": "zero"},
        "penalty": {**UP, "ties": "random"},
        "dropout": {"rate": 0.5},
    },
]


def test_order_mates_and_threads_do_not_change_a_bit() -> None:
    cells = [make_cell(seed=index, **{"optimizer": {"epochs": 12}, **case}) for index, case in enumerate(FLEET)]
    expected = {cell: what_was_computed(train(cell, 1)[0]) for cell in cells}
    for threads, fleet in ((1, cells), (4, cells[::-1]), (2, [cells[1], cells[0], cells[1]])):
        torch.set_num_threads(threads)
        torch.manual_seed(threads)  # the global generator has no say
        assert [what_was_computed(result) for result in train(fleet, 1)] == [expected[cell] for cell in fleet]
        assert torch.get_num_threads() == threads


def test_random_ties_depend_on_the_seed_alone() -> None:
    """From zero weights without dropout, nothing but the ties knows the seed."""

    def losses(seed: int, ties: str) -> list[float]:
        cell = make_cell(
            depth=3,
            width=4,
            network={"init": "zero"},
            penalty={**UP, "balance": 0.51, "ties": ties},
            optimizer={"epochs": 8},
            seed=seed,
        )
        (result,) = train(cell, 1)
        assert result.status == "done"
        return [row.penalty or 0.0 for row in result.curve]

    assert losses(0, "random") == losses(0, "random")
    assert losses(0, "random") != losses(1, "random")
    assert losses(0, "single") == losses(1, "single")


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
def test_dropout_belongs_to_the_point_not_to_its_batch(layout: str) -> None:
    """Trained one by one, in any order, the points lose what they lose in the full batch."""
    cell = make_cell(
        dataset=SMALL,
        depth=3,
        width=6,
        network={"layout": layout},
        dropout={"rate": 0.4},
        precision="float64",
    )
    data = data_of(cell)
    training = Training(cell, data, CPU, None)
    y_train = data.y_train.double()

    def task_loss(points: torch.Tensor | None, epoch: int) -> float:
        chosen = slice(None) if points is None else points
        return float(training.loss(data.x_train[chosen], y_train[chosen], epoch, 0, points).terms["task"].item())

    alone = [task_loss(torch.tensor([point]), 5) for point in range(20)]
    assert task_loss(None, 5) == pytest.approx(np.mean(alone), rel=1e-12)
    assert task_loss(torch.tensor([17, 3, 8]), 5) == pytest.approx(np.mean([alone[17], alone[3], alone[8]]), rel=1e-12)
    assert task_loss(None, 6) != pytest.approx(task_loss(None, 5), rel=1e-6)


def test_shuffled_batches_hold_every_point_once() -> None:
    """With a step too small to change a weight, an epoch in batches is the full batch in another order."""
    still = {"lr": 1e-300, "epochs": 4}
    full = make_cell(depth=2, width=5, optimizer=still, precision="float64")
    shuffled = make_cell(depth=2, width=5, optimizer={**still, "batch_size": 20}, precision="float64")
    (expected,), (found,) = train(full, 1), train(shuffled, 1)
    assert [row.train_loss for row in found.curve] == pytest.approx([row.train_loss for row in expected.curve])
    assert [row.train_acc for row in found.curve] == [row.train_acc for row in expected.curve]


def test_shuffling_takes_a_new_order_every_epoch_and_seed() -> None:
    orders = set()
    for seed in (0, 1):
        cell = make_cell(depth=1, width=2, dataset=SMALL, optimizer={"batch_size": 7}, seed=seed)
        for epoch in range(3):
            found = [points.tolist() for points in batches(cell, 20, epoch) if points is not None]
            assert [len(points) for points in found] == [7, 7, 6], "the last, smaller batch is kept"
            order = tuple(point for batch in found for point in batch)
            assert sorted(order) == list(range(20))
            orders.add(order)
    assert len(orders) == 6


@pytest.mark.parametrize(("depth", "width"), [(1, 1), (3, 4), (10, 25)])
def test_the_result_counts_every_trainable_number(depth: int, width: int) -> None:
    network_only = 3 * width + (depth - 1) * (width**2 + width) + width + 1
    cells = [
        make_cell(depth=depth, width=width, network={"norm": norm}, optimizer={"epochs": 1})
        for norm in ("none", "batch")
    ]
    assert [result.n_params for result in train(cells)] == [network_only, network_only + 2 * depth * width]


def test_a_small_network_learns_the_moons() -> None:
    (result,) = train(make_cell(depth=3, width=8, penalty={"kind": "UP"}, optimizer={"epochs": 300}))
    assert result.train_acc.last is not None and result.train_acc.last >= 0.95
    assert result.val_acc.last is not None and result.val_acc.last >= 0.8


@pytest.mark.soak
def test_the_penalty_trains_what_plain_relu_does_not() -> None:
    """CPAIOR, fig. 2: at depth 40 and width 10 plain networks stay near chance, jumpstarted ones learn the moons.

    In 400 epochs 1 of 20 did without the penalty and 17 of 20 with it.
    """
    penalties = {"relu": {"kind": "none"}, "sep_up": {"kind": "UP"}}
    cells = [
        make_cell(method, depth=40, width=10, optimizer={"epochs": 400}, seed=seed, penalty=penalty)
        for method, penalty in penalties.items()
        for seed in range(5)
    ]
    results = train(cells, curve_every=400)
    assert [result.status for result in results] == ["done"] * 10
    trained = dict.fromkeys(penalties, 0)
    for result in results:
        assert result.train_acc.best is not None
        trained[result.cell.method] += result.train_acc.best >= 0.95
    assert trained["sep_up"] >= 3 and trained["sep_up"] - trained["relu"] >= 3, trained


def test_random_ties_of_units_differ_from_batch_to_batch_and_those_of_points_go_with_the_point() -> None:
    cell = make_cell(dataset=SMALL, depth=1, width=8, penalty={"kind": "UP", "ties": "random"})

    def drawn(constraint: str, batch: int, points: list[int], count: int) -> list[int]:
        draw = tie_draws(cell, 3, batch, np.array(points))
        assert draw is not None
        return draw(constraint, 0, count).tolist()

    assert drawn("U+", 0, [0, 1, 2], 8) != drawn("U+", 1, [0, 1, 2], 8)
    assert drawn("P+", 0, [4, 7], 2) == drawn("P+", 1, [4, 7], 2) == drawn("P+", 0, [7, 4], 2)[::-1]


# The probe, which the equality contract looks through


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", ["sep_up", "relu_bn", "constraints only", "dropout", "conv2x1 as published"])
def test_the_probe_is_the_next_step_of_the_training(name: str, steps: int) -> None:
    cell = named_cell(name)
    training = Training(cell, data_of(cell), CPU, None)
    for epoch in range(steps):
        training.step(training.loss(training.x_train, training.y_train, epoch, 0, None).total)
    before = named_parameters(training)
    loss = training.loss(training.x_train, training.y_train, steps, 0, None)
    training.step(loss.total)
    found = EagerEngine().probe(cell, data_of(cell), steps)
    assert found.task_loss == loss.terms["task"].item()
    assert found.penalty == (loss.terms["separation"].item() if cell.penalty_weight else 0)
    assert found.parameters.keys() == found.gradients.keys() == before.keys()
    for key, parameter in training.network.named_parameters():
        assert np.array_equal(found.parameters[key], before[key])
        taken = np.zeros_like(before[key]) if parameter.grad is None else parameter.grad.numpy()
        assert np.array_equal(found.gradients[key], taken)


def test_the_probe_starts_from_the_weights_that_it_is_given() -> None:
    cell, other = named_cell("sep_up"), dataclasses.replace(named_cell("sep_up"), seed=77)
    data = data_of(cell)
    given = EagerEngine().probe(cell, data, initial=EagerEngine().probe(other, data).parameters)
    own = EagerEngine().probe(other, data)
    assert given.task_loss == own.task_loss != EagerEngine().probe(cell, data).task_loss
    assert all(np.array_equal(given.gradients[name], own.gradients[name]) for name in own.gradients)


def test_a_norm_that_joins_the_table_has_an_estimate() -> None:
    plain, joined = Cell(), Cell(network=NetworkSpec(norm="layer"))
    object.__setattr__(joined.network, "norm", "a new one")
    assert EagerEngine.estimate_seconds(joined) > EagerEngine.estimate_seconds(plain)
