"""The page "Run at full scale": every command is one, every number is the formula's."""

import re
import shlex
from collections import defaultdict

import pytest
import torch
from conftest import ROOT
from torch.distributed.run import get_args_parser

from ece661_sparse.models import densenet40, resnet56
from ece661_sparse.reproduce import load_table, read_result, results_folder
from ece661_sparse.reproduce.cli import _parser

PAGE = (ROOT / "book" / "appendix" / "full_scale.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line.strip()
    for block in BLOCKS
    for line in re.sub(r"\\\n\s*", "", block).splitlines()
    if line.strip()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command):
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z0-9_]+=\S+", words[0]):
        words.pop(0)
    if words[0] == "torchrun":
        started = get_args_parser().parse_args(words[1:])
        assert started.module
        module, arguments = started.training_script, started.training_script_args
    else:
        assert words[:2] == ["python", "-m"]
        module, arguments = words[2], words[3:]
    assert module == "ece661_sparse"
    options = _parser().parse_args(arguments)
    if options.table is not None:
        rows = {row.name: row for row in load_table(options.table)}
        assert set(options.row or ()) <= set(rows)
        for name in options.row or ():
            assert options.profile in rows[name].settings


def test_there_are_commands():
    assert len(COMMANDS) == len(BLOCKS) == 8


@pytest.mark.parametrize("table", ["table1", "gates", "dynamic", "pareto"])
def test_the_minutes_are_those_of_the_results(table):
    minutes, dense = 0.0, defaultdict(float)
    for row in load_table(table):
        result = read_result(results_folder(), row)
        columns = ("seeds", "minutes", "base_minutes")
        for seed, whole, base in zip(*(result[c] for c in columns), strict=True):
            key = result["model"], seed
            minutes, dense[key] = minutes + whole - base, max(dense[key], base)
    told = re.search(rf"\| `{table}` \| MNIST \| (\d+) \|", PAGE)
    assert int(told[1]) == pytest.approx(minutes + sum(dense.values()), abs=2)


@pytest.mark.parametrize(
    ("title", "build"), [("ResNet-56", resnet56), ("DenseNet-40", densenet40)]
)
def test_the_hours_are_those_of_the_formula(title, build):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model, x = build(), torch.zeros(1, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        model(x)
    flops = counter.get_total_flops()
    cells = re.search(rf"\| {title} \| ([\d.]+) · 10⁹ \|(.*)\|", PAGE)
    assert float(cells[1]) == pytest.approx(flops / 1e9, abs=6e-4)
    hours = [float(h) for h in re.findall(r"([\d.]+) h", cells[2])]
    expected = [3 * flops * 50_000 * e / 1e12 / 3600 for e in (500, 600, 200)]
    assert hours == pytest.approx(expected, abs=0.06)
