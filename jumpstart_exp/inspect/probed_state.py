"""One kept state of a cell as probes look at it: the network, the plane, and which class is where."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from jumpstart_exp.data.loading import Data
from jumpstart_exp.geometry import Plane
from jumpstart_exp.geometry.gradients import cross_entropy
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.settings import SettingError

_NUMBERS_AT_ONCE = 1 << 24


@dataclass(frozen=True, eq=False)
class Probed:
    """One state of a cell, and the plane that it is looked at on.

    Of points of two features the plane is their range and a tenth more; of any others the one through the first
    training points of three classes (of fewer, through the first training points that span one), with a tenth more.
    The class of a place, or its target, is that of the nearest training point.
    """

    states: RecordedStates
    state: int
    data: Data

    @cached_property
    def network(self) -> nn.Module:
        """In evaluation mode."""
        return self.states.network(self.state)

    @cached_property
    def inputs(self) -> Tensor:
        """The training points as the network sees them, in float64."""
        found = self.data.inputs(self.data.x_train, torch.float64)
        return found if isinstance(self.network, RectangularCNN) else found.flatten(1)

    @cached_property
    def plane(self) -> Plane:
        """Where the network is looked at."""
        if self.inputs.dim() == 2 and self.inputs.shape[1] == 2:
            return Plane.around(self.inputs)
        return Plane.through(*self._spanning())

    def nearest(self, points: Tensor) -> Tensor:
        """The targets (points,) of the training points nearest to inputs (points, …) on the plane."""
        plane, known = self.plane, self.inputs.reshape(len(self.inputs), -1)
        axes = torch.stack([plane.first.reshape(-1), plane.second.reshape(-1)])
        from_origin = known - plane.origin.reshape(-1)
        seen = from_origin @ axes.T
        away = (from_origin - seen @ axes).square().sum(1)
        here = (points.reshape(len(points), -1) - plane.origin.reshape(-1)) @ axes.T
        chunks = torch.split(here, max(1, _NUMBERS_AT_ONCE // len(known)))
        found = [((torch.cdist(chunk, seen) ** 2) + away).argmin(1) for chunk in chunks]
        return self.data.y_train[torch.cat(found)]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of each point, (points,)."""
        match self.states.cell.dataset.task:
            case "classification":
                return cross_entropy(outputs, targets)
            case "regression":
                return (outputs[:, 0] - targets.to(outputs.dtype)) ** 2
            case other:
                raise SettingError(f"the task {other} has no gradient that is known here")

    def _spanning(self) -> tuple[Tensor, Tensor, Tensor]:
        """Three training points that are not on a line, of three classes if there are."""
        targets = self.data.y_train
        firsts = [int(torch.nonzero(targets == label)[0, 0]) for label in torch.unique(targets)[:3]]
        order = [*firsts, *(index for index in range(min(len(self.inputs), 1000)) if index not in firsts)]
        a, b, *_ = (self.inputs[index] for index in order)
        for index in order[2:]:
            try:
                Plane.through(a, b, self.inputs[index])
            except SettingError:
                continue
            return a, b, self.inputs[index]
        raise SettingError("its training points span no plane")
