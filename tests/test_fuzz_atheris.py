"""Seconds of coverage-guided fuzzing from nothing: nothing is found, and what is broken on purpose is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is not installed (there is no wheel for every platform)")

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "fuzz.py"
SECONDS = 8

# Each breaks a function as it stands after the fuzzer has instrumented it.
MUTANTS = {
    "a run that stops a step early": (
        "ellipsis",
        """
        continuation = ellipsis._Run.continuation
        ellipsis._Run.continuation = lambda run, room: continuation(run, room)[:7]
        """,
    ),
    "multiples before even steps": (
        "ellipsis",
        """
        made = ellipsis._Run.__init__
        ellipsis._Run.__init__ = lambda run, *values: (made(run, *values), run.readings.reverse())[0]
        """,
    ),
    "no end to a list": (
        "ellipsis",
        """
        continuation = ellipsis._Run.continuation
        ellipsis._Run.continuation = lambda run, room: continuation(run, room + 100_000)
        """,
    ),
    "a key without one of the fields": (
        "key",
        """
        made = description.Described._json_around_axes
        def broken(self):
            self.settings = {name: value for name, value in self.settings.items() if name != "optimizer.beta2"}
            return made(self)
        plainly = fuzz._described
        fuzz._described = lambda of: plainly(of) + repr(of.optimizer.beta2)
        description.Described._json_around_axes = broken
        """,
    ),
    "a key with the label": (
        "key",
        """
        import hashlib
        key = cell.Cell.key.func
        cell.Cell.key = property(lambda of: hashlib.md5((key(of) + of.method).encode()).hexdigest())
        """,
    ),
}

HARNESS = """
import importlib.util, sys, textwrap
script, target, seconds, mutant = sys.argv[1:]
spec = importlib.util.spec_from_file_location("fuzz", script)
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)
from jumpstart_exp import cell, description
from jumpstart_exp.config import ellipsis
exec(textwrap.dedent(mutant))
fuzz.main([target, seconds])
"""


def fuzzed(*line: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *line], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.parametrize(("target", "least"), [("ellipsis", 4000), ("key", 1000)])
def test_seconds_of_fuzzing_find_nothing(target: str, least: int) -> None:
    code, said = fuzzed(str(SCRIPT), target, str(SECONDS))
    assert code == 0, said[-2000:]
    found = re.search(r"Done (\d+) runs", said)
    assert found is not None, said[-2000:]
    assert int(found[1]) >= least
    covered = [int(count) for count in re.findall(r"cov: (\d+)", said)]
    assert covered[-1] > covered[0], "coverage guides it"


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_is_broken_on_purpose_is_found(mutant: str) -> None:
    target, code = MUTANTS[mutant]
    for _ in range(6):  # it draws anew each time: luck is rather with several short tries than with a long one
        status, said = fuzzed("-c", HARNESS, str(SCRIPT), target, "25", code)
        if status != 0:
            break
    assert status != 0, said[-2000:]
    assert "AssertionError" in said and "input: " in said
    assert not list(Path.cwd().glob("crash-*"))


@pytest.mark.parametrize("line", [[], ["words"], ["key", "many"]])
def test_the_usage_is_a_line(line: list[str]) -> None:
    code, said = fuzzed(str(SCRIPT), *line)
    assert code == 1
    assert said == "usage: python scripts/fuzz.py ellipsis|key [SECONDS]\n"
