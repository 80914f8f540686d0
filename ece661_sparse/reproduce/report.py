"""Published beside ours, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as TerminalTable

from ece661_sparse.reproduce.networks import NETWORKS
from ece661_sparse.reproduce.results import read_result, results_folder
from ece661_sparse.reproduce.rows import Row, load_table

if TYPE_CHECKING:
    from ece661_sparse.exercises.banner import Table

NOT_RUN = "not run"
CAPTION = (
    "Accuracy in percent, {pair}; ours: mean (± standard deviation) over the seeds, "
    "the most non-zeros of any seed, minutes for one seed including its dense network."
)
RETRAINED = "Retrained: trained on with its zeros held at zero."


@dataclass(frozen=True)
class Line:
    """A row of the table as texts."""

    method: str
    network: str
    published: str
    published_nonzero: str
    ours: str = NOT_RUN
    nonzero: str = ""
    verdict: str = ""
    retrained: str = ""
    run: str = ""
    machine: str = ""


def line(row: Row, result: dict[str, Any] | None) -> Line:
    """The published figures of a row and, if somebody has run it, ours."""
    claim = {name: [value] for name, value in row.published.items()}
    published = Line(
        row.method,
        NETWORKS[row.model].title if row.model in NETWORKS else row.model,
        _accuracies(claim),
        _whole(row.published.get("nonzero")),
    )
    if result is None:
        return published
    seeds = result["seeds"]
    return Line(
        *(published.method, published.network),
        *(published.published, published.published_nonzero),
        ours=_accuracies(result),
        nonzero=_whole(max(result["nonzero"])),
        verdict=verdict(row, result),
        retrained=_retrained(row, result),
        run=f"{result['profile']}, {'seeds' if len(seeds) > 1 else 'seed'} "
        + " ".join(map(str, seeds)),
        machine=f"{result['device']}, {mean(result['minutes']):.1f} min",
    )


def verdict(row: Row, result: dict[str, Any]) -> str:
    """Is the published accuracy reached, with no more than the published non-zeros?

    A row that nobody has published is "measured".
    """
    if result["profile"] != "full" or result["split"] != "test":
        return f"{result['profile']} {result['split']}"
    if not row.published:
        return "measured"
    short = []
    if round(mean(result["top1"]), 2) < row.published.get("top1", 0):
        short.append("accuracy")
    if max(result["nonzero"]) > row.published.get("nonzero", float("inf")):
        short.append("non-zeros")
    return f"short: {', '.join(short)}" if short else "reached"


def terminal_table(rows: Sequence[Row], folder: Path) -> TerminalTable:
    """Two lines a row, in 80 columns."""
    table = TerminalTable(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        caption=f"{_pair(rows[0])} accuracy in percent; below, the non-zeros",
        caption_justify="left",
    )
    for title in ("", "published", "ours", "result", "run"):
        table.add_column(title, no_wrap=title not in ("", "run"))
    for row in rows:
        result = read_result(folder, row)
        one = line(row, result)
        n = len(result["seeds"]) if result else 0
        table.add_row(
            f"{one.method}\n{one.network}",
            f"{one.published}\n{one.published_nonzero}",
            f"{one.ours}\n{one.nonzero}",
            f"{one.verdict.partition(':')[0]}\n{one.retrained}",
            f"{result['profile']}, {_count(n, 'seed')}\n{one.machine}"
            if result
            else "",
        )
    return table


@dataclass(frozen=True, repr=False)
class ResultsTable:
    """A results table for a notebook; prints as text elsewhere."""

    name: str
    table: Table

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        # Numbers stay on one line; what is then too wide for a phone scrolls by
        # itself, with the keyboard, too.
        table = self.table._repr_html_()
        for sign in ("→", "±"):
            table = table.replace(
                f" {sign} ", f"\N{NO-BREAK SPACE}{sign}\N{NO-BREAK SPACE}"
            )
        return (
            f'<div role="region" tabindex="0" aria-label="Results {escape(self.name)}" '
            f'style="overflow-x:auto">{table}</div>'
        )


def results_table(table: str, folder: Path | None = None) -> ResultsTable:
    """The rows of ``table`` as published and as run by us, from the committed files.

    Args:
        table: ``"table1"``, …
        folder: of the results. None: ``book/results``.

    Raises:
        ValueError: there is no such table, or a results file is damaged.
        FileNotFoundError: there is no folder of results.
    """
    from ece661_sparse.exercises.banner import Table

    folder = results_folder() if folder is None else folder
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no results at {folder}: they come with the repository and with its wheel"
        )
    rows = load_table(table)
    lines = [line(row, read_result(folder, row)) for row in rows]
    notes = [
        f"{one.method}, {one.network}: {row.note}."
        for row, one in zip(rows, lines, strict=True)
        if row.note
    ]
    caption = [CAPTION.format(pair=_pair(rows[0]))]
    if _prunes(rows[0]):
        caption.append(RETRAINED)
    return ResultsTable(
        table,
        Table(
            ("method", "published", "non-zeros", "ours", "non-zeros", "result", "run"),
            tuple(
                (
                    f"{one.method}, {one.network}",
                    *(one.published, one.published_nonzero, one.ours, one.nonzero),
                    ", ".join(filter(None, (one.verdict, one.retrained))),
                    ", ".join(filter(None, (one.run, one.machine))),
                )
                for one in lines
            ),
            "lrrrrll",
            " ".join([*caption, *dict.fromkeys(notes)]),
        ),
    )


def _prunes(row: Row) -> bool:
    """Part IV leaves all weights where they are."""
    return row.table != "dynamic"


def _pair(row: Row) -> str:
    """Which two accuracies an arrow connects."""
    return "dense → pruned" if _prunes(row) else "without → with the method"


def _retrained(row: Row, result: dict[str, Any]) -> str:
    if not _prunes(row):
        return ""
    return "retrained" if result["retrained"] else "as pruned"


def _accuracies(figures: Mapping[str, Sequence[float | None]]) -> str:
    """``dense → pruned ± spread``; the dense accuracy may be unknown."""
    dense = [x for x in figures.get("base_top1", ()) if x is not None]
    pruned = [x for x in figures.get("top1", ()) if x is not None]
    parts = [f"{mean(dense):.2f}"] if dense else []
    if pruned:
        spread = f" ± {stdev(pruned):.2f}" if len(pruned) > 1 else ""
        parts.append(f"{mean(pruned):.2f}{spread}")
    return " → ".join(parts)


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
