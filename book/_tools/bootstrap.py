# Installs the course's package where it is missing (Colab).
import importlib.util
import os
import subprocess
import sys
import tempfile
from glob import glob
from importlib.metadata import version

ADDRESS = ""  # the repository's public address, for pip

if importlib.util.find_spec("ece661_sparse") is None:
    wheels = sorted(glob("ece661_sparse-*.whl"))
    sources = [os.environ.get("ECE661_SRC"), *wheels[-1:], ADDRESS]
    source = next(filter(None, sources), None)
    if source is None:
        raise RuntimeError(
            "The package ece661_sparse is not installed and this "
            "book has no public address yet: put the package's "
            "wheel beside this notebook, or set the environment "
            "variable ECE661_SRC to its folder or git address "
            "(git+https://...), then run this cell again."
        )
    # What is installed stays as it is, torch and numpy above all.
    names = ("torch", "torchvision", "numpy")
    here = [n for n in names if importlib.util.find_spec(n)]
    with tempfile.TemporaryDirectory() as folder:
        keep = os.path.join(folder, "keep.txt")
        with open(keep, "w") as file:
            file.writelines(f"{n}=={version(n)}\n" for n in here)
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        done = subprocess.run(
            [*pip, "--constraint", keep, source],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"pip failed on {source}:\n{done.stderr}")
    importlib.invalidate_caches()
