"""Run the notebooks and store their outputs in a form that does not change by itself.

Twice in a row changes no byte. What differs from run to run is not stored:

- a cell tagged ``live`` (a widget, which needs a kernel) stores no output, and no
  execution count, so that nbval runs it and compares nothing;
- a cell tagged ``nbval-ignore-output`` stores what it shows, not what it prints;
- progress bars, timings, widget state and the editor's metadata are dropped.

The cell tagged ``bootstrap`` is written from ``bootstrap.py`` beside this file.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

TOOLS = Path(__file__).resolve().parent
BOOTSTRAP = TOOLS / "bootstrap.py"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
PROGRESS_BAR = re.compile(r"\d+%\||\d+it \[")


def notebooks(book: Path = TOOLS.parent) -> list[Path]:
    """Every notebook of the book."""
    return [
        path
        for path in sorted(book.rglob("*.ipynb"))
        if not any(part.startswith((".", "_")) for part in path.relative_to(book).parts)
    ]


def chapters() -> list[Path]:
    """The notebooks that teach; those of the appendix only run."""
    return [path for path in notebooks() if path.parent.name != "appendix"]


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


def write_bootstrap(notebook: NotebookNode, source: str | None = None) -> None:
    """Give the notebook the one bootstrap cell, below its title when it has none."""
    source = (source or BOOTSTRAP.read_text(encoding="utf-8")).strip()
    cells = [cell for cell in notebook.cells if "bootstrap" in tags(cell)]
    if not cells:
        metadata = {"tags": ["hide-input", "bootstrap"]}
        cells = [nbformat.v4.new_code_cell(id="bootstrap", metadata=metadata)]
        notebook.cells[1:1] = cells
    for cell in cells:
        cell.source = source


def execute(notebook: NotebookNode, folder: Path, timeout: int) -> None:
    """Run all cells in a kernel of their own."""
    NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNELSPEC["name"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    ).execute(env={**os.environ, "PYTHONHASHSEED": "0", "ECE661_PROFILE": "quick"})


def normalise(notebook: NotebookNode) -> None:
    """Drop or renumber everything that is not the notebook's content."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = NotebookNode(kernelspec=KERNELSPEC)
    seen: set[str] = set()
    count = 0
    for position, cell in enumerate(notebook.cells):
        if cell.get("id") in seen or "id" not in cell:
            cell.id = f"cell-{position:03d}"
        seen.add(cell.id)
        cell.metadata = NotebookNode(tags=tags(cell)) if tags(cell) else NotebookNode()
        cell.source = cell.source.rstrip()
        if cell.cell_type != "code":
            continue
        live = "live" in tags(cell) or not cell.source
        count += not live
        cell.execution_count = None if live else count
        cell.outputs = [] if live else _stable_outputs(cell)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def _stable_outputs(cell: NotebookNode) -> list[NotebookNode]:
    """The cell's outputs with each stream in one piece and without progress bars."""
    kept: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            if "nbval-ignore-output" in tags(cell):
                continue
            if output.name in streams:  # the kernel cuts a stream where it likes
                streams[output.name].text += output.text
                continue
            streams[output.name] = output
        elif WIDGET in output.get("data", {}):
            continue
        kept.append(output)
    for stream in streams.values():
        lines = stream.text.splitlines(keepends=True)
        stream.text = "".join(line for line in lines if not PROGRESS_BAR.search(line))
    return [o for o in kept if o.output_type != "stream" or o.text.strip()]


def refresh(path: Path, *, check: bool = False, timeout: int = 600) -> str:
    """Run one notebook and store the result; with ``check``, only compare.

    Returns:
        ``"unchanged"``, ``"changed"``, or what went wrong.
    """
    before = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(before, as_version=4)
    write_bootstrap(notebook)
    try:
        execute(notebook, path.parent, timeout)
    except CellExecutionError as error:
        return f"failed\n{error}"
    normalise(notebook)
    after = nbformat.writes(notebook) + "\n"
    if after == before:
        return "unchanged"
    if not check:
        path.write_text(after, encoding="utf-8")
    return "changed"


def main(arguments: list[str] | None = None) -> int:
    """Refresh, or check, the notebooks of the command line; 1 if one is not right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: the book's")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="side by side")
    parser.add_argument("--check", action="store_true", help="change nothing, only say")
    parser.add_argument("--timeout", type=int, default=600, help="seconds a cell")
    options = parser.parse_args(arguments)
    paths = options.notebooks or notebooks()
    run = partial(refresh, check=options.check, timeout=options.timeout)
    bad = ("failed", "changed") if options.check else ("failed",)
    status = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for path, outcome in zip(paths, pool.map(run, paths), strict=True):
            print(f"{path}: {outcome}", flush=True)
            status |= outcome.startswith(bad)
    return status


if __name__ == "__main__":
    sys.exit(main())
