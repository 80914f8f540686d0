"""Tables: every row with its published figures, its recipe and its settings."""

from importlib import import_module

from ece661_sparse.core.arguments import check_known
from ece661_sparse.reproduce.engine.row import Row

TABLES = ("table1", "table2", "gates", "dynamic", "pareto")
"""The tables that ``reproduce`` knows, each a module of this package."""


def load_table(name: str) -> tuple[Row, ...]:
    """The rows of a table.

    Raises:
        ValueError: there is no such table.
    """
    check_known("table", name, TABLES)
    return import_module(f"{__name__}.{name}").ROWS
