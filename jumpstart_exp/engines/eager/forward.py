"""A cell's network as the eager engine uses it: a training pass, the outputs in evaluation mode, a whole set."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.eager import convolution
from jumpstart_exp.engines.eager.cost import is_fused
from jumpstart_exp.losses.separation import SeparationPenalty, TieDraws
from jumpstart_exp.measures.census import fractions_of_layers
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.methods.relaxation import RelaxedPass
from jumpstart_exp.networks.activations import Activation, Number
from jumpstart_exp.networks.build import build
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.result import LayerCensus


class Forward(ABC):
    """A network and its passes."""

    network: RectangularMLP | RectangularCNN

    @abstractmethod
    def train(self, x: Tensor, dropout: Sequence[Tensor] | None, tie_draws: TieDraws | None) -> Batch:
        """A batch in training mode."""

    @abstractmethod
    def outputs(self, x: Tensor) -> Tensor:
        """Outputs (points, outputs) in evaluation mode, without gradients."""

    @abstractmethod
    def evaluate_training_set(self, chunks: Iterator[Tensor]) -> tuple[Batch, LayerCensus]:
        """All points together in evaluation mode, without gradients, and their census."""


def forward_of(cell: Cell, device: torch.device) -> Forward:
    """The cell's network with its initial weights, on the device."""
    network = build(cell).to(device)
    if isinstance(network, RectangularCNN):
        penalty = SeparationPenalty.from_spec(cell.penalty) if cell.penalty_weight else None
        return ConvolutionForward(network, penalty, half=cell.precision == "bf16", fused=is_fused(cell))
    return DenseForward(network)


class DenseForward(Forward):
    """An MLP, plainly: every pre-activation is kept."""

    def __init__(self, network: RectangularMLP) -> None:
        self.network: RectangularMLP = network

    def train(self, x: Tensor, dropout: Sequence[Tensor] | None, tie_draws: TieDraws | None) -> Batch:
        """A batch in training mode."""
        outputs, pre_activations = self.network(x.flatten(1), dropout)
        return Batch(outputs, pre_activations, tie_draws=tie_draws)

    def relaxed(self, x: Tensor, relay: RelaxedPass, tie_draws: TieDraws | None = None) -> tuple[Batch, Tensor]:
        """All points in training mode through relaxed layers, and what the task's loss is of."""
        outputs, pre_activations = self.network(x.flatten(1), relay=relay)
        judged = relay.judged(outputs)
        return Batch(outputs, pre_activations, tie_draws=tie_draws, relaxed=relay.losses), judged

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Outputs in evaluation mode."""
        with evaluation_mode(self.network.norms):
            outputs: Tensor = self.network(x.flatten(1))[0]
        return outputs

    @torch.no_grad()
    def evaluate_training_set(self, chunks: Iterator[Tensor]) -> tuple[Batch, LayerCensus]:
        """All points together, and their census."""
        with evaluation_mode(self.network.norms):
            parts = [self.network(x.flatten(1)) for x in chunks]
        outputs = torch.cat([part[0] for part in parts])
        pre_activations = [torch.cat(layers) for layers in zip(*(part[1] for part in parts), strict=True)]
        numbers = [self.network.number_of(layer) for layer in range(len(pre_activations))]
        rows, somewhere = layer_fractions(self.network.activation, numbers, pre_activations)
        seen = LayerCensus.of_rows(rows.tolist(), somewhere.item())
        return Batch(outputs, pre_activations, tie_draws=_first_tied), seen


class ConvolutionForward(Forward):
    """A CNN, channels last in memory, whose passes compute the penalty: no copy of the activations is kept for it.

    Where `fused` is false it trains by autograd through the network's own pass, and all pre-activations are kept.
    """

    def __init__(
        self, network: RectangularCNN, penalty: SeparationPenalty | None, *, half: bool, fused: bool = True
    ) -> None:
        self.network: RectangularCNN = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.penalty, self.half, self.fused = penalty, half, fused

    def train(self, x: Tensor, dropout: Sequence[Tensor] | None, tie_draws: TieDraws | None) -> Batch:
        """A batch in training mode."""
        if not self.fused:
            outputs, pre_activations = self.network(x.contiguous(memory_format=torch.channels_last), dropout)
            return Batch(outputs, [pre.flatten(2) for pre in pre_activations], tie_draws=tie_draws)
        outputs, penalty = convolution.forward(
            self.network, x, self.penalty, dropout=dropout, tie_draws=tie_draws, half=self.half
        )
        return Batch(outputs, separation=penalty)

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Outputs in evaluation mode."""
        with evaluation_mode(self.network.norms):
            outputs: Tensor = (
                convolution.forward(self.network, x, half=self.half)[0] if self.fused else self.network(x)[0]
            )
        return outputs

    @torch.no_grad()
    def evaluate_training_set(self, chunks: Iterator[Tensor]) -> tuple[Batch, LayerCensus]:
        """All points together, and their census."""
        with evaluation_mode(self.network.norms):
            outputs, penalty, seen = convolution.evaluate_training_set(
                self.network, chunks, self.penalty, half=self.half
            )
        separation = None if penalty is None else torch.tensor(penalty, dtype=torch.float64)
        return Batch(outputs, separation=separation), seen


def layer_fractions(
    activation: Activation, numbers: Sequence[Number], pre_activations: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The census of an MLP's hidden layers as tensors (`measures.census.fractions_of_layers`).

    Args:
        activation: of all layers.
        numbers: of each layer's activation.
        pre_activations: of each layer, (points, units) or (points, channels, *positions).
    """

    def has_no_slope(pre: Tensor, layer: int) -> Tensor:
        return activation.has_no_slope(pre, numbers[layer])

    outputs = [activation.value(pre, number) for pre, number in zip(pre_activations, numbers, strict=True)]
    return fractions_of_layers(pre_activations, outputs, None if activation.is_smooth else has_no_slope)


def _first_tied(constraint: str, layer: int, count: int) -> Tensor:
    """Which of the tied entries is taken does not change a value."""
    return torch.zeros(count, dtype=torch.int64)


@contextmanager
def evaluation_mode(norms: nn.ModuleList) -> Iterator[None]:
    """The norms in evaluation mode, in training mode again afterwards."""
    # only norms depend on the mode, and network.eval() walks through hundreds of modules every epoch
    for norm in norms:
        norm.training = False
    yield
    for norm in norms:
        norm.training = True
