"""An exercise as data: the right answer, written once with exchangeable parts, inputs to draw, and a table of mistakes.

A mistake is a sentence and the parts that it exchanges. The check says a sentence only when the answer agrees with that
mistake on every input; tests/test_checks.py runs each mistake of each table as an answer and demands its own sentence.
"""
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, combinations, permutations
from typing import Any

import torch

from gpt_checks import core
from gpt_checks.core import Answer, Draw, NotYet, TooSlow
from gpt_checks.numbers import VALUES, numbers_of, sheets

OTHER_ORDER = "the arguments are taken in another order than the check gives; keep the stub's first line"
KEPT = "a default value in the first line is made once and kept from call to call; make a new list inside the function"
ANOTHERS = "another student's numbers give this, or yours rounded; take yours, as they are printed for your number"
AT_ONCE = "it is as if two things were wrong: "
FAILED = object()      # in place of a fact: the mistake cannot be computed for these inputs


class Facts(dict):
    """Several results of one call, and what it did besides, as {name: value}.

    Facts are judged in their order, because a later one is often wrong only since an earlier one is: the first that is wrong is
    told, and a mistake explains a fact when it gives there what the answer gave, and changes none before it.
    """


@dataclass(kw_only=True)
class Spec:
    """What a check is made of."""

    right: Callable                      # (*args, **parts): the right answer; parts are the steps that a mistake exchanges
    cases: Callable[[Draw], Iterable]    # yields pairs: what is special about the inputs, in words, or None; and the inputs
    mistakes: Mapping[str, Any]          # {sentence: the parts that it exchanges, as {name: step}, or a list of such}
    use: Callable = lambda answer, *args: answer(*args)      # calls an answer, the right one among them: what is judged, or Facts
    also: Callable = lambda got: None    # raises NotYet for what a right value does not show
    name: str = "the result"             # what the result is called in messages
    scales: Callable = lambda *args: {}  # (*args): {words: number}, constant factors to be named
    rtol: float = 1e-4                   # how far numbers may be off, as a share of the right ones
    atol: float = 1e-6                   # and how far besides
    hint: str = ""                       # where to look when the shapes of two tensors do not fit
    names: Sequence[str] = ()            # of the stub's parameters
    patients: bool = False               # whether students are given programs that have two mistakes
    beside: bool = False                 # whether `use` runs in the answer's process when that is another; then it gives Facts

    def facts(self, answer: Callable, args: tuple) -> Facts:
        """What an answer gives for some inputs."""
        function = getattr(answer, "function", None)
        elsewhere = self.beside and hasattr(type(function), "observed")      # of the type: odd answers may have odd attributes
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            value = Facts(function.observed(self.use, args)) if elsewhere else self.use(answer, *args)
        if elsewhere:
            answer.results.append(value)
        return value if isinstance(value, Facts) else Facts({self.name: value})

    def same(self, got: Any, want: Any, lenient: bool = False) -> bool:
        return core.same(got, want, self.rtol, self.atol, lenient)


def spec(number: str, title: str, *, see: tuple[str, str], doc: str, own: Mapping[str, Sequence] | None = None,
         **data: Any) -> Callable:
    """The check of an exercise, made of what a Spec lists. see: the lesson and section that explain it; doc: its docstring.

    own: for numbers of each student's own, {name: the values that it can have}. `right` and `cases` take them by these names,
    and the check is called with the student's number as well.
    """
    given = Spec(**data, names=re.findall(r"(\w+)[^,]*", doc.partition("(")[2].partition(")")[0]))
    table = {words: some if isinstance(some, list) else [some] for words, some in given.mistakes.items()}
    if own:
        VALUES[number] = own

    def of(student: int) -> Spec:
        """What is asked of a student."""
        parts = numbers_of(number, student) if own else {}
        return replace(given, right=partial(given.right, **parts), cases=partial(given.cases, **parts))

    @core.exercise(number, title, see)
    def check(answer: Answer, draw: Draw, student: int = 1) -> None:
        try:
            made = of(student)
        except ValueError as error:
            raise NotYet(str(error)) from None
        others = {ANOTHERS: [parts for parts in sheets(number) if parts != numbers_of(number, student)]} if own else {}
        run = Run(made, answer, made.cases(draw), table | others)
        if run.wrong or run.stopped:
            with core.quiet():
                raise NotYet((run.explained() or run.measured(draw)) if run.wrong else run.meaning(*run.stopped))
        for got, _ in run.values.values():
            made.also(got)

    check.table, check.right, check.of, check.__doc__ = table, of(1).right, of, doc
    return check


def as_given(*args: Any) -> tuple:
    """The step of most right answers that mistakes exchange to change the arguments."""
    return args


def exchange(part: str, steps: Mapping[str, Any]) -> dict:
    """Lines of a table of mistakes that all exchange one part: {sentence: a step, or a list of such} as {sentence: parts}."""
    return {words: [{part: step} for step in (some if isinstance(some, list) else [some])] for words, some in steps.items()}


def several(*names: str, order: Iterable[int] | None = None) -> Callable:
    """A `use` for answers that give several results: Facts with these names, judged in this order."""
    def use(answer: Callable, *args: Any) -> Facts:
        got = answer(*args)
        if isinstance(got, torch.Tensor) and got.ndim and len(got) == len(names):
            got = list(got)
        if isinstance(got, list | tuple):
            core.want_that(len(got) == len(names), f"the result has {len(got)} values; need {len(names)}: ({', '.join(names)})")
        else:
            got = [got] * len(names)      # what is no list is told with the first name
        return Facts((names[i], got[i]) for i in order or range(len(names)))
    return use


class Run:
    """An answer beside the right one and the mistakes, on some inputs; nothing is computed twice.

    rows: cases and inputs, up to where the answer stops with an error. stopped: case, inputs and error, where it does. A place
    is a pair: the number of a row and the name of a fact. values: {place: (what came, what is right)}. wrong: the places where
    these differ.
    """

    def __init__(self, spec: Spec, answer: Answer, drawn: Iterable, table: Mapping[str, list] | None = None):
        self.spec, self.answer, self.rows, self.values, self.stopped = spec, answer, [], {}, None
        self.known = [(words, parts) for words, some in (table or {}).items() for parts in some]
        self.firsts = [j for j, (words, parts) in enumerate(self.known) if parts is table[words][0]]
        self.given, self.changes = cache(self.given), cache(self.changes)
        for case, args in drawn:
            want = spec.facts(Answer(spec.right), args)      # before the answer can lay hands on what the inputs hold
            try:
                got = spec.facts(answer, args)
            except NotYet as error:
                self.stopped = case, args, error
                break
            self.values |= {(len(self.rows), name): (got[name], want[name]) for name in want}
            self.rows.append((case, args))
        self.several = len(self.values) > len(self.rows)
        self.wrong = {place for place, (got, want) in self.values.items() if not spec.same(got, want)}

    def given(self, k: int, *mistakes: int) -> Facts:
        """What a mistake, or several at once, gives for row number k; no facts when it cannot be computed."""
        parts = {part: step for j in mistakes for part, step in self.known[j][1].items()}
        with contextlib.suppress(Exception):
            return self.spec.facts(lambda *args, may_change=(): self.spec.right(*args, **parts), self.rows[k][1])
        return Facts()

    def changes(self, j: int) -> set:
        """The places where a mistake makes a difference."""
        return {(k, name) for (k, name), (_, want) in self.values.items()
                if not self.spec.same(self.given(k, j).get(name, FAILED), want)}

    def agrees(self, places: Iterable, mistakes: tuple) -> bool:
        """Whether mistakes give at some places what the answer gave."""
        return all(self.spec.same(self.values[k, name][0], self.given(k, *mistakes).get(name, FAILED), lenient=True)
                   for k, name in places)

    def odd(self, places: Iterable) -> bool:
        """Whether something came there that is no finite result of the right kind."""
        return any(core.kind_fault(got, want) or not core.is_finite(got) for got, want in map(self.values.get, places))

    def constant(self, places: Iterable) -> bool:
        """Whether each fact is the same in several rows."""
        gots = [[self.values[k, name][0] for k, name in places if name == fact] for fact in {name for _, name in places}]
        return all(len(some) > 1 and all(core.same(got, some[0], 0, 0) for got in some) for some in gots)

    # What the answer is told: a mistake that explains it; else what its numbers show; or what its error means.

    def explained(self) -> str | None:
        """The sentence of the mistake, or of two at once, that gives what the answer gave everywhere, or at least in one fact."""
        names, earlier = list(dict.fromkeys(name for _, name in self.values)), set()
        for only in [None, *names] if len(names) > 1 else names:
            places = [place for place in self.values if only in (None, place[1])]
            wrong = self.wrong.intersection(places)
            places.sort(key=lambda place: place not in wrong)      # what is wrong tells most mistakes apart
            found = []
            for some in chain(zip(range(len(self.known))), self.pairs(places, earlier)) if wrong else ():
                if self.agrees(places, some) and self.may_tell(some, wrong, earlier):
                    words = self.with_case("; and ".join(self.known[j][0] for j in some), wrong)
                    if len(some) == 1 or self.spec.patients or self.apart(*some):
                        return words
                    found.append(words)
                    if len(found) > 1:
                        break      # both can hardly be true
            if len(found) == 1:
                return AT_ONCE + found[0]
            if only and (self.odd(wrong) or (wrong and self.constant(wrong))):
                return None      # that is told first
            earlier.update(places if only else ())
        return None

    def may_tell(self, mistakes: tuple, wrong: set, earlier: set) -> bool:
        """Whether mistakes change what is wrong, and nothing before it; of another's numbers, a constant answer tells nothing."""
        changed = set().union(*map(self.changes, mistakes))      # nothing, where only the kind of the result is wrong
        anothers = self.known[mistakes[0]][0] == ANOTHERS and self.constant(wrong)
        return bool(changed & wrong) and not changed & earlier and not anothers

    def apart(self, one: int, other: int) -> bool:
        """Whether two mistakes change different facts, so that each is seen by itself."""
        return not {name for _, name in self.changes(one)} & {name for _, name in self.changes(other)}

    def pairs(self, places: list, earlier: set) -> Iterator[tuple[int, int]]:
        """Two mistakes that exchange different steps and, each in its first form, together change each fact that is wrong."""
        if self.odd(places) or self.constant(places):
            return
        wrong = self.wrong.intersection(places)
        facts = {name for _, name in wrong}
        right = earlier.union(place for place in places if place[1] not in facts)
        changed = {j: {name for _, name in some} for j in self.firsts
                   if (some := self.changes(j).intersection(places)) and not self.changes(j) & right}
        for one, other in combinations(changed, 2):
            if facts <= changed[one] | changed[other] and not self.known[one][1].keys() & self.known[other][1].keys():
                yield one, other

    def with_case(self, words: str, places: set) -> str:
        """Words about some places, with the case before them unless they hold for all rows."""
        rows = {k for k, _ in places}
        case = self.rows[min(rows)][0] if len(rows) < len(self.rows) else None
        return f"{case}: {words}" if case else words

    def measured(self, draw: Draw) -> str:
        """What numbers tell about the first fact that is wrong, when they tell it in every row; else the smallest example."""
        first = next(name for _, name in self.values if any(name == other for _, other in self.wrong))
        places = sorted(place for place in self.wrong if place[1] == first)
        if core.kept_between_calls(self.answer.function):
            return KEPT
        if self.in_another_order(self.rows):
            return OTHER_ORDER
        if not self.odd(places[:1]) and self.is_constant(draw):
            given = core.short(self.answer.results[0])
            return f"{self.answer.name} gives {given} whatever it is given; compute it from the inputs"
        told = [core.what_is_wrong(*self.values[place], name=self.called(first), scales=self.spec.scales(*self.rows[place[0]][1]),
                                   rtol=self.spec.rtol, atol=self.spec.atol) for place in places]
        if None not in told and len({re.sub(r"[\d.e+-]+", "#", words) for words in told}) == 1:
            return self.with_case(told[0], places)
        small = Run(self.spec, self.answer, self.spec.cases(core.SmallDraw(draw.getrandbits(60))))
        smaller = [place for place in small.wrong if place[1] == first]
        return small.example(smaller) if smaller else self.example(places)

    def example(self, places: list) -> str:
        """What came where the inputs are shortest, and what is right."""
        k, fact = min(places, key=lambda place: (len(repr(self.rows[place[0]][1])), place))
        (case, args), (got, want), name = self.rows[k], self.values[k, fact], self.called(fact)
        call = None if self.several else core.call_text(self.answer, args)
        words = f"{name} {fault}" if (fault := core.kind_fault(got, want)) else core.values(got, want, call, name)
        return f"{case}: {words}" if case else words

    def called(self, fact: str) -> str:
        return fact if self.several else self.spec.name

    def is_constant(self, draw: Draw) -> bool:
        """Whether the answer gives the same in all cases, and for other draws too."""
        results = list(self.answer.results)
        for _ in range(4):
            if results[0] is None or not all(core.same(other, results[0], 0, 0) for other in results):
                return False
            fresh = Answer(self.answer.function)
            with contextlib.suppress(Exception, TooSlow):
                Run(self.spec, fresh, self.spec.cases(draw))
            results += fresh.results
        return len(results) > 4

    def meaning(self, case: str | None, args: tuple, error: NotYet) -> str:
        """What an error says with which the answer stopped, and a mistake that stops with the same error, or a hint."""
        if "changes its input" not in str(error) and self.in_another_order([*self.rows, (case, args)]):
            return OTHER_ORDER
        words = str(error)
        if self.spec.hint and "must match the size of tensor" in words:
            words = f"{words}. The two shapes do not fit: {self.spec.hint}"
        for j, (sentence, parts) in enumerate(self.known) if cause(error) else ():
            with contextlib.suppress(Exception):
                mistake = Run(self.spec, Answer(partial(self.spec.right, **parts)), [(case, args)])
                if cause(mistake.stopped[2]) == cause(error) and self.agrees(self.values, (j,)):
                    words = f"{words if len(words) <= 180 else words[:180] + ' …'}; {sentence}"
                    break
        at_once = not self.rows or case == self.rows[0][0]      # then it has nothing to do with what is special there
        return words if at_once or not case else f"{case}: {words}"

    def in_another_order(self, drawn: list) -> bool:
        """Whether the answer, whose first line is not the stub's, is right as soon as its first arguments change places."""
        if core.parameter_names(self.answer.function) == [*self.spec.names]:
            return False
        for order in [*permutations(range(min(3, len(drawn[0][1]))))][1:]:
            copies = [(case, [arg.clone() if isinstance(arg, torch.Tensor) else arg for arg in args]) for case, args in drawn]
            other = Answer(lambda *args, order=order: self.answer.function(*(args[i] for i in order), *args[len(order):]))
            with contextlib.suppress(Exception, TooSlow):
                run = Run(self.spec, other, copies)
                if not run.wrong and not run.stopped:
                    return True
        return False


def cause(error: NotYet) -> str:
    """What an answer stopped with, numbers aside; nothing where it did not stop with an error of its own."""
    return re.sub(r"\d+", "#", str(error).partition(" stopped with ")[2])
