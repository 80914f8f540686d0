"""An answer tried on every case of its exercise, beside what the reference returns."""

import copy
import math
import numbers
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ece661_sparse.exercises.exercise import Answer, Exercise


@dataclass(frozen=True, eq=False)  # outcomes hold tensors, which compare entry by entry
class Outcome:
    """One call of an answer.

    Attributes:
        args: What it was called with.
        expected: What the reference returns for them.
        value: What the answer returned.
        error: What it raised instead.
        changed: The position of an argument that it wrote into.
    """

    args: tuple[Any, ...]
    expected: Any
    value: Any = None
    error: BaseException | None = None
    changed: int | None = None


class Trial:
    """An answer, and its outcomes on the ordinary cases and on the edges."""

    def __init__(self, exercise: Exercise, function: Answer) -> None:
        self.exercise, self.function = exercise, function
        self.ordinary = [self.call(args) for args in exercise.cases]
        self.edges = [self.call(args) for args in exercise.edges]
        self.outcomes = self.ordinary + self.edges

    def call(self, args: tuple[Any, ...]) -> Outcome:
        """Call on copies, so that an answer that writes into its input harms nobody."""
        expected, copies = self.exercise.reference(*args), copy.deepcopy(args)
        try:
            value = self.function(*copies)
        except (Exception, SystemExit) as error:
            return Outcome(args, expected, error=error)
        for position, (arg, given) in enumerate(zip(args, copies, strict=True)):
            if not _is_as_it_was(arg, given):
                return Outcome(args, expected, value, changed=position)
        return Outcome(args, expected, value)

    def same(self, outcome: Outcome, other: Any) -> bool:
        """Whether a call's result equals another result, whatever their dtypes."""
        answer, right = as_tensor(outcome.value), as_tensor(other)
        return comparable(answer, right) and self.exercise.same(
            answer, right, outcome.args
        )


def _is_as_it_was(arg: Any, given: Any) -> bool:
    """Whether an argument has been left alone; a list by its entries."""
    if isinstance(arg, Tensor):
        return isinstance(given, Tensor) and torch.equal(arg, given.detach())
    if isinstance(arg, list):
        return len(arg) == len(given) and all(map(_is_as_it_was, arg, given))
    return arg == given


def is_number(value: Any) -> bool:
    """A real number as Python, NumPy or a tensor without dimensions holds it."""
    if isinstance(value, Tensor):
        on_cpu = value.device.type == "cpu" and value.layout == torch.strided
        real = not value.is_complex() and value.dtype != torch.bool
        return value.ndim == 0 and on_cpu and real
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_tensor(value: Any) -> Tensor:
    """A number or a tensor as a float64 tensor without history."""
    if isinstance(value, Tensor):
        return value.detach().to(value.dtype if value.is_complex() else torch.float64)
    try:
        return torch.tensor(float(value), dtype=torch.float64)
    except OverflowError:  # a Python integer beyond the floats
        return torch.tensor(math.inf if value > 0 else -math.inf).double()


def comparable(answer: Tensor, right: Tensor) -> bool:
    """Whether two results can be compared entry by entry."""
    like = answer.device == right.device and answer.layout == right.layout
    return like and answer.shape == right.shape and not answer.is_complex()
