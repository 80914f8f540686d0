"""The fast path against the formulas in plain torch: every size, dtype and layout."""

import pytest
import torch
from test_operators import LAM, elementwise, every_operator, noise

from ece661_sparse.proximal import operators, prox_lq, prox_q_shrinkage

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.transpose(0, 2),
    "channels last": lambda t: t[None].to(memory_format=torch.channels_last),
    "strided": lambda t: t[::2, :, 1:],
    "without dimensions": lambda t: t[1, 2, 3],
    "empty": lambda t: t[:0],
    "in blocks": lambda t: noise(300_001, dtype=t.dtype),
}


def elementwise_in_plain_torch(formula, x, out, *coefficients, **_):
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    coefficients = [
        c.to(wide) if isinstance(c, torch.Tensor) else c for c in coefficients
    ]
    return formula(x.to(wide), *coefficients).to(x.dtype)


def check_equal_to_plain(prox, x, *arguments, **parameters):
    """New, elsewhere, beside other numbers and in place; and what autograd records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "elementwise", elementwise_in_plain_torch)
        expected = prox(x, *arguments, **parameters)
    # Powers depend, in their last bits, on where a block ends.
    eps = torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps
    rtol = 4 * eps if prox in (prox_lq, prox_q_shrinkage) else 0

    def check(z):
        assert (z.shape, z.dtype) == (x.shape, x.dtype)
        assert torch.equal(z == 0, expected == 0)
        torch.testing.assert_close(z, expected, rtol=rtol, atol=0)

    before = x.clone()
    check(prox(x, *arguments, **parameters))
    check(prox(x.clone().requires_grad_(), *arguments, **parameters).detach())
    beside = torch.full((*x.shape, 2), torch.nan, dtype=x.dtype)
    for out in (torch.empty_like(x), beside[..., 0]):
        assert prox(x, *arguments, **parameters, out=out) is out
        check(out)
    assert beside[..., 1].isnan().all()
    assert torch.equal(x, before)
    assert prox(x, *arguments, **parameters, out=x) is x
    check(x)


@every_operator
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_operator_is_its_formula(case, parameters, layout):
    for dtype in DTYPES:
        dense = noise(6, 5, 4, dtype=dtype)
        rest = torch.ones_like(dense)  # of the tensor that x is a part of
        LAYOUTS[layout](rest).zero_()
        before, x = dense * rest, LAYOUTS[layout](dense)
        check_equal_to_plain(case.prox, x, LAM, step=0.7, **parameters)
        assert torch.equal(dense * rest, before)


@elementwise
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_for_lam_and_step(prox, layout):
    for dtype in DTYPES:
        x = LAYOUTS[layout](noise(6, 5, 4, dtype=dtype))
        lam = torch.rand(x.shape[-1:], generator=torch.Generator().manual_seed(1))
        for lam_, step in ((lam, 0.7), (0.6, lam + 0.1), (lam, torch.tensor(0.3))):
            check_equal_to_plain(prox, x.clone(), lam_, step=step)


@every_operator
def test_expanded_tensors(case, parameters):
    x = noise(1, 5, 4).expand(3, -1, -1)
    expected = case.prox(x.contiguous(), LAM, **parameters)
    assert torch.equal(case.prox(x, LAM, **parameters), expected)
