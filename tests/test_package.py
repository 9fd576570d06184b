"""What `pip install` gives: metadata, types, an sdist that builds, a wheel that runs outside of any clone."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata, resources
from pathlib import Path

import pytest

import jumpstart_exp

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def build(kind: str, source: Path, target: Path) -> Path:
    """An `sdist` or a `wheel` of a source tree, without the C++ engine: the file."""
    options = {"cmake.define.JUMPSTART_NATIVE": "OFF"} if kind == "wheel" else {}
    code = f"import scikit_build_core.build as backend; backend.build_{kind}({str(target)!r}, {options})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = target.iterdir()
    return file


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def test_metadata_say_what_the_package_says(wheel):
    (distribution,) = metadata.distributions(path=[str(wheel)])
    described = distribution.metadata
    assert distribution.version == metadata.version("jumpstart-exp") == jumpstart_exp.__version__
    assert described["License-Expression"] == "MIT" and described["Author"] == "The jumpstart_exp authors"
    assert {"cluster", "docs", "lightning", "notebook"} <= set(described.get_all("Provides-Extra"))
    (command,) = distribution.entry_points
    assert (command.group, command.name) == ("console_scripts", "jumpstart-exp") and callable(command.load())


def test_the_package_is_typed():
    assert resources.files("jumpstart_exp").joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    ("line", "unwanted"),
    [
        ("import jumpstart_exp", {"torch", "numpy", "pandas", "hydra"}),
        ("from jumpstart_exp import grid, heatmap, load, train", {"torch", "matplotlib", "sklearn", "hydra"}),
    ],
)
def test_an_import_costs_only_what_it_needs(line, unwanted):
    code = f"{line}; import sys; print(*sorted({unwanted} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_all_public_names_are_there_and_no_other_is():
    assert all(getattr(jumpstart_exp, name) is not None for name in jumpstart_exp.__all__)
    assert set(jumpstart_exp.__all__) <= set(dir(jumpstart_exp))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        jumpstart_exp.trian  # noqa: B018


def test_an_sdist_has_what_a_build_needs_and_little_else(sdist):
    with tarfile.open(sdist) as archive:
        files = {str(Path(*Path(name).parts[1:])) for name in archive.getnames()}
    needed = {
        *("pyproject.toml", "CMakeLists.txt", "LICENSE", "README.md", "PKG-INFO"),
        *(str(file.relative_to(ROOT)) for file in (ROOT / "conf").rglob("*.yaml")),
        *(str(file.relative_to(ROOT)) for file in (ROOT / "results" / "published").iterdir()),
        *(str(file.relative_to(ROOT)) for file in (ROOT / "jumpstart_exp").rglob("*.[ch]pp")),
        *(str(file.relative_to(ROOT)) for file in (ROOT / "hydra_plugins").rglob("*.py")),
    }
    assert needed <= files
    assert not [name for name in files if name.startswith(("tests", "docs", "data", "results/cells", "."))]
    assert not [name for name in files if name.endswith((".so", ".pyc"))]
    assert sdist.stat().st_size < 2_000_000


def test_a_wheel_has_configurations_and_published_numbers_but_no_sources_of_c(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    assert {
        "jumpstart_exp/py.typed",
        "jumpstart_exp/conf/config.yaml",
        "jumpstart_exp/conf/method/sep_up.yaml",
        "jumpstart_exp/published/SHA256SUMS",
        "jumpstart_exp/report/page/assets/page.js",
    } <= files
    assert not [name for name in files if name.endswith((".cpp", ".hpp"))]


def test_an_installed_wheel_trains_outside_of_the_clone(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    site.joinpath("dependencies.pth").write_text("\n".join(dependencies))  # after its own, and without their .pth
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    installed = subprocess.run(install, capture_output=True, text=True, timeout=120, env=ENVIRONMENT)
    assert installed.returncode == 0, installed.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [python, *arguments], cwd=elsewhere, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert run("-c", "import jumpstart_exp; print(jumpstart_exp.__file__)").startswith(str(site))
    said = run("-m", "jumpstart_exp", "depth=2", "width=2", "optimizer.epochs=20")
    assert "sep_up 2×2 seed 0" in said and "JUMPSTART_NATIVE=OFF" in said
    assert list((elsewhere / "results" / "cells").glob("*.parquet"))
