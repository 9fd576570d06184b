"""A regulariser of one's own: many networks at once in `stacked` beside the loop in plain torch, side by side.

    python scripts/bench_own.py [--depth 50] [--width 4] [--networks 72] [--rounds 3]

Every round times an epoch of each contender, one after the other, in processor time, one thread; the figures are
medians. `plain torch` is a loop over networks: a module, autograd, torch's fused Adam, the validation after each epoch,
as `stacked` has it. The regulariser is the squared mean of every unit's pre-activations.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from plain_torch import LEARNING_RATE, Network
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.sources import with_sources
from jumpstart_exp.console import output
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.functional import FunctionalFleet
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.regulariser import RegulariserSpec

WEIGHT = 0.01

SOURCE = """import torch


def squared_mean(pre_activations, parameters):
    return torch.stack([pre.mean(0).square().mean() for pre in pre_activations]).mean()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time a regulariser of one's own in stacked and in plain torch.")
    for name, usual in {"depth": 50, "width": 4, "networks": 72, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=usual)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("bench_ideas.py").write_text(SOURCE)
        own = RegulariserSpec("bench_ideas:squared_mean", WEIGHT)
        optimizer = OptimizerSpec(lr=LEARNING_RATE, epochs=1_000_000)
        base = Cell(depth=options.depth, width=options.width, optimizer=optimizer)
        cells = [replace(base, seed=seed) for seed in range(options.networks)]
        data = load(base.dataset, Path())
        variants = {
            "the regulariser": with_sources([replace(cell, regulariser=own) for cell in cells]),
            "gelu": [replace(cell, network=NetworkSpec(activation="gelu")) for cell in cells],
            "layer norm": [replace(cell, network=NetworkSpec(norm="layer")) for cell in cells],
        }
        steps = {"plain torch, a loop": plain_loop(options.depth, options.width, options.networks, data)}
        steps |= {f"stacked, {name}": epochs_of(fleet, data) for name, fleet in variants.items()}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for round_ in range(options.rounds + 1):
            for name, step in steps.items():
                before = time.process_time()
                step()
                if round_:  # the first warms up
                    seconds[name].append(time.process_time() - before)
    plain = statistics.median(seconds["plain torch, a loop"])
    output().print(f"{options.networks} networks of {options.depth}×{options.width}, ms an epoch of all of them:")
    for name, found in seconds.items():
        median = statistics.median(found)
        output().print(f"{name:28} {1e3 * median:9.1f}   {plain / median:6.1f} × as fast as the loop", markup=False)


def epochs_of(cells: Sequence[Cell], data: Data) -> Callable[[], None]:
    """An epoch of a fleet, validated, without curve rows."""
    assert StackedEngine.refuses(cells[0]) is None
    fleet = FunctionalFleet(cells, data, torch.device("cpu"), curve_every=10**9)
    fleet.train_epoch()  # the first ends with a curve row
    fleet.epochs_done += 1
    return torch.no_grad()(fleet.train_epoch)


def plain_loop(depth: int, width: int, networks: int, data: Data) -> Callable[[], None]:
    """An epoch of networks one after the other: a step, and the validation after it."""
    x, x_val = data.x_train.float(), data.x_val.float()
    y, y_val = data.y_train.float(), data.y_val.float()
    models = [Network(depth, width) for _ in range(networks)]
    adams = [torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True) for model in models]

    def squared_mean(pre_activations: Sequence[Tensor]) -> Tensor:
        return torch.stack([pre.mean(0).square().mean() for pre in pre_activations]).mean()

    def epoch() -> None:
        for model, adam in zip(models, adams, strict=True):
            logits, pre_activations = model(x)
            loss = F.binary_cross_entropy_with_logits(logits, y) + WEIGHT * squared_mean(pre_activations)
            adam.zero_grad()
            torch.autograd.backward(loss)
            adam.step()
            loss.item(), ((logits > 0) == y).sum().item()
            with torch.no_grad():
                outside = model(x_val)[0]
                F.binary_cross_entropy_with_logits(outside, y_val).item(), ((outside > 0) == y_val).sum().item()

    return epoch


if __name__ == "__main__":
    main()
