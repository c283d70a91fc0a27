"""The loss of a model, in nats per token, and what mere counting would achieve."""
import math

import torch
import torch.nn.functional as F

from gpt_helpers.data import check_positive, check_row
from gpt_helpers.model import check_ids


def calc_loss_batch(input_batch, target_batch, model, device):
    """Mean cross-entropy of one batch, in nats per token.

    input_batch, target_batch: (B, T) int64 token ids, the targets one step later.
    Returns a scalar tensor that is still attached to the graph, so `.backward()` works on it. Raises ValueError.
    """
    check_targets(input_batch, target_batch, model)
    logits = model(input_batch.to(device))                                                # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), target_batch.to(device).flatten())      # (B·T, V), (B·T,)


def calc_loss_loader(data_loader, model, device, num_batches=None):
    """Mean cross-entropy over the tokens of a loader, or of its first num_batches, in nats per token; a float.

    Every token counts the same, also in a last batch that is smaller than the others.
    The caller chooses `model.eval()` and `torch.no_grad()`. Raises ValueError when there is no batch.
    """
    check_batches(data_loader, num_batches)
    total, tokens = 0.0, 0
    for i, (input_batch, target_batch) in enumerate(data_loader):
        if i == num_batches:
            break
        total += calc_loss_batch(input_batch, target_batch, model, device).item() * target_batch.numel()
        tokens += target_batch.numel()
    return total / tokens


@torch.no_grad()
def calc_token_losses(data_loader, model, device):
    """The loss of every single target token of a loader, in nats, in order: (N,) float32 on the CPU.

    Its mean is the loader's loss, and its spread tells how far that mean can be trusted.
    """
    check_batches(data_loader)
    return torch.cat([
        F.cross_entropy(model(inputs.to(device)).flatten(0, 1), targets.to(device).flatten(), reduction="none").cpu()
        for inputs, targets in data_loader])


def check_targets(input_batch, target_batch, model):
    """ValueError in one line when targets do not fit the inputs, or are not tokens that the model knows."""
    if target_batch.shape != input_batch.shape or target_batch.dtype != torch.int64:
        raise ValueError(f"got {target_batch.dtype} targets of shape {tuple(target_batch.shape)} for inputs of shape "
                         f"{tuple(input_batch.shape)}, need int64 of the same shape: the inputs one step later")
    if hasattr(model, "cfg"):
        check_ids(target_batch, model.cfg)


def check_batches(data_loader, num_batches=None):
    """ValueError in one line when a loss over these batches would be a mean of nothing."""
    if len(data_loader) == 0:
        raise ValueError("the loader has 0 batches, so there is no loss to average: use drop_last=False, "
                         "a smaller batch_size or more text")
    if num_batches is not None:
        check_positive(num_batches=num_batches)


# What counting achieves. Each takes the ids to be scored and returns nats per predicted token, ids[1:]:
# the first token has no past, so nobody is asked to predict it.

def uniform_loss(vocab_size):
    """The loss of a model that finds every token equally likely: ln V."""
    return math.log(vocab_size)


def unigram_loss(ids, train_ids, vocab_size):
    """Predict from how often each token occurs in train_ids. ids, train_ids: (N,) token ids; a float."""
    check_sequences(ids, train_ids, vocab_size)
    return -_unigram_probs(train_ids, vocab_size)[ids[1:]].log().mean().item()


def bigram_loss(ids, train_ids, vocab_size):
    """Predict from how often each token follows the one before it, mixed with the unigram for what was never seen.

    The mix is Witten and Bell's: the more different followers a token has had, the less its counts are trusted.
    ids, train_ids: (N,) token ids; a float.
    Source: Witten and Bell, "The zero-frequency problem", 1991.
    """
    check_sequences(ids, train_ids, vocab_size)
    pairs, counts = (train_ids[:-1] * vocab_size + train_ids[1:]).unique(return_counts=True)
    seen = torch.bincount(train_ids[:-1], minlength=vocab_size).double()                  # (V,) times it was followed
    kinds = torch.bincount(pairs // vocab_size, minlength=vocab_size).double()            # (V,) by how many different tokens
    past, wanted = ids[:-1], ids[1:]
    where = torch.searchsorted(pairs, past * vocab_size + wanted).clamp(max=len(pairs) - 1)
    count = counts[where] * (pairs[where] == past * vocab_size + wanted)                  # (N - 1,) 0 for a new pair
    unigram = _unigram_probs(train_ids, vocab_size)[wanted]
    probs = (count + kinds[past] * unigram) / (seen[past] + kinds[past])
    return -torch.where(seen[past] > 0, probs, unigram).log().mean().item()


def _unigram_probs(train_ids, vocab_size):
    """(V,) float64: the counts, mixed in the same way with the uniform distribution, so that no token is impossible."""
    counts = torch.bincount(train_ids, minlength=vocab_size).double()
    kinds = (counts > 0).sum()
    return (counts + kinds / vocab_size) / (counts.sum() + kinds)


def check_sequences(ids, train_ids, vocab_size):
    """ValueError in one line when ids or train_ids are not one row of at least two known token ids."""
    for name, row in (("ids", ids), ("train_ids", train_ids)):
        check_row(row)
        if row.ndim != 1 or len(row) < 2:
            raise ValueError(f"got {name} of shape {tuple(row.shape)}, need one row of at least 2 token ids")
        if not 0 <= row.min() <= row.max() < vocab_size:
            raise ValueError(f"got {name} from {row.min()} to {row.max()}, the vocabulary has 0 to {vocab_size - 1}")
