"""Lesson 07: answers, right and wrong, that are written anew; the mistakes of its tables are answers of their own."""
import difflib
import itertools
import math
import statistics

import torch

from gpt_checks.gpt2_124m import (
    check_ahead,
    check_count_parameters,
    check_largest_batch,
    check_longest_quotation,
    check_training_days,
    check_turning_point,
)
from gpt_checks.numbers import numbers_of
from gpt_helpers.generate import longest_match
from gpt_helpers.model import GPTModel
from mistakes import right, wrong


# 7.1 how many weights?
def shapes(cfg, tied, final=True, twice=1):
    """The shapes of all tensors, one after the other."""
    v, t, c = cfg["vocab_size"], cfg["context_length"], cfg["emb_dim"]
    yield from [(v, c), (t, c)]
    for _ in range(cfg["n_layers"]):
        yield from [(c, 3 * c), (c, c), (c,), (c, 4 * c), (4 * c,), (4 * c, c), (c,)]
        yield from [(c,)] * 4
        if cfg["qkv_bias"]:
            yield (3 * c,)
    if final:
        yield from [(c,)] * 2
    yield from [(c, v)] * (0 if tied else twice)


@right(check_count_parameters)
def count_on_the_meta_device(cfg, tied):
    with torch.device("meta"):
        model = GPTModel(cfg)
    if tied:
        model.out_head.weight = model.tok_emb.weight
    return sum(p.numel() for p in model.parameters())


right(check_count_parameters)(lambda cfg, tied: sum(map(math.prod, shapes(cfg, tied))))
wrong(check_count_parameters, "the LayerNorm after the last block is missing")(
    lambda cfg, tied: sum(map(math.prod, shapes(cfg, tied, final=False))))
wrong(check_count_parameters, "tied head", "count it once")(lambda cfg, tied: sum(map(math.prod, shapes(cfg, False))))
wrong(check_count_parameters, "a float; need integers")(lambda *args: sum(map(math.prod, shapes(*args))) / 2)
wrong(check_count_parameters, "the number is")(lambda cfg, tied: sum(map(sum, shapes(cfg, tied))))
wrong(check_count_parameters, "12·C² a block")(lambda *args: sum(math.prod(shape) for shape in shapes(*args) if len(shape) == 2))
wrong(check_count_parameters, "KeyError")(lambda cfg, tied: cfg["vocab"] * cfg["emb_dim"])


# 7.2 what fits
def a_batch(giga=1000**3, student=1, most=math.floor, least=0):
    memory, reserved = numbers_of("7.2", student).values()

    def largest_batch(n_parameters, activations):
        room = giga * memory - giga * reserved - 16 * n_parameters
        return max(least, most(room / activations))
    return largest_batch


@right(check_largest_batch)
def largest_batch_one_by_one(n_parameters, activations):
    memory, reserved = numbers_of("7.2", 1).values()
    left, windows = (memory - reserved) * 1e9 - sum(4 * n_parameters for _ in ("weights", "gradients", "m", "v")), 0
    while left >= activations:
        left, windows = left - activations, windows + 1
    return windows


right(check_largest_batch)(a_batch())
wrong(check_largest_batch, "round down")(a_batch(most=math.ceil))
wrong(check_largest_batch, "the number came out below 0")(a_batch(least=-math.inf))
wrong(check_largest_batch, "another student's numbers")(a_batch(student=2))
wrong(check_largest_batch, "another student's numbers")(a_batch(student=31))
wrong(check_largest_batch, "whatever it is given")(lambda n, activations: 32)
wrong(check_largest_batch, "is all of it in bytes?")(a_batch(giga=1))
wrong(check_largest_batch, "is all of it in bytes?")(lambda n, activations: 0)


# 7.3 how many days?
def days(student=1, flops=6, clock=3600, hours=24):
    teraflops, percent = numbers_of("7.3", student).values()
    return lambda n, tokens: tokens * flops * n / (teraflops * 10**10 * percent * clock * hours)


@right(check_training_days)
def days_as_a_tensor(n_parameters, tokens):
    teraflops, percent = numbers_of("7.3", 1).values()
    a_day = torch.tensor(teraflops, dtype=torch.float64) * 10**12 * 86_400
    return (2 + 4) * n_parameters / a_day * tokens / percent * 100


right(check_training_days)(days())
wrong(check_training_days, "2·N·D is the forward pass alone")(days(flops=2))
wrong(check_training_days, "those are hours")(days(hours=1))
wrong(check_training_days, "those are seconds")(days(clock=1, hours=1))
wrong(check_training_days, "another student's numbers")(days(student=30))
wrong(check_training_days, "days")(lambda n, d: round(days()(n, d), 1))
wrong(check_training_days, "2·N·D is the forward pass alone", "; and", "those are hours")(days(flops=2, hours=1))


# 7.4 the longest quotation
@wrong(check_longest_quotation, "may be the first of another one")
def longest_quotation_in_one_walk(written, n_prompt, train):
    new, best = written[n_prompt:], 0
    for i in range(len(new)):
        k = 0
        for token in train:
            if i + k < len(new) and new[i + k] == token:
                k += 1
                best = max(best, k)
            else:
                k = 0
    return best


right(check_longest_quotation)(lambda written, n, train: longest_match(torch.tensor(written[n:]), torch.tensor(train)))


@right(check_longest_quotation)
def longest_by_difflib(written, n_prompt, train):
    return difflib.SequenceMatcher(None, written[n_prompt:], train, autojunk=False).find_longest_match().size


@right(check_longest_quotation)
def longest_by_sets_of_slices(written, n_prompt, train):
    new, n = written[n_prompt:], 0
    while {tuple(new[i : i + n + 1]) for i in range(len(new) - n)} & {tuple(train[j : j + n + 1]) for j in range(len(train) - n)}:
        n += 1
    return n


@wrong(check_longest_quotation, "where 12 stands in 312")
def longest_in_text(written, n_prompt, train):
    new, text = written[n_prompt:], " ".join(str(token) for token in train)
    return max([n for n in range(len(new) + 1) for i in range(len(new) - n + 1) if " ".join(map(str, new[i : i + n])) in text])


@wrong(check_longest_quotation, "the length is")
def longest_that_is_reset_by_nothing(written, n_prompt, train):
    new, best = written[n_prompt:], 0
    for i in range(len(new)):
        run = 0
        for token in train:
            run += i + run < len(new) and token == new[i + run]
        best = max(best, run)
    return best


wrong(check_longest_quotation, "the prompt counts, too")(lambda written, n, train: longest_by_difflib(written, 0, train))
wrong(check_longest_quotation, "difflib leaves frequent tokens out")(
    lambda w, n, train: difflib.SequenceMatcher(None, w[n:], train).find_longest_match().size)


@wrong(check_longest_quotation, "may begin inside")
def longest_that_jumps(written, n_prompt, train):
    i, best = n_prompt, 0
    while i < len(written):
        n = next(n for n in range(len(written) - i, -1, -1) if longest_by_difflib(written[i : i + n], 0, train) == n)
        i, best = i + max(n, 1), max(best, n)
    return best


@wrong(check_longest_quotation, "pairs all stand in train")
def longest_by_pairs(written, n_prompt, train):
    new, pairs = written[n_prompt:], set(itertools.pairwise(train))
    best = run = int(any(token in train for token in new))
    for pair in itertools.pairwise(new):
        run = run + 1 if pair in pairs else 1
        best = max(best, run)
    return best


@wrong(check_longest_quotation, "it is 1 wherever")
def longest_that_is_overwritten(written, n_prompt, train):
    new, n = written[n_prompt:], 0
    for i in range(len(new)):
        for j in range(i + 1, len(new) + 1):
            if longest_by_difflib(new[i:j], 0, train) < j - i:
                break
            n = j - i
    return n


wrong(check_longest_quotation, "need a number")(lambda w, n, train: w[n : n + longest_by_difflib(w, n, train)])


# 7.5 where it turns
@right(check_turning_point)
def turning_point_by_sorting(train_losses, val_losses, tokens_seen):
    val, tokens, train = sorted(zip(val_losses, tokens_seen, train_losses, strict=True))[0]
    return [tokens, val - train]


@right(check_turning_point)
def turning_point_by_tensors(train_losses, val_losses, tokens_seen):
    val = torch.tensor(val_losses, dtype=torch.float64)
    i = int(val.argmin()) if (val == val.min()).sum() == 1 else val_losses.index(val.min().item())
    return tokens_seen[i], val[i] - train_losses[i]


@wrong(check_turning_point, "compared with the one before it")
def turning_point_at_the_last_fall(train_losses, val_losses, tokens_seen):
    best = 0
    for i in range(1, len(val_losses)):
        if val_losses[i] < val_losses[i - 1]:
            best = i
    return tokens_seen[best], val_losses[best] - train_losses[best]


@wrong(check_turning_point, "first evaluation was left out")
def turning_point_from_the_second_on(train_losses, val_losses, tokens_seen):
    best = 1
    for i in range(1, len(val_losses)):
        if val_losses[i] < val_losses[best]:
            best = i
    return tokens_seen[best], val_losses[best] - train_losses[best]


wrong(check_turning_point, "the last of several")(
    lambda t, v, n: (lambda i: (n[i], v[i] - t[i]))(max(i for i in range(len(v)) if v[i] == min(v))))
wrong(check_turning_point, "lost its minus")(lambda t, v, n: (n[v.index(min(v))], abs(turning_point_by_sorting(t, v, n)[1])))
wrong(check_turning_point, "first rises")(lambda t, v, n: next(
    (n[i], v[i] - t[i]) for i in range(len(v)) if i + 1 == len(v) or v[i + 1] > v[i]))
wrong(check_turning_point, "for the first time")(lambda t, v, n: next((n[i], v[i] - t[i]) for i in range(len(v)) if v[i] > t[i]))
wrong(check_turning_point, "the result has 3 values; need 2")(lambda t, v, n: (1, 2, 3))
wrong(check_turning_point, "the number of the evaluation came back")(
    lambda t, v, n: (v.index(min(v)), turning_point_by_sorting(t, v, n)[1]))


# 7.6 who is ahead?
@right(check_ahead)
def ahead_by_statistics(model_losses, table_losses):
    lead = [b - a for a, b in zip(model_losses.tolist(), table_losses.tolist(), strict=True)]
    return statistics.mean(lead), statistics.stdev(lead) / math.sqrt(len(lead))


@right(check_ahead)
def ahead_by_covariance(model_losses, table_losses):
    both = torch.stack([model_losses, table_losses]).double()
    cov = both.cov()
    return both[1].mean() - both[0].mean(), ((cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]) / both.shape[1]).sqrt()


@wrong(check_ahead, "as if they had been measured on different tokens")
def ahead_unpaired(model_losses, table_losses):
    a, b = (losses.std() / len(losses) ** 0.5 for losses in (model_losses, table_losses))
    return (table_losses - model_losses).mean(), torch.hypot(a, b)


wrong(check_ahead, "the lead has the wrong sign")(lambda model, table: (-ahead_by_statistics(model, table)[0],
                                                                        ahead_by_statistics(model, table)[1]))
wrong(check_ahead, "divides by N (a biased variance)")(lambda m, t: ((t - m).mean(), (t - m).std(unbiased=False) / len(m) ** 0.5))
wrong(check_ahead, "the lead is of type")(lambda model, table: ("model", 0.1))
wrong(check_ahead, "the lead has shape")(lambda model, table: (table - model, 0.1))
wrong(check_ahead, "; need a number")(lambda model, table: {"lead": (table - model).mean()})
