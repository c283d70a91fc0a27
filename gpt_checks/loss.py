"""The exercises of lesson 02 as data: the loss."""
import math
import sys
from itertools import pairwise
from statistics import fmean

import torch
import torch.nn.functional as F

from gpt_checks.core import want_that
from gpt_checks.spec import exchange, spec


# 2.1
def perplexity(loss, *, f=math.exp):
    return f(loss)


check_perplexity = spec(
    "2.1", "perplexity", see=("02", "Why logarithms?"), right=perplexity, rtol=1e-6, name="the perplexity",
    doc="perplexity(loss): how many equally likely tokens a loss in nats stands for.",
    cases=lambda draw: [(None, (draw.uniform(2, 6),)), (None, (draw.uniform(0.1, 1),)), (None, (0.0,))],
    mistakes=exchange("f", {
        "the loss is in nats, so perplexity is a power of e; a power of 2 goes with bits": lambda x: 2**x,
        "the loss is in nats, so perplexity is a power of e, and not of 10": lambda x: 10**x,
        "e is raised to minus the loss, which gives a probability; the minus is already inside the loss": lambda x: math.exp(-x),
        "the loss came back as it was; perplexity is e to its power": lambda x: x,
        "that is the logarithm of the loss; perplexity undoes a logarithm, with math.exp": math.log,
        "the loss was raised to the power of e; it is e that is raised to the power of the loss": lambda x: x**math.e,
        "e times the loss is not e to the power of the loss": lambda x: math.e * x,
        "one too little: math.expm1 is e**x - 1, math.exp is what is needed": math.expm1,
        "2.718 is not quite e: math.exp(loss), or math.e": lambda x: 2.718**x,
        "that is the loss in bits; perplexity is e to the power of the loss in nats": lambda x: x / math.log(2),
        "the change to bits goes the wrong way: 2**(loss / math.log(2)), or at once math.exp(loss)":
            lambda x: 2 ** (x * math.log(2)),
        "that is a logarithm, to base 2; perplexity undoes a logarithm, with math.exp": math.log2,
        "the loss became bits, and e was raised to their power; bits go with 2**bits, nats with math.exp(loss)":
            lambda x: math.exp(x / math.log(2)),
        "one over the loss is no perplexity; it is e to the power of the loss": lambda x: 1 / x,
    }))


# 2.2
def cross_entropy(x, y, *, logp=lambda x: x.log_softmax(1), pick=lambda logp, y: logp[torch.arange(len(y)), y],
                  end=lambda losses, v: losses.mean()):
    return end(-pick(logp(x), y), x.shape[1])


def logits_and_targets(draw):
    """(N, V) logits and (N,) targets, and the same far away from 0 in several ways."""
    n, v = draw.randint(4, 6), draw.randint(8, 12)
    x, y, rows = 2 * draw.normal(n, v), draw.ids(n, vocab_size=v), torch.arange(n)
    y[:2] = torch.tensor(draw.sample(range(n), 2))                            # ids that are also numbers of rows
    yield None, (x, y)
    yield "all logits near -60", (x - 60, y)
    certain, impossible = x - 40, x.clone()
    certain[rows, y] += 110
    impossible[rows, y] -= 1e4
    yield "one logit far above the others", (certain, y)
    yield "all logits near -10,000", (x - 1e4, y)
    yield "logits of 10,000", (x + 1e4 * (rows % 2 * 2 - 1)[:, None], y)      # rows far above and far below 0
    yield "a target with a logit of -10,000", (impossible, y)
    yield "more rows than tokens", (2 * draw.normal(v, n), draw.ids(v, vocab_size=n))


def shifted(shift):
    """log_softmax written out, with a number subtracted before exp."""
    return lambda x: (x - shift(x)) - (x - shift(x)).exp().sum(1, True).log()


def row_max(x):
    return x.max(1, True).values


INFINITE = ("exp of a large number is infinite, and of a very negative one 0; subtract each row's maximum first, which changes "
            "no probability")
ONE_MAXIMUM = ("one maximum is subtracted from all rows, so that exp of a low row is 0; subtract each row's own: "
               "max(dim=1, keepdim=True)")
OVER_ROWS = "runs over all rows at once; each row is a distribution of its own over the V tokens: dim=1 (or -1)"
check_cross_entropy = spec(
    "2.2", "cross-entropy from logits", see=("02", "From logits to a loss"), right=cross_entropy, cases=logits_and_targets,
    rtol=1e-3, atol=1e-3, name="the loss",
    scales=lambda x, y: {"the number of rows N": len(x), "the number of tokens V": x.shape[1]},
    doc="cross_entropy(logits, targets): the mean of -ln p(target) over N rows, also for logits of 10,000.",
    mistakes=exchange("logp", {
        "softmax runs over dim 0, the rows; each row is a distribution of its own over the V tokens: dim=1 (or -1)":
            [lambda x: x.log_softmax(0), lambda x: (x - row_max(x)) - (x - row_max(x)).exp().sum(0, True).log()],
        "softmax " + OVER_ROWS: lambda x: x.flatten().log_softmax(0).view(x.shape),
        "the sum of exp " + OVER_ROWS: lambda x: (x - row_max(x)) - (x - row_max(x)).exp().sum().log(),
        "sigmoid takes each logit alone; the tokens share one probability of 1, so it is softmax over the row":
            lambda x: x.sigmoid().log(),
        "the logits themselves were averaged; they are no probabilities before a softmax": lambda x: x,
        "the logits were taken for probabilities: the logarithm comes after a softmax": lambda x: x.log(),
        "reshape is no transpose, it mixes the logits of several rows; .T exchanges rows and columns":
            lambda x: x.reshape(x.shape[1], len(x)).log_softmax(0).T,
        "the sum of exp takes N logits of a row, as many as rows; take all V": lambda x: x - x[:, :len(x)].logsumexp(1, True),
        "the logits were normalised by their sum; softmax takes exp first": lambda x: (x / x.sum(1, True)).log(),
        "softmax was taken twice (F.cross_entropy and log_softmax want logits, not probabilities)":
            lambda x: x.softmax(1).log_softmax(1),
        "softmax makes the row's maximum 0 by subtracting it, but the sum of exp was taken without that":
            lambda x: (x - row_max(x)) - x.exp().sum(1, True).log(),
        "the maximum is subtracted inside the logarithm and not added back, or the other way round":
            lambda x: x - (x - row_max(x)).exp().sum(1, True).log(),
        "each column's maximum is subtracted, which changes the probabilities; subtract each row's: max(dim=1, keepdim=True)":
            [lambda x: (x - x.max(0).values).log_softmax(1), shifted(lambda x: x.max(0).values)],
        "the largest absolute value is subtracted; it is the maximum that makes the largest exp 1, also where all logits are "
        "negative":
            shifted(lambda x: x.abs().max(1, True).values),
        "the row's mean is subtracted, and exp of what is far above it is still infinite; subtract the row's maximum":
            shifted(lambda x: x.mean(1, True)),
        "the mean of exp was taken over a row; a probability is a share of its sum":
            lambda x: x.log_softmax(1) + math.log(x.shape[1]),
        "the logarithm of the sum of exp is to base 2 or 10; nats take the natural one": [
            lambda x, log=log: (x - row_max(x)) - log((x - row_max(x)).exp().sum(1, True)) for log in (torch.log2, torch.log10)],
        "the logits are divided by their maximum, which changes the probabilities; subtract it": [
            lambda x, most=most: (x / most(x)).log_softmax(1) for most in (lambda x: row_max(x.abs()), row_max)],
        "the target's own logit is forgotten: the loss is the logarithm of the sum of exp, minus that logit":
            lambda x: -x.logsumexp(1, True).expand(x.shape),
        "the target's probability underflows to 0, and the logarithm of 0 is infinite; "
        "stay with logarithms: ln p = x - logsumexp(x)":
            lambda x: x.softmax(1).log(),
    }) | {
        INFINITE: [{"logp": lambda x: (x.exp() / x.exp().sum(1, True)).log()}, {"logp": shifted(lambda x: 0 * x)}],
        "a probability underflows to 0, its logarithm is -infinity, and 0 times that is nan; "
        "stay with logarithms: ln p = x - logsumexp(x)":
            {"logp": lambda x: x.softmax(1).log(), "pick": lambda logp, y: (F.one_hot(y, logp.shape[1]) * logp).sum(1)},
        ONE_MAXIMUM: [{"logp": shifted(lambda x: x.max())},
                      {"logp": lambda x: ((x - x.max()).exp() / (x - x.max()).exp().sum(1, True)).log()}],
        "a small number inside the logarithm makes the loss finite, and wrong; stay with logarithms: ln p = x - logsumexp(x)":
            [{"logp": lambda x, eps=10.0**-k, to=to: to(x.softmax(1), eps).log()} for k in range(4, 41)
             for to in (torch.add, torch.clamp)],
        "the logits are clamped, which changes the loss where they are large; subtract each row's maximum":
            [{"logp": lambda x, to=to, most=most: to(x, most)} for most in (50, 20, 10, 30, 40, 60, 80, 88, 100, 500, 700, 1000)
             for to in (lambda x, most: x.clamp(-most, most).log_softmax(1),
                        lambda x, most: x - x.clamp(-most, most).logsumexp(1, True),
                        lambda x, most: x.clamp(max=most) - x.clamp(max=most).exp().sum(1, True).log())],
        "logp[:, targets] takes every target in every row, (N, N) numbers; row i has one target: logp[torch.arange(N), targets]":
            {"pick": lambda logp, y: logp[:, y]},
        "the mean runs over all V tokens of a row; only the target's -ln p counts": {"pick": lambda logp, y: logp},
        "the sum over all N·V places was taken; only the target of each row counts, and their mean":
            {"pick": lambda logp, y: logp.sum()},
        "the most likely token of each row was scored; it is the target that counts, likely or not":
            {"pick": lambda logp, y: logp.max(1).values},
        "row i was scored with the target of row i + 1; the targets are shifted already":
            {"pick": lambda logp, y: logp[torch.arange(len(y) - 1), y[1:]]},
    } | exchange("end", {
        "the logarithm of the mean probability came back; take the logarithm of each first, then the mean":
            lambda losses, v: -losses.neg().exp().mean().log(),
        "that is the mean probability with a minus; the logarithm is missing": lambda losses, v: -losses.neg().exp().mean(),
        "that is the mean probability of the targets; the logarithm and the minus are missing": lambda x, v: x.neg().exp().mean(),
        "the minus is missing: the logarithm of a probability is negative, and a loss is not": lambda losses, v: -losses.mean(),
        "the losses of the rows are added up; the loss is their mean": lambda losses, v: losses.sum(),
        "the sum is divided by the number of tokens V; the mean is over the N rows": lambda losses, v: losses.sum() / v,
        "the sum is divided by N·V; the mean is over the N rows": lambda losses, v: losses.mean() / v,
        "the logarithm is to base 2, which gives bits; a loss in nats takes the natural one": lambda x, v: x.mean() / math.log(2),
        "the logarithm is to base 10; a loss in nats takes the natural one": lambda losses, v: losses.mean() / math.log(10),
        "a loss for each row came back; the loss is their mean, a single number": lambda losses, v: losses,
        "the perplexity came back: leave out the last exp": lambda losses, v: losses.mean().exp(),
        "the rows' perplexities were averaged; average their losses": lambda losses, v: losses.exp().mean(),
        "only the first V rows count; the mean is over all N": lambda losses, v: losses[:v].mean(),
    }))


# 2.3
def by_tokens(means, sizes, t):
    return sum(mean * b for mean, b in zip(means, sizes, strict=True)) / sum(sizes)


def loader_loss(batches, batch_loss, *, means=lambda batches, f: [f(x, y).item() for x, y in batches], combine=by_tokens):
    return combine(means(batches, batch_loss), [len(x) for x, _ in batches], batches[0][0].shape[1])


def batches_of_unequal_size(draw):
    """Batches of (B, T) inputs and targets, and a loss of one batch that is attached to its graph."""
    t, v = draw.randint(3, 5), 11
    weight = draw.normal(v, v).requires_grad_()

    def batch_loss(inputs, targets):
        """Mean cross-entropy of one batch under a table of logits."""
        return F.cross_entropy(weight[inputs].flatten(0, 1), targets.flatten())

    for batches in unequal(draw, lambda b: (draw.ids(b, t, vocab_size=v), draw.ids(b, t, vocab_size=v)), batch_loss):
        yield None, (batches, batch_loss)


def unequal(draw, batch_of, batch_loss):
    """Lists of batches of unequal size, such that no mean of them is another one; batch_of(size) draws a batch."""
    first, second = draw.choice([(3, 7), (3, 8), (6, 8), (6, 9), (4, 9)])      # no mean size is the size of a batch
    for i, sizes in enumerate(([first, second, 1], [5, 5, 2], [2, 2], [draw.randint(2, 4)])):
        batches = sorted(map(batch_of, sizes), key=lambda batch: -batch_loss(*batch).item())
        if i == 0:                                                             # the largest loss goes to the middle, or first
            batches.insert(1, batches.pop(0))
        yield batches


def without_graph(got):
    want_that(not isinstance(got, torch.Tensor) or not got.requires_grad,
              "the number is right, and still holds on to the graph of every batch, so that memory grows with the loader: "
              "take .item() of each batch's loss")


def half_and_half(values):
    """A running (old + new) / 2."""
    old = values[0]
    for new in values[1:]:
        old = (old + new) / 2
    return old


COMBINED = {       # what is wrong in words: (means, numbers of windows, T) -> the loss
    "that is the mean of the batches' means, in which a token of a small batch counts for more; weigh each batch by its "
    "number of tokens": lambda means, sizes, t: sum(means) / len(means),
    "the batches' means are added up; weigh each by its tokens, and divide by all tokens": lambda means, sizes, t: sum(means),
    "the losses are added up over all tokens; divide by their number": lambda m, s, t: by_tokens(m, s, t) * sum(s) * t,
    "the weighted sum is divided by the number of batches; divide by the number of tokens":
        lambda m, sizes, t: by_tokens(m, sizes, t) * sum(sizes) * t / len(sizes),
    "the weights are numbers of rows, but the sum is divided by the number of batches; divide by the number of rows":
        lambda m, sizes, t: by_tokens(m, sizes, t) * sum(sizes) / len(sizes),
    "the weights are numbers of rows, but the sum is divided by the number of tokens": lambda m, s, t: by_tokens(m, s, t) / t,
    "the weights are numbers of tokens, but the sum is divided by the number of rows": lambda m, s, t: by_tokens(m, s, t) * t,
    "the sum of means is divided by the number of tokens; weigh each mean by its tokens first":
        lambda m, s, t: sum(m) / sum(s) / t,
    "inputs and targets are both counted as tokens; only the targets have a loss": lambda m, s, t: by_tokens(m, s, t) / 2,
    "the sum is overwritten, so that only the last batch is in it: total += and not total =":
        lambda m, s, t: m[-1] * s[-1] / sum(s),
    "the number of tokens is overwritten, and is that of the last batch: tokens += and not tokens =":
        lambda m, sizes, t: by_tokens(m, sizes, t) * sum(sizes) / sizes[-1],
    "that is the perplexity; the loss is its logarithm": lambda m, sizes, t: math.exp(by_tokens(m, sizes, t)),
    "the last batch is left out; it counts too, even when it is not full":
        lambda m, sizes, t: by_tokens(m[:-1], sizes[:-1], t) if m[1:] else 0.0,
    "only the first batch was scored: is `return` inside the loop?": lambda means, sizes, t: means[0],
    "only the last batch came back: add up, and do not overwrite": lambda means, sizes, t: means[-1],
    "the last batch is left out, and the others' means are averaged; weigh all batches by their tokens":
        lambda means, sizes, t: sum(means[:-1]) / max(1, len(means) - 1),
    "the sum is divided as if every batch were as large as the first; divide by the tokens there are":
        lambda m, sizes, t: by_tokens(m, sizes, t) * sum(sizes) / (len(sizes) * sizes[0]),
    "the sum is divided as if every batch were as large as the last; divide by the tokens there are":
        lambda m, sizes, t: by_tokens(m, sizes, t) * sum(sizes) / (len(sizes) * sizes[-1]),
    "every batch is weighed like the first; weigh each by its own number of tokens": lambda m, s, t: sum(m) * s[0] / sum(s),
    "each new loss is averaged with all before it, half and half; weigh every batch by its tokens":
        lambda m, s, t: half_and_half(m),
    "each new loss is averaged with all before it, half and half, from 0 on; weigh every batch by its tokens":
        lambda means, sizes, t: half_and_half([0.0, *means]),
    "each batch is weighed by the square of its tokens; weigh it by its tokens, once":
        lambda m, sizes, t: by_tokens(m, [b * b for b in sizes], t),
    "that is the median batch; every token counts the same": lambda means, sizes, t: sorted(means)[len(means) // 2],
    "that is the largest of the batches' losses; every token counts the same": lambda means, sizes, t: max(means),
}
check_loader_loss = spec(
    "2.3", "the loss of many batches", see=("02", "The loss of many batches"), right=loader_loss, cases=batches_of_unequal_size,
    rtol=3e-6, name="the loss", also=without_graph,
    scales=lambda batches, _: {"the number of batches": len(batches), "the window's length T": batches[0][0].shape[1],
                               "the number of tokens": sum(x.numel() for x, _ in batches)},
    doc="loader_loss(batches, batch_loss): the mean over all tokens of batches of unequal size; a float.",
    mistakes=exchange("combine", COMBINED) | {
        "inputs and targets are exchanged: batch_loss(inputs, targets)": {"means": lambda b, f: [f(y, x).item() for x, y in b]},
        "perplexities were averaged; average the losses":
            [{"means": lambda batches, f: [f(x, y).exp().item() for x, y in batches], "combine": combine}
             for combine in (by_tokens, lambda *args: math.log(by_tokens(*args)))],
    })


# 2.4
def untrained_loss(v, c, std, *, even=lambda v, c: math.log(v), cost=lambda v, c, std: c * std**2 / 2,
                   join=lambda even, cost: even + cost):
    return join(even(v, c), cost(v, c, std))


check_untrained_loss = spec(
    "2.4", "the untrained loss", see=("02", "Predict the untrained loss"), right=untrained_loss, rtol=1e-6, name="the loss",
    doc="untrained_loss(vocab_size, emb_dim, weight_std): ln V + σ²/2 with σ² = C·weight_std².",
    cases=lambda draw: [(None, (draw.randint(100, 900), draw.choice([48, 96, 192]), draw.uniform(0.08, 0.12))),
                        (None, (50257, 768, 0.02))],
    mistakes=exchange("cost", {
        "ln V is the loss of even belief; an untrained model pays σ²/2 more for its random opinions": lambda v, c, std: 0.0,
        "σ² is added whole; the mean of e^l is e^(σ²/2), so half of it": lambda v, c, std: c * std**2,
        "σ²/2 is subtracted; random opinions cost something, so it is added": lambda v, c, std: -c * std**2 / 2,
        "σ is added where σ² belongs": lambda v, c, std: c**0.5 * std / 2,
        "σ is added where σ²/2 belongs": lambda v, c, std: c**0.5 * std,
        "the variance of one weight was used; a logit is a sum of C products, so σ² = C·weight_std²": lambda v, c, s: s**2 / 2,
        "weight_std is a standard deviation: square it for the variance": lambda v, c, std: c * std / 2,
        "the width is squared; variances of C terms add up to C of them": lambda v, c, std: (c * std) ** 2 / 2,
        "a logit is a sum of C products, not their mean: multiply the variance by C": lambda v, c, std: std**2 / c / 2,
        "the standard deviation of a sum of C terms grows with the root of C": lambda v, c, std: c**0.5 * std**2 / 2,
        "that is the variance of PyTorch's default weights, 1/3; use the weight_std that is given": lambda v, c, std: 1 / 6,
        "weight_std * 2 doubles it; weight_std**2 is its square": lambda v, c, std: c * std * 2 / 2,
        "the root of σ²/2 is added; add σ²/2 itself": lambda v, c, std: (c * std**2 / 2) ** 0.5,
        "weight_std is squared twice; the variance is its square": lambda v, c, std: c * std**4 / 2,
        "σ² is divided by 2 twice": lambda v, c, std: c * std**2 / 4,
        "e^(σ²/2) is added; that mean stands inside a logarithm, which leaves σ²/2": lambda v, c, std: math.exp(c * std**2 / 2),
        "0.02 was an example; use the weight_std that is given": lambda v, c, std: c * 0.02**2 / 2,
        "768 was an example; use the emb_dim that is given": lambda v, c, std: 768 * std**2 / 2,
        "the variance is divided by 3; PyTorch's even weights do that, and weight_std is a standard deviation already":
            lambda v, c, std: c * std**2 / 6,
        "the vocabulary and the width are exchanged: a logit is a sum over the width C": lambda v, c, std: v * std**2 / 2,
    }) | exchange("even", {
        "the logarithm of V is to base 2; nats take the natural one": lambda v, c: math.log2(v),
        "the logarithm of V is to base 10; nats take the natural one": lambda v, c: math.log10(v),
        "only the extra cost σ²/2 came back; even belief costs ln V": lambda v, c: 0.0,
        "V itself was taken where ln V belongs": lambda v, c: v,
        "the logarithm was taken of the width; it belongs to the vocabulary": lambda v, c: math.log(c),
        "50,257 was an example; use the vocab_size that is given": lambda v, c: math.log(50257),
    }) | {
        "σ²/2 stands inside the logarithm; it is added to ln V": {"join": lambda even, cost: math.log(math.exp(even) + cost)},
        "that is the perplexity; the loss is its logarithm": {"join": lambda even, cost: math.exp(even + cost)},
        "ln V is halved, too; only σ² is, so mind the brackets": {"join": lambda even, cost: even / 2 + cost},
    })


# 2.5
def bigram(ids, train, v, trust, *, given=lambda *args: args, end=lambda probs, v: -sum(map(math.log, probs)) / len(probs),
           probs=None, **exchanged):
    ids, train, v, trust = given(ids, train, v, trust)
    return end((probs or bigram_probs)(ids.tolist(), train.tolist(), v, trust, **exchanged), v)


def bigram_probs(ids, train, v, trust, *, pairs_of=lambda row: list(pairwise(row)), firsts_of=lambda train, pairs: train[:-1],
                 denominator=lambda a, b, firsts, pairs: firsts.count(a), even=lambda v, trust: 1 / v,
                 unseen=lambda v, trust: 1 / v, look_up=lambda a, b: (a, b), new_pair=lambda p, v: p, skip=False, drop=False,
                 mix=None):
    """The probabilities of ids[1:]; every keyword is a step that a mistake exchanges. unseen None: nothing special."""
    pairs = pairs_of(train)
    firsts, probs = firsts_of(train, pairs), []
    for a, b in pairwise(ids):
        times, count = denominator(a, b, firsts, pairs), pairs.count(look_up(a, b))
        if (times == 0 and skip) or (count == 0 and drop):
            continue
        p = mix(count, times, v, trust) if mix else trust * count / max(times, 1) + (1 - trust) * even(v, trust)
        p = unseen(v, trust) if times == 0 and unseen else new_pair(p, v) if count == 0 else p
        probs.append(p)
    return probs


def alone(b, train, v):
    """The lesson's probability of b, whatever stands before it."""
    kinds = len(set(train))
    return (train.count(b) + kinds / v) / (len(train) + kinds)


def witten_bell(ids, train, v, trust, *, alone=alone):
    """The lesson's probabilities of ids[1:]."""
    probs = []
    for a, b in pairwise(ids):
        after = [second for first, second in pairwise(train) if first == a]
        kinds = len(set(after))
        probs.append((after.count(b) + kinds * alone(b, train, v)) / (len(after) + kinds) if after else alone(b, train, v))
    return probs


def two_rows(draw):
    """A text to score and a training text, with tokens that training has only at its end, or not at all; and one without."""
    for strange in (True, False):
        v, trust = draw.randint(7, 9), draw.uniform(0.6, 0.75)
        train, ids = draw.ids(60, vocab_size=v - 2), draw.ids(25, vocab_size=v)
        train[-2], train[-1], ids[4], ids[5] = v - 3, v - 2, v - 3, 0      # v - 2 stands only at the end of train, v - 1 nowhere
        ids[9], ids[10], ids[12], ids[13] = v - 2, 1, v - 1, 1
        ids[14], ids[15] = train[7], train[8]
        yield None, (ids if strange else train[draw.sample(range(58), 20)], train, v, trust)


def once(row):
    """Every different pair, once."""
    return sorted(set(pairwise(row)))


UNSEEN = "after a token that training has never seen followed, all belief goes to the even part: p = 1/V, not (1 - trust)/V"
TENSOR_KEYS = "tensors as keys are never equal, take ids.tolist()"
check_bigram_loss = spec(
    "2.5", "the bigram baseline", see=("02", "What counting achieves"), right=bigram, cases=two_rows, rtol=1e-5, name="the loss",
    scales=lambda ids, train, v, trust: {"the number of tokens N": len(ids), "the vocabulary's size V": v},
    doc="bigram_loss(ids, train_ids, vocab_size, trust): p(b | a) = trust · count(a, b) / count(a) + (1 - trust) / V.",
    mistakes={
        "count(a) includes the last training token, which nothing follows; count only where a token is followed, "
        "in train_ids[:-1]": {"firsts_of": lambda train, pairs: train},
        "count(b), of the token that follows, is in the denominator; it is count(a), of the token before": [
            {"firsts_of": lambda train, pairs: train[1:], "denominator": lambda a, b, firsts, pairs: firsts.count(b)},
            {"denominator": lambda a, b, firsts, pairs: max(1, sum(second == b for _, second in pairs)) if a in firsts else 0},
            {"denominator": lambda a, b, firsts, pairs: firsts.count(b)}],
        UNSEEN: {"unseen": None},
        "after a token that training has never seen followed, p is 1/V": {"unseen": lambda v, k: k + (1 - k) / v},
        "count(a, b) is divided by the number of all pairs, or tokens, which is p(a and b); divide by count(a)": [
            {"denominator": lambda a, b, firsts, pairs, more=more, all_=all_: len(pairs) + more if all_ or a in firsts else 0}
            for all_ in (False, True) for more in (0, 1)],
        "1 - trust is given to each token whole; the even part shares it among V tokens": {"even": lambda v, k: 1.0},
        "the even part is 1/V for each token, times 1 - trust": {"even": lambda v, k: 1 / (v * (1 - k))},
        "the pair is looked up the wrong way round: count(a, b) is how often b follows a": {"look_up": lambda a, b: (b, a)},
        "a pair that occurs several times is counted once: counts[a, b] += 1 with lists of places adds 1 to each place only once":
            {"pairs_of": once},
        "each pair is counted once, and count(a) is the number of different followers; count every time":
            {"pairs_of": once, "firsts_of": lambda train, pairs: [a for a, _ in pairs]},
        "a pair that was never seen gets 1/V; that is for a token never followed; a new pair has the share 0, plus (1 - trust)/V":
            {"new_pair": lambda p, v: 1 / v},
        "p is 1/V only after a token that training has never seen followed; such tokens were left out of the mean":
            {"skip": True},
        "the counts were taken from the text that is scored; count in train_ids": {"given": lambda i, t, v, k: (i, i, v, k)},
        "text and training text are exchanged: score ids, count in train_ids": {"given": lambda i, t, v, k: (t, i, v, k)},
        "the training text was scored; score ids": {"given": lambda i, t, v, k: (t, t, v, k)},
        "the pairs are the wrong way round: b follows a": {"given": lambda i, t, v, k: (i, t.flip(0), v, k)},
        "the shares of both parts are exchanged: trust goes with the counts, 1 - trust with 1/V":
            {"given": lambda i, t, v, k: (i, t, v, 1 - k)},
        "1/V and the counts are taken over the tokens that occur; V is the vocabulary's size":
            {"given": lambda i, t, v, k: (i, t, len(t.unique()), k)},
        "pairs that training has never seen were left out of the mean; they have a loss, too": {"drop": True},
        "tokens are paired with the one but next": {"given": lambda i, t, v, k: (i[::2], t, v, k)},
        "only every second training pair is counted; pairs overlap":
            {"pairs_of": lambda row: list(pairwise(row))[::2], "firsts_of": lambda train, pairs: [a for a, _ in pairs]},
        "1 is added to every count; a pair that never occurred has the count 0, and all that it gets is (1 - trust)/V": [
            {"mix": lambda count, times, v, trust: (count + 1) / (times + v), "unseen": None},
            {"mix": lambda count, times, v, trust: trust * (count + 1) / (times + v) + (1 - trust) / v, "unseen": None}],
        "after a token that training has never seen followed, count(a) is 0, and 0/0 is nan; p is 1/V there":
            {"mix": lambda count, times, v, k: k * (count / times if times else math.nan) + (1 - k) / v, "unseen": None},
        "that is the lesson's mix, of Witten and Bell; the exercise asks for a simpler one, with trust and 1/V":
            [{"probs": witten_bell}, {"probs": lambda *args: witten_bell(*args, alone=lambda b, train, v: 1 / v)}],
    } | {f"trust is {fixed} whatever is given; use the trust that is given":
         {"given": lambda i, t, v, k, fixed=fixed: (i, t, v, fixed)} for fixed in (0.9, 0.5, 0.8, 0.7, 0.99, 0.95)
    } | exchange("end", {
        "the sum is divided by N; the first token is not predicted, so there are N - 1":
            lambda probs, v: -sum(map(math.log, probs)) / (len(probs) + 1),
        "the first token is scored too, with 1/V; it has nothing before it, and nobody is asked to predict it":
            lambda probs, v: -sum(map(math.log, [1 / v, *probs])) / (len(probs) + 1),
        "the losses are added up; the loss is their mean": lambda probs, v: -sum(map(math.log, probs)),
        "the minus is missing": lambda probs, v: sum(map(math.log, probs)) / len(probs),
        "the logarithm is to base 2; nats take the natural one": lambda probs, v: -sum(map(math.log2, probs)) / len(probs),
        "the logarithm is to base 10; nats take the natural one": lambda probs, v: -sum(map(math.log10, probs)) / len(probs),
        "that is the perplexity; the loss is its logarithm": lambda probs, v: math.exp(-sum(map(math.log, probs)) / len(probs)),
        "the logarithm of the mean probability came back; take the logarithm of each, then the mean":
            lambda p, v: -math.log(fmean(p)),
        "perplexities, 1/p, were averaged; average the losses, -ln p": lambda probs, v: sum(1 / p for p in probs) / len(probs),
        "that is minus the mean probability; the logarithm is missing": lambda probs, v: -sum(probs) / len(probs),
        "that is the mean probability; minus its logarithm is missing": lambda probs, v: sum(probs) / len(probs),
        "only every second pair is scored; every token but the first is": lambda probs, v: -fmean(map(math.log, probs[::2])),
        f"no count was ever found, so that every p is 1/V: {TENSOR_KEYS}": lambda probs, v: math.log(v),
    }) | {
        f"no count was ever found, so that every p is (1 - trust)/V: {TENSOR_KEYS}":
            {"look_up": lambda a, b: None, "unseen": None},
        "that is the unigram: the counts of b alone, whatever stands before it":
            {"pairs_of": lambda row: [(b, b) for b in row], "look_up": lambda a, b: (b, b), "unseen": None,
             "denominator": lambda a, b, firsts, pairs: len(pairs)},
    })


# 2.6
def standard_error(x, *, change=lambda x: x, spread=lambda x: x.std(), error=lambda s, n: s / n**0.5):
    return error(spread(change(x)), len(x)).item()


check_standard_error = spec(
    "2.6", "the standard error", see=("02", "How far to trust it"), right=standard_error, name="the standard error",
    doc="standard_error(losses): the sample standard deviation of (N,) losses over the root of N; a float.",
    scales=lambda x: {"the number of losses N": len(x)},
    cases=lambda draw: [(None, ((3 + draw.uniform(1, 2) * draw.normal(n)).abs(),))
                        for n in (draw.randint(5, 9), draw.randint(20, 30), 2)],
    mistakes=exchange("error", {
        "that is the standard deviation of single losses; the mean of N of them is surer by the root of N": lambda s, n: s,
        "the standard deviation is divided by N; divide by the root of N": lambda s, n: s / n,
        "that is the variance; the standard deviation is its root": lambda s, n: s**2,
        "the variance is divided by the root of N; take its root first": lambda s, n: s**2 / n**0.5,
        "that is the square of the standard error: take the root": lambda s, n: s**2 / n,
        "the root of N - 1 was taken twice: the sample's standard deviation over the root of N": lambda s, n: s / (n - 1) ** 0.5,
        "the standard deviation is multiplied by the root of N; divide": lambda s, n: s * n**0.5,
        "that is twice the standard error": lambda s, n: 2 * s / n**0.5,
        "the standard deviation is divided by N - 1; divide by the root of N": lambda s, n: s / (n - 1),
        "there is a root too many: the standard deviation is a root already":
            [lambda s, n: s**0.5 / n**0.5, lambda s, n: (s / n**0.5) ** 0.5],
        "n ** 1 / 2 is half of n, since ** goes before /; the root is n ** 0.5": lambda s, n: s / n**1 / 2,
        "1.96 standard errors are half a 95 % interval; one is asked": lambda s, n: 1.96 * s / n**0.5,
    }) | exchange("spread", {
        "the standard deviation divides by N (a biased variance); a sample's divides by N - 1, as .std() does":
            lambda x: x.std(correction=0),
        "the mean distance from the mean is not the standard deviation; square, average, take the root":
            [lambda x: (x - x.mean()).abs().mean(), lambda x: (x - x.mean()).abs().sum() / (len(x) - 1)],
        "the squares are divided by N + 1; a sample's variance divides by N - 1":
            lambda x: ((x - x.mean()).square().sum() / (len(x) + 1)).sqrt(),
        "the largest loss minus the smallest is their range; the standard deviation takes all losses":
            lambda x: x.max() - x.min(),
        "the mean of the losses stands where their variance belongs": lambda x: x.mean().sqrt(),
        "the losses are added up where their standard deviation belongs": lambda x: x.sum(),
        "the mean was not subtracted before squaring": lambda x: (x.square().sum() / (len(x) - 1)).sqrt(),
        "that is the mean over the root of N; how far single losses lie apart is what counts: their standard deviation":
            lambda x: x.mean(),
    }) | {
        "that is the mean of the losses; how far it can be trusted is asked":
            {"spread": lambda x: x.mean(), "error": lambda s, n: s},
        "the standard deviation that divides by N is divided by N - 1 once more; the sample's, over the root of N":
            {"spread": lambda x: x.std(correction=0), "error": lambda s, n: s / (n - 1)},
        "the logarithm of the losses was taken; they are logarithms already": {"change": lambda x: x.log()},
        "the losses are turned into perplexities first; the standard error of the losses is asked": {"change": lambda x: x.exp()},
    })


# 2.7
LN_2 = math.log(2)


def bits_per_byte(losses, text, *, total=sum, unit=LN_2, size=lambda losses, text: len(text.encode())):
    return total(losses) / unit / size(losses, text)


def texts_with_losses(draw):
    """Losses in nats, one for each token of a text in which some characters take several bytes."""
    words = ["Évariste", "naïve", "mañana", "Straße", "—", "tide"]
    for _ in range(3):
        losses = [draw.uniform(0.5, 9) for _ in range(draw.randint(3, 8))]
        yield None, (losses, " ".join(draw.choices(words, k=draw.randint(9, 12))) + "\nÉtale\n")


check_bits_per_byte = spec(
    "2.7", "bits per byte", see=("02", "Why logarithms?"), right=bits_per_byte, cases=texts_with_losses, rtol=1e-6,
    name="the number of bits per byte",
    doc="bits_per_byte(losses, text): what a text costs, in bits, over its length in bytes of UTF-8.",
    mistakes=exchange("total", {
        "the mean of the losses was taken; a text costs the sum of its tokens": fmean,
        "the losses became a perplexity; add them up as they are": lambda losses: math.exp(fmean(losses)),
        "the first token is left out; it has a loss, too": lambda losses: sum(losses[1:]),
        "the last token is left out; it has a loss, too": lambda losses: sum(losses[:-1]),
        "only the last loss counts: total = … for total += …": lambda losses: losses[-1],
        "there is a minus too many: a loss is a cost already": lambda losses: -sum(losses),
    }) | exchange("unit", {
        "the losses are still in nats; divide by ln 2 for bits": 1.0,
        "nats become bits when they are divided by ln 2, and here they were multiplied": 1 / math.log(2),
        "divided by 2 in place of ln 2": 2.0,
        "that is the logarithm to base 10; for bits divide by ln 2": math.log(10),
        "math.log10(2) is to base 10; ln 2 is math.log(2)": math.log10(2),
    }) | exchange("size", {
        "divided by the number of characters; an é is one character and two bytes: len(text.encode())": lambda _, text: len(text),
        "divided by the number of tokens, which differs between tokenizers; bytes do not": lambda losses, text: len(losses),
        "divided by the number of words; divide by the bytes": lambda losses, text: len(text.split()),
        "divided by the number of bits of the text; divide by its bytes": lambda losses, text: 8 * len(text.encode()),
        "the bytes are those of UTF-16; take UTF-8, which .encode() gives": lambda losses, text: len(text.encode("utf-16")),
        "it is not divided by anything: that is the whole text": lambda losses, text: 1,
        "divided by 8 bits for each character; divide by the bytes: len(text.encode())": lambda losses, text: 8 * len(text),
        "every character beyond ASCII is taken for two bytes; some take three: len(text.encode())":
            lambda losses, text: sum(1 if ord(c) < 128 else 2 for c in text),
        "what is not ASCII is left out; it belongs to the text, in two bytes or more":
            lambda _, text: sum(map(str.isascii, text)),
        "spaces or ends of lines are left out; they are bytes of the text as any other": [
            lambda losses, text: len(text.replace("\n", "").encode()), lambda losses, text: len("".join(text.split()).encode()),
            lambda losses, text: len(text.replace(" ", "").encode()), lambda losses, text: len(text.strip().encode())],
        "sys.getsizeof is what Python takes in memory; the bytes of the text are len(text.encode())":
            [lambda losses, text: sys.getsizeof(text), lambda losses, text: sys.getsizeof(text.encode())],
    }) | {
        "the losses' logarithm was taken; a loss is a logarithm already, so divide the sum by ln 2":
            [{"total": total, "unit": 1.0} for total in (lambda x: math.log2(sum(x)), lambda x: sum(map(math.log2, x)))],
        "bytes per bit came back; bits stand above, bytes below": {
            "total": lambda losses: 1 / sum(losses), "unit": 1 / LN_2, "size": lambda losses, text: 1 / len(text.encode())},
        "2 was raised to the power of the result, which makes a perplexity; leave that out":
            {"total": lambda losses: 1.0, "unit": 1.0, "size": lambda losses, text: 2 ** -bits_per_byte(losses, text)},
    })
