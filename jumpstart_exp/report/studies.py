"""Which rows of the store belong to a published study, and how much of it is there."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from jumpstart_exp.cell import NUMERICS, Cell
from jumpstart_exp.config import conf_dir, known_settings, plain_config, register_schema, split_config
from jumpstart_exp.sweep.launcher import expand_jobs

VARIANTS = ("paper", "code")
"""The papers' words, and what the authors' code did."""

_DESCRIPTION = re.compile(r"(dataset|network|penalty|dropout|optimizer)\.")
_OF_A_CELL = re.compile(r"(penalty|dropout)\.|network\.(norm|init)|depth$|width$|optimizer\.lr$")
"""Settings in which the cells of a study differ: methods, depths, widths and learning rates."""

_SEEDS = "0,1,...,9"

_Description = frozenset[tuple[str, Hashable]]


@dataclass(frozen=True)
class Study:
    """A published study: `name` is its file in conf/experiment, `shown_in` the papers' figures and tables of it.

    `small_of` is the study of which this is a part in small, with less data and fewer steps: its results are not
    comparable with the published ones.
    """

    name: str
    dataset: str
    title: str
    shown_in: str
    small_of: str | None = None

    def command(self, variant: str, seeds: str = _SEEDS) -> str:
        """The command that trains the study."""
        words = ["python -m jumpstart_exp -m", f"+experiment={self.name}"]
        return " ".join([*words, *([] if variant == "paper" else [f"variant={variant}"]), f"seed={seeds}"])


STUDIES: tuple[Study, ...] = (
    Study("cpaior_moons", "moons", "MOONS, 24 depths × 9 widths", "CPAIOR, figure 2"),
    Study("iclr_moons", "moons", "MOONS, 13 depths × 9 widths, six methods", "ICLR, figures 1, 4 and 5"),
    Study("sepcons_moons", "moons", "MOONS, 16 depths × 9 widths, seven methods", "SepCons, figure 1"),
    Study("table2_50x4", "moons", "MOONS at 50×4, six methods", "SepCons, table 2; ICLR, table 1"),
    Study("dynamics_50x4", "moons", "MOONS at 50×4 over 17,000 epochs", "ICLR, figure 12"),
    Study("constraints_only_50x4", "moons", "MOONS at 50×4, constraints alone", "SepCons, figure 8; ICLR, figure 9"),
    Study("mnist_table1", "mnist", "MNIST, 18 depths × 3 widths", "CPAIOR, table 1"),
    Study("iclr_mnist", "mnist", "MNIST, 10 depths × 3 widths, three methods", "ICLR, figure 2"),
    Study("iclr_cifar10", "cifar10", "CIFAR-10, 5 depths of width 10, three methods", "ICLR, figure 3"),
    Study("cpaior_cifar10", "cifar10", "CIFAR-10, 3 depths × 7 widths × 2 learning rates", "CPAIOR, figure 3"),
    Study("cpaior_cifar100", "cifar100", "CIFAR-100, 2 depths × 4 widths × 2 learning rates", "CPAIOR, figure 4"),
    Study("mnist_table1_small", "mnist", "MNIST in small, 4 depths × 3 widths", "", "mnist_table1"),
    Study("iclr_mnist_small", "mnist", "MNIST in small, 3 depths × 2 widths, three methods", "", "iclr_mnist"),
    Study("iclr_cifar10_small", "cifar10", "CIFAR-10 in small, 4 depths of width 10", "", "iclr_cifar10"),
    Study("cpaior_cifar10_small", "cifar10", "CIFAR-10 in small, 3 depths × 3 widths", "", "cpaior_cifar10"),
    Study("cpaior_cifar100_small", "cifar100", "CIFAR-100 in small, 2 depths × 3 widths", "", "cpaior_cifar100"),
)
"""Every published study, in the papers' order, and after them those in small."""

_BY_NAME = {study.name: study for study in STUDIES}


@dataclass(frozen=True)
class StudyState:
    """How much of a study's variant the store has, at any seeds.

    `places` are the study's cells without their seeds, `present` those with one seed at least, `complete_seeds` the
    seeds that are there at every place. `seeds` are all that occur.
    """

    study: Study
    variant: str
    places: int
    present: int
    seeds: tuple[int, ...]
    complete_seeds: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every place has a seed."""
        return self.present == self.places

    def command(self) -> str:
        """The command that trains what is missing."""
        return self.study.command(self.variant)


class StudyTable:
    """A table of cells, its rows found by the study that they belong to."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table
        self._datasets = {str(name) for name in table["dataset"].unique()} if len(table) else set()
        self._rows: dict[_Description, list[int]] = defaultdict(list)
        for row, description in enumerate(_row_descriptions(table)):
            self._rows[description].append(row)
        self._contexts = {_context(description) for description in self._rows}
        self._seeds = [int(seed) for seed in table["seed"]] if len(table) else []

    def rows(self, name: str, variant: str) -> pd.DataFrame:
        """The study's rows, every seed's; `labels` and `method` are then the study's own names of the methods."""
        found: dict[int, list[str]] = defaultdict(list)
        for description, labels in self._study(name, variant).items():
            for row in self._rows.get(description, []):
                found[row] += labels
        places = sorted(found)
        rows = self.table.iloc[places].copy()
        if len(rows):
            rows["labels"] = pd.Series([sorted(found[row]) for row in places], index=rows.index, dtype=object)
            rows["method"] = [sorted(found[row])[0] for row in places]
        return rows

    def state(self, name: str, variant: str) -> StudyState | None:
        """How much of the study there is; None for nothing."""
        study = self._study(name, variant)
        seeds = [{self._seeds[row] for row in self._rows.get(description, [])} for description in study]
        everywhere = set.intersection(*seeds) if seeds else set()
        present = sum(1 for own in seeds if own)
        if not present:
            return None
        known = _study_of(name)
        return StudyState(
            known, variant, len(seeds), present, tuple(sorted(set().union(*seeds))), tuple(sorted(everywhere))
        )

    def _study(self, name: str, variant: str) -> Mapping[_Description, list[str]]:
        """The study's descriptions; nothing, and at once, where the table has no row that could be the study's."""
        known = _study_of(name)
        if known.dataset not in self._datasets or _study_context(name, variant) not in self._contexts:
            return {}
        return _study_descriptions(name, variant)


def study_cells(name: str, variant: str) -> tuple[Cell, ...]:
    """Every cell of the study, conf/experiment/NAME.yaml, at its own seeds.

    Raises:
        ValueError: there is no such study or variant.
    """
    _study_of(name)
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant} is not allowed: one of {', '.join(VARIANTS)}")
    return _composed(name, variant)


def study_rows(table: pd.DataFrame, name: str, variant: str) -> pd.DataFrame:
    """The table's rows that the study has, whatever their seed; they agree with one of its cells in all else."""
    return StudyTable(table).rows(name, variant)


def studies_in(table: pd.DataFrame) -> tuple[StudyState, ...]:
    """Every study and variant of which the table has a row, in the order of STUDIES; `paper` before `code`."""
    index = StudyTable(table)
    states = [index.state(study.name, variant) for study in STUDIES for variant in VARIANTS]
    return tuple(state for state in states if state is not None)


def only_small(states: Iterable[StudyState], name: str, variant: str) -> Study | None:
    """The study in small, where the store has that of a study's variant and nothing of the study itself."""
    own = [state.study for state in states if state.variant == variant]
    if any(study.name == name for study in own):
        return None
    return next((study for study in own if study.small_of == name), None)


def study(name: str) -> Study:
    """The study of this name.

    Raises:
        ValueError: there is none.
    """
    return _study_of(name)


def _study_of(name: str) -> Study:
    if name not in _BY_NAME:
        raise ValueError(f"study={name} is not allowed: one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


@cache
def _loaded(name: str, variant: str) -> tuple[ConfigLoaderImpl, DictConfig, tuple[str, ...]]:
    """Hydra's loader, the study's own composed configuration, and the overrides that choose it."""
    register_schema()
    chosen = (f"+experiment={name}", f"variant={variant}")
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    return loader, loader.load_configuration("config", list(chosen), RunMode.MULTIRUN), chosen


@cache
def _study_context(name: str, variant: str) -> _Description:
    """The settings on which all cells of the study agree: cheap to have, it takes one composition."""
    _, master, _ = _loaded(name, variant)
    cell = Cell.from_config(split_config(plain_config(master))[0], "")
    return _context(_description((cell.description() | {"seed": None}).items()))


def _context(description: _Description) -> _Description:
    return frozenset((name, value) for name, value in description if not _OF_A_CELL.match(name))


@cache
def _composed(name: str, variant: str) -> tuple[Cell, ...]:
    """The study's cells: composed by Hydra once a method; depths, widths and other plain values are merged in."""
    loader, master, chosen = _loaded(name, variant)
    jobs = expand_jobs(loader, master.hydra.sweeper.params, chosen)
    parser = OverridesParser.create(config_loader=loader)
    parsed = {text: parser.parse_override(text) for text in {text for job in jobs for text in job}}
    plain = {text for text, override in parsed.items() if str(override.key_or_group) in known_settings()}
    bases: dict[tuple[str, ...], tuple[dict[str, Any], str]] = {}
    cells = []
    for job in jobs:
        groups = tuple(text for text in job if text not in plain)
        if groups not in bases:
            config: DictConfig = loader.load_sweep_config(master, list(groups))
            bases[groups] = (plain_config(config), str(config.hydra.runtime.choices["method"]))
        base, method = bases[groups]
        values = {str(parsed[text].key_or_group): parsed[text].value() for text in job if text in plain}
        cells.append(Cell.from_config(split_config(_merged(base, values))[0], method))
    return tuple(cells)


def _merged(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain configuration with values set under their dotted names."""
    merged = dict(config)
    for name, value in values.items():
        *groups, last = name.split(".")
        node = merged
        for group in groups:
            node[group] = node = dict(node[group])
        node[last] = value
    return merged


@cache
def _study_descriptions(name: str, variant: str) -> Mapping[_Description, list[str]]:
    """Every cell's description without its seed, with the labels of the methods that have it."""
    found: dict[_Description, list[str]] = defaultdict(list)
    for cell in study_cells(name, variant):
        described = cell.description() | {"seed": None}
        label, description = cell.method, _description(described.items())
        if label not in found[description]:
            found[description].append(label)
    return dict(found)


def _row_descriptions(table: pd.DataFrame) -> list[_Description]:
    """Every row's description without its seed; of a row of other numerics one that no study has."""
    if table.empty:
        return []
    own = {*Cell().description()} - {"seed"}
    names = [name for name in table.columns if name in own or _DESCRIPTION.match(name)]
    columns = [[_plain(value) for value in table[name].tolist()] for name in names]
    found = [_description(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if "numerics" not in table.columns:
        return found
    right = (table["numerics"] == NUMERICS).tolist()
    return [row if same else frozenset({("numerics", None)}) for row, same in zip(found, right, strict=True)]


def _description(items: Iterable[tuple[str, Any]]) -> _Description:
    """What a key is made of: settings without effect or with their neutral value are left out."""
    neutral = _neutral()
    return frozenset(
        (name, value) for name, value in items if value is not None and not (name in neutral and value == neutral[name])
    )


@cache
def _neutral() -> Mapping[str, Any]:
    return {name: rules["neutral"] for name, (_, rules) in known_settings().items() if rules.get("neutral") is not None}


def _plain(value: Any) -> Hashable:
    """A value of the store as a cell's description has it; every null is None."""
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(float(item) for item in value)
    if value is None or pd.isna(value):
        return None
    plain: Hashable = value.item() if isinstance(value, np.generic) else value
    return plain
