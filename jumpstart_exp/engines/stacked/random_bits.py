"""The random draws of `jumpstart_exp.randomness` on a device, for many networks at once."""

import torch
from torch import Tensor

from jumpstart_exp.randomness import Stream

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


def draws_of_rows(stream: Stream, seeds: Tensor, epoch: Tensor, layers: Tensor, points: Tensor, units: int) -> Tensor:
    """The draws of `jumpstart_exp.randomness.draws` for many networks, on their device: (rows, units, points), int64.

    Args:
        stream: what they are for.
        seeds: of every row.
        epoch: a number on the device.
        layers: of every row.
        points: their indices, (points,), or of every row its own, (rows, points).
        units: how many, counted from 0.
    """
    blocks = torch.arange((units + 3) // 4, device=points.device)
    shape = (len(seeds), len(blocks), points.shape[-1])
    word0, word1 = blocks[:, None].expand(shape), (points if points.dim() == 1 else points[:, None]).expand(shape)
    word2, word3 = layers[:, None, None].expand(shape), epoch.expand(shape)
    key0, key1 = seeds[:, None, None], int(stream)
    for _ in range(10):
        # products wrap around at 64 bits, and what a signed shift draws in is masked away
        product0, product1 = word0 * _MULTIPLIERS[0], word2 * _MULTIPLIERS[1]
        word0 = ((product1 >> 32) & _WORD) ^ word1 ^ key0
        word2 = ((product0 >> 32) & _WORD) ^ word3 ^ key1
        word1, word3 = product1 & _WORD, product0 & _WORD
        key0, key1 = (key0 + _WEYL[0]) & _WORD, (key1 + _WEYL[1]) & _WORD
    return torch.stack([word0, word1, word2, word3], 2).flatten(1, 2)[:, :units]
