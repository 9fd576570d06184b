"""What penalty and census cost on models of somebody else's: time and memory of a training step with and without them.

    python scripts/bench_library.py [--quick] [--rounds N] [--threads N ...] [--json FILE]

Forward and backward pass of one batch, side by side in turns. Of each way the fastest round counts, in processor time:
whatever else a machine does, it only slows down.

* plain: the task's loss alone.
* default: with `SeparationPenalty()`, Sep-UP over whole channels, single ties; `shared` and `random` with these ties.
* position, …: one constraint a position.
* census: of the batch, by itself, without a step.

Memory is the largest size that a process of its own reaches, less what it had before the first step.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from jumpstart_exp import SeparationPenalty, census
from jumpstart_exp.console import notes, output
from jumpstart_exp.data.image_files import torchvision_module
from jumpstart_exp.memory import peak_memory_bytes, resident_bytes

PENALTIES: dict[str, dict[str, Any]] = {
    "default": {},
    "shared": {"ties": "shared"},
    "random": {"ties": "random"},
    **{f"position, {ties}": {"scope": "position", "ties": ties} for ties in ("single", "shared", "random")},
}
WAYS = ("plain", *PENALTIES, "census")

WEIGHT = 1e-6
"""λ: small, so that all ways train on the same."""


@dataclass(frozen=True)
class Model:
    """A model with a batch.

    Attributes:
        name: what it is.
        build: the model, of random weights, and one batch with its labels.
        has_channels_last: whether its pre-activations are (points, positions, channels).
    """

    name: str
    build: Callable[[bool], tuple[nn.Module, Tensor, Tensor]]
    has_channels_last: bool


def resnet18(quick: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """ResNet-18 as it is trained on CIFAR-10: a first convolution of 3×3 without stride, no pooling behind it."""
    model = torchvision_module("models").resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    batch, size = (2, 16) if quick else (32, 32)
    return model, torch.randn(batch, 3, size, size), torch.arange(batch) % 10


class Classifier(nn.Module):
    """A transformer encoder whose mean output over the tokens is classified."""

    def __init__(self, channels: int = 128, heads: int = 4, layers: int = 4) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            channels, heads, 4 * channels, dropout=0.0, activation=nn.GELU(), batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.output = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (points, 10) of (points, tokens, channels)."""
        logits: Tensor = self.output(self.encoder(x).mean(1))
        return logits


def transformer(quick: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """A small encoder: 4 layers, 128 channels, 64 tokens."""
    batch, tokens = (2, 8) if quick else (32, 64)
    return Classifier(), torch.randn(batch, tokens, 128), torch.arange(batch) % 10


MODELS = (
    Model("ResNet-18, CIFAR-10", resnet18, has_channels_last=False),
    Model("transformer 4×128, 64 tokens", transformer, has_channels_last=True),
)


class Stepper:
    """One way to train a model, step by step."""

    def __init__(self, model: Model, way: str, *, quick: bool) -> None:
        torch.manual_seed(0)
        self.way = way
        self.model, self.x, self.y = model.build(quick)
        self.penalty = SeparationPenalty(**PENALTIES[way]).watch(self.model) if way in PENALTIES else None

    def step(self) -> None:
        """Forward and backward pass of the batch, or its census."""
        if self.way == "census":
            census(self.model, self.x)
            return
        self.model.zero_grad()
        loss = nn.functional.cross_entropy(self.model(self.x), self.y)
        if self.penalty is not None:
            loss = loss + WEIGHT * self.penalty()
        loss.backward()

    def seconds(self) -> float:
        """Processor time of a step."""
        begun = time.process_time()
        self.step()
        return time.process_time() - begun


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description="Time and memory of a step with and without penalty or census.")
    parser.add_argument("--quick", action="store_true", help="small batches: to see that it runs")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is timed; the default is 7")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="torch's threads; the default is 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--memory-of", nargs=2, metavar=("MODEL", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(_memory(MODELS[int(options.memory_of[0])], options.memory_of[1], quick=options.quick))
        return
    report: list[dict[str, Any]] = []
    for number, model in enumerate(MODELS):
        report.append(measure(number, model, options))
        _print(model, report[-1])
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps({"torch": torch.__version__, "models": report}, indent=1) + "\n")


def measure(number: int, model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one model."""
    notes().print(f"{model.name}: time")
    steppers = {way: Stepper(model, way, quick=options.quick) for way in WAYS}
    found: dict[str, Any] = {"model": model.name, "seconds": {}, "times_plain": {}}
    for threads in options.threads:
        torch.set_num_threads(threads)
        for stepper in steppers.values():
            stepper.step()  # warm-up
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(options.rounds):
            first = turn % len(WAYS)
            for way in WAYS[first:] + WAYS[:first]:
                times[way].append(steppers[way].seconds())
        fastest = {way: min(values) for way, values in times.items()}
        found["seconds"][str(threads)] = {way: {"fastest": fastest[way], "all": times[way]} for way in WAYS}
        found["times_plain"][str(threads)] = {way: fastest[way] / fastest["plain"] for way in WAYS}
    del steppers
    notes().print(f"{model.name}: memory")
    measured = WAYS[:2] if options.quick else WAYS  # a process each, which takes seconds to start
    memory = {way: _child(number, way, quick=options.quick) for way in measured}
    found["memory_bytes"] = memory
    found["memory_times_plain"] = {way: own / memory["plain"] for way, own in memory.items()}
    return found


def _memory(model: Model, way: str, *, quick: bool) -> int:
    """Bytes that three steps add to the process."""
    torch.set_num_threads(1)
    stepper = Stepper(model, way, quick=quick)
    before = resident_bytes()
    for _ in range(3):
        stepper.step()
    return peak_memory_bytes() - before


def _child(number: int, way: str, *, quick: bool) -> int:
    command = [sys.executable, __file__, *(["--quick"] if quick else []), "--memory-of", str(number), way]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _print(model: Model, found: dict[str, Any]) -> None:
    table = Table(title=model.name, title_justify="left")
    table.add_column("")
    for threads in found["seconds"]:
        table.add_column("ms" if threads == "1" else f"ms, {threads} threads", justify="right")
        table.add_column("× plain", justify="right")
    for column in ("MiB", "× plain"):
        table.add_column(column, justify="right")
    for way in WAYS:
        cells = []
        for threads, seconds in found["seconds"].items():
            cells += [f"{1000 * seconds[way]['fastest']:.1f}", f"{found['times_plain'][threads][way]:.3f}"]
        if way in found["memory_bytes"]:
            cells += [f"{found['memory_bytes'][way] / 2**20:.0f}", f"{found['memory_times_plain'][way]:.3f}"]
        table.add_row(way, *cells)
    output().print(table)


if __name__ == "__main__":
    main()
