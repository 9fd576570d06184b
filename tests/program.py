"""`python -m MODULE` without its first seconds: a process forked from one that has imported the large packages."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

LARGE = [
    "hydra.main",
    "jumpstart_exp.engines",
    "jumpstart_exp.launcher",
    "pyarrow.parquet",
    "sklearn.datasets",
    "torch",
]
TESTS = Path(__file__).parent
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(LARGE)


def run_forked(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives, of a process in the folder."""
    outputs = [folder.with_name(f"{folder.name}.{name}") for name in ("stdout", "stderr")]
    process = FORKED.Process(target=_become, args=(module, arguments, folder, environment, outputs))
    process.start()
    process.join(timeout)
    line = [sys.executable, "-m", module, *arguments]
    said = [path.read_text() if path.exists() else "" for path in outputs]
    for path in outputs:
        path.unlink(missing_ok=True)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(line, timeout, *said)
    return subprocess.CompletedProcess(line, process.exitcode, *said)


def _become(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], outputs: Sequence[Path]
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate(outputs, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    forked = multiprocessing.get_context("fork")  # a spawned worker would import torch again
    multiprocessing.get_context = lambda method=None: forked  # type: ignore[assignment]
    sys.argv = [module, *arguments]
    sys.path[:] = [str(folder), *(path for path in sys.path if not Path(path).is_relative_to(TESTS))]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
