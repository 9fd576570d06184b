"""Functions of the user's own, named `module:function`: found, read and called, their module's source part of the key.

A module is looked for in the working directory first, then where Python looks. What is run is exactly the source whose
hash a cell has: a module of the user's is compiled from the bytes that were hashed, so neither an edit nor an import
from before can bring in other code. What that module imports in its turn is not part of the hash.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import random
import sys
import sysconfig
import types
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import SettingError, is_function_name, legible, setting_error

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateModule("numpy")

_DIGITS = 16


class UserFunctionError(Exception):
    """A function of the user's cannot be called, or does not give what it has to; the message names it."""


class SharedGeneratorError(UserFunctionError):
    """It draws what does not follow from its cell."""


class UserFunction:
    """A function of the user's that is called by its field's name when something is wrong.

    Args:
        field: that names it, such as `regulariser.function`.
        name: `module:function`.
        source: hash of its module's source as `source_of` gives it.

    Raises:
        UserFunctionError: the module holds another source by now, or it was never said which one is meant.
        SettingError: it cannot be found.
    """

    def __init__(self, field: str, name: str, source: str | None) -> None:
        self.field, self.name = field, name
        if source is None:
            raise UserFunctionError(f"{self} cannot be called: the cell does not say which source of it is meant")
        self.function = _function(field, name, source)
        self.is_tried = False

    def __str__(self) -> str:
        return f"{self.field}={self.name}"

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """What it gives.

        Raises:
            UserFunctionError: it has failed; the cause is its own error, with the traceback.
            SharedGeneratorError: its first call drew from a generator that all share.
        """
        before = None if self.is_tried else _shared_generators()
        try:
            found = self.function(*arguments, **settings)
        except Exception as error:
            raise UserFunctionError(f"{self} raised {type(error).__name__}: {error}") from error
        if before is not None and (
            drawn := [name for name, now in _shared_generators().items() if now != before[name]]
        ):
            raise SharedGeneratorError(
                f"{self} draws from {drawn[0]}'s global generator: a cell is what its settings say"
            )
        self.is_tried = True
        return found

    def wrong(self, what: str) -> UserFunctionError:
        """The error that it does not give what it has to."""
        return UserFunctionError(f"{self} {what}")


def _shared_generators() -> dict[str, Hashable]:
    """States of the generators that a process has one of."""
    _, keys, *rest = np.random.get_state(legacy=True)
    states: dict[str, Hashable] = {"NumPy": (np.asarray(keys).tobytes(), *rest), "Python": random.getstate()}
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return states


def source_of(field: str, name: str) -> str:
    """SHA-256 of the source of the function's module as it is now, as "sha256-" and 16 hex digits.

    The function is loaded, too, so that what is wrong with it is said before anything trains.

    Raises:
        SettingError: it cannot be found; the message says where it was looked for.
    """
    source = _digest(_path(field, name).read_bytes())
    _function(field, name, source)
    return source


@lru_cache(maxsize=64)
def _function(field: str, name: str, source: str) -> Callable[..., Any]:
    module, _, inner = name.partition(":")
    found: Any = _module(field, name, source)
    for part in inner.split("."):
        if not hasattr(found, part):
            raise setting_error(field, name, f"a function that the module {module} has", f"it has no {part}")
        found = getattr(found, part)
    if not callable(found):
        raise setting_error(field, name, "a function", f"{inner} is a {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


@lru_cache(maxsize=64)
def _module_of_source(name: str, path: Path, source: str) -> types.ModuleType:
    """The module, run from the source that has this hash.

    Raises:
        UserFunctionError: its file has another one.
        Exception: whatever it raises.
    """
    content = path.read_bytes()
    if _digest(content) != source:
        raise UserFunctionError(f"{path} was changed since the cell was planned: its source is not {source} any more")
    if _is_installed(path):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(path.parent)] if path.name == "__init__.py" else None
    )
    assert spec is not None
    module, before = importlib.util.module_from_spec(spec), sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def _module(field: str, name: str, source: str) -> types.ModuleType:
    module = name.partition(":")[0]
    try:
        with _working_directory_first():
            return _module_of_source(module, _path(field, name), source)
    except (SettingError, UserFunctionError):
        raise
    except Exception as error:
        reason = legible(" ".join(f"{type(error).__name__}: {error}".split()), 300)
        raise setting_error(field, name, "a function of a module that can be imported", reason) from error


def _path(field: str, name: str) -> Path:
    """The file of the function's module."""
    if not is_function_name(name):
        raise setting_error(field, name, "a function as module:name")
    module = name.partition(":")[0]
    if module == "__main__":
        raise setting_error(field, name, "a function of a module in a file", "workers do not run the main program")
    importlib.invalidate_caches()
    where = f"it was looked for in {Path.cwd()}, then where Python finds modules"
    try:
        with _working_directory_first():
            sys.modules.pop(module, None) if _is_without_spec(module) else None
            spec = importlib.util.find_spec(module)
    except Exception as error:  # a package above it is not there, or cannot be imported
        reason = legible(" ".join(f"{type(error).__name__}: {error}".split()), 300)
        raise setting_error(field, name, "a function of a module that is there", f"{reason}; {where}") from None
    if spec is None:
        raise setting_error(field, name, "a function of a module that is there", f"no {module}.py: {where}")
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise setting_error(field, name, "a function of a module with a source", f"{module} is no Python file")
    return Path(spec.origin)


def _is_without_spec(module: str) -> bool:
    return module in sys.modules and getattr(sys.modules[module], "__spec__", None) is None


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """Python's path with the working directory before all others, wherever the program lies."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _is_installed(path: Path) -> bool:
    """Whether a file is of Python's or of an installed package: run once, for all who import it."""
    python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    is_of_package = not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    return is_of_package or any(path.is_relative_to(place) for place in python if place)


def _digest(content: bytes) -> str:
    return f"sha256-{hashlib.sha256(content).hexdigest()[:_DIGITS]}"
