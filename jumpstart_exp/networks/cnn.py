"""Rectangular convolutional networks in plain torch.nn."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.norms import norm_modules
from jumpstart_exp.settings import setting_error


class RectangularCNN(nn.Module):
    """`depth` convolutions of equal `width` that keep the image's size, each → (norm) → activation, then a head.

    The head is one affine layer on all activations (`flatten`, the MNIST study) or on each channel's mean and
    maximum (`max_avg_pool`, the CIFAR studies; CPAIOR, section 4). No pooling in between, stride 1, zero padding.

    Args:
        image: channels, height and width of a point.
        depth: hidden layers.
        width: filters a layer.
        outputs: logits.
        kernel: height and width of the filters, odd.
        head: `flatten` or `max_avg_pool`.
        activation: a name in `ACTIVATIONS`.
        norm: a name in `NORMS`.
        norm_eps: ε of the batch norm.
        norm_momentum: weight of the new batch in its running averages.

    Raises:
        SettingError: there is no such head, activation or norm.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        depth: int,
        width: int,
        outputs: int,
        *,
        kernel: int = 3,
        head: str = "flatten",
        activation: str = "relu",
        norm: str = "none",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        channels, height, width_of_image = image
        fan_ins = [channels] + [width] * (depth - 1)
        self.hidden = nn.ModuleList(nn.Conv2d(fan_in, width, kernel, padding=kernel // 2) for fan_in in fan_ins)
        self.activation = block(ACTIVATIONS, "network.activation", activation)
        self.norms = norm_modules(norm, depth, width, 2, norm_eps, norm_momentum)
        match head:
            case "flatten":
                self.pools, seen = False, width * height * width_of_image
            case "max_avg_pool":
                self.pools, seen = True, 2 * width
            case _:
                raise setting_error("network.head", head, "flatten or max_avg_pool")
        self.output = nn.Linear(seen, outputs)

    def forward(self, x: Tensor, dropout: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits (points, outputs) and the pre-activation of every hidden layer.

        Args:
            x: images, shape (points, channels, height, width).
            dropout: a factor for the input of every hidden layer, 0 where dropped, 1/(1−p) where kept, shaped
                like that input.

        Returns:
            logits, and one pre-activation (what the activation sees) a hidden layer: (points, width, height, width of
            the image).
        """
        pre_activations = []
        for index, layer in enumerate(self.hidden):
            if dropout is not None:
                x = x * dropout[index]
            pre_activation = layer(x)
            if self.norms:
                pre_activation = self.norms[index](pre_activation)
            pre_activations.append(pre_activation)
            x = self.activation.value(pre_activation)
        return self.output(self.pooled(x)), pre_activations

    def pooled(self, x: Tensor) -> Tensor:
        """What the output layer sees of the last hidden layer's outputs: (points, width · height · width) or 2·width.

        Flat in (channel, row, column) order; or every channel's mean, then every channel's maximum.
        """
        if not self.pools:
            return x.flatten(1)
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
