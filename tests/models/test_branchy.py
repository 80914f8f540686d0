"""Multi-exit models: shapes, where their exits are, and what they share."""

import pytest
import torch
from torch import nn

from ece661_sparse.dynamic import Patience, exit_costs, exit_logits
from ece661_sparse.models import (
    BranchyLeNet,
    MultiExitCNN,
    resnet20,
    resnet56,
    sdn_resnet56,
    shallow_deep,
)
from ece661_sparse.models.branchy import MixedPool

DIGIT = torch.zeros(1, 1, 28, 28)


@pytest.mark.parametrize(
    ("make", "exits"),
    [
        (BranchyLeNet, 2),
        (MultiExitCNN, 3),
        (lambda: MultiExitCNN((1, 2, 3, 4, 5, 6)), 6),
        (lambda: MultiExitCNN((2, 3)), 2),
        (lambda: MultiExitCNN((1,)), 1),
    ],
)
def test_every_exit_answers_for_every_digit(make, exits):
    model = make()
    assert exit_logits(model, torch.randn(3, 1, 28, 28)).shape == (exits, 3, 10)
    meta = make().to("meta").train()
    sum(z.sum() for z in meta(DIGIT.to("meta"))).backward()
    assert all(p.grad is not None for p in meta.parameters())


def test_branchy_lenet_leaves_before_the_work():
    first, last = exit_costs(BranchyLeNet(), DIGIT).shares
    assert first < 0.04
    assert 1 < last < 1.03


def test_three_exits_at_the_stated_parts_of_the_work():
    shares = exit_costs(MultiExitCNN(), DIGIT).shares
    assert shares == pytest.approx([0.01, 0.14, 1.0], abs=0.005)


@pytest.mark.parametrize("exits", [(), (0, 1), (2, 2), (3, 1)])
def test_exits_must_increase(exits):
    with pytest.raises(ValueError, match="exits must increase"):
        MultiExitCNN(exits)


def test_sdn_resnet56_has_its_exits_where_the_paper_has_them():
    model = sdn_resnet56()
    shares = exit_costs(model, torch.empty(1, 3, 32, 32)).shares
    wanted = [0.15, 0.3, 0.45, 0.6, 0.75, 0.9]
    assert shares[:-1] == pytest.approx(wanted, abs=0.02)  # half a block
    assert shares[-1] == pytest.approx(1, abs=0.001)
    kernels = sum(p.numel() for p in model.trunk().parameters() if p.ndim >= 2)
    assert kernels == 851_504


def test_shallow_deep_uses_the_networks_own_layers():
    network = resnet20().eval()
    model = shallow_deep(network, (0.25, 0.5)).eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(x), network(x))
    own = {id(p) for p in network.parameters()}
    assert own <= {id(p) for p in model.parameters()}
    assert model.infer(x, Patience(1)).logits.shape == (2, 10)


def test_shallow_deep_refuses_two_exits_after_one_block():
    with pytest.raises(ValueError, match="need more than"):
        shallow_deep(resnet56(), (0.5, 0.501))
    with pytest.raises(ValueError, match="need more than"):
        shallow_deep(resnet20(), (0.97, 0.999))


def test_mixed_pool_blends_both_kinds():
    pool = MixedPool(size=2)
    x = torch.randn(3, 4, 8, 8)
    largest = nn.functional.max_pool2d(x, 4)
    mean = nn.functional.avg_pool2d(x, 4)
    torch.testing.assert_close(pool(x), (largest + mean) / 2)
    with torch.no_grad():
        pool.alpha.fill_(1.0)
    torch.testing.assert_close(pool(x), largest)
    pool(x).sum().backward()
    assert pool.alpha.grad is not None
