"""Instruments for the data: what the loaders give, before any model sees it."""
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gpt_helpers.instruments.finding import Batch, Finding, logits_of
from gpt_helpers.instruments.given import rows
from gpt_helpers.validate import PADDING


def targets_follow(batches: Sequence[Batch]) -> Finding:
    """Is each target the input one place to the right?"""
    if not any((targets != PADDING).any() for _, targets in batches):
        return Finding(False, f"all targets are {PADDING}, which marks padding: no loss counts any of them")

    def agree(shift: int, part: slice = slice(None)) -> float:
        """The share of targets that are the input `shift` places to the right; nan where none can be compared.

        A target before padding is left out: what follows it in the inputs may be padding. part: of each window.
        """
        same = []
        for inputs, targets in batches:
            ahead, there = inputs[:, shift:][:, part], targets[:, : max(0, inputs.shape[1] - shift)][:, part]
            scored = (there != PADDING) & (targets[:, shift:][:, part] != PADDING)
            same.append((ahead == there)[scored])
        return torch.cat(same).double().mean().item()

    inputs, share = batches[0][0], agree(1)
    if math.isnan(share):
        return Finding(None, "only the last target of each window is scored, so its input cannot be seen")
    if share < 0.99:
        for shift, what in ((0, "the inputs themselves: nothing is left to predict"), (2, "two tokens later, not one")):
            if agree(shift) > 0.9:
                return Finding(False, f"the targets are {what}; need inputs = ids[:-1], targets = ids[1:], "
                                      "also for a model that shifts its labels itself")
        return Finding(False, f"only {share:.0%} of the targets are the input one place to the right: "
                              "were inputs and targets shuffled or cut separately?")
    halves = [agree(0, slice(0, inputs.shape[1] // 2)), agree(0, slice(inputs.shape[1] // 2, None))]
    same, end = agree(0), halves[1] > halves[0]
    sides = [x.flip(1) if end else x for x, _ in batches]
    runs = torch.cat([(x[:, 1:] == x[:, :1]).cumprod(1).sum(1) for x in sides])      # (R,) how often each repeats its first token
    if inputs.shape[1] >= 16 and same > 0.1 and max(halves) > 2 * min(halves) and (runs > 2).float().mean() > 0.3:
        return Finding(False, f"{same:.0%} of the targets repeat their input, most at the {'ends' if end else 'beginnings'} of "
                              f"windows: padding is scored like text; give its targets the value {PADDING}")
    counts = torch.cat([targets[targets != PADDING] for _, targets in batches]).bincount()
    if (counts > 0).sum() > 8 and counts.max() > 0.5 * counts.sum():
        return Finding(None, f"{counts.max() / counts.sum():.0%} of the targets are token {counts.argmax()}: unknown words?")
    first, last = torch.cat([inputs[:, 0] for inputs, _ in batches]), torch.cat([targets[:, -1] for _, targets in batches])
    if len(last) >= 8 and torch.equal(first, last) and len(first.unique()) > 1:
        return Finding(False, "the last target of each window is its first token: roll() brings it round; cut windows of "
                              "T + 1 tokens instead")
    if len(last) >= 8 and last[0] != PADDING and len(last.unique()) == 1:
        return Finding(None, f"the last target of every window is token {last[0]}: do all texts end there, or was it filled in?")
    return Finding(True, "each target is the next token")


def order_is_mixed(first: Sequence[Batch], again: Sequence[Batch]) -> Finding:
    """Does training come in another order in the next epoch? first, again: the first batches of two epochs."""
    same = all(torch.equal(x, y) for (x, _), (y, _) in zip(first, again, strict=False))
    if all(len(x) > 1 and torch.equal(x, x[:1].expand_as(x)) for x, _ in first):
        return Finding(False, "all windows of a batch are the same window")
    if len(first) == 1 and len(again) == 1:
        return Finding(False, f"an epoch is a single batch of {len(first[0][0])} windows: was the data cut for a test?")
    others = [x for x, _ in first[1:] if x.shape == first[0][0].shape]
    if others and all(torch.equal(first[0][0], x) for x in others):
        return Finding(False, "every batch is the same batch: take batches from the loader in the loop, not before it")
    if not same or len(first) < 4:
        return Finding(True, "another order in each epoch") if not same else Finding(None, "the same few batches in each epoch")
    sizes = [len(x) for x, _ in first]
    tokens = rows(first).unique(return_inverse=True)[1]
    counts = torch.zeros(len(tokens), int(tokens.max()) + 1).scatter_add_(1, tokens, torch.ones_like(tokens, dtype=torch.float))

    def spread(order: torch.Tensor) -> torch.Tensor:
        """How much the token counts differ between batches, when the windows come in this order."""
        return torch.stack([part.mean(0) for part in counts[order].split(sizes)]).var(0).sum()

    by_chance = torch.stack([spread(torch.randperm(len(tokens))) for _ in range(30)])
    if spread(torch.arange(len(tokens))) > by_chance.mean() + 6 * by_chance.std():
        return Finding(None, "the batches come in the same order in each epoch, and are unlike each other, as if sorted: "
                              "shuffle=True")
    return Finding(None, "the batches come in the same order in each epoch; shuffle=True unless that is meant")


def validation_is_new(train: Sequence[Batch], val: Sequence[Batch]) -> Finding:
    """Do the words with which validation's windows begin, 24 tokens, stand in the training text? train, val: batches."""
    length = min(24, rows(train).shape[1], rows(val).shape[1])
    train, val = (rows(part)[(rows(part, 1)[:, :length] != PADDING).all(1)] for part in (train, val))
    if length < 12 or not len(train) or not len(val):
        return Finding(None, f"windows of {length} tokens, or of much padding, do not tell whether validation is new text")
    train = train.unique(dim=0)
    factors = torch.randint(2**62, (length,), generator=torch.Generator().manual_seed(0)) | 1

    def known(windows: torch.Tensor, text: torch.Tensor) -> float:
        """The share of windows whose beginnings stand anywhere in the text; equal stretches have equal products."""
        return torch.isin(windows[:, :length] @ factors, text.unfold(1, length, 1) @ factors).float().mean().item()

    half, shared = len(train) // 2, known(val, train)
    repeated = known(train[half:], train[:half])
    if shared > 0.5 or shared > 0.1 + 3 * repeated:
        return Finding(False, f"{shared:.0%} of the validation windows begin with words that stand in the training text, too: "
                              "the loss on them shows what was learned by heart")
    return Finding(True, f"validation is new text ({shared:.0%} of its windows are known)")


def same_kind_of_text(train: torch.Tensor, val: torch.Tensor) -> Finding:
    """Are the commonest tokens of training common in validation, too? train, val: windows, (R, T) and (S, T)."""
    order = torch.randperm(len(train))
    seen, rest = train[order[: len(train) // 2 + 1]], train[order[len(train) // 2 :]]
    counts = torch.bincount(seen.flatten()).sort(descending=True)
    common = counts.indices[: int((counts.values.cumsum(0) < seen.numel() / 2).sum()) + 1]      # half of the text
    expected, found = (torch.isin(part, common).float().mean().item() for part in (rest, val))
    if found < 0.65 * expected:
        return Finding(False, f"the {len(common)} commonest tokens of training are {expected:.0%} of it, and {found:.0%} of "
                              "validation: is that another kind of text, or encoded with another tokenizer?")
    pairs = [part[:, :-1] * len(counts.values) + part[:, 1:] for part in (seen, rest, val)]
    expected, found = (torch.isin(part, pairs[0]).float().mean().item() for part in pairs[1:])
    if found < 0.4 * expected:
        return Finding(False, f"of the pairs of neighbouring tokens {expected:.0%} are known in the rest of training, and "
                              f"{found:.0%} in validation: is one of them reversed, or shuffled?")
    return Finding(True, "validation uses the same tokens as training, in the same order")


def tokens_fit(windows: torch.Tensor, model: nn.Module, tokenizer: Any) -> Finding:
    """Are the ids those of this tokenizer, and does the model have a row for each? windows: (R, T)."""
    sizes = [getattr(tokenizer, "n_vocab", None), getattr(tokenizer, "vocab_size", None),
             len(tokenizer) if hasattr(tokenizer, "__len__") else None]      # some do not count their added tokens
    known = max((size for size in sizes if isinstance(size, int)), default=None)
    if known and windows.max() >= known:
        return Finding(False, f"the data has token {windows.max()}, and the tokenizer's last is {known - 1}: another tokenizer?")
    outputs = logits_of(model, windows[:1]).shape[-1]
    if known and known > outputs:
        return Finding(False, f"the tokenizer has {known:,} tokens, and the model {outputs:,}")
    if known and outputs > 2 * known:
        return Finding(None, f"the model has {outputs:,} tokens, and the tokenizer only {known:,}")
    try:
        ids = windows[:8].flatten().tolist()
        again = tokenizer.encode(tokenizer.decode(ids))
    except Exception:      # a tokenizer with special tokens, or of another form
        return Finding(True, "the ids are within the vocabulary")
    if (Counter(ids) & Counter(again)).total() < 0.5 * len(ids):
        return Finding(False, "decoded and encoded again, less than half of the tokens come back: the data was made with another "
                              "tokenizer")
    return Finding(True, "the ids are this tokenizer's")


def same_windows(train: Sequence[Batch], val: Sequence[Batch]) -> Finding:
    """Are training's longest windows as long as those of validation? train, val: batches of each."""
    longest, needed = (max(inputs.shape[1] for inputs, _ in batches) for batches in (train, val))
    if longest < needed:
        return Finding(False, f"training has windows of {longest} tokens, and validation of {needed}: the later positions are "
                              "never trained")
    windows = rows(train)
    if (different := len(windows.unique(dim=0))) < len(windows) / 2:
        return Finding(None, f"of {len(windows):,} windows only {different:,} are different")
    return Finding(True, f"{len(windows):,} windows of {longest} tokens were looked at")
