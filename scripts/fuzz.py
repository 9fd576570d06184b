"""Coverage-guided fuzzing of what reads the user's words: python scripts/fuzz.py ellipsis|key [SECONDS].

From nothing, atheris makes inputs that reach more and more of the code; each is checked against what the expansion
of an ellipsis and a cell's key promise, not only for crashes. The first input that breaks a promise ends the run, is
shown in words, and is the exit code's reason; after SECONDS (60) without one the number of inputs is said.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import FunctionType, ModuleType
from typing import Any

import atheris

from jumpstart_exp import cell as cells
from jumpstart_exp import settings
from jumpstart_exp.config import ellipsis
from jumpstart_exp.config.schema import known_settings
from jumpstart_exp.settings import SettingError

LONGEST = 200
"""The longest list here, in place of the 100,000 values that a sweep may have: inputs a second count."""

_SCALES = ["1", "1e-1", "1e-3", "1e3", "1e15", "1e-300", "1e300"]
_NEUTRAL = {"dataset.noise": 0.0, "dataset.augment": "none", "penalty.layers": "hidden", "optimizer.warmup_steps": 0}
"""Values that leave a description as it is without the field (docs/architecture.md, cell and key)."""


def expanded(given: "atheris.FuzzedDataProvider") -> None:
    """A sweep's values with one ellipsis among them: expanded as documented, or refused in one line with reason."""
    values = [_number(given) for _ in range(given.ConsumeIntInRange(0, 4))]
    values.insert(given.ConsumeIntInRange(0, len(values)), "...")
    for _ in range(given.ConsumeIntInRange(0, 2)):
        odd = given.PickValueInList([None, True, "", "...", "a b", [1, 2], {"a": 1}, given.ConsumeUnicode(6)])
        values.insert(given.ConsumeIntInRange(0, len(values)), odd)
    try:
        found = ellipsis.expand_ellipses("x=1", values)
    except SettingError as error:
        _expect("\n" not in str(error), values, f"more than one line: {error}")
        _expect(str(error).startswith("x=1"), values, f"the message does not begin with what was typed: {error}")
        _expect(not _is_readable(values), values, f"refused: {error}")
        return
    _expect(len(found) <= LONGEST + len(values), values, f"{len(found)} values")
    _expect("..." not in found, values, "an ellipsis is left")
    _expect(ellipsis.expand_ellipses("x=1", found) == found, values, "not so when done again")
    if values.count("...") == 1:
        _check_run(values, found)


def keyed(given: "atheris.FuzzedDataProvider") -> None:
    """A cell's key: 32 hex digits, stable, of the values and not of their order or label, and nobody else's."""
    config = {
        name: _setting(given, *rules)
        for name, rules in sorted(known_settings().items())
        if name in _FIELDS and given.ConsumeIntInRange(0, 3) == 3  # 0 is what an input that is used up gives
    }
    config["dataset.name"] = given.PickValueInList(sorted(cells.DATASETS))
    cell = _cell(config)
    if cell is None or not cell.dataset.is_examined:
        return
    key, described = cell.key, _described(cell)
    _expect(re.fullmatch("[0-9a-f]{32}", key) is not None, config, f"the key is {key!r}")
    backwards = cells.Cell.from_config(_nested(reversed(config.items())), "another")
    _expect(backwards.key == key, config, "the key depends on order or label")
    is_exact = {name: type(value) is int and abs(value) <= 2**53 for name, value in config.items()}
    decimals = {name: float(value) if is_exact[name] else value for name, value in config.items()}
    _expect(cells.Cell.from_config(_nested(decimals.items()), "one").key == key, config, "1 and 1.0 differ")
    neighbour = _cell({**config, (name := given.PickValueInList(_FIELDS)): _setting(given, *known_settings()[name])})
    if neighbour is not None and neighbour.dataset.is_examined:
        same = _described(neighbour) == described
        _expect((neighbour.key == key) == same, config, f"another {name}, {'the' if not same else 'not the'} same key")
    _expect(_owner.setdefault(key, described) == described, config, f"its key is that of {_owner[key]}")
    _expect(_name.setdefault(described, key) == key, config, "an equal description has another key")
    if len(_owner) > 50_000:
        _owner.clear()
        _name.clear()


TARGETS: dict[str, Callable[["atheris.FuzzedDataProvider"], None]] = {"ellipsis": expanded, "key": keyed}

_owner: dict[str, str] = {}
_name: dict[str, str] = {}
_FIELDS = sorted(
    {name for kind in cells.DATASETS.values() for name in cells.Cell(dataset=kind()).description()} - {"dataset"}
)


def _expect(holds: bool, given: object, what: str) -> None:
    if not holds:
        raise AssertionError(f"{what}\n  input: {given!r}")


def _number(given: "atheris.FuzzedDataProvider") -> int | float:
    """Round numbers of all sizes mostly, where runs end on their ends, and any number otherwise."""
    kind = given.ConsumeIntInRange(0, 9)
    if kind < 5:
        return given.ConsumeIntInRange(-40, 40)
    if kind < 8:
        return float(given.ConsumeIntInRange(-40, 40) * Fraction(given.PickValueInList(_SCALES)))
    return given.ConsumeInt(given.ConsumeIntInRange(1, 160)) if kind == 8 else given.ConsumeFloat()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_readable(values: Sequence[Any]) -> bool:
    """Whether the list has one ellipsis, and one of both readings reaches the number after it in time."""
    place = values.index("...")
    around = values[max(place - 2, 0) : place] + values[place + 1 : place + 2]
    if values.count("...") > 1 or len(around) < 3 or place < 2 or not all(map(_is_number, around)):
        return False
    if not all(abs(number) <= sys.float_info.max for number in values if _is_number(number)):
        return False
    first, second, last = (Fraction(repr(number)) for number in around)
    if first == second:
        return False
    steps = (last - second) / (second - first)
    counts = first % (second - first) == 0  # no other reading wins, unless a number before makes them powers
    earlier = values[place - 3] if place > 2 and _is_number(values[place - 3]) else None
    is_even = earlier is None or Fraction(repr(earlier)) * second != first * first
    return counts and is_even and steps.denominator == 1 and 0 <= steps <= LONGEST - place


def _check_run(values: Sequence[Any], found: Sequence[Any]) -> None:
    place = values.index("...")
    tail = len(values) - place - 1
    _expect(_plain(found[:place]) == _plain(values[:place]), values, f"begins with {found[:place]}")
    _expect(_plain(found[len(found) - tail :]) == _plain(values[place + 1 :]), values, f"ends with {found[-tail:]}")
    run = found[place - 1 : len(found) - tail + 1]
    first, second, last = (Fraction(repr(value)) for value in (*values[place - 2 : place], values[place + 1]))
    as_decimals = any(isinstance(value, float) for value in found)
    ways = (second - first, second, None)  # even steps, multiples, powers
    wanted = [
        [second * (second / first) ** index if step is None else second + step * index for index in range(len(run))]
        for step in ways
        if step is not None or first
    ]
    typed = [[float(number) if as_decimals else int(number) for number in one] for one in wanted if one[-1] == last]
    _expect(list(run) in typed, values, f"{run}")


def _plain(values: Sequence[Any]) -> list[Any]:
    """The values with all numbers as decimals: one decimal makes all of them decimals."""
    return [float(value) if _is_number(value) and abs(value) <= sys.float_info.max else value for value in values]


def _setting(given: "atheris.FuzzedDataProvider", hint: Any, rules: Mapping[str, Any]) -> Any:
    """A value of the setting's kind mostly, and any other now and then."""
    kind = given.ConsumeIntInRange(0, 15)
    if kind == 14:
        return given.PickValueInList([None, "", "1", [], [1], {}, True, float("nan"), float("inf"), -1, 2**70])
    if kind == 15:
        return given.ConsumeUnicode(8)
    text = str(hint)
    if rules.get("choices"):
        return given.PickValueInList([*rules["choices"]])
    if "tuple" in text:
        return [given.ConsumeIntInRange(0, 3) / 2 for _ in range(given.ConsumeIntInRange(1, 3))]
    if "bool" in text:
        return given.ConsumeBool()
    if "int" in text and "float" not in text:
        return given.ConsumeIntInRange(0, 4) if kind < 12 else given.ConsumeInt(8)
    return given.ConsumeIntInRange(-8, 8) / 8 if kind < 12 else given.ConsumeFloat()


def _nested(values: Any) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, value in values:
        group, _, last = name.rpartition(".")
        (config.setdefault(group, {}) if group else config)[last] = value
    return config


def _cell(config: Mapping[str, Any]) -> Any:
    """The cell, or None where it is refused, in one line."""
    try:
        return cells.Cell.from_config(_nested(config.items()), "one")
    except SettingError as error:
        _expect(str(error).isprintable(), config, f"not a line: {error}")
        return None


def _described(cell: Any) -> str:
    """What the cell is, field by field; what has no effect or is neutral is left out."""
    fields = cell.description().items()
    return repr(sorted((name, repr(v)) for name, v in fields if v is not None and v != _NEUTRAL.get(name)))


def main(arguments: list[str]) -> None:
    """Fuzz one target for so many seconds."""
    if not 1 <= len(arguments) <= 2 or arguments[0] not in TARGETS or not "".join(arguments[1:] or ["1"]).isdecimal():
        sys.exit(f"usage: python scripts/fuzz.py {'|'.join(TARGETS)} [SECONDS]")
    target = TARGETS[arguments[0]]
    ellipsis.MOST_VALUES = LONGEST
    for module in (cells, settings, ellipsis):
        instrument(module)
    seconds = arguments[1] if len(arguments) > 1 else "60"
    options = [f"-max_total_time={seconds}", "-max_len=512", "-len_control=0", "-timeout=5"]
    # the input is shown in words: no file is left behind
    atheris.Setup([sys.argv[0], *options, "-exact_artifact_path=/dev/null"], lambda data: target(_provider(data)))
    atheris.Fuzz()


def instrument(module: ModuleType) -> None:
    """Count what runs in the module's functions; atheris cannot follow the importer of an editable installation."""
    for owner in (module, *(value for value in vars(module).values() if isinstance(value, type))):
        for value in list(vars(owner).values()):
            function = getattr(value, "__func__", None) or getattr(value, "fget", None) or getattr(value, "func", value)
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                atheris.instrument_func(function)


def _provider(data: bytes) -> "atheris.FuzzedDataProvider":
    return atheris.FuzzedDataProvider(data)


if __name__ == "__main__":
    main(sys.argv[1:])
