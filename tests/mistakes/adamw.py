"""Lesson 04: answers, right and wrong."""
import math

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
from mistakes import right, wrong

# 4.1 momentum

@right(check_momentum_step)
def momentum_step_as_a_formula(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * g
    return w - lr * m, m


@right(check_momentum_step)
def momentum_step_with_lerp(w, g, m, lr, beta):
    m = torch.lerp(g, m, beta)
    return [torch.add(w, m, alpha=-lr), m]


@right(check_momentum_step)
def momentum_step_on_copies(w, g, m, lr, beta):
    w, m = w.clone(), m.clone()
    m.mul_(beta).add_(g, alpha=1 - beta)
    w -= lr * m
    return torch.stack([w, m])


@right(check_momentum_step)
def momentum_step_by_loops(w, g, m, lr, beta):
    m = torch.tensor([a + (1 - beta) * (b - a) for a, b in zip(m.tolist(), g.tolist(), strict=True)])
    return torch.tensor([a - lr * b for a, b in zip(w.tolist(), m.tolist(), strict=True)], dtype=torch.float64), m


@right(check_momentum_step)
def momentum_step_with_torch_sgd(w, g, m, lr, beta):
    p = nn.Parameter(w.clone())
    optimizer = torch.optim.SGD([p], lr=lr, momentum=beta, dampening=beta)
    optimizer.state[p]["momentum_buffer"] = m.clone()
    p.grad = g.clone()
    optimizer.step()
    return p.detach(), optimizer.state[p]["momentum_buffer"]


@wrong(check_momentum_step, "sum", "PyTorch's SGD", "1 - beta")
def momentum_step_as_pytorch(w, g, m, lr, beta):
    m = beta * m + g
    return w - lr * m, m


@wrong(check_momentum_step, "shares are exchanged")
def momentum_step_with_the_shares_exchanged(w, g, m, lr, beta):
    m = m.lerp(g, beta)
    return w - lr * m, m


@wrong(check_momentum_step, "the old m; let m take in g first")
def momentum_step_before_the_average(w, g, m, lr, beta):
    w = w - lr * m
    return w, beta * m + (1 - beta) * g


@wrong(check_momentum_step, "gradient alone")
def momentum_step_along_the_gradient(w, g, m, lr, beta):
    return w - lr * g, beta * m + (1 - beta) * g


@wrong(check_momentum_step, "m came back as it went in")
def momentum_step_returns_the_old_average(w, g, m, lr, beta):
    return w - lr * (beta * m + (1 - beta) * g), m


@wrong(check_momentum_step, "wrong order", "need (w, m)")
def momentum_step_in_the_wrong_order(w, g, m, lr, beta):
    return momentum_step_as_a_formula(w, g, m, lr, beta)[::-1]


@wrong(check_momentum_step, "only the new w")
def momentum_step_returns_only_w(w, g, m, lr, beta):
    return momentum_step_as_a_formula(w, g, m, lr, beta)[0]


@wrong(check_momentum_step, "wrong sign", "uphill")
def momentum_step_uphill(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * g
    return w + lr * m, m


@wrong(check_momentum_step, "lr is missing")
def momentum_step_without_lr(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * g
    return w - m, m


@wrong(check_momentum_step, "lr went into the average")
def momentum_step_as_a_velocity(w, g, m, lr, beta):
    m = beta * m - lr * g
    return w + m, m


@wrong(check_momentum_step, "lr went into the average")
def momentum_step_averages_steps(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * lr * g
    return w - m, m


@wrong(check_momentum_step, "m is divided by 1 - beta")
def momentum_step_corrected(w, g, m, lr, beta):
    m = (beta * m + (1 - beta) * g) / (1 - beta)
    return w - lr * m, m


@wrong(check_momentum_step, "Nesterov")
def momentum_step_of_nesterov(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * g
    return w - lr * (beta * m + (1 - beta) * g), m


@wrong(check_momentum_step, "not shrunk")
def momentum_step_that_never_forgets(w, g, m, lr, beta):
    m = m + (1 - beta) * g
    return w - lr * m, m


@wrong(check_momentum_step, "in place", "`m`")
def momentum_step_in_place(w, g, m, lr, beta):
    m.mul_(beta).add_(g, alpha=1 - beta)
    return w - lr * m, m


@wrong(check_momentum_step, "in place", "`w`")
def momentum_step_moves_w_in_place(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * g
    w -= lr * m
    return w, m


@wrong(check_momentum_step, "from 0", "1 - beta only")
def momentum_step_starts_with_the_gradient(w, g, m, lr, beta):
    m = beta * m + (1 - beta) * g if m.any() else g.clone()
    return w - lr * m, m


@wrong(check_momentum_step, "has 3 values; need 2")
def momentum_step_returns_three(w, g, m, lr, beta):
    w, m = momentum_step_as_a_formula(w, g, m, lr, beta)
    return w, g, m


# 4.2 bias correction

@right(check_corrected)
def corrected_as_a_formula(average, beta, step):
    return average / (1 - beta**step)


@right(check_corrected)
def corrected_by_filling(average, beta, step):
    filled = 0.0
    for _ in range(step):
        filled = beta * filled + (1 - beta)
    return average / filled


@right(check_corrected)
def corrected_with_expm1(average, beta, step):
    return average.double() / -math.expm1(step * math.log(beta))


@right(check_corrected)
def corrected_by_a_sum_of_shares(average, beta, step):
    return average / sum((1 - beta) * torch.tensor(beta).double() ** torch.arange(step))


@wrong(check_corrected, "came back as it was")
def corrected_not_at_all(average, beta, step):
    return average.clone()


@wrong(check_corrected, "power step - 1", "count from 1")
def corrected_from_zero(average, beta, step):
    return average / (1 - torch.tensor(beta) ** (step - 1))


@wrong(check_corrected, "power step + 1", "count from 1")
def corrected_one_too_far(average, beta, step):
    return average / (1 - beta ** (step + 1))


@wrong(check_corrected, "multiplied by the share", "divide")
def corrected_by_multiplying(average, beta, step):
    return average * (1 - beta**step)


@wrong(check_corrected, "divided by 1 - beta", "power")
def corrected_without_power(average, beta, step):
    return average / (1 - beta)


@wrong(check_corrected, "multiplied by the number of steps")
def corrected_with_a_product(average, beta, step):
    return average / (1 - beta * step)


@wrong(check_corrected, "covers 1 - beta")
def corrected_with_the_power_outside(average, beta, step):
    return average / (1 - beta) ** step


@wrong(check_corrected, "parentheses")
def corrected_without_parentheses(average, beta, step):
    return average / 1 - beta**step


@wrong(check_corrected, "exchanged")
def corrected_with_base_and_exponent_exchanged(average, beta, step):
    return average / (1 - step**beta)


@wrong(check_corrected, "still open")
def corrected_by_what_is_open(average, beta, step):
    return average / beta**step


@wrong(check_corrected, "root")
def corrected_under_a_root(average, beta, step):
    return average / math.sqrt(1 - beta**step)


@wrong(check_corrected, "only the share")
def corrected_returns_the_share(average, beta, step):
    return 1 - beta**step


@wrong(check_corrected, "negative")
def corrected_with_the_sign_turned(average, beta, step):
    return average / (beta**step - 1)


@wrong(check_corrected, "in place", "`average`")
def corrected_in_place(average, beta, step):
    average /= 1 - beta**step
    return average


@wrong(check_corrected, "0.9 whatever is given")
def corrected_with_the_lessons_beta(average, beta, step):
    return average / (1 - 0.9**step)


@wrong(check_corrected, "TypeError", "^")
def corrected_with_a_caret(average, beta, step):
    return average / (1 - beta ^ step)


# 4.3 the AdamW step

def both_averages(g, m, v, betas):
    beta1, beta2 = betas
    return beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g


@right(check_adamw_step)
def adamw_step_as_formulas(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return w - lr * weight_decay * w - lr * m_hat / (torch.sqrt(v_hat) + eps), m, v


@right(check_adamw_step)
def adamw_step_of_pytorch(w, g, m, v, step, lr, betas, eps, weight_decay):
    """The check agrees with PyTorch itself."""
    p = nn.Parameter(w.clone())
    optimizer = torch.optim.AdamW([p], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=False)
    optimizer.state[p] = {"step": torch.tensor(float(step - 1)), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    p.grad = g.clone()
    optimizer.step()
    return p.detach(), optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]


@right(check_adamw_step)
@torch.no_grad()
def adamw_step_on_copies(w, g, m, v, step, lr, betas, eps, weight_decay):
    w, m, v = w.clone(), m.clone(), v.clone()
    w *= 1 - lr * weight_decay
    m.lerp_(g, 1 - betas[0])
    v.mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    w.addcdiv_(m, v.sqrt() / (1 - betas[1] ** step) ** 0.5 + eps, value=-lr / (1 - betas[0] ** step))
    return [w, m, v]


@right(check_adamw_step)
def adamw_step_by_loops(w, g, m, v, step, lr, betas, eps, weight_decay):
    rows = []
    for wi, gi, mi, vi in zip(*(x.tolist() for x in (w, g, m, v)), strict=True):
        mi += (1 - betas[0]) * (gi - mi)
        vi += (1 - betas[1]) * (gi**2 - vi)
        ratio = mi / (1 - betas[0] ** step) / (math.sqrt(vi / (1 - betas[1] ** step)) + eps)
        rows.append((wi - lr * (ratio + weight_decay * wi), mi, vi))
    return torch.tensor(rows).T


def adamw(w, averages, step, lr, betas, eps, weight_decay):
    """A right step, made of new averages; returns all three."""
    m, v = averages
    return (1 - lr * weight_decay) * w - lr * m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps), m, v


@wrong(check_adamw_step, "L2")
def adamw_step_with_l2(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g + weight_decay * w, m, v, betas), step, lr, betas, eps, 0.0)


@wrong(check_adamw_step, "decay", "not multiplied by lr")
def adamw_step_with_decay_without_lr(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, weight_decay / lr)


@wrong(check_adamw_step, "decay comes after the update")
def adamw_step_with_decay_last(w, g, m, v, step, lr, betas, eps, weight_decay):
    w, m, v = adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, 0.0)
    return w * (1 - lr * weight_decay), m, v


@wrong(check_adamw_step, "lr is in the decay twice")
def adamw_step_with_lr_twice_in_decay(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, lr * weight_decay)


@wrong(check_adamw_step, "weight decay is missing")
def adamw_step_without_decay(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, 0.0)


@wrong(check_adamw_step, "decay has the wrong sign")
def adamw_step_that_grows(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, -weight_decay)


@wrong(check_adamw_step, "decay is divided by the root")
def adamw_step_with_decay_in_the_ratio(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return w - lr * (m_hat + weight_decay * w) / (v_hat.sqrt() + eps), m, v


@wrong(check_adamw_step, "eps is inside the root")
def adamw_step_with_eps_inside(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return (1 - lr * weight_decay) * w - lr * m_hat / torch.sqrt(v_hat + eps), m, v


@wrong(check_adamw_step, "before its bias correction")
def adamw_step_with_eps_early(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    rate = lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
    return (1 - lr * weight_decay) * w - rate * m / (v.sqrt() + eps), m, v


@wrong(check_adamw_step, "eps is missing")
def adamw_step_without_eps(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, 0.0, weight_decay)


@wrong(check_adamw_step, "bias correction of both m and v is missing")
def adamw_step_without_correction(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return (1 - lr * weight_decay) * w - lr * m / (v.sqrt() + eps), m, v


@wrong(check_adamw_step, "bias correction of m is missing")
def adamw_step_without_correction_of_m(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return (1 - lr * weight_decay) * w - lr * m / ((v / (1 - betas[1] ** step)).sqrt() + eps), m, v


@wrong(check_adamw_step, "bias correction of v is missing")
def adamw_step_without_correction_of_v(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return (1 - lr * weight_decay) * w - lr * m / (1 - betas[0] ** step) / (v.sqrt() + eps), m, v


@wrong(check_adamw_step, "bias correction of both", "decay is missing")
def adamw_step_with_two_mistakes(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return w - lr * m / (v.sqrt() + eps), m, v


@wrong(check_adamw_step, "counts from 0")
def adamw_step_counted_from_zero(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step - 1, lr, betas, eps, weight_decay)


@wrong(check_adamw_step, "one step too many")
def adamw_step_counted_again(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step + 1, lr, betas, eps, weight_decay)


@wrong(check_adamw_step, "betas are exchanged")
def adamw_step_with_betas_exchanged(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas[::-1]), step, lr, betas[::-1], eps, weight_decay)


@wrong(check_adamw_step, "v averages g; it averages the squares")
def adamw_step_without_square(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, _ = both_averages(g, m, v, betas)
    return adamw(w, (m, betas[1] * v + (1 - betas[1]) * g), step, lr, betas, eps, weight_decay)


@wrong(check_adamw_step, "squares of m")
def adamw_step_squares_the_average(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, _ = both_averages(g, m, v, betas)
    return adamw(w, (m, betas[1] * v + (1 - betas[1]) * m * m), step, lr, betas, eps, weight_decay)


@wrong(check_adamw_step, "g is in the place of m")
def adamw_step_without_momentum(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return (1 - lr * weight_decay) * w - lr * g / ((v / (1 - betas[1] ** step)).sqrt() + eps), m, v


@wrong(check_adamw_step, "update has the wrong sign")
def adamw_step_uphill(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return 2 * (1 - lr * weight_decay) * w - adamw(w, (m, v), step, lr, betas, eps, weight_decay)[0], m, v


@wrong(check_adamw_step, "the root is missing")
def adamw_step_without_root(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    return (1 - lr * weight_decay) * w - lr * m / (1 - betas[0] ** step) / (v / (1 - betas[1] ** step) + eps), m, v


@wrong(check_adamw_step, "m came back as it went in")
def adamw_step_returns_the_old_averages(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, weight_decay)[0], m, v


@wrong(check_adamw_step, "corrected m came back")
def adamw_step_returns_the_corrected(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    m, v = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return (1 - lr * weight_decay) * w - lr * m / (v.sqrt() + eps), m, v


@wrong(check_adamw_step, "uses the old m and v")
def adamw_step_steps_first(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, (m, v), step, lr, betas, eps, weight_decay)[0], *both_averages(g, m, v, betas)


@wrong(check_adamw_step, "in place", "`w`")
def adamw_step_in_place(w, g, m, v, step, lr, betas, eps, weight_decay):
    w *= 1 - lr * weight_decay
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, 0.0)


@wrong(check_adamw_step, "in place", "`m`")
def adamw_step_with_averages_in_place(w, g, m, v, step, lr, betas, eps, weight_decay):
    m.lerp_(g, 1 - betas[0])
    v.mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
    return adamw(w, (m, v), step, lr, betas, eps, weight_decay)


@wrong(check_adamw_step, "wrong order", "(m, v, w)")
def adamw_step_in_the_wrong_order(w, g, m, v, step, lr, betas, eps, weight_decay):
    w, m, v = adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, weight_decay)
    return m, v, w


@wrong(check_adamw_step, "only the new w")
def adamw_step_returns_only_w(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, betas), step, lr, betas, eps, weight_decay)[0]


@wrong(check_adamw_step, "eps", "parentheses")
def adamw_step_without_parentheses(w, g, m, v, step, lr, betas, eps, weight_decay):
    m, v = both_averages(g, m, v, betas)
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return (1 - lr * weight_decay) * w - lr * (m_hat / v_hat.sqrt() + eps), m, v


@wrong(check_adamw_step, "β₁ is 0.9 whatever is given")
def adamw_step_of_the_lesson(w, g, m, v, step, lr, betas, eps, weight_decay):
    return adamw(w, both_averages(g, m, v, (0.9, 0.999)), step, lr, (0.9, 0.999), 1e-8, 0.1)


# 4.4 which weights decay

@right(check_decay_groups)
def decay_groups_as_lists(model, weight_decay):
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


@right(check_decay_groups)
def decay_groups_as_generators(model, weight_decay):
    yield {"params": (p for p in model.parameters() if p.dim() < 2), "weight_decay": 0}
    yield {"params": filter(lambda p: p.dim() > 1, model.parameters()), "weight_decay": weight_decay, "name": "matrices"}


@right(check_decay_groups)
def decay_groups_by_appending(model, weight_decay):
    groups = {True: [], False: []}
    for _, p in model.named_parameters():
        if p.requires_grad:
            groups[len(p.shape) > 1].append(p)
    return tuple({"params": tuple(params), "weight_decay": float(decays) * weight_decay} for decays, params in groups.items())


@right(check_decay_groups)
def decay_groups_of_an_optimizer(model, weight_decay):
    return torch.optim.AdamW(decay_groups_as_lists(model, weight_decay), lr=0.001).param_groups


@right(check_decay_groups)
def decay_groups_by_layers(model, weight_decay):
    """Layer by layer, with an eye on tables that two layers share."""
    decay, rest = {}, {}
    for layer in model.modules():
        for p in layer.parameters(recurse=False):
            (decay if p.ndim >= 2 else rest)[id(p)] = p
    return [dict(params=decay.values(), weight_decay=torch.tensor(weight_decay)), dict(params=rest.values(), weight_decay=0.0)]


def groups(decay, rest, weight_decay):
    return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def groups_by(rule, model, weight_decay):
    named = list(model.named_parameters())
    return groups([p for name, p in named if rule(name, p)], [p for name, p in named if not rule(name, p)], weight_decay)


@wrong(check_decay_groups, "bias", "LayerNorm", "decays, and should not")
def decay_groups_by_the_name_bias(model, weight_decay):
    return groups_by(lambda name, p: not name.endswith("bias"), model, weight_decay)


@wrong(check_decay_groups, "bias", "exempted", "name", "LayerNorm")
def decay_groups_by_bias_anywhere(model, weight_decay):
    return groups_by(lambda name, p: "bias" not in name, model, weight_decay)


@wrong(check_decay_groups, "name", "mislead")
def decay_groups_by_the_name_weight(model, weight_decay):
    return groups_by(lambda name, p: name.endswith("weight"), model, weight_decay)


@wrong(check_decay_groups, "For example", "decays, and should not")
def decay_groups_by_names_of_norms(model, weight_decay):
    return groups_by(lambda name, p: not any(word in name for word in ("bias", "norm", "ln")), model, weight_decay)


@wrong(check_decay_groups, "exchanged")
def decay_groups_exchanged(model, weight_decay):
    return groups_by(lambda name, p: p.ndim < 2, model, weight_decay)


@wrong(check_decay_groups, "exactly 2")
def decay_groups_with_two_dimensions_alone(model, weight_decay):
    return groups_by(lambda name, p: p.ndim == 2, model, weight_decay)


@wrong(check_decay_groups, "2 are enough")
def decay_groups_with_three_dimensions(model, weight_decay):
    return groups_by(lambda name, p: p.ndim > 2, model, weight_decay)


@wrong(check_decay_groups, "1 dimension decay, too")
def decay_groups_with_one_dimension(model, weight_decay):
    return groups_by(lambda name, p: p.ndim >= 1, model, weight_decay)


@wrong(check_decay_groups, "embeddings")
def decay_groups_without_embeddings(model, weight_decay):
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return groups_by(lambda name, p: p.ndim >= 2 and id(p) not in tables, model, weight_decay)


@wrong(check_decay_groups, "missing in both groups")
def decay_groups_forget_scalars(model, weight_decay):
    return groups([p for p in model.parameters() if p.ndim >= 2], [p for p in model.parameters() if p.ndim == 1], weight_decay)


@wrong(check_decay_groups, "generator", "walk")
def decay_groups_walk_twice(model, weight_decay):
    params = model.parameters()
    return groups([p for p in params if p.ndim >= 2], [p for p in params if p.ndim < 2], weight_decay)


@wrong(check_decay_groups, "both groups", "once")
def decay_groups_with_everything_twice(model, weight_decay):
    return groups([p for p in model.parameters() if p.ndim >= 2], list(model.parameters()), weight_decay)


@wrong(check_decay_groups, "2 times", "two layers share")
def decay_groups_with_a_shared_table_twice(model, weight_decay):
    params = [p for layer in model.modules() for p in layer.parameters(recurse=False)]
    return groups([p for p in params if p.ndim >= 2], [p for p in params if p.ndim < 2], weight_decay)


@wrong(check_decay_groups, "pairs", "name")
def decay_groups_with_pairs(model, weight_decay):
    return groups([(n, p) for n, p in model.named_parameters() if p.ndim >= 2],
                  [(n, p) for n, p in model.named_parameters() if p.ndim < 2], weight_decay)


@wrong(check_decay_groups, "names")
def decay_groups_with_names(model, weight_decay):
    return groups([n for n, p in model.named_parameters() if p.ndim >= 2],
                  [n for n, p in model.named_parameters() if p.ndim < 2], weight_decay)


@wrong(check_decay_groups, "copy", "own parameters")
def decay_groups_with_a_state_dict(model, weight_decay):
    tensors = model.state_dict().values()
    return groups([p for p in tensors if p.ndim >= 2], [p for p in tensors if p.ndim < 2], weight_decay)


@wrong(check_decay_groups, "get 0")
def decay_groups_that_both_decay(model, weight_decay):
    decay, rest = decay_groups_as_lists(model, weight_decay)
    return [decay, rest | {"weight_decay": weight_decay}]


@wrong(check_decay_groups, 'no key "weight_decay"', "0.01")
def decay_groups_without_the_zero(model, weight_decay):
    decay, rest = decay_groups_as_lists(model, weight_decay)
    return [decay, {"params": rest["params"]}]


@wrong(check_decay_groups, "the one that is given")
def decay_groups_with_the_lessons_decay(model, weight_decay):
    return decay_groups_as_lists(model, 0.1)


@wrong(check_decay_groups, "type list", "need a dict")
def decay_groups_as_plain_lists(model, weight_decay):
    return [group["params"] for group in decay_groups_as_lists(model, weight_decay)]


@wrong(check_decay_groups, "optimizer came back")
def decay_groups_as_an_optimizer(model, weight_decay):
    return torch.optim.AdamW(decay_groups_as_lists(model, weight_decay))


@wrong(check_decay_groups, "number of groups is 1")
def decay_groups_in_one(model, weight_decay):
    return decay_groups_as_lists(model, weight_decay)[:1]


@wrong(check_decay_groups, "set")
def decay_groups_as_sets(model, weight_decay):
    return [group | {"params": set(group["params"])} for group in decay_groups_as_lists(model, weight_decay)]


# 4.5 warm-up and cosine

@right(check_learning_rate)
def learning_rate_as_described(step, max_lr, min_lr, warmup_steps, total_steps):
    if step < warmup_steps:
        return max_lr * (step + 1) / warmup_steps
    if step >= total_steps:
        return min_lr
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * progress))


@right(check_learning_rate)
def learning_rate_with_a_bounded_progress(step, max_lr, min_lr, warmup_steps, total_steps):
    if step + 1 <= warmup_steps:
        return (step + 1) / warmup_steps * max_lr
    share = torch.tensor(min(1.0, (step - warmup_steps) / (total_steps - warmup_steps)))
    return torch.lerp(torch.tensor(max_lr), torch.tensor(min_lr), (1 - torch.cos(math.pi * share)) / 2)


@right(check_learning_rate)
def learning_rate_with_a_squared_cosine(step, max_lr, min_lr, warmup_steps, total_steps):
    """(1 + cos x) / 2 is the square of cos(x / 2)."""
    rise = min(1, (step + 1) / warmup_steps) if warmup_steps else 1
    fall = max(0, min(step, total_steps) - warmup_steps) / (total_steps - warmup_steps)
    return rise * max_lr if rise < 1 else min_lr + (max_lr - min_lr) * math.cos(math.radians(90 * fall)) ** 2


def wave(angle):
    return (1 + math.cos(angle)) / 2


def rates(shape, *, progress=None, rise=None, clamp=True):
    """An answer whose parts can be wrong."""
    def learning_rate(step, max_lr, min_lr, warmup_steps, total_steps):
        if step < warmup_steps:
            return rise(step, max_lr, min_lr, warmup_steps) if rise else max_lr * (step + 1) / warmup_steps
        if step >= total_steps and clamp:
            return min_lr
        if progress:
            return shape(progress(step, warmup_steps, total_steps), max_lr, min_lr)
        return shape((step - warmup_steps) / (total_steps - warmup_steps), max_lr, min_lr)
    return learning_rate


def cosine(p, high, low):
    return low + (high - low) * wave(math.pi * p)


for words, answer in {
    ("degrees", "radians"): rates(lambda p, high, low: low + (high - low) * wave(180 * p)),
    ("half is missing", "above max_lr"): rates(lambda p, high, low: low + (high - low) * (1 + math.cos(math.pi * p))),
    ("falls to 0", "min_lr"): rates(lambda p, high, low: high * wave(math.pi * p)),
    ("cut off at min_lr",): rates(lambda p, high, low: max(low, high * wave(math.pi * p))),
    ("starts at max_lr; scale it by max_lr - min_lr",): rates(lambda p, high, low: low + high * wave(math.pi * p)),
    ("min_lr is missing",): rates(lambda p, high, low: (high - low) * wave(math.pi * p)),
    ("the rate rises", "exchanged"): rates(lambda p, high, low: cosine(p, low, high)),
    ("1 and the half are missing", "below min_lr"): rates(lambda p, high, low: low + (high - low) * math.cos(math.pi * p)),
    ("quarter of a wave",): rates(lambda p, high, low: low + (high - low) * math.cos(math.pi / 2 * p)),
    ("2π",): rates(lambda p, high, low: cosine(2 * p, high, low)),
    ("π is missing",): rates(lambda p, high, low: low + (high - low) * wave(p)),
    ("along a line",): rates(lambda p, high, low: high - (high - low) * p),
    ("over all total_steps",): rates(cosine, progress=lambda step, warm, total: step / total),
    ("divided by total_steps",): rates(cosine, progress=lambda step, warm, total: (step - warm) / total),
    ("starts at step 0",): rates(cosine, progress=lambda step, warm, total: step / (total - warm)),
    ("one step early",): rates(cosine, progress=lambda step, warm, total: (step - warm) / (total - warm - 1)),
    ("one step ahead",): rates(cosine, progress=lambda step, warm, total: (step - warm + 1) / (total - warm)),
    ("whole numbers", "cosine"): rates(cosine, progress=lambda step, warm, total: (step - warm) // (total - warm)),
    ("over all total_steps", "falls to 0"): rates(lambda p, high, low: high * wave(math.pi * p),
                                                  progress=lambda step, warm, total: step / total),
    ("starts at a rate of 0", "step + 1"): rates(cosine, rise=lambda step, high, low, warm: high * step / warm),
    ("warmup_steps + 1",): rates(cosine, rise=lambda step, high, low, warm: high * (step + 1) / (warm + 1)),
    ("whole numbers", "warm-up"): rates(cosine, rise=lambda step, high, low, warm: high * ((step + 1) // warm)),
    ("starts from min_lr",): rates(cosine, rise=lambda step, high, low, warm: low + (high - low) * (step + 1) / warm),
    ("max_lr is missing",): rates(cosine, rise=lambda step, high, low, warm: (step + 1) / warm),
    ("rises again", "stays at min_lr"): rates(cosine, clamp=False),
}.items():
    answer.__name__ = f"learning_rate_{'_'.join(words)}".replace(" ", "_")
    wrong(check_learning_rate, *words)(answer)


@wrong(check_learning_rate, "max_lr and min_lr are exchanged")
def learning_rate_exchanged(step, max_lr, min_lr, warmup_steps, total_steps):
    return learning_rate_as_described(step, min_lr, max_lr, warmup_steps, total_steps)


@wrong(check_learning_rate, "warm-up is missing")
def learning_rate_without_warmup(step, max_lr, min_lr, warmup_steps, total_steps):
    return cosine(min(1, step / total_steps), max_lr, min_lr)


@wrong(check_learning_rate, "one step too long", "overshoots")
def learning_rate_warms_up_too_long(step, max_lr, min_lr, warmup_steps, total_steps):
    if step <= warmup_steps:
        return max_lr * (step + 1) / max(1, warmup_steps)
    return learning_rate_as_described(step, max_lr, min_lr, warmup_steps, total_steps)


@wrong(check_learning_rate, "last step", "already")
def learning_rate_ends_early(step, max_lr, min_lr, warmup_steps, total_steps):
    return min_lr if step >= total_steps - 1 else learning_rate_as_described(step, max_lr, min_lr, warmup_steps, total_steps)


@wrong(check_learning_rate, "after total_steps the rate is 0")
def learning_rate_stops_at_the_end(step, max_lr, min_lr, warmup_steps, total_steps):
    return learning_rate_as_described(step, max_lr, min_lr, warmup_steps, total_steps) if step <= total_steps else 0.0


@wrong(check_learning_rate, "None", "return")
def learning_rate_forgets_the_end(step, max_lr, min_lr, warmup_steps, total_steps):
    if step < total_steps:
        return learning_rate_as_described(step, max_lr, min_lr, warmup_steps, total_steps)


@wrong(check_learning_rate, "warmup_steps = 0", "ZeroDivisionError")
def learning_rate_needs_a_warmup(step, max_lr, min_lr, warmup_steps, total_steps):
    if (step + 1) / warmup_steps < 1:
        return max_lr * (step + 1) / warmup_steps
    return learning_rate_as_described(step, max_lr, min_lr, warmup_steps, total_steps)


@wrong(check_learning_rate, "whatever it is given")
def learning_rate_of_the_lesson(step, max_lr, min_lr, warmup_steps, total_steps):
    return 3e-3


# 4.6 a decay with a half-life

@right(check_weight_decay_for)
def weight_decay_for_by_a_root(half_life, lr):
    return (1 - 0.5 ** (1 / half_life)) / lr


@right(check_weight_decay_for)
def weight_decay_for_by_logarithms(half_life, lr):
    return -math.expm1(math.log(0.5) / half_life) / lr


@right(check_weight_decay_for)
def weight_decay_for_as_a_tensor(half_life, lr):
    return (1 - torch.tensor(2.0) ** (-1 / half_life)) / lr


@right(check_weight_decay_for)
def weight_decay_for_by_halving_an_interval(half_life, lr):
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        low, high = (share, high) if (1 - share) ** half_life > 0.5 else (low, share)
    return share / lr


@wrong(check_weight_decay_for, "divide it by lr")
def weight_decay_for_without_lr(half_life, lr):
    return 1 - 0.5 ** (1 / half_life)


@wrong(check_weight_decay_for, "lr is multiplied")
def weight_decay_for_times_lr(half_life, lr):
    return (1 - 0.5 ** (1 / half_life)) * lr


@wrong(check_weight_decay_for, "same amount at every step", "multiply")
def weight_decay_for_along_a_line(half_life, lr):
    return 0.5 / half_life / lr


@wrong(check_weight_decay_for, "ln 2", "long half-lives only")
def weight_decay_for_roughly(half_life, lr):
    return math.log(2) / (half_life * lr)


@wrong(check_weight_decay_for, "weight keeps")
def weight_decay_for_as_the_factor(half_life, lr):
    return 0.5 ** (1 / half_life) / lr


@wrong(check_weight_decay_for, "power half_life")
def weight_decay_for_with_a_power(half_life, lr):
    return (1 - 0.5**half_life) / lr


@wrong(check_weight_decay_for, "1/e")
def weight_decay_for_a_life_of_e(half_life, lr):
    return (1 - math.exp(-1 / half_life)) / lr


@wrong(check_weight_decay_for, "root of 2")
def weight_decay_for_a_doubling(half_life, lr):
    return (2 ** (1 / half_life) - 1) / lr


@wrong(check_weight_decay_for, "sign")
def weight_decay_for_with_a_minus(half_life, lr):
    return (0.5 ** (1 / half_life) - 1) / lr


@wrong(check_weight_decay_for, "ln 2", "divide it by lr")
def weight_decay_for_with_two_mistakes(half_life, lr):
    return math.log(2) / half_life


@wrong(check_weight_decay_for, "turned round")
def weight_decay_for_is_the_lessons_half_life(half_life, lr):
    return math.log(0.5) / math.log(1 - lr * half_life)


@wrong(check_weight_decay_for, "//")
def weight_decay_for_in_whole_numbers(half_life, lr):
    return (1 - 0.5 ** (1 // half_life)) / lr
