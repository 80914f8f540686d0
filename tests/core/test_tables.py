"""A table in a terminal and in a notebook."""

from ece661_sparse.core import Table


def table(**options):
    header, rows = ("name", "n"), (("`a` < b", "1"), ("c", "1,000"))
    return Table(header, rows, "lr", **options)


def test_a_terminal_gets_aligned_text():
    assert repr(table(caption="two rows")).splitlines() == [
        "name         n",
        "`a` < b      1",
        "c        1,000",
        "two rows",
    ]


def test_a_notebook_gets_html_that_is_escaped_and_aligned():
    html = table(caption="x < y")._repr_html_()
    assert html.startswith("<table") and html.count("<tr") == 3
    assert "monospace" in html and ">a</span> &lt; b</td>" in html
    assert html.count("text-align:right") == 3
    assert "x &lt; y</caption>" in html


def test_a_wide_table_has_a_name_and_scrolls():
    html = table(label="two & two")._repr_html_()
    assert html.startswith('<div role="region" tabindex="0" aria-label="two &amp; two"')


def test_a_cell_may_show_itself():
    class Logo(str):
        def _repr_html_(self):
            return "<b>logo</b>"

    html = Table(("a",), ((Logo("logo"),),), "l")._repr_html_()
    assert "<b>logo</b></td>" in html and "<caption" not in html
