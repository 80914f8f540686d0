r"""The rows "Han et al." of the slide "Pruning results": prune, retrain, repeat.

A weight goes if it is small for its layer:

.. math:: |w| \le q \cdot \operatorname{std}(\text{the layer's weights})

with one quality parameter :math:`q` for all layers, or one for each. What is left is
trained on, and can then lose more than it could have lost at once.

Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.networks import kernels
from ece661_sparse.core.schedules import geometric
from ece661_sparse.saliency.masks import (
    apply_mask,
    global_mask,
    keep_zeros,
    layerwise_mask,
)


def standardised_magnitude(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r""":math:`|w| / \operatorname{std}`, layer by layer; 0 for pruned weights.

    The deviation is that of the weights that are left, so that it does not shrink
    with every round.

    Args:
        weights: a tensor per layer, by name; ``kernels(model)``.
    """
    scores = {}
    for name, weight in weights.items():
        # squares of half precision overflow, and so does their number
        w = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
        left = (w != 0).to(w.dtype)
        n = left.sum().clamp(min=1)
        std = ((w - w.sum() / n).square() * left).sum().div(n).sqrt()
        scores[name] = torch.where(w != 0, w.abs() / std, 0)
    return scores


def quality_mask(weights: Mapping[str, Tensor], quality: float) -> dict[str, Tensor]:
    r"""Keep :math:`|w| > q \cdot \operatorname{std}`.

    Raises:
        ValueError: ``quality`` below 0.
    """
    check_number("quality", quality, at_least=0)
    scores = standardised_magnitude(weights)
    return {name: score > quality for name, score in scores.items()}


def budget_mask(
    weights: Mapping[str, Tensor], keep: int | Mapping[str, int]
) -> dict[str, Tensor]:
    r"""The quality mask that keeps exactly ``keep`` weights.

    Raising :math:`q` removes weights in the order of :math:`|w| / \operatorname{std}`,
    so a budget is a ranking of that number: a global one for one number ``keep``; for
    a number for each layer, by name, every layer has a :math:`q` of its own.

    Raises:
        ValueError: ``keep`` is not between 0 and the number of weights, or lacks a
            layer.
    """
    scores = standardised_magnitude(weights)
    if isinstance(keep, Mapping):
        return layerwise_mask(scores, keep)
    return global_mask(scores, keep)


def geometric_schedule(total: int, keep: int, rounds: int) -> list[int]:
    """Budgets from ``total`` down to ``keep``: every round keeps the same share.

    Raises:
        ValueError: ``rounds`` below 1, or ``keep`` not between 1 and ``total``.
    """
    check_count("total", total)
    check_count("keep", keep, at_least=1, at_most=total)
    check_count("rounds", rounds, at_least=1)
    budget = geometric(total, keep, rounds)
    return [round(budget(i)) for i in range(1, rounds + 1)]


def prune_and_retrain(
    model: nn.Module,
    budgets: Iterable[int | Mapping[str, int]],
    retrain: Callable[[int], None],
) -> None:
    """Iterative pruning in place, one round for each budget.

    Args:
        model: trained already.
        budgets: weights to keep after each round, of all layers together
            (:func:`geometric_schedule`) or of each, by name.
        retrain: ``retrain(i)`` trains the model after the pruning of round i, counted
            from 0. Pruned weights stay at zero meanwhile.

    Raises:
        ValueError: a budget is more than the number of weights.
    """
    for i, keep in enumerate(budgets):
        apply_mask(model, budget_mask(kernels(model), keep))
        with keep_zeros(model):
            retrain(i)
