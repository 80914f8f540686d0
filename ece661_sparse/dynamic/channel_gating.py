r"""The slides "Dynamic model architecture" and "Typical gating module".

A small gating module looks at the input of a layer and decides, image by image, which
of the layer's channels are worth computing:

.. math::

    \log\alpha = W_2\,\mathrm{ReLU}(\mathrm{norm}(W_1\,\mathrm{pool}(x))), \qquad
    z_c = [\log\alpha_c + \ln u_c - \ln(1 - u_c) > 0], \quad u_c \sim \mathcal U(0, 1).

The noise is there in training only; at test time a gate is open if
:math:`\sigma(\log\alpha_c) > \tfrac12`, and what a closed gate would multiply by zero
is not computed.

Bejnordi, Blankevoort and Welling, "Batch-shaping for learning conditional channel gated
networks", ICLR 2020.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ece661_sparse.core.arguments import check_count, check_number, check_tensor
from ece661_sparse.core.stochastic import logistic_noise, straight_through
from ece661_sparse.dynamic.shaping import batch_shaping

# --- the gate -------------------------------------------------------------------------


def gumbel_sigmoid(
    log_alpha: Tensor,
    temperature: float = 2 / 3,
    *,
    hard: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""A random gate for every entry, open with probability :math:`\sigma(\log\alpha)`.

    .. math:: s = \sigma\big((\log\alpha + \ln u - \ln(1-u)) / \tau\big), \qquad
              z = [s > \tfrac12]

    ``hard`` returns z, exactly 0 or 1, with the gradient of s: the temperature
    :math:`\tau` bends that gradient and has no influence on z. With ``hard=False`` s
    itself, the concrete relaxation.

    Args:
        log_alpha: logits, any shape.
        temperature: :math:`\tau > 0`.
        hard: round forwards, differentiate as if not.
        generator: source of u; None is torch's global one.

    Raises:
        ValueError: a temperature not above 0, or logits that are not floating point.
    """
    check_tensor("log_alpha", log_alpha)
    check_number("temperature", temperature, above=0)
    logits = log_alpha + logistic_noise(log_alpha, generator)
    s = torch.sigmoid(logits / temperature)
    z = straight_through((logits > 0).to(s.dtype), s) if hard else s
    return z.to(log_alpha.dtype)


class ChannelGate(nn.Module):
    """The slide "Typical gating module": global average pooling, then two small layers.

    Shapes: ``(N, in_channels, height, width)`` to gates ``(N, channels)``, each 0 or 1:
    random in training mode, ``p > 0.5`` in evaluation mode.

    Args:
        in_channels: channels of what it looks at, the input of the gated layer.
        channels: number of gates.
        hidden: width of the layer between.
        temperature: of :func:`gumbel_sigmoid`.
        device, dtype: of its parameters.

    Attributes:
        log_alpha: the logits of the last batch, ``(N, channels)``, with their graph. A
            side channel: :func:`gate_loss` is given the model after a forward pass, and
            reads them here. Not part of the state; copies lack it.

    Raises:
        ValueError: a size below 1, or a temperature not above 0.
    """

    log_alpha: Tensor | None

    def __init__(
        self,
        in_channels: int,
        channels: int,
        hidden: int = 16,
        temperature: float = 2 / 3,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels, at_least=1)
        check_count("channels", channels, at_least=1)
        check_count("hidden", hidden, at_least=1)
        check_number("temperature", temperature, above=0)
        self.temperature = temperature
        options = {"device": device, "dtype": dtype}
        self.logits = nn.Sequential(
            nn.Linear(in_channels, hidden, **options),
            nn.BatchNorm1d(hidden, **options),
            nn.ReLU(),
            nn.Linear(hidden, channels, **options),
        )
        self.log_alpha = None

    def forward(self, x: Tensor) -> Tensor:
        self.log_alpha = self.logits(x.mean((2, 3)))
        if self.training:
            return gumbel_sigmoid(self.log_alpha, self.temperature)
        return (self.log_alpha > 0).to(x.dtype)

    def __getstate__(self) -> dict[str, Any]:
        # a tensor with a graph can be neither copied nor pickled
        return {**self.__dict__, "log_alpha": None}


# --- what the gates are trained with --------------------------------------------------


def expected_open(log_alpha: Tensor) -> Tensor:
    r"""The ℓ0 penalty: expected number of open gates of one image, a scalar.

    .. math:: \frac1N \sum_{n,c} P(z_{nc} = 1)
              = \frac1N \sum_{n,c} \sigma(\log\alpha_{nc})

    Args:
        log_alpha: logits ``(N, channels)``.
    """
    return torch.sigmoid(log_alpha).sum(1).mean()


def gate_loss(model: nn.Module, shaping: float, lam: float) -> Tensor:
    r"""What the gates of the last batch add to the loss.

    .. math:: \frac1C \sum_c \big( \gamma\,\mathrm{BS}_c
              + \lambda\,\tfrac1N \textstyle\sum_n \sigma(\log\alpha_{nc}) \big)

    over all C gates of the network: a mean, so that γ and λ do not depend on its width.
    λ is the price of having all gates open.

    Args:
        model: with at least one :class:`ChannelGate`, after a forward pass.
        shaping: weight γ of :func:`batch_shaping`.
        lam: weight λ of the share of gates expected to be open.

    Raises:
        ValueError: a negative weight; no gates, or gates that have not run yet.
    """
    check_number("shaping", shaping, at_least=0)
    check_number("lam", lam, at_least=0)
    gates = [m for m in model.modules() if isinstance(m, ChannelGate)]
    if not gates:
        raise ValueError(f"model has no ChannelGate: {type(model).__name__}")
    logits = [g.log_alpha for g in gates if g.log_alpha is not None]
    if len(logits) < len(gates):
        raise ValueError("model has gates without logits: call it on a batch first")
    log_alpha = torch.cat(logits, dim=1)
    loss = lam * expected_open(log_alpha) / log_alpha.shape[1]
    if shaping:
        loss = loss + shaping * batch_shaping(torch.sigmoid(log_alpha)).mean()
    return loss


def penalty_weights(
    progress: float, lam: float, shaping: float = 0.75
) -> tuple[float, float]:
    r"""The two weights of :func:`gate_loss` in the course of a training.

    γ falls to 0 over the first third: the gates become conditional while they are still
    free. Then λ rises to its value over the second third, and stays: the gates that
    are worth least close. (The order is the paper's, the thirds are ours.)

    Args:
        progress: part of the training done, in [0, 1].
        lam: final λ.
        shaping: first γ.

    Returns:
        ``(shaping, lam)`` at this moment.

    Raises:
        ValueError: progress outside [0, 1], or a negative weight.
    """
    check_number("progress", progress, at_least=0, at_most=1)
    check_number("lam", lam, at_least=0)
    check_number("shaping", shaping, at_least=0)
    fall = max(0.0, 1 - 3 * progress)
    rise = min(1.0, max(0.0, 3 * progress - 1))
    return shaping * fall, lam * rise


# --- gated layers ---------------------------------------------------------------------


class GatedConv2d(nn.Conv2d):
    """A convolution whose output channels are opened and closed image by image.

    Closed channels are zero, bias included. In evaluation mode the channels that are
    closed for the whole batch are not computed: for a batch of one, all closed ones.
    Takes images ``(N, C, H, W)`` or ``(C, H, W)``.

    Args:
        in_channels, out_channels, kernel_size: as in ``nn.Conv2d``, and so are the
            other keyword arguments.
        hidden, temperature: of the :class:`ChannelGate`.

    Attributes:
        skip: set it to False to compute closed channels and multiply them by zero.

    Raises:
        ValueError: ``groups`` other than 1: a closed channel would leave its group.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        hidden: int = 16,
        temperature: float = 2 / 3,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        if self.groups != 1:
            raise ValueError(f"groups must be 1, got groups={self.groups}")
        self.gate = ChannelGate(
            in_channels,
            out_channels,
            hidden,
            temperature,
            self.weight.device,
            self.weight.dtype,
        )
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            return self(x[None])[0]
        gate = self.gate(x)
        # on the meta device it is unknown which gates are open
        if self.training or not self.skip or x.is_meta:
            return super().forward(x) * gate[:, :, None, None]
        kept, gate = _open_for_some(gate)
        kernel = self.weight.index_select(0, kept)
        bias = None if self.bias is None else self.bias.index_select(0, kept)
        y = self._conv_forward(x, kernel, bias) * gate
        whole = y.new_zeros(len(y), self.out_channels, *y.shape[2:])
        return whole.index_copy_(1, kept, y)

    def channel_flops(self, height: int, width: int) -> int:
        """FLOPs of one channel for one image, at this size of the output."""
        return 2 * self.weight[0].numel() * height * width


class GatedResidualBlock(nn.Module):
    """The slide's gated ResNet block: its middle channels are gated.

    ``relu(shortcut(x) + norm2(conv2(gate(x) * relu(norm1(conv1(x))))))``. A closed gate
    saves an output channel of the first convolution and an input channel of the
    second; the shortcut is never gated. In evaluation mode the channels that are closed
    for the whole batch are not computed; ``conv1`` and ``norm1`` are one convolution
    then, and hooks on the two do not run. With ``norm1`` in training mode, to measure
    its statistics anew, all channels are computed.

    Shapes: ``(N, in_channels, H, W)`` to ``(N, out_channels, H / stride, W / stride)``.

    Args:
        in_channels, out_channels, stride: as in a ResNet; the shortcut is a 1x1
            convolution if they change the shape, else the identity.
        middle: channels between the convolutions, ``out_channels`` if None.
        gated: False for the same block without a gate.
        hidden, temperature: of the :class:`ChannelGate`.

    Attributes:
        skip: set it to False to compute closed channels and multiply them by zero.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        middle: int | None = None,
        *,
        gated: bool = True,
        hidden: int = 16,
        temperature: float = 2 / 3,
    ) -> None:
        super().__init__()
        middle = out_channels if middle is None else middle
        self.conv1 = nn.Conv2d(in_channels, middle, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.gate = (
            ChannelGate(in_channels, middle, hidden, temperature) if gated else None
        )
        self.skip = True

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.norm2(self._residual(x)))

    def _residual(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.conv2(F.relu(self.norm1(self.conv1(x))))
        gate = self.gate(x)
        # on the meta device it is unknown which gates are open
        if self.training or self.norm1.training or not self.skip or x.is_meta:
            y = F.relu(self.norm1(self.conv1(x)))
            return self.conv2(y * gate[:, :, None, None])
        kept, gate = _open_for_some(gate)
        kernel, bias = self._conv1_with_norm(kept)
        y = F.relu(self.conv1._conv_forward(x, kernel, bias)) * gate
        # index_select copies rows several times faster than an index in brackets
        kernel = self.conv2.weight.index_select(1, kept)
        return self.conv2._conv_forward(y, kernel, None)

    def _conv1_with_norm(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """At test time the norm is a scale and a shift of the convolution."""
        norm = self.norm1
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = norm.bias - scale * norm.running_mean
        scale, bias = scale.index_select(0, kept), bias.index_select(0, kept)
        kernel = self.conv1.weight.index_select(0, kept)
        return kernel * scale[:, None, None, None], bias

    def channel_flops(self, height: int, width: int) -> int:
        """FLOPs of one gated channel for one image, at this size of the output."""
        kernels = self.conv1.weight[0].numel() + self.conv2.weight[:, 0].numel()
        return 2 * kernels * height * width


def _open_for_some(gate: Tensor) -> tuple[Tensor, Tensor]:
    """The channels open for an image of the batch, and their gates."""
    kept = gate.any(0).nonzero().flatten()
    if not len(kept):
        kept = kept.new_zeros(1)  # a convolution needs one channel, even a closed one
    return kept, gate.index_select(1, kept)[:, :, None, None]
