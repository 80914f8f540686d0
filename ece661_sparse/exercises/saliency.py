"""Exercises of Part II: from "Moving beyond absolute values" to "Pruning results".

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

from ece661_sparse.exercises.checker import Exercise

# --- solutions: taylor_saliency ------------------------------------------------

# --- solutions: global_sparse_momentum -----------------------------------------

# --- solutions: pruning_results ------------------------------------------------

# --- what tells right from wrong -------------------------------------------------

# --- taylor_saliency -----------------------------------------------------------

# --- global_sparse_momentum ----------------------------------------------------

# --- pruning_results -----------------------------------------------------------

EXERCISES: tuple[Exercise, ...] = (
    # taylor_saliency
    # global_sparse_momentum
    # pruning_results
)
