"""Exercises of Part III: from "Direct parameter selection" to "Hard concrete ℓ0".

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

import math

import torch
from torch import Tensor

from ece661_sparse.exercises.checker import Exercise, Mistake

# --- solutions: stochastic_gates -----------------------------------------------


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


# --- solutions: continuous_sparsification --------------------------------------


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


# --- what tells right from wrong -------------------------------------------------


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# --- stochastic_gates ----------------------------------------------------------

_MASKS = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]], dtype=torch.float64)
_LOSSES = _vector(2.0, 0.5, 1.0, 3.5)
_LOG_ALPHA = _vector(0.4, -1.2, 2.0)

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

_U = _vector(0.02, 0.3, 0.5, 0.8, 0.99)
_LOCATIONS = _vector(-1.0, 0.5, 0.0, 1.5, 0.2)


def _concrete(u: Tensor, log_alpha: Tensor, beta: float) -> Tensor:
    return ((u.logit() + log_alpha) / beta).sigmoid()


HARD_CONCRETE = Exercise(
    hard_concrete,
    chapter="stochastic_gates",
    minutes=5,
    difficulty=1,
    cases=(
        (_U, _LOCATIONS, 2 / 3, -0.1, 1.1),
        (_U, _LOCATIONS, 0.5, -0.4, 1.2),
    ),
    edges=(
        (_U.view(5, 1).expand(5, 2), _LOCATIONS[:2], 1.0, -0.1, 1.1),
        (_vector(0.5), _vector(0.0), 2.0, -1.0, 2.0),
    ),
    mistakes=(
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: _concrete(u, log_alpha, beta).clamp(
                0, 1
            ),
            "You rectify s, as the slide prints it. s lies inside (0, 1), so nothing "
            "is ever 0 or 1: stretch first, rectify s̄.",
        ),
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: (
                _concrete(u, log_alpha, beta) * (zeta - gamma) + gamma
            ),
            "You stop at s̄, which leaves [0, 1]. The last step clips it: that is where "
            "the exact zeros come from.",
        ),
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: (
                (u.logit() / beta + log_alpha).sigmoid() * (zeta - gamma) + gamma
            ).clamp(0, 1),
            "β divides the noise alone in your formula. It divides the sum of noise "
            "and log α: a small β makes every gate nearly binary.",
        ),
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: (
                _concrete(1 - u, log_alpha, beta) * (zeta - gamma) + gamma
            ).clamp(0, 1),
            "Your noise is log(1 − u) − log u. The distribution is the same, since u "
            "is uniform, but the checker compares u by u: turn the sign.",
        ),
        Mistake(
            lambda u, log_alpha, beta, gamma, zeta: (
                _concrete(u, log_alpha.exp(), beta) * (zeta - gamma) + gamma
            ).clamp(0, 1),
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
            lambda gamma, zeta: 2 / 3 * math.log(-gamma / zeta),
            "A factor β = ⅔: at that log α half of the samples are zero. ẑ has no "
            "noise and no β in it.",
        ),
        Mistake(
            lambda gamma, zeta: math.log(zeta / -gamma),
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

_PIXELS = _vector(1.0, 0.4, 0.0, 0.9, 0.0, 1.0)
_HIDDEN1 = _vector(0.3, 1.0, 0.0, 0.7)
_HIDDEN2 = _vector(1.0, 0.0, 0.2)

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
            lambda pixels, hidden1, hidden2: int(
                pixels.count_nonzero() * len(hidden1)
                + hidden1.count_nonzero() * len(hidden2)
                + hidden2.count_nonzero() * 10
            ),
            "You count the columns that are read, with all their rows. A row that "
            "feeds a closed gate of the next layer is not needed either.",
        ),
        Mistake(
            lambda pixels, hidden1, hidden2: int(
                pixels.count_nonzero()
                + hidden1.count_nonzero()
                + hidden2.count_nonzero()
            ),
            "You count gates. One gate holds as many weights as the layer has outputs.",
        ),
        Mistake(
            lambda pixels, hidden1, hidden2: int(
                pixels.count_nonzero() * hidden1.count_nonzero()
                + hidden1.count_nonzero() * hidden2.count_nonzero()
            ),
            "The last layer is missing: every open gate in it holds ten weights, one "
            "for each digit.",
        ),
        Mistake(
            lambda pixels, hidden1, hidden2: weights_left(
                pixels > 0.5, hidden1 > 0.5, hidden2 > 0.5
            ),
            "You round ẑ. A gate of 0.3 is open: its weights are scaled by 0.3, and "
            "needed.",
        ),
    ),
)

# --- continuous_sparsification -------------------------------------------------


def _slope(s: Tensor, beta: float) -> Tensor:
    z = torch.sigmoid(beta * s)
    return beta * z * (1 - z)


def _quadratic(theta: Tensor, c: Tensor) -> Tensor:
    return (theta - c).square().sum() / 2


_WEIGHTS = _vector(1.2, -0.8, 2.0, 0.3)
_TARGET = _vector(1.0, -1.0, 1.5, 0.0)
_S = _vector(0.4, -0.3, 0.1, -0.05)

CONVERTED_LOSS = Exercise(
    converted_loss,
    chapter="continuous_sparsification",
    minutes=5,
    difficulty=1,
    cases=((_WEIGHTS, _S, _TARGET, 2.0, 0.5), (_WEIGHTS, _S, _TARGET, 10.0, 0.1)),
    edges=((_WEIGHTS, torch.zeros_like(_S), _TARGET, 50.0, 0.5),),
    mistakes=(
        Mistake(
            lambda theta, s, c, beta, lam: (
                _quadratic(theta * torch.sigmoid(s), c) + lam * torch.sigmoid(s).sum()
            ),
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
                _quadratic(theta * torch.sigmoid(beta * s), c)
                + lam * torch.sigmoid(beta * s).mean()
            ),
            "The penalty is a sum over all gates, a count of open ones; yours is a "
            "mean.",
        ),
        Mistake(
            lambda theta, s, c, beta, lam: (
                _quadratic(theta * torch.sigmoid(beta * s), c)
                + lam * (theta * torch.sigmoid(beta * s)).abs().sum()
            ),
            "You penalise the size of the weights, as ℓ1 does. Here the gates alone "
            "are counted: a large weight costs no more than a small one.",
        ),
    ),
)

_GRADS = _vector(0.5, -1.5, -0.7, 2.0)

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
            lambda grad, theta, s, beta, lam: (
                (grad * theta + lam) * _slope(s, beta) / beta
            ),
            "A factor β is missing: s stands inside σ as βs, and the chain rule "
            "differentiates that as well.",
        ),
        Mistake(
            lambda grad, theta, s, beta, lam: grad * theta * _slope(s, beta) + lam,
            "You add λ after the slope. The penalty is λ·σ(βs), so λ reaches s through "
            "the same slope; where the gate is decided, the penalty is silent too.",
        ),
        Mistake(
            lambda grad, theta, s, beta, lam: (grad + lam) * _slope(s, beta),
            "The weight itself is missing: the loss sees θ = θ̃·z, so ∂L/∂z is "
            "∂L/∂θ times θ̃.",
        ),
        Mistake(
            lambda grad, theta, s, beta, lam: (
                (grad * theta + lam) * beta * torch.sigmoid(beta * s)
            ),
            "The slope of σ is σ·(1 − σ); you have σ alone.",
        ),
        Mistake(
            lambda grad, theta, s, beta, lam: (
                ((grad * theta).abs() + lam) * _slope(s, beta)
            ),
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
            lambda beta, eps: math.log(eps / (1 - eps)) / beta,
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
            lambda beta, eps: 2 * math.log((1 - eps) / eps) / beta,
            "That is the whole width, from the left end to the right one. Return the "
            "distance from 0.",
        ),
    ),
)

_ENDED = _vector(0.3, 0.02, -0.01, -0.04, -0.2, 0.0)

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

_SIZES = _vector(0.02, -0.1, 0.25, -0.6, 1.0, 3.0)


def _shared(theta: Tensor, lam: float, decay: float) -> Tensor:
    return (decay * theta**2 / lam) ** (1 / 3)


IMPLIED_PENALTY = Exercise(
    implied_penalty,
    chapter="continuous_sparsification",
    minutes=20,
    difficulty=3,
    cases=((_SIZES, 0.1, 1.0), (_SIZES, 0.5, 0.4)),
    edges=((torch.zeros_like(_SIZES), 0.1, 1.0), (_vector(1.0, -1.0), 0.3, 0.3)),
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
            lambda theta, lam, decay: lam * _shared(theta, lam, decay).clamp(max=1),
            "That is the price of the gate alone. The decay of θ̃ = θ/z is part of the "
            "minimum too.",
        ),
        Mistake(
            lambda theta, lam, decay: torch.where(
                2 * decay * theta**2 < lam,
                1.5 * (2 * lam**2 * decay * theta**2) ** (1 / 3),
                lam + decay * theta**2,
            ),
            "A factor ½ is missing: weight decay η adds η/2·θ̃² to the loss, so that "
            "its gradient is ηθ̃.",
        ),
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    # stochastic_gates
    REINFORCE,
    HARD_CONCRETE,
    CLOSING_LOG_ALPHA,
    WEIGHTS_LEFT,
    # continuous_sparsification
    CONVERTED_LOSS,
    MASK_GRADIENT,
    UNDECIDED_BAND,
    IMPLIED_PENALTY,
    NEXT_ROUND,
)
