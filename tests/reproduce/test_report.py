"""Published beside ours: verdicts, lines and tables."""

import io
from dataclasses import replace

import pytest
import tiny_rows
from rich.console import Console
from tiny_rows import NOBODY, ROW, result

from ece661_sparse.reproduce import results_table
from ece661_sparse.reproduce.engine.results import merged, write_result
from ece661_sparse.reproduce.report import line, terminal_table, verdict


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_rows.install(monkeypatch)


def plain(text):
    """With ordinary spaces in the place of those that do not break."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


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
    assert plain(both.published) == "98.00 → 97.00" and both.published_nonzero == "40"
    assert plain(both.ours) == "98.10 → 97.10 ± 0.14" and both.nonzero == "32"
    assert both.run == "full, seeds 0 2" and both.machine == "cpu, 2.5 min"
    one = line(ROW, result())
    assert plain(one.ours) == "98.10 → 97.00" and one.run == "full, seed 0"
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
    text = plain(console.export_text())
    for whole in (
        *("98.10 → 97.10 ± 0.14", "32", "98.00 → 97.00", "Srinivas et al."),
        *("full, 2 seeds", "cpu, 2.5 min", "not run", "reached", "as pruned"),
    ):
        assert whole in text


def test_the_notebook_table(tmp_path):
    write_result(tmp_path, ROW, result())
    shown = results_table("table1", tmp_path)
    ours, nobody = shown.rows
    assert [plain(cell) for cell in ours] == [
        *("Tiny et al., Tiny", "98.00 → 97.00", "40", "98.10 → 97.00", "30"),
        *("reached, retrained", "full, seed 0, cpu, 1.5 min"),
    ]
    assert " " not in ours[3]  # a number is not broken
    assert nobody[3:] == ("not run", "", "", "")
    assert 'aria-label="Results table1"' in shown._repr_html_()  # scrolls by itself
    assert "Tiny et al., Tiny: the slide has a typo." in repr(shown)


def test_the_caption_says_what_the_arrow_means():
    pruned, dynamic = (plain(repr(results_table(n))) for n in ("table1", "dynamic"))
    assert "dense → pruned" in pruned and "Retrained:" in pruned
    assert "without → with the method" in dynamic
    assert "pruned" not in dynamic and "etrained" not in dynamic


def test_no_folder_of_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="come with the repository"):
        results_table("table1", tmp_path / "nowhere")


def test_a_row_outside_the_networks_prints_its_own_model():
    assert line(replace(NOBODY, model="other"), None).network == "other"
