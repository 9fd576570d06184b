"""Whether torch.func can vectorise a user's own functions: found by trying, once a function."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from jumpstart_exp.cell import Cell
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.methods.regulariser import Regulariser
from jumpstart_exp.networks.build import build
from jumpstart_exp.settings import is_function_name, legible
from jumpstart_exp.user_functions import SharedGeneratorError, UserFunctionError

_TOLERANCE = 1e-8

_reasons: dict[tuple[Any, ...], str | None] = {}


def why_not_vectorised(cell: Cell) -> str | None:
    """Why a function of the cell's cannot be computed for many networks at once; None if all can.

    What fails for a single network, too, is no reason: it fails wherever it is trained, and its row has the traceback.
    """
    network, own = cell.network, cell.regulariser
    activation = (network.activation, network.activation_source, network.layout)
    if is_function_name(network.activation):
        reason = _once(f"network.activation={network.activation}", activation, cell, _outputs)
        if reason is not None:
            return reason
    if cell.regulariser_weight:
        about = (own.function, own.source, own.settings, *activation)
        return _once(f"regulariser.function={own.function}", about, cell, _term)
    return None


def _once(named: str, about: tuple[Any, ...], cell: Cell, what: "_What") -> str | None:
    if about not in _reasons:
        reason = _difference(replace(cell, precision="float64"), what)
        _reasons[about] = None if reason is None else f"the engine stacked cannot vectorise {named}: {reason}"
    return _reasons[about]


_What = Callable[[Cell, Tensor, list[Tensor], dict[str, Tensor]], Tensor]


def _outputs(cell: Cell, outputs: Tensor, pre_activations: list[Tensor], parameters: dict[str, Tensor]) -> Tensor:
    return outputs.square().sum() + torch.stack([pre.square().sum() for pre in pre_activations]).sum()


def _term(cell: Cell, outputs: Tensor, pre_activations: list[Tensor], parameters: dict[str, Tensor]) -> Tensor:
    return Regulariser(cell).loss_terms(Batch(outputs, pre_activations, network=parameters))["regulariser"]


def _difference(cell: Cell, what: _What) -> str | None:
    """What vectorising does to a number and its gradient, of two networks at random points; None where nothing."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    try:
        network = build(cell)
        start = {name: value.detach() for name, value in network.named_parameters()}
        both = {name: torch.stack([own + 0.3 * normal(*own.shape) for _ in range(2)]) for name, own in start.items()}
        x = normal(5, cell.dataset.features)
        buffers = {name: torch.stack([own, own]) for name, own in network.named_buffers()}

        def one(parameters: dict[str, Tensor], state: dict[str, Tensor]) -> Tensor:
            state = {name: own.clone() for name, own in state.items()}
            outputs, pre_activations = functional_call(network, {**parameters, **state}, (x,))
            return what(cell, outputs, pre_activations, parameters)

        expected = [
            _with_gradient(one, *({name: own[at] for name, own in of.items()} for of in (both, buffers)))
            for at in range(2)
        ]
    except SharedGeneratorError as error:  # eager says so, torch.func only that it takes no draws
        return str(error)
    except Exception:  # whatever it is: it is met again, and told, where the cell is trained
        return None
    try:
        values, gradients = _with_gradient(vmap(one), both, buffers)
    except Exception as error:  # whatever torch.func, or the function under it, has to say
        cause = error.__cause__ if isinstance(error, UserFunctionError) and error.__cause__ else error
        return legible(" ".join(f"{type(cause).__name__}: {cause}".split()))
    for at, (value, own) in enumerate(expected):
        for found, wanted in ((values[at], value), *((gradients[name][at], own[name]) for name in own)):
            if not torch.allclose(found, wanted, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
                return "under torch.func.vmap it gives other numbers"
    return None


def _with_gradient(
    function: Callable[..., Tensor], parameters: dict[str, Tensor], state: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = {name: own.clone().requires_grad_() for name, own in parameters.items()}
    value = function(leaves, state)
    found = torch.autograd.grad(value.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    return value.detach(), dict(zip(leaves, found, strict=True))
