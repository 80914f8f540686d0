"""From an answer to the verdict on it.

An answer is *to do*, *not yet* or *correct*, and nothing is raised, whatever the answer
does. What explains most comes first: an answer that cannot be called, a stub, a call
that fails, returns nothing or changes its input; then the known mistakes of the
exercise; then shape, dtype and device; then the values.
"""

import ast
import contextlib
import inspect
import linecache
import re
import textwrap
import traceback
from typing import Any

import torch
from torch import Tensor

from ece661_sparse.exercises.banner import Banner, State
from ece661_sparse.exercises.evidence import Evidence, compare, number, written_call
from ece661_sparse.exercises.exercise import TOLERANCE, Answer, Exercise, close
from ece661_sparse.exercises.trial import (
    Outcome,
    Trial,
    as_tensor,
    comparable,
    is_number,
)


def judge(exercise: Exercise, function: Any) -> Banner:
    """The verdict on an answer, as it is shown."""
    if function is exercise.reference:
        wanted = f"{exercise.name}{inspect.signature(exercise.reference)}"
        return Banner(
            exercise,
            State.TO_DO,
            "This is the reference solution, which the last check handed back. Run "
            f"your own `def {wanted}:` together with the check, under that very name.",
        )
    message = _cannot_be_called(exercise, function)
    if message:
        return Banner(exercise, State.NOT_YET, message)
    trial = Trial(exercise, function)
    if _is_stub(function, trial.ordinary[0]):
        return Banner(
            exercise,
            State.TO_DO,
            "Nothing to check yet: write the function above (its last line returns "
            "the result) and run the cell again.",
        )
    if all(each.error is None and each.value is None for each in trial.outcomes):
        return Banner(
            exercise,
            State.NOT_YET,
            "Your function returns nothing (`None`). Hand the result back with "
            "`return`: to print it, or to give it a name, is not enough.",
        )
    fault = _first_fault(trial)
    if fault:
        return Banner(exercise, State.NOT_YET, *fault)
    return Banner(
        exercise,
        State.CORRECT,
        f"Agrees with the reference on all {len(trial.outcomes)} sets of inputs.",
    )


def _first_fault(trial: Trial) -> tuple[str, Evidence] | None:
    """What is wrong, and the call that shows it."""
    # What is wrong on an ordinary input explains more than what is wrong on an edge.
    for outcomes in (trial.ordinary, trial.edges):
        for outcome in outcomes:
            if message := _wrong_call(trial, outcome):
                return message, Evidence(written_call(trial.exercise, outcome.args))
        for wrong in (_wrong_form, _wrong_values):
            for outcome in outcomes:
                if message := wrong(trial, outcome):
                    if outcomes is trial.ordinary:
                        message = _known_mistake(trial) or message
                    return message, compare(trial, outcome)
    return None


# --- can it be called, and is there anything to call? ----------------------------


def _cannot_be_called(exercise: Exercise, function: Any) -> str:
    """What is said of something that is no function, or one of other arguments."""
    name, wanted = exercise.name, inspect.signature(exercise.reference)
    if not callable(function):
        return (
            f"`check` was given {_kind(function)} and wants the function itself, not "
            f'called: `check("{name}", {name})`.'
        )
    with contextlib.suppress(ValueError, TypeError):  # a built-in may not have one
        theirs = inspect.signature(function)
        if not all(_binds(theirs, args) for args in exercise.cases + exercise.edges):
            return f"The arguments are `{name}{wanted}`; yours are `{name}{theirs}`."
    return ""


def _binds(signature: inspect.Signature, args: tuple[Any, ...]) -> bool:
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _is_stub(function: Answer, outcome: Outcome) -> bool:
    if _is_left_in(outcome.error):
        return not _is_begun(function)
    nothing = outcome.value is None or outcome.value is ...
    return outcome.error is None and nothing and not _is_begun(function)


def _is_left_in(error: BaseException | None) -> bool:
    """Whether the stub's own line was run."""
    if not isinstance(error, NotImplementedError):
        return False
    # PyTorch raises it too, for a kernel that is missing; the stub's own is bare
    # or stands on a line that raises it.
    frames = traceback.extract_tb(error.__traceback__)
    return not error.args or "NotImplementedError" in (frames[-1].line or "")


def _is_begun(function: Answer) -> bool:
    """Whether there is more in the function than a stub has, if its source is known."""
    try:
        (written,) = ast.parse(textwrap.dedent(source(function) or "")).body
    except (SyntaxError, ValueError):  # a lambda inside a call, or no source
        return False
    if not isinstance(written, ast.FunctionDef):
        return False
    stub = (ast.Pass, ast.Raise, ast.Expr, ast.Return)
    return not all(
        isinstance(line, stub)
        and isinstance(getattr(line, "value", None), ast.Constant | None)
        for line in written.body
    )


def source(function: Any) -> str | None:
    """A function as written, where that is known."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or not a function at all
        return None


# --- what is wrong with an outcome: a message, or none ---------------------------


def _wrong_call(trial: Trial, outcome: Outcome) -> str:
    """An error, a missing return, an input written to, or the wrong kind of result."""
    if _is_left_in(outcome.error):
        return (
            "Your function gets to the line `raise NotImplementedError`. Delete "
            "that line, and hand the result back with `return`."
        )
    if outcome.error is not None:
        return _told(outcome.error, trial.function)
    if outcome.value is None:
        return (
            "Your function returned nothing (`None`) for this call. Does every "
            "branch `return` something?"
        )
    if outcome.changed is not None:
        argument = trial.exercise.parameters[outcome.changed]
        methods = (
            "`append`, `pop` or `sort`"
            if isinstance(outcome.args[outcome.changed], list)
            else "method whose name ends in an underscore"
        )
        return (
            f"Your function changed its input `{argument}`. The caller still "
            f"needs it: work on a new one (no `{argument}[…] = …`, no {methods})."
        )
    if is_number(outcome.value) and is_number(outcome.expected):
        return ""
    if all(is_number(each.expected) for each in trial.outcomes):
        return f"Return a number; yours is {_kind(outcome.value)}."
    if not isinstance(outcome.value, Tensor):
        return f"Return a tensor; yours is {_kind(outcome.value)}."
    return ""


def _told(error: BaseException, function: Answer) -> str:
    """An error in one sentence: its type and text, and the student's last line."""
    try:
        text = str(error)
    except Exception:
        text = ""
    # Addresses change from run to run, and a long text hides the line below it.
    text = re.sub(r"0x[0-9a-f]+", "0x…", " ".join(text.split()))[:300]
    message = f"Your function raised {type(error).__name__}"
    if text:
        message += f": {text}"
    code = getattr(inspect.unwrap(function), "__code__", None)
    own = [
        (line, linecache.getline(code.co_filename, line).strip())
        for frame, line in traceback.walk_tb(error.__traceback__)
        if code and frame.f_code.co_filename == code.co_filename
    ]
    if own:
        line, written = own[-1]
        message += f" (line {line}" + (f": `{written}`)" if written else ")")
    message += "."
    if "Boolean value of Tensor" in text:
        message += (
            " Python's `if`, `and`, `max` and `min` want a single True or False; here "
            "is one for every entry. `torch.where` chooses entry by entry."
        )
    return message


def _wrong_form(trial: Trial, outcome: Outcome) -> str:
    """Shape, device and dtype."""
    value, expected = outcome.value, outcome.expected
    if not isinstance(value, Tensor) or (is_number(value) and is_number(expected)):
        return ""
    if value.shape != expected.shape:
        return (
            f"The result has shape `{tuple(value.shape)}`; it should have shape "
            f"`{tuple(expected.shape)}`."
        )
    if value.layout != expected.layout or value.device != expected.device:
        return (
            f"The result is a {value.layout} tensor on device `{value.device}`; it "
            f"should be like the input: {expected.layout} on `{expected.device}`."
        )
    if value.dtype == expected.dtype:
        return ""
    message = f"The result is `{value.dtype}`; it should be `{expected.dtype}`."
    if value.dtype == torch.bool:
        message += " A comparison gives True and False, not numbers."
    elif expected.is_floating_point():
        message += (
            " Somewhere a tensor is made or converted without the input's dtype: "
            "`torch.zeros_like(x)` keeps it, `torch.zeros(n)` and `.float()` do not."
        )
    right = not value.is_complex() and torch.allclose(
        value.double(), expected.double(), rtol=1e-3, atol=1e-5
    )
    return f"The values are right. {message}" if right else message


def _wrong_values(trial: Trial, outcome: Outcome) -> str:
    """The numbers themselves."""
    if trial.same(outcome, outcome.expected):
        return ""
    answer, right = as_tensor(outcome.value), as_tensor(outcome.expected)
    if (answer.isnan() & ~right.isnan()).any():
        return (
            "The result contains NaN: 0/0, 0 · ∞, a difference of infinities, or a "
            "root, power or logarithm of a negative number."
        )
    if outcome in trial.edges:
        return (
            "Right on ordinary inputs, wrong at this edge case (a knot, a tie, a zero "
            "or a limit)."
        )
    if factor := _factor(trial):
        return factor
    if right.ndim == 0:
        return "The number is not the expected one."
    agree = int(torch.isclose(answer, right, TOLERANCE, TOLERANCE).sum())
    return f"{agree} of {right.numel()} entries agree with the expected result."


def _known_mistake(trial: Trial) -> str:
    """What is said of the mistake that gives these very results, if there is one."""
    for mistake in trial.exercise.mistakes:
        if all(
            trial.same(outcome, mistake.implementation(*outcome.args))
            for outcome in trial.ordinary
        ):
            return mistake.message
    return ""


def _factor(trial: Trial) -> str:
    """The one number that all results are off by, if there is one."""
    answers = [as_tensor(each.value) for each in trial.ordinary]
    rights = [as_tensor(each.expected) for each in trial.ordinary]
    if not all(map(comparable, answers, rights)):
        return ""
    answer = torch.cat([each.flatten() for each in answers])
    right = torch.cat([each.flatten() for each in rights])
    factor = float(answer @ right / (right @ right))
    is_told = 0.001 < abs(factor) < 1001 and abs(factor - 1) > 0.01
    if right.count_nonzero() < 2 or not is_told or not close(answer, factor * right):
        return ""
    if close(torch.tensor(factor), torch.tensor(-1.0)):
        return "Every result has the opposite sign."
    return f"Every result is {number(factor)} times the expected one."


def _kind(value: Any) -> str:
    """What a value is, in words that are the same in every run."""
    if isinstance(value, Tensor):
        where = "" if value.device.type == "cpu" else f" on `{value.device}`"
        return f"a tensor of shape `{tuple(value.shape)}`, `{value.dtype}`{where}"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"a value of type `{module}{kind.__qualname__}`"
