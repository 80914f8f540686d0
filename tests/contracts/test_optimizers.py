"""What every optimizer must do. A new one gets all of it by a line in OPTIMIZERS."""

import copy
import pickle
from functools import partial
from math import inf, nan

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from ece661_sparse.proximal import L0, L1, MCP, L0Ball, ProximalOptimizer, TrimmedL1
from ece661_sparse.saliency import GSM
from ece661_sparse.saliency.baselines import ADMM, DNS

sgd = partial(SGD, lr=0.05, momentum=0.9, nesterov=True)
adam = partial(Adam, lr=0.01)


def proximal(base, penalty):
    return lambda groups: ProximalOptimizer(base(groups), penalty)


# From parameter groups, one for each layer, to an optimizer of them.
OPTIMIZERS = {
    "proximal SGD, L0": proximal(sgd, L0(1e-4)),
    "proximal SGD, MCP": proximal(sgd, MCP(0.01, gamma=3.0)),
    "proximal SGD, trimmed L1": proximal(sgd, TrimmedL1(0.05, 20, tau=0.3)),
    "proximal Adam, L1": proximal(adam, L1(0.01)),
    "proximal Adam, L0 ball": proximal(adam, L0Ball(20)),
    "proximal Adam, trimmed L1": proximal(adam, TrimmedL1(0.05, 20, tau=0.3)),
    "GSM": partial(GSM, lr=0.05, keep=10),
    "GSM, averaged": partial(GSM, lr=0.05, keep=10, average=0.8),
    "ADMM": partial(ADMM, lr=0.01, keep=10, rho=0.3, every=4),
    "DNS": partial(DNS, lr=0.05, c=0.3, gamma=0.1, momentum=0.5),
}


def every_optimizer(but=()):
    """All rows; those whose name starts with ``but`` are excused."""
    names = [name for name in OPTIMIZERS if not name.startswith(but)]
    return pytest.mark.parametrize("name", names)


exactly = partial(torch.testing.assert_close, rtol=0, atol=0)


def start(name, layers=(0, 2), dtype=torch.float32, device="cpu", named=False):
    """A small network, and an optimizer of some of its layers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model.to(device, dtype)
    groups = [dict(model[i].named_parameters(str(i))) for i in layers]
    return model, OPTIMIZERS[name](
        [{"params": g.items() if named else g.values()} for g in groups]
    )


def backward(model, seed, *, head_only=False):
    """The loss of a batch and its gradients; all that is random depends on the seed."""
    torch.manual_seed(seed)
    parameter = next(model.parameters())
    x, y = torch.randn(16, 6).to(parameter), torch.randint(3, (16,))
    hidden = model[:2](x)
    logits = model[2](hidden.detach() if head_only else hidden)
    loss = F.cross_entropy(logits, y.to(logits.device))
    loss.backward()
    return loss


def train(model, optimizer, steps, schedule=None, **options):
    for seed in steps:
        optimizer.zero_grad()
        backward(model, seed, **options)
        optimizer.step()
        if schedule is not None:
            schedule.step()


def everything(model, optimizer):
    """A snapshot of all that a step may change."""
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()))


# --- saving and copying ---------------------------------------------------------------


@every_optimizer()
@pytest.mark.parametrize("late", [False, True])
def test_a_run_goes_on_from_a_file_bit_for_bit(name, late, tmp_path):
    """Also if the first layer has its first gradient after the saving."""

    def begin():
        model, optimizer = start(name)
        return model, optimizer, StepLR(optimizer, 3, gamma=0.5)

    model, optimizer, schedule = begin()
    train(model, optimizer, range(5), schedule, head_only=late)
    saved = [part.state_dict() for part in (model, optimizer, schedule)]
    torch.save(saved, tmp_path / "run.pt")
    train(model, optimizer, range(5, 12), schedule)

    again, resumed, schedule = begin()
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    for part, state in zip((again, resumed, schedule), saved, strict=True):
        part.load_state_dict(state)
    exactly(everything(again, resumed), tuple(saved[:2]))
    train(again, resumed, range(5, 12), schedule)
    exactly(everything(again, resumed), everything(model, optimizer))
    assert resumed.param_groups[0]["lr"] < saved[1]["param_groups"][0]["lr"]


@every_optimizer()
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))]
)
def test_a_copy_goes_on_alike_and_by_itself(name, copied):
    model, optimizer = start(name)
    train(model, optimizer, range(5))
    before = everything(model, optimizer)
    twin = copied((model, optimizer))
    train(*twin, range(5, 9))
    exactly(everything(model, optimizer), before)
    train(model, optimizer, range(5, 9))
    exactly(everything(*twin), everything(model, optimizer))


@every_optimizer(but="proximal")  # a group is wrapped together with its penalty
def test_groups_may_be_added_also_to_a_copy(name):
    model, optimizer = pickle.loads(pickle.dumps(start(name, layers=[0])))
    train(model, optimizer, range(3))
    before = copy.deepcopy(model[2])
    optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.001})
    train(model, optimizer, range(3, 6))
    assert not torch.equal(model[2].weight, before.weight)
    assert not torch.equal(model[2].bias, before.bias)
    first, *_, last = optimizer.param_groups
    assert last["lr"] == 0.001 and last.keys() == first.keys()

    saved, again = everything(model, optimizer), start(name)
    again[0].load_state_dict(saved[0])
    again[1].load_state_dict(saved[1])
    for run in ((model, optimizer), again):
        train(*run, range(6, 9))
    exactly(everything(*again), everything(model, optimizer))


# --- closures, and what is refused ----------------------------------------------------


@every_optimizer()
def test_a_closure_is_called_once_with_gradients(name):
    (model, optimizer), twin, losses = start(name), start(name), []

    def closure():
        optimizer.zero_grad()
        losses.append(backward(model, 0))
        return losses[-1]

    with torch.no_grad():
        assert optimizer.step(closure) is losses[0]
    assert len(losses) == 1
    train(*twin, [0])
    exactly(everything(model, optimizer), everything(*twin))


@every_optimizer()
def test_no_gradient_at_all_is_no_error(name):
    assert start(name)[1].step() is None


def fail(model, optimizer):
    optimizer.step(lambda: {}["no loss"])


def take_other_groups(model, optimizer):
    optimizer.load_state_dict({**optimizer.state_dict(), "param_groups": []})


def add_twice(model, optimizer):
    new = nn.Parameter(torch.ones(2, 3))
    optimizer.add_param_group({"params": [new, model[0].bias]})


def follow(gradient, model, optimizer):
    backward(model, 0)
    model[2].weight.grad[1, 4] = gradient
    optimizer.step()


REFUSED = [
    (fail, "no loss"),
    (take_other_groups, "different number of parameter groups"),
    (add_twice, "more than one parameter group|add the group to the optimizer first"),
    (partial(follow, nan), "infinite or NaN"),
    (partial(follow, inf), "infinite or NaN"),
]


@every_optimizer()
@pytest.mark.parametrize(("refused", "message"), REFUSED)
@pytest.mark.parametrize("steps", [0, 3])
def test_what_is_refused_changes_nothing(name, refused, message, steps):
    if name in ("ADMM", "DNS") and message == "infinite or NaN":
        pytest.skip("they do not look at gradients")
    (model, optimizer), twin = start(name), start(name)
    train(model, optimizer, range(steps))
    groups = len(optimizer.param_groups)
    with pytest.raises((KeyError, ValueError, NotImplementedError), match=message):
        refused(model, optimizer)
    assert len(optimizer.param_groups) == groups
    train(model, optimizer, range(steps, steps + 2))  # and the run can go on
    train(*twin, range(steps + 2))
    exactly(everything(model, optimizer), everything(*twin))


# --- parameters of all kinds ----------------------------------------------------------


@every_optimizer()
def test_frozen_parameters_stay_and_may_be_freed(name):
    model, optimizer = start(name)
    for step, frozen in enumerate((True, False, True, False)):
        model[0].requires_grad_(not frozen)
        before = copy.deepcopy(model)
        train(model, optimizer, range(3 * step, 3 * step + 3))
        assert torch.equal(model[0].weight, before[0].weight) == frozen
        assert torch.equal(model[0].bias, before[0].bias) == frozen
        assert not torch.equal(model[2].weight, before[2].weight)


@every_optimizer()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_parameters_keep_their_precision(name, dtype):
    model, optimizer = start(name, dtype=dtype)
    train(model, optimizer, range(5))
    for p in model.parameters():
        assert p.dtype == p.grad.dtype == dtype
        assert p.isfinite().all()


@every_optimizer()
def test_named_parameters_train_as_others(name):
    model, optimizer = start(name, named=True)
    twin = start(name)
    for run in ((model, optimizer), twin):
        train(*run, range(4))
    exactly(model.state_dict(), twin[0].state_dict())
    names = [n for group in optimizer.param_groups for n in group["param_names"]]
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]


@every_optimizer(but="proximal")  # it looks whether the step was finite
def test_on_the_meta_device(name):
    model, optimizer = start(name, device="meta")
    train(model, optimizer, range(2))
    state = [s for entry in optimizer.state.values() for s in entry.values()]
    assert all(s.is_meta for s in state if isinstance(s, torch.Tensor) and s.ndim > 0)
