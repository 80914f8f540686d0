"""The numbers of the slide "Pruning results": accuracy, non-zeros, compression.

As in the tables, only kernels count (parameters of two or more dimensions): biases and
normalisation parameters are never pruned.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ece661_sparse.core.networks import effective_kernels, evaluating
from ece661_sparse.core.tables import Table
from ece661_sparse.training.data import Images
from ece661_sparse.training.distributed import world_size


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, batch_size: int = 1000) -> float:
    """Percentage of ``images`` that ``model`` classifies correctly (Top-1).

    It runs in evaluation mode; afterwards every module is in the mode that it had.
    """
    with evaluating(model):
        correct = sum(
            (model(x).argmax(1) == y).sum()
            for x, y in zip(
                images.x.split(batch_size), images.y.split(batch_size), strict=True
            )
        )
    return 100 * int(correct) / len(images)


def nonzeros(model: nn.Module) -> int:
    """Number of kernel weights that are not exactly zero.

    A parametrized kernel counts as what it is in evaluation mode (with gates, what
    ``bake`` would leave); parameters of the parametrization itself do not count.
    """
    return sum(int(kernel.count_nonzero()) for _, kernel in effective_kernels(model))


@dataclass(frozen=True)
class LayerSparsity:
    """Non-zeros of one kernel, or of all of them."""

    name: str
    shape: tuple[int, ...]
    nonzero: int
    total: int

    @property
    def ratio(self) -> float:
        """The part of the weights that is not zero, from 0 to 1."""
        return self.nonzero / self.total


@dataclass(frozen=True)
class SparsityReport:
    """Non-zeros layer by layer; prints as a table.

    Attributes:
        rows: one per kernel, in the order of the network.
    """

    rows: tuple[LayerSparsity, ...]

    @property
    def nonzero(self) -> int:
        return sum(row.nonzero for row in self.rows)

    @property
    def total(self) -> int:
        return sum(row.total for row in self.rows)

    @property
    def ratio(self) -> float:
        """Non-zero weights as a fraction, the table's "Non-zero Ratio"."""
        return self.nonzero / self.total

    @property
    def compression(self) -> float:
        """Weights in all for each that is not zero, the table's "Compress Ratio"."""
        return self.total / self.nonzero if self.nonzero else float("inf")

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()

    def _table(self) -> Table:
        whole = LayerSparsity("all kernels", (), self.nonzero, self.total)
        rows = (
            (
                row.name,
                "x".join(map(str, row.shape)),
                f"{row.nonzero:,}",
                f"{row.total:,}",
                f"{row.ratio:.2%}",
            )
            for row in (*self.rows, whole)
        )
        header = ("layer", "shape", "non-zero", "of", "ratio")
        return Table(header, tuple(rows), align="llrrr")


def sparsity_report(model: nn.Module) -> SparsityReport:
    """Count the non-zeros of every kernel of ``model``, as :func:`nonzeros` does.

    Raises:
        ValueError: the model has no kernels.
    """
    rows = tuple(
        LayerSparsity(
            name.removesuffix(".weight"),
            tuple(kernel.shape),
            int(kernel.count_nonzero()),
            kernel.numel(),
        )
        for name, kernel in effective_kernels(model)
    )
    if not rows:
        raise ValueError(f"model has no parameter of two or more dimensions: {model}")
    return SparsityReport(rows)


def provenance(
    profile: str, seed: int, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Where a result comes from, to be stored and printed beside it."""
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if world_size() > 1:
        name = f"{world_size()} x {name}"
    return {
        "profile": profile,
        "seed": seed,
        "device": name,
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("ece661-sparse", "torch")},
        },
    }
