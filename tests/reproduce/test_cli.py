"""What a reader types, and what comes back when it is wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_rows
from tiny_rows import DATASET, ROW

from ece661_sparse.reproduce import cli, read_result
from ece661_sparse.reproduce.engine.datasets import DATASETS


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    tiny_rows.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ECE661_PROFILE", raising=False)
    monkeypatch.delenv("ECE661_DATA", raising=False)


def run(*arguments):
    return cli.main(["reproduce", *arguments])


def test_run_one_row(tmp_path, capsys):
    out = tmp_path / "mine"
    assert run("table1", "--row", "tiny", "--seeds", "0", "1", "--out", str(out)) == 0
    shown = capsys.readouterr()
    assert "quick, 2 seeds" in shown.out and "full" not in shown.out
    assert f"Results: {out}" in shown.out
    assert "tiny seed 1 retrain: 4 epochs, loss" in shown.err
    assert read_result(out, ROW)["seeds"] == [0, 1]


def test_rows_without_a_recipe_are_shown_as_not_run(tmp_path, capsys):
    assert run("table1", "--out", str(tmp_path)) == 0
    assert "not run" in capsys.readouterr().out
    assert run("table1", "--row", "untried", "--out", str(tmp_path)) == 2
    assert "untried has no recipe yet" in capsys.readouterr().err


def test_quick_results_stay_out_of_the_book(tmp_path):
    assert run("table1") == 0
    assert list(tmp_path.rglob("results-quick/table1/tiny.json"))


def test_full_results_go_into_the_book_of_a_clone_alone(monkeypatch):
    assert cli.default_out("full") == Path(cli.__file__).parents[2] / "book" / "results"
    monkeypatch.setattr(cli, "results_folder", lambda: cli.PACKAGE / "results")
    assert cli.default_out("full") == Path("results")


def test_validation_writes_only_where_it_is_told(tmp_path, capsys):
    assert run("table1", "--validate") == 0
    printed = capsys.readouterr().out
    result = json.loads(printed[printed.index("{") :])
    assert result["split"] == "validation" and result["seeds"] == [0]
    assert not list(tmp_path.rglob("tiny.json"))
    assert run("table1", "--validate", "--out", str(tmp_path / "choices")) == 0
    assert read_result(tmp_path / "choices", ROW)["split"] == "validation"


def test_list(capsys):
    assert run("--list") == run() == run("table1", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["table1", "tiny", "quick,", "full"]
    assert lines[1].split() == ["table1", "untried", "no", "recipe", "yet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table1", "--row", "tiyn"), "there is no row 'tiyn'; did you mean 'tiny'?"),
        (("table1", "--row", "q"), "there is no row 'q'; known: tiny, untried"),
        (("tabel1",), "there is no table 'tabel1'; did you mean 'table1'?"),
        (("table1", "--device", "cuda"), "torch sees no GPU here"),
        (("table1", "--device", "gpu"), "there is no device 'gpu'"),
    ],
)
def test_what_is_not_there(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(cli.torch.cuda, "is_available", lambda: False)
    assert run(*arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


def test_missing_data_say_where_they_were_looked_for(tmp_path, capsys, monkeypatch):
    def missing(*_):
        raise FileNotFoundError("MNIST is missing: looked in /nowhere")

    monkeypatch.setitem(DATASETS, "tiny", replace(DATASET, load=missing))
    assert run("table1", "--out", str(tmp_path / "out")) == 2
    assert "error: MNIST is missing: looked in /nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_row", stop)
    assert run("table1", "--out", str(tmp_path)) == 130
    assert "The same command goes on" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert run("table1", "--out", out) == 0
    [dense] = tmp_path.rglob("dense.pt")
    dense.write_bytes(b"half")
    assert run("table1", "--out", out, "--again") == 2
    assert "dense.pt is damaged" in capsys.readouterr().err


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "ece661_sparse", "reproduce", "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "gsm-lenet300-60x" in done.stdout


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    shown = "".join(capsys.readouterr().out.split())  # it breaks lines at hyphens
    assert "results-quick" in shown and "book/results" in shown
