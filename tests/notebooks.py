"""A pytest plugin: one strict run of every notebook that is three proofs in one.

``pytest -p tests.notebooks --nbval --nbval-kernel-name alone book`` runs the cells,
compares them with what is stored, and

- *alone*: each notebook starts as on Colab, in an empty folder and an environment
  with Colab's widgets and without the package, which its first cell installs from the
  wheel; the controls of its live explorer are moved there;
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
MOVE = f"""
import ipywidgets
assert ipywidgets.__version__ == "{environment.COLAB["ipywidgets"]}", ipywidgets
for _control in Out[max(Out)].kwargs_widgets:  # a chapter may use _ for its own
    if isinstance(_control, ipywidgets.Dropdown):
        _control.index = len(_control.options) - 1
    else:
        _control.value = _control.max
"""


def pytest_configure(config: pytest.Config) -> None:
    """Make the kernel ``alone``, once for all workers."""
    if config.option.nbval_kernel_name != "alone" or hasattr(config, "workerinput"):
        return
    shared = Path(tempfile.mkdtemp(prefix="alone-"))
    config.add_cleanup(lambda: shutil.rmtree(shared, ignore_errors=True))
    wheels = environment.colab_wheels(config.cache.mkdir("colab"))
    environment.link_packages(shared / "packages", wheels)
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
    if isinstance(item, IPyNbCell):
        if is_posed(item.cell):
            solve(item)
        if "live" in item.cell.metadata.get("tags", []):
            move(item)
    return result


def solve(item: IPyNbCell) -> None:
    """Solve the exercise of the cell that was run; what follows uses the solution."""
    run(item, STRICT)
    cell = solved(item.cell.source)
    said = run(item, cell)
    run(item, LENIENT)
    if "[CORRECT]" not in said:
        pytest.fail(f"the solution is not accepted:\n{said}", pytrace=False)
    run(item, item.cell.source)  # progress() says "to do" again, as stored
    run(item, CHECK.sub("", cell))


def move(item: IPyNbCell) -> None:
    """Move every control of the explorer of the cell that was run to its end."""
    shown = run(item, MOVE)
    if "at " not in shown:
        pytest.fail(f"the explorer draws nothing:\n{shown}", pytrace=False)


def run(item: IPyNbCell, source: str) -> str:
    """Run this in the notebook's kernel, too; returns what it shows."""
    shown, failed = [], []

    def keep(message: dict) -> None:
        content = message["content"]
        if message["msg_type"] == "error":  # a widget shows it, and the cell goes on
            failed.extend(content["traceback"])
        shown.append(content.get("data", {}).get("text/plain", ""))

    reply = item.parent.kernel.kc.execute_interactive(
        source,
        output_hook=keep,
        timeout=item.config.option.nbval_cell_timeout,
        store_history=False,
        allow_stdin=False,
    )["content"]
    if failed or reply["status"] != "ok":
        traceback = "\n".join(failed or [reply["status"]])
        pytest.fail(f"{source}\n{traceback}", pytrace=False)
    return "\n".join(shown)
