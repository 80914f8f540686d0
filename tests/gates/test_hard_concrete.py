"""Closed forms against oracles, quadrature and Monte Carlo; gradients; numerics."""

import math

import pytest
import torch
from scipy import integrate, stats
from torch import nn

from ece661_sparse.gates import (
    HardConcrete,
    bake,
    concrete_density,
    gate,
    probability_nonzero,
    probability_one,
    rectify,
    sample_concrete,
    sample_hard_concrete,
    stretch,
    stretched_density,
    z_hat,
)

# log_alpha, beta, gamma, zeta: the paper's, and others far from them
SETTINGS = [
    (0.0, 2 / 3, -0.1, 1.1),
    (-2.0, 2 / 3, -0.1, 1.1),
    (1.5, 0.3, -0.5, 1.1),
    (0.7, 1.0, -0.1, 1.6),
    (-0.4, 2.0, -1.0, 3.0),
]
each_setting = pytest.mark.parametrize("setting", SETTINGS)


def double(x):
    return torch.tensor(x, dtype=torch.float64)


def draw(setting, samples=200_000):
    log_alpha, *shape = setting
    generator = torch.Generator().manual_seed(0)
    return sample_hard_concrete(
        double(log_alpha).expand(samples), *shape, generator=generator
    )


# --- the numbers of the paper ------------------------------------------------------


def test_point_masses_at_the_papers_setting():
    zero = double(0.0)
    assert probability_nonzero(zero).item() == pytest.approx(0.8318, abs=5e-5)
    assert probability_one(zero).item() == pytest.approx(0.1682, abs=5e-5)
    shift = 2 / 3 * math.log(11)
    log_alpha = double([-3.0, -0.5, 2.0])
    for found, sign in ((probability_nonzero, -1), (probability_one, 1)):
        expected = 1 / (1 + (-log_alpha + sign * shift).exp())
        torch.testing.assert_close(found(log_alpha), expected, rtol=1e-6, atol=0)


def test_test_time_gate_is_exact_from_log_11_on():
    edge, eps = math.log(11), 1e-9
    assert z_hat(double(-edge - eps)) == 0
    assert 0 < z_hat(double(-edge + eps)) < 1e-9
    assert z_hat(double(edge + eps)) == 1
    assert 1 - 1e-9 < z_hat(double(edge - eps)) < 1
    assert z_hat(double(0.0)).item() == pytest.approx(0.5)
    # other ends move the thresholds
    assert z_hat(double(math.log(0.5 / 1.2) - eps), -0.5, 1.2) == 0
    assert z_hat(double(math.log(0.5 / 1.2) + eps), -0.5, 1.2) > 0
    assert z_hat(double(math.log(1.5 / 0.2) + eps), -0.5, 1.2) == 1


def test_s_is_uniform_at_beta_one_and_log_alpha_zero():
    generator = torch.Generator().manual_seed(0)
    s = sample_concrete(double(0.0).expand(20_000), 1.0, generator=generator)
    assert stats.kstest(s.numpy(), "uniform").pvalue > 0.01
    grid = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    torch.testing.assert_close(
        concrete_density(grid, double(0.0), 1.0), torch.ones_like(grid)
    )


# --- closed forms against Monte Carlo and quadrature -------------------------------


@each_setting
def test_point_masses_are_the_frequencies_of_exact_zeros_and_ones(setting):
    z = draw(setting)
    log_alpha, *shape = setting
    for frequency, closed in (
        ((z != 0).double().mean(), probability_nonzero(double(log_alpha), *shape)),
        ((z == 1).double().mean(), probability_one(double(log_alpha), *shape)),
    ):
        error = math.sqrt(closed * (1 - closed) / len(z))
        assert abs(frequency - closed) < 4 * error
    assert z.min() == 0
    assert z.max() == 1


def area(setting, low, high, **options):
    def density(s):
        return stretched_density(double(s), double(setting[0]), *setting[1:])

    return integrate.quad(density, low, high, **options)[0]


@each_setting
def test_stretched_density_has_area_one_and_the_masses_beyond_0_and_1(setting):
    log_alpha, *shape = setting
    nonzero = probability_nonzero(double(log_alpha), *shape).item()
    one = probability_one(double(log_alpha), *shape).item()
    # quadrature converges slowly at integrable singularities of the ends
    slow = {"epsabs": 1e-4, "limit": 200}
    gamma, zeta = shape[1:]
    assert area(setting, gamma, 0, **slow) == pytest.approx(1 - nonzero, abs=1e-3)
    assert area(setting, 0, 1, **slow) == pytest.approx(nonzero - one, abs=1e-6)
    assert area(setting, 1, zeta, **slow) == pytest.approx(one, abs=1e-3)


@each_setting
def test_the_continuous_part_of_z_follows_the_density(setting):
    z = draw(setting)
    edges = torch.linspace(0, 1, 11, dtype=torch.float64)
    counts = torch.histogram(z[(z > 0) & (z < 1)], edges)[0]
    for low, count in zip(edges[:-1].tolist(), counts.tolist(), strict=True):
        p = area(setting, low, low + 0.1)
        assert abs(count / len(z) - p) < 4 * math.sqrt(p * (1 - p) / len(z)) + 1e-9


def test_density_is_the_one_of_the_paper():
    # eq. 10 of the paper, as it is printed
    s = torch.linspace(0.02, 0.98, 33, dtype=torch.float64)
    for alpha, beta in ((1.0, 0.5), (0.2, 2 / 3), (5.0, 1.5)):
        powers = s ** (-beta - 1) * (1 - s) ** (-beta - 1)
        below = (alpha * s**-beta + (1 - s) ** -beta) ** 2
        printed = beta * alpha * powers / below
        ours = concrete_density(s, double(math.log(alpha)), beta)
        torch.testing.assert_close(ours, printed)


def test_a_small_beta_approaches_bernoulli():
    log_alpha = double(0.8)
    for beta, close in ((0.1, 0.06), (0.01, 0.006)):
        for probability in (probability_nonzero, probability_one):
            found = probability(log_alpha, beta).item()
            assert found == pytest.approx(log_alpha.sigmoid().item(), abs=close)


def test_without_stretching_nothing_is_ever_exactly_zero():
    generator = torch.Generator().manual_seed(0)
    s = sample_concrete(double(0.0).expand(100_000), generator=generator)
    z = rectify(s)
    assert ((z > 0) & (z < 1)).all()  # the slide's formula, with s
    assert (rectify(stretch(s)) == 0).any()


# --- gradients -----------------------------------------------------------------------


@each_setting
def test_gradients_pass_gradcheck(setting):
    log_alpha, *shape = setting
    start = double([log_alpha - 1.3, log_alpha, log_alpha + 0.6]).requires_grad_()

    def sample(x):  # the same noise at every call
        return sample_hard_concrete(
            x, *shape, generator=torch.Generator().manual_seed(5)
        )

    for function in (
        sample,
        lambda x: probability_nonzero(x, *shape),
        lambda x: probability_one(x, *shape),
        lambda x: z_hat(x, *shape[1:]),
    ):
        assert torch.autograd.gradcheck(function, (start,))


def test_the_reparametrised_gradient_is_the_gradient_of_the_mean():
    log_alpha, samples = double(0.4), 400_000
    free = log_alpha.expand(samples).clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    z = sample_hard_concrete(free, generator=generator)
    ((z - 0.3) ** 2).sum().backward()

    def mean(x):
        """Of (z - 0.3)², by quadrature and the two masses."""
        inside = integrate.quad(
            lambda s: (s - 0.3) ** 2 * stretched_density(double(s), double(x)), 0, 1
        )[0]
        nonzero = probability_nonzero(double(x)).item()
        one = probability_one(double(x)).item()
        return inside + 0.09 * (1 - nonzero) + 0.49 * one

    expected = (mean(0.4 + 1e-4) - mean(0.4 - 1e-4)) / 2e-4
    error = free.grad.std().item() / samples**0.5
    assert abs(free.grad.mean().item() - expected) < 4 * error


# --- numerics ------------------------------------------------------------------------


@pytest.mark.parametrize("u", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("beta", [1e-3, 2 / 3])
def test_the_ends_of_the_noise_are_finite_forwards_and_backwards(
    u, dtype, beta, monkeypatch
):
    def end(shape, *, dtype, device, generator):
        last = torch.nextafter(torch.ones(shape, dtype=dtype), torch.zeros(()))
        return u * last  # of what torch.rand can return

    monkeypatch.setattr(torch, "rand", end)
    free = torch.tensor([-200.0, 0.0, 200.0], dtype=dtype, requires_grad=True)
    z = sample_hard_concrete(free, beta)
    (z.sum() + probability_nonzero(free, beta).sum() + z_hat(free).sum()).backward()
    assert ((z >= 0) & (z <= 1)).all()
    assert free.grad.isfinite().all()
    assert z[1] == u


@pytest.mark.parametrize(
    ("name", "value"),
    [("beta", 0.0), ("beta", math.nan), ("gamma", 0.0), ("zeta", 1.0)],
)
def test_shapes_outside_their_range_are_refused(name, value):
    for function in (sample_hard_concrete, probability_nonzero, probability_one):
        with pytest.raises(ValueError, match=f"{name} must be a finite number"):
            function(torch.zeros(2), **{name: value})
    with pytest.raises(ValueError, match=f"{name} must be a finite number"):
        HardConcrete(torch.zeros(2, 2), **{name: value})
    with pytest.raises(ValueError, match="log_alpha must be a finite number"):
        HardConcrete(torch.zeros(2, 2), log_alpha=math.inf)


# --- the gate --------------------------------------------------------------------


def test_the_gate_uses_its_own_shape_everywhere():
    shape = {"beta": 0.4, "gamma": -0.3, "zeta": 1.2}
    found = HardConcrete(torch.zeros(500, 40), log_alpha=-0.7, **shape)
    log_alpha = torch.full((500, 40), -0.7)
    torch.testing.assert_close(
        found.probability(), probability_nonzero(log_alpha, **shape)
    )
    torch.testing.assert_close(found.z_hat(), z_hat(log_alpha, -0.3, 1.2))
    torch.manual_seed(3)
    z = found.z()
    torch.manual_seed(3)
    torch.testing.assert_close(z, sample_hard_concrete(log_alpha, **shape))


def test_a_gate_on_a_useless_input_closes_and_a_useful_one_stays():
    torch.manual_seed(0)
    x = torch.randn(512, 6)
    y = x[:, :3].sum(1, keepdim=True)  # the last three say nothing
    model = gate(nn.Linear(6, 1), HardConcrete, "input")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        (loss + 0.02 * model.parametrizations.weight[0].expected_l0()).backward()
        optimizer.step()
    bake(model)
    assert (model.weight != 0).tolist() == [[True] * 3 + [False] * 3]
    assert (model(x) - y).square().mean() < 1e-2
