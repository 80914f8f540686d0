"""The exercises of the book: ``check`` an answer, see the ``progress``.

In a chapter::

    def soft_threshold(x, threshold):
        raise NotImplementedError      # your code here

    soft_threshold = check("soft_threshold", soft_threshold)
"""

from ece661_sparse.exercises.bank import EXERCISES
from ece661_sparse.exercises.exercise import Exercise, Mistake
from ece661_sparse.exercises.session import (
    NotSolvedError,
    check,
    exercises,
    progress,
    register,
    solution_source,
)

register(EXERCISES)

__all__ = [
    "Exercise",
    "Mistake",
    "NotSolvedError",
    "check",
    "exercises",
    "progress",
    "register",
    "solution_source",
]
