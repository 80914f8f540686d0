"""The cells that pose an exercise, and the same cells with the solution."""

import ast
import re

from nbformat import NotebookNode

from ece661_sparse.exercises import solution_source

CHECK = re.compile(r'^(\w+) = check\(\s*"(\w+)",\s*(\w+)\s*\)$', re.MULTILINE)


def is_posed(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and "raise NotImplementedError" in cell.source


def solved(source: str) -> str:
    """A cell's source with the solution instead of the stub."""
    (stub,) = filter(_is_stub, ast.parse(source).body)
    lines = source.splitlines()
    lines[stub.lineno - 1 : stub.end_lineno] = [solution_source(stub.name)]
    return "\n".join(lines)


def _is_stub(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.FunctionDef):
        return False
    last = statement.body[-1]
    return isinstance(last, ast.Raise) and ast.unparse(last) == (
        "raise NotImplementedError"
    )
