"""How large a sweep may be (`max_cells`, `max_hours`), and what is said of one that takes long."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.settings import SettingError
from jumpstart_exp.sweep.progress import duration

if TYPE_CHECKING:
    from jumpstart_exp.sweep.fleets import Phase

LONG_SECONDS = 3600.0
"""Estimated seconds from which on a sweep says how to see what it would do."""

_HINT = "nothing was trained, and dry_run=true shows what it would do"


def check_count(count: int, settings: RunSettings, axes: str = "") -> None:
    """Refuse a sweep of too many cells.

    Args:
        count: its cells as they were typed, stored and equal ones among them; of a filter those that it keeps.
        settings: how it is run.
        axes: how many values are swept, in words; empty where that is not known.

    Raises:
        SettingError: there are more than `max_cells`.
    """
    if words := too_many(count, settings, axes):
        raise SettingError(f"{words}; {_HINT}")


def check_hours(seconds: float, how: str, settings: RunSettings) -> None:
    """Refuse a training that takes too long.

    Args:
        seconds: as it is estimated.
        how: how many are trained at the same time, in words.
        settings: how it is run.

    Raises:
        SettingError: that is more than `max_hours`.
    """
    if words := too_long(seconds, how, settings):
        raise SettingError(f"{words}; {_HINT}")


def refusals(count: int, seconds: float, how: str, settings: RunSettings) -> list[str]:
    """What a dry run says of a sweep that would be refused: a line for each reason."""
    reasons = (too_many(count, settings), too_long(seconds, how, settings))
    return [f"without dry_run=true it is refused: {words}" for words in reasons if words]


def expected(phases: "Sequence[Phase]") -> tuple[float, str]:
    """The estimated seconds of all phases, one after the other, and how many are trained at the same time, in words."""
    at_once = sorted({phase.at_once for phase in phases})
    return sum(phase.estimate_seconds() for phase in phases), f"{' or '.join(map(str, at_once))} at once"


def too_many(count: int, settings: RunSettings, axes: str = "") -> str:
    """That there are more cells than `max_cells`, in words; empty where there are not."""
    if settings.max_cells is None or count <= settings.max_cells:
        return ""
    return f"the sweep has {count} cells{f' ({axes})' if axes else ''}, more than max_cells={settings.max_cells} allows"


def too_long(seconds: float, how: str, settings: RunSettings) -> str:
    """That the estimate is more than `max_hours`, in words; empty where it is not."""
    if settings.max_hours is None or seconds <= 3600 * settings.max_hours:
        return ""
    return f"training takes about {duration(seconds)} ({how}), more than max_hours={settings.max_hours:g} allows"


def long_words(seconds: float, how: str) -> str:
    """How long a sweep of more than an hour takes, and how to see what it would do; empty of a shorter one."""
    if seconds <= LONG_SECONDS:
        return ""
    return f"this takes about {duration(seconds)} ({how}): dry_run=true shows what it would do, and trains nothing"


def axes_words(jobs: Sequence[Sequence[str]]) -> str:
    """How many values of what the jobs of a sweep have: "25 depth × 25 width × 50 seed"."""
    axes = [{*overrides} for overrides in zip(*jobs, strict=True)]
    swept = [(len(values), min(values).partition("=")[0].lstrip("+")) for values in axes if len(values) > 1]
    return " × ".join(f"{count} {name}" for count, name in swept)
