"""Other views of the training images in every epoch: ``train(..., augment=...)``.

They are made on the device, for a whole batch at once. The random numbers come from
torch's global generator of the CPU, so that they are the same on every device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ece661_sparse.core.arguments import check_count


def random_shift(x: Tensor, pixels: int = 1) -> Tensor:
    """Move each image at random by up to ``pixels`` rows and columns.

    What enters at an edge repeats the edge, which for a digit is the background.

    Shapes: ``(N, channels, H, W)`` to the same, channels last in memory.

    Raises:
        ValueError: ``pixels`` below 1.
    """
    check_count("pixels", pixels, at_least=1)
    rows, columns = _places(x, pixels)
    return _cut(F.pad(x, 4 * [pixels], mode="replicate"), rows, columns)


def crop_and_flip(x: Tensor, padding: int = 4) -> Tensor:
    """Shift each image at random by up to ``padding`` pixels, and mirror about half.

    Each image is padded with zeros (the mean colour), cut to its old size at a random
    place, and flipped left to right with probability 1/2.

    Shapes: ``(N, channels, H, W)`` to the same, channels last in memory.
    """
    rows, columns = _places(x, padding)
    mirrored = torch.rand(len(x), 1) < 0.5
    columns = torch.where(mirrored, columns, columns.flip(1))
    return _cut(F.pad(x, 4 * [padding]), rows, columns)


def _places(x: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Rows ``(N, H)`` and columns ``(N, W)`` of a random window of padded images."""
    n, _, height, width = x.shape
    places = torch.randint(2 * padding + 1, (2, n, 1))
    return places[0] + torch.arange(height), places[1] + torch.arange(width)


def _cut(padded: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    index = torch.arange(len(rows))[:, None, None], rows[:, :, None], columns[:, None]
    images, rows, columns = (i.to(padded.device) for i in index)
    # Indices of three axes around a slice: numpy's rule puts the slice last, so the
    # result is (N, H, W, channels).
    return padded[images, :, rows, columns].permute(0, 3, 1, 2)
