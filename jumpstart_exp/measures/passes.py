"""A forward pass of a watched model, and what it shows layer by layer."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from jumpstart_exp.measures.activation_calls import NoSlope
from jumpstart_exp.measures.unit_axes import UnitAxes


@dataclass(frozen=True)
class PreActivation:
    """What one call of a layer saw.

    Attributes:
        layer: the module in which it stands, by its name in the model, with the function's name where that is not the
            module itself: `layer1.0.relu`, `encoder.0:gelu`; a further call in the same pass has `#2` behind it.
        function: the activation's name, or that of the affine map whose outputs these are.
        values: (points, units, *positions), differentiable; what changes the tensor in place later changes it here,
            too.
        no_slope: where the activation has no slope; None where it has one everywhere.
    """

    layer: str
    function: str
    values: Tensor
    no_slope: NoSlope | None


OnLayer = Callable[[PreActivation], Callable[[Tensor], None] | None]
"""Is handed every pre-activation before its activation is computed; what it returns is handed the activation."""


class ModelPass:
    """One forward pass of a watched model.

    Attributes:
        has_gradients: whether it was begun with gradients.
        on_layer: what is handed its pre-activations.
        called: the modules with parameters that it has called so far, by their names.
        was_trained: whether a gradient has come back to it.
        has_failed: whether the model raised an error in it.
        whole_calls: how often the model itself was called within `one_pass`.
        unseen: what is wrong where a function calls parts of the model and activations, too, which may be to inspect
            the model: whoever needs the whole pass has to raise it.
    """

    def __init__(self, has_gradients: bool, on_layer: OnLayer) -> None:
        self.has_gradients, self.on_layer = has_gradients, on_layer
        self.called: set[str] = set()
        self.was_trained = self.has_failed = False
        self.unseen: str | None = None
        self.whole_calls = 0
        self.layers: Counter[str] = Counter()
        self.axes = UnitAxes()
        self._has_hook = False

    def await_gradient(self, g: Tensor) -> None:
        """Note it when a gradient comes back to the first pre-activation that can have one."""
        if self._has_hook or not g.requires_grad or g.is_leaf:  # a leaf would keep the hook
            return
        self._has_hook = True
        own = weakref.ref(self)

        def mark(_: Tensor) -> None:
            found = own()
            if found is not None and not torch.is_grad_enabled():  # with it, it becomes part of a loss
                found.was_trained = True

        g.register_hook(mark)  # type: ignore[no-untyped-call]


_paused = 0
"""How many censuses are being taken: their passes are nobody else's."""


def are_paused() -> bool:
    """Whether a census is being taken."""
    return _paused > 0


@contextmanager
def others_paused() -> Iterator[None]:
    """Without any watched model's being recorded: for a pass of one's own."""
    global _paused
    _paused += 1
    try:
        yield
    finally:
        _paused -= 1
