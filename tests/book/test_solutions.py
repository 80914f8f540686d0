"""With every stub replaced by its solution, a chapter passes in strict mode."""

import ast
import re

import nbformat
import pytest
from refresh import chapters, execute

from ece661_sparse.exercises import exercises, solution_source

CHECK = re.compile(r'^(\w+) = check\(\s*"(\w+)",\s*(\w+)\s*\)$', re.MULTILINE)


def solved(cell):
    """The cell's source with the solution instead of the stub, if it has one."""
    for function in ast.parse(cell.source).body:
        if isinstance(function, ast.FunctionDef) and _is_stub(function):
            lines = cell.source.splitlines()
            lines[function.lineno - 1 : function.end_lineno] = [
                solution_source(function.name)
            ]
            return "\n".join(lines)
    return cell.source


def _is_stub(function):
    last = function.body[-1]
    return isinstance(last, ast.Raise) and ast.unparse(last) == (
        "raise NotImplementedError"
    )


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_solutions_pass_in_their_chapter(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    stubs = [cell for cell in code if "raise NotImplementedError" in cell.source]
    for cell in stubs:
        assert solved(cell) != cell.source
        cell.source = solved(cell)
        assert "raise NotImplementedError" not in cell.source
    monkeypatch.setenv("ECE661_STRICT", "1")
    execute(notebook, tmp_path, timeout=300)
    for cell in stubs:
        shown = [o.data["text/plain"] for o in cell.outputs if "data" in o]
        assert any(text.splitlines()[1].startswith("[CORRECT]") for text in shown)


def test_every_exercise_is_posed_once_with_its_own_names():
    posed = []
    for path in chapters():
        for cell in nbformat.read(path, as_version=4).cells:
            if "raise NotImplementedError" in cell.source:
                (names,) = CHECK.findall(cell.source)
                assert len(set(names)) == 1
                posed.append((names[0], path.stem))
    expected = [(exercise.name, exercise.chapter) for exercise in exercises()]
    assert sorted(posed) == sorted(expected)
