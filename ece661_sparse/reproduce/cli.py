"""The command line: ``python -m ece661_sparse reproduce TABLE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from ece661_sparse.core.arguments import check_known
from ece661_sparse.reproduce.engine.results import PACKAGE, results_folder
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.reproduce.engine.runner import Options, run_row
from ece661_sparse.reproduce.engine.verify import verify_row
from ece661_sparse.reproduce.report import terminal_table, verification_table
from ece661_sparse.reproduce.tables import TABLES, load_table
from ece661_sparse.training.data import cache_folder, current_profile
from ece661_sparse.training.distributed import GO_ON, processes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        device = _device(options.device)
        with processes(device):
            return _reproduce(options, device)
    except (ValueError, FileNotFoundError, ConnectionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nStopped. {GO_ON}", file=sys.stderr)
        return 130


def _reproduce(options: argparse.Namespace, device: torch.device) -> int:
    if options.list or options.table is None:
        return _list(options.table)
    rows = load_table(options.table)
    for name in options.row or ():
        check_known("row", name, [row.name for row in rows])
    if options.row:
        rows = tuple(row for row in rows if row.name in options.row)
    profile = options.profile or current_profile()
    if options.verify:
        return _verify(rows, options.out or results_folder(), device)

    out = options.out or (None if options.validate else default_out(profile))
    run = Options(
        profile=profile,
        device=device,
        checkpoints=options.checkpoints,
        out=out,
        validate=options.validate,
        again=options.again,
    )
    for row in rows:
        if row.recipe is None and not options.row:
            continue  # the table says "not run"
        result = run_row(row, run, options.seeds)
        if out is None:
            print(json.dumps(result, indent=1))
    if out is not None:
        console = Console()
        console.print(terminal_table(rows, out))
        console.print(f"Results: {out}", soft_wrap=True)
    return 0


def _list(table: str | None) -> int:
    for name in TABLES if table is None else (table,):
        for row in load_table(name):
            profiles = ", ".join(row.settings) if row.recipe else "no recipe yet"
            print(f"{name}  {row.name:24}  {profiles}")
    return 0


def _verify(rows: Sequence[Row], folder: Path, device: torch.device) -> int:
    checks = [check for row in rows if (check := verify_row(row, folder, device))]
    if not checks:
        print(f"nothing to verify: no results in {folder}")
        return 1
    Console().print(verification_table(checks))
    faulty = [check.row.name for check in checks if check.faults]
    if faulty:
        print(f"not as claimed: {', '.join(faulty)}", file=sys.stderr)
    return 1 if faulty else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ece661_sparse")
    command = parser.add_subparsers(required=True, metavar="reproduce").add_parser(
        "reproduce",
        help="run the published tables again",
        description="Run rows of a published table again, and show them side by side. "
        "An interrupted run goes on from its last finished epoch; a seed that is in "
        "the results already is not run again. On several GPUs: torchrun "
        "--nproc-per-node N -m ece661_sparse reproduce ...",
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
    add(
        "--verify",
        action="store_true",
        help="train nothing: load the weights of the results (--out; default: those "
        "of the book), count and measure them again. Exit code 1 if they are not as "
        "claimed",
    )
    add("--device", help="cpu, cuda, ... (default: cuda if there is one)")
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


def _device(name: str | None) -> torch.device:
    """The device of that name; without a name, a GPU if there is one."""
    gpu = torch.cuda.is_available()
    try:
        device = torch.device(name or ("cuda" if gpu else "cpu"))
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}: {error}") from error
    if device.type == "cuda" and not gpu:
        raise ValueError(f"torch sees no GPU here: --device {name} cannot be had")
    return device
