"""Every test on one core, without a window, and the same each time."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; for subprocesses, too
os.environ.setdefault("MPLBACKEND", "agg")

from hypothesis import settings

# A shared machine is slow at times, and a red test must be red tomorrow as well.
settings.register_profile("repository", deadline=None, derandomize=True)
settings.load_profile("repository")
