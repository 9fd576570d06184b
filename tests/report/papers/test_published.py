"""The published numbers against the papers' tables, and that no altered file is read."""

import hashlib
import random
import shutil
from pathlib import Path

import pytest

from jumpstart_exp.report.papers.published import (
    CHECKSUMS,
    PublishedError,
    PublishedPlace,
    published_dir,
    read_published,
)

FILES = ("moons_grid.csv", "moons_50x4.csv", "iclr_cifar10.csv", "mnist_table1.csv", "statements.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "published"
    shutil.copytree(published_dir(), copy)
    return copy


def sign(folder: Path) -> None:
    """Checksums as sha256sum writes them, so that only the content can be refused."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in FILES]
    (folder / CHECKSUMS).write_text("".join(lines))


def refused(folder: Path, name: str, old: str, new: str, *, signed: bool = True) -> str:
    text = (folder / name).read_text()
    assert text.count(old) >= 1
    (folder / name).write_text(text.replace(old, new, 1))
    if signed:
        sign(folder)
    with pytest.raises(PublishedError) as error:
        read_published(folder)
    message = str(error.value)
    assert "\n" not in message and name in message
    return message


def test_table_2_of_sepcons_is_as_printed() -> None:
    printed = {
        "relu": (0.5176, 0.4, 0.6925, 0.6938),
        "relu_bn": (0.8117, 0.6, 0.6331, 0.6636),
        "sep_l": (1.0, 1.0, 0.0, 0.0211),
        "sep_p": (0.9294, 0.8, 0.1765, 0.6476),
        "sep_u": (0.9058, 0.8, 0.4161, 1.5228),
        "sep_up": (0.9882, 0.9333, 0.6988, 1.0810),
    }
    metrics = ("train_acc_best", "val_acc_best", "train_loss_at_best_acc", "val_loss_at_best_acc")
    expected = {
        PublishedPlace(method, metric, 50, 4): value
        for method, row in printed.items()
        for metric, value in zip(metrics, row, strict=True)
    }
    assert read_published().moons_50x4 == expected


def test_figure_3_of_iclr_is_as_printed() -> None:
    training = {"relu": (72, 82, 10, 10, 10), "relu_bn": (91, 82, 70, 67, 60), "sep_up": (69, 79, 74, 70, 68)}
    validation = {"relu": (60, 60, 10, 10, 10), "relu_bn": (57, 54, 54, 53, 45), "sep_up": (59, 57, 54, 53, 53)}
    expected = {
        PublishedPlace(method, metric, depth, 10): percent / 100
        for metric, table in (("train_acc_best", training), ("val_acc_best", validation))
        for method, row in table.items()
        for depth, percent in zip((2, 10, 25, 30, 40), row, strict=True)
    }
    assert read_published().cifar10 == pytest.approx(expected)


def test_table_1_of_cpaior_is_as_printed() -> None:
    rows = {
        "best_accuracy": (0.999467, 0.9885, 0.999533, 0.9911),
        "networks_that_train": (18, 18, 54, 54),
        "best_for_the_pair": (8, 11, 45, 41),
    }
    columns = [(method, metric) for method in ("relu", "sep_up") for metric in ("train_acc_best", "val_acc_best")]
    expected = {
        (*column, quantity): value for quantity, row in rows.items() for column, value in zip(columns, row, strict=True)
    }
    assert read_published().mnist == expected


def test_the_authors_grid_has_every_place_once_and_what_the_text_says_of_it() -> None:
    moons = read_published().moons
    assert len(moons) == 6 * 2 * 13 * 9
    assert {place.depth for place in moons} == {1, *range(10, 121, 10)}
    assert {place.width for place in moons} == {1, 2, 3, 4, 5, 10, 15, 20, 25}
    assert moons[PublishedPlace("relu", "train_acc_best", 30, 25)] == 0.5176, "at chance, unlike CPAIOR's text"
    assert min(value for place, value in moons.items() if place.metric == "train_acc_best") == 0.5176  # 44 of 85
    assert min(value for place, value in moons.items() if place.metric == "val_acc_best") == 0.4  # 6 of 15


def test_every_number_says_where_it_is_from() -> None:
    published = read_published()
    assert {*published.sources} == {*FILES} and all(all(lines) for lines in published.sources.values())
    for name, stated in published.statements.items():
        digits = f"{stated.value:g}"
        said = {"0.9": "90%", "1.5": "50%", "0.01": "1 point", "0.078": "7.8 points"}.get(digits, digits)
        in_words = {"0": "to zero", "3": "three-layer"}.get(digits, said)
        if name == "geometry_lowest_loss":  # a difference: the lowest is no more than the others' lowest
            in_words = "lowest value"
        quote = stated.quote.replace(",", "")  # of thousands
        if name != "mnist_networks":  # counted from the grid that the sentence names
            assert said in quote or in_words in quote or (said == "3" and "(3)" in quote), name


@pytest.mark.parametrize("name", FILES)
def test_an_altered_digit_anywhere_is_refused(folder: Path, name: str) -> None:
    original = (folder / name).read_text()
    places = [place for place, letter in enumerate(original) if letter.isdigit()]
    for place in random.Random(name).sample(places, 8):
        digit = str((int(original[place]) + 1) % 10)
        (folder / name).write_text(original[:place] + digit + original[place + 1 :])
        with pytest.raises(PublishedError, match=name):
            read_published(folder)
    (folder / name).write_text(original)
    read_published(folder)


def test_a_possible_but_altered_value_names_the_file(folder: Path) -> None:
    line = "sep_up,train_acc_best,60,3,1.0"
    message = refused(folder, "moons_grid.csv", line, "sep_up,train_acc_best,60,3,0.9882", signed=False)
    assert "moons_grid.csv was altered" in message and "SHA256SUMS" in message


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "moons_grid.csv",
            "relu,train_acc_best,1,1,0.5176",
            "relu,train_acc_best,1,1,0.5276",
            "line 4: value='0.5276'",
        ),
        (
            "moons_grid.csv",
            "relu,train_acc_best,1,1,0.5176",
            "relu,train_acc_best,1,1,1.5176",
            "an accuracy from 0 to 1",
        ),
        ("moons_grid.csv", "relu,train_acc_best,1,1,0.5176", "relu,train_acc_best,1,1,nan", "a number of at least 0"),
        ("moons_grid.csv", "relu,train_acc_best,1,1,0.5176", "relu,train_acc_best,1,1,-0.1", "a number of at least 0"),
        ("moons_grid.csv", "relu,train_acc_best,1,1,", "relu,train_acc_best,0,1,", "line 4: depth='0'"),
        ("moons_grid.csv", "relu,train_acc_best,1,1,", "rely,train_acc_best,1,1,", "line 4: method='rely'"),
        ("moons_grid.csv", "relu,train_acc_best,1,1,", "relu,train_acc_best,1,2,", "line 5: relu train_acc_best 1 2"),
        ("moons_grid.csv", "method,metric", "metric,method", "line 3: the columns are"),
        ("moons_grid.csv", "relu,train_acc_best,1,1,0.5176", "relu,train_acc_best,1,1", "line 4"),
        ("moons_50x4.csv", "relu,val_acc_best,50,4,0.4", "relu,val_acc_best,50,4,0.45", "a share of 15 points"),
        ("mnist_table1.csv", "best_for_the_pair,45", "best_for_the_pair,45.5", "value='45.5'"),
        ("iclr_cifar10.csv", "# source: figure 3", "# figure 3", "does not say where its numbers are from"),
        ("statements.csv", "cifar10_pairs,CPAIOR", "cifar10_pairs,Nobody", "paper='Nobody'"),
        ("statements.csv", "cifar10_pairs_another,", "cifar10_pairs_one_case,", "stands in line"),
    ],
)
def test_what_cannot_be_is_named_by_file_line_and_value(
    folder: Path, name: str, old: str, new: str, words: str
) -> None:
    assert words in refused(folder, name, old, new)


def test_a_missing_file_or_checksum_is_named(folder: Path) -> None:
    (folder / CHECKSUMS).write_text("")
    with pytest.raises(PublishedError, match=r"SHA256SUMS has no checksum of moons_grid\.csv"):
        read_published(folder)
    (folder / "mnist_table1.csv").unlink()
    with pytest.raises(PublishedError, match=r"mnist_table1\.csv cannot be read: No such file"):
        read_published(folder)
    (folder / "moons_grid.csv").write_bytes(b"# source: \xff")
    with pytest.raises(PublishedError, match=r"moons_grid\.csv is no text"):
        read_published(folder)


def test_a_number_that_is_not_published_is_an_error() -> None:
    published = read_published()
    assert published.number("moons_times_deeper") == 5
    assert published.number("sep_l/train_acc_best/50/4") == 1
    for name in ("moons_times_thinner", "sep_l/train_acc_best/50/5", "relu/train_acc_best/best"):
        with pytest.raises(PublishedError, match=name):
            published.number(name)
