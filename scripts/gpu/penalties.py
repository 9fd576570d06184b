"""The penalty's library on the device: a layer's extremes, watched models, the census."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from gpu.device import largest
from gpu.findings import Clock, Findings
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.measures.model_census import census

EXACT = 1e-12


def run(found: Findings, clock: Clock, device: torch.device) -> None:
    """Values and gradients against float64 on the CPU."""
    _layers(found, clock, device)
    if not clock.is_over(found, "watched models"):
        _models(found, device)


def _layers(found: Findings, clock: Clock, device: torch.device) -> None:
    """`layer_extremes` of numbers of which many are equal: every kind, scope and tie, dtype and layout of memory."""
    random = np.random.default_rng(3)
    coarse = torch.from_numpy(random.integers(-3, 4, (9, 6, 5, 4)) / 4.0)  # exact in bfloat16
    dtypes = (torch.float64, torch.float32, torch.bfloat16)
    for dtype in dtypes:
        apart: list[float] = []
        for kind, scope, ties in itertools.product(
            ("U", "P", "UP", "L"), ("channel", "position"), ("single", "shared", "random")
        ):
            if clock.is_over(found, f"layer_extremes, {dtype} from {kind}, {scope}, {ties} on"):
                return
            penalty = SeparationPenalty(kind, scope=scope, ties=ties, aggregate="l2")
            for layout in (torch.contiguous_format, torch.channels_last):
                expected = _of_layer(penalty, coarse.double(), torch.device("cpu"), layout)
                got = _of_layer(penalty, coarse.to(dtype), device, layout)
                apart += [_apart(one, other) for one, other in zip(got, expected, strict=True)]
        allowed = {torch.float64: EXACT, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
        found.check(
            f"layer_extremes, {str(dtype).removeprefix('torch.')}: values and gradients", largest(apart), allowed
        )


def _of_layer(
    penalty: SeparationPenalty, g: Tensor, device: torch.device, layout: torch.memory_format
) -> tuple[Tensor, Tensor]:
    """The penalty of one layer and its gradient, in float64 on the CPU."""
    g = g.to(device, memory_format=layout).requires_grad_()
    value = penalty.of_extremes([penalty.layer_extremes(g, 0, tie_draws=_draws)])
    (gradient,) = torch.autograd.grad(value, g)
    return value.detach().double().cpu(), gradient.double().cpu()


def _draws(constraint: str, layer: int, count: int) -> Tensor:
    """The same draws everywhere."""
    numbers = np.random.default_rng([len(constraint), ord(constraint[0]), ord(constraint[1]), layer])
    return torch.from_numpy(numbers.integers(0, 2**32, count, dtype=np.int64))


def _models(found: Findings, device: torch.device) -> None:
    """Models of somebody else's, watched: penalty, gradients and census."""
    cpu = torch.device("cpu")
    models: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
        "MLP": (
            lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)),
            (12, 5),
        ),
        "CNN": (_convolutions, (12, 3, 6, 6)),
        "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, "relu", batch_first=True), (12, 4, 8)),
    }
    for name, (make, shape) in models.items():
        for ties in ("single", "shared", "random"):
            expected, got = (_watched(make, shape, ties, where) for where in (cpu, device))
            apart = largest([_apart(one, other) for one, other in zip(got, expected, strict=True)])
            # a drawn tie is another one on each device only where something is tied: here nothing is
            found.check(f"watched {name}, {ties}: penalty, gradients, census", apart, 1e-9)


def _perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def _convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
    )


def _watched(make: Callable[[], nn.Module], shape: tuple[int, ...], ties: str, device: torch.device) -> list[Tensor]:
    """Penalty, gradients and census of a model in float64, on the CPU."""
    torch.manual_seed(0)
    model = make().double()
    x = torch.randn(shape, dtype=torch.float64)
    model, x = model.to(device), x.to(device)
    with SeparationPenalty("UP", ties=ties).watch(model) as penalty:
        outputs = model(x)
        value = penalty()
        (outputs.square().mean() + 0.1 * value).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    seen = census(model, [x[:8], x[8:]])
    numbers = seen.select_dtypes("number").to_numpy(dtype=np.float64)
    return [one.detach().double().cpu() for one in (value, *gradients)] + [torch.from_numpy(np.nan_to_num(numbers))]


def _apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference relative to the largest entry."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-300))
