r"""The slide "Global Sparse Momentum (GSM) SGD": ranking across all layers; and masks.

A mask is a dictionary from a parameter's name to a boolean tensor of its shape: True
where the weight stays. ``global_mask`` gives all layers one budget; after
``apply_mask``, training inside ``keep_zeros`` is masked retraining; ``rewind`` makes a
lottery ticket.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from ece661_sparse.core.arguments import check_count, check_tensor
from ece661_sparse.core.networks import kernels


class Kept(NamedTuple):
    """What a mask leaves of one parameter: ``kept`` weights of ``total``."""

    kept: int
    total: int


def global_mask(scores: Mapping[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Keep the ``keep`` largest scores of all layers together, and exactly so many.

    Of equal scores the first ones stay. Source: slide "Global Sparse Momentum (GSM)
    SGD", "global ranking across all layers".

    Args:
        scores: a floating point tensor per parameter; larger is more important.
        keep: weights to keep, from 0 to the number of scores.

    Raises:
        ValueError: ``keep`` outside its range; a NaN among the scores.
    """
    for name, score in scores.items():
        check_tensor(f"scores[{name!r}]", score)
        if not score.is_meta and score.isnan().any():
            raise ValueError(f"scores must not contain NaN, got one in {name!r}")
    check_count("keep", keep, at_most=sum(s.numel() for s in scores.values()))
    if not scores:
        return {}
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    largest = flat.argsort(descending=True, stable=True)[:keep]
    mask = torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, largest, True)
    parts = mask.split([score.numel() for score in scores.values()])
    return {
        name: part.view(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def layerwise_mask(
    scores: Mapping[str, Tensor], keep: int | Mapping[str, int]
) -> dict[str, Tensor]:
    """Keep the largest scores of each layer by itself: what global ranking replaces.

    Args:
        scores: a floating point tensor per parameter; larger is more important.
        keep: weights to keep in each layer, by name. One number is divided so that
            every layer keeps the same share, rounded, and together exactly that many.

    Raises:
        ValueError: ``keep`` outside its range or without a layer's name; a NaN.
    """
    if not isinstance(keep, Mapping):
        keep = _same_share({name: s.numel() for name, s in scores.items()}, keep)
    if keep.keys() != scores.keys():
        raise ValueError(
            f"keep must name the layers of the scores, {list(scores)}, got {list(keep)}"
        )
    masks: dict[str, Tensor] = {}
    for name, score in scores.items():
        masks |= global_mask({name: score}, keep[name])
    return masks


def _same_share(sizes: dict[str, int], keep: int) -> dict[str, int]:
    """Round down, then one more for the largest remainders until the sum is right."""
    total = sum(sizes.values())
    check_count("keep", keep, at_most=total)
    if total == 0:
        return dict(sizes)
    shares = {name: keep * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(keep * sizes[name] % total))
    for name in by_remainder[: keep - sum(shares.values())]:
        shares[name] += 1
    return shares


def nonzero_mask(model: nn.Module) -> dict[str, Tensor]:
    """The mask of a model that is pruned already: its kernels' non-zero weights."""
    return {name: p.detach() != 0 for name, p in kernels(model).items()}


def allocation(masks: Mapping[str, Tensor]) -> dict[str, Kept]:
    """How the budget falls on the layers."""
    return {name: Kept(int(mask.sum()), mask.numel()) for name, mask in masks.items()}


@torch.no_grad()
def apply_mask(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    r"""Prune in place: :math:`\theta \leftarrow m \circ \theta`.

    Raises:
        ValueError: a name that is no parameter of the model, or another shape.
    """
    for parameter, mask in _matched(model, masks):
        parameter.masked_fill_(~mask, 0)


def rewind(
    model: nn.Module, state_dict: Mapping[str, Any], masks: Mapping[str, Tensor]
) -> None:
    r"""Make a lottery ticket in place: early weights under a late mask.

    .. math:: \theta \leftarrow m \circ \theta^{(k)}

    with the initial weights (:math:`k = 0`, Frankle and Carbin 2019) or those of an
    early step. Train the ticket inside :func:`keep_zeros`.

    Args:
        model: the network to overwrite.
        state_dict: its ``state_dict`` at step :math:`k`, as a deep copy made then: the
            model's own tensors have been trained since. Copied, not changed.
        masks: found at the end of training, by any method.

    Raises:
        ValueError: the masks do not fit the model, or ``state_dict`` holds a tensor of
            the model itself.
    """
    _matched(model, masks)
    own = {t.data_ptr() for t in model.state_dict().values() if isinstance(t, Tensor)}
    own.discard(0)  # empty, or on the meta device
    for name, value in state_dict.items():
        if isinstance(value, Tensor) and value.data_ptr() in own:
            raise ValueError(
                "state_dict must be a copy of early weights, copy.deepcopy("
                f"model.state_dict()), got the model's own {name!r}"
            )
    model.load_state_dict(state_dict)
    apply_mask(model, masks)


@contextmanager
def keep_zeros(
    model: nn.Module, masks: Mapping[str, Tensor] | None = None
) -> Iterator[None]:
    """Inside, weights that are zero stay exactly zero: masked retraining.

    Works with any torch optimizer. The gradient of a zero weight is set to zero, so
    that gradient norms and momentum see the sparse network only; after each step the
    weight itself is, because momentum gathered before the pruning, or AdamW's and
    SGD's own rules, may move a weight without a gradient.

    Example::

        apply_mask(model, global_mask(magnitude(model), keep=4436))
        with keep_zeros(model):
            train(model, SGD(model.parameters(), lr=0.01), images, epochs=5)

    Args:
        model: pruned already.
        masks: which weights to hold at zero (False), if not the zeros of the kernels:
            biases, for example. They are applied at once.

    Raises:
        ValueError: the masks do not fit the model.
    """
    if masks is None:
        masks = nonzero_mask(model)
    apply_mask(model, masks)
    held = [(p, mask.to(p.dtype)) for p, mask in _matched(model, masks)]
    weights: list[Tensor] = [p for p, _ in held]
    factors = [factor for _, factor in held]
    factor_of: dict[Tensor, Tensor] = dict(held)

    def mask_gradient(parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.mul_(factor_of[parameter])

    @torch.no_grad()
    def mask_weights(*_: Any) -> None:
        torch._foreach_mul_(weights, factors)

    with ExitStack() as hooks:
        for p in weights:
            if p.requires_grad:
                hook = p.register_post_accumulate_grad_hook(mask_gradient)
                hooks.enter_context(hook)
        hooks.enter_context(register_optimizer_step_post_hook(mask_weights))
        yield


def _matched(
    model: nn.Module, masks: Mapping[str, Tensor]
) -> list[tuple[nn.Parameter, Tensor]]:
    """Each masked parameter with its mask on its device."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters:
            raise ValueError(
                f"masks must name parameters of the model, {list(parameters)}, "
                f"got {name!r}"
            )
        if mask.dtype != torch.bool or mask.shape != parameters[name].shape:
            raise ValueError(
                f"the mask of {name!r} must be boolean of shape "
                f"{tuple(parameters[name].shape)}, got {mask.dtype} "
                f"{tuple(mask.shape)}"
            )
    return [
        (parameters[name], mask.to(parameters[name].device))
        for name, mask in masks.items()
    ]
