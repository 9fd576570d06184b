"""Large modules that are imported when something of them is first asked for, and not before.

A command that trains nothing plans with tables of activations, optimizers and engines whose functions are written in
torch; it must not wait for torch itself.
"""

from importlib import import_module
from types import ModuleType
from typing import Any


class LateModule:
    """A module by its name; every attribute is the module's own, at the moment when it is asked for.

    Where it stands in place of an import, type checkers see the import:

        if TYPE_CHECKING:
            import torch
        else:
            torch = LateModule("torch")

    Args:
        name: as `import` has it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: ModuleType | None = None

    def __getattr__(self, attribute: str) -> Any:
        """The module's attribute."""
        if attribute.startswith("__"):  # of the object itself: asked for by copies, docs and debuggers
            raise AttributeError(attribute)
        if self._module is None:
            self._module = import_module(self._name)
        return getattr(self._module, attribute)
