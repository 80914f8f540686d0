"""Trainings for test_distributed.py, run by one process and by two."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from ece661_sparse.gates import (
    Bernoulli,
    ContinuousGate,
    HardConcrete,
    expected_l0,
    gate,
    gate_groups,
    hardening,
)
from ece661_sparse.proximal import L1, MCP, ProximalOptimizer, weight_groups
from ece661_sparse.saliency import GSM, apply_mask, global_mask, keep_zeros, magnitude
from ece661_sparse.saliency.baselines import ADMM, DNS
from ece661_sparse.training import Checkpoint, Images, set_seed, train
from ece661_sparse.training.distributed import (
    locked,
    on_rank_0,
    processes,
    rank,
    rank_0_first,
    rng_state,
)

EPOCHS = 3


def network(*inside: nn.Module) -> nn.Module:
    """Channels last and in double precision: sums in another order agree to 1e-12."""
    layers = [nn.Conv2d(1, 4, 3), *inside, nn.Flatten(), nn.Tanh(), nn.Linear(16, 3)]
    model = nn.Sequential(*layers).double()
    return model.to(memory_format=torch.channels_last)


def fit(model, optimizer, *, n=53, batch_size=10, loss=F.cross_entropy, **options):
    """Not a multiple of the batch, and in the end of an odd number of images."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 1, 4, 4, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (n,), generator=generator)
    options = {"epochs": EPOCHS, "batch_size": batch_size, "loss": loss} | options
    history = train(model, optimizer, Images(x, y), progress=False, **options)
    losses = torch.tensor([record["loss"] for record in history])
    return model.state_dict() | {"losses": losses}


def sgd(**options):
    model = network()
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-2)
    schedule = CosineAnnealingLR(optimizer, EPOCHS)
    return fit(model, optimizer, scheduler=schedule, **options)


def proximal(penalty, inner):
    model = network()
    return fit(model, ProximalOptimizer(inner(weight_groups(model)), [penalty, None]))


def gsm(average):
    model = network()
    return fit(model, GSM(model.parameters(), 0.05, keep=20, average=average))


def gated(kind, groups="weight", schedule=None):
    model = gate(network(), kind, groups)
    optimizer = Adam(gate_groups(model, 1e-2, 5e-2))

    def loss(logits, y):
        return F.cross_entropy(logits, y) + 1e-2 * expected_l0(model)

    scheduler = schedule(optimizer, model, EPOCHS) if schedule else None
    return fit(model, optimizer, loss=loss, scheduler=scheduler)


def admm():
    model = network()
    return fit(model, ADMM(model.parameters(), 1e-2, keep=20, rho=0.1, every=4))


def surgery():
    model = network()
    return fit(model, DNS(model.parameters(), 0.05, c=0.2, gamma=0.3))


def retraining():
    model = network()
    apply_mask(model, global_mask(magnitude(model), 20))
    with keep_zeros(model):
        return fit(model, SGD(model.parameters(), 0.1, momentum=0.9))


def statistics():
    model = network(nn.BatchNorm2d(4), nn.Dropout(0.3))
    return fit(model, SGD(model.parameters(), 0.1))


ALIKE = {
    "sgd": sgd,
    "a batch of one": partial(sgd, n=51),
    "odd batches": partial(sgd, batch_size=7),
    "noise on the images": partial(sgd, augment=lambda x: x + torch.randn_like(x)),
    "proximal sgd": partial(proximal, L1(0.02), partial(SGD, lr=0.1, momentum=0.9)),
    "proximal sgd, mcp": partial(proximal, MCP(0.02, 3.0), partial(SGD, lr=0.1)),
    "proximal adam": partial(proximal, L1(0.02), partial(Adam, lr=0.01)),
    "gsm": partial(gsm, 0.0),
    "gsm, averaged": partial(gsm, 0.9),
    "hard concrete, weights": partial(gated, HardConcrete),
    "hard concrete, units": partial(gated, HardConcrete, "unit"),
    "bernoulli": partial(gated, Bernoulli),
    "continuous": partial(gated, ContinuousGate, schedule=hardening),
    "admm": admm,
    "dns": surgery,
    "masked retraining": retraining,
}
ONLY_EACH_OTHER = {"batch normalisation, dropout": statistics}


def run(name: str) -> dict[str, torch.Tensor]:
    set_seed(0)
    found = (ALIKE | ONLY_EACH_OTHER)[name]()
    return found | {"generator": rng_state()["cpu"]}


def run_all(folder: Path) -> None:
    """In every process: the end states of all trainings, in a file."""
    with processes(torch.device("cpu")):
        found = {name: run(name) for name in ALIKE | ONLY_EACH_OTHER}
        torch.save(found, folder / f"{rank()}.pt")
        one_for_all(folder)
        print("printed")


def one_for_all(folder: Path) -> None:
    """What rank 0 does in the name of both: it reads, it waits its turn, it locks."""
    assert on_rank_0(rank) == 0

    def fail() -> None:
        raise FileNotFoundError(f"looked for by rank {rank()}")

    with pytest.raises(FileNotFoundError, match="by rank 0"):
        on_rank_0(fail)

    def sign() -> int:
        with open(folder / "turns", "a") as file:
            file.write(str(rank()))
        return rank()

    assert rank_0_first(sign) == rank()
    on_rank_0(lambda: None)
    assert (folder / "turns").read_text() == "01"

    with locked(folder / "lock", wait=False):  # of both, or one would time out
        other = FileLock(folder / "lock")
        with pytest.raises(Timeout):
            other.acquire(timeout=0)
        on_rank_0(lambda: None)
    on_rank_0(lambda: bool(other.acquire(timeout=0)))
    with pytest.raises(Timeout), locked(folder / "lock", wait=False):
        pass
    on_rank_0(other.release)

    # Disks of their own: rank 1 has no checkpoint, and goes on from rank 0's.
    checkpoint = Checkpoint(folder / f"disk{rank()}" / "run.pt")
    set_seed(0)
    sgd(epochs=1, checkpoint=checkpoint)
    assert checkpoint.path.exists() == (rank() == 0)
    set_seed(1)
    resumed, whole = sgd(checkpoint=checkpoint), run("sgd")
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())
