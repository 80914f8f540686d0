"""Part II of the lecture: saliency, Global Sparse Momentum, rows of Table 1."""

from ece661_sparse.saliency.masks import (
    Kept,
    allocation,
    apply_mask,
    global_mask,
    keep_zeros,
    kernels,
    layerwise_mask,
    nonzero_mask,
    rewind,
)

__all__ = [
    "Kept",
    "allocation",
    "apply_mask",
    "global_mask",
    "keep_zeros",
    "kernels",
    "layerwise_mask",
    "nonzero_mask",
    "rewind",
]
