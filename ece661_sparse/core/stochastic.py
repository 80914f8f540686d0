"""What gates of all parts are drawn with, so that a draw has a gradient."""

import torch
from torch import Tensor


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Forwards ``hard``, to the last bit; backwards as if it were ``soft``.

    Args:
        hard: the value, such as a gate rounded to 0 or 1; gets no gradient.
        soft: what gets the gradient, finite.

    Source: Bengio et al., "Estimating or Propagating Gradients Through Stochastic
    Neurons", 2013.
    """
    return hard + (soft - soft.detach())


def logistic_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r""":math:`\ln u - \ln(1 - u)`, :math:`u \sim \mathcal U(0, 1)`, shaped as ``like``.

    In single precision at least: with bfloat16's 8 bits, one u in 256 would be 0.

    Args:
        like: whose shape and device the noise gets.
        generator: source of u; None is torch's global one.

    Returns:
        Finite noise, in the dtype of ``like`` or float32, whichever is wider.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    u = torch.rand(like.shape, dtype=dtype, device=like.device, generator=generator)
    # u is a multiple of eps / 2; at 0 its logit would be infinite. In place: with a
    # gate for each weight the noise is as large as the layer.
    return u.logit_(torch.finfo(dtype).eps / 2)
