"""Published studies: their names, and their cells as the configurations give them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.entries import read_entries
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.schema import conf_dir, known_settings, plain_config, register_schema, split_config

VARIANTS = ("paper", "code")
"""The papers' words, and what the authors' code did."""

_SEEDS = "0,1,...,9"


@dataclass(frozen=True)
class Study:
    """A published study, an entry of studies.yaml, which says what the keys mean."""

    name: str
    dataset: str
    title: str
    shown_in: str = ""
    small_of: str | None = None

    def command(self, variant: str, seeds: str = _SEEDS) -> str:
        """The command that trains the study."""
        words = ["python -m jumpstart_exp -m", f"+experiment={self.name}"]
        return " ".join([*words, *([] if variant == "paper" else [f"variant={variant}"]), f"seed={seeds}"])


STUDIES = read_entries(Path(__file__).with_name("studies.yaml"), Study)
"""Every published study, in the papers' order, and after them those in small."""

_BY_NAME = {study.name: study for study in STUDIES}


def study_cells(name: str, variant: str) -> tuple[Cell, ...]:
    """Every cell of the study, conf/experiment/NAME.yaml, at its own seeds.

    Raises:
        ValueError: there is no such study or variant.
    """
    study(name)
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant} is not allowed: one of {', '.join(VARIANTS)}")
    return _composed(name, variant)


def study(name: str) -> Study:
    """The study of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in _BY_NAME:
        raise ValueError(f"study={name} is not allowed: one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def small_study(name: str) -> Study | None:
    """The part in small of the study of this name; None where it has none."""
    return next((each for each in STUDIES if each.small_of == name), None)


@cache
def load_study(name: str, variant: str) -> tuple[ConfigLoaderImpl, DictConfig, tuple[str, ...]]:
    """Hydra's loader, the study's own composed configuration, and the overrides that choose it."""
    register_schema()
    chosen = (f"+experiment={name}", f"variant={variant}")
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    return loader, loader.load_configuration("config", list(chosen), RunMode.MULTIRUN), chosen


@cache
def _composed(name: str, variant: str) -> tuple[Cell, ...]:
    """The study's cells: composed by Hydra once a method; depths, widths and other plain values are merged in."""
    loader, master, chosen = load_study(name, variant)
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
