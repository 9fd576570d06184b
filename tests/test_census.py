import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from jumpstart_exp.measures.census import census, census_of, census_of_layers
from jumpstart_exp.result import LayerCensus
from jumpstart_exp.settings import SettingError

# Four points × five units: dead, linear, three nonlinear.
UNITS = torch.tensor(
    [
        [0.0, 1.0, 0.0, 2.0, 0.0],
        [0.0, 2.0, 3.0, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.0, 1.0],
        [0.0, 4.0, 1.0, 1.0, 1.0],
    ]
)


def test_units_dead_or_linear_on_all_points() -> None:
    found = census([UNITS])
    assert found.dead_units == (1 / 5,)
    assert found.linear_units == (1 / 5,)
    # The dead unit keeps every point from being linear, the linear one from being dead.
    assert found.dead_points == (0.0,)
    assert found.linear_points == (0.0,)


def test_points_dead_or_linear_for_all_units() -> None:
    found = census([UNITS.T])
    assert found.dead_points == (1 / 5,)
    assert found.linear_points == (1 / 5,)
    assert found.dead_units == (0.0,)
    assert found.linear_units == (0.0,)


def test_each_layer_has_its_own_fractions() -> None:
    h = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    found = census([h, torch.zeros(2, 2), torch.ones(2, 2), torch.eye(2)])
    assert found == LayerCensus(
        dead_units=(0.5, 1.0, 0.0, 0.0),
        linear_units=(0.0, 0.0, 1.0, 0.0),
        dead_points=(0.5, 1.0, 0.0, 0.0),
        linear_points=(0.0, 0.0, 1.0, 0.0),
        dead_at_some_layer=1.0,
        dormant_units=(0.5, 1.0, 0.0, 0.0),
        firing_rate=(0.25, 0.0, 1.0, 0.5),
    )


def test_a_unit_is_dormant_up_to_a_fortieth_of_its_layers_mean() -> None:
    """Means over two points: 0.1, 0.15 and 11.75 of a mean of 4: 0.025 of it is 0.1."""
    layer = torch.tensor([[0.2, 0.1, 20.0], [0.0, 0.2, 3.5]], dtype=torch.float64)
    assert census([layer]).dormant_units == pytest.approx((1 / 3,))
    assert census([layer + torch.tensor([1e-6, 0, 0])]).dormant_units == (0.0,)


def test_a_smooth_activation_is_neither_dead_nor_linear() -> None:
    layers = [torch.tensor([[-30.0, 1.0], [-30.0, 2.0]])]
    found = census_of_layers(layers, [torch.sigmoid(layers[0])], None)
    assert (found.dead_units, found.linear_units, found.dead_points, found.linear_points) == (None,) * 4
    assert found.dead_at_some_layer is None and found.mean("dead_units") is None
    assert (found.dormant_units, found.firing_rate) == ((0.5,), (0.5,))
    assert "dead" not in str(found)


def test_a_slope_below_0_leaves_no_unit_dead() -> None:
    layers = [torch.tensor([[-1.0, 1.0], [-2.0, 2.0]])]
    found = census_of_layers(layers, [torch.where(layers[0] > 0, layers[0], 0.1 * layers[0])], lambda g, _: g != g)
    assert (found.dead_units, found.linear_units, found.firing_rate) == ((0.0,), (0.5,), (0.5,))


def test_points_dead_on_average_at_some_layer_and_at_every_layer_are_three_numbers() -> None:
    """Of four points at three layers: the first is dead at two, the second at one, none at all three."""
    dead = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    found = census([1.0 - layer[:, None].float().expand(4, 2) for layer in dead])
    assert found.dead_points == (0.25, 0.25, 0.25) and found.mean("dead_points") == 0.25
    assert found.dead_at_some_layer == 0.5
    assert str(found).splitlines()[-1] == "points dead at some layer: 0.50"
    assert census([torch.zeros(3, 2)]).dead_at_some_layer == 1.0
    assert census([]).dead_at_some_layer is None
    unlike = census([torch.zeros(3, 2), torch.ones(6, 2)])  # a layer that sees every point twice
    assert unlike.dead_at_some_layer is None and "some layer" not in str(unlike)


def test_a_channel_is_a_unit_over_points_and_positions() -> None:
    # 2 points, 4 channels, 2 × 2 positions.
    h = torch.zeros(2, 4, 2, 2)
    h[:, 1] = 1.0  # linear
    h[1, 2, 0, 1] = 1.0  # active at one position of one point: neither
    h[:, 3] = 1.0
    h[0, 3, 1, 1] = 0.0  # inactive at one position of one point: neither
    found = census([h])
    assert found.dead_units == (1 / 4,)
    assert found.linear_units == (1 / 4,)
    assert found.dead_points == (0.0,)
    assert found.linear_points == (0.0,)


def test_a_point_is_dead_or_linear_over_channels_and_positions() -> None:
    # 4 points, 2 channels, 3 positions.
    h = torch.zeros(4, 2, 3)
    h[1] = 1.0  # linear
    h[2, 1, 2] = 1.0  # active at one position of one channel: neither
    h[3] = 1.0
    h[3, 0, 0] = 0.0  # inactive at one position of one channel: neither
    found = census([h])
    assert found.dead_points == (1 / 4,)
    assert found.linear_points == (1 / 4,)
    assert found.dead_units == (0.0,)
    assert found.linear_units == (0.0,)


def test_layers_may_have_different_widths() -> None:
    found = census([torch.zeros(3, 2), torch.ones(3, 4, 2)])
    assert found.dead_units == (1.0, 0.0)
    assert found.linear_points == (0.0, 1.0)


@given(
    points=st.integers(1, 8),
    units=st.integers(1, 8),
    active=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_units_and_points_swap_with_the_axes(points: int, units: int, active: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    h = (torch.rand(points, units, generator=generator) < active).float()
    rows = h.tolist()
    columns = [list(column) for column in zip(*rows, strict=True)]
    found = census([h])
    assert found.dead_units[0] == pytest.approx(sum(not any(column) for column in columns) / units)
    assert found.linear_units[0] == pytest.approx(sum(all(column) for column in columns) / units)
    assert found.dead_points[0] == pytest.approx(sum(not any(row) for row in rows) / points)
    assert found.linear_points[0] == pytest.approx(sum(all(row) for row in rows) / points)
    turned = census([h.T])
    assert (turned.dead_units, turned.linear_points) == (found.dead_points, found.linear_units)


LINE = torch.tensor([[-2.0], [0.0], [1.0]])


def network_on_a_line(*, inplace: bool = False) -> nn.Sequential:
    """Two hidden layers of four and two units on the points −2, 0 and 1, every census known.

    Layer 1: x − 5 is dead, x + 5 linear, x and −x neither. Its outputs are (0, 3, 0, 2), (0, 5, 0, 0) and
    (0, 6, 1, 0); 0 is not above 0.
    Layer 2: 4 − (x + 5) is 1, −1, −2: neither; (x + 5) − 4 is −1, 1, 2: neither. Each point has one unit active.
    """
    model = nn.Sequential(
        nn.Linear(1, 4), nn.ReLU(inplace=inplace), nn.Linear(4, 2), nn.ReLU(inplace=inplace), nn.Linear(2, 1)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [1.0], [1.0], [-1.0]]))
        model[0].bias.copy_(torch.tensor([-5.0, 5.0, 0.0, 0.0]))
        model[2].weight.copy_(torch.tensor([[0.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
        model[2].bias.copy_(torch.tensor([4.0, -4.0]))
    return model


@pytest.mark.parametrize("inplace", [False, True])
def test_a_network_whose_census_is_known(inplace: bool) -> None:
    assert census_of(network_on_a_line(inplace=inplace), LINE) == LayerCensus(
        *((1 / 4, 0.0), (1 / 4, 0.0)),
        dead_points=(0.0, 0.0),
        linear_points=(0.0, 0.0),
        dead_at_some_layer=0.0,
        dormant_units=(1 / 4, 0.0),
        firing_rate=(5 / 12, 1 / 2),
    )


def test_a_network_with_a_dead_layer() -> None:
    model = network_on_a_line()
    with torch.no_grad():
        model[2].bias.fill_(-100.0)
    found = census_of(model, LINE)
    assert (found.dead_units[1], found.dead_points[1]) == (1.0, 1.0)
    assert found.dead_units[0] == 1 / 4


def test_a_network_with_dead_and_linear_points() -> None:
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    found = census_of(model, LINE)  # −2 and 0 are dead, 1 is linear
    assert found.dead_points == pytest.approx((2 / 3,))
    assert found.linear_points == pytest.approx((1 / 3,))


def test_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 1.0, 1.0]).reshape(3, 1, 1, 1))
        model[0].bias.copy_(torch.tensor([-2.0, 1.0, -0.5]))
    images = torch.zeros(2, 1, 2, 2)
    images[1, 0, 0, 0] = 1.0
    assert census_of(model, images) == LayerCensus(
        *((1 / 3,), (1 / 3,), (0.0,), (0.0,), 0.0), dormant_units=(1 / 3,), firing_rate=(pytest.approx(9 / 24),)
    )


def test_the_census_is_taken_in_evaluation_mode_and_restores_every_modules_mode() -> None:
    model = nn.Sequential(nn.Dropout(1.0), nn.BatchNorm1d(1), nn.Linear(1, 1), nn.ReLU())
    model.train()
    model[1].eval()
    with torch.no_grad():
        model[2].weight.fill_(1.0)
        model[2].bias.fill_(0.0)
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = census_of(model, torch.tensor([[1.0], [2.0]]))
    assert found.linear_units == (1.0,)  # dropout would have made every input 0
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_running_statistics_are_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1), nn.ReLU())
    model.train()
    census_of(model, torch.tensor([[5.0], [7.0]]))
    assert model[0].running_mean.item() == 0.0
    assert model[0].num_batches_tracked.item() == 0
    assert model.training and model[0].training


def test_the_mode_is_restored_when_the_model_fails() -> None:
    model = network_on_a_line().train()
    with pytest.raises(RuntimeError):
        census_of(model, torch.zeros(3, 7))
    assert all(module.training for module in model.modules())
    assert census_of(model, LINE).dead_units == (1 / 4, 0.0)


def test_no_gradients_are_taken_and_none_are_left() -> None:
    recorded: list[bool] = []

    class Probe(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            recorded.append(torch.is_grad_enabled())
            return points

    model = nn.Sequential(Probe(), *network_on_a_line())
    census_of(model, LINE)
    assert recorded == [False]
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_model_computes_the_same_before_and_after() -> None:
    model = network_on_a_line(inplace=True)
    before = model(LINE)
    census_of(model, LINE)
    assert torch.equal(model(LINE), before)


def test_a_model_without_relu_modules_is_refused() -> None:
    with pytest.raises(SettingError, match="ReLU"):
        census_of(nn.Sequential(nn.Linear(1, 2), nn.Tanh()), LINE)
