"""Every exercise is posed once, and the one run of the notebooks is what it says.

``tests/notebooks.py`` runs the chapters alone and with their solutions; here it gets a
small one, and one that is wrong.
"""

import os
import re
import subprocess
import sys

import nbformat
from conftest import ROOT
from refresh import BOOTSTRAP, chapters
from solutions import CHECK, is_posed, solved

from ece661_sparse.exercises import exercises

IMPORTS = "from ece661_sparse.exercises import check, progress"
EXERCISE = """
def NAME(*args):
    raise NotImplementedError


NAME = check("NAME", NAME)
"""
# What the cell after it prints alone, with the solution in place.
WHERE = """
import os
import ece661_sparse
print(os.listdir(), "site-packages" in ece661_sparse.__file__)
print(NAME.__module__)
print([x.split("  ")[0] for x in repr(progress()).splitlines() if "NAME" in x])
"""
PRINTED = "[] True\n__main__\n['to do']\n"


def test_every_exercise_is_posed_once_with_its_own_names():
    posed = []
    for path in chapters():
        for cell in filter(is_posed, nbformat.read(path, as_version=4).cells):
            (names,) = CHECK.findall(cell.source)
            assert len(set(names)) == 1
            assert "raise NotImplementedError" not in solved(cell.source)
            posed.append((names[0], path.stem))
    expected = [(exercise.name, exercise.chapter) for exercise in exercises()]
    assert sorted(posed) == sorted(expected)


def write(folder, name, printed):
    """A chapter of one exercise; nothing but what is printed after it is compared."""
    folder.mkdir()
    bootstrap = BOOTSTRAP.read_text(encoding="utf-8")
    cells = [
        nbformat.v4.new_code_cell(source.strip().replace("NAME", name), outputs=[])
        for source in (bootstrap, IMPORTS, EXERCISE, WHERE)
    ]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    cells[2].metadata["tags"] = ["nbval-ignore-output"]
    cells[3].outputs = [nbformat.v4.new_output("stream", text=printed)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "small.ipynb")


def run(folder):
    """The report of the one run of the notebooks, on those of a folder."""
    options = ["-p", "tests.notebooks", "--nbval", "--nbval-kernel-name", "alone"]
    # The cache has Colab's widgets.
    plain = ["-o", f"cache_dir={ROOT / '.pytest_cache'}", "-p", "no:xdist"]
    plain += ["-q", "-rfp", "--color=no"]
    command = [sys.executable, "-m", "pytest", folder, "--rootdir", folder]
    done = subprocess.run(
        [*command, *options, *plain],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if "XDIST" not in k},
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_a_notebook_runs_alone_and_solved(tmp_path):
    """Another output fails, and so does a solution that lacks an import."""
    write(tmp_path / "right", "smallest_silencing_lam", PRINTED)
    write(tmp_path / "wrong", "closing_log_alpha", PRINTED.replace("[]", "['x']"))
    report = run(tmp_path)
    seen = re.findall(r"^([A-Z]+) \S*?(\w+)/small.ipynb::Cell (\d)", report, re.M)
    assert sorted(seen) == [
        *(("FAILED", "wrong", cell) for cell in "23"),
        *(("PASSED", "right", cell) for cell in "0123"),
        *(("PASSED", "wrong", cell) for cell in "01"),
    ], report
    assert "name 'math' is not defined" in report
