"""An exercise as data: the right answer, written once with exchangeable parts, inputs to draw, and a table of mistakes.

A mistake is a sentence and the parts that it exchanges. The check says a sentence only when the answer agrees with that
mistake on every input; tests/test_checks.py runs each mistake of each table as an answer and demands its own sentence.
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
    number does not show. doc: the docstring of the check. use(answer, *args): runs an answer, the right one among them, and gives
    what is compared.
    """
    table = {words: some if isinstance(some, list) else [some] for words, some in mistakes.items()}

    @exercise(number, title, see)
    def check(answer: Answer, draw: Draw) -> None:
        rows, stopped = run(answer, cases(draw))
        wrong = wrong_ones(rows)
        if not wrong:
            if stopped:
                raise stopped
            for case, args, got in rows:
                also(got, args, case)
            return
        special = wrong[0][0] if len(wrong) < len(rows) else None
        if words := explanation(rows):
            raise_not_yet(words, special)
        told = [tell((None, *row[1:]), answer) for row in wrong]
        if all(error.named for error in told) and len({re.sub(r"[\d.e+-]+", "#", str(error)) for error in told}) == 1:
            raise_not_yet(str(told[0]), special)      # what the numbers tell, the same in every case that is wrong
        small = wrong_ones(run(answer, cases(SmallDraw(draw.getrandbits(60))))[0])
        raise tell(min(small or wrong, key=lambda row: len(repr(row[1]))), answer)

    def run(answer: Answer, drawn: Iterable) -> tuple[list, NotYet | None]:
        """What the answer gives for the drawn inputs, up to where it stops with an error, and that error."""
        rows = []
        for case, args in drawn:
            try:
                rows.append((case, args, use(answer, *args)))
            except NotYet as error:
                return rows, error if case is None else NotYet(f"{case}: {error}")
        return rows, None

    def explanation(rows: list) -> str | None:
        """The sentence of the mistake, or of two at once, that gives what the answer gave on every input."""
        for words, some in table.items():
            if any(explains(parts, rows) for parts in some):
                return words
        if any(kind_fault(got, use(right, *args)) or not is_finite(got) for _, args, got in rows):
            return None
        if all(same(got, rows[0][2], 0, 0) for _, _, got in rows):      # a constant is no two mistakes at once
            return None
        for (one, (parts, *_)), (other, (more, *_)) in combinations(table.items(), 2):
            if not parts.keys() & more.keys() and explains({**parts, **more}, rows):
                return f"{one}; and {other}"
        return None

    def explains(parts: dict, rows: list) -> bool:
        return all(same(got, mistaken(parts, args), rtol, atol, lenient=True) for _, args, got in rows)

    def mistaken(parts: dict, args: tuple) -> Any:
        try:
            return use(partial(right, **parts), *args)
        except Exception:
            return FAILED

    def wrong_ones(rows: list) -> list:
        return [row for row in rows if not same(row[2], use(right, *row[1]), rtol, atol)]

    def tell(row: tuple, answer: Answer) -> NotYet:
        """What the numbers of one case tell, as an error."""
        case, args, got = row
        try:
            expect(got, use(right, *args), call=call_text(answer, args), args=args, name=name, case=case, scales=scales(*args),
                   rtol=rtol, atol=atol)
        except NotYet as error:
            return error

    check.table, check.right, check.__doc__ = table, right, doc
    return check


def exchange(part: str, steps: Mapping[str, Any]) -> dict:
    """Lines of a table of mistakes that all exchange one part: {sentence: a step, or a list of such} as {sentence: parts}."""
    return {words: [{part: step} for step in (some if isinstance(some, list) else [some])] for words, some in steps.items()}


def is_finite(value: Any) -> bool:
    """Whether a number, a tensor, or all that a list holds, is finite; what is no number counts as finite."""
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    tensor = as_tensor(value)
    return tensor is None or bool(tensor.isfinite().all())
