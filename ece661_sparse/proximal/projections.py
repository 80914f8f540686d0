r"""Projections: the proximal operators of indicator functions.

Slides: "Special case: ℓ0 as indicator function" (the projection step of iterative
pruning) and "Optimization of Trimmed ℓ1" (the projection of the gate variable w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from ._checks import check_count, check_number, check_tensor


@overload
def project_top_n(x: Tensor, n: int, *, out: Tensor | None = None) -> Tensor: ...
@overload
def project_top_n(
    x: Sequence[Tensor], n: int, *, out: Sequence[Tensor] | None = None
) -> list[Tensor]: ...
def project_top_n(x, n, *, out=None):
    r"""Keep the n largest magnitudes, set the rest to zero.

    .. math:: \operatorname*{argmin}_z \|z - x\|^2 \;\text{ s.t. }\; \|z\|_0 \le n

    Args:
        x: a floating point tensor, or several that share the n places.
        n: entries to keep, :math:`0 \le n \le p`. Of equal magnitudes the first stay.
        out: where to write the result, shaped like `x`; `x` itself works in place.

    Returns:
        `out`, or a new tensor (a list of tensors for a sequence).

    Raises:
        ValueError: if an argument is outside its range, or `x` contains a NaN.
    """
    if isinstance(x, Tensor):
        [result] = project_top_n([x], n, out=None if out is None else [out])
        return result
    outs = [None] * len(x) if out is None else list(out)
    for tensor, target in zip(x, outs, strict=True):
        check_tensor("x", tensor, target)
    check_count("n", n, at_most=sum(tensor.numel() for tensor in x))
    size = torch.cat([tensor.detach().abs().flatten() for tensor in x])
    if not size.is_meta and size.isnan().any():
        raise ValueError("x must not contain NaN")
    order = size.argsort(descending=True, stable=True)
    keep = torch.zeros_like(size, dtype=torch.bool).index_fill(0, order[:n], True)
    masks = keep.split([tensor.numel() for tensor in x])
    results = [
        torch.where(m.view(t.shape), t, 0) for t, m in zip(x, masks, strict=True)
    ]
    if out is None:
        return results
    with torch.no_grad():
        return [o.copy_(r) for o, r in zip(outs, results, strict=True)]


def project_capped_simplex(
    z: Tensor, total: float, *, out: Tensor | None = None
) -> Tensor:
    r"""Nearest point with entries in [0, 1] and a given sum.

    .. math:: \operatorname*{argmin}_w \|w - z\|^2
              \;\text{ s.t. }\; 0 \le w \le 1,\; \mathbf 1^\top w = \text{total}

    The solution is :math:`w = \operatorname{clip}(z - \nu, 0, 1)`, with the number
    :math:`\nu` for which the sum is right. The sum falls as ν grows, so bisection finds it.

    Args:
        z: floating point tensor of any shape, p entries.
        total: the sum, :math:`0 \le \text{total} \le p`.
        out: where to write the result; `z` itself works in place.

    Returns:
        `out`, or a new tensor shaped like `z`.

    Raises:
        ValueError: if an argument is outside its range.
    """
    check_tensor("z", z, out)
    check_number("total", total, at_least=0, at_most=z.numel())
    wide = z.double()
    low, high = wide.min() - 1, wide.max()
    for _ in range(100):
        nu = (low + high) / 2
        too_large = (wide - nu).clamp(0, 1).sum() > total
        low, high = torch.where(too_large, nu, low), torch.where(too_large, high, nu)
    w = (wide - (low + high) / 2).clamp(0, 1).to(z.dtype)
    if out is None:
        return w
    with torch.no_grad():
        return out.copy_(w)
