"""Lesson 08: answers, right and wrong, in other ways than the tables of its checks have them."""
import math
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
import torch

from gpt_checks.enough_text import (
    check_cost_of_kind,
    check_crossing,
    check_floor,
    check_follows,
    check_longest_quote,
    check_next_prob,
    check_promise,
)
from gpt_helpers.generate import longest_match
from gpt_helpers.loss import NGram
from mistakes import right, wrong


# 8.1 the floor by hand
@right(check_floor)
def floor_of_a_matrix(contexts):
    times, probs = (torch.tensor(part, dtype=torch.float64) for part in zip(*contexts, strict=True))
    return (times / times.sum()) @ torch.special.entr(probs).sum(dim=1)


@right(check_floor)
def floor_of_pairs(contexts):
    """The entropy of context and token together, without that of the context."""
    everything = sum(times for times, _ in contexts)

    def entropy(probs):
        return math.fsum(p * math.log2(1 / p) for p in probs if p)

    pairs = [times / everything * p for times, probs in contexts for p in probs]
    return (entropy(pairs) - entropy(times / everything for times, _ in contexts)) * math.log(2)


@wrong(check_floor, "ln 0 does not exist", "stopped with")
def floor_without_care(contexts):
    total, n = 0.0, 0
    for times, probs in contexts:
        for p in probs:
            total -= times * p * math.log(p)
        n += times
    return total / n


@wrong(check_floor, "is nan")
def floor_in_torch(contexts):
    total = sum(times * -(torch.tensor(probs) * torch.tensor(probs).log()).sum() for times, probs in contexts)
    return total / sum(times for times, _ in contexts)


@wrong(check_floor, "`return` inside the loop")
def floor_returned_too_early(contexts):
    for _, probs in contexts:
        return -sum(p * math.log(p) for p in probs if p)


wrong(check_floor, "mean over the contexts")(
    lambda contexts: np.mean([-sum(p * np.log(p) for p in probs if p > 0) for _, probs in contexts]))
wrong(check_floor, "cost of the whole text")(
    lambda contexts: sum(times * p * math.log(1 / p) for times, probs in contexts for p in probs if p))
wrong(check_floor, "probabilities were averaged")(lambda contexts: -sum(
    p * math.log(p) for p in (np.array([t for t, _ in contexts]) @ np.array([probs for _, probs in contexts])
                              / sum(t for t, _ in contexts)) if p))


@wrong(check_floor, "with continue and not break")
def floor_that_ends_at_0(contexts):
    total = 0.0
    for times, probs in contexts:
        for p in probs:
            if p == 0:
                break
            total -= times * p * math.log(p)
    return total / sum(times for times, _ in contexts)


wrong(check_floor, "the most certain context")(
    lambda contexts: min(-sum(p * math.log(p) for p in probs if p) for _, probs in contexts))


# 8.2 from long tables to short ones
@right(check_next_prob)
def next_prob_by_the_lesson(token, context, train_ids, vocab_size):
    table = NGram(torch.tensor(train_ids), vocab_size, len(context) + 1)
    return table.probs(torch.tensor([[*context, token]])).item()


@right(check_next_prob)
def next_prob_upwards(token, context, train_ids, vocab_size):
    """From the empty context to the whole one, with counts of all contexts."""
    p = 1 / vocab_size
    for n in range(len(context) + 1):
        after = defaultdict(Counter)
        for i in range(n, len(train_ids)):
            after[tuple(train_ids[i - n : i])][train_ids[i]] += 1
        counts = after[tuple(context[len(context) - n:])]
        if counts:
            p = (counts[token] + len(counts) * p) / (counts.total() + len(counts))
    return p


def recursive(base=lambda v: 1 / v, mix=lambda c, k, m, p: (c + m * p) / (k + m), end=0):
    """An answer by recursion, with some steps to spoil."""
    def next_prob(token, context, train_ids, vocab_size):
        n = len(context)
        p = next_prob(token, context[1:], train_ids, vocab_size) if n else base(vocab_size)
        after = Counter(train_ids[i + n] for i in range(len(train_ids) - n - end) if train_ids[i : i + n] == context)
        return mix(after[token], after.total(), len(after), p) if after else p
    return next_prob


right(check_next_prob)(recursive())
wrong(check_next_prob, "m counts each follower every time")(recursive(mix=lambda c, k, m, p: (c / k + p) / 2))
wrong(check_next_prob, "here they stand alone")(lambda token, context, train_ids, vocab_size: recursive(
    base=lambda v: train_ids.count(token) / len(train_ids))(token, context, train_ids, vocab_size))
wrong(check_next_prob, "1/V was mixed in")(lambda token, context, train_ids, vocab_size: recursive(
    mix=lambda c, k, m, p: (c + m / vocab_size) / (k + m))(token, context, train_ids, vocab_size))
wrong(check_next_prob, "stopped with", "IndexError")(recursive(end=-1))


@wrong(check_next_prob, "first token is left out")
def next_prob_of_what_stands_behind_a_token(token, context, train_ids, vocab_size):
    n = len(context)
    after = [train_ids[i] for i in range(1, len(train_ids)) if train_ids[max(i - n, 0) : i] == context]
    p = next_prob_of_what_stands_behind_a_token(token, context[1:], train_ids, vocab_size) if n else 1 / vocab_size
    return (after.count(token) + len(set(after)) * p) / (len(after) + len(set(after))) if after else p


@wrong(check_next_prob, "stopped with", "ZeroDivisionError")
def next_prob_of_nothing(token, context, train_ids, vocab_size):
    n = len(context)
    after = [train_ids[i] for i in range(n, len(train_ids)) if train_ids[i - n : i] == context]
    p = next_prob_of_nothing(token, context[1:], train_ids, vocab_size) if context else 1 / vocab_size
    return (after.count(token) + len(set(after)) * p) / (len(after) + len(set(after)))


@wrong(check_next_prob, "at the beginning of the text, the slice before a token is shorter")
def next_prob_with_slices_cut_off(token, context, train_ids, vocab_size):
    shorter = next_prob_with_slices_cut_off(token, context[1:], train_ids, vocab_size) if context else 1 / vocab_size
    n = len(context)
    after = [train_ids[i] for i in range(len(train_ids)) if train_ids[max(0, i - n):i] == context[max(0, n - i):]]
    after = after[1:] if n else after      # before the first token there is nothing at all
    kinds = len(set(after))
    return (after.count(token) + kinds * shorter) / (len(after) + kinds) if after else shorter


# 8.3 what memory still costs
right(check_cost_of_kind)(lambda losses, true_losses, kinds, kind: torch.where(
    kinds == kind, losses.double() - true_losses.double(), 0.0).mean())


@right(check_cost_of_kind)
def cost_by_a_loop(losses, true_losses, kinds, kind):
    rows = zip(losses.tolist(), true_losses.tolist(), kinds.tolist(), strict=True)
    return sum(loss - true for loss, true, k in rows if k == kind) / len(kinds)


wrong(check_cost_of_kind, "mean over the tokens of this kind")(lambda x, t, kinds, kind: (
    x[kinds == kind].mean() - t[kinds == kind].mean()).nan_to_num())
wrong(check_cost_of_kind, "mean of no numbers is nan")(lambda x, t, kinds, kind: (x - t)[kinds == kind].mean())
wrong(check_cost_of_kind, "keep the minus")(lambda x, t, kinds, kind: ((x - t).abs() * (kinds == kind)).mean())
wrong(check_cost_of_kind, "its minus got lost")(lambda x, t, kinds, kind: abs((x - t)[kinds == kind].sum().item() / len(x)))
wrong(check_cost_of_kind, "`kind` was taken for a place")(lambda x, t, kinds, kind: (x - t)[kind] / len(x))
wrong(check_cost_of_kind, "in place")(lambda x, t, kinds, kind: (x.sub_(t)[kinds == kind].sum() / len(x)).item())


# 8.4 another name
@right(check_follows)
def follows_entry_by_entry(model, inputs, night, names):
    hits = []
    for entry, at, name in zip(inputs.tolist(), night.tolist(), names.tolist(), strict=True):
        entry[1] = name
        hits.append(model(torch.tensor([entry[:at]]))[0, -1].argmax().item() == name)
    return torch.tensor(hits)


@right(check_follows)
def follows_with_the_night_exchanged_too(model, inputs, night, names):
    old = inputs[:, 1:2]
    probs = model(torch.where(inputs == old, names[:, None], inputs)).softmax(-1)
    at = (night - 1)[:, None, None].expand(-1, 1, probs.shape[-1])
    return probs.gather(1, at).squeeze(1).max(-1).indices.eq(names)


@wrong(check_follows, "in place", "`inputs`")
def follows_in_place(model, inputs, night, names):
    inputs[:, 1] = names
    return model(inputs).argmax(-1)[torch.arange(len(inputs)), night - 1] == names


def following(at=lambda night: night - 1, judge=lambda best, names: best == names):
    """An answer with some steps to spoil."""
    def follows(model, inputs, night, names):
        exchanged = inputs.clone()
        exchanged[:, 1] = names
        return judge(model(exchanged).argmax(dim=2)[range(len(inputs)), at(night)], names)
    return follows


wrong(check_follows, "one position before it")(following(at=lambda night: night))
wrong(check_follows, "tensor")(following(judge=lambda best, names: (best == names).tolist()))
wrong(check_follows, "need not have half")(lambda model, inputs, night, names: (
    model(inputs.scatter(1, torch.ones_like(inputs[:, :1]), names[:, None])).softmax(-1)[
        torch.arange(len(inputs)), night - 1, names] > 0.5))
wrong(check_follows, "only two names were compared")(lambda model, inputs, night, names: torch.stack([
    torch.stack([row[at - 1, old], row[at - 1, new]]).argmax() == 1 for row, at, old, new in zip(
        model(torch.cat([inputs[:, :1], names[:, None], inputs[:, 2:]], dim=1)), night, inputs[:, 1], names, strict=True)]))
wrong(check_follows, "(B, B)")(lambda model, inputs, night, names: (
    model(inputs.scatter(1, torch.ones_like(inputs[:, :1]), names[:, None]))[:, night - 1].argmax(-1) == names))
wrong(check_follows, "the result is wrong")(lambda model, inputs, night, names: torch.ones(len(inputs), dtype=torch.bool))
wrong(check_follows, "no entry is True")(lambda model, inputs, night, names: night < 0)


# 8.5 where the lead changes
@right(check_crossing)
def crossing_in_numpy(sizes, model, table):
    gaps = np.subtract(model, table)
    if (gaps >= 0).all():
        return None
    i = np.argmax(gaps < 0)
    return np.exp(np.interp(0, [gaps[i], gaps[i - 1]], np.log([sizes[i], sizes[i - 1]])))


@right(check_crossing)
def crossing_as_a_power(sizes, model, table):
    rows = list(zip(sizes, (a - b for a, b in zip(model, table, strict=True)), strict=True))
    for (small, above), (large, below) in pairwise(rows):
        if below < 0:
            share = above / (above - below)
            return small ** (1 - share) * large**share
    return None


def crossing(start=math.log, share=lambda a, b: a / (a - b), stop=None, end=0):
    """An answer with some steps to spoil."""
    def crossing(sizes, model, table):
        for i in range(1, len(sizes) - end):
            a, b = model[i - 1] - table[i - 1], model[i] - table[i]
            if b < 0:
                x, y = start(sizes[i - 1]), start(sizes[i])
                return math.exp(x + (y - x) * share(a, b))
        return stop
    return crossing


wrong(check_crossing, "math.exp undoes math.log")(crossing(start=math.log10))
wrong(check_crossing, "the sign of the next gap")(crossing(share=lambda a, b: a / (a + b)))
wrong(check_crossing, "the last run is never looked at")(crossing(end=1))
wrong(check_crossing, "curves that never cross", "nan")(crossing(stop=math.nan))
wrong(check_crossing, "does `return None` stand inside the loop?")(lambda *args: None)
wrong(check_crossing, "whatever it is given")(lambda sizes, model, table: 8000.0)


@wrong(check_crossing, "the first crossing is asked")
def crossing_without_a_break(sizes, model, table):
    found = None
    for i in range(1, len(sizes)):
        a, b = model[i - 1] - table[i - 1], model[i] - table[i]
        if a >= 0 > b:
            found = sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** (a / (a - b))
    return found


# 8.6 what a line promises
right(check_promise)(lambda compute, losses, floor, more: floor + np.exp(np.polyval(
    np.polyfit(np.log(compute), np.log(np.subtract(losses, floor)), 1), np.log(more))))


@right(check_promise)
def promise_by_normal_equations(compute, losses, floor, more):
    x, y = torch.tensor(compute, dtype=torch.float64).log10(), (torch.tensor(losses, dtype=torch.float64) - floor).log10()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return floor + 10 ** (y.mean() + slope * (math.log10(more) - x.mean()))


def promised(change=np.log, above=np.subtract, end=lambda y, floor: y + floor, degree=1, xs=np.log):
    """An answer with some steps to spoil."""
    def promise(compute, losses, floor, more):
        line = np.polyfit(xs(compute), change(above(losses, floor)), degree)
        return end(np.exp(np.polyval(line, xs(more))), floor).item()
    return promise


wrong(check_promise, "only the loss has a logarithmic axis")(promised(xs=np.array))
wrong(check_promise, "logarithm and power belong together")(promised(change=np.log10))
wrong(check_promise, "without the line's slope")(promised(degree=0))
wrong(check_promise, "the loss is")(promised(degree=2))
wrong(check_promise, "hardly anything is left above the floor")(lambda compute, losses, floor, more: floor)
wrong(check_promise, "or cancels out")(promised(above=np.divide, end=lambda y, floor: y * floor))
wrong(check_promise, "the floor was subtracted at the end")(promised(above=lambda x, floor: x, end=lambda y, floor: y - floor))
wrong(check_promise, "is rounded")(promised(end=lambda y, floor: np.round(y + floor, 2)))


# 8.7 the longest quotation
right(check_longest_quote)(lambda written, text: SequenceMatcher(None, written, text, autojunk=False).find_longest_match().size)
right(check_longest_quote)(lambda written, text: longest_match(
    torch.tensor([[*map(ord, written)]]), torch.tensor([*map(ord, text)])))


@right(check_longest_quote)
def longest_quote_by_a_table(written, text):
    best, row = 0, [0] * (len(text) + 1)
    for a in written:
        row = [0] + [before + 1 if a == b else 0 for before, b in zip(row, text, strict=False)]
        best = max(best, *row)
    return best


@wrong(check_longest_quote, "the first match")
def longest_quote_that_stops(written, text):
    for i in range(len(written)):
        n = 0
        while i + n < len(written) and written[i : i + n + 1] in text:
            n += 1
        if n:
            return n
    return 0


@wrong(check_longest_quote, "only the beginning")
def longest_quote_from_the_start(written, text):
    n = 0
    while n < len(written) and written[: n + 1] in text:
        n += 1
    return n


@wrong(check_longest_quote, "at the same places")
def longest_quote_in_the_same_places(written, text):
    best = run = 0
    for a, b in zip(written, text, strict=False):
        run = run + 1 if a == b else 0
        best = max(best, run)
    return best


@wrong(check_longest_quote, "may begin inside it")
def longest_quote_that_jumps(written, text):
    best = 0
    while written:
        n = next(n for n in range(len(written), -1, -1) if written[:n] in text)
        best, written = max(best, n), written[max(n, 1):]
    return best


wrong(check_longest_quote, "must stand in a row")(lambda written, text: len([c for c in written if text.find(c) >= 0]))
wrong(check_longest_quote, "difflib leaves")(lambda written, text: SequenceMatcher(None, written, text).find_longest_match().size)
wrong(check_longest_quote, "over the end of a line")(
    lambda written, text: max(longest_quote_by_a_table(written, sentence) for sentence in text.split(".")))
wrong(check_longest_quote, "over the end of a line")(
    lambda written, text: max(longest_quote_by_a_table(written, line) for line in text.splitlines()))
wrong(check_longest_quote, "two bytes")(lambda written, text: longest_quote_by_a_table(written.encode(), text.encode()))
wrong(check_longest_quote, "line ends and spaces count")(lambda written, text: max((
    j - i for i in range(len(written)) for j in range(i + 1, len(written) + 1) if written[i:j].strip() in text), default=0))
wrong(check_longest_quote, "stands first in the text")(lambda written, text: max(
    n for i, c in enumerate(written) for n in range(len(written) - i + 1) if text.startswith(written[i : i + n], text.find(c))))
wrong(check_longest_quote, "capitals count")(lambda written, text: longest_quote_by_a_table(written.upper(), text.upper()))
wrong(check_longest_quote, "stopped with")(lambda written, text: max(
    len(written[i:j]) for i in range(len(written)) for j in range(i + 1, len(written) + 1) if written[i:j] in text))
