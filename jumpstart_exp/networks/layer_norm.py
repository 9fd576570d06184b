"""Layer norm for units and for channels with positions."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Every point's units brought to mean 0 and variance 1, then a gain and an offset a unit (Ba et al. 2016).

    Over the units of a layer; a convolution's over channels and positions. The variance is the biased one.

    Args:
        units: of the layer.
        eps: added to the variance.
    """

    def __init__(self, units: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(units)), nn.Parameter(torch.zeros(units))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Of (points, units, …), in the precision of the parameters."""
        normal = F.layer_norm(x.to(self.weight.dtype), x.shape[1:], eps=self.eps)
        gain, offset = (parameter.reshape(-1, *[1] * (x.dim() - 2)) for parameter in (self.weight, self.bias))
        return (gain * normal + offset).to(x.dtype)
