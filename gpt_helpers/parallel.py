"""One training run on several processes, with PyTorch's own engine: torchrun starts them, DDP or FSDP2 joins their gradients.

A program that runs alone with `python program.py`, and with `torchrun --nproc-per-node 2 program.py` on two processes:

    with processes(pick_device()) as device:
        model = wrap(GPTModel(cfg).to(device), "ddp")
        optimizer = torch.optim.AdamW(model.parameters())      # after wrap: FSDP2 exchanges the parameters
        train_model(model, train_loader, val_loader, optimizer, device, ..., accumulate=4)

`accumulate` counts the micro-batches of all processes, so the updates are the same ones on 1, 2 or 4: process r takes the
micro-batches r, r + size, r + 2·size and so on, and loads no others. A stopped run can resume on
any other number of processes; the result differs only by rounding, where more than two gradients are added in another order.
Under torchrun dropout draws the same numbers on any number of processes, even one; plain `python` draws others. All processes
evaluate and sample; the first one prints, saves and calls the callbacks.
"""
import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DistributedSampler, IterableDataset

from gpt_helpers.model import unwrap


@contextlib.contextmanager
def processes(device: torch.device | str = "cpu", timeout: float = 60) -> Iterator[torch.device]:
    """Join the processes that torchrun started; yields this one's device. Without torchrun it yields `device`, and that is all.

    Only the first process prints. One that fails says so in a line on stderr, and torchrun ends the others. timeout: seconds
    to wait for another process before giving up; give more where the first one needs longer than that to save.
    """
    device = torch.device(device)
    if not launched():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout))
    with open(os.devnull, "w") as nowhere:
        try:
            with contextlib.redirect_stdout(nowhere if rank() else sys.stdout):
                yield device
        except Exception as error:
            words = next(iter(str(error).strip().splitlines()), "")
            print(f"Process {rank()} stopped: {type(error).__name__}: {words}", file=sys.stderr)
            raise
    dist.destroy_process_group()
    time.sleep(0.2)      # gloo's threads finish their last exchange; on a busy machine, a program that ends before that aborts


def launched() -> bool:
    """Whether torchrun started this process."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def together() -> bool:
    """Whether there is a process group, even one of a single process."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if together() else 0


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if together() else 1


def wrap(model: nn.Module, engine: str = "ddp") -> nn.Module:
    """The model as the processes train it together, with the first one's weights; alone, as it is. Raises ValueError.

    engine: "ddp", every process holds all weights (DistributedDataParallel), or "fsdp", every process holds a part of them,
    of their gradients and of their moment estimates (FSDP2's `fully_shard`).
    """
    if engine not in ("ddp", "fsdp"):
        raise ValueError(f"got engine={engine!r:.60}, need 'ddp', all weights on each process, or 'fsdp', a part on each")
    if not together():
        return model
    if engine == "ddp":
        return DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for weight in model.state_dict().values():
        dist.broadcast(weight, src=0)
    mesh = init_device_mesh(next(model.parameters()).device.type, (size(),))
    for block in unwrap(model).trf_blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(unwrap(model), mesh=mesh)
    return model


def require_shares(accumulate: int, processes: int) -> None:
    """ValueError when this many processes could not share the micro-batches of an update evenly."""
    if accumulate % processes:
        raise ValueError(f"got accumulate={accumulate} for {processes} processes, need a multiple of {processes}: it counts the "
                         "micro-batches of all processes")


def require_processes(model: nn.Module, loader: Any, accumulate: int, preflight: bool) -> None:
    """ValueError when several processes could not train this model together, or could not share these batches."""
    if launched() and not together() and int(os.environ["WORLD_SIZE"]) > 1:
        raise ValueError(f"torchrun started {os.environ['WORLD_SIZE']} processes, and each would train for itself: train inside "
                         "`with processes(pick_device()) as device:`")
    if size() > 1 and not (sharded(model) or data_parallel(model)):
        raise ValueError(f"got a model that each of {size()} processes would train for itself: wrap it first, wrap(model, 'ddp')")
    require_shares(accumulate, size())
    if together() and getattr(loader, "batch_sampler", None) is None:
        raise ValueError(f"got a {type(loader).__name__} without a batch_sampler, so its batches cannot be shared out: make it a "
                         "DataLoader with a batch_size")
    if together() and isinstance(data := getattr(loader, "dataset", None), IterableDataset):
        raise ValueError(f"got a loader over a {type(data).__name__}, an IterableDataset, so its batches cannot be shared out: "
                         "use a Dataset with __getitem__")
    if together() and isinstance(getattr(loader, "sampler", None), DistributedSampler):
        raise ValueError("got a loader with a DistributedSampler, which shares its batches out a second time: leave it out, "
                         "and use shuffle=True")
    if together() and preflight:
        raise ValueError("got preflight=True under torchrun: call diagnose.preflight on the model before you wrap it")


def sharded(model: nn.Module) -> bool:
    """Whether FSDP2 has sharded the model's weights."""
    return hasattr(unwrap(model), "set_requires_gradient_sync")


def data_parallel(model: nn.Module) -> DistributedDataParallel | None:
    """The DistributedDataParallel in the model's wrappers, if there is one."""
    return next((module for module in model.modules() if isinstance(module, DistributedDataParallel)), None)


def ring_bytes(parameters: int, processes: int) -> int:
    """The bytes that each process sends in a step under DDP, so that each ends up with the sum of all float32 gradients.

    Under FSDP2 it is half as much again, because parts of the weights are sent, too, for the forward and for the backward.
    Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009;
    Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", 2020.
    """
    return math.ceil(2 * (processes - 1) / processes * 4 * parameters)
