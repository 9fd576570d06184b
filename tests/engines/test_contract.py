"""The equality contract: in float64 every engine computes what the reference and the formulas compute."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import contract
import numpy as np
import pytest
from contract import (
    ENGINES,
    METHODS,
    NEAR_TIE,
    TOLERANCE,
    Case,
    Tally,
    assert_same_result,
    cloud,
    disagreements,
    distances,
    moved,
    reference,
    train_one,
)
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.strategies import SearchStrategy
from numpy_training import KNOWN, NumpyTraining, is_known

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.capabilities import SUPPORTED, Values
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.result import Result
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec

STEPS = 20
SIDES = ("above", "below")
TIES = ("shared", "single", "random")


FULL_BUDGET = next(iter(ENGINES))
"""The fastest instruction set: the others are the same code, and `stacked` by torch.func is the reference's."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


@pytest.fixture
def share(request: pytest.FixtureRequest) -> int:
    """One of so many random cases is checked."""
    engine = request.node.callspec.params["engine"]
    return 1 if engine == FULL_BUDGET else 3 if engine == "stacked" else 5


def for_random(strategy: SearchStrategy[Any], count: int, check: Callable[[Any], None]) -> None:
    """Run the check on the same random cases for every engine: their references are computed once."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),  # shrinking deep networks takes longer than reading the cell
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def run(case: Any) -> None:
        check(case)

    run()


def test_a_choice_that_joins_an_engines_list_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fancy" not in contract.supported("optimizer.name")
    monkeypatch.setitem(SUPPORTED["stacked"], "optimizer.name", Values(("adam", "fancy")))
    assert contract.supported("optimizer.name")[-1] == "fancy"


def test_random_cells_at_initialisation(engine: Engine, share: int) -> None:
    """Loss, penalty and every gradient tensor, to 1e-9 of its largest entry, from every start.

    Many layers of batch norm are ill-conditioned: where all points are nearly alike to a unit, it takes their rounding
    errors for what tells them apart. These may differ by what the weights' last places do to the reference.
    """
    tally = Tally()

    def check(case: Case) -> None:
        assume(engine.refuses(case.cell) is None)
        assume(tally.accepts(reference(case, 0)))
        is_ill_conditioned = case.cell.network.norm != "none" and case.cell.depth > 8
        assert not disagreements(engine, case, 0, by_ulp=is_ill_conditioned)

    for_random(contract.cases(), 400 if share == 1 else 200 // share, check)
    ties = [f"exact tie {side}, {rule}" for side in SIDES for rule in TIES]
    wanted = [
        "deficit above",
        "deficit below",
        "dead layer",
        "depth ≥ 50",
        "all constraints met",
        *ties,
    ]
    tally.check([*wanted, "width 1", "width 2 to 15", "width 16 and more"] if share == 1 else [], at_least=2)
    tally.check(["linear layer"] if share == 1 else [], at_least=1)


@pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.soak)])
def test_random_cells_after_twenty_steps(engine: Engine, share: int, count: int) -> None:
    """To 1e-9, or ten times what one unit in the last place of the initial weights does to the reference."""
    tally = Tally()
    to_tolerance = 0

    def check(cell: Cell) -> None:
        nonlocal to_tolerance
        assume(engine.refuses(cell) is None)
        case = Case(cell)
        assume(tally.accepts(reference(case, STEPS)))
        beyond = disagreements(engine, case, STEPS, by_ulp=False)
        assert not beyond or not disagreements(engine, case, STEPS, by_ulp=True)
        to_tolerance += not beyond

    for_random(contract.cells(is_first_step=False), count // share, check)
    tally.check(["deficit above", "deficit below", "dead layer"] if share == 1 else [], at_least=3)
    assert to_tolerance >= 0.8 * (tally.drawn - tally.drawn_again), (
        "the allowance by units in the last place is for few"
    )


@pytest.mark.parametrize("steps", [0, 12])
def test_random_relaxed_cells(engine: Engine, share: int, steps: int) -> None:
    """Losses and gradients, those of relaxed values too: to 1e-9, after steps as above."""
    assert engine.refuses(Cell(rai=RaiSpec(weight=1.0), precision="float64")) is None
    tally = Tally()

    def check(cell: Cell) -> None:
        assume(cell.rai_weight and engine.refuses(cell) is None)
        case = Case(cell)
        assume(tally.accepts(reference(case, steps)))
        assert not disagreements(engine, case, steps, by_ulp=steps > 0)

    for_random(contract.relaxed_cells(), 80 // share, check)


def test_random_cells_against_numpy(engine: Engine, share: int) -> None:
    """The first step and the sixth, as float64 NumPy computes them from the formulas."""
    agreed = 0

    def check(cell: Cell) -> None:
        nonlocal agreed
        assume(is_known(cell) and cell.dataset.classes == 2 and engine.refuses(cell) is None)
        case, steps = Case(cell), 5 * (cell.network.init != "zero" and cell.dropout.rate < 0.9)
        expected, closest = numpy_probe(case, case.initial(), steps)
        assume(closest > NEAR_TIE)
        apart = distances(engine.probe(cell, case.data, steps), expected, cell)
        if max(apart.values()) > TOLERANCE and steps:
            own = distances(numpy_probe(case, moved(case.initial(), 2), steps)[0], expected, cell)
            apart = {name: value for name, value in apart.items() if value > 10 * own[name]}
        assert max(apart.values(), default=0) <= TOLERANCE, apart
        agreed += 1

    for_random(contract.cells(deepest=8, known=KNOWN), 40 // share, check)
    assert agreed >= 20 // share - 1


def numpy_probe(case: Case, initial: Tensors, steps: int) -> tuple[Probe, float]:
    """The step after `steps` steps, and the smallest distance of what rounding alone could turn round."""
    training = NumpyTraining(case.cell, initial, case.data)
    points = np.arange(len(training.x_train))
    for epoch in range(steps):
        training.adam(training.batch(points, epoch).gradients)
    batch = training.batch(points, steps)
    return Probe(batch.task, batch.penalty, batch.gradients, training.parameters), training.closest


def tied_cells() -> Iterator[Cell]:
    """Every shape, kind and rule, one half with balance ½: each shape and kind, and each rule with both balances."""
    shapes = (("mlp", "channel", 2), ("conv2x1", "channel", 2), ("conv2x1", "position", 2), ("mlp", "channel", 5))
    for (shape, (layout, scope, features)), (place, kind), (rule, ties) in itertools.product(
        enumerate(shapes), enumerate(("U", "P", "UP", "L")), enumerate(TIES)
    ):
        balance = (0.5, 0.51)[(shape + place + rule) % 2]
        yield Cell(
            dataset=cloud(19 if features == 2 else 45, features=features),
            depth=4,
            width=6 if features == 2 else 19,
            network=NetworkSpec(layout=layout),
            penalty=PenaltySpec(
                kind=kind, weight=0.1, balance=balance, ties=ties, scope=scope, aggregate="l2" if kind == "P" else "sum"
            ),
            precision="float64",
            seed=7,
        )


@pytest.mark.parametrize("start", ["zero", "zero and dropout", "dead", "alike", "coarse"])
def test_exact_ties(engine: Engine, start: str) -> None:
    """Every tie rule where maxima and minima are reached by several entries at once: whose the gradient is, exactly."""
    missed = []
    for cell in tied_cells():
        if start in ("alike", "coarse"):
            cell = dataclasses.replace(cell, dataset=dataclasses.replace(cell.dataset, is_coarse=True))
        if start.startswith("zero"):
            cell = dataclasses.replace(cell, network=dataclasses.replace(cell.network, init="zero"))
        if start == "zero and dropout":
            cell = dataclasses.replace(cell, dropout=DropoutSpec(0.9))
        case = Case(cell, "drawn" if start.startswith("zero") else start)
        if start == "coarse":  # so large that the constraints of a few only are violated
            margins = dataclasses.replace(cell.penalty, margin_above=4.0, margin_below=-4.0)
            case = dataclasses.replace(case, cell=dataclasses.replace(cell, penalty=margins))
        is_tied = any(fact.startswith("exact tie") for fact in reference(case, 0).facts)
        if not is_tied:
            missed.append(case)
        assert not disagreements(engine, case, 0, by_ulp=False), case
    # the one pair of constraints of a layer is met or reached by a single entry in some
    assert all(case.cell.penalty.kind == "L" for case in missed) and len(missed) <= 12, missed


@pytest.mark.parametrize("ties", TIES)
def test_a_constraint_that_is_just_met_has_no_gradient(engine: Engine, ties: str) -> None:
    """max(0, z) has the slope 0 at 0: where a maximum or minimum is exactly its margin."""
    reached: Counter[str] = Counter()
    for kind, layout, margin in itertools.product(("U", "P", "UP", "L"), ("mlp", "conv2x1"), (0.5, 1.0, 1.5, 2.0)):
        cell = Cell(
            dataset=cloud(30, is_coarse=True),
            depth=2,
            width=5,
            network=NetworkSpec(layout=layout),
            penalty=PenaltySpec(kind=kind, weight=1.0, margin_above=margin, margin_below=-margin, ties=ties),
            precision="float64",
        )
        for seed in range(2):
            case = Case(dataclasses.replace(cell, seed=seed), "coarse")
            reached.update(
                f"{kind} {layout} {fact}" for fact in reference(case, 0).facts if fact.startswith("just met")
            )
            assert not disagreements(engine, case, 0, by_ulp=False), case
    for kind, layout, side in itertools.product(("U", "P", "UP", "L"), ("mlp", "conv2x1"), SIDES):
        assert reached[f"{kind} {layout} just met {side}"] >= 1, (kind, layout, side)


AS_PUBLISHED: dict[str, Any] = {
    "network": NetworkSpec(layout="conv2x1"),
    "penalty": PenaltySpec(kind="UP", aggregate="sum_sq", ties="shared", scope="position"),
    "optimizer": OptimizerSpec(eps=1e-7, eps_rule="keras"),
}
CASES = {**METHODS, "as published": AS_PUBLISHED}


@pytest.mark.parametrize("aggregate", ["sum", "mean", "l2", "sum_sq"])
@pytest.mark.parametrize("ties", ["shared", "single"])
def test_the_two_sides_cancel_exactly_where_nothing_is_alive(engine: Engine, ties: str, aggregate: str) -> None:
    """With ρ = ½ a dead layer's maximum is pushed up and its minimum down, by as much: not a bit may be left.

    Adam makes a step of whatever is left, and a unit whose pre-activation is 0 wakes up.
    """
    shapes = (("mlp", "channel"), ("conv2x1", "channel"), ("conv2x1", "position"))
    for (place, kind), (shape, (layout, scope)) in itertools.product(
        enumerate(("U", "P", "UP", "L")), enumerate(shapes)
    ):
        for number, start in enumerate(("zero", "dead")):
            weight = (1e-4, 0.3)[(place + shape + number) % 2]
            cell = Cell(
                dataset=cloud(19),
                depth=4,
                width=6,
                network=NetworkSpec(layout=layout, init="zero" if start == "zero" else "glorot_uniform"),
                penalty=PenaltySpec(
                    kind=kind,
                    weight=weight,
                    aggregate=aggregate,
                    ties=ties,
                    scope=scope,
                    layer_weights=(0.3, 0.7, 1.1, 0.9),
                ),
                precision="float64",
            )
            case = Case(cell, "dead" if start == "dead" else "drawn")
            found = engine.probe(cell, case.data, initial=case.initial())
            for name, expected in reference(case, 0).probe.gradients.items():
                assert not found.gradients[name][expected == 0].any(), (case, name)


@pytest.mark.parametrize("method", CASES)
def test_deep_networks_of_every_method(engine: Engine, method: str) -> None:
    """Fifty and more layers on as many points as published, until rounding alone decides something.

    Under batch norm they are so chaotic that nothing can be said after a few steps.
    """
    for depth, width in ((50, 4), (60, 15)):
        case = Case(Cell(dataset=cloud(85, 15), depth=depth, width=width, precision="float64", **CASES[method]))
        assert not disagreements(engine, case, 0, by_ulp=False), (depth, width)
        for steps in (1, 3) if method == "relu_bn" or depth == 60 else (1, 3, 10, STEPS):
            if reference(case, steps).closest <= NEAR_TIE:
                break
            assert not disagreements(engine, case, steps, by_ulp=True), (depth, width, steps)


@pytest.mark.parametrize("points", [1, 2, 7, 8, 9, 15, 16, 17, 48, 85, 96, 97, 193, 300])
def test_any_number_of_points(engine: Engine, points: int) -> None:
    """One point and a vector more or less: what fills up the last vector is never seen."""
    for layout, norm in itertools.product(("mlp", "conv2x1"), ("none", "batch")):
        if points == 1 and norm == "batch":
            continue
        cell = Cell(
            dataset=cloud(points, points),
            depth=3,
            width=5,
            network=NetworkSpec(layout=layout, norm=norm),
            penalty=PenaltySpec(kind="UP", weight=0.1, aggregate="l2", ties="shared" if layout == "mlp" else "single"),
            dropout=DropoutSpec(0.3),
            precision="float64",
        )
        for steps in (0, 5):
            assert not disagreements(engine, Case(cell), steps, by_ulp=steps > 0), (layout, norm, steps)


@pytest.mark.parametrize("features", [1, 3, 4, 17, 64])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_any_number_of_features_and_classes(engine: Engine, features: int, classes: int) -> None:
    cell = Cell(
        dataset=cloud(33, features=features, classes=classes),
        depth=2,
        width=9,
        penalty=PenaltySpec(kind="U", weight=0.1),
        dropout=DropoutSpec(0.5),
        precision="float64",
    )
    for steps in (0, 5):
        assert not disagreements(engine, Case(cell), steps, by_ulp=steps > 0), steps


@pytest.mark.parametrize("width", [1, 2, 31, 64, 129, 256])
def test_any_width(engine: Engine, width: int) -> None:
    for layout in ("mlp", "conv2x1"):
        cell = Cell(
            dataset=cloud(21),
            depth=3,
            width=width,
            network=NetworkSpec(layout=layout),
            penalty=PenaltySpec(kind="UP", weight=0.01),
            precision="float64",
        )
        for steps in (0, 3):
            assert not disagreements(engine, Case(cell), steps, by_ulp=steps > 0), (layout, steps)


def test_all_constraints_met_is_no_gradient_and_no_nan(engine: Engine) -> None:
    for aggregate in ("sum", "mean", "l2", "sum_sq"):
        spec = PenaltySpec(kind="UP", weight=1.0, aggregate=aggregate, margin_above=-50.0, margin_below=-50.5)
        met = PenaltySpec(kind="L", weight=1.0, aggregate=aggregate, margin_above=1e-9, margin_below=-1e-9)
        for penalty in (spec, met):
            cell = Cell(dataset=cloud(), depth=3, width=8, penalty=penalty, precision="float64")
            plain = Case(dataclasses.replace(cell, penalty=PenaltySpec()))
            found = engine.probe(cell, plain.data)
            if penalty is met:
                assert found.penalty == 0
                assert max(distances(found, reference(plain, 0).probe, plain.cell).values()) <= TOLERANCE
            assert not disagreements(engine, Case(cell), 0, by_ulp=False)


@pytest.mark.parametrize("init", ["glorot_uniform", "glorot_uniform_2x1", "kaiming_uniform", "zero"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_all_start_from_the_same_bits(engine: Engine, init: str, precision: str) -> None:
    layouts = ("mlp",) if init == "glorot_uniform_2x1" else ("mlp", "conv2x1")
    for layout, width, seed in itertools.product(layouts, (1, 4, 33), (0, 2**32 - 1)):
        cell = Cell(
            dataset=cloud(),
            depth=3,
            width=width,
            network=NetworkSpec(layout=layout, init=init, norm="batch" if width == 4 else "none"),
            precision=precision,
            seed=seed,
        )
        found, expected = engine.probe(cell, data := Case(cell).data), EagerEngine().probe(cell, data)
        assert found.parameters.keys() == expected.parameters.keys()
        for name, value in expected.parameters.items():
            assert value.shape == found.parameters[name].shape
            assert np.array_equal(found.parameters[name], value), name


@pytest.mark.parametrize("classes", [2, 3])
def test_equal_logits_are_class_0(engine: Engine, classes: int) -> None:
    """Of two classes a logit is class 1 above 0, of more the first of the largest wins."""
    cell = Cell(
        dataset=cloud(30, 10, classes=classes), network=NetworkSpec(init="zero"), optimizer=OptimizerSpec(epochs=1)
    )
    data = Case(cell).data
    for each in (engine, EagerEngine()):
        assert train_one(each, cell, data).train_acc.last == pytest.approx(float((data.y_train == 0).double().mean()))


def test_float32_is_close_at_the_first_step(engine: Engine) -> None:
    """A float32 engine that rounds where the reference does not would be off by more than its own rounding."""
    for method, fields in CASES.items():
        cell = Cell(dataset=cloud(85, 15), depth=6, width=10, **fields)
        case = Case(cell)
        apart = distances(engine.probe(cell, case.data), reference(case, 0).probe, cell)
        assert max(apart.values()) <= 2e-4, (method, apart)


def two_positions(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "network": dataclasses.replace(fields.get("network", NetworkSpec()), layout="conv2x1")}


TRAININGS: dict[str, dict[str, Any]] = {
    **CASES,
    **{f"{method} 2×1": two_positions(fields) for method, fields in METHODS.items()},
    **{
        f"batch norm with its own ε and momentum, {layout}": {
            "network": NetworkSpec(layout=layout, norm="batch", norm_eps=0.1, norm_momentum=0.3),
            "penalty": PenaltySpec(kind="UP", weight=0.01),
        }
        for layout in ("mlp", "conv2x1")
    },
    "three classes": {
        "dataset": cloud(40, 11, classes=3, features=3),
        "penalty": PenaltySpec(kind="UP", weight=0.01, ties="shared"),
    },
    "constraints only": {"penalty": PenaltySpec(kind="UP", weight=0.1), "task_loss": False},
}


@lru_cache(maxsize=200)
def trained_reference(cell: Cell, curve_every: int | None) -> Result:
    return train_one(EagerEngine(curve_every=curve_every), cell)


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("name", ENGINES)
def test_a_training_has_the_references_result(name: str, training: str) -> None:
    """Metrics with their best epochs, penalty, the census of every layer and the curve at two spacings."""
    fields = {"dataset": cloud(85, 15), "depth": 4, "width": 6, **TRAININGS[training]}
    optimizer = dataclasses.replace(fields.get("optimizer", OptimizerSpec()), epochs=16)
    cell = Cell(**{**fields, "optimizer": optimizer}, precision="float64", seed=2)
    for curve_every in (1, (7, None)[list(TRAININGS).index(training) % 2]):
        expected = trained_reference(cell, curve_every)
        assert expected.status == "done"
        found = train_one(ENGINES[name](curve_every=curve_every), cell)
        assert (found.engine, found.device) == (name.split()[0], "cpu")
        assert_same_result(found, expected, tolerance=1e-7)
