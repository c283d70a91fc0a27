"""A run as it is given: brought into the form that all instruments take, or refused in one line; and put back as it was."""
import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from gpt_helpers.data import independent
from gpt_helpers.instruments.finding import Batch, in_a_line, logits_of
from gpt_helpers.validate import PADDING

TOKENS = 200_000      # of each loader that are looked at
LENGTH = 128          # of a window that the model is tested with, if it can be cut


class SeveralOptimizers:
    """Several optimizers as one, such as Muon for the matrices and AdamW for the rest."""

    def __init__(self, optimizers: Sequence[Optimizer]):
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[dict]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def register_step_pre_hook(self, hook: Callable) -> torch.utils.hooks.RemovableHandle:
        return self.optimizers[0].register_step_pre_hook(hook)      # the first of them steps once an update


def as_one(optimizer: Optimizer | Sequence[Optimizer]) -> Optimizer | SeveralOptimizers:
    """The optimizer, or several together. ValueError when it is not one."""
    several = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    if not several or not all(isinstance(each, Optimizer) for each in several):
        raise ValueError(f"got an optimizer of type {type(optimizer).__name__}, need one of torch.optim, or a list of them")
    return several[0] if len(several) == 1 else SeveralOptimizers(several)


def require_run(model: nn.Module, loaders: Any, tokenizer: Any, scheduler: Any) -> None:
    """ValueError for a model without weights, loaders that are not a pair, or something that is not a tokenizer or scheduler."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if weight is None:
        raise ValueError(f"got a model of type {type(model).__name__} without weights, need an nn.Module that can be trained")
    if any(isinstance(weight, UninitializedParameter) for weight in model.parameters()):
        raise ValueError("got a model with lazy layers that have no weights yet: call it once with a batch")
    if weight.is_meta:
        raise ValueError("got a model on the meta device, which has shapes and no numbers: make it on the CPU or a GPU")
    if not isinstance(loaders, list | tuple) or len(loaders) != 2:
        raise ValueError(f"got loaders of type {type(loaders).__name__}, need a pair: (train_loader, val_loader)")
    if tokenizer is not None and not all(callable(getattr(tokenizer, name, None)) for name in ("encode", "decode")):
        raise ValueError(f"got a tokenizer of type {type(tokenizer).__name__}, need one with encode and decode, or None")
    known = all(hasattr(scheduler, name) for name in ("optimizer", "last_epoch", "state_dict"))
    if scheduler is not None and (not known or isinstance(scheduler, type)):
        raise ValueError(f"got a scheduler of type {type(scheduler).__name__}, need one of torch.optim.lr_scheduler, or None")


def first_batches(loader: Iterable, name: str) -> list[Batch]:
    """The first batches of a loader, with about TOKENS tokens in all. ValueError when there are none, or they are no windows."""
    if isinstance(loader, Iterator) or not isinstance(loader, Iterable):
        raise ValueError(f"got a {type(loader).__name__} as the {name} loader, need one that can be gone through again: a "
                         "DataLoader, or a list of batches")
    batches, tokens = [], 0
    for batch in islice(safely(independent(loader), name), 1000):
        pair = isinstance(batch, list | tuple) and len(batch) == 2
        if not pair or [getattr(part, "dtype", None) for part in batch] != [torch.int64] * 2 or (
                batch[0].ndim != 2 or batch[0].shape != batch[1].shape or batch[0].numel() == 0):
            given = " and ".join(f"{getattr(part, 'dtype', type(part).__name__)} {list(getattr(part, 'shape', []))}"
                                 for part in batch) if pair else f"a {type(batch).__name__}"
            raise ValueError(f"the {name} loader gives {given}, need a pair: (inputs, targets), both int64 (B, T) token ids")
        batches.append(tuple(batch))
        tokens += batch[0].numel()
        if tokens >= TOKENS:
            break
    if not batches:
        raise ValueError(f"the {name} loader gives no batch, need at least one: is it empty, or used up?")
    return batches


def safely(loader: Iterable, name: str) -> Iterator:
    """The batches of a loader; whatever it raises becomes a ValueError in a line."""
    try:
        yield from loader
    except Exception as error:
        raise ValueError(f"the {name} loader fails: {in_a_line(error)}") from None


def rows(batches: list[Batch], part: int = 0) -> torch.Tensor:
    """The inputs of all batches, (R, T), or with part=1 the targets."""
    width = min(batch[part].shape[1] for batch in batches)
    return torch.cat([batch[part][:, :width] for batch in batches]).cpu()


def short_window(model: nn.Module, inputs: torch.Tensor) -> int:
    """How many tokens of a window the tests can do with: LENGTH, if the model takes windows that short, or else all."""
    try:
        logits_of(model, inputs[:1, :LENGTH].to(next(model.parameters()).device))
        return LENGTH
    except Exception:      # made for one length alone
        return inputs.shape[1]


def cut(batch: Batch, device: torch.device | str, tokens: int, length: int | None = None) -> Batch:
    """The first rows of a batch that have targets, at least two if there are, with about this many tokens, on a device.

    length: at most this many tokens of each window.
    """
    inputs, targets = (part[:, :length] for part in batch)
    scored = (targets != PADDING).any(dim=1).nonzero().flatten()[: max(2, tokens // inputs.shape[1])]
    return inputs[scored].to(device), targets[scored].to(device)


@contextlib.contextmanager
def unchanged(model: nn.Module, optimizer: Optimizer | SeveralOptimizers, scheduler: Any = None) -> Iterator[Callable]:
    """Whatever the body trains, weights, gradients, optimizer and scheduler are as before when it ends.

    Yields a function that puts them back earlier, and leaves no gradients.
    """
    tensors = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    gradients = [(weight, weight.grad, weight.requires_grad) for weight in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    optimizers = getattr(optimizer, "optimizers", [optimizer])
    states = [(each.state, {weight: copy.deepcopy(state) for weight, state in each.state.items()}) for each in optimizers]
    groups = [(group, copy.deepcopy({key: value for key, value in group.items() if key != "params"}))
              for group in optimizer.param_groups]
    schedule = copy.deepcopy(scheduler.state_dict()) if scheduler else None

    def restore() -> None:
        with torch.no_grad():
            for tensor, value in tensors:
                tensor.copy_(value)
        for weight, _, free in gradients:
            weight.requires_grad_(free).grad = None
        for module, mode in modes:
            module.training = mode
        for state, before in states:
            state.clear()
            state.update({weight: copy.deepcopy(value) for weight, value in before.items()})
        for group, before in groups:
            group.update(copy.deepcopy(before))
        if scheduler:
            scheduler.load_state_dict(copy.deepcopy(schedule))

    restore()
    try:
        yield restore
    finally:
        restore()
        for weight, gradient, _ in gradients:
            weight.grad = gradient
