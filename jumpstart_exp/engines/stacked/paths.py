"""Which of stacked's two ways trains a cell: padded matrices, or the reference's network vectorised by torch.func.

And in what the cells of a fleet agree.
"""

from collections.abc import Hashable

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.optimizers import optimizer

OWN_SETTINGS = frozenset(
    {
        *("optimizer.lr", "optimizer.beta1", "optimizer.beta2", "optimizer.eps", "optimizer.eps_rule"),
        *("optimizer.momentum", "optimizer.alpha", "optimizer.weight_decay", "optimizer.clip_norm"),
        *("optimizer.warmup_steps", "optimizer.step_every", "optimizer.step_factor"),
    }
)
"""Fields of which every network of a fleet has its own value."""

PADDED_NUMBERS = frozenset(
    {
        *("depth", "width", "seed", "task_loss"),
        *("network.norm_eps", "network.norm_momentum", "network.init"),
        *("network.init_norm", "network.init_at", "network.init_gain"),
        *("penalty.weight", "penalty.balance", "penalty.margin_above", "penalty.margin_below", "penalty.layer_weights"),
        *("dropout.rate", "dropout.anneal_epochs"),
        *OWN_SETTINGS,
    }
)
"""Fields of which every padded network has its own value; mates agree in all others, also in those to come."""

VECTORISED_NUMBERS = frozenset(
    {"seed", "network.init", "penalty.weight", "regulariser.weight", "dropout.rate", "dropout.anneal_epochs"}
    | {"network.init_norm", "network.init_at", "network.init_gain"}
    | {"rai.weight", "rai.final_weight", "rai.rate", "optimizer.row_penalty", "optimizer.row_limit"}
    | OWN_SETTINGS
)
"""Fields of which every vectorised network has its own value; mates agree in all others, also in those to come."""

_MOST_TIED = 1 << 24
"""Entries of a layer up to which float32 counts exactly, as the ranks of tied entries need it."""


def is_padded(cell: Cell) -> bool:
    """Whether padded matrices can train it: what they are written for is on the list `padded` of `capabilities`."""
    return (
        cell.dataset.image is None
        and cell.batch_size == cell.dataset.sizes()[0]
        and width_class(cell) * cell.positions * cell.batch_size <= _MOST_TIED
        and unsupported("padded", cell) is None
    )


def width_class(cell: Cell) -> int:
    """The width, rounded up to the power of two, from 4 on."""
    return max(4, 1 << (cell.width - 1).bit_length())


def optimizer_group(cell: Cell) -> Hashable:
    """What networks of one fleet agree in beside all fields that are not among `OWN_SETTINGS`."""
    spec = cell.optimizer
    return spec.name, optimizer(spec).slots, spec.clip_norm is not None
