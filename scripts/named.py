"""Which named mistakes a check's line tells: the sentences of its table, found in the line; else of which kind the answer was."""
import ast
import builtins
import importlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

CHECKS = Path(__file__).resolve().parent.parent / "gpt_checks"
KINDS = {      # what a line says that names no mistake: a kind, in words that hold nothing of the answer itself
    r"stopped with \w+": None,      # its error's name comes in
    r"could not be called as in the stub": "could not be called with the stub's arguments",
    r"changes its input .* in place": "changed its input in place",
    r"is a `return` missing\?": "gave nothing back: a `return` is missing",
    r"whatever it is given": "gave the same, whatever it was given",
    r"^((could not be checked|stopped while it ran): )?its process ended": "ended its own process, or crashed it",
    r"it took more than [\d.]+ GB of memory|it started too many processes": "took too much memory, or too many processes",
    r"^still (running|waiting) after|^could not be checked|^stopped while it ran": "did not come to an end",
    r"^the check got ": "was no function",
    r"has shape|is of type|, of type |has \d+ values|has a value, number|has dtype|; need |; PyTorch needs|has no key":
        "gave another kind of result: its shape, its type or how many",
    r" is (nan|infinite)\b": "gave nan or infinity",
    r"has the wrong sign": "was right but for the sign",
    r"is rounded; return it": "was rounded",
    r"by a factor of|times what it should be": "was too large or too small by a constant factor",
    r"is transposed|at the wrong places|off by the same|except in the (first|last) place":
        "had right numbers at wrong places, or an offset",
    r" is right\.?$": "gave another value, in which the check sees no pattern",
    r"^the check printed nothing": "kept the check from printing anything",
}
OTHER = "was wrong in another way"


class Told(NamedTuple):
    """What a line tells. mark: right, to do or wrong. mistakes: known sentences. kind: of an answer whose mistake has no name."""

    mark: str
    mistakes: tuple = ()
    kind: str = ""


@cache
def checks():
    """{name: check} of all checks."""
    modules = [importlib.import_module(f"gpt_checks.{path.stem}") for path in sorted(CHECKS.glob("[a-z]*.py"))]
    return {name: check for module in modules for name, check in vars(module).items() if hasattr(check, "number")}


def told(line, check):
    """What the line of a check tells of an answer."""
    if line.startswith("✔"):
        return Told("right")
    if line.startswith("◦"):
        return Told("to do")
    words = line.removeprefix("✘ ").removeprefix(f"Exercise {check.number}, {check.title}: ")
    lesson, section = check.see
    words = words.removesuffix(f' See lesson {lesson}, "{section}".').strip()
    mistakes = sentences_in(words, (*check.table, *outside_tables()))
    return Told("wrong", mistakes, "" if mistakes else kind_of(words))


def sentences_in(words, known):
    """The known sentences that stand in a line, in its order; where one is part of another, the longer one."""
    found = []
    for sentence in sorted(known, key=len, reverse=True):
        for match in re.finditer(rf"(?:^|(?<=: )|(?<=; )|(?<=; and )){re.escape(sentence)}(?=$|[.?!]?$|; and )", words):
            if all(match.end() <= start or end <= match.start() for start, end, _ in found):
                found.append((*match.span(), sentence))
    return tuple(dict.fromkeys(sentence for _, _, sentence in sorted(found)))


@cache
def outside_tables():
    """Sentences that a check says of a right value (what it still holds on to, say); they stand in its code, in no table."""
    tables = {sentence for check in checks().values() for sentence in check.table}
    texts = set()
    for path in CHECKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("want_that", "NotYet"):
                texts.update(arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))
    import gpt_checks.spec

    texts = {text for text in texts if kind_of(text) == OTHER} | {gpt_checks.spec.OTHER_ORDER, gpt_checks.spec.ANOTHERS}
    return tuple(sorted(texts - tables))


def kind_of(words):
    """The kind of an answer whose mistake has no name."""
    for pattern, kind in KINDS.items():
        if re.search(pattern, words):
            return kind or f"stopped with {error_in(words)}"
    if found := re.match(r"(\w+): ", words):
        return f"kept the check from running: {error_in(f'stopped with {found[1]}')}"
    return OTHER


def error_in(words):
    """The name of Python's own error with which an answer stopped."""
    error = getattr(builtins, re.search(r"stopped with (\w+)", words)[1], None)
    return error.__name__ if isinstance(error, type) and issubclass(error, BaseException) else "an error of its own"
