"""The C++ extension, and why it is not there where it is not."""

from functools import cache
from importlib import resources

try:
    from jumpstart_exp.engines.native import _native  # type: ignore[attr-defined]
except ImportError as error:
    _native, _import_error = None, str(error)

native = _native
"""The extension's module; None where it is not built."""


@cache
def missing() -> str:
    """Why the extension is not there, in words."""
    note = resources.files("jumpstart_exp.engines.native") / "native_missing.txt"
    return note.read_text().strip() if note.is_file() else _import_error


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that the engine is built for and this processor has, the fastest first."""
    return () if native is None else tuple(native.instruction_sets())
