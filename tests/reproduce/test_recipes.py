"""What the recipes promise, on noise; that they keep their budgets: see the resumes."""

import pytest
import torch
from interrupted import short
from tiny_rows import UntrainedBase

from ece661_sparse.dynamic import GatedResidualBlock
from ece661_sparse.models import LeNet5
from ece661_sparse.proximal import L1, L0Ball, QShrinkage
from ece661_sparse.reproduce import load_table
from ece661_sparse.reproduce.engine import run as run_module
from ece661_sparse.reproduce.recipes import dynamic, finish, gates, saliency
from ece661_sparse.reproduce.recipes.proximal import PENALTIES, proximal
from ece661_sparse.saliency import kernels
from ece661_sparse.training import Images, nonzeros, set_seed

COMMON = {"retrain_lr": 0.02, "batch_size": 50}


@pytest.fixture
def run(tmp_path):
    set_seed(0)
    return UntrainedBase(tmp_path)


def prune(run, name, **changes):
    settings = short(name).settings["quick"] | {"batch_size": 50} | changes
    return getattr(saliency, name)(run, **settings)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
def test_one_shot_keeps_what_the_criterion_ranks_first(run, criterion):
    outcome = saliency.one_shot(run, "lenet300", 1_000, criterion, epochs=1, **COMMON)
    assert outcome.retrained
    assert nonzeros(outcome.model) == 1_000
    first, last = (
        torch.cat([w.abs().flatten() for w in kernels(model).values()])
        for model in (run.base("lenet300"), outcome.model)
    )
    largest = first >= first[last != 0].min()
    assert torch.equal(last != 0, largest) == (criterion == "magnitude")


@pytest.mark.parametrize(
    ("penalty", "shape"),
    [(L1, {"lam": 0.5}), (L0Ball, {"n": 500}), (QShrinkage, {"lam": 0.5, "q": 0.5})],
)
def test_the_prox_makes_the_zeros_and_retraining_keeps_them(
    run, monkeypatch, penalty, shape
):
    left, fit = [], UntrainedBase.fit

    def count(run, stage, model, *args, **options):
        left.append(nonzeros(model))
        return fit(run, stage, model, *args, **options)

    monkeypatch.setattr(UntrainedBase, "fit", count)
    [name] = [name for name, made in PENALTIES.items() if made is penalty]
    epochs = {"epochs": 2, "retrain_epochs": 1}
    outcome = proximal(run, "lenet300", name, shape, lr=0.05, **epochs, **COMMON)
    before, after = left
    assert after < 0.5 * before and nonzeros(outcome.model) <= after
    assert penalty is not L0Ball or after <= 500


@pytest.mark.parametrize(
    ("name", "changes", "before"),
    [
        ("dns", {}, []),
        ("dns", {"surgery_shift": 1}, 12 * [(50, 1)]),
        ("admm", {}, 12 * [(50, 2)]),
        ("gsm", {"batch_size": 200, "retrain_batch_size": 50}, 3 * [(200, 2)]),
    ],
)
def test_a_shift_moves_the_images(name, changes, before, run, monkeypatch):
    seen = []

    def shift(x, pixels):
        seen.append((len(x), pixels))
        return x

    monkeypatch.setattr(run_module, "random_shift", shift)
    prune(run, name, shift=2, **changes)
    assert seen == before + 4 * [(50, 2)]  # one epoch of retraining


def test_thresholds_rise_over_epochs_and_smoothing_may_end_with_them(run, monkeypatch):
    stages, ramps = {}, []
    fit, dns = UntrainedBase.fit, saliency.DNS

    def watched_fit(run, stage, *args, loss, **options):
        stages[stage] = loss.keywords["label_smoothing"]
        return fit(run, stage, *args, loss=loss, **options)

    def watched_dns(*args, ramp, **options):
        ramps.append(ramp)
        return dns(*args, ramp=ramp, **options)

    monkeypatch.setattr(UntrainedBase, "fit", watched_fit)
    monkeypatch.setattr(saliency, "DNS", watched_dns)
    prune(run, "dns", ramp=2, retrain_label_smoothing=0.0)
    assert ramps == [2 * 4]  # batches of 50 of 200 images
    assert stages == {"surgery": 0.1, "retrain": 0.0}


def test_without_epochs_nothing_is_retrained(run):
    model = run.base("lenet300")
    before = {name: p.clone() for name, p in model.state_dict().items()}
    finish.retrain(run, model, 0, retrain_lr=0.1)
    assert all(torch.equal(p, before[n]) for n, p in model.state_dict().items())


def test_every_baseline_of_the_table_has_a_recipe_for_both_profiles():
    rows = [row for row in load_table("table1") if row.method != "GSM"]
    assert len(rows) == 9
    for row in rows:
        assert row.recipe is getattr(saliency, row.name.partition("-")[0])
        assert set(row.settings) == {"quick", "full"}
        for settings in row.settings.values():
            assert settings["model"] == row.model
            budget = settings.get("keep", 0)
            n = budget if isinstance(budget, int) else sum(budget.values())
            assert n <= row.published["nonzero"]


def test_channel_gating_has_two_networks_of_one_shape(tmp_path):
    outcome = dynamic.channel_gating(
        UntrainedBase(tmp_path, images=96), epochs=3, lr=1e-3, lam=0.5
    )
    for model, gated in ((outcome.model, True), (outcome.base_top1_model, False)):
        blocks = [m for m in model.modules() if isinstance(m, GatedResidualBlock)]
        assert blocks and all((block.gate is not None) == gated for block in blocks)
    images = Images(torch.randn(20, 1, 28, 28), torch.zeros(20).long())
    found = dynamic.measure_channel_gating(outcome.model, images)
    assert found["always_on"] + found["never_on"] + found["conditional"] == 80
    mean = (1 - found["saved"]) * found["full_flops"]
    assert found["least_flops"] <= mean <= found["most_flops"]


def test_the_architecture_counts_maps_and_inputs():
    model = LeNet5()
    layers = [model.conv1, model.conv2, model.fc1, model.fc2]
    assert gates.architecture(layers) == [20, 50, 800, 500]
    with torch.no_grad():
        model.conv2.weight[:3] = 0
        model.fc1.weight[:, :5] = 0
        model.fc1.weight[0] = 0  # a row is no input
    assert gates.architecture(layers) == [20, 47, 795, 500]
