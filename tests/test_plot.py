"""`plot=true` of a single run: one figure, drawn of what is stored."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from kept_states import cell_of, stored, trained
from matplotlib.figure import Figure

from jumpstart_exp import plot
from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.report.inside.dynamics import dynamics_figure
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store

Drawn = list[tuple[RecordedStates, Figure]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What was drawn: the states, and the figure of them."""
    found: Drawn = []

    def draw(states: RecordedStates, *arguments: Any, **options: Any) -> Figure:
        found.append((states, dynamics_figure(states, *arguments, **options)))
        return found[-1][1]

    monkeypatch.setattr(plot, "dynamics_figure", draw)
    return found


def surfaces(figure: Figure) -> int:
    return sum(bool(ax.images) for part in figure.subfigs for ax in part.axes)


def lines(figure: Figure) -> dict[str, np.ndarray[Any, Any]]:
    return {str(line.get_gid()): line.get_ydata() for ax in figure.subfigs[0].axes for line in ax.lines}


@pytest.mark.parametrize("method", ["sep_up", "conv"])
def test_losses_accuracy_census_and_surfaces_of_a_stored_cell(tmp_path: Path, drawn: Drawn, method: str) -> None:
    cell = cell_of(method)
    stored(tmp_path, [cell], with_states=False)
    paths = plot.plot_cell(cell, RunSettings(results_dir=str(tmp_path)))
    assert [path.name for path in paths] == [
        f"cell_moons_6x4_{method.replace('_', '-')}_seed0_{cell.key[:8]}.{kind}" for kind in ("png", "pdf")
    ]
    assert all(path.parent == tmp_path / "figures" and path.stat().st_size > 5000 for path in paths)
    ((states, figure),) = drawn
    assert states.agreement == "" and surfaces(figure) >= 3, "the first, the last and between"
    assert {"train_loss", "val_loss", "train_acc", "val_acc", "dead_units", "dead_points"} <= lines(figure).keys()
    assert not (tmp_path / "snapshots").exists(), "a figure is all that is written"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engine": "stacked"}, "trained by stacked"),
        ({"train_loss": Metric(9.0, 9.0, 1)}, "otherwise than stored: train_loss_last"),
    ],
)
def test_a_training_that_is_not_the_stored_one_gives_no_surface(
    tmp_path: Path, drawn: Drawn, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], reason: str
) -> None:
    """The stored curve is drawn, and nothing of another training."""
    result = dataclasses.replace(trained(cell_of()), **changes)
    Store(tmp_path).write([result])
    plot.plot_cell(result.cell, RunSettings(results_dir=str(tmp_path)))
    ((states, figure),) = drawn
    assert states.column("train_acc").tolist() == [row.train_acc for row in result.curve]
    assert surfaces(figure) == 0
    said = capsys.readouterr().err
    assert said.startswith("no decision surface is drawn: ") and reason in said


def test_images_are_drawn_without_their_files(tmp_path: Path, drawn: Drawn, capsys: pytest.CaptureFixture[str]) -> None:
    """They have no plane: nothing is trained again, which could take hours."""
    cell = Cell(dataset=Mnist(), depth=2, width=2, network=NetworkSpec(layout="cnn"), optimizer=OptimizerSpec(epochs=2))
    curve = (
        CurveRow(1, 0.25, 0.5, 2.0, 1.5, None, 0.5, 0.0, 0.25, 0.0),
        CurveRow(2, 0.5, 0.75, 1.5, 1.25, None, None, None, None, None),
    )
    census = LayerCensus(*[(0.5, 0.25)] * 4)
    Store(tmp_path).write([Result(cell, "done", "eager", epochs_run=2, census_start=census, curve=curve)])
    plot.plot_cell(cell, RunSettings(results_dir=str(tmp_path), data_dir=str(tmp_path / "none")))
    ((_, figure),) = drawn
    assert surfaces(figure) == 0 and lines(figure)["val_acc"].tolist() == [0.5, 0.75]
    assert capsys.readouterr().err == ""


def test_a_cell_that_diverged_at_once_is_drawn(tmp_path: Path, drawn: Drawn) -> None:
    cell = cell_of(optimizer=OptimizerSpec(epochs=40, lr=1e30))
    stored(tmp_path, [cell], with_states=False)
    plot.plot_cell(cell, RunSettings(results_dir=str(tmp_path)))
    assert surfaces(drawn[0][1]) >= 1


Command = Callable[..., CompletedProcess[str]]


def test_a_single_run_says_what_became_of_it_where_it_lies_and_what_comes_next(answer: Command, tmp_path: Path) -> None:
    line = ["depth=50", "method=relu", "seed=3", "optimizer.epochs=3", "results_dir=my runs"]
    first, again = answer(*line), answer(*line, "plot=true")
    assert first.returncode == again.returncode == 0, again.stderr
    (key,) = Store(tmp_path / "my runs").cells(["key"])["key"]
    for done in (first, again):
        assert "stuck at chance: every point is put into one class (all are dead at layer" in done.stdout
        assert f"its row: key={key} in my runs/cells, its curve in my runs/curves" in done.stdout
        assert "python -m jumpstart_exp.report results_dir='my runs'" in done.stdout
        assert f"python -m jumpstart_exp.inspect key={key} results_dir='my runs'" in done.stdout
        before, after = (done.stdout.index(word) for word in ("before", "after"))
        assert done.stdout.index("best") < done.stdout.index("last epoch") < before < after
    assert "the same command with plot=true" in first.stdout and "drawn:" not in first.stdout
    assert "the same command with plot=true" not in again.stdout
    (drawn,) = [line for line in again.stdout.splitlines() if line.startswith("drawn: ")]
    assert (tmp_path / drawn.removeprefix("drawn: ").removesuffix(" (and .pdf)")).exists()
    assert len(again.stdout.splitlines()) < 40, "what draws keeps its own notes"


def test_a_figure_that_cannot_be_written_is_one_line(answer: Command, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "figures").write_text("no folder")
    done = answer("depth=1", "width=2", "optimizer.epochs=2", "plot=true")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "the figure cannot be written" in done.stderr and "results/figures" in done.stderr


def test_a_sweep_is_not_plotted(answer: Command, tmp_path: Path) -> None:
    done = answer("-m", "depth=1,2", "plot=true", "dry_run=true")
    assert done.returncode == 2 and done.stderr.startswith("error: plot=true draws one cell: leave out -m")
    assert not (tmp_path / "results").exists()
