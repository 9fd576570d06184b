"""The GPU check, where there is no GPU: what it writes, and what becomes of a part that fails."""

import json
import math
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import gpu_check
from gpu import contract, grid, images, memory
from gpu.device import cell_of
from gpu.findings import Clock, Findings
from gpu.grid import Timed, whole_seconds

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_check.py"


@pytest.mark.soak
def test_a_dry_run_does_every_part_and_says_that_it_was_no_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--dry", "--minutes", "15", "--into", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert found["ok"] and found["dry"] and list(found["parts"]) == list(gpu_check.PARTS)
    assert "CPU" in found["machine"]["device"] and found["machine"]["torch"] == torch.__version__
    for part in found["parts"].values():
        assert not part["on_gpu"] and not part["error"] and (part["checks"] or part["tables"])
    checks = found["parts"]["contract"]["checks"]
    assert len(checks) > 60 and not found["parts"]["contract"]["is_cut"]
    assert any("random" in one["name"] and one["value"] <= 1e-9 for one in checks)
    assert not found["parts"]["memory"]["notes"], "all of it is stored"
    attempts = [row["attempts"] for row in found["parts"]["memory"]["tables"]["Fleets"]]
    assert attempts and all(own >= 2 for own in attempts), "fleets were halved"
    (whole,) = found["parts"]["grid"]["tables"]["Grid"]
    assert whole["networks"] == 7 * 2 * 6 and 0 < whole["steps that were taken"] < 1
    assert any("extrapolated" in note for note in found["parts"]["grid"]["notes"])
    steps = found["parts"]["images"]["tables"]["Steps"]
    assert {row["penalty"] for row in steps} == set(images.WAYS) and all(row["ms a step"] > 0 for row in steps)
    text = (tmp_path / "gpu_check.md").read_text()
    assert "not on a GPU" in text and all(title in text for title, _ in gpu_check.PARTS.values())
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["gpu_check.json", "gpu_check.md"]


def options(**values: Any) -> Namespace:
    usual = {"minutes": 1.0, "only": None, "dry": True, "child": None, "seconds": None, "since": None}
    return Namespace(**{**usual, **values})


def test_a_part_that_fails_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is told in a line, what it had found by then stays, and the rest goes on."""

    def fails(found: Findings, clock: Clock, device: torch.device) -> None:
        found.check("before", 0.0, 1.0)
        raise RuntimeError("CUDA error: an illegal memory access\nmore lines")

    def goes_on(found: Findings, clock: Clock, device: torch.device) -> None:
        found.check("none", math.nan, 1.0)

    monkeypatch.setattr(contract, "run", fails)
    monkeypatch.setattr(memory, "run", goes_on)
    into = tmp_path / "found.json"
    gpu_check.child(options(child=["contract", "memory"], seconds=[5.0, 5.0], into=into))
    found = json.loads(into.read_text())["parts"]
    assert found["contract"]["error"] == "RuntimeError: CUDA error: an illegal memory access"
    assert [one["name"] for one in found["contract"]["checks"]] == ["before"] and not found["contract"]["ok"]
    assert not found["memory"]["error"] and not found["memory"]["ok"], "a number that is none is too much"


def test_a_process_that_dies_is_told_and_what_was_found_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    popen = subprocess.Popen
    dies = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2]); os.kill(os.getpid(), 9)"
    said = {"machine": {"device": "one"}, "parts": {"images": {"title": "Images", "checks": [], "ok": True}}}

    def started(command: list[str], **settings: Any) -> Any:
        return popen([sys.executable, "-c", dies, command[command.index("--into") + 1], json.dumps(said)])

    monkeypatch.setattr(gpu_check.subprocess, "Popen", started)
    assert gpu_check.check(options(only=["images", "processes"], into=tmp_path)) == 1
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert not found["ok"] and found["machine"] == said["machine"]
    assert found["parts"]["images"]["error"] == "its process ended with code -9"
    assert found["parts"]["processes"]["error"] == "it did not begin"
    assert "FAILED" in (tmp_path / "gpu_check.md").read_text() and "FAILED" in capsys.readouterr().out


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(gpu_check.subprocess, "Popen", lambda command, **settings: popen(sleeps))
    monkeypatch.setattr(gpu_check, "GRACE", 0.1)
    assert gpu_check.check(options(only=["grid"], minutes=0.0, into=tmp_path)) == 1
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    assert found["parts"]["grid"]["error"] == "it did not begin"


@pytest.mark.parametrize("part", ["contract", "grid", "images"])
def test_a_part_without_time_for_anything_is_no_part_that_holds(part: str, tmp_path: Path) -> None:
    into = tmp_path / "found.json"
    gpu_check.child(options(child=[part], seconds=[0.0], into=into))
    found = json.loads(into.read_text())["parts"][part]
    assert not found["checks"] and not found["tables"] and found["is_cut"]
    assert not found["ok"] and found["error"] == "nothing of it could be done in its time"


@pytest.mark.parametrize(
    "arguments", [["--minutes", "0"], ["--minutes", "nan"], ["--minutes", "inf"], ["--into", "FILE"]]
)
def test_a_bad_argument_is_told_in_a_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--dry", *(str(file) if of == "FILE" else of for of in arguments)])
    with pytest.raises(SystemExit) as ended:
        sys.exit(gpu_check.main())
    assert ended.value.code == 2 and arguments[0] in capsys.readouterr().err.splitlines()[-1]


def test_without_a_gpu_or_a_package_it_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 2
    assert capsys.readouterr().err == "no CUDA device here: --dry tries the check itself, in small on the CPU\n"
    monkeypatch.setattr(gpu_check, "PACKAGES", ("torch", "no_such_package"))
    assert gpu_check.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no_such_package" in line and "torch" not in line.split("lacks")[1]


def test_the_grid_is_carried_on_to_all_steps_and_by_the_cost_model() -> None:
    """By hand: 100 epochs of a fleet in 2 s are 100 s of 5,000, and 4 s of set-up; three times the cost is 312 s."""
    of_relu = [cell_of("relu", depth=1, width=4, penalty={"kind": "none"})] * 2
    of_sep_up = [cell_of("sep_up", depth=1, width=4, penalty={"kind": "UP"})] * 2
    dropping = {"rate": 0.9, "anneal_epochs": 1000}
    of_zero = [cell_of("zero_init", depth=1, width=4, penalty={"kind": "UP"}, dropout=dropping)] * 2
    relu, sep_up = Timed(of_relu, 1.0, set_up=4.0, epochs=100, seconds=2.0), Timed(of_sep_up, 3.0)
    found = Findings("grid")
    grid._report(found, [relu, sep_up], 1e12, torch.device("cuda"))
    (whole,) = found.tables["Grid"]
    assert whole["seconds"] == pytest.approx(104 + 312)
    assert whole["networks"] == 4 and whole["steps that were taken"] == pytest.approx(200 / 20_000)
    # 17 parameters, 85 points, 6 operations each
    assert whole["of the matmul rate"] == pytest.approx(5000 * 4 * 6 * 85 * 17 / 416 / 1e12)
    assert found.is_cut and "1.0%" in found.notes[0]
    zero = Timed(of_zero, 1.0, epochs=50, seconds=5.0, is_dropping=True)
    timed = Timed(of_sep_up, 1.0, epochs=50, seconds=1.0)
    assert whole_seconds(zero, [zero, timed]) == pytest.approx(1000 * 0.1 + 4000 * 0.02), "dropout ends"


def test_the_grid_is_the_published_one() -> None:
    cells = grid.grid(grid.SEEDS, grid.DEPTHS, grid.WIDTHS)
    assert len({cell.key for cell in cells}) == 15_120
    assert {cell.optimizer.epochs for cell in cells} == {5000}
    for name, config in grid.METHODS.items():
        assert OmegaConf.to_container(OmegaConf.load(SCRIPT.parents[1] / "conf" / "method" / f"{name}.yaml")) == config
