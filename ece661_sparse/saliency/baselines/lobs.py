r"""The rows "L-OBS" of the slide "Pruning results": optimal brain surgeon, by layer.

A linear layer with inputs :math:`x` (a 1 for the bias among them) changes its output
least, in the mean square over the data, when weight :math:`q` is deleted from a row
:math:`w` as

.. math::

    \delta w = -\frac{w_q}{[H^{-1}]_{qq}} H^{-1} e_q, \qquad
    \delta E = \frac12 \frac{w_q^2}{[H^{-1}]_{qq}}, \qquad
    H = \frac1n \sum_{i=1}^n x_i x_i^\top .

The others make up for the deleted one. All rows of a layer share :math:`H`; its
inverse is that of a matrix as large as one row, not as the network.

Dong et al., "Learning to Prune Deep Neural Networks via Layer-wise Optimal Brain
Surgeon", NeurIPS 2017.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ece661_sparse.core.arguments import check_count, check_number
from ece661_sparse.core.networks import evaluating, layers
from ece661_sparse.saliency.baselines.han import geometric_schedule

ROWS = 16  # of a layer, solved together; each needs a matrix of its own


def deletion_saliency(row: Tensor, inverse: Tensor) -> Tensor:
    r""":math:`\tfrac12 w_q^2 / [H^{-1}]_{qq}` for every weight of a row, shape (d,)."""
    return row.square() / (2 * inverse.diagonal())


def delete_weight(row: Tensor, inverse: Tensor, q: int) -> tuple[Tensor, Tensor]:
    r"""Delete one weight; all others of the row move to make up for it.

    .. math::

        w \leftarrow w - \frac{w_q}{[H^{-1}]_{qq}} H^{-1} e_q, \qquad
        H^{-1} \leftarrow H^{-1} - \frac{H^{-1} e_q e_q^\top H^{-1}}{[H^{-1}]_{qq}}

    The second line is the inverse without row and column q: later deletions then
    leave weight q at zero.

    Args:
        row: weights of one output, shape (d,).
        inverse: :math:`H^{-1}`, shape (d, d).
        q: the weight to delete.

    Returns:
        The new row, and the inverse for the next deletion.
    """
    column, pivot = inverse[:, q], inverse[q, q]
    row = row - row[q] / pivot * column
    inverse = inverse - torch.outer(column, column) / pivot
    row[q], inverse[q], inverse[:, q] = 0, 0, 0  # what rounding left
    return row, inverse


@torch.no_grad()
def input_hessians(
    model: nn.Module, batches: Iterable[Tensor], damping: float = 1e-6
) -> dict[str, Tensor]:
    r"""H of every Linear and Conv2d layer: the second moments of its inputs.

    .. math:: H = \frac1n \sum_{i=1}^n x_i x_i^\top + \text{damping} \cdot I

    with x extended by a 1 if the layer has a bias. A convolution sees n patches, as
    :func:`torch.nn.functional.unfold` cuts them. Dividing by the size of a batch
    instead of the number of all inputs would make H as large as there are batches,
    and the damping as much too weak.

    Args:
        model: run on the batches in evaluation mode.
        batches: inputs of the model.
        damping: added to the diagonal, > 0; inputs that never vary make H singular.

    Returns:
        By the layer's name, a float64 matrix of shape (d, d), d the length of a
        flattened filter, plus 1 with a bias.

    Raises:
        ValueError: damping not above 0; a convolution with groups or with padding
            other than zeros; a layer that saw no input, because there is no batch or
            the model uses its weight without calling it.
    """
    check_number("damping", damping, above=0)
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys((name for name, _ in layers(model)), 0)

    def record(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = _rows_of_inputs(layer, inputs[0]).double()
        sums[name] = sums.get(name, 0) + x.T @ x
        counts[name] += len(x)

    with evaluating(model), ExitStack() as hooks:
        for name, layer in layers(model):
            hook = layer.register_forward_pre_hook(partial(record, name))
            hooks.enter_context(hook)
        for batch in batches:
            model(batch)
    if unseen := [name for name, count in counts.items() if count == 0]:
        raise ValueError(
            "batches must reach every Linear and Conv2d layer of the model, but no "
            f"input was seen by {unseen}"
        )
    return {
        name: total / counts[name]
        + damping * torch.eye(len(total), dtype=total.dtype, device=total.device)
        for name, total in sums.items()
    }


def _rows_of_inputs(layer: nn.Module, x: Tensor) -> Tensor:
    """What one output is the inner product with: (n, d)."""
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1 or layer.padding_mode != "zeros":
            raise ValueError(f"{layer} must have groups=1 and padding_mode='zeros'")
        if isinstance(layer.padding, str):
            raise ValueError(f"{layer} must have its padding as numbers")
        shape = layer.kernel_size, layer.dilation, layer.padding, layer.stride
        x = F.unfold(x, *shape).transpose(1, 2)
    x = x.reshape(-1, x.shape[-1])
    return F.pad(x, (0, 1), value=1) if layer.bias is not None else x


def prune_rows(
    rows: Tensor,
    hessian: Tensor,
    keep: int,
    *,
    rounds: int = 10,
    free: int = 0,
) -> Tensor:
    r"""Delete all but ``keep`` weights of a layer, the least salient first.

    A round deletes the least salient weights of the whole layer together. Deletions
    of one row in any order, each followed by its update, end at the row that is best
    for its support S, :math:`w_S = [H_{SS}]^{-1} [H w^0]_S`; so it is this that is
    computed, and from its inverse the saliencies of the next round.

    Args:
        rows: weights, shape (outputs, d).
        hessian: H, shape (d, d).
        keep: weights to keep of those that may be deleted.
        rounds: 1 ranks once, as the paper does; more rounds rank the rest again.
        free: the last columns, never deleted: 1 for a bias.

    Returns:
        The pruned rows, in float64.

    Raises:
        ValueError: ``keep`` outside 1 to outputs · (d - free); ``rounds`` below 1.
    """
    hessian = hessian.double()
    dense, d = rows.double(), rows.shape[1] - free
    target = dense @ hessian
    support = torch.ones_like(dense, dtype=torch.bool)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    rows, diagonal = dense, inverse.diagonal().expand_as(dense)
    for n in geometric_schedule(len(dense) * d, keep, rounds):
        saliency = rows.square() / (2 * diagonal)
        # a weight of zero may stay, a deleted one may not come back
        ranked = torch.where(support, saliency, -1)[:, :d].flatten()
        kept = torch.zeros_like(ranked, dtype=torch.bool)
        kept[ranked.argsort(descending=True, stable=True)[:n]] = True
        support[:, :d] = kept.view(-1, d)
        parts = [
            _best_on_support(t, hessian, s)
            for t, s in zip(target.split(ROWS), support.split(ROWS), strict=True)
        ]
        rows, diagonal = (torch.cat(part) for part in zip(*parts, strict=True))
    return rows


def _best_on_support(
    target: Tensor, hessian: Tensor, support: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Solve :math:`H_{SS} w_S = t_S` in every row; also the diagonal of the inverse.

    Supports of several sizes become one batch by padding with the identity.
    """
    width = int(support.sum(1).max())
    index = support.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    index = index[:, :width]
    inside = support.gather(1, index)
    block = hessian[index[:, :, None], index[:, None, :]]
    block *= inside[:, :, None] & inside[:, None, :]
    block += torch.diag_embed((~inside).to(block.dtype))
    factor = torch.linalg.cholesky(block)
    t = torch.where(inside, target.gather(1, index), 0)[:, :, None]
    w = torch.cholesky_solve(t, factor)[:, :, 0]
    diagonal = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)
    rows = torch.zeros_like(target).scatter_(1, index, w)
    return rows, torch.ones_like(target).scatter_(1, index, diagonal)


@torch.no_grad()
def prune_layers(
    model: nn.Module,
    hessians: Mapping[str, Tensor],
    keep: Mapping[str, int],
    *,
    rounds: int = 10,
) -> None:
    """Prune layers of the model in place, each by its own H; biases are adjusted.

    Args:
        model: trained already.
        hessians: of the dense model; :func:`input_hessians`.
        keep: weights to keep, by the layer's name.
        rounds: see :func:`prune_rows`.

    Raises:
        ValueError: ``keep`` names a layer without a Hessian or with gates or another
            parametrization, or is out of range.
    """
    if unknown := keep.keys() - hessians.keys():
        raise ValueError(
            f"keep must name layers with a Hessian, {list(hessians)}, "
            f"got {sorted(unknown)}"
        )
    chosen = {name: layer for name, layer in layers(model) if name in keep}
    for name, layer in chosen.items():
        if parametrize.is_parametrized(layer):
            raise ValueError(
                f"keep must name plain layers, but {name!r} has gates or another "
                "parametrization: bake them in first"
            )
    for name, layer in chosen.items():
        n, rows, bias = keep[name], layer.weight.flatten(1), layer.bias
        check_count("keep", n, at_most=rows.numel())
        if bias is not None:
            rows = torch.cat([rows, bias[:, None]], dim=1)
        free = 0 if bias is None else 1
        rows = prune_rows(rows, hessians[name], n, rounds=rounds, free=free)
        if bias is not None:
            bias.copy_(rows[:, -1])
            rows = rows[:, :-1]
        layer.weight.copy_(rows.reshape(layer.weight.shape))
