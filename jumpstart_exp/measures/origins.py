"""Where a call of a watched model comes from, by Python's frames, and which models cannot be watched."""

import sys
from types import FrameType

import torch
import torch.utils.checkpoint
from torch import nn

from jumpstart_exp.measures.activation_calls import FUNCTIONS
from jumpstart_exp.settings import SettingError

REPLICAS = "replicas of torch.nn.DataParallel are not watched: use torch.nn.parallel.DistributedDataParallel"

COMPILED = (
    "a compiled model hides what its layers see: watch the plain model and train that, "
    "or compile only parts of it that have no watched layer"
)


def check_model(model: nn.Module) -> None:
    """Refuse what hides its layers.

    Raises:
        SettingError: it is no module, is compiled, scripted or replicated on several devices.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"model={type(model).__name__} is not allowed: it must be a torch.nn.Module")
    for name, module in model.named_modules():
        at = name or type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise SettingError(f"{at} is a scripted module, which hides what its layers see: watch the plain one")
        if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None:
            raise SettingError(f"{at} is compiled. {COMPILED[0].upper() + COMPILED[1:]}")
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise SettingError(REPLICAS)


def is_running(frame: FrameType, now: FrameType | None) -> bool:
    """Whether a frame is still among the callers of another one."""
    while now is not None and now is not frame:
        now = now.f_back
    return now is not None


def is_in_reentrant_checkpoint() -> bool:
    """Whether a checkpoint that runs its function without gradients first is among the callers."""
    code = torch.utils.checkpoint.CheckpointFunction.forward.__code__
    at: FrameType | None = sys._getframe(1)
    while at is not None:
        if at.f_code is code:
            return True
        at = at.f_back
    return False


def caller_of_part(frame: FrameType, part: nn.Module, model: nn.Module | None) -> FrameType | None:
    """Who calls a part of the model from outside of the model's call; None where that is another network's pass."""
    call = nn.Module._call_impl.__code__
    at, caller = frame.f_back, None
    while at is not None:
        module = at.f_locals.get("self") if at.f_code is call else None
        if isinstance(module, nn.Module) and module is not part:
            return (caller or frame) if any(inner is model for inner in module.modules()) else None
        if caller is None and not at.f_code.co_filename.startswith(_TORCH):
            caller = at
        at = at.f_back
    return caller or frame


_TORCH = str(torch.__path__[0])
_SEEN_BY_NAME = frozenset(FUNCTIONS) - {"clamp", "clip", "clamp_min", "threshold", "sigmoid", "tanh"}


def unseen_calls(frame: FrameType, model: nn.Module | None) -> str | None:
    """What is wrong where a part of the model is called and an activation, too, which is not seen; None if nothing."""
    code = frame.f_code
    owner = frame.f_locals.get("self")
    own = {part for name, _ in model.named_modules() for part in name.split(".")} if model is not None else set()
    names = set(code.co_names) - own  # modules of the model are seen
    unseen = sorted(name for name in names if name.removesuffix("_") in _SEEN_BY_NAME and not hasattr(owner, name))
    if not unseen:
        return None
    where = f"{type(owner).__name__}.{code.co_name}" if isinstance(owner, nn.Module) else code.co_name
    return (
        f"{where} calls {unseen[0]} itself, outside of the model's own call, where it is not seen: "
        "call the model, or put `with penalty.one_pass():` around the step"
    )
