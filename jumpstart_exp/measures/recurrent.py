"""Pre-activations of recurrent layers, which torch computes within one call: its gates, from inputs and outputs.

The gates of step t are W x_t + b + U h_{t−1} + c, and of h all steps are in the output. A layer above another one
needs the outputs of that, which are computed once more.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.settings import SettingError

_CELLS = ("rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell")

_SEQUENCES = ("rnn_tanh", "rnn_relu", "lstm", "gru")

RECURRENT = frozenset((*_CELLS, *_SEQUENCES))
"""Functions of torch that compute recurrent layers."""


def gates(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any], result: Any, at: str
) -> Iterator[tuple[str, Tensor]]:
    """The gates' pre-activations of a call, by layer and direction: (…, gates · units), as the input has its axes.

    Of a GRU's new gate it is W x + b + r ∘ (U h + c).

    Args:
        name: the function's.
        func: it itself.
        args: what it was called with.
        named: likewise by keyword; torch's modules give none.
        result: what it gave.
        at: the module's name, for the errors.

    Raises:
        SettingError: packed sequences, or dropout between layers, which hides what an inner layer was given.
    """
    if named:
        raise SettingError(f"{at} calls {name} with arguments by keyword: torch.nn's recurrent modules are watched")
    if name in _CELLS:
        inputs, state, w_input, w_hidden, *biases = args
        hidden = state[0] if isinstance(state, tuple | list) else state
        yield "", _gates_of(name, inputs, hidden, w_input, w_hidden, *(biases or (None, None)))
        return
    if not isinstance(args[3], bool):
        raise SettingError(f"{at} is given packed sequences, whose steps are not watched: pad them")
    inputs, state, weights, has_biases, layers, dropout, is_training, is_bidirectional, batch_first = args
    if layers > 1 and dropout and is_training:
        raise SettingError(f"{at} has dropout between its layers, which hides what they are given: use single layers")
    directions = 2 if is_bidirectional else 1
    each = len(weights) // (layers * directions)
    time = 1 if batch_first else 0
    states = state if isinstance(state, tuple | list) else (state,)
    for layer in range(layers):
        first = layer * directions
        own = weights[first * each : (first + directions) * each]
        if layer == layers - 1:
            outputs = result[0]
        else:
            parts = tuple(one[first : first + directions].contiguous() for one in states)
            started = parts if isinstance(state, tuple | list) else parts[0]
            flags = (has_biases, 1, 0.0, is_training, is_bidirectional, batch_first)
            outputs = func(inputs, started, own, *flags)[0]
        for direction, out in enumerate(outputs.chunk(directions, dim=-1)):
            start = states[0][first + direction].unsqueeze(time)
            steps = out.shape[time]
            if direction == 0:
                hidden = torch.cat([start, out.narrow(time, 0, steps - 1)], dim=time)
            else:
                hidden = torch.cat([out.narrow(time, 1, steps - 1), start], dim=time)
            w_input, w_hidden, *rest = own[direction * each : (direction + 1) * each]
            biases = rest[:2] if has_biases else [None, None]
            suffix = (f".{layer}" if layers > 1 else "") + (".reverse" if direction else "")
            yield suffix, _gates_of(name, inputs, hidden, w_input, w_hidden, *biases)
        inputs = outputs


def _gates_of(
    name: str,
    inputs: Tensor,
    hidden: Tensor,
    w_input: Tensor,
    w_hidden: Tensor,
    b_input: Tensor | None,
    b_hidden: Tensor | None,
) -> Tensor:
    of_input, of_hidden = F.linear(inputs, w_input, b_input), F.linear(hidden, w_hidden, b_hidden)
    if not name.startswith("gru"):
        return of_input + of_hidden
    units = of_input.shape[-1] // 3
    both = of_input[..., : 2 * units] + of_hidden[..., : 2 * units]
    reset = torch.sigmoid(both[..., :units])
    return torch.cat([both, of_input[..., 2 * units :] + reset * of_hidden[..., 2 * units :]], dim=-1)
