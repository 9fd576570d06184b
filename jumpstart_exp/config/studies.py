"""Published studies: their names, and their cells as the configurations give them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.composition import compose_cells, load_configuration, own_loader
from jumpstart_exp.config.entries import read_entries
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.reading_once import reading_once

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


def experiments() -> list[str]:
    """Names of all files in conf/experiment, published studies or not."""
    return sorted(own_loader().get_group_options("experiment"))


def experiment_cells(name: str, variant: str) -> tuple[Cell, ...]:
    """Every cell of conf/experiment/NAME.yaml, a published study or not, at its own seeds, without its `where`.

    Raises:
        ValueError: there is no such file or variant.
    """
    if name not in experiments():
        raise ValueError(f"study={name} is not allowed: one of {', '.join(experiments())}")
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
    chosen = (f"+experiment={name}", f"variant={variant}")
    return package_files(), load_configuration(chosen, RunMode.MULTIRUN, package_files()), chosen


def package_files() -> ConfigLoaderImpl:
    """A loader that reads each of the package's files once, whatever is composed of them."""
    return _reading_once(own_loader())


@cache
def _reading_once(loader: ConfigLoaderImpl) -> ConfigLoaderImpl:
    return reading_once(loader)


@cache
def _composed(name: str, variant: str) -> tuple[Cell, ...]:
    loader, master, chosen = load_study(name, variant)
    return tuple(compose_cells(loader, master, expand_jobs(loader, master.hydra.sweeper.params, chosen), sampled=False))
