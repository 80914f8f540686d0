"""Exercises of "From zeros to speed": solutions, then inputs and known mistakes."""

import math

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


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


# --- inputs and known mistakes -------------------------------------------------


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
            double([[1, -2], [0, 0], [0, 0]]),
            double([0.5, 2, -3]),
            double([[1, 10, 100], [2, 20, 200]]),
            double([0.25, -0.25]),
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
        (double([[1.0]]), double([2.0]), double([[3.0]]), double([4.0])),
        (
            double([[0.0], [0.0]]),
            double([1.0, 2.0]),
            double([[3.0, 1.0]]),
            double([4.0]),
        ),
    ),
    mistakes=(
        Mistake(
            lambda W, b, W_next, b_next: b_next + W_next @ (b * ~W.any(dim=1)),
            "You handed on the bias itself. Between the layers stands a ReLU: a unit "
            "with a negative bias is zero for every input.",
        ),
        Mistake(
            lambda W, b, W_next, b_next: b_next + W_next @ b.clamp(min=0),
            "You folded every unit. One that has incoming weights varies with the "
            "input, and its bias stays where it is.",
        ),
        Mistake(
            lambda W, b, W_next, b_next: folded_bias(W, b, W_next, 0 * b_next),
            "That is what the constants add. The next layer's own bias is still there.",
        ),
    ),
)


def _counts(units1: Tensor, units2: Tensor) -> Tensor:
    return torch.stack((units1.sum(), units2.sum()))


UNITS_LEFT = Exercise(
    units_left,
    chapter="from_zeros_to_speed",
    minutes=15,
    difficulty=3,
    cases=(
        # forwards: unit 1 of the second layer reads a constant only
        (
            double([[0, 0], [1, 2], [3, 0]]),
            double([[1, 0, 0], [0, 1, 1], [0, 0, 1]]),
            double([[1, 1, 1]]),
        ),
        # backwards: unit 0 of the first layer is read by a unit that nobody reads
        (
            double([[1, 1], [0, 1], [1, 0]]),
            double([[1, 0, 0], [0, 1, 1], [0, 0, 1]]),
            double([[0, 1, 2]]),
        ),
        # both at once: a constant feeds a unit that is read
        (
            double([[0, 0], [1, 1], [1, 0], [2, 1]]),
            double([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]),
            double([[1, 0, 1], [2, 0, 0]]),
        ),
        (_sparse(20, 10, 0.15, 0), _sparse(15, 20, 0.08, 1), _sparse(3, 15, 0.2, 2)),
    ),
    edges=(
        (double([[0.0]]), double([[1.0]]), double([[1.0]])),
        (double([[1]]), double([[1]]), double([[1]])),
    ),
    mistakes=(
        Mistake(
            lambda W1, W2, W3: _counts(W1.any(dim=1), W2.any(dim=1)),
            "You counted the units that have incoming weights. One that the next layer "
            "does not read can go as well.",
        ),
        Mistake(
            lambda W1, W2, W3: _counts(
                W1.any(dim=1) & W2.any(dim=0), W2.any(dim=1) & W3.any(dim=0)
            ),
            "You looked at each layer by itself. A unit that goes takes its weights "
            "with it: a unit fed by constants alone is a constant, and one read only "
            "by units that go is not read.",
        ),
        Mistake(
            lambda W1, W2, W3: _counts(
                W1.any(dim=1) & W2[W3.any(dim=0)].any(dim=0),
                W2.any(dim=1) & W3.any(dim=0),
            ),
            "You went backwards only. Go forwards first: without the columns of the "
            "constants, a unit of the second layer may have no weights left.",
        ),
        Mistake(
            lambda W1, W2, W3: _counts(
                W1.any(dim=1) & W2.any(dim=0),
                W2[:, W1.any(dim=1)].any(dim=1) & W3.any(dim=0),
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
        (double([1, 3]), double([1, 6])),
        (double([2.6, 2.6, 12.7, 0.3, 2.1]), double([1.3, 1.2, 7, 1, 8])),
    ),
    edges=(
        # the limit: a part that takes no time any more
        (double([1, 4]), double([1, math.inf])),
        (double([5.0]), double([2.0])),
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
            lambda time, faster: 1 / overall_speedup(time, faster),
            "That is the part of the time that is left; the factor is one over it.",
        ),
    ),
)

EXERCISES = (FOLDED_BIAS, UNITS_LEFT, OVERALL_SPEEDUP)
