"""Optimizers: one table of what they keep beside every parameter; each engine has the updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jumpstart_exp.late import LateModule
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.optimizer import OptimizerSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = LateModule("torch")


@dataclass(frozen=True)
class Optimizer:
    """An optimizer is (init, update, slots): `build` has torch's init and update, the other engines their own.

    The learning rate's schedule and the clipping of gradients are every engine's, whatever the optimizer.

    Attributes:
        slots: names of the numbers that it keeps for every parameter, as torch's state has them; all 0 at the
            beginning but for `step_size`, which begins at the learning rate.
        build: (parameters, settings) → torch's optimizer.
        before_step: (torch's optimizer, settings, number of the step from 1) → what a step changes beforehand, beside
            the learning rate.
        momentum_slots: what it keeps besides where it has momentum.
        stacked: whether the engine stacked has its update.
        native: whether the C++ engine has it.
    """

    slots: tuple[str, ...]
    build: Callable[[Sequence[Tensor], OptimizerSpec], torch.optim.Optimizer]
    before_step: Callable[[torch.optim.Optimizer, OptimizerSpec, int], None]
    momentum_slots: tuple[str, ...] = ()
    stacked: bool = False
    native: bool = False


def _adam(parameters: Sequence[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    return _of_adams(torch.optim.Adam, parameters, spec)


def _adamw(parameters: Sequence[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    return _of_adams(torch.optim.AdamW, parameters, spec)


def _of_adams(kind: type[torch.optim.Adam], parameters: Sequence[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    betas = (spec.beta1, spec.beta2)
    return kind(parameters, spec.lr, betas, spec.eps, weight_decay=spec.weight_decay, fused=True)


def _sgd(parameters: Sequence[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        spec.lr,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        nesterov=spec.nesterov and spec.momentum > 0,
        fused=True,
    )


def _rmsprop(parameters: Sequence[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        parameters, spec.lr, spec.alpha, spec.eps, spec.weight_decay, spec.momentum, foreach=True
    )


def _rprop(parameters: Sequence[Tensor], spec: OptimizerSpec) -> torch.optim.Optimizer:
    from jumpstart_exp.engines.rprop import Rprop

    return Rprop(parameters, spec.lr, (RPROP_SHRINK, RPROP_GROW), (RPROP_LEAST, RPROP_MOST), foreach=True)


RPROP_SHRINK, RPROP_GROW, RPROP_LEAST, RPROP_MOST = 0.5, 1.2, 1e-6, 50.0
"""Factors of Rprop's steps, and their bounds: torch's defaults."""


def _nothing(optimizer: torch.optim.Optimizer, spec: OptimizerSpec, step: int) -> None:
    """Nothing changes beforehand."""


def _set_eps(adam: torch.optim.Optimizer, spec: OptimizerSpec, step: int) -> None:
    match spec.eps_rule:
        case "torch":
            pass
        case "keras":
            # ε̂ stands beside √v before the bias correction: torch's ε is ε̂ over √(1 − β₂ᵗ)
            adam.param_groups[0]["eps"] = spec.eps / math.sqrt(1 - spec.beta2**step)
        case other:
            raise setting_error("optimizer.eps_rule", other, "torch or keras")


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(("exp_avg", "exp_avg_sq"), _adam, _set_eps, stacked=True, native=True),
    "adamw": Optimizer(("exp_avg", "exp_avg_sq"), _adamw, _set_eps, stacked=True, native=True),
    "sgd": Optimizer((), _sgd, _nothing, ("momentum_buffer",), stacked=True, native=True),
    "rmsprop": Optimizer(("square_avg",), _rmsprop, _nothing, ("momentum_buffer",), stacked=True, native=True),
    "rprop": Optimizer(("prev", "step_size"), _rprop, _nothing, stacked=True, native=True),
}
"""Every optimizer under its name among the choices of `optimizer.name`."""


def optimizer(spec: OptimizerSpec) -> Optimizer:
    """The row that the settings name, with the slots that it has under them.

    Raises:
        SettingError: there is none.
    """
    row = block(OPTIMIZERS, "optimizer.name", spec.name)
    return replace(row, slots=(*row.slots, *row.momentum_slots)) if spec.momentum else row
