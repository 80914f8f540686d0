"""Published beside ours, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from rich.table import Table as RichTable

from ece661_sparse.reproduce.networks import NETWORKS
from ece661_sparse.reproduce.rows import Row

NOT_RUN = "not run"
Found = Sequence[tuple[Row, dict[str, Any] | None]]

HEADER = (
    "method", "network", "base", "ours", "pruned", "ours", "non-zeros", "ours",
    "", "retrained", "profile", "seeds", "device", "minutes",
)  # fmt: skip
ALIGN = "llrrrrrrllllrr"


def cells(row: Row, result: dict[str, Any] | None) -> tuple[str, ...]:
    """One line of the table."""
    network = NETWORKS[row.model].title if row.model in NETWORKS else row.model
    base, top1 = (_percent([row.published.get(k)]) for k in ("base_top1", "top1"))
    published = row.published.get("nonzero")
    nonzero = "" if published is None else f"{published:,.0f}"
    if result is None:
        ours = (NOT_RUN, "", "", "", "", "", "", "")
        return (row.method, network, base, "", top1, ours[0], nonzero, *ours[1:], "")[
            : len(HEADER)
        ]
    return (
        row.method,
        network,
        base,
        _percent(result["base_top1"]),
        top1,
        _percent(result["top1"]),
        nonzero,
        f"{max(result['nonzero']):,}",
        verdict(row, result),
        "yes" if result["retrained"] else "no",
        result["profile"],
        " ".join(map(str, result["seeds"])),
        result["device"],
        f"{mean(result['minutes']):.1f}",
    )


def verdict(row: Row, result: dict[str, Any]) -> str:
    """Does our row reach the published accuracy with no more non-zeros?"""
    short = []
    if round(mean(result["top1"]), 2) < row.published.get("top1", 0):
        short.append("accuracy")
    if max(result["nonzero"]) > row.published.get("nonzero", float("inf")):
        short.append("non-zeros")
    return f"short: {', '.join(short)}" if short else "reached"


def terminal_table(found: Found) -> RichTable:
    """For ``rich.print``."""
    table = RichTable()
    for title, side in zip(HEADER, ALIGN, strict=True):
        table.add_column(title, justify="right" if side == "r" else "left")
    for row, result in found:
        table.add_row(*cells(row, result))
    return table


def _percent(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = f" ± {stdev(known):.2f}" if len(known) > 1 else ""
    return f"{mean(known):.2f}{spread}"
