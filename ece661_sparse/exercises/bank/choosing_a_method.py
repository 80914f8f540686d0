"""Exercises of "Choosing a method": solutions, then inputs and known mistakes."""

import math
from functools import partial

from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def not_dominated(nonzeros, top1):
    """No other network is at least as good in both, and better in one."""
    n, other_n = nonzeros[:, None], nonzeros[None, :]
    acc, other_acc = top1[:, None], top1[None, :]
    as_good = (other_n <= n) & (other_acc >= acc)
    better = (other_n < n) | (other_acc > acc)
    return ~(as_good & better).any(dim=1)


def difference_in_errors(a, b):
    """Difference of the means, in standard errors of that difference."""
    variance = a.var() / len(a) + b.var() / len(b)
    return ((a.mean() - b.mean()) / variance.sqrt()).item()


def strength_for(strengths, nonzeros, target):
    """Straight line through the two neighbours, in logarithms of both."""
    after = int((nonzeros > target).sum())
    x, y = strengths.log(), nonzeros.log()
    share = (y[after - 1] - math.log(target)) / (y[after - 1] - y[after])
    return (x[after - 1] + share * (x[after] - x[after - 1])).exp().item()


# --- inputs and known mistakes -------------------------------------------------


NOT_DOMINATED = Exercise(
    not_dominated,
    chapter="choosing_a_method",
    minutes=10,
    difficulty=1,
    cases=(
        # as many weights and less accurate; as accurate with more; twice the same
        (
            double([400, 100, 100, 200, 300, 200]),
            double([98.5, 97.0, 97.0, 98.0, 98.0, 97.5]),
        ),
        (double([400, 100, 300, 200, 250]), double([98.1, 97.0, 98.4, 97.9, 97.2])),
    ),
    edges=(
        (double([100.0]), double([97.0])),
        (double([100, 200, 300]), double([97.0, 97.0, 97.0])),
    ),
    mistakes=(
        Mistake(
            lambda n, acc: ~((n < n[:, None]) & (acc > acc[:, None])).any(dim=1),
            "You asked for fewer weights and a higher accuracy. One of the two is "
            "enough if the other is equal.",
        ),
        Mistake(
            lambda n, acc: ((n <= n[:, None]) & (acc >= acc[:, None])).sum(dim=1) == 1,
            "Two networks with the same numbers remove each other in your answer. "
            "One of the two comparisons must be strict.",
        ),
        Mistake(
            lambda nonzeros, top1: ~not_dominated(nonzeros, top1),
            "You marked the networks that are beaten; the question is which are not.",
        ),
        Mistake(
            lambda nonzeros, top1: top1 >= top1.cummax(0).values,
            "You compared each network with those before it. That is right once they "
            "are sorted by their weights, which these are not.",
        ),
    ),
)

DIFFERENCE_IN_ERRORS = Exercise(
    difference_in_errors,
    chapter="choosing_a_method",
    minutes=15,
    difficulty=2,
    cases=(
        (double([98.5, 98.3, 98.4]), double([98.0, 98.2, 97.9])),
        (double([97.1, 97.4]), double([97.5, 97.2, 97.9, 97.6])),
    ),
    edges=(
        (double([98.0, 98.2]), double([98.0, 98.2])),
        (double([1.0, 3.0]), double([5.0, 5.0])),
    ),
    mistakes=(
        Mistake(
            lambda a, b: (
                (a.mean() - b.mean())
                / (a.var(correction=0) / len(a) + b.var(correction=0) / len(b)).sqrt()
            ).item(),
            "You divided the squares by n. With the mean taken from the same numbers "
            "the variance is too small then; divide by n - 1 (torch's default).",
        ),
        Mistake(
            lambda a, b: ((a.mean() - b.mean()) / (a.var() + b.var()).sqrt()).item(),
            "You used the spread of single runs. A mean of n runs varies less: its "
            "variance is that of a run over n.",
        ),
        Mistake(
            lambda a, b: (
                (a.mean() - b.mean())
                / (a.std() / len(a) ** 0.5 + b.std() / len(b) ** 0.5)
            ).item(),
            "You added the standard errors. For independent runs the variances add, "
            "and the root comes last.",
        ),
        Mistake(
            lambda a, b: abs(difference_in_errors(a, b)),
            "You left out the sign: negative means that b is better.",
        ),
    ),
)


def _between(
    strengths: Tensor, nonzeros: Tensor, target: float, *, log_x: bool, log_y: bool
) -> float:
    """Interpolation with one logarithm or none: what the mistakes compute."""
    after = int((nonzeros > target).sum())
    x = strengths.log() if log_x else strengths
    y = nonzeros.log() if log_y else nonzeros
    goal = math.log(target) if log_y else target
    share = (y[after - 1] - goal) / (y[after - 1] - y[after])
    result = x[after - 1] + share * (x[after] - x[after - 1])
    return (result.exp() if log_x else result).item()


STRENGTH_FOR = Exercise(
    strength_for,
    chapter="choosing_a_method",
    minutes=15,
    difficulty=3,
    cases=(
        (double([1e-4, 1e-3, 1e-2]), double([50_000, 10_000, 1_000]), 5_000),
        (double([1e-5, 4e-5, 6e-5, 3e-4]), double([20_000, 9_000, 6_000, 500]), 1_000),
        (double([1e-4, 1e-3]), double([1_000, 10]), 100),
    ),
    # the target is one of the points
    edges=((double([1e-4, 1e-3, 1e-2]), double([50_000, 10_000, 1_000]), 10_000),),
    mistakes=(
        Mistake(
            partial(_between, log_x=False, log_y=False),
            "Your line is straight in λ and in n. Both run over powers of ten: take "
            "the line through the logarithms.",
        ),
        Mistake(
            partial(_between, log_x=True, log_y=False),
            "You took the logarithm of λ alone; the number of weights needs it too.",
        ),
        Mistake(
            partial(_between, log_x=False, log_y=True),
            "You took the logarithm of n alone; λ needs it too.",
        ),
        Mistake(
            lambda lam, n, target: lam[
                (n.log() - math.log(target)).abs().argmin()
            ].item(),
            "That is the nearest λ that was tried. The line between the two "
            "neighbours says more.",
        ),
        Mistake(
            lambda lam, n, target: math.log(strength_for(lam, n, target)),
            "That is the logarithm of the answer.",
        ),
    ),
)


EXERCISES = (NOT_DOMINATED, DIFFERENCE_IN_ERRORS, STRENGTH_FOR)
