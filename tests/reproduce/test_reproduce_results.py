"""The results files and the tables made of them."""

import io
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from ece661_sparse.reproduce import TABLES, load_table, results_table, table1
from ece661_sparse.reproduce.datasets import DATASETS
from ece661_sparse.reproduce.networks import NETWORKS
from ece661_sparse.reproduce.report import line, terminal_table, verdict
from ece661_sparse.reproduce.results import (
    PER_SEED,
    SCHEMA,
    check_schema,
    commit,
    merged,
    read_result,
    result_path,
    write_result,
)

sys.path.insert(0, str(Path(__file__).parent))
from tiny_rows import NETWORK, NOBODY, ROW


def result(seed=0, **changes):
    return {
        "row": "tiny",
        "table": "table1",
        "method": "Tiny et al.",
        "model": "tiny",
        "dataset": "tiny",
        "profile": "full",
        "split": "test",
        "device": "cpu",
        "versions": {"python": "3.12.0", "torch": "2.4.0"},
        "parameters": 60,
        "kernel_parameters": 51,
        "retrained": True,
        "published": dict(ROW.published),
        "recipe": {"keep": 30},
        "weights_sha256": f"weights of {seed}",
        "seeds": [seed],
        "commit": [f"commit {seed}"],
        "minutes": [1.5 + seed],
        "base_minutes": [0.5],
        "nonzero": [30 + seed],
        "base_top1": [98.1],
        "top1": [97.0 + seed / 10],
        "extra": [{"seed": seed}],
    } | changes


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", NETWORK)


def test_round_trip_and_stable_layout(tmp_path):
    shuffled = dict(reversed(result().items()))
    write_result(tmp_path, ROW, shuffled)
    first = result_path(tmp_path, ROW).read_bytes()
    assert read_result(tmp_path, ROW) == result()
    write_result(tmp_path, ROW, result())
    assert result_path(tmp_path, ROW).read_bytes() == first
    assert list(json.loads(first)) == list(SCHEMA) and first.endswith(b"}\n")
    assert [p.name for p in (tmp_path / "table1").iterdir()] == ["tiny.json"]


def test_no_file_is_no_result(tmp_path):
    assert read_result(tmp_path, ROW) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": []},
        {"seeds": [0, 1]},
        {"top1": 97.0},
        {"retrained": "yes"},
        {"surprise": 1},
    ],
)
def test_the_schema_refuses(tmp_path, changes):
    with pytest.raises(ValueError):
        write_result(tmp_path, ROW, result() | changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"row": '])
def test_a_damaged_file_is_named(tmp_path, text):
    path = result_path(tmp_path, ROW)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ValueError, match=r"tiny\.json is not a results file"):
        read_result(tmp_path, ROW)


def test_seeds_merge_in_order():
    both = merged(merged(None, result(2)), result(0))
    assert merged(result(0), result(2)) == both
    check_schema(both)
    for key in PER_SEED:
        assert both[key] == result(0)[key] + result(2)[key]
    assert both["weights_sha256"] == "weights of 0"  # of the first seed


def test_a_seed_run_again_takes_the_place_of_the_old():
    both = merged(result(0), result(1))
    again = merged(both, result(0, top1=[50.0], weights_sha256="new"))
    assert again["seeds"] == [0, 1] and again["top1"] == [50.0, 97.1]
    assert again["weights_sha256"] == "new"
    assert merged(both, result(1, top1=[60.0]))["weights_sha256"] == "weights of 0"


def test_merging_names_every_machine():
    gpu = result(1, device="NVIDIA", versions={"python": "3.12.0", "torch": "2.5.0"})
    both = merged(merged(result(0), gpu), result(2))
    assert both["device"] == "cpu / NVIDIA"
    assert both["versions"] == {"python": "3.12.0", "torch": "2.4.0 / 2.5.0"}


def test_the_commit_is_named():
    found = commit()
    assert found == "unknown" or len(found.rstrip("+")) == 40


def test_verdicts():
    assert verdict(ROW, result()) == "reached"
    assert verdict(ROW, result(top1=[96.99])) == "short: accuracy"
    assert verdict(ROW, result(top1=[96.996])) == "reached"  # as printed: 97.00
    assert verdict(ROW, result(nonzero=[41])) == "short: non-zeros"
    assert verdict(ROW, result(top1=[1.0], nonzero=[41])) == (
        "short: accuracy, non-zeros"
    )
    # Other images are not the table's.
    assert verdict(ROW, result(profile="quick")) == "quick test"
    assert verdict(ROW, result(split="validation")) == "full validation"


def test_a_line_has_published_and_ours():
    both = line(ROW, merged(result(0), result(2)))
    assert (both.method, both.network) == ("Tiny et al.", "Tiny")
    assert both.published == "98.00 → 97.00" and both.published_nonzero == "40"
    assert both.ours == "98.10 → 97.10 ± 0.14" and both.nonzero == "32"
    assert both.run == "full, seeds 0 2" and both.machine == "cpu, 2.5 min"
    one = line(ROW, result())
    assert one.ours == "98.10 → 97.00" and one.run == "full, seed 0"
    assert line(ROW, result(base_top1=[None])).ours == "97.00"


def test_a_row_that_nobody_ran_says_so():
    nobody = line(NOBODY, None)
    assert nobody.ours == "not run" and nobody.published == "99.00"
    assert {nobody.nonzero, nobody.verdict, nobody.run, nobody.machine} == {""}


def test_the_terminal_table_fits_80_columns(tmp_path):
    longest = replace(ROW, method="Srinivas et al.", name="longest")
    for row in (ROW, longest):
        both = merged(result(0, retrained=False), result(2, retrained=False))
        write_result(tmp_path, row, both | {"row": row.name})
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table([ROW, longest, NOBODY], tmp_path))
    text = console.export_text()
    for whole in (
        *("98.10 → 97.10 ± 0.14", "32", "98.00 → 97.00", "Srinivas et al."),
        *("full, 2 seeds", "cpu, 2.5 min", "not run", "reached", "as pruned"),
    ):
        assert whole in text


class TableReader(HTMLParser):
    """The texts of the cells, row by row; fails at tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.rows = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_the_notebook_table(tmp_path, monkeypatch):
    monkeypatch.setattr(table1, "ROWS", (ROW, NOBODY))
    write_result(tmp_path, ROW, result())
    shown = results_table("table1", tmp_path)
    reader = TableReader()
    reader.feed(shown._repr_html_())
    head, ours, nobody = reader.rows
    assert len(head) == len(ours) == len(nobody)
    nbsp = "\N{NO-BREAK SPACE}"
    assert [cell.replace(nbsp, " ") for cell in ours] == [
        *("Tiny et al., Tiny", "98.00 → 97.00", "40", "98.10 → 97.00", "30"),
        *("reached, retrained", "full, seed 0, cpu, 1.5 min"),
    ]
    assert f"98.10{nbsp}→{nbsp}97.00" in ours[3]  # a number is not broken
    assert nobody[3:] == ["not run", "", "", ""]
    text = repr(shown)
    assert "98.10 → 97.00" in text and "not run" in text
    assert "Tiny et al., Tiny: the slide has a typo." in text


def test_the_notebook_table_takes_the_page_s_colours(tmp_path):
    tmp_path.joinpath("table1").mkdir()
    html = results_table("table1", tmp_path)._repr_html_()
    assert "color:inherit" in html and "#fff" not in html
    assert 'tabindex="0"' in html and "aria-label" in html


def test_the_caption_says_what_the_arrow_means():
    pruned, dynamic = (repr(results_table(name)) for name in ("table1", "dynamic"))
    assert "dense → pruned" in pruned and "Retrained:" in pruned
    assert "without → with the method" in dynamic
    assert "pruned" not in dynamic and "etrained" not in dynamic


def test_no_folder_of_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="come with the repository"):
        results_table("table1", tmp_path / "nowhere")


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_in_order(table):
    rows = load_table(table)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.table == table
        assert row.dataset in DATASETS
        assert row.published.keys() <= {"base_top1", "top1", "nonzero"}
        assert row.untrained() is not None
        if row.recipe is not None:
            assert {"quick", "full"} >= row.settings.keys() != set()
            json.dumps(dict(row.settings))


def test_table_1_is_the_slide_s():
    """The figures as printed, with the two corrections of the errata."""
    figures = {
        row.name: tuple(row.published[k] for k in ("base_top1", "top1", "nonzero"))
        for row in table1.ROWS
        if row.published
    }
    assert figures == {
        "han-lenet300": (98.36, 98.41, 22_000),
        "lobs-lenet300": (98.24, 98.18, 18_600),
        "admm-lenet300": (98.4, 98.4, 11_600),
        "dns-lenet300": (97.72, 98.01, 4_988),
        "gsm-lenet300-60x": (98.19, 98.18, 266_200 // 60),
        "han-lenet5": (99.20, 99.23, 36_000),
        "lobs-lenet5": (98.73, 98.73, 30_000),
        "srinivas-lenet5": (99.20, 99.19, 22_000),
        "admm-lenet5": (99.2, 99.2, 6_050),
        "dns-lenet5": (99.09, 99.09, 3_993),
        "gsm-lenet5-125x": (99.21, 99.22, 430_500 // 125),
        "gsm-lenet5-300x": (99.21, 99.06, 430_500 // 300),
    }
    ours = {row.name for row in table1.ROWS} - figures.keys()
    assert ours == {"gsm-lenet300-100x"}
    noted = {row.name for row in table1.ROWS if row.note}
    shifted = {row.name for row in table1.ROWS if "shift" in row.settings["full"]}
    assert shifted == {row.name for row in table1.ROWS if "shifted" in row.note}
    assert (
        noted == {"dns-lenet300", "han-lenet5", "lobs-lenet5", "dns-lenet5"} | shifted
    )


def test_a_row_outside_the_networks_prints_its_own_model():
    assert line(replace(NOBODY, model="other"), None).network == "other"
