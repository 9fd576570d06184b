"""Convolutional networks as the reference engine trains them, against NumPy."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy_cnn import NumpyCnn
from numpy_training import Batch, Epoch, Named

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import ImageSpec
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines import choose_engines
from jumpstart_exp.engines.eager import training
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native import kernels
from jumpstart_exp.engines.probe import Probe
from jumpstart_exp.networks.build import build
from jumpstart_exp.result import ACTIVITY, CENSUS, METRICS, Metric, Result
from jumpstart_exp.settings import SettingError, setting
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

NEAR_TIE = 1e-10
"""What is this close without being equal is told apart by rounding alone."""

KINDS = ("U", "P", "UP", "L")
SCOPES = ("channel", "position")
TIES = ("single", "shared", "random")
AGGREGATES = ("sum", "mean", "l2", "sum_sq")
HEADS = ("flatten", "max_avg_pool")
SHAPES = ((2, 5, 4), (1, 4, 4), (3, 2, 3), (1, 1, 6))


@dataclass(frozen=True)
class Pictures(ImageSpec):
    """Random images, any number of them."""

    name: str = setting("pictures")
    train_points: int = setting(6, low=1)
    val_points: int = setting(4, low=1)
    black_and_white: bool = setting(False)

    def full_sizes(self) -> tuple[int, int]:
        return self.train_points, self.val_points


@cache
def pictures_class(image: tuple[int, int, int], classes: int) -> type[Pictures]:
    values = {"image": image, "features": math.prod(image), "classes": classes}
    return type(f"Pictures{classes}", (Pictures,), values)


def pictures(
    train_points: int = 6, *, image: tuple[int, int, int] = (2, 5, 4), classes: int = 3, **values: Any
) -> Pictures:
    return pictures_class(image, classes)(train_points=train_points, **values)


@lru_cache(maxsize=256)
def data_of(spec: Pictures) -> Data:
    """Pixels of 0 to 255, all different where the images are few enough; or 0 and 255 alone, which become ±½."""
    assert spec.image is not None
    rng = np.random.default_rng([spec.train_points, *spec.image])
    points = spec.train_points + spec.val_points
    count = points * math.prod(spec.image)
    pixels = rng.permutation(256)[:count] if count <= 256 else rng.integers(256, size=count)
    if spec.black_and_white:
        pixels = 255 * (pixels % 2)
    x = torch.from_numpy(pixels.astype(np.uint8).reshape(points, *spec.image))
    y = torch.from_numpy(rng.permutation(np.arange(points) % spec.classes))
    channels = spec.image[0]
    mean, std = (0.4, 0.5, 0.3)[:channels], (0.2, 0.3, 0.25)[:channels]
    if spec.black_and_white:
        mean, std = (0.5,) * channels, (1.0,) * channels
    n = spec.train_points
    return Data(x[:n], y[:n], x[n:], y[n:], mean, std)


def data_for(cell: Cell) -> Data:
    assert isinstance(cell.dataset, Pictures)
    return data_of(cell.dataset)


def make_cell(**values: Any) -> Cell:
    network = NetworkSpec(**{"layout": "cnn", **values.pop("network", {})})
    for name, spec in (("penalty", PenaltySpec), ("optimizer", OptimizerSpec), ("dropout", DropoutSpec)):
        values[name] = spec(**values.get(name, {}))
    return Cell(**{"dataset": pictures(), "depth": 2, "width": 3, "precision": "float64", **values, "network": network})


def random_cell(seed: Sequence[int], **penalty: Any) -> Cell:
    """Any combination of sizes, kernel, head, norm, initialisation and what `penalty` does not say of the penalty."""
    rng = np.random.default_rng(seed)

    def one_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    depth, points, image = int(rng.integers(1, 5)), int(rng.integers(1, 7)), SHAPES[rng.integers(len(SHAPES))]
    norm = one_of("none", "none", "batch")
    layers = one_of("hidden", "all")
    constrained = depth + (layers == "all")
    return make_cell(
        # under batch norm few entries are ±1 whatever the weights, and nothing but rounding passes
        dataset=pictures(max(points, 4) if norm == "batch" else points, image=image, classes=one_of(2, 3, 3)),
        depth=depth,
        width=int(rng.integers(1, 5)),
        network={
            "kernel": one_of(1, 3, 3, 5),
            "head": one_of(*HEADS),
            "norm": norm,
            "norm_eps": one_of(1e-3, 0.1),
            "norm_momentum": one_of(0.01, 0.3),
            "init": one_of("glorot_uniform", "kaiming_uniform"),
        },
        penalty={
            "weight": one_of(1e-4, 0.1, 1.0),
            "balance": one_of(0.5, 0.51, 0.0, 1.0, rng.uniform(0, 1)),
            "margin_above": one_of(1.0, 0.3, 2.0),
            "margin_below": one_of(-1.0, -0.2, -2.0),
            "layers": layers,
            "layer_weights": one_of(None, tuple(rng.choice([0.0, 0.5, 1.0, 2.5], size=constrained).tolist())),
            **penalty,
        },
        optimizer={"eps_rule": one_of("torch", "keras"), "eps": one_of(1e-8, 1e-7), "lr": one_of(0.01, 0.001)},
        task_loss=penalty.get("kind") == "none" or bool(rng.random() < 0.8),
        seed=int(rng.integers(2**32)),
    )


def probe(cell: Cell, steps: int = 0, initial: Named | None = None) -> Probe:
    return EagerEngine("cpu").probe(cell, data_for(cell), steps, initial)


def initial_of(cell: Cell) -> Named:
    """The cell's initial weights, which `test_networks_cnn` checks."""
    return {name: value.detach().numpy().copy() for name, value in build(cell).named_parameters()}


def apart(
    cell: Cell, found: Probe, expected_task: float, expected_penalty: float, gradients: Named
) -> dict[str, float]:
    """How far losses and gradients are apart, relative to their size, a tensor's largest entry.

    What cancels but for rounding (the two sides of shared ties with ρ = ½, a bias that batch norm takes out again) has
    no size of its own: it is measured against the largest gradient of all.
    """
    assert found.gradients.keys() == gradients.keys() == found.parameters.keys()
    largest = max(np.abs(value).max() for value in gradients.values())
    far = {
        "task_loss": abs(found.task_loss - expected_task) / expected_task,
        "penalty": abs(found.penalty - expected_penalty) / max(expected_penalty, 1e-300),
    }
    for name, value in gradients.items():
        assert found.gradients[name].shape == value.shape, name
        taken_out = cell.network.norm == "batch" and name.startswith("hidden") and name.endswith("bias")
        size = max(np.abs(value).max(), (1.0 if taken_out else 1e-4) * largest, 1e-300)
        far[name] = float(np.abs(found.gradients[name] - value).max() / size)
    return {name: np.inf if np.isnan(value) else value for name, value in far.items()}


def check_first_step(cell: Cell, initial: Named | None = None) -> tuple[float, Probe]:
    """The probe at step 0 is NumPy's, to 1e-9; returns it after the smallest distance of what rounding could turn."""
    found = probe(cell, 0, initial)
    numpy = NumpyCnn(cell, found.parameters, data_for(cell))
    expected = numpy.full_batch(0)
    if numpy.closest > NEAR_TIE or initial is not None:
        far = apart(cell, found, expected.task, expected.penalty, expected.gradients)
        assert max(far.values()) <= 1e-9, (cell, far)
    return numpy.closest, found


def test_the_gradient_in_numpy_is_the_slope_of_its_loss() -> None:
    """Central differences, of some entries of every parameter."""
    checked, rng = 0, np.random.default_rng(0)
    for number in range(12):
        cell = random_cell([9, number], kind=KINDS[number % 4], aggregate=AGGREGATES[number % 3])
        network = dataclasses.replace(cell.network, init="kaiming_uniform")  # a bias of 0 stands at the ReLU's kink
        cell = dataclasses.replace(cell, network=network, dropout=DropoutSpec(0.3 if number % 4 == 0 else 0.0))
        initial = initial_of(cell)
        numpy = NumpyCnn(cell, initial, data_for(cell))
        gradients = numpy.full_batch(0).gradients
        if numpy.closest < 1e-4:
            continue
        checked += 1
        places = {name: rng.permutation(list(np.ndindex(value.shape)))[:6] for name, value in initial.items()}
        for name, index in ((name, tuple(index)) for name, some in places.items() for index in some):
            losses = []
            for step in (1e-6, -1e-6):
                initial[name][index] += step
                losses.append(NumpyCnn(cell, initial, data_for(cell)).total_loss())
                initial[name][index] -= step
            assert gradients[name][index] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-7)
    assert checked >= 6


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_gradient_is_the_formulas(kind: str, scope: str, ties: str, aggregate: str) -> None:
    settings = {"kind": kind, "scope": scope, "ties": ties, "aggregate": aggregate}
    combination = [KINDS.index(kind), SCOPES.index(scope), TIES.index(ties), AGGREGATES.index(aggregate)]
    clear = sum(check_first_step(random_cell([*combination, number], **settings))[0] > NEAR_TIE for number in range(4))
    assert clear >= 2, "near ties are rare"


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("image", SHAPES, ids=str)
@pytest.mark.parametrize("network", [{}, {"norm": "batch"}, {"init": "kaiming_uniform"}], ids=str)
def test_the_first_gradient_without_a_penalty(
    network: dict[str, str], image: tuple[int, int, int], kernel: int, head: str
) -> None:
    cell = make_cell(
        dataset=pictures(5, image=image), depth=3, width=4, network={**network, "kernel": kernel, "head": head}, seed=3
    )
    closest, found = check_first_step(cell)
    assert closest > NEAR_TIE
    assert found.penalty == 0


CORNERS: dict[str, dict[str, Any]] = {
    "one point": {"dataset": pictures(1)},
    "one point, width 1": {"dataset": pictures(1), "width": 1},
    "one point, width 1, one pixel": {"dataset": pictures(1, image=(1, 1, 1)), "width": 1},
    "one pixel": {"dataset": pictures(5, image=(2, 1, 1))},
    "width 1": {"width": 1},
    "depth 1, width 1": {"depth": 1, "width": 1},
    "depth 12": {"depth": 12},
    "width 40": {"width": 40},
    "two classes, one logit": {"dataset": pictures(6, classes=2), "penalty": {"layers": "all"}},
    "two classes, one logit, pooled": {"dataset": pictures(6, classes=2), "network": {"head": "max_avg_pool"}},
    "a filter wider than the image": {"dataset": pictures(5, image=(2, 3, 2)), "network": {"kernel": 7}},
    "large deficits everywhere": {"penalty": {"margin_above": 50.0, "margin_below": -60.0}},
    "output layer alone": {"penalty": {"layers": "all", "layer_weights": (0.0, 0.0, 2.0)}},
    "constraints only": {"penalty": {"layers": "all"}, "task_loss": False},
    "dropout": {"dropout": {"rate": 0.5, "anneal_epochs": 3}},
    "dropout before a single layer": {"dropout": {"rate": 0.5, "anneal_epochs": 3}, "depth": 1},
    "dropout under batch norm": {"dropout": {"rate": 0.3}, "network": {"norm": "batch"}},
    "norm fields": {"network": {"norm": "batch", "norm_eps": 0.5, "norm_momentum": 0.4}},
    "keras": {"optimizer": {"eps": 1e-3, "eps_rule": "keras"}},
}


def corner_cell(name: str, kind: str, scope: str) -> Cell:
    case = dict(CORNERS[name])
    penalty = {"kind": kind, "scope": scope, "weight": 0.1, **case.pop("penalty", {})}
    network = {"init": "kaiming_uniform", **case.pop("network", {})}
    return make_cell(penalty=penalty, network=network, seed=5, **case)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", ["UP", "L"])
@pytest.mark.parametrize("name", CORNERS)
def test_the_first_gradient_in_corners(name: str, kind: str, scope: str) -> None:
    assert check_first_step(corner_cell(name, kind, scope))[0] > NEAR_TIE


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_zero_where_all_constraints_are_met(kind: str, aggregate: str) -> None:
    penalty = {"kind": kind, "aggregate": aggregate, "margin_above": 1e-9, "margin_below": -1e-9, "weight": 1.0}
    found = probe(make_cell(width=4, penalty=penalty, task_loss=False))
    assert found.penalty == 0
    assert all((value == 0).all() for value in found.gradients.values())


def exact_weights(cell: Cell) -> Named:
    """The cell's weights as multiples of ¼, so that sums of ±½ pixels are exact."""
    return {name: np.clip(np.round(8 * value), -3, 3) / 4 for name, value in initial_of(cell).items()}


def tied_cell(seed: int, **penalty: Any) -> tuple[Cell, Named]:
    """Black and white images and sparse filters: most extremes are reached by several, in the logits as well."""
    penalty = {"layers": "all", "weight": 1.0, "balance": 0.75, "margin_above": 8.0, "margin_below": -8.0, **penalty}
    images, network = pictures(6, black_and_white=True), {"init": "kaiming_uniform"}
    cell = make_cell(dataset=images, width=4, network=network, penalty=penalty, seed=seed)
    rng = np.random.default_rng(seed)
    return cell, {name: value * (rng.random(value.shape) < 0.3) for name, value in exact_weights(cell).items()}


@pytest.mark.parametrize("aggregate", ["sum", "l2"])
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", KINDS)
def test_exact_ties(kind: str, scope: str, aggregate: str) -> None:
    told_apart = 0
    for seed in range(6):
        gradients = []
        for ties in TIES:
            cell, initial = tied_cell(seed, kind=kind, scope=scope, aggregate=aggregate, ties=ties)
            _, found = check_first_step(cell, initial)
            gradients.append(found.gradients)
        told_apart += all(
            any(not np.allclose(one[name], other[name], rtol=1e-6) for name in one)
            for one, other in itertools.combinations(gradients, 2)
        )
    assert told_apart >= 3, "cases in which the ties matter"


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", KINDS)
def test_dead_layers(kind: str, scope: str, ties: str) -> None:
    """A dead layer's followers see zeros: each pre-activation is its bias, tied over all points and positions."""
    for head, dead, init in itertools.product(HEADS, (0, 1, 2), ("glorot_uniform", "kaiming_uniform")):
        cell = make_cell(
            dataset=pictures(6, black_and_white=True),
            depth=3,
            network={"head": head, "init": init},
            penalty={"kind": kind, "scope": scope, "ties": ties, "layers": "all", "weight": 0.5, "balance": 0.625},
            seed=dead,
        )
        initial = exact_weights(cell)
        initial[f"hidden.{dead}.bias"][:] = -64.0
        numpy = NumpyCnn(cell, initial, data_for(cell))
        assert numpy.evaluate_training_set().census["dead_units"][dead] == 1
        check_first_step(cell, initial)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", KINDS)
def test_zero_initialisation(kind: str, scope: str, ties: str) -> None:
    """Every extreme is 0, reached by all; ρ = 0.51 is what moves the biases."""
    for head, aggregate in itertools.product(HEADS, AGGREGATES):
        penalty = {"kind": kind, "scope": scope, "ties": ties, "aggregate": aggregate, "layers": "all", "balance": 0.51}
        cell = make_cell(network={"init": "zero", "head": head}, penalty={**penalty, "weight": 0.3})
        initial = initial_of(cell)
        assert not any(value.any() for value in initial.values())
        _, found = check_first_step(cell, initial)
        assert found.gradients["hidden.1.bias"].any()


def test_the_two_sides_of_shared_ties_cancel_with_balance_one_half() -> None:
    """So the penalty moves nothing in a dead layer, but has its full value."""
    penalty = {"kind": "UP", "ties": "shared", "weight": 1.0}
    found = probe(make_cell(network={"init": "zero"}, penalty=penalty, task_loss=False))
    assert found.penalty == pytest.approx(2 * 3 + 2 * 6, rel=1e-12)  # 2 layers of 3 channels; 2 layers of 6 points
    assert all(np.abs(value).max() < 1e-14 for value in found.gradients.values())


# By hand: 2 points of 1×2 pixels through two filters of kernel 1. Pixels 0 and 255 are 0 and 1.
HAND_PIXELS = [[0, 255], [255, 0]]
HAND_WEIGHT, HAND_BIAS = [0.5, -2.0], [0.25, 0.0]
# g: channel 0 is 0.25 where black and 0.75 where white, channel 1 is 0 and −2.
HAND_PENALTIES = {
    # unit: channel 0 has max 0.75, min 0.25 → ½·0.25 + ½·1.25; channel 1 has 0 and −2 → ½·1 + ½·0
    ("U", "channel"): 0.75 + 0.5,
    # both points: max 0.75, min −2 → ½·0.25
    ("P", "channel"): 0.125 + 0.125,
    # each position sees both colours, so the same pairs twice
    ("U", "position"): 2 * (0.75 + 0.5),
    # black: max 0.25, min 0 → ½·0.75 + ½·1; white: max 0.75, min −2 → ½·0.25; two of each
    ("P", "position"): 2 * 0.875 + 2 * 0.125,
    ("L", "channel"): 0.125,
    ("L", "position"): 0.125,
}


@pytest.mark.parametrize(("kind", "scope"), HAND_PENALTIES)
def test_penalties_by_hand(kind: str, scope: str) -> None:
    cell = make_cell(
        dataset=pictures(2, image=(1, 1, 2)),
        depth=1,
        width=2,
        network={"kernel": 1},
        penalty={"kind": kind, "scope": scope},
    )
    initial = initial_of(cell)
    initial["hidden.0.weight"][:, 0, 0, 0], initial["hidden.0.bias"][:] = HAND_WEIGHT, HAND_BIAS
    x = torch.tensor(HAND_PIXELS, dtype=torch.uint8).reshape(2, 1, 1, 2)
    y = torch.tensor([0, 1])
    found = EagerEngine("cpu").probe(cell, Data(x, y, x, y, (0.0,), (1.0,)), 0, initial)
    assert found.penalty == pytest.approx(HAND_PENALTIES[kind, scope], rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_cpp_engine_nothing_changes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was no compiler, torch finds the extremes and whose they are."""
    monkeypatch.setattr(kernels, "native", None)
    clear = 0
    for number, aggregate in enumerate(AGGREGATES * 2):
        cell = random_cell([11, number], kind=kind, aggregate=aggregate, ties="single")
        clear += check_first_step(cell)[0] > NEAR_TIE
        check_first_step(*tied_cell(number, kind=kind, aggregate=aggregate))
    assert clear >= 6


# After steps of Adam


def moved(values: Named) -> Named:
    """Every number but 0 one unit in the last place away, up or down."""
    rng = np.random.default_rng(0)
    return {
        name: np.where(value == 0, value, np.nextafter(value, np.where(rng.random(value.shape) < 0.5, -1e300, 1e300)))
        for name, value in values.items()
    }


def check_twenty_steps(cell: Cell) -> bool:
    """The probe after 20 steps is NumPy's, to 1e-7; false where NumPy's own is not so well determined."""
    initial, found = initial_of(cell), probe(cell, 20)
    assert math.isfinite(found.task_loss + found.penalty)
    assert all(np.isfinite(value).all() for value in [*found.gradients.values(), *found.parameters.values()])
    expected = numpy_after_twenty_steps(cell, initial)
    far = apart(cell, found, expected.task, expected.penalty, expected.gradients)
    if max(far.values()) <= 1e-7:
        return True
    other = numpy_after_twenty_steps(cell, moved(initial))
    by_rounding = Probe(other.task, other.penalty, other.gradients, initial)
    own = apart(cell, by_rounding, expected.task, expected.penalty, expected.gradients)
    assert max(own.values()) > 1e-8, (cell, far, own)
    return False


def numpy_after_twenty_steps(cell: Cell, initial: Named) -> Batch:
    numpy = NumpyCnn(cell, initial, data_for(cell))
    for epoch in range(20):
        numpy.adam(numpy.full_batch(epoch).gradients)
    return numpy.full_batch(20)


@pytest.mark.parametrize(("kind", "scope"), [("none", "channel"), *itertools.product(KINDS, SCOPES)])
def test_twenty_steps_stay_with_numpy(kind: str, scope: str) -> None:
    determined = 0
    for number in range(8):
        others = {"ties": TIES[number % 3], "aggregate": AGGREGATES[number % 4], "balance": 0.2 + 0.08 * number}
        determined += check_twenty_steps(random_cell([7, len(kind), number], kind=kind, scope=scope, **others))
    assert determined >= 4


@pytest.mark.parametrize("name", ["dropout", "norm fields", "keras", "two classes, one logit"])
def test_twenty_steps_in_corners(name: str) -> None:
    assert check_twenty_steps(corner_cell(name, "UP", "channel"))


def test_the_probe_is_of_the_full_batch() -> None:
    """Whatever the batch size of the training."""
    full = make_cell(penalty={"kind": "UP"})
    small = dataclasses.replace(full, optimizer=OptimizerSpec(batch_size=2))
    for steps in (0, 3):
        one, other = probe(full, steps), probe(small, steps)
        assert (one.task_loss, one.penalty) == (other.task_loss, other.penalty)
        assert all(np.array_equal(one.gradients[name], other.gradients[name]) for name in one.gradients)


def test_float32_is_close_to_float64() -> None:
    for number, head in enumerate(HEADS):
        cell = make_cell(
            depth=4,
            width=4,
            network={"head": head, "init": "kaiming_uniform"},
            penalty={"kind": "UP", "weight": 0.1, "layers": "all"},
            precision="float32",
            seed=number,
        )
        found = probe(cell)
        wide = probe(dataclasses.replace(cell, precision="float64"), 0, dict(found.parameters))
        far = apart(cell, found, wide.task_loss, wide.penalty, dict(wide.gradients))
        assert 1e-12 < max(far.values()) < 1e-5, far


# Whole trainings


def train(cells: Cell | Sequence[Cell], data: Data | None = None, curve_every: int | None = 1) -> list[Result]:
    fleet = [cells] if isinstance(cells, Cell) else list(cells)
    results: list[Result] = []
    EagerEngine("cpu", curve_every=curve_every).train(
        fleet, data or data_for(fleet[0]), on_result=results.append, on_progress=lambda cell, epochs: None
    )
    return results


def train_one(cell: Cell, data: Data | None = None) -> Result:
    (result,) = train(cell, data)
    return result


def check_whole_set(numpy: NumpyCnn, penalty: float | None, census: Any) -> None:
    expected = numpy.evaluate_training_set()
    if numpy.cell.penalty.kind == "none":
        assert penalty is None
    else:
        assert penalty == pytest.approx(expected.penalty, rel=1e-6)
    for name in (*CENSUS, *ACTIVITY):
        assert getattr(census, name) == pytest.approx(expected.census[name], abs=1e-12), name
    assert census.dead_at_some_layer == pytest.approx(expected.dead_at_some_layer, abs=1e-12)


def check_training(cell: Cell) -> list[Epoch]:
    """Every number of the result and its curve is NumPy's."""
    numpy = NumpyCnn(cell, initial_of(cell), data_for(cell))
    result = train_one(cell)
    assert result.status == "done" and result.error is None and result.epochs_run == cell.optimizer.epochs
    check_whole_set(numpy, result.penalty_start, result.census_start)
    epochs = []
    assert [row.epoch for row in result.curve] == list(range(1, cell.optimizer.epochs + 1))
    for row in result.curve:
        epoch = numpy.train_epoch(row.epoch - 1)
        epochs.append(epoch)
        whole = numpy.evaluate_training_set()
        for metric in METRICS:
            assert getattr(row, metric) == pytest.approx(getattr(epoch, metric), rel=1e-6), (row.epoch, metric)
        assert row.penalty == (None if cell.penalty.kind == "none" else pytest.approx(epoch.penalty, rel=1e-6))
        for name in CENSUS:
            assert getattr(row, name) == pytest.approx(whole.mean(name), abs=1e-12)
    check_whole_set(numpy, result.penalty_last, result.census_last)
    for metric in METRICS:
        values = [getattr(epoch, metric) for epoch in epochs]
        best = max(values) if metric.endswith("acc") else min(values)
        found: Metric = getattr(result, metric)
        assert found.last == pytest.approx(values[-1], rel=1e-6)
        assert found.best == pytest.approx(best, rel=1e-6)
        assert found.best_epoch == 1 + values.index(best)
    return epochs


BATCHES = {"batch_size": 5, "lr": 0.03}
TRAININGS: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu, pooled": {"network": {"head": "max_avg_pool"}},
    "relu_bn": {"network": {"norm": "batch", "norm_momentum": 0.2}},
    "relu_bn, pooled": {"network": {"norm": "batch", "norm_momentum": 0.2, "head": "max_avg_pool"}},
    "sep_up, the paper's CIFAR": {
        "penalty": {"kind": "UP", "aggregate": "l2"},
        "network": {"head": "max_avg_pool", "init": "kaiming_uniform"},
    },
    "sep_up, the code's CIFAR": {
        "penalty": {"kind": "UP", "aggregate": "mean", "layers": "all"},
        "network": {"head": "max_avg_pool", "init": "kaiming_uniform"},
    },
    "sep_up, the code's MNIST": {
        "penalty": {"kind": "UP", "aggregate": "sum_sq", "scope": "position", "ties": "shared", "balance": 0.6},
        "optimizer": {"eps": 1e-7, "eps_rule": "keras", "shuffle": False},
    },
    "sep_u": {"penalty": {"kind": "U"}},
    "sep_p by position": {"penalty": {"kind": "P", "scope": "position"}},
    "sep_l": {"penalty": {"kind": "L", "layers": "all", "layer_weights": (0.5, 1.0, 2.0)}},
    "random ties from zero": {
        "penalty": {"kind": "UP", "ties": "random", "balance": 0.7},
        "network": {"init": "zero"},
    },
    "random ties of positions from zero": {
        "penalty": {"kind": "UP", "ties": "random", "balance": 0.7, "scope": "position", "layers": "all"},
        "network": {"init": "zero"},
    },
    "dropout": {"dropout": {"rate": 0.5, "anneal_epochs": 3}, "penalty": {"kind": "UP"}},
    "one batch": {"optimizer": {"batch_size": 100}, "penalty": {"kind": "UP"}},
    "one point a batch": {"optimizer": {"batch_size": 1}, "penalty": {"kind": "UP"}},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_training_in_mini_batches_is_numpys(name: str) -> None:
    case = dict(TRAININGS[name])
    penalty = {"weight": 0.05, **case.pop("penalty", {})}
    optimizer = {**BATCHES, **case.pop("optimizer", {}), "epochs": 4}
    # from zero with three classes, two of which stand equally often in a batch, rounding would choose the larger logit
    classes = 2 if case.get("network", {}).get("init") == "zero" else 3
    dataset = pictures(13, classes=classes, val_points=7)
    cell = make_cell(dataset=dataset, width=4, penalty=penalty, optimizer=optimizer, seed=11, **case)
    epochs = check_training(cell)
    if cell.network.init != "zero":
        assert len({epoch.train_acc for epoch in epochs} | {epoch.val_acc for epoch in epochs}) > 1, "accuracies move"


def what_was_computed(result: Result) -> Result:
    """The result without what a clock or the process says."""
    return dataclasses.replace(result, seconds=0.0, started="", peak_memory_bytes=None)


def test_shuffling_takes_another_order_every_epoch() -> None:
    """With a step too small to change a weight, the mean loss of an epoch is the same whatever the order."""
    optimizer = {"batch_size": 5, "lr": 1e-300, "epochs": 3}
    for shuffle in (True, False):
        cell = make_cell(dataset=pictures(13), optimizer={**optimizer, "shuffle": shuffle})
        assert {round(row.train_loss, 12) for row in train_one(cell).curve} == {round(probe(cell).task_loss, 12)}
    orders = {
        tuple(train_one(make_cell(dataset=pictures(13), optimizer={**BATCHES, "epochs": 2, **more}, seed=3)).curve)
        for more in ({"shuffle": True}, {"shuffle": False})
    }
    assert len(orders) == 2


def test_order_mates_and_threads_do_not_change_a_bit() -> None:
    cells = [
        make_cell(dataset=pictures(13), penalty={"kind": "UP", "ties": "random"}, optimizer={**BATCHES, "epochs": 3}),
        make_cell(dataset=pictures(13), network={"norm": "batch"}, width=7, optimizer={"epochs": 3}, seed=1),
        make_cell(dataset=pictures(13), precision="float32", depth=4, optimizer={**BATCHES, "epochs": 3}, seed=2),
    ]
    expected = {cell: what_was_computed(train_one(cell)) for cell in cells}
    before = torch.get_num_threads()
    try:
        for threads, fleet in ((1, cells), (2, cells[::-1])):
            torch.set_num_threads(threads)
            torch.manual_seed(threads)
            assert [what_was_computed(result) for result in train(fleet)] == [expected[cell] for cell in fleet]
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


MANY = 3001
"""Images of a set that is evaluated in parts of 700."""


@lru_cache(maxsize=2)
def sorted_by_brightness(spec: Pictures) -> Data:
    """Dark images first, so that what is dead or extreme differs from chunk to chunk."""
    data = data_of(spec)

    def ordered(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        brightness = torch.linspace(0, 220, len(x))[:, None, None, None]
        return (x // 8 + brightness).to(torch.uint8), y

    return Data(*ordered(data.x_train, data.y_train), *ordered(data.x_val, data.y_val), data.mean, data.std)


@pytest.mark.parametrize(
    ("kind", "scope", "aggregate"),
    [*itertools.product(["UP"], SCOPES, AGGREGATES), ("U", "channel", "mean"), ("P", "channel", "l2"), ("L",) * 3],
)
def test_a_set_that_is_evaluated_in_parts(
    kind: str, scope: str, aggregate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Penalty and census, before and after an epoch, are of the whole training set, the losses of all points."""
    monkeypatch.setitem(training._NUMBERS_AT_ONCE, "cpu", 700 * 3 * 6)
    scope, aggregate = ("channel", "l2") if kind == "L" else (scope, aggregate)
    cell = make_cell(
        dataset=pictures(MANY, val_points=MANY, image=(1, 3, 2)),
        network={"norm": "batch" if aggregate == "mean" else "none", "kernel": 1},
        penalty={"kind": kind, "scope": scope, "aggregate": aggregate, "layers": "all", "weight": 1e-3},
        optimizer={"batch_size": 1600, "epochs": 1},
        seed=2,
    )
    check_epoch_of_many(cell)


def test_a_set_larger_than_what_is_evaluated_at_once() -> None:
    """Four and a half million activations a layer, in parts of 4096 points."""
    cell = make_cell(
        dataset=pictures(4400, val_points=4200, image=(1, 2, 2)),
        depth=1,
        width=256,
        network={"kernel": 1, "head": "max_avg_pool"},
        penalty={"kind": "UP", "aggregate": "mean", "layers": "all", "weight": 0.1},
        optimizer={"batch_size": 4000, "epochs": 1},
    )
    check_epoch_of_many(cell)


def check_epoch_of_many(cell: Cell) -> None:
    assert isinstance(cell.dataset, Pictures)
    data = sorted_by_brightness(cell.dataset)
    numpy = NumpyCnn(cell, initial_of(cell), data)
    darkest = dataclasses.replace(data, x_train=data.x_train[:500], y_train=data.y_train[:500])
    brightest = dataclasses.replace(data, x_train=data.x_train[-500:], y_train=data.y_train[-500:])
    parts = [
        NumpyCnn(cell, numpy.parameters, part).evaluate_training_set().mean("dead_units")
        for part in (darkest, brightest)
    ]
    assert min(parts) > numpy.evaluate_training_set().mean("dead_units"), "units that only some parts see alive"
    result = train_one(cell, data)
    check_whole_set(numpy, result.penalty_start, result.census_start)
    epoch = numpy.train_epoch(0)
    check_whole_set(numpy, result.penalty_last, result.census_last)
    for metric in METRICS:
        assert getattr(result, metric).last == pytest.approx(getattr(epoch, metric), rel=1e-6), metric


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("head", HEADS)
def test_the_result_counts_every_trainable_number(head: str, norm: str) -> None:
    cell = make_cell(
        dataset=pictures(4, image=(2, 5, 4)),
        depth=3,
        width=4,
        network={"head": head, "norm": norm, "kernel": 5},
        optimizer={"epochs": 1},
    )
    convolutions = (25 * 2 * 4 + 4) + 2 * (25 * 4 * 4 + 4)
    output = {"flatten": 4 * 20 * 3 + 3, "max_avg_pool": 2 * 4 * 3 + 3}[head]
    norms = 3 * 2 * 4 if norm == "batch" else 0
    assert train_one(cell).n_params == convolutions + output + norms


@pytest.mark.parametrize("kind", ["none", "UP"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", [{}, {"norm": "batch"}], ids=str)
@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_inputs_that_are_no_numbers_diverge(precision: str, network: dict[str, str], head: str, kind: str) -> None:
    cell = make_cell(
        penalty={"kind": kind},
        network={**network, "head": head},
        optimizer={"epochs": 3, "batch_size": 4},
        precision=precision,
    )
    data = dataclasses.replace(data_for(cell), mean=(math.nan, 0.5))
    result = train_one(cell, data)
    assert (result.status, result.diverged_epoch, result.epochs_run) == ("diverged", 1, 0)
    assert [getattr(result, metric) for metric in METRICS] == [Metric()] * 4
    assert result.penalty_last is None and result.census_last is None and result.curve == ()


def test_a_later_divergence_keeps_what_came_before() -> None:
    """A learning rate that throws the weights beyond all numbers, in a few epochs."""
    cell = make_cell(
        dataset=pictures(13), penalty={"kind": "UP", "weight": 1.0}, optimizer={**BATCHES, "lr": 1e120, "epochs": 9}
    )
    result = train_one(cell)
    assert result.status == "diverged" and result.diverged_epoch is not None
    assert result.epochs_run == result.diverged_epoch - 1 == len(result.curve)
    assert all(getattr(result, metric).last is None for metric in METRICS)


# Precisions, and which engine trains a CNN


def two_kinds_of_images(cell: Cell) -> Data:
    """Bright on the left or on the right, under noise: learnt in a few epochs."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = rng.integers(0, 120, size=(80, 1, 6, 6))
    x[:40, :, :, :3] += 100 * (y[:40, None, None, None] == 0)
    x[:40, :, :, 3:] += 100 * (y[:40, None, None, None] == 1)
    x[40:, :, :, :3] += 100 * (y[40:, None, None, None] == 0)
    x[40:, :, :, 3:] += 100 * (y[40:, None, None, None] == 1)
    images, classes = torch.from_numpy(x.astype(np.uint8)), torch.from_numpy(y)
    return Data(images[:40], classes[:40], images[40:], classes[40:], (0.4,), (0.25,))


@pytest.mark.parametrize("network", [{}, {"norm": "batch"}], ids=str)
def test_bf16_trains_to_a_loss_near_that_of_float32(network: dict[str, str]) -> None:
    results = {}
    for precision in ("float64", "float32", "bf16"):
        cell = make_cell(
            dataset=pictures(40, val_points=40, image=(1, 6, 6), classes=2),
            depth=3,
            width=6,
            network=network,
            penalty={"kind": "UP", "weight": 1e-3},
            optimizer={"epochs": 12, "batch_size": 16, "lr": 0.003},
            precision=precision,
            seed=1,
        )
        results[precision] = train_one(cell, two_kinds_of_images(cell))
        assert results[precision].status == "done"
    wide, full, half = (
        np.array([row.train_loss for row in results[name].curve]) for name in ("float64", "float32", "bf16")
    )
    assert np.abs(full - wide).max() < 1e-3
    assert np.isfinite(half).all() and np.abs(half - full).max() < 0.1
    assert np.abs(half - full).max() > 1e-6, "bf16 rounds"
    assert results["bf16"].val_acc.last is not None and results["bf16"].val_acc.last >= 0.9
    assert results["bf16"].penalty_last == pytest.approx(results["float32"].penalty_last, rel=0.1)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_tf32_is_refused_on_the_cpu(engine: str) -> None:
    with pytest.raises(SettingError, match="precision") as caught:
        choose_engines(engine, "cpu", [make_cell(), make_cell(precision="tf32")])
    assert "tf32" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_images_are_trained_by_the_reference(precision: str) -> None:
    for choice in choose_engines("auto", "cpu", [make_cell(precision=precision), make_cell(depth=40, width=192)]):
        assert choice.engine is EagerEngine and choice.device == "cpu"
        assert choice.passed_over, "why no faster engine does is said"


@pytest.mark.parametrize("engine", ["native", "stacked"])
def test_the_fast_engines_refuse_images(engine: str) -> None:
    with pytest.raises(SettingError, match="engine"):
        choose_engines(engine, "cpu", [make_cell()])
