"""What a session knows of the answers: check, progress, and the record on disk."""

import json

import pytest
from toys import SHRINK, SPREAD, bare, divides_by_zero, in_place, right, shrink, spread

from ece661_sparse import __version__
from ece661_sparse.exercises import (
    NotSolvedError,
    check,
    exercises,
    progress,
    register,
    session,
    solution_source,
)


@pytest.fixture(autouse=True)
def restart(monkeypatch):
    """A new session, which knows the toys; called again, the kernel is restarted."""

    def restarted():
        monkeypatch.setattr(session, "_RECORDS", {})
        register([SHRINK, SPREAD])

    monkeypatch.delenv("ECE661_STRICT", raising=False)
    restarted()
    return restarted


@pytest.mark.parametrize(
    ("answer", "goes_on_with", "shown"),
    [
        (bare, shrink, "[TO DO] shrink"),
        (shrink, shrink, "[TO DO] shrink"),
        (divides_by_zero, shrink, "[NOT YET] shrink"),
        (right, right, "[CORRECT] shrink"),
    ],
)
def test_check_shows_the_verdict_and_hands_back_what_is_right(
    answer, goes_on_with, shown, capsys
):
    assert check("shrink", answer) is goes_on_with
    assert shown in capsys.readouterr().out


def test_an_unknown_exercise_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="'shrnk'; did you mean 'shrink'"):
        check("shrnk", shrink)
    with pytest.raises(ValueError, match="known: shrink, spread"):
        solution_source("zzz")


def test_the_two_arguments_of_check_in_the_wrong_order():
    with pytest.raises(ValueError, match=r'the name comes first: check\("shrink", shr'):
        check(shrink, "shrink")


def test_two_exercises_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'shrink' is registered twice"):
        register(toy for toy in list(exercises()))


def test_solution_source_is_the_reference_as_written():
    assert solution_source("spread") == (
        "def spread(x):\n    return x.max() - x.min()\n"
    )


@pytest.mark.parametrize("answer", [bare, divides_by_zero])
def test_strict_mode_raises_with_the_whole_verdict(answer, monkeypatch):
    monkeypatch.setenv("ECE661_STRICT", "1")
    with pytest.raises(NotSolvedError, match=r"\[(TO DO|NOT YET)\] shrink"):
        check("shrink", answer)
    assert check("shrink", right) is right


# --- the record on disk ----------------------------------------------------------


def read(path):
    """What `progress` has written, by exercise."""
    report = json.loads(path.read_text(encoding="utf-8"))
    assert (report["package"], report["version"]) == ("ece661-sparse", __version__)
    return {entry["name"]: entry for entry in report["exercises"]}


def test_the_record_follows_the_attempts(tmp_path):
    path = tmp_path / "progress.json"
    progress(path)
    assert list(read(path)) == ["shrink", "spread"]
    assert read(path)["shrink"] == {
        "name": "shrink",
        "chapter": "first",
        "state": "to do",
        "attempts": 0,
        "source": None,
    }
    for answer, state, attempts, source in (
        (bare, "to do", 0, "def bare(x, factor=0.5):"),
        (shrink, "to do", 0, None),  # handed back by a check: no answer of theirs
        (in_place, "not yet", 1, "def in_place(x, factor=0.5):"),
        (divides_by_zero, "not yet", 2, "def divides_by_zero(x, factor=0.5):"),
        (right, "correct", 3, "def right(x, factor=0.5):"),
        (3.0, "not yet", 4, None),
    ):
        check("shrink", answer)
        progress(path)
        entry = read(path)["shrink"]
        assert (entry["state"], entry["attempts"]) == (state, attempts)
        assert (entry["source"] or "").startswith(source or "")
        assert (entry["source"] is None) == (source is None)


def test_a_file_goes_on_after_a_restart_and_in_another_chapter(tmp_path, restart):
    path = tmp_path / "ada.json"

    def written():
        return {name: entry["state"] for name, entry in read(path).items()}

    check("shrink", right)
    progress(path, chapter="first")
    assert written() == {"shrink": "correct"}

    restart()
    check("spread", lambda x: x.max())
    check("shrink", bare)
    assert "0 of 1 exercises correct" in repr(progress(chapter="first"))
    table = repr(progress(path, chapter="second"))
    assert f"0 of 1 exercises correct; written to {path}" in table
    assert written() == {"spread": "not yet", "shrink": "correct"}
    assert "1 of 2 exercises correct" in repr(progress(path))

    check("shrink", in_place)
    progress(path)
    assert written()["shrink"] == "not yet"  # the last answer counts


@pytest.mark.parametrize("text", ["{}", "[1]", "def prox(", '{"package": "other"}'])
def test_progress_overwrites_nothing_else(text, tmp_path):
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"notes\.json is there and was not wri"):
        progress(path)
    assert path.read_text() == text


def test_progress_lists_every_exercise():
    check("spread", lambda x: spread(x))
    assert repr(progress()).splitlines() == [
        "state    exercise  minutes  chapter",
        "to do    shrink          5  first",
        "correct  spread         10  second",
        "1 of 2 exercises correct",
    ]
    assert ">correct</span>" in progress()._repr_html_()
    assert "first" not in repr(progress(chapter="second"))
    with pytest.raises(ValueError, match="no chapter 'third'; known: first, second"):
        progress(chapter="third")
    with pytest.raises(ValueError, match=r"write progress\(chapter='first'\)"):
        progress("first")
