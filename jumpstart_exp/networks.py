"""Rectangular networks in plain torch.nn, and their initial weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.randomness import symmetric_uniform


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


class RectangularCNN(nn.Module):
    """`depth` convolutions of equal `width` that keep the image's size, each → (batch norm) → ReLU, then a head.

    The head is one affine layer on all activations (`flatten`, the MNIST study) or on each channel's mean and
    maximum (`max_avg_pool`, the CIFAR studies; CPAIOR, section 4). No pooling in between, stride 1, zero padding.

    Args:
        image: channels, height and width of a point.
        depth: hidden layers.
        width: filters a layer.
        outputs: logits.
        kernel: height and width of the filters, odd.
        head: `flatten` or `max_avg_pool`.
        norm: `none` or `batch`.
        norm_eps: ε of the batch norm.
        norm_momentum: weight of the new batch in its running averages.
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
        norm: str = "none",
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        channels, height, width_of_image = image
        fan_ins = [channels] + [width] * (depth - 1)
        self.hidden = nn.ModuleList(nn.Conv2d(fan_in, width, kernel, padding=kernel // 2) for fan_in in fan_ins)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width, eps=norm_eps, momentum=norm_momentum) for _ in range(depth if norm == "batch" else 0)
        )
        self.pools = head == "max_avg_pool"
        self.output = nn.Linear(2 * width if self.pools else width * height * width_of_image, outputs)

    def forward(self, x: Tensor, dropout: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits (points, outputs) and the pre-activation of every hidden layer.

        Args:
            x: images, shape (points, channels, height, width).
            dropout: a factor for the input of every hidden layer, 0 where dropped, 1/(1−p) where kept, shaped
                like that input.

        Returns:
            logits, and one pre-activation (what the ReLU sees) a hidden layer: (points, width, height, width of the
            image).
        """
        pre_activations = []
        for index, layer in enumerate(self.hidden):
            if dropout is not None:
                x = x * dropout[index]
            pre_activation = layer(x)
            if self.norms:
                pre_activation = self.norms[index](pre_activation)
            pre_activations.append(pre_activation)
            x = torch.relu(pre_activation)
        return self.output(self.pooled(x)), pre_activations

    def pooled(self, x: Tensor) -> Tensor:
        """What the output layer sees of the last hidden layer's outputs: (points, width · height · width) or 2·width.

        Flat in (channel, row, column) order; or every channel's mean, then every channel's maximum.
        """
        if not self.pools:
            return x.flatten(1)
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)


def build(cell: Cell) -> RectangularMLP | RectangularCNN:
    """The cell's network with its initial weights, in the type of its parameters, on the CPU."""
    dataset, spec = cell.dataset, cell.network
    outputs = 1 if dataset.classes == 2 else dataset.classes
    norm: dict[str, Any] = {"norm": spec.norm, "norm_eps": spec.norm_eps, "norm_momentum": spec.norm_momentum}
    network: RectangularMLP | RectangularCNN
    if spec.layout == "cnn":
        assert dataset.image is not None
        size = (dataset.image, cell.depth, cell.width, outputs)
        network = RectangularCNN(*size, kernel=spec.kernel, head=spec.head, **norm)
    else:
        network = RectangularMLP(dataset.features, cell.depth, cell.width, outputs, layout=spec.layout, **norm)
    network.to(dtype(cell))
    initialise([*network.hidden, network.output], spec.init, cell.seed)
    return network


def dtype(cell: Cell) -> torch.dtype:
    """The torch type of the cell's parameters."""
    return torch.float64 if cell.precision == "float64" else torch.float32


def initialise(layers: Sequence[nn.Module], init: str, seed: int) -> None:
    """Give affine layers (input to output) their initial weights, each from its own stream (seed, layer).

    * `glorot_uniform`: weights U(±√(6/(fan_in + fan_out))), biases zero (Glorot and Bengio, 2010).
    * `kaiming_uniform`: torch's layer default, weights and then biases U(±1/√fan_in).
    * `zero`: everything zero (SepCons, section 3).

    A convolution's fans count its kernel positions: kernel·in and kernel·out.
    """
    for index, layer in enumerate(layers):
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
        kernel = weight[0, 0].numel()
        fan_in, fan_out = kernel * weight.shape[1], kernel * weight.shape[0]
        with torch.no_grad():
            bias.zero_()
            if init == "zero":
                weight.zero_()
                continue
            numbers = torch.from_numpy(symmetric_uniform(seed, index, weight.numel() + bias.numel()))
            if init == "glorot_uniform":
                bound = math.sqrt(6 / (fan_in + fan_out))
            else:
                bound = 1 / math.sqrt(fan_in)
                bias.copy_(bound * numbers[weight.numel() :])
            weight.copy_((bound * numbers[: weight.numel()]).reshape(weight.shape))


def count_parameters(network: nn.Module) -> int:
    """Every trainable number, output layer and batch-norm affine included."""
    return sum(parameter.numel() for parameter in network.parameters())
