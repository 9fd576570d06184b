"""The C++ engine under the compiler's sanitizers, on small networks of every kind."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "jumpstart_exp" / "engines" / "native" / "cpp"
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
# unoptimised: every access is there to be checked, and a third of the time to compile
FLAGS = ["-std=c++17", "-O0", "-g1", "-fno-omit-frame-pointer", "-Wno-psabi", "-pthread", f"-I{SOURCES}"]


def build(folder: Path, sanitizers: str, sources: Path = SOURCES) -> Path:
    assert COMPILER is not None
    kernels: dict[str, tuple[int, list[str]]] = {"portable": (16, [])}
    defines: list[str] = []
    if platform.machine() in ("x86_64", "AMD64"):
        kernels["avx512"] = (64, ["-march=x86-64-v4"])  # runs where the processor has it
        defines = ["-DJUMPSTART_AVX512"]
    flags = [*FLAGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    jobs: list[list[str | Path]] = []
    for name, (size, extra) in kernels.items():
        names = [f"-DINSTRUCTION_SET={name}", f'-DINSTRUCTION_SET_NAME="{name}"', f"-DVECTOR_BYTES={size}"]
        jobs.append([sources / "kernel.cpp", "-o", folder / f"{name}.o", *extra, *names])
        for number in ("float", "double"):
            part = folder / f"{name}_{number}.o"
            jobs.append([sources / "trainer.cpp", "-o", part, *extra, *names, f"-DNUMBER={number}"])
    jobs.append([sources / "fleet.cpp", "-o", folder / "fleet.o", *defines])
    jobs.append([Path(__file__).with_name("sanitize.cpp"), "-o", folder / "main.o"])
    running = [subprocess.Popen([COMPILER, *flags, "-c", *map(str, job)]) for job in jobs]
    assert [process.wait() for process in running] == [0] * len(jobs)
    objects = folder.glob("*.o")
    subprocess.run([COMPILER, *flags, *map(str, objects), "-o", str(folder / "sanitize")], check=True)
    return folder / "sanitize"


@pytest.mark.soak
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_clean_under(sanitizers: str, tmp_path: Path) -> None:
    program = build(tmp_path, sanitizers)
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "results" in done.stdout
