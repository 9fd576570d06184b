"""What runs on a GPU asks the host for nothing: tried on torch's device meta, whose tensors have no numbers to give.

`.item()`, `.cpu()`, `nonzero` and an index without axes all end there in an error, as they do in a CUDA graph; tensors
that were left on the CPU do not go together with its own.
"""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.stacked import layers as stack_layers
from jumpstart_exp.engines.stacked.fleet import Fleet
from jumpstart_exp.engines.stacked.functional import FunctionalFleet
from jumpstart_exp.engines.stacked.layout import CACHED_NUMBERS
from jumpstart_exp.engines.stacked.paths import is_padded

META, CPU = torch.device("meta"), torch.device("cpu")


def points() -> Data:
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(100, 2)))
    y = torch.arange(100) % 2
    return Data(x[:85], y[:85], x[85:], y[85:])


def cells_of(**config: Any) -> list[Cell]:
    config = {"depth": 3, "width": 4, **config}
    return [Cell.from_config({**config, "seed": seed}, "test") for seed in range(2)]


@contextmanager
def answering() -> Iterator[None]:
    """Within, the host is given zeros: what begins and ends a training may ask."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cpu", "tolist"):
            own = getattr(Tensor, name)
            patch.setattr(Tensor, name, lambda t, own=own: own(torch.zeros(t.shape, dtype=t.dtype)))
        yield


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's fused Adam and the sizes of chunks know no device meta."""
    monkeypatch.setattr(torch.optim, "Adam", partial(_unfused, torch.optim.Adam))
    monkeypatch.setattr(Training, "_evaluate_training_set", lambda self: (0.0, None))
    monkeypatch.setitem(CACHED_NUMBERS, "meta", 1 << 26)


def _unfused(adam: Any, *arguments: Any, fused: bool, **settings: Any) -> Any:
    assert fused
    return adam(*arguments, foreach=True, **settings)


PENALTIES: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "channel": {"kind": "UP"},
    "shared": {"kind": "UP", "ties": "shared"},
    "position": {"kind": "UP", "scope": "position", "aggregate": "l2"},
    "position, shared": {"kind": "UP", "scope": "position", "ties": "shared", "layers": "all"},
    "layer": {"kind": "L", "layers": "all"},
    "layer, position": {"kind": "L", "scope": "position", "aggregate": "balanced"},
}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_mini_batch_of_a_cnn_stays_on_the_device(name: str, norm: str, precision: str, on_meta: None) -> None:
    """A step that is to be a CUDA graph, whose points are indices on the device."""
    cell = Cell.from_config(
        {
            "dataset": {"name": "mnist", "n_train": 13, "n_val": 10},
            "depth": 3,
            "width": 4,
            "network": {"layout": "cnn", "norm": norm},
            "penalty": PENALTIES[name],
            "optimizer": {"batch_size": 5},
            "precision": precision,
        },
        "test",
    )
    assert unsupported("graph", cell) is None
    x = torch.zeros(23, 1, 28, 28, dtype=torch.uint8)
    y = torch.arange(23) % 10
    training = Training(cell, Data(x[:13], y[:13], x[13:], y[13:], (0.4,), (0.2,)), META)
    before = [parameter.clone() for parameter in training.parameters]
    training._train_batch(0, 0, torch.arange(5, device=META))
    assert training.steps == 1 and all(parameter.is_meta for parameter in [*before, training.sums])


STACKED: dict[str, dict[str, Any]] = {
    "relu": {"penalty": {"kind": "none"}},
    "relu_bn, dropout": {"network": {"norm": "batch"}, "dropout": {"rate": 0.5}},
    "sep_up": {"penalty": {"kind": "UP"}},
    "l2, random": {"penalty": {"kind": "UP", "aggregate": "l2", "ties": "random"}},
    "2×1, shared": {
        "network": {"layout": "conv2x1"},
        "penalty": {"kind": "UP", "aggregate": "sum_sq", "scope": "position", "ties": "shared"},
    },
    "clipped, warmed up": {"optimizer": {"clip_norm": 1.0, "warmup_steps": 3, "schedule": "cosine"}},
    "elu": {"network": {"activation": "elu"}, "penalty": {"kind": "UP"}},
    "layer norm, random": {"network": {"norm": "layer"}, "penalty": {"kind": "UP", "ties": "random"}},
    "batches, dropout": {
        "network": {"activation": "elu"},
        "dropout": {"rate": 0.5},
        "optimizer": {"batch_size": 20},
    },
}


@pytest.mark.parametrize("name", STACKED)
def test_a_step_of_a_fleet_stays_on_the_device(name: str, on_meta: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = cells_of(**STACKED[name])
    monkeypatch.setattr(FunctionalFleet, "evaluate_training_set", lambda self: None)
    if is_padded(cells[0]):
        with answering():
            fleet = Fleet(cells, points(), META)
        fleet.step(cells[0].dropout.rate > 0)
        assert fleet.ledger.train_loss.is_meta
    else:
        with answering():
            functional = FunctionalFleet(cells, points(), META)
        terms, right = functional.step(0, 0, None)
        assert right.is_meta and terms["task"].is_meta


@pytest.mark.parametrize("name", ["sep_up", "elu"])
def test_a_fleet_goes_with_its_last_user(name: str) -> None:
    """On a GPU its halves need the memory at once: nothing may wait for the garbage collector."""
    gc.disable()
    try:
        make: Any = Fleet if is_padded(cells_of(**STACKED[name])[0]) else FunctionalFleet
        fleet = make(cells_of(**STACKED[name]), points(), CPU)
        fleet.train_for(0.0)
        gone = weakref.ref(fleet)
        del fleet
        assert gone() is None
    finally:
        gc.enable()


def test_products_of_many_rows_are_split_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of CUDA's takes 65,535 matrices; the bits are those of one call."""
    cells = cells_of(penalty={"kind": "UP"}, optimizer={"epochs": 5})
    whole = Fleet(cells, points(), CPU).probe(3)
    monkeypatch.setattr(stack_layers, "_MOST_PRODUCTS", 3)
    for one, other in zip(whole, Fleet(cells, points(), CPU).probe(3), strict=True):
        for key, value in one.gradients.items():
            assert np.array_equal(value, other.gradients[key]), key
