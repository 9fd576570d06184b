"""Which engine trains a cell, and what is said about it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines import Choice, choice, choose_engines, passed_over_lines
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec

FULL, WIDE = Cell(width=4), Cell(width=100)
BATCHES = Cell(optimizer=OptimizerSpec(batch_size=7))


class Slow:
    name = "slow"
    devices: tuple[str, ...] = ("cpu", "cuda")

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        return None

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        return cell.width


class Stack(Slow):
    name = "stack"

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        return "stack trains full batches only" if cell.optimizer.batch_size else None


class Fast(Slow):
    name = "fast"
    devices = ("cpu",)

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        if cell.optimizer.batch_size:
            return "fast trains full batches only"
        return "fast trains up to width 50" if cell.width > 50 else None


class NotBuilt(Fast):
    @staticmethod
    def refuses(cell: Cell) -> str | None:
        return "the fast engine is not built (no compiler was found)"


@pytest.fixture(autouse=True)
def three_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "ENGINES", {"slow": Slow, "stack": Stack, "fast": Fast})


@pytest.fixture(params=[False, True], ids=["no GPU", "GPU"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    there: bool = request.param
    monkeypatch.setattr(choice, "_has_cuda", lambda: there)
    return there


def lines(device: str, *cells: Cell) -> list[str]:
    return passed_over_lines(choose_engines("auto", device, cells), cells, lambda seconds: f"{seconds:g} s")


def chosen(name: str, device: str, cells: Sequence[Cell] = (FULL, WIDE, BATCHES)) -> list[tuple[str, str]]:
    return [(choice.engine.name, choice.device) for choice in choose_engines(name, device, cells)]


def test_auto_takes_the_last_that_can_where_it_runs_best(cuda: bool) -> None:
    other = "cuda" if cuda else "cpu"
    assert chosen("auto", "auto") == [("fast", "cpu"), ("stack", other), ("slow", other)]
    assert chosen("auto", "cpu") == [("fast", "cpu"), ("stack", "cpu"), ("slow", "cpu")]
    assert chosen("slow", "auto") == [("slow", other)] * 3
    assert chosen("slow", "cpu") == [("slow", "cpu")] * 3


def test_a_gpu_that_is_asked_for_leaves_out_what_cannot_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_has_cuda", lambda: True)
    assert chosen("auto", "cuda") == [("stack", "cuda"), ("stack", "cuda"), ("slow", "cuda")]
    assert lines("cuda", FULL) == []
    with pytest.raises(SettingError, match=r"^device='cuda' is not allowed: it must be auto or cpu .*fast"):
        choose_engines("fast", "cuda", [FULL])


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("warp", "auto", r"engine='warp' .* one of auto, slow, stack, fast"),
        ("slow", "cuda", r"device='cuda' .* auto or cpu here"),
        ("fast", "auto", r"engine='fast' .* one that can train every cell \(fast trains up to width 50\)"),
        ("stack", "cpu", r"engine='stack' .* every cell \(stack trains full batches only\)"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    name: str, device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_has_cuda", lambda: False)
    with pytest.raises(SettingError, match=message):
        choose_engines(name, device, [FULL, WIDE, BATCHES])


def test_a_bad_engine_is_refused_even_where_nothing_is_left_to_train() -> None:
    with pytest.raises(SettingError, match="engine='warp'"):
        choose_engines("warp", "auto", [])
    assert choose_engines("fast", "cpu", []) == []


def test_every_reason_to_pass_over_an_engine_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = replace(BATCHES, width=12)
    assert choose_engines("auto", "cpu", [FULL]) == [Choice(Fast, "cpu")]
    assert lines("cpu", BATCHES, FULL, WIDE, FULL, wider) == [
        "2 cells on slow, about 8 s a cell on one core: fast trains full batches only; stack trains full batches only",
        "1 cell on stack, about 100 s a cell on one core: fast trains up to width 50",
    ]
    assert lines("cpu", FULL) == []


def test_an_engine_that_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    all_engines: dict[str, Any] = {"slow": Slow, "stack": Stack, "fast": NotBuilt}
    monkeypatch.setattr(choice, "ENGINES", all_engines)
    assert lines("cpu", FULL, WIDE) == [
        "the fast engine is not built (no compiler was found): training on stack, about 52 s a cell on one core"
    ]
    with pytest.raises(SettingError, match="the fast engine is not built"):
        choose_engines("fast", "auto", [FULL])


@pytest.mark.parametrize(("precision", "least"), [("float32", 1e-30), ("float64", 1e-290)])
def test_an_epsilon_that_counts_as_zero_is_left_to_the_reference(precision: str, least: float) -> None:
    fits = Cell(precision=precision, optimizer=OptimizerSpec(eps=least))
    small = Cell(precision=precision, optimizer=OptimizerSpec(eps=least / 10))
    for engine in (StackedEngine, NativeEngine):
        assert engine.refuses(fits) is None
        assert "no ε below" in (engine.refuses(small) or "")
        without = replace(small, optimizer=OptimizerSpec(name="sgd", eps=least / 10))
        assert engine.refuses(without) is None
        of_norm = Cell(precision=precision, network=NetworkSpec(norm="layer", norm_eps=least / 10))
        assert "no ε below" in (engine.refuses(of_norm) or "")


def test_native_refuses_what_its_indices_do_not_reach() -> None:
    many = Moons(n_samples=40_000_000)
    assert "numbers a layer" in (NativeEngine.refuses(Cell(width=256, dataset=many)) or "")
    assert NativeEngine.refuses(Cell(width=256, dataset=Moons(n_samples=1_000_000))) is None
    with pytest.raises(SettingError, match="threads=0"):
        NativeEngine(threads=0)
