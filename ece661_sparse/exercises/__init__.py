"""The exercises of the book: ``check`` an answer, see the ``progress``.

In a chapter::

    def soft_threshold(x, threshold):
        raise NotImplementedError      # your code here

    soft_threshold = check("soft_threshold", soft_threshold)
"""

from ece661_sparse.exercises import dynamic, gates, proximal, saliency, synthesis
from ece661_sparse.exercises.checker import (
    Exercise,
    Mistake,
    NotSolvedError,
    check,
    exercises,
    progress,
    register,
    solution_source,
)

for part in (proximal, saliency, gates, dynamic, synthesis):
    register(part.EXERCISES)

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
