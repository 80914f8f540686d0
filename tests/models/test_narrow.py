"""The narrow network: counts, shapes, any device."""

import pytest
import torch

from ece661_sparse.models import NarrowCNN


@pytest.mark.parametrize("width", [2, 4, 8])
def test_kernel_counts_follow_the_width(width):
    model = NarrowCNN(width)
    kernels = [p.numel() for p in model.parameters() if p.ndim >= 2]
    assert kernels == [9 * width, 18 * width**2, 36 * width**2, 20 * width]


def test_forward_and_backward_stay_on_the_device_of_the_input():
    with torch.device("meta"):
        model = NarrowCNN(3)
        x = torch.zeros(5, 1, 28, 28)
    logits = model(x)
    assert logits.shape == (5, 10)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.is_meta for p in model.parameters())


def test_every_layer_matters():
    torch.manual_seed(0)
    model = NarrowCNN(4)
    model(torch.randn(8, 1, 28, 28)).square().sum().backward()
    for name, p in model.named_parameters():
        assert p.grad.count_nonzero() > 0, name


def test_a_width_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="width=0"):
        NarrowCNN(0)
