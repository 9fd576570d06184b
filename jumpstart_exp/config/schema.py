"""The typed schema of the configuration, made from the dataclasses that describe cells and runs."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig, OmegaConf

from jumpstart_exp.cell import SPECS, Cell, cell_fields
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.data import DATASETS
from jumpstart_exp.settings import (
    field_types,
    setting_error,
)

RUN_NAMES = frozenset(field.name for field in dataclasses.fields(RunSettings))
"""Names of the run settings, beside which the others describe the cell."""

_SCHEMAS: dict[type, type] = {}


def conf_dir() -> str:
    """Folder of the configurations: inside the package when installed from a wheel, else beside it."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def register_schema() -> None:
    """Give Hydra the types of all settings, made from the dataclasses that describe cells and runs."""
    for group, nodes in _schema_nodes(tuple(SPECS.items()), tuple(DATASETS.items())).items():
        repo = ConfigStore.instance().repo
        (repo.setdefault(group, {}) if group else repo).update(nodes)


@cache
def _schema_nodes(*_of: tuple[tuple[str, type], ...]) -> Mapping[str, Mapping[str, ConfigNode]]:
    """Every schema as Hydra stores it, by group and file: made once, it takes 30 ms."""
    fields = _schema_fields(Cell, leave_out="method") + _schema_fields(RunSettings)
    settings = dataclasses.make_dataclass("Settings", fields)
    return {
        "": {"schema.yaml": _LateNode("schema.yaml", None, partial(OmegaConf.structured, settings))},
        "dataset": {
            f"{name}_schema.yaml": _LateNode(f"{name}_schema.yaml", "dataset", partial(_structured, spec))
            for name, spec in DATASETS.items()
        },
    }


def _structured(cls: type) -> Any:
    return OmegaConf.structured(_schema(cls))


class _LateNode(ConfigNode):
    """A schema in Hydra's store that is made when it is first composed: a command needs one of the datasets'."""

    def __init__(self, name: str, group: str | None, make: Callable[[], Any]) -> None:
        self.name, self.group, self.package, self.provider = name, group, None, None
        self._make, self._node = make, None

    def __getstate__(self) -> dict[str, Any]:
        """As it is copied, and pickled for the jobs of Hydra's other launchers: with the schema made."""
        return {**self.__dict__, "_make": None, "_node": self.node}

    @property
    def node(self) -> Any:
        if self._node is None:
            self._node = self._make()
        return self._node

    @node.setter
    def node(self, node: Any) -> None:
        self._node = node


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Hydra's composed configuration as plain nested dicts, without Hydra's own node."""
    return {str(name): _plain(config, str(name)) for name in config if name != "hydra"}


def _plain(config: DictConfig, name: str) -> Any:
    """A value with all interpolations resolved, each converted to its setting's type: an environment's are texts."""
    value = config[name]
    if OmegaConf.is_dict(value):
        return {str(inner): _plain(value, str(inner)) for inner in value}
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_list(value) else value


def split_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], RunSettings]:
    """The part that describes cells, and the run settings.

    Raises:
        SettingError: a run setting has a value that is not allowed.
    """
    run = RunSettings(**{name: value for name, value in config.items() if name in RUN_NAMES})
    return {name: value for name, value in config.items() if name not in RUN_NAMES}, run


def check_variant(choices: Mapping[str, str | None], options: list[str]) -> None:
    """Refuse a variant that the dataset does not have; `options` are those of the group `variant/of`.

    Raises:
        SettingError: no such variant of this dataset.
    """
    if choices.get("variant") != "paper" and choices.get("variant/of") not in options:
        raise setting_error("variant", choices.get("variant"), f"paper for dataset={choices.get('dataset')}")


def known_settings() -> Mapping[str, tuple[Any, Mapping[str, Any]]]:
    """Type and rules of every setting under its dotted override name."""
    return _known_settings(tuple(SPECS.values()), tuple(DATASETS.values()))


@cache
def _known_settings(*of_cells: tuple[type, ...]) -> Mapping[str, tuple[Any, Mapping[str, Any]]]:
    names = {"dataset": "dataset.name"}
    known = {names.get(name, name): (field.type, field.rules) for name, field in cell_fields().items()}
    hints = field_types(RunSettings)
    return known | {field.name: (hints[field.name], field.metadata) for field in dataclasses.fields(RunSettings)}


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
            twin = _schema(SPECS.get(field.name, hint))
            fields.append((field.name, twin, dataclasses.field(default_factory=twin)))
        elif field.metadata.get("mapping"):
            fields.append((field.name, Any, dataclasses.field(default=field.default)))
        elif field.name != leave_out:
            fields.append((field.name, hint, dataclasses.field(default=field.default)))
    return fields
