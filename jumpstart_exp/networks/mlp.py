"""Rectangular multilayer perceptrons in plain torch.nn."""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.norms import norm_modules
from jumpstart_exp.settings import setting_error


class RectangularMLP(nn.Module):
    """`depth` hidden layers of equal `width`, each affine → (norm) → activation, then one affine output layer.

    Layout `conv2x1` is the authors' own for the MOONS grid: the two features are two positions of one channel,
    and a hidden layer is a convolution of kernel 2 that keeps both positions, the second padded with zero
    (Keras `Conv2D(width, (2, 1), padding='same')`); its output layer sees both positions of every channel.
    """

    def __init__(
        self,
        features: int,
        depth: int,
        width: int,
        outputs: int,
        *,
        layout: str = "mlp",
        activation: str = "relu",
        norm: str = "none",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        match layout:
            case "mlp":
                self.is_conv = False
            case "conv2x1":
                self.is_conv = True
            case _:
                raise setting_error("network.layout", layout, "mlp or conv2x1 for an MLP")
        self.activation = block(ACTIVATIONS, "network.activation", activation)
        first = 1 if self.is_conv else features
        fan_ins = [first] + [width] * (depth - 1)
        self.hidden = nn.ModuleList(
            nn.Conv1d(fan_in, width, kernel_size=2) if self.is_conv else nn.Linear(fan_in, width) for fan_in in fan_ins
        )
        self.norms = norm_modules(norm, depth, width, 1, norm_eps, norm_momentum)
        self.output = nn.Linear(width * (features if self.is_conv else 1), outputs)

    def forward(self, x: Tensor, dropout: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits (points, outputs) and the pre-activation of every hidden layer.

        Args:
            x: points, shape (points, features).
            dropout: a factor for the input of every hidden layer, 0 where dropped, 1/(1−p) where kept, shaped
                like that input: (points, units), in the 2×1 layout (points, channels, 2).

        Returns:
            logits, and one pre-activation (what the activation sees) a hidden layer: (points, width), in the 2×1
            layout (points, width, 2).
        """
        pre_activations = []
        if self.is_conv:
            x = x.unsqueeze(1)
        for index, layer in enumerate(self.hidden):
            if dropout is not None:
                x = x * dropout[index]
            pre_activation = layer(F.pad(x, (0, 1)) if self.is_conv else x)
            if self.norms:
                pre_activation = self.norms[index](pre_activation)
            pre_activations.append(pre_activation)
            x = self.activation.value(pre_activation)
        return self.output(x.flatten(1)), pre_activations
