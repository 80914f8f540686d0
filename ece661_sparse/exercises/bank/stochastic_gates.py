"""Exercises of "Stochastic gates": solutions, then inputs and known mistakes."""

import math

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def reinforce(losses, z, log_alpha):
    """The loss minus the mean of the others, times the gradient of log p(z)."""
    others = (losses.sum() - losses) / (len(losses) - 1)
    return (losses - others)[:, None] * (z - log_alpha.sigmoid())


def hard_concrete(u, log_alpha, beta, gamma, zeta):
    """Concrete, stretched, rectified."""
    s = ((u.log() - (1 - u).log() + log_alpha) / beta).sigmoid()
    return (s * (zeta - gamma) + gamma).clamp(0, 1)


def closing_log_alpha(gamma, zeta):
    """Where sigmoid(log_alpha) * (zeta - gamma) + gamma arrives at 0."""
    return math.log(-gamma / zeta)


def weights_left(pixels, hidden1, hidden2):
    """A weight is needed if its input is read and its output is read."""
    n0, n1, n2 = (int(z.count_nonzero()) for z in (pixels, hidden1, hidden2))
    return n0 * n1 + n1 * n2 + n2 * 10


# --- inputs and known mistakes -------------------------------------------------

_MASKS = double([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]])
_LOSSES = double([2.0, 0.5, 1.0, 3.5])
_LOG_ALPHA = double([0.4, -1.2, 2.0])

REINFORCE = Exercise(
    reinforce,
    chapter="stochastic_gates",
    minutes=10,
    difficulty=2,
    cases=(
        (_LOSSES, _MASKS, _LOG_ALPHA),
        (_LOSSES[:3] - 4, _MASKS[1:], torch.zeros_like(_LOG_ALPHA)),
    ),
    edges=((torch.ones_like(_LOSSES), _MASKS, _LOG_ALPHA),),
    mistakes=(
        Mistake(
            lambda losses, z, log_alpha: losses[:, None] * (z - log_alpha.sigmoid()),
            "The baseline is missing: subtract from each loss the mean of the others. "
            "The mean of the estimates stays, their variance falls.",
        ),
        Mistake(
            lambda losses, z, log_alpha: (
                (losses - losses.mean())[:, None] * (z - log_alpha.sigmoid())
            ),
            "Your baseline contains the sample's own loss, which depends on its mask: "
            "the estimate is too small by 1 − 1/K. Take the mean of the others.",
        ),
        Mistake(
            lambda losses, z, log_alpha: -reinforce(losses, z, log_alpha),
            "The sign is turned: ∂ log p / ∂ log α is z − π. An open gate with a "
            "large loss must be made less likely by gradient descent.",
        ),
        Mistake(
            lambda losses, z, log_alpha: (
                reinforce(losses, z, log_alpha)
                / (log_alpha.sigmoid() * (1 - log_alpha.sigmoid()))
            ),
            "That is the derivative with respect to π. The parameter is log α, and "
            "the factor π(1 − π) of the sigmoid cancels the denominator.",
        ),
    ),
)

_U = double([0.02, 0.3, 0.5, 0.8, 0.99])
_LOCATIONS = double([-1.0, 0.5, 0.0, 1.5, 0.2])


HARD_CONCRETE = Exercise(
    hard_concrete,
    chapter="stochastic_gates",
    minutes=5,
    difficulty=1,
    cases=((_U, _LOCATIONS, 2 / 3, -0.1, 1.1), (_U, _LOCATIONS, 0.5, -0.4, 1.2)),
    edges=(
        (_U.view(5, 1).expand(5, 2), _LOCATIONS[:2], 1.0, -0.1, 1.1),
        (double([0.5]), double([0.0]), 2.0, -1.0, 2.0),
    ),
    mistakes=(
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: hard_concrete(
                u, log_alpha, beta, gamma=0, zeta=1
            ),
            "You rectify s, as the slide prints it. s lies inside (0, 1), so nothing "
            "is ever 0 or 1: stretch first, rectify s̄.",
        ),
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: (
                ((u.logit() + log_alpha) / beta).sigmoid() * (zeta - gamma) + gamma
            ),
            "You stop at s̄, which leaves [0, 1]. The last step clips it: that is where "
            "the exact zeros come from.",
        ),
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: hard_concrete(
                u, beta * log_alpha, beta, gamma, zeta
            ),
            "β divides the noise alone in your formula. It divides the sum of noise "
            "and log α: a small β makes every gate nearly binary.",
        ),
        Mistake(
            lambda u, *others: hard_concrete(1 - u, *others),
            "Your noise is log(1 − u) − log u. The distribution is the same, since u "
            "is uniform, but the checker compares u by u: turn the sign.",
        ),
        Mistake(
            lambda u, log_alpha, *others: hard_concrete(u, log_alpha.exp(), *others),
            "You add α to the noise. The argument is log α already.",
        ),
    ),
)

CLOSING_LOG_ALPHA = Exercise(
    closing_log_alpha,
    chapter="stochastic_gates",
    minutes=10,
    difficulty=2,
    cases=((-0.1, 1.1), (-0.5, 1.2), (-0.01, 2.0)),
    edges=((-1.0, 2.0), (-2.0, 1.5)),
    mistakes=(
        Mistake(
            lambda gamma, zeta: 2 / 3 * closing_log_alpha(gamma, zeta),
            "A factor β = ⅔: at that log α half of the samples are zero. ẑ has no "
            "noise and no β in it.",
        ),
        Mistake(
            lambda gamma, zeta: -closing_log_alpha(gamma, zeta),
            "The sign is turned: a gate closes for negative log α.",
        ),
        Mistake(
            lambda gamma, zeta: -gamma / (zeta - gamma),
            "That is the value of σ(log α) at the closing point. To have log α itself, "
            "invert the sigmoid.",
        ),
        Mistake(
            lambda gamma, zeta: math.log((1 - gamma) / (zeta - 1)),
            "That is where ẑ arrives at 1. It leaves 0 where the stretched sigmoid "
            "is 0.",
        ),
    ),
)

_PIXELS = double([1.0, 0.4, 0.0, 0.9, 0.0, 1.0])
_HIDDEN1 = double([0.3, 1.0, 0.0, 0.7])
_HIDDEN2 = double([1.0, 0.0, 0.2])


def _open(gates: Tensor) -> int:
    return int(gates.count_nonzero())


WEIGHTS_LEFT = Exercise(
    weights_left,
    chapter="stochastic_gates",
    minutes=10,
    difficulty=2,
    cases=((_PIXELS, _HIDDEN1, _HIDDEN2), (_PIXELS.flip(0), _HIDDEN2, _HIDDEN1)),
    edges=(
        (torch.zeros_like(_PIXELS), _HIDDEN1, _HIDDEN2),
        (torch.ones_like(_PIXELS), torch.ones_like(_HIDDEN1), _HIDDEN2),
    ),
    mistakes=(
        Mistake(
            lambda x, h1, h2: _open(x) * len(h1) + _open(h1) * len(h2) + _open(h2) * 10,
            "You count the columns that are read, with all their rows. A row that "
            "feeds a closed gate of the next layer is not needed either.",
        ),
        Mistake(
            lambda x, h1, h2: _open(x) + _open(h1) + _open(h2),
            "You count gates. One gate holds as many weights as the layer has outputs.",
        ),
        Mistake(
            lambda x, h1, h2: _open(x) * _open(h1) + _open(h1) * _open(h2),
            "The last layer is missing: every open gate in it holds ten weights, one "
            "for each digit.",
        ),
        Mistake(
            lambda x, h1, h2: weights_left(x > 0.5, h1 > 0.5, h2 > 0.5),
            "You round ẑ. A gate of 0.3 is open: its weights are scaled by 0.3, and "
            "needed.",
        ),
    ),
)

EXERCISES = (REINFORCE, HARD_CONCRETE, CLOSING_LOG_ALPHA, WEIGHTS_LEFT)
