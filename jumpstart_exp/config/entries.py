"""Lists in the package's own YAML files: every entry a frozen dataclass, every key and value checked."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from jumpstart_exp.settings import nearest, shown

Entry = TypeVar("Entry")


class EntryError(ValueError):
    """A file is not what its entries must be; the message names file, entry and key."""


def read_entries(path: Path, kind: type[Entry]) -> tuple[Entry, ...]:
    """The file's entries as instances of `kind`, a dataclass with a `name`, of which every entry has its own.

    Fields may be texts, numbers, Literals, tuples and mappings of these, and None besides.

    Raises:
        EntryError: the file is no list of such entries.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise EntryError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, list):
        raise EntryError(f"{path.name} is no list of entries")
    found: dict[str, Entry] = {}
    for number, values in enumerate(content, 1):
        name = values.get("name", f"entry {number}") if isinstance(values, dict) else f"entry {number}"
        if name in found:
            raise EntryError(f"{path.name}: {name} stands there twice")
        found[name] = _entry(f"{path.name}: {name}", values, kind)
    return tuple(found.values())


def _entry(where: str, values: Any, kind: type[Entry]) -> Entry:
    assert dataclasses.is_dataclass(kind)
    hints, fields = typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(values, dict):
        raise EntryError(f"{where} is no mapping of {', '.join(fields)}")
    for key in values:
        if key not in fields:
            raise EntryError(f"{where}: {key} is no key{nearest(str(key), fields)}; known are {', '.join(fields)}")
    for key, field in fields.items():
        if key not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise EntryError(f"{where}: {key} is missing")
    return kind(**{key: _value(f"{where}: {key}", value, hints[key]) for key, value in values.items()})


def _value(where: str, value: Any, hint: Any) -> Any:
    """The value as the field's type has it: a list as a tuple, an integer as a float where that is asked for."""
    wrong = EntryError(f"{where}={shown(value)} is not allowed: it must be {_in_words(hint)}")
    origin, of = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:
        return None if value is None else _value(where, value, of[0])
    if origin is Literal:
        if value not in of:
            raise wrong
        return value
    if origin is tuple:
        if not isinstance(value, list) or not value:
            raise wrong
        return tuple(_value(where, item, of[0]) for item in value)
    if origin is Mapping:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise wrong
        return {key: _value(f"{where}: {key}", item, of[1]) for key, item in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise wrong
    return value


def _in_words(hint: Any) -> str:
    words = {str: "a text", int: "an integer", float: "a number"}
    if hint in words:
        return words[hint]
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    return "a list" if typing.get_origin(hint) is tuple else "a mapping"
