"""Figures, tables and the page of probes, on made-up numbers of which the answer is known."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page_stores import cell, result

from jumpstart_exp.inspect.probe_files import probes_path, write_probes
from jumpstart_exp.report.geometry.probed import (
    ProbedNetworks,
    ProbesWarning,
    explained,
    gradient_ratio,
    probed_networks,
)
from jumpstart_exp.report.geometry.probes import explained_table, layers_figure, probes_table
from jumpstart_exp.report.page import probes as page_probes
from jumpstart_exp.report.page.probes import probe_entries
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.result import Metric
from jumpstart_exp.store import Store

DEPTH, EPOCHS = 4, 5000
TRAINS = (True, False, True, False, True, True, False, True)


def rows(epoch: int, seed: int, scale: float) -> list[tuple[str, int, int, str, float]]:
    found = [("regions", epoch, 0, "regions", 10.0 * scale + seed), ("regions", epoch, 0, "cells", 20.0)]
    for layer in range(1, DEPTH + 2):
        found += [
            ("gradients", epoch, layer, "localisation", 0.1 * layer),
            ("gradients", epoch, layer, "maximum", 0.0 if seed == 7 else scale),
            ("gradients", epoch, layer, "mean", scale * 10.0 ** (layer - 1)),
        ]
    return found


@pytest.fixture
def networks(tmp_path: Path) -> ProbedNetworks:
    store = Store(tmp_path)
    made = []
    for method in ("relu", "sep_up"):
        for seed, trains in enumerate(TRAINS):
            best = Metric(1.0, 1.0, 1) if trains and method == "sep_up" else Metric(0.5, 0.5, 1)
            own = cell(method, DEPTH, 2, seed)
            made.append(result(own, train_acc=best))
            table = rows(0, seed, 1.0) + ([] if method == "relu" and seed == 0 else rows(EPOCHS, seed, 2.0))
            frame = pd.DataFrame(table, columns=["probe", "epoch", "layer", "quantity", "value"])
            write_probes(frame, tmp_path, own.key)
    store.write(made)
    (grid,) = figure_grids(store.cells())
    (found,) = probed_networks(grid, store.cells(), tmp_path)
    return found


def test_numbers_are_laid_out_by_method_seed_and_layer(networks: ProbedNetworks) -> None:
    assert networks.methods == ("relu", "sep_up") and networks.title.endswith("4×2")
    assert networks.trained == ((False,) * 8, TRAINS)
    np.testing.assert_array_equal(networks.values(1, "start", "regions", 0), 10 + np.arange(8))
    last = networks.values(0, "last", "regions", 0)
    assert np.isnan(last[0]) and (last[1:] == 20 + np.arange(1, 8)).all()
    np.testing.assert_allclose(networks.by_layer(1, "last", "mean", [1, 5])[:, 0], [2.0, 2e4])
    np.testing.assert_allclose(gradient_ratio(networks, 1, "start"), 1e-4)


def test_the_table_has_means_intervals_and_who_has_no_gradient(networks: ProbedNetworks) -> None:
    values = probes_table(networks).values.set_index(["method", "moment"])
    row = values.loc[("sep_up", "before training")]
    assert (row["regions"], row["trained"], row["seeds"], row["none"], row["probed"]) == (13.5, 5, 8, 1, 8)
    assert row["regions_low"] < 13.5 < row["regions_high"] and row["ratio"] == pytest.approx(-4)
    assert np.isnan(row["cells_low"]) and row["cells_least"] == row["cells_most"] == 20
    assert values.loc[("relu", "after training"), "probed"] == 7


def test_what_explains_training_is_a_probability(networks: ProbedNetworks) -> None:
    assert {*explained_table(networks).values["method"]} == {"sep_up"}
    of = explained(np.array([1.0, 2.0, 3.0, 4.0, np.nan]), (False, False, True, True, True))
    assert of is not None
    assert (of.trained, of.others, of.higher) == (2, 2, 1.0) and of.p == pytest.approx(1 / 3)
    same = explained(np.ones(4), (False, False, True, True))
    assert same is not None and (same.higher, same.p) == (0.5, 1.0)
    assert explained(np.ones(3), (False, True, True)) is None


def test_the_figure_has_a_line_a_method_over_the_layers(networks: ProbedNetworks) -> None:
    figure = layers_figure(networks)
    titles = [ax.get_title() for ax in figure.axes[:2]]
    assert titles == ["share of the plane with 90 %\nof the gradient", "mean over the plane\nof max |∂f/∂A|"]
    lines = [line for line in figure.axes[2].lines if line.get_gid() != "alone"]
    line = lines[1]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_allclose(line.get_ydata(), 0.1 * np.arange(1, 6))
    lines = [line for line in figure.axes[3].lines if line.get_gid() != "alone"]
    np.testing.assert_allclose(lines[1].get_ydata(), np.arange(5) + np.log10(2))
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[0].endswith("(0 of 8 train)") and words[1].endswith("(5 of 8 train)")


def test_layers_that_few_seeds_have_are_left_out_and_single_ones_are_points(networks: ProbedNetworks) -> None:
    for table in networks.tables[1][:5]:
        table.loc[(table["layer"] == 2) & (table["quantity"] == "localisation"), "value"] = np.nan
    figure = layers_figure(networks)
    line = [each for each in figure.axes[2].lines if each.get_gid() != "alone"][1]
    np.testing.assert_allclose(line.get_ydata(), [0.1, np.nan, 0.3, 0.4, 0.5])
    points = [each.get_xdata() for each in figure.axes[2].lines if each.get_gid() == "alone"]
    assert [list(each) for each in points] == [[], [1]]


def test_a_method_that_was_not_probed_for_a_quantity_has_no_line_of_it(networks: ProbedNetworks) -> None:
    without = tuple(table[table["quantity"] != "localisation"] for table in networks.tables[0])
    figure = layers_figure(replace(networks, tables=(without, networks.tables[1])))
    assert [len(ax.lines) for ax in figure.axes] == [2, 4, 2, 4]  # a line and its single points


def test_a_file_that_is_damaged_is_named_and_left_out(networks: ProbedNetworks, tmp_path: Path) -> None:
    store = Store(tmp_path)
    key = str(store.cells()["key"].iloc[0])
    probes_path(tmp_path, key).write_bytes(b"no")
    (grid,) = figure_grids(store.cells())
    with pytest.warns(ProbesWarning, match="is no file of probes"):
        (found,) = probed_networks(grid, store.cells(), tmp_path)
    assert sum(map(len, found.tables)) == 15


def test_the_page_has_what_is_stored(networks: ProbedNetworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = cell("sep_up", DEPTH, 2, 7).key
    found = probe_entries(tmp_path, ["0" * 32, own])
    assert [*found["cells"]] == ["1"]
    entry = found["cells"]["1"]
    assert entry["epochs"] == [0, EPOCHS] and entry["whole"] == [("regions", [17.0, 27.0]), ("cells", [20.0, 20.0])]
    assert [name for name, _ in entry["layers"]] == ["localisation", "maximum", "mean"]
    assert dict(entry["layers"])["localisation"][1] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert {name for name, _ in entry["whole"] + entry["layers"]} <= {*found["words"]}
    monkeypatch.setattr(page_probes, "LARGEST", 10)
    assert probe_entries(tmp_path, [own])["cells"]["0"]["layers"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert probe_entries(tmp_path / "none", [own])["cells"] == {}
