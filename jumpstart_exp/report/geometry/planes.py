"""What probed networks do to the plane, as pictures of it: their linear regions, and the fields of their gradients."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import load
from jumpstart_exp.geometry import linear_regions
from jumpstart_exp.inspect.probed_state import Probed
from jumpstart_exp.inspect.recorded_states import RecordedStatesError, read_recorded_states, stored_keys
from jumpstart_exp.report.figures.drawing import figure_job
from jumpstart_exp.report.geometry.gradients import trained_field_figure
from jumpstart_exp.report.geometry.probed import ProbedNetworks, ProbesWarning, probed_networks
from jumpstart_exp.report.geometry.regions import regions_figure
from jumpstart_exp.report.registry import Job, Stored, of_store

WIDTH_INCHES = 5.5

_MOST = 4
"""Networks of a figure of fields, each a row."""

_MOST_REGIONS = 8


@of_store("geometry", rank=13, title="linear regions and gradient fields on the plane")
def _planes(stored: Stored) -> Iterator[Job]:
    for grid in stored.alone:
        for networks in probed_networks(grid, stored.table, stored.results_dir):
            for name, draw in plane_figures(networks, stored.results_dir, stored.data_dir):
                yield figure_job(name, draw)


def plane_figures(
    networks: ProbedNetworks, results_dir: Path, data_dir: Path
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names of pictures of the plane, and what draws them: of each method the first seed's last state, as it is kept.

    Of networks on points of two features that were probed for it; what is not kept any more is left out.

    Args:
        networks: at one depth and width.
        results_dir: where the states lie.
        data_dir: folder of the datasets' files.
    """
    try:
        kept = {*stored_keys(results_dir)}
    except RecordedStatesError as error:
        warnings.warn(str(error), ProbesWarning, stacklevel=2)
        return
    shown: dict[str, list[tuple[str, Probed]]] = {"regions": [], "mean": []}
    for method, title in enumerate(networks.titles):
        for key, table in zip(networks.keys[method], networks.tables[method], strict=True):
            if key not in kept:
                continue
            try:
                states = read_recorded_states(results_dir, key)
                of = Probed(states, len(states.epochs) - 1, load(states.cell.dataset, data_dir))
            except (RecordedStatesError, DataError) as error:
                warnings.warn(str(error).partition("\n")[0], ProbesWarning, stacklevel=2)
                continue
            if states.cell.dataset.features != 2:
                return
            at_last = table[table["epoch"] == int(states.epochs[-1])]
            for quantity, own in shown.items():
                if (at_last["quantity"] == quantity).any():
                    own.append((f"{title}, seed {states.cell.seed}", of))
            break
    if shown["regions"]:
        yield f"{networks.slug}_regions", partial(_regions, networks.title, shown["regions"][:_MOST_REGIONS])
    if shown["mean"]:
        yield f"{networks.slug}_fields", partial(_fields, networks.title, shown["mean"][:_MOST])


def _regions(title: str, shown: list[tuple[str, Probed]]) -> Figure:
    points = None
    if shown[0][1].states.cell.dataset.task == "classification":
        data = shown[0][1].data
        points = data.x_train.double().numpy(), data.y_train.numpy().astype(np.int64)
    found = [(name, linear_regions(of.network, of.plane)) for name, of in shown]
    figure = regions_figure(found, WIDTH_INCHES, points=points)
    what = "cells by the layer that cut them last · black: boundary between classes"
    figure.suptitle(f"{title}, last epoch\n{what}", fontsize=7)
    return figure


def _fields(title: str, shown: list[tuple[str, Probed]]) -> Figure:
    _, first = shown[0]
    figure = trained_field_figure({name: of.network for name, of in shown}, first.plane, first.nearest, WIDTH_INCHES)
    figure.suptitle(f"{title}, last epoch: max |∂f/∂A| over the plane", fontsize=7)
    return figure
