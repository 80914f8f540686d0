"""A run in two processes that loses one ends, says so, and goes on to the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_rows
from forked import PATIENCE, Ranks
from interrupted import what_it_made
from tiny_rows import EPOCHS, ROW

from ece661_sparse.training.distributed import GO_ON


def command(folder):
    return [
        *("reproduce", "table1", "--row", "tiny", "--device", "cpu"),
        *("--profile", "quick", "--out", str(folder / "results")),
        *("--checkpoints", str(folder / "checkpoints")),
    ]


def run(folder):
    """To the end, in two processes."""
    folder.mkdir(exist_ok=True)
    ranks = Ranks(tiny_rows.main, *command(folder), folder=folder)
    assert ranks.wait() == [0, 0], ranks.output()
    return ranks.output()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    shown, silent = run(folder)
    assert shown.count("epoch\n") == 3 * EPOCHS and "Tiny et al." in shown
    assert silent == ""
    return what_it_made(folder / "results", ROW)


def test_the_result_says_how_many_processes_made_it(uninterrupted):
    assert uninterrupted[0]["device"] == "2 x cpu"


@pytest.mark.parametrize(("lost", "after"), [(0, 2), (1, EPOCHS + 1)])
def test_a_run_that_lost_a_process_goes_on(
    lost, after, tmp_path, uninterrupted, monkeypatch
):
    ranks = Ranks(
        tiny_rows.main, *command(tmp_path), folder=tmp_path, LOSE=f"{lost} {after}"
    )
    codes, output = ranks.wait(), ranks.output()
    assert codes[lost] == -signal.SIGKILL and codes[1 - lost] == 2
    assert output[1 - lost].endswith(f"error: another process was lost. {GO_ON}\n")
    assert not (tmp_path / "results").exists()
    run(tmp_path)
    assert what_it_made(tmp_path / "results", ROW) == uninterrupted


def test_torchrun_ends_and_the_run_goes_on(tmp_path, uninterrupted):
    """The real one, once: it starts slowly."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(Path(tiny_rows.__file__))),
            *command(tmp_path),
        ],
        env=os.environ | {"LOSE": f"1 {2 * EPOCHS + 1}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1 and GO_ON in done.stderr
    assert done.stdout.count("epoch\n") >= 2 * EPOCHS
    assert not (tmp_path / "results").exists()
    run(tmp_path)
    assert what_it_made(tmp_path / "results", ROW) == uninterrupted


def test_what_two_processes_cannot_run_is_refused_by_both(tmp_path):
    ranks = Ranks(tiny_rows.main, *command(tmp_path)[:3], "untried", folder=tmp_path)
    assert ranks.wait() == [2, 2]
    assert all("untried has no recipe yet" in text for text in ranks.output())
