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
from torch.autograd.graph import GradientEdge, get_gradient_edge
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
        edge: where the gradient of the outputs arrives, whatever changes them in place later; None without gradients.
    """

    inputs: Tensor
    weight: Tensor
    bias: Tensor | None
    outputs: Tensor
    function: str
    edge: GradientEdge | None


@dataclass
class Recording:
    """What a forward pass computed.

    Attributes:
        outputs: what the model gave; of several, the first.
        kinks: in the order of their computation.
        affine: likewise.
        smooth: names of functions seen that are neither affine nor of straight pieces.
        selecting: names of functions seen that pick among their inputs, as max pooling does: of straight pieces, whose
            kinks are not among `kinks`.
    """

    outputs: Tensor = field(default_factory=lambda: torch.empty(0))
    kinks: list[Kink] = field(default_factory=list)
    affine: list[Affine] = field(default_factory=list)
    smooth: list[str] = field(default_factory=list)
    selecting: list[str] = field(default_factory=list)


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


def _shrunk(_: Tensor, lambd: float = 0.5, **__: Any) -> tuple[float, ...]:
    return (-lambd, lambd)


_KINKS: Mapping[str, Callable[..., tuple[float, ...] | None]] = {
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "abs", "absolute", "_abs"), _at(0.0)),
    **dict.fromkeys(("rrelu", "rrelu_", "sign", "sgn", "signbit"), _at(0.0)),
    "relu6": _at(0.0, 6.0),
    "hardsigmoid": _at(-3.0, 3.0),
    **dict.fromkeys(("softshrink", "hardshrink"), _shrunk),
    **dict.fromkeys(("hardtanh", "hardtanh_"), _between),
    **dict.fromkeys(("clamp", "clamp_", "clip"), _clamped),
    "clamp_min": _compared,
    "clamp_max": _compared,
    "threshold": _compared,
    **dict.fromkeys(("gt", "ge", "lt", "le", "__gt__", "__ge__", "__lt__", "__le__"), _compared),
}
"""Functions of straight pieces: their arguments → the thresholds at which they have kinks; None for unknown ones."""

_DIFFERENCES = frozenset(
    ("maximum", "minimum", "max", "min", "gt", "ge", "lt", "le", "__gt__", "__ge__", "__lt__", "__le__")
)
"""Functions of two tensors with a kink where these are equal."""

_AFFINE = ("linear", "conv1d", "conv2d", "conv3d")

_SMOOTH = frozenset(
    (
        *("sigmoid", "tanh", "gelu", "silu", "elu", "selu", "celu", "softplus", "mish", "logsigmoid", "hardswish"),
        *("softmax", "log_softmax", "exp", "log", "sqrt", "pow", "square", "sin", "cos", "layer_norm", "group_norm"),
        *("rms_norm", "instance_norm", "normalize", "erf", "ndtr", "scaled_dot_product_attention", "softsign"),
        *("elu_", "selu_", "celu_", "sigmoid_", "tanh_", "exp2", "expm1", "log1p", "log2", "log10", "rsqrt", "tan"),
        *(
            "reciprocal",
            "__pow__",
            "__rpow__",
            "softmin",
            "logsumexp",
            "special_expit",
            "special_ndtr",
            "glu",
            "tanhshrink",
        ),
        *("local_response_norm", "cosine_similarity", "norm", "std", "var", "sinh", "cosh", "atan", "asin", "acos"),
    )
)

_SELECTING = frozenset(
    (
        *(f"{kind}max_pool{dimensions}d" for kind in ("", "adaptive_", "fractional_") for dimensions in (1, 2, 3)),
        *(f"{name}_with_indices" for name in ("max_pool1d", "max_pool2d", "max_pool3d")),
        *("max", "min", "amax", "amin", "aminmax", "sort", "topk", "kthvalue", "median", "cummax", "cummin", "fmax"),
        *("fmin", "floor", "ceil", "round", "trunc", "frac", "fmod", "remainder", "heaviside", "argmax", "argmin"),
    )
)


_ROUNDED = frozenset(
    (
        *(*_AFFINE, "matmul", "mm", "bmm", "addmm", "mv", "einsum", "bilinear", "batch_norm", "lerp", "addcmul"),
        *(f"__{sign}{name}__" for sign in ("", "r") for name in ("add", "sub", "mul", "truediv", "matmul")),
        *("add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide", "sum", "mean"),
    )
)
"""Functions whose results are rounded."""

_NOISE = torch.randn(2**18 + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class _Enough(BaseException):
    """What was asked for has been seen: no model's `except Exception` keeps this from its caller."""


class _Mode(TorchFunctionMode):
    def __init__(self, recording: Recording, points: int, kinks: int | None, rounding: float) -> None:
        super().__init__()
        self.recording, self.points, self.kinks, self.rounding, self.drawn = recording, points, kinks, rounding, 0

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
                # a copy: what works in place later must not change what was seen
                found.kinks.append(Kink(first.clone(), at, name, len(found.affine)))
        other = args[1] if len(args) > 1 else given.get("other")
        if name in _DIFFERENCES and isinstance(other, Tensor):
            found.kinks.append(Kink(first - other, (0.0,), name, len(found.affine)))
        elif name in _SELECTING and name not in found.selecting:
            found.selecting.append(name)
        if name in _SMOOTH and name not in found.smooth:
            found.smooth.append(name)
        if self.kinks is not None and len(found.kinks) >= self.kinks:
            raise _Enough
        if self.rounding and name in _ROUNDED:
            args = tuple(self._rounded(one) for one in args)
            given = {key: self._rounded(one) for key, one in given.items()}
            # the result, too: a linear map of numbers that are off is still one through the origin
            result = self._rounded(func(*args, **given))
        else:
            result = func(*args, **given)
        if name in _AFFINE:
            weight = args[1] if len(args) > 1 else given["weight"]
            bias = args[2] if len(args) > 2 else given.get("bias")
            edge = get_gradient_edge(result) if result.requires_grad else None
            found.affine.append(Affine(first, weight, bias, result, name, edge))
        return result

    def _rounded(self, argument: Any) -> Any:
        """A tensor's numbers, each by itself a little larger or smaller; anything else as it is."""
        if not (isinstance(argument, Tensor) and argument.is_floating_point()):
            return argument
        if self.drawn + argument.numel() > len(_NOISE):
            self.drawn = 0
        first, self.drawn = self.drawn, self.drawn + argument.numel()
        noise = (
            _NOISE[first : self.drawn] if self.drawn <= len(_NOISE) else _NOISE.repeat(-(-self.drawn // len(_NOISE)))
        )
        return torch.addcmul(argument, argument, noise[: argument.numel()].reshape(argument.shape), value=self.rounding)


def _without_input(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "input"}


def record(
    model: Callable[[Tensor], Any], inputs: Tensor, kinks: int | None = None, rounding: float = 0.0
) -> Recording:
    """What the model computes of these inputs (points, …), in evaluation mode; gradients as the caller has them.

    With `kinks` no further than to so many of them: then there are no outputs. With `rounding` every number that a sum
    or a product is made of, and the result, is off by about so much of itself, at random: what two recordings differ by
    then is what rounding makes of the numbers (Monte Carlo arithmetic, Parker 1997).

    Raises:
        TypeError: the model gives no tensor with a row a point.
    """
    found = Recording()
    try:
        with evaluating(model), _Mode(found, len(inputs), kinks, rounding):
            outputs = model(inputs)
    except _Enough:
        return found
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
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def in_float64(model: nn.Module) -> nn.Module:
    """A copy of the model in float64, on the CPU: the model itself stays as it is."""
    return copy.deepcopy(model).to(device="cpu", dtype=torch.float64)


def parameter_names(model: nn.Module) -> dict[int, str]:
    """Names of a model's parameters by their identity."""
    return {id(parameter): name for name, parameter in model.named_parameters()}
