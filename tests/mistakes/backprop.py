"""Lesson 03: answers in other forms than the tables have them, right and wrong."""
from itertools import product

import torch
import torch.nn.functional as F

from gpt_checks.backprop import (
    check_accumulate,
    check_embedding_backward,
    check_layernorm_backward,
    check_linear_backward,
    check_loss_gradient,
    check_wiggle,
)
from mistakes import right, wrong


def places(x):
    return list(product(*map(range, x.shape)))


def by_autograd(forward, tensors, grad_out=None):
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    return torch.autograd.grad(forward(*leaves), leaves, grad_out)


# 3.1 wiggle every weight
@right(check_wiggle)
def wiggle(f, w, eps, where=places):
    slopes = torch.zeros_like(w)
    for place in where(w):
        up, down = w.clone(), w.clone()
        up[place] += eps
        down[place] -= eps
        slopes[place] = (f(up) - f(down)) / (2 * eps)
    return slopes


@right(check_wiggle)
def wiggle_in_place(f, w, eps, back=1, apart=2):
    slopes = torch.empty(w.shape)
    for place in places(w):
        w[place] += eps
        high = f(w).item()
        w[place] -= apart * eps
        slopes[place] = (high - f(w).item()) / (2 * eps)
        w[place] += back * eps
    return slopes


@right(check_wiggle)
def wiggle_with_vmap(f, w, eps):
    nudges = eps * torch.eye(w.numel(), dtype=w.dtype).unflatten(1, w.shape)
    return (torch.vmap(f)(w + nudges) - torch.vmap(f)(w - nudges)).div(2 * eps).view_as(w)


wrong(check_wiggle, "far smaller step", "autograd")(lambda f, w, eps: by_autograd(f, [w])[0])
wrong(check_wiggle, "eps too low")(lambda *args: wiggle_in_place(*args, back=0))
wrong(check_wiggle, "the moves pile up")(lambda f, w, eps: wiggle_in_place(f, w.clone(), eps, back=0))
wrong(check_wiggle, "move down by eps leads back")(lambda *args: wiggle_in_place(*args, apart=1, back=0))
wrong(check_wiggle, "divided by eps;", "w comes back changed")(lambda f, w, eps: (2 * wiggle(f, w, eps), w[0].add_(eps))[0])
wrong(check_wiggle, "only a square of w")(lambda *args: wiggle(*args, where=lambda w: places(w[:, :len(w)])))
wrong(check_wiggle, "float32")(lambda f, w, eps: wiggle(lambda v: f(torch.tensor(v.tolist())), w, eps))
wrong(check_wiggle, "one number moved", "()")(
    lambda f, w, eps: torch.tensor([[(f(number + eps) - f(number - eps)) / (2 * eps) for number in row] for row in w]))
wrong(check_wiggle, "the slope is of type list")(lambda *args: wiggle(*args).tolist())


# 3.2 the gradient at the logits
@right(check_loss_gradient)
def loss_gradient_by_loops(x, targets):
    grad = torch.zeros(x.shape, dtype=torch.float64)
    for i, j in places(x):
        grad[i, j] = (x[i].double().exp()[j] / x[i].double().exp().sum() - float(j == targets[i])) / len(x)
    return grad


@right(check_loss_gradient)
def loss_gradient(x, targets, reduction="mean"):
    return by_autograd(lambda x: F.cross_entropy(x, targets, reduction=reduction), [x])[0]


def less(x, t, *place, by=1.0):
    grad = x.softmax(1)
    grad[place] -= by
    return grad / len(t)


right(check_loss_gradient)(lambda x, t: less(x, t, torch.arange(len(t)), t))
wrong(check_loss_gradient, "division by N is missing")(lambda x, t: loss_gradient(x, t, "sum"))
wrong(check_loss_gradient, "torch.arange(N)", "every row")(lambda x, t: less(x, t, slice(None), t))
wrong(check_loss_gradient, "whole rows", "torch.arange(N)")(lambda x, t: less(x, t, t))
wrong(check_loss_gradient, "only p is divided")(lambda x, t: less(x, t, torch.arange(len(t)), t, by=len(t)))
wrong(check_loss_gradient, "sign is turned", "division by N is missing")(lambda x, t: F.one_hot(t, x.shape[1]) - x.softmax(1))
wrong(check_loss_gradient, "another order")(lambda targets, logits: loss_gradient(logits, targets))
wrong(check_loss_gradient, "in place")(lambda x, t: loss_gradient(x.sub_(x.max(1, keepdim=True).values), t))
wrong(check_loss_gradient, "F.one_hot(targets, V)")(lambda x, t: (x.softmax(1) - F.one_hot(t.clamp(max=3))) / len(t))
wrong(check_loss_gradient, "keepdim")(lambda x, t: (x.exp() / x.exp().sum(1) - F.one_hot(t, x.shape[1])) / len(t))


# 3.3 back through a linear layer
@right(check_linear_backward)
def linear(x, w, g):
    return g @ w, g.flatten(0, 1).T @ x.flatten(0, 1), g.sum(dim=(0, 1))


@right(check_linear_backward)
def linear_by_loops(x, w, g, tokens=None, add=torch.add):
    grad_x, grad_weight, grad_bias = torch.zeros_like(x), torch.zeros_like(w), torch.zeros(len(w))
    for place in tokens or places(x[..., 0]):
        grad_x[place] = w.T @ g[place]
        grad_weight = add(grad_weight, torch.outer(g[place], x[place]))
        grad_bias += g[place]
    return [grad_x, grad_weight, grad_bias]


def wrong_linear(*words):
    """Enter an answer that is right but for some parts: {number of the part: result}."""
    return lambda change: wrong(check_linear_backward, *words)(
        lambda *args: list({**dict(enumerate(linear(*args))), **change(*args)}.values()))


right(check_linear_backward)(lambda x, w, g: (part for part in by_autograd(F.linear, [x, w, torch.zeros(len(w))], g)))
wrong_linear("grad_weight", "sequences alone")(lambda x, w, g: {1: torch.einsum("bto,bti->tio", g, x)})
wrong_linear("grad_weight has the first sequence", "; and grad_bias is averaged")(
    lambda x, w, g: {1: g[0].T @ x[0], 2: g.mean((0, 1))})
wrong_linear("grad_bias is None")(lambda x, w, g: {2: None})
wrong_linear("grad_x has the wrong sign")(lambda x, w, g: {0: -g @ w})
wrong_linear("grad_bias is added up over the last dim")(lambda x, w, g: {0: g @ w + w.mean(), 2: g.sum(-1)})
wrong(check_linear_backward, "grad_weight has the last token")(lambda *args: linear_by_loops(*args, add=lambda old, new: new))
wrong(check_linear_backward, "0 at the last positions")(lambda x, w, g: linear_by_loops(x, w, g, places(x[:, :len(x), 0])))
wrong(check_linear_backward, "arguments", "another order")(lambda g, x, w: linear(x, w, g))
wrong(check_linear_backward, "has 2 values; need 3")(lambda *args: linear(*args)[:2])


# 3.4 back through LayerNorm
@right(check_layernorm_backward)
def layernorm(x, w, g, eps=1e-5):
    return by_autograd(lambda x, w, bias: F.layer_norm(x, w.shape, w, bias, eps), [x, w, torch.zeros(len(w))], g)


@right(check_layernorm_backward)
def layernorm_step_by_step(x, w, g, eps=1e-5, half=0.5, through_mean=1):
    c, centred = x.shape[-1], x - x.mean(-1, keepdim=True)
    inverse = (centred.pow(2).sum(-1, keepdim=True) / c + eps).rsqrt()
    d_var = (g * w * centred).sum(-1, keepdim=True) * -half * inverse**3
    d_centred = g * w * inverse + d_var * 2 * centred / c
    d_mean = -through_mean * d_centred.sum(-1, keepdim=True)
    return [d_centred + d_mean / c, torch.einsum("btc,btc->c", g, centred * inverse), g.flatten(0, 1).sum(0)]


def with_std(std_of):
    """A LayerNorm with another standard deviation, through autograd."""
    return lambda x, w, g, eps=1e-5: by_autograd(
        lambda x, w, bias: (x - x.mean(-1, keepdim=True)) / std_of(x, eps) * w + bias, [x, w, torch.zeros(len(w))], g)


wrong(check_layernorm_backward, "counts twice")(lambda *args: layernorm_step_by_step(*args, half=1.0))
wrong(check_layernorm_backward, "mean is treated as a constant")(lambda *args: layernorm_step_by_step(*args, through_mean=0))
wrong(check_layernorm_backward, "mean and the variance are treated as constants", "x.std()")(
    lambda x, w, g, eps=1e-5: (g * w / x.std(-1, keepdim=True), *layernorm(x, w, g, eps)[1:]))
wrong(check_layernorm_backward, "outside the root")(with_std(lambda x, eps: x.std(-1, keepdim=True, correction=0) + eps))
wrong(check_layernorm_backward, "C - 1")(with_std(lambda x, eps: x.std(-1, keepdim=True) + eps))
wrong(check_layernorm_backward, "keepdim")(with_std(lambda x, eps: (x.var(-1, correction=0) + eps).sqrt()))
wrong(check_layernorm_backward, "1e-6 is used", "1e-5 when none")(lambda x, w, g, eps=1e-6: layernorm(x, w, g, eps))
wrong(check_layernorm_backward, "grad_weight uses x - mean", "grad_bias is averaged")(lambda x, w, g, eps=1e-5: (
    layernorm(x, w, g, eps)[0], (g * (x - x.mean(-1, keepdim=True))).sum((0, 1)), g.mean((0, 1))))
wrong(check_layernorm_backward, "arguments", "another order")(lambda g, x, w, eps=1e-5: layernorm(x, w, g, eps))
wrong(check_layernorm_backward, "in place")(lambda x, *more: layernorm(x.sub_(x.mean(-1, keepdim=True)), *more))


# 3.5 a large batch in small pieces
@right(check_accumulate)
def accumulate(model, batches, batch_loss, step=lambda model: None):
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for x, y in batches:
        (batch_loss(x, y) * (len(x) / sum(len(x) for x, _ in batches))).backward()
        step(model)
    return 3.5


@right(check_accumulate)
def accumulate_sums(model, batches, batch_loss):
    model.zero_grad(set_to_none=True)
    for x, y in batches:
        batch_loss(x, y).backward(torch.tensor(float(y.numel())))
    for p in model.parameters():
        p.grad /= sum(y.numel() for _, y in batches)


@right(check_accumulate)
def accumulate_with_autograd(model, batches, batch_loss):
    weights = list(model.parameters())
    shares = [[len(x) * grad for grad in torch.autograd.grad(batch_loss(x, y), weights)] for x, y in batches]
    for p, grads in zip(weights, zip(*shares, strict=True), strict=True):
        p.grad = sum(grads) / sum(len(x) for x, _ in batches)


@wrong(check_accumulate, "of the last micro-batch's tokens alone", "total += …")
def accumulate_with_a_total_that_is_overwritten(model, batches, batch_loss):
    model.zero_grad()
    for x, _ in batches:
        total = x.numel()
    for x, y in batches:
        (batch_loss(x, y) * x.numel() / total).backward()


wrong(check_accumulate, "weights have moved")(
    lambda *args: accumulate(*args, step=lambda model: torch.optim.AdamW(model.parameters()).step()))
wrong(check_accumulate, "number of micro-batches", "call backward inside the loop")(lambda model, batches, f: (
    model.zero_grad(), torch.stack([f(x, y) for x, y in batches]).mean().backward()))
wrong(check_accumulate, "as it was before", "never called")(lambda model, batches, f: sum(f(x, y).item() for x, y in batches))
wrong(check_accumulate, "AttributeError", "backward")(lambda model, batches, f: [f(x, y).item().backward() for x, y in batches])
wrong(check_accumulate, "added up", "old gradients")(lambda model, batches, f: [f(x, y).backward() for x, y in batches])
wrong(check_accumulate, "zero_grad", "after the last")(lambda model, *more: (accumulate(model, *more), model.zero_grad()))
wrong(check_accumulate, "NoneType", "zero_")(lambda model, *more: (model.emb.grad.zero_(), accumulate(model, *more)))


# 3.6 the embedding's gradient
@right(check_embedding_backward)
def embedding_by_loops(ids, g, v, start=torch.zeros, add=torch.add, where=places):
    grad = start(v, g.shape[-1])
    for place in where(ids):
        grad[ids[place]] = add(grad[ids[place]], g[place])
    return grad


right(check_embedding_backward)(lambda ids, g, v: torch.zeros(v, g.shape[-1]).index_put((ids,), g, accumulate=True))
right(check_embedding_backward)(lambda ids, g, v: torch.einsum("btv,btc->vc", F.one_hot(ids, v).double(), g.double()))
right(check_embedding_backward)(lambda ids, g, v: torch.stack([g[ids == token].sum(0) for token in range(v)]))
right(check_embedding_backward)(
    lambda ids, g, v: by_autograd(lambda table: F.embedding(ids, table), [torch.zeros(v, g.shape[-1])], g)[0])
wrong(check_embedding_backward, "repeated id keeps one")(lambda ids, g, v: torch.zeros(v, g.shape[-1]).index_put((ids,), g))
wrong(check_embedding_backward, "repeated id keeps one")(lambda *args: embedding_by_loops(*args, add=lambda old, new: new))
wrong(check_embedding_backward, "torch.empty", "torch.zeros")(lambda *args: embedding_by_loops(*args, start=torch.empty))
wrong(check_embedding_backward, "all places of a text")(lambda ids, g, v: torch.stack([
    sum(text_grad.sum(0) * (token in text) for text, text_grad in zip(ids, g, strict=True)) for token in range(v)]))
wrong(check_embedding_backward, "run to B")(lambda *args: embedding_by_loops(*args, where=lambda ids: places(ids[:, :len(ids)])))
wrong(check_embedding_backward, "each of the V tokens")(lambda ids, g, v: torch.stack([g[ids == k].sum(0) for k in ids.unique()]))
wrong(check_embedding_backward, "do not pair up")(
    lambda ids, g, v: torch.zeros(v, g.shape[-1]).index_add(0, ids.T.flatten(), g.flatten(0, 1)))
wrong(check_embedding_backward, "need a tensor")(lambda *args: embedding_by_loops(*args).tolist())
