"""The exercises of lesson 08 as data: enough text."""
import math
from difflib import SequenceMatcher
from itertools import pairwise, takewhile
from statistics import fmean, linear_regression
from types import SimpleNamespace

import torch

from gpt_checks.spec import as_given, exchange, spec


# 8.1
def surprise(p):
    """What a token of probability p adds to an entropy."""
    return -p * math.log(p) if p else 0.0


def by_times(entropies, contexts):
    return sum(times * h for (times, _), h in zip(contexts, entropies, strict=True)) / sum(times for times, _ in contexts)


def total(entropies, contexts):
    return by_times(entropies, contexts) * sum(times for times, _ in contexts)


def shares_of(contexts):
    """The entropy of the contexts themselves."""
    return sum(surprise(times / total([1] * len(contexts), contexts)) for times, _ in contexts)


def floor(contexts, *, given=lambda contexts: contexts, term=surprise, entropy=lambda probs, term: sum(map(term, probs)),
          join=by_times):
    contexts = given(contexts)
    return join([entropy(probs, term) for _, probs in contexts], contexts)


def languages(draw):
    """Contexts with how often they occur and the probabilities after them: all above 0, then with some that are 0."""
    for case, zeros in ((None, 0), ("a token that never follows", 1), ("a context with one follower", 2)):
        n, v = draw.randint(3, 4), draw.randint(3, 4)
        contexts = []
        for times in draw.sample(range(10, 90), n):
            weights = [draw.randint(1, 9) + draw.random() for _ in range(v)]
            contexts.append((times, [weight / sum(weights) for weight in weights]))
        if zeros:
            p = 1.0 if zeros == 2 else draw.uniform(0.6, 0.8)
            contexts[1] = (contexts[1][0], [*([0.0] * (v - 2)), p, 1 - p] if zeros == 2 else [p, *([0.0] * (v - 2)), 1 - p])
        most = max(range(n), key=lambda i: sum(map(surprise, contexts[i][1])))
        contexts.insert(1, contexts.pop(most))         # neither first nor last
        first, last = (sum(map(surprise, contexts[i][1])) for i in (0, -1))
        if (first < last) == (zeros > 0):              # the least is not always the first, nor always the last
            contexts[0], contexts[-1] = contexts[-1], contexts[0]
        yield case, (contexts,)


WEIGH = "weigh each context by how often it occurs"
check_floor = spec(
    "8.1", "the floor by hand", see=("08", "The floor"), right=floor, cases=languages, rtol=1e-6, name="the floor",
    scales=lambda contexts: {"the number of contexts": len(contexts), "how often they occur in all": sum(t for t, _ in contexts)},
    doc="floor(contexts): the mean entropy, in nats, of contexts given as (times, probs), weighted by times.",
    mistakes=exchange("term", {
        "the logarithm is to base 2, which gives bits; nats take the natural one": lambda p: surprise(p) / math.log(2),
        "the logarithm is to base 10; nats take the natural one": lambda p: surprise(p) / math.log(10),
        "the minus is missing: the logarithm of a probability is negative": lambda p: -surprise(p),
        "each -ln p was added up once; a token comes with probability p, so it counts p times": lambda p: p and -math.log(p),
        "a token that never follows has p = 0 and adds nothing; leave it out, since ln 0 does not exist":
            lambda p: -p * math.log(p),
        "a small number inside the logarithm changes it; leave out what has p = 0":
            [lambda p, k=k: -p * math.log(p + 10.0**-k) for k in range(2, 7)],
        "p was multiplied by 1 - p; an entropy takes its logarithm": lambda p: p * (1 - p),
    }) | exchange("entropy", {
        "the -ln p of a context were averaged plainly; a token comes with probability p, so it counts p times":
            lambda probs, term: fmean(-math.log(p) for p in probs if p),
        "the sum over the tokens was divided by their number; the p in p ln p weighs them already": [
            lambda probs, term: sum(map(term, probs)) / len(probs),
            lambda probs, term: sum(map(term, probs)) / sum(p > 0 for p in probs)],
        "only the most likely token of each context was scored; the others come, too": lambda probs, term: -math.log(max(probs)),
        "that is what even belief costs, the logarithm of the number of tokens; use the probabilities that are given":
            [lambda probs, term: math.log(len(probs)), lambda probs, term: math.log(sum(p > 0 for p in probs))],
        "the last token of each context is left out": lambda probs, term: sum(map(term, probs[:-1])),
        "what stands behind a probability of 0 is left out; pass over the 0 alone, with continue and not break":
            lambda probs, term: sum(map(term, takewhile(bool, probs))),
    }) | exchange("join", {
        f"that is the plain mean over the contexts; {WEIGH}": lambda hs, contexts: fmean(hs),
        "the entropies were added up; the floor is a mean over the tokens": lambda hs, contexts: sum(hs),
        "that is the cost of the whole text; divide by its number of tokens": total,
        "the sum was divided by the number of contexts; divide by how often they occur in all": lambda h, c: total(h, c) / len(c),
        "a context's number of tokens is not how often it occurs; divide by the sum of the times":
            lambda hs, contexts: total(hs, contexts) / sum(len(probs) for _, probs in contexts),
        "only the last context came back: add up, and do not overwrite": lambda hs, contexts: hs[-1],
        "only the first context came back: is `return` inside the loop?": lambda hs, contexts: hs[0],
        "that is the most certain context; the floor is a mean over all": lambda hs, contexts: min(hs),
        "the times are squared; weigh each context by how often it occurs, once":
            lambda hs, contexts: by_times(hs, [(times**2, probs) for times, probs in contexts]),
        "the entropies were added up and then multiplied by the last context's times; multiply each by its own, in the loop":
            lambda hs, contexts: sum(hs) * contexts[-1][0] / sum(times for times, _ in contexts),
        "that is the most uncertain context; the floor is a mean over all": lambda hs, contexts: max(hs),
        "that is how uncertain the context itself is; it is given, and what follows it is open": lambda h, c: shares_of(c),
        "that is the perplexity at the floor; leave out the last exp": lambda hs, contexts: math.exp(by_times(hs, contexts)),
        "the shares of the contexts were mixed in as choices of their own; a context is given, and only what follows it is open":
            lambda hs, contexts: by_times(hs, contexts) + shares_of(contexts),
    }) | {
        "the contexts' perplexities were averaged; average their entropies": [
            {"entropy": lambda probs, term: math.exp(sum(map(term, probs)))},
            {"join": lambda hs, contexts: math.log(by_times(map(math.exp, hs), contexts))}],
        "the probabilities were averaged over the contexts first, which forgets what stands before a token":
            {"given": lambda c: [(1, [by_times(column, c) for column in zip(*(probs for _, probs in c), strict=True)])]},
    })


# 8.2
def followers(context, train):
    """The tokens that follow each occurrence of a context."""
    return [train[i] for i in range(len(context), len(train)) if train[i - len(context) : i] == context]


def next_prob(token, context, train, v, *, given=as_given, found=followers, shorten=lambda context: context[1:],
              even=lambda token, train, v: 1 / v, kinds=lambda found, train, v: len(set(found)),
              mix=lambda count, k, m, shorter, v: (count + m * shorter) / (k + m), unseen=lambda shorter, v: shorter):
    token, context, train, v = given(token, context, train, v)

    def prob(context):
        shorter = prob(shorten(context)) if context else even(token, train, v)
        if not (after := found(context, train)):
            return unseen(shorter, v)
        return mix(after.count(token), len(after), kinds(after, train, v), shorter, v)

    return prob(context)


def places_in_a_text(draw):
    """A token and the context before it: seen and new ones, at the text's end too; ids are no small counts."""
    ids = draw.sample(range(10, 40), 4)
    train = [draw.choice(ids) for _ in range(draw.randint(40, 47))]
    train[0] = draw.choice([x for x in ids if x != train[7]])      # the last token is another one
    train[-3:] = train[5:8]                            # the last two tokens are a context that something else has followed, too
    v, i, j = 50, draw.randint(20, 25), draw.randint(26, 30)
    rare = 41
    train[i - 1] = draw.choice([x for x in ids if x != train[i - 2]])
    train[12:15] = train[i - 1], train[i - 2], draw.choice([x for x in ids if x != train[i]])      # turned round
    yield None, (train[i], train[i - 2 : i], train, v)
    yield None, (draw.choice([x for x in ids if x != train[8]]), train[-2:], train, v)
    yield None, (train[j], train[j - 3 : j], train, v)
    yield "a context of one token", (draw.choice(ids), [draw.choice(ids)], train, v)
    yield "an empty context", (draw.choice(ids), [], train, v)
    yield "a context that never came", (train[i], [rare, train[i - 1]], train, v)
    yield "a context that never came", (train[1], [rare, train[0]], train, v)
    yield "a token that never came", (rare, train[i - 2 : i], train, v)


MIXED = "p = (count + m · shorter) / (k + m)"
check_next_prob = spec(
    "8.2", "from long tables to short ones", see=("08", "What counting achieves"), right=next_prob, cases=places_in_a_text,
    rtol=1e-6, atol=1e-12, name="the probability",
    doc="next_prob(token, context, train_ids, vocab_size): an n-gram's probability, mixed with that of ever shorter contexts.",
    mistakes=exchange("found", {
        "what was counted stands one token too late; a follower is the very next token after its context": lambda c, train: [
            train[i + 1] for i in range(len(c), len(train) - 1) if train[i - len(c) : i] == c],
        "the token before the context was counted; count the one after it": lambda context, train: [
            train[i - 1] for i in range(1, len(train) - len(context) + 1) if train[i : i + len(context)] == context],
        "only the last token of the context was compared; all of it must be the same": lambda c, train: followers(c[-1:], train),
        "only the first token of the context was compared; all of it must be the same": lambda context, train: [
            train[i] for i in range(len(context), len(train)) if train[i - len(context) : i][:1] == context[:1]],
        "the training text's last token is left out: it follows a context, too": lambda c, train: followers(c, train[:-1]),
        "the training text's first token is left out: it follows the empty context, too":
            [lambda c, train: followers(c, train)[not c :], lambda c, train: followers(c, train)[train[:len(c)] == c :]],
        "at the beginning of the text, the slice before a token is shorter than the context, and no occurrence of it":
            lambda c, train: followers(c, train) + [train[i] for i in range(1, len(c)) if train[:i] == c[-i:]],
        "without a context 1/V alone came back; every token follows the empty context, so mix 1/V with their counts":
            lambda context, train: context and followers(context, train),
        "each different follower was counted once; count how often it follows": lambda c, train: sorted({*followers(c, train)}),
        "the tokens of the context may stand in any order here; compare them one by one": lambda context, train: [
            train[i] for i in range(len(context), len(train)) if sorted(train[i - len(context) : i]) == sorted(context)],
    }) | exchange("shorten", {
        "the nearest token was dropped from the context; it says most, so drop the first": lambda context: context[:-1],
        "all of the context was dropped at once; make it shorter by one token": lambda context: [],
        "two tokens were dropped at once; make the context shorter by one": lambda context: context[2:],
    }) | exchange("even", {
        "without a context the shorter prediction is 1/V for each token, and not 1": lambda *_: 1.0,
        "without a context the shorter prediction is 1/V, and not 0: a token that never came must stay possible": lambda *_: 0.0,
        "V is the vocabulary's size, and not the number of tokens that occur": lambda token, train, v: 1 / len(set(train)),
        "1/V has the length of the training text in place of the vocabulary's size": lambda token, train, v: 1 / len(train),
        "the empty context has followers, too, so its counts are mixed with 1/V; here they stand alone":
            lambda token, train, v: train.count(token) / len(train),
    }) | {
        "k counts the context at the very end of the text, too; nothing follows it there, and k counts what follows": [{
            "found": lambda context, train, empty=empty:
                followers(context, train) + [None] * (context == train[-len(context) :] or (empty and not context)),
            "kinds": lambda found, train, v: len({*found} - {None})} for empty in (False, True)],
    } | exchange("kinds", {
        "m counts each follower every time, so that both predictions count half; it is the number of different ones":
            lambda found, train, v: len(found),
        "m is 1 here; it is the number of different followers": lambda found, train, v: 1,
        "m is the number of different tokens in the whole text; only the followers of the context count":
            lambda found, train, v: len(set(train)),
        "m is the vocabulary's size here; it is the number of different followers": lambda found, train, v: v,
        "m counts only tokens that followed once; all different ones count":
            lambda found, train, v: sum(found.count(b) == 1 for b in set(found)),
        "m counts only tokens that followed more than once; all different ones count":
            lambda found, train, v: sum(found.count(b) > 1 for b in set(found)),
    }) | exchange("mix", {
        f"the counts alone came back, without the shorter context: {MIXED}": lambda count, k, m, shorter, v: count / k,
        f"m is missing beside the shorter context's prediction: {MIXED}": lambda c, k, m, shorter, v: (c + shorter) / (k + m),
        f"1/V was mixed in, and not what the shorter context predicts: {MIXED}": lambda c, k, m, _, v: (c + m / v) / (k + m),
        f"the sum was divided by k alone: {MIXED}": lambda count, k, m, shorter, v: (count + m * shorter) / k,
        f"brackets are missing: {MIXED}": [lambda c, k, m, shorter, v: c + m * shorter / (k + m),
            lambda c, k, m, shorter, v: (c + m * shorter) / k + m, lambda c, k, m, shorter, v: c / (k + m) + m * shorter],
        "where the token has followed, its share alone came back; mix it with the shorter context's":
            lambda count, k, m, shorter, v: count / k if count else (m * shorter) / (k + m),
        "the shorter context is asked only where the token never followed; mix both always":
            lambda count, k, m, shorter, v: count / k if count else shorter,
        "1 was added to each count, and V to their sum; mix with the shorter context instead":
            lambda count, k, m, shorter, v: (count + 1) / (k + v),
        f"the two weights are exchanged: {MIXED}": lambda c, k, m, shorter, v: (m * c / k + k * shorter) / (k + m),
        "the predictions were multiplied; mix them": lambda count, k, m, shorter, v: (count + m) / (k + m) * shorter,
    }) | exchange("unseen", {
        "where nothing has followed a context, the shorter context's prediction holds, and not 1/V": lambda shorter, v: 1 / v,
        "where nothing has followed a context, the shorter context's prediction holds, and not 0": lambda shorter, v: 0.0,
    }) | exchange("given", {
        "that is the table of one: the context was not used": lambda token, context, train, v: (token, [], train, v),
        "the context was cut to its last token; take it whole first": lambda token, c, train, v: (token, c[-1:], train, v),
    }))


# 8.3
def cost_of_kind(losses, true_losses, kinds, kind, *, above=lambda x, t: x - t, chosen=lambda kinds, kind: kinds == kind,
                 end=lambda part, picked, whole: part.sum() / len(whole)):
    whole, picked = above(losses, true_losses), chosen(kinds, kind)
    return end(whole[picked], picked, whole).item()


def kinds_of_tokens(draw):
    """Losses, true losses and kinds; some tokens cost less than their true loss. Once no token is of the kind."""
    below = "a kind that costs less than 0"
    for n, case in ((draw.randint(9, 12), None), (draw.randint(20, 30), None), (12, below), (8, "a kind that no token has")):
        kind = draw.randrange(2)                           # not the last, lest <= were as good as all
        kinds = torch.tensor([kind, kind, (kind + 1) % 3, (kind + 2) % 3] + [draw.randrange(3) for _ in range(n - 4)])
        true = 2 * draw.normal(n).abs()
        losses = true + 0.2 * draw.normal(n).abs() + 0.1
        losses[0] = true[0] * 0.8 - 0.05                   # less than the true loss, by luck
        if case == below:
            losses = torch.where(kinds == kind, true * 0.8 - 0.05, losses)
        yield case, (losses, true, kinds, 3 if case and case != below else kind)


ALL_TOKENS = "divide by the number of all tokens"
check_cost_of_kind = spec(
    "8.3", "what memory still costs", see=("08", "Suddenly it looks back"), right=cost_of_kind, cases=kinds_of_tokens,
    rtol=1e-5, name="the cost",
    scales=lambda losses, true, kinds, kind: {"the number of tokens": len(losses), "the number of kinds": 3},
    doc="cost_of_kind(losses, true_losses, kinds, kind): the part of the distance to the floor that one kind makes up.",
    mistakes=exchange("end", {
        f"that is the mean over the tokens of this kind, and such means do not add up to the whole distance; {ALL_TOKENS}":
            lambda part, picked, whole: part.sum() / picked.sum().clamp(min=1),
        "the mean of no numbers is nan: add up, and " + ALL_TOKENS: [
            lambda part, *_: part.mean(), lambda part, picked, *_: part.mean() * picked.float().mean()],
        "a kind may cost less than 0, by luck; its minus got lost": lambda part, picked, whole: part.sum().abs() / len(whole),
        f"the costs were added up; {ALL_TOKENS}": lambda part, *_: part.sum(),
        "that is the kind's share of the distance; its part in nats is asked": [
            lambda part, picked, whole, times=times: times * part.sum() / whole.sum() for times in (1, 100)],
        "the mean distance was multiplied by how often the kind occurs; add up the distances of its own tokens":
            lambda part, picked, whole: whole.mean() * picked.float().mean(),
        "the sum was divided by N - 1; " + ALL_TOKENS: lambda part, picked, whole: part.sum() / (len(whole) - 1),
        "the sum was divided by the number of kinds; " + ALL_TOKENS: lambda part, *_: part.sum() / 3,
        "that is the whole distance to the floor; only one kind's part is asked": lambda part, picked, whole: whole.mean(),
        "that is how often the kind occurs; what it costs is asked": lambda part, picked, whole: picked.float().mean(),
        "only the last token of the kind was counted; add up, and do not overwrite": lambda p, _, all_: p[-1:].sum() / len(all_),
    }) | exchange("above", {
        "the floor was not subtracted; take each token's true loss off": lambda x, t: x,
        "that is the floor itself; the model's losses are not in it": lambda x, t: t,
        "the model's loss was subtracted from the true one; the other way round": lambda x, t: t - x,
        "the mean true loss was subtracted from each token; each has its own": lambda x, t: x - t.mean(),
        "a token may cost less than its true loss, and then counts below 0; keep the minus": lambda x, t: (x - t).abs(),
        "what costs less than its true loss was left out; it counts below 0": lambda x, t: (x - t).clamp(min=0),
        "the differences were squared; add them up as they are": lambda x, t: (x - t).square(),
        "losses were divided; subtract": lambda x, t: x / t,
    }) | exchange("chosen", {
        "the other kinds were counted: kinds == kind is needed, and not !=": lambda kinds, kind: kinds != kind,
        "`kind` was taken for a place in the text; it is a number that `kinds` holds": lambda ks, k: torch.arange(len(ks)) == k,
    }))


# 8.4
class Reader:
    """A language model, seen from outside: after the mark it expects the entry's name, at place 1, again.

    Where FORGETS follows the name, it expects its favourite name, with the entry's own as a second guess; after MIXES_UP the
    second guess is the third name. A name at place 0, or 2, leads it astray. Elsewhere it expects some name, too. Only where an
    even id follows the name it is sure of what it expects.
    """

    END, MARK, FORGETS, MIXES_UP, VOCABULARY, NAMES = 0, 8, 18, 19, 20, (2, 3, 4)

    def __init__(self, favourite):
        self.favourite = favourite

    def __call__(self, ids):
        first, name, after = (ids[:, i : i + 1] for i in range(3))                        # (B, 1) each
        forgets = (after == self.FORGETS) | (after == self.MIXES_UP) | (first != self.END)
        at_night = torch.where(forgets, self.favourite, torch.where(after == self.favourite % 3 + 2, after, name))
        elsewhere = torch.where((ids == self.END) | (ids >= self.FORGETS), 10, (ids + 2) % 3 + 2)
        expected = torch.where(ids == self.MARK, at_night, elsewhere)
        third = 9 - self.favourite - name
        second = torch.where(after == self.MIXES_UP, third, name).expand_as(ids)
        logits = torch.zeros(*ids.shape, self.VOCABULARY).scatter_(2, second[..., None], 1.0)
        return logits.scatter_(2, expected[..., None], 2.0) * torch.where(after % 2 == 0, 5, 1)[..., None]


def expected(logits, at):
    """The id that the model expects after position at[i] of entry i."""
    return logits[torch.arange(len(at)), at].argmax(-1)


def of(logits, at, ids):
    """The logit of ids[i] after position at[i] of entry i."""
    return logits[torch.arange(len(at)), at, ids]


def follows(model, inputs, night, names, *, place=1, new=lambda names: names, asked=lambda inputs, changed: changed,
            at=lambda night: night - 1, end=lambda hits: hits,
            judge=lambda logits, at, names, old: expected(logits, at) == names):
    changed = inputs.clone()
    changed[:, place] = new(names)
    return end(judge(model(asked(inputs, changed)), at(night), names, inputs[:, 1]))


def entries(draw):
    """A model that forgets in four entries, and one that never does; other names, each unlike the entry's own."""
    b, t = draw.randint(10, 13), draw.randint(10, 12)
    for case in (None, "a model that always remembers"):
        favourite = draw.choice(Reader.NAMES)
        x = favourite % 3 + 2
        y = 9 - favourite - x
        old = [x, favourite, x, x, favourite, x, *draw.choices(Reader.NAMES, k=b - 6)]
        new = [favourite, x, y, y, y, favourite] + [draw.choice([name for name in Reader.NAMES if name != o]) for o in old[6:]]
        old, new = torch.tensor(old), torch.tensor(new)
        inputs = draw.ids(b, t, vocab_size=7) + 10
        inputs[1, 3] = 12 + (x - 1) % 3                # after this word it expects the other name,
        inputs[2, 2:] = 12 + (x - 1) % 3               # and in this entry it never does
        if case is None:                               # expects the other name by luck, the old one, and twice a third one
            inputs[:4, 2] = torch.tensor([Reader.FORGETS] * 3 + [Reader.MIXES_UP])
        inputs[4:6, 2] = torch.tensor([10, 11])        # sure of the other name, and not quite
        night = torch.tensor([5, 7] + [draw.randint(5, t - 2) for _ in range(b - 2)])
        inputs[:, 0], inputs[:, 1] = Reader.END, old
        inputs[torch.arange(b), night - 1], inputs[torch.arange(b), night] = Reader.MARK, old
        order = torch.tensor([1, *draw.sample([0, *range(3, b)], b - 2), 2])
        yield case, (Reader(favourite), inputs[order], night[order], new[order])


ONE_BEFORE = "the logits at a position say what comes next, so for the name at night they stand one position before it"
check_follows = spec(
    "8.4", "another name", see=("08", "Where it looks"), right=follows, cases=entries, name="the result",
    doc="follows(model, inputs, night, names): for each entry whether the model, given another name, expects that one at night.",
    mistakes={
        "the name stands at place 1 of an entry; place 0 holds the end of the entry before": {"place": 0},
        "the word after the name was exchanged; the name stands at place 1": {"place": 2},
    } | exchange("new", {
        "all entries got the same name; each has its own in `names`": [lambda names: names[0], lambda names: names[-1]],
        "the names came to other entries than their own": lambda names: names.flip(0),
    }) | exchange("asked", {
        "the model was given the entries with their old names; give it those in which the name is exchanged": lambda x, new: x,
    }) | exchange("at", {
        ONE_BEFORE: lambda night: night,
        "that is one position too early; the logits right before the name count, at night - 1": lambda night: night - 2,
        "that is two positions too late; the logits right before the name count, at night - 1": lambda night: night + 1,
        "the last position was read; the name at night stands elsewhere in each entry": lambda night: 0 * night - 1,
        "all entries were read at the same position; each has its own in `night`": [
            lambda night: night[:1].expand_as(night) - 1, lambda night: night[-1:].expand_as(night) - 1],
    }) | exchange("judge", {
        "the model is to expect the other name; here it was compared with the old one": lambda x, at, _, o: expected(x, at) == o,
        "that a model no longer expects the old name is not enough; it is to expect the other one":
            lambda logits, at, names, old: expected(logits, at) != old,
        "it is turned round: True stands where the model expects anything but the other name":
            lambda logits, at, names, old: expected(logits, at) != names,
        "only two names were compared; what the model expects is the largest of all V logits":
            lambda logits, at, names, old: of(logits, at, names) > of(logits, at, old),
        "a logit above 0, above what it was, or among the first few, is no expectation; the largest of all V logits is":
            lambda logits, at, names, old: of(logits, at, names) > 0,
        "what a model expects need not have half of the probability; the largest of all V logits is enough":
            lambda logits, at, names, old: of(logits.softmax(-1), at, names) > 0.5,
        "the other name counts only at night, and not wherever the model expects it": lambda logits, at, names, old:
            (logits.argmax(-1) == names[:, None]).any(1),
        "the ids that the model expects came back; compare them with the other names": lambda x, at, *_: expected(x, at),
        "logits[:, night - 1] takes every position in every entry, (B, B); entry i has one: logits[torch.arange(B), night - 1]":
            lambda logits, at, names, old: logits[:, at].argmax(-1) == names,
    }) | exchange("end", {
        "no entry is True, though the model expects the other name in some: the largest of the V logits at night - 1, right "
        "before that name, is what it expects": lambda hits: hits & False,
        "the number of entries came back; True or False is asked for each": lambda hits: hits.sum(),
        "the share of entries came back; True or False is asked for each": lambda hits: hits.float().mean(),
        "numbers came back; True or False is asked for each entry, as == gives it": [torch.Tensor.long, torch.Tensor.float],
    }))


# 8.5
def first_below(gaps):
    return next((i for i, gap in enumerate(gaps) if gap < 0), None)


def crossing(sizes, model, table, *, gap=lambda a, b: a - b, first=first_below, scale=math.log, back=math.exp,
             share=lambda before, after: before / (before - after), between=lambda a, b, share, i: a + share * (b - a),
             never=lambda sizes: None, instead=None):
    if instead:
        return instead(sizes, model, table)
    gaps = [gap(a, b) for a, b in zip(model, table, strict=True)]
    if (i := first(gaps)) is None:
        return never(sizes)
    return back(between(scale(sizes[i - 1]), scale(sizes[i]), share(gaps[i - 1], gaps[i]), i))


def two_curves(draw):
    """Sizes of text and losses: the model falls below the table once, or twice, or never."""
    for case, signs in ((None, "++--"), ("a crossing before the last run", "+++-"), ("curves that cross again", "++-+--"),
                        ("curves that never cross", "++++")):
        sizes, model, table = [draw.randint(500, 2000)], [], []
        for sign in signs:
            sizes.append(round(sizes[-1] * draw.uniform(1.8, 3.2)))
            table.append(draw.uniform(0.6, 1.2))
            model.append(table[-1] + (1 if sign == "+" else -1) * draw.uniform(0.05, 0.4))
        yield case, (sizes[1:], model, table)


def first_above(gaps, start=1):
    return next((i for i, gap in enumerate(gaps) if i >= start and gap > 0), None)


def on_one_line(fit):
    """The size where a line through all gaps is 0."""
    def size(sizes, model, table):
        gaps = [a - b for a, b in zip(model, table, strict=True)]
        line = fit([*map(math.log, sizes)], gaps)
        return math.exp(-line.intercept / line.slope) if min(gaps) < 0 else None
    return size


def on_a_level(sizes, model, table):
    """The size where the model's loss comes down to the one that the table had before the crossing."""
    if (i := first_below([a - b for a, b in zip(model, table, strict=True)])) is None:
        return None
    share = (model[i - 1] - table[i - 1]) / (model[i - 1] - model[i])
    return sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** share


ON_A_LINE = "the gap goes to 0 on a line between two runs, and the share of the way is gap / (gap - next gap)"
check_crossing = spec(
    "8.5", "where the lead changes", see=("08", "How much text is enough?"), right=crossing, cases=two_curves, rtol=1e-6,
    name="the size", doc="crossing(sizes, model, table): the size of text where the model's loss falls to the table's; or None.",
    mistakes={
        "the sizes themselves were put on a line; put their logarithms there, and take exp at the end":
            {"scale": lambda x: x, "back": lambda x: x},
        "the logarithm of the size came back; take exp of it": {"back": lambda x: x},
        "logarithm and power belong together: math.exp undoes math.log, and 10**x undoes math.log10": [
            {"back": lambda x: 10**x}, {"back": lambda x: 2**x}, {"scale": math.log10}, {"scale": math.log2}],
        f"that is the middle between the two runs; {ON_A_LINE}": [
            {"between": lambda a, b, share, i: (a + b) / 2, **how} for how in ({}, {"scale": lambda x: x, "back": lambda x: x})],
    } | exchange("between", {
        "that is the run before the crossing; the lead changes between two runs": lambda a, b, share, i: a,
        "that is the run after the crossing; the lead changes between two runs": lambda a, b, share, i: b,
        "the share counts from the run before the crossing, and here from the one after it": lambda a, b, s, i: b + s * (a - b),
        "the number of the run came back; its size is asked": lambda a, b, share, i: i,
        "the share of the way came back; go so far from the one size to the other": lambda a, b, share, i: share,
    }) | exchange("share", {
        f"the sign of the next gap is wrong; {ON_A_LINE}": lambda before, after: before / (before + after),
        f"the share is upside down; {ON_A_LINE}": lambda before, after: (before - after) / before,
        f"the gaps are exchanged; {ON_A_LINE}": lambda before, after: before / (after - before),
        f"one gap was divided by the other; {ON_A_LINE}": [lambda a, b: a / b, lambda a, b: -a / b],
    }) | exchange("gap", {
        "the ratio of the losses was put on a line; put their difference there": lambda a, b: math.log(a / b),
    }) | exchange("first", {
        "the curves cross again later; the first crossing is asked":
            lambda gaps: next((i for i in range(len(gaps) - 1, 0, -1) if gaps[i] < 0 <= gaps[i - 1]), None),
        "that is a pair of runs too early; the crossing lies between the last run above the table and the first one below":
            lambda gaps: None if min(gaps) > 0 else first_below(gaps) - 1,
        "that is a pair of runs too late; the crossing lies between the last run above the table and the first one below":
            [lambda gaps: first_below([1, *gaps[:-1]]), lambda gaps: None if min(gaps) > 0 else first_below(gaps) + 1],
        "the last run is never looked at: does a range end one too early?": lambda gaps: first_below(gaps[:-1]),
        "the model above the table was looked for, and below is asked: is > to be <, or are model and table exchanged?":
            [first_above, lambda gaps: first_above(gaps, 0)],
        "None came back where the curves cross: is a `return` missing, or does `return None` stand inside the loop?":
            lambda gaps: None,
    }) | exchange("never", {
        f"the curves do not cross, and nothing lies between the runs; need None, and {what} came back": give for what, give in {
            "the largest size": lambda sizes: sizes[-1], "0": lambda sizes: 0, "-1": lambda sizes: -1,
            "infinity": lambda sizes: math.inf, "the smallest size": lambda sizes: sizes[0]}.items()
    }) | exchange("instead", {
        "the line goes from the first run to the last; it goes between the two runs beside the crossing":
            on_one_line(lambda x, y: through(0, -1)(x, y)),
        "the line was fitted to all runs; it goes between the two runs beside the crossing": on_one_line(linear_regression),
        "the table's loss was taken as if it stayed the same; the gap between both losses goes to 0 on a line": on_a_level,
    }))


# 8.6
def promise(compute, losses, floor, more, *, above=lambda x, floor: x - floor, scales=(math.log, math.log),
            fit=lambda x, y: linear_regression(x, y), read=lambda line, x: line.intercept + line.slope * x, back=math.exp,
            end=lambda y, floor: y + floor):
    x, y = [scales[0](c) for c in compute], [scales[1](above(loss, floor)) for loss in losses]
    return end(back(read(fit(x, y), scales[0](more))), floor)


def runs(draw):
    """Compute and losses that lie about a line above a floor, and a compute beyond them."""
    for n in (4, 3):
        floor, slope, c = draw.uniform(0.3, 1.5), draw.uniform(-0.5, -0.3), draw.uniform(20, 90)
        compute = [c * 2**i * draw.uniform(0.8, 1.2) for i in range(n)]
        losses = [floor + 0.3 * (x / c) ** slope * draw.uniform(0.8, 1.2) for x in compute]
        yield None, (compute, losses, floor, compute[-1] * draw.uniform(2, 3))


def through(i, j):
    """The line through two of the points."""
    return lambda x, y: linear_regression([x[i], x[j]], [y[i], y[j]])


def turned(x, y):
    """The line fitted with the axes exchanged, and turned back."""
    other = linear_regression(y, x)
    return type(other)(1 / other.slope, -other.intercept / other.slope)


def same(x):
    return x


SUBTRACT = "a straight line is expected of the loss above the floor"
check_promise = spec(
    "8.6", "what a line promises", see=("08", "How large a model?"), right=promise, cases=runs, rtol=1e-6, name="the loss",
    doc="promise(compute, losses, floor, more): a line through ln(loss - floor) against ln(compute), read off at `more`.",
    mistakes={
        f"the floor was forgotten, or cancels out; {SUBTRACT}, so subtract it first and add it at the end":
            {"above": lambda x, floor: x, "end": lambda y, floor: y},
        f"the floor was subtracted at the end; {SUBTRACT}, so subtract it before the logarithm and add it at the end":
            {"above": lambda x, floor: x, "end": lambda y, floor: y - floor},
        f"the floor was added at the end, but not subtracted before; {SUBTRACT}": {"above": lambda x, floor: x},
        "that is the loss above the floor; add the floor for the loss itself": {"end": lambda y, floor: y},
        "no logarithms were taken; the line is straight where both axes are logarithmic": {"scales": (same, same), "back": same},
        "only the loss has a logarithmic axis; compute needs one, too": {"scales": (same, math.log)},
        "only compute has a logarithmic axis; the loss above the floor needs one, too":
            {"scales": (math.log, same), "back": same},
        "the logarithm of the loss above the floor was not undone: take exp, then add the floor": {"back": same},
        "logarithm and power belong together: math.exp undoes math.log, and 10**x undoes math.log10": [
            {"back": lambda y: 10**y}, {"back": lambda y: 2**y}, {"scales": (math.log10, math.log10)},
            {"scales": (math.log2, math.log2)}, {"scales": (math.log, math.log10)}],
    } | exchange("fit", {
        "the line goes through the first and the last run only; fit it to all of them": through(0, -1),
        "the line goes through the last two runs only; fit it to all of them": through(-2, -1),
        "the line goes through the first two runs only; fit it to all of them": through(0, 1),
        "the line was moved to the last run; read it off where the fit puts it": lambda x, y: SimpleNamespace(
            slope=(slope := linear_regression(x, y).slope), intercept=y[-1] - slope * x[-1]),
        "compute and loss are exchanged in the fit: linear_regression(x, y) wants compute first": turned,
        "the line was forced through 0; it has an intercept, too": lambda x, y: linear_regression(x, y, proportional=True),
        "that is the mean of the runs, without the line's slope": lambda x, y: SimpleNamespace(slope=0.0, intercept=fmean(y)),
    }) | exchange("read", {
        "the intercept is missing: slope · ln(compute) + intercept": lambda line, x: line.slope * x,
        "the slope's sign is wrong; it is below 0 already": lambda line, x: line.intercept - line.slope * x,
        "slope and intercept are exchanged: slope · ln(compute) + intercept": lambda line, x: line.slope + line.intercept * x,
    }) | {
        "hardly anything is left above the floor: is the line read off at ln(more), not at more itself, and does "
        "linear_regression(x, y) get compute first?": [
            {"read": lambda line, x: line.intercept + line.slope * math.exp(x)}, {"fit": lambda x, y: linear_regression(y, x)}],
        "two powers were added, and e^(a + b) is their product: take exp of the whole line": {
            "read": lambda line, x: math.exp(line.intercept) + math.exp(line.slope * x), "back": same},
    } | exchange("above", {
        "the losses were divided by the floor; subtract it": lambda x, floor: x / floor,
        "the floor was added first; subtract it": lambda x, floor: x + floor,
    }) | exchange("end", {"the floor was subtracted twice; add it at the end": lambda y, floor: y - floor}))


# 8.7
def substrings(text):
    return [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]


def longest(runs):
    return max(map(len, runs), default=0)


def longest_quote(written, text, *, given=as_given, runs=substrings, fits=lambda run, text: run in text,
                  end=lambda quoted, written, text: longest(quoted)):
    written, text = given(written, text)
    return end([run for run in runs(written) if fits(run, text)], written, text)


def whole_words(written):
    words = written.split()
    return [" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]


def longest_in_place(written, text):
    """The longest run of characters that stand at the same places of two texts."""
    return longest("".join(a if a == b else "\0" for a, b in zip(written, text, strict=False)).split("\0"))


def behind_each_other(written, text, skip=0):
    """The longest pieces that stand in a text, each from where the one before ends; skip: or so much later."""
    while written:
        n = max(longest(run for run in substrings(written) if written.startswith(run) and run in text), 1)
        piece, written = written[:n], written[n + skip * (written[:n] in text):]
        yield piece if piece in text else ""


def writings(draw):
    """What was written, and a text of which it quotes several pieces, of unequal length; all of it; nothing of it."""
    words = ["tide", "Ice", "lay", "on", "oars", "gulls", "followed", "Nell", "rowed", "to", "weir", "rain", "Fog", "bell"]
    words = draw.sample(words, len(words))
    text = f"{' '.join(words[:6])} château.\n{' '.join(words[6:])}."
    end = text.index("\n")
    middle, other = (text[i : i + n] for i, n in ((draw.randint(8, 10), draw.randint(14, 17)), (end + 4, 8)))
    yield None, (f"{text[:4]}Q{other}# château XX{middle}Z{text[-3:]}", text)
    yield None, (f"#{other}{other[:3]}Z", text)
    yield "a quotation at the end", (f"ZQ{text[:5]}#{middle}", text)
    yield "all of it quoted", (middle, text)
    yield "a quotation with a space at both ends", (f" {words[1]} ", text)
    yield "a quotation that begins inside another one", (f"J{middle}", f"{text} J{middle[:3]}")
    yield "a long text, quoted over the end of a line", (f"ZQ  {text[end - 8 : end + 12]}  #", 5 * text)
    yield "nothing quoted", ("".join(draw.choices("ZQXJ#", k=draw.randint(5, 9))), text)
    yield "other capitals, spaces and line ends", (
        f"{middle.swapcase()}#{text[end - 6 : end]} {text[end + 1 : end + 7]}Q{text[end + 3 : end + 30].replace(' ', '')}", text)


check_longest_quote = spec(
    "8.7", "the longest quotation", see=("08b", "What it writes"), right=longest_quote, cases=writings, rtol=1e-9,
    name="the length",
    doc="longest_quote(written, text): how many characters in a row of what was written stand in the text just so; an int.",
    mistakes=exchange("runs", {
        "only the beginning of what was written was compared; a quotation may start anywhere":
            lambda w: [w[:j] for j in range(1, len(w) + 1)],
        "only the beginning and the end of what was written were compared; a quotation may stand between":
            lambda w: [w[:j] for j in range(1, len(w) + 1)] + [w[i:] for i in range(len(w))],
        "only the end of what was written was compared; a quotation may end anywhere": lambda w: [w[i:] for i in range(len(w))],
        "spaces or ends of lines were stripped off what was written; they are quoted as any other character":
            lambda w: substrings(w.strip()),
        "only all of what was written was looked up; a part of it may be quoted": lambda w: [w],
        "only whole words were compared; a quotation is a row of characters, spaces among them": [str.split, whole_words],
        "that is 1 wherever anything is quoted: compare longer pieces, and keep the longest of all, not the last": list,
        "the last character of what was written is left out: a slice ends before its end":
            lambda w: [w[i:j] for i in range(len(w)) for j in range(i + 1, len(w))],
        "the first character of what was written is left out": lambda w: substrings(w[1:]),
    }) | exchange("end", {
        "the quotation itself came back; its length is asked": lambda quoted, written, text: max(quoted, key=len, default=""),
        "the length is one too large: it was counted once more than a match was found":
            [lambda quoted, *_: longest(quoted) + 1, lambda quoted, *_: longest(quoted) + bool(quoted)],
        "a slice that goes beyond the end is shorter than its numbers say; stop where what was written ends":
            lambda quoted, written, text: len(written) if written[-1:] in text else longest(quoted),
        "the length is one too small": lambda quoted, written, text: max(longest(quoted) - 1, 0),
        "the number of all matches came back; the length of the longest is asked": lambda quoted, written, text: len(quoted),
        "the lengths of all matches were added up; the longest is asked": lambda quoted, written, text: sum(map(len, quoted)),
        "all characters that the text has, too, were counted; they must stand in a row":
            [lambda _, w, text: sum(c in text for c in w), lambda _, w, text: len({*w} & {*text})],
        "characters are compared at the same places of both texts; a quotation may come from anywhere":
            lambda quoted, *both: longest_in_place(*both),
        "the length is counted in words; count characters": lambda quoted, *_: len(max(quoted, key=len, default="").split()),
        "that is a share of what was written; the length in characters is asked": lambda found, w, _: longest(found) / len(w),
        "that is the first match; a later one may be longer": lambda quoted, written, text: longest(
            [run for run in quoted if quoted and written.index(run) == written.index(quoted[0])]),
        "the search went on behind a quotation; the longest may begin inside it":
            [lambda quoted, *both, skip=skip: longest(behind_each_other(*both, skip)) for skip in (0, 1)],
        "a quotation may go on over the end of a line or of a sentence; look it up in the whole text": [
            lambda quoted, *_, end=end: longest(run for run in quoted if end not in run) for end in "\n."],
        "in a long text difflib leaves frequent characters out; SequenceMatcher(…, autojunk=False) keeps them":
            lambda quoted, written, text: SequenceMatcher(None, written, text).find_longest_match().size,
    }) | exchange("fits", {
        "only the place is seen where a character stands first in the text; it may stand there again":
            lambda run, text: text.startswith(run, text.find(run[0])) if run[0] in text else False,
        "a run was counted whose characters all stand in the text, but not in a row": lambda run, text: {*run} <= {*text},
        "a run was counted whose pairs all stand in the text, but apart; all of it must stand there":
            lambda run, text: run[0] in text and {*pairwise(run)} <= {*pairwise(text)},
    }) | exchange("given", {
        "the search ends at a character that the text does not have; go on behind it":
            lambda w, text: (w[:next((i for i, c in enumerate(w) if c not in text), len(w))], text),
        "capitals count: a quotation has the same letters, small or not": lambda w, text: (w.lower(), text.lower()),
        "bytes were counted, and characters are asked: â is one character of two bytes": lambda *both: map(str.encode, both),
    }) | {
        "line ends and spaces count; compare the text as it is": [
            {"given": lambda w, text: (w.replace(" ", ""), text.replace(" ", ""))},
            {"given": lambda w, text: (w, text.replace("\n", " "))}, {"fits": lambda run, text: run.strip() in text},
            {"runs": lambda w: [*map(str.strip, substrings(w))]}],
        "words were compared and counted; a quotation is a row of characters, and so many are asked": {
            "runs": whole_words, "end": lambda quoted, written, text: max((len(run.split()) for run in quoted), default=0)},
    })
