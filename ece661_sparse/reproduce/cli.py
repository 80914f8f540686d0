"""The command line: ``python -m ece661_sparse reproduce TABLE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

import torch
from rich.console import Console

from ece661_sparse.reproduce import TABLES, Row
from ece661_sparse.reproduce.report import terminal_table
from ece661_sparse.reproduce.results import PACKAGE, read_result, results_folder
from ece661_sparse.reproduce.runner import Options, run_row
from ece661_sparse.training.data import cache_folder, current_profile


def load_table(name: str) -> tuple[Row, ...]:
    """The rows of a table.

    Raises:
        ValueError: there is no such table.
    """
    _known("table", name, TABLES)
    return import_module(f"ece661_sparse.reproduce.{name}").ROWS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _reproduce(options)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nStopped. The same command goes on from the last finished epoch.",
            file=sys.stderr,
        )
        return 130


def _reproduce(options: argparse.Namespace) -> int:
    console = Console()
    if options.list or options.table is None:
        for table in TABLES:
            for row in load_table(table):
                state = "" if row.recipe else "  (no recipe yet)"
                print(f"{table}  {row.name}{state}")
        return 0
    rows = load_table(options.table)
    for name in options.row or ():
        _known("row", name, [row.name for row in rows])
    chosen = [row for row in rows if row.name in (options.row or [row.name])]
    profile = options.profile or current_profile()
    out = options.out or (None if options.validate else default_out(profile))
    run = Options(
        profile=profile,
        device=torch.device(_device(options.device)),
        checkpoints=options.checkpoints,
        out=out,
        validate=options.validate,
        again=options.again,
    )
    for row in chosen:
        if row.recipe is None and not options.row:
            continue
        result = run_row(row, run, options.seeds)
        if options.validate:
            print(json.dumps(result, indent=1))
    if out is not None:
        found = [(row, read_result(out, row)) for row in chosen]
        console.print(terminal_table(found))
        console.print(f"Results: {out / options.table}", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ece661_sparse")
    command = parser.add_subparsers(required=True, metavar="reproduce").add_parser(
        "reproduce",
        help="run the published tables again",
        description="Run rows of a published table again, and show them side by side. "
        "An interrupted run goes on from its last finished epoch; a seed that is in "
        "the results already is not run again.",
    )
    add = command.add_argument
    add("table", nargs="?", help=f"one of: {', '.join(TABLES)}")
    add("--list", action="store_true", help="list all tables and rows")
    add("--row", nargs="+", metavar="ROW", help="only these rows")
    add("--seeds", nargs="+", type=int, metavar="N", help="default: those of the row")
    add(
        "--profile",
        choices=("quick", "full"),
        help="the 5,000 digits that come along, or all of MNIST "
        "(default: ECE661_PROFILE, else quick)",
    )
    add(
        "--validate",
        action="store_true",
        help="train without 5,000 (quick: 800) training images and report the accuracy "
        "on those: to choose settings by. Writes results only where --out says",
    )
    add("--again", action="store_true", help="run finished seeds again, from the start")
    add("--device", default="auto", help="auto (default), cpu, cuda, ...")
    add(
        "--out",
        type=Path,
        help="folder of the results (default: full: book/results in a clone, else "
        f"./results; quick: {cache_folder() / 'results-quick'})",
    )
    add(
        "--checkpoints",
        type=Path,
        default=cache_folder() / "checkpoints",
        help="folder of the interrupted runs; on Colab choose one on your Drive "
        "(default: %(default)s)",
    )
    return parser


def default_out(profile: str) -> Path:
    """Where results of a profile go: only full ones belong to the book."""
    if profile == "quick":
        return cache_folder() / "results-quick"
    clone = results_folder()
    return Path("results") if clone.parent == PACKAGE else clone


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _known(kind: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
        raise ValueError(f"there is no {kind} {name!r}; {hint}")
