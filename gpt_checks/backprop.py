"""The exercises of lesson 03 as data: backpropagation."""
import itertools
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from gpt_checks.core import same
from gpt_checks.observe import an_accumulation
from gpt_checks.spec import Facts, exchange, several, spec

# What several exercises share.

KEEPDIM = "does a sum or a mean lack keepdim=True, which leaves a dim of length 1 in its place?"


def total(each):
    """The sum over all tokens of (B, T, …)."""
    return each.sum((0, 1))


def long(x):
    """One long list of tokens: (B·T, …)."""
    return x.flatten(0, 1)


def only(x, *place):
    """The numbers at some places, and 0 elsewhere."""
    kept = torch.zeros_like(x)
    kept[place] = x[place]
    return kept


def of_tokens(add, name, of):
    """Mistakes in adding up what each token contributes to a gradient; add: the step's name; of: what the gradient belongs to."""
    return exchange(add, {
        **{f"{name} is averaged over the {what}; all tokens share the {of}, so their contributions are added": means
           for what, means in (("tokens", lambda each: each.mean((0, 1))),
                               ("sequences", [lambda each: each.mean(0).sum(0), lambda each: each.mean(0)]),
                               ("positions", [lambda each: each.mean(1).sum(0), lambda each: each.mean(1)]))},
        f"{name} is added up over the sequences alone; sum over the positions, too": [lambda x: x.sum(0), lambda x: x.sum(0).mT],
        f"{name} is added up over the positions alone; sum over the sequences, too": [lambda x: x.sum(1), lambda x: x.sum(1).mT],
        f"{name} holds every token's contribution; all tokens share the {of}, so add them up":
            [lambda each: each, long, lambda each: each.mT],
        f"{name} has the last sequence alone; add up with +=, and do not overwrite": lambda each: each[-1].sum(0),
        f"{name} has the first sequence alone; add up over all (or is `return` inside the loop?)": lambda each: each[0].sum(0),
        f"{name} has the last token alone; add up with +=": [lambda each: each[-1, -1], lambda each: each[:, -1].sum(0)],
        f"{name} has the first token alone; add up over all": [lambda each: each[0, 0], lambda each: each[:, 0].sum(0)],
        f"{name} misses the last positions: does their loop run to B? It runs to T": lambda each: total(each[:, :len(each)]),
        f"{name} is added up over the last dim; each place there has its own {of}, so sum over the tokens":
            [lambda each: each.sum(-1), lambda each: long(each).sum(-1), lambda each: each.sum(-1, True)],
        f"{name} is added up over everything; each number of the {of} has its own slope, so sum over the tokens alone":
            [lambda each: each.sum(), lambda each: each.sum().expand(each.shape[2:])],
        f"{name} has a dim of length 1 too many; a gradient has its {of}'s shape":
            [lambda each: total(each)[None], lambda each: total(each)[..., None], lambda each: each.sum((0, 1), True)],
    })


OF_BIAS = of_tokens("add_bias", "grad_bias", "bias") | exchange("grad_bias", {
    "the slope at the bias is 1, times grad_out; grad_out is missing":
        [lambda s, add: torch.ones(s.g.shape[-1]), lambda s, add: add(torch.ones(s.g.shape))],
    "grad_bias is 0; the bias is added to every token, so its slope is 1, times grad_out": lambda s, add: add(0 * s.g),
})
THREE = several("grad_x", "grad_weight", "grad_bias")
OTHER_ORDERS = exchange("order", {"the results stand in another order; return grad_x, grad_weight, grad_bias": [
    lambda *grads, order=order: tuple(grads[i] for i in order) for order in list(itertools.permutations(range(3)))[1:]]})


# 3.1
def one(w):
    """A step at one number of w, for each number in turn."""
    return torch.eye(w.numel(), dtype=w.dtype).view(-1, *w.shape)


def earlier(w):
    """Steps at all numbers that had their turn before."""
    return one(w).cumsum(0) - one(w)


def at(up, down=None):
    """The values of f at both points, which lie steps of eps away from w."""
    return lambda f, w, e: [torch.stack([f(w + e * step) for step in steps(w)]) for steps in (up, down or (lambda w: -up(w)))]


BOTH, UP, DOWN = at(one), at(one, lambda w: 0 * one(w)), at(lambda w: 0 * one(w), lambda w: -one(w))


def wiggle(f, w, eps, *, call=lambda f, w: f(w), points=BOTH, join=lambda high, low: high - low,
           slope=lambda d, e: d / (2 * e), end=lambda slopes, w: slopes, leave=lambda w, e: None):
    slopes = slope(join(*points(lambda weights: call(f, weights), w, eps)), eps)
    slopes = end(slopes.view_as(w) if slopes.numel() == w.numel() else slopes, w)
    leave(w, eps)
    return slopes


def smooth_functions(draw):
    """A smooth f(w), w, eps: a large step tells the mistakes apart, a small one needs float64."""
    for eps in (draw.uniform(0.2, 0.4), 1e-5):
        o = draw.randint(2, 3)
        i = o + draw.randint(2, 3)
        u, x = (torch.tensor([(-1) ** k * draw.uniform(0.6, 1.4) for k in range(size)]).double() for size in (o, i))

        def f(w, u=u, x=x):
            y = (w @ x.to(w.dtype)).exp()
            return u.to(w.dtype) @ y + y.prod()

        yield "for eps = 1e-5" if eps == 1e-5 else None, (f, draw.normal(o, i, dtype=torch.float64) / 2, eps)


def a_wiggle(answer, f, w, eps):
    """How w is left, in what dtype f was called, and the slopes."""
    mine, dtypes = w.clone(), set()

    def watched(weights):
        given = tuple(weights.shape) if isinstance(weights, torch.Tensor) else f"an object of type {type(weights).__name__}"
        if given != tuple(w.shape):
            raise ValueError(f"f takes a tensor of the shape of w, {tuple(w.shape)}, with one number moved; it got {given}")
        dtypes.add(weights.dtype)
        return f(weights)

    slopes = answer(watched, mine, eps, may_change=(1,))      # w may be moved in place, and back
    ends = {"as it was": w, "eps too high": w + eps, "eps too low": w - eps}
    left = next((words for words, numbers in ends.items() if same(mine, numbers, 0, 1e-9)), "changed")
    return Facts({"w at the end": "the slopes" if slopes is mine else left,
                  "the dtype": "float64" if dtypes <= {torch.float64} else "less than float64", "the slope": slopes})


PILES = [at(lambda w, a=a: one(w) + a * earlier(w), lambda w, down=down, b=b: down * one(w) + b * earlier(w))
         for down, a, b in ((-1, -1, -1), (-1, 1, -1), (-1, 1, 1), (0, 1, 0), (0, 1, 1))]
ALL, ROW, COLUMN = (at(steps) for steps in (lambda w: torch.ones(1, 1, 1), lambda w: torch.eye(len(w))[:, :, None],
                                            lambda w: torch.eye(w.shape[1])[:, None]))
PER_EPS = {"slope": lambda d, e: d / e}
check_wiggle = spec(
    "3.1", "wiggle every weight", see=("03", "Wiggle one weight"), right=wiggle, cases=smooth_functions, use=a_wiggle,
    doc="wiggle(f, w, eps): (f(w + eps) - f(w - eps)) / 2·eps for every number of w, (O, I), which is as before at the end.",
    mistakes=exchange("leave", {
        "w comes back with every number eps too high: put each number back before the next one moves": lambda w, e: w.add_(e),
        "w comes back with every number eps too low: put each number back before the next one moves": lambda w, e: w.sub_(e),
        "w comes back changed: put each number back before the next one moves, or move a copy (w.clone())":
            lambda w, e: w[-1, -1].sub_(e),
    }) | exchange("slope", {
        "the difference is divided by eps; the two points are 2·eps apart": PER_EPS["slope"],
        "a / 2 * eps divides by 2 and multiplies by eps; write a / (2 * eps)": lambda d, e: d / 2 * e,
        "the difference is divided by 2 alone; the two points are 2·eps apart": lambda d, e: d / 2,
        "that is the difference alone; a slope is the difference per unit, so divide by the distance 2·eps": lambda d, e: d,
        "the difference is multiplied by the distance 2·eps; divide by it": lambda d, e: d * 2 * e,
        "the difference is divided by eps squared; divide by the distance 2·eps":
            [lambda d, e: d / e**2, lambda d, e: d / (2 * e**2)],
        "the sign is turned: subtract the value at w - eps from the value at w + eps":
            [lambda d, e: -d / (2 * e), lambda d, e: -d / e],
    }) | {
        "the two values are added; a slope comes from their difference":
            [{"join": torch.add}, {"join": torch.add, "slope": lambda d, e: d / 2}],
        "the lower point is w itself; a central difference goes down by eps, too, and its two points are 2·eps apart":
            {"points": UP, **PER_EPS},
        "the upper point is w itself; a central difference goes up by eps, too, and its two points are 2·eps apart":
            {"points": DOWN, **PER_EPS},
        "each number moves by eps/2 to each side; move it by eps":
            [{"points": at(lambda w: one(w) / 2), **PER_EPS}, {"points": at(lambda w: one(w) / 2)}],
        "each number moves by a share of itself, eps·w; move it by eps": [
            {"points": at(lambda w: one(w) * w)}, {"points": at(lambda w: one(w) * w), "end": lambda s, w: s / w}],
        "all numbers of w move at once; a slope belongs to one number, so move one and hold the others still": [
            {"points": ALL, "end": lambda s, w: s.expand(w.shape)}, {"points": ALL, "end": lambda s, w: s[0]}],
        "a whole row of w moves at once; move one number, w[o, i], and hold the others still":
            [{"points": ROW, "end": lambda s, w: s[:, None].expand(w.shape)}, {"points": ROW}],
        "a whole column of w moves at once; move one number, w[o, i], and hold the others still":
            [{"points": COLUMN, "end": lambda s, w: s.expand(w.shape)}, {"points": COLUMN}],
        "the moves pile up: numbers that had their turn stay moved; put each back before the next, or take a fresh copy for each":
            [{"points": pile, **more} for more in ({}, PER_EPS) for pile in PILES],
        "f was called in float32, where rounding drowns the difference of two near numbers; stay in float64, as w is":
            {"call": lambda f, w: f(w.float()).double()},
    } | exchange("points", {
        "the lower point is w itself (from w + eps, a move down by eps leads back to w); go down to w - eps": UP,
        "the upper point is w itself (from w - eps, a move up by eps leads back to w); go up to w + eps": DOWN,
        "the slope is 0 everywhere: are both points the same tensor? up = w makes no copy; up = w.clone() does":
            at(lambda w: 0 * one(w)),
        "that is the slope for a far smaller step (or autograd's); move by the eps that is given":
            lambda f, w, e: [value * e / 1e-4 for value in BOTH(f, w, 1e-4)],
    }) | exchange("end", {
        "the slopes were written into w itself, since = makes no copy; start from torch.zeros_like(w)": lambda s, w: w.copy_(s),
        "only the first number was wiggled: is `return` inside the loop?": [lambda s, w: only(s, 0, 0), lambda s, w: s[0, 0]],
        "only the first row was wiggled: is `return` inside the loop?": [lambda s, w: only(s, 0), lambda s, w: s[0]],
        "only the last slope was kept; each has its own place in the result":
            [lambda s, w: only(s, -1, -1), lambda s, w: s[-1, -1], lambda s, w: s[-1, -1].expand(s.shape)],
        "only the last row of slopes was kept; each row has its own place in the result":
            [lambda s, w: only(s, -1), lambda s, w: s[-1]],
        "only a square of w was wiggled: the loop over o runs to w.shape[0], and the one over i to w.shape[1]":
            lambda s, w: only(s, slice(None), slice(len(s))),
        "the last column of w was not wiggled: the loop over i runs to w.shape[1]":
            lambda s, w: only(s, slice(None), slice(s.shape[1] - 1)),
        "only the diagonal of w was wiggled: it takes two loops, one inside the other": lambda s, w: s * torch.eye(*s.shape),
        "the slopes are right, and stand in one long row; give them the shape of w": lambda s, w: s.flatten(),
        "the result is transposed; the slope of w[o, i] belongs at place [o, i]": lambda s, w: s.T,
        "a slope has a sign; leave out abs": lambda s, w: s.abs(),
        "the slopes are added up; each has its own place in the result":
            [lambda s, w: s.sum(), lambda s, w: s.sum(0), lambda s, w: s.sum(1)],
        "every slope has the earlier ones added to it; start each from 0": lambda s, w: s.flatten().cumsum(0).view_as(s),
    }))


# 3.2
def one_hot(targets, p):
    return F.one_hot(targets, p.shape[1])


def loss_gradient(x, targets, *, probs=lambda x: x.softmax(1), y=one_hot, minus=lambda p, y: p - y, share=lambda d: d / len(d),
                  end=lambda d, x, t: d):
    p = probs(x)
    return end(share(minus(p, y(targets, p))), x, targets)


def logits_and_targets(draw):
    """(N, V) logits and (N,) targets: targets that are also numbers of rows; repeated ones, and more rows than tokens."""
    n, v = draw.randint(4, 6), draw.randint(8, 10)
    yield None, (2 * draw.normal(n, v), torch.tensor(draw.sample(range(n), n)))
    yield None, (2 * draw.normal(v + 3, v), draw.ids(v + 3, vocab_size=v))


def through_softmax(p, d):
    return p * (d - (p * d).sum(1, True))


OWN = "each row is a distribution of its own over the V tokens: dim=1 (or -1)"
PER_ROW = "the mean is over the N rows, so each has a share of 1/N"
check_loss_gradient = spec(
    "3.2", "the gradient at the logits", see=("03", "Softmax, then cross-entropy"), right=loss_gradient, cases=logits_and_targets,
    name="the gradient", hint="y is (N, V), F.one_hot(targets, V); and a row's sum needs keepdim=True",
    scales=lambda x, t: {"the number of rows N": len(x), "the number of tokens V": x.shape[1], "N·V": x.numel()},
    doc="loss_gradient(logits, targets): (softmax - one-hot) / N, (N, V).",
    mistakes=exchange("share", {
        "the division by N is missing: the loss is a mean over N rows, so each row has a share of 1/N": lambda d: d,
        "it is multiplied by N; the loss is a mean over N rows, so each row has a share of 1/N": lambda d: d * len(d),
        f"it is divided by N·V; {PER_ROW}": lambda d: d / d.numel(),
        f"it is divided by V; {PER_ROW}": lambda d: d / d.shape[1],
    }) | {
        "only y is divided by N; the share 1/N goes to the whole difference":
            {"minus": lambda p, y: p - y / len(y), "share": lambda d: d},
        "only p is divided by N (the 1 was subtracted after that); the share 1/N goes to the whole difference":
            {"minus": lambda p, y: p / len(p) - y, "share": lambda d: d},
    } | exchange("probs", {
        f"softmax runs over dim 0, the rows; {OWN}": lambda x: x.softmax(0),
        f"softmax runs over all rows at once; {OWN}": lambda x: x.flatten().softmax(0).view(x.shape),
        "y is subtracted from the logits; they become probabilities by a softmax first": lambda x: x,
        "y is subtracted from the logarithms of the probabilities; leave out the log": lambda x: x.log_softmax(1),
        "sigmoid takes each logit alone; the tokens share one probability of 1, so it is softmax over the row": torch.sigmoid,
        "softmax was taken twice": lambda x: x.softmax(1).softmax(1),
        "exp is not divided by the row's sum: that is no probability yet": torch.exp,
        "the logits are divided by their sum; softmax takes exp of them first": lambda x: x / x.sum(1, True),
    }) | exchange("minus", {
        "the sign is turned: the gradient is p - y, which is negative at the target, since a higher logit there lowers the loss":
            lambda p, y: y - p,
        "y is missing: the slope at the target is 1 less": lambda p, y: p,
        "only the targets' places are filled; the other tokens have a slope too, p": lambda p, y: (p - 1) * y,
        "the 1 is subtracted everywhere; it belongs to the target alone": lambda p, y: p - 1,
        "the target's place was overwritten; subtract 1 from the probability that stands there": [
            lambda p, y, new=new: p.where(y == 0, new(p)) for new in (lambda p: -1, lambda p: 0, lambda p: 1 - p, lambda p: 1)],
        "1 is added at the target; it is subtracted": lambda p, y: p + y,
        "y has 1 everywhere but at the target; it is the other way round": lambda p, y: p - (1 - y),
        "that is the gradient at the probabilities; go one step further back, through softmax": lambda p, y: -y / p,
        "that is the gradient at the logarithms of the probabilities, and their normalisation depends on all logits, too":
            lambda p, y: -y,
        "p - y has the slope of softmax inside; it was multiplied in again":
            [lambda p, y: through_softmax(p, p - y), lambda p, y: p * (1 - p) * (p - y)],
        "it is twice too large: was `backward` called twice, so that gradients added up, or the 2 of a square taken in?":
            lambda p, y: 2 * (p - y),
        "the difference is squared; the gradient is p - y itself": lambda p, y: (p - y) ** 2,
        "that is the gradient of a squared difference; for cross-entropy it is p - y": lambda p, y: 2 * through_softmax(p, p - y),
        "p(1 - p) is the slope of one probability at its own logit; the loss's gradient is p - y": lambda p, y: p * (1 - p),
        "only the target's number is divided by N; its whole row is": lambda p, y: p.where(y == 0, (p - 1) / len(p)) * len(p),
    }) | exchange("y", {
        "p[:, targets] takes every target in every row; row i has one target: p[torch.arange(N), targets]":
            [lambda t, p: torch.isin(torch.arange(p.shape[1]), t).float(), lambda t, p: t.bincount(minlength=p.shape[1])],
        "p[targets] are whole rows; take one place in each row: p[torch.arange(N), targets]":
            [lambda t, p: torch.isin(torch.arange(len(p)), t).float()[:, None],
             lambda t, p: t.bincount(minlength=len(p))[: len(p), None]],
        "the 1 is subtracted at place i of row i; it belongs at the row's target": lambda t, p: torch.eye(*p.shape),
        "the 1 is subtracted from the most likely token; it belongs to the target, likely or not":
            lambda t, p: one_hot(p.argmax(1), p),
        "the 1 is subtracted one place too far left; ids count from 0": lambda t, p: one_hot(t, p).roll(-1, 1),
        "the 1 is subtracted one place too far right; ids count from 0": lambda t, p: one_hot(t, p).roll(1, 1),
        "row i has the target of row i + 1; the targets are shifted already": lambda t, p: one_hot(t.roll(-1), p),
        "row i has the target of row i - 1; row i goes with targets[i]": lambda t, p: one_hot(t.roll(1), p),
        "the ids themselves are subtracted; y has a 1 at the target and 0 elsewhere": lambda t, p: t[:, None],
    }) | exchange("end", {
        "the rows were added up or averaged; each row has its own gradient": [lambda d, *_: d.sum(0), lambda d, *_: d.mean(0)],
        "only the targets' slopes came back, one a row; each row has a slope for each of the V tokens":
            [lambda d, x, t: d[torch.arange(len(t)), t], lambda d, x, t: d[torch.arange(len(t)), t][:, None]],
        "that is the loss; its gradient has a slope for every logit": [
            lambda d, x, t: F.cross_entropy(x, t), lambda d, x, t: F.cross_entropy(x, t, reduction="sum"),
            lambda d, x, t: x.log_softmax(1), lambda d, x, t: -x.log_softmax(1)],
    }))


# 3.3 and 3.4 keep what a step can use in s: x, w (weight), g (grad_out), and what the steps before have found.
def outer(x, g):
    """What each token contributes to the weight's gradient: (B, T, O, I)."""
    return g[..., None] * x[..., None, :]


def linear_backward(x, weight, grad_out, *, grad_x=lambda s: s.g @ s.w, end_x=lambda grad_x: grad_x,
                    grad_weight=lambda s, add: add(outer(s.x, s.g)), add_weight=total, end_weight=lambda grad_weight: grad_weight,
                    grad_bias=lambda s, add: add(s.g), add_bias=total, order=lambda *grads: grads):
    s = SimpleNamespace(x=x, w=weight, g=grad_out)
    return order(end_x(grad_x(s)), end_weight(grad_weight(s, add_weight)), grad_bias(s, add_bias))


def layers(draw):
    """x (B, T, I), weight (O, I), grad_out (B, T, O): square, where a forgotten .T raises no error, and not; no sizes alike."""
    for b, t, i, more in ((2, 3, draw.randint(4, 5), 0), (3, 4, draw.randint(5, 6), draw.randint(2, 3))):
        yield None, (draw.normal(b, t, i) + 0.3, draw.normal(i + more, i), draw.normal(b, t, i + more) + 0.3)


def reshaped(x):
    """What is meant to be long(x).T, and is not."""
    return long(x).reshape(x.shape[-1], -1)


check_linear_backward = spec(
    "3.3", "back through a linear layer", see=("03", "Linear"), right=linear_backward, cases=layers, use=THREE, hint=KEEPDIM,
    scales=lambda x, w, g: {"the number of tokens B·T": len(long(x)), "the number of sequences B": len(x),
                            "the length T": x.shape[1], "the number of inputs I": w.shape[1], "the number of outputs O": len(w)},
    doc="linear_backward(x, weight, grad_out): the gradients at x, weight and bias of x @ weight.T + bias.",
    mistakes=exchange("grad_x", {
        "the weight is transposed: y uses weight.T, so the way back uses weight, (B, T, O) @ (O, I)": lambda s: s.g @ s.w.T,
        "x went through the layer once more; it is grad_out that goes back through the weight":
            [lambda s: s.x @ s.w.T, lambda s: s.x @ s.w],
        "grad_out and x are multiplied; the slope at x is the weight": lambda s: s.g * s.x,
        "the slope at x is the weight, and not x": [lambda s: s.x * s.x, lambda s: s.x],
        "the slope at x is the weight, times grad_out; grad_out is missing": [
            lambda s: s.w.sum(0).expand_as(s.x), lambda s: s.w.sum(0), lambda s: s.w.sum(1), lambda s: s.w],
    }) | exchange("end_x", {
        "each token has its own gradient at x; do not add up the tokens": [total, lambda d: d.sum(0), lambda d: d.sum(1)],
        "each token has its own gradient at x; do not average the tokens":
            [lambda d: d.mean((0, 1)), lambda d: d.mean(0), lambda d: d.mean(1)],
        "grad_x is divided by the number of tokens, sequences or positions; the share of each token is already in grad_out":
            [lambda d: d / len(long(d)), lambda d: d / len(d), lambda d: d / d.shape[1]],
        "grad_x stands in rows of all tokens, (B·T, I); give it the shape of x, (B, T, I)": long,
        "grad_x is 0 at the last positions: does their loop run to B? It runs to T":
            lambda d: only(d, slice(None), slice(len(d))),
    }) | exchange("grad_weight", {
        "the tokens are added up before the product; multiply token by token, then add": [
            lambda s, add: torch.outer(total(s.g), total(s.x)), lambda s, add: torch.outer(s.g.mean((0, 1)), s.x.mean((0, 1))),
            lambda s, add: s.g.sum(0).T @ s.x.sum(0), lambda s, add: s.g.sum(1).T @ s.x.sum(1),
            lambda s, add: s.g.mean(0).T @ s.x.mean(0)],
        "the slope at the weight is x, times grad_out; grad_out is missing":
            [lambda s, add: add(outer(s.x, torch.ones_like(s.g))), lambda s, add: add(s.x)],
        "the slope at the weight is x, times grad_out; x is missing": lambda s, add: add(outer(torch.ones_like(s.x), s.g)),
        "reshape reads the numbers in their old order and exchanges no dims; flatten the tokens first, and then take .T": [
            lambda s, add: reshaped(s.g) @ long(s.x), lambda s, add: long(s.g).T @ reshaped(s.x).T,
            lambda s, add: reshaped(s.g) @ reshaped(s.x).T, lambda s, add: s.g.mT.reshape(s.g.shape[-1], -1) @ long(s.x),
            lambda s, add: s.g.mT.reshape(s.g.shape[-1], -1) @ s.x.mT.reshape(s.x.shape[-1], -1).T],
        "x and grad_out do not pair up: both must list their tokens in the same order": [
            lambda s, add: long(s.g).T @ long(s.x.transpose(0, 1)), lambda s, add: long(s.g).T @ long(s.x).flip(0),
            lambda s, add: long(s.g.transpose(0, 1)).T @ long(s.x)],
        "grad_weight has the weight multiplied in; the slope at the weight is x alone": lambda s, add: s.w * add(outer(s.x, s.g)),
        "grad_out met the weight on the way to grad_weight; the slope at the weight is x": [
            lambda s, add: add(outer(s.g @ s.w, s.g)), lambda s, add: add(outer(s.g, s.g)),
            lambda s, add: add(outer(s.x @ s.w.T, s.g)), lambda s, add: add(outer(s.x, s.x))],
    }) | exchange("end_weight", {
        "grad_weight is transposed, (I, O); a gradient has its weight's shape, (O, I)": lambda d: d.transpose(-2, -1),
        "only the first I rows of grad_weight are filled: the loop over outputs runs to O": lambda d: only(d, slice(d.shape[1])),
    }) | of_tokens("add_weight", "grad_weight", "weight") | OF_BIAS | exchange("grad_bias", {
        "grad_bias has x in it, as grad_weight has; the slope at the bias is 1, so add up grad_out alone":
            lambda s, add: add(s.g * s.x.sum(-1, True)),
    }) | OTHER_ORDERS)


# 3.4
def mean(x, dims=-1):
    """The mean over some dims, kept as dims of length 1."""
    return x.mean(dims, keepdim=True)


def layernorm_backward(x, weight, grad_out, eps=1e-5, *, use_eps=lambda eps: eps, dims=-1, dz_dims=-1,
                       centre=lambda s: mean(s.x, s.dims), std=lambda s: (mean(s.c**2, s.dims) + s.eps).sqrt(),
                       dz=lambda s: s.g * s.w, first=lambda s: mean(s.dz, s.dz_dims),
                       second=lambda s: s.z * mean(s.dz * s.z, s.dz_dims), join=lambda s: (s.dz - s.first - s.second) / s.std,
                       end_x=lambda s, d: d, grad_weight=lambda s, add: add(s.g * s.z), add_weight=total,
                       grad_bias=lambda s, add: add(s.g), add_bias=total, order=lambda *grads: grads):
    """c: x, centred; first, second: the terms that the mean and the variance bring in."""
    x, w, g = (tensor.detach().double() for tensor in (x, weight, grad_out))
    s = SimpleNamespace(x=x.requires_grad_(), w=w, g=g, eps=use_eps(eps), dims=dims, dz_dims=dz_dims)
    s.c = s.x - centre(s)
    s.std = std(s)
    s.z, s.dz = s.c / s.std, dz(s)
    s.first, s.second = first(s), second(s)
    grads = order(end_x(s, join(s)), grad_weight(s, add_weight), grad_bias(s, add_bias))
    return tuple(grad.detach().float() for grad in grads)


def normed_layers(draw):
    """x, grad_out (B, T, C) and weight (C,), with or without eps; each token has a mean and a spread of its own."""
    c = draw.randint(5, 7)
    weight = torch.tensor([draw.choice((-1, 1)) * draw.uniform(0.5, 2) for _ in range(c)])
    for case, b, t, eps, spread, centre, size in (
            (None, 2, 3, (), 1.5, 1.0, 1.0), ("for x of a variance below the default eps", 2, 3, (), 1e-3, 0.0, 0.03),
            (None, 3, 4, (draw.uniform(0.5, 0.9),), 1.0, 0.5, 1.0)):
        spreads, centres = (torch.tensor([draw.uniform(1, 1.6) for _ in range(b * t)]).view(b, t, 1) for _ in range(2))
        x = spread * spreads * F.layer_norm(draw.normal(b, t, c), (c,)) + centre * centres
        yield case, (x, weight, size * (draw.normal(b, t, c) + 0.5), *eps)


OVER = {}
for dims, words in (((0,), "dim 0, the sequences"), ((1,), "dim 1, the positions"), ((0, 1), "all tokens"),
                    ((1, 2), "a whole sequence"), ((0, 1, 2), "the whole batch")):
    OVER[f"mean and variance run over {words}; each token has its own, over its C numbers: dim=-1"] = [
        {"dims": dims}, {"dims": dims, "dz_dims": dims}]
    OVER[f"⟨dz⟩, ⟨dz·z⟩ or both run over {words}; each token has its own, over its C numbers: dim=-1"] = [
        {"dz_dims": dims}, {"first": lambda s, dims=dims: mean(s.dz, dims)},
        {"second": lambda s, dims=dims: s.z * mean(s.dz * s.z, dims)}]
STDS = {
    "eps is added outside the root; it belongs inside: (variance + eps).sqrt()": lambda s: mean(s.c**2).sqrt() + s.eps,
    "eps is missing under the root: (variance + eps).sqrt()": lambda s: mean(s.c**2).sqrt(),
    "eps is subtracted under the root; add it": lambda s: (mean(s.c**2) - s.eps).sqrt(),
    "eps is squared under the root; add eps itself": lambda s: (mean(s.c**2) + s.eps**2).sqrt(),
    "the variance divides by C - 1, as torch's does by default; LayerNorm's divides by C: correction=0":
        lambda s: (s.x.var(-1, keepdim=True) + s.eps).sqrt(),
    "x.std() divides by C - 1, and has no eps; take (x.var(-1, keepdim=True, correction=0) + eps).sqrt()":
        [lambda s: s.x.std(-1, keepdim=True), lambda s: s.x.std(-1, keepdim=True) + s.eps],
    "the root is missing: x - mean is divided by the standard deviation, (variance + eps).sqrt()": lambda s: mean(s.c**2) + s.eps,
    "the mean is not subtracted in the variance: average the squares of x - mean": lambda s: (mean(s.x**2) + s.eps).sqrt(),
    "the squares are added up in the variance; average them": lambda s: (s.c.square().sum(-1, True) + s.eps).sqrt(),
}
SMALL = "1e-3", "1e-4", "1e-6", "1e-7", "1e-8"
PARENTHESES = "is divided by the standard deviation; put the whole difference into parentheses"
check_layernorm_backward = spec(
    "3.4", "back through LayerNorm", see=("03", "LayerNorm"), right=layernorm_backward, cases=normed_layers, use=THREE,
    atol=1e-5, hint=KEEPDIM,
    scales=lambda x, *_: {"the number of features C": x.shape[-1], "the number of tokens B·T": len(long(x)),
                          "the number of sequences B": len(x), "the length T": x.shape[1], "the root of C": x.shape[-1] ** 0.5},
    doc="layernorm_backward(x, weight, grad_out, eps=1e-5): the gradients at x, weight and bias of a LayerNorm over C.",
    mistakes=exchange("join", {
        "the mean and the variance are treated as constants; moving one x moves both, so two more terms come in":
            lambda s: s.dz / s.std,
        "the first term dz is missing: moving one x also moves its own z": lambda s: (-s.first - s.second) / s.std,
        "the division by the standard deviation is missing at the end": lambda s: s.dz - s.first - s.second,
        "the result is divided by the variance; divide by the standard deviation, its root":
            lambda s: (s.dz - s.first - s.second) / s.std**2,
        "the result is multiplied by the standard deviation; divide by it": lambda s: (s.dz - s.first - s.second) * s.std,
        f"only the last term {PARENTHESES}": lambda s: s.dz - s.first - s.second / s.std,
        f"only the first term {PARENTHESES}": lambda s: s.dz / s.std - s.first - s.second,
        "the weight is forgotten in the first term: dz is grad_out times weight": lambda s: (s.g - s.first - s.second) / s.std,
        "that is the forward pass; go back from grad_out to x": [lambda s: s.z, lambda s: s.z * s.w],
    }) | exchange("first", {
        "the mean is treated as a constant; moving one x moves it too: - ⟨dz⟩ is missing": lambda s: 0,
        "⟨dz⟩ is added; subtract it": lambda s: -mean(s.dz),
        "⟨dz⟩ is a sum here; divide by C": lambda s: s.dz.sum(-1, True),
        "the term ⟨dz⟩ is divided by the standard deviation twice": lambda s: mean(s.dz) / s.std,
        "the weight is forgotten in ⟨dz⟩: take the mean of dz = grad_out·weight": lambda s: mean(s.g),
    }) | exchange("second", {
        "the variance is treated as a constant; moving one x moves it too: - z⟨dz·z⟩ is missing": lambda s: 0,
        "z⟨dz·z⟩ is added; subtract it": lambda s: -s.z * mean(s.dz * s.z),
        "⟨dz·z⟩ is a sum here; divide by C": lambda s: s.z * (s.dz * s.z).sum(-1, True),
        "the last term uses x - mean where z belongs (z is divided by the standard deviation)":
            [lambda s: s.c * mean(s.dz * s.c), lambda s: s.c * mean(s.dz * s.z)],
        "the last term uses x where z belongs (z has mean 0 and is divided by the standard deviation)":
            [lambda s: s.x * mean(s.dz * s.x), lambda s: s.x * mean(s.dz * s.z), lambda s: s.z * mean(s.dz * s.x)],
        "the last term has the wrong power of the standard deviation; z⟨dz·z⟩ has it once in each z":
            [lambda s: s.z * mean(s.dz * s.z) / s.std, lambda s: s.z * mean(s.dz * s.z) / s.std**2],
        "the factor z is missing in the last term: z⟨dz·z⟩": lambda s: mean(s.dz * s.z),
        "the last term is z·dz·z, without a mean: take ⟨dz·z⟩ over the vector": lambda s: s.z * s.dz * s.z,
        "the last term takes the mean of z·dz·z as a whole; the first z stays outside: z⟨dz·z⟩": lambda s: mean(s.z * s.dz * s.z),
        "the last term has z squared under the mean; it is z⟨dz·z⟩": lambda s: s.z * mean(s.dz * s.z**2),
        "the last term has z⟨dz⟩ where z⟨dz·z⟩ belongs": lambda s: s.z * mean(s.dz),
        "the last term has dz⟨dz·z⟩ where z⟨dz·z⟩ belongs": lambda s: s.dz * mean(s.dz * s.z),
        **{f"the last term counts {words}: the derivative of a root has a 1/2, and that of a square a 2":
           lambda s, times=times: times * s.z * mean(s.dz * s.z) for words, times in (("twice", 2), ("half", 0.5))},
        "the weight is forgotten in ⟨dz·z⟩: take the mean of dz·z with dz = grad_out·weight": lambda s: s.z * mean(s.g * s.z),
        "the last term uses the layer's output where z belongs, so that the weight is in it twice":
            [lambda s: s.z * s.w * mean(s.dz * s.z), lambda s: s.z * mean(s.dz * s.z * s.w),
             lambda s: s.z * s.w * mean(s.dz * s.z * s.w)],
    }) | {
        "the weight is forgotten: dz is grad_out times weight": {"dz": lambda s: s.g},
        "grad_out is divided by the weight; multiply by it": {"dz": lambda s: s.g / s.w},
        "the weight comes too late: multiply grad_out by it first, before the two means are taken":
            {"dz": lambda s: s.g, "end_x": lambda s, d: s.w * d},
        "the weight is multiplied in twice": [{"dz": lambda s: s.g * s.w**2}, {"end_x": lambda s, d: s.w * d}],
        "a sum over the C numbers is divided by len(x), which is B; C is x.shape[-1]": [
            {"first": lambda s: s.dz.sum(-1, True) / len(s.x), "second": lambda s: s.z * (s.dz * s.z).sum(-1, True) / len(s.x)},
            {"std": lambda s: (s.c.square().sum(-1, True) / len(s.x) + s.eps).sqrt()},
            {"centre": lambda s: s.x.sum(-1, True) / len(s.x)}],
        "the gradients of the tokens are added up; each token has its own gradient at x": {"end_x": lambda s, d: total(d)},
        "grad_x stands in rows of all tokens, (B·T, C); give it the shape of x, (B, T, C)": {"end_x": lambda s, d: long(d)},
    } | OVER | {      # through autograd, too
        words: parts + [{**part, "join": lambda s: torch.autograd.grad((s.z * s.w * s.g).sum(), s.x)[0]} for part in parts]
        for words, parts in exchange("std", STDS).items()
    } | {
        f"{small} is used for eps; use the eps that is given": {"use_eps": lambda eps, small=small: float(small)}
        for small in ("1e-5", *SMALL)
    } | {
        f"{small} is used for eps where none is given; use 1e-5 when none is":
            {"use_eps": lambda eps, small=small: float(small) if eps == 1e-5 else eps} for small in SMALL
    } | exchange("grad_weight", {
        "that is the gradient of the bias; the slope at the weight is z, so grad_weight adds up grad_out·z": lambda s, f: f(s.g),
        "grad_weight has the weight multiplied in; the slope at the weight is z alone": lambda s, add: add(s.g * s.z * s.w),
        "grad_weight uses x; the slope at the weight is z": lambda s, add: add(s.g * s.x),
        "grad_weight uses x - mean; the slope at the weight is z, which is divided by the standard deviation":
            lambda s, add: add(s.g * s.c),
        "grad_weight is divided by the standard deviation, as grad_x is; grad_out·z is added up as it is":
            lambda s, add: add(s.g * s.z / s.std),
        "z is added up without grad_out; the slope at the weight is z, times grad_out": lambda s, add: add(s.z),
        "the tokens are added up before the product; multiply token by token, then add":
            [lambda s, add: total(s.g) * total(s.z), lambda s, add: s.g.mean((0, 1)) * s.z.mean((0, 1))],
    }) | of_tokens("add_weight", "grad_weight", "weight") | OF_BIAS | exchange("grad_bias", {
        "that is the gradient of the weight; the slope at the bias is 1, so grad_bias adds up grad_out itself":
            lambda s, add: add(s.g * s.z),
        "grad_bias has the weight multiplied in; the bias comes after it, so its slope is 1": lambda s, add: add(s.g * s.w),
    }) | OTHER_ORDERS)


# 3.5
def accumulate(model, micro_batches, batch_loss, *, clear=lambda model: model.zero_grad(), take=lambda pieces: pieces,
               loss=lambda model, x, y, f: f(x, y), scale=lambda i, sizes, t: sizes[i] / sum(sizes),
               back=lambda model, losses: [(scale * loss).backward() for loss, scale in losses], end=lambda model, sizes: None):
    """take: which pieces (inputs, targets, scale) are taken; back: what is done with (loss, scale), made one by one."""
    sizes, t = [len(x) for x, _ in micro_batches], micro_batches[0][0].shape[1]
    pieces = [(x, y, scale(i, sizes, t)) for i, (x, y) in enumerate(micro_batches)]
    clear(model)
    back(model, ((loss(model, x, y, batch_loss), s) for x, y, s in take(pieces)))
    end(model, sizes)


def micro_batches(draw):
    """Two tables, gradients from earlier or None, and micro-batches."""
    v, t = 9, 7
    for sizes, old in (([2, draw.randint(5, 6), 4], True), ([4, draw.randint(1, 3)], False), ([2, 2, 2], True), ([3], False)):
        table, head, *grads = (draw.normal(v, 4) for _ in range(4))
        yield None, (table, head, grads if old else [None, None],
                     [(draw.ids(b, t, vocab_size=v), draw.ids(b, t, vocab_size=v)) for b in sizes])


def multiply(model, factor):
    """Scale what stands in p.grad."""
    for p in model.parameters():
        p.grad *= factor


KEEP = {"clear": lambda model: None}
SHARE = "multiply each mean by its share of the tokens, its own number over that of all"
ONE_GRAPH = "memory holds one graph only"
check_accumulate = spec(
    "3.5", "a large batch in small pieces", see=("03", "Calling backward twice"), right=accumulate, cases=micro_batches,
    use=an_accumulation,
    scales=lambda table, head, old, batches: {
        "the number of micro-batches": len(batches), "the number of sequences": sum(len(x) for x, _ in batches),
        "the number of tokens": sum(x.numel() for x, _ in batches), "the length T": batches[0][0].shape[1]},
    doc="accumulate(model, micro_batches, batch_loss): p.grad of the mean loss over all tokens, one graph at a time.",
    mistakes=exchange("end", {
        "the weights have moved: collect the gradients of all micro-batches, and leave the step to whoever called":
            lambda model, sizes: [p.data.sub_(0.1 * p.grad) for p in model.parameters()],
        "p.grad is 0: was it cleared after the last `backward`?": lambda model, sizes: model.zero_grad(set_to_none=False),
    }) | {
        "p.grad is None at the end: was `zero_grad` called after the last `backward`, or `backward` never, or only on a number "
        "that .item() or torch.tensor() has cut off from the model?":
            [{"end": lambda model, sizes: model.zero_grad()}, {"back": lambda model, losses: list(losses)}],
        "p.grad is None at the end, and batch_loss was never called; its loss can go backward": {"take": lambda pieces: []},
        "p.grad is as it was before the call: `backward` was never called":
            [{**KEEP, "take": lambda pieces: []}, {**KEEP, "back": lambda model, losses: [loss.item() for loss, _ in losses]}],
        "the old gradients were still there, and backward adds to them; clear them first, once, with model.zero_grad()":
            [KEEP] + [{**KEEP, "scale": scale, "end": lambda model, sizes: multiply(model, 1 / sum(sizes))}
                      for scale in (lambda i, s, t: s[i], lambda i, s, t: s[i] * t)],
    } | exchange("scale", {
        f"the micro-batches' means are added up as they are; {SHARE}": lambda i, s, t: 1.0,
        f"each mean is divided by the number of micro-batches, as if all were of one size; {SHARE}": lambda i, s, t: 1 / len(s),
        "the gradients are those of a sum over all sequences; divide by their number, for the mean": lambda i, s, t: s[i],
        "the gradients are those of a sum over all tokens; divide by their number, for the mean": lambda i, s, t: s[i] * t,
        "the shares are right, and the whole is divided by the number of micro-batches once more":
            lambda i, s, t: s[i] / sum(s) / len(s),
        "the sum over sequences is divided by the number of micro-batches; divide by the number of sequences":
            lambda i, s, t: s[i] / len(s),
        "the sum over tokens is divided by the number of micro-batches; divide by the number of tokens":
            lambda i, s, t: s[i] * t / len(s),
        f"the means are divided by the number of all tokens or sequences, without being weighed; {SHARE}":
            [lambda i, s, t: 1 / sum(s), lambda i, s, t: 1 / sum(s) / t],
        "the shares mix numbers of sequences with numbers of tokens":
            [lambda i, s, t: s[i] / sum(s) * t, lambda i, s, t: s[i] / sum(s) / t],
        f"each mean is divided by its own size; {SHARE}": [lambda i, s, t: 1 / s[i], lambda i, s, t: 1 / s[i] / t],
        "the gradients are twice too large: was `backward` called twice on each loss? They add up":
            lambda i, s, t: 2 * s[i] / sum(s),
        f"the shares are turned upside down; {SHARE}": lambda i, s, t: sum(s) / s[i],
        f"all micro-batches are taken to be as large as the first; {SHARE}":
            [lambda i, s, t: s[i] / s[0], lambda i, s, t: s[0] / sum(s), lambda i, s, t: s[i] / s[0] / len(s)],
        "the shares are of the last micro-batch's tokens alone: does `total = …` stand in a loop where `total += …` belongs?":
            lambda i, s, t: s[i] / s[-1],
        f"every micro-batch is weighed like the last; {SHARE}": lambda i, s, t: s[-1] / sum(s),
        f"all micro-batches are taken to be as large as the largest; {SHARE}":
            [lambda i, s, t: s[i] / max(s), lambda i, s, t: s[i] / max(s) / len(s)],
        "the share is taken of the tokens so far; it is the share of all tokens": lambda i, s, t: s[i] / sum(s[:i + 1]),
    }) | {
        "only the last micro-batch is left: `zero_grad` inside the loop throws the earlier ones away, or `backward` comes after "
        "the loop; clear once, before it, and call backward on each loss": [
            {"back": back, **more} for more in ({}, {"scale": lambda i, s, t: 1.0}, {"scale": lambda i, s, t: 1 / len(s)})
            for back in (lambda model, losses: [(model.zero_grad(), (scale * loss).backward()) for loss, scale in losses],
                         lambda model, losses: [scale * loss for loss, scale in losses][-1].backward())],
    } | exchange("back", {
        "the running total goes backward at every turn, so that early micro-batches count again and again; call backward on the "
        "new loss alone": lambda model, losses: [so_far.backward(retain_graph=True) for so_far in itertools.accumulate(
            scale * loss for loss, scale in losses)],
        "p.grad is scaled inside the loop, and with it what earlier micro-batches left there; scale the loss instead":
            lambda model, losses: [(loss.backward(), multiply(model, scale)) for loss, scale in losses],
        f"{ONE_GRAPH}, and a new one is built before `backward` has freed the last: call backward inside the loop, which gives "
        "the same gradient": lambda model, losses: sum(scale * loss for loss, scale in losses).backward(),
    }) | {
        f"{ONE_GRAPH}, and micro-batches were put together again: take them one at a time, which gives the same gradient":
            {"take": lambda pieces: [(*map(torch.cat, list(zip(*pieces, strict=True))[:2]), 1.0)]},
        "only the first micro-batch is there: does the loop end too early?": {"take": lambda pieces: pieces[:1]},
        "the last micro-batch is left out": [{"take": lambda pieces: pieces[:-1]},
            {"take": lambda pieces: pieces[:-1], "scale": lambda i, s, t: s[i] / max(1, sum(s[:-1]))}],
        "the first micro-batch is left out: was p.grad cleared after its `backward`?": {"take": lambda pieces: pieces[1:]},
        "inputs and targets are exchanged: batch_loss(inputs, targets)": {"loss": lambda model, x, y, f: f(y, x)},
        "the loss is a cross-entropy of your own; what is asked for is batch_loss(inputs, targets), whatever it computes":
            {"loss": lambda model, x, y, f: F.cross_entropy(model(x).flatten(0, 1), y.flatten())},
    })


# 3.6
def add_up(grad, ids, g):
    return grad.index_add(0, ids.flatten(), long(g))


def in_turn(grad, ids, g, add=False):
    """Write gradients by an index, one piece after the other, where a repeated index keeps only one."""
    grad = grad.clone()
    for index, piece in zip(ids, g, strict=True):
        grad[index] = grad[index] + piece if add else piece
    return grad


def counts(ids, grad):
    """How often each id occurs: (V, 1)."""
    return ids.flatten().bincount(minlength=len(grad))[:, None]


def of_whole_texts(grad, ids, g):
    """Every row that occurs in a text gets all of its gradients."""
    return grad + sum((counts(row, grad) > 0) * piece.sum(0) for row, piece in zip(ids, g, strict=True))


def embedding_backward(ids, grad_out, vocab_size, *, given=lambda ids, g: (ids, g), start=0.0, write=add_up,
                       end=lambda grad, ids, g: grad):
    grad = torch.full((vocab_size, grad_out.shape[-1]), start)
    return end(write(grad, *given(ids, grad_out)), ids, grad_out)


def texts(draw):
    """(B, T) ids, (B, T, C) gradients, V; some ids are repeated in a row or a column, 0 occurs once, the last ones never."""
    for v, unused in ((draw.randint(9, 11), 1), (draw.randint(8, 9), 3)):
        ids = draw.ids(3, 5, vocab_size=v - unused - 1) + 1
        ids[0, 1], ids[0, 3], ids[1, 0], ids[2, 0], ids[1, 2], ids[2, 4] = 1, 1, 2, 2, 0, v - unused - 1
        yield None, (ids, draw.normal(3, 5, 4), v)


class FilledEmpty(TorchFunctionMode):
    """Within it torch.empty gives 77 everywhere, and not what happens to be in memory, so that a place never written shows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result.fill_(77) if func in (torch.empty, torch.empty_like, torch.Tensor.new_empty) else result


def with_filled_empty(answer, *args):
    with FilledEmpty():
        return answer(*args)


check_embedding_backward = spec(
    "3.6", "the embedding's gradient", see=("03", "Embeddings"), right=embedding_backward, cases=texts, name="the gradient",
    use=with_filled_empty, hint=KEEPDIM,
    scales=lambda ids, g, v: {"the number of tokens B·T": ids.numel(), "the number of sequences B": len(ids),
                              "the length T": ids.shape[1], "the width C": g.shape[-1]},
    doc="embedding_backward(ids, grad_out, vocab_size): (V, C), where each id's row adds up what arrives at its places.",
    mistakes=exchange("write", {
        "rows of grad_out were looked up by id, as forward does in the table; add each to the row of its id":
            [lambda grad, ids, g: long(g)[ids.flatten()][: len(grad)], lambda grad, ids, g: long(g)[: len(grad)]],
        "a repeated id keeps one of its gradients only: grad[ids] = … and grad[ids] += … write each row once, however often "
        "its id occurs; add them one after the other, or with index_add": [
            lambda grad, ids, g: in_turn(grad, ids.flatten(), long(g)),
            lambda grad, ids, g: in_turn(grad, ids.flatten().flip(0), long(g).flip(0))],
        "ids that are repeated in one sequence keep one of their gradients only: grad[ids[b]] += … writes each row once; add "
        "them one after the other, or with index_add": lambda grad, ids, g: in_turn(grad, ids, g, add=True),
        "ids at the same position of several sequences keep one of their gradients only: grad[ids[:, t]] += … writes each row "
        "once; add them one after the other, or with index_add":
            lambda grad, ids, g: in_turn(grad, ids.T, g.transpose(0, 1), add=True),
        "the gradients of a repeated id are averaged; they are added":
            lambda grad, ids, g: add_up(grad, ids, g) / counts(ids, grad).clamp(min=1),
        "a repeated id's sum is counted again at each of its places": lambda d, ids, g: add_up(d, ids, g) * counts(ids, d),
        "a row has the gradients of all places of a text that holds its id; those where the id itself stands count, ids == id":
            [of_whole_texts, lambda grad, ids, g: of_whole_texts(grad, ids.view(1, -1), long(g)[None])],
        "only the first column is filled: scatter_add wants an index for each number; expand the ids to (B·T, C)":
            lambda grad, ids, g: grad.scatter_add(0, ids.reshape(-1, 1), long(g)),
        "each sequence has its own table; all share one, so add them up":
            lambda grad, ids, g: torch.stack([add_up(grad, row, piece[None]) for row, piece in zip(ids, g, strict=True)]),
        "the zeros came back: index_add returns a new tensor, and grad[ids] is a copy; index_add_ adds in place": lambda d, *_: d,
        "the numbers were cut off to whole ones; the table needs floats, torch.zeros(V, C)":
            lambda grad, ids, g: add_up(grad, ids, g.trunc()),
        "it is subtracted; backward adds each gradient to its row": lambda grad, ids, g: add_up(grad, ids, -g),
    }) | exchange("given", {
        "the occurrences are counted; add up what arrives in grad_out": lambda ids, g: (ids, torch.ones_like(g)),
        "only the first sequence counts; all of them look rows up": lambda ids, g: (ids[:1], g[:1]),
        "only the last sequence counts; add up over all of them": lambda ids, g: (ids[-1:], g[-1:]),
        "the last position of each sequence is left out; its id has a row, too": lambda ids, g: (ids[:, :-1], g[:, :-1]),
        "the first sequence is left out; all of them look rows up": lambda ids, g: (ids[1:], g[1:]),
        "the last sequence is left out; all of them look rows up": lambda ids, g: (ids[:-1], g[:-1]),
        "the last positions are left out: does their loop run to B? It runs to T": lambda x, g: (x[:, :len(x)], g[:, :len(x)]),
        "the batch was averaged or added up before the rows were found; each token's gradient goes to its own id": [
            lambda ids, g, b=b, join=join: (ids[b], join(g, 0)[None]) for b in range(3) for join in (torch.sum, torch.mean)],
        "the positions were added up before the rows were found; each token's gradient goes to its own id": [
            lambda ids, g, t=t: (ids[:, t], g.sum(1)[None]) for t in range(5)],
        "ids and gradients do not pair up: both must list their tokens in the same order":
            [lambda ids, g: (ids.T, g), lambda ids, g: (ids.flip(0, 1), g), lambda ids, g: (ids, g.transpose(0, 1))],
    }) | {
        "the rows start from 1; a token that does not occur has the gradient 0": {"start": 1.0},
        "torch.empty holds anything, and what is not written stays so; start from torch.zeros": [
            {"start": 77.0}, {"start": 77.0, "end": lambda grad, ids, g: torch.where(counts(ids, grad) > 0, grad - 77, grad)}],
    } | exchange("end", {
        "it is divided by the number of tokens, sequences or positions; the share of each token is already in grad_out":
            [lambda grad, ids, g, n=n: grad / n(ids) for n in (torch.numel, len, lambda ids: ids.shape[1])],
        "that is how often each token occurs; add up what arrives in grad_out":
            [lambda grad, ids, g: counts(ids, grad), lambda grad, ids, g: counts(ids, grad)[:, 0]],
        "the rows that occur are 1; add up what arrives in grad_out":
            [lambda grad, ids, g: (counts(ids, grad) > 0).float().expand(grad.shape), lambda grad, ids, g: counts(ids, grad) > 0],
        "that is the gradient at the positions; row number id adds up what arrives where that id stands": [
            lambda grad, ids, g: g.sum(0), lambda grad, ids, g: F.pad(g.sum(0), (0, 0, 0, len(grad) - len(g[0])))],
        "the gradient went one row too high; ids count from 0": lambda grad, *_: grad.roll(-1, 0),
        "the gradient went one row too low; ids count from 0": lambda grad, *_: grad.roll(1, 0),
        "row 0 is left out; 0 is an id as any other": lambda grad, *_: only(grad, slice(1, None)),
        "each token has only the sum of its gradient over C; a row has C numbers": [
            lambda grad, *_: grad.sum(1), lambda grad, *_: grad.sum(1, True), lambda grad, *_: grad.mean(1),
            lambda grad, *_: grad.sum(1, True).expand(grad.shape)],
        "there are rows for the tokens that occur only; there is one for each of the V tokens, and it is 0 where none arrives":
            [lambda grad, ids, g: grad[ids.unique()], lambda grad, ids, g: grad[:ids.max() + 1]],
        "that is grad_out itself; its rows belong to tokens in a text, and the result's to tokens in the vocabulary":
            [lambda grad, ids, g: g, lambda grad, ids, g: long(g)],
        "the result is transposed; each token has a row, so it is (V, C)": lambda grad, *_: grad.T,
    }))
