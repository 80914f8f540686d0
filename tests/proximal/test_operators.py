"""Proximal operators against brute force, independently written penalties, limits.

That every dtype, layout and `out` gives the same: see test_blocks.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ece661_sparse.proximal import (
    L0,
    L1,
    MCP,
    SCAD,
    Firm,
    Lq,
    QShrinkage,
    prox_firm,
    prox_l0,
    prox_l1,
    prox_lq,
    prox_mcp,
    prox_q_shrinkage,
    prox_scad,
)

# --- the penalties once more, from the slides and by numeric integration --------------

REACH = 100.0  # integrals go this far
nan, inf = math.nan, math.inf


def integrate(slope, until):
    """Integrate a slope from 0; the result is a function of |z|."""
    at = np.linspace(0, until, 200_001)
    heights = slope(at)
    area = np.cumsum((heights[1:] + heights[:-1]) / 2 * np.diff(at))
    return lambda z: np.interp(np.abs(z), at, np.concatenate(([0.0], area)))


def slide_l0(z, lam):
    return lam * (z != 0)


def slide_l1(z, lam):
    return lam * np.abs(z)


def slide_lq(z, lam, q):
    return lam * np.abs(z) ** q


def slide_scad(z, lam, a):
    z = np.abs(z)
    bend = (2 * a * lam * z - z**2 - lam**2) / (2 * (a - 1))
    flat = (a + 1) * lam**2 / 2
    return np.select([z < lam, z < a * lam], [lam * z, bend], flat)


def slide_mcp(z, lam, gamma):
    return slide_firm(z, lam, gamma * lam)


def slide_firm(z, lam, mu):
    """λ ∫ max(1 − t/μ, 0) dt, constant from μ on."""
    return integrate(lambda t: lam * np.maximum(1 - t / mu, 0), mu)(z)


def slide_q_shrinkage(z, lam, q):
    """P′(y) = t − y for y = t − λ^(2−q) t^(q−1): what the slide minimises."""
    t = np.geomspace(lam, REACH, 100_001)
    slope = lam ** (2 - q) * t ** (q - 1)
    y = t - slope
    area = np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(y))
    return np.interp(np.abs(z), y, np.concatenate(([0.0], area)))


# --- one entry for every penalty ------------------------------------------------------


EDGE = 1 + 1e-3
LAM = 0.8
BAD_LAM = (-0.1, nan, inf, -inf, "0.1", None)


def step_times_lam(lam, step, **_):
    return step * lam


def root_of_twice_step_times_lam(lam, step):
    return math.sqrt(2 * step * lam)


def lq_threshold(lam, step, q):
    beta = (2 * step * lam * (1 - q)) ** (1 / (2 - q))
    return beta + step * lam * q * beta ** (q - 1)


@dataclass(frozen=True)
class Case:
    """What the tests have to know about a penalty.

    Attributes:
        prox: the operator.
        penalty: the class with the same parameters.
        value: P(z), written independently, of z and the same parameters.
        name: of the parameter beside λ.
        good: of λ and the step, values of it over the whole valid range.
        bad: values outside its range.
        zero_until: of λ, the step and the parameter, the threshold.
        same_beyond: likewise, from where on the operator is the identity.
        middle: likewise, any other knot.
    """

    prox: Callable
    penalty: type
    value: Callable
    name: str = ""
    good: Callable | None = None
    bad: tuple = ()
    zero_until: Callable = step_times_lam
    same_beyond: Callable | None = None
    middle: Callable | None = None

    def samples(self, lam, step):
        return [{self.name: v} for v in self.good(lam, step)] if self.good else [{}]

    def refused(self):
        return {"lam": BAD_LAM} | ({self.name: self.bad} if self.bad else {})

    def knots(self, lam, step, parameters):
        found = (self.zero_until, self.middle, self.same_beyond)
        return [knot(lam, step, **parameters) for knot in found if knot]


CASES = {
    "l0": Case(
        prox_l0,
        L0,
        slide_l0,
        zero_until=root_of_twice_step_times_lam,
        same_beyond=root_of_twice_step_times_lam,
    ),
    "l1": Case(prox_l1, L1, slide_l1),
    "lq": Case(
        prox_lq,
        Lq,
        slide_lq,
        "q",
        lambda lam, step: (0.01, 0.3, 0.5, 2 / 3, 0.9, 0.99),
        (0, 1, 1.5, -0.5, nan, inf),
        lq_threshold,
    ),
    "q_shrinkage": Case(
        prox_q_shrinkage,
        QShrinkage,
        slide_q_shrinkage,
        "q",
        lambda lam, step: [
            q for q in (-5, 0, 0.5, 0.9, 1) if (step - 1 + 1e-3) * (1 - q) < 1
        ],
        (1.5, nan, inf, -inf),
    ),
    "scad": Case(
        prox_scad,
        SCAD,
        slide_scad,
        "a",
        lambda lam, step: [max(2, 1 + step) + more for more in (1e-3, 0.3, 1.7, 50)],
        (2, 1.5, 1, -3.7, nan, inf),
        same_beyond=lambda lam, step, a: a * lam,
        middle=lambda lam, step, a: (1 + step) * lam,
    ),
    "mcp": Case(
        prox_mcp,
        MCP,
        slide_mcp,
        "gamma",
        lambda lam, step: [max(1, step) * factor for factor in (EDGE, 1.2, 3, 50)],
        (1, 0.5, -3, nan, inf),
        same_beyond=lambda lam, step, gamma: gamma * lam,
    ),
    "firm": Case(
        prox_firm,
        Firm,
        slide_firm,
        "mu",
        lambda lam, step: [max(1, step) * lam * f for f in (EDGE, 1.2, 3, 50)],
        (LAM, 0.5, -2, nan, inf),
        same_beyond=lambda lam, step, mu: mu,
    ),
}
STEPS = (0.1, 0.25, 0.5, 0.75, 1, 1.1, 2)


def every_parameter(*places):
    """All samples of all cases, for every pair of λ and step."""
    return pytest.mark.parametrize(
        ("case", "lam", "step", "parameters"),
        [
            pytest.param(case, lam, step, p, id=f"{name}-{lam}-{step}-{[*p.values()]}")
            for name, case in CASES.items()
            for lam, step in places
            for p in case.samples(lam, step)
        ],
    )


at_every_step = every_parameter(*((LAM, step) for step in STEPS), (0.05, 0.5), (2.5, 1))
at_some_steps = every_parameter((LAM, 0.5), (LAM, 1), (LAM, 2))

# one sample each, none at the edge of its range
PLAIN = {name: (case, case.samples(LAM, 1)[-2:][0]) for name, case in CASES.items()}
every_operator = pytest.mark.parametrize(
    ("case", "parameters"), PLAIN.values(), ids=PLAIN
)


def double(x):
    return torch.as_tensor(x, dtype=torch.float64)


def noise(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator).to(dtype)


# --- argmin ---------------------------------------------------------------------------


@at_every_step
def test_no_point_of_a_dense_grid_is_better(case, lam, step, parameters):
    knots = case.knots(lam, step, parameters)
    near = [knot * (1 + shift) for knot in knots for shift in (-1e-3, 0, 1e-3)]
    x = np.concatenate((np.linspace(-1, 5, 31), near, [-40.0]))
    z = np.concatenate((np.linspace(-2, 6, 8_001), x, [0.0]))
    prox = case.prox(double(x), lam, step=step, **parameters).numpy()

    penalty = case.penalty(lam, **parameters)
    for value in (
        lambda z: penalty.value(double(z)).numpy(),
        lambda z: case.value(z, lam, **parameters),
    ):
        best = (step * value(z) + (z - x[:, None]) ** 2 / 2).min(axis=1)
        found = step * value(prox) + (prox - x) ** 2 / 2
        assert (found <= best + 1e-6).all(), x[found > best + 1e-6]


@at_every_step
def test_stationary_where_it_is_not_zero(case, lam, step, parameters):
    """Sharper than a grid: step·P′(z) + z − x = 0, by autograd of the value."""
    x = double(np.linspace(-6, 6, 601))
    z = case.prox(x, lam, step=step, **parameters)
    x, z = x[z != 0], z[z != 0].requires_grad_()
    case.penalty(lam, **parameters).value(z).sum().backward()
    torch.testing.assert_close(x, step * z.grad + z.detach(), rtol=0, atol=1e-9)


# --- properties -----------------------------------------------------------------------

entries = st.lists(st.floats(-12, 12), min_size=1, max_size=12)
few = settings(max_examples=120)


@st.composite
def problems(draw, names=tuple(CASES)):
    """A case, its λ, step and other parameters."""
    case = CASES[draw(st.sampled_from(names))]
    lam, step = draw(st.floats(0.01, 3)), draw(st.floats(0.05, 4))
    return case, lam, step, draw(st.sampled_from(case.samples(lam, step)))


@few
@given(problems(), entries)
def test_odd(problem, x):
    case, lam, step, parameters = problem
    x = double(x)
    positive = case.prox(x, lam, step=step, **parameters)
    assert torch.equal(case.prox(-x, lam, step=step, **parameters), -positive)


@few
@given(problems(), entries)
def test_monotone_and_never_larger_than_x(problem, x):
    case, lam, step, parameters = problem
    x = double(sorted(x))
    z = case.prox(x, lam, step=step, **parameters)
    assert (z.diff() >= -1e-9).all()
    assert (z.abs() <= x.abs() * (1 + 1e-12)).all()
    assert (z * x >= 0).all()


@few
@given(problems(names=("l1",)), entries, st.floats(-5, 5))
def test_l1_is_nonexpansive(problem, x, shift):
    case, lam, step, _ = problem
    x = double(x)
    moved = case.prox(x + shift, lam, step=step) - case.prox(x, lam, step=step)
    assert (moved.abs() <= abs(shift) + 1e-12).all()


@few
@given(problems(), st.floats(0, 1 - 1e-6), st.booleans())
def test_exactly_zero_up_to_the_threshold(problem, share, single):
    case, lam, step, parameters = problem
    x = share * case.zero_until(lam, step, **parameters)
    x = torch.tensor([x, -x, 0.0], dtype=torch.float32 if single else torch.float64)
    assert not case.prox(x, lam, step=step, **parameters).any()


@few
@given(problems(), st.floats(1e-6, 1))
def test_not_zero_beyond_the_threshold(problem, share):
    case, lam, step, parameters = problem
    x = double(1 + share) * case.zero_until(lam, step, **parameters)
    assert case.prox(x, lam, step=step, **parameters) > 0


elementwise = pytest.mark.parametrize("prox", [prox_l0, prox_l1, prox_lq])


@elementwise
def test_zero_at_the_threshold_itself(prox):
    """Of two minimisers the sparse one, for numbers and for tensors."""
    threshold = 1.5 if prox is prox_lq else 2.0  # λ^(2/3) = 1, √(2λ) = 2, λ = 2
    lam = 1.0 if prox is prox_lq else 2.0
    x = torch.tensor([threshold, -threshold])
    assert not prox(x, lam).any()
    assert not prox(x, torch.tensor([lam, lam])).any()


@every_operator
def test_zero_lam_is_the_identity(case, parameters):
    x = noise(50)
    assert torch.equal(case.prox(x, 0, **parameters), x)
    assert torch.equal(case.prox(x, 0.0, step=0.5, **parameters, out=x.clone()), x)


# --- identities and limits ------------------------------------------------------------

LINE = torch.linspace(-5, 5, 2_001, dtype=torch.float64)


@pytest.mark.parametrize("step", [0.1, 0.5, 0.9])
def test_a_step_moves_both_parameters_of_mcp_which_is_a_firm_threshold(step):
    mcp = prox_mcp(LINE, LAM, 3.0, step)
    torch.testing.assert_close(prox_mcp(LINE, step * LAM, 3.0 / step), mcp)
    torch.testing.assert_close(prox_firm(LINE, LAM, 3.0 * LAM, step), mcp)


def test_scaling_lam_alone_is_wrong_for_mcp_and_scad():
    """The bug that libraries have shipped, and its size."""
    for prox, parameter, size in ((prox_mcp, 2.5, 0.25), (prox_scad, 3.7, 0.336)):
        right, wrong = prox(LINE, LAM, parameter, 0.5), prox(LINE, 0.5 * LAM, parameter)
        assert (right - wrong).abs().max().item() == pytest.approx(size, abs=0.005)


@elementwise
def test_scaling_lam_alone_is_right_for_the_others(prox):
    torch.testing.assert_close(prox(LINE, LAM, step=0.5), prox(LINE, 0.5 * LAM))


@pytest.mark.parametrize("q", [0.01, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("step", [0.5, 1, 2])
def test_lq_jumps_to_beta_where_zero_is_as_good(q, step):
    low, high = 0.0, 10.0
    for _ in range(60):  # the place of the jump, from the operator alone
        middle = (low + high) / 2
        zero = prox_lq(double([middle]), LAM, q, step).item() == 0
        low, high = (middle, high) if zero else (low, middle)
    beta = prox_lq(double([high]), LAM, q, step).item()
    assert high == pytest.approx(lq_threshold(LAM, step, q), rel=1e-9)
    assert beta == pytest.approx((2 * step * LAM * (1 - q)) ** (1 / (2 - q)), rel=1e-6)
    objective = step * LAM * beta**q + (beta - high) ** 2 / 2
    assert objective == pytest.approx(high**2 / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("prox", "parameter", "threshold", "distance", "atol"),
    [
        (prox_lq, 1e-5, math.sqrt(2 * LAM), 1e-3, 1e-4),
        (prox_mcp, 1 + 1e-4, LAM, 1e-3, 1e-4),
        (prox_q_shrinkage, -1000, LAM, 0.02 * LAM, 1e-8),
    ],
)
def test_limits_that_are_hard_thresholds(prox, parameter, threshold, distance, atol):
    """Away from the jump."""
    x = LINE[(LINE.abs() - threshold).abs() > distance]
    expected = torch.where(x.abs() > threshold, x, 0)
    torch.testing.assert_close(prox(x, LAM, parameter), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("step", [0.5, 1, 2])
def test_limits_that_are_soft_thresholds(step):
    soft = prox_l1(LINE, LAM, step)
    for prox, parameter in (
        (prox_lq, 1 - 1e-7),
        (prox_scad, 1e7),
        (prox_mcp, 1e7),
        (prox_firm, 1e7),
    ):
        z = prox(LINE, LAM, parameter, step)
        torch.testing.assert_close(z, soft, rtol=0, atol=1e-5)
    torch.testing.assert_close(prox_q_shrinkage(LINE, LAM, 1, step), soft)


@pytest.mark.parametrize("q", [-5, 0, 0.5, 0.9])
def test_q_shrinkage_at_step_one_is_the_slide(q):
    size = LINE.abs()
    slide = (size - LAM ** (2 - q) * size ** (q - 1)).clamp(min=0) * LINE.sign()
    slide = torch.where(LINE == 0, 0, slide)
    torch.testing.assert_close(prox_q_shrinkage(LINE, LAM, q), slide)


@pytest.mark.parametrize("step", [0.25, 1, 1.5])
def test_firm_and_scad_are_sums_of_soft_thresholds(step):
    def soft(threshold):
        return F.softshrink(LINE, threshold)

    mu, low = 2.1, step * LAM
    w = low / (mu - low)
    total = (1 + w) * soft(low) - w * soft(mu)
    torch.testing.assert_close(prox_firm(LINE, LAM, mu, step), total)
    a, w = 3.7, step / (3.7 - 1 - step)
    total = soft(low) + w * (soft((1 + step) * LAM) - soft(a * LAM))
    torch.testing.assert_close(prox_scad(LINE, LAM, a, step), total)


# --- tensors of every kind ------------------------------------------------------------


@at_some_steps
def test_float32_agrees_with_float64(case, lam, step, parameters):
    """But for a rounding of x, which a jump or a steep slope makes visible."""
    x = noise(1000).abs()
    z = case.prox(x, lam, step=step, **parameters)
    least, most = (
        case.prox(x.double() * (1 + shift), lam, step=step, **parameters)
        for shift in (-1e-6, 1e-6)
    )
    assert ((z >= least - 1e-6) & (z <= most + 1e-6)).all()


@every_operator
def test_meta_device(case, parameters):
    x = torch.empty(4, 5, device="meta", dtype=torch.bfloat16)
    for out in (None, x, torch.empty_like(x)):
        z = case.prox(x, LAM, step=0.5, **parameters, out=out)
        assert (z.device.type, z.shape, z.dtype) == ("meta", x.shape, x.dtype)


@every_operator
def test_parameters_are_overwritten_without_a_graph(case, parameters):
    w = nn.Parameter(noise(40))
    expected = case.prox(w.detach(), LAM, **parameters)
    assert case.prox(w, LAM, **parameters, out=w) is w
    assert torch.equal(w, expected) and w.is_leaf and w.requires_grad
    w.square().sum().backward()  # the version counter has nothing to object to
    assert torch.equal(w.grad, 2 * expected)


# --- autograd -------------------------------------------------------------------------


@at_some_steps
def test_derivative(case, lam, step, parameters):
    x = double(np.linspace(-4, 4, 41))
    for knot in case.knots(lam, step, parameters):
        x = x[(x.abs() - knot).abs() > 1e-3]
    assert len(x) > 30
    assert torch.autograd.gradcheck(
        lambda x: case.prox(x, lam, step=step, **parameters), x.requires_grad_()
    )


@pytest.mark.parametrize("prox", [prox_l1, prox_lq])
def test_derivative_for_tensors_lam_and_step(prox):
    x = double([-3.0, -0.2, 0.1, 1.7, 2.5]).requires_grad_()
    lam = double([0.3, 0.4, 0.9, 0.5, 0.6]).requires_grad_()
    step = double([0.5, 1.0, 1.0, 0.7, 1.2]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, lam, step: prox(x, lam, step=step), (x, lam, step)
    )


@every_operator
def test_half_precision_has_a_derivative(case, parameters):
    x = noise(30, dtype=torch.bfloat16).requires_grad_()
    case.prox(x, LAM, **parameters).sum().backward()
    assert x.grad.dtype == torch.bfloat16 and x.grad.isfinite().all()


# --- tensors for λ and the step -------------------------------------------------------


@elementwise
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensor_coefficients_equal_scalar_calls(prox, dtype):
    x = noise(5, 8, dtype=dtype)
    lam = noise(5, 8, dtype=dtype, seed=1).abs() / 2
    lam[0, :3] = 0
    step = noise(8, dtype=dtype, seed=2).abs() / 2 + 0.05
    for lam_ in (lam, lam[:1], 0.6):
        for step_ in (step, step[0], torch.tensor(0.5), 0.5):
            lams = torch.as_tensor(lam_, dtype=dtype).expand(5, 8)
            steps = torch.as_tensor(step_, dtype=dtype).expand(5, 8)
            expected = torch.stack(
                [
                    prox(one, low.item(), step=eta.item())
                    for one, low, eta in zip(
                        x.flatten(), lams.flatten(), steps.flatten(), strict=True
                    )
                ]
            ).view(5, 8)
            z = prox(x, lam_, step=step_)
            torch.testing.assert_close(z, expected)
            assert torch.equal(z == 0, expected == 0)


@elementwise
def test_tensor_coefficients_on_meta(prox):
    meta = torch.empty(500, device="meta")
    assert prox(meta, meta, step=meta, out=meta) is meta
    assert prox(meta, meta, step=meta).shape == (500,)


# --- refusals -------------------------------------------------------------------------


def check_refused(prox, name, arguments):
    x, value = noise(4), arguments[name]
    with pytest.raises(ValueError, match=rf"\b{name} must .*got {name}={value!r}"):
        prox(x, **arguments, out=x)
    assert torch.equal(x, noise(4))  # nothing half done


@every_operator
def test_refuses_by_name_and_value(case, parameters):
    bad = case.refused() | {"step": (0, 0.0, -1, nan, inf)}
    for name, values in bad.items():
        for value in values:
            check_refused(case.prox, name, {"lam": LAM, **parameters, name: value})


def test_refuses_parameters_that_the_step_makes_invalid():
    for q, step in ((0, 2), (0.5, 3), (0.5, 10), (-1, 1.5)):
        check_refused(prox_q_shrinkage, "step", {"lam": LAM, "q": q, "step": step})
    for a, step in ((3.7, 2.7), (3, 2.5)):
        check_refused(prox_scad, "a", {"lam": LAM, "a": a, "step": step})
    for gamma, step in ((2, 2), (0.9, 0.5)):
        check_refused(prox_mcp, "gamma", {"lam": LAM, "gamma": gamma, "step": step})
    for mu, step in ((1.6, 2), (0.7, 0.5)):
        check_refused(prox_firm, "mu", {"lam": LAM, "mu": mu, "step": step})


@every_operator
def test_refuses_what_is_no_tensor_of_numbers_and_an_out_unlike_x(case, parameters):
    with pytest.raises(ValueError, match=r"\bx must .*int64"):
        case.prox(torch.arange(3), LAM, **parameters)
    for out in (torch.zeros(4), torch.zeros(3, dtype=torch.float64)):
        with pytest.raises(ValueError, match="out must have the shape, dtype"):
            case.prox(torch.zeros(3), LAM, **parameters, out=out)


@elementwise
def test_refuses_bad_tensor_coefficients(prox):
    for name, bad in (
        ("lam", torch.tensor([0.1, -0.1, 0.2])),
        ("lam", torch.ones(4)),
        ("step", torch.tensor([0.1, 0.0, 0.2])),
        ("step", torch.ones(2, 3)),
    ):
        with pytest.raises(ValueError, match=rf"\b{name} must .*got {name}"):
            prox(noise(3), **{"lam": 0.5, name: bad})
