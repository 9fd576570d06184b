"""Training images changed at random."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

CROP_PADDING = 4
"""Pixels by which `flip_and_crop` moves an image at most."""


def flip_and_crop(x: Tensor, numbers: npt.NDArray[np.uint32]) -> Tensor:
    """Images cut out of themselves padded by 4 pixels of zeros, then mirrored at random, as torchvision does.

    Args:
        x: images of shape (points, channels, height, width), as published: before they are normalised.
        numbers: draws of shape (points, 3): mirrored left to right where the first is below 2³¹; the second and the
            third give the cut's top and left, ⌊draw · 9 / 2³²⌋ pixels into the padded image.
    """
    height, width = x.shape[2:]
    offsets = (numbers[:, 1:].astype(np.uint64) * (2 * CROP_PADDING + 1)) >> np.uint64(32)
    top, left = torch.from_numpy(offsets.astype(np.int64)).to(x.device).unbind(1)
    mirrored = torch.from_numpy(numbers[:, 0] < 2**31).to(x.device)
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device).expand(len(x), width)
    columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    padded = functional.pad(x, (CROP_PADDING,) * 4)
    points, channels = (torch.arange(size, device=x.device) for size in x.shape[:2])
    return padded[
        points[:, None, None, None], channels[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]
