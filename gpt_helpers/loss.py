"""The loss of a model, in nats per token, and of the n-gram baselines.

A target of -100 marks padding, as in PyTorch: no loss here counts it.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from gpt_helpers.data import independent
from gpt_helpers.model import unwrap
from gpt_helpers.validate import require_batches, require_rows, require_targets


def calc_loss_batch(input_batch: torch.Tensor, target_batch: torch.Tensor, model: nn.Module,
                    device: torch.device | str) -> torch.Tensor:
    """Mean cross-entropy of one batch, in nats per token.

    input_batch, target_batch: (B, T) int64 token ids, the targets one step later.
    Returns a scalar tensor that is still attached to the graph, so `.backward()` works on it. Raises ValueError.
    """
    require_targets(input_batch, target_batch, getattr(unwrap(model), "cfg", None))
    logits = model(input_batch.to(device))                                                # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), target_batch.to(device).flatten())      # (B·T, V), (B·T,)


def calc_loss_loader(data_loader: DataLoader, model: nn.Module, device: torch.device | str,
                     num_batches: int | None = None) -> float:
    """Mean cross-entropy over the tokens of a loader, or of its first num_batches, in nats per token; a float.

    Every token counts the same, even in a last batch that is smaller than the others.
    The caller chooses `model.eval()` and `torch.no_grad()`. Raises ValueError when there is no batch.
    """
    require_batches(data_loader, num_batches)
    data_loader = independent(data_loader)
    total, tokens = 0.0, 0
    for i, (input_batch, target_batch) in enumerate(data_loader):
        if i == num_batches:
            break
        counted = (target_batch != -100).sum().item()
        total += calc_loss_batch(input_batch, target_batch, model, device).item() * counted
        tokens += counted
    return total / tokens


@torch.no_grad()
def calc_token_losses(data_loader: DataLoader, model: nn.Module, device: torch.device | str) -> torch.Tensor:
    """The loss of every single target token of a loader, in nats, in order: (N,) float32 on the CPU.

    Its mean is the loader's loss, and its spread tells how far that mean can be trusted. Raises ValueError.
    """
    require_batches(data_loader)
    data_loader = independent(data_loader)
    losses = []
    for inputs, targets in data_loader:
        require_targets(inputs, targets, getattr(unwrap(model), "cfg", None))
        logits, targets = model(inputs.to(device)).flatten(0, 1), targets.to(device).flatten()      # (B·T, V), (B·T,)
        losses.append(F.cross_entropy(logits, targets, reduction="none")[targets != -100].cpu())
    return torch.cat(losses)


# The n-gram baselines: what counting achieves. Each takes the ids to be scored and returns nats per predicted token, ids[1:]:
# the first token has no past to predict it from.

def uniform_loss(vocab_size: int) -> float:
    """The loss of the uniform distribution, in which every token is equally likely: ln V."""
    return math.log(vocab_size)


def unigram_loss(ids: torch.Tensor, train_ids: torch.Tensor, vocab_size: int) -> float:
    """Predict from how often each token occurs in train_ids. ids, train_ids: (N,) token ids; a float."""
    require_rows(vocab_size, ids=ids, train_ids=train_ids)
    return -_unigram_probs(train_ids, vocab_size)[ids[1:]].log().mean().item()


def bigram_loss(ids: torch.Tensor, train_ids: torch.Tensor, vocab_size: int) -> float:
    """Predict from how often each token follows the one before it, mixed with the unigram for what was never seen.

    The mix is Witten and Bell's: the more different followers a token has had, the less its counts are trusted.
    ids, train_ids: (N,) token ids; a float.
    Source: Witten and Bell, "The zero-frequency problem", 1991.
    """
    require_rows(vocab_size, ids=ids, train_ids=train_ids)
    pairs, counts = (train_ids[:-1] * vocab_size + train_ids[1:]).unique(return_counts=True)
    seen = torch.bincount(train_ids[:-1], minlength=vocab_size).double()                  # (V,) how often it was followed
    kinds = torch.bincount(pairs // vocab_size, minlength=vocab_size).double()            # (V,) by how many different tokens
    past, wanted = ids[:-1], ids[1:]
    where = torch.searchsorted(pairs, past * vocab_size + wanted).clamp(max=len(pairs) - 1)
    count = counts[where] * (pairs[where] == past * vocab_size + wanted)                  # (N - 1,) 0 for a new pair
    unigram = _unigram_probs(train_ids, vocab_size)[wanted]
    probs = (count + kinds[past] * unigram) / (seen[past] + kinds[past])
    return -torch.where(seen[past] > 0, probs, unigram).log().mean().item()


def _unigram_probs(train_ids: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """(V,) float64: the counts, mixed in the same way with the uniform distribution, so that no token is impossible."""
    counts = torch.bincount(train_ids, minlength=vocab_size).double()
    kinds = (counts > 0).sum()
    return (counts + kinds / vocab_size) / (counts.sum() + kinds)
