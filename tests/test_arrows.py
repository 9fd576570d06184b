"""Imports run one way: which package may import which, in every module, within functions too. And all are there."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import jumpstart_exp

ROOT = Path(jumpstart_exp.__file__).parent

_CELLS = {"late", "settings", "folders", "specs", "console", "data", "description", "cell"}
_ENGINES = {
    *_CELLS,
    "randomness",
    "user_functions",
    "memory",
    "limits",
    "result",
    "networks",
    "losses",
    "measures",
    "methods",
    "engines",
}
_SWEEP = {*_ENGINES, "config", "store", "sweep"}
ARROWS: dict[str, set[str]] = {
    "late": set(),
    "settings": set(),
    "randomness": {"late"},
    "user_functions": {"late", "settings"},
    "memory": set(),
    "limits": set(),
    "console": {"settings"},
    "folders": {"settings"},
    "surroundings": {"settings"},
    "arguments": {"settings", "folders", "surroundings"},
    "specs": {"settings"},
    "data": {"late", "settings", "console"},
    "description": {"settings", "data"},
    "cell": {"settings", "specs", "data", "description"},
    "result": {"cell"},
    "networks": {*_CELLS, "randomness", "user_functions"},
    "measures": {*_CELLS, "result"},
    "losses": {*_CELLS, "measures"},
    "methods": {*_CELLS, "randomness", "networks", "losses", "measures", "user_functions"},
    "engines": _ENGINES,
    "geometry": {"settings", "specs", "user_functions", "networks", "losses", "measures"},
    "store": {*_CELLS, "result", "arguments", "config"},
    "config": {*_CELLS, "user_functions"},
    "sweep": _SWEEP,
    "cluster": {*_SWEEP, "cluster"},
    "launcher": {*_SWEEP, "cluster"},
    "inspect": {*_ENGINES, "arguments", "config", "geometry", "store"},
    "report": {
        *_CELLS,
        *("arguments", "config", "engines", "geometry", "inspect", "limits", "networks", "result", "store"),
    },
    "status": {*_SWEEP, "arguments", "cluster"},
    "datasets": {"arguments", "console", "settings", "data"},
    "plot": {*_SWEEP, "inspect", "report"},
    "api": {*_SWEEP, "report"},
    "__main__": {*_SWEEP, "cluster", "plot", "surroundings"},
    "estimator": {*_ENGINES, "config"},
    "lightning": {"settings", "losses", "measures"},
    "__init__": {"api", "estimator", "losses", "measures"},
}
"""What each package may import besides itself, settings first and the launcher last."""

_PAGE = [
    *("files", "table", "registry", "statistics", "captions", "figures", "tables"),
    *("atlas", "inside", "geometry", "papers", "page", "processes", "unchanged"),
]
REPORT: dict[str, set[str]] = {
    **{name: set(_PAGE[:number]) for number, name in enumerate(_PAGE)},
    "__main__": set(_PAGE),
    "of_cells": {"figures", "registry", "table", "unchanged"},
    "__init__": set(),
}
"""The same within the report: each may import those before it."""

_FROM_ENGINES = {"jumpstart_exp.engines.eager.engine.torch_for"}
"""The report draws what a network makes of its points; it never trains."""


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a module imports from the project."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "jumpstart_exp")


def modules(folder: Path) -> dict[Path, str]:
    """Every module below a folder, and the package or module of the folder that it belongs to."""
    return {path: path.relative_to(folder).parts[0].removesuffix(".py") for path in sorted(folder.rglob("*.py"))}


def wrong(folder: Path, prefix: str, allowed: dict[str, set[str]]) -> list[str]:
    """Imports within the prefix that are not allowed."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, own in modules(folder).items()
        for name in imports(path)
        if name.startswith(prefix) and (name.removeprefix(prefix).partition(".")[0] not in {*allowed[own], own})
    ]


def test_imports_run_one_way() -> None:
    assert wrong(ROOT, "jumpstart_exp.", ARROWS) == []


def test_no_two_packages_import_each_other() -> None:
    for allowed in (ARROWS, REPORT):
        rest = {name: others - {name} for name, others in allowed.items()}
        while rest:
            free = [name for name, others in rest.items() if not others & rest.keys()]
            assert free, f"in a circle: {sorted(rest)}"
            for name in free:
                del rest[name]


def test_imports_within_the_report_run_one_way() -> None:
    assert wrong(ROOT / "report", "jumpstart_exp.report.", REPORT) == []


def test_the_report_never_trains() -> None:
    names = {name for path in (ROOT / "report").rglob("*.py") for name in imports(path)}
    assert {name for name in names if name.startswith("jumpstart_exp.engines")} <= _FROM_ENGINES


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT.parent / "scripts").glob("*.py")))
def test_every_script_finds_what_it_imports(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT.parent / "scripts"))
    importlib.import_module(script)
