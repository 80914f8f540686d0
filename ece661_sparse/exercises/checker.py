"""The checker behind the book's exercise cells.

An answer is *to do*, *not yet* or *correct*, and a check raises nothing, whatever the
answer does: for the first two it hands back the reference, so that the rest of the
notebook runs. It looks first for what explains most: structure (a call that fails,
returns nothing or changes its input), then the known mistakes of the exercise, then
shape, dtype and device, then the values.
"""

import ast
import contextlib
import copy
import difflib
import inspect
import json
import linecache
import math
import numbers
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ece661_sparse import __version__
from ece661_sparse.exercises.banner import (
    EXPECTED,
    YOURS,
    Banner,
    Curve,
    Evidence,
    Mark,
    Panel,
    State,
    Table,
    number,
)

Answer = Callable[..., Any]
Comparison = Callable[[Tensor, Tensor, tuple[Any, ...]], bool]
MOST_ROWS = 6
TOLERANCE = 1e-5  # a bisection may stop early; no known mistake is this small


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that students are known to write, and what to say."""

    implementation: Answer
    message: str


def close(answer: Tensor, expected: Tensor, args: tuple[Any, ...] = ()) -> bool:
    """Equal to five digits; NaN and infinity equal themselves."""
    return torch.allclose(answer, expected, TOLERANCE, TOLERANCE, equal_nan=True)


def close_up_to_ties(answer: Tensor, expected: Tensor, args: tuple[Any, ...]) -> bool:
    """Equal to five digits, whichever of two equal magnitudes of the input was chosen.

    For operators whose result is a two-point set at a tie; the input is ``args[0]``.
    """
    x = args[0].flatten()
    side = torch.where(x < 0, -1.0, 1.0)

    def arranged(result: Tensor) -> Tensor:
        """The results relative to the input's sign, sorted inside each tie."""
        ascending = (result.flatten() * side).sort().indices
        by_size = x.abs()[ascending].sort(stable=True).indices
        return (result.flatten() * side)[ascending[by_size]]

    return close(arranged(answer), arranged(expected))


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is right, what usually goes wrong, and what tells them apart.

    Attributes:
        reference: The solution. Its name and signature are those of the stub, and its
            source is what the book's solutions page shows.
        chapter: The notebook that poses the exercise.
        minutes: How long it takes.
        difficulty: From 1 (write down the formula) to 3 (think first).
        cases: Argument tuples that tell the mistakes from the reference and from each
            other; the first ones small, for they are what a wrong answer is shown.
        edges: Further argument tuples: knots, ties and limits, where an answer must be
            right but a mistake may be told from its twin only by convention.
        mistakes: The known mistakes.
        same: Whether two results on the same arguments count as equal.
        objective: For a scalar shrinkage function, what it minimises:
            ``objective(z, x, *parameters)``. Draws the plot under a wrong answer.
    """

    reference: Answer
    chapter: str
    minutes: int
    difficulty: int
    cases: tuple[tuple[Any, ...], ...]
    mistakes: tuple[Mistake, ...]
    edges: tuple[tuple[Any, ...], ...] = ()
    same: Comparison = close
    objective: Callable[..., Tensor] | None = None

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__

    @property
    def subtitle(self) -> str:
        """Difficulty and minutes, as the banner shows them."""
        return f"difficulty {self.difficulty} of 3, about {self.minutes} minutes"


class NotSolvedError(AssertionError):
    """Raised in strict mode (``ECE661_STRICT=1``) by to do and not yet."""


@dataclass
class _Record:
    """What this process knows about one exercise."""

    exercise: Exercise
    state: State = State.TO_DO
    attempts: int = 0
    source: str | None = None


_RECORDS: dict[str, _Record] = {}


def register(exercises: Iterable[Exercise]) -> None:
    """Make exercises known to :func:`check` and :func:`progress`, in this order."""
    for exercise in exercises:
        if exercise.name in _RECORDS:
            raise ValueError(f"exercise {exercise.name!r} is registered twice")
        _RECORDS[exercise.name] = _Record(exercise)


def exercises() -> Iterator[Exercise]:
    """All exercises, in the order of the book."""
    return (record.exercise for record in _RECORDS.values())


def solution_source(name: str) -> str:
    """The source of an exercise's reference solution.

    Raises:
        ValueError: If there is no exercise of that name.
    """
    return inspect.getsource(_find(name).exercise.reference)


def check(name: str, function: Answer) -> Answer:
    """Check an answer, show the verdict, and return a function to go on with.

    Args:
        name: The exercise.
        function: The student's function.

    Returns:
        ``function`` when it is correct, otherwise the reference.

    Raises:
        ValueError: If there is no exercise of that name.
        NotSolvedError: In strict mode only, when the answer is not correct.
    """
    record = _find(name)
    banner = _verdict(record.exercise, function)
    record.state = banner.state
    is_theirs = function is not record.exercise.reference
    record.source = _source(function) if is_theirs else None
    if banner.state is not State.TO_DO:
        record.attempts += 1
    if banner.state is not State.CORRECT and os.environ.get("ECE661_STRICT") == "1":
        raise NotSolvedError(f"\n{banner!r}")
    _show(banner)
    return function if banner.state is State.CORRECT else record.exercise.reference


def progress(path: str | Path | None = None, *, chapter: str | None = None) -> Table:
    """What is done in this session, as a table; with a path, also as a file.

    A kernel forgets, and every chapter has its own. So a file that is there already
    goes on: what was tried in this session is brought up to date, the rest stays.

    Args:
        path: Where to write the record for the instructor: one JSON object with the
            package's version and, for every exercise, its name, chapter, state, number
            of attempts and the source of the last answer.
        chapter: Show and write this chapter only.

    Raises:
        ValueError: If there is no such chapter, or if the file that is there was not
            written by this function.
    """
    chapters = list(dict.fromkeys(each.exercise.chapter for each in _RECORDS.values()))
    if chapter is not None and chapter not in chapters:
        raise ValueError(f"chapter is {chapter!r}; it must be one of {chapters}")
    if path in chapters:
        raise ValueError(f"to see one chapter, write progress(chapter={path!r})")
    entries: dict[str, dict[str, Any]] = {
        name: {
            "name": name,
            "chapter": record.exercise.chapter,
            "state": record.state,
            "attempts": record.attempts,
            "source": record.source,
        }
        for name, record in _RECORDS.items()
        if chapter in (None, record.exercise.chapter)
    }
    listed = list(entries)
    if path is not None:
        for name, entry in _written_before(Path(path)).items():
            tried_now = name in entries and entries[name]["attempts"] > 0
            if not tried_now and entry["state"] != State.TO_DO:
                entries[name] = entry
        report = {
            "package": "ece661-sparse",
            "version": __version__,
            "exercises": list(entries.values()),
        }
        text = json.dumps(report, indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")
    done = sum(entries[name]["state"] == State.CORRECT for name in listed)
    written = f"; written to {path}" if path is not None else ""
    return Table(
        caption=f"{done} of {len(listed)} exercises correct{written}",
        header=("state", "exercise", "minutes", "chapter"),
        rows=tuple(
            (
                entries[name]["state"],
                name,
                str(_RECORDS[name].exercise.minutes),
                entries[name]["chapter"],
            )
            for name in listed
        ),
        align="llrl",
    )


def _written_before(path: Path) -> dict[str, dict[str, Any]]:
    """The exercises in a file of :func:`progress`, none where there is no file."""
    if not path.exists():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["package"] == "ece661-sparse":
            return {entry["name"]: entry for entry in report["exercises"]}
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"{path} is there and was not written by progress(); choose another name"
    )


def _find(name: Any) -> _Record:
    if callable(name):
        own = getattr(name, "__name__", "name")
        raise ValueError(f'the name comes first: check("{own}", {own})')
    if name not in _RECORDS:
        near = difflib.get_close_matches(str(name), _RECORDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {list(_RECORDS)}"
        raise ValueError(f"there is no exercise {name!r}; {hint}")
    return _RECORDS[name]


def _source(function: Any) -> str | None:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or not a function at all
        return None


def _show(banner: Banner) -> None:
    """Rich output in a notebook, plain text elsewhere."""
    # A notebook has imported IPython long ago; a script must not pay for it.
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        from IPython.display import display

        display(banner)
    else:
        print(banner)


# --- the verdict -----------------------------------------------------------------


@dataclass(frozen=True)
class _Outcome:
    """One call of a function: the value it returned or the error it raised."""

    args: tuple[Any, ...]
    value: Any = None
    error: BaseException | None = None
    changed: int | None = None  # the position of an argument that it changed


@dataclass(frozen=True)
class _Finding:
    """What keeps an answer from being correct, with the call that shows it."""

    message: str
    outcome: _Outcome | None = None
    expected: Any = None


def _verdict(exercise: Exercise, function: Any) -> Banner:
    if function is exercise.reference:
        wanted = f"{exercise.name}{inspect.signature(exercise.reference)}"
        return _to_do(
            exercise,
            "This is the reference solution, which the last check handed back. Run "
            f"your own `def {wanted}:` together with the check, under that very name.",
        )
    finding = _structure(exercise, function)
    if isinstance(finding, _Finding):
        return _not_yet(exercise, function, finding)
    outcomes = finding
    if _is_stub(function, outcomes[0]):
        return _to_do(
            exercise,
            "Nothing to check yet: write the function above (its last line returns "
            "the result) and run the cell again.",
        )
    if all(outcome.error is None and outcome.value is None for outcome in outcomes):
        message = (
            "Your function returns nothing (`None`). Hand the result back with "
            "`return`: to print it, or to give it a name, is not enough."
        )
        return _not_yet(exercise, function, _Finding(message))
    ordinary = len(exercise.cases)  # what is wrong there explains more than an edge
    for some in (outcomes[:ordinary], outcomes[ordinary:]):
        found = _wrong_call(exercise, function, some) or _wrong_result(exercise, some)
        if found:
            return _not_yet(exercise, function, found)
    return Banner(
        State.CORRECT,
        exercise.name,
        "",
        f"Agrees with the reference on all {len(outcomes)} sets of inputs.",
        "Your own function is used below.",
    )


def _structure(exercise: Exercise, function: Any) -> _Finding | list[_Outcome]:
    """Call the answer on every case, unless it cannot even be called."""
    name, wanted = exercise.name, inspect.signature(exercise.reference)
    if not callable(function):
        return _Finding(
            f"`check` was given {_kind(function)} and wants the function itself, not "
            f'called: `check("{name}", {name})`.'
        )
    cases = exercise.cases + exercise.edges
    with contextlib.suppress(ValueError, TypeError):  # a built-in may not have one
        theirs = inspect.signature(function)
        if not all(_binds(theirs, args) for args in cases):
            return _Finding(
                f"The arguments are `{name}{wanted}`; yours are `{name}{theirs}`."
            )
    return [_call(function, args) for args in cases]


def _binds(signature: inspect.Signature, args: tuple[Any, ...]) -> bool:
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _call(function: Answer, args: tuple[Any, ...]) -> _Outcome:
    """Call on copies, so that an answer that writes into its input harms nobody."""
    copies = copy.deepcopy(args)
    try:
        value = function(*copies)
    except (Exception, SystemExit) as error:
        return _Outcome(args, error=error)
    changed = [
        position
        for position, (arg, given) in enumerate(zip(args, copies, strict=True))
        if not _is_as_it_was(arg, given)
    ]
    return _Outcome(args, value, changed=changed[0] if changed else None)


def _is_as_it_was(arg: Any, given: Any) -> bool:
    """Whether an argument has been left alone; a list by its entries."""
    if isinstance(arg, Tensor):
        return isinstance(given, Tensor) and torch.equal(arg, given.detach())
    if isinstance(arg, list):
        return len(arg) == len(given) and all(map(_is_as_it_was, arg, given))
    return arg == given


def _is_stub(function: Answer, outcome: _Outcome) -> bool:
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
        (written,) = ast.parse(textwrap.dedent(_source(function) or "")).body
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


def _wrong_call(
    exercise: Exercise, function: Answer, outcomes: list[_Outcome]
) -> _Finding | None:
    """An error, a missing return, an input written to, or the wrong kind of result."""
    expected = [exercise.reference(*outcome.args) for outcome in outcomes]
    wants_a_number = all(map(_is_number, expected))
    for outcome, right in zip(outcomes, expected, strict=True):
        if _is_left_in(outcome.error):
            return _Finding(
                "Your function gets to the line `raise NotImplementedError`. Delete "
                "that line, and hand the result back with `return`.",
                outcome,
            )
        if outcome.error is not None:
            return _Finding(_told(outcome.error, function), outcome)
        if outcome.value is None:
            return _Finding(
                "Your function returned nothing (`None`) for this call. Does every "
                "branch `return` something?",
                outcome,
            )
        if outcome.changed is not None:
            argument = list(inspect.signature(exercise.reference).parameters)[
                outcome.changed
            ]
            is_list = isinstance(outcome.args[outcome.changed], list)
            methods = (
                "`append`, `pop` or `sort`"
                if is_list
                else "method whose name ends in an underscore"
            )
            return _Finding(
                f"Your function changed its input `{argument}`. The caller still "
                f"needs it: work on a new one (no `{argument}[…] = …`, no {methods}).",
                outcome,
            )
        if wants_a_number and not _is_number(outcome.value):
            return _Finding(
                f"Return a number; yours is {_kind(outcome.value)}.", outcome
            )
        is_number = _is_number(right) and _is_number(outcome.value)
        if not is_number and not isinstance(outcome.value, Tensor):
            return _Finding(
                f"Return a tensor; yours is {_kind(outcome.value)}.", outcome
            )
    return None


def _wrong_result(exercise: Exercise, outcomes: list[_Outcome]) -> _Finding | None:
    """The first result that differs, with the name of the mistake where it has one."""
    expected = [exercise.reference(*outcome.args) for outcome in outcomes]
    for check_one in (_form, _values):
        for outcome, right in zip(outcomes, expected, strict=True):
            message = check_one(exercise, outcome, right)
            if message and not _is_edge(exercise, outcome):
                by_a_factor = check_one is _values and _factor(outcomes, expected)
                message = _known_mistake(exercise, outcomes) or by_a_factor or message
            if message:
                return _Finding(message, outcome, right)
    return None


def _is_edge(exercise: Exercise, outcome: _Outcome) -> bool:
    return any(outcome.args is edge for edge in exercise.edges)


def _known_mistake(exercise: Exercise, outcomes: list[_Outcome]) -> str | None:
    """The mistake that gives these very answers."""
    for mistake in exercise.mistakes:
        if all(
            _same(exercise, outcome, mistake.implementation(*outcome.args))
            for outcome in outcomes
        ):
            return mistake.message
    return None


def _factor(outcomes: list[_Outcome], expected: Sequence[Any]) -> str | None:
    """The one number that all results are off by, when there is one."""
    answers = [_tensor(outcome.value) for outcome in outcomes]
    rights = [_tensor(right) for right in expected]
    if not all(map(_alike, answers, rights)):
        return None
    answer = torch.cat([each.flatten() for each in answers])
    right = torch.cat([each.flatten() for each in rights])
    factor = float(answer @ right / (right @ right))
    is_told = 0.001 < abs(factor) < 1001 and abs(factor - 1) > 0.01
    if right.count_nonzero() < 2 or not is_told or not close(answer, factor * right):
        return None
    if close(torch.tensor(factor), torch.tensor(-1.0)):
        return "Every result has the opposite sign."
    return f"Every result is {number(factor)} times the expected one."


def _form(exercise: Exercise, outcome: _Outcome, expected: Any) -> str:
    """Shape, dtype, device."""
    value = outcome.value
    if not isinstance(value, Tensor) or (_is_number(value) and _is_number(expected)):
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


def _values(exercise: Exercise, outcome: _Outcome, expected: Any) -> str:
    """The numbers themselves."""
    if _same(exercise, outcome, expected):
        return ""
    answer, right = _tensor(outcome.value), _tensor(expected)
    if (answer.isnan() & ~right.isnan()).any():
        return (
            "The result contains NaN: 0/0, 0 · ∞, a difference of infinities, or a "
            "root, power or logarithm of a negative number."
        )
    if _is_edge(exercise, outcome):
        return (
            "Right on ordinary inputs, wrong at this edge case (a knot, a tie, a zero "
            "or a limit)."
        )
    if right.ndim == 0:
        return "The number is not the expected one."
    agree = int(torch.isclose(answer, right, TOLERANCE, TOLERANCE).sum())
    return f"{agree} of {right.numel()} entries agree with the expected result."


def _same(exercise: Exercise, outcome: _Outcome, other: Any) -> bool:
    """Whether a call's result equals another result, whatever their dtypes."""
    answer, right = _tensor(outcome.value), _tensor(other)
    return _alike(answer, right) and exercise.same(answer, right, outcome.args)


def _alike(answer: Tensor, right: Tensor) -> bool:
    """Whether two results can be compared entry by entry."""
    like = answer.device == right.device and answer.layout == right.layout
    return like and answer.shape == right.shape and not answer.is_complex()


def _is_number(value: Any) -> bool:
    """A real number as Python, NumPy or a tensor without dimensions holds it."""
    if isinstance(value, Tensor):
        on_cpu = value.device.type == "cpu" and value.layout == torch.strided
        real = not value.is_complex() and value.dtype != torch.bool
        return value.ndim == 0 and on_cpu and real
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _tensor(value: Any) -> Tensor:
    """The value as a float64 tensor without history."""
    if isinstance(value, Tensor):
        return value.detach().to(value.dtype if value.is_complex() else torch.float64)
    try:
        return torch.tensor(float(value), dtype=torch.float64)
    except OverflowError:  # a Python integer beyond the floats
        return torch.tensor(math.inf if value > 0 else -math.inf).double()


# --- the words and the drawing ---------------------------------------------------


def _to_do(exercise: Exercise, message: str) -> Banner:
    return Banner(
        State.TO_DO,
        exercise.name,
        exercise.subtitle,
        message,
        "Until then the reference solution is used below.",
    )


def _not_yet(exercise: Exercise, function: Any, finding: _Finding) -> Banner:
    evidence = None
    if finding.outcome is not None:
        evidence = Evidence(_written_call(exercise, finding.outcome.args))
        if finding.expected is not None and _alike(
            _tensor(finding.outcome.value), _tensor(finding.expected)
        ):
            evidence = _compared(exercise, function, finding)
    return Banner(
        State.NOT_YET,
        exercise.name,
        exercise.subtitle,
        finding.message,
        "The reference solution is used below instead of your function.",
        evidence,
    )


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
        line, source = own[-1]
        message += f" (line {line}" + (f": `{source}`)" if source else ")")
    message += "."
    if "Boolean value of Tensor" in text:
        message += (
            " Python's `if`, `and`, `max` and `min` want a single True or False; here "
            "is one for every entry. `torch.where` chooses entry by entry."
        )
    return message


def _kind(value: Any) -> str:
    """What a value is, in words that are the same in every run."""
    if isinstance(value, Tensor):
        where = "" if value.device.type == "cpu" else f" on `{value.device}`"
        return f"a tensor of shape `{tuple(value.shape)}`, `{value.dtype}`{where}"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"a value of type `{module}{kind.__qualname__}`"


def _written(value: Any) -> str:
    """An argument as one would type it, rounded; a long tensor by its shape."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, Tensor):
        small = value.numel() <= 12
        return _written(value.tolist()) if small else f"<shape {tuple(value.shape)}>"
    return number(value) if isinstance(value, int | float) else repr(value)


def _written_call(
    exercise: Exercise, args: tuple[Any, ...], tabulated: tuple[str, ...] = ()
) -> str:
    """The failing call; arguments that the table lists appear by name only."""
    names = inspect.signature(exercise.reference).parameters
    written = (
        name if name in tabulated else f"{name}={_written(arg)}"
        for name, arg in zip(names, args, strict=False)
    )
    return f"{exercise.name}({', '.join(written)})"


def _compared(exercise: Exercise, function: Answer, finding: _Finding) -> Evidence:
    """Yours beside the expected, entry by entry; the plot where there is one."""
    assert finding.outcome is not None
    args = finding.outcome.args
    answer, right = _tensor(finding.outcome.value), _tensor(finding.expected)
    columns = {
        name: arg
        for name, arg in zip(
            inspect.signature(exercise.reference).parameters, args, strict=False
        )
        if right.ndim and isinstance(arg, Tensor) and arg.shape == right.shape
    }
    differ = ~torch.isclose(answer, right, TOLERANCE, TOLERANCE, equal_nan=True)
    every = right.numel() <= MOST_ROWS
    entries = torch.arange(right.numel())[every | differ.flatten()].tolist()
    listed = [*columns.values(), answer, right]
    table = Table(
        header=(*columns, "yours", "expected", ""),
        rows=tuple(
            (
                *(number(float(column.flatten()[entry])) for column in listed),
                "←" if differ.flatten()[entry] else "",
            )
            for entry in entries[:MOST_ROWS]
        ),
        align="r" * len(listed) + "l",
    )
    hidden = len(entries) - MOST_ROWS
    note = f"and {hidden} more wrong entries" if hidden > 0 else ""
    panels: tuple[Panel, ...] = ()
    if exercise.objective and differ.any():
        plotted, panels = _plotted(exercise, function, args, answer, right)
        note = f"{note}. {plotted}".lstrip(". ")
    return Evidence(_written_call(exercise, args, tuple(columns)), table, note, panels)


def _plotted(
    exercise: Exercise,
    function: Answer,
    args: tuple[Any, ...],
    answer: Tensor,
    right: Tensor,
) -> tuple[str, tuple[Panel, ...]]:
    """Both functions; the objective where they differ most, and its minimum."""
    assert exercise.objective is not None
    inputs, *parameters = args
    gap = (answer - right).nan_to_num(nan=math.inf).abs().flatten()
    worst = int(gap.argmax())
    x, z = inputs.flatten()[worst], answer.flatten()[worst]

    def objective(z: Tensor) -> Tensor:
        assert exercise.objective is not None
        return exercise.objective(z, x, *parameters)

    reach = 1.5 * max(1.0, float(inputs.flatten()[gap > TOLERANCE].abs().max()))
    grid = torch.linspace(-reach, reach, 121, dtype=torch.float64)
    curves = [Curve(exercise.reference(grid, *parameters).tolist(), EXPECTED)]
    yours = _call(function, (grid, *parameters)).value
    if isinstance(yours, Tensor) and _alike(_tensor(yours), grid):
        curves.append(Curve(_tensor(yours).tolist(), YOURS, dashed=True))
    functions = Panel("expected and yours", grid.tolist(), tuple(curves), "x")

    # By brute force on two grids, not by the reference: the plot is the proof.
    coarse = torch.linspace(-reach, reach, 2001, dtype=torch.float64)
    near = coarse[objective(coarse).argmin()]
    fine = near + torch.linspace(-0.002, 0.002, 2001, dtype=torch.float64) * reach
    best = fine[objective(fine).argmin()]
    marks = [Mark(float(best), float(objective(best)), EXPECTED, cross=False)]
    note = (
        f"At x = {number(float(x))} the objective is smallest at "
        f"z = {number(float(best))} ({number(marks[0].y)})"
    )
    shown = [0.0, float(best)]
    if z.abs() < 3 * reach:
        marks.append(Mark(float(z), float(objective(z)), YOURS, cross=True))
        note += f"; at your z = {number(float(z))} it is {number(marks[1].y)}"
        shown.append(float(z))
    margin = 0.4 * max(1.0, max(shown) - min(shown))
    window = torch.linspace(
        min(shown) - margin, max(shown) + margin, 121, dtype=torch.float64
    )
    curve = Curve(objective(window).tolist(), EXPECTED)
    title = f"the objective at x = {number(float(x))}"
    return f"{note}.", (
        functions,
        Panel(title, window.tolist(), (curve,), "z", tuple(marks)),
    )
