"""What all instruments share: a Finding, and the loss that training should minimise."""
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector

Batch = tuple[torch.Tensor, torch.Tensor]      # inputs and targets, each (B, T)


class Finding(NamedTuple):
    """What an instrument says. sound: True, False for a fault, None for what is worth knowing and may be meant."""

    sound: bool | None
    words: str


def logits_of(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The logits (B, T, V), also of models that return them with more, as a tuple or under the name `logits`."""
    out = model(inputs)
    out = getattr(out, "logits", out)
    return out if isinstance(out, torch.Tensor) else next(part for part in out if getattr(part, "ndim", 0) == 3)


def mean_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """What training should minimise: the mean of -ln p over all targets that are no padding, attached to its graph."""
    inputs, targets = batch
    return F.cross_entropy(logits_of(model, inputs).flatten(0, 1).float(), targets.flatten())


def weights_of(model: nn.Module) -> torch.Tensor:
    """All weights as one long row."""
    return parameters_to_vector(model.parameters()).detach().float()


def gradient_of(model: nn.Module) -> torch.Tensor:
    """All gradients as one long row, 0 where there is none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in model.parameters()])
