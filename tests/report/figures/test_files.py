"""The files that figures register: their names, and that the same cells give the same bytes."""

import io
import subprocess
import sys
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from stored_tables import CIFAR10, METHODS, cell, grid_rows, only, row, table

from jumpstart_exp.report.figures.drawing import DPI, figure_files, plain_style
from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.registry import Stored, sections
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.store import Store

KINDS = {
    "heatmaps": ["best", "last"],
    "scatters": ["scatter_best", "scatter_last"],
    "seeds": [
        "frontier",
        *(f"moments_{measured}" for measured in ("trains", "train_acc", "val_acc")),
        *(f"differences_{at_epoch}" for at_epoch in ("best", "last")),
    ],
}


def drawn(rows: list[dict], kind: str, folder: Path) -> list[Path]:
    cells = table(rows)
    stored = Stored(folder, folder, Store(folder), cells, tuple(figure_grids(cells)), (), None)
    jobs = [job for _, jobs in sections(stored, kind) for job in jobs if job.folder == "figures"]
    return [path for job in jobs for path in job.write(folder)]


def some(kind: str) -> list[dict]:
    """Two methods of two seeds, without one; and another figure of one network, with every method on its heatmaps."""
    rows = grid_rows(
        ["relu", "sep_up"], [10, 20], [8, 16], [0, 1], lambda of: 0.5 + of.width / 100 + of.seed / 50, **CIFAR10
    )
    methods, other = METHODS if kind == "heatmaps" else ["relu"], {**CIFAR10, "optimizer__epochs": 7}
    return [*rows[:-1], *(row(cell(method, 10, 2, 0, **other), 0.6) for method in methods)]


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same figures from the rows the other way round, drawn by another process whose sets have another order."""
    folder = tmp_path_factory.mktemp("again")
    code = (
        "import sys; from pathlib import Path; sys.path += sys.argv[2:]; import test_files;"
        "[test_files.drawn(test_files.some(kind)[::-1], kind, Path(sys.argv[1])) for kind in test_files.KINDS]"
    )
    here = Path(__file__).parent
    environment = {"PYTHONHASHSEED": "1", "PATH": "", "MPLCONFIGDIR": matplotlib.get_cachedir()}
    line = [sys.executable, "-c", code, str(folder), str(here), str(here.parent)]
    subprocess.run(line, env=environment, check=True)
    return folder


@pytest.mark.parametrize(("kind", "names"), KINDS.items(), ids=[*KINDS])
def test_files_are_named_and_a_second_run_writes_the_same_bytes(
    kind: str, names: list[str], again: Path, tmp_path: Path
) -> None:
    rows = some(kind)
    slugs = [grid.slug for grid in figure_grids(table(rows)) if kind == "heatmaps" or len(grid.methods) > 1]
    first = drawn(rows, kind, tmp_path)
    assert [path.name for path in first] == [
        f"{slug}_{name}.{end}" for slug in slugs for name in names for end in ("png", "pdf")
    ]
    assert [path.read_bytes() for path in first] == [(again / path.name).read_bytes() for path in first]
    assert len({path.read_bytes() for path in first}) == len(first)
    assert b"/FontFile2" in first[1].read_bytes() and b"CreationDate" not in first[1].read_bytes()


def test_a_png_is_what_savefig_gives_though_it_is_laid_out_once() -> None:
    grid = only(grid_rows(["relu", "sep_up"], [1, 10, 20], [2, 3], [0, 1], lambda cell: 0.5 + cell.depth / 50))
    content = io.BytesIO()
    with plain_style():
        heatmap_figure(grid, "best").savefig(content, format="png", dpi=DPI)
    assert figure_files(partial(heatmap_figure, grid, "best"))["png"] == content.getvalue()


def test_the_last_digits_of_the_layouts_solver_are_in_no_file() -> None:
    """They differ from run to run: what is drawn stands at rounded places."""
    figure = Figure(figsize=(5.148, 3.31), layout="constrained")
    for place, panel in enumerate(figure.subplots(2, 3).flat):
        panel.set_title("panel" * place, fontsize=7 + place / 3)
    figure_files(lambda: figure)
    places = np.array([panel.get_position(original=True).bounds for panel in figure.axes])
    assert len({*places.ravel()}) > 6
    np.testing.assert_allclose(places, np.round(places, 7), rtol=0, atol=1e-14)
