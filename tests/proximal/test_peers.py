"""The same operators in other libraries, which know nothing of this one.

A test is skipped where one of its libraries is not installed.
"""

import math

import numpy as np
import pytest
import torch

from ece661_sparse.proximal import (
    project_capped_simplex,
    project_top_n,
    prox_l0,
    prox_l1,
    prox_lq,
    prox_mcp,
    prox_scad,
)

X = np.concatenate((np.linspace(-6, 6, 403), [0.0, 100.0]))
LAM = 0.8
STEPS = (0.1, 0.5, 1.0, 1.5)
# numba and others warn about things that are not ours
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def pyproximal():
    return pytest.importorskip("pyproximal")


@pytest.fixture(scope="module")
def skglm():
    """Its scalar functions, called below as plain Python: nothing to compile."""
    return pytest.importorskip("skglm.utils.prox_funcs")


@pytest.fixture(scope="module")
def proxop():
    return pytest.importorskip("proxop")


def x():
    return torch.from_numpy(X.copy())


def assert_equal_prox(ours, theirs, atol=1e-10):
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), rtol=0, atol=atol)


def each(function, *arguments):
    return [function.py_func(entry, *arguments) for entry in X]


@pytest.mark.parametrize("step", STEPS)
def test_soft_and_hard(pyproximal, skglm, proxop, step):
    soft, hard = prox_l1(x(), LAM, step), prox_l0(x(), LAM, step)
    assert_equal_prox(soft, pyproximal.L1(sigma=LAM).prox(X.copy(), step))
    assert_equal_prox(soft, each(skglm.ST, step * LAM))
    assert_equal_prox(soft, proxop.AbsValue().prox(X.copy(), step * LAM))
    # its L0 thresholds at tau * sigma, not at sqrt(2 * tau * sigma)
    theirs = pyproximal.L0(sigma=math.sqrt(2 * step * LAM)).prox(X.copy(), 1.0)
    assert_equal_prox(hard, theirs)
    assert_equal_prox(hard, proxop.L0Norm().prox(X.copy(), step * LAM))


@pytest.mark.parametrize("step", [*STEPS, 5.0])
def test_scad(pyproximal, skglm, proxop, step):
    for a in (2.6, 3.7, 20.0):
        if a > 1 + step:
            ours = prox_scad(x(), LAM, a, step)
            assert_equal_prox(ours, pyproximal.SCAD(LAM, a).prox(X.copy(), step))
            assert_equal_prox(ours, each(skglm.prox_SCAD, step, LAM, a))
    for extra in (1e-3, 0.6, 1.7, 20.0):
        a = max(2, 1 + step) + extra
        theirs = proxop.SCAD(LAM, a).prox(X.copy(), step)
        assert_equal_prox(prox_scad(x(), LAM, a, step), theirs)


@pytest.mark.parametrize("step", [*STEPS, 5.0])
def test_mcp(skglm, proxop, step):
    for gamma in (1.6, 3.0, 40.0):
        if step < gamma:
            ours = prox_mcp(x(), LAM, gamma, step)
            assert_equal_prox(ours, each(skglm.prox_MCP, step, LAM, gamma))
    for factor in (1.001, 1.6, 3.0, 40.0):
        gamma = max(1, step) * factor
        theirs = proxop.MCP(LAM, gamma).prox(X.copy(), step)
        assert_equal_prox(prox_mcp(x(), LAM, gamma, step), theirs)


@pytest.mark.parametrize("step", [0.1, 0.5, 0.9])
def test_quadratic_envelope_is_mcp_with_gamma_one(pyproximal, step):
    """γ = 1 is valid there at steps below 1; here it is MCP(ηλ, 1/η) at step 1."""
    theirs = pyproximal.QuadraticEnvelopeCard(LAM**2 / 2).prox(X.copy(), step)
    assert_equal_prox(prox_mcp(x(), step * LAM, 1 / step), theirs)


@pytest.mark.parametrize("step", STEPS)
def test_lq_at_one_half_and_two_thirds(skglm, step):
    assert_equal_prox(prox_lq(x(), LAM, 1 / 2, step), each(skglm.prox_05, step * LAM))
    # its closed form for 2/3 loses some digits for a large x
    theirs = each(skglm.prox_2_3, step * LAM)
    assert_equal_prox(prox_lq(x(), LAM, 2 / 3, step), theirs, atol=1e-7)


@pytest.mark.parametrize("q", [0.1, 0.3, 0.5, 0.75, 0.9])
@pytest.mark.parametrize("step", STEPS)
def test_lq(proxop, q, step):
    ours = prox_lq(x(), LAM, q, step)
    theirs = torch.from_numpy(proxop.Root(q).prox(X.copy(), step * LAM))
    ours_costs, theirs_costs = (
        step * LAM * z.abs() ** q + (z - x()) ** 2 / 2 for z in (ours, theirs)
    )
    # next to the threshold its Newton steps may end on a maximum
    fine = theirs_costs <= ours_costs + 1e-9
    assert fine.double().mean() > 0.98
    assert (ours_costs <= theirs_costs + 1e-9).all()
    assert_equal_prox(ours[fine], theirs[fine], atol=1e-6)


def test_projections(pyproximal):
    from pyproximal.projection import HyperPlaneBoxProj

    for n in (1, 40, 200):
        z = np.random.default_rng(n).normal(size=300)
        theirs = pyproximal.L0Ball(n).prox(z.copy(), 1.0)
        assert_equal_prox(project_top_n(torch.from_numpy(z), n), theirs, atol=0)
    for total in (0.7, 60.0, 299.0):
        z = np.random.default_rng(0).normal(size=300)
        project = HyperPlaneBoxProj(np.ones(300), total, 0, 1, maxiter=200, xtol=1e-13)
        ours = project_capped_simplex(torch.from_numpy(z), total)
        assert_equal_prox(ours, project(z.copy()), atol=1e-10)
