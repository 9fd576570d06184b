"""Numbers of probes over the seeds: the moment that is said, intervals of what can be, and axes that read true."""

from pathlib import Path

import numpy as np
import pandas as pd

from jumpstart_exp.inspect.probe_files import NO_PROBES, write_probes
from jumpstart_exp.report.geometry.probed import ProbedNetworks, averaged, probed_networks
from jumpstart_exp.report.geometry.probes import layers_figure, probes_table
from jumpstart_exp.report.table.grid import figure_grids
from tests.kept_states import cell_of, stored


def _table(rows: list[tuple[str, int, int, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=NO_PROBES.columns)


def _networks(tables: list[pd.DataFrame], last: int) -> ProbedNetworks:
    count = len(tables)
    trained = ((True,) * count,)
    keys = (tuple(f"{seed:032x}" for seed in range(count)),)
    return ProbedNetworks(
        "figure", "slug", 2, ("relu",), ("ReLU",), keys, trained, (tuple(tables),), ((last,) * count,)
    )


def test_only_the_last_epoch_is_after_training() -> None:
    table = _table([("regions", 0, 0, "regions", 5.0), ("regions", 10, 0, "regions", 7.0)])
    assert _networks([table], 10).values(0, "last", "regions", 0).tolist() == [7.0]
    # of a training of 40 epochs, of which the last could not be probed
    assert np.isnan(_networks([table], 40).values(0, "last", "regions", 0)).all()
    assert _networks([table], 40).values(0, "start", "regions", 0).tolist() == [5.0]


def test_intervals_stay_within_what_a_number_can_be() -> None:
    shares = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    found = averaged("localisation", shares)
    assert found.low == 0.0
    assert 0.5 < found.high < 1.0
    assert averaged("unsure", 1 - shares).high == 1.0
    assert averaged("regions", 100 * shares).low == 0.0
    assert averaged("ratio", shares).low < 0


def test_ticks_of_an_axis_within_a_decade_are_numbers_of_their_own() -> None:
    tables = [_table([("variation", 0, layer, "variation", value) for layer, value in ((1, 1.5), (2, 4.0), (3, 9.0))])]
    figure = layers_figure(_networks(tables, 10))
    figure.canvas.draw()
    axis = figure.axes[0].yaxis
    low, high = axis.get_view_interval()
    ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    labels = [axis.get_major_formatter()(tick) for tick in ticks]
    assert len(set(labels)) == len(labels) >= 2
    for tick, label in zip(ticks, labels, strict=True):
        if not label.startswith("10") or label == "10":
            assert abs(float(label) / 10**tick - 1) < 0.06


def test_the_table_says_that_numbers_are_of_the_seeds_that_have_them() -> None:
    rows = [("gradients", 0, layer, "localisation", np.nan) for layer in (1, 2, 3)]
    rows += [("gradients", 0, layer, "maximum", 0.0) for layer in (1, 2, 3)]
    table = probes_table(_networks([_table(rows)] * 2, 10))
    assert "of the seeds that have the number" in table.caption
    assert table.values["none"].tolist()[0] == 2


def test_files_name_their_last_epoch_by_the_store(tmp_path: Path) -> None:
    cell = cell_of("relu", depth=2)
    store = stored(tmp_path, [cell], with_states=False)
    write_probes(_table([("regions", 0, 0, "regions", 5.0), ("regions", 10, 0, "regions", 7.0)]), tmp_path, cell.key)
    table = store.cells()
    (grid,) = figure_grids(table)
    (found,) = probed_networks(grid, table, tmp_path)
    assert found.lasts == ((40,),)
