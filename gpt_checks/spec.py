"""An exercise as data: the right answer, written once with exchangeable parts, inputs to draw, and a table of mistakes.

A mistake is a sentence and the parts that it exchanges. The check says a sentence only when the answer agrees with that
mistake on every input; tests/test_checks.py runs each mistake of each table as an answer and demands its own sentence.
"""
import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain, combinations, permutations
from typing import Any

import torch

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

OTHER_ORDER = "the arguments are taken in another order than the check gives; keep the stub's first line"
FAILED = object()      # in place of a result: the mistake cannot be computed for these inputs


class SmallDraw(Draw):
    """Inputs as small as the exercise allows: every size is the least that could have been drawn."""

    def randint(self, a: int, b: int) -> int:
        return a


def spec(number: str, title: str, *, see: tuple[str, str], right: Callable, cases: Callable[[Draw], Iterable],
         mistakes: Mapping[str, Any], name: str | tuple[str, ...] = "the result", scales: Callable = lambda *args: {},
         rtol: float = 1e-4, atol: float = 1e-6, also: Callable = lambda got, args, case: None, doc: str = "",
         use: Callable = lambda answer, *args: answer(*args), hint: str = "") -> Callable:
    """A check made of data.

    right(*args, **parts): the right answer; parts: the steps in it that a mistake exchanges. cases(draw): yields pairs of
    what is special about the inputs, in words, or None, and the inputs. mistakes: {sentence: parts, or a list of such}.
    scales(*args): {words: number}, constant factors to be named. also(got, args, case): raises NotYet for what a right
    number does not show. doc: the docstring of the check.
    name: what the result is called in words; a tuple of names: the result is a tuple too, and when no mistake explains the
    whole, its parts are explained one by one. use(answer, *args): calls an answer, right(...) among them, and gives what is
    compared, where that is more than what it returns. hint: where to look when the shapes of two tensors do not fit.
    """
    table = {words: some if isinstance(some, list) else [some] for words, some in mistakes.items()}
    names = () if isinstance(name, str) else name

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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")      # those of the mistakes that are tried
            words = explanation(rows)
        if words:
            raise_not_yet(words, wrong[0][0] if len(wrong) < len(rows) else None)
        if in_another_order(answer, wrong[0][1]):
            raise NotYet(OTHER_ORDER)
        told = [tell(row, answer) for row in wrong]
        if all(error.named for error in told) and len({re.sub(r"[\d.e+-]+", "#", str(error)) for error in told}) == 1:
            raise told[0]                    # what the numbers tell, the same in every case that is wrong
        small = wrong_ones(run(answer, cases(SmallDraw(draw.getrandbits(60))))[0])
        raise tell(min(small or wrong, key=lambda row: len(repr(row[1]))), answer)

    def run(answer: Answer, drawn: Iterable) -> tuple[list, NotYet | None]:
        """What the answer gives for the drawn inputs, up to where it stops with an error, and that error."""
        rows = []
        for case, args in drawn:
            try:
                rows.append((case, args, use(answer, *args)))
            except NotYet as error:
                return rows, NotYet(OTHER_ORDER) if in_another_order(answer, args) else stop(error, case)
        return rows, None

    def stop(error: NotYet, case: str | None) -> NotYet:
        """An error with which the answer stopped, with the case before it and a hint after it."""
        clash = hint and "must match the size of tensor" in str(error)
        words = f"{error}. The two shapes do not fit: {hint}" if clash else str(error)
        return NotYet(f"{case}: {words}" if case else words)

    def explanation(rows: list) -> str | None:
        """The sentence of the mistake, or of two at once, that gives what the answer gave on every input, or a part of it."""
        known = [(words, parts) for words, some in table.items() for parts in some]
        wants = [wanted(args) for _, args, _ in rows]

        @cache
        def given(k: int, *mistakes: int) -> Any:
            """What one mistake, or two at once, give for row number k."""
            return result_of({step: way for j in mistakes for step, way in known[j][1].items()}, rows[k][1])

        def differing(results: list) -> set:
            """The numbers of the parts that are not right in all rows."""
            return {i for i in range(len(names))
                    if not all(same(part(got, i), part(want, i), rtol, atol) for got, want in zip(results, wants, strict=True))}

        @cache
        def changes(j: int) -> set:
            return differing([given(k, j) for k in range(len(rows))])

        wrong = differing([got for _, _, got in rows])
        for i in (None, *sorted(wrong)):
            gots = [part(got, i) for _, _, got in rows]
            odd = any(kind_fault(got, part(want, i)) or not is_finite(got) for got, want in zip(gots, wants, strict=True))
            for some in chain(zip(range(len(known))), () if odd else pairs_of(known)):
                if len(some) == 2 and not (wrong == changes(some[0]) | changes(some[1]) if i is None else
                                           i in changes(some[0]) & changes(some[1])):
                    continue                 # these two change what is right, or leave what is wrong
                if all(same(got, part(given(k, *some), i), rtol, atol, lenient=True) for k, got in enumerate(gots)):
                    return "; and ".join(known[j][0] for j in some)
        return None

    def part(value: Any, i: int | None) -> Any:
        """Part number i of a result; None: the whole."""
        if i is None:
            return value
        return value[i] if isinstance(value, list | tuple) and len(value) == len(names) else FAILED

    def wanted(args: tuple) -> Any:
        """What the right answer gives."""
        return use(lambda *given, may_change=(): right(*given), *args)

    def result_of(parts: dict, args: tuple) -> Any:
        """What a mistake gives."""
        try:
            return use(lambda *given, may_change=(): right(*given, **parts), *args)
        except Exception:
            return FAILED

    def wrong_ones(rows: list) -> list:
        return [row for row in rows if not same(row[2], wanted(row[1]), rtol, atol)]

    def in_another_order(answer: Answer, args: tuple) -> bool:
        """Whether the answer is right as soon as its first arguments change places."""
        for order in permutations(range(3)):
            def other(*given, order=order, may_change=()):
                changed = [given[i] for i in order if i < len(given)] + list(given[3:])
                if all(one is another for one, another in zip(given, changed, strict=True)):
                    return FAILED
                return Answer(answer.function)(*changed)

            copies = [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if same(use(other, *copies), wanted(args), rtol, atol):
                    return True
        return False

    def tell(row: tuple, answer: Answer) -> NotYet:
        """What the numbers of one case tell, as an error."""
        case, args, got = row
        want, told = wanted(args), []
        split = names and part(got, 0) is not FAILED
        for i, called in enumerate(names) if split else [(None, "the result" if names else name)]:
            try:
                expect(part(got, i), part(want, i), call=None if names else call_text(answer, args), args=args, name=called,
                       case=case, scales=scales(*args), rtol=rtol, atol=atol)
            except NotYet as error:
                told.append(error)
        return next((error for error in told if error.named), told[0])

    check.table, check.right, check.__doc__ = table, right, doc
    return check


def by(step: str, table: Mapping[str, Any]) -> dict[str, list]:
    """The part of a table whose mistakes all exchange one step: {sentence: what they put there, or a list of such}."""
    return {words: [{step: way} for way in (ways if isinstance(ways, list) else [ways])] for words, ways in table.items()}


def pairs_of(known: list) -> Iterable[tuple[int, int]]:
    """The numbers of two mistakes that exchange different steps, each in the first of its ways."""
    first = {words: j for j, (words, _) in reversed([*enumerate(known)])}
    return (pair for pair in combinations(sorted(first.values()), 2) if not known[pair[0]][1].keys() & known[pair[1]][1].keys())


def is_finite(value: Any) -> bool:
    """Whether a number, a tensor, or all that a list holds, is finite; what is no number counts as finite."""
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    tensor = as_tensor(value)
    return tensor is None or bool(tensor.isfinite().all())
