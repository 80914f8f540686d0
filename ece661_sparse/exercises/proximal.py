"""Exercises of Part I: from "Proximal gradient update" to "Optimization of Trimmed ℓ1".

First the solutions, as the book's solutions page shows them: each needs ``torch``, the
penalties, and the exercises before it. Then, chapter by chapter, the inputs and the
known mistakes that tell a right answer from a wrong one.
"""

import torch
from torch import Tensor

from ece661_sparse.exercises.checker import Exercise, Mistake, close_up_to_ties
from ece661_sparse.proximal import L0, L1, MCP, SCAD, Firm

# --- solutions: proximal_gradient ------------------------------------------------


def soft_threshold(x, threshold):
    """The operator of ``threshold * |z|``: shrink the size, keep the sign."""
    return x.sign() * (x.abs() - threshold).clamp(min=0)


def proximal_step(theta, grad, step, lam):
    """Gradient step on the loss, then the operator of ``step * lam * |z|``."""
    return soft_threshold(theta - step * grad, step * lam)


def keep_top_n(x, n):
    """Keep the ``n`` entries of ``x`` that are largest in size."""
    largest_first = x.abs().flatten().argsort(descending=True, stable=True)
    rank = largest_first.argsort().view(x.shape)
    return torch.where(rank < n, x, 0)


def smallest_silencing_lam(X, y):
    """The largest ``|gradient|`` of the loss at zero: lam must outweigh it."""
    return (X.T @ y).abs().max()


# --- solutions: beyond_l1 --------------------------------------------------------


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


# --- solutions: trimmed_l1 -------------------------------------------------------


def project_box_simplex(z, total):
    """Shift ``z`` by one number, clip to [0, 1]; bisect until the sum is right."""
    low, high = z.min() - 1, z.max()
    for _ in range(60):
        shift = (low + high) / 2
        if (z - shift).clamp(0, 1).sum() > total:
            low = shift
        else:
            high = shift
    return (z - high).clamp(0, 1)


def trimmed_prox(x, lam, h):
    """Leave the ``h`` largest alone, soft threshold the rest."""
    rank = x.abs().argsort(descending=True, stable=True).argsort()
    soft = x.sign() * (x.abs() - lam).clamp(min=0)
    return torch.where(rank < h, x, soft)


def gate_step(w, theta, tau, h):
    """Projected gradient descent: the gradient with respect to ``w`` is |theta|."""
    return project_box_simplex(w - tau * theta.abs(), total=len(w) - h)


def lam_for_at_most(h, c):
    """The largest size among the entries that are not free: the (h+1)-th."""
    largest_first = c.abs().sort(descending=True).values
    return largest_first[h] if h < len(c) else 0.0


# --- what tells right from wrong -------------------------------------------------


def _vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def _soft(x: Tensor, threshold: float) -> Tensor:
    return x.sign() * (x.abs() - threshold).clamp(min=0)


def _rank(x: Tensor) -> Tensor:
    """0 for the largest entry, 1 for the next; the first of two equal ones leads."""
    return x.flatten().argsort(descending=True, stable=True).argsort().view(x.shape)


_X = _vector(3.0, 1.5, 0.7, -0.4, -1.2, -2.5)
_MATRIX = _vector(0.3, -2.0, 1.1, -0.6, 4.0, -0.9).view(2, 3)

SOFT_THRESHOLD = Exercise(
    soft_threshold,
    chapter="proximal_gradient",
    minutes=5,
    difficulty=1,
    cases=((_X, 1.0), (_X, 0.5), (_MATRIX, 0.8)),
    edges=((_vector(0.0, 1.0, -1.0), 1.0), (_X, 0.0)),
    objective=lambda z, x, threshold: threshold * z.abs() + (z - x) ** 2 / 2,
    mistakes=(
        Mistake(
            lambda x, threshold: torch.where(x.abs() > threshold, x, 0),
            "That is hard thresholding: what survives keeps its full size. The soft "
            "threshold also moves every survivor towards zero by the threshold.",
        ),
        Mistake(
            lambda x, threshold: (x - threshold).clamp(min=0),
            "You compare x where the slide compares |x|: negative inputs have to "
            "shrink towards zero too, and keep their sign.",
        ),
        Mistake(
            lambda x, threshold: x - threshold * x.sign(),
            "Small inputs shrink through zero and change their sign. Between "
            "-threshold and threshold the result is exactly 0.",
        ),
        Mistake(
            lambda x, threshold: torch.where(
                x.abs() > threshold, x + threshold * x.sign(), 0
            ),
            "Survivors grow: you add the threshold to |x| where it has to be "
            "subtracted.",
        ),
    ),
)

_THETA = _vector(2.0, -1.5, 0.6, -0.2, 0.1)
_GRAD = _vector(0.8, 1.0, -2.0, 0.5, -0.3)

PROXIMAL_STEP = Exercise(
    proximal_step,
    chapter="proximal_gradient",
    minutes=10,
    difficulty=2,
    cases=((_THETA, _GRAD, 0.5, 1.0), (_THETA, _GRAD, 0.1, 2.0)),
    edges=(
        (_THETA, torch.zeros_like(_THETA), 0.5, 0.4),
        (_THETA, _GRAD, 0.5, 0.0),
        (_MATRIX, 0.5 * _MATRIX, 0.25, 1.0),
    ),
    mistakes=(
        Mistake(
            lambda theta, grad, step, lam: _soft(theta - step * grad, lam),
            "You threshold by λ, as the slide writes it. To minimise L + λ‖θ‖₁ with a "
            "step, the operator is that of step·λ‖θ‖₁: the threshold is step·λ, or "
            "else the answer depends on the step.",
        ),
        Mistake(
            lambda theta, grad, step, lam: _soft(theta, step * lam) - step * grad,
            "You shrink before the gradient step. The gradient step comes first; the "
            "operator comes last, so that its zeros are still zero in the result.",
        ),
        Mistake(
            lambda theta, grad, step, lam: theta - step * (grad + lam * theta.sign()),
            "That is a subgradient step on L + λ‖θ‖₁: it steps over zero and hardly "
            "ever lands on it. Take the gradient step on L alone, then the operator.",
        ),
        Mistake(
            lambda theta, grad, step, lam: _soft(theta + step * grad, step * lam),
            "The gradient step goes uphill: subtract step·grad.",
        ),
    ),
)

_TIES = _vector(1.0, -2.0, 2.0, 0.5, -2.0, 3.0)

KEEP_TOP_N = Exercise(
    keep_top_n,
    chapter="proximal_gradient",
    minutes=10,
    difficulty=2,
    cases=((_X, 2), (_X, 4), (_TIES, 2)),
    edges=((_TIES, 3), (_X, 0), (_X, 6), (_vector(0.0, 0.0, 1.0), 2)),
    same=close_up_to_ties,
    mistakes=(
        Mistake(
            lambda x, n: torch.where(_rank(-x.abs()) < n, x, 0),
            "You keep the n smallest sizes; the projection keeps the n largest.",
        ),
        Mistake(
            lambda x, n: torch.where(_rank(x) < n, x, 0),
            "You rank the signed values: a large negative entry counts as small. Rank "
            "by |x|.",
        ),
        Mistake(
            lambda x, n: (
                torch.where(
                    x.abs() >= x.abs().flatten().sort(descending=True).values[n - 1],
                    x,
                    0,
                )
                if n
                else torch.zeros_like(x)
            ),
            "All entries as large as the n-th survive, so a tie leaves more than n. "
            "Rank the entries and keep exactly n; which of the equal ones is free.",
        ),
        Mistake(
            lambda x, n: _rank(x.abs()) < n,
            "That is the mask. The projection keeps the values of the n largest "
            "entries and sets the others to 0.",
        ),
    ),
)

_ROWS = _vector(1.0, 2.0, 0.5, -1.0, 1.0, 0.0, 0.0, -3.0, 1.0, 2.0, 0.5, -1.0).view(
    4, 3
)

SMALLEST_SILENCING_LAM = Exercise(
    smallest_silencing_lam,
    chapter="proximal_gradient",
    minutes=10,
    difficulty=2,
    cases=(
        (_ROWS, _vector(1.0, -1.0, 2.0, 0.5)),
        (_ROWS, _vector(0.2, 0.4, -0.1, 0.3)),
    ),
    edges=((_ROWS, torch.zeros(4, dtype=torch.float64)),),
    mistakes=(
        Mistake(
            lambda X, y: (X.T @ y).max(),
            "You take the largest signed entry of Xᵀy. A negative gradient pulls a "
            "coordinate away from zero as well: take absolute values first.",
        ),
        Mistake(
            lambda X, y: (X.T @ y).abs().sum(),
            "You add up the entries of |Xᵀy|. Each coordinate is held at zero on its "
            "own, so λ has to outweigh only the largest.",
        ),
        Mistake(
            lambda X, y: (X.T @ y).norm(),
            "That is the Euclidean norm of Xᵀy. Each coordinate is held at zero on its "
            "own, so λ has to outweigh only the largest entry in size.",
        ),
        Mistake(
            lambda X, y: (X.T @ y).abs().max() / len(y),
            "You divide by the number of rows. The loss here is ½‖Xθ − y‖², a sum and "
            "not a mean.",
        ),
    ),
)

_SCAD_X = _vector(0.5, -0.8, 1.5, -1.7, 2.5, -3.0, 5.0, -6.0)

SCAD_PROX = Exercise(
    scad_prox,
    chapter="beyond_l1",
    minutes=10,
    difficulty=2,
    cases=((_SCAD_X, 1.0), (_SCAD_X, 0.8, 3.0), (_SCAD_X.view(2, 4), 1.2)),
    edges=(
        (_vector(0.0, 1.0, -1.0, 2.0, -2.0, 3.7, -3.7), 1.0),
        (_SCAD_X, 0.0),
    ),
    objective=lambda z, x, lam, a=3.7: SCAD(lam, a).value(z) + (z - x) ** 2 / 2,
    mistakes=(
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x <= 2 * lam,
                _soft(x, lam),
                torch.where(
                    x <= a * lam, ((a - 1) * x - x.sign() * a * lam) / (a - 2), x
                ),
            ),
            "You compare t where the slide compares |t|: every negative input falls "
            "into the first line and is soft thresholded.",
        ),
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x.abs() <= lam,
                0,
                torch.where(
                    x.abs() <= a * lam,
                    ((a - 1) * x - x.sign() * a * lam) / (a - 2),
                    x,
                ),
            ),
            "Your soft zone ends at λ. It reaches to 2λ: between λ and 2λ the result "
            "is sign(t)(|t| − λ).",
        ),
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x.abs() <= 2 * lam,
                _soft(x, lam),
                ((a - 1) * x - x.sign() * a * lam) / (a - 2),
            ),
            "Your middle line goes on beyond aλ, where it makes weights larger than "
            "they were. Beyond aλ the operator returns t itself: that is its point.",
        ),
        Mistake(
            lambda x, lam, a=3.7: torch.where(
                x.abs() <= 2 * lam,
                _soft(x, lam),
                torch.where(
                    x.abs() <= a * lam,
                    ((a - 1) * x - x.sign() * a * lam) / (a - 1),
                    x,
                ),
            ),
            "Your middle line divides by a − 1; the slide divides by a − 2. Only then "
            "does it meet its neighbours at 2λ and at aλ.",
        ),
    ),
)


def _mcp(x: Tensor, lam: float, gamma: float) -> Tensor:
    return torch.where(x.abs() <= gamma * lam, _soft(x, lam) / (1 - 1 / gamma), x)


_MCP_X = _vector(0.3, -0.45, 0.9, -1.4, 1.9, -2.2, 3.5, -4.0)

MCP_PROX_WITH_STEP = Exercise(
    mcp_prox_with_step,
    chapter="beyond_l1",
    minutes=15,
    difficulty=3,
    cases=(
        (_MCP_X, 1.0, 2.0, 0.5),
        (_MCP_X, 0.8, 3.0, 0.25),
        (_MCP_X, 0.6, 4.0, 2.0),
    ),
    edges=(
        (_vector(0.0, 0.5, -0.5, 2.0, -2.0), 1.0, 2.0, 0.5),
        (_MCP_X.view(2, 4), 1.0, 2.0, 1.0),
    ),
    objective=lambda z, x, lam, gamma, step: (
        step * MCP(lam, gamma).value(z) + (z - x) ** 2 / 2
    ),
    mistakes=(
        Mistake(
            lambda x, lam, gamma, step: _mcp(x, step * lam, gamma),
            "You scaled λ by the step but not γ. The knot γλ must stay where it is, "
            "so γ becomes γ/step.",
        ),
        Mistake(
            lambda x, lam, gamma, step: _mcp(x, lam, gamma),
            "You leave the step out: that is the operator of the slide, for step 1.",
        ),
        Mistake(
            lambda x, lam, gamma, step: (
                _mcp(x, step * lam, gamma * step)
                if gamma * step > 1
                else torch.where(x.abs() <= gamma * step**2 * lam, 0, x)
            ),
            "You multiplied γ by the step. γ·λ is where the penalty becomes flat; a "
            "step does not move that knot, so γ is divided by the step.",
        ),
        Mistake(
            lambda x, lam, gamma, step: _soft(x, step * lam),
            "That is the soft threshold by step·λ: it shrinks large weights by as much "
            "as small ones. MCP lets the shrinkage fade out towards γλ.",
        ),
    ),
)


def _lq_beta(lam: float, q: float) -> float:
    return float((2 * lam * (1 - q)) ** (1 / (2 - q)))


LQ_THRESHOLD = Exercise(
    lq_threshold,
    chapter="beyond_l1",
    minutes=5,
    difficulty=1,
    cases=((1.0, 0.5), (0.3, 0.7), (2.0, 0.25)),
    edges=((1.0, 0.95), (1.0, 0.05)),
    mistakes=(
        Mistake(
            _lq_beta,
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


def _clip_and_rescale(z: Tensor, total: float) -> Tensor:
    clipped = z.clamp(0, 1)
    return clipped * total / clipped.sum() if clipped.sum() > 0 else clipped


def _project_simplex(z: Tensor, total: float) -> Tensor:
    """The projection onto w >= 0, sum w = total, from the sorted entries."""
    if total == 0:
        return torch.zeros_like(z)
    largest_first = z.sort(descending=True).values
    counts = torch.arange(1, z.numel() + 1, dtype=z.dtype)
    shifts = (largest_first.cumsum(0) - total) / counts
    support = int((largest_first > shifts).sum())
    return (z - shifts[support - 1]).clamp(min=0)


_Z = _vector(1.6, 0.9, 0.4, 0.1, -0.5)

PROJECT_BOX_SIMPLEX = Exercise(
    project_box_simplex,
    chapter="trimmed_l1",
    minutes=20,
    difficulty=3,
    cases=((_Z, 2.0), (_Z, 3.5), (_vector(0.2, 2.5, -1.0, 0.8), 1.5)),
    edges=(
        (_Z, 0.0),
        (_Z, 5.0),
        (_vector(0.7, 0.7, 0.7, 0.7), 3.0),
        (_vector(1.0, 0.0, 1.0), 2.0),
        (100 * _Z, 2.0),
    ),
    mistakes=(
        Mistake(
            lambda z, total: z.clamp(0, 1),
            "You only clip: the entries lie in [0, 1], but nothing makes them add up "
            "to the total.",
        ),
        Mistake(
            _clip_and_rescale,
            "You clip, then scale to the right sum. Scaling is not the shortest way to "
            "the constraint, and it can push an entry above 1: shift all by one number "
            "before clipping.",
        ),
        Mistake(
            _project_simplex,
            "That is the projection onto the simplex without the upper bound: an entry "
            "exceeds 1. Clip to [0, 1] inside the search for the shift.",
        ),
        Mistake(
            lambda z, total: (z - (z.sum() - total) / len(z)).clamp(0, 1),
            "You shift by the mean excess once, then clip. Clipping changes the sum "
            "again: search for the shift whose clipped sum is the total.",
        ),
    ),
)

TRIMMED_PROX = Exercise(
    trimmed_prox,
    chapter="trimmed_l1",
    minutes=10,
    difficulty=2,
    cases=((_X, 1.0, 2), (_X, 0.6, 3), (_X, 0.3, 1)),
    edges=((_X, 1.0, 0), (_X, 1.0, 6), (_TIES, 1.5, 2), (_X, 0.0, 2)),
    same=close_up_to_ties,
    mistakes=(
        Mistake(
            lambda x, lam, h: _soft(x, lam),
            "You soft threshold every entry: that is plain ℓ1. The h largest pay no "
            "penalty and stay as they are.",
        ),
        Mistake(
            lambda x, lam, h: torch.where(_rank(x.abs()) < h, x, 0),
            "You set the rest to zero: that is the projection on the ℓ0 ball. Trimmed "
            "ℓ1 soft thresholds the rest by λ, and what exceeds λ survives.",
        ),
        Mistake(
            lambda x, lam, h: torch.where(_rank(x.abs()) < h, _soft(x, lam), x),
            "You penalise the h largest. They are the ones left alone; the penalty is "
            "on the p − h smallest.",
        ),
    ),
)

_W = _vector(0.6, 0.6, 0.6, 0.6, 0.6)
_GATED = _vector(2.0, -0.3, 0.8, -1.5, 0.1)


def _gates(w: Tensor, change: Tensor, total: float) -> Tensor:
    return project_box_simplex(w + change, total)


GATE_STEP = Exercise(
    gate_step,
    chapter="trimmed_l1",
    minutes=10,
    difficulty=2,
    cases=(
        (_W, _GATED, 0.2, 2),
        (_W, _GATED, 0.5, 1),
        (_vector(0.0, 1.0, 1.0, 0.5, 0.5), _GATED, 0.3, 2),
    ),
    edges=((_W, _GATED, 10.0, 2), (_W, _GATED, 0.5, 0), (_W, _GATED, 0.5, 5)),
    mistakes=(
        Mistake(
            lambda w, theta, tau, h: _gates(w, tau * theta.abs(), len(w) - h),
            "The step goes uphill: w grows where |θ| is large, so the largest weights "
            "are penalised most. It is w − τ|θ|.",
        ),
        Mistake(
            lambda w, theta, tau, h: _gates(w, -tau * theta, len(w) - h),
            "You use θ where the gradient with respect to w is |θ|: a large negative "
            "weight would be penalised as if it were small.",
        ),
        Mistake(
            lambda w, theta, tau, h: _gates(w, -tau * theta.abs(), h),
            "Your gates add up to h. They count the penalised entries: the sum is "
            "p − h.",
        ),
        Mistake(
            lambda w, theta, tau, h: w - tau * theta.abs(),
            "The gradient step alone leaves the set S: project it back onto "
            "0 ≤ w ≤ 1 with sum p − h.",
        ),
    ),
)


def _sorted_at(sizes: Tensor, position: int) -> float:
    """The entry at a position of the descending order, 0 beyond its end."""
    largest_first = sizes.sort(descending=True).values
    return float(largest_first[position]) if position < len(sizes) else 0.0


LAM_FOR_AT_MOST = Exercise(
    lam_for_at_most,
    chapter="trimmed_l1",
    minutes=10,
    difficulty=2,
    cases=((1, _X), (2, _X), (4, _X)),
    edges=((0, _X), (6, _X), (2, _TIES)),
    mistakes=(
        Mistake(
            lambda h, c: _sorted_at(c.abs(), max(h - 1, 0)),
            "That is the h-th largest size. The h largest pay nothing, so λ need only "
            "silence the next one: the (h+1)-th.",
        ),
        Mistake(
            lambda h, c: _sorted_at(c, h),
            "You rank the signed values. A large negative entry is large: rank |c|.",
        ),
        Mistake(
            lambda h, c: float(c.abs().min()),
            "You return the smallest size. That λ silences one entry; all p − h "
            "entries that are not free must be silenced, the largest of them too.",
        ),
    ),
)

EXERCISES = (
    KEEP_TOP_N,
    SOFT_THRESHOLD,
    PROXIMAL_STEP,
    SMALLEST_SILENCING_LAM,
    SCAD_PROX,
    LQ_THRESHOLD,
    MCP_PROX_WITH_STEP,
    UNBIASED_FROM,
    PROJECT_BOX_SIMPLEX,
    GATE_STEP,
    TRIMMED_PROX,
    LAM_FOR_AT_MOST,
)
