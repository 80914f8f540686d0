"""One command sets the repository's address everywhere, as often as one likes."""

import shutil
import tomllib

import nbformat
import pytest
import yaml
from address import set_address
from conftest import ROOT
from refresh import notebooks

FILES = ("_config.yml", "_toc.yml", "README.md", "CITATION.cff", "pyproject.toml")


@pytest.fixture
def tree(tmp_path):
    ignored = shutil.ignore_patterns("_static", "__pycache__", ".*")
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def contents(tree):
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_address_is_set_everywhere(tree):
    url = "https://github.com/a-course/its-book"
    set_address(tree, url)
    config = yaml.safe_load((tree / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"] == {"url": url, "branch": "main"}
    assert config["launch_buttons"]["colab_url"].startswith("https://colab.")
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["urls"]["Repository"] == url
    citation = yaml.safe_load((tree / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == url
    paths = notebooks(tree / "book")
    assert paths
    readme = (tree / "README.md").read_text(encoding="utf-8")
    for path in paths:
        bootstrap = nbformat.read(path, as_version=4).cells[1].source
        assert f'ADDRESS = "git+{url}@main"' in bootstrap
        page = path.relative_to(tree).as_posix()
        assert f"a-course/its-book/blob/main/{page}" in readme


def test_twice_changes_nothing_more_and_a_new_address_replaces_the_old(tree):
    set_address(tree, "https://github.com/a-course/its-book")
    once = contents(tree)
    set_address(tree, "https://github.com/a-course/its-book.git")
    assert contents(tree) == once
    set_address(tree, "https://github.com/another/name", branch="trunk")
    assert not [p for p, text in contents(tree).items() if b"its-book" in text]


@pytest.mark.parametrize("url", ["", "github.com/a/b", "https://github.com/a", "x y"])
def test_an_address_that_colab_cannot_open_is_refused(tree, url):
    before = contents(tree)
    with pytest.raises(ValueError, match="must be https://github"):
        set_address(tree, url)
    assert contents(tree) == before
