"""Masks keep exactly their budget, and zeros stay zero whatever optimizer trains."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adam, AdamW

from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.proximal import L1, ProximalOptimizer, project_top_n
from ece661_sparse.saliency import (
    allocation,
    apply_mask,
    global_mask,
    keep_zeros,
    kernels,
    layerwise_mask,
    magnitude,
    nonzero_mask,
    rewind,
)


def count(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(32, 6, generator=generator)
    return x, torch.randint(3, (32,), generator=generator)


def train_steps(model, optimizer, steps=6):
    x, y = batch()
    for _ in range(steps):

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)


# --- ranking ---------------------------------------------------------------------


def test_kernels_are_what_table_1_counts():
    assert sum(p.numel() for p in kernels(LeNet300()).values()) == 266_200
    assert list(kernels(LeNet5())) == [
        "conv1.weight",
        "conv2.weight",
        "fc1.weight",
        "fc2.weight",
    ]
    assert not kernels(nn.Sequential(nn.BatchNorm2d(3), nn.LayerNorm(4)))


@given(
    st.lists(st.integers(-2, 3), min_size=2, max_size=40),
    st.floats(0, 1),
    st.integers(1, 39),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_global_mask_keeps_exactly_the_largest_of_all_layers(values, share, cut, dtype):
    """Zeros, too, if the budget asks for them."""
    flat = torch.tensor(values, dtype=dtype)
    scores = {"a": flat[:cut], "b": flat[cut:].view(-1, 1)}
    keep = round(share * len(values))
    masks = global_mask(scores, keep)
    assert [m.shape for m in masks.values()] == [s.shape for s in scores.values()]
    assert all(m.dtype == torch.bool for m in masks.values())
    mask = torch.cat([m.flatten() for m in masks.values()])
    # of equal scores the first: what Python's own stable sort gives
    best = sorted(range(len(values)), key=lambda i: -values[i])[:keep]
    assert mask.nonzero().flatten().tolist() == sorted(best)


def test_global_mask_of_magnitudes_is_the_projection_of_part_one():
    model = LeNet300()
    masks = global_mask(magnitude(model), 4436)
    assert count(masks) == 4436
    projected = project_top_n(list(kernels(model).values()), 4436)
    for mask, kept in zip(masks.values(), projected, strict=True):
        assert torch.equal(mask, kept != 0)


def test_global_and_layerwise_ranking_differ_when_scales_do():
    scores = {"large": torch.arange(10.0, 20), "small": torch.arange(0.0, 10) / 10}
    assert allocation(global_mask(scores, 10)) == {"large": (10, 10), "small": (0, 10)}
    assert allocation(layerwise_mask(scores, 10)) == {
        "large": (5, 10),
        "small": (5, 10),
    }
    masks = layerwise_mask(scores, {"large": 1, "small": 3})
    assert masks["large"].nonzero().flatten().tolist() == [9]
    assert masks["small"].nonzero().flatten().tolist() == [7, 8, 9]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.integers(0, sum(sizes)))
    )
)
def test_one_number_is_shared_out_evenly_and_exactly(drawn):
    sizes, keep = drawn
    scores = {str(i): torch.rand(size) for i, size in enumerate(sizes)}
    masks = layerwise_mask(scores, keep)
    assert count(masks) == keep
    for kept, total in allocation(masks).values():
        assert abs(kept - keep * total / sum(sizes)) < 1


def test_masks_on_the_meta_device():
    model = LeNet5().to("meta")
    masks = global_mask(magnitude(model), 1435)
    masks |= layerwise_mask(magnitude(model), dict.fromkeys(kernels(model), 3))
    assert {m.device.type for m in masks.values()} == {"meta"}
    apply_mask(model, masks)
    with keep_zeros(model):
        loss = F.cross_entropy(
            model(torch.empty(4, 1, 28, 28, device="meta")),
            torch.empty(4, dtype=torch.int64, device="meta"),
        )
        loss.backward()
        SGD(model.parameters(), lr=0.1).step()


def test_bad_budgets_and_scores_are_refused():
    scores = {"a": torch.rand(4), "b": torch.rand(3)}
    for keep in (-1, 8, 2.0, True):
        with pytest.raises(ValueError, match=r"keep must be a whole number.*7"):
            global_mask(scores, keep)
        with pytest.raises(ValueError, match=r"keep must be a whole number.*7"):
            layerwise_mask(scores, keep)
    with pytest.raises(ValueError, match="must not contain NaN, got one in 'b'"):
        global_mask({"a": torch.rand(2), "b": torch.tensor([1.0, math.nan])}, 1)
    with pytest.raises(ValueError, match="floating point"):
        global_mask({"a": torch.arange(3)}, 1)
    with pytest.raises(ValueError, match="keep must name the layers"):
        layerwise_mask(scores, {"a": 1})
    with pytest.raises(ValueError, match="<= 3"):
        layerwise_mask(scores, {"a": 1, "b": 4})
    assert global_mask({}, 0) == layerwise_mask({}, 0) == {}


# --- pruning ---------------------------------------------------------------------


def test_apply_mask_prunes_in_place_and_nothing_else():
    model = small_net()
    before = copy.deepcopy(model)
    weight = model[0].weight
    masks = global_mask(magnitude(model), 20)
    apply_mask(model, masks)
    assert model[0].weight is weight
    for name, p in model.named_parameters():
        old = before.get_parameter(name).detach()
        expected = old * masks[name] if name in masks else old
        assert torch.equal(p.detach(), expected)
    assert all(torch.equal(m, masks[n]) for n, m in nonzero_mask(model).items())


def test_masks_that_do_not_fit_are_refused_before_anything_changes():
    model = small_net()
    state = copy.deepcopy(model.state_dict())
    good = torch.zeros(8, 6, dtype=torch.bool)
    for bad, message in (
        ({"0.weight": good, "5.weight": good}, "must name parameters.*'5.weight'"),
        ({"0.weight": good, "2.weight": good}, r"'2.weight'.*\(3, 8\)"),
        ({"0.weight": good.float()}, "must be boolean"),
    ):
        with pytest.raises(ValueError, match=message):
            apply_mask(model, bad)
        with pytest.raises(ValueError, match=message):
            rewind(model, {k: 0 * v for k, v in state.items()}, bad)
        with pytest.raises(ValueError, match=message), keep_zeros(model, bad):
            pass
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_rewinding_gives_early_weights_under_the_late_mask():
    model = small_net()
    early = copy.deepcopy(model.state_dict())
    train_steps(model, SGD(model.parameters(), lr=0.5))
    masks = global_mask(magnitude(model), 15)
    rewind(model, early, masks)
    for name, p in model.named_parameters():
        expected = early[name] * masks[name] if name in masks else early[name]
        assert torch.equal(p.detach(), expected)
    assert any(early["0.weight"][~masks["0.weight"]] != 0)  # a copy: not pruned


def test_rewinding_refuses_the_models_own_weights():
    """A state_dict that was not copied has been trained since."""
    model = small_net()
    early = model.state_dict()
    train_steps(model, SGD(model.parameters(), lr=0.5))
    before = copy.deepcopy(model.state_dict())
    masks = global_mask(magnitude(model), 15)
    with pytest.raises(ValueError, match=r"a copy of early.*'0\.weight'"):
        rewind(model, early, masks)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    rewind(copy.deepcopy(model), early, masks)  # another network's weights are fine
    rewind(small_net().to("meta"), small_net().to("meta").state_dict(), {})


# --- masked retraining -----------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda p: Adam(p, lr=0.05, weight_decay=0.01),
    "amsgrad": lambda p: Adam(p, lr=0.05, amsgrad=True),
    "adamw": lambda p: AdamW(p, lr=0.05, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
    "proximal": lambda p: ProximalOptimizer(SGD(p, lr=0.1, momentum=0.9), L1(1e-3)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_stay_zero_and_the_rest_learns(name):
    model = small_net()
    apply_mask(model, global_mask(magnitude(model), 30))
    before = copy.deepcopy(model)
    with keep_zeros(model):
        train_steps(model, OPTIMIZERS[name](model.parameters()))
    for key, p in model.named_parameters():
        old = before.get_parameter(key)
        if p.ndim == 2:
            assert torch.equal(p[old == 0], torch.zeros_like(p[old == 0]))
            assert (p[old != 0] != old[old != 0]).any()
        else:
            assert (p != old).any()


@pytest.mark.parametrize("name", [n for n in OPTIMIZERS if n != "lbfgs"])
def test_momentum_gathered_before_the_pruning_moves_nothing(name):
    model = small_net()
    optimizer = OPTIMIZERS[name](model.parameters())
    train_steps(model, optimizer)
    masks = global_mask(magnitude(model), 10)
    apply_mask(model, masks)
    with keep_zeros(model):
        for _ in range(5):
            train_steps(model, optimizer, steps=1)
            for key, mask in masks.items():
                assert not model.get_parameter(key)[~mask].any()
                assert not model.get_parameter(key).grad[~mask].any()


def test_masked_retraining_equals_training_the_smaller_network():
    """A pruned hidden unit and a network that never had it are the same thing."""
    model = small_net()
    small = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        model[0].weight[5:], model[0].bias[5:], model[2].weight[:, 5:] = 0, 0, 0
        small[0].weight.copy_(model[0].weight[:5])
        small[0].bias.copy_(model[0].bias[:5])
        small[2].weight.copy_(model[2].weight[:, :5])
        small[2].bias.copy_(model[2].bias)
    with keep_zeros(model):
        train_steps(model, Adam(model.parameters(), lr=0.01))
    train_steps(small, Adam(small.parameters(), lr=0.01))
    torch.testing.assert_close(model[0].weight[:5], small[0].weight)
    torch.testing.assert_close(model[2].weight[:, :5], small[2].weight)


def test_outside_the_context_zeros_may_grow_again():
    model = small_net()
    apply_mask(model, global_mask(magnitude(model), 10))
    with pytest.raises(KeyError), keep_zeros(model):
        raise KeyError
    train_steps(model, SGD(model.parameters(), lr=0.1), steps=1)
    assert count(nonzero_mask(model)) > 10


def test_only_the_model_that_was_named_is_held():
    model, other = small_net(), small_net()
    for net in (model, other):
        apply_mask(net, global_mask(magnitude(net), 10))
    with keep_zeros(model):
        train_steps(other, SGD(other.parameters(), lr=0.1))
    assert count(nonzero_mask(other)) > 10
    assert count(nonzero_mask(model)) == 10


def test_biases_are_held_when_a_mask_names_them():
    model = small_net()
    masks = {"0.bias": torch.arange(8) < 3, "0.weight": torch.rand(8, 6) < 0.5}
    with keep_zeros(model, masks):
        assert model[0].bias.count_nonzero() == 3  # applied at once
        train_steps(model, Adam(model.parameters(), lr=0.1))
    assert model[0].bias.count_nonzero() == 3
    assert not model[0].weight[~masks["0.weight"]].any()
    assert model[2].weight.all()  # not named: free


def test_a_frozen_kernel_and_half_precision_do_no_harm():
    model = small_net().to(torch.bfloat16)
    model[0].weight.requires_grad_(False)
    apply_mask(model, global_mask(magnitude(model), 10))
    x, y = batch()
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    with keep_zeros(model):
        F.cross_entropy(model(x.bfloat16()), y).backward()
        optimizer.step()
    assert count(nonzero_mask(model)) == 10
    assert model[2].weight.dtype == torch.bfloat16
