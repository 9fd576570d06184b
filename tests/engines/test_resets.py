"""Dormant units begin anew: against the same step without it, and the units told entry by entry."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import cloud, data_of, train
from test_capabilities import Thumbnails
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.eager.forward import ConvolutionForward
from jumpstart_exp.engines.eager.resets import dormant_units
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.methods import Batch
from jumpstart_exp.networks.build import affine_layer
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.initialisation import drawn
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.reset import ResetSpec


@pytest.mark.parametrize(("shape", "outputs"), [((5, 4), 1), ((5, 8), 2), ((5, 4, 3), 1), ((5, 8, 3, 2), 2)])
def test_a_unit_is_dormant_by_its_share_of_the_mean(shape: tuple[int, ...], outputs: int) -> None:
    h = np.random.default_rng(1).normal(size=shape) * np.array([1, 0, 1e-3, 0.6] * outputs).reshape(
        -1, *[1] * (len(shape) - 2)
    )
    units = np.array([np.abs(h[:, unit::4]).mean() for unit in range(4)])
    scores = units / (units.mean() + 1e-9)
    for tau in (0.0, 0.025, 0.9):
        found = dormant_units(torch.from_numpy(h), outputs, tau)
        assert found.tolist() == [score <= tau for score in scores]
    assert dormant_units(torch.zeros(shape), outputs, 0.0).all(), "all of a layer that is off"


def training_of(cell: Cell) -> tuple[Training, Any]:
    data = data_of(cell.dataset) if cell.network.layout != "cnn" else thumbnails()
    return Training(cell, data, torch.device("cpu"), None), data


def thumbnails() -> Any:
    return load(Thumbnails(), Path())


def tensors(training: Training) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in training.network.named_parameters()}


NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {},
    "norm": {"norm": "layer", "activation": "tanh"},
    "conv2x1": {"layout": "conv2x1"},
    "crelu": {"activation": "crelu"},
    "cnn": {"layout": "cnn"},
    "pooled": {"layout": "cnn", "head": "max_avg_pool", "activation": "crelu"},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_dormant_units_begin_anew_and_nothing_else_changes(name: str) -> None:
    """Two steps with a reset after the second: as without it, but for what comes into and goes out of these units."""
    is_cnn = NETWORKS[name].get("layout") == "cnn"
    cell = Cell(
        dataset=Thumbnails() if is_cnn else cloud(),
        depth=4,
        width=5,
        network=NetworkSpec(init="kaiming_uniform", **NETWORKS[name]),
        reset=ResetSpec(every=2, tau=0.8),
        optimizer=OptimizerSpec(lr=0.05),
        precision="float64",
        seed=3,
    )
    (reset, _), (plain, _) = training_of(cell), training_of(dataclasses.replace(cell, reset=ResetSpec()))
    x, y = reset.full_batch()
    for epoch in range(2):
        before = reset.forward.train(x, None, None)
        for training in (reset, plain):
            training.step(training.loss(x, y, epoch, 0, None).total)
        if epoch == 0:
            for key, value in tensors(plain).items():
                torch.testing.assert_close(tensors(reset)[key], value, rtol=1e-9, atol=1e-12)
    activations = reset.network.activation
    expected, slots = tensors(plain), {key: dict.fromkeys(("exp_avg", "exp_avg_sq")) for key in tensors(plain)}
    named = dict(plain.network.named_parameters())
    for key in slots:
        slots[key] = {slot: plain.optimizer.state[named[key]][slot].clone() for slot in slots[key]}
    is_dormant = [
        dormant_units(activations.value(pre, 0.0), activations.outputs, 0.8) for pre in before.pre_activations
    ]
    assert 0 < sum(int(units.sum()) for units in is_dormant) < 20
    for layer, units in enumerate(is_dormant):
        shape = tuple(expected[f"hidden.{layer}.weight"].shape)
        fresh = drawn(affine_layer(cell, layer, shape, draw=1), "kaiming_uniform")
        for part, values in zip(("weight", "bias"), fresh, strict=True):
            for unit in units.nonzero()[:, 0]:
                expected[f"hidden.{layer}.{part}"][unit] = torch.from_numpy(np.asarray(values[unit]))
                for slot in slots[f"hidden.{layer}.{part}"].values():
                    slot[unit] = 0
    for layer, units in enumerate(is_dormant):
        key = "output.weight" if layer == 3 else f"hidden.{layer + 1}.weight"
        columns = [unit + 5 * copy for copy in range(activations.outputs) for unit in units.nonzero()[:, 0].tolist()]
        channels = 5 * activations.outputs
        if layer == 3 and name == "pooled":
            columns += [channels + column for column in columns]
        elif layer == 3:
            positions = expected[key].shape[1] // channels
            columns = [column * positions + position for column in columns for position in range(positions)]
        for tensor in (expected[key], *slots[key].values()):
            tensor[:, columns] = 0
    found = dict(reset.network.named_parameters())
    for key, value in expected.items():
        torch.testing.assert_close(found[key].detach(), value, rtol=1e-9, atol=1e-12, msg=key)
        for slot, numbers in slots[key].items():
            torch.testing.assert_close(reset.optimizer.state[found[key]][slot], numbers, rtol=1e-8, atol=1e-13)


def test_a_training_with_resets_goes_on_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends with the bits of the one that was not interrupted, which another period, or none, does not give."""
    cell = Cell(
        dataset=cloud(),
        depth=2,
        width=6,
        reset=ResetSpec(every=3, tau=0.5),
        optimizer=OptimizerSpec(epochs=12),
        network=NetworkSpec(init="he_normal"),
    )
    (whole,) = train(EagerEngine(), cell)
    others = [dataclasses.replace(cell, reset=reset) for reset in (ResetSpec(), ResetSpec(4, 0.5), ResetSpec(3, 0.0))]
    losses = {train(EagerEngine(), other)[0].train_loss.last for other in others}
    assert whole.train_loss.last not in losses and len(losses) >= 2
    states: list[dict[str, Any]] = []
    save = Checkpoints.save

    def noting(own: Checkpoints, key: str, state: dict[str, Any]) -> None:
        states.append(copy.deepcopy(state))
        save(own, key, state)

    monkeypatch.setattr(Checkpoints, "save", noting)
    checkpoints = Checkpoints(tmp_path, 0.0)
    train(EagerEngine(checkpoints=checkpoints), cell)
    checkpoints.save(cell.key, next(state for state in states if state["steps"] == 5))
    states.clear()
    (again,) = train(EagerEngine(checkpoints=checkpoints), cell)
    assert states[0]["steps"] == 6, "it goes on"
    assert (again.train_loss, again.val_loss) == (whole.train_loss, whole.val_loss)


# A CNN's two passes


@pytest.mark.parametrize("ties", ["single", "shared"])
@pytest.mark.parametrize("network", [{"activation": "gelu", "norm": "layer"}, {"activation": "tat"}, {"norm": "layer"}])
def test_a_cnns_pass_by_autograd_is_its_fused_one(network: dict[str, Any], ties: str) -> None:
    """Outputs, penalty, gradients and census of the two."""
    built = RectangularCNN((2, 5, 4), (4, 4, 4), 3, NetworkSpec("cnn", **network)).double()
    penalty = SeparationPenalty.from_spec(PenaltySpec("UP", 0.1, ties=ties))
    x = torch.randn(6, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    passes = [ConvolutionForward(built, penalty, half=False, fused=fused) for fused in (True, False)]

    def total(batch: Batch) -> Tensor:
        found = batch.separation if batch.separation is not None else penalty(batch.pre_activations)
        return batch.outputs.square().sum() + found

    values = [total(one.train(x, None, None)) for one in passes]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-12)
    gradients = [torch.autograd.grad(value, list(built.parameters())) for value in values]
    for own, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(passes[0].outputs(x), passes[1].outputs(x))
