"""A notebook alone, where the package is missing: it installs itself, or says why not.

The fresh environment sees everything installed here (torch, Jupyter, pip) except this
package, and has no index to download from: what the bootstrap cell leaves as it is
stays as it is.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from refresh import BOOTSTRAP, notebooks

RUN = """
import nbclient, nbformat
notebook = nbformat.read("notebook.ipynb", 4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with everything installed here, except this package."""
    folder = tmp_path_factory.mktemp("packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "ece661" not in entry.name:
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def python(packages, tmp_path):
    """The Python of a fresh environment."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    (site / "packages.pth").write_text(str(packages))
    return environment / "bin" / "python"


@pytest.fixture
def source(tmp_path):
    """The package as a repository of its own."""
    folder = tmp_path / "repository"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ece661_sparse", folder / "ece661_sparse", ignore=ignored)
    shutil.copytree(ROOT / "book" / "results", folder / "book" / "results")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


def run(python, folder, notebook, **settings):
    """Run a notebook alone in ``folder``; returns the finished process."""
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / "notebook.ipynb")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ECE661", "PY"))}
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as "no isolation"
        "JUPYTER_DATA_DIR": str(folder.parent / "jupyter"),
    }
    return subprocess.run(
        [python, "-c", RUN],
        cwd=folder,
        env={**kept, **offline, **settings},
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


def test_a_chapter_alone_installs_the_package_from_git(python, source, tmp_path):
    chapter = nbformat.read(notebooks()[0], as_version=4)
    address = f"git+file://{source}"
    done = run(python, tmp_path / "alone", chapter, ECE661_SRC=address)
    assert done.returncode == 0, done.stderr
    assert_only_the_package(python)


def test_from_a_wheel_beside_the_notebook(python, source, tmp_path):
    alone = tmp_path / "alone"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--wheel-dir", alone]
    subprocess.run([*pip, *options, source], check=True)
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
