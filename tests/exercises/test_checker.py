"""The checker itself, on two toy exercises: states, messages, record, output."""

import json
import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from ece661_sparse import __version__
from ece661_sparse.exercises import banner, checker
from ece661_sparse.exercises.banner import number
from ece661_sparse.exercises.checker import (
    Exercise,
    Mistake,
    NotSolvedError,
    check,
    progress,
    register,
    solution_source,
)

X = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)


def shrink(x, factor=0.5):
    return x * factor


def spread(x):
    return x.max() - x.min()


def right(x, factor=0.5):
    return factor * x


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr(checker, "_RECORDS", {})
    monkeypatch.delenv("ECE661_STRICT", raising=False)
    register(
        [
            Exercise(
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
            ),
            Exercise(
                spread,
                chapter="second",
                minutes=10,
                difficulty=2,
                cases=((X,), (X**2,)),
                mistakes=(Mistake(lambda x: x.max(), "You forget the minimum."),),
            ),
        ]
    )


# --- to do -----------------------------------------------------------------------


def bare(x, factor=0.5):
    raise NotImplementedError


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
def test_a_stub_is_to_do_and_the_reference_goes_on(stub, capsys):
    assert check("shrink", stub) is shrink
    out = capsys.readouterr().out
    assert "[TO DO] shrink" in out
    assert ">>> Until then the reference solution is used below." in out


def test_the_reference_that_was_handed_back_is_no_answer(capsys, tmp_path):
    # The check is run again, under a function that is spelt differently.
    handed_back = check("shrink", bare)
    capsys.readouterr()
    assert check("shrink", handed_back) is shrink
    out = " ".join(capsys.readouterr().out.split())
    assert "[TO DO] shrink" in out
    assert "your own `def shrink(x, factor=0.5):` together with the check" in out
    progress(tmp_path / "progress.json")
    assert "return x * factor" not in (tmp_path / "progress.json").read_text()


def test_a_kernel_missing_in_torch_is_not_a_stub(capsys):
    def integers(x, factor=0.5):
        return torch.ops.aten.softshrink(x.int(), factor)

    check("shrink", integers)
    assert "[NOT YET]" in capsys.readouterr().out


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
def test_a_correct_answer_comes_back_itself(answer, capsys):
    assert check("shrink", answer) is answer
    out = capsys.readouterr().out
    assert "[CORRECT] shrink" in out
    assert "all 3 sets of inputs" in out
    assert "Your own function is used below." in out


def test_a_builtin_without_a_signature_is_judged_by_its_results():
    assert check("spread", torch.ones_like) is spread
    assert check("spread", lambda x: float(x.max() - x.min())) is not spread


@pytest.mark.parametrize(
    "convert",
    [float, np.float64, torch.tensor, lambda v: torch.tensor(v).float(), np.float32],
)
def test_a_number_may_be_held_in_several_ways(convert):
    def answer(x):
        return convert(float(x.max() - x.min()))

    assert check("spread", answer) is answer


# --- not yet ---------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def divides_by_zero(x, factor=0.5):
    y = x * factor
    return y / (1 // 0)


def unprintable(x, factor=0.5):
    raise Unprintable


def addresses(x, factor=0.5):
    raise ValueError(f"{object()} is odd")


def endless(x, factor=0.5):
    return endless(x, factor)


def exits(x, factor=0.5):
    sys.exit("bye")


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


def in_place(x, factor=0.5):
    return x.mul_(factor)


def fails_at_zero(x, factor=0.5):
    if not x.any():
        raise ValueError("all zero")
    return -x * factor


def resizes(x, factor=0.5):
    return x.resize_(0)


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
        (forgets_a_return, "returned nothing (`None`) for this call. Does every"),
        (returns_nothing, "Your function returns nothing (`None`). Hand the result"),
        (prints, "Your function returns nothing (`None`). Hand the result"),
        (keeps_the_stub, "gets to the line `raise NotImplementedError`. Delete"),
        (keeps_the_stub_in_a_branch, "gets to the line `raise NotImplementedError`"),
        (asks_a_tensor, "`torch.where` chooses entry by entry"),
        (in_place, "changed its input `x`"),
        (in_place, "no method whose name ends in an underscore)"),
        (fails_at_zero, "Every result has the opposite sign."),
        (lambda x, factor=0.5: -x * factor, "Every result has the opposite sign."),
        (lambda x, factor=0.5: 100 * x * factor, "Every result is 100 times the exp"),
        (lambda x, factor=0.5: x * factor / 3, "Every result is 0.3333 times the ex"),
        (lambda x, factor=0.5: x * factor * 1.001, "0 of 3 entries agree"),
        (lambda x, factor=0.5: x * 0, "0 of 3 entries agree"),
        (resizes, "changed its input `x`"),
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
def test_what_is_wrong_is_said_and_nothing_is_raised(answer, message, capsys):
    assert check("shrink", answer) is shrink
    out = " ".join(capsys.readouterr().out.split())
    assert "[NOT YET] shrink" in out
    assert message in out
    assert ">>> The reference solution is used below instead of your function." in out
    assert "Traceback" not in out


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
def test_a_wrong_number(value, message, capsys):
    assert check("spread", lambda x: value) is spread
    out = " ".join(capsys.readouterr().out.split())
    assert message in out


@pytest.mark.parametrize(("error", "right"), [(1e-7, True), (1e-3, False)])
def test_the_tolerance_forgives_rounding_and_nothing_else(error, right):
    def answer(x, factor=0.5):
        return x * factor + error

    assert (check("shrink", answer) is answer) == right


def test_a_list_is_given_as_a_copy_and_has_to_stay_as_it_is(capsys):
    def last(answers):
        return answers[-1]

    answers = [3, 1, 2]
    register([Exercise(last, "first", 5, 1, cases=((answers,),), mistakes=())])
    check("last", lambda answers: answers.pop())
    out = " ".join(capsys.readouterr().out.split())
    assert "changed its input `answers`" in out
    assert "(no `answers[…] = …`, no `append`, `pop` or `sort`)" in out
    assert answers == [3, 1, 2]
    check("last", lambda answers: sorted(answers)[1])
    assert "[CORRECT]" in capsys.readouterr().out


def test_a_result_may_be_a_number_for_some_inputs_only(capsys):
    def total(x):
        return x.sum(-1)

    rows = torch.ones(2, 3, dtype=torch.float64)
    cases = ((rows,), (rows[0],))
    register([Exercise(total, "first", 5, 1, cases=cases, mistakes=())])
    for answer, message in [
        (lambda x: x.sum(-1, keepdim=True), "has shape `(2, 1)`; it should have shape"),
        (lambda x: x.sum(-1) if x.ndim > 1 else x.sum(-1, keepdim=True), "shape `()`"),
        (lambda x: x.sum(-1) if x.ndim > 1 else [3.0], "Return a tensor; yours is a v"),
    ]:
        check("total", answer)
        assert message in " ".join(capsys.readouterr().out.split())
    check("total", lambda x: x.sum(-1) if x.ndim > 1 else float(x.sum(-1)))
    assert "[CORRECT]" in capsys.readouterr().out


def test_evidence_shows_the_call_both_results_and_the_objective(capsys):
    check("shrink", lambda x, factor=0.5: x / factor)
    out = capsys.readouterr().out
    assert "shrink(x)\n" in out  # x is in the table
    assert re.search(r"^ +3 +6 +1.5 +←$", out, re.MULTILINE)
    assert "the objective is smallest at z = 1.5 (0); at" in out
    assert "your z = 6 it is 20.25" in " ".join(out.split())


def test_the_failing_line_is_counted_in_the_students_own_code(capsys):
    source = "def shrink(x, factor=0.5):\n\n    return helper(x)\n"
    namespace = {"helper": lambda x: x.unheard_of}
    exec(compile(source, "<cell>", "exec"), namespace)
    check("shrink", namespace["shrink"])
    out = " ".join(capsys.readouterr().out.split())
    assert "raised AttributeError: 'Tensor' object has no attribute 'unheard_of'" in out
    assert "(line 3)" in out


def test_an_interrupt_is_not_swallowed():
    def interrupted(x, factor=0.5):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("shrink", interrupted)


def test_the_cases_survive_an_answer_that_writes_into_them():
    before = X.clone()
    check("shrink", in_place)
    assert torch.equal(before, X)
    assert check("shrink", right) is right


# --- names, strict mode, record --------------------------------------------------


def test_an_unknown_exercise_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="'shrnk'; did you mean 'shrink'"):
        check("shrnk", shrink)
    with pytest.raises(ValueError, match="known: \\['shrink', 'spread'\\]"):
        solution_source("zzz")


def test_the_two_arguments_of_check_in_the_wrong_order():
    with pytest.raises(ValueError, match=r'the name comes first: check\("shrink", shr'):
        check(shrink, "shrink")


def test_two_exercises_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'shrink' is registered twice"):
        register(toy for toy in list(checker.exercises()))


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


def test_the_record_follows_the_attempts(tmp_path):
    path = tmp_path / "progress.json"

    def written():
        progress(path)
        report = json.loads(path.read_text(encoding="utf-8"))
        assert report["package"] == "ece661-sparse"
        assert report["version"] == __version__
        assert [entry["name"] for entry in report["exercises"]] == ["shrink", "spread"]
        return report["exercises"][0]

    assert written() == {
        "name": "shrink",
        "chapter": "first",
        "state": "to do",
        "attempts": 0,
        "source": None,
    }
    check("shrink", bare)
    assert (written()["state"], written()["attempts"]) == ("to do", 0)
    assert written()["source"].startswith("def bare(x, factor=0.5):")
    check("shrink", in_place)
    check("shrink", divides_by_zero)
    assert (written()["state"], written()["attempts"]) == ("not yet", 2)
    check("shrink", right)
    assert (written()["state"], written()["attempts"]) == ("correct", 3)
    check("shrink", 3.0)
    assert (written()["state"], written()["attempts"]) == ("not yet", 4)
    assert written()["source"] is None


def test_a_file_goes_on_after_a_restart_and_in_another_chapter(tmp_path, monkeypatch):
    path = tmp_path / "ada.json"

    def written():
        report = json.loads(path.read_text(encoding="utf-8"))
        return {each["name"]: each["state"] for each in report["exercises"]}

    check("shrink", right)
    progress(path, chapter="first")
    assert written() == {"shrink": "correct"}

    toys = list(checker.exercises())  # the kernel is restarted: nothing is known
    monkeypatch.setattr(checker, "_RECORDS", {})
    register(toys)
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


def test_a_chapter_in_the_place_of_the_path_is_refused():
    with pytest.raises(ValueError, match=r"write progress\(chapter='first'\)"):
        progress("first")


def test_progress_lists_every_exercise():
    check("spread", lambda x: x.max() - x.min())
    assert repr(progress()).splitlines() == [
        "state    exercise  minutes  chapter",
        "to do    shrink          5  first",
        "correct  spread         10  second",
        "1 of 2 exercises correct",
    ]
    assert "first" not in repr(progress(chapter="second"))
    with pytest.raises(ValueError, match="chapter is 'third'"):
        progress(chapter="third")


# --- what is shown ---------------------------------------------------------------


def shown(answer):
    return checker._verdict(next(checker.exercises()), answer)


@pytest.mark.parametrize(
    "answer", [bare, shrink, right, divides_by_zero, lambda x, factor=0.5: x / factor]
)
def test_the_html_is_self_contained_and_well_formed(answer):
    html = shown(answer)._repr_html_().replace("&ensp;", " ")
    root = ElementTree.fromstring(html)
    tags = {element.tag for element in root.iter()}
    assert not tags & {"script", "style", "link", "img", "code"}
    for element in root.iter():
        assert not set(element.attrib) & {"id", "href", "src", "onload", "onclick"}
        assert "url(" not in element.get("style", "")
    ElementTree.fromstring(progress()._repr_html_())


def test_a_students_text_cannot_become_markup():
    def evil(x, factor=0.5):
        raise ValueError("<script>alert(1)</script> & `<b>`")

    html = shown(evil)._repr_html_()
    assert "<script>" not in html
    ElementTree.fromstring(html)


def test_a_wrong_answer_is_drawn_and_the_drawing_is_labelled():
    html = shown(lambda x, factor=0.5: x / factor)._repr_html_()
    root = ElementTree.fromstring(html)
    charts = [element for element in root.iter("svg")]
    assert [chart.get("role") for chart in charts] == ["img", "img"]
    assert [chart.get("aria-label") for chart in charts] == [
        "expected and yours",
        "the objective at x = 3",
    ]
    assert charts[1].findall("circle")  # the minimum
    dashed = [path for path in root.iter("path") if path.get("stroke-dasharray")]
    assert len(dashed) == 1


def test_a_plot_survives_an_answer_that_fails_on_other_inputs():
    def fussy(x, factor=0.5):
        if len(x) != 3:
            raise ValueError("three entries, please")
        return x * factor + 1e3

    html = shown(fussy)._repr_html_()
    assert html.count("<svg") == 2
    assert "stroke-dasharray" not in html


def luminance(colour):
    linear = [v / 12.92 if v <= 0.04 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def rgb(code):
    return [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("page", "text"),
    [("#ffffff", "#222832"), ("#ced6dd", "#222832"), ("#121212", "#ced6dd")],
)
@pytest.mark.parametrize("state", list(banner.State))
def test_contrast_is_aa_on_light_grey_and_dark_pages(page, text, state):
    pill = rgb(banner.PILL[state])
    share = 0x1A / 255
    card = [(1 - share) * p + share * c for p, c in zip(rgb(page), pill, strict=True)]
    assert contrast(rgb(text), card) >= 4.5
    assert contrast(rgb("#ffffff"), pill) >= 4.5
    assert contrast(rgb(banner.EXPECTED), card) >= 3
    assert contrast(rgb(banner.YOURS), card) >= 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.0, "0"),
        (-1e-17, "0"),
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.3333"),
        (2.0, "2"),
        (116424.0, "116424"),
        (116424.5, "1.164e+05"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_rounded_and_free_of_noise(value, text):
    assert number(value) == text


def test_a_notebook_stores_text_and_html_and_the_same_bytes_each_time():
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    cells = [
        "from ece661_sparse.exercises import check, progress",
        "def soft_threshold(x, threshold):\n    raise NotImplementedError\n\n"
        "soft_threshold = check('soft_threshold', soft_threshold)",
        "def soft_threshold(x, threshold):\n    return x / (1 // 0)\n\n"
        "soft_threshold = check('soft_threshold', soft_threshold)",
        "def soft_threshold(x, threshold):\n    return x\n\n"
        "soft_threshold = check('soft_threshold', soft_threshold)",
        "progress()",
    ]

    def outputs():
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells]
        )
        nbclient.NotebookClient(notebook, timeout=60).execute()
        return [cell.outputs for cell in notebook.cells]

    first, second = outputs(), outputs()
    assert first == second
    for cell in first[1:]:
        assert [set(output["data"]) for output in cell] == [{"text/plain", "text/html"}]
    texts = [cell[0]["data"]["text/plain"] for cell in first[1:]]
    assert texts[0].splitlines()[1].startswith("[TO DO] soft_threshold")
    assert "(line 2: `return x / (1 //" in " ".join(texts[1].split())
    assert "entries agree" in texts[2]
    assert "not yet" in texts[3]
