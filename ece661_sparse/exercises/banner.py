"""What an exercise cell shows: plain text for terminals and tests, HTML for notebooks.

Everything is inline (no script, style sheet, id or outside resource) and takes its
text colour from the page, so that one stored output is legible in Jupyter, on Colab
and in the book, in the light and in the dark. Numbers are rounded and nothing depends
on the machine or the clock: running a notebook again stores the same bytes.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from textwrap import fill


class State(StrEnum):
    """Where an exercise stands."""

    TO_DO = "to do"
    NOT_YET = "not yet"
    CORRECT = "correct"


# White text on each is at least 5:1; as a border each is visible on white and black.
PILL = {
    State.TO_DO: "#4f6272",
    State.NOT_YET: "#b0440c",
    State.CORRECT: "#1a7f37",
}
# Mid-tones: at least 3:1 against the card on a white, a grey and a black page.
EXPECTED, YOURS = "#1f70c1", "#bb4c0c"
MONO = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.93em"
CARD = (
    "color:inherit;max-width:44rem;margin:.4rem 0;padding:.6rem .8rem;"
    "border-radius:.4rem;line-height:1.45;overflow-wrap:anywhere;"
)


def number(value: float) -> str:
    """Four digits, a count all of its own; without rounding noise or a sign of zero."""
    if not math.isfinite(value):
        return str(float(value))
    rounded = (round(value, 6) if abs(value) < 1e6 else value) + 0.0
    is_count = rounded == int(rounded) and abs(rounded) < 1e9
    return f"{rounded:.0f}" if is_count else f"{rounded:.4g}"


@dataclass(frozen=True)
class Mark:
    """A labelled point of a plot: a ring where the optimum is, a cross for yours."""

    x: float
    y: float
    colour: str
    cross: bool


@dataclass(frozen=True)
class Curve:
    """A line of a plot; values that are not finite or out of range leave a gap."""

    y: Sequence[float]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One small line chart: curves over the same inputs, and marks on them."""

    title: str
    x: Sequence[float]
    curves: tuple[Curve, ...]
    axis: str
    marks: tuple[Mark, ...] = ()

    def svg(self) -> str:
        """The chart as inline SVG, drawn in the page's own text colour."""
        width, height, left, top, bottom = 280.0, 170.0, 38.0, 22.0, 20.0
        x_low, x_high = self.x[0], self.x[-1]
        # The first curve is the true one: it, not a wrong answer, sets the scale.
        seen = [*self.curves[0].y, *(mark.y for mark in self.marks)]
        margin = 0.15 * (max(seen) - min(seen) or 1.0)
        y_low, y_high = min(seen) - margin, max(seen) + margin

        def across(x: float) -> float:
            return left + (x - x_low) / (x_high - x_low) * (width - left - 8)

        def down(y: float) -> float:
            share = (y - y_low) / (y_high - y_low)
            return height - bottom - share * (height - top - bottom)

        def label(x: float, y: float, anchor: str, text: str) -> str:
            return (
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
                f'fill="currentColor" font-size="11">{escape(text)}</text>'
            )

        def drawn(curve: Curve) -> str:
            runs: list[list[tuple[float, float]]] = [[]]
            for x, y in zip(self.x, curve.y, strict=True):
                inside = math.isfinite(y) and y_low <= y <= y_high
                jump = runs[-1] and abs(y - runs[-1][-1][1]) > 0.2 * (y_high - y_low)
                if not inside or jump:
                    runs.append([])
                if inside:
                    runs[-1].append((x, y))
            path = " ".join(
                "M" + " L".join(f"{across(x):.1f} {down(y):.1f}" for x, y in run)
                for run in runs
                if run
            )
            dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
            return (
                f'<path d="{path}" fill="none" stroke="{curve.colour}" '
                f'stroke-width="2.2"{dash}/>'
            )

        def placed(mark: Mark) -> str:
            x, y = across(mark.x), down(mark.y)
            shape = (
                f'<path d="M{x - 5:.1f} {y - 5:.1f} l10 10 m0 -10 l-10 10"'
                if mark.cross
                else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"'
            )
            return f'{shape} fill="none" stroke="{mark.colour}" stroke-width="2.6"/>'

        frame = f"M{left} {top} V{height - bottom} H{width - 8}"
        zeros = ""
        if y_low < 0 < y_high:
            zeros += f"M{left} {down(0):.1f} H{width - 8} "
        if x_low < 0 < x_high:
            zeros += f"M{across(0):.1f} {top} V{height - bottom}"
        return "".join(
            [
                f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
                f'aria-label="{escape(self.title)}" '
                'style="flex:1 1 240px;max-width:340px;min-width:0">',
                label(left, 13, "start", self.title),
                f'<path d="{frame}" fill="none" stroke="currentColor" opacity=".6"/>',
                f'<path d="{zeros}" stroke="currentColor" opacity=".25"/>',
                label(left, height - 6, "middle", number(round(x_low, 1))),
                label(across((x_low + x_high) / 2), height - 6, "middle", self.axis),
                label(width - 8, height - 6, "end", number(round(x_high, 1))),
                label(left - 4, height - bottom, "end", number(round(y_low, 1))),
                label(left - 4, top + 8, "end", number(round(y_high, 1))),
                *map(drawn, self.curves),
                *map(placed, self.marks),
                "</svg>",
            ]
        )


LEGEND = "".join(
    f'<span style="white-space:nowrap;margin-right:1rem;font-size:.9em">'
    f'<b style="color:{colour}">{sign}</b> {text}</span>'
    for colour, sign, text in (
        (EXPECTED, "━", "expected"),
        (YOURS, "╌", "yours"),
        (EXPECTED, "○", "the minimum"),
        (YOURS, "✕", "your answer"),
    )
)


@dataclass(frozen=True, repr=False)
class Table:
    """Aligned in text; in HTML styled cell by cell, as host pages style tables."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str  # one of "l" and "r" for each column
    caption: str = ""

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
        # A cell that names a state is shown as its pill.
        side = {"l": "left", "r": "right"}

        def cell(tag: str, text: str, align: str) -> str:
            shown = pill(State(text)) if text in list(State) else rich(text)
            scope = ' scope="col"' if tag == "th" else ""
            return (
                f'<{tag}{scope} style="color:inherit;background:transparent;'
                f"text-align:{side[align]};padding:.15rem .7rem .15rem 0;"
                f'border:0;font-variant-numeric:tabular-nums">{shown}</{tag}>'
            )

        def row(tag: str, cells: tuple[str, ...], line: str) -> str:
            inner = "".join(
                cell(tag, text, align)
                for text, align in zip(cells, self.align, strict=True)
            )
            return f'<tr style="background:transparent;{line}">{inner}</tr>'

        head = row("th", self.header, "border-bottom:1px solid rgba(128,128,128,.6)")
        body = "".join(row("td", cells, "") for cells in self.rows)
        caption = ""
        if self.caption:
            caption = (
                '<caption style="color:inherit;caption-side:bottom;text-align:left;'
                f'padding:.4rem 0">{rich(self.caption)}</caption>'
            )
        return (
            '<table style="color:inherit;background:transparent;margin:.4rem 0;'
            'width:auto;border-collapse:collapse;border:0;font-size:.93em">'
            f"{caption}<thead>{head}</thead><tbody>{body}</tbody></table>"
        )


@dataclass(frozen=True)
class Evidence:
    """One failing call: its arguments, yours beside the expected, and a plot."""

    call: str
    table: Table | None = None
    note: str = ""
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True, repr=False)
class Banner:
    """The verdict on one exercise; what a notebook stores under the cell."""

    state: State
    name: str
    subtitle: str
    message: str
    footer: str
    evidence: Evidence | None = None

    def __repr__(self) -> str:
        """The whole verdict as plain text."""
        title = f"[{self.state.upper()}] {self.name}"
        if self.subtitle:
            title += f" ({self.subtitle})"
        lines = ["=" * 72, title, fill(self.message, 72)]
        if self.evidence:
            lines += ["", self.evidence.call]
            if self.evidence.table:
                lines.append(repr(self.evidence.table))
            if self.evidence.note:
                lines.append(fill(self.evidence.note, 72))
            lines.append("")
        return "\n".join([*lines, fill(f">>> {self.footer}", 72), "=" * 72])

    def _repr_html_(self) -> str:
        colour = PILL[self.state]
        parts = [
            f'<div>{pill(self.state)} <b style="{MONO};color:inherit">'
            f"{escape(self.name)}</b>"
            f'<span style="opacity:.85"> {escape(self.subtitle)}</span></div>',
            f'<div style="margin-top:.35rem">{rich(self.message)}</div>',
        ]
        if self.evidence:
            call = escape(self.evidence.call)
            parts.append(f'<div style="{MONO};margin-top:.5rem">{call}</div>')
            if self.evidence.table:
                parts.append(self.evidence.table._repr_html_())
            if self.evidence.note:
                parts.append(f"<div>{rich(self.evidence.note)}</div>")
            if self.evidence.panels:
                charts = "".join(panel.svg() for panel in self.evidence.panels)
                parts.append(
                    '<div style="display:flex;flex-wrap:wrap;gap:.5rem;'
                    f'margin-top:.5rem">{charts}</div><div>{LEGEND}</div>'
                )
        parts.append(
            f'<div style="margin-top:.5rem"><b style="color:inherit">'
            f"{rich(self.footer)}</b></div>"
        )
        return (
            f'<div class="ece-check" style="{CARD}border:1px solid {colour};'
            f'border-left:.45rem solid {colour};background:{colour}1a">'
            f"{''.join(parts)}</div>"
        )


def rich(text: str) -> str:
    """Escape for HTML; `code` between backticks becomes monospace.

    A span rather than a code element: themes give that one a colour of its own, which
    need not be legible on the card.
    """
    return re.sub(r"`([^`]+)`", rf'<span style="{MONO}">\1</span>', escape(text))


def pill(state: State) -> str:
    """A state as white text on its colour."""
    return (
        f'<span style="display:inline-block;background:{PILL[state]};color:#fff;'
        "border-radius:.8em;padding:0 .6em;font-size:.85em;font-weight:700;"
        f'white-space:nowrap">{state}</span>'
    )
