"""A user's script: it runs, and its types are those that the package promises."""

import subprocess
import sys
from pathlib import Path

import user

ROOT = Path(__file__).parents[2]
# A cache of its own: other options would throw away that of `make lint`.
STRICT = ("--strict", "--follow-imports=silent", "--cache-dir=.mypy_cache/strict")


def test_a_users_script_runs():
    user.main()


def test_a_users_script_passes_mypy_strict():
    command = [sys.executable, "-m", "mypy", *STRICT, user.__file__]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
