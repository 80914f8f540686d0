"""The command line: ``python -m ece661_sparse reproduce …``."""

import sys

from ece661_sparse.reproduce.cli import main

if __name__ == "__main__":
    sys.exit(main())
