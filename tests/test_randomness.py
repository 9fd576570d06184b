from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.randomness import InitialDraws, Stream, keep_threshold, philox4x32, random_bits

# Random123, examples/kat_vectors: "philox4x32 10": counter, key, result. The last: digits of π.
KNOWN_ANSWERS = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

words = st.integers(0, 2**32 - 1)
indices = st.lists(st.integers(0, 10_000), min_size=1, max_size=6, unique=True)


def plain_philox4x32(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 in Python's integers (Salmon et al., SC 2011, section 3.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def philox(counter: Sequence[int], key: tuple[int, int]) -> tuple[int, ...]:
    counters = np.array(counter, dtype=np.uint64)[:, None]
    return tuple(int(word[0]) for word in philox4x32(tuple(counters), key))


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]
) -> None:
    assert philox(counter, key) == answer
    assert plain_philox4x32(counter, key) == answer


@given(counter=st.tuples(words, words, words, words), key=st.tuples(words, words))
def test_philox_is_philox_everywhere(counter: tuple[int, ...], key: tuple[int, int]) -> None:
    assert philox(counter, key) == plain_philox4x32(counter, key)


@given(
    stream=st.sampled_from(Stream),
    seed=words,
    epoch=words,
    layers=indices,
    points=indices,
    units=st.integers(1, 11),
)
def test_a_draw_is_addressed_by_seed_epoch_layer_point_and_unit(
    stream: Stream, seed: int, epoch: int, layers: list[int], points: list[int], units: int
) -> None:
    found = random_bits(stream, seed, epoch, layers, points, units)
    assert found.shape == (len(layers), len(points), units) and found.dtype == np.uint32
    for layer, point, unit in np.ndindex(found.shape):
        counter = (unit // 4, points[point], layers[layer], epoch)
        assert found[layer, point, unit] == plain_philox4x32(counter, (seed, stream))[unit % 4]


@given(
    layers=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    points=st.lists(st.integers(0, 19), min_size=1, max_size=8),
    units=st.integers(1, 10),
)
def test_any_part_has_the_draws_of_the_whole(layers: list[int], points: list[int], units: int) -> None:
    """A subset of layers and points in any order, and fewer units, as in a batch or under padding."""
    whole = random_bits(Stream.DROPOUT, 3, 7, range(10), range(20), 10)
    part = random_bits(Stream.DROPOUT, 3, 7, layers, points, units)
    assert np.array_equal(part, whole[np.ix_(layers, points)][..., :units])


def test_no_layers_have_no_draws() -> None:
    """As in a network whose only hidden layer is its first."""
    assert random_bits(Stream.DROPOUT, 0, 0, [], [0, 1], 3).shape == (0, 2, 3)


def test_streams_seeds_and_epochs_differ() -> None:
    addresses = [(stream, seed, epoch) for stream in Stream for seed in (0, 1, 2**32 - 1) for epoch in (0, 1, 4999)]
    found = {random_bits(*address, [0, 1], [0, 1, 2], 5).tobytes() for address in addresses}
    assert len(found) == len(addresses)


def test_every_stream_has_its_own_number() -> None:
    """The numbers are part of every stored result: they never change."""
    assert {stream.name: int(stream) for stream in Stream} == {
        "DROPOUT": 1,
        "BATCH_ORDER": 2,
        "TIE_UNIT_ABOVE": 3,
        "TIE_UNIT_BELOW": 4,
        "TIE_POINT_ABOVE": 5,
        "TIE_POINT_BELOW": 6,
        "TIE_LAYER_ABOVE": 7,
        "TIE_LAYER_BELOW": 8,
        "AUGMENTATION": 9,
        "RELAXATION": 10,
    }


@pytest.mark.parametrize(
    ("rate", "threshold"),
    [(0.0, 0), (0.5, 2**31), (0.25, 2**30), (0.9, 3865470566), (0.1, 429496729), (2**-32, 1), (2**-33, 0)],
)
def test_the_threshold_is_the_floor_of_the_rate(rate: float, threshold: int) -> None:
    assert keep_threshold(rate) == threshold


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_the_rate_says(rate: float) -> None:
    dropped = random_bits(Stream.DROPOUT, 0, 0, range(5), range(100), 40) < keep_threshold(rate)
    deviation = (rate * (1 - rate) / dropped.size) ** 0.5
    assert abs(dropped.mean() - rate) < 4 * deviation


@given(seed=words, layer=st.integers(0, 300), count=st.integers(1, 40))
def test_symmetric_uniform_is_numpys_philox(seed: int, layer: int, count: int) -> None:
    """The upper 53 bits of each raw word, as a fraction u of [0, 1), and 2u − 1."""
    generator = np.random.Philox(key=seed + (layer << 64))
    expected = [2 * ((int(generator.random_raw()) >> 11) / 2**53) - 1 for _ in range(count)]
    found = InitialDraws(seed, layer).symmetric(count)
    assert found.tolist() == expected
    assert all(-1 <= number < 1 for number in expected)


def test_symmetric_uniform_is_these_bits() -> None:
    # Philox4x64-10 in Python's integers, key (0, 0), counter 1: the first raw word is 0x02f4ba6408e4d89b
    assert InitialDraws(0, 0).symmetric(1)[0].hex() == (2 * ((0x02F4BA6408E4D89B >> 11) / 2**53) - 1).hex()
    assert InitialDraws(0, 1).symmetric(1)[0].hex() == (2 * ((0xD037F8C3F9A1D176 >> 11) / 2**53) - 1).hex()
