"""The lecture map is complete both ways: slides to code, and code to slides.

The table itself is the source. ``slides.txt`` has the titles of the lecture's slides in
order; a slide with several rows has ``– …`` behind its title. That sections and
functions have a page is the build's business: it fails on a reference that it cannot
resolve.
"""

import re
from collections import Counter
from importlib import import_module
from itertools import groupby
from pathlib import Path

import pytest
from conftest import ROOT

APPENDIX = ROOT / "book" / "appendix"
SLIDES = (Path(__file__).parent / "slides.txt").read_text(encoding="utf-8").splitlines()
PACKAGES = (
    "proximal",
    "saliency",
    "saliency.baselines",
    "gates",
    "dynamic",
    "synthesis",
    "models",
    "training",
    "core",
    "exercises",
    "reproduce",
)
FIGURES = ("show", "frame_slider")  # of viz; the rest draws for single chapters
OBJECT = re.compile(r"\{py:obj\}`~\.([\w.]+)`")
SECTION = re.compile(r"\[\]\((\S+?)#(\S+?)\)")
TEST = re.compile(r"`([\w/]+\.py)`")


def table_rows(path):
    """The cells of every row of every table, heads left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| Slide |", "| Why ")):
            yield [cell.strip() for cell in line.strip("| ").split(" | ")]


ROWS = list(table_rows(APPENDIX / "lecture_map.md"))
ON_SLIDES = [row for row in ROWS if len(row) == 3]
WITHOUT = [row for row in ROWS if len(row) == 2]


def title(row):
    return row[0].partition(" – ")[0]


def names_in(text):
    """``package.name`` of every function in the text; data are listed by module."""
    for dotted in OBJECT.findall(text):
        package, _, name = dotted.rpartition(".")
        while package not in (*PACKAGES, "viz"):
            package = package.rpartition(".")[0]
        yield f"{package}.{name}"


def public():
    """The public names of the package, without its first part."""
    names = {
        f"{package}.{name}"
        for package in PACKAGES
        for name in import_module(f"ece661_sparse.{package}").__all__
    }
    return names | {f"viz.{name}" for name in FIGURES}


def test_every_slide_has_its_rows_in_the_order_of_the_lecture():
    assert len(ON_SLIDES) + len(WITHOUT) == len(ROWS)
    titles = [title(row) for row in ON_SLIDES]
    assert [t for t, _ in groupby(titles)] == [t for t, _ in groupby(SLIDES)]
    assert Counter(titles) >= Counter(SLIDES)


@pytest.mark.parametrize("row", ON_SLIDES, ids=lambda row: row[0])
def test_every_slide_has_a_section(row):
    sections = SECTION.findall(row[1])
    assert sections
    assert all((APPENDIX / page).is_file() for page, _ in sections)


@pytest.mark.parametrize("row", WITHOUT, ids=lambda row: row[0].partition(":")[0])
def test_what_has_no_slide_has_a_reason(row):
    reason, code = row
    assert len(reason) > 20
    assert OBJECT.findall(code)
    assert TEST.findall(code)


def test_every_public_name_has_a_row_and_every_name_of_a_row_is_public():
    listed = {name for row in ROWS for name in names_in(" ".join(row))}
    assert public() - listed == set()
    extra = {name for name in listed - public() if not name.startswith("viz.")}
    assert extra == set()
    viz = set(import_module("ece661_sparse.viz").__all__)
    assert {n.removeprefix("viz.") for n in listed if n.startswith("viz.")} <= viz


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].partition(":")[0][:40])
def test_every_name_is_tested_in_a_file_of_its_row(row):
    """By its name, or, for a type, as what a tested function takes or returns."""
    code = row[-1]
    files = [ROOT / "tests" / name for name in TEST.findall(code)]
    assert all(path.is_file() for path in files)
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    names = list(names_in(code))
    missing = [name for name in names if not word(name, text)]
    tested = [name for name in names if name not in missing]
    hints = "\n".join(map(annotations, [*tested, *missing]))
    assert [name for name in missing if not word(name, hints)] == []


def word(name, text):
    return re.search(rf"\b{name.rpartition('.')[2]}\b", text)


def annotations(name):
    """The types that a function takes and returns, or that a class holds."""
    package, _, attribute = name.rpartition(".")
    function = getattr(import_module(f"ece661_sparse.{package}"), attribute)
    return str(getattr(function, "__annotations__", ""))


def test_the_reference_has_every_public_name_once():
    pages = sorted((APPENDIX / "api").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    documented = Counter(
        re.findall(r"auto(?:function|class|data|exception):: (?:[\w.]+\.)?(\w+)", text)
    )
    packages = (*PACKAGES, "viz")
    names = Counter(
        name
        for package in packages
        for name in import_module(f"ece661_sparse.{package}").__all__
    )
    assert documented == names
