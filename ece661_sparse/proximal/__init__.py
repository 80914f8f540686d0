"""Part I of the lecture: proximal operators, penalties, projections, optimizers."""

from ece661_sparse.proximal.operators import (
    prox_firm,
    prox_l0,
    prox_l1,
    prox_lq,
    prox_mcp,
    prox_q_shrinkage,
    prox_scad,
)
from ece661_sparse.proximal.optim import ProximalOptimizer, regularized, weight_groups
from ece661_sparse.proximal.penalties import (
    L0,
    L1,
    MCP,
    SCAD,
    Firm,
    L0Ball,
    Lq,
    Penalty,
    QShrinkage,
)
from ece661_sparse.proximal.projections import project_capped_simplex, project_top_n
from ece661_sparse.proximal.trimmed import TrimmedL1, TrimmedL1Result, trimmed_l1

__all__ = [
    "L0",
    "L1",
    "MCP",
    "SCAD",
    "Firm",
    "L0Ball",
    "Lq",
    "Penalty",
    "ProximalOptimizer",
    "QShrinkage",
    "TrimmedL1",
    "TrimmedL1Result",
    "project_capped_simplex",
    "project_top_n",
    "prox_firm",
    "prox_l0",
    "prox_l1",
    "prox_lq",
    "prox_mcp",
    "prox_q_shrinkage",
    "prox_scad",
    "regularized",
    "trimmed_l1",
    "weight_groups",
]
