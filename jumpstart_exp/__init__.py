"""Experiment grids for deep, thin ReLU networks with separation penalties.

`grid`, `train`, `load` and `heatmap` are the command line from Python. For a model of your own:
`SeparationPenalty("UP").watch(model)` and `census(model, loader)`. `ThinDeepClassifier` and
`ThinDeepRegressor` are the grid's networks as scikit-learn estimators.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jumpstart_exp.api import grid, heatmap, load, train
    from jumpstart_exp.estimator.estimators import ThinDeepClassifier, ThinDeepRegressor
    from jumpstart_exp.losses.separation import SeparationPenalty
    from jumpstart_exp.measures.census import census_of
    from jumpstart_exp.measures.model_census import census, persistence
    from jumpstart_exp.measures.watcher import Watcher

__all__ = [
    "SeparationPenalty",
    "ThinDeepClassifier",
    "ThinDeepRegressor",
    "Watcher",
    "census",
    "census_of",
    "grid",
    "heatmap",
    "load",
    "persistence",
    "train",
]
__version__ = "0.1.0"

_FROM = {
    **dict.fromkeys(("grid", "heatmap", "load", "train"), "jumpstart_exp.api"),
    **dict.fromkeys(("ThinDeepClassifier", "ThinDeepRegressor"), "jumpstart_exp.estimator.estimators"),
    "SeparationPenalty": "jumpstart_exp.losses.separation",
    "census_of": "jumpstart_exp.measures.census",
    **dict.fromkeys(("census", "persistence"), "jumpstart_exp.measures.model_census"),
    "Watcher": "jumpstart_exp.measures.watcher",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use: a command that trains nothing need not wait for torch."""
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names too, which are not imported yet."""
    return sorted({*globals(), *__all__})
