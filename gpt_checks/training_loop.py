"""Checks for the exercises of lesson 05: the training loop."""
import copy
import itertools
import math
import operator
import re
from collections.abc import Iterable
from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F

from gpt_checks.core import (
    NotYet,
    as_tensor,
    check_kind,
    exercise,
    expect,
    is_mistake,
    raise_not_yet,
    same,
    short,
    want_that,
)


def as_list(value):
    """The list of what a sequence holds, however it is made (tuple, range, tensor, generator); anything else as it is."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | dict | set | torch.nn.Module):
        return value
    try:
        held = value.tolist() if isinstance(value, torch.Tensor) else itertools.islice(value, 100_000)
        return [int(part) if isinstance(part, Integral) and not isinstance(part, bool) else part for part in held]
    except Exception:      # a tensor without dimensions, or without numbers
        return value


def name_mistake(got, mistakes, *, rtol=1e-9, atol=1e-6, case=None):
    """Raise NotYet with the words of the first mistake that gives this result: (words, result) pairs, or {words: result}."""
    for words, wrong in mistakes.items() if isinstance(mistakes, dict) else mistakes:
        if is_mistake(got, wrong, (), rtol, atol):
            raise_not_yet(words, case)


def has_graph(value):
    """Whether a tensor, or one in a list, is still attached to its graph."""
    if isinstance(value, list | tuple):
        return any(map(has_graph, value))
    return isinstance(value, torch.Tensor) and value.requires_grad


def in_short(value):
    """A value in a few characters, on one line."""
    return " ".join(short(value).split())


def rounded(got, right):
    """What is right, rounded as the answer is; StopIteration when the answer is not that."""
    return next(near for digits in range(5) if same(got, near := round(right, digits), 1e-6))


@exercise("5.1", "tokens seen", see=("05", "What to record"))
def check_tokens_axis(answer, draw):
    """tokens_axis(eval_freq, num_steps, batch_size, context_length): tokens seen at the evaluations after steps 0, f, 2f, ..."""
    b, t, f, k = draw.randint(3, 7), draw.choice((24, 40, 56, 72)), draw.randint(4, 7), draw.randint(3, 5)
    cases = [(f, k * f + draw.randint(2, f - 1), b, t), (f, k * f, b, t), (f, k * f + 1, b, t), (1, f, b, t), (f, f - 1, b, t)]
    wants = [[(step + 1.0) * b * t for step in range(0, n, f)] for f, n, b, t in cases]
    gots = [as_list(answer(*case)) for case in cases]
    if all(same(got, want, 1e-9) for got, want in zip(gots, wants, strict=True)):
        return
    name_mistake(gots, mistakes := axis_mistakes(cases))
    name_mistake(gots, mistakes, atol=1.0)                     # numbers that were rounded
    for got, want, (f, n, *_) in zip(gots, wants, cases, strict=True):
        case = f"eval_freq {f}, {n} steps"
        if isinstance(got, list) and len(got) != len(want):
            raise_not_yet(f"the list has {len(got)} values; it needs one for each evaluation, after step 0, eval_freq, "
                          f"2·eval_freq, … below num_steps, here {len(want)}", case)
        check_kind(got, want, "the list", case)
        expect(torch.tensor([float(x) for x in got]), torch.tensor(want), rtol=1e-9, name="the list", case=case, scales={
            "batch_size": b, "context_length": t, "batch_size · context_length": b * t, "eval_freq": f, "num_steps": n})


def axis_mistakes(cases):
    """[(what is wrong in words, the lists that it gives for all cases)]; up to three mistakes at once, single ones first."""
    first = "the first evaluation follows step 0, after one batch, and not eval_freq batches"
    added = "an evaluation at the end was added; an evaluation follows only steps 0, eval_freq, 2·eval_freq, … below num_steps"
    every = "every step is in the list; an evaluation follows only steps 0, eval_freq, 2·eval_freq, …"
    steps = (       # what is wrong in words, (eval_freq, num_steps) -> numbers of the steps that are evaluated
        ("", lambda f, n: range(0, n, f)),
        (first, lambda f, n: range(f - 1, n, f)),
        (first, lambda f, n: range(f - 1, n + f - 1, f)),
        (first, lambda f, n: [min(step + f, n) - 1 for step in range(0, n, f)]),
        (first + ", and the last step is num_steps - 1", lambda f, n: range(f, n + 1, f)),
        ("the evaluation of step 0 is missing: eval_freq divides 0, too", lambda f, n: range(f, n, f)),
        ("steps are numbered from 0: the first that is evaluated is step 0, not step 1", lambda f, n: range(1, n, f)),
        ("there is one evaluation too many where eval_freq divides num_steps: the last step is num_steps - 1, so none follows "
         "step num_steps (num_steps // eval_freq + 1 counts that, too)", lambda f, n: range(0, n + 1, f)),
        ("the evaluation of the last step is left out: where eval_freq divides num_steps - 1, it is evaluated, too",
         lambda f, n: range(0, n - 1, f)),
        ("the last evaluation is missing: num_steps // eval_freq counts whole blocks of steps only",
         lambda f, n: range(0, n // f * f, f)),
        ("the last evaluation is left out", lambda f, n: list(range(0, n, f))[:-1]),
        ("only the first value came back: is `return` inside the loop?", lambda f, n: [0]),
        ("the list is backwards; the first evaluation goes first", lambda f, n: list(range(0, n, f))[::-1]),
        (added, lambda f, n: [*range(0, n - 1, f), n - 1]),
        (added, lambda f, n: [*range(0, n, f), n - 1]),
        (every, lambda f, n: range(n)),
        ("evaluations are counted instead of steps; between two of them lie eval_freq steps", lambda f, n: range(-(-n // f))),
        ("eval_freq was taken for the number of evaluations; it is the number of steps from one to the next",
         lambda f, n: range(0, n, max(n // f, 1))),
        ("eval_freq and num_steps are exchanged", lambda f, n: range(0, f, n)),
    )
    batches = (     # what is wrong in words, the number of a step -> batches seen after it
        ("", lambda step: step + 1),
        ("each value is one batch short: step 0 is evaluated after its update, so one batch has been seen by then, and s + 1 "
         "after step s", lambda step: step),
        ("each value is one batch too many: s + 1 batches have been seen after step s", lambda step: step + 2),
        ("each value counts one batch; tokens seen count from the start", lambda step: 1),
    )
    units = (       # what is wrong in words, (eval_freq, batch_size, context_length) -> tokens of a batch
        ("", lambda f, b, t: b * t),
        ("steps (batches) are counted, not tokens: each brings batch_size · context_length tokens", lambda f, b, t: 1),
        ("windows (sequences) are counted, not tokens: each holds context_length tokens", lambda f, b, t: b),
        ("batch_size is left out: a batch holds batch_size windows of context_length tokens", lambda f, b, t: t),
        ("a window has context_length tokens of input; the one more, its last target, does not count", lambda f, b, t: b * t + b),
        ("batch_size and context_length are added; a batch holds their product of tokens", lambda f, b, t: b + t),
        ("eval_freq was multiplied in once more; the step's number counts all steps already", lambda f, b, t: f * b * t),
        ("inputs and targets are both counted; tokens seen are the inputs", lambda f, b, t: 2 * b * t),
    )
    mistakes = []
    for (step_words, chosen), (batch_words, seen), (unit_words, tokens) in itertools.product(steps, batches, units):
        words = list(filter(None, (step_words, batch_words, unit_words)))
        lists = [[seen(step) * tokens(f, b, t) for step in chosen(f, n)] for f, n, b, t in cases]
        mistakes.append((len(words), "; and ".join(words), lists))
    mistakes.sort(key=lambda mistake: mistake[0])
    (_, _, right), *mistakes = mistakes
    evenly = "the values are spread evenly, as linspace does; an evaluation stands where its tokens say, the first at one batch"
    counts = (lambda f, n: -(-n // f), lambda f, n: n // f, lambda f, n: n // f + 1)
    ends = (lambda f, n: n, lambda f, n: (n - 1) // f * f + 1)
    for start, end, count in itertools.product((0, 1), ends, counts):
        mistakes.append((1, evenly, [torch.linspace(start * b * t, end(f, n) * b * t, count(f, n), dtype=torch.float64).tolist()
                                     for f, n, b, t in cases]))
    return [
        ("the numbers of the steps came back; s + 1 batches have been seen after step s, each of batch_size · context_length "
         "tokens", [list(range(0, n, f)) for f, n, b, t in cases]),
        ("only the last value came back; collect one for each evaluation in a list", [values[-1] for values in right]),
        ("the values are added up to one number; a list of them is asked", [sum(values) for values in right]),
        ("the values are added up from one to the next; each counts from the start already",
         [list(itertools.accumulate(values)) for values in right]),
        ("the tokens of the whole training came back; a list is asked, with those of each evaluation",
         [n * b * t for f, n, b, t in cases]),
        ("each value has its step beside it; the tokens alone are asked",
         [list(zip(range(0, n, f), values, strict=True)) for (f, n, b, t), values in zip(cases, right, strict=True)]),
        ("parentheses are missing: step + 1 is multiplied as a whole, (step + 1) * batch_size * context_length",
         [[step + b * t for step in range(0, n, f)] for f, n, b, t in cases]),
        ("each value counts from the evaluation before it; tokens seen count from the start",
         [[now - before for before, now in itertools.pairwise([0, *values])] for values in right]),
        ("each value counts the tokens of eval_freq batches; tokens seen count from the start",
         [[f * b * t for _ in range(0, n, f)] for f, n, b, t in cases]),
        *((words, lists) for _, words, lists in mistakes),
        ("the values are spread evenly up to the end of training; an evaluation stands where its tokens say",
         [[(i + 1) * n * b * t / -(-n // f) for i in range(-(-n // f))] for f, n, b, t in cases]),
    ]


# A tiny model, its optimizer and its loader, which keep a log of what is done with them.

class Log(list):
    """(letter, ids) for what was done, in order; copies of a model write into the log of the original.

    F, f: a forward pass with a graph, dropout on or off. V, v: the same without a graph. R: the modes of a model and of the
    dropout in it differ. B: backward. D: backward onto gradients that are there already. Z: zero_grad. S: step.
    """

    def __deepcopy__(self, memo):
        return self

    def note(self, letter, ids=None):
        self.append((letter, ids))

    def letters(self):
        return "".join(letter for letter, _ in self)

    def learned(self):
        """The ids of each forward pass that backward came through."""
        return [ids for letter, ids in self if letter in "BD"]


class Thinning(torch.nn.Dropout):
    """As dropout, but it zeroes the same numbers every time, so that a training can be repeated."""

    def forward(self, x):
        return x * (torch.arange(x.shape[-1]) % 2 * 2) if self.training and self.p else x


class Model(torch.nn.Module):
    """From (B, T) ids to (B, T, V) logits."""

    def __init__(self, draw, vocab_size, emb_dim=6):
        super().__init__()
        self.emb = torch.nn.Parameter(draw.normal(vocab_size, emb_dim))
        self.head = torch.nn.Parameter(draw.normal(vocab_size, emb_dim))
        self.drop = Thinning()
        self.shift = torch.zeros(vocab_size)                   # added to the logits, to spoil them
        self.log = Log()

    def forward(self, ids):
        logits = self.drop(self.emb[ids]) @ self.head.T + self.shift
        letter = "f" if logits.requires_grad else "v"
        self.log.note(letter.upper() if self.drop.training else letter)
        if self.training != self.drop.training:
            self.log.note("R")
        if logits.requires_grad:
            logits.register_hook(lambda _: self.log.note("D" if self.has_gradients() else "B", ids))
        return logits

    def has_gradients(self):
        return any(p.grad is not None and p.grad.any() for p in self.parameters())

    def zero_grad(self, set_to_none=True):
        self.log.note("Z")
        super().zero_grad(set_to_none)

    def weights(self):
        """All weights in one row."""
        return torch.cat([p.detach().flatten() for p in self.parameters()])


class Descent:
    """Plain gradient descent, with the methods of an optimizer (PyTorch's own take a second to load)."""

    def __init__(self, model, lr=0.5):
        self.log, self.lr = model.log, lr
        self.param_groups = [{"params": list(model.parameters()), "lr": lr}]

    def zero_grad(self, set_to_none=True):
        self.log.note("Z")
        for p in self.param_groups[0]["params"]:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

    def step(self, closure=None):
        loss = closure() if closure else None
        self.log.note("S")
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                if p.grad is not None:
                    p -= self.lr * p.grad
        return loss


class Loader:
    """Batches; a pass over them draws a random number, as with every loader, and may have an order of its own."""

    def __init__(self, batches, orders=None):
        self.batches, self.orders, self.passes = batches, orders or [range(len(batches))], 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        torch.rand(1)
        self.passes += 1
        return (self.batches[i] for i in self.orders[self.passes % len(self.orders)])


def draw_batches(draw, sizes, context_length, vocab_size):
    """(inputs, targets) for each number of windows."""
    return [tuple(draw.ids(2, b, context_length, vocab_size=vocab_size)) for b in sizes]


def cross_entropy(logits, targets):
    """The mean loss of (B, T, V) logits."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def batch_loss(inputs, targets, model):
    """What the answers are given to measure a batch with."""
    if not (isinstance(inputs, torch.Tensor) and isinstance(targets, torch.Tensor) and isinstance(model, torch.nn.Module)):
        raise TypeError("batch_loss(inputs, targets, model) needs two tensors and the model, in this order")
    return cross_entropy(model(inputs), targets)


ITEM = "a tensor that still holds on to its graph came back, so whoever keeps it fills the memory: return a float, with .item()"
GRAPH = "backward() needs the loss as a tensor with its graph: no no_grad() around it, no .item(), .detach() or .data before it"
FLATTEN = "F.cross_entropy wants one row of logits for each target, (B·T, V) and (B·T,): flatten both"
REASONS = {      # part of Python's or PyTorch's message: what it means here
    "object has no attribute 'backward'": GRAPH,
    "does not require grad": GRAPH,
    "modified by an inplace operation": "the weights were changed between a loss and its backward(): step() comes before "
                                        "backward(), or losses from before an earlier step were added on",
    "through the graph a second time": "backward() is called twice on one loss; once is enough",
    "created only for scalar": "backward() starts from one number: take the mean of the losses",
    "Expected target": FLATTEN,
    "Expected input batch_size": FLATTEN,
    "'int' object is not iterable": "num_epochs is a number: loop over range(num_epochs)",
}


def attempt(answer, *args, reasons=REASONS, case=None, may_change=()):
    """answer(*args); where the reason of an error is known, it goes first."""
    try:
        return answer(*args, may_change=may_change)
    except NotYet as error:
        reason = next((words for part, words in reasons.items() if part in str(error)), None)
        raise_not_yet(f"{reason} ({error})" if reason else str(error), case)


def order_fault(log):
    """What is missing or misplaced among backward, step and zero_grad, in words; gradients left over are not looked at."""
    backward = re.search("[BD]", log)
    if not backward:
        return ("backward() is never called, so no weight learns of the loss (are its parentheses missing, or does a condition "
                "keep it from running?)")
    if "S" not in log:
        return "step() of the optimizer is never called, so no weight moves (are its parentheses missing?)"
    if log.index("S") < backward.start():
        return "step() comes before backward(), so it moves the weights by old gradients or by none; backward() first"
    if re.search("[BD][^S]*Z[^BD]*S", log):
        return "zero_grad() comes between backward() and step(), so step() finds no gradient; it belongs before backward()"
    return None


@exercise("5.2", "one training step", see=("05", "One step"))
def check_training_step(answer, draw):
    """training_step(model, optimizer, inputs, targets): zero_grad, loss, backward, step; the loss before it, a float.

    A loss that is nan or infinite comes back too, and then no weight is moved.
    """
    b, t, v = draw.randint(2, 3), draw.randint(4, 5), draw.randint(16, 19)
    x, y = (torch.tensor(draw.sample(range(v), b * t)).view(b, t) for _ in range(2))      # each id once, lest mistakes cancel out
    model = Model(draw, v)
    optimizer, twin, start = Descent(model), copy.deepcopy(model), model.weights()
    loss = batch_loss(x, y, twin)
    loss.backward()
    right = -optimizer.lr * torch.cat([p.grad.flatten() for p in twin.parameters()])
    batch_loss(y, x, model).backward()                         # gradients of an earlier batch
    model.log.clear()

    got = attempt(answer, model, optimizer, x, y)
    log, moved = model.log.letters(), model.weights() - start
    taken = torch.allclose(moved, right, 1e-3, 1e-5)
    want_that(taken or log.count("S") < 2, f"step() is called {log.count('S')} times; one step is asked")
    expect(got, loss.item(), step_losses(twin, x, y) | {
        "the loss was measured after the step, by a second forward pass; return the one that backward() started from":
            lambda: batch_loss(x, y, model),
        "the loss is rounded; return it as it is": lambda: rounded(got, loss.item()),
    }, scales={"the number of windows B": b, "the window's length T": t, "the number of targets B·T": b * t,
               "the vocabulary's size V": v}, rtol=1e-5, name="the loss")
    if not taken:
        raise_not_yet(step_fault(log, moved, right))
    want_that(not has_graph(got), ITEM)

    for bad in (math.nan, math.inf):
        case, model = f"a loss of {bad}", Model(draw, v)
        batch_loss(y, x, model).backward()                     # gradients of an earlier batch
        model.shift[y[0, 0]] = -bad                            # with -inf, one target is impossible
        start = model.weights()
        model.log.clear()
        got = attempt(answer, model, Descent(model), x, y, case=case)
        lost = int(model.weights().isnan().sum())
        want_that(not lost, f"the step was taken all the same, and {lost} weights are nan now; look at the loss before "
                            "backward(), and return it without a step unless isfinite() holds", case)
        want_that(torch.equal(model.weights(), start) or re.search("[BD]", model.log.letters()),
                  "the weights moved all the same, by the gradients of an earlier batch: step() belongs under the guard, too",
                  case)
        want_that(torch.equal(model.weights(), start), "the step was taken all the same; not only nan, infinity too is no loss "
                                                       "to learn from: isfinite() refuses both", case)
        want_that(got is not None, "None came back; return the loss in this case, too", case)
        want_that(same(got, bad, lenient=True), f"{in_short(got)} came back; return the loss itself, a float, here {bad}", case)
        want_that(not has_graph(got), ITEM, case)


def step_losses(model, x, y):
    """{what is wrong with the loss of a batch, in words: that loss}."""
    logits = model.train()(x).detach()
    each = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    picked = logits.gather(2, y[..., None])
    once = "; the targets are one step later already"
    return {
        "the model is in eval() mode, so dropout is off; train in train() mode": batch_loss(x, y, model.eval()).detach(),
        "the losses of all tokens are added up; the loss is their mean": each.sum(),
        "a loss for each token came back; the loss is their mean, one number": each,
        "a loss for each of the B·T tokens came back; the loss is their mean, one number": each.flatten(),
        "softmax was taken before F.cross_entropy, which wants logits and takes it itself": cross_entropy(logits.softmax(-1), y),
        "the mean runs over all V tokens; only the target's -ln p counts": -logits.log_softmax(-1).mean(),
        "the minus is missing: the loss is -ln p of the target": -each.mean(),
        "the logits themselves were averaged; the loss takes log_softmax first, as F.cross_entropy does": -picked.mean(),
        "the logarithm of the mean probability was taken; take the logarithm of each first, then the mean":
            -each.neg().exp().mean().log(),
        "that is minus the mean probability of the targets; the logarithm is missing": -each.neg().exp().mean(),
        "only the last position of each window was scored; all T of them count": each[:, -1].mean(),
        "only the first position of each window was scored; all T of them count": each[:, 0].mean(),
        "only the first window was scored; all B of them count": each[0].mean(),
        "the targets were shifted once more" + once: cross_entropy(logits[:, :-1], y[:, 1:]),
        "the targets were shifted back by a step" + once: cross_entropy(logits[:, 1:], y[:, :-1]),
        "the inputs were scored; the loss compares the logits with the targets": cross_entropy(logits, x),
        "inputs and targets are exchanged: the inputs go into the model, the targets are what it should say":
            batch_loss(y, x, model.train()).detach(),
        "the targets went into the model; it is given the inputs": batch_loss(y, y, model.train()).detach(),
        "logits and targets are flattened in different orders, so they do not belong together; no transpose is needed":
            F.cross_entropy(logits.transpose(0, 1).flatten(0, 1), y.flatten()),
        "that is the perplexity; the loss is its logarithm": each.mean().exp(),
    }


def step_fault(log, moved, right):
    """What is wrong with one training step, from its log and from the change of the weights."""
    if fault := order_fault(log):
        return fault
    if len(re.findall("[BD]", log)) > 1:
        return "backward() is called more than once, and gradients add up; once is enough"
    if "D" in log and "Z" in log:
        return "zero_grad() comes too late: gradients of an earlier batch were still there, and backward() added new ones to them"
    if "D" in log:
        return "zero_grad() is missing: gradients of an earlier batch were still there, and backward() added new ones to them"
    if "f" in log:
        return "the model is in eval() mode, so dropout is off; train in train() mode"
    factor = ((moved * right).sum() / right.square().sum()).item()
    if factor and torch.allclose(moved, factor * right, 1e-3, 1e-5):
        return ("the step goes uphill: the loss has the wrong sign at backward()" if factor < 0 else
                f"the step is {factor:.4g} times as long as it should be: call backward() on the mean loss, as it is")
    return "the weights are not where one step of the optimizer, down the gradient of this batch's loss, leads"


@exercise("5.3", "a look that changes nothing", see=("06", "Does evaluating change anything?"))
def check_evaluate(answer, draw):
    """evaluate(model, loader, batch_loss): mean loss over all tokens; mode, gradients and random state stay as they were."""
    t, v, sizes = draw.randint(3, 5), draw.randint(7, 9), [draw.randint(3, 5), draw.randint(6, 8), 1]
    model, tokens = Model(draw, v), t * sum(sizes)
    calm, right, mistakes = copy.deepcopy(model).eval(), 0.0, {"": 0.0}
    while min(abs(wrong - right) for wrong in mistakes.values()) < 0.01:           # draw until no mistake is right by chance
        batches = draw_batches(draw, sizes, t, v)
        means = [batch_loss(x, y, calm).item() for x, y in batches]
        swapped = [batch_loss(y, x, calm).item() for x, y in batches]
        right, mistakes = t * sum(map(operator.mul, means, sizes)) / tokens, evaluation_losses(means, sizes, t) | {
            "inputs and targets are exchanged: batch_loss(inputs, targets, model)":
                t * sum(map(operator.mul, swapped, sizes)) / tokens}
    for p in model.parameters():
        p.grad = draw.normal(*p.shape)                         # as after a step of training
    start, grads = model.weights(), [p.grad.clone() for p in model.parameters()]
    no_backward = "an evaluation takes no step, so it needs no backward()"

    for training in (True, False):
        model.train(training)
        model.log.clear()
        torch.manual_seed(seed := draw.getrandbits(32))
        torch.rand(draw.randint(1, 9))
        state = torch.get_rng_state()
        got = attempt(answer, model, Loader(batches), batch_loss, reasons={
            "does not require grad": no_backward, "object has no attribute 'backward'": no_backward})
        after, log = torch.get_rng_state(), model.log.letters()
        if as_tensor(got) is not None and not same(got, right) and re.search("[FV]", log):
            want_that("R" not in log, "model.training = False reaches the model alone, not the dropout in it: call model.eval()")
            raise_not_yet("dropout was on while the loss was measured: call model.eval() before the first batch")
        expect(got, right, mistakes | {"the loss is rounded; return it as it is": lambda got=got: rounded(got, right)},
               scales={"the number of batches": len(sizes), "the number of tokens": tokens, "the window's length T": t},
               rtol=1e-5, name="the loss")
        want_that("f" not in log and not has_graph(got), "the number is right, but a graph was built for each batch, which "
                  "costs memory and time: torch.no_grad() is missing around it")
        want_that(torch.is_grad_enabled() and all(p.requires_grad for p in model.parameters()), "gradients stay switched off "
                  "afterwards, so the next backward() fails: `with torch.no_grad():` ends with its block")
        want_that(torch.equal(model.weights(), start), "the weights have changed; an evaluation takes no step")
        want_that(all(p.grad is not None and torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True)),
                  "the gradients have changed; an evaluation calls neither zero_grad() nor backward()")
        want_that(model.training or not training, "the model is left in eval() mode, so training would go on without dropout: "
                                                  "put back the mode that it came in")
        want_that(model.training == training, "the model came in eval() mode and is in train() mode now: note model.training "
                                              "before eval(), and put back what it was")
        want_that(model.drop.training == training, "the mode was put back in the model alone, not in the dropout inside it: "
                                                   "call model.train(mode)")
        want_that(torch.equal(after, state) or torch.initial_seed() == seed, "a seed was set, so the random state is another "
                  "than before, and training would repeat its random numbers: torch.random.fork_rng() puts back the one that was")
        want_that(torch.equal(after, state), "the random state has moved: a loader draws a number when its loop starts; "
                                             "torch.random.fork_rng() around that loop puts the state back")


def evaluation_losses(means, sizes, t):
    """{what is wrong with the loss of batches of these sizes and mean losses, in words: that loss}."""
    rows, weighted = sum(sizes), sum(map(operator.mul, means, sizes))
    return {
        "that is the mean of the batches' means, in which a token of a small batch counts for more; weigh each batch by its "
        "number of tokens": sum(means) / len(means),
        "the batches' means are added up; weigh each by its tokens, and divide by all tokens": sum(means),
        "the losses are added up over all tokens; divide by their number": weighted * t,
        "the weighted sum is divided by the number of batches; divide by the number of tokens": weighted * t / len(sizes),
        "the weights are numbers of rows, but the sum is divided by the number of tokens": weighted / (rows * t),
        "the weights are numbers of tokens, but the sum is divided by the number of rows": weighted * t / rows,
        "the sum of means is divided by the number of tokens; weigh each mean by its tokens first": sum(means) / (rows * t),
        "the sum of means is divided by the number of rows; weigh each mean by its rows first": sum(means) / rows,
        "the last batch is left out; it counts too, even when it is not full":
            (weighted - means[-1] * sizes[-1]) / (rows - sizes[-1]),
        "only the first batch was scored; loop over all of them (or is `return` inside the loop?)": means[0],
        "only the last batch came back: add up, and do not overwrite": means[-1],
        "that is the perplexity; the loss is its logarithm": math.exp(weighted / rows),
        "the mean of the batches' perplexities came back; average the losses":
            sum(b * math.exp(mean) for mean, b in zip(means, sizes, strict=True)) / rows,
    }


@exercise("5.4", "the training loop", see=("05", "The loop"))
def check_train(answer, draw):
    """train(model, loader, optimizer, batch_loss, num_epochs): (losses, tokens_seen), with one entry for each step."""
    t, v, full = draw.randint(3, 5), draw.randint(7, 9), draw.randint(3, 4)
    for sizes, num_epochs, mode in (([full, full, full, full - 1], 3, False), ([full, full, full - 2], 1, True)):
        n = len(sizes)
        model, batches = Model(draw, v).train(mode), draw_batches(draw, sizes, t, v)
        optimizer, twin = Descent(model), copy.deepcopy(model)
        loader = Loader(batches, draw.sample(list(itertools.permutations(range(n))), 6))
        got = attempt(answer, model, loader, optimizer, batch_loss, num_epochs)
        log = model.log.letters()
        want_that(got is not None or "S" not in log, "None came back: is `return` missing? Need (losses, tokens_seen)")
        order = [next((i for i, (x, _) in enumerate(batches) if torch.equal(x, ids)), -1) for ids in model.log.learned()]
        run = replay(twin, [batches[i] for i in order])
        complete = len(order) == n * num_epochs and all(sorted(epoch) == list(range(n)) for epoch in parts(order, n))
        if not (complete and loader.passes >= num_epochs and torch.allclose(model.weights(), twin.weights(), 1e-3, 1e-5)):
            raise_not_yet(training_fault(log, order, n, num_epochs, loader.passes))
        judge_records(as_list(got), run, n, full * t)


class Run(NamedTuple):
    """What a training gives, one entry for each step: losses before and after it, with dropout and without (calm); shapes."""

    losses: list
    later: list
    calm: list
    calm_later: list
    shapes: list


def replay(model, batches):
    """Train as is right, on these batches in this order."""
    run, optimizer = Run([], [], [], [], []), Descent(model)
    for x, y in batches:
        run.shapes.append(tuple(x.shape))
        run.calm.append(batch_loss(x, y, model.eval()).item())
        optimizer.zero_grad()
        loss = batch_loss(x, y, model.train())
        loss.backward()
        optimizer.step()
        run.losses.append(loss.item())
        run.later.append(batch_loss(x, y, model).item())
        run.calm_later.append(batch_loss(x, y, model.eval()).item())
    return run


def training_fault(log, order, n, num_epochs, passes):
    """What is wrong with a training, from its log and from the batches that backward came through, n an epoch."""
    total, forwards, steps, zeros = n * num_epochs, len(re.findall("[Ff]", log)), log.count("S"), log.count("Z")
    inside = "it belongs inside the loop over the batches"
    if not re.search("[FfVv]", log):
        return "the model is never called; batch_loss(inputs, targets, model) gives the loss of each batch of the loader"
    if fault := order_fault(log):
        return fault
    if -1 in order:
        return "the model was given something else than the inputs of a batch: are inputs and targets exchanged?"
    if "R" in log:
        return "model.training = … reaches the model alone, not the dropout inside it: call model.train()"
    if "f" in log:
        return ("model.train() is missing: the model came in eval() mode, so dropout stays off" if "F" not in log else
                "part of the training runs in eval() mode, without dropout: call model.train() before each epoch")
    if len(order) < total <= forwards:
        return f"backward() comes {'once an epoch only' if len(order) == num_epochs else 'too rarely'}; {inside}"
    if len(order) > forwards:
        return "backward() is called more than once on a batch's loss, and gradients add up; once is enough"
    if len(order) == 1:
        return "training ends after the first batch: is `return` inside the loop?"
    if len(order) == n < total and passes == 1:
        return (f"only one epoch of {num_epochs} was trained: is `return` inside the loop over the epochs, is that loop missing, "
                "or is one iterator used up for all of them?")
    if len(order) == (n - 1) * num_epochs:
        return "one batch of each epoch is left out; all of them count, also the last, and one that is not full"
    if len(order) == num_epochs:
        return "only one batch of each epoch was trained on; loop over all batches of the loader"
    if len(order) % n == 0 and len(order) != total:
        return f"{len(order) // n} epochs were trained; num_epochs is {num_epochs}"
    if len(order) != total:
        return f"{len(order)} batches were trained on; {num_epochs} epochs of {n} batches are {total}"
    if num_epochs > 1 and all(len(set(part)) == 1 for part in parts(order, num_epochs)):
        return "the two loops are exchanged: the epochs are the outer one, and each goes through all batches once"
    if any(len(set(part)) < n for part in parts(order, n)):
        return "a batch is trained on twice in one epoch, and another not at all"
    if steps < total:
        return f"step() comes {'once an epoch only' if steps == num_epochs else 'too rarely'}; {inside}"
    if "D" in log and not zeros:
        return "zero_grad() is missing: gradients add up from batch to batch"
    if "D" in log:
        return ("zero_grad() comes at the wrong place: old gradients were still there at backward()" if zeros > num_epochs else
                f"zero_grad() comes only at the start or once an epoch, so gradients add up from batch to batch; {inside}")
    if steps > total:
        return "step() is called more than once for a batch; once is enough"
    if passes < num_epochs:
        return ("the loader was read once and its batches kept, so every epoch has the same order (and all data lie in memory): "
                "loop over the loader anew in each epoch")
    return "the weights are not where one step for each batch leads: call backward() on the batch's mean loss, as it is"


def judge_records(got, run, n, full):
    """Judge what came back after a training that is right: n batches an epoch, a full one has `full` tokens."""
    seen = [float(s) for s in itertools.accumulate(b * t for b, t in run.shapes)]
    name_mistake(got, {
        "the two lists are exchanged: losses first, then tokens_seen": [seen, run.losses],
        "only the losses came back; return (losses, tokens_seen)": run.losses,
        "only the tokens came back; return (losses, tokens_seen)": seen,
        "a pair for each step came back; return two lists, (losses, tokens_seen)": list(zip(run.losses, seen, strict=True)),
        "only the last step came back; return two lists, with an entry for each step": [run.losses[-1], seen[-1]],
    }, rtol=1e-4)
    want_that(isinstance(got, list) and len(got) == 2, f"{in_short(got)} came back; need two lists, (losses, tokens_seen)")
    losses, tokens_seen = map(as_list, got)
    judge_entries(losses, run.losses, loss_mistakes(losses, run, n), "losses", rtol=1e-4)
    judge_entries(tokens_seen, seen, token_mistakes(run.shapes, n, full), "tokens_seen", rtol=1e-9)
    want_that(not has_graph(got), "losses holds tensors, each with its whole graph, so that memory grows with every step: "
                                     "record floats, with .item()")


def judge_entries(got, want, mistakes, name, rtol):
    """Raise NotYet unless a list has the right entry for each step."""
    if same(got, want, rtol):
        return
    name_mistake(got, mistakes, rtol=rtol)
    if isinstance(got, list) and len(got) != len(want):
        raise_not_yet(f"{name} has {len(got)} entries; there were {len(want)} steps, and each needs one")
    expect(got, want, rtol=rtol, name=name)


def parts(values, n):
    """The values of each epoch of n steps in a list of their own."""
    return [values[i : i + n] for i in range(0, len(values), n)]


def loss_mistakes(got, run, n):
    """Yield (what is wrong with the list of losses, in words, that list)."""
    losses, epochs, total = run.losses, parts(run.losses, n), len(run.losses)
    own, each = "; record the loss that backward() started from", "; record the loss of each step by itself"
    yield "the losses are measured after the update" + own, run.later
    yield "the losses are measured in eval() mode" + own, run.calm
    yield "the losses are measured in eval() mode, after the update" + own, run.calm_later
    sizes = parts([b for b, _ in run.shapes], n)
    for what, by_epoch in (
        ("the mean of its batches", [sum(part) / n for part in epochs]),
        ("the mean of its tokens", [sum(map(operator.mul, part, b)) / sum(b) for part, b in zip(epochs, sizes, strict=True)]),
        ("the sum of its batches", [sum(part) for part in epochs]),
        ("that of its last batch", [part[-1] for part in epochs]),
        ("that of its first batch", [part[0] for part in epochs]),
    ):
        yield f"there is one loss for each epoch, {what}; record one for each step, inside the loop over the batches", by_epoch
    yield "the losses of each epoch are in a list of their own; put all steps into one list", epochs
    yield "only the losses of the last epoch are left: make the list before the loop over the epochs", losses[-n:]
    running = [[sum(part[: i + 1]) / (i + 1) for i in range(len(part))] for part in (losses, *epochs)]
    yield "the losses are running means" + each, running[0]
    yield "the losses are running means over the epoch" + each, list(itertools.chain(*running[1:]))
    yield "the losses are added up from step to step" + each, list(itertools.accumulate(losses))
    yield "the losses are added up over the epoch" + each, [loss for part in epochs for loss in itertools.accumulate(part)]
    yield "the losses are sums over a batch's tokens; record its mean loss", [
        loss * b * t for loss, (b, t) in zip(losses, run.shapes, strict=True)]
    yield "the losses are multiplied by the number of windows; record the mean loss", [
        loss * b for loss, (b, _) in zip(losses, run.shapes, strict=True)]
    yield "the losses are divided by the number of batches; record the batch's mean loss", [loss / n for loss in losses]
    yield "the last loss stands at every step" + each, losses[-1:] * total
    yield "the losses are perplexities; record the losses", list(map(math.exp, losses))
    yield "the loss of the first step is missing", losses[1:]
    yield "the loss of the last step is missing", losses[:-1]
    yield "the list of losses is empty: append the loss to it in each step", []
    yield "the losses are rounded; record them as they are", lambda: list(map(rounded, got, losses))


def token_mistakes(shapes, n, full):
    """Yield (what is wrong with the list of tokens seen, in words, that list)."""
    tokens, total, t = [b * t for b, t in shapes], len(shapes), shapes[0][1]
    seen, steps = list(itertools.accumulate(tokens)), range(1, total + 1)
    in_epoch = [s for part in parts(tokens, n) for s in itertools.accumulate(part)]
    each, start = "; one is smaller, so add up inputs.numel()", "make the list before the loop over the epochs"
    yield "tokens_seen counts steps (batches); count tokens, inputs.numel() in each step", list(steps)
    yield "tokens_seen holds the numbers of the steps; count tokens, inputs.numel() in each step", list(range(total))
    yield ("tokens_seen counts windows (sequences); a window holds T tokens, so inputs.numel() is B·T",
           list(itertools.accumulate(b for b, _ in shapes)))
    yield "tokens_seen grows by the window's length T; a batch has B windows, so inputs.numel() is B·T", [t * i for i in steps]
    yield "tokens_seen starts again from 0 in each epoch; it counts from the start of training", in_epoch
    yield "tokens_seen is recorded before the batch is counted; after a step, its own tokens have been seen, too", [0, *seen[:-1]]
    yield "tokens_seen holds each batch's own tokens; add them up from the start of training", tokens
    yield "tokens_seen takes every batch for a full one" + each, [full * i for i in steps]
    yield "tokens_seen takes every batch to be as large as the first" + each, [tokens[0] * i for i in steps]
    yield "tokens_seen is the size of a batch times the number of steps" + each, list(map(operator.mul, tokens, steps))
    yield ("tokens_seen is the size of a batch times the number of steps in the epoch; add up inputs.numel() from the start",
           [size * (i % n + 1) for i, size in enumerate(tokens)])
    yield ("a window has T tokens of input; the one more, its last target, does not count",
           list(itertools.accumulate(b * (t + 1) for b, t in shapes)))
    yield "tokens_seen counts inputs and targets; the inputs alone are the tokens seen", [2 * s for s in seen]
    yield "there is one number of tokens for each epoch; record it in each step", [part[-1] for part in parts(seen, n)]
    yield "the tokens of each epoch are in a list of their own; put all steps into one list", parts(seen, n)
    yield "the tokens of each epoch are in a list of their own, from 0; put all steps into one list", parts(in_epoch, n)
    yield "only the tokens of the last epoch are left: " + start, seen[-n:]
    yield "only the tokens of the last epoch are left, counted from 0: start to count, and " + start, in_epoch[-n:]
    yield "tokens_seen is one number; record it in each step, in a list", seen[-1]
    yield "the last number of tokens stands at every step; record each step's own", seen[-1:] * total
    yield "the list of tokens is empty: append their number to it in each step", []


@exercise("5.5", "early stopping", see=("05", "Roads not taken"))
def check_early_stop(answer, draw):
    """early_stop(val_losses, patience): (index of the lowest loss so far, index of the evaluation at which training stops)."""
    tie, nan = "a loss equal to the lowest, which is not lower", "a loss of nan, which is not lower than anything"
    plans = (       # what is special, levels of the losses (-1 is nan), patience
        ("", [6, 2, 3, 4, 5, 6, 7], 2),
        ("", [6, 4, 1, 3, 5, 4], 2),
        ("a lower loss after the stop", [5, 2, 3, 4, 1, 0], 2),
        ("after a rise the loss falls, but not below the lowest", [5, 2, 6, 4, 3, 1], 3),
        ("single worse evaluations between better ones", [6, 7, 4, 5, 3, 4, 1, 2], 2),
        ("the loss falls to the end", [6, 5, 4, 3], 2),
        ("the patience runs out at the last evaluation", [5, 2, 3, 4], 2),
        ("a better loss before the patience runs out", [5, 3, 4, 6, 2, 4], 3),
        ("patience 1", [5, 4, 6, 3], 1),
        ("the first loss is the lowest", [2, 3, 5, 4, 6], 3),
        ("a single evaluation", [3], 2),
        (tie, [5, 3, 3, 4, 3, 6], 2),
        (tie, [5, 3, 4, 3, 2, 6], 3),
        (nan, [5, 3, -1, 4, 2], 2),
        (nan, [5, 3, -1, 4, 6, 7], 3),
        (nan, [5, 3, 4, -1, 2, 6, 7, 8], 3),
    )
    levels = [round(x, 3) for x in itertools.accumulate((draw.uniform(0.1, 0.5) for _ in range(8)), initial=draw.uniform(9, 11))]
    cases = [([levels[i] if i >= 0 else math.nan for i in ranks], patience) for _, ranks, patience in plans]
    gots = [as_list(attempt(answer, *case, reasons={}, case=special)) for (special, *_), case in zip(plans, cases, strict=True)]
    wants = [list(stopping(*case)) for case in cases]
    if all(map(same, gots, wants)):
        return
    name_mistake(gots, ((words, lambda wrong=wrong: [as_list(wrong(*case)) for case in cases])
                        for words, wrong in stopping_mistakes()))
    for (special, *_), (losses, patience), got, want in zip(plans, cases, gots, wants, strict=True):
        if not isinstance(got, list) or len(got) != 2:
            came = "None came back: is `return` missing? Need" if got is None else f"{in_short(got)} came back; need"
            raise_not_yet(f"{came} two whole numbers, (best, stop)", special)
        expect(got, want, call=f"{answer.name}({short(losses)}, {patience})", name="(best, stop)", case=special)


def stopping(losses, patience, lower=operator.lt, *, worse=lambda a, b: True, wait=0, again=lambda wait: 0, always=True):
    """The right (best, stop). The options are mistakes.

    worse: which of the losses that are not lower count; wait: the count at the start; again: the count after a better loss;
    always: whether the count is looked at then, too.
    """
    best = 0
    for i, loss in enumerate(losses):
        if i and lower(loss, losses[best]):
            best, wait = i, again(wait)
        elif i and worse(loss, losses[best]):
            wait += 1
        if wait >= patience and (always or i > best):
            return best, i
    return best, len(losses) - 1


def stopping_by_neighbours(losses, patience, rises, again, best_is_lowest):
    """(best, stop) when each loss is compared with the one before it."""
    best, wait = 0, 0
    for i in range(1, len(losses)):
        up = rises(losses[i], losses[i - 1])
        wait = wait + 1 if up else again(wait)
        if losses[i] < losses[best] if best_is_lowest else not up:
            best = i
        if wait >= patience:
            return best, i
    return best, len(losses) - 1


def stopping_by_windows(losses, patience, rises):
    """(best, stop) when each loss is compared with the one `patience` evaluations before it."""
    stop = next((i for i in range(patience, len(losses)) if rises(losses[i], losses[i - patience])), len(losses) - 1)
    return lowest(losses[: stop + 1]), stop


def stopping_by_the_first(losses, patience):
    """(best, stop) when each loss is compared with the first one."""
    best, wait = 0, 0
    for i, loss in enumerate(losses[1:], 1):
        best, wait = (i, 0) if loss < losses[0] else (best, wait + 1)
        if wait >= patience:
            return best, i
    return best, len(losses) - 1


def stopping_from_the_start(losses, patience):
    """(best, stop) when any loss that is no better ends the training once `patience` evaluations are over."""
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i >= patience:
            return best, i
    return best, len(losses) - 1


def stopping_with_a_tie_as_news(losses, patience):
    """(best, stop) when a tie starts the count again, though not the index."""
    best, wait = 0, 0
    for i, loss in enumerate(losses):
        wait = 0 if loss <= losses[best] else wait + 1
        best = i if loss < losses[best] else best
        if wait >= patience:
            return best, i
    return best, len(losses) - 1


def lowest(losses, nan=math.inf):
    """The index of the lowest loss; nan: what is taken for a loss of nan."""
    return min(range(len(losses)), key=lambda i: nan if math.isnan(losses[i]) else losses[i])


def stopping_from(lowest, losses, patience):
    """(best, stop) when the lowest loss starts at a fixed number."""
    best = 0
    for i, loss in enumerate(losses):
        if loss < lowest:
            lowest, best = loss, i
        if i - best == patience:
            return best, i
    return best, len(losses) - 1


def stopping_mistakes():
    """Yield (what is wrong in words, (losses, patience) -> what this mistake gives), the most specific first."""
    def then(change):
        """The right (best, stop), changed."""
        return lambda losses, k: change(*stopping(losses, k), losses, k)

    def at_the_end(change):
        """The right (best, stop), changed where training never stops early."""
        return then(lambda best, stop, losses, k: change(best, stop) if stop - best < k else (best, stop))

    yield "best and stop are exchanged", then(lambda best, stop, *_: (stop, best))
    yield "the lowest loss itself came back; its index is asked", then(lambda best, stop, losses, _: (losses[best], stop))
    yield "the losses themselves came back; their indices are asked", then(
        lambda best, stop, losses, _: (losses[best], losses[stop]))
    yield "only stop came back; return (best, stop)", then(lambda best, stop, *_: stop)
    yield "only best came back; return (best, stop)", then(lambda best, stop, *_: best)
    yield "best and stop are counted from 1; an index counts from 0", then(lambda best, stop, *_: (best + 1, stop + 1))
    yield "best is counted from 1; an index counts from 0", then(lambda best, stop, *_: (best + 1, stop))
    yield "stop is counted from 1; it is an index, which counts from 0", then(lambda best, stop, *_: (best, stop + 1))
    yield "best is where training stops; the index of the lowest loss is asked", then(lambda best, stop, *_: (stop, stop))
    yield "stop is where the loss was lowest; training notices `patience` evaluations later", then(
        lambda best, stop, *_: (best, best))
    yield "where training stops early, stop is where it stops, and not where the loss was lowest", then(
        lambda best, stop, _, k: (best, best if stop - best == k else stop))
    yield "the indices are those of val_losses[1:], one too small: enumerate(val_losses[1:], 1)", then(
        lambda best, stop, _, k: (max(best - 1, 0), stop - (stop - best == k)))
    yield "where training stops early, stop is one too small (or an index of val_losses[1:]: enumerate(val_losses[1:], 1))", then(
        lambda best, stop, _, k: (best, stop - (stop - best == k)))
    yield "best is always 0: keep the index, too, when a lower loss is found", then(lambda _, stop, *__: (0, stop))
    yield "the second number is the age of the lowest loss; the index where training stops is asked", then(
        lambda best, stop, *_: (best, stop - best))
    yield "best is taken as stop - patience, which holds only where training stops early", then(
        lambda _, stop, __, k: (stop - k, stop))
    yield "the lowest loss of the whole list was taken; training does not see what comes after its stop", then(
        lambda _, stop, losses, __: (lowest(losses), stop))
    for nan in (math.inf, -math.inf):
        yield ("the lowest loss of the whole list was looked for first; training does not see what comes after its stop",
               lambda losses, k, nan=nan: (lowest(losses, nan), min(lowest(losses, nan) + k, len(losses) - 1)))
    yield "stop is taken as best + patience, which may lie behind the last evaluation", then(
        lambda best, _, __, k: (best, best + k))

    never = "where training never stops early, stop is the index of the last evaluation, len(val_losses) - 1"
    for value in (None, -1, 0, math.inf):
        yield f"{never}; {value} came back", at_the_end(lambda best, stop, value=value: (best, value))
        yield f"{never}; {value} came back", at_the_end(lambda best, stop, value=value: value)
        yield f"{never}, and best is as always; {value} came back for both", at_the_end(lambda *_, value=value: (value, value))
    yield f"{never}; one less came back", at_the_end(lambda best, stop: (best, stop - 1))
    yield f"{never}; one more came back", at_the_end(lambda best, stop: (best, stop + 1))
    yield f"{never}, but best is the index of the lowest loss then, too", at_the_end(lambda best, stop: (stop, stop))
    yield "training never stops: end the loop when the patience has run out", lambda losses, k: (lowest(losses), len(losses) - 1)

    yield "a loss that only equals the lowest is taken for lower: compare with <", lambda losses, k: stopping(
        losses, k, operator.le)
    yield ("a loss that only equals the lowest starts the count again; it is not lower, so it counts as no better",
           stopping_with_a_tie_as_news)
    ask = "every comparison with nan is False, so ask whether a loss is lower, and count it as no better otherwise"
    yield f"nan is taken for a lower loss: {ask}", lambda losses, k: stopping(losses, k, lambda a, b: not a >= b)
    yield (f"nan, and a loss that only equals the lowest, are taken for lower: {ask}",
           lambda losses, k: stopping(losses, k, lambda a, b: not a > b))
    yield ("nan is taken for the lowest loss, as argmin does; it is not lower than anything",
           lambda losses, k: stopping(losses, k, lambda a, b: a < b or math.isnan(a)))
    yield "training stops at once at a loss of nan; it counts as one evaluation that is no better", lambda losses, k: stopping(
        losses[: next((i + 1 for i, loss in enumerate(losses) if math.isnan(loss)), len(losses))], k)
    yield ("nan was taken out of the list, which shifts the indices after it; it counts as one evaluation that is no better",
           lambda losses, k: stopping([loss for loss in losses if not math.isnan(loss)], k))
    for worse, what in ((operator.ge, "nan"), (lambda a, b: not a <= b, "a loss that only equals the lowest"),
                        (operator.gt, "nan, or a loss that only equals the lowest,")):
        yield f"{what} is passed over; it counts as one evaluation that is no better", lambda losses, k, worse=worse: stopping(
            losses, k, worse=worse)

    for start in (10.0, 5.0, 1.0):
        yield ("the lowest loss starts at a fixed number, and the losses before it falls below that are no better: "
               "start with infinity, or with the first loss",
               lambda losses, k, start=start: stopping_from(start, losses, k))
    for last in (0, 1):
        yield ("the lowest loss starts at 0, and no loss is lower than that: start with infinity, or with the first loss",
               lambda losses, k, last=last: (0, min(k - 1 + last, len(losses) - 1)))
    for higher in (operator.gt, operator.ge, lambda a, b: not a <= b, lambda a, b: not a < b):
        yield "the highest loss is looked for; the lowest is the best", lambda losses, k, higher=higher: stopping(
            losses, k, higher)
    due = "training stops when the lowest loss is `patience` evaluations old"
    for lower, more in ((operator.lt, ""), (operator.le, "; and a tie is not lower"),
                        (lambda a, b: not a >= b, "; and nan is not lower"),
                        (lambda a, b: not a > b, "; and neither a tie nor nan is lower")):
        yield f"one evaluation too late: {due}, not one more{more}", lambda losses, k, lower=lower: stopping(losses, k + 1, lower)
        for always in (True, False):
            yield f"one evaluation too early: {due}, not one less{more}", lambda losses, k, lower=lower, always=always: stopping(
                losses, k - 1, lower, always=always)
        yield (f"the first loss is counted as no better, so training stops too early: it is the lowest so far{more}",
               lambda losses, k, lower=lower: stopping(losses, k, lower, wait=1))
        yield (f"the count is 1 after a new lowest loss, so training stops one evaluation too early; start again from 0{more}",
               lambda losses, k, lower=lower: stopping(losses, k, lower, again=lambda _: 1))
        yield (f"the count is not reset: a new lowest loss starts it again from 0{more}",
               lambda losses, k, lower=lower: stopping(losses, k, lower, again=lambda wait: wait))
        yield (f"the patience is not used: training stops at the first loss that is no better{more}",
               lambda losses, k, lower=lower: stopping(losses, 1, lower))
    for rises in (operator.gt, operator.ge, lambda a, b: not a < b, lambda a, b: not a <= b):
        for options in itertools.product([rises], (lambda _: 0, lambda wait: wait), (True, False)):
            yield ("each loss is compared with the one before it; compare it with the lowest so far",
                   lambda losses, k, options=options: stopping_by_neighbours(losses, k, *options))
        yield ("each loss is compared with the one `patience` evaluations before it; compare it with the lowest so far",
               lambda losses, k, rises=rises: stopping_by_windows(losses, k, rises))
    yield "every loss is taken for lower: keep the lowest loss, too, when one is found", lambda losses, k: (
        max(i for i, loss in enumerate(losses) if loss < math.inf), len(losses) - 1)
    yield "`return` is inside the loop, so that it ends at the first evaluation", lambda losses, k: (0, len(losses) - 1)
    yield "each loss is compared with the first; compare it with the lowest so far", stopping_by_the_first
    yield ("the patience is counted from the start; it begins anew at each new lowest loss", stopping_from_the_start)
    yield ("the patience is counted from the start; it begins anew at each new lowest loss",
           lambda losses, k: (lowest(losses[: k + 1]), min(k, len(losses) - 1)))


@exercise("5.6", "gradient clipping", see=("06", "When a training ends early"))
def check_clip_gradients(answer, draw):
    """clip_gradients(parameters, max_norm): scale all gradients together to a joint norm of at most max_norm; the norm before."""
    for case, size in ((None, 1.0), ("gradients below max_norm", 1.0), ("gradients of 0", 0.0)):
        params = [torch.nn.Parameter(draw.normal(*shape)) for shape in ((5,), (2,), (3, 4), (2, 3), (4,))]
        for p, spread in zip(params, (0.7, None, 0.4, 0.25, 0.6), strict=True):
            p.grad = None if spread is None else size * spread * draw.normal(*p.shape)
        params[2].grad[0, 0], params[2].grad[2, 1] = 3 * size, -2.5 * size         # beyond max_norm in the first case
        start, grads = [p.detach().clone() for p in params], [p.grad.clone() for p in params if p.grad is not None]
        norm = torch.cat([g.flatten() for g in grads]).norm().item()
        max_norm = 1.0 if not size else draw.uniform(1.2, 1.6) if case is None else norm * draw.uniform(1.3, 1.8)

        got = attempt(answer, list(params), max_norm, case=case, may_change=(0,), reasons={
            "NoneType": "a tensor that took no part in the loss has .grad None: pass over it",
            "leaf Variable": "the weights themselves were to be changed; it is their gradients, p.grad, that are clipped",
            "ZeroDivisionError": "the norm is 0: divide only where it is above max_norm"})
        want_that(all(torch.equal(p, old) for p, old in zip(params, start, strict=True)),
                  "the weights were scaled; it is their gradients, p.grad, that are clipped", case)
        want_that(params[1].grad is None, "the gradient that was None is so no longer; leave it alone", case)
        after = [p.grad for p in params if p is not params[1]]
        want_that(all(isinstance(g, torch.Tensor) for g in after), "a gradient is gone; scale it, so that its direction stays",
                  case)
        if not size:
            want_that(not any(g.isnan().any() for g in after), "the gradients are nan now: 0 was divided by their norm, which is "
                                                               "0, too; divide only where the norm is above max_norm", case)
            expect(got, 0.0, name="the norm", case=case)
            expect(after, grads, name="the gradients", case=case)
            continue
        want = [g * min(1.0, max_norm / norm) for g in grads]
        clipped = same(after, want)
        if not clipped:
            name_mistake(after, clipped_one_by_one(grads, max_norm), rtol=1e-4, case=case)
        expect(got, norm, norm_mistakes(got, grads, after, start, max_norm), name="the norm", case=case, scales={
            "the number of gradients": len(grads), "the number of values in them": sum(g.numel() for g in grads)})
        if not clipped:
            name_mistake(after, clipping_mistakes(grads, norm, max_norm), rtol=1e-4, case=case)
            times = (after[2] * grads[2]).sum() / grads[2].square().sum()          # the factor, if it is one
            same_factor = same(after, [g * times for g in grads], atol=1e-4)
            became = f"{times:.4g} times what they were" if same_factor else "not scaled by one factor"
            raise_not_yet(f"the gradients are {became}; the factor is max_norm / norm where the norm is above max_norm, and "
                          f"1 otherwise, here {min(1.0, max_norm / norm):.4g}", case)
        want_that(not has_graph(got), "the norm still holds on to a graph; compute it from the gradients alone", case)


def clipped_one_by_one(grads, max_norm):
    """Yield (what is wrong in words, the gradients after it) for what is done to each gradient by itself."""
    turns = ", which turns the direction of the step; scale all by one factor, from their joint norm"
    yield "each gradient is clipped by its own norm" + turns, [g * min(1.0, max_norm / g.norm().item()) for g in grads]
    yield "each gradient is scaled to its own norm of max_norm" + turns, [g * max_norm / g.norm() for g in grads]
    yield "each gradient is divided by its own norm" + turns, [g / g.norm() for g in grads]
    for low, high in ((-max_norm, max_norm), (None, max_norm), (-1.0, 1.0)):
        yield "each number is clamped by itself" + turns, [g.clamp(low, high) for g in grads]


def norm_mistakes(got, grads, after, weights, max_norm):
    """{what is wrong with the norm, in words: that norm}."""
    every, norms = torch.cat([g.flatten() for g in grads]), torch.stack([g.norm() for g in grads])
    norm, factor = every.norm(), min(1.0, max_norm / every.norm().item())
    trained, weights = (torch.cat([w.flatten() for w in some]) for some in ([weights[0], *weights[2:]], weights))
    return {
        "the norm after clipping came back; return the one before": torch.cat([g.flatten() for g in after]).norm(),
        "the norm after clipping came back, max_norm at most; return the one before": min(norm.item(), max_norm),
        "max_norm came back; return the joint norm before clipping": max_norm,
        "the factor came back; return the joint norm before clipping": factor,
        "the factor max_norm / norm came back; return the joint norm before clipping": max_norm / norm,
        "the factor norm / max_norm came back; return the joint norm before clipping": norm / max_norm,
        "the norms of the gradients are added up; square them first, add up, and take the root": norms.sum(),
        "the root is missing: that is the sum of all squares": norm.square(),
        "the root of the sum of the norms was taken; the norms are squared before they are added up": norms.sum().sqrt(),
        "the absolute values are added up; square them, add up, and take the root": every.abs().sum(),
        "that is the largest number in the gradients; the norm is the root of the sum of all squares": every.abs().max(),
        "that is the largest norm of one gradient; all of them count together": norms.max(),
        "that is the mean of the norms; square them, add up, and take the root": norms.mean(),
        "that is the root of the mean square; the norm is the root of the sum of all squares": every.square().mean().sqrt(),
        "that is the mean square; the norm is the root of the sum of all squares": every.square().mean(),
        "that is the norm of the last gradient alone: add up the squares of all, and do not overwrite": norms[-1],
        "that is the norm of the first gradient alone: the loop ends too early; pass over a gradient of None, and go on":
            norms[0],
        "the numbers are added up without squares; square each first": every.sum(),
        "the numbers are added up before they are squared; square each first": every.sum().abs(),
        "the norm of each gradient came back; one number for all of them together is asked": norms,
        "the norm of each gradient came back, in a list; one number for all of them together is asked": norms.tolist(),
        "that is the norm of the weights; it is the gradients, p.grad, that are clipped": weights.norm(),
        "that is the norm of the weights that have gradients; it is the gradients, p.grad, that are clipped": trained.norm(),
        "the mean of squares was taken in each gradient; add up all squares": sum(g.square().mean() for g in grads).sqrt(),
        "the numbers of each gradient are added up before they are squared; square each first":
            sum(g.sum() ** 2 for g in grads).sqrt(),
        "the gradients came back; return their joint norm before clipping": grads,
        "the clipped gradients came back; change p.grad, and return the joint norm before clipping": [g * factor for g in grads],
        "the norm is rounded; return it as it is": lambda: rounded(got, norm.item()),
    }


def clipping_mistakes(grads, norm, max_norm):
    """Yield (what is wrong in words, the gradients after it), when the joint norm is right and norm > max_norm, or below it."""
    def all_times(factor):
        return [g * factor for g in grads]

    factor = max_norm / norm
    if factor > 1:
        yield "gradients below max_norm are scaled up to it; clipping leaves them as they are", all_times(factor)
    yield ("the gradients are as they were, though their norm is above max_norm: is the comparison the wrong way round? Or write "
           "the scaled ones back: p.grad * factor alone changes nothing"), all_times(1.0)
    yield "the factor is upside down: it is max_norm / norm, which is below 1 where the norm is too large", all_times(1 / factor)
    yield "the gradients are divided by their norm, so that it becomes 1; the factor is max_norm / norm", all_times(1 / norm)
    yield "the gradients are multiplied by max_norm; the factor is max_norm / norm", all_times(max_norm)
    yield "the gradients are divided by max_norm; the factor is max_norm / norm", all_times(1 / max_norm)
    yield "the factor is used twice", all_times(factor**2)
    yield "the root of the factor was taken; the factor is max_norm / norm", all_times(factor**0.5)
    yield "the norm lacks its root where the gradients are divided by it", all_times(max_norm / norm**2)
    yield "the gradients are divided by the sum of their norms, and not by their joint norm", all_times(
        max_norm / sum(g.norm() for g in grads))
    yield "the gradients are set to 0; scale them by max_norm / norm, so that their direction stays", all_times(0.0)
    yield "the gradients have turned round; the factor is max_norm / norm, which is above 0", all_times(-factor)
    yield "only the first gradient is scaled; scale all, by the same factor", [grads[0] * factor, *grads[1:]]
    yield "only the last gradient is scaled; scale all, by the same factor", [*grads[:-1], grads[-1] * factor]
    running = [torch.cat([g.flatten() for g in grads[: i + 1]]).norm().item() for i in range(len(grads))]
    yield ("each gradient is scaled as soon as it is added to the norm; add up all of them first, then scale all by one factor",
           [g * min(1.0, max_norm / so_far) for g, so_far in zip(grads, running, strict=True)])
    yield "only a gradient whose own norm is too large is scaled; scale all, by the same factor", [
        g * factor if g.norm() > max_norm else g for g in grads]
