r"""The slide "Moving beyond absolute values": how important is a weight?

A *criterion* gives every kernel a tensor of scores, by name; ``global_mask`` ranks
them. The exact answer is the change of the loss when one weight is set to zero; the
slide takes the first term of its Taylor expansion, with its sign put right:

.. math::

    L(\Theta_{w \leftarrow 0}) = L(\Theta) + \frac{\partial L}{\partial w}(0 - w)
    + O(w^2), \qquad
    T(w) = \left| \frac{\partial L}{\partial w} w \right|
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_number
from ece661_sparse.core.networks import kernels, owners

Loss = Callable[[Tensor, Tensor], Tensor]
Layer = nn.Linear | nn.Conv2d


def magnitude(model: nn.Module) -> dict[str, Tensor]:
    r"""The criterion of Part I, :math:`|w|`."""
    return {name: w.detach().abs() for name, w in kernels(model).items()}


def first_order(
    model: nn.Module, x: Tensor, y: Tensor, loss: Loss = F.cross_entropy
) -> dict[str, Tensor]:
    r"""The predicted change of the loss if a weight were zero.

    .. math:: L(\Theta_{w \leftarrow 0}) - L(\Theta)
              \approx -\frac{\partial L}{\partial w} w

    Positive: the loss would rise. Source: slide "Moving beyond absolute values".

    Args:
        model: in the mode it is to be judged in (``model.eval()`` for dropout).
        x: inputs of one batch.
        y: their labels.
        loss: ``loss(model(x), y)``, a scalar.

    Returns:
        For each kernel a tensor of its shape.

    Raises:
        ValueError: a kernel is frozen.
    """
    weights = kernels(model)
    if frozen := [name for name, w in weights.items() if not w.requires_grad]:
        raise ValueError(f"kernels must require a gradient, got frozen {frozen}")
    gradients = torch.autograd.grad(
        loss(model(x), y), list(weights.values()), materialize_grads=True
    )
    return {
        name: -gradient * w.detach()
        for (name, w), gradient in zip(weights.items(), gradients, strict=True)
    }


def taylor(
    model: nn.Module, x: Tensor, y: Tensor, loss: Loss = F.cross_entropy
) -> dict[str, Tensor]:
    r"""The slide's saliency :math:`T = |\partial L / \partial w \cdot w|` of one batch.

    Arguments as in :func:`first_order`. Two batches give two rankings: see
    :func:`averaged_taylor`.
    """
    return {name: c.abs() for name, c in first_order(model, x, y, loss).items()}


def averaged_taylor(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Loss = F.cross_entropy,
) -> dict[str, Tensor]:
    r"""The mean of the batches' saliencies, :math:`\frac1N \sum_b |g_b w|`.

    It is not the saliency of the union, :math:`|\bar g w|`: at a minimum
    :math:`\bar g = 0` and only the former still tells weights apart. Kernels in half
    precision are added up, and returned, in float32.

    Args:
        model: as in :func:`first_order`.
        batches: pairs of inputs and labels; batches of one image give the mean over
            images.
        loss: ``loss(model(x), y)``, a scalar.

    Raises:
        ValueError: there is no batch; a kernel is frozen.
    """
    total = {
        name: torch.zeros_like(w, dtype=torch.promote_types(w.dtype, torch.float32))
        for name, w in kernels(model).items()
    }
    count = 0
    for x, y in batches:
        count += 1
        for name, saliency in taylor(model, x, y, loss).items():
            total[name] += saliency
    if count == 0:
        raise ValueError("batches must hold at least one batch, got none")
    return {name: saliency.div_(count) for name, saliency in total.items()}


@torch.no_grad()
def loss_change(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weights: Mapping[str, Tensor],
    loss: Loss = F.cross_entropy,
    *,
    part: float = 1.0,
    chunk_size: int = 64,
) -> dict[str, Tensor]:
    r"""The exact change of the loss when one weight is set to zero, one at a time.

    .. math:: L(\Theta_{w \leftarrow (1 - \text{part}) w}) - L(\Theta)

    What lies before the weight's layer is computed once. The layer's output changes
    by one input times one weight, in one output unit; only what comes after it is
    computed for every weight again.

    Args:
        model: as in :func:`first_order`.
        x: inputs of one batch.
        y: their labels.
        weights: the weights to try: for each kernel's name, positions in the
            flattened kernel, shape ``(k,)``. Kernels of ``nn.Linear`` and
            ``nn.Conv2d`` with torch's own ``forward``, called as modules.
        loss: ``loss(model(x), y)``, a scalar.
        part: how much of the weight to take away; 1 is pruning.
        chunk_size: weights to try at the same time.

    Returns:
        For each name the changes, shape ``(k,)``; positive where the loss rises.

    Raises:
        ValueError: a name that is not such a kernel, or a position outside it; a
            kernel of several modules, or of one that is never called (the output
            projection of ``nn.MultiheadAttention``).
    """
    check_number("part", part)
    layers = {
        name: _layer(model, name, positions) for name, positions in weights.items()
    }
    called: set[nn.Module] = set()
    with ExitStack() as hooks:
        for layer in layers.values():
            hook = layer.register_forward_hook(lambda layer, *_: called.add(layer))
            hooks.enter_context(hook)
        before = loss(model(x), y)
    changes = {}
    for name, positions in weights.items():
        layer = layers[name]
        if layer not in called:
            raise ValueError(
                "weights must name kernels whose module the model calls, but the "
                f"module of {name!r} is never called"
            )

        def without(position: Tensor, layer: Layer = layer) -> Tensor:
            take_away = partial(_take_away, position, part)
            with layer.register_forward_hook(take_away):
                return loss(model(x), y) - before

        changes[name] = (
            torch.vmap(without, chunk_size=chunk_size)(positions)
            if len(positions)
            else before.new_zeros(0)
        )
    return changes


def _take_away(
    position: Tensor, part: float, layer: Layer, inputs: tuple[Tensor], output: Tensor
) -> Tensor:
    """The layer's output without (a part of) the weight at ``position``."""
    columns = layer.weight[0].numel()
    row, column = (position // columns).view(1), (position % columns).view(1)
    weight = layer.weight.flatten().index_select(0, position.view(1))
    if isinstance(layer, nn.Linear):
        lost = inputs[0].index_select(-1, column) * weight
        return output.index_add(-1, row, lost, alpha=-part)
    # one output channel loses a convolution of one input channel with a single tap
    _, channels, height, width = layer.weight.shape
    group = row // (layer.out_channels // layer.groups)
    taps = torch.arange(height * width, device=position.device)
    tap = torch.where(taps == column % len(taps), weight, 0).view(1, 1, height, width)
    channel = group * channels + column // len(taps)
    lost = F.conv2d(
        inputs[0].index_select(-3, channel),
        tap,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
    )
    return output.index_add(-3, row, lost, alpha=-part)


def _layer(model: nn.Module, name: str, positions: Tensor) -> Layer:
    """The layer that owns the kernel, if its weights can be taken away one by one."""
    path, _, attribute = name.rpartition(".")
    layer = dict(model.named_modules()).get(path)
    forward = getattr(type(layer), "forward", None)
    plain = (isinstance(layer, nn.Linear) and forward is nn.Linear.forward) or (
        isinstance(layer, nn.Conv2d)
        and forward is nn.Conv2d.forward
        and layer.padding_mode == "zeros"
    )
    if attribute != "weight" or not plain or name not in kernels(model):
        raise ValueError(
            "weights must name kernels of nn.Linear or nn.Conv2d (zero padding, no "
            f"forward of a subclass), got {name!r}"
        )
    layer = cast(Layer, layer)
    if len(tied := owners(model, layer.weight)) > 1:
        raise ValueError(
            f"weights must name kernels of one module, got {name!r}, which is tied: "
            f"{tied} are one"
        )
    if positions.dtype != torch.int64 or positions.ndim != 1:
        raise ValueError(
            f"weights[{name!r}] must be an int64 tensor of one dimension, "
            f"got {positions.dtype} of shape {tuple(positions.shape)}"
        )
    if not positions.is_meta and len(positions):
        low, high = (bound.item() for bound in positions.aminmax())
        if low < 0 or high >= layer.weight.numel():
            raise ValueError(
                f"weights[{name!r}] must be positions from 0 to "
                f"{layer.weight.numel() - 1}, got {low} to {high}"
            )
    return layer
