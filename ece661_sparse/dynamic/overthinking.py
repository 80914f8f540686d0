r"""The slide "Effectiveness of early exiting": overthinking, easy and hard data.

A network *overthinks* when an early exit was right already: what follows is wasted,
or, if the last exit is wrong, destructive. All functions take the recorded outputs of
all exits, ``(exits, N, classes)``.

Kaya et al., "Shallow-Deep Networks: Understanding and Mitigating Network
Overthinking", ICML 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exit_accuracy(logits: Tensor, y: Tensor) -> list[float]:
    """Percentage of right answers at each exit."""
    return (100 * (logits.argmax(2) == y).double().mean(1)).tolist()


def first_right(logits: Tensor, y: Tensor) -> Tensor:
    """The first exit that is right, ``(N,)``; the number of exits where none is."""
    right = logits.argmax(2) == y
    # argmax of equal numbers: the first of them
    return torch.where(right.any(0), right.int().argmax(0), len(logits))


def wasteful(logits: Tensor, y: Tensor) -> Tensor:
    """Who could have left: some exit before the last is right, ``(N,)``."""
    return first_right(logits, y) < len(logits) - 1


def destructive(logits: Tensor, y: Tensor) -> Tensor:
    """Who should have left: some exit is right and the last is wrong, ``(N,)``."""
    return wasteful(logits, y) & (logits[-1].argmax(1) != y)


def confusion(logits: Tensor) -> Tensor:
    r"""How far the exits stand from the last, :math:`\sum_n \|y_n - y_N\|_1`.

    ``y`` are the softmax probabilities; the result, ``(N,)``, lies between 0 and
    twice the number of early exits.
    """
    y = logits.softmax(2)
    return (y[:-1] - y[-1]).abs().sum((0, 2))


def confusion_score(logits: Tensor, training: Tensor) -> Tensor:
    """:func:`confusion` in standard deviations from its mean on the training data.

    Args:
        logits: outputs of the samples to score, ``(exits, N, classes)``.
        training: outputs for the training data, ``(exits, M, classes)``.
    """
    usual = confusion(training)
    return (confusion(logits) - usual.mean()) / usual.std(correction=0)
