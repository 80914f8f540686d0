"""Projections at ten million entries, against one pass over the memory and topk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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

    array, total = source.numpy().copy(), SIZE - KEEP
    top_n = partial(project_top_n, layers, KEEP, out=layers)
    capped = partial(project_capped_simplex, x, total, out=x)
    box = HyperPlaneBoxProj(np.ones_like(array), total, 0, 1)

    def sum_error() -> float:
        """The largest over sums from a hundredth to nearly all of the entries."""
        sums = [SIZE // 100, SIZE // 10, SIZE // 2, total]
        projected = [project_capped_simplex(source, s).double().sum() for s in sums]
        return max(abs(w.item() / s - 1) for w, s in zip(projected, sums, strict=True))

    def bar(name: str, peer: str, ours: Callable, theirs: Any, **options: Any) -> Bar:
        return Bar(name, peer, ours, theirs, prepare=lambda: x.copy_(source), **options)

    one_pass, box_proj = partial(other.mul_, 1.0), partial(box, array)
    topk = partial(top_n_by_topk, x)
    return [
        bar("global top-n, in place", "one pass, mul_", top_n, one_pass, at_most=12),
        bar("global top-n", "torch.topk", top_n, topk, at_least=3),
        bar("capped simplex, in place", "one pass, mul_", capped, one_pass, at_most=20),
        bar("capped simplex", "pyproximal", capped, box_proj, at_least=5, repeats=1),
        Figure("capped simplex, relative error of the sum", sum_error, at_most=2e-8),
    ]
