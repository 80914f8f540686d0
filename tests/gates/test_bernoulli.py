"""The estimators against the exact gradient, by enumeration of all masks."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn

from ece661_sparse.gates import (
    Bernoulli,
    exact_gradient,
    gate,
    gates,
    log_probability,
    sample_bernoulli,
    score_function_gradients,
    score_function_term,
    straight_through_gradients,
)

SAMPLES = 40_000


def generator():
    return torch.Generator().manual_seed(0)


def problem(n=5):
    """Least squares under masks, far from 0: loss(z) of shape (K,) for z (K, n)."""
    source = generator()
    A = torch.randn(12, n, generator=source, dtype=torch.float64)
    y = A.sum(1) + 1.0
    log_alpha = torch.randn(n, generator=source, dtype=torch.float64)
    return lambda z: ((z @ A.T - y) ** 2).mean(-1), log_alpha


def within(estimates, exact, deviations=4.5):
    error = estimates.std(0) / len(estimates) ** 0.5
    return (estimates.mean(0) - exact).abs() <= deviations * error


def test_exact_gradient_is_that_of_a_sum_over_masks():
    loss, log_alpha = problem()
    free = log_alpha.clone().requires_grad_()
    pi = free.sigmoid()
    total = torch.zeros((), dtype=torch.float64)
    for mask in itertools.product([0.0, 1.0], repeat=5):
        z = torch.tensor(mask, dtype=torch.float64)
        p = torch.where(z == 1, pi, 1 - pi).prod()
        total = total + p * loss(z[None])[0]
    total.backward()
    torch.testing.assert_close(exact_gradient(loss, log_alpha), free.grad)


@pytest.mark.parametrize("baseline", [False, True])
def test_the_score_function_is_unbiased(baseline):
    loss, log_alpha = problem()
    estimates = score_function_gradients(
        loss, log_alpha, SAMPLES, baseline=baseline, generator=generator()
    )
    assert estimates.shape == (SAMPLES, 5)
    assert within(estimates, exact_gradient(loss, log_alpha)).all()


@pytest.mark.parametrize("samples", [2, 3])
def test_the_baseline_is_unbiased_with_few_samples_too(samples):
    # a baseline that contained the sample itself would shrink the mean by 1 - 1/K
    (loss, log_alpha), source = problem(2), generator()
    means = [
        score_function_gradients(
            loss, log_alpha, samples, baseline=True, generator=source
        ).mean(0)
        for _ in range(4000)
    ]
    estimates, exact = torch.stack(means), exact_gradient(loss, log_alpha)
    assert within(estimates, exact).all()
    shrunk = estimates.mean(0) * (1 - 1 / samples)
    assert not torch.allclose(shrunk, exact, rtol=0.2)


def test_variance_is_what_theory_says_for_one_gate():
    # loss(z) = c + dz, π = ½: (L - 0)(z - ½) is ±L/2, and the mean is d/4
    c, d = 3.0, 1.0
    estimates = score_function_gradients(
        lambda z: c + d * z[:, 0],
        torch.zeros(1, dtype=torch.float64),
        SAMPLES,
        generator=generator(),
    )
    values = torch.tensor([-c / 2, (c + d) / 2], dtype=torch.float64)
    assert estimates.mean().item() == pytest.approx(d / 4, abs=0.05)
    expected = values.var(correction=0).item()
    assert estimates.var().item() == pytest.approx(expected, rel=0.02)


def test_a_baseline_lowers_the_variance_and_straight_through_lowers_it_further():
    loss, log_alpha = problem()
    variances = [
        estimates.var(0).sum()
        for estimates in (
            score_function_gradients(loss, log_alpha, SAMPLES),
            score_function_gradients(loss, log_alpha, SAMPLES, baseline=True),
            straight_through_gradients(loss, log_alpha, SAMPLES),
        )
    ]
    assert variances[0] > 2 * variances[1] > 2.5 * variances[2]


def test_straight_through_is_biased_unless_the_loss_is_linear():
    loss, log_alpha = problem()
    estimates = straight_through_gradients(
        loss, log_alpha, SAMPLES, generator=generator()
    )
    assert within(estimates, exact_gradient(loss, log_alpha)).sum() <= 1

    slopes = torch.arange(5.0, dtype=torch.float64)
    linear = straight_through_gradients(lambda z: z @ slopes, log_alpha, 10)
    exact = exact_gradient(lambda z: z @ slopes, log_alpha)
    torch.testing.assert_close(linear, exact.expand(10, 5))


def test_log_probability_agrees_with_torch_and_survives_certainty():
    log_alpha = torch.tensor([-3.0, 0.2, 5.0], dtype=torch.float64)
    z = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    expected = torch.distributions.Bernoulli(logits=log_alpha).log_prob(z).sum(-1)
    torch.testing.assert_close(log_probability(z, log_alpha), expected)
    certain = log_probability(torch.tensor([1.0, 0.0]), torch.tensor([300.0, -300.0]))
    assert certain == 0


def test_samples_are_bits_of_the_right_frequency():
    log_alpha = torch.tensor([-2.0, 0.0, 3.0])
    z = sample_bernoulli(log_alpha, 20_000, generator=generator())
    assert z.shape == (20_000, 3)
    assert ((z == 0) | (z == 1)).all()
    torch.testing.assert_close(z.mean(0), log_alpha.sigmoid(), rtol=0, atol=0.02)


# --- the gate --------------------------------------------------------------------


SCORE, STRAIGHT = "score_function", "straight_through"


def gated(estimator):
    """A dense layer of three inputs with gates at unequal log alphas."""
    torch.manual_seed(0)
    model = gate(
        nn.Linear(3, 1, bias=False),
        partial(Bernoulli, estimator=estimator),
        "input",
    )
    gates(model)[""].log_alpha.data.copy_(torch.tensor([[-1.0, 0.3, 1.2]]))
    return model


def test_a_network_trains_by_the_same_estimates_as_the_functions():
    x, y = torch.tensor([[1.0, -2.0, 0.5]]), 0.7
    for estimator in (SCORE, STRAIGHT):
        model = gated(estimator)
        found = gates(model)[""]
        theta = model.parametrizations.weight.original.detach()[0]

        def loss_of(z, theta=theta):
            return ((z * theta * x).sum(-1) - y) ** 2

        for _ in range(20):
            model.zero_grad()
            loss = ((model(x) - y) ** 2).sum()
            if estimator == SCORE:
                (loss + score_function_term(loss, model, baseline=0.1)).backward()
                z, pi = found.last, found.log_alpha.detach().sigmoid()
                expected = (loss.detach() - 0.1) * (z - pi)
            else:
                loss.backward()
                z = found.last.clone().requires_grad_()
                (slope,) = torch.autograd.grad(loss_of(z).sum(), z)
                pi = found.log_alpha.detach().sigmoid()
                expected = slope * pi * (1 - pi)
            torch.testing.assert_close(found.log_alpha.grad, expected)


def test_training_gates_are_bits_and_test_gates_the_likelier_bit():
    model = gated(SCORE)
    original = model.parametrizations.weight.original
    kept = (model.weight / original).detach()
    assert ((kept == 0) | (kept == 1)).all()
    assert gates(model)[""].mask().tolist() == [[False, True, True]]


def test_refusals():
    loss, n21, one = torch.ones(()), torch.zeros(21), problem()
    fresh = gate(nn.Linear(2, 2).eval(), partial(Bernoulli, estimator=SCORE))
    for call, message in (
        (lambda: exact_gradient(sum, n21), r"number of gates .* <= 20, got .*=21"),
        (lambda: score_function_gradients(*one, 1, baseline=True), "samples >= 2"),
        (lambda: score_function_term(loss, gated(STRAIGHT)), "gates of estimator"),
        (lambda: score_function_term(loss, fresh), "a forward pass in training mode"),
        (lambda: Bernoulli(n21, estimator="reinforce"), "got 'reinforce'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
