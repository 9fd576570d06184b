"""Functions of torch that are a network's activations, and where each of them has no slope."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

NoSlope = Callable[[Tensor], Tensor]
"""Pre-activations → where the activation's derivative is exactly 0."""


@dataclass(frozen=True)
class Activation:
    """One call of an activation.

    Attributes:
        name: of the function.
        like_relu: whether it is one of those that are watched without being named.
        no_slope: where its derivative is exactly 0; None where it never is, so that no unit is dead.
    """

    name: str
    like_relu: bool
    no_slope: NoSlope | None


def below(threshold: float) -> NoSlope:
    """No slope at and below a threshold."""
    return lambda g: g <= threshold


def outside(low: float, high: float) -> NoSlope:
    """No slope but between two thresholds."""
    return lambda g: (g <= low) | (g >= high)


_Arguments = Mapping[str, Any]


def _relu(name: str, _: _Arguments) -> Activation:
    return Activation(name, True, below(0.0))


def _sloped(name: str, _: _Arguments) -> Activation:
    return Activation(name, True, None)


def _bounded(name: str, _: _Arguments) -> Activation:
    return Activation(name, False, None)


def _hardswish(name: str, _: _Arguments) -> Activation:
    return Activation(name, True, below(-3.0))


def _hardsigmoid(name: str, _: _Arguments) -> Activation:
    return Activation(name, False, outside(-3.0, 3.0))


def _leaky(name: str, given: _Arguments) -> Activation:
    return Activation(name, True, None if given.get("negative_slope", 0.01) else below(0.0))


def _prelu(name: str, given: _Arguments) -> Activation:
    weight = given.get("weight")
    if isinstance(weight, Tensor) and bool((weight == 0).any()):
        return Activation(name, True, lambda g: (g <= 0) & (weight.detach().reshape(-1, 1) == 0))
    return Activation(name, True, None)


def _elu(name: str, given: _Arguments) -> Activation:
    return Activation(name, True, None if given.get("alpha", 1.0) else below(0.0))


def _hardtanh(name: str, given: _Arguments) -> Activation:
    low, high = float(given.get("min_val", -1.0)), float(given.get("max_val", 1.0))
    return Activation("relu6" if (low, high) == (0.0, 6.0) else name, low == 0.0, outside(low, high))


def _clamp(name: str, given: _Arguments) -> Activation | None:
    low, high = (_number(given.get(name)) for name in ("min", "max"))
    if isinstance(low, Tensor) or isinstance(high, Tensor) or low != 0:
        return None
    return Activation(name, True, below(0.0) if high is None else outside(0.0, float(high)))


def _number(bound: Any) -> Any:
    return bound.item() if isinstance(bound, Tensor) and bound.numel() == 1 and not bound.is_meta else bound


def _threshold(name: str, given: _Arguments) -> Activation | None:
    threshold, value = given.get("threshold"), given.get("value")
    return Activation(name.strip("_"), True, below(0.0)) if threshold == 0 and value == 0 else None


_NAMES: Mapping[str, tuple[tuple[str, ...], Callable[[str, _Arguments], Activation | None]]] = {
    "relu": ((), _relu),
    "relu6": ((), lambda name, _: Activation(name, True, outside(0.0, 6.0))),
    "leaky_relu": (("negative_slope",), _leaky),
    "rrelu": ((), _sloped),
    "prelu": (("weight",), _prelu),
    "elu": (("alpha",), _elu),
    **dict.fromkeys(("selu", "celu", "gelu", "silu", "mish"), ((), _sloped)),
    "hardswish": ((), _hardswish),
    "hardtanh": (("min_val", "max_val"), _hardtanh),
    **dict.fromkeys(("clamp", "clip"), (("min", "max"), _clamp)),
    "clamp_min": (("min",), _clamp),
    **dict.fromkeys(("threshold", "_threshold"), (("threshold", "value"), _threshold)),
    **dict.fromkeys(("sigmoid", "tanh", "softplus", "softsign", "log_sigmoid", "tanhshrink"), ((), _bounded)),
    "hardsigmoid": ((), _hardsigmoid),
}
"""By the function's name, without the `_` of those that work in place: names of its arguments after the first, and
what it is with them."""

FUNCTIONS = tuple(sorted({"relu6", *(name for name in _NAMES if not name.startswith("_"))}))
"""Functions that can be watched."""


def activation_call(name: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> Activation | None:
    """The activation that a call of this function is; None where it is none.

    Args:
        name: the function's, as torch has it.
        args: its positional arguments, the first among them if it is one.
        named: its arguments by keyword.
    """
    plain = name if name in _NAMES else name.rstrip("_")
    if plain not in _NAMES:
        return None
    arguments, kind = _NAMES[plain]
    rest = args if "input" in named else args[1:]
    return kind(plain, {**dict(zip(arguments, rest, strict=False)), **named})
