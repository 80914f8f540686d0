"""Exercises of "Beyond ℓ1": solutions, then inputs and known mistakes."""

import torch
from torch import Tensor

from ece661_sparse.exercises.bank.inputs import double
from ece661_sparse.exercises.bank.proximal_gradient import soft_threshold
from ece661_sparse.exercises.exercise import Exercise, Mistake
from ece661_sparse.proximal import L0, L1, MCP, SCAD, Firm


def scad_prox(x, lam, a=3.7):
    """The three lines of the slide, with ``|x|`` in the conditions."""
    soft = x.sign() * (x.abs() - lam).clamp(min=0)
    blend = ((a - 1) * x - x.sign() * a * lam) / (a - 2)
    beyond_soft = torch.where(x.abs() <= a * lam, blend, x)
    return torch.where(x.abs() <= 2 * lam, soft, beyond_soft)


def mcp_prox_with_step(x, lam, gamma, step):
    """``step * MCP(lam, gamma)`` is ``MCP(step * lam, gamma / step)``."""
    lam, gamma = step * lam, gamma / step
    soft = x.sign() * (x.abs() - lam).clamp(min=0)
    return torch.where(x.abs() <= gamma * lam, soft / (1 - 1 / gamma), x)


def lq_threshold(lam, q):
    """``tau``: below it zero is the better of the two minima."""
    beta = (2 * lam * (1 - q)) ** (1 / (2 - q))
    return beta + lam * q * beta ** (q - 1)


def unbiased_from(penalty):
    """The size beyond which the operator returns its input."""
    match penalty:
        case L0():
            return (2 * penalty.lam) ** 0.5
        case L1():
            return torch.inf
        case SCAD():
            return penalty.a * penalty.lam
        case MCP():
            return penalty.gamma * penalty.lam
        case Firm():
            return penalty.mu


# --- inputs and known mistakes -------------------------------------------------

_SCAD_X = double([0.5, -0.8, 1.5, -1.7, 2.5, -3.0, 5.0, -6.0])


def _blend(x: Tensor, lam: float, a: float) -> Tensor:
    """SCAD's middle line, but for the denominator."""
    return (a - 1) * x - x.sign() * a * lam


SCAD_PROX = Exercise(
    scad_prox,
    chapter="beyond_l1",
    minutes=10,
    difficulty=2,
    cases=((_SCAD_X, 1.0), (_SCAD_X, 0.8, 3.0), (_SCAD_X.view(2, 4), 1.2)),
    edges=((double([0.0, 1.0, -1.0, 2.0, -2.0, 3.7, -3.7]), 1.0), (_SCAD_X, 0.0)),
    objective=lambda z, x, lam, a=3.7: SCAD(lam, a).value(z) + (z - x) ** 2 / 2,
    mistakes=(
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x <= 2 * lam,
                soft_threshold(x, lam),
                torch.where(x <= a * lam, _blend(x, lam, a) / (a - 2), x),
            ),
            "You compare t where the slide compares |t|: every negative input falls "
            "into the first line and is soft thresholded.",
        ),
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x.abs() <= lam,
                0,
                torch.where(x.abs() <= a * lam, _blend(x, lam, a) / (a - 2), x),
            ),
            "Your soft zone ends at λ. It reaches to 2λ: between λ and 2λ the result "
            "is sign(t)(|t| − λ).",
        ),
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x.abs() <= 2 * lam, soft_threshold(x, lam), _blend(x, lam, a) / (a - 2)
            ),
            "Your middle line goes on beyond aλ, where it makes weights larger than "
            "they were. Beyond aλ the operator returns t itself: that is its point.",
        ),
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x.abs() <= 2 * lam,
                soft_threshold(x, lam),
                torch.where(x.abs() <= a * lam, _blend(x, lam, a) / (a - 1), x),
            ),
            "Your middle line divides by a − 1; the slide divides by a − 2. Only then "
            "does it meet its neighbours at 2λ and at aλ.",
        ),
    ),
)


_MCP_X = double([0.3, -0.45, 0.9, -1.4, 1.9, -2.2, 3.5, -4.0])

MCP_PROX_WITH_STEP = Exercise(
    mcp_prox_with_step,
    chapter="beyond_l1",
    minutes=15,
    difficulty=3,
    cases=((_MCP_X, 1.0, 2.0, 0.5), (_MCP_X, 0.8, 3.0, 0.25), (_MCP_X, 0.6, 4.0, 2.0)),
    edges=(
        (double([0.0, 0.5, -0.5, 2.0, -2.0]), 1.0, 2.0, 0.5),
        (_MCP_X.view(2, 4), 1.0, 2.0, 1.0),
    ),
    objective=lambda z, x, lam, gamma, step: (
        step * MCP(lam, gamma).value(z) + (z - x) ** 2 / 2
    ),
    mistakes=(
        Mistake(
            lambda x, lam, gamma, step: mcp_prox_with_step(x, step * lam, gamma, 1),
            "You scaled λ by the step but not γ. The knot γλ must stay where it is, "
            "so γ becomes γ/step.",
        ),
        Mistake(
            lambda x, lam, gamma, step: mcp_prox_with_step(x, lam, gamma, 1),
            "You leave the step out: that is the operator of the slide, for step 1.",
        ),
        Mistake(
            lambda x, lam, gamma, step: (
                mcp_prox_with_step(x, step * lam, gamma * step, 1)
                if gamma * step > 1
                else torch.where(x.abs() <= gamma * step**2 * lam, 0, x)
            ),
            "You multiplied γ by the step. γ·λ is where the penalty becomes flat; a "
            "step does not move that knot, so γ is divided by the step.",
        ),
        Mistake(
            lambda x, lam, gamma, step: soft_threshold(x, step * lam),
            "That is the soft threshold by step·λ: it shrinks large weights by as much "
            "as small ones. MCP lets the shrinkage fade out towards γλ.",
        ),
    ),
)


LQ_THRESHOLD = Exercise(
    lq_threshold,
    chapter="beyond_l1",
    minutes=5,
    difficulty=1,
    cases=((1.0, 0.5), (0.3, 0.7), (2.0, 0.25)),
    edges=((1.0, 0.95), (1.0, 0.05)),
    mistakes=(
        Mistake(
            lambda lam, q: (2 * lam * (1 - q)) ** (1 / (2 - q)),
            "That is β, the size of the jump: the smallest value the operator returns "
            "other than 0. The threshold on the input is τ = β + λqβ^(q−1).",
        ),
        Mistake(
            lambda lam, q: (
                (beta := (lam * (1 - q)) ** (1 / (2 - q))) + lam * q * beta ** (q - 1)
            ),
            "β lacks its factor 2: β = [2λ(1−q)]^(1/(2−q)). Without it β is where "
            "the objective changes its curvature, not where it ties with 0.",
        ),
        Mistake(
            lambda lam, q: (2 * lam) ** 0.5,
            "√(2λ) is the threshold of ℓ0, the limit q → 0. For other q use β and τ "
            "of the slide.",
        ),
    ),
)


UNBIASED_FROM = Exercise(
    unbiased_from,
    chapter="beyond_l1",
    minutes=10,
    difficulty=2,
    cases=(
        (MCP(lam=0.5, gamma=3.0),),
        (SCAD(lam=0.5, a=3.7),),
        (Firm(lam=0.5, mu=2.0),),
        (L1(lam=0.5),),
        (L0(lam=0.5),),
        (L0(lam=0.18),),
    ),
    mistakes=(
        Mistake(
            lambda penalty: penalty.lam,
            "You return λ for every penalty. That is where the soft kind stops "
            "returning 0; the question is from where on a weight is left as it is.",
        ),
        Mistake(
            lambda penalty: (
                penalty.lam if isinstance(penalty, L1) else unbiased_from(penalty)
            ),
            "For ℓ1 you return λ. Beyond λ the soft threshold still takes λ off every "
            "weight, however large: there is no such size, so the answer is infinity.",
        ),
        Mistake(
            lambda penalty: (
                2 * penalty.lam if isinstance(penalty, SCAD) else unbiased_from(penalty)
            ),
            "For SCAD you return 2λ, its middle knot. From 2λ to aλ the shrinkage "
            "fades; only from aλ on is it zero.",
        ),
    ),
)

EXERCISES = (SCAD_PROX, LQ_THRESHOLD, MCP_PROX_WITH_STEP, UNBIASED_FROM)
