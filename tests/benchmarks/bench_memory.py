"""Memory at the peak, in a process of its own, in units of the tensor worked on."""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.harness import Figure

PART = "Operators"

PROGRAM = """
import resource, torch
from ece661_sparse.proximal import *

def run(x):
    n = x.numel()
    penalties = L0(.5), L1(.5), MCP(.5), SCAD(.5), Firm(.5, 1.), Lq(1.), QShrinkage(.5)
    for penalty in penalties:
        yield penalty.prox(x, 0.5, out=x)
    yield project_top_n(x.normal_(), n // 10, out=x)
    yield project_capped_simplex(x.normal_(), n / 3, out=x)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

list(run(torch.randn(3_000_000)))
x = torch.randn(50_000_000)
before, unit = peak(), peak_unit
list(run(x))
print((peak() - before) * unit / (x.numel() * x.element_size()))
"""


def extra_memory() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, else KiB
    program = PROGRAM.replace("peak_unit", str(unit))
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(output.stdout)


def bars() -> list[Figure]:
    return [Figure("extra memory, everything in place, in tensors", extra_memory, 1.0)]
