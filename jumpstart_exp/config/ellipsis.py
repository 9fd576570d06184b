"""Ellipses in sweeps: `depth=1,10,...,150` is the list 1,10,20,…,150.

An ellipsis between numbers, `a,b,...,c`, goes on in steps of b − a if they end on c, else in multiples of b if
c is one of them. Several ellipses in one list chain, each from the two values before it as expanded. The
arithmetic is exact on the decimals as typed, so 0.1,0.2,...,0.5 has a 0.3 in it. A quoted '...' is a text like
any other, except inside Hydra's functions (`choice('...',b)`), which drop quotes before a sweeper sees them.
"""

import dataclasses
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Expansion:
    """A sweep's values without ellipses, and one line for each ellipsis that could have been read otherwise."""

    values: tuple[Any, ...]
    warnings: tuple[str, ...] = ()


def sweep_strings(override: Override) -> Expansion:
    """The values of a sweep as the texts Hydra's basic sweeper makes of them (quoted, shuffled), ellipses expanded.

    Raises:
        SettingError: an ellipsis cannot be read, or a range has no end or more than `MOST_VALUES` values.
    """
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        _check_range(sweep, legible(override.input_line or override.get_key_element()))
    expanded, warnings = expand_override(override)
    return Expansion(tuple(expanded.sweep_string_iterator()), warnings)


def expand_override(override: Override) -> tuple[Override, tuple[str, ...]]:
    """The override with the ellipses of its choice sweep expanded, and the warnings; any other comes back as it is.

    Raises:
        SettingError: an ellipsis cannot be read.
    """
    sweep = override.value()
    if not isinstance(sweep, ChoiceSweep) or not _has_ellipsis(sweep.list):
        return override, ()
    typed = override.input_line or f"{override.get_key_element()}={_text(sweep.list)}"
    expansion = expand_ellipses(typed, sweep.list)
    expanded = dataclasses.replace(sweep, list=list(expansion.values))
    return dataclasses.replace(override, _value=expanded), expansion.warnings


def expand_ellipses(typed: str, values: Sequence[Any]) -> Expansion:
    """The parsed elements of a sweep with every unquoted ellipsis expanded; `typed` (`depth=1,2,...,5`) heads messages.

    If a list with an ellipsis holds a decimal, all its numbers become decimals.

    Raises:
        SettingError: an ellipsis without two different numbers before it or a number after it, an end that no
            reading reaches, or more than `MOST_VALUES` values.
    """
    if not _has_ellipsis(values):
        return Expansion(tuple(values))
    typed = legible(" ".join(typed.split()), _LONGEST_TYPED)
    expanded: list[Any] = []
    warnings: list[str] = []
    pending = False
    for position, value in enumerate(values):
        if _is_ellipsis(value):
            _check_neighbours(typed, expanded, values[position + 1 :])
            pending = True
        elif pending:
            run = _Run(typed, expanded[-2], expanded[-1], value)
            step = run.step()
            expanded.extend(run.continuation(step, room=MOST_VALUES - len(expanded)))
            warnings.extend(run.warnings(step))
            pending = False
        else:
            expanded.append(value)
    if any(isinstance(value, float) for value in expanded):
        expanded = [_as_float(typed, value) if _is_number(value) else value for value in expanded]
    return Expansion(tuple(expanded), tuple(warnings))


class _Run:
    """One ellipsis: `before`, `start`, ..., `end`, as exact numbers."""

    def __init__(self, typed: str, before: Any, start: Any, end: Any) -> None:
        self.whole = all(isinstance(number, int) for number in (before, start, end))
        self.before, self.start, self.end = (Fraction(repr(number)) for number in (before, start, end))
        # Either reading goes on from `start` in even steps: its distance from `before`, or `start` itself.
        self.steps = [self.start - self.before]
        if 0 < self.start > self.before or 0 > self.start < self.before:
            self.steps.append(self.start)
        text = ",".join([self._number(self.before), self._number(self.start), _ELLIPSIS, self._number(self.end)])
        self.place = typed if typed.endswith(f"={text}") else f"{typed}: {text}"

    def step(self) -> Fraction:
        """The step of the first reading that ends on `end`."""
        difference = self.steps[0]
        if difference == 0:
            raise self._refuse(f"{self._number(self.start)} after itself gives no step; two different numbers would do")
        if (self.end - self.start) / difference < 0:
            side = "or more" if difference > 0 else "or less"
            raise self._refuse(
                f"{self._number(self.end)} lies on the wrong side of {self._number(self.start)}; "
                f"an end of {self._number(self.start)} {side} would do"
            )
        for step in self.steps:
            if self._lands(step):
                return step
        raise self._refuse(f"no even steps end on {self._number(self.end)}; an end of {self._nearest_ends()} would do")

    def continuation(self, step: Fraction, room: int) -> list[int | float]:
        """The values after `start`, up to and with `end`."""
        count = int((self.end - self.start) / step)
        if count > room:
            raise self._too_long()
        return [self._value(self.start + step * index) for index in range(1, count + 1)]

    def warnings(self, chosen: Fraction) -> list[str]:
        """One line if the multiples of `start` end on `end` too and are another list."""
        multiples = self.steps[-1]
        if multiples == chosen or self.end == self.start or not self._lands(multiples):
            return []
        rewritten = [self.before, self.start, 2 * self.start]
        plain = ",".join(map(self._number, rewritten))
        if self.end != rewritten[-1]:
            plain += f",{_ELLIPSIS},{self._number(self.end)}"
        return [
            f"{self.place} is read in steps of {self._number(chosen)}, {self._list(chosen, self.end)}, "
            f"not as the multiples of {self._number(multiples)}, {self._list(multiples, self.end)}; "
            f"write {plain} if you mean those"
        ]

    def _lands(self, step: Fraction) -> bool:
        return ((self.end - self.start) / step).denominator == 1

    def _nearest_ends(self) -> str:
        """The nearest end on either side of `end` that a reading reaches, each with its list."""
        counts = [(step, (self.end - self.start) // step) for step in self.steps]
        if max(count for _, count in counts) > MOST_VALUES:
            raise self._too_long()
        sides = ([(step, self.start + step * (count + extra)) for step, count in counts] for extra in (0, 1))
        nearest = [min(side, key=lambda reading: abs(reading[1] - self.end)) for side in sides]
        return " or ".join(
            f"{self._number(end)} ({self._list(step, end)})"
            for step, end in sorted(nearest, key=lambda reading: reading[1])
            if abs(end) <= sys.float_info.max
        )

    def _list(self, step: Fraction, end: Fraction) -> str:
        """The list of a reading, abbreviated: 1,10,20,30,…,150."""
        count = int((end - self.start) / step) + 2
        shown = count if count <= _SHOWN else _SHOWN - 3
        numbers = [self.before, *(self.start + step * index for index in range(shown - 1))]
        text = ",".join(map(self._number, numbers))
        return text if shown == count else f"{text},…,{self._number(end)}"

    def _value(self, number: Fraction) -> int | float:
        return int(number) if self.whole else float(number)

    def _number(self, number: Fraction) -> str:
        """The number as one would type it: the shortest text that is read back as it."""
        if number.denominator == 1 and abs(number) < 10**15:
            return str(int(number))
        return str(self._value(number))

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


def _has_ellipsis(values: Iterable[Any]) -> bool:
    return any(map(_is_ellipsis, values))


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
