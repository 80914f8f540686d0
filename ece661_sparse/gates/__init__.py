"""Part III of the lecture: ℓ0 by gates, stochastic and continuous."""

from ece661_sparse.gates.bernoulli import (
    Bernoulli,
    exact_gradient,
    log_probability,
    sample_bernoulli,
    score_function_gradients,
    score_function_term,
    straight_through_gradients,
)
from ece661_sparse.gates.continuous import (
    ContinuousGate,
    hardening,
    remaining,
    rewind_weights,
    start_round,
)
from ece661_sparse.gates.gating import (
    Gate,
    bake,
    expected_l0,
    gate,
    gate_groups,
    gates,
)
from ece661_sparse.gates.hard_concrete import (
    HardConcrete,
    concrete_density,
    probability_nonzero,
    probability_one,
    rectify,
    sample_concrete,
    sample_hard_concrete,
    stretch,
    stretched_density,
    z_hat,
)

__all__ = [
    "Bernoulli",
    "ContinuousGate",
    "Gate",
    "HardConcrete",
    "bake",
    "concrete_density",
    "exact_gradient",
    "expected_l0",
    "gate",
    "gate_groups",
    "gates",
    "hardening",
    "log_probability",
    "probability_nonzero",
    "probability_one",
    "rectify",
    "remaining",
    "rewind_weights",
    "sample_bernoulli",
    "sample_concrete",
    "sample_hard_concrete",
    "score_function_gradients",
    "score_function_term",
    "start_round",
    "straight_through_gradients",
    "stretch",
    "stretched_density",
    "z_hat",
]
