"""`ThinDeepClassifier` and `ThinDeepRegressor` beside scikit-learn's MLPs: seconds of a fit and accuracy, in one run.

    python scripts/bench_estimator.py [--quick] [--seeds N] [--rounds N] [--json FILE]

Three contenders, one thread each, fitted in turns on the same training points of the same splits, one split a seed:

* ours: the estimator at its defaults;
* mlp: `MLPClassifier` or `MLPRegressor` at its defaults, behind a `StandardScaler` (targets standardised as well);
* same: that with the hidden layers of ours.

A contender's time is the median over the seeds of the fastest of its rounds; its score the mean over the seeds of
accuracy, or R², on a fifth of the points that was held out. Each is warmed up once before it is timed. Every fit of a
seed begins with the same random_state, so its rounds are the same computation.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import sklearn.datasets
from rich.table import Table
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from jumpstart_exp import ThinDeepClassifier, ThinDeepRegressor
from jumpstart_exp.console import output

CLASSES = ("breast_cancer", "digits", "wine", "iris")
NUMBERS = ("diabetes", "friedman1")
QUICK = ("breast_cancer", "digits")
CONTENDERS = ("ours", "mlp", "same")


def points(name: str) -> tuple[Any, Any]:
    """A table of scikit-learn's; friedman1 has 500 points and noise of deviation 1."""
    if name == "friedman1":
        return sklearn.datasets.make_friedman1(500, noise=1.0, random_state=0)
    return getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)


def contender(name: str, way: str, seed: int) -> Any:
    """An estimator that has not been fitted."""
    is_number = name in NUMBERS
    ours = (ThinDeepRegressor if is_number else ThinDeepClassifier)(random_state=seed)
    if way == "ours":
        return ours
    hidden = {} if way == "mlp" else {"hidden_layer_sizes": (ours.width,) * ours.depth}
    mlp = (MLPRegressor if is_number else MLPClassifier)(random_state=seed, **hidden)
    if is_number:
        mlp = TransformedTargetRegressor(mlp, transformer=StandardScaler())
    return make_pipeline(StandardScaler(), mlp)


def measure(name: str, seeds: int, rounds: int) -> dict[str, Any]:
    """Times (seconds) and scores of every contender on a dataset, by seed."""
    x, y = points(name)
    seconds: dict[str, list[float]] = {way: [] for way in CONTENDERS}
    scores: dict[str, list[float]] = {way: [] for way in CONTENDERS}
    engine = ""
    for seed in range(seeds):
        stratified = None if name in NUMBERS else y
        x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=seed, stratify=stratified)
        fastest = dict.fromkeys(CONTENDERS, float("inf"))
        fitted: dict[str, Any] = {}
        for turn in range(rounds + (seed == 0)):
            for way in CONTENDERS:
                fitted[way] = contender(name, way, seed)
                begun = time.perf_counter()
                fitted[way].fit(x_train, y_train)
                taken = time.perf_counter() - begun
                if turn or seed:  # the first is the warm-up
                    fastest[way] = min(fastest[way], taken)
        engine = fitted["ours"].engine_
        for way in CONTENDERS:
            seconds[way].append(fastest[way])
            scores[way].append(fitted[way].score(x_test, y_test))
    middle = {way: statistics.median(seconds[way]) for way in CONTENDERS}
    return {
        "dataset": name,
        "engine": engine,
        "seconds": seconds,
        "scores": scores,
        "median_seconds": middle,
        "mean_score": {way: statistics.fmean(scores[way]) for way in CONTENDERS},
        "times_faster": {way: middle[way] / middle["ours"] for way in CONTENDERS if way != "ours"},
    }


def main(given: list[str] | None = None) -> None:
    """Measure, print a table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="two datasets, two seeds, one round")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)
    names = QUICK if options.quick else (*CLASSES, *NUMBERS)
    seeds, rounds = (2, 1) if options.quick else (options.seeds, options.rounds)
    warnings.simplefilter("ignore", ConvergenceWarning)  # scikit-learn's MLPs say so at their own defaults
    with threadpool_limits(1):
        found = [measure(name, seeds, rounds) for name in names]
    title = f"{found[0]['engine']}, one thread, {seeds} seeds"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("", *(f"{way} s" for way in CONTENDERS), "× mlp", "× same", *CONTENDERS):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for row in found:
        table.add_row(
            row["dataset"],
            *(f"{row['median_seconds'][way]:.3f}" for way in CONTENDERS),
            *(f"{row['times_faster'][way]:.1f}" for way in CONTENDERS[1:]),
            *(f"{row['mean_score'][way]:.4f}" for way in CONTENDERS),
        )
    output().print(table)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"threads": 1, "seeds": seeds, "rounds": rounds, "found": found}, indent=1))


if __name__ == "__main__":
    main()
