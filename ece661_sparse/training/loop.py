"""The training loop of all chapters: whole data set in memory, a batch is an index."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm.auto import tqdm

from ece661_sparse.training.checkpoint import Checkpoint
from ece661_sparse.training.data import Images
from ece661_sparse.training.distributed import (
    on_rank_0,
    parallel,
    rank,
    rng_state,
    set_rng_state,
    shard,
    synchronise,
)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask cuDNN for repeatable algorithms.

    The same seed then gives the same result on the same machine, bit for bit.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def train(
    model: nn.Module,
    optimizer: Optimizer,
    images: Images,
    *,
    epochs: int,
    batch_size: int = 100,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    scheduler: LRScheduler | None = None,
    seed: int = 0,
    progress: bool | Mapping[str, Any] = True,
    checkpoint: Checkpoint | None = None,
    evaluate: Callable[[nn.Module], dict[str, Any]] | None = None,
    augment: Callable[[Tensor], Tensor] | None = None,
    autocast: torch.dtype | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` on ``images`` and return one record per epoch.

    ``seed`` decides the order of the images and nothing else: with the initial
    weights (:func:`set_seed` before the model is made) it fixes the result.

    In several processes, each with this call and the same arguments, ``batch_size``
    images are shared out; see :mod:`ece661_sparse.training.distributed`.

    Args:
        model: trained in place, on the device of ``images``.
        optimizer: any torch optimizer over the model's parameters.
        images: the training set.
        epochs: passes over the images, counted from the very first run when a
            checkpoint is resumed.
        batch_size: images a step; the last batch of an epoch may be smaller.
        loss: ``loss(logits, labels)``, a mean over the batch; a penalty on the weights
            whose subgradient shall be followed is added here (``regularized``).
        scheduler: learning-rate schedule, advanced once an epoch by ``step()``.
        seed: of the batches.
        progress: show a progress bar; a mapping has its options, those of ``tqdm``.
        checkpoint: written after every epoch. If it exists, the run continues from
            it, and ends with the same bits as a run that was never stopped.
        evaluate: ``evaluate(model)`` returns numbers to add to the epoch's record.
        augment: ``augment(x)`` returns a changed copy of a batch of images; its random
            numbers come from torch's global generators, which the checkpoint keeps.
        autocast: compute logits and loss in this dtype (``torch.bfloat16``) where
            ``torch.autocast`` finds it safe; weights and optimizer stay as they are.

    Returns:
        One dictionary for each epoch, with ``epoch`` (from 1), ``loss`` (mean over the
        epoch's images) and what ``evaluate`` returned.

    Raises:
        ValueError: ``epochs`` or ``batch_size`` below 1; a scheduler whose ``step``
            needs a metric; a checkpoint that is damaged, written with other settings
            or already past ``epochs``.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "scheduler must have a step() without arguments (StepLR, "
            f"CosineAnnealingLR, …), got {type(scheduler).__name__}"
        )
    history: list[dict[str, Any]] = []
    run = {"images": len(images), "batch_size": batch_size, "seed": seed}
    if checkpoint is not None:
        history = _resume(checkpoint, model, optimizer, scheduler, run, epochs)

    network = parallel(model)
    steps = -(-len(images) // batch_size)
    device = images.x.device.type
    precision = torch.autocast(device, autocast) if autocast else nullcontext()
    with tqdm(
        total=epochs * steps,
        initial=len(history) * steps,
        disable=not progress or rank() > 0,
        **(progress if isinstance(progress, Mapping) else {}),
    ) as bar:
        for epoch in range(len(history), epochs):
            model.train()
            total = torch.zeros((), device=images.x.device)
            for index in batches(images, batch_size, seed, epoch):
                optimizer.zero_grad()
                x, y = images.x.index_select(0, index), images.y[index]
                if augment is not None:
                    x = augment(x)
                x, y, weight = shard(x, y)
                with precision:
                    objective = loss(network(x), y)
                objective.backward(objective.new_full((), weight))
                optimizer.step()
                total += objective.detach() * (weight * len(index))
                bar.update()
            synchronise(model, total)
            if scheduler is not None:
                scheduler.step()
            record = {"epoch": epoch + 1, "loss": total.item() / len(images)}
            history.append(record | (evaluate(model) if evaluate else {}))
            bar.set_postfix(record, refresh=False)
            if checkpoint is not None and rank() == 0:
                checkpoint.save(
                    run=run,
                    history=history,
                    model=model.state_dict(),
                    optimizer=optimizer.state_dict(),
                    scheduler=scheduler.state_dict() if scheduler else None,
                    rng=rng_state(),
                )
    return history


def batches(images: Images, batch_size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Positions of the images of each batch: one random order, cut into pieces.

    The order depends on ``(seed, epoch)`` only, so that epoch 7 is the same whether
    or not the run was interrupted before it.
    """
    # NumPy mixes both numbers; torch keeps 32 bits of one seed.
    order = np.random.default_rng((seed, epoch)).permutation(len(images))
    yield from torch.from_numpy(order).to(images.x.device).split(batch_size)


def _resume(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    run: dict[str, int],
    epochs: int,
) -> list[dict[str, Any]]:
    """Put the checkpoint's state into the objects; return the history so far."""
    state = on_rank_0(checkpoint.load)
    if state is None:
        return []
    done = len(state["history"])
    if state["run"] != run or done > epochs:
        raise ValueError(
            f"{checkpoint} was written by another run: {state['run']}, {done} epochs "
            f"done; this one has {run} and epochs={epochs}. Delete the file or choose "
            "another path."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(state["scheduler"])
    set_rng_state(state["rng"])
    return state["history"]
