"""The harbour log: an endless, readable language in which the true probability of every word is known.

`HarbourLog.entry` is the whole grammar. Drawing a word at each of its steps writes the log; looking up the word that is
there gives its true probability; asking whether it could be there at all judges what somebody else has written.
"""
import math
import random
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate, islice
from typing import NamedTuple

import torch

from gpt_helpers.text import token_ids_to_text
from gpt_helpers.validate import require_entries, require_integers, require_language, require_positive, require_row
from gpt_helpers.words import WordTokenizer, split_words

END = "\n"      # the token that ends an entry: the log has one entry to a line
KINDS = ("choice", "memory", "grammar")


class NextWord:
    """What an entry may say next. probs: {word: probability}. grammatical: words that the grammar alone would allow.

    A word that is grammatical and has no probability contradicts what the entry said before. So kind is "choice" where
    several words are possible, "memory" where one is and the grammar would allow others, and "grammar" where it would not.
    """

    def __init__(self, probs: dict[str, float], grammatical: Iterable[str] = ()):
        self.probs, self.words, self.cumulative = probs, list(probs), list(accumulate(probs.values()))
        self.grammatical = probs.keys() | grammatical
        self.kind = "choice" if len(probs) > 1 else "memory" if len(self.grammatical) > 1 else "grammar"

    def draw(self, rng: random.Random) -> str:
        """A word, drawn by its probability."""
        return rng.choices(self.words, cum_weights=self.cumulative)[0] if len(self.words) > 1 else self.words[0]


def uniform(words: Sequence[str]) -> NextWord:
    """A choice in which every word is equally likely."""
    return NextWord({word: 1 / len(words) for word in words})


def zipf(words: Sequence[str]) -> NextWord:
    """A choice in which the nth word has a probability in proportion to 1/n, as words in books roughly have."""
    total = sum(1 / n for n in range(1, len(words) + 1))
    return NextWord({word: 1 / n / total for n, word in enumerate(words, start=1)})


@cache
def only(word: str, among: tuple = ()) -> NextWord:
    """The one word that can follow; among: the words between which memory decides."""
    return NextWord({word: 1.0}, among)


def say(text: str) -> Iterator[NextWord]:
    """Words that the grammar dictates."""
    for word in text.split():
        yield only(word)


class HarbourLog:
    """The log of a harbour, of entries that are independent of each other; without settings, that of lesson 08.

    names, colours, places: the nth is drawn with a probability in proportion to 1/n. women: the names that are "she"; when left
    out, those of Nell, Ada, Bess and Orla that are there. numbers, goods, verbs, ways, hours: drawn evenly. events: sentences
    without their full stop, with different first words, drawn evenly, none twice in an entry; after the last one, the fog, the
    bell is rung. before, after: how likely an event is before the counting and after it. Raises ValueError.
    """

    def __init__(self, *, names: str = "Tobin Nell Marrow Ada Jory Bess Edmund Orla", women: str | None = None,
                 colours: str = "red blue green white black grey", places: str = "buoy weir quay ford reef mill",
                 numbers: str = "two three four five six seven eight nine", goods: str = "lamps nets crabs ropes casks shells",
                 verbs: str = "took rowed sailed", ways: str = "to past", hours: str = "dawn noon dusk",
                 events: Sequence[str] = ("It rained all day", "Gulls followed the boat", "Comma barked at the tide",
                                          "No ferry came", "Ice lay on the oars", "Fog came in from the sea"),
                 before: float = 0.5, after: float = 0.4):
        groups = {"names": names, "colours": colours, "places": places, "numbers": numbers, "goods": goods, "verbs": verbs,
                  "ways": ways, "hours": hours}
        require_language(groups, "" if women is None else women, events, before=before, after=after)
        lists = {group: words.split() for group, words in groups.items()}
        women = {"Nell", "Ada", "Bess", "Orla"} & set(lists["names"]) if women is None else women.split()
        self.names, self.colours, self.places, self.numbers, self.goods, *_ = map(tuple, lists.values())
        self.name, self.colour, self.place = map(zipf, (self.names, self.colours, self.places))
        self.number, self.good, self.verb, self.way, self.hour = map(uniform, list(lists.values())[3:])
        self.rest = {first: " ".join(others) for first, *others in map(str.split, events)}      # {first word: the others}
        self.fog, self.women = list(self.rest)[-1], frozenset(women)
        self.event_before = self.event_or("There", before)
        self.event_after = {said: self.event_or("At", after, said) for said in ("There", *self.rest)}
        fixed = "the boat at There he she counted At night wrote in The bell rang until morning"
        words = " ".join([fixed, *map(" ".join, lists.values()), *events]).split()
        self.tokenizer = WordTokenizer([END, ".", ",", ":", *sorted(set(words))])

    def event_or(self, go_on: str, likely: float, said: str = "") -> NextWord:
        """The first word of an event that was not said before, with probability `likely` in all, or the word to go on with."""
        fresh = [first for first in self.rest if first != said]
        if not fresh or not likely:
            return only(go_on, tuple(self.rest) if likely else ())
        return NextWord({go_on: 1 - likely} | {first: likely / len(fresh) for first in fresh}, self.rest)

    def entry(self) -> Generator[NextWord, str, None]:
        """The grammar of one entry: yields the NextWord for each, and is sent the word that was written."""
        name = yield self.name
        yield self.verb
        yield from say("the")
        colour = yield self.colour
        yield from say("boat")
        yield self.way
        yield from say("the")
        place = yield self.place
        yield from say("at")
        yield self.hour
        yield from say(".")

        first = yield self.event_before
        if first != "There":
            yield from say(self.rest[first] + " . There")
        yield only("she" if name in self.women else "he", ("he", "she"))
        yield from say("counted")
        number = yield self.number
        goods = yield self.good
        yield from say(".")

        second = yield self.event_after[first]
        if second != "At":
            yield from say(self.rest[second] + " . At")
        yield from say("night")
        yield only(name, self.names)
        yield from say("wrote :")
        yield only(number, self.numbers)
        yield only(goods, self.goods)
        yield from say("at the")
        yield only(place, self.places)
        yield from say(", in the")
        yield only(colour, self.colours)
        yield from say("boat .")
        end = yield only("The" if self.fog in (first, second) else END, ("The", END))
        if end != END:
            yield from say("bell rang until morning .")
            yield only(END)

    def words(self, seed: int) -> Iterator[str]:
        """The log, word by word, without end."""
        rng = random.Random(int(seed))
        while True:
            entry, word = self.entry(), None
            while word != END:
                word = entry.send(word).draw(rng)
                yield word

    def write(self, tokens: int, seed: int) -> torch.Tensor:
        """`tokens` token ids, (tokens,) int64. The first is the end of an entry; the last entry may be cut off."""
        require_positive(tokens=tokens)
        require_integers(0, seed=seed)
        return torch.tensor([self.tokenizer.ids[word] for word in (END, *islice(self.words(seed), tokens - 1))])

    def next_words(self, words: Iterable[str]) -> Iterator[tuple[str, NextWord]]:
        """Each word with the NextWord that it answers; the first begins an entry. Going on after an ungrammatical word fails."""
        entry = None
        for word in words:
            if entry is None:
                expected = next(entry := self.entry())
            yield word, expected
            if word == END:
                entry = None
            else:
                expected = entry.send(word)

    def true_losses(self, ids: torch.Tensor) -> torch.Tensor:
        """-ln of the true probability of each of ids[1:], in nats, (N - 1,) float64: no honest model has a lower mean.

        ids: (N,) or (1, N), the first the end of an entry, as from `write`. ValueError names a word that cannot be there.
        """
        return torch.tensor([0.0 - math.log(expected.probs[word]) for word, expected in self._possible(ids)], dtype=torch.float64)

    def token_kinds(self, ids: torch.Tensor) -> torch.Tensor:
        """For each of ids[1:] its place in KINDS, (N - 1,) int64: a choice, or known from memory, or from grammar."""
        return torch.tensor([KINDS.index(expected.kind) for _, expected in self._possible(ids)], dtype=torch.int64)

    def _possible(self, ids: torch.Tensor) -> Iterator[tuple[str, NextWord]]:
        require_row(ids)
        require_entries(ids.flatten(), self.tokenizer.ids[END])
        words = split_words(token_ids_to_text(ids, self.tokenizer))[1:]
        for i, (word, expected) in enumerate(self.next_words(words), start=1):
            if word not in expected.probs:
                raise ValueError(f"got {word!r} as token {i}, where the log can only have {some(expected.words)}: "
                                 "give a text of these settings, without a fault")
            yield word, expected

    def read(self, text: str) -> "Reading":
        """Judge one entry: is it grammatical, does it contradict itself, and where is the first fault? Takes any text."""
        words, first = [*split_words(text.strip()), END], None
        for i, (word, expected) in enumerate(self.next_words(words)):
            if word not in expected.grammatical:
                return Reading(False, not first, *(first or (i, f"{shown(word)} where only {some(expected.words)} can be")))
            if word not in expected.probs:
                first = first or (i, f"{shown(word)} contradicts what was said before: it had to be {some(expected.words)}")
            if word == END and i < len(words) - 1:
                return Reading(False, not first, *(first or (i + 1, "it goes on after its end")))
        return Reading(True, not first, *(first or (None, "")))


class Reading(NamedTuple):
    """What `HarbourLog.read` found. where: the number of the first wrong word, from 0; why: what is wrong with it."""

    grammatical: bool
    remembers: bool
    where: int | None
    why: str


def shown(word: str) -> str:
    """A word for a message."""
    return "its end" if word == END else f"{word!r:.40}"


def some(words: Sequence[str]) -> str:
    """The first of several words, for a message."""
    return " or ".join(map(shown, words)) if len(words) < 4 else ", ".join(map(shown, words[:3])) + ", …"
