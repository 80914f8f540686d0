"""What the tests of every chapter's exercises share."""

import numpy as np
import pytest

from ece661_sparse.exercises import exercises
from ece661_sparse.exercises.verdict import judge

EXERCISES = {exercise.name: exercise for exercise in exercises()}


def right_answers(chapter, **answers):
    """A test that these are accepted; there is one for each exercise of the chapter."""
    posed = {e.name for e in EXERCISES.values() if e.chapter == chapter}
    assert set(answers) == posed
    assert all(answers.values())

    @pytest.mark.parametrize(
        ("name", "answer"),
        [(name, answer) for name, written in answers.items() for answer in written],
    )
    def accepted(name, answer):
        verdict = judge(EXERCISES[name], answer)
        assert verdict.state == "correct", verdict

    return accepted


INPUTS = np.array([-6.3, -2.1, -1.0, -0.55, -0.01, 0.0, 0.3, 0.9, 1.7, 2.6, 4.4])
GRID = np.linspace(-8, 8, 160_001)


def assert_minimises(result, objective, slack=1e-9):
    """No grid point beats the result for any of the inputs."""
    for x, z in zip(INPUTS, result.numpy(), strict=True):
        assert objective(z, x) <= objective(GRID, x).min() + slack
