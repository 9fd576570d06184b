"""Optimizers: one table of what they keep beside every parameter; each engine has the updates."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jumpstart_exp.networks.blocks import block
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.optimizer import OptimizerSpec


@dataclass(frozen=True)
class Optimizer:
    """An optimizer is (init, update, slots): `build` has torch's init and update, the other engines their own.

    Attributes:
        slots: names of the numbers that it keeps for every parameter, as torch's state has them; 0 at the beginning.
        build: (parameters, settings, on CUDA) → torch's optimizer.
        before_step: (torch's optimizer, settings, number of the step from 1) → what a step changes beforehand.
        stacked: whether the engine stacked has its update.
        native: whether the C++ engine has it.
    """

    slots: tuple[str, ...]
    build: Callable[[Sequence[Tensor], OptimizerSpec, bool], torch.optim.Optimizer]
    before_step: Callable[[torch.optim.Optimizer, OptimizerSpec, int], None]
    stacked: bool = False
    native: bool = False


def _adam(parameters: Sequence[Tensor], spec: OptimizerSpec, on_cuda: bool) -> torch.optim.Optimizer:
    betas = (spec.beta1, spec.beta2)
    return torch.optim.Adam(parameters, spec.lr, betas, spec.eps, fused=True, capturable=on_cuda)


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
}
"""Every optimizer under its name among the choices of `optimizer.name`."""


def optimizer(spec: OptimizerSpec) -> Optimizer:
    """The row that the settings name.

    Raises:
        SettingError: there is none.
    """
    return block(OPTIMIZERS, "optimizer.name", spec.name)
