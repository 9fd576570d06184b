"""What stands between a hidden layer's affine map and its activation: one table, on which every engine switches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.networks.blocks import block


@dataclass(frozen=True)
class Norm:
    """A norm of a hidden layer.

    Attributes:
        module: (units, dimensions of the positions, ε, momentum) → torch's module; None where there is none.
        parameters: their names in the module, a number a unit each.
        statistics: names of the running statistics, a number a unit each.
        stacked: whether the engine stacked knows it.
        native: whether the C++ engine knows it.
    """

    module: Callable[[int, int, float, float], nn.Module] | None
    parameters: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    stacked: bool = False
    native: bool = False


def _batch_norm(units: int, dimensions: int, eps: float, momentum: float) -> nn.Module:
    kinds: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
    return kinds[dimensions](units, eps=eps, momentum=momentum)


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


NORMS: dict[str, Norm] = {
    "none": Norm(None, stacked=True, native=True),
    "batch": Norm(_batch_norm, ("weight", "bias"), ("running_mean", "running_var"), stacked=True, native=True),
    "layer": Norm(lambda units, _, eps, __: LayerNorm(units, eps), ("weight", "bias"), native=True),
}
"""Every norm under its name among the choices of `network.norm`."""


def norm_modules(name: str, widths: Sequence[int], dimensions: int, eps: float, momentum: float) -> nn.ModuleList:
    """A module a hidden layer; empty where there is no norm.

    Raises:
        SettingError: there is no such norm.
    """
    make = block(NORMS, "network.norm", name).module
    return (
        nn.ModuleList() if make is None else nn.ModuleList(make(width, dimensions, eps, momentum) for width in widths)
    )
