"""The training loop of all chapters: the data are in memory, a batch is an index."""

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

from ece661_sparse.core.arguments import check_count
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
    """Seed Python, NumPy and torch, and make cuDNN use repeatable algorithms.

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

    ``seed`` decides the order of the images and nothing else. Together with the initial
    weights (:func:`set_seed` before the model is made) it fixes the result.

    Several processes that make this call with the same arguments divide each batch
    among them; see :mod:`ece661_sparse.training.distributed`.

    Args:
        model: trained in place, on the device of ``images``.
        optimizer: any torch optimizer over the model's parameters.
        images: the training set.
        epochs: passes over the images, those of an interrupted run included.
        batch_size: images of a step; the last batch of an epoch may be smaller.
        loss: ``loss(logits, labels)``, a mean over the batch. A penalty whose
            subgradient is to be followed is added here (``regularized``).
        scheduler: of the learning rate, or of other numbers; its ``step()`` is called
            once an epoch.
        seed: of the order of the images.
        progress: show a progress bar; a mapping has its options, those of ``tqdm``.
        checkpoint: written after every epoch. If its file exists, the run goes on from
            there, and ends with the same bits as a run that was never stopped.
        evaluate: ``evaluate(model)`` returns numbers for the epoch's record.
        augment: ``augment(x)`` returns a changed copy of a batch of images. Its random
            numbers come from torch's global generators, which the checkpoint keeps.
        autocast: compute logits and loss in this dtype (``torch.bfloat16``) where
            ``torch.autocast`` finds it safe; weights and optimizer stay as they are.

    Returns:
        One dictionary for each epoch, with ``epoch`` (from 1), ``loss`` (the mean over
        its images) and what ``evaluate`` returned.

    Raises:
        ValueError: ``epochs`` or ``batch_size`` below 1; a scheduler whose ``step``
            needs a metric; a checkpoint that is damaged, written with other settings
            or already past ``epochs``.
    """
    check_count("epochs", epochs, at_least=1)
    check_count("batch_size", batch_size, at_least=1)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "scheduler must have a step() without arguments (StepLR, "
            f"CosineAnnealingLR, …), got {type(scheduler).__name__}"
        )
    history: list[dict[str, Any]] = []
    run = {"images": len(images), "batch_size": batch_size, "seed": seed}
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if scheduler is not None:
        parts["scheduler"] = scheduler
    if checkpoint is not None:
        history = _resume(checkpoint, parts, run, epochs)

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
                states = {name: part.state_dict() for name, part in parts.items()}
                checkpoint.save(run=run, history=history, rng=rng_state(), **states)
    return history


def batches(images: Images, batch_size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Positions of the images of each batch: one random order, cut into pieces.

    The order depends on ``(seed, epoch)`` alone, so that epoch 7 is the same whether
    the run was interrupted before it or not.
    """
    # NumPy mixes both numbers; torch takes one seed, and 32 bits of it.
    order = np.random.default_rng((seed, epoch)).permutation(len(images))
    yield from torch.from_numpy(order).to(images.x.device).split(batch_size)


def _resume(
    checkpoint: Checkpoint, parts: dict[str, Any], run: dict[str, int], epochs: int
) -> list[dict[str, Any]]:
    """Load the checkpoint's states into the parts; return the history so far."""
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
    for name, part in parts.items():
        part.load_state_dict(state[name])
    set_rng_state(state["rng"])
    return state["history"]
