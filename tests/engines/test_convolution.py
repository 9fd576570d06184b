"""The pass of a CNN that keeps no activation for the penalty, against the network's own and the penalty's reference."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import ImageSpec
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines import replay
from jumpstart_exp.engines.eager import activating, convolution
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.native import kernels
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.native.kernels import (
    find_positions,
    position_gradients,
    separate,
    takes_rows,
)
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.losses.extremes import find_extremes, flat_entries
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.result import Result
from jumpstart_exp.settings import setting
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

Array = NDArray[Any]

CPU = torch.device("cpu")
WAYS = (*instruction_sets(), "torch")
"""How extremes are found: by the C++ engine in each of its builds, or by torch where there is none."""
DTYPES = (torch.float32, torch.float64)
CLOSE = {torch.float32: 2e-5, torch.float64: 1e-12}
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 24, 31, 32, 33)
SIZES = ((7, 5), (1, 1), (3, 11), (9, 9), (1, 6))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take(request.param, monkeypatch)
    name: str = request.param
    return name


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "torch":
        monkeypatch.setattr(kernels, "native", None)
    else:
        monkeypatch.setattr(activating, "separate", partial(separate, instruction_set=way))


pytestmark = pytest.mark.usefixtures("one_thread")


# The whole pass


def network_of(
    width: int, size: tuple[int, int], dtype: torch.dtype, *, depth: int = 3, scale: float = 1.0, **values: Any
) -> RectangularCNN:
    """Random weights and biases, `scale` times what keeps activations of one size from layer to layer."""
    network = RectangularCNN((3, *size), (width,) * depth, 4, NetworkSpec("cnn", **values)).to(dtype)
    generator = torch.Generator().manual_seed(17 * width + size[0])
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
            values_of = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * values_of * math.sqrt(2 / fan_in))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def images_of(points: int, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((points, 3, *size), generator=generator, dtype=torch.float64)
    return x.to(dtype, memory_format=torch.channels_last), torch.arange(points) % 4


@dataclass
class Step:
    """What a step needs: losses and gradients."""

    task: Tensor
    penalty: Tensor
    gradients: dict[str, Tensor]
    logits: Tensor


def gradients_of(network: RectangularCNN, total: Tensor) -> dict[str, Tensor]:
    named = dict(network.named_parameters())
    return dict(zip(named, torch.autograd.grad(total, list(named.values()), materialize_grads=True), strict=True))


def plainly(penalty: SeparationPenalty, pre_activations: Sequence[Tensor]) -> Tensor:
    """The penalty by its formula: with a mask, even if it masks nothing, the reference takes no shorter way."""
    return penalty(pre_activations, point_mask=torch.ones(len(pre_activations[0]), dtype=torch.bool))


def reference_step(network: RectangularCNN, penalty: SeparationPenalty, x: Tensor, y: Tensor) -> Step:
    logits, pre_activations = network(x)
    task = functional.cross_entropy(logits, y)
    value = plainly(penalty, [*pre_activations, logits] if penalty.spec.layers == "all" else pre_activations)
    return Step(task, value, gradients_of(network, task + 0.1 * value), logits)


def fast_step(network: RectangularCNN, penalty: SeparationPenalty, x: Tensor, y: Tensor) -> Step:
    logits, value = convolution.forward(network, x, penalty)
    assert value is not None
    task = functional.cross_entropy(logits, y)
    return Step(task, value, gradients_of(network, task + 0.1 * value), logits)


def check_step(found: Step, expected: Step, close: float) -> None:
    assert found.task.item() == pytest.approx(expected.task.item(), rel=close)
    assert found.penalty.item() == pytest.approx(expected.penalty.item(), rel=close, abs=1e-300)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, value in expected.gradients.items():
        assert found.gradients[name].shape == value.shape
        apart = (found.gradients[name] - value).abs().max().item()
        assert apart <= close * max(value.abs().max().item(), 1e-3), name


def penalty_of(**values: Any) -> SeparationPenalty:
    return SeparationPenalty.from_spec(PenaltySpec(**{"kind": "UP", **values}))


@cache
def numbered(number: int, width: int, dtype: torch.dtype) -> tuple[RectangularCNN, SeparationPenalty, Step]:
    """Network and penalty of one of the sizes, and the reference's step."""
    kind, aggregate = ("UP", "U", "P", "L", "UP")[number], ("sum", "mean", "l2", "sum_sq", "l2")[number]
    head = ("flatten", "max_avg_pool")[number % 2]
    layers = ("hidden", "all")[number // 2 % 2]
    penalty = penalty_of(kind=kind, aggregate=aggregate, layers=layers, balance=0.6, margin_above=1.3)
    network = network_of(width, SIZES[number], dtype, scale=0.5, head=head)
    return network, penalty, reference_step(network, penalty, *images_of(4, SIZES[number], dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", CHANNELS)
def test_a_step_is_the_references(width: int, dtype: torch.dtype, way: str) -> None:
    for number, size in enumerate(SIZES):
        network, penalty, expected = numbered(number, width, dtype)
        assert expected.penalty.item() > 0
        check_step(fast_step(network, penalty, *images_of(4, size, dtype)), expected, CLOSE[dtype])


MARGINS = {"active": 50.0, "met": 1e-6, "mixed": 1.5}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("state", "scope", "ties"),
    [
        *((state, "channel", ties) for state in MARGINS for ties in ("single", "shared")),
        *((state, "position", ties) for state in ("active", "mixed") for ties in ("single", "shared")),
    ],
)
def test_deficits_that_are_active_met_or_mixed(state: str, scope: str, ties: str, dtype: torch.dtype, way: str) -> None:
    network, (x, y) = network_of(6, (5, 7), dtype), images_of(5, (5, 7), dtype)
    margin = MARGINS[state]
    penalty = penalty_of(scope=scope, ties=ties, margin_above=margin, margin_below=-margin)
    pairs = [penalty.extremes(g.flatten(2)[None], kind, [0]) for g in network(x)[1] for kind in "UP"]
    short = torch.cat(
        [(margin - sign * pair[side]).flatten() > 0 for pair in pairs for side, sign in ((0, 1), (1, -1))]
    )
    assert {"active": short.all(), "met": not short.any(), "mixed": short.any() and not short.all()}[state]
    expected = reference_step(network, penalty, x.clone(), y)
    check_step(fast_step(network, penalty, x.clone(), y), expected, CLOSE[dtype])


@pytest.mark.parametrize(
    "choices",
    [
        {"aggregate": "balanced"},
        {"aggregate": "balanced", "sides": "below", "point_sides": "both", "layers": "all"},
        {"sides": "above"},
        {"sides": "below", "upper_bound": 1.5},
        {"sides": "above", "point_sides": "below", "upper_bound": 1.2},
        {"kind": "L", "aggregate": "sum_sq", "upper_bound": 2.0},
        {"upper_bound": 1.1, "aggregate": "l2", "layer_weights": (0.5, 2.0, 1.0)},
    ],
    ids=str,
)
@pytest.mark.parametrize(("scope", "ties"), [("channel", "single"), ("channel", "shared"), ("position", "shared")])
def test_sides_bound_and_balance(scope: str, ties: str, choices: dict[str, Any], way: str) -> None:
    """A step, and the whole set in parts: no extreme that is pulled is left out of the search for entries."""
    penalty = penalty_of(scope=scope, ties=ties, balance=0.6, **choices)
    for scale in (0.4, 2.0):  # within the margins, beyond the bound
        network, (x, y) = network_of(6, (5, 7), torch.float64, scale=scale), images_of(5, (5, 7), torch.float64)
        expected = reference_step(network, penalty, x.clone(), y)
        check_step(fast_step(network, penalty, x.clone(), y), expected, CLOSE[torch.float64])
        with torch.no_grad():
            _, whole, _ = convolution.evaluate_training_set(network, x.split(2), penalty)
        assert whole == pytest.approx(expected.penalty.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_pass_without_a_penalty_is_the_networks_own(norm: str, dtype: torch.dtype) -> None:
    network, (x, y) = network_of(9, (5, 7), dtype, norm=norm), images_of(5, (5, 7), dtype)
    expected = functional.cross_entropy(network(x.clone())[0], y)
    logits, penalty = convolution.forward(network, x.clone())
    assert penalty is None
    task = functional.cross_entropy(logits, y)
    assert task.item() == pytest.approx(expected.item(), rel=CLOSE[dtype])
    found, wanted = gradients_of(network, task), gradients_of(network, expected)
    for name, value in wanted.items():
        scale = max(gradient.abs().max().item() for gradient in wanted.values())
        assert (found[name] - value).abs().max().item() <= CLOSE[dtype] * scale, name


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("scope", "ties"), [("channel", "single"), ("position", "shared")])
@pytest.mark.parametrize("head", ["flatten", "max_avg_pool"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_no_number_is_never_lost(
    odd: float, scope: str, ties: str, head: str, dtype: torch.dtype, way: str
) -> None:
    """A pixel spoils its own image's logits and no other's, as in the network's own pass; the loss is no number."""
    for width in (1, 3, 16, 17):
        network, (x, y) = network_of(width, (5, 7), dtype, head=head), images_of(4, (5, 7), dtype)
        x[2, 1, 3, 4] = odd
        penalty = penalty_of(scope=scope, ties=ties)
        expected = network(x)[0]
        step = fast_step(network, penalty, x.clone(), y)
        spoilt = ~expected.isfinite().all(1)
        if not spoilt.any():
            continue  # an infinity that a dead unit takes away
        assert spoilt.tolist() == [False, False, True, False]
        torch.testing.assert_close(step.logits, expected, equal_nan=True, rtol=CLOSE[dtype], atol=CLOSE[dtype])
        assert not step.task.isfinite()
        assert not all(gradient.isfinite().all() for gradient in step.gradients.values())


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_every_activation_that_is_no_number_spoils_the_loss(odd: float, way: str) -> None:
    """Wherever it stands in the vectors of an instruction set."""
    for width in (1, 3, 8, 17):
        for place in range(0, 35 * width, 3):
            g = torch.zeros(2, width, 5, 7).contiguous(memory_format=torch.channels_last)
            g.permute(0, 2, 3, 1)[1].view(-1)[place] = odd
            h, units, points = activating.FusedReLU().separate(g.clone(), 1.0, -1.0)
            assert torch.equal(h.isnan(), g.isnan()) and torch.equal(h.isinf(), g == math.inf)
            if not math.isnan(odd):
                side, channel = int(odd < 0), place % width
                assert units[side, channel] == odd and points[side, 1] == odd
                assert units.isfinite().sum() == 2 * width - 1 and points.isfinite().sum() == 3


# ReLU with extremes, alone


@dataclass
class Found:
    """Values (2, constraints) and flat indices of the channels and points, and ReLU's output as channels-last rows."""

    units: Array
    unit_entries: Array
    points: Array
    point_entries: Array
    h: Array


def separated(g: Tensor, way: str, above: float = math.inf, below: float = -math.inf) -> Found:
    """What `separate` finds, or torch's operations; `g` becomes ReLU's output."""
    if way == "torch":
        units, unit_entries, points, point_entries = find_extremes(g)
        found = units, flat_entries(unit_entries, g), points, flat_entries(point_entries, g)
        g.relu_()
    else:
        taken = separate(g, above, below, way)
        assert taken is not None
        found = taken
    h = g.permute(0, 2, 3, 1).reshape(len(g), -1, g.shape[1])
    return Found(*(part.numpy() for part in found), h.numpy())


def numpy_separated(g: Array) -> Found:
    """By the rule: the first of equal entries in (point, channel, position) order, as an index of channels last."""
    points, channels = g.shape[:2]
    rows = g.reshape(points, channels, -1)
    positions = rows.shape[2]
    values: list[list[Array]] = [[], []]
    entries: list[list[Array]] = [[], []]
    for sign in (1, -1):
        by_unit = sign * rows.transpose(1, 0, 2).reshape(channels, -1)
        point, position = np.divmod(by_unit.argmax(1), positions)
        values[0].append(sign * by_unit.max(1))
        entries[0].append((point * positions + position) * channels + np.arange(channels))
        by_point = sign * rows.reshape(points, -1)
        channel, position = np.divmod(by_point.argmax(1), positions)
        values[1].append(sign * by_point.max(1))
        entries[1].append((np.arange(points) * positions + position) * channels + channel)
    h = np.maximum(rows, 0).transpose(0, 2, 1)
    return Found(np.stack(values[0]), np.stack(entries[0]), np.stack(values[1]), np.stack(entries[1]), h)


def channels_last(g: Array, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(g).to(dtype).clone(memory_format=torch.channels_last)


def check_separated(found: Found, expected: Found, way: str = "") -> None:
    for field in dataclasses.fields(Found):
        name = field.name
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=f"{way} {name}")


TIED: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "all different": lambda rng, shape: rng.permutation(math.prod(shape)).reshape(shape) - math.prod(shape) / 2,
    "few values": lambda rng, shape: rng.integers(-1, 2, shape).astype(float),
    "two values": lambda rng, shape: rng.choice([-0.5, 0.25], shape),
    "constant channels": lambda rng, shape: np.broadcast_to(rng.integers(-2, 3, (1, shape[1], 1, 1)), shape) / 2,
    "constant images": lambda rng, shape: np.broadcast_to(rng.integers(-2, 3, (shape[0], 1, 1, 1)), shape) / 2,
    "all zero": lambda rng, shape: np.zeros(shape),
    "zeros of both signs": lambda rng, shape: rng.choice([0.0, -0.0], shape),
    "all negative": lambda rng, shape: -rng.random(shape) - 1,
    "infinities": lambda rng, shape: rng.choice([-np.inf, -1.0, 2.0, np.inf], shape, p=[0.02, 0.48, 0.48, 0.02]),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", TIED)
def test_extremes_and_where_they_are(name: str, dtype: torch.dtype) -> None:
    """By every instruction set and by torch."""
    rng = np.random.default_rng(5)
    for channels in (*CHANNELS, 48, 96, 513, 700):
        for points, size in ((3, (5, 7)), (1, (3, 3)), (2, (1, 1)), (1, (1, 1)), (2, (1, 2)), (3, (9, 11))):
            numbers = str(dtype).removeprefix("torch.")
            g = np.ascontiguousarray(TIED[name](rng, (points, channels, *size)), dtype=numbers)
            expected = numpy_separated(g)
            for way in WAYS:
                found = separated(channels_last(g, dtype), way)
                assert found.units.dtype == found.points.dtype == np.dtype(numbers)
                for values, entries in ((expected.units, "unit_entries"), (expected.points, "point_entries")):
                    # an infinite extreme has no deficit, or an infinite one, which ends the training whatever the entry
                    endless = np.isinf(values)
                    assert getattr(found, entries).min() >= 0 and getattr(found, entries).max() < g.size
                    for one in (found, expected):
                        setattr(one, entries, np.where(endless, 0, getattr(one, entries)))
                check_separated(found, expected, way)


@pytest.mark.parametrize("way", instruction_sets())
def test_where_a_margin_is_reached_nothing_is_looked_for(way: str) -> None:
    rng = np.random.default_rng(6)
    for dtype in DTYPES:
        for channels in (1, 5, 16, 33):
            g = rng.integers(-4, 5, (3, channels, 3, 5)) / 4.0
            found, expected = separated(channels_last(g, dtype), way, 0.75, -1.0), numpy_separated(g)
            for values, entries in (("units", "unit_entries"), ("points", "point_entries")):
                both = getattr(expected, values)
                reached = np.stack([both[0] >= 0.75, both[1] <= -1.0])
                setattr(expected, entries, np.where(reached, 0, getattr(expected, entries)))
            check_separated(found, expected)


@pytest.mark.parametrize("way", instruction_sets())
def test_no_number_is_no_extreme_and_entries_stay_within(way: str) -> None:
    rng = np.random.default_rng(7)
    for dtype in DTYPES:
        for channels, share in ((3, 0.5), (16, 0.9), (17, 1.0)):
            g = rng.standard_normal((3, channels, 3, 5))
            g[rng.random(g.shape) < share] = np.nan
            found = separated(channels_last(g, dtype), way)
            h = np.where(np.isnan(g), g, np.maximum(g, 0)).reshape(3, channels, -1).transpose(0, 2, 1)
            np.testing.assert_array_equal(found.h, h.astype(found.h.dtype))
            high = np.where(np.isnan(g), -np.inf, g)
            np.testing.assert_array_equal(found.units[0], high.max((0, 2, 3)).astype(found.units.dtype))
            np.testing.assert_array_equal(found.points[0], high.max((1, 2, 3)).astype(found.points.dtype))
            for entries in (found.unit_entries, found.point_entries):
                assert entries.min() >= 0 and entries.max() < g.size


@pytest.mark.parametrize("way", instruction_sets())
def test_relu_is_done_in_place_and_nowhere_else(way: str) -> None:
    rng = np.random.default_rng(8)
    for dtype in DTYPES:
        for channels in (1, 3, 16, 19):
            whole = channels_last(rng.standard_normal((5, channels, 3, 5)), dtype)
            before, g = whole.clone(), whole[1:4]
            check_separated(separated(g, way), numpy_separated(before[1:4].double().numpy()))
            assert torch.equal(whole[1:4], before[1:4].clamp(min=0))
            assert torch.equal(whole[[0, 4]], before[[0, 4]])


def test_what_it_cannot_do_it_leaves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 6, 5, 7)
    last = rows.contiguous(memory_format=torch.channels_last)
    refused = {
        "channels first": rows,
        "bfloat16": last.bfloat16(),
        "float16": last.half(),
        "every second point": last[::2],
        "some channels": last[:, :3],
        "some rows": last[:, :, 1:],
        "transposed": last.transpose(2, 3),
    }
    for name, g in refused.items():
        before = g.clone()
        assert separate(g, 1.0, -1.0) is None, name
        assert torch.equal(g, before), name
    monkeypatch.setattr(kernels, "native", None)
    assert separate(last, 1.0, -1.0) is None


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["channels last", "channels first"])
def test_any_layout_has_the_same_gradients(layout: str, dtype: torch.dtype, way: str) -> None:
    """The layout and the type that the C++ engine does not take are torch's."""
    rng = np.random.default_rng(9)
    numbers = torch.from_numpy(rng.permutation(4 * 6 * 5 * 7).reshape(4, 6, 5, 7) / 256.0 - 1.5).to(dtype)
    pulls = [torch.from_numpy(rng.integers(-4, 5, shape) / 4.0) for shape in ((4, 6, 5, 7), (2, 6), (2, 4))]

    leaf = numbers.clone()
    if layout == "channels last":
        leaf = leaf.contiguous(memory_format=torch.channels_last)
    leaf.requires_grad_()
    g = leaf * 1.0
    assert g.stride() == leaf.stride()
    outputs = activating.FusedReLU().separate(g, math.inf, -math.inf)
    total = sum((pull.to(out.dtype) * out).sum() for pull, out in zip(pulls, outputs, strict=True))
    assert isinstance(total, Tensor)
    total.backward()

    plain = numbers.double().requires_grad_()
    flat, of_point = plain.transpose(0, 1).flatten(1), plain.flatten(1)
    units = torch.stack([flat.gather(1, arg(1, keepdim=True))[:, 0] for arg in (flat.argmax, flat.argmin)])
    points = torch.stack([of_point.gather(1, arg(1, keepdim=True))[:, 0] for arg in (of_point.argmax, of_point.argmin)])
    expected = sum((pull * out).sum() for pull, out in zip(pulls, (plain.relu(), units, points), strict=True))
    assert isinstance(expected, Tensor)
    expected.backward()
    assert leaf.grad is not None and plain.grad is not None
    assert torch.equal(leaf.grad.double(), plain.grad)


# Memory


@contextlib.contextmanager
def counting_saved() -> Iterator[dict[int, int]]:
    """Bytes that autograd keeps for the way back, by the memory that they lie in."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        alive.append(value.detach())  # so that no other tensor gets its memory
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield kept


POINTS, WIDTH, SIZE, DEPTH = 128, 64, (4, 4), 6
A_LAYER = 4 * POINTS * WIDTH * math.prod(SIZE)
"""Bytes of a layer's activations."""


def saved_bytes(norm: str, run: Callable[[RectangularCNN, Tensor], Tensor]) -> int:
    network = network_of(WIDTH, SIZE, torch.float32, depth=DEPTH, norm=norm)
    x = images_of(POINTS, SIZE, torch.float32)[0]
    with counting_saved() as kept:
        total = run(network, x)
    total.backward()
    return sum(kept.values())


@cache
def saved_without_penalty(norm: str) -> int:
    return saved_bytes(norm, fast_total(None))


def fast_total(penalty: SeparationPenalty | None) -> Callable[[RectangularCNN, Tensor], Tensor]:
    def run(network: RectangularCNN, x: Tensor) -> Tensor:
        logits, value = convolution.forward(network, x, penalty)
        return logits.logsumexp(1).sum() + (0 if value is None else value)

    return run


def plain_total(penalty: SeparationPenalty | None) -> Callable[[RectangularCNN, Tensor], Tensor]:
    def run(network: RectangularCNN, x: Tensor) -> Tensor:
        logits, pre_activations = network(x)
        return logits.logsumexp(1).sum() + (0 if penalty is None else plainly(penalty, pre_activations))

    return run


@pytest.mark.parametrize("kind", ["U", "P", "UP", "L"])
@pytest.mark.parametrize(("scope", "ties", "more"), [("channel", "single", 1.03), ("position", "shared", 1.10)])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_penalty_keeps_no_copy_of_the_activations(norm: str, scope: str, ties: str, more: float, kind: str) -> None:
    """Margins that nothing reaches: every constraint pulls."""
    penalty = penalty_of(kind=kind, scope=scope, ties=ties, margin_above=50.0, margin_below=-50.0)
    without, with_penalty = saved_without_penalty(norm), saved_bytes(norm, fast_total(penalty))
    assert without >= DEPTH * A_LAYER, "what convolutions need on the way back"
    plain = saved_bytes(norm, plain_total(penalty))
    assert plain >= with_penalty + (DEPTH - 1) * A_LAYER, "the formula, plainly, keeps pre-activations as well"
    assert with_penalty <= more * without, f"{with_penalty / without:.3f} of the pass without a penalty"


# As CUDA graphs


class Recorder(TorchDispatchMode):
    """A CUDA graph on the CPU: notes every call on tensors, and repeats the calls on the very same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "asks the device for a number"
        assert func is not torch.ops.aten.nonzero.default, "a shape that depends on numbers"
        assert func is not torch.ops.aten.lift_fresh.default, "a constant from the host"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Below autograd, which is done: the calls of the way back are among those that were noted."""
        self.replays += 1
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, result in self.calls:
                again = func(*args, **kwargs)
                for old, new in zip(
                    result if isinstance(result, tuple | list) else [result],
                    again if isinstance(again, tuple | list) else [again],
                    strict=True,
                ):
                    if isinstance(old, Tensor) and old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                        old.copy_(new)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Torch's CUDA graphs, imitated on the CPU, and torch's operations as on CUDA; the graphs that were made."""
    made: list[Recorder] = []
    trainings: list[Training] = []
    train_batch = Training._train_batch

    class Stream:
        def __init__(self, device: torch.device) -> None: ...

        def wait_stream(self, other: "Stream") -> None: ...

    @contextlib.contextmanager
    def capture(graph: Recorder, stream: Stream) -> Iterator[None]:
        """A capture computes nothing: what the calls have changed is taken back."""
        made.append(graph)
        training = trainings[-1]
        changed = [*training.network.state_dict().values(), training.sums]
        changed += [value for state in training.optimizer.state.values() for value in state.values()]
        before = [value.clone() for value in changed]
        with graph:
            yield
        with torch.no_grad():
            for value, old in zip(changed, before, strict=True):
                value.copy_(old)

    def noting(self: Training, *arguments: Any) -> None:
        trainings.append(self)
        train_batch(self, *arguments)

    monkeypatch.setattr(Training, "_train_batch", noting)
    monkeypatch.setattr(kernels, "native", None)
    for name, imitation in {
        "Stream": Stream,
        "current_stream": lambda: Stream(CPU),
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "CUDAGraph": Recorder,
        "graph": lambda graph, stream: capture(graph, stream),
    }.items():
        monkeypatch.setattr(torch.cuda, name, imitation)
    monkeypatch.setattr(replay, "shared_stream", Stream)
    return made


@dataclass(frozen=True)
class Pictures(ImageSpec):
    """13 random images to train on, 7 that validate: an epoch in batches of 5 ends with one of 3."""

    name: str = setting("pictures")
    classes: ClassVar[int] = 3
    features: ClassVar[int] = 60
    image: ClassVar[tuple[int, int, int] | None] = (2, 6, 5)

    def full_sizes(self) -> tuple[int, int]:
        return 13, 7


def data() -> Data:
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.integers(0, 256, (20, 2, 6, 5), dtype=np.uint8))
    y = torch.from_numpy(rng.permutation(np.arange(20) % 3))
    return Data(x[:13], y[:13], x[13:], y[13:], (0.4, 0.5), (0.2, 0.3))


def trained(training: Training) -> tuple[Result, dict[str, Tensor]]:
    for _ in training.epochs():
        pass
    result = dataclasses.replace(training.result("eager"), seconds=0.0, started="", peak_memory_bytes=None)
    return result, training.network.state_dict()


GRAPHED: dict[str, dict[str, Any]] = {
    "Sep-UP": {},
    "position, shared": {"penalty": PenaltySpec("UP", 0.05, scope="position", ties="shared")},
    "Sep-L, 2-norm": {"penalty": PenaltySpec("L", 0.05, aggregate="l2", layers="all")},
    "balanced, bounded": {
        "penalty": PenaltySpec("UP", 0.05, aggregate="balanced", sides="above", upper_bound=1.2, ties="shared"),
    },
    "batch norm": {"penalty": PenaltySpec(), "network": NetworkSpec("cnn", norm="batch")},
    "pooled": {"network": NetworkSpec("cnn", head="max_avg_pool")},
    "bfloat16": {"precision": "bf16"},
}


@pytest.mark.parametrize("batch_size", [5, None])
@pytest.mark.parametrize("name", GRAPHED)
def test_a_step_can_be_captured_and_replayed(name: str, batch_size: int | None, graphs: list[Recorder]) -> None:
    """Nothing in a step is decided on the host; a smaller last batch has a graph of its own."""
    values = {"penalty": PenaltySpec("UP", 0.05), "network": NetworkSpec("cnn"), **GRAPHED[name]}
    optimizer = OptimizerSpec(epochs=5, batch_size=batch_size, lr=0.01)
    cell = Cell(dataset=Pictures(), depth=3, width=4, optimizer=optimizer, **values)
    training = Training(cell, data(), CPU)
    training.replayed = Replayed(CPU)
    found, weights = trained(training)
    # three steps of each size are run as they are; a capture is followed by its first replay
    assert [graph.replays for graph in graphs] == ([7, 2] if batch_size else [2])
    expected, weights_expected = trained(Training(cell, data(), CPU))
    assert found == expected and found.status == "done"
    for key, value in weights_expected.items():
        assert torch.equal(weights[key], value), key


DRAWN: dict[str, dict[str, Any]] = {
    "random ties": {"penalty": PenaltySpec("UP", ties="random")},
    "augmented": {"dataset": Pictures(augment="flip_crop")},
    "ε of Keras": {"optimizer": OptimizerSpec(eps_rule="keras", batch_size=5)},
    "a rate that falls": {"optimizer": OptimizerSpec(schedule="cosine")},
    "λ that falls": {"penalty": PenaltySpec("UP", schedule="linear")},
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_step_that_changes_is_no_graph(name: str) -> None:
    """What the host draws or computes for every step would be frozen in a graph."""
    values = {"dataset": Pictures(), "network": NetworkSpec("cnn"), **DRAWN[name]}
    training = Training(Cell(depth=2, width=3, **values), data(), CPU)
    training.device = torch.device("cuda")
    assert not training._is_graph()
    training.cell = Cell(dataset=Pictures(), depth=2, width=3, network=NetworkSpec("cnn"))
    assert training._is_graph()


# One constraint a position, in C++


@pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 3, 2, 4), (2, 17, 3, 3), (9, 8, 7, 5)], ids=str)
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_extremes_of_positions_and_their_pulls(
    instruction_set: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    """Against NumPy; few different numbers, so that many tie."""
    random = np.random.default_rng(5)
    rows = random.integers(-2, 3, (shape[0], shape[2] * shape[3], shape[1])).astype(np.float64)
    g = torch.from_numpy(rows).to(dtype).reshape(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
    assert takes_rows(g)
    units, unit_shares, points, point_shares = find_positions(g, instruction_set)
    expected = np.zeros_like(rows)
    for axis, values, shares in ((0, units, unit_shares), (2, points, point_shares)):
        both = np.stack([rows.max(axis), rows.min(axis)])
        counts = np.stack([(rows == np.expand_dims(side, axis)).sum(axis) for side in both])
        assert np.array_equal(values.double().numpy(), both)
        assert np.array_equal(shares.double().numpy(), counts)
        for side in both:
            expected += 0.25 * (axis + 1) * (rows == np.expand_dims(side, axis))
    pulls = torch.full_like(units, 0.25), torch.full_like(points, 0.75)
    gradient = position_gradients(g, units, pulls[0], points, pulls[1], instruction_set)
    assert gradient.stride() == g.stride()
    found = gradient.permute(0, 2, 3, 1).reshape(rows.shape).double().numpy()
    assert np.allclose(found, expected, rtol=1e-6)
