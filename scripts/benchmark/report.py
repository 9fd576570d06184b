"""The benchmark's report: everything that was measured, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.grid import (
    EPOCHS,
    GRID,
    NETWORKS,
    Shape,
    Spread,
    core_seconds,
    grid_operations,
    ratios,
    step_operations,
    which,
)
from benchmark.plan import Plan

MATMUL_SIZE = 1024


@dataclass
class Measured:
    """Processor seconds as they were measured.

    Attributes:
        steps: per network and step, by contender and network, one value a round.
        grids: for all epochs of the whole grid, one value a round, of contenders that time it as a whole.
        trained: for all epochs of the whole grid, of contenders that trained it.
        matmul: the float32 matrix product's rates, operations a second.
    """

    steps: dict[str, dict[Shape, list[float]]] = field(default_factory=dict)
    grids: dict[str, list[float]] = field(default_factory=dict)
    trained: dict[str, float] = field(default_factory=dict)
    matmul: list[float] = field(default_factory=list)

    def rounds(self) -> int:
        """Rounds that were timed."""
        return min(len(values) for rows in self.steps.values() for values in rows.values())


def summary(plan: Plan, measured: Measured) -> dict[str, Any]:
    """Medians with their spread, the grid's core-seconds, ratios, shares of the peak, what was timed: for the JSON."""
    medians = {
        name: {shape: Spread.of(values).median for shape, values in rows.items()}
        for name, rows in measured.steps.items()
    }
    grid = {
        name: Spread.of(measured.grids[name]).median
        if name in measured.grids
        else core_seconds(plan.filled(name, rows))
        for name, rows in medians.items()
    } | measured.trained
    timed = {name: GRID if name in measured.grids else tuple(rows) for name, rows in medians.items()}
    gflops = Spread.of([rate / 1e9 for rate in measured.matmul])
    peak = gflops.median * 1e9
    return {
        "rounds": measured.rounds(),
        "networks": [str(shape) for shape in NETWORKS],
        "milliseconds": {
            name: {
                str(shape): Spread.of([1000 * value for value in values]).as_dict() for shape, values in rows.items()
            }
            for name, rows in measured.steps.items()
        },
        "grid": grid,
        "grid_sampled": {name: _grid_spread(plan, name, measured).as_dict() for name in grid},
        "grid_trained": sorted(measured.trained),
        "timed": {name: [str(shape) for shape in shapes] for name, shapes in timed.items()},
        "interpolated": {name: [str(shape) for shape in GRID if shape not in timed[name]] for name in grid},
        "timed_words": {
            name: which(shapes) + (f" for all {EPOCHS} epochs" if name in measured.trained else "")
            for name, shapes in timed.items()
        },
        "ratios": ratios(grid),
        "defaults_speed": grid["native"] / grid["native_defaults"] if "native_defaults" in grid else None,
        "matmul": {"size": MATMUL_SIZE, "gflops": gflops.as_dict()},
        "peak_fraction": {
            "grid": {name: grid_operations() / seconds / peak for name, seconds in grid.items()},
            **{
                str(shape): {name: step_operations(shape) / rows[shape] / peak for name, rows in medians.items()}
                for shape in NETWORKS
            },
        },
    }


def _grid_spread(plan: Plan, name: str, measured: Measured) -> Spread:
    """Core-seconds over the grid as each single round has them."""
    if name in measured.grids:
        return Spread.of(measured.grids[name])
    return Spread.of(
        [
            core_seconds(plan.filled(name, _of_round(measured.steps[name], number)))
            for number in range(measured.rounds())
        ]
    )


def _of_round(rows: Mapping[Shape, Sequence[float]], number: int) -> dict[Shape, float]:
    return {shape: values[number] for shape, values in rows.items()}
