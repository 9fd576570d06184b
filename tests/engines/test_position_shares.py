"""One constraint a position, shared ties: convolution, ReLU and constraints in one pass, and as passes of their own."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jumpstart_exp.engines.eager import convolution
from jumpstart_exp.engines.eager.positions import fuses_shared
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.native.kernels import find_shared, shared_gradients_
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.penalty import PenaltySpec

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built"),
]

DTYPES = (torch.float32, torch.float64)
SHAPES = [(1, 1, 1, 1), (5, 3, 2, 4), (2, 17, 3, 3), (9, 8, 7, 5), (3, 33, 4, 9)]
"""Points, channels, height, width."""


def channels_last(rows: Any, shape: tuple[int, int, int, int], dtype: torch.dtype) -> Tensor:
    points, channels, height, width = shape
    return torch.from_numpy(rows).to(dtype).reshape(points, height, width, channels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_one_pass_each_way(instruction_set: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    """Against NumPy: whole numbers of which many tie, pulls whose sums are exact."""
    random = np.random.default_rng(8)
    points, channels, height, width = shape
    rows = random.integers(-2, 3, (points, height * width, channels)).astype(np.float64)
    g = channels_last(rows, shape, dtype)
    found = find_shared(g, instruction_set)
    assert found.activations.stride() == g.stride()
    assert torch.equal(found.activations, torch.relu(g))
    both = np.stack([rows.max(2), rows.min(2)])
    equal = rows == both[..., None]
    assert np.array_equal(found.points.double().numpy(), both)
    assert np.array_equal(found.point_firsts.numpy(), equal.argmax(3))
    counts = equal.sum(3)
    assert (found.point_counts is None) == bool((counts == 1).all())
    if found.point_counts is not None:
        assert np.array_equal(found.point_counts.numpy(), counts)
    of_units = np.stack([rows.max(0), rows.min(0)])
    assert np.array_equal(found.units.double().numpy(), of_units)
    unit_pulls = random.integers(-4, 5, of_units.shape).astype(np.float64)
    given = random.integers(-9, 9, rows.shape).astype(np.float64)
    expected = np.where(rows <= 0, 0, given)
    for side, (margin, pull) in enumerate(((2.0, -3.0), (-1.0, 6.0))):
        expected += (rows == of_units[side]) * unit_pulls[side]
        is_violated = both[side] < margin if side == 0 else both[side] > margin
        expected += (equal[side] * is_violated[..., None]) * pull / counts[side][..., None]
    gradient = channels_last(given, shape, dtype)
    shared_gradients_(
        gradient,
        g,
        found.units,
        torch.from_numpy(unit_pulls).to(dtype),
        found.point_firsts,
        found.point_counts,
        (2.0, -1.0),
        (-3.0, 6.0),
        instruction_set,
    )
    result = gradient.permute(0, 2, 3, 1).reshape(rows.shape).double().numpy()
    assert np.allclose(result, expected, rtol=1e-6, atol=1e-5)


def test_nothing_tied_nothing_counted_and_no_number_stays_none() -> None:
    g = torch.arange(24.0).view(2, 2, 2, 3).permute(0, 3, 1, 2) - 12
    assert find_shared(g).point_counts is None
    g[0, 0, 0, 0] = torch.nan
    assert torch.equal(find_shared(g).activations, torch.relu(g)) is False  # no number is equal to itself
    assert torch.equal(find_shared(g).activations.isnan(), g.isnan())


def test_a_channel_that_is_none_is_refused() -> None:
    g = torch.zeros(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    units, firsts = torch.zeros(2, 4, 3), torch.full((2, 2, 4), 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="place must be"):
        shared_gradients_(g.clone(), g, units, units, firsts, None, (1.0, -1.0), (1.0, 1.0))


def step(dtype: torch.dtype, spec: PenaltySpec, whole: bool) -> list[Tensor]:
    """Penalty and gradients of a step of three layers."""
    torch.manual_seed(0)
    images = torch.randn(6, 3, 7, 5).to(dtype)
    network = RectangularCNN((3, 7, 5), (9, 9, 9), 4, NetworkSpec("cnn")).to(dtype)
    if whole:  # numbers of which many tie
        images = images.round()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_((3 * parameter).round())
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    logits, value = convolution.forward(network, images, SeparationPenalty.from_spec(spec))
    assert value is not None
    total = 1e-3 * logits.logsumexp(1).sum() + 0.3 * value
    return [value.detach(), *torch.autograd.grad(total, list(network.parameters()))]


PENALTIES: dict[str, dict[str, Any]] = {
    "sum": {},
    "units": {"kind": "U", "balance": 0.3},
    "points": {"kind": "P", "sides": "below"},
    "mean": {"aggregate": "mean", "balance": 0.7},
    "balanced": {"aggregate": "balanced", "margin_above": 1e9},
    "layer weights": {"layer_weights": (0.5, 3.0, 0.7)},
}


@pytest.mark.parametrize("whole", [False, True], ids=["real numbers", "whole numbers"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", PENALTIES)
def test_a_step_has_the_bits_of_separate_passes(
    name: str, dtype: torch.dtype, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = PenaltySpec(**{"kind": "UP", "scope": "position", "ties": "shared", **PENALTIES[name]})
    g = torch.zeros(1, 9, 7, 5, dtype=dtype).contiguous(memory_format=torch.channels_last)
    assert fuses_shared(g, SeparationPenalty.from_spec(spec))
    fused = step(dtype, spec, whole)
    monkeypatch.setattr(convolution, "fuses_shared", lambda g, penalty: False)
    separate = step(dtype, spec, whole)
    assert fused[0] != 0
    assert all(torch.equal(one, other) for one, other in zip(fused, separate, strict=True))


@pytest.mark.parametrize(
    "values", [{"aggregate": "l2"}, {"upper_bound": 4.0}, {"ties": "single"}, {"scope": "channel"}]
)
def test_what_is_not_pulled_alike_has_passes_of_its_own(values: dict[str, Any]) -> None:
    spec = PenaltySpec(**{"kind": "UP", "scope": "position", "ties": "shared", **values})
    g = torch.zeros(1, 9, 7, 5).contiguous(memory_format=torch.channels_last)
    assert not fuses_shared(g, SeparationPenalty.from_spec(spec))


@pytest.mark.parametrize(("channels", "fuses"), [(255, True), (256, False)])
def test_a_channel_is_kept_in_a_byte(channels: int, fuses: bool) -> None:
    penalty = SeparationPenalty.from_spec(PenaltySpec(kind="UP", scope="position", ties="shared"))
    g = torch.zeros(1, channels, 2, 2).contiguous(memory_format=torch.channels_last)
    assert fuses_shared(g, penalty) is fuses
