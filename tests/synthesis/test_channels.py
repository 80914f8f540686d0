"""Channels shared by many layers: all of them lose one, or none does."""

import copy

import pytest
import torch
from torch import nn

from ece661_sparse.gates import HardConcrete, gate
from ece661_sparse.models import DenseNet, LeNet300, resnet20, resnet56
from ece661_sparse.synthesis import cut_channels

NORMS = nn.BatchNorm1d | nn.BatchNorm2d


def randomised(model, seed=0):
    """Nothing at its initial value, where zeros hide."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, NORMS):
            for p in (module.weight, module.bias, module.running_mean):
                p.data = torch.randn(p.shape, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


@torch.no_grad()
def silence(norm, channels):
    norm.weight[channels] = 0
    norm.bias[channels] = 0


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def cut_and_compare(model):
    """Cut, for inference whatever the mode was; the outputs are those of the model."""
    small, x = cut_channels(model.train(), EXAMPLE), torch.randn(3, 3, 32, 32)
    assert model.training and not small.training
    with torch.no_grad():
        ours, theirs = small(x), model.eval()(x)
    scale = float(theirs.abs().max())
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5 * scale)
    return small


EXAMPLE = torch.zeros(1, 3, 32, 32)


def test_resnet56_with_channels_out_inside_its_blocks_and_across_a_stage():
    model = randomised(resnet56())
    for name, module in model.named_modules():
        if isinstance(module, NORMS):
            if name.endswith("bn1"):
                silence(module, slice(None, None, 2))
            elif name.startswith("stages.1"):  # everything that adds to stage 1
                silence(module, [3, 5, 31])
    before = copy.deepcopy(model.state_dict())
    small = cut_and_compare(model)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert parameters(small) < 0.5 * parameters(model)
    for stage, width in enumerate((16, 29, 64)):
        for block in small.stages[stage]:
            assert block.conv1.out_channels == (8, 16, 32)[stage]
            assert block.conv2.out_channels == width


def test_one_block_that_still_adds_keeps_the_channel():
    model = randomised(resnet20())
    norms = [m for n, m in model.stages[2].named_modules() if isinstance(m, NORMS)]
    adding = [m for m in norms if m not in [b.bn1 for b in model.stages[2]]]
    for norm in adding:
        silence(norm, [7])
    assert cut_channels(model, EXAMPLE).head[-1].in_features == 63
    with torch.no_grad():
        adding[1].bias[7] = 0.1
    assert cut_channels(model, EXAMPLE).head[-1].in_features == 64


def test_channels_that_nobody_reads():
    model = randomised(resnet20())
    block = model.stages[1][1]
    with torch.no_grad():
        block.conv2.weight[:, :4] = 0
    small = cut_and_compare(model)
    assert small.stages[1][1].conv1.out_channels == 28


def test_zero_filters_alone_are_not_zero_after_normalisation():
    model = randomised(resnet20())
    with torch.no_grad():
        model.stages[1][1].conv1.weight[:4] = 0
    assert parameters(cut_channels(model, EXAMPLE)) == parameters(model)


def test_concatenation_and_layers_without_normalisation():
    model = randomised(DenseNet(10, growth=4))
    readers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in readers:  # of the stem's channels, as long as they are handed on
        silence(norm, [2, 3])
    small = cut_and_compare(model)
    assert parameters(small) < parameters(model)

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias[0] = 0
        model[0].bias[1] = 1
        model[2].weight[0], model[2].bias[0] = 0, 0  # an output is not ours to cut
    small = cut_and_compare(model)
    assert (small[0].out_channels, small[2].out_channels) == (3, 4)


def test_one_channel_stays():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        model[1].weight.zero_()
    small = cut_and_compare(model)
    assert small[0].out_channels == 1


@torch.no_grad()
def half_silent(layer):
    layer.weight[: layer.weight.shape[0] // 2] = 0
    layer.bias[: layer.weight.shape[0] // 2] = 0
    return layer


class Added(nn.Module):
    """A constant between two layers; with ``features``, outputs of both, named."""

    def __init__(self, constant, features=False):
        super().__init__()
        self.a, self.b = half_silent(nn.Linear(8, 16)), nn.Linear(16, 4)
        self.constant, self.features = constant, features

    def forward(self, x):
        hidden = self.a(x) + self.constant
        logits = self.b(hidden)
        return {"y": logits, "all": [hidden]} if self.features else {"y": logits}


@pytest.mark.parametrize(
    "between",
    [nn.Sigmoid(), nn.Softmax(1), nn.LayerNorm(16, elementwise_affine=False)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_that_does_not_stay_zero_is_refused(between, dtype):
    model = nn.Sequential(half_silent(nn.Linear(8, 16)), between, nn.Linear(16, 4))
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"nothing was cut.*maps it to something else"):
        cut_channels(model.to(dtype), torch.zeros(2, 8, dtype=dtype))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.float().state_dict().items())


def test_outputs_in_containers_are_compared():
    x = torch.zeros(2, 8)
    assert cut_channels(Added(0.0), x).a.out_features == 8
    for model in (Added(1.0), Added(0.0, features=True)):
        with pytest.raises(ValueError, match="nothing was cut"):
            cut_channels(model, x)


@pytest.mark.parametrize(
    "between",
    [
        nn.GroupNorm(2, 8),
        nn.ConvTranspose2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, groups=2),
    ],
)
def test_channels_of_layers_it_does_not_know_stay(between):
    model = nn.Sequential(half_silent(nn.Conv2d(3, 8, 3)), between, nn.Conv2d(8, 4, 3))
    assert parameters(cut_channels(model, EXAMPLE)) == parameters(model)


def test_a_depthwise_convolution_is_cut_with_the_layer_before():
    model = nn.Sequential(
        half_silent(nn.Conv2d(3, 8, 3)),
        half_silent(nn.Conv2d(8, 8, 3, groups=8)),
        nn.Conv2d(8, 4, 3),
    )
    small = cut_and_compare(model)
    assert (small[1].groups, small[2].in_channels) == (4, 4)


def test_frozen_layers_are_cut_and_stay_frozen():
    model = nn.Sequential(
        half_silent(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Conv2d(8, 4, 3)
    )
    for frozen in (model[0], model):
        frozen.requires_grad_(False)
        small = cut_channels(model, EXAMPLE)
        assert small[0].out_channels == 4
        flags = [[p.requires_grad for p in m.parameters()] for m in (model, small)]
        assert flags[0] == flags[1]


def test_gates_are_refused():
    with pytest.raises(ValueError, match="bake"):
        cut_channels(gate(LeNet300(), HardConcrete, "unit"), torch.zeros(1, 1, 28, 28))
