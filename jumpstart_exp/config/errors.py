"""Errors of a configuration in one line: the field, the value and what is allowed."""

import re
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from jumpstart_exp.config.cluster_settings import PREFIX as LAUNCHER_PREFIX
from jumpstart_exp.config.cluster_settings import launcher_settings
from jumpstart_exp.config.config_files import chosen_datasets, config_file, has_byte_order_mark
from jumpstart_exp.config.schema import known_settings
from jumpstart_exp.data import DATASETS
from jumpstart_exp.settings import (
    SettingError,
    allowed_values,
    field_types,
    legible,
    look_alike,
    nearest,
    setting_error,
    unseen_letter,
)

_GROUPS = ("dataset", "method", "network", "optimizer", "variant/of", "variant", "experiment")

_DEEPEST = 10
"""Lists in lists of an override's value."""

_LONGEST_NAME = 200
"""Characters of an option's name: it is a file's."""

_OF_FOLDERS = ("results_dir=", "data_dir=", "hydra.")
"""What may have any letters: folders have them."""

_LONGEST_LINE = 2000
"""Characters of an error's line."""


def unknown_setting(name: str, datasets: Collection[str] = ()) -> SettingError:
    """The error for a setting that does not exist, with the nearest one that does.

    Args:
        name: what was typed.
        datasets: those of which settings are offered; without any only what all datasets have.
    """
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
    known = [*_offered(datasets), "method", "network", "optimizer", "variant", "hydra.launcher.workers"]
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
            number is beyond all bounds, lists stand in lists in lists, or something is typed that nobody sees.
    """
    if not typed.startswith(_OF_FOLDERS) and (unseen := unseen_letter(typed)):
        raise SettingError(f"{legible(typed)} is not allowed: {unseen}")
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
            raise setting_error(name, single, allowed_values(bool, {}), known_settings()[name][1].get("about", ""))
        for depth, part in _parts(single):
            if depth > _DEEPEST:
                raise setting_error(name, single, "less deep")
            if isinstance(part, int) and abs(part) > sys.float_info.max:
                hint, rules = known_settings().get(name, (float, {}))
                raise setting_error(name, single, allowed_values(hint, rules), rules.get("about", ""))


def unusable(overrides: Sequence[str], error: Exception) -> SettingError:
    """The error for overrides, and the configurations that they choose, on which Hydra stumbled."""
    typed = " ".join(map(legible, overrides)) or "the configuration"
    reason = legible(" ".join(f"{type(error).__name__}: {error}".split()), _LONGEST_LINE)
    refused = SettingError(f"{legible(typed, _LONGEST_LINE)} cannot be used: {reason}")
    refused.__cause__ = error
    return refused


def explain(error: HydraException | OmegaConfBaseException, arguments: Sequence[str] = ()) -> str:
    """One line for an error of Hydra's: the field, the value and what is allowed, where that is known.

    Args:
        error: as Hydra or OmegaConf raised it.
        arguments: the command line's: they say which files and which dataset are meant.
    """
    return legible(" ".join(_explained(error, arguments).split()), _LONGEST_LINE)


def _explained(error: HydraException | OmegaConfBaseException, arguments: Sequence[str]) -> str:
    text = str(error)
    if (match := re.match(r"(?s)In '([^']+)': (.*)", text)) and match[1] != "config":
        return _about_file(config_file(match[1], arguments), match[2], error, arguments)
    return _about_text(text, error, arguments)


def _about_file(path: Path, text: str, error: HydraException | OmegaConfBaseException, arguments: Sequence[str]) -> str:
    """What is wrong in a configuration's file."""
    key, value = re.search(r"full_key: (\S+)", text), re.search(r"[Vv]alue '(.*?)'", text)
    if "ConfigKeyError" in text and key:
        if key[1] in ("method", "experiment", "variant"):
            if has_byte_order_mark(path):
                return f"{path} begins with a byte order mark, which hides its first line: save it without (UTF-8)"
            return f"{path}: its first line has to be '# @package _global_'"
        return f"{path}: {unknown_setting(key[1], chosen_datasets(arguments))}"
    if key and value and key[1] in known_settings():
        hint, rules = known_settings()[key[1]]
        return f"{path}: {setting_error(key[1], value[1], allowed_values(hint, rules), rules.get('about', ''))}"
    if isinstance(error, MissingConfigException):
        return f"{path}: {_about_text(text, error, arguments)}"
    return f"{path}: {text}"


def _about_text(text: str, error: HydraException | OmegaConfBaseException, arguments: Sequence[str]) -> str:
    if isinstance(error, OverrideParseException):
        return _about_grammar(error)
    if isinstance(error, InterpolationResolutionError) and error.full_key:
        return f"{error.full_key} cannot be resolved: {str(error.msg or text).splitlines()[0]}"
    if isinstance(error, MissingConfigException) and error.options:
        path = error.missing_cfg_file or ""
        group = next((name for name in _GROUPS if path.startswith(f"{name}/")), path.rpartition("/")[0])
        option = path.removeprefix(f"{group}/")
        allowed = [name for name in error.options if not name.endswith("_schema")]
        return str(setting_error(group, option, "one of " + ", ".join(allowed))) + nearest(option, allowed)
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'(?:\n| requires)", text):
        return f"{match[1]} has several values: to train them all add -m, python -m jumpstart_exp -m {match[1]}"
    if match := re.search(r"Could not override '([^']+)'", text):
        return str(unknown_setting(match[1].removeprefix("+"), chosen_datasets(arguments)))
    if match := re.search(r"(?s)Error merging override \+*([\w./]+)=(.*)", text):
        name, value = match[1], match[2]
        if name == f"{LAUNCHER_PREFIX}setup":
            return str(setting_error(name, value, "a list of shell commands"))
        if name == "hydra.launcher.workers":
            return str(setting_error(name, value, "an integer of at least 1 or null"))
        if name in known_settings():
            hint, rules = known_settings()[name]
            return str(setting_error(name, value, allowed_values(hint, rules), rules.get("about", "")))
        offered = _offered(chosen_datasets(arguments))
        members = [known.rpartition(".")[2] for known in offered if known.rpartition(".")[0] == name]
        if not members:
            return str(unknown_setting(name, chosen_datasets(arguments)))
        return str(setting_error(name, value, "a group of settings: " + ", ".join(members)))
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    if "Key 'method' is not in struct" in text:
        return "method cannot be left out: method=NAME"
    return re.sub(r"See https?://\S+ for details", "", text + cause)


def _about_grammar(error: OverrideParseException) -> str:
    """Why an override cannot be read, without the drawing of the place."""
    lines = [line for line in str(error.message).splitlines() if line.strip(" ^")]
    reason = next((line for line in lines if not line.startswith("Error parsing override")), "")
    reason = re.sub(r"LexerNoViableAltException: .*", "it has characters that have to be quoted: NAME='VALUE'", reason)
    return f"{legible(error.override)} cannot be read: {legible(reason)}{look_alike(error.override)}"


def _offered(datasets: Collection[str]) -> list[str]:
    """Names of settings that all of these datasets have; without any, that all datasets have."""
    specs = [field_types(DATASETS[name]) for name in datasets or DATASETS]
    names = [(name, name.removeprefix("dataset.")) for name in known_settings()]
    return [name for name, own in names if name == own or all(own in spec for spec in specs)]


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
