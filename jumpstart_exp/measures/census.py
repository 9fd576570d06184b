"""The census: which units and points of a network are dead or linear (CPAIOR, definitions 1 and 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jumpstart_exp.measures.recording import ReluRecorder
from jumpstart_exp.result import LayerCensus
from jumpstart_exp.settings import SettingError


def census(post_activations: Sequence[Tensor]) -> LayerCensus:
    """Fractions of dead and linear units and points per hidden layer, and of points that are dead at some layer.

    A unit is dead if its output is 0 for every point, linear if it is above 0 for every point. A point is dead
    in a layer if the output of every unit is 0 for it, linear if every output is above 0. A convolution's unit
    is a channel; its positions count along.

    Args:
        post_activations: ReLU outputs of each hidden layer, (points, units) or (points, channels, *positions).
    """
    if not post_activations:
        return LayerCensus((), (), (), ())
    of_layers, of_points = fractions(post_activations)
    dead_units, linear_units, dead, linear = map(tuple, of_layers.tolist())
    somewhere = None if of_points is None else of_points.item()
    return LayerCensus(dead_units, linear_units, dead, linear, somewhere)


def fractions(post_activations: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """What `census` tells, as tensors: (4, layers), and the fraction of points that are dead at some layer.

    The latter is None where layers see different numbers of points. It can be vectorised by `torch.func.vmap`.
    """
    rows, dead_points = [], []
    for layer in post_activations:
        h = layer.detach().reshape(layer.shape[0], layer.shape[1], -1)
        is_dead, is_linear = h == 0, h > 0
        dead_points.append(is_dead.all(dim=2).all(dim=1))
        rows.append(
            torch.stack(
                [_share(is_dead, 0), _share(is_linear, 0), _share(is_dead, 1), _share(is_linear, 1)],
            )
        )
    somewhere = None
    if len({len(points) for points in dead_points}) == 1:
        somewhere = torch.stack(dead_points).any(dim=0).double().mean()
    return torch.stack(rows, dim=1), somewhere


def census_of(model: nn.Module, points: Tensor) -> LayerCensus:
    """The census of any torch model's `torch.nn.ReLU` modules on these points, in evaluation mode.

    Raises:
        SettingError: the model has no `torch.nn.ReLU` module.
    """
    recorder = ReluRecorder(model)
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            model(points)
    finally:
        recorder.remove()
        for module, mode in training.items():
            module.training = mode
    if recorder.count == 0:
        raise SettingError("the model has no torch.nn.ReLU module: give census() its ReLU outputs instead")
    return census([torch.relu(pre_activation) for pre_activation in recorder.pre_activations])


def _share(holds: Tensor, over: int) -> Tensor:
    return holds.all(dim=2).all(dim=over).double().mean()
