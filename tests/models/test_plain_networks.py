"""Networks without exits: the tables' counts, shapes, any device, no idle layer."""

from functools import partial

import pytest
import torch
from torch import nn

from ece661_sparse.core import kernels
from ece661_sparse.models import (
    DenseNet,
    GatedResNet,
    LeNet5,
    LeNet300,
    NarrowCNN,
    ResNet,
    densenet40,
    resnet20,
    resnet56,
)
from ece661_sparse.models.densenet import DenseLayer
from ece661_sparse.models.resnet import ResidualBlock

DIGITS, PHOTOS = (1, 28, 28), (3, 16, 16)
NETWORKS = [
    (LeNet300, DIGITS),
    (LeNet5, DIGITS),
    (partial(NarrowCNN, 4), DIGITS),
    (partial(GatedResNet, (4, 6)), DIGITS),
    (partial(ResNet, 14), PHOTOS),
    (partial(DenseNet, 10, growth=4), PHOTOS),
]
EVERY_NETWORK = pytest.mark.parametrize(("make", "shape"), NETWORKS)


@EVERY_NETWORK
def test_forward_and_backward_stay_on_the_device_of_the_input(make, shape):
    with torch.device("meta"):
        model, x = make(), torch.zeros(3, *shape)
    logits = model(x)
    assert logits.shape == (3, 10)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())


@EVERY_NETWORK
def test_every_layer_matters(make, shape):
    torch.manual_seed(0)
    model = make()
    model(torch.randn(8, *shape)).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad.count_nonzero() > 0, name


@pytest.mark.parametrize(
    ("make", "weights", "others"),
    [
        (LeNet300, 266_200, 410),
        (LeNet5, 430_500, 580),
        (resnet20, 270_896, 1_578),
        (resnet56, 851_504, 4_266),
        (densenet40, 1_001_616, 18_106),
    ],
)
def test_parameter_counts_are_those_of_the_table(make, weights, others):
    with torch.device("meta"):
        model = make()
    assert sum(kernel.numel() for kernel in kernels(model).values()) == weights
    assert sum(p.numel() for p in model.parameters()) == weights + others


def layers(model):
    """Kernels, without the shortcuts' 1x1 convolutions."""
    return [p for name, p in kernels(model).items() if "shortcut" not in name]


@pytest.mark.parametrize(
    ("make", "depth", "channels"),
    [
        (resnet20, 20, (16, 16, 32, 64)),
        (resnet56, 56, (16, 16, 32, 64)),
        (densenet40, 40, (16, 160, 304, 448)),
    ],
)
def test_the_shapes_between_the_stages(make, depth, channels):
    with torch.device("meta"):
        model = make(7)
        x = model.stem(torch.zeros(2, 3, 32, 32))
    shapes = [x.shape[1:]]
    for stage in model.stages:
        x = stage(x)
        shapes.append(x.shape[1:])
    sides = zip(channels, (32, 32, 16, 8), strict=True)
    assert shapes == [(n, side, side) for n, side in sides]
    assert model.head(x).shape == (2, 7)
    assert len(layers(model)) == depth


@pytest.mark.parametrize(
    ("make", "depth"),
    [(ResNet, d) for d in (2, 18, 57)] + [(DenseNet, d) for d in (4, 39, 41)],
)
def test_a_depth_that_does_not_exist_is_refused(make, depth):
    with pytest.raises(ValueError, match=f"depth=.*{depth}"):
        make(depth)


# --- LeNets -------------------------------------------------------------------------


def test_lenet300_takes_images_or_vectors():
    model, x = LeNet300(), torch.randn(4, 1, 28, 28)
    assert torch.equal(model(x), model(x.reshape(4, 784)))


def test_lenet5_has_no_relu_after_its_convolutions():
    # A ReLU would pass no gradient through maps that are negative everywhere.
    model, x = LeNet5(), torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        model.conv1.bias.fill_(-100)
        model.conv2.bias.fill_(-1e4)
    model(x).square().sum().backward()
    assert model.conv1.weight.grad.count_nonzero() > 0


# --- residual and dense networks ----------------------------------------------------


def test_a_block_with_a_silent_branch_is_its_shortcut():
    x = torch.randn(2, 4, 6, 6)
    for block in (ResidualBlock(4, 4), ResidualBlock(4, 8, stride=2)):
        nn.init.zeros_(block.eval().bn2.weight)
        assert torch.equal(block(x), block.shortcut(x).relu())
    assert isinstance(ResidualBlock(4, 4).shortcut, nn.Identity)


def test_a_dense_layer_keeps_its_input_and_adds_to_it():
    layer, x = DenseLayer(5, 3), torch.randn(2, 5, 6, 6)
    y = layer(x)
    assert y.shape == (2, 8, 6, 6)
    assert torch.equal(y[:, :5], x)
    assert y[:, 5:].count_nonzero() > 0


def test_kernels_of_densenet_start_with_hes_deviation():
    torch.manual_seed(0)
    for name, kernel in kernels(DenseNet(10)).items():
        if kernel.ndim == 4:
            he = (2 / kernel[0].numel()) ** 0.5
            assert float(kernel.detach().std()) == pytest.approx(he, rel=0.1), name


# --- the narrow network -------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 4, 8])
def test_kernel_counts_follow_the_width(width):
    counts = [kernel.numel() for kernel in kernels(NarrowCNN(width)).values()]
    assert counts == [9 * width, 18 * width**2, 36 * width**2, 20 * width]


def test_a_width_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="width=0"):
        NarrowCNN(0)
