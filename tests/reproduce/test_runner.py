"""A run that is cut off anywhere ends with the same bits; no recipe sees a test set."""

import gc
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_rows
import torch
from interrupted import cut_off, noise, what_it_made
from tiny_rows import CPU, DATASET, EPOCHS, NETWORK, ROW, TEST, TRAIN, options
from torch import Tensor

import ece661_sparse.reproduce as package
from ece661_sparse import training
from ece661_sparse.reproduce import TABLES, Outcome, load_table
from ece661_sparse.reproduce.engine import run as run_module
from ece661_sparse.reproduce.engine import runner
from ece661_sparse.reproduce.engine.datasets import DATASETS
from ece661_sparse.reproduce.engine.results import result_path, weights_path
from ece661_sparse.reproduce.engine.run import IN_A_LOG, Clock
from ece661_sparse.reproduce.engine.runner import run_row
from ece661_sparse.reproduce.engine.verify import verify_row
from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.training import accuracy, load_sparse, loop, nonzeros


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_rows.install(monkeypatch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        tiny_rows.install(patch)
        run_row(ROW, options(folder))
    return what_it_made(folder / "results", ROW)


@pytest.mark.parametrize("saves", range(1, 3 * EPOCHS + 1))
@pytest.mark.parametrize("before", [True, False])
def test_cut_off_at_every_checkpoint(tmp_path, uninterrupted, saves, before):
    with cut_off(saves, before), pytest.raises(KeyboardInterrupt):
        run_row(ROW, options(tmp_path))
    assert not (tmp_path / "results").exists()
    torch.rand(5)  # whatever else the session did in between
    run_row(ROW, options(tmp_path))
    assert what_it_made(tmp_path / "results", ROW) == uninterrupted


def test_cut_off_between_the_weights_and_the_json(tmp_path, monkeypatch, uninterrupted):
    def power_failure(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "write_result", power_failure)
        with pytest.raises(KeyboardInterrupt):
            run_row(ROW, options(tmp_path))
    run_row(ROW, options(tmp_path))
    assert what_it_made(tmp_path / "results", ROW) == uninterrupted


def test_the_same_weights_with_the_dense_network_at_hand(tmp_path, uninterrupted):
    """Another row has trained it; the random numbers must be as if this one had."""
    run_row(ROW, options(tmp_path))
    dense = tmp_path / "checkpoints" / "dense" / "tiny" / "tiny"
    assert list(dense.glob("*/dense.pt"))
    result_path(tmp_path / "results", ROW).unlink()
    run_row(ROW, options(tmp_path))
    assert what_it_made(tmp_path / "results", ROW) == uninterrupted


def test_seeds_differ_in_weights_and_in_order(tmp_path, monkeypatch):
    orders, batches = [], loop.batches

    def spy(images, batch_size, seed, epoch):
        parts = list(batches(images, batch_size, seed, epoch))
        orders.append(tuple(torch.cat(parts).tolist()))
        return parts

    monkeypatch.setattr(loop, "batches", spy)
    result = run_row(ROW, options(tmp_path), [0, 1])
    assert len(set(orders)) == len(orders) == 2 * 3 * EPOCHS  # stages differ, too
    assert result["extra"][0]["losses"] != result["extra"][1]["losses"]


def test_the_numbers_are_those_of_the_weights_on_file(tmp_path):
    result = run_row(ROW, options(tmp_path))
    model = load_sparse(weights_path(tmp_path / "results", ROW), ROW.untrained())
    assert result["nonzero"] == [nonzeros(model)] == [30]
    test = tiny_rows.load_tiny("quick", CPU).test
    assert result["top1"] == [accuracy(model, test)]
    assert result["retrained"] is True
    assert result["base_minutes"][0] <= result["minutes"][0]


def test_no_test_image_exists_while_a_recipe_runs(tmp_path):
    seen = []

    def nosy(run, **settings):
        gc.collect()
        tensors = [o for o in gc.get_objects() if type(o) is Tensor and o.ndim]
        seen.extend(len(t) for t in tensors if len(t) == TEST)
        for part in (run.train.x, run.train.y):  # nor behind the training images
            assert len(part) == TRAIN
            assert part.untyped_storage().nbytes() == part.numel() * part.itemsize
        seen.append(TRAIN)
        return tiny_rows.three_stages(run, **settings)

    run_row(replace(ROW, recipe=nosy), options(tmp_path))
    assert seen == [TRAIN]


def test_recipes_do_not_load_data_themselves():
    root = Path(package.__file__).parent
    for path in (*root.glob("recipes/*.py"), *root.glob("tables/*.py")):
        text = path.read_text(encoding="utf-8")
        assert "load_" not in text.replace("load_table", ""), path.name
        assert "torchvision" not in text and ".test" not in text, path.name


def test_the_test_set_is_measured_at_the_end_but_not_in_validation(
    tmp_path, monkeypatch
):
    images = tiny_rows.tiny_images(TRAIN, 0)
    guarded = replace(DATASET, load=lambda *_: tiny_rows.GuardedData(train=images))
    monkeypatch.setitem(DATASETS, "tiny", guarded)
    with pytest.raises(AssertionError, match="looked at the test set"):
        run_row(ROW, options(tmp_path))
    seen = []

    def recipe(run, **settings):
        seen.append(run.train)
        outcome = tiny_rows.three_stages(run, **settings)
        seen.append(outcome.model)
        return outcome

    row = replace(ROW, recipe=recipe)
    result = run_row(row, options(tmp_path, validate=True, out=None))
    rest, held_out = training.hold_out(images, tiny_rows.HELD_OUT)
    assert torch.equal(seen[0].x, rest.x)
    assert result["split"] == "validation"
    assert result["top1"] == [accuracy(seen[1], held_out)]
    assert not (tmp_path / "results").exists()


def test_a_validation_and_a_final_run_share_no_checkpoint(tmp_path, uninterrupted):
    run_row(ROW, options(tmp_path, validate=True, out=None))
    run_row(ROW, options(tmp_path))
    assert what_it_made(tmp_path / "results", ROW) == uninterrupted


def only_sparse(run, keep, lr):
    model = run.base("tiny")
    sgd = torch.optim.SGD(model.parameters(), lr / 7)
    history = run.fit("sparse", model, sgd, epochs=EPOCHS, batch_size=11)
    return Outcome(model, extra={"losses": [record["loss"] for record in history]})


@pytest.mark.parametrize(
    ("row", "network"),
    [
        (replace(ROW, settings={"quick": {"keep": 30, "lr": 0.01}}), NETWORK),
        (replace(ROW, recipe=only_sparse), NETWORK),
        (ROW, replace(NETWORK, settings={"quick": {"lr": 0.01}})),
    ],
    ids=["settings", "recipe", "dense network"],
)
def test_a_run_starts_again_with_another(row, network, tmp_path, monkeypatch):
    first = run_row(ROW, options(tmp_path, out=None))
    with monkeypatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", network)
        second = run_row(row, options(tmp_path, out=None))
    assert first["extra"][0]["losses"][:EPOCHS] != second["extra"][0]["losses"][:EPOCHS]
    assert run_row(ROW, options(tmp_path, out=None))["extra"] == first["extra"]


def test_finished_seeds_are_not_run_again(tmp_path, capsys):
    run_row(ROW, options(tmp_path), [0])
    capsys.readouterr()
    result = run_row(ROW, options(tmp_path), [0, 2])
    shown = capsys.readouterr()
    assert "tiny: seed 0 is in" in shown.err and "--again" in shown.err
    epochs = shown.out.count("epoch")
    assert epochs == 3 * EPOCHS and result["seeds"] == [0, 2]
    run_row(ROW, options(tmp_path, again=True), [0])
    assert capsys.readouterr().out.count("epoch") == 2 * EPOCHS  # base is shared


def test_two_processes_with_a_seed_each_keep_both(tmp_path):
    def the_other_finishes_first(run, **settings):
        outcome = tiny_rows.three_stages(run, **settings)
        if run.seed == 0:
            run_row(row, options(tmp_path), [1])
        return outcome

    row = replace(ROW, recipe=the_other_finishes_first)
    assert run_row(row, options(tmp_path), [0])["seeds"] == [0, 1]
    check = verify_row(row, tmp_path / "results", CPU)
    assert check is not None and not check.faults  # the weights are seed 0's


def test_a_failure_keeps_the_results_of_earlier_seeds(tmp_path):
    def fails_for_seed_one(run, **settings):
        if run.seed == 1:
            raise RuntimeError("out of memory")
        return tiny_rows.three_stages(run, **settings)

    row = replace(ROW, recipe=fails_for_seed_one)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_row(row, options(tmp_path), [0, 1, 2])
    result = json.loads(result_path(tmp_path / "results", ROW).read_text())
    assert result["seeds"] == [0]


def test_results_of_another_profile_are_not_overwritten(tmp_path):
    run_row(ROW, options(tmp_path))
    before = what_it_made(tmp_path / "results", ROW)
    for changed in ({"profile": "full"}, {"validate": True}):
        with pytest.raises(ValueError, match=r"tiny\.json holds .*quick.*--out"):
            run_row(ROW, options(tmp_path, **changed))
    assert what_it_made(tmp_path / "results", ROW) == before


def test_minutes_add_up_over_interruptions(tmp_path):
    path = tmp_path / "minutes.json"
    clock = Clock(path, CPU)
    sum(range(10**6))
    clock.tick()
    first = clock.minutes()
    sum(range(10**6))
    clock.skip()  # somebody else's work
    clock.tick()
    assert 0 < first <= clock.minutes() < 1.5 * first
    time.sleep(0.05)  # the processor does nothing for us
    again = Clock(path, CPU)
    again.tick()
    assert clock.minutes() <= again.minutes() < clock.minutes() + 0.04 / 60
    gpu = Clock(tmp_path / "gpu.json", torch.device("cuda"))
    time.sleep(0.05)  # the GPU may well do something
    gpu.tick()
    assert gpu.minutes() >= 0.05 / 60


def test_a_stage_name_is_used_once(tmp_path):
    def twice(run, **_):
        model = run.base("tiny")
        for _ in range(2):
            sgd = torch.optim.SGD(model.parameters(), 0.1)
            run.fit("again", model, sgd, epochs=1)

    with pytest.raises(ValueError, match="'again' was run twice"):
        run_row(replace(ROW, recipe=twice), options(tmp_path))


def test_another_network_than_the_rows_is_refused(tmp_path):
    def wrong(run, **_):
        return Outcome(torch.nn.Linear(2, 2), base_top1_model=run.base("tiny"))

    with pytest.raises(ValueError, match="tiny did not return the network of its row"):
        run_row(replace(ROW, recipe=wrong), options(tmp_path))
    assert not (tmp_path / "results").exists()


def test_a_run_without_recipe_or_settings_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no recipe yet"):
        run_row(tiny_rows.NOBODY, options(tmp_path))
    row = replace(ROW, settings={"quick": {}})
    with pytest.raises(ValueError, match="no settings for profile 'full'"):
        run_row(row, options(tmp_path, profile="full"))


def test_two_processes_do_not_run_the_same_seed(tmp_path):
    def in_the_meantime(run, **_):
        with pytest.raises(ValueError, match="being run by another process"):
            run_row(row, options(tmp_path))
        raise KeyboardInterrupt

    row = replace(ROW, recipe=in_the_meantime)
    with pytest.raises(KeyboardInterrupt):
        run_row(row, options(tmp_path))


def test_further_measurements_and_other_networks(tmp_path):
    """A row of dynamic networks: its own module and numbers of its own."""

    def build():
        return torch.nn.Sequential(tiny_rows.tiny_network())

    def recipe(run, **_):
        model = build()
        model[0].load_state_dict(run.base("tiny").state_dict())
        return Outcome(model, extra={"a": 1})

    def measure(model, images):
        return {"exits": len(images)}

    row = replace(ROW, recipe=recipe, build=build, measure=measure)
    result = run_row(row, options(tmp_path))
    assert result["extra"] == [{"a": 1, "exits": TEST}]
    assert result["top1"] == result["base_top1"]


def networks():
    """The first row for each network that any table stores."""
    rows = {}
    for row in (row for table in TABLES for row in load_table(table)):
        if row.keep_weights and row.name != "tiny":
            with torch.device("meta"):
                rows.setdefault(str(row.untrained()), row)
    return list(rows.values())


@pytest.mark.parametrize("row", networks(), ids=lambda row: row.name)
def test_the_network_of_a_row_is_measured_stored_and_read_again(
    row, tmp_path, monkeypatch
):
    def as_built(run):
        model = row.untrained()
        return Outcome(model, base_top1_model=model)

    shape = (3, 32, 32) if "cifar10" in row.dataset else (1, 28, 28)
    data = replace(DATASETS["mnist"], load=lambda *_: noise(*shape))
    monkeypatch.setitem(DATASETS, row.dataset, data)
    row = replace(row, recipe=as_built, settings={"full": {}})
    result = run_row(row, options(tmp_path, profile="full"), [0])
    assert result["base_top1"] == result["top1"]
    check = verify_row(row, tmp_path / "results", CPU)
    assert check is not None and not check.faults


# --- what the data set changes, and what a log shows ------------------------------


def test_photographs_are_changed_in_every_stage(tmp_path, monkeypatch):
    """By the real options of CIFAR-10, on rows and images small enough for a test."""
    changes = set()

    def spy(model, optimizer, images, **options):
        changes.add((options["augment"], options["autocast"]))
        return training.train(model, optimizer, images, **options)

    photographs = replace(DATASETS["cifar10"], load=DATASET.load)
    monkeypatch.setitem(DATASETS, "tiny", photographs)
    monkeypatch.setattr(run_module, "train", spy)
    run_row(ROW, options(tmp_path, profile="full"))
    dtype = DATASETS["cifar10"].training(CPU)["autocast"]
    assert changes == {(training.crop_and_flip, dtype)}
    assert DATASETS["mnist"].training(CPU) == {"augment": None, "autocast": None}


def test_a_dense_network_is_not_shared_between_data_sets(tmp_path, monkeypatch):
    for name in ("tiny", "other"):
        monkeypatch.setitem(DATASETS, name, replace(DATASET))
        run_row(replace(ROW, dataset=name, name=name), options(tmp_path))
    found = sorted(path.parts[-4] for path in tmp_path.rglob("dense.pt"))
    assert found == ["other", "tiny"]


def progress(folder, capsys):
    """The progress that a log file has, without the line that ends each stage."""
    run_row(ROW, options(folder, out=None))
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "epochs, loss" not in line and line.strip()]


def test_a_log_has_a_line_a_minute(tmp_path, monkeypatch, capsys):
    assert progress(tmp_path / "short", capsys) == []
    assert IN_A_LOG["delay"] == IN_A_LOG["mininterval"] == 60
    for name in ("delay", "mininterval"):
        monkeypatch.setitem(IN_A_LOG, name, 0)
    lines = progress(tmp_path / "long", capsys)
    assert len(lines) > 3 * EPOCHS
    assert any(line.startswith("tiny seed 0 retrain: 50 %, 00:0") for line in lines)


def test_a_terminal_has_a_progress_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module.sys.stderr, "isatty", lambda: True, raising=False)
    assert any("it/s" in line for line in progress(tmp_path, capsys))
