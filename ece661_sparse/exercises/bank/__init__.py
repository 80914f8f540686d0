"""The exercises of the book, a file for each chapter.

Each file has first the solutions, as the book's solutions page shows them: a solution
needs what its chapter has imported, and the exercises before it. Then come the inputs
and the known mistakes that tell a right answer from a wrong one.
"""

from ece661_sparse.exercises.bank import (
    beyond_l1,
    channel_gating,
    choosing_a_method,
    continuous_sparsification,
    dynamic_convolution,
    early_exit,
    from_zeros_to_speed,
    global_sparse_momentum,
    proximal_gradient,
    pruning_results,
    stochastic_gates,
    taylor_saliency,
    trimmed_l1,
)

EXERCISES = (
    *proximal_gradient.EXERCISES,
    *beyond_l1.EXERCISES,
    *trimmed_l1.EXERCISES,
    *taylor_saliency.EXERCISES,
    *global_sparse_momentum.EXERCISES,
    *pruning_results.EXERCISES,
    *stochastic_gates.EXERCISES,
    *continuous_sparsification.EXERCISES,
    *early_exit.EXERCISES,
    *channel_gating.EXERCISES,
    *dynamic_convolution.EXERCISES,
    *choosing_a_method.EXERCISES,
    *from_zeros_to_speed.EXERCISES,
)
