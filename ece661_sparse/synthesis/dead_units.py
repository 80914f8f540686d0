r"""Units of a chain of layers that no longer matter: constant ones, and unread ones.

A unit is a neuron of a dense layer or a map of a convolution. Pruning leaves two kinds
that can go without a change of the outputs:

- one without incoming weights is a constant, :math:`c = \sigma(b)`, for every input:
  the next layer's bias takes it over, :math:`b' \leftarrow b' + W'_{:,j}\, c`;
- one that the next layer does not read, :math:`W'_{:,j} = 0`.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Layer = nn.Linear | nn.Conv2d


@torch.no_grad()
def cut_dead_ends(layers: Sequence[Layer]) -> None:
    """Set all weights from and to dead units to zero, in place.

    The outputs of the network stay as they are if nothing but pooling without padding
    follows a convolution, as in LeNet-5. Constants of dense layers are left alone: it
    is not known here which activation they go through.

    Args:
        layers: dense and convolutional layers, in the order of the network.
    """
    for layer, after in pairwise(layers):
        if isinstance(layer, nn.Conv2d):
            absorb(after, constants(layer))
    for layer, after in reversed(list(pairwise(layers))):
        layer.weight[~read_units(layer, after)] = 0


def constants(layer: Layer) -> Tensor:
    """The output of every unit that has no weights, its bias; NaN for the others."""
    has_weights = layer.weight.flatten(1).any(1)
    return bias_of(layer).where(~has_weights, torch.nan)


def absorb(layer: Layer, value: Tensor) -> None:
    """Move what constant inputs add into the bias, and zero their weights, in place.

    Args:
        layer: the layer that reads them.
        value: of every unit before it; NaN if it is not a constant.
    """
    value = per_input(value, layer)
    if isinstance(layer, nn.Conv2d) and layer.padding not in ("valid", (0, 0)):
        # The padding's zeros stand beside the constant: only zero is one everywhere.
        value = value.where(value == 0, torch.nan)
    columns = layer.weight.flatten(2).sum(2) if layer.weight.ndim > 2 else layer.weight
    bias_of(layer).add_(columns @ value.nan_to_num(0))
    layer.weight[:, ~value.isnan()] = 0


def read_units(layer: Layer, after: Layer) -> Tensor:
    """Which units of a layer the layer after it has a weight for."""
    read = after.weight.transpose(0, 1).flatten(1).any(1)
    return read.view(len(layer.weight), -1).any(1)


def per_input(per_unit: Tensor, after: Layer) -> Tensor:
    """One entry a unit to one for each input of the next layer: maps are flattened."""
    return per_unit.repeat_interleave(after.weight.shape[1] // len(per_unit))


def bias_of(layer: Layer) -> Tensor:
    """The bias of a layer, which gets one of zeros if it has none."""
    if layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
    return layer.bias
