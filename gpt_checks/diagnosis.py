"""The exercises of lesson 09 as data: programs to repair.

A program is a sound function as text, with its bugs: a bug is a sentence, a text that stands once in the function, what it
becomes, and what else in its place is told the same. `patient` puts two of them in, others for each student. One more bug is one
more line of a table here. What students do besides stands in a table of its own, `more`, as in every Spec; no patient has it.
"""
import math
import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gpt_checks import observe
from gpt_checks.core import Draw, short, want_that
from gpt_checks.observe import Descent, Model, as_list, batch_loss, draw_batches, graph_in, in_words
from gpt_checks.spec import Facts, spec


class Program:
    """A sound function as text, and its bugs, {sentence: (old text, new text, ...)}."""

    def __init__(self, number: str, source: str, bugs: Mapping[str, tuple]):
        self.number, self.source, self.bugs = number, source, bugs
        self.compiled = cache(self.compiled)

    def places(self, *olds: str) -> list[tuple[int, int]]:
        """Where these texts begin and end, in order."""
        return sorted((start := self.source.index(old), start + len(old)) for old in olds)

    def apart(self, *olds: str) -> bool:
        """Whether these texts share no character, so that all of them can be changed."""
        return all(end <= start for (_, end), (start, _) in pairwise(self.places(*olds)))

    def text(self, changes: Mapping[str, str]) -> str:
        """The function with these changes, {old text: new text}."""
        if not self.apart(*changes):
            raise ValueError(f"{list(changes)} overlap in the program of exercise {self.number}")
        text = self.source
        for start, end in reversed(self.places(*changes)):
            text = text[:start] + changes[self.source[start:end]] + text[end:]
        return text

    def compiled(self, *changes: tuple[str, str]) -> Callable:
        """The function itself."""
        space = {"math": math, "torch": torch, "nn": nn, "F": F}
        exec(compile(self.text(dict(changes)), f"<exercise {self.number}>", "exec"), space)
        *_, function = space.values()
        return function

    def __call__(self, *args: Any, **changes: str) -> Any:
        return self.compiled(*changes.items())(*args)

    def pairs(self) -> list[tuple[str, str]]:
        """The sentences of any two bugs that change different places, shuffled alike on every machine; neighbours share none."""
        left = [(one, other) for one, other in combinations(self.bugs, 2) if self.apart(self.bugs[one][0], self.bugs[other][0])]
        random.Random(self.number).shuffle(left)
        pairs = [left.pop()]
        while left:
            pair = next((pair for pair in left if not {*pair} & {*pairs[-1]}), left[0])
            left.remove(pair)
            pairs.append(pair)
        return pairs

    def ill(self, *sentences: str) -> str:
        """The text with the bugs of these sentences in it."""
        return self.text(dict(self.bugs[words][:2] for words in sentences))


PROGRAMS: dict[str, Program] = {}


def repair(number: str, title: str, section: str, source: str, bugs: Mapping[str, tuple], more: Mapping[str, Any] | None = None,
           **how: Any) -> Callable:
    """The check of an exercise whose right answer is a program, and whose mistakes are its bugs, and more; how: as in `spec`."""
    PROGRAMS[number] = program = Program(number, source, bugs)
    mistakes = {words: [{old: new} for new in news] for words, (old, *news) in bugs.items()}
    return spec(number, title, see=("09", section), right=program, mistakes=mistakes | (more or {}), patients=True, **how)


def faults(number: str, student: int) -> tuple[str, str]:
    """What is wrong with a student's program in an exercise, two sentences; student: an integer."""
    if number not in PROGRAMS:
        raise ValueError(f"there is no patient {number!r}; there are {', '.join(PROGRAMS)}")
    if not isinstance(student, int):
        raise ValueError(f"student is {student!r}; need an integer")
    pairs = PROGRAMS[number].pairs()
    return pairs[student % len(pairs)]


def patient(number: str, student: int) -> str:
    """A student's program in an exercise, with two bugs in it."""
    wrong = faults(number, student)
    return PROGRAMS[number].ill(*wrong)


SCORES_INPUTS = "the inputs are scored; what the model should say are the targets"
SHIFTED = "the targets are shifted by a step; they are one token later than the inputs already"
BACK = "    loss.backward()\n"
MIXED = "transpose changes the order of the logits, but not of the targets, so they no longer belong together"


# 9.1
def an_update(answer: Callable, model: Model, x: torch.Tensor, y: torch.Tensor, max_norm: float) -> Facts:
    """What an answer does in one update, with the gradients of an earlier batch still there."""
    before, model = model.weights(), model.fresh()
    batch_loss(y, x, model).backward()
    model.log.clear()
    got = answer(model, Descent(model), x, y, max_norm)
    still = torch.equal(model.weights(), before)
    step = observe.story(model.log.letters(), [0], 1, 1, 1, moved=False) if still else "a step"
    return Facts({"the loss": in_words(got), "the step": step,
                  "the row of all weights, after the update,": model.weights(), "what the loss holds": graph_in(got)})


def updates(draw: Draw) -> Iterator:
    """A model in eval() or in train() mode, a batch, and a max_norm below or above the norm of its gradients."""
    for case, mode, share in ((None, False, draw.uniform(0.04, 0.08)), ("max_norm above the norm", True, draw.uniform(1.5, 2))):
        b, t, v = draw.randint(2, 3), draw.randint(4, 5), draw.randint(16, 19)
        x, y = (torch.tensor(draw.sample(range(v), b * t)).view(b, t) for _ in range(2))      # each id once: nothing cancels
        twin = (model := Model.drawn(draw, v).train(mode)).fresh().train()
        batch_loss(x, y, twin).backward()
        yield case, (model, x, y, share * torch.cat([p.grad.flatten() for p in twin.parameters()]).norm().item())


check_update = repair("9.1", "an update", "The step", """\
def update(model, optimizer, inputs, targets, max_norm):
    model.train()
    optimizer.zero_grad()
    logits = model(inputs)                                       # (B, T, V)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss.item()""", {
    "dropout is off if the model comes in eval() mode: call model.train()": ("    model.train()\n", "", "    model.eval()\n"),
    "zero_grad() is missing before backward(), which adds to the gradients of earlier batches":
        ("    optimizer.zero_grad()\n", ""),
    "softmax is taken twice: F.cross_entropy wants logits": ("logits.flatten(0, 1)", "logits.softmax(dim=-1).flatten(0, 1)"),
    MIXED: ("logits.flatten(0, 1)", "logits.transpose(0, 1).flatten(0, 1)"),
    SCORES_INPUTS: ("targets.flatten()", "inputs.flatten()"),
    SHIFTED: ("targets.flatten()", "targets.roll(-1, dims=1).flatten()"),
    "the losses of all tokens are added up; the loss is their mean": ("())\n    loss", '(), reduction="sum")\n    loss'),
    "the loss is divided before backward(); it is a mean already": ("loss.backward()", "(loss / len(inputs)).backward()"),
    "each number in the gradients is clipped by itself, which turns the step; clip their norm": ("grad_norm_", "grad_value_"),
    "the step takes gradients that are not clipped: clip them after backward() and before step()": (
        "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n    optimizer.step()\n",
        "    optimizer.step()\n    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n"),
    "step() is never called (are its parentheses missing?), so no weight moves": ("optimizer.step()", "optimizer.step"),
    "the loss comes back with its graph, so whoever keeps it fills the memory: .item() is missing": ("loss.item()", "loss"),
}, {
    "step() comes before backward(), so there is no gradient for it yet":
        {BACK: "    optimizer.step()\n" + BACK, "    optimizer.step()\n": ""},
    "zero_grad() comes between backward() and step(), and clears the gradients that the step needs":
        {"    optimizer.step()": "    optimizer.zero_grad()\n    optimizer.step()"},
    "backward() is never called, so there are no gradients, and no weight moves": [{BACK: ""}, {BACK: "    loss.backward\n"}],
    "the norm is clipped to 1, whatever max_norm is": {"parameters(), max_norm": "parameters(), 1.0"},
    "the gradient of each tensor is clipped by itself, which turns the step; all together have one norm": {
        "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)":
        "    for p in model.parameters():\n        nn.utils.clip_grad_norm_([p], max_norm)"},
    "the largest number in the gradients was taken for their norm": {"max_norm)\n": "max_norm, math.inf)\n"},
    "the absolute values of the gradients were added up for their norm; it is the root of the sum of their squares":
        {"max_norm)\n": "max_norm, 1.0)\n"},
    "gradients with a norm below max_norm were scaled up; they stay as they are": {
        "    nn.utils.clip_grad_norm_": "    for p in model.parameters():\n        p.grad *= 1e6\n    nn.utils.clip_grad_norm_"},
    "the targets are shifted once more, and logits left out for it; they are one token later than the inputs already": {
        "logits.flatten(0, 1)": "logits[:, :-1].flatten(0, 1)", "targets.flatten()": "targets[:, 1:].flatten()"},
    "the weights were clipped; it is their gradients that are to have a norm of max_norm": {
        "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)":
        "    with torch.no_grad():\n        norm = sum(p.square().sum() for p in model.parameters()).sqrt()\n"
        "        for p in model.parameters():\n            p *= (max_norm / norm).clamp(max=1)"},
    "the norm of the gradients came back; the loss is asked": {
        "    nn.utils": "    norm = nn.utils", "loss.item()": "norm.item()"},
    "the loss after the step came back; the one before it is asked": {
        "loss.item()": "F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item()"},
}, cases=updates, use=an_update, rtol=1e-5, atol=3e-6,
    doc="update(model, optimizer, inputs, targets, max_norm): one update in train() mode, gradients clipped; the loss, a float.")


# 9.2
def a_loader(answer: Callable, *args: Any) -> Facts:
    """The batches that an answer gives, as text."""
    got = as_list(answer(*args))
    want_that(isinstance(got, list) and got and all(
        isinstance(pair, list | tuple) and len(pair) == 2
        and all(isinstance(part, torch.Tensor) and part.ndim == 2 and part.numel() for part in pair) for pair in got),
        f"need batches one after the other, each a pair (inputs, targets) of tensors (B, T); {short(got)} came back")
    rows = ([row for part in parts for row in part.tolist()] for parts in zip(*got, strict=True))
    inputs, targets = (" | ".join(" ".join(map(str, row)) for row in some) for some in rows)
    return Facts({"the list of inputs, row by row,": inputs, "the list of targets, row by row,": targets,
                  "the list of the batches' sizes": " ".join(str(len(part)) for part, _ in got)})


def texts(draw: Draw) -> Iterator:
    """A text that ends in a short window, and one that fits, in a batch that is not full and in one that is; and one that ends
    in a window with a single target. No id twice.

    The id that pads stands in the text, too, as one of the targets.
    """
    t, b = draw.randint(3, 5), draw.randint(3, 4)
    for case, windows, rest in ((None, b + 1, draw.randint(1, t - 1)), ("a text of whole windows", 2 * b, 0),
                                ("a last window with one target", b + 1, 1)):
        ids = draw.sample(range(1, 100), windows * t + rest + 1)
        yield case, (torch.tensor(ids), t, b, draw.choice(ids[1:-1]))


check_batches = repair("9.2", "a loader", "The data", """\
def batches(ids, context_length, batch_size, padding):
    windows = []
    for start in range(0, len(ids) - 1, context_length):
        window = ids[start : start + context_length + 1]
        inputs, targets = window[:-1], window[1:]
        missing = (0, context_length - len(inputs))              # on the left, on the right
        windows.append((F.pad(inputs, missing, value=padding), F.pad(targets, missing, value=-100)))
    for first in range(0, len(windows), batch_size):
        inputs, targets = zip(*windows[first : first + batch_size])
        yield torch.stack(inputs), torch.stack(targets)          # (B, T), (B, T)""", {
    "the last token begins a window of its own, in which nothing is to be said": ("len(ids) - 1", "len(ids)"),
    "the short window at the end of the text is left out": ("len(ids) - 1", "len(ids) - context_length", "len(ids) - 2"),
    "a window starts at each token, so most of the text comes several times": (", context_length):\n", "):\n"),
    "a window starts a token too late: its first input is the last target before it": ("h):\n", "h + 1):\n"),
    "a window has one token too few: beside context_length inputs it holds the last target": ("length + 1]", "length]"),
    "the targets are the inputs themselves; they are one token later": ("window[1:]", "window[:-1]"),
    "inputs and targets are exchanged": ("inputs, targets = window", "targets, inputs = window"),
    "padding is on the left; the text comes first, and padding on the right":
        ("(0, context_length - len(inputs))", "(context_length - len(inputs), 0)"),
    "the inputs are padded with -100, for which a model has no embedding": ("value=padding", "value=-100"),
    "padding is scored like a word: where nothing is to be said, the target is -100": ("value=-100", "value=padding"),
    "the last batch, which is not full, is left out": ("len(windows), batch", "len(windows) - batch_size + 1, batch"),
    "a window comes in two batches: the next one begins where a batch ends": ("windows), batch_size", "windows), batch_size - 1"),
}, {
    "the last input of each window has no target: a window takes context_length + 1 tokens": {
        "length + 1]": "length]", "F.pad(inputs, missing": "F.pad(window, (0, context_length - len(window))"},
    "the last batch was filled up with windows of padding; it may have fewer windows": {
        "    for first": "    while len(windows) % batch_size:\n        windows.append((torch.full((context_length,), padding), "
        "torch.full((context_length,), -100)))\n    for first"},
    "the text's last token came in as an input; it is a target only, since nothing follows it": {
        "F.pad(inputs, missing": "F.pad(window[:context_length], (0, max(context_length - len(window), 0))"},
    "a token of the text that happens to be `padding` lost its target; -100 stands only behind the end of the text": {
        "F.pad(targets, missing, value=-100)": "F.pad(targets.masked_fill(targets == padding, -100), missing, value=-100)"},
}, cases=texts, use=a_loader,
    doc="batches(ids, context_length, batch_size, padding): pairs (inputs, targets), windows side by side, the last one padded.")


# 9.3
def layers(draw: Draw) -> Iterator:
    """Inputs and weights of an attention layer, with two heads and with three."""
    for heads in (2, 3):
        b, t, c = draw.randint(2, 3), draw.randint(4, 6), heads * draw.randint(3, 4)
        yield None, (draw.normal(b, t, c), draw.normal(c, 3 * c) / c**0.5, draw.normal(c, c) / c**0.5, heads)


check_attention = repair("9.3", "attention", "The model", """\
def attention(x, w_qkv, w_out, n_heads):
    batch, length, width = x.shape
    q, k, v = (x @ w_qkv).view(batch, length, 3, n_heads, -1).permute(2, 0, 3, 1, 4)      # (B, H, T, D) each
    scores = q @ k.transpose(2, 3) / math.sqrt(width // n_heads)                          # (B, H, T, T)
    future = torch.ones(length, length).triu(diagonal=1).bool()
    weights = scores.masked_fill(future, -math.inf).softmax(dim=-1)
    heads = weights @ v
    return heads.transpose(1, 2).reshape(batch, length, width) @ w_out                    # (B, T, C)""", {
    "w_qkv gives queries first, then keys, then values": ("q, k, v = (x", "v, k, q = (x", "q, v, k = (x", "k, q, v = (x"),
    "the scores are not divided by the root of a head's width": (" / math.sqrt(width // n_heads)", ""),
    "the scores are divided by a head's width; its root is asked": ("math.sqrt(width // n_heads)", "(width // n_heads)"),
    "the scores are divided by the root of the whole width; that of one head counts": ("(width // n_heads)", "(width)"),
    "the mask lets a token see the next one, which is its target": ("diagonal=1", "diagonal=2"),
    "the mask hides the past and shows the future": ("triu(diagonal=1)", "tril(diagonal=-1)"),
    "nothing is masked, so the future is seen": (".masked_fill(future, -math.inf)", ""),
    "the future gets a score of 0, which softmax turns into a weight like any other; -inf becomes 0": ("-math.inf", "0", "1e-9"),
    "the mask comes after softmax, so the weights of a token add up to less than 1":
        ("masked_fill(future, -math.inf).softmax(dim=-1)", "softmax(dim=-1).masked_fill(future, 0)"),
    "softmax runs over the queries; the weights of one query, over its keys, add up to 1": ("dim=-1", "dim=-2"),
    "heads and positions are mixed: bring the heads back behind the positions before you put them side by side":
        ("heads.transpose(1, 2)", "heads"),
    "the layer at the end is missing: heads @ w_out": (" @ w_out", ""),
}, {
    "the mask hides a token from itself, so the first one sees nothing, and softmax makes nan of that: diagonal=1":
        {"diagonal=1": "diagonal=0"},
    "the future gets a finite score, which softmax turns into a weight; -inf becomes 0": [
        {"-math.inf": "-1.0"}, {"-math.inf": "-10.0"}],
    "the scores are multiplied by the root of a head's width; divide by it": {" / math.sqrt": " * math.sqrt"},
    "the weights are divided by the root of a head's width, after softmax; it is the scores that are, before it": {
        " / math.sqrt(width // n_heads)": "", "softmax(dim=-1)": "softmax(dim=-1) / math.sqrt(width // n_heads)"},
    "w_out is transposed": {"@ w_out": "@ w_out.T"},
    "the scores are divided by the root of the number of heads; that of a head's width is asked, width // n_heads":
        {"math.sqrt(width // n_heads)": "math.sqrt(n_heads)"},
    "the weights are transposed, so a token takes from those that look at it; it takes from those that it looks at: weights @ v":
        {"weights @ v": "weights.transpose(2, 3) @ v"},
    "there is a single head, as wide as x; n_heads of them have a part of the width each": [
        {"3, n_heads, -1)": "3, 1, -1)", "(width // n_heads)": "(width)"}, {"3, n_heads, -1)": "3, 1, -1)"}],
    "x was added to the output; the block around attention does that": {"return ": "return x + "},
    "the columns of w_qkv are cut into heads first; they are queries, keys, values first, and heads in each of these":
        {"3, n_heads, -1).permute(2, 0, 3, 1, 4)": "n_heads, 3, -1).permute(3, 0, 2, 1, 4)"},
    "positions and heads are mixed by view; split each position's numbers into heads, then exchange the two": {
        "(x @ w_qkv).view(batch, length, 3, n_heads, -1).permute(2, 0, 3, 1, 4)":
        "(part.reshape(batch, n_heads, length, -1) for part in (x @ w_qkv).chunk(3, dim=-1))", "heads.transpose(1, 2)": "heads"},
}, cases=layers, name="the output", atol=1e-5, scales=lambda x, w_qkv, w_out, heads: {"the number of heads": heads},
    doc="attention(x, w_qkv, w_out, n_heads): causal self-attention with several heads, (B, T, C) to (B, T, C).")


# 9.4
def a_mean(answer: Callable, *args: Any) -> Facts:
    """What an evaluation measures and leaves behind; that a loader draws a random number is no fault here."""
    facts = observe.a_look(lambda model, loader, _: answer(model, loader), *args)
    return Facts({name: value for name, value in facts.items() if "random" not in name})


def loaders(draw: Draw) -> Iterator:
    """A model in train() or eval() mode, and batches of unequal size with more and less padding."""
    for case, mode in ((None, True), ("a model in eval() mode", False)):
        t, v = draw.randint(4, 5), draw.randint(7, 9)
        some = draw_batches(draw, draw.sample((1, 2, 4), 3), t, v)
        for (_, y), kept in zip(some, draw.sample((1, 2, t - 1), 3), strict=True):
            y[0, kept:] = -100
        yield case, (Model.drawn(draw, v), some, mode, draw.randint(1, 10**9))


check_mean_loss = repair("9.4", "an evaluation", "The evaluation", """\
def mean_loss(model, loader):
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for inputs, targets in loader:                               # (B, T), (B, T)
        with torch.no_grad():
            logits = model(inputs)                               # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        scored = (targets != -100).sum().item()
        total += loss.item() * scored
        tokens += scored
    model.train(was_training)
    return total / tokens""", {
    "no_grad() is missing, so a graph is built for each batch, which nobody needs":
        ("        with torch.no_grad():\n            logits = model(inputs)    ", "        logits = model(inputs)        "),
    "dropout is on while the loss is measured: call model.eval() first": ("    model.eval()\n", "", "    model.train()\n"),
    SCORES_INPUTS: ("targets.flatten()", "inputs.flatten()"),
    MIXED: ("logits.flatten(0, 1)", "logits.transpose(0, 1).flatten(0, 1)"),
    "padding counts when batches are weighed; only what is scored counts": ("(targets != -100).sum().item()", "targets.numel()"),
    "a batch's mean is added up without its weight, the number of its tokens": ("loss.item() * scored", "loss.item()"),
    "the total is overwritten by each batch; add up": ("total +=", "total ="),
    "the number of tokens is overwritten by each batch; add up": ("tokens +=", "tokens ="),
    "the model stays in eval() mode, so training would go on without dropout": ("    model.train(was_training)\n", ""),
    "the model came in eval() mode and is in train() mode now: put back what it was": ("train(was_training)", "train()"),
    "the total is divided by the number of batches; it is a sum over tokens": ("/ tokens", "/ len(loader)"),
}, {
    "padding counts as tokens of loss 0; divide by how many are scored": {"tokens += scored": "tokens += targets.numel()"},
    "the sum of a batch's losses was multiplied by their number; only a mean needs that":
        {"targets.flatten())": 'targets.flatten(), reduction="sum")'},
    "the targets are shifted once more, and logits left out for it; they are one token later than the inputs already": [
        {"logits.flatten(0, 1)": "logits[:, :-1].flatten(0, 1)", "(targets != -100)": "(targets[:, 1:] != -100)", **more}
        for more in ({"targets.flatten())": 'targets[:, 1:].flatten(), reduction="sum")', "loss.item() * scored": "loss.item()"},
                     {"targets.flatten()": "targets[:, 1:].flatten()"})],
    "token 0 is left out when batches are weighed; only -100 marks padding": {"!= -100": "> 0"},
    "that is the perplexity; leave out the last exp": {"return total / tokens": "return math.exp(total / tokens)"},
    "only the first batch was scored: is `return` inside the loop?": {"tokens += scored\n": "tokens += scored\n        break\n"},
    "that is the loss in bits, with log2; nats are asked": {"return total": "return math.log2(math.e) * total"},
    "padding is scored as if it were token 0": {
        "targets.flatten()": "targets.clamp(min=0).flatten()", "(targets != -100).sum().item()": "targets.numel()"},
}, cases=loaders, use=a_mean, rtol=1e-5,
    doc="mean_loss(model, loader): mean loss over all targets but -100, without dropout and graphs; the mode stays as it was.")


# 9.5
def a_loss(answer: Callable, logits: torch.Tensor, targets: torch.Tensor) -> Facts:
    """The loss, and whether backward() comes from it to the logits."""
    given = logits.clone().requires_grad_().clone()
    got, way = answer(given, targets), "a way from backward() to the logits"
    if not isinstance(got, torch.Tensor):
        way = "a number without a graph"
    elif not got.requires_grad:
        way = "a tensor without a graph"
    elif got.numel() == 1 and torch.autograd.grad(got, given, torch.ones_like(got), allow_unused=True)[0] is None:
        way = "a graph that does not reach the logits"
    return Facts({"the loss": got, "what came back": way})


def scored(draw: Draw) -> Iterator:
    """(B, T, V) logits and (B, T) targets, with padding at the end of windows and without, and with a target of 0."""
    for case, padded, size in ((None, True, 2), ("targets without padding", False, 2), ("large logits", True, 99)):
        b, t, v = draw.randint(2, 4), draw.randint(5, 6), draw.randint(7, 9)
        logits, targets = size * draw.normal(b, t, v), draw.ids(b, t, vocab_size=v).clamp(min=1)
        targets[draw.randrange(b), 0] = 0
        if padded:
            targets[0, draw.randint(2, 3):], targets[-1, -1] = -100, -100
        yield case, (logits, targets)


check_masked_loss = repair("9.5", "a loss", "The loss", """\
def masked_loss(logits, targets):
    logits, targets = logits.flatten(0, 1), targets.flatten()    # (N, V), (N,)
    scored = targets != -100
    log_probs = logits.log_softmax(dim=-1)
    ids = targets.clamp(min=0).unsqueeze(1)                      # (N, 1), and no -100
    picked = log_probs.gather(1, ids).squeeze(1)                 # (N,)
    losses = -picked.where(scored, 0.0)
    return losses.sum() / scored.sum()""", {
    SHIFTED: ("logits.flatten(0, 1), targets.flatten()", "logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten()"),
    MIXED: ("logits.flatten(0, 1)", "logits.transpose(0, 1).flatten(0, 1)"),
    "token 0 is taken for padding, and padding for token 0; it is -100 that marks padding": ("!= -100", "!= 0"),
    "token 0 is left out; it is a token like any other, and only -100 marks padding": ("!= -100", "> 0"),
    "the logarithm is missing: -log p is asked, and not -p": ("log_softmax", "softmax"),
    "softmax is taken twice: log_softmax wants logits": (".log_softmax", ".softmax(dim=-1).log_softmax"),
    "softmax runs over the tokens of the batch; each row, over the V ids, is a distribution": ("dim=-1", "dim=0"),
    "the ids are off by one: the columns of the logits are numbered as they are": ("clamp(min=0)", "clamp(min=1).sub(1)"),
    "(N, 1) beside (N,) becomes (N, N), where each target meets all others: squeeze(1) is missing": (".squeeze(1)", ""),
    "the minus is missing: the loss is -log p": ("-picked", "picked"),
    "padding is scored as if it were token 0": (".where(scored, 0.0)", ""),
    "padding counts as tokens of loss 0 in the mean; divide by how many are scored": ("scored.sum()", "scored.numel()"),
}, {
    "padding is scored as if it were token 0, and counted; leave it out of both the sum and the number":
        {".where(scored, 0.0)": "", "scored.sum()": "scored.numel()"},
    "the most likely token was scored everywhere; it is the target that counts":
        {"log_probs.gather(1, ids).squeeze(1)": "log_probs.max(dim=1).values"},
    "the mask is the wrong way round: padding is scored, and all else left out": {"!= -100": "== -100"},
    "the sum of the losses came back; divide by how many targets are scored": {" / scored.sum()": ""},
    "the mean of each window's mean came back, in which a token of a short one counts for more": {
        "    logits, targets": "    shape = targets.shape\n    logits, targets", "losses.sum() / scored.sum()":
        "(losses.view(shape).sum(1) / scored.view(shape).sum(1)).mean()"},
    "that is the loss in bits, with log2; nats are asked": {"losses.sum()": "losses.sum() / math.log(2)"},
    "something was added to p before the logarithm, or p was cut off; log_softmax needs no such help": [
        {"log_softmax(dim=-1)": f"softmax(dim=-1).{change}.log()"} for change in (
            "add(1e-8)", "add(1e-9)", "add(1e-10)", "add(1e-12)", "clamp(min=1e-8)", "clamp(min=1e-9)", "clamp(min=1e-12)")],
    "a number came back, from which backward() cannot start: return the tensor, without .item()":
        {" / scored.sum()": ".item() / scored.sum().item()"},
    "the loss is cut off from its graph (by detach(), no_grad(), torch.tensor() or NumPy), so backward() cannot start from it":
        {"losses.sum()": "losses.sum().detach()"},
    "backward() from this loss does not reach the logits: torch.tensor() makes a new tensor; return the loss itself":
        {"losses.sum()": "losses.sum().detach().requires_grad_()"},
}, cases=scored, use=a_loss, beside=True, rtol=1e-5,
    scales=lambda logits, targets: {"the number of windows B": len(targets), "the window's length T": targets.shape[1]},
    doc="masked_loss(logits, targets): the mean cross-entropy of (B, T, V) logits over all targets but -100, one number.")


# 9.6
def all_rates(answer: Callable, peak: float, warmup_steps: int, num_steps: int) -> Facts:
    """The rates of all steps."""
    rates = [answer(step, peak, warmup_steps, num_steps) for step in range(num_steps)]
    return Facts({"the list of rates in the warm-up": rates[:warmup_steps], "the list of rates after it": rates[warmup_steps:]})


def trainings(draw: Draw) -> Iterator:
    """A peak rate, the steps of its warm-up, and those of all the training."""
    for _ in range(2):
        warmup = draw.randint(3, 5)
        yield None, (draw.uniform(1e-3, 9e-3), warmup, warmup + draw.randint(5, 9))


check_rate = repair("9.6", "a schedule", "The schedule", """\
def rate(step, peak, warmup_steps, num_steps):
    lowest = peak / 10
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / (num_steps - 1 - warmup_steps)
    height = (1 + math.cos(math.pi * done)) / 2
    return lowest + (peak - lowest) * height""", {
    "the lowest rate is 0.1, whatever the peak is; a tenth of the peak is asked": ("peak / 10", "0.1"),
    "the warm-up is a step too long, and the rate goes above the peak": ("step < warmup_steps", "step <= warmup_steps"),
    "there is no warm-up: all its steps get the peak": ("peak * (step + 1) / warmup_steps", "peak"),
    "step 0 gets a rate of 0 and learns nothing; the warm-up begins with peak / warmup_steps": ("(step + 1)", "step"),
    "the warm-up is stretched over all steps, so the rate jumps where it ends": ("+ 1) / warmup_steps", "+ 1) / num_steps"),
    "the cosine begins at step 0, so the rate falls at once where the warm-up ends": ("(step - warmup_steps)", "step"),
    "the last step is not yet at the lowest rate: it is step num_steps - 1": ("steps - 1 - warm", "steps - warm"),
    "the cosine is stretched over all steps; it has those after the warm-up": ("num_steps - 1 - warmup_steps", "num_steps - 1"),
    "pi is missing in the cosine, so the rate never comes down": ("math.pi * done", "done"),
    "the cosine makes a whole turn, and the rate goes up again; half a turn is asked": ("math.pi * done", "2 * math.pi * done"),
    "the cosine is upside down: it falls from the peak": ("1 + math.cos", "1 - math.cos"),
    "the half is missing: 1 + cos goes from 2 to 0": (" / 2", ""),
    "the cosine starts above the peak: its height is peak - lowest": ("(peak - lowest) *", "peak *"),
    "the rate ends at 0: the lowest rate is to be added": ("lowest + (", "("),
}, {
    "the rate falls in a straight line; half a turn of a cosine is asked": {"(1 + math.cos(math.pi * done)) / 2": "1 - done"},
    "the cosine goes down to 0 and is cut off at peak / 10; it ends there of itself":
        {"lowest + (peak - lowest) * height": "max(lowest, peak * height)"},
    "the cosine is a step ahead: step warmup_steps gets the peak": [
        {"step - warmup_steps": "step - warmup_steps + 1", "num_steps - 1": end} for end in ("num_steps", "num_steps - 1")],
    "the lowest rate is a hundredth of the peak; a tenth is asked": {"peak / 10": "peak / 100"},
    "the warm-up begins above peak / 10; it begins with peak / warmup_steps":
        {"peak * (step + 1) / warmup_steps": "lowest + (peak - lowest) * (step + 1) / warmup_steps"},
    "a quarter of a turn was taken; half a turn of a cosine is asked": {
        "(1 + math.cos(math.pi * done)) / 2": "math.cos(math.pi / 2 * done)"},
    "the rate falls by the same factor at each step; half a turn of a cosine is asked":
        {"lowest + (peak - lowest) * height": "peak * 0.1 ** done"},
    "// rounds down to an integer, here mostly to 0; a share needs /": [
        {"+ 1) / warmup_steps": "+ 1) // warmup_steps", "steps) / (num": "steps) // (num"},
        {"+ 1) / warmup_steps": "+ 1) // warmup_steps"}, {"steps) / (num": "steps) // (num"}],
    "180 is pi in degrees; math.cos wants radians": {"math.pi * done": "180 * done"},
    "a sine was taken; half a turn of a cosine is asked": {"math.cos": "math.sin"},
}, cases=trainings, use=all_rates, rtol=1e-5, atol=1e-9,
    doc="rate(step, peak, warmup_steps, num_steps): the learning rate of a step: linear warm-up, cosine to a tenth of the peak.")
