"""Exercises of Part IV: from "Moving beyond pruning" to "Dynamic convolution".

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

from ece661_sparse.exercises.checker import Exercise

# --- solutions: early_exit -----------------------------------------------------

# --- solutions: channel_gating -------------------------------------------------

# --- solutions: dynamic_convolution --------------------------------------------

# --- what tells right from wrong -------------------------------------------------

# --- early_exit ----------------------------------------------------------------

# --- channel_gating ------------------------------------------------------------

# --- dynamic_convolution -------------------------------------------------------

EXERCISES: tuple[Exercise, ...] = (
    # early_exit
    # channel_gating
    # dynamic_convolution
)
