"""Lesson 02: answers, right and wrong."""
import math
from collections import Counter
from itertools import pairwise
from statistics import fmean, stdev

import torch
import torch.nn.functional as F

from gpt_checks.loss import (
    check_bigram_loss,
    check_cross_entropy,
    check_loader_loss,
    check_perplexity,
    check_standard_error,
    check_untrained_loss,
)
from mistakes import right, wrong

# 2.1 perplexity

right(check_perplexity)(math.exp)


@right(check_perplexity)
def perplexity_as_a_power(loss):
    return math.e**loss


@right(check_perplexity)
def perplexity_as_a_tensor(loss):
    return torch.tensor(loss).exp()


@wrong(check_perplexity, "power of 2", "bits")
def perplexity_of_bits(loss):
    return 2**loss


@wrong(check_perplexity, "not of 10")
def perplexity_to_base_ten(loss):
    return 10**loss


@wrong(check_perplexity, "minus the loss")
def perplexity_upside_down(loss):
    return math.exp(-loss)


@wrong(check_perplexity, "logarithm of the loss")
def perplexity_with_log(loss):
    return math.log(loss)


@wrong(check_perplexity, "None", "return")
def perplexity_printed(loss):
    math.exp(loss)


@wrong(check_perplexity, "whatever it is given")
def perplexity_of_the_lesson(loss):
    return 50257.0


@wrong(check_perplexity, "came back as it was")
def perplexity_not_yet(loss):
    return loss


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
def cross_entropy_with_gather(logits, targets):
    logits = logits - logits.max(dim=-1, keepdim=True).values
    logp = logits - logits.exp().sum(dim=-1, keepdim=True).log()
    return -logp.gather(1, targets[:, None]).mean()


@right(check_cross_entropy)
def cross_entropy_with_einsum(logits, targets):
    one_hot = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    return (logits.logsumexp(1) - torch.einsum("nv,nv->n", logits, one_hot)).mean()


@wrong(check_cross_entropy, "dim 0")
def cross_entropy_over_rows(logits, targets):
    return -logits.log_softmax(0)[torch.arange(len(targets)), targets].mean()


@wrong(check_cross_entropy, "added up")
def cross_entropy_summed(logits, targets):
    return F.cross_entropy(logits, targets, reduction="sum")


@wrong(check_cross_entropy, "minus is missing")
def cross_entropy_positive_logs(logits, targets):
    return logits.log_softmax(1)[torch.arange(len(targets)), targets].mean()


@wrong(check_cross_entropy, "maximum", "infinite")
def cross_entropy_without_maximum(logits, targets):
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -p[torch.arange(len(targets)), targets].log().mean()


@wrong(check_cross_entropy, "maximum", "infinite")
def cross_entropy_sum_without_maximum(logits, targets):
    return (logits.exp().sum(dim=1).log() - logits[torch.arange(len(targets)), targets]).mean()


@wrong(check_cross_entropy, "each row's own")
def cross_entropy_with_one_maximum(logits, targets):
    shifted = logits - logits.max()
    return (shifted.exp().sum(dim=1).log() - shifted[torch.arange(len(targets)), targets]).mean()


@wrong(check_cross_entropy, "underflows")
def cross_entropy_through_probabilities(logits, targets):
    return -logits.softmax(1)[torch.arange(len(targets)), targets].log().mean()


@wrong(check_cross_entropy, "inside the logarithm")
def cross_entropy_with_epsilon(logits, targets):
    return -(logits.softmax(1)[torch.arange(len(targets)), targets] + 1e-9).log().mean()


@wrong(check_cross_entropy, "base 2")
def cross_entropy_in_bits(logits, targets):
    logp = logits.log_softmax(1)[torch.arange(len(targets)), targets]
    return -logp.mean() / math.log(2)


@wrong(check_cross_entropy, "every target in every row")
def cross_entropy_of_all_columns(logits, targets):
    return -logits.log_softmax(1)[:, targets].mean()


@wrong(check_cross_entropy, "logarithm of the mean")
def cross_entropy_log_last(logits, targets):
    return -logits.softmax(1)[torch.arange(len(targets)), targets].mean().log()


@wrong(check_cross_entropy, "for each row")
def cross_entropy_of_each_row(logits, targets):
    return F.cross_entropy(logits, targets, reduction="none")


@wrong(check_cross_entropy, "in place", "`logits`")
def cross_entropy_in_place(logits, targets):
    logits -= logits.max(dim=1, keepdim=True).values
    return F.cross_entropy(logits, targets)


@wrong(check_cross_entropy, "softmax was taken twice")
def cross_entropy_softmax_twice(logits, targets):
    return F.cross_entropy(logits.softmax(1), targets)


@wrong(check_cross_entropy, "all V tokens")
def cross_entropy_of_everything(logits, targets):
    return -logits.log_softmax(1).mean()


# 2.3 the loss of many batches

@right(check_loader_loss)
def loader_loss_as_in_the_lesson(batches, batch_loss):
    total, tokens = 0.0, 0
    for inputs, targets in batches:
        total += batch_loss(inputs, targets).item() * targets.numel()
        tokens += targets.numel()
    return total / tokens


@right(check_loader_loss)
def loader_loss_by_rows(batches, batch_loss):
    """Windows are equally long, so rows weigh the same as tokens."""
    rows = [len(y) for x, y in batches]
    losses = [batch_loss(x, y).item() for x, y in batches]
    return sum(a * b for a, b in zip(rows, losses, strict=True)) / sum(rows)


@right(check_loader_loss)
@torch.no_grad()
def loader_loss_as_one_batch(batches, batch_loss):
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return batch_loss(inputs, targets).item()


@wrong(check_loader_loss, "mean of the batches' means")
def loader_loss_mean_of_means(batches, batch_loss):
    return fmean(batch_loss(x, y).item() for x, y in batches)


@wrong(check_loader_loss, "divide by their number")
def loader_loss_total(batches, batch_loss):
    return sum(batch_loss(x, y).item() * y.numel() for x, y in batches)


@wrong(check_loader_loss, "means are added up")
def loader_loss_sum_of_means(batches, batch_loss):
    return sum(batch_loss(x, y).item() for x, y in batches)


@wrong(check_loader_loss, "inside the loop")
def loader_loss_returned_too_early(batches, batch_loss):
    total, tokens = 0.0, 0
    for x, y in batches:
        total += batch_loss(x, y).item() * y.numel()
        tokens += y.numel()
        return total / tokens


@wrong(check_loader_loss, "graph", ".item()")
def loader_loss_with_graph(batches, batch_loss):
    total, tokens = 0.0, 0
    for x, y in batches:
        total += batch_loss(x, y) * y.numel()
        tokens += y.numel()
    return total / tokens


@wrong(check_loader_loss, "do not overwrite")
def loader_loss_of_the_last(batches, batch_loss):
    for x, y in batches:
        loss = batch_loss(x, y).item()
    return loss


@wrong(check_loader_loss, "number of batches")
def loader_loss_over_batches(batches, batch_loss):
    return sum(batch_loss(x, y).item() * y.numel() for x, y in batches) / len(batches)


@wrong(check_loader_loss, "number of tokens", "weigh each mean")
def loader_loss_unweighted_over_tokens(batches, batch_loss):
    return sum(batch_loss(x, y).item() for x, y in batches) / sum(y.numel() for x, y in batches)


# 2.4 the untrained loss

@right(check_untrained_loss)
def untrained_loss_as_derived(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) + emb_dim * weight_std**2 / 2


@right(check_untrained_loss)
def untrained_loss_as_a_tensor(vocab_size, emb_dim, weight_std):
    variance = torch.tensor(weight_std).double().square() * emb_dim
    return torch.tensor(float(vocab_size)).double().log() + 0.5 * variance


@wrong(check_untrained_loss, "even belief", "σ²/2 more")
def untrained_loss_even(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size)


@wrong(check_untrained_loss, "half of it")
def untrained_loss_without_half(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) + emb_dim * weight_std**2


@wrong(check_untrained_loss, "subtracted")
def untrained_loss_minus(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) - emb_dim * weight_std**2 / 2


@wrong(check_untrained_loss, "sum of C products")
def untrained_loss_of_one_weight(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) + weight_std**2 / 2


@wrong(check_untrained_loss, "square it")
def untrained_loss_std_not_squared(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) + emb_dim * weight_std / 2


@wrong(check_untrained_loss, "base 2")
def untrained_loss_in_bits(vocab_size, emb_dim, weight_std):
    return math.log2(vocab_size) + emb_dim * weight_std**2 / 2


@wrong(check_untrained_loss, "σ is added")
def untrained_loss_sigma(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) + math.sqrt(emb_dim) * weight_std / 2


@wrong(check_untrained_loss, "1/3")
def untrained_loss_of_the_lesson(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size) + 1 / 6


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


@right(check_bigram_loss)
def bigram_loss_by_scanning(ids, train_ids, vocab_size, trust):
    total = torch.zeros((), dtype=torch.float64)
    for a, b in pairwise(ids.tolist()):
        after = train_ids[1:][train_ids[:-1] == a]
        share = (after == b).double().mean() if len(after) else torch.tensor(1 / vocab_size).double()
        total -= (trust * share + (1 - trust) / vocab_size).log()
    return total / (len(ids) - 1)


def bigram_parts(train_ids):
    train = train_ids.tolist()
    return train, Counter(pairwise(train)), Counter(train[:-1])


@wrong(check_bigram_loss, "text that is scored")
def bigram_loss_counts_the_answer(ids, train_ids, vocab_size, trust):
    return bigram_loss_with_counters(ids, ids, vocab_size, trust)


@wrong(check_bigram_loss, "last training token")
def bigram_loss_counts_the_end(ids, train_ids, vocab_size, trust):
    train, pairs, _ = bigram_parts(train_ids)
    firsts = Counter(train)
    return -fmean(math.log(trust * pairs[a, b] / firsts[a] + (1 - trust) / vocab_size if firsts[a] else 1 / vocab_size)
                  for a, b in pairwise(ids.tolist()))


@wrong(check_bigram_loss, "p = 1/V")
def bigram_loss_forgets_the_unseen(ids, train_ids, vocab_size, trust):
    _, pairs, firsts = bigram_parts(train_ids)
    return -fmean(math.log(trust * pairs[a, b] / max(firsts[a], 1) + (1 - trust) / vocab_size)
                  for a, b in pairwise(ids.tolist()))


@wrong(check_bigram_loss, "ZeroDivisionError")
def bigram_loss_divides_by_zero(ids, train_ids, vocab_size, trust):
    _, pairs, firsts = bigram_parts(train_ids)
    return -fmean(math.log(trust * pairs[a, b] / firsts[a] + (1 - trust) / vocab_size) for a, b in pairwise(ids.tolist()))


@wrong(check_bigram_loss, "exchanged")
def bigram_loss_trusts_the_wrong_part(ids, train_ids, vocab_size, trust):
    return bigram_loss_with_counters(ids, train_ids, vocab_size, 1 - trust)


@wrong(check_bigram_loss, "all pairs")
def bigram_loss_joint(ids, train_ids, vocab_size, trust):
    _, pairs, firsts = bigram_parts(train_ids)
    return -fmean(math.log(trust * pairs[a, b] / (len(train_ids) - 1) + (1 - trust) / vocab_size if firsts[a] else 1 / vocab_size)
                  for a, b in pairwise(ids.tolist()))


@wrong(check_bigram_loss, "wrong way round")
def bigram_loss_backwards(ids, train_ids, vocab_size, trust):
    return bigram_loss_with_counters(ids, train_ids.flip(0), vocab_size, trust)


@wrong(check_bigram_loss, "N - 1")
def bigram_loss_divided_by_n(ids, train_ids, vocab_size, trust):
    return bigram_loss_with_counters(ids, train_ids, vocab_size, trust) * (len(ids) - 1) / len(ids)


@wrong(check_bigram_loss, "minus")
def bigram_loss_without_minus(ids, train_ids, vocab_size, trust):
    return -bigram_loss_with_counters(ids, train_ids, vocab_size, trust)


# 2.6 the standard error

@right(check_standard_error)
def standard_error_of_a_tensor(losses):
    return losses.std().item() / len(losses) ** 0.5


@right(check_standard_error)
def standard_error_from_statistics(losses):
    return stdev(losses.tolist()) / math.sqrt(len(losses))


@right(check_standard_error)
def standard_error_written_out(losses):
    n = losses.numel()
    return ((losses - losses.mean()).square().sum() / (n - 1) / n).sqrt()


@wrong(check_standard_error, "single losses")
def standard_error_is_a_deviation(losses):
    return losses.std().item()


@wrong(check_standard_error, "divide by the root of N")
def standard_error_divided_by_n(losses):
    return losses.std().item() / len(losses)


@wrong(check_standard_error, "N - 1")
def standard_error_biased(losses):
    return losses.std(correction=0).item() / len(losses) ** 0.5


@wrong(check_standard_error, "variance", "root")
def standard_error_from_the_variance(losses):
    return losses.var().item() / len(losses) ** 0.5


@wrong(check_standard_error, "square of the standard error")
def standard_error_squared(losses):
    return losses.var() / len(losses)


@wrong(check_standard_error, "mean of the losses")
def standard_error_is_a_mean(losses):
    return losses.mean()


@wrong(check_standard_error, "N - 1 once more")
def standard_error_biased_twice(losses):
    return losses.std(correction=0).item() / (len(losses) - 1)


# Found by answers of others

@wrong(check_perplexity, "rounded")
def perplexity_rounded(loss):
    return round(math.exp(loss), 2)


@wrong(check_cross_entropy, "absolute value")
def cross_entropy_minus_the_largest_absolute_value(logits, targets):
    logits = logits - logits.abs().max(dim=1, keepdim=True).values
    return (logits.exp().sum(1).log() - logits[range(len(targets)), targets]).mean()


@wrong(check_cross_entropy, "row's mean")
def cross_entropy_minus_the_mean(logits, targets):
    logits = logits - logits.mean(dim=1, keepdim=True)
    return (logits.exp().sum(1).log() - logits[range(len(targets)), targets]).mean()


@right(check_loader_loss)
def loader_loss_where_only_the_last_is_smaller(batches, batch_loss):
    losses, sizes = [batch_loss(x, y).item() for x, y in batches], [y.numel() for _, y in batches]
    return math.fsum(a * b for a, b in zip(losses, sizes, strict=True)) / sum(sizes)


@wrong(check_loader_loss, "as large as the first")
def loader_loss_as_if_all_were_like_the_first(batches, batch_loss):
    return sum(batch_loss(x, y).item() * len(y) for x, y in batches) / (len(batches) * len(batches[0][0]))


@wrong(check_loader_loss, "exchanged")
def loader_loss_exchanged(batches, batch_loss):
    return sum(batch_loss(y, x).item() * y.numel() for x, y in batches) / sum(y.numel() for _, y in batches)


@wrong(check_untrained_loss, "inside the logarithm")
def untrained_loss_inside(vocab_size, emb_dim, weight_std):
    return math.log(vocab_size + emb_dim * weight_std**2 / 2)


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


@wrong(check_bigram_loss, "wrong way round")
def bigram_loss_looks_up_backwards(ids, train_ids, vocab_size, trust):
    _, pairs, firsts = bigram_parts(train_ids)
    return -fmean(math.log(trust * pairs[b, a] / firsts[a] + (1 - trust) / vocab_size if firsts[a] else 1 / vocab_size)
                  for a, b in pairwise(ids.tolist()))
