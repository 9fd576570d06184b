"""Tables of one's own and of scikit-learn, and spirals: the points that networks see, and what is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.csv import Csv
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.data.npz import Npz
from jumpstart_exp.data.sklearn import LOADERS, Sklearn
from jumpstart_exp.data.spirals import Spirals
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.result import Result
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store

ROWS = "a,b,y\n" + "".join(f"{i},{i * i % 7},{'no' if i % 3 else 'yes'}\n" for i in range(30))
"""30 points of two features and two classes, of which 10 are the second."""


def examined(spec: DatasetSpec, data_dir: Path) -> Cell:
    """The cell as it is trained."""
    (cell,) = with_contents([Cell(depth=2, width=3, dataset=spec, optimizer=OptimizerSpec(epochs=5))], data_dir)
    return cell


def points(spec: DatasetSpec, data_dir: Path) -> Data:
    return load(examined(spec, data_dir).dataset, data_dir)


def same(one: Data, other: Data) -> bool:
    names = ("x_train", "y_train", "x_val", "y_val")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def trained(cell: Cell, data_dir: Path) -> Result:
    results: list[Result] = []
    data = load(cell.dataset, data_dir)
    EagerEngine("cpu").train([cell], data, on_result=results.append, on_progress=lambda *_: None)
    return results[0]


def written(folder: Path, text: str | bytes, name: str = "own.csv") -> Path:
    folder.joinpath(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def refusal(make: Callable[[], Any]) -> str:
    with pytest.raises((DataError, SettingError)) as caught:
        make()
    told = str(caught.value)
    assert "\n" not in told
    return told


@pytest.mark.parametrize("loader", ["load_iris", "load_wine", "load_breast_cancer", "load_diabetes"])
def test_a_table_of_scikit_learn_that_was_written_to_a_file_trains_the_same(loader: str, tmp_path: Path) -> None:
    bunch = getattr(sklearn.datasets, loader)()
    table = pd.DataFrame(bunch.data, columns=bunch.feature_names)
    # texts where their order is that of the numbers
    is_text = loader in ("load_iris", "load_wine")
    target = np.asarray(bunch.target_names)[bunch.target] if is_text else bunch.target
    table.insert(2, "the target", target)
    table.to_csv(tmp_path / "own.csv", index=False)
    task = LOADERS[loader].task
    ours = examined(Csv(path="own.csv", target="the target", task=task, threshold=0.95), tmp_path)
    theirs = examined(Sklearn(loader=loader, threshold=0.95), tmp_path)
    assert same(load(ours.dataset, tmp_path), load(theirs.dataset, tmp_path))
    one, other = (trained(cell, tmp_path) for cell in (ours, theirs))
    assert one.status == "done" and one.curve == other.curve
    assert (one.train_acc, one.val_loss) == (other.train_acc, other.val_loss)
    found = ("features", "classes", "train_points", "val_points")
    assert [getattr(ours.dataset, name) for name in found] == [getattr(theirs.dataset, name) for name in found]


def test_a_csv_is_split_by_class_and_standardised_by_the_points_trained_on(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    x = np.array([[i, i * i % 7] for i in range(30)], float)
    y = np.array([0 if i % 3 else 1 for i in range(30)])
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=6, random_state=42, stratify=y)
    scaler = StandardScaler().fit(x_train)
    data = points(Csv(path="own.csv", target="y"), tmp_path)
    np.testing.assert_allclose(data.x_train.numpy(), scaler.transform(x_train), rtol=0, atol=1e-14)
    np.testing.assert_allclose(data.x_val.numpy(), scaler.transform(x_val), rtol=0, atol=1e-14)
    assert data.y_train.tolist() == y_train.tolist() and data.y_val.tolist() == y_val.tolist()
    part = points(Csv(path="own.csv", target="y", n_train=9), tmp_path)
    assert part.y_train.bincount().tolist() == [6, 3]
    np.testing.assert_allclose(part.x_train.numpy().mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(part.x_train.numpy().std(axis=0), 1, atol=1e-14)


def test_targets_of_a_regression_are_standardised_and_a_part_of_them_is_drawn_at_random(tmp_path: Path) -> None:
    written(tmp_path, "a,y\n" + "".join(f"{i % 11},{i**2}\n" for i in range(40)))
    spec = Csv(path="own.csv", target="y", task="regression")
    whole, part = points(spec, tmp_path), points(dataclasses.replace(spec, n_train=12), tmp_path)
    for data in (whole, part):
        assert data.y_train.dtype == torch.float64
        assert data.y_train.mean().item() == pytest.approx(0, abs=1e-14)
        assert data.y_train.std(correction=0).item() == pytest.approx(1, abs=1e-14)
    y = np.arange(40.0) ** 2
    y_train, y_val = train_test_split(y, test_size=8, random_state=42)
    np.testing.assert_allclose(whole.y_val.numpy(), (y_val - y_train.mean()) / y_train.std(), rtol=0, atol=1e-12)
    kept = sorted(np.argsort(part.x_val.numpy()[:, 0]).tolist())
    assert len(part.y_train) == 12 and len(kept) == 8
    assert part.y_train.max() > 1.2, "not the twelve least"
    assert examined(spec, tmp_path).dataset.outputs == 1 and examined(spec, tmp_path).dataset.chance == 0


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (ROWS.replace(",", ";"), {"separator": "semicolon"}),
        (ROWS.replace(",", "\t"), {"separator": "tab"}),
        (ROWS.replace(",", " "), {"separator": "space"}),
        (ROWS.replace(",", " | "), {"separator": "pipe"}),
        (ROWS.replace(",", ", "), {}),
        (ROWS.replace("\n", "\r\n"), {}),
        (b"\xef\xbb\xbf" + ROWS.encode(), {}),
        (b"\xef\xbb\xbf" + ROWS.replace("a,", '"a",').encode(), {}),
        (ROWS.replace("a,b,y", '"a, first","b ""2""","y"'), {}),
        (ROWS.replace("yes", "ÿes").encode("latin-1"), {"encoding": "latin-1"}),
        (ROWS.encode("utf-16"), {"encoding": "utf-16"}),
    ],
)
def test_a_csv_is_read_as_pandas_reads_it(text: str | bytes, settings: dict[str, Any], tmp_path: Path) -> None:
    usual = points(Csv(path="own.csv", target="y"), written(tmp_path, ROWS))
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", text)
    assert same(points(Csv(path="own.csv", target="y", **settings), other), usual)


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        ("", {}, "is empty: its first line names the columns"),
        ("a,b,y\n", {}, "0 rows are too few: at least 4"),
        ("a,b,y", {}, "rows"),
        ("a,b,y\n1,2,0\n2,1,1\n", {}, "2 rows are too few: at least 4"),
        (ROWS, {"target": "z"}, "dataset.target='z' is not allowed: it must be one of the columns 'a', 'b', 'y'"),
        (ROWS, {"target": "Y "}, "one of the columns 'a', 'b', 'y'"),
        (ROWS.replace(",", ";"), {}, "the columns 'a;b;y'; dataset.separator says"),
        (ROWS.replace("a,b", "a,a"), {}, "the name 'a' stands there twice"),
        (ROWS.replace("a,b", ",b"), {}, "column 1 has no name"),
        (ROWS.replace("a,b,y\n0", "7"), {}, "one of the columns '7', '0', 'yes'"),
        ("1,2,3\n4,5,6\n", {}, "the first line has numbers, 1, 2, 3: it names the columns"),
        (ROWS.replace("\n4,2", "\nfour,2"), {}, "the column 'a' is not of numbers (line 6 has 'four')"),
        (ROWS.replace("\n4,2", "\n,2"), {}, "in the column 'a' 1 of 30 rows have no value, the first on line 6"),
        (ROWS.replace("\n4,2", "\ninf,2"), {}, "the column 'a' has inf on line 6: no finite number"),
        (ROWS.replace("\n4,2,", "\n4,2,3,"), {}, "is no table: Expected 3 fields in line 6, saw 4"),
        (ROWS.replace("a,b,y", "a,y"), {}, "is no table: a row has more values than there are names"),
        ("y\n" + "0\n1\n" * 4, {}, "beside the target 'y' there is no column"),
        ("a,c,y\n" + "".join(f"{i},5,{i % 2}\n" for i in range(9)), {}, "the column 'c' is 5 in every row"),
        ("a,y\n" + "".join(f"{i},{i // 8}\n" for i in range(9)), {}, "the class 1 has one point, a split takes two"),
        ("a,y\n" + "".join(f"{i},{i}\n" for i in range(9)), {}, "the class 0 and 8 others have one point"),
        ("a,y\n" + "".join(f"{i},3\n" for i in range(9)), {}, "the one class 3: nothing to tell apart"),
        (
            "a,y\n" + "".join(f"{i},{i / 2}\n" for i in range(9)),
            {},
            "dataset.task='classification' is not allowed: it must",
        ),
        (ROWS, {"task": "regression"}, "the target 'y' is not of numbers: no regression"),
        ("a,y\n" + "".join(f"{i},3\n" for i in range(9)), {"task": "regression"}, "targets are all equal: no R²"),
        (ROWS, {"test_size": 0.03}, "dataset.test_size=0.03 is not allowed: it must be such that of 30 points"),
        (ROWS, {"features": 3}, "dataset.features=3 is not allowed: it must be 2, which is what csv has"),
        (
            ROWS,
            {"threshold": 0.6},
            "dataset.threshold=0.6 is not allowed: it must be above 0.6667, the largest class's",
        ),
        (ROWS, {"path": ""}, "dataset.path='' is not allowed"),
        (ROWS, {"path": "none.csv"}, "none.csv is not there"),
        (ROWS, {"path": "."}, "is no file"),
        (ROWS, {"encoding": "utf-9"}, "dataset.encoding='utf-9' is not allowed"),
        (ROWS.replace("yes", "ÿes").encode("latin-1"), {}, "is no text in utf-8: dataset.encoding says another"),
        (ROWS.encode("utf-16"), {}, "is no text in utf-8"),
    ],
)
def test_what_no_network_can_learn_is_refused_in_one_line(
    text: str | bytes, settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    written(tmp_path, text)
    assert told in refusal(lambda: examined(Csv(**{"path": "own.csv", "target": "y", **settings}), tmp_path))


def test_a_file_is_part_of_the_key_and_its_cell_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Csv(path="own.csv", target="y")
    first = examined(spec, written(tmp_path, ROWS))
    assert with_contents([first], tmp_path) == [first]
    assert (first.dataset.features, first.dataset.classes, first.dataset.sizes()) == (2, 2, (24, 6))
    described = {
        name.removeprefix("dataset."): value for name, value in first.description().items() if value is not None
    }
    again = Csv(**{field.name: described[field.name] for field in dataclasses.fields(Csv) if field.name in described})
    assert dataclasses.replace(first, dataset=again).key == first.key, "without a look at the file"
    with pytest.raises(ValueError, match="has no key before its files are examined"):
        assert Cell(dataset=spec).key
    second = examined(spec, written(tmp_path, ROWS.replace("29,", "30,")))
    assert first.key != second.key
    with pytest.raises(DataError, match=r"^dataset\.content="):
        load(first.dataset, tmp_path)
    monkeypatch.chdir(written(tmp_path, ROWS, "here.csv"))
    (tmp_path / "data").mkdir()
    assert f"{tmp_path / 'here.csv'} is: dataset.path takes that too" in refusal(
        lambda: examined(Csv(path="here.csv", target="y"), tmp_path / "data")
    )
    assert examined(Csv(path=str(tmp_path / "here.csv"), target="y"), tmp_path / "data").dataset.sizes() == (24, 6)


def test_a_file_has_one_key_wherever_it_lies(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    here = examined(Csv(path="own.csv", target="y"), written(tmp_path, ROWS))
    there = examined(Csv(path=str(other / "same.csv"), target="y"), written(other, ROWS, "same.csv"))
    assert here != there and here.key == there.key
    assert here.key != examined(Csv(path="own.csv", target="y"), written(other, ROWS.replace("29,", "31,"))).key


def test_an_encoding_has_one_key_whatever_it_is_called(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    usual, same = (examined(Csv(path="own.csv", target="y", encoding=name), tmp_path) for name in ("utf-8", "UTF8"))
    assert usual.key == same.key


def test_a_stated_content_needs_what_is_found_beside_it() -> None:
    told = refusal(lambda: Cell(dataset=Csv(content="sha256-0")))
    assert told.startswith("dataset.features=0 is not allowed: it must be at least 1 beside dataset.content")


@pytest.mark.parametrize("loader", LOADERS)
def test_scikit_learns_loaders_give_their_own_points(loader: str) -> None:
    spec = Sklearn(loader=loader)
    given = getattr(sklearn.datasets, loader)(**LOADERS[loader].parameters)
    x, y = (given.data, given.target) if loader.startswith("load_") else given
    if LOADERS[loader].task == "classification":
        y = np.unique(y, return_inverse=True)[1]
    x_train, _, y_train, y_val = train_test_split(
        x,
        y,
        test_size=int(np.ceil(0.2 * len(x))),
        random_state=42,
        stratify=y if LOADERS[loader].task == "classification" else None,
    )
    data = points(spec, Path("nowhere"))
    np.testing.assert_allclose(data.x_train.numpy(), StandardScaler().fit_transform(x_train), rtol=0, atol=1e-12)
    if LOADERS[loader].task == "regression":
        y_val, y_train = ((part - y_train.mean()) / y_train.std() for part in (y_val, y_train))
    np.testing.assert_allclose(data.y_train.numpy(), y_train, rtol=0, atol=1e-12)
    np.testing.assert_allclose(data.y_val.numpy(), y_val, rtol=0, atol=1e-12)


def test_a_parameter_acts_or_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Path("nowhere")
    usual = examined(Sklearn(loader="make_circles"), nowhere)
    stated = examined(Sklearn(loader="make_circles", n_samples=100, factor=0.8, random_state=0, noise=0.0), nowhere)
    assert usual.key == stated.key and usual.description()["dataset.factor"] == 0.8
    other = [{"n_samples": 60}, {"noise": 0.2}, {"factor": 0.5}, {"random_state": 1, "noise": 0.1}, {"test_size": 0.3}]
    keys = {examined(Sklearn(loader="make_circles", **values), nowhere).key for values in other}
    assert len(keys | {usual.key}) == len(other) + 1
    told = refusal(lambda: Cell(dataset=Sklearn(loader="load_wine", n_features=3)))
    assert told.endswith("must be null for load_wine, which takes no parameters")
    told = refusal(lambda: Cell(dataset=Sklearn(loader="make_friedman2", n_features=3)))
    assert told.endswith("must be null for make_friedman2, which takes n_samples, noise, random_state")
    told = refusal(lambda: examined(Sklearn(loader="make_classification", n_features=3), nowhere))
    assert told.startswith("make_classification does not take dataset.n_samples=100, dataset.n_features=3, ")
    circles = sklearn.datasets.make_circles

    def drawn_otherwise(**parameters: Any) -> Any:
        x, y = circles(**parameters)
        return x[::-1], y[::-1]

    monkeypatch.setattr(sklearn.datasets, "make_circles", drawn_otherwise)
    from jumpstart_exp.data import sklearn as module

    module._drawn.cache_clear()
    try:
        assert "is not what make_circles of scikit-learn " in refusal(lambda: with_contents([usual], nowhere))
        assert examined(Sklearn(loader="make_circles"), nowhere).key != usual.key
    finally:
        module._drawn.cache_clear()


def test_spirals_follow_their_formula() -> None:
    spec = Spirals(arms=3, turns=2.0, n_samples=31, test_size=0.3)
    expected = []
    for arm, count in enumerate((11, 10, 10)):
        for i in range(1, count + 1):
            angle = 2 * np.pi * (2.0 * i / count + arm / 3)
            expected.append((i / count * np.cos(angle), i / count * np.sin(angle), arm))
    data = load(spec, Path("nowhere"))
    x, y = torch.cat([data.x_train, data.x_val]), torch.cat([data.y_train, data.y_val])
    found = sorted((*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True))
    np.testing.assert_allclose(found, sorted(expected), rtol=0, atol=1e-12)
    assert (len(data.x_train), len(data.x_val)) == spec.sizes() == (21, 10)
    assert (spec.classes, spec.outputs, spec.chance) == (3, 3, 1 / 3)
    noisy = load(Spirals(arms=3, turns=2.0, n_samples=31, test_size=0.3, noise=0.05), Path("nowhere"))
    moved = (noisy.x_train - data.x_train).numpy()
    assert 0.03 < moved.std() < 0.07
    assert Cell(dataset=Spirals(random_state=1)).key == Cell(dataset=Spirals()).key, "no noise, nothing is drawn"
    assert "dataset.n_samples=8" in refusal(lambda: Cell(dataset=Spirals(arms=5, n_samples=8)))


X, Y = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32), np.arange(20) % 4


def test_an_npz_has_a_split_of_its_own_or_is_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x_train=X[:12], y_train=Y[:12], x_val=X[12:], y_val=Y[12:])
    data = points(Npz(path="own.npz"), tmp_path)
    scaler = StandardScaler().fit(X[:12].astype(np.float64))
    np.testing.assert_allclose(data.x_val.numpy(), scaler.transform(X[12:].astype(np.float64)), rtol=0, atol=1e-12)
    assert data.y_train.tolist() == Y[:12].tolist()
    seeds = [examined(Npz(path="own.npz", split_random_state=seed), tmp_path).key for seed in (1, 2)]
    assert seeds[0] == seeds[1], "nothing is split"
    np.savez(tmp_path / "whole.npz", x=X, y=np.array(["a", "b", "c", "d"])[Y])
    whole = points(Npz(path="whole.npz", test_size=0.2), tmp_path)
    assert whole.y_train.bincount().tolist() == [4] * 4 and whole.y_val.bincount().tolist() == [1] * 4
    np.savez(tmp_path / "numbers.npz", x=X, y=X.sum(axis=1))
    numbers = points(Npz(path="numbers.npz", test_size=0.25, task="regression"), tmp_path)
    assert numbers.y_train.std(correction=0).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("arrays", "settings", "told"),
    [
        ({"x": X}, {}, "has x, not x_train, y_train, x_val, y_val, or x, y"),
        ({"x": X, "y": Y}, {}, "dataset.test_size=None is not allowed: it must be a share of the points as 0.2"),
        ({"x": X, "y": Y[:9]}, {"test_size": 0.2}, "x has 20 points, y 9"),
        ({"x": X[0], "y": Y}, {"test_size": 0.2}, "x is of shape (3,), not (points, features)"),
        ({"x": X, "y": Y[:, None]}, {"test_size": 0.2}, "y is of shape (20, 1), not (points,)"),
        ({"x": X[:, :0], "y": Y}, {"test_size": 0.2}, "nothing is in it"),
        ({"x": X * 1j, "y": Y}, {"test_size": 0.2}, "x is of complex64, not of numbers"),
        ({"x": np.where(X > 1, np.nan, X), "y": Y}, {"test_size": 0.2}, "x has numbers that are not finite"),
        ({"x": X, "y": Y / 3}, {"test_size": 0.2}, "it must be regression (y has fractions)"),
        ({"x": X, "y": Y.astype(object)}, {"test_size": 0.2}, "is no file of numpy.savez with plain arrays"),
        ({"x": X, "y": Y.astype(str)}, {"test_size": 0.2, "task": "regression"}, "y is of <U21, not of numbers"),
        (
            {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y},
            {"test_size": 0.2},
            "dataset.test_size=0.2 is not allowed: it must be null",
        ),
        ({"x_train": X, "y_train": Y, "x_val": X[:, :2], "y_val": Y}, {}, "x_train has 3 features, x_val 2"),
        ({"x_train": X, "y_train": Y % 3, "x_val": X, "y_val": Y}, {}, "the class 3 of a validation point has no"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y.astype(str)}, {}, "of unlike kinds, int64 and <U21"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y, "x": X, "y": Y}, {}, "which are meant?"),
    ],
)
def test_what_an_npz_must_not_hold(arrays: dict[str, Any], settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    assert told in refusal(lambda: examined(Npz(path="own.npz", **settings), tmp_path))


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"a,b\n1,2\n", b"PK\x03\x04 and no more"):
        (tmp_path / "own.npz").write_bytes(content)
        assert "is no file of numpy.savez" in refusal(lambda: examined(Npz(path="own.npz", test_size=0.2), tmp_path))


def test_the_command_line_trains_a_table_and_tells_r2(answer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    text = "a,b,y (cm)\n" + "".join(f"{i},{i * i % 7},{2 * i + 0.5}\n" for i in range(40))
    written(tmp_path / "data", text, "my own (1).csv")
    line = [
        "dataset=csv",
        "dataset.path=my own (1).csv",
        "dataset.target=y (cm)",
        "dataset.task=regression",
        "method=relu",
    ]
    done = answer(*line, "depth=1", "width=8", "optimizer.epochs=150")
    assert done.returncode == 0, done.stderr
    assert "training R²" in done.stdout and "engine native" in done.stdout
    assert "trains: training R²" in done.stdout
    (row,) = Store(tmp_path / "results").cells().to_dict("records")
    assert row["train_r2_best"] > 0.9 and row["dataset.content"].startswith("sha256-")
    assert pd.isna(row["train_acc_best"]) and pd.isna(row["val_acc_last"])
    assert row["train_r2_last"] == pytest.approx(1 - row["train_loss_last"], abs=1e-6)
    curve = Store(tmp_path / "results").curves()
    assert curve["train_acc"].isna().all() and curve["val_r2"].notna().all()
    refused = answer(*line[:2], "dataset.target=z", "dataset.task=regression")
    assert refused.returncode == 2 and refused.stderr.startswith("error: dataset.target='z' is not allowed")
