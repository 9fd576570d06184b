"""What a command finds around it ends it with no traceback: encodings, notebooks, pasted letters, a second call."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from typing import Any

import pytest

from jumpstart_exp.__main__ import main
from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.settings import SettingError
from jumpstart_exp.surroundings import check_surroundings
from jumpstart_exp.sweep.workers import _without_main_module


def test_a_notebooks_backend_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    check_surroundings()
    assert "MPLBACKEND" not in os.environ


def test_a_second_error_in_one_process_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr("warnings.showwarning", None)
    handlers = [*logging.root.handlers]
    for typed in (["depth=ten"], ["foo=1"], ["-m", "depth=1,0"], ["method=none"]):
        monkeypatch.setattr(sys, "argv", ["jumpstart_exp", *typed, "dry_run=true"])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert capsys.readouterr().err.count("\n") == 1
        assert sys.argv == ["jumpstart_exp", *typed, "dry_run=true"]
        assert "HYDRA_FULL_ERROR" not in os.environ and logging.root.handlers == handlers


def test_workers_do_not_run_the_main_module_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)
    assert "init_main_from_path" in get_preparation_data("worker")
    with _without_main_module():
        assert not {"init_main_from_path", "init_main_from_name"} & get_preparation_data("worker").keys()
    assert "init_main_from_path" in get_preparation_data("worker")


@pytest.mark.soak
def test_a_sweep_from_standard_input(tmp_path: Path) -> None:
    program = "from jumpstart_exp.__main__ import main; main()"
    line = [sys.executable, "-", "-m", "depth=2,3", "width=2", "optimizer.epochs=2"]
    done = subprocess.run(line, input=program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


PASTED = {
    "depth=2\N{ZERO WIDTH SPACE}": "U+200B ZERO WIDTH SPACE in it cannot be seen",
    "depth=2\N{NO-BREAK SPACE}": "U+00A0 NO-BREAK SPACE in it cannot be seen",
    "depth=2\r": "U+000D CARRIAGE RETURN in it cannot be seen",
    "results_dir=r\N{ZERO WIDTH SPACE}": "delete it, or make the folder first",
    "depth=−1": "(U+2212 MINUS SIGN) is no '-'",
    "–m": "(U+2013 EN DASH) is no '-'",
    "penalty.weight='1e–4'": "(U+2013 EN DASH) is no '-'",
    "seed=‘0’": "(U+2018 LEFT SINGLE QUOTATION MARK) is no",
    "depth＝2": "(U+FF1D FULLWIDTH EQUALS SIGN) is no '='",
    "depth=1,2,…,5": "(U+2026 HORIZONTAL ELLIPSIS) is no '...'",
}


@pytest.mark.parametrize("typed", PASTED)
def test_pasted_letters_are_named(answer: Callable[..., Any], typed: str) -> None:
    done = answer(typed, "dry_run=true")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert PASTED[typed] in done.stderr


def test_pasted_letters_in_plain_commands_are_named() -> None:
    with pytest.raises(SettingError, match="ZERO WIDTH SPACE in it cannot be seen"):
        read_arguments(["only=tables\N{ZERO WIDTH SPACE}"], {"only": ("tables",)}, "is no argument")
    with pytest.raises(SettingError, match=r"EN DASH\) is no '-'"):
        read_arguments(["–-help"], {}, "is no argument")


def test_a_folder_that_is_there_may_have_any_letters(tmp_path: Path) -> None:
    from jumpstart_exp.folders import named_folder

    folder = tmp_path / "r\N{ZERO WIDTH NON-JOINER}"
    with pytest.raises(SettingError, match="cannot be seen"):
        named_folder("results_dir", folder)
    folder.mkdir()
    assert named_folder("results_dir", folder) == folder
