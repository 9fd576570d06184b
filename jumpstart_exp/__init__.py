"""Experiment grids for deep, thin ReLU networks with separation penalties.

For a model of your own: `SeparationPenalty("UP").watch(model)` and `census_of(model, points)`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jumpstart_exp.losses.separation import SeparationPenalty
    from jumpstart_exp.measures.census import census_of

__all__ = ["SeparationPenalty", "census_of"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public names on first use: a command that trains nothing need not wait for torch."""
    if name == "SeparationPenalty":
        from jumpstart_exp.losses.separation import SeparationPenalty

        return SeparationPenalty
    if name == "census_of":
        from jumpstart_exp.measures.census import census_of

        return census_of
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
