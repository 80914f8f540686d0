"""Multi-exit networks: leaving early stops computing and changes no answer."""

from itertools import accumulate, pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ece661_sparse.dynamic import (
    BRANCHYNET_WEIGHTS,
    ConfidenceThreshold,
    EarlyExit,
    EntropyThreshold,
    GatedConv2d,
    GatedResidualBlock,
    MultiExit,
    Patience,
    decide,
    entropy,
    exit_costs,
    exit_logits,
    exit_loss,
    pabee_weights,
    sdn_weights,
)

EXITS, CLASSES = 4, 5


class Counting(nn.Module):
    """A stage that records how many samples it was given."""

    def __init__(self, module):
        super().__init__()
        self.module, self.seen = module, []

    def forward(self, x):
        self.seen.append(len(x))
        return self.module(x)


def network(seed=0):
    """Four convolutions with normalisation; heads with large weights have opinions."""
    torch.manual_seed(seed)
    widths = [1, 4, 4, 6, 6]
    stages = [
        Counting(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
        )
        for a, b in pairwise(widths)
    ]
    heads = [
        nn.Sequential(nn.Flatten(), nn.Linear(b * 36, CLASSES)) for b in widths[1:]
    ]
    for head in heads:
        nn.init.normal_(head[1].weight, std=0.3)
    model = MultiExit(stages, heads)
    model(images(64, seed=9))  # statistics for the normalisation
    for stage in stages:
        stage.seen.clear()
    return model.eval()


def images(n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 6, 6, generator=generator)


with torch.no_grad():
    Y = torch.stack(network().all_exits(images(200)))[:-1].softmax(2)
UNCERTAIN = tuple(entropy(Y).quantile(0.3, dim=1).tolist())
SURE = tuple(Y.amax(2).quantile(0.7, dim=1).tolist())
POLICIES = {  # of every kind one under which samples leave at every exit
    "entropy": EntropyThreshold(UNCERTAIN),
    "confidence": ConfidenceThreshold(SURE),
    "most confident": ConfidenceThreshold(SURE, most_confident=True),
    "patience 1": Patience(1),
    "patience 2": Patience(2),
}
each_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


# --- the network -----------------------------------------------------------------


def test_training_gives_all_exits_and_evaluation_the_last():
    model, x = network(), images(3)
    every = model.all_exits(x)
    assert len(every) == len(model) == EXITS
    last = model(x)
    torch.testing.assert_close(last, every[-1])
    assert all(h.shape == (3, CLASSES) for h in every)
    trunk = model.trunk()
    torch.testing.assert_close(trunk(x), last)
    shared = {*model.stages.parameters(), *model.heads[-1].parameters()}
    assert set(trunk.parameters()) == shared
    model.train()
    assert isinstance(model(x), list)


@pytest.mark.parametrize(("stages", "heads"), [(2, 1), (1, 2), (0, 0)])
def test_every_stage_needs_one_head(stages, heads):
    with pytest.raises(ValueError, match=f"{stages} stages and {heads} heads"):
        MultiExit([nn.Identity()] * stages, [nn.Identity()] * heads)


def test_forward_and_backward_on_the_meta_device():
    model = network().to("meta").train()
    y = torch.zeros(3, dtype=torch.long, device="meta")
    exit_loss(model(images(3).to("meta")), y, [1.0] * EXITS).backward()
    assert all(p.grad is not None for p in model.parameters())


# --- inference -------------------------------------------------------------------


@each_policy
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_inference_is_the_full_computation_without_those_who_left(policy, layout):
    model, x = network(), images(200)
    found = model.infer(x.to(memory_format=layout), policy)
    seen = [sum(stage.seen) for stage in model.stages]
    assert seen == [int((found.exit >= n).sum()) for n in range(EXITS)]
    assert len(found.exit.unique()) == EXITS - getattr(policy, "p", 0)
    expected = decide(torch.stack(model.all_exits(x)), policy)
    assert torch.equal(found.exit, expected.exit)
    torch.testing.assert_close(found.logits, expected.logits)


@each_policy
def test_a_sample_is_answered_alike_alone_and_in_any_batch(policy):
    model, x = network(), images(20)
    together = model.infer(x, policy)
    for i in range(len(x)):
        alone = model.infer(x[i : i + 1], policy)
        assert alone.exit.item() == together.exit[i].item()
        torch.testing.assert_close(alone.logits[0], together.logits[i])


def test_nothing_runs_once_all_have_left():
    model = network()
    answers, exits = model.infer(images(7), EntropyThreshold(float("inf")))
    assert [stage.seen for stage in model.stages] == [[7], [], [], []]
    assert exits.tolist() == [0] * 7
    torch.testing.assert_close(answers, model.all_exits(images(7))[0])


def test_no_copy_is_made_while_nobody_leaves(monkeypatch):
    from ece661_sparse.dynamic import early_exit

    monkeypatch.setattr(early_exit, "_rows", None)
    model, x = network(), images(7)
    answers, exits = model.infer(x, EntropyThreshold(0.0))
    assert exits.tolist() == [EXITS - 1] * 7
    torch.testing.assert_close(answers, model(x))


def test_dropping_samples_keeps_channels_last():
    formats = []

    class Probe(nn.Module):
        def forward(self, x):
            formats.append(x.is_contiguous(memory_format=torch.channels_last))
            return x

    model = network()
    model.stages[1] = Probe()
    model.stages[1].register_module("same", model.stages[0])
    model.heads[1] = model.heads[0]
    leaving_at_the_first = UNCERTAIN[0], 0.0, 0.0
    policy = EntropyThreshold(leaving_at_the_first)
    x = images(50).to(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)
    exits = model.infer(x, policy).exit
    assert 0 < int((exits > 0).sum()) < 50
    assert formats == [True]


def test_inference_refuses():
    per_position = MultiExit([nn.Identity()], [nn.Linear(4, 3)]).eval()
    with pytest.raises(ValueError, match="evaluation mode"):
        network().train().infer(images(2), Patience(1))
    with pytest.raises(ValueError, match=r"exit 0 .*classes\), got \(2, 7, 3\)"):
        per_position.infer(torch.randn(2, 7, 4), Patience(1))
    for policy in (EntropyThreshold([0.0]), ConfidenceThreshold([2.0])):
        with pytest.raises(ValueError, match=r"threshold .* at least 2, got 1"):
            network().infer(images(2), policy)


def test_an_empty_batch_is_answered():
    answers, exits = network().infer(images(0), Patience(1))
    assert answers.shape == (0, CLASSES)
    assert exits.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inference_in_other_precisions(dtype):
    model = network().to(dtype)
    answers, _ = model.infer(images(9).to(dtype), EntropyThreshold(0.6))
    assert answers.dtype == dtype


def test_early_exit_is_a_classifier_and_its_threshold_is_saved_with_the_weights():
    model, x = network(), images(30)
    classifier = EarlyExit(model, 0.9)
    answers, exits = model.infer(x, classifier.policy)
    assert classifier.policy == EntropyThreshold(torch.tensor(0.9).item())
    torch.testing.assert_close(classifier(x), answers)
    assert 0 < (exits == EXITS - 1).sum() < 30
    names = {"threshold", *(f"network.{name}" for name in model.state_dict())}
    assert set(classifier.state_dict()) == names
    fresh = EarlyExit(network(seed=1)).eval()
    assert fresh.policy == EntropyThreshold(0.0)  # nobody leaves
    fresh.load_state_dict(classifier.state_dict())
    assert torch.equal(fresh(x), classifier(x))
    with pytest.raises(ValueError, match=r"threshold must be >= 0, got -1"):
        EarlyExit(model, -1)


def test_exit_logits_does_not_depend_on_the_batches_and_restores_the_mode():
    model, x = network().train(), images(10)
    frozen = model.stages[0].module[1].eval()
    logits = exit_logits(model, x, batch_size=4)
    assert [m for m in model.modules() if not m.training] == [frozen]
    with pytest.raises(RuntimeError):
        exit_logits(model, x[:, :, :2])
    assert model.training
    assert logits.shape == (EXITS, 10, CLASSES)
    assert not logits.requires_grad
    torch.testing.assert_close(logits, torch.stack(model.eval().all_exits(x)))


# --- the objective ---------------------------------------------------------------


def test_exit_loss_is_the_sum_of_the_slide():
    model, x = network().train(), images(8)
    y = torch.arange(8) % CLASSES
    logits = model(x)
    weights = [0.1, 0.0, 2.0, 1.0]
    expected = sum(
        w * F.cross_entropy(z, y) for w, z in zip(weights, logits, strict=True)
    )
    found = exit_loss(logits, y, weights)
    torch.testing.assert_close(found, expected)
    found.backward()
    # an exit that counts nothing is not trained, what lies before it is
    assert model.heads[1][1].weight.grad.abs().sum() == 0
    assert model.heads[2][1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("weights", "message"), [([1.0], "each of the 2"), ([1.0, -0.1], "weights=-0.1")]
)
def test_exit_loss_refuses(weights, message):
    logits = [torch.zeros(3, 2)] * 2
    with pytest.raises(ValueError, match=message):
        exit_loss(logits, torch.zeros(3, dtype=torch.long), weights)


def test_published_weights():
    assert BRANCHYNET_WEIGHTS == (1.0, 0.3)
    assert pabee_weights(4) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    costs = [0.15, 0.3, 0.9, 1.0]
    assert sdn_weights(costs, 0.0) == pytest.approx([0.01, 0.01, 0.01, 1])
    assert sdn_weights(costs, 0.5) == pytest.approx([0.085, 0.16, 0.46, 1])
    assert sdn_weights(costs, 1.0) == costs
    with pytest.raises(ValueError, match="progress"):
        sdn_weights(costs, 1.1)


# --- costs -----------------------------------------------------------------------


def test_costs_by_hand():
    costs = exit_costs(network(), images(5))
    stages = [36 * 9 * a * b * 2 for a, b in ((1, 4), (4, 4), (4, 6), (6, 6))]
    heads = [36 * b * CLASSES * 2 for b in (4, 4, 6, 6)]
    both = [stage + head for stage, head in zip(stages, heads, strict=True)]
    assert costs.exits == list(accumulate(both))
    assert costs.trunk == sum(stages) + heads[-1]
    assert costs.shares == pytest.approx([c / costs.trunk for c in costs.exits])


def test_gated_channels_count_as_open():
    stages = [GatedConv2d(1, 4, 3, padding=1), GatedResidualBlock(4, 4)]
    heads = [nn.Sequential(nn.Flatten(), nn.Linear(144, CLASSES)) for _ in stages]
    costs = exit_costs(MultiExit(stages, heads), images(1))
    convolutions = 36 * 9 * 2 * (4 + 16 + 16)
    gates = 2 * (16 + 16 * 4) + 2 * (4 * 16 + 16 * 4)
    assert costs.trunk == convolutions + gates + 2 * 144 * CLASSES


def test_counting_computes_nothing_and_changes_nothing():
    model = network().train()
    before = {name: v.clone() for name, v in model.state_dict().items()}
    exit_costs(model, torch.empty(1, 1, 6, 6, device="meta"))
    assert model.training
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    assert not any(stage.seen for stage in model.stages)
