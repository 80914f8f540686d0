"""The recipes of the baselines, small: budgets are kept."""

import pytest
import torch

from ece661_sparse.reproduce import baselines, gsm, load_table, rows
from ece661_sparse.reproduce.rows import Run
from ece661_sparse.training import Images, nonzeros, set_seed

COMMON = {"retrain_lr": 0.02, "batch_size": 50, "smoothing": 0.1}
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


class UntrainedBase(Run):
    """Starts from initial weights: these tests are not about accuracy."""

    def base(self, name):
        return self.untrained(name)


def run_recipe(name, folder, module=baselines, **settings):
    generator = torch.Generator().manual_seed(0)
    images = Images(
        torch.randn(200, 1, 28, 28, generator=generator),
        torch.randint(10, (200,), generator=generator),
    )
    folder.mkdir(exist_ok=True)
    run = UntrainedBase(images, 0, "quick", torch.device("cpu"), folder, folder, "test")
    set_seed(0)
    settings = settings or {**RECIPES[name], **COMMON}
    return getattr(module, name)(run, "lenet300", **settings)


@pytest.mark.parametrize("name", RECIPES)
def test_budget_is_kept(name, tmp_path):
    outcome = run_recipe(name, tmp_path / "whole")
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


@pytest.mark.parametrize(
    ("module", "name", "settings", "before"),
    [
        (baselines, "dns", {**RECIPES["dns"], **COMMON, "shift": 2}, []),
        (
            baselines,
            "dns",
            {**RECIPES["dns"], **COMMON, "shift": 2, "surgery_shift": 1},
            12 * [(50, 1)],
        ),
        (baselines, "admm", {**RECIPES["admm"], **COMMON, "shift": 2}, 12 * [(50, 2)]),
        (
            gsm,
            "gsm",
            {"keep": 3_000, "start": 3_000, "epochs": 3, "retrain_epochs": 1}
            | {"batch_size": 200, "retrain_batch_size": 50, "shift": 2},
            3 * [(200, 2)],
        ),
    ],
)
def test_a_shift_moves_the_images(
    module, name, settings, before, tmp_path, monkeypatch
):
    seen = []

    def shift(x, pixels):
        seen.append((len(x), pixels))
        return x

    monkeypatch.setattr(rows, "random_shift", shift)
    run_recipe(name, tmp_path, module, **settings)
    assert seen == before + 4 * [(50, 2)]  # one epoch of retraining


def test_thresholds_rise_over_epochs_and_smoothing_may_end_with_them(
    tmp_path, monkeypatch
):
    stages, ramps = {}, []
    fit, dns = Run.fit, baselines.DNS

    def watched_fit(run, stage, *args, loss, **options):
        stages[stage] = loss.keywords["label_smoothing"]
        return fit(run, stage, *args, loss=loss, **options)

    def watched_dns(*args, ramp, **options):
        ramps.append(ramp)
        return dns(*args, ramp=ramp, **options)

    monkeypatch.setattr(Run, "fit", watched_fit)
    monkeypatch.setattr(baselines, "DNS", watched_dns)
    settings = {**RECIPES["dns"], **COMMON, "ramp": 2, "retrain_smoothing": 0.0}
    run_recipe("dns", tmp_path, **settings)
    assert ramps == [2 * 4]  # batches of 50 of 200 images
    assert stages == {"surgery": 0.1, "retrain": 0.0}


def test_every_baseline_of_the_table_has_a_recipe_for_both_profiles():
    rows = [row for row in load_table("table1") if row.method != "GSM"]
    assert len(rows) == 9
    for row in rows:
        assert row.recipe is not None
        assert row.recipe.__module__ == baselines.__name__
        assert set(row.settings) == {"quick", "full"}
        for settings in row.settings.values():
            assert settings["model"] == row.model
            budget = settings.get("keep")
            if budget is not None:
                n = budget if isinstance(budget, int) else sum(budget.values())
                assert n <= row.published["nonzero"]
