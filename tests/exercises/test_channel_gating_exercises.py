"""The exercises of channel gating: states, mistakes, and independent oracles."""

import inspect
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import (
    GatedResidualBlock,
    batch_shaping,
    beta_cdf,
    gumbel_sigmoid,
)
from ece661_sparse.exercises import check, exercises, progress, solution_source
from ece661_sparse.exercises import dynamic as solutions
from ece661_sparse.exercises.checker import NotSolvedError, _call, _same, _verdict

CHAPTER = "channel_gating"
NAMES = ["gate_gradient", "batch_shaping_loss", "collapsed_loss", "gated_flops"]
PART = {e.name: e for e in solutions.EXERCISES if e.chapter == CHAPTER}
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{position}")
    for exercise in PART.values()
    for position, mistake in enumerate(exercise.mistakes)
]
each_exercise = pytest.mark.parametrize("exercise", PART.values(), ids=list(PART))


# --- the exercises as exercises --------------------------------------------------


def test_all_exercises_are_registered_in_the_order_of_the_chapter():
    assert [e.name for e in exercises() if e.chapter == CHAPTER] == NAMES
    for name in NAMES:
        assert name in repr(progress(chapter=CHAPTER))


@each_exercise
def test_stub_is_to_do(exercise, capsys):
    names = list(inspect.signature(exercise.reference).parameters)
    stub = eval(f"lambda {', '.join(names)}: None")
    assert check(exercise.name, stub) is exercise.reference
    assert f"[TO DO] {exercise.name}" in capsys.readouterr().out


@each_exercise
def test_reference_is_correct_and_its_source_solves_the_stub(exercise, monkeypatch):
    monkeypatch.setenv("ECE661_STRICT", "1")
    assert check(exercise.name, exercise.reference) is exercise.reference
    namespace = {"torch": torch, "beta_cdf": beta_cdf}  # what the chapter imports
    exec(solution_source(exercise.name), namespace)
    answer = namespace[exercise.name]
    assert check(exercise.name, answer) is answer


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_every_mistake_is_not_yet_with_its_own_message(exercise, mistake, monkeypatch):
    verdict = _verdict(exercise, mistake.implementation)
    assert verdict.state == "not yet"
    assert verdict.message == mistake.message
    assert verdict.evidence is not None and verdict.evidence.table is not None
    assert "←" in repr(verdict)
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
        assert all(t.dtype in (torch.float64, torch.bool) for t in tensors)
        outcome = _call(exercise.reference, args)
        assert outcome.error is None
        assert outcome.changed is None
        assert _same(exercise, outcome, exercise.reference(*args))


# --- the references against something independent ----------------------------------


@pytest.mark.parametrize("temperature", [0.2, 2 / 3, 3.0])
def test_gate_gradient_is_what_autograd_sends_through_the_gate(temperature):
    log_alpha = torch.linspace(-3, 3, 50, dtype=torch.float64).requires_grad_()
    seeded = [torch.Generator().manual_seed(0) for _ in range(2)]
    z = gumbel_sigmoid(log_alpha, temperature, generator=seeded[0])
    z.sum().backward()
    u = torch.rand(50, generator=seeded[1], dtype=torch.float64)
    found = solutions.gate_gradient(log_alpha.detach(), u, temperature)
    torch.testing.assert_close(found, log_alpha.grad)


def test_gate_gradient_is_a_difference_quotient_of_the_soft_gate():
    u, step = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64), 1e-6

    def soft(log_alpha):
        a, b = u ** (1 / 0.5), (1 - u) ** (1 / 0.5)  # the odds, to the power 1/tau
        odds = torch.exp(log_alpha / 0.5) * a / b
        return odds / (1 + odds)

    at = torch.tensor([-1.0, 0.3, 0.8], dtype=torch.float64)
    quotient = (soft(at + step) - soft(at - step)) / (2 * step)
    found = solutions.gate_gradient(at, u, 0.5)
    torch.testing.assert_close(found, quotient, rtol=1e-6, atol=0)


@pytest.mark.parametrize("n", [1, 5, 60])
def test_batch_shaping_loss_is_scipys(n):
    p = np.random.default_rng(n).random(n)
    distance = np.arange(1, n + 1) / (n + 1) - stats.beta(0.6, 0.4).cdf(np.sort(p))
    found = solutions.batch_shaping_loss(torch.from_numpy(p)).item()
    assert found == pytest.approx((distance**2).mean())
    assert found == pytest.approx(batch_shaping(torch.from_numpy(p)).item())


@pytest.mark.parametrize("n", [1, 2, 50, 1000])
def test_collapsed_loss_is_the_loss_of_a_collapsed_gate(n):
    found = solutions.collapsed_loss(n)
    by_hand = sum((1 - i / (n + 1)) ** 2 for i in range(1, n + 1)) / n
    assert found == pytest.approx(by_hand)
    for constant in (0.0, 1.0):
        p = torch.full((n,), constant, dtype=torch.float64)
        assert found == pytest.approx(batch_shaping(p).item())


def test_gated_flops_are_those_the_counter_sees():
    torch.manual_seed(0)
    block = GatedResidualBlock(3, 6, middle=9).eval()
    block.shortcut = nn.Conv2d(3, 6, 1, bias=False)
    last = block.gate.logits[3]
    nn.init.zeros_(last.weight)
    nn.init.normal_(last.bias)
    x = torch.randn(1, 3, 11, 11)
    is_open = (last.bias > 0)[None]
    with FlopCounterMode(display=False) as inside, torch.no_grad():
        block(x)
    without = inside.get_total_flops()
    with FlopCounterMode(display=False) as gate, torch.no_grad():
        block.gate(x)
        block.shortcut(x)
    found = solutions.gated_flops(is_open, 3, 6, 11)
    assert 0 < is_open.sum() < 9
    assert found.tolist() == [without - gate.get_total_flops()]
