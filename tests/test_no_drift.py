"""A lesson's definition and the package's are one: the same syntax tree.

Aside: docstrings, comments, type hints, keyword-only extras of the package, its `showable(…)` around what it prints, and two
kinds of its lines: those that only check an argument, `require_…(…)`, and those that take the thing itself out of a wrapper,
`model = unwrap(model)`.
"""
import ast
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def definitions(source):
    """{name: syntax tree} of the top-level functions and classes of a piece of Python."""
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def package():
    return {name: node for folder in ("gpt_helpers", "gpt_helpers/lessons")
            for path in (ROOT / folder).glob("*.py")
            for name, node in definitions(path.read_text(encoding="utf-8")).items()}


def lesson(path):
    """The definitions of a lesson, cell by cell: (cell id, name, syntax tree)."""
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            for name, node in definitions(cell.source).items():
                yield cell.id, name, node


def core(node, keyword_only=None):
    """A definition as text, reduced to what it does; of its keyword-only arguments only these, and no use of the others."""
    node = ast.parse(ast.unparse(node)).body[0]
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.ClassDef | ast.For):
            part.body = [line for line in part.body if not (is_docstring(line) or is_check(line) or is_unwrapping(line))]
            part.body = part.body or [ast.Pass()]
        if isinstance(part, ast.FunctionDef):
            part.returns = None
        if isinstance(part, ast.arg):
            part.annotation = None
        if isinstance(part, ast.Call) and isinstance(part.args[0] if part.args else None, ast.Call):
            part.args[0] = without_showable(part.args[0])
    if keyword_only is not None:
        pairs = list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
        extras = {arg.arg for arg, _ in pairs} - keyword_only
        node.args.kwonlyargs = [arg for arg, _ in pairs if arg.arg not in extras]
        node.args.kw_defaults = [default for arg, default in pairs if arg.arg not in extras]
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                part.keywords = [k for k in part.keywords if not (isinstance(k.value, ast.Name) and k.value.id in extras)]
    return ast.unparse(node)


def without_showable(call):
    """print(x) for print(showable(x))."""
    return call.args[0] if isinstance(call.func, ast.Name) and call.func.id == "showable" else call


def is_docstring(line):
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def is_check(line):
    return (isinstance(line, ast.Expr) and isinstance(line.value, ast.Call)
            and isinstance(line.value.func, ast.Name) and line.value.func.id.startswith("require_"))


def is_unwrapping(line):
    """x = unwrap(x), or the like: what is inside a wrapper, a loader without its one iterator, its batches, ids as int64."""
    return (isinstance(line, ast.Assign) and isinstance(line.value, ast.Call) and isinstance(line.value.func, ast.Name)
            and line.value.func.id in ("unwrap", "independent", "pairs", "as_int64") and isinstance(line.value.args[0], ast.Name)
            and ast.unparse(line.targets[0]) == ast.unparse(line.value.args[0]))


def same(ours, theirs):
    """Whether a lesson's definition does what the package's does."""
    keyword_only = None if isinstance(ours, ast.ClassDef) else {arg.arg for arg in ours.args.kwonlyargs}
    return core(ours) == core(theirs, keyword_only)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_what_a_lesson_defines_is_what_the_package_has(path):
    known = package()
    for where, name, node in lesson(path):
        if name in known:
            assert same(node, known[name]), f"{where} defines {name} unlike gpt_helpers"


def test_no_function_is_defined_in_two_lessons():
    """A later lesson imports what an earlier one has defined."""
    seen = {}
    for path in LESSONS:
        for where, name, _ in lesson(path):
            assert seen.setdefault(name, path.name) == path.name, f"{name} in {where} of {path.name} and in {seen[name]}"


def test_no_lines_are_copied_between_lessons():
    """Six lines in a row, imports aside, stand in one lesson only."""
    places = {}
    for path in LESSONS:
        for cell in nbformat.read(path, 4).cells:
            lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
            lines = [line for line in lines if not line.startswith(("import ", "from "))] if cell.cell_type == "code" else []
            for i in range(len(lines) - 5):
                places.setdefault("\n".join(lines[i : i + 6]), set()).add(path.name)
    assert [lines for lines, books in places.items() if len(books) > 1] == []


ORIGINAL = "def f(x: int, *, extra=None) -> int:\n    '''Doc.'''\n    require_x(x)\n    x = unwrap(x)\n    return x + 1\n"


@pytest.mark.parametrize(("copy", "agrees"), [
    ("def f(x):\n    return x + 1\n", True), ("def f(x):\n    # a comment\n    return (x + 1)\n", True),
    (ORIGINAL, True), ("def f(x):\n    return x + 2\n", False), ("def f(y):\n    return y + 1\n", False),
    ("def f(x, *, other=None):\n    return x + 1\n", False),
    ("def f(x, *, extra=1):\n    return x + 1\n", False), ("def f(x=0):\n    return x + 1\n", False),
    ("def f(x):\n    require_x(x)\n    return x + showable(1)\n", False),
    ("def f(x):\n    log(x)\n    return x + 1\n", False), ("def f(x):\n    x = unwrap(y)\n    return x + 1\n", False),
    ("def f(x):\n    y = unwrap(x)\n    return x + 1\n", False), ("def f(x):\n    check_x(x)\n    return x + 1\n", False)])
def test_the_comparison_notices_a_drift(copy, agrees):
    assert same(definitions(copy)["f"], definitions(ORIGINAL)["f"]) is agrees
