"""A block, an optimizer or a method that joins its table trains at once, and a name that no table has is refused."""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from contract import cloud, data_of, distances, train
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager import convolution, training
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native import extension
from jumpstart_exp.engines.native.description import spec_of
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.stacked import functional
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.methods import Batch
from jumpstart_exp.networks.activations import ACTIVATIONS, Activation
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.initialisation import AffineLayer, drawn
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

ROWS = {
    "cube": Activation(lambda pre, _: pre**3, lambda pre, _: 3 * pre**2),
    # what is padded has an activation, too
    "cosine": Activation(lambda pre, _: torch.cos(pre), lambda pre, _: -torch.sin(pre)),
}


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, row in ROWS.items():
        monkeypatch.setitem(ACTIVATIONS, name, row)
    (field,) = (field for field in dataclasses.fields(NetworkSpec) if field.name == "activation")
    choices = (*field.metadata["choices"], *ROWS)
    monkeypatch.setattr(field, "metadata", MappingProxyType({**field.metadata, "choices": choices}))


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_an_activation_of_eager_and_stacked(name: str, layout: str) -> None:
    """Fleets of several widths: padding changes nothing."""
    cells = [
        Cell(
            dataset=cloud(),
            depth=depth,
            width=width,
            network=NetworkSpec(layout=layout, activation=name, norm="batch" if depth == 2 else "none"),
            penalty=PenaltySpec("UP", 0.1),
            dropout=dataclasses.replace(Cell().dropout, rate=0.3),
            optimizer=OptimizerSpec(epochs=5),
            precision="float64",
        )
        for depth, width in ((3, 4), (3, 3), (1, 2))
    ]
    data = data_of(cloud())
    for cell in cells:
        found, expected = (engine.probe(cell, data, 2) for engine in (StackedEngine(), EagerEngine()))
        assert max(distances(found, expected, cell).values()) < 1e-9
    one, other = train(StackedEngine(), cells, data), train(EagerEngine(), cells, data)
    for found_result, expected_result in zip(one, other, strict=True):
        assert found_result.val_loss.last == pytest.approx(expected_result.val_loss.last, rel=1e-9)
        assert found_result.val_loss.last != train(EagerEngine(), relu(found_result.cell), data)[0].val_loss.last


def relu(cell: Cell) -> Cell:
    return dataclasses.replace(cell, network=dataclasses.replace(cell.network, activation="relu"))


@pytest.mark.parametrize("ties", ["single", "shared"])
@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_an_activation_of_a_cnn(name: str, ties: str) -> None:
    """The engine's pass against the network's own and the penalty of its pre-activations."""
    network = RectangularCNN((2, 5, 4), (4, 4, 4), 3, NetworkSpec("cnn", activation=name)).double()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(6, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    penalty = SeparationPenalty.from_spec(PenaltySpec("UP", 0.1, ties=ties))
    logits, pre_activations = network(x)
    expected = logits.square().sum() + penalty(pre_activations)
    found_logits, value = convolution.forward(network, x, penalty)
    assert value is not None
    found = found_logits.square().sum() + value
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    parameters = list(network.parameters())
    for own, wanted in zip(*(torch.autograd.grad(one, parameters) for one in (found, expected)), strict=True):
        assert torch.allclose(own, wanted, rtol=1e-10, atol=1e-12)
    assert convolution.evaluate_training_set(network, [x[:4], x[4:]], penalty)[1] == pytest.approx(
        penalty(pre_activations).item()
    )


def test_a_name_that_no_table_has_is_refused() -> None:
    for field, build in {
        "network.layout": lambda: RectangularMLP(2, [2], 1, NetworkSpec("fancy")),
        "network.activation": lambda: RectangularMLP(2, [2], 1, NetworkSpec(activation="fancy")),
        "network.norm": lambda: RectangularMLP(2, [2], 1, NetworkSpec(norm="fancy")),
        "network.skip_scale": lambda: RectangularMLP(2, [2], 1, NetworkSpec(skip_scale="fancy")),
        "network.head": lambda: RectangularCNN((1, 2, 2), [2], 1, NetworkSpec("cnn", head="fancy")),
        "network.init": lambda: drawn(AffineLayer(0, 0, (1, 1), 1), "fancy"),
    }.items():
        with pytest.raises(SettingError, match=rf"{field}='fancy' is not allowed"):
            build()


NAMES = (
    "task layout activation norm init precision kind scope layers aggregate ties optimizer eps_rule "
    "relax hidden_loss hidden_reduce hidden_schedule"
)


@pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")
@pytest.mark.parametrize("name", NAMES.split())
def test_cpp_refuses_a_name_that_it_does_not_know(name: str) -> None:
    spec = spec_of(Cell(penalty=PenaltySpec("UP")), 1, True)
    with pytest.raises(ValueError, match=f"{name}='fancy' is not known to the C"):
        extension.native.workspace_bytes({**spec, name: "fancy"}, 21, 5)


class Shift:
    """A method with a parameter of its own, drawn to 1."""

    weights: Mapping[str, float] = {"shift": 3.0}
    rate = 1.0

    def extra_parameters(self, cell: Cell, data: Data) -> dict[str, Tensor]:
        return {"shift": torch.zeros(2)}

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        return {"shift": (batch.parameters["shift"] - 1).square().sum()}

    def evaluate(self, batch: Batch) -> dict[str, float]:
        return {}


def test_what_a_method_trains_beside_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimizer moves it, a checkpoint keeps it, and the network trains as it does without."""
    cell = Cell(dataset=cloud(), depth=2, width=3, optimizer=OptimizerSpec(epochs=15, lr=0.1))
    data, (plain,) = data_of(cloud()), train(EagerEngine(), cell)
    monkeypatch.setattr(training, "methods_of", lambda cell: (Shift(),))
    states: list[dict[str, Any]] = []
    save = Checkpoints.save

    def noting(own: Checkpoints, key: str, state: dict[str, Any]) -> None:
        states.append(copy.deepcopy(state))
        save(own, key, state)

    monkeypatch.setattr(Checkpoints, "save", noting)
    checkpoints = Checkpoints(tmp_path, 0.0)
    (result,) = train(EagerEngine(checkpoints=checkpoints), cell, data)
    assert result.val_loss == plain.val_loss
    shift = states[-1]["method"]["shift"]
    assert shift.shape == (2,)
    assert (shift - 1).abs().max() < 0.3
    checkpoints.save(cell.key, states[5])
    states.clear()
    (again,) = train(EagerEngine(checkpoints=checkpoints), cell, data)
    assert states[0]["steps"] == 7, "it goes on"
    assert again.val_loss == plain.val_loss
    assert torch.equal(states[-1]["method"]["shift"], shift)


def test_stacked_refuses_what_a_method_would_train_beside_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "methods_of", lambda cell: (Shift(),))
    cell = Cell(dataset=cloud(), depth=2, width=3, network=NetworkSpec(activation="elu"))
    (result,) = train(StackedEngine(), cell, data_of(cloud()))
    assert result.status == "failed"
    assert "trains nothing beside the network" in str(result.error)
