"""Exercises of "Pruning results": solutions, then inputs and known mistakes."""

from statistics import NormalDist

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake
from ece661_sparse.proximal import project_top_n


def gaussian_quality(share):
    """Of a normal distribution, ``share`` lies beyond this many deviations."""
    return 2**0.5 * torch.erfinv(torch.tensor(1 - share, dtype=torch.float64))


def surgeon_step(row, inverse, q):
    """Delete weight ``q``; the others move along column ``q`` of the inverse."""
    return row - row[q] / inverse[q, q] * inverse[:, q]


def admm_round(W, U, n):
    """``Z`` keeps the ``n`` largest of ``W + U``; ``U`` adds up ``W - Z``."""
    Z = project_top_n(W + U, n)
    return torch.stack([Z, U + W - Z])


def splice_mask(weight, mask, threshold):
    """Off at 0.9 of the threshold, on above 1.1, as it was between them."""
    size = weight.abs()
    on = torch.where(size > 1.1 * threshold, 1, mask)
    return torch.where(size <= 0.9 * threshold, 0, on)


# --- inputs and known mistakes -------------------------------------------------

_NORMAL = NormalDist()

GAUSSIAN_QUALITY = Exercise(
    gaussian_quality,
    chapter="pruning_results",
    minutes=10,
    difficulty=2,
    cases=((0.08,), (0.3,), (0.6,)),
    edges=((0.999,), (1e-6,)),
    mistakes=(
        Mistake(
            lambda share: _NORMAL.inv_cdf(1 - share),
            "You cut one tail: weights far below zero are large too. Both tails "
            "together hold the share, so each holds half of it.",
        ),
        Mistake(
            lambda share: _NORMAL.inv_cdf(0.5 + share / 2),
            "That threshold keeps the small weights: your share lies inside it, not "
            "beyond it.",
        ),
        Mistake(
            lambda share: _NORMAL.inv_cdf(1 - share / 2) / 2**0.5,
            "The error function is that of a normal distribution with deviation "
            "1/√2. Multiply by √2.",
        ),
    ),
)

_H = double([[2.0, 0.8, -0.5], [0.8, 1.5, 0.3], [-0.5, 0.3, 1.0]])
_INVERSE = torch.linalg.inv(_H)
_ROW = double([1.0, -0.6, 0.4])


def _only_zeroed(row: Tensor, q: int) -> Tensor:
    return torch.where(torch.arange(len(row)) == q, 0, row)


SURGEON_STEP = Exercise(
    surgeon_step,
    chapter="pruning_results",
    minutes=10,
    difficulty=2,
    cases=((_ROW, _INVERSE, 1), (_ROW, _INVERSE, 0), (2 * _ROW, 3 * _INVERSE, 2)),
    edges=(
        (_ROW, torch.eye(3, dtype=torch.float64), 1),
        (_only_zeroed(_ROW, 1), _INVERSE, 1),
    ),
    mistakes=(
        Mistake(
            lambda row, inverse, q: _only_zeroed(row, q),
            "You set the weight to zero and leave the others: that is plain pruning. "
            "The surgeon moves the whole row, along column q of the inverse.",
        ),
        Mistake(
            lambda row, inverse, q: row - row[q] * inverse[:, q],
            "Divide by the pivot [H⁻¹]qq. Without it weight q does not end at zero.",
        ),
        Mistake(
            lambda row, inverse, q: row + row[q] / inverse[q, q] * inverse[:, q],
            "The sign is wrong: weight q doubles instead of vanishing.",
        ),
        Mistake(
            lambda row, inverse, q: surgeon_step(row, inverse, q) - row,
            "That is the change δw. Return the new row, w + δw.",
        ),
    ),
)

_W = double([[2.0, -0.5, 0.8], [-1.5, 0.9, 0.1]])
_U = double([[-1.4, 0.1, 0.4], [0.2, -0.3, 0.9]])


ADMM_ROUND = Exercise(
    admm_round,
    chapter="pruning_results",
    minutes=15,
    difficulty=2,
    cases=((_W, _U, 2), (_W, _U, 3), (_W.flatten(), _U.flatten(), 1)),
    edges=((_W, _U, 0), (_W, _U, 6), (_W, torch.zeros_like(_U), 2)),
    mistakes=(
        Mistake(
            lambda W, U, n: torch.stack(
                (project_top_n(W, n), U + W - project_top_n(W, n))
            ),
            "You project W. The projection is of W + U: a weight that was kept away "
            "from its copy for long has earned a place.",
        ),
        Mistake(
            lambda W, U, n: torch.stack(
                (project_top_n(W + U, n), W - project_top_n(W + U, n))
            ),
            "U forgets: it is the sum of W − Z over all rounds. Add to the old U.",
        ),
        Mistake(
            lambda W, U, n: torch.stack((project_top_n(W + U, n), U)),
            "U stays as it was. After Z has moved, add W − Z to it.",
        ),
        Mistake(
            lambda W, U, n: torch.stack(
                (project_top_n(W + U, n), U - W + project_top_n(W + U, n))
            ),
            "The sign of U's step is wrong: U grows by W − Z, so that the pull "
            "towards Z − U is stronger where W stayed away.",
        ),
    ),
)

_DENSE = double([0.2, 0.95, 1.05, 1.3, -0.95, -1.05, -1.3, -0.2])
_MASK = double([1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0])

SPLICE_MASK = Exercise(
    splice_mask,
    chapter="pruning_results",
    minutes=10,
    difficulty=2,
    cases=((_DENSE, _MASK, 1.0), (_DENSE, 1 - _MASK, 1.0), (_DENSE, _MASK, 0.6)),
    edges=(
        (torch.zeros(2, dtype=torch.float64), _MASK[:2], 0.0),
        (2 * _DENSE.view(2, 4), _MASK.view(2, 4), 2.0),
    ),
    mistakes=(
        Mistake(
            lambda weight, mask, threshold: (weight.abs() > threshold).to(mask.dtype),
            "One threshold for both directions: a weight near it flickers. Off at "
            "0.9 of it, on above 1.1, and no change between.",
        ),
        Mistake(
            lambda weight, mask, threshold: torch.where(
                weight.abs() <= 0.9 * threshold, 0, mask
            ),
            "A weight that is off never comes back: that is pruning without the "
            "surgery. Above 1.1 of the threshold the mask becomes 1 again.",
        ),
        Mistake(
            lambda weight, *others: splice_mask(weight.clamp(min=0), *others),
            "You compare the signed weight. A large negative weight is large: "
            "compare |w|.",
        ),
        Mistake(
            lambda weight, mask, threshold: (weight.abs() > 1.1 * threshold).to(
                mask.dtype
            ),
            "Between the two thresholds you switch off. There the mask stays what it "
            "was, on or off.",
        ),
    ),
)

EXERCISES = (GAUSSIAN_QUALITY, SURGEON_STEP, ADMM_ROUND, SPLICE_MASK)
