r"""The slides "Processing easy data with less effort" and "Early exit model".

A network is cut into stages, and after every stage a small head may answer:

.. math::

    h_n = f_n(h_{n-1}), \quad h_0 = x, \qquad
    \hat y_{\text{exit}_n} = g_n(h_n), \qquad
    L_{\text{branchynet}} = \sum_{n=1}^N w_n\, L(\hat y_{\text{exit}_n}, y).

The last head is the network's own classifier. Who leaves where is the business of a
policy (:mod:`~ece661_sparse.dynamic.exit_policies`).

Teerapittayanon et al., "BranchyNet: Fast inference via early exiting from deep neural
networks", ICPR 2016.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.core.arguments import check_number
from ece661_sparse.core.networks import evaluating
from ece661_sparse.dynamic.exit_policies import EntropyThreshold, Exits, Policy

BRANCHYNET_WEIGHTS = (1.0, 0.3)
"""BranchyNet's weights for two exits, of which the early one counts more."""


class MultiExit(nn.Module):
    r"""A backbone in stages with a classifier after each of them.

    In training mode ``forward`` returns the logits of all exits, first to last; in
    evaluation mode those of the last one, which is the backbone without exits.
    :meth:`infer` is the network that leaves early.

    Args:
        stages: :math:`f_1, \dots, f_N`; slices of an ``nn.Sequential`` will do.
        heads: :math:`g_1, \dots, g_N`, each from the features of its stage to logits
            ``(N, classes)``.

    Raises:
        ValueError: no stages, or not one head for each of them.
    """

    def __init__(self, stages: Iterable[nn.Module], heads: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(heads)
        if len(self.stages) != len(self.heads) or not self.stages:
            raise ValueError(
                "every stage needs one head, got "
                f"{len(self.stages)} stages and {len(self.heads)} heads"
            )

    def __len__(self) -> int:
        """The number of exits."""
        return len(self.stages)

    def forward(self, x: Tensor) -> list[Tensor] | Tensor:
        if self.training:
            return self.all_exits(x)
        for stage in self.stages:
            x = stage(x)
        return self.heads[-1](x)

    def all_exits(self, x: Tensor) -> list[Tensor]:
        """The logits of every exit, in either mode."""
        logits = []
        for stage, head in zip(self.stages, self.heads, strict=True):
            x = stage(x)
            logits.append(head(x))
        return logits

    def trunk(self) -> nn.Sequential:
        """The same network without its early exits, sharing the weights."""
        return nn.Sequential(*self.stages, self.heads[-1])

    @torch.no_grad()
    def infer(self, x: Tensor, policy: Policy) -> Exits:
        """Answer a batch, computing for each sample only as far as it goes.

        After every stage the samples that the policy lets go are dropped from the
        batch. The answers are those of :meth:`all_exits` at the same exits.

        Args:
            x: inputs, ``(N, ...)``. Images in ``torch.channels_last`` stay so.
            policy: who leaves where.

        Raises:
            ValueError: the model is in training mode, a head does not give
                ``(N, classes)``, or the policy has too few thresholds.
        """
        if self.training:
            raise ValueError(
                "infer needs evaluation mode, call model.eval(): in training mode "
                "normalisation and dropout let the samples of a batch interfere"
            )
        last = len(self) - 1
        on_the_way: Tensor | None = None  # their positions in the batch; None: all
        state: Tensor | None = None
        for n, (stage, head) in enumerate(zip(self.stages, self.heads, strict=True)):
            x = stage(x)
            logits = head(x)
            if logits.ndim != 2:
                raise ValueError(
                    f"the logits of exit {n} must be (N, classes), got "
                    f"{tuple(logits.shape)}"
                )
            if n == last:
                logits = policy.answer(logits, state)
            # a sample that goes on overwrites this answer at the next exit
            if on_the_way is None:
                answers = logits
                exits = torch.full((len(x),), n, device=x.device)
            else:
                answers.index_copy_(0, on_the_way, logits)
                exits.index_fill_(0, on_the_way, n)
            if n == last:
                break
            leave, state = policy.leave(n, logits, state)
            stay = (~leave).nonzero().flatten()
            if len(stay) == 0:
                break
            if len(stay) < len(leave):
                x = _rows(x, stay)
                state = None if state is None else _rows(state, stay)
                on_the_way = stay if on_the_way is None else on_the_way[stay]
        return Exits(answers, exits)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """The samples at ``index``, in the memory format of ``x``."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        # index_select on the tensor itself would return to NCHW, and cost five times
        return x.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return x.index_select(0, index)


@torch.no_grad()
def exit_logits(network: MultiExit, x: Tensor, batch_size: int = 1000) -> Tensor:
    """The outputs of all exits for all of ``x``, ``(exits, N, classes)``.

    The network runs in evaluation mode; afterwards each module is in the mode it had.
    """
    with evaluating(network):
        parts = [torch.stack(network.all_exits(part)) for part in x.split(batch_size)]
    return torch.cat(parts, 1)


class EarlyExit(nn.Module):
    r"""A multi-exit network that answers where the entropy falls below its threshold.

    ``forward`` returns the logits of the exit each sample took: what measures any
    other network's accuracy measures this one's.

    Args:
        network: the network.
        threshold: T of :class:`~ece661_sparse.dynamic.EntropyThreshold`; at 0 nobody
            leaves early.

    Attributes:
        threshold: a buffer, stored with the weights that T was chosen for.

    Raises:
        ValueError: a threshold below 0; on a call, a network in training mode.
    """

    threshold: Tensor

    def __init__(self, network: MultiExit, threshold: float = 0.0) -> None:
        super().__init__()
        self.network = network
        EntropyThreshold(threshold)  # refuses what is no threshold
        self.register_buffer("threshold", torch.tensor(float(threshold)))

    @property
    def policy(self) -> EntropyThreshold:
        """Who leaves where."""
        return EntropyThreshold(self.threshold.item())

    def forward(self, x: Tensor) -> Tensor:
        return self.network.infer(x, self.policy).logits


# --- training --------------------------------------------------------------------


def exit_loss(logits: Sequence[Tensor], y: Tensor, weights: Sequence[float]) -> Tensor:
    r"""The slide's objective, :math:`\sum_n w_n L(\hat y_{\text{exit}_n}, y)`.

    ``L`` is the cross-entropy, averaged over the batch.

    Args:
        logits: one tensor ``(N, classes)`` for each exit.
        y: labels, ``(N,)``.
        weights: :math:`w_n \ge 0`, one for each exit.

    Raises:
        ValueError: not one weight for each exit, or a negative one.
    """
    if len(weights) != len(logits):
        raise ValueError(
            f"weights must hold one number for each of the {len(logits)} exits, "
            f"got {len(weights)}"
        )
    for weight in weights:
        check_number("weights", weight, at_least=0)
    losses = [F.cross_entropy(exit_logits, y) for exit_logits in logits]
    return torch.stack(
        [w * loss for w, loss in zip(weights, losses, strict=True)]
    ).sum()


def pabee_weights(exits: int) -> list[float]:
    r"""PABEE's weights :math:`w_n = n / \sum_j j`: the later, the more.

    Source: Zhou et al., "BERT loses patience", NeurIPS 2020.
    """
    total = exits * (exits + 1) / 2
    return [n / total for n in range(1, exits + 1)]


def sdn_weights(costs: Sequence[float], progress: float) -> list[float]:
    r"""Shallow-deep networks' weights: each exit's rises to its relative cost.

    .. math:: w_n = \min(c_n,\, 0.01 + t\,c_n) \quad (n < N), \qquad w_N = 1

    Args:
        costs: :math:`c_n`, the part of the computation done at each exit.
        progress: :math:`t`, the part of the training that is over, from 0 to 1.

    Source: Kaya et al., "Shallow-Deep Networks", ICML 2019, and their code.
    """
    check_number("progress", progress, at_least=0, at_most=1)
    return [*(min(cost, 0.01 + progress * cost) for cost in costs[:-1]), 1.0]


# --- what an exit costs ----------------------------------------------------------


class ExitCosts(NamedTuple):
    """FLOPs of one sample: a multiply-add counts as two.

    Attributes:
        exits: up to and including each exit, with the heads passed on the way.
        trunk: of the network without early exits.
    """

    exits: list[int]
    trunk: int

    @property
    def shares(self) -> list[float]:
        """The exits' costs as parts of the trunk's; the last is above 1."""
        return [cost / self.trunk for cost in self.exits]


def exit_costs(network: MultiExit, x: Tensor) -> ExitCosts:
    """Count the FLOPs of convolutions and matrix products up to each exit.

    Channel gates count as open.

    Args:
        network: the network; its state does not change.
        x: a batch of inputs of the right shape, whose values do not matter. One is
            enough, and it may be on the meta device.
    """
    # a copy on the meta device: nothing is computed, only counted
    network = deepcopy(network).to("meta").eval()
    x = x[:1].to("meta")
    exits, total, stages = [], 0, 0
    for stage, head in zip(network.stages, network.heads, strict=True):
        here, x = _flops(stage, x)
        answer, _ = _flops(head, x)
        stages += here
        total += here + answer
        exits.append(total)
    return ExitCosts(exits, stages + answer)


@torch.no_grad()
def _flops(module: nn.Module, x: Tensor) -> tuple[int, Tensor]:
    counter = FlopCounterMode(display=False)
    with counter:
        x = module(x)
    return counter.get_total_flops(), x
