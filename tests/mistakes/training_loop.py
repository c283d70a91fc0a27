"""Lesson 05: answers, right and wrong."""
import copy
import itertools
import math
from itertools import accumulate, chain
from typing import NamedTuple

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

@right(check_tokens_axis)
def axis_in_one_line(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size * context_length for step in range(0, num_steps, eval_freq)]


@right(check_tokens_axis)
def axis_as_a_range(eval_freq, num_steps, batch_size, context_length):
    tokens = batch_size * context_length
    return range(tokens, num_steps * tokens + 1, eval_freq * tokens)


@right(check_tokens_axis)
def axis_as_the_loop_counts(eval_freq, num_steps, batch_size, context_length):
    seen, rows = 0, ()
    for step in range(num_steps):
        seen += batch_size * context_length
        if step % eval_freq == 0:
            rows += (seen,)
    return rows


@right(check_tokens_axis)
def axis_as_a_tensor(eval_freq, num_steps, batch_size, context_length):
    return (torch.arange(0, num_steps, eval_freq) + 1) * batch_size * context_length


@right(check_tokens_axis)
def axis_as_a_generator(eval_freq, num_steps, batch_size, context_length):
    for i in range(math.ceil(num_steps / eval_freq)):
        yield float((1 + i * eval_freq) * batch_size * context_length)


@wrong(check_tokens_axis, "one batch short")
def axis_before_the_update(eval_freq, num_steps, batch_size, context_length):
    return [step * batch_size * context_length for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "batches", "not tokens")
def axis_in_batches(eval_freq, num_steps, batch_size, context_length):
    return [step + 1 for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "numbers of the steps")
def axis_in_steps(eval_freq, num_steps, batch_size, context_length):
    return list(range(0, num_steps, eval_freq))


@wrong(check_tokens_axis, "windows", "not tokens")
def axis_in_windows(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "one batch short", "windows")
def axis_in_windows_before_the_update(eval_freq, num_steps, batch_size, context_length):
    return [step * batch_size for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "batch_size is left out")
def axis_of_one_window_a_step(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * context_length for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "one evaluation too many", "num_steps - 1")
def axis_with_step_num_steps(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size * context_length for step in range(0, num_steps + 1, eval_freq)]


@wrong(check_tokens_axis, "last step is left out")
def axis_without_the_last_step(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size * context_length for step in range(0, num_steps - 1, eval_freq)]


@wrong(check_tokens_axis, "follows step 0", "eval_freq batches")
def axis_every_so_many_steps(eval_freq, num_steps, batch_size, context_length):
    return [step * batch_size * context_length for step in range(eval_freq, num_steps + 1, eval_freq)]


@wrong(check_tokens_axis, "step 0 is missing")
def axis_without_step_zero(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size * context_length for step in range(eval_freq, num_steps, eval_freq)]


@wrong(check_tokens_axis, "num_steps // eval_freq", "last evaluation is missing")
def axis_of_whole_blocks(eval_freq, num_steps, batch_size, context_length):
    return [(i * eval_freq + 1) * batch_size * context_length for i in range(num_steps // eval_freq)]


@wrong(check_tokens_axis, "one evaluation too many", "num_steps // eval_freq + 1")
def axis_of_blocks_and_one(eval_freq, num_steps, batch_size, context_length):
    return [(i * eval_freq + 1) * batch_size * context_length for i in range(num_steps // eval_freq + 1)]


@wrong(check_tokens_axis, "evenly", "linspace")
def axis_by_linspace(eval_freq, num_steps, batch_size, context_length):
    return torch.linspace(0, num_steps * batch_size * context_length, math.ceil(num_steps / eval_freq)).int().tolist()


@wrong(check_tokens_axis, "evaluation at the end was added")
def axis_with_the_end(eval_freq, num_steps, batch_size, context_length):
    steps = [*range(0, num_steps, eval_freq)]
    return [(step + 1) * batch_size * context_length for step in steps + [num_steps - 1] * (steps[-1] < num_steps - 1)]


@wrong(check_tokens_axis, "every step is in the list")
def axis_of_every_step(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size * context_length for step in range(num_steps)]


@wrong(check_tokens_axis, "evaluations are counted")
def axis_of_evaluations(eval_freq, num_steps, batch_size, context_length):
    return [(i + 1) * batch_size * context_length for i, _ in enumerate(range(0, num_steps, eval_freq))]


@wrong(check_tokens_axis, "last target")
def axis_with_the_last_target(eval_freq, num_steps, batch_size, context_length):
    return [(step + 1) * batch_size * (context_length + 1) for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "only the last value")
def axis_of_the_last(eval_freq, num_steps, batch_size, context_length):
    for step in range(0, num_steps, eval_freq):
        tokens = (step + 1) * batch_size * context_length
    return tokens


@wrong(check_tokens_axis, "counts one batch")
def axis_not_added_up(eval_freq, num_steps, batch_size, context_length):
    return [batch_size * context_length for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "inside the loop")
def axis_that_returns_in_the_loop(eval_freq, num_steps, batch_size, context_length):
    for step in range(0, num_steps, eval_freq):
        return [(step + 1) * batch_size * context_length]


@wrong(check_tokens_axis, "parentheses")
def axis_without_parentheses(eval_freq, num_steps, batch_size, context_length):
    return [step + 1 * batch_size * context_length for step in range(0, num_steps, eval_freq)]


@wrong(check_tokens_axis, "None", "return")
def axis_printed(eval_freq, num_steps, batch_size, context_length):
    [(step + 1) * batch_size * context_length for step in range(0, num_steps, eval_freq)]


# 5.2 one training step

def loss_of(model, inputs, targets):
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


@right(check_training_step)
def step_as_in_the_lesson(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets)
    if loss.isfinite():
        loss.backward()
        optimizer.step()
    return loss.item()


@right(check_training_step)
def step_that_returns_early(model, optimizer, inputs, targets):
    logits = model(inputs)
    loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
    value = loss.item()
    if not math.isfinite(value):
        return value
    model.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    return value


@right(check_training_step)
def step_that_forgets_by_hand(model, optimizer, inputs, targets):
    model.train()
    logp = model(inputs).log_softmax(-1)
    loss = -logp.gather(-1, targets[..., None]).mean()
    for p in model.parameters():
        p.grad = None
    if loss.isnan() or loss.isinf():
        return loss.detach()
    loss.backward()
    optimizer.step()
    return loss.detach()


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
    loss = loss_of(model, inputs, targets)
    loss.backward()
    if math.isfinite(loss.item()):
        optimizer.step()
    return loss.item()


def a_step(*parts, finite="isfinite", result=lambda loss: loss.item(), loss_of=loss_of):
    """A training step made of these parts, in this order."""
    def step(model, optimizer, inputs, targets):
        for part in parts:
            if part == "loss":
                loss = loss_of(model, inputs, targets)
                if {"isfinite": not loss.isfinite(), "isnan": loss.isnan(), None: False}[finite]:
                    return loss.item()
            elif part == "backward":
                loss.backward()
            elif part == "zero":
                optimizer.zero_grad()
            elif part == "step":
                optimizer.step()
            elif part == "eval":
                model.eval()
        return result(loss)
    return step


wrong(check_training_step, "zero_grad() is missing")(a_step("loss", "backward", "step"))
wrong(check_training_step, "zero_grad() comes too late")(a_step("loss", "backward", "step", "zero"))
wrong(check_training_step, "step() comes before backward()")(a_step("zero", "loss", "step", "backward"))
wrong(check_training_step, "step() comes before backward()")(a_step("loss", "step", "backward", "zero"))
wrong(check_training_step, "between backward() and step()")(a_step("loss", "backward", "zero", "step"))
wrong(check_training_step, "between backward() and step()")(a_step("zero", "loss", "backward", "zero", "step"))
wrong(check_training_step, "backward() is never called")(a_step("zero", "loss", "step"))
wrong(check_training_step, "backward() is never called")(a_step("loss", "step"))
wrong(check_training_step, "step() of the optimizer is never called")(a_step("zero", "loss", "backward"))
wrong(check_training_step, "2 times")(a_step("zero", "loss", "backward", "step", "step"))
wrong(check_training_step, "eval()", "dropout is off")(a_step("eval", "zero", "loss", "backward", "step"))
wrong(check_training_step, "graph", ".item()")(a_step("zero", "loss", "backward", "step", result=lambda loss: loss))
wrong(check_training_step, "None", "return")(a_step("zero", "loss", "backward", "step", result=lambda loss: None))
wrong(check_training_step, "a loss of nan", "isfinite")(a_step("zero", "loss", "backward", "step", finite=None))
wrong(check_training_step, "a loss of inf", "isfinite")(a_step("zero", "loss", "backward", "step", finite="isnan"))
for words, mistaken in {
    "added up": lambda model, x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum"),
    "softmax": lambda model, x, y: F.cross_entropy(model(x).softmax(-1).flatten(0, 1), y.flatten()),
    "last position": lambda model, x, y: F.cross_entropy(model(x)[:, -1], y[:, -1]),
    "shifted once more": lambda model, x, y: F.cross_entropy(model(x)[:, :-1].flatten(0, 1), y[:, 1:].flatten()),
    "exchanged": lambda model, x, y: loss_of(model, y, x),
    "inputs were scored": lambda model, x, y: loss_of(model, x, x),
    "flatten both": lambda model, x, y: F.cross_entropy(model(x), y),
    "different orders": lambda model, x, y: F.cross_entropy(model(x).transpose(0, 1).flatten(0, 1), y.flatten()),
    "minus is missing": lambda model, x, y: -loss_of(model, x, y),
}.items():
    wrong(check_training_step, words)(a_step("zero", "loss", "backward", "step", loss_of=mistaken))


@wrong(check_training_step, "with its graph", "no_grad()")
def step_without_a_graph(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    with torch.no_grad():
        loss = loss_of(model, inputs, targets)
    loss.backward()
    optimizer.step()
    return loss.item()


@wrong(check_training_step, "with its graph", ".item()")
def step_with_item_too_early(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets).item()
    loss.backward()
    optimizer.step()
    return loss


@wrong(check_training_step, "after the step")
def step_measured_afterwards(model, optimizer, inputs, targets):
    step_as_in_the_lesson(model, optimizer, inputs, targets)
    return loss_of(model, inputs, targets).item()


@wrong(check_training_step, "a loss of nan", "None came back")
def step_that_returns_nothing_for_nan(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets)
    if loss.isfinite():
        loss.backward()
        optimizer.step()
        return loss.item()


@wrong(check_training_step, "a loss of nan", "ValueError")
def step_that_raises(model, optimizer, inputs, targets):
    if not loss_of(model, inputs, targets).isfinite():
        raise ValueError("no finite loss")
    return step_as_in_the_lesson(model, optimizer, inputs, targets)


@wrong(check_training_step, "a loss of nan", "isfinite")
def step_that_looks_too_late(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets)
    loss.backward()
    optimizer.step()
    if not loss.isfinite():
        return loss.item()
    return loss.item()


@wrong(check_training_step, "parentheses")
def step_not_called(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets)
    if loss.isfinite():
        loss.backward()
        optimizer.step  # noqa: B018
    return loss.item()


@wrong(check_training_step, "backward() is called more than once")
def step_with_two_backwards(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets)
    if loss.isfinite():
        loss.backward(retain_graph=True)
        loss.backward()
        optimizer.step()
    return loss.item()


@wrong(check_training_step, "times as long")
def step_on_a_scaled_loss(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    loss = loss_of(model, inputs, targets)
    if loss.isfinite():
        (loss / len(inputs)).backward()
        optimizer.step()
    return loss.item()


# 5.3 a look that changes nothing

@right(check_evaluate)
def evaluate_in_a_fork(model, loader, batch_loss):
    was, total, tokens = model.training, 0.0, 0
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        for inputs, targets in loader:
            total += batch_loss(inputs, targets, model).item() * targets.numel()
            tokens += targets.numel()
    model.train(was)
    return total / tokens


@right(check_evaluate)
def evaluate_with_the_state_put_back(model, loader, batch_loss):
    state, modes = torch.get_rng_state(), {m: m.training for m in model.modules()}
    try:
        model.eval()
        with torch.inference_mode():
            pairs = [(batch_loss(x, y, model), x.numel()) for x, y in loader]
        return sum(loss * n for loss, n in pairs) / sum(n for _, n in pairs)
    finally:
        torch.set_rng_state(state)
        for m, mode in modes.items():
            m.training = mode


@right(check_evaluate)
@torch.no_grad()
def evaluate_a_copy(model, loader, batch_loss):
    calm, losses, sizes = copy.deepcopy(model).eval(), [], []
    with torch.random.fork_rng(devices=[]):
        for x, y in list(loader):
            losses.append(batch_loss(x, y, calm))
            sizes.append(len(x))
    return (torch.stack(losses) * torch.tensor(sizes)).sum() / sum(sizes)


@right(check_evaluate)
def evaluate_with_two_endings(model, loader, batch_loss):
    training = model.training
    with torch.random.fork_rng(), torch.no_grad():
        model.train(False)
        total = sum(float(batch_loss(x, y, model)) * y.numel() for x, y in loader)
        tokens = sum(y.numel() for _, y in loader)
    if training:
        model.train()
    else:
        model.eval()
    return total / tokens


def an_evaluation(*, before=lambda model: model.eval(), graph=False, fork=True, after=lambda model, was: model.train(was),
                  mean=lambda losses, sizes: sum(map(float.__mul__, losses, map(float, sizes))) / sum(sizes)):
    """An evaluation made of these parts."""
    def evaluate(model, loader, batch_loss):
        was, state = model.training, torch.get_rng_state()
        before(model)
        with torch.set_grad_enabled(graph):
            pairs = [(batch_loss(x, y, model).item(), y.numel()) for x, y in loader]
        after(model, was)
        if fork:
            torch.set_rng_state(state)
        return mean(*zip(*pairs, strict=True))
    return evaluate


wrong(check_evaluate, "left in eval() mode")(an_evaluation(after=lambda model, was: None))
wrong(check_evaluate, "is in train() mode now")(an_evaluation(after=lambda model, was: model.train()))
wrong(check_evaluate, "left in eval() mode")(an_evaluation(after=lambda model, was: model.train(model.training)))
wrong(check_evaluate, "left in eval() mode")(an_evaluation(after=lambda model, was: model.train(not was)))
wrong(check_evaluate, "not in the dropout inside it", "model.train(mode)")(
    an_evaluation(after=lambda model, was: setattr(model, "training", was)))
wrong(check_evaluate, "dropout was on", "eval()")(an_evaluation(before=lambda model: None))
wrong(check_evaluate, "dropout was on")(an_evaluation(before=lambda model: model.train()))
wrong(check_evaluate, "model.training = False")(an_evaluation(before=lambda model: setattr(model, "training", False)))
wrong(check_evaluate, "no_grad() is missing")(an_evaluation(graph=True))
wrong(check_evaluate, "random state has moved", "fork_rng")(an_evaluation(fork=False))
wrong(check_evaluate, "seed was set")(an_evaluation(fork=False, after=lambda m, was: (m.train(was), torch.manual_seed(123))))
wrong(check_evaluate, "mean of the batches' means")(an_evaluation(mean=lambda losses, sizes: sum(losses) / len(losses)))
wrong(check_evaluate, "means are added up")(an_evaluation(mean=lambda losses, sizes: sum(losses)))
wrong(check_evaluate, "last batch is left out")(an_evaluation(
    mean=lambda losses, sizes: sum(a * b for a, b in zip(losses[:-1], sizes, strict=False)) / sum(sizes[:-1])))
wrong(check_evaluate, "only the last batch")(an_evaluation(mean=lambda losses, sizes: losses[-1]))
wrong(check_evaluate, "None", "return")(an_evaluation(mean=lambda losses, sizes: None))
wrong(check_evaluate, "gradients have changed")(an_evaluation(after=lambda m, was: (m.train(was), m.zero_grad())))
wrong(check_evaluate, "switched off")(an_evaluation(after=lambda m, was: (m.train(was), torch.set_grad_enabled(False))))


@wrong(check_evaluate, "in this order")
def evaluate_with_arguments_exchanged(model, loader, batch_loss):
    return sum(batch_loss(model, x, y).item() for x, y in loader)


@wrong(check_evaluate, "first batch", "inside the loop")
def evaluate_that_returns_in_the_loop(model, loader, batch_loss):
    was, total, tokens = model.training, 0.0, 0
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        for inputs, targets in loader:
            total += batch_loss(inputs, targets, model).item() * targets.numel()
            tokens += targets.numel()
            model.train(was)
            return total / tokens


@wrong(check_evaluate, "left in eval() mode")
def evaluate_that_returns_before_it_puts_back(model, loader, batch_loss):
    was, total, tokens = model.training, 0.0, 0
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        for inputs, targets in loader:
            total += batch_loss(inputs, targets, model).item() * targets.numel()
            tokens += targets.numel()
        return total / tokens
    model.train(was)


@wrong(check_evaluate, "random state has moved")
def evaluate_that_forks_too_late(model, loader, batch_loss):
    was, total, tokens = model.training, 0.0, 0
    model.eval()
    batches = list(loader)
    with torch.no_grad(), torch.random.fork_rng():
        for inputs, targets in batches:
            total += batch_loss(inputs, targets, model).item() * targets.numel()
            tokens += targets.numel()
    model.train(was)
    return total / tokens


@wrong(check_evaluate, "dropout was on")
def evaluate_that_goes_back_after_a_batch(model, loader, batch_loss):
    total, tokens = 0.0, 0
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        for inputs, targets in loader:
            total += batch_loss(inputs, targets, model).item() * targets.numel()
            tokens += targets.numel()
            model.train()
    return total / tokens


# 5.4 the training loop

@right(check_train)
def train_as_in_the_lesson(model, loader, optimizer, batch_loss, num_epochs):
    losses, tokens_seen, seen = [], [], 0
    for _ in range(num_epochs):
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = batch_loss(inputs, targets, model)
            loss.backward()
            optimizer.step()
            seen += inputs.numel()
            losses.append(loss.item())
            tokens_seen.append(seen)
    return losses, tokens_seen


@right(check_train)
def train_that_zeroes_at_the_end(model, loader, optimizer, batch_loss, num_epochs):
    model.train()
    losses, sizes = [], []
    for inputs, targets in chain.from_iterable(loader for _ in range(num_epochs)):
        loss = batch_loss(inputs, targets, model)
        loss.backward()
        optimizer.step()
        model.zero_grad()
        losses.append(loss.detach())
        sizes.append(targets.shape[0] * targets.shape[1])
    return [torch.stack(losses), list(accumulate(sizes))]


class Records(NamedTuple):
    losses: list
    tokens_seen: list


@right(check_train)
def train_with_a_closure(model, loader, optimizer, batch_loss, num_epochs):
    records, seen, epoch = Records([], []), 0, 0
    next(iter(loader))                                         # a look at the first batch
    while epoch < num_epochs:
        epoch += 1
        for inputs, targets in loader:
            def closure(inputs=inputs, targets=targets):
                optimizer.zero_grad()
                loss = batch_loss(inputs, targets, model.train())
                loss.backward()
                return loss

            records.losses.append(float(optimizer.step(closure).detach()))
            seen += targets.numel()
            records.tokens_seen.append(torch.tensor(seen))
            with torch.no_grad():
                batch_loss(inputs, targets, model.eval())      # a look at the model
    return records


@right(check_train)
def train_with_its_own_loss(model, loader, optimizer, batch_loss, num_epochs):
    model.train()
    rows, seen = [], 0
    batches = [batch for epoch in range(num_epochs) for batch in loader]
    for inputs, targets in batches:
        loss = F.cross_entropy(model(inputs).transpose(1, 2), targets)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        for p, grad in zip(model.parameters(), grads, strict=True):
            p.grad = grad
        optimizer.step()
        seen += inputs.shape[0] * inputs.shape[1]
        rows.append((loss.item(), seen))
    return zip(*rows, strict=True)


def a_training(*parts, entry=lambda loss, size: (loss.item(), size), before=(), between=(), passes=lambda loader, n: [loader] * n,
               result=lambda losses, sizes, n: (losses, list(accumulate(sizes)))):
    """A training made of these parts in each step; before: once at the start, between: at the start of each epoch."""
    def train(model, loader, optimizer, batch_loss, num_epochs):
        def do(part):
            nonlocal loss
            if part == "loss":
                loss = batch_loss(inputs, targets, model)
            else:
                {"zero": optimizer.zero_grad, "step": optimizer.step, "backward": lambda: loss.backward(), "train": model.train,
                 "eval": model.eval}[part]()

        loss, entries = None, []
        for part in before:
            do(part)
        for epoch in passes(loader, num_epochs):
            for part in between:
                do(part)
            for inputs, targets in epoch:  # noqa: B007 (the function above reads both)
                for part in parts:
                    do(part)
                entries.append(entry(loss, inputs.numel()))
        return result(*zip(*entries, strict=True), len(loader))
    return train


FOUR = ("zero", "loss", "backward", "step")
right(check_train)(a_training(*FOUR, between=["train"]))
wrong(check_train, "zero_grad() is missing")(a_training("loss", "backward", "step", between=["train"]))
wrong(check_train, "zero_grad()", "once an epoch")(a_training("loss", "backward", "step", between=["train", "zero"]))
wrong(check_train, "zero_grad()", "only at the start")(a_training("loss", "backward", "step", before=["train", "zero"]))
wrong(check_train, "step() comes before backward()")(a_training("zero", "loss", "step", "backward", between=["train"]))
wrong(check_train, "step() comes before backward()")(a_training("step", "zero", "loss", "backward", between=["train"]))
wrong(check_train, "between backward() and step()")(a_training("loss", "backward", "zero", "step", between=["train"]))
wrong(check_train, "step() of the optimizer is never called")(a_training("zero", "loss", "backward", between=["train"]))
wrong(check_train, "backward() is never called")(a_training("zero", "loss", "step", between=["train"]))
wrong(check_train, "model.train() is missing")(a_training(*FOUR))
wrong(check_train, "eval() mode", "model.train()")(a_training(*FOUR, before=["train"], between=["eval"]))
wrong(check_train, "only one epoch")(a_training(*FOUR, between=["train"], passes=lambda loader, n: [loader]))
wrong(check_train, "iterator")(a_training(*FOUR, between=["train"], passes=lambda loader, n: [iter(loader)] * n))
wrong(check_train, "same order")(a_training(*FOUR, between=["train"], passes=lambda loader, n: [list(loader)] * n))
wrong(check_train, "num_epochs")(a_training(*FOUR, between=["train"], passes=lambda loader, n: [loader] * (n + 1)))
wrong(check_train, "left out")(
    a_training(*FOUR, between=["train"], passes=lambda loader, n: [list(loader)[:-1] for _ in range(n)]))
wrong(check_train, "graph", ".item()")(a_training(*FOUR, between=["train"], entry=lambda loss, size: (loss, size)))
wrong(check_train, "model.train() is missing")(a_training("eval", *FOUR))
wrong(check_train, "more than once")(a_training(*FOUR, "step", between=["train"]))
for words, result in {
    "counts steps": lambda losses, sizes, n: (losses, [*range(1, len(sizes) + 1)]),
    "numbers of the steps": lambda losses, sizes, n: (losses, [*range(len(sizes))]),
    "add them up": lambda losses, sizes, n: (losses, sizes),
    "starts again": lambda losses, sizes, n: (losses, [s for i in range(0, len(sizes), n) for s in accumulate(sizes[i : i + n])]),
    "before the batch": lambda losses, sizes, n: (losses, [0, *accumulate(sizes[:-1])]),
    "every batch": lambda losses, sizes, n: (losses, [max(sizes) * (i + 1) for i in range(len(sizes))]),
    "exchanged": lambda losses, sizes, n: (list(accumulate(sizes)), losses),
    "one loss for each epoch": lambda losses, sizes, n: ([sum(losses[i : i + n]) / n for i in range(0, len(losses), n)],
                                                        list(accumulate(sizes))),
    "last batch": lambda losses, sizes, n: (losses[n - 1 :: n], list(accumulate(sizes))),
    "losses of the last epoch": lambda losses, sizes, n: (losses[-n:], list(accumulate(sizes))),
    "added up": lambda losses, sizes, n: (list(accumulate(losses)), list(accumulate(sizes))),
    "running means": lambda losses, sizes, n: ([s / i for i, s in enumerate(accumulate(losses), 1)], list(accumulate(sizes))),
    "only the losses": lambda losses, sizes, n: losses,
    "None came back": lambda losses, sizes, n: None,
    "rounded": lambda losses, sizes, n: ([round(loss, 2) for loss in losses], list(accumulate(sizes))),
    "tokens_seen is one number": lambda losses, sizes, n: (losses, sum(sizes)),
}.items():
    wrong(check_train, words)(a_training(*FOUR, between=["train"], result=result))


@wrong(check_train, "counts windows")
def train_that_counts_windows(model, loader, optimizer, batch_loss, num_epochs):
    model.train()
    losses, tokens_seen, seen = [], [], 0
    for _ in range(num_epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = batch_loss(inputs, targets, model)
            loss.backward()
            optimizer.step()
            seen += len(inputs)
            losses.append(loss.item())
            tokens_seen.append(seen)
    return losses, tokens_seen


@wrong(check_train, "step() comes once an epoch")
def train_with_a_step_an_epoch(model, loader, optimizer, batch_loss, num_epochs):
    model.train()
    losses, tokens_seen, seen = [], [], 0
    for _ in range(num_epochs):
        optimizer.zero_grad()
        for inputs, targets in loader:
            loss = batch_loss(inputs, targets, model)
            loss.backward()
            seen += inputs.numel()
            losses.append(loss.item())
            tokens_seen.append(seen)
        optimizer.step()
    return losses, tokens_seen


@wrong(check_train, "backward() comes once an epoch")
def train_with_a_backward_an_epoch(model, loader, optimizer, batch_loss, num_epochs):
    model.train()
    losses, tokens_seen, seen = [], [], 0
    for _ in range(num_epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = batch_loss(inputs, targets, model)
            seen += inputs.numel()
            losses.append(loss.item())
            tokens_seen.append(seen)
        loss.backward()
        optimizer.step()
    return losses, tokens_seen


@wrong(check_train, "first batch", "return")
def train_that_returns_in_the_loop(model, loader, optimizer, batch_loss, num_epochs):
    losses, tokens_seen, seen = [], [], 0
    for _ in range(num_epochs):
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = batch_loss(inputs, targets, model)
            loss.backward()
            optimizer.step()
            seen += inputs.numel()
            losses.append(loss.item())
            tokens_seen.append(seen)
            return losses, tokens_seen


@wrong(check_train, "after the update")
def train_that_measures_again(model, loader, optimizer, batch_loss, num_epochs):
    losses, tokens_seen, seen = [], [], 0
    for _ in range(num_epochs):
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            batch_loss(inputs, targets, model).backward()
            optimizer.step()
            seen += inputs.numel()
            losses.append(batch_loss(inputs, targets, model).item())
            tokens_seen.append(seen)
    return losses, tokens_seen


@wrong(check_train, "two loops are exchanged")
def train_with_the_loops_exchanged(model, loader, optimizer, batch_loss, num_epochs):
    losses, tokens_seen, seen = [], [], 0
    model.train()
    for inputs, targets in loader:
        for _ in range(num_epochs):
            optimizer.zero_grad()
            loss = batch_loss(inputs, targets, model)
            loss.backward()
            optimizer.step()
            seen += inputs.numel()
            losses.append(loss.item())
            tokens_seen.append(seen)
    return losses, tokens_seen


@wrong(check_train, "exchanged")
def train_on_targets(model, loader, optimizer, batch_loss, num_epochs):
    swapped = [[(y, x) for x, y in loader] for _ in range(num_epochs)]
    model.train()
    losses, seen = [], []
    for inputs, targets in itertools.chain(*swapped):
        optimizer.zero_grad()
        loss = batch_loss(inputs, targets, model)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seen.append(inputs.numel())
    return losses, list(accumulate(seen))


# 5.5 early stopping

@right(check_early_stop)
def early_stop_by_age(val_losses, patience):
    best = 0
    for i, loss in enumerate(val_losses):
        if loss < val_losses[best]:
            best = i
        if i - best == patience:
            return best, i
    return best, len(val_losses) - 1


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
def early_stop_by_search(val_losses, patience):
    clean = [math.inf if math.isnan(loss) else loss for loss in val_losses]
    for stop in range(len(clean)):
        best = clean.index(min(clean[: stop + 1]))
        if stop - best >= patience:
            break
    return torch.tensor([best, stop])


@right(check_early_stop)
def early_stop_recursively(val_losses, patience, best=0, stop=0):
    if stop - best == patience or stop == len(val_losses) - 1:
        return best, stop
    return early_stop_recursively(val_losses, patience, stop + 1 if val_losses[stop + 1] < val_losses[best] else best, stop + 1)


def an_early_stop(*, better=lambda loss, lowest: loss < lowest, reset=lambda bad: 0, enough=lambda bad, patience: bad >= patience,
                  first=math.inf, previous=False, end=lambda best, n: (best, n - 1), result=lambda best, i, losses: (best, i)):
    """Early stopping made of these parts."""
    def early_stop(val_losses, patience):
        lowest, best, bad = first, 0, 0
        for i, loss in enumerate(val_losses):
            if better(loss, lowest):
                lowest, best, bad = loss, i, reset(bad)
            else:
                bad += 1
                if enough(bad, patience):
                    return result(best, i, val_losses)
            if previous:
                lowest = loss
        return end(best, len(val_losses))
    return early_stop


right(check_early_stop)(an_early_stop())
wrong(check_early_stop, "too late")(an_early_stop(enough=lambda bad, patience: bad > patience))
wrong(check_early_stop, "too early")(an_early_stop(enough=lambda bad, patience: bad >= patience - 1))
wrong(check_early_stop, "one before it", "lowest so far")(an_early_stop(previous=True))
wrong(check_early_stop, "not reset")(an_early_stop(reset=lambda bad: bad))
wrong(check_early_stop, "one evaluation too early")(an_early_stop(reset=lambda bad: 1))
wrong(check_early_stop, "highest")(an_early_stop(better=lambda loss, lowest: loss > lowest, first=-math.inf))
wrong(check_early_stop, "equals the lowest")(an_early_stop(better=lambda loss, lowest: loss <= lowest))
wrong(check_early_stop, "nan is taken for a lower loss")(an_early_stop(better=lambda loss, lowest: not loss >= lowest))
wrong(check_early_stop, "nan, and a loss that only equals")(an_early_stop(better=lambda loss, lowest: not loss > lowest))
wrong(check_early_stop, "starts at 0")(an_early_stop(first=0.0))
wrong(check_early_stop, "patience is not used")(an_early_stop(enough=lambda bad, patience: True))
wrong(check_early_stop, "never stops early", "None")(an_early_stop(end=lambda best, n: (best, None)))
wrong(check_early_stop, "never stops early", "one more")(an_early_stop(end=lambda best, n: (best, n)))
wrong(check_early_stop, "never stops early", "None")(an_early_stop(end=lambda best, n: None))
wrong(check_early_stop, "never stops early", "best")(an_early_stop(end=lambda best, n: (n - 1, n - 1)))
wrong(check_early_stop, "best + patience")(lambda losses, patience: (early_stop_by_age(losses, patience)[0],
                                                                   early_stop_by_age(losses, patience)[0] + patience))
wrong(check_early_stop, "exchanged")(lambda losses, patience: early_stop_by_age(losses, patience)[::-1])
wrong(check_early_stop, "only stop")(lambda losses, patience: early_stop_by_age(losses, patience)[1])
wrong(check_early_stop, "lowest loss itself")(lambda losses, patience: (losses[early_stop_by_age(losses, patience)[0]],
                                                                      early_stop_by_age(losses, patience)[1]))
wrong(check_early_stop, "counted from 1")(lambda losses, patience: tuple(i + 1 for i in early_stop_by_age(losses, patience)))


@wrong(check_early_stop, "never stops", "end the loop")
def early_stop_never(val_losses, patience):
    best = 0
    for i, loss in enumerate(val_losses):
        if loss < val_losses[best]:
            best = i
    return best, i


@wrong(check_early_stop, "whole list")
def early_stop_that_sees_the_future(val_losses, patience):
    _, stop = early_stop_by_age(val_losses, patience)
    return min(range(len(val_losses)), key=lambda i: math.inf if math.isnan(val_losses[i]) else val_losses[i]), stop


@wrong(check_early_stop, "lowest", "argmin")
def early_stop_with_argmin(val_losses, patience):
    for stop in range(len(val_losses)):
        best = torch.tensor(val_losses[: stop + 1]).argmin().item()
        if stop - best >= patience:
            break
    return best, stop


@wrong(check_early_stop, "one before it")
def early_stop_after_rises_in_a_row(val_losses, patience):
    rises, best = 0, 0
    for i in range(1, len(val_losses)):
        rises = rises + 1 if val_losses[i] > val_losses[i - 1] else 0
        if val_losses[i] < val_losses[best]:
            best = i
        if rises == patience:
            return best, i
    return best, len(val_losses) - 1


@wrong(check_early_stop, "nan is passed over")
def early_stop_that_skips_nan(val_losses, patience):
    best, bad = 0, 0
    for i, loss in enumerate(val_losses):
        if math.isnan(loss):
            continue
        best, bad = (i, 0) if i == 0 or loss < val_losses[best] else (best, bad + 1)
        if bad == patience:
            return best, i
    return best, len(val_losses) - 1


@wrong(check_early_stop, "one too small")
def early_stop_with_shifted_indices(val_losses, patience):
    lowest, best, bad = val_losses[0], 0, 0
    for i, loss in enumerate(val_losses[1:]):
        lowest, best, bad = (loss, i, 0) if loss < lowest else (lowest, best, bad + 1)
        if bad == patience:
            return best, i
    return best, len(val_losses) - 1


@wrong(check_early_stop, "counted from the start")
def early_stop_once_the_patience_is_over(val_losses, patience):
    best = 0
    for i, loss in enumerate(val_losses):
        if loss < val_losses[best]:
            best = i
        elif i >= patience:
            return best, i
    return best, len(val_losses) - 1


@wrong(check_early_stop, "IndexError")
def early_stop_that_needs_two(val_losses, patience):
    if val_losses[1] < val_losses[0]:
        pass
    return early_stop_by_age(val_losses, patience)


# 5.6 gradient clipping

@right(check_clip_gradients)
def clip_by_torch(parameters, max_norm):
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)


@right(check_clip_gradients)
def clip_with_loops(parameters, max_norm):
    total = 0.0
    for p in parameters:
        if p.grad is not None:
            total += p.grad.pow(2).sum().item()
    norm = math.sqrt(total)
    if norm > max_norm:
        for p in parameters:
            if p.grad is not None:
                p.grad = p.grad * (max_norm / norm)
    return norm


@right(check_clip_gradients)
def clip_with_one_row(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.cat([g.reshape(-1) for g in grads]).double())
    for g in grads:
        g *= min(1.0, max_norm / norm)
    return norm


@right(check_clip_gradients)
def clip_with_norms(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([g.norm() for g in grads]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for g in grads:
        g.mul_(scale)
    return norm.item()


def a_clipping(*, norm=lambda grads: sum(g.square().sum().item() for g in grads) ** 0.5,
               factor=lambda norm, max_norm: max_norm / norm if norm > max_norm else 1.0,
               change=lambda g, factor, max_norm: g * factor, result=lambda norm, factor, grads: norm):
    """Clipping made of these parts."""
    def clip_gradients(parameters, max_norm):
        used = [p for p in parameters if p.grad is not None]
        before = norm([p.grad for p in used])
        times = factor(before, max_norm)
        for p in used:
            p.grad.copy_(change(p.grad, times, max_norm))
        return result(before, times, [p.grad for p in used])
    return clip_gradients


right(check_clip_gradients)(a_clipping())
for words, parts in {
    "own norm": dict(change=lambda g, factor, max_norm: g * min(1.0, max_norm / max(g.norm().item(), 1e-9))),
    "clamped": dict(change=lambda g, factor, max_norm: g.clamp(-max_norm, max_norm)),
    "scaled up": dict(factor=lambda norm, max_norm: max_norm / (norm + 1e-6)),
    "added up; square": dict(norm=lambda grads: sum(g.norm().item() for g in grads)),
    "root is missing": dict(norm=lambda grads: sum(g.square().sum().item() for g in grads)),
    "norm after clipping": dict(result=lambda norm, factor, grads: torch.cat([g.flatten() for g in grads]).norm()),
    "factor came back": dict(result=lambda norm, factor, grads: factor),
    "None": dict(result=lambda norm, factor, grads: None),
    "write the scaled ones back": dict(change=lambda g, factor, max_norm: g),
    "upside down": dict(factor=lambda norm, max_norm: norm / max_norm if norm > max_norm else 1.0),
    "becomes 1": dict(factor=lambda norm, max_norm: 1 / norm if norm > max_norm else 1.0),
    "multiplied by max_norm": dict(factor=lambda norm, max_norm: max_norm if norm > max_norm else 1.0),
    "absolute values": dict(norm=lambda grads: sum(g.abs().sum().item() for g in grads)),
    "largest number": dict(norm=lambda grads: max(g.abs().max().item() for g in grads)),
    "largest norm": dict(norm=lambda grads: max(g.norm().item() for g in grads)),
    "last gradient alone": dict(norm=lambda grads: [g.norm().item() for g in grads][-1]),
    "set to 0": dict(factor=lambda norm, max_norm: 0.0 if norm > max_norm else 1.0),
    "norm of each gradient": dict(result=lambda norm, factor, grads: [g.norm() / factor for g in grads]),
    "0 was divided": dict(factor=lambda norm, max_norm: torch.tensor(max_norm if norm > max_norm else norm) / norm),
    "ZeroDivisionError": dict(factor=lambda norm, max_norm: min(1.0, max_norm / norm)),
}.items():
    wrong(check_clip_gradients, words)(a_clipping(**parts))


@wrong(check_clip_gradients, "None", "pass over")
def clip_that_meets_none(parameters, max_norm):
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad *= min(1.0, max_norm / norm)
    return norm


@wrong(check_clip_gradients, "weights")
def clip_weights(parameters, max_norm):
    norm = torch.cat([p.detach().flatten() for p in parameters]).norm()
    for p in parameters:
        p.data *= min(1.0, max_norm / norm)
    return norm


@wrong(check_clip_gradients, "norm of the weights")
def clip_by_the_norm_of_the_weights(parameters, max_norm):
    norm = torch.cat([p.detach().flatten() for p in parameters]).norm()
    for p in parameters:
        if p.grad is not None:
            p.grad *= min(1.0, max_norm / norm)
    return norm


@wrong(check_clip_gradients, "as soon as it is added")
def clip_on_the_way(parameters, max_norm):
    total = 0.0
    for p in parameters:
        if p.grad is not None:
            total += p.grad.square().sum().item()
            p.grad *= min(1.0, max_norm / max(total, 1e-9) ** 0.5)
    return total**0.5


@wrong(check_clip_gradients, "first gradient alone", "go on")
def clip_that_breaks_at_none(parameters, max_norm):
    total = 0.0
    for p in parameters:
        if p.grad is None:
            break
        total += p.grad.square().sum()
    norm = total.sqrt()
    for p in parameters:
        if p.grad is not None and norm > max_norm:
            p.grad *= max_norm / norm
    return norm


@wrong(check_clip_gradients, "write the scaled ones back")
def clip_without_writing(parameters, max_norm):
    norm = sum(p.grad.square().sum() for p in parameters if p.grad is not None).sqrt()
    for p in parameters:
        if p.grad is not None and norm > max_norm:
            p.grad * (max_norm / norm)
    return norm


# Found by answers of others

@wrong(check_training_step, "under the guard")
def training_step_that_steps_without_a_guard(model, optimizer, inputs, targets):
    loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
    if loss.isfinite():
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()
    return loss.item()


@wrong(check_early_stop, "fixed number")
def early_stop_that_starts_at_ten(val_losses, patience):
    lowest, best = 10.0, 0
    for i, loss in enumerate(val_losses):
        if loss < lowest:
            lowest, best = loss, i
        if i - best == patience:
            return best, i
    return best, len(val_losses) - 1


@wrong(check_early_stop, "in place")
def early_stop_that_replaces_nan(val_losses, patience):
    best = 0
    for i, loss in enumerate(val_losses):
        if loss != loss:
            val_losses[i] = float("inf")
        if val_losses[i] < val_losses[best]:
            best = i
        if i - best == patience:
            break
    return best, i
