"""Functions of users' own: found, part of the key, the same as written by hand, and what is said where they fail."""

import dataclasses
import importlib
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.sources import with_sources
from jumpstart_exp.data.loading import load
from jumpstart_exp.engines import choose_engines
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.stacked import vectorising
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.inspect.recorded_states import cell_of
from jumpstart_exp.networks.build import build
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.result import Result
from jumpstart_exp.settings import SettingError, is_function_name
from jumpstart_exp.store import Store
from jumpstart_exp.user_functions import UserFunction, UserFunctionError, source_of

IDEAS = """
import torch


def squared_mean(pre_activations, parameters, scale=1.0):
    return scale * torch.stack([pre.mean(0).square().mean() for pre in pre_activations]).mean()


def weight_norm(pre_activations, parameters):
    return sum(value.square().sum() for name, value in parameters.items() if name.endswith("weight"))


def snake(x):
    return x + torch.sin(x) ** 2


def tiny(shape, fan_in, fan_out, generator, layer):
    return (0.1 + layer) / fan_in * generator.standard_normal(shape)


def picky(pre_activations, parameters):
    return sum(pre.abs().mean() for pre in pre_activations if pre.mean() > -100)


def broken(pre_activations, parameters):
    raise ZeroDivisionError("on purpose")


def vector(pre_activations, parameters):
    return pre_activations[0].mean(0)


def number(pre_activations, parameters):
    return 3.0


def constant(pre_activations, parameters):
    return torch.ones(())


def infinite(pre_activations, parameters):
    return pre_activations[0].mean() * float("inf")


def halves(x):
    return x[:, : x.shape[1] // 2]


def small(shape, fan_in, fan_out, generator, layer):
    return generator.standard_normal(3)


def in_place(x):
    return x.clamp_(min=0)


def double(x):
    return x.to(torch.float32)


def centred(x):
    return torch.tanh(x - x.mean(0))


def noisy(pre_activations, parameters):
    return (pre_activations[0] * torch.randn(4)).mean()


def drawn(shape, fan_in, fan_out, generator, layer):
    import numpy

    return numpy.random.randn(*shape)
"""

SMALL = {"n_samples": 24, "noise": 0.1, "random_state": 1}


@pytest.fixture(autouse=True)
def ideas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with the user's file in it."""
    path = tmp_path / "my_ideas.py"
    path.write_text(IDEAS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]
    vectorising._reasons.clear()


def make_cell(*, found: bool = True, **config: Any) -> Cell:
    config = {"dataset": SMALL, "precision": "float64", "depth": 3, "width": 4, **config}
    optimizer = {"epochs": 6, "lr": 0.02, **config.pop("optimizer", {})}
    cell = Cell.from_config({**config, "optimizer": optimizer}, "mine")
    return with_sources([cell])[0] if found else cell


def with_regulariser(function: str, weight: float = 0.5, **config: Any) -> Cell:
    own = {"function": f"my_ideas:{function}", "weight": weight, **config.pop("regulariser", {})}
    return make_cell(regulariser=own, **config)


def train(engine: EagerEngine | StackedEngine, cells: Sequence[Cell]) -> list[Result]:
    found: dict[str, Result] = {}
    data = load(cells[0].dataset, Path())
    engine.train(
        cells,
        data,
        on_result=lambda result: found.__setitem__(result.cell.key, result),
        on_progress=lambda cell, epochs: None,
    )
    return [found[cell.key] for cell in cells]


def by_hand(cell: Cell, term: Any, activation: Any, weights: Sequence[Tensor] | None = None) -> list[float]:
    """The task's loss of every epoch, by a loop over plain tensors and torch's Adam."""
    data = load(cell.dataset, Path())
    parameters = [value.detach().clone() for value in build(cell).parameters()] if weights is None else list(weights)
    for parameter in parameters:
        parameter.requires_grad_()
    adam = torch.optim.Adam(parameters, cell.optimizer.lr)
    losses = []
    for _ in range(cell.optimizer.epochs):
        h, pre_activations = data.x_train, []
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            pre_activations.append(h @ weight.T + bias)
            h = activation(pre_activations[-1])
        outputs = h @ parameters[-2].T + parameters[-1]
        loss = F.binary_cross_entropy_with_logits(outputs[:, 0], data.y_train.double())
        losses.append(loss.item())
        adam.zero_grad()
        (loss + term(pre_activations, parameters)).backward()
        adam.step()
    return losses


def squared_mean(pre_activations: Sequence[Tensor], parameters: object) -> Tensor:
    total = sum((g.sum(0) / len(g)) @ (g.sum(0) / len(g)) / g.shape[1] for g in pre_activations)
    return 0.5 * 2 * total / len(pre_activations)  # weight, scale


@pytest.mark.parametrize("engine", [EagerEngine, StackedEngine])
def test_a_regulariser_and_an_activation_are_what_is_written_by_hand(engine: Any) -> None:
    mates = [
        with_regulariser("squared_mean", seed=seed, regulariser={"settings": {"scale": 2}}, **network)
        for network in ({}, {"network": {"activation": "my_ideas:snake"}})
        for seed in (1, 2, 3)
    ]
    activations = [torch.relu] * 3 + [lambda x: x + torch.sin(x) ** 2] * 3
    for part in (slice(0, 3), slice(3, 6)):
        results = train(engine(curve_every=1), mates[part])
        for cell, result, activation in zip(mates[part], results, activations[part], strict=True):
            losses = [row.train_loss for row in result.curve]
            assert losses == pytest.approx(by_hand(cell, squared_mean, activation), rel=1e-9)


@pytest.mark.parametrize("engine", [EagerEngine, StackedEngine])
def test_parameters_are_handed_over_by_name_and_a_penalty_stays_beside(engine: Any) -> None:
    """The weights' norm; the separation penalty's columns are its own."""
    alone = with_regulariser("weight_norm", 0.01)
    (result,) = train(engine(curve_every=1), [alone])
    expected = by_hand(alone, lambda _, own: 0.01 * sum(value.square().sum() for value in own[::2]), torch.relu)
    assert [row.train_loss for row in result.curve] == pytest.approx(expected, rel=1e-9)
    assert result.penalty_last is None
    penalised, both = make_cell(penalty={"kind": "UP"}), with_regulariser("weight_norm", penalty={"kind": "UP"})
    (plain,), (with_both,) = (train(engine(curve_every=1), [cell]) for cell in (penalised, both))
    assert with_both.penalty_start == plain.penalty_start
    assert with_both.penalty_last != plain.penalty_last


def test_an_initialisation_is_what_is_written_by_hand() -> None:
    cell = make_cell(network={"init": "my_ideas:tiny"}, seed=7)
    shapes = [(4, 2), (4, 4), (4, 4), (1, 4)]
    network = build(cell)
    for layer, shape in enumerate(shapes):
        generator = np.random.Generator(np.random.Philox(key=np.array([7, layer], dtype=np.uint64)))
        expected = (0.1 + layer) / shape[1] * generator.standard_normal(shape)
        own = network.output if layer == 3 else network.hidden[layer]
        assert np.array_equal(own.weight.detach().numpy(), expected)
        assert not own.bias.any()
    one, other = (train(engine(), [cell])[0] for engine in (EagerEngine, StackedEngine))
    assert one.train_loss.last == pytest.approx(other.train_loss.last, rel=1e-9)


def test_edited_code_is_another_cell(ideas: Path) -> None:
    cell = with_regulariser("squared_mean")
    plain = make_cell()
    assert plain.key == make_cell(found=False).key != cell.key
    assert with_regulariser("squared_mean").key == cell.key
    others = [
        with_regulariser("weight_norm"),
        with_regulariser("squared_mean", 0.4),
        with_regulariser("squared_mean", regulariser={"settings": {"scale": 2}}),
    ]
    ideas.write_text(IDEAS + "\n# the same, to anybody but a hash\n")
    others.append(with_regulariser("squared_mean"))
    assert len({cell.key, *(other.key for other in others)}) == 5
    assert with_regulariser("squared_mean", 0.0).key == plain.key, "it does nothing"


def test_what_runs_is_the_source_that_is_in_the_key(ideas: Path) -> None:
    """An edit in the same second, of the same length, in a process that has imported the module."""
    sys.path.insert(0, str(ideas.parent))
    try:
        importlib.import_module("my_ideas")
    finally:
        sys.path.remove(str(ideas.parent))
    pre = [torch.ones(2, 2)]
    one = with_regulariser("squared_mean").regulariser
    ideas.write_text(IDEAS.replace("scale=1.0", "scale=3.0"))
    other = with_regulariser("squared_mean").regulariser
    first, second = (UserFunction("regulariser.function", "my_ideas:squared_mean", own.source) for own in (one, other))
    assert (first(pre, {}).item(), second(pre, {}).item()) == (1.0, 3.0)


def test_a_worker_that_finds_another_source_refuses(ideas: Path) -> None:
    planned = dataclasses.replace(
        with_regulariser("squared_mean"),
        regulariser=dataclasses.replace(with_regulariser("squared_mean").regulariser, source="sha256-0123456789abcdef"),
    )
    (result,) = train(EagerEngine(), [planned])
    assert result.status == "failed"
    assert result.error is not None and "my_ideas.py was changed since the cell was planned" in result.error
    with pytest.raises(SettingError, match=r"regulariser\.source='sha256-0123456789abcdef' is not allowed"):
        with_contents([planned], Path())


def test_a_cell_has_no_key_before_its_source_is_read() -> None:
    cell = make_cell(found=False, network={"activation": "my_ideas:snake"})
    with pytest.raises(ValueError, match=r"network\.activation=my_ideas:snake has no key"):
        assert cell.key
    with pytest.raises(UserFunctionError, match="does not say which source"):
        build(cell)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_idea:snake", "no my_idea.py: it was looked for in {folder}, then where Python finds modules"),
        ("my_ideas:snaky", "a function that the module my_ideas has (it has no snaky)"),
        ("my_ideas:torch", "a function (torch is a module)"),
        ("my_broken:snake", "a module that can be imported (SyntaxError"),
        ("my_package.inner:snake", "ModuleNotFoundError: No module named 'my_package'"),
        ("__main__:snake", "a function of a module in a file"),
        ("sys:exit", "sys is no Python file"),
    ],
)
def test_what_is_not_found_is_said_in_a_line(name: str, words: str, ideas: Path) -> None:
    (ideas.parent / "my_broken.py").write_text("def snake(x)\n")
    with pytest.raises(SettingError) as caught:
        make_cell(network={"activation": name})
    assert str(caught.value).startswith(f"network.activation='{name}' is not allowed: ")
    assert words.format(folder=ideas.parent) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["snake", "my_ideas:", ":snake", "a b:c", "my_ideas:1", "a:b:c", "my-ideas:x", "a:if"])
def test_what_is_no_name_is_refused_with_the_choices(text: str) -> None:
    assert not is_function_name(text)
    with pytest.raises(SettingError, match=r"network\.activation=.* must be one of relu, .* or a function of yours"):
        make_cell(network={"activation": text})
    with pytest.raises(SettingError, match=r"regulariser\.function=.* must be a function of yours as module:name"):
        make_cell(regulariser={"function": text})


def test_functions_of_packages_and_folders_are_found(ideas: Path) -> None:
    (ideas.parent / "my_package").mkdir()
    (ideas.parent / "my_package" / "__init__.py").write_text("")
    (ideas.parent / "my_package" / "inner.py").write_text("from my_package import other\nsnake = other.snake\n")
    (ideas.parent / "my_package" / "other.py").write_text("def snake(x):\n    return x * 2\n")
    cells = [make_cell(network={"activation": name}) for name in ("my_package.inner:snake", "torch.nn.functional:mish")]
    assert all(result.status == "done" for cell in cells for result in train(StackedEngine(), [cell]))
    installed = sys.modules["torch.nn.functional"]
    assert source_of("network.activation", "torch.nn.functional:mish") == cells[1].network.activation_source
    assert sys.modules["torch.nn.functional"] is installed


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"scale": 2, "a": [1, "x", None]}, '{"a":[1,"x",null],"scale":2}'),
        ('{"scale": 2}', '{"scale":2}'),
        ({}, None),
        (None, None),
    ],
)
def test_settings_are_kept_as_json(settings: Any, kept: str | None) -> None:
    cell = with_regulariser("squared_mean", regulariser={"settings": settings})
    assert cell.regulariser.settings == kept


@pytest.mark.parametrize("settings", [3, "scale", "[1]", {"a b": 1}, {1: 2}, {"a": float("nan")}, {"a": {3}}])
def test_settings_that_are_none_are_refused(settings: Any) -> None:
    with pytest.raises(SettingError, match=r"regulariser\.settings=.* names with values"):
        with_regulariser("squared_mean", regulariser={"settings": settings})


@pytest.mark.parametrize("engine", [EagerEngine, StackedEngine])
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"function": "broken"}, "regulariser.function=my_ideas:broken raised ZeroDivisionError: on purpose"),
        ({"function": "vector"}, "regulariser.function=my_ideas:vector gives torch.float64 numbers of shape (4,)"),
        ({"function": "number"}, "regulariser.function=my_ideas:number gives a float, not a tensor"),
        ({"function": "constant"}, "regulariser.function=my_ideas:constant gives a number without a gradient"),
        (
            {"function": "squared_mean", "regulariser": {"settings": {"scalee": 2}}},
            "regulariser.function=my_ideas:squared_mean raised TypeError: squared_mean() got an unexpected keyword",
        ),
        ({"activation": "halves"}, "network.activation=my_ideas:halves gives torch.float64 numbers of shape (20, 2)"),
        ({"activation": "double"}, "network.activation=my_ideas:double gives torch.float32 numbers of shape (20, 4)"),
        ({"activation": "in_place"}, "network.activation=my_ideas:in_place changes in place what it is given"),
        ({"activation": "centred"}, "network.activation=my_ideas:centred gives a point other values beside other"),
        ({"init": "small"}, "network.init=my_ideas:small gives weights of shape (3,), not of (4, 2)"),
    ],
    ids=str,
)
def test_what_fails_is_named_with_its_traceback(engine: Any, config: dict[str, Any], words: str) -> None:
    own = dict(config)
    if function := own.pop("function", None):
        cell = with_regulariser(function, **own)
    else:
        cell = make_cell(network={name: f"my_ideas:{value}" for name, value in own.items()})
    assert engine.refuses(cell) is None, "it fails wherever it is trained"
    (result,) = train(engine(), [cell])
    assert result.status == "failed"
    assert result.error is not None and result.error.startswith(f"UserFunctionError: {words}")
    if function == "broken":
        assert result.traceback is not None
        assert 'raise ZeroDivisionError("on purpose")' in result.traceback and "my_ideas.py" in result.traceback


def test_what_draws_from_a_shared_generator_is_refused() -> None:
    cell = with_regulariser("noisy")
    (choice,) = choose_engines("auto", "cpu", [cell])
    assert choice.engine is EagerEngine, "torch.func takes no draws"
    (result,) = train(EagerEngine(), [cell])
    assert result.error is not None and "my_ideas:noisy draws from torch's global generator" in result.error
    with pytest.raises(UserFunctionError, match=r"network\.init=my_ideas:drawn draws from NumPy's global generator"):
        build(make_cell(network={"init": "my_ideas:drawn"}))


@pytest.mark.parametrize("engine", [EagerEngine, StackedEngine])
def test_a_term_that_is_not_finite_is_a_divergence(engine: Any) -> None:
    (result,) = train(engine(), [with_regulariser("infinite")])
    assert (result.status, result.diverged_epoch) == ("diverged", 1)


def test_who_takes_what() -> None:
    cells = [with_regulariser("squared_mean"), with_regulariser("picky"), make_cell()]
    assert "regulariser.function='my_ideas:squared_mean'" in (unsupported("native", cells[0]) or "")
    for name in ("activation", "init"):
        told = unsupported(
            "native", make_cell(network={name: {"activation": "my_ideas:snake", "init": "my_ideas:tiny"}[name]})
        )
        assert told is not None and f"network.{name}='my_ideas:" in told
    stacked, eager, _ = choose_engines("auto", "cpu", cells)
    assert (stacked.engine, eager.engine) == (StackedEngine, EagerEngine)
    assert "the engine stacked cannot vectorise regulariser.function=my_ideas:picky: RuntimeError" in eager.passed_over
    with pytest.raises(SettingError, match="cannot vectorise regulariser"):
        choose_engines("stacked", "cpu", cells[1:2])
    assert train(EagerEngine(), cells[1:2])[0].status == "done"


def test_channels_have_their_positions() -> None:
    cell = with_regulariser("squared_mean", network={"layout": "conv2x1"})
    one, other = (train(engine(), [cell])[0] for engine in (EagerEngine, StackedEngine))
    assert one.train_loss.last == pytest.approx(other.train_loss.last, rel=1e-9)


def test_a_row_of_the_store_is_the_same_cell(tmp_path: Path) -> None:
    own = {"activation": "my_ideas:snake", "init": "my_ideas:tiny"}
    cell = with_regulariser("squared_mean", regulariser={"settings": {"scale": 2}}, network=own)
    store = Store(tmp_path / "results")
    store.write(train(StackedEngine(), [cell]))
    assert store.left_out == 0
    row = store.row(cell.key)
    assert row["regulariser.settings"] == '{"scale":2}'
    assert row["network.activation_source"] == row["regulariser.source"] == cell.regulariser.source
    again = cell_of({name: row[name] for name in cell.description() if not pd.isna(row[name])}, "mine")
    assert again.key == cell.key


def test_the_example_of_the_documents(tmp_path: Path, command: Any, ideas: Path) -> None:
    """The page's file, its method and its commands, but for the epochs: a figure has the method beside the papers'."""
    page = (Path(__file__).parent.parent / "docs" / "own_functions.md").read_text(encoding="utf-8")
    python, method, commands, *_ = re.findall(r"```.*?\n(.*?)```", page, re.DOTALL)
    regulariser, _, _ = python.partition("def snake")
    assert len([line for line in regulariser.splitlines() if line]) <= 5
    ideas.write_text(python)
    (tmp_path / "my_conf" / "method").mkdir(parents=True)
    (tmp_path / "my_conf" / "method" / "squared_mean.yaml").write_text(method)
    for line in commands.splitlines():
        module, *arguments = shlex.split(line.removeprefix("python -m "))
        fewer = [word.replace("epochs=300", "epochs=20") for word in arguments]
        done = command(*fewer, module=module)
        assert done.returncode == 0, done.stderr
    cells = Store(tmp_path / "results").cells()
    assert cells.groupby("method").size().to_dict() == {"relu": 20, "sep_up": 20, "squared_mean": 20}
    assert set(cells[cells["method"] == "squared_mean"]["engine"]) == {"stacked"}
    assert [set(grid.methods) for grid in figure_grids(cells)] == [{"relu", "sep_up", "squared_mean"}]
    assert list((tmp_path / "results" / "figures").rglob("*.png"))
