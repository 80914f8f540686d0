# Installs the course's package where it is missing (Colab).
import importlib
import os
import subprocess
import sys
from glob import glob
from importlib.metadata import version
from importlib.util import find_spec

ADDRESS = ""  # the repository's public address, for pip

if find_spec("ece661_sparse") is None:
    wheel = "".join(sorted(glob("ece661_sparse-*.whl"))[-1:])
    source = os.environ.get("ECE661_SRC") or wheel or ADDRESS
    if not source:
        raise RuntimeError(
            "The package ece661_sparse is not installed: put its wheel "
            "beside this notebook, or set the environment variable "
            "ECE661_SRC to its folder or git address (git+https://...)"
        )
    # What is installed stays as it is, torch and numpy above all.
    here = filter(find_spec, ("torch", "torchvision", "numpy"))
    keep = [f"{name}=={version(name)}" for name in here]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, source, *keep], capture_output=True)
    if done.returncode:
        said = done.stderr.decode()
        raise RuntimeError(f"pip failed on {source}:\n{said}")
    importlib.invalidate_caches()
