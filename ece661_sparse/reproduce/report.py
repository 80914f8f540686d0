"""Published beside ours, in a terminal and in a notebook; and the sweep, read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table as TerminalTable

from ece661_sparse.core.tables import Table
from ece661_sparse.reproduce.engine.results import read_result, results_folder
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.engine.verify import Check
from ece661_sparse.reproduce.recipes.dense import NETWORKS
from ece661_sparse.reproduce.tables import load_table, pareto

NOT_RUN = "not run"
CAPTION = (
    "Accuracy in percent, {pair}; ours: mean (± standard deviation) over the seeds, "
    "the most non-zeros of any seed, minutes for one seed including its dense network."
)
RETRAINED = "Retrained: trained on with its zeros held at zero."
# No-break spaces: numbers that belong together stay on one line.
ARROW = "\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}"
PLUS_MINUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"

# --- the tables ------------------------------------------------------------------


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
    published = Line(
        row.method,
        NETWORKS[row.model].title if row.model in NETWORKS else row.model,
        _accuracies({name: [value] for name, value in row.published.items()}),
        _whole(row.published.get("nonzero")),
    )
    if result is None:
        return published
    seeds = result["seeds"]
    return replace(
        published,
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
        run = ""
        if result is not None:
            n = len(result["seeds"])
            run = f"{result['profile']}, {n} seed{'s' * (n > 1)}\n{one.machine}"
        table.add_row(
            f"{one.method}\n{one.network}",
            f"{one.published}\n{one.published_nonzero}",
            f"{one.ours}\n{one.nonzero}",
            f"{one.verdict.partition(':')[0]}\n{one.retrained}",
            run,
        )
    return table


def results_table(table: str, folder: Path | None = None) -> Table:
    """The rows of ``table`` as published and as run by us, from the committed files.

    Args:
        table: ``"table1"``, …
        folder: of the results. None: ``book/results``.

    Raises:
        ValueError: there is no such table, or a results file is damaged.
        FileNotFoundError: there is no folder of results.
    """
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
    return Table(
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
        label=f"Results {table}",
    )


def verification_table(checks: Sequence[Check]) -> TerminalTable:
    """What was claimed beside what was found."""
    table = TerminalTable(show_lines=True)
    for title in ("row", "claimed", "found", "on", "verdict"):
        table.add_column(title)
    for check in checks:
        claimed, found, verdict = "", "", "not checked"
        if check.result is not None and check.nonzero is not None:
            top1, nonzero = check.result["top1"][0], check.result["nonzero"][0]
            claimed = f"{top1:.2f}\n{nonzero:,} non-zeros"
            measured = "not measured" if check.top1 is None else f"{check.top1:.2f}"
            found = f"{measured}\n{check.nonzero:,} non-zeros"
            verdict = "as claimed"
        if check.faults:
            verdict = "\n".join(check.faults)
        table.add_row(check.row.name, claimed, found, check.images, verdict)
    return table


def _prunes(row: Row) -> bool:
    """Part IV leaves all weights where they are."""
    return row.table != "dynamic"


def _pair(row: Row) -> str:
    """Which two accuracies an arrow connects."""
    if _prunes(row):
        return f"dense{ARROW}pruned"
    return f"without{ARROW}with the method"


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
        spread = f"{PLUS_MINUS}{stdev(pruned):.2f}" if len(pruned) > 1 else ""
        parts.append(f"{mean(pruned):.2f}{spread}")
    return ARROW.join(parts)


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


# --- the sweep -------------------------------------------------------------------

Sweep = dict[str, dict[int, dict[str, Any]]]
Sensitivity = dict[str, dict[str, dict[float, dict[str, Any]]]]


def sweep(model: str, folder: Path) -> Sweep:
    """Results on file, by method and by the share aimed at, in thousandths."""
    found: Sweep = {}
    for method in pareto.TITLES:
        for permille in pareto.SHARES[model]:
            name = pareto.row_name(method, model, permille)
            if result := read_result(folder, pareto.BY_NAME[name]):
                found.setdefault(method, {})[permille] = result
    return found


def sensitivity(folder: Path) -> Sensitivity:
    """Results on file at ``COMPARED``, by method, hyperparameter and factor.

    Factor 1 is the row of the sweep, with its three seeds; the others have seed 0.
    """
    found: Sensitivity = {}
    for method in pareto.TITLES:
        for name in pareto.varied(method):
            for factor in (0.5, 1.0, 2.0):
                row_name = pareto.row_name(
                    method, "lenet300", pareto.COMPARED, factor, name
                )
                if result := read_result(folder, pareto.BY_NAME[row_name]):
                    found.setdefault(method, {}).setdefault(name, {})[factor] = result
    return found
