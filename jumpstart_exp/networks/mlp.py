"""Rectangular multilayer perceptrons in plain torch.nn."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class RectangularMLP(nn.Module):
    """`depth` hidden layers of equal `width`, each affine → (batch norm) → ReLU, then one affine output layer.

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
        norm: str = "none",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.is_conv = layout == "conv2x1"
        first = 1 if self.is_conv else features
        fan_ins = [first] + [width] * (depth - 1)
        self.hidden = nn.ModuleList(
            nn.Conv1d(fan_in, width, kernel_size=2) if self.is_conv else nn.Linear(fan_in, width) for fan_in in fan_ins
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width, eps=norm_eps, momentum=norm_momentum) for _ in range(depth if norm == "batch" else 0)
        )
        self.output = nn.Linear(width * (features if self.is_conv else 1), outputs)

    def forward(self, x: Tensor, dropout: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits (points, outputs) and the pre-activation of every hidden layer.

        Args:
            x: points, shape (points, features).
            dropout: a factor for the input of every hidden layer, 0 where dropped, 1/(1−p) where kept, shaped
                like that input: (points, units), in the 2×1 layout (points, channels, 2).

        Returns:
            logits, and one pre-activation (what the ReLU sees) a hidden layer: (points, width), in the 2×1
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
            x = torch.relu(pre_activation)
        return self.output(x.flatten(1)), pre_activations
