"""A census every so many training steps, while a model trains."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from torch import nn

from jumpstart_exp.measures.model_census import TAUS, ModelCensus, ModelTally
from jumpstart_exp.measures.passes import ModelPass
from jumpstart_exp.measures.watching import ModelWatch
from jumpstart_exp.settings import SettingError

OnCensus = Callable[[int, ModelCensus], Any]
"""Is handed the step's number, from 0 on, and its census."""


class _Counted(ModelPass):
    def __init__(self, step: int) -> None:
        self.tally = ModelTally()
        self.step = step
        super().__init__(True, self.tally.add)


class Watcher:
    """Takes the census of every n-th mini-batch that a model trains with.

        with Watcher(model, every=100) as watcher:
            train(model)
        watcher.frame

    A step is a forward pass with gradients. What is counted is that pass: its mini-batch, in training mode.

    Args:
        model: any module.
        every: steps from one census to the next, at least 1; the first one is of step 0.
        on_census: is handed each step and census, to be logged elsewhere; None to collect them in `frame`.
        taus: thresholds of dormancy.
        selection: `layers`, `functions`, `output_layer`, `unit_axis`, `point_axis` as `SeparationPenalty.watch` takes
            them.

    Raises:
        SettingError: a setting is not allowed, or the model cannot be watched.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 100,
        on_census: OnCensus | None = None,
        *,
        taus: Sequence[float] = TAUS,
        **selection: Any,
    ) -> None:
        if not (isinstance(every, int) and every >= 1):
            raise SettingError(f"every={every} is not allowed: it must be an integer of at least 1")
        self.every, self.on_census, self.taus = every, on_census, tuple(taus)
        self.steps = 0
        self._taken: list[tuple[int, ModelCensus]] = []
        self._has_seen_layers = False
        self._open: _Counted | None = None
        self._latest: ModelPass | None = None
        self._watch = ModelWatch(model, self._begin, **selection)

    @property
    def frame(self) -> pd.DataFrame:
        """All censuses, a row a step and layer, `step` first."""
        self._close()
        taken = [one.assign(step=step) for step, one in self._taken]
        if not taken:
            return pd.DataFrame(columns=["step", "layer"])
        found = pd.DataFrame(pd.concat(taken, ignore_index=True))
        return found[["step", *(name for name in found.columns if name != "step")]]

    def remove(self) -> None:
        """End watching: the model is as it was; what was taken stays."""
        self._close()
        self._watch.remove()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """A copy of a watched model is another model: nobody watches it."""
        return

    def _begin(self, has_gradients: bool, name: str) -> ModelPass | None:
        if not has_gradients:
            return None
        latest = self._latest
        if latest is not None and name and name not in latest.called and not (latest.was_trained or latest.has_failed):
            return latest
        self._close()
        step, self.steps = self.steps, self.steps + 1
        if step % self.every:
            self._latest = ModelPass(True, lambda _: None)
        else:
            self._latest = self._open = _Counted(step)
        return self._latest

    def _close(self) -> None:
        """Settle the pass that was counted: it has ended when another one begins or somebody asks."""
        counted, self._open = self._open, None
        if counted is None or counted.has_failed or not counted.called:
            return
        if not counted.tally.layers and self._has_seen_layers:
            return  # a call of a part that has none
        if counted.unseen is not None and counted.tally.layers:
            raise SettingError(counted.unseen)
        self._has_seen_layers = True
        counted.tally.end_batch()
        taken = counted.tally.frame(self.taus, per_unit=False)
        if self.on_census is None:
            self._taken.append((counted.step, taken))
        else:
            self.on_census(counted.step, taken)
