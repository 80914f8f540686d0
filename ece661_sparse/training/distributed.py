"""One training in several processes, each on a GPU or a core, started by torchrun::

    torchrun --nproc-per-node 2 -m ece661_sparse reproduce table1 --row gsm-lenet300-60x

Every process has the network and all the images. It takes its share of each batch, and
torch's DistributedDataParallel averages the gradients before the optimizer sees them:
saliencies, projections and masks come out alike everywhere, and are those of one
process with the whole batch. Up to rounding, that is, and with three exceptions:

- Noise. The generators of all processes are in the same state. Gates on weights and
  changes to images (``augment``) are therefore drawn as in one process. Noise that the
  network draws for each image (dropout, channel gating) is the same for the first image
  of every share, for the second, and so on: right on average, though not what one
  process draws. An optimizer that draws as well (DNS) then needs shares of equal size.
- Batch normalisation. On GPUs over the whole batch (SyncBatchNorm). On CPUs, for which
  torch has none, over the share.
- A loss that compares images of a batch, as ``batch_shaping`` does, sees the share.

Rank 0 alone reads checkpoints and writes files: the disks need not be shared, and a run
may go on with another number of processes.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")

# What gloo and NCCL say of a process that is gone, in a plain RuntimeError.
LOST = ("closed by peer", "reset by peer", "remote process exited")
GO_ON = "The same command goes on from the last finished epoch."
WAIT = 60  # seconds for a lock, until the others hear that rank 0 is still waiting


def world_size() -> int:
    """The number of processes, 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


# --- a training step --------------------------------------------------------------


def parallel(model: nn.Module) -> nn.Module:
    """The model to call in a training step: ``backward`` averages its gradients.

    On GPUs its batch normalisation becomes, and stays, SyncBatchNorm: the same layer
    with the same state, which in one process does the same.
    """
    if world_size() == 1:
        return model
    if any(p.is_cuda for p in model.parameters()):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model)


def share(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    r"""This process's part of the images and labels, and the weight of its mean loss.

    .. math:: \frac1n \sum_{i=1}^n L_i = \frac1W \sum_{r=1}^W w_r \bar L_r,
              \qquad w_r = \frac{n_r W}{n}

    with W processes, of which r has :math:`n_r` images and their mean
    :math:`\bar L_r`. The right side is the mean that DistributedDataParallel takes;
    without the weights it would be wrong wherever W does not divide n.
    """
    processes = world_size()
    if processes == 1:
        return x, y, 1.0
    images, labels = (tensor.tensor_split(processes)[rank()] for tensor in (x, y))
    weight = len(labels) * processes / len(y)
    if not len(labels):  # a network wants an image, if one that does not count
        images, labels = x[:1], y[:1]
    return images, labels, weight


def agree(model: nn.Module, total: Tensor) -> None:
    """At the end of an epoch: ``total`` is averaged, the rest is as on rank 0.

    Shares of unequal size draw unequal amounts of noise, and see other statistics. What
    rank 0 has is in the checkpoint, and must be what all go on with.
    """
    if world_size() > 1:
        dist.all_reduce(total)
        total /= world_size()
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
        set_rng_state(on_rank_0(rng_state))


def rng_state() -> dict[str, Any]:
    """torch's generators, which dropout and stochastic gates draw from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Put torch's generators back, or into the state that they have on rank 0."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        cuda = state["cuda"]
        if world_size() > 1:  # rank 0 draws on its first GPU, others on theirs
            cuda = cuda[:1] * torch.cuda.device_count()
        torch.cuda.set_rng_state_all(cuda)


# --- what one process does for all ------------------------------------------------


def on_rank_0(function: Callable[[], T]) -> T:
    """Call a function on rank 0; every process gets what it returned, or raised."""
    if world_size() == 1:
        return function()
    answer: list[Any] = [None, None]
    if rank() == 0:
        try:
            answer[0] = function()
        except Exception as error:
            answer[1] = error
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def in_turn(function: Callable[[], T]) -> T:
    """Call a function on rank 0, then on the others: it may download something."""
    done: list[T] = []
    on_rank_0(lambda: done.append(function()))
    return done[0] if done else function()


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """A file lock that rank 0 holds for all processes.

    Raises:
        filelock.Timeout: another run has it, and ``wait`` is False.
    """
    lock = FileLock(path)

    def acquire() -> bool:
        with suppress(Timeout):
            lock.acquire(timeout=WAIT if wait else 0)
        return lock.is_locked

    while not on_rank_0(acquire):
        if not wait:
            raise Timeout(str(path))
    try:
        yield
    finally:
        lock.release()


# --- the processes of torchrun ----------------------------------------------------


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Inside, the processes that torchrun started are one run, of which rank 0 prints.

    Without torchrun, nothing happens.

    Raises:
        ConnectionError: another process was lost.
        ValueError: ``device`` is one certain GPU, or there are too few of them.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield
        return
    if device.type == "cuda":
        _take_gpu(device)
    _advise_when_stopped()
    # A kernel with one input channel has two strides that are the same layout.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        if rank() == 0:
            yield
        else:
            with (
                open(os.devnull, "w") as nowhere,
                redirect_stdout(nowhere),
                redirect_stderr(nowhere),
            ):
                yield
    except Exception as error:
        if any(sign in str(error) for sign in LOST):
            raise ConnectionError(f"another process was lost. {GO_ON}") from error
        error.add_note(f"All processes of the run end when one does. {GO_ON}")
        raise
    dist.destroy_process_group()


def _take_gpu(device: torch.device) -> None:
    number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.index is not None:
        raise ValueError(f"under torchrun device must be 'cuda', got {str(device)!r}")
    if number >= count:
        raise ValueError(
            f"process {number} of this machine has no GPU: --nproc-per-node must be "
            f"at most {count} here"
        )
    torch.cuda.set_device(number)


def _advise_when_stopped() -> None:
    """Say how to go on when torchrun stops this process, another one being lost.

    This one may be inside a kernel that waits for the lost one, where Python runs no
    signal handler: a thread that reads the signal's number from a pipe does.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writer)

    def advise() -> None:
        while os.read(reader, 1)[0] != signal.SIGTERM:
            pass
        print(
            f"Stopped, for example because another process was lost. {GO_ON}",
            file=sys.__stderr__,
            flush=True,
        )
        os._exit(1)

    Thread(target=advise, daemon=True).start()
