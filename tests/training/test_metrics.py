"""Accuracy and non-zeros, counted by hand."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ece661_sparse.gates import Bernoulli, ContinuousGate, HardConcrete, bake, gate
from ece661_sparse.models import LeNet300
from ece661_sparse.training import Images, accuracy, nonzeros, sparsity_report


class Echo(nn.Module):
    """Returns its input as logits, and remembers the mode it was called in."""

    def forward(self, x):
        self.mode = self.training
        return x


def test_accuracy_is_a_percentage_over_all_batches():
    logits = torch.eye(10)[torch.tensor([0, 1, 2, 3, 4, 5, 6])]
    images = Images(logits, torch.tensor([0, 1, 2, 3, 4, 0, 0]))
    for batch_size in (1, 3, 1000):
        assert accuracy(Echo(), images, batch_size) == pytest.approx(100 * 5 / 7)


def test_accuracy_evaluates_and_gives_every_module_its_mode_back():
    model = nn.Sequential(nn.BatchNorm1d(3).eval(), Echo(), nn.Linear(3, 2))
    modes = [True, False, True, True]
    accuracy(model, Images(torch.eye(3), torch.arange(3)))
    assert model[1].mode is False
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(RuntimeError):
        accuracy(model, Images(torch.eye(4), torch.arange(4)))
    assert [m.training for m in model.modules()] == modes


def pruned():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 5))
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1)
        model[0].weight[0] = 0
        model[2].weight[:, :3] = 0
        model[2].bias.zero_()
    return model


def test_nonzeros_counts_kernels_only():
    assert nonzeros(pruned()) == 9 + 5
    assert nonzeros(LeNet300()) == 266_200


def test_report_by_layer():
    report = sparsity_report(pruned())
    assert [(r.name, r.shape, r.nonzero, r.total) for r in report.rows] == [
        ("0", (2, 1, 3, 3), 9, 18),
        ("2", (5, 4), 5, 20),
    ]
    assert (report.nonzero, report.total) == (14, 38)
    assert report.rows[0].ratio == 0.5
    assert report.ratio == pytest.approx(14 / 38)
    assert report.compression == pytest.approx(38 / 14)


def test_report_prints_as_aligned_text_and_as_html():
    report = sparsity_report(LeNet300())
    assert str(report).splitlines() == [
        "layer        shape    non-zero       of    ratio",
        "fc1          300x784   235,200  235,200  100.00%",
        "fc2          100x300    30,000   30,000  100.00%",
        "fc3          10x100      1,000    1,000  100.00%",
        "all kernels            266,200  266,200  100.00%",
    ]
    html = report._repr_html_()
    assert html.count("<tr ") == 5 and ">300x784</td>" in html


def test_an_empty_network_compresses_without_end():
    model = nn.Linear(2, 3)
    nn.init.zeros_(model.weight)
    assert sparsity_report(model).compression == float("inf")


def test_report_refuses_a_model_without_kernels():
    with pytest.raises(ValueError, match="no parameter of two or more"):
        sparsity_report(nn.ReLU())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "make_gate",
    [
        partial(HardConcrete, log_alpha=0.7),
        partial(ContinuousGate, s0=0.5),
        partial(Bernoulli, log_alpha=1.0),
    ],
)
def test_gated_kernels_are_counted_as_baked(make_gate, training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    names = [row.name for row in sparsity_report(model).rows]
    gate(model, make_gate).train(training)
    with torch.no_grad():
        for p in model[0].parametrizations.weight[0].parameters():
            p[:5] = -9
    state = torch.get_rng_state()
    report = sparsity_report(model)
    assert torch.equal(torch.get_rng_state(), state) and model[0].training is training
    assert [row.name for row in report.rows] == names
    assert (report.nonzero, report.total) == (150 + 100, 200 + 100)
    assert nonzeros(model) == nonzeros(bake(model)) == 250


def test_any_parametrized_kernel_is_counted_once():
    model = weight_norm(nn.Linear(4, 3))  # two originals
    assert [(r.name, r.total) for r in sparsity_report(model).rows] == [("weight", 12)]
