r"""The slides "Smoothing the discrete gate" to "Hard concrete ℓ0 regularization".

.. math::

    s &= \sigma\big((\log u - \log(1 - u) + \log\alpha)/\beta\big),
        \quad u \sim \mathcal U(0, 1) &&\text{concrete} \\
    \bar s &= s(\zeta - \gamma) + \gamma &&\text{stretched} \\
    z &= \min(1, \max(0, \bar s)) &&\text{rectified}

Two point masses, at 0 and at 1, and a density between them; samples have a gradient
with respect to :math:`\log\alpha`. The slide rectifies s, whose values never leave
(0, 1): it means :math:`\bar s`.

Louizos, Welling and Kingma, "Learning Sparse Neural Networks through L0
Regularization", ICLR 2018.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ece661_sparse.core.arguments import check_number
from ece661_sparse.core.stochastic import logistic_noise
from ece661_sparse.gates.gating import Gate

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1  # of the paper


def sample_concrete(
    log_alpha: Tensor, beta: float = BETA, *, generator: torch.Generator | None = None
) -> Tensor:
    """One s for each entry of ``log_alpha``, in [0, 1]; differentiable.

    Half precision is sampled in single, see :func:`~ece661_sparse.core.logistic_noise`.
    """
    noise = logistic_noise(log_alpha, generator)
    return noise.add_(log_alpha).div_(beta).sigmoid_()


def stretch(s: Tensor, gamma: float = GAMMA, zeta: float = ZETA) -> Tensor:
    r""":math:`\bar s = s(\zeta - \gamma) + \gamma`, from (0, 1) to (γ, ζ)."""
    return s * (zeta - gamma) + gamma


def rectify(s_bar: Tensor) -> Tensor:
    r"""The hard sigmoid :math:`\min(1, \max(0, \bar s))`; exact zeros and ones."""
    return F.hardtanh(s_bar, 0, 1)  # clamp, with a backward pass four times faster


def sample_hard_concrete(
    log_alpha: Tensor,
    beta: float = BETA,
    gamma: float = GAMMA,
    zeta: float = ZETA,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""One z for each entry of ``log_alpha``; differentiable where 0 < z < 1.

    Args:
        log_alpha: location :math:`\log\alpha`, any shape.
        beta: temperature β > 0; as it falls, z becomes binary.
        gamma: lower end γ < 0 of the stretched interval.
        zeta: upper end ζ > 1.
        generator: of the noise; None: torch's global one.

    Raises:
        ValueError: β, γ or ζ outside its range.
    """
    _check(beta, gamma, zeta)
    s = sample_concrete(log_alpha, beta, generator=generator)
    return rectify(stretch(s, gamma, zeta))


def probability_nonzero(
    log_alpha: Tensor, beta: float = BETA, gamma: float = GAMMA, zeta: float = ZETA
) -> Tensor:
    r"""The probability that a gate is not exactly 0.

    .. math:: P(z \ne 0) = 1 - Q_{\bar s}(0)
              = \sigma\big(\log\alpha - \beta \log\tfrac{-\gamma}{\zeta}\big)

    Its sum over the weights is the slide's :math:`\mathcal L_C`.
    """
    _check(beta, gamma, zeta)
    return (log_alpha - beta * math.log(-gamma / zeta)).sigmoid_()


def probability_one(
    log_alpha: Tensor, beta: float = BETA, gamma: float = GAMMA, zeta: float = ZETA
) -> Tensor:
    r"""The probability that a gate is exactly 1.

    .. math:: P(z = 1) = 1 - Q_{\bar s}(1)
              = \sigma\big(\log\alpha - \beta \log\tfrac{1 - \gamma}{\zeta - 1}\big)
    """
    _check(beta, gamma, zeta)
    return (log_alpha - beta * math.log((1 - gamma) / (zeta - 1))).sigmoid()


def z_hat(log_alpha: Tensor, gamma: float = GAMMA, zeta: float = ZETA) -> Tensor:
    r""":math:`\hat z = \min(1, \max(0, \sigma(\log\alpha)(\zeta - \gamma) + \gamma))`.

    The z of the median noise u = ½ at β = 1: exactly 0 for :math:`\log\alpha \le
    \log\frac{-\gamma}{\zeta}`, exactly 1 for :math:`\log\alpha \ge
    \log\frac{1-\gamma}{\zeta-1}`; ∓ln 11 with the paper's γ and ζ.
    """
    return rectify(stretch(log_alpha.sigmoid(), gamma, zeta))


def concrete_density(s: Tensor, log_alpha: Tensor, beta: float = BETA) -> Tensor:
    r"""Density of s on (0, 1); at β = 1, log α = 0 it is 1.

    .. math:: q(s) = \frac{\beta\,\sigma(t)\,\sigma(-t)}{s(1 - s)},
              \qquad t = \beta\operatorname{logit}(s) - \log\alpha

    for t is the logistic noise that gave s, whose distribution function is σ.
    """
    t = beta * s.logit() - log_alpha
    return beta * t.sigmoid() * (-t).sigmoid() / (s * (1 - s))


def stretched_density(
    s_bar: Tensor,
    log_alpha: Tensor,
    beta: float = BETA,
    gamma: float = GAMMA,
    zeta: float = ZETA,
) -> Tensor:
    r"""Density of :math:`\bar s` on (γ, ζ).

    On (0, 1) it is also the density of z, whose area there is
    :math:`P(z \ne 0) - P(z = 1)`; the rest sits on the two points.
    """
    s = (s_bar - gamma) / (zeta - gamma)
    return concrete_density(s, log_alpha, beta) / (zeta - gamma)


class HardConcrete(Gate):
    r"""Gates that are hard concrete while training, and :math:`\hat z` at test time.

    Args:
        weight: the tensor to gate.
        dim: see :class:`~ece661_sparse.gates.Gate`.
        log_alpha: where :math:`\log\alpha` starts; 0 gives P(z ≠ 0) = 0.83.
        beta: temperature β > 0.
        gamma: γ < 0.
        zeta: ζ > 1.

    Raises:
        ValueError: β, γ or ζ outside its range, or ``log_alpha`` not finite.
    """

    def __init__(
        self,
        weight: Tensor,
        dim: int | None = None,
        *,
        log_alpha: float = 0.0,
        beta: float = BETA,
        gamma: float = GAMMA,
        zeta: float = ZETA,
    ) -> None:
        super().__init__(weight, dim)
        check_number("log_alpha", log_alpha)
        _check(beta, gamma, zeta)
        self.beta, self.gamma, self.zeta = beta, gamma, zeta
        self.log_alpha = self.new_parameter(log_alpha)

    def z(self) -> Tensor:
        return sample_hard_concrete(self.log_alpha, self.beta, self.gamma, self.zeta)

    def z_hat(self) -> Tensor:
        return z_hat(self.log_alpha, self.gamma, self.zeta)

    def probability(self) -> Tensor:
        return probability_nonzero(self.log_alpha, self.beta, self.gamma, self.zeta)


def _check(beta: float, gamma: float, zeta: float) -> None:
    check_number("beta", beta, above=0)
    check_number("gamma", gamma, below=0)
    check_number("zeta", zeta, above=1)
