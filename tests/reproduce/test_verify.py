"""Weights or numbers that were changed are found out."""

import json
import shutil
from dataclasses import replace

import pytest
import tiny_rows
import torch
from tiny_rows import CPU, DATASET, NOBODY, ROW

from ece661_sparse.reproduce import cli
from ece661_sparse.reproduce.engine import verify as verify_module
from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.engine.results import result_path, weights_path
from ece661_sparse.reproduce.engine.runner import run_row
from ece661_sparse.reproduce.engine.verify import verify_row
from ece661_sparse.reproduce.tables import table1
from ece661_sparse.training import load_sparse, save_sparse


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of one row, full profile, as a clone has them."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        tiny_rows.install(patch)
        run_row(ROW, tiny_rows.options(folder, profile="full"), [0, 1])
    return folder / "results"


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    tiny_rows.install(monkeypatch)
    return shutil.copytree(made, tmp_path / "results")


def verify(folder):
    return cli.main(
        ["reproduce", "table1", "--verify", "--out", str(folder), "--device", "cpu"]
    )


def change_json(folder, **changes):
    path = result_path(folder, ROW)
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | changes))


def faults(folder):
    return "\n".join(verify_row(ROW, folder, CPU).faults)


def test_honest_results_pass(folder, capsys):
    assert verify(folder) == 0
    output = capsys.readouterr().out
    assert "as claimed" in output and "30 non-zeros" in output
    assert "untried" not in output  # nobody has run it: nothing to verify
    assert verify_row(NOBODY, folder, CPU) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda net: net[0].weight.mul_(1.001), "not the file that the JSON names"),
        (lambda net: net[5].weight.add_(1e-9), "instead of 30"),
        (lambda net: net[5].bias[0].fill_(torch.nan), "5.bias is not finite"),
    ],
    ids=["other weights", "weights that came back", "not finite"],
)
def test_changed_weights(folder, capsys, change, fault):
    model = load_sparse(weights_path(folder, ROW), ROW.untrained())
    with torch.no_grad():
        change(model)
    save_sparse(model, weights_path(folder, ROW))
    assert verify(folder) == 1
    assert fault in faults(folder)
    assert "not as claimed: tiny" in capsys.readouterr().err


def test_a_flipped_bit(folder):
    data = bytearray(weights_path(folder, ROW).read_bytes())
    data[-3] ^= 4
    weights_path(folder, ROW).write_bytes(data)
    assert verify(folder) == 1 and "damaged" in faults(folder)


def test_missing_weights_and_missing_json(folder):
    weights = weights_path(folder, ROW).read_bytes()
    weights_path(folder, ROW).unlink()
    assert verify(folder) == 1 and "no sparse weights" in faults(folder)
    weights_path(folder, ROW).write_bytes(weights)
    result_path(folder, ROW).unlink()
    assert verify(folder) == 1 and "without tiny.json" in faults(folder)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"top1": [99.9, 99.9]}, "claimed 99.90"),
        ({"nonzero": [29, 30]}, "nonzero: 30 instead of 29"),
        ({"parameters": 7}, "instead of 7"),
        ({"published": {"top1": 1.0}}, "published: {'base_top1': 98.0"),
        ({"row": "other"}, "row: tiny instead of other"),
        ({"seeds": [0]}, "2 entries for 1 seeds"),
        ({"top1": "good"}, "top1 is 'good'"),
        ({"extra_key": 1}, r"unknown ['extra_key']"),
    ],
)
def test_a_changed_json(folder, changes, fault):
    change_json(folder, **changes)
    assert verify(folder) == 1
    assert fault in faults(folder)


def test_without_the_full_data_the_quick_digits_judge(folder, monkeypatch):
    """Other images: not the same accuracy, but far from it is far from it."""
    away = replace(DATASET, full_is_here=lambda: False)
    monkeypatch.setitem(DATASETS, "tiny", away)
    check = verify_row(ROW, folder, CPU)
    assert check.images == "quick" and not check.faults
    change_json(folder, top1=[check.top1 + 1.4, 0])
    assert not verify_row(ROW, folder, CPU).faults
    change_json(folder, top1=[check.top1 + 1.6, 0])
    assert "on the quick test images" in faults(folder)
    change_json(folder, top1=[check.top1 - 20, 0])  # they may be easier
    assert not verify_row(ROW, folder, CPU).faults


def test_without_any_data_counts_are_still_checked(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("ECE661_DATA", str(tmp_path))
    monkeypatch.setitem(DATASETS, "tiny", DATASETS["cifar10-jpeg"])
    assert verify(folder) == 0
    check = verify_row(ROW, folder, CPU)
    assert (check.nonzero, check.top1) == (30, None)
    assert check.images == "not checked: no tiny here"
    change_json(folder, nonzero=[29, 30])
    assert verify(folder) == 1


def test_slack_is_a_few_images(folder):
    check = verify_row(ROW, folder, CPU)
    slack = verify_module.SLACK["full"]
    for change, faulty in ((slack, False), (-slack, False), (slack + 0.01, True)):
        change_json(folder, top1=[check.top1 + change, 0])
        assert bool(verify_row(ROW, folder, CPU).faults) is faulty


def test_without_kept_weights_there_is_nothing_to_measure(tmp_path, monkeypatch):
    tiny_rows.install(monkeypatch)
    point = replace(ROW, keep_weights=False)
    monkeypatch.setattr(table1, "ROWS", (point,))
    run_row(point, tiny_rows.options(tmp_path))
    assert not weights_path(tmp_path / "results", point).exists()
    assert verify(tmp_path / "results") == 0
    check = verify_row(point, tmp_path / "results", CPU)
    assert (check.nonzero, check.images) == (None, "weights not kept")


def test_nothing_to_verify(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(table1, "ROWS", (NOBODY,))
    assert verify(tmp_path) == 1
    assert "nothing to verify" in capsys.readouterr().out
