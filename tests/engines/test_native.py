"""The C++ engine: whole trainings, threads, interruptions, limits, and what it must not touch."""

import dataclasses
import math
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import METHODS, Case, assert_same_result, cloud, distances, train, train_one, what_was_computed
from numpy_training import NumpyTraining

from jumpstart_exp.cell import Cell
from jumpstart_exp.data import DATASETS
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.engine import DEEPEST, WIDEST, NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.networks.build import build
from jumpstart_exp.result import LayerCensus, Metric, Result
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")

MOONS = load(Cell().dataset, Path("no files needed"))


@pytest.fixture(params=instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("method", ["sep_up", "relu_bn", "sep_up 2×1"])
def test_a_whole_training_is_numpys(instruction_set: str, method: str) -> None:
    """Every epoch's losses, accuracies and penalty, and the last census, as float64 NumPy has them."""
    epochs = 25
    network = {"relu_bn": NetworkSpec(norm="batch"), "sep_up 2×1": NetworkSpec(layout="conv2x1")}.get(method)
    cell = Cell(
        depth=5,
        width=7,
        network=network or NetworkSpec(),
        penalty=PenaltySpec(kind="UP" if method.startswith("sep_up") else "none", weight=0.01),
        optimizer=OptimizerSpec(epochs=epochs),
        precision="float64",
        seed=3,
    )
    initial = {name: value.detach().numpy() for name, value in build(cell).named_parameters()}
    reference = NumpyTraining(cell, initial, MOONS)
    expected = reference.run(epochs)
    result = train_one(NativeEngine(curve_every=1, instruction_set=instruction_set), cell, MOONS)
    assert (result.status, result.epochs_run, len(result.curve)) == ("done", epochs, epochs)
    for row, epoch in zip(result.curve, expected, strict=True):
        assert (row.train_acc, row.val_acc) == (epoch.train_acc, epoch.val_acc)
        assert row.train_loss == pytest.approx(epoch.train_loss, rel=1e-9)
        assert row.val_loss == pytest.approx(epoch.val_loss, rel=1e-9)
        assert (row.penalty or 0.0) == pytest.approx(epoch.penalty, rel=1e-9)
    for metric in ("train_acc", "val_acc", "train_loss", "val_loss"):
        values = [getattr(epoch, metric) for epoch in expected]
        best = int(np.argmax(values) if metric.endswith("acc") else np.argmin(values))
        wanted = Metric(values[-1], values[best], best + 1)
        assert dataclasses.astuple(getattr(result, metric)) == pytest.approx(dataclasses.astuple(wanted), rel=1e-9)
    _, census = reference.evaluate_training_set()
    assert result.census_last is not None
    assert {name: result.census_last.mean(name) for name in census} == pytest.approx(census)
    assert result.census_last.dead_at_some_layer == pytest.approx(reference.dead_at_some_layer(), abs=1e-12)


SHAPES: dict[str, dict[str, Any]] = {
    "1×1": {"depth": 1, "width": 1},
    "widest": {"depth": 2, "width": WIDEST, "optimizer": OptimizerSpec(epochs=3, lr=1e-4)},
    "deepest": {"depth": DEEPEST, "width": 2, "optimizer": OptimizerSpec(epochs=2)},
    "deepest sep_l 2×1": {
        "depth": DEEPEST,
        "width": 1,
        "network": NetworkSpec(layout="conv2x1"),
        "penalty": PenaltySpec(kind="L"),
        "optimizer": OptimizerSpec(epochs=2),
    },
    **{f"{n} points": {"dataset": cloud(n, max(1, n // 5))} for n in (1, 2, 15, 16, 17, 85, 96, 97, 300)},
    "more to validate than to train": {"dataset": cloud(3, 200)},
    "ten classes": {"dataset": cloud(60, 30, classes=10, features=5)},
    "three classes, one feature": {"dataset": cloud(33, 7, classes=3, features=1)},
}


@cache
def as_the_reference_trains(cell: Cell) -> Result:
    return train_one(EagerEngine(curve_every=1), cell)


@pytest.mark.parametrize("name", SHAPES)
def test_any_shape_trains_as_the_reference_does(instruction_set: str, name: str) -> None:
    fields = {"dataset": cloud(), "depth": 3, "width": 5, "optimizer": OptimizerSpec(epochs=6), **SHAPES[name]}
    fields = {"penalty": PenaltySpec(kind="UP", weight=1e-3), "dropout": DropoutSpec(0.2, 4), **fields}
    cell = Cell(**fields, precision="float64", seed=5)
    expected = as_the_reference_trains(cell)
    found = train_one(NativeEngine(curve_every=1, instruction_set=instruction_set), cell)
    assert expected.status == "done"
    assert_same_result(found, expected, tolerance=1e-7)


def fleet() -> list[Cell]:
    """Float32 cells of every method, of sizes that share nothing."""
    shapes = [(1, 1), (30, 3), (5, 17), (12, 4), (60, 2), (2, 64), (8, 8)]
    return [
        Cell(
            dataset=cloud(85, 15),
            depth=depth,
            width=width,
            optimizer=OptimizerSpec(epochs=40 + 3 * index),
            seed=index,
            method=method,
            **fields,
        )
        for index, ((method, fields), (depth, width)) in enumerate(zip(METHODS.items(), shapes, strict=True))
    ]


def test_threads_mates_and_order_change_no_bit(instruction_set: str) -> None:
    cells = fleet()
    alone = {cell: what_was_computed(train_one(NativeEngine(instruction_set=instruction_set), cell)) for cell in cells}
    assert all(result.status == "done" for result in alone.values())
    for threads, order in ((1, cells), (2, cells[::-1]), (7, cells), (3, [*cells[3:], *cells])):
        found = train(NativeEngine(threads=threads, instruction_set=instruction_set), order)
        assert sorted(result.cell.method for result in found) == sorted(cell.method for cell in order)
        assert all(what_was_computed(result) == alone[result.cell] for result in found)


def test_the_largest_networks_start_first() -> None:
    started: list[Cell] = []

    def note(cell: Cell, epochs: int) -> None:
        if epochs == 0 and cell not in started:
            started.append(cell)

    NativeEngine(threads=1).train(fleet(), Case(fleet()[0]).data, on_result=lambda result: None, on_progress=note)
    seconds = [NativeEngine.estimate_seconds(cell) for cell in started]
    assert len(started) == len(fleet()) and seconds == sorted(seconds, reverse=True)


DIVERGING: dict[str, dict[str, Any]] = {
    "step too long": {"optimizer": OptimizerSpec(lr=1e30, epochs=9)},
    "step beyond every number": {"optimizer": OptimizerSpec(lr=1e300, epochs=9)},
    "penalty beyond every number": {
        "penalty": PenaltySpec(kind="U", margin_above=1e30, aggregate="sum_sq"),
        "optimizer": OptimizerSpec(epochs=9),
    },
    "penalty beyond every number, l2": {
        "penalty": PenaltySpec(kind="P", margin_above=1e30, aggregate="l2"),
        "optimizer": OptimizerSpec(epochs=9),
    },
    "gradient beyond every number": {
        "penalty": PenaltySpec(kind="L", weight=1e38, margin_above=100.0, layer_weights=(1e3, 1e3, 1e3)),
        "optimizer": OptimizerSpec(epochs=9),
    },
    "everything far below zero": {
        "penalty": PenaltySpec(kind="U", balance=0.0, margin_below=-1e38),
        "optimizer": OptimizerSpec(lr=1e37, epochs=9),
    },
    "under batch norm": {"network": NetworkSpec(norm="batch"), "optimizer": OptimizerSpec(lr=1e38, epochs=9)},
    "after a while": {"penalty": PenaltySpec(kind="UP"), "optimizer": OptimizerSpec(lr=300.0, epochs=200)},
    "2×1": {"network": NetworkSpec(layout="conv2x1"), "optimizer": OptimizerSpec(lr=1e20, epochs=9)},
    "three classes": {"dataset": cloud(21, classes=3, features=3), "optimizer": OptimizerSpec(lr=1e25, epochs=9)},
}


@pytest.mark.parametrize("name", DIVERGING)
def test_what_is_not_finite_diverges_in_the_references_epoch(instruction_set: str, name: str) -> None:
    cell = Cell(**{"dataset": cloud(), "depth": 3, "width": 4, **DIVERGING[name]}, seed=1)
    expected = train_one(EagerEngine(curve_every=1), cell)
    found = train_one(NativeEngine(curve_every=1, instruction_set=instruction_set), cell)
    if name != "after a while":
        assert expected.status == "diverged"
    assert (found.status, found.diverged_epoch) == (expected.status, expected.diverged_epoch)
    assert found.epochs_run == expected.epochs_run
    if expected.status == "diverged":
        assert found.train_acc.last is found.val_loss.last is found.penalty_last is found.census_last is None
        assert_same_result(found, expected, tolerance=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["x_train", "x_val"])
def test_points_that_are_no_numbers_diverge_at_once(instruction_set: str, value: float, where: str) -> None:
    cell = Cell(dataset=cloud(), depth=2, width=16, penalty=PenaltySpec(kind="UP"), optimizer=OptimizerSpec(epochs=3))
    data = Case(cell).data
    points = getattr(data, where).clone()
    points[1, 0] = value
    data = dataclasses.replace(data, **{where: points})
    expected = train_one(EagerEngine(), cell, data)
    found = train_one(NativeEngine(instruction_set=instruction_set), cell, data)
    assert (expected.status, expected.diverged_epoch) == ("diverged", 1)
    assert (found.status, found.diverged_epoch) == ("diverged", 1)


FAR_BELOW: dict[str, tuple[PenaltySpec, int, int]] = {
    "parameters": (PenaltySpec(kind="U", balance=0.0, margin_below=-3e38), 50, 12),
    "penalty after the last epoch": (PenaltySpec(kind="U", balance=0.25, aggregate="sum_sq"), 1, 1),
}


@pytest.mark.parametrize("name", FAR_BELOW)
def test_what_neither_loss_shows_diverges_too(instruction_set: str, name: str) -> None:
    """All points are 0, so only the bias moves, down: ReLU hides it from both losses, and −∞ as well."""
    penalty, epochs, diverged_epoch = FAR_BELOW[name]
    cell = Cell(
        dataset=cloud(),
        depth=1,
        width=1,
        network=NetworkSpec(init="zero"),
        penalty=penalty,
        optimizer=OptimizerSpec(lr=3e37, epochs=epochs),
        task_loss=False,
    )
    data = Case(cell).data
    zeros = Data(torch.zeros_like(data.x_train), data.y_train, torch.zeros_like(data.x_val), data.y_val)
    expected = train_one(EagerEngine(curve_every=1), cell, zeros)
    found = train_one(NativeEngine(curve_every=1, instruction_set=instruction_set), cell, zeros)
    assert (expected.status, expected.diverged_epoch) == ("diverged", diverged_epoch)
    assert_same_result(found, expected, tolerance=0.01)


def test_a_cell_that_diverges_leaves_its_mates_alone() -> None:
    cells = fleet()
    alone = {cell: what_was_computed(train_one(NativeEngine(), cell)) for cell in cells}
    wild = [dataclasses.replace(cell, optimizer=OptimizerSpec(lr=1e30, epochs=50)) for cell in cells[:3]]
    found = train(NativeEngine(threads=2), [wild[0], *cells, *wild[1:]])
    assert [result.status for result in found if result.cell in wild] == ["diverged"] * 3
    assert all(what_was_computed(result) == alone[result.cell] for result in found if result.cell in alone)


def test_without_memory_a_cell_fails_and_the_others_go_on() -> None:
    points = 200_000
    huge = Cell(dataset=cloud(points), depth=1000, width=256, optimizer=OptimizerSpec(epochs=1))
    small = dataclasses.replace(huge, depth=1, width=1)
    assert NativeEngine.estimate_memory_bytes(huge) > 200e9
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (100_000_000_000, limits[1]))  # whatever the system would promise
    try:
        failed, done = train(NativeEngine(), [small, huge])
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert (failed.cell, failed.status) == (huge, "failed")
    assert (failed.error or "").startswith("MemoryError: not enough memory for the network")
    assert failed.train_loss == Metric() and failed.started and failed.seconds >= 0
    assert (done.cell, done.status) == (small, "done")


def denormals_survive() -> bool:
    tiny = np.float32(1e-40)
    return bool(tiny * np.float32(1) > 0) and bool((torch.tensor([1e-40]) * torch.ones(1) > 0).all())


def test_flush_to_zero_of_the_calling_process_is_untouched() -> None:
    """The kernel flushes denormal numbers in its own threads; in a probe it runs in the caller's."""
    seen: list[bool] = []
    cell = fleet()[1]
    NativeEngine(threads=2).train(
        fleet(),
        Case(cell).data,
        on_result=lambda result: seen.append(denormals_survive()),
        on_progress=lambda cell, epochs: seen.append(denormals_survive()),
    )
    NativeEngine().probe(cell, Case(cell).data, 5)
    assert all(seen) and seen and denormals_survive()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("size", [(3, 3), (200, 256)])
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_within_a_second_and_keeps_what_is_finished(
    ctrl_c: None, threads: int, size: tuple[int, int]
) -> None:
    depth, width = size
    endless = Cell(dataset=cloud(85, 15), depth=depth, width=width, optimizer=OptimizerSpec(epochs=100_000_000))
    # the one that is estimated to take longest starts first, and diverges at once
    short = dataclasses.replace(endless, optimizer=OptimizerSpec(lr=1e300, epochs=200_000_000))
    cells = [*(dataclasses.replace(endless, seed=seed) for seed in range(3)), short]
    finished: list[Result] = []
    pressed = 0.0

    def press() -> None:
        nonlocal pressed
        pressed = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    def watch(cell: Cell, epochs: int) -> None:
        nonlocal presser
        if cell != short and finished and presser is None:
            presser = threading.Thread(target=press)
            presser.start()

    presser: threading.Thread | None = None
    with pytest.raises(KeyboardInterrupt):
        NativeEngine(threads=threads).train(cells, Case(short).data, on_result=finished.append, on_progress=watch)
    assert pressed and time.perf_counter() - pressed < 1
    assert presser is not None
    presser.join()
    assert [(result.cell, result.status) for result in finished] == [(short, "diverged")]


class StopError(Exception):
    pass


@pytest.mark.parametrize("where", ["on_result", "on_progress"])
def test_an_exception_of_the_caller_stops_the_training(where: str) -> None:
    endless = dataclasses.replace(fleet()[1], optimizer=OptimizerSpec(epochs=100_000_000))
    # the one that is estimated to take longest starts first, and diverges at once
    short = dataclasses.replace(endless, optimizer=OptimizerSpec(lr=1e300, epochs=200_000_000))
    cells = [endless, short, *fleet()]

    def fail(*arguments: Any) -> None:
        raise StopError("enough")

    functions: dict[str, Any] = {
        "on_result": lambda result: None,
        "on_progress": lambda cell, epochs: None,
        where: fail,
    }
    started = time.perf_counter()
    with pytest.raises(StopError, match="enough"):
        NativeEngine(threads=2).train(cells, Case(cells[0]).data, **functions)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_begins_with_nothing_done_and_never_falls(threads: int) -> None:
    cells = [
        dataclasses.replace(cell, optimizer=OptimizerSpec(epochs=epochs), seed=epochs)
        for cell in fleet()
        for epochs in (1, 900)
    ]
    said: dict[Cell, list[int]] = {}
    ended: list[Cell] = []

    def note(cell: Cell, epochs: int) -> None:
        assert cell not in ended
        said.setdefault(cell, []).append(epochs)

    def end(result: Result) -> None:
        assert said[result.cell][0] == 0
        ended.append(result.cell)

    NativeEngine(threads=threads).train(cells, Case(cells[0]).data, on_result=end, on_progress=note)
    assert set(ended) == set(cells) == set(said)
    assert all(steps == sorted(steps) and steps[-1] <= cell.optimizer.epochs for cell, steps in said.items())


def test_progress_is_told_while_a_network_trains() -> None:
    long = dataclasses.replace(fleet()[0], optimizer=OptimizerSpec(epochs=3_000_000))
    said: set[int] = set()

    def note(cell: Cell, epochs: int) -> None:
        said.add(epochs)
        if len(said) == 4:
            raise StopError

    with pytest.raises(StopError):
        NativeEngine().train([long], Case(long).data, on_result=lambda result: None, on_progress=note)


def test_without_evaluation_only_the_training_is_done() -> None:
    cell = fleet()[4]
    result = train_one(NativeEngine(evaluate=False), cell)
    assert (result.status, result.epochs_run) == ("done", cell.optimizer.epochs)
    assert result.curve == () and result.penalty_start is result.penalty_last is result.census_start is None
    assert result.census_last is None
    assert result.train_acc == result.val_acc == result.train_loss == result.val_loss == Metric()
    wild = dataclasses.replace(cell, optimizer=OptimizerSpec(lr=1e30, epochs=9))
    evaluated = train_one(NativeEngine(), wild)
    assert train_one(NativeEngine(evaluate=False), wild).diverged_epoch in (evaluated.diverged_epoch, 2, 3)


def test_what_it_refuses_and_why() -> None:
    refuses = NativeEngine.refuses
    assert refuses(Cell(optimizer=OptimizerSpec(batch_size=84))) == "the engine native trains full batches only"
    assert refuses(Cell(optimizer=OptimizerSpec(batch_size=85))) is None
    limits = "the engine native trains networks up to depth 1000 and width 256"
    assert refuses(Cell(width=257)) == refuses(Cell(depth=1001)) == limits
    assert refuses(Cell(width=256, depth=1000)) is None
    with pytest.raises(SettingError, match=r"device.*cpu"):
        NativeEngine("cuda")
    with pytest.raises(SettingError, match=r"instruction_set.*portable"):
        NativeEngine(instruction_set="mmx")


def test_the_estimated_memory_grows_with_the_network() -> None:
    base: dict[str, Any] = {"dataset": cloud(85, 15), "depth": 10, "width": 8}
    memory = NativeEngine.estimate_memory_bytes
    small = memory(Cell(**base))
    assert small > 10 * 8 * 85 * 4
    larger: tuple[dict[str, Any], ...] = (
        {"depth": 11},
        {"width": 9},
        {"dataset": cloud(200, 15)},
        {"dataset": cloud(85, 500)},
        {"precision": "float64"},
        {"network": NetworkSpec(norm="batch")},
        {"network": NetworkSpec(layout="conv2x1")},
        {"penalty": PenaltySpec(kind="UP")},
        {"dropout": DropoutSpec(0.5)},
    )
    assert all(memory(Cell(**{**base, **fields})) > small for fields in larger)
    assert memory(Cell(width=1000)) == 0


def test_the_first_point_of_tied_ones_is_the_lowest_in_its_order() -> None:
    """Two points that are the same: the gradient of `single` ties is the first one's, whatever stands between."""
    cell = Cell(
        dataset=cloud(40, features=3),
        depth=1,
        width=8,
        penalty=PenaltySpec(kind="UP", weight=1.0),
        dropout=DropoutSpec(0.5),
        precision="float64",
    )
    data = Case(cell).data
    x = data.x_train[:20].repeat(2, 1)
    twice = Data(x, data.y_train, data.x_val, data.y_val)
    for ties in ("single", "shared", "random"):
        tied = dataclasses.replace(cell, penalty=dataclasses.replace(cell.penalty, ties=ties), dropout=DropoutSpec())
        for name in instruction_sets():
            found = NativeEngine(instruction_set=name).probe(tied, twice)
            assert max(distances(found, EagerEngine().probe(tied, twice), tied).values()) <= 1e-9


def test_the_census_counts_layer_by_layer() -> None:
    """The layers' own fractions, not only their mean, in both layouts."""
    for layout in ("mlp", "conv2x1"):
        cell = Cell(depth=20, width=3, network=NetworkSpec(layout=layout), optimizer=OptimizerSpec(epochs=2), seed=3)
        found, expected = (train_one(engine, cell, MOONS) for engine in (NativeEngine(), EagerEngine()))
        assert isinstance(found.census_start, LayerCensus) and found.census_start == expected.census_start
        assert len(set(found.census_start.dead_units)) > 2


def test_points_dead_at_some_layer_are_counted_once() -> None:
    """Biases revive what is dead, so the share is not that of any layer; a point that is dead at two counts once."""
    shares: list[tuple[float, float]] = []
    for seed in range(8):
        cell = Cell(depth=10, width=3, optimizer=OptimizerSpec(epochs=300), penalty=PenaltySpec("U", 0.01), seed=seed)
        last = train_one(NativeEngine(), cell, MOONS).census_last
        assert last is not None and last.dead_at_some_layer is not None
        assert max(last.dead_points) <= last.dead_at_some_layer <= min(1.0, sum(last.dead_points)) + 1e-12
        shares.append((last.dead_at_some_layer, max(last.dead_points)))
    assert any(share > most for share, most in shares), "a case where no layer's own share is it"


def test_it_refuses_in_its_own_name() -> None:
    """What other engines can do is theirs to say."""
    constrained = Cell(penalty=PenaltySpec("UP", layers="all"))
    for cell in (constrained, Cell(dataset=DATASETS["mnist"]())):
        refusal = NativeEngine.refuses(cell)
        assert refusal is not None
        assert "the engine native does not" in refusal
