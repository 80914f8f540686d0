r"""From zeros to a smaller network: dead units, channels and inputs are taken out.

A zero in a dense tensor is multiplied like any other number. Time is saved by what is
no longer there: in a chain of layers, by the dead units of ``dead_units.py``. Zeros
scattered in the tensors that remain save nothing in a dense product: see the book's
chapter "From zeros to speed" for what is left of a pruning ratio.
"""

from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any, cast

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fusion
from torch.nn.utils.parametrize import is_parametrized

from ece661_sparse.synthesis.dead_units import (
    Layer,
    absorb,
    bias_of,
    constants,
    per_input,
    read_units,
)

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid)  # elementwise and increasing
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
KNOWN = (*ACTIVATIONS, *POOLS, *NORMS, nn.Linear, nn.Conv2d)
FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
    torch.tanh: nn.Tanh,
    "tanh": nn.Tanh,
    torch.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    torch.flatten: nn.Flatten,
    "flatten": nn.Flatten,
    F.dropout: nn.Identity,
}
GATHER = 32  # multiply-adds that take about as long as picking one input
NARROW = 4  # up to so many input channels, pooling costs more than the convolution


class Maxout(nn.Module):
    """The largest of ``n`` groups of channels, ``(*, n C, H, W)`` to ``(*, C, H, W)``.

    Goodfellow et al., "Maxout networks", ICML 2013.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        first, *others = x.chunk(self.n, -3)
        for other in others:
            first = torch.maximum(first, other)
        return first

    def extra_repr(self) -> str:
        return f"n={self.n}"


class Pick(nn.Module):
    """The features that the next layer reads, ``(*, features)`` to ``(*, k)``."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(-1, self.index)

    def extra_repr(self) -> str:
        return f"{len(self.index)} features"


def compact(model: nn.Module) -> nn.Sequential:
    """A smaller network with the outputs of a pruned one in evaluation mode.

    The result is an ``nn.Sequential`` of new layers, for inference or for training on:
    batch normalisation has gone into the layer before it, dropout is left out, and
    units that are constant or never read are gone. A channel whose constant meets the
    zeros of a padding stays, for there it is not constant. Every layer keeps one unit.

    Two things are for speed: 2x2 max pooling after a convolution of few input channels
    becomes the maximum of four convolutions with stride 2, and convolutions are stored
    ``channels_last``. Inputs that a dense layer does not read are skipped by a
    :class:`Pick` where that is faster.

    Args:
        model: a chain, without branches, of ``nn.Linear`` and ``nn.Conv2d`` with ReLU,
            tanh, sigmoid, pooling, flattening, batch normalisation and dropout, as
            modules or as functions. It is left as it is.

    Raises:
        ValueError: the model cannot be traced, is not such a chain, has no layers, or
            has parametrized weights (gates: ``bake`` them first).
    """
    chain = _folded_norms(_chain(model))
    layers = [module for module in chain if isinstance(module, Layer)]
    if not layers:
        raise ValueError("the model has no nn.Linear or nn.Conv2d")
    with torch.no_grad():
        _fold_constants(chain)
        _drop_unread(layers)
        chain = list(_picked(chain))
        chain = list(_pooled_by_stride(chain))
    result = nn.Sequential(*chain).eval().requires_grad_()
    return result.to(memory_format=torch.channels_last)


# --- the chain -------------------------------------------------------------------


def _chain(model: nn.Module) -> list[nn.Module]:
    """Copies of the model's modules, in the order of its computation."""
    try:
        traced = torch.fx.symbolic_trace(model)
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot be traced: compact needs a chain of layers "
            f"without control flow ({error})"
        ) from error
    source, *nodes, output = traced.graph.nodes
    for before, node in pairwise([source, *nodes, output]):
        # It reads the step before and nothing else, and nobody else reads that one.
        if node.all_input_nodes != [before] or len(before.users) != 1:
            raise ValueError(
                f"{type(model).__name__} is not a chain: {node} reads "
                f"{node.all_input_nodes}, the step before is {before}"
            )
    return [_module(traced, node) for node in nodes]


def _module(traced: torch.fx.GraphModule, node: torch.fx.Node) -> nn.Module:
    """What one step of the traced model does, as a module of its own."""
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
    else:
        if node.target not in FUNCTIONS:
            raise ValueError(f"compact does not know the step {node.target}")
        ours = FUNCTIONS[node.target]
        args, kwargs = node.args[1:], dict(node.kwargs)
        if ours in ACTIVATIONS or ours is nn.Identity:
            args, kwargs = (), {}
        elif ours is nn.Flatten:  # from the channels on; the module's own default
            args = args or (kwargs.pop("start_dim", 0),)
        kwargs = {k: v for k, v in kwargs.items() if v is not None}
        module = ours(*args, **kwargs)
    if is_parametrized(module):
        raise ValueError(f"{node} has parametrized weights: bake(model) first")
    if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Identity):
        return nn.Identity()
    if isinstance(module, nn.Flatten):
        if (module.start_dim, module.end_dim) != (1, -1):
            raise ValueError(f"{node} must flatten from dimension 1 on, got {module}")
    elif not isinstance(module, KNOWN):
        raise ValueError(f"compact does not know {type(module).__name__} ({node})")
    elif isinstance(module, nn.Conv2d) and module.groups != 1:
        raise ValueError(f"{node} has groups={module.groups}, compact needs 1")
    return deepcopy(module)


def _folded_norms(chain: list[nn.Module]) -> list[nn.Module]:
    """Batch normalisation goes into the weights of the layer before it."""
    result: list[nn.Module] = []
    for module in chain:
        last = result[-1] if result else None
        if isinstance(module, NORMS):
            if module.running_mean is None:
                raise ValueError(f"{module} has no running statistics")
            norm = cast(nn.BatchNorm2d, module).eval()
            if isinstance(last, nn.Conv2d):
                result[-1] = fusion.fuse_conv_bn_eval(last.eval(), norm)
            elif isinstance(last, nn.Linear):
                result[-1] = fusion.fuse_linear_bn_eval(last.eval(), norm)
            else:
                raise ValueError(f"{module} must follow a layer, follows {last}")
        elif not isinstance(module, nn.Identity):
            result.append(module)
    return result


# --- what can go -----------------------------------------------------------------


def _fold_constants(chain: list[nn.Module]) -> None:
    """Move every unit without incoming weights into the biases after it, in place."""
    value: Tensor | None = None  # of every unit of the layer before; NaN: it varies
    for module in chain:
        if isinstance(module, Layer):
            if value is not None:
                absorb(module, value)
            value = constants(module)
        elif value is not None and isinstance(module, ACTIVATIONS):
            value = module(value)
        elif value is not None and isinstance(module, nn.AvgPool2d):
            padded = module.padding not in (0, (0, 0))
            if padded or module.divisor_override is not None:
                value = value.where(value == 0, torch.nan)


def _drop_unread(layers: list[Layer]) -> None:
    """Keep the units that the next layer reads, from the last layer to the first."""
    for layer, after in reversed(list(pairwise(layers))):
        keep = read_units(layer, after)
        if not keep.any():
            keep[0] = True
        _set_weight(after, after.weight[:, per_input(keep, after)])
        _set_weight(layer, layer.weight[keep])
        layer.bias = nn.Parameter(bias_of(layer)[keep])


def _set_weight(layer: Layer, weight: Tensor) -> None:
    layer.weight = nn.Parameter(weight.contiguous())
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    else:
        layer.out_channels, layer.in_channels = weight.shape[:2]


# --- what is faster --------------------------------------------------------------


def _picked(chain: list[nn.Module]) -> Iterator[nn.Module]:
    """Where a dense layer leaves many inputs unread, pick those that it reads."""
    for module in chain:
        if isinstance(module, nn.Linear):
            read = module.weight.any(0)
            kept, unread = int(read.sum()), int((~read).sum())
            if kept and unread * module.out_features > GATHER * kept:
                yield Pick(read.nonzero().flatten())
                _set_weight(module, module.weight[:, read])
        yield module


def _pooled_by_stride(chain: list[nn.Module]) -> Iterator[nn.Module]:
    r"""Pool by convolving with stride 2, once for each of the four positions.

    :math:`\max_{d \in \{0,1\}^2} (w * x)_{2i+d}`: with the kernel shifted by :math:`d`
    inside one that is larger by 1, the four positions are channels of one convolution
    with stride 2. Its maps are written and read once; where they are made from few
    inputs, that takes most of the time.
    """
    queue = list(chain)
    for i, (one, two) in enumerate(pairwise(chain)):
        # Increasing functions and maxima may swap, and pooled maps are smaller.
        if isinstance(one, ACTIVATIONS) and isinstance(two, nn.MaxPool2d):
            queue[i], queue[i + 1] = two, one
    while queue:
        module = queue.pop(0)
        if queue and _cheaper_by_stride(module, queue[0]):
            queue.pop(0)
            yield _strided(cast(nn.Conv2d, module))
            yield Maxout(4)
        else:
            yield module


def _cheaper_by_stride(conv: nn.Module, pool: nn.Module) -> bool:
    return (
        isinstance(conv, nn.Conv2d)
        and isinstance(pool, nn.MaxPool2d)
        and conv.in_channels <= NARROW
        and (conv.stride, conv.dilation) == ((1, 1), (1, 1))
        and (conv.padding_mode, isinstance(conv.padding, tuple)) == ("zeros", True)
        and pool.kernel_size in (2, (2, 2))
        and pool.stride in (2, (2, 2))
        and (pool.padding, pool.dilation, pool.ceil_mode) == (0, 1, False)
    )


def _strided(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution at the four positions of every 2x2 window, one after another."""
    weight = conv.weight
    shifted = [F.pad(weight, (j, 1 - j, i, 1 - i)) for i in (0, 1) for j in (0, 1)]
    wide = nn.Conv2d(
        conv.in_channels,
        4 * conv.out_channels,
        (weight.shape[2] + 1, weight.shape[3] + 1),
        stride=2,
        padding=cast(tuple[int, int], conv.padding),
        device=weight.device,
        dtype=weight.dtype,
    )
    wide.weight = nn.Parameter(torch.cat(shifted))
    wide.bias = nn.Parameter(bias_of(conv).repeat(4))
    return wide
