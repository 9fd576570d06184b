"""The network in NumPy is torch's, for every method of the grid; so is what an estimator has trained."""

import numpy as np
import pytest
import torch

from jumpstart_exp import ThinDeepClassifier
from jumpstart_exp.config.methods import method_names
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.estimator.description import Points, Settings, cell_of
from jumpstart_exp.estimator.network import TrainedNetwork
from jumpstart_exp.estimator.training import activation_number
from jumpstart_exp.networks.build import build
from jumpstart_exp.result import ACTIVITY, CENSUS


def drawn(method, seed=0):
    """A cell of a method, its torch network in float64 with parameters and statistics that none begins with, points."""
    is_unit = method.startswith("hyperplane")
    settings = Settings(depth=5, width=1 if is_unit else 6, method=method)
    dataset = Points(features=2, classes=2 if is_unit else 3, train_points=40, val_points=2)
    cell = cell_of(settings, dataset, seed)
    network, generator = build(cell).double().eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in (*network.parameters(), *network.buffers()):
            if values.is_floating_point():
                values += 0.3 * torch.rand(values.shape, generator=generator, dtype=torch.float64)
    return cell, network, torch.randn((40, 2), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("method", method_names())
def test_the_network_in_numpy_is_torchs(method):
    cell, network, x = drawn(method)
    tensors = {name: values.numpy() for name, values in network.state_dict().items() if values.is_floating_point()}
    own = TrainedNetwork(cell.network, cell.depth, activation_number(cell), tensors)
    with torch.no_grad():
        expected = network(x)[0].numpy()
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(own.outputs(x.numpy()), expected, rtol=1e-10, atol=1e-11)


def test_a_network_that_is_not_finite_predicts_nothing():
    cell, network, _ = drawn("relu")
    tensors = {name: values.numpy() for name, values in network.state_dict().items()}
    tensors["output.bias"] = np.array([0.0, np.nan, 0.0])
    with pytest.raises(ValueError, match=r"^the network has no finite output\.bias: it has diverged"):
        TrainedNetwork(cell.network, cell.depth, 0.0, tensors)


@pytest.mark.filterwarnings("ignore:the network is stuck at chance")
def test_an_estimator_is_the_cell_that_the_grids_engine_trains():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(40, 2)), 3)
    y = rng.integers(0, 3, 40)
    one = ThinDeepClassifier(3, 5, max_iter=5, random_state=1, engine="eager").fit(x, y)
    seed = int(np.random.RandomState(1).randint(2**31 - 1, size=1)[0])
    standardised = torch.from_numpy((x - x.mean(0)) / x.std(0))
    cell = cell_of(
        Settings(depth=3, width=5, max_iter=5),
        Points(features=2, classes=3, train_points=40, val_points=2),
        seed,
    )
    data = Data(standardised, torch.from_numpy(y), standardised[:2], torch.from_numpy(y[:2]))
    results = []
    EagerEngine(curve_every=1).train([cell], data, on_result=results.append, on_progress=lambda *_: None)
    assert one.loss_curve_ == pytest.approx([row.train_loss for row in results[0].curve], rel=1e-4)
    for name in (*CENSUS, *ACTIVITY):
        assert getattr(one.census_, name) == pytest.approx(getattr(results[0].census_last, name), abs=0.03)
