"""Configuration files, the package's and those of a user's own folders, and in which of the latter a mistake stands."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.schema import conf_dir
from jumpstart_exp.data import DATASETS

_OWN = ("--config-dir", "-cd")
_PACKAGE = re.compile(r"\s*#\s*@package\s+(\S+)")
_NAMED_FIRST = re.compile(r"\+*([\w./]+)(?:=| is not | cannot )")
_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"

_DEEPEST = 10
"""Names in a setting's dotted name."""


def config_file(name: str, arguments: Sequence[str]) -> Path:
    """The file of a configuration ("method/mine"): in a folder that is named on the command line, or in conf/."""
    own = (folder / f"{name}.yaml" for folder in _own_folders(arguments))
    return next((path for path in own if path.is_file()), Path("conf", f"{name}.yaml"))


def has_byte_order_mark(path: Path) -> bool:
    """Whether the file begins with a mark that hides its first line from Hydra."""
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace").startswith(_MARK)


def chosen_datasets(arguments: Sequence[str]) -> set[str]:
    """The datasets that the command line chooses, by itself or by a study, or that of the defaults."""
    chosen = _values("dataset", arguments)
    for study in _values("experiment", arguments):
        path = config_file(f"experiment/{study}", arguments)
        dataset = _settings(path if path.is_file() else Path(conf_dir(), *path.parts[1:]), "experiment").get("dataset")
        chosen += [dataset] if isinstance(dataset, str) and not _values("dataset", arguments) else []
    return {*(chosen or [Cell().dataset.name])} & DATASETS.keys()


def at_its_file(message: str, arguments: Sequence[str], cause: BaseException | None = None) -> str:
    """The message of an error, headed by the file of the user's own folders that sets what it names first.

    Args:
        message: of one line.
        arguments: the command line's; what is typed wins over what a file says.
        cause: what was raised before it.
    """
    files = dict(_in_play(arguments))
    if isinstance(cause, UnicodeDecodeError):
        for path in files:
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError as flaw:
                return f"{path} cannot be read: it is no UTF-8 ({flaw.reason}, at byte {flaw.start})"
    named = _NAMED_FIRST.match(message)
    if named is None or any(_sets(argument, named[1]) for argument in arguments):
        return message
    return next((f"{path}: {message}" for path, names in files.items() if named[1] in names), message)


def _sets(argument: str, name: str) -> bool:
    """Whether an override sets this, by itself or in a dictionary."""
    key, _, value = argument.lstrip("+~").partition("=")
    return key == name or (name.startswith(f"{key}.") and value.startswith("{"))


def _own_folders(arguments: Sequence[str]) -> list[Path]:
    """Folders of configurations that are named on the command line."""
    found = [value for flag, value in itertools.pairwise(arguments) if flag in _OWN]
    found += [value for flag, _, value in (argument.partition("=") for argument in arguments) if flag in _OWN and value]
    for argument in arguments:
        if argument.lstrip("+").startswith("hydra.searchpath="):
            with contextlib.suppress(HydraException):
                value = OverridesParser.create().parse_override(argument).value()
                found += map(str, value if isinstance(value, list) else [])
    return [Path(folder.removeprefix("file://")) for folder in found]


def _values(name: str, arguments: Sequence[str]) -> list[str]:
    typed = [argument.lstrip("+").partition("=") for argument in arguments]
    return [value for key, _, values in typed if key == name for value in values.split(",")]


def _in_play(arguments: Sequence[str]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The files of the user's own folders whose names are typed, or stand in another such file, and what they set."""
    files = {
        path: path.parent.relative_to(folder)
        for folder in _own_folders(arguments)
        for path in sorted(folder.rglob("*.yaml"))
        if not Path(conf_dir(), path.relative_to(folder)).exists()  # the package's own comes first
    }
    texts = list(arguments)
    while texts:
        words = {*re.findall(r"[\w.-]+", texts.pop())}
        for path in [path for path in files if path.stem in words]:
            yield path, _settings(path, files.pop(path).as_posix())
            with contextlib.suppress(OSError):
                texts.append(path.read_text(encoding="utf-8", errors="replace"))


def _settings(path: Path, group: str) -> dict[str, Any]:
    """What a file sets, by the names that an override would have; nothing of a file that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8").lstrip(_MARK)
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(content, dict):
        return {}
    header = _PACKAGE.match(text)
    package = group.replace("/", ".") if header is None else header[1]
    found: dict[str, Any] = {}
    for entry in content.pop("defaults", None) or []:
        for key, value in entry.items() if isinstance(entry, dict) else []:
            found[str(key).rpartition(" ")[2].lstrip("/")] = value
    levels = [("" if package in ("_global_", ".") else f"{package}.", content)]
    while levels:
        prefix, level = levels.pop()
        for key, value in level.items():
            found[f"{prefix}{key}"] = value
            if isinstance(value, dict) and prefix.count(".") < _DEEPEST:  # a file may hold itself
                levels.append(("" if f"{prefix}{key}" == "hydra.sweeper.params" else f"{prefix}{key}.", value))
    return found
