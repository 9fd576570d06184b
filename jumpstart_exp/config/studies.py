"""Published studies: their names, and their cells as the configurations give them."""

from dataclasses import dataclass
from functools import cache

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.composition import compose_cells, load_configuration, own_loader
from jumpstart_exp.config.expansion import expand_jobs

VARIANTS = ("paper", "code")
"""The papers' words, and what the authors' code did."""

_SEEDS = "0,1,...,9"


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


@cache
def load_study(name: str, variant: str) -> tuple[ConfigLoaderImpl, DictConfig, tuple[str, ...]]:
    """Hydra's loader, the study's own composed configuration, and the overrides that choose it."""
    chosen = (f"+experiment={name}", f"variant={variant}")
    return own_loader(), load_configuration(chosen, RunMode.MULTIRUN), chosen


@cache
def _composed(name: str, variant: str) -> tuple[Cell, ...]:
    loader, master, chosen = load_study(name, variant)
    return tuple(compose_cells(loader, master, expand_jobs(loader, master.hydra.sweeper.params, chosen), sampled=False))
