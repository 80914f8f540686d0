"""The numbers of the slide "Pruning results": accuracy, non-zeros, compression.

As in the tables, only kernels count (parameters with two or more dimensions): biases
and normalisation parameters are never pruned.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ece661_sparse.core.networks import effective_kernels, evaluating
from ece661_sparse.training.data import Images
from ece661_sparse.training.distributed import world_size


@torch.no_grad()
def accuracy(model: nn.Module, images: Images, batch_size: int = 1000) -> float:
    """Percentage of ``images`` that ``model`` classifies correctly (Top-1).

    The model is put into evaluation mode and back, each of its modules into its own.
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

    Of a parametrized kernel the effective weight in evaluation mode counts (with gates,
    what ``bake`` would leave), and what belongs to the parametrization does not.
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
        """Part of the weights that is not zero, from 0 to 1."""
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
        """Weights for every non-zero one, the table's "Compress Ratio"."""
        return self.total / self.nonzero if self.nonzero else float("inf")

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        )

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        rows = [_html_row("th", head), *(_html_row("td", row) for row in body)]
        return f"<table>{''.join(rows)}</table>"

    def _cells(self) -> list[tuple[str, ...]]:
        whole = LayerSparsity("all kernels", (), self.nonzero, self.total)
        return [
            ("layer", "shape", "non-zero", "of", "ratio"),
            *(
                (
                    row.name,
                    "x".join(map(str, row.shape)),
                    f"{row.nonzero:,}",
                    f"{row.total:,}",
                    f"{row.ratio:.2%}",
                )
                for row in (*self.rows, whole)
            ),
        ]


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
    """Where a number comes from: to be stored and printed beside every result."""
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


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
