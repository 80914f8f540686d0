"""What is saved comes back bit for bit; what is damaged does not come back at all."""

import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ece661_sparse.core import kernels
from ece661_sparse.models import LeNet5
from ece661_sparse.training import load_sparse, save_sparse
from ece661_sparse.training.sparse_file import FORMAT, _digest, sparse_bytes

SHAPES = [(3, 4), (2, 3, 3, 2), (1, 1), (0, 4), (5,), ()]


class Holder(nn.Module):
    """A model of given tensors: a parameter each, and a buffer of integers."""

    def __init__(self, tensors):
        super().__init__()
        for i, tensor in enumerate(tensors):
            self.register_parameter(f"p{i}", nn.Parameter(tensor, requires_grad=False))
        self.register_buffer("steps", torch.tensor(3))


def sparse(seed, shape, dtype, density):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator).to(dtype)
    return values * (torch.rand(shape, generator=generator) < density)


def same(a, b):
    return all(
        torch.equal(x, y) and x.dtype == y.dtype and x.shape == y.shape
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights" / "model.safetensors"


@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
    shape=st.sampled_from(SHAPES),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    density=st.sampled_from([0, 0.1, 0.6, 1]),
)
def test_round_trip(tmp_path_factory, seeds, shape, dtype, density):
    path = tmp_path_factory.mktemp("sparse") / "model.safetensors"
    model = Holder([sparse(seed, shape, dtype, density) for seed in seeds])
    save_sparse(model, path)
    blank = Holder([torch.ones(shape, dtype=dtype) for _ in seeds])
    assert load_sparse(path, blank) is blank
    assert same(blank, model)


def test_extreme_values_come_back(path):
    special = torch.tensor([[float("inf"), 1e-45, -3e38, 0, 0, 0]])
    save_sparse(Holder([special]), path)
    assert same(load_sparse(path, Holder([torch.ones(1, 6)])), Holder([special]))


def pruned_lenet5(keep=0.003):
    torch.manual_seed(0)
    model = LeNet5()
    with torch.no_grad():
        for p in kernels(model).values():
            p.mul_(torch.rand_like(p) < keep)
    return model


def test_size_and_determinism(path):
    model = pruned_lenet5()
    save_sparse(model, path)
    first = path.read_bytes()
    # 8 bytes for each of about 1,300 weights, 4 for each of 580 biases, and a head.
    assert len(first) < 8 * 1400 + 4 * 580 + 1500
    assert all(sparse_bytes(model) == first for _ in range(5))


def test_a_dense_kernel_is_stored_whole(path):
    dense = Holder([torch.ones(100, 100)])
    save_sparse(dense, path)
    assert path.stat().st_size < 4 * 100 * 100 + 500


def test_channels_last_is_the_same_file_and_stays(path):
    model = pruned_lenet5()
    twin = pruned_lenet5().to(memory_format=torch.channels_last)
    assert sparse_bytes(model) == sparse_bytes(twin)
    save_sparse(model, path)
    blank = LeNet5().to(memory_format=torch.channels_last)
    load_sparse(path, blank)
    assert same(blank, model)
    assert blank.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_model_on_meta_comes_to_the_cpu(path):
    model = nn.Sequential(pruned_lenet5(), nn.BatchNorm1d(10))
    save_sparse(model, path)
    blank = nn.Sequential(LeNet5(), nn.BatchNorm1d(10)).requires_grad_(False)
    blank.to("meta")
    assert same(load_sparse(path, blank), model)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(blank.eval()(x), model.eval()(x))
    assert not any(p.requires_grad for p in blank.parameters())


class Counting(nn.Linear):
    """A layer with a state that is no parameter and no buffer."""

    def __init__(self, state):
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_tensor_as_extra_state_comes_back(path, device):
    save_sparse(nn.Sequential(Counting(torch.tensor(7.0))), path)
    blank = nn.Sequential(Counting(torch.tensor(1.0))).to(device)
    assert load_sparse(path, blank)[0].state == 7
    with pytest.raises(ValueError, match=r"0\._extra_state is \(\).* of type dict"):
        load_sparse(path, nn.Sequential(Counting({"steps": 7})))


def test_another_extra_state_is_refused_by_name(path):
    with pytest.raises(ValueError, match=r"0\._extra_state is of type dict"):
        save_sparse(nn.Sequential(Counting({"steps": 7})), path)
    assert not path.exists()


def test_no_file(path):
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_sparse(path, LeNet5())


@pytest.mark.parametrize(
    "other",
    [nn.Linear(3, 2), LeNet5().double(), nn.Sequential(LeNet5())],
    ids=["other names", "other dtype", "wrapped"],
)
def test_another_model_is_refused_and_left_alone(path, other):
    save_sparse(pruned_lenet5(), path)
    before = {name: t.clone() for name, t in other.state_dict().items()}
    with pytest.raises(ValueError, match="holds another model"):
        load_sparse(path, other)
    assert all(torch.equal(t, before[name]) for name, t in other.state_dict().items())


def test_another_shape_is_refused(path):
    save_sparse(Holder([torch.zeros(2, 3)]), path)
    with pytest.raises(ValueError, match=r"p0 is \(2, 3\).*\(3, 2\)"):
        load_sparse(path, Holder([torch.zeros(3, 2)]))


def flip_a_value(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def flip_a_position(data):
    at = 8 + struct.unpack("<Q", data[:8])[0]  # the first tensor after the head
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def other_format(data):
    return data.replace(b"ece661-sparse-1", b"ece661-sparse-9")


def other_shape(data):
    """The shapes are not among the tensors, so the checksum has to cover them."""
    assert data.count(b"[2, 40]") == 1
    return data.replace(b"[2, 40]", b"[40, 2]")


@pytest.mark.parametrize(
    "damage",
    [
        *(flip_a_value, flip_a_position, other_format, other_shape),
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda _: b"",
        lambda _: b"not a safetensors file",
    ],
)
def test_a_damaged_file_is_refused(path, damage):
    model = Holder([sparse(0, (2, 40), torch.float32, 0.2)])
    save_sparse(model, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not"):
        load_sparse(path, Holder([torch.zeros(2, 40)]))


def damaged_or_foreign(path):
    with pytest.raises(ValueError, match="is damaged or not a sparse file"):
        load_sparse(path, Holder([torch.zeros(2, 3)]))


def test_a_plain_safetensors_file_is_refused(path):
    path.parent.mkdir()
    save_file({"p0": torch.zeros(2, 3)}, path)
    damaged_or_foreign(path)


def test_positions_out_of_range_are_refused(path):
    """Written by a stranger, with a right checksum."""
    positions = torch.tensor([7], dtype=torch.int32)
    stored = {"p0/positions": positions, "p0/values": torch.tensor([1.0])}
    shapes = {"p0": [2, 3]}
    about = {"format": FORMAT, "shapes": shapes, "sha256": _digest(stored, shapes)}
    path.parent.mkdir()
    save_file(stored, path, {"about": json.dumps(about)})
    damaged_or_foreign(path)
