"""A training run for test_loop.py to kill."""

from pathlib import Path

import torch
from torch import nn

from ece661_sparse.training import Checkpoint, Images, random_shift, set_seed, train

EPOCHS = 24


def report(model: nn.Module) -> dict[str, float]:
    """A number for the history, and a line by which the parent can count epochs."""
    print("epoch", flush=True)
    return {"norm": float(model[1].weight.detach().norm())}


def run(checkpoint: Checkpoint | None, epochs: int = EPOCHS):
    """Dropout, shifts, momentum, a schedule: all that a checkpoint must carry."""
    set_seed(3)
    x = torch.randn(400, 1, 28, 28)
    images = Images(x, (x.mean((1, 2, 3)) > 0).long())
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 30), nn.BatchNorm1d(30), nn.Dropout(0.3),
        nn.ReLU(), nn.Linear(30, 2),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    history = train(
        model,
        optimizer,
        images,
        epochs=epochs,
        batch_size=9,
        scheduler=torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 8]),
        seed=5,
        progress=False,
        checkpoint=checkpoint,
        evaluate=report,
        augment=random_shift,
    )
    return model.state_dict(), history


def save_run(folder: Path) -> None:
    weights, history = run(Checkpoint(folder / "run.pt"))
    Checkpoint(folder / "result.pt").save(weights=weights, history=history)
