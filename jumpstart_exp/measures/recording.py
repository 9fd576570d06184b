"""Recording what the ReLUs of any torch model see."""

from typing import Any

from torch import Tensor, nn


class ReluRecorder:
    """Keeps the pre-activation of every `torch.nn.ReLU` of a model from its latest forward pass, in call order.

    A ReLU that works in place is handed a copy, so that what was recorded stays what it saw.
    """

    def __init__(self, model: nn.Module) -> None:
        self.pre_activations: list[Tensor] = []
        self._handles = [model.register_forward_pre_hook(self._start)]
        relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
        self._handles += [relu.register_forward_pre_hook(self._record) for relu in relus]
        self.count = len(relus)

    def remove(self) -> None:
        """Take the hooks off the model again."""
        for handle in self._handles:
            handle.remove()

    def __getstate__(self) -> dict[str, Any]:
        """Without what was recorded: a model that is watched can still be copied and saved."""
        return {**self.__dict__, "pre_activations": []}

    def _start(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.pre_activations = []

    def _record(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self.pre_activations.append(inputs[0])
        return (inputs[0].clone(),) if getattr(module, "inplace", False) else None
