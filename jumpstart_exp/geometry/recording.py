"""What the layers of any torch model see: its affine maps and its kinks, in the order in which they are computed.

Functions are seen wherever they are called from, modules or not. What is hidden in a compiled model is not seen, so
whoever uses a recording checks that nothing is missing.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True, eq=False)
class Kink:
    """Numbers whose function has a kink where they pass a threshold.

    Attributes:
        values: (points, …), of which the first axis is the points'.
        at: the thresholds.
        function: its name in torch.
        layer: affine maps computed before it.
    """

    values: Tensor
    at: tuple[float, ...]
    function: str
    layer: int


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine map as it was computed: outputs = inputs · weightᵀ + bias, or a convolution.

    Attributes:
        inputs: (points, inputs), of a convolution (points, channels, …).
        weight: the parameter, or what was made of one.
        bias: None for none.
        outputs: (points, outputs), of a convolution (points, channels, …).
        function: its name in torch.
    """

    inputs: Tensor
    weight: Tensor
    bias: Tensor | None
    outputs: Tensor
    function: str


@dataclass
class Recording:
    """What a forward pass computed.

    Attributes:
        outputs: what the model gave; of several, the first.
        kinks: in the order of their computation.
        affine: likewise.
        smooth: names of functions seen that are neither affine nor of straight pieces.
    """

    outputs: Tensor = field(default_factory=lambda: torch.empty(0))
    kinks: list[Kink] = field(default_factory=list)
    affine: list[Affine] = field(default_factory=list)
    smooth: list[str] = field(default_factory=list)


def _at(*thresholds: float) -> Callable[..., tuple[float, ...]]:
    return lambda *_, **__: thresholds


def _between(_: Tensor, low: float = -1.0, high: float = 1.0, *__: Any, **named: Any) -> tuple[float, ...]:
    return (named.get("min_val", low), named.get("max_val", high))


def _clamped(_: Tensor, low: Any = None, high: Any = None, **named: Any) -> tuple[float, ...] | None:
    bounds = [named.get("min", low), named.get("max", high)]
    numbers = [float(bound) for bound in bounds if bound is not None and not isinstance(bound, Tensor)]
    return tuple(numbers) if not any(isinstance(bound, Tensor) for bound in bounds) else None


def _compared(_: Tensor, other: Any, *__: Any, **___: Any) -> tuple[float, ...] | None:
    return None if isinstance(other, Tensor) else (float(other),)


_KINKS: Mapping[str, Callable[..., tuple[float, ...] | None]] = {
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "abs", "absolute", "_abs"), _at(0.0)),
    **dict.fromkeys(("rrelu",), _at(0.0)),
    "relu6": _at(0.0, 6.0),
    "hardtanh": _between,
    **dict.fromkeys(("clamp", "clamp_", "clip"), _clamped),
    "clamp_min": _compared,
    "clamp_max": _compared,
    "threshold": _compared,
    **dict.fromkeys(("gt", "ge", "lt", "le", "__gt__", "__ge__", "__lt__", "__le__"), _compared),
}
"""Functions of straight pieces: their arguments → the thresholds at which they have kinks; None for unknown ones."""

_AFFINE = ("linear", "conv1d", "conv2d", "conv3d")

_SMOOTH = frozenset(
    (
        *("sigmoid", "tanh", "gelu", "silu", "elu", "selu", "celu", "softplus", "mish", "logsigmoid", "hardswish"),
        *("softmax", "log_softmax", "exp", "log", "sqrt", "pow", "square", "sin", "cos", "layer_norm", "group_norm"),
        *("rms_norm", "instance_norm", "normalize", "erf", "ndtr", "scaled_dot_product_attention", "softsign"),
    )
)


class _Mode(TorchFunctionMode):
    def __init__(self, recording: Recording, points: int) -> None:
        super().__init__()
        self.recording, self.points = recording, points

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        first = args[0] if args else given.get("input")
        if not (isinstance(first, Tensor) and first.dim() > 0 and len(first) == self.points):
            return func(*args, **given)
        found = self.recording
        if name in _KINKS:
            at = _KINKS[name](*args, **given) if args else _KINKS[name](first, **_without_input(given))
            if at is not None:
                # what works in place must not change what was seen
                values = first.clone() if name.endswith("_") or given.get("inplace") else first
                found.kinks.append(Kink(values, at, name, len(found.affine)))
        if name in _SMOOTH and name not in found.smooth:
            found.smooth.append(name)
        result = func(*args, **given)
        if name in _AFFINE:
            weight = args[1] if len(args) > 1 else given["weight"]
            bias = args[2] if len(args) > 2 else given.get("bias")
            found.affine.append(Affine(first, weight, bias, result, name))
        return result


def _without_input(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "input"}


def record(model: Callable[[Tensor], Any], inputs: Tensor) -> Recording:
    """What the model computes of these inputs (points, …), in evaluation mode; gradients as the caller has them.

    Raises:
        TypeError: the model gives no tensor with a row a point.
    """
    found = Recording()
    with evaluating(model), _Mode(found, len(inputs)):
        outputs = model(inputs)
    if isinstance(outputs, tuple | list):
        outputs = outputs[0]
    if not isinstance(outputs, Tensor) or outputs.dim() == 0 or len(outputs) != len(inputs):
        what = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TypeError(f"the model gives {what} of {len(inputs)} points: a tensor with a row a point is needed")
    found.outputs = outputs.reshape(len(inputs), -1)
    return found


@contextmanager
def evaluating(model: Callable[[Tensor], Any]) -> Iterator[None]:
    """In evaluation mode; afterwards every module is in the mode in which it was."""
    modes = {module: module.training for module in model.modules()} if isinstance(model, nn.Module) else {}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def in_float64(model: nn.Module) -> nn.Module:
    """A copy of the model in float64, on the CPU: the model itself stays as it is."""
    return copy.deepcopy(model).to(device="cpu", dtype=torch.float64)


def parameter_names(model: nn.Module) -> dict[int, str]:
    """Names of a model's parameters by their identity."""
    return {id(parameter): name for name, parameter in model.named_parameters()}
