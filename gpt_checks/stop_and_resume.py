"""The exercises of lesson 06 as data: stop and resume."""
import contextlib
import copy
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from gpt_checks.core import Draw, as_tensor, short, want_that
from gpt_checks.observe import Model, Words, a_list, listed, random_state_beside
from gpt_checks.spec import Facts, exchange, spec

# 6.1
TORN = "the page is torn"      # what `look` and `write` stop with, where they stop


def let_through(answer: Callable, *args: Any) -> tuple[Any, bool]:
    """(what an answer gives, whether an error of ours came through it instead)."""
    try:
        return answer(*args), False
    except Exception as error:
        if TORN not in str(error):
            raise
        return None, True


def undisturbed(look, model, *, enter=nn.Module.eval, graph=False, call=lambda look: look(), leave=nn.Module.train,
                restore=torch.set_rng_state, at_an_error=("mode", "state"), in_the_end=("mode", "state"), swallow=False,
                then=lambda failed: None):
    mode, state, failed = model.training, torch.get_rng_state(), True
    try:
        enter(model)
        with torch.set_grad_enabled(graph):
            got = call(look)
        failed = False
        return got
    except Exception:
        if not swallow:
            raise
    finally:
        put_back = at_an_error if failed else in_the_end
        if "mode" in put_back:
            leave(model, mode)
        if "state" in put_back:
            restore(state)
        then(failed)


def looks(draw: Draw) -> Iterator:
    """A model in train() or eval() mode, what a look sees, and whether it stops with an error."""
    for case, mode, fails in ((None, True, False), ("a model in eval() mode", False, False),
                              ("a look that stops with an error", True, True)):
        yield case, (Model.drawn(draw, 5), mode, draw.uniform(2, 9), draw.randint(1, 10**9), fails)


def a_look_inside(answer: Callable, model: Model, mode: bool, seen: float, seed: int, fails: bool) -> Facts:
    """What the answer lets a look see, and what it leaves behind."""
    model, inside = model.fresh().train(mode), []

    def look():
        parts = {part.training for part in (model, model.drop)}
        inside.append(("train()" if parts == {True} else "eval()" if parts == {False} else "eval() outside, dropout on",
                       "on" if torch.is_grad_enabled() else "off"))
        torch.rand(3)
        if fails:
            raise OSError(TORN)
        return seen

    torch.manual_seed(seed)
    torch.rand(3)
    state = torch.get_rng_state()
    with torch.enable_grad():
        got, failed = let_through(answer, look, model)
        on = torch.is_grad_enabled()
    outer, inner = ("train()" if part.training else "eval()" for part in (model, model.drop))
    mode_inside, switch_inside = inside[0] if inside else ("none", "none")
    return Facts({
        "what happens to look": f"called {len(inside)} times" if inside else "given back" if callable(got) else "nothing",
        "the mode, in the look,": mode_inside, "the switch for gradients, in the look,": switch_inside,
        **({"the error of the look": "let through" if failed else "swallowed"} if fails else {"what came back": got}),
        "the mode, afterwards,": outer if outer == inner else f"{outer}, with dropout in {inner}",
        "the random state, afterwards,": random_state_beside(state, seed),
        "the switch for gradients, afterwards,": "on" if on else "off"})


check_undisturbed = spec(
    "6.1", "a look that leaves no trace", see=("06", "Does evaluating change anything?"), right=undisturbed, cases=looks,
    use=a_look_inside,
    doc="undisturbed(look, model): what look() gives, seen without dropout and gradients; mode and random state as before.",
    mistakes=exchange("enter", {
        "dropout is on while look() looks: call model.eval() before it": [lambda model: None, nn.Module.train],
        "model.training = False reaches the model alone, not the dropout in it: call model.eval()":
            lambda model: setattr(model, "training", False),
    }) | exchange("graph", {"torch.no_grad() is missing around look(), so it builds graphs that nobody needs": True,
    }) | exchange("call", {
        "look itself came back; call it: look()": lambda look: look,
        "look() is called twice; keep what the first call gives, and return that": lambda look: (look(), look())[1],
        "look() is called, and what it gives is not returned": lambda look: (look(), None)[1],
    }) | exchange("leave", {
        "the model is left in eval() mode, so training would go on without dropout": lambda model, mode: None,
        "the model came in eval() mode and is in train() mode now: note model.training first, and put back what it was":
            lambda model, mode: model.train(),
        "the mode was put back in the model alone, not in the dropout in it: call model.train(mode)":
            lambda model, mode: setattr(model, "training", mode),
    }) | exchange("restore", {
        "the random state has moved: torch.random.fork_rng() around look() puts it back": lambda state: None,
        "a seed was set, so training would repeat random numbers: torch.random.fork_rng() puts back the state that was":
            [lambda state: torch.manual_seed(123), lambda state: torch.manual_seed(torch.initial_seed())],
    }) | exchange("at_an_error", {
        "where look() stops with an error, the mode is not put back: what must happen in any case belongs under `finally:`":
            ("state",),
        "where look() stops with an error, the random state is not put back: fork_rng() does that, or `finally:`": ("mode",),
        "where look() stops with an error, nothing is put back: what must happen in any case belongs under `finally:`": (),
    }) | exchange("in_the_end", {
        "mode and random state are put back only where look() stops with an error; `finally:` does it in any case": (),
    }) | exchange("swallow", {
        "the error of look() is swallowed, so nobody learns of it: `try` and `finally`, without `except`": True,
    }) | exchange("then", {
        "gradients stay switched off, so the next backward() fails: `with torch.no_grad():` ends with its block":
            lambda failed: torch.set_grad_enabled(False),
        "where look() stops with an error, gradients stay switched off: `with torch.no_grad():` ends with its block in any case":
            lambda failed: failed and torch.set_grad_enabled(False)}))


# 6.2
class Momentum:
    """Gradient descent with momentum; its state_dict() holds the tensors themselves, as those of PyTorch's optimizers do."""

    def __init__(self, model: nn.Module, lr: float):
        self.params, self.lr = list(model.parameters()), lr
        self.moments = [torch.zeros_like(p) for p in self.params]
        self.param_groups = [{"params": self.params, "lr": lr}]
        self.state = {p: {"momentum": moment} for p, moment in zip(self.params, self.moments, strict=True)}

    def zero_grad(self, set_to_none: bool = True) -> None:
        for p in self.params:
            p.grad = None

    def step(self, draw: Draw) -> None:
        """One step with made-up gradients, smaller than the one before it."""
        with torch.no_grad():
            for p, moment in zip(self.params, self.moments, strict=True):
                moment.mul_(0.9).add_(draw.normal(*p.shape))
                p.sub_(self.param_groups[0]["lr"] * moment)
        self.param_groups[0]["lr"] *= 0.9

    def state_dict(self) -> dict:
        numbers = list(range(len(self.params)))
        return {"state": {i: {"momentum": self.moments[i]} for i in numbers},
                "param_groups": [{**self.param_groups[0], "params": numbers}]}


ASKED = ("model", "optimizer", "random", "step")


def snapshot(model, optimizer, step, *, weights=nn.Module.state_dict, copy_weights=copy.deepcopy,
             moments=lambda optimizer: optimizer.state_dict(), copy_moments=copy.deepcopy, random=torch.get_rng_state,
             number=lambda step: step, then=lambda model: None, keys=ASKED):
    kept = {"model": copy_weights(weights(model)), "optimizer": copy_moments(moments(optimizer)), "random": random(),
            "step": number(step)}
    then(model)
    return {key: kept[key] for key in keys}


def moments_of_a_training(draw: Draw) -> Iterator:
    """A model, what draws its gradients, the number of the step, and a seed."""
    for _ in range(2):
        yield None, (draw.normal(draw.randint(2, 4), 3), draw.randint(1, 10**9), draw.randint(5, 99), draw.uniform(0.1, 0.3))


def equal(one: Any, other: Any) -> bool:
    """Whether two nested dicts and lists hold the same numbers."""
    if isinstance(other, dict):
        return isinstance(one, dict) and one.keys() == other.keys() and all(equal(one[key], other[key]) for key in other)
    if isinstance(other, list):
        return isinstance(one, list | tuple) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) and one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


def told(kept: Any, then: Any, now: Any) -> str:
    """What was kept, in words, beside what there was at that moment and what there is now."""
    n = len(then)
    if not isinstance(kept, dict):
        return f"a {type(kept).__name__}"
    then, now = ({key: some[key] for key in kept if key in some} for some in (then, now))
    when = "that moment" if equal(kept, then) else "now, steps later" if equal(kept, now) else "neither that moment nor now"
    keys = ["a tensor" if isinstance(key, torch.Tensor) else key for key in kept]
    return f"as of {when}" + f", with the keys {short(keys)} alone" * (len(then) < n)


def a_snapshot(answer: Callable, weight: torch.Tensor, seed: int, step: int, lr: float) -> Facts:
    """What an answer keeps of a run that goes on."""
    draw = Draw(seed)
    model = nn.Linear(*weight.shape[::-1])
    model.weight.data, model.bias.data = weight.clone(), weight[:, 0].clone()
    model.register_buffer("mask", weight > 0)
    optimizer = Momentum(model, lr)
    optimizer.step(draw)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    torch.manual_seed(seed)
    torch.rand(3)
    state = torch.get_rng_state()
    then = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    got = answer(model, optimizer, step)
    training = next((words for words, seen in {
        "moved in its random numbers": not torch.equal(torch.get_rng_state(), state),
        "changed in its weights": not equal(model.state_dict(), then[0]),
        "in eval() mode": not model.training,
        "changed in its gradients": any(p.grad is None or not p.grad.eq(1).all() for p in model.parameters()),
    }.items() if seen), "undisturbed")
    optimizer.step(draw)
    torch.rand(3)
    kept = got if isinstance(got, dict) else {}
    number = kept.get("random")
    a_state = isinstance(number, torch.Tensor) and number.dtype == state.dtype and number.shape == state.shape
    return Facts({
        "the dict": f"one with the keys {', '.join(sorted(map(str, kept)))}" if isinstance(got, dict) else
            None if got is None else f"a {type(got).__name__}",
        "the weights that are kept,": told(kept.get("model"), then[0], model.state_dict()),
        "what is kept of the optimizer,": told(kept.get("optimizer"), then[1], optimizer.state_dict()),
        "what is kept of the random state,": "the state of that moment" if equal(number, state) else
            "the seed" if equal(number, seed) else "another state" if a_state else
            f"a {type(number).__name__}, and not the state of that moment",
        "the step": kept.get("step"),
        "the training": training})


THEMSELVES = "training goes on to change them: copy.deepcopy(…)"
check_snapshot = spec(
    "6.2", "what must be kept", see=("06", "Stop, and go on"), right=snapshot, cases=moments_of_a_training, use=a_snapshot,
    doc="snapshot(model, optimizer, step): a dict of copies from which training can go on: model, optimizer, random, step.",
    mistakes=exchange("copy_weights", {
        "the weights changed in what you kept: state_dict() holds the tensors themselves, and " + THEMSELVES: [lambda x: x, dict],
    }) | exchange("copy_moments", {
        "the moments changed in what you kept: the optimizer's state_dict() holds the tensors themselves, and " + THEMSELVES:
            [lambda x: x, dict],
    }) | {
        "weights and moments changed in what you kept: state_dict() holds the tensors themselves, and " + THEMSELVES:
            [{"copy_weights": some, "copy_moments": some} for some in (lambda x: x, dict)],
    } | exchange("weights", {
        "the model itself was kept; keep its state_dict()": lambda model: model,
        "the weights came as a list, without their names; keep model.state_dict()": lambda model: list(model.parameters()),
        "parameters are not all: a model may have buffers, too, such as a mask; keep model.state_dict()":
            lambda model: dict(model.named_parameters()),
    }) | exchange("moments", {
        "param_groups holds the settings alone; the moments are in optimizer.state_dict(), too":
            [lambda optimizer: optimizer.state_dict()["param_groups"], lambda optimizer: optimizer.param_groups,
             lambda optimizer: {"param_groups": optimizer.state_dict()["param_groups"]}],
        "the moments were kept without the settings, such as the learning rate; keep all of optimizer.state_dict()":
            [lambda optimizer: optimizer.state_dict()["state"], lambda optimizer: {"state": optimizer.state_dict()["state"]},
             lambda optimizer: optimizer.state],
        "the optimizer itself was kept; keep its state_dict()": lambda optimizer: optimizer,
        "the model's state_dict() stands in the optimizer's place": lambda optimizer: dict.fromkeys(("weight", "bias", "mask")),
    }) | exchange("random", {
        "a seed says where the random numbers began, not where they are now: torch.get_rng_state()": torch.initial_seed,
        "a random number was kept; keep the state that the next ones come from: torch.get_rng_state()": lambda: torch.rand(1),
        "torch.get_rng_state itself was kept; call it: torch.get_rng_state()": lambda: torch.get_rng_state,
        "torch.seed() draws a new seed; keep the state there is: torch.get_rng_state()": torch.seed,
        "a random state was kept, but not the one of that moment: torch.get_rng_state(), before a number is drawn or a seed set":
            lambda: (torch.rand(1), torch.get_rng_state())[1],
    }) | exchange("number", {
        "the step is one too large; keep the number that was given": lambda step: step + 1,
        "the step is one too small; keep the number that was given": lambda step: step - 1,
    }) | exchange("then", {
        "the training's weights were changed; only look at them": lambda model: model.weight.data.zero_(),
        "the model is left in eval() mode, so training would go on without dropout; only look at it": nn.Module.eval,
        "the training's gradients were changed; only look at them": nn.Module.zero_grad,
    }) | exchange("keys", {
        "the optimizer is not kept, so its moments would start from zero again": ("model", "random", "step"),
        "the random state is not kept, so dropout would draw other numbers": ("model", "optimizer", "step"),
        "the step is not kept, so nobody knows where to go on": ("model", "optimizer", "random"),
        "weights alone are no training: optimizer, random state and step are missing": ("model",),
    }))


# 6.3
def order_of(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


def one_generator(n, seed, epoch):
    """The epoch's order, where one generator goes through all epochs."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=generator).tolist() for _ in range(epoch + 1)][-1]


def batches_left(n_batches, steps, seed, *, place=divmod, order=lambda n, seed, epoch: order_of(n, seed + epoch),
                 rest=lambda order, done: order[done:], instead=None):
    epoch, done = place(steps, n_batches)
    return instead(n_batches, done, seed + epoch) if instead else rest(order(n_batches, seed, epoch), done)


def places_in_the_data(draw: Draw) -> Iterator:
    """(n_batches, steps, seed): in the first epoch, in a later one, between two, and after a single step."""
    n, seed = draw.randint(7, 9), draw.randint(100, 5000)
    for case, epoch, done in ((None, 2, 4), ("the first epoch", 0, 3), ("the end of an epoch", 3, 0), ("a single step", 0, 1)):
        yield case, (n, epoch * n + done, seed)


def a_rest(answer: Callable, *args: Any) -> Facts:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    got = listed(answer, *args)
    same = torch.equal(torch.get_rng_state(), state)
    return Facts({"the list of batches": got, "the random state, afterwards,": "as it was" if same else "moved"})


check_batches_left = spec(
    "6.3", "where were we?", see=("06", "Stop, and go on"), right=batches_left, cases=places_in_the_data, use=a_rest, also=a_list,
    doc="batches_left(n_batches, steps, seed): the batches that the epoch still has after so many steps, in their order.",
    mistakes=exchange("order", {
        "every epoch got the order of the first; an epoch's own seed is seed + epoch": lambda n, seed, epoch: order_of(n, seed),
        "epochs are counted from 1; the first one, with the seed itself, is epoch 0":
            lambda n, s, epoch: order_of(n, s + epoch + 1),
        "one generator goes through all epochs; each epoch has its own, with the seed seed + epoch": one_generator,
        "nothing is shuffled: an epoch's order is torch.randperm(n_batches, generator=…)": lambda n, *_: list(range(n)),
        "torch.manual_seed(), or torch.randperm() without a generator, changes the training's random numbers; use a "
        "torch.Generator of your own": lambda n, seed, epoch: (torch.manual_seed(seed + epoch), torch.randperm(n).tolist())[1],
        "torch.randperm() was not given the generator, and draws from the training's random numbers: generator=…":
            lambda n, *_: torch.randperm(n).tolist(),
        "seed and epoch are multiplied; an epoch's seed is seed + epoch": lambda n, seed, epoch: order_of(n, seed * epoch),
    }) | exchange("rest", {
        "those are the batches that are done; those after them are asked": lambda order, done: order[:done],
        "as many batches came back as are left, but from the beginning of the order; those behind the done ones are left":
            lambda order, done: order[:len(order) - done],
        "order[-done:] takes as many batches as are done, from the end; what is left begins at place done":
            lambda order, done: order[-done:],
        "the epoch starts again: the batches that are done are still in the list": lambda order, done: order,
        "the last batch that is done comes once more": lambda order, done: order[max(done - 1, 0):],
        "the first batch that is left is missing": lambda order, done: order[done + 1:],
        "batches with small numbers are left out; done is what stands in the first places of the order, whatever its numbers":
            lambda order, done: [batch for batch in order if batch >= done],
        "the batches are sorted, and lose the epoch's order": lambda order, done: sorted(order[done:]),
        "the batches come in the reverse order": lambda order, done: order[done:][::-1],
        "that is how many are left; the batches themselves are asked, as a list": lambda order, done: len(order) - done,
        "only the next batch came back; all that are left are asked": lambda order, done: order[done:done + 1],
        "the batches' numbers are one too large; they count from 0": lambda order, done: [i + 1 for i in order[done:]],
    }) | exchange("instead", {
        "only what is left was shuffled; shuffle the whole epoch, and leave out the places that are done": [
            lambda n, done, seed: order_of(n - done, seed), lambda n, done, seed: [done + i for i in order_of(n - done, seed)]],
    }) | exchange("place", {
        "the epoch is rounded up; one that has begun, with steps // n_batches before it, has that number":
            lambda steps, n: (-(-steps // n), steps % n),
        "at the end of an epoch nothing is left, and the next one begins: divmod(steps, n_batches) says (epoch, 0) there":
            lambda steps, n: ((steps - 1) // n, (steps - 1) % n + 1) if steps else (0, 0),
        "steps // n_batches and steps % n_batches are exchanged": lambda steps, n: divmod(steps, n)[::-1],
        "the number of all steps was taken for the epoch's; steps // n_batches is the epoch": lambda s, n: (s, s % n),
        "order[steps:] counts the steps of earlier epochs, too; what is done in this one is steps % n_batches":
            lambda s, n: (s // n, s),
    }))


# 6.4
def is_due(step, num_steps, eval_freq, evaluated, *, every=lambda step, n, f, evaluated: step % f == 0,
           last=lambda step, n: step == n - 1, done=lambda step, evaluated, f: step in evaluated,
           join=lambda every, last, done: (every or last) and not done):
    return join(every(step, num_steps, eval_freq, evaluated), last(step, num_steps), done(step, evaluated, eval_freq))


def stops(draw: Draw) -> Iterator:
    """(num_steps, eval_freq, the last step in the file, the steps whose evaluation is in the file)."""
    f = draw.randint(4, 6)
    n, whole = 4 * f + draw.randint(2, f - 1), 3 * f + 1
    yield None, (n, f, 2 * f + 1, [0, f, 2 * f])
    yield "the last step is one of those", (whole, f, f + 1, [0, f])
    yield "a run that was stopped right after an evaluation", (n, f, 2 * f, [0, f, 2 * f])
    yield "a run that was stopped between a step and its evaluation", (n, f, 2 * f, [0, f])
    yield "a run that was stopped after the last evaluation", (n, f, n - 1, [0, f, 2 * f, 3 * f, 4 * f, n - 1])
    yield "a run that was over, and is made longer", (n, f, 2 * f + 1, [0, f, 2 * f, 2 * f + 1])
    yield "a run that goes back to an older file", (n, f, f, [0, f, 2 * f])
    yield "a run of which no evaluation is known", (n, f, f + 1, [])


def evaluations(answer: Callable, num_steps: int, eval_freq: int, last: int, evaluated: list) -> Facts:
    """Where a run is evaluated, in one go, and when it goes on from a file."""
    def evaluated_from(first, done):
        done, new = list(done), []
        for step in range(first, num_steps):
            got = answer(step, num_steps, eval_freq, list(done))
            one = as_tensor(got)
            want_that(got is not None, "None came back: is a `return` missing?")
            want_that(one is not None and one.numel() == 1 and one.dtype == torch.bool,
                      f"for step {step}, {short(got)} came back; need True or False")
            if one.item():
                new.append(step)
                done.append(step)
        return ", ".join(map(str, new))

    return Facts({"the list of steps evaluated in one go": evaluated_from(0, []),
                  "the list of steps evaluated after the stop": evaluated_from(last, evaluated)})


check_is_due = spec(
    "6.4", "is it due?", see=("06", "The loop for real work"), right=is_due, cases=stops, use=evaluations,
    doc="is_due(step, num_steps, eval_freq, evaluated): whether to evaluate after this step, each once, stopped or not.",
    mistakes=exchange("done", {
        "a step is evaluated twice: whoever goes on from a file must see that `evaluated` has it already": lambda *_: False,
        "nothing is evaluated any more once something has been": lambda step, evaluated, f: bool(evaluated),
        "`evaluated` is read the wrong way round: what stands there is done": lambda step, evaluated, f: step not in evaluated,
        "only the last step in `evaluated` is looked at; ask whether the step is anywhere in it":
            lambda s, done, f: s in done[-1:],
        "how many evaluations there were does not say which; ask whether the step is in `evaluated`":
            lambda step, evaluated, f: step // f < len(evaluated),
    }) | exchange("join", {
        "`and` stands in the place of `or`: the steps that eval_freq divides are evaluated, and the last one, too":
            lambda every, last, done: every and last and not done,
        "the last step is evaluated twice: that may stand in `evaluated`, too, so parentheses belong around the `or`":
            lambda every, last, done: (every and not done) or last,
        "parentheses are missing: `and` comes before `or`, so a step is evaluated twice":
            lambda every, last, done: every or (last and not done),
    }) | exchange("last", {
        "the last step is not evaluated: its number is num_steps - 1": [lambda step, n: False, lambda step, n: step == n],
        "the step before the last is evaluated as if it were the last: that has the number num_steps - 1":
            lambda step, n: step == n - 2,
        "the step before the last is evaluated, too; the last alone, num_steps - 1, is one of those in any case":
            lambda step, n: step >= n - 2,
    }) | exchange("every", {
        "steps are numbered from 0: those with step % eval_freq == 0 are evaluated": lambda step, n, f, _: (step + 1) % f == 0,
        "step 0 is not evaluated; eval_freq divides 0, too": lambda step, n, f, _: step and step % f == 0,
        "the test is the wrong way round: step % eval_freq is 0 where the evaluation is due": lambda step, n, f, _: step % f != 0,
        "the division is the wrong way round: eval_freq divides the step, step % eval_freq == 0":
            [lambda step, n, f, _: step == 0 or f % step == 0, lambda step, n, f, _: step and f % step == 0],
        "step // eval_freq, the whole part, is 0 for the first steps; the rest of the division is step % eval_freq":
            lambda step, n, f, _: step // f == 0,
        "every step is evaluated; ask for step % eval_freq == 0": lambda step, n, f, _: True,
        "only the last step is evaluated, and those with step % eval_freq == 0 are not": lambda step, n, f, _: False,
        "eval_freq is taken for the number of evaluations; it is the number of steps from one to the next":
            lambda step, n, f, _: step % (n // f) == 0,
        "only the first of them is evaluated: step == eval_freq for step % eval_freq == 0": lambda step, n, f, _: step in (0, f),
        "that counts from the last evaluation; ask for step % eval_freq == 0": [
            lambda step, n, f, evaluated: step - (evaluated or [-f])[-1] >= f,
            lambda step, n, f, evaluated: step % f == 0 and not any(step - e < f for e in evaluated)],
        "where `evaluated` is empty, every step is evaluated; ask for step % eval_freq == 0 there, too":
            lambda step, n, f, evaluated: not evaluated or step % f == 0,
    }))


# 6.5
def diverged(losses, vocab_size, patience, *, line=lambda v, losses: math.log(v), no_number=lambda loss: not math.isfinite(loss),
             worse=lambda loss, line: loss > line, learned=False, early=True, given=lambda losses: losses,
             again=lambda bad: 0, over=lambda bad, k: bad >= k, end=lambda i, bad, losses: i, never=lambda losses: None):
    bad, line = 0, line(vocab_size, losses)
    for i, loss in enumerate(given(losses)):
        if no_number(loss) and (learned or early):
            return end(i, 1, losses)
        learned = learned or loss < line
        bad = bad + 1 if learned and worse(loss, line) else again(bad)
        if learned and over(bad, patience):
            return end(i, bad, losses)
    return never(losses)


def trainings(draw: Draw) -> Iterator:
    """Losses above ln V (a, c, and d, above log2 V), below it (z, y, and x, below log10 V), nan, inf; and a patience."""
    for case, letters, patience in (
        (None, "aayyyaaay", 3), ("single losses above ln V", "ayayyaay", 2), ("single losses above ln V", "ayyayayay", 2),
        ("a run that goes well", "yxzzx", 2), ("a model that learns slowly", "aaaayyy", 2), ("patience 1", "ayyayy", 1),
        ("a loss of nan", "ayynyaay", 2), ("a loss of inf", "ayyiyy", 2), ("nan before anything is learned", "anayy", 2),
        ("a row, and nan after it", "ayaadddn", 2), ("losses that rise and rise", "xyyadd", 2), ("two bad losses", "zccy", 2),
    ):
        v = draw.randint(5_000, 20_000)
        levels = {"a": (math.log(v) + 0.2, math.log(v) + 0.8), "c": (11, 12), "d": (math.log2(v) + 1, math.log2(v) + 4),
                  "z": (math.log(v) - 0.3, math.log(v) - 0.2), "y": (math.log(v) - 3, math.log(v) - 0.5), "x": (1, 3)}
        none = {"n": math.nan, "i": math.inf}
        yield case, ([none.get(letter) or draw.uniform(*levels[letter]) for letter in letters], v, patience)


def an_index(answer: Callable, *args: Any) -> Any:
    """What an answer gives, an index or None in words, since None is an answer like others here."""
    got = answer(*args)
    one = as_tensor(got)
    whole = one is not None and one.numel() == 1 and one.dtype in (torch.int64, torch.int32)
    return Words(one.item()) if whole else Words(got) if got is None else got


def first_odd(losses):
    """The index of the first loss that is no finite number, or None."""
    return next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)


GUESSING = "guessing evenly costs ln V nats, math.log(vocab_size)"
NOT_A_NUMBER = "is not noticed: math.isfinite() asks for both nan and infinity"
NEVER = "where the training goes well, None is asked"
check_diverged = spec(
    "6.5", "gone wrong", see=("06", "When training ends early"), right=diverged, cases=trainings, use=an_index, name="the index",
    doc="diverged(losses, vocab_size, patience): the index of the loss at which a training run has gone wrong, or None.",
    mistakes=exchange("line", {
        "a finite loss is never bad here, however large; compare it with ln V (not with V): " + GUESSING: lambda v, _: float(v),
        "the logarithm is to base 2; " + GUESSING: lambda v, _: math.log2(v),
        "the logarithm is to base 10; " + GUESSING: lambda v, _: math.log10(v),
        "the losses are compared with the first one; " + GUESSING: lambda v, losses: losses[0],
        "50,257 was an example; use the vocab_size that is given": lambda v, _: math.log(50257),
    }) | exchange("no_number", {
        "a loss of nan " + NOT_A_NUMBER: math.isinf,
        "an infinite loss " + NOT_A_NUMBER: math.isnan,
        "a loss of nan or of infinity " + NOT_A_NUMBER: lambda loss: False,
    }) | {
        "an infinite loss, or one of nan, is bad wherever it stands, also before a loss below ln V": {"early": False},
        "nan and infinity are looked for in the whole list first, so that a row before them is not seen; go through it once":
            {"given": lambda losses: [0.0] * (first_odd(losses) or 0) + losses[first_odd(losses) or 0:]},
        "a row is looked for in the whole list first, so that nan or infinity before it is not seen; go through it once":
            {"no_number": lambda loss: False, "never": first_odd},
        "an untrained model starts above ln V, and nothing is wrong with that: count only after a loss below": {"learned": True},
        "the losses below ln V are counted; those above it are bad": {"worse": lambda loss, line: loss < line},
    } | exchange("again", {
        "all losses above ln V are counted; they have to come in a row, so a better one starts the count again": lambda bad: bad,
    }) | exchange("over", {
        "one loss too late: it is enough when the row is `patience` long": lambda bad, k: bad > k,
        "one loss too early: the row has to be `patience` long": lambda bad, k: bad and bad >= k - 1,
        "the patience is not used: one loss above ln V ends it": lambda bad, k: bad >= 1,
    }) | exchange("end", {
        "that is where the row begins; the index at which it is `patience` long is asked": lambda i, bad, _: i - bad + 1,
        "that is the last loss before the row; the index at which the row is `patience` long is asked":
            lambda i, bad, losses: i - bad if math.isfinite(losses[i]) else i,
        "the index is counted from 1; it counts from 0": lambda i, bad, _: i + 1,
        "the loss itself came back; its index is asked": lambda i, bad, losses: losses[i],
        "the index is asked, not only whether there is one": lambda i, bad, _: True,
    }) | exchange("never", {
        f"{NEVER}; {value} came back": lambda losses, value=value: value for value in (-1, 0, math.inf)
    }) | exchange("never", {f"{NEVER}; the number of losses came back": len,
                            f"{NEVER}; the last index came back": lambda losses: len(losses) - 1}))


# 6.6
def write_beside(path, write, *, beside=lambda path: path.with_name(path.name + ".new"), times=1, before=lambda path: None,
                 move=os.replace, clean=lambda place: place.unlink(missing_ok=True), swallow=False,
                 at_an_error=lambda place, path: None):
    place = beside(path)
    try:
        before(path)
        for _ in range(times):
            write(place)
        move(place, path)
    except OSError:
        at_an_error(place, path)
        if not swallow:
            raise
    finally:
        if place != path:
            clean(place)


def files(draw: Draw) -> Iterator:
    """Whether there is an old file, and whether writing fails half way; some letters to write."""
    for case, old, fails in ((None, True, False), ("no file yet", False, False), ("write stops half way", True, True),
                             ("write stops half way, and no file yet", False, True)):
        yield case, (old, fails, "".join(draw.choices("abcdefgh", k=draw.randint(6, 9))))


class Disk:
    """A folder with or without an old file, the file that is to be written, and what is seen there at any moment."""

    def __init__(self, folder: str, old: bool, fails: bool, letters: str):
        self.folder, self.path, self.fails = Path(folder, "here"), Path(folder, "here", "run.pt"), fails
        self.old, self.new = letters[::-1] * 4, letters * 3
        self.where, self.meanwhile, self.inode, self.gone = [], "", None, False
        self.folder.mkdir()
        if old:
            self.path.write_text(self.old)

    def seen(self) -> str:
        """What is at the path."""
        if not self.path.exists():
            return "nothing"
        text = self.path.read_text()
        return {self.old: "the old file", self.new: "the new file"}.get(text, "a broken file")

    def write(self, place: Any) -> None:
        """What the answer is given as `write`."""
        place = Path(place)
        self.where.append("at the path itself" if place == self.path else "beside it" if place.parent == self.folder
                          else "in another folder")
        place.write_text(self.new[:5])
        self.meanwhile = self.seen()
        if self.fails:
            raise OSError(TORN)
        place.write_text(self.new)
        self.inode = place.stat().st_ino

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note when the path's file is taken away."""
        def noted(remove):
            def call(path, *args, **kwargs):
                self.gone = self.gone or Path(os.fsdecode(path)) == self.path
                return remove(path, *args, **kwargs)
            return call

        with mock.patch("os.unlink", noted(os.unlink)), mock.patch("os.remove", noted(os.remove)):
            yield


def a_save(answer: Callable, old: bool, fails: bool, letters: str) -> Facts:
    """Where an answer lets the new file be written, and what is on the disk while it does, and afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(folder, old, fails, letters)
        with disk.watched():
            _, failed = let_through(answer, disk.path, disk.write)
        rest = [path for path in disk.folder.iterdir() if path != disk.path]
        moved = disk.seen() == "the new file" and disk.path.stat().st_ino == disk.inode
        return Facts({
            "the number of calls of write": len(disk.where), "the place where the new file is written": "".join(disk.where[:1]),
            "what is at the path meanwhile,": disk.meanwhile, "what is at the path afterwards,": disk.seen(),
            "the old file": "was taken away before the new one was there" if disk.gone else "was replaced",
            "the error of write": "let through" if failed else "swallowed" if fails else "none",
            "the way of the new file to the path": "none" if fails else "moved" if moved else "not moved",
            "what is left over in the folder,": "a file" if rest else "nothing"})


def with_backup(place, path):
    if path.exists():
        os.replace(path, path.with_name("backup"))
    os.replace(place, path)


check_write_beside = spec(
    "6.6", "never half a file", see=("06", "The loop for real work"), right=write_beside, cases=files, use=a_save, beside=True,
    doc="write_beside(path, write): let write(place) write the new file beside path, then put it in the old one's place.",
    mistakes=exchange("beside", {
        "write(path) writes in the old file's place, so that a power cut leaves half a new one: give it a place beside it":
            lambda path: path,
        "the new file is written in another folder, which may be on another disk, where nothing can be moved in one go: "
        "path.with_name(…) is beside it": lambda path: path.parent.parent / path.name,
    }) | exchange("times", {"write is called twice; once is enough": 2}) | exchange("before", {
        "the old file is deleted first; until the new one is whole, it is all there is": lambda p: p.unlink(missing_ok=True),
    }) | exchange("move", {
        "the new file is copied into the old one's place, which a power cut can interrupt: os.replace(place, path) moves it":
            lambda place, path: path.write_bytes(place.read_bytes()),
        "between unlink() and rename() there is no file at all: os.replace(place, path) does both at once":
            lambda place, path: (path.unlink(missing_ok=True), os.rename(place, path)),
        "the old file is kept under another name, which leaves something in the folder: os.replace(place, path) is enough":
            with_backup,
        "the new file never comes to its place: os.replace(place, path)": lambda place, path: None,
        "the two are exchanged: os.replace(from, to)": lambda place, path: os.replace(path, place) if path.exists() else None,
    }) | exchange("clean", {
        "where write() stops with an error, half a file stays behind: remove it under `finally:`, "
        "path.unlink(missing_ok=True)": lambda place: None,
    }) | exchange("at_an_error", {
        "where write() stops with an error, half a file comes to the old one's place: os.replace(…) belongs right after write(), "
        "not under `finally:`": lambda place, path: os.replace(place, path),
        "where write() stops with an error, the old file is deleted; half of the new one is to be removed":
            lambda place, path: path.unlink(missing_ok=True),
    }) | exchange("swallow", {"the error of write() is swallowed, so nobody learns that nothing was saved": True}))
