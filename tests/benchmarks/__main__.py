"""Measure every bar: ``python -m tests.benchmarks [--only TEXT] [--json FILE]``.

Exits with 1 when a bar is missed. Run it on a quiet machine, with all its cores.
``make bench`` writes the file from which the book makes its page of benchmarks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch

import tests.benchmarks

PEERS = ("torch", "numpy", "pyproximal", "skglm")


def modules() -> list[ModuleType]:
    """Every module with bars, by name."""
    names = sorted(m.name for m in pkgutil.iter_modules(tests.benchmarks.__path__))
    return [
        importlib.import_module(f"tests.benchmarks.{name}")
        for name in names
        if name.startswith("bench_")
    ]


def machine() -> dict[str, object]:
    """What the figures were measured on, and with what."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PEERS},
        "date": datetime.now(UTC).date().isoformat(),
    }


def processor() -> str:
    """Its name where the system tells, else its kind."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return " ".join([*named, platform.processor(), platform.machine()][0].split())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bars whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    results = []
    print(f"{'bar':<78} {'ratio':>8}  limit")
    for module in modules():
        for bar in module.bars():
            name = f"{bar.name} against {bar.peer}" if bar.peer else bar.name
            if options.only not in name:
                continue
            result = {"part": module.PART, **bar.measure()}
            results.append(result)
            most = bar.at_least is None
            limit = f"at {'most' if most else 'least'} {bar.at_most or bar.at_least:g}"
            mark = "" if result["holds"] else "  MISSED"
            print(f"{name:<78} {result['ratio']:8.3g}  {limit}{mark}", flush=True)
    if options.json:
        content = {"machine": machine(), "bars": results}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return int(not all(result["holds"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
