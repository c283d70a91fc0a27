"""Checks for the exercises of lesson 02: the loss."""
import math
from itertools import pairwise

import torch
import torch.nn.functional as F

from gpt_checks.core import NotYet, compare, exercise, want_that


@exercise("2.1", "perplexity", see=("02", "Why logarithms?"))
def check_perplexity(answer, draw):
    """perplexity(loss): how many equally likely tokens a loss in nats stands for."""
    for loss in (draw.uniform(2, 6), draw.uniform(0.1, 1), 0.0):
        compare(answer, (loss,), math.exp(loss), rtol=1e-6, name="the perplexity", mistakes={
            "the loss is in nats, so perplexity is a power of e; a power of 2 goes with bits": 2**loss,
            "the loss is in nats, so perplexity is a power of e, and not of 10": 10**loss,
            "e is raised to minus the loss, which gives a probability; the minus is already inside the loss": math.exp(-loss),
            "the loss came back as it was; perplexity is e to its power": loss,
            "that is the logarithm of the loss; perplexity undoes a logarithm, with math.exp": lambda x: math.log(x),
            "the loss was raised to the power of e; it is e that is raised to the power of the loss": lambda x: x**math.e,
            "e times the loss is not e to the power of the loss": lambda x: math.e * x,
            "one too little: math.expm1 is e**x - 1, math.exp is what is needed": math.expm1(loss),
            "2.718 is not quite e: math.exp(loss), or math.e": 2.718**loss,
            "that is the loss in bits; perplexity is e to the power of the loss in nats": loss / math.log(2),
            "the change to bits goes the wrong way: 2**(loss / math.log(2)), or at once math.exp(loss)":
                2 ** (loss * math.log(2)),
            "that is a logarithm, to base 2; perplexity undoes a logarithm, with math.exp": lambda x: math.log2(x),
            "one over the loss is no perplexity; it is e to the power of the loss": lambda x: 1 / x,
        })


@exercise("2.2", "cross-entropy from logits", see=("02", "From logits to a loss"))
def check_cross_entropy(answer, draw):
    """cross_entropy(logits, targets): the mean of -ln p(target) over N rows, also for logits of 10,000."""
    n, v = draw.randint(4, 6), draw.randint(8, 12)
    logits, targets, rows = 2 * draw.normal(n, v), draw.ids(n, vocab_size=v), torch.arange(n)
    targets[:2] = torch.tensor(draw.sample(range(n), 2))      # ids that are also numbers of rows
    logp = logits.log_softmax(1)                              # (N, V)
    right = -logp[rows, targets].mean()
    compare(answer, (logits, targets), right, {
        "softmax runs over dim 0, the rows; each row is a distribution of its own over the V tokens: dim=1 (or -1)":
            lambda x, y: -x.softmax(0)[rows, y].log().mean(),
        "softmax runs over all rows at once; each row is a distribution of its own over the V tokens: dim=1 (or -1)":
            lambda x, y: -x.flatten().softmax(0).view(n, v)[rows, y].log().mean(),
        "the sum of exp runs over all rows at once; each row is a distribution of its own over the V tokens: dim=1 (or -1)":
            lambda x, y: ((x - x.max(1, True).values).exp().sum().log() - (x - x.max(1, True).values)[rows, y]).mean(),
        "the logarithm of the mean probability came back; take the logarithm of each first, then the mean":
            lambda x, y: -x.softmax(1)[rows, y].mean().log(),
        "that is the mean probability with a minus; the logarithm is missing": lambda x, y: -x.softmax(1)[rows, y].mean(),
        "that is the mean probability of the targets; the logarithm and the minus are missing":
            lambda x, y: x.softmax(1)[rows, y].mean(),
        "the minus is missing: the logarithm of a probability is negative, and a loss is not": -right,
        "the losses of the rows are added up; the loss is their mean": n * right,
        "the mean runs over all V tokens of a row; only the target's -ln p counts": -logp.mean(),
        "the sum over all N·V places was taken; only the target of each row counts, and their mean": -logp.sum(),
        "the sum is divided by the number of tokens V; the mean is over the N rows": right * n / v,
        "logp[:, targets] takes every target in every row, (N, N) numbers; row i has one target: logp[torch.arange(N), targets]":
            -logp[:, targets].mean(),
        "the sum is divided by N·V; the mean is over the N rows": right / v,
        "the logits themselves were averaged; they are no probabilities before a softmax": lambda x, y: -x[rows, y].mean(),
        "the logits were taken for probabilities: the logarithm comes after a softmax": lambda x, y: -x[rows, y].log().mean(),
        "the logits were normalised by their sum; softmax takes exp first":
            lambda x, y: -(x / x.sum(1, True))[rows, y].log().mean(),
        "softmax was taken twice (F.cross_entropy and log_softmax want logits, not probabilities)":
            lambda x, y: F.cross_entropy(x.softmax(1), y),
        "the most likely token of each row was scored; it is the target that counts, likely or not": -logp.max(1).values.mean(),
        "the logarithm is to base 2, which gives bits; a loss in nats takes the natural one": right / math.log(2),
        "the logarithm is to base 10; a loss in nats takes the natural one": right / math.log(10),
        "a loss for each row came back; the loss is their mean, a single number": -logp[rows, targets],
        "softmax makes the row's maximum 0 by subtracting it, but the sum of exp was taken without that":
            lambda x, y: (x.exp().sum(1).log() - (x - x.max(1, True).values)[rows, y]).mean(),
        "the maximum is subtracted inside the logarithm and not added back, or the other way round":
            lambda x, y: ((x - x.max(1, True).values).exp().sum(1).log() - x[rows, y]).mean(),
        "row i was scored with the target of row i + 1; the targets are shifted already": -logp[rows[:-1], targets[1:]].mean(),
        "the perplexity came back: leave out the last exp": right.exp(),
        "each column's maximum is subtracted, which changes the probabilities; subtract each row's: max(dim=1, keepdim=True)":
            lambda x, y: -(x - x.max(0).values).log_softmax(1)[rows, y].mean(),
    }, scales={"the number of rows N": n, "the number of tokens V": v}, name="the loss")

    infinite = ("exp of a large number is infinite, and of a very negative one 0; subtract each row's maximum first, "
                "which changes no probability")
    far = logits - 60
    compare(answer, (far, targets), F.cross_entropy(far, targets), {
        "the largest absolute value is subtracted; it is the maximum that makes the largest exp 1, also where all logits are "
        "negative": lambda x, y: ((x - x.abs().max(1, True).values).exp().sum(1).log()
                                  - (x - x.abs().max(1, True).values)[rows, y]).mean(),
    }, rtol=1e-3, atol=1e-3, name="the loss", case="all logits near -60")

    far = logits - 40
    far[rows, targets] += 110                                 # targets that are as good as certain
    compare(answer, (far, targets), F.cross_entropy(far, targets), {
        "the row's mean is subtracted, and exp of what is far above it is still infinite; subtract the row's maximum":
            lambda x, y: ((x - x.mean(1, True)).exp().sum(1).log() - (x - x.mean(1, True))[rows, y]).mean(),
    }, rtol=1e-3, atol=1e-3, name="the loss", case="one logit far above the others")

    far = logits + 1e4 * (rows % 2 * 2 - 1)[:, None]          # rows far above and far below 0
    compare(answer, (far, targets), F.cross_entropy(far, targets), {
        infinite: lambda x, y: -(x.exp() / x.exp().sum(1, True))[rows, y].log().mean(),
        infinite + " (or use torch.logsumexp)": lambda x, y: (x.exp().sum(1).log() - x[rows, y]).mean(),
        "one maximum is subtracted from all rows, so that exp of a low row is 0; subtract each row's own: "
        "max(dim=1, keepdim=True)":
            lambda x, y: -((x - x.max()).exp() / (x - x.max()).exp().sum(1, True))[rows, y].log().mean(),
        "one maximum is subtracted from all rows, so that exp of a low row is 0; take each row's own, max(dim=1, keepdim=True)":
            lambda x, y: ((x - x.max()).exp().sum(1).log() - (x - x.max())[rows, y]).mean(),
    }, rtol=1e-3, atol=1e-3, name="the loss", case="logits of 10,000")

    far = logits.clone()
    far[rows, targets] -= 1e4                                 # targets that are as good as impossible
    compare(answer, (far, targets), F.cross_entropy(far, targets), {
        "the target's probability underflows to 0, and the logarithm of 0 is infinite; "
        "stay with logarithms: ln p = x - logsumexp(x)":
            lambda x, y: -x.softmax(1)[rows, y].log().mean(),
    } | {f"{eps:g} inside the logarithm makes the loss finite, and wrong; stay with logarithms: ln p = x - logsumexp(x)":
         lambda x, y, eps=eps: -(x.softmax(1)[rows, y] + eps).log().mean() for eps in (10.0**-k for k in range(4, 41))},
        rtol=1e-3, atol=1e-3, name="the loss", case="a target with a logit of -10,000")


@exercise("2.3", "the loss of many batches", see=("02", "The loss of many batches"))
def check_loader_loss(answer, draw):
    """loader_loss(batches, batch_loss): the mean over all tokens of batches of unequal size; a float."""
    t, v = draw.randint(3, 5), 11
    weight = draw.normal(v, v).requires_grad_()

    def batch_loss(inputs, targets):
        """Mean cross-entropy of one batch under a table of logits, attached to the graph."""
        return F.cross_entropy(weight[inputs].flatten(0, 1), targets.flatten())

    first, second = draw.choice([(3, 7), (3, 8), (6, 8), (6, 9), (4, 9)])      # no mean size is the size of a batch
    for sizes in ([first, second, 1], [5, 5, 2], [2, 2], [draw.randint(2, 4)]):
        batches = [(draw.ids(b, t, vocab_size=v), draw.ids(b, t, vocab_size=v)) for b in sizes]
        means = [batch_loss(x, y).item() for x, y in batches]
        tokens = sum(sizes) * t
        right = sum(mean * b * t for mean, b in zip(means, sizes, strict=True)) / tokens
        got = compare(answer, (batches, batch_loss), right, {
            "that is the mean of the batches' means, in which a token of a small batch counts for more; weigh each batch by its "
            "number of tokens": sum(means) / len(means),
            "the batches' means are added up; weigh each by its tokens, and divide by all tokens": sum(means),
            "the losses are added up over all tokens; divide by their number": right * tokens,
            "the weighted sum is divided by the number of batches; divide by the number of tokens": right * tokens / len(sizes),
            "the weights are numbers of rows, but the sum is divided by the number of tokens": right / t,
            "the weights are numbers of tokens, but the sum is divided by the number of rows": right * t,
            "the sum of means is divided by the number of tokens; weigh each mean by its tokens first": sum(means) / tokens,
            "the last batch is left out; it counts too, even when it is not full":
                sum(m * b for m, b in zip(means[:-1], sizes[:-1], strict=True)) / max(1, sum(sizes[:-1])),
            "only the first batch was scored: is `return` inside the loop?": means[0],
            "only the last batch came back: add up, and do not overwrite": means[-1],
            "the last batch is left out, and the others' means are averaged; weigh all batches by their tokens":
                sum(means[:-1]) / max(1, len(means) - 1),
            "the sum is divided as if every batch were as large as the first; divide by the tokens there are":
                right * sum(sizes) / (len(sizes) * sizes[0]),
            "the sum is divided as if every batch were as large as the last; divide by the tokens there are":
                right * sum(sizes) / (len(sizes) * sizes[-1]),
            "every batch is weighed like the first; weigh each by its own number of tokens": sum(means) * sizes[0] / sum(sizes),
            "inputs and targets are exchanged: batch_loss(inputs, targets)":
                sum(batch_loss(y, x).item() * len(x) for x, y in batches) / sum(sizes),
            "each new loss is averaged with all before it, half and half; weigh every batch by its tokens": half_and_half(means),
            "each new loss is averaged with all before it, half and half, from 0 on; weigh every batch by its tokens":
                half_and_half([0.0, *means]),
            "that is the median batch; every token counts the same": sorted(means)[len(means) // 2],
            "that is the largest of the batches' losses; every token counts the same": max(means),
        }, scales={"the number of batches": len(sizes), "the number of tokens": tokens, "the window's length T": t},
            rtol=3e-6, name="the loss")
        want_that(not isinstance(got, torch.Tensor) or not got.requires_grad,
                  "the number is right, and still holds on to the graph of every batch, so that memory grows with the loader: "
                  "take .item() of each batch's loss")


def half_and_half(values):
    """A running (old + new) / 2."""
    old = values[0]
    for new in values[1:]:
        old = (old + new) / 2
    return old


@exercise("2.4", "the untrained loss", see=("02", "Predict the untrained loss"))
def check_untrained_loss(answer, draw):
    """untrained_loss(vocab_size, emb_dim, weight_std): ln V + σ²/2 with σ² = C·weight_std²."""
    for v, c, std in ((draw.randint(100, 900), draw.choice([48, 96, 192]), draw.uniform(0.08, 0.12)), (50257, 768, 0.02)):
        logs, var = math.log(v), c * std**2
        compare(answer, (v, c, std), logs + var / 2, {
            "ln V is the loss of even belief; an untrained model pays σ²/2 more for its random opinions": logs,
            "σ² is added whole; the mean of e^l is e^(σ²/2), so half of it": logs + var,
            "σ²/2 is subtracted; random opinions cost something, so it is added": logs - var / 2,
            "σ is added where σ² belongs": logs + math.sqrt(var) / 2,
            "σ is added where σ²/2 belongs": logs + math.sqrt(var),
            "the variance of one weight was used; a logit is a sum of C products, so σ² = C·weight_std²": logs + std**2 / 2,
            "weight_std is a standard deviation: square it for the variance": logs + c * std / 2,
            "the width is squared; variances of C terms add up to C of them": logs + (c * std) ** 2 / 2,
            "a logit is a sum of C products, not their mean: multiply the variance by C": logs + std**2 / c / 2,
            "the standard deviation of a sum of C terms grows with the root of C": logs + c**0.5 * std**2 / 2,
            "that is the variance of PyTorch's default weights, 1/3; use the weight_std that is given": logs + 1 / 6,
            "the logarithm of V is to base 2; nats take the natural one": math.log2(v) + var / 2,
            "the logarithm of V is to base 10; nats take the natural one": math.log10(v) + var / 2,
            "only the extra cost σ²/2 came back; even belief costs ln V": var / 2,
            "V itself was taken where ln V belongs": v + var / 2,
            "σ² is divided by 2 twice": logs + var / 4,
            "the logarithm was taken of the width; it belongs to the vocabulary": lambda v, c, std: math.log(c) + c * std**2 / 2,
            "σ²/2 stands inside the logarithm; it is added to ln V": math.log(v + var / 2),
            "that is the perplexity; the loss is its logarithm": v * math.exp(var / 2),
            "0.02 was an example; use the weight_std that is given": logs + c * 0.02**2 / 2,
            "768 was an example; use the emb_dim that is given": logs + 768 * std**2 / 2,
            "50,257 was an example; use the vocab_size that is given": math.log(50257) + var / 2,
            "the variance is divided by 3; PyTorch's even weights do that, and weight_std is a standard deviation already":
                logs + var / 6,
            "the vocabulary and the width are exchanged: a logit is a sum over the width C": logs + v * std**2 / 2,
        }, rtol=1e-6, name="the loss")


@exercise("2.5", "the bigram baseline", see=("02", "What counting achieves"))
def check_bigram_loss(answer, draw):
    """bigram_loss(ids, train_ids, vocab_size, trust): p(b | a) = trust · count(a, b) / count(a) + (1 - trust) / V."""
    v, trust = draw.randint(7, 9), draw.uniform(0.6, 0.75)
    train, ids = draw.ids(60, vocab_size=v - 2), draw.ids(25, vocab_size=v)
    train[-2], train[-1], ids[4], ids[5] = v - 3, v - 2, v - 3, 0      # v - 2 stands only at the end of train, v - 1 nowhere
    ids[9], ids[10], ids[12], ids[13] = v - 2, 1, v - 1, 1
    ids[14], ids[15] = train[7], train[8]
    try:
        compare(answer, (ids, train, v, trust), bigram(ids, train, v, trust), {
            words: lambda i, t, v, k, wrong=wrong: wrong(i, t, v, k) for words, wrong in bigram_mistakes().items()},
            scales={"the number of tokens N": len(ids), "the vocabulary's size V": v}, rtol=1e-5, name="the loss")
    except NotYet as error:
        if "ZeroDivisionError" in str(error):
            raise NotYet(f"{error}. Where count(a) is 0, p is 1/V") from None
        raise


def bigram_mistakes():
    """{what is wrong, in words: the loss it gives, as a function of ids, train_ids, vocab_size and trust}."""
    unseen = "after a token that training has never seen followed, all belief goes to the even part: p = 1/V, not (1 - trust)/V"
    single = {
        "count(a) includes the last training token, which nothing follows; count only where a token is followed, "
        "in train_ids[:-1]": lambda i, t, v, k: {"firsts": t},
        "count(b), of the token that follows, is in the denominator; it is count(a), of the token before":
            lambda i, t, v, k: {"firsts": t[1:], "given": 1},
        unseen: lambda i, t, v, k: {"unseen": (1 - k) / v},
        "after a token that training has never seen followed, p is 1/V": lambda i, t, v, k: {"unseen": k + (1 - k) / v},
        "count(a, b) is divided by the number of all pairs, which is p(a and b); divide by count(a)":
            lambda i, t, v, k: {"joint": True},
        "1 - trust is given to each token whole; the even part shares it among V tokens": lambda i, t, v, k: {"even": 1.0},
        "the even part is 1/V for each token, times 1 - trust": lambda i, t, v, k: {"even": 1 / (v * (1 - k))},
        "the pair is looked up the wrong way round: count(a, b) is how often b follows a": lambda i, t, v, k: {"swap": True},
        "a pair that occurs several times is counted once: counts[a, b] += 1 with lists of places adds 1 to each place only once":
            lambda i, t, v, k: {"once": True},
        "each pair is counted once, and count(a) is the number of different followers; count every time":
            lambda i, t, v, k: {"once": True, "kinds": True},
        "a pair that was never seen gets 1/V; that is for a token never followed; a new pair has the share 0, plus (1 - trust)/V":
            lambda i, t, v, k: {"new_pair": 1 / v},
        "p is 1/V only after a token that training has never seen followed; such tokens were left out of the mean":
            lambda i, t, v, k: {"skip": True},
    }
    right = {
        "the counts were taken from the text that is scored; count in train_ids": lambda i, t, v, k: bigram(i, i, v, k),
        "text and training text are exchanged: score ids, count in train_ids": lambda i, t, v, k: bigram(t, i, v, k),
        "the training text was scored; score ids": lambda i, t, v, k: bigram(t, t, v, k),
        "the pairs are the wrong way round: b follows a": lambda i, t, v, k: bigram(i, t.flip(0), v, k),
        "the shares of both parts are exchanged: trust goes with the counts, 1 - trust with 1/V":
            lambda i, t, v, k: bigram(i, t, v, 1 - k),
        "the sum is divided by N; the first token is not predicted, so there are N - 1": lambda i, t, v, k:
            bigram(i, t, v, k) * (len(i) - 1) / len(i),
        "the first token is scored too, with 1/V; it has nothing before it, and nobody is asked to predict it":
            lambda i, t, v, k: (bigram(i, t, v, k) * (len(i) - 1) + math.log(v)) / len(i),
        "the losses are added up; the loss is their mean": lambda i, t, v, k: bigram(i, t, v, k) * (len(i) - 1),
        "the minus is missing": lambda i, t, v, k: -bigram(i, t, v, k),
        "the logarithm is to base 2; nats take the natural one": lambda i, t, v, k: bigram(i, t, v, k) / math.log(2),
        "the logarithm is to base 10; nats take the natural one": lambda i, t, v, k: bigram(i, t, v, k) / math.log(10),
        "that is the perplexity; the loss is its logarithm": lambda i, t, v, k: math.exp(bigram(i, t, v, k)),
        "the logarithm of the mean probability came back; take the logarithm of each, then the mean":
            lambda i, t, v, k: bigram(i, t, v, k, mean_first=True),
        "that is minus the mean probability; the logarithm is missing":
            lambda i, t, v, k: -math.exp(-bigram(i, t, v, k, mean_first=True)),
        "that is the mean probability; minus its logarithm is missing":
            lambda i, t, v, k: math.exp(-bigram(i, t, v, k, mean_first=True)),
        "that is the unigram: the counts of b alone, whatever stands before it":
            lambda i, t, v, k: -sum(math.log(k * (t == b).sum() / len(t) + (1 - k) / v) for b in i[1:]) / (len(i) - 1),
        "1/V and the counts are taken over the tokens that occur; V is the vocabulary's size":
            lambda i, t, v, k: bigram(i, t, len(t.unique()), k),
        "only every second pair is scored; every token but the first is": lambda i, t, v, k: -sum(
            map(math.log, bigram_probs(i, t, v, k)[::2])) / len(range(0, len(i) - 1, 2)),
        "only every second training pair is counted; pairs overlap": lambda i, t, v, k: bigram(i, t, v, k, step=2),
        "no count was ever found, so that every p is 1/V: tensors as keys are never equal, take ids.tolist()":
            lambda i, t, v, k: math.log(v),
        "no count was ever found, so that every p is (1 - trust)/V: tensors as keys are never equal, take ids.tolist()":
            lambda i, t, v, k: -math.log((1 - k) / v),
        "1 is added to every count (and V to count(a)); the exercise mixes with 1/V instead":
            lambda i, t, v, k: bigram(i, t, v, k, add=1),
        "tokens are paired with the one but next": lambda i, t, v, k: bigram(i[::2], t, v, k),
    }
    right |= {words: lambda i, t, v, k, options=options: bigram(i, t, v, k, **options(i, t, v, k))
              for words, options in single.items()}
    for fixed in (0.9, 0.5, 0.8, 0.7, 0.99, 0.95):
        right[f"trust is {fixed} whatever is given; use the trust that is given"] = (
            lambda i, t, v, k, fixed=fixed: bigram(i, t, v, fixed))
    both = {words: lambda i, t, v, k, options=options: bigram(i, t, v, k, **(options(i, t, v, k) | {"unseen": (1 - k) / v}))
            for words, options in single.items() if words != unseen}
    return right | {f"{words}. And after a token never followed, p is 1/V": wrong for words, wrong in both.items()}


def bigram(ids, train, vocab_size, trust, mean_first=False, **mistakes):
    """The right loss; the options are mistakes."""
    probs = bigram_probs(ids, train, vocab_size, trust, **mistakes)
    return -math.log(sum(probs) / len(probs)) if mean_first else -sum(map(math.log, probs)) / len(probs)


def bigram_probs(ids, train, vocab_size, trust, *, firsts=None, given=0, unseen=None, joint=False, even=None, swap=False,
                 once=False, kinds=False, new_pair=None, skip=False, step=1, add=0):
    """The right probabilities of ids[1:]; the options are mistakes."""
    ids, train = ids.tolist(), train.tolist()
    pairs = list(pairwise(train))[::step]
    pairs = sorted(set(pairs)) if once else pairs
    firsts = [a for a, _ in (pairs if kinds or step > 1 else pairwise(train))] if firsts is None else firsts.tolist()
    even, probs = 1 / vocab_size if even is None else even, []
    for pair in pairwise(ids):
        times, count = firsts.count(pair[given]), pairs.count(pair[::-1] if swap else pair)
        p = trust * count / (len(pairs) if joint else max(times, 1)) + (1 - trust) * even
        if add:
            p = (count + add) / (times + add * vocab_size)
        elif times == 0:
            p = 1 / vocab_size if unseen is None else unseen
        elif count == 0 and new_pair:
            p = new_pair
        if times or not skip:
            probs.append(p)
    return probs


@exercise("2.6", "the standard error", see=("02", "How far to trust it"))
def check_standard_error(answer, draw):
    """standard_error(losses): the sample standard deviation of (N,) losses over the root of N; a float."""
    for n in (draw.randint(5, 9), draw.randint(20, 30), 2):
        losses = 3 + draw.uniform(1, 2) * draw.normal(n)
        std = losses.std().item()
        compare(answer, (losses,), std / n**0.5, {
            "that is the standard deviation of single losses; the mean of N of them is surer by the root of N": std,
            "the standard deviation is divided by N; divide by the root of N": std / n,
            "that is the variance; the standard deviation is its root": std**2,
            "the variance is divided by the root of N; take its root first": std**2 / n**0.5,
            "that is the square of the standard error: take the root": std**2 / n,
            "the standard deviation divides by N (a biased variance); a sample's divides by N - 1, as .std() does":
                losses.std(correction=0).item() / n**0.5,
            "the root of N - 1 was taken twice: the sample's standard deviation over the root of N": std / max(n - 1, 1) ** 0.5,
            "that is the mean of the losses; how far it can be trusted is asked": losses.mean().item(),
            "the standard deviation is multiplied by the root of N; divide": std * n**0.5,
            "the mean distance from the mean is not the standard deviation; square, average, take the root":
                (losses - losses.mean()).abs().mean().item() / n**0.5,
            "the mean was not subtracted before squaring": (losses.square().sum() / (n - 1)).sqrt().item() / n**0.5,
            "that is twice the standard error": 2 * std / n**0.5,
            "that is the mean over the root of N; how far single losses lie apart is what counts: their standard deviation":
                losses.mean().item() / n**0.5,
            "the standard deviation that divides by N is divided by N - 1 once more; the sample's, over the root of N":
                losses.std(correction=0).item() / (n - 1),
            "the standard deviation is divided by N - 1; divide by the root of N": std / (n - 1),
            "the root was taken of the standard deviation; it is a root already": std**0.5 / n**0.5,
            "the logarithm of the losses was taken; they are logarithms already":
                lambda x: (x.log().std() / len(x) ** 0.5).item(),
            "the losses are turned into perplexities first; the standard error of the losses is asked":
                lambda x: (x.exp().std() / len(x) ** 0.5).item(),
            "1.96 standard errors are half a 95 % interval; one is asked": 1.96 * std / n**0.5,
        }, name="the standard error", scales={"the number of losses N": n})
