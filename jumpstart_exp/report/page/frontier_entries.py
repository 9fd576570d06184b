"""Frontiers as entries of the page's head."""

from typing import Any

from jumpstart_exp.report.page.packing import picked
from jumpstart_exp.report.statistics.frontier import Start, frontiers
from jumpstart_exp.report.table.grid import FigureGrid

STARTS: tuple[Start, ...] = ("first", "grid")
"""From where a frontier can be counted, the page's first choice first."""


def frontier_entries(grid: FigureGrid, at_epoch: str, start: Start) -> list[list[dict[str, Any]]]:
    """Every method's frontier, a point a width that has any cell."""
    return [
        [
            picked(point, "width", "depth", "low", "high", "each", "seeds", open="is_open", cut="is_cut")
            for point in frontier.points
        ]
        for frontier in frontiers(grid, at_epoch, start=start)
    ]
