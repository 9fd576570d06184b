"""The page of the geometry: its code runs as it stands there, and its pictures are there."""

import re
from pathlib import Path

import pytest

from jumpstart_exp import geometry

PAGE = Path(__file__).parents[2] / "docs" / "geometry.md"


def test_the_code_runs_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert len(blocks) >= 9
    printed = capsys.readouterr().out
    assert "5.98896" in printed and "0.75908" in printed and "reproduced" in printed


def test_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"\]\((figures/[^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(pictures) == len(set(pictures)) >= 10
    for picture in pictures:
        assert (PAGE.parent / picture).stat().st_size < 300_000, picture


def test_probes_that_are_named_are_public() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| question | probe |")[2].partition("\n\n")[0]
    assert {*re.findall(r"`(\w+)`", table)} <= {*geometry.__all__}
