"""The same operators in other libraries, which know nothing of this one.

Each is skipped where its library is not installed.
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

every_step = pytest.mark.parametrize("step", STEPS)


def assert_equal_prox(ours, theirs, atol=1e-10):
    np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), rtol=0, atol=atol)


def x():
    return torch.from_numpy(X.copy())


# --- pyproximal -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyproximal():
    return pytest.importorskip("pyproximal")


@every_step
def test_pyproximal_soft_and_hard(pyproximal, step):
    theirs = pyproximal.L1(sigma=LAM).prox(X.copy(), step)
    assert_equal_prox(prox_l1(x(), LAM, step), theirs)
    # its L0 thresholds at tau * sigma, not at sqrt(2 * tau * sigma)
    theirs = pyproximal.L0(sigma=math.sqrt(2 * step * LAM)).prox(X.copy(), 1.0)
    assert_equal_prox(prox_l0(x(), LAM, step), theirs)


@pytest.mark.parametrize("a", [2.6, 3.7, 20.0])
@every_step
def test_pyproximal_scad(pyproximal, a, step):
    theirs = pyproximal.SCAD(LAM, a).prox(X.copy(), step)
    assert_equal_prox(prox_scad(x(), LAM, a, step), theirs)


@pytest.mark.parametrize("step", [0.1, 0.5, 0.9])
def test_pyproximal_quadratic_envelope_is_mcp_with_gamma_one(pyproximal, step):
    """γ = 1 is valid there at steps below 1; here it is MCP(ηλ, 1/η) at step 1."""
    theirs = pyproximal.QuadraticEnvelopeCard(LAM**2 / 2).prox(X.copy(), step)
    assert_equal_prox(prox_mcp(x(), step * LAM, 1 / step), theirs)


@pytest.mark.parametrize("n", [1, 40, 200])
def test_pyproximal_l0_ball(pyproximal, n):
    z = np.random.default_rng(n).normal(size=300)
    theirs = pyproximal.L0Ball(n).prox(z.copy(), 1.0)
    assert_equal_prox(project_top_n(torch.from_numpy(z), n), theirs, atol=0)


@pytest.mark.parametrize("total", [0.7, 60.0, 299.0])
def test_pyproximal_plane_and_box(pyproximal, total):
    from pyproximal.projection import HyperPlaneBoxProj

    z = np.random.default_rng(0).normal(size=300)
    project = HyperPlaneBoxProj(np.ones(300), total, 0, 1, maxiter=200, xtol=1e-13)
    ours = project_capped_simplex(torch.from_numpy(z), total)
    assert_equal_prox(ours, project(z.copy()), atol=1e-10)


# --- skglm ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def skglm():
    """Its scalar functions, called below as plain Python: nothing to compile."""
    return pytest.importorskip("skglm.utils.prox_funcs")


def each(function, *arguments):
    return [function.py_func(entry, *arguments) for entry in X]


@every_step
def test_skglm_soft(skglm, step):
    assert_equal_prox(prox_l1(x(), LAM, step), each(skglm.ST, step * LAM))


@every_step
def test_skglm_lq_at_one_half_and_two_thirds(skglm, step):
    assert_equal_prox(prox_lq(x(), LAM, 1 / 2, step), each(skglm.prox_05, step * LAM))
    # its closed form for 2/3 loses some digits for a large x
    theirs = each(skglm.prox_2_3, step * LAM)
    assert_equal_prox(prox_lq(x(), LAM, 2 / 3, step), theirs, atol=1e-7)


@pytest.mark.parametrize("gamma", [1.6, 3.0, 40.0])
@every_step
def test_skglm_mcp(skglm, gamma, step):
    theirs = each(skglm.prox_MCP, step, LAM, gamma)
    assert_equal_prox(prox_mcp(x(), LAM, gamma, step), theirs)


@pytest.mark.parametrize("a", [2.6, 3.7, 20.0])
@every_step
def test_skglm_scad(skglm, a, step):
    theirs = each(skglm.prox_SCAD, step, LAM, a)
    assert_equal_prox(prox_scad(x(), LAM, a, step), theirs)


# --- proxop ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxop():
    return pytest.importorskip("proxop")


@every_step
def test_proxop_soft_and_hard(proxop, step):
    theirs = proxop.AbsValue().prox(X.copy(), step * LAM)
    assert_equal_prox(prox_l1(x(), LAM, step), theirs)
    theirs = proxop.L0Norm().prox(X.copy(), step * LAM)
    assert_equal_prox(prox_l0(x(), LAM, step), theirs)


@pytest.mark.parametrize("gamma", [1.001, 1.6, 3.0, 40.0])
@pytest.mark.parametrize("step", [*STEPS, 5.0])
def test_proxop_mcp(proxop, gamma, step):
    gamma = max(1, step) * gamma
    theirs = proxop.MCP(LAM, gamma).prox(X.copy(), step)
    assert_equal_prox(prox_mcp(x(), LAM, gamma, step), theirs)


@pytest.mark.parametrize("extra", [1e-3, 0.6, 1.7, 20.0])
@pytest.mark.parametrize("step", [*STEPS, 5.0])
def test_proxop_scad(proxop, extra, step):
    a = max(2, 1 + step) + extra
    theirs = proxop.SCAD(LAM, a).prox(X.copy(), step)
    assert_equal_prox(prox_scad(x(), LAM, a, step), theirs)


@pytest.mark.parametrize("q", [0.1, 0.3, 0.5, 0.75, 0.9])
@every_step
def test_proxop_lq(proxop, q, step):
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
