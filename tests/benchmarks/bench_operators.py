"""Operators at ten million entries, in place, against one pass over the memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
    cases = [
        ("soft", partial(prox_l1, lam=0.5), 1.3),
        ("hard", partial(prox_l0, lam=0.5), 1.3),
        ("MCP", partial(prox_mcp, lam=0.5, gamma=3.0), 3.6),
        ("firm", partial(prox_firm, lam=0.5, mu=1.5), 3.6),
        ("SCAD", partial(prox_scad, lam=0.5, a=3.7), 5.4),
        ("lq, 10 % kept", partial(prox_lq, lam=lam, q=0.5), 25),
    ]
    return [
        Bar(
            f"{name}, in place",
            "one pass, mul_",
            ours=partial(operator, x, out=x),
            theirs=partial(other.mul_, 1.0),
            prepare=partial(x.copy_, source),
            at_most=at_most,
        )
        for name, operator, at_most in cases
    ] + against_peers(source)


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
    lam_half, lam_two_thirds = (kept_by_lq(source, 0.1, q) for q in (1 / 2, 2 / 3))
    soft = partial(prox_l1, lam=0.5)
    mcp = partial(prox_mcp, lam=0.5, gamma=3.0)
    scad = partial(prox_scad, lam=0.5, a=3.7)
    half = partial(prox_lq, lam=lam_half, q=1 / 2)
    two_thirds = partial(prox_lq, lam=lam_two_thirds, q=2 / 3)

    def bar(
        name: str, ours: Callable, library: str, theirs: Any, **options: Any
    ) -> Bar:
        run, prepare = partial(ours, x, out=x), partial(x.copy_, source)
        return Bar(name, library, run, theirs, prepare=prepare, **options)

    def pyprox(name: str, ours: Callable, theirs: Any) -> Bar:
        run = partial(theirs.prox, array, 1.0)
        return bar(name, ours, "pyproximal", run, at_least=5)

    def skglm(name: str, ours: Callable, theirs: Any, repeats: int = 9) -> Bar:
        compiled = compiled_clone(theirs, to_float32=True)
        run = partial(_prox_vec, result, array, compiled, np.float32(1))
        return bar(name, ours, "skglm", run, at_least=3, repeats=repeats)

    return [
        pyprox("soft", soft, pyproximal.L1(0.5)),
        pyprox("SCAD", scad, pyproximal.SCAD(0.5, 3.7)),
        skglm("soft", soft, penalties.L1(0.5)),
        skglm("MCP", mcp, penalties.MCPenalty(0.5, 3.0)),
        skglm("SCAD", scad, penalties.SCAD(0.5, 3.7), repeats=1),
        skglm("l1/2, 10 % kept", half, penalties.L0_5(lam_half)),
        skglm("l2/3, 10 % kept", two_thirds, penalties.L2_3(lam_two_thirds)),
    ]
