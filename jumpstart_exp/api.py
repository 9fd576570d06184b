"""The same from Python: `grid` describes cells, `train` trains them, `load` reads a store, `heatmap` draws.

Keys, store and resume are those of the command line: what one has trained the other does not train again. Nothing has
to stand below `if __name__ == "__main__"`.
"""

import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.settings import SettingError, field_types, legible, nearest

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from jumpstart_exp.cell import Cell

__all__ = ["CellsFailedWarning", "Grid", "Results", "grid", "heatmap", "load", "train"]

FIRST_COLUMNS = (
    *("dataset", "method", "depth", "width", "seed", "status"),
    *(f"{metric}_{moment}" for metric in ("train_acc", "val_acc") for moment in ("best", "last")),
)
"""The columns that stand first; the others follow as the store has them."""

_NAMING = 6
"""So many of them say what a row is of, and not what came out."""

_OF_THE_STORE = ("labels", "label_check")
"""What a row has for the store's own use."""

_MOST_NAMED = 3


class CellsFailedWarning(UserWarning):
    """Cells have failed; their rows say why in the column `error`."""


@dataclass(frozen=True, repr=False)
class Grid:
    """Cells to be trained, in order, and how they are run where `train` is not told otherwise."""

    cells: "tuple[Cell, ...]"
    run: RunSettings

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> "Iterator[Cell]":
        return iter(self.cells)

    def __repr__(self) -> str:
        """How many cells, and of what how many values: Grid(60 cells; method: 2, depth: 3, width: 2, seed: 5)."""
        values = [{"method": cell.method, **cell.description()} for cell in self.cells]
        names = ("dataset", "method", "depth", "width", "seed")
        counts = {name: len({each[name] for each in values}) for name in names}
        varied = ", ".join(f"{name}: {count}" for name, count in counts.items() if count > 1)
        return f"Grid({len(self)} cell{'s' * (len(self) != 1)}{'; ' * bool(varied)}{varied})"


class Results(pd.DataFrame):
    """A tidy table of results: a row a cell under each of its methods' labels, settings under their override names.

    First stand dataset, method, depth, width, seed, status (`done`, `diverged`, `failed`) and the accuracies (fractions
    in [0, 1]); the rest is as the store has it. A setting that has no effect (λ under relu) is null.
    """

    @property
    def _constructor(self) -> "type[Results]":
        return Results

    def to_xarray(self, columns: Sequence[str] | None = None) -> "xarray.Dataset":  # type: ignore[misc]
        """The results as arrays over depth, width, method, seed and the settings that vary beside these.

        Args:
            columns: names of what is measured; None for every number that a training gives.

        Raises:
            ArrayError: a column is missing, or two rows have the same settings.
        """
        from jumpstart_exp.store.arrays import to_xarray

        return to_xarray(pd.DataFrame(self), columns)


def grid(*overrides: str | Mapping[str, Any], config_dir: str | Path | None = None, **settings: Any) -> Grid:
    """The cells of a sweep: the product over all lists, ranges and ellipses.

    `grid(depth=[1, 10, 50], method="relu,sep_up", seed=range(5))`; `depth=[1, 10, ..., 150]` and `depth="1,10,...,150"`
    are the same. Dotted names are written `optimizer__lr=0.001`, or in a dict or a text before them:
    `grid({"optimizer.lr": [0.01, 0.001]}, "penalty.weight=1e-4", depth=10)`. `experiment="cpaior_moons"` begins with a
    published study, whose settings and grid the others change. What is not said is the command line's default.

    Args:
        overrides: settings by their names, or texts as they are typed on the command line.
        config_dir: a folder of your own configurations (`method/mine.yaml`), as `--config-dir` names it.
        settings: values by name, `__` for a dot.

    Raises:
        SettingError: a setting does not exist or has a value that is not allowed, or the grid is too large.
    """
    from jumpstart_exp.config.composition import compose_grid
    from jumpstart_exp.config.from_python import overrides_of

    cells, run = compose_grid(overrides_of(overrides, settings), config_dir)
    return Grid(tuple(cells), run)


def train(cells: Grid, *, workers: int | None = None, **settings: Any) -> Results:
    """Train what the store does not have of a grid, in parallel, and give the results of all of it.

    Args:
        cells: what `grid` gives.
        workers: cores to be used; None for all that this process may use.
        settings: how cells are run, `results_dir="results"` and all others that the command line has: engine, device,
            curve_every, checkpoint_minutes, retry, where, max_cells, data_dir, download, …. With `dry_run=True` it says
            what it would do, and gives what is stored.

    Returns:
        A row for each of the grid's distinct cells that `where` keeps, in its order. Cells that failed are among them,
        with their `error` and a `CellsFailedWarning`; those that diverged count as not trained.

    Raises:
        SettingError: a setting is not allowed, an engine or device cannot be had, or there is more to do than
            `max_cells` or `max_hours` allow.
        FirstFailureError: a cell failed, and `fail_fast` is set; what was finished is stored.
        DataError: a dataset's files are missing or damaged and cannot be fetched.
        StoreError: the store cannot be read or written.
        KeyboardInterrupt: Ctrl-C; what was finished is stored, and the same call goes on from there.
        WorkerStartError: worker processes cannot be started; what was finished is stored.
    """
    from jumpstart_exp.config.contents import with_contents
    from jumpstart_exp.config.filters import kept
    from jumpstart_exp.sweep.runner import run_sweep
    from jumpstart_exp.sweep.stopping import InterruptedSweepError

    if not isinstance(cells, Grid):
        raise TypeError(f"train takes what grid(…) gives, and not a {type(cells).__name__}")
    run = _run_settings(cells.run, settings)
    planned = with_contents(cells.cells, Path(run.data_dir))
    planned = [*compress(planned, kept(planned, run.where))]
    try:
        errors = run_sweep(planned, run, workers)
    except InterruptedSweepError as stopped:
        if stopped.by != signal.SIGINT:
            signal.raise_signal(stopped.by)  # what asks to end has the say again, now that all is stored
        raise KeyboardInterrupt(str(stopped)) from None
    except KeyboardInterrupt as stopped:  # before or after anything was in training
        raise KeyboardInterrupt(str(stopped) or "stopped: the same call goes on from what is stored") from None
    results = _rows_of(planned, run)
    if failed := {key: error for key, error in errors.items() if error is not None}:
        titles = {cell.key: cell.title() for cell in planned}
        named = "; ".join(f"{titles[key]}: {legible(error)}" for key, error in [*failed.items()][:_MOST_NAMED])
        warnings.warn(
            f"{len(failed)} of {len(errors)} cells failed: {named}{'; …' * (len(failed) > _MOST_NAMED)} "
            '(their rows have the error; retry="failed" trains them again)',
            CellsFailedWarning,
            stacklevel=2,
        )
    return results


def load(
    results_dir: str | Path = "results",
    *,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    curves: bool = False,
) -> Results | pd.DataFrame:
    """What a results folder holds, as a table.

    Args:
        results_dir: the folder.
        columns: what is wanted of the results beside the key, all settings and the status; None for all. Of curves
            the settings or results of their cells that come along.
        where: values that columns must have, name → value or several: `{"width": [2, 4], "optimizer.lr": 0.01}`.
        curves: whether to give the training curves, a row a cell and epoch, instead of the cells.

    Raises:
        StoreError: there is no such folder, or the store cannot be read.
        KeyError: the store has no such column.
        ValueError: a value of another type than its column.
    """
    from jumpstart_exp.cell import cell_fields
    from jumpstart_exp.folders import named_folder, why_no_folder
    from jumpstart_exp.store import Store, StoreError

    if why := why_no_folder(named_folder("results_dir", results_dir)):
        raise StoreError(f"results_dir={str(results_dir)!r} cannot be read: {why}")
    if isinstance(columns, str):
        raise TypeError(f"columns={columns!r} is not allowed: it must be a list of names, [{columns!r}]")
    store = Store(results_dir)
    always = ["key", "numerics", *FIRST_COLUMNS[:_NAMING], *([] if curves else cell_fields())]
    asked = {name: _values(value) for name, value in (where or {}).items()}
    wanted = columns if columns is not None or not curves else ()
    cells = store.cells(None if wanted is None else list(dict.fromkeys([*always, *wanted])), asked)
    cells = cells.assign(method=cells["labels"]).explode("method", ignore_index=True)
    if "method" in asked:
        cells = cells[cells["method"].isin(asked["method"])].reset_index(drop=True)
    results = _in_order(cells)
    if not curves:
        return results
    found = store.curves(results["key"])
    return pd.DataFrame(results).drop(columns="numerics").merge(found, on="key")


def heatmap(results: pd.DataFrame, column: str = "train_acc_best") -> "Figure":
    """One column of results over depth × width, averaged over seeds and nothing else: a row of panels a dataset.

    Every method is a panel. Cells that are missing, diverged or failed have no value, and marks say so. The figure
    shows itself as the last expression of a notebook's cell; `figure.savefig("heatmap.pdf")` writes it.

    Args:
        results: what `train` or `load` gives, or a part of it; further columns of numbers are welcome.
        column: what is drawn: an accuracy, a loss, a share of dead units, seconds, ….

    Raises:
        GridError: results differ in something else than depth, width, dataset, method and seed, or a column is missing.
    """
    from jumpstart_exp.report.figures.metric_heatmap import metric_heatmap

    return metric_heatmap(pd.DataFrame(results), column)


def _run_settings(of_grid: RunSettings, given: Mapping[str, Any]) -> RunSettings:
    """How cells are run: as it is said, else as the grid says.

    Raises:
        SettingError: there is no such setting, or it has a value that is not allowed.
    """
    from jumpstart_exp.config.schema import known_settings

    known = field_types(RunSettings)
    for name in given:
        if name in known:
            continue
        if name.replace("__", ".") in {*known_settings(), "method", "network", "optimizer", "variant", "experiment"}:
            raise SettingError(f"{name} is a setting of cells: it goes to grid({name}=…)")
        raise SettingError(f"{legible(name)} is not a setting of train{nearest(name, ['workers', *known])}")
    values: dict[str, Any] = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    run = replace(of_grid, **values)
    if run.plot:
        raise SettingError("plot=True draws one cell of the command line: here heatmap(…) draws, or matplotlib")
    return run


def _rows_of(cells: "Sequence[Cell]", run: RunSettings) -> Results:
    """The stored rows of these cells, in their order; a cell that is not stored is missing after a dry run only.

    Raises:
        StoreError: rows are gone that were there.
    """
    from jumpstart_exp.store import Store, StoreError

    labels = dict.fromkeys((cell.key, cell.method) for cell in cells)
    keys = list(dict.fromkeys(key for key, _ in labels))
    rows = Store(Path(run.results_dir)).cells(where={"key": keys})
    place = {key: row for row, key in enumerate(rows["key"])}
    stored = [(key, label) for key, label in labels if key in place]
    if len(stored) < len(labels) and not run.dry_run:
        raise StoreError(
            f"{len(labels) - len(stored)} cells are gone from results_dir={run.results_dir!r} since they were stored"
        )
    found = rows.iloc[[place[key] for key, _ in stored]].reset_index(drop=True)
    return _in_order(found.assign(method=pd.Series([label for _, label in stored], dtype=found["method"].dtype)))


def _in_order(rows: pd.DataFrame) -> Results:
    """The rows with their columns in order, without what is for the store's own use."""
    names = [name for name in rows.columns if name not in _OF_THE_STORE]
    return Results(
        rows[[*(name for name in FIRST_COLUMNS if name in names), *(n for n in names if n not in FIRST_COLUMNS)]]
    )


def _values(value: Any) -> list[Any]:
    return [value] if value is None or isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
