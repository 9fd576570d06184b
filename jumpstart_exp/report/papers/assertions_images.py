"""What the papers state about MNIST, CIFAR-10 and CIFAR-100, and what the penalty costs (CPAIOR, section 4; ICLR)."""

from collections.abc import Callable

from jumpstart_exp.report.papers.assertions import Assertion, Criterion, at_least, at_most, of_figure, positive
from jumpstart_exp.report.papers.measures import (
    Measure,
    StudyGrids,
    best_accuracy,
    best_difference,
    cost_ratio,
    costs_of,
    difference_at,
    networks_that_train,
    pairs_won,
)
from jumpstart_exp.report.papers.measures_cifar import (
    CifarArrays,
    best_accuracies,
    best_gain,
    cifar_arrays,
    deepest_trained,
    gain_at,
    settings_won,
)
from jumpstart_exp.report.papers.mnist_table import JUMPSTART, PAIRS
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.table.grid import FigureGrid

CIFAR_METHODS = (BASELINE, "sep_up_l2_1e-3", "sep_up_l2_1e-1", "sep_up_mean_1e-1", "sep_up_mean_1")
"""CPAIOR's baseline and settings of jumpstart on CIFAR-10 and CIFAR-100."""

_CIFAR_PAIRS = {"cpaior_cifar10": 21, "cpaior_cifar100": 8}
_ICLR_CIFAR10_DEPTHS = 5
_ICLR_MNIST_PAIRS = 30

_TOLERANCE = 0.1
"""A cost is the published one if it is within a tenth of it, an accuracy if it is within a hundredth."""

_HUNDREDTH = 0.01
_COSTS = "{} with the penalty over those without, geometric mean over depth-width pairs, the study in small included"


def _image(
    study: str,
    name: str,
    quoted: tuple[str, ...],
    template: str,
    measured: str,
    required: Callable[..., Criterion],
    digits: int,
    measure: Callable[[StudyGrids, str], Measure | None],
    *,
    paper: str = "CPAIOR",
    place: str = "",
) -> Assertion:
    return Assertion(name, paper, place, study, quoted, template, measured, required, digits, measure)


def _cifar(study: str, of_arrays: Callable[[CifarArrays], Measure]) -> Callable[[StudyGrids, str], Measure | None]:
    """The measure of a CIFAR study of CPAIOR, over the seeds that have all of it."""

    def measure(grids: StudyGrids, variant: str) -> Measure | None:
        arrays = cifar_arrays(grids, study, variant, CIFAR_METHODS, _CIFAR_PAIRS[study])
        return None if arrays is None else of_arrays(arrays)

    return measure


def _cost(study: str, *, of_memory: bool) -> Callable[[StudyGrids, str], Measure | None]:
    return lambda grids, variant: cost_ratio(costs_of(grids, study, variant), of_memory)


def _near(ratio: float) -> Criterion:
    return Criterion(round(ratio * (1 - _TOLERANCE), 3), round(ratio * (1 + _TOLERANCE), 3))


def _about_as_accurate(accuracy: float) -> Criterion:
    return Criterion(least=round(accuracy - _HUNDREDTH, 6))


def _most_pairs(*numbers: float) -> Criterion:
    """More than half of the pairs, of which the last number is the count."""
    return Criterion(least=numbers[-1] // 2 + 1)


def _jumpstart_minus_baseline(metric: str) -> Callable[[FigureGrid], Measure | None]:
    return lambda grid: best_difference(grid, JUMPSTART, BASELINE, metric, PAIRS)


def _won(metric: str) -> Callable[[FigureGrid], Measure | None]:
    return lambda grid: pairs_won(grid, JUMPSTART, BASELINE, metric, PAIRS)


def _training(method: str, pairs: int, depths: tuple[int, ...] | None = None) -> Callable[[FigureGrid], Measure | None]:
    return lambda grid: networks_that_train(grid, method, pairs, depths)


_ICLR_DEEP_MNIST = (20, 28, 36, 44, 52, 60, 68)
_ICLR_DEEP_CIFAR = (25, 30, 40)

IMAGE_ASSERTIONS: tuple[Assertion, ...] = (
    _image(
        "mnist_table1",
        "mnist_baseline_networks",
        (
            *("mnist_baseline_networks", "mnist_networks"),
            *("mnist_baseline_width_2", "mnist_baseline_width_4", "mnist_baseline_width_8"),
        ),
        "Of the {1:g} networks only {0:g} train without jumpstart (the text has them train to depths {2:g}, {3:g} and "
        "{4:g} at widths 2, 4 and 8, which makes fewer).",
        "networks that train, a seed",
        at_most,
        1,
        of_figure("mnist_table1", _training(BASELINE, PAIRS)),
    ),
    _image(
        "mnist_table1",
        "mnist_jumpstart_networks",
        ("sep_up/train_acc_best/networks_that_train",),
        "With jumpstart all {:g} networks train.",
        "networks that train, a seed",
        at_least,
        1,
        of_figure("mnist_table1", _training(JUMPSTART, PAIRS)),
    ),
    _image(
        "mnist_table1",
        "mnist_best_validation",
        ("sep_up/val_acc_best/best_accuracy", "relu/val_acc_best/best_accuracy"),
        "The best validation accuracy with jumpstart, {:g}, is above that of the baseline, {:g}.",
        "best validation accuracy with jumpstart minus that of the baseline, a seed",
        positive,
        4,
        of_figure("mnist_table1", _jumpstart_minus_baseline("val_acc_best")),
    ),
    _image(
        "mnist_table1",
        "mnist_best_training",
        ("sep_up/train_acc_best/best_accuracy", "relu/train_acc_best/best_accuracy"),
        "The best training accuracy with jumpstart, {:g}, is above that of the baseline, {:g}.",
        "best training accuracy with jumpstart minus that of the baseline, a seed",
        positive,
        6,
        of_figure("mnist_table1", _jumpstart_minus_baseline("train_acc_best")),
    ),
    _image(
        "mnist_table1",
        "mnist_jumpstart_accuracy",
        ("sep_up/val_acc_best/best_accuracy",),
        "Jumpstart reaches a validation accuracy of {:g}.",
        "best validation accuracy with jumpstart, a seed",
        _about_as_accurate,
        4,
        of_figure("mnist_table1", lambda grid: best_accuracy(grid, JUMPSTART, "val_acc_best", PAIRS)),
    ),
    _image(
        "mnist_table1",
        "mnist_pairs_training",
        ("sep_up/train_acc_best/best_for_the_pair", "mnist_networks"),
        "Jumpstart has the better training accuracy at {:g} of {:g} depth-width pairs.",
        "pairs at which jumpstart is better in training, a seed",
        _most_pairs,
        1,
        of_figure("mnist_table1", _won("train_acc_best")),
    ),
    _image(
        "mnist_table1",
        "mnist_pairs_validation",
        ("sep_up/val_acc_best/best_for_the_pair", "mnist_networks"),
        "Jumpstart has the better validation accuracy at {:g} of {:g} depth-width pairs.",
        "pairs at which jumpstart is better in validation, a seed",
        _most_pairs,
        1,
        of_figure("mnist_table1", _won("val_acc_best")),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_jumpstart_depth",
        ("cifar10_jumpstart_depth",),
        "With jumpstart networks train to depth {:g}.",
        "greatest depth at which any network trains with jumpstart, a seed",
        at_least,
        1,
        _cifar("cpaior_cifar10", lambda arrays: deepest_trained(arrays, False)),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_baseline_depth",
        ("cifar10_baseline_depth",),
        "Without jumpstart networks train to no more than depth {:g}.",
        "greatest depth at which any network trains without jumpstart, a seed",
        at_most,
        1,
        _cifar("cpaior_cifar10", lambda arrays: deepest_trained(arrays, True)),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_best",
        ("cifar10_jumpstart_best", "cifar10_baseline_best"),
        "The best validation accuracy with jumpstart, {:g}, is above that of the baseline, {:g}.",
        "best validation accuracy with jumpstart minus that of the baseline, a seed",
        positive,
        3,
        _cifar("cpaior_cifar10", best_gain),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_jumpstart_accuracy",
        ("cifar10_jumpstart_best",),
        "Jumpstart reaches a validation accuracy of {:g}.",
        "best validation accuracy with jumpstart, a seed",
        _about_as_accurate,
        3,
        _cifar("cpaior_cifar10", lambda arrays: best_accuracies(arrays, False)),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_pairs",
        ("cifar10_pairs_one_case", "cifar10_pairs_another", "cifar10_pairs"),
        "At a learning rate of 0.001 jumpstart is better in validation at {:g} and {:g} of {:g} depth-width pairs.",
        "pairs at which jumpstart is better at 0.001, mean of its four settings, a seed",
        lambda one, another, _: at_least(min(one, another)),
        1,
        _cifar("cpaior_cifar10", lambda arrays: settings_won(arrays, 1)),
    ),
    _image(
        "cpaior_cifar100",
        "cifar100_combinations",
        ("cifar100_combinations_won", "cifar100_combinations"),
        "Jumpstart is better in validation at {:g} of {:g} combinations of depth, width and learning rate.",
        "combinations at which jumpstart is better, mean of its four settings, a seed",
        at_least,
        1,
        _cifar("cpaior_cifar100", lambda arrays: settings_won(arrays, 2)),
    ),
    _image(
        "cpaior_cifar100",
        "cifar100_best",
        ("cifar100_jumpstart_best", "cifar100_baseline_best"),
        "The best validation accuracy with jumpstart, {:g}, is above that of the baseline, {:g}.",
        "best validation accuracy with jumpstart minus that of the baseline, a seed",
        positive,
        3,
        _cifar("cpaior_cifar100", best_gain),
    ),
    _image(
        "cpaior_cifar100",
        "cifar100_gain_depth_10",
        ("cifar100_gain_depth_10",),
        "With 10 layers jumpstart gains {:g} in accuracy.",
        "mean validation accuracy at depth 10 with jumpstart minus that of the baseline",
        positive,
        3,
        _cifar("cpaior_cifar100", lambda arrays: gain_at(arrays, 10)),
    ),
    _image(
        "cpaior_cifar100",
        "cifar100_gain_depth_20",
        ("cifar100_gain_depth_20",),
        "With 20 layers jumpstart gains {:g} in accuracy.",
        "mean validation accuracy at depth 20 with jumpstart minus that of the baseline",
        positive,
        3,
        _cifar("cpaior_cifar100", lambda arrays: gain_at(arrays, 20)),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_time",
        ("cifar10_time_ratio",),
        "On CIFAR-10 the training takes {:g} times as long with jumpstart.",
        _COSTS.format("seconds"),
        _near,
        2,
        _cost("cpaior_cifar10", of_memory=False),
    ),
    _image(
        "cpaior_cifar100",
        "cifar100_time",
        ("cifar100_time_ratio",),
        "On CIFAR-100 the training takes {:g} times as long with jumpstart.",
        _COSTS.format("seconds"),
        _near,
        2,
        _cost("cpaior_cifar100", of_memory=False),
    ),
    _image(
        "cpaior_cifar10",
        "cifar10_memory",
        ("memory_ratio",),
        "The training takes about {:g} times the memory with jumpstart.",
        _COSTS.format("memory"),
        _near,
        2,
        _cost("cpaior_cifar10", of_memory=True),
    ),
    _image(
        "iclr_mnist",
        "iclr_mnist_relu",
        ("iclr_mnist_relu",),
        "On MNIST ReLU breaks down at {:g} layers.",
        "networks of 20 layers or more that train with ReLU, of 21 a seed",
        lambda _: Criterion(most=len(_ICLR_DEEP_MNIST) * 3 / 2),
        1,
        of_figure("iclr_mnist", _training(BASELINE, _ICLR_MNIST_PAIRS, _ICLR_DEEP_MNIST)),
        paper="ICLR",
    ),
    _image(
        "iclr_mnist",
        "iclr_mnist_sep_up",
        ("iclr_mnist_relu",),
        "On MNIST Sep-UP shows constant accuracy regardless of the number of layers, also beyond the {:g} of ReLU.",
        "networks of 20 layers or more that train with Sep-UP, of 21 a seed",
        lambda _: Criterion(least=len(_ICLR_DEEP_MNIST) * 3),
        1,
        of_figure("iclr_mnist", _training(JUMPSTART, _ICLR_MNIST_PAIRS, _ICLR_DEEP_MNIST)),
        paper="ICLR",
    ),
    _image(
        "iclr_cifar10",
        "iclr_cifar10_relu",
        ("relu/train_acc_best/25/10",),
        "On CIFAR-10 ReLU is at chance, {:g}, at 25 layers and more.",
        "networks of 25, 30 and 40 layers that train with ReLU, of 3 a seed",
        lambda _: at_most(0),
        1,
        of_figure("iclr_cifar10", _training(BASELINE, _ICLR_CIFAR10_DEPTHS, _ICLR_DEEP_CIFAR)),
        paper="ICLR",
        place="figure 3",
    ),
    _image(
        "iclr_cifar10",
        "iclr_cifar10_sep_up",
        ("sep_up/train_acc_best/40/10",),
        "On CIFAR-10 Sep-UP trains at every depth, at 40 layers to {:g}.",
        "networks of 5 depths that train with Sep-UP, a seed",
        lambda _: at_least(_ICLR_CIFAR10_DEPTHS),
        1,
        of_figure("iclr_cifar10", _training(JUMPSTART, _ICLR_CIFAR10_DEPTHS)),
        paper="ICLR",
        place="figure 3",
    ),
    _image(
        "iclr_cifar10",
        "iclr_cifar10_relu_bn",
        ("sep_up/val_acc_best/40/10", "relu_bn/val_acc_best/40/10"),
        "On CIFAR-10 Sep-UP loses less with depth than ReLU + BN: {:g} against {:g} in validation at 40 layers.",
        "mean validation accuracy at 40 layers of Sep-UP minus that of ReLU + BN",
        positive,
        3,
        of_figure("iclr_cifar10", lambda grid: difference_at(grid, JUMPSTART, "relu_bn", "val_acc_best", 40)),
        paper="ICLR",
        place="figure 3",
    ),
)
"""CPAIOR's statements, then ICLR's."""
