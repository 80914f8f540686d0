"""A checkpoint is whole or absent, and a damaged one says so."""

import os

import numpy as np
import pytest
import torch

from ece661_sparse.training import Checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "runs" / "lenet.pt")


def test_round_trip(checkpoint):
    state = {"weights": [torch.randn(3, 4)], "history": [{"epoch": 1, "loss": 0.5}]}
    checkpoint.save(**state, note=None)
    loaded = checkpoint.load()
    assert torch.equal(loaded["weights"][0], state["weights"][0])
    assert loaded["history"] == state["history"] and loaded["note"] is None


def test_numbers_of_numpy_come_back_as_plain_ones(checkpoint):
    history = [{"epoch": 1, "top1": np.float64(0.1), "best": (np.bool_(True), [])}]
    checkpoint.save(history=history, optimizer={"groups": [{"lr": np.float32(0.5)}]})
    loaded = checkpoint.load()
    assert loaded["history"] == history and type(loaded["history"][0]["top1"]) is float
    assert loaded["optimizer"] == {"groups": [{"lr": 0.5}]}


def test_nothing_saved_yet(checkpoint):
    assert checkpoint.load() is None


def test_saving_leaves_one_file(checkpoint):
    for i in range(3):
        checkpoint.save(i=i)
    assert os.listdir(checkpoint.path.parent) == ["lenet.pt"]
    assert checkpoint.load() == {"i": 2}


def test_a_save_that_fails_midway_keeps_the_previous_one(checkpoint, monkeypatch):
    checkpoint.save(i=1)

    def disk_full(state, file):
        file.write(b"half a checkpoint")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(i=2)
    assert checkpoint.load() == {"i": 1}


def test_the_data_reach_the_disk_before_the_name(checkpoint, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, lambda *_, name=name: calls.append(name))
    checkpoint.save(i=1)
    assert calls == ["fsync", "replace"]


def cut_short(data):
    return data[: len(data) // 2]


def flip_one_bit(data):
    at = data.index(torch.full((64,), 0.5).numpy().tobytes()) + 100
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage", [cut_short, flip_one_bit, lambda _: b"", lambda _: b"not a checkpoint"]
)
def test_a_damaged_file_is_refused_with_advice(checkpoint, damage):
    checkpoint.save(weights=torch.full((64,), 0.5))
    checkpoint.path.write_bytes(damage(checkpoint.path.read_bytes()))
    with pytest.raises(ValueError, match=r"lenet\.pt is damaged.*Delete it"):
        checkpoint.load()


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def test_loading_never_runs_code(checkpoint, monkeypatch):
    checkpoint.save(payload=Payload())
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("code ran"))
    with pytest.raises(ValueError, match="not a checkpoint of this package") as refused:
        checkpoint.load()
    assert "damaged" not in str(refused.value) and "Delete" not in str(refused.value)
