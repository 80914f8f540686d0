"""Operators at ten million entries, in place, against one pass over the memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ece661_sparse.proximal import (
    prox_firm,
    prox_l0,
    prox_l1,
    prox_lq,
    prox_mcp,
    prox_scad,
)
from tests.benchmarks.harness import Bar

PART = "Operators"

SIZE = 10_000_000


def kept_by_lq(x: Tensor, share: float, q: float) -> float:
    """The lam at which the lq operator keeps this share of the entries."""
    threshold = x[:100_000].abs().quantile(1 - share).item()
    # tau is proportional to lam ** (1 / (2 - q))
    beta = (2 * (1 - q)) ** (1 / (2 - q))
    tau = beta + q * beta ** (q - 1)
    return (threshold / tau) ** (2 - q)


def bars() -> list[Bar]:
    source = torch.randn(SIZE, generator=torch.Generator().manual_seed(0))
    x, other = source.clone(), source.clone()
    lam = kept_by_lq(source, 0.1, 0.5)

    def against_memory(
        name: str, operator: Callable[[], object], at_most: float
    ) -> Bar:
        return Bar(
            f"{name}, in place",
            "one pass, mul_",
            ours=operator,
            theirs=lambda: other.mul_(1.0),
            prepare=lambda: x.copy_(source),
            at_most=at_most,
        )

    return [
        against_memory("soft", lambda: prox_l1(x, 0.5, out=x), 1.3),
        against_memory("hard", lambda: prox_l0(x, 0.5, out=x), 1.3),
        against_memory("MCP", lambda: prox_mcp(x, 0.5, 3.0, out=x), 3.6),
        against_memory("firm", lambda: prox_firm(x, 0.5, 1.5, out=x), 3.6),
        against_memory("SCAD", lambda: prox_scad(x, 0.5, 3.7, out=x), 5.4),
        against_memory(
            "lq, 10 % kept", lambda: prox_lq(x, lam, 0.5, step=1.0, out=x), 25
        ),
        *against_peers(source),
    ]


def against_peers(source: Tensor) -> list[Bar]:
    """pyproximal (at least 5 times faster) and skglm (at least 3 times).

    skglm's vector form is timed, a compiled penalty in a compiled loop. (Its scalar
    functions are faster when somebody inlines them, with constant parameters, into a
    loop of their own. On two cores soft then took about twice our time, MCP four
    fifths of it, l1/2 and l2/3 a little more than ours.)
    """
    import pyproximal
    from skglm import penalties
    from skglm.utils.jit_compilation import compiled_clone
    from skglm.utils.prox_funcs import _prox_vec

    x, array = source.clone(), source.numpy().copy()
    result = np.empty_like(array)
    lam_half = kept_by_lq(source, 0.1, 1 / 2)
    lam_two_thirds = kept_by_lq(source, 0.1, 2 / 3)

    def pair(
        name: str,
        library: str,
        operator: Callable,
        peer: Callable[[], object],
        least: float,
        repeats: int = 9,
    ) -> Bar:
        return Bar(
            name,
            library,
            ours=lambda: operator(x, out=x),
            theirs=peer,
            prepare=lambda: x.copy_(source),
            at_least=least,
            repeats=repeats,
        )

    def vector_form(penalty: object) -> Callable[[], object]:
        compiled = compiled_clone(penalty, to_float32=True)
        return lambda: _prox_vec(result, array, compiled, np.float32(1))

    soft = partial(prox_l1, lam=0.5)
    mcp = partial(prox_mcp, lam=0.5, gamma=3.0)
    scad = partial(prox_scad, lam=0.5, a=3.7)
    half = partial(prox_lq, lam=lam_half, q=1 / 2)
    two_thirds = partial(prox_lq, lam=lam_two_thirds, q=2 / 3)
    their_soft, their_scad = pyproximal.L1(0.5), pyproximal.SCAD(0.5, 3.7)
    slow_scad = vector_form(penalties.SCAD(0.5, 3.7))
    return [
        pair("soft", "pyproximal", soft, lambda: their_soft.prox(array, 1.0), 5),
        pair("SCAD", "pyproximal", scad, lambda: their_scad.prox(array, 1.0), 5),
        pair("soft", "skglm", soft, vector_form(penalties.L1(0.5)), 3),
        pair("MCP", "skglm", mcp, vector_form(penalties.MCPenalty(0.5, 3.0)), 3),
        pair("SCAD", "skglm", scad, slow_scad, 3, repeats=1),
        pair(
            "l1/2, 10 % kept",
            "skglm",
            half,
            vector_form(penalties.L0_5(lam_half)),
            3,
        ),
        pair(
            "l2/3, 10 % kept",
            "skglm",
            two_thirds,
            vector_form(penalties.L2_3(lam_two_thirds)),
            3,
        ),
    ]
