"""What is left of 300x and 60x as time: the committed networks, compact against dense.

Most zeros of the 300x LeNet-5 lie scattered in small kernels and save nothing: maps and
units that are left need a third of the dense network's multiplications. The bars say
what that and a layout that suits it are worth, and what remains against a dense network
that is given the layout, too.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn

from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.reproduce import results_folder
from ece661_sparse.synthesis import compact
from ece661_sparse.training import load_sparse
from ece661_sparse.training.sparse_file import sparse_bytes
from tests.benchmarks.harness import Bar, Figure, inference

PART = "Sparse inference"


class CSRLinear(nn.Module):
    """W x + b for images in columns, W in CSR."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.W = layer.weight.detach().to_sparse_csr()
        self.b = layer.bias.detach()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.b, self.W, x)


class Columns(nn.Module):
    """A chain of layers on images in columns, ReLU between them."""

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        first, *others = map(CSRLinear, layers)
        chain = [module for layer in others for module in (nn.ReLU(), layer)]
        self.chain = nn.Sequential(first, *chain)

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(x.flatten(1).T).T


def scattered(rows: int, columns: int, density: float) -> nn.Linear:
    """A layer with so many non-zeros, anywhere."""
    layer = nn.Linear(columns, rows)
    keep = torch.rand(rows, columns, generator=torch.Generator().manual_seed(0))
    layer.weight.data *= keep < density
    return layer


def bar(
    name: str, ours: nn.Module, theirs: nn.Module, n: int, least: float, peer: str
) -> Bar:
    x = torch.rand(256, 1, 28, 28, generator=torch.Generator().manual_seed(0))[:n]
    pair = (inference(model, x, times=max(5, 500 // n)) for model in (ours, theirs))
    return Bar(f"{name}, batch {n}", peer, *pair, at_least=least, repeats=15)


def bars() -> list[Bar | Figure]:
    """Five times at batch 256 against the network as trained, on any layout more."""
    folder = results_folder() / "table1"
    lenet5 = load_sparse(folder / "gsm-lenet5-300x.safetensors", LeNet5())
    lenet300 = load_sparse(folder / "gsm-lenet300-60x.safetensors", LeNet300())
    small, fast = compact(lenet5), copy.deepcopy(lenet5)
    fast.to(memory_format=torch.channels_last)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor")
    csr = Columns(lenet300.fc1, lenet300.fc2, lenet300.fc3)
    layer = scattered(300, 784, 0.01)
    one, dense_one = Columns(layer), nn.Sequential(nn.Flatten(), layer)
    dense_bytes = sum(p.numel() * p.itemsize for p in lenet5.parameters())
    name, small300 = "LeNet-5 at 300x, compact", compact(lenet300)
    return [
        bar(name, small, lenet5, 256, 5.0, "dense"),
        bar(name, small, fast, 256, 2.5, "dense, channels_last"),
        bar(name, small, lenet5, 1, 1.5, "dense"),
        bar("LeNet-300 at 60x, compact", small300, lenet300, 256, 2, "dense"),
        bar("LeNet-300 at 60x, CSR", csr, lenet300, 256, 3, "dense"),
        bar("one layer at 1 %, CSR", one, dense_one, 256, 5, "dense"),
        Figure(
            f"{name}: bytes of the file",
            value=lambda: len(sparse_bytes(small)) / dense_bytes,
            at_most=1 / 50,
            peer="dense",
        ),
    ]
