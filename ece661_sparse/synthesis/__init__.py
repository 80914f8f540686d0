"""Beyond the lecture: what the zeros of all four parts are good for."""

from ece661_sparse.synthesis.channels import cut_channels
from ece661_sparse.synthesis.compaction import Maxout, Pick, compact

__all__ = ["Maxout", "Pick", "compact", "cut_channels"]
