"""A sweep's jobs: the product over all swept values, ellipses and logranges expanded.

A study's own grid may give the values of one setting by those of another: `optimizer.lr: {method: {gelu: "0.003",
others: "0.01"}}` in `hydra.sweeper.params`. What is typed for such a setting replaces all of it.
"""

import itertools
import math
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from jumpstart_exp.config.ellipsis import sweep_strings
from jumpstart_exp.config.errors import check_override
from jumpstart_exp.config.logrange import expand_logranges
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.settings import SettingError, field_types

_MOST_JOBS = 1_000_000
"""Cells of a sweep: more would fill the memory before anything trains."""

OTHERS = "others"
"""What a study's grid calls all values of the other setting that it does not name."""


@dataclass(frozen=True)
class _By:
    """The overrides of one setting by the override of another: `of` gives those of each of its values."""

    name: str
    of: Mapping[str, list[str]]


def expand_jobs(loader: Any, params: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[list[str]]:
    """Every job's overrides: the product over all swept values, ellipses and logranges expanded.

    Args:
        loader: Hydra's configuration loader.
        params: a study's own grid, name → sweep as it would be typed, or → {another name: {its value: sweep}}.
        arguments: the command line's overrides; they win over `params`.

    Raises:
        SettingError: an ellipsis or a logrange cannot be read, the sweep is empty, a run setting is swept, or values by
            another setting lack one.
    """
    given = {name: value for name, value in (params or {}).items() if not isinstance(value, Mapping)}
    parser = OverridesParser.create(config_loader=loader)
    own = _axes(parser, [f"{name}={value}" for name, value in given.items()])
    by = {name: _by(parser, name, value, own) for name, value in (params or {}).items() if name not in given}
    typed = _axes(parser, arguments, are_checked=True)
    axes: Mapping[str, list[str] | _By] = {**own, **by, **typed}
    if (count := math.prod(map(_most_values, axes.values()))) > _MOST_JOBS:
        raise SettingError(f"the sweep has {count} cells: at most {_MOST_JOBS} can be swept at once")
    plain = {name: axis for name, axis in axes.items() if isinstance(axis, list)}
    jobs = itertools.product(*plain.values())
    if len(plain) == len(axes):
        return [list(job) for job in jobs]
    return [job for chosen in jobs for job in _with_values_by(axes, dict(zip(plain, chosen, strict=True)))]


def _axes(parser: OverridesParser, overrides: Sequence[str], *, are_checked: bool = False) -> dict[str, list[str]]:
    """Each override's name and the overrides of its values."""
    texts = [*map(expand_logranges, overrides)]
    for text in [] if are_checked else texts:
        check_override(text)
    axes: dict[str, list[str]] = {}
    for override in parser.parse_overrides(texts):
        name = override.get_key_element()
        if not override.is_sweep_override():
            axes[name] = [f"{name}={override.get_value_element_as_str()}"]
            continue
        if not override.is_discrete_sweep():
            raise SettingError(f"{override.input_line} is not allowed: a sweep must be a list or a range of values")
        if name in field_types(RunSettings):
            raise SettingError(f"{name} cannot be swept: it is the same for the whole sweep")
        values = sweep_strings(override)
        if name.lstrip("+") == "experiment" and len(values) > 1:
            raise SettingError(f"{override.input_line} is not allowed: each study has its own grid, give one at a time")
        if not values:
            raise SettingError(f"the sweep is empty: {override.input_line} has no values")
        axes[name] = [f"{name}={value}" for value in values]
    return axes


def _by(parser: OverridesParser, name: str, given: Mapping[str, Any], axes: Mapping[str, list[str]]) -> _By:
    """A setting's values by those of another of the grid's axes.

    Raises:
        SettingError: it is not {SETTING: {VALUE: values}}, or the setting or a value is none of the grid's.
    """
    where = f"hydra.sweeper.params.{name}"
    (other, values), *more = given.items() or [("", None)]
    if more or not isinstance(values, Mapping) or not values:
        raise SettingError(f"{where} is not allowed: values by another setting are {{SETTING: {{VALUE: values}}}}")
    if other not in axes:
        raise SettingError(f"{where} is by {other}, which is none of the grid's: one of {', '.join(axes)}")
    known = [text.removeprefix(f"{other}=") for text in axes[other]]
    found: dict[str, list[str]] = {}
    for value, sweep in values.items():
        if value not in (*known, OTHERS):
            raise SettingError(f"{where}.{other}.{value} is not allowed: one of {', '.join((*known, OTHERS))}")
        found |= {str(value): of for of in _axes(parser, [f"{name}={sweep}"]).values()}
    return _By(other, found)


def _most_values(axis: list[str] | _By) -> int:
    return len(axis) if isinstance(axis, list) else max(map(len, axis.of.values()))


def _with_values_by(axes: Mapping[str, list[str] | _By], plain: Mapping[str, str]) -> Iterator[list[str]]:
    """The jobs of one such choice, in the axes' order.

    Raises:
        SettingError: a setting has no value for what was chosen of another.
    """
    depend: dict[str, list[str]] = {}
    for name, axis in axes.items():
        if isinstance(axis, list):
            continue
        chosen = plain[axis.name]
        values = axis.of.get(chosen.partition("=")[2], axis.of.get(OTHERS))
        if values is None:
            raise SettingError(f"hydra.sweeper.params.{name}.{axis.name} has nothing for {chosen}, nor {OTHERS}")
        depend[name] = values
    for values_of in itertools.product(*depend.values()):
        job = ChainMap(dict(zip(depend, values_of, strict=True)), {**plain})
        yield [job[name] for name in axes]
