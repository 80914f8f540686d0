"""The ground floor: what the methods of all parts stand on.

It knows tensors and modules, and nothing of the lecture.
"""

from ece661_sparse.core.arguments import (
    check_coefficient,
    check_count,
    check_known,
    check_number,
    check_tensor,
)
from ece661_sparse.core.networks import (
    effective_kernels,
    evaluating,
    kernels,
    layers,
    owners,
)
from ece661_sparse.core.optimizers import closure_first
from ece661_sparse.core.schedules import Schedule, geometric, linear
from ece661_sparse.core.stochastic import logistic_noise, straight_through
from ece661_sparse.core.tables import Table

__all__ = [
    "Schedule",
    "Table",
    "check_coefficient",
    "check_count",
    "check_known",
    "check_number",
    "check_tensor",
    "closure_first",
    "effective_kernels",
    "evaluating",
    "geometric",
    "kernels",
    "layers",
    "linear",
    "logistic_noise",
    "owners",
    "straight_through",
]
