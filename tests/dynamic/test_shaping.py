"""Beta's distribution function against SciPy's, and batch shaping."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import betainc

from ece661_sparse.dynamic import batch_shaping, beta_cdf

DOUBLE = {"dtype": torch.float64}
SHAPES = [(0.6, 0.4), (0.1, 0.1), (0.5, 2), (3, 0.2), (1, 1), (2, 5), (10, 10)]
each_shape = pytest.mark.parametrize(("a", "b"), SHAPES)


def uniform(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), **DOUBLE)


@each_shape
def test_beta_cdf_is_scipys(a, b):
    ends = torch.logspace(-30, -2, 30, **DOUBLE)
    x = torch.cat([torch.linspace(0, 1, 501, **DOUBLE), ends, 1 - ends])
    for at, close in ((x, 1e-11), (x.float(), 1e-6)):
        found = beta_cdf(at, a, b)
        assert found.dtype == at.dtype
        expected = betainc(a, b, at.double().numpy())
        np.testing.assert_allclose(found.numpy(), expected, atol=close)


@each_shape
def test_its_derivative_is_the_density(a, b):
    x = torch.linspace(0.001, 0.999, 41, **DOUBLE).requires_grad_()
    beta_cdf(x, a, b).sum().backward()
    expected = stats.beta(a, b).pdf(x.detach().numpy())
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12)
    assert torch.autograd.gradcheck(lambda x: beta_cdf(x, a, b), x, rtol=1e-2)


def test_closed_forms_of_the_beta_cdf():
    x = torch.linspace(0, 1, 101, **DOUBLE)
    torch.testing.assert_close(beta_cdf(x, 1, 1), x)  # uniform
    arcsine = 2 / math.pi * x.sqrt().asin()
    torch.testing.assert_close(beta_cdf(x, 0.5, 0.5), arcsine)
    torch.testing.assert_close(beta_cdf(x, 0.6, 0.4), 1 - beta_cdf(1 - x, 0.4, 0.6))
    assert beta_cdf(torch.tensor([-1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 1, 1]


def test_saturated_gates_get_finite_gradients():
    log_alpha = torch.tensor([-200.0, -20, 0, 20, 200], requires_grad=True)
    batch_shaping(torch.sigmoid(log_alpha)).backward()
    assert log_alpha.grad.isfinite().all()
    p = torch.tensor([0.0, 1.0], requires_grad=True)
    beta_cdf(p).sum().backward()
    assert p.grad.isfinite().all() and (p.grad > 1).all()


@pytest.mark.parametrize(("a", "b"), [(0.6, 0.4), (2, 5)])
@pytest.mark.parametrize("n", [1, 10, 257])
def test_batch_shaping_is_zero_at_the_quantiles(a, b, n):
    quantiles = stats.beta(a, b).ppf(np.arange(1, n + 1) / (n + 1))
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(quantiles))
    assert batch_shaping(shuffled, a, b).item() == pytest.approx(0, abs=1e-20)
    assert batch_shaping(shuffled + 0.01, a, b).item() > 1e-6


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_batch_shaping_of_a_gate_that_never_changes(constant):
    p = torch.full((50, 3), constant, **DOUBLE)
    torch.testing.assert_close(batch_shaping(p), torch.full((3,), 101 / 306, **DOUBLE))


def test_batch_shaping_gate_by_gate():
    p = uniform(20, 2, 3)
    cdf = stats.beta(0.6, 0.4).cdf(np.sort(p.numpy(), axis=0))
    target = np.arange(1, 21).reshape(-1, 1, 1) / 21
    expected = ((target - cdf) ** 2).mean(0)
    np.testing.assert_allclose(batch_shaping(p).numpy(), expected, rtol=1e-6)
    assert torch.autograd.gradcheck(batch_shaping, uniform(7, 3).requires_grad_())


def test_batch_shaping_pulls_a_constant_gate_apart():
    """Descent on log alpha ends with the histogram of Beta(0.6, 0.4)."""
    noise = torch.randn(99, 1, generator=torch.Generator().manual_seed(0), **DOUBLE)
    log_alpha = (2 + 0.01 * noise).requires_grad_()
    optimizer = torch.optim.Adam([log_alpha], lr=0.1)
    start = batch_shaping(torch.sigmoid(log_alpha)).item()
    for _ in range(400):
        optimizer.zero_grad()
        loss = batch_shaping(torch.sigmoid(log_alpha)).sum()
        loss.backward()
        optimizer.step()
    assert start > 0.05 and loss.item() < 1e-4
    share = (log_alpha > 0).double().mean().item()
    assert share == pytest.approx(1 - betainc(0.6, 0.4, 0.5), abs=0.03)


def test_half_precision_is_shaped_in_single():
    p = uniform(300, 2).bfloat16()
    half, exact = batch_shaping(p), batch_shaping(p.double())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), exact, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("function", [beta_cdf, batch_shaping])
def test_refusals(function):
    p = torch.rand(3)
    for call, message in (
        (partial(function, p, 0.0), "a must be .*> 0 and <= 10.* got a=0.0"),
        (partial(function, p, 0.6, -1), "b must be .*> 0.* got b=-1"),
        (partial(function, p, 0.6, 11), "b must be .*<= 10.* got b=11"),
        (partial(function, p.long()), "must be a floating point tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("p", [torch.tensor(0.5), torch.rand(0, 3)])
def test_batch_shaping_needs_a_batch(p):
    with pytest.raises(ValueError, match="p must have a batch of images first"):
        batch_shaping(p)
