"""Continuous sparsification against the slide's formulas, limits and a training run."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam

from ece661_sparse.gates import (
    ContinuousGate,
    bake,
    expected_l0,
    gate,
    gate_groups,
    gates,
    hardening,
    remaining,
    rewind_weights,
    start_round,
)
from ece661_sparse.training import Images, nonzeros, train

DOUBLE = {"dtype": torch.float64}


def gate_at(s, beta, s0=0.0):
    s = torch.as_tensor(s, **DOUBLE)
    made = ContinuousGate(torch.ones_like(s), s0=s0)
    made.s.data.copy_(s)
    made.beta = beta
    return made


def small_net(s0=0.0, groups="weight"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    return gate(model, partial(ContinuousGate, s0=s0), groups)


def set_beta(model, beta):
    for g in gates(model).values():
        g.beta = beta
    return model


def small_data(n=90):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 6, generator=generator, **DOUBLE)
    return Images(x, x[:, :3].argmax(1))


def spread(model, seed=2):
    """Give the gates different s, some open, some closed."""
    generator = torch.Generator().manual_seed(seed)
    for g in gates(model).values():
        g.s.data.copy_(torch.randn(g.s.shape, generator=generator, **DOUBLE))
    return model


# --- the gate -------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1.0, 7.5, 200.0])
@pytest.mark.parametrize("s0", [-0.5, 0.0, 1.0])
def test_values_are_the_slides(beta, s0):
    s = torch.tensor([-2.0, -0.01, 0.0, 0.01, 2.0], **DOUBLE)
    made, scale = gate_at(s, beta, s0), 1 + math.exp(-s0)
    soft = 1 / (1 + torch.exp(-beta * s))
    for found, expected in (
        (made.probability(), soft),
        (made.z(), scale * soft),
        (made.z_hat(), scale * (s > 0).double()),
        (made.expected_l0(), soft.sum()),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("s0", [-0.3, 0.0, 0.2])
def test_the_network_starts_as_it_was(s0):
    torch.manual_seed(0)
    plain = nn.Linear(6, 8).double()
    x = torch.randn(5, 6, **DOUBLE)
    before = plain(x)
    gate(plain, partial(ContinuousGate, s0=s0))
    torch.testing.assert_close(plain(x), before)


@pytest.mark.parametrize("beta", [1.0, 3.0, 20.0])
def test_gradients_by_finite_differences(beta):
    gate_ = gate_at([-0.6, -0.02, 0.0, 0.1, 0.7], beta, s0=-0.1)
    weight = torch.tensor([0.3, -1.2, 2.0, 0.5, -0.7], **DOUBLE, requires_grad=True)

    def objective(weight, s):
        call = torch.func.functional_call
        theta = call(gate_, {"s": s}, (weight,))
        penalty = torch.sigmoid(beta * s).sum()
        return theta.square().sum() + theta.sin().sum() + 0.3 * penalty

    assert torch.autograd.gradcheck(objective, (weight, gate_.s))
    (by_autograd,) = torch.autograd.grad(gate_.expected_l0(), gate_.s)
    sigma = torch.sigmoid(beta * gate_.s)
    torch.testing.assert_close(by_autograd, beta * sigma * (1 - sigma))


def test_the_gradient_of_a_gate_is_the_signed_taylor_term_of_its_weight():
    """∂L/∂s = (∂L/∂θ) θ̃ · ∂z/∂s: Part II's g·w, seen through the sigmoid."""
    model, data = spread(small_net()), small_data()
    layer = model[0]
    theta = layer.weight.detach().requires_grad_()
    out = model[2](torch.tanh(F.linear(data.x, theta, layer.bias)))
    (by_theta,) = torch.autograd.grad(F.cross_entropy(out, data.y), theta)
    g = gates(model)["0"]
    (by_s,) = torch.autograd.grad(F.cross_entropy(model(data.x), data.y), g.s)
    slope = g.scale * g.probability() * (1 - g.probability())
    expected = by_theta * layer.parametrizations.weight.original * slope
    torch.testing.assert_close(by_s, expected)


def test_the_gate_becomes_the_step_function():
    size = torch.logspace(-3, 1, 30, **DOUBLE)
    s = torch.cat([-size, size])
    for beta in (1.0, 10.0, 100.0, 1e4, 3e4):
        made = gate_at(s, beta)
        distance = (made.z() - made.z_hat()).abs()
        # largest where |s| is smallest
        assert distance.max().item() == pytest.approx(2 / (1 + math.exp(beta * 1e-3)))
    assert distance.max() < 1e-12
    assert gate_at(0.0, 1e6).z().item() == 1.0  # undecided at every beta


def slope_at(s, beta):
    made = gate_at(s, beta)
    return torch.autograd.grad(made.expected_l0(), made.s)[0]


def test_the_gradient_vanishes_everywhere_but_near_zero():
    s = torch.tensor([-1.0, -0.1, 0.0, 0.1, 1.0], **DOUBLE)
    for beta in (1.0, 10.0, 200.0):
        slope = slope_at(s, beta)
        assert slope.argmax() == 2
        assert slope[2].item() == pytest.approx(beta / 4)  # grows at s = 0 ...
        # ... and dies elsewhere
        assert (slope <= 1.0001 * beta * torch.exp(-beta * s.abs())).all()
    assert slope[1] < 1e-6
    # the area under the slope is that of the step, 1, at every beta
    grid = torch.linspace(-40, 40, 400_001, **DOUBLE)
    for beta in (1.0, 5.0, 50.0):
        area = torch.trapezoid(slope_at(grid, beta), grid).item()
        assert area == pytest.approx(1, abs=1e-6)


def test_counting_exact_zeros_of_the_soft_gate_finds_hardly_any():
    s = torch.tensor([-0.1, -0.3, -0.43, -0.45, -1.0, 0.2])  # float32
    made = ContinuousGate(torch.ones_like(s))
    made.s.data.copy_(s)
    made.beta = 200.0
    assert (made.probability() == 0).tolist() == [False] * 3 + [True] * 2 + [False]
    assert made.mask().tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("groups", ["weight", "input", "output"])
@pytest.mark.parametrize("s0", [0.0, -0.2])
def test_baking_keeps_what_remains_times_the_scale(groups, s0):
    model = spread(small_net(s0, groups))
    where = gates(model)["0"].mask().expand(8, 6)
    original = model[0].parametrizations.weight.original.detach().clone()
    left = remaining(model)
    bake(model)
    assert 0 < nonzeros(model) == left < 72
    assert torch.equal(model[0].weight != 0, where)
    torch.testing.assert_close(
        model[0].weight.data[where], (1 + math.exp(-s0)) * original[where]
    )


def test_s_of_exactly_zero_is_closed_at_test_time():
    model = small_net()
    assert remaining(model) == 0
    assert expected_l0(model).item() == 72 / 2
    assert nonzeros(bake(model)) == 0


def test_it_says_what_it_is():
    made = repr(ContinuousGate(torch.ones(2, 3), dim=1, s0=-0.5))
    assert "s0=-0.5" in made and "beta=1" in made


@pytest.mark.parametrize("s0", [math.nan, math.inf, -80, "0"])
def test_a_bad_start_is_refused(s0):
    with pytest.raises(ValueError, match=r"s0 must be .* > -80, got s0="):
        ContinuousGate(torch.ones(3), s0=s0)


# --- the schedule ---------------------------------------------------------------------


def schedule_of(model, steps=5, beta=81.0):
    optimizer = SGD(gate_groups(model, lr=0.1, gate_lr=1.0))
    return optimizer, hardening(optimizer, model, steps, beta)


def test_schedule_is_beta_to_the_e_over_E_minus_1():
    model = small_net()
    optimizer, schedule = schedule_of(model)
    seen = []
    for _ in range(7):
        assert {g.beta for g in gates(model).values()} == {schedule["beta"]}
        seen.append(schedule["beta"])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx([1, 3, 9, 27, 81, 81, 81])


def test_a_pickled_schedule_goes_on():
    """Without its model: torch pickles no parametrized layers."""
    optimizer, schedule = schedule_of(small_net())
    optimizer.step()
    schedule.step()
    loaded = pickle.loads(pickle.dumps(schedule))
    loaded.step()
    assert (schedule["beta"], loaded["beta"]) == pytest.approx((3, 9))


def test_beta_is_saved_and_an_old_state_dict_leaves_it():
    model = set_beta(small_net(), 3e3)
    state = model.state_dict()
    loaded = small_net()
    loaded.load_state_dict(state)
    assert {g.beta for g in gates(loaded).values()} == {3e3}
    assert torch.equal(expected_l0(loaded), expected_l0(model))
    old = {k: v for k, v in state.items() if not k.endswith("_extra_state")}
    assert len(old) == len(state) - 2
    loaded.load_state_dict(old, strict=True)
    assert {g.beta for g in gates(loaded).values()} == {3e3}


def test_refusals():
    model = small_net()
    with pytest.raises(ValueError, match=r"beta must be .* >= 1, got beta=0.5"):
        schedule_of(model, beta=0.5)
    with pytest.raises(ValueError, match=r"steps must be .* >= 2.*, got steps=1"):
        schedule_of(model, steps=1)
    plain = nn.Linear(3, 2)
    optimizer = SGD(plain.parameters(), lr=0.1)
    for use in (
        partial(hardening, optimizer, steps=5),
        remaining,
        start_round,
        partial(rewind_weights, early=plain.state_dict()),
    ):
        with pytest.raises(ValueError, match=r"no layer .* continuous gate"):
            use(model=plain)


# --- training -------------------------------------------------------------------------


def fit(model, epochs, lam=1e-3):
    optimizer = Adam(gate_groups(model, lr=0.02, gate_lr=0.05))
    train(
        model,
        optimizer,
        small_data(),
        epochs=epochs,
        batch_size=30,
        loss=lambda out, y: F.cross_entropy(out, y) + lam * expected_l0(model),
        scheduler=hardening(optimizer, model, epochs),
        progress=False,
    )


def test_training_finds_the_inputs_that_matter_and_hardens():
    model = small_net()
    fit(model, 60, lam=2e-3)
    soft = expected_l0(model).item()
    hard = remaining(model)
    assert hard < 40
    assert soft == pytest.approx(hard, abs=1.0)  # decided
    opened = gates(model)["0"].mask()
    assert opened[:, :3].sum() > 2 * opened[:, 3:].sum()
    data = small_data()
    assert (bake(model)(data.x).argmax(1) == data.y).double().mean() > 0.85


def test_more_penalty_and_a_lower_start_keep_fewer():
    def kept(lam, s0):
        model = small_net(s0)
        fit(model, 40, lam=lam)
        return remaining(model)

    by_lam = [kept(lam, 0.0) for lam in (0, 2e-3, 1e-1)]
    assert by_lam == sorted(by_lam, reverse=True) and by_lam[0] > by_lam[2]
    assert kept(1e-3, -0.5) < kept(1e-3, 0.5)


def test_a_beta_that_grows_at_once_freezes_the_masks():
    """Gates away from zero get no gradient, so they stay what they were."""
    model = spread(small_net())
    before = [g.mask().clone() for g in gates(model).values()]
    for g in gates(model).values():
        g.s.data.add_(0.1 * g.s.data.sign())  # none closer to zero than 0.1
    set_beta(model, 1e4)
    optimizer = SGD(gate_groups(model, lr=0.1, gate_lr=1.0))
    data = small_data()
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data.x), data.y) + 1e-2 * expected_l0(model)
        loss.backward()
        optimizer.step()
    for g, mask in zip(gates(model).values(), before, strict=True):
        assert torch.equal(g.mask(), mask)


# --- rounds ---------------------------------------------------------------------------


@pytest.mark.parametrize("s0", [-0.1, 0.0, 0.5])
def test_a_new_round_is_the_authors_formula(s0):
    model = spread(small_net(s0))
    set_beta(model, 50.0)
    before = {name: g.s.clone() for name, g in gates(model).items()}
    weights = [p.clone() for n, p in model.named_parameters() if not n.endswith(".s")]
    start_round(model)
    for name, g in gates(model).items():
        expected = torch.minimum(50 * before[name], torch.tensor(s0, **DOUBLE))
        torch.testing.assert_close(g.s.data, expected)
        assert g.beta == 1
        assert g.s.requires_grad
        opened, again = before[name] > 0, g.z().detach()
        if s0 <= 0:  # open gates are back at 1; the closed ones are all but 0
            torch.testing.assert_close(again[opened], torch.ones_like(again[opened]))
        assert (again[before[name] < -0.2] < 1e-3).all()
    after = [p for n, p in model.named_parameters() if not n.endswith(".s")]
    assert all(torch.equal(a, b) for a, b in zip(after, weights, strict=True))


def test_rewinding_takes_everything_back_but_the_gates():
    model = small_net()
    fit(model, 2)
    early = copy.deepcopy(model.state_dict())
    fit(model, 10)
    s = {name: g.s.clone() for name, g in gates(model).items()}
    opened = {name: g.mask() for name, g in gates(model).items()}
    assert not torch.equal(model[0].bias, early["0.bias"])
    set_beta(model, 7.0)
    rewind_weights(model, early)
    assert {g.beta for g in gates(model).values()} == {7.0}
    for name, value in model.state_dict().items():
        of_a_gate = name.endswith((".s", "_extra_state"))
        assert torch.equal(value, early[name]) is not of_a_gate
    for name, g in gates(model).items():
        assert torch.equal(g.s.data, s[name]) and g.s.requires_grad
    bake(model)  # the ticket: early weights under the late mask
    for name, mask in opened.items():
        weight = early[f"{name}.parametrizations.weight.original"]
        assert torch.equal(model.get_submodule(name).weight.data, 2 * mask * weight)


def test_a_new_round_and_rewinding_on_the_meta_device():
    model = small_net().to("meta")
    start_round(model)
    rewind_weights(model, copy.deepcopy(model.state_dict()))
    assert all(p.is_meta for p in model.parameters())


def test_rewinding_to_another_model_changes_nothing():
    model = spread(small_net())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"early must be .* differs in .*0\.weight"):
        rewind_weights(model, nn.Sequential(nn.Linear(6, 8)).state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("rewound", [True, False])
def test_rounds_remove_more_and_more(rewound):
    model = small_net()
    fit(model, 2)
    early = copy.deepcopy(model.state_dict())
    left = []
    for _ in range(3):
        fit(model, 20, lam=6e-3)
        left.append(remaining(model))
        start_round(model)
        if rewound:
            rewind_weights(model, early)
    assert left[0] > left[1] > left[2] > 0
