"""`ThinDeepClassifier` and `ThinDeepRegressor`: scikit-learn's contract, weights, and what becomes of a training."""

import pickle
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import jumpstart_exp
from jumpstart_exp import ThinDeepClassifier, ThinDeepRegressor
from jumpstart_exp.engines.native import engine as native_engine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.settings import SettingError

needs_native = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")
ENGINES = (pytest.param("native", marks=needs_native), "eager")
ignore_chance = pytest.mark.filterwarnings("ignore:the network is stuck at chance")
IRIS, CANCER, DIABETES = (load(return_X_y=True) for load in (load_iris, load_breast_cancer, load_diabetes))


def few(estimator=ThinDeepClassifier, **parameters):
    return estimator(**{"depth": 3, "width": 8, "max_iter": 8, "random_state": 0, **parameters})


def answers(fitted, x):
    return fitted.predict(x) if isinstance(fitted, ThinDeepRegressor) else fitted.decision_function(x)


@ignore_chance
@pytest.mark.parametrize("estimator", [ThinDeepClassifier(), ThinDeepRegressor()])
def test_scikit_learns_contract_holds_without_exceptions(estimator):
    found = check_estimator(estimator, on_skip=None)  # raises at the first failure
    skipped = {check["check_name"] for check in found if check["status"] != "passed"}
    assert len(found) > 50 and skipped <= {"check_array_api_input"}  # scikit-learn's own, off by default


@ignore_chance
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("estimator", "data"), [(ThinDeepClassifier, IRIS), (ThinDeepRegressor, DIABETES)])
def test_a_weight_is_so_many_copies_to_the_bit_and_0_is_none(engine, estimator, data):
    x, y = data[0][::3], data[1][::3]
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    order = np.random.default_rng(1).permutation(len(y))
    one = few(estimator, engine=engine)
    weighted = clone(one).fit(x[order], y[order], weights[order])
    repeated = clone(one).fit(x.repeat(weights, axis=0), y.repeat(weights))
    plain = clone(one).fit(x, y)
    np.testing.assert_array_equal(answers(weighted, x), answers(repeated, x))
    assert np.abs(answers(weighted, x) - answers(plain, x)).max() > 1e-3


@ignore_chance
def test_early_stopping_holds_out_weighted_points_alike():
    x, y = IRIS
    weights = np.random.default_rng(0).integers(0, 3, len(y))
    one = few(early_stopping=True, max_iter=30)
    weighted, repeated = one.fit(x, y, weights), clone(one).fit(x.repeat(weights, axis=0), y.repeat(weights))
    assert weighted.validation_scores_ == repeated.validation_scores_
    np.testing.assert_array_equal(answers(weighted, x), answers(repeated, x))


@ignore_chance
def test_class_weights_are_weights_of_their_samples():
    x, y = CANCER
    share = np.bincount(y) / len(y)
    balanced = few(class_weight="balanced").fit(x, y)
    by_hand = few().fit(x, y, 1 / (2 * share[y]))
    np.testing.assert_allclose(answers(balanced, x), answers(by_hand, x), rtol=1e-3, atol=1e-3)
    both = few(class_weight={0: 3.0}).fit(x, y, np.where(y == 1, 2.0, 1.0))
    np.testing.assert_array_equal(answers(both, x), answers(few().fit(x, y, np.where(y == 1, 2.0, 3.0)), x))


@pytest.mark.parametrize("method", ["relu_bn", "rai"])
def test_a_method_that_sees_points_beyond_their_loss_refuses_weights(method):
    x, y = IRIS
    with pytest.raises(SettingError, match=rf"^method={method} takes no weights"):
        few(method=method).fit(x, y, np.arange(len(y)) + 1.0)
    with pytest.raises(
        SettingError, match=rf"^method='{method}' is not allowed: it must be another one for partial_fit"
    ):
        few(method=method).partial_fit(x, y, classes=[0, 1, 2])


@ignore_chance
@pytest.mark.parametrize("engine", ENGINES)
def test_partial_fit_goes_on_with_the_optimizers_moments(engine):
    x, y = DIABETES
    whole = few(ThinDeepRegressor, engine=engine, learning_rate="constant", max_iter=6).fit(x, y)
    steps = few(ThinDeepRegressor, engine=engine)
    for _ in range(6):
        steps.partial_fit(x, y)
    assert (steps.n_iter_, len(steps.loss_curve_)) == (6, 6)
    np.testing.assert_allclose(steps.predict(x), whole.predict(x), rtol=1e-6)


@ignore_chance
def test_partial_fit_takes_parts_of_points_and_classes():
    x, y = IRIS
    one = few(max_iter=1)
    with pytest.raises(ValueError, match=r"^classes must be given in the first call of partial_fit$"):
        one.partial_fit(x[:50], y[:50])
    rng = np.random.default_rng(0)
    one.partial_fit(x[:50], y[:50], classes=[2, 1, 0])  # one class of three
    for _ in range(120):
        rows = rng.permutation(len(y))[:40]
        one.partial_fit(x[rows], y[rows])
    assert one.score(x, y) > 0.9
    assert list(one.classes_) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"^y has the class np.int64\(7\), which is not among classes$"):
        one.partial_fit(x, np.where(y == 2, 7, y))
    fitted = few(max_iter=30).fit(x, y)
    before = fitted.score(x, y)
    assert fitted.partial_fit(x, y).score(x, y) == pytest.approx(before, abs=0.1)
    assert fitted.n_iter_ == 31


@ignore_chance
@pytest.mark.parametrize("engine", ENGINES)
def test_warm_start_goes_on_from_the_weights(engine):
    x, y = CANCER
    one = few(engine=engine, warm_start=True).fit(x, y)
    loss = log_loss(y, one.predict_proba(x))
    one.fit(x, y)
    assert one.loss_curve_[0] == pytest.approx(loss, rel=1e-4)
    for other in ({"width": 9}, {"width": 8, "depth": 2}, {"depth": 3, "method": "residual"}):
        one.set_params(**other)
        with pytest.raises(ValueError, match="must stay as they were where the training goes on"):
            one.fit(x, y)


@ignore_chance
@pytest.mark.parametrize("engine", ENGINES)
def test_early_stopping_keeps_the_best_epochs_network(engine):
    x, y = CANCER
    one = few(engine=engine, early_stopping=True, learning_rate="constant", max_iter=60, n_iter_no_change=7)
    one.fit(x, y)
    scores = one.validation_scores_
    best = int(np.argmax(scores)) + 1
    assert one.n_iter_ == len(scores) < 60
    assert one.best_validation_score_ == max(scores)
    waits = [score < max(scores[:at], default=-1) + 1e-4 for at, score in enumerate(scores)]
    assert all(waits[-7:]) and not all(waits[-8:])
    ended = clone(one).set_params(max_iter=best, n_iter_no_change=60).fit(x, y)
    np.testing.assert_array_equal(answers(one, x), answers(ended, x))


@ignore_chance
@pytest.mark.parametrize("engine", ENGINES)
def test_restarts_keep_the_least_loss_and_threads_change_nothing(engine):
    x, y = IRIS
    counts = (1, 2, 3, 4)
    found = [few(engine=engine, n_restarts=count, random_state=3).fit(x, y) for count in counts]
    losses = [one.loss_curve_[-1] for one in found]
    assert all(later <= earlier for earlier, later in pairwise(losses)) and losses[0] > losses[-1]
    threads = few(engine=engine, n_restarts=counts[-1], random_state=3, n_jobs=2).fit(x, y)
    np.testing.assert_array_equal(answers(found[-1], x), answers(threads, x))


def test_a_dead_network_is_a_warning():
    x, y = CANCER
    with pytest.warns(ConvergenceWarning, match="stuck at chance: every training point is put into one class"):
        dead = ThinDeepClassifier(60, 2, method="relu", max_iter=3, random_state=0).fit(x, y)
    assert 1.0 in dead.census_.dead_units
    with pytest.warns(ConvergenceWarning, match="stuck at chance: the R² of its training points is"):
        ThinDeepRegressor(60, 2, method="relu", max_iter=3, random_state=0).fit(*DIABETES)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_that_diverged_is_refused(engine):
    with pytest.raises(ValueError, match=r"^the training diverged in epoch \d+, .* learning_rate_init than 1e\+30"):
        few(ThinDeepRegressor, engine=engine, learning_rate_init=1e30).fit(*DIABETES)


@ignore_chance
@needs_native
def test_without_the_c_plus_plus_engine_it_trains_the_same_by_plain_torch(monkeypatch):
    x, y = CANCER
    fast = few().fit(x, y)
    monkeypatch.setattr(native_engine, "native", None)
    monkeypatch.setattr(native_engine, "missing", lambda: "no compiler was found")
    slow = few().fit(x, y)
    assert (fast.engine_, slow.engine_) == ("native", "eager")
    np.testing.assert_allclose(answers(fast, x), answers(slow, x), rtol=0.02, atol=0.02)
    with pytest.raises(SettingError, match=r"^engine='native' is not allowed: .*the C\+\+ engine is not built"):
        few(engine="native").fit(x, y)


@ignore_chance
def test_a_pickle_predicts_without_torch_and_without_the_c_plus_plus_engine(tmp_path):
    x, y = CANCER
    one = few().fit(x, y)
    (tmp_path / "one.pickle").write_bytes(pickle.dumps(one))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "expected.npy", one.predict_proba(x))
    script = """
import pickle, sys
import numpy as np
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "jumpstart_exp.engines.native._native"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
one = pickle.loads(open("one.pickle", "rb").read())
np.testing.assert_allclose(one.predict_proba(np.load("x.npy")), np.load("expected.npy"), rtol=1e-12)
assert 0 <= one.census_.mean("dead_units") <= 1
"""
    root = str(jumpstart_exp.__path__[0]).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"one.pickle", "x.npy", "expected.npy"}


@ignore_chance
def test_grid_search_over_a_pipeline_and_frames(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(IRIS[0], columns=["a", "b", "c", "d"])
    names = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
    search = GridSearchCV(
        make_pipeline(StandardScaler().set_output(transform="pandas"), few(max_iter=60)),
        {"thindeepclassifier__depth": [2, 3], "thindeepclassifier__width": np.array([4, 16])},
        cv=2,
        error_score="raise",
    )
    search.fit(frame, names)
    assert search.best_score_ > 0.9
    best = search.best_estimator_[-1]
    assert list(best.feature_names_in_) == ["a", "b", "c", "d"] and best.n_features_in_ == 4
    assert list(best.classes_) == ["setosa", "versicolor", "virginica"]
    assert search.score(frame, names) == accuracy_score(names, search.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        few(max_iter=1).fit(frame, names).predict(frame.rename(columns={"a": "z"}))
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr() == ("", "")


def test_after_a_fit_that_failed_nothing_of_an_earlier_one_answers():
    one = few(max_iter=60).fit(*IRIS)
    with pytest.raises(ValueError):
        one.fit(IRIS[0], np.zeros(len(IRIS[1])))
    with pytest.raises(NotFittedError):
        one.predict(IRIS[0])


@ignore_chance
def test_a_setting_that_changes_nothing_is_a_warning():
    with pytest.warns(UserWarning, match=r"^no unit is reset: reset\.every=1000 is beyond the 8 steps$"):
        few(method="dormant_reset").fit(*IRIS)
    with pytest.warns(UserWarning, match=r"^the batch norms' running statistics.* are still 92% .* after 8 steps"):
        few(method="relu_bn").fit(*IRIS)


def test_before_fit_there_is_nothing_to_predict():
    for one in (few(), few(ThinDeepRegressor)):
        with pytest.raises(NotFittedError):
            one.predict(IRIS[0])


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"depth": 0}, "depth=0 is not allowed: it must be an integer from 1"),
        ({"width": 2.5}, "width=2.5 is not allowed"),
        ({"method": "sep_pu"}, "method='sep_pu' is not allowed: it must be one of asymmetric"),
        ({"method": ["relu"]}, "method=['relu'] is not allowed"),
        (
            {"method": "relu", "penalty_weight": 0.1},
            "penalty_weight=0.1 is not allowed: it must be None with",
        ),
        ({"penalty_weight": -1}, "penalty_weight=-1 is not allowed"),
        ({"learning_rate_init": 0}, "learning_rate_init=0 is not allowed: it must be a number above 0"),
        ({"learning_rate": "adaptive"}, "learning_rate='adaptive' is not allowed: it must be one of constant, cosine"),
        ({"weight_decay": float("nan")}, "weight_decay=nan is not allowed"),
        ({"max_iter": 0}, "max_iter=0 is not allowed"),
        ({"batch_size": 0}, "batch_size=0 is not allowed"),
        ({"early_stopping": "yes"}, "early_stopping='yes' is not allowed"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "validation_fraction=0.01 is not allowed"),
        ({"n_restarts": 0}, "n_restarts=0 is not allowed"),
        ({"n_restarts": 2, "warm_start": True}, "n_restarts=2 is not allowed: it must be 1 with warm_start"),
        ({"engine": "stacked"}, "engine='stacked' is not allowed: it must be one of auto, native, eager"),
        ({"engine": "native", "batch_size": 10}, "engine='native' is not allowed"),
        ({"n_jobs": 0}, "n_jobs=0 is not allowed"),
        ({"random_state": "seven"}, "random_state='seven' is not allowed: it must be an integer from 0"),
        ({"method": "farkas", "width": 1}, "network.farkas=True is not allowed: it must be false with width 1"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_one_line(parameters, told):
    with pytest.raises(SettingError) as error:
        few(**parameters).fit(*IRIS)
    assert str(error.value).startswith(told) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("x", "y", "weights", "told"),
    [
        ([[0.0], [1.0]], [1, 1], None, "y has the one class np.int64(1): a classifier tells two classes or more apart"),
        ([[0.0], [1.0], [2.0]], [0, 1, 1], [0, 1, 1], "y has the one class"),
        ([[0.0], [1.0]], [0, 1], [0, 0], "Sample weights must contain at least one non-zero number"),
        ([[0.0], [1.7e308], [-1.7e308]], [0, 1, 1], None, "the values are too large to be standardised"),
    ],
)
def test_what_is_wrong_with_the_points_is_one_line(x, y, weights, told):
    with pytest.raises(ValueError) as error:
        few().fit(x, y, weights)
    assert str(error.value).startswith(told)


def test_targets_that_are_all_equal_are_learned_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat = few(ThinDeepRegressor, max_iter=60).fit(DIABETES[0], np.full(len(DIABETES[1]), 5.0))
    np.testing.assert_allclose(flat.predict(DIABETES[0]), 5.0, atol=0.2)
