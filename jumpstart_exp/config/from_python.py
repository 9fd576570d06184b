"""Settings as Python has them, written as the command line's overrides: `depth=[1, 10]` as depth=1,10."""

import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from jumpstart_exp.config.run import RunSettings, is_own_word, text_override
from jumpstart_exp.config.schema import known_settings
from jumpstart_exp.settings import SettingError, field_types, legible, shown, without_none

_BARE = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_WORDS = ("null", "true", "false", "nan", "inf")
"""What the command line reads as no text."""

_OF_RUNS = ("workers", *field_types(RunSettings))


def overrides_of(given: Iterable[str | Mapping[str, Any]], named: Mapping[str, Any]) -> list[str]:
    """Overrides as the command line has them, each setting once.

    Args:
        given: overrides as they are typed, or values by dotted name.
        named: values by name, `__` for a dot.

    Raises:
        SettingError: a setting is given twice, is none of a cell, or has a value that no override can have.
    """
    found: dict[str, str] = {}

    def add(name: str, text: str) -> None:
        _check_name(name)
        if name in found:
            raise SettingError(f"{legible(name)} is given twice: {legible(found[name])} and {legible(text)}")
        found[name] = text

    for one in given:
        if isinstance(one, str):
            name, _, text = one.partition("=")
            add(
                re.split("[=@]", one.lstrip("+~"), maxsplit=1)[0],
                override(name, text) if is_own_word(name, text) else one,
            )
        elif isinstance(one, Mapping):
            for name, value in one.items():
                if not isinstance(name, str):
                    raise SettingError(f"{shown(name)} is not the name of a setting: it must be a text")
                add(name.lstrip("+"), override(name, value))
        else:
            raise SettingError(f"{shown(one)} is no override: write name=value, 'name=value' or {{'name': value}}")
    for name, value in named.items():
        add(name.replace("__", "."), override(name.replace("__", "."), value))
    return [*found.values()]


def override(name: str, value: Any) -> str:
    """A setting and its value, or its values, as one override.

    A text stands as it would be typed, `1,10,...,150` too; of a list each value is one of a sweep, but a list of
    numbers is one value of a setting that is such a list; `...` in a list is an ellipsis; a path is quoted.

    Raises:
        SettingError: the value is none that an override can have, or an empty list.
    """
    typed = f"+{name}" if name == "experiment" else name
    if isinstance(value, str):
        return text_override(typed, value) if is_own_word(name, value) else f"{typed}={value}"
    if isinstance(value, PurePath):
        return text_override(typed, str(value))
    if isinstance(value, range):
        return f"{typed}=range({value.start},{value.stop},{value.step})"
    if isinstance(value, Mapping | set | frozenset | bytes) or not isinstance(value, Iterable):
        return f"{typed}={_spelled(name, value)}"
    values = list(value)
    if not values:
        raise SettingError(f"the sweep is empty: {legible(name)} has no values")
    if _is_list(name) and all(_is_number(each) for each in values):
        values = [values]
    return f"{typed}={','.join(_spelled(name, each) for each in values)}"


def _check_name(name: str) -> None:
    if name in _OF_RUNS:
        raise SettingError(f"{name} is no setting of a cell: it goes to train(…, {name}=…)")
    if name.startswith(("hydra.", "hydra/", "-")):
        raise SettingError(f"{legible(name)} is for the command line; workers and folders go to train(…)")


def _is_list(name: str) -> bool:
    return name in known_settings() and typing.get_origin(without_none(known_settings()[name][0])[0]) is tuple


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _spelled(name: str, value: Any) -> str:
    """One value as it is typed.

    Raises:
        SettingError: it cannot be typed.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "null"
    if value is ...:
        return "..."
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PurePath):
        text = str(value)
        if _BARE.fullmatch(text) and text.lower() not in _WORDS:
            return text
        return text_override(name, text).partition("=")[2]
    is_of_function = name.endswith(".settings") and name in known_settings()
    if isinstance(value, Mapping) and is_of_function:
        return f"{{{','.join(f'{_spelled(name, key)}:{_spelled(name, each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple | np.ndarray) and (_is_list(name) or is_of_function):
        return f"[{','.join(_spelled(name, each) for each in value)}]"
    raise SettingError(
        f"{legible(name)}={shown(value)} is not allowed: it must be a number, a text, a truth, None, or a list of these"
    )
