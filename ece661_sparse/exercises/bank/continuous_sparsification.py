"""Exercises of "Continuous sparsification": solutions, then known mistakes."""

import math

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def converted_loss(theta, s, c, beta, lam):
    """The slide's second line, with half the squared distance from c as the loss."""
    z = torch.sigmoid(beta * s)
    return (theta * z - c).square().sum() / 2 + lam * z.sum()


def mask_gradient(grad, theta, s, beta, lam):
    """What the gate does to the loss and to the penalty, times the sigmoid's slope."""
    z = torch.sigmoid(beta * s)
    return (grad * theta + lam) * beta * z * (1 - z)


def undecided_band(beta, eps):
    """The s at which sigmoid(beta * s) is 1 - eps."""
    return math.log((1 - eps) / eps) / beta


def next_round(s, beta, s0):
    """Open gates go back to s0, closed ones stay as closed as beta left them."""
    return (beta * s).clamp(max=s0)


def implied_penalty(theta, lam, decay):
    """The best gate is (decay * theta^2 / lam)^(1/3), unless that is above 1."""
    shared = 1.5 * (lam**2 * decay * theta**2) ** (1 / 3)
    alone = lam + decay * theta**2 / 2
    return torch.where(decay * theta**2 < lam, shared, alone)


# --- inputs and known mistakes -------------------------------------------------


def _slope(s: Tensor, beta: float) -> Tensor:
    """The derivative of the gate."""
    z = torch.sigmoid(beta * s)
    return beta * z * (1 - z)


def _quadratic(theta: Tensor, c: Tensor) -> Tensor:
    return (theta - c).square().sum() / 2


_WEIGHTS = double([1.2, -0.8, 2.0, 0.3])
_TARGET = double([1.0, -1.0, 1.5, 0.0])
_S = double([0.4, -0.3, 0.1, -0.05])

CONVERTED_LOSS = Exercise(
    converted_loss,
    chapter="continuous_sparsification",
    minutes=5,
    difficulty=1,
    cases=((_WEIGHTS, _S, _TARGET, 2.0, 0.5), (_WEIGHTS, _S, _TARGET, 10.0, 0.1)),
    edges=((_WEIGHTS, torch.zeros_like(_S), _TARGET, 50.0, 0.5),),
    mistakes=(
        Mistake(
            lambda theta, s, c, beta, lam: converted_loss(theta, s, c, 1.0, lam),
            "β is missing: the gate is σ(βs). Without it, it never becomes binary.",
        ),
        Mistake(
            lambda theta, s, c, beta, lam: (
                _quadratic(theta * (s > 0), c) + lam * (s > 0).sum()
            ),
            "Your gates are 0 or 1 already: that is the slide's original line, which "
            "has no gradient. While training the gate is σ(βs).",
        ),
        Mistake(
            lambda theta, s, c, beta, lam: (
                _quadratic(theta, c) + lam * torch.sigmoid(beta * s).sum()
            ),
            "The loss does not see your gates: the network computes with θ̃·σ(βs), so "
            "a gate that closes has to change the loss.",
        ),
        Mistake(
            lambda theta, s, c, beta, lam: (
                converted_loss(theta, s, c, beta, 0)
                + lam * torch.sigmoid(beta * s).mean()
            ),
            "The penalty is a sum over all gates, a count of open ones; yours is a "
            "mean.",
        ),
        Mistake(
            lambda theta, s, c, beta, lam: (
                converted_loss(theta, s, c, beta, 0)
                + lam * (theta * torch.sigmoid(beta * s)).abs().sum()
            ),
            "You penalise the size of the weights, as ℓ1 does. Here the gates alone "
            "are counted: a large weight costs no more than a small one.",
        ),
    ),
)

_GRADS = double([0.5, -1.5, -0.7, 2.0])

MASK_GRADIENT = Exercise(
    mask_gradient,
    chapter="continuous_sparsification",
    minutes=10,
    difficulty=2,
    cases=((_GRADS, _WEIGHTS, _S, 2.0, 0.5), (_GRADS, _WEIGHTS, _S, 10.0, 0.1)),
    edges=(
        (_GRADS, _WEIGHTS, torch.zeros_like(_S), 200.0, 0.5),
        (_GRADS, _WEIGHTS, _S, 1.0, 0.0),
        (torch.zeros_like(_GRADS), _WEIGHTS, _S, 5.0, 0.2),
    ),
    mistakes=(
        Mistake(
            lambda g, theta, s, beta, lam: (g * theta + lam) * _slope(s, beta) / beta,
            "A factor β is missing: s stands inside σ as βs, and the chain rule "
            "differentiates that as well.",
        ),
        Mistake(
            lambda g, theta, s, beta, lam: g * theta * _slope(s, beta) + lam,
            "You add λ after the slope. The penalty is λ·σ(βs), so λ reaches s through "
            "the same slope; where the gate is decided, the penalty is silent too.",
        ),
        Mistake(
            lambda g, theta, s, beta, lam: (g + lam) * _slope(s, beta),
            "The weight itself is missing: the loss sees θ = θ̃·z, so ∂L/∂z is "
            "∂L/∂θ times θ̃.",
        ),
        Mistake(
            lambda g, theta, s, beta, lam: (
                (g * theta + lam) * beta * torch.sigmoid(beta * s)
            ),
            "The slope of σ is σ·(1 − σ); you have σ alone.",
        ),
        Mistake(
            lambda g, theta, s, beta, lam: ((g * theta).abs() + lam) * _slope(s, beta),
            "No absolute value here. Part II ranks weights by |∂L/∂θ·θ|; a gate "
            "follows the sign, to open where that lowers the loss.",
        ),
    ),
)

UNDECIDED_BAND = Exercise(
    undecided_band,
    chapter="continuous_sparsification",
    minutes=10,
    difficulty=2,
    cases=((1.0, 0.1), (200.0, 0.01), (30.0, 0.2)),
    edges=((1.0, 0.5), (1e6, 1e-6)),
    mistakes=(
        Mistake(
            lambda beta, eps: math.log((1 - eps) / eps),
            "You solved σ(x) = 1 − ε for x. But x = βs: divide by β.",
        ),
        Mistake(
            lambda beta, eps: -undecided_band(beta, eps),
            "That is the left end of the band, where the gate is ε. Its half-width is "
            "the same with a plus.",
        ),
        Mistake(
            lambda beta, eps: -math.log(eps) / beta,
            "Close: σ(x) is 1/(1 + exp(−x)), not 1 − exp(−x). Solve "
            "1 + exp(−x) = 1/(1 − ε).",
        ),
        Mistake(
            lambda beta, eps: beta * math.log((1 - eps) / eps),
            "You multiply by β: your band would grow as the gates harden. s is x/β.",
        ),
        Mistake(
            lambda beta, eps: 2 * undecided_band(beta, eps),
            "That is the whole width, from the left end to the right one. Return the "
            "distance from 0.",
        ),
    ),
)

_ENDED = double([0.3, 0.02, -0.01, -0.04, -0.2, 0.0])

NEXT_ROUND = Exercise(
    next_round,
    chapter="continuous_sparsification",
    minutes=5,
    difficulty=1,
    cases=((_ENDED, 200.0, 0.0), (_ENDED, 20.0, -0.1)),
    edges=((_ENDED, 1.0, 0.0), (_ENDED, 200.0, 0.5)),
    mistakes=(
        Mistake(
            lambda s, beta, s0: s.clamp(max=s0),
            "β is missing. The next round starts at β = 1, where a closed gate at "
            "s = −0.04 would be half open again; at βs it stays closed.",
        ),
        Mistake(
            lambda s, beta, s0: beta * s,
            "Open gates have to come back to s⁰. At βs they stand so far open that the "
            "next round cannot close one of them.",
        ),
        Mistake(
            lambda s, beta, s0: (beta * s).clamp(min=s0),
            "You take the larger of the two: open gates stay wide open, and closed "
            "ones come back. It is the minimum.",
        ),
        Mistake(
            lambda s, beta, s0: torch.full_like(s, s0),
            "All gates start anew, and what the round has found is lost. The closed "
            "ones are to stay closed.",
        ),
    ),
)

_SIZES = double([0.02, -0.1, 0.25, -0.6, 1.0, 3.0])

IMPLIED_PENALTY = Exercise(
    implied_penalty,
    chapter="continuous_sparsification",
    minutes=20,
    difficulty=3,
    cases=((_SIZES, 0.1, 1.0), (_SIZES, 0.5, 0.4)),
    edges=((torch.zeros_like(_SIZES), 0.1, 1.0), (double([1.0, -1.0]), 0.3, 0.3)),
    mistakes=(
        Mistake(
            lambda theta, lam, decay: 1.5 * (lam**2 * decay * theta**2) ** (1 / 3),
            "Right for small weights. For a large one your best gate is above 1, which "
            "no sigmoid reaches: there z = 1.",
        ),
        Mistake(
            lambda theta, lam, decay: torch.where(
                theta == 0, 0, lam + decay * theta**2 / 2
            ),
            "You left the gate at 1. A small weight is cheaper with a smaller gate and "
            "a larger θ̃: minimise over z.",
        ),
        Mistake(
            lambda theta, lam, decay: (
                lam * ((decay * theta**2 / lam) ** (1 / 3)).clamp(max=1)
            ),
            "That is the price of the gate alone. The decay of θ̃ = θ/z is part of the "
            "minimum too.",
        ),
        Mistake(
            lambda theta, lam, decay: implied_penalty(theta, lam, 2 * decay),
            "A factor ½ is missing: weight decay η adds η/2·θ̃² to the loss, so that "
            "its gradient is ηθ̃.",
        ),
    ),
)

EXERCISES = (CONVERTED_LOSS, MASK_GRADIENT, UNDECIDED_BAND, IMPLIED_PENALTY, NEXT_ROUND)
