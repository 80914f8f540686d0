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

from ece661_sparse.training import Checkpoint, Images, accuracy, set_seed, train
from ece661_sparse.training.loop import batches

sys.path.insert(0, str(Path(__file__).parent))
from killed_run import EPOCHS, run, save_run


def two_classes(n=60):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = torch.randn(n, 1, 2, 2, generator=generator) + 4 * y.reshape(-1, 1, 1, 1)
    return Images(x, y)


def make(dtype=torch.float32):
    set_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(dtype)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_every_epoch_visits_every_image_once():
    images = two_classes(53)
    parts = list(batches(images, 10, seed=0, epoch=4))
    assert [len(part) for part in parts] == [10] * 5 + [3]
    assert sorted(torch.cat(parts).tolist()) == list(range(53))


def test_the_order_depends_on_seed_and_epoch():
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (1000, 0), (0, 1000)]
    orders = {
        tuple(torch.cat(list(batches(two_classes(), 10, s, e))).tolist())
        for s, e in pairs
    }
    assert len(orders) == len(pairs)


def test_train_is_the_loop_one_would_write():
    images = two_classes()
    model, optimizer = make()
    history = train(model, optimizer, images, epochs=3, batch_size=25, progress=False)

    by_hand, _ = make()
    losses = []
    for epoch in range(3):
        total = 0.0
        for index in batches(images, 25, 0, epoch):
            loss = F.cross_entropy(by_hand(images.x[index]), images.y[index])
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
    images = two_classes()
    model, optimizer = make()
    history = train(
        model,
        optimizer,
        images,
        epochs=20,
        batch_size=10,
        progress=False,
        evaluate=lambda m: {"accuracy": accuracy(m, images)},
    )
    assert history[-1]["accuracy"] > 95
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_loss_and_scheduler_are_used():
    model, optimizer = make()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    seen = []

    def loss(logits, y):
        seen.append(optimizer.param_groups[0]["lr"])
        return logits.square().mean()

    train(
        model,
        optimizer,
        two_classes(),
        epochs=3,
        batch_size=30,
        loss=loss,
        scheduler=scheduler,
        progress=False,
    )
    assert seen == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


def test_training_mode_returns_after_an_evaluation_that_forgot_it():
    model, optimizer = make()
    modes = []
    model.register_forward_hook(lambda m, *_: modes.append(m.training))
    train(
        model,
        optimizer,
        two_classes(),
        epochs=2,
        progress=False,
        evaluate=lambda m: m.eval() and {},
    )
    assert modes == [True, True]


@pytest.mark.parametrize("progress", [True, False])
def test_progress_bar_can_be_switched_off(capsys, progress):
    model, optimizer = make()
    train(model, optimizer, two_classes(), epochs=1, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == "" and bool(captured.err) is progress


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_sizes_below_one_are_refused(name):
    model, optimizer = make()
    arguments = {"epochs": 1, "batch_size": 10} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        train(model, optimizer, two_classes(), **arguments)


def test_a_scheduler_that_needs_a_metric_is_refused_before_the_first_step():
    model, optimizer = make()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    before = model[1].weight.clone()
    with pytest.raises(ValueError, match=r"scheduler must have a step\(\) without"):
        train(model, optimizer, two_classes(), epochs=1, scheduler=scheduler)
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
    checkpoint = Checkpoint(tmp_path / "run.pt")
    images = two_classes()
    common = {"checkpoint": checkpoint, "progress": False}
    train(*make(), images, epochs=3, **common)
    for changed in ({"seed": 1}, {"batch_size": 50}, {"epochs": 2}):
        model, optimizer = make()
        before = model[1].weight.clone()
        with pytest.raises(ValueError, match=r"run\.pt.* was written by another run"):
            train(model, optimizer, images, **({"epochs": 3} | common | changed))
        assert torch.equal(model[1].weight, before)


def test_a_damaged_checkpoint_stops_the_run(tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match="damaged"):
        train(*make(), two_classes(), epochs=1, checkpoint=Checkpoint(path))
