"""Checks for the exercises of lesson 03: backpropagation."""
import contextlib
import io
import itertools
import math
import warnings
import weakref
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from gpt_checks.core import Answer, NotYet, exercise, expect, is_mistake, same, want_that


@exercise("3.1", "wiggle every weight", see=("03", "Wiggle one weight"))
def check_wiggle(answer, draw):
    """wiggle(f, w, eps): (f(w + eps) - f(w - eps)) / 2·eps for every number of w, (O, I), which is as before at the end."""
    for eps in (draw.uniform(0.2, 0.4), 1e-5):                # a large step tells the mistakes apart, a small one needs float64
        o, i = draw.randint(2, 3), draw.randint(4, 5)
        u, x = (torch.tensor([(-1) ** k * draw.uniform(0.6, 1.4) for k in range(size)]).double() for size in (o, i))
        w, dtypes = draw.normal(o, i, dtype=torch.float64) / 2, set()
        before = w.clone()

        def f(weights, u=u, x=x, dtypes=dtypes):
            """A smooth number, made of a tensor of the shape of w; dtypes: which ones it has been given."""
            given = tuple(weights.shape) if isinstance(weights, torch.Tensor) else f"an object of type {type(weights).__name__}"
            if given != (len(u), len(x)):
                raise ValueError(f"f takes a tensor of the shape of w, {(len(u), len(x))}, with one number moved; it got {given}")
            dtypes.add(weights.dtype)
            return (u.to(weights.dtype) * (weights @ x.to(weights.dtype)).exp()).sum()

        right = (moved(f, w, eps) - moved(f, w, -eps)) / (2 * eps)
        dtypes.clear()
        got = answer(f, w, eps, may_change=(1,))              # w may be moved in place, and back
        want_that(same(w, before, 0, 1e-9), how_w_changed(w, before, eps, got))
        want_that(eps > 1e-5 or same(got, right) or dtypes <= {torch.float64},
                  "f was called in float32, where rounding drowns the difference of two near numbers; stay in float64, as w is")
        judge_one(got, right, partial(wrong_slopes, f, w, eps, right), name="the slope",
                  case="for eps = 1e-5" if eps == 1e-5 else None)


def moved(f, w, step):
    """f with one number of w moved by step (a number, or one for each place), for every number of w: (O, I)."""
    ones = torch.eye(w.numel(), dtype=w.dtype).view(-1, *w.shape)
    return torch.stack([f(w + step * one) for one in ones]).view_as(w)


def piled_up(f, w, up, down, up_left, down_left):
    """f(w + up) - f(w + down) for one number after the other, where each one stays moved by up_left and down_left."""
    differences = torch.zeros(w.numel(), dtype=w.dtype)
    for k, one in enumerate(torch.eye(w.numel(), dtype=w.dtype)):
        done = (torch.arange(w.numel()) < k).to(w.dtype)
        high, low = (w + (now * one + left * done).view_as(w) for now, left in ((up, up_left), (down, down_left)))
        differences[k] = f(high) - f(low)
    return differences.view_as(w)


def how_w_changed(w, before, eps, got):
    """What is wrong with w after the call, in words."""
    if got is w:
        return "the slopes were written into w itself, since = makes no copy; start from torch.zeros_like(w)"
    for step, end in ((eps, "eps too high"), (-eps, "eps too low")):
        if same(w, before + step, 0, 1e-9):
            return f"w comes back with every number {end}: put each number back before the next one moves"
    return "w comes back changed: put each number back before the next one moves, or move a copy (w.clone())"


def wrong_slopes(f, w, eps, right):
    """{mistake: what it gives, or a list of what its variants give}."""
    here, up, down, leaf = f(w), moved(f, w, eps), moved(f, w, -eps), w.clone().requires_grad_()
    exact = torch.autograd.grad(f(leaf), leaf)[0]
    half = moved(f, w, eps / 2) - moved(f, w, -eps / 2)
    share = moved(f, w, eps * w) - moved(f, w, -eps * w)
    at_once, row, column = (torch.stack([f(w + eps * part) - f(w - eps * part) for part in parts]) / (2 * eps) for parts in (
        torch.ones(1, 1, 1), torch.eye(len(w))[:, :, None], torch.eye(w.shape[1])[:, None]))
    first, first_row, last, last_row = (torch.zeros_like(w) for _ in range(4))
    first[0, 0], first_row[0], last[-1, -1], last_row[-1] = right[0, 0], right[0], right[-1, -1], right[-1]
    pile = [piled_up(f, w, *steps) / (2 * eps) for steps in (
        (eps, -eps, -eps, -eps), (eps, -eps, eps, -eps), (eps, -eps, eps, eps), (eps, 0, eps, 0), (eps, 0, eps, eps))]
    return {
        "the lower point is w itself; a central difference goes down by eps, too, and its two points are 2·eps apart":
            (up - here) / eps,
        "the upper point is w itself; a central difference goes up by eps, too, and its two points are 2·eps apart":
            (here - down) / eps,
        "the lower point is w itself (from w + eps, a move down by eps leads back to w); go down to w - eps":
            (up - here) / (2 * eps),
        "the upper point is w itself (from w - eps, a move up by eps leads back to w); go up to w + eps":
            (here - down) / (2 * eps),
        "the difference is divided by eps; the two points are 2·eps apart": 2 * right,
        "a / 2 * eps divides by 2 and multiplies by eps; write a / (2 * eps)": (up - down) / 2 * eps,
        "the difference is divided by 2 alone; the two points are 2·eps apart": (up - down) / 2,
        "that is the difference alone; a slope is the difference per unit, so divide by the distance 2·eps": up - down,
        "the difference is multiplied by the distance 2·eps; divide by it": (up - down) * 2 * eps,
        "the difference is divided by eps squared; divide by the distance 2·eps":
            [(up - down) / eps**2, (up - down) / (2 * eps**2)],
        "the sign is turned: subtract the value at w - eps from the value at w + eps": [-right, -2 * right],
        "the two values are added; a slope comes from their difference": [(up + down) / (2 * eps), (up + down) / 2],
        "the slope is 0 everywhere: are both points the same tensor? up = w makes no copy; up = w.clone() does":
            torch.zeros_like(w),
        "each number moves by eps/2 to each side; move it by eps": [half / eps, half / (2 * eps)],
        "that is the slope for a far smaller step (or autograd's); move by the eps that is given": exact,
        "that is the slope for a far smaller step, and twice as large; move by the eps that is given, and divide by 2·eps":
            2 * exact,
        "all numbers of w move at once; a slope belongs to one number, so move one and hold the others still":
            [at_once[0], at_once.expand(w.shape)],
        "a whole row of w moves at once; move one number, w[o, i], and hold the others still":
            [row, row[:, None].expand(w.shape)],
        "a whole column of w moves at once; move one number, w[o, i], and hold the others still":
            [column, column.expand(w.shape)],
        "each number moves by a share of itself, eps·w; move it by eps": [share / (2 * eps), share / (2 * eps * w)],
        "only the first number was wiggled: is `return` inside the loop?": [first, right[0, 0]],
        "only the first row was wiggled: is `return` inside the loop?": [first_row, right[0]],
        "only the last slope was kept; each has its own place in the result":
            [last, right[-1, -1], right[-1, -1].expand(w.shape)],
        "only the last row of slopes was kept; each row has its own place in the result": [last_row, right[-1]],
        "the moves pile up: numbers that had their turn stay moved; put each back before the next, or take a fresh copy for each":
            pile + [2 * part for part in pile],
        "the slopes are right, and stand in one long row; give them the shape of w": right.flatten(),
        "the result is transposed; the slope of w[o, i] belongs at place [o, i]": right.T,
        "a slope has a sign; leave out abs": right.abs(),
        "the slopes are added up; each has its own place in the result": [right.sum(), right.sum(0), right.sum(1)],
        "every slope has the earlier ones added to it; start each from 0": right.flatten().cumsum(0).view_as(w),
    }


@exercise("3.2", "the gradient at the logits", see=("03", "Softmax, then cross-entropy"))
def check_loss_gradient(answer, draw):
    """loss_gradient(logits, targets): (softmax - one-hot) / N, (N, V)."""
    n, v = draw.randint(4, 6), draw.randint(8, 10)
    for rows, targets in ((n, draw.sample(range(n), n)),                           # targets that are also numbers of rows
                          (v + 3, [draw.randrange(v) for _ in range(v + 3)])):     # repeated ones, and more rows than tokens
        logits, targets = 2 * draw.normal(rows, v), torch.tensor(targets)
        right = (logits.softmax(1) - F.one_hot(targets, v)) / rows
        got = in_order(answer, (logits, targets), right, "y is (N, V), F.one_hot(targets, V); and a row's sum needs keepdim=True")
        judge_one(got, right, partial(wrong_at_logits, logits, targets, right), name="the gradient",
                  scales={"the number of rows N": rows, "the number of tokens V": v, "N·V": rows * v})


def wrong_at_logits(logits, targets, right):
    """{mistake: what it gives, or a list of what its variants give}; most variants leave the division by N out."""
    n, v = logits.shape
    rows, p, logp = torch.arange(n), logits.softmax(1), logits.log_softmax(1)
    y, loss = F.one_hot(targets, v).float(), F.cross_entropy(logits, targets)
    only_target, all_targets, whole_rows = torch.zeros(n, v), p.clone(), p.clone()
    only_target[rows, targets] = p[rows, targets] - 1
    all_targets[:, targets] -= 1
    whole_rows[targets[targets < n]] -= 1
    own_row = torch.eye(max(n, v))[:n, :v]
    through = p * (right - (p * right).sum(1, True))

    def both(gradient):
        return [gradient / n, gradient]

    return {
        "the division by N is missing: the loss is a mean over N rows, so each row has a share of 1/N": n * right,
        "it is divided by N·V; the mean is over the N rows, so each has a share of 1/N": right / v,
        "it is divided by V; the mean is over the N rows, so each has a share of 1/N": right * n / v,
        "only y is divided by N; the share 1/N goes to the whole difference": p - y / n,
        "only p is divided by N (the 1 was subtracted after that); the share 1/N goes to the whole difference": p / n - y,
        "the sign is turned: the gradient is p - y, which is negative at the target, since a higher logit there lowers the loss":
            both(y - p),
        "softmax runs over dim 0, the rows; each row is a distribution of its own over the V tokens: dim=1 (or -1)":
            both(logits.softmax(0) - y),
        "softmax runs over all rows at once; each row is a distribution of its own over the V tokens: dim=1 (or -1)":
            both(logits.flatten().softmax(0).view(n, v) - y),
        "y is missing: the slope at the target is 1 less": both(p),
        "only the targets' places are filled; the other tokens have a slope too, p": both(only_target),
        "p[:, targets] takes every target in every row; row i has one target: p[torch.arange(N), targets]": both(all_targets),
        "p[targets] are whole rows; take one place in each row: p[torch.arange(N), targets]": both(whole_rows),
        "the 1 is subtracted at place i of row i; it belongs at the row's target": both(p - own_row),
        "the 1 is subtracted from the most likely token; it belongs to the target, likely or not":
            both(p - F.one_hot(p.argmax(1), v)),
        "the 1 is subtracted one place too far left; ids count from 0": both(p - y.roll(-1, 1)),
        "the 1 is subtracted one place too far right; ids count from 0": both(p - y.roll(1, 1)),
        "row i has the target of row i + 1; the targets are shifted already": both(p - y.roll(-1, 0)),
        "row i has the target of row i - 1; row i goes with targets[i]": both(p - y.roll(1, 0)),
        "the 1 is subtracted everywhere; it belongs to the target alone": both(p - 1),
        "the target's place was overwritten; subtract 1 from the probability that stands there":
            both(p.where(y == 0, -1)) + both(p.where(y == 0, 0)) + both(p * (1 - y) + (1 - p) * y) + both(p * (1 - y) + y),
        "1 is added at the target; it is subtracted": both(p + y),
        "y has 1 everywhere but at the target; it is the other way round": both(p - (1 - y)),
        "y is subtracted from the logits; they become probabilities by a softmax first": both(logits - y),
        "y is subtracted from the logarithms of the probabilities; leave out the log": both(logp - y),
        "sigmoid takes each logit alone; the tokens share one probability of 1, so it is softmax over the row":
            both(logits.sigmoid() - y),
        "softmax was taken twice": both(p.softmax(1) - y),
        "exp is not divided by the row's sum: that is no probability yet": both(logits.exp() - y),
        "the ids themselves are subtracted; y has a 1 at the target and 0 elsewhere": both(p - targets[:, None]),
        "that is the gradient at the probabilities; go one step further back, through softmax": both(-y / p),
        "that is the gradient at the logarithms of the probabilities, and their normalisation depends on all logits, too":
            both(-y),
        "p - y has the slope of softmax inside; it was multiplied in again": both(n * through) + both(p * (1 - p) * (p - y)),
        "that is the gradient of a squared difference; for cross-entropy it is p - y":
            both(2 * (p - y)) + both((p - y) ** 2) + both(n * 2 * through),
        "the rows were added up or averaged; each row has its own gradient": [right.sum(0), n * right.sum(0), right.mean(0)],
        "only the targets' slopes came back, one a row; each row has a slope for each of the V tokens":
            both((p - y)[rows, targets]) + both((p - y)[rows, targets][:, None]),
        "that is the loss; its gradient has a slope for every logit": [loss, n * loss, logp, -logp],
    }


@exercise("3.3", "back through a linear layer", see=("03", "Linear"))
def check_linear_backward(answer, draw):
    """linear_backward(x, weight, grad_out): the gradients at x, weight and bias of x @ weight.T + bias."""
    b, t, c = 2, 3, draw.randint(4, 5)
    for i, o in ((c, c), (c, c + draw.randint(2, 3))):        # square, where a forgotten .T raises no error, and not
        x, weight, grad_out = draw.normal(b, t, i) + 0.3, draw.normal(o, i), draw.normal(b, t, o) + 0.3
        x_rows, g_rows = x.flatten(0, 1), grad_out.flatten(0, 1)
        right = grad_out @ weight, g_rows.T @ x_rows, g_rows.sum(0)
        got = in_order(answer, (x, weight, grad_out), right)
        judge_parts(got, right, "grad_x, grad_weight, grad_bias",
                    [partial(wrong_grad_x, x, weight, grad_out, right[0]),
                     partial(wrong_grad_weight, x, weight, grad_out, right[1]), partial(wrong_grad_bias, grad_out, right[2])],
                    scales={"the number of tokens B·T": b * t, "the number of sequences B": b, "the length T": t,
                            "the number of inputs I": i, "the number of outputs O": o})


def wrong_grad_x(x, weight, grad_out, right):
    """What known mistakes give for the gradient at x."""
    tokens = right.flatten(0, 1)
    mistakes = {
        "each token has its own gradient at x; do not add up the tokens": [tokens.sum(0), right.sum(0), right.sum(1)],
        "each token has its own gradient at x; do not average the tokens": [tokens.mean(0), right.mean(0), right.mean(1)],
        "grad_x is divided by the number of tokens; the share of each token is already in grad_out":
            [right / n for n in (len(tokens), *x.shape[:2])],
        "the slope at x is the weight, times grad_out; grad_out is missing":
            [weight.sum(0), weight.sum(0).expand_as(x), weight.sum(1), weight],
        "grad_x stands in rows of all tokens, (B·T, I); give it the shape of x, (B, T, I)": tokens,
        "the slope at x is the weight, and not x": [x * x, x],
    }
    if weight.shape[0] == weight.shape[1]:
        mistakes |= {
            "the weight is transposed: y uses weight.T, so the way back uses weight, (B, T, O) @ (O, I)": grad_out @ weight.T,
            "x went through the layer once more; it is grad_out that goes back through the weight": [x @ weight.T, x @ weight],
            "grad_out and x are multiplied; the slope at x is the weight": grad_out * x,
        }
    return mistakes


def wrong_grad_weight(x, weight, grad_out, right):
    """What known mistakes give for the gradient at the weight."""
    (b, t, i), o = x.shape, grad_out.shape[-1]
    x_rows, g_rows, each = x.flatten(0, 1), grad_out.flatten(0, 1), torch.einsum("bto,bti->btoi", grad_out, x)
    sum_first = "the tokens are added up before the product; multiply token by token, then add"
    mistakes = {
        "grad_weight is transposed, (I, O); a gradient has its weight's shape, (O, I)": right.T,
        "grad_weight is averaged over the tokens; all tokens share the weight, so their contributions are added":
            [right / (b * t), right / b, right / t],
        "grad_weight is added up over the positions alone; sum over the sequences, too": [each.sum(1), each.sum(1).mT],
        "grad_weight is added up over the sequences alone; sum over the positions, too": [each.sum(0), each.sum(0).mT],
        "grad_weight holds every token's contribution; all tokens share the weight, so add them up":
            [each, each.mT, each.flatten(0, 1)],
        "grad_weight has the last sequence alone; add up, and do not overwrite": each.sum(1)[-1],
        "grad_weight has the first sequence alone: is `return` inside the loop?": each.sum(1)[0],
        "grad_weight has the last token alone; add up over all of them": [each[-1, -1], each[:, -1].sum(0)],
        "grad_weight has the first token alone; add up over all of them": [each[0, 0], each[:, 0].sum(0)],
        sum_first: [torch.outer(g_rows.sum(0), x_rows.sum(0)), torch.outer(g_rows.mean(0), x_rows.mean(0)),
                    grad_out.sum(0).T @ x.sum(0), grad_out.sum(1).T @ x.sum(1), grad_out.mean(0).T @ x.mean(0)],
        "the slope at the weight is x, times grad_out; grad_out is missing":
            [x_rows.sum(0), x_rows.sum(0).expand(o, i), torch.ones(o, b * t) @ x_rows],
        "the slope at the weight is x, times grad_out; x is missing": g_rows.sum(0)[:, None].expand(o, i),
        "reshape reads the numbers in their old order and exchanges no dims; flatten the tokens first, and then take .T":
            [g_rows.reshape(o, -1) @ x_rows, g_rows.T @ x_rows.reshape(i, -1).T, g_rows.reshape(o, -1) @ x_rows.reshape(i, -1).T,
             grad_out.mT.reshape(o, -1) @ x_rows, grad_out.mT.reshape(o, -1) @ x.mT.reshape(i, -1).T],
        "x and grad_out do not pair up: both must list their tokens in the same order": [
            g_rows.T @ x.transpose(0, 1).flatten(0, 1), g_rows.T @ x_rows.flip(0)],
        "grad_weight has the weight multiplied in; the slope at the weight is x alone": right * weight,
    }
    if i == o:
        mistakes["grad_out met the weight on the way to grad_weight; the slope at the weight is x"] = [
            g_rows.T @ g_rows, g_rows.T @ (g_rows @ weight), g_rows.T @ (x_rows @ weight.T), x_rows.T @ x_rows]
    return mistakes


def wrong_grad_bias(grad_out, right):
    """What known mistakes give for the gradient at the bias."""
    b, t, o = grad_out.shape
    return {
        "grad_bias is averaged over the tokens; all tokens share the bias, so their contributions are added":
            [right / (b * t), right / b, right / t, grad_out.mean(0), grad_out.mean(1)],
        "grad_bias is added up over the sequences alone; sum over the positions, too": grad_out.sum(0),
        "grad_bias is added up over the positions alone; sum over the sequences, too": grad_out.sum(1),
        "grad_bias holds every token's contribution; all tokens share the bias, so add them up":
            [grad_out, grad_out.flatten(0, 1)],
        "grad_bias is added up over the last dim; each place there has its own bias, so sum over the tokens":
            [grad_out.sum(2), grad_out.flatten(0, 1).sum(1)],
        "grad_bias is added up over everything; each place of the last dim has its own bias, so sum over the tokens alone":
            [grad_out.sum(), grad_out.sum().expand(o)],
        "the slope at the bias is 1, times grad_out; grad_out is missing": [torch.ones(o), torch.full((o,), float(b * t))],
        "grad_bias has a dim of length 1 too many; a gradient has its bias's shape":
            [right[None], right[:, None], right[None, None]],
        "grad_bias has the last sequence alone; add up, and do not overwrite": grad_out[-1].sum(0),
        "grad_bias has the first sequence alone: is `return` inside the loop?": grad_out[0].sum(0),
        "grad_bias has the last token alone; add up over all of them": [grad_out[-1, -1], grad_out[:, -1].sum(0)],
        "grad_bias has the first token alone; add up over all of them": [grad_out[0, 0], grad_out[:, 0].sum(0)],
        "grad_bias is 0; the bias is added to every token, so its slope is 1, times grad_out": torch.zeros(o),
    }


@exercise("3.4", "back through LayerNorm", see=("03", "LayerNorm"))
def check_layernorm_backward(answer, draw):
    """layernorm_backward(x, weight, grad_out, eps=1e-5): the gradients at x, weight and bias of a LayerNorm over C."""
    b, t, c = 2, 3, draw.randint(5, 7)
    weight = torch.tensor([draw.choice((-1, 1)) * draw.uniform(0.5, 2) for _ in range(c)])
    for eps, spread, centre, case in ((None, 1.5, 1.0, None), (None, 1e-3, 0.0, "for x of a variance below the default eps"),
                                      (draw.uniform(0.5, 0.9), 1.0, 0.5, None)):
        x, grad_out = draw.normal(b, t, c), draw.normal(b, t, c) + 0.5
        spreads, centres = (torch.tensor([draw.uniform(1, 1.6) for _ in range(b * t)]).view(b, t, 1) for _ in range(2))
        x = spread * spreads * F.layer_norm(x, (c,)) + centre * centres
        given = 1e-5 if eps is None else eps
        right = layernorm_grads(x, weight, grad_out, given)
        got = in_order(answer, (x, weight, grad_out) if eps is None else (x, weight, grad_out, eps), right,
                       atol=1e-5 * right[0].abs().max().item())
        judge_parts(got, right, "grad_x, grad_weight, grad_bias",
                    [partial(wrong, x, weight, grad_out, given) for wrong in (wrong_norm_x, wrong_norm_weight, wrong_norm_bias)],
                    relative=True, case=case,
                    scales={"the number of features C": c, "the number of tokens B·T": b * t, "the number of sequences B": b,
                            "the length T": t, "the root of C": c**0.5})


def mean(x):
    """The mean of a token's numbers, kept as a dimension."""
    return x.mean(-1, keepdim=True)


def layernorm_grads(x, weight, grad_out, eps, std_of=None, differentiate=False):
    """The three gradients, in float64. std_of: another standard deviation, which is a mistake; put into the right formula,
    or, with `differentiate`, taken through autograd."""
    x, weight, grad_out = (part.double().requires_grad_() for part in (x.detach(), weight.detach(), grad_out.detach()))
    centred = x - mean(x)
    std = std_of(x) if std_of else (mean(centred**2) + eps).sqrt()
    z = centred / std
    if differentiate:
        grad_x = torch.autograd.grad(z * weight, x, grad_out)[0]
    else:
        dz = grad_out * weight
        grad_x = (dz - mean(dz) - z * mean(dz * z)) / std
    return tuple(part.detach().float() for part in (grad_x, (grad_out * z).sum((0, 1)), grad_out.sum((0, 1))))


def part(number, *args):
    """One part of the three gradients."""
    return layernorm_grads(*args)[number]


def wrong_stds(eps):
    """{mistake: a function that gives this standard deviation of x}."""
    def std(correction=0, inside=0.0, outside=0.0):
        return lambda x: (x.var(-1, keepdim=True, correction=correction) + inside).sqrt() + outside

    fixed = {f"{other} is used for eps; use the eps that is given, and 1e-5 when none is": std(inside=float(other))
             for other in ("1e-5", "1e-3", "1e-4", "1e-6", "1e-7", "1e-8") if float(other) != eps}
    return fixed | {
        "eps is added outside the root; it belongs inside: (variance + eps).sqrt()": std(outside=eps),
        "eps is missing under the root: (variance + eps).sqrt()": std(),
        "eps is subtracted under the root; add it": std(inside=-eps),
        "eps is squared under the root; add eps itself": std(inside=eps**2),
        "the variance divides by C - 1, as torch's does by default; LayerNorm's divides by C: correction=0": std(1, inside=eps),
        "the root is missing: x - mean is divided by the standard deviation, (variance + eps).sqrt()":
            lambda x: std(inside=eps)(x)**2,
        "the mean is not subtracted in the variance: average the squares of x - mean": lambda x: (mean(x**2) + eps).sqrt(),
        "the squares are added up in the variance; average them": lambda x: (x.shape[-1] * std()(x)**2 + eps).sqrt(),
    }


def wrong_terms(x, dz, std):
    """{mistake in (dz - ⟨dz⟩ - z⟨dz·z⟩) / std: a list of what its variants give}."""
    centred, c = x - mean(x), x.shape[-1]
    z = centred / std
    first, second = mean(dz), z * mean(dz * z)                # what the mean and the variance bring in

    def with_last(*terms):
        return [(dz - first - term) / std for term in terms]

    return {
        "the mean and the variance are treated as constants; moving one x moves both, so two more terms come in": [dz / std],
        "the variance is treated as a constant; moving one x moves it too: - z⟨dz·z⟩ is missing": [(dz - first) / std],
        "the mean is treated as a constant; moving one x moves it too: - ⟨dz⟩ is missing": [(dz - second) / std],
        "the first term dz is missing: moving one x also moves its own z": [(-first - second) / std],
        "both means are added; both are subtracted": [(dz + first + second) / std],
        "⟨dz⟩ is added; subtract it": [(dz + first - second) / std],
        "z⟨dz·z⟩ is added; subtract it": with_last(-second),
        "both means are sums here; divide by C": [(dz - c * first - c * second) / std],
        "⟨dz⟩ is a sum here; divide by C": [(dz - c * first - second) / std],
        "⟨dz·z⟩ is a sum here; divide by C": with_last(c * second),
        "the division by the standard deviation is missing at the end": [dz - first - second],
        "the result is divided by the variance; divide by the standard deviation, its root": [(dz - first - second) / std**2],
        "the result is multiplied by the standard deviation; divide by it": [(dz - first - second) * std],
        "only the last term is divided by the standard deviation; put the whole difference into parentheses":
            [dz - first - second / std],
        "only the first term is divided by the standard deviation; put the whole difference into parentheses":
            [dz / std - first - second],
        "the term ⟨dz⟩ is divided by the standard deviation twice": [(dz - first / std - second) / std],
        "the last term uses x - mean where z belongs (z is divided by the standard deviation)":
            with_last(centred * mean(dz * centred), centred * mean(dz * z)),
        "the last term uses x where z belongs (z has mean 0 and is divided by the standard deviation)":
            with_last(x * mean(dz * x), x * mean(dz * z), z * mean(dz * x)),
        "the last term has the wrong power of the standard deviation; z⟨dz·z⟩ has it once in each z":
            with_last(second / std, second / std**2),
        "the factor z is missing in the last term: z⟨dz·z⟩": with_last(mean(dz * z)),
        "the last term is z·dz·z, without a mean: take ⟨dz·z⟩ over the vector": with_last(z * dz * z),
        "the last term takes the mean of z·dz·z as a whole; the first z stays outside: z⟨dz·z⟩": with_last(mean(z * dz * z)),
        "the last term has z squared under the mean; it is z⟨dz·z⟩": with_last(z * mean(dz * z**2)),
        "the last term has z⟨dz⟩ where z⟨dz·z⟩ belongs": with_last(z * first),
        "the last term has dz⟨dz·z⟩ where z⟨dz·z⟩ belongs": with_last(dz * mean(dz * z)),
        "the last term counts twice: the derivative of a root has a 1/2, and that of a square a 2": with_last(2 * second),
        "the last term counts half: the derivative of a root has a 1/2, and that of a square a 2": with_last(second / 2),
    }


def wrong_norm_x(x, weight, grad_out, eps):
    """What known mistakes give for the gradient at x."""
    x, weight, grad_out = x.detach().double(), weight.detach().double(), grad_out.detach().double()
    dz, std = grad_out * weight, (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
    z = (x - mean(x)) / std
    first, second, g_first, g_second = mean(dz), z * mean(dz * z), mean(grad_out), z * mean(grad_out * z)

    def formula(d):
        return (d - mean(d) - z * mean(d * z)) / std

    right, y = formula(dz), z * weight
    mistakes = {
        "the weight is forgotten: dz is grad_out times weight": formula(grad_out),
        "the weight comes too late: multiply grad_out by it first, before the two means are taken": weight * formula(grad_out),
        "the weight is multiplied in twice": [formula(dz * weight), weight * right],
        "grad_out is divided by the weight; multiply by it": formula(grad_out / weight),
        "the weight is forgotten in the two means: take them of dz = grad_out·weight": (dz - g_first - g_second) / std,
        "the weight is forgotten in ⟨dz⟩: take the mean of dz = grad_out·weight": (dz - g_first - second) / std,
        "the weight is forgotten in ⟨dz·z⟩: take the mean of dz·z with dz = grad_out·weight": (dz - first - g_second) / std,
        "the weight is forgotten in the first term: dz is grad_out times weight": (grad_out - first - second) / std,
        "the last term uses the layer's output where z belongs, so that the weight is in it twice":
            [(dz - first - term) / std for term in (y * mean(dz * y), y * mean(dz * z), z * mean(dz * y))],
        "that is the forward pass; go back from grad_out to x": [z, y],
        "the gradients of the tokens are added up; each token has its own gradient at x": right.sum((0, 1)),
        "grad_x stands in rows of all tokens, (B·T, C); give it the shape of x, (B, T, C)": right.flatten(0, 1),
    }
    for one_std in (std, (x.var(-1, keepdim=True) + eps).sqrt()):      # a wrong term, with or without a second mistake
        for factor, d in ((1, dz), (1, grad_out), (weight, grad_out)):
            for words, results in wrong_terms(x, d, one_std).items():
                mistakes.setdefault(words, []).extend(factor * result for result in results)
    for dims, words in {(0,): "dim 0, the sequences", (1,): "dim 1, the positions", (0, 1): "all tokens",
                        (1, 2): "a whole sequence", (0, 1, 2): "the whole batch"}.items():
        d_first, d_second = dz.mean(dims, keepdim=True), z * (dz * z).mean(dims, keepdim=True)
        middle = x.mean(dims, keepdim=True)
        d_std = (x.var(dims, keepdim=True, correction=0) + eps).sqrt()
        d_z = (x - middle) / d_std
        mistakes[f"mean and variance run over {words}; each token has its own, over its C numbers: dim=-1"] = [
            (dz - first - d_z * mean(dz * d_z)) / d_std, (dz - d_first - d_z * (dz * d_z).mean(dims, keepdim=True)) / d_std]
        mistakes[f"⟨dz⟩ and ⟨dz·z⟩ run over {words}; each token has its own, over its C numbers: dim=-1"] = [
            (dz - d_first - d_second) / std, (dz - d_first - second) / std, (dz - first - d_second) / std]
    for words, std_of in wrong_stds(eps).items():
        mistakes[words] = [partial(part, 0, x, weight, grad_out, eps, std_of, differentiate) for differentiate in (False, True)]
    return mistakes


def wrong_norm_weight(x, weight, grad_out, eps):
    """What known mistakes give for the gradient at the scale."""
    x, weight, grad_out = x.detach().double(), weight.detach().double(), grad_out.detach().double()
    centred = x - mean(x)
    z = centred / (mean(centred**2) + eps).sqrt()
    each = grad_out * z
    right, (b, t) = each.sum((0, 1)), x.shape[:2]
    return {
        "grad_weight has the weight multiplied in; the slope at the weight is z alone": right * weight,
        "grad_weight uses the layer's output; the slope at the weight is z, before the weight":
            (grad_out * z * weight).sum((0, 1)),
        "grad_weight uses x; the slope at the weight is z": (grad_out * x).sum((0, 1)),
        "grad_weight uses x - mean; the slope at the weight is z, which is divided by the standard deviation":
            (grad_out * centred).sum((0, 1)),
        "that is the gradient of the bias; the slope at the weight is z, so grad_weight adds up grad_out·z": grad_out.sum((0, 1)),
        "grad_weight is averaged over the tokens; all tokens share the weight, so their contributions are added":
            [right / (b * t), right / b, right / t, each.mean(0), each.mean(1)],
        "grad_weight is added up over the sequences alone; sum over the positions, too": each.sum(0),
        "grad_weight is added up over the positions alone; sum over the sequences, too": each.sum(1),
        "grad_weight holds every token's contribution; all tokens share the weight, so add them up": [each, each.flatten(0, 1)],
        "grad_weight is added up over the C features; each has its own weight, so sum over the tokens":
            [each.sum(2), each.flatten(0, 1).sum(1), each.sum(2, True)],
        "grad_weight is added up over everything; each feature has its own weight, so sum over the tokens alone":
            [each.sum(), each.sum().expand(x.shape[-1])],
        "z is added up without grad_out; the slope at the weight is z, times grad_out": z.sum((0, 1)),
        "the tokens are added up before the product; multiply token by token, then add": [
            grad_out.sum((0, 1)) * z.sum((0, 1)), grad_out.mean((0, 1)) * z.mean((0, 1))],
        "grad_weight has a dim of length 1 too many; it has the weight's shape, (C,)":
            [right[None], right[None, None], right[:, None]],
        "grad_weight has the last sequence alone; add up, and do not overwrite": each[-1].sum(0),
        "grad_weight is divided by the standard deviation, as grad_x is; grad_out·z is added up as it is":
            (each * z / centred).sum((0, 1)),
    } | {words: partial(part, 1, x, weight, grad_out, eps, std_of) for words, std_of in wrong_stds(eps).items()}


def wrong_norm_bias(x, weight, grad_out, eps):
    """What known mistakes give for the gradient at the shift."""
    x, weight, grad_out = x.detach().double(), weight.detach().double(), grad_out.detach().double()
    right = grad_out.sum((0, 1))
    return {
        "that is the gradient of the weight; the slope at the bias is 1, so grad_bias adds up grad_out itself":
            layernorm_grads(x, weight, grad_out, eps)[1],
        "grad_bias has the weight multiplied in; the bias comes after the weight, so its slope is 1": right * weight,
    } | wrong_grad_bias(grad_out, right)


@exercise("3.5", "a large batch in small pieces", see=("03", "Calling backward twice"))
def check_accumulate(answer, draw):
    """accumulate(model, micro_batches, batch_loss): p.grad of the mean loss over all tokens, one graph at a time."""
    v, t = 9, 7
    for sizes, has_old in (([2, draw.randint(5, 6), 4], True), ([4, draw.randint(1, 3)], False), ([2, 2, 2], True), ([3], False)):
        model = Spy(draw.normal(v, 4), draw.normal(v, 4))
        weights = list(model.parameters())
        batches = [(draw.ids(b, t, vocab_size=v), draw.ids(b, t, vocab_size=v)) for b in sizes]

        def batch_loss(inputs, targets, model=model):
            """Mean loss of one micro-batch, attached to the graph."""
            return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

        before = [p.detach().clone() for p in weights]
        grads = [flat(torch.autograd.grad(batch_loss(*batch), weights)) for batch in batches]
        old = draw.normal(len(grads[0])) if has_old else torch.zeros(len(grads[0]))
        if has_old:
            for p, part in zip(weights, old.chunk(2), strict=True):
                p.grad = part.view_as(p).clone()
        model.forget()
        answer(model, batches, batch_loss)

        want_that(all(same(p, was, 1e-7, 0) for p, was in zip(weights, before, strict=True)),
                  "the weights have moved: collect the gradients of all micro-batches, and leave the step to whoever called")
        missing = any(p.grad is None for p in weights)
        want_that(not (missing and model.calls),
                  "p.grad is None at the end: was `zero_grad` called after the last `backward`, or `backward` never?")
        want_that(not missing, "p.grad is None at the end, and batch_loss was never called; its loss can go backward")
        got = flat([p.grad for p in weights])
        right = torch.tensor(sizes) / sum(sizes) @ torch.stack(grads)
        judge_one(got, right, partial(wrong_sums, torch.stack(grads), old, sizes, t), name="the gradient",
                  scales={"the number of micro-batches": len(sizes), "the number of sequences": sum(sizes),
                          "the number of tokens": sum(sizes) * t, "the length T": t})
        want_that(model.largest <= max(sizes), "the gradient is right, but micro-batches were put together again, and memory "
                  "holds the graph of one only: take them one at a time")
        want_that(not model.overlap, "the gradient is right, but a graph was built before `backward` had freed the last one, "
                  "and memory holds one only: call backward inside the loop")


class Graph:
    """Lives as long as the graph that it is part of; done: whether `backward` has passed."""

    done = False


class Pass(torch.autograd.Function):
    """Hands numbers through, and tells a Graph when the gradient comes back."""

    @staticmethod
    def forward(ctx, x, graph):
        ctx.graph = graph
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.graph.done = True
        return grad, None


class Spy(nn.Module):
    """A model of two tables that notes how it is used."""

    def __init__(self, table, head):
        super().__init__()
        self.table, self.head = nn.Parameter(table), nn.Parameter(head)
        self.forget()

    def forget(self):
        """calls: how many; largest: the most sequences at once; overlap: was a graph built while another waited?"""
        self.calls, self.largest, self.overlap, self.graphs = 0, 0, False, []

    def forward(self, ids):                                   # (B, T) -> (B, T, V)
        waiting = [graph for ref in self.graphs if (graph := ref()) and not graph.done]
        self.calls, self.largest = self.calls + 1, max(self.largest, len(ids))
        self.overlap = self.overlap or bool(waiting and torch.is_grad_enabled())
        graph = Graph()
        self.graphs.append(weakref.ref(graph))
        return Pass.apply(self.table[ids] @ self.head.T, graph)


def flat(tensors):
    """Tensors as one row of numbers."""
    return torch.cat([tensor.detach().flatten().float() for tensor in tensors])


def wrong_sums(grads, old, sizes, t):
    """{mistake: what it gives, or a list of what its variants give}; grads: of each micro-batch's mean loss."""
    count, rows = len(sizes), sum(sizes)
    shares, ones = [n / rows for n in sizes], [1.0] * count

    def weighted(weights):
        return torch.tensor(list(weights), dtype=torch.float32) @ grads

    def scaled_again(scales):
        """What scaling p.grad in the loop does: each micro-batch gets its own factor and all later ones."""
        return weighted(math.prod(scales[i:]) for i in range(count))

    right, added, last, first = weighted(shares), weighted(ones), grads[-1], grads[0]
    of_tokens = "multiply each mean by its share of the tokens, its own number over that of all"
    mistakes = {
        "p.grad is 0: was it cleared after the last `backward`?": torch.zeros_like(right),
        f"the micro-batches' means are added up as they are; {of_tokens}": added,
        f"each mean is divided by the number of micro-batches, as if all were of one size; {of_tokens}": added / count,
        "the gradients are those of a sum over all sequences; divide by their number, for the mean": rows * right,
        "the gradients are those of a sum over all tokens; divide by their number, for the mean": rows * t * right,
        "the shares are right, and the whole is divided by the number of micro-batches once more": right / count,
        "the sum over sequences is divided by the number of micro-batches; divide by the number of sequences":
            right * rows / count,
        "the sum over tokens is divided by the number of micro-batches; divide by the number of tokens": right * rows * t / count,
        f"the means are divided by the number of all tokens or sequences, without being weighed; {of_tokens}":
            [added / rows, added / (rows * t)],
        "the shares mix numbers of sequences with numbers of tokens": [right * t, right / t],
        f"each mean is divided by its own size; {of_tokens}":
            [weighted(1 / n for n in sizes), weighted(1 / n / t for n in sizes)],
        f"the shares are turned upside down; {of_tokens}": weighted(rows / n for n in sizes),
        f"all micro-batches are taken to be as large as the first; {of_tokens}": [
            weighted(n / sizes[0] for n in sizes), added * sizes[0] / rows],
        f"all micro-batches are taken to be as large as the last; {of_tokens}": [
            weighted(n / sizes[-1] for n in sizes), added * sizes[-1] / rows],
        f"all micro-batches are taken to be as large as the largest; {of_tokens}": weighted(n / max(sizes) for n in sizes),
        "only the last micro-batch is left: `zero_grad` inside the loop throws the earlier ones away, or `backward` comes after "
        "the loop; clear once, before it, and call backward on each loss": [
            last * scale for scale in (1, shares[-1], 1 / count, sizes[-1], sizes[-1] * t, 1 / rows, 1 / rows / t)],
        "only the first micro-batch is there: does the loop end too early?": [
            first * scale for scale in (1, shares[0], 1 / count, sizes[0], sizes[0] * t, 1 / rows, 1 / rows / t)],
        "the last micro-batch is left out": [right - shares[-1] * last, added - last, (added - last) / count,
                                             (right - shares[-1] * last) * rows / max(1, rows - sizes[-1])],
        "the first micro-batch is left out: was p.grad cleared after its `backward`?": [
            right - shares[0] * first, added - first, (added - first) / count],
        "the running total goes backward at every turn, so that early micro-batches count again and again; call backward on the "
        "new loss alone": [weighted((count - i) * scale for i, scale in enumerate(scales))
                           for scales in (shares, ones, [1 / count] * count, sizes)],
        "p.grad is scaled inside the loop, and with it what earlier micro-batches left there; scale the loss instead":
            [scaled_again(scales) for scales in (shares, [1 / count] * count, sizes, [n * t for n in sizes], [1 / rows] * count)],
        "the share is taken of the tokens so far; it is the share of all tokens": weighted(
            n / so_far for n, so_far in zip(sizes, itertools.accumulate(sizes), strict=True)),
    }
    if not old.any():
        return mistakes
    not_cleared = "the old gradients were still there, and backward adds to them; clear them first, once, with model.zero_grad()"
    return {
        "p.grad is as it was before the call: `backward` was never called": old,
        not_cleared: [right + old, rows * right + old, rows * t * right + old, right + old / rows, right + old / (rows * t)],
        f"{not_cleared}; and {of_tokens}": [added + old, added / count + old, (added + old) / count],
    } | mistakes


@exercise("3.6", "the embedding's gradient", see=("03", "Embeddings"))
def check_embedding_backward(answer, draw):
    """embedding_backward(ids, grad_out, vocab_size): (V, C), where each id's row adds up what arrives at its places."""
    for v in (draw.randint(9, 11), draw.randint(6, 7)):
        b, t, c = 3, 5, 4
        ids = draw.ids(b, t, vocab_size=v - 2) + 1            # 1 to v - 2; 0 is put in below, v - 1 never occurs
        ids[0, 1], ids[0, 3], ids[1, 0], ids[2, 0], ids[1, 2] = 1, 1, 2, 2, 0      # repeated in a row, in a column; a single 0
        grad_out = draw.normal(b, t, c)
        right = rows_of(ids, grad_out, v)
        got = in_order(answer, (ids, grad_out, v), right)
        judge_one(got, right, partial(wrong_rows, ids, grad_out, v, right, got), name="the gradient",
                  scales={"the number of tokens B·T": b * t, "the number of sequences B": b, "the length T": t, "the width C": c})


def rows_of(ids, grad_out, vocab_size):
    """The sums: (V, C)."""
    return torch.zeros(vocab_size, grad_out.shape[-1]).index_add(0, ids.flatten(), grad_out.flatten(0, -2))


def wrong_rows(ids, grad_out, v, right, got):
    """{mistake: what it gives, or a list of what its variants give}."""
    (b, t), c = ids.shape, grad_out.shape[-1]
    counts = ids.flatten().bincount(minlength=v)[:, None]     # (V, 1)
    last, first, once_a_row, once_a_column, first_column = (torch.zeros(v, c) for _ in range(5))
    for token, grad in zip(ids.flatten(), grad_out.flatten(0, 1), strict=True):
        last[token] = grad
    for token, grad in zip(ids.flatten().flip(0), grad_out.flatten(0, 1).flip(0), strict=True):
        first[token] = grad
    for row, grad in zip(ids, grad_out, strict=True):
        once_a_row[row] += grad
    for column, grad in zip(ids.T, grad_out.transpose(0, 1), strict=True):
        once_a_column[column] += grad
    first_column[:, 0] = right[:, 0]
    places, seen = torch.arange(t).expand(b, t), ids.unique()
    lost = ("a repeated id keeps one of its gradients only: grad[ids] = … and grad[ids] += … write each row once, however often "
            "its id occurs; add them one after the other, or with index_add")
    without_zero = right.clone()
    without_zero[0] = 0
    return {
        lost: [last, first],
        "ids that are repeated in one sequence keep one of their gradients only: grad[ids[b]] += … writes each row once; add "
        "them one after the other, or with index_add": once_a_row,
        "ids at the same position of several sequences keep one of their gradients only: grad[ids[:, t]] += … writes each row "
        "once; add them one after the other, or with index_add": once_a_column,
        "the gradients of a repeated id are averaged; they are added": right / counts.clamp(min=1),
        "it is divided by the number of tokens; the share of each token is already in grad_out": [
            right / (b * t), right / b, right / t],
        "a repeated id's sum is counted again at each of its places": right * counts,
        "the occurrences are counted; add up what arrives in grad_out": [counts.expand(v, c), counts, counts[:, 0]],
        "the rows that occur are 1; add up what arrives in grad_out":
            [(counts > 0).expand(v, c).float(), (counts > 0)[:, 0].float()],
        "the rows start from 1; a token that does not occur has the gradient 0": right + 1,
        "the rows of tokens that do not occur are 0; start from torch.zeros, since torch.empty holds anything":
            lambda: torch.where(counts > 0, right, got),
        "that is the gradient at the positions; row number id adds up what arrives where that id stands": [
            rows_of(places, grad_out, v), grad_out.sum(0)],
        "only the first sequence counts; all of them look rows up": rows_of(ids[:1], grad_out[:1], v),
        "only the last sequence counts; add up over all of them": rows_of(ids[-1:], grad_out[-1:], v),
        "the batch was averaged or added up before the rows were found; each token's gradient goes to its own id": [
            rows_of(row, grad, v) for row in ids for grad in (grad_out.sum(0), grad_out.mean(0))],
        "the positions were added up before the rows were found; each token's gradient goes to its own id": [
            rows_of(column, grad_out.sum(1), v) for column in ids.T],
        "ids and gradients do not pair up: both must list their tokens in the same order": [
            rows_of(ids.T, grad_out, v), rows_of(ids, grad_out.transpose(0, 1), v)],
        "only the first column is filled: scatter_add wants an index for each number; expand the ids to (B·T, C)": first_column,
        "the gradient went one row too high; ids count from 0": right.roll(-1, 0),
        "the gradient went one row too low; ids count from 0": right.roll(1, 0),
        "row 0 is left out; 0 is an id as any other": without_zero,
        "each token has only the sum of its gradient over C; a row has C numbers":
            [right.sum(1), right.sum(1, True), right.sum(1, True).expand(v, c), right.mean(1)],
        "there are rows for the tokens that occur only; there is one for each of the V tokens, and it is 0 where none arrives": [
            right[seen], right[: int(seen.max()) + 1], last[seen], last[: int(seen.max()) + 1]],
        "that is grad_out itself; its rows belong to tokens in a text, and the result's to tokens in the vocabulary": [
            grad_out, grad_out.flatten(0, 1)],
        "the result is transposed; each token has a row, so it is (V, C)": right.T,
        "each sequence has its own table; all share one, so add them up": torch.stack([
            rows_of(row, grad, v) for row, grad in zip(ids, grad_out, strict=True)]),
        "the zeros came back: index_add returns a new tensor, and grad[ids] is a copy; index_add_ adds in place":
            torch.zeros(v, c),
        "it is subtracted; backward adds each gradient to its row": -right,
    }


# What these checks share.

KEEPDIM = "does a sum or a mean lack keepdim=True, which leaves a dim of length 1 in its place?"


def in_order(answer, args, want, hint=KEEPDIM, atol=1e-6):
    """Call an answer; say so when it would be right with its arguments in another order, and give a hint where shapes clash."""
    error = got = None
    try:
        got = answer(*args)
    except NotYet as stopped:
        error = stopped
    if error is None and same(got, want, 1e-4, atol):
        return got
    for order in itertools.permutations(args[:3]):
        with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = [*order, *args[3:]]
            if any(a is not b for a, b in zip(args, other, strict=True)) and same(Answer(answer.function)(*other), want):
                error = NotYet("the arguments are taken in another order than the check gives; keep the stub's first line")
    if error is None:
        return got
    if "must match the size of tensor" in str(error):
        error = NotYet(f"{error}. The two shapes do not fit: {hint}")
    raise error


def judge_one(got, want, mistakes, *, rtol=1e-4, atol=1e-6, **more):
    """As core's expect; mistakes is a function that gives them, some with a list of results, one for each way to make them."""
    if same(got, want, rtol, atol):
        return
    for words, wrong in mistakes().items():
        for one in wrong if isinstance(wrong, list) else [wrong]:
            want_that(not is_mistake(got, one, (), rtol, atol), words, more.get("case"))
    expect(got, want, rtol=rtol, atol=atol, **more)


def judge_parts(got, want, names, mistakes, relative=False, **more):
    """Judge the parts of a result one by one, and tell the first mistake that has a name.

    names: "grad_x, grad_weight, grad_bias". mistakes: for each part, as in judge_one. relative: whether rounding errors
    are measured by the part's largest number.
    """
    if not isinstance(got, list | tuple) or len(got) != len(want):
        expect(got, want)
    for order in itertools.permutations(want):
        want_that(same(got, want) or not same(got, order), f"the results are right, and stand in another order; return {names}")
    unnamed = None
    for g, w, name, wrong in zip(got, want, names.split(", "), mistakes, strict=True):
        try:
            judge_one(g, w, wrong, name=name, atol=1e-5 * w.abs().max().item() if relative else 1e-6, **more)
        except NotYet as error:
            if error.named:
                raise
            unnamed = unnamed or error
    if unnamed:
        raise unnamed
