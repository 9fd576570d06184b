"""What a dataset's files hold is part of the key of every cell that reads them."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from image_files import publish, splits, write

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.data import DATASETS, DatasetSpec
from jumpstart_exp.data.base import Split
from jumpstart_exp.data.cifar100 import Cifar100
from jumpstart_exp.data.content import content_of
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import load, prepare
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.engines import load_and_train
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.result import Result
from jumpstart_exp.settings import setting
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store

TABLE = "0,0,0\n0,1,0\n1,0,1\n1,1,1\n"


@dataclasses.dataclass(frozen=True)
class Points(DatasetSpec):
    """Points of a plane from a table: two features and a class a line; they validate, too."""

    name: str = setting("points")
    path: str = setting("points.csv")

    title: ClassVar[str] = "Points"
    task: ClassVar[str] = "classification"
    classes: ClassVar[int] = 2
    features: ClassVar[int] = 2
    threshold: ClassVar[float] = 0.95

    def sources(self, data_dir: Path) -> Sequence[Path]:
        return (data_dir / self.path,)

    def full_sizes(self) -> tuple[int, int]:
        return 4, 4

    def load(self, data_dir: Path) -> Split:
        table = np.loadtxt(data_dir / self.path, delimiter=",")
        return table[:, :2], table[:, 2].astype(np.int64), table[:, :2], table[:, 2].astype(np.int64)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the table, whose dataset is known."""
    monkeypatch.setitem(DATASETS, "points", Points)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "points.csv").write_text(TABLE)
    return folder


def cell(**values: Any) -> Cell:
    return Cell(depth=1, width=2, dataset=Points(**values), optimizer=OptimizerSpec(epochs=2))


def key(data_dir: Path, **values: Any) -> str:
    return with_contents([cell(**values)], data_dir)[0].key


def test_other_content_is_another_key_and_the_same_is_the_same(data_dir: Path) -> None:
    before = key(data_dir)
    (data_dir / "points.csv").write_text(TABLE.replace("1,1,1", "1,1,0"))
    assert key(data_dir) != before
    (data_dir / "points.csv").write_text(TABLE)
    assert key(data_dir) == before != cell().key
    assert key(data_dir, content=with_contents([cell()], data_dir)[0].dataset.content) == before


def test_a_folder_is_all_that_is_below_it_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = content_of([folder])
    assert before.startswith("sha256-") and len(before) == 23
    (folder / ".DS_Store").write_text("of a file manager")
    assert content_of([folder]) == before
    (folder / "cat" / "2.png").rename(folder / "dog" / "2.png")
    moved = content_of([folder])
    (folder / "dog" / "2.png").write_text("another")
    assert len({before, moved, content_of([folder])}) == 3
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("1")
    one.replace(other)
    assert content_of([other]) != content_of([folder, other])


def test_files_that_hold_something_else_are_refused(data_dir: Path) -> None:
    (of,) = with_contents([cell()], data_dir)
    assert load(of.dataset, data_dir).x_train.shape == (4, 2)
    other = cell(content="sha256-0123456789abcdef")
    for refused in (lambda: with_contents([other], data_dir), lambda: load(other.dataset, data_dir)):
        with pytest.raises(DataError, match=r"^dataset\.content=sha256-0123456789abcdef is not what .* hold: sha256-"):
            refused()
    with pytest.raises(DataError, match="they are as published"):
        with_contents([Cell(dataset=dataclasses.replace(Cell().dataset, content="x"))], data_dir)


def test_files_that_change_after_planning_fail_their_cells(data_dir: Path) -> None:
    (planned,) = with_contents([cell()], data_dir)
    (data_dir / "points.csv").write_text(TABLE.replace("1,1,1", "1,1,0"))
    for of in (planned, cell()):
        results: list[Result] = []
        load_and_train(EagerEngine("cpu"), [of], data_dir, on_result=results.append, on_progress=lambda *_: None)
        assert results[0].status == "failed" and "changed" in (results[0].error or "")


def test_missing_files_are_named_before_anything_trains(data_dir: Path) -> None:
    (data_dir / "points.csv").unlink()
    assert with_contents([cell()], data_dir) == [cell()]
    with pytest.raises(DataError, match=r"points: .*points\.csv cannot be read: No such file"):
        prepare(Points(), data_dir, True)


def test_the_command_trains_again_what_reads_other_files(
    answer: Callable[..., Any], data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "points.yaml").write_text("defaults: [points_schema]\n")
    line = ["--config-dir", "mine", "dataset=points", "method=relu", "depth=1", "width=2", "optimizer.epochs=2"]
    for table, said in ((TABLE, "trained"), (TABLE, "already stored"), (TABLE.replace("1,1,1", "1,1,0"), "trained")):
        (data_dir / "points.csv").write_text(table)
        done = answer(*line, "engine=eager")
        assert done.returncode == 0, done.stderr
        assert ("already stored" in done.stdout) == (said == "already stored")
    rows = Store(tmp_path / "results").cells()
    assert len(rows) == 2 and rows["dataset.content"].nunique() == 2


def test_image_sets_have_keys_of_their_own_where_they_are_not_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "cifar100", write("cifar100", tmp_path / "published", *splits("cifar100")))
    write("cifar100", tmp_path / "other", *splits("cifar100", seed=1))
    images = [Cell(dataset=Cifar100()), Cell(dataset=Cifar100(n_train=200)), Cell(dataset=Mnist()), Cell()]
    assert with_contents(images, tmp_path / "published") == with_contents(images, tmp_path / "nowhere") == images
    first, second, *others = with_contents(images, tmp_path / "other")
    assert first.dataset.content is not None and first.dataset.content == second.dataset.content
    assert first.key != images[0].key and others == images[2:]
    assert load(first.dataset, tmp_path / "other").content == first.dataset.content
    with pytest.raises(DataError, match="they are as published"):
        load(first.dataset, tmp_path / "published")


def test_a_study_is_of_the_only_content_that_there_is(tmp_path: Path) -> None:
    of = study_cells("cpaior_cifar100_small", "paper")[0]
    contents = ("sha256-a", None, "sha256-b")
    own = [dataclasses.replace(of, dataset=dataclasses.replace(of.dataset, content=content)) for content in contents]
    store = Store(tmp_path)
    for number, one in enumerate(own):
        store.write([Result(one, "done", "eager")])
        found = StudyTable(store.cells()).rows("cpaior_cifar100_small", "paper")
        assert found["key"].tolist() == [[own[0].key], [own[1].key], [own[1].key]][number]
    assert StudyTable(store.cells()).state("cpaior_cifar100_small", "paper") is not None
