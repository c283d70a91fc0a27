"""Instruments for a model that is not trained yet, and for what it may look at."""
import math
from collections.abc import Container

import torch
import torch.nn.functional as F
from torch import nn

from gpt_helpers.instruments.finding import Batch, Finding, in_a_line, logits_of
from gpt_helpers.validate import PADDING


@torch.no_grad()
def first_loss(model: nn.Module, batch: Batch) -> Finding:
    """Is the loss before training near that of the uniform distribution, ln V?"""
    logits = logits_of(model, batch[0]).float()
    loss = F.cross_entropy(logits.flatten(0, 1), batch[1].flatten()).item()
    uniform = math.log(logits.shape[-1])
    if not math.isfinite(loss):
        return Finding(False, f"the first loss is {loss}: look for a division by 0 or an overflow")
    if logits.min() > 0 and logits.max() <= 1:
        return Finding(False, "the model returns numbers from 0 to 1, such as probabilities: cross_entropy takes the softmax "
                              "itself, and needs logits")
    if loss > uniform + 1:
        return Finding(False, f"the first loss is {loss:.2f}, far above ln V = {uniform:.2f}: the model is sure of what it "
                              "cannot know; are the first weights too large?")
    if loss < uniform - 1:
        return Finding(None, f"the first loss is {loss:.2f}, below ln V = {uniform:.2f}: the model is trained already, or "
                             "sees the targets")
    return Finding(True, f"the first loss is {loss:.2f}, near ln V = {uniform:.2f}")


@torch.no_grad()
def takes(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> Finding:
    """Does the model give logits for a window, and have a row for each token? inputs, targets: all that are known, (R, T)."""
    window = inputs[:1].to(next(model.parameters()).device)
    try:
        vocab_size = logits_of(model, torch.zeros_like(window)).shape[-1]
        largest = max(inputs.max().item(), targets.max().item())
        if inputs.min() < 0 or largest >= vocab_size:
            return Finding(False, f"the data has tokens from {inputs.min()} to {largest}, and the model knows 0 to "
                                  f"{vocab_size - 1}: is it the tokenizer that the model was made for?")
        logits_of(model, window)
    except Exception as error:
        return Finding(False, f"the model cannot take a window of {window.shape[1]} tokens: {in_a_line(error)}")
    for name, module in model.named_modules():
        padding = module.padding_idx if isinstance(module, nn.Embedding) else None
        if padding is not None and (targets == padding).any():
            return Finding(False, f"token {padding} is scored, and is the padding_idx of {name}, whose row for it never learns: "
                                  f"leave padding_idx out, or give padding the target {PADDING}")
    return Finding(True, f"windows of {window.shape[1]} tokens give logits for a vocabulary of {vocab_size:,}")


@torch.no_grad()
def past_is_safe(model: nn.Module, inputs: torch.Tensor) -> Finding:
    """Do a later token, or another window of the batch, change what is predicted before it? inputs: (B, T)."""
    half, changed, mode = inputs.shape[1] // 2, inputs.clone(), model.training
    if half == 0:
        return Finding(None, "windows of one token have no past")
    changed[0, half:] = changed[0, half:].roll(1) if len(changed[0, half:].unique()) > 1 else (changed[0, half:] + 1) % 2
    for training in (False, True):                                 # BatchNorm mixes in training alone
        both = []
        for ids in (inputs, changed):
            torch.manual_seed(0)                                   # the same dropout
            both.append(logits_of(model.train(training), ids))
        model.train(mode)
        exact = both[0].dtype in (torch.float32, torch.float64)
        before, after = (logits.float() for logits in both)
        if not (before.isfinite().all() and after.isfinite().all()):
            return Finding(None, "after a few updates the logits are nan or infinite, so the past cannot be tested")
        allowed, where = (1e-5 if exact else 1e-2) * before.std() + 1e-7, " in train mode" if training else ""
        if (before[0, :half] - after[0, :half]).abs().max() > allowed:
            return Finding(False, f"a later token changes what is predicted before it{where}: the causal mask is missing, or "
                                  "positions are mixed")
        if len(inputs) > 1 and (before[1:] - after[1:]).abs().max() > allowed:
            return Finding(False, f"one window changes what is predicted in another{where}: rows of the batch are mixed")
    return Finding(True, "no token changes the past")


@torch.no_grad()
def positions_are_counted(model: nn.Module, inputs: torch.Tensor) -> Finding:
    """In eval mode, is a prediction the same in a shorter window, and in another row of the batch? inputs: (B, T)."""
    half, whole = (inputs.shape[1] + 1) // 2, logits_of(model.eval(), inputs).float()
    allowed = 0.05 * whole.std() + 1e-6
    if (logits_of(model, inputs[:, :half]).float() - whole[:, :half]).abs().max() > allowed:
        return Finding(False, "the same tokens are predicted otherwise in a shorter window: are positions counted from the end?")
    if (logits_of(model, inputs.flip(0)).float().flip(0) - whole).abs().max() > allowed:
        return Finding(False, "a window is predicted otherwise in another row of the batch: are positions counted over rows?")
    return Finding(True, "a prediction depends on the tokens before it alone")


@torch.no_grad()
def same_twice(model: nn.Module, inputs: torch.Tensor) -> Finding:
    """In eval mode, does the model give the same answer twice? And in train mode, is no logit dropped?"""
    first, second = logits_of(model.eval(), inputs), logits_of(model, inputs)
    dropped, always = ((logits == 0).float().mean().item() for logits in (logits_of(model.train(), inputs), first))
    model.eval()
    if not torch.allclose(first, second, atol=1e-5, equal_nan=True):
        return Finding(False, "in eval mode the model gives two answers: dropout that does not know of it (pass self.training), "
                              "or something kept from the batch before")
    if 0.005 < always < 1:
        return Finding(False, f"{always:.0%} of the logits are exactly 0: is there an activation after the head?")
    if 0.005 < dropped < 1:
        return Finding(False, f"in train mode {dropped:.0%} of the logits are exactly 0: dropout falls on the output")
    return Finding(True, "eval mode gives the same answer twice")


@torch.no_grad()
def writing_loss(model: nn.Module, batch: Batch) -> float:
    """The loss when each token is predicted from the tokens before it alone, as in writing: nothing can look ahead."""
    inputs, targets = batch
    logits = torch.stack([logits_of(model, inputs[:, : t + 1])[:, -1].float() for t in range(inputs.shape[1])], dim=1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()


def parameters_are_sound(model: nn.Module, held: Container[int]) -> Finding:
    """Is each weight one of its own, exact enough, and free to move? held: the ids of those that the optimizer holds."""
    own = {id(weight) for weight in model.parameters()}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            hidden = [part for part in value if isinstance(part, nn.Module)] if isinstance(value, list | tuple) else []
            if any(weight.requires_grad and id(weight) not in own for part in hidden for weight in part.parameters()):
                return Finding(False, f"{name + '.' if name else ''}{key} is a plain list of layers, which no optimizer and no "
                                      "checkpoint sees: make it an nn.ModuleList")
        weight = module.weight if isinstance(module, nn.Linear) else torch.empty(0)
        if len(weight) > 1 and weight.any() and (weight == weight[:1]).all():
            return Finding(False, f"all rows of {name}.weight are the same, and will learn the same: draw them at random")
    names: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    shared = [group for group in names.values() if len(group) > 1]
    if len(shared) > 2:                                            # the head may share the embedding's, and nothing else
        return Finding(False, f"{len(shared)} weights are shared between layers ({' = '.join(shared[0])}): was one block put "
                              "into the list twice?")
    if halves := {str(weight.dtype) for weight in model.parameters() if weight.dtype in (torch.float16, torch.bfloat16)}:
        return Finding(False, f"the weights are {' and '.join(halves)}, in which a small update is rounded away: keep them in "
                              "float32, and compute in autocast")
    if frozen := {name: id(weight) for name, weight in model.named_parameters() if not weight.requires_grad}:
        meant = not any(key in held for key in frozen.values())
        then = "the optimizer leaves them out" if meant else "if that is meant, leave them out of the optimizer"
        return Finding(None if meant else False, f"{len(frozen)} of {len(names)} weight tensors are frozen "
                       f"({next(iter(frozen))}, …): requires_grad is off; {then}")
    if high := next((module.p for module in model.modules() if isinstance(module, nn.Dropout) and module.p > 0.6), None):
        return Finding(None, f"dropout drops {high:.0%}: is that the share to keep?")
    kinds = " and ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in model.parameters()}))
    return Finding(True, f"all weights are {kinds} and free to move" + (f"; shared: {' = '.join(shared[0])}" if shared else ""))
