"""Exercises of Part IV: from "Moving beyond pruning" to "Dynamic convolution".

First the solutions, as the book's solutions page shows them. Then, chapter by chapter,
the inputs and the known mistakes that tell a right answer from a wrong one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ece661_sparse.dynamic import beta_cdf
from ece661_sparse.exercises.checker import Exercise, Mistake

# --- solutions: early_exit -----------------------------------------------------


def exit_entropy(y):
    """The slide's sum with its sign; classes without probability add nothing."""
    return -torch.where(y > 0, y * y.log(), 0).sum(-1)


def safe_share(h, early, late, accuracy):
    """Let the most certain leave, one more at a time; the last time it was enough."""
    order = h.argsort()
    early, late = early[order], late[order]
    share = 0.0
    for k in range(len(h) + 1):
        right = int(early[:k].sum() + late[k:].sum())
        if 100 * right >= accuracy * len(h):
            share = k / len(h)
    return share


def break_even_share(first, last):
    """Where share * first + (1 - share) * last is 1, the cost without exits."""
    return (last - 1) / (last - first)


def patient_exit(answers, p):
    """Count confirmations in a row; an answer that differs starts at 0 again."""
    confirmed = 0
    for n, answer in enumerate(answers):
        if n > 0:
            confirmed = confirmed + 1 if answer == answers[n - 1] else 0
        if confirmed >= p:
            return n
    return len(answers) - 1


# --- solutions: channel_gating -------------------------------------------------


def gate_gradient(log_alpha, u, temperature):
    """The gradient of the soft gate, at the noise that was drawn."""
    logistic = u.log() - (1 - u).log()
    s = torch.sigmoid((log_alpha + logistic) / temperature)
    return s * (1 - s) / temperature


def batch_shaping_loss(p):
    """Mean squared distance of F(p), in order, from i / (N + 1)."""
    n = len(p)
    i = torch.arange(1, n + 1, dtype=p.dtype, device=p.device)
    return ((i / (n + 1) - beta_cdf(p.sort().values)) ** 2).mean()


def collapsed_loss(n):
    """All F(p) are 1: the mean of (j / (n + 1))² over j = 1, ..., n."""
    return (2 * n + 1) / (6 * (n + 1))


def gated_flops(is_open, in_channels, out_channels, size):
    """An open channel is an output of the first conv and an input of the second."""
    per_channel = 2 * 9 * size**2 * (in_channels + out_channels)
    return per_channel * is_open.sum(1)


# --- solutions: dynamic_convolution --------------------------------------------


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


# --- what tells right from wrong -------------------------------------------------


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


# --- early_exit ----------------------------------------------------------------

_PROBABILITIES = _vector(
    *(0.7, 0.2, 0.1),
    *(0.25, 0.25, 0.5),
    *(1.0, 0.0, 0.0),
    *(0.5, 0.5, 0.0),
).view(4, 3)

EXIT_ENTROPY = Exercise(
    exit_entropy,
    chapter="early_exit",
    minutes=5,
    difficulty=1,
    cases=(
        (_PROBABILITIES,),
        (_PROBABILITIES[:2],),
        (_vector(0.25, 0.25, 0.25, 0.25),),
    ),
    edges=((_vector(0.0, 1.0),), (_PROBABILITIES.view(2, 2, 3),)),
    mistakes=(
        Mistake(
            lambda y: torch.xlogy(y, y).sum(-1),
            "That is the sum as the slide prints it, and it is never positive: "
            "logarithms of probabilities are not. An entropy needs the minus sign.",
        ),
        Mistake(
            lambda y: -(y * y.log()).sum(-1),
            "NaN where a class has probability 0: 0 · ln 0 is NaN for the computer, "
            "and 0 in the formula, since y ln y goes to 0 with y.",
        ),
        Mistake(
            lambda y: torch.special.entr(y).sum(-1) / math.log(2),
            "That is the entropy in bits. The slide, and BranchyNet's thresholds, use "
            "the natural logarithm.",
        ),
        Mistake(
            lambda y: torch.special.entr(y).mean(-1),
            "You average over the classes. The entropy is the sum over them.",
        ),
        Mistake(
            lambda y: torch.special.entr(y).sum(),
            "You sum over the samples as well. Every sample has an entropy of its own: "
            "sum over the last dimension only.",
        ),
    ),
)

_H = _vector(0.9, 0.1, 0.5, 0.02, 1.4, 0.3, 0.7, 2.0)
_EARLY = torch.tensor([False, True, True, True, False, False, True, False])
_LATE = torch.tensor([True, True, False, True, True, True, False, True])


def _counted(order: Tensor, early: Tensor, late: Tensor) -> list[int]:
    """Right answers when the first 0, 1, ... of this order leave."""
    early, late = early[order], late[order]
    return [int(early[:k].sum() + late[k:].sum()) for k in range(len(order) + 1)]


def _largest(right: list[int], accuracy: float) -> float:
    n = len(right) - 1
    enough = [k for k, r in enumerate(right) if 100 * r >= accuracy * n]
    return max(enough, default=0) / n


def _until_the_first_failure(
    h: Tensor, early: Tensor, late: Tensor, accuracy: float
) -> float:
    right = _counted(h.argsort(), early, late)
    for k, r in enumerate(right):
        if 100 * r < accuracy * len(h):
            return max(k - 1, 0) / len(h)
    return 1.0


def _of_those_who_leave(
    h: Tensor, early: Tensor, late: Tensor, accuracy: float
) -> float:
    right = early[h.argsort()].cumsum(0).tolist()
    enough = [k for k, r in enumerate(right, 1) if 100 * r >= accuracy * k]
    return max(enough, default=0) / len(h)


SAFE_SHARE = Exercise(
    safe_share,
    chapter="early_exit",
    minutes=15,
    difficulty=2,
    cases=(
        (_H, _EARLY, _LATE, 75.0),
        (_H, _EARLY, _LATE, 87.5),
        (_H, _EARLY, _LATE, 60.0),
        (_H, _LATE, _EARLY, 50.0),
    ),
    edges=(
        (_H, _EARLY, _LATE, 100.0),
        (_H, _EARLY, _LATE, 0.0),
        (_H, _EARLY, _EARLY, 50.0),
    ),
    mistakes=(
        Mistake(
            _until_the_first_failure,
            "You stop at the first number of leavers that is not accurate enough. The "
            "accuracy can recover: a sample that only the early exit gets right brings "
            "it up again. Try all numbers and keep the largest that is enough.",
        ),
        Mistake(
            lambda h, early, late, accuracy: _largest(
                _counted(h.argsort(descending=True), early, late), accuracy
            ),
            "You send the least certain away first. A low entropy means certain: sort "
            "it in ascending order.",
        ),
        Mistake(
            _of_those_who_leave,
            "You measure the accuracy of those who leave. The target is for all: add "
            "the right answers of those who stay, from the last exit.",
        ),
        Mistake(
            lambda h, early, late, accuracy: _largest(
                _counted(torch.arange(len(h)), early, late), accuracy
            ),
            "The order is that of the samples, not of their entropy: sort both lists "
            "of right answers by h first.",
        ),
    ),
)

BREAK_EVEN_SHARE = Exercise(
    break_even_share,
    chapter="early_exit",
    minutes=10,
    difficulty=2,
    cases=((0.1, 1.02), (0.3, 1.1), (0.5, 1.4)),
    edges=((0.2, 1.0), (0.0, 1.25)),
    mistakes=(
        Mistake(
            lambda first, last: (last - 1) / last,
            "Leaving early is not free: those who leave pay `first`. Put it into the "
            "average cost, share · first + (1 − share) · last.",
        ),
        Mistake(
            lambda first, last: last - 1,
            "That is what the extra head costs a sample that stays. How many must "
            "leave, each saving last − first, to pay it for all?",
        ),
        Mistake(
            lambda first, last: (last - 1) / (1 - first),
            "A sample that leaves saves last − first, not 1 − first: without leaving "
            "it would have paid for the unused head as well.",
        ),
        Mistake(
            lambda first, last: (1 - first) / (last - first),
            "That is the share that stays at break-even. Which share leaves?",
        ),
    ),
)


def _patient(answers: list[int], leaves: int, *, reset: bool = True) -> int:
    """Leave at this many confirmations."""
    count = 0
    for n in range(len(answers)):
        if n and answers[n] == answers[n - 1]:
            count += 1
        elif reset:
            count = 0
        if count >= leaves:
            return n
    return len(answers) - 1


def _agrees_with_the_first(answers: list[int], p: int) -> int:
    for n in range(len(answers)):
        if sum(a == answers[0] for a in answers[1 : n + 1]) >= p:
            return n
    return len(answers) - 1


PATIENT_EXIT = Exercise(
    patient_exit,
    chapter="early_exit",
    minutes=10,
    difficulty=2,
    cases=(
        ([3, 3, 5, 3, 3, 3], 2),
        ([3, 5, 5, 8, 8, 8], 1),
        ([1, 7, 1, 1, 7, 7], 1),
        ([4, 4, 4, 4, 4, 4], 3),
    ),
    edges=(([2, 9, 9], 0), ([2, 9, 9], 5), ([0, 1, 0, 1], 1)),
    mistakes=(
        Mistake(
            lambda answers, p: _patient(answers, p, reset=False),
            "You never start again: confirmations have to come in a row, so an exit "
            "that disagrees with the one before sets the count back to 0.",
        ),
        Mistake(
            lambda answers, p: _patient(answers, p - 1),
            "One exit too early. Patience p means p confirmations, that is p + 1 equal "
            "answers in a row; the first of them confirms nothing.",
        ),
        Mistake(
            lambda answers, p: _patient(answers, p + 1),
            "One exit too late. p + 1 equal answers in a row are p confirmations: "
            "leave as soon as the count is p.",
        ),
        Mistake(
            _agrees_with_the_first,
            "You compare with the first exit. What counts is whether an exit agrees "
            "with the one just before it.",
        ),
    ),
)

# --- channel_gating ------------------------------------------------------------

_LOG_ALPHA = _vector(-2.0, -0.5, 0.0, 0.7, 1.5, 3.0)
_U = _vector(0.9, 0.3, 0.6, 0.2, 0.5, 0.1)


def _soft_gate(logits: Tensor, temperature: float) -> Tensor:
    return torch.sigmoid(logits / temperature)


def _slope(s: Tensor) -> Tensor:
    return s * (1 - s)


def _with_noise(log_alpha: Tensor, u: Tensor) -> Tensor:
    return log_alpha + torch.logit(u)


GATE_GRADIENT = Exercise(
    gate_gradient,
    chapter="channel_gating",
    minutes=10,
    difficulty=2,
    cases=((_LOG_ALPHA, _U, 2 / 3), (_LOG_ALPHA, _U, 0.3), (_LOG_ALPHA, 1 - _U, 1.0)),
    edges=((_LOG_ALPHA.view(2, 3), _U.view(2, 3), 5.0),),
    mistakes=(
        Mistake(
            lambda log_alpha, u, temperature: _slope(
                _soft_gate(_with_noise(log_alpha, u), temperature)
            ),
            "You forgot the inner derivative: log α is divided by τ inside the "
            "sigmoid, so the slope s(1 − s) is divided by τ as well.",
        ),
        Mistake(
            lambda log_alpha, u, temperature: (
                _slope(_soft_gate(log_alpha, temperature)) / temperature
            ),
            "The noise is missing. The gradient is taken at the s that was drawn, "
            "σ((log α + ln u − ln(1 − u))/τ), not at its centre.",
        ),
        Mistake(
            lambda log_alpha, u, temperature: (
                _slope(_soft_gate(log_alpha - torch.logit(u), temperature))
                / temperature
            ),
            "Your noise has the wrong sign: it is ln u − ln(1 − u). For one gate both "
            "have the same distribution, but this u opened another gate.",
        ),
        Mistake(
            lambda log_alpha, u, temperature: torch.zeros_like(log_alpha),
            "You differentiated the hard gate: its gradient is 0 everywhere, and "
            "nothing is learnt. Forwards z is hard; backwards take the slope of s.",
        ),
    ),
)

_P = _vector(0.97, 0.1, 0.55, 0.8, 0.02, 0.33, 0.9)


def _shaped(p: Tensor, target: Tensor) -> Tensor:
    return (target - beta_cdf(p)).square().mean()


def _ranks(p: Tensor) -> Tensor:
    return torch.arange(1, len(p) + 1, dtype=p.dtype)


BATCH_SHAPING_LOSS = Exercise(
    batch_shaping_loss,
    chapter="channel_gating",
    minutes=10,
    difficulty=2,
    cases=((_P,), (_P[:4],), (_P.square(),)),
    edges=((_vector(0.4),), (_vector(1.0, 1.0, 1.0),), (_vector(0.0, 0.0),)),
    mistakes=(
        Mistake(
            lambda p: _shaped(p, _ranks(p) / (len(p) + 1)),
            "You compare the images in the order of the batch. The i-th smallest "
            "value belongs to i/(N+1): sort first.",
        ),
        Mistake(
            lambda p: _shaped(p.sort(descending=True).values, _ranks(p) / (len(p) + 1)),
            "You sorted from the largest down. i = 1 is the smallest value.",
        ),
        Mistake(
            lambda p: _shaped(p.sort().values, _ranks(p) / len(p)),
            "You divide the rank by N. With N + 1 the targets are symmetric, from "
            "1/(N+1) to N/(N+1): no value is told to be exactly 1.",
        ),
        Mistake(
            lambda p: len(p) * _shaped(p.sort().values, _ranks(p) / (len(p) + 1)),
            "You add the squares up. The loss is their mean: it must not grow with "
            "the batch.",
        ),
        Mistake(
            lambda p: (_ranks(p) / (len(p) + 1) - p.sort().values).square().mean(),
            "You compare p itself with i/(N+1): that shapes it towards the uniform "
            "distribution. Take F(p), the distribution function of Beta.",
        ),
    ),
)

COLLAPSED_LOSS = Exercise(
    collapsed_loss,
    chapter="channel_gating",
    minutes=10,
    difficulty=2,
    cases=((50,), (4,), (1,)),
    edges=((256,), (100_000,)),
    mistakes=(
        Mistake(
            lambda n: 1 / 3,
            "That is the limit of a large batch, the integral of t². For N images it "
            "is the mean of N squares.",
        ),
        Mistake(
            lambda n: (n - 1) * (2 * n - 1) / (6 * n**2),
            "You take i/N as the targets; they are i/(N+1).",
        ),
        Mistake(
            lambda n: n * (2 * n + 1) / (6 * (n + 1)),
            "That is the sum of the squares; the loss is their mean.",
        ),
        Mistake(
            lambda n: 0.0,
            "Zero is the loss of a gate whose values are the quantiles of Beta. For a "
            "gate that is always open every F(p) is 1: put that into the formula.",
        ),
    ),
)

_OPEN = torch.tensor(
    [[True, True, False, True], [False, True, False, False], [False] * 4]
)


GATED_FLOPS = Exercise(
    gated_flops,
    chapter="channel_gating",
    minutes=5,
    difficulty=1,
    cases=((_OPEN, 3, 8, 14), (_OPEN, 16, 4, 7)),
    edges=((~_OPEN, 1, 1, 1),),
    mistakes=(
        Mistake(
            lambda is_open, in_channels, out_channels, size: (
                18 * size**2 * in_channels * is_open.sum(1)
            ),
            "You counted the first convolution only. A closed channel is also an "
            "input of the second one, which then need not read it.",
        ),
        Mistake(
            lambda is_open, in_channels, out_channels, size: (
                18 * size**2 * out_channels * is_open.sum(1)
            ),
            "You counted the second convolution only. The first one need not produce "
            "a closed channel either.",
        ),
        Mistake(
            lambda is_open, in_channels, out_channels, size: (
                9 * size**2 * (in_channels + out_channels) * is_open.sum(1)
            ),
            "Those are multiply-adds. A FLOP counter counts the multiplication and "
            "the addition: twice as many.",
        ),
        Mistake(
            lambda is_open, in_channels, out_channels, size: (
                18
                * size**2
                * (in_channels + out_channels)
                * is_open.any(0).sum().expand(len(is_open))
            ),
            "You counted the channels that are open for any image of the batch. Each "
            "image pays for its own: sum along the channels, one number an image.",
        ),
        Mistake(
            lambda is_open, in_channels, out_channels, size: (
                18 * (in_channels + out_channels) * is_open.sum(1)
            ),
            "You counted one position. A kernel is applied at each of size² positions.",
        ),
    ),
)

# --- dynamic_convolution -------------------------------------------------------

_BANK = torch.randn(
    3, 2, 2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)
_THREE_IMAGES = torch.randn(
    3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
)
_PI = _vector(0.7, 0.2, 0.1, 0.1, 0.3, 0.6, 0.25, 0.5, 0.25).view(3, 3)


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
    cases=(
        (_THREE_IMAGES, _PI, _BANK),
        (_THREE_IMAGES[:2], _PI[:2], _BANK[:, :1]),
    ),
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


DYNAMIC_FLOPS = Exercise(
    dynamic_flops,
    chapter="dynamic_convolution",
    minutes=10,
    difficulty=2,
    cases=((64, 64, 16, 4), (4, 8, 14, 4), (32, 16, 7, 2)),
    edges=((16, 16, 1, 4), (960, 320, 7, 8)),
    mistakes=(
        Mistake(
            lambda in_channels, out_channels, size, kernels: (
                2
                * (
                    kernels * 9 * in_channels * out_channels * size**2
                    + _attention_products(in_channels, kernels)
                )
            ),
            "You convolve with every kernel and mix the outputs. Mix the kernels "
            "first: then only one convolution is left.",
        ),
        Mistake(
            lambda in_channels, out_channels, size, kernels: (
                2
                * (
                    9 * in_channels * out_channels * (size**2 + 1)
                    + _attention_products(in_channels, kernels)
                )
            ),
            "You count the mixing as one product for each weight of the result. It is "
            "a sum of K kernels, each multiplied by its share.",
        ),
        Mistake(
            lambda in_channels, out_channels, size, kernels: (
                18 * in_channels * out_channels * (size**2 + kernels)
            ),
            "The attention is missing: two dense layers for every image.",
        ),
        Mistake(
            lambda in_channels, out_channels, size, kernels: (
                9 * in_channels * out_channels * (size**2 + kernels)
                + _attention_products(in_channels, kernels)
            ),
            "Those are multiply-adds. A FLOP counter counts the multiplication and "
            "the addition: twice as many.",
        ),
        Mistake(
            lambda in_channels, out_channels, size, kernels: (
                2
                * (
                    9 * in_channels * out_channels * (size**2 + kernels)
                    + size**2 * _attention_products(in_channels, kernels)
                )
            ),
            "You run the attention at every position. It sees the average over all "
            "positions, once.",
        ),
    ),
)


def _attention_products(in_channels: int, kernels: int) -> int:
    hidden = max(in_channels // 4, kernels)
    return (in_channels + kernels) * hidden


TEMPERATURE_FOR = Exercise(
    temperature_for,
    chapter="dynamic_convolution",
    minutes=10,
    difficulty=2,
    cases=((2.0, 0.9, 4), (1.0, 0.5, 4), (3.0, 0.6, 2)),
    edges=((1.0, 0.2500001, 4), (0.5, 0.999, 8)),
    mistakes=(
        Mistake(
            lambda gap, share, kernels: (
                gap / math.log(share / (1 - share)) if share != 0.5 else math.inf
            ),
            "You have two kernels in mind. There are K − 1 others, and each adds "
            "exp(−gap/T) to the denominator.",
        ),
        Mistake(
            lambda gap, share, kernels: (
                gap * math.log((kernels - 1) * share / (1 - share))
            ),
            "You multiply where T divides: the logits are divided by T, so a larger "
            "gap needs a larger T for the same share.",
        ),
        Mistake(
            lambda gap, share, kernels: gap / math.log(kernels * share / (1 - share)),
            "You count K other kernels. One of the K is the one that is ahead: K − 1 "
            "are left.",
        ),
        Mistake(
            lambda gap, share, kernels: gap / math.log((kernels - 1) / share),
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

EXERCISES: tuple[Exercise, ...] = (
    # early_exit
    BREAK_EVEN_SHARE,
    EXIT_ENTROPY,
    SAFE_SHARE,
    PATIENT_EXIT,
    # channel_gating
    GATE_GRADIENT,
    BATCH_SHAPING_LOSS,
    COLLAPSED_LOSS,
    GATED_FLOPS,
    # dynamic_convolution
    MIXED_CONVOLUTION,
    DYNAMIC_FLOPS,
    TEMPERATURE_FOR,
    AVERAGE_KERNEL,
)
