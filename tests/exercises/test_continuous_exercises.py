"""The exercises on continuous sparsification: states, mistakes, other oracles."""

import inspect
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import nn

from ece661_sparse.exercises import check, exercises, progress, solution_source
from ece661_sparse.exercises import gates as solutions
from ece661_sparse.exercises.checker import NotSolvedError, _call, _same, _verdict
from ece661_sparse.gates import ContinuousGate, gate, gates, start_round
from ece661_sparse.proximal import Lq

CHAPTER = "continuous_sparsification"
NAMES = [
    "converted_loss",
    "mask_gradient",
    "undecided_band",
    "implied_penalty",
    "next_round",
]
PART = {e.name: e for e in solutions.EXERCISES if e.chapter == CHAPTER}
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{position}")
    for exercise in PART.values()
    for position, mistake in enumerate(exercise.mistakes)
]
each_exercise = pytest.mark.parametrize("exercise", PART.values(), ids=list(PART))


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


# --- the exercises as exercises --------------------------------------------------


def test_they_are_registered_in_the_order_of_the_chapter():
    assert [e.name for e in exercises() if e.chapter == CHAPTER] == NAMES == list(PART)
    assert all(name in repr(progress(chapter=CHAPTER)) for name in NAMES)


@each_exercise
def test_stub_is_to_do(exercise, capsys):
    names = inspect.signature(exercise.reference).parameters
    stub = eval(f"lambda {', '.join(names)}: None")
    assert check(exercise.name, stub) is exercise.reference
    assert f"[TO DO] {exercise.name}" in capsys.readouterr().out


@each_exercise
def test_reference_is_correct_and_its_source_solves_the_stub(exercise, monkeypatch):
    monkeypatch.setenv("ECE661_STRICT", "1")
    namespace = {"torch": torch, "math": math}
    exec(solution_source(exercise.name), namespace)
    answer = namespace[exercise.name]
    assert check(exercise.name, answer) is answer


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_every_mistake_is_not_yet_with_its_own_message(exercise, mistake, monkeypatch):
    verdict = _verdict(exercise, mistake.implementation)
    assert verdict.state == "not yet"
    assert verdict.message == mistake.message
    assert verdict.evidence is not None
    monkeypatch.setenv("ECE661_STRICT", "1")
    with pytest.raises(NotSolvedError):
        check(exercise.name, mistake.implementation)


@each_exercise
def test_mistakes_differ_from_each_other_on_the_cases(exercise):
    messages = [mistake.message for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages) >= 3
    for one, other in combinations(exercise.mistakes, 2):
        assert any(
            not _same(
                exercise, _call(one.implementation, args), other.implementation(*args)
            )
            for args in exercise.cases
        )


@each_exercise
def test_cases_are_deterministic_double_precision_and_left_alone(exercise):
    for args in exercise.cases + exercise.edges:
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        assert all(tensor.dtype == torch.float64 for tensor in tensors)
        outcome = _call(exercise.reference, args)
        assert outcome.error is None and outcome.changed is None
        assert _same(exercise, outcome, exercise.reference(*args))


def by_autograd(grad, theta, s, beta, lam):
    s = s.clone().requires_grad_()
    objective = (grad * theta / (1 + torch.exp(-beta * s))).sum()
    (objective + lam * torch.sigmoid(beta * s).sum()).backward()
    return s.grad


def band_by_root(beta, eps):
    soft = lambda s: 1 / (1 + math.exp(-min(beta * s, 700))) - (1 - eps)  # noqa: E731
    return brentq(soft, 0, 40 / beta, xtol=1e-15)


def loop_round(s, beta, s0):
    return torch.tensor([min(beta * v, s0) for v in s.tolist()], dtype=s.dtype)


def by_scalar_search(theta, lam, decay):
    result = [
        minimize_scalar(
            lambda z, t=t: lam * z + decay * (t / z) ** 2 / 2 if z > 0 else 0.0,
            bounds=(1e-12, 1),
            method="bounded",
            options={"xatol": 1e-12},
        ).fun
        if t
        else 0.0
        for t in theta.tolist()
    ]
    return torch.tensor(result, dtype=theta.dtype)


def loss_by_hand(theta, s, c, beta, lam):
    total = 0.0
    for t, x, target in zip(theta.tolist(), s.tolist(), c.tolist(), strict=True):
        z = 1 / (1 + math.exp(-beta * x))
        total += (t * z - target) ** 2 / 2 + lam * z
    return total


ALTERNATIVES = {
    "converted_loss": loss_by_hand,
    "mask_gradient": by_autograd,
    "undecided_band": band_by_root,
    "next_round": loop_round,
    "implied_penalty": by_scalar_search,
}


@each_exercise
def test_an_independent_answer_is_accepted(exercise):
    verdict = _verdict(exercise, ALTERNATIVES[exercise.name])
    assert verdict.state == "correct", verdict


# --- the references against the package and brute force --------------------------


def linear_gate(theta, s, beta):
    layer = nn.Linear(len(theta), 1, bias=False).double()
    layer.weight.data.copy_(theta[None])
    gate(layer, ContinuousGate)
    (found,) = gates(layer).values()
    found.s.data.copy_(s[None])
    found.beta = beta
    return layer, found


@pytest.mark.parametrize("beta", [1.0, 4.0, 50.0])
def test_loss_and_gradient_are_those_of_the_package(beta):
    theta, s, c = vector(1.2, -0.8, 2.0), vector(0.4, -0.3, 0.02), vector(1, -1, 0)
    layer, found = linear_gate(theta, s, beta)
    z = layer.weight[0] / found.scale  # the slide has no 1/σ(s⁰)
    loss = (z - c).square().sum() / 2 + 0.3 * found.expected_l0()
    assert loss.item() == pytest.approx(
        float(solutions.converted_loss(theta, s, c, beta, 0.3))
    )
    (by_package,) = torch.autograd.grad(loss, found.s)
    grad = theta * torch.sigmoid(beta * s) - c
    expected = solutions.mask_gradient(grad, theta, s, beta, 0.3)
    torch.testing.assert_close(by_package[0], expected)


@pytest.mark.parametrize("eps", [0.3, 0.01, 1e-4])
def test_the_band_is_where_the_packages_gate_is_undecided(eps):
    band = float(solutions.undecided_band(20.0, eps))
    s = vector(-1.001 * band, -0.999 * band, 0.999 * band, 1.001 * band)
    soft = linear_gate(s, s, 20.0)[1].probability()[0]
    assert ((soft > eps) & (soft < 1 - eps)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("s0", [-0.1, 0.0, 0.3])
def test_next_round_is_the_packages(s0):
    s = vector(0.3, 0.02, -0.01, -0.2)
    layer, found = linear_gate(s, s, 200.0)
    found.s0 = s0
    start_round(layer)
    torch.testing.assert_close(found.s.data[0], solutions.next_round(s, 200.0, s0))


@pytest.mark.parametrize(("lam", "decay"), [(0.1, 1.0), (2.0, 0.3), (1e-3, 5e-2)])
def test_implied_penalty_is_the_least_over_all_gates(lam, decay):
    theta = torch.from_numpy(np.array([-2.5, -0.7, -0.05, 0.01, 0.3, 1.4]))
    z = np.linspace(1e-5, 1, 400_001)
    brute = [(lam * z + decay * (t / z) ** 2 / 2).min() for t in theta.tolist()]
    result = solutions.implied_penalty(theta, lam, decay)
    np.testing.assert_allclose(result, brute, rtol=1e-6)
    # below the knot it is Part I's penalty with q = 2/3
    small = theta[theta.abs() < math.sqrt(lam / decay)]
    strength = 1.5 * (lam**2 * decay) ** (1 / 3)
    torch.testing.assert_close(
        solutions.implied_penalty(small, lam, decay), Lq(strength, 2 / 3).value(small)
    )
