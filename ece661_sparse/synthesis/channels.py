r"""Channels taken out of a network with shortcuts, which ``compact`` refuses.

In a residual network :math:`y = F(x) + s(x)` a channel of :math:`y` belongs to every
layer that adds to it or reads it: it can go from all of them, or from none. Which
layers are coupled is found by torch-pruning's dependency graph (Fang et al., "DepGraph:
Towards any structural pruning", CVPR 2023). This module decides which channels can go
without changing the outputs.
"""

from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._pytree import tree_leaves

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def cut_channels(model: Model, example: Tensor) -> Model:
    r"""The same network, in evaluation mode, without channels that do not matter.

    A channel goes, from all layers coupled by it, when everything that produces it
    gives zeros (batch normalisation with :math:`\gamma = \beta = 0`, or without a
    normalisation a convolution with zero weights and bias), or when every layer that
    reads it has zero weights there. One channel of each group stays, and so does a
    channel of layers with weights other than ``nn.Linear``, ``nn.Conv2d`` (without
    groups, or depthwise) and batch normalisation.

    Between the layer that makes a channel and the one that reads it, zero must be
    mapped to zero, as ReLU, tanh and pooling do and a sigmoid does not. This is tested:
    both networks are run on a random input.

    Args:
        model: any network that torch-pruning can trace. It is left as it is.
        example: an input, for tracing; its values do not matter, unless it is of
            integers.

    Raises:
        ValueError: the cut network would give other outputs (see above); a layer has
            parametrized weights (gates: ``bake`` them first).
        ModuleNotFoundError: torch-pruning is not installed.
    """
    import torch_pruning as tp  # imports much; only who cuts pays for it

    if any(is_parametrized(module) for module in model.modules()):
        raise ValueError("model has parametrized weights: bake(model) first")
    model = deepcopy(model).eval()
    expected = _outputs(model, example)
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    with torch.enable_grad():  # the graph is read off autograd's
        model.requires_grad_()
        graph = tp.DependencyGraph().build_dependency(model, example)
    for group in graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear]):
        root, cut = group[0].dep.target.module, group[0].dep.handler
        channels = group[0].idxs
        useless = [
            j for j in channels if _useless(graph.get_pruning_group(root, cut, [j]))
        ]
        if len(useless) == len(channels):
            useless = useless[1:]
        if useless:
            graph.get_pruning_group(root, cut, useless).prune()
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    if not all(map(_close, _outputs(model, example), expected)):
        raise ValueError(
            "nothing was cut: without its zero channels the network gives other "
            "outputs, because it returns a zero channel or maps it to something else "
            "(an activation with f(0) != 0, a normalisation over channels, …)"
        )
    return model


def _outputs(model: nn.Module, example: Tensor) -> list[Any]:
    """Outputs of a random normal input; an input of integers is taken as it is."""
    x = example.clone()
    if x.is_floating_point():  # with a generator of its own: the global one stays
        x.normal_(generator=torch.Generator(x.device).manual_seed(0))
    return tree_leaves(model(x))


def _close(ours: Any, theirs: Any) -> bool:
    """Whether two outputs are the same but for the order of summation."""
    if not isinstance(theirs, Tensor) or not theirs.is_floating_point():
        return True
    if ours.shape != theirs.shape:
        return False
    eps = torch.finfo(theirs.dtype).eps
    if theirs.dtype == torch.float32 and theirs.device.type != "cpu":
        eps = 2**-10  # TF32
    atol = eps**0.5 * float(theirs.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(ours, theirs, rtol=0, atol=atol, equal_nan=True)


def _useless(group: Any) -> bool:
    """Whether one channel, in all the layers it belongs to, adds nothing."""
    readers: list[tuple[Any, list[int]]] = []
    makers: list[tuple[Any, list[int]]] = []
    norms: list[tuple[Any, list[int]]] = []
    for dep, idxs in group:
        module = dep.target.module
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            norms.append((module, idxs))
        elif isinstance(module, nn.Linear | nn.Conv2d) and not _grouped(module):
            reads = "in_channels" in dep.handler.__name__
            (readers if reads else makers).append((module, idxs))
        elif not isinstance(module, nn.Module) or any(
            True for _ in module.parameters()
        ):
            return False  # not known here: what it makes of a channel
    if not readers:  # an output of the network
        return False
    if not any(module.weight[:, idxs].any() for module, idxs in readers):
        return True
    # If each maker has a normalisation, that alone decides what comes out.
    sources = norms if len(norms) >= len(makers) else norms + makers
    return all(_zero(module, idxs) for module, idxs in sources)


def _grouped(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and 1 < module.groups < module.out_channels


def _zero(module: nn.Module, idxs: list[int]) -> bool:
    """Whether these channels of a layer come out as zeros."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and not module.affine:
        return False
    return all(not p[idxs].any() for p in module.parameters(recurse=False))
