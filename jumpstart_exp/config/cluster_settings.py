"""The settings of `hydra/launcher=fleet_slurm`."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import BooleanNode, FloatNode, IntegerNode, ValueNode
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.settings import (
    SettingError,
    check_settings,
    field_types,
    legible,
    nearest,
    setting,
    setting_error,
    without_none,
)

PREFIX = "hydra.launcher."

_TEXTS = ("partition", "account", "qos", "constraint")

_TAKEN = {
    "array": "",
    "error": "",
    "job_name": "",
    "open_mode": "",
    "output": "",
    "signal": "",
    "time": "timeout_min",
    "wait": "wait",
}
"""Options of sbatch that the launcher needs for itself, and the settings that stand for them."""


@dataclass(frozen=True)
class Extra:
    """What goes into the batch script as it is: shell lines before the task, and options of sbatch by name."""

    setup: tuple[str, ...] = ()
    additional_parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class ClusterSettings:
    """How a sweep is cut into tasks, and what is asked of SLURM for each; nothing here is part of a cell.

    Raises:
        SettingError: a value that is not allowed.
    """

    minutes_per_task: float = setting(30.0, above=0, high=100_000, about="estimated minutes that a task trains")
    cpus_per_task: int = setting(4, low=1, high=4096, about="cells that a task trains at the same time on CPUs")
    gpus_per_task: int = setting(0, low=0, high=1, about="1: a task has a GPU for what trains on one")
    mem_gb: float | None = setting(None, low=0.1, about="GB of memory a task; null: as estimated")
    timeout_min: int | None = setting(None, low=1, about="minutes until SLURM ends a task; null: 4 × minutes_per_task")
    max_array_size: int | None = setting(None, low=1, about="tasks of a job array; null: SLURM's own limit")
    max_at_once: int = setting(256, low=1, about="tasks of an array that run at the same time")
    max_requeues: int = setting(20, low=0, about="how often a task that runs out of time begins again")
    wait: bool = setting(True, about="false returns as soon as everything is submitted")
    partition: str | None = setting(None, about="SLURM's partition; null: SLURM's choice")
    account: str | None = setting(None, about="SLURM's account")
    qos: str | None = setting(None, about="SLURM's quality of service")
    constraint: str | None = setting(None, about="what SLURM's nodes must have")
    extra: Extra = Extra()

    def __post_init__(self) -> None:
        """Validate every field."""
        check_settings(self, PREFIX)
        for name in _TEXTS:
            text = getattr(self, name)
            if text is not None and not (text.strip() and text.isprintable()):
                raise setting_error(f"{PREFIX}{name}", text, "a text of letters that print, in one line, or null")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "ClusterSettings":
        """The settings from a launcher's configuration.

        Raises:
            SettingError: a setting that does not exist, or a value that is not allowed.
        """
        known = launcher_settings()
        rest = dict(values)
        setup, parameters = rest.pop("setup", None) or [], rest.pop("additional_parameters", None) or {}
        for name in rest:
            if name not in known:
                raise SettingError(f"{PREFIX}{legible(str(name))} is not a setting{nearest(str(name)[:100], known)}")
        if (
            not isinstance(setup, Sequence)
            or isinstance(setup, str)
            or not all(isinstance(line, str) and "\0" not in line for line in setup)
        ):
            raise setting_error(f"{PREFIX}setup", setup, "a list of shell commands")
        if not isinstance(parameters, Mapping) or not all(isinstance(name, str) for name in parameters):
            raise setting_error(f"{PREFIX}additional_parameters", parameters, "options of sbatch, as {name: value}")
        for name in parameters:
            option = name.strip().lstrip("-").replace("-", "_").lower()
            if option in _TAKEN:
                instead = f", set {PREFIX}{_TAKEN[option]}" if _TAKEN[option] else ""
                allowed = f"left to the launcher{instead}"
                raise setting_error(f"{PREFIX}additional_parameters.{name}", parameters[name], allowed)
        typed = {name: _of_its_type(name, value) for name, value in rest.items()}
        return cls(**typed, extra=Extra(tuple(setup), dict(parameters)))

    @property
    def minutes_until_timeout(self) -> int:
        """The time limit that SLURM gets."""
        return self.timeout_min or max(10, math.ceil(4 * self.minutes_per_task))


def _of_its_type(name: str, value: Any) -> Any:
    """The value; a text, which the environment's are, as OmegaConf reads it for a number or a truth."""
    nodes: dict[type, Callable[[str], ValueNode]] = {int: IntegerNode, float: FloatNode, bool: BooleanNode}
    base = without_none(field_types(ClusterSettings)[name])[0]
    if not isinstance(value, str) or base not in nodes:
        return value
    try:
        return nodes[base](value)._value()
    except OmegaConfBaseException:  # what is allowed is said where all values are checked
        return value


def launcher_settings() -> list[str]:
    """The names of all settings of the launcher, without the prefix."""
    own = [field.name for field in dataclasses.fields(ClusterSettings) if field.name != "extra"]
    return own + [field.name for field in dataclasses.fields(Extra)]
