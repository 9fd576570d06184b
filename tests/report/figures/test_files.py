"""The files that figures register: their names, and that the same cells give the same bytes."""

from pathlib import Path

import pytest
from stored_tables import CIFAR10, cell, grid_rows, row, table

from jumpstart_exp.report.registry import Stored, sections
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.store import Store


def drawn(rows: list[dict], kind: str, folder: Path) -> list[Path]:
    cells = table(rows)
    stored = Stored(folder, folder, Store(folder), cells, tuple(figure_grids(cells)), (), None)
    jobs = [job for _, jobs in sections(stored, kind) for job in jobs if job.folder == "figures"]
    return [path for job in jobs for path in job.write(folder)]


def some() -> list[dict]:
    """Two methods of two seeds, without one; and another figure of one network."""
    rows = grid_rows(
        ["relu", "sep_up"], [10, 20], [8, 16], [0, 1], lambda of: 0.5 + of.width / 100 + of.seed / 50, **CIFAR10
    )
    return [*rows[:-1], row(cell("relu", 10, 2, 0, **{**CIFAR10, "optimizer__epochs": 7}), 0.6)]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("heatmaps", ["best", "last"]),
        ("scatters", ["scatter_best", "scatter_last"]),
        (
            "seeds",
            [
                "frontier",
                *(f"moments_{measured}" for measured in ("trains", "train_acc", "val_acc")),
                *(f"differences_{at_epoch}" for at_epoch in ("best", "last")),
            ],
        ),
    ],
)
def test_files_are_named_and_a_second_run_writes_the_same_bytes(kind: str, names: list[str], tmp_path: Path) -> None:
    rows = some()
    slugs = [grid.slug for grid in figure_grids(table(rows)) if kind == "heatmaps" or len(grid.methods) > 1]
    first, again = drawn(rows, kind, tmp_path / "one"), drawn(rows[::-1], kind, tmp_path / "two")
    assert [path.name for path in first] == [
        f"{slug}_{name}.{end}" for slug in slugs for name in names for end in ("png", "pdf")
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert len({path.read_bytes() for path in first}) == len(first)
    assert b"/FontFile2" in first[1].read_bytes() and b"CreationDate" not in first[1].read_bytes()
