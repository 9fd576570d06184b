"""What relaxed activation identity costs: the time of a step beside an ordinary one of the same network, in one run.

    python scripts/bench_relaxed.py --json results/bench_relaxed.json

A logistic network of 100 layers of 100 units learns 100 points of MOONS, on one thread: in plain torch (the engine
eager), as one of a fleet of stacked, in native. Of the step alone: nothing is evaluated. Rounds go through all in turn,
and the fastest of each counts, because whatever else the machine does only adds to it. A relaxed step may cost an
ordinary one and the optimizer's work on z, which is timed by itself where it is a call of its own.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines.eager.engine import torch_for
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.stacked.functional import FunctionalFleet
from jumpstart_exp.result import Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec

ORDINARY, RELAXED, Z = "ordinary step", "relaxed step", "z's optimizer"
_CPU = torch.device("cpu")


def of_eager(cell: Cell, data: Data, steps: int) -> dict[str, float]:
    """Seconds of a step, and of the optimizer's work on z."""
    with torch_for(cell):
        training = Training(cell, data, _CPU)
        x, y = training.full_batch()

        def step() -> None:
            training.step(training.loss(x, y, 0, 0, None).total)

        found = {RELAXED if cell.rai_weight else ORDINARY: _each(step, steps)}
        if cell.rai_weight:
            found[Z] = _each(lambda: training.optimizers[1][0].step(), steps)
    return found


def of_stacked(cell: Cell, data: Data, steps: int, networks: int) -> dict[str, float]:
    """The same for each network of a fleet."""
    torch.set_num_threads(1)
    with torch.no_grad():
        fleet = FunctionalFleet([replace(cell, seed=seed) for seed in range(networks)], data, _CPU)
        found = {RELAXED if cell.rai_weight else ORDINARY: _each(lambda: fleet.step(0, 0, None), steps) / networks}
        if (relaxed := fleet.relaxed) is not None:
            found[Z] = _each(lambda: relaxed.optimizer.step(torch.tensor(steps)), steps) / networks
    return found


def of_native(cell: Cell, data: Data, steps: int) -> dict[str, float]:
    """Of the step alone: that of the optimizer is a part of it."""
    engine = NativeEngine(evaluate=False)

    def train(epochs: int) -> float:
        results: list[Result] = []
        own = replace(cell, optimizer=replace(cell.optimizer, epochs=epochs))
        begin = time.perf_counter()
        engine.train([own], data, on_result=results.append, on_progress=lambda *_: None)
        if results[0].status == "failed":
            raise RuntimeError(results[0].error)
        return time.perf_counter() - begin

    return {RELAXED if cell.rai_weight else ORDINARY: (train(2 * steps) - train(steps)) / steps}


def _each(call: Callable[[], object], times: int) -> float:
    call()
    begin = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - begin) / times


def measure(depth: int, width: int, steps: int, rounds: int, networks: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a step, by engine and optimizer."""
    data = load(Moons(n_samples=118), Path("data"))
    ways: Mapping[str, Callable[[Cell, Data, int], dict[str, float]]] = {
        "plain torch (eager)": of_eager,
        f"stacked, {networks} networks": lambda cell, data, steps: of_stacked(cell, data, steps, networks),
        "native": of_native,
    }
    base = Cell(
        dataset=Moons(n_samples=118),
        depth=depth,
        width=width,
        network=NetworkSpec(activation="logistic"),
        penalty=PenaltySpec(),
    )
    found: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for optimizer in ("adam", "rprop"):
            for engine, time_of in ways.items():
                own = found.setdefault(f"{engine}, {optimizer}", {})
                for weight in (0.0, 1.0):
                    spec = OptimizerSpec(name=optimizer, lr=1e-4, epochs=10_000)
                    cell = replace(base, rai=RaiSpec(weight=weight), optimizer=spec)
                    for name, seconds in time_of(cell, data, steps).items():
                        own[name] = min(own.get(name, 1e9), 1e3 * seconds)
    return found


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", type=int, default=4, help="of stacked's fleet")
    parser.add_argument("--json", type=Path, help="where the milliseconds are written")
    arguments = parser.parse_args()
    times = measure(arguments.depth, arguments.width, arguments.steps, arguments.rounds, arguments.networks)
    print(f"| ms a step | {ORDINARY} | {RELAXED} | {Z} | relaxed / ordinary | without {Z} |\n|---|---|---|---|---|---|")
    for name, row in times.items():
        own = row.get(Z)
        ratios = [row[RELAXED] / row[ORDINARY], None if own is None else (row[RELAXED] - own) / row[ORDINARY]]
        cells = [row[ORDINARY], row[RELAXED], own, *ratios]
        print(f"| {name} | " + " | ".join("" if value is None else f"{value:.2f}" for value in cells) + " |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(times, indent=1) + "\n")


if __name__ == "__main__":
    main()
