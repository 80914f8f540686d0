"""Measure every bar: ``python -m tests.benchmarks [--only TEXT] [--json FILE]``.

Exits with 1 when a bar is missed. Run it on a quiet machine, with all its cores.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import platform
import sys
from pathlib import Path

import torch

import tests.benchmarks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="bars whose name contains this")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    results = []
    print(f"{'bar':<64} {'ratio':>8}  limit")
    for module in sorted(
        m.name for m in pkgutil.iter_modules(tests.benchmarks.__path__)
    ):
        if not module.startswith("bench_"):
            continue
        for bar in importlib.import_module(f"tests.benchmarks.{module}").bars():
            if options.only not in bar.name:
                continue
            result = bar.measure()
            results.append(result)
            limit = (
                f"at most {bar.at_most:g}"
                if bar.at_most is not None
                else f"at least {bar.at_least:g}"
            )
            mark = "" if result["holds"] else "  MISSED"
            print(f"{bar.name:<64} {result['ratio']:8.3g}  {limit}{mark}", flush=True)
    if options.json:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        options.json.write_text(json.dumps({"machine": machine, "bars": results}))
    return int(not all(result["holds"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
