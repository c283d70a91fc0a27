"""From one row of token ids to three parts, and from a part to batches of inputs and targets."""
import math
from numbers import Integral
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset


class Split(NamedTuple):
    """Three consecutive parts of a text's token ids, each (N,) int64."""

    train: torch.Tensor
    val: torch.Tensor
    test: torch.Tensor


def split_tokens(ids, train=0.8, val=0.1, *, context_length=None):
    """Cut token ids, (N,) or (1, N), into consecutive train, val and test parts, each 1-D; test is the rest.

    train, val: shares of N, each from 0 to 1 and at most 1 together; the cuts fall on the nearest token.
    context_length: when given, each part that has a share must hold at least one window of it.
    The parts are views of ids: nothing is copied, shared or lost. Raises ValueError.
    """
    check_row(ids)
    check_shares(train, val)
    ids = ids.flatten()
    first, second = round(train * len(ids)), round((train + val) * len(ids))
    split = Split(ids[:first], ids[first:second], ids[second:])
    check_room(split, (train, val, 1 - train - val), context_length)
    return split


class TokenWindows(Dataset):
    """Windows over token ids: item i is (inputs, targets), both (T,), the targets one token later.

    ids: (N,) or (1, N) int64. stride: tokens from one window's start to the next (default: context_length,
    so that no token is an input twice). A last piece shorter than T + 1 tokens is left out. Raises ValueError.
    """

    def __init__(self, ids, context_length, stride=None):
        stride = context_length if stride is None else stride
        check_row(ids)
        check_positive(context_length=context_length, stride=stride)
        check_window(ids, context_length)
        self.ids, self.context_length, self.stride = ids.flatten(), context_length, stride

    def __len__(self):
        return (len(self.ids) - self.context_length - 1) // self.stride + 1

    def __getitem__(self, i):
        check_index(i, len(self))
        start = i * self.stride
        window = self.ids[start : start + self.context_length + 1]
        return window[:-1], window[1:]


def create_dataloader(ids, batch_size, context_length, stride=None, *, shuffle=False, drop_last=False):
    """A DataLoader of (inputs, targets), each (B, T) int64, over the windows of ids.

    shuffle: a new order every epoch. drop_last: leave out a last batch that is not full.
    Raises ValueError when no window fits, or when drop_last would leave no batch at all.
    """
    check_positive(batch_size=batch_size)
    windows = TokenWindows(ids, context_length, stride)
    check_full_batch(windows, batch_size, drop_last)
    return DataLoader(windows, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last)


# Checks: each raises one line that says what was given, what was needed and what to do.

def check_positive(**numbers):
    """ValueError when one of the named numbers is not a whole number of at least 1."""
    for name, number in numbers.items():
        if not isinstance(number, Integral) or isinstance(number, bool) or number < 1:
            raise ValueError(f"got {name}={number!r:.60}, need a whole number of at least 1")


def check_row(ids):
    """ValueError when ids are not one row of int64 token ids."""
    if not isinstance(ids, torch.Tensor) or ids.dtype != torch.int64:
        raise ValueError(f"got ids of type {getattr(ids, 'dtype', type(ids).__name__)}, need a tensor of int64: "
                         "text_to_token_ids makes one")
    if ids.ndim not in (1, 2) or (ids.ndim == 2 and len(ids) != 1):
        raise ValueError(f"got ids of shape {tuple(ids.shape)}, need one row of token ids, (N,) or (1, N)")


def check_shares(train, val):
    """ValueError when shares are negative, not a number, or more than the whole."""
    if not (train >= 0 and val >= 0 and train + val <= 1 + 1e-9):
        raise ValueError(f"got train={train}, val={val}: shares must not be negative, and together at most 1")


def check_room(split, shares, context_length):
    """ValueError when a part with a share is too short for one window; context_length None asks for nothing."""
    if context_length is None:
        return
    check_positive(context_length=context_length)
    total = sum(map(len, split))
    for name, part, share in zip(Split._fields, split, shares, strict=True):
        if share > 1e-9 and len(part) <= context_length:
            raise ValueError(
                f"the text has {total:,} tokens, so its {name} part ({share:.0%}) has {len(part):,}, too few for one window "
                f"of {context_length + 1:,} (context_length {context_length:,} and its next token): use a text of about "
                f"{math.ceil((context_length + 1) / share):,} tokens or more, or a shorter context_length")


def check_window(ids, context_length):
    """ValueError when ids are too few for one window."""
    if ids.numel() <= context_length:
        raise ValueError(f"the text, or this part of it, has {ids.numel():,} tokens, too few for one window of "
                         f"{context_length + 1:,} (context_length {context_length:,} and its next token): "
                         "use more text or a shorter context_length")


def check_index(i, length):
    """IndexError when there is no window i."""
    if not 0 <= i < length:
        raise IndexError(f"window {i} of {length}: windows are numbered from 0 to {length - 1}")


def check_full_batch(windows, batch_size, drop_last):
    """ValueError when drop_last would drop everything."""
    if drop_last and len(windows) < batch_size:
        raise ValueError(f"{len(windows)} window(s) do not fill one batch of {batch_size} and drop_last=True leaves none: "
                         "use drop_last=False, a smaller batch_size or more text")
