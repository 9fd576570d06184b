"""Dormant units' reset as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class ResetSpec:
    """Dormant units begin anew (ReDo, Sokar et al. 2023).

    After every so many steps, a unit whose mean |activation| over the step's points, divided by the mean of its layer,
    is at most τ gets incoming weights drawn anew and outgoing weights 0; the optimizer's slots of both are 0.
    """

    every: int = setting(0, low=0, neutral=0, about="steps between resets; 0 for none", role="method")
    tau: float = setting(0.0, low=0, high=1, about="τ, up to which a unit is dormant", role="method", tunes=True)
