"""Table 2's rows: the published figures and settings, and what a reader meets."""

from pathlib import Path

import pytest
import torch

from ece661_sparse.reproduce import cli, load_table
from ece661_sparse.reproduce.engine.run import CheckpointedRun
from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.training import Images, nonzeros

ROWS = {row.name: row for row in load_table("table2")}
SLIDE = {  # model, base, pruned, thousands of weights that remain, ratio, share
    "gsm-resnet56-6.6x": ("ResNet-56", 94.05, 94.10, 127, 6.6, 0.15),
    "gsm-resnet56-10x": ("ResNet-56", 94.05, 93.80, 85, 10.0, 0.10),
    "gsm-densenet40-6.6x": ("DenseNet-40", 93.86, 94.07, 150, 6.6, 0.15),
    "gsm-densenet40-8x": ("DenseNet-40", 93.86, 94.02, 125, 8.0, 0.125),
    "gsm-densenet40-10x": ("DenseNet-40", 93.86, 93.90, 100, 10.0, 0.10),
}


@pytest.mark.parametrize("name", SLIDE)
@pytest.mark.parametrize("recipe", ["", "-short"])
def test_the_figures_are_those_of_the_slide(name, recipe):
    row = ROWS[name + recipe]
    title, base, pruned, thousands, ratio, share = SLIDE[name]
    keep = row.published["nonzero"]
    with torch.device("meta"):
        total = sum(p.numel() for p in row.untrained().parameters() if p.ndim >= 2)
    assert NETWORKS[row.model].title == title
    assert (row.published["base_top1"], row.published["top1"]) == (base, pruned)
    assert keep // 1000 == thousands
    assert keep / total == pytest.approx(share, abs=1e-5) and keep <= share * total
    assert total / keep == pytest.approx(ratio, abs=0.07)  # 15 % is 6.67x
    assert row.settings["full"]["keep"] == keep and set(row.settings) == {"full"}


class Recorder(CheckpointedRun):
    """Trains nothing: remembers the learning rate of every epoch of each stage."""

    def __init__(self):
        empty = Images(torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.long))
        nowhere = Path("nowhere")
        super().__init__(empty, 0, "full", torch.device("cpu"), nowhere, nowhere, "")
        self.stages = {}

    def fit(self, stage, model, optimizer, *, epochs, scheduler, **options):
        rates = []
        for _ in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        self.stages[stage] = (rates, optimizer.param_groups[0], options)

    def base(self, name):
        network = NETWORKS[name]
        model = network.build()
        network.recipe(self, model, **network.settings["full"])
        return model


def schedules(monkeypatch, row):
    """Of each stage: the learning rate of every epoch, and how it was trained."""
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *_: None)
    run = Recorder()
    outcome = row.recipe(run, **row.settings["full"])
    return run.stages, outcome


def test_the_published_settings_are_those_of_the_authors_code(monkeypatch):
    row = ROWS["gsm-resnet56-10x"]
    stages, outcome = schedules(monkeypatch, row)
    dense, group, options = stages["dense"]
    assert len(dense) == 500 and options["batch_size"] == 64
    assert dense[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    for start, rate in ((100, 1e-2), (200, 1e-3), (300, 1e-4), (400, 1e-5)):
        assert dense[start - 1] == pytest.approx(10 * rate)
        assert dense[start] == pytest.approx(rate)
    assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)

    gsm, group, options = stages["gsm"]
    assert len(gsm) == 600 and options["batch_size"] == 64
    assert gsm[0] == pytest.approx(1e-3) and gsm[4] == pytest.approx(5e-3)
    assert gsm[399] == pytest.approx(5e-3) and gsm[400] == pytest.approx(5e-4)
    assert gsm[499] == pytest.approx(5e-4) and gsm[500] == pytest.approx(5e-5)
    assert (group["momentum"], group["weight_decay"]) == (0.98, 1e-4)
    assert (group["keep"], group["average"], group["nesterov"]) == (85_150, 0, True)
    assert set(stages) == {"dense", "gsm"} and not outcome.retrained
    assert nonzeros(outcome.model) == 85_150


@pytest.mark.parametrize(
    "name", ["gsm-resnet56-10x-short", "gsm-densenet40-6.6x-short"]
)
def test_a_short_row_has_the_epochs_that_it_names(monkeypatch, name):
    stages, outcome = schedules(monkeypatch, ROWS[name])
    epochs = sum(len(rates) for rates, *_ in stages.values())
    assert ROWS[name].method == f"GSM, {epochs} epochs in all"
    assert nonzeros(outcome.model) == ROWS[name].published["nonzero"]
    assert outcome.retrained


def test_the_row_for_a_cpu_claims_nothing(monkeypatch):
    row = ROWS["gsm-resnet20-5x-short"]
    stages, outcome = schedules(monkeypatch, row)
    epochs = sum(len(rates) for rates, *_ in stages.values())
    assert row.method == f"GSM, {epochs} epochs in all"
    assert row.published == {} and "JPEG" in row.note
    assert 270_896 / nonzeros(outcome.model) == pytest.approx(5, abs=1e-3)


def test_list_says_that_there_is_no_quick_profile(capsys):
    assert cli.main(["reproduce", "table2", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ROWS) == 11
    assert all(line.split()[-1] == "full" and "quick" not in line for line in lines)


def test_the_quick_profile_is_refused_with_the_way_out(capsys, monkeypatch):
    monkeypatch.delenv("ECE661_PROFILE", raising=False)
    assert cli.main(["reproduce", "table2"]) == 2
    assert "--profile full" in capsys.readouterr().err


def test_missing_photographs_are_an_error_of_one_line(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("ECE661_DATA", str(tmp_path))
    arguments = ["table2", "--row", "gsm-resnet20-5x-short", "--profile", "full"]
    folders = ["--out", str(tmp_path / "out"), "--checkpoints", str(tmp_path / "ck")]
    assert cli.main(["reproduce", *arguments, *folders]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and str(tmp_path / "CIFAR-10-images") in error
    assert not (tmp_path / "out").exists()
