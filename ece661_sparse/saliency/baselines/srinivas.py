r"""The row "Srinivas et al." of the slide "Pruning results": trainable gates.

Every weight gets a gate :math:`g \in [0, 1]`, and the network computes with
:math:`w \cdot z`, z the gate made binary: :math:`z = [g > \tfrac12]`, or drawn,
:math:`z \sim \operatorname{Bern}(g)`. Rounding has no derivative, so the gradient with
respect to z is handed to g as it is (straight through). Two terms join the loss,

.. math:: \lambda_1 \sum_j g_j (1 - g_j) + \lambda_2 \sum_j g_j

the first drives gates to 0 or 1, the second prefers 0.

>>> gate(model, partial(TrainableGate, start=0.8))
>>> clip_gates(optimizer, model)
>>> loss = loss + gate_penalty(model, lam1, lam2)      # while training
>>> bake(model)                                        # exact zeros

Srinivas, Subramanya and Babu, "Training Sparse Neural Networks", CVPR Workshops 2017.
"""

import torch
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_number
from ece661_sparse.core.stochastic import straight_through
from ece661_sparse.gates.gating import Gate, gates


class TrainableGate(Gate):
    r"""Gates :math:`g` that are made binary: :math:`z = [g > \tfrac12]`, or drawn.

    Args:
        weight: the tensor to gate.
        dim: see :class:`~ece661_sparse.gates.Gate`.
        start: value of every gate, in [0, 1].
        sample: draw :math:`z \sim \operatorname{Bern}(g)` while training, from torch's
            global generator.

    Raises:
        ValueError: ``start`` outside [0, 1].
    """

    def __init__(
        self,
        weight: Tensor,
        dim: int | None = None,
        *,
        start: float = 1.0,
        sample: bool = False,
    ) -> None:
        super().__init__(weight, dim)
        check_number("start", start, at_least=0, at_most=1)
        self.gate = self.new_parameter(start)
        self.sample = sample

    def z(self) -> Tensor:
        g = self.gate
        hard = torch.bernoulli(g.detach().clamp(0, 1)) if self.sample else self.z_hat()
        return straight_through(hard, g)

    def z_hat(self) -> Tensor:
        return (self.gate > 0.5).to(self.gate.dtype)

    def probability(self) -> Tensor:
        return self.gate


def gate_penalty(model: nn.Module, lam1: float, lam2: float) -> Tensor:
    r""":math:`\lambda_1 \sum g(1-g) + \lambda_2 \sum g`, to be added to the loss.

    Raises:
        ValueError: a strength below 0, or a model without trainable gates.
    """
    check_number("lam1", lam1, at_least=0)
    check_number("lam2", lam2, at_least=0)
    terms = [(lam1 * g * (1 - g) + lam2 * g).sum() for g in _trainable_gates(model)]
    return torch.stack(terms).sum()


def clip_gates(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """After each step of the optimizer, put the gates back into [0, 1].

    Raises:
        ValueError: a model without trainable gates.
    """
    own = _trainable_gates(model)

    @torch.no_grad()
    def clip(*_: object) -> None:
        for g in own:
            g.clamp_(0, 1)

    optimizer.register_step_post_hook(clip)


def _trainable_gates(model: nn.Module) -> list[nn.Parameter]:
    found = [g.gate for g in gates(model).values() if isinstance(g, TrainableGate)]
    if not found:
        raise ValueError("model must have gates: call gate(model, TrainableGate) first")
    return found
