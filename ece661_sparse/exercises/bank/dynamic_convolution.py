"""Exercises of "Dynamic convolution": solutions, then inputs and known mistakes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.exercise import Exercise, Mistake


def mixed_convolution(x, pi, weight):
    """Mix the kernels of every image, then one convolution with a group an image."""
    n, channels, *size = x.shape
    kernels = torch.einsum("nk,koihw->noihw", pi, weight).flatten(0, 1)
    y = F.conv2d(x.reshape(1, n * channels, *size), kernels, groups=n)
    return y.view(n, -1, *y.shape[2:])


def dynamic_flops(in_channels, out_channels, size, kernels):
    """The convolution, the mixing of its kernels, the two layers of the attention."""
    kernel = 9 * in_channels * out_channels
    hidden = max(in_channels // 4, kernels)
    attention = in_channels * hidden + hidden * kernels
    return 2 * (kernel * size**2 + kernels * kernel + attention)


def temperature_for(gap, share, kernels):
    """Solve share = 1 / (1 + (K - 1) exp(-gap / T)) for T."""
    return gap / math.log((kernels - 1) * share / (1 - share))


def average_kernel(pi, weight):
    """Average the attention over the images, then mix once."""
    return torch.tensordot(pi.mean(0), weight, 1)


# --- inputs and known mistakes -------------------------------------------------

_BANK = torch.randn(
    3, 2, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)
_THREE_IMAGES = torch.randn(
    3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
)
_PI = double([0.7, 0.2, 0.1, 0.1, 0.3, 0.6, 0.25, 0.5, 0.25]).view(3, 3)


def _with_kernels(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve every image with its kernel, one by one."""
    pairs = zip(x, kernels, strict=True)
    return torch.cat([F.conv2d(image[None], kernel) for image, kernel in pairs])


def _mixed(pi: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("nk,koihw->noihw", pi, weight)


MIXED_CONVOLUTION = Exercise(
    mixed_convolution,
    chapter="dynamic_convolution",
    minutes=15,
    difficulty=2,
    cases=((_THREE_IMAGES, _PI, _BANK), (_THREE_IMAGES[:2], _PI[:2], _BANK[:, :1])),
    edges=((_THREE_IMAGES[:1], _PI[:1], _BANK), (_THREE_IMAGES, 2 * _PI, _BANK)),
    mistakes=(
        Mistake(
            lambda x, pi, weight: F.conv2d(x, weight.mean(0)),
            "You give all kernels the same share. That is a static layer: the shares "
            "are row n of pi for image n.",
        ),
        Mistake(
            lambda x, pi, weight: F.conv2d(x, torch.tensordot(pi.mean(0), weight, 1)),
            "You mix one kernel for the whole batch. Every image has its own row of "
            "pi, and so a kernel of its own.",
        ),
        Mistake(
            lambda x, pi, weight: _with_kernels(x, weight[pi.argmax(1)]),
            "You let the largest share choose a kernel. The slide adds the kernels "
            "up, each with its share.",
        ),
        Mistake(
            lambda x, pi, weight: _with_kernels(
                x, _mixed(pi, weight).transpose(0, 1).reshape(len(x), *weight.shape[1:])
            ),
            "The kernels are right and reach the wrong images. The groups of a "
            "convolution take consecutive kernels: all of image 0 first, shape "
            "(N · out, in, h, w).",
        ),
        Mistake(
            lambda x, pi, weight: _with_kernels(x, _mixed(pi.softmax(1), weight)),
            "pi has been through the softmax already; you apply it again.",
        ),
    ),
)


def _attention(in_channels: int, kernels: int) -> int:
    """Products in the two layers of the attention."""
    hidden = max(in_channels // 4, kernels)
    return (in_channels + kernels) * hidden


DYNAMIC_FLOPS = Exercise(
    dynamic_flops,
    chapter="dynamic_convolution",
    minutes=10,
    difficulty=2,
    cases=((64, 64, 16, 4), (4, 8, 14, 4), (32, 16, 7, 2)),
    edges=((16, 16, 1, 4), (960, 320, 7, 8)),
    mistakes=(
        Mistake(
            lambda c_in, c_out, size, k: (
                18 * c_in * c_out * k * size**2 + 2 * _attention(c_in, k)
            ),
            "You convolve with every kernel and mix the outputs. Mix the kernels "
            "first: then only one convolution is left.",
        ),
        Mistake(
            lambda c_in, c_out, size, k: (
                18 * c_in * c_out * (size**2 + 1) + 2 * _attention(c_in, k)
            ),
            "You count the mixing as one product for each weight of the result. It is "
            "a sum of K kernels, each multiplied by its share.",
        ),
        Mistake(
            lambda c_in, c_out, size, k: 18 * c_in * c_out * (size**2 + k),
            "The attention is missing: two dense layers for every image.",
        ),
        Mistake(
            lambda c_in, c_out, size, k: dynamic_flops(c_in, c_out, size, k) // 2,
            "Those are multiply-adds. A FLOP counter counts the multiplication and "
            "the addition: twice as many.",
        ),
        Mistake(
            lambda c_in, c_out, size, k: (
                18 * c_in * c_out * (size**2 + k) + 2 * size**2 * _attention(c_in, k)
            ),
            "You run the attention at every position. It sees the average over all "
            "positions, once.",
        ),
    ),
)


TEMPERATURE_FOR = Exercise(
    temperature_for,
    chapter="dynamic_convolution",
    minutes=10,
    difficulty=2,
    cases=((2.0, 0.9, 4), (1.0, 0.5, 4), (3.0, 0.6, 2)),
    edges=((1.0, 0.2500001, 4), (0.5, 0.999, 8)),
    mistakes=(
        Mistake(
            lambda gap, share, k: (
                gap / math.log(share / (1 - share)) if share != 0.5 else math.inf
            ),
            "You have two kernels in mind. There are K − 1 others, and each adds "
            "exp(−gap/T) to the denominator.",
        ),
        Mistake(
            lambda gap, share, k: gap * math.log((k - 1) * share / (1 - share)),
            "You multiply where T divides: the logits are divided by T, so a larger "
            "gap needs a larger T for the same share.",
        ),
        Mistake(
            lambda gap, share, k: gap / math.log(k * share / (1 - share)),
            "You count K other kernels. One of the K is the one that is ahead: K − 1 "
            "are left.",
        ),
        Mistake(
            lambda gap, share, k: gap / math.log((k - 1) / share),
            "Divide by what the others have: the ratio of the shares is "
            "share / ((1 − share) / (K − 1)), and its logarithm is gap/T.",
        ),
    ),
)


AVERAGE_KERNEL = Exercise(
    average_kernel,
    chapter="dynamic_convolution",
    minutes=5,
    difficulty=1,
    cases=((_PI[:2], _BANK[:, :1, :1]), (_PI, _BANK)),
    edges=((_PI[:1], _BANK),),
    mistakes=(
        Mistake(
            lambda pi, weight: weight.mean(0),
            "You give all kernels the same share. Average pi over the images first: "
            "some kernels are used more.",
        ),
        Mistake(
            lambda pi, weight: torch.tensordot(pi.sum(0), weight, 1),
            "You add the attention up over the images; the shares then sum to N, and "
            "the kernel is N times too large. Take the mean.",
        ),
        Mistake(
            lambda pi, weight: weight[int(pi.mean(0).argmax())],
            "You keep the kernel with the largest share and drop the others. Mix all "
            "of them, each with its average share.",
        ),
        Mistake(
            lambda pi, weight: torch.tensordot(pi.mean(0).softmax(0), weight, 1),
            "The averages of the shares sum to 1 already: no second softmax.",
        ),
    ),
)

EXERCISES = (MIXED_CONVOLUTION, DYNAMIC_FLOPS, TEMPERATURE_FOR, AVERAGE_KERNEL)
