"""What the separation penalty costs on images: time and memory of a training step, with and without it, side by side.

    python scripts/bench_images.py [--quick] [--rounds N] [--device cpu|cuda] [--json FILE]

Seven ways to train the same network on the same batch, one thread each on the CPU, in turns. Of each way the fastest
round counts: whatever else a machine does, it only slows down.

* without: the engine `eager`, no penalty.
* satisfied: with Sep-UP, every constraint met (margins that the network's pre-activations reach).
* active: with Sep-UP, margins so far out that no constraint is met.
* positions: active with one constraint a position, ties shared: the authors' Keras code.
* positions single, positions random: the same with other ties.
* reference: with Sep-UP as plain torch does it, every pre-activation kept: the papers' way.

Memory is the largest size that a process of its own reaches, less what it had before the first step. Beside it: how far
each penalty's gradients are from the reference's in float64, and what a machine trains with a process a core and with
one process on all cores.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from jumpstart_exp.cell import Cell
from jumpstart_exp.console import notes, output
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.limits import cpu_count
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.memory import peak_memory_bytes, resident_bytes
from jumpstart_exp.networks.cnn import RectangularCNN

TIES_OF_POSITIONS = {"positions": "shared", "positions single": "single", "positions random": "random"}
WAYS = ("without", "satisfied", "active", *TIES_OF_POSITIONS, "reference")
MARGINS = {"satisfied": 1e-9}
"""Beside ±1e6."""


@dataclass(frozen=True)
class Network:
    """A published network with its batch."""

    dataset: str
    depth: int
    width: int
    batch: int
    head: str

    @property
    def name(self) -> str:
        """Dataset and depth × width."""
        return f"{self.dataset} {self.depth}×{self.width}, batch {self.batch}"


NETWORKS = (Network("mnist", 20, 8, 1024, "flatten"), Network("cifar10", 20, 32, 128, "max_avg_pool"))
QUICK = (Network("cifar10", 3, 8, 16, "max_avg_pool"),)


class Stepper:
    """One of the ways to train a network, step by step."""

    def __init__(self, network: Network, way: str, device: str, precision: str = "float32") -> None:
        margin = MARGINS.get(way, 1e6)
        penalty = {"kind": "UP", "weight": 1e-14, "margin_above": margin, "margin_below": -margin}
        if way in TIES_OF_POSITIONS:
            penalty |= {"scope": "position", "ties": TIES_OF_POSITIONS[way]}
        cell = Cell.from_config(
            {
                "dataset": {"name": network.dataset, "n_train": network.batch, "n_val": 100},
                "depth": network.depth,
                "width": network.width,
                "network": {"layout": "cnn", "head": network.head},
                "penalty": {"kind": "none"} if way == "without" else penalty,
                "optimizer": {"lr": 1e-6, "batch_size": network.batch, "epochs": 1_000_000},
                "precision": precision,
            },
            way,
        )
        self.way, self.device, self.weight = way, torch.device(device), cell.penalty_weight
        self.training = Training(cell, _random_images(cell), self.device)
        self.x, self.y = self.training.full_batch()
        self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.reference = SeparationPenalty("UP", margin_above=margin, margin_below=-margin)
        self._centre()

    @torch.no_grad()
    def _centre(self) -> None:
        """Biases that give every channel the mean 0, so that none is dead or linear."""
        h = self.x
        for layer in self.training.network.hidden:
            assert isinstance(layer, torch.nn.Conv2d) and layer.bias is not None
            layer.bias -= layer(h).mean(dim=(0, 2, 3))
            h = torch.relu(layer(h))

    def losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Total loss and penalty of the batch."""
        if self.way != "reference":
            loss = self.training.loss(self.x, self.y, 0, 0, None)
            return loss.total, loss.terms.get("separation", torch.zeros(()))
        assert isinstance(self.training.network, RectangularCNN)
        logits, pre_activations = self.training.network(self.x)
        penalty = self.reference(pre_activations)
        return torch.nn.functional.cross_entropy(logits, self.y) + self.weight * penalty, penalty

    def step(self) -> float:
        """Take a step; its penalty."""
        total, penalty = self.losses()
        self.training.step(total)
        return penalty.item()

    def seconds(self) -> float:
        """Seconds of a step: processor time on the CPU, on the clock on a GPU."""
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        begun = clock()
        self.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return clock() - begun

    def gradients(self) -> list[torch.Tensor]:
        """Of the total loss, a tensor a parameter."""
        return list(torch.autograd.grad(self.losses()[0], self.training.parameters))


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description="Time and memory of a training step with and without the penalty.")
    parser.add_argument("--quick", action="store_true", help="one tiny network: to see that it runs")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is timed; the default is 7")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--memory-of", nargs=2, metavar=("NETWORK", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--steps-on", nargs=3, metavar=("NETWORK", "THREADS", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    networks = QUICK if options.quick else NETWORKS
    if options.memory_of:
        print(_memory(networks[int(options.memory_of[0])], options.memory_of[1], options.device))
        return
    if options.steps_on:
        number, threads, seconds = options.steps_on
        print(_steps_a_second(networks[int(number)], int(threads), float(seconds)))
        return
    torch.set_num_threads(1)
    report: list[dict[str, Any]] = []
    for number, network in enumerate(networks):
        report.append(measure(number, network, options))
        _print(report[-1])
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            document = {"torch": torch.__version__, "device": options.device, "networks": report}
            options.json.write_text(json.dumps(document, indent=1) + "\n")


def measure(number: int, network: Network, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one network."""
    notes().print(f"{network.name}: time")
    steppers = {way: Stepper(network, way, options.device) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for way, stepper in steppers.items():
        penalty = stepper.step()  # warm-up
        if way == "satisfied" and penalty != 0:
            raise SystemExit(f"error: {network.name}: a constraint is not met ({penalty:g})")
    for turn in range(options.rounds):
        first = turn % len(WAYS)
        for way in WAYS[first:] + WAYS[:first]:
            times[way].append(steppers[way].seconds())
    del steppers
    notes().print(f"{network.name}: memory")
    memory = {way: _child(options, "--memory-of", number, way) for way in WAYS}
    notes().print(f"{network.name}: gradients, processes")
    seconds = {way: min(values) for way, values in times.items()}
    found: dict[str, Any] = {
        "network": asdict(network) | {"name": network.name},
        "seconds": {way: {"fastest": seconds[way], "all": values} for way, values in times.items()},
        "times_without": {way: seconds[way] / seconds["without"] for way in WAYS},
        "memory_bytes": memory,
        "memory_times_without": {way: memory[way] / memory["without"] for way in WAYS},
        "gradient_deviation": {way: _deviation(network, way) for way in ("satisfied", "active", *TIES_OF_POSITIONS)},
    }
    if options.device == "cpu":
        cores = cpu_count()
        span = 1 if options.quick else 8
        alone = [_start(options, "--steps-on", number, 1, span) for _ in range(cores)]
        found["steps_a_second"] = {
            "cores": cores,
            "a process a core": sum(float(_answer(process)) for process in alone),
            "one process on all cores": float(_answer(_start(options, "--steps-on", number, cores, span))),
        }
    return found


def _deviation(network: Network, way: str) -> float:
    """The largest deviation of a gradient from the reference's, relative to its tensor's largest entry, in float64."""
    small = Network(network.dataset, network.depth, network.width, min(network.batch, 32), network.head)
    ours = Stepper(small, way, "cpu", "float64")
    found = ours.gradients()
    ours.way = "reference"
    ours.reference = SeparationPenalty.from_spec(ours.training.cell.penalty)
    expected = ours.gradients()
    return max(
        ((a - b).abs().max() / b.abs().max().clamp_min(1e-300)).item() for a, b in zip(found, expected, strict=True)
    )


def _memory(network: Network, way: str, device: str) -> int:
    """Bytes that three steps add to the process, or take on the GPU."""
    torch.set_num_threads(1)
    stepper = Stepper(network, way, device)
    if device == "cuda":
        stepper.step()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resident_bytes()
    for _ in range(3):
        stepper.step()
    return (torch.cuda.max_memory_allocated() if device == "cuda" else peak_memory_bytes()) - before


def _steps_a_second(network: Network, threads: int, seconds: float) -> float:
    torch.set_num_threads(threads)
    stepper = Stepper(network, "active", "cpu")
    stepper.step()
    steps, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        stepper.step()
        steps += 1
    return steps / (time.perf_counter() - begun)


def _random_images(cell: Cell) -> Data:
    """Images of the dataset's size: the time of a step does not depend on what they show."""
    assert cell.dataset.image is not None
    random = torch.Generator().manual_seed(0)
    train, val = (
        torch.randint(0, 256, (count, *cell.dataset.image), generator=random, dtype=torch.uint8)
        for count in cell.dataset.sizes()
    )
    labels = [torch.arange(len(x)) % cell.dataset.classes for x in (train, val)]
    channels = cell.dataset.image[0]
    return Data(train, labels[0], val, labels[1], (0.5,) * channels, (0.25,) * channels)


def _start(options: argparse.Namespace, *arguments: object) -> "subprocess.Popen[str]":
    flags = ["--device", options.device, *(["--quick"] if options.quick else [])]
    command = [sys.executable, __file__, *flags, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _answer(process: "subprocess.Popen[str]") -> str:
    answer, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"error: a measurement ended with exit code {process.returncode}")
    return answer


def _child(options: argparse.Namespace, *arguments: object) -> int:
    return int(_answer(_start(options, *arguments)))


def _print(found: dict[str, Any]) -> None:
    table = Table(title=found["network"]["name"], title_justify="left")
    for column in ("", "ms a step", "× without", "MiB", "× without", "gradients off by"):
        table.add_column(column, justify="left" if not column else "right")
    for way in WAYS:
        deviation = found["gradient_deviation"].get(way)
        table.add_row(
            way,
            f"{1000 * found['seconds'][way]['fastest']:.1f}",
            f"{found['times_without'][way]:.3f}",
            f"{found['memory_bytes'][way] / 2**20:.0f}",
            f"{found['memory_times_without'][way]:.3f}",
            "" if deviation is None else f"{deviation:.0e}",
        )
    output().print(table)
    if "steps_a_second" in found:
        rates = found["steps_a_second"]
        output().print(
            f"{rates['cores']} cores train {rates['a process a core']:.2f} steps a second with a process a core, "
            f"{rates['one process on all cores']:.2f} with one process on all of them"
        )


if __name__ == "__main__":
    main()
