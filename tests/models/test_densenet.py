"""DenseNet-40: the table's count, structure, shapes, any device."""

import pytest
import torch
from torch import nn

from ece661_sparse.models import DenseNet, densenet40
from ece661_sparse.models.densenet import DenseLayer


def test_kernel_count_is_that_of_the_table():
    with torch.device("meta"):
        model = densenet40()
    assert sum(p.numel() for p in model.parameters() if p.ndim >= 2) == 1_001_616
    assert sum(p.ndim >= 2 for p in model.parameters()) == 40


def test_the_shapes_between_the_stages():
    with torch.device("meta"):
        model = densenet40()
        x = model.stem(torch.zeros(2, 3, 32, 32))
    shapes = [x.shape[1:]]
    for stage in model.stages:
        x = stage(x)
        shapes.append(x.shape[1:])
    assert shapes == [(16, 32, 32), (160, 32, 32), (304, 16, 16), (448, 8, 8)]
    assert model.head(x).shape == (2, 10)


def test_forward_and_backward_stay_on_the_device_of_the_input():
    with torch.device("meta"):
        model = DenseNet(10, growth=4, classes=7)
        x = torch.zeros(3, 3, 16, 16)
    logits = model(x)
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())


def test_a_layer_keeps_its_input_and_adds_to_it():
    layer, x = DenseLayer(5, 3), torch.randn(2, 5, 6, 6)
    y = layer(x)
    assert y.shape == (2, 8, 6, 6)
    assert torch.equal(y[:, :5], x)
    assert y[:, 5:].count_nonzero() > 0


def test_every_layer_matters():
    torch.manual_seed(0)
    model = DenseNet(10, growth=4)
    model(torch.randn(4, 3, 16, 16)).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad.count_nonzero() > 0, name


def test_kernels_start_with_hes_deviation():
    torch.manual_seed(0)
    convs = [m for m in DenseNet(10).modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        fan_in = conv.weight[0].numel()
        assert float(conv.weight.detach().std()) == pytest.approx(
            (2 / fan_in) ** 0.5, rel=0.1
        )


@pytest.mark.parametrize("depth", [4, 39, 41])
def test_a_depth_that_does_not_exist_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth=.*{depth}"):
        DenseNet(depth)
