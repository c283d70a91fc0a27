"""The exercises of lesson 04 as data: from momentum to AdamW, and how its rates are chosen.

Most answers are computed on a sheet `s` of all that is known so far, under the names of the formulas: s.w, s.g, s.lr. A mistake
exchanges a line of the formula, which is a function of the sheet.
"""
import math
from itertools import permutations
from types import SimpleNamespace as Sheet

import torch
from torch import nn

from gpt_checks.groups import each_parameter, place_of, types_of_layers
from gpt_checks.spec import Facts, exchange, several, spec

# What several exercises share: tensors that come back together, running averages, and how they are corrected.


def wrong_returns(names):
    """Right tensors that come back alone, or in another order."""
    need, (_, *orders) = f"need ({', '.join(names)})", permutations(range(len(names)))
    return exchange("give", {
        f"only the new {name} came back; {need}": lambda *new, i=i: new[i] for i, name in enumerate(names)} | {
        f"the right tensors came back in the wrong order, as ({', '.join(names[i] for i in order)}); {need}":
            lambda *new, order=order: [new[i] for i in order] for order in orders})


def wrong_averages(name, beta, new):
    """{what goes wrong when an average m takes in g: f(m, g, b)}. name, beta, new: what these three are called."""
    return {
        f"from 0, {name} became {new} itself, as in PyTorch's SGD; the first value, too, has the share 1 - {beta} only":
            lambda m, g, b: b * m + (1 - b) * g if m.any() else g,
        f"{name} came back as it went in; return the average after it took in {new}": lambda m, g, b: m,
        f"the shares are exchanged: the old {name} keeps {beta}, and {new} gets 1 - {beta}": lambda m, g, b: (1 - b) * m + b * g,
        f"{name} is a sum, as PyTorch's SGD keeps it; in an average {new} gets the share 1 - {beta}": lambda m, g, b: b * m + g,
        f"the old {name} is not shrunk: it keeps the share {beta} beside {new}'s 1 - {beta}": lambda m, g, b: m + (1 - b) * g,
        f"old and new are added with no shares at all: {beta} for the old {name}, 1 - {beta} for {new}": lambda m, g, b: m + g,
        f"{name} is only {new}; the old average is forgotten, and should keep the share {beta}": lambda m, g, b: g,
        f"the old {name} is forgotten, and should keep the share {beta}": lambda m, g, b: (1 - b) * g,
        f"{name} only shrinks; {new} is left out, and should get the share 1 - {beta}": lambda m, g, b: b * m,
        f"both old and new have the share {beta}; {new} gets 1 - {beta}": lambda m, g, b: b * (m + g),
        f"both old and new have the share 1 - {beta}; the old {name} keeps {beta}": lambda m, g, b: (1 - b) * (m + g),
        f"the sign of {new} in {name} is wrong: {name} averages it as it is, with a plus": lambda m, g, b: b * m - (1 - b) * g,
        f"the sign of {new} in {name} is wrong, and its share 1 - {beta} is missing": lambda m, g, b: b * m - g,
        f"parentheses are missing around 1 - {beta}, the share of {new}": lambda m, g, b: b * m + 1 - b * g,
        f"the parentheses are too wide: {beta} multiplies the old {name} alone": lambda m, g, b: b * (m + (1 - b) * g),
        f"the old {name} is subtracted from {new}, too; {beta} shrinks it already": lambda m, g, b: b * m + (1 - b) * (g - m),
        f"the share of {new} in {name} is 1 - {beta}, and not 1 + {beta}": lambda m, g, b: b * m + (1 + b) * g,
        f"{name} is the plain mean of old and new; the shares are {beta} and 1 - {beta}": lambda m, g, b: (m + g) / 2,
    }


def m_of(s, g):
    """The average m after it took in g."""
    return s.b1 * s.m0 + (1 - s.b1) * g


def v_of(s, square):
    """The average v after it took in a square."""
    return s.b2 * s.v0 + (1 - s.b2) * square


def wrong_momenta(beta):
    """What goes wrong in m, on a sheet."""
    averages = wrong_averages("m", beta, "g")
    return exchange("m_new", {words: lambda s, f=f: f(s.m0, s.g, s.b1) for words, f in averages.items()} | {
        "lr went into the average; m averages gradients as they are, and lr and the minus belong to the step":
            [lambda s: m_of(s, s.lr * s.g), lambda s: s.b1 * s.m0 - s.lr * s.g, lambda s: s.b1 * s.m0 + s.lr * s.g,
             lambda s: m_of(s, -s.lr * s.g)],
        "m is multiplied by lr; that belongs to the step, and not to the average": lambda s: s.lr * m_of(s, s.g),
        "m came back with a minus; the minus belongs to the step": lambda s: -m_of(s, s.g),
        "m averages squares of gradients, which is Adam's v; m averages the gradient": lambda s: m_of(s, s.g**2),
        "m averages the weights; it is the gradient that is averaged": lambda s: m_of(s, s.w),
    })


WRONG_SHARES = {      # in place of 1 - b**t, by which an average is divided after t steps
    "beta has the power step - 1; steps count from 1: after the first the share is 1 - beta": lambda b, t: 1 - b ** (t - 1),
    "beta has the power step + 1; steps count from 1: after the first the share is 1 - beta": lambda b, t: 1 - b ** (t + 1),
    "the average is multiplied by the share that is filled; divide, so that it grows": lambda b, t: 1 / (1 - b**t),
    "the average is divided by 1 - beta, right after one step only; later beta has the power step": lambda b, t: 1 - b,
    "the power covers 1 - beta; it belongs to beta alone: 1 - beta ** step": lambda b, t: (1 - b) ** t,
    "the average is divided by beta ** step, the share still open; divide by the filled share": lambda b, t: b**t,
    "a root was taken of the share 1 - beta ** step; divide by the share itself": lambda b, t: (1 - b**t) ** 0.5,
    "beta is 0.9 whatever is given": lambda b, t: 1 - 0.9**t,
    "beta is 0.999 whatever is given": lambda b, t: 1 - 0.999**t,
}


# 4.1
def momentum_step(w, g, m, lr, beta, *, m_new=lambda s: m_of(s, s.g), move=lambda s: s.w - s.lr * s.m, give=lambda w, m: (w, m)):
    s = Sheet(w=w, g=g, m0=m, lr=lr, b1=beta)
    s.m = m_new(s)
    return give(move(s), s.m)


def momentum_inputs(draw):
    """Three steps: somewhere on the way, the first one, and one with a gradient of 0."""
    n = draw.randint(4, 6)
    for has_m, has_g in ((True, True), (False, True), (True, False)):
        w, g, m = draw.normal(3, n)
        yield None, (w, g * has_g, m * has_m, draw.uniform(0.1, 0.6), draw.uniform(0.6, 0.85))


check_momentum_step = spec(
    "4.1", "momentum", see=("04", "A running average"), right=momentum_step, cases=momentum_inputs, rtol=1e-5,
    use=several("the new w", "the new m", order=(1, 0)),
    doc="momentum_step(w, g, m, lr, beta): m = β m + (1 - β) g, then w - lr m; m is not corrected. Returns (w, m).",
    mistakes=wrong_momenta("beta") | exchange("m_new", {
        "m is divided by 1 - beta; this average is not corrected": lambda s: m_of(s, s.g) / (1 - s.b1),
        "beta is 0.9 whatever is given": lambda s: 0.9 * s.m0 + 0.1 * s.g,
    }) | exchange("move", {
        "the step follows the old m; let m take in g first, then step": lambda s: s.w - s.lr * s.m0,
        "the step follows the gradient alone, as gradient descent does; momentum follows m": lambda s: s.w - s.lr * s.g,
        "the step has the wrong sign: it goes uphill; subtract lr * m": lambda s: s.w + s.lr * s.m,
        "lr is missing in the step: w - lr * m": lambda s: s.w - s.m,
        "lr is there twice": lambda s: s.w - s.lr**2 * s.m,
        "the step is divided by lr; multiply m by it": lambda s: s.w - s.m / s.lr,
        "w came back as it went in; subtract lr * m": lambda s: s.w,
        "only the step came back; subtract it from w": lambda s: s.lr * s.m,
        "only the step came back, with its minus; add w": lambda s: -s.lr * s.m,
        "the step looks ahead, as Nesterov's variant does, in PyTorch with nesterov=True; here it is lr times the new m":
            [lambda s: s.w - s.lr * (s.b1 * s.m + (1 - s.b1) * s.g), lambda s: s.w - s.lr * (s.g + s.b1 * s.m)],
        "the step adds g to the average; g is inside m already": lambda s: s.w - s.lr * (s.m + s.g),
        "the average is corrected by 1 - beta before the step; leave it as it is": lambda s: s.w - s.lr * s.m / (1 - s.b1),
        "the share 1 - beta is applied twice: it is inside m already": lambda s: s.w - s.lr * (1 - s.b1) * s.m,
        "the step multiplies m by beta once more; it is inside m already": lambda s: s.w - s.lr * s.b1 * s.m,
        "the step follows the sum beta * m + g; w follows the new average m": lambda s: s.w - s.lr * (s.b1 * s.m0 + s.g),
        "w is multiplied by beta; only the average forgets": lambda s: s.b1 * s.w - s.lr * s.m,
        "w is shrunk by lr, too: parentheses? Only m is multiplied by lr": lambda s: s.w - s.lr * (s.w + s.m),
        "w and m are exchanged in the step: w - lr * m": lambda s: s.m - s.lr * s.w,
    }) | {
        "g went into m with a minus; m averages g as it is, with a plus, and the minus belongs to the step: w - lr * m":
            {"m_new": lambda s: s.b1 * s.m0 - (1 - s.b1) * s.g, "move": lambda s: s.w + s.lr * s.m},
        "lr went into the average and is not in the step; m averages gradients as they are, and the step is lr * m": [
            {"m_new": lambda s: m_of(s, s.lr * s.g), "move": lambda s: s.w - s.m},
            {"m_new": lambda s: s.b1 * s.m0 + s.lr * s.g, "move": lambda s: s.w - s.m},
            {"m_new": lambda s: s.b1 * s.m0 - s.lr * s.g, "move": lambda s: s.w + s.m},
            {"m_new": lambda s: m_of(s, -s.lr * s.g), "move": lambda s: s.w + s.m}],
    } | wrong_returns("wm"))


# 4.2
def corrected(average, beta, step, *, share=lambda b, t: 1 - b**t, give=lambda a, share: a / share):
    return give(average, share(beta, step))


check_corrected = spec(
    "4.2", "bias correction", see=("04", "A running average"), right=corrected, name="the corrected average", rtol=3e-5,
    doc="corrected(average, beta, step): average / (1 - beta ** step), with steps counted from 1.",
    cases=lambda draw: [(case, (draw.normal(draw.randint(3, 5)), beta, step)) for case, beta, step in (
        (None, draw.choice([0.7, 0.75, 0.85, 0.95]), draw.randint(4, 6)), ("the first step", draw.choice([0.7, 0.8, 0.85]), 1),
        ("a late step, with beta 0.999", 0.999, draw.randint(500, 1500)))],
    mistakes=exchange("share", WRONG_SHARES | {
        "beta has the power step - 1, but for the first step; beta ** step holds for the first step, too":
            [lambda b, t: 1 - b ** (t - 1) if t > 1 else 1, lambda b, t: 1 - b ** max(t - 1, 1)],
        "1 - beta is multiplied by step; what fills up is 1 - beta ** step": lambda b, t: (1 - b) * t,
        "the average came back as it was: divide it by the share that is filled so far": lambda b, t: 1,
        "the correction is applied twice": lambda b, t: (1 - b**t) ** 2,
        "beta is multiplied by step; it is raised to its power, since every step shrinks what is older": lambda b, t: 1 - b * t,
        "the average is multiplied by beta ** step, the share still open; divide by the filled share": lambda b, t: b**-t,
        "base and exponent are exchanged: it is beta that is raised to the power of step": lambda b, t: 1 - t**b,
        "the sign is wrong: 1 - beta ** step is positive, and beta ** step - 1 is negative": lambda b, t: b**t - 1,
        "the filled share is 1 minus beta ** step, and not 1 plus": lambda b, t: 1 + b**t,
        "the average is divided by step, as a plain mean is; this one forgets: divide by 1 - beta ** step": lambda b, t: t,
        "that is 1 - beta times too small: the shares are (1 - beta) * beta ** i": lambda b, t: (1 - b**t) / (1 - b),
        "the newest value has the share 1 - beta; a sum from beta ** 1 on lacks beta ** 0": lambda b, t: b * (1 - b**t),
        "the average is multiplied by 1 - beta; divide by 1 - beta ** step": lambda b, t: 1 / (1 - b),
        "the average is divided by beta; divide by 1 - beta ** step": lambda b, t: b,
        "the share of the first value alone is divided by; add up all (in a loop, with +=)": lambda b, t: (1 - b) * b ** (t - 1),
        "beta has the power 1 / step; it is raised to the power of step": lambda b, t: 1 - b ** (1 / t),
        "beta has a minus in its exponent, or 1 is divided by its power": lambda b, t: 1 - b**-t,
        "the share is 1 - exp(-beta * step); what is left of the 0 is beta ** step": lambda b, t: 1 - math.exp(-b * t),
    }) | exchange("give", {
        "beta ** step is subtracted from the average; divide by (1 - beta ** step), in parentheses": lambda a, f: a - (1 - f),
        "the filled share is subtracted from the average; divide by it": lambda a, f: a - f,
        "the share is upside down: divide the average by it": lambda a, f: f / a,
        "only the share that is filled came back; divide the average by it": [lambda a, f: f, lambda a, f: 0 * a + f],
        "only the factor came back, without the average": [lambda a, f: 1 / f, lambda a, f: 0 * a + 1 / f],
    }))


# 4.3
def adamw_step(w, g, m, v, step, lr, betas, eps, weight_decay, *, given=lambda s: {}, m_new=lambda s: m_of(s, s.g),
               v_new=lambda s: v_of(s, s.g**2), m_hat=lambda s: s.m / s.share1, v_hat=lambda s: s.v / s.share2,
               root=lambda s: s.v_hat.sqrt() + s.eps, kept=lambda s: (1 - s.lr * s.wd) * s.w,
               update=lambda s: s.lr * s.m_hat / s.root, move=lambda s: s.kept - s.update, give=lambda w, m, v: (w, m, v)):
    s = Sheet(w=w, g=g, m0=m, v0=v, t=step, lr=lr, b1=betas[0], b2=betas[1], eps=eps, wd=weight_decay)
    vars(s).update(given(s))
    s.share1, s.share2 = 1 - s.b1**s.t, 1 - s.b2**s.t
    s.m = m_new(s)
    s.v = v_new(s)
    s.m_hat, s.v_hat = m_hat(s), v_hat(s)
    s.root, s.kept = root(s), kept(s)
    s.update = update(s)
    return give(move(s), s.m, s.v)


def adamw_inputs(draw):
    """A step on the way, a run of three whose last weight never has a gradient, and one more without gradient and decay."""
    def settings():
        """lr, betas, eps, weight_decay: far from PyTorch's, and so large that each leaves its mark."""
        return (draw.uniform(0.05, 0.2), (draw.uniform(0.65, 0.8), draw.uniform(0.93, 0.98)), draw.uniform(0.05, 0.15),
                draw.uniform(0.2, 0.4))

    n = draw.randint(4, 6)
    w, g, m, v = draw.normal(4, n, dtype=torch.float64)
    size = torch.arange(n) * 0.7 + 0.01                                      # the first gradient is tiny, beside eps
    yield None, (w, g * size, m / 2, (v**2 / 10 + 0.02) * size**2, draw.randint(3, 5), *settings())
    w, m, v, chosen = draw.normal(n, dtype=torch.float64), torch.zeros_like(m), torch.zeros_like(v), settings()
    for step in range(1, 4):
        g = draw.normal(n, dtype=torch.float64) * (torch.arange(n) < n - 1)
        yield None, (w, g, m, v, step, *chosen)
        w, m, v = adamw_step(w, g, m, v, step, *chosen)
    yield None, (w, torch.zeros_like(g), m, v, 4, *chosen[:3], 0.0)


L2 = "the decay went through the gradient (weight_decay * w added to g): that is L2; AdamW averages g alone and shrinks w apart"
ADAMW_GIVEN = exchange("given", {
    L2 + also: [lambda s, f=f: {"g": s.g + f(s) * s.w, "wd": 0}, lambda s, f=f: {"g": s.g + f(s) * s.w}] for also, f in {
        "": lambda s: s.wd, " (and lr went along)": lambda s: s.lr * s.wd, " (and with a minus)": lambda s: -s.wd}.items()
} | {"betas are exchanged: β₁, the first, goes with m": lambda s: {"b1": s.b2, "b2": s.b1}} | {
    f"{words} whatever is given": lambda s, fixed=fixed: fixed for words, fixed in {
        "β₁ is 0.9": {"b1": 0.9}, "β₂ is 0.999": {"b2": 0.999}, "betas are 0.9 and 0.999": {"b1": 0.9, "b2": 0.999},
        "the decay is 0.5, and eps 1e-8, as in the lesson,": {"wd": 0.5, "eps": 1e-8},
        "lr is 0.001": {"lr": 0.001}, "eps is 1e-8": {"eps": 1e-8}, "weight_decay is 0.01": {"wd": 0.01},
        "weight_decay is 0.1": {"wd": 0.1}, "weight_decay is 0.5": {"wd": 0.5}}.items()})
AGAIN = "correct a copy for the step, or the next step corrects again"
ADAMW_M = exchange("m_new", {
    f"the corrected m came back; {AGAIN}": lambda s: m_of(s, s.g) / s.share1,
    "v is averaged into m; m keeps its own average, of g": lambda s: s.b1 * s.v0 + (1 - s.b1) * s.g,
    "β₁ has the power step in m; only in the correction it has": lambda s: s.b1**s.t * s.m0 + (1 - s.b1**s.t) * s.g,
    "the old m was corrected before it took in g": lambda s: s.b1 * s.m0 / (1 - s.b1 ** max(s.t - 1, 1)) + (1 - s.b1) * s.g,
    "β₂ is used in m; β₁, the first, goes with m": [lambda s: s.b2 * s.m0 + (1 - s.b2) * s.g,
        lambda s: s.b2 * s.m0 + (1 - s.b1) * s.g, lambda s: s.b1 * s.m0 + (1 - s.b2) * s.g],
}) | wrong_momenta("β₁")
ADAMW_V = exchange("v_new", {
    f"v averages {words}; it averages the squares of the gradient, g * g": [lambda s, f=f: v_of(s, f(s)) for f in some]
    for words, some in {
        "g": [lambda s: s.g], "|g|": [lambda s: s.g.abs()], "2 * g": [lambda s: 2 * s.g], "squares of w": [lambda s: s.w**2],
        "squares of m": [lambda s: s.m**2, lambda s: s.m0**2, lambda s: (s.m / s.share1) ** 2],
        "squares of g - m": [lambda s: (s.g - s.m) ** 2, lambda s: (s.g - s.m0) ** 2],
        "one number for all weights, a sum or a mean": [lambda s: (s.g**2).sum(), lambda s: (s.g**2).mean()]}.items()
} | {
    "the share 1 - β₂ is squared, too; only g is": lambda s: s.b2 * s.v0 + ((1 - s.b2) * s.g) ** 2,
    "the whole average is squared; only g is, before it is averaged": lambda s: v_of(s, s.g) ** 2,
    "the root of v came back; return v itself": [lambda s: v_of(s, s.g**2).sqrt(), lambda s: (v_of(s, s.g**2) / s.share2).sqrt()],
    f"the corrected v came back; {AGAIN}": lambda s: v_of(s, s.g**2) / s.share2,
    "m is averaged into v; v keeps its own average, of g * g": lambda s: s.b2 * s.m0 + (1 - s.b2) * s.g**2,
    "β₂ has the power step in v; only in the correction it has": lambda s: s.b2**s.t * s.v0 + (1 - s.b2**s.t) * s.g**2,
    "β₁ is used in v; β₂, the second, goes with v": [lambda s: s.b1 * s.v0 + (1 - s.b1) * s.g**2,
        lambda s: s.b1 * s.v0 + (1 - s.b2) * s.g**2, lambda s: v_of(s, s.g**2 * (1 - s.b1) / (1 - s.b2))],
} | {words: lambda s, f=f: f(s.v0, s.g**2, s.b2) for words, f in wrong_averages("v", "β₂", "g * g").items()})
HATS = {      # what can go wrong on the way from m and v to what is divided: {words: (for m, for v)}
    "the bias correction is missing: divide by 1 - β ** step": (lambda s: s.m, lambda s: s.v),
    "the bias correction takes the other β; β₁ goes with m, β₂ with v": (lambda s: s.m / s.share2, lambda s: s.v / s.share1),
    "the old average is used; let it take in the gradient first": (lambda s: s.m0 / s.share1, lambda s: s.v0 / s.share2),
} | {f"the bias correction is wrong: {words}": (lambda s, f=f: s.m / f(s.b1, s.t), lambda s, f=f: s.v / f(s.b2, s.t))
     for words, f in WRONG_SHARES.items()}
ADAMW_HATS = {f"in m and v {words}": {"m_hat": m_hat, "v_hat": v_hat} for words, (m_hat, v_hat) in HATS.items()} | {
    "m and v are corrected twice": {"m_hat": lambda s: s.m / s.share1**2, "v_hat": lambda s: s.v / s.share2**2},
    "m and v are exchanged; m is divided by v's root": {"m_hat": lambda s: s.v / s.share2, "v_hat": lambda s: s.m / s.share1},
} | exchange("m_hat", {f"in m {words}": m_hat for words, (m_hat, _) in HATS.items()} | {
    "m is corrected twice": lambda s: s.m / s.share1**2,
    "β₁ is multiplied by step; it is raised to its power": lambda s: s.m / (1 - s.b1 * s.t),
    "g is in the place of m, and the first average forgotten; divide the corrected m": [lambda s: s.g, lambda s: s.g / s.share1],
    "m takes in g twice: the average was formed again for the step": lambda s: (s.b1 * s.m + (1 - s.b1) * s.g) / s.share1,
    "the square of m is divided by the root; m itself is": lambda s: (s.m / s.share1) ** 2,
}) | exchange("v_hat", {f"in v {words}": v_hat for words, (_, v_hat) in HATS.items()} | {
    "v is corrected twice, or after its root was taken; correct v, take the root, add eps": lambda s: s.v / s.share2**2,
    "β₂ is multiplied by step; it is raised to its power": lambda s: s.v / (1 - s.b2 * s.t),
    "g * g is in the place of v, and the second average forgotten": [lambda s: s.g**2, lambda s: s.g**2 / s.share2],
})
ADAMW_ROOT = exchange("root", {
    "eps is inside the root; it is added to the root: v.sqrt() + eps": [lambda s: (s.v_hat + s.eps).sqrt(),
        lambda s: (s.v_hat + s.eps).sqrt() + s.eps, lambda s: (s.v + s.eps).sqrt() / s.share2**0.5],
    "the root is missing: m is divided by the square root of v, plus eps": lambda s: s.v_hat + s.eps,
    "the root is missing, and eps, too: divide by v.sqrt() + eps": lambda s: s.v_hat,
    "eps is missing: added to the root, it prevents a division by zero": lambda s: s.v_hat.sqrt(),
    "eps is added before the bias correction; correct v, take the root, add eps": lambda s: (s.v.sqrt() + s.eps) / s.share2**0.5,
    "eps is subtracted from the root; add it": lambda s: s.v_hat.sqrt() - s.eps,
    "eps is multiplied with the root; add it": lambda s: s.v_hat.sqrt() * s.eps,
    "eps is a lower bound of the root; add it instead": lambda s: s.v_hat.sqrt().clamp(min=s.eps),
    "v is squared in place of its root": lambda s: s.v_hat**2 + s.eps,
    "the sum or the mean of v over all weights was taken; each weight has its own root":
        [lambda s: s.v_hat.sum().sqrt() + s.eps, lambda s: s.v_hat.mean().sqrt() + s.eps],
    "the division by the root of v is missing, so that this is momentum": lambda s: 1,
    "m is multiplied by the root of v; divide": lambda s: 1 / (s.v_hat.sqrt() + s.eps),
})
SHRINKS = "w shrinks by lr * weight_decay of itself"
ADAMW_MOVE = exchange("kept", {
    f"the weight decay is missing: first, {SHRINKS}": lambda s: s.w,
    f"the decay is not multiplied by lr: {SHRINKS}": lambda s: (1 - s.wd) * s.w,
    f"lr is in the decay twice: {SHRINKS}": lambda s: (1 - s.lr**2 * s.wd) * s.w,
    "the decay has the wrong sign, so that w grows: multiply it by 1 - lr * weight_decay": lambda s: (1 + s.lr * s.wd) * s.w,
    "the decay uses the update's corrected rate; it uses lr itself":
        [lambda s: (1 - s.lr / s.share1 * s.wd) * s.w, lambda s: (1 - s.lr * s.share2**0.5 / s.share1 * s.wd) * s.w],
    f"the decay takes as much from small weights as from large; {SHRINKS}": [lambda s: s.w - s.lr * s.wd, lambda s: s.w - s.wd],
    "w is multiplied by lr * weight_decay; multiply it by 1 - lr * weight_decay": lambda s: s.lr * s.wd * s.w,
    "w is multiplied by weight_decay; multiply it by 1 - lr * weight_decay": lambda s: s.wd * s.w,
    f"the decay takes the share lr, and weight_decay is missing; {SHRINKS}": lambda s: (1 - s.lr) * s.w,
    "the decay is applied twice": lambda s: (1 - s.lr * s.wd) ** 2 * s.w,
    f"the decay is doubled; {SHRINKS}": lambda s: (1 - 2 * s.lr * s.wd) * s.w,
    f"the decay is halved; {SHRINKS}": lambda s: (1 - s.lr * s.wd / 2) * s.w,
    "the decay is divided by lr; multiply it": lambda s: (1 - s.wd / s.lr) * s.w,
}) | exchange("update", {
    "the update has the wrong sign, so that w goes uphill: subtract it": lambda s: -s.lr * s.m_hat / s.root,
    "lr is missing in the update": lambda s: s.m_hat / s.root,
    "lr is in the update twice": lambda s: s.lr**2 * s.m_hat / s.root,
    "the update is divided by lr; multiply it": lambda s: s.m_hat / s.root / s.lr,
    "the update is missing: w only decays": lambda s: 0,
    "eps is added to the ratio, and not to the root: parentheses are missing around v.sqrt() + eps":
        [lambda s: s.lr * (s.m_hat / s.v_hat.sqrt() + s.eps), lambda s: s.lr * s.m_hat / s.v_hat.sqrt() + s.eps,
         lambda s: s.lr * s.m_hat / s.v_hat.sqrt() - s.eps],
}) | exchange("move", {
    "the decay comes after the update, and shrinks that as well; AdamW shrinks w first, then updates":
        [lambda s: (1 - s.lr * s.wd) * (s.w - s.update), lambda s: (1 - s.wd) * (s.w - s.update)],
    "the factor 1 - lr * weight_decay went to the update; it goes to w": lambda s: s.w - (1 - s.lr * s.wd) * s.update,
    "the decay is divided by the root of v together with m; AdamW keeps the decay apart from that":
        [lambda s: s.w - s.update - s.lr * s.wd * s.w / s.root, lambda s: s.w - s.update - s.lr**2 * s.wd * s.w / s.root],
    "w came back as it went in": lambda s: s.w,
    "only the update came back; subtract it from w, after w has shrunk": [lambda s: s.update, lambda s: -s.update],
    "only the ratio of m and root came back; w moves by lr times that": lambda s: s.m_hat / s.root,
    "only decay and update came back; add them to w": lambda s: -s.lr * s.wd * s.w - s.update,
})
check_adamw_step = spec(
    "4.3", "the AdamW step", see=("04", "AdamW by hand"), right=adamw_step, cases=adamw_inputs, rtol=1e-5,
    use=several("the new w", "the new m", "the new v", order=(1, 2, 0)),
    doc="adamw_step(w, g, m, v, step, lr, betas, eps, weight_decay): (w, m, v) as torch.optim.AdamW has them, in float64.",
    mistakes=ADAMW_GIVEN | ADAMW_M | ADAMW_V | ADAMW_HATS | ADAMW_ROOT | ADAMW_MOVE | wrong_returns("wmv"))


# 4.4
def decay_groups(model, weight_decay, *, decays=lambda s: s.p.ndim >= 2, other=lambda s: not s.decays, fixed=None,
                 walk=lambda model: model.named_parameters()):
    groups = [{"params": [], "weight_decay": fixed or weight_decay}, {"params": [], "weight_decay": 0.0}]
    types = types_of_layers(model)
    for name, p in walk(model):
        s = Sheet(p=p, name=name, layers=types[id(p)])
        s.decays = decays(s)
        for group, belongs in zip(groups, (s.decays, other(s)), strict=True):
            group["params"] += [p] * bool(belongs)
    return groups


ASK = "; a tensor's number of dimensions alone tells, p.ndim"
check_decay_groups = spec(
    "4.4", "which weights decay", see=("04", "Roads not taken"), right=decay_groups, cases=each_parameter, use=place_of,
    name="its place",
    doc="decay_groups(model, weight_decay): two groups for AdamW; tensors with 2 or more dimensions decay, the others do not.",
    mistakes=exchange("decays", {
        "the groups are exchanged: tensors with 2 or more dimensions decay, the others do not": lambda s: s.p.ndim < 2,
        "all tensors decay; those with fewer than 2 dimensions get 0 (if names were asked, none matched)": lambda s: True,
        "no tensor decays; those with 2 or more dimensions do": lambda s: False,
        "only tensors with exactly 2 dimensions decay; 3 are more than 2": lambda s: s.p.ndim == 2,
        "only tensors with more than 2 dimensions decay; 2 are enough": lambda s: s.p.ndim > 2,
        "tensors with 1 dimension decay, too; 2 or more are needed": lambda s: s.p.ndim >= 1,
        "tensors with 0 dimensions decay, too; 2 or more are needed": lambda s: s.p.ndim != 1,
        "all decays whose first dimension is 2 or longer; len(p) and p.shape[0] are its length" + ASK: [
            lambda s: len(s.p) >= 2, lambda s: s.p.ndim and len(s.p) >= 2],
        "all decays that has more than one number; the size does not tell" + ASK: lambda s: s.p.numel() > 1,
        "whatever says bias is exempted; a LayerNorm's scale has 1 dimension, too, and a matrix may say bias" + ASK:
            lambda s: "bias" not in s.name,
        "only biases are exempted; a LayerNorm's scale has 1 dimension, too" + ASK: [
            lambda s: not s.name.endswith("bias"), lambda s: s.p.ndim and not s.name.endswith("bias")],
        "names mislead: not every bias or norm says so" + ASK: [lambda s: "bias" not in s.name and "norm" not in s.name,
            lambda s: "norm" not in s.name, lambda s: not any(word in s.name for word in ("bias", "norm", "ln")),
            lambda s: not s.name.endswith("bias") and "norm" not in s.name],
        "names mislead: not all that says weight is a matrix, and a LayerNorm's scale does, too" + ASK: [
            lambda s: "weight" in s.name, lambda s: s.name.endswith("weight"),
            lambda s: "weight" in s.name and "norm" not in s.name],
        "names mislead: a matrix may say bias or norm" + ASK: [
            lambda s: s.p.ndim >= 2 and "norm" not in s.name, lambda s: s.p.ndim >= 2 and "bias" not in s.name],
        "embeddings are exempted; a table has 2 dimensions, and decays": lambda s: s.p.ndim >= 2 and nn.Embedding not in s.layers,
        "only weights of nn.Linear decay; everything with 2 or more dimensions does":
            lambda s: s.p.ndim >= 2 and nn.Linear in s.layers,
        "only layers' weights decay; a parameter of the model itself may have 2 dimensions or more, too":
            lambda s: s.p.ndim >= 2 and s.layers & {nn.Linear, nn.Embedding},
        "all of nn.Linear decays, and nothing else; its bias has 1 dimension" + ASK: lambda s: nn.Linear in s.layers,
        "only LayerNorm is exempted; biases have 1 dimension, too" + ASK: lambda s: nn.LayerNorm not in s.layers,
        "only LayerNorm and biases are exempted" + ASK: lambda s: nn.LayerNorm not in s.layers and not s.name.endswith("bias"),
    }) | {
        f"weight_decay is {x} whatever is given; use the one that is given": {"fixed": x} for x in (0.1, 0.01, 0.5)
    } | exchange("other", {
        "tensors with 0 dimensions are missing in both groups": lambda s: s.p.ndim == 1,
        "tensors with 1 dimension are missing in both groups": lambda s: s.p.ndim == 0,
        "what decays stands in both groups; each parameter stands in one group, once": lambda s: True,
    }) | {
        "one group is empty, and its tensors stand in none; a generator such as model.parameters() is used up after one walk: "
        "ask for it again, or make a list of it":
            [{"other": lambda s: False}, {"decays": lambda s: False, "other": lambda s: s.p.ndim < 2}],
        "tensors with more than 2 dimensions are missing in both groups":
            {"decays": lambda s: s.p.ndim == 2, "other": lambda s: s.p.ndim < 2},
        "two layers share a parameter; it stands in one group, once, as model.parameters() gives it":
            {"walk": lambda model: model.named_parameters(remove_duplicate=False)},
        "a layer's parameters() are those of the layers inside it, too, so many come several times; model.parameters() gives "
        "each once": {"walk": lambda model: [pair for layer in model.modules() for pair in layer.named_parameters()]},
    })


# 4.5
def wave(p):
    """Half a cosine wave, from 1 to 0 as p runs from 0 to 1."""
    return (1 + math.cos(math.pi * p)) / 2


def cosine(s, start, length):
    """The rate on a cosine from `start` on."""
    return s.low + (s.high - s.low) * wave((s.step - start) / length)


def learning_rate(step, max_lr, min_lr, warmup_steps, total_steps, *, given=lambda s: {},
                  rise=lambda s: s.high * (s.step + 1) / s.warm, progress=lambda s: (s.step - s.warm) / s.length,
                  shape=wave, fall=lambda s: s.low + (s.high - s.low) * s.x, bend=lambda s: s.rate, end=lambda s: s.low):
    s = Sheet(step=step, high=max_lr, low=min_lr, warm=warmup_steps, total=total_steps, length=total_steps - warmup_steps)
    vars(s).update(given(s))
    if step < s.warm:
        return rise(s)
    if step >= s.total:
        return end(s)
    s.p = progress(s)
    s.x = shape(s.p)
    s.rate = fall(s)
    return bend(s)


def every_step(draw):
    """All steps of three plans, and some after them."""
    for warm, length in ((2 * draw.randint(2, 3) + 1, draw.randint(15, 21)), (0, draw.randint(15, 21)), (1, 1)):
        total, high, low = warm + length, draw.randint(10, 90) / 1e4, draw.uniform(0.3, 0.4)
        for step in (*range(total), total, total + 1, total + draw.randint(5, 9), 2 * total + 1):
            yield part_of_plan(step, high, low, warm, total), (step, high, round(high * low, 5), warm, total)


def part_of_plan(step, high, low, warm, total):
    """Which part of which plan a step belongs to."""
    part = "before warmup_steps" if step < warm else "from warmup_steps on" if step < total else "from total_steps on"
    return part if warm > 1 else f"warmup_steps = {warm}"


check_learning_rate = spec(
    "4.5", "warm-up and cosine", see=("04", "Too small, right, too large"), right=learning_rate, atol=1e-9, name="the rate",
    cases=every_step, use=lambda answer, *args: Facts({part_of_plan(*args): answer(*args)}),      # the parts in turn
    doc="learning_rate(step, max_lr, min_lr, warmup_steps, total_steps): a line up, half a cosine wave down, then min_lr.",
    mistakes=exchange("given", {
        "max_lr and min_lr are exchanged: the rate rises to max_lr, falls to min_lr": lambda s: {"high": s.low, "low": s.high},
    }) | exchange("rise", {      # k: step + 1, or step
        words: [lambda s, f=f: f(s, s.step + 1), lambda s, f=f: f(s, s.step)] for words, f in {
            "the warm-up starts from min_lr; here it starts from max_lr / warmup_steps":
                lambda s, k: s.low + (s.high - s.low) * k / s.warm,
            "max_lr and min_lr are exchanged: the warm-up leads to max_lr": lambda s, k: s.low * k / s.warm,
            "the warm-up is spread over total_steps; divide by warmup_steps": lambda s, k: s.high * k / s.total,
            "the warm-up falls; it rises from max_lr / warmup_steps to max_lr": lambda s, k: s.high * (1 - k / s.warm),
            "max_lr is missing: a share of warmup_steps came back": lambda s, k: k / s.warm,
            "the warm-up follows a cosine; it rises evenly, along a line": lambda s, k: s.high * (1 - wave(k / s.warm)),
            "the warm-up never falls below min_lr; it starts lower": lambda s, k: max(s.low, s.high * k / s.warm),
            "warm-up and cosine are multiplied; first the one, then the other": lambda s, k: cosine(s, 0, s.total) * k / s.warm,
            "min_lr is added to the warm-up": lambda s, k: s.low + s.high * k / s.warm,
            "the warm-up is divided by warmup_steps - 1; divide by warmup_steps": lambda s, k: s.high * k / (s.warm - 1),
            "the warm-up is divided by warmup_steps + 1; divide by warmup_steps": lambda s, k: s.high * k / (s.warm + 1),
            "the warm-up is not divided by warmup_steps": lambda s, k: s.high * k,
        }.items()
    } | {
        "the warm-up starts at a rate of 0, which moves nothing; take step + 1": lambda s: s.high * s.step / s.warm,
        "the warm-up is one step ahead: step 0 has max_lr / warmup_steps": lambda s: s.high * (s.step + 2) / s.warm,
        "the warm-up is 0 until its end, as // (integer division) makes it; use /": lambda s: s.high * ((s.step + 1) // s.warm),
        "the warm-up stays at 0, as step // warmup_steps does; it rises evenly, with / and step + 1": lambda s: 0.0,
        "the warm-up is missing: the rate is max_lr from the start": lambda s: s.high,
        "the warm-up is missing: the rate is min_lr until it ends": lambda s: s.low,
        "the warm-up is missing: the cosine covers the steps before warmup_steps, too": [lambda s: cosine(s, s.warm, s.length),
            lambda s: cosine(s, 0, s.total), lambda s: cosine(s, 0, s.length), lambda s: s.high * wave(s.step / s.total)],
        "the warm-up ends one step early: it lasts while step < warmup_steps":
            lambda s: s.high * (s.step + 1) / s.warm if s.step < s.warm - 1 else cosine(s, s.warm, s.length),
        "the fraction is upside down: (step + 1) / warmup_steps": lambda s: s.high * s.warm / (s.step + 1),
    }) | exchange("progress", {
        "the cosine runs over all total_steps; it runs over those that the warm-up leaves": lambda s: s.step / s.total,
        "the cosine is divided by total_steps; it is total_steps - warmup_steps long": lambda s: (s.step - s.warm) / s.total,
        "the cosine starts at step 0; count from the end of the warm-up, step - warmup_steps":
            [lambda s: s.step / s.length, lambda s: min(1, s.step / s.length)],
        "the cosine reaches min_lr one step early, at total_steps - 1": lambda s: (s.step - s.warm) / (s.length - 1),
        "the cosine reaches min_lr one step late; it does at total_steps": lambda s: (s.step - s.warm) / (s.length + 1),
        "the cosine is one step ahead: at step = warmup_steps it has max_lr": lambda s: (s.step - s.warm + 1) / s.length,
        "the cosine starts a step early; at step = warmup_steps it has max_lr": lambda s: (s.step - s.warm + 1) / (s.length + 1),
        "the cosine is one step late: at step = warmup_steps it has max_lr": lambda s: (s.step - s.warm - 1) / s.length,
        "parentheses are missing around step - warmup_steps": lambda s: s.step - s.warm / s.length,
        "parentheses are missing around total_steps - warmup_steps": lambda s: (s.step - s.warm) / s.total - s.warm,
        "the cosine is divided by warmup_steps; it is total_steps - warmup_steps long": lambda s: (s.step - s.warm) / s.warm,
        "the cosine is not divided by its length, total_steps - warmup_steps": lambda s: s.step - s.warm,
    }) | exchange("shape", {
        "the half is missing: 1 + cos runs from 2 to 0, so that the rate starts above max_lr": lambda p: 2 * wave(p),
        "a quarter is in the place of the half": lambda p: wave(p) / 2,
        "the angle is in degrees; math.cos takes radians, in which half a wave is π": lambda p: wave(math.degrees(p)),
        "the angle π * progress is in radians, and needs no math.radians": lambda p: wave(math.radians(p)),
        "the 1 is missing: cos runs from 1 to -1, and 1 + cos from 2 to 0": lambda p: wave(p) - 0.5,
        "the 1 and the half are missing: cos runs from 1 to -1, and the rate falls below min_lr": lambda p: 2 * wave(p) - 1,
        "the angle ends at π / 2; half a wave ends at π": [lambda p: 2 * wave(p / 2) - 1, lambda p: wave(p / 2)],
        "the angle ends at 2π, a whole wave; half a wave ends at π": lambda p: wave(2 * p),
        "π is missing: half a wave ends at the angle π, and not at 1": lambda p: wave(p / math.pi),
        "a sine is in the place of the cosine": [lambda p: wave(p - 0.5), lambda p: 1 - math.sin(math.pi / 2 * p)],
        "the rate falls along a line; it falls along half a cosine wave": lambda p: 1 - p,
        "the rate stays at max_lr, as with // (integer division) in progress; it falls along half a cosine wave": lambda p: 1,
        "the rate is min_lr at once; it falls along half a cosine wave": lambda p: 0,
        "parentheses are missing: the half goes with 1 + cos": [lambda p: 2 * wave(p) - 0.5, lambda p: 0.5 + wave(p)],
        "the rate rises, as when max_lr and min_lr are exchanged, or a sign": lambda p: 1 - wave(p),
    }) | exchange("fall", {
        "the cosine falls to 0; scale it by max_lr - min_lr and add min_lr, to which it falls": lambda s: s.high * s.x,
        "the cosine is cut off at min_lr; scale it by max_lr - min_lr and add min_lr": lambda s: max(s.low, s.high * s.x),
        "min_lr is added to a cosine that starts at max_lr; scale it by max_lr - min_lr": lambda s: s.low + s.high * s.x,
        "min_lr is missing: add it to the cosine, which max_lr - min_lr scales": lambda s: (s.high - s.low) * s.x,
        "max_lr is added to the cosine; add min_lr, where it ends": lambda s: s.high + (s.high - s.low) * s.x,
        "max_lr and min_lr are added; scale the cosine by their difference": lambda s: s.low + (s.high + s.low) * s.x,
        "the share (1 + cos) / 2 came back; scale it by max_lr - min_lr and add min_lr": lambda s: s.x,
        "parentheses are missing around 1 + cos": lambda s: s.low + (s.high - s.low) / 2 + 2 * s.x - 1,
        "parentheses are missing around max_lr - min_lr": lambda s: s.low + s.high - s.low * s.x,
    }) | exchange("bend", {
        "the rate falls by a constant factor; it falls along half a cosine wave": lambda s: s.high * (s.low / s.high) ** s.p,
        "the warm-up lasts one step too long, and overshoots max_lr: it lasts while step < warmup_steps":
            lambda s: s.high * (s.step + 1) / max(s.warm, 1) if s.step == s.warm else s.rate,
        "the last step has min_lr; the cosine reaches it at total_steps": lambda s: s.low if s.step == s.total - 1 else s.rate,
        "the warm-up goes on beyond warmup_steps; there the cosine begins": lambda s: s.high * (s.step + 1) / s.warm,
        "the cosine is multiplied by the warm-up's share; it follows the warm-up": lambda s: s.rate * (s.step + 1) / s.warm,
    }) | exchange("end", {
        "after total_steps the cosine rises again; the rate stays at min_lr": lambda s: cosine(s, s.warm, s.length),
        "at total_steps and after, the rate is 0; it is min_lr": lambda s: 0.0,
        "after total_steps the rate is 0; it stays at min_lr": lambda s: s.low if s.step == s.total else 0.0,
        "at total_steps and after, the rate is max_lr; it is min_lr": lambda s: s.high,
        "after total_steps the rate is max_lr; it stays at min_lr": lambda s: s.low if s.step == s.total else s.high,
        "after the end the rate is that of the last step; it is min_lr": lambda s: cosine(s, s.step - s.length + 1, s.length),
        "after total_steps the cosine starts again; the rate stays at min_lr":
            lambda s: s.low + (s.high - s.low) * wave((s.step - s.warm) % s.length / s.length),
    }))


# 4.6
def weight_decay_for(steps, lr, *, left, share=lambda n, q, lr: 1 - q ** (1 / n), end=lambda share, lr: share / lr):
    return end(share(steps, left / 100, lr), lr)


check_weight_decay_for = spec(
    "4.6", "a decay to order", see=("04", "Decay, apart from the gradient"), right=weight_decay_for, rtol=2e-4,
    name="the weight decay",      # neither halves, nor 1/e
    own={"left": [tenths / 10 for tenths in range(201, 700) if tenths % 50 and tenths != 368]},
    doc="weight_decay_for(steps, lr): the decay that leaves your share of a weight after so many steps.",
    cases=lambda draw, left: [(None, (draw.choice([6, 7, 8, 9, 11, 12]), draw.randint(10, 80) / 1e3)),
                              ("one step", (1, draw.randint(10, 40) / 100)),
                              ("many steps", (draw.randint(100, 300), draw.randint(10, 40) / 100))],
    mistakes=exchange("share", {
        "a step takes not the same amount, but the same share of what is left: the factors multiply":
            lambda n, q, lr: (1 - q) / n,
        "-ln(share) / steps is close for many steps only; solve (1 - lr·weight_decay) ** steps = the share that is left":
            lambda n, q, lr: -math.log(q) / n,
        "that is the factor which a weight keeps at every step; the decay is what it loses": lambda n, q, lr: q ** (1 / n),
        "the share has the power steps; it needs the power 1 / steps, a root": [lambda n, q, lr: 1 - q**n, lambda n, q, lr: q**n],
        "the root of one over the share makes weights grow; take that of the share":
            [lambda n, q, lr: (1 / q) ** (1 / n) - 1, lambda n, q, lr: 1 - (1 / q) ** (1 / n)],
        "the sign is wrong: a decay that shrinks is positive": lambda n, q, lr: q ** (1 / n) - 1,
        "the sign is wrong, and ln(share) / steps is close for many steps only": lambda n, q, lr: math.log(q) / n,
        "half of the weight is left here, whatever your number is; take your share": lambda n, q, lr: 1 - 0.5 ** (1 / n),
        "the weight shrinks to 1/e; your share of it is asked": [lambda n, q, lr: 1 - math.exp(-1 / n), lambda n, q, lr: 1 / n],
        "the share that is lost stands where the one that is left belongs": lambda n, q, lr: 1 - (1 - q) ** (1 / n),
        "`left` is in percent; divide it by 100": lambda n, q, lr: 1 - (100 * q) ** (1 / n),
        "the share is divided by steps; take its root of that order": lambda n, q, lr: 1 - q / n,
        "lr went into the exponent; only steps belongs there": lambda n, q, lr: 1 - q ** (1 / (n * lr)),
        "a logarithm to base 10 is in the place of a root": lambda n, q, lr: -math.log10(q) / n,
        "only one step was counted; the factors of all steps give the share": lambda n, q, lr: 1 - q,
        "the square root was taken; the root has the order steps": lambda n, q, lr: 1 - q**0.5,
        "steps is one too small": lambda n, q, lr: 1 - q ** (1 / max(n - 1, 1)),
        "steps is one too large": lambda n, q, lr: 1 - q ** (1 / (n + 1)),
        "from 2 steps on that is 0, as 1 // steps is; use /": lambda n, q, lr: 1 - q ** (1 // n),
    }) | exchange("end", {
        "that is lr * weight_decay; divide it by lr": lambda share, lr: share,
        "lr is multiplied; divide by it": lambda share, lr: share * lr,
        "parentheses are missing: 1 - the root belongs together, divided by lr":
            [lambda share, lr: 1 - (1 - share) / lr, lambda share, lr: (1 - share) / lr - 1],
        "lr is divided by the share; the share is divided by lr": lambda share, lr: lr / share,
        "the decay is doubled": lambda share, lr: 2 * share / lr,
        "the decay is halved": lambda share, lr: share / lr / 2,
    }) | {"the question is turned round: that is how many steps a given decay takes": [
        {"share": lambda n, q, lr: math.log(q) / math.log(1 - lr * n), "end": lambda share, lr: share},
        {"share": lambda n, q, lr: math.log(q) / math.log(1 - lr), "end": lambda share, lr: share}]})
