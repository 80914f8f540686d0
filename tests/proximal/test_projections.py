"""Projections against every subset, sorting, scipy's solvers and their conditions."""

import math
from functools import cache
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ece661_sparse.proximal import projections
from ece661_sparse.proximal.projections import project_capped_simplex, project_top_n

F64 = torch.float64


def noise(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def sorted_top_n(x, n):
    """The oracle: a stable sort, so that of equal magnitudes the first ones stay."""
    keep = x.flatten().abs().argsort(descending=True, stable=True)[:n]
    result = torch.zeros_like(x.flatten())
    result[keep] = x.flatten()[keep]
    return result.view(x.shape)


# --- keep n -----------------------------------------------------------------------


@pytest.mark.parametrize("n", range(7))
def test_no_subset_is_nearer(n):
    x = noise(6, dtype=F64)
    z = project_top_n(x, n)
    assert z.count_nonzero() == n
    distances = []
    for kept in combinations(range(6), n):
        other = torch.zeros(6, dtype=F64)
        other[list(kept)] = x[list(kept)]
        distances.append((other - x).norm())
    assert (z - x).norm() == min(distances)


small_numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(small_numbers, st.data())
def test_ties_and_zeros(values, data):
    """Few different magnitudes: nearly every threshold is a tie."""
    x = torch.tensor(values, dtype=torch.float32)
    n = data.draw(st.integers(0, len(values)))
    expected = sorted_top_n(x, n)
    assert torch.equal(project_top_n(x, n), expected)
    recorded = project_top_n(x.clone().requires_grad_(), n)  # the path of a GPU
    assert torch.equal(recorded, expected)
    cut = len(values) // 2
    parts = project_top_n([x[:cut], x[cut:]], n)
    assert torch.equal(torch.cat(parts), expected)


def distributions(size):
    x = noise(size)
    half = torch.where(noise(size, seed=1) > 0, x, 0)
    return {
        "normal": x,
        "mostly zeros": torch.where(noise(size, seed=1) > 1.3, x, 0),
        "half zeros": half,
        "all zeros": torch.zeros(size),
        "constant": torch.full((size,), -0.3),
        "two values": torch.where(x > 1, 2.0, -0.5),
        "rounded": (x * 8).round() / 8,
        "sorted": x.sort().values,
        "one large": torch.cat([torch.tensor([1e30]), torch.zeros(size - 1)]),
        "in step with the sample": torch.where(
            torch.arange(size) % projections.STRIDE == 0, 5.0, 0.1
        ),
        "subnormal": x * 1e-42,
        "with infinities": torch.where(x > 2, torch.inf, x),
    }


SIZE = 2 * projections.SMALL + 11
LARGE = distributions(SIZE)


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("share", [0, 1e-5, 0.01, 0.1, 0.5, 0.9, 1])
def test_large_tensors_equal_a_stable_sort(name, share):
    """A sample guesses the threshold; the result is exact for every distribution."""
    x, n = LARGE[name], int(share * SIZE)
    expected = sorted_top_n(x, n)
    assert torch.equal(project_top_n(x, n), expected)
    work = x.clone()
    assert project_top_n(work, n, out=work) is work
    assert torch.equal(work, expected)


def test_one_ranking_for_several_tensors():
    tensors = [noise(30, 40), 100 * noise(5), noise(0, 3), noise(7, 2, 3).double()]
    flat = torch.cat([t.flatten().double() for t in tensors])
    results = project_top_n(tensors, 200)
    assert isinstance(results, list)
    assert [r.shape for r in results] == [t.shape for t in tensors]
    assert [r.dtype for r in results] == [t.dtype for t in tensors]
    assert torch.equal(
        torch.cat([r.flatten().double() for r in results]), sorted_top_n(flat, 200)
    )
    assert results[1].all()  # the large layer keeps everything
    copies = [t.clone() for t in tensors]
    for result, target in zip(
        project_top_n(copies, 200, out=copies), copies, strict=True
    ):
        assert result is target
    assert all(map(torch.equal, copies, results))
    assert project_top_n([], 0) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [0, 10, 500, 999])
def test_half_precision_has_many_ties(dtype, n):
    x = noise(1000, dtype=dtype)
    assert torch.equal(project_top_n(x, n), sorted_top_n(x, n))


def test_any_layout():
    base = (noise(8, 6, 5) * 4).round() / 4
    for view in (
        lambda t: t.transpose(0, 2),
        lambda t: t[::2, 1:],
        lambda t: t[0, 0, 0],
    ):
        expected = sorted_top_n(view(base), view(base).numel() // 2)
        n = view(base).numel() // 2
        assert torch.equal(project_top_n(view(base), n), expected)
        work = base.clone()
        part = view(work)
        assert project_top_n(part, n, out=part) is part
        assert torch.equal(part, expected)
        untouched = torch.ones_like(base)
        view(untouched).zero_()
        assert torch.equal(work * untouched, base * untouched)
    assert project_top_n(torch.empty(0), 0).shape == (0,)


def test_top_n_is_differentiable():
    x = noise(9, dtype=F64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: project_top_n(x, 4), x)


def test_top_n_on_the_meta_device():
    x = torch.empty(4, 5, device="meta", requires_grad=True)
    project_top_n(x, 3).sum().backward()
    assert x.grad.is_meta
    plain = [torch.empty(4, device="meta"), torch.empty(2, 2, device="meta")]
    assert [r.shape for r in project_top_n(plain, 8)] == [(4,), (2, 2)]
    assert project_top_n(plain, 0, out=plain)[1] is plain[1]


@pytest.mark.parametrize("n", [-1, 7, 2.5, True, float("nan"), "3"])
def test_top_n_refuses_counts(n):
    with pytest.raises(ValueError, match=rf"n must be .* >= 0 and <= 6, got n={n!r}"):
        project_top_n(torch.ones(6), n)


@pytest.mark.parametrize("size", [3, 1000, SIZE])
@pytest.mark.parametrize("share", [0, 1e-3, 0.5, 0.999])
def test_top_n_refuses_nan_on_every_path(share, size):
    x, n = noise(size), math.ceil(share * size)
    x[size // 2 + 1] = float("nan")
    before = x.clone()
    with pytest.raises(ValueError, match="x must not contain NaN"):
        project_top_n(x, n, out=x)
    assert torch.equal(x.nan_to_num(9), before.nan_to_num(9))  # nothing half done
    with pytest.raises(ValueError, match="x must not contain NaN"):
        project_top_n(x.requires_grad_(), n)


def test_top_n_refuses_tensors():
    with pytest.raises(ValueError, match=r"x must be a floating point tensor.*int64"):
        project_top_n(torch.arange(3), 1)
    with pytest.raises(ValueError, match="out must have the shape, dtype and device"):
        project_top_n(torch.ones(3), 1, out=torch.ones(4))
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        project_top_n([torch.ones(3)], 1, out=[])


# --- capped simplex ---------------------------------------------------------------


def by_bisection(z, total):
    """The oracle: halving in float64 until ν stands still, over all entries."""
    z = z.double()
    low, high = (z.min() - 1).item(), z.max().item()
    while low < (nu := (low + high) / 2) < high:
        low, high = (nu, high) if (z - nu).clamp_(0, 1).sum() > total else (low, nu)
    return (z - nu).clamp(0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_capped_simplex_against_a_quadratic_program(seed):
    rng = np.random.default_rng(seed)
    z, total = rng.normal(0, 1, 8), rng.uniform(0, 8)
    solution = minimize(
        lambda w: ((w - z) ** 2).sum(),
        np.full(8, total / 8),
        jac=lambda w: 2 * (w - z),
        bounds=[(0, 1)] * 8,
        constraints={"type": "eq", "fun": lambda w: w.sum() - total},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    w = project_capped_simplex(torch.from_numpy(z), total).numpy()
    np.testing.assert_allclose(w, solution.x, atol=1e-6)
    assert ((w - z) ** 2).sum() <= solution.fun + 1e-9


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_optimality_conditions(values, share):
    """One ν explains all: w = 0 where z < ν, w = 1 where z > 1 + ν, else z − w = ν."""
    z = torch.tensor(values, dtype=F64)
    total = share * len(values)
    w = project_capped_simplex(z, total)
    assert ((w >= 0) & (w <= 1)).all()
    assert w.sum().item() == pytest.approx(total, abs=1e-12 * len(values))
    inside = (w > 0) & (w < 1)
    if inside.any():
        nu = (z - w)[inside]
        torch.testing.assert_close(nu, nu[:1].expand_as(nu), rtol=0, atol=1e-12)
    lowest = (z - w)[w > 0].amin() if (w > 0).any() else torch.inf
    highest = (z - w)[w < 1].amax() if (w < 1).any() else -torch.inf
    assert highest <= lowest + 1e-12  # moving weight to another entry cannot help


@cache
def gates(size, dtype):
    z = noise(size, dtype=dtype)
    return {
        "normal": z,
        "uniform": torch.rand(size, generator=torch.Generator().manual_seed(0)).to(
            dtype
        ),
        "wide": 1e4 * z,
        "narrow": 1e-4 * z,
        "constant": torch.full((size,), 0.3, dtype=dtype),
        "far away": z + 1e4,
        "two values": torch.where(z > 0.3, 2.0, -3.0).to(dtype),
        "sorted": z.sort().values,
    }


@pytest.mark.parametrize("name", gates(1, F64))
@pytest.mark.parametrize("share", [1e-3, 0.1, 0.5, 0.9, 1 - 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("size", [1, 7, 1000, SIZE])
def test_capped_simplex_against_bisection(name, share, dtype, size):
    z, total = gates(size, dtype)[name].clone(), share * size
    w = project_capped_simplex(z, total)
    expected = by_bisection(z, total)
    # sums of p numbers as large as z are rounded, and float32 subtracts in float64
    rounding = z.abs().max().item() * (size + 64) * torch.finfo(F64).eps / 2
    spacing = 2 * torch.finfo(dtype).eps + rounding
    assert (w.double() - expected).abs().max() <= spacing
    error = abs(w.double().sum().item() - total) / total
    largest = 1e-9 if dtype == F64 else 6e-8
    if dtype == torch.float32 and size == SIZE and name in ("normal", "uniform"):
        largest = 1e-8
    assert error <= largest
    target = torch.empty_like(z)
    assert project_capped_simplex(z, total, out=target) is target
    assert torch.equal(target, w)
    assert torch.equal(project_capped_simplex(z, total, out=z), w)


def test_known_solutions():
    constant = project_capped_simplex(torch.full((10,), 7.0), 3)
    torch.testing.assert_close(constant, torch.full((10,), 0.3))
    z = noise(50)
    assert project_capped_simplex(z, 0).count_nonzero() == 0
    assert torch.equal(project_capped_simplex(z, 50), torch.ones(50))
    far = project_capped_simplex(1e3 * z, 20)
    order = z.argsort(descending=True)
    assert torch.equal(far[order[:20]], torch.ones(20))  # the indicator of the largest
    assert far[order[20:]].count_nonzero() == 0
    once = project_capped_simplex(z.double(), 20.5)
    torch.testing.assert_close(project_capped_simplex(once, 20.5), once)


def test_capped_simplex_for_tensors_of_any_kind():
    z = noise(6, 5, 4)
    w = project_capped_simplex(z, 30)
    assert torch.equal(
        project_capped_simplex(z.permute(2, 0, 1), 30).permute(1, 2, 0), w
    )
    strided = torch.empty(4, 6, 5).permute(1, 2, 0)
    project_capped_simplex(z, 30, out=strided)
    assert torch.equal(strided, w)
    for dtype in (torch.bfloat16, torch.float16):
        half = z.to(dtype)
        expected = project_capped_simplex(half.double(), 30).to(dtype)
        assert torch.equal(project_capped_simplex(half, 30), expected)
        assert torch.equal(project_capped_simplex(half, 30, out=half), expected)
    scalar = project_capped_simplex(torch.tensor(3.0), 0.25)
    assert scalar.shape == () and scalar == 0.25
    assert project_capped_simplex(torch.empty(0, 2), 0).shape == (0, 2)


def test_capped_simplex_is_differentiable():
    z = noise(20, dtype=F64).requires_grad_()
    w = project_capped_simplex(z, 3.3)
    assert ((w > 0) & (w < 1)).sum() >= 3 and (w == 0).any()
    assert torch.autograd.gradcheck(lambda z: project_capped_simplex(z, 3.3), z)


def test_capped_simplex_on_the_meta_device():
    z = torch.empty(4, 5, device="meta", requires_grad=True)
    project_capped_simplex(z, 3).sum().backward()
    assert z.grad.is_meta
    plain = torch.empty(7, device="meta", dtype=torch.bfloat16)
    assert project_capped_simplex(plain, 3).dtype == torch.bfloat16
    assert project_capped_simplex(plain, 3, out=plain) is plain


@pytest.mark.parametrize("total", [-0.1, 6.1, float("nan"), float("inf"), "3"])
def test_capped_simplex_refuses_totals(total):
    message = rf"total must be .* >= 0 and <= 6, got total={total!r}"
    with pytest.raises(ValueError, match=message):
        project_capped_simplex(torch.ones(6), total)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_capped_simplex_refuses_entries(bad):
    z = torch.tensor([0.1, bad, 0.3])
    with pytest.raises(ValueError, match="z must be finite"):
        project_capped_simplex(z, 1.5, out=z)
    assert z[0] == 0.1  # nothing half done
    with pytest.raises(ValueError, match=r"z must be a floating point tensor.*int64"):
        project_capped_simplex(torch.arange(3), 1)
    with pytest.raises(ValueError, match="out must have the shape"):
        project_capped_simplex(torch.ones(3), 1, out=torch.ones(3).double())


# --- at full size, and for parameters -----------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.9])
@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_the_sum_of_a_million_float32(share, scale):
    z = scale * noise(1_000_000)
    total = share * len(z)
    w = project_capped_simplex(z, total)
    assert ((w >= 0) & (w <= 1)).all()
    assert w.sum(dtype=F64).item() == pytest.approx(total, rel=2e-8)
    again = project_capped_simplex(w, total)  # a projection: once is enough
    torch.testing.assert_close(again, w, rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    "project", [lambda w, out: project_top_n(w, 9, out=out),
                lambda w, out: project_capped_simplex(w, 9, out=out)],
    ids=["top_n", "capped_simplex"],
)  # fmt: skip
def test_parameters_are_overwritten_without_a_graph(project):
    w = torch.nn.Parameter(noise(5, 8))
    expected = project(w.detach(), None)
    assert project(w, w) is w
    assert torch.equal(w, expected) and w.is_leaf and w.requires_grad
