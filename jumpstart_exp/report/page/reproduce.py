"""The command that trains a stored cell again, checked by composing it."""

import dataclasses
import shlex
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra.errors import HydraException
from numpy.typing import NDArray
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.cell import NUMERICS, SPECS, Cell, cell_fields
from jumpstart_exp.config.composition import compose_one
from jumpstart_exp.config.schema import conf_dir
from jumpstart_exp.data import DATASETS
from jumpstart_exp.settings import SettingError

PROGRAM = "python -m jumpstart_exp"
"""What every command begins with."""

MOST_COMPOSED = 150
"""Distinct sets of settings for which a command is looked for: composing takes a tenth of a second."""

_VARIANTS = ("paper", "code")
_GROUPS = ("dataset", "variant", "optimizer", "method")


@dataclass(frozen=True)
class Command:
    """A command in two pieces, between which ` depth=D width=W seed=S` goes; or the reason why there is none."""

    before: str = ""
    after: str = ""
    reason: str = ""

    def of(self, depth: int, width: int, seed: int) -> str:
        """The whole command for one cell."""
        return f"{self.before} depth={depth} width={width} seed={seed}{self.after}"


def commands(table: pd.DataFrame) -> tuple[list[Command], NDArray[np.int64]]:
    """The commands that a table's rows need, and which of them is each row's.

    Rows that differ in depth, width and seed only share one. Each is composed by Hydra once, and stands only if it
    gives a cell with the key of the first row that it is for.
    """
    sets = _sets(table)
    found: list[Command] = []
    for number in range(int(sets.max()) + 1 if len(sets) else 0):
        place = int(np.flatnonzero(sets == number)[0])
        row = {str(name): table[name].iloc[place] for name in table.columns}
        if int(row.get("numerics", NUMERICS)) != NUMERICS:
            reason = "another version of the numerics trained this cell, so no command gives its numbers again"
            found.append(Command(reason=reason))
        elif number >= MOST_COMPOSED:
            found.append(Command(reason="the store has too many different settings to check a command for each"))
        else:
            found.append(_command(row))
    return found, sets


def _composed(overrides: Sequence[str]) -> Cell | None:
    """The cell of these overrides; None if they give none."""
    return _composed_once(tuple(overrides), tuple(SPECS.values()), tuple(DATASETS.values()))


@cache
def _composed_once(overrides: tuple[str, ...], *_: tuple[type, ...]) -> Cell | None:
    """Once a process: the configuration's files do not change meanwhile."""
    try:
        return compose_one(overrides)
    except (SettingError, HydraException, OmegaConfBaseException):
        return None


def _sets(table: pd.DataFrame) -> NDArray[np.int64]:
    """A number for every distinct set of what a command says besides depth, width and seed; the first row has 0."""
    described = [name for name, field in cell_fields().items() if field.role != "axis"]
    codes = np.zeros(len(table), np.int64)
    for name in ("method", "numerics", *described):
        if name in table.columns:
            own, _ = pd.factorize(table[name].map(str))
            codes, _ = pd.factorize(codes * (int(own.max(initial=0)) + 1) + own)
    return np.asarray(codes, np.int64)


def _axes() -> list[str]:
    """The settings that a command says one by one: depth, width and seed."""
    return [name for name, field in cell_fields().items() if field.role == "axis"]


def _command(row: Mapping[str, Any]) -> Command:
    wanted = {name: _plain(row.get(name)) for name in ("key", "method", *cell_fields())}
    axes = [f"{name}={wanted[name]}" for name in _axes()]
    best: tuple[str, ...] | None = None
    for base in _bases(wanted):
        cell = _composed(base)
        if cell is None:
            continue
        overrides = (*base, *_changes(cell, wanted))
        if best is None or len(overrides) < len(best):
            best = overrides
        if len(overrides) <= len(base) + 1:  # another variant takes a word more itself
            break
    if best is None:
        return Command(reason="no settings of this version give this cell")
    checked = _composed((*best, *axes))
    if checked is None or checked.key != wanted["key"]:
        return Command(reason="no settings of this version give a cell with this key")
    groups = [text for text in best if text.partition("=")[0] in _GROUPS]
    others = [text for text in best if text not in groups]
    return Command(" ".join([PROGRAM, *map(shlex.quote, groups)]), "".join(f" {shlex.quote(text)}" for text in others))


def _bases(wanted: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The group choices from which a command may start, those with the fewest first."""
    dataset = () if wanted["dataset"] == "moons" else (f"dataset={wanted['dataset']}",)
    methods = [wanted["method"]] if wanted["method"] in _methods() else _like(wanted)
    for variant in _VARIANTS:
        for optimizer in ("default", "adam_keras"):
            if optimizer == "adam_keras" and wanted.get("optimizer.eps_rule") != "keras":
                continue
            chosen = [*dataset]
            chosen += [f"variant={variant}"] if variant != _VARIANTS[0] else []
            chosen += [f"optimizer={optimizer}"] if optimizer != "default" else []
            for method in methods:
                yield (*chosen, f"method={method}")


def _methods() -> set[str]:
    return {path.stem for path in (Path(conf_dir()) / "method").glob("*.yaml")}


def _like(wanted: Mapping[str, Any]) -> list[str]:
    """The methods that are most like the row's, whose own label is no method's name."""
    kinds = {"U": "sep_u", "P": "sep_p", "UP": "sep_up", "L": "sep_l"}
    found = ["relu_bn"] if wanted.get("network.norm") == "batch" else []
    found += ["zero_init"] if wanted.get("dropout.rate") else []
    return [*found, kinds.get(wanted.get("penalty.kind") or "none", "relu")]


def _changes(cell: Cell, wanted: Mapping[str, Any]) -> list[str]:
    """The overrides that make the cell's settings those of the row."""
    changes = []
    for name, has in _fields(cell).items():
        value, neutral = wanted.get(name), cell_fields()[name].neutral
        if value is None and neutral is not None:
            if has not in (None, neutral):
                changes.append(f"{name}={_spelled(neutral, has)}")
        elif value is None:
            if _takes_null(name) and has is not None and cell.description().get(name) is not None:
                changes.append(f"{name}=null")
        elif isinstance(has, tuple) or isinstance(value, list):
            if list(has or ()) != list(value):
                changes.append(f"{name}=[{','.join(map(repr, value))}]")
        elif has is None or has != value:
            changes.append(f"{name}={_spelled(value, has)}")
    return changes


def _takes_null(name: str) -> bool:
    return types.NoneType in typing.get_args(cell_fields()[name].type)


def _fields(cell: Cell) -> dict[str, Any]:
    """Every setting of the cell but depth, width and seed, whether it has an effect or not."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for inner in dataclasses.fields(value):
                if (field.name, inner.name) != ("dataset", "name"):
                    found[f"{field.name}.{inner.name}"] = getattr(value, inner.name)
        elif field.name not in (*_axes(), "method"):
            found[field.name] = value
    return found


def _spelled(value: Any, has: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and (isinstance(has, int) or abs(value) < 1e15):
        return str(int(value))
    return str(value)


def _plain(value: Any) -> Any:
    """A value of a pandas row as Python has it; every null is None."""
    if isinstance(value, list | tuple | np.ndarray):
        return [float(item) for item in value]
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return None
    return value.item() if isinstance(value, np.generic) else value
