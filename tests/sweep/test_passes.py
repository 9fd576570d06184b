import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engines import OneByOne, Threads

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.data.spirals import Spirals
from jumpstart_exp.engines.choice import Choice
from jumpstart_exp.report.figures import heatmaps
from jumpstart_exp.report.of_cells import write_heatmaps
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.store import Store
from jumpstart_exp.sweep import pictures, runner
from jumpstart_exp.sweep.fleets import form_phases
from jumpstart_exp.sweep.passes import passes_of
from jumpstart_exp.sweep.pictures import Pictures

Command = Callable[..., subprocess.CompletedProcess[str]]


def grid(depths: list[int], seeds: list[int], methods: tuple[str, ...] = ("relu",)) -> list[Cell]:
    cells = [Cell(depth=depth, seed=seed, method=method) for method in methods for depth in depths for seed in seeds]
    random.Random(0).shuffle(cells)
    return cells


def test_the_first_seed_at_every_second_depth_comes_first_then_its_rest_then_ever_more_seeds() -> None:
    passes = passes_of(grid([1, 2, 5, 10, 50], [3, 4, 5, 7, 9, 11]))
    assert [({cell.depth for cell in each.cells}, {cell.seed for cell in each.cells}) for each in passes] == [
        ({1, 5, 50}, {3}),
        ({2, 10}, {3}),
        ({1, 2, 5, 10, 50}, {4}),
        ({1, 2, 5, 10, 50}, {5, 7}),
        ({1, 2, 5, 10, 50}, {9, 11}),
    ]
    assert [each.shows for each in passes] == ["1 seed, every second depth", "1 seed", "2 seeds", "4 seeds", "6 seeds"]


def test_of_many_depths_every_fourth_comes_first() -> None:
    passes = passes_of(grid([*range(1, 14)], [0, 1]))
    assert [{cell.depth for cell in each.cells} for each in passes] == [
        {1, 5, 9, 13},
        {3, 7, 11},
        {2, 4, 6, 8, 10, 12},
        {*range(1, 14)},
    ]
    assert [each.shows for each in passes][:2] == ["1 seed, every fourth depth", "1 seed, every second depth"]


def test_every_cell_is_in_one_pass_and_there_are_few_of_many_seeds() -> None:
    cells = grid([1, 2, 3, 4], [*range(1000)])
    passes = passes_of(cells)
    assert sorted(cell.key for each in passes for cell in each.cells) == sorted(cell.key for cell in cells)
    assert len(passes) == 12
    assert passes[-1].shows == "1000 seeds"


def test_few_depths_are_no_coarser_picture() -> None:
    (one,) = passes_of(grid([1, 2, 3], [0]))
    assert one.shows == "1 seed"
    assert passes_of([]) == []


def test_seeds_and_depths_are_those_of_each_dataset() -> None:
    moons = [Cell(dataset=Moons(), depth=depth, seed=seed) for depth in (1, 2, 3, 4) for seed in (0, 1)]
    spirals = [Cell(dataset=Spirals(), depth=depth, seed=seed) for depth in (2, 4) for seed in (5, 6)]
    passes = passes_of([*moons, *spirals])
    assert [{(cell.dataset.name, cell.depth, cell.seed) for cell in each.cells} for each in passes] == [
        {("moons", 1, 0), ("moons", 3, 0)},
        {("moons", 2, 0), ("moons", 4, 0), ("spirals", 2, 5), ("spirals", 4, 5)},
        {*(("moons", depth, 1) for depth in (1, 2, 3, 4)), ("spirals", 2, 6), ("spirals", 4, 6)},
    ]


def numbers(cells: list[Cell]) -> dict[str, int]:
    return {cell.key: number for number, each in enumerate(passes_of(cells)) for cell in each.cells}


@pytest.mark.parametrize("engine", [OneByOne, Threads])
def test_one_engine_has_one_phase_in_which_no_pass_is_trained_before_an_earlier_one(engine: type[OneByOne]) -> None:
    cells = grid([*range(1, 9)], [0, 1, 2])
    (phase,) = form_phases(cells, [Choice(engine, "cpu")] * len(cells), 2, None, Path("data"), None, numbers(cells))
    order = [numbers(cells)[cell.key] for fleet in phase.fleets for cell in fleet]
    assert order == sorted(order)
    assert [len({numbers(cells)[cell.key] for cell in fleet}) for fleet in phase.fleets] == [1] * len(phase.fleets)
    assert {cell.key for fleet in phase.fleets for cell in fleet} == phase.cost.keys() == {cell.key for cell in cells}
    assert phase.at_once == 2


def test_two_engines_take_turns_so_that_the_first_picture_has_the_cells_of_both() -> None:
    cells = grid([1, 2, 3, 4], [0], ("relu", "batch_norm"))
    choices = [Choice(Threads if cell.method == "relu" else OneByOne, "cpu") for cell in cells]
    phases = form_phases(cells, choices, 2, None, Path("data"), None, numbers(cells))
    found = [(phase.setup.engine.name, {numbers(cells)[key] for key in phase.cost}) for phase in phases]
    assert [found for _, found in found] == [{0}, {0, 1}, {1}]  # the middle one goes on with its workers
    assert found[0][0] == found[2][0] != found[1][0]


@pytest.fixture
def drawer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for what draws: says which call it is, waits for a file `go` where there is a file `wait`."""
    program = tmp_path / "drawer.py"
    program.write_text(
        "import json, pathlib, sys, time\n"
        "here = pathlib.Path(sys.argv[0]).parent\n"
        "asked = json.load(sys.stdin)\n"
        "keys, left = ([key for each in asked[name] for key in each] for name in ('cells', 'left_out'))\n"
        "while (here / 'wait').exists(): time.sleep(0.01)\n"
        "if (here / 'fail').exists(): sys.exit('no room')\n"
        "print(f'{len(keys)} cells, {len(left)} left in {sys.argv[1]}')\n"
    )
    monkeypatch.setattr(pictures, "_PROGRAM", (str(program),))
    return tmp_path


def played(shown: Pictures) -> None:
    """Until it has drawn what it draws."""
    while shown.drawing is not None:
        shown.drawing[0].wait()
        shown.tick()


def test_a_picture_is_drawn_when_a_pass_and_all_before_it_are_stored(
    drawer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passes = passes_of(grid([1, 2, 3, 4], [0, 1]))
    first, second, third = ([cell.key for cell in each.cells] for each in passes)
    with Pictures(passes, first[:1], RunSettings(results_dir=str(drawer / "results"))) as shown:
        shown.stored(third)
        shown.tick()
        assert shown.drawing is None
        shown.stored(first[1:])
        shown.tick()
        played(shown)
        assert (
            capsys.readouterr().err == f"drawn (1 seed, every second depth): 2 cells, 6 left in {drawer / 'results'}\n"
        )
        shown.stored(second)
        shown.tick()
        played(shown)
        assert capsys.readouterr().err == f"drawn (2 seeds): 8 cells, 0 left in {drawer / 'results'}\n"


def test_a_sweep_that_goes_on_draws_what_is_stored_at_once(drawer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = passes_of(grid([1, 2, 3, 4], [0]))
    with Pictures(passes, [cell.key for cell in passes[0].cells], RunSettings()) as shown:
        shown.tick()
        played(shown)
    assert "drawn (1 seed, every second depth)" in capsys.readouterr().err
    with Pictures(passes, [cell.key for each in passes for cell in each.cells], RunSettings()) as shown:
        shown.tick()
        assert shown.drawing is None  # the end draws it


def test_what_ends_during_a_drawing_is_drawn_once_after_it(drawer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = passes_of(grid([1, 2, 3, 4], [0, 1, 2]))
    (drawer / "wait").touch()
    with Pictures(passes, (), RunSettings(results_dir="here")) as shown:
        for each in passes:
            shown.stored(cell.key for cell in each.cells)
            shown.tick()
        (drawer / "wait").unlink()
        played(shown)
    said = capsys.readouterr().err
    assert (
        said
        == "drawn (1 seed, every second depth): 2 cells, 10 left in here\ndrawn (3 seeds): 12 cells, 0 left in here\n"
    )


def test_a_drawing_that_fails_is_a_line_and_the_sweep_goes_on(drawer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (drawer / "fail").touch()
    with Pictures(passes_of(grid([1], [0])), (), RunSettings()) as shown:
        shown.finish()
        assert capsys.readouterr().err == "not drawn (1 seed): no room\n"
        (drawer / "fail").unlink()
        shown.finish()
    assert capsys.readouterr().err == "drawn (1 seed): 1 cells, 0 left in results\n"


def test_a_drawing_ends_with_the_sweep(drawer: Path) -> None:
    passes = passes_of(grid([1], [0]))
    (drawer / "wait").touch()
    with Pictures(passes, (), RunSettings()) as shown:
        shown.stored(cell.key for cell in passes[0].cells)
        shown.tick()
        assert shown.drawing is not None
        process = shown.drawing[0]
    assert process.returncode == -9


def test_a_sweep_draws_its_heatmaps_and_says_where(command: Command, tmp_path: Path) -> None:
    sweep = ["-m", "depth=1,2,3,4", "width=2", "seed=0,1", "optimizer.epochs=2", "redraw=true"]
    ended = command(*sweep, "method=relu,sep_up")
    said = ended.stderr
    assert ended.returncode == 0, said
    files = {*(tmp_path / "results/figures").iterdir()}
    assert sorted(file.suffix for file in files) == [".pdf", ".pdf", ".png", ".png"]
    places = [line.partition("drawn (2 seeds): ")[2] for line in said.splitlines() if "drawn (2 seeds)" in line]
    assert {str(tmp_path / place) for place in places} == {str(file) for file in files if file.suffix == ".png"}
    drawn = {file: file.read_bytes() for file in files if file.suffix == ".png"}
    report = command("only=heatmaps", module="jumpstart_exp.report").stdout
    assert report.count("unchanged") == 2  # nothing is drawn twice
    for file in files:
        file.unlink()
    assert command(*sweep, "method=relu,sep_up").returncode == 0  # all is stored: they are drawn all the same
    assert {file: file.read_bytes() for file in drawn} == drawn


def test_a_picture_shows_nothing_of_passes_that_are_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = grid([1, 2, 3, 4], [0, 1])
    store = Store(tmp_path / "results")
    store.write([Result(cell, "done", "native", train_acc=Metric(0.5, 0.5, 1)) for cell in cells])
    shown: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def recorded(of: FigureGrid) -> list[Job]:
        shown.append((of.depths, of.seeds))
        return []

    monkeypatch.setattr(heatmaps, "heatmap_jobs", recorded)
    done, *others = ({cell.key for cell in each.cells} for each in passes_of(cells))
    assert write_heatmaps(store.results_dir, tmp_path, done, set().union(*others)) == []
    assert write_heatmaps(store.results_dir, tmp_path, done.union(*others), set()) == []
    assert shown == [((1, 3), (0,)), ((1, 2, 3, 4), (0, 1))]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["redraw=true"], "redraw=true draws a sweep while it trains: add -m, or draw one cell by plot=true"),
        (["-m", "hydra/launcher=basic", "depth=1,2", "redraw=true"], "must be false for Hydra's own launchers"),
        (["-m", "hydra/launcher=fleet_slurm", "depth=1,2", "redraw=true"], "must be false on a cluster"),
    ],
)
def test_what_cannot_be_drawn_while_it_trains_is_refused(command: Command, arguments: list[str], why: str) -> None:
    ended = command(*arguments)
    assert ended.returncode == 2
    assert why in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_last_picture_is_not_in_the_time_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(runner, "_train", lambda *_: [])
    monkeypatch.setattr(runner, "duration", lambda seconds: happened.append("took") or "1 s")
    monkeypatch.setattr(Pictures, "finish", lambda self: happened.append("drawn"))
    cells = [Cell(depth=depth, width=2, method="relu") for depth in (1, 2)]
    runner.run_sweep(cells, RunSettings(results_dir=str(tmp_path), engine="eager", redraw=True), 1)
    assert happened[-2:] == ["took", "drawn"]
