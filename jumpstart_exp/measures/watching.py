"""Watching a model: its pre-activations are handed out while it computes them, whatever computes them.

A function mode of torch, on during the model's forward pass only, sees every call: modules, `F.relu`, `x.relu()`,
`torch.relu_`, arguments by position or keyword. Hooks on the modules tell when a pass begins and ends and where in the
model a call stands. What this rests on, and what is done where it does not hold:

* hooks run: a scripted model, a replica of `DataParallel` and a model compiled in place are refused;
* a pass is seen as a whole: parts called from outside of the model's own call are a pass together, and where the method
  that calls them calls an activation, too, it is refused, because that one is not seen;
* gradients are where they seem to be: reentrant checkpointing, which runs the model without gradients first, is
  refused, and what is computed once more in the backward pass is not recorded;
* which axis has the units is known, or told.
"""

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode, _pop_mode

from jumpstart_exp.measures.activation_calls import NoSlope, activation_call
from jumpstart_exp.measures.origins import (
    COMPILED,
    REPLICAS,
    caller_of_part,
    check_model,
    is_in_reentrant_checkpoint,
    is_running,
    unseen_calls,
)
from jumpstart_exp.measures.passes import ModelPass, PreActivation, are_paused
from jumpstart_exp.measures.recurrent import RECURRENT, gates
from jumpstart_exp.measures.selection import Functions, Layers, Selection
from jumpstart_exp.settings import SettingError

_AFFINE = frozenset(("linear", *(f"conv{n}d" for n in (1, 2, 3)), *(f"conv_transpose{n}d" for n in (1, 2, 3))))


class ModelWatch:
    """Hooks on a model's modules that hand out its pre-activations, until `remove`.

    Args:
        model: any module; its parameters, buffers and outputs stay as they are.
        begin: is asked for the pass that an outermost call of the model or of a module of it belongs to, a new one or
            one before: (whether it has gradients, the module's name, "" for the model itself) → the pass; None to
            leave it out.
        layers: which layers; None for all calls of functions like ReLU.
        functions: functions, and types of modules, that are activations beside those like ReLU: "tanh", Snake.
        output_layer: whether the outputs of the last affine layer are a layer, too.
        unit_axis: of pre-activations with three axes or more; None for what follows from how they were made.
        point_axis: likewise; None for 0, and 1 in modules that have `batch_first=False`.
        whenever: whether it hands out passes even while others are paused.

    Raises:
        SettingError: there is nothing to be watched, or it cannot be.
    """

    def __init__(
        self,
        model: nn.Module,
        begin: Callable[[bool, str], ModelPass | None],
        *,
        layers: Layers = None,
        functions: Functions = (),
        output_layer: bool = False,
        unit_axis: int | None = None,
        point_axis: int | None = None,
        whenever: bool = False,
    ) -> None:
        check_model(model)
        self.selection = Selection(model, layers, functions)
        self.begin, self.output_layer, self.whenever = begin, output_layer, whenever
        self.unit_axis, self.point_axis = unit_axis, point_axis
        self.model = weakref.ref(model)
        self.current: ModelPass | None = None
        self._custom: list[Callable[[Tensor], None] | None] = []
        self.stack: list[tuple[str, nn.Module]] = []
        self._mode: _Mode | None = None
        self._outermost: FrameType | None = None
        self._thread = 0
        self._inert = 0
        self._last_affine: tuple[str, str, Tensor, int | None] | None = None
        self._error: BaseException | None = None
        self._with_parameters = {
            name for name, module in model.named_modules() if any(True for _ in module.parameters())
        }
        self._has_batch_second = any(_batch_first(module) is False for module in model.modules())
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(_Hook(self, name, enters=True)))
            handles.append(module.register_forward_hook(_Hook(self, name, enters=False), always_call=True))
        self._finalizer = weakref.finalize(self, _remove, handles)

    def remove(self) -> None:
        """Take the hooks off the model again."""
        self._finalizer()

    @property
    def is_removed(self) -> bool:
        """Whether the hooks are gone."""
        return not self._finalizer.alive

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a watched model is another model: nobody watches it."""
        return

    def __reduce__(self) -> Any:
        """Nor is what was saved."""
        return (_nobody, ())

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """All that happens within is one pass of the model: for training steps that call its parts and functions.

        Raises:
            SettingError: it stands inside of the model's own pass.
        """
        if self.stack:
            raise SettingError("one_pass() stands inside of the model's own forward pass: put it around the step")
        model = self.model()
        assert model is not None
        self._enter("", model, None)
        try:
            yield
        finally:
            self._leave(model)

    # What the hooks call

    def _enter(self, name: str, module: nn.Module, frame: FrameType | None, inputs: tuple[Any, ...] = ()) -> None:
        if self._inert:
            self._inert += 1
            return
        if self.stack and self._outermost is not None and not is_running(self._outermost, frame):
            if self._thread != get_ident() and is_running(self._outermost, sys._current_frames().get(self._thread)):
                raise SettingError("the watched model runs in two threads at once: watch a copy of it in each")
            self._abandon()
        if not self.stack:
            if not self._begin(name, module, frame):
                self._inert = 1
                return
            self._outermost, self._thread = frame, get_ident()
            if not self._has_batch_second:
                assert self.current is not None
                self.current.axes.begin(inputs)
        assert self.current is not None
        if not name and self._outermost is None and self.stack and torch.is_grad_enabled():
            self.current.whole_calls += 1
            if self.current.whole_calls > 1:
                raise SettingError(
                    "the model is called twice in one pass of a training step: run what is not trained under "
                    "torch.no_grad(), or add the penalties of several passes yourself, without one_pass()"
                )
        self.stack.append((name, module))
        if name in self._with_parameters:
            self.current.called.add(name)
        if self.selection.is_activation(module) and self.selection.has_calls_in(self.stack):
            if not (inputs and isinstance(inputs[0], Tensor)):
                raise SettingError(f"{name} is given no tensor by position, which a watched activation has to be")
            g = inputs[0]
            at = name or type(module).__name__
            self._custom.append(self._hand_out(at, type(module).__name__, g, self.current.axes.of(g), None))

    def _begin(self, name: str, module: nn.Module, frame: FrameType | None) -> bool:
        if (are_paused() and not self.whenever) or torch._C._current_graph_task_id() != -1:
            return False  # a pass of somebody else's, or of a backward pass that computes once more what it needs
        if _is_parametrization(name):
            return False  # weights that somebody reads
        if getattr(module, "_is_replica", False):
            raise SettingError(REPLICAS)
        unseen = None
        if name and frame is not None:
            caller = caller_of_part(frame, module, self.model())
            if caller is None:
                return False  # a module that another network has, too
            unseen = unseen_calls(caller, self.model())
            if unseen is not None and isinstance(caller.f_locals.get("self"), nn.Module):
                raise SettingError(unseen)
        found = self.begin(torch.is_grad_enabled(), name)
        if found is None:
            return False
        found.unseen = found.unseen or unseen
        self.current, self._error, self._last_affine = found, sys.exc_info()[1], None
        _drop_dead_modes()
        self._mode = _Mode(self)
        self._mode.__enter__()  # type: ignore[no-untyped-call]
        return True

    def _leave(self, module: nn.Module, outputs: Any = None) -> None:
        if self._inert:
            self._inert -= 1
            return
        if not self.stack or self.stack[-1][1] is not module:
            return  # its call ended in an error before it was entered
        at = self.stack.pop()
        if self._custom and self.selection.is_activation(module):
            after = self._custom.pop()
            if after is not None and isinstance(outputs, Tensor):
                after(outputs)
        if self.stack:
            return
        mode, self._mode, self._outermost = self._mode, None, None
        if mode is not None:
            mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        assert self.current is not None
        error = sys.exc_info()[1]
        if error is not None and error is not self._error:
            self.current.has_failed = True
        elif self.output_layer and self._last_affine is not None:
            self.stack.append(at)
            self._hand_out_result(*self._last_affine)
            self.stack.pop()
        self.current, self._last_affine, self._error = None, None, None

    def _abandon(self) -> None:
        """Forget a pass that was interrupted: its end was never seen."""
        if self._mode is not None:
            self._mode.is_on = False
        if self.current is not None:
            self.current.has_failed = True
        self.stack, self._custom, self._mode, self._outermost, self.current = [], [], None, None, None

    # What the mode calls

    def called(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute a function of the pass, and hand out the pre-activation that it is called with or makes."""
        run = self.current
        if run is None or not self.stack:
            return func(*args, **named)
        if self._custom:
            result = func(*args, **named)
            run.axes.follow(name, args, named, result)
            return result
        after = None
        found = activation_call(name, args, named)
        if found is not None and self._outermost is not None and not is_running(self._outermost, sys._getframe()):
            self._abandon()  # the pass was interrupted, and its end was not seen
            return func(*args, **named)
        first = args[0] if args else named.get("input")
        if found is not None and isinstance(first, Tensor) and self._is_chosen(found.name, found.like_relu, first):
            after = self._hand_out(self._place(found.name), found.name, first, run.axes.of(first), found.no_slope)
        result = func(*args, **named)
        run.axes.follow(name, args, named, result)
        if after is not None:
            after(result)
        if name in RECURRENT:
            self._recurrent(name, func, args, named, result)
        elif name in _AFFINE:
            at, module = self.stack[-1]
            if self.selection.has_output(at, module):
                self._hand_out_result(at or name, name, result, run.axes.of(result))
            if self.output_layer:
                self._last_affine = (at or name, name, result, run.axes.of(result))
        return result

    def _is_chosen(self, function: str, like_relu: bool, g: Tensor) -> bool:
        if not (like_relu or function in self.selection.functions):
            return False
        if (
            isinstance(g, nn.Parameter)
            or _is_parametrization(self.stack[-1][0])
            or not (g.is_floating_point() or g.is_complex())
        ):
            return False  # weights that are kept positive; numbers of tokens, lengths and places
        if g.dim() < 2 and function in ("clamp", "clamp_min", "clip", "threshold"):
            return False  # of numbers, not of a layer
        return self.selection.has_calls_in([(name, module) for name, module in self.stack])

    def _recurrent(
        self, name: str, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any], result: Any
    ) -> None:
        at, module = self.stack[-1]
        if not (
            self.selection.has_output(at, module)
            or (name.startswith("rnn_relu") and self.selection.has_calls_in(self.stack))
        ):
            return
        no_slope = (lambda g: g <= 0) if name.startswith("rnn_relu") else None
        for suffix, values in gates(name, func, args, named, result, at):
            if no_slope is None:
                self._hand_out_result((at or name) + suffix, name, values, values.dim() - 1)
                continue
            after = self._hand_out((at or name) + suffix, name, values, values.dim() - 1, no_slope)
            if after is not None:
                after(torch.relu(values))

    def _place(self, function: str) -> str:
        at, module = self.stack[-1]
        if type(module).__module__ == "torch.nn.modules.activation" and not list(module.children()):
            return at or function
        return f"{at}:{function}" if at else function

    def _hand_out(
        self, at: str, function: str, g: Tensor, unit_axis: int | None, no_slope: NoSlope | None
    ) -> Callable[[Tensor], None] | None:
        run = self.current
        assert run is not None
        if run.has_gradients and not torch.is_grad_enabled() and is_in_reentrant_checkpoint():
            raise SettingError(
                f"{at} is checkpointed with use_reentrant=True, which hides its gradient: use_reentrant=False shows it"
            )
        if run.has_gradients and not torch.is_grad_enabled():
            return None  # evaluated on the way, or frozen: no part of what is trained
        if g.is_nested or g.layout != torch.strided:
            raise SettingError(
                f"{at} is given {function} of a nested or sparse tensor: pre-activations have to be dense"
            )
        if not g.is_floating_point():
            raise SettingError(f"{at} is given {function} of {g.dtype}: pre-activations have to be real numbers")
        if g.dim() < 2:
            raise SettingError(f"{at} is given one point, {tuple(g.shape)}: a watched model takes batches")
        if not g.numel():
            raise SettingError(f"{at} is given nothing: {tuple(g.shape)}")
        points, units = self._axes(at, function, g, unit_axis)
        run.layers[at] += 1
        layer = at if run.layers[at] == 1 else f"{at}#{run.layers[at]}"

        def arranged(tensor: Tensor) -> Tensor:
            return tensor if (points, units) == (0, 1) else tensor.movedim((points, units), (0, 1))

        if run.has_gradients:
            run.await_gradient(g)
        after = run.on_layer(PreActivation(layer, function, arranged(g), no_slope))
        return None if after is None else (lambda h: after(arranged(h.detach())))

    def _hand_out_result(self, at: str, function: str, g: Tensor, unit_axis: int | None) -> None:
        """Pre-activations of no activation: they are their own."""
        after = self._hand_out(at, function, g, unit_axis, None)
        if after is not None:
            after(g)

    def _axes(self, at: str, function: str, g: Tensor, known: int | None) -> tuple[int, int]:
        """Where the points and the units are."""
        count = g.dim()
        axis = known if self.unit_axis is None else self.unit_axis
        if count == 2:
            if self.unit_axis not in (0, -2) and (known is not None or self.unit_axis is None):
                axis = known
            if axis is not None:
                return 1 - axis % 2, axis % 2
        if axis is None:
            raise SettingError(
                f"{at} is given {function} of {tuple(g.shape)}, and nothing tells which axis has the units: "
                "say unit_axis=1 (N, C, …) or unit_axis=-1 (N, T, C)"
            )
        points = self._point_axis(at, function, g)
        if not -count <= axis < count or axis % count == points:
            raise SettingError(
                f"unit_axis={axis} is not an axis of units of {tuple(g.shape)} at {at}, points on axis {points}"
            )
        return points, axis % count

    def _point_axis(self, at: str, function: str, g: Tensor) -> int:
        """Of three axes or more."""
        if self.point_axis is not None:
            if not -g.dim() <= self.point_axis < g.dim():
                raise SettingError(f"point_axis={self.point_axis} is not an axis of {tuple(g.shape)} at {at}")
            return self.point_axis % g.dim()
        assert self.current is not None
        known = self.current.axes.of_points(g)
        if known is not None:
            return known
        for _, module in reversed(self.stack):
            first = _batch_first(module)
            if first is not None:
                return 0 if first else 1
        if self._has_batch_second:
            raise SettingError(
                f"{at} is given {function} of {tuple(g.shape)} in a model with batch_first=False, and nothing tells "
                "which axis has the points: say point_axis=0 (N, T, C) or point_axis=1 (T, N, C)"
            )
        return 0


def _is_parametrization(name: str) -> bool:
    return "parametrizations" in name.split(".")


def _batch_first(module: nn.Module) -> Any:
    return getattr(module, "batch_first", getattr(getattr(module, "self_attn", None), "batch_first", None))


class _Mode(TorchFunctionMode):
    def __init__(self, watch: ModelWatch) -> None:
        super().__init__()
        self.watch, self.is_on = watch, True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self.is_on:
            return func(*args, **(kwargs or {}))
        return self.watch.called(func, _name(func), args, kwargs or {})


def _name(func: Callable[..., Any]) -> str:
    """`relu` of torch.ops.aten.relu.default; `T` of the property that x.T reads."""
    name = str(getattr(func, "__name__", "")).partition(".")[0]
    return str(getattr(getattr(func, "__self__", None), "__name__", "")) if name == "__get__" else name


def _drop_dead_modes() -> None:
    """Take modes of interrupted passes off, those that lie on top."""
    while isinstance(top := _get_current_function_mode(), _Mode) and not top.is_on:  # type: ignore[no-untyped-call]
        _pop_mode()  # type: ignore[no-untyped-call]


class _Hook:
    """A hook that a copy of the model does not have, and that dies with who watches."""

    def __init__(self, watch: ModelWatch, name: str, enters: bool) -> None:
        self._watch, self._name, self._enters = weakref.ref(watch), name, enters

    def __call__(self, module: nn.Module, *seen: Any) -> None:
        if torch.compiler.is_compiling():
            if self._enters:
                _refuse_compiled()
            return
        watch = self._watch()
        if watch is None:
            return
        if self._enters:
            watch._enter(self._name, module, sys._getframe(1), *seen[:1])
        else:
            watch._leave(module, seen[1])

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _nothing

    def __reduce__(self) -> Any:
        return (_no_hook, ())


def _refuse_compiled() -> None:
    raise SettingError(COMPILED)


_refuse_compiled._torchdynamo_disable = True  # type: ignore[attr-defined]  # called, not traced


def _nothing(*_: Any) -> None:
    """What a copied or saved model has in place of a hook."""


def _no_hook() -> Callable[..., None]:
    return _nothing


def _nobody() -> None:
    """What a copied or saved watch is."""
    return


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()
