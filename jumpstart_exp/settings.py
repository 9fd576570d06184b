"""Typed settings: dataclass fields that know what is allowed, and errors that say it.

Every description in this project (a cell, its dataset, its penalty, the run itself) is a dataclass whose
fields are made by `setting`. `check_settings` converts and validates all of them the same way, so that every
bad value is answered by one line: the field, the value, what is allowed.
"""

import dataclasses
import difflib
import json
import keyword
import math
import re
import types
import typing
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal

_LARGEST_INTEGER = 2**63 - 1
"""What a column of the store can hold."""

_SHOWN = 120
"""Characters of a value that a message shows."""

_BLANK = "\r\u034f\u115f\u1160\u2800\u3164\uffa0"
"""Letters that leave no mark, beside Unicode's spaces and format characters."""

_QUOTES = dict.fromkeys("‘’‚‛´", "'") | dict.fromkeys("“”„«»", '"')

_FIELD_TYPES: dict[type, dict[str, Any]] = {}


Role = Literal["axis", "method", "context"]


class SettingError(ValueError):
    """A setting has a value that is not allowed; the message names field, value and what is allowed."""


def setting(
    default: Any,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: Iterable[str] | None = None,
    functions: bool = False,
    mapping: bool = False,
    neutral: Any = None,
    role: Role = "context",
    tunes: bool = False,
    about: str = "",
) -> Any:
    """A dataclass field with its allowed values: `low` ≤ value ≤ `high`, value > `above`, or one of `choices`.

    With `functions` a text may also name a function of the user's, `module:name`. With `mapping` the value is names
    with values, kept as JSON.

    `neutral` is the value that leaves a result as it was before the field existed: a field that joins later
    is left out of the key while it holds it, and a row stored before has it where the column is null.

    `role` is what the field does in a comparison: results are laid out along an `axis` (depth, width, seed), a `method`
    field tells the compared methods apart, and results of another `context` are another figure. A method's field that
    `tunes` it (λ, margins) is one on which the methods of a figure usually agree: the figure is named by it.
    """
    rules = {"low": low, "above": above, "high": high, "choices": tuple(choices) if choices else None}
    rules |= {"functions": functions, "mapping": mapping}
    return dataclasses.field(
        default=default, metadata={**rules, "neutral": neutral, "role": role, "tunes": tunes, "about": about}
    )


def field_types(cls: type) -> dict[str, Any]:
    """The resolved annotation of every field of a dataclass, by name."""
    if cls not in _FIELD_TYPES:
        hints = typing.get_type_hints(cls)
        _FIELD_TYPES[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _FIELD_TYPES[cls]


def check_settings(instance: Any, prefix: str = "") -> None:
    """Convert and validate every field of a (frozen) dataclass instance in place.

    Integers become floats where a float is asked for (1 = 1.0), lists become tuples.

    Raises:
        SettingError: the first value of a wrong type or out of range.
    """
    cls: type = type(instance)
    for field, hint, default in _checked_fields(cls):
        value, kept = getattr(instance, field.name), default
        if value is default:
            continue
        if type(value) is not type(default) or value != default:
            kept = _converted(prefix + field.name, value, hint, field.metadata)
        object.__setattr__(instance, field.name, kept)


@cache
def _checked_fields(cls: type) -> tuple[tuple[dataclasses.Field[Any], Any, Any], ...]:
    """Every field that is a setting, with its type, and its default as it is converted, if it can be."""
    found = []
    for field in dataclasses.fields(cls):
        hint = field_types(cls)[field.name]
        if dataclasses.is_dataclass(hint):
            continue
        try:
            default = _converted("", field.default, hint, field.metadata)
        except SettingError:
            default = dataclasses.MISSING
        found.append((field, hint, default))
    return tuple(found)


def is_plainly(hint: Any, value: Any) -> bool:
    """Whether a value is of a setting's type as it stands; an integer is a number, a text that spells one is not."""
    base, _ = without_none(hint)
    if base is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is base


def is_allowed(hint: Any, rules: Mapping[str, Any], value: Any) -> bool:
    """Whether a field of this type and these rules takes the value."""
    try:
        _converted("", value, hint, rules)
    except SettingError:
        return False
    return True


def is_function_name(value: Any) -> bool:
    """Whether a text names a function as `module:name`, dots allowed in both."""
    if not isinstance(value, str) or not value.isascii() or value.count(":") != 1:
        return False
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in re.split(r"[.:]", value))


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint "; did you mean X?" when one of the known names is close, else nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.65)
    return f"; did you mean {match[0]}?" if match else ""


def allowed_values(hint: Any, rules: Mapping[str, Any]) -> str:
    """What a field of this type and these rules accepts, in words: "an integer of at least 1"."""
    if rules.get("choices"):
        own = ", or a function of yours as module:name" if rules.get("functions") else ""
        return "one of " + ", ".join(rules["choices"]) + own
    if rules.get("functions"):
        return "a function of yours as module:name, or null"
    if rules.get("mapping"):
        return "names with values, as {scale: 2}, or null"
    base, optional = without_none(hint)
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}.get(base, "a list of numbers")
    if rules.get("low") is not None and rules.get("high") is not None:
        words += f" from {_plain(rules['low'])} to {_plain(rules['high'])}"
    elif rules.get("low") is not None:
        words += f" of at least {_plain(rules['low'])}"
    elif rules.get("above") is not None and rules.get("high") is not None:
        words += f" above {_plain(rules['above'])} and at most {_plain(rules['high'])}"
    elif rules.get("above") is not None:
        words += f" above {_plain(rules['above'])}"
    return words + (" or null" if optional else "")


def setting_error(name: str, value: Any, allowed: str, about: str = "") -> SettingError:
    """The error for one setting: field, value, what is allowed."""
    words = f"{legible(name)}={shown(value)} is not allowed: it must be {allowed}" + (f" ({about})" if about else "")
    return SettingError(words + look_alike(value))


def unseen_letter(text: str) -> str:
    """The first letter that nobody sees, in words; empty where there is none."""
    for letter in text:
        category = unicodedata.category(letter)
        if letter in _BLANK or category in ("Cf", "Zl", "Zp") or (category == "Zs" and letter != " "):
            return f"{_named(letter)} in it cannot be seen"
    return ""


def look_alike(value: Any) -> str:
    """A hint "; '–' (U+2013 EN DASH) is no '-'" at a text with a letter, as pages have them, that only looks right."""
    for letter in value if isinstance(value, str) else "":
        meant = _QUOTES.get(letter) or unicodedata.normalize("NFKC", letter)
        if unicodedata.category(letter) == "Pd" or letter == "\N{MINUS SIGN}":
            meant = "-"
        if meant != letter and meant.isascii():
            return f"; {shown(letter)} ({_named(letter)}) is no {meant!r}"
    return ""


def _named(letter: str) -> str:
    return f"U+{ord(letter):04X} {unicodedata.name(letter, 'CARRIAGE RETURN')}"


def shown(value: Any) -> str:
    """Any value as Python writes it, legible."""
    try:
        return legible(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists in lists
        return f"(a {type(value).__name__} too long to show)"


def legible(text: str, most: int = _SHOWN) -> str:
    """The text as one line of so many characters at most: what does not print is escaped, the middle left out."""
    ends = text if len(text) <= 2 * most else text[:most] + text[-most:]
    escaped = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in ends)
    return escaped if len(escaped) <= most else f"{escaped[: most - 20]}…{escaped[-19:]}"


def _converted(name: str, value: Any, hint: Any, rules: Mapping[str, Any]) -> Any:
    base, optional = without_none(hint)

    def wrong(given: Any = value) -> SettingError:
        return setting_error(name, given, allowed_values(hint, rules), rules.get("about", ""))

    if value is None:
        if optional:
            return None
        raise wrong()
    if typing.get_origin(base) is tuple:
        if not isinstance(value, list | tuple) or not value:
            raise wrong()
        numbers = tuple(_number(item, wrong) for item in value)
        if typing.get_args(base)[0] is int and any(number != int(number) for number in numbers):
            raise wrong()
        value = numbers = tuple(typing.get_args(base)[0](number) for number in numbers)
    elif base is bool:
        if not isinstance(value, bool):
            raise wrong()
        return value
    elif rules.get("mapping"):
        return _canonical(value, wrong)
    elif base is str:
        if rules.get("functions") and is_function_name(value):
            return value
        if type(value) is int and (as_text := [one for one in rules.get("choices") or () if _spells(one, value)]):
            return as_text[0]
        is_listed = value in (rules.get("choices") or ()) if rules.get("choices") or rules.get("functions") else True
        if not isinstance(value, str) or not is_listed:
            hint_text = nearest(value, rules.get("choices") or ()) if isinstance(value, str) else ""
            raise SettingError(str(wrong()) + hint_text)
        return value
    else:
        value = _number(value, wrong)
        if base is int:
            if value != int(value):
                raise wrong()
            value = int(value)
            if abs(value) > _LARGEST_INTEGER:
                raise wrong()
        else:
            value = float(value)
        numbers = (value,)
    for number in numbers:
        low, above, high = rules.get("low"), rules.get("above"), rules.get("high")
        if (low is not None and number < low) or (above is not None and number <= above):
            raise wrong()
        if high is not None and number > high:
            raise wrong()
    return value


def _canonical(value: Any, wrong: Callable[[], SettingError]) -> str | None:
    """A mapping, or its JSON, as JSON in which names are sorted; None of an empty one."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        if not isinstance(found, Mapping):
            raise TypeError
        if not all(isinstance(name, str) and name.isidentifier() for name in found):
            raise TypeError
        text = json.dumps(dict(found), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise wrong() from None
    return text if found else None


def _spells(text: str, number: int) -> bool:
    return text.isdecimal() and int(text) == number


def _number(value: Any, wrong: Callable[[], SettingError]) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong()
    if isinstance(value, int):
        try:
            float(value)
        except OverflowError:
            raise wrong() from None
        return value
    if not math.isfinite(value):
        raise wrong()
    return value + 0.0  # -0.0 and 0.0 are one value


@cache
def without_none(hint: Any) -> tuple[Any, bool]:
    """A field's type without None, and whether None is allowed."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kept = [item for item in typing.get_args(hint) if item is not type(None)]
        return kept[0], True
    return hint, False


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
