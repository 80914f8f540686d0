"""Projections at ten million entries, against one pass over the memory and topk."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ece661_sparse.proximal import project_capped_simplex, project_top_n
from tests.benchmarks.harness import Bar

SIZE, KEEP = 10_000_000, 500_000


def top_n_by_topk(x: Tensor) -> None:
    """The same projection, in place, written with torch.topk."""
    threshold = x.abs().topk(KEEP, sorted=False).values.min()
    x.mul_(x.abs() >= threshold)


def bars() -> list[Bar]:
    source = torch.randn(SIZE, generator=torch.Generator().manual_seed(0))
    x, other = source.clone(), source.clone()
    layers = list(x.split(SIZE // 4))

    def top_n() -> object:
        return project_top_n(layers, KEEP, out=layers)

    def capped_simplex() -> object:
        return project_capped_simplex(x, SIZE - KEEP, out=x)

    def against(
        name: str,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        **limit: float,
    ) -> Bar:
        return Bar(name, ours, theirs, prepare=lambda: x.copy_(source), **limit)

    return [
        against(
            "global top-n, in place, against mul_",
            top_n,
            lambda: other.mul_(1.0),
            at_most=12,
        ),
        against(
            "global top-n against torch.topk",
            top_n,
            lambda: top_n_by_topk(x),
            at_least=3,
        ),
        against(
            "capped simplex, in place, against mul_",
            capped_simplex,
            lambda: other.mul_(1.0),
            at_most=20,
        ),
    ]
