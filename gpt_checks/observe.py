"""Observers: what an answer does, besides what it returns, as Facts that can be compared like any other value.

Each function of the second half is a `use` of a check: it calls an answer, and says what happened. To note what a run or an
evaluation does, answers are given a tiny model, its optimizer and its loader.
"""
import itertools
import re
import weakref
from collections.abc import Iterable
from numbers import Integral
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from gpt_checks.core import NotYet, as_tensor, same
from gpt_checks.spec import Facts


def as_list(value):
    """The list of what a sequence holds, however it is made (tuple, range, tensor, generator); anything else as it is."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | dict | set | torch.nn.Module):
        return value
    try:
        held = value.tolist() if isinstance(value, torch.Tensor) else itertools.islice(value, 100_000)
        return [int(part) if isinstance(part, Integral) and not isinstance(part, bool) else part for part in held]
    except Exception:      # a tensor without dimensions, or without numbers
        return value


class Held(list):
    """The list of what a sequence held; kind: the name of that sequence's type."""

    def __init__(self, held, kind):
        super().__init__(held)
        self.kind = kind


def listed(answer, *args):
    """What an answer gives, as a list if it is a sequence."""
    got = answer(*args)
    held = as_list(got)
    return Held(held, type(got).__name__) if isinstance(held, list) else held


def a_list(got):
    """Raises NotYet when values that are right, and were to be a list, came in something else."""
    if isinstance(got, Held) and got.kind not in ("list", "tuple"):
        turn = ".tolist() makes" if got.kind in ("Tensor", "ndarray") else "list(...) makes"
        raise NotYet(f"the values are right, but came as a {got.kind}; a list is asked, and {turn} one of it")


class Words(str):
    """What an answer gave, in words that can be compared and are shown without quotes; no string of an answer's own is equal."""

    __repr__ = str.__str__


def in_words(value):
    """nan and infinity as words; anything else as it is."""
    tensor = as_tensor(value)
    single = tensor is not None and tensor.numel() == 1 and tensor.is_floating_point()
    return Words(tensor.item()) if single and not tensor.isfinite() else value


def graph_in(value):
    """Whether a tensor, or one in a list, is still attached to its graph, in words."""
    held = value if isinstance(value, list | tuple) else [value]
    return "a graph" if any(isinstance(part, torch.Tensor) and part.requires_grad for part in held) else "no graph"


def random_state_beside(state, seed):
    """What became of PyTorch's random state, in words; state: what it was, of this seed and some numbers later."""
    now, start = torch.get_rng_state(), torch.Generator().manual_seed(seed).get_state()
    seeded = torch.initial_seed() != seed or torch.equal(now, start)
    return "as it was" if torch.equal(now, state) else "that of a seed" if seeded else "moved"


class Log(list):
    """(letter, ids) for what was done, in order; copies of a model write into the log of the original.

    F, f: a forward pass with a graph, dropout on or off. V, v: the same without a graph. R: the modes of a model and of the
    dropout in it differ. W: a graph is built while another one waits for its backward. B: backward. D: backward onto gradients
    that are there already. Z: zero_grad. S: step.
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
    """As dropout, but it zeroes the same numbers every time, so that a run can be repeated."""

    def forward(self, x):
        return x * (torch.arange(x.shape[-1]) % 2 * 2) if self.training and self.p else x


class Graph:
    """Lives as long as the graph that it is part of; done: whether backward has passed."""

    done = False


class Model(torch.nn.Module):
    """From (B, T) ids to (B, T, V) logits, by two tables; shift is added to the logits, to spoil them."""

    def __init__(self, emb, head, shift, dropout=0.5):
        super().__init__()
        self.emb, self.head = torch.nn.Parameter(emb.clone()), torch.nn.Parameter(head.clone())
        self.drop, self.shift = Thinning(dropout), shift
        self.log, self.graphs = Log(), []

    @classmethod
    def drawn(cls, draw, vocab_size, emb_dim=6):
        return cls(draw.normal(vocab_size, emb_dim), draw.normal(vocab_size, emb_dim), torch.zeros(vocab_size))

    def forward(self, ids):
        logits = self.drop(self.emb[ids]) @ self.head.T + self.shift
        letter = "f" if logits.requires_grad else "v"
        self.log.note(letter.upper() if self.drop.training and self.drop.p else letter, ids)
        if self.training != self.drop.training:
            self.log.note("R")
        if logits.requires_grad:
            if any((other := ref()) and not other.done for ref in self.graphs):
                self.log.note("W")
            graph = Graph()
            self.graphs.append(weakref.ref(graph))
            logits.register_hook(lambda _: self.passed(graph, ids))
        return logits

    def passed(self, graph, ids):
        """Note that backward came to the logits."""
        graph.done = True
        self.log.note("D" if any(p.grad is not None and p.grad.any() for p in self.parameters()) else "B", ids)

    def zero_grad(self, set_to_none=True):
        self.log.note("Z")
        super().zero_grad(set_to_none)

    def weights(self):
        """All weights in one row."""
        return torch.cat([p.detach().flatten() for p in self.parameters()])

    def fresh(self):
        """A copy in the same mode, with a log of its own and without gradients."""
        return Model(self.emb.detach(), self.head.detach(), self.shift).train(self.training)


class Descent:
    """Gradient descent with some weight decay, so that a step by hand is another one (PyTorch's own takes a second to load)."""

    def __init__(self, model, lr=0.5, decay=0.1):
        self.log, self.first = model.log, None                 # first: the gradients of the first step, in one row
        self.param_groups = [{"params": list(model.parameters()), "lr": lr, "weight_decay": decay}]

    def zero_grad(self, set_to_none=True):
        self.log.note("Z")
        for p in self.param_groups[0]["params"]:
            p.grad = None if set_to_none or p.grad is None else torch.zeros_like(p)

    def step(self, closure=None):
        loss = closure() if closure else None
        self.log.note("S")
        params, lr, decay = self.param_groups[0].values()
        if self.first is None:
            self.first = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in params])
        with torch.no_grad():
            for p in params:
                if p.grad is not None:
                    p -= lr * (p.grad + decay * p)
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
        return (self.batches[i] for i in self.order(self.passes))

    def order(self, k):
        """The order of the k-th pass."""
        return self.orders[k % len(self.orders)]


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


REPLAYS = weakref.WeakKeyDictionary()      # {model: what replay has found}, apart from the model, which answers are given


def replay(model, batches, order):
    """What a right training gives on these batches in this order; gradients: of its first step, in one row."""
    replays = REPLAYS.setdefault(model, {})
    if (key := tuple(order)) not in replays:
        twin, losses = model.fresh().train(), []
        optimizer = Descent(twin)
        for i in order:
            twin.zero_grad()
            loss = batch_loss(*batches[i], twin)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        seen = list(itertools.accumulate(batches[i][0].numel() for i in order))
        replays[key] = SimpleNamespace(weights=twin.weights(), gradients=optimizer.first, losses=losses, seen=seen)
    return replays[key]


IN_ORDER = "one step for each batch"


def watch(model, before, optimizer, batches, epochs=1, passes=1):
    """(what a run did, in words; its first step's length, as a multiple of the right one's; its distance from right weights;
    a right training on the same batches in the same order).

    model, before: the model after and before the training. passes: how often the loader was read. Whatever an answer does in
    another way, in another order or besides is right when the weights are where one step for each batch leads.
    """
    order = [next((i for i, (x, _) in enumerate(batches) if torch.equal(x, ids)), -1) for ids in model.log.learned()]
    n, right = len(batches), replay(before, batches, order)
    complete = len(order) == n * epochs and all(sorted(part) == list(range(n)) for part in parts(order, n))
    if complete and passes >= epochs and torch.allclose(model.weights(), right.weights, 1e-3, 1e-5):
        return IN_ORDER, 1.0, 0.0, right
    stepped = optimizer.first is not None and right.gradients is not None
    length = (optimizer.first @ right.gradients / right.gradients.square().sum()).item() if stepped else 0.0
    off = (model.weights() - right.weights).abs().max().item()
    moved = not torch.equal(model.weights(), before.weights())
    return story(model.log.letters(), order, n, epochs, passes, moved), length, off, right


def story(log, order, n, epochs, passes, moved):
    """What is wrong with a run, as its log shows it; order: the batches that backward came through, n an epoch; moved: whether
    the weights have."""
    total, forwards, steps, zeros = n * epochs, len(re.findall("[Ff]", log)), log.count("S"), log.count("Z")
    by_epoch = parts(order, n)
    backward = re.search("[BD]", log)
    return next((words for words, seen in {
        "the model is never called": not re.search("[FfVv]", log),
        "no backward()": not backward,
        "weights that moved without step()": not steps and moved,
        "no step()": not steps,
        "step() before backward()": backward and log.find("S") < backward.start(),
        "zero_grad() between backward() and step()": re.search("[BD][^S]*Z[^BD]*S", log),
        "inputs that are no batch": -1 in order,
        "a mode of the model alone, without the dropout in it": "R" in log,
        "dropout off": "f" in log and "F" not in log,
        "dropout off at times": "f" in log,
        f"backward() {len(order)} times for {forwards} losses": len(order) < min(total, forwards),
        "backward() more than once on a loss": len(order) > forwards,
        "one batch alone": len(order) == 1 < total,
        f"one epoch alone, of {epochs}": len(order) == n < total and passes == 1,
        "one batch of each epoch left out": len(order) == (n - 1) * epochs,
        "one batch alone of each epoch": len(order) == epochs < total,
        f"{len(order) // n} epochs, of {epochs}": len(order) != total and all(sorted(part) == [*range(n)] for part in by_epoch),
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


# How answers are used.

def one_step(answer, model, x, y):
    """What an answer(model, optimizer, inputs, targets) does in one step, with the gradients of an earlier batch still there."""
    before, model = model, model.fresh()
    batch_loss(y, x, model).backward()
    model.log.clear()
    optimizer, happened, length, off = Descent(model), "no step", 1.0, 0.0
    got = answer(model, optimizer, x, y)
    if batch_loss(x, y, before.fresh()).isfinite():
        happened, length, off, _ = watch(model, before, optimizer, [(x, y)])
    elif not torch.equal(model.weights(), before.weights()):
        happened = ("a step on this loss" if model.log.learned() else "a step by old gradients" if "S" in model.log.letters()
                    else "weights that changed without step()")
    return Facts({"the loss": in_words(got), "the step": happened, "the step's length, as a multiple of the right one's,": length,
                  "the distance of the weights from where a right step leads": off, "what the loss holds": graph_in(got)})


def a_training(answer, model, batches, orders, epochs):
    """What happens in answer(model, loader, optimizer, batch_loss, num_epochs), and what comes back: (losses, tokens_seen)."""
    before, model, loader = model, model.fresh(), Loader(batches, orders)
    optimizer = Descent(model)
    got = as_list(answer(model, loader, optimizer, batch_loss, epochs))
    happened, length, off, own = watch(model, before, optimizer, batches, epochs, loader.passes)
    losses, seen = map(as_list, got) if isinstance(got, list) and len(got) == 2 else (None, None)
    two, graph = isinstance(losses, list) and isinstance(seen, list), graph_in(losses)
    ours = replay(before, batches, [i for k in range(epochs) for i in loader.order(k + 1)])
    if happened == IN_ORDER:      # an answer that read the loader once more trained in another order, and is right in that
        losses = ours.losses if same(losses, own.losses, atol=1e-5) else losses
        seen = ours.seen if same(seen, own.seen) else seen
    return Facts({
        "the training": happened, "its first step's length, as a multiple of the right one's,": length,
        "the distance of the weights from where one step for each batch leads": off,
        "what came back": "two lists, (losses, tokens_seen)" if two else got,
        "the list of losses, one for each step,": losses, "the list of tokens seen, one for each step,": seen,
        "what the losses hold": graph})


def a_look(answer, model, batches, mode, seed):
    """What answer(model, loader, batch_loss) measures, and what it leaves behind."""
    model = model.fresh().train(mode)
    for i, p in enumerate(model.parameters()):
        p.grad = torch.full_like(p, 0.1 * (i + 1))             # as after a step of training
    p_drop, weights, grads = model.drop.p, model.weights(), [p.grad.clone() for p in model.parameters()]
    torch.manual_seed(seed)
    torch.rand(3)
    state = torch.get_rng_state()
    with torch.enable_grad():
        got = answer(model, Loader(batches), batch_loss)
        on = torch.is_grad_enabled() and all(p.requires_grad for p in model.parameters())
    log = model.log.letters()
    same_grads = all(p.grad is not None and torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    outer, inner = ("train()" if part.training else "eval()" for part in (model, model.drop))
    return Facts({
        "dropout, while the loss was measured,":
            "off in the model alone, not inside it" if "R" in log else "on" if "F" in log or "V" in log else "off",
        "the loss": got,
        "what was built for each batch": "a graph" if "f" in log else graph_in(got),
        "the switch for gradients, afterwards,": "on" if on else "off",
        "the state of the weights, afterwards,": "as it was" if torch.equal(model.weights(), weights) else "changed",
        "the state of the gradients, afterwards,": "as it was" if same_grads else "changed",
        "the mode, afterwards,": (outer if outer == inner else f"{outer}, with dropout in {inner}")
            + f", with dropout's p at {model.drop.p:g}" * (model.drop.p != p_drop),
        "the random state, afterwards,": random_state_beside(state, seed)})


def a_clipping(answer, weights, grads, max_norm):
    """What answer(parameters, max_norm) does to weights and gradients, and what comes back."""
    parameters = [torch.nn.Parameter(w.clone()) for w in weights]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = None if g is None else g.clone()
    got = answer(parameters, max_norm, may_change=(0,))
    after = [p.grad for p, g in zip(parameters, grads, strict=True) if g is not None]
    return Facts({
        "the state of the weights, afterwards,": "as it was" if all(map(torch.equal, parameters, weights)) else "changed",
        "the number of gradients, afterwards,": sum(p.grad is not None for p in parameters),
        "the list of gradients": after, "the norm": got})


def an_accumulation(answer, table, head, old, batches):
    """How the answer leaves the weights, the gradient in one row, and what memory had to hold; old: gradients from before."""
    model = Model(table, head, 0.0, dropout=0.0)
    weights, model.emb.grad, model.head.grad = model.weights(), *(None if grad is None else grad.clone() for grad in old)

    def batch_loss(inputs, targets):
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), label_smoothing=0.1)

    answer(model, batches, batch_loss)
    grads, letters = [p.grad for p in model.parameters()], model.log.letters()
    called = re.search("[FfVv]", letters)
    missing = f"None, with {'a' if called else 'no'} loss" if any(grad is None for grad in grads) else ""
    largest = max((len(ids) for letter, ids in model.log if letter in "FfVv"), default=0)
    return Facts({
        "the weights": "as they were" if same(model.weights(), weights, 1e-7, 0) else "moved",
        "the gradient": missing or torch.cat([grad.flatten() for grad in grads]),
        "memory": "a larger batch" if largest > max(len(x) for x, _ in batches) else
                  "two graphs at a time" if "W" in letters else "one graph at a time"})
