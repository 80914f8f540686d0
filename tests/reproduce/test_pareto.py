"""The sweep over all methods: its rows, its recipes, and the results on file."""

import inspect
from itertools import pairwise

import pytest
import torch

from ece661_sparse.proximal import L1, L0Ball, QShrinkage
from ece661_sparse.reproduce import pareto
from ece661_sparse.reproduce.pareto import SHARES, SIZES, STRENGTHS, TITLES, row_name
from ece661_sparse.reproduce.results import results_folder
from ece661_sparse.reproduce.rows import Run
from ece661_sparse.saliency import kernels
from ece661_sparse.training import Images, nonzeros, set_seed

ROWS = {row.name: row for row in pareto.ROWS}
TOTAL = {model: sum(sizes.values()) for model, sizes in SIZES.items()}
SENSITIVITY = pareto.sensitivity(results_folder())
SWEEPS = {model: pareto.sweep(model, results_folder()) for model in SHARES}


def test_every_method_has_every_point():
    expected = {
        row_name(method, model, permille)
        for model, shares in SHARES.items()
        for permille in shares
        for method in TITLES
    }
    expected |= {
        row_name(method, "lenet300", pareto.COMPARED, factor, of)
        for method in TITLES
        for of in pareto.varied(method)
        for factor in (0.5, 2.0)
    }
    assert set(ROWS) == expected
    assert len(pareto.ROWS) == len(expected)
    assert TOTAL == {"lenet300": 266_200, "lenet5": 430_500}


@pytest.mark.parametrize("row", pareto.ROWS, ids=lambda row: row.name)
def test_settings_fit_the_recipe(row):
    for settings in row.settings.values():
        inspect.signature(row.recipe).bind(None, **settings)


@pytest.mark.parametrize("model", SHARES)
def test_fewer_weights_take_more_strength(model):
    for strengths in STRENGTHS[model].values():
        assert all(a < b for a, b in pairwise(strengths))


def flat(settings):
    return {**settings, **settings.get("shape", {}), "shape": None}


@pytest.mark.parametrize(
    ("method", "of"), [(m, of) for m in TITLES for of in pareto.varied(m)]
)
def test_one_number_is_all_that_differs(method, of):
    row = ROWS[row_name(method, "lenet300", pareto.COMPARED)]
    for factor in (0.5, 2.0):
        name = row_name(method, "lenet300", pareto.COMPARED, factor, of)
        before, after = flat(row.settings["full"]), flat(ROWS[name].settings["full"])
        (key,) = [k for k in after if after[k] != before.get(k)]
        assert key in ({"lr", "retrain_lr"} if of == "lr" else {of})
        default = inspect.signature(row.recipe).parameters
        value = before[key] if key in before else default[key].default
        assert after[key] == factor * value
        assert key != "retrain_lr" or "lr" not in default


MISS_THEIR_AIM = {"l0", "q-shrinkage", "scad", "mcp"}
"""By more than 15 % at 2 %, with one of the seeds; the chapter says so."""

BY_NUMBER = set(pareto.by_number("lenet300", 10))


@pytest.mark.parametrize("method", TITLES)
@pytest.mark.parametrize("model", SHARES)
def test_the_results_on_file_are_where_they_aim(model, method):
    found = SWEEPS[model][method]
    assert list(found) == list(SHARES[model])
    counts = []
    for permille, result in found.items():
        target = TOTAL[model] * permille / 1000
        compared = permille == pareto.COMPARED and model == "lenet300"
        assert result["seeds"] == ([0, 1, 2] if compared else [0])
        assert (result["profile"], result["split"]) == ("full", "test")
        assert result["recipe"] == ROWS[result["row"]].settings["full"]
        if method in BY_NUMBER - {"trimmed-l1"}:  # h is no promise
            assert max(result["nonzero"]) <= target + 1
        elif compared:  # one λ, three seeds
            near = max(result["nonzero"]) == pytest.approx(target, rel=0.15)
            assert near == (method not in MISS_THEIR_AIM)
        counts.append(result["nonzero"][0])
    assert all(a > b for a, b in pairwise(counts))


@pytest.mark.parametrize("method", TITLES)
def test_half_and_twice_are_on_file(method):
    found = SENSITIVITY[method]
    assert list(found) == pareto.varied(method)
    for results in found.values():
        assert list(results) == [0.5, 1.0, 2.0]
        for factor, result in results.items():
            assert result["seeds"] == ([0, 1, 2] if factor == 1 else [0])
            assert (result["profile"], result["split"]) == ("full", "test")
            assert result["recipe"] == ROWS[result["row"]].settings["full"]


@pytest.fixture
def run(tmp_path):
    """On noise, from initial weights: these tests are not about accuracy."""

    class UntrainedBase(Run):
        def base(self, name):
            return self.untrained(name)

    generator = torch.Generator().manual_seed(0)
    images = Images(
        torch.randn(100, 1, 28, 28, generator=generator),
        torch.randint(10, (100,), generator=generator),
    )
    run = UntrainedBase(
        images, 0, "quick", torch.device("cpu"), tmp_path, tmp_path, "test"
    )
    set_seed(0)
    return run


SHORT = {"retrain_lr": 0.01, "batch_size": 50}


@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
def test_one_shot_keeps_what_the_criterion_ranks_first(run, criterion):
    outcome = pareto.one_shot(run, "lenet300", 1_000, criterion, epochs=1, **SHORT)
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
    name = {L1: "l1", L0Ball: "l0-ball", QShrinkage: "q-shrinkage"}[penalty]
    left = []

    def count(run, stage, model, *args, **kwargs):
        left.append(nonzeros(model))
        return retrain(run, stage, model, *args, **kwargs)

    retrain = pareto.retrain
    monkeypatch.setattr(pareto, "retrain", count)
    outcome = pareto.proximal(
        run, "lenet300", name, shape,
        epochs=2, lr=0.05, retrain_epochs=1, **SHORT,
    )  # fmt: skip
    assert left[0] < 0.5 * TOTAL["lenet300"]
    assert nonzeros(outcome.model) <= left[0]
    if penalty is L0Ball:
        assert left[0] <= 500


def test_sweep_leaves_out_what_is_not_on_file(tmp_path):
    assert pareto.sweep("lenet300", tmp_path) == {}
