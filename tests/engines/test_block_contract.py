"""The equality contract for building blocks: every one alone, and random combinations, in float64."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

import contract
import numpy as np
import pytest
from contract import ENGINES, Case, Tally, cloud, disagreements, reference
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.description import spec_of
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.exchange import tensors_of
from jumpstart_exp.engines.native.extension import instruction_sets, native
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.build import parameter_shapes
from jumpstart_exp.networks.initialisation import INITIALISATIONS
from jumpstart_exp.result import ACTIVITY, CENSUS
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.reset import ResetSpec

COMMON = next(iter(ENGINES))
"""The fastest instruction set; the others are the same code, and are tried with fewer cells."""

PENALTIES = (PenaltySpec(), PenaltySpec("UP", 0.1), PenaltySpec("UP", 0.1, ties="shared", scope="position"))


def blocks() -> Iterator[NetworkSpec]:
    """Every activation, norm, skip and initialisation alone, with numbers that are not the defaults."""
    for name in ACTIVATIONS:
        yield NetworkSpec(activation=name, leaky_slope=0.1, prelu_start=0.3, sigmoid_gamma=3.0, tat_eta=0.5)
    yield NetworkSpec(norm="layer", norm_eps=0.01)
    for every, scale in itertools.product((1, 2, 3), ("1", "zero")):
        yield NetworkSpec(skip_every=every, skip_scale=scale)
    for name in INITIALISATIONS:
        yield NetworkSpec(init=name, activation="crelu" if name == "looks_linear" else "relu")


def cell_of(network: NetworkSpec, layout: str, penalty: PenaltySpec, width: int = 4) -> Cell | None:
    """Four hidden layers, some of whose inputs are dropped; None where the layout cannot have the block."""
    try:
        return Cell(
            dataset=cloud(21, 5),
            depth=4,
            width=width,
            network=dataclasses.replace(network, layout=layout),
            penalty=penalty,
            dropout=DropoutSpec(0.0 if penalty.kind == "none" else 0.3),
            precision="float64",
        )
    except SettingError:
        return None


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


@pytest.fixture
def is_common(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.callspec.params["engine"] in (COMMON, "stacked"))


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
def test_every_block_alone(engine: Engine, layout: str, is_common: bool) -> None:
    """Of an activation, norm, skip or initialisation that the engine does not refuse: the first step and the sixth.

    Initialisations are other numbers for the same steps: with one of the penalties.
    """
    tried = 0
    for network, penalty in itertools.product(blocks(), PENALTIES):
        is_usual = network.init == NetworkSpec().init
        if penalty is not PENALTIES[1] and not (is_common and is_usual):
            continue
        cell = cell_of(network, layout, penalty)
        if cell is None or engine.refuses(cell) is not None:
            continue
        tried += 1
        for steps in (0, 5):
            assert not disagreements(engine, Case(cell), steps, by_ulp=steps > 0), (network, penalty, steps)
    assert tried >= 4


def test_norms_and_skips_of_all_sizes(engine: Engine, is_common: bool) -> None:
    """Layers whose units fit into registers and wider ones, points in one block of them and in several."""
    networks = [NetworkSpec(norm="layer", norm_eps=0.01)]
    networks += [NetworkSpec(skip_every=every, skip_scale=scale) for every, scale in ((1, "zero"), (2, "1"))]
    tried = 0
    for network, width, points in itertools.product(networks, (1, 2, 3, 4, 5, 8, 9), (5, 130) if is_common else (40,)):
        for penalty in PENALTIES[:2]:
            cell = Cell(
                dataset=cloud(points, 5), depth=4, width=width, network=network, penalty=penalty, precision="float64"
            )
            if engine.refuses(cell) is not None:
                continue
            tried += 1
            assert not disagreements(engine, Case(cell), 3, by_ulp=True), (network, width, points, penalty)
    assert tried >= 28


@st.composite
def combinations(draw: st.DrawFn) -> Cell:
    """A random cell of the contract with other blocks."""
    cell: Cell = draw(contract.cells(deepest=8, is_first_step=False))
    activation = draw(st.sampled_from(sorted(ACTIVATIONS)))
    every = 0 if activation == "crelu" else draw(st.sampled_from([0, 1, 2, 3]))
    inits = sorted(set(INITIALISATIONS) - {"looks_linear", "glorot_uniform_2x1", "block_orthogonal", "zero"})
    norm = draw(st.sampled_from(["none", "layer", "batch"] if cell.dataset.sizes()[0] >= 8 else ["none", "layer"]))
    network = dataclasses.replace(
        cell.network,
        activation=activation,
        leaky_slope=draw(st.sampled_from([0.0, 0.01, 0.3])),
        sigmoid_gamma=draw(st.sampled_from([0.5, 2.0])),
        norm=norm,
        norm_eps=0.1,
        skip_every=every,
        skip_scale=draw(st.sampled_from(["1", "zero"])),
        init=draw(st.sampled_from(inits)),
    )
    try:
        return dataclasses.replace(cell, network=network)
    except SettingError:
        assume(False)
        raise


def test_random_combinations(engine: Engine, is_common: bool) -> None:
    """Activation × norm × skips × initialisation × layout × penalty × dropout, some steps in."""
    tally = Tally()

    @settings(
        max_examples=60 if isinstance(engine, NativeEngine) and is_common else 10,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(cell=combinations(), steps=st.sampled_from([0, 3]))
    def check(cell: Cell, steps: int) -> None:
        assume(engine.refuses(cell) is None)
        assume(tally.accepts(reference(Case(cell), steps)))
        assert not disagreements(engine, Case(cell), steps, by_ulp=True), steps

    check()


@pytest.mark.parametrize("points", [65, 66, 69])
def test_padding_holds_no_extreme_of_its_own(engine: Engine, points: int) -> None:
    """Points that leave vectors of padding: a tie that only a copy of the last point had would be shared by none."""
    cell = Cell(
        dataset=cloud(points),
        depth=20,
        width=9,
        network=NetworkSpec(activation="sigmoid", norm="layer"),
        penalty=PenaltySpec("U", 1.0, 0.0, 0.001, ties="shared"),
        dropout=DropoutSpec(0.3),
        precision="float64",
        seed=595,
    )
    assert not disagreements(engine, Case(cell), 0, by_ulp=False)


@pytest.mark.parametrize("ties", ["shared", "random"])
@pytest.mark.parametrize("kind", ["U", "L"])
def test_padding_that_rounding_sets_apart_is_no_tied_entry(engine: Engine, kind: str, ties: str) -> None:
    """Behind a layer norm what repeats the last point may be rounded otherwise than it, and hold the extreme."""
    for seed in (1, 4, 7):
        cell = Cell(
            dataset=cloud(71, classes=3, features=7),
            depth=56,
            width=18,
            network=NetworkSpec(norm="layer"),
            penalty=PenaltySpec(kind=kind, ties=ties, weight=1e-3),
            precision="float64",
            seed=seed,
        )
        if engine.refuses(cell) is None:
            assert not disagreements(engine, Case(cell), 0, by_ulp=True)


def test_trained_numbers_move(engine: Engine) -> None:
    """prelu's slopes and ReZero's factors are trained as the reference trains them, and do not stay."""
    for network, name in (
        (NetworkSpec(activation="prelu"), "slopes.1"),
        (NetworkSpec(skip_every=2, skip_scale="zero"), "skips.0"),
    ):
        cell = Cell(
            dataset=cloud(21, 5),
            depth=5,
            width=4,
            network=network,
            optimizer=OptimizerSpec(lr=0.05),
            precision="float64",
        )
        if engine.refuses(cell) is not None:
            continue
        case = Case(cell)
        found, expected = (engine.probe(cell, case.data, 10), reference(case, 10).probe)
        assert found.parameters[name] == pytest.approx(expected.parameters[name], rel=1e-8)
        assert abs(found.parameters[name] - case.initial()[name]).max() > 0.01


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
def test_the_census_is_the_references(layout: str) -> None:
    """Before a step: dead and linear where the activation has them, dormant units and firing rates of all."""
    engine = ENGINES[COMMON]()
    for network in blocks():
        cell = cell_of(network, layout, PenaltySpec(), width=5)
        if cell is None or engine.refuses(cell) is not None:
            continue
        cell = dataclasses.replace(cell, optimizer=OptimizerSpec(epochs=1))
        found, expected = (contract.train_one(one, cell).census_start for one in (engine, EagerEngine()))
        assert found is not None and expected is not None
        for name in (*CENSUS, *ACTIVITY, "dead_at_some_layer"):
            own, wanted = getattr(found, name), getattr(expected, name)
            assert (own is None) == (wanted is None), (network, name)
            assert own is None or own == pytest.approx(wanted, abs=1e-12), (network, name)


def test_regression() -> None:
    """Mean squared error, its gradient and R², from the formulas: the targets are float64, the last layer is affine."""
    cell = Cell(dataset=cloud(21, 5), depth=1, width=3, precision="float64", optimizer=OptimizerSpec(epochs=1))
    random = np.random.default_rng(0)
    x, y, x_val, y_val = (random.normal(size=size) for size in ((21, 2), 21, (5, 2), 5))
    spec = {**spec_of(cell, 1, True), "task": "regression"}
    for name in instruction_sets():
        found = native.probe(spec, x, y, x_val, y_val, name, 0, [])
        tensors = tensors_of(found["parameters"], parameter_shapes(cell))
        hidden = np.maximum(x @ tensors["hidden.0.weight"].T + tensors["hidden.0.bias"], 0)
        errors = hidden @ tensors["output.weight"][0] + tensors["output.bias"] - y
        assert found["task_loss"] == pytest.approx((errors**2).mean(), rel=1e-12)
        gradients = tensors_of(found["gradients"], parameter_shapes(cell))
        assert gradients["output.weight"][0] == pytest.approx(2 / 21 * errors @ hidden, rel=1e-11)
        results: dict[int, Any] = {}
        nothing = [lambda: False, results.__setitem__, lambda *_: None, lambda *_: None]
        native.train([spec], x, y, x_val, y_val, 1, name, math.inf, *nothing)
        assert not results[0]["error"]
        assert results[0]["train_acc"][1] == pytest.approx(1 - (errors**2).mean() / y.var(), rel=1e-11)
        with pytest.raises(ValueError, match="a target is no finite number"):
            native.probe(spec, x, np.full(21, np.nan), x_val, y_val, name, 0, [])
        with pytest.raises(ValueError, match="a label is not among the classes"):
            native.probe({**spec, "task": "classification"}, x, y, x_val, y_val, name, 0, [])


def takes(engine: Engine, cell: Cell) -> bool:
    """Whether the engine trains the cell: native has to."""
    refusal = engine.refuses(cell)
    assert refusal is None or not isinstance(engine, NativeEngine), refusal
    return refusal is None


FARKAS: dict[str, dict[str, Any]] = {
    "glorot": {},
    "he": {"network": NetworkSpec(farkas=True, init="he_normal")},
    "two units": {"width": 2},
    "points and units": {"penalty": PENALTIES[1], "width": 3},
    "clipped": {"optimizer": OptimizerSpec(clip_norm=0.05)},
    "decayed": {"optimizer": OptimizerSpec("adamw", weight_decay=0.1)},
    "momentum": {"optimizer": OptimizerSpec("sgd", lr=0.05, momentum=0.9)},
    "rprop": {"optimizer": OptimizerSpec("rprop", lr=0.01)},
    "skips": {"network": NetworkSpec(farkas=True, skip_every=2, skip_scale="zero")},
    "prelu": {"network": NetworkSpec(farkas=True, activation="prelu", prelu_start=0.3)},
    "dropout": {"dropout": DropoutSpec(0.3)},
    "wide": {"width": 17, "depth": 3},
}


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
@pytest.mark.parametrize("name", FARKAS)
def test_a_unit_that_is_bound_to_the_others(engine: Engine, layout: str, name: str) -> None:
    """Farkas layers: where the biases are equal, as they begin, and after steps that move them apart."""
    values = {"network": NetworkSpec(farkas=True), "depth": 4, "width": 4, **FARKAS[name]}
    values["network"] = dataclasses.replace(values["network"], layout=layout)
    cell = Cell(dataset=cloud(21, 5), precision="float64", **values)
    if not takes(engine, cell):
        return
    for steps in (0, 1, 6):
        assert not disagreements(engine, Case(cell), steps, by_ulp=steps > 0), steps


FIXUP: dict[str, dict[str, Any]] = {
    "two": {},
    "three, one left over": {"network": {"skip_every": 3}, "depth": 5},
    "He": {"network": {"init": "he_normal"}},
    "leaky": {"network": {"activation": "leaky_relu", "leaky_slope": 0.1}},
    "GELU": {"network": {"activation": "gelu"}},
    "clipped": {"optimizer": OptimizerSpec(clip_norm=0.05)},
    "rows": {"optimizer": OptimizerSpec(row_penalty=0.1, row_limit=0.5, row_layers=(1, 3))},
    "momentum": {"optimizer": OptimizerSpec("sgd", lr=0.05, momentum=0.9)},
    "dropout": {"dropout": DropoutSpec(0.3)},
    "wide": {"width": 17},
}


@pytest.mark.parametrize("name", FIXUP)
def test_fixup(engine: Engine, name: str) -> None:
    """Also from random numbers: as it begins, the skipped branches and the output are 0."""
    values = {"depth": 5, "width": 4, **FIXUP[name]}
    network = NetworkSpec(**{"skip_every": 2, "skip_scale": "fixup", **values.pop("network", {})})
    cell = Cell(dataset=cloud(21, 5), precision="float64", network=network, **values)
    if not takes(engine, cell):
        return
    for steps in (0, 1, 6):
        assert not disagreements(engine, Case(cell), steps, by_ulp=steps > 0), steps
    random = np.random.default_rng(len(name))
    start = {key: random.normal(0, 0.5, shape) for key, shape in parameter_shapes(cell).items()}
    found, expected = (each.probe(cell, Case(cell).data, 0, start) for each in (engine, EagerEngine()))
    assert max(contract.distances(found, expected, cell).values()) < 1e-9


RESETS: dict[str, dict[str, Any]] = {
    "every step": {"reset": ResetSpec(1, 0.9)},
    "he, Adam": {"reset": ResetSpec(2, 0.8), "network": NetworkSpec(init="he_normal")},
    "penalty": {"reset": ResetSpec(2, 0.9), "penalty": PENALTIES[1]},
    "momentum": {"reset": ResetSpec(2, 0.7), "optimizer": OptimizerSpec("sgd", lr=0.05, momentum=0.9)},
    "biases": {"reset": ResetSpec(2, 0.9), "network": NetworkSpec(init="kaiming_uniform")},
    "dead alone": {"reset": ResetSpec(2, 0.0), "width": 3, "depth": 6},
}


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
@pytest.mark.parametrize("name", RESETS)
def test_dormant_units_that_begin_anew(engine: Engine, layout: str, name: str) -> None:
    """After one reset and after several; each changes something, or the case says nothing."""
    values = {"network": NetworkSpec(), "depth": 4, "width": 6, **RESETS[name]}
    values["network"] = dataclasses.replace(values["network"], layout=layout)
    cell = Cell(dataset=cloud(21, 5), precision="float64", **values)
    if not takes(engine, cell):
        return
    plain = dataclasses.replace(cell, reset=ResetSpec())
    for steps in (2, 7):
        assert not disagreements(engine, Case(cell), steps, by_ulp=True), steps
    with_resets, without = (reference(Case(each), 7).probe.parameters for each in (cell, plain))
    assert any((with_resets[key] != value).any() for key, value in without.items())


def test_what_native_has_not_is_refused_by_name() -> None:
    engine = ENGINES[COMMON]()
    for network, name in ((NetworkSpec(widths=(2, 3)), "network.widths="),):
        refusal = engine.refuses(Cell(network=network))
        assert refusal is not None and f"the engine native does not take {name}" in refusal


@pytest.mark.parametrize(
    "values",
    [{"penalty": PENALTIES[1]}, {"network": NetworkSpec(skip_every=2, skip_scale="fixup", layout="conv2x1")}],
    ids=["penalty", "conv2x1"],
)
def test_fixup_of_what_native_has_not_is_refused_in_python_and_in_cpp(values: dict[str, Any]) -> None:
    fixup = NetworkSpec(skip_every=2, skip_scale="fixup")
    cell = Cell(**{"dataset": cloud(21, 5), "depth": 5, "width": 4, "network": fixup, **values})
    refusal = ENGINES[COMMON]().refuses(cell)
    assert refusal is not None and "network.skip_scale=fixup of perceptrons without a penalty only" in refusal
    with pytest.raises(ValueError, match=r"ixup"):
        native.workspace_bytes(spec_of(cell, 1, evaluate=True), 21, 5)
