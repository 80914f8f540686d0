"""Exercises of "Trimmed ℓ1": solutions, then inputs and known mistakes."""

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import TIES, X, double, rank
from ece661_sparse.exercises.bank.proximal_gradient import soft_threshold
from ece661_sparse.exercises.exercise import Exercise, Mistake, close_up_to_ties


def project_box_simplex(z, total):
    """Shift ``z`` by one number, clip to [0, 1]; bisect until the sum is right."""
    low, high = z.min() - 1, z.max()
    for _ in range(60):
        shift = (low + high) / 2
        if (z - shift).clamp(0, 1).sum() > total:
            low = shift
        else:
            high = shift
    return (z - high).clamp(0, 1)


def trimmed_prox(x, lam, h):
    """Leave the ``h`` largest alone, soft threshold the rest."""
    rank = x.abs().argsort(descending=True, stable=True).argsort()
    soft = x.sign() * (x.abs() - lam).clamp(min=0)
    return torch.where(rank < h, x, soft)


def gate_step(w, theta, tau, h):
    """Projected gradient descent: the gradient with respect to ``w`` is |theta|."""
    return project_box_simplex(w - tau * theta.abs(), total=len(w) - h)


def lam_for_at_most(h, c):
    """The largest size among the entries that are not free: the (h+1)-th."""
    largest_first = c.abs().sort(descending=True).values
    return largest_first[h] if h < len(c) else 0.0


# --- inputs and known mistakes -------------------------------------------------


def _clip_and_rescale(z: Tensor, total: float) -> Tensor:
    clipped = z.clamp(0, 1)
    return clipped * total / clipped.sum() if clipped.sum() > 0 else clipped


def _project_simplex(z: Tensor, total: float) -> Tensor:
    """The projection onto w >= 0, sum w = total, from the sorted entries."""
    if total == 0:
        return torch.zeros_like(z)
    largest_first = z.sort(descending=True).values
    counts = torch.arange(1, z.numel() + 1, dtype=z.dtype)
    shifts = (largest_first.cumsum(0) - total) / counts
    support = int((largest_first > shifts).sum())
    return (z - shifts[support - 1]).clamp(min=0)


_Z = double([1.6, 0.9, 0.4, 0.1, -0.5])

PROJECT_BOX_SIMPLEX = Exercise(
    project_box_simplex,
    chapter="trimmed_l1",
    minutes=20,
    difficulty=3,
    cases=((_Z, 2.0), (_Z, 3.5), (double([0.2, 2.5, -1.0, 0.8]), 1.5)),
    edges=(
        (_Z, 0.0),
        (_Z, 5.0),
        (double([0.7, 0.7, 0.7, 0.7]), 3.0),
        (double([1.0, 0.0, 1.0]), 2.0),
        (100 * _Z, 2.0),
    ),
    mistakes=(
        Mistake(
            lambda z, total: z.clamp(0, 1),
            "You only clip: the entries lie in [0, 1], but nothing makes them add up "
            "to the total.",
        ),
        Mistake(
            _clip_and_rescale,
            "You clip, then scale to the right sum. Scaling is not the shortest way to "
            "the constraint, and it can push an entry above 1: shift all by one number "
            "before clipping.",
        ),
        Mistake(
            _project_simplex,
            "That is the projection onto the simplex without the upper bound: an entry "
            "exceeds 1. Clip to [0, 1] inside the search for the shift.",
        ),
        Mistake(
            lambda z, total: (z - (z.sum() - total) / len(z)).clamp(0, 1),
            "You shift by the mean excess once, then clip. Clipping changes the sum "
            "again: search for the shift whose clipped sum is the total.",
        ),
    ),
)

TRIMMED_PROX = Exercise(
    trimmed_prox,
    chapter="trimmed_l1",
    minutes=10,
    difficulty=2,
    cases=((X, 1.0, 2), (X, 0.6, 3), (X, 0.3, 1)),
    edges=((X, 1.0, 0), (X, 1.0, 6), (TIES, 1.5, 2), (X, 0.0, 2)),
    same=close_up_to_ties,
    mistakes=(
        Mistake(
            lambda x, lam, h: soft_threshold(x, lam),
            "You soft threshold every entry: that is plain ℓ1. The h largest pay no "
            "penalty and stay as they are.",
        ),
        Mistake(
            lambda x, lam, h: torch.where(rank(x.abs()) < h, x, 0),
            "You set the rest to zero: that is the projection on the ℓ0 ball. Trimmed "
            "ℓ1 soft thresholds the rest by λ, and what exceeds λ survives.",
        ),
        Mistake(
            lambda x, lam, h: torch.where(rank(x.abs()) < h, soft_threshold(x, lam), x),
            "You penalise the h largest. They are the ones left alone; the penalty is "
            "on the p − h smallest.",
        ),
    ),
)

_W = double([0.6, 0.6, 0.6, 0.6, 0.6])
_GATED = double([2.0, -0.3, 0.8, -1.5, 0.1])


GATE_STEP = Exercise(
    gate_step,
    chapter="trimmed_l1",
    minutes=10,
    difficulty=2,
    cases=(
        (_W, _GATED, 0.2, 2),
        (_W, _GATED, 0.5, 1),
        (double([0.0, 1.0, 1.0, 0.5, 0.5]), _GATED, 0.3, 2),
    ),
    edges=((_W, _GATED, 10.0, 2), (_W, _GATED, 0.5, 0), (_W, _GATED, 0.5, 5)),
    mistakes=(
        Mistake(
            lambda w, theta, tau, h: gate_step(w, theta, -tau, h),
            "The step goes uphill: w grows where |θ| is large, so the largest weights "
            "are penalised most. It is w − τ|θ|.",
        ),
        Mistake(
            lambda w, theta, tau, h: project_box_simplex(w - tau * theta, len(w) - h),
            "You use θ where the gradient with respect to w is |θ|: a large negative "
            "weight would be penalised as if it were small.",
        ),
        Mistake(
            lambda w, theta, tau, h: gate_step(w, theta, tau, len(w) - h),
            "Your gates add up to h. They count the penalised entries: the sum is "
            "p − h.",
        ),
        Mistake(
            lambda w, theta, tau, h: w - tau * theta.abs(),
            "The gradient step alone leaves the set S: project it back onto "
            "0 ≤ w ≤ 1 with sum p − h.",
        ),
    ),
)


LAM_FOR_AT_MOST = Exercise(
    lam_for_at_most,
    chapter="trimmed_l1",
    minutes=10,
    difficulty=2,
    cases=((1, X), (2, X), (4, X)),
    edges=((0, X), (6, X), (2, TIES)),
    mistakes=(
        Mistake(
            lambda h, c: lam_for_at_most(max(h - 1, 0), c),
            "That is the h-th largest size. The h largest pay nothing, so λ need only "
            "silence the next one: the (h+1)-th.",
        ),
        Mistake(
            lambda h, c: [*c.sort(descending=True).values, 0.0][h],
            "You rank the signed values. A large negative entry is large: rank |c|.",
        ),
        Mistake(
            lambda h, c: float(c.abs().min()),
            "You return the smallest size. That λ silences one entry; all p − h "
            "entries that are not free must be silenced, the largest of them too.",
        ),
    ),
)

EXERCISES = (PROJECT_BOX_SIMPLEX, GATE_STEP, TRIMMED_PROX, LAM_FOR_AT_MOST)
