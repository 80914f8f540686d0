"""What an exercise cell shows, as text, as HTML and as a plot."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from answers import EXERCISES
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from toys import SHRINK, bare, divides_by_zero, right, shrink

from ece661_sparse.exercises import progress
from ece661_sparse.exercises.banner import COLOUR, State
from ece661_sparse.exercises.evidence import number
from ece661_sparse.exercises.verdict import judge
from ece661_sparse.viz import use_style


def divides(x, factor=0.5):
    return x / factor


def fussy(x, factor=0.5):
    if len(x) != 3:
        raise ValueError("three entries, please")
    return x * factor + 1e3


def parsed(shown):
    """The HTML as a tree; an image needs no end tag there."""
    return ElementTree.fromstring(
        re.sub(r"<img ([^>]*)>", r"<img \1/>", shown._repr_html_())
    )


def test_evidence_shows_the_call_both_results_and_the_objective():
    text = repr(judge(SHRINK, divides))
    assert "shrink(x)\n" in text  # x is in the table
    assert re.search(r"^ +3 +6 +1.5 +←$", text, re.MULTILINE)
    assert "the objective is smallest at z = 1.5 (0); at" in text
    assert "your z = 6 it is 20.25" in " ".join(text.split())


@pytest.mark.parametrize("answer", [bare, shrink, right, divides_by_zero, divides])
def test_the_html_is_self_contained_and_well_formed(answer):
    for root in (parsed(judge(SHRINK, answer)), parsed(progress())):
        assert not {e.tag for e in root.iter()} & {"script", "style", "link", "code"}
        for element in root.iter():
            assert not set(element.attrib) & {"id", "href", "onload", "onclick"}
            assert element.get("src", "data:image/svg+xml,").startswith("data:")
            assert "url(" not in element.get("style", "")


def test_a_students_text_cannot_become_markup():
    def evil(x, factor=0.5):
        raise ValueError("<script>alert(1)</script> & `<b>`")

    verdict = judge(SHRINK, evil)
    assert "<script>" not in verdict._repr_html_()
    parsed(verdict)


@pytest.fixture
def axes():
    with mpl.rc_context():
        use_style()
        yield Figure().subplots()


def test_a_wrong_answer_is_drawn_and_the_drawing_is_labelled():
    style = dict(mpl.rcParams)
    images = list(parsed(judge(SHRINK, divides)).iter("img"))
    assert dict(mpl.rcParams) == style
    assert [image.get("alt") for image in images] == [
        "The function, expected and yours.",
        "At x = 3 the objective is smallest at z = 1.5 (0); at your z = 6 it is 20.25.",
    ]
    assert not list(parsed(judge(SHRINK, divides_by_zero)).iter("img"))


def test_the_legend_says_which_line_is_whose(axes):
    plot = judge(SHRINK, divides).evidence.plot
    plot._draw_functions(axes)
    expected, yours = axes.lines
    assert [line.get_label() for line in axes.lines] == ["expected", "yours"]
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--"]
    np.testing.assert_allclose(expected.get_ydata(), expected.get_xdata() / 2)
    for line in (expected, yours):
        assert contrast(rgb(to_hex(line.get_color())), rgb("#ffffff")) >= 3


def test_the_minimum_and_your_answer_are_marked(axes):
    judge(SHRINK, divides).evidence.plot._draw_objective(axes)
    _, minimum, answer = axes.lines
    assert [minimum.get_label(), answer.get_label()] == ["the minimum", "your answer"]
    np.testing.assert_allclose(minimum.get_xydata(), [[1.5, 0]], atol=1e-4)
    np.testing.assert_allclose(answer.get_xydata(), [[6, 20.25]])
    assert axes.get_title() == "the objective at x = 3"


def test_a_plot_survives_an_answer_that_fails_on_other_inputs(axes):
    verdict = judge(SHRINK, fussy)
    assert len(list(parsed(verdict).iter("img"))) == 2
    verdict.evidence.plot._draw_functions(axes)
    assert [line.get_label() for line in axes.lines] == ["expected"]


@pytest.mark.parametrize("size", [1e300, float("inf"), float("nan")])
def test_a_plot_survives_values_without_bounds(size):
    assert len(list(parsed(judge(SHRINK, lambda x, factor=0.5: x * size)).iter("img")))


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
@pytest.mark.parametrize("state", list(State))
def test_contrast_is_aa_on_light_grey_and_dark_pages(page, text, state):
    pill = rgb(COLOUR[state])
    share = 0x1A / 255
    card = [(1 - share) * p + share * c for p, c in zip(rgb(page), pill, strict=True)]
    assert contrast(rgb(text), card) >= 4.5
    assert contrast(rgb("#ffffff"), pill) >= 4.5


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
    answers = ("raise NotImplementedError", "return x / (1 // 0)", "return x")
    sources = [
        "from ece661_sparse.exercises import check, progress",
        *(
            f"def soft_threshold(x, threshold):\n    {answer}\n\n"
            "soft_threshold = check('soft_threshold', soft_threshold)"
            for answer in answers
        ),
        "progress()",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=60).execute()
    stored = [output.data for cell in notebook.cells for output in cell.outputs]
    assert [set(data) for data in stored] == 4 * [{"text/plain", "text/html"}]
    to_do, error, drawn, table = (data["text/plain"] for data in stored)
    assert to_do.splitlines()[1].startswith("[TO DO] soft_threshold")
    assert "(line 2: `return x / (1 //" in " ".join(error.split())
    assert "not yet" in table
    # this process has another style, and its own hashes
    again = judge(EXERCISES["soft_threshold"], lambda x, threshold: x)
    assert (repr(again), again._repr_html_()) == (drawn, stored[2]["text/html"])
