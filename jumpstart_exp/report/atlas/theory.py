"""What theory says of networks before training: where activations vary too much, and where points and networks die.

Both of multilayer perceptrons of ReLU, equally wide, with biases of 0: `keeps_its_length` and `can_be_born_dead` say of
which methods.
"""

import numpy as np
from numpy.typing import ArrayLike

from jumpstart_exp.report.atlas.families import is_plain_relu
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.store.fields import Settings

_SYMMETRIC = ("glorot_uniform", "he_normal", "orthogonal")
"""Initial weights whose pre-activations of a point have any signs equally often, with biases of 0.

The theorem is of independent weights; of orthogonal ones, uniform among all such, the pre-activations have a uniform
direction, whose signs are as independent.
"""


def depth_over_width(depth: ArrayLike, width: ArrayLike) -> Floats:
    """Σ 1/n over the L hidden layers: L/n.

    With independent weights of variance 2/fan-in and biases of 0 the mean squared length of a point's activations stays
    from layer to layer, and its relative variance grows exponentially in this sum (Hanin and Rolnick, "How to start
    training", NeurIPS 2018): of normal weights each layer multiplies the length by the mean of n values 2·relu(g)² of a
    normal g, of mean 1 and variance 5/n, so that it is (1 + 5/n)ᴸ − 1, about exp(5 L/n) − 1.
    """
    return np.asarray(np.asarray(depth, np.float64) / np.asarray(width, np.float64))


def dead_point(depth: ArrayLike, width: ArrayLike) -> Floats:
    """The probability that a point is dead at one of the L hidden layers of n units: 1 − (1 − 2⁻ⁿ)ᴸ.

    Of weights that are symmetric around 0 and biases of 0. A network that is born dead, constant before training, is
    dead for each of its points: it is an upper bound of that probability (Lu, Shin, Su and Karniadakis, "Dying ReLU and
    initialization: theory and numerical examples", Communications in Computational Physics 2020). The papers' own
    formula (CPAIOR, section 3) with a half for each unit gives the same.
    """
    return np.asarray(1 - (1 - 0.5 ** np.asarray(width, np.float64)) ** np.asarray(depth, np.float64))


def keeps_its_length(settings: Settings) -> bool:
    """Whether what is said of L/n is said of the method's initial network: independent weights of variance 2/fan-in."""
    return _is_covered(settings) and settings.get("network.init") == "he_normal"


def can_be_born_dead(settings: Settings) -> bool:
    """Whether `dead_point` is said of the method's initial network."""
    return _is_covered(settings) and settings.get("network.init") in _SYMMETRIC


def _is_covered(settings: Settings) -> bool:
    """Whether it is a perceptron of plain ReLU layers that are equally wide."""
    is_rectangular = settings.get("network.layout") == "mlp" and settings.get("network.widths") is None
    return is_rectangular and is_plain_relu(settings)
