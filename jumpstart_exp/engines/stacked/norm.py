"""Batch norm of a fleet."""

from collections.abc import Iterable

import torch
from torch import Tensor

from jumpstart_exp.engines.stacked.layout import LayerLayout


class BatchNorm:
    """Batch norm of all rows: a channel's statistics run over positions and training points.

    Validation points, and all points in evaluation mode, are normalised by the running averages.

    Args:
        rows: of the fleet.
        weights, gradients: gains and offsets (2, rows, width), and where their gradients go.
        affine, pre: affine maps and pre-activations of all points, (rows, units, points) each.
        grad_pre: of the training points' pre-activations.
    """

    def __init__(
        self, rows: LayerLayout, weights: Tensor, gradients: Tensor, affine: Tensor, pre: Tensor, grad_pre: Tensor
    ) -> None:
        shape = (rows.n_rows, rows.width, 1, 1)

        def of_cells(values: Iterable[float]) -> Tensor:
            return rows.numbers(values)[rows.owner].to(rows.dtype)[:, None, None, None]

        self.eps = of_cells(cell.network.norm_eps for cell in rows.cells)
        self.momentum = of_cells(cell.network.norm_momentum for cell in rows.cells)
        self.gain, self.offset = (part.view(shape) for part in weights)
        self.grad_gain, self.grad_offset = (part.view(shape) for part in gradients)
        like = weights.new_zeros(shape)
        self.mean, self.variance = like.clone(), like + 1
        self.batch_mean, self.batch_variance, self.batch_scale = like.clone(), like.clone(), like.clone()
        self.fixed_scale, self.fixed_shift = like.clone(), like.clone()
        self.n_train, self.count = rows.n_train, rows.n_train * rows.positions
        self.affine, self.pre, self.grad_pre = map(rows.by_channel, (affine, pre, grad_pre))

    def prepare(self) -> None:
        """What the running averages, as they are now, do to an affine map."""
        torch.mul(self.gain, (self.variance + self.eps).rsqrt(), out=self.fixed_scale)
        torch.sub(self.offset, self.mean * self.fixed_scale, out=self.fixed_shift)

    def forward(self, rows: slice, *, training: bool) -> None:
        """Pre-activations of rows from their affine maps."""
        first = self.n_train if training else 0
        affine, pre = self.affine[rows], self.pre[rows]
        torch.addcmul(self.fixed_shift[rows], affine[..., first:], self.fixed_scale[rows], out=pre[..., first:])
        if training:
            variance, mean = torch.var_mean(affine[..., :first], (2, 3), correction=0, keepdim=True)
            scale = self.gain[rows] * (variance + self.eps[rows]).rsqrt()
            torch.addcmul(self.offset[rows] - mean * scale, affine[..., :first], scale, out=pre[..., :first])
            self.batch_mean[rows], self.batch_variance[rows], self.batch_scale[rows] = mean, variance, scale

    def update(self) -> None:
        """Move the running averages to the statistics of the batch, the variance to its unbiased one."""
        self.mean.lerp_(self.batch_mean, self.momentum)
        self.variance.lerp_(self.batch_variance * (self.count / (self.count - 1)), self.momentum)

    def normalise(self) -> None:
        """Turn the training points' affine maps into what gain and offset act on."""
        self.affine[..., : self.n_train].sub_(self.batch_mean).mul_((self.batch_variance + self.eps).rsqrt())

    def backward(self, rows: slice) -> None:
        """Turn the slopes of pre-activations into those of affine maps."""
        grad_pre, normalised = self.grad_pre[rows], self.affine[rows, ..., : self.n_train]
        grad_gain = (grad_pre * normalised).sum((2, 3), keepdim=True)
        grad_offset = grad_pre.sum((2, 3), keepdim=True)
        self.grad_gain[rows], self.grad_offset[rows] = grad_gain, grad_offset
        grad_pre.addcmul_(normalised, grad_gain, value=-1 / self.count).sub_(grad_offset, alpha=1 / self.count)
        grad_pre.mul_(self.batch_scale[rows])
