"""Penalties: their values against the slides, their operators, their refusals."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from test_operators import CASES, LAM, at_some_steps, double, every_operator, noise
from torch import nn

from ece661_sparse.proximal import (
    L0,
    L1,
    MCP,
    SCAD,
    Firm,
    L0Ball,
    Lq,
    Penalty,
    QShrinkage,
    project_top_n,
)

nan, inf = math.nan, math.inf


# --- values ---------------------------------------------------------------------------


@at_some_steps
def test_value_is_that_of_the_slide(case, lam, step, parameters):
    x = np.concatenate((np.linspace(-8, 8, 401), [1e-4, lam, -lam, 60]))
    value = case.penalty(lam, **parameters).value(double(x)).numpy()
    np.testing.assert_allclose(value, case.value(x, lam, **parameters), atol=2e-7)


@at_some_steps
def test_value_is_a_penalty(case, lam, step, parameters):
    """Zero at 0, even, growing, its slope never more than at 0."""
    x = double(np.linspace(0, 8, 801))
    value = case.penalty(lam, **parameters).value(x)
    assert abs(value[0]) < 1e-15
    assert (value.diff() >= -1e-12).all()
    assert (value.diff().diff() <= 1e-9).all()
    assert torch.equal(case.penalty(lam, **parameters).value(-x), value)


@at_some_steps
def test_value_is_differentiable(case, lam, step, parameters):
    x = double([-5.03, -2.01, -0.9, -0.3, 0.11, 0.7, 1.31, 3.3]).requires_grad_()
    penalty = case.penalty(lam, **parameters)
    if case.penalty is L0:
        penalty.value(x).sum().backward()
        assert not x.grad.any()
    else:
        assert torch.autograd.gradcheck(penalty.value, x)


@every_operator
def test_subgradient_at_zero_is_finite(case, parameters):
    x = torch.tensor([0.0, 1.0, -1e-30, 0.0], requires_grad=True)
    case.penalty(LAM, **parameters).value(x).sum().backward()
    assert x.grad[[0, 1, 3]].isfinite().all()
    assert x.grad[0] == x.grad[3] == 0


@every_operator
def test_value_keeps_shape_and_dtype(case, parameters):
    penalty = case.penalty(LAM, **parameters)
    for shape in ((), (0,), (2, 3, 4)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            value = penalty.value(torch.ones(shape, dtype=dtype))
            assert (value.shape, value.dtype) == (shape, dtype)
    single, wide = noise(100), noise(100).double()
    torch.testing.assert_close(
        penalty.value(single).double(), penalty.value(wide), rtol=1e-4, atol=1e-5
    )


@every_operator
def test_value_without_lam_is_zero(case, parameters):
    x = noise(20).requires_grad_()
    value = case.penalty(0.0, **parameters).value(x)
    assert not value.any()
    value.sum().backward()
    assert not x.grad.any()


def test_firm_is_mcp():
    x = double(np.linspace(-4, 4, 401))
    torch.testing.assert_close(Firm(LAM, 3 * LAM).value(x), MCP(LAM, 3.0).value(x))


@pytest.mark.parametrize(
    ("penalty", "x", "value"),
    [
        (L0(0.5), -3.0, 0.5),
        (L1(0.5), -3.0, 1.5),
        (Lq(0.5), 4.0, 1.0),
        (QShrinkage(0.5, 1), -3.0, 1.5),
        (SCAD(1.0), 10.0, 4.7 / 2),
        (SCAD(2.0, 3.0), 1.0, 2.0),
        (MCP(2.0), 100.0, 6.0),
        (MCP(1.0, 2.0), 1.0, 0.75),
        (Firm(2.0, 3.0), 9.0, 3.0),
    ],
    ids=str,
)
def test_values_by_hand(penalty, x, value):
    assert penalty.value(double(x)).item() == pytest.approx(value, rel=1e-12)


def test_l0_ball_is_an_indicator():
    x = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
    for n, value in ((0, inf), (1, inf), (2, 0), (3, 0)):
        assert L0Ball(n).value(x).item() == value
        assert L0Ball(n).value(x.bfloat16()).shape == ()
        assert L0Ball(n).value(x.double()).dtype == torch.float64
    assert L0Ball(0).value(torch.zeros(3)) == 0


# --- dataclasses ----------------------------------------------------------------------


@every_operator
def test_frozen_and_equal_by_parameters(case, parameters):
    penalty = case.penalty(LAM, **parameters)
    assert isinstance(penalty, Penalty)
    assert penalty == case.penalty(lam=LAM, **parameters)
    assert hash(penalty) == hash(case.penalty(LAM, **parameters))
    assert penalty != case.penalty(LAM / 2, **parameters)
    assert f"lam={LAM}" in repr(penalty)
    with pytest.raises(dataclasses.FrozenInstanceError):
        penalty.lam = 0.1
    for name, value in parameters.items():
        other = penalty.lam / 2 if name == "q" else 2 * value
        assert penalty != dataclasses.replace(penalty, **{name: other})


def test_l0_ball_is_frozen_and_equal_by_n():
    assert L0Ball(3) == L0Ball(3) != L0Ball(4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        L0Ball(3).n = 4


def test_defaults_are_those_of_the_lecture():
    assert Lq(LAM) == Lq(LAM, q=0.5)
    assert QShrinkage(LAM) == QShrinkage(LAM, q=0.5)
    assert SCAD(LAM) == SCAD(LAM, a=3.7)
    assert MCP(LAM) == MCP(LAM, gamma=3.0)


def test_which_penalties_take_elementwise_steps():
    allowed = {case.penalty for case in CASES.values()} | {L0Ball}
    assert {p for p in allowed if p.elementwise_steps} == {L0, L1, Lq, L0Ball}


@every_operator
def test_refuses_at_construction(case, parameters):
    for name, values in case.refused().items():
        for value in values:
            with pytest.raises(
                ValueError, match=f"^{name} must .*got {name}={value!r}"
            ):
                case.penalty(**{"lam": LAM, **parameters, name: value})


def test_l0_ball_refuses_at_construction():
    for n in (-1, 1.5, nan, inf, "3", None, True):
        with pytest.raises(ValueError, match=f"^n must .*got n={n!r}"):
            L0Ball(n)


@pytest.mark.parametrize(
    ("penalty", "step", "name"),
    [
        (SCAD(LAM, 3.0), 2.0, "a"),
        (MCP(LAM, 2.0), 2.0, "gamma"),
        (Firm(LAM, 1.2), 2.0, "mu"),
        (QShrinkage(LAM, 0.0), 2.0, "step"),
    ],
)
def test_refuses_a_step_too_large_when_it_comes(penalty, step, name):
    with pytest.raises(ValueError, match=rf"^{name} must"):
        penalty.prox(torch.ones(2), step)


# --- prox and prox_ -------------------------------------------------------------------


@at_some_steps
def test_prox_is_the_operator(case, lam, step, parameters):
    penalty, x = case.penalty(lam, **parameters), noise(300)
    expected = case.prox(x, lam, step=step, **parameters)
    assert torch.equal(penalty.prox(x, step), expected)
    if step == 1:
        assert torch.equal(penalty.prox(x), expected)
    assert penalty.prox(x, step, out=x) is x
    assert torch.equal(x, expected)


@every_operator
def test_prox_in_place_on_every_tensor(case, parameters):
    penalty = case.penalty(LAM, **parameters)
    tensors = [nn.Parameter(noise(3, 4)), nn.Parameter(noise(5, seed=1))]
    expected = [penalty.prox(tensor.detach(), 0.5) for tensor in tensors]
    state: dict = {}
    penalty.prepare_(tensors, state)
    assert penalty.prox_(tensors, 0.5, state) is None
    assert state == {}
    assert all(map(torch.equal, tensors, expected))
    assert all(tensor.requires_grad and tensor.is_leaf for tensor in tensors)


@pytest.mark.parametrize("penalty", [L0(LAM), L1(LAM), Lq(LAM)], ids=str)
def test_prox_in_place_with_a_step_for_every_entry(penalty):
    tensors = [noise(3, 4), noise(5, seed=1)]
    steps = [noise(3, 4, seed=2).abs() + 0.1, noise(5, seed=3).abs() + 0.1]
    expected = [penalty.prox(x, step) for x, step in zip(tensors, steps, strict=True)]
    penalty.prox_(tensors, steps, {})
    assert all(map(torch.equal, tensors, expected))
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        penalty.prox_(tensors, steps[:1], {})


@pytest.mark.parametrize("step", [0.1, [torch.ones(3, 4), torch.ones(5)]])
def test_l0_ball_shares_its_places(step):
    tensors = [nn.Parameter(noise(3, 4)), nn.Parameter(noise(5, seed=1) / 3)]
    together = torch.cat([tensor.detach().flatten() for tensor in tensors])
    expected = project_top_n(together, 6)
    apart = [tensor.detach().clone() for tensor in tensors]
    L0Ball(6).prox_(tensors, step, {})
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    assert torch.equal(flat, expected)
    assert L0Ball(6).value(flat) == 0 and flat.count_nonzero() == 6
    # the share of each tensor is not fixed beforehand
    counts = [tensor.count_nonzero().item() for tensor in tensors]
    assert counts != [project_top_n(t, 3).count_nonzero().item() for t in apart]


def test_l0_ball_prox_keeps_n_whatever_the_step():
    x = noise(40)
    for step in (0.1, 1.0, 7.0):
        z = L0Ball(5).prox(x, step)
        assert torch.equal(z, project_top_n(x, 5))
    kept = [L0Ball(n).prox(x) for n in range(41)]
    assert all((a != 0)[b == 0].logical_not().all() for a, b in pairwise(kept))
    assert L0Ball(5).prox(x, out=x) is x and torch.equal(x, kept[5])
