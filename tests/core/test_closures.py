"""The body of an optimizer's step, with the closure of ``torch.optim`` before it."""

import torch

from ece661_sparse.core import closure_first


def test_the_closure_comes_first_and_with_gradients():
    calls = []

    class Optimizer:
        @closure_first
        def step(self):
            """What it does."""
            calls.append(("step", torch.is_grad_enabled()))

    def closure():
        calls.append(("closure", torch.is_grad_enabled()))
        return "loss"

    assert Optimizer().step(closure) == "loss"
    assert calls == [("closure", True), ("step", False)]
    assert Optimizer().step() is None
    assert Optimizer.step.__doc__ == "What it does."
