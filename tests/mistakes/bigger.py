"""Lesson 10: answers, right and wrong, in other ways than the tables of its checks have them."""
import math
from collections import deque
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gpt_checks.bigger import (
    check_best_segment,
    check_grow,
    check_held_and_sent,
    check_loss_weight,
    check_my_windows,
    check_share,
    check_to_bfloat16,
    check_update_in_pieces,
)
from gpt_helpers.parallel import ring_bytes
from mistakes import clip_by_hand, right, wrong


# 10.1 a schedule without an end
@right(check_share)
def share_as_the_smallest(step, warm_up, decay, steps):
    lines = [1.0]
    if warm_up:
        lines.append((step + 1) / warm_up)
    lines.append((steps - step) / decay if decay else float(step < steps))
    return max(0.0, min(lines))


@right(check_share)
def share_from_a_list(step, warm_up, decay, steps):
    up, down = ([(k + 1) / n for k in range(n)] for n in (warm_up, decay))
    shares = up + [1.0] * (steps - warm_up - decay) + down[::-1]
    return shares[step] if step < len(shares) else 0


def a_share(last=0, long=0):
    """An answer with some steps to spoil."""
    def share(step, warm_up, decay, steps):
        if step >= steps:
            return 0.0
        if step < warm_up + long:
            return (step + 1) / warm_up
        return min(1.0, (steps - last - step) / decay) if decay else 1.0
    return share


wrong(check_share, "the decay begins an update late")(lambda k, w, d, n: (
    (k + 1) / w if k < w else (max(n - k, 0) / d if d else 0.0) if k > n - d + 1 or k >= n else 1.0))
wrong(check_share, "the last update gets 0")(a_share(last=1))
wrong(check_share, "one update too long")(a_share(long=1))
wrong(check_share, "no warm-up", "stopped with", "ZeroDivisionError")(
    lambda k, w, d, n: max(0.0, min(1.0, (k + 1) / w, (n - k) / max(d, 1))))
wrong(check_share, "it falls in a line")(
    lambda k, w, d, n: a_share()(k, w, d, n) if k < n - d or k >= n else (1 + math.cos(math.pi * (k - n + d) / d)) / 2)
wrong(check_share, "falls from the end of the warm-up on")(
    lambda k, w, d, n: max(0.0, (k + 1) / w if k < w else (n - k) / (n - w)))


@wrong(check_share, "between warm-up and decay nothing came back")
def share_without_an_else(step, warm_up, decay, steps):
    if step < warm_up:
        return (step + 1) / warm_up
    if steps - decay <= step < steps:
        return (steps - step) / decay
    if step >= steps:
        return 0.0


# 10.2 an update in pieces
def an_update(weigh=lambda y, ys: (y >= 0).sum() / sum((y >= 0).sum() for y in ys), clip=nn.utils.clip_grad_norm_,
              each=lambda *some: None, inputs_of=lambda x, y: y, give=float):
    """An answer with means and weights in place of sums, and with some steps to spoil."""
    def update(model, optimizer, micro_batches, max_norm):
        model.train()
        model.zero_grad()
        total, ys = 0.0, [y for _, y in micro_batches]
        for x, y in micro_batches:
            loss = F.cross_entropy(model(x).transpose(1, 2), inputs_of(x, y), ignore_index=-100) * weigh(y, ys)
            loss.backward()
            total = total + loss.detach()
            each(model, optimizer, max_norm)
        clip(model.parameters(), max_norm)
        optimizer.step()
        return give(total)
    return update


right(check_update_in_pieces)(an_update())
right(check_update_in_pieces)(an_update(clip=clip_by_hand, give=lambda total: total))


@right(check_update_in_pieces)
def update_that_divides_the_gradients(model, optimizer, micro_batches, max_norm):
    model.train()
    optimizer.zero_grad(set_to_none=False)
    total, n = 0.0, 0
    for x, y in micro_batches:
        picked = model(x).log_softmax(-1).gather(2, y.clamp(min=0).unsqueeze(2)).squeeze(2)[y != -100]
        (-picked.sum()).backward()
        total, n = total - picked.detach().sum().item(), n + len(picked)
    for p in model.parameters():
        p.grad /= n
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total / n


@wrong(check_update_in_pieces, "or backward() behind it")
def update_with_one_backward(model, optimizer, micro_batches, max_norm):
    model.train()
    optimizer.zero_grad()
    tokens, total = sum((y != -100).sum().item() for _, y in micro_batches), 0.0
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum") / tokens
        total += loss.item()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


wrong(check_update_in_pieces, "means are averaged")(an_update(weigh=lambda y, ys: 1 / len(ys)))
wrong(check_update_in_pieces, "weighed by windows")(an_update(weigh=lambda y, ys: y.numel() / sum(y.numel() for y in ys)))
wrong(check_update_in_pieces, "padding too")(an_update(weigh=lambda y, ys: y.numel() / sum((y >= 0).sum() for y in ys)))
wrong(check_update_in_pieces, "clip right before step()")(an_update(clip=lambda *some: None))
wrong(check_update_in_pieces, "a step is taken after each")(an_update(each=lambda model, optimizer, max_norm: optimizer.step()))
wrong(check_update_in_pieces, "a step is taken after each micro-batch; one")(an_update(
    clip=lambda *some: None, each=lambda model, optimizer, max_norm: (
        nn.utils.clip_grad_norm_(model.parameters(), max_norm), optimizer.step(), optimizer.zero_grad())))
wrong(check_update_in_pieces, "stopped with", "out of bounds")(an_update(inputs_of=lambda x, y: y.clamp(min=0) + 10_000))


# 10.3 eight binary digits
right(check_to_bfloat16)(lambda x: torch.tensor(x, dtype=torch.float32).bfloat16().item())


@right(check_to_bfloat16)
def to_bfloat16_by_bits(x):
    """Add so much to the 32 bits that cutting off the last 16 rounds them."""
    bits = int(np.float32(x).view(np.uint32))
    bits += 0x7FFF + (bits >> 16 & 1)
    return float(np.uint32(bits >> 16 << 16).view(np.float32))


@right(check_to_bfloat16)
def to_bfloat16_by_doubling(x):
    """Doubled or halved until seven digits stand behind the point."""
    if x == 0:
        return 0.0
    step = Fraction(1)
    while abs(x) / step >= 256:
        step *= 2
    while abs(x) / step < 128:
        step /= 2
    return float(round(Fraction(x) / step) * step)


wrong(check_to_bfloat16, "cut off")(lambda x: float(np.uint32(int(np.float32(x).view(np.uint32)) & 0xFFFF0000).view(np.float32)))
wrong(check_to_bfloat16, "7 significant binary digits")(lambda x: round(math.frexp(x)[0] * 128) / 128 * 2 ** math.frexp(x)[1])
wrong(check_to_bfloat16, "decimal point")(lambda x: round(x, 2))
wrong(check_to_bfloat16, "three significant decimal digits")(lambda x: float(f"{x:.3g}"))
wrong(check_to_bfloat16, "or with many more digits")(lambda x: float(f"{x:.8g}"))
wrong(check_to_bfloat16, "before it is scaled back")(lambda x: round(math.frexp(x)[0] * 256))
wrong(check_to_bfloat16, "a number below 0", "stopped with")(
    lambda x: round(x / 2 ** (math.floor(math.log2(x)) - 7)) * 2 ** (math.floor(math.log2(x)) - 7) if x else 0.0)
wrong(check_to_bfloat16, "goes to the even neighbour")(
    lambda x: math.floor(math.frexp(x)[0] * 256 + 0.5) / 256 * 2.0 ** math.frexp(x)[1])


# 10.4 updates too small to see
right(check_grow)(lambda weights, updates: (weights.double() + torch.stack(updates).double().sum(0)).to(torch.bfloat16))
right(check_grow)(lambda weights, updates: sum(updates, weights.to(torch.float32)).to(weights.dtype))


@wrong(check_update_in_pieces, "but the gradient is not")
def update_of_sums(model, optimizer, micro_batches, max_norm):
    model.train()
    optimizer.zero_grad()
    total = tokens = 0
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")
        loss.backward()
        total, tokens = total + loss.item(), tokens + (y != -100).sum().item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total / tokens


@wrong(check_grow, "where most of them are rounded away")
def grow_in_place(weights, updates):
    total = weights.clone()
    for update in updates:
        total += update
    return total


@wrong(check_grow, "in place", "`weights`")
def grow_the_weights_themselves(weights, updates):
    for update in updates:
        weights += update
    return weights


wrong(check_grow, "added up in bfloat16")(
    lambda weights, updates: (weights + sum(update.bfloat16() for update in updates).float()).bfloat16())
wrong(check_grow, "each update was rounded")(
    lambda weights, updates: sum((update.bfloat16().float() for update in updates), weights.float()).bfloat16())
wrong(check_grow, "is of type list")(lambda weights, updates: sum(updates, weights.float()).bfloat16().tolist())
wrong(check_grow, "sum of the updates alone")(lambda weights, updates: sum(updates).bfloat16())


# 10.5 who takes which window
right(check_my_windows)(lambda n, rank, processes: [*range(n)[: n // processes * processes][rank::processes]])


@right(check_my_windows)
def my_windows_dealt_like_cards(windows, rank, processes):
    cards, hands = deque(range(windows)), [[] for _ in range(processes)]
    while len(cards) >= processes:
        for hand in hands:
            hand.append(cards.popleft())
    return hands[rank]


right(check_my_windows)(lambda windows, rank, processes: (torch.arange(windows // processes) * processes + rank).tolist())
wrong(check_my_windows, "came as a Tensor")(lambda n, rank, processes: torch.arange(n // processes) * processes + rank)
wrong(check_my_windows, "rounded to the nearest one")(lambda n, r, p: [r + p * i for i in range(round(n / p))])
wrong(check_my_windows, "a window more than others")(lambda n, r, p: [i for i in range(n) if i % p == r])
wrong(check_my_windows, "the list of windows has")(lambda n, r, p: list(range(r, n - n % p if n % p > 1 else n, p)))
wrong(check_my_windows, "the first windows were left out")(lambda n, r, p: list(range(n)[n % p :][r::p]))
wrong(check_my_windows, "the list of windows")(lambda n, r, p: n // p)
wrong(check_my_windows, "a whole round is left out")(lambda n, r, p: [i * p + r for i in range((n - 1) // p)])
wrong(check_my_windows, "one window too many")(lambda n, r, p: [r + i * p for i in range(n // p + 1)])
wrong(check_my_windows, "windows come twice")(lambda n, r, p: [(r + i * p) % n for i in range(math.ceil(n / p))])


# 10.6 the mean of the processes
right(check_loss_weight)(lambda tokens, rank: tokens[rank] / (sum(tokens) / len(tokens)))
right(check_loss_weight)(lambda tokens, rank: (torch.tensor(tokens) / torch.tensor(tokens).double().mean())[rank])
wrong(check_loss_weight, "plain mean")(lambda tokens, rank: 1.0)
wrong(check_loss_weight, "N alone came back")(lambda tokens, rank: len(tokens))
wrong(check_loss_weight, "the mean number of tokens")(lambda tokens, rank: sum(tokens) / len(tokens))
wrong(check_loss_weight, "rank + 1 was taken")(lambda tokens, rank: tokens[rank] / sum(tokens) * (rank + 1))
wrong(check_loss_weight, "not for less")(lambda tokens, rank: sum(tokens) / tokens[rank])
wrong(check_loss_weight, "it was rounded")(lambda tokens, rank: tokens[rank] * len(tokens) // sum(tokens))
wrong(check_loss_weight, "is of type list")(lambda tokens, rank: [n * len(tokens) / sum(tokens) for n in tokens])


# 10.7 what a process holds and sends
@right(check_held_and_sent)
def held_and_sent_by_the_lesson(parameters, processes, engine):
    ring = ring_bytes(parameters, processes)
    return (16 * parameters, ring) if engine == "ddp" else (16 * parameters / processes, ring * 3 / 2)


@right(check_held_and_sent)
def held_and_sent_in_fractions(parameters, processes, engine):
    part = Fraction(parameters, processes)
    held, passes = {"ddp": (parameters, 2), "fsdp": (part, 3)}[engine]
    return [float(4 * 4 * held), float(4 * passes * (parameters - part))]


@right(check_held_and_sent)
def held_and_sent_as_a_tensor(parameters, processes, engine):
    both = torch.tensor([16.0, 8.0] if engine == "ddp" else [16.0 / processes, 12.0], dtype=torch.float64)
    both[1] *= (processes - 1) / processes
    return both * parameters


def held(passes=(2, 3), ring=lambda p: (p - 1) / p):
    """An answer with some steps to spoil."""
    def held_and_sent(parameters, processes, engine):
        sent = passes[engine == "fsdp"] * 4 * parameters * ring(processes)
        return 16 * parameters / (1 if engine == "ddp" else processes), sent
    return held_and_sent


wrong(check_held_and_sent, "a ring goes round twice")(held(passes=(1, 3)))
wrong(check_held_and_sent, "what all processes send together")(held(ring=lambda p: p - 1))
wrong(check_held_and_sent, "are exchanged")(lambda *sizes: held()(*sizes)[::-1])
wrong(check_held_and_sent, '"ddp" and "fsdp" are exchanged')(
    lambda n, p, engine: held()(n, p, "ddp" if engine == "fsdp" else "fsdp"))
wrong(check_held_and_sent, "need 2")(lambda *sizes: (*held()(*sizes), sizes[-1]))
wrong(check_held_and_sent, "is of type str")(lambda *sizes: [f"{n:,.0f} bytes" for n in held()(*sizes)])


# 10.8 how much to recompute at a time
@right(check_best_segment)
def best_segment_by_a_loop(blocks, input_bytes, block_bytes):
    best, least = 0, math.inf
    for k in range(1, blocks + 1):
        peak = ((blocks - 1) // k + 1) * input_bytes + k * block_bytes
        if peak < least:
            best, least = k, peak
    return best


@right(check_best_segment)
def best_segment_in_numpy(blocks, input_bytes, block_bytes):
    k = np.arange(1, blocks + 1)
    return np.argmin(np.ceil(blocks / k) * input_bytes + k * block_bytes) + 1


wrong(check_best_segment, "two equally good: where several are best, the smallest one is asked")(
    lambda n, i, b: max(range(1, n + 1), key=lambda k: (-math.ceil(n / k) * i - k * b, k)))
wrong(check_best_segment, "take about equally much")(
    lambda n, i, b: min(range(1, n + 1), key=lambda k: max(math.ceil(n / k) * i, k * b)))
wrong(check_best_segment, "rounded up, neither down nor to one more")(
    lambda n, i, b: min(range(1, n + 1), key=lambda k: (n // k + 1) * i + k * b))
wrong(check_best_segment, "the sizes are exchanged, or k stands for")(
    lambda n, i, b: min(range(1, n + 1), key=lambda k: k * i + math.ceil(n / k) * b))
wrong(check_best_segment, "must be rounded up")(lambda n, i, b: min(range(1, n + 1), key=lambda k: n // k * i + k * b))
wrong(check_best_segment, "counted from 0")(
    lambda n, i, b: int(np.argmin([math.ceil(n / k) * i + k * b for k in range(1, n + 1)])))
wrong(check_best_segment, "stopped with", "ZeroDivisionError")(
    lambda n, i, b: min(range(n + 1), key=lambda k: math.ceil(n / k) * i + k * b))
wrong(check_best_segment, "need not be there: try each k")(lambda n, i, b: max(1, round((n * i / b) ** 0.5)))
