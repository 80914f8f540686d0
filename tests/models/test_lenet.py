"""The networks of Table 1: exact parameter counts, shapes, and any device."""

import pytest
import torch

from ece661_sparse.models import LeNet5, LeNet300


@pytest.mark.parametrize(
    ("network", "kernels", "parameters"),
    [(LeNet300, 266_200, 266_610), (LeNet5, 430_500, 431_080)],
)
def test_parameter_counts_are_those_of_the_table(network, kernels, parameters):
    model = network()
    assert sum(p.numel() for p in model.parameters() if p.ndim >= 2) == kernels
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("network", [LeNet300, LeNet5])
def test_forward_and_backward_stay_on_the_device_of_the_input(network):
    with torch.device("meta"):
        model = network()
        x = torch.zeros(3, 1, 28, 28)
    logits = model(x)
    assert logits.shape == (3, 10)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())


def test_lenet300_takes_images_or_vectors():
    model, x = LeNet300(), torch.randn(4, 1, 28, 28)
    assert torch.equal(model(x), model(x.reshape(4, 784)))


def test_every_layer_of_lenet5_matters():
    torch.manual_seed(0)
    model, x = LeNet5(), torch.randn(8, 1, 28, 28)
    model(x).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad.count_nonzero() > 0, name


def test_lenet5_has_no_relu_after_its_convolutions():
    # A ReLU would pass no gradient through maps that are negative everywhere.
    model, x = LeNet5(), torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        model.conv1.bias.fill_(-100)
        model.conv2.bias.fill_(-1e4)
    model(x).square().sum().backward()
    assert model.conv1.weight.grad.count_nonzero() > 0
