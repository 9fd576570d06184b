"""The methods of the grid as data: what each file of `conf/method` sets, by the names of a cell's parts."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from jumpstart_exp.settings import SettingError, nearest, setting_error


@cache
def method_names() -> tuple[str, ...]:
    """Every method of the package, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


@cache
def method_settings(name: str) -> Mapping[str, Mapping[str, Any]]:
    """What a method sets: part of a cell (`network`, `penalty`, …) → field → value.

    Raises:
        SettingError: there is no such method.
    """
    if name not in method_names():
        wrong = setting_error("method", name, "one of " + ", ".join(method_names()))
        raise SettingError(str(wrong) + nearest(name, method_names()))
    found: Mapping[str, Mapping[str, Any]] = yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def _folder() -> Path:
    from jumpstart_exp.config.schema import conf_dir

    return Path(conf_dir(), "method")
