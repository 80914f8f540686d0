"""Inputs that several chapters try answers on."""

import torch
from torch import Tensor


def double(values: list) -> Tensor:
    """Numbers, or rows of numbers, in double precision."""
    return torch.tensor(values, dtype=torch.float64)


def rank(x: Tensor) -> Tensor:
    """0 for the largest entry, 1 for the next; the first of two equal ones leads."""
    return x.flatten().argsort(descending=True, stable=True).argsort().view(x.shape)


X = double([3.0, 1.5, 0.7, -0.4, -1.2, -2.5])
TIES = double([1.0, -2.0, 2.0, 0.5, -2.0, 3.0])
