"""The browser that looks at the book: in the tests, and for its PDF edition."""

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")
NOT_FOUND = (
    "no Chromium found: install one (on Debian `apt-get install chromium`, "
    "anywhere `playwright install chromium` and CHROMIUM=/path/to/it)"
)


def find() -> str | None:
    """Path of the machine's Chromium; ``CHROMIUM`` in the environment goes first."""
    return os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
