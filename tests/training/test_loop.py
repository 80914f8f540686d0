"""The loop against a hand-written one; resumed runs against uninterrupted ones."""

import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from forked import start, wait
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from ece661_sparse.training import Checkpoint, Images, accuracy, set_seed, train
from ece661_sparse.training.loop import batches

sys.path.insert(0, str(Path(__file__).parent))
from killed_run import EPOCHS, run, save_run


def two_classes(n=60):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn(n, 1, 2, 2, generator=generator) + 4 * y.reshape(-1, 1, 1, 1)
    return Images(x, y)


IMAGES = two_classes()


def make():
    set_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def fit(model, optimizer, epochs=1, **options):
    options = {"progress": False} | options
    return train(model, optimizer, IMAGES, epochs=epochs, **options)


def test_every_epoch_visits_every_image_once():
    parts = list(batches(two_classes(53), 10, seed=0, epoch=4))
    assert [len(part) for part in parts] == [10] * 5 + [3]
    assert sorted(torch.cat(parts).tolist()) == list(range(53))


def test_the_order_depends_on_seed_and_epoch():
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (1000, 0), (0, 1000)]
    orders = {
        tuple(torch.cat(list(batches(IMAGES, 10, *pair))).tolist()) for pair in pairs
    }
    assert len(orders) == len(pairs)


def test_train_is_the_loop_one_would_write():
    model, optimizer = make()
    history = fit(model, optimizer, 3, batch_size=25)

    by_hand, _ = make()
    losses = []
    for epoch in range(3):
        total = 0.0
        for index in batches(IMAGES, 25, 0, epoch):
            loss = F.cross_entropy(by_hand(IMAGES.x[index]), IMAGES.y[index])
            total += loss.item() * len(index)
            gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
            with torch.no_grad():
                for p, g in zip(by_hand.parameters(), gradients, strict=True):
                    p -= 0.1 * g
        losses.append(total / 60)
    for p, q in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert [record["loss"] for record in history] == pytest.approx(losses, rel=1e-5)


def test_training_learns_and_reports_what_evaluate_returns():
    history = fit(
        *make(), 20, batch_size=10, evaluate=lambda m: {"top1": accuracy(m, IMAGES)}
    )
    assert history[-1]["top1"] > 95
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_loss_and_scheduler_are_used():
    model, optimizer = make()
    scheduler = StepLR(optimizer, 1, gamma=0.5)
    seen = []

    def loss(logits, y):
        seen.append(optimizer.param_groups[0]["lr"])
        return logits.square().mean()

    fit(model, optimizer, 3, batch_size=30, loss=loss, scheduler=scheduler)
    assert seen == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


def test_training_mode_returns_after_an_evaluation_that_forgot_it():
    model, optimizer = make()
    modes = []
    model.register_forward_hook(lambda m, *_: modes.append(m.training))
    fit(model, optimizer, 2, evaluate=lambda m: m.eval() and {})
    assert modes == [True, True]


def test_the_network_sees_what_augment_returns():
    model, optimizer = make()
    seen = []
    model.register_forward_pre_hook(lambda _, x: seen.append(x[0].unique().tolist()))
    fit(model, optimizer, augment=lambda x: torch.full_like(x, 7.0))
    assert seen == [[7.0]]


def test_autocast_computes_in_bfloat16_and_keeps_the_weights():
    runs = {}
    for dtype in (None, torch.bfloat16):
        model, optimizer = make()
        kinds = set()
        model.register_forward_hook(lambda *a, kinds=kinds: kinds.add(a[2].dtype))
        history = fit(model, optimizer, 3, batch_size=10, autocast=dtype)
        assert kinds == {dtype or torch.float32}
        assert all(p.dtype == torch.float32 for p in model.parameters())
        runs[dtype] = [record["loss"] for record in history]
    assert runs[None] != runs[torch.bfloat16]
    assert runs[None] == pytest.approx(runs[torch.bfloat16], rel=0.02)


@pytest.mark.parametrize("progress", [True, False])
def test_progress_bar_can_be_switched_off(capsys, progress):
    fit(*make(), progress=progress)
    captured = capsys.readouterr()
    assert captured.out == "" and bool(captured.err) is progress


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be .* >= 1, got {name}=0"):
        fit(*make(), **{name: 0})


def test_a_scheduler_that_needs_a_metric_is_refused_before_the_first_step():
    model, optimizer = make()
    before = model[1].weight.clone()
    with pytest.raises(ValueError, match=r"scheduler must have a step\(\) without"):
        fit(model, optimizer, scheduler=ReduceLROnPlateau(optimizer))
    assert torch.equal(model[1].weight, before)


def test_set_seed_repeats_every_generator():
    def draw():
        set_seed(11)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()


def identical(a, b):
    (weights_a, history_a), (weights_b, history_b) = a, b
    assert weights_a.keys() == weights_b.keys()
    assert all(torch.equal(weights_a[name], weights_b[name]) for name in weights_a)
    assert history_a == history_b


def epochs_in(log):
    return log.read_text().count("epoch") if log.exists() else 0


@pytest.fixture(scope="module")
def uninterrupted():
    return run(None)


def test_same_seed_same_bits(uninterrupted):
    identical(run(None), uninterrupted)


def test_resumed_runs_end_with_the_same_bits(tmp_path, uninterrupted):
    checkpoint = Checkpoint(tmp_path / "run.pt")
    for epochs in (1, 4, 5, EPOCHS):
        resumed = run(checkpoint, epochs)
        torch.rand(7)  # whatever else the session did in between
    identical(resumed, uninterrupted)
    identical(run(checkpoint), uninterrupted)  # a finished run: nothing left to do


def test_a_killed_run_ends_with_the_same_bits(tmp_path, uninterrupted):
    """kill -9 three times at random moments, then run to the end."""
    moment, log = random.Random(661), tmp_path / "log"
    for _ in range(3):
        child = start(save_run, tmp_path, log=log)
        enough = epochs_in(log) + moment.randint(1, 4)
        while child.is_alive() and epochs_in(log) < enough:
            time.sleep(0.005)
        time.sleep(moment.uniform(0, 0.03))  # within an epoch, or while saving
        child.kill()
        wait(child)
    assert not (tmp_path / "result.pt").exists()
    assert wait(start(save_run, tmp_path, log=log)) == 0
    result = Checkpoint(tmp_path / "result.pt").load()
    identical((result["weights"], result["history"]), uninterrupted)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    settings = {"checkpoint": Checkpoint(tmp_path / "run.pt"), "epochs": 3}
    fit(*make(), **settings)
    for changed in ({"seed": 1}, {"batch_size": 50}, {"epochs": 2}):
        model, optimizer = make()
        before = model[1].weight.clone()
        with pytest.raises(ValueError, match=r"run\.pt.* was written by another run"):
            fit(model, optimizer, **settings | changed)
        assert torch.equal(model[1].weight, before)


def test_a_damaged_checkpoint_stops_the_run(tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match="damaged"):
        fit(*make(), checkpoint=Checkpoint(path))
