"""Processes that start at once: forked from a server that has imported torch."""

import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch.distributed as dist

CONTEXT = get_context("forkserver")
# The first optimizer imports torch._dynamo, which takes seconds.
CONTEXT.set_forkserver_preload(["ece661_sparse.reproduce.cli", "torch._dynamo"])
PATIENCE = 120  # seconds until a test that hangs has failed


def start(function: Callable[..., Any], *arguments: Any, log: Path, **environment: str):
    """Call an importable function in a process of its own; its output goes to ``log``.

    The exit code is what the function returned.
    """
    process = CONTEXT.Process(
        target=_call, args=(function, arguments, log, environment), daemon=True
    )
    process.start()
    return process


def wait(process) -> int:
    """The exit code of a process that ends by itself."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"no end after {PATIENCE} seconds")
    return process.exitcode


class Ranks:
    """Two processes as torchrun would start them, but without anyone who stops them."""

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        folder: Path,
        **environment: str,
    ) -> None:
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True)  # any free port
        self.logs = [folder / f"rank{rank}.log" for rank in (0, 1)]
        self.processes = [
            start(
                function,
                *arguments,
                log=log,
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE="2",
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(self.store.port),
                TORCHELASTIC_RUN_ID="test",
                TORCHELASTIC_USE_AGENT_STORE="True",
                **environment,
            )
            for rank, log in enumerate(self.logs)
        ]

    def wait(self) -> list[int]:
        """The exit codes."""
        return [wait(process) for process in self.processes]

    def output(self) -> list[str]:
        """What each printed."""
        return [log.read_text() if log.exists() else "" for log in self.logs]


def _call(function, arguments, log, environment) -> None:
    os.environ.update(environment)
    with open(log, "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(function(*arguments))
