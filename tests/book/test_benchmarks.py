"""The page of benchmarks has every bar of the harness, as its file has it."""

import json
from types import SimpleNamespace

import nbformat
from bs4 import BeautifulSoup
from conftest import ROOT

from tests.benchmarks import bench_gsm
from tests.benchmarks.__main__ import modules

FILE = ROOT / "book" / "results" / "bench.json"


def page():
    """The text of each cell of each line of the page's tables."""
    path = ROOT / "book" / "appendix" / "benchmarks.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    html = "".join(
        output.data.get("text/html", "")
        for cell in cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    )
    soup = BeautifulSoup(html, "html.parser")
    rows = [[td.text for td in tr.find_all("td")] for tr in soup.find_all("tr")]
    return soup, [row for row in rows if row]


def test_the_file_has_every_bar_of_the_harness_with_its_limit(monkeypatch):
    untrained = SimpleNamespace(optimizer=SimpleNamespace(step=None), step=None)
    monkeypatch.setattr(bench_gsm, "Training", lambda *_: untrained)
    expected = [
        (module.PART, bar.name, bar.peer, bar.at_most, bar.at_least)
        for module in modules()
        for bar in module.bars()
    ]
    keys = ("part", "name", "peer", "at_most", "at_least")
    bars = json.loads(FILE.read_text())["bars"]
    assert [tuple(bar[key] for key in keys) for bar in bars] == expected
    assert len(set(expected)) == len(expected) > 40


def test_the_page_has_every_bar_of_the_file_and_where_it_was_measured():
    content = json.loads(FILE.read_text())
    soup, rows = page()
    assert sorted([*row[:2], row[4]] for row in rows) == sorted(
        [bar["name"], bar["peer"], "met" if bar["holds"] else "missed"]
        for bar in content["bars"]
    )
    for bar in content["bars"]:
        (ratio,) = [row[2] for row in rows if row[:2] == [bar["name"], bar["peer"]]]
        assert ratio.startswith(f"{bar['ratio']:.3g}")
    machine = content["machine"]
    caption = soup.find_all("p")[-1].text
    for said in ("processor", "cores", "threads", "python", "date"):
        assert str(machine[said]) in caption
