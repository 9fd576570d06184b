"""`python -m jumpstart_exp.inspect probe=…`: what is probed, where it lies, and what cannot be."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kept_states import cell_of, kept, moons, stored

from jumpstart_exp.data.loading import Data
from jumpstart_exp.geometry import Plane, exact_variation, gradient_field, linear_regions
from jumpstart_exp.inspect import __main__ as command
from jumpstart_exp.inspect import probes
from jumpstart_exp.inspect.__main__ import main
from jumpstart_exp.inspect.probe_files import (
    NO_PROBES,
    QUANTITIES,
    ProbesError,
    joined,
    probed_keys,
    probes_path,
    read_probes,
    write_probes,
)
from jumpstart_exp.inspect.probes import PROBES, Probed, probe
from jumpstart_exp.inspect.recorded_states import read_recorded_states
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.rai import RaiSpec

Said = Callable[..., tuple[int, str, str]]
NOWHERE = Path("nowhere")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shown = warnings.showwarning
    monkeypatch.setattr(probes, "RESOLUTION", 20)
    monkeypatch.setattr(probes, "DRAWS", 10)
    yield
    warnings.showwarning = shown


@pytest.fixture
def inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([f"results_dir={tmp_path}", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def value(table: pd.DataFrame, epoch: int, quantity: str, layer: int = 0) -> float:
    (found,) = table.loc[
        (table["epoch"] == epoch) & (table["quantity"] == quantity) & (table["layer"] == layer), "value"
    ]
    return float(found)


def test_names_of_the_command_are_those_of_the_probes() -> None:
    assert command.PROBES == tuple(PROBES) == tuple(QUANTITIES)


def test_all_probes_of_a_cell_at_its_first_and_last_epoch(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of("relu")
    stored(tmp_path, [cell], with_states=False)
    code, said, _ = inspect(f"key={cell.key}", "probe=all")
    assert code == 0 and "regions, decisions, gradients, variation at 2 epochs" in said
    table = read_probes(tmp_path, cell.key)
    assert probed_keys(tmp_path) == [cell.key]
    assert {*table["probe"]} == {*PROBES} and {*table["epoch"]} == {0, 40}
    for name, quantities in QUANTITIES.items():
        assert {*table.loc[table["probe"] == name, "quantity"]} == {*quantities}
    states = read_recorded_states(tmp_path, cell.key)
    assert states.epochs.tolist() == [0, 40]
    plane = Plane.around(moons().x_train)
    for state, epoch in enumerate((0, 40)):
        regions = linear_regions(states.network(state), plane)
        assert value(table, epoch, "regions") == regions.region_count
        born = [value(table, epoch, "born", layer) for layer in range(1, 7)]
        assert born == regions.by_layer()["born"].tolist() and sum(born) + 1 == value(table, epoch, "cells")
        points = plane.inputs(plane.grid(20))
        nearest = moons().y_train[torch.cdist(points, moons().x_train).argmin(1)]
        field = gradient_field(states.network(state), points, nearest)
        for layer, row in enumerate(field.localisation().to_dict("records"), 1):
            for quantity in ("localisation", "maximum", "mean"):
                assert value(table, epoch, quantity, layer) == pytest.approx(row[quantity], nan_ok=True)


def test_more_probes_and_epochs_join_those_that_are_there_and_no_state_is_lost(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of("sep_up")
    stored(tmp_path, [cell], with_states=False)
    assert inspect(f"key={cell.key}", "epochs=3,7")[0] == 0
    assert inspect(f"key={cell.key}", "probe=regions", "epochs=3")[0] == 0
    first = read_probes(tmp_path, cell.key)
    assert {*first["epoch"]} == {0, 3, 40}
    code, said, _ = inspect(f"key={cell.key}", "probe=gradients", "epochs=5")
    assert code == 0 and "gradients at 3 epochs" in said
    second = read_probes(tmp_path, cell.key)
    assert {*zip(second["probe"], second["epoch"], strict=True)} == {
        *(("regions", epoch) for epoch in (0, 3, 40)),
        *(("gradients", epoch) for epoch in (0, 5, 40)),
    }
    kept_rows = second[second["probe"] == "regions"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept_rows, first.reset_index(drop=True))
    assert read_recorded_states(tmp_path, cell.key).epochs.tolist() == [0, 3, 5, 7, 40]
    before = probes_path(tmp_path, cell.key).read_bytes()
    assert inspect(f"key={cell.key}", "probe=gradients", "epochs=5")[0] == 0
    assert probes_path(tmp_path, cell.key).read_bytes() == before


def test_a_probe_that_cannot_be_applied_says_why(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of("tanh", network=NetworkSpec(activation="tanh"))
    stored(tmp_path, [cell], with_states=False)
    code, said, noted = inspect(f"key={cell.key}", "probe=regions,gradients")
    assert code == 1 and "no regions: the model computes tanh" in noted and "gradients at 2 epochs" in said
    code, _, noted = inspect(f"key={cell.key}", "probe=all")
    assert code == 0 and "no regions" in noted
    assert {*read_probes(tmp_path, cell.key)["probe"]} == {*PROBES} - {"regions"}


def test_a_damaged_file_is_named_and_written_anew(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of("relu")
    stored(tmp_path, [cell], with_states=False)
    path = probes_path(tmp_path, cell.key)
    path.parent.mkdir()
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ProbesError, match="is left out, it is no file of probes"):
        read_probes(tmp_path, cell.key)
    code, _, noted = inspect(f"key={cell.key}", "probe=regions")
    assert code == 0 and "written anew" in noted
    assert len(read_probes(tmp_path, cell.key))
    with pytest.raises(ProbesError, match="is not there"):
        read_probes(tmp_path, "0" * 32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("probe=region", "probe='region' is not allowed: it must be all, or some of regions, decisions, gradients"),
        ("probe=", "'probe=' is not an argument"),
        ("probe=regions verify=true", "probe and verify=true do not go together"),
        ("probe=all snapshots=9", "snapshots and probe do not go together"),
    ],
)
def test_bad_arguments_of_probes(arguments: str, words: str, inspect: Said) -> None:
    code, said, noted = inspect("key=abcd", *arguments.split())
    assert code == 2 and said == "" and words in noted and len(noted.splitlines()) == 1


def test_variation_of_points_that_do_not_see_each_other_is_that_of_their_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes, "DRAWS", 400)
    cell = cell_of("relu", depth=2, width=8)
    states = kept(cell, epochs=(0,))
    table = probe(states, 0, "variation", NOWHERE)
    data = moons()
    exact = exact_variation(states.network(0), data.x_train, data.y_train)
    for layer, c in enumerate(exact["c"], 1):
        assert value(table, 0, "variation", layer) == pytest.approx(c, rel=0.15)
        assert value(table, 0, "exponent", layer) == pytest.approx(-0.5, abs=0.1)


def test_variation_is_of_the_penalty_too() -> None:
    plain, penalised = cell_of("relu", depth=3), cell_of("sep_up", depth=3)
    first, second = (
        value(probe(kept(cell, epochs=(0,)), 0, "variation", NOWHERE), 0, "variation", 1) for cell in (plain, penalised)
    )
    assert first != second


def test_relaxed_layers_have_no_variation() -> None:
    cell = cell_of("rai", rai=RaiSpec(weight=1.0), optimizer=OptimizerSpec(epochs=3))
    with pytest.raises(SettingError, match="values of its own for every training point"):
        probe(kept(cell, epochs=(0,)), 0, "variation", NOWHERE)


def test_points_of_many_features_are_looked_at_on_the_plane_through_three_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    wide = torch.cat([x, torch.randn(60, 3, generator=generator, dtype=torch.float64)], 1)
    y = torch.arange(60) % 3
    of = Probed(kept(cell_of("relu"), epochs=(0,)), 0, Data(wide, y, wide[:3], y[:3]))
    corners = torch.stack([of.plane.inputs(torch.zeros(1, 2))[0]])
    assert torch.allclose(corners[0], wide[0])
    points = of.plane.inputs(of.plane.grid(15))
    distances = (points[:, None] - wide).square().sum(2)
    of_class = torch.stack([distances[:, y == index].amin(1) for index in range(3)], 1)
    found = of_class.gather(1, of.nearest(points)[:, None])[:, 0]
    torch.testing.assert_close(found, distances.amin(1))  # halfway between two classes it is either
    for index in range(3):
        assert of.nearest(wide[index : index + 1]).item() == y[index]


def test_new_rows_stand_for_old_ones_of_their_probe_and_epoch(tmp_path: Path) -> None:
    def rows(probe_name: str, epoch: int, values: list[float]) -> pd.DataFrame:
        quantity = {"regions": "born", "gradients": "mean"}[probe_name]
        return pd.DataFrame(
            {"probe": probe_name, "epoch": epoch, "layer": range(len(values)), "quantity": quantity, "value": values}
        )

    old = joined(NO_PROBES, [rows("regions", 0, [1.0, 2.0, 3.0]), rows("gradients", 0, [4.0])])
    new = joined(old, [rows("regions", 0, [math.nan])])
    write_probes(new, tmp_path, "f" * 32)
    found = read_probes(tmp_path, "f" * 32)
    assert found["probe"].tolist() == ["gradients", "regions"]
    np.testing.assert_array_equal(found["value"], [4.0, math.nan])
    assert not list((tmp_path / "probes").glob(".*"))


def test_a_study_of_no_paper_can_be_inspected(inspect: Said, tmp_path: Path) -> None:
    stored(tmp_path, [replace(cell_of("relu"), seed=3)], with_states=False)
    code, _, noted = inspect("study=quick", "seed=3")
    assert code == 2 and "the store has no cell of study=quick" in noted
