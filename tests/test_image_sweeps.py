"""Sweeps on images: the studies as published, their small versions, what is refused, and what the smallest shows."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.composition import compose_cells
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.schema import conf_dir, register_schema
from jumpstart_exp.store import Store

REAL = Path(os.environ.get("JUMPSTART_DATA", Path(__file__).parent.parent / "data")).resolve()
VARIANTS = ("paper", "code")


@dataclass(frozen=True)
class Study:
    """A published study as METHOD's table of studies has it."""

    dataset: str
    depths: Sequence[int]
    widths: Sequence[int]
    rates: Sequence[float]
    epochs: int
    batch: int
    head: str
    init: str
    # by method: kind, aggregate in the paper's variant, λ
    methods: dict[str, tuple[str, str, float]]
    sizes: tuple[int, int] = (60_000, 10_000)
    is_keras: bool = False  # whether the authors' code was Keras's: theirs was for MNIST, and for ICLR's CIFAR-10
    rates_of_code: tuple[float, ...] | None = None  # learning rates of the code where they are not the paper's


NO_PENALTY = ("none", "", 0.0)
FOUR_SETTINGS = {
    "relu": NO_PENALTY,
    "sep_up_l2_1e-3": ("UP", "l2", 0.001),
    "sep_up_l2_1e-1": ("UP", "l2", 0.1),
    "sep_up_mean_1e-1": ("UP", "mean", 0.1),
    "sep_up_mean_1": ("UP", "mean", 1.0),
}
ONE_NORM = {"relu": NO_PENALTY, "sep_up": ("UP", "sum", 1e-8)}
WITH_BATCH_NORM = {**ONE_NORM, "relu_bn": NO_PENALTY}
PUBLISHED = {
    # CPAIOR, table 1
    "mnist_table1": Study(
        *("mnist", [2, *range(4, 69, 4)], [2, 4, 8], [0.001], 50, 1024, "flatten", "glorot_uniform", ONE_NORM),
        is_keras=True,
    ),
    # ICLR, figure 2; all 237 runs that the authors' notebooks name are adam-0-001-bs-1024
    "iclr_mnist": Study(
        *("mnist", [2, 4, *range(12, 69, 8)], [2, 4, 8], [0.0001], 50, 1024, "flatten", "glorot_uniform"),
        WITH_BATCH_NORM,
        is_keras=True,
        rates_of_code=(0.001,),
    ),
    # ICLR, figure 3; all 19 runs likewise
    "iclr_cifar10": Study(
        "cifar10",
        [2, 10, 25, 30, 40],
        [10],
        [0.0001],
        50,
        1024,
        "flatten",
        "glorot_uniform",
        WITH_BATCH_NORM,
        (50_000, 10_000),
        is_keras=True,
        rates_of_code=(0.001,),
    ),
    # CPAIOR, figure 3
    "cpaior_cifar10": Study(
        "cifar10",
        [10, 20, 30],
        [2, 8, 16, 32, 64, 96, 192],
        [0.001, 0.0001],
        400,
        128,
        "max_avg_pool",
        "kaiming_uniform",
        FOUR_SETTINGS,
        (50_000, 10_000),
    ),
    # CPAIOR, figure 4
    "cpaior_cifar100": Study(
        "cifar100",
        [10, 20],
        [8, 16, 32, 64],
        [0.001, 0.0001],
        400,
        128,
        "max_avg_pool",
        "kaiming_uniform",
        FOUR_SETTINGS,
        (50_000, 10_000),
    ),
}
NETWORKS = {"mnist_table1": 54, "iclr_mnist": 30, "iclr_cifar10": 5, "cpaior_cifar10": 21, "cpaior_cifar100": 8}
"""Pairs of depth and width; METHOD and the papers count those of MNIST (54) and of CIFAR-10 (21)."""


@contextmanager
def hydra_here() -> Iterator[Any]:
    register_schema()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        yield GlobalHydra.instance().hydra


@cache
def cells_of(*typed: str) -> list[Cell]:
    """The cells of a sweep as it is typed."""
    with hydra_here() as hydra:
        config = hydra.compose_config("config", list(typed), RunMode.MULTIRUN, with_log_configuration=False)
        arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
        assert isinstance(arguments, list)
        jobs = expand_jobs(hydra.config_loader, config.hydra.sweeper.params, arguments)
        return compose_cells(hydra.config_loader, config, jobs, sampled=False)


# The published studies


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_study_is_the_published_one(name: str, variant: str) -> None:
    study = PUBLISHED[name]
    cells = cells_of(f"+experiment={name}", f"variant={variant}")
    is_keras = variant == "code" and study.is_keras
    rates = (study.rates_of_code if variant == "code" else None) or study.rates
    grid = set(itertools.product(study.methods, study.depths, study.widths, rates, [0]))
    found = [(cell.method, cell.depth, cell.width, cell.optimizer.lr, cell.seed) for cell in cells]
    assert set(found) == grid and len(found) == len({cell.key for cell in cells}) == len(grid)
    assert len({(cell.depth, cell.width) for cell in cells}) == NETWORKS[name]
    for cell in cells:
        kind, aggregate, weight = study.methods[cell.method]
        optimizer, network, penalty = cell.optimizer, cell.network, cell.penalty
        assert (cell.dataset.name, cell.dataset.sizes()) == (study.dataset, study.sizes)
        assert not cell.dataset.is_augmented
        if study.dataset == "mnist" or is_keras:
            mean, std = cell.dataset.mean_and_std()
            assert {*mean} == {0.0} and {*std} == {1.0}, "images in [0, 1]"
        else:
            assert cell.dataset.scaling == "normalised"
        assert (optimizer.epochs, cell.batch_size) == (study.epochs, study.batch)
        assert (optimizer.beta1, optimizer.beta2) == (0.9, 0.999)
        assert (optimizer.eps, optimizer.eps_rule) == ((1e-7, "keras") if is_keras else (1e-8, "torch"))
        assert optimizer.shuffle != is_keras
        assert (network.layout, network.kernel) == ("cnn", 3)
        assert (network.head, network.init) == (study.head, study.init)
        norm = (network.norm, network.norm_eps, network.norm_momentum)
        assert norm == ("batch" if cell.method == "relu_bn" else "none", 1e-3, 0.01)
        assert cell.dropout.rate == 0 and cell.task_loss and cell.precision == "float32"
        assert (penalty.kind, cell.penalty_weight) == (kind, weight)
        if kind != "none":
            assert penalty.aggregate == ("sum_sq" if is_keras else aggregate)
            assert (penalty.scope, penalty.ties) == (("position", "shared") if is_keras else ("channel", "single"))
            assert penalty.layers == ("all" if variant == "code" and not study.is_keras else "hidden")
            assert (penalty.balance, penalty.margin_above, penalty.margin_below) == (0.5, 1.0, -1.0)
            assert penalty.layer_weights is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_variants_differ_in_what_only_one_of_them_has(name: str) -> None:
    """Two variants of one study are different experiments wherever a penalty acts; and the variant is no field."""
    paper, code = (cells_of(f"+experiment={name}", f"variant={variant}") for variant in VARIANTS)
    same = {cell.key for cell in paper} & {cell.key for cell in code}
    if PUBLISHED[name].is_keras:
        assert same == set()
    else:
        assert same == {cell.key for cell in paper if cell.penalty_weight == 0}


# Their small versions


@dataclass(frozen=True)
class Small:
    """How a small study differs: the rest of its grid is what its study has."""

    of: str
    changes: dict[str, Any]
    seeds: int
    depths: Sequence[int] | None = None
    widths: Sequence[int] | None = None
    methods: Sequence[str] | None = None
    lambda_of_penalties: float | None = None


MNIST_SMALL = {"dataset.n_train": 4096, "dataset.n_val": 2000, "optimizer.epochs": 6, "optimizer.batch_size": 256}
CIFAR_SMALL = {"dataset.n_train": 2048, "dataset.n_val": 1000, "optimizer.epochs": 8}
SMALL = {
    "mnist_table1_small": Small("mnist_table1", MNIST_SMALL, 2, [4, 12, 20, 36], lambda_of_penalties=1e-4),
    "mnist_small": Small("mnist_table1", MNIST_SMALL, 3, [36], [4], lambda_of_penalties=1e-4),
    "iclr_mnist_small": Small(
        "iclr_mnist", {**MNIST_SMALL, "optimizer.lr": 0.001}, 2, [4, 20, 36], [2, 4], lambda_of_penalties=1e-4
    ),
    "iclr_cifar10_small": Small(
        "iclr_cifar10",
        {**CIFAR_SMALL, "optimizer.batch_size": 128, "optimizer.lr": 0.001},
        2,
        [2, 10, 25, 40],
        lambda_of_penalties=1e-4,
    ),
    "cpaior_cifar10_small": Small(
        "cpaior_cifar10",
        {**CIFAR_SMALL, "optimizer.epochs": 6, "optimizer.batch_size": 64, "optimizer.lr": 0.001},
        2,
        widths=[2, 8, 16],
        methods=["relu", "sep_up_l2_1e-1"],
    ),
    "cpaior_cifar100_small": Small(
        "cpaior_cifar100",
        {**CIFAR_SMALL, "optimizer.batch_size": 64, "optimizer.lr": 0.001},
        1,
        widths=[8, 16, 32],
        methods=["relu", "sep_up_l2_1e-1"],
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SMALL)
def test_a_small_study_differs_from_its_study_in_what_it_says(name: str, variant: str) -> None:
    small, study = SMALL[name], PUBLISHED[SMALL[name].of]
    cells = cells_of(f"+experiment={name}", f"variant={variant}")
    grid = itertools.product(
        small.methods or study.methods, small.depths or study.depths, small.widths or study.widths, range(small.seeds)
    )
    found = [(cell.method, cell.depth, cell.width, cell.seed) for cell in cells]
    assert sorted(found) == sorted(grid) and len({cell.key for cell in cells}) == len(cells)
    whole = {
        (cell.method, cell.depth, cell.width): cell.description()
        for cell in cells_of(f"+experiment={small.of}", f"variant={variant}")
    }
    for cell in cells:
        expected = {**whole[cell.method, cell.depth, cell.width], **small.changes, "seed": cell.seed}
        if small.lambda_of_penalties is not None and cell.penalty_weight:
            expected["penalty.weight"] = small.lambda_of_penalties
        if study.is_keras and variant == "code":
            expected["optimizer.epochs"] = 4
            if cell.penalty_weight:  # Σv² over all positions is about a thousand times Σv over channels
                expected["penalty.weight"] = 1e-7
        assert cell.description() == expected


def test_every_study_on_images_is_in_a_table() -> None:
    """A study that joins says here what it is."""
    known = {path.stem for path in Path(conf_dir(), "experiment").glob("*.yaml")}
    on_images = {name for name in known if re.search("mnist|cifar", name)}
    assert on_images == {*PUBLISHED, *SMALL}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dataset", ["mnist", "cifar10", "cifar100"])
def test_a_methods_own_setting_wins_over_the_variants(dataset: str, variant: str) -> None:
    """λ and the 2-norm, and on CIFAR the initial weights, come from the variant where the method does not say them."""
    chosen = "zero_init,sep_up_mean_1,sep_up"
    zero, mean, plain = cells_of(f"dataset={dataset}", f"variant={variant}", f"method={chosen}")
    assert zero.network.init == "zero" and zero.penalty.balance == 0.51 and zero.dropout.rate == 0.9
    assert (mean.penalty.aggregate, mean.penalty.weight) == ("mean", 1.0)
    assert plain.network.init == ("glorot_uniform" if dataset == "mnist" else "kaiming_uniform")
    for cell in (zero, plain):
        aggregate = ("sum_sq" if variant == "code" else "sum") if dataset == "mnist" else "l2"
        assert (cell.penalty.aggregate, cell.penalty.weight) == (aggregate, 1e-8 if dataset == "mnist" else 0.1)


# The command line


@pytest.mark.parametrize(
    ("study", "variant", "counts"),
    [
        ("mnist_table1", "paper", "108 (54 relu, 54 sep_up)"),
        (
            "cpaior_cifar10",
            "code",
            "210 (42 relu, 42 sep_up_l2_1e-3, 42 sep_up_l2_1e-1, 42 sep_up_mean_1e-1, 42 sep_up_mean_1)",
        ),
    ],
)
def test_a_dry_run_needs_no_files(study, variant, counts, answer, tmp_path):
    done = answer("-m", f"+experiment={study}", f"variant={variant}", "dry_run=true", "download=false")
    assert done.returncode == 0, done.stderr
    assert counts in re.sub(r"[\s│]+", " ", done.stdout)
    assert "nothing was trained or written" in done.stdout
    assert list(tmp_path.iterdir()) == []


FIRST_FILES = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "cifar100": "cifar-100-python/train",
}


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["one cell", "a sweep"])
@pytest.mark.parametrize("dataset", FIRST_FILES)
def test_missing_files_are_named_with_the_command_that_helps(dataset, sweep, answer, tmp_path):
    done = answer(*sweep, f"dataset={dataset}", "depth=2", "data_dir=my pictures", "download=false")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) <= 2 and "Traceback" not in done.stderr, done.stderr
    assert lines[0].startswith(f"error: {dataset}: my pictures/{FIRST_FILES[dataset]} is missing")
    assert f"python -m jumpstart_exp.datasets {dataset} 'data_dir=my pictures'" in done.stderr
    assert "trained" not in done.stdout
    assert not (tmp_path / "my pictures").exists()
    assert list((tmp_path / "results").rglob("*.parquet")) == []


BAD_INPUTS = {
    "dataset=mnist precision=float8": ["precision='float8'", "one of float32, float64, tf32, bf16"],
    "dataset=mnist network.kernel=2": ["network.kernel=2", "odd"],
    "dataset=mnist network.kernel=33": ["network.kernel=33", "from 1 to 31"],
    "network.layout=cnn": ["network.layout='cnn'", "mlp or conv2x1", "moons"],
    "network=cnn": ["network.layout='cnn'", "mlp or conv2x1", "moons"],
    "dataset=mnist network=conv2x1": ["network.layout='conv2x1'", "mlp"],
    "dataset=mnist device=cpu precision=tf32": ["precision='tf32'", "CPU", "CUDA"],
    "precision=bf16": ["precision='bf16'", "float32 or float64 for mlp"],
    "dataset=mnist penalty.layers=foo": ["penalty.layers='foo'", "one of hidden, all"],
    "dataset=mnist dataset.n_train=60001": ["dataset.n_train=60001", "at most 60000"],
    "dataset=cifar100 dataset.n_val=99": ["dataset.n_val=99", "at least 100"],
    "dataset=mnist dataset.augment=flip": ["dataset.augment='flip'", "one of none, flip_crop"],
    "dataset=mnist engine=native device=cpu": ["engine='native'", "native does not train on images"],
    "dataset=mnist checkpoint_minutes=0": ["checkpoint_minutes=0", "above 0 or null"],
    "dataset=cifar100 variant=codes": ["variant='codes'", "code, paper"],
}


@pytest.mark.parametrize("line", BAD_INPUTS)
def test_bad_input_is_one_line_that_names_field_value_and_what_is_allowed(line, answer, tmp_path):
    done = answer(*line.split())
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ") and done.stdout == ""
    for text in BAD_INPUTS[line]:
        assert text in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is written before the input is right"


# What a newcomer sees


@pytest.mark.soak
def test_the_small_study_of_mnist_shows_the_effect(command, tmp_path):
    """Depth 36, width 4: plain ReLU stays at the share of the largest class, 0.112; Sep-UP trains."""
    if not (REAL / "MNIST" / "raw").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no mnist in {REAL}")
        pytest.skip(f"no mnist in {REAL}")
    study = ("-m", "+experiment=mnist_small", "seed=0")  # one of its three seeds: a minute and a half
    done = command(*study, f"data_dir={REAL}", "download=false", timeout=1800)
    assert done.returncode == 0, done.stderr
    rows = Store(tmp_path / "results").cells()
    best = {method: sorted(part["train_acc_best"]) for method, part in rows.groupby("method")}
    assert set(best) == {"relu", "sep_up"} and all(len(values) == 1 for values in best.values())
    assert best["relu"][0] < 0.2, best
    # three seeds reached 0.84, 0.92 and 0.93
    assert best["sep_up"][0] > 0.7, best
    assert list((tmp_path / "results").glob("checkpoints/*")) == []
