"""What theory says of networks before training: where activations vary too much, and where a network is born dead."""

import numpy as np
from numpy.typing import ArrayLike

from jumpstart_exp.report.atlas.families import is_plain_relu
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.store.fields import Settings

_SYMMETRIC = (None, "glorot_uniform", "he_normal", "orthogonal")
"""Initial weights whose pre-activations of a point have any signs equally often, with biases of 0."""


def depth_over_width(depth: ArrayLike, width: ArrayLike) -> Floats:
    """Σ 1/n over the hidden layers: L/n.

    With weights of variance 2/fan-in the squared length of a point's activations keeps its mean from layer to layer,
    and its relative variance grows exponentially in this sum (Hanin and Rolnick, "How to start training", 2018).
    """
    return np.asarray(np.asarray(depth, np.float64) / np.asarray(width, np.float64))


def born_dead_at_most(depth: ArrayLike, width: ArrayLike) -> Floats:
    """An upper bound of the probability that a ReLU network is constant before training.

    1 − (1 − 2⁻ⁿ)ᴸ, the probability that one point is dead at one of the L layers of n units (Lu, Shin, Su and
    Karniadakis, "Dying ReLU and initialization", 2020): a network that is born dead is dead for each of its points. Of
    weights that are symmetric around 0 and biases of 0.
    """
    return np.asarray(1 - (1 - 0.5 ** np.asarray(width, np.float64)) ** np.asarray(depth, np.float64))


def keeps_its_length(settings: Settings) -> bool:
    """Whether what is said of L/n is said of the method's initial network: independent weights of variance 2/fan-in."""
    return is_plain_relu(settings) and settings.get("network.init") == "he_normal"


def can_be_born_dead(settings: Settings) -> bool:
    """Whether the bound is one of the method's initial network."""
    return is_plain_relu(settings) and settings.get("network.init") in _SYMMETRIC
