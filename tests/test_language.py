"""The harbour log: every probability is the true one, and every fault is found where it is."""
import hashlib
import math
import random
from itertools import islice, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_helpers.language import END, KINDS, HarbourLog
from gpt_helpers.loss import NGram
from gpt_helpers.text import text_to_token_ids, token_ids_to_text
from gpt_helpers.validate import PADDING
from gpt_helpers.words import WordTokenizer, entry_windows, split_words

LOG = HarbourLog()
SMALL = HarbourLog(names="Nell Tobin", women="Nell", colours="red blue", places="quay weir", numbers="two three", goods="nets",
                   verbs="took", ways="to", hours="dawn", events=["It rained", "Fog came in"], before=0.25, after=0.5)

ENTRY = ("Nell took the red boat to the quay at dawn. There she counted two nets. At night Nell wrote: two nets at the quay, "
         "in the red boat.")


def small_log(consistent=True):
    """{entry: probability} of SMALL, by another program that fills in a template; not consistent: all grammatical ones."""
    entries, rank = {}, {0: 2 / 3, 1: 1 / 3}
    events = ["", "It rained. ", "Fog came in. "]
    lists = ["Nell", "Tobin"], ["red", "blue"], ["quay", "weir"]
    for (n, name), (c, colour), (p, place), number in product(*map(enumerate, lists), ["two", "three"]):
        for first, second in product(events, events):
            memory = [{"Nell": "she", "Tobin": "he"}[name], name, number, place, colour, "Fog" in first + second]
            others = product(["he", "she"], ["Nell", "Tobin"], ["two", "three"], ["quay", "weir"], ["red", "blue"], [False, True])
            for she, again, count, where, boat, bell in [memory] if consistent else others:
                if consistent and first and first == second:
                    continue
                text = (f"{name} took the {colour} boat to the {place} at dawn. {first}There {she} counted {number} nets. "
                        f"{second}At night {again} wrote: {count} nets at the {where}, in the {boat} boat."
                        + " The bell rang until morning." * bell)
                left = 2 - bool(first)      # events that can still be said
                entries[text] = (rank[n] * rank[c] * rank[p] / 2 * (0.75 if not first else 0.25 / 2)
                                 * (0.5 if not second else 0.5 / left))
    return entries


def walk(log, words):
    """The steps that these words answer, and the one after them; None when the entry has ended."""
    entry = log.entry()
    steps = [next(entry)]
    for word in words:
        try:
            steps.append(entry.send(word))
        except StopIteration:
            steps.append(None)
    return steps


def all_entries(log, words=()):
    """{entry: probability}, every branch of the grammar followed."""
    *_, step = walk(log, words)
    if step is None:
        return {log.tokenizer.decode(log.tokenizer.ids[word] for word in words[:-1]): 1.0}
    return {text: p * rest for word, p in step.probs.items() for text, rest in all_entries(log, (*words, word)).items()}


def test_the_entries_of_a_small_log_are_known_one_by_one_with_their_probabilities():
    entries, by_hand = all_entries(SMALL), small_log()
    assert entries.keys() == by_hand.keys() and len(entries) == 2 * 2 * 2 * 2 * 7
    assert entries == pytest.approx(by_hand, rel=1e-12)
    assert math.fsum(entries.values()) == pytest.approx(1, abs=1e-12)


def test_true_losses_are_minus_the_logarithm_of_the_probability_and_give_the_entropy():
    entropy = 0.0
    for text, p in small_log().items():
        losses = SMALL.true_losses(text_to_token_ids(f"\n{text}\n", SMALL.tokenizer))
        assert losses.sum().item() == pytest.approx(-math.log(p), abs=1e-12)
        entropy += p * losses.sum().item()
    two_to_one = math.log(3) - 2 / 3 * math.log(2)                          # names, colours, places
    half = math.log(2)                                                      # numbers; a second event or none
    first = -0.75 * math.log(0.75) - 0.25 * math.log(0.125)
    second = half + 0.5 * 0.75 * math.log(2)                                # which event: only where none was said
    assert entropy == pytest.approx(3 * two_to_one + half + first + second, abs=1e-12)


def test_the_log_itself_has_the_entropy_of_its_choices_added_up():
    def rank(n):
        ps = [1 / i / sum(1 / j for j in range(1, n + 1)) for i in range(1, n + 1)]
        return -sum(p * math.log(p) for p in ps)

    def two(p):
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    choices = rank(8) + 2 * rank(6) + math.log(3) + math.log(2) + math.log(3) + math.log(8) + math.log(6)
    choices += two(0.5) + 0.5 * math.log(6) + two(0.4) + 0.4 * (0.5 * math.log(5) + 0.5 * math.log(6))
    entries = [split_words(text) for text in LOG.tokenizer.decode(LOG.write(200_000, seed=5).tolist()).split("\n")[1:-1]]
    losses = LOG.true_losses(LOG.write(200_000, seed=5))
    tokens = sum(len(entry) + 1 for entry in entries)
    error = losses.std() / len(losses) ** 0.5
    assert abs(losses.mean().item() - choices * len(entries) / tokens) < 4 * error < 0.01


@pytest.mark.parametrize("log", [LOG, SMALL], ids=["the lesson's", "small"])
def test_every_step_is_a_distribution_and_every_entry_that_is_written_is_read_without_a_fault(log):
    words = list(islice(log.words(seed=3), 20_000))
    for _, step in log.next_words(words):
        assert math.fsum(step.probs.values()) == pytest.approx(1, abs=1e-12) and step.probs.keys() <= step.grammatical
    entries = " ".join(words).split(" \n ")[:-1]
    assert len(entries) > 300 and all(log.read(entry)[:3] == (True, True, None) for entry in entries)


def test_every_planted_fault_is_found_where_it_is():
    """One word exchanged, left out or added, in any place: judged by a list of all right, and of all grammatical, entries."""
    right, grammatical = small_log(), small_log(consistent=False)
    beginnings = {tuple(words[:i]) for words in map(split_words, right) for i in range(len(words) + 1)}
    rng = random.Random(1)
    for text in rng.sample(sorted(right), 6):
        words = split_words(text)
        for i, other in product(range(len(words) + 1), [*SMALL.tokenizer.vocabulary[1:], "gold", None]):
            for end in (i, i + 1):
                planted = words[:i] + [other] * (other is not None) + words[end:]
                said = " ".join(planted)
                reading = SMALL.read(said)
                tidy = said.replace(" .", ".").replace(" ,", ",").replace(" :", ":")
                assert reading.grammatical is (tidy in grammatical), said
                assert (reading[:2] == (True, True)) is (tidy in right), said
                if tidy not in right:
                    ends = range(1, len(planted) + 1)
                    first = next((n - 1 for n in ends if tuple(planted[:n]) not in beginnings), len(planted))
                    assert reading.where == first and reading.why and "\n" not in reading.why, said


@pytest.mark.parametrize(("old", "new", "words"), [
    (" he ", " she ", "'she' contradicts what was said before: it had to be 'he'"),
    ("wrote: two", "wrote: three", "'three' contradicts"), ("Tobin wrote", "Nell wrote", "it had to be 'Tobin'"),
    ("took", "red", "'red' where only 'took' can be"), (" The bell rang until morning.", "", "its end contradicts"),
    ("wrote:", "wrote;", "';' where only ':' can be"),
    (" morning.", " morning. Nell", "'Nell' where only its end can be"), ("boat.", "boat", "where only '.' can be")])
def test_a_fault_is_told_in_words(old, new, words):
    entry = ("Tobin took the red boat to the quay at dawn. Fog came in. There he counted two nets. At night Tobin wrote: "
             "two nets at the quay, in the red boat. The bell rang until morning.")
    assert SMALL.read(entry) == (True, True, None, "")
    assert words in SMALL.read(entry.replace(old, new)).why


def test_an_event_is_not_told_twice():
    twice = ("Nell took the red boat to the quay at dawn. It rained. There she counted two nets. It rained. At night Nell wrote: "
             "two nets at the quay, in the red boat.")
    assert SMALL.read(twice)[:3] == (True, False, 20)


def test_two_entries_are_not_one():
    assert SMALL.read(f"{ENTRY}\n") == (True, True, None, "")
    assert SMALL.read(f"{ENTRY}\n{ENTRY}").why == "it goes on after its end"


def test_the_kinds_are_choice_memory_and_grammar():
    ids = text_to_token_ids(f"\n{ENTRY}\n", SMALL.tokenizer)
    words = [SMALL.tokenizer.vocabulary[i] for i in ids[0, 1:].tolist()]
    kinds = [KINDS[kind] for kind in SMALL.token_kinds(ids).tolist()]
    assert [w for w, kind in zip(words, kinds, strict=True) if kind == "choice"] == ["Nell", "red", "quay", "There", "two", "At"]
    assert [w for w, kind in zip(words, kinds, strict=True) if kind == "memory"] == ["she", "Nell", "two", "quay", "red", END]


def test_the_same_seed_writes_the_same_log_on_every_machine():
    ids = LOG.write(5_000, seed=1)
    assert ids.dtype == torch.int64 and ids.shape == (5_000,) and torch.equal(ids[:70], LOG.write(70, seed=1))
    assert not torch.equal(ids, LOG.write(5_000, seed=2))
    assert hashlib.sha256(LOG.tokenizer.decode(ids.tolist()).encode()).hexdigest()[:16] == "d971e117e45241d3"


def test_the_tokenizer_brings_back_what_the_log_wrote():
    ids = LOG.write(3_000, seed=1)
    text = token_ids_to_text(ids, LOG.tokenizer)
    assert torch.equal(text_to_token_ids(text, LOG.tokenizer)[0], ids)
    assert " ." not in text and " :" not in text and "\n " not in text
    with pytest.raises(ValueError, match="got the word 'gold', which is not among the 81"):
        LOG.tokenizer.encode("Tobin took the gold boat")


WORDS = st.lists(st.text("abcdefghij", min_size=1, max_size=4), min_size=1, max_size=5, unique=True).map(" ".join)
EVENTS = st.lists(st.sampled_from(["It rained", "Fog came in", "Gulls cried", "Nobody came", "Snow"]), min_size=1, unique=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(lists=st.fixed_dictionaries({name: WORDS for name in ("names", "colours", "places", "numbers", "goods", "hours")}),
       events=EVENTS, before=st.floats(0, 0.99), after=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_whatever_the_settings_the_log_is_read_without_a_fault_and_its_losses_are_finite(lists, events, before, after, seed):
    log = HarbourLog(**lists, events=events, before=before, after=after)
    ids = log.write(300, seed)
    assert log.true_losses(ids).isfinite().all() and len(log.true_losses(ids)) == 299
    assert all(log.read(entry)[:2] == (True, True) for entry in log.tokenizer.decode(ids.tolist()).split("\n")[1:-1])


@pytest.mark.parametrize(("options", "words"), [
    ({"names": ""}, "got names="), ({"goods": "nets nets"}, "got goods=.*all different"), ({"colours": "dark-red"}, "'dark-red'"),
    ({"events": ["It rained", "It snowed"]}, "first words"), ({"events": []}, "got events"),
    ({"events": ["It rained", " "]}, "got events"),
    ({"events": ["There is a storm", "Fog came"]}, "must not be There or At"), ({"events": "Fog"}, "need a list"),
    ({"events": [None]}, "got events"), ({"names": None}, "got names=None, need one text"), ({"goods": ["nets"]}, "got goods="),
    ({"women": "Zelda"}, "'Zelda' is none of them"), ({"women": 3}, "got women=3"),
    ({"before": 1.0}, "got before=1.0, need a probability from 0 to below 1"), ({"after": -0.1}, "got after=-0.1"),
    ({"after": float("nan")}, "got after=nan"), ({"before": None}, "got before=None")])
def test_settings_that_make_no_language_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        HarbourLog(**options)


@pytest.mark.parametrize("tokens", [0, -1, 1.5, True])
def test_how_much_is_written_is_an_integer(tokens):
    with pytest.raises(ValueError, match="tokens"):
        LOG.write(tokens, seed=1)


@pytest.mark.parametrize("seed", [None, -1, 1.5, "a", float("nan")])
def test_a_seed_is_an_integer_from_0_on(seed):
    with pytest.raises(ValueError, match="seed="):
        LOG.write(5, seed)


@pytest.mark.parametrize("options", [{"before": 0}, {"after": 0}, {"before": 0, "after": 0}])
def test_an_event_that_never_comes_is_a_fault_of_grammar_and_asks_for_no_memory(options):
    log = HarbourLog(**options)
    words = list(islice(log.words(seed=1), 5_000))
    go_on = {"There" if option == "before" else "At" for option in options}
    assert {step.kind for word, step in log.next_words(words) if word in go_on} == {"grammar"}
    told = log.read("Tobin took the red boat to the quay at dawn. It rained all day. There he")
    assert told.remembers and told.where == (11 if "before" in options else 18)


def test_an_event_with_odd_spaces_is_written_as_it_reads():
    log = HarbourLog(events=["  It  rained", "Fog\tcame"], before=0.9)
    text = log.tokenizer.decode(log.write(2_000, seed=1).tolist())
    assert ". It rained. " in text and ". Fog came. " in text and "It It" not in text


def test_losses_need_whole_entries_without_a_fault():
    ids = LOG.write(200, seed=1)
    assert not torch.signbit(LOG.true_losses(ids)).any()
    for unknown in (ids - 81, ids + 81):
        with pytest.raises(ValueError, match=r"begin in the middle|is not in the vocabulary"):
            LOG.true_losses(unknown)
    with pytest.raises(ValueError, match="token id 81 is not in the vocabulary"):
        LOG.true_losses(torch.tensor([0, 81]))
    with pytest.raises(ValueError, match="or none"):
        LOG.true_losses(ids[:0])
    with pytest.raises(ValueError, match="begin in the middle of an entry"):
        LOG.true_losses(ids[1:])
    wrong = ids.clone()
    wrong[5] = LOG.tokenizer.ids["night"]
    with pytest.raises(ValueError, match="got 'night' as token 5, where the log can only have"):
        LOG.true_losses(wrong)
    with pytest.raises(ValueError, match="int64"):
        LOG.true_losses(ids.float())


# Windows: each entry from its beginning.

def test_every_word_of_every_entry_is_a_target_once():
    ids = LOG.write(5_000, seed=1)
    inputs, targets = entry_windows(ids, end=0, context_length=64).tensors
    assert torch.equal(targets[targets != PADDING], ids[1:])
    assert (inputs[targets == PADDING] == 0).all()
    assert (inputs[:, 0] == 0).all() and len(inputs) == (ids[:-1] == 0).sum()
    assert torch.equal(inputs[:, 1:][targets[:, 1:] != PADDING], targets[:, :-1][targets[:, 1:] != PADDING])


def test_the_longest_entry_fits_into_the_lessons_window():
    lengths = [len(split_words(text)) for text in LOG.tokenizer.decode(LOG.write(200_000, seed=9).tolist()).split("\n")]
    assert max(lengths) + 1 <= 64


@pytest.mark.parametrize(("ids", "words"), [
    (torch.tensor([0, 1, 2, 3, 4, 0]), "the longest entry has 5 tokens, and a window has 4"), (torch.tensor([0]), "no entry"),
    (torch.tensor([1, 0]), "middle of an entry"), (torch.tensor([], dtype=torch.int64), "or none")])
def test_entries_that_do_not_fit_are_refused(ids, words):
    with pytest.raises(ValueError, match=words):
        entry_windows(ids, end=0, context_length=4)


def test_a_table_of_any_order_is_above_the_floor_and_better_than_a_shorter_one():
    train, val = LOG.write(100_000, seed=1), LOG.write(10_000, seed=2)
    losses = [NGram(train, 81, n).losses(val).mean().item() for n in (1, 2, 3, 4, 5)]
    assert losses == sorted(losses, reverse=True) and losses[-1] > LOG.true_losses(val).mean() + 0.2


@pytest.mark.parametrize("vocabulary", [["a", "a"], ["a b"], ["don't"], [""]])
def test_a_vocabulary_has_single_words_each_once(vocabulary):
    with pytest.raises(ValueError, match="need single words or marks, each once"):
        WordTokenizer(vocabulary)


def test_a_tokenizer_of_words_is_one_for_every_function():
    tokenizer = WordTokenizer(["a", "b", "."])
    assert token_ids_to_text(text_to_token_ids("b a.", tokenizer), tokenizer) == "b a."
