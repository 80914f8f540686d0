"""Projections against every subset, sorting, scipy's solvers and their conditions."""

import math
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
def test_large_tensors_equal_a_stable_sort(name):
    """A sample guesses the threshold; the result is exact for every distribution."""
    x = LARGE[name]
    for n in (0, 2, SIZE // 100, SIZE // 10, SIZE // 2, SIZE - SIZE // 10, SIZE):
        expected, work = sorted_top_n(x, n), x.clone()
        assert torch.equal(project_top_n(x, n), expected)
        assert project_top_n(work, n, out=work) is work
        assert torch.equal(work, expected)


def test_one_ranking_for_several_tensors():
    tensors = [noise(30, 40), 100 * noise(5), noise(0, 3), noise(7, 2, 3).double()]
    results = project_top_n(tensors, 200)
    assert isinstance(results, list)
    for result, x in zip(results, tensors, strict=True):
        assert (result.shape, result.dtype) == (x.shape, x.dtype)
    flat = torch.cat([t.flatten().double() for t in tensors])
    cut = torch.cat([r.flatten().double() for r in results])
    assert torch.equal(cut, sorted_top_n(flat, 200))
    assert results[1].all()  # the large layer keeps everything
    copies = [t.clone() for t in tensors]
    written = project_top_n(copies, 200, out=copies)
    assert all(a is b for a, b in zip(written, copies, strict=True))
    assert all(map(torch.equal, copies, results))
    assert project_top_n([], 0) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_many_ties(dtype):
    x = noise(1000, dtype=dtype)
    for n in (0, 10, 500, 999):
        assert torch.equal(project_top_n(x, n), sorted_top_n(x, n))


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
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("size", [1, 7, 1000, SIZE])
def test_capped_simplex_against_bisection(name, dtype, size):
    z = gates(size, dtype)[name]
    # sums of p numbers as large as z are rounded, and float32 subtracts in float64
    rounding = z.abs().max().item() * (size + 64) * torch.finfo(F64).eps / 2
    spacing = 2 * torch.finfo(dtype).eps + rounding
    largest = 1e-9 if dtype == F64 else 6e-8
    if dtype == torch.float32 and size == SIZE and name in ("normal", "uniform"):
        largest = 1e-8
    for share in (1e-3, 0.1, 0.5, 0.9, 1 - 1e-3):
        total = share * size
        w = project_capped_simplex(z, total)
        assert (w.double() - by_bisection(z, total)).abs().max() <= spacing
        assert abs(w.double().sum().item() - total) / total <= largest
        target, work = torch.empty_like(z), z.clone()
        assert project_capped_simplex(z, total, out=target) is target
        assert torch.equal(target, w)
        assert torch.equal(project_capped_simplex(work, total, out=work), w)


def test_known_solutions():
    assert project_capped_simplex(torch.tensor(3.0), 0.25) == 0.25
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_capped_simplex_in_half_precision_is_rounded_once(dtype):
    half = noise(6, 5, 4, dtype=dtype)
    expected = project_capped_simplex(half.double(), 30).to(dtype)
    assert torch.equal(project_capped_simplex(half, 30), expected)
    assert torch.equal(project_capped_simplex(half, 30, out=half), expected)


@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_the_sum_of_a_million_float32(scale):
    z = scale * noise(1_000_000)
    for total in (0.01 * len(z), 0.9 * len(z)):
        w = project_capped_simplex(z, total)
        assert ((w >= 0) & (w <= 1)).all()
        assert w.sum(dtype=F64).item() == pytest.approx(total, rel=2e-8)
        again = project_capped_simplex(w, total)  # a projection: once is enough
        torch.testing.assert_close(again, w, rtol=0, atol=3e-7)


# --- both -------------------------------------------------------------------------

both = pytest.mark.parametrize("project", [project_top_n, project_capped_simplex])


@both
def test_any_layout(project):
    base = (noise(8, 6, 5) * 4).round() / 4
    for view in (
        lambda t: t.transpose(0, 2),
        lambda t: t[::2, 1:],
        lambda t: t[0, 0, 0],
    ):
        x, work, untouched = view(base), base.clone(), torch.ones_like(base)
        n = x.numel() // 2
        expected = project(x.contiguous(), n)
        strided = torch.empty((*x.shape, 2))[..., 0]
        part = view(work)
        for result in (project(x, n), project(x, n, out=strided), strided):
            assert torch.equal(result, expected)
        assert project(part, n, out=part) is part
        assert torch.equal(part, expected)
        view(untouched).zero_()
        assert torch.equal(work * untouched, base * untouched)
    assert project(torch.empty(0, 2), 0).shape == (0, 2)
    assert project(torch.tensor(3.0), 1).shape == ()


@both
def test_parameters_are_overwritten_without_a_graph(project):
    w = torch.nn.Parameter(noise(5, 8))
    expected = project(w.detach(), 9)
    assert project(w, 9, out=w) is w
    assert torch.equal(w, expected) and w.is_leaf and w.requires_grad


@both
def test_they_are_differentiable(project):
    x = noise(20, dtype=F64).requires_grad_()
    z = project(x, 3)
    assert (z != 0).sum() >= 3 and (z == 0).any()
    assert project is project_top_n or ((z > 0) & (z < 1)).sum() >= 3
    assert torch.autograd.gradcheck(lambda x: project(x, 3), x)


@both
def test_the_meta_device(project):
    x = torch.empty(4, 5, device="meta", requires_grad=True)
    project(x, 3).sum().backward()
    assert x.grad.is_meta
    plain = torch.empty(7, device="meta", dtype=torch.bfloat16)
    assert project(plain, 3).dtype == torch.bfloat16
    assert project(plain, 3, out=plain) is plain
    assert [r.shape for r in project_top_n([plain, x], 8)] == [(7,), (4, 5)]


@both
def test_they_refuse_other_tensors(project):
    with pytest.raises(ValueError, match=r"[xz] must be a floating point .*int64"):
        project(torch.arange(3), 1)
    for out in (torch.ones(4), torch.ones(3, dtype=F64)):
        with pytest.raises(ValueError, match="out must have the shape, dtype and dev"):
            project(torch.ones(3), 1, out=out)
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        project_top_n([torch.ones(3)], 1, out=[])
