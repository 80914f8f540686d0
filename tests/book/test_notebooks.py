"""Chapters have one anatomy; notebooks are stored as `make refresh` stores them."""

import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT
from refresh import BOOTSTRAP, chapters, normalise, notebooks, tags

from ece661_sparse.exercises import exercises

ALLOWED_TAGS = {"bootstrap", "hide-input", "hide-output", "live", "nbval-ignore-output"}
MOST_IGNORED = 2
EXERCISES = {exercise.name: exercise for exercise in exercises()}
DATA_URI = re.compile(r'data:image/[^"]+')
PATHS = re.compile(r"(?<![\w.:/])(/(root|home|tmp|work|Users|usr|opt|mnt)/|[A-Z]:\\)")


@pytest.fixture(params=notebooks(), ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture
def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def html_of(cells):
    text = "".join(
        output.data["text/html"]
        for cell in cells
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    )
    return BeautifulSoup(text, "html.parser")


def test_it_is_in_the_table_of_contents(path):
    page = path.relative_to(ROOT).with_suffix("").as_posix()
    assert re.search(rf"file: {page}$", (ROOT / "_toc.yml").read_text(), re.MULTILINE)


def test_it_begins_with_title_and_bootstrap(notebook):
    title, bootstrap = notebook.cells[:2]
    assert title.cell_type == "markdown"
    assert re.match(r"# \S", title.source)
    assert tags(bootstrap) == ["hide-input", "bootstrap"]
    assert bootstrap.source == BOOTSTRAP.read_text(encoding="utf-8").strip()
    assert sum("bootstrap" in tags(cell) for cell in notebook.cells) == 1


def test_its_tags(code):
    assert {tag for cell in code for tag in tags(cell)} <= ALLOWED_TAGS
    assert sum("nbval-ignore-output" in tags(cell) for cell in code) <= MOST_IGNORED


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem, indirect=True)
def test_it_has_something_to_move_to_explore_and_to_solve(code):
    assert html_of(code).select("input[type=range]")
    assert any("live" in tags(c) and "explore_" in c.source for c in code)
    assert sum("raise NotImplementedError" in cell.source for cell in code) >= 3


def test_it_was_run_and_stored_normalised(path, notebook, code):
    run = [cell for cell in code if "live" not in tags(cell)]
    assert [cell.execution_count for cell in run] == list(range(1, len(run) + 1))
    normalise(notebook)
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"


def test_its_outputs(code):
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error"]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    # A bare image has no alternative text: `show(fig, alt=...)` gives it one.
    assert not [o for o in outputs if "image/png" in o.get("data", {})]


def test_every_image_has_an_alternative_text(path, notebook, code):
    images = html_of(code).find_all("img")
    assert images or path not in chapters()
    assert all(len(image.get("alt", "")) > 10 for image in images)
    prose = "".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert not re.search(r"!\[\s*\]", prose)


def test_it_names_no_path_of_a_machine(path):
    assert not PATHS.search(DATA_URI.sub("", path.read_text(encoding="utf-8")))


def test_its_code_fits_a_phone(code):
    lines = [line for cell in code for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > 72]


def test_it_is_small(path, notebook):
    assert path.stat().st_size < 3_000_000
    assert set(json.loads(path.read_text())["metadata"]) == {"kernelspec"}


def test_directives_read_as_text_in_colab(notebook):
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert not re.search(r"^`{3,}\{", prose, re.MULTILINE), "use ::: fences"


def test_exercise_boxes_state_the_checkers_difficulty_and_minutes(notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    boxes = re.findall(r":::\{exercise\}.*?\*(\w+), (\d+) minutes\.\*", text, re.DOTALL)
    checked = re.findall(r'^\w+ = check\(\s*"(\w+)"', text, re.MULTILINE)
    words = {1: "Easy", 2: "Medium", 3: "Hard"}
    stated = [
        (words[e.difficulty], str(e.minutes)) for e in map(EXERCISES.get, checked)
    ]
    assert boxes == stated
