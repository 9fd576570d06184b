"""Counter-based random streams: every draw is addressed, so no cell's draws depend on where it runs.

Initial weights come from NumPy's Philox keyed by (seed, layer). Dropout masks, random ties and batch order come
from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), addressed by
(seed, epoch, layer, point, unit) and never by a padded index.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from jumpstart_exp.late import LateModule

if TYPE_CHECKING:
    from scipy import special
else:
    special = LateModule("scipy.special")

RandomBits = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.float64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Stream(IntEnum):
    """What a draw is for; the second word of the Philox key, so that streams never overlap."""

    DROPOUT = 1
    BATCH_ORDER = 2
    TIE_UNIT_ABOVE = 3
    TIE_UNIT_BELOW = 4
    TIE_POINT_ABOVE = 5
    TIE_POINT_BELOW = 6
    TIE_LAYER_ABOVE = 7
    TIE_LAYER_BELOW = 8
    AUGMENTATION = 9
    RELAXATION = 10


def random_bits(
    stream: Stream, seed: int, epoch: int, layers: Sequence[int], points: npt.ArrayLike, units: int
) -> RandomBits:
    """32-bit draws of shape (layers, points, units).

    The draw of (epoch, layer, point, unit) is word `unit % 4` of Philox4x32-10 at the counter
    (unit // 4, point, layer, epoch) under the key (seed, stream). Layers and epochs count from 0.
    """
    blocks = np.arange((units + 3) // 4, dtype=np.uint64)
    shape = (len(layers), np.size(points), blocks.size)
    counter = (
        np.broadcast_to(blocks, shape),
        np.broadcast_to(np.asarray(points, dtype=np.uint64)[:, None], shape),
        np.broadcast_to(np.asarray(layers, dtype=np.uint64)[:, None, None], shape),
        np.full(shape, epoch, dtype=np.uint64),
    )
    words = philox4x32(counter, (seed, int(stream)))
    return np.stack(words, axis=-1).reshape(*shape[:2], 4 * blocks.size)[..., :units].astype(np.uint32)


def keep_threshold(rate: float) -> int:
    """The draw from which on a unit is kept by dropout of this rate: ⌊rate·2³²⌋."""
    return int(rate * 2**32)


def philox4x32(counter: tuple[npt.NDArray[np.uint64], ...], key: tuple[int, int]) -> tuple[npt.NDArray[np.uint64], ...]:
    """Ten rounds of Philox4x32 on four equally shaped counter words; every word fits 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


class InitialDraws:
    """A layer's stream of numbers for its initial parameters: NumPy's Philox, its raw 64-bit words, one a number.

    Args:
        seed: of the cell; one word of the key.
        layer: hidden layers from 0, the output layer last.
        draw: how often the layer was drawn before; the other word of the key is layer + 2³²·draw.
    """

    def __init__(self, seed: int, layer: int, draw: int = 0) -> None:
        self._philox = np.random.Philox(key=np.array([seed, layer + (draw << 32)], dtype=np.uint64))

    @property
    def generator(self) -> np.random.Generator:
        """NumPy's generator on this stream, for functions of users' own."""
        return np.random.Generator(self._philox)

    def symmetric(self, count: int) -> Numbers:
        """Uniform on [−1, 1): 2u − 1 with u = (word >> 11)·2⁻⁵³."""
        return 2.0 * ((self._words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1.0

    def open_unit(self, count: int) -> Numbers:
        """Uniform within (0, 1), without the ends: ((word >> 12) + ½)·2⁻⁵²."""
        return ((self._words(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, count: int) -> Numbers:
        """Standard normal: the inverse of the normal distribution function at `open_unit`."""
        found: Numbers = special.ndtri(self.open_unit(count))
        return found

    def _words(self, count: int) -> npt.NDArray[np.uint64]:
        return np.asarray(self._philox.random_raw(count), dtype=np.uint64)
