"""Which axis of a tensor has a layer's units, and which its points: followed from the function that made it.

A convolution's units are on axis 1 (N, C, …), a linear layer's on the last one, (N, T, C) of tokens among them; points
are on axis 0 of a convolution, and as `batch_first` says of recurrent layers and attention. Functions that work entry
by entry, pool or normalise keep the axes, permutations move them, and what is not known to do either leaves them
unknown.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

_LAST = frozenset(("linear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu", "bilinear"))

_RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))

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
        *("__neg__", "normalize", "layer_norm", "rms_norm", "glu", "pixel_shuffle", "pixel_unshuffle"),
        *(f"{kind}dropout{n}" for kind in ("", "alpha_", "feature_", "feature_alpha_") for n in ("", "1d", "2d", "3d")),
        *(f"{kind}{pool}_pool{n}d" for kind in ("", "adaptive_") for pool in ("max", "avg") for n in (1, 2, 3)),
        *(f"{kind}max_pool{n}d_with_indices" for kind in ("", "adaptive_") for n in (1, 2, 3)),
        *("interpolate", "upsample", "pad", "contiguous", "clone", "to", "float", "half", "double", "bfloat16"),
        *("type", "type_as", "cpu", "cuda", "detach", "requires_grad_", "cat", "concat", "chunk", "split", "narrow"),
        *("__getitem__", "flip", "roll", "expand", "repeat", "add_", "mul_", "sub_", "div_"),
    )
)
"""Functions whose results have their units where their arguments have them, if these have as many axes."""

_MOVES = frozenset(("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "T", "mT"))

_DROPS = frozenset(("__getitem__", "select", "unbind", "squeeze", "mean", "sum", "amax", "amin", "max", "min"))
"""Functions that leave axes out."""

_RESHAPES = frozenset(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"))


_Axis = Callable[[Tensor], int | None]


class UnitAxes:
    """The axes of the units and of the points of the tensors of a forward pass."""

    def __init__(self) -> None:
        self._units: MutableMapping[Tensor, int | None] = WeakIdKeyDictionary()
        self._points: MutableMapping[Tensor, int | None] = WeakIdKeyDictionary()

    def of(self, tensor: Tensor) -> int | None:
        """The units' axis, counted from the front, of a matrix the last unless made otherwise; None if unknown."""
        return self._units.get(tensor, 1 if tensor.dim() == 2 else None)

    def of_points(self, tensor: Tensor) -> int | None:
        """The points' axis of a tensor with three axes or more; None where it is not known."""
        return self._points.get(tensor)

    def begin(self, inputs: tuple[Any, ...]) -> None:
        """Note that the points of a model's inputs are on axis 0."""
        for one in inputs:
            if isinstance(one, Tensor) and one.dim() > 1:
                self._points[one] = 0

    def follow(self, name: str, args: tuple[Any, ...], named: Mapping[str, Any], result: Any) -> None:
        """Note the axes of what a function gave."""
        if isinstance(result, tuple | list):
            for part in result:
                self.follow(name, args, named, part)
            return
        if not isinstance(result, Tensor) or result.dim() < 2:
            return
        tensors = [one for one in _flat((*args, *named.values())) if isinstance(one, Tensor)]
        units = self._units_of(name, tensors, args, named, result)
        is_followed = result.dim() > 2 or (name in _MOVES and bool(tensors) and tensors[0] in self._points)
        points = self._points_of(name, tensors, args, named, result) if is_followed else None
        if result.dim() == 2 or units is not None or result in self._units:
            self._units[result] = units
        if points is not None or result in self._points:
            self._points[result] = points

    def _units_of(
        self, name: str, tensors: list[Tensor], args: tuple[Any, ...], named: Mapping[str, Any], result: Tensor
    ) -> int | None:
        last = result.dim() - 1
        if name in _LAST:
            return last
        if name in _CONVOLUTIONS:
            return 1 if result.dim() == int(name[-2]) + 2 else None  # None of one example without a batch
        if name == "multi_head_attention_forward":
            return 2 if result.dim() == 3 else None  # likewise
        if name in _OF_CHANNELS:
            return 1 if not tensors or result.dim() == 2 or self.of(tensors[0]) in (None, 1) else None
        if name in _KEEPS and (name != "__getitem__" or _only_slices(args[1])):
            return self._kept(self.of, tensors, result)
        if not tensors:
            return 1 if result.dim() == 2 else None
        source = tensors[0]
        if name in _MOVES:
            return self._moved(self.of, name, source, args, named, result)
        if name in ("matmul", "__matmul__", "mm") and len(tensors) > 1:
            return self._of_product(source, tensors[1], result)
        if result.dim() == 2 and source.dim() > 2 and name in _RESHAPES | _DROPS:
            axis = self.of(source)
            if axis is None or result.shape[1] == source.shape[axis]:
                return 1
            # flattened, every entry of an example is a unit; units that were left out or stand first are lost
            is_flat = name not in _DROPS and result.numel() == source.numel()
            return 1 if is_flat and (axis == last or len(result) == len(source)) else None
        if name in _RESHAPES:
            return self._reshaped(self.of, source, result)
        return 1 if result.dim() == 2 else None

    def _of_product(self, first: Tensor, second: Tensor, result: Tensor) -> int | None:
        """Of weights and a tensor; of a fixed matrix, such as a graph's, and a tensor, which keeps its units."""
        last = result.dim() - 1
        if isinstance(first, nn.Parameter) and first.dim() == 2 and not isinstance(second, nn.Parameter):
            axis = self._units.get(second)
            if axis is None or axis == second.dim() - 2:
                return last - 1
            return last if first.shape[0] == first.shape[1] else None
        if second.dim() != 2:
            return 1 if result.dim() == 2 else None
        axis = self.of(first)
        if axis is None or axis == first.dim() - 1:
            return last
        return None if second.requires_grad else axis

    def _points_of(
        self, name: str, tensors: list[Tensor], args: tuple[Any, ...], named: Mapping[str, Any], result: Tensor
    ) -> int | None:
        if name in _CONVOLUTIONS:
            return 0 if result.dim() == int(name[-2]) + 2 else None
        if name == "multi_head_attention_forward":
            return 1 if result.dim() == 3 else None
        if name in _RECURRENT:
            return None if len(args) < 9 or not isinstance(args[3], bool) else 0 if args[8] else 1
        if not tensors:
            return None
        source = tensors[0]
        known = self.of_points(source)
        if name in _OF_CHANNELS:
            return 0 if known is None else known
        if name in _KEEPS and (name != "__getitem__" or _only_slices(args[1])):
            return self._kept(self.of_points, tensors, result)
        if name in _MOVES:
            return self._moved(self.of_points, name, source, args, named, result)
        if name in _RESHAPES:
            return self._reshaped(self.of_points, source, result)
        if name == "embedding":
            return known
        if name in ("linear", "matmul", "__matmul__") and source.dim() == result.dim():
            return None if known == source.dim() - 1 else known
        return None

    def _kept(self, axis_of: _Axis, tensors: list[Tensor], result: Tensor) -> int | None:
        if result.dim() == 2:  # of a matrix the axis is known, or known to be lost
            found = {axis_of(one) for one in tensors if one.dim() == 2} or {1}
            return found.pop() if len(found) == 1 else None
        known = {axis_of(one) for one in tensors if one.dim() == result.dim()}
        known.discard(None)
        return known.pop() if len(known) == 1 else None

    def _moved(
        self,
        axis_of: _Axis,
        name: str,
        source: Tensor,
        args: tuple[Any, ...],
        named: Mapping[str, Any],
        result: Tensor,
    ) -> int | None:
        axis = axis_of(source)
        if axis is None or source.dim() != result.dim():
            return None
        count = source.dim()
        if name in ("t", "T"):
            return count - 1 - axis
        if name == "mT":
            return {count - 1: count - 2, count - 2: count - 1}.get(axis, axis)
        # where an axis went is seen on numbers of axes, whatever the arguments look like
        rest = args[1:] if args and args[0] is source else args
        given = {key: value for key, value in named.items() if key != "input"}
        numbers = [*rest, *given.values()]
        if name == "permute":
            order = numbers[0] if len(numbers) == 1 and not isinstance(numbers[0], int) else numbers
            new_order: list[int] = [int(one) % count for one in order]
            return new_order.index(axis)
        first, second = numbers[0], numbers[-1]
        if name in ("movedim", "moveaxis"):
            first, second = given.get("source", first), given.get("destination", second)
            if not (isinstance(first, int) and isinstance(second, int)):
                return None
            places: list[int] = [one for one in range(count) if one != first % count]
            places.insert(second % count, first % count)
            return places.index(axis)
        swapped: dict[int, int] = {first % count: second % count, second % count: first % count}
        return swapped.get(axis, axis)

    def _reshaped(self, axis_of: _Axis, source: Tensor, result: Tensor) -> int | None:
        """Where the axes up to this one, or from it on, are as they were: they are what they were."""
        axis = axis_of(source)
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
