"""Exercises of "Global Sparse Momentum": solutions, then inputs and known mistakes."""

import math

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def gsm_update(W, Z, grad, keep, lr, beta, eta):
    """The two lines of the slide; the mask stands on the gradient only."""
    saliency = (grad * W).abs()
    B = saliency >= saliency.flatten().sort(descending=True).values[keep - 1]
    Z = beta * Z + eta * W + B * grad
    return torch.stack([W - lr * Z, Z])


def coast(W, Z, lr, beta):
    """``Z`` shrinks to ``beta * Z``, ``beta**2 * Z``, ...: a geometric series."""
    return W - lr * Z * beta / (1 - beta)


def decay_iterations(left, lr, beta, eta):
    """``exp(-rate * k) = left`` with ``rate = lr * eta / (1 - beta)``."""
    return -math.log(left) * (1 - beta) / (lr * eta)


def kept_per_layer(saliencies, keep):
    """Rank all layers as one vector; count where the ``keep`` first come from."""
    flat = torch.cat([T.flatten() for T in saliencies])
    layer = torch.cat([torch.full((T.numel(),), i) for i, T in enumerate(saliencies)])
    best = flat.argsort(descending=True)[:keep]
    return layer[best].bincount(minlength=len(saliencies))


# --- inputs and known mistakes -------------------------------------------------

_GSM_W = double([[1.0, -0.2, 0.5], [-1.5, 0.05, 2.0]])
_GSM_Z = double([[0.3, 0.1, -0.4], [0.2, -0.6, 0.0]])
_GSM_G = double([[0.1, 4.0, -0.9], [0.2, 6.0, -0.02]])


def _two_lines(W: Tensor, Z: Tensor, lr: float) -> Tensor:
    return torch.stack([W - lr * Z, Z])


def _largest(scores: Tensor, keep: int) -> Tensor:
    return scores >= scores.flatten().sort(descending=True).values[keep - 1]


GSM_UPDATE = Exercise(
    gsm_update,
    chapter="global_sparse_momentum",
    minutes=15,
    difficulty=2,
    cases=(
        (_GSM_W, _GSM_Z, _GSM_G, 2, 0.1, 0.9, 0.5),
        (_GSM_W, _GSM_Z, _GSM_G, 4, 0.5, 0.8, 0.2),
    ),
    edges=(
        (_GSM_W, _GSM_Z, _GSM_G, 6, 0.1, 0.9, 0.5),
        (_GSM_W, _GSM_Z, _GSM_G, 1, 0.1, 0.0, 0.0),
    ),
    mistakes=(
        Mistake(
            lambda W, Z, g, keep, lr, beta, eta: _two_lines(
                W, beta * Z + _largest((g * W).abs(), keep) * (eta * W + g), lr
            ),
            "Your mask stands on the weight decay too. Then nothing moves a passive "
            "weight to zero; B belongs to the gradient alone.",
        ),
        Mistake(
            lambda W, Z, g, keep, lr, beta, eta: _two_lines(
                W, _largest((g * W).abs(), keep) * (beta * Z + eta * W + g), lr
            ),
            "Your mask stands on the whole line. A passive weight keeps its momentum "
            "and its decay; B belongs to the gradient alone.",
        ),
        Mistake(
            lambda W, Z, grad, keep, lr, beta, eta: _two_lines(
                W, beta * Z + eta * W + _largest(W.abs(), keep) * grad, lr
            ),
            "You rank by |W|. GSM ranks by the saliency |W·grad|: a small weight with "
            "a large gradient may stay active.",
        ),
        Mistake(
            lambda W, Z, grad, keep, lr, beta, eta: _two_lines(
                W, beta * Z + eta * W + _largest(grad.abs(), keep) * grad, lr
            ),
            "You rank by the gradient. GSM ranks by the saliency |W·grad|, or else "
            "weights that are zero would win.",
        ),
        Mistake(
            lambda W, Z, grad, keep, lr, beta, eta: torch.stack(
                [W - lr * Z, gsm_update(W, Z, grad, keep, lr, beta, eta)[1]]
            ),
            "The weight moves by the old Z. The slide's second line uses the new one, "
            "Z of iteration k+1.",
        ),
    ),
)

COAST = Exercise(
    coast,
    chapter="global_sparse_momentum",
    minutes=10,
    difficulty=2,
    cases=((_GSM_W, _GSM_Z, 0.1, 0.9), (_GSM_W, _GSM_Z, 0.01, 0.99)),
    edges=((_GSM_W, 0 * _GSM_Z, 0.1, 0.9), (_GSM_W, _GSM_Z, 0.1, 0.0)),
    mistakes=(
        Mistake(
            lambda W, Z, lr, beta: W - lr * Z / (1 - beta),
            "You count the step with Z itself, which is taken already: the next one "
            "uses β·Z. The sum is β + β² + … = β/(1−β).",
        ),
        Mistake(
            lambda W, Z, lr, beta: W - lr * beta * Z,
            "That is the next step only. Z never stops at once: sum over all the "
            "steps to come.",
        ),
        Mistake(
            lambda W, Z, lr, beta: W + lr * Z * beta / (1 - beta),
            "The sign is wrong: W moves by −α·Z.",
        ),
        Mistake(
            lambda W, Z, lr, beta: W - Z * beta / (1 - beta),
            "The learning rate is missing: every step is α times Z.",
        ),
    ),
)

DECAY_ITERATIONS = Exercise(
    decay_iterations,
    chapter="global_sparse_momentum",
    minutes=10,
    difficulty=2,
    cases=((1e-4, 0.01, 0.99, 5e-4), (0.1, 0.05, 0.9, 1e-3)),
    edges=((1.0, 0.01, 0.99, 5e-4), (0.5, 0.1, 0.0, 0.01)),
    mistakes=(
        Mistake(
            lambda left, lr, beta, eta: decay_iterations(left, lr, 0, eta),
            "That is plain SGD. Momentum adds up β + β² + … of every push, so the "
            "weight decays 1/(1−β) times faster.",
        ),
        Mistake(
            lambda left, lr, beta, eta: -math.log(left) / (lr * eta * (1 - beta)),
            "Momentum makes the decay faster, not slower: the rate is αη/(1−β).",
        ),
        Mistake(
            lambda left, lr, beta, eta: -math.log10(left) * (1 - beta) / (lr * eta),
            "The decay is exponential with base e: take the natural logarithm.",
        ),
        Mistake(
            lambda left, lr, beta, eta: (1 - left) * (1 - beta) / (lr * eta),
            "You let the weight fall in a straight line. Decay is proportional to "
            "what is left, so the path is exponential.",
        ),
    ),
)

_LAYERS = [
    double([[0.9, 0.1], [0.4, 0.8]]),
    double([0.05, 0.02, 0.5, 0.03, 0.01, 0.04]),
    double([0.95, 0.7]),
]


def _one_too_few(saliencies: list[Tensor], keep: int) -> Tensor:
    flat = torch.cat([T.flatten() for T in saliencies])
    cut = flat.sort(descending=True).values[max(keep, 1) - 1]
    return torch.tensor([int((cut < T).sum()) for T in saliencies])


KEPT_PER_LAYER = Exercise(
    kept_per_layer,
    chapter="global_sparse_momentum",
    minutes=10,
    difficulty=2,
    cases=((_LAYERS, 4), (_LAYERS, 6)),
    edges=((_LAYERS, 12), (_LAYERS, 1), (_LAYERS, 0), (_LAYERS[:1], 2)),
    mistakes=(
        Mistake(
            lambda saliencies, keep: torch.tensor(
                [
                    round(keep * T.numel() / sum(S.numel() for S in saliencies))
                    for T in saliencies
                ]
            ),
            "Every layer keeps the same share of its weights: that is layer-wise "
            "pruning. Rank all weights together and see where the best ones are.",
        ),
        Mistake(
            lambda saliencies, keep: torch.tensor(
                [min(keep, T.numel()) for T in saliencies]
            ),
            "You keep that many in every layer. The budget is one for all layers.",
        ),
        Mistake(
            _one_too_few,
            "One too few: the slide's mask has ≥ the Q-th greatest, you have >.",
        ),
    ),
)

EXERCISES = (GSM_UPDATE, COAST, DECAY_ITERATIONS, KEPT_PER_LAYER)
