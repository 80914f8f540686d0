"""Tables that read alike in a terminal, in a notebook and on the book's pages.

Everything is inline and takes its colours from the page, so that one stored output is
legible in Jupyter, on Colab and in the book, in the light and in the dark.
"""

import re
from dataclasses import dataclass
from html import escape

MONO = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.93em"


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of texts; aligned in a terminal, and an HTML table in a notebook.

    Attributes:
        header: a title for each column.
        rows: the cells; one with a ``_repr_html_`` of its own is shown by it.
        align: one of "l" and "r" for each column.
        caption: a line below the table.
        label: if there is one, a wide table scrolls by itself, by touch or keyboard,
            and this is what a screen reader calls it.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    caption: str = ""
    label: str = ""

    def __repr__(self) -> str:
        """The table as aligned plain text, two spaces between columns."""
        columns = list(zip(self.header, *self.rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(
                cell.ljust(width) if side == "l" else cell.rjust(width)
                for cell, width, side in zip(row, widths, self.align, strict=True)
            ).rstrip()
            for row in (self.header, *self.rows)
        ]
        return "\n".join([*lines, *filter(None, [self.caption])])

    def _repr_html_(self) -> str:
        # Styled cell by cell, since host pages style tables.
        head = self._row(
            "th", self.header, "border-bottom:1px solid rgba(128,128,128,.6)"
        )
        body = "".join(self._row("td", row, "") for row in self.rows)
        caption = (
            '<caption style="color:inherit;caption-side:bottom;text-align:left;'
            f'padding:.4rem 0">{rich(self.caption)}</caption>'
        ) * bool(self.caption)
        table = (
            '<table style="color:inherit;background:transparent;margin:.4rem 0;'
            'width:auto;border-collapse:collapse;border:0;font-size:.93em">'
            f"{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"
        )
        if not self.label:
            return table
        return (
            f'<div role="region" tabindex="0" aria-label="{escape(self.label)}" '
            f'style="overflow-x:auto">{table}</div>'
        )

    def _row(self, tag: str, cells: tuple[str, ...], line: str) -> str:
        side = {"l": "left", "r": "right"}
        scope = ' scope="col"' if tag == "th" else ""
        inner = "".join(
            f'<{tag}{scope} style="color:inherit;background:transparent;'
            f"text-align:{side[align]};padding:.15rem .7rem .15rem 0;border:0;"
            f'font-variant-numeric:tabular-nums">{_html(cell)}</{tag}>'
            for cell, align in zip(cells, self.align, strict=True)
        )
        return f'<tr style="background:transparent;{line}">{inner}</tr>'


def rich(text: str) -> str:
    """Escape for HTML; `code` between backticks becomes monospace.

    A span rather than a code element: themes give that one a colour of its own, which
    need not be legible on a coloured card.
    """
    return re.sub(r"`([^`]+)`", rf'<span style="{MONO}">\1</span>', escape(text))


def _html(cell: str) -> str:
    return cell._repr_html_() if hasattr(cell, "_repr_html_") else rich(cell)
