"""Instruments for a training run that has begun: what a loss says, and what it cannot say."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from gpt_helpers.instruments.finding import Batch, Finding, logits_of
from gpt_helpers.validate import PADDING


def read_loss(loss: float, vocab_size: int, unigram: float, floor: float | None = None) -> Finding:
    """What a validation loss says, in nats per token. unigram: what token counts achieve; floor: what no model can pass."""
    uniform = math.log(vocab_size)
    if not math.isfinite(loss):
        return Finding(False, f"the loss is {loss}: the training has diverged")
    if loss > 1.02 * uniform:
        return Finding(False, f"{loss:.2f} is worse than knowing nothing, ln V = {uniform:.2f}: the learning rate is too large, "
                              "the sign is flipped, or the targets are those of another text")
    if floor is not None and loss < floor - 0.01:
        return Finding(False, f"{loss:.2f} is below the floor of {floor:.2f}, which cannot be: the targets leak, are known by "
                              "heart, or padding is counted")
    if loss > 0.98 * unigram:
        return Finding(False, f"{loss:.2f} is no better than token counts alone, {unigram:.2f}: the model does not learn from "
                              "the tokens before")
    above = f", and above the floor, {floor:.2f}" if floor else ""
    return Finding(True, f"{loss:.2f} is better than token counts, {unigram:.2f}{above}")


@torch.no_grad()
def losses_by_position(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The mean loss at each place of the window, (T,); nan where all targets are padding. More context should help, and does."""
    inputs, targets = batch
    logits = logits_of(model, inputs).float()
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")      # (B, T)
    return losses.sum(0) / (targets != PADDING).sum(0)
