"""`optimizer.lr=logrange(1e-5,1e-1,5)`: so many values from the first to the last, all by the same factor apart.

The values are computed exactly enough that each is the float next to the true value: 0.0001 and not
0.00010000000000000009. Of a setting that takes integers (depth, width, a batch size) they are rounded to the nearest,
and equal ones stand once. It may stand in a list, and in Hydra's own choice, sort and shuffle. Hydra has no such
function: what it is given is the list.
"""

import dataclasses
import decimal
import math
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

from hydra._internal.grammar.functions import Functions
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException

from jumpstart_exp.config.ellipsis import MOST_VALUES
from jumpstart_exp.config.schema import known_settings
from jumpstart_exp.settings import SettingError, legible, without_none

_NAME = "logrange"
_USE = f"{_NAME} takes the first value, the last and how many there are, as in {_NAME}(1e-5,1e-1,5)"
_DIGITS = 40
"""Digits of the arithmetic: a float has 17."""


class _LogRange(ChoiceSweep):
    """The values of one logrange, which become integers where the setting takes integers."""


def expand_logranges(typed: str) -> str:
    """An override with the values of every logrange in its place; any other as it is.

    Raises:
        SettingError: a logrange has wrong arguments, or stands in a list of one value.
    """
    if f"{_NAME}(" not in typed:
        return typed
    try:
        override = _parser().parse_override(typed)
    except HydraException as error:
        raise SettingError(f"{legible(typed)} cannot be read: {_reason(error)}") from None
    sweep = override.value()
    if any(_holds_one(item) for item in (sweep.list if isinstance(sweep, ChoiceSweep) else [sweep])):
        raise SettingError(
            f"{legible(typed)} cannot be read: {_NAME} gives the values of a sweep, and stands in no list in one"
        )
    if not isinstance(sweep, ChoiceSweep):  # it stands in quotes
        return typed
    flat = [*_flat(sweep, is_whole=_takes_integers(override))]
    if len(flat) > MOST_VALUES:
        raise SettingError(f"{legible(typed)} makes a list of more than {MOST_VALUES} values; fewer would do")
    plain = dataclasses.replace(override, _value=ChoiceSweep(list=flat, simple_form=True, shuffle=sweep.shuffle))
    return f"{override.get_key_element()}={','.join(plain.sweep_string_iterator())}"


def _logrange(start: int | float, stop: int | float, count: int) -> ChoiceSweep:
    """The function of the grammar.

    Raises:
        SettingError: an argument that is not allowed.
    """
    for name, value in (("first", start), ("last", stop)):
        if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
            raise SettingError(f"its {name} value is {value}, and it must be above 0")
    if start == stop:
        raise SettingError(f"its first and last value are both {start}")
    if isinstance(count, bool) or not 2 <= count <= MOST_VALUES:
        raise SettingError(f"its number of values is {count}, and it must be 2 to {MOST_VALUES}")
    with decimal.localcontext(prec=_DIGITS):
        first, last = Decimal(repr(start)), Decimal(repr(stop))
        whole = (last / first).ln()
        between = [float(first * (whole * step / (count - 1)).exp()) for step in range(1, count - 1)]
    return _LogRange(list=[float(start), *between, float(stop)], simple_form=True)


@cache
def _parser() -> OverridesParser:
    functions: Functions = create_functions()
    functions.register(name=_NAME, func=_logrange)
    return OverridesParser(functions)


def _reason(error: HydraException) -> str:
    """Why an override with a logrange is none, in one line."""
    cause = error.__cause__
    if isinstance(cause, SettingError):
        return f"{_NAME}: {cause}"
    if isinstance(cause, TypeError):
        return _USE
    return legible(" ".join(str(error).split()))


def _takes_integers(override: Override) -> bool:
    hint, _ = known_settings().get(override.get_key_element().lstrip("+"), (float, {}))
    return without_none(hint)[0] is int


def _flat(sweep: ChoiceSweep, *, is_whole: bool) -> Iterator[Any]:
    """The values of a sweep, those of logranges among them."""
    if isinstance(sweep, _LogRange):
        yield from dict.fromkeys(map(_nearest, sweep.list)) if is_whole else sweep.list
        return
    for item in sweep.list:
        if isinstance(item, ChoiceSweep):
            yield from _flat(item, is_whole=is_whole)
        else:
            yield item


def _nearest(value: Any) -> int:
    return math.floor(value + 0.5)


def _holds_one(value: Any) -> bool:
    """Whether a logrange stands in a list or a dictionary."""
    inner = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else []
    return any(isinstance(item, ChoiceSweep) or _holds_one(item) for item in inner)
