"""A Lightning callback that adds the separation penalty to the training loss, and logs it and a census.

    trainer = Trainer(callbacks=[SeparationCallback("UP", weight=1e-4)])

It wraps the strategy's `training_step`, not the loss before its backward pass: what the trainer then does to a loss
(division by `accumulate_grad_batches`, a float16 scaler, several closure calls of LBFGS) it does to the sum, as in a
plain loop. The model is watched during its training steps only, so that validation costs nothing, and a copy of it, a
pickle or a checkpoint have nothing of it.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.measures.model_census import ModelTally
from jumpstart_exp.measures.passes import ModelPass
from jumpstart_exp.measures.watching import ModelWatch
from jumpstart_exp.settings import SettingError, setting_error

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback
except ModuleNotFoundError as error:
    raise ImportError("Lightning is missing: pip install 'jumpstart-exp[lightning]'") from error

_SELECTION = ("layers", "functions", "output_layer", "unit_axis", "point_axis")
_STRATEGIES = ("SingleDeviceStrategy", "DDPStrategy")


class SeparationCallback(Callback):
    """Adds weight·penalty to the loss that `training_step` returns, in automatic optimization.

    A training step is one forward pass, whatever it calls: the module itself, parts of it, functions; a layer that it
    calls twice is two layers. What runs under `no_grad` is not counted. Every process of a DDP training has the
    penalty of its own batch. `outputs` in `on_train_batch_end` has the sum; what `training_step` logs itself is
    without the penalty.

    Logged: `separation_penalty`, before the weight, of every batch; `dead_units`, the share in [0, 1] of all units
    whose activation can be dead, and `dead_units/LAYER` of each layer, on the mini-batch, of every n-th one.

    Args:
        kind: `U` (units), `P` (points), `UP` (both) or `L` (layers).
        weight: λ, at least 0.
        log: whether the penalty is logged.
        census_every: batches from one logged census to the next, the first one of the first batch; None for no census.
        settings: of `SeparationPenalty` (`balance`, `aggregate`, …), and of its `watch` `layers`, `functions`,
            `output_layer`, `unit_axis`, `point_axis`.

    Raises:
        SettingError: a setting is not allowed; when training begins, manual optimization, a compiled model, or a
            strategy other than a single device's or DDP.
    """

    def __init__(
        self,
        kind: str = "UP",
        weight: float = 1e-4,
        *,
        log: bool = True,
        census_every: int | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise setting_error("weight", weight, "a number of at least 0")
        if census_every is not None and (type(census_every) is not int or census_every < 1):
            raise setting_error("census_every", census_every, "an integer of at least 1, or None")
        self.selection = {name: settings.pop(name) for name in _SELECTION if name in settings}
        self.penalty = SeparationPenalty(kind, **settings)
        self.weight, self.logs_penalty, self.census_every = weight, log, census_every
        self._batches = 0
        self._takes_census = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what would not be trained right, before anything is computed."""
        if not pl_module.automatic_optimization:
            raise SettingError(
                "automatic_optimization=False is not allowed with SeparationCallback: add SeparationPenalty's "
                "watch(self) and penalty() to the loss in training_step"
            )
        if pl_module._compiler_ctx is not None:
            raise SettingError("a compiled LightningModule hides what its layers see: train the plain one")
        if type(trainer.strategy).__name__ not in _STRATEGIES:
            raise setting_error("strategy", type(trainer.strategy).__name__, " or ".join(_STRATEGIES))
        self.penalty.watch(pl_module, **self.selection).remove()  # its errors now, not after a sanity check

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wrap the training steps."""
        if "training_step" in vars(trainer.strategy):
            raise SettingError("training_step is wrapped already: a trainer takes one SeparationCallback")
        step = trainer.strategy.training_step
        trainer.strategy.training_step = partial(self._step, pl_module, step)  # type: ignore[method-assign]
        self._batches = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the batches for the census."""
        self._takes_census = self.census_every is not None and self._batches % self.census_every == 0
        self._batches += 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the trainer as it was."""
        vars(trainer.strategy).pop("training_step", None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the trainer as it was."""
        self.on_train_end(trainer, pl_module)

    def _step(self, pl_module: LightningModule, step: Any, *args: Any, **named: Any) -> Any:
        tally = ModelTally() if self._takes_census else None
        with ExitStack() as stack:
            penalty = stack.enter_context(self.penalty.watch(pl_module, **self.selection))
            with ExitStack() as passes:
                passes.enter_context(penalty.one_pass())
                if tally is not None:
                    counted = ModelPass(True, tally.add)
                    watch = ModelWatch(pl_module, lambda has_gradients, name: counted, **self.selection)
                    stack.callback(watch.remove)
                    passes.enter_context(watch.one_pass())
                output = step(*args, **named)
            loss = output.get("loss") if isinstance(output, Mapping) else output
            if not isinstance(loss, Tensor):
                return output  # a step that is skipped, or what Lightning has an error for
            value = penalty()
        if self.logs_penalty:
            pl_module.log("separation_penalty", value.detach())
        if tally is not None:
            pl_module.log_dict(_dead_units(tally))
        total = loss + self.weight * value
        return {**output, "loss": total} if isinstance(output, Mapping) else total


def _dead_units(tally: ModelTally) -> dict[str, Tensor]:
    """The shares to be logged.

    Raises:
        SettingError: no unit can be dead.
    """
    tally.end_batch()
    found = tally.frame((), per_unit=False)
    found = found[found["dead_units"].notna()]
    if found.empty:
        raise SettingError("census_every is without effect: these activations have a slope everywhere, no unit dies")
    shares = torch.tensor(found["dead_units"].tolist())
    units = torch.tensor(found["units"].tolist())
    logged = {f"dead_units/{layer}": share for layer, share in zip(found["layer"], shares, strict=True)}
    return {"dead_units": (shares * units).sum() / units.sum(), **logged}
