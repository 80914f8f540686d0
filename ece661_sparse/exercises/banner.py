"""What an exercise cell shows: plain text for terminals and tests, HTML for notebooks.

Everything is inline (no script, style sheet, id or outside resource) and takes its
text colour from the page, so that one stored output is legible in Jupyter, on Colab
and in the book, in the light and in the dark. Numbers are rounded and nothing depends
on the machine or the clock: running a notebook again stores the same bytes.
"""

from dataclasses import dataclass
from enum import StrEnum
from html import escape
from textwrap import fill

from ece661_sparse.core.tables import MONO, rich
from ece661_sparse.exercises.evidence import Evidence
from ece661_sparse.exercises.exercise import Exercise


class State(StrEnum):
    """Where an exercise stands."""

    TO_DO = "to do"
    NOT_YET = "not yet"
    CORRECT = "correct"


# White text on each is at least 5:1; as a border each is visible on white and black.
COLOUR = {
    State.TO_DO: "#4f6272",
    State.NOT_YET: "#b0440c",
    State.CORRECT: "#1a7f37",
}
GOES_ON_WITH = {
    State.TO_DO: "Until then the reference solution is used below.",
    State.NOT_YET: "The reference solution is used below instead of your function.",
    State.CORRECT: "Your own function is used below.",
}
CARD = (
    "color:inherit;max-width:44rem;margin:.4rem 0;padding:.6rem .8rem;"
    "border-radius:.4rem;line-height:1.45;overflow-wrap:anywhere;"
)


class Pill(str):
    """The name of a state, in HTML as white text on its colour."""

    # Not a method of State: before Python 3.13 an Enum reserves such names.
    def _repr_html_(self) -> str:
        return (
            f'<span style="display:inline-block;background:{COLOUR[State(self)]};'
            "color:#fff;border-radius:.8em;padding:0 .6em;font-size:.85em;"
            f'font-weight:700;white-space:nowrap">{self}</span>'
        )


@dataclass(frozen=True, repr=False)
class Banner:
    """The verdict on one exercise; what a notebook stores under the cell."""

    exercise: Exercise
    state: State
    message: str
    evidence: Evidence | None = None

    @property
    def _subtitle(self) -> str:
        return "" if self.state is State.CORRECT else self.exercise.subtitle

    def __repr__(self) -> str:
        """The whole verdict as plain text."""
        title = f"[{self.state.upper()}] {self.exercise.name}"
        if self._subtitle:
            title += f" ({self._subtitle})"
        lines = ["=" * 72, title, fill(self.message, 72)]
        if self.evidence:
            lines += ["", repr(self.evidence), ""]
        footer = fill(f">>> {GOES_ON_WITH[self.state]}", 72)
        return "\n".join([*lines, footer, "=" * 72])

    def _repr_html_(self) -> str:
        colour = COLOUR[self.state]
        evidence = self.evidence._repr_html_() if self.evidence else ""
        return (
            f'<div class="ece-check" style="{CARD}border:1px solid {colour};'
            f'border-left:.45rem solid {colour};background:{colour}1a">'
            f"<div>{Pill(self.state)._repr_html_()} "
            f'<b style="{MONO};color:inherit">{escape(self.exercise.name)}</b>'
            f'<span style="opacity:.85"> {escape(self._subtitle)}</span></div>'
            f'<div style="margin-top:.35rem">{rich(self.message)}</div>{evidence}'
            '<div style="margin-top:.5rem"><b style="color:inherit">'
            f"{GOES_ON_WITH[self.state]}</b></div></div>"
        )
