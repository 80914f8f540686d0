"""The data sets of the tables, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ece661_sparse.training import Data, load_mnist
from ece661_sparse.training.data import data_folder


@dataclass(frozen=True)
class Dataset:
    """How to get a data set.

    Attributes:
        load: ``load(profile, device)``, downloading if need be.
        held_out: images of the training set to validate on, for each profile it has.
        full_is_here: can the full profile be loaded without a download?
    """

    load: Callable[[str, torch.device], Data]
    held_out: dict[str, int]
    full_is_here: Callable[[], bool]


DATASETS = {
    "mnist": Dataset(
        load_mnist,
        held_out={"quick": 800, "full": 5000},
        full_is_here=lambda: (data_folder() / "MNIST" / "raw").is_dir(),
    ),
}
