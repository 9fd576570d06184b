"""What theory says of initial networks, against simulated ones, and of which methods it is said."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.atlas.theory import can_be_born_dead, dead_point, depth_over_width, keeps_its_length

NETWORKS = 4000

Weights = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def he(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    return random.standard_normal((NETWORKS, rows, columns)) * np.sqrt(2 / columns)


def glorot(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    return random.uniform(-1, 1, (NETWORKS, rows, columns)) * np.sqrt(6 / (rows + columns))


def orthogonal(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """Left singular times right singular vectors of normal matrices: uniform among all with orthonormal columns."""
    left, _, right = np.linalg.svd(random.standard_normal((NETWORKS, rows, columns)), full_matrices=False)
    return np.sqrt(2) * left @ right


@pytest.mark.parametrize("weights", [he, glorot, orthogonal])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (8, 3), (40, 5)])
def test_a_point_is_dead_as_often_as_the_formula_says_and_a_network_no_more_often(
    weights: Weights, depth: int, width: int
) -> None:
    random = np.random.default_rng(depth)
    x = np.broadcast_to(random.standard_normal((2, 10)), (NETWORKS, 2, 10))
    for _ in range(depth):
        x = np.maximum(weights(random, width, x.shape[1]) @ x, 0)
    probability = float(dead_point(depth, width))
    error = 4 * np.sqrt(probability * (1 - probability) / NETWORKS)
    is_dead = (x == 0).all(axis=1)
    assert is_dead[:, 0].mean() == pytest.approx(probability, abs=error)
    assert is_dead.all(axis=1).mean() < probability - error


@pytest.mark.parametrize(("depth", "width"), [(1, 4), (2, 10), (4, 20)])
def test_the_squared_length_has_the_variance_that_is_told(depth: int, width: int) -> None:
    """Of He's weights: it keeps its mean, and its relative variance is (1 + 5/n)ᴸ − 1."""
    random = np.random.default_rng(1)
    length = []
    for _ in range(25):
        x = np.broadcast_to([[1.0], [0.0]], (NETWORKS, 2, 1))
        for _ in range(depth):
            x = np.maximum(he(random, width, x.shape[1]) @ x, 0)
        length.append((x[..., 0] ** 2).sum(axis=1))
    squared = np.concatenate(length) / (width / 2)  # of an input of length 1
    assert squared.mean() == pytest.approx(1, abs=0.02)
    told = (1 + 5 / width) ** depth - 1
    assert squared.var() == pytest.approx(told, rel=0.1)
    assert told < np.expm1(5 * depth_over_width(depth, width))


def test_theory_is_told_of_those_networks_that_it_is_about() -> None:
    settings = {
        cell.method: dict(cell.description()) for cell in experiment_cells("atlas_moons", "paper") if cell.depth == 50
    }
    assert {method for method, of in settings.items() if keeps_its_length(of)} == {"he", "dormant_reset", "sep_up_he"}
    assert {method for method, of in settings.items() if can_be_born_dead(of)} == {
        *("relu", "he", "orthogonal", "sep_u", "sep_p", "sep_up", "sep_l", "sep_up_he", "sep_up_orthogonal"),
        *("dormant_reset", "rai_best"),
    }


@pytest.mark.parametrize(
    "other",
    [
        {"network.layout": "conv2x1"},
        {"network.layout": None},
        {"network.widths": (4, 8)},
        {"network.init": None},
        {"network.norm": "batch"},
        {"network.activation": "gelu"},
        {"network.skip_every": 2},
        {"network.farkas": True},
    ],
)
def test_no_theory_is_told_of_other_networks_nor_of_unknown_ones(other: dict[str, object]) -> None:
    own = {"network.layout": "mlp", "network.init": "he_normal"}
    assert keeps_its_length(own)
    assert can_be_born_dead(own)
    assert not keeps_its_length({**own, **other})
    assert not can_be_born_dead({**own, **other})
