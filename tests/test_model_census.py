"""The census of other people's models as a table: definitions against NumPy, batches, units, persistence, logging."""

import copy
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jumpstart_exp import Watcher, census, census_of, persistence
from jumpstart_exp.measures.model_census import ModelCensus
from jumpstart_exp.settings import SettingError


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(2, 12, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(12, 20, 3, stride=2), nn.ReLU6()),
        *(nn.Flatten(), nn.Linear(20, 30), nn.LeakyReLU(), nn.Linear(30, 3)),
    )


def made(seed: int = 0) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(seed)
    model = convolutional()
    with torch.no_grad():
        model[0].bias.copy_(torch.linspace(-3, 3, 12))
        model[2].bias.copy_(torch.linspace(-3, 9, 20))
    return model, torch.randn(40, 2, 4, 4)


def by_definition(g: np.ndarray, h: np.ndarray, no_slope: np.ndarray | None) -> dict[str, float]:
    """The columns of one layer from (points, units, positions), by METHOD's words."""
    sizes = np.abs(h).mean((0, 2))
    score = sizes / (sizes.mean() + 1e-9)
    rates = (g > 0).mean((0, 2))
    found = {f"dormant_units_tau_{tau:g}": (score <= tau).mean() for tau in (0.0, 0.025, 0.1)}
    found |= {"units_active_below_1_percent": (rates < 0.01).mean(), "firing_rate": (g > 0).mean()}
    if no_slope is not None:
        linear = (g > 0) & ~no_slope
        found |= {"dead_units": no_slope.all((0, 2)).mean(), "linear_units": linear.all((0, 2)).mean()}
        found |= {"dead_points": no_slope.all((1, 2)).mean(), "linear_points": linear.all((1, 2)).mean()}
    return {"units": g.shape[1], "points": g.shape[0], **found}


def expected(model: nn.Sequential, x: Tensor) -> dict[str, dict[str, float]]:
    with torch.no_grad():
        first = model[0](x)
        second = model[2](F.relu(first))
        third = model[5](F.relu6(second).flatten(1))
    g = [one.double().numpy().reshape(*one.shape[:2], -1) for one in (first, second, third)]
    return {
        "1": by_definition(g[0], np.maximum(g[0], 0), g[0] <= 0),
        "3": by_definition(g[1], np.clip(g[1], 0, 6), (g[1] <= 0) | (g[1] >= 6)),
        "6": by_definition(g[2], np.where(g[2] > 0, g[2], 0.01 * g[2]), None),
    }


@pytest.mark.parametrize("batch", [40, 7])
def test_every_column_is_its_definition_over_all_batches(batch: int) -> None:
    model, x = made()
    found = census(model, DataLoader(TensorDataset(x, torch.zeros(40)), batch)).set_index("layer")
    for layer, columns in expected(model, x).items():
        for name, value in columns.items():
            assert found.loc[layer, name] == pytest.approx(value, rel=1e-6), (layer, name)
    assert math.isnan(found.loc["6", "dead_units"])  # a leaky unit has a slope everywhere
    assert 0 < found.loc["1", "dead_units"] < 1 and 0 < found.loc["3", "linear_units"] < 1
    assert found["function"].tolist() == ["relu", "relu6", "leaky_relu"]


def test_tensors_loaders_and_dicts_give_the_same() -> None:
    class Named(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *, images: Tensor, scale: float) -> Tensor:
            found: Tensor = self.model(scale * images)
            return found

    model, x = made()
    whole = census(model, x)
    pd.testing.assert_frame_equal(pd.DataFrame(census(model, list(x.split(9)))), pd.DataFrame(whole))
    named = census(Named(model), [{"images": part, "scale": 1.0} for part in x.split(20)])
    assert named["layer"].tolist() == ["model.1", "model.3", "model.6"]
    pd.testing.assert_frame_equal(pd.DataFrame(named.drop(columns="layer")), pd.DataFrame(whole.drop(columns="layer")))


def test_points_dead_at_some_layer_are_counted_over_batches() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    x = torch.randn(50, 2)
    first = model[0](x)
    second = model[2](torch.relu(first))
    somewhere = ((first <= 0).all(1) | (second <= 0).all(1)).double().mean().item()
    assert 0 < somewhere < 1
    assert census(model, x.split(8)).attrs["dead_points_at_some_layer"] == pytest.approx(somewhere)
    assert census_of(model, x).dead_at_some_layer == pytest.approx(somewhere)


def test_per_unit() -> None:
    model, x = made()
    units = census(model, x, per_unit=True)
    assert isinstance(units, ModelCensus) and units.is_of_units and len(units) == 12 + 20 + 30
    layers = census(model, x).set_index("layer")
    for layer, own in units.groupby("layer"):
        assert own["unit"].tolist() == list(range(int(layers.loc[layer, "units"])))
        assert own["firing_rate"].mean() == pytest.approx(layers.loc[layer, "firing_rate"])
        assert (own["dormancy_score"] <= 0.1).mean() == layers.loc[layer, "dormant_units_tau_0.1"]
    first = model[0](x).detach()
    own = units[units["layer"] == "1"]
    np.testing.assert_allclose(own["smallest"], first.amin((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(own["largest"], first.amax((0, 2, 3)), rtol=1e-6)
    assert own["is_dead"].tolist() == (first <= 0).all(0).all(1).all(1).tolist()


def test_the_output_layer_is_its_own_activation() -> None:
    model, x = made()
    found = census(model, x, output_layer=True).set_index("layer")
    g = model(x).detach()
    sizes = g.abs().mean(0)
    assert found.loc["7", "dormant_units_tau_0.1"] == float((sizes / sizes.mean() <= 0.1).double().mean())
    assert found.loc["7", "function"] == "linear"


def test_tokens_have_their_features_as_units() -> None:
    """Two of six features are dead by construction, of a matrix as of (batch, tokens, features)."""
    linear = nn.Linear(4, 6)
    with torch.no_grad():
        linear.weight[2:4] = 0
        linear.bias[2:4] = -1
    model = nn.Sequential(linear, nn.ReLU())
    for x in (torch.randn(50, 4), torch.randn(10, 5, 4), torch.randn(5, 2, 5, 4)):
        found = census(model, x)
        assert (found["units"][0], found["dead_units"][0]) == (6, pytest.approx(1 / 3))


def test_the_printed_table_has_the_worst_layers_first() -> None:
    model, x = made()
    text = str(census(model, x))
    lines = text.splitlines()
    dormant = "dormant τ=0 dormant τ=0.025 dormant τ=0.1"
    assert " ".join(lines[0].split()) == f"layer function units dead linear {dormant} active < 1 % fires dead points"
    shares = census(model, x).set_index("layer")["dead_units"]
    assert [line.split()[0] for line in lines[1:4]] == [*shares.dropna().sort_values(ascending=False).index, "6"]
    dead = round(12 * shares["1"] + 20 * shares["3"])
    assert lines[-1] == f"{dead} of 32 units are dead ({100 * dead / 32:.1f} %); 40 points"  # of units, not of layers


def test_persistence() -> None:
    model, x = made()
    before = census(model, x, per_unit=True)
    with torch.no_grad():
        model[0].bias.copy_(torch.linspace(-3, 3, 12).roll(1))
    after = census(model, x, per_unit=True)
    was, now = (one[one["layer"] == "1"]["is_dead"].to_numpy(bool) for one in (before, after))
    row = persistence(before, after).set_index("layer").loc["1"]
    assert 0 < (was & now).sum() < was.sum()
    assert row["stayed_dead"] == pytest.approx((was & now).sum() / was.sum())
    assert row["revived"] == pytest.approx(1 - row["stayed_dead"])
    assert row["newly_dead"] == pytest.approx((~was & now).sum() / (~was).sum())
    with pytest.raises(SettingError, match="per_unit=True"):
        persistence(census(model, x), after)
    with pytest.raises(SettingError, match="not of the same units"):
        persistence(before, census(model[:2], x, per_unit=True))


def test_a_watcher_logs_every_nth_step_of_the_training() -> None:
    model, x = made()
    logged: list[tuple[int, float]] = []
    twin = copy.deepcopy(model)
    with (
        Watcher(model, every=2) as watcher,
        Watcher(model, 3, lambda step, of: logged.append((step, of["firing_rate"][0]))),
    ):
        for step, part in enumerate(x.split(8)):
            model(part).sum().backward()
            with torch.no_grad():
                model(x)  # evaluation is no step
            assert watcher.steps == step + 1
    frame = watcher.frame
    assert frame["step"].tolist() == [0, 0, 0, 2, 2, 2, 4, 4, 4]
    for step in (0, 2, 4):
        own = census(twin, x.split(8)[step])
        pd.testing.assert_frame_equal(
            pd.DataFrame(frame[frame["step"] == step].drop(columns="step").reset_index(drop=True)), pd.DataFrame(own)
        )
    assert logged == [(step, census(twin, x.split(8)[step])["firing_rate"][0]) for step in (0, 3)]
    model(x)
    assert watcher.steps == 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"data": []}, "no batch"),
        ({"data": [3.0]}, "batch of float"),
        ({"data": (torch.zeros(3, 2, 4, 4), torch.zeros(3))}, "give the inputs alone"),
        ({"taus": [-1.0]}, "taus=-1.0"),
        ({"data": torch.full((3, 2, 4, 4), math.nan)}, "not finite"),
        ({"data": torch.zeros(0, 2, 4, 4)}, "given nothing"),
        ({"layers": "head"}, "layers='head'"),
    ],
)
def test_bad_input_is_one_line(arguments: dict[str, Any], named: str) -> None:
    model, x = made()
    with pytest.raises(SettingError, match=named) as caught:
        census(model, **{"data": x, **arguments})
    assert "\n" not in str(caught.value)
    assert model.training and not model[0]._forward_hooks


def test_every_must_be_a_count() -> None:
    with pytest.raises(SettingError, match="every=0"):
        Watcher(convolutional(), every=0)


def test_reading_parametrized_weights_is_no_step_of_the_training() -> None:
    fc = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    model = nn.Sequential(fc, nn.ReLU(), nn.Linear(4, 1))
    with Watcher(model, every=1) as watcher:
        for _ in range(3):
            (model(torch.randn(5, 3)).sum() + fc.weight.norm()).backward()
    assert list(watcher.frame["step"]) == [0, 1, 2]


def test_parts_without_layers_do_not_end_a_watchers_training() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    with Watcher(model, every=1) as watcher:
        model(torch.randn(5, 3)).sum().backward()
        model[0](torch.randn(5, 3)).sum().backward()
    assert list(watcher.frame["layer"]) == ["1"]


def test_models_without_numbers_have_no_census() -> None:
    model = nn.Sequential(nn.Linear(3, 4, device="meta"), nn.ReLU())
    with pytest.raises(SettingError, match="meta device"):
        census(model, torch.randn(5, 3))
