"""Exercises of "Taylor saliency": solutions, then inputs and known mistakes."""

import torch

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def predicted_loss(loss, grad, w):
    """The tangent at ``w``, followed to zero: a step of ``0 - w``."""
    return loss + grad * (0 - w)


def mean_saliency(w, grads):
    """The size of each batch's ``g * w``, then the mean over the batches."""
    return (grads * w).abs().mean(0)


def largest_safe_weight(curvature, rise):
    """At a minimum the gradient is zero: solve ``curvature * w**2 / 2 = rise``."""
    return (2 * rise / curvature) ** 0.5


# --- inputs and known mistakes -------------------------------------------------

_WEIGHTS = double([1.5, -0.8, 0.3, -0.1, 2.0])
_GRADS = double(
    [
        [0.2, -0.5, 1.0, -2.0, 0.0],
        [-0.3, -0.1, 0.8, 3.0, 0.4],
        [0.1, 0.4, -0.6, -1.5, -0.2],
    ]
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

EXERCISES = (PREDICTED_LOSS, LARGEST_SAFE_WEIGHT, MEAN_SALIENCY)
