"""Parameter groups with options of their own: one for each layer, for example."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ece661_sparse.core.networks import layers


def layer_groups(
    model: nn.Module, **options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One parameter group per layer (weight and bias), one for everything else.

    Example::

        layer_groups(model, keep={"fc1": 9408, "fc2": 2100, "fc3": 120})

    Args:
        model: whose parameters to group.
        options: for each option its value by the layer's name. Without options for a
            layer its parameters join the last group.

    Raises:
        ValueError: an option names no layer of the model.
    """
    names = dict(layers(model))
    groups: list[dict[str, Any]] = []
    for option, values in options.items():
        if unknown := values.keys() - names.keys():
            raise ValueError(
                f"{option} must name Linear or Conv2d layers of the model, "
                f"{list(names)}, got {sorted(unknown)}"
            )
    for name, layer in names.items():
        chosen = {
            key: values[name] for key, values in options.items() if name in values
        }
        if chosen:
            groups.append({"params": list(layer.parameters()), **chosen})
    grouped = {id(p) for group in groups for p in group["params"]}
    rest = [p for p in model.parameters() if id(p) not in grouped]
    return [*groups, {"params": rest}] if rest else groups


def with_options(
    params: Iterable[Tensor] | Iterable[dict[str, Any]], options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Parameters, or groups of them, as groups: with these options or their own."""
    groups: list[Any] = list(params)
    if groups and not isinstance(groups[0], dict):
        groups = [{"params": groups}]
    return [{**options, **group} for group in groups]
