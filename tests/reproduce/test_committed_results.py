"""Every committed row: its JSON, its weights, and what the weights do on real digits.

The full test set is not needed: ``reproduce --verify`` uses it where it is.
"""

import json
from dataclasses import replace
from functools import cache
from statistics import mean

import torch

from ece661_sparse.reproduce import TABLES, load_table, read_result, results_folder
from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.engine.results import result_path, weights_path
from ece661_sparse.reproduce.engine.verify import verify_row
from ece661_sparse.reproduce.report import verdict

FOLDER = results_folder()
ROWS = [row for table in TABLES for row in load_table(table)]
BROKEN = {"dns-lenet300-5", "l0-lenet300-5", "l1-lenet300-5", "han-lenet5-10"}
"""Points of the sweep that are on file to show where a method breaks."""


@cache
def committed():
    """The rows that somebody has run, with their results."""
    results = ((row, read_result(FOLDER, row)) for row in ROWS)
    return [(row, result) for row, result in results if result is not None]


def test_the_weights_are_as_claimed(monkeypatch):
    for name, dataset in DATASETS.items():
        quick = replace(dataset, load=cache(dataset.load), full_is_here=lambda: False)
        monkeypatch.setitem(DATASETS, name, quick)
    checks = [verify_row(row, FOLDER, torch.device("cpu")) for row, _ in committed()]
    assert not [(check.row.name, check.faults) for check in checks if check.faults]
    assert all((c.nonzero is not None) == c.row.keep_weights for c in checks)


def test_the_results_are_for_the_book():
    faults = []
    for row, result in committed():
        floor = 70 if row.dataset == "cifar10-jpeg" else 80  # five dense epochs
        whole = all(floor < top1 <= 100 for top1 in result["top1"])
        fine = {
            "split": (result["profile"], result["split"]) == ("full", "test"),
            "seeds": set(result["seeds"]) >= set(row.seeds),
            "top1": whole == (row.name not in BROKEN),
            "minutes": all(minutes > 0 for minutes in result["minutes"]),
            "recipe": result["recipe"]
            == json.loads(json.dumps(dict(row.settings["full"]))),
        }
        faults += [(row.name, what) for what, is_fine in fine.items() if not is_fine]
    assert not faults


def test_rows_that_fall_short_say_so():
    wrong = []
    for row, result in committed():
        top1, nonzero = round(mean(result["top1"]), 2), max(result["nonzero"])
        best, budget = (row.published.get(name) for name in ("top1", "nonzero"))
        expected = "measured"
        if row.published:
            short = top1 < (best or 0) or nonzero > (budget or nonzero)
            expected = "short" if short else "reached"
        if verdict(row, result).partition(":")[0] != expected:
            wrong.append(row.name)
    assert not wrong


def test_every_file_belongs_to_a_row():
    expected = {FOLDER / "bench.json"}  # of `make bench`
    for row, _ in committed():
        expected.add(result_path(FOLDER, row))
        if row.keep_weights:
            expected.add(weights_path(FOLDER, row))
    files = {path for path in FOLDER.rglob("*") if path.is_file()}
    assert {path for path in files if path.suffix != ".lock"} == expected
    for path in {result_path(FOLDER, row) for row in ROWS if not row.keep_weights}:
        names = {row.name for row in ROWS if result_path(FOLDER, row) == path}
        assert json.loads(path.read_text(encoding="utf-8")).keys() <= names
