"""Exercises of "Channel gating": solutions, then inputs and known mistakes."""

import torch
from torch import Tensor

from ece661_sparse.dynamic import beta_cdf
from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def gate_gradient(log_alpha, u, temperature):
    """The gradient of the soft gate, at the noise that was drawn."""
    logistic = u.log() - (1 - u).log()
    s = torch.sigmoid((log_alpha + logistic) / temperature)
    return s * (1 - s) / temperature


def batch_shaping_loss(p):
    """Mean squared distance of F(p), in order, from i / (N + 1)."""
    n = len(p)
    i = torch.arange(1, n + 1, dtype=p.dtype, device=p.device)
    return ((i / (n + 1) - beta_cdf(p.sort().values)) ** 2).mean()


def collapsed_loss(n):
    """All F(p) are 1: the mean of (j / (n + 1))² over j = 1, ..., n."""
    return (2 * n + 1) / (6 * (n + 1))


def gated_flops(is_open, in_channels, out_channels, size):
    """An open channel is an output of the first conv and an input of the second."""
    per_channel = 2 * 9 * size**2 * (in_channels + out_channels)
    return per_channel * is_open.sum(1)


# --- inputs and known mistakes -------------------------------------------------

_LOG_ALPHA = double([-2.0, -0.5, 0.0, 0.7, 1.5, 3.0])
_U = double([0.9, 0.3, 0.6, 0.2, 0.5, 0.1])


def _slope(x: Tensor) -> Tensor:
    """The derivative of the sigmoid."""
    s = x.sigmoid()
    return s * (1 - s)


GATE_GRADIENT = Exercise(
    gate_gradient,
    chapter="channel_gating",
    minutes=10,
    difficulty=2,
    cases=((_LOG_ALPHA, _U, 2 / 3), (_LOG_ALPHA, _U, 0.3), (_LOG_ALPHA, 1 - _U, 1.0)),
    edges=((_LOG_ALPHA.view(2, 3), _U.view(2, 3), 5.0),),
    mistakes=(
        Mistake(
            lambda log_alpha, u, tau: _slope((log_alpha + u.logit()) / tau),
            "You forgot the inner derivative: log α is divided by τ inside the "
            "sigmoid, so the slope s(1 − s) is divided by τ as well.",
        ),
        Mistake(
            lambda log_alpha, u, tau: _slope(log_alpha / tau) / tau,
            "The noise is missing. The gradient is taken at the s that was drawn, "
            "σ((log α + ln u − ln(1 − u))/τ), not at its centre.",
        ),
        Mistake(
            lambda log_alpha, u, tau: _slope((log_alpha - u.logit()) / tau) / tau,
            "Your noise has the wrong sign: it is ln u − ln(1 − u). For one gate both "
            "have the same distribution, but this u opened another gate.",
        ),
        Mistake(
            lambda log_alpha, u, tau: torch.zeros_like(log_alpha),
            "You differentiated the hard gate: its gradient is 0 everywhere, and "
            "nothing is learnt. Forwards z is hard; backwards take the slope of s.",
        ),
    ),
)

_P = double([0.97, 0.1, 0.55, 0.8, 0.02, 0.33, 0.9])


def _shaped(p: Tensor, target: Tensor) -> Tensor:
    return (target - beta_cdf(p)).square().mean()


def _ranks(p: Tensor) -> Tensor:
    return torch.arange(1, len(p) + 1, dtype=p.dtype)


BATCH_SHAPING_LOSS = Exercise(
    batch_shaping_loss,
    chapter="channel_gating",
    minutes=10,
    difficulty=2,
    cases=((_P,), (_P[:4],), (_P.square(),)),
    edges=((double([0.4]),), (double([1.0, 1.0, 1.0]),), (double([0.0, 0.0]),)),
    mistakes=(
        Mistake(
            lambda p: _shaped(p, _ranks(p) / (len(p) + 1)),
            "You compare the images in the order of the batch. The i-th smallest "
            "value belongs to i/(N+1): sort first.",
        ),
        Mistake(
            lambda p: _shaped(p.sort(descending=True).values, _ranks(p) / (len(p) + 1)),
            "You sorted from the largest down. i = 1 is the smallest value.",
        ),
        Mistake(
            lambda p: _shaped(p.sort().values, _ranks(p) / len(p)),
            "You divide the rank by N. With N + 1 the targets are symmetric, from "
            "1/(N+1) to N/(N+1): no value is told to be exactly 1.",
        ),
        Mistake(
            lambda p: len(p) * batch_shaping_loss(p),
            "You add the squares up. The loss is their mean: it must not grow with "
            "the batch.",
        ),
        Mistake(
            lambda p: (_ranks(p) / (len(p) + 1) - p.sort().values).square().mean(),
            "You compare p itself with i/(N+1): that shapes it towards the uniform "
            "distribution. Take F(p), the distribution function of Beta.",
        ),
    ),
)

COLLAPSED_LOSS = Exercise(
    collapsed_loss,
    chapter="channel_gating",
    minutes=10,
    difficulty=2,
    cases=((50,), (4,), (1,)),
    edges=((256,), (100_000,)),
    mistakes=(
        Mistake(
            lambda n: 1 / 3,
            "That is the limit of a large batch, the integral of t². For N images it "
            "is the mean of N squares.",
        ),
        Mistake(
            lambda n: (n - 1) * (2 * n - 1) / (6 * n**2),
            "You take i/N as the targets; they are i/(N+1).",
        ),
        Mistake(
            lambda n: n * collapsed_loss(n),
            "That is the sum of the squares; the loss is their mean.",
        ),
        Mistake(
            lambda n: 0.0,
            "Zero is the loss of a gate whose values are the quantiles of Beta. For a "
            "gate that is always open every F(p) is 1: put that into the formula.",
        ),
    ),
)

_OPEN = torch.tensor(
    [[True, True, False, True], [False, True, False, False], [False] * 4]
)


GATED_FLOPS = Exercise(
    gated_flops,
    chapter="channel_gating",
    minutes=5,
    difficulty=1,
    cases=((_OPEN, 3, 8, 14), (_OPEN, 16, 4, 7)),
    edges=((~_OPEN, 1, 1, 1),),
    mistakes=(
        Mistake(
            lambda z, c_in, c_out, size: 18 * size**2 * c_in * z.sum(1),
            "You counted the first convolution only. A closed channel is also an "
            "input of the second one, which then need not read it.",
        ),
        Mistake(
            lambda z, c_in, c_out, size: 18 * size**2 * c_out * z.sum(1),
            "You counted the second convolution only. The first one need not produce "
            "a closed channel either.",
        ),
        Mistake(
            lambda z, c_in, c_out, size: 9 * size**2 * (c_in + c_out) * z.sum(1),
            "Those are multiply-adds. A FLOP counter counts the multiplication and "
            "the addition: twice as many.",
        ),
        Mistake(
            lambda z, c_in, c_out, size: gated_flops(
                z.any(0, keepdim=True), c_in, c_out, size
            ).expand(len(z)),
            "You counted the channels that are open for any image of the batch. Each "
            "image pays for its own: sum along the channels, one number an image.",
        ),
        Mistake(
            lambda z, c_in, c_out, size: 18 * (c_in + c_out) * z.sum(1),
            "You counted one position. A kernel is applied at each of size² positions.",
        ),
    ),
)

EXERCISES = (GATE_GRADIENT, BATCH_SHAPING_LOSS, COLLAPSED_LOSS, GATED_FLOPS)
