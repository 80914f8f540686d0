"""Channel gating: gates, what trains them, and layers that skip what is closed."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ece661_sparse.dynamic import (
    ChannelGate,
    GatedConv2d,
    GatedResidualBlock,
    GateRecord,
    batch_shaping,
    class_similarity,
    expected_open,
    gate_loss,
    gumbel_sigmoid,
    penalty_weights,
    record_gates,
)
from ece661_sparse.models import GatedResNet

DOUBLE = {"dtype": torch.float64}
X = torch.zeros(3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the gate -------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.01, 0.3, 2 / 3, 1.0, 5.0])
def test_a_gate_is_open_with_the_probability_sigma_log_alpha(temperature):
    log_alpha = torch.tensor([-3.0, -0.5, 0.0, 2.0])
    z = gumbel_sigmoid(log_alpha.expand(100_000, 4), temperature, generator=generator())
    assert ((z == 0) | (z == 1)).all()
    p = log_alpha.sigmoid()
    assert ((z.mean(0) - p).abs() <= 4 * (p * (1 - p) / len(z)).sqrt()).all()


def test_the_temperature_does_not_change_one_gate():
    log_alpha = torch.randn(5000, generator=generator(1))
    draws = [
        gumbel_sigmoid(log_alpha, t, generator=generator(2)) for t in (0.01, 0.5, 10.0)
    ]
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[1], draws[2])


@pytest.mark.parametrize("temperature", [0.3, 2 / 3, 2.0])
def test_hard_forward_soft_backward(temperature):
    """The value is 0 or 1; the gradient is that of the concrete relaxation."""
    log_alpha = torch.linspace(-3, 3, 200, **DOUBLE).requires_grad_()
    z, s = (
        gumbel_sigmoid(log_alpha, temperature, hard=hard, generator=generator(3))
        for hard in (True, False)
    )
    assert s.min() > 0 and s.max() < 1
    assert torch.equal(z, (s > 0.5).double())
    direction = torch.randn(200, **DOUBLE)
    expected = direction * s * (1 - s) / temperature  # written out by hand
    for value in (z, s):
        (found,) = torch.autograd.grad(value, log_alpha, direction)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rare_gates_stay_rare_in_every_precision(dtype):
    z = gumbel_sigmoid(torch.full((400_000,), -6.0, dtype=dtype), generator=generator())
    assert z.dtype == dtype
    assert z.float().mean().item() == pytest.approx(0.00247, abs=4e-4)


def test_the_gate_reads_the_mean_of_every_channel_and_nothing_else():
    torch.manual_seed(0)
    gate = ChannelGate(3, 8).eval()
    x = torch.randn(4, 3, 5, 5)
    z = gate(x)
    assert z.shape == (4, 8)
    p = torch.sigmoid(gate.logits(x.mean((2, 3))))
    assert torch.equal(z, (p > 0.5).float())
    assert torch.equal(gate(x.flip(2, 3)), z)
    assert torch.equal(gate(x), z)  # no noise in evaluation
    gate.train()
    assert not torch.equal(gate(x), gate(x))


def test_a_gate_can_be_copied_right_after_a_step():
    block = GatedResidualBlock(2, 4)
    block(torch.randn(3, 2, 4, 4)).sum().backward()
    assert block.gate.log_alpha is not None
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert other.gate.log_alpha is None
        assert torch.equal(other.conv1.weight, block.conv1.weight)
    assert block.gate.log_alpha is not None


# --- the loss and its schedule --------------------------------------------------------


def test_expected_open_counts_what_the_gates_do():
    log_alpha = torch.randn(6, 9, generator=generator(), **DOUBLE)
    draws = gumbel_sigmoid(log_alpha.expand(2000, 6, 9), generator=generator())
    counted = draws.sum(2).mean().item()
    assert expected_open(log_alpha).item() == pytest.approx(counted, abs=0.06)
    assert expected_open(torch.zeros(6, 9)).item() == 4.5


def test_the_gate_loss_is_a_mean_over_all_gates():
    torch.manual_seed(0)
    model = GatedResNet((4, 6))
    model(torch.randn(8, 1, 28, 28))
    logits = [block.gate.log_alpha for block in model.blocks]
    assert [x.shape for x in logits] == [(8, 4), (8, 6)]
    p = torch.sigmoid(torch.cat(logits, 1))
    expected = 0.5 * batch_shaping(p).mean() + 0.2 * p.mean()
    torch.testing.assert_close(gate_loss(model, 0.5, 0.2), expected)
    torch.testing.assert_close(gate_loss(model, 0.0, 0.2), 0.2 * p.mean())
    gate_loss(model, 0.5, 0.2).backward()
    for block in model.blocks:
        assert all(p.grad.count_nonzero() for p in block.gate.logits[3].parameters())
        assert block.conv1.weight.grad is None or block is model.blocks[0]


def test_the_schedule_shapes_first_and_prices_later():
    at = [penalty_weights(i / 12, lam=0.4) for i in range(13)]
    assert at[0] == (0.75, 0.0) and at[2] == pytest.approx((0.375, 0.0))
    assert at[4] == pytest.approx((0, 0)) and at[6] == pytest.approx((0, 0.2))
    assert at[8:] == [pytest.approx((0, 0.4))] * 5
    assert all(shaping == 0 or lam == 0 for shaping, lam in at)


# --- gated layers ---------------------------------------------------------------------


def set_gates(layer, pattern):
    """Make the gate open exactly these channels, whatever the image."""
    last = layer.gate.logits[3]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor(pattern, dtype=last.bias.dtype) - 0.5)


def lived_in(model, shape, seed=0):
    """Normalisation statistics as after some training, gates that disagree."""
    torch.manual_seed(seed)
    for _ in range(3):
        model(torch.randn(8, *shape) * 2 + 1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        if isinstance(module, ChannelGate):
            nn.init.normal_(module.logits[3].weight)
    return model.eval()


def without_skipping(model):
    other = copy.deepcopy(model)
    for module in other.modules():
        if hasattr(module, "skip"):
            module.skip = False
    return other


LAYERS = {
    "conv": lambda: GatedConv2d(3, 12, 3, padding=1),
    "strided conv": lambda: GatedConv2d(
        3, 12, (3, 5), stride=2, dilation=2, bias=False, padding_mode="circular"
    ),
    "block": lambda: GatedResidualBlock(3, 3, middle=16),
    "strided block": lambda: GatedResidualBlock(3, 8, stride=2),
}
each_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))


@each_layer
@pytest.mark.parametrize("batch", [1, 3])
def test_skipping_equals_masking(make, batch):
    layer = lived_in(make(), (3, 11, 11))
    masked = without_skipping(layer)
    for seed in range(5):
        x = torch.randn(batch, 3, 11, 11, generator=generator(seed))
        torch.testing.assert_close(layer(x), masked(x), rtol=1e-5, atol=1e-5)
    assert 0 < layer.gate(x).mean() < 1


@each_layer
def test_skipping_at_the_extremes(make):
    layer = lived_in(make(), (3, 11, 11))
    masked = without_skipping(layer)
    x = torch.randn(2, 3, 11, 11, generator=generator())
    channels = layer.gate.logits[3].out_features
    for is_open in (range(channels), [], [0], [channels - 1]):
        for model in (layer, masked):
            set_gates(model, [i in is_open for i in range(channels)])
        torch.testing.assert_close(layer(x), masked(x), rtol=1e-5, atol=1e-5)
        if isinstance(layer, GatedConv2d):
            closed = [i for i in range(channels) if i not in is_open]
            assert layer(x)[:, closed].count_nonzero() == 0


def test_skipping_is_differentiable():
    layer = lived_in(GatedResidualBlock(3, 8), (3, 6, 6))
    masked = without_skipping(layer)
    x = torch.randn(1, 3, 6, 6, generator=generator())
    for model in (layer, masked):
        model(x).square().sum().backward()
    for one, other in zip(layer.parameters(), masked.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_an_open_convolution_is_the_convolution():
    layer = GatedConv2d(3, 5, 3).eval()
    set_gates(layer, [1] * 5)
    x = torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias))


def test_the_block_without_a_gate_is_the_block_with_all_gates_open():
    gated = lived_in(GatedResidualBlock(4, 6, 2), (4, 8, 8))
    set_gates(gated, [1] * 6)
    plain = GatedResidualBlock(4, 6, 2, gated=False).eval()
    plain.load_state_dict(
        {k: v for k, v in gated.state_dict().items() if not k.startswith("gate")}
    )
    x = torch.randn(3, 4, 8, 8)
    torch.testing.assert_close(gated(x), plain(x), rtol=1e-5, atol=1e-5)
    # every channel closed: only the shortcut and the second norm's shift are left
    set_gates(gated, [0] * 6)
    zero = x.new_zeros(3, 6, 4, 4)
    torch.testing.assert_close(gated(x), F.relu(gated.shortcut(x) + gated.norm2(zero)))


@each_layer
def test_layers_stay_on_the_device_of_their_input(make):
    with torch.device("meta"):
        layer = make()
        x = torch.zeros(3, 3, 11, 11)
    y = layer(x)
    (y.sum() + gate_loss(layer, 0.5, 0.1)).backward()
    assert all(p.grad is not None and p.grad.is_meta for p in layer.parameters())
    assert layer.eval()(x).shape == y.shape


@each_layer
def test_layers_in_double_precision(make):
    layer = make().double()
    assert layer(torch.randn(3, 3, 11, 11, **DOUBLE)).dtype == torch.float64
    assert layer.eval()(torch.randn(1, 3, 11, 11, **DOUBLE)).dtype == torch.float64


def test_a_gated_convolution_is_where_and_what_it_is_told():
    layer = GatedConv2d(3, 5, 3, device="meta", dtype=torch.float64)
    assert all(p.is_meta and p.dtype == torch.float64 for p in layer.parameters())


@each_layer
def test_an_empty_batch(make):
    layer = lived_in(make(), (3, 11, 11))
    x = torch.zeros(0, 3, 11, 11)
    assert layer(x).shape == without_skipping(layer)(x).shape


def test_a_single_image_without_a_batch():
    layer = lived_in(GatedConv2d(3, 12, 3), (3, 11, 11))
    x = torch.randn(3, 11, 11)
    assert torch.equal(layer(x), layer(x[None])[0])


def test_statistics_of_the_first_norm_can_be_measured_anew():
    """As after pruning: evaluation mode, but for the batch normalisation."""
    block = lived_in(GatedResidualBlock(3, 8), (3, 6, 6))
    masked = without_skipping(block)
    x = torch.randn(5, 3, 6, 6)
    for model in (block, masked):
        model.norm1.train()
    assert torch.equal(block(x), masked(x))
    assert torch.equal(block.norm1.running_mean, masked.norm1.running_mean)


# --- FLOPs and what is learnt ---------------------------------------------------------


@torch.no_grad()
def counted(model, x):
    with FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


def images(n):
    """Of different brightness and contrast, so that gates differ between them."""
    x = torch.randn(n, 1, 28, 28, generator=generator())
    return x * torch.linspace(0.1, 3, n).view(n, 1, 1, 1) + torch.linspace(-1, 1, 28)


def small_network():
    return lived_in(GatedResNet((6, 10, 10), (8, 12, 10)), (1, 28, 28))


def test_flops_of_each_image_are_those_the_counter_sees():
    model, x = small_network(), images(6)
    record = record_gates(model, x)
    whole = counted(without_skipping(model), x[:1])
    assert len(record.flops.unique()) > 1
    for image, flops in zip(x, record.flops.tolist(), strict=True):
        assert whole - counted(model, image[None]) == record.full_flops - flops


def test_flops_of_a_gated_convolution():
    layer = lived_in(GatedConv2d(3, 12, 3, stride=2), (3, 11, 11))
    x = torch.randn(1, 3, 11, 11, generator=generator())
    record = record_gates(layer, x)
    full = counted(without_skipping(layer), x)
    assert full - counted(layer, x) == record.full_flops - record.flops.item() > 0


def test_the_record_is_of_evaluation_mode_and_in_the_order_of_the_images():
    model, x = small_network(), images(7)
    model.train()
    record = record_gates(model, x, batch_size=3)
    assert all(module.training for module in model.modules())
    frozen = model.blocks[0].norm1.eval()
    record_gates(model, x)
    assert [m for m in model.modules() if not m.training] == [frozen]
    assert list(record.open) == ["blocks.0", "blocks.1", "blocks.2"]
    assert record.all_open.shape == (7, 30)
    model.eval()
    model(x[4:5])
    for name, is_open in record.open.items():
        gate = model.get_submodule(name).gate
        assert torch.equal(is_open[4], gate.log_alpha[0] > 0)


def hand_made():
    """Four images of two classes; gates: always, never, class 0 only, one image."""
    is_open = torch.tensor(
        [[1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool
    )
    return GateRecord({"a": is_open[:, :2], "b": is_open[:, 2:]}, {"a": 10, "b": 100})


def test_the_record_counts():
    record = hand_made()
    assert record.rate.tolist() == [1, 0, 0.5, 0.25]
    assert record.kinds() == {"always on": 1, "never on": 1, "conditional": 2}
    assert record.kinds(0.3) == {"always on": 1, "never on": 2, "conditional": 1}
    assert record.kinds(0) == record.kinds()
    assert record.flops.tolist() == [210, 110, 10, 10]
    assert record.full_flops == 220
    assert record.saved == pytest.approx(1 - 85 / 220)
    rates = record.by_class(torch.tensor([0, 0, 1, 1]), classes=2)
    assert rates.tolist() == [[1, 0, 1, 0.5], [1, 0, 0, 0]]


def test_classes_are_alike_in_what_is_unusual():
    # gate 0 is open for all: it must not make the classes alike
    rates = torch.tensor([[1, 1, 0], [1, 0.8, 0], [1, 0, 0.9]], **DOUBLE)
    similarity = class_similarity(rates)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(3, **DOUBLE))
    torch.testing.assert_close(similarity, similarity.T)
    assert similarity[0, 1] > 0.9 and similarity[0, 2] < -0.9


# --- a network ------------------------------------------------------------------------


def test_the_network_and_its_twins():
    gated, plain = GatedResNet((8, 16)), GatedResNet((8, 16), gated=False)
    x = torch.randn(2, 1, 28, 28)
    assert gated(x).shape == plain(x).shape == (2, 10)
    named = dict(gated.named_parameters())
    assert {n: p.shape for n, p in plain.named_parameters()} == {
        n: p.shape for n, p in named.items() if ".gate." not in n
    }
    half = GatedResNet((8, 16), (4, 8), gated=False)
    assert half.blocks[1].conv2.weight.shape == (16, 8, 3, 3)


def test_gates_learn_what_the_image_is():
    """Two kinds of image that need different channels, and a price on open gates."""
    torch.manual_seed(0)
    n = 400
    y = torch.randint(0, 2, (n,))
    x = torch.randn(n, 2, 4, 4) * 0.1
    x[torch.arange(n), y] += 1  # the kind shows in the mean of a channel
    target = torch.where(y == 0, 1.0, -1.0)[:, None, None, None] * x.sum(1, True)
    model = nn.Sequential(
        GatedConv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    epochs = 240
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), target)
        loss = loss + gate_loss(model, *penalty_weights(epoch / epochs, lam=0.1))
        loss.backward()
        optimizer.step()
    record = record_gates(model, x)
    rates = record.by_class(y, classes=2)
    assert F.mse_loss(model.eval()(x), target) < 0.1 * target.var()
    assert record.saved > 0.3
    assert (rates[0] - rates[1]).abs().max() > 0.9  # gates that know the kind


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *(
            (partial(call, temperature=t), r"temperature must be .*> 0.* got temp")
            for call in (partial(gumbel_sigmoid, X), partial(ChannelGate, 3, 4))
            for t in (0.0, -1.0, math.nan)
        ),
        (lambda: gumbel_sigmoid(X.long()), "log_alpha must be a floating point tensor"),
        (lambda: ChannelGate(0, 4), "in_channels must be .*>= 1, got in_channels=0"),
        (lambda: ChannelGate(3, 0), "channels must be .*>= 1, got channels=0"),
        (lambda: ChannelGate(3, 4, hidden=0), "hidden must be .*>= 1, got hidden=0"),
        (lambda: gate_loss(nn.Linear(2, 2), 0.1, 0.1), "no ChannelGate: Linear"),
        (lambda: gate_loss(ChannelGate(2, 2), 0.1, 0.1), "call it on a batch first"),
        (lambda: gate_loss(ChannelGate(2, 2), -0.1, 0.1), "got shaping=-0.1"),
        (lambda: gate_loss(ChannelGate(2, 2), 0.1, math.nan), "got lam=nan"),
        (lambda: penalty_weights(-0.1, 1.0), "progress must be"),
        (lambda: penalty_weights(1.1, 1.0), "progress must be"),
        (lambda: penalty_weights(0.5, -1.0), "lam must be"),
        (lambda: GatedConv2d(4, 4, 3, groups=2), "groups must be 1, got groups=2"),
        (lambda: record_gates(nn.Linear(3, 2), X), "no gated layer"),
        (lambda: record_gates(small_network(), X, 0), "batch_size must be .*>= 1"),
        (lambda: hand_made().kinds(0.5), r"tolerance must be .*< 0.5"),
        (lambda: hand_made().by_class(torch.tensor([0, 1]), 2), "each of the 4 images"),
        (lambda: hand_made().by_class(torch.zeros(4).long(), 2), "each of the 2 class"),
        (lambda: GatedResNet((4, 6), (4,)), "one number for each of the 2 blocks"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
