"""Regression: mean squared error and R² against a loop written by hand, and every engine against the other."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import r2_score

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.data.sklearn import Sklearn
from jumpstart_exp.engines import choose_engines
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.interface import Engine
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.networks.build import build
from jumpstart_exp.result import Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store

Array = NDArray[np.float64]

NOWHERE = Path("nowhere")
EPOCHS = 25


def cell(**settings: Any) -> Cell:
    """A network that learns `make_friedman1` in float64."""
    own: dict[str, Any] = {"depth": 2, "width": 5, "precision": "float64", "seed": 3}
    own["dataset"] = Sklearn(loader="make_friedman1", n_samples=60, noise=0.5)
    own["optimizer"] = OptimizerSpec(epochs=EPOCHS)
    (found,) = with_contents([Cell(**{**own, **settings})], NOWHERE)
    return found


def trained(engine: Engine, *cells: Cell) -> list[Result]:
    results: list[Result] = []
    data = load(cells[0].dataset, NOWHERE)
    engine.train(cells, data, on_result=results.append, on_progress=lambda *_: None)
    return sorted(results, key=lambda result: cells.index(result.cell))


def by_hand(of: Cell, data: Data) -> list[tuple[float, float, float, float]]:
    """Training and validation R², training and validation loss of every epoch: forward, backward and Adam in NumPy."""
    spec = of.optimizer
    parameters = {name: value.detach().double().numpy().copy() for name, value in build(of).named_parameters()}
    weights = [parameters[f"hidden.{layer}.weight"] for layer in range(of.depth)] + [parameters["output.weight"]]
    biases = [parameters[f"hidden.{layer}.bias"] for layer in range(of.depth)] + [parameters["output.bias"]]
    first = [np.zeros_like(value) for value in (*weights, *biases)]
    second = [np.zeros_like(value) for value in (*weights, *biases)]
    x, y, x_val, y_val = (part.numpy() for part in (data.x_train, data.y_train, data.x_val, data.y_val))

    def forward(points: Array) -> list[Array]:
        activations = [points]
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            pre = activations[-1] @ weight.T + bias
            activations.append(np.maximum(pre, 0) if layer < of.depth else pre)
        return activations

    found = []
    for step in range(1, spec.epochs + 1):
        activations = forward(x)
        predicted = activations[-1][:, 0]
        seen = r2_score(y, predicted), ((predicted - y) ** 2).mean()
        back = (2 * (predicted - y) / len(y))[:, None]
        of_weights: list[Array] = []
        of_biases: list[Array] = []
        for layer in range(of.depth, -1, -1):
            of_weights.insert(0, back.T @ activations[layer])
            of_biases.insert(0, back.sum(axis=0))
            back = (back @ weights[layer]) * (activations[layer] > 0)
        for value, gradient, m, v in zip((*weights, *biases), (*of_weights, *of_biases), first, second, strict=True):
            m += (1 - spec.beta1) * (gradient - m)
            v += (1 - spec.beta2) * (gradient**2 - v)
            m_hat, v_hat = m / (1 - spec.beta1**step), v / (1 - spec.beta2**step)
            value -= spec.lr * m_hat / (np.sqrt(v_hat) + spec.eps)
        validated = forward(x_val)[-1][:, 0]
        found.append((seen[0], r2_score(y_val, validated), seen[1], ((validated - y_val) ** 2).mean()))
    return found


@pytest.mark.parametrize("engine", [EagerEngine, StackedEngine])
def test_a_regression_is_trained_as_by_hand_and_has_scikit_learns_r2(engine: type[Engine]) -> None:
    of = cell()
    expected = np.array(by_hand(of, load(of.dataset, NOWHERE)))
    (result,) = trained(engine("cpu", 1), of)
    found = np.array([(row.train_acc, row.val_acc, row.train_loss, row.val_loss) for row in result.curve])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert expected[0, 0] < 0.2 < 0.5 < expected[-1, 0], "it learns"
    assert result.train_acc.best == pytest.approx(expected[:, 0].max(), abs=1e-9)
    assert result.val_acc.best_epoch == 1 + int(expected[:, 1].argmax())
    assert result.val_loss.best == pytest.approx(expected[:, 3].min(), abs=1e-9)


SETTINGS: dict[str, dict[str, Any]] = {
    "relu": {},
    "sep_up": {"penalty": PenaltySpec("UP", weight=0.01)},
    "batch": {"network": NetworkSpec(norm="batch")},
    "without": {"penalty": PenaltySpec("UP"), "task_loss": False},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_stacked_has_eagers_gradients(name: str) -> None:
    of = cell(**SETTINGS[name])
    data = load(of.dataset, NOWHERE)
    for steps in (0, 20):
        one, other = (engine("cpu").probe(of, data, steps) for engine in (EagerEngine, StackedEngine))
        assert other.task_loss == pytest.approx(one.task_loss, rel=1e-9)
        for key, gradient in one.gradients.items():
            most = np.abs(gradient).max()
            np.testing.assert_allclose(other.gradients[key], gradient, rtol=0, atol=1e-9 * max(most, 1e-6))


def test_a_fleet_of_many_has_each_ones_numbers_and_mini_batches_their_mean() -> None:
    cells = [cell(seed=seed, depth=depth, width=3) for seed, depth in ((0, 1), (1, 3), (2, 2))]
    alone = [trained(EagerEngine("cpu"), of)[0] for of in cells]
    for one, other in zip(alone, trained(StackedEngine("cpu"), *cells), strict=True):
        assert other.train_acc.last == pytest.approx(one.train_acc.last, abs=1e-7)
        assert other.val_acc.best == pytest.approx(one.val_acc.best, abs=1e-7)
    of = cell(optimizer=OptimizerSpec(epochs=4, batch_size=7))
    data = load(of.dataset, NOWHERE)
    (result,) = trained(EagerEngine("cpu", 1), of)
    for row in result.curve:
        assert row.train_acc == pytest.approx(1 - row.train_loss / data.y_train.var(correction=0).item())
        assert row.val_acc == pytest.approx(1 - row.val_loss / data.y_val.var(correction=0).item())


def test_a_part_of_the_training_points_has_its_own_variance() -> None:
    of = cell()
    part = dataclasses.replace(of, dataset=dataclasses.replace(of.dataset, n_train=20, n_val=7))
    data = load(part.dataset, NOWHERE)
    assert len(data.y_train) == 20 and data.y_train.var(correction=0).item() == pytest.approx(1)
    (result,) = trained(EagerEngine("cpu", 1), part)
    spread = data.y_val.var(correction=0).item()
    assert spread != pytest.approx(1, abs=0.01)
    assert result.curve[-1].val_acc == pytest.approx(1 - result.curve[-1].val_loss / spread)


def test_every_engine_takes_a_regression_but_its_steps_are_no_cuda_graph() -> None:
    of = cell()
    assert [unsupported(engine, of) for engine in ("eager", "stacked", "native")] == [None] * 3
    assert (
        unsupported("graph", of)
        == "the engine graph does not take dataset.task='regression': it takes 'classification'"
    )
    (choice,) = choose_engines("auto", "cpu", [of])
    assert choice.engine.name == "native"


def test_a_row_has_the_scores_of_its_task_and_none_of_the_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    of = cell(precision="float32")
    numbers = cell(dataset=Sklearn(loader="load_iris"))
    results = [*trained(StackedEngine("cpu"), of), *trained(EagerEngine("cpu"), numbers)]
    store.write(results)
    rows = store.cells().set_index("key")
    curves = store.curves()
    for result, own, other in ((results[0], "r2", "acc"), (results[1], "acc", "r2")):
        row = rows.loc[result.cell.key]
        curve = curves[curves["key"] == result.cell.key]
        for part in ("train", "val"):
            metric = getattr(result, f"{part}_acc")
            assert [row[f"{part}_{own}_{name}"] for name in ("last", "best", "best_epoch")] == [*vars(metric).values()]
            assert row[[f"{part}_{other}_{name}" for name in ("last", "best", "best_epoch")]].isna().all()
            assert curve[f"{part}_{own}"].tolist() == [getattr(each, f"{part}_acc") for each in result.curve]
            assert curve[f"{part}_{other}"].isna().all()
    assert store.left_out == 0


def test_a_negative_r2_is_a_result_and_one_above_1_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (result,) = trained(
        StackedEngine("cpu"), cell(precision="float32", depth=1, width=1, optimizer=OptimizerSpec(epochs=2))
    )
    assert result.val_acc.last is not None and result.val_acc.last < 0
    store.write([result])
    assert store.cells()["val_r2_last"].tolist() == [result.val_acc.last]
    wrong = Store(tmp_path / "wrong")
    wrong.write([dataclasses.replace(result, train_acc=dataclasses.replace(result.train_acc, last=1.2, best=1.2))])
    with pytest.warns(UserWarning, match="no training has train_r2_last=1.2"):
        assert wrong.cells().empty


def test_diverged_is_no_score() -> None:
    of = cell(optimizer=OptimizerSpec(epochs=30, lr=1e200))
    for engine in (EagerEngine, StackedEngine):
        (result,) = trained(engine("cpu"), of)
        assert result.status == "diverged" and result.train_acc.last is None
    assert torch.isfinite(torch.tensor(result.train_acc.best or 0.0))
