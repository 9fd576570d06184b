"""Which axis of a tensor has a layer's units: followed from the function that made it.

A convolution's units are on axis 1 (N, C, …), a linear layer's on the last one, (N, T, C) of tokens among them.
Functions that work entry by entry, pool or normalise keep the axis, permutations move it, and what is not known to do
either leaves it unknown.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_LAST = frozenset(("linear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu", "bilinear"))

_CONVOLUTIONS = frozenset(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))

_OF_CHANNELS = frozenset(("batch_norm", "instance_norm", "group_norm", "local_response_norm"))

_KEEPS = frozenset(
    (
        *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish"),
        *("hardtanh", "clamp", "clip", "clamp_min", "clamp_max", "threshold", "_threshold", "sigmoid", "tanh"),
        *("softplus", "softsign", "log_sigmoid", "tanhshrink", "hardsigmoid", "softmax", "log_softmax"),
        *("add", "sub", "mul", "div", "true_divide", "multiply", "subtract", "neg", "abs", "pow", "square", "sqrt"),
        *("rsqrt", "exp", "log", "where", "lerp", "addcmul", "masked_fill", "maximum", "minimum", "sign", "erf"),
        *(f"__{kind}{name}__" for kind in ("", "r", "i") for name in ("add", "sub", "mul", "truediv", "pow")),
        *("__neg__", "normalize", "layer_norm", "rms_norm"),
        *(f"{kind}dropout{n}" for kind in ("", "alpha_", "feature_", "feature_alpha_") for n in ("", "1d", "2d", "3d")),
        *(f"{kind}{pool}_pool{n}d" for kind in ("", "adaptive_") for pool in ("max", "avg") for n in (1, 2, 3)),
        *(f"{kind}max_pool{n}d_with_indices" for kind in ("", "adaptive_") for n in (1, 2, 3)),
        *("interpolate", "upsample", "pad", "contiguous", "clone", "to", "float", "half", "double", "bfloat16"),
        *("type", "type_as", "cpu", "cuda", "detach", "requires_grad_", "cat", "concat", "chunk", "split", "narrow"),
        *("__getitem__", "flip", "roll", "expand", "repeat", "add_", "mul_", "sub_", "div_"),
    )
)
"""Functions whose results have their units where their arguments have them, if these have as many axes."""

_MOVES = frozenset(("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"))

_RESHAPES = frozenset(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"))


class UnitAxes:
    """The unit axes of the tensors of a forward pass."""

    def __init__(self) -> None:
        self._axes: MutableMapping[Tensor, int] = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> int | None:
        """The axis, counted from the front; None where it is not known. Of a matrix it is the last one."""
        if tensor.dim() == 2:
            return 1
        return self._axes.get(tensor)

    def follow(self, name: str, args: tuple[Any, ...], named: Mapping[str, Any], result: Any) -> None:
        """Note the axes of what a function gave."""
        if isinstance(result, tuple | list):
            for part in result:
                self.follow(name, args, named, part)
            return
        if not isinstance(result, Tensor) or result.dim() < 3:
            return
        axis = self._axis(name, args, named, result)
        if axis is not None:
            self._axes[result] = axis
        elif result in self._axes:
            del self._axes[result]

    def _axis(self, name: str, args: tuple[Any, ...], named: Mapping[str, Any], result: Tensor) -> int | None:
        if name in _LAST:
            return result.dim() - 1
        if name in _CONVOLUTIONS:
            return 1 if result.dim() == int(name[-2]) + 2 else None
        if name in _OF_CHANNELS:
            return 1
        tensors = [one for one in _flat((*args, *named.values())) if isinstance(one, Tensor)]
        if name in _KEEPS and (name != "__getitem__" or _only_slices(args[1])):
            return self._kept(tensors, result)
        if not tensors:
            return None
        source = tensors[0]
        if name in _MOVES:
            return self._moved(name, source, args, named, result)
        if name in _RESHAPES:
            return self._reshaped(source, result)
        if name in ("matmul", "__matmul__") and len(tensors) > 1 and tensors[1].dim() == 2:
            return result.dim() - 1
        return None

    def _kept(self, tensors: list[Tensor], result: Tensor) -> int | None:
        known = {self.of(one) for one in tensors if one.dim() == result.dim() > 2}
        known.discard(None)
        return known.pop() if len(known) == 1 else None

    def _moved(
        self, name: str, source: Tensor, args: tuple[Any, ...], named: Mapping[str, Any], result: Tensor
    ) -> int | None:
        axis = self.of(source)
        if axis is None or source.dim() != result.dim():
            return None
        # where the units went is seen on numbers of axes, whatever the arguments look like
        rest = args[1:] if args and args[0] is source else args
        count = source.dim()
        given = {key: value for key, value in named.items() if key != "input"}
        numbers = [*rest, *given.values()]
        if name == "permute":
            order = numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], int) else numbers
            new_order: list[int] = [int(one) % count for one in order]
            return new_order.index(axis)
        first, second = numbers[0], numbers[1]
        if name in ("movedim", "moveaxis"):
            if not (isinstance(first, int) and isinstance(second, int)):
                return None
            places: list[int] = [one for one in range(count) if one != first % count]
            places.insert(second % count, first % count)
            return places.index(axis)
        swapped: dict[int, int] = {first % count: second % count, second % count: first % count}
        return swapped.get(axis, axis)

    def _reshaped(self, source: Tensor, result: Tensor) -> int | None:
        """Where the axes up to the units', or from the units' on, are as they were: they are what they were."""
        axis = self.of(source)
        if axis is None:
            return None
        if axis == source.dim() - 1 and source.shape[-1] == result.shape[-1]:
            return result.dim() - 1
        if source.shape[: axis + 1] == result.shape[: axis + 1] and result.dim() > axis:
            return axis
        return None


def _flat(arguments: tuple[Any, ...]) -> list[Any]:
    return [
        part for one in arguments for part in (one if isinstance(one, tuple | list) and len(one) < 10_000 else (one,))
    ]


def _only_slices(index: Any) -> bool:
    return all(isinstance(one, slice) or one is ... for one in (index if isinstance(index, tuple) else (index,)))
