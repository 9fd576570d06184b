import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import make_moons

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.augmentation import flip_and_crop
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.data.strip import Strip
from jumpstart_exp.settings import SettingError

# train_test_split(test_size=0.15, random_state=42) of 100 points: the first 15 of RandomState(42).permutation(100)
# validate, the other 85 train, in this order.
VALIDATION = [83, 53, 70, 45, 44, 39, 22, 80, 10, 0, 18, 30, 73, 33, 90]
TRAINING = [
    *(4, 76, 77, 12, 31, 55, 88, 26, 42, 69, 15, 40, 96, 9, 72, 11, 47, 85, 28, 93, 5, 66, 65, 35, 16, 49, 34, 7, 95),
    *(27, 19, 81, 25, 62, 13, 24, 3, 17, 38, 8, 78, 6, 64, 36, 89, 56, 99, 54, 43, 50, 67, 46, 68, 61, 97, 79, 41),
    *(58, 48, 98, 57, 75, 32, 94, 59, 63, 84, 37, 29, 1, 52, 21, 2, 23, 87, 91, 74, 86, 82, 20, 60, 71, 14, 92, 51),
]
NOWHERE = Path("no files needed")


def moons_formula(
    n_samples: int = 100, random_state: int = 10, noise: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two half circles of radius 1, the second upside down at (1, ½), shuffled, perturbed, divided by their range."""
    rng = np.random.RandomState(random_state)
    outer, inner = n_samples // 2, n_samples - n_samples // 2
    angles = [np.pi * np.arange(count) / (count - 1) for count in (outer, inner)]
    x = np.concatenate([np.cos(angles[0]), 1 - np.cos(angles[1])])
    y = np.concatenate([np.sin(angles[0]), 0.5 - np.sin(angles[1])])
    order = np.arange(n_samples)
    rng.shuffle(order)
    points = np.stack([x, y], axis=1)[order]
    if noise is not None:
        points = points + rng.normal(scale=noise, size=points.shape)
    return points / (points.max() - points.min()), np.repeat([0, 1], [outer, inner])[order]


def as_rows(x: torch.Tensor, y: torch.Tensor) -> list[tuple[float, ...]]:
    return [(*row, label) for row, label in zip(x.tolist(), y.tolist(), strict=True)]


def test_moons_are_the_published_points_in_the_published_split() -> None:
    data = load(Moons(), NOWHERE)
    x, y = moons_formula()
    assert sorted(TRAINING + VALIDATION) == list(range(100))
    np.testing.assert_allclose(data.x_train.numpy(), x[TRAINING], rtol=0, atol=1e-12)
    np.testing.assert_allclose(data.x_val.numpy(), x[VALIDATION], rtol=0, atol=1e-12)
    assert data.y_train.tolist() == y[TRAINING].tolist()
    assert data.y_val.tolist() == y[VALIDATION].tolist()


def test_moons_have_the_class_shares_of_the_published_tables() -> None:
    """0.5176 of the training and 0.6 of the validation points are of the majority: chance in the papers' tables."""
    data = load(Moons(), NOWHERE)
    assert (len(data.y_train), len(data.y_val)) == (85, 15) == Moons().sizes()
    assert max(data.y_train.bincount().tolist()) == 44
    assert max(data.y_val.bincount().tolist()) == 9
    # who always says the training majority is right for 0.4 of the validation points
    assert data.y_train.bincount().argmax() != data.y_val.bincount().argmax()


def test_moons_span_one_and_are_float64() -> None:
    data = load(Moons(), NOWHERE)
    x = torch.cat([data.x_train, data.x_val])
    assert x.dtype == torch.float64 and x.shape == (100, 2)
    assert (x.max() - x.min()).item() == pytest.approx(1.0, abs=1e-15)
    assert data.y_train.dtype == data.y_val.dtype == torch.int64


@pytest.mark.parametrize(
    "fields",
    [{"noise": 0.3}, {"noise": 0.0}, {"n_samples": 57}, {"random_state": 3}, {"n_samples": 40, "noise": 0.1}],
)
def test_noise_samples_and_seed_shape_the_points(fields: dict[str, float]) -> None:
    spec = Moons(**fields)
    data = load(spec, NOWHERE)
    x, y = moons_formula(spec.n_samples, spec.random_state, spec.noise)
    expected = as_rows(torch.from_numpy(x), torch.from_numpy(y))
    found = as_rows(torch.cat([data.x_train, data.x_val]), torch.cat([data.y_train, data.y_val]))
    assert (len(data.y_train), len(data.y_val)) == spec.sizes()
    np.testing.assert_allclose(sorted(found), sorted(expected), rtol=0, atol=1e-12)


def test_the_splits_seed_and_size_act() -> None:
    usual, other = load(Moons(), NOWHERE), load(Moons(split_random_state=1), NOWHERE)
    assert not torch.equal(usual.x_val, other.x_val)
    assert set(as_rows(other.x_val, other.y_val)) <= set(
        as_rows(torch.cat([usual.x_train, usual.x_val]), torch.cat([usual.y_train, usual.y_val]))
    )
    larger = load(Moons(test_size=0.305), NOWHERE)  # the validation share is rounded up
    assert (len(larger.y_train), len(larger.y_val)) == (69, 31) == Moons(test_size=0.305).sizes()


def spread_of(points: NDArray[np.float64]) -> float:
    return float(points.max() - points.min())


def test_fresh_points_are_of_the_next_seed_and_all_samples_train() -> None:
    spec = Moons(noise=0.1, random_state=42, n_fresh_val=1000)
    data = load(spec, NOWHERE)
    x, y = moons_formula(100, 42, 0.1)
    fresh, fresh_y = moons_formula(1000, 43, 0.1)
    assert (len(data.y_train), len(data.y_val)) == (100, 1000) == spec.sizes()
    np.testing.assert_allclose(data.x_train.numpy(), x, rtol=0, atol=1e-12)
    assert data.y_train.tolist() == y.tolist() and data.y_val.tolist() == fresh_y.tolist()
    # both by the range of the training points: before they are divided, fresh points have another one
    before = [make_moons(n_samples=n, noise=0.1, random_state=seed)[0] for n, seed in ((100, 42), (1000, 43))]
    by = spread_of(before[1]) / spread_of(before[0])
    assert by > 1.01
    np.testing.assert_allclose(data.x_val.numpy(), fresh * by, rtol=0, atol=1e-12)


def test_how_to_split_what_is_not_split_is_no_part_of_the_key() -> None:
    def key(**fields: float) -> str:
        return Cell(dataset=Moons(**fields)).key

    assert key(n_fresh_val=50) == key(n_fresh_val=50, test_size=0.5, split_random_state=1)
    assert key(n_fresh_val=50, n_val=50) == key(n_fresh_val=50) != key(n_fresh_val=50, n_val=40)
    assert len({key(), key(n_fresh_val=15), key(n_fresh_val=50)}) == 3
    assert key() == "e6c80e8ecf9066ad7b139f02f8258458"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n_fresh_val": 1}, r"dataset\.n_fresh_val=1 .*at least 2"),
        ({"n_fresh_val": 20, "n_val": 21}, r"dataset\.n_val=21 .*at most 20"),
        ({"n_fresh_val": 20, "n_train": 101}, r"dataset\.n_train=101 .*at most 100"),
        ({"n_fresh_val": 20, "random_state": 2**32 - 1}, r"dataset\.random_state=4294967295 .*at most 4294967294"),
    ],
)
def test_fresh_points_that_cannot_be_are_refused(fields: dict[str, int], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Cell.from_config({"dataset": fields}, "test")


def rows_of(data: Data) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    return as_rows(data.x_train, data.y_train), as_rows(data.x_val, data.y_val)


@given(n_train=st.integers(2, 85), n_val=st.integers(2, 15))
def test_a_subset_is_stratified_and_part_of_its_side(n_train: int, n_val: int) -> None:
    whole = load(Moons(), NOWHERE)
    part = load(Moons(n_train=n_train, n_val=n_val), NOWHERE)
    for count, chosen, side in zip((n_train, n_val), rows_of(part), rows_of(whole), strict=True):
        assert len(chosen) == count
        assert [row for row in side if row in set(chosen)] == chosen, "in the order of the side"
        share = sum(row[-1] for row in side) / len(side)
        assert abs(sum(row[-1] for row in chosen) - share * count) <= 1


def test_a_subset_is_the_same_every_time() -> None:
    spec = Moons(n_train=20, n_val=6)
    first = rows_of(load(spec, NOWHERE))
    load.cache_clear()
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    assert rows_of(load(spec, NOWHERE)) == first


def test_the_full_size_is_no_subset() -> None:
    assert rows_of(load(Moons(n_train=85, n_val=15), NOWHERE)) == rows_of(load(Moons(), NOWHERE))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("n_train", 86, "at most 85"),
        ("n_val", 16, "at most 15"),
        ("n_train", 1, "at least 2"),
        ("n_val", 1, "at least 2"),
        ("n_train", 0, "at least 1"),
        ("n_train", -3, "at least 1"),
        ("n_train", 2.5, "an integer"),
    ],
)
def test_a_subset_that_cannot_be_is_refused(name: str, value: float, allowed: str) -> None:
    with pytest.raises(SettingError, match=f"dataset.{name}={value} .*{allowed}"):
        Cell.from_config({"dataset": {name: value}}, "test")


def test_a_split_without_training_points_is_refused() -> None:
    with pytest.raises(SettingError, match=r"dataset\.test_size"):
        dataclasses.replace(Moons(), n_samples=4, test_size=0.9).check()


def cut_and_mirrored(x: NDArray, numbers: NDArray[np.uint32]) -> NDArray:
    """Point by point: 4 zeros around, cut ⌊draw · 9 / 2³²⌋ from the top and the left, mirrored if draw 0 < 2³¹."""
    results = []
    for image, (mirror, top, left) in zip(x, numbers.tolist(), strict=True):
        padded = np.zeros((image.shape[0], image.shape[1] + 8, image.shape[2] + 8), image.dtype)
        padded[:, 4:-4, 4:-4] = image
        row, column = top * 9 // 2**32, left * 9 // 2**32
        cut = padded[:, row : row + image.shape[1], column : column + image.shape[2]]
        results.append(cut[:, :, ::-1] if mirror < 2**31 else cut)
    return np.stack(results)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (2, 5, 7), (1, 1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_are_cut_and_mirrored_as_the_draws_say(shape: tuple[int, int, int], dtype: type) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(1, 256, (200, *shape)).astype(dtype)
    numbers = rng.integers(0, 2**32, (200, 3), dtype=np.uint32)
    before = x.copy()
    found = flip_and_crop(torch.from_numpy(x), numbers)
    assert found.dtype == torch.from_numpy(x).dtype and np.array_equal(x, before)
    assert np.array_equal(found.numpy(), cut_and_mirrored(x, numbers))


def test_the_draws_next_to_every_border_fall_on_the_right_side() -> None:
    borders = [border for step in range(10) for border in (-(-(step * 2**32) // 9) - 1, -(-(step * 2**32) // 9))]
    borders = [border for border in borders if 0 <= border < 2**32]
    assert len(borders) == 18
    numbers = np.array(
        [(m, t, 2**32 - 1 - t) for m in (0, 2**31 - 1, 2**31, 2**32 - 1) for t in borders], dtype=np.uint32
    )
    x = np.random.default_rng(2).integers(1, 256, (len(numbers), 3, 6, 6), dtype=np.uint8)
    assert np.array_equal(flip_and_crop(torch.from_numpy(x), numbers).numpy(), cut_and_mirrored(x, numbers))


def test_the_middle_cut_is_the_image_itself() -> None:
    x = torch.arange(2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    numbers = np.array([(2**31, 2**31, 2**31), (0, 2**31, 2**31)], dtype=np.uint32)
    found = flip_and_crop(x, numbers)
    assert torch.equal(found[0], x[0]) and torch.equal(found[1], x[1].flip(2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_images_are_cut_and_mirrored_where_they_lie() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (50, 3, 32, 32), dtype=np.uint8)
    numbers = rng.integers(0, 2**32, (50, 3), dtype=np.uint32)
    found = flip_and_crop(torch.from_numpy(x).cuda(), numbers)
    assert found.is_cuda and np.array_equal(found.cpu().numpy(), cut_and_mirrored(x, numbers))


@pytest.mark.parametrize("n_samples", [25, 50])
@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_the_strip_is_divided_by_the_y_axis(n_samples: int, gap: float) -> None:
    """Geometry, section 5.1: two classes that differ by one point at most, four points next to their boundary."""
    spec = Strip(half_length=30.0, n_samples=n_samples, gap=gap, n_fresh_val=101)
    data = load(spec, NOWHERE)
    assert (len(data.y_train), len(data.y_val)) == spec.sizes() == (n_samples, 101)
    for x, y in ((data.x_train, data.y_train), (data.x_val, data.y_val)):
        assert ((x[:, 0] >= 0) == y).all() and x[:, 0].abs().max() <= 30 and x[:, 1].abs().max() <= 1
        assert abs(2 * y.sum().item() - len(y)) <= 1
    near = data.x_train[data.x_train[:, 0].abs() <= gap]
    expected = [(-0.1, -0.5), (-0.1, 0.5), (0.1, -0.5), (0.1, 0.5)] if gap else []
    assert sorted(map(tuple, near.tolist())) == expected


def test_the_strips_points_are_uniform_and_of_their_seed() -> None:
    first, other, again = (load(Strip(n_samples=4000, gap=0, random_state=s), NOWHERE) for s in (0, 1, 0))
    assert torch.equal(first.x_train, again.x_train) and not torch.equal(first.x_train, other.x_train)
    for x in (first.x_train / torch.tensor([3, 1]), other.x_val / torch.tensor([3, 1])):
        assert x.mean(0).abs().max() < 0.06 and (x.square().mean(0) - 1 / 3).abs().max() < 0.03
    assert not {*map(tuple, first.x_val.tolist())} & {*map(tuple, first.x_train.tolist())}


def test_a_strip_needs_room_for_the_points_at_its_middle() -> None:
    with pytest.raises(
        SettingError, match=r"^dataset\.gap=3\.0 is not allowed: it must be below dataset\.half_length=3$"
    ):
        Cell(dataset=Strip(gap=3.0))
