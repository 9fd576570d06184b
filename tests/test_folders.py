"""Folders mean the same wherever they are named; what is none is one line."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jumpstart_exp import status
from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.engines.checkpoint import Checkpoints, CheckpointWarning
from jumpstart_exp.folders import named_folder, why_no_folder
from jumpstart_exp.limits import available_memory_bytes
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.runner import run_cell

NOBODY = 65534
CELL = Cell(depth=2, width=2, optimizer=OptimizerSpec(epochs=2))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_home_is_expanded_and_a_relative_folder_stays_so(home: Path) -> None:
    assert named_folder("results_dir", "~/runs") == home / "runs"
    assert named_folder("results_dir", "runs/a") == Path("runs/a")
    assert Store("~/runs").results_dir == home / "runs"


@pytest.mark.parametrize("typed", ["./~", "~", "./~/runs", "~/runs"])
def test_naming_a_folder_again_changes_nothing(home: Path, typed: str) -> None:
    once = named_folder("results_dir", typed)
    assert named_folder("results_dir", once) == once
    assert (home in once.parents or once == home) == typed.startswith("~")


@pytest.mark.parametrize("typed", ["s3://bucket/runs", "file:///tmp/runs", "abfs+x://a"])
def test_an_address_is_refused(typed: str) -> None:
    for refuse in (lambda: named_folder("data_dir", typed), lambda: RunSettings(data_dir=typed)):
        with pytest.raises(SettingError, match=r"data_dir='.*' is not allowed: .* begins an address"):
            refuse()
    with pytest.raises(SettingError, match="begins an address"):
        Store(typed)


@pytest.mark.parametrize("name", ["run:1", "file:x", "c:"])
def test_a_folder_may_begin_like_an_address(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store(name).write([Result(CELL, "done", "eager", train_acc=Metric(0.5, 0.5, 1))])
    assert list(Store(name).stored()) == list(Store(name).cells()["key"]) == [CELL.key]


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_to_nothing_is_named(target: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    for typed in (link, link / "inside"):
        with pytest.raises(SettingError, match="/link' is a link to what is not there"):
            named_folder("results_dir", typed)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def no_home(_: str) -> str:
        return "~"

    monkeypatch.setattr(os.path, "expanduser", no_home)  # what Path.expanduser asks
    with pytest.raises(SettingError, match="a user who has a home"):
        named_folder("results_dir", "~/runs")
    assert status.main(["results_dir=~/runs"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_working_directory_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jumpstart_exp import __main__

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SettingError, match="the working directory is gone"):
        read_arguments([], {}, "")
    assert read_arguments(["--help"], {}, "") is None
    monkeypatch.setattr("sys.argv", ["jumpstart_exp", f"results_dir={tmp_path}"])
    with pytest.raises(SystemExit, match="2"):
        __main__.main()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("name", "answer"), [("none", "no such folder"), ("file", "no folder"), (".", "")])
def test_why_a_folder_is_none(name: str, answer: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert answer in why_no_folder(tmp_path / name) and bool(answer) == bool(why_no_folder(tmp_path / name))


# Launchers

ONE = ["-m", "depth=2", "width=2", "optimizer.epochs=2"]


@pytest.mark.parametrize("launcher", ["fleet", "basic"])
@pytest.mark.parametrize("typed", ["~/runs", "runs"])
def test_a_folder_is_the_same_for_every_launcher(
    command: Callable[..., Any], home: Path, launcher: str, typed: str
) -> None:
    line = [*ONE, f"hydra/launcher={launcher}", "hydra.job.chdir=true", f"results_dir={typed}"]
    done = command(*line)
    assert done.returncode == 0, done.stderr
    folder = (home if typed.startswith("~") else home.parent) / "runs"
    assert len(Store(folder).cells()) == 1
    assert not (home.parent / "~").exists()
    empty = [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert [path.name for path in empty if path.name != "sweeps"] == []
    assert not (folder / "jobs").exists()


# Another user's checkpoints


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[Path]:
    """A folder of a user who may not read everything: where the tests run as root, of nobody, whom this process is."""
    folder = Path(tempfile.mkdtemp())  # other users cannot enter pytest's own folder
    was_root = os.geteuid() == 0
    available_memory_bytes()  # modules that come late are root's own, torch's and scikit-learn's among them
    run_cell(CELL, RunSettings(results_dir=str(tmp_path / "before"), engine="eager"))
    if was_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["folder", "file"])
def test_checkpoints_that_may_not_be_read_are_named_once_left_alone_and_the_cell_trains(
    unprivileged: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = unprivileged / "checkpoints" / f"{CELL.key}.pt"
    kept.parent.mkdir()
    kept.write_bytes(b"another's")
    locked = kept.parent if place == "folder" else kept
    locked.chmod(0)
    run_cell(CELL, RunSettings(results_dir=str(unprivileged), engine="eager", checkpoint_minutes=1e-9))
    said = capsys.readouterr()
    assert said.err.count(f"{locked} may not be read by this user: left alone") == 1
    assert "goes on from a checkpoint" not in said.out
    locked.chmod(0o700)
    assert kept.read_bytes() == b"another's"
    assert Store(unprivileged).cells()["status"].tolist() == ["done"]


def test_nothing_is_kept_or_removed_in_place_of_anothers_checkpoint(unprivileged: Path) -> None:
    checkpoints = Checkpoints(unprivileged, 1.0)
    kept = unprivileged / "k.pt"
    kept.write_bytes(b"another's")
    kept.chmod(0)
    assert checkpoints.keys() == set() and checkpoints.locked({"k"}) == [kept] and checkpoints.locked({"j"}) == []
    assert checkpoints.load("k") is None
    with pytest.warns(CheckpointWarning, match="another user's is in its place"):
        checkpoints.save("k", {})
    checkpoints.remove({"k"})
    kept.chmod(0o600)
    assert kept.read_bytes() == b"another's"
