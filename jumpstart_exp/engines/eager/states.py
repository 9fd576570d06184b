"""A training between two steps, as checkpoints keep it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.result import CurveRow, LayerCensus

if TYPE_CHECKING:
    from jumpstart_exp.engines.eager.training import Training


def state_of(training: "Training") -> dict[str, Any]:
    """The tree of the network's, the methods' and the optimizer's state, and what was measured so far."""
    return {
        "network": training.network.state_dict(),
        "method": {name: parameter.detach() for name, parameter in training.method_parameters.items()},
        "optimizer": training.optimizer.state_dict(),
        "method_optimizers": [own.state_dict() for own, _ in training.optimizers[1:]],
        "steps": training.steps,
        "epochs_run": training.epochs_run,
        "batches_done": training.batches_done,
        "sums": training.sums.cpu(),
        "seconds": training.seconds,
        "started": training.started,
        "metrics": {name: vars(tracker) for name, tracker in training.metrics.items()},
        "curve": [asdict(row) for row in training.curve],
        "penalty": (training.penalty_start, training.penalty_last),
        "census": [None if seen is None else asdict(seen) for seen in (training.census_start, training.census_last)],
    }


def restore(training: "Training", state: Mapping[str, Any]) -> None:
    """Put a training that has just begun into a state.

    Raises:
        Exception: whatever does not fit.
    """
    training.network.load_state_dict(state["network"])
    if state["method"].keys() != training.method_parameters.keys():
        raise ValueError(f"it is of methods that train {', '.join(state['method']) or 'nothing'} beside the network")
    with torch.no_grad():
        for name, parameter in training.method_parameters.items():
            if state["method"][name].shape != parameter.shape:
                raise ValueError(f"{name} is of shape {tuple(state['method'][name].shape)}")
            parameter.copy_(state["method"][name])
    kept_states = [state["optimizer"], *state.get("method_optimizers", [])]
    for (optimizer_of, _), kept_state in zip(training.optimizers, kept_states, strict=True):
        settings = [{**group} for group in optimizer_of.param_groups]
        optimizer_of.load_state_dict(kept_state)
        for group, own in zip(optimizer_of.param_groups, settings, strict=True):
            group.update(own)  # the cell's, and this device's: the checkpoint may come from another
    # on the penalty alone nothing but decay and the rows' penalty moves the output layer: nothing is kept of the rest
    is_moved = training.cell.task_loss or training.cell.optimizer.weight_decay > 0
    unmoved = set() if is_moved else {*training.network.output.parameters()}
    if training.cell.optimizer.row_penalty:
        unmoved -= {*training.row_weights}
    for one, _ in training.optimizers:
        for parameter in one.param_groups[0]["params"]:
            kept = one.state[parameter]
            if not kept and parameter in unmoved:
                continue
            for slot in optimizer(training.cell.optimizer).slots:
                if kept[slot].shape != parameter.shape:
                    raise ValueError(f"{slot} does not have its parameter's shape")
    training.steps, training.epochs_run, training.batches_done = (
        int(state[name]) for name in ("steps", "epochs_run", "batches_done")
    )
    batches = training.batch_count
    is_within = 0 <= training.epochs_run <= training.cell.optimizer.epochs and 0 <= training.batches_done <= batches
    if not is_within or training.steps != training.epochs_run * batches + training.batches_done:
        raise ValueError(f"step {training.steps} is not in epoch {training.epochs_run}, batch {training.batches_done}")
    training.sums.copy_(state["sums"])
    training.seconds_before, training.started = float(state["seconds"]), str(state["started"])
    for name, values in state["metrics"].items():
        vars(training.metrics[name]).update(values)
    training.curve = [CurveRow(**row) for row in state["curve"]]
    training.penalty_start, training.penalty_last = state["penalty"]
    start, last = (LayerCensus(**seen) for seen in state["census"])
    training.census_start, training.census_last = start, last
