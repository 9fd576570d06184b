"""What a user can set: the typed schema of the configuration, and errors about it in one line."""

import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from jumpstart_exp.cell import DATASETS, Cell, DatasetSpec
from jumpstart_exp.cluster.settings import PREFIX as LAUNCHER_PREFIX
from jumpstart_exp.cluster.settings import launcher_settings
from jumpstart_exp.settings import (
    SettingError,
    allowed_values,
    check_settings,
    field_types,
    legible,
    nearest,
    refuse,
    setting,
)

_GROUPS = ("dataset", "method", "network", "optimizer", "variant/of", "variant", "experiment")
_DEEPEST = 10
"""Lists in lists of an override's value."""

_LONGEST_NAME = 200
"""Characters of an option's name: it is a file's."""

_LONGEST_LINE = 800
"""Characters of an error's line."""

_SCHEMAS: dict[type, type] = {}


@dataclass(frozen=True)
class RunSettings:
    """How cells are run: nothing here can change a result."""

    engine: str = setting("auto", about="auto takes the fastest that can train the cells")
    device: str = setting("auto", choices=("auto", "cpu", "cuda"), about="auto: a GPU for what native cannot train")
    curve_every: int | None = setting(None, low=1, about="epochs between the rows of a curve; null: about 100 rows")
    checkpoint_minutes: float | None = setting(
        10.0, above=0, about="minutes between two checkpoints of a cell in training; null keeps none"
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
            object.__setattr__(self, name, str(named_folder(name, getattr(self, name))))


def named_folder(name: str, typed: str) -> Path:
    """The folder that a setting names, ~ expanded.

    Raises:
        SettingError: no file system takes such a name, or there is no such user.
    """
    refused = refuse(name, typed, "the name of a folder")
    if not typed.strip() or "\0" in typed:
        raise refused
    try:
        os.fsencode(typed)
        return Path(typed).expanduser()
    except UnicodeEncodeError:
        raise refused from None
    except RuntimeError:
        raise refuse(name, typed, "the name of a folder, and ~ one of a user who has a home") from None


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
    if name.startswith(LAUNCHER_PREFIX):
        own = launcher_settings()
        words = f"fleet has workers; fleet_slurm has {', '.join(own)}"
        word = name.removeprefix(LAUNCHER_PREFIX)
        hint = "" if word in ("workers", *own) else nearest(word, ["workers", *own])
        return SettingError(f"{name} is not a setting of this launcher: {words}{hint}")
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


def check_override(typed: str) -> None:
    """Refuse what Hydra would stumble over without words of its own; what else is wrong it says itself, later.

    Raises:
        SettingError: a group is given something else than a name, a truth a number (any but 0 would do for true), a
            number is beyond all bounds, or lists stand in lists in lists.
    """
    try:
        override = _parser().parse_override(typed)
    except HydraException:
        return
    except (ValueError, RecursionError):  # Python's words for an integer of thousands of digits, and for [[[[…
        raise SettingError(f"{legible(typed)} is not allowed: it is too long to be read") from None
    name, value = override.get_key_element().lstrip("+~"), override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    for single in values:
        option = single.text if isinstance(single, QuotedString) else single
        if not (isinstance(option, Glob) or (option is None and typed.startswith("~"))):
            _check_option(override, option)
        if known_settings().get(name, (None,))[0] is bool and type(single) is int and single not in (0, 1):
            raise refuse(name, single, allowed_values(bool, {}), known_settings()[name][1].get("about", ""))
        for depth, part in _parts(single):
            if depth > _DEEPEST:
                raise refuse(name, single, "less deep")
            if isinstance(part, int) and abs(part) > sys.float_info.max:
                hint, rules = known_settings().get(name, (float, {}))
                raise refuse(name, single, allowed_values(hint, rules), rules.get("about", ""))


def unusable(overrides: Sequence[str], error: Exception) -> SettingError:
    """The error for overrides, and the configurations that they choose, on which Hydra stumbled."""
    typed = " ".join(map(legible, overrides)) or "the configuration"
    reason = legible(" ".join(f"{type(error).__name__}: {error}".split()), _LONGEST_LINE)
    return SettingError(f"{legible(typed, _LONGEST_LINE)} cannot be used: {reason}")


def explain(error: HydraException | OmegaConfBaseException) -> str:
    """One line for an error of Hydra's: the field, the value and what is allowed, where that is known."""
    return legible(" ".join(_explained(error).split()), _LONGEST_LINE)


def _explained(error: HydraException | OmegaConfBaseException) -> str:
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _about_grammar(error)
    if isinstance(error, InterpolationResolutionError) and error.full_key:
        return f"{error.full_key} cannot be resolved: {str(error.msg or text).splitlines()[0]}"
    if isinstance(error, MissingConfigException) and error.options:
        path = error.missing_cfg_file or ""
        group = next((name for name in _GROUPS if path.startswith(f"{name}/")), path.rpartition("/")[0])
        option = path.removeprefix(f"{group}/")
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
    if match := re.search(r"(?s)Error merging override \+*([\w./]+)=(.*)", text):
        name, value = match[1], match[2]
        if name == f"{LAUNCHER_PREFIX}setup":
            return str(refuse(name, value, "a list of shell commands"))
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
    return re.sub(r"See https?://\S+ for details", "", text + cause)


def _about_grammar(error: OverrideParseException) -> str:
    """Why an override cannot be read, without the drawing of the place."""
    lines = [line for line in str(error.message).splitlines() if line.strip(" ^")]
    reason = next((line for line in lines if not line.startswith("Error parsing override")), "")
    reason = re.sub(r"LexerNoViableAltException: .*", "it has characters that have to be quoted: NAME='VALUE'", reason)
    dots = " (an ellipsis is three dots: ...)" if "…" in error.override else ""
    return f"{legible(error.override)} cannot be read: {legible(reason)}{dots}"


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _check_option(override: Override, option: Any) -> None:
    """Where the override is of a group, it names an option; as a file's name it may have any letters that print."""
    name = str(override.key_or_group)
    is_group = name in _GROUPS or "/" in name
    if is_group and not (isinstance(option, str) and len(option) <= _LONGEST_NAME and option.isprintable()):
        typed = legible(str(override.input_line).partition("=")[2])
        raise SettingError(f"{name}={typed} is not allowed: it must be the name of one of the group's options")


def _parts(value: Any) -> Iterator[tuple[int, Any]]:
    """Everything in a value of lists and dictionaries, and how deep it stands."""
    stack = [(0, value)]
    while stack:
        depth, part = stack.pop()
        yield depth, part
        if isinstance(part, list | dict):
            stack += [(depth + 1, inner) for inner in (part.values() if isinstance(part, dict) else part)]


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
