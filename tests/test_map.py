"""The maps that a stranger reads are those of the tree."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import ece661_sparse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
SOURCES = {".py", ".ipynb", ".md"}


def entries(folder):
    """The names of a folder's sources and rooms, without their endings."""
    return {
        path.stem
        for path in folder.iterdir()
        if (path.suffix in SOURCES or path.is_dir())
        and not path.name.startswith(("__", "."))
    }


def readme_map():
    """Each line of README's map that lists names, by the folder that it is about."""
    block = README.partition("## The map")[2].split("```")[1]
    listed, top = {}, ""
    for line in block.strip("\n").splitlines():
        name, _, content = line.strip().partition(" ")
        if not line.startswith(" "):
            top = name
        elif " · " in content:
            listed[top + name] = set(content.strip().split(" · "))
    return listed


@pytest.mark.parametrize("folder", readme_map())
def test_readme_lists_what_a_room_holds(folder):
    assert readme_map()[folder] == entries(ROOT / folder)


def test_readme_has_every_room():
    for top in ("book", "ece661_sparse"):
        rooms = {p.name for p in (ROOT / top).iterdir() if p.is_dir()}
        listed = {Path(room).name for room in readme_map() if room.startswith(top)}
        unlisted = {"results", "_static", "__pycache__"}
        assert rooms - unlisted == listed


def test_the_package_says_what_its_rooms_are():
    rooms = re.findall(r"^``(\w+)``", ece661_sparse.__doc__, re.MULTILINE)
    folders = {path.parent.name for path in (ROOT / "ece661_sparse").glob("*/*.py")}
    assert sorted(rooms) == sorted(folders)


def test_every_room_of_the_package_has_tests():
    tested = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert {Path(p).name for p in readme_map() if p.startswith("ece")} <= tested


def resolves(name):
    """Whether a dotted name, without the package's own, can be imported."""
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(import_module(f"ece661_sparse.{module}".rstrip(".")), attribute)
    except ModuleNotFoundError:
        return False


def test_what_architecture_names_is_there():
    code = re.findall(r"`([^`\n]+)`", ARCHITECTURE)
    paths = [c for c in code if re.fullmatch(r"[\w./]+/[\w./]*", c)]
    rooms = entries(ROOT / "ece661_sparse")
    names = [c for c in code if c.split(".")[0] in rooms and re.fullmatch(r"[\w.]+", c)]
    assert len(paths) > 3
    assert len(names) > 10
    roots = (ROOT, ROOT / "ece661_sparse")
    missing = [p for p in paths if not any((root / p).exists() for root in roots)]
    assert not missing
    for name in names:
        assert "." not in name or resolves(name), name
