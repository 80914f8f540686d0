"""The data sets of the tables, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ece661_sparse.training import Data, cifar, crop_and_flip, load_mnist
from ece661_sparse.training.data import data_folder


@dataclass(frozen=True)
class Dataset:
    """How to get a data set.

    Attributes:
        load: ``load(profile, device)``, downloaded if it has to be.
        held_out: images of the training set to validate on, for each profile it has.
        full_is_here: can the full profile be loaded without a download?
        augment: changes the images of every training batch.
        half: train in bfloat16 where the hardware can.
    """

    load: Callable[[str, torch.device], Data]
    held_out: dict[str, int]
    full_is_here: Callable[[], bool]
    augment: Callable[[Tensor], Tensor] | None = None
    half: bool = False

    def training(self, device: torch.device) -> dict[str, Any]:
        """What ``train`` is given in every stage because of the data."""
        autocast = cifar.half_precision(device) if self.half else None
        return {"augment": self.augment, "autocast": autocast}


def _cifar10(load: Callable[[torch.device], Data], folder: str) -> Dataset:
    """No images of CIFAR-10 come along: it has the profile ``full`` alone."""
    return Dataset(
        lambda profile, device: load(device),
        held_out={"full": 5000},
        full_is_here=lambda: (data_folder() / folder).is_dir(),
        augment=crop_and_flip,
        half=True,
    )


DATASETS = {
    "mnist": Dataset(
        load_mnist,
        held_out={"quick": 800, "full": 5000},
        full_is_here=lambda: (data_folder() / "MNIST" / "raw").is_dir(),
    ),
    "cifar10": _cifar10(cifar.load_cifar10, cifar.BATCHES),
    "cifar10-jpeg": _cifar10(cifar.load_cifar10_jpeg, cifar.JPEG),
}
