"""Functions as a user writes them, for tests that need some that can be imported."""

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_mean(pre_activations: Sequence[Tensor], parameters: dict[str, Tensor], scale: float = 1.0) -> Tensor:
    """Of every unit."""
    return scale * torch.stack([pre.mean(0).square().mean() for pre in pre_activations]).mean()


def weight_norm(pre_activations: Sequence[Tensor], parameters: dict[str, Tensor], scale: float = 1.0) -> Tensor:
    """Of all layers' weights, squared."""
    weights = [value.square().sum() for name, value in parameters.items() if name.endswith("weight")]
    return scale * torch.stack(weights).sum()
