"""Lesson 04: right answers in many forms, and wrong ones that no single line of a check's table makes."""
import math

import numpy
import torch
from torch import nn

from gpt_checks.adamw import (
    check_adamw_step,
    check_corrected,
    check_decay_groups,
    check_learning_rate,
    check_momentum_step,
    check_weight_decay_for,
)
from gpt_checks.numbers import numbers_of
from mistakes import right, wrong


def enter(check, answers):
    """Wrong answers, as {words of the message, with … between them: answer}."""
    for words, answer in answers.items():
        wrong(check, *words.split(" … "))(answer)


# 4.1 momentum
def momentum(w, g, m, lr, beta):
    m = torch.lerp(g, m, beta)
    return [torch.add(w, m, alpha=-lr), m]


def momentum_by_loops(w, g, m, lr, beta):
    m = torch.tensor([a + (1 - beta) * (b - a) for a, b in zip(m.tolist(), g.tolist(), strict=True)])
    return torch.stack([torch.tensor([a - lr * b for a, b in zip(w.tolist(), m.tolist(), strict=True)]), m])


def momentum_of_pytorch(w, g, m, lr, beta):
    p = nn.Parameter(w.clone())
    optimizer = torch.optim.SGD([p], lr=lr, momentum=beta, dampening=beta)
    optimizer.state[p]["momentum_buffer"], p.grad = m.clone(), g.clone()
    optimizer.step()
    return p.detach(), optimizer.state[p]["momentum_buffer"]


def momentum_with_three_mistakes(w, g, m, lr, beta):
    m = beta * m + g
    return w + 3 * lr * m.sin(), m


for answer in (momentum, momentum_by_loops, momentum_of_pytorch):
    right(check_momentum_step)(answer)
enter(check_momentum_step, {
    "in place … `m`": lambda w, g, m, lr, beta: momentum(w, g, m.mul_(beta).add_(g, alpha=1 - beta), lr, 1),
    "in place … `w`": lambda w, g, m, lr, beta: (w.sub_(lr * m.lerp(g, 1 - beta)), m.lerp(g, 1 - beta)),
    "m is a sum": momentum_with_three_mistakes,
    "lr went into the average": lambda w, g, m, lr, beta: (w + (beta * m - lr * g), beta * m - lr * g),
    "g went into m with a minus": lambda w, g, m, lr, beta: (w + lr * torch.lerp(-g, m, beta), torch.lerp(-g, m, beta)),
    "shares are exchanged": lambda w, g, m, lr, beta: (w - m.lerp(g, beta), m.lerp(g, beta)),
    "has 3 values; need 2": lambda w, g, m, lr, beta: (*momentum(w, g, m, lr, beta), g),
    "the new w is": lambda w, g, m, lr, beta: (w - lr * m.lerp(g, 1 - beta).sign(), m.lerp(g, 1 - beta)),
    "need a tensor of shape": lambda *args: [x.tolist() for x in momentum(*args)],
})


# 4.2 bias correction
def corrected_by_filling(average, beta, step):
    filled = 0.0
    for _ in range(step):
        filled = beta * filled + (1 - beta)
    return average / filled


def corrected_without_adding_up(average, beta, step):
    for i in range(step):
        filled = (1 - beta) * beta**i
    return average / filled


right(check_corrected)(corrected_by_filling)
right(check_corrected)(lambda average, beta, step: average.double() / -math.expm1(step * math.log(beta)))
right(check_corrected)(lambda a, beta, step: a / sum((1 - beta) * torch.tensor(beta).double() ** torch.arange(step)))
enter(check_corrected, {
    "in place … `average`": lambda average, beta, step: average.div_(1 - beta**step),
    "first value alone … +=": corrected_without_adding_up,
    "power step - 1": lambda average, beta, step: corrected_by_filling(average, beta, step - 1) if step > 1 else average / 0,
    "subtracted … parentheses": lambda average, beta, step: average / 1 - beta**step,
    "TypeError … ^": lambda average, beta, step: average / (1 - beta ^ step),
    "has shape (); need shape": lambda average, beta, step: average[0] / (1 - beta**step),
    "of type float; need a tensor": lambda average, beta, step: 1.0,
    "a late step": lambda average, beta, step: average / (1 - beta ** min(step, 100)),
})


# 4.3 the AdamW step
def step_of(kind):
    """The step of an optimizer of PyTorch, as an answer."""
    def answer(w, g, m, v, step, lr, betas, eps, weight_decay):
        p = nn.Parameter(w.clone())
        optimizer = kind([p], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=False)
        optimizer.state[p] = {"step": torch.tensor(float(step - 1)), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
        p.grad = g.clone()
        optimizer.step()
        return p.detach(), optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]
    return answer


def adamw_by_loops(w, g, m, v, step, lr, betas, eps, weight_decay):
    rows = []
    for wi, gi, mi, vi in zip(*(x.tolist() for x in (w, g, m, v)), strict=True):
        mi += (1 - betas[0]) * (gi - mi)
        vi += (1 - betas[1]) * (gi**2 - vi)
        ratio = mi / (1 - betas[0] ** step) / (math.sqrt(vi / (1 - betas[1] ** step)) + eps)
        rows.append((wi - lr * (ratio + weight_decay * wi), mi, vi))
    return torch.tensor(rows).T


def adamw_of_a_beginner(w, g, m, v, step, lr, betas, eps, weight_decay):
    """Five mistakes: the first is told."""
    m, v = betas[0] * m + g, betas[1] * v + g * g
    return w - lr * weight_decay - m / (v + eps), m, v


def adamw_with_two_mistakes(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = m.lerp(g, 1 - betas[0]), v.lerp(g * g, 1 - betas[1])
    return w - lr * m / (v.sqrt() + eps), m, v


adamw, adam = step_of(torch.optim.AdamW), step_of(torch.optim.Adam)      # the check agrees with PyTorch; Adam's decay is L2
right(check_adamw_step)(adamw)
right(check_adamw_step)(adamw_by_loops)
enter(check_adamw_step, {
    "L2": adam,
    "the weight decay is missing": lambda *args: adam(*args[:-1], 0.0),
    "decay comes after the update": lambda *args: ((1 - args[5] * args[8]) * adam(*args[:-1], 0.0)[0], *adamw(*args)[1:]),
    "power step - 1": lambda w, g, m, v, step, *rest: adamw(w, g, m, v, step - 1, *rest),
    "betas are exchanged": lambda *args: adamw(*args[:6], args[6][::-1], *args[7:]),
    "in place … `m`": lambda w, g, m, *rest: adamw(w, g, m.lerp_(g, 0.1), *rest),
    "m is a sum": adamw_of_a_beginner,
    "in m and v the bias correction is missing … the weight decay is missing": adamw_with_two_mistakes,
    "as (v, w, m)": lambda *args: [adamw(*args)[i] for i in (2, 0, 1)],
    "β₁ is 0.9 whatever": lambda *args: adamw(*args[:6], (0.9, 0.999), 1e-8, 0.01),
    "the new w is": lambda *args: (args[0].sin(), *adamw(*args)[1:]),
})


# 4.4 which weights decay
def groups(decay, rest, weight_decay, zero=0.0):
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": zero}]


def sort(params, weight_decay, rule=lambda p: p.ndim >= 2):
    params = list(params)
    return groups([p for p in params if rule(p)], [p for p in params if not rule(p)], weight_decay)


def sort_by_names(rule):
    def answer(model, weight_decay):
        decays = {id(p): rule(name) for name, p in model.named_parameters()}
        return sort(model.parameters(), weight_decay, lambda p: decays[id(p)])
    return answer


def generated_groups(model, weight_decay):
    yield {"params": (p for p in model.parameters() if p.dim() < 2), "weight_decay": 0}
    yield {"params": filter(lambda p: p.dim() > 1, model.parameters()), "weight_decay": weight_decay, "name": "matrices"}


def groups_by_layers(model, weight_decay, keep=lambda params: {id(p): p for p in params}.values()):
    return sort(keep([p for layer in model.modules() for p in layer.parameters(recurse=False)]), torch.tensor(weight_decay))


def groups_of_one_walk(model, weight_decay):
    params = model.parameters()
    return groups([p for p in params if p.ndim >= 2], [p for p in params if p.ndim < 2], weight_decay)


def groups_with_in(model, weight_decay):
    decay = [p for p in model.parameters() if p.ndim >= 2]
    return groups(decay, [p for p in model.parameters() if p not in decay], weight_decay)


for answer in (lambda model, d: tuple(sort(model.parameters(), d)), generated_groups, groups_by_layers,
               lambda model, d: torch.optim.AdamW(sort(model.parameters(), d), lr=0.001).param_groups):
    right(check_decay_groups)(answer)
enter(check_decay_groups, {
    "scale of a LayerNorm … only biases are exempted": sort_by_names(lambda name: not name.endswith(".bias")),
    "not every bias or norm says so": sort_by_names(lambda name: not any(word in name for word in ("bias", "norm", "ln"))),
    "one group is empty … walk": groups_of_one_walk,
    "compare tensors number by number": groups_with_in,
    "two layers share": lambda model, d: groups_by_layers(model, d, list),
    "layers inside it": lambda model, d: sort([p for layer in model.modules() for p in layer.parameters()], d),
    "pairs … name": lambda model, d: groups(list(model.named_parameters()), [], d),
    "holds names": lambda model, d: groups([name for name, p in model.named_parameters()], [], d),
    "copy … own parameters": lambda model, d: sort(model.state_dict().values(), d),
    "holds layers": lambda model, d: groups(list(model.children()), [], d),
    "is a set": lambda model, d: groups(set(model.parameters()), [], d),
    "is None; what does not decay has 0": lambda model, d: groups(list(model.parameters()), [], d, None),
    'no key "weight_decay" … 0.01': lambda model, d: [{"params": list(model.parameters())}, {"params": []}],
    "type list; need a dict": lambda model, d: [list(model.parameters()), []],
    "optimizer came back": lambda model, d: torch.optim.AdamW(sort(model.parameters(), d)),
    "one dict came back": lambda model, d: sort(model.parameters(), d)[0],
    "number of groups is 1": lambda model, d: sort(model.parameters(), d)[:1],
    "weights were changed": lambda model, d: sort([p.requires_grad_(False).mul_(2) for p in model.parameters()], d),
})


# 4.5 warm-up and cosine
def rate_with_tensors(step, high, low, warm, total):
    if step + 1 <= warm:
        return torch.tensor((step + 1) / warm * high)
    share = torch.tensor(min(1.0, (step - warm) / (total - warm)))
    return torch.lerp(torch.tensor(high), torch.tensor(low), (1 - torch.cos(math.pi * share)) / 2)


def rate(step, high, low, warm, total):
    """(1 + cos x) / 2 is the square of cos(x / 2)."""
    fall = max(0, min(step, total) - warm) / (total - warm)
    return high * (step + 1) / warm if step < warm else low + (high - low) * numpy.cos(numpy.radians(90 * fall)) ** 2


right(check_learning_rate)(rate_with_tensors)
right(check_learning_rate)(rate)
enter(check_learning_rate, {
    "before warmup_steps: the warm-up is missing": lambda k, high, low, w, t: rate(k, high, low, 0, t),
    "overshoots": lambda k, high, low, w, t: high * (k + 1) / max(1, w) if k <= w else rate(k, high, low, w, t),
    "over all total_steps … falls to 0": lambda k, high, low, w, t: (
        high * (k + 1) / w if k < w else low if k >= t else high * (1 + math.cos(k / t * math.pi)) / 2),
    "stays at max_lr … //": lambda k, high, low, w, t: rate(k, high, low, w, t) if k < w or k >= t else high,
    "None … return": lambda k, high, low, w, t: rate(k, high, low, w, t) if k < t else None,
    "warmup_steps = 0 … ZeroDivisionError": lambda k, high, low, w, t: rate(k, high, low, w, t) + 0 / w,
    "warmup_steps = 1": lambda k, high, low, w, t: rate(k, high, low, 0 if w == 1 else w, t),
    "whatever it is given": lambda *args: 3e-3,
    "before warmup_steps … gives … is right": lambda k, high, low, w, t: k * low if k < w else rate(k, high, low, w, t),
    "from warmup_steps on … is right": lambda k, high, low, w, t: rate(k, high, low, w, t) + (k == w + 3) / 77,
})

# 4.6 a decay to order
LEFT = numbers_of("4.6", 1)["left"] / 100
right(check_weight_decay_for)(lambda n, lr: -math.expm1(math.log(LEFT) / n) / lr)
right(check_weight_decay_for)(lambda n, lr: (1 - torch.tensor(1 / LEFT) ** (-1 / n)) / lr)
enter(check_weight_decay_for, {
    "is close for many steps only … divide it by lr": lambda n, lr: -math.log(LEFT) / n,
    "turned round": lambda n, lr: math.log(LEFT) / math.log1p(-lr * n),
    "1 // steps … use /": lambda n, lr: (1 - math.pow(LEFT, int(1 / n))) / lr,
    "another student's numbers": lambda n, lr: (1 - (numbers_of("4.6", 8)["left"] / 100) ** (1 / n)) / lr,
    "or yours rounded": lambda n, lr: (1 - round(LEFT, 2) ** (1 / n)) / lr,
    "is rounded": lambda n, lr: round((1 - LEFT ** (1 / n)) / lr, 3),
    "TypeError": lambda n, lr: (1 - LEFT ^ (1 / n)) / lr,
    "gives 0.1 whatever": lambda n, lr: 0.1,
    "gives … is right": lambda n, lr: (1 - LEFT ** (1 / n)) / lr + n * lr,
    "type list; need a number": lambda n, lr: [(1 - LEFT ** (1 / n)) / lr],
})
