"""A notebook alone, where the package is missing: it installs itself, or says why not.

Every chapter does so in the run of the notebooks (``tests/notebooks.py``).
"""

import re
import subprocess

import nbformat
import pytest
from environment import (
    build_wheel,
    copy_package,
    fresh_python,
    link_packages,
    without_settings,
)
from refresh import BOOTSTRAP

RUN = """
import nbclient, nbformat
notebook = nbformat.read("notebook.ipynb", 4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return link_packages(tmp_path_factory.mktemp("shared") / "packages")


@pytest.fixture
def python(packages, tmp_path):
    """The Python of a fresh environment."""
    return fresh_python(tmp_path / "environment", packages)


@pytest.fixture
def source(tmp_path):
    """The package as a repository of its own."""
    folder = copy_package(tmp_path / "repository")
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


def run(python, folder, notebook, **settings):
    """Run a notebook alone in ``folder``; returns the finished process."""
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / "notebook.ipynb")
    settings["JUPYTER_DATA_DIR"] = str(folder.parent / "jupyter")
    return subprocess.run(
        [python, "-c", RUN],
        cwd=folder,
        env={**without_settings(), **settings},
        capture_output=True,
        text=True,
    )


def message(done):
    """What the notebook reported, without its colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", done.stderr)


def installed(python):
    """What the environment itself holds, beside what it sees."""
    site = next(python.parents[1].glob("lib/python*/site-packages"))
    return {entry.name for entry in site.iterdir()} - {"packages.pth"}


def small_notebook(bootstrap=None):
    bootstrap = bootstrap or BOOTSTRAP.read_text(encoding="utf-8")
    cells = [
        bootstrap,
        "import torch\nfrom ece661_sparse.proximal import prox_l1",
        "assert prox_l1(torch.tensor([2.0]), 0.5).item() == 1.5",
        # The results that the chapters show come along.
        "from ece661_sparse.reproduce import results_table",
        "assert 'full, seeds 0 1 2' in repr(results_table('table1'))",
    ]
    return nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))


def assert_only_the_package(python):
    names = installed(python)
    assert {name.split("-")[0] for name in names} == {"ece661_sparse"}


def test_from_git(python, source, tmp_path):
    address = f"git+file://{source}"
    done = run(python, tmp_path / "alone", small_notebook(), ECE661_SRC=address)
    assert done.returncode == 0, done.stderr
    assert_only_the_package(python)


def test_from_a_wheel_beside_the_notebook(python, source, tmp_path):
    alone = tmp_path / "alone"
    build_wheel(source, alone)
    done = run(python, alone, small_notebook())
    assert done.returncode == 0, done.stderr
    assert_only_the_package(python)


def test_without_any_source_it_says_what_to_do(python, tmp_path):
    lines = BOOTSTRAP.read_text(encoding="utf-8").splitlines()
    unset = ['ADDRESS = ""' if x.startswith("ADDRESS = ") else x for x in lines]
    assert unset.count('ADDRESS = ""') == 1
    done = run(python, tmp_path / "alone", small_notebook("\n".join(unset)))
    assert done.returncode != 0
    assert "RuntimeError: The package ece661_sparse is not installed" in message(done)
    assert "set the environment variable ECE661_SRC" in message(done)
    assert installed(python) == set()


def test_a_failing_installation_is_visible(python, tmp_path):
    nowhere = str(tmp_path / "nowhere")
    done = run(python, tmp_path / "alone", small_notebook(), ECE661_SRC=nowhere)
    assert done.returncode != 0
    assert f"RuntimeError: pip failed on {nowhere}" in message(done)


def test_where_the_package_is_installed_it_does_nothing():
    names: dict = {}
    exec(BOOTSTRAP.read_text(encoding="utf-8"), names)
    assert "source" not in names
