"""The results files: a JSON for each row, beside it the weights of its first seed.

Rows that keep no weights, the many points of a sweep, share one JSON a table: their
results by name, each on a line of its own.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from filelock import FileLock

import ece661_sparse
from ece661_sparse.reproduce.engine.row import Row
from ece661_sparse.training.checkpoint import replacing

PACKAGE = Path(ece661_sparse.__file__).parent

PER_SEED = (
    "seeds",
    "commit",
    "minutes",
    "base_minutes",
    "nonzero",
    "base_top1",
    "top1",
    "extra",
)
SCHEMA: dict[str, type] = {
    "row": str,
    "table": str,
    "method": str,
    "model": str,
    "dataset": str,
    "profile": str,
    "split": str,
    "device": str,
    "versions": dict,
    "parameters": int,
    "kernel_parameters": int,
    "retrained": bool,
    "published": dict,
    "recipe": dict,
    "weights_sha256": str,
} | dict.fromkeys(PER_SEED, list)


def results_folder() -> Path:
    """``book/results`` of the clone this package runs from, else the installed copy."""
    clone = PACKAGE.parent / "book"
    return (clone if clone.is_dir() else PACKAGE) / "results"


def result_path(folder: Path, row: Row) -> Path:
    """The JSON that the row's result is in: its own, or the one of its table."""
    if row.keep_weights:
        return folder / row.table / f"{row.name}.json"
    return folder / f"{row.table}.json"


def weights_path(folder: Path, row: Row) -> Path:
    """The weights of the row's first seed."""
    return folder / row.table / f"{row.name}.safetensors"


def read_result(folder: Path, row: Row) -> dict[str, Any] | None:
    """The row's result; None: nobody has run it.

    Raises:
        ValueError: the file does not follow the schema.
    """
    path = result_path(folder, row)
    if not path.exists():
        return None
    try:
        result = _read(path)
        if not row.keep_weights:
            if row.name not in result:
                return None
            result = result[row.name]
        check_schema(result)
    except ValueError as error:  # JSONDecodeError is one
        raise ValueError(f"{path} is not a results file: {error}") from error
    return result


def _read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("names and values are missing")
    return content


def check_schema(result: Any) -> None:
    """Refuse a result with missing, unknown or ill-typed entries (ValueError)."""
    keys = result.keys() if isinstance(result, dict) else set()
    if keys != SCHEMA.keys():
        raise ValueError(
            f"missing {sorted(SCHEMA.keys() - keys)}, "
            f"unknown {sorted(keys - SCHEMA.keys())}"
        )
    for key, kind in SCHEMA.items():
        if not isinstance(result[key], kind):
            raise ValueError(f"{key} is {result[key]!r}")
    n = len(result["seeds"])
    for key in PER_SEED:
        if len(result[key]) != n or n == 0:
            raise ValueError(f"{key} has {len(result[key])} entries for {n} seeds")
    if sorted(set(result["seeds"])) != result["seeds"]:
        raise ValueError(f"seeds are not in order: {result['seeds']}")


def changing(folder: Path, row: Row) -> FileLock:
    """The lock to hold from reading a result to writing it with one seed more."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f".{row.table}.lock")


def write_result(folder: Path, row: Row, result: dict[str, Any]) -> None:
    """Write the result, whole or not at all, always in the same order and layout.

    Other rows of the same file stay; two processes take turns by :func:`changing`.
    """
    check_schema(result)
    result = {key: result[key] for key in SCHEMA}
    path = result_path(folder, row)
    if row.keep_weights:
        text = json.dumps(result, indent=1)
    else:
        rows = (_read(path) if path.exists() else {}) | {row.name: result}
        lines = [f"{json.dumps(n)}: {json.dumps(rows[n])}" for n in sorted(rows)]
        text = "{\n" + ",\n".join(lines) + "\n}"
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def merged(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The result of one seed added to those of others; a seed it has is replaced."""
    if old is None:
        return new
    runs = [
        {key: result[key][i] for key in PER_SEED}
        for result in (old, new)
        for i in range(len(result["seeds"]))
        if result is new or result["seeds"][i] not in new["seeds"]
    ]
    runs.sort(key=lambda run: run["seeds"])
    first = new if runs[0]["seeds"] in new["seeds"] else old
    return (
        new
        | {key: [run[key] for run in runs] for key in PER_SEED}
        | {"device": _both(old["device"], new["device"])}
        | {
            "versions": {
                name: _both(old["versions"].get(name, "?"), version)
                for name, version in new["versions"].items()
            },
            "retrained": old["retrained"] or new["retrained"],
            "weights_sha256": first["weights_sha256"],
        }
    )


def _both(old: str, new: str) -> str:
    return old if new in old.split(" / ") else f"{old} / {new}"


def commit() -> str:
    """The commit of the code that runs; "unknown" outside a clone.

    ``+`` is added if the package's files differ from it.
    """
    git = ["git", "--no-optional-locks", "-C", str(PACKAGE)]

    def ask(*command: str) -> str:
        return subprocess.run(
            [*git, *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if ask("ls-files", "--", "__init__.py") == "":
            return "unknown"  # the package lies in somebody else's repository
        changed = ask("status", "--porcelain", "--", ".")
        return ask("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
