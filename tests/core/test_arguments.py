"""What is refused, and that the message names argument, value and range."""

import math

import pytest
import torch

from ece661_sparse.core import (
    check_coefficient,
    check_count,
    check_known,
    check_number,
    check_tensor,
)

X = torch.zeros(2, 3)


def test_what_is_in_range_passes():
    check_number("lam", -3)
    check_number("lam", 0, at_least=0, at_most=0)
    check_number("lam", 0.5, above=0, below=1)
    check_count("keep", 0)
    check_count("keep", 3, at_least=1, at_most=3)
    check_tensor("x", X.bfloat16())
    check_tensor("x", X, out=X + 1)
    check_coefficient("lam", 0.0, X)
    check_coefficient("lam", torch.ones(3), X, positive=True)
    check_coefficient("lam", torch.zeros(2, 1, device="meta"), X)
    check_coefficient("lam", torch.zeros(0), torch.zeros(0))
    check_known("row", "gsm", ["gsm"])


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: check_number("lam", math.nan), "must be a finite number, got lam=nan"),
        (lambda: check_number("lam", math.inf), "got lam=inf"),
        (lambda: check_number("lam", "1"), "got lam='1'"),
        (
            lambda: check_number("a", 1, at_least=0, below=1, why="a share"),
            r"a finite number >= 0 and < 1 \(a share\), got a=1",
        ),
        (lambda: check_number("a", 0, above=0, at_most=2), "> 0 and <= 2, got a=0"),
        (lambda: check_count("keep", -1), "keep must be a whole number >= 0.*keep=-1"),
        (lambda: check_count("keep", 2.0), "keep=2.0"),
        (lambda: check_count("keep", True), "keep=True"),
        (lambda: check_count("keep", 0, at_least=1), ">= 1, got keep=0"),
        (lambda: check_count("keep", 4, at_most=3), "and <= 3, got keep=4"),
        (lambda: check_tensor("x", X.long()), "x must be .* got torch.int64"),
        (lambda: check_tensor("x", [1.0]), "x must be a floating point .* got list"),
        (lambda: check_tensor("x", X, out=X[:1]), r"dtype and device of x, .*\(1, 3\)"),
        (lambda: check_tensor("x", X, out=X.double()), "float64"),
        (lambda: check_coefficient("lam", -0.1, X), ">= 0, got lam=-0.1"),
        (lambda: check_coefficient("step", 0, X, positive=True), "> 0, got step=0"),
        (lambda: check_coefficient("lam", torch.ones(2), X), r"broadcast.*\(2,\)"),
        (lambda: check_coefficient("lam", -torch.eye(3)[:2], X), "from -1 to -0"),
        (lambda: check_coefficient("lam", X / 0, X), "finite and >= 0 everywhere"),
        (
            lambda: check_coefficient("step", torch.eye(3)[:2], X, positive=True),
            "> 0 everywhere, got step from 0 to 1",
        ),
        (
            lambda: check_known("row", "gms", ["gsm", "dns"]),
            "'gms'; did you mean 'gsm'",
        ),
        (
            lambda: check_known("row", "x", ["gsm", "dns"]),
            "no row 'x'; known: gsm, dns",
        ),
    ],
)
def test_what_is_not_is_refused_with_its_name_value_and_range(refused, message):
    with pytest.raises(ValueError, match=message):
        refused()
