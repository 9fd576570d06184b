"""A cell as the C++ engine takes it: plain names and numbers."""

import math
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.initialisation import INITIALISATIONS


def draws_weights(cell: Cell) -> bool:
    """Whether the C++ engine draws the cell's initial weights itself; others are handed over."""
    is_plain = not cell.network.farkas and not (cell.blocks and cell.network.skip_scale == "fixup")
    return is_plain and block(INITIALISATIONS, "network.init", cell.network.init).native


def spec_of(cell: Cell, curve_every: int, evaluate: bool) -> dict[str, Any]:
    """The cell as the C++ engine takes it: choices by their names, of which it refuses those that it does not know."""
    penalty, network, descent, dropout = cell.penalty, cell.network, cell.optimizer, cell.dropout
    is_constrained = cell.penalty_weight > 0
    activation = activation_of(network)
    return {
        "depth": cell.depth,
        "width": cell.width,
        "features": cell.dataset.features,
        "outputs": cell.dataset.outputs,
        "task": cell.dataset.task,
        "layout": network.layout,
        "activation": network.activation,
        "activation_number": activation.number(network, cell.depth),
        "is_smooth": activation.is_smooth,
        "norm": network.norm,
        "norm_eps": network.norm_eps,
        "norm_momentum": network.norm_momentum,
        "skip_every": network.skip_every if cell.blocks else 0,
        "skip_scale": network.skip_scale if cell.blocks else "1",
        "farkas": network.farkas,
        "init": network.init if draws_weights(cell) else "given",
        "initial": None,
        "precision": cell.precision,
        "task_loss": cell.task_loss,
        "kind": penalty.kind if is_constrained else "none",
        "scope": penalty.scope,
        "layers": penalty.layers if is_constrained else "hidden",
        "aggregate": penalty.aggregate,
        "ties": penalty.ties,
        "layer_weights": list(penalty.layer_weights or ()) if is_constrained else [],
        "weight": penalty.weight,
        "penalty_schedule": penalty.schedule,
        "unit_shares": penalty.shares("U"),
        "point_shares": penalty.shares("P"),
        "layer_shares": penalty.shares("L"),
        "margin_above": penalty.margin_above,
        "margin_below": penalty.margin_below,
        "upper_bound": math.inf if penalty.upper_bound is None else penalty.upper_bound,
        "dropout_rate": dropout.rate,
        "dropout_anneal_epochs": float(dropout.anneal_epochs),
        "optimizer": descent.name,
        "lr": descent.lr,
        "beta1": descent.beta1,
        "beta2": descent.beta2,
        "eps": descent.eps,
        "eps_rule": descent.eps_rule,
        "momentum": descent.momentum,
        "nesterov": descent.nesterov,
        "alpha": descent.alpha,
        "weight_decay": descent.weight_decay,
        "clip_norm": math.inf if descent.clip_norm is None else descent.clip_norm,
        "row_penalty": descent.row_penalty,
        "row_limit": math.inf if descent.row_limit is None else descent.row_limit,
        "row_layers": [layer - 1 for layer in descent.row_layers] if descent.acts_on_rows else [],
        "trained_layers": [layer - 1 for layer in descent.trained_layers or ()],
        "schedule": descent.schedule,
        "warmup_steps": descent.warmup_steps,
        "step_every": descent.step_every,
        "step_factor": descent.step_factor,
        "epochs": descent.epochs,
        "curve_every": curve_every,
        "evaluate": evaluate,
        "seed": cell.seed,
        **_relaxation_of(cell),
        "relaxed_initial": None,
        "reset_every": cell.reset.every,
        "reset_tau": cell.reset.tau,
        "reset_values": None,
        "state": None,
        "watched": [],
    }


def _relaxation_of(cell: Cell) -> dict[str, Any]:
    """What the C++ engine has to know of relaxed layers; a weight of 0 stands for none."""
    spec = cell.rai
    return {
        "hidden_weight": cell.rai_weight,
        "hidden_final_weight": spec.final_weight,
        "hidden_schedule": spec.schedule,
        "hidden_loss": spec.loss if cell.rai_weight else "squared",
        "hidden_reduce": spec.reduce,
        "relax": spec.relax,
        "relaxed_layers": list(cell.relaxed_layers) if cell.rai_weight else [],
        "relaxes_outputs": spec.include_output and cell.rai_weight > 0,
        "relaxed_period": spec.period,
        "relaxed_rate": spec.rate,
        "relaxed_points": cell.dataset.sizes()[0],
    }
