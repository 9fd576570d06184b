"""Rectangular convolutional networks in plain torch.nn."""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.networks.rectangular import RectangularNetwork
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.network import NetworkSpec


class RectangularCNN(RectangularNetwork):
    """Convolutions of equal width that keep the image's size, each → (norm) → activation, then a head.

    The head is one affine layer on all activations (`flatten`, the MNIST study) or on each channel's mean and
    maximum (`max_avg_pool`, the CIFAR studies; CPAIOR, section 4). No pooling in between, stride 1, zero padding.

    Args:
        image: channels, height and width of a point.
        widths: filters of every hidden layer.
        outputs: logits.
        spec: the rest of its description.

    Raises:
        SettingError: there is no such head, activation, norm or skip.
    """

    dimensions: ClassVar[int] = 2

    def __init__(self, image: tuple[int, int, int], widths: Sequence[int], outputs: int, spec: NetworkSpec) -> None:
        self.kernel = spec.kernel
        super().__init__(image[0], widths, spec)
        channels = widths[-1] * self.activation.outputs
        match spec.head:
            case "flatten":
                self.pools, seen = False, channels * image[1] * image[2]
            case "max_avg_pool":
                self.pools, seen = True, 2 * channels
            case other:
                raise setting_error("network.head", other, "flatten or max_avg_pool")
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
        x, pre_activations = self.through_hidden(x, dropout)
        return self.output(self.pooled(x)), pre_activations

    def pooled(self, x: Tensor) -> Tensor:
        """What the output layer sees of the last hidden layer's outputs: (points, width · height · width) or 2·width.

        Flat in (channel, row, column) order; or every channel's mean, then every channel's maximum.
        """
        if not self.pools:
            return x.flatten(1)
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)

    def seen_of_channels(self, channels: Tensor, seen: int) -> Tensor:
        """Pooled channels come twice: their means, then their maxima."""
        return channels.repeat(2) if self.pools else super().seen_of_channels(channels, seen)

    def _affine(self, inputs: int, outputs: int, *, has_bias: bool) -> nn.Module:
        return nn.Conv2d(inputs, outputs, self.kernel, padding=self.kernel // 2, bias=has_bias)

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=self.kernel // 2)
