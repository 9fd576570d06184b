"""What the report can make: every figure and table registers itself, under the kind that `only=` names.

A module of `figures`, `tables`, `papers`, `inside`, `geometry` or `page` registers a function that says which files it
can make of one figure's grid (`of_grid`) or of the whole store (`of_store`). Its kind names the module, so that
one kind imports no more than it needs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # the command's --help needs the kinds alone, at once
    import pandas as pd

    from jumpstart_exp.report.table.grid import FigureGrid
    from jumpstart_exp.report.table.sweeps import Sweep
    from jumpstart_exp.store import Store


class Kind(NamedTuple):
    """What `only=` can ask for: what that shows, what it needs, and the modules that register it."""

    shows: str
    needs: str
    modules: tuple[str, ...]


KINDS = {
    "page": Kind("all of it in one file that opens offline: RESULTS_DIR/report.html.", "a result", ("page",)),
    "heatmaps": Kind(
        "accuracy over depth × width, of every result, with the frontier; where all networks are equally wide, a row a "
        "method with its numbers.",
        "a result",
        ("figures.heatmaps",),
    ),
    "scatters": Kind(
        "accuracy against the number of parameters, of CNNs at three depth-width pairs or more.",
        "CNNs (network.layout=cnn) that trained at three depth-width pairs or more",
        ("figures.scatters",),
    ),
    "tables": Kind(
        "of figures with two methods or more: best accuracy, networks that train, and who is best how often; what the "
        "penalty costs in time and memory against relu.",
        "two methods or more in one figure",
        ("tables.summaries",),
    ),
    "seeds": Kind(
        "means and shares of seeds that train with their intervals, best against last epoch, differences between "
        "methods, how deep each width trains and how many times deeper.",
        "a result",
        ("figures.frontier", "figures.shares", "tables.seeds"),
    ),
    "sweeps": Kind(
        "over one swept setting or several: networks that train, the best value of every cell, what tells the values "
        "apart.",
        "one method at several values of a setting, at the same depths and widths: optimizer.lr=0.001,0.01",
        ("figures.sweeps", "tables.sweeps"),
    ),
    "comparison": Kind(
        "ours against the published numbers: figures, tables, the papers' statements.",
        "cells of a published study, say +experiment=cpaior_moons or table2_50x4",
        ("papers.compared",),
    ),
    "atlas": Kind(
        "many methods on one grid, each at its own learning rate: frontiers, ranking, heatmaps in small, what the "
        "census predicts, what it costs.",
        "several methods of a study of the atlas: +experiment=atlas_quick",
        ("atlas.drawn",),
    ),
    "inside": Kind(
        "the data layer by layer, decision surfaces, dead units over time, of cells that python -m "
        "jumpstart_exp.inspect has trained again.",
        "kept states of a stored cell: make inspect, or python -m jumpstart_exp.inspect key=…",
        ("inside.jobs",),
    ),
    "geometry": Kind(
        "linear regions, soft boundaries, where the gradient lives and how noisy it is, layer by layer, of cells that "
        "python -m jumpstart_exp.inspect probe=all has probed.",
        "probes of a stored cell: python -m jumpstart_exp.inspect key=… probe=all",
        ("geometry.planes", "geometry.probes"),
    ),
    "relaxation": Kind(
        "losses of every relaxed layer over the training, and how far the relaxed values are from the network's own.",
        "networks with relaxed layers (method=rai) and their curves",
        ("figures.relaxation",),
    ),
    "initialisation": Kind(
        "dead units and points before training, measured and by the papers' formulas.",
        "networks with Glorot's initial weights and without batch norm",
        ("figures.initialisation",),
    ),
}
"""What the report can make, by the name that `only=` takes."""

MOST_ALIKE = 12
"""Figures of one dataset and the same methods that have files of their own, whatever else they differ in."""

Write = Callable[[Path], list[Path]]
"""Draws or writes into a folder; gives its files."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What the report is made of: a results folder with its table of cells and their figures.

    `sweeps` are those among the figures. `threshold` is the training accuracy from which on a network trains; None for
    each dataset's own. The grids have it. With `each` all figures have files of their own.
    """

    results_dir: Path
    data_dir: Path
    store: "Store"
    table: "pd.DataFrame"
    grids: "tuple[FigureGrid, ...]"
    sweeps: "tuple[Sweep, ...]"
    threshold: float | None
    each: bool = False

    @cached_property
    def alone(self) -> "tuple[FigureGrid, ...]":
        """The figures with files of their own, so that their number is bounded.

        Few of a sweep over many values; of one dataset and the same methods at most `MOST_ALIKE`, those of which the
        most networks train; and those of published studies.
        """
        left_out = {grid.slug for sweep in self.sweeps for grid in sweep.grids} - {
            slug for sweep in self.sweeps for slug in sweep.own
        }
        kept = [grid for grid in self.grids if grid.studies or grid.slug not in left_out]
        if not self.each:
            alike: dict[object, list[FigureGrid]] = defaultdict(list)
            for grid in kept:
                if not grid.studies:
                    alike[grid.dataset, grid.methods].append(grid)
            for group in alike.values():
                left_out |= {grid.slug for grid in sorted(group, key=_rank, reverse=True)[MOST_ALIKE:]}
        return tuple(grid for grid in kept if grid.studies or grid.slug not in left_out)


@dataclass(frozen=True)
class Job:
    """Files to be made, and the folder below the results that they go into ("" for the results' own).

    What `write` is made from decides whether they are made again: a function of the package, or a partial or closure of
    one, of plain data, arrays, tables, grids and folders (`unchanged.py`). One that takes long is begun before others.
    """

    folder: str
    write: Write
    is_long: bool = False


_OfGrid = Callable[["FigureGrid"], Iterable[Job]]
_OfStore = Callable[[Stored], Iterable[Job]]

_of_grids: list[tuple[int, str, _OfGrid]] = []
_of_stores: list[tuple[int, str, str, _OfStore]] = []


def of_grid(kind: str, rank: int) -> Callable[[_OfGrid], None]:
    """Register what can be made of one figure's grid; of smaller rank comes first.

    Raises:
        ValueError: there is no such kind.
    """
    _check(kind)
    return lambda jobs: _of_grids.append((rank, kind, jobs))


def of_store(kind: str, rank: int, title: str) -> Callable[[_OfStore], None]:
    """Register what can be made of the whole store, under a title of its own; of smaller rank comes first.

    Raises:
        ValueError: there is no such kind.
    """
    _check(kind)
    return lambda jobs: _of_stores.append((rank, kind, title, jobs))


def sections(stored: Stored, only: str) -> Iterator[tuple[str, list[Job]]]:
    """Jobs under their titles, in order: figure by figure, then what is made of the whole store.

    Args:
        stored: what it is made of.
        only: one of KINDS; empty for all of them.
    """
    for module in _modules(only):
        import_module(f"jumpstart_exp.report.{module}")
    for grid in stored.alone:
        made = sorted(_of_grids, key=_order)
        if found := [job for _, kind, jobs in made if only in ("", kind) for job in jobs(grid)]:
            counts = (int(grid.present.sum()), "cell"), (len(grid.methods), "method"), (len(grid.seeds), "seed")
            told = ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
            yield f"{grid.title}: {told}{_others_told(grid, stored)}", found
    for _, kind, title, of_store in sorted(_of_stores, key=_order):
        if only in ("", kind) and (found := [*of_store(stored)]):
            yield title, found


def _others_told(grid: "FigureGrid", stored: Stored) -> str:
    """That other values of the figure's sweep have no files of their own, in words; empty where all have."""
    shown = {other.slug for other in stored.alone}
    for sweep in stored.sweeps:
        others = sum(other.slug not in shown for other in sweep.grids)
        if grid.slug in sweep.own and others:
            told = f"the best of {len(sweep.grids)} figures over {', '.join(sweep.names)}"
            return f"; {told}, {others} of them on the page only (swept=all draws each)"
    swept = {other.slug for sweep in stored.sweeps for other in sweep.grids}
    others = sum(
        (other.dataset, other.methods) == (grid.dataset, grid.methods) and other.slug not in shown | swept
        for other in stored.grids
    )
    return f"; {others} others of these methods on the page only (swept=all draws each)" if others else ""


def _rank(grid: "FigureGrid") -> tuple[float, int]:
    """The share of networks that train at the best epoch, then how many there are."""
    count = int(grid.present.sum())
    return float(grid.trained("best").sum()) / max(1, count), count


def _modules(only: str) -> list[str]:
    return [module for name, kind in KINDS.items() if only in ("", name) for module in kind.modules]


def _order(registered: tuple[Any, ...]) -> int:
    return int(registered[0])


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind={kind} is not known: one of {', '.join(KINDS)}")
