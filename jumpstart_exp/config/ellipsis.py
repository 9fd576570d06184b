"""Ellipses in sweeps: `depth=1,10,...,150` is the list 1,10,20,…,150, `width=1,2,4,...,64` the powers of 2.

An ellipsis between numbers, `a,b,...,c`, has three readings: even steps of b − a, the multiples of b, and powers, each
number b/a times the one before it. Those that end on c fit. Steps that a itself is a multiple of (1,2 or 5,10) are
counting, and win; powers of ten among decimals (1e-4,1e-3,...,1) win too; otherwise two readings that fit are an error
that shows both. Three numbers before the ellipsis that go on evenly, or by one factor, have that reading alone. Several
ellipses in one list chain, each from the values before it as expanded. The arithmetic is exact on the decimals as
typed, so 0.1,0.2,...,0.5 has a 0.3 in it. A quoted '...' is a text like any other, except inside Hydra's functions
(`choice('...',b)`), which drop quotes before a sweeper sees them.
"""

import dataclasses
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, Transformer

from jumpstart_exp.settings import SettingError, legible

MOST_VALUES = 100_000
"""The longest list that an ellipsis or a range may make: beyond it, the end was surely mistyped."""

_ELLIPSIS = "..."
_SHOWN = 7
_LONGEST_TYPED = 500
"""Letters of what was typed that a message begins with."""

_DECADES = tuple(Fraction(10) ** exponent for exponent in range(-9, 10) if exponent)

_MOST_POWERS = 2_500
"""Powers of a ratio that two numbers as typed can be apart: more do not fit into a float."""


def sweep_strings(override: Override) -> tuple[str, ...]:
    """The values of a sweep as the texts Hydra's basic sweeper makes of them (quoted, shuffled), ellipses expanded.

    Raises:
        SettingError: an ellipsis cannot be read, or a range has no end or more than `MOST_VALUES` values.
    """
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        _check_range(sweep, legible(override.input_line or override.get_key_element()))
    return tuple(expand_override(override).sweep_string_iterator())


def expand_override(override: Override) -> Override:
    """The override with the ellipses of its choice sweep expanded; any other comes back as it is.

    Raises:
        SettingError: an ellipsis cannot be read.
    """
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep) or not any(map(_is_ellipsis, sweep.list)):
        return override
    typed = override.input_line or f"{override.get_key_element()}={_text(sweep.list)}"
    return dataclasses.replace(override, _value=dataclasses.replace(sweep, list=expand_ellipses(typed, sweep.list)))


def expand_ellipses(typed: str, values: Sequence[Any]) -> list[Any]:
    """The parsed elements of a sweep with every unquoted ellipsis expanded; `typed` (`depth=1,2,...,5`) heads messages.

    If a list with an ellipsis holds a decimal, all its numbers become decimals.

    Raises:
        SettingError: an ellipsis without two different numbers before it or a number after it, an end that no
            reading reaches or that several do, or more than `MOST_VALUES` values.
    """
    typed = legible(" ".join(typed.split()), _LONGEST_TYPED)
    expanded: list[Any] = []
    pending = False
    for position, value in enumerate(values):
        if _is_ellipsis(value):
            _check_neighbours(typed, expanded, values[position + 1 :])
            pending = True
        elif pending:
            run = _Run(typed, expanded[-3:], value)
            expanded.extend(run.continuation(room=MOST_VALUES - len(expanded)))
            pending = False
        else:
            expanded.append(value)
    if any(isinstance(value, float) for value in expanded):
        expanded = [_as_float(typed, value) if _is_number(value) else value for value in expanded]
    return expanded


@dataclass(frozen=True)
class _Reading:
    """A way to go on from `start`: by adding `step`, or by multiplying with it."""

    name: str
    start: Fraction
    step: Fraction
    is_powers: bool = False

    def at(self, index: int) -> Fraction:
        return self.start * self.step**index if self.is_powers else self.start + self.step * index

    def passed(self, end: Fraction) -> int:
        """How many values after `start` there are up to `end`; negative where it lies on the other side."""
        if not self.is_powers:
            return (end - self.start) // self.step
        ratio = end / self.start
        if ratio <= 0:
            return -1
        logs = [math.log(number.numerator) - math.log(number.denominator) for number in (ratio, self.step)]
        if not logs[1]:  # as near to 1 as makes no difference: it does not get there
            return _MOST_POWERS
        near = min(_MOST_POWERS, max(-1, math.floor(logs[0] / logs[1])))
        return max((count for count in (near - 1, near, near + 1) if self._is_within(count, ratio)), default=-1)

    def lands(self, end: Fraction) -> bool:
        count = self.passed(end)
        return count >= 0 and self.at(count) == end

    def _is_within(self, count: int, ratio: Fraction) -> bool:
        return self.step**count <= ratio if self.step > 1 else self.step**count >= ratio


class _Run:
    """One ellipsis: the numbers before it (three, or two where there are no more), ..., `end`, as exact numbers."""

    def __init__(self, typed: str, numbers: Sequence[Any], end: Any) -> None:
        *earlier, before, start = numbers
        self.whole = all(isinstance(number, int) for number in (before, start, end))
        self.before, self.start, self.end = (Fraction(repr(number)) for number in (before, start, end))
        text = ",".join([self._number(self.before), self._number(self.start), _ELLIPSIS, self._number(self.end)])
        self.place = typed if typed.endswith(text) else f"{typed}: {text}"
        if self.start == self.before:
            raise self._refuse(f"{self._number(self.start)} after itself gives no step; two different numbers would do")
        is_finite = bool(earlier) and _is_number(earlier[0]) and abs(earlier[0]) <= sys.float_info.max
        self.readings = self._readings(Fraction(repr(earlier[0])) if is_finite else None)

    def continuation(self, room: int) -> list[int | float]:
        """The values after `start`, up to and with `end`."""
        reading = self._reading()
        count = reading.passed(self.end)
        if count > room:
            raise self._too_long()
        return [self._value(reading.at(index)) for index in range(1, count + 1)]

    def _readings(self, earlier: Fraction | None) -> list[_Reading]:
        """What the numbers before the ellipsis may mean, even steps first."""
        before, start = self.before, self.start
        steps = _Reading(f"steps of {self._number(start - before)}", start, start - before)
        powers = []
        if before * start > 0:
            name = f"powers, each {self._number(start / before)} times the last"
            powers = [_Reading(name, start, start / before, is_powers=True)]
        if earlier is not None and start - before == before - earlier:
            return [steps]
        if powers and earlier is not None and earlier * start == before * before:
            return powers
        multiples = []
        if 0 < start > before != 0 or 0 > start < before != 0:
            multiples = [_Reading(f"multiples of {self._number(start)}", start, start)]
        return [steps, *multiples, *powers]

    def _reading(self) -> _Reading:
        """The one that ends on `end`."""
        fitting = [reading for reading in self.readings if reading.lands(self.end)]
        if not fitting:
            raise self._refuse(self._why_none())
        steps, powers = fitting[0], fitting[-1]
        is_counting = steps.step == self.start - self.before and self.before % steps.step == 0
        if self.end == self.start or len(fitting) == 1 or (is_counting and not steps.is_powers):
            return steps
        if powers.is_powers and not self.whole and powers.step in _DECADES:
            return powers
        raise self._refuse("; ".join(f"write {self._typed(reading)} for {reading.name}" for reading in fitting))

    def _typed(self, reading: _Reading) -> str:
        """What leaves no other reading."""
        count = reading.passed(self.end)
        numbers = [self.before, self.start, *(reading.at(index) for index in range(1, min(count, 2) + 1))]
        text = ",".join(map(self._number, numbers))
        return text if count <= 2 else f"{text},{_ELLIPSIS},{self._number(self.end)}"

    def _why_none(self) -> str:
        if all(reading.passed(self.end) < 0 for reading in self.readings):
            side = "or more" if self.start > self.before else "or less"
            return (
                f"{self._number(self.end)} lies on the wrong side of {self._number(self.start)}; "
                f"an end of {self._number(self.start)} {side} would do"
            )
        names = " and no ".join(reading.name.partition(",")[0] for reading in self.readings)
        why = f"no {names} end on {self._number(self.end)}"
        # two numbers alone are hardly ever meant as powers
        offered = [reading for reading in self.readings if not reading.is_powers] or self.readings
        reached = [(reading, count) for reading in offered if (count := reading.passed(self.end)) >= 0]
        if max((count for _, count in reached), default=0) > MOST_VALUES:
            raise self._too_long()
        sides = ([(reading, reading.at(count + extra)) for reading, count in reached] for extra in (0, 1))
        nearest = [min(side, key=lambda one: abs(one[1] - self.end)) for side in sides if reached]
        ends = " or ".join(
            f"{self._number(end)} ({self._list(reading, end)})"
            for reading, end in sorted(nearest, key=lambda one: one[1])
            if abs(end) <= sys.float_info.max and Fraction(repr(float(end))) == end
        )
        return f"{why}; an end of {ends} would do" if ends else why

    def _list(self, reading: _Reading, end: Fraction) -> str:
        """The list of a reading, abbreviated: 1,10,20,30,…,150."""
        count = reading.passed(end) + 2
        shown = count if count <= _SHOWN else _SHOWN - 3
        text = ",".join(map(self._number, [self.before, *(reading.at(index) for index in range(shown - 1))]))
        return text if shown == count else f"{text},…,{self._number(end)}"

    def _value(self, number: Fraction) -> int | float:
        return int(number) if self.whole else float(number)

    def _number(self, number: Fraction) -> str:
        """The number as one would type it: the shortest text that is read back as it."""
        if number.denominator == 1 and abs(number) < 10**15:
            return str(int(number))
        if abs(number) > sys.float_info.max:  # the ratio of two numbers as typed
            return f"{Decimal(number.numerator) / Decimal(number.denominator):.3g}"
        return str(float(number) if number.denominator != 1 else self._value(number))

    def _too_long(self) -> SettingError:
        return self._refuse(
            f"that makes a list of more than {MOST_VALUES} values; larger steps or a nearer end would do"
        )

    def _refuse(self, why: str) -> SettingError:
        return SettingError(f"{self.place} cannot be expanded: {why}")


def _check_range(sweep: RangeSweep, typed: str) -> None:
    """A range ends, and before long: Hydra would go on for ever."""
    bounds = (sweep.start, sweep.stop, sweep.step)
    if any(isinstance(number, float) and not math.isfinite(number) for number in bounds):
        raise SettingError(f"{typed} is not allowed: a range is between finite numbers")
    start, stop, step = (Fraction(number or 0) for number in bounds)
    if step == 0:
        raise SettingError(f"{typed} is not allowed: a step of 0 leads nowhere")
    if (stop - start) / step > MOST_VALUES:
        raise SettingError(
            f"{typed} makes a list of more than {MOST_VALUES} values; larger steps or a nearer end would do"
        )


def _check_neighbours(typed: str, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Two numbers stand before an ellipsis and one after it."""
    do = "an ellipsis goes between numbers, as in 1,10,...,150"
    if after and _is_ellipsis(after[0]):
        raise SettingError(f"{typed}: two ellipses in a row; one would do: {do}")
    for value in (*before[-2:], *after[:1]):
        if not _is_number(value):
            shown = legible(repr(value) if isinstance(value, str) else _text([value]))
            raise SettingError(f"{typed}: {shown} beside the ellipsis is not a number; {do}; write the list out")
        if not abs(value) <= sys.float_info.max:
            raise SettingError(f"{typed}: a number beside the ellipsis is not finite or too large; {do}")
    if len(before) < 2:
        raise SettingError(f"{typed}: fewer than two values before the ellipsis; {do}")
    if not after:
        raise SettingError(f"{typed}: nothing after the ellipsis; {do}")


def _is_ellipsis(value: Any) -> bool:
    return isinstance(value, str) and value == _ELLIPSIS  # a quoted one is a QuotedString, and stays


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_float(typed: str, value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise SettingError(
            f"{typed}: a whole number is too large to stand among decimals; one below 1e308 would do"
        ) from None


def _text(values: Iterable[Any]) -> str:
    return ",".join(Transformer.str(value) for value in values)
