"""Refreshing twice changes no byte, and nbval's strict comparison then passes."""

import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from refresh import BOOTSTRAP, main, tags

CELLS = [
    ("print('first'); print('second', flush=True); 1 + 1", []),
    ("import sys; print('\\r 50%|### | 1/2 [00:01]', file=sys.stderr)", ["progress"]),
    ("import time; print(time.time())", ["nbval-ignore-output"]),
    ("import ipywidgets; ipywidgets.interactive(lambda n: print(n), n=3)", ["live"]),
    ("import os; print(os.path.exists('beside.txt'))", []),
    (
        "from IPython.display import HTML\n"
        'HTML(\'<img src="data:image/png;base64,AAAA" alt="nothing">\')',
        [],
    ),
]


@pytest.fixture
def path(tmp_path):
    """A notebook as an editor leaves it: duplicate ids, metadata, no outputs."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells.append(nbformat.v4.new_markdown_cell("# Title", id="same"))
    for source, given in CELLS:
        cell = nbformat.v4.new_code_cell(source, id="same")
        cell.metadata = {"tags": given, "collapsed": True, "colab": {"x": 1}}
        notebook.cells.append(cell)
    notebook.metadata = {
        "language_info": {"name": "python", "version": "3"},
        "widgets": {"x": 1},
    }
    (tmp_path / "beside.txt").touch()
    path = tmp_path / "small.ipynb"
    with pytest.warns(nbformat.warnings.DuplicateCellId):
        nbformat.write(notebook, path)
    return path


def test_refresh(path, capsys):
    assert main(["--check", str(path)]) == 1
    assert "changed" in capsys.readouterr().out
    assert main([str(path)]) == 0
    first = path.read_bytes()
    assert main(["-j", "2", str(path)]) == 0
    assert path.read_bytes() == first
    capsys.readouterr()
    assert main(["--check", str(path)]) == 0
    assert "unchanged" in capsys.readouterr().out

    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec"}
    title, bootstrap, streams, progress, ignored, live, folder, figure = notebook.cells
    assert bootstrap.source == BOOTSTRAP.read_text(encoding="utf-8").strip()
    assert bootstrap.outputs == []
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert title.id == "same"
    assert [output.output_type for output in streams.outputs] == [
        "stream",
        "execute_result",
    ]
    assert streams.outputs[0].text == "first\nsecond\n"
    assert progress.outputs == []
    assert progress.metadata == {"tags": ["progress"]}
    assert ignored.outputs == []
    assert (live.outputs, live.execution_count) == ([], None)
    assert folder.outputs[0].text == "True\n"
    assert "<img" in figure.outputs[0].data["text/html"]
    counts = [c.execution_count for c in notebook.cells[1:] if c is not live]
    assert counts == [1, 2, 3, 4, 5, 6]


def compare(path):
    """The exit status of nbval's strict comparison."""
    sanitize = ROOT / "tests" / "nbval_sanitize.cfg"
    options = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", sanitize]
    plain = ["-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", path.parent]
    command = [sys.executable, "-m", "pytest", path, *options, *plain]
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode


def test_nbval_accepts_what_refresh_stores_and_nothing_else(path):
    notebook = nbformat.read(path, as_version=4)
    # Strict comparison reports a progress bar in a cell that is not tagged for it.
    notebook.cells = [c for c in notebook.cells if "progress" not in tags(c)]
    path.write_text(nbformat.writes(notebook))
    assert main([str(path)]) == 0
    stored = path.read_text()
    other_machine = stored.replace("base64,AAAA", "base64,BBBB")
    assert other_machine != stored
    path.write_text(other_machine)
    assert compare(path) == 0
    wrong = stored.replace('"True\\n"', '"False\\n"')
    assert wrong != stored
    path.write_text(wrong)
    assert compare(path) == 1


def test_a_failing_cell_leaves_the_notebook_as_it_is(path, capsys):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert main([str(path)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert path.read_bytes() == before
