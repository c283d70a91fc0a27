"""Observers: a tiny model, its optimizer and its loader, which note what a training or an evaluation does with them.

`watch` turns what was noted into words and numbers, so that it can be compared like any other value.
"""
import copy
import re

import torch
import torch.nn.functional as F


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

    def fresh(self):
        """A copy with a log of its own."""
        twin = copy.deepcopy(self)
        twin.log = Log()
        return twin


class Descent:
    """Gradient descent with some weight decay, so that a step by hand is another one (PyTorch's own takes a second to load)."""

    def __init__(self, model, lr=0.5, decay=0.1):
        self.log, self.lr, self.decay = model.log, lr, decay
        self.param_groups = [{"params": list(model.parameters()), "lr": lr, "weight_decay": decay}]
        self.used = []                                         # the gradients of each step, in one row

    def zero_grad(self, set_to_none=True):
        self.log.note("Z")
        for p in self.param_groups[0]["params"]:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

    def step(self, closure=None):
        loss = closure() if closure else None
        self.log.note("S")
        params = self.param_groups[0]["params"]
        self.used.append(torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in params]))
        with torch.no_grad():
            for p in params:
                if p.grad is not None:
                    p -= self.lr * (p.grad + self.decay * p)
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


def act(words, model, optimizer, loss, *, loss_of, start=lambda loss: loss, retain=False):
    """Do what the words say, one after the other; the loss after that. Words: loss, backward, zero_grad, step, train, eval."""
    for word in words.split():
        if word == "loss":
            loss = loss_of()
        elif word == "backward":
            start(loss).backward(retain_graph=retain)
        else:
            getattr(model if word in ("train", "eval") else optimizer, word)()
    return loss


IN_ORDER = "in order"


def watch(model, before, optimizer, batches, epochs=1, passes=1):
    """What a training did, in words; the length of its first step, in right ones; how far its weights are from right ones.

    model, before: the model after and before the training. passes: how often the loader was read. Whatever an answer does in
    another way, in another order or besides is right when the weights are where one step for each batch leads.
    """
    order = [next((i for i, (x, _) in enumerate(batches) if torch.equal(x, ids)), -1) for ids in model.log.learned()]
    n, twin = len(batches), before.fresh().train()
    rule = Descent(twin, optimizer.lr, optimizer.decay)
    for i in order:
        twin.zero_grad()
        batch_loss(*batches[i], twin).backward()
        rule.step()
    complete = len(order) == n * epochs and all(sorted(part) == list(range(n)) for part in parts(order, n))
    if complete and passes >= epochs and torch.allclose(model.weights(), twin.weights(), 1e-3, 1e-5):
        return IN_ORDER, 1.0, 0.0
    length = (optimizer.used[0] @ rule.used[0] / rule.used[0].square().sum()).item() if optimizer.used and rule.used else 0.0
    return story(model.log.letters(), order, n, epochs, passes), length, (model.weights() - twin.weights()).abs().max().item()


def story(log, order, n, epochs, passes):
    """What is wrong with a training, as its log shows it; order: the batches that backward came through, n an epoch."""
    total, forwards, steps, zeros = n * epochs, len(re.findall("[Ff]", log)), log.count("S"), log.count("Z")
    by_epoch = parts(order, n)
    backward = re.search("[BD]", log)
    return next((words for words, seen in {
        "the model is never called": not re.search("[FfVv]", log),
        "no backward()": not backward,
        "no step()": not steps,
        "step() before backward()": backward and log.find("S") < backward.start(),
        "zero_grad() between backward() and step()": re.search("[BD][^S]*Z[^BD]*S", log),
        "inputs that are no batch": -1 in order,
        "a mode of the model alone, without the dropout in it": "R" in log,
        "dropout off": "f" in log and "F" not in log,
        "dropout off at times": "f" in log,
        f"backward() {len(order)} times for {total} batches": len(order) < total <= forwards,
        "backward() more than once on a loss": len(order) > forwards,
        "one batch alone": len(order) == 1 < total,
        f"one epoch alone, of {epochs}": len(order) == n < total and passes == 1,
        "one batch of each epoch left out": len(order) == (n - 1) * epochs,
        "one batch alone of each epoch": len(order) == epochs < total,
        f"{len(order) // n} epochs, of {epochs}": len(order) % n == 0 and len(order) != total,
        f"{len(order)} batches, of {total}": len(order) != total,
        "each batch in all epochs, before the next one": epochs > 1 and all(len(set(p)) == 1 for p in parts(order, epochs)),
        "a batch twice in an epoch": any(len(set(part)) < n for part in by_epoch),
        f"step() {steps} times for {total} batches": steps < total,
        "gradients that add up, without zero_grad()": "D" in log and not zeros,
        f"gradients that add up, with zero_grad() {zeros} times for {total} batches": "D" in log,
        "step() more than once for a batch": steps > total,
        "one order for all epochs": passes < epochs,
    }.items() if seen), IN_ORDER)


def parts(values, n):
    """The values of each epoch of n steps in a list of their own."""
    return [values[i : i + n] for i in range(0, len(values), n)]
