"""What this session knows of the answers: ``check`` one, see the ``progress``."""

import inspect
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ece661_sparse import __version__
from ece661_sparse.core import Table, check_known
from ece661_sparse.exercises.banner import Banner, Pill, State
from ece661_sparse.exercises.exercise import Answer, Exercise
from ece661_sparse.exercises.verdict import judge, source

PACKAGE = "ece661-sparse"  # how a file of progress() is told from others


class NotSolvedError(AssertionError):
    """Raised in strict mode (``ECE661_STRICT=1``) by to do and not yet."""


@dataclass
class _Record:
    """What this process knows about one exercise."""

    exercise: Exercise
    state: State = State.TO_DO
    attempts: int = 0
    source: str | None = None

    def entry(self) -> dict[str, Any]:
        """What goes into the file of :func:`progress`."""
        return {
            "name": self.exercise.name,
            "chapter": self.exercise.chapter,
            "state": self.state,
            "attempts": self.attempts,
            "source": self.source,
        }


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
        ``function`` when it is correct, otherwise the reference, so that the rest of
        the notebook runs.

    Raises:
        ValueError: If there is no exercise of that name.
        NotSolvedError: In strict mode only, when the answer is not correct.
    """
    record = _find(name)
    banner = judge(record.exercise, function)
    record.state = banner.state
    is_theirs = function is not record.exercise.reference
    record.source = source(function) if is_theirs else None
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
    chapters = list(dict.fromkeys(each.chapter for each in exercises()))
    if chapter is not None:
        check_known("chapter", chapter, chapters)
    if path in chapters:
        raise ValueError(f"to see one chapter, write progress(chapter={path!r})")
    entries = {
        name: record.entry()
        for name, record in _RECORDS.items()
        if chapter in (None, record.exercise.chapter)
    }
    listed = list(entries)
    if path is not None:
        entries = _merged(entries, _written_before(Path(path)))
        report = {
            "package": PACKAGE,
            "version": __version__,
            "exercises": list(entries.values()),
        }
        text = json.dumps(report, indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")
    done = sum(entries[name]["state"] is State.CORRECT for name in listed)
    written = f"; written to {path}" if path is not None else ""
    return Table(
        caption=f"{done} of {len(listed)} exercises correct{written}",
        header=("state", "exercise", "minutes", "chapter"),
        rows=tuple(
            (
                Pill(entries[name]["state"]),
                name,
                str(_RECORDS[name].exercise.minutes),
                entries[name]["chapter"],
            )
            for name in listed
        ),
        align="llrl",
    )


def _merged(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The entries of a file, brought up to date by what was tried in this session."""
    kept = {
        name: entry
        for name, entry in before.items()
        if entry["state"] != State.TO_DO
        and (name not in now or now[name]["attempts"] == 0)
    }
    return now | kept


def _written_before(path: Path) -> dict[str, dict[str, Any]]:
    """The exercises in a file of :func:`progress`, none where there is no file."""
    if not path.exists():
        return {}
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["package"] == PACKAGE:
            return {
                entry["name"]: entry | {"state": State(entry["state"])}
                for entry in report["exercises"]
            }
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(
        f"{path} is there and was not written by progress(); choose another name"
    )


def _find(name: Any) -> _Record:
    if callable(name):
        own = getattr(name, "__name__", "name")
        raise ValueError(f'the name comes first: check("{own}", {own})')
    check_known("exercise", name, _RECORDS)
    return _RECORDS[name]


def _show(banner: Banner) -> None:
    """Rich output in a notebook, plain text elsewhere."""
    # A notebook has imported IPython long ago; a script must not pay for it.
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        from IPython.display import display

        display(banner)
    else:
        print(banner)
