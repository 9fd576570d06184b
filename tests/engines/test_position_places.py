"""One constraint a position, single and random ties: C++ against NumPy, and a step against torch's own numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from jumpstart_exp.engines.eager import convolution
from jumpstart_exp.engines.native import kernels
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.native.kernels import find_places, place_gradients
from jumpstart_exp.losses.separation import SeparationPenalty, TieDraws
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.penalty import PenaltySpec

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built"),
]

DTYPES = (torch.float32, torch.float64)
SHAPES = [(1, 1, 1, 1), (1, 9, 3, 3), (5, 3, 2, 4), (2, 17, 3, 3), (9, 8, 7, 5), (4, 16, 5, 7), (3, 33, 4, 9)]
"""Points, channels, height, width: whole blocks of channels and positions, and parts of them."""


def channels_last(rows: NDArray[Any], shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    points, channels, height, width = shape
    return torch.from_numpy(rows).to(dtype).reshape(points, height, width, channels).permute(0, 3, 1, 2)


def tied_rows(shape: tuple[int, int, int, int]) -> NDArray[Any]:
    """(points, positions, channels) of few different numbers, infinities among them, so that many tie."""
    random = np.random.default_rng(5)
    rows = random.integers(-2, 3, (shape[0], shape[2] * shape[3], shape[1])).astype(np.float64)
    rows[random.random(rows.shape) < 0.05] = math.inf
    rows[random.random(rows.shape) < 0.05] = -math.inf
    return rows


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_first_and_last_places(instruction_set: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    rows = tied_rows(shape)
    g = channels_last(rows, shape, dtype)
    for with_last in (False, True):
        found = find_places(g, with_last=with_last, instruction_set=instruction_set)
        assert found is not None
        for axis, places in zip((0, 2), found, strict=True):
            turned, size = np.flip(rows, axis), rows.shape[axis]
            assert np.array_equal(places.values.double().numpy(), [rows.max(axis), rows.min(axis)])
            assert np.array_equal(places.first.double().numpy(), [rows.argmax(axis), rows.argmin(axis)])
            assert (places.last is not None) == with_last
            if places.last is not None:
                last = [size - 1 - turned.argmax(axis), size - 1 - turned.argmin(axis)]
                assert np.array_equal(places.last.double().numpy(), last)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_one_number_that_is_none_is_seen(
    instruction_set: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    """At every place in turn, or at some of many; unlike an infinity."""
    count = math.prod(shape)
    for place in {*range(0, count, 1 + count // 40), count - 1}:
        rows = tied_rows(shape)
        rows.reshape(-1)[place] = math.nan
        found = find_places(channels_last(rows, shape, dtype), with_last=False, instruction_set=instruction_set)
        assert found is None, place


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_pulls_of_places(instruction_set: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    """Whole numbers, whose sums are exact; the same entry may be pulled by all four constraints."""
    points, channels, height, width = shape
    positions = height * width
    random = np.random.default_rng(6)
    unit_first = random.integers(0, points, (2, positions, channels))
    point_first = random.integers(0, channels, (2, points, positions))
    unit_grads = random.integers(-99, 99, unit_first.shape).astype(np.float64)
    point_grads = random.integers(-99, 99, point_first.shape).astype(np.float64)
    expected = np.zeros((points, positions, channels))
    at_unit, at_point = np.indices((positions, channels)), np.indices((points, positions))
    for side in range(2):
        np.add.at(expected, (unit_first[side], *at_unit), unit_grads[side])
        np.add.at(expected, (*at_point, point_first[side]), point_grads[side])
    like = channels_last(expected, shape, dtype)
    parts = (torch.from_numpy(part) for part in (unit_first, unit_grads, point_first, point_grads))
    gradient = place_gradients(*parts, like, instruction_set)
    assert gradient.stride() == like.stride()
    assert torch.equal(gradient, like)


def test_places_outside_are_refused() -> None:
    like = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    units, points = torch.zeros(2, 4, 3), torch.zeros(2, 2, 4)
    for unit, point in ((2.0, 0.0), (-1.0, 0.0), (0.0, 3.0), (math.nan, 0.0)):
        with pytest.raises(ValueError, match="place must be"):
            place_gradients(units + unit, units, points + point, points, like)


def drawn(constraint: str, layer: int, count: int) -> Tensor:
    """Addressed draws: what is asked for before changes none."""
    seed = 10 * layer + ("U+", "U-", "P+", "P-").index(constraint)
    return torch.randint(0, 2**32, (count,), dtype=torch.int64, generator=torch.Generator().manual_seed(seed))


def step(
    dtype: torch.dtype, values: dict[str, Any], images: Tensor, draws: TieDraws | None
) -> tuple[list[Tensor], Tensor]:
    """Penalty and gradients of a step, and what torch's generator draws next."""
    torch.manual_seed(0)
    network = RectangularCNN((3, *images.shape[2:]), (9, 9, 9), 4, NetworkSpec("cnn")).to(dtype)
    with torch.no_grad():  # whole numbers, of which many tie
        for parameter in network.parameters():
            parameter.copy_((3 * parameter).round())
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    penalty = SeparationPenalty.from_spec(PenaltySpec(scope="position", margin_above=3.0, margin_below=-2.0, **values))
    logits, value = convolution.forward(network, images, penalty, tie_draws=draws)
    assert value is not None
    total = 1e-3 * logits.logsumexp(1).sum() + value
    gradients = torch.autograd.grad(total, list(network.parameters()))
    return [value.detach(), *gradients], torch.rand(1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("draws", [None, drawn], ids=["generator", "addressed"])
@pytest.mark.parametrize("kind", ["UP", "U", "P"])
@pytest.mark.parametrize("ties", ["single", "random"])
@pytest.mark.parametrize("of", ["few numbers", "many numbers", "one point", "no number"])
def test_a_step_is_torchs_bit_by_bit(
    of: str, ties: str, kind: str, draws: TieDraws | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the C++ extension: the same penalty, gradients and draws, what is no number included."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1 if of == "one point" else 7, 3, 5, 7, generator=generator).to(dtype)
    if of in ("few numbers", "one point"):
        x = x.round().clamp(-1, 1)
    if of == "no number":
        x[3, 1, 2, 2] = math.nan
    values = {"kind": kind, "ties": ties, "aggregate": "sum_sq"}
    found, drawn_next = step(dtype, values, x, draws)
    monkeypatch.setattr(kernels, "native", None)
    expected, expected_next = step(dtype, values, x, draws)
    assert torch.equal(drawn_next, expected_next)
    assert expected[0].isfinite() == (of != "no number")
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.nan_to_num(123.0), theirs.nan_to_num(123.0))
