"""Exercises of Part III: from "Direct parameter selection" to "Hard concrete ℓ0".

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

from ece661_sparse.exercises.checker import Exercise

# --- solutions: stochastic_gates -----------------------------------------------

# --- solutions: continuous_sparsification --------------------------------------

# --- what tells right from wrong -------------------------------------------------

# --- stochastic_gates ----------------------------------------------------------

# --- continuous_sparsification -------------------------------------------------

EXERCISES: tuple[Exercise, ...] = (
    # stochastic_gates
    # continuous_sparsification
)
