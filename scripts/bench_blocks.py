"""What building blocks cost in the C++ engine: the time of a step with each, relative to the ReLU's, in one run.

    python scripts/bench_blocks.py --json results/bench_blocks.json

Every block trains the same networks on MOONS, full batch and evaluation included, on one thread; rounds go through all
blocks in turn, and the fastest round of each counts, because whatever else the machine does only adds to it.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.result import Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

BLOCKS: Mapping[str, NetworkSpec] = {
    **{name: NetworkSpec(activation=name) for name in ACTIVATIONS},
    "skip_every=2": NetworkSpec(skip_every=2),
    "rezero": NetworkSpec(skip_every=1, skip_scale="zero"),
    "norm=layer": NetworkSpec(norm="layer"),
    "norm=batch": NetworkSpec(norm="batch"),
}
SHAPES = ((50, 4), (10, 25))
CURVE_EVERY = 50
"""Epochs between looks at the whole training set: those of a training of 5,000 epochs."""
PENALTIES = {"none": PenaltySpec(), "Sep-UP": PenaltySpec("UP")}


def seconds(engine: NativeEngine, cell: Cell) -> float:
    """Of the training of one cell."""
    results: list[Result] = []
    data = load(cell.dataset, Path("data"))
    engine.train([cell], data, on_result=results.append, on_progress=lambda *_: None)
    (result,) = results
    if result.status == "failed":
        raise RuntimeError(result.error)
    return result.seconds


def step_times(engine: NativeEngine, epochs: int, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds a step, of every block by the network and penalty that it is trained with."""
    found: dict[str, dict[str, float]] = {name: {} for name in BLOCKS}
    for depth, width in SHAPES:
        for kind, penalty in PENALTIES.items():
            # a rate at which nothing diverges: a network that stops early is none that is fast
            base = Cell(depth=depth, width=width, penalty=penalty, optimizer=OptimizerSpec(epochs=epochs, lr=1e-4))
            column = f"{depth}×{width} {kind}"
            for _ in range(rounds):
                for name, network in BLOCKS.items():
                    each = 1e6 / epochs * seconds(engine, replace(base, network=network))
                    found[name][column] = min(each, found[name].get(column, each))
    return found


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100, help="steps of a training")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--instruction-set", default=None, choices=instruction_sets())
    parser.add_argument("--json", type=Path, help="where the microseconds are written")
    arguments = parser.parse_args()
    engine = NativeEngine(curve_every=CURVE_EVERY, instruction_set=arguments.instruction_set)
    times = step_times(engine, arguments.epochs, arguments.rounds)
    columns = list(times["relu"])
    print("| block | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    print("| relu, µs a step | " + " | ".join(f"{times['relu'][column]:.1f}" for column in columns) + " |")
    for name, row in times.items():
        print(f"| {name} | " + " | ".join(f"{row[column] / times['relu'][column]:.2f}" for column in columns) + " |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(times, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
