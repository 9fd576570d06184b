"""Shared by all tests: hypothesis without deadlines, one thread a process, the command line as a user types it."""

import logging
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from program import run_forked

for pool in ("OMP", "MKL", "OPENBLAS"):  # before numpy and torch are loaded, here and in what the tests start
    os.environ[f"{pool}_NUM_THREADS"] = "1"
# a busy machine is no failure; the same draws every time, so that a failure is of what changed; `make fuzz` draws anew
settings.register_profile("machine", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("machine")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `python -m MODULE ARGUMENTS` in an empty folder; stdout and stderr are kept apart.

    Forked from a process that has imported torch and Hydra, unless a `fresh` interpreter is asked for.
    """

    def run(
        *arguments: str, module: str = "jumpstart_exp", timeout: float = 300, fresh: bool = False
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
        if not fresh and sys.platform == "linux":
            return run_forked(module, arguments, tmp_path, environment, timeout)
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """As `command`, in this process: for what starts no workers."""

    def run(*arguments: str, module: str = "jumpstart_exp") -> subprocess.CompletedProcess[str]:
        line, code = [module, *arguments], 0
        capsys.readouterr()
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("default")  # they are shown, not raised
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # the module was imported before
            patch.chdir(tmp_path)
            patch.setenv("HYDRA_FULL_ERROR", "")
            patch.setattr(sys, "argv", line)
            patch.setattr(logging.root, "handlers", [])  # Hydra adds its own
            try:
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            except SystemExit as ended:
                code = int(ended.code or 0)
        return subprocess.CompletedProcess(line, code, *capsys.readouterr())

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch, as engines train small networks; what a test sets is undone."""
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files of nothing, where a test asks which there are."""
    monkeypatch.setattr("jumpstart_exp.report.figures.drawing.figure_files", lambda draw: {"png": b"", "pdf": b""})
