"""The exercises of lesson 05 as data: the training loop."""
import itertools
import math
import operator
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F

from gpt_checks import observe
from gpt_checks.loss import COMBINED, by_tokens, unequal
from gpt_checks.observe import Descent, Model, a_list, batch_loss, cross_entropy, draw_batches, listed, parts
from gpt_checks.spec import exchange, spec


# 5.1
def tokens_axis(f, n, b, t, *, steps=lambda f, n: range(0, n, f), seen=lambda step: step + 1, tokens=lambda f, b, t: b * t,
                end=lambda values, *args: values):
    return end([float(seen(step) * tokens(f, b, t)) for step in steps(f, n)], f, n, b, t)


def settings(draw):
    """eval_freq that divides neither num_steps nor num_steps - 1, then each of them, that is 1, and above num_steps."""
    b, t, f, k = draw.randint(3, 7), draw.choice((24, 40, 56, 72)), draw.randint(4, 7), draw.randint(3, 5)
    for freq, n in ((f, k * f + draw.randint(2, f - 1)), (f, k * f), (f, k * f + 1), (1, f), (f, f - 1)):
        yield f"eval_freq {freq}, {n} steps", (freq, n, b, t)


def evenly(first, last, count, whole):
    """The tokens as linspace would spread them."""
    return lambda v, f, n, b, t: [
        whole(x) for x in torch.linspace(first * b * t, last(f, n) * b * t, count(f, n), dtype=torch.float64).tolist()]


check_tokens_axis = spec(
    "5.1", "tokens seen", see=("05", "What to record"), right=tokens_axis, cases=settings, use=listed, also=a_list, rtol=1e-9,
    name="the list of tokens seen after steps 0, eval_freq, 2·eval_freq, … below num_steps",
    scales=lambda f, n, b, t: {"batch_size": b, "context_length": t, "batch_size · context_length": b * t, "eval_freq": f},
    doc="tokens_axis(eval_freq, num_steps, batch_size, context_length): a list of the tokens seen after steps 0, f, 2f, ...",
    mistakes={
        "the numbers of the steps came back; s + 1 batches have been seen after step s, each of batch_size · context_length "
        "tokens": {"seen": lambda step: step, "tokens": lambda f, b, t: 1},
        "each value is one batch short: step 0 is evaluated after its update, so one batch has been seen by then, and s + 1 "
        "after step s": {"seen": lambda step: step},
        "each value is one batch too many: s + 1 batches have been seen after step s": {"seen": lambda step: step + 2},
    } | exchange("tokens", {
        "steps (batches) are counted, not tokens: each brings batch_size · context_length tokens": lambda f, b, t: 1,
        "windows (sequences) are counted, not tokens: each holds context_length tokens": lambda f, b, t: b,
        "batch_size is left out: a batch holds batch_size windows of context_length tokens": lambda f, b, t: t,
        "a window has context_length tokens of input; the one more, its last target, does not count": lambda f, b, t: b * (t + 1),
        "a window has context_length tokens of input, and all of them count, not one less": lambda f, b, t: b * (t - 1),
        "batch_size and context_length are added; a batch holds their product of tokens": lambda f, b, t: b + t,
        "eval_freq was multiplied in once more; the step's number counts all steps already": lambda f, b, t: f * b * t,
        "inputs and targets are both counted; tokens seen are the inputs": lambda f, b, t: 2 * b * t,
    }) | exchange("steps", {
        "the first evaluation follows step 0, after one batch, and not eval_freq batches; the last step is num_steps - 1":
            [lambda f, n: range(f - 1, n, f), lambda f, n: range(f - 1, n + f - 1, f), lambda f, n: range(f, n + 1, f),
             lambda f, n: [min(step + f, n) - 1 for step in range(0, n, f)]],
        "the evaluation of step 0 is missing: eval_freq divides 0, too": lambda f, n: range(f, n, f),
        "steps are numbered from 0: the first that is evaluated is step 0, not step 1": lambda f, n: range(1, n, f),
        "there is one evaluation too many where eval_freq divides num_steps: the last step is num_steps - 1, so none follows "
        "step num_steps (num_steps // eval_freq + 1 counts that, too)": lambda f, n: range(0, n + 1, f),
        "the evaluation of the last step is left out: where eval_freq divides num_steps - 1, it is evaluated, too":
            lambda f, n: range(0, n - 1, f),
        "the last evaluation is missing: num_steps // eval_freq counts whole blocks of steps only":
            lambda f, n: range(0, n // f * f, f),
        "the last evaluation is left out": lambda f, n: range(0, n, f)[:-1],
        "only the first value came back: is `return` inside the loop?": lambda f, n: [0],
        "the list is backwards; the first evaluation goes first": lambda f, n: range(0, n, f)[::-1],
        "every step is in the list; an evaluation follows only steps 0, eval_freq, 2·eval_freq, …": lambda f, n: range(n),
        "evaluations are counted instead of steps; between two of them lie eval_freq steps":
            [lambda f, n: range(-(-n // f)), lambda f, n: range(n // f)],
        "eval_freq was taken for the number of evaluations; it is the number of steps from one to the next":
            lambda f, n: range(0, n, max(n // f, 1)),
        "eval_freq and num_steps are exchanged": lambda f, n: range(0, f, n),
        "an evaluation at the end was added; an evaluation follows only steps 0, eval_freq, 2·eval_freq, … below num_steps":
            [lambda f, n: [*range(0, n - 1, f), n - 1], lambda f, n: [*range(0, n, f), n - 1]],
    }) | exchange("end", {
        "parentheses are missing: step + 1 is multiplied as a whole, (step + 1) * batch_size * context_length":
            lambda v, f, n, b, t: [step + b * t for step in range(0, n, f)],
        "a token is added; a step is, before it is multiplied: (step + 1) * batch_size * context_length":
            lambda v, f, n, b, t: [step * b * t + 1 for step in range(0, n, f)],
        "at the first evaluation, after step 0, one batch has been seen already": lambda v, *_: [0.0, *v[1:]],
        "an evaluation before the training was added; the first one follows step 0": lambda v, *_: [0.0, *v],
        "only the last value came back; collect one for each evaluation in a list": lambda v, *_: v[-1],
        "the values are added up to one number; a list of them is asked": lambda v, *_: sum(v),
        "the values are added up from one to the next; each counts from the start already": lambda v, *_: [*accumulate(v)],
        "the tokens of the whole run came back; a list is asked, with those of each evaluation": lambda v, f, n, b, t: n * b * t,
        "the number of evaluations came back; a list is asked, with the tokens seen at each": lambda v, *_: len(v),
        "each value has its step beside it; the tokens alone are asked":
            lambda v, f, n, b, t: [*zip(range(0, n, f), v, strict=True)],
        "each value counts from the evaluation before it, or one batch alone; tokens seen count from the start":
            [lambda v, *_: [now - before for before, now in pairwise([0, *v])],
             lambda v, f, n, b, t: [f * b * t for _ in v], lambda v, f, n, b, t: [b * t for _ in v]],
        "the values are spread evenly, as linspace does; an evaluation stands where its tokens say, the first at one batch":
            [evenly(first, last, count, whole) for whole in (float, int, round)
             for first, last in ((0, lambda f, n: n), (1, lambda f, n: n), (0, lambda f, n: (n - 1) // f * f + 1))
             for count in (lambda f, n: -(-n // f), lambda f, n: n // f, lambda f, n: n // f + 1)]
            + [lambda v, f, n, b, t, whole=whole: [whole((i + 1) * n * b * t / len(v)) for i in range(len(v))]
               for whole in (float, int, round)],
    }))


# 5.2
def act(words, model, optimizer, loss, *, loss_of, start=lambda loss: loss, retain=False):
    """Do what the words say, one after the other; the loss after that. Words: loss, backward, zero_grad, step, by_hand, train,
    eval."""
    for word in words.split():
        if word == "loss":
            loss = loss_of()
        elif word == "backward":
            start(loss).backward(retain_graph=retain)
        elif word == "by_hand":
            with torch.no_grad():
                for p in model.parameters():
                    p -= optimizer.param_groups[0]["lr"] * p.grad
        else:
            getattr(model if word in ("train", "eval") else optimizer, word)()
    return loss


def training_step(model, optimizer, x, y, *, order="zero_grad loss backward step", guarded=("backward", "step"),
                  finite=lambda loss: bool(loss.isfinite().all()), loss_of=lambda m, x, y: batch_loss(x, y, m),
                  start=lambda loss, x: loss, retain=False, give=lambda loss, *_: loss.item(), refuse=lambda loss: loss.item()):
    loss = torch.tensor(0.0)
    for word in order.split():
        if word not in guarded or finite(loss):
            loss = act(word, model, optimizer, loss, loss_of=lambda: loss_of(model, x, y), start=lambda loss: start(loss, x),
                       retain=retain)
    return give(loss, model, x, y) if finite(loss) else refuse(loss)


def one_batch(draw):
    """A model and a batch with each id once, lest mistakes cancel out; and losses that are large, nan or infinite, or finite
    though a logit is not."""
    b, t, v = draw.randint(2, 3), draw.randint(4, 5), draw.randint(16, 19)
    x, y = (torch.tensor(draw.sample(range(v), b * t)).view(b, t) for _ in range(2))
    other = next(i for i in range(v) if i not in y)
    for case, token, shift in ((None, y[0, 0], 0), ("a finite loss, with an id that is impossible", other, -math.inf),
                               ("a loss of some thousands", y[0, 0], -1e5), ("a loss of nan", y[0, 0], math.nan),
                               ("a loss of inf", y[0, 0], -math.inf)):      # with a logit of -inf, an id is impossible
        model = Model.drawn(draw, v)
        model.shift[token] = shift
        yield case, (model, x, y)


def each(model, x, y):
    """A loss for each token, (B, T)."""
    return F.cross_entropy(model(x).transpose(1, 2), y, reduction="none")


LATER = "; the targets are one step later already"
AS_IT_IS = "; call backward() on the batch's mean loss, as it is"
PERPLEXITY = "that is the perplexity; the loss is its logarithm"
BACKWARD_TWICE = "backward() is called more than once on a loss, and gradients add up; once is enough"
STEP_FIRST = "step() comes before backward(), so it moves the weights by old gradients or by none; backward() first"
BY_HAND = "the weights were moved by hand, or by another optimizer; step() of the one that is given does that, by its own rule"
ORDERS = {
    "zero_grad() comes between backward() and step(), so step() finds no gradient; it belongs before backward()":
        "loss backward zero_grad step",
    "backward() is never called, so no weight learns of the loss (are its parentheses missing?)": "zero_grad loss step",
    "step() of the optimizer is never called, so no weight moves (are its parentheses missing?)": "zero_grad loss backward",
    "step() is called more than once for a batch; once is enough": "zero_grad loss backward step step",
    STEP_FIRST: ["zero_grad loss step backward", "step zero_grad loss backward"],
    "the weights were changed between a loss and its backward(): step() comes before backward(), or losses from before an "
    "earlier step were added on": "loss step backward",
    "backward() is called twice on one loss; once is enough": "zero_grad loss backward backward step",
}
STARTS = {
    "the step goes uphill: the loss has the wrong sign at backward()": lambda loss, x: -loss,
    "backward() starts from a multiple of the loss, or from a sum of losses, which makes the step longer" + AS_IT_IS:
        [lambda loss, x: loss * x.numel(), lambda loss, x: loss * len(x), lambda loss, x: loss * x.shape[1]],
    "the loss is divided before backward(), which makes the step shorter" + AS_IT_IS:
        [lambda loss, x: loss / x.numel(), lambda loss, x: loss / len(x), lambda loss, x: loss / x.shape[1]],
    "backward() needs the loss as a tensor with its graph: no no_grad() around it, no .item(), .detach() or .data before it":
        [lambda loss, x: loss.detach(), lambda loss, x: loss.item()],
}
check_training_step = spec(
    "5.2", "one training step", see=("05", "One step"), right=training_step, cases=one_batch, use=observe.one_step,
    rtol=3e-6, atol=3e-6,
    scales=lambda model, x, y: {"the number of windows B": len(x), "the window's length T": x.shape[1],
                                "the number of targets B·T": x.numel(), "the vocabulary's size V": len(model.shift)},
    doc="training_step(model, optimizer, inputs, targets): zero_grad, loss, backward, step; the loss before it, a float. "
        "A loss that is nan or infinite comes back too, and then no weight is moved.",
    mistakes=exchange("order", ORDERS | {
        "zero_grad() is missing: gradients of an earlier batch were still there, and backward() added new ones to them":
            "loss backward step",
        "zero_grad() comes too late: gradients of an earlier batch were still there, and backward() added new ones to them":
            "loss backward step zero_grad",
        "the model is in eval() mode, so dropout is off; train in train() mode": "eval zero_grad loss backward step",
    }) | exchange("start", STARTS) | exchange("loss_of", {
        "the losses of all tokens are added up; the loss is their mean": lambda m, x, y: each(m, x, y).sum(),
        "softmax was taken before F.cross_entropy, which wants logits and takes it itself":
            lambda m, x, y: cross_entropy(m(x).softmax(-1), y),
        "log_softmax runs over the T positions; each position is a distribution over the V tokens: dim=-1":
            lambda m, x, y: -m(x).log_softmax(1).gather(2, y[..., None]).mean(),
        "the mean runs over all V tokens; only the target's -ln p counts": lambda m, x, y: -m(x).log_softmax(-1).mean(),
        "the minus is missing: the loss is -ln p of the target": lambda m, x, y: -each(m, x, y).mean(),
        "the logits themselves were averaged; the loss takes log_softmax first, as F.cross_entropy does":
            lambda m, x, y: -m(x).gather(2, y[..., None]).mean(),
        "the logarithm of the mean probability was taken; take the logarithm of each first, then the mean":
            lambda m, x, y: -each(m, x, y).neg().exp().mean().log(),
        "that is minus the mean probability of the targets; the logarithm is missing":
            lambda m, x, y: -each(m, x, y).neg().exp().mean(),
        "only the last position of each window was scored; all T of them count": lambda *args: each(*args)[:, -1].mean(),
        "only the first position of each window was scored; all T of them count": lambda *args: each(*args)[:, 0].mean(),
        "only the first window was scored; all B of them count": lambda *args: each(*args)[0].mean(),
        "the targets were shifted once more" + LATER: lambda m, x, y: cross_entropy(m(x)[:, :-1], y[:, 1:]),
        "the targets were shifted back by a step" + LATER: lambda m, x, y: cross_entropy(m(x)[:, 1:], y[:, :-1]),
        "the inputs were scored; the loss compares the logits with the targets": lambda m, x, y: batch_loss(x, x, m),
        "inputs and targets are exchanged: the inputs go into the model, the targets are what it should say":
            lambda m, x, y: batch_loss(y, x, m),
        "the targets went into the model; it is given the inputs": lambda m, x, y: batch_loss(y, y, m),
        "logits and targets are flattened in different orders, so they do not belong together; no transpose is needed":
            lambda m, x, y: F.cross_entropy(m(x).transpose(0, 1).flatten(0, 1), y.flatten()),
        "backward() starts from one number: take the mean of the losses": each,
        "F.cross_entropy wants one row of logits for each target, (B·T, V) and (B·T,): flatten both":
            [lambda m, x, y: F.cross_entropy(m(x), y), lambda m, x, y: F.cross_entropy(m(x), y.flatten()),
             lambda m, x, y: F.cross_entropy(m(x).flatten(0, 1), y), lambda m, x, y: F.cross_entropy(m(x).view(-1), y.view(-1))],
    }) | exchange("give", {
        "the loss was measured after the step, by a second forward pass; return the one that backward() started from":
            lambda loss, model, x, y: batch_loss(x, y, model).item(),
    }) | {
        BACKWARD_TWICE: {"order": "zero_grad loss backward backward step", "retain": True},
        PERPLEXITY: [{"give": lambda loss, *batch: loss.exp().item()}, {"loss_of": lambda m, x, y: batch_loss(x, y, m).exp()}],
        "a loss for each token came back; the loss is their mean, one number":
            [{"loss_of": each, "start": lambda loss, x: loss.mean(), "give": give, "refuse": give}
             for give in (lambda loss, *_: loss.detach(), lambda loss, *_: loss.detach().flatten())],
        "a tensor that still holds on to its graph came back, so whoever keeps it fills the memory: return a float, with .item()":
            [{"give": lambda loss, *batch: loss, "refuse": lambda loss: loss}, {"give": lambda loss, *batch: loss}],
        BY_HAND: {"order": "zero_grad loss backward by_hand", "guarded": ("backward", "by_hand")},
        "the step was taken all the same, and spoils the weights; look at the loss before backward(), and return it without a "
        "step unless isfinite() holds": {"guarded": ()},
        "the weights moved all the same, by the gradients of an earlier batch: step() belongs under the guard, too":
            {"order": "loss zero_grad backward step", "guarded": ("zero_grad", "backward")},
    } | exchange("finite", {
        "the step was taken all the same; not only nan, infinity too is no loss to learn from: isfinite() refuses both":
            lambda loss: not loss.isnan(),
        "the step was taken all the same; not only infinity, nan too is no loss to learn from: isfinite() refuses both":
            lambda loss: not loss.isinf(),
        "the guard is the wrong way round: take the step where the loss is finite": lambda loss: not loss.isfinite(),
        "no step was taken; however large a loss is, it is one to learn from: only nan and infinity are refused":
            lambda loss: loss < 1000,
    }) | exchange("refuse", {
        "None came back; return the loss in this case, too": lambda loss: None,
        "a number came back; return the loss itself in this case, too": [lambda loss: 0.0, lambda loss: -1.0, lambda loss: 1.0],
        "nan and infinity are not told apart; return the loss itself": [lambda loss: math.nan, lambda loss: math.inf],
    }))


# 5.3
def evaluate(model, loader, batch_loss, *, enter=lambda model: model.eval(), leave=lambda model, mode: model.train(mode),
             graph=False, pair=lambda x, y: (x, y), score=lambda loss: loss.item(), between=lambda model: None,
             then=lambda model: None, restore=torch.set_rng_state, combine=by_tokens):
    mode, state, means, sizes = model.training, torch.get_rng_state(), [], []
    enter(model)
    with torch.set_grad_enabled(graph):
        for x, y in loader:
            means.append(score(batch_loss(*pair(x, y), model)))
            sizes.append(len(x))
            between(model)
    leave(model, mode)
    then(model)
    restore(state)
    return combine(means, sizes, x.shape[1])


def loaders(draw):
    """A model in train() or eval() mode, and batches of unequal size."""
    t, v = draw.randint(3, 5), draw.randint(7, 9)
    model = Model.drawn(draw, v)
    calm = model.fresh().eval()
    some = unequal(draw, lambda b: draw_batches(draw, [b], t, v)[0], lambda x, y: batch_loss(x, y, calm))
    for batches, mode in zip(some, (True, False, True, False), strict=True):
        yield None if mode else "a model in eval() mode", (model, batches, mode, draw.randint(1, 10**9))


SCORED = "the inputs were scored; the loss compares the logits with the targets"
check_evaluate = spec(
    "5.3", "a look that changes nothing", see=("06", "Does evaluating change anything?"), right=evaluate, cases=loaders,
    use=observe.a_look, rtol=1e-5,
    scales=lambda model, batches, *_: {"the number of batches": len(batches), "the window's length T": batches[0][0].shape[1],
                                       "the number of tokens": sum(x.numel() for x, _ in batches)},
    doc="evaluate(model, loader, batch_loss): mean loss over all tokens; mode, gradients and random state stay as they were.",
    mistakes=exchange("combine", COMBINED | {
        "the sum of means is divided by the number of rows; weigh each mean by its rows first": lambda m, s, t: sum(m) / sum(s),
        "the mean of the batches' perplexities came back; average the losses": lambda m, *of: by_tokens(map(math.exp, m), *of),
    }) | exchange("pair", {
        "inputs and targets are exchanged: batch_loss(inputs, targets, model)": lambda x, y: (y, x),
        SCORED: lambda x, y: (x, x),
    }) | exchange("score", {
        "an evaluation takes no step, so it needs no backward()": [torch.Tensor.backward, lambda loss: loss.item().backward()],
    }) | exchange("then", {
        "gradients stay switched off afterwards, so the next backward() fails: `with torch.no_grad():` ends with its block":
            [lambda model: torch.set_grad_enabled(False), lambda model: model.requires_grad_(False)],
        "the weights have changed; an evaluation takes no step": lambda model: Descent(model).step(),
        "the gradients have changed; an evaluation calls neither zero_grad() nor backward()": lambda model: model.zero_grad(),
    }) | exchange("restore", {
        "the random state has moved: a loader draws a number when its loop starts; torch.random.fork_rng() around that loop puts "
        "the state back": lambda state: None,
        "a seed was set, so the random state is another than before, and training would repeat its random numbers: "
        "torch.random.fork_rng() puts back the one that was":
            [lambda state: torch.manual_seed(123), lambda state: torch.manual_seed(torch.initial_seed())],
    }) | exchange("leave", {
        "the model is left in eval() mode, so training would go on without dropout: put back the mode that it came in":
            lambda model, mode: None,
        "the model came in eval() mode and is in train() mode now: note model.training before eval(), and put back what it was":
            lambda model, mode: model.train(),
        "the mode is turned round: train() where the model came in eval() mode, and eval() where it came in train() mode":
            lambda model, mode: model.train(not mode),
        "the mode was put back in the model alone, not in the dropout inside it: call model.train(mode)":
            lambda model, mode: setattr(model, "training", mode),
    }) | {
        "dropout was on while the loss was measured: call model.eval() before the first batch":
            [{"enter": lambda model: None}, {"enter": lambda model: model.train()}, {"between": lambda model: model.train()}],
        "model.training = False reaches the model alone, not the dropout in it: call model.eval()":
            {"enter": lambda model: setattr(model, "training", False)},
        "dropout's p was changed, and stays so: call model.eval() in place of that, and put the mode back":
            {"enter": lambda model: setattr(model.drop, "p", 0.0), "leave": lambda model, mode: None},
        "the number is right, but a graph was built for each batch, which costs memory and time: torch.no_grad() is missing "
        "around it": [{"graph": True}, {"graph": True, "score": lambda loss: loss}],
    })


# 5.4
def all_tokens(sizes, t, n):
    return [t * s for s in accumulate(sizes)]


def train(model, loader, optimizer, batch_loss, num_epochs, *, order="zero_grad loss backward step record", first="", before="",
          after="", enter=lambda model: model.train(), passes=lambda loader, n: [loader for _ in range(n)], retain=False,
          pair=lambda x, y: (x, y), start=lambda loss, x: loss, record=lambda loss, again: loss.item(),
          losses=lambda x, *_: x, seen=all_tokens, result=lambda x, seen: (x, seen)):
    loss, recorded, sizes, n, x, y = None, [], [], len(loader), torch.empty(0, 0), None

    def again(mode):
        """The loss of this batch once more, in this mode."""
        with torch.no_grad():
            value = batch_loss(x, y, model.train(mode)).item()
        model.train()
        return value

    def do(words):
        nonlocal loss
        for word in words.split():
            if word == "record":
                recorded.append(record(loss, again))
            else:
                loss = act(word, model, optimizer, loss, loss_of=lambda: batch_loss(*pair(x, y), model),
                           start=lambda loss: start(loss, x), retain=retain)

    do(first)
    for batches in passes(loader, num_epochs):
        enter(model)
        do(before)
        for x, y in batches:  # noqa: B007 (the functions above read both)
            do(order)
            sizes.append(len(x))
        do(after)
    return result(losses(recorded, sizes, x.shape[1], n), seen(sizes, x.shape[1], n))


def trainings(draw):
    """A model, its batches, of which one is smaller, their orders, and how many epochs to train."""
    t, v, full = draw.randint(3, 5), draw.randint(7, 9), draw.randint(3, 4)
    for case, sizes, epochs in (("one epoch", [full, full, full, full - 1], 1), ("three epochs", [full, full - 1], 3)):
        orders = list(itertools.permutations(range(len(sizes))))
        draw.shuffle(orders)
        yield case, (Model.drawn(draw, v).train(epochs == 1), draw_batches(draw, sizes, t, v), orders, epochs)


def running(losses):
    """The means up to each of the losses."""
    return [total / i for i, total in enumerate(accumulate(losses), 1)]


def in_epochs(what):
    """For a list of losses: what is made of those of each epoch, in one list."""
    return lambda losses, s, t, n: [loss for part in parts(losses, n) for loss in what(part)]


def in_epoch(sizes, t, n):
    """Tokens seen in the epoch so far."""
    return [t * s for part in parts(sizes, n) for s in accumulate(part)]


TOGETHER = "; put all steps into one list"
STARTED = "; record the loss that backward() started from"
ITSELF = "; record the loss of each step by itself"
INSIDE = "; it belongs inside the loop over the batches"
COUNT = "; count tokens, inputs.numel() in each step"
BEFORE = "make the list before the loop over the epochs"
check_train = spec(
    "5.4", "the training loop", see=("05", "The loop"), right=train, cases=trainings, use=observe.a_training, atol=1e-5,
    doc="train(model, loader, optimizer, batch_loss, num_epochs): (losses, tokens_seen), with one entry for each step.",
    mistakes={words: [{"order": order + " record"} for order in (some if isinstance(some, list) else [some])]
              for words, some in ORDERS.items()} | exchange("start", STARTS) | {
        "zero_grad() is missing: gradients add up from batch to batch": {"order": "loss backward step record"},
        BACKWARD_TWICE: {"order": "zero_grad loss backward backward step record", "retain": True},
        BY_HAND: {"order": "zero_grad loss backward by_hand record"},
        "zero_grad() comes only at the start or once an epoch, so gradients add up from batch to batch" + INSIDE:
            [{"order": "loss backward step record", place: "zero_grad"} for place in ("first", "before", "after")],
        "step() comes once an epoch only" + INSIDE: [{"order": "loss backward record", "before": "zero_grad", "after": "step"},
                                                     {"order": "zero_grad loss backward record", "after": "step"}],
        "backward() comes once an epoch only" + INSIDE: [{"order": "zero_grad loss record", "after": "backward step"},
                                                         {"order": "loss record", "after": "zero_grad backward step"}],
        "part of the training runs in eval() mode, without dropout: call model.train() before each epoch":
            {"first": "train", "enter": lambda model: None, "after": "eval"},
    } | exchange("enter", {
        "model.train() is missing: the model came in eval() mode, so dropout stays off": lambda model: None,
        "the training runs in eval() mode, without dropout: call model.train()": lambda model: model.eval(),
        "model.training = … reaches the model alone, not the dropout inside it: call model.train()":
            lambda model: setattr(model, "training", True),
    }) | exchange("pair", {
        "the model was given something else than the inputs of a batch: are inputs and targets exchanged?": lambda x, y: (y, x),
        SCORED: lambda x, y: (x, x),
    }) | exchange("passes", {
        "num_epochs is a number: loop over range(num_epochs), and over the loader itself": lambda loader, n: [loader for _ in n],
        "the model is never called; batch_loss(inputs, targets, model) gives the loss of each batch of the loader": lambda *_: [],
        "training ends after the first batch: is `return` inside the loop?": lambda loader, n: [list(loader)[:1]],
        "only one batch of each epoch was trained on; loop over all batches of the loader":
            lambda loader, n: [list(loader)[:1] for _ in range(n)],
        "only one epoch was trained: is `return` inside the loop over the epochs, is that loop missing, or is one iterator used "
        "up for all of them?": lambda loader, n: [loader],
        "one epoch too many was trained; num_epochs counts all of them": lambda loader, n: [loader] * (n + 1),
        "one epoch too few was trained; num_epochs counts all of them": lambda loader, n: [loader] * (n - 1),
        "one batch of each epoch is left out; all of them count, also the last, and one that is not full":
            lambda loader, n: [list(loader)[:-1] for _ in range(n)],
        "the two loops are exchanged: the epochs are the outer one, and each goes through all batches once":
            lambda loader, n: [[batch] * n for batch in loader],
        "a batch is trained on twice in one epoch, and another not at all":
            lambda loader, n: [[batches[0], *batches[:-1]] for batches in (list(loader) for _ in range(n))],
        "the loader was read once and its batches kept, so every epoch has the same order (and all data lie in memory): "
        "loop over the loader anew in each epoch": lambda loader, n: [list(loader)] * n,
    }) | exchange("result", {
        "the two lists are exchanged: losses first, then tokens_seen": lambda losses, seen: (seen, losses),
        "only the losses came back; return (losses, tokens_seen)": lambda losses, seen: losses,
        "only the tokens came back; return (losses, tokens_seen)": lambda losses, seen: seen,
        "a pair for each step came back; return two lists, (losses, tokens_seen)": lambda *lists: [*zip(*lists, strict=True)],
        "only the last step came back; return two lists, with an entry for each step": lambda *lists: [x[-1] for x in lists],
        "losses is one number; record it in each step, in a list": lambda losses, seen: (losses[-1], seen),
        "tokens_seen is one number; record it in each step, in a list": lambda losses, seen: (losses, seen[-1]),
    }) | exchange("record", {
        "the losses are measured after the update" + STARTED: lambda loss, again: again(True),
        "the losses are measured in eval() mode, after the update" + STARTED: lambda loss, again: again(False),
        "the losses are perplexities; record the losses": lambda loss, again: loss.exp().item(),
        "losses holds tensors, each with its whole graph, so that memory grows with every step: record floats, with .item()":
            lambda loss, again: loss,
    }) | {"the losses are measured in eval() mode" + STARTED:
          {"order": "record zero_grad loss backward step", "record": lambda loss, again: again(False)},
    } | exchange("losses", {
        "there is one loss for each epoch; record one for each step, inside the loop over the batches":
            [in_epochs(lambda part: [sum(part) / len(part)]), in_epochs(lambda part: part[-1:]), in_epochs(lambda part: part[:1]),
             in_epochs(lambda part: [sum(part)]),
             lambda x, s, t, n: [*map(by_tokens, parts(x, n), parts(s, n), itertools.repeat(t))]],
        "the losses of each epoch are in a list of their own" + TOGETHER: lambda x, s, t, n: parts(x, n),
        "only the losses of the last epoch are left: " + BEFORE: lambda x, s, t, n: x[-n:],
        "the losses are running means" + ITSELF: [lambda x, *_: running(x), in_epochs(running)],
        "the losses are added up from step to step" + ITSELF: [lambda x, *_: [*accumulate(x)], in_epochs(accumulate)],
        "the losses are sums over a batch's tokens or windows; record its mean loss":
            [lambda x, s, t, n: [a * b * t for a, b in zip(x, s, strict=True)], lambda x, s, *_: [*map(operator.mul, x, s)]],
        "the losses are divided by the number of batches; record the batch's mean loss": lambda x, s, t, n: [a / n for a in x],
        "the last loss stands at every step" + ITSELF: lambda x, *_: x[-1:] * len(x),
        "the loss of the first step is missing": lambda x, *_: x[1:],
        "the loss of the last step is missing": lambda x, *_: x[:-1],
        "the list of losses is empty: append the loss to it in each step": lambda *_: [],
    }) | exchange("seen", {
        "tokens_seen counts steps (batches)" + COUNT: lambda s, *_: [*range(1, len(s) + 1)],
        "tokens_seen holds the numbers of the steps" + COUNT: lambda s, *_: [*range(len(s))],
        "tokens_seen counts windows (sequences); each holds T tokens, so inputs.numel() is B·T": lambda s, *_: [*accumulate(s)],
        "tokens_seen grows by the window's length T; a batch has B windows, so inputs.numel() is B·T":
            lambda s, t, n: [t * i for i, _ in enumerate(s, 1)],
        "tokens_seen starts again from 0 in each epoch; it counts from the start of training": in_epoch,
        "tokens_seen is recorded before the batch is counted: count it first": lambda s, *a: all_tokens([0, *s[:-1]], *a),
        "tokens_seen holds each batch's own tokens; add them up from the start of training": lambda s, t, n: [t * b for b in s],
        "tokens_seen takes all batches to be of one size; one is smaller, so add up inputs.numel() from the start of training":
            [lambda s, t, n: all_tokens([max(s)] * len(s), t, n), lambda s, t, n: all_tokens([s[0]] * len(s), t, n),
             lambda s, t, n: [b * t * i for i, b in enumerate(s, 1)],
             lambda s, t, n: [b * t * (i % n + 1) for i, b in enumerate(s)]],
        "a window has T tokens of input; the one more, its last target, does not count": lambda s, t, n: all_tokens(s, t + 1, n),
        "tokens_seen counts inputs and targets; the inputs alone are the tokens seen": lambda s, t, n: all_tokens(s, 2 * t, n),
        "there is one number of tokens for each epoch; record it in each step": lambda s, t, n: all_tokens(s, t, n)[n - 1 :: n],
        "the tokens of each epoch are in a list of their own" + TOGETHER:
            [lambda *a: parts(all_tokens(*a), a[-1]), lambda *a: parts(in_epoch(*a), a[-1])],
        "only the tokens of the last epoch are left: start to count, and " + BEFORE:
            [lambda s, t, n: all_tokens(s, t, n)[-n:], lambda s, t, n: in_epoch(s, t, n)[-n:]],
        "the last number of tokens stands at every step; record each step's own": lambda s, t, n: [t * sum(s)] * len(s),
        "the list of tokens is empty: append their number to it in each step": lambda *_: [],
    }))


# 5.5
def early_stop(val_losses, patience, *, given=lambda losses: losses, against=lambda x, i, best, k: x[best],
               lower=operator.lt, best_if=None, worse=lambda a, b: True, wait=0, again=lambda wait: 0,
               over=lambda wait, i, k: wait >= k, end=lambda best, stop, losses, k: (best, stop)):
    best, losses = 0, given(val_losses)
    for i, loss in enumerate(losses):
        other = against(losses, i, best, patience)
        down = i and lower(loss, other)
        wait = again(wait) if down else wait + bool(i and worse(loss, other))
        best = i if (i and best_if(loss, losses[best]) if best_if else down) else best
        if over(wait, i, patience):
            break
    return end(best, i, val_losses, patience)


def losses_to_stop_at(draw):
    """Losses in each order that tells mistakes apart: ranks, 0 the lowest, n for nan."""
    tie, nan = "a loss equal to the lowest, which is not lower", "a loss of nan, which is not lower than anything"
    levels = [round(x, 3) for x in accumulate((draw.uniform(0.1, 0.5) for _ in range(8)), initial=draw.uniform(9, 11))]
    for case, ranks, patience in (
        (None, "6234567", 2), (None, "641354", 2), ("a lower loss after the stop", "523410", 2),
        ("after a rise the loss falls, but not below the lowest", "526431", 3),
        ("single worse evaluations between better ones", "67453412", 2), ("the loss falls to the end", "6543", 2),
        ("the patience runs out at the last evaluation", "5234", 2), ("patience 1", "5463", 1), ("a single evaluation", "3", 2),
        ("a better loss before the patience runs out", "534624", 3), ("the first loss is the lowest", "23546", 3),
        (tie, "5334367", 2), (tie, "534326", 3), (nan, "53n42", 2), (nan, "53n4678", 3), (nan, "534n2678", 3),
    ):
        yield case, ([math.nan if rank == "n" else levels[int(rank)] for rank in ranks], patience)
    for base in (draw.uniform(2, 4), draw.uniform(1e-4, 2e-4)):                # to be told apart by <, and by no tolerance
        yield "losses that are lower by very little", ([base * (1 + 2e-5 * i) for i in (6, 5, 7, 4, 2, 3, 3, 8)], 2)


def lowest(losses, nan=math.inf):
    """The index of the lowest loss; nan: what is taken for a loss of nan."""
    return min(range(len(losses)), key=lambda i: nan if math.isnan(losses[i]) else losses[i])


def at_the_end(change):
    """(best, stop) changed where training never stops early."""
    return lambda best, stop, losses, k: change(best, stop) if stop - best < k else (best, stop)


def no(compare):
    """Not this comparison, which is True for nan."""
    return lambda a, b: not compare(a, b)


LAST = "where training never stops early, stop is the index of the last evaluation, len(val_losses) - 1"
AFTER = "; training does not see what comes after its stop"
ASK = "every comparison with nan is False, so ask whether a loss is lower, and count it as no better otherwise"
DUE = "training stops when the lowest loss is `patience` evaluations old"
NO_BETTER = "; it counts as one evaluation that is no better"
SO_FAR = "; compare it with the lowest so far"
FALLS = (operator.lt, operator.le, no(operator.ge), no(operator.gt))
check_early_stop = spec(
    "5.5", "early stopping", see=("05", "Roads not taken"), right=early_stop, cases=losses_to_stop_at, use=listed,
    name="(best, stop), two integers,",
    doc="early_stop(val_losses, patience): (index of the lowest loss so far, index of the evaluation at which training stops).",
    mistakes=exchange("end", {
        "best and stop are exchanged": lambda b, s, *_: (s, b),
        "the lowest loss itself came back; its index is asked": lambda b, s, x, _: (x[b], s),
        "the losses themselves came back; their indices are asked": lambda b, s, x, _: (x[b], x[s]),
        "only stop came back; return (best, stop)": lambda b, s, *_: s,
        "only best came back; return (best, stop)": lambda b, s, *_: b,
        "best and stop are counted from 1; an index counts from 0": lambda b, s, *_: (b + 1, s + 1),
        "best is counted from 1; an index counts from 0": lambda b, s, *_: (b + 1, s),
        "stop is counted from 1; it is an index, which counts from 0": lambda b, s, *_: (b, s + 1),
        "best is where training stops; the index of the lowest loss is asked": lambda b, s, *_: (s, s),
        "stop is where the loss was lowest; training notices `patience` evaluations later": lambda b, s, *_: (b, b),
        "where training stops early, stop is where it stops, and not where the loss was lowest":
            lambda b, s, _, k: (b, b if s - b == k else s),
        "the indices are those of val_losses[1:], one too small: enumerate(val_losses[1:], 1)":
            lambda b, s, _, k: (max(b - 1, 0), s - (s - b == k)),
        "where training stops early, stop is one too small (or an index of val_losses[1:]: enumerate(val_losses[1:], 1))":
            lambda b, s, _, k: (b, s - (s - b == k)),
        "best is always 0: keep the index, too, when a lower loss is found": lambda b, s, *_: (0, s),
        "the second number is the age of the lowest loss; the index where training stops is asked": lambda b, s, *_: (b, s - b),
        "best is taken as stop - patience, which holds only where training stops early": lambda b, s, _, k: (s - k, s),
        "stop is taken as best + patience, which may lie behind the last evaluation": lambda b, s, _, k: (b, b + k),
        "the lowest loss of the whole list was taken" + AFTER: lambda b, s, x, _: (lowest(x), s),
        "the lowest loss of the whole list was looked for first" + AFTER:
            [lambda b, s, x, k, nan=nan: (lowest(x, nan), min(lowest(x, nan) + k, len(x) - 1)) for nan in (math.inf, -math.inf)],
        "the patience is counted from the start; count from the lowest loss on":
            lambda b, s, x, k: (lowest(x[: k + 1]), min(k, len(x) - 1)),
        "`return` is inside the loop, so that it ends at the first loss": [lambda b, s, x, _: (0, len(x) - 1), lambda *_: (0, 0)],
        f"{LAST}; one less came back": at_the_end(lambda b, s: (b, s - 1)),
        f"{LAST}; one more came back": at_the_end(lambda b, s: (b, s + 1)),
        f"{LAST}, but best is the index of the lowest loss then, too": at_the_end(lambda b, s: (s, s)),
    } | {f"{LAST}; {value} came back": [at_the_end(lambda best, stop, value=value: (best, value)),
                                        at_the_end(lambda best, stop, value=value: value)] for value in (None, -1, 0, math.inf)
    } | {f"{LAST}, and best is as always; {value} came back for both": at_the_end(lambda *_, value=value: (value, value))
         for value in (None, -1, 0, math.inf)}) | exchange("lower", {
        "a loss that only equals the lowest is taken for lower: compare with <": operator.le,
        f"nan is taken for a lower loss: {ASK}": no(operator.ge),
        f"nan, and a loss that only equals the lowest, are taken for lower: {ASK}": no(operator.gt),
        "nan is taken for the lowest loss, as argmin does; it is not lower than anything": lambda a, b: a < b or math.isnan(a),
        "every loss is taken for lower: keep the lowest loss, too, when one is found": lambda a, b: a < math.inf,
        "a loss that is lower by very little is lower, too: compare with <, without a tolerance and without rounding":
            [lambda a, b, digits=digits: a < b - 10.0**-digits for digits in (3, 1, 8, 2, 4, 5, 6, 7)],
        "a loss that is higher by very little is not lower: compare with <, without a tolerance and without rounding":
            [lambda a, b, digits=digits: a < b + 10.0**-digits for digits in (3, 2, 8, 4, 5, 6, 7)],
        "the highest loss is looked for; the lowest is the best": [operator.gt, operator.ge, no(operator.le), no(operator.lt)],
    }) | exchange("worse", {
        "nan is passed over" + NO_BETTER: operator.ge,
        "a loss that only equals the lowest is passed over" + NO_BETTER: no(operator.le),
        "nan, or a loss that only equals the lowest, is passed over" + NO_BETTER: operator.gt,
    }) | exchange("given", {
        "training stops at once at a loss of nan" + NO_BETTER:
            lambda losses: losses[: next((i + 1 for i, loss in enumerate(losses) if math.isnan(loss)), len(losses))],
        "nan was taken out of the list, which shifts the indices after it" + NO_BETTER:
            lambda losses: [loss for loss in losses if not math.isnan(loss)],
    }) | exchange("over", {
        f"one evaluation too late: {DUE}, not one more": lambda wait, i, k: wait > k,
        f"one evaluation too early: {DUE}, not one less": [lambda w, i, k: w >= k - 1, lambda w, i, k: w and w >= k - 1],
        "the patience is not used: training stops at the first loss that is no better": lambda wait, i, k: wait >= 1,
        "training never stops: end the loop when the patience has run out": lambda wait, i, k: False,
        "the patience is counted from the start, and then a loss that is no better ends training; count from the lowest loss on":
            lambda wait, i, k: wait and i >= k,
    }) | exchange("again", {
        "the count is 1 after a new lowest loss, so training stops one evaluation too early; start again from 0": lambda wait: 1,
        "the count is not reset: a new lowest loss starts it again from 0": lambda wait: wait,
    }) | exchange("against", {
        "the lowest loss starts at a fixed number, and losses above that are no better: start with infinity":
            [lambda x, i, best, k, start=start: min(x[best], start) for start in (0.0, 10.0, 5.0, 1.0)],
        "each loss is compared with the first" + SO_FAR: lambda x, i, best, k: x[0],
    }) | {
        "the first loss is counted as no better, so training stops too early: it is the lowest so far": {"wait": 1},
        "the lowest loss starts at 0, and no loss is lower than that: start with infinity, or with the first loss":
            {"wait": 1, "against": lambda x, i, best, k: 0.0},
        "a loss that only equals the lowest starts the count again; it is not lower, so it counts as no better":
            {"lower": operator.le, "best_if": operator.lt},
        "each loss is compared with the one before it" + SO_FAR:
            [{"against": lambda x, i, best, k: x[i - 1], "lower": falls, "best_if": best_if, "again": again}
             for falls in FALLS for best_if in (operator.lt, None) for again in (lambda wait: 0, lambda wait: wait)],
        "each loss is compared with the one `patience` evaluations before it" + SO_FAR:
            [{"against": lambda x, i, best, k: x[i - k] if i >= k else math.inf, "lower": falls, "best_if": operator.lt,
              "over": lambda wait, i, k: wait and i >= k} for falls in FALLS],
    })


# 5.6
def row(tensors):
    """All numbers of some tensors in one row."""
    return torch.cat([x.detach().flatten() for x in tensors])


def norms(tensors):
    return [x.norm().item() for x in tensors]


def joint(tensors, *_):
    return row(tensors).norm().item()


def above(factor):
    """A change of one gradient: by a factor, where the norm is above max_norm."""
    return lambda g, norm, m: g * factor(norm, m) if norm > m else g


def clip_all(grads, change, norm, m):
    return [change(g, norm, m) for g in grads]


TO_MAX_NORM = above(lambda norm, m: m / norm)


def clip_gradients(parameters, max_norm, *, passed=lambda p: p.grad is None, measured=lambda p: p.grad, norm=joint,
                   change=TO_MAX_NORM, clip=clip_all, write=lambda p, new: p.grad.copy_(new), result=lambda norm, *_: norm):
    used = [p for p in parameters if not passed(p)]
    grads = [measured(p).detach().clone() for p in used]
    length = norm(grads, parameters)
    after = clip(grads, change, length, max_norm)
    for p, new in zip(used, after, strict=True):
        write(p, new)
    return result(length, max_norm, grads, after)


def gradients(draw):
    """Weights, gradients, of which one is None, and max_norm: below the norm, above it, both below 1; and gradients of 0."""
    for case, size, share in ((None, 1.0, 0.0), ("gradients below max_norm", 1.0, draw.uniform(1.3, 1.8)),
                              ("gradients with a norm below 1", 0.05, draw.uniform(0.4, 0.7)), ("gradients of 0", 0.0, 0.0)):
        weights = [draw.normal(*shape) for shape in ((5,), (2,), (3, 4), (2, 3), (4,))]
        grads = [size * spread * draw.normal(*w.shape) for w, spread in zip(weights, (0.7, 1, 0.4, 0.25, 0.6), strict=True)]
        grads[1], grads[2][0, 0], grads[2][2, 1] = None, 3 * size, -2.5 * size             # beyond max_norm in the first case
        yield case, (weights, grads, share * joint(g for g in grads if g is not None) or draw.uniform(1.2, 1.6))


def no_tensor(use):
    """What is done with a gradient of None."""
    return {"passed": lambda p: False, "measured": lambda p: (use(p.grad), p.grad)[1]}


TURNS = ", which turns the direction of the step; scale all by one factor, from their joint norm"
CAME = " came back; return the joint norm before clipping"
IS = "; the factor is max_norm / norm"
ALL = "; scale all, by the same factor"
WEIGHTS = "; it is the gradients, p.grad, that are clipped"
check_clip_gradients = spec(
    "5.6", "gradient clipping", see=("06", "When training ends early"), right=clip_gradients, cases=gradients,
    use=observe.a_clipping,
    doc="clip_gradients(parameters, max_norm): scale all gradients to a joint norm of at most max_norm; the norm before.",
    mistakes={words: [{"norm": norm}, {"result": lambda length, m, grads, _, norm=norm: norm(grads, [])}] for words, norm in {
        "the norms of the gradients are added up; square them first, add up, and take the root": lambda g, _: sum(norms(g)),
        "the root is missing: that is the sum of all squares": lambda g, _: joint(g) ** 2,
        "the root of the sum of the norms was taken; the norms are squared before they are added up":
            lambda g, _: sum(norms(g)) ** 0.5,
        "the absolute values are added up; square them, add up, and take the root": lambda g, _: row(g).abs().sum().item(),
        "that is the largest number in the gradients; the norm is the root of the sum of all squares":
            lambda g, _: row(g).abs().max().item(),
        "that is the largest norm of one gradient; all of them count together": lambda g, _: max(norms(g)),
        "that is the mean of the norms; square them, add up, and take the root": lambda g, _: sum(norms(g)) / len(g),
        "that is the root of the mean square; the norm is the root of the sum of all squares":
            lambda g, _: row(g).square().mean().item() ** 0.5,
        "that is the mean square; the norm is the root of the sum of all squares": lambda g, _: row(g).square().mean().item(),
        "that is the norm of the last gradient alone: add up the squares of all, and do not overwrite": lambda g, _: norms(g)[-1],
        "that is the norm of the first gradient alone: the loop ends too early; pass over a gradient of None, and go on":
            lambda g, _: norms(g)[0],
        "the numbers are added up without squares; square each first": lambda g, _: row(g).sum().item(),
        "the numbers are added up before they are squared; square each first": lambda g, _: row(g).sum().abs().item(),
        "the mean of squares was taken in each gradient; add up all squares":
            lambda g, _: sum(x.square().mean().item() for x in g) ** 0.5,
        "the mean of each gradient is squared; square each number first":
            lambda g, _: sum(x.mean().item() ** 2 for x in g) ** 0.5,
        "the numbers of each gradient are added up before they are squared; square each first":
            lambda g, _: sum(x.sum().item() ** 2 for x in g) ** 0.5,
    }.items()} | exchange("norm", {
        "that is the norm of the weights" + WEIGHTS:
            [lambda _, some: joint(some), lambda _, some: joint(p for p in some if p.grad is not None)],
    }) | exchange("result", {
        "max_norm" + CAME: lambda norm, m, *_: m,
        "the factor" + CAME: [lambda norm, m, *_: min(1.0, m / norm) if norm else 1.0, lambda norm, m, *_: norm / m,
                              lambda norm, m, *_: m / norm if norm else math.inf],
        "the norm of each gradient came back; one number for all of them together is asked": lambda norm, m, g, _: norms(g),
        "the gradients" + CAME: lambda norm, m, grads, after: grads,
        "the clipped gradients came back; change p.grad, and return the joint norm before clipping": lambda *args: args[-1],
        "the norm after clipping came back; return the one before": [lambda *args: joint(args[-1]), lambda n, m, *_: min(n, m)],
    }) | exchange("change", {words: above(factor) for words, factor in {
        "the factor is upside down: it is max_norm / norm, below 1 where the norm is too large": lambda norm, m: norm / m,
        "the gradients are divided by their norm, so that it becomes 1" + IS: lambda norm, m: 1 / norm,
        "the gradients are multiplied by max_norm" + IS: lambda norm, m: m,
        "the gradients are divided by max_norm" + IS: lambda norm, m: 1 / m,
        "the factor is used twice": lambda norm, m: (m / norm) ** 2,
        "the root of the factor was taken" + IS: lambda norm, m: (m / norm) ** 0.5,
        "the norm lacks its root where the gradients are divided by it": lambda norm, m: m / norm**2,
        "the gradients are set to 0; scale them by max_norm / norm, so that their direction stays": lambda norm, m: 0.0,
        "the gradients have turned round" + IS + ", which is above 0": lambda norm, m: -m / norm,
        "the gradients are as they were, though their norm is above max_norm: is it found, and are the scaled ones written back? "
        "p.grad * factor alone changes nothing": lambda norm, m: 1.0,
    }.items()}) | exchange("change", {
        "gradients below max_norm are scaled up to it; clipping leaves them alone": lambda g, norm, m: g * m / (norm + 1e-6),
        "the comparison is the wrong way round: gradients are scaled where their norm is below max_norm":
            lambda g, norm, m: g * m / norm if 0 < norm < m else g,
        "the norm is clipped to 1, whatever max_norm is; use the max_norm that is given": lambda g, norm, m: g / max(norm, 1.0),
        "the norm is compared with 1; compare it with max_norm": lambda g, norm, m: g * m / norm if norm > 1 else g,
        "the norm is 0: divide only where it is above max_norm": lambda g, norm, m: g * min(1.0, m / norm),
        "the gradients are nan now: 0 was divided by their norm, which is 0, too; divide only where the norm is above max_norm":
            lambda g, norm, m: g * torch.tensor(min(norm, m)) / norm,
        "each gradient is clipped by its own norm" + TURNS: lambda g, norm, m: g * m / g.norm() if g.norm() > m else g,
        "each gradient is scaled to its own norm of max_norm" + TURNS: lambda g, norm, m: g * m / (g.norm() or 1.0),
        "each gradient is divided by its own norm" + TURNS: lambda g, norm, m: g / (g.norm() or 1.0),
        "each number is clamped by itself" + TURNS: [
            lambda g, norm, m: g.clamp(-m, m), lambda g, norm, m: g.clamp(max=m), lambda g, norm, m: g.clamp(-1.0, 1.0)],
        "only a gradient whose own norm is too large is scaled" + ALL: lambda g, norm, m: g * m / norm if g.norm() > m else g,
    }) | exchange("clip", {
        "the gradients are divided by the sum of their norms, and not by their joint norm":
            lambda grads, change, norm, m: [g * (m / sum(norms(grads)) if norm > m else 1.0) for g in grads],
        "only the first gradient is scaled" + ALL: lambda grads, *how: [*clip_all(grads[:1], *how), *grads[1:]],
        "only the last gradient is scaled" + ALL: lambda grads, *how: [*grads[:-1], *clip_all(grads[-1:], *how)],
        "each gradient is scaled as soon as it is added to the norm; add up all of them first, then scale all by one factor":
            lambda grads, change, norm, m: [g * min(1.0, m / (joint(grads[: i + 1]) or m)) for i, g in enumerate(grads)],
    }) | exchange("write", {
        "the weights were scaled" + WEIGHTS: [
            lambda p, new: p.data.mul_(0.9), lambda p, new: p.data.mul_(1.0 if torch.equal(p.grad, new) else 0.9)],
        "the weights themselves were to be changed" + WEIGHTS: lambda p, new: p.mul_(0.9),
        "a gradient is gone; scale it, so that its direction stays": lambda p, new: setattr(p, "grad", None),
    }) | {
        "the gradient that was None is so no longer; leave it alone":
            {"passed": lambda p: False, "measured": lambda p: torch.zeros_like(p) if p.grad is None else p.grad,
             "write": lambda p, new: setattr(p, "grad", new)},
        "a tensor that took no part in the loss has .grad None: pass over it":
            [no_tensor(operator.attrgetter(name)) for name in (
                "norm", "square", "pow", "flatten", "abs", "detach", "data", "mul_", "view", "reshape", "clone", "sum", "double")]
            + [no_tensor(use) for use in (lambda g: g**2, lambda g: g * g, lambda g: g * 1.0, lambda g: operator.imul(g, 1.0))],
    })
