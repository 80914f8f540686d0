r"""The row "Srinivas et al." of the slide "Pruning results": trainable gates.

Every weight gets a gate :math:`g \in [0, 1]`, and the network computes with
:math:`w \cdot z`, z the gate made binary: :math:`z = [g > \tfrac12]`, or drawn,
:math:`z \sim \operatorname{Bern}(g)`. Rounding has no derivative, so the gradient with
respect to z is handed to g as it is (straight through). Two terms join the loss,

.. math:: \lambda_1 \sum_j g_j (1 - g_j) + \lambda_2 \sum_j g_j

the first drives gates to 0 or 1, the second prefers 0.

Srinivas, Subramanya and Babu, "Training Sparse Neural Networks", CVPR Workshops 2017.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ece661_sparse.core.arguments import check_number
from ece661_sparse.core.networks import evaluating, layers, owners


class TrainableGate(nn.Module):
    r"""A parametrization: the weight times its binary gate.

    In evaluation mode, and in training mode without ``sample``,
    :math:`z = [g > \tfrac12]`; with ``sample`` training draws
    :math:`z \sim \operatorname{Bern}(g)`.

    Args:
        weight: whose shape, dtype and device the gates get.
        start: value of every gate, in [0, 1].
        sample: draw the gates while training, from the global generator.

    Raises:
        ValueError: ``start`` outside [0, 1].
    """

    def __init__(
        self, weight: Tensor, start: float = 1.0, *, sample: bool = False
    ) -> None:
        super().__init__()
        check_number("start", start, at_least=0, at_most=1)
        self.gate = nn.Parameter(torch.full_like(weight, start))
        self.sample = sample

    def forward(self, weight: Tensor) -> Tensor:
        g = self.gate
        if self.sample and self.training:
            z = torch.bernoulli(g.detach().clamp(0, 1))
        else:
            z = (g > 0.5).to(g.dtype)
        return weight * (z + (g - g.detach()))  # z forward, g backward


def add_gates(model: nn.Module, start: float = 1.0, *, sample: bool = False) -> None:
    """Give every Linear and Conv2d layer of the model a gate for each weight.

    Raises:
        ValueError: ``start`` outside [0, 1]; a weight that has gates or another
            parametrization already, or is tied.
    """
    for name, layer in layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(
                f"model must have plain weights, but that of {name!r} has gates or "
                "another parametrization already: bake them in first"
            )
        if len(tied := owners(model, layer.weight)) > 1:
            raise ValueError(
                "model must not tie the weights of Linear and Conv2d layers: "
                f"{tied} share one, and would get a gate each"
            )
    for _, layer in list(layers(model)):
        gate = TrainableGate(layer.weight.detach(), start, sample=sample)
        parametrize.register_parametrization(layer, "weight", gate)


def gates(model: nn.Module) -> Iterator[nn.Parameter]:
    """The gate parameters of the model."""
    return (m.gate for m in model.modules() if isinstance(m, TrainableGate))


def gate_penalty(model: nn.Module, lam1: float, lam2: float) -> Tensor:
    r""":math:`\lambda_1 \sum g(1-g) + \lambda_2 \sum g`, to be added to the loss.

    Raises:
        ValueError: a strength below 0, or a model without gates.
    """
    check_number("lam1", lam1, at_least=0)
    check_number("lam2", lam2, at_least=0)
    terms = [(lam1 * g * (1 - g) + lam2 * g).sum() for g in gates(model)]
    if not terms:
        raise ValueError("model must have gates: call add_gates(model) first")
    return torch.stack(terms).sum()


def clip_gates(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """After each step of the optimizer, put the gates back into [0, 1]."""

    @torch.no_grad()
    def clip(*_: object) -> None:
        for g in gates(model):
            g.clamp_(0, 1)

    optimizer.register_step_post_hook(clip)


def remove_gates(model: nn.Module) -> None:
    """Bake the gates in: plain layers again, with exact zeros.

    Raises:
        ValueError: a model without gates.
    """
    if not list(gates(model)):
        raise ValueError("model must have gates: call add_gates(model) first")
    with evaluating(model):  # the threshold, not a draw
        for _, layer in list(layers(model)):
            if parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight")
