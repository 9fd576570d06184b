"""Shared by all tests: hypothesis without deadlines, one thread a test process, the command line as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from program import run_forked

settings.register_profile("machine", deadline=None)  # a busy machine is no failure
settings.load_profile("machine")

Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # of pytest-xdist: as many test processes as cores
        import torch

        torch.set_num_threads(1)


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
