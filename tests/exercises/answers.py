"""What the tests of every chapter's exercises share."""

import pytest

from ece661_sparse.exercises import exercises
from ece661_sparse.exercises.checker import _verdict


def exercises_of(*chapters):
    return {e.name: e for e in exercises() if e.chapter in chapters}


def each_answer(answers, *chapters):
    """A test for each of the answers, and at least one answer for each exercise."""
    part = exercises_of(*chapters)
    assert set(answers) == set(part)
    assert all(answers.values())
    return pytest.mark.parametrize(
        ("exercise", "answer"),
        [
            pytest.param(part[name], answer, id=f"{name}-{position}")
            for name, written in answers.items()
            for position, answer in enumerate(written)
        ],
    )


def assert_correct(exercise, answer):
    verdict = _verdict(exercise, answer)
    assert verdict.state == "correct", verdict
