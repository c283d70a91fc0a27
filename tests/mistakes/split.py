"""Lesson 01: answers, right and wrong."""
import math
from decimal import Decimal

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
from gpt_helpers.data import TokenWindows, split_tokens
from mistakes import right, wrong

# 1.1 the cut points

@right(check_cut_points)
def cut_points_with_round(n, train=0.8, val=0.1):
    return round(train * n), round((train + val) * n)


@right(check_cut_points)
def cut_points_half_up(n, train=0.8, val=0.1):
    return [int(train * n + 0.5), math.floor(n * train + n * val + 0.5)]


@right(check_cut_points)
def cut_points_from_the_end(n, train=0.8, val=0.1):
    return round(n * train), n - round(n * (1 - train - val))


@right(check_cut_points)
def cut_points_as_a_tensor(n, train=0.8, val=0.1):
    return (torch.tensor([train, train + val]) * n).round().int()


@right(check_cut_points)
def cut_points_as_scalar_tensors(n, train=0.8, val=0.1):
    return torch.tensor(train * n).round().long(), torch.tensor((train + val) * n).round().long()


@right(check_cut_points)
def cut_points_from_decimals(n, train=0.8, val=0.1):
    train, val = Decimal(str(train)), Decimal(str(val))
    return int((train * n).to_integral_value()), int(((train + val) * n).to_integral_value())


@right(check_cut_points)
def cut_points_from_a_split(n, train=0.8, val=0.1):
    parts = split_tokens(torch.arange(n), train, val)
    return len(parts.train), len(parts.train) + len(parts.val)


@right(check_cut_points)
def cut_points_with_numpy(n, train=0.8, val=0.1):
    return (torch.tensor([train, train + val]).double() * n).round().long().numpy()


@wrong(check_cut_points, "rounded down")
def cut_points_cut_off(n, train=0.8, val=0.1):
    return int(train * n), int((train + val) * n)


@wrong(check_cut_points, "rounded down")
def cut_points_with_floor_division(n, train=0.8, val=0.1):
    return int(train * n // 1), int((train + val) * n // 1)


@wrong(check_cut_points, "rounded up")
def cut_points_with_ceil(n, train=0.8, val=0.1):
    return math.ceil(train * n), math.ceil((train + val) * n)


@wrong(check_cut_points, "val's share alone")
def cut_points_second_is_val(n, train=0.8, val=0.1):
    return round(train * n), round(val * n)


@wrong(check_cut_points, "length of validation")
def cut_points_train_and_val_lengths(n, train=0.8, val=0.1):
    first, second = cut_points_with_round(n, train, val)
    return first, second - first


@wrong(check_cut_points, "two roundings add up")
def cut_points_rounded_twice(n, train=0.8, val=0.1):
    first = round(train * n)
    return first, first + round(val * n)


@wrong(check_cut_points, "rounded down, each part for itself")
def cut_points_cut_off_twice(n, train=0.8, val=0.1):
    first = int(train * n)
    return first, first + int(val * n)


@wrong(check_cut_points, "not rounded")
def cut_points_not_rounded(n, train=0.8, val=0.1):
    return train * n, (train + val) * n


@wrong(check_cut_points, "float", "whole numbers")
def cut_points_as_floats(n, train=0.8, val=0.1):
    return float(round(train * n)), float(round((train + val) * n))


@wrong(check_cut_points, "three parts came back")
def cut_points_three_lengths(n, train=0.8, val=0.1):
    first, second = cut_points_with_round(n, train, val)
    return first, second - first, n - second


@wrong(check_cut_points, "third cut")
def cut_points_with_the_end(n, train=0.8, val=0.1):
    return *cut_points_with_round(n, train, val), n


@wrong(check_cut_points, "fixed")
def cut_points_of_the_lesson(n, train=0.8, val=0.1):
    return round(0.8 * n), round(0.9 * n)


@wrong(check_cut_points, "0.9 is fixed")
def cut_points_half_of_the_lesson(n, train=0.8, val=0.1):
    return round(train * n), round(0.9 * n)


@wrong(check_cut_points, "validation and test are exchanged")
def cut_points_one_minus_val(n, train=0.8, val=0.1):
    return round(train * n), round((1 - val) * n)


@wrong(check_cut_points, "what training leaves over")
def cut_points_share_of_the_rest(n, train=0.8, val=0.1):
    first = round(train * n)
    return first, first + round(val * (n - first))


@wrong(check_cut_points, "the two cuts are exchanged")
def cut_points_second_first(n, train=0.8, val=0.1):
    return round((train + val) * n), round(train * n)


@wrong(check_cut_points, "one too small")
def cut_points_last_indices(n, train=0.8, val=0.1):
    return round(train * n) - 1, round((train + val) * n) - 1


@wrong(check_cut_points, "one too large")
def cut_points_from_one(n, train=0.8, val=0.1):
    return round(train * n) + 1, round((train + val) * n) + 1


@wrong(check_cut_points, "brackets")
def cut_points_without_brackets(n, train=0.8, val=0.1):
    return round(train * n), round(train + val * n)


@wrong(check_cut_points, "shares themselves")
def cut_points_as_shares(n, train=0.8, val=0.1):
    return train, train + val


@wrong(check_cut_points, "2 values")
def cut_points_first_alone(n, train=0.8, val=0.1):
    return round(train * n)


@wrong(check_cut_points, "whatever it is given")
def cut_points_as_in_the_output(n, train=0.8, val=0.1):
    return 4116, 4630


# 1.2 windows and targets

@right(check_windows)
def windows_from_starts(ids, context_length, stride):
    starts = range(0, len(ids) - context_length, stride)
    return [(ids[a : a + context_length], ids[a + 1 : a + context_length + 1]) for a in starts]


@right(check_windows)
def windows_with_while(ids, context_length, stride):
    pairs, start = [], 0
    while start + context_length + 1 <= ids.numel():
        window = ids[start : start + context_length + 1].clone()
        pairs.append([window[:-1], window[1:]])
        start += stride
    return tuple(pairs)


@right(check_windows)
def windows_yielded(ids, context_length, stride):
    for start in range(0, len(ids), stride):
        targets = ids[start + 1 : start + 1 + context_length]
        if len(targets) == context_length:
            yield ids[start : start + context_length], targets


@right(check_windows)
def windows_unfolded(ids, context_length, stride):
    if len(ids) <= context_length:
        return []
    rows = ids.unfold(0, context_length + 1, stride)
    return zip(rows[:, :-1], rows[:, 1:], strict=True)


@right(check_windows)
def windows_stacked_in_pairs(ids, context_length, stride):
    return [torch.stack(pair) for pair in windows_from_starts(ids, context_length, stride)]


@right(check_windows)
def windows_of_the_dataset(ids, context_length, stride):
    if len(ids) <= context_length:
        return []
    windows = TokenWindows(ids, context_length, stride)
    return [windows[i] for i in range(len(windows))]


@right(check_windows)
def windows_from_lists(ids, context_length, stride):
    ids, pairs = ids.tolist(), []
    for i in range((len(ids) - context_length - 1) // stride + 1):
        a = i * stride
        pairs.append((torch.tensor(ids[a : a + context_length]), torch.tensor(ids[a + 1 : a + 1 + context_length])))
    return pairs


def pairs_at(ids, starts, context_length, shift=1):
    return [(ids[a : a + context_length], ids[a + shift : a + shift + context_length]) for a in starts]


@wrong(check_windows, "targets are the inputs themselves")
def windows_with_unshifted_targets(ids, context_length, stride):
    return pairs_at(ids, range(0, len(ids) - context_length, stride), context_length, 0)


@wrong(check_windows, "2 tokens after")
def windows_with_targets_shifted_twice(ids, context_length, stride):
    return [(w[:-2], w[2:]) for w in ids.unfold(0, context_length + 2, stride)]


@wrong(check_windows, "exchanged")
def windows_with_targets_first(ids, context_length, stride):
    return [(y, x) for x, y in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "T tokens were cut")
def windows_of_t_tokens(ids, context_length, stride):
    return [(w[:-1], w[1:]) for w in ids.unfold(0, context_length, stride)]


@wrong(check_windows, "the targets are ids[start + 1 : start + T + 1]")
def windows_with_short_targets(ids, context_length, stride):
    return [(x, y[:-1]) for x, y in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "T + 1 inputs")
def windows_with_long_inputs(ids, context_length, stride):
    return [(torch.cat([x, y[-1:]]), y) for x, y in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "stride is ignored")
def windows_side_by_side(ids, context_length, stride):
    return pairs_at(ids, range(0, len(ids) - context_length, context_length), context_length)


@wrong(check_windows, "start 1 token apart")
def windows_at_every_token(ids, context_length, stride):
    return pairs_at(ids, range(len(ids) - context_length), context_length)


@wrong(check_windows, "window i starts at i·stride")
def windows_counted_right_at_every_token(ids, context_length, stride):
    return pairs_at(ids, range((len(ids) - context_length - 1) // stride + 1), context_length)


@wrong(check_windows, "not whole")
def windows_with_partial_ones(ids, context_length, stride):
    return pairs_at(ids, range(0, len(ids) - 1, stride), context_length)


@wrong(check_windows, "only whole windows count")
def windows_one_too_many(ids, context_length, stride):
    return pairs_at(ids, range(0, len(ids) - context_length + 1, stride), context_length)


@wrong(check_windows, "last whole window is missing")
def windows_one_too_few(ids, context_length, stride):
    return pairs_at(ids, range(0, len(ids) - context_length - 1, stride), context_length)


@wrong(check_windows, "last whole window is missing")
def windows_counted_without_one(ids, context_length, stride):
    return pairs_at(ids, range(0, (len(ids) - context_length - 1) // stride * stride, stride), context_length)


@wrong(check_windows, "torch.roll")
def windows_rolled(ids, context_length, stride):
    starts, later = range(0, len(ids) - context_length + 1, stride), ids.roll(-1)
    return [(ids[a : a + context_length], later[a : a + context_length]) for a in starts]


@wrong(check_windows, "one token before")
def windows_rolled_the_wrong_way(ids, context_length, stride):
    starts, earlier = range(0, len(ids) - context_length, stride), ids.roll(1)
    return [(ids[a : a + context_length], earlier[a : a + context_length]) for a in starts]


@wrong(check_windows, "only one target")
def windows_with_one_target(ids, context_length, stride):
    return [(x, y[-1]) for x, y in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "only one target")
def windows_with_one_target_in_a_row(ids, context_length, stride):
    return [(x, y[-1:]) for x, y in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "tokens after the window")
def windows_with_the_next_window(ids, context_length, stride):
    starts = range(0, len(ids) - 2 * context_length, stride)
    return pairs_at(ids, starts, context_length, context_length)


@wrong(check_windows, "not filled up")
def windows_padded(ids, context_length, stride):
    padded = torch.cat([ids, torch.zeros(context_length, dtype=ids.dtype)])
    return pairs_at(padded, range(0, len(ids) - 1, stride), context_length)


@wrong(check_windows, "positions came back")
def windows_of_positions(ids, context_length, stride):
    return windows_from_starts(torch.arange(len(ids)), context_length, stride)


@wrong(check_windows, "all inputs came back, then all targets")
def windows_in_two_lists(ids, context_length, stride):
    pairs = windows_from_starts(ids, context_length, stride)
    return [x for x, _ in pairs], [y for _, y in pairs]


@wrong(check_windows, "all inputs came back, then all targets")
def windows_in_two_stacks(ids, context_length, stride):
    rows = ids.unfold(0, context_length + 1, stride)
    return rows[:, :-1], rows[:, 1:]


@wrong(check_windows, "need a list of pairs")
def windows_in_one_stack(ids, context_length, stride):
    return ids.unfold(0, context_length + 1, stride)


@wrong(check_windows, "one row of T + 1")
def windows_not_parted(ids, context_length, stride):
    return [ids[a : a + context_length + 1] for a in range(0, len(ids) - context_length, stride)]


@wrong(check_windows, "need a pair")
def windows_without_targets(ids, context_length, stride):
    return [x for x, _ in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "need a tensor")
def windows_as_lists(ids, context_length, stride):
    return [(x.tolist(), y.tolist()) for x, y in windows_from_starts(ids, context_length, stride)]


@wrong(check_windows, "torch.float32", "int64")
def windows_as_floats(ids, context_length, stride):
    return windows_from_starts(ids.float(), context_length, stride)


@wrong(check_windows, "only the first", "return")
def windows_returned_at_once(ids, context_length, stride):
    pairs = []
    for start in range(0, len(ids) - context_length, stride):
        pairs.append((ids[start : start + context_length], ids[start + 1 : start + context_length + 1]))
        return pairs
    return pairs


@wrong(check_windows, "None", "return")
def windows_not_returned(ids, context_length, stride):
    windows_from_starts(ids, context_length, stride)


@wrong(check_windows, "order of the text")
def windows_backwards(ids, context_length, stride):
    return windows_from_starts(ids, context_length, stride)[::-1]


@wrong(check_windows, "RuntimeError", "T = ")
def windows_unfolded_without_care(ids, context_length, stride):
    rows = ids.unfold(0, context_length + 1, stride)
    return list(zip(rows[:, :-1], rows[:, 1:], strict=True))


@wrong(check_windows, "stride lies between windows")
def windows_with_gaps_inside(ids, context_length, stride):
    starts = range(0, len(ids) - context_length)
    return [(ids[a : a + context_length : stride], ids[a + 1 : a + context_length + 1 : stride]) for a in starts]


# 1.3 counting windows

@right(check_count_windows)
def count_windows_by_formula(n, context_length, stride):
    return (n - context_length - 1) // stride + 1 if n > context_length else 0


@right(check_count_windows)
def count_windows_as_a_range(n, context_length, stride):
    return len(range(0, n - context_length, stride))


@right(check_count_windows)
def count_windows_rounding_up(n, context_length, stride):
    return max(0, math.ceil((n - context_length) / stride))


@right(check_count_windows)
def count_windows_by_counting(n, context_length, stride):
    count, start = 0, 0
    while start + context_length < n:
        count, start = count + 1, start + stride
    return count


@right(check_count_windows)
def count_windows_as_a_tensor(n, context_length, stride):
    return (torch.arange(0, n, stride) + context_length + 1 <= n).sum()


@wrong(check_count_windows, "first window needs no stride")
def count_windows_without_the_first(n, context_length, stride):
    return max(0, (n - context_length - 1) // stride)


@wrong(check_count_windows, "next token is forgotten")
def count_windows_of_t_tokens(n, context_length, stride):
    return max(0, (n - context_length) // stride + 1)


@wrong(check_count_windows, "less than none")
def count_windows_below_zero(n, context_length, stride):
    return (n - context_length - 1) // stride + 1


@wrong(check_count_windows, "rounded up")
def count_windows_with_partial_ones(n, context_length, stride):
    return max(0, math.ceil((n - context_length - 1) / stride) + 1)


@wrong(check_count_windows, "to the nearest")
def count_windows_rounded(n, context_length, stride):
    return max(0, round((n - context_length - 1) / stride + 1e-9) + 1)


@wrong(check_count_windows, "not a whole number")
def count_windows_divided(n, context_length, stride):
    return max(0, (n - context_length - 1) / stride + 1)


@wrong(check_count_windows, "stride is ignored", "T")
def count_windows_side_by_side(n, context_length, stride):
    return (n - 1) // context_length


@wrong(check_count_windows, "n // T")
def count_windows_as_blocks(n, context_length, stride):
    return n // context_length


@wrong(check_count_windows, "n // stride")
def count_windows_as_strides(n, context_length, stride):
    return n // stride


@wrong(check_count_windows, "all starts")
def count_windows_at_all_starts(n, context_length, stride):
    return len(range(0, n, stride))


@wrong(check_count_windows, "as if it were 1")
def count_windows_at_every_token(n, context_length, stride):
    return max(0, n - context_length)


@wrong(check_count_windows, "exchanged")
def count_windows_exchanged(n, context_length, stride):
    return count_windows_by_formula(n, stride, context_length)


@wrong(check_count_windows, "1 where no window fits")
def count_windows_towards_zero(n, context_length, stride):
    return max(0, int((n - context_length - 1) / stride) + 1)


@wrong(check_count_windows, "exactly one window")
def count_windows_asks_for_more(n, context_length, stride):
    return (n - context_length - 1) // stride + 1 if n > context_length + 1 else 0


@wrong(check_count_windows, "brackets")
def count_windows_without_brackets(n, context_length, stride):
    return n - context_length - 1 // stride + 1


@wrong(check_count_windows, "None")
def count_windows_nothing_for_none(n, context_length, stride):
    if n > context_length:
        return (n - context_length - 1) // stride + 1


# 1.4 the smallest text

@right(check_smallest_text)
def smallest_text_by_formula(context_length, stride, batch_size, parts, drop_last):
    windows = batch_size if drop_last else 1
    return parts * ((windows - 1) * stride + context_length + 1)


@right(check_smallest_text)
def smallest_text_searched(context_length, stride, batch_size, parts, drop_last):
    n = 0
    while True:
        n += parts
        windows = len(range(0, n // parts - context_length, stride))
        if windows // batch_size if drop_last else windows:
            return n


@right(check_smallest_text)
def smallest_text_tried_with_loaders(context_length, stride, batch_size, parts, drop_last):
    part = context_length + 1
    while not len(DataLoader(TokenWindows(torch.arange(part), context_length, stride), batch_size, drop_last=drop_last)):
        part += 1
    return torch.tensor(part * parts)


@wrong(check_smallest_text, "drop_last is ignored", "B windows are needed")
def smallest_text_for_a_window(context_length, stride, batch_size, parts, drop_last):
    return parts * (context_length + 1)


@wrong(check_smallest_text, "drop_last is ignored", "one window is enough")
def smallest_text_for_a_full_batch(context_length, stride, batch_size, parts, drop_last):
    return smallest_text_by_formula(context_length, stride, batch_size, parts, True)


@wrong(check_smallest_text, "wrong way round")
def smallest_text_the_other_way(context_length, stride, batch_size, parts, drop_last):
    return smallest_text_by_formula(context_length, stride, batch_size, parts, not drop_last)


@wrong(check_smallest_text, "validation part alone")
def smallest_text_is_the_part(context_length, stride, batch_size, parts, drop_last):
    return smallest_text_by_formula(context_length, stride, batch_size, 1, drop_last)


@wrong(check_smallest_text, "divided by `parts`")
def smallest_text_divided(context_length, stride, batch_size, parts, drop_last):
    return math.ceil(smallest_text_is_the_part(context_length, stride, batch_size, parts, drop_last) / parts)


@wrong(check_smallest_text, "next token is forgotten")
def smallest_text_without_the_next_token(context_length, stride, batch_size, parts, drop_last):
    return smallest_text_by_formula(context_length - 1, stride, batch_size, parts, drop_last)


@wrong(check_smallest_text, "before the multiplication")
def smallest_text_next_token_last(context_length, stride, batch_size, parts, drop_last):
    return parts * (smallest_text_is_the_part(context_length, stride, batch_size, 1, drop_last) - 1) + 1


@wrong(check_smallest_text, "stride is ignored")
def smallest_text_side_by_side(context_length, stride, batch_size, parts, drop_last):
    return parts * ((batch_size if drop_last else 1) * context_length + 1)


@wrong(check_smallest_text, "T + 1 tokens are taken for each window")
def smallest_text_of_separate_windows(context_length, stride, batch_size, parts, drop_last):
    return parts * (batch_size if drop_last else 1) * (context_length + 1)


@wrong(check_smallest_text, "one stride too many")
def smallest_text_one_stride_more(context_length, stride, batch_size, parts, drop_last):
    return parts * ((batch_size if drop_last else 1) * stride + context_length + 1)


@wrong(check_smallest_text, "B strides")
def smallest_text_of_strides(context_length, stride, batch_size, parts, drop_last):
    return parts * ((batch_size if drop_last else 1) * stride + 1)


@wrong(check_smallest_text, "one token less")
def smallest_text_just_too_small(context_length, stride, batch_size, parts, drop_last):
    return smallest_text_by_formula(context_length, stride, batch_size, parts, drop_last) - 1


@wrong(check_smallest_text, "that is B windows")
def smallest_text_in_windows(context_length, stride, batch_size, parts, drop_last):
    return parts * batch_size


# 1.5 tokens seen

@right(check_tokens_seen)
def tokens_seen_by_formula(n, context_length, batch_size, epochs, drop_last):
    windows = (n - 1) // context_length
    if drop_last:
        windows -= windows % batch_size
    return epochs * windows * context_length


@right(check_tokens_seen)
def tokens_seen_by_loading(n, context_length, batch_size, epochs, drop_last):
    if n <= context_length:
        return 0
    loader = DataLoader(TokenWindows(torch.arange(n), context_length), batch_size, shuffle=True, drop_last=drop_last)
    return sum(x.numel() for _ in range(epochs) for x, y in loader)


@right(check_tokens_seen)
def tokens_seen_by_walking(n, context_length, batch_size, epochs, drop_last):
    seen = torch.zeros((), dtype=torch.int64)
    for _ in range(epochs):
        starts = list(range(0, n - context_length, context_length))
        for i in range(0, len(starts), batch_size):
            batch = starts[i : i + batch_size]
            if len(batch) == batch_size or not drop_last:
                seen += len(batch) * context_length
    return seen


@right(check_tokens_seen)
def tokens_seen_in_full_and_partial_batches(n, context_length, batch_size, epochs, drop_last):
    windows = max(0, math.ceil((n - context_length) / context_length))
    full, left = divmod(windows, batch_size)
    return epochs * (full * batch_size * context_length + (0 if drop_last else left * context_length))


@wrong(check_tokens_seen, "number of batches")
def tokens_seen_as_steps(n, context_length, batch_size, epochs, drop_last):
    windows = (n - 1) // context_length
    return epochs * (windows // batch_size if drop_last else math.ceil(windows / batch_size))


@wrong(check_tokens_seen, "batches times T")
def tokens_seen_without_batch_size(n, context_length, batch_size, epochs, drop_last):
    return context_length * tokens_seen_as_steps(n, context_length, batch_size, epochs, drop_last)


@wrong(check_tokens_seen, "as if it were full")
def tokens_seen_with_a_full_last_batch(n, context_length, batch_size, epochs, drop_last):
    return batch_size * context_length * tokens_seen_as_steps(n, context_length, batch_size, epochs, drop_last)


@wrong(check_tokens_seen, "drop_last is ignored", "left out")
def tokens_seen_nothing_dropped(n, context_length, batch_size, epochs, drop_last):
    return tokens_seen_by_formula(n, context_length, batch_size, epochs, False)


@wrong(check_tokens_seen, "drop_last is ignored", "counts too")
def tokens_seen_always_dropped(n, context_length, batch_size, epochs, drop_last):
    return tokens_seen_by_formula(n, context_length, batch_size, epochs, True)


@wrong(check_tokens_seen, "wrong way round")
def tokens_seen_the_other_way(n, context_length, batch_size, epochs, drop_last):
    return tokens_seen_by_formula(n, context_length, batch_size, epochs, not drop_last)


@wrong(check_tokens_seen, "one epoch", "unique")
def tokens_seen_in_one_epoch(n, context_length, batch_size, epochs, drop_last):
    return tokens_seen_by_formula(n, context_length, batch_size, 1, drop_last)


@wrong(check_tokens_seen, "T + 1 tokens are counted")
def tokens_seen_with_targets(n, context_length, batch_size, epochs, drop_last):
    return tokens_seen_by_formula(n, context_length, batch_size, epochs, drop_last) // context_length * (context_length + 1)


@wrong(check_tokens_seen, "both counted")
def tokens_seen_twice(n, context_length, batch_size, epochs, drop_last):
    return 2 * tokens_seen_by_formula(n, context_length, batch_size, epochs, drop_last)


@wrong(check_tokens_seen, "n tokens for each epoch")
def tokens_seen_as_the_text(n, context_length, batch_size, epochs, drop_last):
    return epochs * n


@wrong(check_tokens_seen, "next token is forgotten")
def tokens_seen_of_blocks(n, context_length, batch_size, epochs, drop_last):
    windows = n // context_length
    return epochs * context_length * (windows // batch_size * batch_size if drop_last else windows)


@wrong(check_tokens_seen, "piece that does not fill a window")
def tokens_seen_of_partial_windows(n, context_length, batch_size, epochs, drop_last):
    windows = math.ceil((n - 1) / context_length)
    return epochs * context_length * (windows // batch_size * batch_size if drop_last else windows)


@wrong(check_tokens_seen, "once, at the end")
def tokens_seen_dropped_once(n, context_length, batch_size, epochs, drop_last):
    windows = epochs * ((n - 1) // context_length)
    return context_length * (windows // batch_size * batch_size if drop_last else windows)


@wrong(check_tokens_seen, "full last batch was dropped")
def tokens_seen_last_batch_always_dropped(n, context_length, batch_size, epochs, drop_last):
    windows = (n - 1) // context_length
    batches = math.ceil(windows / batch_size)
    return epochs * context_length * (max(0, batches - 1) * batch_size if drop_last else windows)


@wrong(check_tokens_seen, "number of windows")
def tokens_seen_in_windows(n, context_length, batch_size, epochs, drop_last):
    return tokens_seen_by_formula(n, context_length, batch_size, epochs, drop_last) // context_length


# 1.6 the leak

@right(check_leaked_share)
def leaked_share_with_sets(train_starts, val_starts, context_length):
    train, val = ({start + 1 + i for start in starts for i in range(context_length)} for starts in (train_starts, val_starts))
    return len(train & val) / len(val)


@right(check_leaked_share)
def leaked_share_with_tensors(train_starts, val_starts, context_length):
    steps = torch.arange(1, context_length + 1)
    train, val = ((torch.tensor(starts)[:, None] + steps).unique() for starts in (train_starts, val_starts))
    return torch.isin(val, train).double().mean()


@right(check_leaked_share)
def leaked_share_with_loops(train_starts, val_starts, context_length):
    seen, leaked = [], 0
    for start in val_starts:
        for position in range(start, start + context_length):
            if position not in seen:
                seen.append(position)
                leaked += any(0 <= position - a < context_length for a in train_starts)
    return leaked / len(seen)


@right(check_leaked_share)
def leaked_share_with_masks(train_starts, val_starts, context_length):
    n = max(*train_starts, *val_starts) + context_length + 1
    train, val = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    for mask, starts in ((train, train_starts), (val, val_starts)):
        for start in starts:
            mask[start + 1 : start + context_length + 1] = True
    return ((train & val).sum() / val.sum()).item()


@right(check_leaked_share)
def leaked_share_from_the_windows(train_starts, val_starts, context_length):
    windows = TokenWindows(torch.arange(max(*train_starts, *val_starts) + context_length + 1), context_length, stride=1)
    train, val = (torch.cat([windows[start][1] for start in starts]).unique() for starts in (train_starts, val_starts))
    return torch.isin(val, train).float().mean().item()


def positions_of(starts, context_length, first=1):
    return [start + i for start in starts for i in range(first, context_length + 1)]


@wrong(check_leaked_share, "counted several times")
def leaked_share_with_repeats(train_starts, val_starts, context_length):
    train, val = positions_of(train_starts, context_length), positions_of(val_starts, context_length)
    return sum(position in train for position in val) / len(val)


@wrong(check_leaked_share, "counted several times")
def leaked_share_averaged_over_windows(train_starts, val_starts, context_length):
    return sum(leaked_share_with_sets(train_starts, [start], context_length) for start in val_starts) / len(val_starts)


@wrong(check_leaked_share, "divided by all targets with their repeats")
def leaked_share_half_unique(train_starts, val_starts, context_length):
    train, val = positions_of(train_starts, context_length), positions_of(val_starts, context_length)
    return len(set(train) & set(val)) / len(val)


@wrong(check_leaked_share, "number of training targets")
def leaked_share_of_training(train_starts, val_starts, context_length):
    return leaked_share_with_sets(val_starts, train_starts, context_length)


@wrong(check_leaked_share, "training and validation together")
def leaked_share_of_the_union(train_starts, val_starts, context_length):
    train, val = set(positions_of(train_starts, context_length)), set(positions_of(val_starts, context_length))
    return len(train & val) / len(train | val)


@wrong(check_leaked_share, "number of shared positions")
def leaked_share_as_a_count(train_starts, val_starts, context_length):
    return len(set(positions_of(train_starts, context_length)) & set(positions_of(val_starts, context_length)))


@wrong(check_leaked_share, "percent")
def leaked_share_in_percent(train_starts, val_starts, context_length):
    return 100 * leaked_share_with_sets(train_starts, val_starts, context_length)


@wrong(check_leaked_share, "did not leak")
def leaked_share_of_the_clean(train_starts, val_starts, context_length):
    return 1 - leaked_share_with_sets(train_starts, val_starts, context_length)


@wrong(check_leaked_share, "only the starts")
def leaked_share_of_starts(train_starts, val_starts, context_length):
    return len(set(train_starts) & set(val_starts)) / len(set(val_starts))


@wrong(check_leaked_share, "T + 1 positions")
def leaked_share_with_inputs_too(train_starts, val_starts, context_length):
    train, val = set(positions_of(train_starts, context_length, 0)), set(positions_of(val_starts, context_length, 0))
    return len(train & val) / len(val)


@wrong(check_leaked_share, "T - 1 positions")
def leaked_share_without_the_last_target(train_starts, val_starts, context_length):
    return leaked_share_with_sets(train_starts, val_starts, context_length - 1)


@wrong(check_leaked_share, "training's inputs")
def leaked_share_against_inputs(train_starts, val_starts, context_length):
    return leaked_share_with_sets([start - 1 for start in train_starts], val_starts, context_length)


@wrong(check_leaked_share, "there are gaps")
def leaked_share_without_gaps(train_starts, val_starts, context_length):
    train = range(min(train_starts) + 1, max(train_starts) + context_length + 1)
    val = set(positions_of(val_starts, context_length))
    return sum(position in train for position in val) / len(val)


@wrong(check_leaked_share, "windows that share some target")
def leaked_share_of_windows(train_starts, val_starts, context_length):
    train = set(positions_of(train_starts, context_length))
    return sum(bool(train & set(positions_of([start], context_length))) for start in val_starts) / len(val_starts)


@wrong(check_leaked_share, "overwrite")
def leaked_share_of_the_last_training_window(train_starts, val_starts, context_length):
    for start in train_starts:
        train = set(positions_of([start], context_length))
    val = set(positions_of(val_starts, context_length))
    return len(train & val) / len(val)


@wrong(check_leaked_share, "rounded down to a whole number", "// rounds")
def leaked_share_rounded_down(train_starts, val_starts, context_length):
    train, val = set(positions_of(train_starts, context_length)), set(positions_of(val_starts, context_length))
    return len(train & val) // len(val)


@wrong(check_leaked_share, "`train_starts` in place")
def leaked_share_shifts_its_inputs(train_starts, val_starts, context_length):
    for i in range(len(train_starts)):
        train_starts[i] += 1
    return leaked_share_with_sets(train_starts, [start + 1 for start in val_starts], context_length)
