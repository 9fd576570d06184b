"""What stands between a hidden layer's affine map and its activation: one table, on which every engine switches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jumpstart_exp.late import LateModule
from jumpstart_exp.networks.blocks import block

if TYPE_CHECKING:
    from torch import nn
else:
    nn = LateModule("torch.nn")


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


def _layer_norm(units: int, dimensions: int, eps: float, momentum: float) -> nn.Module:
    from jumpstart_exp.networks.layer_norm import LayerNorm

    return LayerNorm(units, eps)


NORMS: dict[str, Norm] = {
    "none": Norm(None, stacked=True, native=True),
    "batch": Norm(_batch_norm, ("weight", "bias"), ("running_mean", "running_var"), stacked=True, native=True),
    "layer": Norm(_layer_norm, ("weight", "bias"), native=True),
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
