"""A table in a terminal and in a notebook."""

from ece661_sparse.core import Table

ROWS = ("`a` < b", "1"), ("c", "1,000")


def html(**options):
    return Table(("name", "n"), ROWS, "lr", **options)._repr_html_()


def test_a_terminal_gets_aligned_text():
    text = repr(Table(("name", "n"), ROWS, "lr", caption="two rows"))
    assert text == "name         n\n`a` < b      1\nc        1,000\ntwo rows"


def test_a_notebook_gets_html_escaped_and_aligned_with_a_name_if_it_scrolls():
    assert html().count("<tr") == html().count("text-align:right") == 3
    assert "<caption" not in html() and "x &lt; y</caption>" in html(caption="x < y")
    assert "monospace" in html() and ">a</span> &lt; b</td>" in html()
    assert 'role="region" tabindex="0" aria-label="a &amp; b"' in html(label="a & b")


def test_a_cell_may_show_itself():
    class Logo(str):
        def _repr_html_(self):
            return "<b>logo</b>"

    table = Table(("a",), ((Logo("logo"),),), "l")
    assert "<b>logo</b></td>" in table._repr_html_()
