"""What both estimators are: their parameters, their points, and how their networks are trained and kept."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from jumpstart_exp.estimator.description import Points, Settings, cell_of, doubts
from jumpstart_exp.estimator.network import TrainedNetwork
from jumpstart_exp.estimator.points import Scale, WeightedPoints, distinct
from jumpstart_exp.settings import SettingError, setting_error

if TYPE_CHECKING:
    from jumpstart_exp.estimator.training import Follower, State

Array = npt.NDArray[np.float64]

_NOT_OF_THE_NETWORK = ("class_weight", "n_jobs", "random_state")

_MEANINGLESS_R2 = 0.01
"""Of a network that says little else than the mean."""


class ThinDeep(BaseEstimator, ABC):  # type: ignore[misc]
    """What both estimators are: their parameters, and how they train."""

    _task: str

    def __init__(
        self,
        depth: int = 2,
        width: int = 64,
        *,
        method: str = "sep_up",
        penalty_weight: float | None = None,
        learning_rate_init: float = 0.02,
        learning_rate: str = "cosine",
        weight_decay: float | None = None,
        max_iter: int = 100,
        batch_size: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 1e-4,
        n_restarts: int = 1,
        warm_start: bool = False,
        engine: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.depth = depth
        self.width = width
        self.method = method
        self.penalty_weight = penalty_weight
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.n_restarts = n_restarts
        self.warm_start = warm_start
        self.engine = engine
        self.n_jobs = n_jobs
        self.random_state = random_state

    @abstractmethod
    def _scaled_targets(self, y: npt.NDArray[Any], weights: Array, *, is_first: bool) -> npt.NDArray[Any]:
        """Targets as the network is to learn them."""

    @abstractmethod
    def _classes(self) -> int:
        """How many; 0 for regression."""

    def _settings(self) -> Settings:
        values = {name: value for name, value in self.get_params(deep=False).items() if name not in _NOT_OF_THE_NETWORK}
        return Settings(
            **{name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network."""
        return hasattr(self, "network_")

    def _seeds(self, count: int) -> list[int]:
        try:
            return [int(seed) for seed in check_random_state(self.random_state).randint(2**31 - 1, size=count)]
        except ValueError:
            allowed = "an integer from 0 to 2**32 - 1, a RandomState of NumPy, or None"
            raise setting_error("random_state", self.random_state, allowed) from None

    def _threads(self) -> int:
        from jumpstart_exp.limits import cpu_count

        jobs = 1 if self.n_jobs is None else self.n_jobs
        if not isinstance(jobs, int | np.integer) or isinstance(jobs, bool) or jobs == 0:
            raise setting_error("n_jobs", jobs, "an integer other than 0, or None", "−1: all processors")
        return int(jobs) if jobs > 0 else max(1, cpu_count() + 1 + int(jobs))

    def _checked(
        self, x: Any, y: Any, sample_weight: Any, *, is_first: bool
    ) -> tuple[Array, npt.NDArray[Any], Array | None]:
        """Points, targets and weights as arrays; points of weight 0 are left out."""
        if is_first:
            self.__dict__.pop("network_", None)  # should this fail, nothing of an earlier fit answers
        x, y = validate_data(
            self,
            x,
            y,
            reset=is_first,
            dtype=np.float64,
            y_numeric=self._task == "regression",
            ensure_min_samples=2 if is_first else 1,
        )
        y = column_or_1d(y, warn=True)
        if sample_weight is None:
            return x, y, None
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        kept = weights > 0  # scikit-learn has refused weights that are all 0
        return x[kept], y[kept], weights[kept]

    def _points(
        self, settings: Settings, x: Array, y: npt.NDArray[Any], weights: Array, *, is_first: bool
    ) -> WeightedPoints:
        """The points as the network sees them, each once where nothing but the loss sees them."""
        together = settings.sees_points_together
        if not together:
            points = distinct(x, y, weights)
            x, y, weights = points.x, points.y, points.weights
        elif (weights != weights[0]).any():
            raise SettingError(
                f"method={settings.method} takes no weights of samples or classes that differ: its training sees "
                f"{together}, which the loss's weights do not reach"
            )
        if is_first:
            self._x_scale = Scale.of(x, weights)
        return WeightedPoints(self._x_scale.apply(x), self._scaled_targets(y, weights, is_first=is_first), weights)

    def _fit(self, x: Array, y: npt.NDArray[Any], weights: Array) -> Self:
        """Train anew, or with `warm_start` from the weights of the network that is there."""
        from jumpstart_exp.estimator import training

        settings = self._settings()
        threads = self._threads()
        is_warm = settings.warm_start and hasattr(self, "network_")
        points = self._points(settings, x, y, weights, is_first=not is_warm)
        seeds = self._seeds(settings.n_restarts)
        if settings.early_stopping:
            share, stratified = settings.validation_fraction, self._task == "classification"
            train, val = points.held_out(share, stratified=stratified, seed=seeds[0])
        else:
            train, val = points, points.part(np.arange(min(2, len(points.y))))
        dataset = self._dataset(train, val)
        cells = [cell_of(settings, dataset, seed) for seed in seeds]
        engine = training.engine_of(settings.engine, cells[0])
        start = self._start(cells[0]) if is_warm else None
        for doubt in doubts(cells[0]):
            warnings.warn(doubt, UserWarning, stacklevel=3)
        patience = settings.n_iter_no_change if settings.early_stopping else None
        followers = [training.Follower(patience, settings.tol) for _ in cells]
        data = _data(train, val)
        training.train(engine, cells, data, followers, threads=threads, start=start)
        best = _best(followers, settings)
        follower = followers[best]
        assert follower.state is not None
        self.engine_, self._seed = engine, seeds[best]
        self.loss_curve_ = follower.losses
        self.n_iter_ = len(follower.losses)
        self.validation_scores_ = follower.scores if settings.early_stopping else None
        self.best_validation_score_ = max(follower.scores) if settings.early_stopping else None
        self._optimizer: tuple[int, Mapping[str, Array]] | None = None  # steps, slots
        self._take(cells[best], data, follower.state)
        self._warn_of_chance(train)
        return self

    def _partial_fit(self, x: Array, y: npt.NDArray[Any], weights: Array, *, is_first: bool) -> Self:
        """One step on these points, from where the last one ended."""
        from jumpstart_exp.estimator import training

        settings = self._settings()
        for name, allowed in {"early_stopping": False, "batch_size": None, "n_restarts": 1}.items():
            if getattr(settings, name) != allowed:
                raise setting_error(name, getattr(settings, name), f"{allowed} for partial_fit, which takes one step")
        if settings.sees_points_together:
            about = f"it trains on {settings.sees_points_together}"
            raise setting_error("method", settings.method, "another one for partial_fit", about)
        points = self._points(settings, x, y, weights, is_first=is_first)
        if is_first:
            (self._seed,) = self._seeds(1)
            self.loss_curve_, self.n_iter_ = [], 0
            self.validation_scores_ = self.best_validation_score_ = None
            self._optimizer = None
        val = points.part(np.arange(min(2, len(points.y))))
        data, dataset = _data(points, val), self._dataset(points, val)
        steps = 0 if self._optimizer is None else self._optimizer[0]
        cell = cell_of(replace(settings, learning_rate="constant", max_iter=steps + 1), dataset, self._seed)
        engine = training.engine_of(settings.engine, cell)
        follower = training.Follower(None, settings.tol)
        start = None if is_first else self._start(cell)
        training.train(engine, [cell], data, [follower], start=start, with_slots=steps > 0)
        _best([follower], settings)
        assert follower.state is not None
        self.engine_ = engine
        self.loss_curve_ = [*self.loss_curve_, *follower.losses]
        self.n_iter_ += 1
        self._optimizer = (steps + 1, follower.state.slots)
        self._take(cell, data, follower.state)
        return self

    def _dataset(self, train: WeightedPoints, val: WeightedPoints) -> Points:
        return Points(
            task=self._task,
            features=train.x.shape[1],
            classes=self._classes(),
            train_points=len(train.y),
            val_points=len(val.y),
        )

    def _start(self, cell: Any) -> "State":
        """Where the training goes on.

        Raises:
            ValueError: the network that is there has another shape.
        """
        from jumpstart_exp.estimator.training import State
        from jumpstart_exp.networks.build import parameter_shapes

        shapes, held = parameter_shapes(cell), self.network_.parameters
        if (
            (self.network_.spec, self.network_.depth) != (cell.network, cell.depth)
            or not {*shapes} <= {*held}
            or any(held[name].shape != shape for name, shape in shapes.items())
        ):
            raise ValueError("depth, width, method and features must stay as they were where the training goes on")
        vector = np.concatenate([held[name].ravel() for name in shapes])
        steps, slots = self._optimizer or (0, {})
        return State(steps, vector, np.empty((2, cell.depth, 0)), slots)

    def _take(self, cell: Any, data: Any, state: "State") -> None:
        """Keep a trained network, in arrays."""
        from jumpstart_exp.estimator import training

        self.network_ = TrainedNetwork(cell.network, cell.depth, training.activation_number(cell), state.tensors(cell))
        self.census_ = training.census_of_state(cell, data, state)
        self.best_loss_ = min(self.loss_curve_)

    def _warn_of_chance(self, points: WeightedPoints) -> None:
        """Say so where the network answers every training point alike, or no better than that."""
        outputs = self.network_.outputs(points.x)
        if self._task == "regression":
            score, spread = 1.0, Scale.of(points.y, points.weights).deviation
            if (points.y != points.y[0]).any():
                score = 1 - float(np.average((outputs[:, 0] - points.y) ** 2, weights=points.weights) / spread**2)
            told = (
                f"the R² of its training points is {score:.3g}, that of their mean 0"
                if score <= _MEANINGLESS_R2
                else ""
            )
        else:
            classes = index_of_class(outputs)
            right = float(np.average(classes == points.y, weights=points.weights))
            largest = float(np.bincount(points.y, points.weights).max() / points.weights.sum())
            told = ""
            if (classes == classes[0]).all():
                told = "every training point is put into one class"
            elif right <= largest + 1e-9:
                told = f"its training accuracy {right:.3g} is no better than calling every point by the largest class"
        if told:
            warnings.warn(
                f"the network is stuck at chance: {told}; another random_state, n_restarts above 1, a larger width or "
                "max_iter, or method='sep_up' may train",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _outputs(self, x: Any) -> Array:
        check_is_fitted(self)
        checked: Array = validate_data(self, x, reset=False, dtype=np.float64)
        return self.network_.outputs(self._x_scale.apply(checked))


def index_of_class(outputs: Array) -> npt.NDArray[np.intp]:
    """The classes (points,) that outputs (points, outputs) say."""
    found: npt.NDArray[np.intp] = (outputs[:, 0] > 0).astype(np.intp) if outputs.shape[1] == 1 else outputs.argmax(1)
    return found


def _data(train: WeightedPoints, val: WeightedPoints) -> Any:
    """The points as the engines take them; weights only where they differ."""
    import torch

    from jumpstart_exp.data.loading import Data

    x_train, y_train, x_val, y_val = map(torch.from_numpy, (train.x, train.y, val.x, val.y))
    weights = [torch.from_numpy(part.weights) if part.is_weighted else None for part in (train, val)]
    return Data(x_train, y_train, x_val, y_val, weights_train=weights[0], weights_val=weights[1])


def _best(followers: "list[Follower]", settings: Settings) -> int:
    """The network that is kept: by the best validation score, or without one the last training loss.

    Raises:
        ValueError: all have diverged.
    """
    alive = [index for index, follower in enumerate(followers) if follower.diverged_epoch is None]
    if not alive:
        epoch = followers[0].diverged_epoch
        raise ValueError(
            f"the training diverged in epoch {epoch}, its numbers are no longer finite: there is no network; "
            f"a smaller learning_rate_init than {settings.learning_rate_init:g} may train"
        )
    return min(alive, key=lambda index: (-max(followers[index].scores, default=0.0), followers[index].losses[-1]))
