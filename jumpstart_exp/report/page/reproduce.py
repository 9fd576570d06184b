"""The command that trains a stored cell again, checked by composing it."""

import dataclasses
import itertools
import shlex
from collections.abc import Hashable, Iterator, Mapping
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
from jumpstart_exp.config.studies import VARIANTS, package_files
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.page.packing import distinct
from jumpstart_exp.settings import SettingError
from jumpstart_exp.store.fields import AXES, Settings, is_optional, plain

PROGRAM = "python -m jumpstart_exp"
"""What every command begins with."""

VERIFY = f"{PROGRAM}.inspect verify=true key="
"""What stands before a key in the command that trains a stored cell again where the store is, and compares."""

MOST_COMPOSED = 150
"""Distinct sets of settings for which a command is looked for: composing takes a tenth of a second."""

_DEFAULTS = {"dataset": "moons", "variant": VARIANTS[0], "optimizer": "default", "method": None}
"""What a command need not choose, by group."""


@dataclass(frozen=True)
class Command:
    """A command in two pieces, between which ` depth=D width=W seed=S` goes; or the reason why there is none.

    `verifies` is whether `VERIFY` trains the cell again: not where another version's numerics trained it.
    """

    before: str = ""
    after: str = ""
    reason: str = ""
    verifies: bool = True


def commands(table: pd.DataFrame) -> tuple[list[Command], NDArray[np.int64]]:
    """The commands that a table's rows need, and which of them is each row's.

    Rows that differ in depth, width and seed only share one. Each is composed by Hydra once, and stands only if it
    gives a cell with the key of the first row that it is for.
    """
    said = ["method", "numerics", *(name for name in cell_fields() if name not in AXES)]
    _, sets = distinct(zip(*(table[name].map(str) for name in said if name in table.columns), strict=True))
    _, first = np.unique(sets, return_index=True)
    found: list[Command] = []
    for number, row in enumerate(table.iloc[first].to_dict("records")):
        if int(row.get("numerics", NUMERICS)) != NUMERICS:
            reason = "another version of the numerics trained this cell, so no command gives its numbers again"
            found.append(Command(reason=reason, verifies=False))
        elif number >= MOST_COMPOSED:
            found.append(Command(reason="the store has too many different settings to check a command for each"))
        else:
            found.append(_command({name: plain(row.get(name)) for name in ("key", "method", *cell_fields())}))
    return found, sets


def _composed(overrides: tuple[str, ...]) -> Cell | None:
    """The cell of these overrides; None if they give none."""
    return _composed_once(overrides, tuple(SPECS.values()), tuple(DATASETS.values()))


@cache
def _composed_once(overrides: tuple[str, ...], *_: tuple[type, ...]) -> Cell | None:
    """Once a process: the configuration's files do not change meanwhile."""
    try:
        return compose_one(overrides, package_files())
    except (SettingError, HydraException, OmegaConfBaseException):
        return None


def _command(wanted: Settings) -> Command:
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
    checked = _composed((*best, *(f"{name}={_spelled(wanted[name], 0)}" for name in AXES)))
    if checked is None or checked.key != wanted["key"]:
        return Command(reason="no settings of this version give a cell with this key")
    groups = [text for text in best if text.partition("=")[0] in _DEFAULTS]
    others = [text for text in best if text not in groups]
    return Command(" ".join([PROGRAM, *map(shlex.quote, groups)]), "".join(f" {shlex.quote(text)}" for text in others))


def _bases(wanted: Settings) -> Iterator[tuple[str, ...]]:
    """The group choices from which a command may start, those with the fewest first."""
    known = {path.stem for path in (Path(conf_dir()) / "method").glob("*.yaml")}
    methods = [wanted["method"]] if wanted["method"] in known else _like(wanted)
    optimizers = ["default", *(["adam_keras"] if wanted.get("optimizer.eps_rule") == "keras" else [])]
    for chosen in itertools.product([wanted["dataset"]], VARIANTS, optimizers, methods):
        choices = zip(_DEFAULTS.items(), chosen, strict=True)
        yield tuple(f"{group}={choice}" for (group, default), choice in choices if choice != default)


def _like(wanted: Settings) -> list[str]:
    """The methods that are most like the row's, whose own label is no method's name."""
    kinds: Mapping[Hashable, str] = {"U": "sep_u", "P": "sep_p", "UP": "sep_up", "L": "sep_l"}
    found = ["relu_bn"] if wanted.get("network.norm") == "batch" else []
    found += ["zero_init"] if wanted.get("dropout.rate") else []
    return [*found, kinds.get(wanted.get("penalty.kind"), "relu")]


def _changes(cell: Cell, wanted: Settings) -> Iterator[str]:
    """The overrides that make the cell's settings those of the row."""
    for name, has in _settings(cell):
        value, neutral = wanted.get(name), cell_fields()[name].neutral
        if value is None and neutral is not None:
            if has not in (None, neutral):
                yield f"{name}={_spelled(neutral, has)}"
        elif value is None:
            if is_optional(name) and has is not None and cell.description().get(name) is not None:
                yield f"{name}=null"
        elif has != value:
            yield f"{name}={_spelled(value, has)}"


def _settings(cell: Cell) -> Iterator[tuple[str, Any]]:
    """Every setting of the cell but its dataset, depth, width and seed, whether it has an effect or not."""
    for part, own in dataclasses.asdict(cell).items():
        for name, value in own.items() if isinstance(own, dict) else [("", own)]:
            setting = f"{part}.{name}" if name else part
            if setting in cell_fields() and setting not in AXES:
                yield setting, value


def _spelled(value: Any, has: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(repr, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and (isinstance(has, int) or abs(value) < 1e15):
        return str(int(value))
    return str(value)
