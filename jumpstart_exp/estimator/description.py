"""What an estimator trains, as a cell: the grid's own description, of points that are in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jumpstart_exp.cell import SPECS, Cell
from jumpstart_exp.config.methods import method_settings
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.settings import SettingError, check_settings, setting, setting_error
from jumpstart_exp.specs.optimizer import OptimizerSpec

NAMES: Mapping[str, str] = {
    "seed": "random_state",
    "penalty.weight": "penalty_weight",
    "optimizer.lr": "learning_rate_init",
    "optimizer.schedule": "learning_rate",
    "optimizer.weight_decay": "weight_decay",
    "optimizer.epochs": "max_iter",
    "optimizer.batch_size": "batch_size",
}
"""What the estimators call a cell's fields; the others have their own names."""

_STATISTICS_LEFT = 0.05
"""Share of a batch norm's initial statistics beyond which predictions are not those of the network that was trained."""


@dataclass(frozen=True)
class Points(DatasetSpec):
    """Points that were handed over, of which no file and no store knows."""

    name: str = setting("points")
    task: str = setting("classification", choices=("classification", "regression"))
    features: int = setting(1, low=1)
    classes: int = setting(0, low=0)
    train_points: int = setting(1, low=1)
    val_points: int = setting(1, low=1)

    title = "points"
    threshold = 0.9

    def full_sizes(self) -> tuple[int, int]:
        """As handed over."""
        return self.train_points, self.val_points


@dataclass(frozen=True)
class Settings:
    """What an estimator's parameters say of the network and its training, checked like a cell's."""

    depth: int = setting(2, low=1, high=100_000, about="hidden layers")
    width: int = setting(64, low=1, high=10_000_000, about="units a hidden layer")
    method: str = setting("sep_up")
    penalty_weight: float | None = setting(None, low=0, about="λ; None: the method's own")
    learning_rate_init: float = setting(0.02, above=0)
    learning_rate: str = setting("cosine", choices=("constant", "cosine"), about="schedule")
    weight_decay: float | None = setting(None, low=0, about="of AdamW; None: 8/depth²")
    max_iter: int = setting(100, low=1, about="epochs")
    batch_size: int | None = setting(None, low=1, about="points a step; None: all")
    early_stopping: bool = setting(False)
    validation_fraction: float = setting(0.1, above=0, high=0.9)
    n_iter_no_change: int = setting(20, low=1, about="epochs")
    tol: float = setting(1e-4, low=0)
    n_restarts: int = setting(1, low=1)
    warm_start: bool = setting(False)
    engine: str = setting("auto", choices=("auto", "native", "eager"))

    def __post_init__(self) -> None:
        """Check every field, and what only makes sense together.

        Raises:
            SettingError: a field has a value that is not allowed.
        """
        check_settings(self)
        if self.penalty_weight is not None and self.methods_own.get("penalty", {}).get("kind", "none") == "none":
            raise setting_error(
                "penalty_weight", self.penalty_weight, f"None with method={self.method}, without penalty"
            )
        if self.warm_start and self.n_restarts > 1:
            raise setting_error(
                "n_restarts", self.n_restarts, "1 with warm_start", "there is one network to go on from"
            )
        if self.warm_start and self.sees_points_together:
            about = f"method={self.method} trains on {self.sees_points_together}, of which nothing is kept"
            raise setting_error("warm_start", True, "False", about)

    @property
    def methods_own(self) -> Mapping[str, Mapping[str, Any]]:
        """What the method sets: part of a cell → field → value."""
        return method_settings(self.method)

    @property
    def sees_points_together(self) -> str:
        """What the method's training makes of points beside their loss, which weights do not reach; empty: nothing."""
        if self.methods_own.get("network", {}).get("norm") == "batch":
            return "batch statistics"
        return "hidden values of every point" if "rai" in self.methods_own else ""


def cell_of(settings: Settings, dataset: Points, seed: int) -> Cell:
    """The network and its training as the grid describes them.

    Raises:
        SettingError: values do not fit together; the message has the estimators' names.
    """
    own = {part: dict(values) for part, values in settings.methods_own.items()}
    if settings.penalty_weight is not None:
        own["penalty"]["weight"] = settings.penalty_weight
    optimizer = OptimizerSpec(
        name="adamw",
        lr=settings.learning_rate_init,
        weight_decay=8 / settings.depth**2 if settings.weight_decay is None else settings.weight_decay,
        schedule=settings.learning_rate,
        epochs=settings.max_iter,
        batch_size=settings.batch_size,
    )
    parts: dict[str, Any] = {part: SPECS[part](**values) for part, values in own.items() if part != "optimizer"}
    parts["optimizer"] = replace(optimizer, **own.get("optimizer", {}))
    try:
        return Cell(
            dataset=dataset, depth=settings.depth, width=settings.width, seed=seed, method=settings.method, **parts
        )
    except SettingError as error:
        name, rest = str(error).split("=", 1)
        raise SettingError(f"{NAMES.get(name, name)}={rest}") from None


def doubts(cell: Cell) -> list[str]:
    """What can be trained but not make sense, each in a line."""
    found = cell.warnings()
    left = (1 - cell.network.norm_momentum) ** cell.total_steps
    if cell.network.norm == "batch" and left > _STATISTICS_LEFT:
        found.append(
            f"the batch norms' running statistics, by which it predicts, are still {left:.0%} of what they began with "
            f"after {cell.total_steps} steps: method={cell.method} takes a larger max_iter"
        )
    return found
