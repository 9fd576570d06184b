"""The C++ engine's activations, number by number, against formulas in NumPy's longest floats."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jumpstart_exp.engines.native.cost import _PASS_NANOSECONDS
from jumpstart_exp.engines.native.extension import instruction_sets, native
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.blocks import native_names

Numbers = NDArray[Any]

ULPS = 8
"""Of the exact number, or of 1 where that is smaller; of a value near x = 0 relative to itself."""


def _normal(x: Numbers) -> Numbers:
    """Φ, without cancellation in the lower tail."""
    return np.array([0.5 * math.erfc(-float(one) / math.sqrt(2)) for one in x], dtype=np.longdouble)


def _gelu(x: Numbers) -> tuple[Numbers, Numbers]:
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.longdouble(math.pi))
    return x * _normal(x), _normal(x) + x * density


def _silu(x: Numbers) -> tuple[Numbers, Numbers]:
    share = 1 / (1 + np.exp(-x))
    return x * share, share * (1 + x / (1 + np.exp(x)))


def _pieces(above: float, below: float) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
    return lambda x: (np.where(x > 0, above * x, below * x), np.where(x > 0, above, below) + 0 * x)


def _exponential(scale: float, alpha: float) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
    def rule(x: Numbers) -> tuple[Numbers, Numbers]:
        below = np.minimum(x, 0)
        return (
            scale * np.where(x > 0, x, alpha * np.expm1(below)),
            scale * np.where(x > 0, 1, alpha * np.exp(below)),
        )

    return rule


_TAT = math.sqrt(2 / (1 + 0.3**2))

RULES: dict[str, tuple[float, Callable[[Numbers], tuple[Numbers, Numbers]]]] = {
    "relu": (0.0, _pieces(1, 0)),
    "leaky_relu": (0.1, _pieces(1, 0.1)),
    "prelu": (0.25, _pieces(1, 0.25)),
    "tat": (0.3, _pieces(_TAT, 0.3 * _TAT)),
    "elu": (0.0, _exponential(1, 1)),
    "selu": (0.0, _exponential(1.0507009873554804934193349852946, 1.6732632423543772848170429916717)),
    "gelu": (0.0, _gelu),
    "silu": (0.0, _silu),
    "tanh": (0.0, lambda x: (np.tanh(x), 1 / np.cosh(x) ** 2)),
    "sigmoid": (3.0, lambda x: (np.tanh(1.5 * x), 1.5 / np.cosh(1.5 * x) ** 2)),
    "logistic": (0.0, lambda x: (1 / (1 + np.exp(-x)), 1 / (2 + np.exp(-x) + np.exp(x)))),
    "softplus": (
        0.0,
        lambda x: (
            np.where(x > 20, x, np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))),
            np.where(x > 20, 1, 1 / (1 + np.exp(-x))),
        ),
    ),
}
"""Number, and value and derivative by the formula."""

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")


def activated(name: str, number: float, x: Numbers, instruction_set: str) -> tuple[Numbers, Numbers]:
    values, slopes = np.empty_like(x), np.empty_like(x)
    native.activate({"activation": name, "activation_number": number}, x, values, slopes, instruction_set)
    return values, slopes


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_values_and_derivatives_over_the_whole_range(name: str, kind: str, instruction_set: str) -> None:
    """From the smallest to numbers whose exponentials overflow: the stated error, and near 0 a relative one."""
    number, rule = RULES[name]
    sizes = np.concatenate([np.logspace(-30, 4, 3001), np.linspace(0, 120, 6001)])
    x = np.concatenate([-sizes, sizes]).astype(kind)
    found = activated(name, number, x, instruction_set)
    with np.errstate(all="ignore"):
        expected = rule(x.astype(np.longdouble))
    place = np.finfo(kind).eps
    for own, exact, what in zip(found, expected, ("value", "derivative"), strict=True):
        error = abs(own.astype(np.longdouble) - exact) / (place * np.maximum(abs(exact), 1))
        worst = error.argmax()
        assert error[worst] <= ULPS, (what, x[worst], own[worst], exact[worst], float(error[worst]))
    values, exact = found[0].astype(np.longdouble), expected[0]
    near = (abs(x) < 0.5) & (exact != 0)
    assert (abs(values - exact)[near] <= ULPS * place * abs(exact)[near]).all()


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_what_is_no_number_stays_none(name: str, kind: str, instruction_set: str) -> None:
    """NaN gives NaN, an infinity its limit or NaN, and the derivative at 0 is that from below."""
    number, rule = RULES[name]
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype=kind)
    values, slopes = activated(name, number, x, instruction_set)
    assert np.isnan(values[0])
    assert np.isnan(slopes[0]) != (name in _STRAIGHT)
    with np.errstate(all="ignore"):
        limits = rule(np.array([1e5, -1e5], dtype=np.longdouble))[0]
    for own, limit in zip(values[1:3], limits, strict=True):
        assert np.isnan(own) or (np.isinf(own) if abs(limit) > 10 else own == pytest.approx(float(limit)))
    with np.errstate(all="ignore"):
        below = rule(np.array([-1e-30], dtype=np.longdouble))[1]
    assert slopes[3] == slopes[4] == pytest.approx(float(below[0]), rel=1e-6)


_STRAIGHT = ("relu", "leaky_relu", "prelu", "tat")
"""Whose derivative is a comparison's: as torch's, that of NaN is the lower one, and the value is NaN."""


def test_the_cost_model_knows_every_activation() -> None:
    assert set(_PASS_NANOSECONDS) == set(native_names(ACTIVATIONS))
