"""Commands that train stored cells again: composed here anew, from their words."""

import dataclasses
import shlex
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from page_stores import HOSTILE_LABEL

from jumpstart_exp.cell import NUMERICS, Cell
from jumpstart_exp.config.schema import conf_dir, plain_config, register_schema, split_config
from jumpstart_exp.report.page.reproduce import PROGRAM, commands

UP = {"kind": "UP"}
KERAS = {"eps": 1e-7, "eps_rule": "keras", "shuffle": False}
CODE = {**UP, "aggregate": "sum_sq", "scope": "position", "ties": "shared"}
CIFAR: dict[str, Any] = {
    "dataset": {"name": "cifar10", "n_train": 2048},
    "network": {"layout": "cnn", "head": "max_avg_pool", "init": "kaiming_uniform"},
    "optimizer": {"epochs": 8, "batch_size": 64, "lr": 0.001},
    "penalty": {"kind": "UP", "aggregate": "l2", "weight": 1e-3},
}
ZERO: dict[str, Any] = {
    "penalty": {"kind": "UP", "balance": 0.51},
    "network": {"init": "zero"},
    "dropout": {"rate": 0.9, "anneal_epochs": 1000},
}
CELLS: list[tuple[str, dict[str, Any], str]] = [
    ("sep_up", {"penalty": UP}, "method=sep_up depth=7 width=3 seed=5"),
    ("relu", {"penalty": {"kind": "none"}}, "method=relu depth=7 width=3 seed=5"),
    (
        "sep_up",
        {"penalty": CODE, "network": {"layout": "conv2x1"}, "optimizer": KERAS},
        "variant=code method=sep_up depth=7 width=3 seed=5",
    ),
    ("sep_up", {"penalty": UP, "optimizer": {"lr": 0.003}}, "method=sep_up depth=7 width=3 seed=5 optimizer.lr=0.003"),
    ("zero_init", ZERO, "method=zero_init depth=7 width=3 seed=5"),
    (
        "sep_l",
        {"penalty": {"kind": "L", "layer_weights": [1.0, 2.0, 0.5, 1.0, 1.0, 1.0, 3.0]}},
        "method=sep_l depth=7 width=3 seed=5 'penalty.layer_weights=[1.0,2.0,0.5,1.0,1.0,1.0,3.0]'",
    ),
    (
        "sep_up_l2_1e-3",
        CIFAR,
        "dataset=cifar10 method=sep_up_l2_1e-3 depth=7 width=3 seed=5 dataset.n_train=2048 optimizer.epochs=8 "
        "optimizer.batch_size=64",
    ),
    ("sep_up", {"penalty": UP, "task_loss": False}, "method=sep_up depth=7 width=3 seed=5 task_loss=false"),
    (
        "sep_up",
        {"penalty": {**UP, "aggregate": "sum_sq", "ties": "shared"}, "network": {"init": "glorot_uniform_2x1"}}
        | {"optimizer": KERAS},
        "variant=code method=sep_up depth=7 width=3 seed=5 network.layout=mlp network.init=glorot_uniform_2x1",
    ),
    (HOSTILE_LABEL, {"penalty": {"kind": "U"}}, "method=sep_u depth=7 width=3 seed=5"),
]


def row(of: Cell) -> dict[str, Any]:
    return {"key": of.key, "numerics": NUMERICS, "method": of.method, **of.description()}


def cell(method: str, config: dict[str, Any], depth: int = 7) -> Cell:
    return Cell.from_config({"depth": depth, "width": 3, "seed": 5, **config}, method)


def test_commands_are_short_and_give_the_stored_key() -> None:
    cells = [cell(method, config) for method, config, _ in CELLS]
    found, which = commands(pd.DataFrame([row(of) for of in cells]))
    register_schema()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        for of, number, (_, _, words) in zip(cells, which, CELLS, strict=True):
            command = f"{found[number].before} depth={of.depth} width={of.width} seed={of.seed}{found[number].after}"
            assert command == f"{PROGRAM} {words}"
            overrides = shlex.split(command.removeprefix(PROGRAM))
            composed, _ = split_config(plain_config(compose("config", overrides)))
            assert Cell.from_config(composed, "any").key == of.key


def test_cells_that_differ_in_depth_width_and_seed_share_a_command() -> None:
    cells = [cell("sep_up", {"penalty": UP}, depth) for depth in (1, 2, 3)]
    cells.append(dataclasses.replace(cells[0], width=9, seed=1))
    found, which = commands(pd.DataFrame([row(of) for of in cells]))
    assert len(found) == 1 and which.tolist() == [0] * 4


def test_what_no_command_gives_has_a_reason() -> None:
    of = cell("sep_up", {"penalty": UP})
    older = {**row(of), "numerics": NUMERICS - 1}
    altered = {**row(of), "key": "0" * 32, "optimizer.lr": 0.5}
    unknown = {**row(of), "optimizer.lr": -1.0}
    found, which = commands(pd.DataFrame([older, altered, unknown]))
    assert [found[number].before for number in which] == [""] * 3
    assert "numerics" in found[which[0]].reason and not found[which[0]].verifies
    assert "this key" in found[which[1]].reason and "this key" in found[which[2]].reason


def test_an_empty_table_has_no_commands() -> None:
    found, which = commands(pd.DataFrame({"key": [], "method": []}))
    assert not found and not len(which)
