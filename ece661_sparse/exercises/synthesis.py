"""Exercises of Part V: what the zeros are good for.

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

import math

import torch
from torch import Tensor

from ece661_sparse.exercises.checker import Exercise, Mistake

# --- solutions: choosing_a_method ----------------------------------------------


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


# --- solutions: from_zeros_to_speed --------------------------------------------


def folded_bias(W, b, W_next, b_next):
    """Units without incoming weights are constants; the next bias takes them over."""
    constant = ~W.any(dim=1)
    return b_next + W_next[:, constant] @ b[constant].clamp(min=0)


def units_left(W1, W2, W3):
    """Forwards: who still varies? Backwards: who is still read?"""
    varies1 = W1.any(dim=1)
    varies2 = W2[:, varies1].any(dim=1)
    used2 = varies2 & W3.any(dim=0)
    used1 = varies1 & W2[used2].any(dim=0)
    return torch.stack((used1.sum(), used2.sum()))


def overall_speedup(time, faster):
    """The time before over the time after, part by part."""
    return (time.sum() / (time / faster).sum()).item()


# --- choosing_a_method: inputs and known mistakes ------------------------------


def _d(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


NOT_DOMINATED = Exercise(
    not_dominated,
    chapter="choosing_a_method",
    minutes=10,
    difficulty=1,
    cases=(
        # as many weights and less accurate; as accurate with more; twice the same
        (
            _d([400, 100, 100, 200, 300, 200]),
            _d([98.5, 97.0, 97.0, 98.0, 98.0, 97.5]),
        ),
        (_d([400, 100, 300, 200, 250]), _d([98.1, 97.0, 98.4, 97.9, 97.2])),
    ),
    edges=(
        (_d([100.0]), _d([97.0])),
        (_d([100, 200, 300]), _d([97.0, 97.0, 97.0])),
    ),
    mistakes=(
        Mistake(
            lambda nonzeros, top1: (
                ~(
                    (nonzeros[None, :] < nonzeros[:, None])
                    & (top1[None, :] > top1[:, None])
                ).any(dim=1)
            ),
            "You asked for fewer weights and a higher accuracy. One of the two is "
            "enough if the other is equal.",
        ),
        Mistake(
            lambda nonzeros, top1: (
                ~(
                    (nonzeros[None, :] <= nonzeros[:, None])
                    & (top1[None, :] >= top1[:, None])
                    & ~torch.eye(len(top1), dtype=torch.bool)
                ).any(dim=1)
            ),
            "Two networks with the same numbers remove each other in your answer. "
            "One of the two comparisons must be strict.",
        ),
        Mistake(
            lambda nonzeros, top1: (
                (nonzeros[None, :] <= nonzeros[:, None])
                & (top1[None, :] >= top1[:, None])
                & (
                    (nonzeros[None, :] < nonzeros[:, None])
                    | (top1[None, :] > top1[:, None])
                )
            ).any(dim=1),
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
        (_d([98.5, 98.3, 98.4]), _d([98.0, 98.2, 97.9])),
        (_d([97.1, 97.4]), _d([97.5, 97.2, 97.9, 97.6])),
    ),
    edges=(
        (_d([98.0, 98.2]), _d([98.0, 98.2])),
        (_d([1.0, 3.0]), _d([5.0, 5.0])),
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
            lambda a, b: abs(
                (a.mean() - b.mean()) / (a.var() / len(a) + b.var() / len(b)).sqrt()
            ).item(),
            "You left out the sign: negative means that b is better.",
        ),
    ),
)

STRENGTH_FOR = Exercise(
    strength_for,
    chapter="choosing_a_method",
    minutes=15,
    difficulty=3,
    cases=(
        (_d([1e-4, 1e-3, 1e-2]), _d([50_000, 10_000, 1_000]), 5_000),
        (_d([1e-5, 4e-5, 6e-5, 3e-4]), _d([20_000, 9_000, 6_000, 500]), 1_000),
        (_d([1e-4, 1e-3]), _d([1_000, 10]), 100),
    ),
    # exactly one of the points
    edges=((_d([1e-4, 1e-3, 1e-2]), _d([50_000, 10_000, 1_000]), 10_000),),
    mistakes=(
        Mistake(
            lambda strengths, nonzeros, target: _between(
                strengths, nonzeros, target, log_x=False, log_y=False
            ),
            "Your line is straight in λ and in n. Both run over powers of ten: take "
            "the line through the logarithms.",
        ),
        Mistake(
            lambda strengths, nonzeros, target: _between(
                strengths, nonzeros, target, log_x=True, log_y=False
            ),
            "You took the logarithm of λ alone; the number of weights needs it too.",
        ),
        Mistake(
            lambda strengths, nonzeros, target: _between(
                strengths, nonzeros, target, log_x=False, log_y=True
            ),
            "You took the logarithm of n alone; λ needs it too.",
        ),
        Mistake(
            lambda strengths, nonzeros, target: strengths[
                (nonzeros.log() - math.log(target)).abs().argmin()
            ].item(),
            "That is the nearest λ that was tried. The line between the two "
            "neighbours says more.",
        ),
        Mistake(
            lambda strengths, nonzeros, target: math.log(
                strength_for(strengths, nonzeros, target)
            ),
            "That is the logarithm of the answer.",
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


# --- from_zeros_to_speed: inputs and known mistakes ----------------------------


def _sparse(rows: int, columns: int, density: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return values * (torch.rand(rows, columns, generator=generator) < density)


FOLDED_BIAS = Exercise(
    folded_bias,
    chapter="from_zeros_to_speed",
    minutes=10,
    difficulty=1,
    cases=(
        (
            _d([[1, -2], [0, 0], [0, 0]]),
            _d([0.5, 2, -3]),
            _d([[1, 10, 100], [2, 20, 200]]),
            _d([0.25, -0.25]),
        ),
        (
            _sparse(12, 5, 0.2, 0),
            _sparse(1, 12, 1.0, 1)[0],
            _sparse(4, 12, 0.7, 2),
            _sparse(1, 4, 1.0, 3)[0],
        ),
    ),
    edges=(
        # nothing is constant; everything is
        (_d([[1.0]]), _d([2.0]), _d([[3.0]]), _d([4.0])),
        (_d([[0.0], [0.0]]), _d([1.0, 2.0]), _d([[3.0, 1.0]]), _d([4.0])),
    ),
    mistakes=(
        Mistake(
            lambda W, b, W_next, b_next: (
                b_next + W_next[:, ~W.any(dim=1)] @ b[~W.any(dim=1)]
            ),
            "You handed on the bias itself. Between the layers stands a ReLU: a unit "
            "with a negative bias is zero for every input.",
        ),
        Mistake(
            lambda W, b, W_next, b_next: b_next + W_next @ b.clamp(min=0),
            "You folded every unit. One that has incoming weights varies with the "
            "input, and its bias stays where it is.",
        ),
        Mistake(
            lambda W, b, W_next, b_next: (
                W_next[:, ~W.any(dim=1)] @ b[~W.any(dim=1)].clamp(min=0)
            ),
            "That is what the constants add. The next layer's own bias is still there.",
        ),
    ),
)

UNITS_LEFT = Exercise(
    units_left,
    chapter="from_zeros_to_speed",
    minutes=15,
    difficulty=3,
    cases=(
        # forwards: unit 1 of the second layer reads a constant only
        (
            _d([[0, 0], [1, 2], [3, 0]]),
            _d([[1, 0, 0], [0, 1, 1], [0, 0, 1]]),
            _d([[1, 1, 1]]),
        ),
        # backwards: unit 0 of the first layer is read by a unit that nobody reads
        (
            _d([[1, 1], [0, 1], [1, 0]]),
            _d([[1, 0, 0], [0, 1, 1], [0, 0, 1]]),
            _d([[0, 1, 2]]),
        ),
        # both at once: a constant feeds a unit that is read
        (
            _d([[0, 0], [1, 1], [1, 0], [2, 1]]),
            _d([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]),
            _d([[1, 0, 1], [2, 0, 0]]),
        ),
        (_sparse(20, 10, 0.15, 0), _sparse(15, 20, 0.08, 1), _sparse(3, 15, 0.2, 2)),
    ),
    edges=((_d([[0.0]]), _d([[1.0]]), _d([[1.0]])), (_d([[1]]), _d([[1]]), _d([[1]]))),
    mistakes=(
        Mistake(
            lambda W1, W2, W3: torch.stack((W1.any(dim=1).sum(), W2.any(dim=1).sum())),
            "You counted the units that have incoming weights. One that the next layer "
            "does not read can go as well.",
        ),
        Mistake(
            lambda W1, W2, W3: torch.stack(
                (
                    (W1.any(dim=1) & W2.any(dim=0)).sum(),
                    (W2.any(dim=1) & W3.any(dim=0)).sum(),
                )
            ),
            "You looked at each layer by itself. A unit that goes takes its weights "
            "with it: a unit fed by constants alone is a constant, and one read only "
            "by units that go is not read.",
        ),
        Mistake(
            lambda W1, W2, W3: torch.stack(
                (
                    (W1.any(dim=1) & W2[W3.any(dim=0)].any(dim=0)).sum(),
                    (W2.any(dim=1) & W3.any(dim=0)).sum(),
                )
            ),
            "You went backwards only. Go forwards first: without the columns of the "
            "constants, a unit of the second layer may have no weights left.",
        ),
        Mistake(
            lambda W1, W2, W3: torch.stack(
                (
                    (W1.any(dim=1) & W2.any(dim=0)).sum(),
                    (W2[:, W1.any(dim=1)].any(dim=1) & W3.any(dim=0)).sum(),
                )
            ),
            "You went forwards only. Then go backwards: a unit of the first layer that "
            "is read only by units that go is not read.",
        ),
    ),
)

OVERALL_SPEEDUP = Exercise(
    overall_speedup,
    chapter="from_zeros_to_speed",
    minutes=10,
    difficulty=2,
    cases=(
        (_d([1, 3]), _d([1, 6])),
        (_d([2.6, 2.6, 12.7, 0.3, 2.1]), _d([1.3, 1.2, 7, 1, 8])),
    ),
    edges=(
        # the limit: a part that takes no time any more
        (_d([1, 4]), _d([1, math.inf])),
        (_d([5.0]), _d([2.0])),
    ),
    mistakes=(
        Mistake(
            lambda time, faster: (time @ faster / time.sum()).item(),
            "You averaged the factors, with the times as weights. Times add up, "
            "factors do not: divide all the time before by all the time after.",
        ),
        Mistake(
            lambda time, faster: faster.mean().item(),
            "You averaged the factors. What counts is how much time each part takes.",
        ),
        Mistake(
            lambda time, faster: ((time / faster).sum() / time.sum()).item(),
            "That is the part of the time that is left; the factor is one over it.",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    # choosing_a_method
    NOT_DOMINATED,
    DIFFERENCE_IN_ERRORS,
    STRENGTH_FOR,
    # from_zeros_to_speed
    FOLDED_BIAS,
    UNITS_LEFT,
    OVERALL_SPEEDUP,
)
