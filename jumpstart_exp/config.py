"""What a user can set: the typed schema of the configuration, and errors about it in one line."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.cell import DATASETS, Cell, DatasetSpec
from jumpstart_exp.settings import (
    SettingError,
    allowed_values,
    check_settings,
    field_types,
    nearest,
    refuse,
    setting,
)

_SCHEMAS: dict[type, type] = {}


@dataclass(frozen=True)
class RunSettings:
    """How cells are run: nothing here can change a result."""

    engine: str = setting("auto", about="auto takes the fastest that can train the cells")
    device: str = setting("auto", choices=("auto", "cpu", "cuda"), about="auto: a GPU for what native cannot train")
    curve_every: int | None = setting(None, low=1, about="epochs between the rows of a curve; null: about 100 rows")
    checkpoint_minutes: float | None = setting(
        10.0, above=0, about="minutes between two checkpoints of a cell that eager trains; null keeps none"
    )
    retry: str = setting("none", choices=("none", "failed"), about="failed trains failed cells again")
    dry_run: bool = setting(False, about="true says what would be done and stops")
    results_dir: str = setting("results", about="folder of the store and the figures")
    data_dir: str = setting("data", about="folder of the datasets' files")
    download: bool = setting(True, about="true fetches a dataset's files where they are missing")

    def __post_init__(self) -> None:
        """Validate every field."""
        check_settings(self)
        for name in ("results_dir", "data_dir"):
            if not getattr(self, name).strip():
                raise refuse(name, getattr(self, name), "the name of a folder")
            object.__setattr__(self, name, str(Path(getattr(self, name)).expanduser()))


def conf_dir() -> str:
    """Folder of the configurations: inside the package when installed from a wheel, else beside it."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def register_schema() -> None:
    """Give Hydra the types of all settings, made from the dataclasses that describe cells and runs."""
    store = ConfigStore.instance()
    fields = _schema_fields(Cell, leave_out="method") + _schema_fields(RunSettings)
    store.store(name="schema", node=dataclasses.make_dataclass("Settings", fields))
    for name, spec in DATASETS.items():
        store.store(group="dataset", name=f"{name}_schema", node=_schema(spec))


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Hydra's composed configuration as plain nested dicts, without Hydra's own node."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    container = OmegaConf.to_container(own, resolve=True)
    assert isinstance(container, dict)
    return {str(name): value for name, value in container.items()}


def split_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], RunSettings]:
    """The part that describes cells, and the run settings.

    Raises:
        SettingError: a run setting has a value that is not allowed.
    """
    run_names = {field.name for field in dataclasses.fields(RunSettings)}
    run = RunSettings(**{name: value for name, value in config.items() if name in run_names})
    return {name: value for name, value in config.items() if name not in run_names}, run


def check_variant(choices: Mapping[str, str | None], options: list[str]) -> None:
    """Refuse a variant that the dataset does not have; `options` are those of the group `variant/of`.

    Raises:
        SettingError: no such variant of this dataset.
    """
    if choices.get("variant") != "paper" and choices.get("variant/of") not in options:
        raise refuse("variant", choices.get("variant"), f"paper for dataset={choices.get('dataset')}")


@cache
def known_settings() -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """Type and rules of every setting under its dotted override name."""
    return dict(_walk(Cell, "")) | dict(_walk(RunSettings, ""))


def unknown_setting(name: str) -> SettingError:
    """The error for a setting that does not exist, with the nearest one that does."""
    if name == "experiment":
        return SettingError("experiment is added to the defaults: write +experiment=NAME")
    owners = [other for other, spec in DATASETS.items() if name.removeprefix("dataset.") in field_types(spec)]
    if name.startswith("dataset.") and owners:
        return SettingError(f"{name} is a setting of {', '.join(owners)} only")
    known = [*known_settings(), "dataset", "method", "network", "optimizer", "variant", "hydra.launcher.workers"]
    group, _, last = name.rpartition(".")
    same_end = [other for other in known if other.rpartition(".")[2] == last]
    siblings = [other.rpartition(".")[2] for other in known if group and other.rpartition(".")[0] == group]
    if same_end:
        hint = f"; did you mean {same_end[0]}?"
    elif siblings:
        hint = nearest(last, siblings) or f"; {group} has {', '.join(siblings)}"
    else:
        hint = nearest(name, known)
    return SettingError(f"{name} is not a setting{hint}")


def explain(error: HydraException | OmegaConfBaseException) -> str:
    """One line for an error of Hydra's: the field, the value and what is allowed, where that is known."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        allowed = [name for name in error.options if not name.endswith("_schema")]
        return str(refuse(group, option, "one of " + ", ".join(allowed))) + nearest(option, allowed)
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?:\n| requires)", text):
        return f"{match[1]} has several values: to train them all add -m, python -m jumpstart_exp -m {match[1]}"
    if match := re.search(r"Could not override '([^']+)'", text):
        return str(unknown_setting(match[1].removeprefix("+")))
    if (match := re.search(r"In '([^']+)': ConfigKeyError", text)) and (key := re.search(r"full_key: (\S+)", text)):
        if key[1] in ("method", "experiment", "variant"):
            return f"conf/{match[1]}.yaml: its first line has to be '# @package _global_'"
        return f"conf/{match[1]}.yaml: {unknown_setting(key[1])}"
    if match := re.search(r"Error merging override \+*([\w./]+)=(.*)", text):
        name, value = match[1], match[2]
        if name == "hydra.launcher.workers":
            return str(refuse(name, value, "an integer of at least 1 or null"))
        if name in known_settings():
            hint, rules = known_settings()[name]
            return str(refuse(name, value, allowed_values(hint, rules), rules.get("about", "")))
        members = [known.rpartition(".")[2] for known in known_settings() if known.rpartition(".")[0] == name]
        if not members:
            return str(unknown_setting(name))
        return str(refuse(name, value, "a group of settings: " + ", ".join(members)))
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    if "Key 'method' is not in struct" in text:
        return "method cannot be left out: method=NAME"
    if "…" in text:
        text += " (an ellipsis is three dots: ...)"
    return " ".join(re.sub(r"See https?://\S+ for details", "", text + cause).split())


def _walk(cls: type, prefix: str) -> Iterator[tuple[str, tuple[Any, Mapping[str, Any]]]]:
    hints = field_types(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if hint is DatasetSpec:
            for spec in DATASETS.values():
                yield from _walk(spec, f"{prefix}{field.name}.")
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _walk(hint, f"{prefix}{field.name}.")
        elif field.name != "method":
            yield prefix + field.name, (hint, field.metadata)


def _schema(cls: type) -> type:
    """A mutable twin of a frozen dataclass: OmegaConf makes nodes of frozen ones read-only."""
    if cls not in _SCHEMAS:
        base = cls.__mro__[1]
        bases = (_schema(base),) if dataclasses.is_dataclass(base) else ()
        _SCHEMAS[cls] = dataclasses.make_dataclass(cls.__name__, _schema_fields(cls), bases=bases)
    return _SCHEMAS[cls]


def _schema_fields(cls: type, leave_out: str = "") -> list[tuple[str, Any, Any]]:
    hints = field_types(cls)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            twin = _schema(hint)
            fields.append((field.name, twin, dataclasses.field(default_factory=twin)))
        elif field.name != leave_out:
            fields.append((field.name, hint, dataclasses.field(default=field.default)))
    return fields
