"""Two exercises that are quick to see through."""

import torch

from ece661_sparse.exercises import Exercise, Mistake

X = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)


def shrink(x, factor=0.5):
    return x * factor


def spread(x):
    return x.max() - x.min()


SHRINK = Exercise(
    shrink,
    chapter="first",
    minutes=5,
    difficulty=1,
    cases=((X,), (X, 0.25)),
    edges=((torch.zeros_like(X), 0.25),),
    mistakes=(
        Mistake(lambda x, factor=0.5: x / factor, "You divide."),
        Mistake(lambda x, factor=0.5: x > 0, "That is the mask."),
    ),
    objective=lambda z, x, factor=0.5: (z - factor * x) ** 2,
)
SPREAD = Exercise(
    spread,
    chapter="second",
    minutes=10,
    difficulty=2,
    cases=((X,), (X**2,)),
    mistakes=(Mistake(lambda x: x.max(), "You forget the minimum."),),
)


def bare(x, factor=0.5):
    raise NotImplementedError


def right(x, factor=0.5):
    return factor * x


def divides_by_zero(x, factor=0.5):
    y = x * factor
    return y / (1 // 0)


def in_place(x, factor=0.5):
    return x.mul_(factor)
