"""What is shown under a wrong answer: the call, both results, and a plot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ece661_sparse.core.tables import MONO, Table, rich
from ece661_sparse.exercises.exercise import TOLERANCE, Exercise
from ece661_sparse.exercises.trial import Outcome, Trial, as_tensor, comparable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 6


@dataclass(frozen=True, repr=False)
class Evidence:
    """One failing call: its arguments, yours beside the expected, and a plot."""

    call: str
    table: Table | None = None
    note: str = ""
    plot: Plot | None = None

    def __repr__(self) -> str:
        """All of it but the plot, as plain text."""
        table = repr(self.table) if self.table else ""
        return "\n".join(filter(None, (self.call, table, fill(self.note, 72))))

    def _repr_html_(self) -> str:
        parts = [f'<div style="{MONO};margin-top:.5rem">{escape(self.call)}</div>']
        if self.table:
            parts.append(self.table._repr_html_())
        if self.note:
            parts.append(f"<div>{rich(self.note)}</div>")
        if self.plot:
            parts.append(self.plot._repr_html_())
        return "".join(parts)


def compare(trial: Trial, outcome: Outcome) -> Evidence:
    """The call, with both results entry by entry and a plot where these can be had."""
    exercise, args = trial.exercise, outcome.args
    answer, right = as_tensor(outcome.value), as_tensor(outcome.expected)
    if not comparable(answer, right):
        return Evidence(written_call(exercise, args))
    columns = {
        name: arg
        for name, arg in zip(exercise.parameters, args, strict=False)
        if right.ndim and isinstance(arg, Tensor) and arg.shape == right.shape
    }
    differ = ~torch.isclose(answer, right, TOLERANCE, TOLERANCE, equal_nan=True)
    every = right.numel() <= MOST_ROWS
    entries = torch.arange(right.numel())[every | differ.flatten()].tolist()
    listed = [*columns.values(), answer, right]
    table = Table(
        header=(*columns, "yours", "expected", ""),
        rows=tuple(
            (
                *(number(float(column.flatten()[entry])) for column in listed),
                "←" if differ.flatten()[entry] else "",
            )
            for entry in entries[:MOST_ROWS]
        ),
        align="r" * len(listed) + "l",
    )
    notes, plot = [], None
    if len(entries) > MOST_ROWS:
        notes.append(f"and {len(entries) - MOST_ROWS} more wrong entries")
    if exercise.objective and differ.any():
        plot = _plot(trial, outcome)
        notes.append(plot.note)
    call = written_call(exercise, args, tabulated=tuple(columns))
    return Evidence(call, table, ". ".join(notes), plot)


def written_call(
    exercise: Exercise, args: tuple[Any, ...], tabulated: tuple[str, ...] = ()
) -> str:
    """The call as one would type it; arguments that a table lists by name only."""
    written = (
        name if name in tabulated else f"{name}={_written(arg)}"
        for name, arg in zip(exercise.parameters, args, strict=False)
    )
    return f"{exercise.name}({', '.join(written)})"


def _written(value: Any) -> str:
    """An argument as one would type it, rounded; a long tensor by its shape."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, Tensor):
        small = value.numel() <= 12
        return _written(value.tolist()) if small else f"<shape {tuple(value.shape)}>"
    return number(value) if isinstance(value, int | float) else repr(value)


def number(value: float) -> str:
    """Four digits, a whole number up to 10⁹ in full; no rounding noise, no -0."""
    if not math.isfinite(value):
        return str(float(value))
    rounded = (round(value, 6) if abs(value) < 1e6 else value) + 0.0
    is_whole = rounded == int(rounded) and abs(rounded) < 1e9
    return f"{rounded:.0f}" if is_whole else f"{rounded:.4g}"


# --- the plot of a scalar function -----------------------------------------------


@dataclass(frozen=True)
class Plot:
    """A function, expected and yours; and what it minimises, at one of its inputs.

    Attributes:
        x: Inputs of the function.
        expected: What it gives for them.
        yours: What the answer gives for them; None if it fails.
        at: The input whose result is the furthest off.
        z: Candidates for that result.
        objective: What is to be minimised, at the candidates.
        minimum: The best candidate, and the objective there.
        answer: Your result, and the objective there; None if it is far outside.
    """

    x: Tensor
    expected: Tensor
    yours: Tensor | None
    at: float
    z: Tensor
    objective: Tensor
    minimum: tuple[float, float]
    answer: tuple[float, float] | None

    @property
    def note(self) -> str:
        """What the plot of the objective shows, in a sentence."""
        x, z, value = map(number, (self.at, *self.minimum))
        note = f"At x = {x} the objective is smallest at z = {z} ({value})"
        if self.answer:
            z, value = map(number, self.answer)
            note += f"; at your z = {z} it is {value}"
        return f"{note}."

    def _repr_html_(self) -> str:
        both = _panel(self._draw_functions, "The function, expected and yours.")
        both += _panel(self._draw_objective, self.note)
        style = "display:flex;flex-wrap:wrap;gap:.5rem;margin-top:.5rem"
        return f'<div style="{style}">{both}</div>'

    def _draw_functions(self, ax: Axes) -> None:
        low, high = _range(self.expected)
        ax.plot(self.x, _drawable(self.expected, low, high), label="expected")
        if self.yours is not None:
            ax.plot(self.x, _drawable(self.yours, low, high), "--", label="yours")
        ax.set(title="the function", xlabel="x", ylim=(low, high))

    def _draw_objective(self, ax: Axes) -> None:
        ax.plot(self.z, self.objective)
        ax.plot(*self.minimum, "C0o", ms=10, mew=2.5, mfc="none", label="the minimum")
        if self.answer:
            ax.plot(*self.answer, "C1x", ms=10, mew=2.5, label="your answer")
        ax.set(title=f"the objective at x = {number(self.at)}", xlabel="z")


def _plot(trial: Trial, outcome: Outcome) -> Plot:
    """Both functions; the objective where they differ most, and its minimum."""
    inputs, *parameters = outcome.args
    answer, right = as_tensor(outcome.value), as_tensor(outcome.expected)
    gap = (answer - right).nan_to_num(nan=math.inf).abs().flatten()
    worst = int(gap.argmax())
    at, mine = inputs.flatten()[worst], answer.flatten()[worst]

    def objective(z: Tensor) -> Tensor:
        assert trial.exercise.objective is not None
        return trial.exercise.objective(z, at, *parameters)

    reach = 1.5 * max(1.0, float(inputs.flatten()[gap > TOLERANCE].abs().max()))
    x = torch.linspace(-reach, reach, 121, dtype=torch.float64)
    drawn = trial.call((x, *parameters))
    is_drawn = isinstance(drawn.value, Tensor) and comparable(as_tensor(drawn.value), x)
    best = _minimiser(objective, reach)
    is_near = bool(mine.abs() < 3 * reach)
    shown = [0.0, float(best), float(mine) if is_near else 0.0]
    margin = 0.4 * max(1.0, max(shown) - min(shown))
    z = torch.linspace(
        min(shown) - margin, max(shown) + margin, 121, dtype=torch.float64
    )
    return Plot(
        x=x,
        expected=drawn.expected,
        yours=as_tensor(drawn.value) if is_drawn else None,
        at=float(at),
        z=z,
        objective=objective(z),
        minimum=(float(best), float(objective(best))),
        answer=(float(mine), float(objective(mine))) if is_near else None,
    )


def _minimiser(objective: Callable[[Tensor], Tensor], reach: float) -> Tensor:
    """By brute force on two grids, not by the reference: the plot is the proof."""
    coarse = torch.linspace(-reach, reach, 2001, dtype=torch.float64)
    near = coarse[objective(coarse).argmin()]
    fine = near + torch.linspace(-0.002, 0.002, 2001, dtype=torch.float64) * reach
    return fine[objective(fine).argmin()]


def _panel(draw: Callable[[Axes], None], alt: str) -> str:
    # Whoever checks without drawing does not wait for matplotlib.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from ece661_sparse.viz import show, use_style

    with mpl.rc_context():  # the notebook's own style stays
        use_style()
        fig = Figure(figsize=(4.2, 3.4))
        draw(fig.subplots())
        fig.legend(loc="outside lower center", ncols=2)
        image = show(fig, alt)._repr_html_()
    return f'<div style="flex:1 1 240px;max-width:340px;min-width:0">{image}</div>'


def _range(y: Tensor) -> tuple[float, float]:
    """The true curve, not a wrong answer, sets the scale."""
    margin = 0.15 * (float(y.max() - y.min()) or 1.0)
    return float(y.min()) - margin, float(y.max()) + margin


def _drawable(y: Tensor, low: float, high: float) -> Tensor:
    """What lies inside the plot, with a gap at each jump."""
    jumps = y.diff(prepend=y[:1]).abs() > 0.2 * (high - low)
    return y.where((low <= y) & (y <= high) & ~jumps, math.nan)
