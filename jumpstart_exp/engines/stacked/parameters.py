"""All parameters of a fleet in one tensor, and the matrices that kernels are put together to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Every parameter of a fleet, or a number for each, in one flat tensor with views of its parts.

    The last column of a matrix is the bias; a kernel's columns are (channel, position).
    """

    flat: Tensor
    first: Tensor  # (networks, width, features + 1)
    hidden: Tensor  # (rows after the first layer's, width, units + 1)
    norm: Tensor  # (2, rows, width): gain and offset; width 0 without batch norm
    output: Tensor  # (networks, outputs, units + 1)

    @classmethod
    def zeros(cls, shapes: Sequence[tuple[int, ...]], device: torch.device, of: torch.dtype) -> "Blocks":
        """All zero; shapes of first, hidden, norm and output."""
        return cls.of(torch.zeros(sum(map(math.prod, shapes)), device=device, dtype=of), shapes)

    @classmethod
    def of(cls, flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> "Blocks":
        """Views of a flat tensor; shapes of first, hidden, norm and output."""
        parts = torch.split(flat, [math.prod(shape) for shape in shapes])
        return cls(flat, *(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))

    def row_sums(self) -> Tensor:
        """The sum over each row's parameters."""
        return torch.cat([self.first.sum((1, 2)), self.hidden.sum((1, 2))]) + self.norm.sum((0, 2))


def unfold(kernels: Tensor, matrices: Tensor) -> None:
    """Kernels (rows, channels out, channels in·2 + 1) as matrices over units: the second position sees only itself."""
    first, second = matrices.view(len(matrices), matrices.shape[1] // 2, 2, matrices.shape[2]).unbind(2)
    first.copy_(kernels)
    second[:, :, 1:-1:2].copy_(kernels[:, :, :-1:2])
    second[:, :, -1].copy_(kernels[:, :, -1])


def fold(matrices: Tensor, kernels: Tensor) -> None:
    """The kernels' gradient from that of their matrices."""
    first, second = matrices.view(len(matrices), matrices.shape[1] // 2, 2, matrices.shape[2]).unbind(2)
    kernels.copy_(first)
    kernels[:, :, :-1:2].add_(second[:, :, 1:-1:2])
    kernels[:, :, -1].add_(second[:, :, -1])
