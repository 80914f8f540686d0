"""Puts book/results into the wheel; everything else is in pyproject.toml."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithResults(build_py):
    """What ``ece661_sparse.reproduce.results_table`` shows away from a clone."""

    def run(self) -> None:
        super().run()
        results = Path(__file__).parent / "book" / "results"
        if results.is_dir() and not self.editable_mode:  # a clone reads the book's own
            target = Path(self.build_lib) / "ece661_sparse" / "results"
            locks = ignore_patterns("*.lock")
            copytree(results, target, ignore=locks, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithResults})
