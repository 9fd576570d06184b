"""Extremes taken while a model runs: any tensor, any tie, any precision, and derivatives of every order."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import grad, gradgradcheck
from torch.utils.checkpoint import checkpoint

from jumpstart_exp.losses import tied_entries
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.settings import SettingError

Array = NDArray[np.float64]

KINDS = ("U", "P", "UP", "L")
TIES = ("single", "shared", "random")
SCOPES = ("channel", "position")
every = pytest.mark.parametrize(
    ("kind", "ties", "scope"), list(itertools.product(KINDS, TIES, SCOPES)), ids=lambda value: value
)


def draw_of(constraint: str, layer: int, count: int) -> Tensor:
    """32-bit draws that depend on what they are for, and on nothing else."""
    seed = [*constraint.encode(), layer, count]
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2**32, count))


def penalty_of(penalty: SeparationPenalty, *layers: Tensor) -> Tensor:
    """By `layer_extremes`, layer after layer."""
    return penalty.of_extremes([penalty.layer_extremes(g, k, tie_draws=draw_of) for k, g in enumerate(layers)])


def members(kind: str, scope: str, shape: tuple[int, ...]) -> list[list[tuple[int, int, int]]]:
    """The entries of every constraint, in (point, channel, position) order."""
    points, channels, positions = map(range, shape)
    match kind, scope:
        case "U", "channel":
            return [[(n, c, p) for n in points for p in positions] for c in channels]
        case "U", "position":
            return [[(n, c, p) for n in points] for c in channels for p in positions]
        case "P", "channel":
            return [[(n, c, p) for c in channels for p in positions] for n in points]
        case "P", "position":
            return [[(n, c, p) for c in channels] for n in points for p in positions]
        case _:
            return [list(itertools.product(points, channels, positions))]


def by_hand(g: Array, kinds: str, ties: str, scope: str, margin: float, layer: int = 0) -> tuple[float, Array]:
    """½·max(0, margin − max g) + ½·max(0, margin + min g), added up over all constraints, and its gradient."""
    flat = g.reshape(*g.shape[:2], -1)
    value, slope = 0.0, np.zeros_like(flat)
    for kind, sign in itertools.product(kinds, (1, -1)):
        constraints = members(kind, scope, flat.shape)
        draws = draw_of(kind + ("+" if sign > 0 else "-"), layer, len(constraints)).tolist()
        for entries, draw in zip(constraints, draws, strict=True):
            numbers = [sign * flat[entry] for entry in entries]
            tied = [entry for entry, number in zip(entries, numbers, strict=True) if number == max(numbers)]
            deficit = margin - max(numbers)
            if deficit <= 0:
                continue
            value += deficit / 2
            taken = {"single": tied[:1], "shared": tied, "random": [tied[draw * len(tied) >> 32]]}[ties]
            for entry in taken:
                slope[entry] -= sign / 2 / len(taken)
    return value, slope.reshape(g.shape)


LAYOUTS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "flat": ((6, 5), lambda x: x),
    "flat, transposed": ((5, 6), lambda x: x.t()),
    "one point": ((1, 4, 3), lambda x: x),
    "contiguous": ((4, 3, 2, 3), lambda x: x),
    "channels last": ((4, 2, 3, 5), lambda x: x.permute(0, 3, 1, 2)),
    "tokens": ((3, 6, 4), lambda x: x.movedim(-1, 1)),
    "tokens first": ((6, 3, 4), lambda x: x.permute(1, 2, 0)),
    "positions exchanged": ((3, 4, 3, 2), lambda x: x.transpose(2, 3)),
    "expanded": ((4, 1, 3), lambda x: x.expand(4, 5, 3)),
    "every other": ((4, 6, 4), lambda x: x[:, ::2, ::2]),
    "volume": ((2, 3, 2, 1, 2), lambda x: x),
}


@pytest.mark.parametrize("levels", [0, 1, 50], ids=["all tied", "many ties", "few ties"])
@every
def test_any_layout_has_the_value_and_gradient_by_hand(kind: str, ties: str, scope: str, levels: int) -> None:
    for layout in LAYOUTS:
        check_by_hand(kind, ties, scope, levels, layout)


def check_by_hand(kind: str, ties: str, scope: str, levels: int, layout: str) -> None:
    shape, view = LAYOUTS[layout]
    numbers = np.random.default_rng(len(layout)).integers(-levels, levels + 1, shape) / 64
    x = torch.tensor(numbers, requires_grad=True)
    g = view(x)
    expected, slope = by_hand(g.detach().numpy(), kind, ties, scope, margin=0.5)
    penalty = SeparationPenalty(kind, ties=ties, scope=scope, margin_above=0.5, margin_below=-0.5)
    value = penalty_of(penalty, g)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    (found,) = grad(value, g, retain_graph=True)
    np.testing.assert_allclose(found, slope, rtol=1e-12, atol=1e-15)
    (through,) = grad(value, x)
    np.testing.assert_allclose(through, grad(g, x, torch.tensor(slope))[0], rtol=1e-12, atol=1e-15)
    assert penalty([g.detach()]).item() == penalty_of(penalty, g.detach()).item() == pytest.approx(expected, rel=1e-12)
    again = penalty([g], tie_draws=draw_of)
    assert torch.equal(grad(again, x)[0], through)


@pytest.mark.parametrize("size", [255, 256, 300, 32_767, 32_768, 40_000])
@pytest.mark.parametrize("ties", TIES)
def test_ties_are_found_however_many_points_there_are(ties: str, size: int) -> None:
    g = torch.full((size, 2), -0.5, dtype=torch.float64)
    tied = [3, size // 2, size - 2]
    g[tied, 0] = 0.25
    g[size - 1, 1] = 0.25
    leaf = g.requires_grad_()
    (slope,) = grad(penalty_of(SeparationPenalty("U", balance=1.0, ties=ties), leaf), leaf)
    k = int(draw_of("U+", 0, 2)[0]) * 3 >> 32
    expected = {"single": [(3, 1.0)], "shared": [(n, 1 / 3) for n in tied], "random": [(tied[k], 1.0)]}[ties]
    assert [(n, -slope[n, 0].item()) for n in slope[:, 0].nonzero()[:, 0].tolist()] == expected
    assert slope[:, 1].nonzero().tolist() == [[size - 1]]


def test_many_tied_entries_are_listed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.zeros(7, 5, 4, dtype=torch.float64, requires_grad=True)
    cases = list(itertools.product(("U", "P", "L"), ("shared", "random"), SCOPES))
    losses = [SeparationPenalty(kind, balance=1.0, ties=ties, scope=scope) for kind, ties, scope in cases]
    whole = [grad(penalty_of(penalty, g), g)[0] for penalty in losses]
    monkeypatch.setattr(tied_entries, "_LISTED_AT_ONCE", 10)
    for penalty, expected in zip(losses, whole, strict=True):
        assert torch.equal(grad(penalty_of(penalty, g), g)[0], expected)


# --- In place, in half precision, without gradients -------------------------------------------------------------


def formula(g: Tensor, kind: str, scope: str) -> Tensor:
    """The penalty in torch's own words, of layers without ties."""
    axes: dict[tuple[str, str], Any] = {
        ("U", "channel"): (0, 2),
        ("U", "position"): 0,
        ("P", "channel"): (1, 2),
        ("P", "position"): 1,
    }
    g = g.flatten(2) if g.dim() > 2 else g[:, :, None]
    total = g.new_zeros(())
    for one in kind:
        over = axes.get((one, scope), (0, 1, 2))
        total = total + 0.5 * (F.relu(1 - g.amax(over)).sum() + F.relu(1 + g.amin(over)).sum())
    return total


@every
def test_what_is_changed_in_place_afterwards_changes_nothing(kind: str, ties: str, scope: str) -> None:
    generator = torch.Generator().manual_seed(1)
    for layer, x in (
        (nn.Linear(4, 6), torch.randn(9, 4, generator=generator)),
        (nn.Conv2d(2, 5, 3), torch.randn(3, 2, 5, 5, generator=generator)),
    ):
        with torch.no_grad():
            layer.weight.copy_(0.2 * torch.randn(layer.weight.shape, generator=generator))
        penalty = SeparationPenalty(kind, ties=ties, scope=scope)
        g = layer(x)
        extremes = penalty.layer_extremes(g, 0)
        h = g.relu_()
        (h.square().sum() + penalty.of_extremes([extremes])).backward()
        found = [parameter.grad for parameter in layer.parameters()]
        layer.double().zero_grad()
        g = layer(x.double())
        (g.relu().square().sum() + formula(g, kind, scope)).backward()
        for ours, parameter in zip(found, layer.parameters(), strict=True):
            scale = parameter.grad.abs().max().item()
            torch.testing.assert_close(ours.double(), parameter.grad, rtol=0, atol=1e-5 * scale)


@every
def test_the_pre_activations_are_not_kept(kind: str, ties: str, scope: str) -> None:
    x = torch.zeros(3, 4, 2, requires_grad=True)
    g = 2 * x
    extremes = SeparationPenalty(kind, ties=ties, scope=scope).layer_extremes(g, 0)
    known = weakref.ref(g)
    del g
    assert known() is None
    assert all(side.requires_grad for sides in extremes.values() for side in sides)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every
def test_half_precision_is_exact(kind: str, ties: str, scope: str, dtype: torch.dtype) -> None:
    penalty = SeparationPenalty(kind, ties=ties, scope=scope)
    for shape in ((40, 6), (8, 5, 3, 3)):
        g = (0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(2))).to(dtype).requires_grad_()
        value = penalty_of(penalty, g)
        assert value.dtype is torch.float32
        numbers = g.detach().double().numpy()
        expected, slope = by_hand(numbers, kind, ties, scope, margin=1.0)
        assert value.item() == pytest.approx(expected, rel=1e-6)
        assert penalty([g.detach()]).item() == pytest.approx(expected, rel=1e-6)
        (found,) = grad(value, g)
        assert found.dtype is dtype
        torch.testing.assert_close(found.double(), torch.tensor(slope), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_penalty_of_many_points_in_half_precision_is_finite(dtype: torch.dtype) -> None:
    g = (0.01 * torch.randn(140_000, 2, generator=torch.Generator().manual_seed(3))).to(dtype)
    expected = float(formula(g.double(), "UP", "channel"))
    assert expected > 65_504, "float16's largest"
    assert float(SeparationPenalty("UP")([g])) == pytest.approx(expected, rel=1e-5)


def test_under_autocast_extremes_are_float32() -> None:
    layer = nn.Linear(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        g = layer(torch.ones(5, 3))
        assert g.dtype is torch.bfloat16
        value = penalty_of(SeparationPenalty("UP"), g)
        assert value.dtype is torch.float32
    value.backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype is torch.float32
    assert value.item() == pytest.approx(by_hand(g.detach().double().numpy(), "UP", "single", "channel", 1.0)[0])


def test_without_gradients_nothing_is_drawn_and_none_is_there() -> None:
    penalty = SeparationPenalty("UP", ties="random")
    g = torch.zeros(4, 3, 2, requires_grad=True)
    before = torch.get_rng_state()
    with torch.no_grad():
        found = penalty.layer_extremes(g, 0)
    assert not any(side.requires_grad for sides in found.values() for side in sides)
    assert torch.equal(torch.get_rng_state(), before)


# --- No numbers, no tensors ---------------------------------------------------------------------------------------


@every
def test_what_is_no_number_has_no_penalty(kind: str, ties: str, scope: str) -> None:
    penalty = SeparationPenalty(kind, balance=1.0, ties=ties, scope=scope)
    for size in ((4, 3), (4, 3, 2), (300, 70, 2)):
        g = torch.randn(size, generator=torch.Generator().manual_seed(4))
        g[1, 2] = torch.nan
        assert torch.isnan(penalty([g]))
        value = penalty_of(penalty, g.requires_grad_())
        assert torch.isnan(value)
        (slope,) = grad(value, g)
        assert slope.sum() <= -1, "the constraint pulls on one of its entries or several"


@every
def test_infinite_pre_activations_are_extremes_like_others(kind: str, ties: str, scope: str) -> None:
    g = torch.zeros(3, 4, 2)
    g[:, :, 0] = torch.inf
    g[:, :, 1] = -torch.inf
    value, slope = by_hand(g.numpy(), kind, ties, scope, margin=1.0)
    leaf = g.requires_grad_()
    found = penalty_of(SeparationPenalty(kind, ties=ties, scope=scope), leaf)
    assert found.item() == value == (0.0 if scope == "channel" or kind == "L" else torch.inf)
    np.testing.assert_allclose(grad(found, leaf)[0], slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("g", "words"),
    [
        (torch.zeros(3, 4, dtype=torch.int64), "layer 2 are torch.int64.*real floating-point"),
        (torch.zeros(3, 4, dtype=torch.complex64), "layer 2 are torch.complex64.*real floating-point"),
        (torch.zeros(4), r"layer 2 are \(4,\).*\(points, channels, \*positions\)"),
        (torch.zeros(0, 4), r"layer 2 are empty, \(0, 4\)"),
        (torch.zeros(3, 4, 0), r"layer 2 are empty, \(3, 4, 0\)"),
    ],
    ids=["integers", "complex", "one axis", "no point", "no position"],
)
def test_what_has_no_extremes_is_refused_in_a_line(g: Tensor, words: str) -> None:
    penalty, fine = SeparationPenalty("UP"), torch.zeros(3, 4)
    for call in (lambda: penalty.layer_extremes(g, 2), lambda: penalty([fine, fine, g])):
        with pytest.raises(SettingError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


# --- Derivatives of derivatives -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "convolution"),
    [((2, 2, 3), F.conv1d), ((2, 1, 2, 3), F.conv2d), ((2, 1, 2, 2, 3), F.conv3d), ((3, 2), None)],
    ids=["1d", "2d", "3d", "linear"],
)
@every
def test_second_derivatives(kind: str, ties: str, scope: str, shape: tuple[int, ...], convolution: Any) -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(shape, dtype=torch.float64, generator=generator)
    kernel = (2, shape[1], *[2] * (len(shape) - 2))
    weight = (0.3 * torch.randn(kernel, dtype=torch.float64, generator=generator)).requires_grad_()
    penalty = SeparationPenalty(kind, ties=ties, scope=scope, aggregate="sum_sq", margin_above=3.0, margin_below=-3.0)

    def value(w: Tensor) -> Tensor:
        return penalty_of(penalty, torch.tanh(convolution(x, w) if convolution else F.linear(x, w)))

    assert grad(value(weight), weight, create_graph=True)[0].requires_grad
    assert gradgradcheck(value, (weight,))


def test_a_product_with_the_hessian_of_a_network_is_the_change_of_its_gradient() -> None:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(6, 2, 8, dtype=torch.float64, generator=generator)
    weights = 0.4 * torch.randn(2 * 4 * 3 + 4 * 4 * 3, dtype=torch.float64, generator=generator)
    direction = torch.randn(weights.shape, dtype=torch.float64, generator=generator)
    penalty = SeparationPenalty("UP", aggregate="l2", ties="shared")

    def value(flat: Tensor) -> Tensor:
        first, second = flat[: 2 * 4 * 3].view(4, 2, 3), flat[2 * 4 * 3 :].view(4, 4, 3)
        below = F.conv1d(x, first)
        return penalty_of(penalty, below, F.conv1d(F.softplus(below), second))

    def slope(flat: Tensor) -> Tensor:
        leaf = flat.clone().requires_grad_()
        return grad(value(leaf), leaf)[0]

    product = torch.autograd.functional.hvp(value, weights, direction)[1]
    step = 1e-5
    expected = (slope(weights + step * direction) - slope(weights - step * direction)) / (2 * step)
    assert expected.norm() > 0.1
    torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-7)


# --- Checkpoints ----------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A convolution and a ReLU in place; extremes are taken of what the latter sees, in the first runs only."""

    def __init__(self, penalty: SeparationPenalty, runs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(3, 3, 3, padding=1).double()
        self.penalty, self.runs, self.found = penalty, runs, []

    def forward(self, x: Tensor) -> Tensor:
        g = self.convolution(x)
        if self.runs > 0:
            self.runs -= 1
            self.found.append(self.penalty.layer_extremes(g, 0, tie_draws=draw_of))
        return g.relu_()


@pytest.mark.parametrize("runs", [1, 2], ids=["recomputation takes none", "recomputation takes them, too"])
@every
def test_a_checkpointed_block_has_the_gradient_of_the_plain_one(kind: str, ties: str, scope: str, runs: int) -> None:
    penalty = SeparationPenalty(kind, ties=ties, scope=scope)
    gradients = []
    for is_checkpointed in (False, True):
        torch.manual_seed(8)
        block = Block(penalty, runs if is_checkpointed else 1)
        x = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9), requires_grad=True)
        h = checkpoint(block, 2 * x, use_reentrant=False) if is_checkpointed else block(2 * x)
        (h.square().sum() + penalty.of_extremes(block.found[:1])).backward()
        assert len(block.found) == (runs if is_checkpointed else 1)
        gradients.append([x.grad, *(parameter.grad for parameter in block.parameters())])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.equal(plain, checkpointed)
