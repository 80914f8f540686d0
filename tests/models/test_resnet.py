"""CIFAR's residual networks: published counts, structure, shapes, any device."""

import pytest
import torch
from torch import nn

from ece661_sparse.models import ResNet, resnet20, resnet56
from ece661_sparse.models.resnet import ResidualBlock


@pytest.mark.parametrize(
    ("network", "depth", "kernels"), [(resnet20, 20, 270_896), (resnet56, 56, 851_504)]
)
def test_kernel_counts_are_those_of_the_table(network, depth, kernels):
    with torch.device("meta"):
        model = network()
    assert sum(p.numel() for p in model.parameters() if p.ndim >= 2) == kernels
    weighted = [p for p in model.parameters() if p.ndim >= 2 and p.shape[2:] != (1, 1)]
    assert len(weighted) == depth  # shortcuts are not counted as layers


def test_the_shapes_between_the_stages():
    with torch.device("meta"):
        model = resnet20()
        x = model.stem(torch.zeros(2, 3, 32, 32))
    shapes = [x.shape[1:]]
    for stage in model.stages:
        x = stage(x)
        shapes.append(x.shape[1:])
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert [len(stage) for stage in model.stages] == [3, 3, 3]
    assert model.head(x).shape == (2, 10)


def test_forward_and_backward_stay_on_the_device_of_the_input():
    with torch.device("meta"):
        model = ResNet(8, classes=7)
        x = torch.zeros(3, 3, 16, 16)
    logits = model(x)
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())


def test_a_block_with_a_silent_branch_is_its_shortcut():
    x = torch.randn(2, 4, 6, 6)
    block = ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.bn2.weight)
    assert torch.equal(block(x), x.relu())
    block = ResidualBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)
    assert torch.equal(block(x), block.shortcut(x).relu())


def test_every_layer_matters():
    torch.manual_seed(0)
    model = ResNet(14)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad.count_nonzero() > 0, name


@pytest.mark.parametrize("depth", [2, 18, 57])
def test_a_depth_that_does_not_exist_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth=.*{depth}"):
        ResNet(depth)
