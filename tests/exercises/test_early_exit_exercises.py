"""The exercises of early exit: states, mistakes, and independent oracles."""

import inspect
import math
from itertools import combinations, groupby, product

import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from ece661_sparse.dynamic import (
    EntropyThreshold,
    Patience,
    decide,
    entropy_candidates,
    exit_costs,
    tradeoff,
)
from ece661_sparse.exercises import check, exercises, progress, solution_source
from ece661_sparse.exercises import dynamic as solutions
from ece661_sparse.exercises.checker import NotSolvedError, _call, _same, _verdict
from ece661_sparse.models import BranchyLeNet

CHAPTER = "early_exit"
NAMES = ["break_even_share", "exit_entropy", "safe_share", "patient_exit"]
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
    namespace = {"torch": torch}  # what the chapter imports
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
def test_cases_are_deterministic_and_left_alone(exercise):
    for args in exercise.cases + exercise.edges:
        tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
        assert all(t.dtype in (torch.float64, torch.bool) for t in tensors)
        outcome = _call(exercise.reference, args)
        assert outcome.error is None
        assert outcome.changed is None
        assert _same(exercise, outcome, exercise.reference(*args))


def by_cumulative_sums(h, early, late, accuracy):
    order = h.sort().indices
    zero = torch.zeros(1, dtype=torch.long)
    left = torch.cat([zero, early[order].long().cumsum(0)])
    stayed = late.sum() - torch.cat([zero, late[order].long().cumsum(0)])
    enough = ((left + stayed) / len(h) >= accuracy / 100 - 1e-12).nonzero()
    return int(enough.max()) / len(h) if len(enough) else 0.0


def by_groups(answers, p):
    start = 0
    for _, group in groupby(answers):
        length = len(list(group))
        if length > p:
            return start + p
        start += length
    return len(answers) - 1


ALTERNATIVES = {
    "exit_entropy": lambda y: torch.special.entr(y).sum(-1),
    "safe_share": by_cumulative_sums,
    "break_even_share": lambda first, last: 1 - (1 - first) / (last - first),
    "patient_exit": by_groups,
}


@each_exercise
def test_a_right_answer_written_differently_is_accepted(exercise):
    verdict = _verdict(exercise, ALTERNATIVES[exercise.name])
    assert verdict.state == "correct", verdict


# --- the references against something independent ----------------------------------


def test_exit_entropy_is_scipys():
    y = torch.rand(50, 7, dtype=torch.float64)
    y[:10, 3] = 0
    y /= y.sum(1, keepdim=True)
    expected = torch.from_numpy(scipy_entropy(y.numpy(), axis=1))
    torch.testing.assert_close(solutions.exit_entropy(y), expected)
    assert solutions.exit_entropy(torch.full((10,), 0.1)).item() == pytest.approx(
        math.log(10)
    )


@pytest.mark.parametrize("accuracy", [50.0, 65.0, 80.0])
def test_safe_share_is_what_the_best_threshold_lets_go(accuracy):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 60, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (60,), generator=generator)
    logits += torch.tensor([1.0, 2.0]).view(2, 1, 1) * torch.eye(3)[y]
    h = solutions.exit_entropy(logits[0].softmax(1))
    early, late = logits.argmax(2) == y
    shares = [
        t.shares[0]
        for threshold in [*h.tolist(), 2.0]  # below each sample, and below nobody
        if (t := tradeoff(EntropyThreshold(threshold), logits, y, [0.1, 1.0])).accuracy
        >= accuracy - 1e-9
    ]
    assert shares
    assert solutions.safe_share(h, early, late, accuracy) == pytest.approx(max(shares))
    assert entropy_candidates(logits)


def test_break_even_share_is_where_the_mean_cost_is_the_trunks():
    costs = exit_costs(BranchyLeNet(), torch.zeros(1, 1, 28, 28)).shares
    for first, last in (costs, (0.3, 1.1)):
        share = solutions.break_even_share(first, last)
        assert share * first + (1 - share) * last == pytest.approx(1)
        assert 0 < share < 1


@pytest.mark.parametrize("p", range(5))
def test_patient_exit_is_the_packages_patience(p):
    every = torch.tensor(list(product(range(3), repeat=4)))
    logits = torch.nn.functional.one_hot(every.T, 3).double()
    exits = decide(logits, Patience(p)).exit
    for answers, exit in zip(every.tolist(), exits.tolist(), strict=True):
        assert solutions.patient_exit(answers, p) == exit
