"""The PDF edition: every page of the book, in its order, with an outline."""

import pdf
from pypdf import PdfReader


def test_every_page_of_the_table_of_contents_is_printed(html):
    names = [name for _, name in pdf.pages()]
    assert names[0] == "book/intro"
    assert len(set(names)) == len(names) > 12
    assert all((html / f"{name}.html").exists() for name in names)


def test_a_page_is_text_with_its_place_in_the_outline(html, browser, tmp_path):
    wanted = [
        ("", "book/intro"),
        ("The end", "book/appendix/notation"),
        ("The end", "book/appendix/lecture_map"),  # has no formula
    ]
    pdf.write(browser, html, tmp_path / "book.pdf", wanted)
    book = PdfReader(tmp_path / "book.pdf")
    intro, part, sections = book.outline
    assert part.title == "The end"
    assert [item.title for item in sections] == ["Notation", "Lecture map"]
    at = book.get_destination_page_number(sections[0])
    assert 0 == book.get_destination_page_number(intro) < at
    assert "The symbols of this book" in book.pages[at].extract_text()


def test_hints_are_unfolded_and_the_code_of_figures_is_left_out(
    html, browser, tmp_path
):
    name = "book/proximal/trimmed_l1"
    pdf.write(browser, html, tmp_path / "book.pdf", [("", name)])
    pages = PdfReader(tmp_path / "book.pdf").pages
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    assert "Write the sum of the clipped entries as a function of ν." in text
    assert "frame_slider( [gate_frame(tau) for tau in taus]" not in text
    assert "def gate_step(w, theta" in text
    assert min(len(page.extract_text()) for page in pages) > 100, "an empty page"
