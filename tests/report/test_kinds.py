"""What each kind of the report imports."""

import pkgutil
import subprocess
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path

from page_stores import result
from study_rows import at_seed

import jumpstart_exp.report
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.report import registry
from jumpstart_exp.report.registry import KINDS
from jumpstart_exp.store import Store

_HEAVY = ("torch", "scipy.stats", "sklearn", "seaborn", "matplotlib.pyplot")


def test_every_kind_names_the_modules_that_register_it() -> None:
    for module in pkgutil.walk_packages(jumpstart_exp.report.__path__, f"{jumpstart_exp.report.__name__}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    found = defaultdict(set)
    for _, kind, function in registry._of_grids:
        found[kind].add(function.__module__)
    for _, kind, _, function in registry._of_stores:
        found[kind].add(function.__module__)
    prefix = f"{jumpstart_exp.report.__name__}."
    assert {kind: {name.removeprefix(prefix) for name in names} for kind, names in found.items()} == {
        name: {*kind.modules} for name, kind in KINDS.items()
    }


def test_heatmaps_of_one_study_import_nothing_that_they_do_not_need(tmp_path: Path) -> None:
    cells = [at_seed(cell, 0) for cell in study_cells("cpaior_moons", "paper") if cell.depth < 4 and cell.width < 3]
    Store(tmp_path).write([result(cell, curve=()) for cell in cells])
    for arguments in ("only=heatmaps", "figure=cpaior-2"):
        code = (
            "import sys; from jumpstart_exp.report.__main__ import main; "
            f"code = main(['results_dir={tmp_path}', '{arguments}']); "
            f"print('heavy:', code, *(name for name in {_HEAVY} if name in sys.modules))"
        )
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert shown.splitlines()[-1] == "heavy: 0", arguments
