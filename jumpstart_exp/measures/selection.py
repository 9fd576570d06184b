"""Which layers of a model are watched: by name, by pattern, by type."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from jumpstart_exp.measures.activation_calls import FUNCTIONS
from jumpstart_exp.settings import SettingError, nearest

Layers = str | type[nn.Module] | Sequence[str | type[nn.Module]] | None
"""Names (`head`), patterns (`layer3.*`) and types (`torch.nn.Linear`) of modules; None for all calls like ReLU."""

Functions = str | type[nn.Module] | Sequence[str | type[nn.Module]]
"""Names of functions and types of modules that are activations."""

WITH_OUTPUTS = (
    *(nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
"""Modules whose outputs are pre-activations where they are named themselves."""

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
"""Modules whose gates are."""

Named = Sequence[tuple[str, nn.Module]]


class Selection:
    """The chosen layers of a model.

    A name or a type of a module chooses the activations that are called within it; of a linear layer, a convolution or
    a recurrent layer it chooses its outputs or gates. A pattern chooses activations only.

    Args:
        model: whose modules they are.
        layers: as `Layers` says.
        functions: names of functions and types of modules that are activations beside those like ReLU.

    Raises:
        SettingError: a name, pattern or type that no module has.
    """

    def __init__(self, model: nn.Module, layers: Layers, functions: Functions = ()) -> None:
        chosen = _tuple(functions)
        self.functions = frozenset(one for one in chosen if isinstance(one, str))
        self.modules = tuple(one for one in chosen if isinstance(one, type))
        for name in chosen:
            if not isinstance(name, type) and name not in FUNCTIONS:
                allowed = f"a type of module, or one of {', '.join(FUNCTIONS)}"
                raise SettingError(
                    f"functions={getattr(name, '__name__', name)!r} is not allowed: it must be {allowed}"
                )
        self._chosen = None if layers is None else _listed(layers)
        named = dict(model.named_modules())
        for one in self._chosen or ():
            _check(one, named)
        for kind in self.modules:
            if not any(isinstance(module, kind) for module in named.values()):
                raise SettingError(f"functions={kind.__name__} is not allowed: the model has no module of this type")

    def has_calls_in(self, stack: Named) -> bool:
        """Whether activations called in these modules, outermost first, are chosen."""
        if self._chosen is None:
            return True
        return any(_is(one, name, module) for one in self._chosen for name, module in stack)

    def has_output(self, name: str, module: nn.Module) -> bool:
        """Whether the outputs, or gates, of this very module are chosen."""
        if self._chosen is None or not isinstance(module, (*WITH_OUTPUTS, *RECURRENT)):
            return False
        return any((one == name) if isinstance(one, str) else isinstance(module, one) for one in self._chosen)

    def is_activation(self, module: nn.Module) -> bool:
        """Whether a module's inputs are pre-activations because its type was named."""
        return bool(self.modules) and isinstance(module, self.modules)


def _listed(layers: Layers) -> tuple[str | type[nn.Module], ...]:
    chosen = _tuple(layers)
    if not chosen:
        raise SettingError("layers=[] is not allowed: it must name a module, or be None for all")
    for one in chosen:
        if not isinstance(one, str) and not (isinstance(one, type) and issubclass(one, nn.Module)):
            what = type(one).__name__ if isinstance(one, nn.Module) else one
            raise SettingError(f"layers={what!r} is not allowed: it must be a name, a pattern or a type of module")
    return chosen


def _tuple(chosen: Any) -> tuple[Any, ...]:
    """What was given, one or several; what is neither stays one, to be refused by its name."""
    return tuple(chosen) if isinstance(chosen, Sequence | set) and not isinstance(chosen, str) else (chosen,)


def _is(one: str | type[nn.Module], name: str, module: nn.Module) -> bool:
    return fnmatchcase(name, one) if isinstance(one, str) else isinstance(module, one)


def _check(one: str | type[nn.Module], named: dict[str, nn.Module]) -> None:
    if any(_is(one, name, module) for name, module in named.items()):
        return
    what = one if isinstance(one, str) else one.__name__
    names = [name for name in named if name]
    kind, hint = ("name", nearest(what, names)) if isinstance(one, str) else ("type", "")
    raise SettingError(
        f"layers={what!r} is not allowed: the model has no module of this {kind}, its modules are "
        f"{', '.join(names[:8])}{', …' * (len(names) > 8)}{hint}"
    )
