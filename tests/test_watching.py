"""Watching other people's models: what the penalty is of, whatever they are made of and whatever is done to them."""

import copy
import gc
import io
import itertools
import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jumpstart_exp import SeparationPenalty, census
from jumpstart_exp.data.image_files import torchvision_module
from jumpstart_exp.measures.passes import ModelPass, PreActivation
from jumpstart_exp.measures.watching import ModelWatch
from jumpstart_exp.settings import SettingError

torch.set_num_threads(1)


def seen(model: nn.Module, *inputs: Any, **selection: Any) -> dict[str, Tensor]:
    """What a watched pass shows, by layer: (points, units, *positions)."""
    found: dict[str, Tensor] = {}

    def keep(layer: PreActivation) -> None:
        found[layer.layer] = layer.values.detach().clone()

    watch = ModelWatch(model, lambda has_gradients, _: ModelPass(has_gradients, keep), **selection)
    try:
        model(*inputs)
    finally:
        watch.remove()
    return found


def by_formula(layers: list[Tensor]) -> float:
    """Sep-UP, summed, from pre-activations (points, units, *positions), in NumPy's float64."""
    total = 0.0
    for layer in layers:
        g = layer.detach().double().numpy().reshape(*layer.shape[:2], -1)
        for axes in ((0, 2), (1, 2)):
            above = np.maximum(0, 1 - g.max(axes))
            below = np.maximum(0, 1 + g.min(axes))
            total += float((0.5 * above + 0.5 * below).sum())
    return total


def mlp(*, depth: int = 60, width: int = 4, inplace: bool = False) -> nn.Sequential:
    sizes = [2] + [width] * depth
    layers = [
        part
        for fan_in, fan_out in itertools.pairwise(sizes)
        for part in (nn.Linear(fan_in, fan_out), nn.ReLU(inplace=inplace))
    ]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def resnet() -> nn.Module:
    model = torchvision_module("models").resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    return model


def encoder(*, batch_first: bool = True, activation: str = "gelu") -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 24, 0.0, activation, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(3, 5, **options)
        self.head = nn.Linear(5 * (2 if options.get("bidirectional") else 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rnn(x)[0]
        score: Tensor = self.head(F.relu(out))
        return score


class Functional(nn.Module):
    """Every way to call an activation, beside a module."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(8))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        g = list(self.layers)
        x = self.act(g[0](x))
        x = F.relu(g[1](x))
        x = torch.relu(g[2](x))
        x = g[3](x).relu()
        x = F.relu(input=g[4](x), inplace=True)
        x = torch.relu_(g[5](x))
        x = g[6](x).clamp(min=torch.tensor(0.0))
        return F.leaky_relu(g[7](x), 0.2)


# What is found


def test_every_way_to_call_an_activation_is_seen() -> None:
    torch.manual_seed(0)
    model, x = Functional(), torch.randn(7, 3)
    found = seen(model, x)
    assert list(found) == ["act", "relu", "relu#2", "relu#3", "relu#4", "relu#5", "clamp", "leaky_relu"]
    for layer, g in zip(model.layers, found.values(), strict=True):
        torch.testing.assert_close(g, layer(x))
        x = torch.relu(g)


def hooked_relu_inputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """By plain hooks on modules that do not work in place: what the model's ReLUs are given."""
    model, found = copy.deepcopy(model), []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
            module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach().clone()))
    model(x)
    return found


def test_resnet_18_with_its_shared_relus_in_place() -> None:
    torch.manual_seed(0)
    model, x = resnet().eval(), torch.randn(4, 3, 16, 16)
    plain, expected = model(x).detach(), hooked_relu_inputs(model, x)
    found = seen(model, x)
    assert len(found) == 17  # 1 + 8 blocks of 2
    assert "layer1.0.relu#2" in found
    for one, other in zip(found.values(), expected, strict=True):
        assert torch.equal(one, other)
    penalty = SeparationPenalty("UP").watch(model)
    assert torch.equal(model(x).detach(), plain)
    assert penalty().item() == pytest.approx(by_formula(expected), rel=1e-5)


@pytest.mark.parametrize("mode", ["train", "eval", "no_grad"])
def test_a_transformers_mlps_have_the_features_as_units(mode: str) -> None:
    """In evaluation without gradients torch would take a path that hides the activation."""
    torch.manual_seed(0)
    model, x = encoder().train(mode == "train"), torch.randn(5, 7, 16)
    with torch.set_grad_enabled(mode != "no_grad"):
        found = seen(model, x)
    assert list(found) == ["layers.0:gelu", "layers.1:gelu"]
    assert {tuple(g.shape) for g in found.values()} == {(5, 24, 7)}
    block = model.layers[0]
    after = block.norm1(x + block.self_attn(x, x, x)[0])
    torch.testing.assert_close(
        found["layers.0:gelu"], block.linear1(after).detach().movedim(2, 1), rtol=1e-4, atol=1e-5
    )


def test_with_the_batch_second_the_points_are_the_batch() -> None:
    torch.manual_seed(0)
    first, second, x = encoder(), encoder(batch_first=False), torch.randn(5, 7, 16)
    second.load_state_dict(first.state_dict())
    one, other = seen(first, x), seen(second, x.transpose(0, 1))
    for left, right in zip(one.values(), other.values(), strict=True):
        torch.testing.assert_close(left, right)


def test_a_vision_transformer() -> None:
    torch.manual_seed(0)
    model = torchvision_module("models").VisionTransformer(8, 4, 2, 2, 16, 24, num_classes=3).eval()
    found = seen(model, torch.randn(6, 3, 8, 8))
    assert [tuple(g.shape) for g in found.values()] == [(6, 24, 5)] * 2


@pytest.mark.parametrize(
    "options", [{}, {"batch_first": True}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}]
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_gates_of_recurrent_layers_are_those_of_their_cells(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    """What torch computes in one call is computed step by step, from the weights alone."""
    torch.manual_seed(0)
    model = Recurrent(kind, **options)
    x = torch.randn(4, 6, 3)  # batch 4 or time 4, as batch_first says
    found = seen(model, x, layers="rnn")
    rnn, inputs = model.rnn, x if options.get("batch_first") else x.transpose(0, 1)
    expected = {}
    for layer in range(rnn.num_layers):
        outputs = []
        for reverse in range(2 if rnn.bidirectional else 1):
            suffix = f"_l{layer}" + "_reverse" * reverse
            weights = [getattr(rnn, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            steps, gates = step_by_step(kind, inputs.flip(1) if reverse else inputs, *weights)
            outputs.append(steps.flip(1) if reverse else steps)
            name = "rnn" + (f".{layer}" if rnn.num_layers > 1 else "") + ".reverse" * reverse
            expected[name] = (gates.flip(1) if reverse else gates).movedim(2, 1)
        inputs = torch.cat(outputs, dim=2)
    assert list(found) == list(expected)
    for name, g in expected.items():
        torch.testing.assert_close(found[name], g.detach())


def step_by_step(
    kind: type[nn.RNNBase], x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs and gates (points, steps, …) of one layer in one direction."""
    h = state = torch.zeros(len(x), u.shape[1])
    outputs, all_gates = [], []
    for step in x.unbind(1):
        gi, gh = step @ w.T + b, h @ u.T + c
        if kind is nn.GRU:
            reset, update = torch.sigmoid(gi + gh)[:, : 2 * len(u) // 3].chunk(2, 1)
            new = gi.chunk(3, 1)[2] + reset * gh.chunk(3, 1)[2]
            gates = torch.cat([(gi + gh)[:, : 2 * len(u) // 3], new], 1)
            h = (1 - update) * new.tanh() + update * h
        elif kind is nn.LSTM:
            gates = gi + gh
            enter, forget, cell, leave = gates.chunk(4, 1)
            state = forget.sigmoid() * state + enter.sigmoid() * cell.tanh()
            h = leave.sigmoid() * state.tanh()
        else:
            gates = gi + gh
            h = gates.tanh()
        outputs.append(h)
        all_gates.append(gates)
    return torch.stack(outputs, 1), torch.stack(all_gates, 1)


def test_the_relus_of_a_relu_rnn_are_seen_unasked_and_gates_of_an_lstm_are_not() -> None:
    x = torch.randn(4, 6, 3)
    assert list(seen(Recurrent(nn.RNN, nonlinearity="relu", batch_first=True), x)) == ["rnn", "relu"]
    assert list(seen(Recurrent(nn.LSTM, batch_first=True), x)) == ["relu"]
    cell = nn.RNNCell(3, 5, nonlinearity="relu")
    (g,) = seen(cell, x[:, 0]).values()
    torch.testing.assert_close(torch.relu(g), cell(x[:, 0]).detach())


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_convolutions_have_their_channels_as_units(dimensions: int) -> None:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
    model = nn.Sequential(convolution(2, 6, 3, padding=1), norm(6), nn.ReLU())
    (g,) = seen(model, torch.randn(3, 2, *[4] * dimensions)).values()
    assert g.shape == (3, 6, *[4] * dimensions)


@pytest.mark.parametrize(
    ("move", "shape"),
    [
        (lambda g: g.transpose(1, 2), (3, 6, 4)),
        (lambda g: g.permute(0, 2, 1), (3, 6, 4)),
        (lambda g: g.movedim(-1, 1), (3, 6, 4)),
        (lambda g: g.reshape(3, 2, 2, 6), (3, 6, 2, 2)),
        (lambda g: g.flatten(0, 1), (12, 6)),
        (lambda g: g[:, 1:], (3, 6, 3)),
        (lambda g: torch.cat([g, g], 1), (3, 6, 8)),
        (lambda g: g.chunk(2, dim=-1)[0], (3, 3, 4)),
    ],
)
def test_the_units_are_followed_through_what_moves_them(
    move: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 6)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(move(self.linear(x)))

    (g,) = seen(Moved(), torch.randn(3, 4, 5)).values()
    assert g.shape == shape


@pytest.mark.parametrize(
    "move", [lambda g: g.reshape(3, 6, 4), lambda g: g[:, 0, :, None], lambda g: g @ torch.ones(3, 6, 4)]
)
def test_units_that_are_lost_have_to_be_named(move: Callable[[Tensor], Tensor]) -> None:
    class Lost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 6)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(move(self.linear(x)))

    x = torch.randn(3, 4, 5)
    with pytest.raises(SettingError, match=r"unit_axis=1 .* or unit_axis=-1"):
        seen(Lost(), x)
    (g,) = seen(Lost(), x, unit_axis=1).values()
    assert g.shape[1] in (6, 4)
    with pytest.raises(SettingError, match="unit_axis=0"):
        seen(Lost(), x, unit_axis=0)


# Which layers


def test_layers_by_name_pattern_and_type() -> None:
    model, x = resnet().eval(), torch.randn(2, 3, 8, 8)
    every = list(seen(model, x))
    assert list(seen(model, x, layers="layer3")) == [name for name in every if name.startswith("layer3")]
    assert list(seen(model, x, layers="layer[34].*")) == [
        name for name in every if name.startswith(("layer3", "layer4"))
    ]
    assert list(seen(model, x, layers=["relu", "layer4.1.relu"])) == ["relu", "layer4.1.relu", "layer4.1.relu#2"]
    assert list(seen(model, x, layers=type(model.layer1[0]))) == every[1:]
    assert list(seen(model, x, layers=nn.Linear)) == ["fc"]
    assert torch.equal(seen(model, x, layers="fc")["fc"], model(x))
    assert list(seen(model, x, output_layer=True)) == [*every, "fc"]


def test_functions_and_modules_that_are_not_like_relu_are_watched_when_named() -> None:
    class Snake(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.sin(x) ** 2 + 0 * torch.relu(x)

    model, x = (
        nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3), Snake(), nn.Linear(3, 3), nn.ReLU()),
        torch.randn(5, 2),
    )
    assert list(seen(model, x)) == ["3:relu", "5"]
    found = seen(model, x, functions=["tanh", Snake])
    assert list(found) == ["1", "3", "5"]
    assert torch.equal(found["3"], model[:3](x))


@pytest.mark.parametrize(
    ("selection", "named"),
    [
        ({"layers": "layr"}, "layers='layr'.*0, 1, 2, 3"),
        ({"layers": nn.Conv2d}, "layers='Conv2d'"),
        ({"layers": []}, r"layers=\[\]"),
        ({"layers": [3]}, "layers=3"),
        ({"layers": 0}, "layers=0"),
        ({"layers": nn.Linear(2, 2)}, "layers='Linear'"),
        ({"functions": F.tanh}, "functions='tanh' is not allowed"),
        ({"functions": "relo"}, "functions='relo'"),
        ({"passes": "all"}, "passes='all'"),
    ],
)
def test_bad_choices_are_named(selection: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        SeparationPenalty("UP").watch(mlp(depth=2), **selection)


def test_a_model_without_anything_like_a_relu() -> None:
    model, x = nn.Sequential(nn.Linear(2, 3), nn.Tanh()), torch.randn(5, 2)
    penalty = SeparationPenalty("UP").watch(model)
    with pytest.raises(SettingError, match="run the model first"):
        penalty()
    model(x)
    with pytest.raises(SettingError, match="no activation that is watched"):
        penalty()


# Which pass


@pytest.fixture
def watched() -> tuple[nn.Sequential, SeparationPenalty]:
    torch.manual_seed(0)
    model = mlp(depth=3)
    return model, SeparationPenalty("UP").watch(model)


def alone(model: nn.Module, x: Tensor) -> float:
    return by_formula(hooked_relu_inputs(model, x))


X, OTHER = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(5)).unbind()
Watched = tuple[nn.Sequential, SeparationPenalty]


def test_a_pass_without_gradients_does_not_take_the_place_of_one_with(watched: Watched) -> None:
    model, penalty = watched
    model(X)
    with torch.no_grad():
        model(OTHER)
        assert penalty().item() == pytest.approx(alone(model, OTHER), rel=1e-5)
    assert penalty().item() == pytest.approx(alone(model, X), rel=1e-5)
    assert penalty().requires_grad


def test_two_passes_that_wait_are_an_error_and_can_be_summed(watched: Watched) -> None:
    model, penalty = watched
    model(X), model(OTHER)
    with pytest.raises(SettingError, match="2 forward passes with gradients wait"):
        penalty()
    penalty.watch(model, passes="sum")
    for _ in range(2):  # what was read does not pile up
        model(X), model(OTHER)
        assert penalty().item() == pytest.approx(alone(model, X) + alone(model, OTHER), rel=1e-5)
    penalty.watch(model, passes="latest")
    model(X), model(OTHER)
    assert penalty().item() == pytest.approx(alone(model, OTHER), rel=1e-5)


def test_a_pass_that_was_trained_without_the_penalty_waits_no_longer(watched: Watched) -> None:
    model, penalty = watched
    model(X).sum().backward()
    model(OTHER)
    assert penalty().item() == pytest.approx(alone(model, OTHER), rel=1e-5)


def test_accumulated_gradients_are_those_of_the_mini_batches(watched: Watched) -> None:
    model, penalty = watched
    for x in (X, OTHER):
        (model(x).sum() + penalty()).backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for x in (X, OTHER):
        outputs = model(x)
        expected = SeparationPenalty("UP")(tuple_of_layers(model, x))
        (outputs.sum() + expected).backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-6)


def tuple_of_layers(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    layers = []
    for module in model:
        if isinstance(module, nn.ReLU):
            layers.append(x)
            x = torch.relu(x)
        else:
            x = module(x)
    return layers


def test_a_failed_pass_is_forgotten(watched: Watched) -> None:
    model, penalty = watched
    model(X)
    with pytest.raises(RuntimeError):
        model(torch.randn(3, 7))
    assert penalty().item() == pytest.approx(alone(model, X), rel=1e-5)


def test_an_interrupted_pass_leaves_nothing_behind(watched: Watched) -> None:
    model, penalty = watched

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = model[2].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(X)
    handle.remove()
    model(OTHER)
    assert penalty().item() == pytest.approx(alone(model, OTHER), rel=1e-5)


class Step(nn.Module):
    """A module whose training step calls its parts, as Lightning's do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.act, self.head = mlp(depth=2), nn.ReLU(), nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        score: Tensor = self.head(F.relu(self.body(x)))
        return score

    def by_parts(self, x: Tensor) -> Tensor:
        score: Tensor = self.head(self.act(self.body(x)))
        return score

    def by_functions(self, x: Tensor) -> Tensor:
        score: Tensor = self.head(F.relu(self.body(x)))
        return score


def test_parts_called_by_a_step_are_one_pass_however_often() -> None:
    torch.manual_seed(0)
    model = Step()
    penalty = SeparationPenalty("UP").watch(model)
    expected = by_formula([*tuple_of_layers(model.body, X), model.body(X)])
    penalty.watch(model)
    for _ in range(3):
        model.by_parts(X)
        assert penalty().item() == pytest.approx(expected, rel=1e-5)
        assert penalty().item() == pytest.approx(expected, rel=1e-5)


def test_a_step_that_calls_activations_outside_of_the_model_is_refused_and_one_pass_sees_them() -> None:
    torch.manual_seed(0)
    model = Step()
    expected = by_formula([*tuple_of_layers(model.body, X), model.body(X)])
    penalty = SeparationPenalty("UP").watch(model)
    for call in (model.by_functions, model.forward):
        with pytest.raises(SettingError, match=r"calls relu itself.*one_pass"):
            call(X)
        with penalty.one_pass():
            call(X)
        assert penalty().item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(SettingError, match="watches no model"), SeparationPenalty("UP").one_pass():
        pass


def test_a_step_that_calls_the_model_twice_says_which_is_trained() -> None:
    torch.manual_seed(0)
    model = Step()
    penalty = SeparationPenalty("UP").watch(model)
    expected = by_formula([*tuple_of_layers(model.body, X), model.body(X)])
    penalty.watch(model)
    with penalty.one_pass():
        model(X)
        with torch.no_grad():
            model(OTHER)  # say, for an accuracy
    assert penalty().item() == pytest.approx(expected, rel=1e-5)
    with penalty.one_pass():
        model(X)
        with pytest.raises(SettingError, match="called twice in one pass"):
            model(OTHER)


@pytest.mark.parametrize("move", [lambda x: x.transpose(0, 1), lambda x: x.permute(1, 0, 2), lambda x: x.movedim(0, 1)])
def test_the_points_of_the_inputs_are_followed(move: Callable[[Tensor], Tensor]) -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 6)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.linear(move(x)))

    model, x = TimeFirst(), torch.randn(12, 7, 5)
    (g,) = seen(model, x).values()
    assert torch.equal(g, model.linear(move(x)).permute(1, 2, 0).detach())


def test_the_points_of_numbers_of_tokens_are_followed() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.linear = nn.Embedding(9, 5), nn.Linear(5, 6)

        def forward(self, ids: Tensor) -> Tensor:
            return F.relu(self.linear(self.embedding(ids.t())))

    (g,) = seen(Embedded(), torch.randint(9, (12, 7))).values()
    assert g.shape == (12, 6, 7)


def test_a_module_that_two_networks_share() -> None:
    act = nn.ReLU()
    model, other = nn.Sequential(nn.Linear(2, 8), act), nn.Sequential(nn.Linear(2, 8), act)
    penalty = SeparationPenalty("UP").watch(model)
    model(X)
    other(OTHER)
    assert penalty().item() == pytest.approx(by_formula([model[0](X)]), rel=1e-5)


# What people do to models


def test_tensors_changed_afterwards_are_read_as_they_were() -> None:
    class Changed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 4)

        def forward(self, x: Tensor) -> Tensor:
            g = self.linear(x)
            h = F.relu(g.clone())
            F.relu(g)
            g.mul_(100).add_(3)
            return g + h

    model = Changed()
    penalty = SeparationPenalty("UP").watch(model)
    loss = model(X).sum()
    g = model.linear(X)
    assert penalty().item() == pytest.approx(2 * by_formula([g]), rel=1e-5)
    (loss * 0 + penalty()).backward()
    found = model.linear.weight.grad.clone()
    model.zero_grad()
    (2 * SeparationPenalty("UP")([g])).backward()
    torch.testing.assert_close(found, model.linear.weight.grad)


def test_a_skip_before_an_in_place_relu_keeps_what_the_relu_made_of_it() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu, self.second = nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.second(self.relu(x)) + x

    torch.manual_seed(0)
    model = Block()
    plain = model(X).detach()
    penalty = SeparationPenalty("UP").watch(model)
    assert torch.equal(model(X).detach(), plain)
    assert penalty().item() == pytest.approx(by_formula([model.first(X)]), rel=1e-5)
    census(model, X)
    assert torch.equal(model(X).detach(), plain)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_under_autocast_extremes_are_exact_in_float32(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = mlp(depth=2, width=16), torch.randn(4000, 2)
    penalty = SeparationPenalty("UP").watch(model)
    with torch.autocast("cpu", dtype=kind):
        loss = model(x).float().mean()
        value = penalty()
        expected = by_formula(list(seen(model, x).values()))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)
    (loss + value).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant: bool | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True)) for _ in range(3))
        self.use_reentrant = use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x) if self.use_reentrant is None else checkpoint(block, x, use_reentrant=self.use_reentrant)
        return x


def test_checkpointing_gives_the_plain_gradient_or_is_refused() -> None:
    torch.manual_seed(0)
    plain = Checkpointed(None)
    found = {}
    for use in (None, False):
        model = Checkpointed(use)
        model.load_state_dict(plain.state_dict())
        penalty = SeparationPenalty("UP").watch(model)
        for _ in range(2):
            model.zero_grad()
            (model(X).sum() + penalty()).backward()
        found[use] = [parameter.grad for parameter in model.parameters()]
    for one, other in zip(found[None], found[False], strict=True):
        torch.testing.assert_close(one, other)
    model = Checkpointed(True)
    SeparationPenalty("UP").watch(model)
    with pytest.raises(SettingError, match="use_reentrant=False"):
        model(X.clone().requires_grad_())


def test_compiled_models_are_refused_in_one_line() -> None:
    model = mlp(depth=2)
    with pytest.raises(SettingError, match="is compiled"):
        SeparationPenalty("UP").watch(torch.compile(model, backend="eager"))
    SeparationPenalty("UP").watch(model)
    twin = mlp(depth=2)
    twin.compile(backend="eager")
    with pytest.raises(SettingError, match="is compiled"):
        census(twin, X)
    with pytest.deprecated_call():
        scripted = torch.jit.script(mlp(depth=2))
    with pytest.raises(SettingError, match="is a scripted module"):
        census(scripted, X)


def test_a_watched_model_that_is_compiled_is_refused_when_it_runs() -> None:
    torch.manual_seed(0)
    model = mlp(depth=2)
    penalty = SeparationPenalty("UP").watch(model)
    compiled = torch.compile(model, backend="eager")
    for _ in range(2):
        with pytest.raises(SettingError, match="compiled model hides"):
            compiled(X)
    model(OTHER)
    assert penalty().item() == pytest.approx(alone(model, OTHER), rel=1e-5)
    penalty.remove()
    assert compiled(X).shape == (9, 1)


def test_second_derivatives(watched: Watched) -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU(), nn.Conv1d(3, 3, 2), nn.ReLU()).double()
    penalty = SeparationPenalty("UP", aggregate="sum_sq").watch(model)
    x = torch.randn(4, 2, 5, dtype=torch.float64)
    weights = list(model.parameters())

    def value(scale: float) -> tuple[Tensor, list[Tensor]]:
        with torch.no_grad():
            for weight, own in zip(weights, saved, strict=True):
                weight.copy_(own + scale * torch.ones_like(own))
        model(x)
        gradients = torch.autograd.grad(penalty(), weights, create_graph=True)
        return sum((one.sum() for one in gradients), torch.zeros(())), list(gradients)

    saved = [weight.detach().clone() for weight in weights]
    step = 1e-6
    ahead, behind = value(step)[0].item(), value(-step)[0].item()
    slope, _ = value(0.0)
    second = sum(one.sum().item() for one in torch.autograd.grad(slope, weights, allow_unused=True) if one is not None)
    assert second == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)


def test_ties_are_drawn_apart_from_what_the_model_draws() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 4), nn.ReLU(), nn.Dropout(0.5))
    nn.init.zeros_(model[0].weight)  # everything is tied
    torch.manual_seed(1)
    plain = model(X)
    penalty = SeparationPenalty("UP", ties="random").watch(model)
    torch.manual_seed(1)
    assert torch.equal(model(X), plain)
    assert penalty().item() > 0


def hooks_on(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_watching_leaves_no_trace() -> None:
    model = mlp(depth=2)
    state = list(model.state_dict())
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    for _ in range(20):
        penalty = SeparationPenalty("UP").watch(model)
    per_watch = 2 * len(list(model.modules()))
    gc.collect()
    assert hooks_on(model) == per_watch  # one penalty is alive
    assert list(model.state_dict()) == state
    penalty.watch(model)
    assert hooks_on(model) == per_watch
    with SeparationPenalty("U").watch(model):
        assert hooks_on(model) == 2 * per_watch
    assert hooks_on(model) == per_watch
    penalty.remove()
    assert hooks_on(model) == 0
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    with pytest.raises(SettingError, match="watches no model"):
        penalty()


def test_several_watch_one_model(watched: Watched) -> None:
    model, penalty = watched
    only = SeparationPenalty("UP").watch(model, layers="1")
    model(X)
    census(model, OTHER)
    assert penalty().item() == pytest.approx(alone(model, X), rel=1e-5)
    assert only().item() == pytest.approx(by_formula(tuple_of_layers(model, X)[:1]), rel=1e-5)


def test_copies_and_saved_models_are_nobodys(watched: Watched) -> None:
    model, penalty = watched
    model(X)
    copied, (both, own) = copy.deepcopy(model), copy.deepcopy((model, penalty))
    saved = pickle.loads(pickle.dumps(model))
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    loaded = torch.load(stored, weights_only=False)
    for other in (copied, both, saved, loaded):
        torch.testing.assert_close(other(OTHER), model(OTHER))
    model(X).sum().backward()
    model(X)
    copied(OTHER)
    assert penalty().item() == pytest.approx(alone(model, X), rel=1e-5)
    with pytest.raises(SettingError, match="watches no model"):
        own()
    own.watch(both)
    both(OTHER)
    assert own().item() == pytest.approx(alone(model, OTHER), rel=1e-5)


def test_one_point_without_a_batch_is_refused(watched: Watched) -> None:
    model, _ = watched
    with pytest.raises(SettingError, match="one point"):
        model(X[0])


def test_the_penalty_trains_a_resnet_a_transformer_an_lstm_and_a_deep_thin_mlp() -> None:
    for make, x in (
        (resnet, torch.randn(4, 3, 8, 8)),
        (encoder, torch.randn(4, 5, 16)),
        (Recurrent, torch.randn(4, 5, 3)),
        (mlp, torch.randn(30, 2)),
    ):
        torch.manual_seed(0)
        model = make()
        penalty = SeparationPenalty("UP", aggregate="mean", margin_above=3.0, margin_below=-3.0).watch(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        values = []
        for _ in range(4):
            optimizer.zero_grad()
            model(x)
            value = penalty()
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < values[0]


def test_what_recurrent_layers_hide_is_refused() -> None:
    lengths = torch.tensor([6, 4])
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 6, 3), lengths, batch_first=True)
    with pytest.raises(SettingError, match="packed sequences"):
        seen(nn.LSTM(3, 5, batch_first=True), packed, layers=nn.LSTM)
    stacked = nn.GRU(3, 5, 2, dropout=0.5)
    with pytest.raises(SettingError, match="dropout between its layers"):
        seen(stacked, torch.randn(6, 2, 3), layers="")
    assert len(seen(stacked.eval(), torch.randn(6, 2, 3), layers="")) == 2


def test_weights_given_from_outside(watched: Watched) -> None:
    """torch.func.functional_call, and torch.func.grad around it, run the model's hooks."""
    model, penalty = watched
    weights = {name: 2 * value.detach() for name, value in model.named_parameters()}
    twin = copy.deepcopy(model)
    twin.load_state_dict(weights)
    torch.func.functional_call(model, {name: value.requires_grad_() for name, value in weights.items()}, X)
    value = penalty()
    assert value.item() == pytest.approx(alone(twin, X), rel=1e-5)
    value.backward()
    assert all(one.grad is not None for name, one in weights.items() if not name.startswith("6"))


def test_replicas_of_data_parallel_are_refused(watched: Watched) -> None:
    model, _ = watched
    replica = model._replicate_for_data_parallel()
    with pytest.raises(SettingError, match="DistributedDataParallel"):
        replica(X)


def trained_with_ddp(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(mlp(depth=3))
    penalty = SeparationPenalty("UP").watch(model.module)
    for _ in range(2):  # a second step finds out whether the first left the reducer in order
        model.zero_grad()
        (model((X, OTHER)[rank]).mean() + penalty()).backward()
    torch.save([parameter.grad for parameter in model.parameters()], f"{folder}/{rank}")
    os._exit(0)  # gloo's threads may want the interpreter's lock while it joins them: ending in order hangs at times


def test_every_process_of_ddp_has_the_penalty_of_its_own_batch(tmp_path: Any) -> None:
    torch.multiprocessing.spawn(trained_with_ddp, (str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    model = mlp(depth=3)
    for x in (X, OTHER):
        layers = tuple_of_layers(model, x)
        (0.5 * (model(x).mean() + SeparationPenalty("UP")(layers))).backward()
    for rank in range(2):
        for found, parameter in zip(torch.load(tmp_path / str(rank)), model.parameters(), strict=True):
            torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6)


class Of(nn.Module):
    """A model of a function and its modules and weights."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


POINTS, STEPS = 7, 5


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        (lambda m, x: F.gelu(m.fc(x + m.mix(x, x, x)[0])), {"mix": nn.MultiheadAttention(4, 2)}),
        (lambda m, x: F.relu(m.fc(m.rnn(x)[0])), {"rnn": nn.LSTM(4, 4)}),
        (lambda m, x: F.relu(m.fc(m.rnn(x)[0].transpose(0, 1))), {"rnn": nn.GRU(4, 4)}),
    ],
)
def test_points_are_followed_out_of_modules_that_have_the_batch_second(
    function: Callable[..., Tensor], parts: dict[str, nn.Module]
) -> None:
    (layer,) = seen(Of(function, fc=nn.Linear(4, 6), **parts), torch.randn(STEPS, POINTS, 4)).values()
    assert layer.shape == (POINTS, 6, STEPS)


def test_before_a_module_that_has_the_batch_second_the_points_have_to_be_named() -> None:
    model = Of(lambda m, x: m.rnn(F.relu(m.fc(x)))[0], fc=nn.Linear(4, 6), rnn=nn.LSTM(6, 2))
    with pytest.raises(SettingError, match="say point_axis=0"):
        seen(model, torch.randn(STEPS, POINTS, 4))
    (layer,) = seen(model, torch.randn(STEPS, POINTS, 4), point_axis=1).values()
    assert layer.shape == (POINTS, 6, STEPS)


@pytest.mark.parametrize(
    ("function", "parts", "shape"),
    [
        (lambda m, x: F.relu(m.weight @ x), {"weight": nn.Parameter(torch.randn(6, 4))}, (4, POINTS)),
        (lambda m, x: F.relu(m.fc(x).T), {"fc": nn.Linear(4, 6)}, (POINTS, 4)),
        (lambda m, x: F.relu(m.fc(x).t()), {"fc": nn.Linear(4, 6)}, (POINTS, 4)),
        (lambda m, x: F.relu(m.fc(x).mT), {"fc": nn.Linear(4, 6)}, (POINTS, STEPS, 4)),
        (lambda m, x: F.relu(m.conv(x) @ torch.eye(STEPS)), {"conv": nn.Conv1d(4, 6, 1)}, (POINTS, 4, STEPS)),
        (lambda m, x: F.relu(F.glu(m.conv(x), 1)), {"conv": nn.Conv1d(4, 12, 1)}, (POINTS, 4, STEPS)),
        (
            lambda m, x: F.relu(torch.movedim(m.fc(x), destination=1, source=-1)),
            {"fc": nn.Linear(4, 6)},
            (POINTS, 3, STEPS, 4),
        ),
        (lambda m, x: torch.ops.aten.relu.default(m.fc(x)), {"fc": nn.Linear(4, 6)}, (POINTS, 4)),
    ],
)
def test_units_are_followed_through_products_and_transpositions(
    function: Callable[..., Tensor], parts: dict[str, Any], shape: tuple[int, ...]
) -> None:
    (layer,) = seen(Of(function, **parts), torch.randn(*shape)).values()
    assert layer.shape[:2] == (POINTS, 6)


@pytest.mark.parametrize(
    ("function", "parts", "shape"),
    [
        (lambda m, x: F.relu(m.conv(x)), {"conv": nn.Conv1d(4, 6, 1)}, (4, STEPS)),
        (lambda m, x: F.relu(m.conv(x)[:, 0]), {"conv": nn.Conv1d(4, 6, 1)}, (POINTS, 4, STEPS)),
        (lambda m, x: F.relu(m.conv(x).mean(1)), {"conv": nn.Conv1d(4, 6, 1)}, (POINTS, 4, STEPS)),
        (lambda m, x: F.relu(m.conv(x).squeeze()), {"conv": nn.Conv1d(4, 6, 1)}, (1, 4, STEPS)),
        (lambda m, x: F.relu(m.norm(m.fc(x))), {"fc": nn.Linear(4, 6), "norm": nn.BatchNorm1d(STEPS)}, (7, STEPS, 4)),
    ],
)
def test_matrices_that_have_no_units_on_their_last_axis_are_refused(
    function: Callable[..., Tensor], parts: dict[str, Any], shape: tuple[int, ...]
) -> None:
    with pytest.raises(SettingError, match="which axis has the units"):
        seen(Of(function, **parts), torch.randn(*shape))


def test_weights_and_numbers_of_tokens_are_no_layers() -> None:
    model = Of(
        lambda m, x: F.relu(m.fc(m.table((x - 3).clamp(min=0))) @ F.relu(m.weight)),
        table=nn.Embedding(9, 4),
        fc=nn.Linear(4, 4),
        weight=nn.Parameter(torch.randn(4, 6)),
    )
    assert list(seen(model, torch.randint(0, 9, (POINTS, STEPS)))) == ["relu"]


@pytest.mark.parametrize(
    ("x", "named"),
    [
        (torch.randn(3, 4, dtype=torch.complex64), "complex64"),
        (torch.randn(3, 4).to_sparse(), "sparse"),
        (torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=torch.jagged), "nested"),
        (torch.randn(0, 4), "nothing"),
    ],
)
def test_tensors_that_are_no_pre_activations_are_refused_in_one_line(x: Tensor, named: str) -> None:
    with pytest.raises(SettingError, match=named) as caught:
        seen(nn.Sequential(nn.Tanh()), x, functions="tanh")
    assert "\n" not in str(caught.value)


def test_with_the_batch_second_a_head_on_one_step_has_its_points_first() -> None:
    model = Of(lambda m, x: F.relu(m.fc(m.rnn(x)[0][-1])), rnn=nn.LSTM(4, 4), fc=nn.Linear(4, 6), batch_first=False)
    (layer,) = seen(model, torch.randn(STEPS, POINTS, 4)).values()
    assert layer.shape == (POINTS, 6)


def test_a_derivative_that_goes_into_the_loss_does_not_make_its_pass_a_trained_one(watched: Watched) -> None:
    model, penalty = watched
    x = torch.randn(20, 2, requires_grad=True)
    torch.autograd.grad(model(x).sum(), x, create_graph=True)
    model(torch.randn(4, 2))
    with pytest.raises(SettingError, match="2 forward passes"):
        penalty()


def test_two_threads_at_once_are_refused_and_the_first_one_is_not_disturbed() -> None:
    entered, may_go, refused = threading.Event(), threading.Event(), []

    def waiting(_: nn.Module, x: Tensor) -> Tensor:
        if threading.current_thread() is threading.main_thread():
            entered.set()
            assert may_go.wait(30)
        return x

    first = nn.Linear(2, 4)
    model = nn.Sequential(first, nn.ReLU(), Of(waiting), nn.Linear(4, 4), nn.ReLU())
    penalty = SeparationPenalty("UP").watch(model)

    def other() -> None:
        assert entered.wait(30)
        try:
            model(torch.randn(3, 2))
        except SettingError as error:
            refused.append(str(error))
        finally:
            may_go.set()

    thread = threading.Thread(target=other)
    thread.start()
    x = torch.randn(20, 2)
    model(x)
    thread.join()
    assert ["two threads" in message for message in refused] == [True]
    found = penalty().item()
    penalty.remove()
    layers = [first(x), model[3](torch.relu(first(x)))]
    assert found == pytest.approx(by_formula(layers), rel=1e-5)


def test_a_function_that_calls_parts_and_activations_has_no_penalty() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    penalty = SeparationPenalty("UP").watch(model)
    model[1](torch.relu(model[0](torch.randn(20, 2))))
    with pytest.raises(SettingError, match="calls relu itself"):
        penalty()


def test_a_leaf_that_is_watched_gets_no_hooks() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    penalty = SeparationPenalty("UP").watch(model)
    x = torch.randn(20, 4, requires_grad=True)
    for _ in range(3):
        model(x)
        penalty().backward()
    assert not x._backward_hooks
