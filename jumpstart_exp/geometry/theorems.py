"""Theorems of Geometry, section 3, that compute."""

from math import comb

from jumpstart_exp.settings import setting_error


def maximum_cells(n: int, d: int) -> int:
    """r(n, d) = Σ_{i ≤ d} C(n, i): the most parts that n hyperplanes can cut ℝᵈ into (equation 6).

    Raises:
        SettingError: n or d is below 0.
    """
    _check(n, 0, d, 0)
    return sum(comb(n, i) for i in range(d + 1))


def separating_hyperplanes(n: int, d: int) -> tuple[int, int]:
    """Bounds on f(n, d), the hyperplanes that suffice for any n points in general position in ℝᵈ (section 3.3.2).

    ⌈(n − 1)/d⌉ ≤ f(n, d) ≤ ⌈(n − 2^⌈log₂ d⌉)/d⌉ + ⌈log₂ d⌉: every two points have a hyperplane between them.

    Returns:
        the lower and the upper bound.

    Raises:
        SettingError: n or d is below 1.
    """
    _check(n, 1, d)
    logarithm = (d - 1).bit_length()  # ⌈log₂ d⌉
    return -(-(n - 1) // d), -(-(n - 2**logarithm) // d) + logarithm


def separating_hyperplanes_at_worst(n: int) -> int:
    """The n − 1 hyperplanes that suffice for any n points; all are needed if the points lie on a line (section 3.3.2).

    Raises:
        SettingError: n is below 1.
    """
    _check(n, 1, 1)
    return n - 1


def separating_hyperplanes_of_convex_sets(n: int) -> int:
    """The C(n, 2) hyperplanes that suffice for any n disjoint convex sets; from ℝ³ on some need all (section 3.3.1).

    Raises:
        SettingError: n is below 1.
    """
    _check(n, 1, 1)
    return comb(n, 2)


def _check(n: int, least: int, d: int, least_d: int = 1) -> None:
    if n < least:
        raise setting_error("n", n, f"a whole number of at least {least}")
    if d < least_d:
        raise setting_error("d", d, f"a whole number of at least {least_d}")
