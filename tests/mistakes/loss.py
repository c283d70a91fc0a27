"""Lesson 02: answers, right and wrong, in other ways than the tables of its checks have them."""
import math
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import fmean, pstdev, stdev

import numpy as np
import torch
import torch.nn.functional as F

from gpt_checks.loss import (
    check_bigram_loss,
    check_bits_per_byte,
    check_cross_entropy,
    check_loader_loss,
    check_perplexity,
    check_standard_error,
    check_untrained_loss,
)
from gpt_helpers.loss import bigram_loss as lesson_bigram_loss
from mistakes import right, wrong

# 2.1 perplexity
right(check_perplexity)(math.exp)
right(check_perplexity)(lambda loss: torch.tensor(loss).exp())
right(check_perplexity)(lambda loss: np.exp2(loss / math.log(2)))
wrong(check_perplexity, "None", "return")(lambda loss: print(end=f"{math.exp(loss)}"[:0]))
wrong(check_perplexity, "whatever it is given")(lambda loss: 50257.0)
wrong(check_perplexity, "perplexity is rounded")(lambda loss: round(math.exp(loss), 2))
wrong(check_perplexity, "str")(lambda loss: f"{math.exp(loss)}")
wrong(check_perplexity, "stopped with", "AttributeError")(lambda loss: loss.exp())


@wrong(check_perplexity, "power of 2", "bits")
def perplexity_of_bits(loss):
    result = 1.0
    for _ in range(64):
        result *= 2 ** (loss / 64)
    return result


# 2.2 cross-entropy
right(check_cross_entropy)(F.cross_entropy)


@right(check_cross_entropy)
def cross_entropy_by_loops(logits, targets):
    total = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        top = max(row)
        total += top + math.log(sum(math.exp(x - top) for x in row)) - row[target]
    return total / len(targets)


@right(check_cross_entropy)
def cross_entropy_with_one_hot(logits, targets):
    one_hot = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return (logits.logsumexp(1) - torch.einsum("nv,nv->n", logits, one_hot)).mean()


@wrong(check_cross_entropy, "as many as rows")
def cross_entropy_of_a_square(logits, targets):
    logits, n = logits.double(), len(targets)
    top = logits[:, :n].max(1).values
    sums = [sum(math.exp(logits[i, j] - top[i]) for j in range(min(n, logits.shape[1]))) for i in range(n)]
    return sum(top[i] + math.log(sums[i]) - logits[i, targets[i]] for i in range(n)) / n


wrong(check_cross_entropy, "maximum", "infinite")(lambda x, y: (x.exp().sum(dim=1).log() - x[torch.arange(len(y)), y]).mean())
wrong(check_cross_entropy, "underflows")(lambda x, y: F.nll_loss(x.softmax(1).log(), y))
wrong(check_cross_entropy, "inside the logarithm")(lambda x, y: F.nll_loss(x.softmax(1).clamp(min=1e-9).log(), y))
wrong(check_cross_entropy, "clamped")(lambda x, y: F.cross_entropy(x.clip(-50, 50), y))
wrong(check_cross_entropy, "softmax was taken twice")(lambda x, y: F.cross_entropy(x.softmax(1), y))
wrong(check_cross_entropy, "reshape is no transpose")(lambda x, y: F.nll_loss(x.reshape(x.shape[1], -1).log_softmax(0).T, y))
wrong(check_cross_entropy, "dim 0", "minus is missing")(lambda x, y: -F.nll_loss(x.log_softmax(0), y))
wrong(check_cross_entropy, "in place", "`x`")(lambda x, y: F.cross_entropy(x.sub_(x.max(1, True).values), y))
wrong(check_cross_entropy, "could not be called")(lambda x: x.logsumexp(1).mean())


# 2.3 the loss of many batches
@right(check_loader_loss)
def loader_loss_by_rows(batches, batch_loss):
    """Windows are equally long, so rows weigh the same as tokens."""
    rows, losses = [len(y) for x, y in batches], [batch_loss(x, y).item() for x, y in batches]
    return math.fsum(a * b for a, b in zip(rows, losses, strict=True)) / sum(rows)


@right(check_loader_loss)
@torch.no_grad()
def loader_loss_as_one_batch(batches, batch_loss):
    return batch_loss(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


@wrong(check_loader_loss, "inside the loop")
def loader_loss_returned_too_early(batches, batch_loss):
    total, tokens = 0.0, 0
    for x, y in batches:
        total += batch_loss(x, y).item() * y.numel()
        tokens += y.numel()
        return total / tokens


@wrong(check_loader_loss, "total += and not total =")
def loader_loss_with_a_sum_that_is_overwritten(batches, batch_loss):
    tokens = 0
    for x, y in batches:
        total = batch_loss(x, y).item() * y.numel()
        tokens += y.numel()
    return total / tokens


@wrong(check_loader_loss, "half and half")
def loader_loss_running(batches, batch_loss):
    loss = None
    for x, y in batches:
        new = batch_loss(x, y).item()
        loss = new if loss is None else loss / 2 + new / 2
    return loss


wrong(check_loader_loss, "graph", ".item()")(
    lambda batches, f: sum(f(x, y) * y.numel() for x, y in batches) / sum(y.numel() for x, y in batches))
wrong(check_loader_loss, "mean of the batches' means")(lambda batches, f: fmean(f(x, y).item() for x, y in batches))
wrong(check_loader_loss, "both counted")(lambda batches, f: sum(
    f(x, y).item() * y.numel() for x, y in batches) / sum(x.numel() + y.numel() for x, y in batches))


# 2.4 the untrained loss
right(check_untrained_loss)(lambda v, c, std: math.log(v) + c * std**2 / 2)
right(check_untrained_loss)(lambda v, c, std: torch.tensor(v).double().log() + torch.full((c,), std).double().square().sum() / 2)
wrong(check_untrained_loss, "half of it", "base 2")(lambda v, c, std: math.log2(v) + c * std**2)
wrong(check_untrained_loss, "sum of C products")(lambda v, c, std: -math.log(1 / v) + std * std / 2)
wrong(check_untrained_loss, "inside the logarithm")(lambda v, c, std: math.log(v + c * std**2 / 2))
wrong(check_untrained_loss, "square it", "perplexity")(lambda v, c, std: v * math.exp(c * std / 2))
wrong(check_untrained_loss, "whatever it is given")(lambda v, c, std: math.log(50257) + 768 * 0.02**2 / 2)
wrong(check_untrained_loss, "1/3")(lambda v, c, std: math.log(v) + (c**-0.5) ** 2 * c / 3 / 2)


# 2.5 the bigram baseline
@right(check_bigram_loss)
def bigram_loss_with_counters(ids, train_ids, vocab_size, trust):
    train, losses = train_ids.tolist(), []
    pairs, firsts = Counter(pairwise(train)), Counter(train[:-1])
    for a, b in pairwise(ids.tolist()):
        p = trust * pairs[a, b] / firsts[a] + (1 - trust) / vocab_size if firsts[a] else 1 / vocab_size
        losses.append(-math.log(p))
    return fmean(losses)


@right(check_bigram_loss)
def bigram_loss_with_a_matrix(ids, train_ids, vocab_size, trust):
    counts = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    counts.index_put_((train_ids[:-1], train_ids[1:]), torch.ones(len(train_ids) - 1, dtype=torch.float64), accumulate=True)
    totals = counts.sum(1, keepdim=True)
    probs = torch.where(totals > 0, trust * counts / totals.clamp(min=1) + (1 - trust) / vocab_size, 1 / vocab_size)
    return -probs[ids[:-1], ids[1:]].log().mean()


@wrong(check_bigram_loss, "only once")
def bigram_loss_that_loses_repeats(ids, train_ids, vocab_size, trust):
    counts = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    counts[train_ids[:-1], train_ids[1:]] += 1
    firsts = torch.bincount(train_ids[:-1], minlength=vocab_size)[:, None]
    probs = torch.where(firsts > 0, trust * counts / firsts.clamp(min=1) + (1 - trust) / vocab_size, 1 / vocab_size)
    return -probs[ids[:-1], ids[1:]].log().mean()


@wrong(check_bigram_loss, "tensors as keys")
def bigram_loss_with_tensors_as_keys(ids, train_ids, vocab_size, trust):
    pairs, firsts = Counter(pairwise(train_ids)), Counter(train_ids[:-1])
    return -fmean(math.log(trust * pairs[a, b] / firsts[a] + (1 - trust) / vocab_size if firsts[a] else 1 / vocab_size)
                  for a, b in pairwise(ids))


@wrong(check_bigram_loss, "last training token")
def bigram_loss_counts_the_end(ids, train_ids, vocab_size, trust):
    after, train = defaultdict(list), train_ids.tolist()
    for a, b in zip(train, [*train[1:], None], strict=True):
        after[a].append(b)
    return -fmean(math.log(trust * after[a].count(b) / len(after[a]) + (1 - trust) / vocab_size if after[a] else 1 / vocab_size)
                  for a, b in pairwise(ids.tolist()))


@wrong(check_bigram_loss, "count(b)", "token before")
def bigram_loss_divides_by_the_sums_of_columns(ids, train_ids, vocab_size, trust):
    counts = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    counts.index_put_((train_ids[:-1], train_ids[1:]), torch.ones(len(train_ids) - 1, dtype=torch.float64), accumulate=True)
    probs = trust * counts / counts.sum(0).clamp(min=1) + (1 - trust) / vocab_size
    probs[counts.sum(1) == 0] = 1 / vocab_size
    return -probs[ids[:-1], ids[1:]].log().mean()


@wrong(check_bigram_loss, "ZeroDivisionError")
def bigram_loss_divides_by_zero(ids, train_ids, vocab_size, trust):
    pairs, firsts = Counter(pairwise(train_ids.tolist())), Counter(train_ids[:-1].tolist())
    return -fmean(math.log(trust * pairs[a, b] / firsts[a] + (1 - trust) / vocab_size) for a, b in pairwise(ids.tolist()))


wrong(check_bigram_loss, "the lesson's mix")(lambda ids, train, v, trust: lesson_bigram_loss(ids, train, v))
wrong(check_bigram_loss, "text that is scored")(lambda ids, train, v, trust: bigram_loss_with_counters(ids, ids, v, trust))
wrong(check_bigram_loss, "wrong way round")(lambda ids, train, v, trust: bigram_loss_with_a_matrix(ids, train.flip(0), v, trust))
wrong(check_bigram_loss, "exchanged", "minus")(lambda ids, train, v, trust: -bigram_loss_with_a_matrix(ids, train, v, 1 - trust))


# 2.6 the standard error
right(check_standard_error)(lambda losses: stdev(losses.tolist()) / math.sqrt(len(losses)))
right(check_standard_error)(lambda losses: ((losses - losses.mean()).square().sum() / (len(losses) - 1) / len(losses)).sqrt())
right(check_standard_error)(lambda losses: np.std(losses.numpy(), ddof=1) / len(losses) ** 0.5)
wrong(check_standard_error, "biased")(lambda losses: np.std(losses.numpy()) / len(losses) ** 0.5)
wrong(check_standard_error, "N - 1 once more")(lambda losses: pstdev(losses.tolist()) / (len(losses) - 1))
wrong(check_standard_error, "single losses")(lambda losses: stdev(losses.tolist()))
wrong(check_standard_error, "square of the standard error")(lambda losses: losses.var() / len(losses))
wrong(check_standard_error, "where their variance belongs")(lambda losses: math.sqrt(fmean(losses.tolist()) / len(losses)))
wrong(check_standard_error, "not subtracted")(lambda x: (sum(x * x) / (len(x) - 1) / len(x)) ** 0.5)
wrong(check_standard_error, "in place")(lambda losses: losses.sub_(losses.mean()).std() / len(losses) ** 0.5)
right(check_standard_error)(lambda losses: (losses.std() / len(losses) ** 0.5)[None])


# 2.7 bits per byte
right(check_bits_per_byte)(lambda losses, text: sum(losses) * math.log2(math.e) / len(bytes(text, "utf-8")))
right(check_bits_per_byte)(lambda losses, text: torch.tensor(losses).double().sum() / math.log(2) / len(text.encode()))
wrong(check_bits_per_byte, "whatever it is given")(lambda losses, text: 1.0)
wrong(check_bits_per_byte, "None", "return")(lambda losses, text: print(end=""))
wrong(check_bits_per_byte, "still in nats", "number of characters")(lambda losses, text: sum(losses) / len(text))
wrong(check_bits_per_byte, "the mean of the losses")(lambda losses, text: fmean(losses) / math.log(2) / len(text.encode()))
wrong(check_bits_per_byte, "ends of lines are left out")(
    lambda losses, text: sum(losses) / math.log(2) / len(text.strip().encode()))
wrong(check_bits_per_byte, "stopped with", "TypeError")(lambda losses, text: losses / math.log(2) / len(text))


@wrong(check_bits_per_byte, "only the last loss")
def bits_of_the_last_token(losses, text):
    for loss in losses:
        total = loss / math.log(2)
    return total / len(text.encode("utf-8"))
