"""Every committed row: its JSON, its weights, and what the weights do on real digits.

The full test set is not needed: ``reproduce --verify`` uses it where it is.
"""

import json
from dataclasses import replace
from statistics import mean

import pytest
import torch

from ece661_sparse.reproduce import TABLES, load_table
from ece661_sparse.reproduce.datasets import DATASETS
from ece661_sparse.reproduce.report import verdict
from ece661_sparse.reproduce.results import read_result, result_path, results_folder
from ece661_sparse.reproduce.verify import verify_row

FOLDER = results_folder()
ROWS = [row for table in TABLES for row in load_table(table)]
BROKEN = {"dns-lenet300-5", "l0-lenet300-5", "l1-lenet300-5", "han-lenet5-10"}
"""Points of the sweep that are on file to show where a method breaks."""
COMMITTED = [row for row in ROWS if result_path(FOLDER, row).exists()]


@pytest.mark.parametrize("row", COMMITTED, ids=lambda row: f"{row.table}/{row.name}")
def test_the_weights_are_as_claimed(row, monkeypatch):
    monkeypatch.setitem(
        DATASETS,
        row.dataset,
        replace(DATASETS[row.dataset], full_is_here=lambda: False),
    )
    check = verify_row(row, FOLDER, torch.device("cpu"))
    assert check is not None and not check.faults
    assert (check.nonzero is not None) == row.keep_weights


@pytest.mark.parametrize("row", COMMITTED, ids=lambda row: f"{row.table}/{row.name}")
def test_the_result_is_one_for_the_book(row):
    result = read_result(FOLDER, row)
    assert (result["profile"], result["split"]) == ("full", "test")
    assert set(result["seeds"]) >= set(row.seeds)
    floor = 70 if row.dataset == "cifar10-jpeg" else 80  # five dense epochs on a CPU
    whole = all(floor < top1 <= 100 for top1 in result["top1"])
    assert whole == (row.name not in BROKEN)
    assert all(minutes > 0 for minutes in result["minutes"])
    assert result["recipe"] == json.loads(json.dumps(dict(row.settings["full"])))


@pytest.mark.parametrize("row", COMMITTED, ids=lambda row: f"{row.table}/{row.name}")
def test_a_row_that_falls_short_says_so(row):
    result = read_result(FOLDER, row)
    budget = row.published.get("nonzero", float("inf"))
    reached = (
        round(mean(result["top1"]), 2) >= row.published.get("top1", 0)
        and max(result["nonzero"]) <= budget
    )
    expected = "reached" if reached else "short"
    assert verdict(row, result).startswith(expected if row.published else "measured")


def test_every_file_belongs_to_a_row():
    known = {result_path(FOLDER, row): row for row in ROWS}
    for path in FOLDER.rglob("*/*.*"):  # the folder's own file is `make bench`'s
        assert path.with_suffix(".json") in known, path
        assert path.suffix in (".json", ".safetensors")
        if known[path.with_suffix(".json")].keep_weights:
            assert path.with_suffix(".safetensors").exists()
