"""`ThinDeepClassifier` and `ThinDeepRegressor`: the grid's networks as scikit-learn estimators."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from jumpstart_exp.estimator.base import Array, ThinDeep, index_of_class
from jumpstart_exp.estimator.points import Scale
from jumpstart_exp.settings import setting_error


class ThinDeepClassifier(ClassifierMixin, ThinDeep):  # type: ignore[misc]
    """A deep, thin network that tells classes apart: the grid's networks as a scikit-learn estimator.

    It trains on the cross-entropy by AdamW, full batches by default, in the C++ engine where it is built. Features are
    standardised by the training points (weighted), so no scaler is needed before it. Points that are equal, target
    included, are one point with the sum of their weights: k copies and a weight of k are the same training, to the bit,
    and the order of the points decides nothing. The last epoch is kept, or with `early_stopping` the best one.

    Args:
        depth: hidden layers.
        width: units of each.
        method: of the grid (`conf/method`): relu, sep_u, sep_p, sep_up, he, residual, layer_norm, …. Those with batch
            norm or relaxed layers take no weights that differ, no `partial_fit` and no `warm_start`.
        penalty_weight: λ of the separation penalty; None for the method's own.
        learning_rate_init: at the first step.
        learning_rate: its schedule, `cosine` (down to 0 over `max_iter`) or `constant`.
        weight_decay: of AdamW; None for 8/depth²: all layers shrink, and what leaves the last by their product.
        max_iter: epochs; of full batches these are the steps.
        batch_size: points a step; None for all. Mini-batches train in the engine eager, which is slower.
        early_stopping: whether `validation_fraction` of the (distinct) points is held out, the network with the best
            score on them is kept, and the training ends after `n_iter_no_change` epochs in which the score was not
            better by `tol`. A constant learning rate suits it.
        validation_fraction: in (0, 0.9].
        n_iter_no_change: epochs.
        tol: of the score, accuracy or R².
        n_restarts: networks from different initial weights, of which the one with the best validation score, else with
            the least training loss, is kept: deep, thin networks die by luck.
        class_weight: class → weight, or `balanced`; multiplied with the samples'.
        warm_start: whether `fit` goes on from the weights that are there, with a new optimizer; features, and targets
            of a regression, are standardised as in the first call.
        engine: `native`, `eager` (plain torch), or `auto` for the first that can.
        n_jobs: restarts in training at once (native); None for 1, −1 for all processors. It changes no result.
        random_state: of initial weights, validation points and dropout.

    Attributes:
        classes_: (classes,).
        n_features_in_: of a point; `feature_names_in_` where points had names.
        n_iter_: epochs that were trained.
        loss_curve_: the mean loss of each of them, as seen in training, without the penalty; `best_loss_` the least.
        validation_scores_: after each of them, and `best_validation_score_`; None without `early_stopping`.
        census_: dead, linear and dormant units and points of each layer, after training.
        engine_: that trained.
        network_: the network, as arrays.

    Raises:
        SettingError: (`fit`) a parameter has a value that is not allowed.
        ValueError: (`fit`) the points cannot be trained on, or the training diverged.
        ConvergenceWarning: (`fit`) the network is stuck at chance.
    """

    _task = "classification"

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
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        engine: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            depth,
            width,
            method=method,
            penalty_weight=penalty_weight,
            learning_rate_init=learning_rate_init,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            max_iter=max_iter,
            batch_size=batch_size,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            n_restarts=n_restarts,
            warm_start=warm_start,
            engine=engine,
            n_jobs=n_jobs,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train.

        Args:
            X: points (points, features), an array or a data frame of numbers.
            y: their classes (points,).
            sample_weight: (points,), at least 0; the loss is Σ w·ℓ / Σ w, and points of weight 0 are left out.
        """
        is_warm = bool(self.warm_start) and hasattr(self, "network_")
        x, y, weights = self._checked(X, y, sample_weight, is_first=not is_warm)
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(f"y has the one class {classes[0]!r}: a classifier tells two classes or more apart")
        if is_warm and not np.array_equal(classes, self.classes_):
            raise ValueError("the classes must stay as they were where warm_start goes on")
        self.classes_: npt.NDArray[Any] = classes
        return self._fit(x, np.searchsorted(classes, y), self._weights(y, weights))

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """One step of the optimizer on these points, at a constant learning rate; its moments are kept for the next.

        Features are standardised as in the first call. After `fit` it goes on from those weights with a new optimizer.

        Args:
            X: points (points, features).
            y: their classes (points,).
            classes: all that there will be; needed in the first call.
            sample_weight: (points,), at least 0.
        """
        is_first = not hasattr(self, "network_")
        if self.class_weight == "balanced":
            allowed = "a dict or None for partial_fit"
            raise setting_error("class_weight", self.class_weight, allowed, "classes are counted over all points")
        if is_first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        x, y, weights = self._checked(X, y, sample_weight, is_first=is_first)
        check_classification_targets(y)
        given = None if classes is None else np.unique(classes)
        if is_first:
            if given is None or len(given) < 2:
                raise ValueError("classes must be two classes or more in the first call of partial_fit")
            self.classes_ = given
        elif given is not None and not np.array_equal(given, self.classes_):
            raise ValueError("classes must be those of the first call of partial_fit")
        unseen = np.setdiff1d(y, self.classes_)
        if len(unseen):
            raise ValueError(f"y has the class {unseen[0]!r}, which is not among classes")
        return self._partial_fit(x, np.searchsorted(self.classes_, y), self._weights(y, weights), is_first=is_first)

    def decision_function(self, X: Any) -> Array:  # noqa: N803
        """Logits (points, classes); of two classes the log-odds of the second, (points,)."""
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Probabilities (points, classes), in the order of `classes_`."""
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return np.column_stack([expit(-outputs[:, 0]), expit(outputs[:, 0])])
        probabilities: Array = softmax(outputs, axis=1)
        return probabilities

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """Classes (points,)."""
        index = index_of_class(self._outputs(X))
        found: npt.NDArray[Any] = self.classes_[index]
        return found

    def _weights(self, y: npt.NDArray[Any], weights: Array | None) -> Array:
        """Of samples times those of their classes."""
        own = np.ones(len(y)) if weights is None else weights
        if self.class_weight is None:
            return own
        of_class: Array = compute_sample_weight(self.class_weight, y)
        return own * of_class

    def _scaled_targets(self, y: npt.NDArray[Any], weights: Array, *, is_first: bool) -> npt.NDArray[Any]:
        return y.astype(np.int64)

    def _classes(self) -> int:
        return len(self.classes_)


class ThinDeepRegressor(RegressorMixin, ThinDeep):  # type: ignore[misc]
    """A deep, thin network that learns a number: the mean squared error of standardised targets.

    Parameters and attributes are those of `ThinDeepClassifier` but for classes; the scores are R².
    """

    _task = "regression"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Train.

        Args:
            X: points (points, features), an array or a data frame of numbers.
            y: numbers (points,).
            sample_weight: (points,), at least 0; the loss is Σ w·ℓ / Σ w, and points of weight 0 are left out.
        """
        is_warm = bool(self.warm_start) and hasattr(self, "network_")
        x, y, weights = self._checked(X, y, sample_weight, is_first=not is_warm)
        return self._fit(x, y.astype(np.float64), np.ones(len(y)) if weights is None else weights)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """One step of the optimizer on these points, as `ThinDeepClassifier.partial_fit`.

        Args:
            X: points (points, features).
            y: numbers (points,), standardised as in the first call.
            sample_weight: (points,), at least 0.
        """
        is_first = not hasattr(self, "network_")
        x, y, weights = self._checked(X, y, sample_weight, is_first=is_first)
        weights = np.ones(len(y)) if weights is None else weights
        return self._partial_fit(x, y.astype(np.float64), weights, is_first=is_first)

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Numbers (points,), in the units of the targets."""
        outputs = self._outputs(X)[:, 0]
        return self._y_scale.undo(outputs)

    def _scaled_targets(self, y: npt.NDArray[Any], weights: Array, *, is_first: bool) -> npt.NDArray[Any]:
        if is_first:
            self._y_scale = Scale.of(y, weights)
        return self._y_scale.apply(y)

    def _classes(self) -> int:
        return 0
