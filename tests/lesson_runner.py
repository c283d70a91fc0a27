"""Run the code cells of a notebook one after the other in one namespace, as a kernel would, and say how each went.

    python tests/lesson_runner.py NOTEBOOK [TEXT ...]     a line of JSON for each cell: text, cell, error, its message

With texts the notebook runs once for each, with `load_text("TEXT")` in place of `load_text()`, and goes on after an error.
"""
import ast
import contextlib
import io
import json
import sys
from pathlib import Path

import nbformat


def code_cells(path):
    """(id, source) of each code cell."""
    return [(cell.id, cell.source) for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def run_cell(source, namespace):
    """Run a cell; returns all that it shows, pictures included, as one text."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(tree, "cell", "exec"), namespace)
        value = eval(compile(last, "cell", "eval"), namespace) if last else None
        if hasattr(value, "_ipython_display_"):
            value._ipython_display_()
        elif value is not None:
            print(repr(value))
    return shown.getvalue()


def try_cell(source, namespace):
    """(name of the error, its message), or (None, "")."""
    try:
        run_cell(source, namespace)
    except Exception as error:
        return type(error).__name__, str(error)
    return None, ""


def main(notebook, *texts):
    for text in texts or [None]:
        namespace = {"__name__": "__main__"}
        for cell, source in code_cells(notebook):
            if text:
                source = source.replace("load_text()", f"load_text({text!r})")
            print(json.dumps([text and Path(text).stem, cell, *try_cell(source, namespace)]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
