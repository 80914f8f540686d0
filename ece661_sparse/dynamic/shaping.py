r"""Batch shaping: a loss that pulls the openings of a gate towards Beta(a, b).

torch has the density of the Beta distribution, but not its distribution function,
which ``beta_cdf`` adds.

Bejnordi, Blankevoort and Welling, "Batch-shaping for learning conditional channel gated
networks", ICLR 2020.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ece661_sparse.core.arguments import check_number, check_tensor

_DEPTH = 32  # of the continued fraction: 12 digits up to the largest shape
_LARGEST_SHAPE = 10


def beta_cdf(x: Tensor, a: float = 0.6, b: float = 0.4) -> Tensor:
    r"""The distribution function of Beta(a, b), differentiable in x.

    .. math:: F(x) = I_x(a, b) = \frac{1}{B(a, b)} \int_0^x t^{a-1} (1-t)^{b-1}\,dt

    by its continued fraction, on whichever of :math:`I_x(a, b)` and
    :math:`1 - I_{1-x}(b, a)` it converges fast. The derivative is the density, exactly;
    where that is infinite (at 0 and 1, for shapes below 1) its value one rounding error
    further in is used. Half precision is computed in single.

    Args:
        x: between 0 and 1; values outside count as the nearer end.
        a, b: shapes, in (0, 10].

    Raises:
        ValueError: a shape outside its range, or x not floating point.
    """
    check_tensor("x", x)
    check_number("a", a, above=0, at_most=_LARGEST_SHAPE)
    check_number("b", b, above=0, at_most=_LARGEST_SHAPE)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return _BetaCDF.apply(wide, a, b).to(x.dtype)


class _BetaCDF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a: float, b: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.shapes = a, b
        x = x.clamp(0, 1)
        mirrored = x > (a + 1) / (a + b + 2)
        front = _power_product(x, a, b) / _beta_function(a, b)
        y = torch.where(mirrored, 1 - x, x)
        here = front / (a * _continued_fraction(y, a, b))
        there = 1 - front / (b * _continued_fraction(y, b, a))
        return torch.where(mirrored, there, here)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        a, b = ctx.shapes
        info = torch.finfo(x.dtype)
        inside = x.clamp(info.tiny, 1 - info.eps / 2)
        density = _power_product(inside, a - 1, b - 1) / _beta_function(a, b)
        return grad * density, None, None


def _power_product(x: Tensor, a: float, b: float) -> Tensor:
    return x**a * (1 - x) ** b


def _beta_function(a: float, b: float) -> float:
    return math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))


def _continued_fraction(x: Tensor, a: float, b: float) -> Tensor:
    r""":math:`1 + d_1/(1 + d_2/(1 + \dots))` from its tail.

    Abramowitz and Stegun, equation 26.5.8.
    """
    fraction = torch.ones_like(x)
    for k in range(_DEPTH, 0, -1):
        m, odd = divmod(k, 2)
        d = -(a + m) * (a + b + m) / (a + k) if odd else m * (b - m) / (a + k - 1)
        d /= a + (k - 1 if odd else k)
        fraction = 1 + d * x / fraction
    return fraction


def batch_shaping(p: Tensor, a: float = 0.6, b: float = 0.4) -> Tensor:
    r"""How far each gate's openings over a batch are from Beta(a, b).

    With :math:`p_{(i)}` the i-th smallest of the N values of a gate,

    .. math:: \frac1N \sum_{i=1}^{N} \Big( \frac{i}{N+1} - F(p_{(i)}) \Big)^2,

    a Cramér-von Mises distance. Beta(0.6, 0.4) is a valley with walls at 0 and 1: a
    gate that says the same to every image is pulled apart, into images it is sure to
    open for and images it is sure to close for.

    Args:
        p: opening probabilities ``(N, ...)``, the batch first.
        a, b: shapes of the Beta distribution.

    Returns:
        One number for each gate, of shape ``p.shape[1:]``: 0 if the values are the
        quantiles :math:`i/(N+1)`, near 1/3 if all are 0 or all are 1.

    Raises:
        ValueError: a shape outside (0, 10], an empty batch, or p not floating point.
    """
    check_tensor("p", p)
    if p.ndim == 0 or len(p) == 0:
        raise ValueError(f"p must have a batch of images first, got {tuple(p.shape)}")
    n = len(p)
    # in the dtype of p, or at least single: bfloat16 cannot tell 255/257 from 1
    ordered = beta_cdf(p.float() if p.element_size() < 4 else p, a, b).sort(0).values
    i = torch.arange(1, n + 1, device=p.device, dtype=ordered.dtype)
    target = (i / (n + 1)).view(n, *(1,) * (p.ndim - 1))
    return (target - ordered).square().mean(0).to(p.dtype)
