"""Fewer units, the same outputs; and what has to stay stays."""

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ece661_sparse.core import layers
from ece661_sparse.gates import HardConcrete, gate
from ece661_sparse.models import BranchyLeNet, LeNet5, LeNet300, NarrowCNN, resnet20
from ece661_sparse.synthesis import Maxout, Pick, compact
from ece661_sparse.training import load_sparse, save_sparse

TABLE1 = Path(__file__).parents[2] / "book" / "results" / "table1"
COMMITTED = {
    "gsm-lenet5-300x": LeNet5,
    "gsm-lenet5-125x": LeNet5,
    "gsm-lenet300-60x": LeNet300,
}


def committed(row):
    return load_sparse(TABLE1 / f"{row}.safetensors", COMMITTED[row]()).eval()


def shapes(network):
    """Outputs of every layer but the last; of a pooling convolution, its maps."""
    sizes = []
    for module, after in pairwise(network):
        if isinstance(module, nn.Linear | nn.Conv2d):
            parts = after.n if isinstance(after, Maxout) else 1
            sizes.append(len(module.weight) // parts)
    return sizes


def on_paths(model):
    """Units of every hidden layer that lie on a path from an input to an output."""
    nonzero = [layer.weight != 0 for _, layer in layers(model)]
    reads = [nonzero[0].flatten(1).any(1, keepdim=True)]
    for before, w in pairwise(nonzero):  # (units, units of the layer before)
        reads.append(w.view(len(w), len(before), -1).any(2))
    alive = [torch.ones(1, dtype=torch.bool)]
    for matrix in reads:
        alive.append((matrix & alive[-1]).any(1))
    used, counts = alive.pop(), []
    for matrix in reversed(reads[1:]):
        used = alive.pop() & matrix[used].any(0)
        counts.insert(0, int(used.sum()))
    return counts


class Functional(nn.Module):
    """Every function that compact knows, normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc1 = nn.Linear(8 * 2 * 2, 16, bias=False)
        self.bn4 = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, 12)
        self.fc3 = nn.Linear(12, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = torch.tanh(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(self.conv3(x).relu(), 3, stride=2, padding=1)
        x = F.dropout(F.adaptive_avg_pool2d(x, 2).flatten(1), training=self.training)
        x = torch.sigmoid(self.bn4(self.fc1(x)))
        return self.fc3(F.relu(self.fc2(x)))


def sequential():
    """As modules; an odd image, pooling with a remainder, padding throughout."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(8, 10, (3, 2), stride=(1, 2)),
        nn.BatchNorm2d(10),
        nn.Sigmoid(),
        nn.MaxPool2d(2),
        nn.Dropout2d(),
        nn.Flatten(),
        nn.Linear(10 * 2 * 1, 12),
        nn.Tanh(),
        nn.Identity(),
        nn.Linear(12, 3),
    )


MODELS = {
    "LeNet300": (LeNet300, (1, 28, 28)),
    "LeNet5": (LeNet5, (1, 28, 28)),
    "functional": (Functional, (2, 13, 11)),
    "sequential": (sequential, (2, 13, 11)),
}


@torch.no_grad()
def pruned(make, density, seed):
    """Random weights, biases and statistics; zeros, and units without weights."""
    generator = torch.Generator().manual_seed(seed)
    model = make().double().eval()
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            w = module.weight
            w.copy_(torch.randn(w.shape, generator=generator, dtype=w.dtype))
            w *= torch.rand(w.shape, generator=generator) < density
            w[torch.rand(len(w), generator=generator) < 0.3] = 0
            w[:, torch.rand(w.shape[1], generator=generator) < 0.3] = 0
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean"):
                old = getattr(module, name)
                old.copy_(torch.randn(old.shape, generator=generator))
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight[torch.rand(len(old), generator=generator) < 0.3] = 0
    return model


def compact_and_compare(model, shape):
    """A compact model in double precision, with the outputs of the model."""
    small, x = compact(model.double()), torch.randn(shape, dtype=torch.double)
    assert torch.allclose(small(x), model(x), rtol=1e-10, atol=1e-10)
    return small


@pytest.mark.parametrize("density", [1.0, 0.2, 0.02, 0.0])
@pytest.mark.parametrize("name", MODELS)
def test_same_outputs(name, density):
    make, shape = MODELS[name]
    for seed in range(3):
        model = pruned(make, density, seed)
        before = copy.deepcopy(model.state_dict())
        small = compact_and_compare(model, (5, *shape))
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
        *hidden, _ = layers(model)
        assert sum(shapes(small)) < sum(len(layer.weight) for _, layer in hidden)


@pytest.mark.parametrize("row", COMMITTED)
def test_the_committed_networks(row, digits):
    model = committed(row)
    small = compact(model)
    assert shapes(small) == on_paths(model)
    with torch.no_grad():
        ours, theirs = small(digits), model(digits)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)
    assert torch.equal(ours.argmax(1), theirs.argmax(1))


def test_a_constant_goes_on_through_the_layers():
    model = nn.Sequential(
        nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[0] = 0
        model[0].bias[0] = 3.0
        model[2].weight[1] = torch.tensor([2.0, 0.0])  # reads the constant only
    small = compact(model)
    # unit 1 of the second layer is 2*3 + 1 = 7; the other gets 3 from the first
    assert [tuple(p.shape) for p in small.parameters()] == [
        (1, 2), (1,), (1, 1), (1,), (1, 1), (1,)
    ]  # fmt: skip
    assert [layer.bias.item() for _, layer in layers(small)] == [1, 4, 8]


def test_a_negative_constant_is_nothing_after_relu():
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = 0, -5.0
    small = compact_and_compare(model, (2, 3))
    assert torch.equal(small[2].bias, model[2].bias)
    assert small[0].out_features == 1


@pytest.mark.parametrize(
    ("between", "constant", "padding", "kept"),
    [
        (nn.ReLU(), 1, 1, 2),  # a constant meets the zeros of the padding
        (nn.ReLU(), -1, 1, 1),
        (nn.AvgPool2d(2), 1, 0, 1),
        (nn.AvgPool2d(2, padding=1), 1, 0, 2),
        (nn.AvgPool2d(2, divisor_override=1), 1, 0, 2),
        (nn.MaxPool2d(3, padding=1), 1, 0, 1),  # pads with minus infinity
    ],
)
def test_a_constant_map_goes_only_where_it_stays_one(between, constant, padding, kept):
    after = nn.Conv2d(2, 1, 2, padding=padding)
    model = nn.Sequential(nn.Conv2d(8, 2, 3), between, after)
    with torch.no_grad():
        model[0].weight[0], model[0].bias[0] = 0, constant
    assert compact_and_compare(model, (2, 8, 8, 8))[0].out_channels == kept


def test_units_that_nobody_reads_go_and_those_that_fed_them():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[3].weight[:, 1:] = 0
        model[2].weight[0] = torch.tensor([0.0, 1.0, 0.0])
    small = compact_and_compare(model, (2, 4))
    assert [layer.out_features for _, layer in layers(small)] == [1, 1, 2]


def test_a_convolution_of_few_channels_pools_by_stride():
    small = compact(LeNet5())
    assert [type(m) for m in small[:4]] == [nn.Conv2d, Maxout, nn.Conv2d, nn.MaxPool2d]
    assert (small[0].stride, small[0].kernel_size) == ((2, 2), (6, 6))


def test_unread_pixels_are_skipped_where_it_pays():
    model = committed("gsm-lenet300-60x")
    read = model.fc1.weight.any(0).nonzero().flatten()
    small = compact(model)
    assert isinstance(small[1], Pick)
    assert torch.equal(small[1].index, read)
    assert small[2].in_features == len(read)
    # a few unread inputs are cheaper to multiply than to skip
    model = LeNet300()
    with torch.no_grad():
        model.fc1.weight[:, :10] = 0
    assert not any(isinstance(m, Pick) for m in compact(model))


def test_inputs_with_more_dimensions_or_without_a_batch():
    model = nn.Sequential(nn.Linear(200, 40), nn.ReLU(), nn.Linear(40, 3))
    with torch.no_grad():
        model[0].weight[:, 5:] = 0
    for shape in ((2, 7, 200), (200,)):
        assert isinstance(compact_and_compare(model, shape)[0], Pick)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3))
    assert isinstance(compact_and_compare(model, (1, 12, 12))[1], Maxout)


def test_the_result_is_plain_and_trains():
    small = compact(committed("gsm-lenet5-300x"))
    loss = small(torch.rand(2, 1, 28, 28)).square().sum()
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in small.parameters())


def test_it_is_as_the_model_is():
    model = LeNet300().to(torch.bfloat16)
    assert {p.dtype for p in compact(model).parameters()} == {torch.bfloat16}


def test_the_files_are_at_least_fifty_times_smaller(tmp_path):
    model = committed("gsm-lenet5-300x")
    torch.save(model.state_dict(), tmp_path / "dense")
    save_sparse(model, tmp_path / "sparse")
    save_sparse(compact(model), tmp_path / "compact")
    dense, sparse, small = (
        (tmp_path / name).stat().st_size for name in ("dense", "sparse", "compact")
    )
    assert dense > 50 * sparse
    assert dense > 50 * small


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (resnet20(), "is not a chain"),
        (BranchyLeNet(), "is not a chain|cannot be traced"),
        (Twice(), "cannot be traced"),
        (NarrowCNN(), "does not know the step mean"),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), "no nn.Linear"),
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)), "does not know Softmax"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "groups=2"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), "must follow a layer"),
        (
            nn.Sequential(
                nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)
            ),
            "no running statistics",
        ),
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(2)), "from dimension 1"),
        (gate(LeNet300(), HardConcrete, "unit"), "bake"),
    ],
)
def test_what_it_cannot_do_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        compact(model)
