"""Part II of the lecture: saliency, Global Sparse Momentum, rows of Table 1."""

from ece661_sparse.core.networks import kernels as kernels  # core documents it
from ece661_sparse.saliency.criteria import (
    averaged_taylor,
    first_order,
    loss_change,
    magnitude,
    taylor,
)
from ece661_sparse.saliency.gsm import GSM, GradualKeep
from ece661_sparse.saliency.masks import (
    Kept,
    allocation,
    apply_mask,
    global_mask,
    keep_zeros,
    layerwise_mask,
    nonzero_mask,
    rewind,
)

__all__ = [
    "GSM",
    "GradualKeep",
    "Kept",
    "allocation",
    "apply_mask",
    "averaged_taylor",
    "first_order",
    "global_mask",
    "keep_zeros",
    "layerwise_mask",
    "loss_change",
    "magnitude",
    "nonzero_mask",
    "rewind",
    "taylor",
]
