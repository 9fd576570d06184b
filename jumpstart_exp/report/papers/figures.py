"""The papers' figures and tables by name: what each shows, of which study, and under which names of the methods."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heatmaps", "rows", "scatters", "summary", "performance", "transforms", "dynamics"]
"""How a figure is drawn: panels over depth × width, panels with a row a method, scatters, CPAIOR's table 1, SepCons's
table 2, the data across a network's layers, a training over time."""

Methods = tuple[tuple[str, str], ...]
"""Labels in a paper's order, each with the paper's name for it."""

WIDTHS = {"CPAIOR": 4.8, "ICLR": 5.5, "SepCons": 5.5}
"""Width in inches of each paper's text."""


@dataclass(frozen=True)
class PaperFigure:
    """One figure or table of a paper.

    `studies` are the studies that it shows, a file in conf/experiment each; `methods` the methods of the first one,
    `others` those of the second. `metrics` are its panels' accuracies, `columns` how many panels stand beside each
    other, `caption` says in short what the paper shows.
    """

    name: str
    paper: str
    place: str
    kind: Kind
    studies: tuple[str, ...]
    methods: Methods
    caption: str
    metrics: tuple[str, ...] = ("train_acc", "val_acc")
    columns: int = 3
    others: Methods = ()

    @property
    def is_inside(self) -> bool:
        """Whether it shows the inside of trained networks, for which they are trained once more."""
        return self.kind in ("transforms", "dynamics")

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return self.kind in ("summary", "performance")


_CPAIOR: Mapping[str, str] = {
    "relu": "Baseline",
    "sep_up": "Jumpstart",
    "sep_up_l2_1e-3": "Jumpstart, 2-norm, λ = 0.001",
    "sep_up_l2_1e-1": "Jumpstart, 2-norm, λ = 0.1",
    "sep_up_mean_1e-1": "Jumpstart, mean, λ = 0.1",
    "sep_up_mean_1": "Jumpstart, mean, λ = 1",
}
_ICLR: Mapping[str, str] = {
    "relu": "ReLU",
    "relu_bn": "ReLU + BN",
    "sep_u": "Sep-U",
    "sep_p": "Sep-P",
    "sep_up": "Sep-UP",
    "sep_l": "Sep-L",
    "zero_init": "Sep-UP Zero-init",
}
_SEPCONS: Mapping[str, str] = {**_ICLR, "sep_up": "Sep-P+U"}


def _of(titles: Mapping[str, str], *labels: str) -> Methods:
    return tuple((label, titles[label]) for label in labels)


def _transforms(name: str, label: str, caption: str) -> PaperFigure:
    """The data across the layers of one method's network of 50×4."""
    paper, titles = ("ICLR", _ICLR) if name.startswith("iclr") else ("SepCons", _SEPCONS)
    place = f"figure {name.rpartition('-')[2]}"
    return PaperFigure(name, paper, place, "transforms", ("table2_50x4",), _of(titles, label), caption)


def _without_task(name: str) -> PaperFigure:
    paper, titles = ("ICLR", _ICLR) if name.startswith("iclr") else ("SepCons", _SEPCONS)
    return PaperFigure(
        name,
        paper,
        f"figure {name.rpartition('-')[2]}",
        "transforms",
        ("table2_50x4", "constraints_only_50x4"),
        _of(titles, "relu", "relu_bn"),
        "The data across the layers of a 50×4 network that is trained by the penalty alone, without the cross-entropy, "
        "against ReLU and ReLU + BN: the constraints alone keep the data's shape.",
        others=_of(titles, "sep_l", "sep_up"),
    )


def _performance(name: str, titles: Mapping[str, str], *methods: str) -> PaperFigure:
    return PaperFigure(
        name,
        "ICLR" if name.startswith("iclr") else "SepCons",
        f"table {name.rpartition('-')[2]}",
        "performance",
        ("table2_50x4",),
        _of(titles, *methods),
        "Highest accuracy and loss of each method's network of depth 50 and width 4 on MOONS.",
    )


_RELU = "The data across the layers of a 50×4 ReLU network: layer by layer it is mapped to zero."
_RELU_BN = "The data across a 50×4 ReLU + BN network: it ends in few points, in which the classes are mixed."
_SEP_U = "The data across a 50×4 Sep-U network: two points are left at the last hidden layer, classified nearly right."
_SEP_P = "The data across a 50×4 Sep-P network: it does not collapse, but many units are dead or linear."
_SEP_UP = "The data across a 50×4 network with both constraints: it neither collapses nor mixes the classes."
_SEP_L = "The data across a 50×4 Sep-L network: the fourth layer's solution is passed on, though many units are dead."

_FIGURES = (
    PaperFigure(
        "cpaior-2",
        "CPAIOR",
        "figure 2",
        "heatmaps",
        ("cpaior_moons",),
        _of(_CPAIOR, "relu", "sep_up"),
        "Accuracy on MOONS over depth and width without and with jumpstart. The paper does not say which accuracy; its "
        "lowest colour is that of training.",
        metrics=("train_acc",),
        columns=2,
    ),
    PaperFigure(
        "cpaior-3",
        "CPAIOR",
        "figure 3",
        "scatters",
        ("cpaior_cifar10",),
        _of(_CPAIOR, "relu", "sep_up_l2_1e-3", "sep_up_l2_1e-1", "sep_up_mean_1e-1", "sep_up_mean_1"),
        "Accuracy on CIFAR-10 against the number of parameters, training above validation.",
    ),
    PaperFigure(
        "cpaior-4",
        "CPAIOR",
        "figure 4",
        "scatters",
        ("cpaior_cifar100",),
        _of(_CPAIOR, "relu", "sep_up_l2_1e-3", "sep_up_l2_1e-1", "sep_up_mean_1e-1", "sep_up_mean_1"),
        "Accuracy on CIFAR-100 against the number of parameters, training above validation.",
    ),
    PaperFigure(
        "cpaior-table-1",
        "CPAIOR",
        "table 1",
        "summary",
        ("mnist_table1",),
        _of(_CPAIOR, "relu", "sep_up"),
        "MNIST: best accuracy, networks that train, and best for how many depth-width pairs.",
    ),
    PaperFigure(
        "iclr-1",
        "ICLR",
        "figure 1",
        "heatmaps",
        ("iclr_moons",),
        _of(_ICLR, "relu", "relu_bn", "sep_up"),
        "Accuracy on MOONS over depth and width: ReLU breaks down at 20 layers, ReLU + BN needs more width the deeper "
        "it is, Sep-UP works at width 3 to 60 layers.",
    ),
    PaperFigure(
        "iclr-2",
        "ICLR",
        "figure 2",
        "heatmaps",
        ("iclr_mnist",),
        _of(_ICLR, "relu", "relu_bn", "sep_up"),
        "Accuracy on MNIST over depth and width: ReLU breaks down at 20 layers, ReLU + BN loses with depth, "
        "Sep-UP does not.",
    ),
    PaperFigure(
        "iclr-3",
        "ICLR",
        "figure 3",
        "rows",
        ("iclr_cifar10",),
        _of(_ICLR, "relu", "relu_bn", "sep_up"),
        "Accuracy on CIFAR-10 at width 10: Sep-UP loses less with depth than ReLU + BN.",
        columns=2,
    ),
    PaperFigure(
        "iclr-4",
        "ICLR",
        "figure 4",
        "heatmaps",
        ("iclr_moons",),
        _of(_ICLR, "zero_init"),
        "Accuracy on MOONS of networks that start at zero: below Glorot's start, above ReLU + BN.",
        columns=2,
    ),
    PaperFigure(
        "iclr-5",
        "ICLR",
        "figure 5",
        "heatmaps",
        ("iclr_moons",),
        _of(_ICLR, "sep_u", "sep_p"),
        "Accuracy on MOONS of each constraint alone: Sep-U trains the thinnest and deepest networks, less accurately; "
        "Sep-P up to 40 layers at every width.",
        columns=2,
    ),
    _transforms("iclr-6", "relu", _RELU),
    _transforms("iclr-7", "relu_bn", _RELU_BN),
    _transforms("iclr-8", "sep_up", _SEP_UP),
    _without_task("iclr-9"),
    _transforms("iclr-10", "sep_p", _SEP_P),
    _transforms("iclr-11", "sep_u", _SEP_U),
    PaperFigure(
        "iclr-12",
        "ICLR",
        "figure 12",
        "dynamics",
        ("dynamics_50x4",),
        _of(_ICLR, "sep_up"),
        "Cross-entropy, penalty, accuracy and decision surface of a 50×4 network on MOONS over 17,000 epochs.",
    ),
    _performance("iclr-table-1", _ICLR, "relu", "relu_bn", "sep_p", "sep_u", "sep_up"),
    PaperFigure(
        "sepcons-1",
        "SepCons",
        "figure 1",
        "heatmaps",
        ("sepcons_moons",),
        _of(_SEPCONS, "relu", "relu_bn", "sep_up", "sep_u", "sep_p", "sep_l"),
        "Accuracy on MOONS over depth and width of six methods: ReLU fails beyond 30 layers, ReLU + BN beyond 70, "
        "Sep-P+U works to 120, Sep-P to 50. The paper does not say which accuracy; drawn is that of training.",
        metrics=("train_acc",),
    ),
    _transforms("sepcons-2", "relu", _RELU),
    _transforms("sepcons-3", "relu_bn", _RELU_BN),
    _transforms("sepcons-4", "sep_u", _SEP_U),
    _transforms("sepcons-5", "sep_p", _SEP_P),
    _transforms("sepcons-6", "sep_up", _SEP_UP),
    _transforms("sepcons-7", "sep_l", _SEP_L),
    _without_task("sepcons-8"),
    _performance("sepcons-table-2", _SEPCONS, "relu", "relu_bn", "sep_l", "sep_p", "sep_u", "sep_up"),
)

FIGURES: Mapping[str, PaperFigure] = {figure.name: figure for figure in _FIGURES}
"""Every figure and table by name, in the papers' order."""
