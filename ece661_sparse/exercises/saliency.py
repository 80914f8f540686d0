"""Exercises of Part II: from "Moving beyond absolute values" to "Pruning results".

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from ece661_sparse.exercises.checker import Exercise, Mistake
from ece661_sparse.proximal import project_top_n

# --- solutions: taylor_saliency ------------------------------------------------


def predicted_loss(loss, grad, w):
    """The tangent at ``w``, followed to zero: a step of ``0 - w``."""
    return loss + grad * (0 - w)


def mean_saliency(w, grads):
    """The size of each batch's ``g * w``, then the mean over the batches."""
    return (grads * w).abs().mean(0)


def largest_safe_weight(curvature, rise):
    """At a minimum the gradient is zero: solve ``curvature * w**2 / 2 = rise``."""
    return (2 * rise / curvature) ** 0.5


# --- solutions: global_sparse_momentum -----------------------------------------


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


# --- solutions: pruning_results ------------------------------------------------


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


# --- what tells right from wrong -------------------------------------------------


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


# --- taylor_saliency -----------------------------------------------------------

_WEIGHTS = torch.tensor([1.5, -0.8, 0.3, -0.1, 2.0], dtype=torch.float64)
_GRADS = torch.tensor(
    [
        [0.2, -0.5, 1.0, -2.0, 0.0],
        [-0.3, -0.1, 0.8, 3.0, 0.4],
        [0.1, 0.4, -0.6, -1.5, -0.2],
    ],
    dtype=torch.float64,
)

PREDICTED_LOSS = Exercise(
    predicted_loss,
    chapter="taylor_saliency",
    minutes=5,
    difficulty=1,
    cases=((0.7, _GRADS[0], _WEIGHTS), (2.0, _GRADS, 0.5 * _GRADS.flip(1))),
    edges=((1.0, torch.zeros_like(_WEIGHTS), _WEIGHTS), (0.0, _WEIGHTS, _WEIGHTS)),
    mistakes=(
        Mistake(
            lambda loss, grad, w: loss + grad * w,
            "The sign is the slide's, and it is wrong there: the step to zero is "
            "0 − w, so the loss changes by −g·w. Where the loss rises with the weight "
            "(g·w > 0), removing the weight makes it fall.",
        ),
        Mistake(
            lambda loss, grad, w: loss + (grad * w).abs(),
            "That is the loss plus the saliency. The prediction has a sign: pruning "
            "some weights lowers the loss.",
        ),
        Mistake(
            lambda loss, grad, w: loss - grad,
            "You take a step of length one. The step from w to zero has length w.",
        ),
        Mistake(
            lambda loss, grad, w: -grad * w,
            "That is the change. Add it to the loss before pruning.",
        ),
    ),
)

MEAN_SALIENCY = Exercise(
    mean_saliency,
    chapter="taylor_saliency",
    minutes=10,
    difficulty=2,
    cases=((_WEIGHTS, _GRADS), (_WEIGHTS[:4].view(2, 2), _GRADS[:, :4].view(3, 2, 2))),
    edges=((_WEIGHTS, _GRADS[:1]), (0 * _WEIGHTS, _GRADS)),
    mistakes=(
        Mistake(
            lambda w, grads: (grads.mean(0) * w).abs(),
            "You average the gradients first: that is the saliency of all batches "
            "taken as one. Their gradients cancel there. Take |g·w| for each batch, "
            "then the mean.",
        ),
        Mistake(
            lambda w, grads: (grads * w).abs().sum(0),
            "That is the sum over the batches; the mean divides by their number.",
        ),
        Mistake(
            lambda w, grads: grads.abs().mean(0),
            "That is the mean size of the gradient. Saliency multiplies by the weight: "
            "how far it has to go to zero.",
        ),
        Mistake(
            lambda w, grads: (grads * w).square().mean(0),
            "You square where the slide takes the absolute value. (The mean of "
            "squares is another known criterion, named after Fisher.)",
        ),
    ),
)

LARGEST_SAFE_WEIGHT = Exercise(
    largest_safe_weight,
    chapter="taylor_saliency",
    minutes=10,
    difficulty=2,
    cases=((2.0, 0.09), (0.5, 0.01), (8.0, 1.0)),
    edges=((1.0, 0.0), (1e-6, 1e-3)),
    mistakes=(
        Mistake(
            lambda curvature, rise: (rise / curvature) ** 0.5,
            "The expansion has a ½: removing w costs ½hw², not hw².",
        ),
        Mistake(
            lambda curvature, rise: 2 * rise / curvature,
            "That is w². Take the root.",
        ),
        Mistake(
            lambda curvature, rise: (2 * rise * curvature) ** 0.5,
            "You multiply by the curvature. Where the loss is curved more, a smaller "
            "weight already costs as much: divide.",
        ),
    ),
)

# --- global_sparse_momentum ----------------------------------------------------

_GSM_W = torch.tensor([[1.0, -0.2, 0.5], [-1.5, 0.05, 2.0]], dtype=torch.float64)
_GSM_Z = torch.tensor([[0.3, 0.1, -0.4], [0.2, -0.6, 0.0]], dtype=torch.float64)
_GSM_G = torch.tensor([[0.1, 4.0, -0.9], [0.2, 6.0, -0.02]], dtype=torch.float64)


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
            lambda W, Z, grad, keep, lr, beta, eta: _two_lines(
                W,
                beta * Z + _largest((grad * W).abs(), keep) * (eta * W + grad),
                lr,
            ),
            "Your mask stands on the weight decay too. Then nothing moves a passive "
            "weight to zero; B belongs to the gradient alone.",
        ),
        Mistake(
            lambda W, Z, grad, keep, lr, beta, eta: _two_lines(
                W,
                _largest((grad * W).abs(), keep) * (beta * Z + eta * W + grad),
                lr,
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
                [
                    W - lr * Z,
                    beta * Z + eta * W + _largest((grad * W).abs(), keep) * grad,
                ]
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
            lambda left, lr, beta, eta: -math.log(left) / (lr * eta),
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
    torch.tensor([[0.9, 0.1], [0.4, 0.8]], dtype=torch.float64),
    torch.tensor([0.05, 0.02, 0.5, 0.03, 0.01, 0.04], dtype=torch.float64),
    torch.tensor([0.95, 0.7], dtype=torch.float64),
]


def _counts(*kept: int) -> Tensor:
    return torch.tensor(kept)


KEPT_PER_LAYER = Exercise(
    kept_per_layer,
    chapter="global_sparse_momentum",
    minutes=10,
    difficulty=2,
    cases=((_LAYERS, 4), (_LAYERS, 6)),
    edges=((_LAYERS, 12), (_LAYERS, 1), (_LAYERS, 0), (_LAYERS[:1], 2)),
    mistakes=(
        Mistake(
            lambda saliencies, keep: _counts(
                *(
                    round(keep * T.numel() / sum(S.numel() for S in saliencies))
                    for T in saliencies
                )
            ),
            "Every layer keeps the same share of its weights: that is layer-wise "
            "pruning. Rank all weights together and see where the best ones are.",
        ),
        Mistake(
            lambda saliencies, keep: _counts(
                *(min(keep, T.numel()) for T in saliencies)
            ),
            "You keep that many in every layer. The budget is one for all layers.",
        ),
        Mistake(
            lambda saliencies, keep: torch.tensor(
                [
                    int((saliency > cut).sum())
                    for flat in [torch.cat([S.flatten() for S in saliencies])]
                    for cut in [flat.sort(descending=True).values[max(keep, 1) - 1]]
                    for saliency in saliencies
                ]
            ),
            "One too few: the slide's mask has ≥ the Q-th greatest, you have >.",
        ),
    ),
)

# --- pruning_results -----------------------------------------------------------

GAUSSIAN_QUALITY = Exercise(
    gaussian_quality,
    chapter="pruning_results",
    minutes=10,
    difficulty=2,
    cases=((0.08,), (0.3,), (0.6,)),
    edges=((0.999,), (1e-6,)),
    mistakes=(
        Mistake(
            lambda share: _normal_quantile(1 - share),
            "You cut one tail: weights far below zero are large too. Both tails "
            "together hold the share, so each holds half of it.",
        ),
        Mistake(
            lambda share: _normal_quantile(0.5 + share / 2),
            "That threshold keeps the small weights: your share lies inside it, not "
            "beyond it.",
        ),
        Mistake(
            lambda share: _normal_quantile(1 - share / 2) / 2**0.5,
            "The error function is that of a normal distribution with deviation "
            "1/√2. Multiply by √2.",
        ),
    ),
)

_H = torch.tensor(
    [[2.0, 0.8, -0.5], [0.8, 1.5, 0.3], [-0.5, 0.3, 1.0]], dtype=torch.float64
)
_INVERSE = torch.linalg.inv(_H)
_ROW = torch.tensor([1.0, -0.6, 0.4], dtype=torch.float64)


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
            lambda row, inverse, q: -row[q] / inverse[q, q] * inverse[:, q],
            "That is the change δw. Return the new row, w + δw.",
        ),
    ),
)

_W = torch.tensor([[2.0, -0.5, 0.8], [-1.5, 0.9, 0.1]], dtype=torch.float64)
_U = torch.tensor([[-1.4, 0.1, 0.4], [0.2, -0.3, 0.9]], dtype=torch.float64)


def _round(Z: Tensor, U: Tensor) -> Tensor:
    return torch.stack([Z, U])


ADMM_ROUND = Exercise(
    admm_round,
    chapter="pruning_results",
    minutes=15,
    difficulty=2,
    cases=((_W, _U, 2), (_W, _U, 3), (_W.flatten(), _U.flatten(), 1)),
    edges=((_W, _U, 0), (_W, _U, 6), (_W, torch.zeros_like(_U), 2)),
    mistakes=(
        Mistake(
            lambda W, U, n: _round(project_top_n(W, n), U + W - project_top_n(W, n)),
            "You project W. The projection is of W + U: a weight that was kept away "
            "from its copy for long has earned a place.",
        ),
        Mistake(
            lambda W, U, n: _round(
                project_top_n(W + U, n), W - project_top_n(W + U, n)
            ),
            "U forgets: it is the sum of W − Z over all rounds. Add to the old U.",
        ),
        Mistake(
            lambda W, U, n: _round(project_top_n(W + U, n), U),
            "U stays as it was. After Z has moved, add W − Z to it.",
        ),
        Mistake(
            lambda W, U, n: _round(
                project_top_n(W + U, n), U - W + project_top_n(W + U, n)
            ),
            "The sign of U's step is wrong: U grows by W − Z, so that the pull "
            "towards Z − U is stronger where W stayed away.",
        ),
    ),
)

_DENSE = torch.tensor(
    [0.2, 0.95, 1.05, 1.3, -0.95, -1.05, -1.3, -0.2], dtype=torch.float64
)
_MASK = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)

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
            lambda weight, mask, threshold: torch.where(
                weight <= 0.9 * threshold,
                0,
                torch.where(weight > 1.1 * threshold, 1, mask),
            ),
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

EXERCISES: tuple[Exercise, ...] = (
    # taylor_saliency
    PREDICTED_LOSS,
    LARGEST_SAFE_WEIGHT,
    MEAN_SALIENCY,
    # global_sparse_momentum
    GSM_UPDATE,
    COAST,
    DECAY_ITERATIONS,
    KEPT_PER_LAYER,
    # pruning_results
    GAUSSIAN_QUALITY,
    SURGEON_STEP,
    ADMM_ROUND,
    SPLICE_MASK,
)
