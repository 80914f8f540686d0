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


def start(name, layers=(0, 2), dtype=torch.float32):
    """A small network, and an optimizer of some of its layers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    groups = [{"params": list(model[i].parameters())} for i in layers]
    return model, OPTIMIZERS[name](groups)


def backward(model, seed, *, head_only=False):
    """The loss of a batch and its gradients; all that is random depends on the seed."""
    torch.manual_seed(seed)
    parameter = next(model.parameters())
    x, y = torch.randn(16, 6).to(parameter), torch.randint(3, (16,))
    hidden = model[:2](x)
    loss = F.cross_entropy(
        model[2](hidden.detach() if head_only else hidden), y.to(parameter.device)
    )
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


@every_optimizer()
def test_a_closure_is_called_once_with_gradients(name):
    model, optimizer = start(name)
    losses = []

    def closure():
        optimizer.zero_grad()
        losses.append(backward(model, 0))
        return losses[-1]

    with torch.no_grad():
        assert optimizer.step(closure) is losses[0]
    assert len(losses) == 1
    twin = start(name)
    train(*twin, [0])
    exactly(everything(model, optimizer), everything(*twin))


@every_optimizer()
def test_a_closure_that_fails_changes_nothing(name):
    model, optimizer = start(name)
    train(model, optimizer, range(3))
    before = everything(model, optimizer)
    with pytest.raises(KeyError):
        optimizer.step(lambda: {}["no loss"])
    exactly(everything(model, optimizer), before)


@every_optimizer()
def test_no_gradient_at_all_is_no_error(name):
    assert start(name)[1].step() is None


@every_optimizer()
def test_frozen_parameters_stay_and_may_be_freed(name):
    model, optimizer = start(name)
    for step, frozen in enumerate((True, False, True, False)):
        model[0].requires_grad_(not frozen)
        before = copy.deepcopy(model)
        train(model, optimizer, range(3 * step, 3 * step + 3))
        for p, old in zip(model[0].parameters(), before[0].parameters(), strict=True):
            assert torch.equal(p, old) == frozen
        assert not torch.equal(model[2].weight, before[2].weight)


@every_optimizer(but="proximal")  # a group is wrapped together with its penalty
def test_groups_may_be_added_also_to_a_copy(name):
    model, optimizer = pickle.loads(pickle.dumps(start(name, layers=[0])))
    train(model, optimizer, range(3))
    head = copy.deepcopy(model[2])
    optimizer.add_param_group({"params": model[2].parameters(), "lr": 0.001})
    train(model, optimizer, range(3, 6))
    for p, old in zip(model[2].parameters(), head.parameters(), strict=True):
        assert not torch.equal(p, old)
    first, *_, last = optimizer.param_groups
    assert last["lr"] == 0.001 and last.keys() == first.keys()

    other, resumed = start(name)
    for part, state in zip((other, resumed), everything(model, optimizer), strict=True):
        part.load_state_dict(state)
    train(model, optimizer, range(6, 9))
    train(other, resumed, range(6, 9))
    exactly(everything(other, resumed), everything(model, optimizer))


@every_optimizer(but="proximal")
def test_a_group_that_is_refused_is_not_left_behind(name):
    model, optimizer = start(name)
    groups = list(optimizer.param_groups)
    new = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [new, model[0].bias]})
    assert optimizer.param_groups == groups


@every_optimizer()
def test_the_state_of_other_groups_is_refused(name):
    model, optimizer = start(name)
    train(model, optimizer, range(3))
    before = everything(model, optimizer)
    with pytest.raises(ValueError, match="group"):
        optimizer.load_state_dict(start(name, layers=[0])[1].state_dict())
    exactly(everything(model, optimizer), before)


@every_optimizer(but=("ADMM", "DNS"))  # they do not look at gradients
@pytest.mark.parametrize("bad", [nan, inf])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_gradient_that_is_not_finite_changes_nothing(name, bad, steps):
    model, optimizer = start(name)
    train(model, optimizer, range(steps))
    optimizer.zero_grad()
    backward(model, steps)
    model[2].weight.grad[1, 4] = bad
    before = everything(model, optimizer)
    with pytest.raises(ValueError, match="infinite or NaN"):
        optimizer.step()
    exactly(everything(model, optimizer), before)
    train(model, optimizer, [steps])  # and the run can go on
    assert not torch.equal(model[2].weight, before[0]["2.weight"])


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
    model, _ = start(name)
    groups = [{"params": model[i].named_parameters(str(i))} for i in (0, 2)]
    optimizer = OPTIMIZERS[name](groups)
    twin = start(name)
    for both in ((model, optimizer), twin):
        train(*both, range(4))
    exactly(model.state_dict(), twin[0].state_dict())
    names = [n for group in optimizer.param_groups for n in group["param_names"]]
    assert names == ["0.weight", "0.bias", "2.weight", "2.bias"]


@every_optimizer(but="proximal")  # it looks whether the step was finite
def test_on_the_meta_device(name):
    model, _ = start(name)
    model = model.to("meta")
    optimizer = OPTIMIZERS[name]([{"params": list(model.parameters())}])
    train(model, optimizer, range(2))
    state = [s for entry in optimizer.state.values() for s in entry.values()]
    assert all(s.is_meta for s in state if isinstance(s, torch.Tensor) and s.ndim > 0)
