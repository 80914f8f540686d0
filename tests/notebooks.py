"""A pytest plugin: one strict run of every notebook that is three proofs in one.

``pytest -p tests.notebooks --nbval --nbval-kernel-name alone book`` runs the cells,
compares them with what is stored, and

- *alone*: each notebook starts as on Colab, in an empty folder and an environment
  without the package, which its first cell installs from the wheel;
- *solved*: after an exercise's stub was compared, its solution takes the stub's place.
  In strict mode the check has to say that it is correct, and the rest of the chapter
  runs with it. (What the check hands back for a stub is the same source, from the
  package; ``tests/exercises`` sees to that.)

With ``-n N --dist loadfile`` the cells of a notebook stay on one worker, in order.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from nbval.plugin import IPyNbCell

from tests.book import environment
from tests.book.solutions import CHECK, is_posed, solved

STRICT = "__import__('os').environ['ECE661_STRICT'] = '1'"
LENIENT = "__import__('os').environ.pop('ECE661_STRICT')"


def pytest_configure(config: pytest.Config) -> None:
    """Make the kernel ``alone``, once for all workers."""
    if config.option.nbval_kernel_name != "alone" or hasattr(config, "workerinput"):
        return
    shared = Path(tempfile.mkdtemp(prefix="alone-"))
    config.add_cleanup(lambda: shutil.rmtree(shared, ignore_errors=True))
    environment.link_packages(shared / "packages")
    environment.build_wheel(environment.copy_package(shared / "source"), shared)
    program = [sys.executable, environment.__file__, str(shared)]
    kernel = {
        "argv": [*program, "-f", "{connection_file}"],
        "display_name": "Alone",
        "language": "python",
    }
    folder = shared / "jupyter" / "kernels" / "alone"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(kernel))
    paths = [str(shared / "jupyter"), os.environ.get("JUPYTER_PATH")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, paths))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    result = yield
    if isinstance(item, IPyNbCell) and is_posed(item.cell):
        solve(item)
    return result


def solve(item: IPyNbCell) -> None:
    """Solve the exercise of the cell that was run; what follows uses the solution."""
    client = item.parent.kernel.kc
    timeout = item.config.option.nbval_cell_timeout

    def run(source: str) -> str:
        shown = []

        def keep(message: dict) -> None:
            data = message["content"].get("data", {})
            shown.append(data.get("text/plain", ""))

        settings = {"store_history": False, "allow_stdin": False}
        reply = client.execute_interactive(
            source, output_hook=keep, timeout=timeout, **settings
        )["content"]
        if reply["status"] != "ok":
            traceback = "\n".join(reply.get("traceback", [reply["status"]]))
            pytest.fail(f"with its solution:\n{traceback}", pytrace=False)
        return "\n".join(shown)

    run(STRICT)
    cell = solved(item.cell.source)
    said = run(cell)
    run(LENIENT)
    if "[CORRECT]" not in said:
        pytest.fail(f"the solution is not accepted:\n{said}", pytrace=False)
    run(item.cell.source)  # progress() says "to do" again, as stored
    run(CHECK.sub("", cell))
