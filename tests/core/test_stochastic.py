"""Draws with a gradient: values to the last bit, noise that is finite."""

import pytest
import torch
from scipy import stats

from ece661_sparse.core import logistic_noise, straight_through

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@each_dtype
def test_forwards_the_hard_value_backwards_the_soft_gradient(dtype):
    generator = torch.Generator().manual_seed(0)
    s, direction = torch.randn(2, 1000, generator=generator).to(dtype)
    soft = torch.sigmoid(s.requires_grad_())
    hard = (s > 0).to(dtype)
    z = straight_through(hard, soft)
    assert torch.equal(z, hard)
    grads = [torch.autograd.grad(y, s, direction, retain_graph=True) for y in (z, soft)]
    assert torch.equal(*map(torch.stack, grads))


def test_the_noise_is_logistic():
    generator = torch.Generator().manual_seed(0)
    noise = logistic_noise(torch.empty(20_000), generator)
    assert stats.kstest(noise.numpy(), "logistic").pvalue > 0.01


@each_dtype
def test_the_noise_has_the_shape_and_at_least_single_precision(dtype):
    like = torch.zeros(30, 40, dtype=dtype)
    one, two = (logistic_noise(like, torch.Generator().manual_seed(1)) for _ in "12")
    assert one.shape == like.shape and torch.equal(one, two)
    assert one.dtype == torch.promote_types(dtype, torch.float32)
    assert len(one.unique()) > 1190  # bfloat16 has about 250 values of u
    assert logistic_noise(like.to("meta")).is_meta
    torch.manual_seed(1)  # without a generator torch's global one
    assert torch.equal(logistic_noise(like), one)


@pytest.mark.parametrize("u", [0.0, 1.0])
@each_dtype
def test_the_ends_of_the_noise_are_finite_and_alike(u, dtype, monkeypatch):
    monkeypatch.setattr(
        torch, "rand", lambda shape, **kind: torch.full(shape, u, dtype=kind["dtype"])
    )
    noise = logistic_noise(torch.zeros(3, dtype=dtype))
    assert noise.isfinite().all()
    assert (noise.sign() == 2 * u - 1).all()
