"""Which large modules each command imports: exactly these, each command in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.late import LateModule
from jumpstart_exp.methods import methods_of, needs_pre_activations
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec

LARGE = (
    *("hydra", "numpy", "pyarrow", "pandas", "scipy", "sklearn", "torch", "torchvision", "torch._dynamo"),
    *("matplotlib", "seaborn", "jinja2", "xarray", "submitit"),
)
"""What takes a tenth of a second and more."""

NONE, HYDRA, STORE = set[str](), {"hydra"}, {"numpy", "pyarrow"}
CELL = "depth=1 width=2 optimizer.epochs=2"
SWEEP = "-m depth=1,2 width=2 optimizer.epochs=2"

COMMANDS: dict[str, tuple[str, set[str]]] = {
    "help": ("jumpstart_exp --help", HYDRA),
    "a setting that does not exist": ("jumpstart_exp depht=3", HYDRA),
    "a value that is not allowed": ("jumpstart_exp depth=0", HYDRA),
    "a sweep of values that are not allowed": ("jumpstart_exp -m depth=0,5", HYDRA),
    "a dry run": ("jumpstart_exp dry_run=true results_dir=nowhere", HYDRA),
    "a dry run of batches": ("jumpstart_exp optimizer.batch_size=16 device=cpu dry_run=true results_dir=none", HYDRA),
    "a dry run of a sweep": ("jumpstart_exp -m depth=1,2 dry_run=true results_dir=nowhere", HYDRA),
    "a dry run of a study": ("jumpstart_exp -m +experiment=quick dry_run=true results_dir=nowhere", HYDRA),
    "a stored cell again": (f"jumpstart_exp {CELL}", HYDRA | STORE),
    "a finished sweep again": (f"jumpstart_exp {SWEEP}", HYDRA | STORE),
    "status of nothing": ("jumpstart_exp.status results_dir=nowhere", NONE),
    "status": ("jumpstart_exp.status", STORE),
    "a native cell": (f"jumpstart_exp {CELL} seed=1", HYDRA | STORE | {"pandas", "torch"}),
}

PROGRAM = f"""
import atexit, runpy, sys
module, *sys.argv[1:] = sys.argv[1:]
atexit.register(lambda: print("imported:", *(name for name in {LARGE!r} if name in sys.modules)))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def imported(folder: Path, line: str) -> set[str]:
    command = [sys.executable, "-c", PROGRAM, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert "Traceback" not in done.stderr, done.stderr
    return {*done.stdout.splitlines()[-1].removeprefix("imported:").split()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a store of two cells, of the sweep and of the cell alone."""
    folder = tmp_path_factory.mktemp("commands")
    line = [sys.executable, "-m", "jumpstart_exp", *SWEEP.split()]
    subprocess.run(line, capture_output=True, timeout=120, cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_it_needs_and_nothing_else(command: str, folder: Path) -> None:
    line, expected = COMMANDS[command]
    assert imported(folder, line) == expected


def test_the_published_moons_are_what_scikit_learn_gives() -> None:
    x, y = make_moons(n_samples=100, shuffle=True, random_state=10)
    x = x / (x.max() - x.min())
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=15, random_state=42)
    assert Moons().is_published and Moons(n_train=20).is_published
    for found, expected in zip(Moons().load(Path()), (x_train, y_train, x_val, y_val), strict=True):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("other", [Moons(random_state=11), Moons(noise=0.1), Moons(n_fresh_val=5)])
def test_other_moons_are_drawn(other: Moons) -> None:
    assert not other.is_published and "sklearn.datasets" in other.imports and Moons().imports == ()
    assert not np.array_equal(other.load(Path())[0], Moons().load(Path())[0])


@pytest.mark.parametrize("cell", [Cell(), Cell(penalty=PenaltySpec("UP")), Cell(rai=RaiSpec(weight=0.1))])
def test_what_needs_pre_activations_is_known_without_the_methods(cell: Cell) -> None:
    assert needs_pre_activations(cell) == any(method.needs_pre_activations for method in methods_of(cell))


def test_a_late_module_is_imported_when_it_is_asked_for() -> None:
    program = (
        "import sys; from jumpstart_exp.late import LateModule; late = LateModule('colorsys'); "
        "before = 'colorsys' in sys.modules; print(before, late.rgb_to_hsv(0, 0, 0), 'colorsys' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False (0.0, 0.0, 0) True\n"
    with pytest.raises(AttributeError, match="nothing"):
        _ = LateModule("colorsys").nothing
