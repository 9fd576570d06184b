"""The keys of 300 cells, as they were before fields gained roles and engines lists: stored results stay valid."""

import json
from pathlib import Path

from jumpstart_exp.cell import Cell

ROWS = [json.loads(line) for line in (Path(__file__).parent / "keys.jsonl").read_text().splitlines()]
"""Of every cell what it does not share with the default, the label of its method, and its key.

Every method × variant × dataset as Hydra composes it, every layout × optimizer × precision, and random ones.
"""


def test_keys_stay() -> None:
    assert len({row["key"] for row in ROWS}) == 300
    changed = [row for row in ROWS if Cell.from_config(row["cell"], row["method"]).key != row["key"]]
    assert not changed
