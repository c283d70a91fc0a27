"""Lesson 03: answers, right and wrong."""
import itertools

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

# 3.1 wiggle every weight


@right(check_wiggle)
def wiggle_with_copies(f, w, eps):
    slopes = torch.zeros_like(w)
    for o in range(w.shape[0]):
        for i in range(w.shape[1]):
            up, down = w.clone(), w.clone()
            up[o, i] += eps
            down[o, i] -= eps
            slopes[o, i] = (f(up) - f(down)) / (2 * eps)
    return slopes


@right(check_wiggle)
def wiggle_in_place(f, w, eps):
    slopes, numbers = torch.empty(w.numel()), w.view(-1)
    for i, before in enumerate(numbers.tolist()):
        numbers[i] = before + eps
        high = f(w).item()
        numbers[i] = before - eps
        low = f(w).item()
        numbers[i] = before
        slopes[i] = (high - low) / eps / 2
    return slopes.view(w.shape)


@right(check_wiggle)
def wiggle_in_place_up_to_rounding(f, w, eps):
    slopes = torch.zeros_like(w)
    for place in itertools.product(*map(range, w.shape)):
        w[place] += eps
        high = f(w)
        w[place] -= 2 * eps
        low = f(w)
        w[place] += eps
        slopes[place] = (high - low) / (2 * eps)
    return slopes


@right(check_wiggle)
def wiggle_with_nudges(f, w, eps):
    nudges = eps * torch.eye(w.numel(), dtype=w.dtype).view(-1, *w.shape)
    return torch.stack([(f(w + nudge) - f(w - nudge)) / (2 * eps) for nudge in nudges]).view_as(w)


@right(check_wiggle)
def wiggle_with_vmap(f, w, eps):
    nudges = eps * torch.eye(w.numel(), dtype=w.dtype).unflatten(1, w.shape)
    return (torch.vmap(f)(w + nudges) - torch.vmap(f)(w - nudges)).div(2 * eps).view_as(w)


def wiggled(slope):
    """An answer that has slope(f, w, nudge, eps) for every number of w."""
    def wiggle(f, w, eps):
        nudges = eps * torch.eye(w.numel(), dtype=w.dtype).view(-1, *w.shape)
        return torch.stack([slope(f, w, nudge, eps) for nudge in nudges]).view_as(w)
    return wiggle


def wrong_wiggle(*words):
    def enter(slope):
        wrong(check_wiggle, *words)(wiggled(slope))
    return enter


wrong_wiggle("lower point is w itself", "2·eps")(lambda f, w, nudge, eps: (f(w + nudge) - f(w)) / eps)
wrong_wiggle("upper point is w itself", "2·eps")(lambda f, w, nudge, eps: (f(w) - f(w - nudge)) / eps)
wrong_wiggle("divided by eps;", "2·eps apart")(lambda f, w, nudge, eps: (f(w + nudge) - f(w - nudge)) / eps)
wrong_wiggle("/ (2 * eps)")(lambda f, w, nudge, eps: (f(w + nudge) - f(w - nudge)) / 2 * eps)
wrong_wiggle("difference alone")(lambda f, w, nudge, eps: f(w + nudge) - f(w - nudge))
wrong_wiggle("divided by 2 alone")(lambda f, w, nudge, eps: (f(w + nudge) - f(w - nudge)) / 2)
wrong_wiggle("sign is turned")(lambda f, w, nudge, eps: (f(w - nudge) - f(w + nudge)) / (2 * eps))
wrong_wiggle("added")(lambda f, w, nudge, eps: (f(w + nudge) + f(w - nudge)) / (2 * eps))
wrong_wiggle("far smaller step")(lambda f, w, nudge, eps: (f(w + nudge / eps * 1e-4) - f(w - nudge / eps * 1e-4)) / 2e-4)
wrong_wiggle("eps/2")(lambda f, w, nudge, eps: (f(w + nudge / 2) - f(w - nudge / 2)) / eps)
wrong_wiggle("share of itself")(lambda f, w, nudge, eps: (f(w + nudge * w) - f(w - nudge * w)) / (2 * eps))
wrong_wiggle("multiplied")(lambda f, w, nudge, eps: (f(w + nudge) - f(w - nudge)) * (2 * eps))
wrong_wiggle("abs")(lambda f, w, nudge, eps: ((f(w + nudge) - f(w - nudge)) / (2 * eps)).abs())
wrong_wiggle("float32")(lambda f, w, nudge, eps: (f((w + nudge).float()) - f((w - nudge).float())) / (2 * eps))
wrong_wiggle("one number moved")(lambda f, w, nudge, eps: (f((w + nudge).flatten()) - f((w - nudge).flatten())) / (2 * eps))


@wrong(check_wiggle, "far smaller step", "autograd")
def wiggle_by_autograd(f, w, eps):
    leaf = w.clone().requires_grad_()
    f(leaf).backward()
    return leaf.grad


@wrong(check_wiggle, "eps too low")
def wiggle_that_leaves_w_low(f, w, eps):
    slopes = torch.zeros_like(w)
    for place in itertools.product(*map(range, w.shape)):
        w[place] += eps
        high = f(w)
        w[place] -= 2 * eps
        slopes[place] = (high - f(w)) / (2 * eps)
    return slopes


@wrong(check_wiggle, "eps too high")
def wiggle_one_sided_that_leaves_w_high(f, w, eps):
    slopes = torch.zeros_like(w)
    for place in itertools.product(*map(range, w.shape)):
        before = f(w)
        w[place] += eps
        slopes[place] = (f(w) - before) / eps
    return slopes


@wrong(check_wiggle, "w comes back changed")
def wiggle_the_last_is_left(f, w, eps):
    slopes = wiggle_with_copies(f, w, eps)
    w[-1, -1] -= eps
    return slopes


@wrong(check_wiggle, "written into w")
def wiggle_written_into_w(f, w, eps):
    slopes, before = w, w.clone()
    for place in itertools.product(*map(range, w.shape)):
        up, down = before.clone(), before.clone()
        up[place] += eps
        down[place] -= eps
        slopes[place] = (f(up) - f(down)) / (2 * eps)
    return slopes


@wrong(check_wiggle, "pile up")
def wiggle_copied_once(f, w, eps):
    slopes, up, down = torch.zeros_like(w), w.clone(), w.clone()
    for place in itertools.product(*map(range, w.shape)):
        up[place] += eps
        down[place] -= eps
        slopes[place] = (f(up) - f(down)) / (2 * eps)
    return slopes


@wrong(check_wiggle, "pile up")
def wiggle_one_copy_not_put_back(f, w, eps):
    return wiggle_that_leaves_w_low(f, w.clone(), eps)


@wrong(check_wiggle, "same tensor", "clone")
def wiggle_without_copies(f, w, eps):
    slopes = torch.zeros_like(w)
    for place in itertools.product(*map(range, w.shape)):
        up = down = w
        up[place] += eps
        down[place] -= eps
        slopes[place] = (f(up) - f(down)) / (2 * eps)
    return slopes


@wrong(check_wiggle, "move down by eps leads back")
def wiggle_up_and_back(f, w, eps):
    slopes = torch.zeros_like(w)
    for place in itertools.product(*map(range, w.shape)):
        w[place] += eps
        high = f(w)
        w[place] -= eps
        slopes[place] = (high - f(w)) / (2 * eps)
    return slopes


@wrong(check_wiggle, "at once")
def wiggle_everything(f, w, eps):
    return (f(w + eps) - f(w - eps)) / (2 * eps)


@wrong(check_wiggle, "whole row")
def wiggle_rows(f, w, eps):
    slopes = torch.zeros_like(w)
    for o in range(len(w)):
        up, down = w.clone(), w.clone()
        up[o] += eps
        down[o] -= eps
        slopes[o] = (f(up) - f(down)) / (2 * eps)
    return slopes


@wrong(check_wiggle, "shape of w")
def wiggle_flat(f, w, eps):
    return wiggle_with_copies(f, w, eps).flatten()


@wrong(check_wiggle, "inside the loop")
def wiggle_returned_too_early(f, w, eps):
    slopes = torch.zeros_like(w)
    for o in range(w.shape[0]):
        slopes[o] = wiggle_with_copies(f, w, eps)[o]
        return slopes


@wrong(check_wiggle, "transposed")
def wiggle_transposed(f, w, eps):
    return wiggle_with_copies(f, w, eps).T


@wrong(check_wiggle, "type list")
def wiggle_a_list(f, w, eps):
    return wiggle_with_copies(f, w, eps).tolist()


@wrong(check_wiggle, "one number moved", "()")
def wiggle_numbers_alone(f, w, eps):
    return torch.tensor([[(f(number + eps) - f(number - eps)) / (2 * eps) for number in row] for row in w])


# 3.2 the gradient at the logits

@right(check_loss_gradient)
def loss_gradient_with_one_hot(logits, targets):
    return (F.softmax(logits, dim=-1) - F.one_hot(targets, logits.shape[-1])) / len(targets)


@right(check_loss_gradient)
def loss_gradient_in_place(logits, targets):
    grad = logits.softmax(dim=1)
    grad[torch.arange(len(targets)), targets] -= 1
    return grad / len(targets)


@right(check_loss_gradient)
def loss_gradient_by_loops(logits, targets):
    grad = torch.zeros(logits.shape, dtype=torch.float64)
    for i, target in enumerate(targets.tolist()):
        exps = logits[i].double().exp()
        for j in range(logits.shape[1]):
            grad[i, j] = (exps[j] / exps.sum() - float(j == target)) / logits.shape[0]
    return grad


@right(check_loss_gradient)
def loss_gradient_of_autograd(logits, targets):
    leaf = logits.detach().clone().requires_grad_()
    F.cross_entropy(leaf, targets).backward()
    return leaf.grad


@right(check_loss_gradient)
def loss_gradient_scattered(logits, targets):
    n = targets.numel()
    return (logits.softmax(1) / n).scatter_add(1, targets[:, None], torch.full((n, 1), -1 / n))


@wrong(check_loss_gradient, "division by N is missing")
def loss_gradient_of_the_sum(logits, targets):
    return logits.softmax(1) - F.one_hot(targets, logits.shape[1])


@wrong(check_loss_gradient, "N·V")
def loss_gradient_over_everything(logits, targets):
    return (logits.softmax(1) - F.one_hot(targets, logits.shape[1])) / logits.numel()


@wrong(check_loss_gradient, "divided by V")
def loss_gradient_over_tokens(logits, targets):
    return (logits.softmax(1) - F.one_hot(targets, logits.shape[1])) / logits.shape[1]


@wrong(check_loss_gradient, "sign is turned")
def loss_gradient_y_minus_p(logits, targets):
    return (F.one_hot(targets, logits.shape[1]) - logits.softmax(1)) / len(targets)


@wrong(check_loss_gradient, "sign is turned")
def loss_gradient_y_minus_p_summed(logits, targets):
    return F.one_hot(targets, logits.shape[1]) - logits.softmax(1)


@wrong(check_loss_gradient, "dim 0")
def loss_gradient_softmax_over_rows(logits, targets):
    return (logits.softmax(0) - F.one_hot(targets, logits.shape[1])) / len(targets)


@wrong(check_loss_gradient, "only p is divided")
def loss_gradient_one_after_the_division(logits, targets):
    grad = logits.softmax(1) / len(targets)
    grad[torch.arange(len(targets)), targets] -= 1
    return grad


@wrong(check_loss_gradient, "only y is divided")
def loss_gradient_precedence(logits, targets):
    return logits.softmax(1) - F.one_hot(targets, logits.shape[1]) / len(targets)


@wrong(check_loss_gradient, "y is missing")
def loss_gradient_p_alone(logits, targets):
    return logits.softmax(1) / len(targets)


@wrong(check_loss_gradient, "torch.arange(N)")
def loss_gradient_every_target_in_every_row(logits, targets):
    grad = logits.softmax(1)
    grad[:, targets] -= 1
    return grad / len(targets)


@wrong(check_loss_gradient, "whole rows", "torch.arange(N)")
def loss_gradient_targets_as_rows(logits, targets):
    grad = logits.softmax(1)
    grad[targets] -= 1
    return grad / len(targets)


@wrong(check_loss_gradient, "only the targets' places")
def loss_gradient_only_at_targets(logits, targets):
    grad, rows = torch.zeros_like(logits), torch.arange(len(targets))
    grad[rows, targets] = (logits.softmax(1)[rows, targets] - 1) / len(targets)
    return grad


@wrong(check_loss_gradient, "only the targets' slopes")
def loss_gradient_of_targets(logits, targets):
    return (logits.softmax(1)[torch.arange(len(targets)), targets] - 1) / len(targets)


@wrong(check_loss_gradient, "softmax first")
def loss_gradient_logits_minus_y(logits, targets):
    return (logits - F.one_hot(targets, logits.shape[1])) / len(targets)


@wrong(check_loss_gradient, "leave out the log")
def loss_gradient_of_log_softmax(logits, targets):
    return (logits.log_softmax(1) - F.one_hot(targets, logits.shape[1])) / len(targets)


@wrong(check_loss_gradient, "sigmoid")
def loss_gradient_sigmoid(logits, targets):
    return (logits.sigmoid() - F.one_hot(targets, logits.shape[1])) / len(targets)


@wrong(check_loss_gradient, "most likely token")
def loss_gradient_of_the_guess(logits, targets):
    return (logits.softmax(1) - F.one_hot(logits.argmax(1), logits.shape[1])) / len(targets)


@wrong(check_loss_gradient, "place i of row i")
def loss_gradient_diagonal(logits, targets):
    return (logits.softmax(1) - torch.eye(*logits.shape)) / len(targets)


@wrong(check_loss_gradient, "at the probabilities")
def loss_gradient_at_the_probabilities(logits, targets):
    y = F.one_hot(targets, logits.shape[1])
    return -y / logits.softmax(1) / len(targets)


@wrong(check_loss_gradient, "multiplied in again")
def loss_gradient_through_softmax_twice(logits, targets):
    p = logits.softmax(1)
    d = (p - F.one_hot(targets, p.shape[1])) / len(targets)
    return p * (d - (d * p).sum(1, keepdim=True))


@wrong(check_loss_gradient, "added up or averaged")
def loss_gradient_averaged(logits, targets):
    return (logits.softmax(1) - F.one_hot(targets, logits.shape[1])).mean(0)


@wrong(check_loss_gradient, "that is the loss")
def loss_gradient_is_the_loss(logits, targets):
    return F.cross_entropy(logits, targets)


@wrong(check_loss_gradient, "another order")
def loss_gradient_swapped(targets, logits):
    return loss_gradient_with_one_hot(logits, targets)


@wrong(check_loss_gradient, "in place")
def loss_gradient_into_the_logits(logits, targets):
    logits -= logits.max(1, keepdim=True).values
    return loss_gradient_with_one_hot(logits, targets)


@wrong(check_loss_gradient, "F.one_hot(targets, V)")
def loss_gradient_minus_the_ids(logits, targets):
    return (logits.softmax(1) - targets) / len(targets)


@wrong(check_loss_gradient, "overwritten", "subtract 1")
def loss_gradient_one_minus_p_at_the_target(logits, targets):
    grad, rows = logits.softmax(1), torch.arange(len(targets))
    grad[rows, targets] = 1 - grad[rows, targets]
    return grad / len(targets)


@wrong(check_loss_gradient, "keepdim")
def loss_gradient_by_hand_without_keepdim(logits, targets):
    p = logits.exp() / logits.exp().sum(1)
    return (p - F.one_hot(targets, logits.shape[1])) / len(targets)


@wrong(check_loss_gradient, "F.one_hot(targets, V)")
def loss_gradient_narrow_one_hot(logits, targets):
    return (logits.softmax(1) - F.one_hot(targets.clamp(max=3))) / len(targets)


# 3.3 back through a linear layer

@right(check_linear_backward)
def linear_backward_flattened(x, weight, grad_out):
    return grad_out @ weight, grad_out.flatten(0, 1).T @ x.flatten(0, 1), grad_out.sum(dim=(0, 1))


@right(check_linear_backward)
def linear_backward_with_einsum(x, weight, grad_out):
    return (torch.einsum("bto,oi->bti", grad_out, weight), torch.einsum("bto,bti->oi", grad_out, x),
            torch.einsum("bto->o", grad_out))


@right(check_linear_backward)
def linear_backward_by_loops(x, weight, grad_out):
    grad_x, grad_weight, grad_bias = torch.zeros_like(x), torch.zeros_like(weight), torch.zeros(len(weight))
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            grad_x[b, t] = weight.T @ grad_out[b, t]
            grad_weight += torch.outer(grad_out[b, t], x[b, t])
            grad_bias += grad_out[b, t]
    return [grad_x, grad_weight, grad_bias]


@right(check_linear_backward)
def linear_backward_of_autograd(x, weight, grad_out):
    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_(), torch.zeros(len(weight), requires_grad=True)]
    return torch.autograd.grad(F.linear(*leaves), leaves, grad_out)


@right(check_linear_backward)
def linear_backward_batched(x, weight, grad_out):
    return torch.matmul(grad_out, weight), (grad_out.mT @ x).sum(0), grad_out.sum(1).sum(0)


@right(check_linear_backward)
def linear_backward_generated(x, weight, grad_out):
    yield from linear_backward_batched(x, weight, grad_out)


def parts(check, correct, *words):
    """Enter an answer whose parts are right but for those that a function gives: {number of the part: result}."""
    def enter(change):
        def answer(*args):
            result = list(correct(*args))
            for i, part in change(*args).items():
                result[i] = part
            return tuple(result)
        wrong(check, *words)(answer)
    return enter


def wrong_linear(*words):
    return parts(check_linear_backward, linear_backward_flattened, *words)


wrong_linear("weight is transposed", "weight.T")(lambda x, w, g: {0: g @ w.T} if w.shape[0] == w.shape[1] else {})
wrong_linear("x went through the layer")(lambda x, w, g: {0: x @ w.T})
wrong_linear("slope at x is the weight")(lambda x, w, g: {0: g * x})
wrong_linear("do not add up the tokens")(lambda x, w, g: {0: (g @ w).sum((0, 1))})
wrong_linear("give it the shape of x")(lambda x, w, g: {0: g.flatten(0, 1) @ w})
wrong_linear("grad_weight is transposed")(lambda x, w, g: {1: x.flatten(0, 1).T @ g.flatten(0, 1)})
wrong_linear("averaged over the tokens", "grad_weight")(lambda x, w, g: {1: (g.mT @ x).sum(0) / (g.shape[0] * g.shape[1])})
wrong_linear("averaged over the tokens", "grad_weight")(lambda x, w, g: {1: (g.mT @ x).mean(0)})
wrong_linear("positions alone", "grad_weight")(lambda x, w, g: {1: g.mT @ x})
wrong_linear("sequences alone", "grad_weight")(lambda x, w, g: {1: torch.einsum("bto,bti->toi", g, x)})
wrong_linear("every token's contribution", "grad_weight")(lambda x, w, g: {1: g[..., None] * x[..., None, :]})
wrong_linear("last sequence", "overwrite")(lambda x, w, g: {1: [gs.T @ xs for gs, xs in zip(g, x, strict=True)][-1]})
wrong_linear("before the product")(lambda x, w, g: {1: torch.outer(g.sum((0, 1)), x.sum((0, 1)))})
wrong_linear("before the product")(lambda x, w, g: {1: g.sum(0).T @ x.sum(0)})
wrong_linear("reshape")(lambda x, w, g: {1: g.reshape(g.shape[-1], -1) @ x.reshape(-1, x.shape[-1])})
wrong_linear("grad_out is missing", "weight")(lambda x, w, g: {1: x.sum((0, 1)).expand(w.shape)})
wrong_linear("averaged over the tokens", "grad_bias")(lambda x, w, g: {2: g.mean((0, 1))})
wrong_linear("sequences alone", "grad_bias")(lambda x, w, g: {2: g.sum(0)})
wrong_linear("positions alone", "grad_bias")(lambda x, w, g: {2: g.sum(1)})
wrong_linear("every token's contribution", "grad_bias")(lambda x, w, g: {2: g})
wrong_linear("over the last dim", "grad_bias")(lambda x, w, g: {2: g.sum(-1)})
wrong_linear("over everything", "grad_bias")(lambda x, w, g: {2: g.sum()})
wrong_linear("slope at the bias is 1", "grad_out is missing")(lambda x, w, g: {2: torch.ones(g.shape[-1])})
wrong_linear("length 1 too many", "grad_bias")(lambda x, w, g: {2: g.flatten(0, 1).sum(0, keepdim=True)})
wrong_linear("grad_bias", "None")(lambda x, w, g: {2: None})
wrong_linear("grad_x", "sign")(lambda x, w, g: {0: -g @ w})


@wrong(check_linear_backward, "results", "another order")
def linear_backward_weight_first(x, weight, grad_out):
    grad_x, grad_weight, grad_bias = linear_backward_flattened(x, weight, grad_out)
    return grad_weight, grad_bias, grad_x


@wrong(check_linear_backward, "arguments", "another order")
def linear_backward_of_the_lesson(d_out, x, W, b=0.0):
    return d_out @ W, d_out.flatten(0, -2).T @ x.flatten(0, -2), d_out.flatten(0, -2).sum(0)


@wrong(check_linear_backward, "has 2 values; need 3")
def linear_backward_without_bias(x, weight, grad_out):
    return linear_backward_flattened(x, weight, grad_out)[:2]


# 3.4 back through LayerNorm

@right(check_layernorm_backward)
def layernorm_backward_by_formula(x, weight, grad_out, eps=1e-5):
    std = (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
    z = (x - x.mean(-1, keepdim=True)) / std
    dz = grad_out * weight
    grad_x = (dz - dz.mean(-1, keepdim=True) - z * (dz * z).mean(-1, keepdim=True)) / std
    return grad_x, (grad_out * z).sum((0, 1)), grad_out.sum((0, 1))


@right(check_layernorm_backward)
def layernorm_backward_of_autograd(x, weight, grad_out, eps=1e-5):
    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_(), torch.zeros_like(weight, requires_grad=True)]
    return torch.autograd.grad(F.layer_norm(leaves[0], weight.shape, *leaves[1:], eps), leaves, grad_out)


@right(check_layernorm_backward)
def layernorm_backward_step_by_step(x, weight, grad_out, eps=1e-5):
    c = x.shape[-1]
    centred = x - x.sum(-1, keepdim=True) / c
    inverse = (centred.pow(2).sum(-1, keepdim=True) / c + eps).rsqrt()
    d_scaled = grad_out * weight
    d_inverse = (d_scaled * centred).sum(-1, keepdim=True)
    d_var = d_inverse * -0.5 * inverse**3
    d_centred = d_scaled * inverse + d_var * 2 * centred / c
    d_mean = -d_centred.sum(-1, keepdim=True)
    return [d_centred + d_mean / c, torch.einsum("btc,btc->c", grad_out, centred * inverse), grad_out.flatten(0, 1).sum(0)]


@right(check_layernorm_backward)
def layernorm_backward_with_jacobians(x, weight, grad_out, eps=1e-5):
    c, grad_x = x.shape[-1], torch.zeros_like(x)
    grad_weight, grad_bias = torch.zeros(c), torch.zeros(c)
    for b, t in itertools.product(range(x.shape[0]), range(x.shape[1])):
        std = (x[b, t].var(correction=0) + eps).sqrt()
        z = (x[b, t] - x[b, t].mean()) / std
        jacobian = (torch.eye(c) - 1 / c - torch.outer(z, z) / c) / std
        grad_x[b, t] = jacobian @ (grad_out[b, t] * weight)
        grad_weight += grad_out[b, t] * z
        grad_bias += grad_out[b, t]
    return grad_x, grad_weight, grad_bias


def normed(x, weight, grad_out, eps):
    """mean over the vector, std, z, dz."""
    def mean(a):
        return a.mean(-1, keepdim=True)

    std = (x.var(-1, keepdim=True, correction=0) + eps).sqrt()
    return mean, std, (x - mean(x)) / std, grad_out * weight


def wrong_norm(*words):
    """Enter an answer that has parts {number: result} given (x, weight, grad_out, mean, std, z, dz)."""
    def enter(change):
        def layernorm_backward(x, weight, grad_out, eps=1e-5):
            result = list(layernorm_backward_by_formula(x, weight, grad_out, eps))
            for i, part in change(x, weight, grad_out, *normed(x, weight, grad_out, eps)).items():
                result[i] = part
            return tuple(result)
        wrong(check_layernorm_backward, *words)(layernorm_backward)
    return enter


wrong_norm("mean and the variance are treated as constants")(lambda x, w, g, m, s, z, dz: {0: dz / s})
wrong_norm("variance is treated as a constant")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz)) / s})
wrong_norm("mean is treated as a constant")(lambda x, w, g, m, s, z, dz: {0: (dz - z * m(dz * z)) / s})
wrong_norm("weight is forgotten")(lambda x, w, g, m, s, z, dz: {0: (g - m(g) - z * m(g * z)) / s})
wrong_norm("weight comes too late")(lambda x, w, g, m, s, z, dz: {0: w * (g - m(g) - z * m(g * z)) / s})
wrong_norm("variance is treated as a constant")(lambda x, w, g, m, s, z, dz: {0: w * (g - m(g)) / s})
wrong_norm("variance are treated as constants")(lambda x, w, g, m, s, z, dz: {0: dz / x.std(-1, keepdim=True)})
wrong_norm("wrong power")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - (x - m(x)) * m(dz * (x - m(x))) / s**3) / s})
wrong_norm("counts twice")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - 2 * z * m(dz * z)) / s})
wrong_norm("forgotten in the two means")(lambda x, w, g, m, s, z, dz: {0: (dz - m(g) - z * m(g * z)) / s})
wrong_norm("at the end")(lambda x, w, g, m, s, z, dz: {0: dz - m(dz) - z * m(dz * z)})
wrong_norm("divided by the variance")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - z * m(dz * z)) / s**2})
wrong_norm("multiplied by the standard deviation")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - z * m(dz * z)) * s})
wrong_norm("parentheses")(lambda x, w, g, m, s, z, dz: {0: dz - m(dz) - z * m(dz * z) / s})
wrong_norm("uses x - mean")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - (x - m(x)) * m(dz * (x - m(x)))) / s})
wrong_norm("uses x where z")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - x * m(dz * x)) / s})
wrong_norm("factor z is missing")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) - m(dz * z)) / s})
wrong_norm("both means are sums")(
    lambda x, w, g, m, s, z, dz: {0: (dz - dz.sum(-1, keepdim=True) - z * (dz * z).sum(-1, keepdim=True)) / s})
wrong_norm("z⟨dz·z⟩ is added")(lambda x, w, g, m, s, z, dz: {0: (dz - m(dz) + z * m(dz * z)) / s})
wrong_norm("⟨dz⟩ is added")(lambda x, w, g, m, s, z, dz: {0: (dz + m(dz) - z * m(dz * z)) / s})
wrong_norm("all tokens", "dim=-1")(lambda x, w, g, m, s, z, dz: {0: (dz - dz.mean((0, 1)) - z * (dz * z).mean((0, 1))) / s})
wrong_norm("grad_weight uses x;")(lambda x, w, g, m, s, z, dz: {1: (g * x).sum((0, 1))})
wrong_norm("grad_weight uses x - mean")(lambda x, w, g, m, s, z, dz: {1: (g * (x - m(x))).sum((0, 1))})
wrong_norm("weight multiplied in")(lambda x, w, g, m, s, z, dz: {1: (dz * z).sum((0, 1))})
wrong_norm("gradient of the bias")(lambda x, w, g, m, s, z, dz: {1: g.sum((0, 1))})
wrong_norm("grad_weight", "averaged")(lambda x, w, g, m, s, z, dz: {1: (g * z).mean((0, 1))})
wrong_norm("grad_weight", "sequences alone")(lambda x, w, g, m, s, z, dz: {1: (g * z).sum(0)})
wrong_norm("grad_weight", "C features")(lambda x, w, g, m, s, z, dz: {1: (g * z).sum(-1)})
wrong_norm("grad_weight", "every token")(lambda x, w, g, m, s, z, dz: {1: g * z})
wrong_norm("grad_bias", "averaged")(lambda x, w, g, m, s, z, dz: {2: g.mean((0, 1))})
wrong_norm("grad_bias", "weight multiplied in")(lambda x, w, g, m, s, z, dz: {2: dz.sum((0, 1))})
wrong_norm("grad_bias", "last dim")(lambda x, w, g, m, s, z, dz: {2: g.sum(-1)})
wrong_norm("grad_bias", "every token")(lambda x, w, g, m, s, z, dz: {2: g})


def with_std(std_of):
    def layernorm_backward(x, weight, grad_out, eps=1e-5):
        std = std_of(x, eps)
        z, dz = (x - x.mean(-1, keepdim=True)) / std, grad_out * weight
        grad_x = (dz - dz.mean(-1, keepdim=True) - z * (dz * z).mean(-1, keepdim=True)) / std
        return grad_x, (grad_out * z).sum((0, 1)), grad_out.sum((0, 1))
    return layernorm_backward


def wrong_std(*words):
    def enter(std_of):
        wrong(check_layernorm_backward, *words)(with_std(std_of))
    return enter


wrong_std("eps", "outside the root")(lambda x, eps: x.std(-1, keepdim=True, correction=0) + eps)
wrong_std("eps is missing")(lambda x, eps: x.std(-1, keepdim=True, correction=0))
wrong_std("C - 1", "correction=0")(lambda x, eps: (x.var(-1, keepdim=True) + eps).sqrt())
wrong_std("C - 1")(lambda x, eps: x.std(-1, keepdim=True) + eps)
wrong_std("root is missing")(lambda x, eps: x.var(-1, keepdim=True, correction=0) + eps)
wrong_std("1e-5 is used")(lambda x, eps: (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt())
wrong_std("keepdim")(lambda x, eps: (x.var(-1, correction=0) + eps).sqrt())


@wrong(check_layernorm_backward, "1e-6 is used", "1e-5 when none")
def layernorm_backward_other_default(x, weight, grad_out, eps=1e-6):
    return layernorm_backward_by_formula(x, weight, grad_out, eps)


@wrong(check_layernorm_backward, "eps", "outside the root")
def layernorm_backward_eps_outside_differentiated(x, weight, grad_out, eps=1e-5):
    x = x.clone().requires_grad_()
    z = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True, correction=0) + eps)
    return torch.autograd.grad(z * weight, x, grad_out)[0], (grad_out * z).sum((0, 1)), grad_out.sum((0, 1))


@wrong(check_layernorm_backward, "C - 1")
def layernorm_backward_unbiased_differentiated(x, weight, grad_out, eps=1e-5):
    x = x.clone().requires_grad_()
    z = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + eps).sqrt()
    return torch.autograd.grad(z * weight, x, grad_out)[0], (grad_out * z).sum((0, 1)), grad_out.sum((0, 1))


@wrong(check_layernorm_backward, "dim=-1", "whole sequence")
def layernorm_backward_over_sequences(x, weight, grad_out, eps=1e-5):
    mean, var = x.mean((1, 2), keepdim=True), x.var((1, 2), keepdim=True, correction=0)
    std = (var + eps).sqrt()
    z, dz = (x - mean) / std, grad_out * weight
    grad_x = (dz - dz.mean((1, 2), keepdim=True) - z * (dz * z).mean((1, 2), keepdim=True)) / std
    return grad_x, (grad_out * z).sum((0, 1)), grad_out.sum((0, 1))


@wrong(check_layernorm_backward, "results", "another order")
def layernorm_backward_bias_before_weight(x, weight, grad_out, eps=1e-5):
    grad_x, grad_weight, grad_bias = layernorm_backward_by_formula(x, weight, grad_out, eps)
    return grad_x, grad_bias, grad_weight


@wrong(check_layernorm_backward, "arguments", "another order")
def layernorm_backward_grad_first(grad_out, x, weight, eps=1e-5):
    return layernorm_backward_by_formula(x, weight, grad_out, eps)


@wrong(check_layernorm_backward, "in place")
def layernorm_backward_spoils_x(x, weight, grad_out, eps=1e-5):
    x -= x.mean(-1, keepdim=True)
    return layernorm_backward_by_formula(x, weight, grad_out, eps)


# 3.5 a large batch in small pieces

@right(check_accumulate)
def accumulate_by_tokens(model, micro_batches, batch_loss):
    model.zero_grad()
    tokens = sum(targets.numel() for _, targets in micro_batches)
    for inputs, targets in micro_batches:
        loss = batch_loss(inputs, targets)
        (loss * targets.numel() / tokens).backward()


@right(check_accumulate)
def accumulate_by_rows_and_return_the_loss(model, micro_batches, batch_loss):
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    rows, mean = sum(len(x) for x, _ in micro_batches), 0.0
    for x, y in micro_batches:
        share = batch_loss(x, y) * (len(x) / rows)
        share.backward()
        mean += share.item()
    return mean


@right(check_accumulate)
def accumulate_sums_and_divide(model, micro_batches, batch_loss):
    model.zero_grad(set_to_none=True)
    tokens = 0
    for inputs, targets in micro_batches:
        (batch_loss(inputs, targets) * targets.numel()).backward()
        tokens += targets.numel()
    with torch.no_grad():
        for p in model.parameters():
            p.grad /= tokens


@right(check_accumulate)
def accumulate_with_an_incoming_gradient(model, micro_batches, batch_loss):
    torch.optim.SGD(model.parameters(), lr=0.1).zero_grad()
    sizes = [inputs.numel() for inputs, _ in micro_batches]
    for size, batch in zip(sizes, micro_batches, strict=True):
        batch_loss(*batch).backward(torch.tensor(size / sum(sizes)))


@right(check_accumulate)
def accumulate_with_autograd_grad(model, micro_batches, batch_loss):
    weights, rows = list(model.parameters()), sum(len(x) for x, _ in micro_batches)
    totals = [torch.zeros_like(p) for p in weights]
    for x, y in micro_batches:
        with torch.no_grad():
            batch_loss(x, y)
        for total, grad in zip(totals, torch.autograd.grad(batch_loss(x, y), weights), strict=True):
            total += grad * len(x) / rows
    for p, total in zip(weights, totals, strict=True):
        p.grad = total


def accumulated(scale, clear=True, every_time=False, which=slice(None)):
    """An answer that scales the mean loss of a micro-batch by scale(its rows, list of all rows, its tokens)."""
    def accumulate(model, micro_batches, batch_loss):
        if clear:
            model.zero_grad()
        sizes = [len(x) for x, _ in micro_batches]
        for x, y in micro_batches[which]:
            if every_time:
                model.zero_grad()
            (batch_loss(x, y) * scale(len(x), sizes, y.numel())).backward()
    return accumulate


def share(n, sizes, tokens):
    return n / sum(sizes)


wrong(check_accumulate, "added up as they are", "share of the tokens")(accumulated(lambda n, sizes, tokens: 1))
wrong(check_accumulate, "number of micro-batches", "one size")(accumulated(lambda n, sizes, tokens: 1 / len(sizes)))
wrong(check_accumulate, "sum over all sequences")(accumulated(lambda n, sizes, tokens: n))
wrong(check_accumulate, "sum over all tokens")(accumulated(lambda n, sizes, tokens: tokens))
wrong(check_accumulate, "without being weighed")(accumulated(lambda n, sizes, tokens: 1 / sum(sizes)))
wrong(check_accumulate, "once more")(accumulated(lambda n, sizes, tokens: n / sum(sizes) / len(sizes)))
wrong(check_accumulate, "upside down")(accumulated(lambda n, sizes, tokens: sum(sizes) / n))
wrong(check_accumulate, "as large as the first")(accumulated(lambda n, sizes, tokens: n / sizes[0]))
wrong(check_accumulate, "own size")(accumulated(lambda n, sizes, tokens: 1 / n))
wrong(check_accumulate, "old gradients", "zero_grad")(accumulated(share, clear=False))
wrong(check_accumulate, "old gradients", "share of the tokens")(accumulated(lambda n, sizes, tokens: 1, clear=False))
wrong(check_accumulate, "old gradients", "share of the tokens")(accumulated(lambda n, sizes, tokens: 1 / len(sizes), clear=False))
wrong(check_accumulate, "only the last", "inside the loop")(accumulated(share, every_time=True))
wrong(check_accumulate, "only the last", "inside the loop")(accumulated(lambda n, sizes, tokens: 1, every_time=True))
wrong(check_accumulate, "only the last", "inside the loop")(accumulated(lambda n, sizes, tokens: 1 / len(sizes), every_time=True))
wrong(check_accumulate, "only the first")(accumulated(share, which=slice(1)))
wrong(check_accumulate, "last micro-batch is left out")(accumulated(share, which=slice(-1)))


@wrong(check_accumulate, "zero_grad", "after the last")
def accumulate_and_clear(model, micro_batches, batch_loss):
    accumulate_by_tokens(model, micro_batches, batch_loss)
    model.zero_grad()


@wrong(check_accumulate, "weights have moved")
def accumulate_with_steps(model, micro_batches, batch_loss):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    rows = sum(len(x) for x, _ in micro_batches)
    for x, y in micro_batches:
        (batch_loss(x, y) * len(x) / rows).backward()
        optimizer.step()


@wrong(check_accumulate, "weights have moved")
def accumulate_and_step(model, micro_batches, batch_loss):
    accumulate_by_tokens(model, micro_batches, batch_loss)
    torch.optim.AdamW(model.parameters()).step()


@wrong(check_accumulate, "gradient is right", "call backward inside the loop")
def accumulate_one_backward(model, micro_batches, batch_loss):
    model.zero_grad()
    rows = sum(len(x) for x, _ in micro_batches)
    sum(batch_loss(x, y) * len(x) / rows for x, y in micro_batches).backward()


@wrong(check_accumulate, "gradient is right", "put together again")
def accumulate_the_large_batch(model, micro_batches, batch_loss):
    model.zero_grad()
    inputs, targets = (torch.cat(parts) for parts in zip(*micro_batches, strict=True))
    batch_loss(inputs, targets).backward()


@wrong(check_accumulate, "call backward on the new loss alone")
def accumulate_the_running_total(model, micro_batches, batch_loss):
    model.zero_grad()
    rows, total = sum(len(x) for x, _ in micro_batches), 0
    for x, y in micro_batches:
        total = total + batch_loss(x, y) * len(x) / rows
        total.backward(retain_graph=True)


@wrong(check_accumulate, "p.grad is scaled inside the loop")
def accumulate_scaling_what_is_there(model, micro_batches, batch_loss):
    model.zero_grad()
    rows = sum(len(x) for x, _ in micro_batches)
    for x, y in micro_batches:
        batch_loss(x, y).backward()
        for p in model.parameters():
            p.grad *= len(x) / rows


@wrong(check_accumulate, "as it was before", "never called")
def accumulate_losses_only(model, micro_batches, batch_loss):
    return sum(batch_loss(x, y).item() * len(x) for x, y in micro_batches) / sum(len(x) for x, _ in micro_batches)


@wrong(check_accumulate, "p.grad is None")
def accumulate_losses_after_clearing(model, micro_batches, batch_loss):
    model.zero_grad()
    return sum(batch_loss(x, y).item() for x, y in micro_batches)


@wrong(check_accumulate, "AttributeError", "backward")
def accumulate_backward_of_a_float(model, micro_batches, batch_loss):
    model.zero_grad()
    for x, y in micro_batches:
        batch_loss(x, y).item().backward()


@wrong(check_accumulate, "NoneType", "zero_")
def accumulate_zeroing_what_is_none(model, micro_batches, batch_loss):
    for p in model.parameters():
        p.grad.zero_()
    accumulate_by_tokens(model, micro_batches, batch_loss)


# 3.6 the embedding's gradient

@right(check_embedding_backward)
def embedding_backward_by_loops(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    for row, row_grad in zip(ids.tolist(), grad_out, strict=True):
        for token, token_grad in zip(row, row_grad, strict=True):
            grad[token] += token_grad
    return grad


@right(check_embedding_backward)
def embedding_backward_with_index_add(ids, grad_out, vocab_size):
    return torch.zeros(vocab_size, grad_out.shape[-1]).index_add_(0, ids.flatten(), grad_out.flatten(0, 1))


@right(check_embedding_backward)
def embedding_backward_with_one_hot(ids, grad_out, vocab_size):
    return torch.einsum("btv,btc->vc", F.one_hot(ids, vocab_size).double(), grad_out.double())


@right(check_embedding_backward)
def embedding_backward_with_put(ids, grad_out, vocab_size):
    return torch.zeros(vocab_size, grad_out.shape[-1]).index_put((ids,), grad_out, accumulate=True)


@right(check_embedding_backward)
def embedding_backward_of_autograd(ids, grad_out, vocab_size):
    table = torch.zeros(vocab_size, grad_out.shape[-1], requires_grad=True)
    F.embedding(ids, table).backward(grad_out)
    return table.grad


@right(check_embedding_backward)
def embedding_backward_by_masks(ids, grad_out, vocab_size):
    return torch.stack([grad_out[ids == token].sum(0) for token in range(vocab_size)])


@wrong(check_embedding_backward, "repeated id keeps one")
def embedding_backward_assigned(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    grad[ids] = grad_out
    return grad


@wrong(check_embedding_backward, "repeated id keeps one", "index_add")
def embedding_backward_plus_equals(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    grad[ids] += grad_out
    return grad


@wrong(check_embedding_backward, "repeated id keeps one")
def embedding_backward_loop_that_overwrites(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            grad[ids[b, t]] = grad_out[b, t]
    return grad


@wrong(check_embedding_backward, "repeated in one sequence")
def embedding_backward_row_by_row(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    for row, row_grad in zip(ids, grad_out, strict=True):
        grad[row] += row_grad
    return grad


@wrong(check_embedding_backward, "same position of several sequences")
def embedding_backward_column_by_column(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    for t in range(ids.shape[1]):
        grad[ids[:, t]] += grad_out[:, t]
    return grad


@wrong(check_embedding_backward, "averaged")
def embedding_backward_averaged(ids, grad_out, vocab_size):
    counts = ids.flatten().bincount(minlength=vocab_size).clamp(min=1)
    return embedding_backward_by_loops(ids, grad_out, vocab_size) / counts[:, None]


@wrong(check_embedding_backward, "number of tokens")
def embedding_backward_divided(ids, grad_out, vocab_size):
    return embedding_backward_by_loops(ids, grad_out, vocab_size) / ids.numel()


@wrong(check_embedding_backward, "gradient at the positions")
def embedding_backward_of_positions(ids, grad_out, vocab_size):
    return grad_out.sum(0)


@wrong(check_embedding_backward, "only the first sequence")
def embedding_backward_first_sequence(ids, grad_out, vocab_size):
    return embedding_backward_by_loops(ids[:1], grad_out[:1], vocab_size)


@wrong(check_embedding_backward, "occurrences are counted")
def embedding_backward_counts(ids, grad_out, vocab_size):
    return embedding_backward_by_loops(ids, torch.ones_like(grad_out), vocab_size)


@wrong(check_embedding_backward, "do not pair up")
def embedding_backward_transposed_ids(ids, grad_out, vocab_size):
    return torch.zeros(vocab_size, grad_out.shape[-1]).index_add(0, ids.T.flatten(), grad_out.flatten(0, 1))


@wrong(check_embedding_backward, "first column")
def embedding_backward_scatter_not_expanded(ids, grad_out, vocab_size):
    return torch.zeros(vocab_size, grad_out.shape[-1]).scatter_add(0, ids.view(-1, 1), grad_out.flatten(0, 1))


@wrong(check_embedding_backward, "each of the V tokens")
def embedding_backward_no_vocabulary(ids, grad_out, vocab_size):
    return embedding_backward_by_loops(ids, grad_out, vocab_size)[: ids.max() + 1]


@wrong(check_embedding_backward, "each of the V tokens")
def embedding_backward_of_those_that_occur(ids, grad_out, vocab_size):
    return torch.stack([grad_out[ids == token].sum(0) for token in ids.unique()])


@wrong(check_embedding_backward, "row 0 is left out")
def embedding_backward_skips_zero(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    for token, token_grad in zip(ids.flatten().tolist(), grad_out.flatten(0, 1), strict=True):
        if token:
            grad[token] += token_grad
    return grad


@wrong(check_embedding_backward, "that is grad_out itself")
def embedding_backward_handed_on(ids, grad_out, vocab_size):
    return grad_out


@wrong(check_embedding_backward, "transposed")
def embedding_backward_columns(ids, grad_out, vocab_size):
    return embedding_backward_by_loops(ids, grad_out, vocab_size).T


@wrong(check_embedding_backward, "the zeros came back", "index_add_")
def embedding_backward_result_dropped(ids, grad_out, vocab_size):
    grad = torch.zeros(vocab_size, grad_out.shape[-1])
    grad.index_add(0, ids.flatten(), grad_out.flatten(0, 1))
    return grad


@wrong(check_embedding_backward, "torch.zeros", "torch.empty")
def embedding_backward_not_zeroed(ids, grad_out, vocab_size):
    grad = torch.full((vocab_size, grad_out.shape[-1]), float("nan"))
    for token in ids.unique():
        grad[token] = grad_out[ids == token].sum(0)
    return grad


@wrong(check_embedding_backward, "own table")
def embedding_backward_a_table_each(ids, grad_out, vocab_size):
    return torch.stack([embedding_backward_by_loops(i[None], g[None], vocab_size) for i, g in zip(ids, grad_out, strict=True)])


@wrong(check_embedding_backward, "sum of its gradient over C")
def embedding_backward_without_width(ids, grad_out, vocab_size):
    return torch.zeros(vocab_size).index_add(0, ids.flatten(), grad_out.sum(-1).flatten())
