"""What every gate must do. A new one gets all of it by a line in GATES."""

import copy
import pickle
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ece661_sparse.gates import (
    Bernoulli,
    ContinuousGate,
    HardConcrete,
    bake,
    expected_l0,
    gate,
    gate_groups,
    gates,
)
from ece661_sparse.saliency.baselines import TrainableGate
from ece661_sparse.training import Checkpoint, Images, nonzeros, train


class Kind(NamedTuple):
    """How to make a gate, and where its parameter is surely closed and surely open."""

    make: type | partial
    closed: float = -100
    open: float = 100
    random: bool = True


GATES = {
    "HardConcrete": Kind(HardConcrete),
    "Bernoulli": Kind(Bernoulli),
    "Bernoulli, score": Kind(partial(Bernoulli, estimator="score_function")),
    "ContinuousGate": Kind(ContinuousGate, random=False),
    "TrainableGate": Kind(TrainableGate, 0, 1, random=False),
    "TrainableGate, sampled": Kind(partial(TrainableGate, sample=True), 0, 1),
}
each_gate = pytest.mark.parametrize("kind", GATES.values(), ids=GATES)
each_group = pytest.mark.parametrize("groups", ["weight", "unit"])


def network():
    """A convolution and a dense layer; a unit is 9 or 10 weights, or one's input."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10)]
    return nn.Sequential(*layers)


WEIGHTS, PER_UNIT = 4 * 9 + 16 * 10, {"0": 9, "3": 10}


def images(n=5):
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def gated(kind, groups="weight"):
    return gate(network(), kind.make, groups)


def parameters(model):
    """The parameters of all gates."""
    return [p for found in gates(model).values() for p in found.parameters()]


def set_gates(kind, model, *, decided=False):
    """Open about half of the gates at test time; if decided, while training as well."""
    generator = torch.Generator().manual_seed(0)
    for p in parameters(model):
        at = 0.5 + 0.04 * torch.randn(p.shape, generator=generator)
        at = (at > 0.5).float() if decided else at
        p.data.copy_(kind.closed + (kind.open - kind.closed) * at)
    return model


# --- in training, and at test time ----------------------------------------------------


@each_gate
@each_group
def test_the_weight_is_multiplied_by_z_in_training_and_by_z_hat_at_test_time(
    kind, groups
):
    model = set_gates(kind, gated(kind, groups))
    for name, found in gates(model).items():
        layer = model.get_submodule(name)
        original = layer.parametrizations.weight.original
        torch.manual_seed(1)
        weight = layer.weight
        torch.manual_seed(1)
        assert torch.equal(weight, original * found.z())
        z_hat = found.eval().z_hat()
        assert torch.equal(layer.weight, original * z_hat)
        assert z_hat.shape == found.shape == found.probability().shape
        assert torch.equal(found.mask(), z_hat != 0)
        assert 0 < found.mask().sum() < found.mask().numel()
        assert ((z_hat == 0) | (z_hat > 0)).all()


@each_gate
def test_only_random_gates_draw_and_only_in_training(kind):
    layer = set_gates(kind, gate(nn.Linear(40, 30), kind.make))
    for random in (kind.random, False):
        state = torch.get_rng_state()
        looks = layer.weight, layer.weight
        assert torch.equal(*looks) is not random
        assert torch.equal(state, torch.get_rng_state()) is not random
        layer.eval()


@each_gate
@each_group
def test_baked_is_plain_exactly_zero_and_gives_the_same_outputs(kind, groups):
    model = set_gates(kind, gated(kind, groups))
    kept = sum(int(g.mask().sum()) * g.weights_per_gate for g in gates(model).values())
    expected = model.eval()(images())
    assert bake(model.train()) is model
    assert torch.equal(model(images()), expected)
    assert 0 < nonzeros(model) == kept < WEIGHTS
    plain = network()
    assert not gates(model) and type(model[3]) is nn.Linear
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(model[0].bias, plain[0].bias)


@each_gate
def test_a_layer_of_two_names_is_gated_and_baked_once(kind):
    layer, x = nn.Linear(4, 4), torch.randn(3, 4)
    model = gate(nn.Sequential(layer, nn.ReLU(), layer), kind.make)
    expected = set_gates(kind, model).eval()(x)
    torch.testing.assert_close(bake(model)(x), expected)


# --- what they cost -------------------------------------------------------------------


@each_gate
@each_group
def test_expected_l0_counts_the_weights_of_gates_that_are_decided(kind, groups):
    model = set_gates(kind, gated(kind, groups), decided=True)
    layers = [model.get_submodule(name) for name in PER_UNIT]
    count = sum(int(layer.weight.count_nonzero()) for layer in layers)
    assert 0 < count < WEIGHTS
    assert expected_l0(model).item() == pytest.approx(count)


@pytest.mark.parametrize("name", [name for name in GATES if GATES[name].random])
@each_group
def test_expected_l0_is_the_mean_count_of_the_weights_in_training(name, groups):
    kind = GATES[name]
    layer = gate(nn.Linear(30, 20), kind.make, groups)
    for p in parameters(layer):
        p.data.fill_((kind.closed + kind.open) / 2 + 0.004 * kind.open)
    torch.manual_seed(0)
    counts = torch.stack([layer.weight.count_nonzero().float() for _ in range(2000)])
    error = counts.std() / 2000**0.5
    assert error > 0
    assert abs(counts.mean() - expected_l0(layer)) < 4 * error


@each_gate
def test_expected_l0_is_a_price_for_each_weight_and_has_a_gradient(kind):
    model = gated(kind, "unit")
    found = gates(model)
    assert {name: g.weights_per_gate for name, g in found.items()} == PER_UNIT
    by_hand = sum(PER_UNIT[name] * g.probability().sum() for name, g in found.items())
    torch.testing.assert_close(expected_l0(model), by_hand)
    expected_l0(model).backward()
    assert all((p.grad > 0).all() for p in parameters(model))


@each_gate
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_expected_l0_of_many_weights_in_half_precision(kind, dtype):
    model = gate(nn.Linear(784, 300), kind.make)
    expected = expected_l0(model).item()
    assert expected_l0(model.to(dtype)).item() == pytest.approx(expected, rel=5e-3)
    expected_l0(model).backward()
    assert all(p.grad.isfinite().all() for p in parameters(model))


# --- what a run does with them --------------------------------------------------------


@each_gate
def test_gates_have_their_own_group_without_weight_decay(kind):
    model = gated(kind)
    own, of_gates = gate_groups(model, lr=0.1, gate_lr=0.5, weight_decay=1e-4)
    assert (own["lr"], own["weight_decay"]) == (0.1, 1e-4)
    assert (of_gates["lr"], of_gates["weight_decay"]) == (0.5, 0.0)
    assert set(of_gates["params"]) == set(parameters(model))
    assert {*own["params"], *of_gates["params"]} == set(model.parameters())


@each_gate
def test_a_run_cut_in_two_ends_with_the_same_bits(kind, tmp_path):
    data = Images(images(20), torch.arange(20) % 10)

    def run(file, epochs, seed=0):
        model = gated(kind, "unit")
        optimizer = torch.optim.Adam(gate_groups(model, lr=1e-3, gate_lr=1e-2))

        def loss(logits, y):
            return cross_entropy(logits, y) + 1e-3 * expected_l0(model)

        torch.manual_seed(seed)
        options = {"loss": loss, "checkpoint": Checkpoint(tmp_path / file)}
        train(model, optimizer, data, epochs=epochs, progress=False, **options)
        return model.state_dict()

    whole = run("whole.pt", 4)
    killed = run("killed.pt", 2)
    resumed = run("killed.pt", 4, seed=1)  # by another process
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    moved = [key for key in whole if not torch.equal(whole[key], killed[key])]
    assert any(key.startswith("3.parametrizations.weight.0.") for key in moved)


@each_gate
@each_group
def test_its_state_goes_through_a_file_into_another_model(kind, groups, tmp_path):
    source = set_gates(kind, gated(kind, groups)).eval()
    torch.save(source.state_dict(), tmp_path / "state.pt")
    through = pickle.loads(pickle.dumps(source.state_dict()))
    for state in (through, torch.load(tmp_path / "state.pt", weights_only=True)):
        target = gated(kind, groups).eval()
        target.load_state_dict(state)
        assert torch.equal(target(images()), source(images()))


@each_gate
def test_a_copy_right_after_a_step_goes_its_own_way(kind):
    model = set_gates(kind, gated(kind))
    (model(images()).sum() + expected_l0(model)).backward()
    expected = copy.deepcopy(model).eval()(images())
    twin = copy.deepcopy(model)
    for p in parameters(twin):
        p.data.fill_(kind.closed)
    assert nonzeros(bake(twin)) == 0
    assert torch.equal(model.eval()(images()), expected)


# --- where and in which precision -----------------------------------------------------


@each_gate
@each_group
def test_all_tensors_are_made_where_the_weights_are(kind, groups):
    model = gate(network().to("meta"), kind.make, groups)
    (model(images().to("meta")).sum() + expected_l0(model)).backward()
    assert all(p.is_meta for p in parameters(model))
    assert bake(model.eval())(images().to("meta")).is_meta


@each_gate
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_keep_their_dtype(kind, dtype):
    model = gate(nn.Linear(40, 30).to(dtype), kind.make)
    assert model.weight.dtype == dtype
    (model(torch.randn(2, 40, dtype=dtype)).sum() + expected_l0(model)).backward()
    assert all(p.grad.dtype == dtype for p in model.parameters())
    assert bake(model).weight.dtype == dtype


# --- what is refused ------------------------------------------------------------------


def tied(other):
    dense = nn.Linear(4, 4)
    dense.weight = other.weight
    return nn.ModuleDict({"other": other, "dense": dense})


GROUPED = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
REFUSED = (
    (nn.ReLU(), "no dense or convolutional layer"),
    (nn.LazyLinear(3), "run the model once"),
    (gate(nn.Linear(2, 2), HardConcrete), "gated already"),
    (nn.Sequential(*GROUPED), "'1' is a grouped convolution"),
    (tied(nn.Linear(4, 4)), r"other\.weight, dense\.weight"),
    (tied(nn.Embedding(4, 4)), r"other\.weight, dense\.weight"),
)


@each_gate
def test_what_cannot_be_gated_is_refused_and_not_changed(kind):
    for model, message in REFUSED:
        before = list(model.state_dict())
        with pytest.raises(ValueError, match=message):
            gate(model, kind.make, "input")
        assert list(model.state_dict()) == before
    with pytest.raises(ValueError, match="dim must be a whole number"):
        kind.make(torch.zeros(3, 2), 2)
