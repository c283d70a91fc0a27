"""Instruments for a model that is not trained yet, and for what it may look at."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from gpt_helpers.instruments.finding import Batch, Finding, logits_of, mean_loss


@torch.no_grad()
def first_loss(model: nn.Module, batch: Batch) -> Finding:
    """Is the loss before training near that of the uniform distribution, ln V?"""
    logits, loss = logits_of(model, batch[0]).float(), mean_loss(model, batch).item()
    uniform = math.log(logits.shape[-1])
    if not math.isfinite(loss):
        return Finding(False, f"the first loss is {loss}: look for a division by 0 or an overflow")
    if logits.min() >= 0 and torch.allclose(logits.sum(-1), torch.ones(()), atol=1e-3):
        return Finding(False, "the model returns probabilities: cross_entropy takes the softmax itself, and needs logits")
    if loss > uniform + 1:
        return Finding(False, f"the first loss is {loss:.2f}, far above ln V = {uniform:.2f}: the model is sure of what it "
                              "cannot know; are the first weights too large?")
    if loss < uniform - 1:
        return Finding(None, f"the first loss is {loss:.2f}, below ln V = {uniform:.2f}: the model is trained already, or "
                             "sees the targets")
    return Finding(True, f"the first loss is {loss:.2f}, near ln V = {uniform:.2f}")


@torch.no_grad()
def past_is_safe(model: nn.Module, inputs: torch.Tensor) -> Finding:
    """Do a later token, or another window of the batch, change what is predicted before it? inputs: (B, T)."""
    half, changed = inputs.shape[1] // 2, inputs.clone()
    changed[0, half:] = changed[0, half:].roll(1) if len(changed[0, half:].unique()) > 1 else (changed[0, half:] + 1) % 2
    both = []
    for ids in (inputs, changed):
        torch.manual_seed(0)                                       # a dropout that never ends is another test's business
        both.append(logits_of(model, ids).float())
    before, after = both
    allowed = 1e-3 * before.std() + 1e-6
    if (before[0, :half] - after[0, :half]).abs().max() > allowed:
        return Finding(False, "a later token changes what is predicted before it: the causal mask is missing, or positions are "
                              "mixed")
    if len(inputs) > 1 and (before[1:] - after[1:]).abs().max() > allowed:
        return Finding(False, "one window changes what is predicted in another: rows of the batch are mixed")
    return Finding(True, "no token changes the past")


@torch.no_grad()
def same_twice(model: nn.Module, inputs: torch.Tensor) -> Finding:
    """In eval mode, does the model give the same twice? And in train mode, is no logit dropped?"""
    first, second = logits_of(model.eval(), inputs), logits_of(model, inputs)
    dropped = (logits_of(model.train(), inputs) == 0).float().mean().item()
    model.eval()
    if not torch.allclose(first, second, atol=1e-5, equal_nan=True):
        return Finding(False, "in eval mode the model gives two answers: dropout that does not know of it (pass self.training)")
    if 0.005 < dropped < 1:
        return Finding(False, f"in train mode {dropped:.0%} of the logits are exactly 0: dropout falls on the output")
    return Finding(True, "eval mode gives the same twice")


@torch.no_grad()
def writing_loss(model: nn.Module, batch: Batch) -> float:
    """The loss when each token is predicted from the tokens before it alone, as in writing: nothing can look ahead."""
    inputs, targets = batch
    logits = torch.stack([logits_of(model, inputs[:, : t + 1])[:, -1].float() for t in range(inputs.shape[1])], dim=1)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()


def parameters_are_sound(model: nn.Module) -> Finding:
    """Is each weight a float32 of its own, and free to move?"""
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
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    if frozen:
        return Finding(False, f"{len(frozen)} of {len(names)} weight tensors are frozen ({frozen[0]}, …): requires_grad is off")
    return Finding(True, "all weights are float32 and free to move" + (f"; shared: {' = '.join(shared[0])}" if shared else ""))
