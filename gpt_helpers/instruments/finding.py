"""What all instruments share: a Finding, and the loss that training should minimise."""
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector

from gpt_helpers.model import unwrap
from gpt_helpers.validate import PADDING

Batch = tuple[torch.Tensor, torch.Tensor]      # inputs and targets, each (B, T)


class Finding(NamedTuple):
    """What an instrument says. sound: True, False for a fault, None for what is worth knowing and may be meant."""

    sound: bool | None
    words: str


def in_a_line(error: Exception) -> str:
    """What an error says, in one line."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'without a word'):.150}"


def logits_of(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The logits (B, T, V), also of models that return them flat, with more in a tuple or dict, or under the name `logits`.

    A model that scores only the last position, unless it is given targets, is given some. ValueError when there are no logits.
    """
    model, given = unwrap(model), []                               # a compiled one would be compiled again for every shape
    for asked in ((inputs,), (inputs, inputs)):
        try:
            out = model(*asked)
        except TypeError:
            if len(asked) > 1:                                     # it takes no targets
                break
            raise
        out = getattr(out, "logits", out)
        for part in [out] if isinstance(out, torch.Tensor) else out.values() if isinstance(out, Mapping) else out:
            given.append(getattr(part, "shape", type(part).__name__))
            if isinstance(part, torch.Tensor) and part.ndim in (2, 3) and part.shape[:-1].numel() == inputs.numel():
                return part.reshape(*inputs.shape, -1)
    raise ValueError(f"the model gives {given[0] if given else 'nothing'} for ids of shape {tuple(inputs.shape)}, need logits "
                     "(B, T, V)")


def padded(batch: Batch) -> Batch:
    """The same batch, in which every negative target, such as the -1 that some programs use, is the usual padding."""
    inputs, targets = batch
    return inputs, targets.masked_fill(targets < 0, PADDING)


def mean_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """What training should minimise: the mean of -ln p over all targets that are no padding, attached to its graph."""
    inputs, targets = padded(batch)
    return F.cross_entropy(logits_of(model, inputs).flatten(0, 1).float(), targets.flatten())


def weights_of(model: nn.Module) -> torch.Tensor:
    """All weights as one long row."""
    return parameters_to_vector(model.parameters()).detach().float()


def gradient_of(model: nn.Module) -> torch.Tensor:
    """All gradients as one long row, 0 where there is none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten().float() for p in model.parameters()])
