"""The rows of all tables are in order, and Table 1 is the slide's."""

import inspect
import json

import pytest
import torch

from ece661_sparse.reproduce import TABLES, load_table
from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.tables import table1


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_in_order(table):
    rows = load_table(table)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.table == table
        assert row.dataset in DATASETS
        assert row.published.keys() <= {"base_top1", "top1", "nonzero"}
        with torch.device("meta"):
            assert row.untrained() is not None
        assert {"quick", "full"} >= row.settings.keys() != set()
        for settings in row.settings.values():
            assert json.loads(json.dumps(settings)).keys() == settings.keys()
            inspect.signature(row.recipe).bind(None, **settings)


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
