"""An exercise as data: the right answer, written once with exchangeable parts, inputs to draw, and a table of mistakes.

A mistake is a sentence and the parts that it exchanges. The check says a sentence only when the answer agrees with that
mistake on every input; tests/test_checks.py runs each mistake of each table as an answer and demands its own sentence.
"""
import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, combinations, permutations
from typing import Any, NamedTuple

import torch

from gpt_checks.core import (
    Answer,
    Draw,
    NotYet,
    TooSlow,
    as_tensor,
    call_text,
    exercise,
    expect,
    kind_fault,
    same,
    values,
    want_that,
)

OTHER_ORDER = "the arguments are taken in another order than the check gives; keep the stub's first line"
FAILED = object()      # in place of a fact: the mistake cannot be computed for these inputs


class Facts(dict):
    """Several results of one call, and what it did besides, as {name: value}.

    Facts are judged in their order, because a later one is often wrong only since an earlier one is: the first that is wrong is
    told, and a mistake explains a fact when it gives there what the answer gave, and changes none before it.
    """


class SmallDraw(Draw):
    """Inputs as small as the exercise allows: every size is the least that could have been drawn."""

    def randint(self, a: int, b: int) -> int:
        return a


@dataclass(kw_only=True)
class Spec:
    """What a check is made of."""

    right: Callable                      # (*args, **parts): the right answer; parts are the steps that a mistake exchanges
    cases: Callable[[Draw], Iterable]    # yields pairs: what is special about the inputs, in words, or None; and the inputs
    mistakes: Mapping[str, Any]          # {sentence: the parts that it exchanges, as {name: step}, or a list of such}
    use: Callable = lambda answer, *args: answer(*args)      # calls an answer, the right one among them: what is judged, or Facts
    also: Callable = lambda got: None                        # raises NotYet for what a right value does not show
    name: str = "the result"             # what the result is called in messages
    scales: Callable = lambda *args: {}  # {words: number}: constant factors to be named
    rtol: float = 1e-4                   # how far numbers may be off, as a share of the right ones
    atol: float = 1e-6                   # and how far besides
    hint: str = ""                       # where to look when the shapes of two tensors do not fit

    def facts(self, answer: Callable, args: tuple) -> Facts:
        """What an answer gives for some inputs."""
        value = self.use(answer, *args)
        return value if isinstance(value, Facts) else Facts({self.name: value})

    def same(self, got: Any, want: Any, lenient: bool = False) -> bool:
        return same(got, want, self.rtol, self.atol, lenient)


def spec(number: str, title: str, *, see: tuple[str, str], doc: str, **data: Any) -> Callable:
    """The check of an exercise, made of what a Spec lists. see: the lesson and section that explain it; doc: its docstring."""
    made = Spec(**data)
    table = {words: some if isinstance(some, list) else [some] for words, some in made.mistakes.items()}

    @exercise(number, title, see)
    def check(answer: Answer, draw: Draw) -> None:
        run = Run(made, table, answer, made.cases(draw))
        if run.wrong or run.stopped:
            with quiet():
                raise (run.explained() or run.measured(draw)) if run.wrong else run.meaning(*run.stopped)
        for row in run.rows:
            for got in row.got.values():
                made.also(got)

    check.table, check.right, check.__doc__ = table, made.right, doc
    return check


def exchange(part: str, steps: Mapping[str, Any]) -> dict:
    """Lines of a table of mistakes that all exchange one part: {sentence: a step, or a list of such} as {sentence: parts}."""
    return {words: [{part: step} for step in (some if isinstance(some, list) else [some])] for words, some in steps.items()}


def several(*names: str, order: Iterable[int] | None = None) -> Callable:
    """A `use` for answers that give several results: Facts with these names, judged in this order."""
    def use(answer: Callable, *args: Any) -> Facts:
        got = answer(*args)
        if isinstance(got, torch.Tensor) and got.ndim == 2 and len(got) == len(names):
            got = list(got)
        if isinstance(got, list | tuple):
            want_that(len(got) == len(names), f"the result has {len(got)} values; need {len(names)}: ({', '.join(names)})")
        else:
            got = [got] * len(names)      # what is no list is told with the first name
        return Facts((names[i], got[i]) for i in order or range(len(names)))
    return use


class Row(NamedTuple):
    """What an answer gave for some inputs, and what is right."""

    case: str | None
    args: tuple
    got: Facts
    want: Facts


class Run:
    """An answer beside the right one and the mistakes, on some inputs; nothing is computed twice.

    rows: up to where the answer stops with an error. stopped: case, inputs and error, where it does. A place is a pair: the
    number of a row and the name of a fact. wrong: all places where the answer is not right.
    """

    def __init__(self, spec: Spec, table: Mapping[str, list], answer: Answer, drawn: Iterable):
        self.spec, self.answer, self.rows, self.stopped = spec, answer, [], None
        self.known = [(words, parts) for words, some in table.items() for parts in some]
        self.given, self.changes = cache(self.given), cache(self.changes)
        for case, args in drawn:
            try:
                got = spec.facts(answer, args)
            except NotYet as error:
                self.stopped = case, args, error
                break
            self.rows.append(Row(case, args, got, spec.facts(Answer(spec.right), args)))
        self.places = [(k, name) for k, row in enumerate(self.rows) for name in row.want]
        self.wrong = self.off(lambda k: self.rows[k].got)

    def off(self, result: Callable[[int], Facts]) -> set:
        """The places where the result of a row is not right."""
        return {(k, name) for k, name in self.places
                if not self.spec.same(result(k).get(name, FAILED), self.rows[k].want[name])}

    def given(self, k: int, *mistakes: int) -> Facts:
        """What a mistake, or several at once, gives for row number k; no facts when it cannot be computed."""
        parts = {part: step for j in mistakes for part, step in self.known[j][1].items()}
        with contextlib.suppress(Exception):
            return self.spec.facts(lambda *args, may_change=(): self.spec.right(*args, **parts), self.rows[k].args)
        return Facts()

    def changes(self, j: int) -> set:
        """The places where a mistake makes a difference."""
        return self.off(lambda k: self.given(k, j))

    def agrees(self, places: Iterable, mistakes: tuple) -> bool:
        """Whether mistakes give at some places what the answer gave."""
        return all(self.spec.same(self.rows[k].got[name], self.given(k, *mistakes).get(name, FAILED), lenient=True)
                   for k, name in places)

    # What an answer is told.

    def explained(self) -> NotYet | None:
        """The sentence of the mistake, or of two at once, that explains the answer, or at least one of its facts."""
        facts, earlier = dict.fromkeys(name for _, name in self.places), set()
        for only in (None, *facts) if len(facts) > 1 else [None]:
            places = [place for place in self.places if only in (None, place[1])]
            if wrong := self.wrong & {*places}:
                places.sort(key=lambda place: place not in wrong)      # what is wrong tells most mistakes apart
                for some in chain(zip(range(len(self.known))), self.pairs(places, earlier)):
                    if self.agrees(places, some) and not any(self.changes(j) & earlier for j in some if earlier):
                        return NotYet(self.with_case("; and ".join(self.known[j][0] for j in some), wrong))
                if only and self.odd(wrong):
                    break
            earlier |= {*places} if only else set()
        return None

    def pairs(self, places: list, earlier: set) -> Iterator[tuple[int, int]]:
        """Two mistakes that exchange different steps, each in its first form, and together change all that is wrong."""
        wrong = self.wrong & {*places}
        if self.odd(places) or self.constant(places):
            return
        right = {place for place in places if place[1] not in {name for _, name in wrong}} | earlier
        firsts = sorted({words: j for j, (words, _) in reversed([*enumerate(self.known)])}.values())
        changed = {j: some for j in firsts if (some := self.changes(j) & {*places}) and not self.changes(j) & right}
        for one, other in combinations(changed, 2):
            if wrong <= changed[one] | changed[other] and not self.known[one][1].keys() & self.known[other][1].keys():
                yield one, other

    def odd(self, places: set) -> bool:
        """Whether something came that is no finite result of the right kind."""
        pairs = [(self.rows[k].got[name], self.rows[k].want[name]) for k, name in places]
        return any(kind_fault(got, want) or not is_finite(got) for got, want in pairs)

    def constant(self, places: set) -> bool:
        """Whether each fact is the same in several rows."""
        gots = [[self.rows[k].got[name] for k, name in places if name == fact] for fact in {name for _, name in places}]
        return all(len(some) > 1 and all(same(got, some[0], 0, 0) for got in some) for some in gots)

    def with_case(self, words: str, places: set) -> str:
        """Words about some places, with the case before them unless they hold for all rows."""
        rows = sorted({k for k, _ in places})
        case = self.rows[rows[0]].case if len(rows) < len(self.rows) else None
        return f"{case}: {words}" if case else words

    def measured(self, draw: Draw) -> NotYet:
        """What numbers tell about the first fact that is wrong, when it is the same in every row; else the smallest example."""
        first = next(name for _, name in self.places if any(name == other for _, other in self.wrong))
        places = {place for place in self.wrong if place[1] == first}
        rows = [self.rows[k] for k, _ in sorted(places)]
        if self.in_another_order([row.args for row in rows]):
            return NotYet(OTHER_ORDER)
        told = [self.tell(row, first) for row in rows]
        if all(error.named for error in told) and len({re.sub(r"[\d.e+-]+", "#", str(error)) for error in told}) == 1:
            return NotYet(self.with_case(str(told[0]), places))
        small = Run(self.spec, {}, self.answer, self.spec.cases(SmallDraw(draw.getrandbits(60))))
        rows = [small.rows[k] for k, name in sorted(small.wrong) if name == first] or rows
        row = min(rows, key=lambda row: len(repr(row.args)))
        error = self.tell(row, first, plain=True)
        return NotYet(f"{row.case}: {error}" if row.case else str(error), error.named)

    def tell(self, row: Row, name: str, plain: bool = False) -> NotYet:
        """What is wrong with a fact, as its numbers tell it; plain: what came, and what is right."""
        got, want = row.got[name], row.want[name]
        call = call_text(self.answer, row.args) if len(row.want) == 1 else None
        name = self.spec.name if len(row.want) == 1 else name
        if plain and not kind_fault(got, want):
            return NotYet(values(got, want, call, name), named=False)
        try:
            expect(got, want, call=call, name=name, scales=self.spec.scales(*row.args), rtol=self.spec.rtol, atol=self.spec.atol)
        except NotYet as error:
            return error

    def meaning(self, case: str | None, args: tuple, error: NotYet) -> NotYet:
        """An error with which the answer stopped, with the mistake that stops with the same error, or a hint."""
        if self.in_another_order([*(row.args for row in self.rows), args]):
            return NotYet(OTHER_ORDER)
        words = str(error)
        if self.spec.hint and "must match the size of tensor" in words:
            words = f"{words}. The two shapes do not fit: {self.spec.hint}"
        for j, (sentence, parts) in enumerate(self.known) if cause(error) else ():
            try:
                self.spec.facts(Answer(partial(self.spec.right, **parts)), args)
            except NotYet as other:
                if cause(other) == cause(error) and self.agrees(self.places, (j,)):
                    words = f"{words if len(words) <= 180 else words[:180] + ' …'}; {sentence}"
                    break
            except Exception:
                continue
        first = self.rows[0].case if self.rows else case      # what stops at once does not stop for what is special there
        return NotYet(words if case in (None, first) else f"{case}: {words}")

    def in_another_order(self, inputs: list[tuple]) -> bool:
        """Whether the answer is right as soon as its first arguments change places."""
        return any(all(self.is_right(self.reordered(order), args) for args in inputs)
                   for order in [*permutations(range(min(3, len(inputs[0]))))][1:])

    def reordered(self, order: tuple) -> Callable:
        """The answer, given its first arguments in another order."""
        return lambda *args, may_change=(): Answer(self.answer.function)(*(args[i] for i in order), *args[len(order):])

    def is_right(self, answer: Callable, args: tuple) -> bool:
        """Whether an answer is right for copies of some inputs."""
        copies = [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]
        want = self.spec.facts(Answer(self.spec.right), args)
        with contextlib.suppress(Exception, TooSlow):
            got = self.spec.facts(answer, copies)
            return all(self.spec.same(got[name], want[name]) for name in want)
        return False


def is_finite(value: Any) -> bool:
    """Whether a number, a tensor, or all that a list holds, is finite; what is no number counts as finite."""
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    tensor = as_tensor(value)
    return tensor is None or bool(tensor.isfinite().all())


def cause(error: NotYet) -> str:
    """What an answer stopped with, numbers aside; nothing where it did not stop with an error of its own."""
    return re.sub(r"\d+", "#", str(error).partition(" stopped with ")[2])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Around what is tried out: neither its output nor its warnings are shown."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
