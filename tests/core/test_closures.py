"""The body of an optimizer's step, with the closure of ``torch.optim`` before it."""

import torch

from ece661_sparse.core import closure_first


def test_the_closure_comes_first_and_with_gradients():
    calls = []

    @closure_first
    def step(optimizer):
        """What it does."""
        calls.append((optimizer, torch.is_grad_enabled()))

    assert step("a", lambda: calls.append(torch.is_grad_enabled()) or "loss") == "loss"
    assert step("b") is None
    assert calls == [True, ("a", False), ("b", False)]
    assert step.__doc__ == "What it does."
