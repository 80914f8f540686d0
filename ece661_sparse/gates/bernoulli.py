r"""The slide "Stochastic binary gates", and why it ends with "further smoothing".

.. math::

    \min_{\tilde\theta, \pi}\;
    \mathbb E_{z \sim \mathrm{Bern}(\pi)}[\mathcal L(\tilde\theta \cdot z)]
    + \lambda \sum_j \pi_j, \qquad \pi = \sigma(\log\alpha)

(the slide leaves the expectation out). z is 0 or 1, so nothing flows back through it.
Two ways out are here to be measured, not recommended:

- the score function (REINFORCE, Williams 1992): right on average, and noisy;
- straight-through (Bengio et al. 2013): quiet, and wrong on average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.stochastic import straight_through
from ece661_sparse.gates.gating import Gate, gates

Loss = Callable[[Tensor], Tensor]  # gates (K, n) to losses (K,)
MOST_ENUMERATED = 20


def sample_bernoulli(
    log_alpha: Tensor, samples: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """``samples`` draws of the gates, zeros and ones, ``(samples, *shape)``."""
    check_count("samples", samples)
    pi = log_alpha.detach().sigmoid()
    return torch.bernoulli(pi.expand(samples, *pi.shape), generator=generator)


def exact_gradient(loss: Loss, log_alpha: Tensor) -> Tensor:
    r""":math:`\nabla_{\log\alpha} \sum_z p(z) \mathcal L(z)`, over all masks.

    Args:
        loss: from gates ``(K, n)`` to one loss for each, ``(K,)``.
        log_alpha: ``(n,)``, at most 20 entries.

    Raises:
        ValueError: more entries.
    """
    n = log_alpha.numel()
    check_count("the number of gates", n, at_most=MOST_ENUMERATED)
    bits = torch.arange(n, device=log_alpha.device)
    masks = torch.arange(2**n, device=log_alpha.device)[:, None] >> bits & 1
    z = masks.to(log_alpha.dtype)
    free = log_alpha.detach().requires_grad_()
    expectation = (log_probability(z, free).exp() * loss(z).detach()).sum()
    return torch.autograd.grad(expectation, free)[0]


def score_function_gradients(
    loss: Loss,
    log_alpha: Tensor,
    samples: int,
    *,
    baseline: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""REINFORCE: one estimate of the gradient for each sample.

    .. math:: (\mathcal L(z) - b)\,\nabla_{\log\alpha} \log p(z)
              = (\mathcal L(z) - b)(z - \pi)

    Args:
        loss: from gates ``(K, n)`` to ``(K,)``; need not be differentiable.
        log_alpha: ``(n,)``.
        samples: how many estimates.
        baseline: b is the mean loss of the *other* samples, which keeps every
            estimate unbiased; False: b = 0.

    Returns:
        ``(samples, n)``.

    Raises:
        ValueError: a baseline from a single sample.
    """
    if baseline and samples < 2:
        raise ValueError(f"a baseline needs samples >= 2, got samples={samples}")
    z = sample_bernoulli(log_alpha, samples, generator=generator)
    value = loss(z).detach()
    if baseline:
        value = value - (value.sum() - value) / (samples - 1)
    return value[:, None] * (z - log_alpha.detach().sigmoid())


def straight_through_gradients(
    loss: Loss,
    log_alpha: Tensor,
    samples: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r""":math:`\nabla_z \mathcal L(z)\,\pi(1-\pi)`: as if z were :math:`\pi`.

    Arguments and result as in :func:`score_function_gradients`; ``loss`` must be
    differentiable and defined between 0 and 1 as well, which is where the bias comes
    from: its slope at the corners stands for the difference between them.
    """
    z = sample_bernoulli(log_alpha, samples, generator=generator).requires_grad_()
    (slope,) = torch.autograd.grad(loss(z).sum(), z)
    pi = log_alpha.detach().sigmoid()
    return slope * pi * (1 - pi)


def log_probability(z: Tensor, log_alpha: Tensor) -> Tensor:
    r"""The log-probability of gates, summed over the last dimension.

    .. math:: \log p(z) = \sum_j z_j \log \pi_j + (1 - z_j) \log(1 - \pi_j)

    Computed from the logits, so that no logarithm of a rounded 0 is taken.
    """
    return (z * log_alpha - F.softplus(log_alpha)).sum(-1)


class Bernoulli(Gate):
    r"""Gates that are 0 or 1 while training, and :math:`[\pi > \frac12]` at test time.

    Args:
        weight: the tensor to gate.
        dim: see :class:`~ece661_sparse.gates.Gate`.
        log_alpha: where the logit of π starts.
        estimator: ``"straight_through"``: the loss's gradient reaches
            :math:`\log\alpha` as if z were π. ``"score_function"``: it does not; add
            :func:`score_function_term` to the loss.

    Attributes:
        last: the latest draw, or None. A side channel: :func:`score_function_term` is
            given the model after a forward pass, and reads the draw here.

    Raises:
        ValueError: another estimator.
    """

    def __init__(
        self,
        weight: Tensor,
        dim: int | None = None,
        *,
        log_alpha: float = 0.0,
        estimator: Literal["straight_through", "score_function"] = "straight_through",
    ) -> None:
        super().__init__(weight, dim)
        check_number("log_alpha", log_alpha)
        if estimator not in ("straight_through", "score_function"):
            raise ValueError(
                "estimator must be 'straight_through' or 'score_function', "
                f"got {estimator!r}"
            )
        self.estimator = estimator
        self.log_alpha = self.new_parameter(log_alpha)
        self.last: Tensor | None = None

    def z(self) -> Tensor:
        pi = self.log_alpha.sigmoid()
        self.last = torch.bernoulli(pi.detach())
        if self.estimator == "straight_through":
            return straight_through(self.last, pi)
        return self.last

    def z_hat(self) -> Tensor:
        return (self.log_alpha > 0).to(self.log_alpha.dtype)

    def probability(self) -> Tensor:
        return self.log_alpha.sigmoid()


def score_function_term(
    loss: Tensor, model: nn.Module, baseline: float | Tensor = 0.0
) -> Tensor:
    r""":math:`(\mathcal L - b) \log p(z)`: its gradient is REINFORCE's.

    Add it to the loss of a model with :class:`Bernoulli` gates right after the forward
    pass. Its value means nothing. Every look at a gated weight draws a new sample, and
    the term is that of the last one: between the pass and this call no gated weight may
    be read, and in the pass each only once.

    Args:
        loss: the loss of the masks just drawn.
        model: with at least one gate of estimator ``"score_function"``.
        baseline: b, which must not depend on those masks.

    Raises:
        ValueError: no such gate, or no forward pass in training mode yet.
    """
    drawn = [
        (g.last, g.log_alpha)
        for g in gates(model).values()
        if isinstance(g, Bernoulli) and g.estimator == "score_function"
    ]
    if not drawn or any(last is None for last, _ in drawn):
        raise ValueError(
            "model must have Bernoulli gates of estimator 'score_function', and a "
            "forward pass in training mode behind it"
        )
    log_p = sum(
        log_probability(last.flatten(), log_alpha.flatten())
        for last, log_alpha in drawn
        if last is not None
    )
    return (loss.detach() - baseline) * log_p
