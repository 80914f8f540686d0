"""An environment as Colab's: everything installed here, except this package.

The widgets are Colab's own, which are older (ipywidgets 7 and 8 differ).
Run as a program it is the Jupyter kernel ``alone`` of ``tests/notebooks.py``: a fresh
environment each time, in an empty folder, where the notebook has to bring the package.
There is no index to download from: what the bootstrap cell leaves stays as it is.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as "no isolation"
}
COLAB = {"ipywidgets": "7.7.1", "ipython_genutils": "0.2.0"}


def colab_wheels(folder: Path) -> list[Path]:
    """Colab's versions, downloaded when they are not in the folder yet."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    wheels = []
    for name, version in COLAB.items():
        wheel = f"{name}-{version}-*.whl"
        if not list(folder.glob(wheel)):
            which = ["--only-binary", ":all:", f"{name}=={version}"]
            subprocess.run([*download, "--dest", folder, *which], check=True)
        wheels += folder.glob(wheel)
    return wheels


def link_packages(folder: Path, wheels: Iterable[Path] = ()) -> Path:
    """Fill a folder with everything installed here, except this package.

    What there is a wheel of comes from the wheel.
    """
    folder.mkdir()
    from_wheels = set()
    for wheel in wheels:
        from_wheels.add(wheel.name.split("-")[0])
        ZipFile(wheel).extractall(folder)
    # pip asks for the classic notebook server's half, too; a kernel does without.
    for metadata in folder.glob("ipywidgets-*/METADATA"):
        lines = metadata.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = (line for line in lines if "widgetsnbextension" not in line)
        metadata.write_text("".join(kept), encoding="utf-8")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        name = entry.name.split("-")[0]
        if name not in from_wheels and "ece661" not in name:
            (folder / entry.name).symlink_to(entry)
    return folder


def fresh_python(environment: Path, packages: Path) -> Path:
    """The Python of a new environment that sees these packages."""
    venv.create(environment, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    (site / "packages.pth").write_text(str(packages))
    return environment / "bin" / "python"


def without_settings() -> dict[str, str]:
    """This process's environment without what steers the package or Python."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ECE661", "PY"))}
    return {**kept, **OFFLINE}


def copy_package(folder: Path) -> Path:
    """The package as a repository of its own, not yet under git."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ece661_sparse", folder / "ece661_sparse", ignore=ignored)
    shutil.copytree(ROOT / "book" / "results", folder / "book" / "results")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build_wheel(source: Path, folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, *options, source], check=True)
    return next(folder.glob("ece661_sparse-*.whl"))


def main(shared: Path, *arguments: str) -> None:
    """Become an IPython kernel in a fresh environment and an empty folder."""
    own = Path(tempfile.mkdtemp(dir=shared))
    python = fresh_python(own / "environment", shared / "packages")
    (own / "empty").mkdir()
    os.chdir(own / "empty")
    settings = {
        "ECE661_SRC": str(next(shared.glob("*.whl"))),
        "PYTHONHASHSEED": "0",
    }
    program = [str(python), "-m", "ipykernel_launcher", *arguments]
    os.execve(python, program, {**without_settings(), **settings})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
