"""What networks make of the data, against float64 NumPy written from the definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kept_states import cell_of, kept, made_up, moons, row_of
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from jumpstart_exp.inspect.recorded_states import RecordedStates, unpacked
from jumpstart_exp.report.inside.activations import distinct_points, layers_of, projected, shown_layers, surface
from jumpstart_exp.report.inside.dynamics import shown_states, thinned
from jumpstart_exp.result import CENSUS
from jumpstart_exp.specs.optimizer import OptimizerSpec

Array = NDArray[np.float64]


def passed(snapshots: RecordedStates, state: int, x: Array) -> tuple[list[Array], Array]:
    """Post-activations of every hidden layer, (points, units[, 2]), and logits, (points, 1)."""
    cell = snapshots.cell
    tensors = {name: values.astype(np.float64) for name, values in unpacked(snapshots.parameters[state], cell).items()}
    is_conv, hidden = cell.network.layout == "conv2x1", []
    h = x[:, None, :] if is_conv else x
    for layer in range(cell.depth):
        weight, bias = tensors[f"hidden.{layer}.weight"], tensors[f"hidden.{layer}.bias"]
        if is_conv:  # the second position sees a zero behind it
            padded = np.concatenate([h, np.zeros_like(h[:, :, :1])], axis=2)
            g = np.stack([np.einsum("pct,uct->pu", padded[:, :, at : at + 2], weight) for at in (0, 1)], axis=2)
            g += bias[:, None]
        else:
            g = h @ weight.T + bias
        if cell.network.norm == "batch":
            mean, var = snapshots.running[state][:, layer].astype(np.float64)
            scale, shift = tensors[f"norms.{layer}.weight"], tensors[f"norms.{layer}.bias"]
            shape = (-1, 1) if is_conv else (-1,)
            g = (g - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + cell.network.norm_eps)
            g = g * scale.reshape(shape) + shift.reshape(shape)
        h = np.maximum(g, 0)
        hidden.append(h)
    return hidden, h.reshape(len(x), -1) @ tensors["output.weight"].T + tensors["output.bias"]


@pytest.mark.parametrize("method", ["sep_up", "relu_bn", "conv"])
def test_layers_are_those_of_a_pass_by_hand(method: str) -> None:
    snapshots = kept(cell_of(method))
    x = moons().x_train.numpy()
    for state in (0, len(snapshots.epochs) - 1):
        hidden, logits = passed(snapshots, state, x)
        layers = layers_of(snapshots, state, moons())
        assert [layer.number for layer in layers] == [0, 3, 4, 6, 7]
        expected = [x, hidden[2], hidden[3], hidden[5], logits]
        for layer, values in zip(layers, expected, strict=True):
            values = values.reshape(len(x), -1)
            assert layer.values == pytest.approx(values, rel=1e-4, abs=1e-4 * np.abs(values).max())
            if layer.number in (3, 4, 6):
                h = layer.values.reshape(len(x), 4, -1)
                is_off = (h == 0).all(axis=2)
                found = (layer.units, layer.dead_units, layer.dead_points)
                assert found == (4, is_off.all(axis=0).sum(), is_off.all(axis=1).sum())
            else:
                assert layer.units == layer.dead_units == layer.dead_points == 0


@pytest.mark.parametrize("engine", ["eager", "native"])
@pytest.mark.parametrize("method", ["sep_up", "relu_bn", "conv"])
def test_the_census_is_the_stored_one_at_both_ends(method: str, engine: str) -> None:
    if engine == "native":
        pytest.importorskip("jumpstart_exp.engines.native._native")
    cell = cell_of(method)
    snapshots, row = kept(cell, engine), row_of(cell, engine)
    assert (snapshots.epochs[0], snapshots.epochs[-1]) == (0, 40)
    for state, at_epoch in ((0, "start"), (-1, "last")):
        for place, name in enumerate(CENSUS):
            assert snapshots.census[state, place].tolist() == pytest.approx(row[f"{name}_by_layer_{at_epoch}"])


def test_the_papers_layers() -> None:
    assert shown_layers(50) == (0, 4, 25, 50, 51)
    assert shown_layers(8) == (0, 4, 8, 9)
    assert shown_layers(3) == (0, 1, 3, 4)
    assert shown_layers(1) == (0, 1, 2)


@pytest.mark.parametrize(("points", "coordinates"), [(85, 4), (40, 3), (60, 300), (20, 784)])
def test_principal_components_are_sklearns(points: int, coordinates: int) -> None:
    random = np.random.default_rng(points)
    values = random.normal(size=(points, coordinates)) * np.geomspace(9, 0.1, coordinates) + 5
    (found, shown), expected = projected(values), PCA(2, svd_solver="full").fit(values)
    largest = expected.components_[np.arange(2), np.abs(expected.components_).argmax(axis=1)]
    assert found == pytest.approx(expected.transform(values) * np.sign(largest), abs=1e-8)
    assert shown == pytest.approx(expected.explained_variance_ratio_.sum())


def test_a_mirrored_cloud_gives_the_mirrored_picture_never_a_turned_one() -> None:
    values = np.random.default_rng(0).normal(size=(30, 4)) * [5, 2, 1, 1]
    assert projected(values)[0] == pytest.approx(-projected(-values)[0])


def test_points_of_two_coordinates_or_one_stand_as_they_are() -> None:
    values = np.array([[1.0, 2.0], [3.0, -4.0]])
    points, shown = projected(values)
    assert shown is None and points.tolist() == values.tolist()
    assert projected(values[:, :1])[0].tolist() == [[1.0, 0.0], [3.0, 0.0]]


@pytest.mark.parametrize("coordinates", [3, 400])
def test_points_that_are_one_or_in_a_line(coordinates: int) -> None:
    same, shown = projected(np.full((9, coordinates), 0.1))
    assert same == pytest.approx(np.zeros((9, 2))) and shown == pytest.approx(1.0)
    line, _ = projected(np.outer(np.arange(9.0), np.ones(coordinates)))
    assert line[:, 1] == pytest.approx(np.zeros(9), abs=1e-6)
    assert np.diff(line[:, 0]) == pytest.approx(np.full(8, np.sqrt(coordinates)))


def test_distinct_points() -> None:
    assert distinct_points(np.zeros((5, 3))) == 1
    assert distinct_points(np.array([[0.0], [1.0], [1.0], [0.0004], [0.5]])) == 3
    assert distinct_points(np.array([[100.0, 0.0], [100.0, 0.01], [100.0, 0.02]])) == 3, "by each coordinate's range"
    assert distinct_points(np.array([[1.0, 0.0], [1.0 + 1e-9, 0.0]])) == 1, "rounding is no difference"
    assert distinct_points(np.array([[-0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])) == 2


def test_a_surface_is_the_probability_of_class_1() -> None:
    snapshots = kept(cell_of())
    probability, (left, right, lower, upper), accuracy = surface(snapshots, -1, moons(), resolution=7)
    points = np.concatenate([moons().x_train, moons().x_val])
    low, high = points.min(axis=0), points.max(axis=0)
    assert (left, right) == pytest.approx((1.1 * low[0] - 0.1 * high[0], 1.1 * high[0] - 0.1 * low[0]))
    assert probability.shape == (7, 7)
    for row, column in ((0, 0), (6, 0), (2, 5)):  # from below, from the left
        x = np.array([[left + (column + 0.5) / 7 * (right - left), lower + (row + 0.5) / 7 * (upper - lower)]])
        _, logits = passed(snapshots, -1, x)
        assert probability[row, column] == pytest.approx(1 / (1 + np.exp(-logits[0, 0])), rel=1e-4)
    _, logits = passed(snapshots, -1, moons().x_train.numpy())
    assert accuracy == pytest.approx(np.mean((logits[:, 0] > 0) == moons().y_train.numpy()))


def test_the_next_epochs_training_accuracy_is_that_of_the_surface() -> None:
    """A curve's row sees the parameters before its step: without dropout and batch norm it is the state's accuracy."""
    snapshots = kept(cell_of(), epochs=(3, 20, 39))
    for state, epoch in enumerate(snapshots.epochs[:-1]):
        assert surface(snapshots, state, moons())[2] == pytest.approx(snapshots.column("train_acc")[epoch])


def test_the_states_that_tell_the_story() -> None:
    accuracy = [0.5] * 30 + [0.7] + [1.0] * 40 + [0.5, 0.3] + [0.9] * 5 + [1.0] * 20
    kept_epochs = [0, 5, 30, 31, 50, 70, 71, 72, 73, 78, 90, 98]
    snapshots = made_up(cell_of(optimizer=OptimizerSpec(epochs=98)), accuracy, kept_epochs)
    shown = shown_states(snapshots, 0.5, 8)
    # begin, onset, best; the collapse: before, worst, and the new solution at its best; end
    assert snapshots.epochs[list(shown)].tolist() == [0, 30, 31, 70, 72, 78, 98]
    filled = shown_states(snapshots, 0.5, 8, 8)
    assert set(shown) < set(filled) and len(filled) == 8
    assert shown_states(snapshots, 0.5, 3) == (0, 2, 11)
    assert shown_states(made_up(cell_of(), [0.5], [0]), 0.5, 16, 8) == (0,)


def test_turns_that_were_not_kept_are_left_out() -> None:
    snapshots = made_up(cell_of(), [0.5] * 10 + [1.0] * 30, [0, 20, 40])
    assert shown_states(snapshots, 0.5, 8) == (0, 2)
    assert shown_states(snapshots, 0.5, 8, 8) == (0, 1, 2)


@given(arrays(np.float64, st.integers(1, 500), elements=st.floats(-1e6, 1e6)), st.integers(1, 40))
def test_a_thinned_curve_has_its_spikes_and_no_point_of_its_own(y: Array, bins: int) -> None:
    x = np.arange(len(y)) * 2.0
    found_x, found_y = thinned(x, y, bins)
    assert (found_y == y[(found_x / 2).astype(int)]).all() and (np.diff(found_x) > 0).all()
    assert found_y.min() == y.min() and found_y.max() == y.max()
    assert (found_x[0], found_x[-1]) == (x[0], x[-1])
    assert len(found_x) <= max(2 * bins + 2, 2)


def test_a_thinned_curve_leaves_out_what_is_not_known() -> None:
    x, y = thinned(np.arange(4.0), np.array([1.0, np.nan, np.inf, 2.0]))
    assert (x.tolist(), y.tolist()) == ([0, 3], [1, 2])


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    layers_of(kept(cell_of()), 0, moons())
    assert torch.get_num_threads() == before
