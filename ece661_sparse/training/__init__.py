"""What every chapter needs around a method: data, the loop, numbers, checkpoints."""

from ece661_sparse.training.augment import crop_and_flip, random_shift
from ece661_sparse.training.checkpoint import Checkpoint
from ece661_sparse.training.cifar import (
    half_precision,
    load_cifar10,
    load_cifar10_jpeg,
)
from ece661_sparse.training.data import (
    Data,
    Images,
    current_profile,
    hold_out,
    load_mnist,
)
from ece661_sparse.training.loop import set_seed, train
from ece661_sparse.training.metrics import (
    LayerSparsity,
    SparsityReport,
    accuracy,
    nonzeros,
    provenance,
    sparsity_report,
)
from ece661_sparse.training.sparse_file import load_sparse, save_sparse

__all__ = [
    "Checkpoint",
    "Data",
    "Images",
    "LayerSparsity",
    "SparsityReport",
    "accuracy",
    "crop_and_flip",
    "current_profile",
    "half_precision",
    "hold_out",
    "load_cifar10",
    "load_cifar10_jpeg",
    "load_mnist",
    "load_sparse",
    "nonzeros",
    "provenance",
    "random_shift",
    "save_sparse",
    "set_seed",
    "sparsity_report",
    "train",
]
