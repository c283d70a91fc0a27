"""The exercises of lesson 10 as data: bigger training runs."""
import math

import torch

from gpt_checks import observe
from gpt_checks.diagnosis import Program
from gpt_checks.observe import Descent, Model, as_list, batch_loss, draw_batches, graph_in, in_words
from gpt_checks.spec import Facts, as_given, exchange, several, spec


# 10.1
def share(step, warm_up, decay, steps, *, given=as_given, rising=lambda step, w: step < w,
          falling=lambda step, d, n: step >= n - d, rise=lambda k, w, n: (k + 1) / w, flat=lambda step, w, d, n: 1.0,
          fall=lambda k, d, n, w: (n - k) / d, after=lambda step, d, n: 0.0):
    step, w, d, n = given(step, warm_up, decay, steps)
    if step >= n:
        return after(step, d, n)
    if rising(step, w):
        return rise(step, w, n)
    return fall(step, d, n, w) if falling(step, d, n) else flat(step, w, d, n)


def every_share(answer, warm_up, decay, steps):
    """The shares of all updates of a plan, and of some after it, in four lists."""
    starts = {"the list of shares in the warm-up": 0, "the list of shares between warm-up and decay": warm_up,
              "the list of shares in the decay": steps - decay, "the list of shares after the end": steps}
    ends = [*starts.values(), steps + 3][1:]
    return Facts({name: [answer(step, warm_up, decay, steps) for step in range(start, end)]
                  for (name, start), end in zip(starts.items(), ends, strict=True)})


def plans(draw):
    """(warm_up, decay, steps): with all three parts, without warm-up, without decay, with nothing between."""
    for case, w, d, more in ((None, draw.randint(3, 4), draw.randint(5, 7), draw.randint(8, 11)),
                             ("no warm-up", 0, draw.randint(4, 6), draw.randint(5, 9)),
                             ("no decay", draw.randint(3, 5), 0, draw.randint(5, 9)),
                             ("decay right after the warm-up", draw.randint(3, 4), draw.randint(5, 7), 0)):
        yield case, (w, d, w + more + d)


def half_cosine(p):
    return (1 + math.cos(math.pi * p)) / 2


RISES = "the share of update k is (k + 1) / warm_up"
FROM = "it has the last `decay` updates, from steps - decay on"
FALLS = "the share of update k is (steps - k) / decay, so the last one gets 1 / decay"
check_share = spec(
    "10.1", "a schedule without an end", see=("10", "Warm-up"), right=share, cases=plans, use=every_share, rtol=1e-6, atol=1e-9,
    doc="share(step, warm_up, decay, steps): a line up, a plateau of 1, a line down over the last `decay` updates, then 0.",
    mistakes=exchange("rise", {
        f"the first update gets a share of 0, and learns nothing; {RISES}": lambda k, w, n: k / w,
        f"the warm-up is one update ahead; {RISES}": lambda k, w, n: (k + 2) / w,
        f"the warm-up is divided by warm_up + 1; {RISES}": lambda k, w, n: (k + 1) / (w + 1),
        f"the warm-up is divided by warm_up - 1; {RISES}": lambda k, w, n: (k + 1) / (w - 1),
        f"the warm-up is spread over all updates; {RISES}": lambda k, w, n: (k + 1) / n,
        "the warm-up is missing: its updates get the whole rate": lambda k, w, n: 1.0,
        "the warm-up stays at 0, as // (integer division) makes it; use /": lambda k, w, n: (k + 1) // w,
        "the warm-up follows a cosine; it rises in a line": lambda k, w, n: 1 - half_cosine((k + 1) / w),
        "the warm-up falls; it rises": [lambda k, w, n: 1 - (k + 1) / w, lambda k, w, n: 1 - k / w],
    }) | exchange("rising", {
        "the warm-up is one update too long, and goes above 1": [lambda step, w: step <= w, lambda step, w: w and step <= w],
    }) | exchange("flat", {
        "between warm-up and decay the share is 1; here it falls from the end of the warm-up on":
            [lambda k, w, d, n: (n - k) / (n - w), lambda k, w, d, n: half_cosine((k - w) / (n - w))],
        "between warm-up and decay the share is 1, and not 0": lambda k, w, d, n: 0.0,
        "between warm-up and decay the share is 1; the warm-up goes on rising there": lambda k, w, d, n: (k + 1) / max(w, 1),
        "between warm-up and decay the share is 1, and so is (steps - step) / decay only later: take the smaller of the two":
            lambda k, w, d, n: (n - k) / max(d, 1),
        "between warm-up and decay nothing came back: is a `return` missing?": lambda k, w, d, n: None,
    }) | exchange("falling", {
        "the decay begins an update late; its first one is steps - decay": lambda step, d, n: step > n - d + 1,
        f"the decay begins at update `decay`; {FROM}": [lambda step, d, n: step >= d, lambda step, d, n: d and step >= d],
    }) | {
        f"the decay begins at warm_up + decay; {FROM}": {
            "flat": lambda k, w, d, n: 1.0 if k < w + d else (n - k) / d,
            "fall": lambda k, d, n, w: 1.0 if k < w + d else (n - k) / d},
    } | exchange("fall", {
        f"the last update gets 0, and is wasted; {FALLS}": lambda k, d, n, w: (n - 1 - k) / d,
        f"the decay starts above 1, and its last update gets 2 / decay; {FALLS}": lambda k, d, n, w: (n + 1 - k) / d,
        f"the decay is divided by decay + 1; {FALLS}": lambda k, d, n, w: (n - k) / (d + 1),
        f"the decay rises; {FALLS}": [lambda k, d, n, w: (k - n + d) / d, lambda k, d, n, w: (k - n + d + 1) / d],
        f"the decay is spread over all updates; {FALLS}": [lambda k, d, n, w: (n - k) / n, lambda k, d, n, w: 1 - k / n],
        f"the decay is divided by the updates after the warm-up; {FALLS}": lambda k, d, n, w: (n - k) / (n - w),
        "the decay follows a cosine; it falls in a line": [
            lambda k, d, n, w: half_cosine((k - n + d) / d), lambda k, d, n, w: half_cosine((k - n + d + 1) / d)],
        "the decay is missing: its updates get the whole rate": lambda k, d, n, w: 1.0,
        "the decay drops to 0 at once; it falls in a line": lambda k, d, n, w: 0.0,
    }) | exchange("after", {
        "after the end the share is 0, and not 1": lambda step, d, n: 1.0,
        "after the end the line goes on below 0, and the rate would be negative; the share stays at 0": [
            lambda step, d, n: (n - step) / d if d else 0.0, lambda step, d, n: (n - step) / d if d else 1.0,
            lambda step, d, n: (n - step) / max(d, 1)],
        "at `steps` itself the share is 0 already: ask for step >= steps": lambda step, d, n: 0.0 if d or step > n else 1.0,
        "without a decay the share stays at 1 for ever; from `steps` on it is 0": lambda step, d, n: 0.0 if d else 1.0,
        "after the end the share stays at that of the last update; it is 0": lambda step, d, n: 1 / d if d else 1.0,
        "after the end the schedule begins anew; the share stays at 0": lambda step, d, n: step - n + 1,
    }) | exchange("given", {"warm_up and decay are exchanged": lambda step, w, d, n: (step, d, w, n)}) | {
        "without a warm-up there is nothing to divide by: ask whether step < warm_up first":
            {"rising": lambda step, w: (step + 1) / w < 1},
        "without a decay there is nothing to divide by: ask whether the decay has begun first":
            {"falling": lambda step, d, n: (n - step) / d <= 1},
    })


# 10.2
UPDATE = """\
def update_in_pieces(model, optimizer, micro_batches, max_norm):
    model.train()
    optimizer.zero_grad()
    tokens = sum((targets != -100).sum().item() for _, targets in micro_batches)
    total = 0.0
    for inputs, targets in micro_batches:
        logits = model(inputs)                                   # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / tokens
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total"""
MEAN = ', reduction="sum") / tokens'
CLIP, STEP = "    nn.utils.clip_grad_norm_(model.parameters(), max_norm)\n", "    optimizer.step()\n"
COUNT = "sum((targets != -100).sum().item() for _, targets in micro_batches)"
BACK = "        loss.backward()\n        total += loss.item()\n"
BUGS = {
    "dropout is off in this update: call model.train() first": ("    model.train()\n", "", "    model.eval()\n"),
    "the old gradients are still there, so they are added to this update's: zero_grad() is missing":
        ("    optimizer.zero_grad()\n", ""),
    "the gradients of all micro-batches but the last are lost: zero_grad() stands in the loop, or backward() behind it": [
        ("        logits = ", "        optimizer.zero_grad()\n        logits = "),
        (BACK, "        total += loss.item()\n    loss.backward()\n")],
    "the micro-batches' means are averaged, in which a token of a short one counts for more; weigh by tokens":
        (MEAN, ") / len(micro_batches)"),
    "the micro-batches' means are added up; weigh each by its share of the tokens": (MEAN, ")"),
    "each mean is divided by the number of tokens; it is the sums that are added up and divided: reduction=\"sum\"":
        (MEAN, ") / tokens"),
    "the losses are added up over all tokens; divide by their number": (" / tokens", ""),
    "padding counts as tokens here; only targets that are not -100 are scored":
        ("(targets != -100).sum().item()", "targets.numel()"),
    "the means are weighed by windows, and these differ in how many targets count; weigh by targets that are not -100": [
        (MEAN, ") * len(targets) / sum(len(y) for _, y in micro_batches)"),
        (MEAN, ") * targets.numel() / sum(y.numel() for _, y in micro_batches)")],
    "each mean is multiplied by all its targets, padding too, and divided by those that are scored":
        (MEAN, ") * targets.numel() / tokens"),
    "the loss is divided by the number of tokens, but the gradient is not: divide before backward()":
        (" / tokens\n" + BACK, "\n" + BACK.replace("item()", "item() / tokens")),
    "each mean is multiplied by its tokens, but divided by those of the last micro-batch; add up the tokens of all first":
        (COUNT, "(micro_batches[-1][1] != -100).sum().item()"),
    "a micro-batch is divided by the tokens up to there; count those of all micro-batches first": [
        {COUNT: "0", "        logits": "        tokens += (targets != -100).sum().item()\n        logits"} | end for end in (
            {}, {"+= loss.item()": "+= loss.item() * tokens", "return total": "return total / tokens"})],
    "the gradient is clipped after each micro-batch; clip once, when it is whole":
        ("        total += loss.item()\n    nn", "        total += loss.item()\n        nn"),
    "a step is taken after each micro-batch; one update is one step": [
        (CLIP + STEP, "    " + CLIP + "    " + STEP, "    " + STEP),
        {CLIP + STEP: "    " + CLIP + "    " + STEP, "        logits": "        optimizer.zero_grad()\n        logits"},
        {CLIP + STEP: "    " + STEP, "        logits": "        optimizer.zero_grad()\n        logits"}],
    "the gradient is clipped before it is divided by the number of tokens; clip what the step will take": {
        " / tokens\n" + BACK: "\n" + BACK.replace("item()", "item() / tokens"),
        CLIP: CLIP + "    for p in model.parameters():\n        p.grad /= tokens\n"},
    "the step was taken before the gradients were clipped, or without it: clip right before step()": [
        (CLIP, ""), (CLIP + STEP, STEP + CLIP)],
    "each gradient is clipped by itself, which turns the step; all together have one norm":
        ("clip_grad_norm_", "clip_grad_value_"),
    "the norm is clipped to 1, whatever max_norm is": ("parameters(), max_norm", "parameters(), 1.0"),
    "no weight has moved: backward() or step() is missing, or step() comes first, or zero_grad() stands between them": [
        (STEP, "", STEP.replace("()", "")), ("        loss.backward()\n", "")],
    "all graphs are kept until one backward at the end; go backward in the loop, and each is freed":
        (BACK, "        total += loss\n    total.backward()\n    total = total.item()\n"),
    "all micro-batches were made one large batch, which is what memory has no room for; take one after the other":
        ("in micro_batches:", "in [[torch.cat(some) for some in zip(*micro_batches)]]:"),
    "the loss comes back with its graph, so whoever keeps it fills the memory: take .item()": ("loss.item()", "loss"),
    "the loss is overwritten by each micro-batch: total += and not total =": ("total +=", "total ="),
    "the inputs are scored; what the model should say are the targets": ("targets.flatten()", "inputs.flatten()"),
    "the last micro-batch is left out": ("in micro_batches:", "in micro_batches[:-1]:"),
    "the loss is divided by the number of micro-batches once more": ("return total", "return total / len(micro_batches)"),
    "the sum over all tokens came back; their mean is asked": ("return total", "return total * tokens"),
    "the loss after the step came back; the one before it is asked": ("return total", """total = 0.0
    for inputs, targets in micro_batches:
        with torch.no_grad():
            total += F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum").item() / tokens
    return total"""),
}


def an_update(answer, model, batches, max_norm):
    """What an answer does in one update, with the gradients of an earlier one still there."""
    model = model.fresh()
    batch_loss(batches[0][1].clamp(min=0), batches[0][0], model).backward()
    model.log.clear()
    got = answer(model, Descent(model), batches, max_norm)
    letters = model.log.letters()
    largest = max((len(ids) for letter, ids in model.log if letter in "FfVv"), default=0)
    return Facts({"the loss": in_words(got), "the row of all weights, after the update,": model.weights(),
                  "what the loss holds": graph_in(got),
                  "memory": "a larger batch" if largest > max(len(x) for x, _ in batches) else
                            "several graphs at a time" if "W" in letters else "one graph at a time"})


def updates(draw):
    """A model, micro-batches with unequal padding, and a max_norm below or above the gradient's norm."""
    for case, mode, share in ((None, False, draw.uniform(0.04, 0.08)), ("max_norm above the norm", True, draw.uniform(1.5, 2))):
        t, v = draw.randint(5, 6), draw.randint(16, 19)
        batches = draw_batches(draw, draw.sample((2, 3, 4), 3), t, v)
        for (_, y), kept in zip(batches, draw.sample((1, 2, t - 1), 3), strict=True):
            y[:, kept:] = -100
            y[0, :] = y[0, :].clamp(min=0)
        twin = (model := Model.drawn(draw, v).train(mode)).fresh().train()
        tokens = sum((y != -100).sum() for _, y in batches)
        for x, y in batches:
            (batch_loss(x, y, twin) * (y != -100).sum() / tokens).backward()
        yield case, (model, batches, share * torch.cat([p.grad.flatten() for p in twin.parameters()]).norm().item())


check_update_in_pieces = spec(
    "10.2", "an update in pieces", see=("10", "Accumulation"), right=Program("10.2", UPDATE, {}), cases=updates,
    use=an_update, rtol=1e-5, atol=3e-6,
    scales=lambda model, batches, max_norm: {"the number of micro-batches": len(batches)},
    doc="update_in_pieces(model, optimizer, micro_batches, max_norm): one clipped step from micro-batches, weighted by tokens.",
    mistakes={words: [parts for bug in (bugs if isinstance(bugs, list) else [bugs])      # (text, what it becomes, or, …)
                      for parts in ([bug] if isinstance(bug, dict) else [{bug[0]: new} for new in bug[1:]])]
              for words, bugs in BUGS.items()})


# 10.3
def spacing(x, bits=8):
    """The distance between neighbours among the numbers with so many significant binary digits, about x."""
    return 2.0 ** (math.frexp(x)[1] - bits)


def to_bfloat16(x, *, step=spacing, whole=round, end=lambda k, step, x: k * step):
    return end(whole(x / step(x)), step(x), x)


def half_up(x):
    return math.floor(x + 0.5)


def numbers(draw):
    """Numbers of all sizes, between two neighbours or exactly halfway; all of them are float32 numbers, too."""
    def between(share, size):
        """A number beyond an even or an odd neighbour by a share of the distance to the next one."""
        return torch.tensor((draw.randint(65, 125) * 2 + draw.randint(0, 1) + share) * 2.0**size).item()

    for size in (-7, -5, -12, 2):
        yield None, (between(draw.uniform(0.1, 0.4), size),)
        yield None, (between(draw.uniform(0.6, 0.9), size),)
    yield "a number below 0", (-between(draw.uniform(0.1, 0.4), -6),)
    for odd, size, sign in ((0, -7, 1), (1, -4, 1), (0, -6, -1), (1, -9, -1)):
        yield "a number halfway between two", (sign * (draw.randint(65, 125) * 2 + odd + 0.5) * 2.0**size,)
    yield "a tiny number", (between(draw.uniform(0.6, 0.9), -107),)
    yield "a huge number", (between(draw.uniform(0.1, 0.4), 90),)
    yield "0", (0.0,)


NEAREST = "the nearest neighbour is asked: round"
check_to_bfloat16 = spec(
    "10.3", "eight binary digits", see=("10", "Half the bits"), right=to_bfloat16, cases=numbers, rtol=1e-6, atol=0.0,
    name="the number",
    doc="to_bfloat16(x): the nearest number with eight significant binary digits, ties to the even one; a float.",
    mistakes=exchange("whole", {
        f"what does not fit was cut off; {NEAREST}": int,
        f"it was rounded down, below 0 as well; {NEAREST}": math.floor,
        f"it was rounded up; {NEAREST}": math.ceil,
        "a number halfway between two goes to the even neighbour, as `round` has it; adding 0.5 takes the upper one": half_up,
        "a number halfway between two goes to the even neighbour, as `round` has it; here the one farther from 0 was taken":
            lambda x: math.copysign(half_up(abs(x)), x),
    }) | exchange("step", {
        **{f"{bits} significant binary digits are left; bfloat16 has eight, the leading 1 among them":
           lambda x, bits=bits: spacing(x, bits) for bits in (7, 9, 10, 11, 16)},
        "the distance between neighbours is not 1/256 everywhere; it grows with the number, doubling at each power of 2":
            [lambda x, k=k: 2.0**-k for k in (8, 7)],
        "three significant decimal digits are left; bfloat16 has eight binary ones":
            lambda x: 10.0 ** (math.floor(math.log10(abs(x) or 1.0)) - 2),
        "a number of places behind the decimal point is left; bfloat16 has eight significant binary digits":
            [lambda x, k=k: 10.0**-k for k in (2, 3, 8, 1, 4, 0)],
        "m was rounded to steps of 1/255; eight binary digits make steps of 1/256": lambda x: spacing(x) * 256 / 255,
    }) | exchange("end", {
        "that is the integer before it is scaled back; multiply it by the distance between neighbours": lambda k, step, x: k,
        "that is m, rounded; multiply it by 2**e": lambda k, step, x: k / 256,
        "that is half of it: frexp gives m from 0.5 on, and x = m · 2**e": lambda k, step, x: k * step / 2,
        "that is 256 times too large: m * 256 was rounded, and is to be divided by 256 again": lambda k, step, x: k * step * 256,
        "m is multiplied by 2 * e; 2**e is asked": lambda k, step, x: k / 128 * math.frexp(x)[1],
        "the sign is lost": lambda k, step, x: abs(k * step),
        "the number came back as it was, or with many more digits than eight binary ones": lambda k, step, x: x,
        "that is the rounding error; the rounded number is asked": lambda k, step, x: k * step - x,
        "that is float16, with other bits for the size: it ends at 65,504, and below 0.00006 it loses digits":
            lambda k, step, x: torch.tensor(x).half().item(),
    }))


# 10.4
def grow(weights, updates, *, copy=torch.Tensor.float, add=torch.add, take=lambda us: us, end=torch.Tensor.bfloat16):
    total = copy(weights)
    for u in take(updates):
        total = add(total, u)
    return end(total)


def in_bfloat16(updates):
    """The sum of updates, rounded after each."""
    total = torch.zeros_like(updates[0]).bfloat16()
    for u in updates:
        total = (total + u).bfloat16()
    return total.float()


def small_updates(draw):
    """bfloat16 weights and many updates, each too small for most of them; no end lies halfway between two bfloat16 numbers.

    Rounded to bfloat16, all updates would lose something.
    """
    for n in (draw.randint(30, 40), draw.randint(50, 60)):
        weights = (0.5 * draw.normal(300)).bfloat16()
        updates = [(128 + draw.ids(300, vocab_size=128) + draw.uniform(0.3, 0.45)) * 2.0**-18 for _ in range(n)]
        exact = weights.double() + sum(u.double() for u in updates)
        places = exact / 2.0 ** (torch.frexp(exact).exponent - 8)
        clear = ((places - places.floor() - 0.5).abs() > 0.005) & (weights.abs() > 0.05)
        yield None, (weights[clear], [u[clear] for u in updates])


KEEP = "keep a float32 copy, add all updates to it, and round once at the end"
check_grow = spec(
    "10.4", "updates too small to see", see=("10", "Half the bits"), right=grow, cases=small_updates, rtol=1e-6,
    use=lambda answer, *args: Facts({"the row of weights": (got := answer(*args)),
                                     "their dtype": str(got.dtype) if isinstance(got, torch.Tensor) else ""}),
    name="the weights",
    doc="grow(weights, updates): bfloat16 weights after float32 updates, added up in float32 and rounded once.",
    mistakes={
        f"the updates were added to bfloat16 weights, where most of them are rounded away; {KEEP}":
            [{"add": lambda w, u: (w + u).bfloat16().float()}, {"add": lambda w, u: (w + u.bfloat16()).bfloat16().float()}],
        f"the updates were added up in bfloat16 before they came to the weights; {KEEP}":
            [{"take": lambda us: [in_bfloat16(us)]}, {"take": lambda us: [in_bfloat16([u.bfloat16() for u in us])]}],
        f"each update was rounded to bfloat16 before it was added; {KEEP}": {"take": lambda x: [u.bfloat16().float() for u in x]},
        f"the sum of the updates was rounded before it came to the weights; {KEEP}":
            {"take": lambda us: [sum(us).bfloat16().float()]},
        f"float16 was used for the copy; {KEEP}": [
            {"add": lambda w, u: (w + u).half().float()}, {"add": lambda w, u: (w.half() + u.half()).float()}],
        "the weights were cut off at the end; .bfloat16() rounds to the nearest number":
            {"end": lambda w: (w.view(torch.int32) >> 16 << 16).view(torch.float32).bfloat16()},
        "the weights were rounded twice, by way of float16; round once": {"end": lambda w: w.half().bfloat16()},
        "the first update is left out": {"take": lambda updates: updates[1:]},
        "the weights came back in float32; round them once at the end: .bfloat16()": {"end": lambda w: w},
        "the weights came back in float16; bfloat16 is asked": {"end": torch.Tensor.half},
        "the weights were multiplied by 1 + update; an update is added": {"add": lambda w, u: w * (1 + u)},
        "the updates were subtracted; they are what is to be added": {"add": torch.sub},
        "only the last update was added: add up, and do not overwrite": {"take": lambda updates: updates[-1:]},
        "only the first update was added: is `return` inside the loop?": {"take": lambda updates: updates[:1]},
        "the last update is left out": {"take": lambda updates: updates[:-1]},
        "all numbers of all updates were added to each weight; add up along the list alone, as .sum(0) does":
            {"take": lambda updates: [sum(updates).sum()]},
        "the mean of the updates was added; add all of them": {"take": lambda updates: [sum(updates) / len(updates)]},
        "the weights came back as they were": {"take": lambda updates: []},
        "the sum of the updates alone came back; add it to the weights": {"copy": lambda w: 0 * w.float()},
    })


# 10.5
def my_windows(windows, rank, processes, *, given=as_given, kept=lambda n, p: n - n % p, cut=lambda n, r, p: range(r, n, p)):
    n, r, p = given(windows, rank, processes)
    return list(cut(kept(n, p), r, p))


def shared(draw):
    """(windows, rank, processes): some are left over, one or none; one process; fewer windows than processes."""
    for _ in range(3):
        p = draw.randint(3, 5)
        yield None, (p * draw.randint(3, 5) + draw.randint(1, p - 2), draw.randint(1, p - 1), p)
    yield None, (p * 4 + 1, 0, p)
    yield None, (p * 4 - 1, 0, p)
    p = draw.randint(3, 5)
    yield "nothing left over", (p * draw.randint(2, 4), draw.randint(1, p - 2), p)      # not the last process
    yield "one process", (draw.randint(5, 9), 0, 1)
    yield "fewer windows than processes", (2, draw.randint(0, 1), draw.randint(3, 4))


IN_TURN = "process r takes window r, and from there every N-th of N processes"
LEFT = "leave out the last windows when they do not go round, so that no process waits for one that has none left"
check_my_windows = spec(
    "10.5", "who takes which window", see=("10", "Several processes"), right=my_windows, cases=shared,
    use=observe.listed, also=observe.a_list, rtol=1e-9, name="the list of windows",
    doc="my_windows(windows, rank, processes): rank, rank + processes and so on, equally many for each process; a list of ints.",
    mistakes=exchange("kept", {
        f"some processes get a window more than others; {LEFT}": lambda n, p: n,
        "a whole round is left out even where the windows go round": lambda n, p: (n - 1) - (n - 1) % p,
        "the windows were filled up so that they go round, with numbers that do not exist; " + LEFT: lambda n, p: n + -n % p,
        "the number of rounds was rounded to the nearest one; round down, with //: " + LEFT: lambda n, p: round(n / p) * p,
        "as many windows are left out as there are processes; " + LEFT: lambda n, p: n - p,
    }) | exchange("cut", {
        f"each process takes one block of windows; {IN_TURN}": lambda n, r, p: range(r * (n // p), (r + 1) * (n // p)),
        f"windows are numbered from 0, and so are the processes; {IN_TURN}": [
            lambda n, r, p: range(r + 1, n + 1, p), lambda n, r, p: range(r + 1, n, p), lambda n, r, p: range(r - 1, n - 1, p)],
        f"all processes begin with window 0, so the same windows come several times; {IN_TURN}": lambda n, r, p: range(0, n, p),
        f"every process takes all windows; {IN_TURN}": lambda n, r, p: range(n),
        f"all windows from number r on were taken; {IN_TURN}": lambda n, r, p: range(r, n),
        f"the step is the process's own number; {IN_TURN}": [
            lambda n, r, p: range(r, n, r or 1), lambda n, r, p: range(0, n, r + 1)],
        "the range ends one too early, so that the last process gets a window less": lambda n, r, p: range(r, n - 1, p),
        "the range ends one too late, so that process 0 gets a window more": lambda n, r, p: range(r, n + 1, p),
        "the lists of all processes came back; the one of this process is asked": lambda n, r, p: [
            list(range(q, n, p)) for q in range(p)],
        f"the process takes all windows of one round; {IN_TURN}": lambda n, r, p: range(n)[r * p : (r + 1) * p],
        f"the step is one too large; {IN_TURN}": lambda n, r, p: range(r, n, p + 1),
        f"the step is one too small; {IN_TURN}": lambda n, r, p: range(r, n, max(p - 1, 1)),
        "one window too many came back": lambda n, r, p: range(r, n + p, p),
        "the last window of this process is left out": lambda n, r, p: range(r, n, p)[:-1],
        "that is how many windows the process takes; their numbers are asked": lambda n, r, p: [n // p],
        "the windows come in the wrong order": lambda n, r, p: range(r, n, p)[::-1],
        "the windows were dealt from the end": lambda n, r, p: range(p - 1 - r, n, p),
    }) | exchange("given", {"rank and processes are exchanged": lambda n, r, p: (n, p, r)}) | {
        f"the first windows were left out; {LEFT}": {"kept": lambda n, p: n, "cut": lambda n, r, p: range(n % p + r, n, p)},
        f"every process loses its last window; {LEFT}": {
            "kept": lambda n, p: n, "cut": lambda n, r, p: range(r, n, p)[: -1 if n % p else None]},
        f"the last round was filled up, so windows come twice; {LEFT}": [
            {"kept": lambda n, p: n, "cut": lambda n, r, p: [i % n for i in range(r, n + -n % p, p)]},
            {"kept": lambda n, p: n, "cut": lambda n, r, p: [min(i, n - 1) for i in range(r, n + -n % p, p)]}],
    })


# 10.6
def loss_weight(tokens, rank, *, own=lambda tokens, rank: tokens[rank], times=len, total=sum, end=lambda x: x):
    return end(own(tokens, rank) * times(tokens) / total(tokens))


def token_counts(draw):
    """Numbers of targets of several processes, and a rank: that of the largest micro-batch, of the smallest, and of any."""
    for own, n in (((700, 999), draw.randint(3, 4)), ((20, 99), draw.randint(5, 6)), ((300, 400), 2)):
        rank = draw.randint(1, max(n - 3, 1)) if n > 2 else 0      # rank + 1 is not n - 1 for all three
        tokens = draw.sample(range(100, 300), n)
        tokens[rank] = draw.randint(*own)
        yield None, (tokens, rank)


SHARE = "N times the process's share of the tokens undoes the division by N and weighs by tokens"
check_loss_weight = spec(
    "10.6", "the mean of the processes", see=("10", "Several processes"), right=loss_weight, cases=token_counts, rtol=1e-6,
    name="the weight", scales=lambda tokens, rank: {"the number of processes N": len(tokens)},
    doc="loss_weight(tokens, rank): what a process multiplies its mean loss by, so that DDP's mean is one over all tokens.",
    mistakes=exchange("times", {
        f"DDP divides by the number of processes N, and nothing here undoes it; {SHARE}": lambda tokens: 1,
        f"the share was divided by N; DDP does that once already; {SHARE}": lambda tokens: 1 / len(tokens),
        f"N is counted one too few; {SHARE}": lambda tokens: len(tokens) - 1,
        "N is 2 whatever is given; it is len(tokens)": lambda tokens: 2,
        f"N is counted one too many; {SHARE}": lambda tokens: len(tokens) + 1,
    }) | exchange("own", {
        "all processes get the weight 1, which is DDP's plain mean: a token of a short micro-batch counts for more":
            lambda tokens, rank: sum(tokens) / len(tokens),
        "that is the weight of another process; tokens[rank] is this one's, counted from 0": [
            lambda tokens, rank: tokens[rank - 1], lambda tokens, rank: tokens[(rank + 1) % len(tokens)]],
        "the weight of the first process came back for all; take tokens[rank]": lambda tokens, rank: tokens[0],
        "a process with more tokens counts for more, not for less: its own number stands above":
            [lambda tokens, rank, k=k: sum(tokens) ** 2 / len(tokens) ** k / tokens[rank] for k in (2, 1)],
        "the tokens of the other processes were counted; this one's own are its weight": lambda n, rank: sum(n) - n[rank],
        "the tokens of this process are missing; its weight grows with them": lambda tokens, rank: 1,
        "it is divided by the tokens of the other processes; divide by those of all, its own among them":
            lambda tokens, rank: tokens[rank] * sum(tokens) / (sum(tokens) - tokens[rank]),
        "the largest number was taken; take this process's own, tokens[rank]": lambda tokens, rank: max(tokens),
        "N alone came back; multiply it by the process's share of the tokens": lambda tokens, rank: sum(tokens),
        "that is the mean number of tokens; divide tokens[rank] by it": lambda tokens, rank: sum(tokens) ** 2 / len(tokens) ** 2,
        "rank + 1 was taken for the number of processes N, which is len(tokens)": lambda n, rank: n[rank] * (rank + 1) / len(n),
        "the tokens are missing: 1/N is what DDP does by itself": lambda tokens, rank: sum(tokens) / len(tokens) ** 2,
    }) | exchange("total", {
        f"it is not divided by the tokens of all; {SHARE}": lambda tokens: 1,
        "it is divided by the largest number of tokens; divide by those of all": max,
        "it is divided by the number of tokens of the first process; divide by those of all": lambda tokens: tokens[0],
    }) | exchange("end", {
        "it was rounded, or divided with //; return it as it is": [math.floor, round],
        "there is a root too many": math.sqrt,
    }))


# 10.7
def held_and_sent(parameters, processes, engine, *, size=4, tensors=4, held=lambda all_of_it, n: all_of_it / n,
                  ring=lambda n: (n - 1) / n, turns=3, ddp_turns=2, ddp_held=lambda all_of_it, n: all_of_it,
                  all_of=lambda weights, n: weights, give=lambda held, sent: (held, sent)):
    state, weights = tensors * size * parameters, size * parameters
    if engine == "ddp":
        return give(float(ddp_held(state, processes)), ddp_turns * ring(processes) * weights)
    return give(held(state, processes), turns * ring(processes) * all_of(weights, processes))


def engines(draw):
    """(parameters, processes, engine): several of both engines, and one process alone."""
    for engine in ("ddp", "fsdp"):
        for n in draw.sample((3, 4, 6, 8), 2):
            yield None, (720 * draw.randint(11, 99), n, engine)
    yield "one process", (720 * draw.randint(11, 99), 1, "ddp")


def held_then_sent(answer, parameters, processes, engine):
    """Both numbers, each under the name of the engine."""
    facts = several("the number of bytes held", "the number of bytes sent")(
        lambda *args: as_list(answer(*args)), parameters, processes, engine)
    return Facts({f'{name} with "{engine}"': value for name, value in facts.items()})


FOUR = "a weight, its gradient and two moment estimates are four numbers of four bytes"
check_held_and_sent = spec(
    "10.7", "what a process holds and sends", see=("10", "Several processes"), right=held_and_sent, cases=engines, rtol=1e-6,
    use=held_then_sent,
    doc='held_and_sent(parameters, processes, engine): bytes of state in a process, and bytes that it sends in an update.',
    mistakes=exchange("tensors", {
        f"only the weights were counted; {FOUR}": 1,
        f"only weights and gradients were counted; {FOUR}": 2,
        f"only three numbers were counted for each parameter; {FOUR}": 3,
    }) | exchange("size", {
        "numbers were counted; a float32 number has four bytes": 1,
        "two bytes were counted for a number; float32 has four": 2,
        "bits were counted; a float32 number has four bytes": 32,
        "eight bytes were counted for a number; float32 has four": 8,
    }) | exchange("held", {
        'with "fsdp" each process holds only its part: one N-th of the state': lambda s, n: s,
        'with "fsdp" the state is divided by N once; here something stays whole': [
            lambda s, n: s / 4 + 3 * s / 4 / n, lambda s, n: s / 2 + s / 2 / n, lambda s, n: 3 * s / 4 + s / 4 / n],
        'with "fsdp" the weights of others are there only in passing; what is held is one N-th of the state':
            lambda s, n: s / n + s / 4,
    }) | exchange("ddp_held", {
        'with "ddp" each process holds all of the state': lambda s, n: s / n,
        'with "ddp" each process holds the state once; that is what all of them hold together': lambda s, n: s * n,
    }) | exchange("ring", {
        "each pass around the ring sends (N - 1)/N of the gradients; the factor is missing": lambda n: 1.0,
        "that is what all processes send together; each sends one N-th of it": lambda n: n - 1,
        "each pass around the ring sends (N - 1)/N of the gradients; only 1/N was counted": [
            lambda n: 1 / n if n > 1 else 0.0, lambda n: 1 / n],
        "the factor is upside down: (N - 1)/N is below 1": lambda n: n / (n - 1) if n > 1 else 0.0,
        "the factor came out below 0; it is (N - 1)/N": lambda n: (1 - n) / n,
        "(N + 1)/N is more than everything; the factor is (N - 1)/N": lambda n: (n + 1) / n,
        "N - 1/N needs brackets: (N - 1)/N": lambda n: n - 1 / n,
        "nothing is sent: (N - 1) // N is 0; use /": lambda n: 0.0,
        "four numbers for each parameter were counted in what is sent; in each pass it is one": lambda n: 4 * (n - 1) / n,
    }) | exchange("ddp_turns", {
        'with "ddp" a ring goes round twice: once to add up, once to hand out the sums': 1,
        'with "ddp" a ring goes round twice, and not three times': 3,
    }) | exchange("turns", {
        'with "fsdp" weights are sent twice and gradients once: three passes': [2, 1],
        'with "fsdp" weights are sent twice and gradients once: three passes, and not four': 4,
    }) | exchange("all_of", {
        'what is sent with "fsdp" is divided by N once more; in each pass it is (N - 1)/N of the numbers': lambda w, n: w / n,
    }) | exchange("give", {
        "the two numbers are exchanged: first what a process holds, then what it sends": lambda held, sent: (sent, held),
    }) | {'"ddp" and "fsdp" are exchanged': {"ddp_held": lambda s, n: s / n, "held": lambda s, n: s, "ddp_turns": 3, "turns": 2}})


# 10.8
def best_segment(blocks, input_bytes, block_bytes, *, given=as_given, kept=lambda n, k: -(-n // k),
                 inside=lambda k, block: k * block, together=lambda inputs, inner: inputs + inner,
                 sizes=lambda n: range(1, n + 1), best=lambda peaks, *sizes: min(peaks, key=peaks.get), end=lambda k, peaks: k):
    n, one_input, block = given(blocks, input_bytes, block_bytes)
    peaks = {k: together(kept(n, k) * one_input, inside(k, block)) for k in sizes(n)}
    return end(best(peaks, one_input, block), peaks)


def peaks_of(n, one_input, block):
    """The memory that each k takes, from the least on."""
    return sorted(-(-n // k) * one_input + k * block for k in range(1, n + 1))


def telling(divides, n, *sizes):
    """Whether one k is best, neither a short nor a long one, and divides n as asked; if so, rounding down gives another one.

    The larger part alone, inputs or blocks, gives another one, too.
    """
    first, second = peaks_of(n, *sizes)[:2]
    k = best_segment(n, *sizes)
    return first < second and 2 < k < n / 2 and k != best_segment(n, *sizes, together=max) and (
        n % k == 0 and k != best_segment(n, *sizes, kept=lambda n, k: n // k)
        if divides else n % k and k != best_segment(n, *sizes, kept=lambda n, k: n / k))


def deep_models(draw):
    """(blocks, input_bytes, block_bytes): the best segment lies in between; or it is one block, or all of them."""
    sizes = range(20, 61), range(4000, 40_000), range(1000, 9000)
    for divides in (True, False, True, False):
        while not telling(divides, *(args := [draw.choice(some) for some in sizes])):
            pass
        yield None, args
    n, k, block = draw.randint(30, 60), draw.randint(3, 5), draw.randint(8000, 9000)
    root = (math.sqrt(k * (k + 1)) + k + 0.5) / 2      # rounded, it is k, but the best k for n / k inputs is k + 1
    yield None, (n, round(block * root**2 / n), block)
    n = block = 1
    while len({*peaks_of(n, 3 * block, block)[:2]}) > 1 or best_segment(n, 3 * block, block) == 1:
        n, block = draw.randint(20, 60), draw.randint(1000, 9000)
    yield "two equally good", (n, 3 * block, block)
    yield "blocks that keep much", (draw.randint(6, 9), 100, 1000 * draw.randint(2, 9))
    yield "blocks that keep little", (draw.randint(6, 9), 1000 * draw.randint(2, 9), 100)


check_best_segment = spec(
    "10.8", "how much to recompute at a time", see=("10", "Less memory"), right=best_segment, cases=deep_models, rtol=1e-9,
    name="k",
    doc="best_segment(blocks, input_bytes, block_bytes): the k whose ceil(blocks / k) inputs and k blocks take the least memory.",
    mistakes=exchange("kept", {
        "blocks / k must be rounded up, neither down nor to one more: a last segment that is not full has an input, too":
            [lambda n, k: n // k, lambda n, k: n / k, lambda n, k: round(n / k)],
        "k = 1 came out best everywhere; a longer segment keeps fewer inputs, ceil(blocks / k), and k · block_bytes are added":
            [lambda n, k: 1, lambda n, k: n, lambda n, k: k],
    }) | exchange("inside", {
        "a segment is recomputed as a whole, so the peak has k · block_bytes in it": [lambda k, block: block, lambda k, block: 0],
    }) | exchange("sizes", {
        "k need not divide the number of blocks; the last segment may be shorter":
            lambda n: [k for k in range(1, n + 1) if n % k == 0],
        "a segment of all blocks was not tried: does your range, or your loop, end too early?": lambda n: range(1, n),
        "a segment of one block was not tried": lambda n: range(2, n + 1),
        "only powers of 2 were tried": lambda n: [2**i for i in range(n.bit_length())],
    }) | exchange("best", {
        "that is the k with the most memory; the least is asked": lambda peaks, *sizes: max(peaks, key=peaks.get),
        "where several are best, the smallest one is asked": lambda peaks, *sizes: min(peaks, key=lambda k: (peaks[k], -k)),
        "the root of the number of blocks is best only where an input and a block are equally large; try each k": [
            lambda peaks, *sizes: round(len(peaks) ** 0.5), lambda peaks, *sizes: int(len(peaks) ** 0.5)],
    }) | exchange("end", {
        "the peak came back; the k that has it is asked": lambda k, peaks: peaks[k],
        "that is the number of segments; how many blocks one has is asked": lambda k, peaks: -(-len(peaks) // k),
        "k was counted from 0: index 0 of a list of peaks belongs to k = 1": lambda k, peaks: k - 1,
    }) | {
        "the sizes are exchanged, or k stands for the number of segments: it is how many blocks one has":
            {"given": lambda n, i, b: (n, b, i)},
        "with that k, inputs and blocks take about equally much; their least sum is asked, which need not be there: try each k": [
            {"together": max}, {"together": lambda inputs, inner: abs(inputs - inner)},
            *({"best": lambda peaks, one, block, most=most, whole=whole: min(
                max(whole(math.sqrt(len(peaks) * one / block)), 1), most(peaks))}
              for most in (len, lambda _: 10**9) for whole in (round, int, math.ceil))],
    })
