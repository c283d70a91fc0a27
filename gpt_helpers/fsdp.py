"""Weights and moment estimates that FSDP2 has sharded: in one piece for a file, and sharded again from one."""
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from gpt_helpers.model import GPTModel, unwrap
from gpt_helpers.parallel import rank, sharded


def full_tensor(value: Any, everywhere: bool = True) -> Any:
    """A sharded tensor in one piece, gathered from all processes; anything else as it is.

    everywhere: on all of them; otherwise on the first one's CPU, and on the others without its values.
    """
    if not hasattr(value, "full_tensor"):
        return value
    full = value.full_tensor()
    return full if everywhere else full.to("cpu" if rank() == 0 else "meta")


def gathered(model: nn.Module) -> nn.Module:
    """The model inside every wrapper, to be saved.

    Where its weights are sharded all processes take part, and the first one gets a copy with whole weights, on the CPU.
    """
    model = unwrap(model)
    if not sharded(model):
        return model
    weights = model.state_dict(keep_vars=True)                  # tied weights are one parameter
    pieces = {id(weight): full_tensor(weight.detach(), everywhere=False) for weight in weights.values()}
    with torch.device("meta"):
        copied = GPTModel(model.cfg)
    copied.load_state_dict({name.replace("_orig_mod.", ""): pieces[id(weight)] for name, weight in weights.items()}, assign=True)
    return copied


def gathered_state_dict(optimizer: Optimizer) -> dict:
    """The optimizer's state dict, to be saved: as `gathered` does with a model's weights."""
    return with_state(optimizer.state_dict(), lambda i, value: full_tensor(value, everywhere=False))


def sharded_state_dict(saved: dict, optimizer: Optimizer) -> dict:
    """An optimizer's state dict from a file, with moment estimates that are sharded as the weights they belong to."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    return with_state(saved, lambda i, value: sharded_like(weights[i], value))


def with_state(saved: dict, change: Callable[[int, Any], Any]) -> dict:
    """An optimizer's state dict with change(i, value) for each value that it holds of weight i; what belongs to none stays."""
    return saved | {"state": {i: {key: change(i, value) for key, value in values.items()} if isinstance(i, int) else values
                              for i, values in saved["state"].items()}}


def sharded_like(weight: torch.Tensor, value: Any) -> Any:
    """A tensor from a file, sharded as `weight` is; a number of steps, or whatever else has another shape, as it is."""
    if not hasattr(weight, "full_tensor") or getattr(value, "shape", None) != weight.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
