"""What changes from step to step, as numbers: factors of the learning rate, of λ and of the hidden losses' weight."""

import math

from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec


def rate_factor(spec: OptimizerSpec, step: int, steps: int, batches: int) -> float:
    """What a step's learning rate is of `optimizer.lr`: the warm-up's factor times the schedule's (`OptimizerSpec`).

    Args:
        spec: of the optimizer.
        step: number of the step, from 1.
        steps: of the whole training.
        batches: steps of an epoch.

    Raises:
        SettingError: there is no such schedule.
    """
    warm = min(1.0, step / spec.warmup_steps) if spec.warmup_steps else 1.0
    match spec.schedule:
        case "constant":
            return warm
        case "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * ((step - 1) / steps)))
        case "step":
            falls: int = (step - 1) // batches // spec.step_every
            return warm * spec.step_factor**falls
        case other:
            raise setting_error("optimizer.schedule", other, "constant, cosine or step")


def penalty_factor(spec: PenaltySpec, step: int, steps: int) -> float:
    """What λ is at a step of `penalty.weight` (Riera et al. 2025: a half cosine down to 0).

    Args:
        spec: of the penalty.
        step: number of the step, from 0.
        steps: of the whole training.

    Raises:
        SettingError: there is no such schedule.
    """
    match spec.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step / steps)))
        case "linear":
            return 1 - step / steps
        case other:
            raise setting_error("penalty.schedule", other, "constant, cosine or linear")


def hidden_factor(spec: RaiSpec, step: int, steps: int) -> float:
    """What the hidden loss's weight is at a step, of `rai.weight`.

    Args:
        spec: of the relaxation.
        step: number of the step, from 0.
        steps: of the whole training.

    Raises:
        SettingError: there is no such schedule.
    """
    match spec.schedule:
        case "constant":
            return 1.0
        case "geometric":
            return float((spec.final_weight / spec.weight) ** (step / max(1, steps - 1)))
        case other:
            raise setting_error("rai.schedule", other, "constant or geometric")
