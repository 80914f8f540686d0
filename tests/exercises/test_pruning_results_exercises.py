"""The references of the exercises of "Pruning results" against independent ones."""

import numpy as np
import pytest
import torch
from answers import right_answers
from scipy.stats import norm

from ece661_sparse.exercises.bank import pruning_results as solutions
from ece661_sparse.saliency.baselines import delete_weight, splice


def quality_by_scipy(share):
    return norm.isf(share / 2)


def surgeon_by_least_squares(row, inverse, q):
    """The same outputs as well as may be, from data whose second moment is H."""
    x = np.linalg.cholesky(np.linalg.inv(inverse.numpy())).T
    others = [i for i in range(len(row)) if i != q]
    new = np.zeros(len(row))
    new[others] = np.linalg.lstsq(x[:, others], x @ row.numpy(), rcond=None)[0]
    return torch.from_numpy(new)


def round_by_sorting(W, U, n):
    total = (W + U).flatten()
    order = sorted(range(total.numel()), key=lambda i: (-abs(float(total[i])), i))
    Z = torch.zeros_like(total)
    for i in order[:n]:
        Z[i] = total[i]
    Z = Z.view(W.shape)
    return torch.stack((Z, W - Z + U))


def mask_by_cases(weight, mask, threshold):
    result = mask.clone()
    for i, (w, m) in enumerate(zip(weight.flatten(), mask.flatten(), strict=True)):
        if m == 1 and abs(w) <= 0.9 * threshold:
            result.view(-1)[i] = 0
        elif m == 0 and abs(w) > 1.1 * threshold:
            result.view(-1)[i] = 1
    return result


test_a_right_answer_written_differently = right_answers(
    "pruning_results",
    gaussian_quality=[quality_by_scipy],
    surgeon_step=[
        surgeon_by_least_squares,
        lambda row, inverse, q: delete_weight(row, inverse, q)[0],
    ],
    admm_round=[round_by_sorting],
    splice_mask=[mask_by_cases, splice],
)


def test_gaussian_quality_by_drawing():
    draws = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    for share in (0.08, 0.3):
        quality = float(solutions.gaussian_quality(share))
        found = float((draws.abs() > quality * draws.std()).float().mean())
        assert found == pytest.approx(share, abs=0.005)
