"""What the optimizer's settings say of layers, in every engine against NumPy: rows of weights, and who is trained."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import ENGINES, Case, assert_same_result, cloud, distances, train, train_one, what_was_computed
from keeping import Killed, State, train_kept
from numpy_training import NumpyTraining

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.layers import layer_of, limit_rows, row_weights
from jumpstart_exp.engines.optimizers import OPTIMIZERS
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.engines.stacked import engine as stacked
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.networks.build import parameter_shapes
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec

STEPS = 25
ALL: dict[str, Callable[..., Engine]] = {"eager": EagerEngine, **ENGINES}

DESCENTS: dict[str, dict[str, Any]] = {
    "adam": {"lr": 0.01, "weight_decay": 0.02, "clip_norm": 0.2},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.3, "clip_norm": 0.2},
    "sgd": {"name": "sgd", "lr": 0.1},
    "sgd, Nesterov": {"name": "sgd", "lr": 0.05, "momentum": 0.7, "nesterov": True, "weight_decay": 0.01},
    "rmsprop": {"name": "rmsprop", "lr": 0.003, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.02},
    "rprop": {"name": "rprop", "lr": 0.01},
}

RULES: dict[str, dict[str, Any]] = {
    "penalty": {"row_penalty": 0.3},
    "limit": {"row_limit": 0.9},
    "both, first and last": {"row_penalty": 0.1, "row_limit": 0.7, "row_layers": (1, 3)},
    "first trained": {"trained_layers": (1,)},
    "ends trained, rows": {"trained_layers": (1, 3), "row_penalty": 0.2, "row_limit": 0.8, "row_layers": (3,)},
    "middle trained, rows": {"trained_layers": (2,), "row_limit": 0.8, "row_layers": (2,)},
}

NETWORKS: dict[str, dict[str, Any]] = {"mlp": {}, "conv2x1, batch norm": {"layout": "conv2x1", "norm": "batch"}}


def cell_of(optimizer: dict[str, Any], network: dict[str, Any] | None = None, **fields: Any) -> Cell:
    spec = OptimizerSpec(**{"epochs": 60, **optimizer})
    given = {"dataset": cloud(30), "depth": 2, "width": 5, "precision": "float64", "seed": 4, **fields}
    return Cell(optimizer=spec, network=NetworkSpec(**(network or {})), **given)


def weight_of(cell: Cell, layer: int) -> str:
    return "output.weight" if layer == cell.depth + 1 else f"hidden.{layer - 1}.weight"


def layer_in_name(name: str, cell: Cell) -> int:
    return cell.depth + 1 if name.startswith("output") else 1 + int(name.split(".")[1])


class NumpyDescent(NumpyTraining):
    """The training with every optimizer, its rules of layers included, written from the formulas."""

    def descend(self, steps: int) -> None:
        spec, cell = self.cell.optimizer, self.cell
        trained = spec.trained_layers or range(1, cell.depth + 2)
        names = [name for name in self.parameters if layer_in_name(name, cell) in trained]
        rows = [weight_of(cell, layer) for layer in spec.row_layers]
        kept = {name: np.zeros_like(self.parameters[name]) for name in names}
        second = {name: np.zeros_like(self.parameters[name]) for name in names}
        sizes = {name: np.full_like(self.parameters[name], spec.lr) for name in names}
        for step in range(1, steps + 1):
            gradients = self.batch(np.arange(len(self.x_train)), step - 1).gradients
            for name in rows:
                gradients[name] = gradients[name] + spec.row_penalty * self.parameters[name]
            if spec.clip_norm is not None:
                norm = math.sqrt(sum(float((gradients[name] ** 2).sum()) for name in names))
                for name in names:
                    gradients[name] = gradients[name] * min(1.0, spec.clip_norm / (norm + 1e-6))
            for name in names:
                theta, g = self.parameters[name], gradients[name]
                if spec.name == "adamw":
                    theta = theta * (1 - spec.lr * spec.weight_decay)
                else:
                    g = g + spec.weight_decay * theta
                if spec.name in ("adam", "adamw"):
                    kept[name] = spec.beta1 * kept[name] + (1 - spec.beta1) * g
                    second[name] = spec.beta2 * second[name] + (1 - spec.beta2) * g**2
                    mean, square = kept[name] / (1 - spec.beta1**step), second[name] / (1 - spec.beta2**step)
                    theta = theta - spec.lr * mean / (np.sqrt(square) + spec.eps)
                elif spec.name == "sgd":
                    kept[name] = spec.momentum * kept[name] + g
                    theta = theta - spec.lr * (g + spec.momentum * kept[name] if spec.nesterov else kept[name])
                elif spec.name == "rmsprop":
                    second[name] = spec.alpha * second[name] + (1 - spec.alpha) * g**2
                    kept[name] = spec.momentum * kept[name] + g / (np.sqrt(second[name]) + spec.eps)
                    theta = theta - spec.lr * kept[name]
                else:
                    assert spec.name == "rprop"
                    turned, same = g * kept[name] < 0, g * kept[name] > 0
                    sizes[name] = np.clip(sizes[name] * np.where(turned, 0.5, np.where(same, 1.2, 1.0)), 1e-6, 50)
                    kept[name] = np.where(turned, 0.0, g)
                    theta = theta - np.sign(kept[name]) * sizes[name]
                self.parameters[name] = theta
            for name in rows if spec.row_limit is not None else ():
                flat = self.parameters[name].reshape(len(self.parameters[name]), -1)
                length = np.sqrt((flat**2).sum(1, keepdims=True))
                flat = np.where(length > spec.row_limit, flat * spec.row_limit / length, flat)
                self.parameters[name] = flat.reshape(self.parameters[name].shape)


def by_numpy(cell: Cell, steps: int = STEPS, initial: Tensors | None = None) -> Tensors:
    case = Case(cell)
    training = NumpyDescent(cell, initial or case.initial(), case.data)
    training.descend(steps)
    return training.parameters


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("descent", DESCENTS)
def test_steps_are_those_of_the_formulas(descent: str, rule: str, network: str) -> None:
    cell = cell_of({**DESCENTS[descent], **RULES[rule]}, NETWORKS[network])
    steps = 8 if descent == "rprop" else STEPS  # later a gradient may be 0 but for rounding, whose sign it takes
    expected, begun = by_numpy(cell, steps), Case(cell).initial()
    plain = dataclasses.replace(cell.optimizer, row_penalty=0.0, row_limit=None, trained_layers=None)
    without = by_numpy(dataclasses.replace(cell, optimizer=plain), steps)
    assert max(np.abs(expected[name] - without[name]).max() for name in expected) > 1e-3
    for name, engine in ALL.items():
        found = engine().probe(cell, Case(cell).data, steps).parameters
        for part, value in expected.items():
            # a bias that batch norm takes out again has a gradient of rounding alone, and changes nothing else
            is_taken_out = cell.network.norm == "batch" and part.startswith("hidden") and part.endswith("bias")
            assert is_taken_out or np.allclose(found[part], value, rtol=1e-8, atol=1e-10), (name, part)
            layers = cell.optimizer.trained_layers
            if layers is not None and layer_in_name(part, cell) not in layers:
                assert np.array_equal(found[part], begun[part]), (name, part)


def test_every_optimizer_is_among_the_descents() -> None:
    assert {own.get("name", "adam") for own in DESCENTS.values()} == {*OPTIMIZERS}


@pytest.mark.parametrize(
    "network",
    [{"norm": "layer"}, {"norm": "batch"}, {"activation": "prelu"}, {"layout": "conv2x1"}, {"skip_every": 1}],
    ids=str,
)
@pytest.mark.parametrize("engine", ALL)
def test_layers_that_are_not_trained_stay_to_the_bit(engine: str, network: dict[str, Any]) -> None:
    """In float32, norm and slope too, under decay, momentum and clipping; all others move."""
    for descent in DESCENTS.values():
        cell = cell_of({**descent, "trained_layers": (1, 3)}, network, depth=3, precision="float32")
        found = ALL[engine]().probe(cell, Case(cell).data, 5).parameters
        for name, begun in Case(cell).initial().items():
            is_same = np.array_equal(found[name], begun.astype(np.float32).astype(np.float64))
            is_fixed = layer_in_name(name, cell) not in (1, 3)
            # what batch norm takes out again has a gradient that is nothing but rounding
            assert is_same == is_fixed or (name.endswith("bias") and network.get("norm") == "batch"), name


@pytest.mark.parametrize("engine", ALL)
def test_initial_weights_are_not_limited(engine: str) -> None:
    cell = cell_of({"row_limit": 1e-3, "row_layers": (1, 2, 3)})
    begun = Case(cell).initial()
    before, after = (ALL[engine]().probe(cell, Case(cell).data, steps).parameters for steps in (0, 1))
    for layer in (1, 2, 3):
        name = weight_of(cell, layer)
        assert np.array_equal(before[name], begun[name])
        assert np.linalg.norm(after[name], axis=1) == pytest.approx(1e-3, rel=1e-12)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("engine", ALL)
def test_a_row_of_just_that_length_stays_and_a_longer_one_is_scaled_back(engine: str, precision: str) -> None:
    """Of units that no point reaches: nothing else moves their weights."""
    cell = cell_of({"name": "sgd", "lr": 0.1, "row_limit": 5.0}, depth=1, width=4, precision=precision)
    begun = Case(cell).initial()
    begun["hidden.0.weight"][:3] = [[3, -4], [-6, 8], [3, 3.9]]
    begun["hidden.0.bias"][:3] = -1e3
    found = ALL[engine]().probe(cell, Case(cell).data, 1, begun).parameters["hidden.0.weight"]
    kind = np.dtype(precision).type
    assert found[:3].tolist() == [[3, -4], [float(kind(-6) * kind(0.5)), 4], [3, float(kind(3.9))]]
    assert not np.array_equal(found[3], begun["hidden.0.weight"][3])


def test_rows_that_are_no_number_or_endless_become_no_finite_ones() -> None:
    weight = torch.tensor([[math.nan, 9.0], [math.inf, 1.0], [-math.inf, math.inf], [6.0, 8.0], [0.0, -0.0]])
    weight = torch.cat([weight.double(), torch.full((1, 2), 1e200, dtype=torch.float64)])
    limit_rows(weight, 5.0)
    assert [row.isfinite().all().item() for row in weight] == [False, False, False, True, True, False]
    assert weight[0, 1] == 9.0
    assert weight[3].tolist() == [3.0, 4.0]
    short = torch.full((1, 2), 1e30)  # whose squares are beyond float32
    limit_rows(short, 2.0)
    assert short.tolist() == [[pytest.approx(math.sqrt(2))] * 2]


def test_a_filter_is_a_row_however_it_lies() -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    length = np.sqrt((weight**2).sum((1, 2, 3), keepdims=True))
    expected = weight * np.minimum(1, 3.4 / length)
    assert 0 < (length > 3.4).sum() < 4
    for kind in (torch.contiguous_format, torch.channels_last):
        found = torch.from_numpy(weight).clone().contiguous(memory_format=kind)
        limit_rows(found, 3.4)
        assert np.allclose(found.numpy(), expected, rtol=1e-12)
    networks = torch.from_numpy(np.stack([weight, weight]))
    limit_rows(networks, torch.tensor([math.inf, 3.4], dtype=torch.float64).view(2, 1, 1, 1, 1), before=1)
    assert np.array_equal(networks[0].numpy(), weight)
    assert np.allclose(networks[1].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ALL)
def test_a_training_that_diverges_is_not_saved_by_the_limit(engine: str) -> None:
    """A rate that is endless in float32 makes rows endless, or no number."""
    cell = cell_of({"name": "sgd", "lr": 1e39, "row_limit": 1.0, "row_layers": (1, 2, 3)}, precision="float32")
    assert train_one(ALL[engine](), cell).status == "diverged"


def test_slots_are_those_of_the_gradient_alone() -> None:
    """The limit changes the parameters, not what the optimizer keeps; the penalty is part of the gradient."""
    cell = cell_of({"name": "sgd", "lr": 0.1, "momentum": 0.9, "row_limit": 0.1, "row_penalty": 0.5})
    case = Case(cell)
    training = Training(cell, case.data, torch.device("cpu"))
    x, y = training.full_batch()
    gradient = EagerEngine().probe(cell, case.data).gradients["hidden.0.weight"]
    training.step(training.loss(x, y, 0, 0, None).total)
    weight = training.named_parameters["hidden.0.weight"]
    expected = gradient + 0.5 * case.initial()["hidden.0.weight"]
    assert np.allclose(training.optimizer.state[weight]["momentum_buffer"], expected, rtol=1e-12)


@pytest.mark.parametrize("engine", ALL)
def test_the_penalty_acts_on_weights_that_the_loss_does_not_reach(engine: str) -> None:
    """On the separation alone nothing else moves the output layer, and of that not the bias."""
    penalty = PenaltySpec(kind="UP", weight=0.1)
    descent = {"name": "sgd", "lr": 0.1, "row_penalty": 0.5, "row_layers": (3,)}
    cell = cell_of(descent, penalty=penalty, task_loss=False)
    begun = Case(cell).initial()
    found = ALL[engine]().probe(cell, Case(cell).data, 10).parameters
    assert np.allclose(found["output.weight"], begun["output.weight"] * (1 - 0.1 * 0.5) ** 10, rtol=1e-12)
    assert np.array_equal(found["output.bias"], begun["output.bias"])


@pytest.mark.parametrize("engine", ALL)
def test_recorded_losses_are_without_the_penalty(engine: str) -> None:
    cell = cell_of({"name": "sgd", "lr": 0.1, "row_penalty": 10.0, "epochs": 1})
    plain = dataclasses.replace(cell, optimizer=dataclasses.replace(cell.optimizer, row_penalty=0.0))
    found, expected = (train_one(ALL[engine](curve_every=1), own) for own in (cell, plain))
    assert found.train_loss.last == expected.train_loss.last
    assert found.val_loss.last != expected.val_loss.last
    assert found.penalty_last is None


OTHERS: dict[str, dict[str, Any]] = {
    "farkas": {"network": NetworkSpec(farkas=True)},
    "mini-batches": {"optimizer": {"batch_size": 12}},
    "widths": {"network": NetworkSpec(widths=(4, 3, 6))},
    "relaxed": {
        "network": NetworkSpec(activation="logistic"),
        "rai": RaiSpec(weight=0.5, include_output=True, rate=2.0),
        "optimizer": {"clip_norm": None},
    },
    "crelu": {"network": NetworkSpec(activation="crelu")},
    "separation, layer norm": {"network": NetworkSpec(norm="layer"), "penalty": PenaltySpec(kind="UP", weight=0.1)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_engines_agree_on_other_networks(name: str) -> None:
    """The fleets' networks have penalties and limits of their own, among them none."""
    own = dict(OTHERS[name])
    rules = {"row_layers": (1, 3), "trained_layers": (1, 3, 4), "epochs": 15, "clip_norm": 0.5, "weight_decay": 0.1}
    rules |= own.pop("optimizer", {})
    specs = [
        OptimizerSpec(**{**rules, "row_penalty": penalty, "row_limit": limit})
        for penalty, limit in ((0.2, 0.6), (0.4, None), (0.0, 0.5))
    ]
    cells = [
        Cell(dataset=cloud(30), **{"depth": 3, "width": 4, **own}, precision="float64", seed=seed, optimizer=spec)
        for seed, spec in enumerate(specs)
    ]
    expected = {cell.key: train_one(EagerEngine(), cell) for cell in cells}
    takes = {name: engine for name, engine in ENGINES.items() if engine().refuses(cells[0]) is None}
    is_of_stacked_alone = name in ("mini-batches", "widths")
    assert takes.keys() == ({"stacked"} if is_of_stacked_alone else ENGINES.keys())
    for engine in takes.values():
        for found in train(engine(), cells):
            pair = (dataclasses.replace(own, curve=()) for own in (found, expected[found.cell.key]))
            assert_same_result(*pair, 1e-7)
        for cell in cells:
            both = [own.probe(cell, Case(cell).data, 3) for own in (engine(), EagerEngine())]
            assert max(distances(*both, cell).values()) < 1e-7
    assert len({StackedEngine.fleet_group(cell) for cell in cells}) == 1


def test_a_farkas_layer_has_a_row_less_than_units() -> None:
    cell = cell_of({"row_limit": 0.2}, {"farkas": True})
    found = EagerEngine().probe(cell, Case(cell).data, 3).parameters["hidden.0.weight"]
    assert found.shape == (4, 2)
    assert np.linalg.norm(found, axis=1).max() <= 0.2 * (1 + 1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("descent", ["adamw", "sgd, Nesterov", "rprop"])
@pytest.mark.parametrize("engine", ["eager", "stacked", "native"])
def test_what_is_interrupted_ends_as_if_it_were_not(
    engine: str, descent: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)
    cell = cell_of({**DESCENTS[descent], **RULES[rule], "epochs": 12}, precision="float32")
    name = next(own for own in ALL if own.startswith(engine))
    expected = train_one(ALL[name](), cell)
    always, saved = Checkpoints(tmp_path, 0.0), 0

    def kill(key: str, state: State) -> None:
        nonlocal saved
        saved += 1
        if saved >= 6:
            raise Killed

    train_kept(ALL[name](checkpoints=always), [cell], Case(cell).data, kill)
    results, progress = train_kept(ALL[name](checkpoints=always), [cell], Case(cell).data)
    assert progress[cell.key][:2] == [0, 5]
    assert what_was_computed(results[cell.key]) == what_was_computed(expected)


def test_parameters_of_layers_are_told_apart() -> None:
    cell = cell_of({"row_limit": 1.0, "row_layers": (2, 3)}, {"activation": "prelu", "norm": "batch"})
    layers = {name: layer_of(name, cell.depth) for name in parameter_shapes(cell)}
    assert {name for name, layer in layers.items() if layer == 2} == {
        *("hidden.1.weight", "hidden.1.bias", "norms.1.weight", "norms.1.bias", "slopes.1")
    }
    assert {name for name, layer in layers.items() if layer == 3} == {"output.weight", "output.bias"}
    assert row_weights(cell) == ["hidden.1.weight", "output.weight"]
    with pytest.raises(ValueError, match=r"skips\.0 is no layer's"):
        layer_of("skips.0", 2)
