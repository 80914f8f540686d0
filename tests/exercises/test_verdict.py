"""What is said of an answer, on two toy exercises."""

import sys

import numpy as np
import pytest
import torch
from toys import SHRINK, SPREAD, X, bare, divides_by_zero, in_place, right, shrink

from ece661_sparse.exercises import Exercise
from ece661_sparse.exercises.verdict import judge


def text(verdict):
    """The whole verdict as one line."""
    return " ".join(repr(verdict).split())


# --- to do -----------------------------------------------------------------------


def worded(x, factor=0.5):
    raise NotImplementedError("your code here")


def empty(x, factor=0.5):
    pass


def dots(x, factor=0.5):
    return ...


def documented(x, factor=0.5):
    """Half of x."""
    return None


@pytest.mark.parametrize("stub", [bare, worded, empty, dots, documented])
def test_a_stub_is_to_do(stub):
    said = text(judge(SHRINK, stub))
    assert "[TO DO] shrink (difficulty 1 of 3, about 5 minutes)" in said
    assert "Nothing to check yet: write the function above" in said
    assert ">>> Until then the reference solution is used below." in said


def test_the_reference_that_was_handed_back_is_no_answer():
    # The check is run again, under a function that is spelt differently.
    said = text(judge(SHRINK, shrink))
    assert "[TO DO] shrink" in said
    assert "your own `def shrink(x, factor=0.5):` together with the check" in said


# --- correct ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, factor=0.5: x * factor,
        lambda value, share=0.5: value - (1 - share) * value,
        lambda *args: torch.stack([xi * (args[1:] or (0.5,))[0] for xi in args[0]]),
        lambda x, factor=0.5: torch.nn.Parameter(x * factor),
    ],
)
def test_a_correct_answer(answer):
    said = text(judge(SHRINK, answer))
    assert "[CORRECT] shrink Agrees with the reference on all 3 sets of inputs." in said
    assert ">>> Your own function is used below." in said


def test_a_builtin_without_a_signature_is_judged_by_its_results():
    assert judge(SPREAD, torch.ones_like).state == "not yet"


@pytest.mark.parametrize(
    "convert",
    [float, np.float64, torch.tensor, lambda v: torch.tensor(v).float(), np.float32],
)
def test_a_number_may_be_held_in_several_ways(convert):
    verdict = judge(SPREAD, lambda x: convert(float(x.max() - x.min())))
    assert verdict.state == "correct"


@pytest.mark.parametrize(("error", "state"), [(1e-7, "correct"), (1e-3, "not yet")])
def test_the_tolerance_forgives_rounding_and_nothing_else(error, state):
    assert judge(SHRINK, lambda x, factor=0.5: x * factor + error).state == state


# --- not yet ---------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def unprintable(x, factor=0.5):
    raise Unprintable


def addresses(x, factor=0.5):
    raise ValueError(f"{object()} is odd")


def endless(x, factor=0.5):
    return endless(x, factor)


def exits(x, factor=0.5):
    sys.exit("bye")


def calls_a_missing_kernel(x, factor=0.5):  # torch raises NotImplementedError, too
    return torch.ops.aten.softshrink(x.int(), factor)


def forgets_a_return(x, factor=0.5):
    if factor == 0.5:
        return x * factor


def returns_nothing(x, factor=0.5):
    y = x * factor  # noqa: F841


def prints(x, factor=0.5):
    print(x * factor)


def keeps_the_stub(x, factor=0.5):
    y = x * factor
    raise NotImplementedError  # your code here
    return y


def keeps_the_stub_in_a_branch(x, factor=0.5):
    if factor == 0.5:
        return x * factor
    raise NotImplementedError  # your code here


def asks_a_tensor(x, factor=0.5):
    if x > 0:
        return x * factor


def fails_at_zero(x, factor=0.5):
    if not x.any():
        raise ValueError("all zero")
    return -x * factor


def wrong_edge(x, factor=0.5):
    return x * factor + (x == 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (3.0, "given a value of type `float` and wants the function"),
        (X, "given a tensor of shape `(3,)`"),
        (lambda x: x, "The arguments are `shrink(x, factor=0.5)`; yours are"),
        (divides_by_zero, "raised ZeroDivisionError: "),
        (divides_by_zero, "`return y / (1 // 0)`"),
        (unprintable, "raised Unprintable (line"),
        (addresses, "<object object at 0x…> is odd"),
        (endless, "raised RecursionError"),
        (exits, "raised SystemExit: bye"),
        (calls_a_missing_kernel, "raised NotImplementedError: "),
        (forgets_a_return, "returned nothing (`None`) for this call. Does every"),
        (returns_nothing, "Your function returns nothing (`None`). Hand the result"),
        (prints, "Your function returns nothing (`None`). Hand the result"),
        (keeps_the_stub, "gets to the line `raise NotImplementedError`. Delete"),
        (keeps_the_stub_in_a_branch, "gets to the line `raise NotImplementedError`"),
        (asks_a_tensor, "`torch.where` chooses entry by entry"),
        (in_place, "changed its input `x`"),
        (in_place, "no method whose name ends in an underscore)"),
        (lambda x, factor=0.5: x.resize_(0), "changed its input `x`"),
        (fails_at_zero, "Every result has the opposite sign."),
        (lambda x, factor=0.5: -x * factor, "Every result has the opposite sign."),
        (lambda x, factor=0.5: 100 * x * factor, "Every result is 100 times the exp"),
        (lambda x, factor=0.5: x * factor / 3, "Every result is 0.3333 times the ex"),
        (lambda x, factor=0.5: x * factor * 1.001, "0 of 3 entries agree"),
        (lambda x, factor=0.5: x * 0, "0 of 3 entries agree"),
        (lambda x, factor=0.5: (x * factor).tolist(), "a value of type `list`"),
        (lambda x, factor=0.5: (x * factor).numpy(), "of type `numpy.ndarray`"),
        (lambda x, factor=0.5: x.max(0), "of type `torch.return_types.max`"),
        (lambda x, factor=0.5: 0.0, "yours is a value of type `float`"),
        (lambda x, factor=0.5: x[:1], "has shape `(1,)`; it should have shape `(3,)`"),
        (lambda x, factor=0.5: x.expand(10**9, 3), "shape `(1000000000, 3)`"),
        (lambda x, factor=0.5: [0] * 10**6, "a value of type `list`"),
        (lambda x, factor=0.5: (x * factor).float(), "The values are right. The res"),
        (lambda x, factor=0.5: x.float(), "The result is `torch.float32`; it should"),
        (lambda x, factor=0.5: (x * factor).int(), "The result is `torch.int32`"),
        (lambda x, factor=0.5: x < 0, "A comparison gives True and False, not numbers"),
        (lambda x, factor=0.5: (x * factor).cfloat(), "The result is `torch.complex"),
        (lambda x, factor=0.5: (x * factor).cdouble(), "The result is `torch.compl"),
        (lambda x, factor=0.5: x.to("meta"), "on device `meta`"),
        (lambda x, factor=0.5: (x * factor).to_sparse(), "torch.sparse_coo tensor"),
        (lambda x, factor=0.5: x * float("nan"), "contains NaN"),
        (lambda x, factor=0.5: x * float("inf"), "0 of 3 entries agree"),
        (lambda x, factor=0.5: x * 1e300, "0 of 3 entries agree"),
        (lambda x, factor=0.5: x.clamp(max=1.5) * factor, "2 of 3 entries agree"),
        (wrong_edge, "wrong at this edge case"),
        (lambda x, factor=0.5: x / factor, "You divide."),
        (lambda x, factor=0.5: x / factor + (x == 0), "You divide."),
        (lambda x, factor=0.5: x > 0, "That is the mask."),
        (lambda x, factor=0.5: (x > 0).double(), "That is the mask."),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_raised(answer, message):
    said = text(judge(SHRINK, answer))
    assert "[NOT YET] shrink (difficulty 1 of 3, about 5 minutes)" in said
    assert message in said
    assert ">>> The reference solution is used below instead of your function." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "Return a number; yours is a value of type `bool`"),
        ("5", "Return a number; yours is a value of type `str`"),
        (X[:1], "Return a number; yours is a tensor of shape `(1,)`"),
        (X[0].to("meta"), "yours is a tensor of shape `()`, `torch.float64` on `meta`"),
        (torch.tensor(1j), "yours is a tensor of shape `()`, `torch.complex64`"),
        (10**400, "The number is not the expected one"),
        (float("nan"), "contains NaN"),
        (4.9, "The number is not the expected one"),
    ],
)
def test_a_wrong_number(value, message):
    assert message in judge(SPREAD, lambda x: value).message


def test_a_list_is_given_as_a_copy_and_has_to_stay_as_it_is():
    def last(answers):
        return answers[-1]

    answers = [3, 1, 2]
    exercise = Exercise(last, "first", 5, 1, cases=((answers,),), mistakes=())
    said = judge(exercise, lambda answers: answers.pop()).message
    assert "changed its input `answers`" in said
    assert "(no `answers[…] = …`, no `append`, `pop` or `sort`)" in said
    assert answers == [3, 1, 2]
    assert judge(exercise, lambda answers: sorted(answers)[1]).state == "correct"


def test_a_result_may_be_a_number_for_some_inputs_only():
    def total(x):
        return x.sum(-1)

    rows = torch.ones(2, 3, dtype=torch.float64)
    exercise = Exercise(total, "first", 5, 1, cases=((rows,), (rows[0],)), mistakes=())
    for answer, message in [
        (lambda x: x.sum(-1, keepdim=True), "has shape `(2, 1)`; it should have shape"),
        (lambda x: x.sum(-1) if x.ndim > 1 else x.sum(-1, keepdim=True), "shape `()`"),
        (lambda x: x.sum(-1) if x.ndim > 1 else [3.0], "Return a tensor; yours is a v"),
    ]:
        assert message in judge(exercise, answer).message
    verdict = judge(exercise, lambda x: x.sum(-1) if x.ndim > 1 else float(x.sum(-1)))
    assert verdict.state == "correct"


def test_the_failing_line_is_counted_in_the_students_own_code():
    source = "def shrink(x, factor=0.5):\n\n    return helper(x)\n"
    namespace = {"helper": lambda x: x.unheard_of}
    exec(compile(source, "<cell>", "exec"), namespace)
    said = judge(SHRINK, namespace["shrink"]).message
    assert "raised AttributeError: 'Tensor' object has no attribute 'unheard" in said
    assert "(line 3)" in said


def test_an_interrupt_is_not_swallowed():
    def interrupted(x, factor=0.5):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(SHRINK, interrupted)


def test_the_cases_survive_an_answer_that_writes_into_them():
    before = X.clone()
    judge(SHRINK, in_place)
    assert torch.equal(before, X)
    assert judge(SHRINK, right).state == "correct"
