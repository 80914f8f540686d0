"""A row of a results table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.reproduce.recipes.run import Outcome
from ece661_sparse.training import Images


@dataclass(frozen=True)
class Row:
    """One line of a results table.

    Attributes:
        table: module of ``reproduce.tables`` that holds the row: ``"table1"``.
        name: of the row's files, and the value of ``--row``.
        method: as the table prints it.
        model: a key of ``NETWORKS``.
        dataset: a key of ``DATASETS``.
        published: what the table claims: ``base_top1``, ``top1`` (percent) and
            ``nonzero`` (kernel weights).
        recipe: ``recipe(run, **settings)``; None: nobody has written it yet.
        settings: the recipe's keyword arguments for each profile, plain values.
        seeds: the runs that make the row.
        note: what the printed table has wrong about this row, for its caption.
        build: the untrained final network, into which the stored weights go. None:
            the plain network ``model``.
        measure: ``measure(model, test images)``: further numbers from the test set.
        keep_weights: store the weights of the first seed beside the JSON, for
            ``--verify``? Not for the many points of a sweep, which also share one JSON.
    """

    table: str
    name: str
    method: str
    model: str
    dataset: str
    published: Mapping[str, float]
    recipe: Callable[..., Outcome] | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    note: str = ""
    build: Callable[[], nn.Module] | None = None
    measure: Callable[[nn.Module, Images], dict[str, float]] | None = None
    keep_weights: bool = True

    def untrained(self) -> nn.Module:
        """A network of the final shape."""
        return (self.build or NETWORKS[self.model].build)()
