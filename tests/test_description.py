"""What cells share is made once, and each cell's key and description are what they would be of that cell alone."""

import copy
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from jumpstart_exp.cell import NUMERICS, SCHEMA_VERSION, Cell, fields_of
from jumpstart_exp.engines import ENGINES, once_for_all_seeds
from jumpstart_exp.engines.capabilities import SUPPORTED
from jumpstart_exp.engines.stacked.paths import is_padded
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec

CONFIGS = [json.loads(line)["cell"] for line in (Path(__file__).parent / "keys.jsonl").read_text().splitlines()]


def key_by_hand(cell: Cell) -> str:
    """SHA-256 of the canonical JSON of all that acts and is not neutral, put together for this cell alone."""
    fields, unkeyed = fields_of(cell.dataset.name), {f"dataset.{name}" for name in cell.dataset.unkeyed}
    acting = {
        name: value
        for name, value in cell.description().items()
        if value is not None and name not in unkeyed and (name == "dataset" or value != fields[name].neutral)
    }
    document = {"schema": SCHEMA_VERSION, "numerics": NUMERICS, "cell": acting}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def test_keys_and_descriptions_are_those_of_each_cell_alone() -> None:
    """Shapes and seeds in one order and in the other, so that whatever is shared was made by another cell."""
    known: dict[str, tuple[str, dict[str, Any]]] = {}
    for order in (1, -1):
        for config in CONFIGS[::3][::order]:
            for depth, width, seed in [(1, 2, 0), (3, 5, 2**32 - 1), (12, 4, 7)][::order]:
                try:
                    cell = Cell.from_config({**config, "depth": depth, "width": width, "seed": seed}, "any")
                except SettingError:  # the network is too small for what is asked of it
                    continue
                assert cell.key == key_by_hand(cell)
                told = json.dumps([config, depth, width, seed])
                assert known.setdefault(told, (cell.key, cell.description())) == (cell.key, cell.description())
    assert len(known) > 200


def test_a_description_is_the_callers_own() -> None:
    cell = Cell()
    cell.description()["network.norm"] = "changed"
    assert Cell(seed=1).description()["network.norm"] == "none"


def test_parts_with_equal_settings_are_one_and_others_are_not_taken_for_them() -> None:
    one, other = (Cell.from_config({"optimizer": {"lr": lr, "row_layers": [1]}}, "any") for lr in (1, 1))
    assert one.optimizer is other.optimizer and type(one.optimizer.lr) is float
    assert Cell.from_config({"optimizer": {"lr": 1.0, "row_layers": (1,)}}, "any").key == one.key
    for wrong in (True, "1", None):
        with pytest.raises(SettingError, match=r"optimizer\.lr="):
            Cell.from_config({"optimizer": {"lr": wrong, "row_layers": [1]}}, "any")
    for layers in ([True], [], [1, 1], {"a": 1}, object()):
        for _ in range(2):
            with pytest.raises(SettingError, match=r"optimizer\.row_layers="):
                Cell.from_config({"optimizer": {"lr": 1, "row_penalty": 1.0, "row_layers": layers}}, "any")
    with pytest.raises(SettingError, match=r"optimizer\.rate is not a setting"):
        Cell.from_config({"optimizer": {"rate": 1}}, "any")


def test_a_list_that_is_changed_afterwards_changes_no_cell() -> None:
    layers = [1, 2]
    config = {"depth": 3, "optimizer": {"row_penalty": 0.25, "row_layers": layers}}
    before = Cell.from_config(config, "any")
    layers.append(3)
    assert before.optimizer.row_layers == (1, 2)
    assert Cell.from_config(config, "any").optimizer.row_layers == (1, 2, 3)


def test_what_is_shared_does_not_travel() -> None:
    cell = Cell(depth=3)
    alone = len(pickle.dumps(cell))
    assert cell.key and cell.described is Cell(depth=4).described
    assert len(pickle.dumps(cell)) < alone + 100
    for copied in (pickle.loads(pickle.dumps(cell)), copy.deepcopy(cell)):
        assert copied == cell and copied.key == cell.key and copied.described is cell.described


@pytest.mark.parametrize("depths", [(2, 10), (10, 2)])
def test_whether_a_skip_acts_is_looked_at_for_each_depth(depths: tuple[int, int]) -> None:
    """With 2 layers there is no block of 3 to go over: the padded matrices, which have no skips, train that alone."""
    network = NetworkSpec(skip_every=3, sigmoid_gamma=float(depths[0]))  # one description for each order
    cells = {depth: Cell(depth=depth, network=network) for depth in depths}
    assert {depth: is_padded(cell) for depth, cell in cells.items()} == {2: True, 10: False}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_says_the_same_for_every_seed(engine: str) -> None:
    """As `once_for_all_seeds` takes for granted."""
    own, asked = ENGINES[engine], []
    seeds = [Cell(seed=seed) for seed in (0, 1, 2**32 - 1)]
    for of in (own.refuses, own.fleet_group, own.estimate_seconds, own.estimate_memory_bytes):
        assert len({of(cell) for cell in seeds}) == 1
    assert all(seed in SUPPORTED[engine]["seed"] for seed in (0, 2**32 - 1))
    shapes = [Cell(depth=depth, width=width, seed=seed) for seed in range(5) for depth, width in [(2, 3), (3, 2)]]
    answers = [*map(once_for_all_seeds(lambda cell: asked.append(cell) or cell.depth), shapes)]
    assert answers == [2, 3] * 5 and asked == shapes[:2]
