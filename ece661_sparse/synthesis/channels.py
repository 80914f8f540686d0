r"""Channels taken out of a network with shortcuts, which ``compact`` refuses.

In a residual network :math:`y = F(x) + s(x)` a channel of :math:`y` belongs to every
layer that adds to it or reads it: it can go from all of them, or from none. Which
layers hang together is found by torch-pruning's dependency graph (Fang et al.,
"DepGraph: Towards any structural pruning", CVPR 2023); what is asked here is only
whether a channel may go without a trace.
"""

from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def cut_channels(model: Model, example: Tensor) -> Model:
    r"""The same network, in evaluation mode, without channels that do not matter.

    A channel goes, with all that is coupled to it, when everything that produces it
    gives zeros (batch normalisation with :math:`\gamma = \beta = 0`, or without a
    normalisation a convolution with zero weights and bias), or when every layer that
    reads it has zero weights there. One channel of each group stays.

    Args:
        model: any network that torch-pruning can trace. It is left as it is.
        example: an input, for tracing; its values do not matter.

    Raises:
        ModuleNotFoundError: torch-pruning is not installed.
    """
    import torch_pruning as tp  # imports much; only who cuts pays for it

    model = deepcopy(model).eval()
    with torch.enable_grad():  # the graph is read off autograd's
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
    return model


def _useless(group: Any) -> bool:
    """Whether one channel, in all the layers it belongs to, adds nothing."""
    readers: list[tuple[Any, list[int]]] = []
    makers, norms = readers.copy(), readers.copy()
    for dep, idxs in group:
        module = dep.target.module
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            norms.append((module, idxs))
        elif isinstance(module, nn.Linear | nn.Conv2d):
            reads = "in_channels" in dep.handler.__name__
            (readers if reads else makers).append((module, idxs))
    if not readers:  # an output of the network
        return False
    if not any(module.weight[:, idxs].any() for module, idxs in readers):
        return True
    # normalisation gives zeros whatever comes in, if each maker has one
    sources = norms if len(norms) >= len(makers) else norms + makers
    return all(_zero(module, idxs) for module, idxs in sources)


def _zero(module: nn.Module, idxs: list[int]) -> bool:
    """Whether these channels of a layer come out as zeros."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and not module.affine:
        return False
    return all(not p[idxs].any() for p in module.parameters(recurse=False))
