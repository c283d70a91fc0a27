"""From one row of token ids to three parts, and from a part to batches of inputs and targets."""
import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from gpt_helpers.validate import (
    require_fractions,
    require_full_batch,
    require_index,
    require_integers,
    require_positive,
    require_room,
    require_row,
    require_window,
)

TOKEN_TYPES = (torch.int64, torch.uint16, torch.uint32)      # in memory, and on disk


class Split(NamedTuple):
    """Three consecutive parts of a text's token ids, each (N,), of the type that was given."""

    train: torch.Tensor
    val: torch.Tensor
    test: torch.Tensor


def split_tokens(ids: torch.Tensor, train: float = 0.8, val: float = 0.1, *, context_length: int | None = None) -> Split:
    """Cut token ids, (N,) or (1, N), into consecutive train, val and test parts, each 1-D; test is the rest.

    ids: in memory, or from `open_tokens`. train, val: fractions of N, each from 0 to 1 and at most 1 together; the cuts
    fall on the nearest token.
    context_length: when given, each part with a fraction above 0 must hold at least one window of it.
    The parts are views of ids: nothing is copied, shared or lost. Raises ValueError.
    """
    require_row(ids, dtypes=TOKEN_TYPES)
    require_fractions(train, val)
    ids = ids.flatten()
    first, second = round(train * len(ids)), round((train + val) * len(ids))
    split = Split(ids[:first], ids[first:second], ids[second:])
    require_room(split, (train, val, 1 - train - val), context_length)
    return split


def as_int64(ids: torch.Tensor) -> torch.Tensor:
    """Token ids of any type as int64: those in memory as they are, those on disk as a copy."""
    return ids.long()


class TokenWindows(Dataset):
    """Windows over token ids: item i is (inputs, targets), both (T,), the targets one token later.

    ids: (N,) or (1, N) int64, or those of `open_tokens`. stride: tokens from one window's start to the next (default:
    context_length, so that no token is an input twice). A last piece shorter than T + 1 tokens is left out. Raises ValueError.
    """

    def __init__(self, ids: torch.Tensor, context_length: int, stride: int | None = None):
        stride = context_length if stride is None else stride
        require_row(ids, dtypes=TOKEN_TYPES)
        require_positive(context_length=context_length, stride=stride)
        require_window(ids, context_length)
        self.ids, self.context_length, self.stride = ids.flatten(), context_length, stride

    def __len__(self) -> int:
        return (len(self.ids) - self.context_length - 1) // self.stride + 1

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        require_index(i, len(self))
        start = i * self.stride
        window = self.ids[start : start + self.context_length + 1]
        window = as_int64(window)
        return window[:-1], window[1:]


def all_targets(windows: TokenWindows | Subset) -> torch.Tensor:
    """Every target of every window, in one row: (windows · T,) int64; a token as often as windows ask for it."""
    return torch.cat([windows[i][1] for i in range(len(windows))])


def contents(dataset: Any) -> Iterator[torch.Tensor]:
    """The tensors that tell what a dataset gives: windows, tensors, or parts and sums of such datasets; of another kind none."""
    if isinstance(dataset, TokenWindows):
        yield dataset.ids
    if isinstance(dataset, TensorDataset):
        yield from dataset.tensors
    if isinstance(dataset, Subset):
        yield torch.as_tensor(dataset.indices)
        yield from contents(dataset.dataset)
    for part in dataset.datasets if isinstance(dataset, ConcatDataset) else ():
        yield from contents(part)


def create_dataloader(ids: torch.Tensor, batch_size: int, context_length: int, stride: int | None = None, *,
                      shuffle: bool = False, drop_last: bool = False, num_workers: int = 0) -> DataLoader:
    """A DataLoader of (inputs, targets), each (B, T) int64, over the windows of ids.

    shuffle: a new order every epoch. drop_last: leave out a last batch that is not full.
    num_workers: processes that prepare batches in the background; windows over ids in memory need none.
    Raises ValueError when no window fits, or when drop_last would leave no batch at all.
    """
    require_positive(batch_size=batch_size)
    require_integers(0, num_workers=num_workers)
    windows = TokenWindows(ids, context_length, stride)
    require_full_batch(len(windows), batch_size, drop_last)
    return DataLoader(windows, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, num_workers=num_workers)


def independent(loader: DataLoader) -> DataLoader:
    """A loader of the same batches that can be iterated without restarting an iteration under way.

    With persistent_workers a loader has a single iterator: evaluating on it in the middle of an epoch would restart that
    epoch, without end. Such a loader is copied without its iterator; any other is returned as it is.
    """
    if getattr(loader, "persistent_workers", False):
        loader = copy.copy(loader)
        vars(loader).update(persistent_workers=False, _iterator=None)      # DataLoader forbids the usual way
    return loader


def pairs(batches: Iterable) -> Iterator:
    """These batches. ValueError when one of them is not (inputs, targets), two tensors."""
    for batch in batches:
        require_pair(batch)
        yield batch


def require_pair(batch: Any) -> None:
    """ValueError when a batch does not unpack into two tensors."""
    try:
        inputs, targets = batch
    except (TypeError, ValueError):
        inputs = targets = None
    if not (isinstance(inputs, torch.Tensor) and isinstance(targets, torch.Tensor)):
        parts = f"({', '.join(type(part).__name__ for part in batch)})" if isinstance(batch, tuple | list) else ""
        raise ValueError(f"got a batch {parts or f'of type {type(batch).__name__}'}, need (inputs, targets), two tensors: "
                         "give the loader a collate_fn that returns them")
