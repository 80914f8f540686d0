"""Han et al.: thresholds by layer, and the loop around them."""

import numpy as np
import pytest
import torch
from torch import nn

from ece661_sparse.models import LeNet300
from ece661_sparse.saliency import allocation, kernels
from ece661_sparse.saliency.baselines import (
    budget_mask,
    geometric_schedule,
    prune_and_retrain,
    quality_mask,
    standardised_magnitude,
)


def weights():
    generator = torch.Generator().manual_seed(3)
    return {
        "wide": 5 * torch.randn(40, 30, generator=generator, dtype=torch.float64),
        "narrow": 0.1 * torch.randn(10, 20, generator=generator, dtype=torch.float64),
    }


def test_the_threshold_is_the_quality_times_the_deviation_of_the_layer():
    layers = weights()
    for name, mask in quality_mask(layers, 1.3).items():
        array = layers[name].numpy()
        assert (mask.numpy() == (np.abs(array) > 1.3 * np.std(array))).all()
    assert all(mask.all() for mask in quality_mask(layers, 0.0).values())


def test_the_scale_of_a_layer_does_not_matter_for_what_it_keeps():
    layers = weights()
    scaled = {"wide": layers["wide"], "narrow": 1000 * layers["narrow"]}
    one, other = quality_mask(layers, 1.0), quality_mask(scaled, 1.0)
    assert all(torch.equal(one[name], other[name]) for name in layers)


def test_pruned_weights_do_not_count_into_the_deviation_and_stay_pruned():
    layers = weights()
    layers["narrow"][:, ::2] = 0
    left = layers["narrow"][:, 1::2]
    score = standardised_magnitude(layers)["narrow"]
    expected = left.numpy() / np.std(left.numpy())
    np.testing.assert_allclose(score[:, 1::2], np.abs(expected))
    assert not score[:, ::2].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_room_for_the_deviation_of_a_large_layer(dtype):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 784, generator=generator).to(dtype)
    found, expected = (
        standardised_magnitude({"fc1": w})["fc1"] for w in (weight, weight.double())
    )
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_a_layer_without_spread_or_without_weights_gives_no_nan():
    layers = {"equal": torch.full((2, 2), 0.5), "empty": torch.zeros(2, 2)}
    scores = standardised_magnitude(layers)
    assert (scores["equal"] > 1e6).all()
    assert not scores["empty"].any()


def test_a_budget_is_a_quality():
    layers = weights()
    for keep in (0, 1, 77, 600, 1400):
        masks = budget_mask(layers, keep)
        assert sum(kept for kept, _ in allocation(masks).values()) == keep
    # The quality that keeps 77: bisect for it, without ranking anything.
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        kept = sum(int(m.sum()) for m in quality_mask(layers, middle).values())
        low, high = (middle, high) if kept > 77 else (low, middle)
    masks, found = budget_mask(layers, 77), quality_mask(layers, high)
    assert all(torch.equal(masks[name], found[name]) for name in layers)


def test_schedule_keeps_the_same_share_in_every_round():
    assert geometric_schedule(1000, 1, 3) == [100, 10, 1]
    assert geometric_schedule(266_200, 22_000, 1) == [22_000]
    assert geometric_schedule(8, 8, 2) == [8, 8]
    for arguments in ((10, 11, 2), (10, 0, 2), (10, 5, 0)):
        with pytest.raises(ValueError, match=r"(keep|rounds) must"):
            geometric_schedule(*arguments)


def test_zeros_stay_while_the_rest_is_retrained():
    torch.manual_seed(0)
    model = LeNet300()
    x, y = torch.randn(32, 784), torch.randint(10, (32,))
    seen = []

    def retrain(i):
        before = model.fc1.weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        now = model.fc1.weight
        seen.append((i, sum(int(w.count_nonzero()) for w in kernels(model).values())))
        assert torch.equal(now == 0, before == 0)
        assert not torch.equal(now, before)

    prune_and_retrain(model, [50_000, 9_000], retrain)
    assert seen == [(0, 50_000), (1, 9_000)]


def test_a_budget_for_each_layer_keeps_its_largest():
    layers = weights()
    keep = {name: 3 + i for i, name in enumerate(layers)}
    masks = budget_mask(layers, keep)
    for name, w in layers.items():
        assert int(masks[name].sum()) == keep[name]
        assert w[masks[name]].abs().min() >= w[~masks[name]].abs().max()
    with pytest.raises(ValueError, match="keep must name the layers"):
        budget_mask(layers, {})


def test_refusals():
    with pytest.raises(ValueError, match=r"quality .*>= 0"):
        quality_mask(weights(), -0.1)
    with pytest.raises(ValueError, match="keep"):
        budget_mask(weights(), 1401)


def test_on_the_meta_device():
    scores = standardised_magnitude({"w": torch.zeros(3, 4, device="meta")})
    assert scores["w"].is_meta
