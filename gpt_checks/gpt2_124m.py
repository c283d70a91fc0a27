"""The exercises of lesson 07 as data: GPT-2 at its real size."""
import math
import operator
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import accumulate, pairwise

import torch

from gpt_checks.core import Draw
from gpt_checks.enough_text import behind_each_other, longest, longest_in_place, substrings
from gpt_checks.spec import exchange, several, spec


# 7.1
def count_parameters(cfg, tied, *, tokens=lambda v, c, tied: v * c, positions=lambda t, c: t * c,
                     attention=lambda c, h: 4 * c * c, out_bias=lambda c, on: c, qkv_bias=lambda c, on, h: 3 * c * on,
                     forward=lambda c: 8 * c * c, forward_bias=lambda c: 5 * c, norms=lambda c: 4 * c,
                     blocks=lambda layers, h: layers, last_norm=lambda c: 2 * c,
                     head=lambda v, c, tied: 0 if tied else v * c, unit=lambda n: n):
    v, t, c, h, layers, _, bias = cfg.values()
    block = attention(c, h) + out_bias(c, bias) + qkv_bias(c, bias, h) + forward(c) + forward_bias(c) + norms(c)
    return unit(tokens(v, c, tied) + positions(t, c) + blocks(layers, h) * block + last_norm(c) + head(v, c, tied))


def configs(draw: Draw) -> Iterator:
    """Configurations with the keys of GPT_CONFIG_124M, and whether the head is the token table."""
    for case, tied, bias in ((None, False, False), ("a tied head", True, False), ("qkv_bias True", False, True),
                             ("a tied head and qkv_bias True", True, True)):
        heads = draw.choice((2, 3, 5))
        yield case, ({"vocab_size": draw.randint(501, 999), "context_length": draw.randint(33, 99),
                      "emb_dim": heads * draw.randint(7, 14), "n_heads": heads, "n_layers": draw.randint(3, 6), "drop_rate": 0.1,
                      "qkv_bias": bias}, tied)


check_count_parameters = spec(
    "7.1", "how many weights?", see=("07", "What will it cost?"), right=count_parameters, cases=configs, name="the number",
    rtol=0, doc="count_parameters(cfg, tied): how many numbers GPTModel(cfg) learns, by counting.",
    mistakes=exchange("positions", {
        "the table of positions is missing: context_length rows of emb_dim numbers": lambda t, c: 0,
        "the table of positions has a row too many: context_length of them": lambda t, c: (t + 1) * c,
    }) | exchange("tokens", {
        "the table of tokens is missing: vocab_size rows of emb_dim numbers": lambda v, c, tied: 0,
        "a tied head is the table of tokens, used a second time; the table itself is there, once":
            lambda v, c, tied: 0 if tied else v * c,
    }) | exchange("attention", {
        "queries, keys and values have a matrix each, and the output has a fourth": lambda c, h: 2 * c * c,
        "the matrix at the output of attention is missing, C by C": lambda c, h: 3 * c * c,
        "the matrices for queries, keys and values are missing, C by C each": lambda c, h: c * c,
        "each head was given matrices of C by C; the heads share them": [
            lambda c, h: 4 * c * c * h, lambda c, h: 3 * c * c * h + c * c],
        "attention has four matrices of C by C, and not five": lambda c, h: 5 * c * c,
        "queries, keys and values were divided among the heads; together the heads have three matrices of C by C":
            lambda c, h: 3 * c * c // h + c * c,
    }) | exchange("qkv_bias", {
        "qkv_bias is not asked: where it is True, queries, keys and values have C biases each": lambda c, on, h: 0,
        "queries, keys and values have biases only where qkv_bias is True": lambda c, on, h: 3 * c,
        "queries, keys and values have C biases each, 3·C and not C": lambda c, on, h: c * on,
        "queries, keys and values have C biases each, 3·C, whatever the number of heads":
            [lambda c, on, h: h * c * on, lambda c, on, h: 3 * c * on // h],
        "qkv_bias is read the wrong way round": lambda c, on, h: 3 * c * (not on),
    }) | {
        "each head was given matrices of C by C, and biases; the heads share them": [
            {"attention": lambda c, h, all_=all_: (4 if all_ else 3) * c * c * h + c * c * (not all_),
             "qkv_bias": lambda c, on, h: 3 * c * on * h} for all_ in (False, True)],
    } | exchange("out_bias", {
        "attention's output has C biases whatever qkv_bias is; that is about queries, keys and values": lambda c, on: c * on,
    }) | exchange("forward", {
        "the feed-forward part has two matrices, C by 4C and 4C by C": lambda c: 4 * c * c,
        "the feed-forward part is four times as wide inside: its two matrices are C by 4C and 4C by C": lambda c: 2 * c * c,
        "the feed-forward part is missing, two matrices a block": lambda c: 0,
    }) | {
        "the feed-forward part is 4C wide inside, and not 2C; so are its first biases":
            {"forward": lambda c: 4 * c * c, "forward_bias": lambda c: 3 * c},
    } | exchange("forward_bias", {
        "inside, the feed-forward part is 4C wide, so its first biases are 4C numbers, and not C": lambda c: 2 * c,
        "the biases of the feed-forward part are missing, 4C and C": lambda c: 0,
        "the biases of the feed-forward part are 4C numbers, then C, since it ends with C": lambda c: 8 * c,
        "C numbers a block are missing: a bias at the output of attention, or at the end of the feed-forward part":
            lambda c: 4 * c,
        "4C numbers a block are missing: the bias inside the feed-forward part, or scale and shift of two LayerNorms":
            lambda c: c,
    }) | exchange("norms", {
        "each block has two LayerNorms of 2C numbers, so 4C: half of them are missing": lambda c: 2 * c,
    }) | exchange("last_norm", {
        "the LayerNorm after the last block is missing, with a scale and a shift": lambda c: 0,
        "the LayerNorm after the last block has a scale and a shift, 2C numbers": lambda c: c,
    }) | exchange("head", {
        "the head is missing: where it is not tied, it has a table of its own, as large as that of the tokens": lambda *_: 0,
        "a tied head is the table of tokens, used a second time; count it once": lambda v, c, tied: v * c,
        "tied is read the wrong way round: a tied head has no weights of its own": lambda v, c, tied: v * c if tied else 0,
        "the head has no bias": [lambda v, c, tied: 0 if tied else v * c + v, lambda v, c, tied: v if tied else v * c + v],
    }) | exchange("blocks", {
        "one block was counted; there are n_layers of them": lambda layers, h: 1,
        "n_heads was taken for the number of blocks; there are n_layers of them": lambda layers, h: h,
        "the blocks are missing": lambda layers, h: 0,
        "one block too few was counted; there are n_layers of them": lambda layers, h: layers - 1,
    }) | {
        "those are bytes; numbers are asked": {"unit": lambda n: 4 * n},
        "those are millions; the number itself is asked": {"unit": lambda n: n / 1e6},
        "the last LayerNorm stands once, behind the blocks, and not in each of them":
            {"norms": lambda c: 6 * c, "last_norm": lambda c: 0},
        "12·C² a block counts the matrices alone, which is nearly right; biases and LayerNorms are learned, too":
            {"out_bias": lambda c, on: 0, "qkv_bias": lambda c, on, h: 0, "forward_bias": lambda c: 0, "norms": lambda c: 0,
             "last_norm": lambda c: 0},
    })


# 7.2
GB = 10**9


def largest_batch(n_parameters, activations, *, memory, reserved, held=lambda n: 16 * n, free=operator.sub,
                  unit=GB, share=lambda room, n, one: room // one, end=lambda windows: max(0, int(windows))):
    return end(share(free(memory, reserved) * unit - held(n_parameters), n_parameters, activations))


def models(draw: Draw, memory: float, reserved: float) -> Iterator:
    """(n_parameters, activations) with a fraction of a window left over; for every machine, for few, and for none."""
    room = (memory - reserved) * GB
    for case, share, over in ((None, 0.05, 0.35), ("most of the memory in use", 0.9, 0.7), ("a model too large", 1.3, 0.35)):
        n = int(room * share * draw.uniform(0.95, 1.05) / 16)
        yield case, (n, int(abs(room - 16 * n) / (draw.randint(2_000, 9_000) + over)))


check_largest_batch = spec(
    "7.2", "what fits", see=("07", "What will it cost?"), right=largest_batch, cases=models, rtol=0,
    name="the number of windows", own={"memory": range(16, 97, 8), "reserved": [quarter / 4 for quarter in range(2, 30)]},
    doc="largest_batch(n_parameters, activations): how many windows of a batch fit into the memory of your machine.",
    mistakes=exchange("held", {
        "the weights alone were counted: each weight also has a gradient and two moments, 16 bytes in all": lambda n: 4 * n,
        "8 bytes a weight are two numbers: weight, gradient and two moments are four, 16 bytes": lambda n: 8 * n,
        "12 bytes a weight are three numbers: weight, gradient and two moments are four, 16 bytes": lambda n: 12 * n,
        "one byte was taken for each weight: it takes four numbers of 4 bytes": lambda n: n,
        "4 bytes a number were forgotten, or two taken: four numbers of 4 bytes are 16": lambda n: 2 * n,
        "five numbers a weight are one too many: weight, gradient and two moments": lambda n: 20 * n,
        "a number of 4 bytes has 32 bits; bytes are asked": lambda n: 128 * n,
        "the model is not in the memory yet: subtract its 16 bytes a weight": lambda n: 0,
        "the model's bytes are added to the memory; they are taken from it": lambda n: -16 * n,
    }) | exchange("free", {
        "`reserved` is forgotten; it is taken from the memory, too": lambda memory, reserved: memory,
        "`reserved` is added to the memory; it is taken from it": operator.add,
    }) | exchange("unit", {
        "0 came back even where many windows fit: is all of it in bytes? A GB is 10**9 of them": 1,
        "a GB is 10**9 bytes here, and not 2**30": 2**30,
    }) | exchange("share", {
        "model and window are added, as if each window had a model of its own; the model is there once":
            lambda room, n, one: (room + 16 * n) // (16 * n + one),
        "those are bytes; divide by those of a window": lambda room, n, one: room,
        "the window's bytes are multiplied; divide by them": lambda room, n, one: room * one,
        "a window has gradients of its activations only in passing; count its activations once": lambda r, n, one: r // (2 * one),
        "`activations` counts bytes already; 4 bytes a number are in it": lambda room, n, one: room // (4 * one),
    }) | {
        "one window too few: rounded down, the number fits": {"end": lambda windows: max(0, int(windows) - 1)},
        "where not even the model fits, 0 is asked, and not 1": {"end": lambda windows: max(1, int(windows))},
        "where not even the model fits, the number came out below 0; 0 is asked": {"end": math.floor},
        "a part of a window does not fit: round down, to an integer":
            [{"share": lambda room, n, one: room / one, "end": lambda windows, to=to: max(0, to(windows))}
             for to in (round, math.ceil, float)],
    })


# 7.3
DAY = 24 * 60 * 60
PRIMES = (59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131)      # lest two machines be equally fast


def training_days(n_parameters, tokens, *, teraflops, percent, work=lambda n, d: 6 * n * d, tera=1e12,
                  reached=lambda speed, percent: speed * percent / 100, join=operator.truediv, day=DAY):
    return join(work(n_parameters, tokens), reached(teraflops * tera, percent)) / day


def plans(draw: Draw, **_) -> Iterator:
    """(n_parameters, tokens), from a small model to a large one."""
    for most in (1e9, 1e10, 1e11):
        yield None, (int(draw.uniform(most / 10, most)), int(draw.uniform(1e9, 1e12)))


check_training_days = spec(
    "7.3", "how many days?", see=("07", "What will it cost?"), right=training_days, cases=plans, rtol=1e-6, atol=0,
    name="the number of days", own={"teraflops": PRIMES, "percent": range(20, 56)},
    doc="training_days(n_parameters, tokens): how long a training run takes on your machine, by 6·N·D.",
    mistakes=exchange("work", {
        "2·N·D is the forward pass alone; backward takes twice as much again": lambda n, d: 2 * n * d,
        "4·N·D is the backward pass alone; the forward pass takes 2·N·D more": lambda n, d: 4 * n * d,
        "the 6 is missing: 2 for the forward pass, 4 for backward": lambda n, d: n * d,
        "3·N·D counts a multiplication with its addition as one; they are two operations": lambda n, d: 3 * n * d,
        "weights and tokens are added; each token meets each weight": lambda n, d: 6 * (n + d),
        "only the weights were counted; each token meets each of them": lambda n, d: 6 * n,
        "only the tokens were counted; each meets every weight": lambda n, d: 6 * d,
        "2·N·D on the way forward and 4·N·D on the way back make 6·N·D": [lambda n, d: 8 * n * d, lambda n, d: 5 * n * d],
    }) | exchange("tera", {
        "a teraflop is 10**12 operations; these were 10**9": 1e9,
        "a teraflop is 10**12 operations; these were 10**15": 1e15,
        "a teraflop is 10**12 operations; these were 2**40": 2.0**40,
        "a teraflop is 10**12 operations, and not one": 1.0,
    }) | exchange("reached", {
        "`percent` is forgotten: no program reaches all of what the machine can do": lambda speed, percent: speed,
        "a percent is a hundredth: divide by 100": [operator.mul, lambda speed, percent: speed * percent / 1000],
        "the speed was divided by the share; it is multiplied": lambda speed, percent: speed * 100 / percent,
        "the hint's machine was taken, 40 of 100 teraflops; take yours, as it is printed": lambda speed, percent: 40e12,
        "that is the share which is lost; `percent` is what is reached": lambda speed, percent: speed * (100 - percent) / 100,
    }) | exchange("join", {
        "the division is upside down: operations over operations a second": lambda work, speed: speed / work,
        "the operations were multiplied with the speed; divide by it": operator.mul,
    }) | exchange("day", {
        "those are seconds; days are asked": 1, "those are minutes; days are asked": 60,
        "those are hours; days are asked": 60 * 60, "those are weeks; days are asked": 7 * DAY,
        "those are years; days are asked": 365 * DAY,
        "that is twice as much as it should be: 6·N·D is forward and backward, and a day has 24 hours, and not 12": DAY / 2,
        "a day has 24 · 60 · 60 seconds; 60 was forgotten once": 24 * 60,
        "a day has 24 · 60 · 60 seconds; here is a 60 too many": 24 * 60**3,
        "a day has 24 hours; a machine needs no sleep": [8 * 60 * 60, 16 * 60 * 60],
        "`/ 24 * 3600` divides by 24 and then multiplies by 3600; put brackets round the product": 24 / 3600,
        "the seconds of a day were multiplied; divide by them": 1 / DAY,
        "`/ 3600 * 24` divides by 3600 and then multiplies by 24; put brackets round the product": 3600 / 24,
    }))


# 7.4
def longest_of(fits):
    """For fits(run, train): the length of the longest run of tokens for which it is true."""
    return lambda part, train: longest(run for run in substrings(part) if fits(run, train))


QUOTED = longest_of(lambda run, train: run in train)


def with_gaps(part, train):
    """The longest common subsequence."""
    row = [0] * (len(train) + 1)
    for token in part:
        new = [0]
        for j, other in enumerate(train):
            new.append(row[j] + 1 if token == other else max(row[j + 1], new[j]))
        row = new
    return row[-1]


def in_one_walk(part, train):
    """The longest run that is found where a token that does not fit is not tried again as the first one."""
    best = 0
    for i in range(len(part)):
        n = 0
        for token in train:
            n = n + 1 if i + n < len(part) and part[i + n] == token else 0
            best = max(best, n)
    return best


def longest_quotation(written, n_prompt, train, *, part=lambda written, n: written[n:], look=QUOTED, end=lambda n, part: n):
    """part, train: as strings, with a character for each token."""
    rest, train = ("".join(map(chr, tokens)) for tokens in (part(written, n_prompt), train))
    return end(look(rest, train), rest)


def samples(draw: Draw) -> Iterator:
    """What a model wrote behind a prompt, and the text that it was trained on."""
    ids = draw.sample(range(100, 1000), 90)
    train, new, n = ids[:40], ids[40:], draw.randint(3, 4)
    i, p = draw.randint(6, 9), draw.randint(2, 3)
    yield None, (train[i : i + p + n] + new[:3] + train[25 : 25 + n - 1] + new[3:5], p, train)
    yield "a quotation at the end of what was written", (new[:p] + new[5:7] + train[12 : 12 + n], p, train)
    yield "a quotation from the end of the training text", (new[:p] + new[7:9] + train[-n:] + new[9:10], p, train)
    yield "a quotation from the beginning of the training text", (new[:p] + new[5:8] + train[:n] + new[8:9], p, train)
    gaps = [token for pair in zip(train[5:10], new[10:15], strict=True) for token in pair]
    yield "tokens of the training text with others between them", (new[:p] + gaps, p, train)
    yield "tokens that stand apart in the training text", (new[:p] + train[5:15:2] + new[15:16], p, train)
    yield "tokens of the training text in another order", (new[:p] + train[20:26][::-1] + train[3:5], p, train)
    digits = [*train[:5], 10 * train[7] + 3, 41, 1000 + train[8], *train[9:20]]
    yield "ids whose digits stand in other ids", ([*new[:p], 3, 41, 1, *new[20:23]], p, digits)
    again = [*train[:4], train[20], train[30], *train[10:20], *train[20:26]]
    yield "a token that comes twice in the training text", (new[:p] + new[30:31] + train[20 : 20 + n] + new[31:33], p, again)
    doubled = [*train[:4], train[20], *train[20:26], *train[10:20]]
    yield "a token that stands twice in a row in the training text", (new[:p] + new[30:31] + train[20 : 20 + n], p, doubled)
    run = sorted(train[6:11])
    overlapping = [*train[:4], *run[:3], train[30], *run[1:], *train[20:26]]
    yield "a quotation that begins inside another one", (new[:p] + run, p, overlapping)
    yield "a long training text", (new[:p] + new[5:6] + train[i : i + n] + new[6:7], p, 6 * train)
    yield "a quotation that is repeated", (new[:p] + train[20:22] + train[20:22] + train[8:10], p, train)
    yield "nothing written", (train[3 : 3 + p], p, train)


check_longest_quotation = spec(
    "7.4", "the longest quotation", see=("07", "Learned, or learned by heart?"), right=longest_quotation, cases=samples,
    name="the length", rtol=0,
    doc="longest_quotation(written, n_prompt, train): the length of the longest run of new tokens that stands in train.",
    mistakes=exchange("part", {
        "the prompt counts, too: it is not the model's; start behind its n_prompt tokens": lambda written, n: written,
        "the first new token is left out: written[n_prompt:] begins with it": lambda written, n: written[n + 1 :],
        "the prompt's last token counts, too: written[n_prompt:] begins behind it": lambda written, n: written[max(n - 1, 0) :],
        "the last token that was written is never looked at: does a range end one too early?": lambda written, n: written[n:-1],
        "the prompt was looked up; what comes behind it is asked": lambda written, n: written[:n],
        "the order of the tokens is lost": lambda written, n: sorted(written[n:]),
    }) | exchange("look", {
        "it is 1 wherever a token is quoted: compare longer runs, too, and keep the longest of all, not the last":
            lambda part, train: int(any(token in train for token in part)),
        "tokens were found in order, with others between them; a quotation has no gaps": with_gaps,
        "tokens were counted that stand somewhere in train; a quotation is a run that stands there in the same order":
            [lambda part, train: sum(token in train for token in part), lambda part, train: len({*part} & {*train})],
        "a run was counted whose tokens all stand in train, but not in this order": [
            longest_of(lambda run, train: {*run} <= {*train}),
            longest_of(lambda run, train: any(sorted(train[i : i + len(run)]) == sorted(run) for i in range(len(train))))],
        "a run was counted whose pairs all stand in train, but apart; all of it must stand there": longest_of(
            lambda run, train: run[0] in train and {*pairwise(run)} <= {*pairwise(train)}),
        "the search went on behind a quotation; the longest may begin inside it": lambda *both: longest(behind_each_other(*both)),
        "in a long text difflib leaves frequent tokens out; SequenceMatcher(…, autojunk=False) keeps them":
            lambda part, train: SequenceMatcher(None, part, train).find_longest_match().size,
        "ids were compared as text, where 12 stands in 312, too; compare lists of numbers":
            longest_of(lambda run, train: " ".join(str(ord(c)) for c in run) in " ".join(str(ord(c)) for c in train)),
        "the token of train that breaks a run off may be the first of another one; try each place of train anew": in_one_walk,
        "a run of a single token counts, too": lambda part, train: n if (n := QUOTED(part, train)) > 1 else 0,
        "only the place is seen where a token stands first in train; it may stand there again":
            longest_of(lambda run, train: run[0] in train and train.startswith(run, train.find(run[0]))),
        "the last token of train is never looked at: does a range end one too early?": lambda part, t: QUOTED(part, t[:-1]),
        "only a quotation at the beginning of what was written is seen; it may stand anywhere":
            lambda part, train: max(i for i in range(len(part) + 1) if part[:i] in train),
        "only a quotation from the beginning of train is seen; it may come from anywhere":
            lambda part, train: max(i for i in range(len(train) + 1) if train[:i] in part),
        "tokens are compared at the same places of both texts; a quotation may come from anywhere": longest_in_place,
        "all quotations of two tokens or more are added up; the longest is asked": lambda *both: sum(
            len(run) for run in behind_each_other(*both) if len(run) > 1),
    }) | exchange("end", {
        "one too many: count the tokens of the run": lambda n, part: n + 1,
        "one too few: a run of four tokens has three steps, and the length 4": lambda n, part: max(n - 1, 0),
        "that is the share; the length is asked, in tokens": lambda n, part: n / max(len(part), 1),
    }) | {
        "the prompt's length is taken off a quotation that need not lie there; leave the prompt out first, written[n_prompt:]":
            {"part": lambda written, n: [n, *written], "look": lambda part, text: max(0, QUOTED(part[1:], text) - ord(part[0]))},
    })


# 7.5
def turning_point(train_losses, val_losses, tokens_seen, *, watch=lambda train, val: val, pick=lambda x: x.index(min(x)),
                  where=lambda tokens, i, val: tokens[i], gap=lambda train, val, i: val[i] - train[i],
                  end=lambda tokens, gap: (tokens, gap)):
    i = pick(watch(train_losses, val_losses))
    return end(where(tokens_seen, i, val_losses), gap(train_losses, val_losses, i))


def curves(draw: Draw) -> Iterator:
    """(train_losses, val_losses, tokens_seen), the validation loss lowest somewhere in the middle.

    In the last one it rises once before that, and only then it is above the training loss for the first time.
    """
    for case, best, equal in ((None, 3, False), ("a validation loss that is lowest twice", 2, True), ("a gap below 0", 3, False),
                              ("a validation loss that only rises", 0, False)):
        n = draw.randint(7, 9)
        train = list(accumulate((-draw.uniform(0.3, 0.7) for _ in range(n - 1)), initial=9.0))
        val = [train[best] + 0.7 + abs(i - best) * draw.uniform(0.1, 0.15) + 2 * (i == 0) + 4 * (i == 1) for i in range(n)]
        train[-2:] = train[:-3:-1]                             # no loss has its extremes at the ends
        if best == 3:
            val[-2] += 0.3                                     # once more it falls, and not so low
        if best == 0:
            val = [*accumulate((draw.uniform(0.1, 0.3) for _ in range(n - 1)), initial=train[0] + draw.uniform(0.2, 0.4))]
        if equal:
            val[best + 2] = val[best] = min(val)
        if case == "a gap below 0":
            val[:3] = train[0] - 0.1, train[1] - 0.15, train[2] + 1.5
            val[3:] = (loss - 0.7 - draw.uniform(0.2, 0.3) for loss in val[3:])
        first, step = draw.randint(100, 900), draw.randint(1000, 2000)
        yield case, (train, val, [first + step * i for i in range(n)])


BEST = "the evaluation with the lowest validation loss is asked"
check_turning_point = spec(
    "7.5", "where it turns", see=("07", "The curves"), right=turning_point, cases=curves,
    use=several("the number of tokens", "the gap"), rtol=1e-6,
    doc="turning_point(train_losses, val_losses, tokens_seen): (tokens seen at the lowest validation loss, the gap there).",
    mistakes=exchange("watch", {
        f"the lowest training loss was looked for; {BEST}": lambda train, val: train,
        f"the smallest gap was looked for; {BEST}": lambda train, val: [v - t for t, v in zip(train, val, strict=True)],
        f"that is where the validation loss is above the training loss for the first time; {BEST}":
            lambda train, val: [v <= t for t, v in zip(train, val, strict=True)],
    }) | exchange("pick", {
        "the last of several lowest losses was taken; the first is asked": lambda x: len(x) - 1 - x[::-1].index(min(x)),
        "each loss was compared with the one before it; the lowest of all is asked":
            lambda x: max((i for i in range(1, len(x)) if x[i] < x[i - 1]), default=0),
        "the first evaluation was left out; it, too, may have the lowest loss": lambda x: x.index(min(x[1:]), 1),
        f"that is the end of the training; {BEST}": lambda x: len(x) - 1,
        f"that is the beginning; {BEST}": lambda x: 0,
        f"the search ended where the loss first rises; it may fall again; {BEST}":
            lambda x: next(i for i, (a, b) in enumerate(pairwise(x)) if b >= a),
        f"that is where the loss is highest; {BEST}": lambda x: x.index(max(x)),
        f"one evaluation too late; {BEST}, not the first that is worse": lambda x: x.index(min(x)) + 1,
        f"one evaluation too early; {BEST}": lambda x: x.index(min(x)) - 1,
    }) | exchange("where", {
        "the number of the evaluation came back; the tokens seen by then are asked: tokens_seen[i]": lambda tokens, i, val: i,
        "the lowest loss came back; the tokens seen by then are asked": lambda tokens, i, val: val[i],
        "the tokens of the whole run came back; those seen by the lowest validation loss are asked": lambda n, *_: n[-1],
        "those are the tokens after the turning point; those before it are asked": lambda tokens, i, val: tokens[-1] - tokens[i],
        "those are the tokens since the evaluation before; each number counts from the start": lambda n, i, _: n[i] - n[i - 1],
        "the tokens are added up over the evaluations; each number counts from the start already":
            lambda n, i, _: sum(n[: i + 1]),
    }) | exchange("gap", {
        "the gap has the wrong sign: validation loss minus training loss": lambda train, val, i: train[i] - val[i],
        "the gap lost its minus; where the validation loss is the lower one, it is below 0": lambda t, v, i: abs(v[i] - t[i]),
        "that is the gap at the end; the one at the turning point is asked": lambda train, val, i: val[-1] - train[-1],
        "the two lowest losses were subtracted, from different evaluations; take both from the same":
            lambda t, v, i: v[i] - min(t),
        "the losses were divided; the gap is their difference": lambda train, val, i: val[i] / train[i],
        "the validation loss itself came back; the gap is its distance from the training loss": lambda train, val, i: val[i],
        "that is how far the validation loss has risen since; the gap to the training loss is asked":
            lambda _, v, i: v[-1] - v[i],
        "that is the distance from the last training loss; take both losses from the same evaluation":
            lambda t, v, i: v[i] - t[-1],
    }) | exchange("end", {
        "only the tokens came back; return (tokens, gap)": lambda tokens, gap: tokens,
        "only the gap came back; return (tokens, gap)": lambda tokens, gap: gap,
        "the two are exchanged; return (tokens, gap)": lambda tokens, gap: (gap, tokens),
    }))


# 7.6
def ahead(model_losses, table_losses, *, pairs=lambda model, table: table - model, mean=torch.mean,
          spread=lambda model, table, d: d.std(), over=lambda s, n: s / n**0.5, end=lambda lead, error: (lead, error)):
    difference = pairs(model_losses, table_losses)
    return end(mean(difference).item(), over(spread(model_losses, table_losses, difference), len(difference)).item())


def two_judges(draw: Draw) -> Iterator:
    """Losses of a model and of a table on the same tokens, which are hard or easy for both."""
    for n in (draw.randint(12, 19), draw.randint(30, 50)):
        hard, better = 5 + 2 * draw.normal(n), draw.choice((-1, 1)) * draw.uniform(0.3, 0.9)
        yield None, (hard + 0.5 * draw.normal(n), hard + better + 0.8 * draw.normal(n))


PAIRED = "; take the differences, token by token, and their standard deviation"
check_ahead = spec(
    "7.6", "who is ahead?", see=("07", "The test set"), right=ahead, cases=two_judges,
    use=several("the lead", "the standard error"), rtol=1e-4, scales=lambda model, table: {"the number of tokens N": len(model)},
    doc="ahead(model_losses, table_losses): (by how much the model is better, mean over tokens; its standard error).",
    mistakes=exchange("pairs", {
        "the lead has the wrong sign: a lower loss is better, so table minus model": lambda model, table: model - table,
        "the lead lost its sign, token by token; where the model is worse it counts against it": lambda m, t: (t - m).abs(),
        "the perplexities were compared; compare the losses": lambda model, table: table.exp() - model.exp(),
        "the losses were divided; the lead is their difference, in nats": [lambda m, t: t / m, lambda m, t: (t - m) / t],
        "the table's loss was taken alone; subtract the model's": lambda model, table: table,
        "the model's loss was taken alone; subtract it from the table's": lambda model, table: model,
        "the squares of the differences were taken": lambda model, table: (table - model).square(),
        "it was only counted where the model is better; by how much is asked": lambda model, table: (table > model).float(),
    }) | exchange("mean", {
        "the differences are added up; their mean is asked": torch.sum,
        "that is the median of the differences; their mean is asked": torch.median,
        "that is the largest difference; their mean is asked": torch.max,
        "the lead was divided by its standard error; both are asked, in nats": lambda d: d.mean() / d.std() * len(d) ** 0.5,
    }) | exchange("spread", {
        "both losses were taken as if they had been measured on different tokens, so what is hard for both counts twice" + PAIRED:
            lambda model, table, d: (model.var() + table.var()).sqrt(),
        "the two standard errors were added" + PAIRED: lambda model, table, d: model.std() + table.std(),
        "that is the standard error of the model's loss alone" + PAIRED: lambda model, table, d: model.std(),
        "that is the standard error of the table's loss alone" + PAIRED: lambda model, table, d: table.std(),
        "the two standard errors were subtracted" + PAIRED:
            [lambda model, table, d: table.std() - model.std(), lambda model, table, d: (table.std() - model.std()).abs()],
        "the standard deviation divides by N (a biased variance); a sample's divides by N - 1, as .std() does":
            lambda model, table, d: d.std(correction=0),
        "the variance was taken; the standard deviation is its root": lambda model, table, d: d.var(),
        "the mean distance was taken; the standard deviation squares, averages, and takes the root":
            lambda model, table, d: (d - d.mean()).abs().mean(),
        "the mean was not subtracted before squaring": lambda model, table, d: (d.square().sum() / (len(d) - 1)).sqrt(),
    }) | exchange("over", {
        "that is the standard deviation of single tokens; the mean of N of them is surer by the root of N": lambda s, n: s,
        "the standard deviation is divided by N; divide by the root of N": lambda s, n: s / n,
        "the root is that of N; N - 1 stands inside the standard deviation": lambda s, n: s / (n - 1) ** 0.5,
        "1.96 standard errors are half a 95 % interval; one is asked": lambda s, n: 1.96 * s / n**0.5,
        "that is twice the standard error": lambda s, n: 2 * s / n**0.5,
        "the standard deviation is multiplied by the root of N; divide": lambda s, n: s * n**0.5,
    }) | {
        "that is the square of the standard error: take the root":
            {"spread": lambda model, table, d: d.var(), "over": lambda s, n: s / n},
    } | exchange("end", {
        "only the lead came back; return (lead, standard_error)": lambda lead, error: lead,
        "only the standard error came back; return (lead, standard_error)": lambda lead, error: error,
        "the two are exchanged; return (lead, standard_error)": lambda lead, error: (error, lead),
    }))
