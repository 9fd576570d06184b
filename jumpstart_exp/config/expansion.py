"""A sweep's jobs: the product over all swept values, ellipses and logranges expanded."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from jumpstart_exp.config.ellipsis import sweep_strings
from jumpstart_exp.config.errors import check_override
from jumpstart_exp.config.logrange import expand_logranges
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.settings import SettingError, field_types

_MOST_JOBS = 1_000_000
"""Cells of a sweep: more would fill the memory before anything trains."""


def expand_jobs(loader: Any, params: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[list[str]]:
    """Every job's overrides: the product over all swept values, ellipses and logranges expanded.

    Args:
        loader: Hydra's configuration loader.
        params: a study's own grid, name → sweep as it would be typed.
        arguments: the command line's overrides; they win over `params`.

    Raises:
        SettingError: an ellipsis or a logrange cannot be read, the sweep is empty, or a run setting is swept.
    """
    own = [expand_logranges(f"{name}={value}") for name, value in (params or {}).items()]
    for text in own:
        check_override(text)
    axes: dict[str, list[str]] = {}
    parser = OverridesParser.create(config_loader=loader)
    for override in [*parser.parse_overrides(own), *parser.parse_overrides([*map(expand_logranges, arguments)])]:
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
    if (count := math.prod(map(len, axes.values()))) > _MOST_JOBS:
        raise SettingError(f"the sweep has {count} cells: at most {_MOST_JOBS} can be swept at once")
    return [list(job) for job in itertools.product(*axes.values())]
