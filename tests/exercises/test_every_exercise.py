"""Every exercise of the book: its states, its cases, and what its mistakes are told.

That the references are right is for the tests of each chapter's exercises.
"""

import ast
import inspect
import re
from functools import cache
from itertools import combinations
from pathlib import Path

import nbformat
import pytest
import torch

from ece661_sparse.exercises import exercises, progress, solution_source
from ece661_sparse.exercises.trial import Trial
from ece661_sparse.exercises.verdict import judge

BOOK = Path(__file__).parents[2] / "book"
EVERY = list(exercises())
CHAPTERS = list(dict.fromkeys(exercise.chapter for exercise in EVERY))
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS)
each_exercise = pytest.mark.parametrize("exercise", EVERY, ids=lambda e: e.name)


def of(chapter):
    return [exercise.name for exercise in EVERY if exercise.chapter == chapter]


@cache
def code(chapter):
    """The chapter's code cells."""
    (path,) = BOOK.glob(f"*/{chapter}.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


@cache
def imported(chapter):
    """What the chapter has imported, for a solution to use."""
    namespace = {}
    for source in code(chapter):
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                exec(ast.unparse(statement), namespace)
    return namespace


@each_chapter
def test_exercises_are_registered_in_the_order_of_their_chapter(chapter):
    posed = re.findall(r'= check\(\s*"(\w+)"', "\n".join(code(chapter)))
    assert posed == of(chapter)
    assert len(posed) >= 3
    assert all(name in repr(progress(chapter=chapter)) for name in posed)


@each_exercise
def test_stub_is_to_do(exercise):
    stub = eval(f"lambda {', '.join(exercise.parameters)}: None")
    stub.__defaults__ = exercise.reference.__defaults__
    assert judge(exercise, stub).state == "to do"


@each_exercise
def test_the_source_of_the_reference_solves_the_stub(exercise):
    namespace = dict(imported(exercise.chapter))
    for name in of(exercise.chapter):  # a solution may use the earlier ones
        exec(solution_source(name), namespace)
        if name == exercise.name:
            break
    answer = namespace[exercise.name]
    assert judge(exercise, answer).state == "correct"
    assert inspect.signature(answer) == inspect.signature(exercise.reference)


@each_exercise
def test_every_mistake_is_not_yet_with_its_own_message(exercise):
    for mistake in exercise.mistakes:
        verdict = judge(exercise, mistake.implementation)
        assert verdict.state == "not yet"
        assert verdict.message == mistake.message
        args = exercise.cases[0]
        answer = torch.as_tensor(mistake.implementation(*args))
        if answer.shape == torch.as_tensor(exercise.reference(*args)).shape:
            assert verdict.evidence.table is not None
            assert "←" in repr(verdict)
        assert (verdict.evidence.plot is None) == (exercise.objective is None)


@each_exercise
def test_mistakes_differ_from_each_other_on_the_cases(exercise):
    messages = [mistake.message for mistake in exercise.mistakes]
    assert len(set(messages)) == len(messages) >= 3
    for one, other in combinations(exercise.mistakes, 2):
        trial = Trial(exercise, one.implementation)
        assert not all(
            trial.same(outcome, other.implementation(*outcome.args))
            for outcome in trial.ordinary
        )


@each_exercise
def test_cases_are_deterministic_double_precision_and_left_alone(exercise):
    trial = Trial(exercise, exercise.reference)
    for outcome in trial.outcomes:
        tensors = [arg for arg in outcome.args if isinstance(arg, torch.Tensor)]
        assert all(t.dtype in (torch.float64, torch.bool) for t in tensors)
        assert outcome.error is None
        assert outcome.changed is None
        assert trial.same(outcome, outcome.expected)


@each_exercise
def test_a_right_answer_in_single_precision_is_told_that_it_is_right(exercise):
    def single(*args):
        result = exercise.reference(*args)
        return result.float() if isinstance(result, torch.Tensor) else result

    verdict = judge(exercise, single)
    if torch.as_tensor(exercise.reference(*exercise.cases[0])).ndim:
        assert verdict.state == "not yet"
        assert "The values are right" in verdict.message
        assert "torch.float32" in verdict.message
    else:
        assert verdict.state == "correct"  # a number is a number
