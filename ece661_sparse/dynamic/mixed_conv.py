r"""One convolution in which every image has a kernel of its own.

Convolution is linear in its kernel: mixing K kernels and convolving once is mixing the
outputs of K convolutions, at the price of one.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair

# Mixed kernels of a few images at a time stay in the processor's cache: about a third
# less time on a CPU than the whole batch in one piece. 1.2 MB in single precision.
_MIXED_WEIGHTS_AT_ONCE = 300_000


def mixed_conv2d(
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    r"""Convolve every image with its own mixture of K kernels.

    .. math:: y_n = \Big(\sum_k \pi_{nk} W_k\Big) * x_n + \sum_k \pi_{nk} b_k

    One matrix product mixes the kernels of all images, one grouped convolution applies
    them: N images with C channels are one image with N groups of C channels. (On a CPU,
    a few images at a time.) For the backward pass the mixed kernels are made
    again, not stored: they take N times the memory of a layer.

    Args:
        x: images, ``(N, C, H, W)``.
        pi: weights of the mixture, ``(N, K)``; they need not sum to 1.
        weight: kernels, ``(K, out, C / groups, height, width)``.
        bias: biases, ``(K, out)``.
        stride, padding, dilation, groups: as in ``torch.nn.functional.conv2d``, the
            padding as numbers.

    Returns:
        ``(N, out, H', W')``.

    Raises:
        ValueError: shapes that do not belong together.
    """
    if x.ndim != 4 or weight.ndim != 5 or pi.shape != (len(x), len(weight)):
        raise ValueError(
            "x must be (N, C, H, W), weight (K, out, C / groups, height, width) and pi "
            f"(N, K), got x {tuple(x.shape)}, weight {tuple(weight.shape)}, "
            f"pi {tuple(pi.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:2]:
        raise ValueError(
            f"bias must be (K, out), {tuple(weight.shape[:2])}, got {tuple(bias.shape)}"
        )
    if weight.shape[2] * groups != x.shape[1] or weight.shape[1] % groups:
        raise ValueError(
            f"groups={groups} and weight {tuple(weight.shape)} do not fit the "
            f"{x.shape[1]} channels of x"
        )
    if len(x) == 0:  # a convolution with no groups is an error in torch
        return F.conv2d(x, weight[0], None, stride, padding, dilation, groups)
    mixed_bias = None if bias is None else pi @ bias
    options = (_pair(stride), _pair(padding), _pair(dilation), groups)
    return _MixedConvolution.apply(x, pi, weight, mixed_bias, options)


class _MixedConvolution(torch.autograd.Function):
    """The grouped convolution, a few images at a time, and its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pi: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        options: tuple[Any, ...],
    ) -> Tensor:
        ctx.save_for_backward(x, pi, weight)
        ctx.options = options
        stride, padding, dilation, groups = options
        size = _images_at_once(x, weight)
        biases = [None] * -(-len(x) // size) if bias is None else bias.split(size)
        parts = []
        for images, share, b in zip(x.split(size), pi.split(size), biases, strict=True):
            y = F.conv2d(
                _as_channels(images),
                _mix(share, weight),
                None if b is None else b.flatten(),
                stride,
                padding,
                dilation,
                groups * len(images),
            )
            parts.append(y.unflatten(1, (len(images), -1))[0])
        return _joined(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, pi, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        size = _images_at_once(x, weight)
        bank = weight.flatten(1)
        wanted = [ctx.needs_input_grad[0], True, False]
        grad_x, grad_pi, grad_bank = [], [], torch.zeros_like(bank)
        for images, share, g in zip(
            x.split(size), pi.split(size), grad.split(size), strict=True
        ):
            # torch.nn.grad computes the two gradients separately, which takes longer
            grad_images, grad_mixed, _ = torch.ops.aten.convolution_backward(
                _as_channels(g),
                _as_channels(images),
                _mix(share, weight),
                None,
                stride,
                padding,
                dilation,
                False,  # not transposed
                [0, 0],
                groups * len(images),
                wanted,
            )
            if grad_images is not None:
                grad_x.append(grad_images.view_as(images))
            grad_mixed = grad_mixed.reshape(len(images), -1)
            grad_pi.append(grad_mixed @ bank.T)
            grad_bank.addmm_(share.T, grad_mixed)
        return (
            _joined(grad_x) if grad_x else None,
            _joined(grad_pi),
            grad_bank.view_as(weight),
            grad.sum((2, 3)) if ctx.needs_input_grad[3] else None,
            None,
        )


def _mix(pi: Tensor, weight: Tensor) -> Tensor:
    """The kernels of all images below one another, ``(N out, C / groups, h, w)``."""
    return (pi @ weight.flatten(1)).view(-1, *weight.shape[2:])


def _as_channels(x: Tensor) -> Tensor:
    """N images with C channels as one image with N C channels."""
    return x.reshape(1, -1, *x.shape[2:])


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _images_at_once(x: Tensor, weight: Tensor) -> int:
    if x.device.type != "cpu":
        return len(x)
    return min(len(x), max(1, _MIXED_WEIGHTS_AT_ONCE // weight[0].numel()))
