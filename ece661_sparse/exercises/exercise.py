"""What an exercise is, and when two results count as equal."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Answer = Callable[..., Any]
Comparison = Callable[[Tensor, Tensor, tuple[Any, ...]], bool]
TOLERANCE = 1e-5  # a bisection may stop early; no known mistake is this small


def close(answer: Tensor, expected: Tensor, args: tuple[Any, ...] = ()) -> bool:
    """Equal to five digits; NaN and infinity equal themselves."""
    return torch.allclose(answer, expected, TOLERANCE, TOLERANCE, equal_nan=True)


def close_up_to_ties(answer: Tensor, expected: Tensor, args: tuple[Any, ...]) -> bool:
    """Equal to five digits, whichever of two equal magnitudes of the input was chosen.

    For operators whose result is a two-point set at a tie; the input is ``args[0]``.
    """
    x = args[0].flatten()
    side = torch.where(x < 0, -1.0, 1.0)

    def arranged(result: Tensor) -> Tensor:
        """The results relative to the input's sign, sorted inside each tie."""
        ascending = (result.flatten() * side).sort().indices
        by_size = x.abs()[ascending].sort(stable=True).indices
        return (result.flatten() * side)[ascending[by_size]]

    return close(arranged(answer), arranged(expected))


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that students are known to write, and what to say."""

    implementation: Answer
    message: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is right, what usually goes wrong, and what tells them apart.

    Attributes:
        reference: The solution. Its name and signature are those of the stub, and its
            source is what the book's solutions page shows.
        chapter: The notebook that poses the exercise.
        minutes: How long it takes.
        difficulty: From 1 (write down the formula) to 3 (think first).
        cases: Argument tuples that tell the mistakes from the reference and from each
            other; the first ones small, for they are what a wrong answer is shown.
        edges: Further argument tuples: knots, ties and limits. There a right answer
            has to be right, too; but a mistake may differ from the reference only by
            a convention, so that no mistake is recognised there.
        mistakes: The known mistakes.
        same: Whether two results on the same arguments count as equal.
        objective: For a scalar shrinkage function, what it minimises:
            ``objective(z, x, *parameters)``. Draws the plot under a wrong answer.
    """

    reference: Answer
    chapter: str
    minutes: int
    difficulty: int
    cases: tuple[tuple[Any, ...], ...]
    mistakes: tuple[Mistake, ...]
    edges: tuple[tuple[Any, ...], ...] = ()
    same: Comparison = close
    objective: Callable[..., Tensor] | None = None

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    @property
    def parameters(self) -> list[str]:
        """The names of its arguments."""
        return list(inspect.signature(self.reference).parameters)

    @property
    def subtitle(self) -> str:
        """Difficulty and minutes, as the banner shows them."""
        return f"difficulty {self.difficulty} of 3, about {self.minutes} minutes"
