"""A student's answer as an example for the class: its code, and nothing that could tell whose it is.

The code is taken apart and written anew, so comments, docstrings and the layout are gone. What names it may contain is not asked;
only words stay that the project's own code, Python and PyTorch know. Every other name becomes name_1, name_2, …, every other
text "…", and every other large number "...", as does each number of a student's own sheet. What a student has named by words of
the project alone (mark_bell) goes where a student of that name is in the class.
"""
import ast
import builtins
import collections
import itertools
import keyword
import math
import re
import statistics
import warnings
from pathlib import Path
from typing import NamedTuple

import named
import nbformat

from gpt_checks.spec import VALUES

ROOT = Path(__file__).resolve().parent.parent
LINES = 30      # of an example; what is longer is cut
LARGE = 10_000      # a number from here on may be somebody's


class Known(NamedTuple):
    """What may stay in an example. api: names of Python and PyTorch. words: of which names are made. texts, numbers: whole.

    own: {function: the numbers that students' sheets can have in its exercise}.
    """

    api: frozenset
    words: frozenset
    texts: frozenset
    numbers: frozenset
    own: dict


def known(people=()):
    """What the project's code knows. people: names of the class; no word in them may stay in a name that a student has chosen."""
    import numpy
    import torch

    api = set(keyword.kwlist)
    with warnings.catch_warnings():      # old names, which warn when they are looked at
        warnings.simplefilter("ignore")
        for home in (builtins, math, statistics, itertools, collections, collections.Counter, torch, torch.Tensor, torch.nn,
                     torch.nn.functional, torch.nn.Module, torch.optim, torch.autograd, torch.linalg, numpy, numpy.ndarray,
                     str, list, dict, set, tuple, int, float, bytes):
            api.update(dir(home))
    words, texts, numbers, own = set(), set(), set(), {}
    solved = list(solutions())
    for source in solved:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):      # its stub is handed out, with these names
                api.update([node.name, *(arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg))])
        if found := re.match(r"(check_\w+)\((\w+), student\)", source):
            own[found[2]] = own_numbers(named.checks()[found[1]].number)
    for source in [*project_code(), *solved]:
        for node in ast.walk(ast.parse(source)):
            words.update(word for name in names_of(node) for word in words_of(name))
            if isinstance(node, ast.Constant):
                (texts if isinstance(node.value, str) else numbers).add(node.value)
    people = {word for name in people for word in words_of(name)}
    texts = {text for text in texts if re.fullmatch(r"[a-z_,>-]{1,12}|utf-\d+", text) and not people.intersection(words_of(text))}
    return Known(frozenset(api), frozenset(words - people), frozenset(texts), frozenset(numbers), own)


def own_numbers(exercise):
    """Every number that a sheet can have in an exercise: itself, of 100 or of 1000, and with giga or tera."""
    units = (1, 0.01, 10, 1e9, 1e12)
    return frozenset(value * unit for values in VALUES[exercise].values() for value in values for unit in units)


def project_code():
    """The Python of the checks and the lessons."""
    for path in sorted((ROOT / "gpt_checks").glob("*.py")):
        yield path.read_text(encoding="utf-8")
    yield from cells("notebooks")


def solutions():
    """The code cells of the solutions."""
    return cells("notebooks/solutions")


def cells(folder):
    """The code cells of a folder's notebooks, without those that are not Python alone."""
    for path in sorted(ROOT.glob(f"{folder}/[0-9]*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and not re.search(r"^\s*[%!]", cell.source, re.MULTILINE):
                yield cell.source


def names_of(node):
    """All names in a node of a syntax tree, whatever they name."""
    for field, value in ast.iter_fields(node):
        if not isinstance(node, ast.Constant) and field != "type_comment":
            yield from [value] if isinstance(value, str) else []
            yield from [part for part in value if isinstance(part, str)] if isinstance(value, list) else []


def words_of(name):
    """The words that a name is made of: val_loss and ValLoss have the same two."""
    return [word.lower() for word in re.findall(r"[^\W\d_][^\W\dA-Z_]*|[^\W\d_]+", name)]


def answer_in(notebook, function):
    """The source of a notebook's last statement that defines a function; None when there is none that is Python."""
    found = None
    for cell in notebook.cells:
        if cell.cell_type == "code" and function in cell.source:
            lines = ["" if line.startswith(("%", "!")) else line for line in cell.source.splitlines()]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tree = ast.parse("\n".join(lines))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            for node in tree.body:
                targets = [*getattr(node, "targets", []), getattr(node, "target", None)]
                if getattr(node, "name", None) == function or any(getattr(target, "id", None) == function for target in targets):
                    found = ast.get_source_segment("\n".join(lines), node)
    return found


def anonymous(source, known):
    """The same code without anything that is not known; None when it cannot be read as Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
            own = [known.own[name] for node in ast.walk(tree) for name in names_of(node) if name in known.own]
            tree = Anonymous(known, frozenset().union(*own)).visit(tree)
        lines = ast.unparse(ast.fix_missing_locations(tree)).splitlines()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return "\n".join(lines if len(lines) <= LINES else [*lines[:LINES], "…"])


def digits_of(number):
    """The digits of a number from the first to the last that is no 0."""
    return re.sub(r"e.*|[^\d]", "", repr(number)).strip("0")


class Anonymous(ast.NodeTransformer):
    """Rewrites a syntax tree: names and constants that are not known are replaced, statements that are only a text left out."""

    def __init__(self, known, own=frozenset()):
        self.known, self.own, self.renamed = known, own, {}

    def generic_visit(self, node):
        for field, value in ast.iter_fields(node):
            if field == "type_comment":
                node.type_comment = None
            elif isinstance(value, str):
                setattr(node, field, self.name(value))
            elif isinstance(value, list) and any(isinstance(part, str) for part in value):
                setattr(node, field, [self.name(part) if isinstance(part, str) else part for part in value])
        super().generic_visit(node)
        if hasattr(node, "body") and isinstance(node.body, list) and not node.body and not isinstance(node, ast.Module):
            node.body.append(ast.Pass())
        return node

    def visit_arg(self, node):
        node.annotation = None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)

    def visit_Expr(self, node):
        return None if isinstance(node.value, ast.Constant | ast.JoinedStr) else self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        if isinstance(value, str | bytes) and value not in self.known.texts:
            value = "…"
        elif isinstance(value, int | float | complex) and (self.is_own(value) or self.is_large(value)):
            value = ...
        return ast.Constant(value)

    def is_own(self, value):
        """Whether a number may be of a sheet, or be a fraction computed from one. Digits and powers of 10 are everybody's."""
        digits = digits_of(value)
        if not self.own or digits in ("", "1") or (isinstance(value, int) and value < 10) or abs(value) > 1e15:
            return False
        return (any(math.isclose(abs(value), number) for number in self.own)
                or (len(digits) > 2 and value != int(abs(value)) and value not in self.known.numbers))

    def is_large(self, value):
        return abs(value) >= LARGE and value not in self.known.numbers and len(digits_of(value)) > 4

    def name(self, name):
        """The name itself where all its words are known; else name_1, name_2, …, the same one each time."""
        if all(part in self.known.api or (all(word in self.known.words or len(word) == 1 for word in words_of(part))
               and not re.search(r"\d{3}", part)) for part in name.split(".")):
            return name
        return self.renamed.setdefault(name, f"name_{len(self.renamed) + 1}")
