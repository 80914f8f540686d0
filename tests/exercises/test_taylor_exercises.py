"""The exercises on Taylor saliency: states, mistakes, and independent references."""

import inspect
import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ece661_sparse.exercises import check, exercises, progress, solution_source
from ece661_sparse.exercises import saliency as solutions
from ece661_sparse.exercises.checker import NotSolvedError, _call, _same, _verdict
from ece661_sparse.saliency import averaged_taylor, first_order, loss_change

CHAPTER = "taylor_saliency"
PART = {e.name: e for e in exercises() if e.chapter == CHAPTER}
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{position}")
    for exercise in PART.values()
    for position, mistake in enumerate(exercise.mistakes)
]
each_exercise = pytest.mark.parametrize("exercise", PART.values(), ids=list(PART))


def test_the_chapter_has_its_exercises():
    expected = ["predicted_loss", "mean_saliency", "largest_safe_weight"]
    assert list(PART) == expected
    assert all(name in repr(progress(chapter=CHAPTER)) for name in expected)


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
    assert check(exercise.name, mistake.implementation) is exercise.reference
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
        assert outcome.error is None
        assert outcome.changed is None
        assert _same(exercise, outcome, exercise.reference(*args))


# --- the references against something else ----------------------------------------


def tangent_by_loop(loss, grad, w):
    result = torch.empty_like(w)
    for i, (g, v) in enumerate(zip(grad.flatten(), w.flatten(), strict=True)):
        result.view(-1)[i] = loss - g * v
    return result


def mean_by_loop(w, grads):
    total = torch.zeros_like(w)
    for g in grads:
        total = total + torch.maximum(g * w, -g * w)
    return total / grads.shape[0]


ALTERNATIVES = {
    "predicted_loss": [tangent_by_loop],
    "mean_saliency": [mean_by_loop],
    "largest_safe_weight": [lambda curvature, rise: math.sqrt(rise / (curvature / 2))],
}


@each_exercise
def test_a_right_answer_written_differently_is_accepted(exercise):
    for answer in ALTERNATIVES[exercise.name]:
        verdict = _verdict(exercise, answer)
        assert verdict.state == "correct", verdict


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, torch.randn(12, 4).double(), torch.randint(3, (12,))


def test_predicted_loss_is_the_loss_itself_where_weights_are_tiny():
    model, x, y = network()
    with torch.no_grad():
        model[0].weight.mul_(1e-4)
    loss = F.cross_entropy(model(x), y)
    (grad,) = torch.autograd.grad(loss, [model[0].weight])
    w = model[0].weight.detach()
    exact = loss_change(model, x, y, {"0.weight": torch.arange(20)})["0.weight"]
    predicted = solutions.predicted_loss(loss.detach(), grad, w)
    actual = loss.detach() + exact.view(5, 4)
    assert (predicted - actual).abs().max() < 1e-3 * exact.abs().max()
    torch.testing.assert_close(
        predicted - loss.detach(), first_order(model, x, y)["0.weight"]
    )


def test_mean_saliency_is_the_packages_average():
    model, x, y = network()
    parts = list(zip(x.split(4), y.split(4), strict=True))
    grads = torch.stack(
        [
            torch.autograd.grad(F.cross_entropy(model(a), b), [model[2].weight])[0]
            for a, b in parts
        ]
    )
    torch.testing.assert_close(
        solutions.mean_saliency(model[2].weight.detach(), grads),
        averaged_taylor(model, parts)["2.weight"],
    )


@pytest.mark.parametrize(("curvature", "rise"), [(2.0, 0.3), (0.1, 1e-3), (30.0, 2.0)])
def test_largest_safe_weight_on_a_parabola(curvature, rise):
    """The loss has its minimum at w; removing the weight walks to zero."""
    w = torch.tensor(float(solutions.largest_safe_weight(curvature, rise)))

    def loss(v):
        return curvature * (v - w) ** 2 / 2

    assert float(loss(torch.tensor(0.0)) - loss(w)) == pytest.approx(rise, rel=1e-5)
