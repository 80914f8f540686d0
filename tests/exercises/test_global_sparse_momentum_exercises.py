"""The references of the exercises on GSM against independent ones."""

import math

import pytest
import torch
from answers import right_answers
from torch import nn

from ece661_sparse.exercises.bank import global_sparse_momentum as solutions
from ece661_sparse.saliency import GSM, allocation, global_mask


def update_by_loop(W, Z, grad, keep, lr, beta, eta):
    order = sorted(range(W.numel()), key=lambda i: -abs(float((W * grad).flatten()[i])))
    new_W, new_Z = W.clone().flatten(), Z.clone().flatten()
    for i in range(W.numel()):
        new_Z[i] = beta * new_Z[i] + eta * new_W[i]
        if i in order[:keep]:
            new_Z[i] += grad.flatten()[i]
        new_W[i] -= lr * new_Z[i]
    return torch.stack((new_W.view(W.shape), new_Z.view(W.shape)))


def coast_by_steps(W, Z, lr, beta):
    for _ in range(5000):
        Z = beta * Z
        W = W - lr * Z
    return W


def kept_by_loop(saliencies, keep):
    pairs = [(float(t), i) for i, T in enumerate(saliencies) for t in T.flatten()]
    counts = torch.zeros(len(saliencies), dtype=torch.int64)
    for _, i in sorted(pairs, reverse=True)[:keep]:
        counts[i] += 1
    return counts


test_a_right_answer_written_differently = right_answers(
    "global_sparse_momentum",
    gsm_update=[update_by_loop],
    coast=[coast_by_steps],
    decay_iterations=[
        lambda left, lr, beta, eta: math.log(1 / left) / (lr * eta / (1 - beta))
    ],
    kept_per_layer=[kept_by_loop],
)


@pytest.mark.parametrize("keep", [1, 5, 12])
def test_gsm_update_is_a_step_of_the_optimizer(keep):
    torch.manual_seed(keep)
    w = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
    gsm = GSM([w], 0.1, keep, momentum=0.9, weight_decay=0.05, nesterov=False)
    W, Z = w.detach().clone(), torch.zeros(3, 4, dtype=torch.float64)
    for _ in range(6):
        grad = torch.randn(3, 4, dtype=torch.float64)
        W, Z = solutions.gsm_update(W, Z, grad, keep, 0.1, 0.9, 0.05)
        w.grad = grad.clone()
        gsm.step()
        torch.testing.assert_close(w.detach(), W, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_coast_is_where_an_optimizer_without_gradient_ends(beta):
    w = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    sgd = torch.optim.SGD([w], lr=0.01, momentum=beta)
    w.grad = torch.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=torch.float64)
    Z = w.grad.clone()
    sgd.step()
    after_one = w.detach().clone()
    for _ in range(int(30 / (1 - beta))):
        w.grad = torch.zeros_like(w)
        sgd.step()
    torch.testing.assert_close(w.detach(), solutions.coast(after_one, Z, 0.01, beta))


@pytest.mark.parametrize(
    ("lr", "beta", "eta"), [(0.01, 0.9, 0.02), (0.002, 0.95, 0.05), (0.01, 0.99, 5e-4)]
)
def test_decay_iterations_from_the_eigenvalues(lr, beta, eta):
    rows = [[1 - lr * eta, -lr * beta], [eta, beta]]
    matrix = torch.tensor(rows, dtype=torch.float64)
    slowest = torch.linalg.eigvals(matrix).abs().max().item()
    exact = math.log(1e-4) / math.log(slowest)
    close = solutions.decay_iterations(1e-4, lr, beta, eta)
    assert close == pytest.approx(exact, rel=lr * eta / (1 - beta) ** 2 + 0.01)


@pytest.mark.parametrize("keep", [0, 1, 17, 60, 90])
def test_kept_per_layer_is_what_the_global_mask_allocates(keep):
    torch.manual_seed(0)
    layers = [torch.rand(5, 6), 0.3 * torch.rand(40), 3 * torch.rand(4, 5)]
    masks = global_mask({str(i): T for i, T in enumerate(layers)}, keep)
    kept = [share.kept for share in allocation(masks).values()]
    assert solutions.kept_per_layer(layers, keep).tolist() == kept
