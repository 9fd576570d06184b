"""How far every engine is from the reference on this machine: python scripts/compare_engines.py.

For every method of the papers, in float64: the largest difference of loss, penalty and every gradient tensor, relative
to the tensor's largest entry, at initialisation and after 20 steps. The contract allows 1e-9, and after 20 steps ten
times what one unit in the last place of the initial weights does to the reference: the first line of each method.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from jumpstart_exp.cell import Cell
from jumpstart_exp.console import output
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.probe import Probe
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

STEPS = (0, 20)
SHAPES = ((3, 4), (8, 10), (10, 25))
ALLOWED = 1e-9

METHODS: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu_bn": {"network": NetworkSpec(norm="batch")},
    **{f"sep_{kind.lower()}": {"penalty": PenaltySpec(kind=kind)} for kind in ("U", "P", "UP", "L")},
    "zero_init": {
        "network": NetworkSpec(init="zero"),
        "penalty": PenaltySpec(kind="UP", balance=0.51),
        "dropout": DropoutSpec(0.9, 1000),
    },
    "sep_up as in the authors' code": {
        "network": NetworkSpec(layout="conv2x1"),
        "penalty": PenaltySpec(kind="UP", aggregate="sum_sq", ties="shared", scope="position"),
        "optimizer": OptimizerSpec(eps=1e-7, eps_rule="keras"),
    },
}


def engines() -> dict[str, Callable[[], Engine]]:
    """Every engine that this machine can run, `native` once for every instruction set."""
    found: dict[str, Callable[[], Engine]] = {
        f"native, {name}": partial(NativeEngine, instruction_set=name) for name in instruction_sets()
    }
    found["stacked, cpu"] = StackedEngine
    import torch

    if torch.cuda.is_available():
        found["stacked, cuda"] = partial(StackedEngine, "cuda")
    return found


def difference(found: Probe, expected: Probe) -> float:
    """The largest one of loss, penalty and gradients, each relative to its largest entry.

    A tensor of hardly anything, such as a hidden bias that batch norm takes out again, is measured against a
    ten-thousandth of the largest gradient of its layer, or all of it under batch norm.
    """
    pairs = [(found.task_loss, expected.task_loss), (found.penalty, expected.penalty)]
    apart = [abs(one - other) / max(abs(other), 1e-6) for one, other in pairs]
    largest: dict[str, float] = {}
    for name, gradient in expected.gradients.items():
        layer = name.split(".")[1]
        largest[layer] = max(largest.get(layer, 0.0), float(np.abs(gradient).max()))
    has_norm = "norms.0.weight" in expected.gradients
    for name, gradient in expected.gradients.items():
        is_taken_out = has_norm and name.startswith("hidden") and name.endswith("bias")
        own, of_layer = float(np.abs(gradient).max()), largest[name.split(".")[1]]
        size = max(own, of_layer * (1.0 if is_taken_out else 1e-4), 1e-12)
        apart.append(float(np.abs(found.gradients[name] - gradient).max()) / size)
    return max(apart)


def moved_by_one_unit(probe: Probe) -> dict[str, Any]:
    """The parameters, each one unit in the last place higher; zeros stay."""
    return {name: np.where(value == 0, value, np.nextafter(value, np.inf)) for name, value in probe.parameters.items()}


def rows(method: str, data: Data) -> list[tuple[str, list[float]]]:
    """Of the reference moved by one unit in the last place and of every engine: the largest difference at each step."""
    apart: dict[str, list[float]] = {name: [0.0] * len(STEPS) for name in ("one unit in the last place", *engines())}
    for depth, width in SHAPES:
        cell = Cell(depth=depth, width=width, precision="float64", method=method, **METHODS[method])
        initial = moved_by_one_unit(EagerEngine().probe(cell, data))
        for index, steps in enumerate(STEPS):
            expected = EagerEngine().probe(cell, data, steps)
            found = {"one unit in the last place": EagerEngine().probe(cell, data, steps, initial)}
            found |= {name: make().probe(cell, data, steps) for name, make in engines().items()}
            for name, probe in found.items():
                apart[name][index] = max(apart[name][index], difference(probe, expected))
    return list(apart.items())


def main() -> None:
    """Print the table; what is beyond the contract is red."""
    table = Table(title="largest relative difference from the reference, float64")
    for column in ("method", "engine", *(f"step {steps}" for steps in STEPS)):
        table.add_column(column, justify="right" if column.startswith("step") else "left")
    kept = True
    data = load(Cell().dataset, Path("no files needed"))
    for method in METHODS:
        (_, own), *others = rows(method, data)
        table.add_row(
            method, "yardstick: initial weights moved by 1 ulp", *(f"{value:.1e}" for value in own), style="dim"
        )
        limits = [ALLOWED, *(max(ALLOWED, 10 * value) for value in own[1:])]
        for name, values in others:
            kept = kept and all(value <= limit for value, limit in zip(values, limits, strict=True))
            marked = (
                f"[red]{value:.1e}[/]" if not value <= limit else f"{value:.1e}"
                for value, limit in zip(values, limits, strict=True)
            )
            table.add_row("", name, *marked)
        table.add_section()
    output().print(table)
    limit = f"at most {ALLOWED:g}, or after steps 10 times the yardstick"
    output().print(f"contract ({limit}): " + ("kept" if kept else "[red]broken, by what is red[/]"))


if __name__ == "__main__":
    main()
