"""A cell's network as the eager engine uses it: a training pass, a look at the logits, a survey of a whole set."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.eager import convolution
from jumpstart_exp.losses.separation import SeparationPenalty, TieDraws
from jumpstart_exp.measures.census import census
from jumpstart_exp.networks.build import build
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.result import LayerCensus


class Forward(ABC):
    """A network with its penalty."""

    network: RectangularMLP | RectangularCNN

    @abstractmethod
    def train(
        self, x: Tensor, dropout: Sequence[Tensor] | None, tie_draws: TieDraws | None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (points, outputs) and penalty (before λ; None without one) of a batch in training mode."""

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Logits (points, outputs) in evaluation mode, without gradients."""

    @abstractmethod
    def survey(self, chunks: Iterator[Tensor]) -> tuple[float | None, LayerCensus]:
        """Penalty (before λ) and census of all points together, in evaluation mode."""


def forward_of(cell: Cell, device: torch.device) -> Forward:
    """The cell's network with its initial weights, on the device."""
    network = build(cell).to(device)
    penalty = SeparationPenalty.from_spec(cell.penalty) if cell.penalty_weight else None
    if isinstance(network, RectangularCNN):
        return ConvolutionForward(network, penalty, half=cell.precision == "bf16")
    return DenseForward(network, penalty)


class DenseForward(Forward):
    """An MLP, plainly: every pre-activation is kept, and the penalty is the reference's."""

    def __init__(self, network: RectangularMLP, penalty: SeparationPenalty | None) -> None:
        self.network: RectangularMLP = network
        self.penalty = penalty

    def train(
        self, x: Tensor, dropout: Sequence[Tensor] | None, tie_draws: TieDraws | None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and penalty of a batch in training mode."""
        logits, pre_activations = self.network(x.flatten(1), dropout)
        if self.penalty is None:
            return logits, None
        return logits, self.penalty(self._constrained(pre_activations, logits), tie_draws=tie_draws)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits in evaluation mode."""
        with _evaluation_mode(self.network.norms):
            logits: Tensor = self.network(x.flatten(1))[0]
        return logits

    @torch.no_grad()
    def survey(self, chunks: Iterator[Tensor]) -> tuple[float | None, LayerCensus]:
        """Penalty and census of all points together."""
        with _evaluation_mode(self.network.norms):
            parts = [self.network(x.flatten(1)) for x in chunks]
        logits = torch.cat([part[0] for part in parts])
        pre_activations = [torch.cat(layers) for layers in zip(*(part[1] for part in parts), strict=True)]
        penalty = None
        if self.penalty is not None:
            penalty = self.penalty(self._constrained(pre_activations, logits), tie_draws=_first_tied).item()
        return penalty, census([torch.relu(pre_activation) for pre_activation in pre_activations])

    def _constrained(self, pre_activations: Sequence[Tensor], logits: Tensor) -> Sequence[Tensor]:
        assert self.penalty is not None
        return [*pre_activations, logits] if self.penalty.spec.layers == "all" else pre_activations


class ConvolutionForward(Forward):
    """A CNN, channels last in memory, without a copy of the activations for the penalty."""

    def __init__(self, network: RectangularCNN, penalty: SeparationPenalty | None, *, half: bool) -> None:
        self.network: RectangularCNN = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.penalty, self.half = penalty, half

    def train(
        self, x: Tensor, dropout: Sequence[Tensor] | None, tie_draws: TieDraws | None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and penalty of a batch in training mode."""
        return convolution.forward(self.network, x, self.penalty, dropout=dropout, tie_draws=tie_draws, half=self.half)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Logits in evaluation mode."""
        with _evaluation_mode(self.network.norms):
            return convolution.forward(self.network, x, half=self.half)[0]

    @torch.no_grad()
    def survey(self, chunks: Iterator[Tensor]) -> tuple[float | None, LayerCensus]:
        """Penalty and census of all points together."""
        with _evaluation_mode(self.network.norms):
            return convolution.survey(self.network, chunks, self.penalty, half=self.half)


def _first_tied(constraint: str, layer: int, count: int) -> Tensor:
    """Which of the tied entries is taken does not change a value."""
    return torch.zeros(count, dtype=torch.int64)


@contextmanager
def _evaluation_mode(norms: nn.ModuleList) -> Iterator[None]:
    # only batch norm depends on the mode, and network.eval() walks through hundreds of modules every epoch
    for norm in norms:
        norm.training = False
    yield
    for norm in norms:
        norm.training = True
