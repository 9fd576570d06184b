"""A step of the published CNNs with and without the penalty: how long it takes on the device, and what memory."""

import itertools
from typing import Any

import torch

from gpu.device import cell_of, free, images, seconds_of
from gpu.findings import Clock, Findings
from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.eager.engine import torch_for
from jumpstart_exp.engines.eager.training import Training

NETWORKS = (("mnist", 20, 8, 1024, "flatten"), ("cifar10", 20, 32, 128, "max_avg_pool"))
"""Dataset, depth, width, batch and head, as published."""

WAYS: dict[str, dict[str, Any]] = {
    "without": {"kind": "none"},
    "whole channels": {"kind": "UP"},
    "a position, shared": {"kind": "UP", "scope": "position", "ties": "shared"},
    "a position, single": {"kind": "UP", "scope": "position"},
    "a position, random": {"kind": "UP", "scope": "position", "ties": "random"},
}

PRECISIONS = ("float32", "tf32", "bf16")


def run(found: Findings, clock: Clock, device: torch.device) -> None:
    """Every network, precision and kind of penalty, all of whose constraints pull."""
    is_dry = device.type == "cpu"
    found.notes.append("mini-batches as in training; steps with random ties draw on the host and are no graphs")
    for (dataset, depth, width, batch, head), precision in itertools.product(NETWORKS, PRECISIONS):
        if is_dry and precision == "tf32":
            continue  # the CPU does not round to it
        if is_dry:
            depth, width, batch = 2, 4, 8
        plain: tuple[float, int] | None = None
        for way, penalty in WAYS.items():
            name = f"{dataset} {depth}×{width}, batch {batch}"
            if clock.is_over(found, f"{name}, {precision}, {way}"):
                return
            active = {} if way == "without" else {"weight": 1e-14, "margin_above": 1e6, "margin_below": -1e6}
            cell = cell_of(
                way,
                dataset={"name": dataset, "n_train": 2 * batch, "n_val": 100},
                depth=depth,
                width=width,
                network={"layout": "cnn", "head": head},
                penalty={**penalty, **active},
                optimizer={"lr": 1e-6, "batch_size": batch, "epochs": 1_000_000},
                precision=precision,
            )
            seconds, memory, is_graph = _step(cell, device, least=0.002 if is_dry else 0.1)
            plain = plain or (seconds, memory)
            found.row(
                "Steps",
                network=name,
                precision=precision,
                penalty=way,
                graph="yes" if is_graph else "no",
                **{
                    "ms a step": 1000 * seconds,
                    "× without": seconds / plain[0],
                    "MiB": memory / 2**20 if device.type == "cuda" else "not measured",
                    "memory × without": memory / plain[1] if device.type == "cuda" else "not measured",
                },
            )
        found.keep()


def _step(cell: Cell, device: torch.device, least: float) -> tuple[float, int, bool]:
    """Seconds of a step, the peak of its memory on the device in bytes, whether it is a graph."""
    free(device)
    on_cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if on_cuda else 0
    with torch_for(cell):
        training = Training(cell, images(cell), device)
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        points = torch.arange(cell.batch_size, device=device)

        def step() -> None:
            if training.replayed is None:
                training._train_batch(0, 0, points)
            else:
                training._replay(0, 0, points)

        for _ in range(6):  # three as they are, the capture, replays
            step()
        seconds = seconds_of(step, device, 5, least)
        if not training.sums.isfinite().all():
            raise AssertionError(f"{cell.method}, {cell.precision}: a loss is no number")
    peak = torch.cuda.max_memory_allocated(device) - before if on_cuda else 0
    return seconds, peak, training.replayed is not None
