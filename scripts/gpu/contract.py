"""The contract of the engines, and the penalties, on the device: against float64 on the CPU."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from compare_engines import METHODS, difference, moved_by_one_unit

from gpu.device import cell_of, images, largest, moons, without_graphs
from gpu.findings import Clock, Findings
from gpu.penalties import run as run_penalties
from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.engine import EagerEngine, torch_for
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.probe import Probe
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.result import Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.penalty import PenaltySpec

ALLOWED = 1e-9
"""Of loss, penalty and gradients in float64, relative to a tensor's largest entry (docs/architecture.md)."""

ROUNDED = {"float32": 1e-3, "tf32": 3e-2, "bf16": 0.25}
"""The same where products are rounded: numbers of 24, 11 and 8 bits, through six layers."""

FLEETS: dict[str, dict[str, Any]] = {
    **METHODS,
    "elu, by torch.func": {"network": NetworkSpec(activation="elu"), "penalty": PenaltySpec(kind="UP")},
    "random ties": {"penalty": PenaltySpec(kind="UP", ties="random")},
}

CNNS: dict[str, dict[str, Any]] = {
    "no penalty": {"penalty": {"kind": "none"}},
    "whole channels": {"penalty": {"kind": "UP"}},
    "whole channels, batch norm": {"penalty": {"kind": "UP"}, "network": {"norm": "batch"}},
    "whole channels, shared": {"penalty": {"kind": "UP", "ties": "shared"}},
    "whole channels, random": {"penalty": {"kind": "UP", "ties": "random"}},
    "a position, shared": {"penalty": {"kind": "UP", "scope": "position", "ties": "shared"}},
    "a position, single": {"penalty": {"kind": "UP", "scope": "position"}},
    "a position, random": {"penalty": {"kind": "UP", "scope": "position", "ties": "random"}},
    "layers, output too": {"penalty": {"kind": "L", "layers": "all", "aggregate": "l2"}},
    "layers, a position": {"penalty": {"kind": "L", "scope": "position"}},
}

SMALL = {"depth": 2, "width": 4}
"""Of the CPU's trainings, which stand in for those with graphs."""


def run(found: Findings, clock: Clock, device: torch.device) -> None:
    """Everything; the most telling comes first."""
    of_parts: list[tuple[str, Callable[[Findings, Clock, torch.device], None]]] = [
        ("graphs of CNNs", _graphs_of_cnns),
        ("gradients of CNNs", _gradients_of_cnns),
        ("rounded products", _rounded),
        ("steps of fleets", _steps_of_fleets),
        ("graphs of fleets", _graphs_of_fleets),
        ("penalties of other people's models", run_penalties),
    ]
    for name, part in of_parts:
        if clock.is_over(found, name):
            continue
        part(found, clock, device)
        found.keep()


def cnn(name: str, **config: Any) -> Cell:
    """A small CNN on images of MNIST's shape; ε makes Adam's steps smooth, so that rounding does not grow."""
    own = CNNS[name]
    return cell_of(
        **{
            "dataset": {"name": "mnist", "n_train": 60, "n_val": 20},
            "depth": 6,
            "width": 8,
            "precision": "float64",
            **config,
            "network": {"layout": "cnn", **own.get("network", {})},
            "penalty": {**own["penalty"], **({"weight": 1e-3} if own["penalty"]["kind"] != "none" else {})},
            "optimizer": {"lr": 0.01, "eps": 1e-2, "epochs": 8, **config.get("optimizer", {})},
        }
    )


def _graphs_of_cnns(found: Findings, clock: Clock, device: torch.device) -> None:
    """Mini-batches of 24, 24 and 12: a graph a size, each run as it is, captured and replayed."""
    for name in CNNS:
        for precision in ("float64", "float32", "bf16") if name == "whole channels" else ("float64",):
            if clock.is_over(found, f"CNN as graphs, {name}"):
                return
            small = {} if device.type == "cuda" else SMALL
            cell = cnn(name, precision=precision, optimizer={"batch_size": 24, "epochs": 5}, **small)
            with_graphs, count = _trained(cell, device)
            with without_graphs():
                plainly, _ = _trained(cell, device)
            apart = largest([_apart(with_graphs[key], value) for key, value in plainly.items()])
            allowed = {"float64": 1e-8, "float32": 1e-3, "bf16": 0.1}[precision]
            found.check(f"CNN, {name}, {precision}: {count} graphs against plain steps", apart, allowed)
            if device.type == "cuda":
                wanted = 0 if cell.penalty_weight and cell.penalty.ties == "random" else 2
                found.expect(f"CNN, {name}, {precision}: graphs", count, wanted)


def _trained(cell: Cell, device: torch.device) -> tuple[dict[str, Any], int]:
    """Parameters after a training, by name, and how many graphs it had."""
    with torch_for(cell):
        training = Training(cell, images(cell), device)
        for _ in training.epochs():
            pass
        if training.diverged_epoch is not None:
            raise AssertionError(f"{cell.precision}: the training diverged in epoch {training.diverged_epoch}")
        parameters = {name: value.detach().double().cpu().numpy() for name, value in training.named_parameters.items()}
    return parameters, 0 if training.replayed is None else len(training.replayed.graphs)


def _gradients_of_cnns(found: Findings, clock: Clock, device: torch.device) -> None:
    for name in CNNS:
        if clock.is_over(found, f"gradients of a CNN, {name}"):
            return
        cell = cnn(name)
        data = images(cell)
        expected = EagerEngine().probe(cell, data)
        got = EagerEngine(device.type).probe(cell, data)
        found.check(f"CNN, {name}: loss, penalty, gradients", difference(got, expected), ALLOWED)


def _rounded(found: Findings, clock: Clock, device: torch.device) -> None:
    """Gradients in float32, TF32 and bfloat16, beside float64 on the CPU; flags are put back."""
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for name in ("no penalty", "whole channels", "a position, shared", "a position, single"):
        for precision, allowed in ROUNDED.items():
            if clock.is_over(found, f"{precision}, {name}"):
                return
            if precision == "tf32" and device.type == "cpu":
                found.on_gpu = False
                continue
            cell, exact = cnn(name, precision=precision), cnn(name)
            got = EagerEngine(device.type).probe(cell, images(cell))
            expected = EagerEngine().probe(exact, images(exact))
            found.check(f"CNN, {name}, {precision}: all gradients", _norm_apart(got, expected), allowed)
    now = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    found.expect("TF32's flags put back", sum(one == other for one, other in zip(flags, now, strict=True)), 2)


def _norm_apart(found: Probe, expected: Probe) -> float:
    """The norm of all gradients' difference, relative to theirs: single entries say little of rounded products."""
    pairs = [(found.gradients[name], value) for name, value in expected.gradients.items()]
    apart = sum(float(np.square(one - other).sum()) for one, other in pairs)
    return float(np.sqrt(apart / sum(float(np.square(other).sum()) for _, other in pairs)))


def _steps_of_fleets(found: Findings, clock: Clock, device: torch.device) -> None:
    """Loss, penalty and gradients at the beginning, and after 20 steps as far as they are determined."""
    data = moons()
    for method, fields in FLEETS.items():
        if clock.is_over(found, f"steps of stacked, {method}"):
            return
        cell = Cell(depth=8, width=10, precision="float64", method=method, **fields)
        reference, engine = EagerEngine(), StackedEngine(device.type)
        start = reference.probe(cell, data)
        found.check(f"stacked, {method}, step 0", difference(engine.probe(cell, data), start), ALLOWED)
        if cell.network.init == "zero":
            continue  # its units are alike, and nothing but rounding tells them apart
        expected = reference.probe(cell, data, 20)
        own = difference(reference.probe(cell, data, 20, moved_by_one_unit(start)), expected)
        apart = difference(engine.probe(cell, data, 20), expected)
        found.check(f"stacked, {method}, step 20", apart, max(ALLOWED, 10 * own))


def _graphs_of_fleets(found: Findings, clock: Clock, device: torch.device) -> None:
    """Fleets of mixed sizes: graphs against plain steps, and all of what a result has against the CPU's."""
    sizes = [(4, 4), (1, 4), (7, 3), (9, 4)]
    for name, fields in FLEETS.items():
        if name == "elu, by torch.func" or clock.is_over(found, f"fleets as graphs, {name}"):
            continue
        if "dropout" in fields:  # it ends, and with it the first of two graphs
            fields = {**fields, "dropout": type(fields["dropout"])(0.5, 6)}
        cells = [
            Cell(depth=d, width=w, seed=seed, precision="float64", method=name, **_with_epochs(fields, 14))
            for seed, (d, w) in enumerate(sizes)
        ]
        graphs = results(StackedEngine(device.type, curve_every=7), cells, moons())
        with without_graphs():
            plainly = results(StackedEngine(device.type, curve_every=7), cells, moons())
        apart = largest([results_apart(graphs[key], one) for key, one in plainly.items()])
        found.check(f"stacked, {name}: graphs against plain steps, 14 epochs", apart, 1e-9)


def _with_epochs(fields: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    spec = fields.get("optimizer", Cell().optimizer)
    return {**fields, "optimizer": replace(spec, epochs=epochs, lr=0.01)}


def results(engine: StackedEngine | EagerEngine, cells: list[Cell], data: Data) -> dict[str, Result]:
    """What an engine makes of the cells, by key.

    Raises:
        AssertionError: a cell has no result, or failed.
    """
    got: dict[str, Result] = {}
    engine.train(cells, data, on_result=lambda one: got.update({one.cell.key: one}), on_progress=lambda *_: None)
    for cell in cells:
        if cell.key not in got or got[cell.key].status == "failed":
            raise AssertionError(f"{cell.method} {cell.depth}×{cell.width}: {getattr(got.get(cell.key), 'error', '')}")
    return got


def results_apart(one: Result, other: Result) -> float:
    """The largest relative difference of metrics and penalties; infinite where a status or an epoch differs."""
    if (one.status, one.epochs_run, one.diverged_epoch) != (other.status, other.epochs_run, other.diverged_epoch):
        return float("inf")
    names = ("train_acc", "val_acc", "train_loss", "val_loss")
    pairs = [(getattr(one, name).last, getattr(other, name).last) for name in names]
    pairs += [(one.penalty_last, other.penalty_last)]
    return largest([abs(a - b) / max(abs(b), 1e-6) for a, b in pairs if a is not None and b is not None])


def _apart(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300))
