"""What the recipes promise, on noise: budgets, zeros that stay, shifted images."""

import pytest
import torch
from tiny_rows import UntrainedBase

from ece661_sparse.dynamic import GatedResidualBlock
from ece661_sparse.proximal import L1, L0Ball, QShrinkage
from ece661_sparse.reproduce import load_table
from ece661_sparse.reproduce.engine import run as run_module
from ece661_sparse.reproduce.recipes import dynamic, finish, saliency
from ece661_sparse.reproduce.recipes.proximal import PENALTIES, proximal
from ece661_sparse.saliency import kernels
from ece661_sparse.training import Images, nonzeros, set_seed

COMMON = {"retrain_lr": 0.02, "batch_size": 50, "label_smoothing": 0.1}
LAYERS = {"fc1": 2_000, "fc2": 500, "fc3": 100}
RECIPES = {
    "han": {"keep": 3_000, "rounds": 2, "epochs": 1, "last": 2},
    "lobs": {"keep": LAYERS, "rounds": 3, "damping": 1e-3, "epochs": 2},
    "admm": {
        "keep": LAYERS,
        "rho": 0.1,
        "rounds_per_epoch": 2,
        "epochs": 3,
        "lr": 1e-3,
        "retrain_epochs": 1,
    },
    "dns": {
        "c": {"fc1": 2.0, "fc2": 1.5, "fc3": 0.5},
        "gamma": 0.05,
        "epochs": 3,
        "lr": 0.02,
        "retrain_epochs": 1,
    },
    "srinivas": {
        "lam1": 1e-6,
        "lam2": 1e-5,
        "start": 0.8,
        "gate_lr": 2e3,
        "epochs": 3,
        "lr": 0.01,
        "retrain_epochs": 1,
    },
}


@pytest.fixture
def run(tmp_path):
    set_seed(0)
    return UntrainedBase(tmp_path)


def prune(run, name, **changes):
    settings = {**RECIPES[name], **COMMON, **changes}
    return getattr(saliency, name)(run, "lenet300", **settings)


@pytest.mark.parametrize("name", RECIPES)
def test_budget_is_kept(name, run):
    outcome = prune(run, name)
    expected = outcome.model.state_dict()
    assert set(expected) == {
        f"fc{i}.{p}" for i in (1, 2, 3) for p in ("weight", "bias")
    }
    assert all(value.isfinite().all() for value in expected.values())
    left = nonzeros(outcome.model)
    assert left == sum(outcome.extra["kept"].values())
    budget = RECIPES[name].get("keep")
    if budget is not None:
        assert left == (sum(budget.values()) if isinstance(budget, dict) else budget)
    else:
        assert 100 < left < 200_000


@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
def test_one_shot_keeps_what_the_criterion_ranks_first(run, criterion):
    outcome = saliency.one_shot(run, "lenet300", 1_000, criterion, epochs=1, **COMMON)
    assert outcome.retrained
    assert nonzeros(outcome.model) == 1_000
    first = torch.cat(
        [w.abs().flatten() for w in kernels(run.base("lenet300")).values()]
    )
    kept = torch.cat([w.flatten() != 0 for w in kernels(outcome.model).values()])
    largest = first >= first[kept].min()
    assert torch.equal(kept, largest) == (criterion == "magnitude")


@pytest.mark.parametrize(
    ("penalty", "shape"),
    [
        (L1, {"lam": 0.5}),
        (L0Ball, {"n": 500}),
        (QShrinkage, {"lam": 0.5, "q": 0.5}),
    ],
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
    assert len(left) == 2
    assert left[1] < 0.5 * left[0] and nonzeros(outcome.model) <= left[1]
    if penalty is L0Ball:
        assert left[1] <= 500


GSM = {"keep": 3_000, "start": 3_000, "epochs": 3, "retrain_epochs": 1}


@pytest.mark.parametrize(
    ("recipe", "before"),
    [
        (lambda run: prune(run, "dns", shift=2), []),
        (lambda run: prune(run, "dns", shift=2, surgery_shift=1), 12 * [(50, 1)]),
        (lambda run: prune(run, "admm", shift=2), 12 * [(50, 2)]),
        (
            lambda run: saliency.gsm(
                run, "lenet300", **GSM, batch_size=200, retrain_batch_size=50, shift=2
            ),
            3 * [(200, 2)],
        ),
    ],
    ids=["dns", "dns, both", "admm", "gsm"],
)
def test_a_shift_moves_the_images(recipe, before, run, monkeypatch):
    seen = []

    def shift(x, pixels):
        seen.append((len(x), pixels))
        return x

    monkeypatch.setattr(run_module, "random_shift", shift)
    recipe(run)
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
            budget = settings.get("keep")
            if budget is not None:
                n = budget if isinstance(budget, int) else sum(budget.values())
                assert n <= row.published["nonzero"]


def test_channel_gating_has_two_networks_of_one_shape(tmp_path):
    outcome = dynamic.channel_gating(
        UntrainedBase(tmp_path, images=96), epochs=3, lr=1e-3, lam=0.5
    )
    gated = {n for n, m in outcome.model.named_modules() if "gate" in n}
    assert gated and not any(
        "gate" in n for n, _ in outcome.base_top1_model.named_modules()
    )
    assert all(
        block.gate is None
        for block in outcome.base_top1_model.modules()
        if isinstance(block, GatedResidualBlock)
    )
    images = Images(torch.randn(20, 1, 28, 28), torch.zeros(20).long())
    found = dynamic.measure_channel_gating(outcome.model, images)
    assert found["always_on"] + found["never_on"] + found["conditional"] == 80
    mean = (1 - found["saved"]) * found["full_flops"]
    assert found["least_flops"] <= mean <= found["most_flops"]
