"""The one mechanism: any layer, any group; expected l0, bake, groups, schedules."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ece661_sparse.dynamic import DynamicConv2d
from ece661_sparse.gates import (
    Bernoulli,
    ContinuousGate,
    Gate,
    HardConcrete,
    Schedule,
    bake,
    expected_l0,
    exponential,
    gate,
    gate_groups,
    gates,
)
from ece661_sparse.models import LeNet5, LeNet300
from ece661_sparse.training import Checkpoint, Images, train

GATES = [HardConcrete, Bernoulli, ContinuousGate]
each_gate = pytest.mark.parametrize("make", GATES)
LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "conv1d": (lambda: nn.Conv1d(6, 5, 3), (3, 6, 8)),
    "conv2d": (lambda: nn.Conv2d(6, 5, 3, padding=1), (3, 6, 8, 8)),
    "conv2d, grouped": (lambda: nn.Conv2d(6, 4, 3, groups=2), (3, 6, 8, 8)),
    "conv3d": (lambda: nn.Conv3d(6, 5, 2), (3, 6, 4, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 5, 3), (3, 6, 4, 4)),
}
UNITS = {"input": 6, "output": 5}


def half_open(model):
    """Half of the gates open and half closed at test time, at random."""
    generator = torch.Generator().manual_seed(0)
    for found in gates(model).values():
        for parameter in found.parameters():
            values = 8 * (torch.rand(parameter.shape, generator=generator) - 0.5)
            parameter.data.copy_(values)
    return model


@each_gate
@pytest.mark.parametrize("group", ["weight", "input", "output"])
@pytest.mark.parametrize("name", LAYERS)
def test_any_layer_any_group(name, group, make):
    torch.manual_seed(0)
    layer, shape = LAYERS[name][0](), LAYERS[name][1]
    plain, x = copy.deepcopy(layer), torch.randn(shape)
    if name == "conv2d, grouped" and group == "input":
        with pytest.raises(ValueError, match="grouped convolution"):
            gate(layer, make, group)
        return
    assert gate(layer, make, group) is layer
    found = gates(layer)[""]
    total = plain.weight.numel()
    units = {"weight": total} | UNITS
    if name == "conv2d, grouped":
        units["output"] = 4
    assert found.shape.numel() == units[group]
    assert found.weights_per_gate * found.shape.numel() == total

    half_open(layer).eval()
    mask = found.mask()
    assert 0 < int(mask.sum()) < mask.numel()
    # by hand: multiply the weight, or the units themselves
    by_hand = copy.deepcopy(plain)
    by_hand.weight.data.mul_(found.z_hat())
    torch.testing.assert_close(layer(x), by_hand(x))
    z_hat = found.z_hat().detach().flatten()
    if group == "input":
        scaled = x * z_hat.view(1, -1, *[1] * (x.ndim - 2))
        torch.testing.assert_close(layer(x), plain(scaled))
    if group == "output":
        bias = plain.bias.view(1, -1, *[1] * (x.ndim - 2))
        scaled = (plain(x) - bias) * z_hat.view_as(bias) + bias
        torch.testing.assert_close(layer(x), scaled)


@each_gate
@pytest.mark.parametrize("groups", ["weight", "unit"])
def test_baked_is_plain_exactly_zero_and_gives_the_same_outputs(make, groups):
    torch.manual_seed(0)
    plain = LeNet5()
    model = half_open(gate(copy.deepcopy(plain), make, groups))
    images = torch.randn(4, 1, 28, 28)
    closed = {name: int((~g.mask()).sum()) for name, g in gates(model).items()}
    per_gate = {name: g.weights_per_gate for name, g in gates(model).items()}
    expected = model.eval()(images)
    model.train()
    assert bake(model) is model
    assert torch.equal(model.eval()(images), expected)
    assert not gates(model)
    assert type(model.fc1) is nn.Linear
    assert type(model.conv1) is nn.Conv2d
    assert model.state_dict().keys() == plain.state_dict().keys()
    for name, n in closed.items():
        zeros = int((model.get_submodule(name).weight == 0).sum())
        assert zeros == n * per_gate[name] > 0
        torch.testing.assert_close(
            model.get_submodule(name).bias, plain.get_submodule(name).bias
        )


def test_a_closed_channel_is_the_constant_of_its_bias():
    model = gate(nn.Conv2d(1, 2, 3), partial(HardConcrete, log_alpha=-9.0), "output")
    output = model.eval()(torch.randn(2, 1, 5, 5))
    expected = model.bias.view(1, 2, 1, 1).expand_as(output)
    torch.testing.assert_close(output, expected)


def test_unit_means_inputs_of_dense_layers_and_outputs_of_convolutions():
    shapes = {
        n: g.shape for n, g in gates(gate(LeNet5(), HardConcrete, "unit")).items()
    }
    assert shapes == {
        "conv1": (20, 1, 1, 1),
        "conv2": (50, 1, 1, 1),
        "fc1": (1, 800),
        "fc2": (1, 500),
    }


def test_a_dictionary_gates_the_layers_it_names():
    model = gate(LeNet300(), HardConcrete, {"fc2": "output", "fc1": "weight"})
    assert {n: g.shape for n, g in gates(model).items()} == {
        "fc1": (300, 784),
        "fc2": (100, 1),
    }
    assert expected_l0(model) < 784 * 300 + 300 * 100
    # then the rest
    gate(model, HardConcrete, {"fc3": "input"})
    assert list(gates(model)) == ["fc1", "fc2", "fc3"]


@pytest.mark.parametrize(
    ("model", "groups", "message"),
    [
        (LeNet300(), "row", "fc1.*weight, input, output or unit, got 'row'"),
        (LeNet300(), {"fc4": "input"}, "'fc4'.*fc1, fc2, fc3"),
        (nn.ReLU(), "weight", "no dense or convolutional layer"),
        (nn.LazyLinear(3), "weight", "run the model once"),
        (gate(nn.Linear(2, 2), HardConcrete), "weight", "gated already"),
    ],
)
def test_refusals_name_what_is_wrong_and_change_nothing(model, groups, message):
    before = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        gate(model, HardConcrete, groups)
    assert list(model.state_dict()) == before


class Tied(nn.Module):
    def __init__(self, other):
        super().__init__()
        self.other, self.dense = other, nn.Linear(4, 4)
        self.dense.weight = other.weight


@pytest.mark.parametrize("other", [nn.Linear(4, 4), nn.Embedding(4, 4)], ids=str)
def test_a_weight_of_two_modules_is_refused(other):
    model = Tied(other)
    with pytest.raises(ValueError, match=r"other\.weight, dense\.weight"):
        gate(model, HardConcrete, {"dense": "weight"})
    assert not gates(model)


def test_a_layer_of_two_names_is_gated_and_baked_once():
    layer = nn.Linear(4, 4)
    model = half_open(gate(nn.Sequential(layer, nn.ReLU(), layer), HardConcrete)).eval()
    x = torch.randn(3, 4)
    expected = model(x)
    torch.testing.assert_close(bake(model)(x), expected)


@pytest.mark.parametrize("group", ["input", "output", "unit"])
def test_a_bank_of_kernels_is_gated_by_weights_only(group):
    model = nn.Sequential(DynamicConv2d(3, 5, 3))
    with pytest.raises(ValueError, match=r"'0' has a bank of kernels.*no (in|out)put"):
        gate(model, HardConcrete, {"0": group})
    half_open(gate(model, HardConcrete, {"0": "weight"})).eval()
    x = torch.randn(2, 3, 6, 6)
    expected = model(x)
    assert torch.equal(bake(model)(x), expected)


def test_one_bad_layer_leaves_all_layers_alone():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2))
    with pytest.raises(ValueError, match="grouped"):
        gate(model, HardConcrete, "input")
    assert not gates(model)


@pytest.mark.parametrize("function", [expected_l0, bake])
def test_a_model_without_gates_is_refused(function):
    with pytest.raises(ValueError, match="no layer of the model is gated"):
        function(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no layer of the model is gated"):
        gate_groups(nn.Linear(2, 2), 1e-3, 1e-3)


def test_a_dimension_that_is_none_is_refused():
    with pytest.raises(ValueError, match="dim must be a whole number"):
        HardConcrete(torch.zeros(3, 2), 2)


@each_gate
def test_expected_l0_counts_weights_not_gates(make):
    model = gate(LeNet5(), make, "unit")
    counts = {"conv1": 25, "conv2": 500, "fc1": 500, "fc2": 10}
    by_hand = sum(
        counts[name] * found.probability().sum() for name, found in gates(model).items()
    )
    torch.testing.assert_close(expected_l0(model), by_hand)
    expected_l0(model).backward()
    for found in gates(model).values():
        assert all((p.grad > 0).all() for p in found.parameters())


@each_gate
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_expected_l0_of_many_weights_in_half_precision(make, dtype):
    model = gate(nn.Linear(784, 300), make)
    expected = expected_l0(model).item()
    assert expected_l0(model.to(dtype)).item() == pytest.approx(expected, rel=5e-3)
    expected_l0(model).backward()
    assert all(
        p.grad.isfinite().all()
        for g in gates(model).values()
        for p in [*g.parameters()]
    )


@pytest.mark.parametrize("groups", ["weight", "unit"])
def test_expected_l0_is_the_mean_count_of_the_weights_in_training(groups):
    torch.manual_seed(0)
    model = gate(nn.Linear(30, 20), partial(HardConcrete, log_alpha=-0.5), groups)
    counts = torch.stack([model.weight.count_nonzero().float() for _ in range(2000)])
    error = counts.std() / 2000**0.5
    assert abs(counts.mean() - expected_l0(model)) < 4 * error


@each_gate
def test_gates_have_their_own_group_without_weight_decay(make):
    model = gate(LeNet300(), make)
    own, of_gates = gate_groups(model, lr=0.1, gate_lr=0.5, weight_decay=1e-4)
    assert (own["lr"], own["weight_decay"]) == (0.1, 1e-4)
    assert (of_gates["lr"], of_gates["weight_decay"]) == (0.5, 0.0)
    assert len(own["params"]) == 6
    assert len(of_gates["params"]) == 3
    shared = [*own["params"], *of_gates["params"]]
    assert set(map(id, shared)) == set(map(id, model.parameters()))

    optimizer = torch.optim.SGD([own, of_gates])
    before = [p.clone() for p in of_gates["params"]]
    for p in shared:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(map(torch.equal, before, of_gates["params"]))
    with pytest.raises(ValueError, match="gate_lr must be a finite number >= 0"):
        gate_groups(model, lr=0.1, gate_lr=-1)


# --- a run that is killed, and where the numbers live ----------------------------


def small_run(path, epochs):
    """Two epochs of LeNet-300, its gates and a schedule of λ, on random images."""
    torch.manual_seed(0)
    model = gate(LeNet300(), HardConcrete, "unit")
    images = Images(torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,)))
    optimizer = torch.optim.Adam(gate_groups(model, 1e-3, 1e-1))
    schedule = Schedule(lam=exponential(1e-6, 1e-3, 4))

    def loss(logits, y):
        return cross_entropy(logits, y) + schedule["lam"] * expected_l0(model)

    train(
        model,
        optimizer,
        images,
        epochs=epochs,
        batch_size=16,
        loss=loss,
        scheduler=schedule,
        progress=False,
        checkpoint=Checkpoint(path),
    )
    return model.state_dict()


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    whole = small_run(tmp_path / "whole.pt", 4)
    small_run(tmp_path / "killed.pt", 2)
    torch.manual_seed(123)  # another process
    resumed = small_run(tmp_path / "killed.pt", 4)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert any("log_alpha" in key for key in whole)


def test_gated_state_dict_goes_into_another_gated_model():
    source = half_open(gate(LeNet5(), HardConcrete, "unit")).eval()
    target = gate(LeNet5(), HardConcrete, "unit").eval()
    target.load_state_dict(source.state_dict())
    images = torch.randn(2, 1, 28, 28)
    assert torch.equal(source(images), target(images))


@each_gate
@pytest.mark.parametrize("groups", ["weight", "unit"])
def test_all_tensors_are_made_where_the_weights_are(make, groups):
    model = gate(LeNet5().to("meta"), make, groups)
    images = torch.randn(2, 1, 28, 28, device="meta")
    (model(images).sum() + expected_l0(model)).backward()
    assert all(p.grad.is_meta for p in gate_groups(model, 1, 1)[1]["params"])
    bake(model.eval())
    assert model(images).is_meta


@each_gate
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_keep_their_dtype(make, dtype):
    model = gate(nn.Linear(40, 30).to(dtype), make)
    assert model.weight.dtype == dtype
    model(torch.randn(2, 40, dtype=dtype)).sum().backward()
    assert all(p.grad.dtype == dtype for p in model.parameters())
    assert bake(model).weight.dtype == dtype


def test_evaluation_draws_no_noise_and_training_draws_anew():
    model = gate(nn.Linear(40, 30), HardConcrete)
    assert not torch.equal(model.weight, model.weight)
    state = torch.get_rng_state()
    model.eval()
    assert torch.equal(model.weight, model.weight)
    assert torch.equal(state, torch.get_rng_state())


# --- schedules ---------------------------------------------------------------------


def test_a_schedule_tells_its_numbers_at_the_start_at_steps_and_after_loading():
    told = []
    schedule = Schedule(
        lambda now: told.append((now["beta"], now["lr"])),
        beta=exponential(1, 16, 5),
        lr=lambda t: 0.1 / (1 + t),
    )
    for _ in range(5):
        schedule.step()
    assert [beta for beta, _ in told] == pytest.approx([1, 2, 4, 8, 16, 16])
    assert told[1][1] == 0.05
    other = Schedule(lambda now: told.append(now["beta"]), beta=exponential(1, 16, 5))
    other.load_state_dict({**schedule.state_dict(), "time": 3})
    assert told[-2:] == pytest.approx([1, 8])


def test_exponential_refuses_what_has_no_logarithm():
    for bad in [(0, 2, 5), (1, -2, 5), (1, 2, 1)]:
        with pytest.raises(ValueError, match="must be a finite number"):
            exponential(*bad)


def test_a_gate_is_three_methods():
    class Constant(Gate):
        def __init__(self, weight, dim=None):
            super().__init__(weight, dim)
            self.open = self.new_parameter(0.25)

        def z(self):
            return self.open

        z_hat = probability = z

    model = gate(nn.Linear(4, 2), Constant)
    torch.testing.assert_close(
        model.weight, 0.25 * model.parametrizations.weight.original
    )
    assert expected_l0(model) == 2
