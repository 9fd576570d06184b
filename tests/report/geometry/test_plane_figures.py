"""Pictures of the plane of probed networks: of which states they are, and what is left out."""

from pathlib import Path

import pytest
from kept_states import cell_of, kept, stored

from jumpstart_exp.inspect import probes
from jumpstart_exp.inspect.probe_files import NO_PROBES, joined, write_probes
from jumpstart_exp.inspect.probes import probe
from jumpstart_exp.inspect.recorded_states import snapshot_path
from jumpstart_exp.report.geometry.planes import plane_figures
from jumpstart_exp.report.geometry.probed import ProbedNetworks, ProbesWarning, probed_networks
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.store import Store

CELLS = [
    cell_of("relu"),
    cell_of("relu", seed=1),
    cell_of("tanh", network=NetworkSpec(activation="tanh")),
]


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProbedNetworks:
    monkeypatch.setattr(probes, "RESOLUTION", 10)
    stored(tmp_path, CELLS)
    for cell in CELLS:
        states = kept(cell)
        names = ["gradients", *(["regions"] if cell.method == "relu" else [])]
        found = [probe(states, len(states.epochs) - 1, name, tmp_path) for name in names]
        write_probes(joined(NO_PROBES, found), tmp_path, cell.key)
    table = Store(tmp_path).cells()
    (grid,) = figure_grids(table)
    (found_networks,) = probed_networks(grid, table, tmp_path)
    return found_networks


def words(figure: object) -> str:
    return " ".join(text.get_text() for text in figure.findobj() if hasattr(text, "get_text"))  # type: ignore[attr-defined]


def test_of_each_method_the_first_seed_that_was_probed_for_it(networks: ProbedNetworks, tmp_path: Path) -> None:
    found = dict(plane_figures(networks, tmp_path, tmp_path))
    assert [name.removeprefix(networks.slug) for name in found] == ["_regions", "_fields"]
    regions, fields = (words(draw()) for draw in found.values())
    assert "ReLU, seed 0" in regions and "seed 1" not in regions and "tanh" not in regions
    assert "ReLU, seed 0" in fields and "tanh, seed 0" in fields


def test_states_that_are_not_kept_are_left_out(networks: ProbedNetworks, tmp_path: Path) -> None:
    snapshot_path(tmp_path, CELLS[0].key).unlink()
    regions = words(dict(plane_figures(networks, tmp_path, tmp_path))[f"{networks.slug}_regions"]())
    assert "ReLU, seed 1" in regions and "seed 0" not in regions
    snapshot_path(tmp_path, CELLS[1].key).write_bytes(b"PK")
    with pytest.warns(ProbesWarning, match="left out"):
        found = dict(plane_figures(networks, tmp_path, tmp_path))
    assert [*found] == [f"{networks.slug}_fields"]
