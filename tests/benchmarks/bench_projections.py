"""Projections at ten million entries, against one pass over the memory and topk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pyproximal.projection import HyperPlaneBoxProj
from torch import Tensor

from ece661_sparse.proximal import project_capped_simplex, project_top_n
from tests.benchmarks.harness import Bar, Figure

PART = "Operators"

SIZE, KEEP = 10_000_000, 500_000


def top_n_by_topk(x: Tensor) -> None:
    """The same projection, in place, written with torch.topk."""
    threshold = x.abs().topk(KEEP, sorted=False).values.min()
    x.mul_(x.abs() >= threshold)


def bars() -> list[Bar | Figure]:
    source = torch.randn(SIZE, generator=torch.Generator().manual_seed(0))
    x, other = source.clone(), source.clone()
    layers = list(x.split(SIZE // 4))

    def top_n() -> object:
        return project_top_n(layers, KEEP, out=layers)

    def capped_simplex() -> object:
        return project_capped_simplex(x, total, out=x)

    array, total = source.numpy().copy(), SIZE - KEEP
    box = HyperPlaneBoxProj(np.ones_like(array), total, 0, 1)

    def sum_error() -> float:
        """The largest over sums from a hundredth to nearly all of the entries."""
        sums = [SIZE // 100, SIZE // 10, SIZE // 2, total]
        projected = [
            project_capped_simplex(source, goal).double().sum() for goal in sums
        ]
        return max(abs(w.item() / s - 1) for w, s in zip(projected, sums, strict=True))

    def against(
        name: str,
        peer: str,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        **options: Any,
    ) -> Bar:
        return Bar(name, peer, ours, theirs, prepare=lambda: x.copy_(source), **options)

    return [
        against(
            "global top-n, in place",
            "one pass, mul_",
            top_n,
            lambda: other.mul_(1.0),
            at_most=12,
        ),
        against(
            "global top-n",
            "torch.topk",
            top_n,
            lambda: top_n_by_topk(x),
            at_least=3,
        ),
        against(
            "capped simplex, in place",
            "one pass, mul_",
            capped_simplex,
            lambda: other.mul_(1.0),
            at_most=20,
        ),
        against(
            "capped simplex",
            "pyproximal",
            capped_simplex,
            lambda: box(array),
            at_least=5,
            repeats=1,
        ),
        Figure("capped simplex, relative error of the sum", sum_error, at_most=2e-8),
    ]
