r"""Projections: the proximal operators of indicator functions.

Slides: "Special case: ℓ0 as indicator function" (the projection step of iterative
pruning) and "Optimization of Trimmed ℓ1" (the projection of the gate variable w).

Each has one unknown number: the magnitude from which on entries stay, or the shift ν. A
sample of the entries gives bounds or a start for it; then one or a few passes over all
entries make it exact.
"""

import math
from collections.abc import Sequence
from typing import cast, overload

import numpy as np
import torch
from torch import Tensor, hardshrink

from ece661_sparse.core.arguments import check_count, check_number, check_tensor
from ece661_sparse.proximal.blocks import (
    LARGE,
    block_size,
    elementwise,
    representable,
    widest,
)

STRIDE = 61  # of a sample; odd, so that it does not fall into step with a tensor's rows
SMALL = 2**17  # up to here a sample saves nothing, and float64 costs nothing
BLOCK = 2**17  # entries that are ranked at once
LANES = 64  # neighbours that share the remainder of ν, see _clip


@overload
def project_top_n(x: Tensor, n: int, *, out: Tensor | None = None) -> Tensor: ...
@overload
def project_top_n(
    x: Sequence[Tensor], n: int, *, out: Sequence[Tensor] | None = None
) -> list[Tensor]: ...
def project_top_n(
    x: Tensor | Sequence[Tensor],
    n: int,
    *,
    out: Tensor | Sequence[Tensor] | None = None,
) -> Tensor | list[Tensor]:
    r"""Keep the n largest magnitudes, set the rest to zero.

    .. math:: \operatorname*{argmin}_z \|z - x\|^2 \;\text{ s.t. }\; \|z\|_0 \le n

    Of equal magnitudes the first ones stay. Source: slide "Special case: ℓ0 as
    indicator function".

    Args:
        x: floating point tensor, or several that share the n places.
        n: entries to keep, :math:`0 \le n \le p`, of all p entries.
        out: where to write the result, shaped like x; x itself works in place.

    Returns:
        `out`, or a new tensor; a list of tensors if x is a sequence.

    Raises:
        ValueError: n outside its range, or a NaN in x. On a GPU, where looking for
            one would wait for the device, a NaN counts as largest instead.
    """
    tensors = [x] if isinstance(x, Tensor) else list(x)
    if out is None:
        outs: list[Tensor | None] = [None] * len(tensors)
    else:
        outs = [out] if isinstance(out, Tensor) else list(out)
    for tensor, target in zip(tensors, outs, strict=True):
        check_tensor("x", tensor, target)
    check_count("n", n, at_most=sum(tensor.numel() for tensor in tensors))

    on_cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    grad = any(tensor.requires_grad for tensor in tensors) and torch.is_grad_enabled()
    if n > 0 and on_cpu and not (grad and out is None):
        results = _cut(tensors, n, outs)
    else:
        results = [
            torch.where(mask, tensor, 0)
            for mask, tensor in zip(_top_masks(tensors, n), tensors, strict=True)
        ]
        if out is not None:
            with torch.no_grad():
                pairs = zip(cast(list[Tensor], outs), results, strict=True)
                results = [target.copy_(result) for target, result in pairs]
    return results[0] if isinstance(x, Tensor) else results


def _top_masks(tensors: list[Tensor], n: int) -> list[Tensor]:
    """Which entries stay, without a value leaving the device."""
    if not tensors:
        return []
    size = torch.cat([tensor.detach().abs().flatten() for tensor in tensors])
    if size.device.type == "cpu" and size.isnan().any():
        raise ValueError("x must not contain NaN, got x with NaN entries")
    if n == 0:
        keep = torch.zeros_like(size, dtype=torch.bool)
    else:
        threshold = size.topk(n, sorted=False).values.amin()
        above = ~(size <= threshold)
        ties = size == threshold
        keep = above | (ties & (ties.cumsum(0) <= n - above.sum()))
    masks = keep.split([tensor.numel() for tensor in tensors])
    return [m.view(tensor.shape) for m, tensor in zip(masks, tensors, strict=True)]


def _cut(tensors: list[Tensor], n: int, outs: Sequence[Tensor | None]) -> list[Tensor]:
    """Zero what is below the n-th largest magnitude, then the surplus equal to it."""
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    dtype = torch.float64 if wide else torch.float32
    threshold, places, ties = _nth_largest(tensors, n, dtype)
    with torch.no_grad():
        results = [
            elementwise(hardshrink, tensor, out, _just_below(threshold, tensor.dtype))
            for tensor, out in zip(tensors, outs, strict=True)
        ]
        if places >= sum(ties):
            return results
        in_blocks = iter(ties)
        for result in results:
            flat = result.reshape(-1)
            for block in flat.split(BLOCK):
                count = next(in_blocks)
                if count > places:
                    equal = np.flatnonzero(_magnitudes(block, dtype) == threshold)
                    block[torch.from_numpy(equal[places:])] = 0
                places = max(0, places - count)
            if not result.is_contiguous():
                result.copy_(flat.view(result.shape))
    return results


def _just_below(threshold: np.floating, dtype: torch.dtype) -> float:
    """The largest number of that dtype below the threshold, which may be a wider one.

    A hard threshold zeroes what equals it; this one keeps the n-th largest.
    """
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    below = torch.tensor(threshold.item(), dtype=kind)
    if below.item() >= threshold:
        below = below.nextafter(torch.zeros_like(below))
    return below.item()


def _nth_largest(
    tensors: list[Tensor], n: int, dtype: torch.dtype
) -> tuple[np.floating, int, list[int]]:
    """The n-th largest magnitude, how many equal to it stay, and how many there are.

    The last is a number for each block. Only magnitudes near the one we look for are
    gathered and partitioned, and never zeros: a partition is slow when most entries are
    equal. When no non-zero entry has to go, the result is zero.
    """
    guess = _guess(tensors, n, dtype)
    zero, infinity = guess[0].dtype.type(0), guess[0].dtype.type(np.inf)
    smallest = np.nextafter(zero, infinity)
    for low, high in (guess, (smallest, infinity)):
        above, parts = 0, []
        for tensor in tensors:
            for block in tensor.detach().reshape(-1).split(BLOCK):
                size = _magnitudes(block, dtype)
                over = size > high
                above += int(np.count_nonzero(over))
                # neither above nor below: near, or a NaN
                parts.append(size[~(over | (size < max(low, smallest)))])
        near, rank = np.concatenate(parts), n - above
        if np.isnan(near).any():
            raise ValueError("x must not contain NaN, got x with NaN entries")
        if 0 < rank <= len(near):
            near.partition(len(near) - rank)
            threshold = near[len(near) - rank]
            places = rank - int(np.count_nonzero(near > threshold))
            ties = [int(np.count_nonzero(part == threshold)) for part in parts]
            return threshold, places, ties
    return zero, 0, []


def _magnitudes(block: Tensor, dtype: torch.dtype) -> np.ndarray:
    return block.to(dtype).abs().numpy()


def _guess(
    tensors: list[Tensor], n: int, dtype: torch.dtype
) -> tuple[np.floating, np.floating]:
    """Two magnitudes that very likely enclose the n-th largest, from a sample."""
    total = sum(tensor.numel() for tensor in tensors)
    stride = STRIDE if total > SMALL else 1
    parts = [tensor.detach().reshape(-1)[::stride] for tensor in tensors]
    sample = np.sort(np.concatenate([_magnitudes(part, dtype) for part in parts]))
    share = n / total
    middle = (1 - share) * len(sample)
    # five standard deviations of the rank in a random sample, and five places
    margin = 5 * (len(sample) * share * (1 - share)) ** 0.5 + 5
    low, high = int(middle - margin), int(middle + margin)
    bounded = np.concatenate([[0], sample, [np.inf]]).astype(sample.dtype)
    return bounded[max(low + 1, 0)], bounded[min(high + 1, len(bounded) - 1)]


def project_capped_simplex(
    z: Tensor, total: float, *, out: Tensor | None = None
) -> Tensor:
    r"""Nearest point with entries in [0, 1] and a given sum.

    .. math:: \operatorname*{argmin}_w \|w - z\|^2
              \;\text{ s.t. }\; 0 \le w \le 1,\; \mathbf 1^\top w = \text{total}

    The solution is :math:`w = \operatorname{clip}(z - \nu, 0, 1)`, where the number
    :math:`\nu` makes the sum right. Source: slide "Optimization of Trimmed ℓ1", there
    with total :math:`p - h`.

    Args:
        z: floating point tensor of any shape, p entries.
        total: the sum, :math:`0 \le \text{total} \le p`.
        out: where to write the result; z itself works in place.

    Returns:
        `out`, or a new tensor shaped like z.

    Raises:
        ValueError: total outside its range, or an entry of z that is not finite.
    """
    check_tensor("z", z, out)
    check_number("total", total, at_least=0, at_most=z.numel())
    flat = z.detach().reshape(-1)
    if z.dtype != torch.float64:
        flat = widest(flat) if z.numel() <= SMALL else flat.float()
    low, high = _bounds(flat)
    nu = 0.0 if z.is_meta else _shift(flat, total, low - 1, high)[0]
    if z.is_meta or (out is None and torch.is_grad_enabled() and z.requires_grad):
        # A last Newton step on ν, recorded by autograd, carries the derivative of ν.
        w = z - nu
        inside = ((w > 0) & (w < 1)).sum().clamp(min=1)
        w = (w - (w.clamp(0, 1).sum() - total) / inside).clamp(0, 1)
        return w if out is None else out.copy_(w)
    with torch.no_grad():
        out = torch.empty_like(z) if out is None else out
        direct = out.is_contiguous() and out.dtype == flat.dtype
        w = out.view(-1) if direct else torch.empty_like(flat)
        _clip(flat, nu, w, high)
        return out if direct else out.copy_(w.view(z.shape))


def _bounds(z: Tensor) -> tuple[float, float]:
    """The smallest and the largest entry."""
    if z.is_meta or len(z) == 0:
        return 0.0, 0.0
    low, high = (bound.item() for bound in z.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"z must be finite, got entries from {low} to {high}")
    return low, high


def _shift(z: Tensor, total: float, low: float, high: float) -> tuple[float, float]:
    """Solve Σ clip(z − ν, 0, 1) = total for ν; also how fast the sum falls there.

    The secant method, started at the solution for a sample. A step that leaves the
    bracket is replaced by bisection: at ``low`` the sum is p, at ``high`` it is 0.
    """
    p = len(z)
    if total in (0, p):
        return (low if total else high), 0.0
    nu, slope = (low + high) / 2, float(p)
    if p > SMALL:
        sample = z[::STRIDE].contiguous()
        nu, slope = _shift(sample, total * len(sample) / p, low, high)
        slope *= p / len(sample)

    tolerance = total * max(torch.finfo(z.dtype).eps / 128, 1e-14)
    excess = _clipped_sum(z, nu) - total
    while abs(excess) > tolerance:
        low, high = (nu, high) if excess > 0 else (low, nu)
        last, last_excess = nu, excess
        nu = last + excess / slope if slope > 0 else math.nan
        if nu == last:
            return nu, slope
        if not low < nu < high:
            nu = (low + high) / 2
            if nu in (low, high):
                return nu, slope
        excess = _clipped_sum(z, nu) - total
        slope = (last_excess - excess) / (nu - last)
    return (nu + excess / slope if slope > 0 else nu), slope


def _clipped_sum(z: Tensor, nu: float) -> float:
    """Σ clip(z − ν, 0, 1), in float64."""
    size = block_size(z, LARGE)
    total = widest(z.new_zeros(()))
    wide = total.new_empty(min(size, len(z)))
    for block in z.split(size):
        w = wide[: len(block)].copy_(block)
        total += w.sub_(nu).clamp_(0, 1).sum()
    return total.item()


def _clip(z: Tensor, nu: float, out: Tensor, largest: float) -> None:
    """Write clip(z − ν, 0, 1) so that rounding ν does not move the sum.

    A rounded ν would shift all entries the same way. So ν is split into a number that
    z's dtype holds and a remainder, and the remainder into units of the spacing of the
    largest w. Of every 64 neighbours, some subtract one unit more than the others, so
    many that their mean is ν.
    """
    reach = min(1.0, max(largest - nu, 1e-30))
    unit = torch.finfo(z.dtype).eps / 2 * 2 ** math.ceil(math.log2(reach))
    (near,) = representable(z.dtype, nu // unit * unit)
    units, rest = divmod((nu - near) / unit, 1)
    lanes = torch.arange(LANES, device=z.device) < round(rest * LANES)
    size = block_size(z, LARGE)
    fine = ((lanes + units) * unit).to(z.dtype).repeat(min(size, len(z)) // LANES + 1)
    for block, w in zip(z.split(size), out.split(size), strict=True):
        torch.sub(block, near, out=w).sub_(fine[: len(w)]).clamp_(0, 1)
