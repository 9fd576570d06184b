"""Settings that were asked for and change nothing: `network.leaky_slope=0.3` where the activation is the ReLU."""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from jumpstart_exp.cell import Cell, cell_fields
from jumpstart_exp.console import warn


def warn_of_no_effect(overrides: Iterable[str], cells: Sequence[Cell]) -> None:
    """A line of warning for each setting of these overrides, `name=value`, that changes nothing in any of the cells."""
    for name in without_effect((override.partition("=")[0].lstrip("+") for override in overrides), cells):
        warn(f"{name} changes nothing here: what it belongs to is off, or other settings say it")


def without_effect(names: Iterable[str], cells: Sequence[Cell]) -> list[str]:
    """Those of the settings that are null in the description of every cell, and not always 0 or at their default.

    A weight of 0 is null too, but that is what was asked for. Beside `network.widths` also depth and width.
    """
    fields, names = cell_fields(), list(names)
    replaced = [name for name in ("depth", "width") if name in names and "network.widths" in names]
    idle = {name: False for name in names if name in fields}
    for cell in cells:
        if not idle:
            break
        described = cell.description()
        idle = {
            name: is_set or attrgetter(name)(cell) not in (fields[name].default, 0)
            for name, is_set in idle.items()
            if described.get(name) is None
        }
    return replaced + [name for name, is_set in idle.items() if is_set]
