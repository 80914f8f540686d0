"""Operators against exact arithmetic, at the edges of their valid ranges."""

from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from ece661_sparse.proximal import (
    prox_firm,
    prox_lq,
    prox_mcp,
    prox_q_shrinkage,
    prox_scad,
)

F64 = torch.float64
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, F64])


def exact_firm(x, threshold, mu):
    size = abs(x)
    if size > mu:
        return x
    y = max(size - threshold, Fraction(0)) * mu / (mu - threshold)
    return y if x > 0 else -y


def exact_scad(x, lam, a, step):
    size = abs(x)
    if size > a * lam:
        return x
    if size <= (1 + step) * lam:
        y = max(size - step * lam, Fraction(0))
    else:
        y = ((a - 1) * size - a * step * lam) / (a - 1 - step)
    return y if x > 0 else -y


@both_dtypes
@pytest.mark.parametrize("edge", [1, 1e-1, 1e-3, 1e-6, 1e-9, 1e-15])
@pytest.mark.parametrize("step", [0.1, 0.3, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("kind", ["mcp", "firm", "scad"])
def test_steep_slopes_stay_accurate(kind, step, edge, dtype):
    """The result is the exact one for an x that is at most a few roundings away.

    With a slope of a million more cannot be asked for. A sum of soft thresholds, whose
    rounding errors are multiplied by the slope, fails far from the knots. At the
    smallest edges the last two knots round to one number: a jump is left.
    """
    eps = torch.finfo(dtype).eps
    for lam in (0.1, 0.7, 3.0):
        if kind == "scad":
            a = max(2, 1 + step) + edge
            exact = partial(
                exact_scad, lam=Fraction(lam), a=Fraction(a), step=Fraction(step)
            )
            last, ours = a * lam, partial(prox_scad, lam=lam, a=a, step=step)
        else:
            gamma = max(1, step) * (1 + edge)
            last = gamma * lam
            exact = partial(
                exact_firm,
                threshold=Fraction(step) * Fraction(lam),
                mu=Fraction(gamma) * Fraction(lam),
            )
            ours = partial(prox_mcp, lam=lam, gamma=gamma, step=step)
            if kind == "firm":
                ours = partial(prox_firm, lam=lam, mu=last, step=step)
        near = last * (1 + torch.linspace(-3e-6, 2e-6, 101, dtype=F64))
        # neighbouring numbers: in float32 there are only a few between two knots
        knots = torch.tensor([[step * lam], [last]], dtype=F64)
        near = torch.cat([near, (knots * (1 + eps * torch.arange(-9, 10))).flatten()])
        far = last * torch.tensor([1.1, 3.0, 1e3, 1e6, 1e20], dtype=F64)
        inside = last * torch.linspace(0, 1, 20, dtype=F64)
        x = torch.cat([near, far, inside]).to(dtype).sort().values
        z = ours(x)
        assert torch.equal(ours(-x), -z)
        beyond = x > last * (1 + 2 * eps)
        assert torch.equal(z[beyond], x[beyond])
        assert (z >= 0).all() and (z.diff() >= -8 * eps * last).all()
        for value, result in zip(x.tolist(), z.tolist(), strict=True):
            around = [exact(Fraction(value) * (1 + k * Fraction(eps))) for k in (-4, 4)]
            slack = 4 * Fraction(eps) * abs(Fraction(value))
            assert around[0] - slack <= Fraction(result) <= around[1] + slack


@both_dtypes
@pytest.mark.parametrize("q", [0.01, 0.1, 0.3, 0.5, 0.51, 2 / 3, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("c", [0.01, 0.5, 2.0])
def test_lq_is_accurate(q, c, dtype):
    """The root is close on both sides, with forty digits: h rises from β on."""
    beta = (2 * c * (1 - q)) ** (1 / (2 - q))
    tau = beta * (2 - q) / (2 - 2 * q)
    close = tau * (1 + torch.logspace(-6, 0, 9, dtype=F64))
    x = torch.cat([close, tau + torch.tensor([3.0, 50.0])]).to(dtype)
    error = Decimal("1e-12" if dtype == F64 else "1e-6")
    recorded = prox_lq(x.clone().requires_grad_(), c, q).detach()
    with localcontext() as context:
        context.prec = 40
        c_, q_ = Decimal(c), Decimal(q)
        for result in (prox_lq(x, c, q), recorded):
            for t, y in zip(x.tolist(), map(Decimal, result.tolist()), strict=True):
                below, above = y * (1 - error), y * (1 + error)
                assert c_ * q_ * below ** (q_ - 1) + below <= Decimal(t)
                assert c_ * q_ * above ** (q_ - 1) + above >= Decimal(t)


@pytest.mark.parametrize("q", [0.9, 0.5, 0.0, -1.0, -4.0])
@pytest.mark.parametrize("edge", [0.5, 0.9, 1 - 1e-3, 1 - 1e-6])
def test_q_shrinkage_up_to_the_largest_step(q, edge):
    """Brute force along the curve (z(t), P(t)), which needs no equation solved."""
    lam = 0.6
    step = edge * (1 + 1 / (1 - q))
    t = lam * np.exp(np.linspace(0, 3, 200_001))
    slope = lam ** (2 - q) * t ** (q - 1)  # P'(z) at z = t − slope
    z = t - slope
    area = (slope[1:] + slope[:-1]) / 2 * np.diff(z)
    penalty = np.concatenate([[0], np.cumsum(area)])
    for x in [*np.linspace(0.05, 3, 30), step * lam * (1 + 1e-3)]:
        y = prox_q_shrinkage(torch.tensor([x], dtype=F64), lam, q, step).item()
        least = (step * penalty + (z - x) ** 2 / 2).min()
        ours = step * np.interp(y, z, penalty) + (y - x) ** 2 / 2
        assert ours <= least + 1e-8
