"""The engines' equality contract as code: the engines, random cells and starts, and how far two probes are apart."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import reject
from hypothesis import strategies as st
from numpy.typing import NDArray

from jumpstart_exp.cell import SPECS, Cell, cell_fields
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.capabilities import SUPPORTED, Numbers, Values
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.eager.training import Loss, Training
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.probe import Probe
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.networks.build import build
from jumpstart_exp.result import Result
from jumpstart_exp.settings import SettingError, setting
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.penalty import PenaltySpec

Array = NDArray[np.float64]

TOLERANCE = 1e-9
"""Of a tensor's largest entry."""

NEAR_TIE = 1e-12
"""Two unequal candidates for a maximum or minimum this close are told apart by rounding alone."""

ENGINES: dict[str, Callable[..., Engine]] = {
    **{f"native {name}": partial(NativeEngine, instruction_set=name) for name in instruction_sets()},
    "stacked": StackedEngine,
}
"""What is compared with the reference: every engine, and every instruction set that the machine has."""

METHODS: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu_bn": {"network": NetworkSpec(norm="batch")},
    **{f"sep_{kind.lower()}": {"penalty": PenaltySpec(kind=kind)} for kind in ("U", "P", "UP", "L")},
    "zero_init": {
        "network": NetworkSpec(init="zero"),
        "penalty": PenaltySpec(kind="UP", balance=0.51),
        "dropout": DropoutSpec(0.9, 1000),
    },
}
"""The fields that the papers' methods differ in."""


@dataclass(frozen=True)
class Cloud(DatasetSpec):
    """Random points: any number of them, of features and of classes."""

    name: str = setting("cloud")
    train_points: int = setting(20, low=1)
    val_points: int = setting(4, low=1)
    is_coarse: bool = setting(False, about="multiples of ½, some of them equal")

    title: ClassVar[str] = "Cloud"
    task: ClassVar[str] = "classification"
    threshold: ClassVar[float] = 0.95

    def full_sizes(self) -> tuple[int, int]:
        return self.train_points, self.val_points


@cache
def cloud_class(classes: int, features: int) -> type[Cloud]:
    return type(f"Cloud{classes}x{features}", (Cloud,), {"classes": classes, "features": features})


def cloud(train_points: int = 20, val_points: int = 4, *, classes: int = 2, features: int = 2, **values: Any) -> Cloud:
    return cloud_class(classes, features)(train_points=train_points, val_points=val_points, **values)


@lru_cache(maxsize=256)
def data_of(spec: Cloud) -> Data:
    random = np.random.default_rng([spec.train_points, spec.features, spec.classes])

    def points(count: int) -> torch.Tensor:
        x = random.normal(size=(count, spec.features))
        return torch.from_numpy(np.clip(np.round(2 * x), -2, 2) / 2 if spec.is_coarse else x)

    def labels(count: int) -> torch.Tensor:
        return torch.from_numpy(random.integers(spec.classes, size=count))

    return Data(points(spec.train_points), labels(spec.train_points), points(spec.val_points), labels(spec.val_points))


@dataclass(frozen=True)
class Case:
    """A cell and where its weights start.

    `drawn`: at the cell's own. `dead`: a layer in the middle is off for every point, and all that comes after it sees
    zeros. `alike`: all units of a hidden layer have the same weights, multiples of 1/16 where the data are coarse.
    `coarse`: weights are multiples of ½. Of coarse data the sums of few layers are then exact, in whatever order a
    processor's libraries add, and so are ties.
    """

    cell: Cell
    start: str = "drawn"

    STARTS: ClassVar = ("drawn", "dead", "alike", "coarse")

    @property
    def data(self) -> Data:
        assert isinstance(self.cell.dataset, Cloud)
        return data_of(self.cell.dataset)

    def initial(self) -> dict[str, Array]:
        values = {name: value.detach().double().numpy().copy() for name, value in build(self.cell).named_parameters()}
        if self.start == "dead":
            layer = self.cell.depth // 2
            for last in (f"norms.{layer}.bias", f"hidden.{layer}.bias"):
                if last in values:
                    values[last][:] = -1e3
                    break
        elif self.start == "alike":
            for name, value in values.items():
                if not name.startswith("output"):  # equal logits would leave nothing but rounding to go back
                    value[:] = np.round(16 * value[:1]) / 16 if self.cell.dataset.is_coarse else value[:1]
        elif self.start == "coarse":
            for name, value in values.items():
                if not name.startswith("norms"):
                    values[name] = np.clip(np.round(2 * value), -2, 2) / 2
        return values


DIRECTIONS = 8
"""In which the initial weights are moved by one unit in the last place, until one explains the difference."""


def moved(values: Mapping[str, Array], direction: int) -> dict[str, Array]:
    """Every number one unit in the last place away: all up, all down, or each at random.

    Zeros stay, for a dead unit must not wake.
    """
    random = np.random.default_rng(direction)
    return {
        name: np.where(
            value == 0,
            value,
            np.nextafter(value, np.where(random.random(value.shape) < (0, 1, 0.5)[min(direction, 2)], -1e300, 1e300)),
        )
        for name, value in values.items()
    }


@dataclass(frozen=True)
class Look:
    """The reference's next step after `steps` steps, and what it met on the way."""

    probe: Probe
    closest: float  # distance of two unequal candidates for a maximum or minimum, the smallest so far
    facts: frozenset[str]


@lru_cache(maxsize=2000)
def reference(case: Case, steps: int, direction: int | None = None) -> Look:
    """The reference engine's probe, watched; from weights moved in a direction where one is given."""
    cell, initial = case.cell, case.initial()
    seen: list[Array] = []
    with _watched(seen):
        start = initial if direction is None else moved(initial, direction)
        probe = EagerEngine().probe(cell, case.data, steps, start)
    return Look(probe, min(closest(cell, g) for g in seen), frozenset(facts(cell, seen[-1])))


@contextmanager
def _watched(seen: list[Array]) -> Iterator[None]:
    """The pre-activations of every training step, (layers, points, channels, positions) each."""
    genuine = Training.loss

    def loss(training: Training, x: torch.Tensor, *rest: Any) -> Loss:
        def keep(module: object, inputs: object, outputs: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
            layers = torch.stack(outputs[1]).detach().double().numpy()
            seen.append(layers if layers.ndim == 4 else layers[..., None])

        handle = training.network.register_forward_hook(keep)
        try:
            return genuine(training, x, *rest)
        finally:
            handle.remove()

    Training.loss = loss  # type: ignore[method-assign]
    try:
        yield
    finally:
        Training.loss = genuine  # type: ignore[method-assign]


def constraint_entries(g: Array, kind: str, scope: str) -> Array:
    """(layers, constraints, entries) from (layers, points, channels, positions)."""
    layers, points, channels, positions = g.shape
    if kind == "L":
        return g.reshape(layers, 1, -1)
    if kind == "U":
        by_channel = g.transpose(0, 2, 3, 1)
        return by_channel.reshape(layers, *((channels, -1) if scope == "channel" else (channels * positions, points)))
    by_point = g.transpose(0, 1, 3, 2)
    return by_point.reshape(layers, *((points, -1) if scope == "channel" else (points * positions, channels)))


def extremes(cell: Cell, g: Array) -> Iterator[tuple[str, Array, Array, Array]]:
    """Of every kind and side: its name, the signed entries, their maxima and the deficits."""
    spec = cell.penalty
    if cell.penalty_weight == 0:
        return
    for kind in spec.kind:
        for side, sign, margin in (("above", 1, spec.margin_above), ("below", -1, spec.margin_below)):
            entries = sign * constraint_entries(g, kind, spec.scope)
            most = entries.max(axis=2)
            yield side, entries, most, sign * margin - most


def closest(cell: Cell, g: Array) -> float:
    """The smallest distance of two unequal candidates: entries of a violated constraint, or a deficit and 0.

    And of what a batch norm gives and 0: of points that are all alike to a unit it makes rounding alone.
    """
    distances: list[Array] = [np.abs(g[g != 0])] if cell.network.norm == "batch" else []
    for _, entries, most, deficits in extremes(cell, g):
        others = np.where(entries == most[:, :, None], -np.inf, entries).max(axis=2)
        distances += [(most - others)[deficits > -NEAR_TIE], np.abs(deficits[deficits != 0])]
    return min((float(distance.min()) for distance in distances if distance.size), default=np.inf)


def facts(cell: Cell, g: Array) -> Iterator[str]:
    """What the step reaches, in words."""
    yield f"width {'1' if cell.width == 1 else '2 to 15' if cell.width < 16 else '16 and more'}"
    if cell.depth >= 50:
        yield "depth ≥ 50"
    if (g <= 0).all(axis=(1, 2, 3)).any():
        yield "dead layer"
    if (g > 0).all(axis=(1, 2, 3)).any():
        yield "linear layer"
    some = False
    for side, entries, most, deficits in extremes(cell, g):
        active = deficits > 0
        some |= bool(active.any())
        if active.any():
            yield f"deficit {side}"
        if (deficits == 0).any():
            yield f"just met {side}"
        if ((entries == most[:, :, None]).sum(axis=2)[active] > 1).any():
            yield f"exact tie {side}, {cell.penalty.ties}"
    if cell.penalty_weight and not some:
        yield "all constraints met"


def distances(found: Probe, expected: Probe, cell: Cell) -> dict[str, float]:
    """How far losses, penalty and every gradient tensor are apart, relative to their size, a tensor's largest entry.

    What cancels but for rounding has no size of its own, so it is measured against what it was summed from: a tensor
    against a ten-thousandth of its layer's largest gradient and of λ, the output's bias also of the loss, a hidden
    bias that batch norm takes out again against its layer's largest gradient, a penalty that is almost nothing against
    a millionth of the margins, a loss that is almost nothing against a hundred-thousandth: torch takes it as a
    difference of logits, which at 25 are known to 4e-15. How far relaxed values are from what they stand for is known
    to a rounding of theirs: its gradients are measured against a hundred-thousandth of its weight.
    """
    assert found.gradients.keys() == expected.gradients.keys()
    assert found.method_gradients.keys() == expected.method_gradients.keys()
    apart = {
        "task_loss": abs(found.task_loss - expected.task_loss) / max(abs(expected.task_loss), 1e-5),
        "penalty": abs(found.penalty - expected.penalty) / max(abs(expected.penalty), 1e-6),
        "relaxation": abs(found.relaxation - expected.relaxation) / max(abs(expected.relaxation), 1e-6),
    }
    relaxing = 1e-5 * max(cell.rai_weight, cell.rai.final_weight if cell.rai.schedule != "constant" else 0.0)
    for name, value in expected.method_gradients.items():
        size = max(np.abs(value).max(), relaxing / len(value), 1e-300)
        apart[name] = float(np.abs(found.method_gradients[name] - value).max() / size)
    largest: Counter[str] = Counter()
    for name, value in expected.gradients.items():
        largest[_layer(name)] = max(largest[_layer(name)], np.abs(value).max())
    for name, value in expected.gradients.items():
        is_taken_out = cell.network.norm == "batch" and name.startswith("hidden") and name.endswith("bias")
        size = max(
            np.abs(value).max(),
            (1.0 if is_taken_out else 1e-4) * largest[_layer(name)],
            1e-4 * cell.penalty_weight,
            relaxing if cell.rai_weight else 0.0,
            1e-4 * min(1.0, expected.task_loss) if name == "output.bias" and cell.task_loss else 0.0,
            1e-300,
        )
        apart[name] = float(np.abs(found.gradients[name] - value).max() / size)
    return {name: np.inf if np.isnan(value) else value for name, value in apart.items()}


def _layer(name: str) -> str:
    return "output" if name.startswith("output") else name.split(".")[1]


def disagreements(engine: Engine, case: Case, steps: int, *, by_ulp: bool) -> dict[str, tuple[float, float]]:
    """What is further apart than the contract allows: how far, and how far it may be.

    Args:
        engine: compared with the reference.
        case: what both compute.
        steps: taken before the one that is compared.
        by_ulp: allows ten times what one unit in the last place of the initial weights does to the reference.
    """
    expected = reference(case, steps).probe
    found = engine.probe(case.cell, case.data, steps, case.initial())
    apart = distances(found, expected, case.cell)
    beyond = {name: (value, TOLERANCE) for name, value in apart.items() if not value <= TOLERANCE}
    for direction in range(DIRECTIONS if by_ulp else 0):
        if not beyond:
            break
        own = distances(reference(case, steps, direction).probe, expected, case.cell)
        beyond = {name: (value, max(allowed, 10 * own[name])) for name, (value, allowed) in beyond.items()}
        beyond = {name: (value, allowed) for name, (value, allowed) in beyond.items() if not value <= allowed}
    return beyond


Known = Mapping[str, Sequence[Any]]
"""Of some fields the choices that are drawn; those with a neutral value that are not among them keep it."""


def supported(name: str, known: Known | None = None) -> list[Any]:
    """The values of a field that an engine beside the reference lists; of one that takes numbers, two.

    A value or a field that joins the list of an engine is compared from then on, but for what is not `known`.
    """
    field = cell_fields()[name]
    if known is not None and name in known:
        return [value for value in supported(name) if value in known[name]] or [field.default]
    if known is not None and field.neutral is not None:
        return [field.default]
    found: dict[Any, None] = {}
    for engine in sorted({name.split()[0] for name in ENGINES}):
        match SUPPORTED[engine].get(name):
            case Values(listed):
                found |= dict.fromkeys(listed)
            case Numbers() as numbers if not isinstance(field.default, tuple | None):
                more = field.default + 2 if isinstance(field.default, int) else 0.8 * field.default or 0.2
                found |= dict.fromkeys(value for value in (field.default, more) if value in numbers)
    return list(found) or [field.default]


def usually(name: str, *usual: Any, without: Sequence[Any] = (), known: Known | None = None) -> st.SearchStrategy[Any]:
    """In half of the draws one of the usual values, the default where none is given; else any that is supported."""
    usual = usual or (cell_fields()[name].default,)
    return one_of_both(usual, tuple(value for value in supported(name, known) if value not in without))


@cache
def one_of_both(usual: tuple[Any, ...], rest: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(usual), st.sampled_from(rest))


def cell_of(fields: Mapping[str, Any]) -> Cell:
    """The cell with these fields, by their dotted names; what is not allowed together is drawn again."""
    parts: dict[str, dict[str, Any]] = {"": {}, **{part: {} for part in SPECS}}
    for name, value in fields.items():
        part, _, last = name.rpartition(".")
        parts[part][last] = value
    try:
        return Cell(**parts.pop(""), **{part: SPECS[part](**values) for part, values in parts.items()})
    except SettingError:
        reject()


@st.composite
def cells(draw: st.DrawFn, deepest: int = 60, *, is_first_step: bool = True, known: Known | None = None) -> Cell:
    """Any combination of what the compared engines support (`capabilities.py`), in float64; of what is `known`.

    For more than the first step without what makes near ties of ties: zero weights, units that begin nearly alike
    (deep_narrow), and units whose input is all
    dropped, for Adam's first step is ±lr whatever the gradient; more than twenty layers under a penalty, where the
    points come so close to each other that two in five such cells had to be drawn again.
    """
    kind = draw(usually("penalty.kind", "none", "UP", known=known))
    if not is_first_step and kind != "none":
        deepest = min(deepest, 20)
    depth = draw(st.one_of(*[st.integers(1, min(most, deepest)) for most in (8, 20, 60)]))
    layout = draw(usually("network.layout", known=known))
    norm = draw(usually("network.norm", known=known))
    share = st.floats(0, 1, width=16)
    fields = {
        "dataset": cloud(
            # under batch norm two points are ±1 whatever the weights, and nothing but rounding passes
            draw(st.integers(8 if norm != "none" else 1, 110)),
            classes=draw(st.sampled_from([2, 2, 2, 3, 5])),
            features=2 if layout == "conv2x1" else draw(st.sampled_from([2, 2, 1, 3, 7])),
        ),
        "depth": depth,
        "width": draw(st.one_of(st.integers(1, 8), st.integers(2, 40), st.integers(9, 40))),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "network.layout": layout,
        "network.norm": norm,
        "network.norm_eps": draw(st.sampled_from([1e-3, 0.1])),
        "network.norm_momentum": draw(st.sampled_from([0.01, 0.3])),
        "network.init": draw(
            usually("network.init", "glorot_uniform", "zero")
            if is_first_step
            else usually("network.init", without=["zero", "deep_narrow", "hyperplane"])
        ),
        "penalty.kind": kind,
        "penalty.weight": draw(st.sampled_from([1e-4, 0.1, 1.0])),
        "penalty.balance": draw(st.one_of(st.sampled_from([0.5, 0.51, 0.0, 1.0]), share)),
        "penalty.margin_above": draw(st.sampled_from([1.0, 0.3, 1e-3])),
        "penalty.margin_below": draw(st.sampled_from([-1.0, -2.0, -1e-3])),
        "penalty.aggregate": draw(st.sampled_from(supported("penalty.aggregate", known))),
        "penalty.ties": draw(st.sampled_from(supported("penalty.ties", known))),
        "penalty.scope": draw(st.sampled_from(supported("penalty.scope", known))),
        "penalty.layer_weights": draw(st.none() | st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 2.5])] * depth)),
        "dropout.rate": draw(st.sampled_from([0.0, 0.0, 0.3, 0.9 if is_first_step else 0.1])),
        "dropout.anneal_epochs": draw(st.sampled_from([3, 30, 1000])),
        "optimizer.lr": draw(st.sampled_from([0.01, 0.001])),
        "optimizer.beta1": draw(st.sampled_from([0.9, 0.5])),
        "optimizer.beta2": draw(st.sampled_from([0.999, 0.9])),
        "optimizer.eps": draw(st.sampled_from([1e-8, 1e-7, 1e-3])),
        "optimizer.epochs": 30,
        "task_loss": kind == "none" or draw(st.sampled_from([True, True, True, False])),
        "precision": "float64",
    }
    engines = {name.split()[0] for name in ENGINES}
    rest = sorted({name for engine in engines for name in SUPPORTED[engine]} - fields.keys())
    others = {
        name: draw(st.sampled_from(supported(name, known)))
        if draw(st.integers(0, 5)) == 0
        else cell_fields()[name].default
        for name in rest  # few of them at a time: no engine but the reference takes all together
        if not name.startswith(("dataset.", "rai."))  # of relaxed layers: `relaxed_cells`
    }
    if known is None:
        others |= draw(st.sampled_from([*[{}] * 9, *layer_rules(depth)]))
    return cell_of(fields | others)


def layer_rules(depth: int) -> list[dict[str, Any]]:
    """What the optimizer's settings may say of layers, output layer included."""
    ends, middle = (1, depth + 1), (1 + depth // 2,)
    rules: list[dict[str, Any]] = [
        {"trained_layers": ends, "row_penalty": 0.1},
        {"row_layers": ends, "row_limit": 0.5},
        {"trained_layers": middle, "row_layers": middle, "row_penalty": 0.1, "row_limit": 1.0},
    ]
    return [{f"optimizer.{name}": value for name, value in own.items()} for own in rules]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Random cells from every start."""
    start = draw(st.sampled_from(["drawn", "drawn", *Case.STARTS]))
    if start != "coarse":
        cell = draw(cells())
        # units that are all alike have nothing but rounding to be told apart by
        return Case(cell, "drawn" if (start, cell.network.norm) == ("alike", "layer") else start)
    cell = draw(cells(deepest=4))
    return Case(
        dataclasses.replace(
            cell,
            dataset=dataclasses.replace(cell.dataset, is_coarse=True),
            network=dataclasses.replace(cell.network, norm="none"),
            dropout=DropoutSpec(draw(st.sampled_from([0.0, 0.5]))),
        ),
        start,
    )


@st.composite
def relaxed_cells(draw: st.DrawFn, deepest: int = 15) -> Cell:
    """Any relaxation of the layers of any network that can be relaxed, in float64."""
    depth = draw(st.integers(1, deepest))
    plain = st.sampled_from([*["logistic"] * 4, *supported("network.activation")])
    layers = st.none() | st.lists(st.integers(1, depth), min_size=1, unique=True).map(lambda own: tuple(sorted(own)))
    fields = {
        "dataset": cloud(
            draw(st.integers(1, 60)),
            classes=draw(st.sampled_from([2, 2, 3, 5])),
            features=draw(st.sampled_from([2, 1, 7])),
        ),
        "depth": depth,
        "width": draw(st.integers(2, 12)),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "network.activation": draw(plain),
        "network.norm": draw(st.sampled_from(["none", "none", "layer"])),
        "network.norm_eps": 1e-3,
        "penalty.kind": draw(st.sampled_from(["none", "none", "UP"])),
        "penalty.weight": 0.1,
        "rai.weight": draw(st.sampled_from([0.1, 1.0, 20.0])),
        "rai.layers": draw(layers),
        "rai.final_weight": draw(st.sampled_from([0.5, 100.0])),
        "rai.period": draw(st.sampled_from([0, 0, 1, 5, 12])),
        "rai.rate": draw(st.sampled_from([0.1, 1.0, 3.0])),
        "optimizer.name": draw(usually("optimizer.name", "adam", "rprop")),
        "optimizer.lr": draw(st.sampled_from([0.01, 0.001])),
        "optimizer.epochs": 30,
        "precision": "float64",
    }
    if fields["rai.layers"] is None:
        fields["rai.every"] = draw(st.integers(1, depth))
    for name in ("relax", "include_output", "loss", "reduce", "schedule", "start"):
        fields[f"rai.{name}"] = draw(st.sampled_from(supported(f"rai.{name}")))
    return cell_of(fields)


class Tally:
    """What the random cases reached, and how many were drawn again."""

    def __init__(self) -> None:
        self.drawn = self.drawn_again = 0
        self.reached: Counter[str] = Counter()

    def accepts(self, look: Look) -> bool:
        """Count the case; false if rounding alone decides something in it."""
        self.drawn += 1
        if look.closest <= NEAR_TIE:
            self.drawn_again += 1
            return False
        self.reached.update(look.facts)
        return True

    def check(self, facts: Sequence[str], at_least: int) -> None:
        """Fail if too many were drawn again, or too few of one kind were reached."""
        share = self.drawn_again / self.drawn
        print(f"{self.drawn} cases, {share:.1%} drawn again; {dict(sorted(self.reached.items()))}")
        # 1.5 % of 600, but hypothesis varies what it has found: one near tie may come back several times among 100
        assert share <= 0.1, f"{share:.1%} of the cases are near ties"
        missed = {fact: self.reached[fact] for fact in facts if self.reached[fact] < at_least}
        assert not missed, f"hardly reached: {missed}"


def train(engine: Engine, cells: Cell | Sequence[Cell], data: Data | None = None) -> list[Result]:
    """The results in the order in which they came."""
    fleet = [cells] if isinstance(cells, Cell) else list(cells)
    results: list[Result] = []
    engine.train(fleet, data or Case(fleet[0]).data, on_result=results.append, on_progress=lambda cell, epochs: None)
    return results


def train_one(engine: Engine, cell: Cell, data: Data | None = None) -> Result:
    (result,) = train(engine, cell, data)
    return result


def what_was_computed(result: Result) -> Result:
    """The result without what a clock, the process or the engine's name says."""
    return dataclasses.replace(result, seconds=0.0, started="", peak_memory_bytes=None, engine="")


def assert_same_result(found: Result, expected: Result, tolerance: float = TOLERANCE) -> None:
    """All that was counted is equal, all that was computed is so but for rounding."""

    def numbers(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {name: numbers(part) for name, part in dataclasses.asdict(value).items()}
        return np.inf if value is None else value  # no result has an infinite number

    for field in dataclasses.fields(Result):
        one, other = getattr(what_was_computed(found), field.name), getattr(what_was_computed(expected), field.name)
        if field.name == "curve":
            assert [row.epoch for row in one] == [row.epoch for row in other]
            for row, wanted in zip(one, other, strict=True):
                assert numbers(row) == pytest.approx(numbers(wanted), rel=tolerance, abs=1e-12)
        elif field.name.startswith(("train", "val", "penalty")):
            assert numbers(one) == pytest.approx(numbers(other), rel=tolerance, abs=1e-12), field.name
        else:
            assert one == other, field.name
