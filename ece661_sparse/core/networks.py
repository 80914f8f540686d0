"""What a network is made of, and how to look at it without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def kernels(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that may be pruned, by name: those of two or more dimensions.

    Biases and normalisation parameters are few, and pruning them costs accuracy for
    nothing; the lecture's Table 1 neither prunes nor counts them.
    """
    return {name: p for name, p in model.named_parameters() if p.ndim >= 2}


@torch.no_grad()
def effective_kernels(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The kernels as the network computes with them in evaluation mode, by name.

    Of a parametrized kernel that is the parametrized weight (with gates, what ``bake``
    would leave); what belongs to the parametrization itself is left out.
    """
    for name, tensor in model.named_parameters():
        prefix, inside, rest = f".{name}".partition(".parametrizations.")
        if inside:
            attribute, part = rest.split(".", 1)
            if part not in ("original", "original0"):  # once for each kernel
                continue
            layer = model.get_submodule(prefix[1:])
            name = f"{prefix}.{attribute}"[1:]
            with evaluating(layer):  # a stochastic gate would draw
                tensor = getattr(layer, attribute)
        if tensor.ndim >= 2:
            yield name, tensor


def layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """The Linear and Conv2d layers of the model, by name."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            yield name, module


def owners(model: nn.Module, parameter: Tensor) -> list[str]:
    """The names of a parameter, one for each module that holds it: several if tied."""
    return [
        name
        for prefix, module in model.named_modules()
        for name, p in module.named_parameters(
            prefix, recurse=False, remove_duplicate=False
        )
        if p is parameter
    ]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
