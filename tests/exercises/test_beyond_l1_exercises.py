"""The references of the exercises of "Beyond ℓ1" against independent ones."""

import numpy as np
import pytest
import torch
from answers import INPUTS, assert_minimises, right_answers

import ece661_sparse.proximal as package
from ece661_sparse.exercises.bank import beyond_l1 as solutions
from ece661_sparse.exercises.bank.inputs import double


def scad_by_masks(x, lam, a=3.7):
    result, size = x.clone(), x.abs()
    low, middle = size < 2 * lam, (size >= 2 * lam) & (size < a * lam)
    result[low] = torch.nn.functional.softshrink(x[low], lam)
    result[middle] = ((a - 1) * x - x.sign() * a * lam)[middle] / (a - 2)
    return result


def mcp_by_firm(x, lam, gamma, step):
    size = gamma * (x.abs() - step * lam) / (gamma - step)
    return torch.copysign(torch.minimum(size.clamp(min=0), x.abs()), x)


def tau_in_one_line(lam, q):
    return (2 - q) / (2 - 2 * q) * (2 * lam * (1 - q)) ** (1 / (2 - q))


def unbiased_by_names(penalty):
    name, lam = type(penalty).__name__, penalty.lam
    return {
        "L0": lambda: np.sqrt(2 * lam),
        "L1": lambda: np.inf,
        "SCAD": lambda: penalty.a * lam,
        "MCP": lambda: penalty.gamma * lam,
        "Firm": lambda: penalty.mu,
    }[name]()


test_a_right_answer_written_differently = right_answers(
    "beyond_l1",
    scad_prox=[scad_by_masks],
    mcp_prox_with_step=[mcp_by_firm],
    lq_threshold=[tau_in_one_line],
    unbiased_from=[unbiased_by_names],
)


@pytest.mark.parametrize(("lam", "a"), [(1.0, 3.7), (0.4, 2.5), (0.9, 6.0)])
def test_scad_prox_minimises_the_penalty_of_the_slide(lam, a):
    def penalty(z):
        z = np.abs(z)
        middle = (2 * a * lam * z - z**2 - lam**2) / (2 * (a - 1))
        flat = (a + 1) * lam**2 / 2
        return np.where(z < lam, lam * z, np.where(z < a * lam, middle, flat))

    x = torch.from_numpy(INPUTS)
    result = solutions.scad_prox(x, lam, a)
    assert_minimises(result, lambda z, x: penalty(z) + (z - x) ** 2 / 2)
    torch.testing.assert_close(result, package.prox_scad(x, lam, a))


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0, 1.5])
@pytest.mark.parametrize(("lam", "gamma"), [(1.0, 2.0), (0.5, 4.0)])
def test_mcp_prox_with_step_minimises_step_times_the_integral(lam, gamma, step):
    knots = np.linspace(0, 8, 80_001)
    slope = lam * np.maximum(1 - knots / (gamma * lam), 0)
    area = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2)]) * 1e-4

    def objective(z, x):
        return step * np.interp(np.abs(z), knots, area) + (z - x) ** 2 / 2

    x = torch.from_numpy(INPUTS)
    result = solutions.mcp_prox_with_step(x, lam, gamma, step)
    assert_minimises(result, objective, slack=1e-6)
    torch.testing.assert_close(result, package.prox_mcp(x, lam, gamma, step))


@pytest.mark.parametrize("lam", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("q", [0.25, 0.5, 2 / 3, 0.9])
def test_lq_threshold_is_where_zero_stops_being_the_minimum(lam, q):
    tau = float(solutions.lq_threshold(lam, q))
    z = np.linspace(0, 8, 800_001)
    for t, stays in ((0.999 * tau, True), (1.001 * tau, False)):
        best = z[np.argmin(lam * z**q + (z - t) ** 2 / 2)]
        assert (best == 0) == stays
    if q == 0.5:
        assert tau == pytest.approx(1.5 * lam ** (2 / 3))
    if q == 2 / 3:
        assert tau == pytest.approx(2 * (2 * lam / 3) ** 0.75)


@pytest.mark.parametrize(
    "penalty",
    [
        package.L0(0.5),
        package.L0(0.1),
        package.MCP(0.5, 3.0),
        package.MCP(1.2, 1.5),
        package.SCAD(0.5, 3.7),
        package.SCAD(1.2, 2.5),
        package.Firm(0.5, 2.0),
    ],
    ids=repr,
)
def test_unbiased_from_is_where_the_operator_starts_to_return_its_input(penalty):
    size = float(solutions.unbiased_from(penalty))
    beyond = double([1.001 * size, -1.5 * size, 40 * size])
    torch.testing.assert_close(penalty.prox(beyond), beyond)
    below = double([0.99 * size, -0.99 * size])
    assert ((penalty.prox(below) - below).abs() > 1e-4 * size).all()


def test_l1_is_never_unbiased():
    assert solutions.unbiased_from(package.L1(0.5)) == float("inf")
    assert package.L1(0.5).prox(double([1e6])) == 1e6 - 0.5
