"""Checks for the exercises of lesson 04: from momentum to AdamW, and how its rates are chosen."""
import math
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain, combinations, permutations, product

import torch
from torch import nn

from gpt_checks.core import (
    Answer,
    NotYet,
    as_tensor,
    compare,
    exercise,
    expect,
    generic,
    is_mistake,
    kind_fault,
    raise_not_yet,
    same,
    short,
    want_that,
)

# Several results at once: each is judged by itself, and the weights last, since they follow from the averages.

def expect_parts(got, want, mistakes, *, rtol=1e-5, atol=1e-6, case=None):
    """Raise NotYet unless `got` holds the tensors of want, {name: tensor}, in its order, as a tuple, a list or stacked.

    mistakes: {name: a function that gives {what is wrong, in words: the result of this mistake}}, in the order in which to judge.
    """
    names, rights = f"({', '.join(want)})", tuple(want.values())
    if isinstance(got, torch.Tensor) and as_tensor(got) is not None and got.ndim == 2 and len(got) == len(want):
        got = tuple(got)
    if same(got, rights, rtol, atol):
        return
    for order in permutations(want):
        want_that(not same(got, tuple(want[name] for name in order), rtol, atol, lenient=True),
                  f"the right tensors came back in the wrong order, as ({', '.join(order)}); need {names}", case)
    for name, right in want.items():
        want_that(not same(got, right, rtol, atol, lenient=True), f"only the new {name} came back; need {names}", case)
    want_kind(got, rights, f"the result {names}", case)
    for name in mistakes:
        expect(got[list(want).index(name)], want[name], mistakes[name](), rtol=rtol, atol=atol, name=f"the new {name}", case=case)


def want_kind(got, want, name, case=None):
    """Raise NotYet unless a result is of the same kind as `want`."""
    fault = kind_fault(got, want)
    want_that(not fault, f"{name} {fault}", case)


def average_mistakes(letter, old, new, beta, share, what):
    """What goes wrong when a running average takes in a new value. share: how β is written; what: the new value in words."""
    first = {} if old.any() else {
        f"from 0, {letter} became {what} itself, as in PyTorch's SGD; the first value, too, has the share 1 - {share} only": new}
    return first | {
        f"{letter} came back as it went in; return the average after it took in {what}": old,
        f"the shares are exchanged: the old {letter} keeps {share}, and {what} gets 1 - {share}": (1 - beta) * old + beta * new,
        f"that is a sum, as PyTorch's SGD keeps it; in an average {what} gets the share 1 - {share}": beta * old + new,
        f"the old {letter} is not shrunk: it keeps the share {share}, also when {what} has its 1 - {share}":
            old + (1 - beta) * new,
        f"old and new are added with no shares at all: {share} for the old {letter}, 1 - {share} for {what}": old + new,
        f"{letter} is only {what}; the old average is forgotten, and should keep the share {share}": new,
        f"the old {letter} is forgotten, and should keep the share {share}": (1 - beta) * new,
        f"{letter} only shrinks; {what} is left out, and should get the share 1 - {share}": beta * old,
        f"both old and new have the share {share}; {what} gets 1 - {share}": beta * (old + new),
        f"both old and new have the share 1 - {share}; the old {letter} keeps {share}": (1 - beta) * (old + new),
        f"the sign of {what} in {letter} is wrong: {letter} averages it as it is, with a plus": beta * old - (1 - beta) * new,
        f"the sign of {what} in {letter} is wrong, and its share 1 - {share} is missing": beta * old - new,
        f"parentheses are missing around 1 - {share}, the share of {what}": beta * old + 1 - beta * new,
        f"{letter} is the plain mean of old and new; the shares are {share} and 1 - {share}": (old + new) / 2,
    }


def mixtures(build, *groups, common=12):
    """{words: a function that gives what `build` makes of one entry of each group}, of which one or two are wrong.

    groups: {what is wrong, in words: entry}; None names the right entry. Two wrong ones: among the first `common` of each group.
    """
    right = [group[None] for group in groups]
    wrong = [[(i, words, entry) for words, entry in group.items() if words] for i, group in enumerate(groups)]
    singles = [(one,) for one in chain(*wrong)]
    pairs = [pair for first, second in combinations(wrong, 2) for pair in product(first[:common], second[:common])]

    def make(parts):
        entries = list(right)
        for i, _, entry in parts:
            entries[i] = entry
        return build(*entries)

    return {"; and ".join(words for _, words, _ in parts): partial(make, parts) for parts in singles + pairs}


@exercise("4.1", "momentum", see=("04", "A running average"))
def check_momentum_step(answer, draw):
    """momentum_step(w, g, m, lr, beta): m = β m + (1 - β) g, then w - lr m; m is not corrected. Returns (w, m)."""
    for case in (None, "m = 0, as at the start", "a gradient of 0"):
        w, g, m = draw.normal(3, draw.randint(4, 6))
        m, g = torch.zeros_like(m) if case and "m = 0" in case else m, torch.zeros_like(g) if case and "gradient" in case else g
        judge_momentum(answer, (w, g, m, draw.uniform(0.1, 0.6), draw.uniform(0.6, 0.85)), case)


def judge_momentum(answer, args, case):
    """Judge one step."""
    w, g, m, lr, beta = args
    new = beta * m + (1 - beta) * g
    expect_parts(answer(*args), {"w": w - lr * new, "m": new}, {
        "m": lambda: average_mistakes("m", m, g, beta, "beta", "g") | {
            "lr went into the average; m averages gradients alone, and lr belongs to the step, w - lr * m":
                beta * m + (1 - beta) * lr * g,
            "lr went into the average, in place of the share 1 - beta; m averages gradients alone, and lr belongs to the step":
                beta * m + lr * g,
            "lr went into the average with a minus; m averages gradients as they are, and both belong to the step, w - lr * m":
                beta * m - lr * g,
            "lr went into the average with a minus, beside 1 - beta; both belong to the step, w - lr * m":
                beta * m - (1 - beta) * lr * g,
            "m is multiplied by lr; that belongs to the step, and not to the average": lr * new,
            "m came back with a minus; the minus belongs to the step, w - lr * m": -new,
            "m averages squares of gradients, which is Adam's v; momentum averages the gradient": beta * m + (1 - beta) * g * g,
            "m averages the weights; it is the gradient that is averaged": beta * m + (1 - beta) * w,
            "m is divided by 1 - beta; this average is not corrected": new / (1 - beta),
            "beta is 0.9 whatever is given": 0.9 * m + 0.1 * g,
        },
        "w": lambda: {
            "the step follows the old m; let m take in g first, then step": w - lr * m,
            "the step follows the gradient alone, as plain gradient descent does; momentum follows the average m": w - lr * g,
            "the step has the wrong sign: it goes uphill; subtract lr * m": w + lr * new,
            "lr is missing in the step: w - lr * m": w - new,
            "lr is there twice": w - lr * lr * new,
            "w came back as it went in; subtract lr * m": w,
            "only the step came back; subtract it from w": lr * new,
            "only the step came back, with its minus; add w": -lr * new,
            "the step looks ahead, as Nesterov's variant does; here it is lr times the new m":
                w - lr * (beta * new + (1 - beta) * g),
            "the step looks ahead, as PyTorch does with nesterov=True; here it is lr times the new m": w - lr * (g + beta * new),
            "the step adds g to the average; g is inside m already": w - lr * (new + g),
            "the average is corrected by 1 - beta before the step; this exercise leaves it as it is": w - lr * new / (1 - beta),
            "the share 1 - beta is applied twice: it is inside m already": w - lr * (1 - beta) * new,
            "the step multiplies m by beta once more; it is inside m already": w - lr * beta * new,
            "the step follows the sum beta * m + g; w follows the new average m": w - lr * (beta * m + g),
            "w is multiplied by beta; only the average forgets": beta * w - lr * new,
            "w is shrunk by lr, too: parentheses? Only m is multiplied by lr": (1 - lr) * w - lr * new,
            "the step is divided by lr; multiply m by it": w - new / lr,
        }}, case=case)


@exercise("4.2", "bias correction", see=("04", "A running average"))
def check_corrected(answer, draw):
    """corrected(average, beta, step): average / (1 - beta ** step), with steps counted from 1."""
    for step, beta, case in ((draw.randint(4, 6), draw.uniform(0.7, 0.95), None), (1, draw.uniform(0.7, 0.95), "the first step"),
                             (draw.randint(500, 1500), 0.999, "a late step, with beta 0.999")):
        average = draw.normal(draw.randint(3, 5))
        filled = 1 - beta**step
        compare(answer, (average, beta, step), average / filled, {
            "the average came back as it was: divide it by the share that is filled so far": average,
            "beta has the power step - 1: steps count from 1, so after the first the share is 1 - beta":
                lambda a, b, t: a / (1 - b ** (t - 1)),
            "beta has the power step + 1: steps count from 1, so after the first the share is 1 - beta":
                lambda a, b, t: a / (1 - b ** (t + 1)),
            "the average is multiplied by the share that is filled; divide, so that it grows": average * filled,
            "the average is divided by 1 - beta, which is right after one step only; after more, beta has the power step":
                lambda a, b, t: a / (1 - b),
            "beta is multiplied by the number of steps; it is raised to their power, since every step shrinks what is older":
                lambda a, b, t: a / (1 - b * t),
            "the power covers 1 - beta; it belongs to beta alone: 1 - beta ** step": lambda a, b, t: a / (1 - b) ** t,
            "the average is divided by beta ** step, the share still open; divide by the share that is filled":
                average / beta**step,
            "the average is multiplied by beta ** step, the share still open; divide by the share that is filled":
                average * beta**step,
            "the exponent and its base are exchanged: it is beta that is raised to the power of step":
                lambda a, b, t: a / (1 - t**b),
            "the root was taken of the share; that goes with the root of v, and not with an average": average / filled**0.5,
            "a division comes before a minus: the denominator 1 - beta ** step needs parentheses": average - beta**step,
            "beta ** step - 1 is negative; the share that is filled is 1 - beta ** step": -average / filled,
            "the filled share is 1 minus beta ** step, and not 1 plus": average / (1 + beta**step),
            "only the share that is filled came back; divide the average by it": filled,
            "only the share that is filled came back, once for each number; divide the average by it":
                torch.full_like(average, filled),
            "the share is upside down: divide the average by it": filled / average,
            "only the factor came back, without the average": 1 / filled,
            "the average is divided by the number of steps, as a plain mean is; this one forgets: divide by 1 - beta ** step":
                average / step,
            "1 - beta is in the average already; only divide by 1 - beta ** step": average * (1 - beta) / filled,
            "the correction is applied twice": average / filled**2,
            "beta has the power 1 / step; it is raised to the power of step": lambda a, b, t: a / (1 - b ** (1 / t)),
            "beta has a minus in its exponent": lambda a, b, t: a / (1 - b**-t),
            "e is in the place of beta": lambda a, b, t: a / (1 - math.exp(-b * t)),
            "beta is 0.9 whatever is given": lambda a, b, t: a / (1 - 0.9**t),
            "beta is 0.999 whatever is given": lambda a, b, t: a / (1 - 0.999**t),
        }, scales={"1 - beta": 1 - beta, "beta": beta, "the number of steps": step},
            rtol=1e-5 if step < 100 else 1e-4, name="the corrected average", case=case)


@exercise("4.3", "the AdamW step", see=("04", "AdamW by hand"))
def check_adamw_step(answer, draw):
    """adamw_step(w, g, m, v, step, lr, betas, eps, weight_decay): (w, m, v) as torch.optim.AdamW has them, in float64."""
    def settings():
        """lr, betas, eps, weight_decay: far from PyTorch's, and so large that each leaves its mark."""
        return (draw.uniform(0.05, 0.2), (draw.uniform(0.65, 0.8), draw.uniform(0.93, 0.98)), draw.uniform(0.05, 0.15),
                draw.uniform(0.2, 0.4))

    n, double = draw.randint(4, 6), torch.float64
    w, g, m, v = (draw.normal(n, dtype=double) for _ in range(4))
    judge_adamw(answer, (w, g, m / 2, v.square() / 10 + 0.02, draw.randint(3, 5), *settings()))

    w, m, v, chosen = draw.normal(n, dtype=double), torch.zeros(n, dtype=double), torch.zeros(n, dtype=double), settings()
    for step in range(1, 6):                                  # a whole run; the last weight never has a gradient
        g = draw.normal(n, dtype=double) * (torch.arange(n) < n - 1)
        w, m, v = judge_adamw(answer, (w, g, m, v, step, *chosen), case=f"step {step} of a run from m = v = 0")
    nothing = torch.zeros(n, dtype=double)
    judge_adamw(answer, (w, nothing, m, v, 6, *chosen[:3], 0.0), case="a gradient of 0 and no decay")


def judge_adamw(answer, args, case=None):
    """Judge one step; returns the right w, m and v."""
    w, g, m, v, step, lr, (beta1, beta2), eps, decay = args
    new_m, new_v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    root = (new_v / (1 - beta2**step)).sqrt()
    new_w = (1 - lr * decay) * w - lr * new_m / (1 - beta1**step) / (root + eps)
    expect_parts(answer(*args), {"w": new_w, "m": new_m, "v": new_v}, {
        "m": lambda: adamw_m_mistakes(w, g, m, v, step, lr, (beta1, beta2), decay),
        "v": lambda: adamw_v_mistakes(w, g, m, v, step, lr, (beta1, beta2), decay),
        "w": lambda: adamw_w_mistakes(w, g, (m, new_m), (v, new_v), step, lr, (beta1, beta2), eps, decay)}, case=case)
    return new_w, new_m, new_v


L2 = "the decay went through the gradient (weight_decay * w added to g): that is L2; AdamW averages g alone and shrinks w apart"


def adamw_m_mistakes(w, g, m, v, step, lr, betas, decay):
    """{words: the m that comes of it}"""
    beta, other = betas
    new = beta * m + (1 - beta) * g
    return {
        L2: beta * m + (1 - beta) * (g + decay * w),
        L2 + " (and lr went along)": beta * m + (1 - beta) * (g + lr * decay * w),
        L2 + " (and with a minus)": beta * m + (1 - beta) * (g - decay * w),
        "betas are exchanged: β₁, the first, goes with m": other * m + (1 - other) * g,
        "the corrected m came back; correct a copy for the step, and return m as it is, or the next step corrects again":
            new / (1 - beta**step),
    } | average_mistakes("m", m, g, beta, "β₁", "g") | {
        "m averages squares; that is v's part, m averages g": beta * m + (1 - beta) * g * g,
        "m came back where v belongs, or took in v": beta * v + (1 - beta) * g,
        "m averages the weights; it averages their gradients": beta * m + (1 - beta) * w,
        "lr went into m; it belongs to the step": beta * m + (1 - beta) * lr * g,
        "m is multiplied by lr; that belongs to the step": lr * new,
        "β₁ has the power step inside the average; the power belongs to the correction alone":
            beta**step * m + (1 - beta**step) * g,
        "β₁ is 0.9 whatever is given": 0.9 * m + 0.1 * g,
        "the old m was corrected before it took in g": beta * m / (1 - beta ** max(step - 1, 1)) + (1 - beta) * g,
        "the share of the old m is β₂": other * m + (1 - beta) * g,
        "the share of g in m is 1 - β₂; it is 1 - β₁": beta * m + (1 - other) * g,
    }


def adamw_v_mistakes(w, g, m, v, step, lr, betas, decay):
    """{words: the v that comes of it}"""
    other, beta = betas
    square, new_m = g * g, other * m + (1 - other) * g
    new = beta * v + (1 - beta) * square
    return {
        L2: beta * v + (1 - beta) * (g + decay * w).square(),
        "v averages g; it averages the squares, g * g": beta * v + (1 - beta) * g,
        "betas: β₁ is used for v, too; β₂, the second, goes with v": other * v + (1 - other) * square,
        "the corrected v came back; correct a copy for the step, and return v as it is, or the next step corrects again":
            new / (1 - beta**step),
        "the root of v came back; return v itself": new.sqrt(),
        "the root of the corrected v came back; return v itself": (new / (1 - beta**step)).sqrt(),
        "v averages |g|; it averages the squares, g * g": beta * v + (1 - beta) * g.abs(),
        "v averages the squares of m; it averages the squares of g": beta * v + (1 - beta) * new_m.square(),
        "v averages the squares of the old m; it averages the squares of g": beta * v + (1 - beta) * m.square(),
        "v averages the squares of the corrected m; it averages the squares of g":
            beta * v + (1 - beta) * (new_m / (1 - other**step)).square(),
        "v averages the squares of g - m; it averages the squares of g": beta * v + (1 - beta) * (g - new_m).square(),
        "the share 1 - β₂ is squared, too; only g is": beta * v + ((1 - beta) * g).square(),
        "the whole average is squared; only g is, before it is averaged": (beta * v + (1 - beta) * g).square(),
        "v takes in one number for all weights; each weight has its own average: no sum and no mean":
            beta * v + (1 - beta) * square.sum(),
        "v takes in the mean square of all weights; each weight has its own average": beta * v + (1 - beta) * square.mean(),
        "m is averaged into v; v keeps its own average, of g * g": beta * m + (1 - beta) * square,
        "g is doubled, 2 * g, where its square belongs": beta * v + (1 - beta) * 2 * g,
    } | average_mistakes("v", v, square, beta, "β₂", "g * g") | {
        "β₂ has the power step inside the average; the power belongs to the correction alone":
            beta**step * v + (1 - beta**step) * square,
        "β₂ is 0.999 whatever is given": 0.999 * v + 0.001 * square,
        "the share of g * g in v is 1 - β₁; it is 1 - β₂": beta * v + (1 - other) * square,
        "the share of the old v is β₁; it is β₂": other * v + (1 - beta) * square,
        "v averages the squares of the weights; it averages those of their gradients": beta * v + (1 - beta) * w * w,
    }


def adamw_w_mistakes(w, g, ms, vs, step, lr, betas, eps, decay):
    """{words: a function that gives the w that comes of it}, for one mistake or two; ms and vs: old and new."""
    (old_m, m), (old_v, v), (beta1, beta2) = ms, vs, betas
    filled1, filled2 = 1 - beta1**step, 1 - beta2**step
    early1, early2 = (torch.tensor(1 - beta ** (step - 1), dtype=torch.float64) for beta in betas)
    late1, late2 = (1 - beta ** (step + 1) for beta in betas)
    m_hat, v_hat = m / filled1, v / filled2
    hats = {
        None: (m_hat, v_hat),
        "the bias correction of both m and v is missing: divide by 1 - β₁ ** step and 1 - β₂ ** step": (m, v),
        "the bias correction of m is missing: divide m by 1 - β₁ ** step": (m, v_hat),
        "the bias correction of v is missing: divide v by 1 - β₂ ** step": (m_hat, v),
        "the bias correction counts from 0, with the power step - 1; `step` is 1 at the first step": (m / early1, v / early2),
        "the bias correction counts one step too many, with the power step + 1; `step` is 1 at the first step":
            (m / late1, v / late2),
        "the bias correction multiplies; divide by 1 - β ** step": (m * filled1, v * filled2),
        "the bias correction divides by 1 - β; the power is missing: 1 - β ** step": (m / (1 - beta1), v / (1 - beta2)),
        "betas are exchanged in the bias correction: β₁ goes with m, β₂ with v": (m / filled2, v / filled1),
        "g is in the place of m, so that the first average is forgotten; the corrected m is divided by the root": (g, v_hat),
        "the step uses the old m and v; let them take in g first": (old_m / filled1, old_v / filled2),
        "the bias correction of m has the power step - 1; `step` is 1 at the first step": (m / early1, v_hat),
        "the bias correction of v has the power step - 1; `step` is 1 at the first step": (m_hat, v / early2),
        "the bias correction of m has the power step + 1; `step` is 1 at the first step": (m / late1, v_hat),
        "the bias correction of v has the power step + 1; `step` is 1 at the first step": (m_hat, v / late2),
        "m is corrected with β₂; β₁ goes with m": (m / filled2, v_hat),
        "v is corrected with β₁; β₂ goes with v": (m_hat, v / filled1),
        "the bias correction of m multiplies; divide": (m * filled1, v_hat),
        "the bias correction of v multiplies; divide": (m_hat, v * filled2),
        "the bias correction of m divides by 1 - β₁; the power is missing: 1 - β₁ ** step": (m / (1 - beta1), v_hat),
        "the bias correction of v divides by 1 - β₂; the power is missing: 1 - β₂ ** step": (m_hat, v / (1 - beta2)),
        "the bias correction divides by 1 - β * step; a power belongs there: 1 - β ** step":
            (m / (1 - beta1 * step), v / (1 - beta2 * step)),
        "the power in the bias correction covers 1 - β; it belongs to β alone":
            (m / (1 - beta1) ** step, v / (1 - beta2) ** step),
        "the bias correction divides by β ** step; divide by 1 - β ** step": (m / beta1**step, v / beta2**step),
        "the bias correction was done twice": (m / filled1**2, v / filled2**2),
        "the bias correction of m was done twice": (m / filled1**2, v_hat),
        "the bias correction of v was done twice": (m_hat, v / filled2**2),
        "the bias correction of m is under a root; that goes with the root of v alone": (m / filled1**0.5, v_hat),
        "the bias correction has betas of 0.9 and 0.999 whatever is given": (m / (1 - 0.9**step), v / (1 - 0.999**step)),
        "g is in the place of m, so that the first average is forgotten, and corrected": (g / filled1, v_hat),
        "g * g is in the place of v, so that the second average is forgotten": (m_hat, g * g),
        "the step uses the old m; let it take in g first": (old_m / filled1, v_hat),
        "the step uses the old v; let it take in g * g first": (m_hat, old_v / filled2),
        "m takes in g twice: the average was formed again for the step": ((beta1 * m + (1 - beta1) * g) / filled1, v_hat),
        "m and v are exchanged: m is divided by the root of v": (v_hat, m_hat),
        "the square of m is divided by the root; m itself is": (m_hat.square(), v_hat),
    }
    roots = {
        None: lambda v: v.sqrt() + eps,
        "eps is inside the root; it is added to the root: v.sqrt() + eps": lambda v: (v + eps).sqrt(),
        "eps is inside the root and outside; it is added to the root alone": lambda v: (v + eps).sqrt() + eps,
        "the root is missing: m is divided by the square root of v, plus eps": lambda v: v + eps,
        "the root is missing, and eps, too: divide by v.sqrt() + eps": lambda v: v,
        "eps is missing: added to the root, it prevents a division by zero": lambda v: v.sqrt(),
        "eps is 1e-8 whatever is given": lambda v: v.sqrt() + 1e-8,
        "eps is added to the root before its bias correction; correct v first, then take the root, then add eps":
            lambda v: ((v * filled2).sqrt() + eps) / filled2**0.5,
        "v is corrected after its root was taken; correct v first, or divide its root by the root of 1 - β₂ ** step":
            lambda v: (v * filled2).sqrt() / filled2 + eps,
        "eps is subtracted from the root; add it": lambda v: v.sqrt() - eps,
        "eps is multiplied with the root; add it": lambda v: v.sqrt() * eps,
        "eps is a lower bound of the root; add it instead": lambda v: v.sqrt().clamp(min=eps),
        "eps is inside the root before the bias correction; it is added to the root of the corrected v":
            lambda v: (v * filled2 + eps).sqrt() / filled2**0.5,
        "v is squared in place of its root": lambda v: v.square() + eps,
        "v is added up over all weights; each weight has its own root": lambda v: v.sum().sqrt() + eps,
        "the mean of v over all weights was taken; each weight has its own root": lambda v: v.mean().sqrt() + eps,
        "the division by the root of v is missing, so that this is momentum": torch.ones_like,
        "m is multiplied by the root of v; divide": lambda v: 1 / (v.sqrt() + eps),
    }
    less, share = 1 - lr * decay, lr * decay
    ends = {                            # (what is left of w, what the ratio is multiplied by), or a function of top and root
        None: (less * w, -lr),
        "the weight decay is missing: w first shrinks by lr * weight_decay of itself": (w, -lr),
        "the update has the wrong sign, so that w goes uphill: subtract it": (less * w, lr),
        "lr is missing in the update": (less * w, -1),
        "the decay is not multiplied by lr: w shrinks by lr * weight_decay of itself": ((1 - decay) * w, -lr),
        "lr is in the decay twice: w shrinks by lr * weight_decay of itself": ((1 - lr * share) * w, -lr),
        "the decay has the wrong sign, so that w grows: multiply it by 1 - lr * weight_decay": ((1 + share) * w, -lr),
        "the decay comes after the update, and shrinks that as well; AdamW shrinks w first, then updates": (less * w, -lr * less),
        "the decay comes after the update, and is not multiplied by lr": ((1 - decay) * w, -lr * (1 - decay)),
        "the decay is divided by the root of v together with m; AdamW keeps the decay apart from that":
            lambda top, root: w - lr * (top + decay * w) / root,
        "the decay uses the update's corrected rate; it uses lr itself": ((1 - share * filled2**0.5 / filled1) * w, -lr),
        "the decay takes lr * weight_decay from every weight, large or small; it takes that share of w": (w - share, -lr),
        "the decay takes weight_decay from every weight; it takes the share lr * weight_decay of w": (w - decay, -lr),
        "w is multiplied by lr * weight_decay, the share that it loses; multiply it by 1 - lr * weight_decay": (share * w, -lr),
        "w is multiplied by weight_decay; multiply it by 1 - lr * weight_decay": (decay * w, -lr),
        "weight_decay is missing in the decay, which takes the share lr of w; it is lr * weight_decay": ((1 - lr) * w, -lr),
        "the decay is applied twice": (less**2 * w, -lr),
        "the decay is doubled; w shrinks by lr * weight_decay of itself": ((1 - 2 * share) * w, -lr),
        "the decay is halved; w shrinks by lr * weight_decay of itself": ((1 - share / 2) * w, -lr),
        "the decay is divided by the root of v together with m, and multiplied by lr twice; AdamW keeps it apart":
            lambda top, root: w - lr * (top + share * w) / root,
        "the factor 1 - lr * weight_decay went to the update; it goes to w": (w, -lr * less),
        "the decay uses lr / (1 - β₁ ** step); that is the update's, the decay uses lr itself": ((1 - share / filled1) * w, -lr),
        "the decay is divided by lr; multiply it": ((1 - decay / lr) * w, -lr),
        "both decay and update have the wrong sign: subtract them": ((1 + share) * w, lr),
        "the weight decay is missing, and the update has the wrong sign": (w, lr),
        "lr is missing in both decay and update": ((1 - decay) * w, -1),
        "lr is missing in the update, and the decay is missing": (w, -1),
        "lr is in the update twice": (less * w, -lr * lr),
        "the update is divided by lr; multiply it": (less * w, -1 / lr),
        "the update is missing: w only decays": (less * w, 0),
        "w came back as it went in": (w, 0),
        "only the update came back; subtract it from w, after w has shrunk": (0, lr),
        "only the update came back, with its minus; add the shrunk w": (0, -lr),
        "only the ratio of m and root came back; w moves by lr times that": (0, 1),
        "only decay and update came back; add them to w": (-share * w, -lr),
        "eps is added to the ratio: parentheses are missing around v.sqrt() + eps":
            lambda top, root: less * w - lr * (top / (root - eps) + eps),
        "eps is added to the update: parentheses are missing around v.sqrt() + eps":
            lambda top, root: less * w - (lr * top / (root - eps) + eps),
        "eps is added at the end: parentheses are missing around v.sqrt() + eps":
            lambda top, root: less * w - lr * top / (root - eps) + eps,
        "weight_decay is 0.01 whatever is given": ((1 - lr * 0.01) * w, -lr),
        "weight_decay is 0.1 whatever is given": ((1 - lr * 0.1) * w, -lr),
        "weight_decay is 0.5 whatever is given": ((1 - lr * 0.5) * w, -lr),
        "lr is 0.001 whatever is given": ((1 - 0.001 * decay) * w, -0.001),
    }

    def new_w(hat, root, end):
        top, bottom = hat[0], root(hat[1])
        return end(top, bottom) if callable(end) else end[0] + end[1] * top / bottom

    return mixtures(new_w, hats, roots, ends)


@exercise("4.4", "which weights decay", see=("04", "Roads not taken"))
def check_decay_groups(answer, draw):
    """decay_groups(model, weight_decay): two groups for AdamW; tensors with 2 or more dimensions decay, the others do not."""
    for shared in (False, True):
        model, decay = mixed_model(draw, shared), draw.uniform(0.02, 0.09)
        before = [p.detach().clone() for p in model.parameters()]
        got = answer(model, decay)
        groups = [(tensors_of(group, number, model), group["weight_decay"])
                  for number, group in enumerate(groups_of(got), start=1)]
        want_that(all(map(torch.equal, before, model.parameters())), "the model's weights were changed; only sort them")
        want_each_once(groups, model)
        want_split(groups, model, decay)


class Mixed(nn.Module):
    """A model of every kind of parameter; it is looked at, and never run."""


def mixed_model(draw, shared):
    """A small model whose names mislead; shared: two layers have one table in common."""
    v, c = draw.randint(11, 14), draw.randint(7, 9)
    parts = [
        (draw.choice(["tokens", "words"]), nn.Embedding(v, c)),
        (draw.choice(["bias_net", "unbiased"]), nn.Linear(c, c + 1)),                     # a matrix that says bias
        (draw.choice(["norm_ln_mix", "normal_ln"]), nn.Linear(2, 2)),                     # one that says norm, with few numbers
        (draw.choice(["out", "head"]), nn.Linear(c, v, bias=False)),
        (draw.choice(["stack", "cube"]), nn.Parameter(torch.randn(2, 3, c))),
        (draw.choice(["steady", "level", "even_out"]), nn.LayerNorm(c + 1)),              # scales that do not say norm
        (draw.choice(["calm", "settle"]), nn.LayerNorm(c)),
        (draw.choice(["gain", "weight_of_each"]), nn.Parameter(torch.randn(c))),
        (draw.choice(["temperature", "overall_weight"]), nn.Parameter(torch.randn(()))),
    ]
    if shared:
        parts[3][1].weight = parts[0][1].weight
    draw.shuffle(parts)
    model = Mixed()
    for name, part in parts:
        setattr(model, name, part)
    model.register_buffer("mask", torch.randn(4, 4))
    return model


FORM = '{"params": [...], "weight_decay": ...}'


def listed(value, what):
    """The entries of a list, or of whatever else can be walked through."""
    if isinstance(value, str | bytes | torch.Tensor | Mapping) or not isinstance(value, Iterable):
        raise NotYet(f"{what} is of type {type(value).__name__}; need a list")
    return Answer(lambda: iter(value), what)()


def groups_of(got):
    """The two dicts of an answer."""
    want_that(got is not None, "None came back: is a `return` missing?")
    want_that(not isinstance(got, torch.optim.Optimizer), "an optimizer came back; need the list of groups that it takes")
    want_that(not isinstance(got, Mapping), f"one dict came back; need a list of two, each {FORM}")
    groups = listed(got, "the result")
    for number, group in enumerate(groups, start=1):
        want_that(isinstance(group, Mapping), f"group {number} is of type {type(group).__name__}; need a dict, {FORM}")
        for key in ("params", "weight_decay"):
            keys = ", ".join(map(short, list(group)[:5])) or "none"
            extra = "; without it AdamW takes its own default, 0.01" if key == "weight_decay" else ""
            want_that(key in group, f'group {number} has no key "{key}"{extra} (its keys: {keys})')
    want_that(len(groups) == 2, f"the number of groups is {len(groups)}; need two: one that decays, and one that does not")
    return groups


def tensors_of(group, number, model):
    """The parameters of one group."""
    params, own = group["params"], {id(p): p for p in model.parameters()}
    want_that(not isinstance(params, set | frozenset), f'"params" of group {number} is a set; PyTorch needs a list')
    items = listed(params, f'"params" of group {number}')
    for item in items:
        if id(item) in own:
            continue
        want_that(not isinstance(item, str), f'"params" of group {number} holds names; need the tensors themselves')
        want_that(not isinstance(item, tuple | list), f'"params" of group {number} holds pairs (of name and tensor, as from '
                  "named_parameters()) or lists; need the tensors alone")
        want_that(not isinstance(item, nn.Module), f'"params" of group {number} holds layers; need their tensors')
        want_that(isinstance(item, torch.Tensor), f'"params" of group {number} holds a {type(item).__name__}; need tensors')
        copies = [name for name, p in model.named_parameters() if same(item, p.detach(), 0, 0)]
        want_that(not copies, f'"params" of group {number} holds a copy of `{"".join(copies[:1])}` (or .data, or state_dict\'s), '
                  "which gets no gradient; need the model's own parameters")
        raise NotYet(f'"params" of group {number} holds a tensor of shape {tuple(item.shape)} that is no parameter of the model')
    return items


def described(name, model):
    """A parameter in words: its name, and how many dimensions it has."""
    p = dict(model.named_parameters())[name]
    owner = model.get_submodule(name.rpartition(".")[0])
    scale = ", the scale of a LayerNorm" if isinstance(owner, nn.LayerNorm) and name.endswith("weight") else ""
    return f"`{name}`{scale} ({p.ndim} dimension{'s' * (p.ndim != 1)})"


def want_each_once(groups, model):
    """Raise NotYet unless every parameter stands in one group, once."""
    places = {name: [number for number, (tensors, _) in enumerate(groups, start=1) for q in tensors if q is p]
              for name, p in model.named_parameters()}
    missing = [name for name, found in places.items() if not found]
    for name in missing:
        want_that(all(tensors for tensors, _ in groups), f"a group is empty, and {described(name, model)} stands in none; a "
                  "generator such as model.parameters() is used up after one walk: ask for it again, or make a list of it first")
        raise NotYet(f"missing in both groups: {described(name, model)}"
                     + (f", and {len(missing) - 1} more" if len(missing) > 1 else ""))
    everywhere = [p for _, p in model.named_parameters(remove_duplicate=False)]
    for name, found in places.items():
        own = sum(p is dict(model.named_parameters())[name] for p in everywhere) == 1
        want_that(len(found) == 1, f"{described(name, model)} is there {len(found)} times, in "
                  f"{'both groups' if len(set(found)) > 1 else f'group {found[0]}'}; each parameter stands in one group, once"
                  + ("" if own else ": two layers share this one, and model.parameters() gives it once"))


def want_split(groups, model, decay):
    """Raise NotYet unless the right parameters decay, by the right number."""
    numbers = [number for _, number in groups]
    for i, number in enumerate(numbers, start=1):
        want_that(number is not None, f'"weight_decay" of group {i} is None; what does not decay has 0')
        want_kind(number, 0.0, f'"weight_decay" of group {i}')
    first, second = (as_tensor(number).double().item() for number in numbers)
    want_that(first or second, f'"weight_decay" is 0 in both groups; in one it is the weight_decay that is given, {short(decay)}')
    want_that(not (first and second), f'"weight_decay" is {short(first)} in one group and {short(second)} in the other; '
              "the tensors that do not decay get 0")
    given = first or second
    want_that(math.isclose(given, decay, rel_tol=1e-5),
              f'"weight_decay" is {short(given)}; need the one that is given, {short(decay)}')

    decaying = {id(p) for p in groups[0 if first else 1][0]}
    owners = {f"{prefix}.{name}".lstrip("."): module for prefix, module in model.named_modules()
              for name, _ in module.named_parameters(recurse=False)}
    params = dict(model.named_parameters())

    def split(rule):
        return {id(p) for name, p in params.items() if rule(name, p, owners[name])}

    wrong = [name for name, p in params.items() if (p.ndim >= 2) != (id(p) in decaying)]
    if not wrong:
        return
    by_name = "names were asked, and names mislead; ask each tensor for its dimensions, p.ndim: "
    rules = {
        "the groups are exchanged: tensors with 2 or more dimensions decay, the others do not. ":
            lambda name, p, owner: p.ndim < 2,
        "all tensors are in the group that decays; if names were asked, none matched. ": lambda *_: True,
        "all tensors are in the group that does not decay. ": lambda *_: False,
        "only tensors with exactly 2 dimensions decay; 3 are more than 2. ": lambda name, p, owner: p.ndim == 2,
        "only tensors with more than 2 dimensions decay; 2 are enough. ": lambda name, p, owner: p.ndim > 2,
        "tensors with 1 dimension decay, too; 2 or more are needed. ": lambda name, p, owner: p.ndim >= 1,
        "only biases were exempted, by their names. ": lambda name, p, owner: not name.endswith("bias"),
        "whatever has bias in its name was exempted. ": lambda name, p, owner: "bias" not in name,
        by_name + "not every weight is a matrix. ": lambda name, p, owner: "weight" in name,
        by_name + "a LayerNorm's scale is called weight, too. ": lambda name, p, owner: name.endswith("weight"),
        "tensors with 0 dimensions decay, too; 2 or more are needed. ": lambda name, p, owner: p.ndim != 1,
        "names were asked, too, where dimensions alone tell: a matrix may say norm. ":
            lambda name, p, owner: p.ndim >= 2 and "norm" not in name,
        "names were asked, too, where dimensions alone tell: a matrix may say bias. ":
            lambda name, p, owner: p.ndim >= 2 and "bias" not in name,
        by_name + "not every weight is a matrix, and not every norm says so. ":
            lambda name, p, owner: "weight" in name and "norm" not in name,
        by_name + "not every bias or norm says so. ": lambda name, p, owner: "bias" not in name and "norm" not in name,
        by_name + "not every bias, norm or ln says so. ":
            lambda name, p, owner: not any(x in name for x in ("bias", "norm", "ln")),
        by_name + "not every norm says so. ": lambda name, p, owner: "norm" not in name,
        by_name + "a name's end tells too little. ": lambda name, p, owner: not name.endswith("bias") and "norm" not in name,
        "the size of a tensor was asked; count its dimensions, p.ndim. ": lambda name, p, owner: p.numel() > 1,
        "embeddings were exempted; a table has 2 dimensions, and decays. ":
            lambda name, p, owner: p.ndim >= 2 and not isinstance(owner, nn.Embedding),
        "only weights of nn.Linear decay; everything with 2 or more dimensions does. ":
            lambda name, p, owner: isinstance(owner, nn.Linear) and p.ndim >= 2,
        "layers were asked for their type; a linear layer's bias has 1 dimension, and does not decay. ":
            lambda name, p, owner: isinstance(owner, nn.Linear),
        "only LayerNorm was exempted. ": lambda name, p, owner: not isinstance(owner, nn.LayerNorm),
        "only LayerNorm and biases were exempted, by type and name. ":
            lambda name, p, owner: not isinstance(owner, nn.LayerNorm) and not name.endswith("bias"),
        "only layers' weights were asked for their dimensions. ":
            lambda name, p, owner: p.ndim >= 2 and isinstance(owner, nn.Linear | nn.Embedding),
    }
    words = next((words for words, rule in rules.items() if split(rule) == decaying), "")
    name = min(wrong, key=lambda name: not isinstance(owners[name], nn.LayerNorm))      # the best example
    raise NotYet(f"{words}{'For example, ' if words else ''}{described(name, model)} "
                 f"{'decays, and should not' if id(params[name]) in decaying else 'does not decay, and should'}")


@exercise("4.5", "warm-up and cosine", see=("04", "Too small, right, too large"))
def check_learning_rate(answer, draw):
    """learning_rate(step, max_lr, min_lr, warmup_steps, total_steps): a line up, half a cosine wave down, then min_lr."""
    for case, warm in ((None, draw.randint(4, 7)), ("warmup_steps = 0", 0)):
        top, total = draw.uniform(0.001, 0.009), warm + draw.randint(15, 21)
        late = [total, total + 1, total + draw.randint(5, 9), 2 * total + 1]
        judge_rates(answer, top, top * draw.uniform(0.1, 0.3), warm, total, late, case)


def judge_rates(answer, top, low, warm, total, late, case):
    """Judge the rates of one run, and of the steps `late`, at its end and after."""
    got, cosine = {}, cosine_rate(top, low, warm, total)
    for step in (*range(total), *late):
        try:
            rate = answer(step, top, low, warm, total)
        except NotYet as error:
            raise_not_yet(str(error), case, error.named)
        want_kind(rate, 0.0, "the rate", f"step {step}, warmup_steps {warm}, total_steps {total}")
        got[step] = as_tensor(rate).double().item()

    expect_rates({step: got[step] for step in range(warm)}, lambda step: top * (step + 1) / warm,
                 warmup_mistakes(top, low, warm, total), "the warm-up", case)
    expect_rates({step: got[step] for step in range(warm, total)}, cosine,
                 cosine_mistakes(top, low, warm, total), "the cosine", case)
    expect_rates({step: got[step] for step in late}, lambda step: low, {
        "after total_steps the cosine rises again; the rate stays at min_lr": cosine,
        "at total_steps and after, the rate is 0; it is min_lr": lambda step: 0.0,
        "after total_steps the rate is 0; it stays at min_lr": lambda step: low if step == total else 0.0,
        "at total_steps and after, the rate is max_lr; it is min_lr": lambda step: top,
        "after total_steps the rate is max_lr; it stays at min_lr": lambda step: low if step == total else top,
        "after total_steps the rate stays where the last step left it; it is min_lr": lambda step: cosine(total - 1),
        "after total_steps the rate starts again with the cosine; it stays at min_lr":
            lambda step: cosine(warm + (step - warm) % (total - warm)),
    }, "the time after total_steps", case)


def cosine_rate(top, low, warm, total):
    """The rate of a step from warmup_steps to total_steps, as a function of it."""
    return lambda step: low + (top - low) * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2


def expect_rates(got, right, mistakes, name, case):
    """Raise NotYet unless got, {step: rate}, has the right rates.

    right: the rate of a step, a function. mistakes: {what is wrong, in words: such a function}.
    """
    def curve(rate):
        return torch.tensor([float(rate(step)) for step in got], dtype=torch.float64)

    rates, want = torch.tensor(list(got.values()), dtype=torch.float64), curve(right)
    if not got or same(rates, want, 1e-4, 1e-9):
        return
    for words, rate in mistakes.items():
        if is_mistake(rates, curve, (rate,), 1e-4, 1e-9):
            raise_not_yet(words, case)
    words = generic(rates, want, {}, f"the rate in {name}", 1e-4, 1e-9)
    worst = list(got)[(rates - want).abs().nan_to_num(nan=math.inf).argmax()]
    raise_not_yet(words or f"in {name}: the rate of step {worst} is {short(got[worst])}, and {short(right(worst))} is right",
                  case, named=bool(words))


def warmup_mistakes(top, low, warm, total):
    """{words: rate of a step before warmup_steps}"""
    cosine = cosine_rate(top, low, warm, total)
    return {
        "the warm-up starts at a rate of 0, which moves nothing; step 0 has max_lr / warmup_steps: take step + 1":
            lambda step: top * step / warm,
        "the warm-up is divided by warmup_steps + 1, so that it ends below max_lr; its last step has max_lr":
            lambda step: top * (step + 1) / (warm + 1),
        "the warm-up starts at 0 and is divided by warmup_steps - 1; step 0 has max_lr / warmup_steps":
            lambda step: top * step / (warm - 1),
        "the warm-up is one step ahead: step 0 has max_lr / warmup_steps": lambda step: top * (step + 2) / warm,
        "the warm-up is divided by warmup_steps - 1; divide by warmup_steps": lambda step: top * (step + 1) / (warm - 1),
        "// is a division of whole numbers, which gives 0 until the end; use / for the warm-up":
            lambda step: top * ((step + 1) // warm),
        "// is a division of whole numbers, which gives 0 here; use /, and step + 1": lambda step: top * (step // warm),
        "the warm-up starts from min_lr; here it starts from max_lr / warmup_steps": lambda step: low + (top - low) * step / warm,
        "the warm-up starts from min_lr, one share up; here it is (step + 1) / warmup_steps of max_lr":
            lambda step: low + (top - low) * (step + 1) / warm,
        "the warm-up starts from min_lr and ends at max_lr; here step 0 has max_lr / warmup_steps":
            lambda step: low + (top - low) * step / (warm - 1),
        "the warm-up is missing: the rate is max_lr from the start": lambda step: top,
        "the warm-up is missing: the rate is min_lr until it ends": lambda step: low,
        "max_lr and min_lr are exchanged: the warm-up leads to max_lr": lambda step: low * (step + 1) / warm,
        "max_lr and min_lr are exchanged, and the warm-up starts at 0": lambda step: low * step / warm,
        "the warm-up is missing: the cosine covers the steps before warmup_steps, too": cosine,
        "the warm-up is missing: the cosine starts at step 0": cosine_rate(top, low, 0, total),
        "the warm-up is missing: the cosine starts at step 0, with a length of total_steps - warmup_steps":
            cosine_rate(top, low, 0, total - warm),
        "the warm-up is missing: the cosine starts at step 0, and ends at 0": cosine_rate(top, 0.0, 0, total),
        "the warm-up is spread over total_steps; divide by warmup_steps": lambda step: top * (step + 1) / total,
        "the warm-up is spread over total_steps and starts at 0; divide step + 1 by warmup_steps":
            lambda step: top * step / total,
        "the warm-up falls; it rises from max_lr / warmup_steps to max_lr": lambda step: top * (1 - (step + 1) / warm),
        "the warm-up falls from max_lr; it rises to it": lambda step: top * (1 - step / warm),
        "max_lr is missing: the share (step + 1) / warmup_steps came back": lambda step: (step + 1) / warm,
        "max_lr is missing, and the share starts at 0": lambda step: step / warm,
        "the warm-up follows a cosine; it rises evenly, along a line":
            lambda step: top * (1 - math.cos(math.pi * (step + 1) / warm)) / 2,
        "the warm-up follows a cosine from 0; it rises evenly, along a line":
            lambda step: top * (1 - math.cos(math.pi * step / warm)) / 2,
        "warm-up and cosine are multiplied; first the one, then the other": lambda step: cosine(step) * (step + 1) / warm,
        "warm-up and cosine are multiplied; first the one, then the other (and the cosine starts at 0)":
            lambda step: cosine_rate(top, low, 0, total)(step) * (step + 1) / warm,
        "the warm-up ends one step early: it lasts while step < warmup_steps":
            lambda step: top * (step + 1) / warm if step < warm - 1 else cosine(step),
        "the fraction is upside down: (step + 1) / warmup_steps": lambda step: top * warm / (step + 1),
        "the warm-up is not divided by warmup_steps": lambda step: top * (step + 1),
        "the warm-up never falls below min_lr; it starts from max_lr / warmup_steps":
            lambda step: max(low, top * (step + 1) / warm),
        "the warm-up never falls below min_lr, and is one step late": lambda step: max(low, top * step / warm),
        "min_lr is added to the warm-up": lambda step: low + top * (step + 1) / warm,
    }


def cosine_mistakes(top, low, warm, total):
    """{words: rate of a step from warmup_steps to total_steps - 1}"""
    right, length, gap, pi = cosine_rate(top, low, warm, total), total - warm, top - low, math.pi

    def wave(angle):
        return (1 + math.cos(angle)) / 2

    progress = {
        None: lambda step: (step - warm) / length,
        "the cosine runs over all total_steps, from step 0; it runs over the steps that the warm-up leaves":
            lambda step: step / total,
        "the cosine is divided by total_steps; it is total_steps - warmup_steps long": lambda step: (step - warm) / total,
        "the cosine starts at step 0; count from the end of the warm-up, step - warmup_steps": lambda step: step / length,
        "the cosine starts at step 0, and is cut off; count from the end of the warm-up, step - warmup_steps":
            lambda step: min(1, step / length),
        "the cosine reaches min_lr one step early, at total_steps - 1; it does at total_steps":
            lambda step: (step - warm) / (length - 1),
        "the cosine reaches min_lr one step late; it does at total_steps": lambda step: (step - warm) / (length + 1),
        "the cosine is one step ahead: at step = warmup_steps it has max_lr": lambda step: (step - warm + 1) / length,
        "the cosine starts one step early, at warmup_steps - 1; at step = warmup_steps it has max_lr":
            lambda step: (step - warm + 1) / (length + 1),
        "the cosine is one step late: at step = warmup_steps it has max_lr, and then it falls":
            lambda step: (step - warm - 1) / length,
        "parentheses are missing around step - warmup_steps": lambda step: step - warm / length,
        "parentheses are missing around total_steps - warmup_steps": lambda step: (step - warm) / total - warm,
        "the cosine is divided by warmup_steps; it is total_steps - warmup_steps long": lambda step: (step - warm) / warm,
        "the cosine is not divided by its length, total_steps - warmup_steps": lambda step: step - warm,
    }
    shapes = {
        None: lambda p: low + gap * wave(pi * p),
        "the half is missing: 1 + cos runs from 2 to 0, so that the rate starts above max_lr":
            lambda p: low + 2 * gap * wave(pi * p),
        "the angle is in degrees; math.cos takes radians, in which half a wave is π": lambda p: low + gap * wave(180 * p),
        "the angle is in degrees, by math.degrees; math.cos takes radians": lambda p: low + gap * wave(math.degrees(pi * p)),
        "the angle π * progress is in radians, and needs no math.radians": lambda p: low + gap * wave(math.radians(pi * p)),
        "the cosine falls to 0; it falls to min_lr: scale it by max_lr - min_lr and add min_lr": lambda p: top * wave(pi * p),
        "the cosine falls towards 0 and is cut off at min_lr; scale it by max_lr - min_lr and add min_lr":
            lambda p: max(low, top * wave(pi * p)),
        "min_lr is added to a cosine that starts at max_lr; scale it by max_lr - min_lr": lambda p: low + top * wave(pi * p),
        "min_lr is missing: add it to the cosine, which max_lr - min_lr scales": lambda p: gap * wave(pi * p),
        "max_lr is added to the cosine; add min_lr, where it ends": lambda p: top + gap * wave(pi * p),
        "the rate rises, as when max_lr and min_lr are exchanged, or a sign": lambda p: top - gap * wave(pi * p),
        "max_lr and min_lr are added; scale the cosine by their difference": lambda p: low + (top + low) * wave(pi * p),
        "the 1 is missing: cos runs from 1 to -1, and 1 + cos from 2 to 0": lambda p: low + gap * (wave(pi * p) - 0.5),
        "the 1 and the half are missing: cos runs from 1 to -1, so that the rate falls below min_lr":
            lambda p: low + gap * math.cos(pi * p),
        "the 1, the half and min_lr are missing: cos runs from 1 to -1": lambda p: top * math.cos(pi * p),
        "the angle ends at π / 2, a quarter of a wave; half a wave ends at π": lambda p: low + gap * math.cos(pi / 2 * p),
        "the angle ends at π / 2; half a wave ends at π": lambda p: low + gap * wave(pi / 2 * p),
        "the angle ends at 2π, a whole wave; half a wave ends at π": lambda p: low + gap * wave(2 * pi * p),
        "π is missing: half a wave ends at the angle π, and not at 1": lambda p: low + gap * wave(p),
        "a sine is in the place of the cosine": lambda p: low + gap * (1 + math.sin(pi * p)) / 2,
        "a quarter of a sine is in the place of half a cosine": lambda p: low + gap * (1 - math.sin(pi / 2 * p)),
        "the rate falls along a line; it falls along half a cosine wave": lambda p: top - gap * p,
        "the rate falls along a line to 0; it falls along half a cosine wave to min_lr": lambda p: top * (1 - p),
        "the rate falls by a constant factor; it falls along half a cosine wave": lambda p: top * (low / top) ** p,
        "the rate stays at max_lr; it falls along half a cosine wave (or is progress a division of whole numbers, with //?)":
            lambda p: top,
        "the rate is min_lr at once; it falls along half a cosine wave": lambda p: low,
        "the share (1 + cos) / 2 came back; scale it by max_lr - min_lr and add min_lr": lambda p: wave(pi * p),
        "a quarter is in the place of the half": lambda p: low + gap * wave(pi * p) / 2,
        "parentheses are missing: the half goes with 1 + cos, and not with the 1 alone":
            lambda p: low + gap * (0.5 + math.cos(pi * p)),
        "parentheses are missing: the half goes with 1 + cos, and not with cos alone":
            lambda p: low + gap * (1 + math.cos(pi * p) / 2),
        "parentheses are missing around 1 + cos, so that neither the half nor max_lr - min_lr goes with cos":
            lambda p: low + gap / 2 + math.cos(pi * p),
        "parentheses are missing around max_lr - min_lr": lambda p: low + top - low * wave(pi * p),
    }
    return {
        "the warm-up lasts one step too long, and overshoots max_lr: it lasts while step < warmup_steps":
            lambda step: top * (step + 1) / warm if step == warm else right(step),
        "the last step, total_steps - 1, has min_lr already; the cosine reaches it at total_steps":
            lambda step: low if step >= total - 1 else right(step),
        "the warm-up goes on beyond warmup_steps; there the cosine begins": lambda step: top * (step + 1) / warm,
        "the cosine is multiplied by the warm-up's share; it follows the warm-up": lambda step: right(step) * (step + 1) / warm,
    } | {words: lambda step, made=made: made()(step)
         for words, made in mixtures(lambda p, shape: lambda step: shape(p(step)), progress, shapes).items()}


@exercise("4.6", "a decay with a half-life", see=("04", "Decay, apart from the gradient"))
def check_weight_decay_for(answer, draw):
    """weight_decay_for(half_life, lr): the decay that halves a weight in so many steps, (1 - 0.5 ** (1 / half_life)) / lr."""
    for h, lr, case in ((draw.choice([6, 7, 8, 9, 11, 12]), draw.uniform(0.01, 0.08), None),
                        (1, draw.uniform(0.1, 0.4), "a half-life of one step"),
                        (draw.randint(300, 900), draw.uniform(0.001, 0.003), "a long half-life")):
        share = 1 - 0.5 ** (1 / h)
        shares = {
            None: share,
            "a decay takes not the same amount at every step, but the same share of what is left: the factors multiply": 0.5 / h,
            "ln 2 / half_life is close for long half-lives only; solve (1 - lr * weight_decay) ** half_life = 0.5":
                math.log(2) / h,
            "that is the factor which a weight keeps at every step; the decay is what it loses, 1 minus that": 1 - share,
            "0.5 has the power half_life; what halves in so many steps needs their root: the power 1 / half_life": 1 - 0.5**h,
            "0.5 has the power half_life; what halves needs a root, and the decay is 1 minus that": 0.5**h,
            "the weight grows with that, by the root of 2; it shrinks by the root of 0.5": 2 ** (1 / h) - 1,
            "the sign is wrong: a decay that shrinks is positive": -share,
            "the sign is wrong, and it is the root of 0.5 that shrinks": 1 - 2 ** (1 / h),
            "the sign is wrong, and ln 0.5 / half_life is close for long half-lives only": -math.log(2) / h,
            "the weight shrinks to 1/e; half of it is asked": 1 - math.exp(-1 / h),
            "1 / half_life shrinks the weight to about 1/e; half of it is asked": 1 / h,
            "0.5 is divided by half_life; take its root of that order": 1 - 0.5 / h,
            "lr went into the exponent; only half_life belongs there": 1 - 0.5 ** (1 / (h * lr)),
            "a logarithm to base 10 is in the place of a root": math.log10(2) / h,
            "only one step was counted: the factor of a step, half_life times over, gives 0.5": 0.5,
            "the square root was taken; the root has the order half_life": 1 - 0.5**0.5,
            "half_life is one step too small": 1 - 0.5 ** (1 / max(h - 1, 1)),
            "half_life is one step too large": 1 - 0.5 ** (1 / (h + 1)),
        }
        mistakes = mixtures(lambda share, factor: share * factor, shares, {
            None: 1 / lr, "that is lr * weight_decay; divide it by lr": 1, "lr is multiplied; divide by it": lr})
        compare(answer, (h, lr), share / lr, {words: made() for words, made in mistakes.items()} | {
            "// is a division of whole numbers: 1 // half_life is 0; use /": lambda h, lr: (1 - 0.5 ** (1 // h)) / lr,
            "parentheses are missing: 1 - the root belongs together, divided by lr": 1 - 0.5 ** (1 / h) / lr,
            "parentheses are missing: 1 - the root belongs together, before it is divided by lr": 0.5 ** (1 / h) / lr - 1,
            "the question is turned round: that is the half-life of a given decay":
                lambda h, lr: math.log(0.5) / math.log(1 - lr * h),
            "the question is turned round: that is the half-life of a decay of 1": lambda h, lr: math.log(0.5) / math.log(1 - lr),
            "lr is divided by the share; the share is divided by lr": lr / share,
            "the right number was rounded": float(round(share / lr)),
        }, scales={"lr": lr, "the half-life": h, "2": 2}, rtol=1e-5 if h < 100 else 1e-3, name="the weight decay", case=case)
