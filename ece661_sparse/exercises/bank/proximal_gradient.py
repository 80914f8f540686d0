"""Exercises of "Proximal gradient": solutions, then inputs and known mistakes."""

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import TIES, X, double, rank
from ece661_sparse.exercises.exercise import Exercise, Mistake, close_up_to_ties


def soft_threshold(x, threshold):
    """The operator of ``threshold * |z|``: shrink the size, keep the sign."""
    return x.sign() * (x.abs() - threshold).clamp(min=0)


def proximal_step(theta, grad, step, lam):
    """Gradient step on the loss, then the operator of ``step * lam * |z|``."""
    return soft_threshold(theta - step * grad, step * lam)


def keep_top_n(x, n):
    """Keep the ``n`` entries of ``x`` that are largest in size."""
    largest_first = x.abs().flatten().argsort(descending=True, stable=True)
    rank = largest_first.argsort().view(x.shape)
    return torch.where(rank < n, x, 0)


def smallest_silencing_lam(X, y):
    """The largest ``|gradient|`` of the loss at zero: lam must outweigh it."""
    return (X.T @ y).abs().max()


# --- inputs and known mistakes -------------------------------------------------

_MATRIX = double([[0.3, -2.0, 1.1], [-0.6, 4.0, -0.9]])

SOFT_THRESHOLD = Exercise(
    soft_threshold,
    chapter="proximal_gradient",
    minutes=5,
    difficulty=1,
    cases=((X, 1.0), (X, 0.5), (_MATRIX, 0.8)),
    edges=((double([0.0, 1.0, -1.0]), 1.0), (X, 0.0)),
    objective=lambda z, x, threshold: threshold * z.abs() + (z - x) ** 2 / 2,
    mistakes=(
        Mistake(
            lambda x, threshold: torch.where(x.abs() > threshold, x, 0),
            "That is hard thresholding: what survives keeps its full size. The soft "
            "threshold also moves every survivor towards zero by the threshold.",
        ),
        Mistake(
            lambda x, threshold: (x - threshold).clamp(min=0),
            "You compare x where the slide compares |x|: negative inputs have to "
            "shrink towards zero too, and keep their sign.",
        ),
        Mistake(
            lambda x, threshold: x - threshold * x.sign(),
            "Small inputs shrink through zero and change their sign. Between "
            "-threshold and threshold the result is exactly 0.",
        ),
        Mistake(
            lambda x, threshold: torch.where(
                x.abs() > threshold, x + threshold * x.sign(), 0
            ),
            "Survivors grow: you add the threshold to |x| where it has to be "
            "subtracted.",
        ),
    ),
)

_THETA = double([2.0, -1.5, 0.6, -0.2, 0.1])
_GRAD = double([0.8, 1.0, -2.0, 0.5, -0.3])

PROXIMAL_STEP = Exercise(
    proximal_step,
    chapter="proximal_gradient",
    minutes=10,
    difficulty=2,
    cases=((_THETA, _GRAD, 0.5, 1.0), (_THETA, _GRAD, 0.1, 2.0)),
    edges=(
        (_THETA, torch.zeros_like(_THETA), 0.5, 0.4),
        (_THETA, _GRAD, 0.5, 0.0),
        (_MATRIX, 0.5 * _MATRIX, 0.25, 1.0),
    ),
    mistakes=(
        Mistake(
            lambda theta, grad, step, lam: soft_threshold(theta - step * grad, lam),
            "You threshold by λ, as the slide writes it. To minimise L + λ‖θ‖₁ with a "
            "step, the operator is that of step·λ‖θ‖₁: the threshold is step·λ, or "
            "else the answer depends on the step.",
        ),
        Mistake(
            lambda theta, grad, step, lam: (
                soft_threshold(theta, step * lam) - step * grad
            ),
            "You shrink before the gradient step. The gradient step comes first; the "
            "operator comes last, so that its zeros are still zero in the result.",
        ),
        Mistake(
            lambda theta, grad, step, lam: theta - step * (grad + lam * theta.sign()),
            "That is a subgradient step on L + λ‖θ‖₁: it steps over zero and hardly "
            "ever lands on it. Take the gradient step on L alone, then the operator.",
        ),
        Mistake(
            lambda theta, grad, step, lam: proximal_step(theta, -grad, step, lam),
            "The gradient step goes uphill: subtract step·grad.",
        ),
    ),
)


def _with_all_ties(x: Tensor, n: int) -> Tensor:
    if n == 0:
        return torch.zeros_like(x)
    cut = x.abs().flatten().sort(descending=True).values[n - 1]
    return torch.where(x.abs() >= cut, x, 0)


KEEP_TOP_N = Exercise(
    keep_top_n,
    chapter="proximal_gradient",
    minutes=10,
    difficulty=2,
    cases=((X, 2), (X, 4), (TIES, 2)),
    edges=((TIES, 3), (X, 0), (X, 6), (double([0.0, 0.0, 1.0]), 2)),
    same=close_up_to_ties,
    mistakes=(
        Mistake(
            lambda x, n: torch.where(rank(-x.abs()) < n, x, 0),
            "You keep the n smallest sizes; the projection keeps the n largest.",
        ),
        Mistake(
            lambda x, n: torch.where(rank(x) < n, x, 0),
            "You rank the signed values: a large negative entry counts as small. Rank "
            "by |x|.",
        ),
        Mistake(
            _with_all_ties,
            "All entries as large as the n-th survive, so a tie leaves more than n. "
            "Rank the entries and keep exactly n; which of the equal ones is free.",
        ),
        Mistake(
            lambda x, n: rank(x.abs()) < n,
            "That is the mask. The projection keeps the values of the n largest "
            "entries and sets the others to 0.",
        ),
    ),
)

_ROWS = double([[1, 2, 0.5], [-1, 1, 0], [0, -3, 1], [2, 0.5, -1]])

SMALLEST_SILENCING_LAM = Exercise(
    smallest_silencing_lam,
    chapter="proximal_gradient",
    minutes=10,
    difficulty=2,
    cases=(
        (_ROWS, double([1.0, -1.0, 2.0, 0.5])),
        (_ROWS, double([0.2, 0.4, -0.1, 0.3])),
    ),
    edges=((_ROWS, torch.zeros(4, dtype=torch.float64)),),
    mistakes=(
        Mistake(
            lambda X, y: (X.T @ y).max(),
            "You take the largest signed entry of Xᵀy. A negative gradient pulls a "
            "coordinate away from zero as well: take absolute values first.",
        ),
        Mistake(
            lambda X, y: (X.T @ y).abs().sum(),
            "You add up the entries of |Xᵀy|. Each coordinate is held at zero on its "
            "own, so λ has to outweigh only the largest.",
        ),
        Mistake(
            lambda X, y: (X.T @ y).norm(),
            "That is the Euclidean norm of Xᵀy. Each coordinate is held at zero on its "
            "own, so λ has to outweigh only the largest entry in size.",
        ),
        Mistake(
            lambda X, y: smallest_silencing_lam(X, y) / len(y),
            "You divide by the number of rows. The loss here is ½‖Xθ − y‖², a sum and "
            "not a mean.",
        ),
    ),
)

EXERCISES = (KEEP_TOP_N, SOFT_THRESHOLD, PROXIMAL_STEP, SMALLEST_SILENCING_LAM)
