"""The teaching guide says of each chapter what the chapter says of itself."""

import re
from collections import Counter

import nbformat
import pytest
from conftest import ROOT
from refresh import chapters

from ece661_sparse.exercises import exercises

GUIDE = nbformat.read(ROOT / "book" / "appendix" / "teaching.ipynb", as_version=4)
PROSE = "\n\n".join(c.source for c in GUIDE.cells if c.cell_type == "markdown")
MINUTES = dict(re.findall(r"^\| \{doc\}`\.\./\w+/(\w+)` \| (\d+) \|", PROSE, re.M))


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_every_chapter_is_in_the_guide_with_its_own_minutes(path):
    title = nbformat.read(path, as_version=4).cells[0].source
    (minutes,) = re.findall(r"\*\*Time\*\* \| (\d+) minutes to read", title)
    assert MINUTES[path.stem] == minutes


def test_the_exercises_of_a_part_take_as_long_as_the_guide_says():
    part = {path.stem: path.parent.name for path in chapters()}
    minutes = Counter()
    for exercise in exercises():
        minutes[part[exercise.chapter]] += exercise.minutes
    stated = f"from {min(minutes.values())} to {max(minutes.values())} minutes"
    assert f"The exercises of a part take {stated};" in PROSE


def test_every_question_has_a_hidden_answer():
    questions = re.findall(r"^\*\*(\d+)\.\*\* \(\d+ min\)", PROSE, re.MULTILINE)
    assert questions == [str(n) for n in range(1, len(questions) + 1)]
    # A blank line ends the HTML; without it the next question stays raw text.
    assert not re.search(r"</details>\n(?!\n|$)", PROSE)
    assert PROSE.count("<details><summary>Answer</summary>\n\n") == len(questions)
