"""An exercise as data: the right answer, written once with exchangeable parts, inputs to draw, and a table of mistakes.

A mistake is a sentence and the parts that it exchanges. The check says a sentence only when the answer agrees with that
mistake on every input; tests/test_checks.py runs each mistake of each table as an answer and demands its own sentence.
What an answer does, and not only what it returns, becomes a value, too: see `use`.
"""
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import combinations
from typing import Any

from gpt_checks.core import (
    Answer,
    Draw,
    NotYet,
    as_tensor,
    call_text,
    exercise,
    expect,
    kind_fault,
    raise_not_yet,
    same,
)

FAILED = object()      # in place of a result: the mistake cannot be computed for these inputs


class Facts(dict):
    """What an answer did, as {name: value}, always with the same names.

    They are judged in this order: the first that is wrong is told, and a mistake that agrees up to there explains it.
    """


class SmallDraw(Draw):
    """Inputs as small as the exercise allows: every size is the least that could have been drawn."""

    def randint(self, a: int, b: int) -> int:
        return a


def spec(number: str, title: str, *, see: tuple[str, str], right: Callable, cases: Callable[[Draw], Iterable],
         mistakes: Mapping[str, Any], name: str = "the result", scales: Callable = lambda *args: {}, rtol: float = 1e-4,
         atol: float = 1e-6, also: Callable = lambda got, args, case: None, doc: str = "",
         use: Callable = lambda answer, *args: answer(*args)) -> Callable:
    """A check made of data.

    right(*args, **parts): the right answer; parts: the steps in it that a mistake exchanges. cases(draw): yields pairs of
    what is special about the inputs, in words, or None, and the inputs. mistakes: {sentence: parts, or a list of such}.
    scales(*args): {words: number}, constant factors to be named. also(got, args, case): raises NotYet for what a right
    number does not show. doc: the docstring of the check. use(answer, *args): what the answer is used for with these inputs; it
    gives the value to be judged, or Facts. The right answer and the mistakes go through it, too.
    An answer that stops with an error is told the mistake that stops with the same error.
    """
    table = {words: some if isinstance(some, list) else [some] for words, some in mistakes.items()}

    @exercise(number, title, see)
    def check(answer: Answer, draw: Draw) -> None:
        rows, stopped = run(answer, cases(draw))
        wrong = wrong_ones(rows)
        if not wrong:
            if stopped:
                raise_not_yet(meaning(rows, *stopped[1:]), stopped[0])
            for case, args, got, _ in rows:
                also(got, args, case)
            return
        if words := explanation(rows):
            raise_not_yet(words, wrong[0][0] if len(wrong) < len(rows) else None)
        told = [tell(row, answer) for row in wrong]
        if all(error.named for error in told) and len({re.sub(r"[\d.e+-]+", "#", str(error)) for error in told}) == 1:
            raise told[0]                    # what the numbers tell, the same in every case that is wrong
        small = wrong_ones(run(answer, cases(SmallDraw(draw.getrandbits(60))))[0])
        raise tell(min(small or wrong, key=lambda row: (first_wrong(row), len(repr(row[1])))), answer)

    def run(answer: Answer, drawn: Iterable) -> tuple[list, tuple | None]:
        """(case, inputs, what the answer gives, what is right) up to where it stops with an error; (case, inputs, error) then."""
        rows = []
        for case, args in drawn:
            try:
                got = use(answer, *args)
            except NotYet as error:
                return rows, (case, args, error)
            rows.append((case, args, got, use(Answer(right), *args)))
        return rows, None

    def explanation(rows: list) -> str | None:
        """The sentence of the mistake, or of two at once, that gives what the answer gave on every input."""
        depth = 1 + min(map(first_wrong, rows)) if isinstance(rows[0][2], Facts) else None
        near = None
        for words, some in table.items():
            for parts in some:
                if explains(parts, rows, depth):
                    if depth is None or explains(parts, rows):
                        return words
                    near = near or words
        if near or any(kind_fault(upto(got, depth), upto(want, depth)) or not is_finite(upto(got, depth))
                       for _, _, got, want in rows):
            return near
        singles = [(words, some[0]) for words, some in table.items() if depth is None or concerns(some[0], rows, depth)]
        for (one, parts), (other, more) in combinations(singles, 2):
            if not parts.keys() & more.keys() and explains({**parts, **more}, rows, depth):
                return f"{one}; and {other}"
        return None

    def explains(parts: dict, rows: list, depth: int | None = None) -> bool:
        return all(same(upto(got, depth), upto(mistaken(parts, args), depth), rtol, atol, lenient=True)
                   for _, args, got, _ in rows)

    def concerns(parts: dict, rows: list, depth: int) -> bool:
        """Whether a mistake changes the fact that is wrong, and none before it."""
        changed = False
        for _, args, got, want in rows:
            value = mistaken(parts, args)
            if not same(upto(got, depth - 1), upto(value, depth - 1), rtol, atol, lenient=True):
                return False
            changed = changed or not same(upto(value, depth), upto(want, depth), rtol, atol)
        return changed

    def mistaken(parts: dict, args: tuple) -> Any:
        try:
            return use(Answer(partial(right, **parts)), *args)
        except NotYet as error:
            return error
        except Exception:
            return FAILED

    def meaning(rows: list, args: tuple, error: NotYet) -> str:
        """What an error says, and what is wrong where a mistake stops with the same error."""
        text = str(error)
        for words, some in table.items():
            for parts in some if cause(error) else ():
                if cause(mistaken(parts, args)) == cause(error) and explains(parts, rows):
                    return f"{text if len(text) <= 180 else text[:180] + ' …'}; {words}"
        return text

    def wrong_ones(rows: list) -> list:
        return [row for row in rows if not same(upto(row[2]), upto(row[3]), rtol, atol)]

    def first_wrong(row: tuple) -> int:
        """How many facts are right before the first that is wrong."""
        _, _, got, want = row
        return next((i for i, name in enumerate(want) if not same(got[name], want[name], rtol, atol)),
                    len(want)) if isinstance(want, Facts) else 0

    def tell(row: tuple, answer: Answer) -> NotYet:
        """What the numbers of one case tell, as an error."""
        case, args, got, want = row
        call, what = call_text(answer, args), name
        if isinstance(want, Facts):
            call, what = None, list(want)[first_wrong(row)]
            got, want = got[what], want[what]
        try:
            expect(got, want, call=call, args=args, name=what, case=case, scales=scales(*args), rtol=rtol, atol=atol)
        except NotYet as error:
            return error

    check.table, check.right, check.__doc__ = table, right, doc
    return check


def exchange(part: str, some: Mapping[str, Any]) -> dict:
    """Mistakes that exchange one part: {sentence: what stands there instead, or a list of such}, as a table."""
    return {words: [{part: one} for one in (value if isinstance(value, list) else [value])] for words, value in some.items()}


def is_finite(value: Any) -> bool:
    """Whether a number, a tensor, or all that a list holds, is finite; what is no number counts as finite."""
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    tensor = as_tensor(value)
    return tensor is None or bool(tensor.isfinite().all())


def upto(value: Any, depth: int | None = None) -> Any:
    """The values of the first facts in a list; of any other value, the value."""
    return list(value.values())[:depth] if isinstance(value, Facts) else value


def cause(error: Any) -> str:
    """What an answer stopped with, numbers aside; nothing where it did not stop with an error of its own."""
    return re.sub(r"\d+", "#", str(error).partition(" stopped with ")[2]) if isinstance(error, NotYet) else ""
