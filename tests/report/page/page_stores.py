"""Stores and pages for the tests of the page, made without any training."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.page import write_page
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.store import Store

HOSTILE_LABEL = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
HOSTILE_ERROR = "</script><script>document.title='owned'</script> & \"quotes\" 'and' <!-- <b>bold</b>"
HOSTILE_ENGINE = "nat\"ive'><svg onload=document.title='owned'>"

DEPTHS, WIDTHS, SEEDS = (1, 10, 20), (2, 3), (0, 1, 2)
KINDS = {"relu": "none", "sep_up": "UP", HOSTILE_LABEL: "U"}


def cell(method: str, depth: int, width: int, seed: int, **settings: Any) -> Cell:
    config = {"depth": depth, "width": width, "seed": seed, "penalty": {"kind": KINDS[method]}, **settings}
    return Cell.from_config(config, method)


def train_points(of: Cell) -> int:
    """How many of the 85 training points the made-up network gets right at its best epoch."""
    return 85 - (0 if of.method == "sep_up" else of.depth) - of.seed - (of.width == 2)


def result(of: Cell, status: str = "done", points: int = 30, **values: Any) -> Result:
    best = train_points(of) / 85
    last = None if status != "done" else best - 2 / 85
    census = LayerCensus(*(tuple(share for _ in range(of.depth)) for share in (0.25, 0.125, 0.5, 0.0)))
    epochs = [1, *range(50, 50 * points, 50)]
    curve = [
        CurveRow(epoch, best - (epoch != 50) * 5 / 85, 0.4 + (epoch % 100) / 250, 0.7, 0.8, 1.0, 0.25, 0.125, 0.5, 0.0)
        for epoch in epochs
    ]
    described: dict[str, Any] = {
        "engine": "native",
        "n_params": 3 * of.width + (of.depth - 1) * of.width * (of.width + 1) + of.width + 1,
        "epochs_run": of.optimizer.epochs,
        "train_acc": Metric(last, best, 50),
        "val_acc": Metric(None if last is None else 0.6, 0.8, min(150, of.optimizer.epochs)),
        "train_loss": Metric(None if last is None else 0.25, 0.125, min(4000, of.optimizer.epochs)),
        "val_loss": Metric(None if last is None else 2.5, 0.5, 77),
        "census_start": census,
        "census_last": census,
        "seconds": 1.5,
        "curve": tuple(curve),
    }
    return Result(of, status, **{**described, **values})  # type: ignore[arg-type]


def moons() -> list[Result]:
    """A grid of relu and sep_up in which one cell is missing, one diverged and one place has nothing but failures."""
    found = []
    for method in ("relu", "sep_up"):
        for depth in DEPTHS:
            for width in WIDTHS:
                for seed in SEEDS:
                    place = (method, depth, width)
                    if (*place, seed) == ("relu", 1, 2, 2):
                        continue
                    status, values = "done", {}
                    if (*place, seed) == ("sep_up", 20, 3, 1):
                        status, values = "diverged", {"diverged_epoch": 812, "epochs_run": 812}
                    if place == ("relu", 20, 3):
                        status, values = "failed", {"error": "out of memory", "curve": ()}
                    found.append(result(cell(method, depth, width, seed), status, **values))
    return found


def hostile() -> list[Result]:
    of = [cell(HOSTILE_LABEL, depth, 2, 0, optimizer={"epochs": 100}) for depth in (1, 2)]
    return [
        result(of[0], engine=HOSTILE_ENGINE),
        result(of[1], "failed", error=HOSTILE_ERROR, traceback=f"line\n  {HOSTILE_ERROR}\n", curve=()),
    ]


def cut() -> list[Result]:
    """Both methods at two seeds; at width 2 relu lacks the shallowest depth, at width 3 it fails there."""
    found = []
    for method in ("relu", "sep_up"):
        for depth in (1, 10):
            for width in (2, 3, 4):
                for seed in (0, 1):
                    if (method, depth, width) == ("relu", 1, 2):
                        continue
                    fails = method == "relu" and (depth == 10 or width == 3)
                    accuracy = Metric(0.5, 0.5, 1) if fails else Metric(1.0, 1.0, 1)
                    found.append(result(cell(method, depth, width, seed), train_acc=accuracy, curve=()))
    return found


def merged() -> list[Result]:
    """One grid of two studies: relu at three seeds, sep_up at one, and at two in one place."""
    seeds = {"relu": (0, 1, 2), "sep_up": (0,)}
    found = [
        result(cell(method, depth, width, seed))
        for method, own in seeds.items()
        for depth in (1, 10)
        for width in (2, 3)
        for seed in own
    ]
    return [*found, result(cell("sep_up", 10, 3, 1))]


def stored(folder: Path, results: Sequence[Result]) -> Store:
    store = Store(folder)
    store.write(results)
    return store


def page(store: Store, path: Path, published: Published | None = None) -> str:
    table = store.cells()
    write_page(table, store, figure_grids(table), path, published=published)
    return path.read_text()


def part(text: str, name: str) -> str:
    """What stands in the page's element with this id."""
    found = re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return found[1]
