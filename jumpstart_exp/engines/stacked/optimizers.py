"""Optimizers of a fleet: each a class with its slots, tensors of a number for every parameter, and its step.

Updates are element by element, so they ask only for flat tensors and for whose a number is. However the networks'
parameters lie, one flat tensor with views of it does:

    weights = torch.zeros(numbers)            # all parameters of all networks; what the passes use are views of it
    gradients = torch.zeros(numbers)          # laid out alike; filled before every step, which spends it
    owners = ...                              # (numbers,) int64: the network of each, its index in `cells`
    optimizer = optimizer_of(cells, weights, gradients, lambda: owners)
    optimizer.step(steps)                     # after so many others: an int64 tensor without axes, on the device

All cells agree in `optimizer_group`; of every other setting each network has its own number. A step neither waits for
the device nor branches on what is computed, so a CUDA graph can have it. Padding has gradients 0 and stays 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.optimizers import RPROP_GROW, RPROP_LEAST, RPROP_MOST, RPROP_SHRINK, optimizer
from jumpstart_exp.engines.stacked.layout import CACHED_NUMBERS
from jumpstart_exp.settings import setting_error


def optimizer_of(
    cells: Sequence[Cell], weights: Tensor, gradients: Tensor, owners: Callable[[], Tensor], batches: int = 1
) -> "FleetOptimizer":
    """The optimizer of a fleet's cells.

    Args:
        cells: alike in `optimizer_group`.
        weights: all parameters, (numbers,).
        gradients: of them, (numbers,).
        owners: gives the network of every number, (numbers,) int64; called where networks are told apart.
        batches: steps of an epoch.

    Raises:
        SettingError: the engine does not have it.
    """
    name = cells[0].optimizer.name
    if name not in _CLASSES:
        raise setting_error("optimizer.name", name, " or ".join(_CLASSES) + " for the engine stacked")
    return _CLASSES[name](cells, weights, gradients, owners, batches)


class FleetOptimizer(ABC):
    """All networks' optimizer; `slots` are named as in the table of optimizers. Arguments: of `optimizer_of`."""

    slots: dict[str, Tensor]
    decays_gradients: ClassVar[bool] = True
    """Whether weight decay is added to the gradient."""

    def __init__(
        self,
        cells: Sequence[Cell],
        weights: Tensor,
        gradients: Tensor,
        owners: Callable[[], Tensor],
        batches: int,
    ) -> None:
        self.specs = [cell.optimizer for cell in cells]
        one = self.specs[0]
        self.networks, self.batches, self.total = len(cells), batches, one.epochs * batches
        self.weights, self.gradients = weights, gradients
        is_alike = len(set(self.specs)) == 1  # then one number serves all
        self.owners = None if is_alike and one.clip_norm is None else owners()
        self.spread_by = None if is_alike else self.owners
        if is_alike:
            self.specs = self.specs[:1]
        self.lr = self.numbers("lr")
        self.schedule = one.schedule
        self.step_every, self.step_factor = self.numbers("step_every").long(), self.numbers("step_factor")
        is_warmed = any(own.warmup_steps for own in self.specs)
        self.warmup = self.numbers("warmup_steps").clamp_min(1) if is_warmed else None
        self.clip = None if one.clip_norm is None else self.numbers("clip_norm")
        self.weight_decay = self.numbers("weight_decay") if any(own.weight_decay for own in self.specs) else None
        adds = self.decays_gradients and self.weight_decay is not None
        self.added_decay = self.spread(self.weight_decay) if adds and self.weight_decay is not None else None
        self.part_size = CACHED_NUMBERS[weights.device.type]
        self.scratch = torch.empty_like(weights[: self.part_size])
        self.slots = {name: torch.zeros_like(weights) for name in optimizer(one).slots}
        self.prepare()

    def step(self, steps: Tensor) -> None:
        """One step down the gradients, which it spends, after so many others (a number on the device)."""
        if self.clip is not None:
            self._clip(self.clip)
        self.begin(steps, self.rate(steps))
        for first in range(0, len(self.weights), self.part_size):
            part = slice(first, first + self.part_size)
            weight, gradient = self.weights[part], self.gradients[part]
            if self.added_decay is not None:
                gradient.addcmul_(weight, _part(self.added_decay, part))
            self.update(part, weight, gradient, self.scratch[: len(weight)])

    def rate(self, steps: Tensor) -> Tensor:
        """Learning rates (networks,) or (1,), in float64, of the step after so many others."""
        rate, done = self.lr, steps.double()
        if self.warmup is not None:
            rate = rate * ((done + 1) / self.warmup).clamp(max=1)
        match self.schedule:
            case "constant":
                return rate
            case "cosine":
                return rate * (0.5 * (1 + torch.cos(math.pi * (done / self.total))))
            case "step":
                falls = steps // self.batches // self.step_every
                return rate * self.step_factor**falls
            case other:
                raise setting_error("optimizer.schedule", other, "constant, cosine or step")

    @abstractmethod
    def prepare(self) -> None:
        """What its steps have in common."""

    @abstractmethod
    def begin(self, steps: Tensor, rate: Tensor) -> None:
        """What all parameters of a network have in common in a step."""

    @abstractmethod
    def update(self, part: slice, weight: Tensor, gradient: Tensor, scratch: Tensor) -> None:
        """The step of some of the numbers, in place; gradient and scratch are free to be overwritten."""

    def numbers(self, name: str) -> Tensor:
        """A setting of the networks, (networks,) or (1,) in float64."""
        return self.tensor(float(getattr(own, name)) for own in self.specs)

    def tensor(self, values: Iterable[float]) -> Tensor:
        """Numbers in float64 on the device."""
        return torch.tensor(list(values), dtype=torch.float64, device=self.weights.device)

    def spread(self, numbers: Tensor) -> Tensor:
        """Each parameter's own of the networks' numbers, in its precision; the only one where it serves all."""
        numbers = numbers.to(self.weights.dtype)
        return numbers[0] if self.spread_by is None else numbers[self.spread_by]

    def _clip(self, most: Tensor) -> None:
        """Gradients of every network times min(1, most / (norm + 1e-6)), as torch's clip_grad_norm_ does it."""
        assert self.owners is not None
        squares = torch.zeros(self.networks, dtype=torch.float64, device=self.weights.device)
        for first in range(0, len(self.gradients), self.part_size):
            part = slice(first, first + self.part_size)
            squares.index_add_(0, self.owners[part], self.gradients[part].double().square())
        factor = (most / (squares.sqrt() + 1e-6)).clamp(max=1).to(self.weights.dtype)
        self.gradients.mul_(factor[self.owners])


class Adam(FleetOptimizer):
    """Adam, part by part; its state lives on the device (Kingma and Ba 2015)."""

    def prepare(self) -> None:
        """The settings of its own."""
        self.beta1, self.beta2, self.eps = map(self.numbers, ("beta1", "beta2", "eps"))
        self.is_keras = self.tensor(_is_keras(own.eps_rule) for own in self.specs) > 0
        # what every parameter needs, in the parameters' precision
        self.keep_second, self.new_first, self.new_second = map(
            self.spread, (self.beta2, 1 - self.beta1, 1 - self.beta2)
        )

    def begin(self, steps: Tensor, rate: Tensor) -> None:
        """Bias corrections."""
        correction1, correction2 = (1 - beta ** (steps + 1) for beta in (self.beta1, self.beta2))
        root = correction2.sqrt()
        # Keras's ε̂ stands beside √v before the bias correction
        self.eps_now = self.spread(torch.where(self.is_keras, self.eps / root, self.eps))
        self.root, self.downhill = self.spread(root), self.spread(-rate / correction1)

    def update(self, part: slice, weight: Tensor, gradient: Tensor, scratch: Tensor) -> None:
        """m̂/(√v̂ + ε)."""
        moment1, moment2 = self.slots["exp_avg"][part], self.slots["exp_avg_sq"][part]
        moment1.lerp_(gradient, _part(self.new_first, part))
        torch.mul(gradient, _part(self.new_second, part), out=scratch)
        moment2.mul_(_part(self.keep_second, part)).addcmul_(scratch, gradient)
        torch.sqrt(moment2, out=scratch).div_(_part(self.root, part)).add_(_part(self.eps_now, part))
        weight.addcdiv_(torch.mul(moment1, _part(self.downhill, part), out=gradient), scratch)


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters by rate·decay (Loshchilov and Hutter 2019)."""

    decays_gradients: ClassVar[bool] = False

    def begin(self, steps: Tensor, rate: Tensor) -> None:
        """Bias corrections, and what is left of the parameters."""
        super().begin(steps, rate)
        self.left = None if self.weight_decay is None else self.spread(1 - rate * self.weight_decay)

    def update(self, part: slice, weight: Tensor, gradient: Tensor, scratch: Tensor) -> None:
        """The decay, then Adam."""
        if self.left is not None:
            weight.mul_(_part(self.left, part))
        super().update(part, weight, gradient, scratch)


class SGD(FleetOptimizer):
    """Gradient descent, with momentum as torch has it: the buffer is momentum·buffer + gradient."""

    def prepare(self) -> None:
        """The momentum."""
        self.momentum = self.spread(self.numbers("momentum"))

    def begin(self, steps: Tensor, rate: Tensor) -> None:
        """The rate."""
        self.downhill = self.spread(-rate)

    def update(self, part: slice, weight: Tensor, gradient: Tensor, scratch: Tensor) -> None:
        """Down the gradient, or down the buffer; Nesterov's is gradient + momentum·buffer."""
        down = gradient
        if "momentum_buffer" in self.slots:
            momentum, buffer = _part(self.momentum, part), self.slots["momentum_buffer"][part]
            buffer.mul_(momentum).add_(gradient)
            down = gradient.addcmul_(buffer, momentum) if self.specs[0].nesterov else buffer
        weight.addcmul_(down, _part(self.downhill, part))


class RMSprop(FleetOptimizer):
    """RMSprop as torch has it: ε stands beside the root (Tieleman and Hinton 2012)."""

    def prepare(self) -> None:
        """The settings of its own."""
        kept = self.numbers("alpha")
        self.kept, self.new = self.spread(kept), self.spread(1 - kept)
        self.eps, self.momentum = self.spread(self.numbers("eps")), self.spread(self.numbers("momentum"))

    def begin(self, steps: Tensor, rate: Tensor) -> None:
        """The rate."""
        self.downhill = self.spread(-rate)

    def update(self, part: slice, weight: Tensor, gradient: Tensor, scratch: Tensor) -> None:
        """g/(√v + ε), through the buffer where there is momentum."""
        square = self.slots["square_avg"][part]
        torch.mul(gradient, _part(self.new, part), out=scratch)
        square.mul_(_part(self.kept, part)).addcmul_(scratch, gradient)
        down = gradient.div_(torch.sqrt(square, out=scratch).add_(_part(self.eps, part)))
        if "momentum_buffer" in self.slots:
            down = self.slots["momentum_buffer"][part].mul_(_part(self.momentum, part)).add_(gradient)
        weight.addcmul_(down, _part(self.downhill, part))


class Rprop(FleetOptimizer):
    """Rprop as torch has it (Riedmiller and Braun 1993): signs alone, and a step of every parameter's own."""

    def prepare(self) -> None:
        """Steps begin at the learning rate."""
        self.slots["step_size"].copy_(self.spread(self.lr).expand_as(self.weights))

    def begin(self, steps: Tensor, rate: Tensor) -> None:
        """A network's parameters have nothing in common."""

    def update(self, part: slice, weight: Tensor, gradient: Tensor, scratch: Tensor) -> None:
        """A step grows where the sign is that of before; where it is the other, it shrinks and the gradient is 0."""
        prev, size = self.slots["prev"][part], self.slots["step_size"][part]
        torch.mul(gradient, prev, out=scratch)
        turned = scratch < 0
        grown = torch.where(scratch > 0, size * RPROP_GROW, size)
        torch.where(turned, size * RPROP_SHRINK, grown, out=size)
        size.clamp_(RPROP_LEAST, RPROP_MOST)
        gradient.masked_fill_(turned, 0)
        prev.copy_(gradient)
        weight.addcmul_(torch.sign(gradient, out=scratch), size, value=-1)
        weight.add_(gradient.mul_(0))  # no number, where the gradient is none: to torch its sign is 0


_CLASSES: dict[str, type[FleetOptimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "rmsprop": RMSprop,
    "rprop": Rprop,
}


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
