"""Multilayer perceptrons in plain torch.nn."""

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.networks.rectangular import RectangularNetwork, Relay
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.network import NetworkSpec


class RectangularMLP(RectangularNetwork):
    """Hidden layers, usually of equal width, each affine → (norm) → activation, then one affine output layer.

    Layout `conv2x1` is the authors' own for the MOONS grid: the two features are two positions of one channel,
    and a hidden layer is a convolution of kernel 2 that keeps both positions, the second padded with zero
    (Keras `Conv2D(width, (2, 1), padding='same')`); its output layer sees both positions of every channel.

    Args:
        features: of a point.
        widths: units of every hidden layer.
        outputs: logits.
        spec: the rest of its description.

    Raises:
        SettingError: there is no such layout, activation, norm or skip.
    """

    dimensions: ClassVar[int] = 1

    def __init__(self, features: int, widths: Sequence[int], outputs: int, spec: NetworkSpec) -> None:
        match spec.layout:
            case "mlp":
                is_conv = False
            case "conv2x1":
                is_conv = True
            case other:
                raise setting_error("network.layout", other, "mlp or conv2x1 for an MLP")
        self.is_conv = is_conv
        super().__init__(1 if is_conv else features, widths, spec)
        seen = widths[-1] * self.activation.outputs
        self.output = nn.Linear(seen * (features if is_conv else 1), outputs)

    def forward(
        self, x: Tensor, dropout: Sequence[Tensor] | None = None, relay: Relay | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits (points, outputs) and the pre-activation of every hidden layer.

        Args:
            x: points, shape (points, features).
            dropout: a factor for the input of every hidden layer, 0 where dropped, 1/(1−p) where kept, shaped
                like that input: (points, units), in the 2×1 layout (points, channels, 2).
            relay: what a hidden layer hands on in place of its output; None for the output itself.

        Returns:
            logits, and one pre-activation (what the activation sees) a hidden layer: (points, width), in the 2×1
            layout (points, width, 2).
        """
        x, pre_activations = self.through_hidden(x.unsqueeze(1) if self.is_conv else x, dropout, relay)
        return self.output(x.flatten(1)), pre_activations

    def padded(self, x: Tensor) -> Tensor:
        """In the 2×1 layout with a position of zeros behind the two."""
        return F.pad(x, (0, 1)) if self.is_conv else x

    def _affine(self, inputs: int, outputs: int, *, has_bias: bool) -> nn.Module:
        if self.is_conv:
            return nn.Conv1d(inputs, outputs, kernel_size=2, bias=has_bias)
        return nn.Linear(inputs, outputs, bias=has_bias)

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv1d(x, weight) if self.is_conv else F.linear(x, weight)
