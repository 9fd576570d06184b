"""What a watched model's forward passes have shown a penalty."""

import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from jumpstart_exp.measures.passes import ModelPass, PreActivation
from jumpstart_exp.measures.watching import ModelWatch
from jumpstart_exp.settings import SettingError, setting_error

Extremes = Mapping[str, tuple[Tensor, Tensor]]

OfLayer = Callable[[Tensor, int], Extremes]

PASSES = ("one", "sum", "latest")
"""What the penalty is of where several passes wait for it."""


class _Recorded(ModelPass):
    """Extremes of a pass; one that shows none counts for nothing."""

    def __init__(
        self, has_gradients: bool, number: int, of_layer: OfLayer, commit: "Callable[[_Recorded], None]"
    ) -> None:
        super().__init__(has_gradients, self._keep)
        self.number, self.is_read = number, False
        self.extremes: list[Extremes] = []
        self._of_layer, self._commit = of_layer, commit

    def _keep(self, layer: PreActivation) -> None:
        if not self.extremes:
            self._commit(self)
        self.extremes.append(self._of_layer(layer.values, len(self.extremes)))

    @property
    def waits(self) -> bool:
        return not (self.is_read or self.was_trained or self.has_failed)


class RecordedPasses:
    """The extremes of a watched model's latest forward passes.

    Args:
        model: any module.
        of_layer: pre-activations (points, units, *positions) and the layer's number → its extremes.
        passes: of several passes with gradients that nothing was trained by and no penalty was read of: `one` is an
            error, `sum` the sum over them, `latest` the last one.
        selection: as `ModelWatch` takes it.

    Raises:
        SettingError: a setting is not allowed, or the model cannot be watched.
    """

    def __init__(self, model: nn.Module, of_layer: OfLayer, passes: str, **selection: Any) -> None:
        if passes not in PASSES:
            raise setting_error("passes", passes, "one, sum or latest")
        self._of_layer, self._passes = of_layer, passes
        self._numbers = itertools.count()
        self._graded: list[_Recorded] = []
        self._plain: _Recorded | None = None
        self._latest: dict[bool, _Recorded] = {}
        self._left_out = 0
        self.watch = ModelWatch(model, self._begin, **selection)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of the penalty watches no model."""
        return

    def __reduce__(self) -> Any:
        """Nor does a saved one."""
        return (_none, ())

    def _begin(self, has_gradients: bool, name: str) -> _Recorded:
        latest = self._latest.get(has_gradients)
        if latest is None or not name or not latest.waits or name in latest.called:
            latest = _Recorded(has_gradients, next(self._numbers), self._of_layer, self._commit)
            self._latest[has_gradients] = latest
        return latest

    def _commit(self, begun: _Recorded) -> None:
        if not begun.has_gradients:
            self._plain = begun
            return
        waiting = [one for one in self._graded if one.waits]
        if self._passes == "sum":
            self._graded = [*waiting, begun]
        else:
            self._left_out = self._left_out + 1 if waiting else 0
            self._graded = [begun]

    def read(self) -> list[list[Extremes]]:
        """The extremes of the passes that the penalty is of, by layer.

        Raises:
            SettingError: there was no pass yet, it called no watched layer or an activation that is not seen, or which
                one is meant is open.
        """
        found = self._meant()
        if not found and any(not one.has_failed for one in self._latest.values()):
            raise SettingError(
                "the model's forward pass called no activation that is watched: choose layers= (say, nn.LSTM) or "
                "functions= in watch(), or call the penalty with its pre-activations"
            )
        if not found:
            raise SettingError("the penalty has no pre-activations: run the model first")
        if self._passes == "one" and found[0].has_gradients and found[0].waits and self._left_out:
            raise SettingError(
                f"{self._left_out + 1} forward passes with gradients wait for the penalty, and it is of one: read it "
                "after each, run what is not trained under torch.no_grad(), or say passes='sum' or 'latest' in "
                "watch(), which forgets those before"
            )
        for one in found:
            if one.unseen is not None:
                raise SettingError(one.unseen)
            one.is_read = True
        if torch.is_grad_enabled() and not any(
            bound.requires_grad for one in found for layer in one.extremes for pair in layer.values() for bound in pair
        ):
            warnings.warn(
                "the watched model's latest forward pass was without gradients: its penalty trains nothing",
                stacklevel=6,
            )
        return [one.extremes for one in found]

    def _meant(self) -> list[_Recorded]:
        """With gradients the passes that have some, unless one without is all that is new; without the latest pass."""
        graded = [one for one in self._graded if not one.has_failed]
        plain = self._plain
        if plain is None or plain.has_failed or (graded and graded[-1].number > plain.number):
            return graded
        is_new = not plain.is_read and not any(one.waits for one in graded)
        return [plain] if not graded or not torch.is_grad_enabled() or is_new else graded


def _none() -> None:
    """What a copied or saved penalty has in place of its model's passes."""
