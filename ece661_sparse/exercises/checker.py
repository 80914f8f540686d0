"""The checker behind the book's exercise cells.

An answer is *to do*, *not yet* or *correct*, and a check raises nothing, whatever the
answer does: for the first two it hands back the reference, so that the rest of the
notebook runs. It looks first for what explains most: structure (a call that fails,
returns nothing or changes its input), then the known mistakes of the exercise, then
shape, dtype and device, then the values.
"""

import contextlib
import difflib
import inspect
import json
import linecache
import math
import numbers
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
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
    record.source = _source(function)
    if banner.state is not State.TO_DO:
        record.attempts += 1
    if banner.state is not State.CORRECT and os.environ.get("ECE661_STRICT") == "1":
        raise NotSolvedError(f"\n{banner!r}")
    _show(banner)
    return function if banner.state is State.CORRECT else record.exercise.reference


def progress(path: str | Path | None = None, *, chapter: str | None = None) -> Table:
    """What is done in this session, as a table; with a path, also as a file.

    Args:
        path: Where to write the record for the instructor: one JSON object with the
            package's version and, for every exercise, its name, chapter, state, number
            of attempts and the source of the last answer.
        chapter: Show and write this chapter only.

    Raises:
        ValueError: If there is no such chapter.
    """
    chapters = {record.exercise.chapter for record in _RECORDS.values()}
    if chapter is not None and chapter not in chapters:
        raise ValueError(
            f"chapter is {chapter!r}; it must be one of {sorted(chapters)}"
        )
    records = [
        record
        for record in _RECORDS.values()
        if chapter in (None, record.exercise.chapter)
    ]
    if path is not None:
        report = {
            "package": "ece661-sparse",
            "version": __version__,
            "exercises": [
                {
                    "name": record.exercise.name,
                    "chapter": record.exercise.chapter,
                    "state": record.state,
                    "attempts": record.attempts,
                    "source": record.source,
                }
                for record in records
            ],
        }
        text = json.dumps(report, indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")
    done = sum(record.state is State.CORRECT for record in records)
    return Table(
        caption=f"{done} of {len(records)} exercises correct",
        header=("state", "exercise", "minutes", "chapter"),
        rows=tuple(
            (
                record.state,
                record.exercise.name,
                str(record.exercise.minutes),
                record.exercise.chapter,
            )
            for record in records
        ),
        align="llrl",
    )


def _find(name: str) -> _Record:
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
    finding = _structure(exercise, function)
    if isinstance(finding, _Finding):
        return _not_yet(exercise, function, finding)
    outcomes = finding
    if _is_stub(outcomes[0]):
        return Banner(
            State.TO_DO,
            exercise.name,
            exercise.subtitle,
            "Nothing to check yet: write the function above (its last line returns "
            "the result) and run the cell again.",
            "Until then the reference solution is used below.",
        )
    found = _wrong_call(exercise, function, outcomes) or _wrong_result(
        exercise, outcomes
    )
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
            f"`check` was given {_kind(function)}, not a function. Pass the function "
            f'itself, without calling it: `check("{name}", {name})`.'
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
    copies = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
    try:
        value = function(*copies)
    except (Exception, SystemExit) as error:
        return _Outcome(args, error=error)
    changed = [
        position
        for position, (arg, copy) in enumerate(zip(args, copies, strict=True))
        if isinstance(arg, Tensor) and not torch.equal(arg, copy.detach())
    ]
    return _Outcome(args, value, changed=changed[0] if changed else None)


def _is_stub(outcome: _Outcome) -> bool:
    if isinstance(outcome.error, NotImplementedError):
        # PyTorch raises it too, for a kernel that is missing; the stub's own is bare
        # or stands on a line that raises it.
        frames = traceback.extract_tb(outcome.error.__traceback__)
        return not outcome.error.args or "NotImplementedError" in (
            frames[-1].line or ""
        )
    return outcome.error is None and (outcome.value is None or outcome.value is ...)


def _wrong_call(
    exercise: Exercise, function: Answer, outcomes: list[_Outcome]
) -> _Finding | None:
    """An error, a missing return, an input written to, or the wrong kind of result."""
    for outcome in outcomes:
        expected = exercise.reference(*outcome.args)
        if outcome.error is not None:
            return _Finding(_told(outcome.error, function), outcome)
        if outcome.value is None:
            return _Finding(
                "Your function returned nothing (`None`) for this call: does every "
                "branch end with `return`?",
                outcome,
            )
        if outcome.changed is not None:
            argument = list(inspect.signature(exercise.reference).parameters)[
                outcome.changed
            ]
            return _Finding(
                f"Your function changed its input `{argument}`. The caller still "
                f"needs it: work on a new tensor (no `{argument}[…] = …`, no method "
                "whose name ends in an underscore).",
                outcome,
            )
        if _is_number(expected) and not _is_number(outcome.value):
            return _Finding(
                f"Return a number; yours is {_kind(outcome.value)}.", outcome
            )
        if not _is_number(expected) and not isinstance(outcome.value, Tensor):
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
            if message:
                known = _known_mistake(exercise, outcomes)
                return _Finding(known or message, outcome, right)
    return None


def _known_mistake(exercise: Exercise, outcomes: list[_Outcome]) -> str | None:
    """The mistake that gives these very answers: on all inputs, or on all but edges."""
    for considered in (outcomes, outcomes[: len(exercise.cases)]):
        for mistake in exercise.mistakes:
            if all(
                _same(exercise, outcome, mistake.implementation(*outcome.args))
                for outcome in considered
            ):
                return mistake.message
    return None


def _form(exercise: Exercise, outcome: _Outcome, expected: Any) -> str:
    """Shape, dtype, device."""
    value = outcome.value
    if not isinstance(value, Tensor) or _is_number(expected):
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
    if expected.is_floating_point():
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
            "The result contains NaN: 0/0, a difference of infinities, or a root or "
            "power of a negative number."
        )
    if any(outcome.args is edge for edge in exercise.edges):
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
    return message + "."


def _kind(value: Any) -> str:
    """What a value is, in words that are the same in every run."""
    if isinstance(value, Tensor):
        where = "" if value.device.type == "cpu" else f" on `{value.device}`"
        return f"a tensor of shape `{tuple(value.shape)}`, `{value.dtype}`{where}"
    return f"of type `{type(value).__name__}`"


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
