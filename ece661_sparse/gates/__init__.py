"""Part III of the lecture: ℓ0 by gates, stochastic and continuous."""

from ece661_sparse.gates.gating import (
    Gate,
    Schedule,
    bake,
    expected_l0,
    exponential,
    gate,
    gate_groups,
    gates,
)

__all__ = [
    "Gate",
    "Schedule",
    "bake",
    "expected_l0",
    "exponential",
    "gate",
    "gate_groups",
    "gates",
]
