"""Two processes, with a shard of each batch, equal one."""

import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from forked import Ranks, wait

from ece661_sparse.training import distributed
from ece661_sparse.training.distributed import GO_ON, processes, shard

sys.path.insert(0, str(Path(__file__).parent))
import shared_batches
from shared_batches import ALIKE, ONLY_EACH_OTHER


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """What each of two processes had at the end of every training."""
    folder = tmp_path_factory.mktemp("two")
    ranks = Ranks(shared_batches.run_all, folder, folder=folder)
    assert ranks.wait() == [0, 0], ranks.output()
    assert ranks.output() == ["printed\n", ""]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_equal_one(name, of_two):
    alone, together = shared_batches.run(name), of_two[0][name]
    assert alone.keys() == together.keys()
    for key, value in alone.items():  # losses are added up in single precision
        rtol, atol = (1e-6, 0) if key == "losses" else (1e-9, 1e-12)
        torch.testing.assert_close(together[key], value, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ALIKE | ONLY_EACH_OTHER)
def test_both_end_with_the_same_bits(name, of_two):
    first, second = (found[name] for found in of_two)
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("n", [1, 2, 5, 12])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_weighted_shards_add_up_to_the_batch(n, size, monkeypatch):
    y, values = torch.randperm(n), torch.rand(n, dtype=torch.float64)
    monkeypatch.setattr(distributed, "world_size", lambda: size)
    mean, seen = torch.zeros(()), []
    for rank in range(size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        x, part, weight = shard(values[y], y)
        assert len(part) >= 1 and weight >= 0
        assert torch.equal(x, values[part])
        mean = mean + weight * x.mean() / size
        seen += part.tolist() if weight else []
    torch.testing.assert_close(mean, values.mean())
    assert seen == y.tolist()


def test_one_process_takes_the_whole_batch_as_it_is():
    x, y = torch.rand(5, 2), torch.arange(5)
    images, labels, weight = shard(x, y)
    assert images is x and labels is y and weight == 1


def wait_for_the_other() -> None:
    with processes(torch.device("cpu")):
        if dist.get_rank() == 0:
            print("waiting", flush=True)
            dist.all_reduce(torch.zeros(1))
        time.sleep(60)


def test_a_process_that_is_stopped_while_it_waits_says_how_to_go_on(tmp_path):
    """In C++, where Python runs no handler; torchrun stops it for another's death."""
    ranks = Ranks(wait_for_the_other, folder=tmp_path)
    first, second = ranks.processes
    while "waiting" not in ranks.output()[0]:
        time.sleep(0.05)
    time.sleep(0.2)
    first.terminate()
    assert wait(first) == 1
    assert ranks.output()[0].endswith(f"process was lost. {GO_ON}\n")
    second.kill()
    assert wait(second) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("device", "number", "message"),
    [
        ("cuda:1", "0", "device must be 'cuda', got 'cuda:1'"),
        ("cuda", "2", "process 2 of this machine has no GPU.* at most 2 here"),
    ],
)
def test_every_process_needs_a_gpu_of_its_own(device, number, message, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("LOCAL_RANK", number)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=message), processes(torch.device(device)):
        pass


def test_without_torchrun_nothing_happens():
    before = signal.getsignal(signal.SIGTERM)
    with processes(torch.device("cpu")):
        assert not dist.is_initialized()
        assert signal.getsignal(signal.SIGTERM) is before
