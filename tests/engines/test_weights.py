"""Weights of points: loss, gradients and scores against NumPy, PyTorch's autograd and scikit-learn; refusals."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.metrics import accuracy_score, r2_score

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.networks.build import build
from jumpstart_exp.settings import setting
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec

TRAIN, VAL = 21, 11  # neither fills a vector
needs_native = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")
ENGINES = (EagerEngine, pytest.param(NativeEngine, marks=needs_native))


@dataclass(frozen=True)
class Drawn(DatasetSpec):
    """Points of three features, drawn in the test."""

    name: str = setting("drawn")
    task: str = setting("classification")
    classes: int = setting(2)
    title = "drawn"
    features = 3
    threshold = 0.9

    def full_sizes(self):
        return TRAIN, VAL


TASKS = {
    "two classes": Drawn(),
    "three classes": Drawn(classes=3),
    "numbers": Drawn(task="regression", classes=0),
}


def drawn(dataset, weighted=True):
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 3)) for n in (TRAIN, VAL)]
    if dataset.classes:
        y = [rng.integers(0, dataset.classes, n) for n in (TRAIN, VAL)]
    else:
        y = [rng.normal(size=n) for n in (TRAIN, VAL)]
    w = [torch.from_numpy(rng.uniform(0.1, 9, n)) if weighted else None for n in (TRAIN, VAL)]
    x, y = (list(map(torch.from_numpy, part)) for part in (x, y))
    return Data(x[0], y[0], x[1], y[1], weights_train=w[0], weights_val=w[1])


def cell(dataset, **optimizer):
    optimizer = OptimizerSpec(**{"lr": 0.01, "epochs": 3, **optimizer})
    penalty = PenaltySpec(kind="UP", weight=0.01)
    return Cell(dataset=dataset, depth=3, width=5, penalty=penalty, optimizer=optimizer, precision="float64")


def relaxed(dataset):
    return replace(cell(dataset), penalty=PenaltySpec(), rai=RaiSpec(weight=0.5, include_output=True))


def each_loss(dataset, outputs, y):
    if dataset.task == "regression":
        return (outputs[:, 0] - y) ** 2
    if dataset.classes == 2:
        return F.softplus(-(2 * y.double() - 1) * outputs[:, 0])
    return -F.log_softmax(outputs, 1)[torch.arange(len(y)), y]


def trained(engine, one, data):
    results = []
    engine("cpu", 1).train([one], data, on_result=results.append, on_progress=lambda *_: None)
    assert results[0].status == "done", results[0].error
    return results[0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dataset", TASKS.values(), ids=TASKS)
def test_loss_and_gradients_are_the_weighted_mean_and_the_penalty_sees_every_point_alike(engine, dataset):
    one, data = cell(dataset), drawn(dataset)
    found = engine("cpu").probe(one, data)
    network = build(one)
    w = data.weights_train
    loss = (w * each_loss(dataset, network(data.x_train)[0], data.y_train)).sum() / w.sum()
    assert found.task_loss == pytest.approx(loss.item(), rel=1e-12)
    plain = engine("cpu").probe(one, drawn(dataset, weighted=False))
    assert found.penalty == plain.penalty
    # what the penalty pulls at is the same with and without weights
    unweighted = each_loss(dataset, network(data.x_train)[0], data.y_train).mean()
    for name, parameter in network.named_parameters():
        (of_loss,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        (of_plain,) = torch.autograd.grad(unweighted, parameter, retain_graph=True)
        of_penalty = plain.gradients[name] - of_plain.numpy()
        np.testing.assert_allclose(found.gradients[name] - of_penalty, of_loss.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dataset", TASKS.values(), ids=TASKS)
def test_scores_are_weighted_as_scikit_learn_has_them(engine, dataset):
    one, data = cell(dataset, lr=1e-30), drawn(dataset)
    found = trained(engine, one, data)
    with torch.no_grad():
        outputs = [build(one)(x)[0] for x in (data.x_train, data.x_val)]
    if dataset.task == "regression":
        expected = [
            r2_score(y, out[:, 0], sample_weight=w)
            for y, out, w in zip(
                (data.y_train, data.y_val), outputs, (data.weights_train, data.weights_val), strict=True
            )
        ]
    else:
        classes = [(out[:, 0] > 0).long() if dataset.classes == 2 else out.argmax(1) for out in outputs]
        expected = [
            accuracy_score(y, own, sample_weight=w)
            for y, own, w in zip(
                (data.y_train, data.y_val), classes, (data.weights_train, data.weights_val), strict=True
            )
        ]
    assert [found.train_acc.last, found.val_acc.last] == pytest.approx(expected, rel=1e-9)
    w = data.weights_val
    loss = (w * each_loss(dataset, outputs[1], data.y_val)).sum() / w.sum()
    assert found.val_loss.last == pytest.approx(loss.item(), rel=1e-9)


@needs_native
@pytest.mark.parametrize("dataset", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("described", [cell, relaxed])
def test_both_engines_train_to_the_same_network_with_weights(described, dataset):
    one, data = described(dataset), drawn(dataset)
    eager, cpp = (engine("cpu").probe(one, data, steps=20) for engine in (EagerEngine, NativeEngine))
    assert cpp.task_loss == pytest.approx(eager.task_loss, rel=1e-9)
    for name, values in eager.parameters.items():
        np.testing.assert_allclose(cpp.parameters[name], values, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dataset", TASKS.values(), ids=TASKS)
def test_equal_weights_are_none(engine, dataset):
    one, plain = cell(dataset), drawn(dataset, weighted=False)
    equal = Data(
        plain.x_train,
        plain.y_train,
        plain.x_val,
        plain.y_val,
        weights_train=torch.full((TRAIN,), 4.0, dtype=torch.float64),
        weights_val=torch.full((VAL,), 0.5, dtype=torch.float64),
    )
    a, b = (trained(engine, one, data) for data in (plain, equal))
    for metric in ("train_acc", "val_acc", "train_loss", "val_loss"):
        assert getattr(a, metric).last == pytest.approx(getattr(b, metric).last, rel=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_targets_that_are_all_equal_have_a_score_of_0(engine):
    dataset = TASKS["numbers"]
    data = drawn(dataset, weighted=False)
    flat = Data(data.x_train, torch.ones(TRAIN).double(), data.x_val, torch.ones(VAL).double())
    found = trained(engine, cell(dataset), flat)
    assert (found.train_acc.last, found.val_acc.last) == (0, 0)


def test_mini_batches_take_the_weights_of_their_points():
    dataset = TASKS["numbers"]
    data = drawn(dataset)
    found = trained(EagerEngine, cell(dataset, epochs=1, batch_size=5, lr=1e-30), data)
    with torch.no_grad():
        each = each_loss(dataset, build(cell(dataset))(data.x_train)[0], data.y_train)
    w = data.weights_train
    assert found.train_loss.last == pytest.approx(((w * each).sum() / w.sum()).item(), rel=1e-9)


@pytest.mark.parametrize(
    "wrong", [[1.0] * 20, [0.0] + [1.0] * 20, [np.nan] + [1.0] * 20, [np.inf] + [1.0] * 20, [1e308] * 21]
)
def test_weights_are_one_finite_number_above_0_a_point(wrong):
    data = drawn(TASKS["numbers"], weighted=False)
    with pytest.raises(ValueError, match=r"^weights_train must be one finite number above 0 a point, of a finite sum$"):
        Data(data.x_train, data.y_train, data.x_val, data.y_val, weights_train=torch.tensor(wrong).double())


def test_stacked_refuses_weights():
    one, data = cell(TASKS["numbers"]), drawn(TASKS["numbers"])
    engine = StackedEngine()
    with pytest.raises(ValueError, match=r"^the engine stacked takes no weights of points: eager and native do$"):
        engine.train([one], data, on_result=lambda _: None, on_progress=lambda *_: None)
    with pytest.raises(ValueError, match="takes no weights"):
        engine.probe(one, data)
