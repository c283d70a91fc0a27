"""The loss of a model, in nats per token, and of the n-gram baselines.

A target of -100 marks padding, as in PyTorch: no loss here counts it.
"""
import math
from itertools import islice

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from gpt_helpers.data import independent, pairs, require_pair
from gpt_helpers.model import unwrap
from gpt_helpers.validate import require_batches, require_ngram, require_rows, require_targets


def calc_loss_batch(input_batch: torch.Tensor, target_batch: torch.Tensor, model: nn.Module,
                    device: torch.device | str) -> torch.Tensor:
    """Mean cross-entropy of one batch, in nats per token.

    input_batch, target_batch: (B, T) int64 token ids, the targets one step later.
    Returns a scalar tensor that is still attached to the graph, so `.backward()` works on it. Raises ValueError.
    """
    require_pair((input_batch, target_batch))
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
    data_loader = pairs(data_loader)
    total, tokens = 0.0, 0
    for input_batch, target_batch in islice(data_loader, num_batches):
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
    data_loader = pairs(data_loader)
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
    return NGram(train_ids, vocab_size, 1).losses(ids).mean().item()


def bigram_loss(ids: torch.Tensor, train_ids: torch.Tensor, vocab_size: int) -> float:
    """Predict from how often each token follows the one before it. ids, train_ids: (N,) token ids; a float."""
    return NGram(train_ids, vocab_size, 2).losses(ids).mean().item()


class NGram:
    """Predicts a token from the n - 1 before it, by how often it followed them in train_ids, (N,) token ids.

    Counts are mixed with the prediction from one token less, down to the uniform distribution; the more different tokens
    have followed, the less their counts are trusted. Raises ValueError.
    Source: Witten and Bell, "The zero-frequency problem", 1991.
    """

    def __init__(self, train_ids: torch.Tensor, vocab_size: int, n: int):
        require_ngram(n, vocab_size, train_ids)
        self.vocab_size, self.n, self.tables = int(vocab_size), int(n), []
        for k in range(1, self.n + 1):
            grams, counts = self._encode(train_ids.unfold(0, k, 1)).unique(return_counts=True)      # sorted
            contexts, followers = (grams // self.vocab_size).unique_consecutive(return_counts=True)
            seen = torch.segment_reduce(counts.double(), "sum", lengths=followers)      # how often each was followed
            self.tables.append((grams, counts, contexts, seen, followers))

    def probs(self, windows: torch.Tensor) -> torch.Tensor:
        """The probability of each window's last token, given those before it: (M, k) known ids, k up to n, to (M,) float64."""
        probs = torch.full((len(windows),), 1 / self.vocab_size, dtype=torch.float64)
        for k, (grams, counts, contexts, seen, followers) in enumerate(self.tables[: windows.shape[1]], start=1):
            gram = self._encode(windows[:, -k:])
            count, context = _look_up(gram, grams, counts), gram // self.vocab_size
            seen, followers = _look_up(context, contexts, seen), _look_up(context, contexts, followers)
            probs = torch.where(seen > 0, (count + followers * probs) / (seen + followers), probs)
        return probs

    def next_probs(self, contexts: torch.Tensor) -> torch.Tensor:
        """The probability of every token after each context: (B, k) ids, of which the last n - 1 count, to (B, V) float64."""
        contexts = contexts[:, max(0, contexts.shape[1] - self.n + 1):].repeat_interleave(self.vocab_size, dim=0)
        tokens = torch.arange(self.vocab_size).repeat(len(contexts) // self.vocab_size)
        windows = torch.cat([contexts, tokens[:, None]], dim=1)
        require_rows(self.vocab_size, contexts=windows.flatten())
        return self.probs(windows).view(-1, self.vocab_size)

    def losses(self, ids: torch.Tensor) -> torch.Tensor:
        """The loss of each of ids[1:], in nats, (N - 1,) float64."""
        require_rows(self.vocab_size, ids=ids)
        beginning = [self.probs(ids[None, : i + 1]) for i in range(1, min(self.n - 1, len(ids)))]      # with a shorter context
        whole = ids.unfold(0, self.n, 1) if len(ids) >= self.n else ids.new_empty(0, self.n)
        return -torch.cat([*beginning, self.probs(whole[1:] if self.n == 1 else whole)]).log()

    def _encode(self, windows: torch.Tensor) -> torch.Tensor:
        """Each window, (M, k), as one number: its tokens are the digits, in base vocab_size."""
        return windows @ self.vocab_size ** torch.arange(windows.shape[1]).flip(0)


def _look_up(wanted: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The value of each wanted key, 0 for a key that is not there; keys: sorted."""
    where = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return values[where] * (keys[where] == wanted)
