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
    values,
)

FAILED = object()      # in place of a result: the mistake cannot be computed for these inputs


def as_it_is(answer: Callable, *args: Any) -> Any:
    """What an answer gives."""
    return answer(*args)


class SmallDraw(Draw):
    """Inputs as small as the exercise allows: every size is the least that could have been drawn."""

    def randint(self, a: int, b: int) -> int:
        return a


def spec(number: str, title: str, *, see: tuple[str, str], right: Callable, cases: Callable[[Draw], Iterable],
         mistakes: Mapping[str, Any], name: str = "the result", scales: Callable = lambda *args: {}, rtol: float = 1e-4,
         atol: float = 1e-6, also: Callable = lambda got, args, case: None, doc: str = "",
         use: Callable = as_it_is, in_turn: bool = False) -> Callable:
    """A check made of data.

    right(*args, **parts): the right answer; parts: the steps in it that a mistake exchanges. cases(draw): yields pairs of
    what is special about the inputs, in words, or None, and the inputs. mistakes: {sentence: parts, or a list of such}.
    scales(*args): {words: number}, constant factors to be named. also(got, args, case): raises NotYet for what a right
    number does not show. doc: the docstring of the check. use(answer, *args): runs the answer, or the right one, and gives
    what is to be compared. in_turn: cases are judged one after the other; a mistake that explains all up to the first wrong
    case is told, whatever the cases after it show.
    """
    table = {words: some if isinstance(some, list) else [some] for words, some in mistakes.items()}

    @exercise(number, title, see)
    def check(answer: Answer, draw: Draw) -> None:
        rows, stopped = run(answer, cases(draw))
        wrong = wrong_ones(rows)
        if not wrong:
            if stopped:
                raise stopped
            for case, args, got, _ in rows:
                also(got, args, case)
            return
        case, everywhere = wrong[0][0], len(wrong) == len(rows)
        if words := explanation(rows, singles=in_turn):
            raise_not_yet(words, None if everywhere else case)
        if in_turn:
            rows = rows[:max(i for i, row in enumerate(rows, start=1) if row[0] == case)]
            wrong = wrong_ones(rows)
            if words := explanation(rows):
                raise_not_yet(words, case)
        general = everywhere and not in_turn
        told = [tell(row, answer) for row in wrong]      # what the numbers tell counts when it is the same in all that is wrong
        if all(error.named for error in told) and len({re.sub(r"[\d.e+-]+", "#", str(error)) for error in told}) == 1:
            raise_not_yet(str(told[0]), None if general else case)
        small = wrong_ones(run(answer, cases(SmallDraw(draw.getrandbits(60))))[0])
        small = [row for row in small if not in_turn or row[0] == case]
        row = min(small or wrong, key=lambda row: len(repr(row[1])))
        error = tell(row, answer, plain=True)
        raise_not_yet(str(error), None if general else row[0], error.named)

    def run(answer: Answer, drawn: Iterable) -> tuple[list, NotYet | None]:
        """(case, inputs, what the answer gives, what is right), up to where it stops with an error, and that error."""
        rows = []
        for case, args in drawn:
            try:
                rows.append((case, args, use(answer, *args), use(right, *args)))
            except NotYet as error:      # in the first case, it has nothing to do with what is special there
                return rows, error if case in (None, rows[0][0] if rows else case) else NotYet(f"{case}: {error}")
        return rows, None

    def explanation(rows: list, singles: bool = False) -> str | None:
        """The sentence of the mistake, or of two at once, that gives what the answer gave on every input."""
        wrong, good = wrong_ones(rows), [row for row in rows if is_right(row)]
        rows = wrong + good      # what is wrong tells most mistakes apart at once
        for words, some in table.items():
            if any(explains(parts, rows) for parts in some):
                return words
        if singles or any(kind_fault(got, want) or not is_finite(got) for _, _, got, want in rows):
            return None
        likely = [(words, parts) for words, (parts, *_) in table.items() if idle(parts, good) and not idle(parts, wrong)]
        for (one, parts), (other, more) in combinations(likely, 2):
            if not parts.keys() & more.keys() and explains({**parts, **more}, rows):
                return f"{one}; and {other}"
        return None

    def idle(parts: dict, rows: list) -> bool:
        """Whether a mistake makes no difference to any of these inputs."""
        return all(same(mistaken(parts, args), want, rtol, atol) for _, args, _, want in rows)

    def explains(parts: dict, rows: list) -> bool:
        return all(same(got, mistaken(parts, args), rtol, atol, lenient=True) for _, args, got, _ in rows)

    def mistaken(parts: dict, args: tuple) -> Any:
        try:
            return use(partial(right, **parts), *args)
        except Exception:
            return FAILED

    def is_right(row: tuple) -> bool:
        return same(row[2], row[3], rtol, atol)

    def wrong_ones(rows: list) -> list:
        return [row for row in rows if not is_right(row)]

    def tell(row: tuple, answer: Answer, plain: bool = False) -> NotYet:
        """What the numbers of one row tell, as an error; plain: only what came and what is right."""
        _, args, got, want = row
        call = call_text(answer, args) if use is as_it_is else None
        if plain and not kind_fault(got, want):
            return NotYet(values(got, want, call, name), named=False)
        try:
            expect(got, want, call=call, args=args, name=name, scales=scales(*args), rtol=rtol, atol=atol)
        except NotYet as error:
            return error

    check.table, check.right, check.__doc__ = table, right, doc
    return check


def is_finite(value: Any) -> bool:
    """Whether a number, a tensor, or all that a list holds, is finite; what is no number counts as finite."""
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    tensor = as_tensor(value)
    return tensor is None or bool(tensor.isfinite().all())
