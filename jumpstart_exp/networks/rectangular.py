"""What MLPs and CNNs have in common: their hidden layers, skips over them, and the way through them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from jumpstart_exp.networks.activations import Number, activation_of
from jumpstart_exp.networks.norms import norm_modules
from jumpstart_exp.networks.plain import is_plain
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.network import NetworkSpec


class Place(NamedTuple):
    """Where a hidden layer stands among those that a skip goes over, both counted from 0."""

    block: int
    position: int


def place_of(spec: NetworkSpec, depth: int, layer: int) -> Place | None:
    """The place of a hidden layer, counted from 0; None for one that no skip goes over."""
    if not 1 <= layer <= spec.blocks(depth) * spec.skip_every:
        return None
    return Place(*divmod(layer - 1, spec.skip_every))


def has_bias(spec: NetworkSpec, depth: int, layer: int) -> bool:
    """Whether a hidden layer has a bias a unit: in what Fixup skips it has none."""
    match spec.skip_scale:
        case "1" | "zero":
            return True
        case "fixup":
            return place_of(spec, depth, layer) is None
        case other:
            raise setting_error("network.skip_scale", other, "1, zero or fixup")


def skip_numbers(spec: NetworkSpec) -> tuple[float, ...]:
    """What is trained of a skip, as it begins: ReZero's α, or the biases and then the multiplier of Fixup.

    Fixup has a bias before each affine map and one before each activation, in the order in which they are met.
    """
    match spec.skip_scale:
        case "1":
            return ()
        case "zero":
            return (0.0,)
        case "fixup":
            return (*[0.0] * (2 * spec.skip_every), 1.0)
        case other:
            raise setting_error("network.skip_scale", other, "1, zero or fixup")


class Farkas(nn.Module):
    """An affine map whose last output is above 0 wherever all others are below (Pooladian et al. 2020).

    With z the products of the n − 1 rows, y = z + b are the first outputs, and the last is
    −mean(z) + max(−mean(b₁ … bₙ₋₁), bₙ): all together they have a mean of max(0, mean(b₁ … bₙ₋₁) + bₙ)/n or more. Where
    the two are equal each has half of the gradient.

    Args:
        rows: the affine map of the n − 1 rows, without biases.
        product: (inputs, weights) → z.
    """

    def __init__(self, rows: nn.Module, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        assert isinstance(rows.weight, nn.Parameter)
        self.weight, self.product = rows.weight, product
        self.bias = nn.Parameter(torch.zeros(len(rows.weight) + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (points, n, …) of (points, inputs, …)."""
        z, bias = self.product(x, self.weight), self.bias[:-1]
        y = z + bias.reshape(-1, *[1] * (z.dim() - 2))
        return torch.cat([y, torch.maximum(-bias.mean(), self.bias[-1]) - z.mean(1, keepdim=True)], 1)


Relay = Callable[[int, Tensor, Callable[[Tensor], Tensor]], Tensor]
"""(hidden layer, counted from 0; its pre-activations; its activation) → what is handed on to the next layer."""


class RectangularNetwork(nn.Module, ABC):
    """Hidden layers, each affine → norm → activation, with skips or without, then an affine output layer.

    The forward pass is a function of parameters and inputs alone: it works under `torch.func`.

    Args:
        entering: channels of the input.
        widths: units of every hidden layer.
        spec: the rest of its description.

    Raises:
        SettingError: there is no such activation, norm or skip.
    """

    output: nn.Linear
    dimensions: ClassVar[int]  # of the positions

    def __init__(self, entering: int, widths: Sequence[int], spec: NetworkSpec) -> None:
        super().__init__()
        depth = len(widths)
        self.activation = activation_of(spec)
        self.number = self.activation.number(spec, depth)
        self.is_plain = is_plain(spec, depth)
        self.places = [place_of(spec, depth, layer) for layer in range(depth)]
        self.skip_every, self.skip_scale = spec.skip_every, spec.skip_scale
        entering_of = [entering, *(self.activation.outputs * width for width in widths[:-1])]
        self.hidden = nn.ModuleList(
            self._farkas(inputs, width)
            if spec.farkas
            else self._affine(inputs, width, has_bias=has_bias(spec, depth, layer))
            for layer, (inputs, width) in enumerate(zip(entering_of, widths, strict=True))
        )
        self.norms = norm_modules(spec.norm, widths, self.dimensions, spec.norm_eps, spec.norm_momentum)
        is_trained = self.activation.is_trained
        self.slopes = nn.ParameterList(torch.full((1,), self.number) for _ in range(depth if is_trained else 0))
        numbers = skip_numbers(spec)
        self.skips = nn.ParameterList(torch.tensor(numbers) for _ in range(spec.blocks(depth) if numbers else 0))

    @abstractmethod
    def _affine(self, inputs: int, outputs: int, *, has_bias: bool) -> nn.Module:
        """An affine map between channels."""

    @abstractmethod
    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Inputs by the weights of such a map."""

    def padded(self, x: Tensor) -> Tensor:
        """A hidden layer's input as its affine map takes it."""
        return x

    def through_hidden(
        self, x: Tensor, dropout: Sequence[Tensor] | None = None, relay: Relay | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """What leaves the last hidden layer, and the pre-activation of each.

        Args:
            x: what enters the first, (points, channels, …).
            dropout: a factor for the input of every hidden layer, shaped like that input.
            relay: what a layer hands on in place of its output; None for the output itself.
        """
        pre_activations, entered = [], x
        for index, place in enumerate(self.places):
            if place is not None and place.position == 0:
                entered = x  # of the block, before its dropout
            if dropout is not None:
                x = x * dropout[index]
            pre = self._pre_activation(index, x, entered)
            pre_activations.append(pre)
            x = self._activate(index, pre) if relay is None else relay(index, pre, partial(self._activate, index))
            if place is not None and place.position == self.skip_every - 1:
                match self.skip_scale:
                    case "1":
                        x = entered + x
                    case "zero":
                        x = entered + self.skips[place.block] * x
                    case "fixup":
                        pass  # before the activation
                    case other:
                        raise setting_error("network.skip_scale", other, "1, zero or fixup")
        return x, pre_activations

    def seen_of_channels(self, channels: Tensor, seen: int) -> Tensor:
        """Of what stands for every channel, (channels,), what stands for the output layer's inputs, (seen,)."""
        return channels.repeat_interleave(seen // len(channels))

    def activated(self, pre_activations: Sequence[Tensor]) -> list[Tensor]:
        """What the activations make of the pre-activations of every hidden layer, before any skip is added."""
        return [self.activation.value(pre, self.number_of(layer)) for layer, pre in enumerate(pre_activations)]

    def number_of(self, layer: int) -> Number:
        """The number of a hidden layer's activation: a parameter of shape (1,) where it is trained."""
        slope: Number = self.slopes[layer] if self.activation.is_trained else self.number
        return slope

    def _activate(self, index: int, pre: Tensor) -> Tensor:
        return self.activation.value(pre, self.number_of(index))

    def _pre_activation(self, index: int, x: Tensor, entered: Tensor) -> Tensor:
        place = self.places[index]
        if place is None or self.skip_scale != "fixup":
            pre: Tensor = self.hidden[index](self.padded(x))
            if self.norms:
                pre = self.norms[index](pre)
            return pre
        numbers: Tensor = self.skips[place.block]
        first = 2 * place.position
        branch: Tensor = self.hidden[index](self.padded(x + numbers[first]))
        if place.position == self.skip_every - 1:
            branch = entered + numbers[-1] * branch
        return branch + numbers[first + 1]

    def _farkas(self, inputs: int, outputs: int) -> Farkas:
        return Farkas(self._affine(inputs, outputs - 1, has_bias=False), self._product)
