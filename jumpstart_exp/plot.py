"""`python -m jumpstart_exp plot=true`: one stored cell drawn: losses, accuracy, census, and decision surfaces."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.console import notes
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.inspect.recorded_states import CURVE, RecordedStates
from jumpstart_exp.inspect.retraining import InspectError, epochs_of, retrain, trainer_of
from jumpstart_exp.networks.build import parameter_shapes, running_shape
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.inside.dynamics import dynamics_figure
from jumpstart_exp.report.inside.jobs import WIDTH_INCHES, cell_slug
from jumpstart_exp.result import ACTIVITY, CENSUS, COLUMNS
from jumpstart_exp.settings import legible
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.progress import epoch_progress

_MOST_STATES = 200
"""States that are kept for the surfaces: of a stored curve's epochs, spread."""


def plot_cell(cell: Cell, settings: RunSettings) -> list[Path]:
    """Draw a stored cell into RESULTS_DIR/figures, as PNG and PDF.

    Decision surfaces, of points in a plane, need the network's parameters, which no store has: the training is done
    again. Where that cannot be, or gives other values than those stored, the stored curve is drawn without surfaces,
    and a line says why.

    Returns:
        the files.

    Raises:
        OSError: the folder cannot be written.
        StoreError: the store cannot be read.
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # Hydra shows what is told from there on
    store, data_dir = Store(settings.results_dir), Path(settings.data_dir)
    columns = [COLUMNS[cell.dataset.task].get(name, name) for name in CURVE]
    row, curve = store.row(cell.key), store.curves([cell.key])[columns].to_numpy(np.float64)
    states, reason = None, ""
    if cell.dataset.features == 2 and cell.dataset.classes == 2:
        states, reason = _trained_again(row, cell, curve[:, 0].astype(np.int64), data_dir)
    if reason:
        notes().print(f"no decision surface is drawn: {legible(reason)}", markup=False)
    drawn = states or _without_states(row, cell, curve)
    return save_figure(
        lambda: dynamics_figure(drawn, WIDTH_INCHES, data_dir, rows=2 if states else 0),
        store.results_dir / "figures",
        f"cell_{cell_slug(cell)}",
    )


def _trained_again(
    row: Mapping[str, Any], cell: Cell, epochs: np.ndarray[Any, np.dtype[np.int64]], data_dir: Path
) -> tuple[RecordedStates | None, str]:
    """The stored training with its states, or the reason why there are none."""
    try:
        if doubt := trainer_of(row, cell).doubt:
            return None, doubt
        last = epochs_of(row, cell)
        spread = np.linspace(0, len(epochs) - 1, min(_MOST_STATES, len(epochs))).round().astype(np.int64)
        wanted = [int(epoch) for epoch in epochs[spread] if epoch <= last]
        with epoch_progress(cell, notes()) as show:
            states = retrain(row, cell, data_dir, epochs=wanted, count=0, on_progress=lambda done: show(cell, done))
    except (DataError, InspectError) as error:
        return None, str(error)
    if states.agreement:
        return None, f"trained again it came out otherwise than stored: {states.agreement}"
    return states, ""


def _without_states(row: Mapping[str, Any], cell: Cell, curve: np.ndarray[Any, np.dtype[np.float64]]) -> RecordedStates:
    """The stored curve as the figures take it, with no state but an empty one at its end."""
    numbers = sum(int(np.prod(shape)) for shape in parameter_shapes(cell).values())
    return RecordedStates(
        cell=cell,
        engine=str(row["engine"]),
        device=str(row["device"]),
        diverged_epoch=row["diverged_epoch"],
        agreement="",
        asked=0,
        epochs=np.array([int(row["epochs_run"])], np.int64),
        parameters=np.zeros((1, numbers), np.float32),
        running=np.zeros((1, *running_shape(cell)), np.float32),
        census=np.zeros((1, len(CENSUS) + len(ACTIVITY), cell.depth)),
        curve=curve,
    )
