"""Lesson 01: answers, right and wrong, in other ways than the tables of its checks have them."""
import math
from decimal import Decimal

import numpy as np
import torch
from torch.utils.data import DataLoader

from gpt_checks.split import (
    check_count_windows,
    check_cut_points,
    check_leaked_share,
    check_smallest_text,
    check_tokens_seen,
    check_windows,
)
from gpt_helpers.data import TokenWindows
from mistakes import right, wrong

# 1.1 the cut points
right(check_cut_points)(lambda n, train=0.8, val=0.1: [int(train * n + 0.5), math.floor(n * train + n * val + 0.5)])
right(check_cut_points)(lambda n, train=0.8, val=0.1: (round(n * train), n - round(n * (1 - train - val))))
right(check_cut_points)(lambda n, train=0.8, val=0.1: np.rint(np.array([train, train + val]) * n).astype(int))
right(check_cut_points)(lambda n, train=0.8, val=0.1: (torch.tensor([train, train + val]).double() * n).round().long())
right(check_cut_points)(lambda n, train, val: (torch.tensor(train * n).round().long(), np.int64(round((train + val) * n))))
right(check_cut_points)(lambda n, train=0.8, val=0.1: [
    int((share * n).to_integral_value()) for share in (Decimal(str(train)), Decimal(str(train)) + Decimal(str(val)))])
wrong(check_cut_points, "rounded down", "two roundings")(lambda n, train, val: (int(train * n), int(train * n) + int(val * n)))
wrong(check_cut_points, "float", "integers")(lambda n, train, val: [float(round(train * n)), round((train + val) * n)])
wrong(check_cut_points, "whole percents")(lambda n, p, q: (round(round(100 * p) / 100 * n), round(round(p + q, 2) * n)))
wrong(check_cut_points, "whole percents")(lambda n, p, q: (round(int(p * 100) / 100 * n), round(int((p + q) * 100) / 100 * n)))
wrong(check_cut_points, "a float")(lambda n, train, val: (torch.tensor([train, train + val]).double() * n).round())
wrong(check_cut_points, "lengths of the parts")(lambda n, p, q: np.diff([0, round(p * n), round(p * n) + round(q * n), n]))
wrong(check_cut_points, "second cut is rounded down")(lambda n, train, val: (round(train * n), int((train + val) * n)))
wrong(check_cut_points, "generator", "list(...)")(lambda n, train, val: (round(share * n) for share in (train, train + val)))
wrong(check_cut_points, "int", "2 values")(lambda n, train, val: round(train * n))
wrong(check_cut_points, "whatever it is given")(lambda n, train, val: (4116, 4630))


# 1.2 windows and targets
@right(check_windows)
def windows_with_while(ids, context_length, stride):
    pairs, start = [], 0
    while start + context_length + 1 <= ids.numel():
        window = ids[start : start + context_length + 1].clone()
        pairs.append([window[:-1], window[1:]])
        start += stride
    return tuple(pairs)


@right(check_windows)
def windows_unfolded(ids, context_length, stride):
    rows = ids.unfold(0, context_length + 1, stride) if len(ids) > context_length else []
    return [torch.stack([row[:-1], row[1:]]) for row in rows]


def slices(ids, starts, t):
    return [(ids[a : a + t], ids[a + 1 : a + 1 + t]) for a in starts]


@wrong(check_windows, "generator", "list(...)")
def windows_yielded(ids, context_length, stride):
    for start in range(0, len(ids) - context_length, stride):
        yield ids[start : start + context_length], ids[start + 1 : start + 1 + context_length]


@wrong(check_windows, "only the first", "return")
def windows_returned_at_once(ids, context_length, stride):
    pairs = []
    for start in range(0, len(ids) - context_length, stride):
        pairs += slices(ids, [start], context_length)
        return pairs
    return pairs


wrong(check_windows, "no window: line", "RuntimeError")(
    lambda ids, t, s: [(row[:-1], row[1:]) for row in ids.unfold(0, t + 1, s)])
wrong(check_windows, "all inputs came back, then")(lambda ids, t, s: (ids[:-1].unfold(0, t, s), ids[1:].unfold(0, t, s)))
wrong(check_windows, "all windows came back in one tensor")(lambda ids, t, s: ids.unfold(0, t + 1, s))
wrong(check_windows, "T·stride tokens apart")(lambda ids, t, s: slices(ids, range(0, len(ids) - t, t * s), t))
wrong(check_windows, "`ids` in place")(lambda ids, t, s: slices(ids.sub_(1), range(0, len(ids) - t, s), t))
wrong(check_windows, "dict")(lambda ids, t, s: {"inputs": ids[:-1].unfold(0, t, s), "targets": ids[1:].unfold(0, t, s)})


# 1.3 counting windows
right(check_count_windows)(lambda n, t, s: (n - t - 1) // s + 1 if n > t else 0)
right(check_count_windows)(lambda n, t, s: max(0, math.ceil((n - t) / s)))
right(check_count_windows)(lambda n, t, s: (torch.arange(0, n, s) + t + 1 <= n).sum())
right(check_count_windows)(lambda n, t, s: np.count_nonzero(np.arange(0, n, s) < n - t))


@right(check_count_windows)
def count_windows_by_counting(n, context_length, stride):
    count, start = 0, 0
    while start + context_length < n:
        count, start = count + 1, start + stride
    return count


@wrong(check_count_windows, "next token is forgotten")
def count_windows_with_a_loop(n, context_length, stride):
    count, start = 0, 0
    while start + context_length <= n:
        count, start = count + 1, start + stride
    return count


wrong(check_count_windows, "need 0 there")(lambda n, t, s: max(1, (n - t - 1) // s + 1))
wrong(check_count_windows, "None")(lambda n, t, s: (n - t - 1) // s + 1 if n > t else None)
wrong(check_count_windows, "one too few", "next token")(lambda n, t, s: max(0, (n - t) // s))
wrong(check_count_windows, "one too few", "as if it were T")(lambda n, t, s: max(0, (n - t - 1) // t))
wrong(check_count_windows, "0 for T + 1")(lambda n, t, s: 0 if n - 1 <= t else len(range(0, n - t, s)))
wrong(check_count_windows, "list", "a number")(lambda n, t, s: list(range(0, n - t, s)))
wrong(check_count_windows, "a float")(lambda n, t, s: max(0.0, np.ceil((n - t) / s)))
wrong(check_count_windows, "could not be called")(lambda n, t: n // t)
wrong(check_count_windows, "ZeroDivisionError")(lambda n, t, s: len(range(0, n - t, s)) * (n - t) // (n - t))
wrong(check_count_windows, "whatever it is given")(lambda n, t, s: 11)


# 1.4 the smallest text
right(check_smallest_text)(lambda t, s, b, parts, drop_last: parts * (t + 1 + drop_last * (b - 1) * s))


@right(check_smallest_text)
def smallest_text_tried_with_loaders(context_length, stride, batch_size, parts, drop_last):
    part = context_length + 1
    while not len(DataLoader(TokenWindows(torch.arange(part), context_length, stride), batch_size, drop_last=drop_last)):
        part += 1
    return torch.tensor(part * parts)


@wrong(check_smallest_text, "one token too many")
def smallest_text_searched_too_far(context_length, stride, batch_size, parts, drop_last):
    n = 0
    while len(range(0, n // parts - context_length - 1, stride)) < (batch_size if drop_last else 1):
        n += parts
    return n


wrong(check_smallest_text, "drop_last is ignored", "next token")(lambda t, s, b, parts, drop_last: parts * ((b - 1) * s + t))
wrong(check_smallest_text, "wrong way round", "alone")(lambda t, s, b, parts, drop: t + 1 if drop else (b - 1) * s + t + 1)
wrong(check_smallest_text, "one stride too many", "next token")(lambda t, s, b, parts, drop: parts * ((b if drop else 1) * s + t))
wrong(check_smallest_text, "one token each")(lambda t, s, b, parts, drop: ((b if drop else 1) - 1) * s + t + parts)
wrong(check_smallest_text, "is right")(lambda t, s, b, parts, drop_last: parts * max(s, t) * b)
wrong(check_smallest_text, "a float")(lambda t, s, b, parts, drop_last: parts * (t + 1.0 + drop_last * (b - 1) * s))
wrong(check_smallest_text, "is None")(lambda t, s, b, parts, drop_last: parts * ((b - 1) * s + t + 1) if drop_last else None)


# 1.5 tokens seen
@right(check_tokens_seen)
def tokens_seen_by_loading(n, context_length, batch_size, epochs, drop_last):
    if n <= context_length:
        return 0
    loader = DataLoader(TokenWindows(torch.arange(n), context_length), batch_size, shuffle=True, drop_last=drop_last)
    return sum(x.numel() for _ in range(epochs) for x, y in loader)


@right(check_tokens_seen)
def tokens_seen_in_full_and_partial_batches(n, context_length, batch_size, epochs, drop_last):
    full, left = divmod(max(0, math.ceil((n - context_length) / context_length)), batch_size)
    return torch.tensor(epochs * (full * batch_size * context_length + (0 if drop_last else left * context_length)))


wrong(check_tokens_seen, "one epoch", "ignored")(lambda n, t, b, epochs, drop_last: (n - 1) // t * t)
wrong(check_tokens_seen, "number of windows", "next token")(lambda n, t, b, e, drop: e * (n // t // b * b if drop else n // t))
wrong(check_tokens_seen, "as if it were full")(lambda n, t, b, e, drop: e * t * len(range(0, (n - 1) // t, b)) * b)
wrong(check_tokens_seen, "not whole windows")(lambda n, t, b, e, drop: e * (n - drop * (n % (b * t))))
wrong(check_tokens_seen, "a float")(lambda n, t, b, e, drop: float(e * t * ((n - 1) // t - drop * ((n - 1) // t % b))))
wrong(check_tokens_seen, "stopped with", "NameError")(lambda n, t, b, e, drop: e * t * windows)      # noqa: F821


# 1.6 the leak
def of_targets(starts, t):
    return {start + i for start in starts for i in range(1, t + 1)}


@right(check_leaked_share)
def leaked_share_with_tensors(train_starts, val_starts, context_length):
    steps = torch.arange(1, context_length + 1)
    train, val = ((torch.tensor(starts)[:, None] + steps).unique() for starts in (train_starts, val_starts))
    return torch.isin(val, train).double().mean()


@right(check_leaked_share)
def leaked_share_with_loops(train_starts, val_starts, context_length):
    """Of inputs, which gives the same."""
    seen, leaked = [], 0
    for start in val_starts:
        for position in range(start, start + context_length):
            if position not in seen:
                seen.append(position)
                leaked += any(0 <= position - a < context_length for a in train_starts)
    return np.float32(leaked / len(seen))


@wrong(check_leaked_share, "counted several times")
def leaked_share_averaged_over_windows(train_starts, val_starts, context_length):
    train, val = of_targets(train_starts, context_length), [of_targets([start], context_length) for start in val_starts]
    return sum(len(train & window) / len(window) for window in val) / len(val)


@wrong(check_leaked_share, "overwrite")
def leaked_share_of_the_last_training_window(train_starts, val_starts, context_length):
    for start in train_starts:
        train = of_targets([start], context_length)
    val = of_targets(val_starts, context_length)
    return len(train & val) / len(val)


wrong(check_leaked_share, "`train_starts` in place")(
    lambda train_starts, *more: (train_starts.sort(), leaked_share_with_tensors(train_starts, *more))[1])
wrong(check_leaked_share, "training targets")(lambda a, v, t: len(of_targets(a, t) & of_targets(v, t)) / len(of_targets(a, t)))
wrong(check_leaked_share, "training's inputs")(lambda a, v, t: leaked_share_with_tensors([start - 1 for start in a], v, t))
wrong(check_leaked_share, "there are gaps")(lambda a, v, t: sum(
    min(a) < place <= max(a) + t for place in of_targets(v, t)) / len(of_targets(v, t)))
wrong(check_leaked_share, "is rounded")(lambda a, v, t: round(leaked_share_with_tensors(a, v, t).item(), 2))
wrong(check_leaked_share, "str")(lambda a, v, t: f"{leaked_share_with_tensors(a, v, t):.0%}")
wrong(check_leaked_share, "whatever it is given")(lambda a, v, t: 0.0)
