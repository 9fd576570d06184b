"""Optimizers of a fleet: each a class with its slots, tensors of a number for every parameter, and its step."""

from typing import Protocol

import torch
from torch import Tensor

from jumpstart_exp.engines.stacked.layers import Stack
from jumpstart_exp.engines.stacked.layout import CACHED_NUMBERS
from jumpstart_exp.settings import setting_error


class FleetOptimizer(Protocol):
    """All networks' optimizer; `slots` are named as in the table of optimizers."""

    slots: dict[str, Tensor]

    def step(self, steps: Tensor) -> None:
        """One step down the gradients, which it spends, after so many others (a number on the device)."""


def optimizer_of(stack: Stack) -> FleetOptimizer:
    """The optimizer of a fleet's cells.

    Raises:
        SettingError: the engine does not have it.
    """
    match stack.cells[0].optimizer.name:
        case "adam":
            return Adam(stack)
        case other:
            raise setting_error("optimizer.name", other, "adam for the engine stacked")


class Adam:
    """Adam on all parameters at once, part by part; its state lives on the device."""

    def __init__(self, stack: Stack) -> None:
        specs = [cell.optimizer for cell in stack.cells]
        owners: Tensor | None = stack.owners()
        if len({(own.lr, own.beta1, own.beta2, own.eps, own.eps_rule) for own in specs}) == 1:
            specs, owners = specs[:1], None  # one number serves all
        self.owners = owners
        self.lr, self.beta1, self.beta2, self.eps = (
            stack.numbers(getattr(own, name) for own in specs) for name in ("lr", "beta1", "beta2", "eps")
        )
        self.is_keras = stack.numbers(_is_keras(own.eps_rule) for own in specs)
        self.dtype = stack.dtype
        self.weights, self.gradients = stack.weights.flat, stack.gradients.flat
        self.first_moment, self.second_moment = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.slots = {"exp_avg": self.first_moment, "exp_avg_sq": self.second_moment}
        self.size = CACHED_NUMBERS[stack.device.type]
        self.scratch = torch.empty_like(self.weights[: self.size])
        # what every parameter needs, in the parameters' precision
        self.keep_second, self.new_first, self.new_second = map(
            self._spread, (self.beta2, 1 - self.beta1, 1 - self.beta2)
        )

    def step(self, steps: Tensor) -> None:
        """One step down the gradients, which it spends, after so many others (a number on the device)."""
        correction1, correction2 = (1 - beta ** (steps + 1) for beta in (self.beta1, self.beta2))
        root = correction2.sqrt()
        # Keras's ε̂ stands beside √v before the bias correction
        eps = self._spread(torch.where(self.is_keras, self.eps / root, self.eps))
        root, downhill = self._spread(root), self._spread(-self.lr / correction1)
        for first in range(0, len(self.weights), self.size):
            part = slice(first, first + self.size)
            weight, gradient = self.weights[part], self.gradients[part]
            moment1, moment2 = self.first_moment[part], self.second_moment[part]
            scratch = self.scratch[: len(weight)]
            moment1.lerp_(gradient, _part(self.new_first, part))
            torch.mul(gradient, _part(self.new_second, part), out=scratch)
            moment2.mul_(_part(self.keep_second, part)).addcmul_(scratch, gradient)
            torch.sqrt(moment2, out=scratch).div_(_part(root, part)).add_(_part(eps, part))
            weight.addcdiv_(torch.mul(moment1, _part(downhill, part), out=gradient), scratch)

    def _spread(self, numbers: Tensor) -> Tensor:
        """Each parameter's own of the networks' numbers; the only one where it serves all."""
        numbers = numbers.to(self.dtype)
        return numbers[0] if self.owners is None else numbers[self.owners]


def _is_keras(eps_rule: str) -> bool:
    match eps_rule:
        case "torch":
            return False
        case "keras":
            return True
        case other:
            raise setting_error("optimizer.eps_rule", other, "torch or keras")


def _part(numbers: Tensor, part: slice) -> Tensor:
    return numbers[part] if numbers.dim() else numbers
