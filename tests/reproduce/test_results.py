"""The results files: what they may hold, and how seeds and rows come together."""

import json
import re
from dataclasses import replace

import pytest
from forked import start, wait
from tiny_rows import ROW, result

from ece661_sparse.reproduce import read_result
from ece661_sparse.reproduce.engine.results import (
    PER_SEED,
    SCHEMA,
    changing,
    check_schema,
    commit,
    merged,
    result_path,
    write_result,
)

POINT = replace(ROW, keep_weights=False)
"""A point of a sweep, whose JSON is the table's."""


@pytest.mark.parametrize("row", [ROW, POINT], ids=["own file", "file of the table"])
def test_round_trip_and_stable_layout(tmp_path, row):
    shuffled = dict(reversed(result().items()))
    write_result(tmp_path, row, shuffled)
    first = result_path(tmp_path, row).read_bytes()
    assert read_result(tmp_path, row) == result()
    write_result(tmp_path, row, result())
    assert result_path(tmp_path, row).read_bytes() == first
    content = json.loads(first)
    assert list(content if row is ROW else content["tiny"]) == list(SCHEMA)
    assert first.endswith(b"}\n")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [result_path(tmp_path, row)]


def test_rows_without_weights_share_a_file(tmp_path):
    other = replace(POINT, name="another")
    write_result(tmp_path, POINT, result())
    assert read_result(tmp_path, other) is None
    write_result(tmp_path, other, result(row="another"))
    assert read_result(tmp_path, POINT) == result()
    assert read_result(tmp_path, other) == result(row="another")
    lines = (tmp_path / "table1.json").read_text().splitlines()
    assert [line[:7] for line in lines[1:-1]] == ['"anothe', '"tiny":']


def add_rows(folder, names):
    for name in names:
        row = replace(POINT, name=name)
        with changing(folder, row):
            write_result(folder, row, result(row=name))


def test_two_processes_write_into_one_file(tmp_path):
    names = [f"row-{i:02}" for i in range(50)]
    children = [
        start(add_rows, tmp_path, part, log=tmp_path / "log")
        for part in (names[::2], names[1::2])
    ]
    assert [wait(child) for child in children] == [0, 0]
    assert list(json.loads((tmp_path / "table1.json").read_text())) == names


def test_no_file_is_no_result(tmp_path):
    assert read_result(tmp_path, ROW) is None
    assert read_result(tmp_path, POINT) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "0 seeds"),
        ({"seeds": [0, 1]}, "1 entries for 2 seeds"),
        ({key: 2 * result()[key] for key in PER_SEED}, "not in order"),
        ({"top1": 97.0}, "top1 is 97.0"),
        ({"retrained": "yes"}, "retrained is 'yes'"),
        ({"surprise": 1}, "unknown ['surprise']"),
    ],
)
def test_the_schema_refuses(tmp_path, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write_result(tmp_path, ROW, result() | changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("row", [ROW, POINT], ids=["own file", "file of the table"])
@pytest.mark.parametrize("text", ["", "[]", '{"tiny": {}}', '{"row": '])
def test_a_damaged_file_is_named(tmp_path, row, text):
    path = result_path(tmp_path, row)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"{path.name} is not a results file"):
        read_result(tmp_path, row)


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
