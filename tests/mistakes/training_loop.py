"""Lesson 05: answers, right and wrong, that the tables of the checks do not make themselves."""
import copy
import math
from itertools import accumulate, chain

import torch
import torch.nn.functional as F

from gpt_checks.training_loop import (
    check_clip_gradients,
    check_early_stop,
    check_evaluate,
    check_tokens_axis,
    check_train,
    check_training_step,
)
from mistakes import right, wrong

# 5.1 tokens seen
right(check_tokens_axis)(lambda f, n, b, t: [*range(b * t, n * b * t + 1, f * b * t)])
right(check_tokens_axis)(lambda f, n, b, t: list((torch.arange(0, n, f) + 1) * b * t))
right(check_tokens_axis)(lambda f, n, b, t: tuple(s for i, s in enumerate(accumulate([b * t] * n)) if i % f == 0))
right(check_tokens_axis)(lambda f, n, b, t: [float((1 + i * f) * b * t) for i in range(math.ceil(n / f))])
wrong(check_tokens_axis, "came as a range", "list(...) makes one")(lambda f, n, b, t: range(b * t, n * b * t + 1, f * b * t))
wrong(check_tokens_axis, "came as a Tensor", ".tolist() makes one")(lambda f, n, b, t: (torch.arange(0, n, f) + 1) * b * t)
wrong(check_tokens_axis, "came as a generator")(lambda f, n, b, t: ((1 + i * f) * b * t for i in range(math.ceil(n / f))))
wrong(check_tokens_axis, "a token is added")(lambda f, n, b, t: [step * b * t + 1 for step in range(0, n, f)])
wrong(check_tokens_axis, "has 3 values; need")(lambda f, n, b, t: [120, 720, 1320])
wrong(check_tokens_axis, "inside the loop")(lambda f, n, b, t: next([(step + 1) * b * t] for step in range(0, n, f)))
wrong(check_tokens_axis, "one batch short", "; and windows")(lambda f, n, b, t: [step * b for step in range(n) if not step % f])
wrong(check_tokens_axis, "evenly")(lambda f, n, b, t: torch.linspace(0, n * b * t, math.ceil(n / f)).int().tolist())
wrong(check_tokens_axis, " values; need")(lambda f, n, b, t: [step * b * t for step in range(f, n, f) if step % 2])


# 5.2 one training step
def loss_of(model, inputs, targets):
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@right(check_training_step)
def step_with_grad(model, optimizer, inputs, targets):
    loss = F.cross_entropy(model(inputs).transpose(1, 2), targets)
    if torch.isfinite(loss):
        for p, grad in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
            p.grad = grad
        optimizer.step()
    return float(loss.detach())


@right(check_training_step)
def step_that_looks_after_backward(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    (loss := loss_of(model, inputs, targets)).backward()
    if math.isfinite(loss.item()):
        optimizer.step()
    return loss.item()


def a_step(body, *words):
    """Enter a wrong training step: what it does with the model, the optimizer and the loss; it returns the loss."""
    def training_step(model, optimizer, inputs, targets):
        loss = loss_of(model, inputs, targets)
        if loss.isfinite():
            body(model, optimizer, loss)
        return loss.item()
    wrong(check_training_step, *words)(training_step)


a_step(lambda m, o, loss: (o.zero_grad(), [loss.backward(retain_graph=True) for _ in range(3)], o.step()), "more than once")
a_step(lambda m, o, loss: (o.zero_grad(), (loss * 1.5).backward(), o.step()), "the step's length", "1.5, and 1 is right")
a_step(lambda m, o, loss: (o.zero_grad(), torch.tensor(loss.item()).backward(), o.step()), "with its graph")
a_step(lambda m, o, loss: (o.zero_grad(), m.eval(), loss.backward(), o.step(), o.step()), "more than once")
a_step(lambda m, o, loss: (o.zero_grad(), loss.backward(), [p.data.add_(p.grad, alpha=-0.5) for p in m.parameters()]), "by hand")


wrong(check_training_step, "an id that is impossible: the step is 'no backward()'")(
    lambda m, o, x, y: step_with_grad(m, o, x, y) if m(x).isfinite().all() else loss_of(m, x, y).item())


@wrong(check_training_step, "a loss of nan: the step is 'weights that changed without step()'")
def step_that_shrinks_weights_at_nan(model, optimizer, inputs, targets):
    loss = step_with_grad(model, optimizer, inputs, targets)
    if not math.isfinite(loss):
        model.emb.data *= 0.5
    return loss


wrong(check_training_step, "is rounded")(lambda *args: round(step_with_grad(*args), 3))
wrong(check_training_step, "however large")(
    lambda m, o, x, y: step_with_grad(m, o, x, y) if loss_of(m, x, y) < 50 else loss_of(m, x, y).item())


@wrong(check_training_step, "zero_grad() is missing", "; and the step was taken all the same")
def step_with_nothing_around_it(model, optimizer, inputs, targets):
    (loss := loss_of(model, inputs, targets)).backward()
    optimizer.step()
    return loss.item()


# 5.3 a look that changes nothing
@right(check_evaluate)
def evaluate_with_the_state_put_back(model, loader, batch_loss):
    state, modes = torch.get_rng_state(), {m: m.training for m in model.modules()}
    model.eval()
    with torch.inference_mode():
        pairs = [(batch_loss(x, y, model), x.numel()) for x, y in loader]
    torch.set_rng_state(state)
    for m, mode in modes.items():
        m.training = mode
    return sum(loss * n for loss, n in pairs) / sum(n for _, n in pairs)


@right(check_evaluate)
@torch.no_grad()
def evaluate_a_copy(model, loader, batch_loss):
    calm = copy.deepcopy(model).eval()
    with torch.random.fork_rng(devices=[]):
        losses, sizes = zip(*[(batch_loss(x, y, calm), len(x)) for x, y in loader], strict=True)
    return (torch.stack(losses) * torch.tensor(sizes)).sum() / sum(sizes)


def a_look(*words, mode=None, after=lambda m: None, listed=iter):
    """Enter a wrong evaluation. mode: what the model is left in, the one it came in for None; listed: what is looped over."""
    def evaluate(model, loader, batch_loss):
        was, total, tokens, loader = model.training, 0.0, 0, listed(loader)
        model.eval()
        with torch.no_grad(), torch.random.fork_rng():
            for x, y in loader:
                total, tokens = total + batch_loss(x, y, model).item() * y.numel(), tokens + y.numel()
                after(model)
        model.train(was if mode is None else mode)
        return total / tokens
    wrong(check_evaluate, *words)(evaluate)


@wrong(check_evaluate, "dropout's p was changed, and stays so")
def evaluate_without_dropout_for_ever(model, loader, batch_loss):
    for part in model.modules():
        part.p = 0.0 if isinstance(part, torch.nn.Dropout) else None
    with torch.no_grad(), torch.random.fork_rng():
        pairs = [(batch_loss(x, y, model).item(), len(x)) for x, y in loader]
    return sum(loss * n for loss, n in pairs) / sum(n for _, n in pairs)


wrong(check_evaluate, "a seed was set")(
    lambda *args: (evaluate_with_the_state_put_back(*args), torch.manual_seed(torch.initial_seed()))[0])
a_look("random state has moved", listed=list)                                            # before the fork
a_look("dropout was on", after=lambda model: model.train())
a_look("left in eval() mode", mode=False)
a_look("gradients have changed", after=lambda model: [p.grad.zero_() for p in model.parameters()])
wrong(check_evaluate, "in this order")(lambda model, loader, batch_loss: sum(batch_loss(model, x, y).item() for x, y in loader))
wrong(check_evaluate, "dropout was on")(lambda model, loader, f: sum(f(x, y, model).item() for x, y in loader) / len(loader))


# 5.4 the training loop
@right(check_train)
def train_that_zeroes_at_the_end(model, loader, optimizer, batch_loss, num_epochs):
    losses, sizes = [], []
    for inputs, targets in chain.from_iterable(loader for _ in range(num_epochs)):
        (loss := batch_loss(inputs, targets, model.train())).backward()
        optimizer.step()
        model.zero_grad()
        losses.append(loss.detach())
        sizes.append(targets.shape[0] * targets.shape[1])
    return [torch.stack(losses), list(accumulate(sizes))]


@right(check_train)
def train_with_a_closure(model, loader, optimizer, batch_loss, num_epochs):
    losses, seen = [], [0]
    steps = sum(1 for _ in loader) * num_epochs                # a pass of its own, so that another order comes next
    while len(losses) < steps:
        for x, y in loader:
            def closure(x=x, y=y):
                optimizer.zero_grad()
                (loss := batch_loss(x, y, model.train())).backward()
                return loss

            losses.append(float(optimizer.step(closure).detach()))
            seen.append(torch.tensor(int(seen[-1]) + y.numel()))
            batch_loss(x, y, model.eval())                     # a look at the model
    return losses, seen[1:]


def a_training(*words, start=lambda model: model.train(), each=lambda o, loss, i: (o.zero_grad(), loss.backward(), o.step()),
               give=lambda losses, sizes: (losses, list(accumulate(sizes)))):
    """Enter a wrong training: what it does before an epoch, with the loss of batch i of an epoch, and with what it noted."""
    def train(model, loader, optimizer, batch_loss, num_epochs):
        losses, sizes = [], []
        for _ in range(num_epochs):
            start(model)
            for i, (x, y) in enumerate(loader):
                loss = batch_loss(x, y, model)
                each(optimizer, loss, i)
                losses.append(loss.item())
                sizes.append(x.numel())
        return give(losses, sizes)
    wrong(check_train, *words)(train)


a_training("once an epoch", each=lambda o, loss, i: (i or o.zero_grad(), loss.backward(), o.step()))
a_training("step()", "times for", each=lambda o, loss, i: (loss.backward(), i % 2 and (o.step(), o.zero_grad())))
a_training("its first step's length", "0.8, and 1", each=lambda o, loss, i: (o.zero_grad(), (0.8 * loss).backward(), o.step()))
a_training("zero_grad() is missing", "; and model.train() is missing", start=lambda model: None,
           each=lambda o, loss, i: (loss.backward(), o.step()))
a_training("weights were moved by hand", each=lambda o, loss, i: (o.zero_grad(), loss.backward(), [
    p.data.add_(p.grad, alpha=-0.1) for p in o.param_groups[0]["params"]]))
a_training("the training is 'backward() ", " losses'",
           each=lambda o, loss, i: i % 2 or (o.zero_grad(), loss.backward(), o.step()))
a_training("two lists", give=lambda losses, sizes: {"losses": losses, "tokens_seen": sizes})
a_training("is rounded", give=lambda losses, sizes: ([round(loss, 2) for loss in losses], list(accumulate(sizes))))
a_training("tokens seen", "number 2", give=lambda losses, sizes: (losses, [i * i + s for i, s in enumerate(accumulate(sizes))]))


# 5.5 early stopping
@right(check_early_stop)
def early_stop_by_counting(val_losses, patience):
    lowest, best, bad = float("inf"), 0, 0
    for i in range(len(val_losses)):
        if val_losses[i] < lowest:
            lowest, best, bad = val_losses[i], i, 0
        else:
            bad += 1
            if bad >= patience:
                break
    return [best, i]


@right(check_early_stop)
def early_stop_recursively(val_losses, patience, best=0, stop=0):
    if stop - best == patience or stop == len(val_losses) - 1:
        return best, stop
    return early_stop_recursively(val_losses, patience, stop + 1 if val_losses[stop + 1] < val_losses[best] else best, stop + 1)


def a_stop(*words, given=lambda losses: losses, lower=lambda a, b: a < b, give=lambda best, i: (best, i)):
    """Enter a wrong early stopping: the losses that it looks at, which of two is lower for it, and what it gives."""
    def early_stop(val_losses, patience):
        best, losses = 0, given(val_losses)
        for i, loss in enumerate(losses):
            if lower(loss, losses[best]):
                best = i
            if i - best == patience:
                return give(best, i)
        return give(best, len(losses) - 1)
    wrong(check_early_stop, *words)(early_stop)


a_stop("lower by very little", lower=lambda a, b: a < 0.9999 * b)
a_stop("lower by very little", given=lambda losses: [round(loss, 4) for loss in losses])
a_stop("exchanged", "; and a loss that only equals", lower=lambda a, b: a <= b, give=lambda best, i: (i, best))
wrong(check_early_stop, "nan is taken for a lower loss: every comparison")(lambda x, k: next(
    ((i - k, i) for i in range(k, len(x)) if min(x[i - k + 1 : i + 1]) >= x[i - k]), (x.index(min(x)), len(x) - 1)))
a_stop("need 2 values", give=lambda best, i: {"best": best, "stop": i})
a_stop("IndexError", lower=lambda a, b: [a < b][a == b])
wrong(check_early_stop, "in place")(lambda losses, k: (losses.reverse(), early_stop_by_counting(losses, k))[1])


# 5.6 gradient clipping
right(check_clip_gradients)(torch.nn.utils.clip_grad_norm_)


@right(check_clip_gradients)
def clip_with_norms(parameters, max_norm):
    norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    for p in parameters:
        p.grad = None if p.grad is None else p.grad * (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return norm.item()


wrong(check_clip_gradients, "is clipped to 1")(lambda parameters, max_norm: torch.nn.utils.clip_grad_norm_(parameters, 1.0))
wrong(check_clip_gradients, "the mean of each gradient is squared")(lambda parameters, max_norm: (
    sum(p.grad.mean() ** 2 for p in parameters if p.grad is not None) ** 0.5))
wrong(check_clip_gradients, "clamped")(torch.nn.utils.clip_grad_value_)
wrong(check_clip_gradients, "absolute values")(lambda ps, m: torch.nn.utils.clip_grad_norm_(ps, m, norm_type=1))
wrong(check_clip_gradients, "`return`")(lambda ps, m: [clip_with_norms(ps, m)].clear())
wrong(check_clip_gradients, "None: pass over it")(lambda ps, m: sum(p.grad.square().sum() for p in ps).sqrt())
wrong(check_clip_gradients, "norm after clipping")(lambda ps, m: (clip_with_norms(ps, m), clip_with_norms(ps, m))[1])
