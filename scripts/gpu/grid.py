"""The published grid on one GPU: fleet by fleet as far as the time goes, the rest extrapolated."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from benchmark.grid import DEPTHS, EPOCHS, WIDTHS, Shape, step_operations

from gpu.device import cell_of, free, matmul_rate, moons, synchronise
from gpu.findings import Clock, Findings
from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.eager.engine import torch_for
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.fleet import Fleet
from jumpstart_exp.sweep.fleets import form_fleets

METHODS: dict[str, dict[str, Any]] = {
    "relu": {"penalty": {"kind": "none"}},
    "relu_bn": {"penalty": {"kind": "none"}, "network": {"norm": "batch", "norm_eps": 1e-3, "norm_momentum": 0.01}},
    **{f"sep_{kind.lower()}": {"penalty": {"kind": kind}} for kind in ("U", "P", "UP", "L")},
    "zero_init": {
        "penalty": {"kind": "UP", "balance": 0.51},
        "network": {"init": "zero"},
        "dropout": {"rate": 0.9, "anneal_epochs": 1000},
    },
}
"""As conf/method has them."""

SEEDS = 10
_WARM_UP = 6
"""Epochs that are not timed: three as they are, the capture, the first replays."""


@dataclass
class Timed:
    """A fleet: what was timed of it.

    Attributes:
        cells: its networks.
        set_up: seconds until its first step.
        epochs: timed.
        seconds: that these took.
        is_dropping: whether dropout was on in them.
    """

    cells: Sequence[Cell]
    cost: float
    set_up: float = 0.0
    epochs: int = 0
    seconds: float = 0.0
    is_dropping: bool = False

    @property
    def method(self) -> str:
        """Its method's name."""
        return self.cells[0].method

    @property
    def widths(self) -> tuple[int, int]:
        """Least and largest width."""
        widths = [cell.width for cell in self.cells]
        return min(widths), max(widths)

    @property
    def an_epoch(self) -> float:
        """Seconds, evaluations of the training set with it."""
        return self.seconds / self.epochs if self.epochs else math.nan


def run(found: Findings, clock: Clock, device: torch.device) -> None:
    """Every fleet for a share of the time, those with the most work first."""
    is_dry = device.type == "cpu"
    rate = matmul_rate(device, torch.float32, 256 if is_dry else 8192)
    cells = grid(2, (1, 5, 10), (2, 5)) if is_dry else grid(SEEDS, DEPTHS, WIDTHS)
    cost = {cell.key: StackedEngine.estimate_seconds(cell) for cell in cells}
    fleets = [
        Timed(fleet, sum(cost[cell.key] for cell in fleet))
        for fleet in form_fleets(StackedEngine, device.type, cells, cost, 1)
    ]
    data = moons()
    for index, fleet in enumerate(fleets):
        if clock.is_over(found, f"{len(fleets) - index} of {len(fleets)} fleets"):
            break
        # half of the time in equal parts: small fleets have more calls than work, of which the cost model knows nothing
        rest = fleets[index:]
        span = clock.left * (0.5 / len(rest) + 0.5 * fleet.cost / sum(one.cost for one in rest))
        span = min(span, 0.2) if is_dry else span
        _time(fleet, span, data, device)
        _report(found, fleets, rate, device)
        found.keep()


def grid(seeds: int, depths: Sequence[int], widths: Sequence[int]) -> list[Cell]:
    """Every method, seed and network of MOONS (CPAIOR, figure 2; ICLR, figures 1, 4 and 5)."""
    return [
        cell_of(method, **config, depth=depth, width=width, seed=seed, optimizer={"lr": 0.01, "epochs": EPOCHS})
        for method, config in METHODS.items()
        for seed in range(seeds)
        for depth in depths
        for width in widths
    ]


def _time(timed: Timed, span: float, data: Any, device: torch.device) -> None:
    """Train a fleet for so many seconds, its set-up among them, and at least until the training set was evaluated."""
    free(device)
    begun = time.perf_counter()
    with torch_for(timed.cells[0]):
        fleet = Fleet(timed.cells, data, device)
        synchronise(device)
        timed.set_up = time.perf_counter() - begun
        while fleet.epochs_done < _WARM_UP:
            fleet.train_for(0.0)
        synchronise(device)
        clock, first = time.perf_counter(), fleet.epochs_done
        while fleet.is_training and (
            time.perf_counter() - begun < span or fleet.epochs_done - first < fleet.curve_every
        ):
            fleet.train_for(min(0.25, span / 20))
        synchronise(device)
    timed.seconds, timed.epochs = time.perf_counter() - clock, fleet.epochs_done - first
    timed.is_dropping = timed.cells[0].dropout.rate > 0 and fleet.epochs_done <= fleet.anneal_epochs


def whole_seconds(timed: Timed, fleets: Sequence[Timed]) -> float:
    """Seconds of all epochs of a fleet that was timed, without its set-up.

    Where dropout was on in all epochs that were timed, those after it take as long as those of Sep-UP's same fleet.
    """
    if not timed.is_dropping:
        return EPOCHS * timed.an_epoch
    dropping = timed.cells[0].dropout.anneal_epochs
    alike = [one for one in fleets if one.method == "sep_up" and one.widths == timed.widths and one.epochs]
    after = alike[0].an_epoch if alike else timed.an_epoch
    return dropping * timed.an_epoch + (EPOCHS - dropping) * after


def _report(found: Findings, fleets: Sequence[Timed], rate: float, device: torch.device) -> None:
    """The tables anew, of what was timed by now."""
    timed = [fleet for fleet in fleets if fleet.epochs]
    found.tables.clear()
    found.notes.clear()
    known = sum(whole_seconds(fleet, fleets) + fleet.set_up for fleet in timed)
    a_cost = known / sum(fleet.cost for fleet in timed)
    whole = known + a_cost * sum(fleet.cost for fleet in fleets if not fleet.epochs)
    networks = sum(len(fleet.cells) for fleet in fleets)
    for fleet in timed:
        found.row(
            "Fleets",
            method=fleet.method,
            networks=len(fleet.cells),
            widths=f"{fleet.widths[0]}–{fleet.widths[1]}",
            **{
                "set-up s": fleet.set_up,
                "epochs timed": fleet.epochs,
                "ms an epoch": 1000 * fleet.an_epoch,
                "network steps a second": len(fleet.cells) / fleet.an_epoch,
                "of the matmul rate": _operations(fleet) / fleet.an_epoch / rate,
            },
        )
    operations = EPOCHS * sum(map(_operations, fleets))
    done = sum(len(fleet.cells) * fleet.epochs for fleet in timed)
    shown = {
        "networks": networks,
        "seconds": whole,
        "networks a second": networks / whole,
        "network steps a second": networks * EPOCHS / whole,
        "of the matmul rate": operations / whole / rate,
        "float32 matmul, TFLOP/s": rate / 1e12,
        "steps that were taken": done / (networks * EPOCHS),
    }
    found.row("Grid", **shown)
    found.is_cut = done < networks * EPOCHS
    if found.is_cut:
        found.notes.append(
            f"extrapolated: {done / (networks * EPOCHS):.1%} of the steps were taken, in {len(timed)} of {len(fleets)} "
            "fleets; their times are carried on to 5,000 steps, and to the other fleets by the cost model's shares"
        )
    found.notes.append("operations are 6 × points × weights a step and network, without the penalty's")
    if device.type == "cpu":
        found.notes.append("a few small networks on the CPU, in place of the grid")


def _operations(fleet: Timed) -> float:
    """Of one step of a fleet's networks."""
    return float(sum(step_operations(Shape(cell.depth, cell.width)) for cell in fleet.cells))
