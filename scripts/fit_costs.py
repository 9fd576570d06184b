"""Fit the cost model of the C++ engine on this machine: python scripts/fit_costs.py.

Trains cells of many shapes and methods for a few hundred steps each, one thread, and fits the nanoseconds of every term
of `cost_terms` (jumpstart_exp/engines/native/cost.py), none negative, to the relative error. Prints the tuple to put
there, and how far the model is from what was measured.
"""

import dataclasses
import random
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines.native.cost import cost_terms
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.result import Result
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

CELLS = 300
SECONDS_A_CELL = 0.15


def cells() -> list[Cell]:
    """Random shapes of every method, both layouts, both precisions; the published grid's widths most often."""
    chosen = random.Random(0)
    found = []
    for seed in range(CELLS):
        kind = chosen.choice(["none", "none", "UP", "UP", "UP", "U", "P", "L"])
        found.append(
            Cell(
                depth=chosen.choice([1, 2, 3, 5, 10, 20, 30, 50, 80, 120, 150]),
                width=chosen.choice([1, 2, 3, 4, 5, 10, 15, 20, 25, 25, 40]),
                network=NetworkSpec(
                    layout=chosen.choice(["mlp", "mlp", "mlp", "conv2x1"]),
                    norm="batch" if kind == "none" and chosen.random() < 0.4 else "none",
                ),
                penalty=PenaltySpec(
                    kind=kind,
                    ties=chosen.choice(["single", "single", "shared", "random"]),
                    scope=chosen.choice(["channel", "position"]),
                ),
                dropout=DropoutSpec(0.9 if chosen.random() < 0.15 else 0.0, 100_000),
                precision="float64" if chosen.random() < 0.15 else "float32",
                seed=seed,
            )
        )
    return found


def step_nanoseconds(cell: Cell) -> float:
    """The least of three measurements of one step, its evaluation included."""
    data, seconds, steps = load(Moons(), Path("data")), [], 50
    for _ in range(4):
        timed = dataclasses.replace(cell, optimizer=OptimizerSpec(epochs=steps))
        found: list[Result] = []
        NativeEngine(curve_every=50).train([timed], data, on_result=found.append, on_progress=lambda *_: None)
        seconds.append(found[0].seconds / steps)
        steps = max(50, round(SECONDS_A_CELL / 3 / seconds[-1]))
    return float(min(seconds[1:]) * 1e9)


def main() -> None:
    """Measure, fit and print."""
    timed = cells()
    terms = np.array([cost_terms(cell) for cell in timed])
    measured = np.array([step_nanoseconds(cell) for cell in timed])
    weights, _ = nnls(terms / measured[:, None], np.ones(len(measured)))
    error = terms @ weights / measured - 1
    print("_STEP_NANOSECONDS = (" + ", ".join(f"{weight:.4g}" for weight in weights) + ")")
    print(
        f"{len(timed)} cells; the model is off by {np.median(np.abs(error)):.0%} in the median, "
        f"{np.quantile(np.abs(error), 0.9):.0%} at the 90th percentile"
    )


if __name__ == "__main__":
    main()
