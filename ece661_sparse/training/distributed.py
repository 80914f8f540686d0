"""One training in several processes, each on a GPU or a core.

They are started by torchrun::

    torchrun --nproc-per-node 2 -m ece661_sparse reproduce table1 --row gsm-lenet300-60x

Every process has the network and all the images. It works on its shard of each batch,
and torch's DistributedDataParallel averages the gradients before the optimizer sees
them. So saliencies, projections and masks are the same in every process, and, up to
rounding, those of one process with the whole batch. There are three exceptions:

- Noise. The generators of all processes are in the same state. Gates on weights and
  changes to images (``augment``) are therefore drawn as in one process. Noise that the
  network draws for each image (dropout, channel gating) is the same for the first image
  of every shard, for the second, and so on: right on average, but not what one process
  draws. An optimizer that draws as well (DNS) then needs shards of equal size.
- Batch normalisation. On GPUs its statistics are those of the whole batch
  (SyncBatchNorm); on CPUs, for which torch has no such layer, those of the shard.
- A loss that compares the images of a batch, as ``batch_shaping`` does, sees the shard.

Rank 0 alone reads checkpoints and writes files: the disks need not be shared, and a run
may be resumed with another number of processes.
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

# What gloo and NCCL write into a plain RuntimeError when another process is gone.
LOST = ("closed by peer", "reset by peer", "remote process exited")
GO_ON = "The same command goes on from the last finished epoch."
WAIT = 60  # seconds that rank 0 waits for a lock before it tells the others


def world_size() -> int:
    """The number of processes, 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


# --- a training step --------------------------------------------------------------


def parallel(model: nn.Module) -> nn.Module:
    """The model to call in a training step: its ``backward`` averages the gradients.

    On GPUs its batch normalisation becomes SyncBatchNorm and stays it: a layer with the
    same state, which in one process computes the same.
    """
    if world_size() == 1:
        return model
    if any(p.is_cuda for p in model.parameters()):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model)


def shard(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    r"""This process's shard of a batch, and the weight of the shard's mean loss.

    .. math:: \frac1n \sum_{i=1}^n L_i = \frac1W \sum_{r=1}^W w_r \bar L_r,
              \qquad w_r = \frac{n_r W}{n}

    for W processes, of which r has :math:`n_r` of the n images and their mean loss
    :math:`\bar L_r`. DistributedDataParallel takes the mean over r; without the weights
    it would be wrong wherever W does not divide n.
    """
    processes = world_size()
    if processes == 1:
        return x, y, 1.0
    images, labels = (tensor.tensor_split(processes)[rank()] for tensor in (x, y))
    weight = len(labels) * processes / len(y)
    if not len(labels):  # an empty shard still runs one image, with weight 0
        images, labels = x[:1], y[:1]
    return images, labels, weight


def synchronise(model: nn.Module, total: Tensor) -> None:
    """End an epoch: average ``total`` over the processes, copy the rest from rank 0.

    The rest are buffers and random numbers: shards differ in their statistics, and
    those of unequal size in how much noise they draw. Rank 0's are in the checkpoint,
    and all processes have to go on with the same.
    """
    if world_size() > 1:
        dist.all_reduce(total)
        total /= world_size()
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
        set_rng_state(on_rank_0(rng_state))


def rng_state() -> dict[str, Any]:
    """The state of torch's generators, from which dropout and stochastic gates draw."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Put torch's generators into a state that :func:`rng_state` returned."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        cuda = state["cuda"]
        if world_size() > 1:  # rank 0 draws on its first GPU, the others on theirs
            cuda = cuda[:1] * torch.cuda.device_count()
        torch.cuda.set_rng_state_all(cuda)


# --- what rank 0 does for all -----------------------------------------------------


def on_rank_0(function: Callable[[], T]) -> T:
    """Call a function on rank 0; in every process return, or raise, what it did."""
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


def rank_0_first(function: Callable[[], T]) -> T:
    """Call a function in every process, on rank 0 first: it may download something."""
    done: list[T] = []
    on_rank_0(lambda: done.append(function()))
    return done[0] if done else function()


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a file lock, of which rank 0 takes care, in all processes.

    Raises:
        filelock.Timeout: another run holds it, and ``wait`` is False.
    """
    lock = FileLock(path)

    def acquire() -> bool:
        with suppress(Timeout):
            lock.acquire(timeout=WAIT if wait else 0)
        return lock.is_locked

    # A loop, since the others give up on a rank 0 that is silent for too long.
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
    """Join the processes that torchrun started into one run; only rank 0 prints.

    Without torchrun, nothing happens.

    Raises:
        ConnectionError: another process was lost.
        ValueError: ``device`` names a single GPU, or the machine has too few GPUs.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield
        return
    if device.type == "cuda":
        _take_gpu(device)
    _advise_when_stopped()
    # A kernel with one input channel has two strides for the same layout.
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
    """Say how to resume when torchrun stops this process because another was lost.

    Python runs no signal handler while this process waits for the other one inside
    torch. But it writes the signal's number into a pipe, which a thread can read.
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
