"""The exercises of "Pruning results": states, mistakes, and independent references."""

import inspect
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from ece661_sparse.exercises import check, exercises, progress, solution_source
from ece661_sparse.exercises.checker import NotSolvedError, _call, _same, _verdict
from ece661_sparse.proximal import project_top_n
from ece661_sparse.saliency.baselines import delete_weight, splice

CHAPTER = "pruning_results"
PART = {e.name: e for e in exercises() if e.chapter == CHAPTER}
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{position}")
    for exercise in PART.values()
    for position, mistake in enumerate(exercise.mistakes)
]
each_exercise = pytest.mark.parametrize("exercise", PART.values(), ids=list(PART))


def test_the_chapter_has_its_exercises():
    expected = ["gaussian_quality", "surgeon_step", "admm_round", "splice_mask"]
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
    namespace = {"torch": torch, "project_top_n": project_top_n}
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


def quality_by_scipy(share):
    return norm.isf(share / 2)


def surgeon_by_least_squares(row, inverse, q):
    """The same outputs as well as may be, from data whose second moment is H."""
    x = np.linalg.cholesky(np.linalg.inv(inverse.numpy())).T
    others = [i for i in range(len(row)) if i != q]
    new = np.zeros(len(row))
    new[others] = np.linalg.lstsq(x[:, others], x @ row.numpy(), rcond=None)[0]
    return torch.from_numpy(new)


def round_by_sorting(W, U, n):
    total = (W + U).flatten()
    order = sorted(range(total.numel()), key=lambda i: (-abs(float(total[i])), i))
    Z = torch.zeros_like(total)
    for i in order[:n]:
        Z[i] = total[i]
    Z = Z.view(W.shape)
    return torch.stack((Z, W - Z + U))


def mask_by_cases(weight, mask, threshold):
    result = mask.clone()
    for i, (w, m) in enumerate(zip(weight.flatten(), mask.flatten(), strict=True)):
        if m == 1 and abs(w) <= 0.9 * threshold:
            result.view(-1)[i] = 0
        elif m == 0 and abs(w) > 1.1 * threshold:
            result.view(-1)[i] = 1
    return result


ALTERNATIVES = {
    "gaussian_quality": [quality_by_scipy],
    "surgeon_step": [
        surgeon_by_least_squares,
        lambda row, inverse, q: delete_weight(row, inverse, q)[0],
    ],
    "admm_round": [round_by_sorting],
    "splice_mask": [mask_by_cases, splice],
}


@each_exercise
def test_a_right_answer_written_differently_is_accepted(exercise):
    for answer in ALTERNATIVES[exercise.name]:
        verdict = _verdict(exercise, answer)
        assert verdict.state == "correct", verdict


def test_gaussian_quality_by_drawing():
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    for share in (0.08, 0.3):
        quality = float(PART["gaussian_quality"].reference(share))
        found = float((draws.abs() > quality * draws.std()).float().mean())
        assert found == pytest.approx(share, abs=0.005)
