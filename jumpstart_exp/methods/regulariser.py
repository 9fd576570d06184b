"""A function of the user's own as a term of the loss."""

import json
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.user_functions import UserFunction


class Regulariser:
    """The regulariser that a cell names, `function(pre_activations, parameters, **settings)`.

    Its term is not a column of the results; one that is not finite makes the training diverge.

    Raises:
        UserFunctionError: the function's source is not the cell's.
        SettingError: it cannot be found.
    """

    needs_pre_activations: ClassVar[bool] = True
    rate = 1.0

    def __init__(self, cell: Cell) -> None:
        spec = cell.regulariser
        assert spec.function is not None
        self.function = UserFunction("regulariser.function", spec.function, spec.source)
        self.settings: Mapping[str, object] = json.loads(spec.settings or "{}")
        self.weights: Mapping[str, float] = {"regulariser": cell.regulariser_weight}

    def extra_parameters(self, cell: Cell, data: Data) -> dict[str, Tensor]:
        """None."""
        return {}

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The term of the batch.

        Raises:
            UserFunctionError: the function fails, or what it gives is no scalar tensor.
        """
        term = self.function(list(batch.pre_activations), dict(batch.network), **self.settings)
        if not isinstance(term, Tensor):
            raise self.function.wrong(f"gives a {type(term).__name__}, not a tensor")
        if term.dim() != 0 or not term.is_floating_point():
            raise self.function.wrong(f"gives {term.dtype} numbers of shape {tuple(term.shape)}, not one number")
        return {"regulariser": term}

    def check_gradient(self, term: Tensor) -> None:
        """Refuse a term that nothing flows back from.

        Raises:
            UserFunctionError: it has no gradient.
        """
        if torch.is_grad_enabled() and not term.requires_grad:
            raise self.function.wrong("gives a number without a gradient: it does not depend on what is trained")

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Nothing that the results have a column for."""
        return {}
