"""Activations: one table, on which every engine switches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from jumpstart_exp.late import LateModule
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.settings import is_function_name
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.user_functions import UserFunction

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F  # noqa: N812
    from torch import Tensor
else:
    torch = LateModule("torch")
    F = LateModule("torch.nn.functional")

Number: TypeAlias = "float | Tensor"
"""What an activation is tuned by: leaky_relu's slope, γ, …; as a tensor it broadcasts with the pre-activations."""

Rule: TypeAlias = "Callable[[Tensor, Number], Tensor]"


@dataclass(frozen=True)
class Activation:
    """What a hidden layer does to its pre-activations, entry by entry, at its number (0 where it has none).

    At kinks the derivative is that from below, as torch has it.

    Attributes:
        value: of pre-activations of any shape and the number, differentiable in both; of several outputs a unit the
            first of all units come first, along axis 1.
        derivative: at them, of the shape of the values.
        number: of a network and its depth; for a trained one its start.
        of_number: the derivative of the values by the number; None where it is no trained parameter, one a layer.
        leak: the slope a below 0 that the initial weights reckon with; None for what is no leaky kind.
        outputs: of a unit.
        native: whether the C++ engine knows it.
        is_smooth: whether no part of it is linear: then its units are dormant or not, and never dead or linear.
    """

    value: Rule
    derivative: Rule
    number: Callable[[NetworkSpec, int], float] = lambda spec, depth: 0.0
    of_number: Callable[[Tensor], Tensor] | None = None
    leak: Callable[[float], float] | None = None
    outputs: int = 1
    native: bool = False
    is_smooth: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether its number is a parameter."""
        return self.of_number is not None

    def gain(self, number: float) -> float:
        """Factor of orthogonal weights before it: √(2/(1 + a²)) for a leaky kind (He et al. 2015), else 1."""
        return 1.0 if self.leak is None else math.sqrt(2 / (1 + self.leak(number) ** 2))

    def has_no_slope(self, pre: Tensor, number: Number = 0.0) -> Tensor:
        """Where the derivative, of each output of a unit, is exactly 0: of the shape of the pre-activations."""
        off = self.derivative(pre, number) == 0
        return (off if self.outputs == 1 else self._of_units(off).all(1)) & ~pre.isnan()

    def write(self, pre: Tensor, out: Tensor, number: Number = 0.0) -> None:
        """Values into `out`, without gradients."""
        out.copy_(self.value(pre, number))

    def backward(self, grad: Tensor, pre: Tensor, out: Tensor, number: Number = 0.0) -> None:
        """The gradient of the pre-activations into `out`, from that of the values; `out` may be `grad` if so shaped."""
        if self.outputs == 1:
            torch.mul(grad, self.derivative(pre, number), out=out)
        else:
            torch.sum(self._of_units(grad * self.derivative(pre, number)), 1, out=out)

    def _of_units(self, values: Tensor) -> Tensor:
        """What stands for every output of every unit, (points, outputs · units, …), as (points, outputs, units, …)."""
        return values.reshape(len(values), self.outputs, -1, *values.shape[2:])


class _ReLU(Activation):
    """In torch's fused operations, one pass each."""

    def write(self, pre: Tensor, out: Tensor, number: Number = 0.0) -> None:
        torch.clamp_min(pre, 0, out=out)

    def backward(self, grad: Tensor, pre: Tensor, out: Tensor, number: Number = 0.0) -> None:
        torch.ops.aten.threshold_backward.grad_input(grad, pre, 0, grad_input=out)


def activation_of(spec: NetworkSpec) -> Activation:
    """The row of a network's activation.

    Raises:
        SettingError: there is none.
    """
    if is_function_name(spec.activation):
        return _own_activation(spec.activation, spec.activation_source)
    return block(ACTIVATIONS, "network.activation", spec.activation)


@lru_cache(maxsize=64)
def _own_activation(name: str, source: str | None) -> Activation:
    """A function of the user's, entry by entry: x → values of the shape of x, in torch.

    Nothing is known of its kinks, so its units are dormant or not, and never dead or linear.
    """
    function = UserFunction("network.activation", name, source)
    tried: list[bool] = []

    def value(pre: Tensor, _: Number) -> Tensor:
        if not tried:
            _check_points_alone(function, pre)
            tried.append(True)
        found = function(pre)
        if not isinstance(found, torch.Tensor) or found.shape != pre.shape or found.dtype != pre.dtype:
            what = (
                f"{found.dtype} numbers of shape {tuple(found.shape)}"
                if isinstance(found, torch.Tensor)
                else f"a {type(found).__name__}"
            )
            raise function.wrong(f"gives {what}, not a tensor as the {pre.dtype} one of shape {tuple(pre.shape)}")
        return found

    def derivative(pre: Tensor, number: Number) -> Tensor:
        with torch.enable_grad():
            x = pre.detach().requires_grad_()
            return torch.autograd.grad(value(x, number).sum(), x)[0]

    return Activation(value, derivative, is_smooth=True)


def _check_points_alone(function: UserFunction, like: Tensor) -> None:
    """Try an activation on four numbers: each is left as it is, and what is made of it does not depend on others.

    The pre-activations are what penalty and census see, and points are evaluated in other parts than they are trained.

    Raises:
        UserFunctionError: it fails, changes what it is given, or has one point depend on another.
    """
    x = torch.tensor([[-1.5], [-0.25], [0.5], [2.0]], dtype=like.dtype, device=like.device)
    given = x.reshape(-1, *[1] * (like.dim() - 1)) if like.dim() > 1 else x[:, 0]
    given = given.expand(-1, *like.shape[1:]).clone()
    seen = given.clone()
    with torch.no_grad():
        whole = function(seen)
        if not torch.equal(seen, given):
            raise function.wrong("changes in place what it is given: the penalty and the census need that as it is")
        if not isinstance(whole, torch.Tensor) or whole.shape != given.shape:
            return  # what is wrong is said of the points themselves
        alone = torch.cat([function(given[at : at + 1].clone()) for at in range(len(given))])
    if not torch.allclose(whole, alone, rtol=1e-2, atol=1e-2, equal_nan=True):
        raise function.wrong("gives a point other values beside other points: it has to act entry by entry")


@lru_cache(maxsize=4096)
def tat_slope(depth: int, eta: float) -> float:
    """The slope s of TAT: `depth` layers bring two inputs of correlation 0 to correlation η at most.

    By bisection; 0 where the ReLU itself (s = 0) stays below η (Zhang, Botev and Martens, ICLR 2022, section 4).
    """

    def correlation(slope: float) -> float:
        c = 0.0
        for _ in range(depth):
            arc = math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c
            c = min(1.0, ((1 - slope) ** 2 * arc / math.pi + 2 * slope * c) / (1 + slope**2))
        return c

    if correlation(0.0) <= eta:
        return 0.0
    low, high = 0.0, 1.0  # the correlation falls with the slope, at 1 it stays 0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if correlation(middle) > eta else (low, middle)
    return high


def _leaky(pre: Tensor, slope: Number) -> Tensor:
    if isinstance(slope, torch.Tensor):
        return torch.where(pre > 0, pre, slope * pre)
    return F.leaky_relu(pre, slope)  # as fast as the ReLU


def _slope(pre: Tensor, slope: Number) -> Tensor:
    return torch.where(pre > 0, torch.ones_like(pre), slope)


def _tat_scale(slope: Number) -> Number:
    scale: Number = (2 / (1 + slope * slope)) ** 0.5
    return scale


def _both_parts(pre: Tensor, _: Number) -> Tensor:
    return torch.cat([torch.relu(pre), torch.relu(-pre)], 1)


def _both_signs(pre: Tensor, _: Number) -> Tensor:
    return torch.cat([(pre > 0).to(pre.dtype), -(pre < 0).to(pre.dtype)], 1)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _silu_derivative(pre: Tensor, _: Number) -> Tensor:
    share = torch.sigmoid(pre)
    slope: Tensor = share * (1 + pre * (1 - share))
    return slope


def _gelu_derivative(pre: Tensor, _: Number) -> Tensor:
    slope: Tensor = torch.special.ndtr(pre) + pre * torch.exp(-pre * pre / 2) / math.sqrt(2 * math.pi)
    return slope


ACTIVATIONS: dict[str, Activation] = {
    "relu": _ReLU(
        lambda pre, _: torch.relu(pre), lambda pre, _: (pre > 0).to(pre.dtype), leak=lambda _: 0.0, native=True
    ),
    "leaky_relu": Activation(
        _leaky, _slope, number=lambda spec, _: spec.leaky_slope, leak=lambda slope: slope, native=True
    ),
    "prelu": Activation(
        _leaky,
        _slope,
        number=lambda spec, _: spec.prelu_start,
        of_number=lambda pre: pre.clamp_max(0),
        leak=lambda slope: slope,
        native=True,
    ),
    "elu": Activation(
        lambda pre, _: F.elu(pre),
        lambda pre, _: torch.where(pre > 0, torch.ones_like(pre), torch.exp(pre)),
        native=True,
    ),
    "selu": Activation(
        lambda pre, _: F.selu(pre),
        lambda pre, _: _SELU_SCALE * torch.where(pre > 0, torch.ones_like(pre), _SELU_ALPHA * torch.exp(pre)),
        native=True,
    ),
    "gelu": Activation(lambda pre, _: F.gelu(pre), _gelu_derivative, is_smooth=True, native=True),
    "silu": Activation(lambda pre, _: F.silu(pre), _silu_derivative, is_smooth=True, native=True),
    "tanh": Activation(
        lambda pre, _: torch.tanh(pre), lambda pre, _: 1 - torch.tanh(pre) ** 2, is_smooth=True, native=True
    ),
    # 2/(1 + exp(−γx)) − 1, in a form that no x overflows
    "sigmoid": Activation(
        lambda pre, gamma: torch.tanh(pre * (gamma / 2)),
        lambda pre, gamma: (gamma / 2) * (1 - torch.tanh(pre * (gamma / 2)) ** 2),
        number=lambda spec, _: spec.sigmoid_gamma,
        is_smooth=True,
        native=True,
    ),
    "logistic": Activation(
        lambda pre, _: torch.sigmoid(pre),
        lambda pre, _: torch.sigmoid(pre) * (1 - torch.sigmoid(pre)),
        is_smooth=True,
        native=True,
    ),
    # torch goes over to x itself above 20
    "softplus": Activation(
        lambda pre, _: F.softplus(pre),
        lambda pre, _: torch.where(pre > 20, torch.ones_like(pre), torch.sigmoid(pre)),
        is_smooth=True,
        native=True,
    ),
    "tat": Activation(
        lambda pre, slope: _tat_scale(slope) * _leaky(pre, slope),
        lambda pre, slope: _tat_scale(slope) * _slope(pre, slope),
        number=lambda spec, depth: tat_slope(depth, spec.tat_eta),
        native=True,
    ),
    "crelu": Activation(_both_parts, _both_signs, leak=lambda _: 0.0, outputs=2, native=True),
}
"""Every activation under its name among the choices of `network.activation`."""
